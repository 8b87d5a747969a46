//! SIGTERM under load: the node ends with 0, and what it acknowledged is held by the others.

use nix::sys::signal::Signal;
use quorate::client::ClientOptions;

use super::daemons::{Cluster, Shape, until};
use super::load::Load;
use super::resp::Reply;

#[test]
fn a_follower_that_is_asked_to_end_does_so_and_costs_nothing() {
    let mut cluster = Cluster::start(&Shape::three());
    let load = Load::start(cluster.client(1), 0);
    load.advance(5_000);
    cluster.node(2).signal(Signal::SIGTERM);
    assert_eq!(cluster.node_mut(2).end().code(), Some(0));
    assert!(cluster.node(2).log().contains("stopped"), "{}", cluster.node(2).log());
    load.advance(5_000);
    let written = load.stop();
    assert_eq!(written.problems, [""; 0]);
    written.assert_held(&cluster, 1);
    cluster.assert_equal(&[1, 3]);
}

#[test]
fn a_leader_that_is_asked_to_end_leaves_what_it_acknowledged_with_the_others() {
    let mut cluster = Cluster::start(&Shape::three().set_text("limits", "request_timeout", "300 ms"));
    // Long enough to be told that it is over, short enough not to wait for another leader.
    let options = ClientOptions { request_timeout: std::time::Duration::from_secs(5), ..cluster.client(1) };
    let load = Load::start(options, 0);
    load.advance(10_000);
    cluster.node(1).signal(Signal::SIGTERM);
    assert_eq!(cluster.node_mut(1).end().code(), Some(0));
    let written = load.stop();
    // A write quorum is two: the leader and one of these had each of them.
    let last_index = written.last_index();
    let groups = [2, 3].map(|id| cluster.status(id).groups[0].clone());
    let last = groups.iter().map(|group| group.last).max().expect("two of them");
    assert!(last >= last_index, "entry {last_index} was acknowledged, and the others end at {last}");
    for (id, group) in [2, 3].into_iter().zip(&groups) {
        let mut resp = cluster.connect(id);
        written.assert_applied(&mut resp, group.applied);
        // Nobody leads now, and nobody says otherwise.
        until("it has noticed", || resp.ask(&["GET", "load:1"]).is_error("UNAVAILABLE").then_some(()));
        assert!(resp.ask(&["SET", "load:1", "x"]).is_error("UNAVAILABLE"));
    }
    let applied = groups.iter().map(|group| group.applied).max().expect("two of them");
    assert!(applied >= last_index, "a leader that ends in order tells the others what it has committed: {groups:?}");
}

#[test]
fn a_node_that_ends_answers_what_is_under_way() {
    let mut cluster = Cluster::start(&Shape::three());
    let mut resp = cluster.connect(1);
    // Both followers stand still, so the request is under way when the signal comes.
    for id in [2, 3] {
        cluster.node(id).pause();
    }
    resp.send(&["SET", "k", "under way"]);
    until("it is appended", || {
        let group = &cluster.status(1).groups[0];
        (group.last > group.commit).then_some(())
    });
    cluster.node(1).signal(Signal::SIGTERM);
    until("it is stopping", || cluster.node(1).log().contains("stopping").then_some(()));
    for id in [2, 3] {
        cluster.node(id).resume();
    }
    assert_eq!(resp.receive(), Reply::ok(), "it was confirmed while the node was stopping");
    assert!(resp.is_closed());
    assert_eq!(cluster.node_mut(1).end().code(), Some(0));
    for id in [2, 3] {
        until("what was acknowledged is applied", || {
            let reply = cluster.connect(id).ask(&["CACHE.PEEK", "k"]);
            (reply == Reply::bulk("under way")).then_some(())
        });
    }
}
