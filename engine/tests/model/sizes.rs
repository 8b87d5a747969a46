//! Sizes that are explored as a whole: nothing that must never be is found in any of them.
//!
//! Those that take longer than a change should wait for are explored with `QUORATE_MODEL_LONG=1` in the environment. How large
//! they are, and how long they take, stands in `main.rs`.

use quorate_engine::testing::model::{Bounds, Change, Fault, Links, Order};

use super::{checked, live, loss, takeover};

#[track_caller]
fn explore(name: &str, bounds: Bounds) {
    assert_eq!(checked(name, bounds), None);
}

#[track_caller]
fn explore_long(name: &str, bounds: Bounds) {
    if std::env::var_os("QUORATE_MODEL_LONG").is_some() {
        explore(name, bounds);
    }
}

/// One takeover, by B.
fn by_b() -> Vec<Change> {
    vec![takeover(2, &[1, 2, 3])]
}

fn by_b_or_c() -> Vec<Change> {
    vec![takeover(2, &[1, 2, 3]), takeover(3, &[1, 2, 3])]
}

#[test]
fn takeovers_lose_nothing() {
    let one = Bounds { changes: by_b_or_c(), order: Order::Any(1), writes: 1, ..Bounds::default() };
    explore("a takeover", one.clone());
    explore("a takeover, two writes", Bounds { changes: by_b(), writes: 2, ..Bounds::default() });
    explore("two takeovers, no write", Bounds { order: Order::Any(2), writes: 0, ..one.clone() });
    explore_long("two takeovers", Bounds { order: Order::Given, ..one });
}

#[test]
fn a_restart_without_memory_during_a_takeover_loses_nothing() {
    let one = Bounds { changes: by_b(), restarts: vec![1, 3], restarts_max: 1, ..Bounds::default() };
    explore("a restart, no write", one.clone());
    let pair = Bounds { members: 2, idle: vec![2], changes: vec![takeover(3, &[1, 3])], ..one.clone() };
    explore("a restart of one of a pair", Bounds { writes: 1, restarts: vec![2], ..pair });
    explore_long("a restart, a write", Bounds { writes: 1, idle: vec![1, 3], ..one.clone() });
    explore_long("a restart of C, a write", Bounds { writes: 1, restarts: vec![3], ..one });
}

#[test]
fn members_go_from_three_to_four_and_back() {
    let there = Bounds { nodes: 4, writes: 1, changes: vec![live(&[1, 2, 3, 4])], ..Bounds::default() };
    explore("from three to four", there.clone());
    let and_back = Bounds { changes: vec![live(&[1, 2, 3, 4]), live(&[1, 2, 4])], ..there };
    explore("and back, no write", Bounds { writes: 0, ..and_back.clone() });
    explore_long("and back", Bounds { idle: vec![3, 4], ..and_back });
}

#[test]
fn two_of_four_members_hold_a_write() {
    let changes = vec![takeover(2, &[1, 2, 3, 4])];
    explore("four members", Bounds { nodes: 4, members: 4, writes: 1, changes, ..Bounds::default() });
}

#[test]
fn a_pair_changes_one_of_its_members_and_is_taken_over() {
    let pair = |changes| Bounds { members: 2, writes: 1, changes, ..Bounds::default() };
    explore("a pair, live, then taken over", pair(vec![live(&[1, 3]), takeover(3, &[2, 3])]));
    explore("a pair, taken over twice", pair(vec![takeover(3, &[2, 3]), takeover(3, &[2, 3])]));
}

#[test]
fn what_is_acknowledged_behind_a_loss_stays() {
    let changes = vec![loss(3, &[1, 2, 3])];
    let one = Bounds { changes, restarts: vec![1, 2], restarts_max: 2, ..Bounds::default() };
    explore("a loss with one left, no write", Bounds { idle: vec![1, 2], ..one.clone() });
    explore_long("a loss with one left", Bounds { idle: vec![1, 2], writes: 1, ..one });
    let pair = Bounds { members: 2, restarts: vec![1, 2], restarts_max: 2, writes: 1, ..Bounds::default() };
    let nobody = Bounds { nodes: 2, changes: vec![loss(2, &[1, 2])], ..pair.clone() };
    explore("a loss with nobody left", Bounds { idle: vec![1], ..nobody });
    // One is enough for a write, so C may have copied what B has not.
    let changes = vec![loss(2, &[2, 3])];
    let learner = Bounds { write_quorum: 1, changes, restarts: vec![1], restarts_max: 1, writes: 2, ..pair };
    explore_long("a loss that a learner has not suffered", learner);
}

/// Row `loss-alive` of the protocol: A and B are declared dead, and run.
#[test]
fn an_operator_who_lies_is_found_out() {
    let lie = Bounds { nodes: 4, writes: 2, has_liar: true, changes: vec![loss(3, &[3, 4])], ..Bounds::default() };
    assert_eq!(checked("loss-alive", lie), Some(Fault::Outlived));
}

#[test]
fn messages_are_overtaken_and_repeated() {
    let one = Bounds { changes: by_b(), ..Bounds::default() };
    explore("unordered", Bounds { links: Links::Unordered, writes: 1, ..one.clone() });
    explore("repeating, no write", Bounds { links: Links::Repeating, ..one.clone() });
    explore_long("repeating", Bounds { links: Links::Repeating, writes: 1, ..one });
}

#[test]
fn nobody_reads_what_is_old() {
    let one = Bounds { changes: by_b(), ticks: 1, ..Bounds::default() };
    explore("a lease, a write", Bounds { writes: 1, leased: true, ..one.clone() });
    // Row `lease-sticky` of the protocol: who was deposed and is to lead again has no lease left. That it leads, and what it
    // was granted, are one value, which ends when it is deposed; so there is no rule that could be taken away.
    let deposed_and_back = vec![takeover(2, &[1, 2, 3]), takeover(1, &[1, 2, 3])];
    explore(
        "a lease of a leader that is to lead again",
        Bounds { leased: true, changes: deposed_and_back, ..one.clone() },
    );
    explore("a lease, a renewal", Bounds { renewals: 1, ..one.clone() });
    explore("a lease of two ticks, a renewal", Bounds { renewals: 1, ticks: 2, lease_ticks: 2, ..one.clone() });
    explore_long("a lease, a write, a renewal", Bounds { renewals: 1, writes: 1, ..one });
}
