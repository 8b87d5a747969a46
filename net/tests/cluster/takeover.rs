//! A leader that crashes, stands still or is cut off: another one takes over, and nothing that was acknowledged is lost.

use quorate::client::ClientOptions;

use super::daemons::{Cluster, Shape, until};
use super::load::{Load, Written};
use super::resp::Reply;

/// Suspects a node soon; long enough for a machine on which everything else runs too.
fn suspicious() -> Shape {
    Shape::three().suspicion("500 ms")
}

/// Waits until a group is led by another node than `former`, as all of these see it; returns which.
fn successor(cluster: &Cluster, former: u16, ids: &[u16]) -> u16 {
    until(&format!("another node than {former} leads"), || {
        let reports: Option<Vec<_>> = ids.iter().map(|id| cluster.try_status(*id)).collect();
        let leaders: Vec<u16> = reports?.iter().map(|report| report.groups[0].leader).collect();
        (leaders[0] != former && leaders.iter().all(|leader| *leader == leaders[0])).then_some(leaders[0])
    })
}

/// What was under way when the leader was lost may be unknown; nothing is refused that has happened.
fn assert_honest(written: &Written) {
    assert!(written.problems.len() <= 64, "{} problems", written.problems.len());
    for problem in &written.problems {
        assert!(problem.starts_with("Unknown("), "{problem}");
    }
}

fn load(cluster: &Cluster, through: u16) -> Load {
    Load::start(ClientOptions { addresses: vec![cluster.native(through)], ..cluster.client(through) }, 0)
}

/// SMR-3.
#[test]
fn smr_3_a_leader_that_is_killed_under_load_is_succeeded_and_comes_back_as_a_member() {
    let mut cluster = Cluster::start(&suspicious());
    let load = load(&cluster, 2);
    load.advance(3_000);
    cluster.node_mut(1).kill();
    load.advance(3_000);
    let leader = successor(&cluster, 1, &[2, 3]);
    cluster.node_mut(1).start();
    cluster.wait_for_member(leader, 1);
    load.advance(3_000);
    let written = load.stop();
    assert_honest(&written);
    for id in [1, 2, 3] {
        written.assert_held(&cluster, id);
    }
    cluster.assert_equal(&[1, 2, 3]);
}

#[test]
fn leaders_are_killed_one_after_the_other() {
    let mut cluster = Cluster::start(&suspicious());
    let mut resp = cluster.connect(1);
    assert_eq!(resp.ask(&["SET", "k", "0"]), Reply::ok());
    let mut leader = 1;
    for round in 1..=4 {
        cluster.node_mut(leader).kill();
        let others: Vec<u16> = (1..=3).filter(|id| *id != leader).collect();
        let next = successor(&cluster, leader, &others);
        let mut resp = cluster.connect(next);
        assert_eq!(resp.ask(&["GET", "k"]), Reply::bulk((round - 1).to_string()));
        assert_eq!(resp.ask(&["SET", "k", &round.to_string()]), Reply::ok());
        cluster.node_mut(leader).start();
        cluster.wait_for_member(next, leader);
        leader = next;
    }
    cluster.assert_equal(&[1, 2, 3]);
}

#[test]
fn a_leader_that_stands_still_is_succeeded_and_follows_when_it_goes_on() {
    let cluster = Cluster::start(&suspicious());
    let load = load(&cluster, 2);
    load.advance(2_000);
    cluster.node(1).pause();
    let leader = successor(&cluster, 1, &[2, 3]);
    // What was under way at node 1 is waited for until it is known; what comes now is served.
    let mut resp = cluster.connect(3);
    assert_eq!(resp.ask(&["SET", "k", "meanwhile"]), Reply::ok());
    cluster.node(1).resume();
    until("node 1 follows", || (cluster.try_status(1)?.groups[0].leader == leader).then_some(()));
    assert_eq!(cluster.connect(1).ask(&["GET", "k"]), Reply::bulk("meanwhile"));
    load.advance(2_000);
    let written = load.stop();
    assert_honest(&written);
    written.assert_held(&cluster, 1);
    cluster.assert_equal(&[1, 2, 3]);
}
