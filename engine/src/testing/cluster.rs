//! A cluster of engines in one thread, with links that deliver in order and can be cut: the stage for scenario tests.
//!
//! Nothing happens by itself: the test delivers messages, moves the clock and ends turns. Nodes are 1, 2, 3, …; every
//! group of the placement lives on the one CPU that each node has.
//!
//! A second process that was started with the number of another one has a place of its own on the stage, its *twin*. As
//! in the daemon, a process has one connection to each node: when another run of a node connects, the one before is
//! closed, which that run learns when it has read what was sent to it before.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::config::{Config, GroupConfig, Member, Placement};
use crate::control::operation::Decision;
use crate::control::record::{Ask, ChangeKind, News, Record};
use crate::control::state::Command::{Activate, Change, Operate, Place, Register};
use crate::control::state::{Activation, Birth, Planned, State};
use crate::engine::{Engine, Input};
use crate::group::{GroupStatus, Level, Request};
use crate::ids::{EntryId, Epoch, GroupId, Incarnation, LogIndex, NodeId, ReplicaId};
use crate::machine::answer::{Answer, AnswerSink};
use crate::machine::command::{Command, Op};
use crate::message::{Envelope, Message};
use crate::output::{Event, Outcome, Output, Outputs, Refusal, Token};
use crate::slots::{SlotMap, slot_of};
use crate::time::Instant;

use super::parcel::OwnedMessage;

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// See [`Outcome::Done`]; the answer as bytes.
    Done(EntryId, Vec<u8>),
    /// See [`Outcome::Accepted`].
    Accepted(EntryId),
    /// See [`Outcome::Refused`].
    Refused(Refusal),
    /// See [`Outcome::Unknown`].
    Unknown(EntryId),
}

/// What is on its way from one process to another.
#[derive(Clone, Debug)]
enum Parcel {
    /// A message.
    Message { from: ReplicaId, group: GroupId, epoch: Epoch, message: OwnedMessage },
    /// The end of the connection to this one.
    Closed(ReplicaId),
}

/// See the module.
#[derive(Debug)]
pub struct Cluster {
    placement: Placement,
    /// Decides who leads and counts, if there is one. It hears and is heard by everybody at once.
    core: Option<State>,
    /// Whether learners that have caught up stay learners.
    keeps_learners: bool,
    /// Nodes that the core cannot reach.
    untold: BTreeSet<NodeId>,
    config: Config,
    /// The processes that run, by place: their number, or that of a twin.
    nodes: BTreeMap<NodeId, (ReplicaId, Engine)>,
    stage: Stage,
    cut: BTreeSet<(NodeId, NodeId)>,
    paused: BTreeSet<NodeId>,
    now: Instant,
    next_token: u64,
}

impl Cluster {
    /// Starts `node_count` nodes with `partitions` groups of `replicas` members each, all connected.
    ///
    /// # Panics
    /// If the numbers do not fit together.
    #[must_use]
    pub fn start(node_count: u16, partitions: u32, replicas: usize, write_quorum: usize, config: Config) -> Self {
        let slots = SlotMap::new(partitions).expect("1 to 16384 partitions");
        let nodes = (1..=node_count).map(NodeId).collect();
        let placement = Placement::new(slots, nodes, replicas, write_quorum).expect("a valid placement");
        let mut cluster = Self::empty(placement, config);
        for node in 1..=node_count {
            cluster.restart(NodeId(node));
        }
        cluster
    }

    fn empty(placement: Placement, config: Config) -> Self {
        Self {
            placement,
            core: None,
            keeps_learners: false,
            untold: BTreeSet::new(),
            config,
            nodes: BTreeMap::new(),
            stage: Stage::default(),
            cut: BTreeSet::new(),
            paused: BTreeSet::new(),
            now: Instant(1_000_000_000),
            next_token: 1,
        }
    }

