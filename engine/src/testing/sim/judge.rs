//! The invariants that are checked from outside, after every turn of a node and at the end.
//!
//! I1: replicas that have applied the same index of a group, by entries of one loss generation, are in the same state. I2: the
//! commit index of one run of a node never falls, unless it says that it gives up what was lost, and what one run has applied
//! another never sees otherwise. Nobody answers in an earlier loss generation of a group than somebody has before. The engine
//! asserts the others itself, and that what is kept of a state fits its bytes, unless one was flipped there.

use std::collections::BTreeMap;

use super::LossGen;
use crate::engine::Engine;
use crate::ids::{Epoch, GroupId, LogIndex, ReplicaId};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Judge {
    /// The digest of each group at each index that any replica has applied, by the loss generation of the entry there.
    states: BTreeMap<(GroupId, LossGen, LogIndex), (ReplicaId, u64)>,
    commits: BTreeMap<(ReplicaId, GroupId), LogIndex>,
    /// The latest loss generation of each group in which anybody has answered.
    loss_gens: BTreeMap<GroupId, LossGen>,
    turns: u64,
}

/// Turns between two checks of what costs time.
const TURNS_PER_CHECK: u64 = 256;

impl Judge {
    /// Looks at a node after its turn. `loss_gen_of` tells the loss generation of an epoch.
    ///
    /// # Panics
    /// If an invariant does not hold.
    pub(super) fn look(
        &mut self,
        replica: ReplicaId,
        engine: &Engine,
        loss_gen_of: impl Fn(GroupId, Epoch) -> LossGen,
        is_damaged: bool,
    ) {
        self.turns += 1;
        engine.visit_positions(|group, commit, applied, digest| {
            let before = self.commits.insert((replica, group), commit).unwrap_or_default();
            assert!(before <= commit, "I2: commit of {group} fell from {before} to {commit} at {replica:?}");
            let place = (group, loss_gen_of(group, applied.epoch), applied.index);
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
