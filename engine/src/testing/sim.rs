//! The simulator: a whole cluster, its network, its clocks and its clients in one thread, decided by one number.
//!
//! ```text
//!  seed ──▶ plan: nodes, limits, faults            true time, one event after another
//!           ┌─────────┐  parcels  ┌─────────┐
//!  clients ─▶ node 1  │ ────────▶ │ node 2  │     after every turn of a node: the judge
//!           │ engine  │ ◀──────── │ engine  │     at the end: do the histories of all clients fit a single copy?
//!           └─────────┘           └─────────┘
//! ```
//!
//! The engines are the ones that are shipped, unchanged. A node handles what has arrived in one turn, at the time its own
//! clock shows after that: it may have stood still, and its clock runs faster or slower than others. First faults come as
//! the plan says (chaos); then all is healed, and every group whose leader kept its memory must serve again, all replicas
//! must come to the same state, and what was acknowledged must be there.
//!
//! Same seed, same run: [`Report::trace`] is a digest of every event of it.
//!
//! # Time and units
//! True time in nanoseconds, from 0. A node's clock shows `start + elapsed × (1 + rate)`.
//!
//! # Bounds
//! A run ends after its chaos and [`HEALED_NS`] at the latest.

mod client;
mod judge;
mod network;
mod plan;

use core::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};

use fastrand::Rng;

use super::history::{Operation, is_linearizable};
use crate::config::Placement;
use crate::engine::{Engine, Input};
use crate::group;
use crate::ids::{GroupId, Incarnation, NodeId, ReplicaId};
use crate::output::{Event as Notice, Outcome, Output, Outputs, Refusal, Token};
use crate::slots::{SlotMap, slot_of};
use crate::time::Instant;

use client::{Client, Histories, Request};
use judge::Judge;
use network::{Links, Parcel};
use plan::{MS, Plan};

pub use client::{Asked, KeyModel, KeyOp, Seen};

/// Longest time after the chaos, in nanoseconds of true time.
const HEALED_NS: u64 = 20_000 * MS;
/// How long a client waits for an answer.
const CLIENT_PATIENCE_NS: u64 = 2_000 * MS;
/// Steps of the search for an order of one key's operations.
const SEARCH_STEPS_MAX: u64 = 3_000_000;

/// What came of a run.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Events that happened.
    pub events: u64,
    /// Faults among them.
    pub faults: u64,
    /// Operations that are known to have been done.
    pub operations: u64,
    /// True time that passed, in nanoseconds.
    pub simulated_ns: u64,
    /// Keys whose history was too hard to judge.
    pub undecided: u64,
    /// What happened that happens sometimes.
    pub sometimes: BTreeSet<&'static str>,
    /// A digest of all events.
    pub trace: u64,
}

/// What a good number of seeds must have reached together.
pub const SOMETIMES: [&str; 14] = [
    "a follower restarted without memory",
    "a leader restarted without memory",
    "a learner copied a group",
    "a message was lost",
    "a node stood still longer than a lease",
    "a read waited for its lease in vain",
    "a request found no quorum",
    "a request found the group unavailable",
    "a request found the log, the group or the waiting list full",
    "a request found the memory full",
    "a snapshot was installed",
    "a write was accepted and not waited for",
    "an outcome was unknown",
    "five nodes",
];

/// Runs one seed.
///
/// # Panics
/// If an invariant does not hold, clients saw what no single copy shows, or a group does not serve after all was healed.
#[must_use]
pub fn run(seed: u64) -> Report {
    let mut sim = Sim::new(seed);
    sim.run();
    sim.finish()
}

struct Sim {
    plan: Plan,
    placement: Placement,
    rng: Rng,
    now: u64,
    queue: BinaryHeap<Reverse<Scheduled>>,
    sequence: u64,
    nodes: BTreeMap<NodeId, Node>,
    links: Links,
    clients: Vec<Client>,
    histories: Histories,
    judge: Judge,
    report: Report,
    next_incarnation: u64,
    /// Nodes that lost their memory: at most as many as every group can bear.
    amnesiacs: BTreeSet<NodeId>,
    is_healed: bool,
    /// Errands done since then.
    errands_done: usize,
    /// A moment for each call and return of a client.
    moment: u64,
}

struct Scheduled {
    at: u64,
    sequence: u64,
    event: Event,
}

