//! What the consistent core agrees on: nodes and their runs, and the record of each group. A state machine: the same
//! commands in the same order give the same state at every core node.
//!
//! A process that starts registers, and is given an incarnation that nobody had before; with it, every earlier run of its
//! node is gone for good. Once all first nodes have registered, the groups are formed: group g is led by node g mod N and held
//! by it and those that follow it in a circle. From then on groups change by [`Command::Change`], decided by the planner on
//! a version of the record, and refused if that has changed meanwhile.
//!
//! [`Decision::ReplaceStore`] is the last thing in a log: another one goes on from the state it leads to (see
//! [`Era`](crate::control::core::Era)).
//!
//! # Invariants
//! C1. An incarnation is given once. C2. Learners of a group are the current runs of its nodes that are no members. C3. A
//! run that was declared dead is never the current one of its node again. C4. What comes behind the end of a log changes
//! nothing.
//!
//! # Source
//! The design, section 5; the replication protocol, section 1.1.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::config::{GroupConfig, MEMBERS_MAX, Member};
use crate::control::journal::{Event, Journal, Reason};
use crate::control::keyspace::Keyspace;
use crate::control::operation::{Decision, Loss, Outcome, Refusal};
use crate::control::record::{ChangeKind, News, Record};
use crate::ids::{Epoch, GroupId, Incarnation, NodeId, ReplicaId};
use crate::planted::{self, rule};
use crate::replication::quorum::seal_quorum;
use crate::slots::SlotMap;

/// What is fixed when the cluster is created.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "BirthParts")]
pub struct Birth {
    /// How slots are divided among groups.
    pub slots: SlotMap,
    /// The nodes that hold the groups in the beginning, ascending.
    pub nodes: Vec<NodeId>,
    /// How many of them hold each group.
    pub replicas: usize,
    /// How many must hold a write.
    pub write_quorum: usize,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "StateParts")]
pub struct State {
    birth: Birth,
    nodes: BTreeMap<NodeId, Registered>,
    last_incarnation: Incarnation,
    /// By number; empty until all first nodes have registered.
    groups: Vec<Group>,
    keyspace: Keyspace,
    /// What each run wanted last.
    answered: BTreeMap<NodeId, Answered>,
    /// Current runs that are down, as far as was agreed.
    down: BTreeSet<ReplicaId>,
    journal: Journal,
    /// What has ended the log: the core node whose store is replaced, and the number of the new one.
    replaced: Option<(NodeId, u64)>,
}

/// How the last operation of a run ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Answered {
    run: ReplicaId,
    number: u64,
    outcome: Outcome,
}

/// The run of a node that registered last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Registered {
    incarnation: Incarnation,
    /// What it drew when it started: a registration that is repeated is the same one. `None`: nobody is this run; the one
    /// before it was declared dead, and must find that another one counts.
    nonce: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Group {
    record: Record,
    /// The nodes that shall hold it.
    nodes: Vec<NodeId>,
}

/// What can be agreed on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// A process has started.
    Register {
        /// Its node.
        node: NodeId,
        /// Drawn at its start, and the same in each repetition.
        nonce: u64,
    },
    /// Groups shall be led and held by others. Each change stands for itself.
    Change(Vec<Planned>),
    /// A change has brought the log over.
    Activate {
        /// The group.
        group: GroupId,
        /// The epoch of the change.
        epoch: Epoch,
        /// Who asks: its leader.
        caller: ReplicaId,
    },
    /// Current runs are down, or are heard again.
    Observe {
        /// Those that are not heard, or do not turn.
        down: Vec<ReplicaId>,
        /// Those that were down before.
        back: Vec<ReplicaId>,
    },
    /// Somebody wants something of the core.
    Operate {
        /// Through which run.
        caller: ReplicaId,
        /// The number that run gave it.
        number: u64,
        /// What it amounts to.
        decision: Decision,
    },
    /// Nothing: whoever proposes it knows, when it is decided, all that was decided before it was proposed.
    Barrier {
        /// The core node that did.
        by: NodeId,
        /// In the round in which it led.
        round: u32,
    },
    /// Other nodes shall hold a group.
    Place {
        /// The group.
        group: GroupId,
        /// The nodes.
        nodes: Vec<NodeId>,
    },
}

