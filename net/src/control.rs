//! The control thread of a node: its part in the consistent core, and its connections to it.
//!
//! ```text
//!   other nodes ──▶ visitors ─┐                              ┌──▶ CPUs: which run this is, who leads and holds what
//!                             ├─▶ Core (nodes of the core) ──┤
//!   CPUs ──▶ asks, heartbeat ─┤                              └──▶ visitors: the same
//!                             └─▶ links ──▶ other nodes of the core, and back
//! ```
//!
//! Every node has one. It registers this run, says once an interval that the node lives, passes on what the engines of the
//! CPUs ask, and tells them what the core has decided. On a node of the core it also runs [`Core`], with its store on disk.
//! It has a transport of its own at the base port of the peer door, so that a CPU with a lot to do delays no heartbeat, and
//! a disk that is slow delays no CPU.
//!
//! # Time and units
//! The node's monotonic clock. A heartbeat leaves every quarter of the suspicion time, counted from the last one, and at once
//! from a node of the core when it finds another one silent, or hears it again; what was not registered registers again every
//! `REGISTER_EVERY`, an operation is said again every `OPERATE_EVERY` for the time of a request, counted from when its turn
//! came; links are dialled again after `RETRY_EVERY`; nodes are told of events at once, and of the next ones
//! `LEADER_TELLS_EVERY` later, or `OTHERS_TELL_EVERY` by those that do not lead the core.
//!
//! # Order
//! What one node of the core says to another goes over one connection, and nothing of an earlier connection counts once
//! there is a new one: consensus rests on that, and on both ends being told when something may have been lost.
//!
//! # Bounds
//! `VISITORS_MAX` connections from others; one more is closed. A link or visitor that does not read is closed when its
//! buffer is full; both are told everything anew when they come back.
//!
//! # Threads
//! One, named `control`. It meets the CPUs in the exchange only.

pub(crate) mod exchange;
mod links;
pub mod meeting;
mod restoring;
mod run;
mod standing;
pub mod store;
mod tally;
mod telling;
mod visitors;
mod wishes;
mod words;

use std::sync::Arc;

use quorate_engine::control::core::{Core, CoreInput};
use quorate_engine::ids::{CpuId, Incarnation, NodeId, ReplicaId};
use quorate_engine::time::Instant;
use serde::Serialize;

use crate::clock;
use crate::node::Shared;
use crate::node::facts::Facts;
use crate::node::greeting;
use crate::node::members::Members;
use crate::transport::{
    AnyTransport, Close, CloseReason, ConnId, Handler, ListenerId, Outbox, PeerAddr, TransportSettings, Wait,
};
use crate::wire::{BodyLimits, FrameReader, Role, Stage};

use self::exchange::{CoreLog, CoreView, Said};
use self::links::{Link, LinkState};
use self::run::REGISTER_EVERY;
pub(crate) use self::standing::Part;
use self::visitors::{VISITORS_MAX, Visitor};
use self::wishes::Wish;
use self::words::{FromCore, ToCore, encode};

/// See the module.
pub(crate) struct Control {
    facts: Arc<Facts>,
    shared: Arc<Shared>,
    part: Part,
    outbox: Outbox,
    now: Instant,
    /// Drawn at the start of this process.
    nonce: u64,
    run: Option<ReplicaId>,
    /// The version of the last news of each group, by number; 0 before the first.
    versions: Vec<u64>,
    links: Vec<Link>,
    visitors: Vec<Visitor>,
    register_at: Instant,
    beat_at: Instant,
    /// Whom the last heartbeat called silent.
    said_silent: Vec<NodeId>,
    /// What this node wants of the core just now.
    wish: Option<Wish>,
    wish_count: u64,
    /// Whether the core was told, or is being told, where this node is reached.
    is_announced: bool,
    /// Who belongs to the cluster, and the version of the roster that it is from; 0 before the first.
    members: Arc<Members>,
    roster_version: u64,
    /// The first event of the core here that this node has not copied.
    next_event: u64,
    /// When visitors were told of events last.
    told_events_at: Instant,
    said: Said,
}