enum Event {
    Arrive(Parcel),
    Turn(NodeId),
    Connected { node: NodeId, peer: ReplicaId, connection: u64 },
    Lost { node: NodeId, peer: NodeId, connection: u64 },
    Connect(NodeId, NodeId),
    Unclogged { node: NodeId, peer: NodeId },
    Request { node: NodeId, request: Request },
    Reply { client: usize, token: Token, end: End },
    Patience { client: usize, token: Token },
    Client(usize),
    Restart(NodeId),
    Fault(Fault),
    Heal,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Break,
    Cut,
    Pause,
    Crash,
    Clog,
}

/// An outcome that borrows nothing.
#[derive(Clone, Debug)]
enum End {
    Done(Vec<u8>),
    Accepted,
    Unknown,
    Refused(Refusal),
    /// The connection to the node was refused, or ended.
    Gone {
        is_sent: bool,
    },
}

struct Node {
    incarnation: Incarnation,
    /// `None`: it is down.
    engine: Option<Engine>,
    inbox: VecDeque<Inbound>,
    /// When its next turn is, if one is due.
    turn_at: Option<u64>,
    paused_until: u64,
}

impl Node {
    fn down() -> Self {
        Self { incarnation: Incarnation(0), engine: None, inbox: VecDeque::new(), turn_at: None, paused_until: 0 }
    }
}

enum Inbound {
    Message(Parcel),
    Connected(ReplicaId),
    Lost(ReplicaId),
    Busy(ReplicaId),
    Ready(ReplicaId),
    Request(Request),
}

impl Sim {
    fn new(seed: u64) -> Self {
        let plan = Plan::of(seed);
        let mut rng = Rng::with_seed(seed ^ 0x51b0_1e5e_ed00_0001);
        let slots = SlotMap::new(plan.partitions).expect("1 to 16384 partitions");
        let nodes: Vec<NodeId> = (1..=plan.nodes).map(NodeId).collect();
        let placement =
            Placement::new(slots, nodes.clone(), nodes.len(), plan.write_quorum).expect("a valid placement");
        let links = Links::new(plan.network, rng.fork());
        let clients = (0..plan.clients).map(|_| rng.fork()).collect::<Vec<_>>();
        let clients = (1..).zip(clients).map(|(number, rng)| Client::new(number, plan.keys, rng)).collect();
        let mut sim = Self {
            placement,
            now: 0,
            queue: BinaryHeap::new(),
            sequence: 0,
            nodes: BTreeMap::new(),
            links,
            clients,
            histories: Histories::new(),
            judge: Judge::default(),
            report: Report { trace: seed, ..Report::default() },
            next_incarnation: 1,
            amnesiacs: BTreeSet::new(),
            is_healed: false,
            errands_done: 0,
            moment: 0,
            plan,
            rng,
        };
        if sim.plan.nodes == 5 {
            sim.note("five nodes");
        }
        for node in nodes {
            let at = sim.rng.u64(..50 * MS);
            sim.nodes.insert(node, Node::down());
            sim.schedule(at, Event::Restart(node));
        }
        for client in 0..sim.clients.len() {
            let at = sim.rng.u64(..100 * MS);
            sim.schedule(at, Event::Client(client));
        }
        for fault in [Fault::Break, Fault::Cut, Fault::Pause, Fault::Crash, Fault::Clog] {
            sim.schedule_fault(fault);
        }
        let chaos_ns = sim.plan.chaos_ns;
        sim.schedule(chaos_ns, Event::Heal);
        sim
    }

    fn run(&mut self) {
        let end = self.plan.chaos_ns + HEALED_NS;
        loop {
            // Looked at now and then: it costs more than a step.
            let is_time = self.queue.is_empty() || self.report.events.is_multiple_of(64);
            if self.is_healed && is_time && self.is_settled() {
                return;
            }
            let Some(Reverse(Scheduled { at, event, .. })) = self.queue.pop() else { self.give_up("nothing happens") };
            if at > end {
                self.give_up("the time is over");
            }
            self.now = at;
            self.report.events += 1;
            self.happen(event);
        }
    }

