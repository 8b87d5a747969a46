//! Bugs that systems like this one really had, planted where they would be, to show that the tests find them.
//!
//! They exist in builds with `RUSTFLAGS='--cfg planted'` only, and there one at a time is switched on by its number. No other build
//! has any of them.
//!
//! The layer that finds them is the simulator. First seed from 1 on that does, and the time until then on one CPU:
//!
//! | number | bug | planted as | found by |
//! |---|---|---|---|
//! | 1 | a deposed leader answers reads | reads need no lease | 24, below 1 s |
//! | 2 | late replies renew a lease | the lease counts from when an acknowledgement is received, not from what it echoes | 2,619, 46 s |
//! | 3 | a new leader reads too early | reads are answered before the first entry of the epoch is committed | 18, below 1 s |
//! | 4 | uncommitted writes are read | a read finds a write that is only appended | 20, below 1 s |
//! | 5 | two votes in one epoch | a replica promises a lower epoch after a higher one | 9, below 1 s |
//! | 6 | an amnesiac counts as whole | a restart without memory keeps its incarnation | 4, below 1 s |
//! | 7 | an epoch is used twice | a change that supersedes another one gets its epoch | 2, below 1 s |
//! | 8 | a leader without a quorum keeps its seat | nodes do not say which groups they lead in name only | 8, below 1 s |
//! | 10 | committed past the quorum | W − 1 replicas are enough | 3, below 1 s |
//! | 11 | another entry at the same index confirms a write | who waits for a position goes on waiting after it was cut | 7, below 1 s |
//! | 13 | two majorities in a change of members | a change is activated before W of the new members hold the log | 10, below 1 s |
//! | 14 | a learner votes | acknowledgements of replicas outside the configuration count | not in the first 3,000, 80 s; the model finds it |
//! | 15 | a gap between snapshot and log | the log behind a snapshot starts one entry late | 7, below 1 s |
//! | 16 | half a snapshot is taken for the state | a seal puts an unfinished snapshot in the place of the log | 2, below 1 s |
//! | 17 | two snapshots get mixed | chunks of one continue another | 13, below 1 s |
//! | 20 | both leaders accept during a move | a replica goes on acknowledging a leader after it has promised a later epoch | 8, below 1 s |
//! | 99 | a wrong state is never noticed | what the scrub and the comparison find is ignored | 22, below 1 s |
//!
//! Rules of the replication protocol can be taken away in the same way ([`rule`]); those are for the model, whose findings stand
//! in `tests/model/main.rs`.
//!
//! # Threads
//! One switch for the process: seeds with different bugs do not run side by side.

#[cfg(planted)]
use core::sync::atomic::{AtomicU32, Ordering};

/// All bugs that are planted.
pub const ALL: [u32; 17] = [1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 13, 14, 15, 16, 17, 20, 99];

/// Rules of the replication protocol that can be taken away, as numbers above those of the bugs. Section 2 of the protocol tells what
/// happens then; the model finds it (`tests/model.rs`).
pub mod rule {
    /// Entries keep the epoch they were born in when another leader inherits them.
    pub const KEEP_STAMPS: u32 = 101;
    /// A new epoch is no reason to cut a log.
    pub const CUT_ON_CONFLICT_ONLY: u32 = 102;
    /// The lease rests on members of the active configuration only.
    pub const LEASE_OF_MEMBERS: u32 = 103;
    /// While it is unknown whether a change is active, the lease of the members before is needed too.
    pub const LEASE_OF_BOTH: u32 = 104;
    /// A candidate acknowledges nothing before its epoch is active.
    pub const ACTIVE_BEFORE_ACK: u32 = 105;
    /// Members of the active configuration are sealed.
    pub const SEAL_THE_ACTIVE: u32 = 106;
    /// The later birth epoch wins over the longer log.
    pub const STAMP_BEFORE_LENGTH: u32 = 107;
    /// What is acknowledged is the prefix known to be equal to the leader's log.
    pub const ACK_WHAT_MATCHES: u32 = 108;
    /// A leader that was sealed leads no more.
    pub const SEALED_IS_DEPOSED: u32 = 109;
    /// A live change starts from the configuration that is active, and its leader leads that one.
    pub const LIVE_FROM_ACTIVE: u32 = 110;
    /// So many are sealed that they meet every write quorum.
    pub const SEAL_QUORUM: u32 = 111;
    /// Acknowledgements of learners do not count.
    pub const MEMBERS_COUNT: u32 = 112;
    /// Leases that were granted are waited for.
    pub const WAIT_FOR_LEASES: u32 = 113;
    /// Whoever is sealed says how long its grants run, to the end.
    pub const WHOLE_GRANT: u32 = 114;
    /// That wait comes before the activation.
    pub const WAIT_BEFORE_ACTIVE: u32 = 115;

    /// All of them.
    pub const ALL: [u32; 15] = [
        KEEP_STAMPS,
        CUT_ON_CONFLICT_ONLY,
        LEASE_OF_MEMBERS,
        LEASE_OF_BOTH,
        ACTIVE_BEFORE_ACK,
        SEAL_THE_ACTIVE,
        STAMP_BEFORE_LENGTH,
        ACK_WHAT_MATCHES,
        SEALED_IS_DEPOSED,
        LIVE_FROM_ACTIVE,
        SEAL_QUORUM,
        MEMBERS_COUNT,
        WAIT_FOR_LEASES,
        WHOLE_GRANT,
        WAIT_BEFORE_ACTIVE,
    ];
}

#[cfg(planted)]
static CHOSEN: AtomicU32 = AtomicU32::new(0);

/// Switches one bug on, or one rule off, and nothing else; 0 for none.
#[cfg(planted)]
pub fn choose(bug: u32) {
    // Relaxed: whoever runs a seed has chosen before, on the same thread or on one it has started since.
    CHOSEN.store(bug, Ordering::Relaxed);
}

/// Whether this bug is switched on, or this rule off.
#[cfg(planted)]
pub(crate) fn is(bug: u32) -> bool {
    debug_assert!(ALL.contains(&bug) || rule::ALL.contains(&bug), "{bug} is not listed");
    CHOSEN.load(Ordering::Relaxed) == bug
}

/// Whether this bug is switched on: never, in this build.
#[cfg(not(planted))]
#[inline(always)]
pub(crate) const fn is(_bug: u32) -> bool {
    false
}
