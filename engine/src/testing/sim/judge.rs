//! The invariants that are checked from outside, after every turn of a node and at the end.
//!
//! I1: replicas that have applied the same index of a group, by entries of one loss generation, are in the same state; where a
//! loss was accepted, by the same entry, as what goes on then may begin with entries of a leader before that were never
//! committed, and others were in their place. I2: the
//! commit index of one run of a node never falls, unless it says that it gives up what was lost, and what one run has applied
//! another never sees otherwise. Nobody answers in an earlier loss generation of a group than somebody has before. The engine
//! asserts the others itself, and that what is kept of a state fits its bytes, unless one was flipped there.

use std::collections::BTreeMap;

use super::LossGen;
use crate::engine::Engine;
use crate::ids::{Epoch, GroupId, LogIndex, ReplicaId};

/// What replicas of a group have in common that are to be in the same state at the same index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct History {
    /// The loss generation of the last entry applied.
    pub(super) loss_gen: LossGen,
    /// Its stamp, if a loss was accepted.
    pub(super) stamp: Option<Epoch>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Judge {
    /// The digest of each group at each index that any replica has applied, by the history it belongs to.
    states: BTreeMap<(GroupId, History, LogIndex), (ReplicaId, u64)>,
    commits: BTreeMap<(ReplicaId, GroupId), LogIndex>,
    /// The latest loss generation of each group in which anybody has answered.
    loss_gens: BTreeMap<GroupId, LossGen>,
    turns: u64,
}

/// Turns between two checks of what costs time.
const TURNS_PER_CHECK: u64 = 256;

impl Judge {
    /// Looks at a node after its turn. `history_of` tells the history that an entry of a group with this stamp belongs to.
    ///
    /// # Panics
    /// If an invariant does not hold.
    pub(super) fn look(
        &mut self,
        replica: ReplicaId,
        engine: &Engine,
        history_of: impl Fn(GroupId, Epoch) -> History,
        is_damaged: bool,
    ) {
        self.turns += 1;
        engine.visit_positions(|group, commit, applied, digest| {
            let before = self.commits.insert((replica, group), commit).unwrap_or_default();
            assert!(before <= commit, "I2: commit of {group} fell from {before} to {commit} at {replica:?}");
            let place = (group, history_of(group, applied.epoch), applied.index);
            let (other, known) = *self.states.entry(place).or_insert((replica, digest));
            assert_eq!(digest, known, "I1: {replica:?} and {other:?} differ at {applied} of {group}");
        });
        if self.turns.is_multiple_of(TURNS_PER_CHECK) && !is_damaged {
            engine.check();
        }
    }

    /// A replica gives up what it holds of a group.
    pub(super) fn forget(&mut self, replica: ReplicaId, group: GroupId) {
        self.commits.remove(&(replica, group));
    }

    /// A request about a group was answered in this loss generation.
    ///
    /// # Panics
    /// If another one was answered in a later one before.
    pub(super) fn answer(&mut self, group: GroupId, loss_gen: LossGen) {
        let latest = self.loss_gens.entry(group).or_default();
        assert!(*latest <= loss_gen, "an answer of loss generation {loss_gen} of {group} comes after one of {latest}");
        *latest = loss_gen;
    }
}