    /// Ends a run whose cluster does not come to rest.
    fn give_up(&self, why: &str) -> ! {
        let mut lines = Vec::new();
        for (id, node) in &self.nodes {
            let groups = node.engine.as_ref().map(Engine::status).unwrap_or_default();
            lines.push(format!("node {id}: inbox {}, clock {:?}", node.inbox.len(), self.clock(*id)));
            for group::GroupStatus { group, state, last, commit, applied, members, waiter_count, .. } in groups {
                let members = members.iter().map(|member| {
                    format!("{} {:?} {:?} {}", member.node, member.incarnation, member.standing, member.matched)
                });
                let members = members.collect::<Vec<_>>().join(", ");
                lines.push(format!(
                    "  group {group}: {state:?}, last {last}, commit {commit}, applied {applied}, {waiter_count} waiters; {members}"
                ));
            }
        }
        panic!(
            "{why}, and the cluster has not come to rest at {} ns:\n{}\n{:?}",
            self.now,
            lines.join("\n"),
            self.plan
        );
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrive(parcel) => self.arrive(parcel),
            Event::Turn(node) => self.turn(node),
            Event::Connected { node, peer, connection } => {
                self.trace(2, u64::from(node.0), connection);
                if self.links.learn(node, peer, connection) {
                    self.deliver(node, Inbound::Connected(peer));
                }
            }
            Event::Lost { node, peer, connection } => self.lose(node, peer, connection),
            Event::Connect(one, two) => self.connect(one, two),
            Event::Unclogged { node, peer } => {
                if let Some(replica) = self.links.peer(node, peer) {
                    self.deliver(node, Inbound::Ready(replica));
                }
            }
            Event::Request { node, request } => self.request(node, request),
            Event::Reply { client, token, end } => self.reply(client, token, &end),
            Event::Patience { client, token } => {
                if self.clients[client].is_waiting_for(token) {
                    self.clients[client].lose(&mut self.histories);
                    self.next_operation(client);
                }
            }
            Event::Client(client) => self.next_operation_now(client),
            Event::Restart(node) => self.restart(node),
            Event::Fault(fault) => self.fail(fault),
            Event::Heal => self.heal(),
        }
    }

    // ---- nodes ----

    fn turn(&mut self, id: NodeId) {
        let clock = self.clock(id);
        let mut rng = self.rng.fork();
        let node = self.nodes.get_mut(&id).expect("a node of the plan");
        if node.turn_at != Some(self.now) {
            return;
        }
        node.turn_at = None;
        let replica = ReplicaId { node: id, incarnation: node.incarnation };
        let Some(engine) = &mut node.engine else { return };
        if node.paused_until > self.now {
            node.turn_at = Some(node.paused_until);
            let at = node.paused_until;
            return self.schedule(at, Event::Turn(id));
        }
        let count = rng.usize(..=node.inbox.len()).max(1).min(node.inbox.len());
        let mut sent = Vec::new();
        let mut performer = Performer { links: &mut self.links, now: self.now, from: replica, sent: &mut sent };
        let mut notices = Vec::new();
        for inbound in node.inbox.drain(..count) {
            performer.handle(engine, clock, &self.placement, &inbound, &mut notices);
        }
        if rng.bool() {
            performer.perform(engine.flush(), &mut notices);
        }
        performer.perform(engine.end_turn(clock), &mut notices);
        self.judge.look(replica, engine);
        let wants_turn = !node.inbox.is_empty() || engine.has_work();
        let wake_at = engine.wake_at();
        self.trace(1, u64::from(id.0) << 32 | count as u64, clock.0);
        for sent in sent {
            self.dispatch(sent);
        }
        for notice in notices {
            self.note_notice(&notice);
        }
        if wants_turn {
            self.want_turn(id, self.now + 1_000);
        } else if let Some(at) = wake_at {
            let at = self.true_time(id, at).max(self.now + 1_000);
            self.want_turn(id, at);
        }
    }

    fn dispatch(&mut self, sent: Sent) {
        match sent {
            Sent::Lost => self.note("a message was lost"),
            Sent::Parcel { parcel, arrivals } => {
                for at in arrivals {
                    self.schedule(at, Event::Arrive(parcel.clone()));
                }
            }
            Sent::Reply { token, end } => {
                let client = usize::try_from(token.0 >> 32).expect("a small number") - 1;
                let at = self.now + self.links.delay();
                self.schedule(at, Event::Reply { client, token, end });
            }
        }
    }

    fn arrive(&mut self, parcel: Parcel) {
        let id = parcel.to();
        let receiver = ReplicaId { node: id, incarnation: self.nodes[&id].incarnation };
        if self.links.reaches(&parcel, receiver) {
            self.deliver(id, Inbound::Message(parcel));
        }
    }

    fn deliver(&mut self, id: NodeId, inbound: Inbound) {
        let node = self.nodes.get_mut(&id).expect("a node of the plan");
        if node.engine.is_none() {
            return;
        }
        node.inbox.push_back(inbound);
        let at = self.now + self.rng.u64(..5_000);
        self.want_turn(id, at);
    }

    fn want_turn(&mut self, id: NodeId, at: u64) {
        let node = self.nodes.get_mut(&id).expect("a node of the plan");
        if node.turn_at.is_none_or(|turn_at| at < turn_at) {
            node.turn_at = Some(at);
            self.schedule(at, Event::Turn(id));
        }
    }

    fn restart(&mut self, id: NodeId) {
        let me = ReplicaId { node: id, incarnation: Incarnation(self.next_incarnation) };
        self.next_incarnation += 1;
        self.trace(3, u64::from(id.0), me.incarnation.0);
        let groups = (0..self.placement.slots().group_count()).map(|group| self.placement.group(GroupId(group)));
        let settings = self.plan.config.clone().build().expect("plans keep within the limits");
        let engine = Engine::new(settings, me, groups.collect());
        self.nodes.insert(id, Node { incarnation: me.incarnation, engine: Some(engine), ..Node::down() });
        for other in self.other_nodes(id) {
            self.schedule_connect(id, other);
        }
        self.want_turn(id, self.now);
    }

    fn other_nodes(&self, id: NodeId) -> Vec<NodeId> {
        self.nodes.keys().copied().filter(|other| *other != id).collect()
    }

    // ---- connections ----

    fn schedule_connect(&mut self, one: NodeId, two: NodeId) {
        let at = self.now + self.rng.u64(..20 * MS);
        self.schedule(at, Event::Connect(one, two));
    }

    fn connect(&mut self, one: NodeId, two: NodeId) {
        if self.nodes[&one].engine.is_none() || self.nodes[&two].engine.is_none() {
            return;
        }
        if !self.links.is_free(one, two, self.now) {
            // Whoever is still to learn of its loss tries again then; a cut is tried again after a while.
            if self.links.peer(one, two).is_none() && self.links.peer(two, one).is_none() {
                self.schedule_connect(one, two);
            }
            return;
        }
        let replica = |id: NodeId| ReplicaId { node: id, incarnation: self.nodes[&id].incarnation };
        let peers = [(one, replica(two)), (two, replica(one))];
        let (connection, told) = self.links.connect(one, two, self.now);
        for ((node, peer), at) in peers.into_iter().zip(told) {
            self.schedule(at, Event::Connected { node, peer, connection });
        }
    }

    fn end_connection(&mut self, one: NodeId, two: NodeId) {
        let Some((connection, told)) = self.links.end(one, two, self.now) else { return };
        for ((node, peer), at) in [(one, two), (two, one)].into_iter().zip(told) {
            self.schedule(at, Event::Lost { node, peer, connection });
        }
    }

    fn lose(&mut self, node: NodeId, peer: NodeId, connection: u64) {
        self.trace(4, u64::from(node.0), connection);
        if let Some(replica) = self.links.unlearn(node, peer, connection) {
            self.deliver(node, Inbound::Lost(replica));
        }
        self.schedule_connect(node, peer);
    }

    // ---- clients ----

    fn next_operation(&mut self, client: usize) {
        let at = self.now + self.rng.u64(..2 * MS);
        self.schedule(at, Event::Client(client));
    }

    fn next_operation_now(&mut self, client: usize) {
        if !self.clients[client].is_idle() || self.is_healed {
            return;
        }
        self.moment += 1;
        let request = self.clients[client].begin(self.moment);
        self.send_request(client, request);
    }

    fn send_request(&mut self, client: usize, request: Request) {
        let group = self.placement.slots().group_of(slot_of(request.key.as_bytes()));
        let node = self.placement.leader_of(group);
        let token = request.token;
        let at = self.now + self.links.delay();
        self.schedule(at, Event::Request { node, request });
        self.schedule(self.now + CLIENT_PATIENCE_NS, Event::Patience { client, token });
    }

    fn request(&mut self, node: NodeId, request: Request) {
        if self.nodes[&node].engine.is_some() {
            return self.deliver(node, Inbound::Request(request));
        }
        self.dispatch(Sent::Reply { token: request.token, end: End::Gone { is_sent: false } });
    }

    fn reply(&mut self, client: usize, token: Token, end: &End) {
        if !self.clients[client].is_waiting_for(token) {
            return;
        }
        self.moment += 1;
        self.trace(5, token.0, self.moment);
        let outcome = match end {
            End::Done(answer) => Outcome::Done { id: crate::ids::EntryId::START, answer },
            End::Accepted => Outcome::Accepted { id: crate::ids::EntryId::START },
            End::Unknown => Outcome::Unknown { id: crate::ids::EntryId::START },
            End::Refused(refusal) => Outcome::Refused(*refusal),
            End::Gone { is_sent: false } => {
                self.clients[client].give_up();
                return self.next_operation(client);
            }
            End::Gone { is_sent: true } => {
                self.clients[client].lose(&mut self.histories);
                return self.next_operation(client);
            }
        };
        match &outcome {
            Outcome::Refused(refusal) => self.note_refusal(refusal),
            Outcome::Unknown { .. } => self.note("an outcome was unknown"),
            Outcome::Accepted { .. } => self.note("a write was accepted and not waited for"),
            Outcome::Done { .. } => {}
        }
        if self.clients[client].end(self.moment, &outcome, &mut self.histories) {
            self.report.operations += 1;
            self.errands_done += usize::from(client == self.plan.clients);
        }
        self.next_operation(client);
    }

    // ---- faults ----

    fn schedule_fault(&mut self, fault: Fault) {
        let faults = self.plan.faults;
        let mean = match fault {
            Fault::Break => faults.breaks,
            Fault::Cut => faults.cuts,
            Fault::Pause => faults.pauses,
            Fault::Crash => faults.crashes,
            Fault::Clog => faults.clogs,
        };
        if let Some(mean) = mean {
            let at = self.now + self.rng.u64(..2 * mean);
            if at < self.plan.chaos_ns {
                self.schedule(at, Event::Fault(fault));
            }
        }
    }

    fn fail(&mut self, fault: Fault) {
        self.report.faults += 1;
        self.trace(6, fault as u64, self.now);
        let count = self.nodes.len();
        let id = NodeId(u16::try_from(self.rng.usize(1..=count)).expect("few nodes"));
        let others = self.other_nodes(id);
        let other = others[self.rng.usize(..others.len())];
        let length = self.rng.u64(..400 * MS);
        match fault {
            Fault::Break => {
                let pairs = self.links.pairs();
                if let Some((one, two)) = self.rng.choice(pairs) {
                    self.end_connection(one, two);
                }
            }
            Fault::Cut => {
                self.links.cut(id, other, self.now + length);
                if self.rng.bool() {
                    self.links.cut(other, id, self.now + length);
                }
                // What comes behind a gap is not delivered by a stream: an ordered connection ends, sooner or later.
                if self.plan.network.is_ordered {
                    self.end_connection(id, other);
                }
            }
            Fault::Pause => {
                if length > crate::time::nanos(self.plan.config.read_lease) {
                    self.note("a node stood still longer than a lease");
                }
                let node = self.nodes.get_mut(&id).expect("a node of the plan");
                node.paused_until = node.paused_until.max(self.now + length);
            }
            Fault::Crash => self.crash(id, length),
            Fault::Clog => {
                if let Some(replica) = self.links.peer(id, other) {
                    // What finds no room before the node notices is lost.
                    self.links.clog(id, other);
                    self.deliver(id, Inbound::Busy(replica));
                    self.schedule(self.now + length / 4, Event::Unclogged { node: id, peer: other });
                }
            }
        }
        self.schedule_fault(fault);
    }

    fn crash(&mut self, id: NodeId, length: u64) {
        let bearable = usize::from(self.plan.nodes) - self.plan.write_quorum;
        if self.nodes[&id].engine.is_none() || (!self.amnesiacs.contains(&id) && self.amnesiacs.len() >= bearable) {
            return;
        }
        self.amnesiacs.insert(id);
        let leads = (0..self.plan.partitions).any(|group| self.placement.leader_of(GroupId(group)) == id);
        self.note(if leads { "a leader restarted without memory" } else { "a follower restarted without memory" });
        self.nodes.insert(id, Node::down());
        self.links.forget(id);
        for other in self.other_nodes(id) {
            self.end_connection(id, other);
        }
        // Whoever waited for it learns that the connection is gone, and not what became of the request.
        for client in 0..self.clients.len() {
            let at = self.now + self.links.delay();
            if let Some(token) = self.clients[client].token_at(id, &self.placement) {
                self.schedule(at, Event::Reply { client, token, end: End::Gone { is_sent: true } });
            }
        }
        self.schedule(self.now + length, Event::Restart(id));
    }

    // ---- the end ----

    fn heal(&mut self) {
        self.trace(7, 0, self.now);
        self.is_healed = true;
        self.links.heal();
        for node in self.nodes.values_mut() {
            node.paused_until = node.paused_until.min(self.now + MS);
        }
        // One more client reads every key at the end.
        let rng = self.rng.fork();
        let number = u32::try_from(self.clients.len() + 1).expect("few clients");
        self.clients.push(Client::new(number, self.plan.keys, rng));
    }

    /// Whether all groups that can serve do, and all replicas have applied everything.
    fn is_settled(&mut self) -> bool {
        if self.clients.iter().any(|client| !client.is_idle()) {
            return false;
        }
        if self.nodes.values().any(|node| node.engine.is_none() || !node.inbox.is_empty()) {
            return false;
        }
        if !self.do_errand() {
            return false;
        }
        let mut applied: BTreeMap<GroupId, BTreeSet<_>> = BTreeMap::new();
        for (id, node) in &self.nodes {
            let Some(engine) = &node.engine else { continue };
            for status in engine.status() {
                if self.is_orphan(status.group) {
                    continue;
                }
                if status.leader == *id && (status.state != group::GroupState::Serving || status.applied < status.last)
                {
                    return false;
                }
                applied.entry(status.group).or_default().insert(status.applied);
            }
        }
        applied.values().all(|indexes| indexes.len() == 1)
    }

    /// Whether the leader of a group lost its memory: it cannot serve in this release.
    fn is_orphan(&self, group: GroupId) -> bool {
        self.amnesiacs.contains(&self.placement.leader_of(group))
    }

    /// Has the next errand done; returns whether there was none left. First each group gets one more write, which tells
    /// all its replicas how far it is committed, then every key is read.
    fn do_errand(&mut self) -> bool {
        let groups = self.plan.partitions;
        let mut names = (0..).map(|number| format!("last{number}"));
        let keys = (0..groups).map(|group| {
            let is_inside = |key: &String| self.placement.slots().group_of(slot_of(key.as_bytes())) == GroupId(group);
            names.by_ref().find(is_inside).expect("some name lies in each group")
        });
        let last = keys.map(|key| (key, true)).collect::<Vec<_>>();
        let read = self.histories.keys().filter(|key| !key.starts_with("last")).map(|key| (key.clone(), false));
        let is_served = |key: &str| !self.is_orphan(self.placement.slots().group_of(slot_of(key.as_bytes())));
        let mut errands = last.into_iter().chain(read).filter(|(key, _)| is_served(key));
        let Some((key, is_write)) = errands.nth(self.errands_done) else { return true };
        self.moment += 1;
        let reader = self.clients.len() - 1;
        // A deletion is never refused for want of memory.
        let asked = if is_write { Asked::Delete } else { Asked::Get };
        let request = self.clients[reader].ask(self.moment, key, asked, group::Level::Commit);
        self.send_request(reader, request);
        false
    }

    fn finish(mut self) -> Report {
        assert!(self.is_healed, "the queue ran dry before the chaos was over");
        for node in self.nodes.values() {
            node.engine.as_ref().expect("all nodes are up").check();
        }
        for client in &mut self.clients {
            client.lose(&mut self.histories);
        }
        for (key, history) in &self.histories {
            match is_linearizable(&KeyModel, history, SEARCH_STEPS_MAX) {
                Ok(true) => {}
                Ok(false) => panic!("no single copy answers like this for {key}:\n{}", listing(history)),
                Err(_) => self.report.undecided += 1,
            }
        }
        self.report.simulated_ns = self.now;
        self.report
    }

    // ---- small things ----

    fn schedule(&mut self, at: u64, event: Event) {
        self.sequence += 1;
        self.queue.push(Reverse(Scheduled { at, sequence: self.sequence, event }));
    }

    /// Returns what a node's clock shows.
    fn clock(&self, id: NodeId) -> Instant {
        let (rate, start) = self.plan.clocks[usize::from(id.0) - 1];
        Instant(start + scale(self.now, 1_000_000 + rate, 1_000_000))
    }

    /// Returns the true time at which a node's clock shows `at`, or a little later.
    fn true_time(&self, id: NodeId, at: Instant) -> u64 {
        let (rate, start) = self.plan.clocks[usize::from(id.0) - 1];
        scale(at.0.saturating_sub(start).min(u64::MAX >> 24), 1_000_000, 1_000_000 + rate) + 2
    }

    fn note(&mut self, what: &'static str) {
        debug_assert!(SOMETIMES.contains(&what), "{what} is not listed");
        self.report.sometimes.insert(what);
    }

    fn note_refusal(&mut self, refusal: &Refusal) {
        match refusal {
            Refusal::NoQuorum { .. } => self.note("a request found no quorum"),
            Refusal::NoLease { .. } => self.note("a read waited for its lease in vain"),
            Refusal::Unavailable { .. } => self.note("a request found the group unavailable"),
            Refusal::Overload { .. } => self.note("a request found the log, the group or the waiting list full"),
            Refusal::OutOfMemory { .. } => self.note("a request found the memory full"),
            _ => {}
        }
    }

    fn note_notice(&mut self, notice: &Notice) {
        match notice {
            Notice::Learner { .. } => self.note("a learner copied a group"),
            Notice::SnapshotInstalled { .. } => self.note("a snapshot was installed"),
            Notice::Malformed { what, .. } => panic!("no replica of ours sends {what}"),
            _ => {}
        }
    }

    fn trace(&mut self, kind: u64, one: u64, two: u64) {
        for word in [kind, one, two, self.now] {
            self.report.trace = (self.report.trace ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
        }
    }
}

