//! What nodes want of the core: names, decisions about groups, operations, reads of what it keeps.
//!
//! The core node that leads decides what is proposed, or answers at once; the others drop it: whoever wants it says it again.

use std::collections::BTreeMap;

use super::leading::Proposal;
use super::{Core, CoreOutput, EraStore, ReplaceError, Role};
use crate::control::detector::Detector;
use crate::control::keyspace;
use crate::control::operation::{Decision, Operation, Outcome, Refusal, Scope};
use crate::control::planner::{NotLost, Planner};
use crate::control::record::Ask;
use crate::control::roster::RosterError;
use crate::control::state::{Activation, Command, Planned, State};
use crate::ids::{GroupId, NodeId, ReplicaId};
use crate::time::Instant;

/// A read of a key that the core keeps.
pub(super) struct Read {
    from: ReplicaId,
    number: u64,
    key: String,
}

impl<S: EraStore> Core<S> {
    pub(super) fn handle_registration(&mut self, now: Instant, node: NodeId, nonce: u64) {
        let (Role::Leader(leadership), Some(state)) = (&mut self.role, &self.state) else { return };
        if let Some(run) = state.registered(node, nonce) {
            self.outputs.push_back(CoreOutput::Registered { run, nonce });
        } else if let Some(why) = state.unwelcome(node) {
            self.outputs.push_back(CoreOutput::Unwelcome { node, why });
        } else if leadership.proposed.insert(Proposal::Registration(node, nonce)) {
            self.consensus.propose(self.wall.stamp(now, Command::Register { node, nonce }));
        }
    }

    pub(super) fn handle_ask(&mut self, now: Instant, from: ReplicaId, group: GroupId, ask: Ask) {
        let (Role::Leader(leadership), Some(state)) = (&mut self.role, &self.state) else { return };
        if state.group(group).is_none() {
            return;
        }
        if let Ask::Activate { epoch } = ask {
            leadership.activations.insert(group, Activation { group, epoch, caller: from });
            return self.begin_activations(now);
        }
        leadership.planner.note(from, group, ask);
        // While some change lies in the log, more come: they are planned together, with the next tick.
        if !leadership.proposed.iter().any(|proposal| matches!(proposal, Proposal::Change(..))) {
            self.look_after_groups(now);
        }
    }

    /// Proposes the activations that wait, if there are none in the log.
    pub(super) fn begin_activations(&mut self, now: Instant) {
        let (Role::Leader(leadership), Some(state)) = (&mut self.role, &self.state) else { return };
        if leadership.activations.is_empty() || leadership.proposed.contains(&Proposal::Activations) {
            return;
        }
        let waiting = core::mem::take(&mut leadership.activations).into_values();
        let (due, over): (Vec<Activation>, Vec<Activation>) = waiting.partition(|activation| state.is_due(*activation));
        // What has come of it before may not have been heard.
        let news = over.iter().filter_map(|Activation { group, .. }| Some((*group, state.news(*group)?)));
        self.outputs.extend(news.map(|(group, news)| CoreOutput::News { group, news }));
        if !due.is_empty() {
            leadership.proposed.insert(Proposal::Activations);
            self.consensus.propose(self.wall.stamp(now, Command::Activate(due)));
        }
    }

