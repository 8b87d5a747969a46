//! A core node: agrees with the others on what nodes and groups there are, and, while it leads them, decides what changes.
//!
//! ```text
//! nodes ── register, ask, heartbeat ──▶ every core node ── proposes, if it leads ──▶ log ── decided ──▶ every core node
//!   ▲                                                                                                       │
//!   └────────────────────────────── registered, news ◀── apply ─────────────────────────────────────────────┘
//! ```
//!
//! What nodes say goes to all core nodes; the one that leads proposes, the others drop it: whoever gets no answer says it again.
//! So nothing is forwarded, and nobody waits for a core node that has failed. All of them tell what has been decided to
//! whomever they are connected to. All hear the heartbeats too, so that a new leader of the core knows at once who is silent.
//!
//! A core node is known by its store. One that has lost it is replaced by another one, in the next `era` of the core ([`Era`]).
//!
//! # Invariants
//! K1. Only what is decided is told. K2. The leader does not propose a thing again that lies undecided in its log; a new
//! leader knows nothing of that and may, which is harmless: runs are told apart by their nonces, changes by the version
//! they start from, activations by their epochs. K3. The first entry of the log is the birth, proposed by whoever leads an
//! empty log. K4. In steady state nothing is proposed.
//!
//! # Time and units
//! The host's monotonic clock. Elections count ticks; after a pause at most one round of an election is caught up on.
//!
//! # Bounds
//! The log is replaced by an image every 1,024 entries. What lies undecided in it is bounded by what nodes register and
//! groups want meanwhile: one thing once (K2).
//!
//! # What it expects of its host
//! Messages between two core nodes come in the order in which they were sent. If some may be lost, those behind them do
//! not come either, until both sides have been told that they are connected anew; nothing of an older connection comes
//! after that. Core nodes that are connected show each other in which era their stores are, anew when that changes. A core
//! node that has lost its store is none until an era names its new one: what it promised is forgotten. Its own node's
//! heartbeats are passed to it like all others. Who connects anew is told what there is to know, from [`Core::state`].

mod clipped;
mod consensus;
mod entry;
mod era;

use core::fmt;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use omnipaxos::messages::Message;
use omnipaxos::messages::sequence_paxos::PaxosMsg;

use self::consensus::{Consensus, Decided, ELECTION_TICKS};
pub use self::entry::{Entry, Image};
pub use self::era::{Era, EraStore, ReplaceError};
use crate::control::detector::{Detector, Heartbeat};
use crate::control::keyspace;
use crate::control::operation::{Decision, Operation, Outcome, Refusal, Scope};
use crate::control::planner::{NotLost, Planner};
use crate::control::record::{Ask, News};
use crate::control::state::{Birth, Command, Planned, State};
use crate::ids::{Epoch, GroupId, NodeId, ReplicaId};
use crate::time::{Instant, nanos};

/// See the module.
pub struct Core<S: EraStore> {
    settings: CoreSettings,
    store: S,
    era: Era,
    /// Stores that core nodes have shown last and that the era does not name.
    strangers: BTreeMap<NodeId, u64>,
    consensus: Consensus<S>,
    /// What the first `applied` entries of the log of this era have led to.
    state: Option<State>,
    applied: usize,
    detector: Detector,
    role: Role,
    next_tick: Instant,
    wall: WallClock,
    outputs: VecDeque<CoreOutput>,
}

/// What a core node is told when it starts.
#[derive(Clone, Debug)]
pub struct CoreSettings {
    /// Its node; 1 and up.
    pub me: NodeId,
    /// The core nodes: 1, 3 or 5, this one among them, each once.
    pub nodes: Vec<NodeId>,
    /// The era in which its store is.
    pub era: Era,
    /// What it makes of the cluster if it is the first to lead: the same at all core nodes.
    pub birth: Birth,
    /// How long a node is silent before it is suspected.
    pub suspicion: Duration,
    /// How long a change may take before it is superseded: see [`Planner`].
    pub patience: Duration,
    /// How often it looks at what is to be done. Elections count in it: another core node leads eight to twelve ticks
    /// after one has failed.
    pub tick: Duration,
}

