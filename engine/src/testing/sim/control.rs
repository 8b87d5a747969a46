//! The consistent core as one object that never fails: the state that core nodes would agree on, the detector and the planner
//! are those that are shipped; that they agree is taken for granted.
//!
//! What nodes ask and are told, and their heartbeats, take their time, are lost or overtaken. During the chaos leaders are
//! deposed and groups placed elsewhere for no reason.

use core::time::Duration;
use std::collections::BTreeMap;

use super::plan::MS;
use super::{Event, LossGen, Sim};
use crate::config::{GroupConfig, Member};
use crate::control::detector::{Detector, Heartbeat};
use crate::control::operation::Decision;
use crate::control::planner::Planner;
use crate::control::record::{Ask, ChangeKind, News};
use crate::control::state::{Activation, Applied, Birth, Command, Planned, State};
use crate::ids::{Epoch, GroupId, NodeId, ReplicaId};
use crate::replication::quorum::seal_quorum;
use crate::time::Instant;

/// How often it looks at its groups, in nanoseconds of true time.
const LOOK_NS: u64 = 10 * MS;
/// Of 1000 asks, news and heartbeats, so many are lost during the chaos.
const LOSS_PERMILLE: u32 = 100;

/// See the module.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) state: State,
    pub(super) detector: Detector,
    planner: Planner,
    /// Nothing reaches it, or comes from it, before then.
    pub(super) out_until: u64,
    /// Nor does anything of these nodes, before then; and whether it does then.
    cuts: BTreeMap<NodeId, (u64, bool)>,
    /// Whether learners are counted during the chaos when they have caught up.
    is_promoting: bool,
    /// The loss generation of each epoch that there ever was.
    loss_gens: BTreeMap<(GroupId, Epoch), LossGen>,
    /// Operations until now.
    pub(super) operations: u64,
}

impl Core {
    pub(super) fn new(birth: Birth, patience: Duration, suspicion: Duration, is_promoting: bool) -> Self {
        let (detector, planner) = (Detector::new(suspicion, Vec::new()), Planner::new(patience));
        let (state, cuts, loss_gens) = (State::new(birth), BTreeMap::new(), BTreeMap::new());
        Self { state, detector, planner, out_until: 0, cuts, is_promoting, loss_gens, operations: 0 }
    }

    /// Has the core agree on something.
    fn apply(&mut self, command: &Command) -> Applied {
        let applied = self.state.apply(command);
        for record in applied.changed.iter().filter_map(|group| self.state.group(*group)) {
            let pending = record.pending().map(|change| &change.config);
            for config in [Some(record.active()), pending].into_iter().flatten() {
                self.loss_gens.insert((config.group, config.epoch), config.loss_gen);
            }
        }
        applied
    }

    /// Returns the loss generation of an epoch of a group.
    pub(super) fn loss_gen(&self, group: GroupId, epoch: Epoch) -> LossGen {
        self.loss_gens.get(&(group, epoch)).copied().unwrap_or_default()
    }

    /// Returns the latest loss generation of a group, active or not.
    pub(super) fn latest_loss_gen(&self, group: GroupId) -> LossGen {
        self.loss_gens.range((group, Epoch(0))..=(group, Epoch(u64::MAX))).map(|(_, latest)| *latest).max().unwrap_or(0)
    }

    /// Whether a loss of a group was ever accepted, active or not.
    pub(super) fn has_lost(&self, group: GroupId) -> bool {
        self.latest_loss_gen(group) > 0
    }

    /// Nothing of a node reaches it, nor the other way round, before then; then it does if it `is_held`.
    pub(super) fn cut_off(&mut self, node: NodeId, until: u64, is_held: bool) {
        self.cuts.insert(node, (until, is_held));
    }

    /// Returns what is active in a group, once it is formed.
    pub(super) fn active(&self, group: GroupId) -> Option<&GroupConfig> {
        self.state.group(group).map(|record| record.active())
    }

    /// Whether nothing is left to be done: every group is held by the current runs of all these nodes.
    pub(super) fn is_settled(&self, nodes: &[NodeId]) -> bool {
        let is_held = |config: &GroupConfig| {
            nodes.iter().all(|node| self.state.current(*node).is_some_and(|run| config.counts(run)))
        };
        self.state.groups().len() > 0
            && self.state.groups().all(|record| record.pending().is_none() && is_held(record.active()))
    }

