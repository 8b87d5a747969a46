//! Both followers gone: nothing is acknowledged, what was said to be unknown may come true when they go on, and what was
//! refused never does.

use std::time::Duration;

use super::daemons::{Cluster, Shape, until};
use super::load::Load;
use super::resp::Reply;

#[test]
fn what_was_appended_is_unknown_and_what_comes_then_is_refused_while_both_followers_stand_still() {
    let cluster = Cluster::start(&Shape::three().set_text("limits", "request_timeout", "2 s"));
    let mut resp = cluster.connect(1);
    assert_eq!(resp.ask(&["SET", "k", "before"]), Reply::ok());
    for node in [2, 3] {
        cluster.node(node).pause();
    }
    // Their connections stand, so it is appended; nobody confirms it.
    let mut early = cluster.connect(1);
    for number in 0..3 {
        early.send(&["SET", "k", &format!("unknown {number}")]);
    }
    until("the leader has noticed that nobody answers", || {
        let reply = resp.ask(&["GET", "k"]);
        assert!(reply == Reply::bulk("before") || reply.is_error("NOQUORUM"), "{reply:?}");
        reply.is_error("NOQUORUM").then_some(())
    });
    let last = cluster.status(1).groups[0].last;
    let refused = resp.ask(&["SET", "k", "never"]);
    assert!(refused.error().starts_with("NOQUORUM have 1 need 2: "), "{refused:?}");
    assert!(resp.ask(&["SET", "k", "never", "ACK", "accepted"]).is_error("NOQUORUM"));
    assert_eq!(cluster.status(1).groups[0].last, last, "what is refused is not appended");
    for _ in 0..3 {
        let reply = early.receive();
        assert!(reply.error().starts_with("UNKNOWN entry "), "{reply:?}");
        assert!(
            reply.error().ends_with("was appended and not confirmed in time; it may still take effect"),
            "{reply:?}"
        );
    }

    for node in [2, 3] {
        cluster.node(node).resume();
    }
    until("writes are acknowledged again", || (resp.ask(&["SET", "after", "1"]) == Reply::ok()).then_some(()));
    assert_eq!(
        resp.ask(&["GET", "k"]),
        Reply::bulk("unknown 2"),
        "it was in the log, in front of the one acknowledged"
    );
    cluster.assert_equal(&[1, 2, 3]);
}

#[test]
fn writes_certainly_do_not_happen_without_followers() {
    let mut cluster = Cluster::start(&Shape::three().set_text("limits", "request_timeout", "300 ms"));
    let mut resp = cluster.connect(1);
    assert_eq!(resp.ask(&["SET", "k", "before"]), Reply::ok());
    for node in [2, 3] {
        cluster.node_mut(node).kill();
    }
    until("the leader has noticed", || {
        let reply = resp.ask(&["SET", "k", "after"]);
        assert!(reply.is_error("NOQUORUM") || reply.is_error("UNKNOWN"), "{reply:?}");
        reply.is_error("NOQUORUM").then_some(())
    });
    let group = &cluster.status(1).groups[0];
    assert_eq!((&group.lost[..], group.members.len()), (&[2, 3][..], 3));
    let last = group.last;
    assert!(resp.ask(&["SET", "k", "never"]).is_error("NOQUORUM"));
    assert_eq!(cluster.status(1).groups[0].last, last, "what is refused is not appended");
    let ended = super::daemons::quorate().args(["status", "--connect", &cluster.resp(1)]).output().expect("it runs");
    assert_eq!(ended.status.code(), Some(4), "{}", String::from_utf8_lossy(&ended.stdout));
}

#[test]
fn a_leader_that_stands_still_for_a_while_goes_on_where_it_was() {
    let cluster = Cluster::start(&Shape::three());
    let load = Load::start(cluster.client(2), 0);
    load.advance(2_000);
    cluster.node(1).pause();
    // Its connections stand, so nobody takes it for lost: requests wait for it.
    let mut resp = cluster.connect(3);
    resp.send(&["SET", "k", "meanwhile"]);
    assert!(resp.is_silent(Duration::from_millis(300)), "there is no answer without the leader");
    cluster.node(1).resume();
    assert_eq!(resp.receive(), Reply::ok());
    load.advance(2_000);
    let written = load.stop();
    assert_eq!(written.problems, [""; 0]);
    written.assert_held(&cluster, 3);
    cluster.assert_equal(&[1, 2, 3]);
}
