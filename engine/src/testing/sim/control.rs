//! The consistent core as one object that never fails and knows all: the register of each group, and somebody who sees
//! to it that each has a leader.
//!
//! It is slower and less wise than it could be, so that replicas meet everything the rules allow: what is asked and what is
//! told takes its time, is lost or overtaken, and during the chaos leaders are deposed and members changed for no reason.

use std::collections::BTreeMap;

use super::plan::MS;
use super::{Event, Fault, Sim};
use crate::config::{GroupConfig, Member};
use crate::control::record::{Ask, Change, News, Record};
use crate::ids::{Epoch, GroupId, NodeId, ReplicaId};
use crate::replication::quorum::seal_quorum;
use crate::slots::SlotMap;

/// How often it looks at its groups, in nanoseconds of true time.
const LOOK_NS: u64 = 10 * MS;
/// Of 1000 asks or news, so many are lost during the chaos.
const LOSS_PERMILLE: u32 = 100;

/// See the module.
#[derive(Debug)]
pub(super) struct Core {
    /// The run of each node that is up.
    pub(super) current: BTreeMap<NodeId, ReplicaId>,
    groups: BTreeMap<GroupId, Kept>,
    /// How long a change may take before another one supersedes it.
    patience_ns: u64,
    /// Nothing reaches it, or comes from it, before then.
    pub(super) out_until: u64,
    /// Nodes that are not heard, and since and until when. Nothing of them reaches it, if they are cut off.
    silent: BTreeMap<NodeId, Silence>,
    /// How long a node must be silent before another one takes over what it leads.
    suspicion_ns: u64,
}

#[derive(Clone, Copy, Debug)]
struct Silence {
    since: u64,
    until: u64,
    is_cut: bool,
}

#[derive(Debug)]
struct Kept {
    record: Record,
    /// When the change under way began.
    since: u64,
    /// Nodes that shall be members.
    wanted: Vec<NodeId>,
    /// A node that shall copy the log and never count.
    observer: Option<NodeId>,
}

impl Core {
    pub(super) fn new(patience_ns: u64, suspicion_ns: u64) -> Self {
        let (groups, silent) = (BTreeMap::new(), BTreeMap::new());
        Self { current: BTreeMap::new(), groups, patience_ns, out_until: 0, silent, suspicion_ns }
    }

    /// Nothing of a node reaches it, nor the other way round, from now until then.
    pub(super) fn cut_off(&mut self, node: NodeId, since: u64, until: u64) {
        self.silent.insert(node, Silence { since, until, is_cut: true });
    }

    /// A node stands still from now until then.
    pub(super) fn miss(&mut self, node: NodeId, since: u64, until: u64) {
        self.silent.entry(node).or_insert(Silence { since, until, is_cut: false }).until = until;
    }

    /// Returns what is active in a group, once it has begun.
    pub(super) fn active(&self, group: GroupId) -> Option<&GroupConfig> {
        self.groups.get(&group).map(|kept| kept.record.active())
    }

    /// Whether nothing is left to be done: every group is held by the current runs of all its nodes.
    pub(super) fn is_settled(&self) -> bool {
        !self.groups.is_empty()
            && self.groups.values().all(|Kept { record, wanted, .. }| {
                let is_current = |node: &NodeId| self.current.get(node).is_some_and(|run| record.active().counts(*run));
                record.pending().is_none() && wanted.iter().all(is_current)
            })
    }

    /// Whether all groups can go on without a node's memory: the leader lives, or enough members to seal.
    pub(super) fn can_lose(&self, gone: NodeId) -> bool {
        let lives = |member: &&Member| {
            member.node != gone && self.current.get(&member.node).is_some_and(|run| Member::from(*run) == **member)
        };
        let can_go_on = |config: &GroupConfig| {
            let living = config.members.iter().filter(lives);
            let is_led = living.clone().any(|member| member.node == config.leader);
            is_led || living.count() >= seal_quorum(config.members.len(), config.write_quorum)
        };
        self.groups.values().all(|Kept { record, .. }| {
            can_go_on(record.active()) && record.pending().is_none_or(|change| can_go_on(&change.config))
        })
    }
}

/// Returns the configuration of a group before the core has decided on one.
pub(super) fn nothing(slots: SlotMap, group: GroupId) -> GroupConfig {
    let slots = slots.slots_of(group);
    GroupConfig { group, slots, epoch: Epoch(0), leader: NodeId(0), members: Vec::new(), write_quorum: 1 }
}

