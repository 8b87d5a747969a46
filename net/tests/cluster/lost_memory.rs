//! A process that comes back has lost its memory: a follower is a learner then, which copies and does not count, and a
//! leader is refused by its followers and never serves an empty store.

use std::fs;

use super::daemons::{Cluster, Shape, until};
use super::load::Load;
use super::resp::{Reply, Resp};

/// Short, because what nobody confirms is waited for so long.
fn impatient() -> Shape {
    Shape::three().set_text("limits", "request_timeout", "300 ms")
}

fn assert_learner(cluster: &Cluster, learner: u16) {
    until("it is shown as a learner that has copied everything", || {
        let (leading, copying) = (cluster.status(1), cluster.try_status(learner)?);
        let group = &leading.groups[0];
        let is_shown = group.learners == [learner] && !group.members.contains(&learner);
        let copy = &copying.groups[0];
        (is_shown && copy.applied == group.commit && copy.digest == group.digest).then_some(())
    });
}

#[test]
fn a_follower_without_memory_is_a_learner_that_does_not_count() {
    let mut cluster = Cluster::start(&impatient());
    let mut resp = cluster.connect(1);
    for number in 0..500 {
        assert_eq!(resp.ask(&["SET", &format!("k{number}"), "before"]), Reply::ok());
    }
    cluster.node_mut(2).kill();
    assert_eq!(resp.ask(&["SET", "k0", "without node 2"]), Reply::ok());
    cluster.node_mut(2).start();
    assert_learner(&cluster, 2);
    assert_eq!(
        cluster.connect(2).ask(&["CACHE.PEEK", "k0"]),
        Reply::bulk("without node 2"),
        "what it missed was copied"
    );
    assert_eq!(resp.ask(&["SET", "k1", "with a learner"]), Reply::ok());
    // Node 3 alone holds it for certain; the learner has it too, and WAIT does not say so.
    assert_eq!(resp.ask(&["WAIT", "2", "200"]), Reply::Int(1));

    cluster.node_mut(3).kill();
    assert_no_write_is_acknowledged(&mut resp);
    // Through the learner it is the same.
    assert_no_write_is_acknowledged(&mut cluster.connect(2));
    // What the leader may not confirm it does not read out either, once its lease is over.
    until("reads are refused as well", || resp.ask(&["GET", "k1"]).is_error("NOQUORUM").then_some(()));
}

/// The first ones may be appended before the leader has noticed; whatever is said of them, it is not OK.
fn assert_no_write_is_acknowledged(resp: &mut Resp) {
    let mut refused = 0;
    until("twenty writes in a row are refused for want of a quorum", || {
        let reply = resp.ask(&["SET", "k2", "too few"]);
        let is_refused = reply.is_error("NOQUORUM");
        assert!(is_refused || reply.is_error("UNKNOWN"), "{reply:?}");
        refused = if is_refused { refused + 1 } else { 0 };
        (refused == 20).then_some(())
    });
    let reply = resp.ask(&["INCR", "n"]);
    assert!(reply.error().starts_with("NOQUORUM have 1 need 2: too few replicas of group 0"), "{reply:?}");
}

#[test]
fn a_leader_without_memory_never_serves_an_empty_store() {
    let mut cluster = Cluster::start(&impatient());
    assert_eq!(cluster.connect(1).ask(&["SET", "k", "kept"]), Reply::ok());
    cluster.assert_equal(&[1, 2, 3]);
    cluster.node_mut(1).kill();
    let reply = until("node 2 has noticed", || {
        let reply = cluster.connect(2).ask(&["GET", "k"]);
        assert!(!matches!(reply, Reply::Nil | Reply::Bulk(_)), "{reply:?} without the leader");
        reply.error().starts_with("UNAVAILABLE missing 1: node 1 leads group 0 and is not connected").then_some(reply)
    });
    assert!(reply.error().ends_with("see `quorate status`"), "{reply:?}");

    cluster.node_mut(1).start();
    let mut resp = until("node 1 listens again", || Resp::try_connect(&cluster.resp(1)));
    let expected = "node 1 restarted without its memory and 2 replicas of group 0 still follow its earlier run";
    until("node 1 says that it has lost its memory", || {
        let reply = resp.ask(&["GET", "k"]);
        // Until it has heard from both others it does not know, and says so.
        assert!(reply.is_error("UNAVAILABLE") || reply.is_error("NOQUORUM"), "{reply:?} from an empty store");
        reply.error().contains(expected).then_some(())
    });
    for request in
        [&["GET", "k"][..], &["SET", "k", "new"], &["DBSIZE"], &["KEYS", "*"], &["DEL", "k"], &["EXISTS", "k"]]
    {
        for node in [1, 2, 3] {
            let reply = cluster.connect(node).ask(request);
            assert!(reply.is_error("UNAVAILABLE"), "{request:?} through node {node}: {reply:?}");
        }
    }
    assert!(cluster.status(1).groups[0].state.starts_with("unavailable: missing 1."));
    for node in [2, 3] {
        assert_eq!(cluster.connect(node).ask(&["CACHE.PEEK", "k"]), Reply::bulk("kept"), "at node {node}");
    }
}

