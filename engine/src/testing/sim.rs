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
//! must come to the same state, and what was acknowledged must be there; behind a loss that an operator has accepted, what
//! was acknowledged since.
//!
//! Same seed, same run: [`Report::trace`] is a digest of every event of it.
//!
//! # Time and units
//! True time in nanoseconds, from 0. A node's clock shows `start + elapsed × (1 + rate)`.
//!
//! # Bounds
//! A run ends 20 s after its chaos at the latest.
//!
//! # Ledger
//! Long runs with `--strict`, in two halves side by side. A hash over the traces of a half says that it was the same run: it
//! changes with the engine, the planner, the detector and the simulator, and with nothing else.
//!
//! | commit  | first seed | seeds  | hash over the traces | found |
//! |---------|-----------:|-------:|----------------------|-------|
//! | d3aa659 |    400,001 | 15,000 | `52ef5f33dc055fff`   | nothing; 27 histories too hard to judge in both halves, which the order of the log judges since |
//! | d3aa659 |    415,001 | 15,000 | `4ae9bd99129d659f`   | nothing |
//! | 7c156a5 |    500,001 | 30,000 | stopped              | seeds 514,182 and 516,994: a leader that had not heard of a repair never counted that replica again |
//! | 97f4d60 |    600,001 | 15,000 | `b00598df73810a95`   | nothing, none too hard to judge |
//! | 97f4d60 |    615,001 | 15,000 | `89d5c93e81784435`   | nothing, none too hard to judge |
//! | b741258 |    700,001 |  1,750 | stopped              | seed 701,751: a damaged replica could not take the state of a leader that knew less to be committed |
//! | b741258 |    715,001 | 15,000 | `b79eaa06836f24db`   | nothing; one history too hard to judge |
//! | f9f1df8 |    800,001 | 15,000 | `119643b2f1f2e80f`   | nothing, none too hard to judge |
//! | f9f1df8 |    815,001 | 15,000 | `a31b09eb67bc4375`   | nothing; one history too hard to judge |

mod client;
mod control;
mod faults;
mod judge;
mod key;
mod loss;
mod network;
mod node;
mod order;
mod peace;
mod plan;

use core::cmp::Reverse;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use fastrand::Rng;

use crate::config::Placement;
use crate::control::detector::Heartbeat;
use crate::control::record::{Ask, News};
use crate::control::state::Birth;
use crate::group::Level;
use crate::ids::{EntryId, GroupId, NodeId, ReplicaId};
use crate::output::{Event as Notice, Outcome, Refusal, Token};
use crate::slots::{SlotMap, slot_of};
use crate::time::Instant;

use client::{Client, Histories, Request};
use control::Core;
use faults::Fault;
use judge::Judge;
use network::{Links, Parcel};
use node::{Inbound, Node, Sent, client_of};
use plan::{MS, Plan};

pub use key::{Asked, Held, KeyModel, KeyOp, Seen};

/// Longest time after the chaos, in nanoseconds of true time.
const HEALED_NS: u64 = 20_000 * MS;
/// How long a client waits for an answer.
const CLIENT_PATIENCE_NS: u64 = 2_000 * MS;
/// Steps of the search for an order of one key's operations.
const SEARCH_STEPS_MAX: u64 = 300_000;
/// Steps of the walk along the order of the log.
const WALK_STEPS_MAX: u64 = 300_000_000;

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
    /// Keys whose history was too hard to judge, by the order of the log and by the search for any.
    pub undecided: u64,
    /// What happened that happens sometimes.
    pub sometimes: BTreeSet<&'static str>,
    /// A digest of all events.
    pub trace: u64,
}

/// What a good number of seeds of each mode must have reached together.
pub fn sometimes(mode: Mode) -> Vec<&'static str> {
    let with_core = SOMETIMES_WITH_CORE.iter().filter(|_| mode == Mode::Core);
    let without = SOMETIMES_WITHOUT_CORE.iter().filter(|_| mode == Mode::Static);
    SOMETIMES.iter().chain(with_core).chain(without).copied().collect()
}

const SOMETIMES_WITH_CORE: [&str; 16] = [
    "a byte flipped",
    "a candidate asked for entries",
    "a candidate asked whoever has the log to take over",
    "a leader asked for a new epoch",
    "a leader asked to count a learner",
    "a leader was deposed",
    "a loss was accepted with nobody left",
    "a loss was accepted with somebody left",
    "a member was dropped",
    "a node joined",
    "a node was to give up what it held",
    "a replica copied the state of its leader",
    "a replica gave up what was lost",
    "a replica took over",
    "a replica was found to be wrong",
    "the core had no answer",
];