    /// Whether all groups can go on without a node's memory, of those that are up: the leader lives, or enough members to
    /// seal.
    pub(super) fn can_lose(&self, gone: NodeId, is_up: impl Fn(NodeId) -> bool) -> bool {
        let lives = |member: &&Member| {
            let is_current = member.replica().is_some_and(|run| self.state.is_current(run));
            member.node != gone && is_up(member.node) && is_current
        };
        let can_go_on = |config: &GroupConfig| {
            let living = config.members.iter().filter(lives);
            let is_led = living.clone().any(|member| member.node == config.leader);
            is_led || living.count() >= seal_quorum(config.members.len(), config.write_quorum)
        };
        self.state
            .groups()
            .all(|record| can_go_on(record.active()) && record.pending().is_none_or(|change| can_go_on(&change.config)))
    }
}

impl Sim {
    pub(super) fn groups(&self) -> impl Iterator<Item = GroupId> + use<> {
        (0..self.plan.partitions).map(GroupId)
    }

    // ---- what is asked ----

    /// Returns the run that a node which starts is registered as; `None` if there is no core.
    pub(super) fn register(&mut self, node: NodeId, nonce: u64) -> Option<ReplicaId> {
        let now = Instant(self.now);
        let core = self.core.as_mut()?;
        let applied = core.apply(&Command::Register { node, nonce });
        let run = applied.registered.expect("a registration");
        core.detector.expect(run, now);
        applied.changed.iter().for_each(|group| self.tell_group(*group));
        self.schedule(self.now, Event::Beat(run, 1));
        Some(run)
    }

    /// An ask is on its way.
    pub(super) fn ask(&mut self, from: ReplicaId, group: GroupId, ask: Ask) {
        match self.core_delay(from.node) {
            Some(at) => self.schedule(at, Event::Ask { from, group, ask }),
            None => self.note("the core had no answer"),
        }
    }

    /// An ask has come.
    pub(super) fn answer(&mut self, from: ReplicaId, group: GroupId, ask: Ask) {
        let Some(core) = &mut self.core else { return };
        let what = match ask {
            Ask::Activate { epoch } => {
                self.decide(&Command::Activate(vec![Activation { group, epoch, caller: from }]));
                // What has not changed may not have been heard.
                return self.tell_group(group);
            }
            Ask::Promote { .. } if !core.is_promoting && !self.is_healed => return,
            Ask::Promote { .. } => "a leader asked to count a learner",
            Ask::Renew { .. } => "a leader asked for a new epoch",
            Ask::HandOver { .. } => "a candidate asked whoever has the log to take over",
        };
        core.planner.note(from, group, ask);
        self.note(what);
    }

    /// A node says that it lives, and will again.
    pub(super) fn beat(&mut self, run: ReplicaId, number: u64) {
        let now = self.clock(run.node);
        let node = &self.nodes[&run.node];
        let Some(engine) = node.engine.as_ref().filter(|_| node.incarnation == run.incarnation) else { return };
        let without_quorum = engine.unled(now).collect();
        let is_still = node.paused_until > self.now;
        self.schedule(self.now + self.plan.suspicion_ns / 4 + 1, Event::Beat(run, number + 1));
        let at = self.core_delay(run.node).filter(|_| !is_still);
        if let Some(at) = at {
            let heartbeat =
                Heartbeat { from: run, turns: vec![number], without_quorum, silent: Vec::new(), clock_ns: now.0 };
            self.schedule(at, Event::Heard(Box::new(heartbeat)));
        }
    }

    /// A heartbeat has come.
    pub(super) fn hear(&mut self, heartbeat: &Heartbeat) {
        let now = Instant(self.now);
        let Some(core) = &mut self.core else { return };
        core.detector.hear(heartbeat, now);
        let node = heartbeat.from.node;
        if let Some(latest) = core.state.latest(node).filter(|_| core.state.current(node).is_none()) {
            self.tell_buried(latest);
        }
    }

    // ---- what is told ----

    fn core_delay(&mut self, node: NodeId) -> Option<u64> {
        let cut = self.core.as_ref().and_then(|core| core.cuts.get(&node).copied());
        let (cut_until, is_held) = cut.filter(|(until, _)| *until > self.now).unwrap_or((self.now, true));
        let is_out = !is_held || self.core.as_ref().is_some_and(|core| core.out_until > self.now);
        let is_lost = !self.is_healed && (is_out || self.rng.u32(..1000) < LOSS_PERMILLE);
        (!is_lost).then(|| cut_until + self.links.delay() + self.rng.u64(..5 * MS))
    }