#[test]
fn a_follower_that_loses_its_memory_again_and_again_under_load_costs_nothing() {
    let mut cluster = Cluster::start(&Shape::three());
    let load = Load::start(cluster.client(1), 100);
    for _ in 0..4 {
        load.advance(2_000);
        cluster.node_mut(2).kill();
        load.advance(500);
        cluster.node_mut(2).start();
        until("it is shown as a learner", || (cluster.status(1).groups[0].learners == [2]).then_some(()));
    }
    let written = load.stop();
    assert_eq!(written.problems, [""; 0]);
    assert_learner(&cluster, 2);
    written.assert_held(&cluster, 3);
    cluster.assert_equal(&[1, 2, 3]);
}

/// Node 1 runs on, and somebody starts it once more elsewhere: with a copy of its configuration and other doors.
#[test]
fn a_second_process_with_the_number_of_a_leader_never_serves() {
    let cluster = Cluster::start(&impatient());
    let mut resp = cluster.connect(1);
    assert_eq!(resp.ask(&["SET", "k", "kept"]), Reply::ok());
    let mut elsewhere = Cluster::launch(&impatient(), &[false; 3]);
    let path = elsewhere.folder().join("node-1.toml");
    let mut config = fs::read_to_string(&path).expect("it was written").replace(elsewhere.name(), cluster.name());
    for node in [2, 3] {
        config = config.replace(&elsewhere.peer(node), &cluster.peer(node));
    }
    fs::write(&path, config).expect("a file of our own");
    elsewhere.node_mut(1).start();
    until("the second process says what is the matter", || {
        elsewhere.node(1).log().contains("or another process runs with its node.id").then_some(())
    });
    let reply = elsewhere.connect(1).ask(&["GET", "k"]);
    assert!(reply.is_error("UNAVAILABLE") || reply.is_error("NOQUORUM"), "{reply:?} from an empty store");
    // They take each other's connections away, so writes are refused now and then; what is acknowledged is kept.
    until("the first process serves on", || (resp.ask(&["SET", "k", "new"]) == Reply::ok()).then_some(()));
    elsewhere.node_mut(1).kill();
    until("reads are served", || (resp.ask(&["GET", "k"]) == Reply::bulk("new")).then_some(()));
    cluster.assert_equal(&[1, 2, 3]);
}

#[test]
fn a_cluster_of_which_all_nodes_are_started_again_begins_empty() {
    let mut cluster = Cluster::start(&impatient());
    assert_eq!(cluster.connect(1).ask(&["SET", "k", "v"]), Reply::ok());
    for id in [1, 2, 3] {
        cluster.node_mut(id).kill();
    }
    for id in [1, 2, 3] {
        cluster.node_mut(id).start();
    }
    let mut resp = until("node 1 listens again", || Resp::try_connect(&cluster.resp(1)));
    until("it serves", || match resp.ask(&["GET", "k"]) {
        reply @ Reply::Error(_) => {
            assert!(reply.is_error("NOQUORUM"), "{reply:?}");
            None
        }
        reply => {
            assert_eq!(reply, Reply::Nil);
            Some(())
        }
    });
    assert_eq!(resp.ask(&["SET", "k", "new"]), Reply::ok());
    cluster.assert_equal(&[1, 2, 3]);
    assert!(cluster.status(1).groups[0].learners.is_empty(), "all of them count");
}