impl Sim {
    /// A run of a node is there.
    pub(super) fn register(&mut self, replica: ReplicaId) {
        let groups = self.groups();
        let Some(core) = &mut self.core else { return };
        core.current.insert(replica.node, replica);
        if !core.groups.is_empty() {
            for group in groups {
                self.tell(replica.node, group);
            }
        } else if core.current.len() == self.nodes.len() {
            // All are there for the first time.
            let (slots, write_quorum) = (self.placement.slots(), self.plan.write_quorum);
            for group in groups {
                let config = self.placement.group(group);
                // The leader, and some of those that follow it in a circle.
                let (leader, count) = (usize::from(config.leader.0) - 1, config.members.len());
                let circle = (leader..leader + self.plan.replicas).map(|place| config.members[place % count].node);
                let members = circle.map(|node| Member::from(core.current[&node])).collect();
                let config = GroupConfig { members, write_quorum, slots: slots.slots_of(group), ..config };
                let wanted = config.members.iter().map(|member| member.node).collect();
                core.groups.insert(group, Kept { record: Record::new(config), since: 0, wanted, observer: None });
            }
            self.tell_all();
            self.schedule(self.now, Event::CoreLooks);
        }
    }

    pub(super) fn groups(&self) -> impl Iterator<Item = GroupId> + use<> {
        (0..self.plan.partitions).map(GroupId)
    }

    // ---- what is asked ----

    /// An ask is on its way.
    pub(super) fn ask(&mut self, from: ReplicaId, group: GroupId, ask: Ask) {
        match self.core_delay(from.node) {
            Some(at) => self.schedule(at, Event::Ask { from, group, ask }),
            None => self.note("the core had no answer"),
        }
    }

    /// An ask has come.
    pub(super) fn answer(&mut self, from: ReplicaId, group: GroupId, ask: Ask) {
        let now = self.now;
        match ask {
            Ask::Activate { .. } => {}
            Ask::Promote { .. } => self.note("a leader asked to count a learner"),
            Ask::Renew { .. } => self.note("a leader asked for a new epoch"),
            Ask::HandOver { .. } => self.note("a candidate asked whoever has the log to take over"),
        }
        let Some(core) = &mut self.core else { return };
        let (current, patience) = (&core.current, core.patience_ns);
        let Some(Kept { record, since, wanted, .. }) = core.groups.get_mut(&group) else { return };
        let is_free = record.pending().is_none() || now - *since > patience;
        let before = record.news().version;
        let active = record.active().clone();
        match ask {
            Ask::Activate { epoch } => {
                let is_asked_by_leader =
                    record.pending().is_some_and(|Change { config, .. }| config.leader_replica() == Some(from));
                if is_asked_by_leader {
                    record.activate(epoch);
                }
            }
            Ask::Promote { epoch, learner } => {
                let is_wanted = wanted.contains(&learner.node) && current.get(&learner.node) == Some(&learner);
                if is_free && is_wanted && !active.counts(learner) {
                    let others = active.members.iter().copied().filter(|member| member.node != learner.node);
                    let members: Vec<Member> = others.chain([Member::from(learner)]).collect();
                    let write_quorum = self.plan.write_quorum.min(members.len());
                    // Whoever does not lead any more is told so by the next news.
                    let _ = record.change_live(epoch, from, members, write_quorum);
                }
            }
            Ask::Renew { epoch } => {
                if is_free {
                    let _ = record.change_live(epoch, from, active.members, active.write_quorum);
                }
            }
            Ask::HandOver { epoch, to } => {
                if record.pending().is_some_and(|change| change.config.epoch == epoch) {
                    let _ = record.take_over(to, active.members, active.write_quorum);
                }
            }
        }
        if record.news().version > before {
            *since = now;
        }
        // What has not changed may not have been heard.
        self.tell_group(group);
    }

    // ---- what is told ----

    fn core_delay(&mut self, node: NodeId) -> Option<u64> {
        let is_out = self.core.as_ref().is_some_and(|core| {
            let is_cut = core.silent.get(&node).is_some_and(|silence| silence.is_cut && silence.until > self.now);
            is_cut || core.out_until > self.now
        });
        let is_lost = !self.is_healed && (is_out || self.rng.u32(..1000) < LOSS_PERMILLE);
        (!is_lost).then(|| self.now + self.links.delay() + self.rng.u64(..5 * MS))
    }

    fn tell_all(&mut self) {
        self.groups().for_each(|group| self.tell_group(group));
    }

    fn tell_group(&mut self, group: GroupId) {
        for node in self.nodes.keys().copied().collect::<Vec<_>>() {
            self.tell(node, group);
        }
    }

    fn tell(&mut self, node: NodeId, group: GroupId) {
        let Some(news) = self.core.as_ref().and_then(|core| Some(core.groups.get(&group)?.record.news())) else {
            return;
        };
        if let Some(at) = self.core_delay(node) {
            self.schedule(at, Event::News { node, group, news: Box::new(news) });
        }
    }