/// A change of one group, decided on one version of its record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Planned {
    /// The group.
    pub group: GroupId,
    /// The version it was decided on; with another one nothing happens.
    pub version: u64,
    /// How the leader comes by the log.
    pub kind: ChangeKind,
    /// Who shall lead.
    pub leader: NodeId,
    /// Who shall be members.
    pub members: Vec<Member>,
    /// How many of them must hold a write.
    pub write_quorum: usize,
}

/// Most events that a node reports at one time.
pub const REPORTS_MAX: usize = 256;

/// What came of a command.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Applied {
    /// Groups whose news have changed, ascending.
    pub changed: Vec<GroupId>,
    /// The run that was registered.
    pub registered: Option<ReplicaId>,
    /// Names that nobody has: what was the current run of each of these nodes was declared dead.
    pub buried: Vec<ReplicaId>,
    /// How an operation ended.
    pub outcome: Option<Outcome>,
}

/// Whether a group can ever be led again without an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hope {
    /// Its leader lives, or enough members do.
    Some,
    /// These runs are gone, and what they held with them, as far as anybody knows.
    Lost {
        /// Members of the active configuration that are gone, its leader among them.
        missing: Vec<ReplicaId>,
    },
}

impl Answered {
    /// Whether this is the operation, or came after it.
    fn is_after(&self, caller: ReplicaId, number: u64) -> bool {
        self.run == caller && self.number >= number
    }
}

impl Birth {
    /// Whether the numbers fit together: see [`Placement::new`](crate::config::Placement::new).
    fn is_valid(&self) -> bool {
        self.nodes.is_sorted_by(|one, two| one < two)
            && (1..=self.nodes.len().min(MEMBERS_MAX)).contains(&self.replicas)
            && (1..=self.replicas).contains(&self.write_quorum)
    }
}

impl State {
    /// Creates the state of a new cluster.
    ///
    /// # Panics
    /// If the numbers do not fit together: see [`Placement::new`](crate::config::Placement::new).
    #[must_use]
    pub fn new(birth: Birth) -> Self {
        assert!(birth.is_valid(), "the numbers do not fit together: {birth:?}");
        Self {
            birth,
            nodes: BTreeMap::new(),
            last_incarnation: Incarnation(0),
            groups: Vec::new(),
            keyspace: Keyspace::default(),
            answered: BTreeMap::new(),
            down: BTreeSet::new(),
            journal: Journal::default(),
            replaced: None,
        }
    }

    /// Applies a command that was proposed at a time that nobody knows.
    pub fn apply(&mut self, command: &Command) -> Applied {
        self.apply_at(0, command)
    }

    /// Applies a command that was proposed at this time, in milliseconds since the Unix epoch.
    pub fn apply_at(&mut self, at_ms: u64, command: &Command) -> Applied {
        let mut happened = Vec::new();
        let applied = self.carry_out(command, &mut happened);
        happened.into_iter().for_each(|event| self.journal.record(at_ms, event));
        applied
    }

