//! The invariants that are checked from outside, after every turn of a node and at the end.
//!
//! I1: replicas that have applied the same index of a group are in the same state. I2: the commit index of one run of a
//! node never falls, and what one run has applied another never sees otherwise. The engine asserts the others itself, and that
//! what is kept of a state fits its bytes, unless one was flipped there.

use std::collections::BTreeMap;

use crate::engine::Engine;
use crate::ids::{GroupId, LogIndex, ReplicaId};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Judge {
    /// The digest of each group at each index that any replica has applied.
    states: BTreeMap<(GroupId, LogIndex), (ReplicaId, u64)>,
    commits: BTreeMap<(ReplicaId, GroupId), LogIndex>,
    turns: u64,
}

/// Turns between two checks of what costs time.
const TURNS_PER_CHECK: u64 = 256;

impl Judge {
    /// Looks at a node after its turn.
    ///
    /// # Panics
    /// If an invariant does not hold.
    pub(super) fn look(&mut self, replica: ReplicaId, engine: &Engine, is_damaged: bool) {
        self.turns += 1;
        engine.visit_positions(|group, commit, applied, digest| {
            let before = self.commits.insert((replica, group), commit).unwrap_or_default();
            assert!(before <= commit, "I2: commit of {group} fell from {before} to {commit} at {replica:?}");
            let (other, known) = *self.states.entry((group, applied)).or_insert((replica, digest));
            assert_eq!(digest, known, "I1: {replica:?} and {other:?} differ at {applied} of {group}");
        });
        if self.turns.is_multiple_of(TURNS_PER_CHECK) && !is_damaged {
            engine.check();
        }
    }
}