    /// Starts nodes as [`Cluster::start`] does, with a consistent core. It does what replicas ask of it and what the test
    /// says, and nothing by itself.
    ///
    /// # Panics
    /// If the numbers do not fit together.
    #[must_use]
    pub fn start_with_core(
        node_count: u16,
        partitions: u32,
        replicas: usize,
        write_quorum: usize,
        config: Config,
    ) -> Self {
        let slots = SlotMap::new(partitions).expect("1 to 16384 partitions");
        let nodes: Vec<NodeId> = (1..=node_count).map(NodeId).collect();
        let placement = Placement::new(slots, nodes.clone(), replicas, write_quorum).expect("a valid placement");
        let mut cluster = Self::empty(placement, config);
        cluster.core = Some(State::new(Birth { slots, nodes: nodes.clone(), replicas, write_quorum }));
        nodes.into_iter().for_each(|node| cluster.restart(node));
        cluster
    }

    // ---- verbs ----

    /// Has a member of `group` take over; all members stay.
    ///
    /// # Panics
    /// If there is no core.
    pub fn take_over(&mut self, group: GroupId, leader: NodeId) {
        let members = self.record(group).active().members.clone();
        self.change(group, ChangeKind::Takeover, leader, members);
    }

    /// Places `group` on these nodes, and has its leader change members: their current runs.
    ///
    /// # Panics
    /// If there is no core.
    pub fn change_members(&mut self, group: GroupId, nodes: &[NodeId]) {
        self.place(group, nodes);
        let core = self.core.as_ref().expect("there is a core");
        let members = nodes.iter().filter_map(|node| core.current(*node)).map(Member::from).collect();
        let leader = self.record(group).active().leader;
        self.change(group, ChangeKind::Live, leader, members);
    }

    /// Returns what the core has agreed on.
    ///
    /// # Panics
    /// If there is no core.
    #[must_use]
    pub fn core(&self) -> &State {
        self.core.as_ref().expect("there is a core")
    }

    /// The core has lost all that it has agreed on since it knew this, and goes on from there.
    pub fn restore_core(&mut self, known: &State) {
        self.core = Some(known.restored(0, NodeId(1)));
    }

    /// Has `group` go on with what the current runs of these nodes hold, the first of them as its leader; other members are dead.
    /// After [`Self::restore_core`], it is whoever holds the best that leads.
    ///
    /// # Panics
    /// If there is no core.
    pub fn accept_loss(&mut self, group: GroupId, nodes: &[NodeId]) {
        let core = self.core.as_mut().expect("there is a core");
        let record = core.group(group).expect("it is formed");
        let (version, write_quorum) = (record.version(), record.active().write_quorum);
        let members = nodes.iter().filter_map(|node| core.current(*node)).map(Member::from).collect();
        let kind = if record.is_uncertain() { ChangeKind::Salvage } else { ChangeKind::Loss };
        let planned = Planned { group, version, kind, leader: nodes[0], members, write_quorum };
        let caller = core.current(nodes[0]).expect("registered");
        core.apply(&Operate { caller, number: version, decision: Decision::AcceptLoss(vec![planned]) });
        self.tell();
    }

    /// Has these nodes hold `group` in the end; nobody changes its members yet.
    ///
    /// # Panics
    /// If there is no core.
    pub fn place(&mut self, group: GroupId, nodes: &[NodeId]) {
        self.core.as_mut().expect("there is a core").apply(&Place { group, nodes: nodes.to_vec() });
        self.tell();
    }

    /// From now on learners stay what they are, however much they hold.
    pub fn keep_learners(&mut self) {
        self.keeps_learners = true;
    }

    /// From now on the core does not reach a node, which can still ask it.
    pub fn keep_news_from(&mut self, node: NodeId) {
        self.untold.insert(node);
    }

    /// Tells a node what it has not heard.
    pub fn tell_news(&mut self, node: NodeId) {
        self.untold.remove(&node);
        self.tell();
    }

