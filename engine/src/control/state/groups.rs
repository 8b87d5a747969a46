//! Groups: how they are formed, changed and given up, and who copies them.

use std::collections::BTreeSet;

use super::{Activation, Birth, Group, Holder, Hope, Planned, State};
use crate::config::{GroupConfig, Member};
use crate::control::journal::{Event, Reason};
use crate::control::operation::{Loss, Outcome, Refusal};
use crate::control::record::{Change, ChangeKind, Record};
use crate::ids::{Epoch, GroupId, NodeId, ReplicaId};
use crate::planted::{self, rule};

impl State {
    /// Gives each group its first configuration. Nothing was written before, so it is active at once.
    pub(super) fn form_groups(&mut self) {
        let Birth { slots, nodes, replicas, write_quorum } = &self.birth;
        for group in (0..slots.group_count()).map(GroupId) {
            let first = group.0 as usize;
            let mut holders: Vec<NodeId> = (first..first + replicas).map(|place| nodes[place % nodes.len()]).collect();
            let leader = holders[0];
            holders.sort_unstable();
            let member = |node: &NodeId| Member { node: *node, incarnation: Some(self.nodes[node].incarnation) };
            let record = Record::new(GroupConfig {
                group,
                slots: slots.slots_of(group),
                epoch: Epoch(1),
                loss_gen: 0,
                leader,
                members: holders.iter().map(member).collect(),
                write_quorum: *write_quorum,
            });
            self.groups.push(Group { record, nodes: holders });
        }
    }

    /// Returns the groups that cannot be led again.
    pub(super) fn lost(&self) -> BTreeSet<GroupId> {
        let groups = self.groups.iter().map(|group| group.record.active().group);
        groups.filter(|group| self.hope(*group) != Hope::Some).collect()
    }

    /// Notes groups that cannot be led again since something has happened.
    pub(super) fn note_lost(&self, before: &BTreeSet<GroupId>, happened: &mut Vec<Event>) {
        for record in self.groups.iter().map(|group| &group.record) {
            let group = record.active().group;
            if let Hope::Lost { missing } = self.hope(group)
                && !before.contains(&group)
            {
                happened.push(Event::Unavailable { group, missing });
            }
        }
    }

    pub(super) fn change(&mut self, planned: &Planned, happened: &mut Vec<Event>) {
        let Planned { group, version, kind, leader, members, write_quorum } = planned;
        let caller = self.current(*leader);
        let Some(Group { record, .. }) = self.groups.get_mut(group.0 as usize) else { return };
        if record.version() != *version && !planted::is(rule::LIVE_FROM_ACTIVE) {
            return;
        }
        let (epoch, from) = (record.active().epoch, record.active().leader_replica());
        // What makes no configuration is not planned; if it is, nothing happens, at every core node alike.
        let begun = match (kind, caller) {
            (ChangeKind::Takeover, _) => record.take_over(*leader, members.clone(), *write_quorum),
            (ChangeKind::Live, Some(caller)) => record.change_live(epoch, caller, members.clone(), *write_quorum),
            (ChangeKind::Live, None) => return,
            (ChangeKind::Loss, _) => record.accept_loss(*leader, members.clone(), *write_quorum),
            (ChangeKind::Salvage, _) => record.salvage(*leader, members.clone(), *write_quorum),
        };
        let to = record.pending().and_then(|change| change.config.leader_replica());
        if let (ChangeKind::Takeover, Ok(epoch), Some(from), Some(to)) = (kind, begun, from, to) {
            let reason = if !self.is_current(from) {
                Reason::LeaderGone
            } else if self.down.contains(&from) {
                Reason::LeaderDown
            } else {
                Reason::LeaderMoved
            };
            happened.push(Event::TakeoverBegan { group: *group, epoch, from, to, reason });
        }
    }

