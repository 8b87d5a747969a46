//! Rules that are taken away: for each of them the model shows what it was for.

use std::collections::BTreeSet;

use quorate_engine::planted::{choose, rule};
use quorate_engine::testing::model::{Bounds, Fault};

use super::{checked, live, takeover};

/// A rule of section 2 of the replication protocol, by the name of its row.
struct Row {
    name: &'static str,
    /// What takes it away: a rule, or a bug that is the same.
    switch: u32,
    bounds: Bounds,
    /// What happens then.
    fault: Fault,
}

fn rows() -> Vec<Row> {
    let row = |name, switch, fault, bounds| Row { name, switch, bounds, fault };
    let lost = |name, switch, bounds| row(name, switch, Fault::Lost, bounds);
    let stale = |name, switch, bounds| row(name, switch, Fault::Stale, bounds);
    let wrote = || Bounds { writes: 1, ..Bounds::default() };
    // Who reads first renews the lease, by whichever answer comes.
    let leased = || Bounds { renewals: 1, ticks: 1, ..Bounds::default() };
    // With two members that both hold a write, one is enough to seal, and a third node is a learner.
    let two = || Bounds { members: 2, ..Bounds::default() };
    let by = |leader| takeover(leader, &[1, 2, 3]);
    let all = &[1, 2, 3];
    vec![
        lost("restamp", rule::KEEP_STAMPS, Bounds { changes: vec![by(3)], ..wrote() }),
        lost("wipe", rule::CUT_ON_CONFLICT_ONLY, Bounds { changes: vec![by(2)], ..wrote() }),
        lost("activate-early", 13, Bounds { writes: 1, changes: vec![live(&[1, 3]), takeover(3, &[2, 3])], ..two() }),
        stale(
            "lease-old",
            rule::LEASE_OF_MEMBERS,
            Bounds { renewals: 1, ticks: 1, changes: vec![live(&[1, 3]), takeover(3, &[2, 3])], ..two() },
        ),
        stale(
            "lease-new-only",
            rule::LEASE_OF_BOTH,
            Bounds { renewals: 1, ticks: 1, changes: vec![live(&[1, 3]), takeover(2, &[2, 3])], ..two() },
        ),
        lost("amnesia", 6, Bounds { restarts: vec![3], restarts_max: 1, changes: vec![by(2)], ..wrote() }),
        lost("early-ack-new", rule::ACTIVE_BEFORE_ACK, Bounds { changes: vec![by(2), live(all)], ..wrote() }),
        row("count-inherited", 11, Fault::Misattributed, Bounds { changes: vec![by(2), by(1)], ..wrote() }),
        lost(
            "target-pending",
            rule::SEAL_THE_ACTIVE,
            Bounds { nodes: 4, changes: vec![takeover(2, &[1, 2, 4])], ..wrote() },
        ),
        row("best-by-len", rule::STAMP_BEFORE_LENGTH, Fault::Forked, Bounds { changes: vec![by(2), by(3)], ..wrote() }),
        lost("ack-last", rule::ACK_WHAT_MATCHES, Bounds { changes: vec![by(2), by(3)], ..wrote() }),
        lost("sealed-leader-goes-on", rule::SEALED_IS_DEPOSED, Bounds { changes: vec![by(3)], ..wrote() }),
        lost("no-promise", 20, Bounds { changes: vec![by(2)], ..wrote() }),
        stale(
            "live-nocas",
            rule::LIVE_FROM_ACTIVE,
            Bounds { ticks: 1, changes: vec![by(2), live(all)], ..Bounds::default() },
        ),
        lost(
            "seal-majority",
            rule::SEAL_QUORUM,
            Bounds { nodes: 4, members: 4, changes: vec![takeover(3, &[1, 2, 3, 4])], ..wrote() },
        ),
        lost("count-learner", rule::MEMBERS_COUNT, Bounds { nodes: 4, changes: vec![by(2)], ..wrote() }),
        stale("lease-no-wait", rule::WAIT_FOR_LEASES, Bounds { changes: vec![by(2)], ..leased() }),
        stale("lease-drift", rule::WHOLE_GRANT, Bounds { lease_ticks: 2, changes: vec![by(2)], ..leased() }),
        stale("lease-sealed-leader-reads", rule::SEALED_IS_DEPOSED, Bounds { changes: vec![by(3)], ..leased() }),
        stale(
            "lease-wait-after",
            rule::WAIT_BEFORE_ACTIVE,
            Bounds { renewals: 1, ticks: 1, changes: vec![takeover(3, &[2, 3]), takeover(3, &[2, 3])], ..two() },
        ),
    ]
}

#[test]
fn each_rule_that_is_taken_away_is_missed() {
    // What stops says so at length, and may.
    std::panic::set_hook(Box::new(|_| ()));
    for Row { name, switch, bounds, fault } in rows() {
        choose(switch);
        let found = checked(name, bounds);
        choose(0);
        assert_eq!(found, Some(fault), "{name}");
    }
}

#[test]
fn every_rule_that_can_be_taken_away_has_a_row() {
    let switches: BTreeSet<u32> = rows().iter().map(|row| row.switch).collect();
    assert!(rule::ALL.iter().all(|rule| switches.contains(rule)));
}