    /// Stops a node: its memory and its connections are gone.
    pub fn crash(&mut self, node: NodeId) {
        let Some((gone, _)) = self.nodes.remove(&node) else { return };
        self.paused.remove(&node);
        self.stage.places.remove(&gone);
        self.stage.links.retain(|(from, to), _| *from != node && *to != node);
        self.stage.facing.retain(|(from, _), _| *from != node);
        for other in self.node_ids() {
            self.lose(other, gone);
        }
    }

    /// Starts a node without memory, as a new incarnation, and connects it.
    ///
    /// # Panics
    /// If the settings are invalid.
    pub fn restart(&mut self, node: NodeId) {
        self.crash(node);
        self.run(node);
        for other in self.node_ids() {
            if self.node_of(other) != self.node_of(node) && !self.cut.contains(&(node, other)) {
                self.connect(node, other);
            }
        }
        self.end_turn(node);
    }

    /// Starts another process with the number of `node`, at the place `twin`. It is connected to nobody.
    ///
    /// # Panics
    /// If there is a process at that place.
    pub fn start_twin(&mut self, node: NodeId, twin: NodeId) {
        assert!(!self.nodes.contains_key(&twin), "{twin} is taken");
        self.stage.twins.insert(twin, node);
        self.run(twin);
    }

    /// Has one process connect to another one, if it knows of no connection to that node.
    ///
    /// # Panics
    /// If one of them is down.
    pub fn dial(&mut self, from: NodeId, to: NodeId) {
        if !self.stage.facing.contains_key(&(from, self.node_of(to))) {
            self.connect(from, to);
        }
    }

    /// Cuts all connections of a node.
    pub fn isolate(&mut self, node: NodeId) {
        for other in self.node_ids() {
            if other != node && self.cut.insert((node, other)) {
                self.cut.insert((other, node));
                self.stage.links.remove(&(node, other));
                self.stage.links.remove(&(other, node));
                let (one, two) = (self.replica(node), self.replica(other));
                self.lose(other, one);
                self.lose(node, two);
            }
        }
    }

    /// Restores all connections.
    pub fn heal(&mut self) {
        for (one, two) in core::mem::take(&mut self.cut) {
            if one < two && self.nodes.contains_key(&one) && self.nodes.contains_key(&two) {
                self.connect(one, two);
            }
        }
    }

    /// Loses what is on its way from one node to another, as a full queue does.
    pub fn drop_messages(&mut self, from: NodeId, to: NodeId) {
        self.stage.links.remove(&(from, to));
    }