/// What a node's turn has put on its way.
enum Sent {
    Lost,
    Parcel { parcel: Parcel, arrivals: Vec<u64> },
    Reply { token: Token, end: End },
}

/// Hands inputs to an engine and performs its outputs.
struct Performer<'a> {
    links: &'a mut Links,
    now: u64,
    from: ReplicaId,
    sent: &'a mut Vec<Sent>,
}

impl Performer<'_> {
    fn handle(
        &mut self,
        engine: &mut Engine,
        clock: Instant,
        placement: &Placement,
        inbound: &Inbound,
        notices: &mut Vec<Notice>,
    ) {
        let input = match inbound {
            Inbound::Message(parcel) => Input::Message(parcel.envelope()),
            Inbound::Connected(peer) => Input::PeerConnected(*peer),
            Inbound::Lost(peer) => Input::PeerLost(*peer),
            Inbound::Busy(peer) => {
                self.links.unclog(self.from.node, peer.node);
                Input::PeerBusy(*peer)
            }
            Inbound::Ready(peer) => Input::PeerReady(*peer),
            Inbound::Request(Request { token, key, command, level, after }) => {
                let slot = slot_of(key.as_bytes());
                let group = placement.slots().group_of(slot);
                let (token, level, after) = (*token, *level, *after);
                Input::Request(group::Request { token, group, slot, command, level, after })
            }
        };
        self.perform(engine.handle(clock, input), notices);
    }

    fn perform(&mut self, outputs: Outputs<'_>, notices: &mut Vec<Notice>) {
        for output in outputs {
            match output {
                Output::Send { to, group, epoch, message } => {
                    let sent = self.links.send(self.now, self.from, to, (group, epoch), &message);
                    self.sent.push(sent.map_or(Sent::Lost, |(parcel, arrivals)| Sent::Parcel { parcel, arrivals }));
                }
                Output::Reply { token, outcome } => {
                    let end = match outcome {
                        Outcome::Done { answer, .. } => End::Done(answer.to_vec()),
                        Outcome::Accepted { .. } => End::Accepted,
                        Outcome::Refused(refusal) => End::Refused(refusal),
                        Outcome::Unknown { .. } => End::Unknown,
                    };
                    self.sent.push(Sent::Reply { token, end });
                }
                Output::Notify(notice) => notices.push(notice),
            }
        }
    }
}

/// Returns `value * numerator / denominator`.
fn scale(value: u64, numerator: i64, denominator: i64) -> u64 {
    let scaled = i128::from(value) * i128::from(numerator) / i128::from(denominator);
    u64::try_from(scaled).expect("true time and clocks stay far below 2^63")
}

/// Returns a history for people to read.
fn listing(history: &[Operation<KeyOp>]) -> String {
    let mut lines: Vec<&Operation<KeyOp>> = history.iter().collect();
    lines.sort_by_key(|operation| operation.called);
    lines.iter().map(|operation| format!("{operation:?}\n")).collect()
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        (self.at, self.sequence).cmp(&(other.at, other.sequence))
    }
}