/// What becomes of a connection after a frame.
enum Next {
    Stay,
    Enter,
    Close,
}

impl Control {
    pub(crate) fn new(
        facts: Arc<Facts>,
        shared: Arc<Shared>,
        part: Part,
        nonce: u64,
        transport: &TransportSettings,
    ) -> Self {
        let others = facts.settings.core_nodes().iter().filter(|node| **node != facts.node);
        let link = |node: &NodeId| Link {
            node: *node,
            state: LinkState::Down,
            retry_at: Instant(0),
            is_refusal_said: false,
            stranger_said: None,
            is_occupied_said: false,
        };
        let mut control = Self {
            members: Arc::new(Members::configured(&facts)),
            links: others.map(link).collect(),
            versions: vec![0; facts.placement.slots().group_count() as usize],
            facts,
            shared,
            part,
            outbox: Outbox::new(transport),
            now: clock::now(),
            nonce,
            run: None,
            visitors: Vec::new(),
            register_at: Instant(0),
            beat_at: Instant(0),
            said_silent: Vec::new(),
            wish: None,
            wish_count: 0,
            is_announced: false,
            roster_version: 0,
            next_event: 1,
            told_events_at: Instant(0),
            said: Said::default(),
        };
        // A core of one has nobody to wait for.
        control.end_meeting();
        control.advance_restoration();
        control
    }

    /// Runs until the node has ended.
    pub(crate) fn run(mut self, mut transport: AnyTransport) {
        while !self.shared.exchange.is_over() {
            self.now = clock::now();
            self.do_what_is_due();
            let wait = Wait::Until(Some(self.wake_at()));
            transport.turn(&mut self, wait);
        }
    }

    fn wake_at(&self) -> Instant {
        let dial_at = self.links.iter().filter(|link| matches!(link.state, LinkState::Down)).map(|link| link.retry_at);
        let register_at = self.is_registering().then_some(self.register_at);
        let core_at = self.core().map(Core::wake_at);
        let wish_at = self.wish.as_ref().map(|wish| wish.say_at);
        [self.beat_due()]
            .into_iter()
            .chain(wish_at)
            .chain(dial_at)
            .chain(register_at)
            .chain(core_at)
            .chain(self.events_due())
            .min()
            .expect("there is one")
    }

    /// When the node next says that it lives: with what its core node says, if that is soon, so that others wake once for both.
    fn beat_due(&self) -> Instant {
        let latest = self.beat_at.saturating_add(self.facts.settings.replication().suspicion / 15);
        let core_at = self.core().map(Core::next_round);
        core_at.filter(|at| (self.beat_at..=latest).contains(at)).unwrap_or(self.beat_at)
    }

    fn do_what_is_due(&mut self) {
        let now = self.now;
        for index in 0..self.links.len() {
            if matches!(self.links[index].state, LinkState::Down) && self.links[index].retry_at <= now {
                self.dial(index);
            }
        }
        if self.is_registering() && self.register_at <= now {
            self.register_at = now.saturating_add(REGISTER_EVERY);
            self.say_to_core(&ToCore::Register { nonce: self.nonce });
            self.input(CoreInput::Register { node: self.facts.node, nonce: self.nonce });
        }
        // Others wait for this word: a node is suspected when enough say that it is silent.
        let has_news = self.core().is_some_and(|core| core.silent(now) != self.said_silent);
        if has_news || self.beat_due() <= now {
            self.beat_at = now.saturating_add(self.facts.settings.replication().suspicion / 4);
            self.beat();
            self.close_silent_visitors();
        }
        self.pass_on_asks();
        self.pass_on_wishes();
        if let Part::Core(core, _) = &mut self.part
            && core.wake_at() <= now
        {
            core.set_wall_clock(now, clock::wall_clock_ns() / 1_000_000);
            core.on_alarm(now);
        }
        self.perform();
        let leader = self.core().and_then(Core::leader);
        let log = self.core().map(|core| CoreLog {
            round: core.round(),
            applied: core.applied() as u64,
            hears_majority: core.hears_majority(now),
        });
        self.shared.exchange.set_core(CoreView { part: self.part.shown(), leader, log, said: self.said });
    }