    /// Keeps a copy of the first message like this that is on its way from one node to another, if there is one; returns
    /// whether.
    pub fn keep(&mut self, from: NodeId, to: NodeId, is_like: impl Fn(&Message<'_>) -> bool) -> bool {
        let is_like = |parcel: &&Parcel| matches!(parcel, Parcel::Message { message, .. } if is_like(&message.get()));
        let found = self.stage.links.get(&(from, to)).and_then(|link| link.iter().find(is_like));
        self.stage.kept = found.cloned();
        self.stage.kept.is_some()
    }

    /// Puts the copy that was kept on its way from one node to another, behind all that is.
    pub fn repeat_kept(&mut self, from: NodeId, to: NodeId) {
        let kept = self.stage.kept.take();
        self.stage.links.entry((from, to)).or_default().extend(kept);
    }

    /// Tells a node that its connection to another takes no more bytes, or takes them again.
    pub fn set_busy(&mut self, node: NodeId, peer: NodeId, is_busy: bool) {
        let peer = self.replica(peer);
        self.input(node, if is_busy { Input::PeerBusy(peer) } else { Input::PeerReady(peer) });
    }

    /// Lets a node do nothing; its connections stay and fill.
    pub fn pause(&mut self, node: NodeId) {
        self.paused.insert(node);
    }

    /// Lets a paused node go on.
    pub fn resume(&mut self, node: NodeId) {
        self.paused.remove(&node);
        self.end_turn(node);
    }

    /// Sends a command to a node; returns the token of the request.
    pub fn submit_to(&mut self, node: NodeId, command: Command<'_>) -> Token {
        self.send(node, command, Level::Commit, LogIndex(0))
    }

    /// Sends a command to the leader of its key; returns the token of the request.
    pub fn submit(&mut self, command: Command<'_>) -> Token {
        self.submit_at(command, Level::Commit, LogIndex(0))
    }

    /// Sends a command to the leader of its key, to be answered at `level`; a read must see the entry at `after`.
    pub fn submit_at(&mut self, command: Command<'_>, level: Level, after: LogIndex) -> Token {
        let group = self.placement.slots().group_of(slot_of(command.routing_key()));
        let leader = match &self.core {
            Some(_) => self.record(group).active().leader,
            None => self.placement.leader_of(group),
        };
        self.send(leader, command, level, after)
    }

    fn send(&mut self, node: NodeId, command: Command<'_>, level: Level, after: LogIndex) -> Token {
        let token = Token(self.next_token);
        self.next_token += 1;
        let mut bytes = Vec::new();
        command.encode_into(&mut bytes);
        let slot = slot_of(command.routing_key());
        let group = self.placement.slots().group_of(slot);
        let request = Request { token, group, slot, command: &bytes, level, after };
        self.input(node, Input::Request(request));
        token
    }

    /// Sets `key` to `value`.
    pub fn set(&mut self, key: &[u8], value: &[u8]) -> Token {
        self.submit(Command { value, ..Command::new(Op::Set, key) })
    }

    /// Reads `key`.
    pub fn get(&mut self, key: &[u8]) -> Token {
        self.submit(Command::new(Op::Get, key))
    }

    /// Ends the turn of a node.
    pub fn end_turn(&mut self, node: NodeId) {
        let now = self.now;
        if self.paused.contains(&node) {
            return;
        }
        let Some((me, engine)) = self.nodes.get_mut(&node) else { return };
        self.stage.perform((node, *me), engine.end_turn(now));
    }

    /// Delivers the next message from one node to another, and ends the receiver's turn. Returns whether there was one.
    pub fn deliver(&mut self, from: NodeId, to: NodeId) -> bool {
        let has_come = self.hand_over(from, to);
        if has_come {
            self.end_turn(to);
        }
        has_come
    }

    /// Delivers all messages from one node to another in one turn of the receiver.
    pub fn deliver_at_once(&mut self, from: NodeId, to: NodeId) {
        while self.hand_over(from, to) {}
        self.end_turn(to);
    }

    /// Has a node receive the next message of another one, if there is one.
    fn hand_over(&mut self, from: NodeId, to: NodeId) -> bool {
        if self.paused.contains(&to) {
            return false;
        }
        let parcel = self.stage.links.get_mut(&(from, to)).and_then(VecDeque::pop_front);
        match parcel {
            None => return false,
            Some(Parcel::Closed(peer)) => self.lose(to, peer),
            Some(Parcel::Message { from, group, epoch, message }) => {
                let message = message.get();
                // Nobody reads any more what came over a connection that was closed.
                if self.stage.facing.get(&(to, from.node)) == Some(&from) {
                    self.input(to, Input::Message(Envelope { from, group, epoch, message }));
                }
            }
        }
        true
    }

    /// Delivers messages and ends turns until nothing is on its way. Time stands still.
    ///
    /// # Panics
    /// If that does not happen within 100,000 messages.
    pub fn settle(&mut self) {
        for _ in 0..100_000 {
            for node in self.node_ids() {
                self.end_turn(node);
            }
            let links: Vec<(NodeId, NodeId)> = self.stage.links.keys().copied().collect();
            let delivered = links.into_iter().filter(|(from, to)| self.deliver(*from, *to)).count();
            if delivered == 0 && !self.answer_asks() {
                return;
            }
        }
        panic!("messages without end");
    }

    /// Lets time pass, in steps of a millisecond, delivering everything.
    pub fn run_for(&mut self, milliseconds: u64) {
        for _ in 0..milliseconds {
            self.now.0 += 1_000_000;
            self.settle();
        }
    }

    /// Lets time pass, and delivers nothing.
    pub fn tick(&mut self, milliseconds: u64) {
        self.now.0 += milliseconds * 1_000_000;
    }

    // ---- queries ----

    /// Returns how a request ended, if it did.
    #[must_use]
    pub fn end(&self, token: Token) -> Option<&End> {
        self.stage.ends.get(&token)
    }

    /// Checks that a request was executed.
    ///
    /// # Panics
    /// If it was not, or ended in another way.
    #[track_caller]
    pub fn assert_done(&self, token: Token) {
        assert!(matches!(self.end(token), Some(End::Done(..))), "{token:?} ended as {:?}", self.end(token));
    }

    /// Returns the answer of a request.
    ///
    /// # Panics
    /// If it has not been executed.
    #[must_use]
    pub fn answer(&self, token: Token) -> Answer<'_> {
        match self.stage.ends.get(&token) {
            Some(End::Done(_, answer)) => Answer::read(answer).expect("the engine writes whole answers").0,
            end => panic!("{token:?} has not been answered: {end:?}"),
        }
    }