    fn carry_out(&mut self, command: &Command, happened: &mut Vec<Event>) -> Applied {
        // C4.
        if self.replaced.is_some() {
            return Applied::default();
        }
        let before: Vec<u64> = self.groups.iter().map(|group| group.record.version()).collect();
        let (mut registered, mut outcome) = (None, None);
        let known_before = self.last_incarnation;
        match command {
            Command::Register { node, nonce } => registered = Some(self.register(*node, *nonce, happened)),
            Command::Change(changes) => changes.iter().for_each(|change| self.change(change, happened)),
            Command::Activate { group, epoch, caller } => self.activate(*group, *epoch, *caller, happened),
            Command::Observe { down, back } => self.observe(down, back, happened),
            Command::Operate { caller, number, decision } => {
                outcome = self.operate(*caller, *number, decision, happened);
            }
            Command::Barrier { .. } => {}
            Command::Place { group, nodes } => {
                if let Some(group) = self.groups.get_mut(group.0 as usize) {
                    group.nodes.clone_from(nodes);
                }
            }
        }
        self.set_learners(happened);
        let versions = self.groups.iter().map(|group| group.record.version());
        let is_changed = |(number, version): (usize, u64)| (before.get(number) != Some(&version)).then_some(number);
        let numbers = versions.enumerate().filter_map(is_changed);
        let changed = numbers.map(|number| GroupId(u32::try_from(number).expect("at most 16384 groups"))).collect();
        let nobodies = self.nodes.iter().filter(|(_, known)| known.nonce.is_none() && known.incarnation > known_before);
        let buried = nobodies.map(|(node, known)| ReplicaId { node: *node, incarnation: known.incarnation }).collect();
        Applied { changed, registered, buried, outcome }
    }

    // ---- queries ----

    /// Returns what is fixed.
    #[must_use]
    pub fn birth(&self) -> &Birth {
        &self.birth
    }

    /// Returns what has ended the log, if anything has: the core node whose store is replaced, and the number of the new one.
    #[must_use]
    pub fn replaced(&self) -> Option<(NodeId, u64)> {
        self.replaced
    }

    /// Returns what the log that follows begins with.
    #[must_use]
    pub fn carried_over(&self) -> Self {
        Self { replaced: None, ..self.clone() }
    }

    /// Returns the run that a node registered as last, if it was with this nonce.
    #[must_use]
    pub fn registered(&self, node: NodeId, nonce: u64) -> Option<ReplicaId> {
        let known = self.nodes.get(&node).filter(|known| known.nonce == Some(nonce))?;
        Some(ReplicaId { node, incarnation: known.incarnation })
    }

    /// Returns the run of each node that registered last, unless it was declared dead.
    pub fn runs(&self) -> impl Iterator<Item = ReplicaId> {
        self.nodes.keys().filter_map(|node| self.current(*node))
    }

    /// Returns the run of a node that registered last, unless it was declared dead.
    #[must_use]
    pub fn current(&self, node: NodeId) -> Option<ReplicaId> {
        let known = self.nodes.get(&node).filter(|known| known.nonce.is_some())?;
        Some(ReplicaId { node, incarnation: known.incarnation })
    }

    /// Returns the latest name that runs of a node were given: if it is not that of the current run, nobody has it. Every earlier
    /// one is gone.
    #[must_use]
    pub fn latest(&self, node: NodeId) -> Option<ReplicaId> {
        self.nodes.get(&node).map(|known| ReplicaId { node, incarnation: known.incarnation })
    }

    /// Returns how an operation of a run has ended, if it was the last one of it.
    #[must_use]
    pub fn outcome(&self, caller: ReplicaId, number: u64) -> Option<&Outcome> {
        let answered = self.answered.get(&caller.node)?;
        ((answered.run, answered.number) == (caller, number)).then_some(&answered.outcome)
    }

    /// Returns the current runs that are down, as far as was agreed.
    #[must_use]
    pub fn down(&self) -> &BTreeSet<ReplicaId> {
        &self.down
    }

    /// Returns what has happened.
    #[must_use]
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Has nothing have happened.
    #[cfg(feature = "testing")]
    pub(crate) fn forget_events(&mut self) {
        self.journal = Journal::default();
    }

    /// Returns the keys that the core keeps.
    #[must_use]
    pub fn keyspace(&self) -> &Keyspace {
        &self.keyspace
    }

