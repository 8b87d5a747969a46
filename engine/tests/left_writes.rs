//! Stories of writes that are under way when their leader is deposed.

use quorate_engine::GroupState;
use quorate_engine::config::Config;
use quorate_engine::ids::{GroupId, NodeId};
use quorate_engine::machine::answer::Answer;
use quorate_engine::output::{Event, Token};
use quorate_engine::testing::cluster::{Cluster, End};

const A: NodeId = NodeId(1);
const B: NodeId = NodeId(2);
const C: NodeId = NodeId(3);
/// With one partition, its first leader is A.
const G: GroupId = GroupId(0);

fn three() -> Cluster {
    let mut cluster = Cluster::start_with_core(3, 1, 3, 2, Config::default());
    cluster.settle();
    cluster
}

/// Has A append a write that it sends to nobody.
fn append_alone(cluster: &mut Cluster, value: &[u8]) -> Token {
    let under_way = cluster.set(b"x", value);
    cluster.end_turn(A);
    cluster.drop_messages(A, B);
    cluster.drop_messages(A, C);
    under_way
}

#[track_caller]
fn assert_unknown(cluster: &Cluster, token: Token) {
    assert!(matches!(cluster.end(token), Some(End::Unknown(_))), "{token:?} ended as {:?}", cluster.end(token));
}

#[track_caller]
fn assert_x(cluster: &mut Cluster, value: &[u8]) {
    let read = cluster.get(b"x");
    cluster.settle();
    assert_eq!(cluster.answer(read), Answer::Bulk(value));
    cluster.check();
}

#[test]
fn they_are_answered_by_whoever_took_them_when_they_commit_under_another() {
    let mut cluster = three();
    let under_way = append_alone(&mut cluster, b"1");
    cluster.take_over(G, B);
    cluster.settle();
    // The answer of A completed the seal, so its log was the best.
    cluster.run_for(150);
    cluster.assert_done(under_way);
    assert_eq!(cluster.answer(under_way), Answer::Ok);
    assert!(matches!(cluster.status(A, G).state, GroupState::Following { .. }));
    assert_x(&mut cluster, b"1");
}

#[test]
fn one_ends_as_unknown_when_another_entry_is_committed_in_its_place() {
    let mut cluster = three();
    let under_way = append_alone(&mut cluster, b"1");
    cluster.isolate(A);
    cluster.take_over(G, B);
    cluster.settle();
    cluster.run_for(150);
    assert_eq!(cluster.status(B, G).state, GroupState::Serving);
    cluster.heal();
    cluster.run_for(150);
    assert_unknown(&cluster, under_way);
    let other = cluster.set(b"x", b"2");
    cluster.settle();
    cluster.assert_done(other);
    assert_x(&mut cluster, b"2");
}

#[test]
fn a_leader_that_leads_again_answers_what_it_appended_before() {
    let mut cluster = three();
    let under_way = append_alone(&mut cluster, b"1");
    cluster.take_over(G, B);
    cluster.end_turn(B);
    assert!(cluster.deliver(B, A), "the seal");
    assert!(matches!(cluster.status(A, G).state, GroupState::Following { .. }));
    assert_eq!(cluster.status(A, G).waiter_count, 1);
    cluster.isolate(B);
    cluster.take_over(G, A);
    cluster.settle();
    cluster.run_for(150);
    assert_eq!(cluster.status(A, G).state, GroupState::Serving);
    cluster.assert_done(under_way);
    assert_x(&mut cluster, b"1");
}

#[test]
fn they_end_as_unknown_in_time_when_nobody_tells_what_became_of_them() {
    let mut cluster = three();
    let under_way = append_alone(&mut cluster, b"1");
    cluster.take_over(G, B);
    cluster.end_turn(B);
    assert!(cluster.deliver(B, A), "the seal");
    cluster.isolate(A);
    cluster.run_for(4_000);
    assert_eq!(cluster.end(under_way), None);
    cluster.run_for(1_100);
    assert_unknown(&cluster, under_way);
    assert_eq!(cluster.status(A, G).waiter_count, 0);
}

/// Whoever goes on after a loss may have answered somebody before this replica hears of it.
#[test]
fn nobody_is_answered_any_more_once_a_loss_is_accepted() {
    let mut cluster = three();
    let under_way = append_alone(&mut cluster, b"1");
    cluster.take_over(G, B);
    cluster.end_turn(B);
    assert!(cluster.deliver(B, A), "the seal");
    cluster.crash(B);
    cluster.restart(C);
    cluster.settle();
    assert_eq!(cluster.end(under_way), None);
    cluster.accept_loss(G, &[A, C]);
    cluster.end_turn(A);
    assert_unknown(&cluster, under_way);
}

/// B and C would be enough, and neither has what A has appended.
#[test]
fn who_takes_over_waits_for_the_leader_before_as_long_as_it_has_to_wait_anyway() {
    let mut cluster = three();
    let under_way = append_alone(&mut cluster, b"1");
    cluster.pause(A);
    cluster.take_over(G, B);
    cluster.run_for(20);
    assert_eq!(cluster.status(B, G).state, GroupState::TakingOver);
    cluster.resume(A);
    cluster.run_for(20);
    assert_eq!(cluster.status(B, G).state, GroupState::Serving);
    cluster.assert_done(under_way);
    assert_x(&mut cluster, b"1");
}

#[test]
fn who_takes_over_from_a_leader_that_does_not_answer_waits_no_longer_than_for_leases() {
    let mut cluster = three();
    let under_way = append_alone(&mut cluster, b"1");
    cluster.pause(A);
    cluster.take_over(G, B);
    cluster.run_for(150);
    assert_eq!(cluster.status(B, G).state, GroupState::Serving);
    cluster.resume(A);
    cluster.run_for(150);
    assert_unknown(&cluster, under_way);
    cluster.check();
}

/// Nothing comes from a leader whose connection is lost.
#[test]
fn who_takes_over_from_a_leader_that_is_lost_asks_for_the_log_at_once() {
    let mut cluster = three();
    cluster.pause(A);
    cluster.take_over(G, B);
    cluster.run_for(5);
    let adopted = |cluster: &Cluster| {
        cluster.events().iter().any(|(node, event)| *node == B && matches!(event, Event::Adopted { .. }))
    };
    assert!(!adopted(&cluster));
    cluster.crash(A);
    cluster.run_for(5);
    assert!(adopted(&cluster));
    cluster.run_for(150);
    assert_eq!(cluster.status(B, G).state, GroupState::Serving);
    cluster.check();
}