    pub(super) fn handle_operation(&mut self, now: Instant, from: ReplicaId, number: u64, operation: Operation) {
        let is_hearing = self.hears_majority(now);
        let (Role::Leader(leadership), Some(state)) = (&mut self.role, &self.state) else { return };
        if let Some(outcome) = state.outcome(from, number).cloned() {
            return self.outputs.push_back(CoreOutput::Operated { to: from, number, outcome });
        }
        let decision = match operation {
            Operation::Get { key } => {
                let [before, after] = &leadership.reads;
                if !before.iter().chain(after).any(|read| (read.from, read.number) == (from, number)) {
                    leadership.reads[1].push(Read { from, number, key });
                    self.begin_barrier(now);
                }
                return;
            }
            // Who is well is not known to one that hears nobody; it is said again to whoever leads then.
            Operation::AcceptLoss(_) if !is_hearing => return,
            Operation::AcceptLoss(scope) => accept_loss(state, &self.detector, scope, now).map(Decision::AcceptLoss),
            Operation::Report(events) => Ok(Decision::Report(events)),
            Operation::Set { key, value, version } => match keyspace::check(&key, &value) {
                Ok(()) => Ok(Decision::Set { key, value, version }),
                Err(error) => Err(error.into()),
            },
            // What is so already is not written down: an operator asks until it is done, and a node says it at each start.
            Operation::Drain { node, is_wanted } if state.is_draining(node) == Some(is_wanted) => {
                let outcome = Outcome::Draining(state.left(node));
                return self.outputs.push_back(CoreOutput::Operated { to: from, number, outcome });
            }
            Operation::Announce(doors) if state.roster().doors().get(&from.node) == Some(&doors) => {
                let outcome = Outcome::Announced;
                return self.outputs.push_back(CoreOutput::Operated { to: from, number, outcome });
            }
            Operation::Announce(doors) => Ok(Decision::Announce(doors)),
            Operation::Drain { node, is_wanted } => Ok(Decision::Drain { node, is_wanted }),
            Operation::Remove { node } if self.settings.nodes.contains(&node) => {
                Err(RosterError::CoreNode { node }.into())
            }
            Operation::Remove { node } => Ok(Decision::Remove { node }),
            Operation::ReplaceStore { node } => match replacement(&self.settings.nodes, &self.strangers, node) {
                Ok(store) => Ok(Decision::ReplaceStore { node, store }),
                Err(error) => Err(error.into()),
            },
        };
        match decision {
            Err(refusal) => {
                let outcome = Outcome::Refused(refusal);
                self.outputs.push_back(CoreOutput::Operated { to: from, number, outcome });
            }
            Ok(decision) if leadership.proposed.insert(Proposal::Operation(from, number)) => {
                let command = Command::Operate { caller: from, number, decision };
                self.consensus.propose(self.wall.stamp(now, command));
            }
            Ok(_) => {}
        }
    }

    /// Proposes a barrier for the reads that wait, if there is none in the log.
    fn begin_barrier(&mut self, now: Instant) {
        let Role::Leader(leadership) = &mut self.role else { return };
        let [before, after] = &mut leadership.reads;
        if before.is_empty() && !after.is_empty() {
            core::mem::swap(before, after);
            let (by, round) = (self.settings.me, leadership.round);
            self.consensus.propose(self.wall.stamp(now, Command::Barrier { by, round }));
        }
    }

    /// Answers the reads that a barrier was for. One of an earlier leader may have been decided before they came.
    pub(super) fn end_barrier(&mut self, now: Instant, by: NodeId, round: u32) {
        let (Role::Leader(leadership), Some(state)) = (&mut self.role, &self.state) else { return };
        if (by, round) != (self.settings.me, leadership.round) {
            return;
        }
        for Read { from, number, key } in leadership.reads[0].drain(..) {
            let outcome = Outcome::Value(state.keyspace().get(&key).cloned());
            self.outputs.push_back(CoreOutput::Operated { to: from, number, outcome });
        }
        self.begin_barrier(now);
    }
}

/// Returns the number of the store that can take the place of the one that a core node has lost. `strangers`: what core nodes have
/// shown that the era does not name.
fn replacement(nodes: &[NodeId], strangers: &BTreeMap<NodeId, u64>, node: NodeId) -> Result<u64, ReplaceError> {
    if !nodes.contains(&node) {
        return Err(ReplaceError::NoCoreNode { node, nodes: nodes.to_vec() });
    }
    strangers.get(&node).copied().ok_or(ReplaceError::NothingToReplace { node })
}

/// Returns the losses that an operator accepts.
fn accept_loss(state: &State, detector: &Detector, scope: Scope, now: Instant) -> Result<Vec<Planned>, Refusal> {
    let plan = |group| Planner::accept_loss(state, detector, group, now);
    match scope {
        Scope::Group(group) => Ok(vec![plan(group)?]),
        Scope::All => {
            let plans: Vec<_> = state.groups().map(|record| plan(record.active().group)).collect();
            let is_short = |plan: &&Result<Planned, NotLost>| matches!(plan, Err(NotLost::TooFew { .. }));
            if let Some(Err(error)) = plans.iter().find(is_short) {
                return Err(error.clone().into());
            }
            let losses: Vec<Planned> = plans.into_iter().flatten().collect();
            if losses.is_empty() { Err(Refusal::NothingLost) } else { Ok(losses) }
        }
    }
}