    // ---- what it does by itself ----

    /// Sees to it that each group has a leader.
    pub(super) fn look_after_groups(&mut self) {
        self.schedule(self.now + LOOK_NS, Event::CoreLooks);
        for group in self.groups() {
            self.look_after(group);
            self.tell_group(group);
        }
    }

    fn look_after(&mut self, group: GroupId) {
        let now = self.now;
        let is_up = |node: &NodeId| self.nodes.get(node).is_some_and(|node| node.engine.is_some());
        let Some(core) = &mut self.core else { return };
        core.silent.retain(|_, silence| silence.until > now);
        let (current, patience, silent, suspicion) = (&core.current, core.patience_ns, &core.silent, core.suspicion_ns);
        let is_suspected = |node: NodeId| silent.get(&node).is_some_and(|silence| silence.since + suspicion < now);
        let Some(Kept { record, since, wanted, observer }) = core.groups.get_mut(&group) else { return };
        let active = record.active().clone();
        let is_given = |node: NodeId| wanted.contains(&node) || *observer == Some(node);
        let learners = current.values().filter(|run| is_given(run.node) && !active.counts(**run));
        record.set_learners(learners.copied().collect());
        let lives =
            |run: ReplicaId| is_up(&run.node) && current.get(&run.node) == Some(&run) && !is_suspected(run.node);
        let living: Vec<ReplicaId> =
            active.members.iter().filter_map(|member| member.replica()).filter(|run| lives(*run)).collect();
        let leader = active.leader_replica().filter(|leader| lives(*leader));
        let is_needed = match record.pending() {
            None => leader.is_none(),
            Some(_) => now - *since > patience,
        };
        let Some(candidate) = self.rng.choice(living).filter(|_| is_needed) else { return };
        *since = now;
        // Runs that know nothing yet may be members from the beginning: they count when they hold the log.
        let up = current.values().copied().filter(|run| wanted.contains(&run.node) && is_up(&run.node));
        let up: Vec<Member> = up.map(Member::from).collect();
        let write_quorum = self.plan.write_quorum;
        let is_enough = up.len() >= write_quorum && up.contains(&Member::from(candidate));
        let (members, write_quorum) =
            if is_enough { (up, write_quorum) } else { (active.members, active.write_quorum) };
        match leader {
            Some(leader) if members.contains(&Member::from(leader)) && self.rng.bool() => {
                let _ = record.change_live(active.epoch, leader, members, write_quorum);
            }
            Some(_) | None => {
                let _ = record.take_over(candidate.node, members, write_quorum);
            }
        }
    }

    /// Deposes a leader, or changes the members of a group, for no reason.
    pub(super) fn meddle(&mut self, fault: Fault) {
        let group = GroupId(self.rng.u32(..self.plan.partitions));
        let now = self.now;
        let Some(core) = &mut self.core else { return };
        let current = &core.current;
        let Some(Kept { record, since, wanted, observer }) = core.groups.get_mut(&group) else { return };
        let active = record.active().clone();
        *since = now;
        if fault == Fault::Depose {
            let candidate = self.rng.choice(&active.members).map(|member| member.node);
            let _ = record.take_over(candidate.expect("there are members"), active.members, active.write_quorum);
            return self.tell_group(group);
        }
        // One member less, or one more; a write quorum that still meets itself.
        let (others, outside): (Vec<NodeId>, Vec<NodeId>) =
            current.keys().copied().filter(|node| *node != active.leader).partition(|node| active.has_node(*node));
        let drop_one = outside.is_empty() || self.rng.bool();
        let Some(node) = self.rng.choice(if drop_one { others } else { outside }) else { return };
        if !drop_one && self.rng.bool() {
            *observer = Some(node);
            return;
        }
        if !drop_one {
            wanted.push(node);
            wanted.sort_unstable();
            wanted.dedup();
            return;
        }
        wanted.retain(|known| *known != node);
        let members: Vec<Member> = active.members.iter().copied().filter(|member| member.node != node).collect();
        let write_quorum = active.write_quorum.min(members.len());
        if let (Some(leader), true) = (active.leader_replica(), 2 * write_quorum > members.len()) {
            let _ = record.change_live(active.epoch, leader, members, write_quorum);
        }
        self.tell_group(group);
    }

    /// Wants all nodes to be members again.
    pub(super) fn restore_members(&mut self) {
        let nodes: Vec<NodeId> = self.nodes.keys().copied().collect();
        let Some(core) = &mut self.core else { return };
        core.out_until = 0;
        core.silent.clear();
        core.groups.values_mut().for_each(|kept| kept.wanted.clone_from(&nodes));
    }
}

/// What a node is told.
pub(super) type Told = (GroupId, Box<News>);