    /// Returns a group as a node sees it.
    ///
    /// # Panics
    /// If the node is down or does not hold the group.
    #[must_use]
    pub fn status(&self, node: NodeId, group: GroupId) -> GroupStatus {
        let status = self.engine(node).status().into_iter().find(|status| status.group == group);
        status.expect("the group lives on the node")
    }

    /// Returns the engine of a node.
    ///
    /// # Panics
    /// If the node is down.
    #[must_use]
    pub fn engine(&self, node: NodeId) -> &Engine {
        &self.nodes.get(&node).expect("the node is up").1
    }

    /// Returns the engine of a node, to be tampered with.
    ///
    /// # Panics
    /// If the node is down.
    pub fn engine_mut(&mut self, node: NodeId) -> &mut Engine {
        &mut self.nodes.get_mut(&node).expect("the node is up").1
    }

    /// Returns the string under `key` as a node has applied it.
    #[must_use]
    pub fn peek(&self, node: NodeId, key: &[u8]) -> Vec<u8> {
        let mut answer = Vec::new();
        let group = self.placement.slots().group_of(slot_of(key));
        self.engine(node).peek(group, &Command::new(Op::Get, key), &mut AnswerSink::into(&mut answer));
        match Answer::read(&answer) {
            Some((Answer::Bulk(text), _)) => text.to_vec(),
            _ => Vec::new(),
        }
    }

    /// Returns what was told to operators, by place, in order.
    #[must_use]
    pub fn events(&self) -> &[(NodeId, Event)] {
        &self.stage.events
    }

    /// Returns what the core was asked since it has last answered, by whom and in order.
    #[must_use]
    pub fn asks(&self) -> Vec<(NodeId, Ask)> {
        self.stage.asks.iter().map(|(from, _, ask)| (from.node, *ask)).collect()
    }

    /// Returns the groups that a node says it does not lead though it should.
    ///
    /// # Panics
    /// If the node is down.
    #[must_use]
    pub fn unled(&self, node: NodeId) -> Vec<GroupId> {
        self.engine(node).unled(self.now).collect()
    }

    /// Checks the invariants of every node, and that committed prefixes are equal (I1).
    ///
    /// # Panics
    /// If one does not hold.
    pub fn check(&self) {
        let mut digests: BTreeMap<(GroupId, LogIndex), (NodeId, u64)> = BTreeMap::new();
        for (node, (_, engine)) in &self.nodes {
            engine.check();
            for status in engine.status() {
                let (other, digest) = *digests.entry((status.group, status.applied)).or_insert((*node, status.digest));
                assert_eq!(
                    status.digest, digest,
                    "I1: {node} and {other} differ at {} of {}",
                    status.applied, status.group
                );
            }
        }
    }