    fn input(&mut self, input: CoreInput) {
        if let Part::Core(core, _) = &mut self.part {
            core.handle(self.now, input);
        }
    }

    // ---- ways out ----

    /// Says something to all other nodes of the core that are connected.
    fn say_to_core(&mut self, words: &ToCore) {
        let conns: Vec<ConnId> = self.links.iter().filter_map(Link::up).collect();
        conns.into_iter().for_each(|conn| self.send(conn, words));
    }

    /// Says something to one node of the core, if it is connected.
    fn say_to(&mut self, node: NodeId, words: &ToCore) {
        if let Some(conn) = self.links.iter().find(|link| link.node == node).and_then(Link::up) {
            self.send(conn, words);
        }
    }

    /// Says something to a node that is connected to this one, if it is.
    fn say_to_node(&mut self, node: NodeId, words: &FromCore) {
        let conns = self.visitors.iter().filter(|visitor| visitor.node == Some(node)).map(|visitor| visitor.conn);
        let conns: Vec<ConnId> = conns.collect();
        self.said.news += conns.len() as u64;
        conns.into_iter().for_each(|conn| self.send(conn, words));
    }

    fn send(&mut self, conn: ConnId, words: &impl Serialize) {
        match self.outbox.buffer(conn) {
            Ok(buffer) => encode(words, buffer.as_vec()),
            Err(_) => self.outbox.close(conn, Close::Now),
        }
    }

    fn send_frame(&mut self, conn: ConnId, frame: &[u8]) {
        if self.outbox.send(conn, frame).is_err() {
            self.outbox.close(conn, Close::Now);
        }
    }
}

impl Handler for Control {
    fn fetched(&mut self) {
        self.now = clock::now();
    }

    fn accepted(&mut self, _listener: ListenerId, conn: ConnId, _peer: PeerAddr) {
        if self.visitors.len() >= VISITORS_MAX {
            return self.outbox.close(conn, Close::Now);
        }
        let reader = FrameReader::new(Stage::Greeting, BodyLimits::DEFAULT);
        self.visitors.push(Visitor {
            conn,
            came_at: self.now,
            node: None,
            next_event: None,
            incarnation: Incarnation(0),
            shown: None,
            is_rival: false,
            is_over: false,
            reader,
        });
    }

    fn connected(&mut self, conn: ConnId) {
        let facts = Arc::clone(&self.facts);
        if let Ok(buffer) = self.outbox.buffer(conn) {
            greeting::hello(&facts, Role::Control, self.run, CpuId(0)).encode(buffer.as_vec());
        }
    }

    fn received(&mut self, conn: ConnId, bytes: &[u8]) {
        if let Some(index) = self.links.iter().position(|link| link.conn() == Some(conn)) {
            self.link_received(index, bytes);
        } else if let Some(index) = self.visitors.iter().position(|visitor| visitor.conn == conn) {
            self.visitor_received(index, bytes);
        }
        self.perform();
    }

    fn drained(&mut self, _conn: ConnId) {}

    fn closed(&mut self, conn: ConnId, reason: CloseReason) {
        if let Some(link) = self.links.iter_mut().find(|link| link.conn() == Some(conn)) {
            tracing::debug!(node = link.node.0, %reason, "no connection to a node of the core");
            link.state = LinkState::Down;
            let node = link.node;
            self.forget_while_restoring(node);
        }
        self.visitors.retain(|visitor| visitor.conn != conn);
    }

    fn outbox(&mut self) -> &mut Outbox {
        &mut self.outbox
    }
}
