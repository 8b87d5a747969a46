//! What the core node that leads looks after (K2, K3).

use std::collections::{BTreeMap, BTreeSet};

use super::requests::Read;
use super::{Core, CoreSettings, Entry, EraStore, Role};
use crate::control::detector::Detector;
use crate::control::planner::Planner;
use crate::control::state::{Activation, Command, State};
use crate::ids::{GroupId, NodeId, ReplicaId};
use crate::time::Instant;

/// What a leader knows that nobody else does, and that the next one does not have to.
pub(super) struct Leadership {
    pub(super) round: u32,
    pub(super) planner: Planner,
    /// What lies undecided in its log (K2).
    pub(super) proposed: BTreeSet<Proposal>,
    /// Activations that wait for those in the log, so that the many of one takeover are written down together.
    pub(super) activations: BTreeMap<GroupId, Activation>,
    /// Reads that wait for the barrier in the log, and those that came after it was proposed.
    pub(super) reads: [Vec<Read>; 2],
}

/// By what two proposals are known to be the same.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Proposal {
    Registration(NodeId, u64),
    Activations,
    Change(GroupId, u64),
    Operation(ReplicaId, u64),
    Observation,
}

impl<S: EraStore> Core<S> {
    pub(super) fn advance_role(&mut self, now: Instant) {
        match (self.consensus.leads(), &self.role) {
            (_, Role::Replaced) => (),
            (None, Role::Follower | Role::Leader(_)) => self.role = Role::Follower,
            (Some(round), Role::Leader(leadership)) if leadership.round == round => (),
            (Some(round), Role::Follower | Role::Leader(_)) => self.become_leader(round, now),
        }
    }

    fn become_leader(&mut self, round: u32, now: Instant) {
        let planner = Planner::new(self.settings.patience);
        self.wants_look = true;
        let (proposed, activations, reads) = (BTreeSet::new(), BTreeMap::new(), Default::default());
        self.role = Role::Leader(Box::new(Leadership { round, planner, proposed, activations, reads }));
        if let Some(state) = &self.state {
            state.runs().for_each(|run| self.detector.expect(run, now));
        }
        if self.consensus.is_empty() {
            self.consensus.propose(Entry::Birth(self.settings.birth.clone()));
        }
    }

    /// Proposes what the planner wants changed, if this core node leads.
    pub(super) fn look_after_groups(&mut self, now: Instant) {
        if !self.hears_majority(now) {
            return;
        }
        let (Role::Leader(leadership), Some(state)) = (&mut self.role, &self.state) else { return };
        let Leadership { planner, proposed, .. } = &mut **leadership;
        let observed = observe(state, &self.detector, now);
        if let Some(observed) = observed.filter(|_| proposed.insert(Proposal::Observation)) {
            self.consensus.propose(self.wall.stamp(now, observed));
        }
        let mut plan = planner.plan(state, &self.detector, now);
        plan.retain(|planned| proposed.insert(Proposal::Change(planned.group, planned.version)));
        if !plan.is_empty() {
            self.consensus.propose(self.wall.stamp(now, Command::Change(plan)));
        }
    }

    /// Whether this core node hears more than half of them, itself included. One that was cut off has heard nobody for a
    /// while, and may lead before it does again.
    #[must_use]
    pub fn hears_majority(&self, now: Instant) -> bool {
        let CoreSettings { me, nodes, .. } = &self.settings;
        let heard = nodes.iter().filter(|node| *node == me || self.detector.is_heard(**node, now)).count();
        2 * heard > nodes.len()
    }
}

/// Returns what has changed about who is down, and whose clock is off, if anything.
fn observe(state: &State, detector: &Detector, now: Instant) -> Option<Command> {
    let is_down = |run: &ReplicaId| state.down().contains(run);
    let (suspected, well): (Vec<ReplicaId>, Vec<ReplicaId>) =
        state.runs().partition(|run| detector.is_suspected(*run, now));
    let down: Vec<ReplicaId> = suspected.into_iter().filter(|run| !is_down(run)).collect();
    let back: Vec<ReplicaId> = well.into_iter().filter(is_down).collect();
    let clocks = detector.clocks_off(now);
    // Of one that is not heard, nothing is known about its clock.
    let right = state.off().iter().filter(|run| detector.is_heard(run.node, now) && !clocks.contains_key(run));
    let right: Vec<ReplicaId> = right.copied().collect();
    let off: Vec<(ReplicaId, i64)> = clocks.into_iter().filter(|(run, _)| !state.off().contains(run)).collect();
    let has_changed = !down.is_empty() || !back.is_empty() || !off.is_empty() || !right.is_empty();
    has_changed.then_some(Command::Observe { down, back, off, right })
}