    // ---- private ----

    fn node_ids(&self) -> Vec<NodeId> {
        self.nodes.keys().copied().collect()
    }

    /// Returns the number that the process at a place was started with.
    fn node_of(&self, place: NodeId) -> NodeId {
        self.stage.twins.get(&place).copied().unwrap_or(place)
    }

    fn replica(&self, place: NodeId) -> ReplicaId {
        self.nodes.get(&place).expect("the node is up").0
    }

    /// Starts a process without memory, as a new incarnation.
    fn run(&mut self, place: NodeId) {
        self.next_token += 1;
        let node = self.node_of(place);
        let slots = self.placement.slots();
        let groups = (0..slots.group_count()).map(GroupId);
        let settings = self.config.clone().build().expect("valid settings");
        let register = Register { node, nonce: self.next_token };
        let (me, groups) = match &mut self.core {
            Some(core) => {
                let me = core.apply(&register).registered.expect("a registration");
                (me, groups.map(|group| GroupConfig::undecided(group, slots.slots_of(group))).collect())
            }
            None => {
                let me = ReplicaId { node, incarnation: Incarnation(self.next_token) };
                let groups = groups.map(|group| self.placement.group(group));
                (me, groups.filter(|group| group.has_node(node)).collect())
            }
        };
        self.nodes.insert(place, (me, Engine::new(settings, me, groups)));
        self.stage.places.insert(me, place);
        self.tell();
    }

    // ---- the core ----

    /// Returns what the core knows of a group.
    ///
    /// # Panics
    /// If there is no core, or it has not formed the group.
    #[must_use]
    pub fn record(&self, group: GroupId) -> &Record {
        self.core.as_ref().and_then(|core| core.group(group)).expect("there is a core that has formed the group")
    }

    fn change(&mut self, group: GroupId, kind: ChangeKind, leader: NodeId, members: Vec<Member>) {
        let record = self.record(group);
        let (version, write_quorum) = (record.version(), record.active().write_quorum);
        let planned = Planned { group, version, kind, leader, members, write_quorum };
        self.core.as_mut().expect("there is a core").apply(&Change(vec![planned]));
        self.tell();
    }

    /// Does what replicas have asked for; returns whether they have.
    fn answer_asks(&mut self) -> bool {
        let asks = core::mem::take(&mut self.stage.asks);
        for (caller, group, ask) in &asks {
            let (group, active) = (*group, self.record(*group).active().clone());
            match *ask {
                Ask::Activate { epoch } => {
                    let core = self.core.as_mut().expect("somebody has asked it");
                    core.apply(&Activate(vec![Activation { group, epoch, caller: *caller }]));
                    self.tell();
                }
                Ask::Promote { learner, .. } if !self.keeps_learners && self.record(group).pending().is_none() => {
                    let others = active.members.iter().copied().filter(|member| member.node != learner.node);
                    let members = others.chain([Member::from(learner)]).collect();
                    self.change(group, ChangeKind::Live, active.leader, members);
                }
                Ask::Renew { .. } => self.change(group, ChangeKind::Live, active.leader, active.members),
                Ask::HandOver { to, .. } => {
                    let pending = self.record(group).pending().cloned();
                    let is_of_loss = |kind| matches!(kind, ChangeKind::Loss | ChangeKind::Salvage);
                    if let Some(lost) = pending.filter(|change| is_of_loss(change.kind)) {
                        self.change(group, lost.kind, to, lost.config.members);
                    } else {
                        self.take_over(group, to);
                    }
                }
                Ask::Promote { .. } => {}
            }
        }
        !asks.is_empty()
    }