/// What happens to a core node.
#[derive(Clone, Debug)]
pub enum CoreInput {
    /// Another core node says something.
    Message {
        /// From which one the message really came.
        from: NodeId,
        /// In which era it was sent.
        era: u32,
        /// What it says.
        message: Box<Message<Entry>>,
    },
    /// A process has started and wants to be given a name.
    Register {
        /// Its node.
        node: NodeId,
        /// Drawn at its start, and the same in each repetition.
        nonce: u64,
    },
    /// A replica asks for something.
    Ask {
        /// Who asks.
        from: ReplicaId,
        /// For which group.
        group: GroupId,
        /// What for.
        ask: Ask,
    },
    /// A node lives.
    Heartbeat(Heartbeat),
    /// A node wants something, for itself or somebody else.
    Operate {
        /// Its run.
        from: ReplicaId,
        /// Its number; each node has one under way at a time, and says it again until it hears how it ended.
        number: u64,
        /// What it wants.
        operation: Operation,
    },
    /// A connection to another core node is new.
    Connected(NodeId),
    /// The process of another core node shows its store, first of all over a connection that is new.
    Standing {
        /// Which one.
        from: NodeId,
        /// The number of the store.
        store: u64,
        /// The number of the era in which it is; 0 if it is in none.
        era: u32,
    },
    /// Another core node shows the era in which it is.
    Era {
        /// Which one.
        from: NodeId,
        /// The era.
        era: Box<Era>,
    },
}

/// What a core node wants done.
#[derive(Clone, Debug)]
pub enum CoreOutput {
    /// A message for another core node.
    Send {
        /// Which one.
        to: NodeId,
        /// In which era it is sent.
        era: u32,
        /// What to send.
        message: Box<Message<Entry>>,
    },
    /// To be shown to another core node: the era in which this one is.
    ShowEra {
        /// Which one.
        to: NodeId,
        /// The era.
        era: Box<Era>,
    },
    /// Another store has taken the place of this one, so nothing that it says to the core counts: this node is to end.
    Replaced,
    /// A process has its name. To be told to its node, if that is connected to this core node.
    Registered {
        /// The name.
        run: ReplicaId,
        /// What it has drawn.
        nonce: u64,
    },
    /// What was the current run of a node is gone, and nobody has this later name. To be told to its node.
    Buried {
        /// The name.
        latest: ReplicaId,
    },
    /// An operation has ended. To be told to its node.
    Operated {
        /// Whose it was.
        to: ReplicaId,
        /// Its number.
        number: u64,
        /// How it ended.
        outcome: Outcome,
    },
    /// To be told to all nodes that are connected to this core node.
    News {
        /// About which group.
        group: GroupId,
        /// What there is to know.
        news: News,
    },
}

/// What the wall clock shows, as far as the host has said; nothing is decided by it.
#[derive(Clone, Copy, Debug)]
struct WallClock {
    /// How far it is ahead of the host's monotonic clock.
    ahead_ms: i64,
}

impl WallClock {
    /// Says when a command is proposed.
    fn stamp(self, now: Instant, command: Command) -> Entry {
        let now_ms = i64::try_from(now.0 / 1_000_000).unwrap_or(i64::MAX);
        Entry::Command { at_ms: u64::try_from(now_ms.saturating_add(self.ahead_ms)).unwrap_or(0), command }
    }
}

/// What a core node is among the others.
enum Role {
    Follower,
    Leader(Box<Leadership>),
    /// None any more: another store has taken the place of its own.
    Replaced,
}

/// What a leader knows that nobody else does, and that the next one does not have to.
struct Leadership {
    round: u32,
    planner: Planner,
    /// What lies undecided in its log (K2).
    proposed: BTreeSet<Proposal>,
    /// Reads that wait for the barrier in the log, and those that came after it was proposed.
    reads: [Vec<Read>; 2],
}

/// A read of a key that the core keeps.
struct Read {
    from: ReplicaId,
    number: u64,
    key: String,
}

/// By what two proposals are known to be the same.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Proposal {
    Registration(NodeId, u64),
    Activation(GroupId, Epoch),
    Change(GroupId, u64),
    Operation(ReplicaId, u64),
    Observation,
}

impl CoreSettings {
    /// Returns the settings of a core node with the usual times: a change has twice the suspicion time, and there are 15
    /// ticks in one.
    #[must_use]
    pub fn new(me: NodeId, era: Era, birth: Birth, suspicion: Duration) -> Self {
        let nodes = era.stores.keys().copied().collect();
        Self { me, nodes, era, birth, suspicion, patience: 2 * suspicion, tick: suspicion / 15 }
    }
}