    /// Whether a run is the last one of its node: any other one is gone.
    #[must_use]
    pub fn is_current(&self, run: ReplicaId) -> bool {
        self.current(run.node) == Some(run)
    }

    /// Returns the groups; none until they are formed.
    pub fn groups(&self) -> impl ExactSizeIterator<Item = &Record> {
        self.groups.iter().map(|group| &group.record)
    }

    /// Returns the record of a group, once it is formed.
    #[must_use]
    pub fn group(&self, group: GroupId) -> Option<&Record> {
        self.groups.get(group.0 as usize).map(|group| &group.record)
    }

    /// Returns the nodes that shall hold a group.
    #[must_use]
    pub fn nodes_of(&self, group: GroupId) -> &[NodeId] {
        self.groups.get(group.0 as usize).map_or(&[], |group| &group.nodes)
    }

    /// Returns what the nodes are told about a group.
    #[must_use]
    pub fn news(&self, group: GroupId) -> Option<News> {
        self.group(group).map(Record::news)
    }

    /// Returns whether a group can be led again, as far as runs are known to be gone.
    #[must_use]
    pub fn hope(&self, group: GroupId) -> Hope {
        let Some(record) = self.group(group) else { return Hope::Some };
        let active = record.active();
        let runs = active.members.iter().filter_map(|member| member.replica());
        let missing: Vec<ReplicaId> = runs.filter(|run| !self.is_current(*run)).collect();
        let need = seal_quorum(active.members.len(), active.write_quorum);
        let is_led = missing.iter().all(|run| run.node != active.leader);
        if is_led || active.members.len() - missing.len() >= need { Hope::Some } else { Hope::Lost { missing } }
    }

    // ---- commands ----

    fn register(&mut self, node: NodeId, nonce: u64, happened: &mut Vec<Event>) -> ReplicaId {
        if let Some(known) = self.registered(node, nonce) {
            return known;
        }
        let incarnation = if planted::is(6) && self.nodes.contains_key(&node) {
            self.nodes[&node].incarnation
        } else {
            Incarnation(self.last_incarnation.0 + 1)
        };
        self.last_incarnation = self.last_incarnation.max(incarnation);
        let before = self.lost();
        self.down.retain(|run| run.node != node);
        self.nodes.insert(node, Registered { incarnation, nonce: Some(nonce) });
        happened.push(Event::NodeUp { run: ReplicaId { node, incarnation } });
        self.note_lost(&before, happened);
        if self.groups.is_empty() && self.birth.nodes.iter().all(|node| self.nodes.contains_key(node)) {
            self.form_groups();
        }
        ReplicaId { node, incarnation }
    }

