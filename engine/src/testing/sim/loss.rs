//! Losses: so many nodes lose their memory that groups cannot go on, until an operator accepts that.
//!
//! The operator looks at the cluster now and then, and says what is true: a group is given up only when the process that led it
//! has ended, and too few of its members are left to seal. Members that only seem to be gone are declared dead all the same;
//! they end when they hear of it, and others start in their place.

use super::plan::MS;
use super::{Event, Sim};
use crate::config::{GroupConfig, Member};
use crate::control::operation::Decision;
use crate::control::planner::Planner;
use crate::control::record::ChangeKind;
use crate::control::state::{Command, Planned};
use crate::ids::{GroupId, NodeId, ReplicaId};
use crate::replication::quorum::seal_quorum;
use crate::time::Instant;

impl Sim {
    /// All nodes lose their memory, or the leader of a group and so many of its members that the others are not enough.
    pub(super) fn lose_memory(&mut self, length: u64) {
        let group = GroupId(self.rng.u32(..self.plan.partitions));
        let Some(config) = self.core.as_ref().and_then(|core| core.active(group)).cloned() else { return };
        if self.is_damaged() {
            // What is left may be what is wrong.
            return;
        }
        let mut gone: Vec<NodeId> = self.nodes.keys().copied().collect();
        if self.rng.u8(..3) > 0 {
            gone = config.members.iter().map(|member| member.node).filter(|node| *node != config.leader).collect();
            self.rng.shuffle(&mut gone);
            // Every W members meet every set that is enough to seal; the leader is one of these W.
            gone.truncate(self.rng.usize(config.write_quorum - 1..=gone.len()));
            gone.push(config.leader);
        }
        for node in gone {
            if self.nodes[&node].engine.is_some() {
                let length = self.rng.u64(..=length);
                self.end(node, length);
            }
        }
        // Whoever is left may seem to be gone as well.
        let left: Vec<NodeId> = self.nodes.keys().copied().filter(|node| self.nodes[node].engine.is_some()).collect();
        let Some(node) = self.rng.choice(left).filter(|_| self.rng.bool()) else { return };
        if let Some(core) = &mut self.core {
            core.cut_off(node, self.now + 2 * length, false);
        }
    }

    /// The operator looks at the cluster, and accepts what is lost.
    pub(super) fn look_for_losses(&mut self) {
        let wait = self.rng.u64(self.plan.operator_ns / 2..2 * self.plan.operator_ns);
        self.schedule(self.now + wait, Event::OperatorLooks);
        let is_impatient = self.rng.u8(..8) == 0 && !self.is_healed && !self.is_damaged();
        let is_due = |group: &GroupId| self.is_lost(*group) && (is_impatient || !self.is_going_on(*group));
        let mut lost: Vec<GroupId> = self.groups().filter(is_due).collect();
        if self.rng.bool() {
            lost.truncate(1);
        }
        let Some(core) = &mut self.core else { return };
        let (state, detector, now) = (&core.state, &core.detector, Instant(self.now));
        let losses = lost.into_iter().filter_map(|group| Planner::accept_loss(state, detector, group, now).ok());
        let losses: Vec<Planned> = losses.collect();
        let Some(caller) = losses.first().and_then(|loss| state.current(loss.leader)) else { return };
        let has_left = |loss: &Planned| {
            let active = state.group(loss.group).map(|record| record.active());
            loss.members.iter().any(|member| active.is_some_and(|config| config.members.contains(member)))
        };
        let has_left: Vec<bool> = losses.iter().map(has_left).collect();
        core.operations += 1;
        let (number, decision) = (core.operations, Decision::AcceptLoss(losses));
        for has_left in has_left {
            let (somebody, nobody) = ("a loss was accepted with somebody left", "a loss was accepted with nobody left");
            self.note(if has_left { somebody } else { nobody });
        }
        self.decide(&Command::Operate { caller, number, decision });
    }

    /// A node hears that this is its latest name, which nobody has: if its process has an earlier one, it ends.
    pub(super) fn hear_buried(&mut self, latest: ReplicaId) {
        let node = &self.nodes[&latest.node];
        if node.engine.is_some() && node.incarnation < latest.incarnation {
            let length = self.rng.u64(..100 * MS);
            self.end(latest.node, length);
        }
    }

    /// Whether a member's process is there.
    fn lives(&self, member: &Member) -> bool {
        let node = &self.nodes[&member.node];
        node.engine.is_some() && member.incarnation == Some(node.incarnation)
    }

    fn is_led(&self, config: &GroupConfig) -> bool {
        config.members.iter().any(|member| member.node == config.leader && self.lives(member))
    }

    /// Whether nobody can lead a group: its leader has ended, and so have too many members.
    fn is_lost(&self, group: GroupId) -> bool {
        let Some(config) = self.core.as_ref().and_then(|core| core.active(group)) else { return false };
        let living = config.members.iter().filter(|member| self.lives(member)).count();
        !self.is_led(config) && living < seal_quorum(config.members.len(), config.write_quorum)
    }

    /// Whether a loss that was accepted can still become active.
    fn is_going_on(&self, group: GroupId) -> bool {
        let Some(record) = self.core.as_ref().and_then(|core| core.state.group(group)) else { return false };
        let Some(change) = record.pending().filter(|change| change.kind == ChangeKind::Loss) else { return false };
        let config = &change.config;
        let is_left = |member: &&Member| record.active().members.contains(member);
        let living = config.members.iter().filter(|member| self.lives(member)).count();
        self.is_led(config)
            && living >= config.write_quorum
            && config.members.iter().filter(is_left).all(|member| self.lives(member))
    }
}
