//! What the consistent core agrees on: nodes and their runs, and the record of each group. A state machine: the same
//! commands in the same order give the same state at every core node.
//!
//! A process that starts registers, and is given an incarnation that nobody had before; with it, every earlier run of its
//! node is gone for good. Once all first nodes have registered, the groups are formed: group g is led by node g mod N and held
//! by it and those that follow it in a circle. From then on groups change by [`Command::Change`], decided by the planner on
//! a version of the record, and refused if that has changed meanwhile.
//!
//! A process of a node that the cluster did not have is registered like any other, unless the node was taken out or there are
//! too many; which nodes hold a group then is for the [`roster`](crate::control::roster) to say.
//!
//! [`Decision::ReplaceStore`] is the last thing in a log: another one goes on from the state it leads to (see
//! [`Era`](crate::control::core::Era)).
//!
//! # Invariants
//! C1. An incarnation is given once. C2. Learners of a group are the current runs of its nodes that are no members. C3. A
//! run that was declared dead is never the current one of its node again. C4. What comes behind the end of a log changes
//! nothing.
//!
//! A core that is restored goes on from what one of its nodes knows: see `restored`.
//!
//! # Source
//! The design, section 5; the replication protocol, section 1.1.

mod birth;
mod groups;
mod nodes;
mod restored;

use std::collections::{BTreeMap, BTreeSet};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::config::Member;
use crate::control::journal::{Event, Journal};
use crate::control::keyspace::Keyspace;
use crate::control::operation::{Decision, Left, Outcome};
use crate::control::record::{ChangeKind, News, Record};
use crate::control::roster::{NODES_MAX, Roster, Unwelcome};
use crate::ids::{Epoch, GroupId, Incarnation, NodeId, ReplicaId};
use crate::replication::quorum::seal_quorum;

pub use self::birth::Birth;
pub use self::restored::JUMP;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct State {
    birth: Birth,
    nodes: BTreeMap<NodeId, Registered>,
    last_incarnation: Incarnation,
    /// Names below it that are not known here were given by a core that was lost; 0 if none was.
    horizon: Incarnation,
    /// By number; empty until all first nodes have registered.
    groups: Vec<Group>,
    keyspace: Keyspace,
    /// What each run wanted last.
    answered: BTreeMap<NodeId, Answered>,
    /// Current runs that are down, as far as was agreed.
    down: BTreeSet<ReplicaId>,
    /// Current runs whose clocks go too fast or too slow, as far as was agreed.
    off: BTreeSet<ReplicaId>,
    journal: Journal,
    roster: Roster,
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
    holder: Holder,
}