const SOMETIMES_WITHOUT_CORE: [&str; 1] = ["a request found the group unavailable"];

const SOMETIMES: [&str; 13] = [
    "a follower restarted without memory",
    "a leader restarted without memory",
    "a learner copied a group",
    "a message was lost",
    "a node stood still longer than a lease",
    "a read waited for its lease in vain",
    "a request found no quorum",
    "a request found the log, the group or the waiting list full",
    "a request found the memory full",
    "a snapshot was installed",
    "a write was accepted and not waited for",
    "an outcome was unknown",
    "five nodes",
];

/// Who decides which replicas lead and count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A consistent core: leaders are taken over from, members come and go.
    Core,
    /// Nobody: the leader of a group is fixed, and a run of it that lost its memory never serves.
    Static,
}

/// Runs one seed.
///
/// # Panics
/// If an invariant does not hold, clients saw what no single copy shows, or a group does not serve after all was healed.
#[must_use]
pub fn run(seed: u64, mode: Mode) -> Report {
    let mut sim = Sim::new(seed, mode);
    sim.run();
    sim.finish()
}

struct Sim {
    plan: Plan,
    placement: Placement,
    core: Option<Core>,
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
    /// Where a byte has flipped last.
    damaged: Option<(NodeId, GroupId)>,
    is_healed: bool,
    /// Until then no leader is deposed because it sends a snapshot.
    undisturbed_until: u64,
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
    Connected {
        node: NodeId,
        peer: ReplicaId,
        connection: u64,
    },
    Lost {
        node: NodeId,
        peer: NodeId,
        connection: u64,
    },
    Connect(NodeId, NodeId),
    Unclogged {
        node: NodeId,
        peer: NodeId,
    },
    Isolate {
        node: NodeId,
        until: u64,
    },
    Depose(GroupId),
    Request {
        node: NodeId,
        request: Request,
    },
    Reply {
        client: usize,
        token: Token,
        end: End,
    },
    Patience {
        client: usize,
        token: Token,
    },
    Client(usize),
    Restart(NodeId),
    Ask {
        from: ReplicaId,
        group: GroupId,
        ask: Ask,
    },
    News {
        node: NodeId,
        group: GroupId,
        news: Box<News>,
    },
    Beat(ReplicaId, u64),
    Heard(Box<Heartbeat>),
    CoreLooks,
    /// To the node of this name, which nobody has: earlier runs are dead.
    Buried(ReplicaId),
    OperatorLooks,
    Fault(Fault),
    Heal,
}

/// A loss generation of a group.
type LossGen = u64;

/// An outcome that borrows nothing.
#[derive(Clone, Debug)]
enum End {
    Done(EntryId, Vec<u8>, LossGen),
    /// Done in no later loss generation than this one, if at all.
    Accepted(EntryId, LossGen),
    /// The same.
    Unknown(EntryId, LossGen),
    Refused(Refusal),
    /// The connection to the node was refused, or ended.
    Gone {
        is_sent: bool,
    },
}

impl Sim {
    fn new(seed: u64, mode: Mode) -> Self {
        let mut plan = Plan::of(seed);
        if mode == Mode::Static {
            // Nothing happens while each key is read once more at the end, and the time for that is limited.
            plan.keys = plan.keys.min(6);
        }
        let mut rng = Rng::with_seed(seed ^ 0x51b0_1e5e_ed00_0001);
        let slots = SlotMap::new(plan.partitions).expect("1 to 16384 partitions");
        if mode == Mode::Static {
            plan.joiners = 0;
        }
        let nodes: Vec<NodeId> = (1..=plan.nodes).map(NodeId).collect();
        let placement =
            Placement::new(slots, nodes.clone(), nodes.len(), plan.write_quorum).expect("a valid placement");
        let links = Links::new(plan.network, rng.fork());
        let clients = (0..plan.clients).map(|_| rng.fork()).collect::<Vec<_>>();
        let clients = (1..).zip(clients).map(|(number, rng)| Client::new(number, plan.keys, rng)).collect();
        let core = (mode == Mode::Core).then(|| {
            let nodes = nodes.clone();
            let birth = Birth { slots, nodes, replicas: plan.replicas, write_quorum: plan.write_quorum };
            let (patience, suspicion) =
                (Duration::from_nanos(plan.patience_ns), Duration::from_nanos(plan.suspicion_ns));
            Core::new(birth, patience, suspicion, plan.is_promoting)
        });
        let mut sim = Self {
            placement,
            core,
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
            damaged: None,
            is_healed: false,
            undisturbed_until: 0,
            errands_done: 0,
            moment: 0,
            plan,
            rng,
        };
        sim.begin(nodes);
        sim
    }

