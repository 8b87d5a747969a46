//! Bugs that systems like this one really had, planted where they would be, to show that the tests find them.
//!
//! They exist in builds with `RUSTFLAGS='--cfg planted'` only, and there one at a time is switched on by its number. No other build
//! has any of them.
//!
//! The layer that finds them is the simulator. First seed from 1 on that does, and how long that took on one CPU of two
//! that were busy:
//!
//! | number | bug | planted as | found by |
//! |---|---|---|---|
//! | 1 | a deposed leader answers reads | reads need no lease | 37, 3 s |
//! | 2 | late replies renew a lease | the lease counts from when an acknowledgement is received, not from what it echoes | 242, 37 s |
//! | 3 | a new leader reads too early | reads are answered before the first entry of the epoch is committed | 3, 1 s |
//! | 4 | uncommitted writes are read | a read finds a write that is only appended | 14, 3 s |
//! | 5 | two votes in one epoch | a replica promises a lower epoch after a higher one | 29, 2 s |
//! | 6 | an amnesiac counts as whole | a restart without memory keeps its incarnation | 2, below 1 s |
//! | 7 | an epoch is used twice | a change that supersedes another one gets its epoch | 3, below 1 s |
//! | 8 | a leader without a quorum keeps its seat | nodes do not say which groups they lead in name only | 4, below 1 s |
//! | 10 | committed past the quorum | W − 1 replicas are enough | 1, below 1 s |
//! | 11 | another entry at the same index confirms a write | who waits for a position goes on waiting after it was cut | 2, below 1 s |
//! | 13 | two majorities in a change of members | a change is activated before W of the new members hold the log | 4, below 1 s |
//! | 14 | a learner votes | acknowledgements of replicas outside the configuration count | not in the first 1,269, 154 s |
//! | 15 | a gap between snapshot and log | the log behind a snapshot starts one entry late | 5, below 1 s |
//! | 16 | half a snapshot is taken for the state | a seal puts an unfinished snapshot in the place of the log | 413, 39 s |
//! | 17 | two snapshots get mixed | chunks of one continue another | 224, 18 s |
//! | 20 | both leaders accept during a move | a replica goes on acknowledging a leader after it has promised a later epoch | 2, below 1 s |
//!
//! # Threads
//! One switch for the process: seeds with different bugs do not run side by side.

#[cfg(planted)]
use core::sync::atomic::{AtomicU32, Ordering};

/// All that are planted.
pub const ALL: [u32; 16] = [1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 13, 14, 15, 16, 17, 20];

#[cfg(planted)]
static CHOSEN: AtomicU32 = AtomicU32::new(0);

/// Switches one bug on, and all others off; 0 for none.
#[cfg(planted)]
pub fn choose(bug: u32) {
    // Relaxed: whoever runs a seed has chosen before, on the same thread or on one it has started since.
    CHOSEN.store(bug, Ordering::Relaxed);
}

/// Whether this bug is switched on.
#[cfg(planted)]
pub(crate) fn is(bug: u32) -> bool {
    debug_assert!(ALL.contains(&bug), "{bug} is not listed");
    CHOSEN.load(Ordering::Relaxed) == bug
}

/// Whether this bug is switched on: never, in this build.
#[cfg(not(planted))]
#[inline(always)]
pub(crate) const fn is(_bug: u32) -> bool {
    false
}