    /// Has groups go on without what they miss, which is dead from now on.
    pub(super) fn accept_losses(&mut self, losses: &[Planned], happened: &mut Vec<Event>) -> Outcome {
        let before = self.lost();
        let accepted: Vec<Loss> = losses.iter().filter_map(|planned| self.accept_loss(planned, happened)).collect();
        for Loss { group, loss_gen, missing } in accepted.iter().cloned() {
            missing.iter().for_each(|run| self.bury(*run));
            happened.push(Event::LossAccepted { group, loss_gen, missing });
        }
        self.note_lost(&before, happened);
        if accepted.is_empty() { Outcome::Refused(Refusal::Overtaken) } else { Outcome::LossAccepted(accepted) }
    }

    fn accept_loss(&mut self, planned: &Planned, happened: &mut Vec<Event>) -> Option<Loss> {
        let group = planned.group;
        let before = self.group(group)?.version();
        self.change(planned, happened);
        let record = self.group(group).filter(|record| record.version() > before)?;
        let Change { config, kind } = record.pending()?;
        let mut missing: Vec<ReplicaId> =
            record.active().members.iter().filter_map(|member| member.replica()).collect();
        if *kind == ChangeKind::Salvage {
            // They may be members as well.
            missing.extend(self.nodes_of(group).iter().filter_map(|node| self.current(*node)));
            missing.sort_unstable();
            missing.dedup();
        }
        missing.retain(|run| !config.counts(*run));
        Some(Loss { group, loss_gen: config.loss_gen, missing })
    }

    /// Whether an activation would come to something: its change is pending, and led by whoever asks, who is not gone.
    #[must_use]
    pub fn is_due(&self, Activation { group, epoch, caller }: Activation) -> bool {
        let pending = self.group(group).and_then(Record::pending).map(|change| &change.config);
        let is_led = pending.is_some_and(|config| config.epoch == epoch && config.leader_replica() == Some(caller));
        is_led && self.is_current(caller)
    }

    pub(super) fn activate(&mut self, activation: Activation, happened: &mut Vec<Event>) {
        if !self.is_due(activation) {
            return;
        }
        let Activation { group, epoch, .. } = activation;
        let Some(Group { record, .. }) = self.groups.get_mut(group.0 as usize) else { return };
        let before = record.active().clone();
        record.activate(epoch);
        let active = record.active();
        if let Some(leader) = active.leader_replica().filter(|leader| before.leader_replica() != Some(*leader)) {
            happened.push(Event::LeaderChanged { group, epoch: active.epoch, leader });
        }
        let missing_in = |config: &GroupConfig, other: &GroupConfig| -> Vec<ReplicaId> {
            let runs = config.members.iter().filter_map(|member| member.replica());
            runs.filter(|run| !other.counts(*run)).collect()
        };
        let left = missing_in(&before, active).into_iter().map(|replica| Event::MemberLeft { group, replica });
        let new = missing_in(active, &before).into_iter().map(|replica| Event::ResyncDone { group, replica });
        happened.extend(left.chain(new));
        let gone = before.members.iter().map(|member| member.node).filter(|node| !active.has_node(*node));
        let drained: Vec<NodeId> = gone.filter(|node| self.roster.draining().contains(node)).collect();
        let drained = drained.into_iter().filter(|node| self.left(*node).held == 0);
        happened.extend(drained.map(|node| Event::Drained { node }));
    }

    pub(super) fn set_learners(&mut self, happened: &mut Vec<Event>) {
        for Group { record, nodes } in &mut self.groups {
            let runs = nodes.iter().filter_map(|node| {
                let known = self.nodes.get(node).filter(|known| known.holder != Holder::Nobody)?;
                Some(ReplicaId { node: *node, incarnation: known.incarnation })
            });
            let learners: Vec<ReplicaId> = runs.filter(|run| !record.active().counts(*run)).collect();
            let group = record.active().group;
            // One that is down copies nothing before it is back.
            let is_new = |run: &ReplicaId| !record.learners().contains(run) && !self.down.contains(run);
            let new = learners.iter().copied().filter(is_new);
            happened.extend(new.map(|replica| Event::ResyncStarted { group, replica }));
            record.set_learners(learners);
        }
    }
}