    /// Tells everybody what there is to know.
    fn tell(&mut self) {
        let groups = (0..self.placement.slots().group_count()).map(GroupId);
        let news = groups.filter_map(|group| Some((group, self.core.as_ref()?.news(group)?)));
        let news: Vec<(GroupId, News)> = news.collect();
        let told = self.node_ids().into_iter().filter(|place| !self.untold.contains(place)).collect::<Vec<_>>();
        for (place, (group, news)) in told.into_iter().flat_map(|place| news.iter().map(move |news| (place, news))) {
            self.input(place, Input::News { group: *group, news });
        }
    }

    fn connect(&mut self, one: NodeId, two: NodeId) {
        self.stage.links.remove(&(one, two));
        self.stage.links.remove(&(two, one));
        for (place, peer) in [(one, self.replica(two)), (two, self.replica(one))] {
            if let Some(before) = self.stage.facing.get(&(place, peer.node)).copied() {
                self.close(place, before);
            }
            self.stage.facing.insert((place, peer.node), peer);
            self.input(place, Input::PeerConnected(peer));
        }
    }

    /// Has a process end its connection to `peer`, which learns of it later.
    fn close(&mut self, place: NodeId, peer: ReplicaId) {
        let me = self.replica(place);
        self.lose(place, peer);
        if let Some(there) = self.stage.places.get(&peer).copied() {
            self.stage.links.entry((place, there)).or_default().push_back(Parcel::Closed(me));
        }
    }

    /// Tells a process that its connection to `peer` is gone, if it has one.
    fn lose(&mut self, place: NodeId, peer: ReplicaId) {
        if self.stage.facing.get(&(place, peer.node)) == Some(&peer) {
            self.stage.facing.remove(&(place, peer.node));
            self.input(place, Input::PeerLost(peer));
        }
    }

    fn input(&mut self, place: NodeId, input: Input<'_>) {
        let now = self.now;
        let Some((me, engine)) = self.nodes.get_mut(&place) else { return };
        self.stage.perform((place, *me), engine.handle(now, input));
    }
}

/// What is between the processes, and what came out of them.
#[derive(Debug, Default)]
struct Stage {
    /// Places of processes that were started with the number of another one, and that number.
    twins: BTreeMap<NodeId, NodeId>,
    /// What is on its way, by sender and receiver.
    links: BTreeMap<(NodeId, NodeId), VecDeque<Parcel>>,
    /// A chunk that will come once more.
    kept: Option<Parcel>,
    /// The run at the other end of a process's connection to a node, as far as the process knows.
    facing: BTreeMap<(NodeId, NodeId), ReplicaId>,
    places: BTreeMap<ReplicaId, NodeId>,
    ends: BTreeMap<Token, End>,
    asks: Vec<(ReplicaId, GroupId, Ask)>,
    events: Vec<(NodeId, Event)>,
}

impl Stage {
    /// Performs outputs of the process at a place.
    fn perform(&mut self, (place, me): (NodeId, ReplicaId), outputs: Outputs<'_>) {
        for output in outputs {
            match output {
                Output::Send { to, group, epoch, message } => {
                    let Some(there) = self.places.get(&to).copied() else { continue };
                    if self.facing.get(&(place, to.node)) != Some(&to) {
                        continue;
                    }
                    let parcel = Parcel::Message { from: me, group, epoch, message: OwnedMessage::from(&message) };
                    self.links.entry((place, there)).or_default().push_back(parcel);
                }
                Output::Reply { token, outcome } => {
                    let end = match outcome {
                        Outcome::Done { id, answer } => End::Done(id, answer.to_vec()),
                        Outcome::Accepted { id } => End::Accepted(id),
                        Outcome::Refused(refusal) => End::Refused(refusal),
                        Outcome::Unknown { id } => End::Unknown(id),
                    };
                    let before = self.ends.insert(token, end);
                    assert_eq!(before, None, "I8: {token:?} was answered twice");
                }
                Output::Ask { group, ask } => self.asks.push((me, group, ask)),
                Output::Notify(event) => self.events.push((place, event)),
            }
        }
    }
}