    fn tell_buried(&mut self, latest: ReplicaId) {
        if let Some(at) = self.core_delay(latest.node) {
            self.schedule(at, Event::Buried(latest));
        }
    }

    fn tell_group(&mut self, group: GroupId) {
        let Some(news) = self.core.as_ref().and_then(|core| core.state.news(group)) else { return };
        for node in self.nodes.keys().copied().collect::<Vec<_>>() {
            if let Some(at) = self.core_delay(node) {
                self.schedule(at, Event::News { node, group, news: Box::new(news.clone()) });
            }
        }
    }

    // ---- what it does ----

    pub(super) fn decide(&mut self, command: &Command) {
        let Some(core) = &mut self.core else { return };
        let Applied { changed, buried, .. } = core.apply(command);
        changed.iter().for_each(|group| self.tell_group(*group));
        buried.into_iter().for_each(|latest| self.tell_buried(latest));
    }

    /// Looks at all groups, and tells everybody what there is to know.
    pub(super) fn look_after_groups(&mut self) {
        self.schedule(self.now + LOOK_NS, Event::CoreLooks);
        if self.is_healed {
            self.restore_members();
        }
        let now = Instant(self.now);
        let Some(core) = &mut self.core else { return };
        let plan = core.planner.plan(&core.state, &core.detector, now);
        if !plan.is_empty() {
            self.decide(&Command::Change(plan));
        }
        self.groups().for_each(|group| self.tell_group(group));
    }

    /// Deposes a leader for no reason.
    pub(super) fn depose(&mut self, group: GroupId) {
        let Some(core) = self.core.as_ref().filter(|_| !self.is_healed) else { return };
        let Some(record) = core.state.group(group) else { return };
        // What was accepted stands, unless an operator says something else.
        if record.pending().is_some_and(|change| change.kind == ChangeKind::Loss) {
            return;
        }
        let version = record.version();
        let GroupConfig { members, write_quorum, .. } = record.active().clone();
        let candidate = self.rng.choice(members.clone()).expect("there are members");
        let (kind, leader) = (ChangeKind::Takeover, candidate.node);
        let planned = Planned { group, version, kind, leader, members, write_quorum };
        self.decide(&Command::Change(vec![planned]));
    }

    /// Places a group elsewhere for no reason: on one node more, or one less.
    pub(super) fn place_elsewhere(&mut self) {
        let group = GroupId(self.rng.u32(..self.plan.partitions));
        let Some(core) = self.core.as_ref().filter(|core| core.state.group(group).is_some()) else { return };
        let mut nodes = core.state.nodes_of(group).to_vec();
        let others: Vec<NodeId> = self.nodes.keys().copied().filter(|node| !nodes.contains(node)).collect();
        match self.rng.choice(others).filter(|_| self.rng.bool()) {
            Some(node) => nodes.push(node),
            None if nodes.len() > self.plan.write_quorum => drop(nodes.swap_remove(self.rng.usize(..nodes.len()))),
            None => return,
        }
        self.decide(&Command::Place { group, nodes });
    }

    /// An operator wants a node to hold nothing, or groups again.
    pub(super) fn drain(&mut self, node: NodeId, is_wanted: bool) {
        let Some(core) = &mut self.core else { return };
        let Some(caller) = core.state.runs().next() else { return };
        core.operations += 1;
        let (number, decision) = (core.operations, Decision::Drain { node, is_wanted });
        self.decide(&Command::Operate { caller, number, decision });
        let is_draining = |core: &Core| core.state.is_draining(node) == Some(true) && core.state.left(node).held > 0;
        if is_wanted && self.core.as_ref().is_some_and(is_draining) {
            self.note("a node was to give up what it held");
        }
    }

    /// Has all nodes hold all groups, and reaches all nodes.
    fn restore_members(&mut self) {
        let nodes: Vec<NodeId> = self.nodes.keys().copied().collect();
        let draining = self.core.as_ref().map(|core| core.state.roster().draining().clone());
        draining.into_iter().flatten().for_each(|node| self.drain(node, false));
        for group in self.groups() {
            let Some(core) = &mut self.core else { return };
            core.cuts.clear();
            if core.state.group(group).is_some() && core.state.nodes_of(group) != nodes {
                self.decide(&Command::Place { group, nodes: nodes.clone() });
            }
        }
    }
}

/// What a node is told.
pub(super) type Told = (GroupId, Box<News>);
