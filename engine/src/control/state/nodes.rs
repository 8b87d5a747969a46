//! Runs of nodes: who registers, who is down, whose clock is off, who leaves and who is gone for good.

use std::collections::BTreeSet;

use super::{Holder, Registered, State};
use crate::control::journal::Event;
use crate::control::operation::Left;
use crate::control::roster::{RosterError, Unwelcome, place};
use crate::ids::{GroupId, Incarnation, NodeId, ReplicaId};
use crate::planted;

impl State {
    pub(super) fn register(
        &mut self,
        node: NodeId,
        nonce: u64,
        happened: &mut Vec<Event>,
    ) -> Result<ReplicaId, Unwelcome> {
        if let Some(known) = self.registered(node, nonce) {
            return Ok(known);
        }
        if let Some(unwelcome) = self.unwelcome(node) {
            return Err(unwelcome);
        }
        if !self.nodes.contains_key(&node) && !self.birth.nodes.contains(&node) {
            happened.push(Event::NodeJoined { node });
        }
        let incarnation = if planted::is(6) && self.nodes.contains_key(&node) {
            self.nodes[&node].incarnation
        } else {
            Incarnation(self.last_incarnation.0 + 1)
        };
        self.last_incarnation = self.last_incarnation.max(incarnation);
        let before = self.lost();
        self.forget_condition(node);
        self.nodes.insert(node, Registered { incarnation, holder: Holder::Process(nonce) });
        happened.push(Event::NodeUp { run: ReplicaId { node, incarnation } });
        self.note_lost(&before, happened);
        if self.roster.set_draining(node, false) {
            happened.push(Event::DrainEnded { node });
        }
        if self.groups.is_empty() && self.birth.nodes.iter().all(|node| self.nodes.contains_key(node)) {
            self.form_groups();
        }
        self.place();
        Ok(ReplicaId { node, incarnation })
    }

    /// Has each group held by as many nodes as there are replicas, if there are so many, and by none that is to hold nothing.
    fn place(&mut self) {
        let placed = self.placed_without(self.roster.draining());
        for (group, nodes) in self.groups.iter_mut().zip(placed) {
            group.nodes = nodes;
        }
    }

    /// Returns the nodes that would hold each group if these ones held none.
    fn placed_without(&self, leaving: &BTreeSet<NodeId>) -> Vec<Vec<NodeId>> {
        let held: Vec<&[NodeId]> = self.groups.iter().map(|group| group.nodes.as_slice()).collect();
        let able = self.runs().filter(|run| !self.down.contains(run)).map(|run| run.node).collect();
        place(&held, leaving, &able, self.birth.replicas)
    }

    /// Has a node hold nothing, or groups again like any other.
    pub(super) fn drain(
        &mut self,
        node: NodeId,
        is_wanted: bool,
        happened: &mut Vec<Event>,
    ) -> Result<Left, RosterError> {
        if !self.nodes.contains_key(&node) {
            return Err(RosterError::NoNode { node });
        }
        if is_wanted {
            let leaving = self.roster.draining().iter().copied().chain([node]).collect();
            let need = self.birth.write_quorum;
            let placed = (0..).map(GroupId).zip(self.placed_without(&leaving));
            if let Some((group, nodes)) = placed.into_iter().find(|(_, nodes)| nodes.len() < need) {
                return Err(RosterError::TooFew { group, have: nodes.len(), need });
            }
        }
        if self.roster.set_draining(node, is_wanted) {
            happened.push(if is_wanted { Event::DrainBegan { node } } else { Event::DrainEnded { node } });
            self.place();
            if is_wanted && self.left(node).held == 0 {
                happened.push(Event::Drained { node });
            }
        }
        Ok(self.left(node))
    }

    /// Takes a node out that holds nothing.
    pub(super) fn remove(&mut self, node: NodeId, happened: &mut Vec<Event>) -> Result<(), RosterError> {
        if !self.nodes.contains_key(&node) {
            return Err(RosterError::NoNode { node });
        }
        let placed = self.groups.iter().filter(|group| group.nodes.contains(&node)).count();
        let held = self.left(node).held.max(placed);
        if held > 0 {
            return Err(RosterError::Holds { node, held });
        }
        self.nodes.remove(&node);
        self.answered.remove(&node);
        self.forget_condition(node);
        self.roster.remove(node);
        happened.push(Event::NodeRemoved { node });
        Ok(())
    }

    pub(super) fn observe(&mut self, down: &[ReplicaId], back: &[ReplicaId], happened: &mut Vec<Event>) {
        for run in down.iter().copied().filter(|run| self.is_current(*run)).collect::<Vec<_>>() {
            if self.down.insert(run) {
                happened.push(Event::NodeDown { run });
            }
        }
        for run in back.iter().copied() {
            if self.down.remove(&run) {
                happened.push(Event::NodeBack { run });
                let copied = self.groups.iter().filter(|group| group.record.learners().contains(&run));
                let copied = copied.map(|group| group.record.active().group);
                happened.extend(copied.map(|group| Event::ResyncStarted { group, replica: run }));
            }
        }
    }

    pub(super) fn observe_clocks(&mut self, off: &[(ReplicaId, i64)], right: &[ReplicaId], happened: &mut Vec<Event>) {
        for (run, ppm) in off.iter().copied() {
            if self.is_current(run) && self.off.insert(run) {
                happened.push(Event::ClockOff { run, ppm });
            }
        }
        for run in right.iter().copied() {
            if self.off.remove(&run) {
                happened.push(Event::ClockRight { run });
            }
        }
    }

    /// What was agreed on of how a node is was said of a run that is gone.
    fn forget_condition(&mut self, node: NodeId) {
        self.down.retain(|run| run.node != node);
        self.off.retain(|run| run.node != node);
    }

    /// Has a run be gone for good, though no other one of its node is there.
    pub(super) fn bury(&mut self, run: ReplicaId) {
        if !self.is_current(run) {
            return;
        }
        self.last_incarnation = Incarnation(self.last_incarnation.0 + 1);
        self.forget_condition(run.node);
        self.nodes.insert(run.node, Registered { incarnation: self.last_incarnation, holder: Holder::Nobody });
        // Whoever counts on it is to hear of it.
        let groups = self.groups.iter_mut().filter(|group| group.record.active().counts(run));
        groups.for_each(|group| group.record.note_dead());
    }
}
