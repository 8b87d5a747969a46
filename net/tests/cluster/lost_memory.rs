//! A process that comes back has lost its memory: it is another run of its node, copies what the others hold, and counts
//! when it holds it. Nobody ever serves an empty store in place of a full one.

use super::daemons::{Cluster, Shape, quorate, until};
use super::load::Load;
use super::resp::{Reply, Resp};

/// Short, because what nobody confirms is waited for so long.
fn impatient() -> Shape {
    Shape::three().set_text("limits", "request_timeout", "300 ms")
}

#[test]
fn a_follower_without_memory_copies_everything_and_counts_again() {
    let mut cluster = Cluster::start(&impatient());
    let mut resp = cluster.connect(1);
    for number in 0..500 {
        assert_eq!(resp.ask(&["SET", &format!("k{number}"), "before"]), Reply::ok());
    }
    cluster.node_mut(2).kill();
    assert_eq!(resp.ask(&["SET", "k0", "without node 2"]), Reply::ok());
    cluster.node_mut(2).start();
    cluster.wait_for_member(1, 2);
    assert_eq!(
        cluster.connect(2).ask(&["CACHE.PEEK", "k0"]),
        Reply::bulk("without node 2"),
        "what it missed was copied"
    );
    // It counts: without node 3 it is one of the two that hold a write.
    cluster.node_mut(3).kill();
    until("writes go on", || (resp.ask(&["SET", "k1", "without node 3"]) == Reply::ok()).then_some(()));
    assert_eq!(cluster.connect(2).ask(&["GET", "k1"]), Reply::bulk("without node 3"));
}

/// SMR-6 (i): both followers lose their memory; the leader lives, so nothing is lost and no operator is needed.
#[test]
fn smr_6_both_followers_lose_their_memory_and_nothing_is_lost() {
    let mut cluster = Cluster::start(&Shape::three());
    let load = Load::start(cluster.client(1), 100);
    load.advance(3_000);
    let written = load.stop();
    assert_eq!(written.problems, [""; 0]);
    for id in [2, 3] {
        cluster.node_mut(id).kill();
    }
    for id in [2, 3] {
        cluster.node_mut(id).start();
    }
    for id in [2, 3] {
        cluster.wait_for_member(1, id);
    }
    written.assert_held(&cluster, 3);
    let more = Load::start(cluster.client(2), 100);
    more.advance(3_000);
    assert_eq!(more.stop().problems, [""; 0]);
    cluster.assert_equal(&[1, 2, 3]);
}

/// SMR-6 (ii): the leader and a follower lose their memory: what only they may have held is not made up for.
#[test]
fn smr_6_a_leader_and_a_follower_lose_their_memory_and_nothing_is_served_in_its_place() {
    let mut cluster = Cluster::start(&impatient());
    assert_eq!(cluster.connect(1).ask(&["SET", "k", "kept"]), Reply::ok());
    cluster.assert_equal(&[1, 2, 3]);
    for id in [1, 2] {
        cluster.node_mut(id).kill();
    }
    for id in [1, 2] {
        cluster.node_mut(id).start();
    }
    for id in [1, 2, 3] {
        let mut resp = until("the node listens", || Resp::try_connect(&cluster.resp(id)));
        for request in
            [&["GET", "k"][..], &["SET", "k", "new"], &["DBSIZE"], &["KEYS", "*"], &["DEL", "k"], &["EXISTS", "k"]]
        {
            until("it says who is missing", || {
                let reply = resp.ask(request);
                assert!(matches!(reply, Reply::Error(_)), "{request:?} through node {id}: {reply:?}");
                reply.error().starts_with("UNAVAILABLE missing 1.").then_some(())
            });
        }
    }
    assert_eq!(cluster.connect(3).ask(&["CACHE.PEEK", "k"]), Reply::bulk("kept"), "at node 3");
    // Asked for the state, every node says so too, and shows what is left.
    for id in [1, 2, 3] {
        let ended = quorate().args(["status", "--connect", &cluster.resp(id)]).output().expect("the binary was built");
        let said = String::from_utf8_lossy(&ended.stdout);
        assert_eq!(ended.status.code(), Some(4), "{said}");
        assert!(said.contains("unavailable: missing 1."), "{said}");
        assert!(said.contains("`quorate core accept-loss GROUP`"), "{said}");
    }
    // With the operator's word it goes on with what node 3 holds, and says so in every reply.
    let mut resp = cluster.connect(2);
    until("the loss is accepted", || match resp.ask(&["CORE", "ACCEPTLOSS", "0"]) {
        Reply::Array(_) => Some(()),
        conflict => {
            // The core may be deciding something about them just now: it says so, and asks to be asked again.
            assert!(conflict.error().starts_with("CONFLICT"), "{conflict:?}");
            None
        }
    });
    until("node 3 leads", || (resp.ask(&["GET", "k"]) == Reply::bulk("kept")).then_some(()));
    assert_eq!(cluster.loss_gen_of_a_reply(1), 1);
    let again = resp.ask(&["CORE", "ACCEPTLOSS", "0"]);
    assert!(again.error().starts_with("ERR group 0 is not lost"), "{again:?}");
    for id in [1, 2] {
        cluster.wait_for_member(3, id);
    }
    assert_eq!(resp.ask(&["SET", "k", "new"]), Reply::ok());
    cluster.assert_equal(&[1, 2, 3]);
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
        cluster.wait_for_member(1, 2);
    }
    let written = load.stop();
    assert_eq!(written.problems, [""; 0]);
    cluster.wait_for_member(1, 2);
    written.assert_held(&cluster, 3);
    cluster.assert_equal(&[1, 2, 3]);
}

#[test]
fn a_cluster_of_which_all_nodes_lost_their_memory_does_not_begin_empty() {
    let mut cluster = Cluster::start(&impatient());
    assert_eq!(cluster.connect(1).ask(&["SET", "k", "v"]), Reply::ok());
    for id in [1, 2, 3] {
        cluster.node_mut(id).kill();
    }
    for id in [1, 2, 3] {
        cluster.node_mut(id).start();
    }
    let mut resp = until("node 1 listens again", || Resp::try_connect(&cluster.resp(1)));
    let reply = until("it says who is missing", || {
        let reply = resp.ask(&["GET", "k"]);
        assert!(matches!(reply, Reply::Error(_)), "{reply:?} from an empty store");
        reply.error().starts_with("UNAVAILABLE missing 1.").then_some(reply)
    });
    assert!(reply.error().contains("are gone with their memory"), "{reply:?}");
    assert!(resp.ask(&["SET", "k", "new"]).is_error("UNAVAILABLE"));
    // With the operator's word it begins anew.
    until("all nodes are registered again", || {
        matches!(resp.ask(&["CORE", "ACCEPTLOSS", "ALL"]), Reply::Array(_)).then_some(())
    });
    until("a group is led again", || (resp.ask(&["GET", "k"]) == Reply::Nil).then_some(()));
    assert_eq!(resp.ask(&["SET", "k", "new"]), Reply::ok());
    assert_eq!(cluster.loss_gen_of_a_reply(2), 1);
    cluster.assert_equal(&[1, 2, 3]);
}