    /// Gives each group its first configuration. Nothing was written before, so it is active at once.
    fn form_groups(&mut self) {
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
    fn lost(&self) -> BTreeSet<GroupId> {
        let groups = self.groups.iter().map(|group| group.record.active().group);
        groups.filter(|group| self.hope(*group) != Hope::Some).collect()
    }

    /// Notes groups that cannot be led again since something has happened.
    fn note_lost(&self, before: &BTreeSet<GroupId>, happened: &mut Vec<Event>) {
        for record in self.groups.iter().map(|group| &group.record) {
            let group = record.active().group;
            if let Hope::Lost { missing } = self.hope(group)
                && !before.contains(&group)
            {
                happened.push(Event::Unavailable { group, missing });
            }
        }
    }

    fn observe(&mut self, down: &[ReplicaId], back: &[ReplicaId], happened: &mut Vec<Event>) {
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

    fn change(&mut self, planned: &Planned, happened: &mut Vec<Event>) {
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

    /// Does what a run wants, unless it was done before or the run is gone.
    fn operate(
        &mut self,
        caller: ReplicaId,
        number: u64,
        decision: &Decision,
        happened: &mut Vec<Event>,
    ) -> Option<Outcome> {
        if !self.is_current(caller)
            || self.answered.get(&caller.node).is_some_and(|known| known.is_after(caller, number))
        {
            return None;
        }
        let outcome = match decision {
            Decision::AcceptLoss(losses) => self.accept_losses(losses, happened),
            Decision::Set { key, value, version } => match self.keyspace.set(key, value, *version) {
                Ok(version) => {
                    happened.push(Event::Stored { key: key.clone(), version });
                    Outcome::Stored { version }
                }
                Err(error) => Outcome::Refused(error.into()),
            },
            Decision::Report(events) => {
                happened.extend(events.iter().take(REPORTS_MAX).filter(|event| event.is_report()).cloned());
                Outcome::Reported
            }
            Decision::ReplaceStore { node, store } => {
                self.replaced = Some((*node, *store));
                happened.push(Event::StoreReplaced { node: *node });
                Outcome::StoreReplaced { node: *node }
            }
        };
        self.answered.insert(caller.node, Answered { run: caller, number, outcome: outcome.clone() });
        Some(outcome)
    }

    /// Has groups go on without what they miss, which is dead from now on.
    fn accept_losses(&mut self, losses: &[Planned], happened: &mut Vec<Event>) -> Outcome {
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
        let config = &record.pending()?.config;
        let missing = record.active().members.iter().filter(|member| !config.members.contains(member));
        let missing = missing.filter_map(|member| member.replica()).collect();
        Some(Loss { group, loss_gen: config.loss_gen, missing })
    }

    /// Has a run be gone for good, though no other one of its node is there.
    fn bury(&mut self, run: ReplicaId) {
        if !self.is_current(run) {
            return;
        }
        self.last_incarnation = Incarnation(self.last_incarnation.0 + 1);
        self.down.remove(&run);
        self.nodes.insert(run.node, Registered { incarnation: self.last_incarnation, nonce: None });
        // Whoever counts on it is to hear of it.
        let groups = self.groups.iter_mut().filter(|group| group.record.active().counts(run));
        groups.for_each(|group| group.record.note_dead());
    }

    fn activate(&mut self, group: GroupId, epoch: Epoch, caller: ReplicaId, happened: &mut Vec<Event>) {
        let is_current = self.is_current(caller);
        let Some(Group { record, .. }) = self.groups.get_mut(group.0 as usize) else { return };
        let is_led = record.pending().is_some_and(|change| change.config.leader_replica() == Some(caller));
        if !is_led || !is_current {
            return;
        }
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
    }

    fn set_learners(&mut self, happened: &mut Vec<Event>) {
        for Group { record, nodes } in &mut self.groups {
            let runs = nodes.iter().filter_map(|node| {
                let known = self.nodes.get(node).filter(|known| known.nonce.is_some())?;
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

/// A birth as it is read, from a wire or a file.
#[derive(Deserialize)]
struct BirthParts {
    slots: SlotMap,
    nodes: Vec<NodeId>,
    replicas: usize,
    write_quorum: usize,
}

impl TryFrom<BirthParts> for Birth {
    type Error = &'static str;

    fn try_from(parts: BirthParts) -> Result<Self, Self::Error> {
        let BirthParts { slots, nodes, replicas, write_quorum } = parts;
        let birth = Self { slots, nodes, replicas, write_quorum };
        if birth.is_valid() { Ok(birth) } else { Err("nodes, replicas and write quorum do not fit together") }
    }
}

/// A state as it is read, from a wire or a file.
#[derive(Deserialize)]
struct StateParts {
    birth: Birth,
    nodes: BTreeMap<NodeId, Registered>,
    last_incarnation: Incarnation,
    groups: Vec<Group>,
    keyspace: Keyspace,
    answered: BTreeMap<NodeId, Answered>,
    down: BTreeSet<ReplicaId>,
    journal: Journal,
    replaced: Option<(NodeId, u64)>,
}

impl TryFrom<StateParts> for State {
    type Error = &'static str;

    fn try_from(parts: StateParts) -> Result<Self, Self::Error> {
        let StateParts { birth, nodes, last_incarnation, groups, keyspace, answered, down, journal, replaced } = parts;
        let slots = birth.slots;
        let is_formed = groups.len() == slots.group_count() as usize;
        let mut records = (0..).map(GroupId).zip(&groups);
        if nodes.values().any(|known| known.incarnation > last_incarnation) {
            Err("a run is later than the last one")
        } else if !is_formed && !groups.is_empty() {
            Err("some groups are missing")
        } else if !records.all(|(group, Group { record, .. })| record.is_sound(group, slots.slots_of(group))) {
            Err("the record of a group does not fit together")
        } else if !journal.is_sound() {
            Err("the stream of events has gaps")
        } else {
            Ok(Self { birth, nodes, last_incarnation, groups, keyspace, answered, down, journal, replaced })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn birth() -> Birth {
        let nodes = (1..=3).map(NodeId).collect();
        Birth { slots: SlotMap::new(4).expect("in range"), nodes, replicas: 3, write_quorum: 2 }
    }

    fn register(state: &mut State, node: u16, nonce: u64) -> ReplicaId {
        state.apply(&Command::Register { node: NodeId(node), nonce }).registered.expect("a registration")
    }

    fn formed() -> State {
        let mut state = State::new(birth());
        for node in 1..=3 {
            register(&mut state, node, 7);
        }
        state
    }

    #[test]
    fn groups_are_formed_when_all_first_nodes_are_there() {
        let mut state = State::new(birth());
        register(&mut state, 1, 7);
        register(&mut state, 3, 7);
        assert_eq!(state.groups().len(), 0);
        let applied = state.apply(&Command::Register { node: NodeId(2), nonce: 7 });
        assert_eq!(applied.changed.len(), 4);
        let leaders: Vec<u16> = state.groups().map(|record| record.active().leader.0).collect();
        assert_eq!(leaders, [1, 2, 3, 1]);
    }

    #[test]
    fn a_repeated_registration_is_the_same_one_and_a_new_start_is_not() {
        let mut state = formed();
        let first = state.current(NodeId(1)).expect("registered");
        assert_eq!(register(&mut state, 1, 7), first);
        let second = register(&mut state, 1, 8);
        assert!(second.incarnation > first.incarnation);
        assert!(!state.is_current(first));
        assert!(state.groups().all(|record| record.learners() == [second]), "C2: it is to copy what it held");
    }

    #[test]
    fn a_change_that_was_decided_on_an_older_version_does_nothing() {
        let mut state = formed();
        let group = GroupId(0);
        let record = state.group(group).expect("formed");
        let planned = Planned {
            group,
            version: record.version(),
            kind: ChangeKind::Takeover,
            leader: NodeId(2),
            members: record.active().members.clone(),
            write_quorum: 2,
        };
        let command = Command::Change(vec![planned]);
        assert_eq!(state.apply(&command).changed, [group]);
        assert_eq!(state.apply(&command).changed, []);
        let caller = state.current(NodeId(2)).expect("registered");
        let stranger = state.current(NodeId(3)).expect("registered");
        state.apply(&Command::Activate { group, epoch: Epoch(2), caller: stranger });
        assert_eq!(state.group(group).expect("formed").active().epoch, Epoch(1), "only its leader may say so");
        state.apply(&Command::Activate { group, epoch: Epoch(2), caller });
        assert_eq!(state.group(group).expect("formed").active().leader, NodeId(2));
    }

    /// A planned loss of group 0, with these members left and the first of them to lead.
    fn loss(state: &State, left: &[u16]) -> Planned {
        let record = state.group(GroupId(0)).expect("formed");
        let members = left.iter().map(|node| Member::from(state.current(NodeId(*node)).expect("registered"))).collect();
        let (version, kind) = (record.version(), ChangeKind::Loss);
        Planned { group: GroupId(0), version, kind, leader: NodeId(left[0]), members, write_quorum: 1 }
    }

    #[test]
    fn whoever_is_given_up_with_a_loss_is_dead_for_every_group() {
        let mut state = formed();
        let runs = [1, 2, 3].map(|node| state.current(NodeId(node)).expect("registered"));
        let losses = vec![loss(&state, &[3])];
        let command = Command::Operate { caller: runs[2], number: 1, decision: Decision::AcceptLoss(losses) };
        let applied = state.apply(&command);
        let Some(Outcome::LossAccepted(accepted)) = &applied.outcome else { panic!("{applied:?}") };
        assert_eq!(accepted[0], Loss { group: GroupId(0), loss_gen: 1, missing: vec![runs[0], runs[1]] });
        assert_eq!(applied.buried.iter().map(|run| run.node.0).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(applied.changed.len(), 4, "each group had them as members");
        assert!(!state.is_current(runs[0]) && state.current(NodeId(1)).is_none());
        assert!(matches!(state.hope(GroupId(1)), Hope::Lost { .. }), "another group has lost as much");
        let back = register(&mut state, 1, 9);
        assert!(back > state.latest(NodeId(2)).map_or(runs[0], |nobody| ReplicaId { node: NodeId(1), ..nobody }));
        assert_eq!(state.apply(&command).outcome, None, "O1: it was done before");
        assert_eq!(state.outcome(runs[2], 1), applied.outcome.as_ref());
    }

    #[test]
    fn a_loss_that_was_decided_on_an_older_version_declares_nobody_dead() {
        let mut state = formed();
        let losses = vec![loss(&state, &[3])];
        let caller = state.current(NodeId(3)).expect("registered");
        let takeover = Planned { kind: ChangeKind::Takeover, ..losses[0].clone() };
        state.apply(&Command::Change(vec![takeover]));
        let decision = Decision::AcceptLoss(losses);
        let applied = state.apply(&Command::Operate { caller, number: 1, decision });
        assert_eq!(applied.outcome, Some(Outcome::Refused(Refusal::Overtaken)));
        assert_eq!((applied.buried, state.runs().count()), (Vec::new(), 3));
    }

    #[test]
    fn an_operation_is_done_once_and_not_for_a_run_that_is_gone() {
        let mut state = formed();
        let caller = state.current(NodeId(2)).expect("registered");
        let set = |number, value: &[u8]| {
            let decision = Decision::Set { key: "k".into(), value: value.to_vec(), version: None };
            Command::Operate { caller, number, decision }
        };
        assert_eq!(state.apply(&set(1, b"a")).outcome, Some(Outcome::Stored { version: 1 }));
        assert_eq!(state.apply(&set(1, b"a")).outcome, None);
        assert_eq!(state.apply(&set(2, b"b")).outcome, Some(Outcome::Stored { version: 2 }));
        assert_eq!(state.apply(&set(1, b"a")).outcome, None, "a late repetition");
        register(&mut state, 2, 8);
        assert_eq!(state.apply(&set(3, b"c")).outcome, None);
        assert_eq!(state.keyspace().get("k").map(|stored| stored.value.as_slice()), Some(b"b".as_slice()));
    }

    #[test]
    fn a_group_is_lost_with_its_leader_and_more_than_others_can_make_up_for() {
        let mut state = formed();
        let group = GroupId(0);
        let followers = [2, 3].map(|node| state.current(NodeId(node)).expect("registered"));
        register(&mut state, 2, 8);
        register(&mut state, 3, 8);
        assert_eq!(state.hope(group), Hope::Some, "its leader lives");
        let leader = state.current(NodeId(1)).expect("registered");
        register(&mut state, 1, 8);
        assert_eq!(state.hope(group), Hope::Lost { missing: vec![leader, followers[0], followers[1]] });
    }
}