impl<S: EraStore> Core<S> {
    /// Goes on with what is in the store.
    ///
    /// # Panics
    /// If the core nodes are not 1, 3 or 5 with this one among them, the era has no store for one of them, the tick is
    /// zero, or the store fails.
    #[must_use]
    pub fn new(settings: CoreSettings, store: S, now: Instant) -> Self {
        let CoreSettings { me, nodes, suspicion, tick, .. } = &settings;
        assert!([1, 3, 5].contains(&nodes.len()) && nodes.contains(me), "{me} of core nodes {nodes:?}");
        assert!(BTreeSet::from_iter(nodes).len() == nodes.len() && nodes.iter().all(|node| node.0 > 0), "{nodes:?}");
        assert!(nanos(*tick) > 0, "a tick of no length");
        assert!(
            nodes.iter().all(|node| settings.era.stores.contains_key(node)),
            "{:?} of {nodes:?}",
            settings.era.stores
        );
        let others = nodes.iter().copied().filter(|node| node != me).collect();
        let mut core = Self {
            consensus: Consensus::new(*me, nodes, store.clone()),
            store,
            era: settings.era.clone(),
            strangers: BTreeMap::new(),
            detector: Detector::new(*suspicion, others),
            next_tick: now.saturating_add(*tick),
            wall: WallClock { ahead_ms: 0 },
            settings,
            state: None,
            applied: 0,
            role: Role::Follower,
            outputs: VecDeque::new(),
        };
        core.advance(now);
        core
    }

    // ---- inputs ----

    /// Takes an input that was received at `now`.
    pub fn handle(&mut self, now: Instant, input: CoreInput) {
        if matches!(self.role, Role::Replaced) {
            return;
        }
        match input {
            CoreInput::Message { from, era, message }
                if era == self.era.number && self.is_acceptable(from, &message) =>
            {
                self.consensus.handle(*message)
            }
            CoreInput::Message { .. } => return,
            CoreInput::Standing { from, store, era } => self.handle_standing(from, store, era),
            CoreInput::Era { from, era } => self.handle_era(from, *era),
            CoreInput::Connected(node) if self.is_peer(node) => self.consensus.on_connected(node),
            CoreInput::Connected(_) => return,
            CoreInput::Register { node, nonce } => self.handle_registration(now, node, nonce),
            CoreInput::Ask { from, group, ask } => self.handle_ask(now, from, group, ask),
            CoreInput::Operate { from, number, operation } => self.handle_operation(now, from, number, operation),
            // Looked at with the next tick. A run that is not known here yet says it again.
            CoreInput::Heartbeat(heartbeat) => {
                if self.state.as_ref().is_some_and(|state| state.is_current(heartbeat.from)) {
                    self.detector.hear(&heartbeat, now);
                }
                return;
            }
        }
        self.advance(now);
    }

    /// Says what the wall clock shows, in milliseconds since the Unix epoch; events carry it.
    pub fn set_wall_clock(&mut self, now: Instant, wall_ms: u64) {
        let now_ms = i64::try_from(now.0 / 1_000_000).unwrap_or(i64::MAX);
        self.wall.ahead_ms = i64::try_from(wall_ms).unwrap_or(i64::MAX).saturating_sub(now_ms);
    }

    /// Does what is due: see [`Self::wake_at`].
    pub fn on_alarm(&mut self, now: Instant) {
        if now < self.wake_at() {
            return;
        }
        let tick = nanos(self.settings.tick);
        let passed = 1 + (now.0 - self.next_tick.0) / tick;
        // Nobody was heard during a pause, so no more than one round of the election may end with it.
        (0..passed.min(ELECTION_TICKS)).for_each(|_| self.consensus.tick());
        self.next_tick = Instant(self.next_tick.0.saturating_add(passed.saturating_mul(tick)));
        self.advance(now);
        self.look_after_groups(now);
        self.advance(now);
    }

    // ---- outputs ----

    /// Returns when [`Self::on_alarm`] is due.
    #[must_use]
    pub fn wake_at(&self) -> Instant {
        match self.role {
            Role::Follower | Role::Leader(_) => self.next_tick,
            Role::Replaced => Instant(u64::MAX),
        }
    }

