//! Stories of leaders whose connections stand and that hear nothing: members that are paused or cut off.

use quorate_engine::GroupState;
use quorate_engine::config::Config;
use quorate_engine::ids::{GroupId, NodeId};
use quorate_engine::machine::answer::Answer;
use quorate_engine::output::Refusal;
use quorate_engine::testing::cluster::{Cluster, End};

const A: NodeId = NodeId(1);
const B: NodeId = NodeId(2);
const C: NodeId = NodeId(3);
/// With one partition, its leader is A.
const G: GroupId = GroupId(0);
/// By default a leader is without a write quorum when it has heard none for so long; in milliseconds.
const SILENCE: u64 = 150;

fn five() -> Cluster {
    let config = Config {
        log_bytes: 64 << 10,
        segment_bytes: 1 << 10,
        value_bytes_max: 1 << 10,
        key_bytes_max: 256,
        ..Config::default()
    };
    let mut cluster = Cluster::start(5, 1, 5, 3, config);
    cluster.settle();
    let write = cluster.set(b"x", b"0");
    cluster.settle();
    cluster.assert_done(write);
    cluster
}

fn pause_three(cluster: &mut Cluster) {
    [B, C, NodeId(4)].into_iter().for_each(|node| cluster.pause(node));
}

fn resume_three(cluster: &mut Cluster) {
    [B, C, NodeId(4)].into_iter().for_each(|node| cluster.resume(node));
}

/// QRW-1. What was appended before it was noticed is unknown; what comes then certainly never happens.
#[test]
fn a_leader_that_hears_no_write_quorum_refuses_what_comes_and_heals_by_itself() {
    let mut cluster = five();
    pause_three(&mut cluster);
    let appended = cluster.set(b"x", b"1");
    cluster.run_for(SILENCE + 10);
    let last = cluster.status(A, G).last;
    let (write, read) = (cluster.set(b"x", b"2"), cluster.get(b"x"));
    for refused in [write, read] {
        let refusal = Refusal::NoQuorum { group: G, have: 2, need: 3 };
        assert_eq!(cluster.end(refused), Some(&End::Refused(refusal)));
    }
    assert_eq!(cluster.status(A, G).last, last, "what is refused is not appended");
    assert_eq!(cluster.status(A, G).state, GroupState::Waiting { have: 2, need: 3 });
    assert_eq!(cluster.end(appended), None);
    cluster.run_for(5_000);
    assert!(matches!(cluster.end(appended), Some(End::Unknown(_))), "{:?}", cluster.end(appended));

    resume_three(&mut cluster);
    cluster.run_for(1);
    assert_eq!(cluster.status(A, G).state, GroupState::Serving);
    let read = cluster.get(b"x");
    cluster.settle();
    assert_eq!(cluster.answer(read), Answer::Bulk(b"1"));
    let write = cluster.set(b"x", b"3");
    cluster.settle();
    cluster.assert_done(write);
    cluster.check();
}

#[test]
fn reads_that_wait_for_a_lease_are_refused_once_nobody_is_heard() {
    let mut cluster = five();
    cluster.run_for(1_000);
    pause_three(&mut cluster);
    let read = cluster.get(b"x");
    cluster.run_for(SILENCE / 2);
    assert_eq!(cluster.end(read), None);
    cluster.run_for(SILENCE);
    let refusal = Refusal::NoLease { group: G, have: 2, need: 3 };
    assert_eq!(cluster.end(read), Some(&End::Refused(refusal)));
    // Nothing waits any more, and the members are asked nevertheless.
    resume_three(&mut cluster);
    cluster.run_for(SILENCE);
    let read = cluster.get(b"x");
    cluster.settle();
    assert_eq!(cluster.answer(read), Answer::Bulk(b"0"));
}

/// What is not sent cannot be answered: what was said long ago by a group that nobody used says nothing.
#[test]
fn a_group_that_nobody_used_for_long_takes_the_first_write() {
    let mut cluster = five();
    cluster.run_for(60_000);
    let write = cluster.set(b"x", b"1");
    cluster.settle();
    cluster.assert_done(write);
}

/// One of the two that are needed is enough to wait for as long as it takes; there is no other news than theirs.
#[test]
fn a_leader_that_hears_a_write_quorum_and_no_more_goes_on() {
    let mut cluster = five();
    cluster.pause(B);
    cluster.pause(C);
    for _ in 0..20 {
        let write = cluster.set(b"x", b"1");
        cluster.run_for(SILENCE / 5);
        cluster.assert_done(write);
    }
    assert_eq!(cluster.status(A, G).state, GroupState::Serving);
}

/// A node that was suspended finds its alarm over-due before it has read what came meanwhile.
#[test]
fn a_leader_that_stood_still_itself_asks_before_it_refuses() {
    let mut cluster = five();
    pause_three(&mut cluster);
    let under_way = cluster.set(b"x", b"1");
    cluster.run_for(SILENCE / 3 + 5);
    // The members have answered, and the leader is suspended before it reads that.
    resume_three(&mut cluster);
    for node in [B, C, NodeId(4)] {
        while cluster.deliver(A, node) {}
    }
    cluster.tick(10_000);
    cluster.end_turn(A);
    let write = cluster.set(b"x", b"2");
    cluster.settle();
    cluster.assert_done(write);
    assert!(cluster.end(under_way).is_some());
    cluster.check();
}

/// A connection may be full of large answers, and who is at its other end be well.
#[test]
fn members_behind_full_connections_have_longer_and_not_for_ever() {
    let mut cluster = five();
    pause_three(&mut cluster);
    for node in [B, C] {
        cluster.set_busy(A, node, true);
    }
    let write = cluster.set(b"x", b"1");
    cluster.run_for(3 * SILENCE);
    assert_eq!(cluster.status(A, G).state, GroupState::Serving);
    cluster.run_for(7 * SILENCE);
    assert_eq!(cluster.status(A, G).state, GroupState::Waiting { have: 2, need: 3 });
    for node in [B, C] {
        cluster.set_busy(A, node, false);
    }
    resume_three(&mut cluster);
    cluster.run_for(2 * SILENCE);
    cluster.assert_done(write);
    assert_eq!(cluster.status(A, G).state, GroupState::Serving);
    cluster.check();
}