/// Who bears the latest name of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
enum Holder {
    /// The process that drew this when it started: a registration that is repeated is the same one.
    Process(u64),
    /// A process that registered before the core was restored; what it drew is not certain.
    Someone,
    /// Nobody: the run before was declared dead, and must find that another one counts.
    Nobody,
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
    /// Changes have brought the logs over. Each stands for itself.
    Activate(Vec<Activation>),
    /// Current runs are down, or are heard again.
    Observe {
        /// Those that are not heard, or do not turn.
        down: Vec<ReplicaId>,
        /// Those that were down before.
        back: Vec<ReplicaId>,
        /// Those whose clocks go too fast or too slow, and by how much, in parts per million.
        off: Vec<(ReplicaId, i64)>,
        /// Those whose clocks did before.
        right: Vec<ReplicaId>,
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

/// A change of one group has brought its log over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activation {
    /// The group.
    pub group: GroupId,
    /// The epoch of the change.
    pub epoch: Epoch,
    /// Who says so: its leader.
    pub caller: ReplicaId,
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
    /// Whether nodes are to be told of the roster again.
    pub has_roster_changed: bool,
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
    /// These runs are gone, and what they held with them, as far as anybody knows; or whether they are counted is uncertain.
    Lost {
        /// Members of the active configuration that are gone, its leader among them; all of those that are known, if others may be
        /// counted instead.
        missing: Vec<ReplicaId>,
    },
}

impl Answered {
    /// Whether this is the operation, or came after it.
    fn is_after(&self, caller: ReplicaId, number: u64) -> bool {
        self.run == caller && self.number >= number
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
            horizon: Incarnation(0),
            groups: Vec::new(),
            keyspace: Keyspace::default(),
            answered: BTreeMap::new(),
            down: BTreeSet::new(),
            off: BTreeSet::new(),
            journal: Journal::default(),
            roster: Roster::default(),
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
        let (known_before, roster_before) = (self.last_incarnation, self.roster.version());
        match command {
            Command::Register { node, nonce } => registered = self.register(*node, *nonce, happened).ok(),
            Command::Change(changes) => changes.iter().for_each(|change| self.change(change, happened)),
            Command::Activate(activations) => {
                activations.iter().for_each(|activation| self.activate(*activation, happened));
            }
            Command::Observe { down, back, off, right } => {
                self.observe(down, back, happened);
                self.observe_clocks(off, right, happened);
            }
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
        let nobodies =
            self.nodes.iter().filter(|(_, known)| known.holder == Holder::Nobody && known.incarnation > known_before);
        let buried = nobodies.map(|(node, known)| ReplicaId { node: *node, incarnation: known.incarnation }).collect();
        let has_roster_changed = self.roster.version() != roster_before;
        Applied { changed, registered, has_roster_changed, buried, outcome }
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
        let known = self.nodes.get(&node).filter(|known| known.holder == Holder::Process(nonce))?;
        Some(ReplicaId { node, incarnation: known.incarnation })
    }

    /// Returns the run of each node that registered last, unless it was declared dead.
    pub fn runs(&self) -> impl Iterator<Item = ReplicaId> {
        self.nodes.keys().filter_map(|node| self.current(*node))
    }

    /// Returns the run of a node that registered last, unless it was declared dead.
    #[must_use]
    pub fn current(&self, node: NodeId) -> Option<ReplicaId> {
        let known = self.nodes.get(&node).filter(|known| known.holder != Holder::Nobody)?;
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

    /// Returns the current runs whose clocks go too fast or too slow, as far as was agreed.
    #[must_use]
    pub fn off(&self) -> &BTreeSet<ReplicaId> {
        &self.off
    }

    /// Returns what has happened.
    #[must_use]
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Returns who belongs to the cluster beside the nodes that it began with.
    #[must_use]
    pub fn roster(&self) -> &Roster {
        &self.roster
    }

    /// Returns whether a node shall hold nothing, if it belongs to the cluster.
    #[must_use]
    pub fn is_draining(&self, node: NodeId) -> Option<bool> {
        self.nodes.contains_key(&node).then(|| self.roster.draining().contains(&node))
    }

    /// Returns why no process of a node is registered, if none is.
    #[must_use]
    pub fn unwelcome(&self, node: NodeId) -> Option<Unwelcome> {
        if self.roster.removed().contains(&node) {
            return Some(Unwelcome::Removed);
        }
        // Those that it is to begin with find room.
        let is_known = self.nodes.contains_key(&node) || self.birth.nodes.contains(&node);
        (!is_known && self.nodes.len() >= NODES_MAX).then_some(Unwelcome::Full)
    }

    /// Returns what a node has to do with groups.
    #[must_use]
    pub fn left(&self, node: NodeId) -> Left {
        let records = || self.groups.iter().map(|group| &group.record);
        let led = records().filter(|record| record.active().leader == node).count();
        let is_held = |record: &&Record| {
            let pending = record.pending().map(|change| &change.config);
            record.active().has_node(node) || pending.is_some_and(|config| config.has_node(node))
        };
        Left { led, held: records().filter(is_held).count() }
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

    /// Returns what the nodes are told about a group: nothing, while that is uncertain.
    #[must_use]
    pub fn news(&self, group: GroupId) -> Option<News> {
        let is_told = |record: &&Record| !record.is_uncertain() || record.pending().is_some();
        self.group(group).filter(is_told).map(Record::news)
    }

    /// Returns whether a group can be led again, as far as runs are known to be gone.
    #[must_use]
    pub fn hope(&self, group: GroupId) -> Hope {
        let Some(record) = self.group(group) else { return Hope::Some };
        let active = record.active();
        let runs = active.members.iter().filter_map(|member| member.replica());
        if record.is_uncertain() {
            return Hope::Lost { missing: runs.collect() };
        }
        let missing: Vec<ReplicaId> = runs.filter(|run| !self.is_current(*run)).collect();
        let need = seal_quorum(active.members.len(), active.write_quorum);
        let is_led = missing.iter().all(|run| run.node != active.leader);
        if is_led || active.members.len() - missing.len() >= need { Hope::Some } else { Hope::Lost { missing } }
    }

    // ---- commands ----

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
            Decision::Announce(doors) => {
                self.roster.announce(caller.node, *doors);
                Outcome::Announced
            }
            Decision::Drain { node, is_wanted } => match self.drain(*node, *is_wanted, happened) {
                Ok(left) => Outcome::Draining(left),
                Err(error) => Outcome::Refused(error.into()),
            },
            Decision::Remove { node } => match self.remove(*node, happened) {
                Ok(()) => Outcome::Removed { node: *node },
                Err(error) => Outcome::Refused(error.into()),
            },
            Decision::ReplaceStore { node, store } => {
                self.replaced = Some((*node, *store));
                happened.push(Event::StoreReplaced { node: *node });
                Outcome::StoreReplaced { node: *node }
            }
        };
        self.answered.insert(caller.node, Answered { run: caller, number, outcome: outcome.clone() });
        Some(outcome)
    }
}

impl Serialize for State {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Not this method: what is derived for the fields, see the attribute of the type.
        Self::serialize(self, serializer)
    }
}

/// From a wire or a file, so what is read has to fit together.
impl<'de> Deserialize<'de> for State {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let state = Self::deserialize(deserializer)?;
        state.check().map_err(D::Error::custom)?;
        Ok(state)
    }
}

impl State {
    /// Says what does not fit together.
    fn check(&self) -> Result<(), &'static str> {
        let Self { nodes, last_incarnation, horizon, groups, .. } = self;
        let slots = self.birth.slots;
        let is_formed = groups.len() == slots.group_count() as usize;
        let mut records = (0..).map(GroupId).zip(groups);
        if horizon > last_incarnation || nodes.values().any(|known| known.incarnation > *last_incarnation) {
            Err("a run is later than the last one")
        } else if !is_formed && !groups.is_empty() {
            Err("some groups are missing")
        } else if !records.all(|(group, Group { record, .. })| record.is_sound(group, slots.slots_of(group))) {
            Err("the record of a group does not fit together")
        } else if !self.journal.is_sound() {
            Err("the stream of events has gaps")
        } else if self.roster.removed().iter().any(|node| nodes.contains_key(node)) {
            Err("a node is registered that was taken out")
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests;