    /// Takes what is to be done, in this order.
    pub fn drain_outputs(&mut self) -> impl Iterator<Item = CoreOutput> {
        self.outputs.drain(..)
    }

    // ---- queries ----

    /// Returns what has been agreed on, once there is a cluster.
    #[must_use]
    pub fn state(&self) -> Option<&State> {
        self.state.as_ref()
    }

    /// Returns the era in which its store is.
    #[must_use]
    pub fn era(&self) -> &Era {
        &self.era
    }

    /// Returns how many entries of the log of this era the state holds.
    #[must_use]
    pub fn applied(&self) -> usize {
        self.applied
    }

    /// Whether this core node leads the others.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        matches!(self.role, Role::Leader(_))
    }

    /// Returns which core node leads, as far as this one knows.
    #[must_use]
    pub fn leader(&self) -> Option<NodeId> {
        self.consensus.leader(self.settings.me)
    }

    /// Whether the run of a node that was registered last was heard here within the suspicion time.
    #[must_use]
    pub fn is_heard(&self, node: NodeId, now: Instant) -> bool {
        self.detector.is_heard(node, now)
    }

    /// Returns the nodes that were not heard here for the suspicion time: what the heartbeats of this core node's own node
    /// say.
    #[must_use]
    pub fn silent(&self, now: Instant) -> Vec<NodeId> {
        self.detector.silent(now).collect()
    }

    // ---- what nodes want ----

    fn handle_registration(&mut self, now: Instant, node: NodeId, nonce: u64) {
        let (Role::Leader(leadership), Some(state)) = (&mut self.role, &self.state) else { return };
        if let Some(run) = state.registered(node, nonce) {
            self.outputs.push_back(CoreOutput::Registered { run, nonce });
        } else if leadership.proposed.insert(Proposal::Registration(node, nonce)) {
            self.consensus.propose(self.wall.stamp(now, Command::Register { node, nonce }));
        }
    }

    fn handle_ask(&mut self, now: Instant, from: ReplicaId, group: GroupId, ask: Ask) {
        let (Role::Leader(leadership), Some(state)) = (&mut self.role, &self.state) else { return };
        let Some(record) = state.group(group) else { return };
        let Ask::Activate { epoch } = ask else {
            leadership.planner.note(from, group, ask);
            return self.look_after_groups(now);
        };
        let config = record.pending().map(|change| &change.config).filter(|config| config.epoch == epoch);
        if config.is_none_or(|config| config.leader_replica() != Some(from)) || !state.is_current(from) {
            // Nothing would come of it. What has come of it before may not have been heard.
            self.outputs.push_back(CoreOutput::News { group, news: record.news() });
        } else if leadership.proposed.insert(Proposal::Activation(group, epoch)) {
            self.consensus.propose(self.wall.stamp(now, Command::Activate { group, epoch, caller: from }));
        }
    }

    fn handle_operation(&mut self, now: Instant, from: ReplicaId, number: u64, operation: Operation) {
        let is_hearing = self.hears_enough(now);
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
    fn end_barrier(&mut self, now: Instant, by: NodeId, round: u32) {
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

    // ---- eras ----

    fn handle_standing(&mut self, from: NodeId, store: u64, era: u32) {
        if !self.is_peer(from) {
            return;
        }
        if self.era.names(from, store) {
            self.strangers.remove(&from);
        } else {
            self.strangers.insert(from, store);
        }
        if era < self.era.number {
            self.outputs.push_back(CoreOutput::ShowEra { to: from, era: Box::new(self.era.clone()) });
        }
    }

    fn handle_era(&mut self, from: NodeId, era: Era) {
        let is_whole = self.settings.nodes.iter().all(|node| era.stores.contains_key(node));
        if !self.is_peer(from) || !is_whole {
            return;
        }
        let number = era.number;
        if number > self.era.number {
            self.begin_era(era);
        }
        if number == self.era.number {
            // What it has said in this era before was said too early.
            self.consensus.on_connected(from);
        }
    }

    fn begin_era(&mut self, era: Era) {
        let CoreSettings { me, nodes, .. } = &self.settings;
        if self.era.stores[me] != era.stores[me] {
            self.role = Role::Replaced;
            self.outputs.push_back(CoreOutput::Replaced);
            return;
        }
        self.store.begin_era(&era);
        self.consensus = Consensus::new(*me, nodes, self.store.clone());
        // The image with which it begins is the first thing to be applied.
        (self.role, self.applied, self.era) = (Role::Follower, 0, era);
        self.strangers.retain(|node, store| !self.era.names(*node, *store));
        for to in nodes.iter().copied().filter(|node| node != me) {
            self.outputs.push_back(CoreOutput::ShowEra { to, era: Box::new(self.era.clone()) });
        }
    }

    // ---- what is agreed on ----

    /// Goes on after something has happened: with what is decided by it, and what is to be sent.
    fn advance(&mut self, now: Instant) {
        self.apply_decided(now);
        self.advance_role(now);
        // Alone, what is proposed is decided.
        self.apply_decided(now);
        if matches!(self.role, Role::Replaced) {
            return;
        }
        self.consensus.compact();
        let mut messages = Vec::new();
        self.consensus.take_messages(&mut messages);
        for message in messages {
            // A number out of a message that was not that of a core node: to be sent to nobody.
            let to = u16::try_from(message.get_receiver()).map(NodeId).ok().filter(|to| self.is_peer(*to));
            if let Some(to) = to {
                self.outputs.push_back(CoreOutput::Send { to, era: self.era.number, message: Box::new(message) });
            }
        }
    }

    fn apply_decided(&mut self, now: Instant) {
        if matches!(self.role, Role::Replaced) {
            return;
        }
        for part in self.consensus.decided_from(self.applied) {
            match part {
                Decided::Entry(entry) => self.apply(&entry, now),
                Decided::Image(applied, image) => self.install(applied, image, now),
            }
        }
        if let Some(next) = self.state.as_ref().and_then(|state| self.era.next(state)) {
            self.begin_era(next);
            self.apply_decided(now);
        }
    }

    fn apply(&mut self, entry: &Entry, now: Instant) {
        let applied = entry.apply(&mut self.state);
        self.applied += 1;
        let mut told = applied.changed;
        let decided: Vec<Proposal> = match entry {
            Entry::Command { command: Command::Register { node, nonce }, .. } => {
                if let Some(run) = applied.registered {
                    self.detector.expect(run, now);
                    self.outputs.push_back(CoreOutput::Registered { run, nonce: *nonce });
                }
                vec![Proposal::Registration(*node, *nonce)]
            }
            Entry::Command { command: Command::Activate { group, epoch, .. }, .. } => {
                // What has not changed may not have been heard.
                if !told.contains(group) {
                    told.push(*group);
                }
                vec![Proposal::Activation(*group, *epoch)]
            }
            Entry::Command { command: Command::Change(changes), .. } => {
                changes.iter().map(|planned| Proposal::Change(planned.group, planned.version)).collect()
            }
            Entry::Command { command: Command::Operate { caller, number, .. }, .. } => {
                if let Some(outcome) = applied.outcome {
                    self.outputs.push_back(CoreOutput::Operated { to: *caller, number: *number, outcome });
                }
                vec![Proposal::Operation(*caller, *number)]
            }
            Entry::Command { command: Command::Barrier { by, round }, .. } => {
                self.end_barrier(now, *by, *round);
                Vec::new()
            }
            Entry::Command { command: Command::Observe { .. }, .. } => vec![Proposal::Observation],
            Entry::Command { command: Command::Place { .. }, .. } | Entry::Birth(_) => Vec::new(),
        };
        self.outputs.extend(applied.buried.into_iter().map(|latest| CoreOutput::Buried { latest }));
        if let Role::Leader(leadership) = &mut self.role {
            leadership.proposed.retain(|proposal| !decided.contains(proposal));
        }
        self.tell(told);
    }

    /// Goes on from an image: this core node is far behind, or has just started.
    fn install(&mut self, applied: usize, image: Image, now: Instant) {
        let Image::State(state) = image else { panic!("K3: the log begins with the birth, not with {image:?}") };
        let before = self.state.replace(*state);
        self.applied = applied;
        let state = self.state.as_ref().expect("it was put there");
        state.runs().for_each(|run| self.detector.expect(run, now));
        let version = |state: &State, group| state.group(group).map(|record| record.version());
        let groups = state.groups().map(|record| record.active().group);
        let is_changed =
            |group: &GroupId| before.as_ref().and_then(|before| version(before, *group)) != version(state, *group);
        let changed = groups.filter(is_changed).collect();
        self.tell(changed);
    }

    fn tell(&mut self, groups: Vec<GroupId>) {
        let Some(state) = &self.state else { return };
        let news = groups.into_iter().filter_map(|group| Some((group, state.news(group)?)));
        self.outputs.extend(news.map(|(group, news)| CoreOutput::News { group, news }));
    }

    // ---- what a leader does ----

    fn advance_role(&mut self, now: Instant) {
        match (self.consensus.leads(), &self.role) {
            (_, Role::Replaced) => (),
            (None, Role::Follower | Role::Leader(_)) => self.role = Role::Follower,
            (Some(round), Role::Leader(leadership)) if leadership.round == round => (),
            (Some(round), Role::Follower | Role::Leader(_)) => self.become_leader(round, now),
        }
    }

    fn become_leader(&mut self, round: u32, now: Instant) {
        let planner = Planner::new(self.settings.patience);
        self.role =
            Role::Leader(Box::new(Leadership { round, planner, proposed: BTreeSet::new(), reads: Default::default() }));
        if let Some(state) = &self.state {
            state.runs().for_each(|run| self.detector.expect(run, now));
        }
        if self.consensus.is_empty() {
            self.consensus.propose(Entry::Birth(self.settings.birth.clone()));
        }
    }

    /// Proposes what the planner wants changed, if this core node leads.
    fn look_after_groups(&mut self, now: Instant) {
        if !self.hears_enough(now) {
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
    fn hears_enough(&self, now: Instant) -> bool {
        let CoreSettings { me, nodes, .. } = &self.settings;
        let heard = nodes.iter().filter(|node| *node == me || self.detector.is_heard(**node, now)).count();
        2 * heard > nodes.len()
    }

    // ---- what strangers say ----

    fn is_peer(&self, node: NodeId) -> bool {
        node != self.settings.me && self.settings.nodes.contains(&node)
    }

    /// Whether a message is from another core node, for this one, and of a kind that core nodes send. OmniPaxos panics on
    /// the numbers of strangers.
    fn is_acceptable(&self, from: NodeId, message: &Message<Entry>) -> bool {
        let is_of_kind = match message {
            Message::BLE(_) => true,
            Message::SequencePaxos(message) => match message.msg {
                PaxosMsg::PrepareReq(_)
                | PaxosMsg::Prepare(_)
                | PaxosMsg::Promise(_)
                | PaxosMsg::AcceptSync(_)
                | PaxosMsg::AcceptDecide(_)
                | PaxosMsg::Accepted(_)
                | PaxosMsg::NotAccepted(_)
                | PaxosMsg::Decide(_) => true,
                PaxosMsg::ProposalForward(_)
                | PaxosMsg::Compaction(_)
                | PaxosMsg::AcceptStopSign(_)
                | PaxosMsg::ForwardStopSign(_) => false,
            },
        };
        let me = u64::from(self.settings.me.0);
        let is_ours = (message.get_sender(), message.get_receiver()) == (u64::from(from.0), me);
        self.is_peer(from) && is_ours && is_of_kind
    }
}

/// Returns what has changed about who is down, if anything.
fn observe(state: &State, detector: &Detector, now: Instant) -> Option<Command> {
    let is_down = |run: &ReplicaId| state.down().contains(run);
    let (suspected, well): (Vec<ReplicaId>, Vec<ReplicaId>) =
        state.runs().partition(|run| detector.is_suspected(*run, now));
    let down: Vec<ReplicaId> = suspected.into_iter().filter(|run| !is_down(run)).collect();
    let back: Vec<ReplicaId> = well.into_iter().filter(is_down).collect();
    (!down.is_empty() || !back.is_empty()).then_some(Command::Observe { down, back })
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

impl<S: EraStore> fmt::Debug for Core<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { settings, applied, era, .. } = self;
        let (me, leader) = (settings.me, self.leader());
        f.debug_struct("Core")
            .field("me", &me)
            .field("leader", &leader)
            .field("era", &era.number)
            .field("applied", applied)
            .finish_non_exhaustive()
    }
}