    /// Has nodes start, clients ask and things go wrong.
    fn begin(&mut self, nodes: Vec<NodeId>) {
        if self.plan.nodes == 5 {
            self.note("five nodes");
        }
        for node in nodes {
            let at = self.rng.u64(..50 * MS);
            self.nodes.insert(node, Node::down());
            self.schedule(at, Event::Restart(node));
        }
        for node in (self.plan.nodes + 1..=self.plan.nodes + self.plan.joiners).map(NodeId) {
            let at = self.rng.u64(..self.plan.chaos_ns);
            self.nodes.insert(node, Node::down());
            self.schedule(at, Event::Restart(node));
            self.note("a node joined");
        }
        for client in 0..self.clients.len() {
            let at = self.rng.u64(..100 * MS);
            self.schedule(at, Event::Client(client));
        }
        for fault in [Fault::Break, Fault::Cut, Fault::Pause, Fault::Crash, Fault::Clog] {
            self.schedule_fault(fault);
        }
        if self.core.is_some() {
            self.schedule(0, Event::CoreLooks);
            let faults =
                [Fault::Split, Fault::Depose, Fault::Change, Fault::Outage, Fault::Flip, Fault::Lose, Fault::Drain];
            for fault in faults {
                self.schedule_fault(fault);
            }
            if self.plan.faults.losses.is_some() {
                self.schedule(0, Event::OperatorLooks);
            }
        }
        self.schedule(self.plan.chaos_ns, Event::Heal);
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
            Event::Isolate { node, until } => self.isolate(node, until),
            Event::Depose(group) => self.depose(group),
            Event::Request { node, request } => self.request(node, request),
            Event::Reply { client, token, end } => self.reply(client, token, &end),
            Event::Patience { client, token } => {
                if self.clients[client].is_waiting_for(token) {
                    self.clients[client].lose(LossGen::MAX, None, &mut self.histories);
                    self.next_operation(client);
                }
            }
            Event::Client(client) => self.next_operation_now(client),
            Event::Restart(node) => self.restart(node),
            Event::Ask { from, group, ask } => self.answer(from, group, ask),
            Event::News { node, group, news } => self.deliver(node, Inbound::News((group, news))),
            Event::Beat(run, number) => self.beat(run, number),
            Event::Heard(heartbeat) => self.hear(&heartbeat),
            Event::CoreLooks => self.look_after_groups(),
            Event::Buried(latest) => self.hear_buried(latest),
            Event::OperatorLooks => self.look_for_losses(),
            Event::Fault(fault) => self.fail(fault),
            Event::Heal => self.heal(),
        }
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
        // What may flip is written now and then, and never read.
        let request = if self.plan.faults.flips.is_some() && self.rng.u8(..4) == 0 {
            let group = GroupId(self.rng.u32(..self.plan.partitions));
            let (key, text) = (self.group_key("flip", group), format!("{};", self.moment));
            self.clients[client].ask(self.moment, key, Asked::Set(text.into_bytes()), Level::Commit)
        } else {
            self.clients[client].begin(self.moment)
        };
        self.send_request(client, request);
    }

    fn send_request(&mut self, client: usize, request: Request) {
        let group = self.placement.slots().group_of(slot_of(request.key.as_bytes()));
        let node = match &self.core {
            None => self.placement.leader_of(group),
            // Clients know an old leader now and then, and ask anybody.
            Some(core) => {
                let known = core.active(group).map(|config| config.leader).filter(|_| self.rng.u8(..8) > 0);
                let other = known.unwrap_or_else(|| NodeId(self.rng.u16(1..=self.plan.nodes)));
                // A client stays with whoever answers it, whatever has become of the group.
                self.clients[client].leader_of(group).unwrap_or(other)
            }
        };
        self.clients[client].sent_to(node, group);
        let token = request.token;
        let at = self.now + self.links.delay();
        self.schedule(at, Event::Request { node, request });
        self.schedule(self.now + CLIENT_PATIENCE_NS, Event::Patience { client, token });
    }

    fn request(&mut self, node: NodeId, request: Request) {
        if !self.clients[client_of(request.token)].is_waiting_for(request.token) {
            // The connection that it came over was closed.
            return;
        }
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
        let (outcome, loss_gen) = match end {
            End::Done(id, answer, loss_gen) => (Outcome::Done { id: *id, answer }, *loss_gen),
            End::Accepted(id, loss_gen) => (Outcome::Accepted { id: *id }, *loss_gen),
            End::Unknown(id, loss_gen) => (Outcome::Unknown { id: *id }, *loss_gen),
            End::Refused(refusal) => (Outcome::Refused(*refusal), 0),
            End::Gone { is_sent: false } => {
                self.clients[client].give_up();
                return self.next_operation(client);
            }
            End::Gone { is_sent: true } => {
                // Whoever had the request is gone, and nobody else gets it.
                let group = self.clients[client].group_of(token).expect("the client waits for it");
                let latest = self.core.as_ref().map_or(0, |core| core.latest_loss_gen(group));
                self.clients[client].lose(latest, None, &mut self.histories);
                return self.next_operation(client);
            }
        };
        match &outcome {
            Outcome::Refused(refusal) => self.note_refusal(refusal),
            Outcome::Unknown { .. } => self.note("an outcome was unknown"),
            Outcome::Accepted { .. } => self.note("a write was accepted and not waited for"),
            Outcome::Done { .. } => {}
        }
        if self.clients[client].end(self.moment, &outcome, loss_gen, &mut self.histories) {
            self.report.operations += 1;
            self.errands_done += usize::from(client == self.plan.clients);
        }
        self.next_operation(client);
    }

    // ---- small things ----

    /// Returns a key of a group whose name begins like this.
    fn group_key(&self, name: &str, group: GroupId) -> String {
        let slots = self.placement.slots();
        let mut names = (0..).map(|number| format!("{name}{number}"));
        names.find(|key| slots.group_of(slot_of(key.as_bytes())) == group).expect("some name lies in each group")
    }

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
        let lists = [&SOMETIMES[..], &SOMETIMES_WITH_CORE, &SOMETIMES_WITHOUT_CORE];
        debug_assert!(lists.iter().any(|list| list.contains(&what)), "{what} is not listed");
        self.report.sometimes.insert(what);
    }

    fn note_refusal(&mut self, refusal: &Refusal) {
        match refusal {
            Refusal::NoQuorum { .. } => self.note("a request found no quorum"),
            Refusal::NoLease { .. } => self.note("a read waited for its lease in vain"),
            Refusal::Unavailable { .. } => self.note("a request found the group unavailable"),
            Refusal::Overload { .. } => self.note("a request found the log, the group or the waiting list full"),
            Refusal::OutOfMemory { .. } => self.note("a request found the memory full"),
            Refusal::NotLeader { .. }
            | Refusal::NotHere { .. }
            | Refusal::Diverged { .. }
            | Refusal::KeyTooLong { .. }
            | Refusal::ValueTooLarge { .. }
            | Refusal::CommandTooLarge { .. } => {}
        }
    }

    fn note_notice(&mut self, from: ReplicaId, notice: &Notice) {
        match notice {
            Notice::Learner { .. } => self.note("a learner copied a group"),
            Notice::SnapshotInstalled { .. } => self.note("a snapshot was installed"),
            Notice::Malformed { what, .. } => panic!("no replica of ours sends {what}, as {from:?} says: {notice:?}"),
            Notice::Deposed { .. } => self.note("a leader was deposed"),
            Notice::Forgotten { group, .. } => {
                let is_lost = self.core.as_ref().is_some_and(|core| core.has_lost(*group));
                assert!(is_lost, "{from:?} gives up {group}, of which no loss was accepted");
                self.note("a replica gave up what was lost");
            }
            Notice::TakingOver { .. } => self.note("a replica took over"),
            Notice::Diverged { .. } => self.note("a replica was found to be wrong"),
            Notice::Resynchronised { .. } => self.note("a replica copied the state of its leader"),
            Notice::ManualInterventionRequired { group, why } => panic!("{group} needs an operator: {why}"),
            Notice::Founded { .. } | Notice::Adopted { .. } | Notice::Serving { .. } | Notice::Unavailable { .. } => {}
            Notice::SnapshotStarted { group, .. } => self.disturb_snapshot(*group),
        }
    }

    fn trace(&mut self, kind: u64, one: u64, two: u64) {
        for word in [kind, one, two, self.now] {
            self.report.trace = (self.report.trace ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
        }
    }
}

/// Returns `value * numerator / denominator`.
fn scale(value: u64, numerator: i64, denominator: i64) -> u64 {
    let scaled = i128::from(value) * i128::from(numerator) / i128::from(denominator);
    u64::try_from(scaled).expect("true time and clocks stay far below 2^63")
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
