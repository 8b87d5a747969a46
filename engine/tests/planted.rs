//! The simulator finds each planted bug: one seed is recorded for each of them. Needs `RUSTFLAGS='--cfg planted'`.

#![cfg(planted)]

use std::panic::catch_unwind;

use quorate_engine::planted::{ALL, choose};
use quorate_engine::testing::sim::{Mode, run};

/// Bugs, and the first seed from 1 on that finds each of them.
const FOUND: [(u32, u64); 15] = [
    (1, 37),
    (2, 1_721),
    (3, 3),
    (4, 14),
    (5, 203),
    (6, 2),
    (7, 1),
    (8, 10),
    (10, 3),
    (11, 1),
    (13, 7),
    (15, 3),
    (16, 413),
    (17, 237),
    (20, 7),
];

/// Planted, and not found by as many seeds as there was time for: some hundreds. 99 has not been looked for yet.
const HIDDEN: [u32; 2] = [14, 99];

#[test]
fn each_planted_bug_is_found_by_its_seed_and_nothing_else_is() {
    // What fails says so at length, and is meant to.
    std::panic::set_hook(Box::new(|_| ()));
    for (bug, seed) in FOUND {
        choose(bug);
        let found = catch_unwind(|| run(seed, Mode::Core));
        choose(0);
        let clean = catch_unwind(|| run(seed, Mode::Core));
        assert!(found.is_err(), "seed {seed} does not find bug {bug} any more");
        assert!(clean.is_ok(), "seed {seed} fails without any bug");
    }
}

#[test]
fn every_bug_is_accounted_for() {
    let mut known: Vec<u32> = FOUND.iter().map(|(bug, _)| *bug).chain(HIDDEN).collect();
    known.sort_unstable();
    assert_eq!(known, ALL);
}
