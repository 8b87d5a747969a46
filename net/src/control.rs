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
//! came; links are dialled again after `RETRY_EVERY`.
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
pub mod meeting;
pub mod store;
mod words;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use quorate_engine::control::core::{Core, CoreInput, CoreOutput, CoreSettings};
use quorate_engine::control::detector::Heartbeat;
use quorate_engine::control::journal::Recorded;
use quorate_engine::control::operation::{Operation, Outcome};
use quorate_engine::control::record::News;
use quorate_engine::control::state::{Hope, State};
use quorate_engine::ids::{CpuId, GroupId, NodeId, ReplicaId};
use quorate_engine::time::Instant;
use serde::Serialize;

use crate::clock;
use crate::node::Shared;
use crate::node::facts::Facts;
use crate::node::greeting::{self, DoorKind};
use crate::transport::{
    AnyTransport, Close, CloseReason, ConnId, Handler, ListenerId, Outbox, PeerAddr, TransportSettings, Wait,
};
use crate::wire::{AddressList, Body, BodyLimits, Frame, FrameReader, Reject, RejectCode, Role, Stage};

use exchange::{GroupNews, Wanted};
use meeting::{Founders, Meeting, Met};
use store::Store;
use words::{FromCore, ToCore, encode};

/// How often the core looks at its groups, at least. Its elections take eight to twelve of these.
const TICK_MAX: Duration = Duration::from_millis(10);
/// How long a registration may stay unanswered before it is said again.
const REGISTER_EVERY: Duration = Duration::from_millis(100);
/// Events in one frame.
const EVENTS_PER_FRAME: usize = 128;
/// How long an operation may stay unanswered before it is said again.
const OPERATE_EVERY: Duration = Duration::from_millis(100);
/// How long a link that broke, or could not be dialled, stays alone.
const RETRY_EVERY: Duration = Duration::from_millis(50);
/// How long a visitor may take to say who it is.
const GREETING_MAX: Duration = Duration::from_secs(2);
/// Connections from other nodes: several runs of all of them.
const VISITORS_MAX: usize = 256;

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
    /// The first event of the core here that this node has not copied.
    next_event: u64,
}

/// An operation that is said again until its outcome is heard.
struct Wish {
    wanted: Wanted,
    number: u64,
    say_at: Instant,
    /// When whoever wanted it has given it up.
    until: Instant,
}

/// What this node has to do with the core beside talking to it.
enum Part {
    /// Nothing.
    None,
    /// It belongs to it, and does not know the other stores yet.
    Meeting(Box<Store>, Meeting),
    /// It belongs to it.
    Core(Box<Core<Store>>, CoreStore),
}

/// By what other nodes of the core know this one, and this one them.
struct CoreStore {
    number: u64,
    founders: Founders,
}

/// The way to another node of the core.
#[derive(Debug)]
struct Link {
    node: NodeId,
    state: LinkState,
    retry_at: Instant,
    /// Whether it has been said that this node is not let in: once is enough.
    is_refusal_said: bool,
}

#[derive(Debug)]
enum LinkState {
    Down,
    Dialled(ConnId, FrameReader),
    Up(ConnId, FrameReader),
}

/// Someone who has connected to this node.
#[derive(Debug)]
struct Visitor {
    conn: ConnId,
    came_at: Instant,
    /// Who, once it has said so.
    node: Option<NodeId>,
    /// The number of its store, if it has one of the core and has said so.
    store: Option<u64>,
    /// The first event it was not told, once it wants to be told any.
    next_event: Option<u64>,
    /// Whether another connection has taken the place of this one.
    is_over: bool,
    reader: FrameReader,
}

impl Control {
    pub(crate) fn new(
        facts: Arc<Facts>,
        shared: Arc<Shared>,
        store: Option<Store>,
        nonce: u64,
        transport: &TransportSettings,
    ) -> Self {
        let others = facts.settings.core_nodes().iter().filter(|node| **node != facts.node);
        let link =
            |node: &NodeId| Link { node: *node, state: LinkState::Down, retry_at: Instant(0), is_refusal_said: false };
        let part = match store {
            None => Part::None,
            Some(store) => match store.founders() {
                Some(founders) => Part::core(&facts, store, founders),
                None => {
                    let meeting = Meeting::new((facts.node, store.number()), facts.settings.core_nodes());
                    Part::Meeting(Box::new(store), meeting)
                }
            },
        };
        let mut control = Self {
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
            next_event: 1,
        };
        // A core of one has nobody to wait for.
        control.end_meeting();
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
        [self.beat_at]
            .into_iter()
            .chain(wish_at)
            .chain(dial_at)
            .chain(register_at)
            .chain(core_at)
            .min()
            .expect("there is one")
    }

    /// Whether this run is to be registered. One that may have lost its disk first finds out whether it is who it says.
    fn is_registering(&self) -> bool {
        self.run.is_none() && !matches!(self.part, Part::Meeting(..))
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
        if has_news || self.beat_at <= now {
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
    }

    // ---- what this node says ----

    /// Says that the node lives.
    fn beat(&mut self) {
        let Some(from) = self.run else { return };
        let turns = self.shared.all_counters().map(|counters| counters.turns.load(Ordering::Relaxed)).collect();
        let without_quorum = self.shared.exchange.unled();
        let silent = self.core().map_or(Vec::new(), |core| core.silent(self.now));
        self.said_silent.clone_from(&silent);
        let heartbeat = Heartbeat { from, turns, without_quorum, silent };
        // One that sleeps because there is nothing to do has turned before the next heartbeat, if it can.
        self.shared.exchange.wake_cpus();
        self.say_to_core(&ToCore::Heartbeat(heartbeat.clone()));
        self.input(CoreInput::Heartbeat(heartbeat));
    }

    fn pass_on_asks(&mut self) {
        let Some(from) = self.run else { return };
        for (group, ask) in self.shared.exchange.take_asks() {
            self.say_to_core(&ToCore::Ask { from, group, ask });
            self.input(CoreInput::Ask { from, group, ask });
        }
    }

    /// Says what is wanted of the core, one operation after another.
    fn pass_on_wishes(&mut self) {
        let Some(from) = self.run else { return };
        self.wish.take_if(|wish| wish.until <= self.now);
        if self.wish.is_none() {
            let Some(wanted) = self.shared.exchange.take_wanted().or_else(|| self.reports()) else { return };
            self.wish_count += 1;
            let until = match wanted.by {
                Some(_) => self.now.saturating_add(self.facts.settings.limits().request_timeout),
                // What has happened is not given up.
                None => Instant(u64::MAX),
            };
            self.wish = Some(Wish { wanted, number: self.wish_count, say_at: self.now, until });
        }
        let Some(wish) = self.wish.as_mut().filter(|wish| wish.say_at <= self.now) else { return };
        wish.say_at = self.now.saturating_add(OPERATE_EVERY);
        let (number, operation) = (wish.number, wish.wanted.operation.clone());
        self.say_to_core(&ToCore::Operate { from, number, operation: operation.clone() });
        self.input(CoreInput::Operate { from, number, operation });
    }

    /// Returns what is to be reported to the core, if there is something.
    fn reports(&self) -> Option<Wanted> {
        let events = self.shared.exchange.take_reports();
        (!events.is_empty()).then_some(Wanted { by: None, operation: Operation::Report(events) })
    }

    fn hear_outcome(&mut self, to: ReplicaId, number: u64, outcome: Outcome) {
        let is_mine = |wish: &mut Wish| self.run == Some(to) && wish.number == number;
        if let Some(Wish { wanted, .. }) = self.wish.take_if(is_mine) {
            if let Some((cpu, key)) = wanted.by {
                self.shared.exchange.post_outcome(cpu, key, outcome);
            }
            self.pass_on_wishes();
        }
    }

    /// Says something to all other nodes of the core that are connected.
    fn say_to_core(&mut self, words: &ToCore) {
        let conns: Vec<ConnId> = self.links.iter().filter_map(Link::up).collect();
        conns.into_iter().for_each(|conn| self.send(conn, words));
    }

    // ---- the core here ----

    fn core(&self) -> Option<&Core<Store>> {
        match &self.part {
            Part::Core(core, _) => Some(core),
            Part::None | Part::Meeting(..) => None,
        }
    }

    /// Returns what this node shows to other nodes of the core: the number of its store, and the founders.
    fn own_store(&self) -> Option<(u64, Option<Founders>)> {
        match &self.part {
            Part::None => None,
            Part::Meeting(store, _) => Some((store.number(), None)),
            Part::Core(_, CoreStore { number, founders }) => Some((*number, Some(founders.clone()))),
        }
    }

    /// Hears which store another node of the core has.
    fn hear_store(&mut self, node: NodeId, number: u64, founders: Option<Founders>) {
        match &mut self.part {
            Part::None => {}
            Part::Meeting(_, meeting) => {
                meeting.hear(node, number, founders);
                self.end_meeting();
            }
            Part::Core(_, own) if own.founders.get(&node) != Some(&number) => tracing::error!(
                node = node.0,
                "this node of the consistent core has another store than the core began with: it has lost its disk, and what \
                 it says counts for nothing"
            ),
            Part::Core(..) => {}
        }
    }

    /// What a visitor says to the core counts from here on; what it may have said before is lost, and both ends go by that.
    fn begin_hearing(&mut self, index: usize) {
        let Visitor { node: Some(node), store: Some(number), .. } = self.visitors[index] else { return };
        if matches!(&self.part, Part::Core(_, own) if own.founders.get(&node) == Some(&number)) {
            self.input(CoreInput::Connected(node));
        }
    }

    /// Takes part in the core, if all of its nodes are known by now.
    fn end_meeting(&mut self) {
        let Part::Meeting(_, meeting) = &self.part else { return };
        match meeting.outcome() {
            Met::Waiting => {}
            Met::Excluded => {
                tracing::error!(
                    node = self.facts.node.0,
                    "the consistent core began with another store of this node, which is lost: this one has promised nothing, \
                     so it must not vote; the node stops"
                );
                std::process::exit(1);
            }
            Met::Agreed(founders) => {
                let Part::Meeting(mut store, _) = core::mem::replace(&mut self.part, Part::None) else { return };
                store.set_founders(&founders);
                tracing::info!(node = self.facts.node.0, "all nodes of the consistent core have met");
                self.part = Part::core(&self.facts, *store, founders);
                // Those who have met this one already are shown the founders.
                if let Some((number, founders)) = self.own_store() {
                    self.say_to_core(&ToCore::Store { number, founders });
                }
                (0..self.visitors.len()).for_each(|index| self.begin_hearing(index));
            }
        }
    }

    fn input(&mut self, input: CoreInput) {
        if let Part::Core(core, _) = &mut self.part {
            core.handle(self.now, input);
        }
    }

    /// Performs what the core here wants done.
    fn perform(&mut self) {
        let Part::Core(core, _) = &mut self.part else { return };
        let outputs: Vec<CoreOutput> = core.drain_outputs().collect();
        for output in outputs {
            match output {
                CoreOutput::Send { to, message } => {
                    if let Some(conn) = self.links.iter().find(|link| link.node == to).and_then(Link::up) {
                        self.send(conn, &ToCore::Consensus(message));
                    }
                }
                CoreOutput::Registered { run, nonce } => {
                    self.say_to_node(run.node, &FromCore::Registered { run, nonce });
                    self.hear_registered(run, nonce);
                }
                CoreOutput::Buried { latest } => {
                    self.say_to_node(latest.node, &FromCore::Current { run: latest });
                    self.hear_current(latest);
                }
                CoreOutput::Operated { to, number, outcome } => {
                    self.say_to_node(to.node, &FromCore::Operated { to, number, outcome: outcome.clone() });
                    self.hear_outcome(to, number, outcome);
                }
                CoreOutput::News { group, news } => {
                    let missing = self.core().and_then(Core::state).map_or(Vec::new(), |state| missing(state, group));
                    let conns: Vec<ConnId> = self
                        .visitors
                        .iter()
                        .filter(|visitor| visitor.node.is_some())
                        .map(|visitor| visitor.conn)
                        .collect();
                    let mut frame = Vec::new();
                    let words = FromCore::News { group, news: Box::new(news.clone()), missing: missing.clone() };
                    encode(&words, &mut frame);
                    conns.into_iter().for_each(|conn| self.send_frame(conn, &frame));
                    self.hear_news(group, news, missing);
                }
            }
        }
        self.tell_events();
    }

    /// Tells visitors what has happened since they were told last.
    fn tell_events(&mut self) {
        let Part::Core(core, _) = &self.part else { return };
        let Some(journal) = core.state().map(State::journal) else { return };
        if journal.next() > self.next_event {
            self.next_event = self.shared.exchange.record(journal.from(self.next_event));
        }
        let mut frames = Vec::new();
        for visitor in &mut self.visitors {
            let Some(next) = visitor.next_event.as_mut().filter(|next| **next < journal.next()) else { continue };
            let events: Vec<Recorded> = journal.from(*next).cloned().collect();
            *next = journal.next();
            for page in events.chunks(EVENTS_PER_FRAME) {
                frames.push((visitor.conn, FromCore::Events(page.to_vec())));
            }
        }
        frames.iter().for_each(|(conn, words)| self.send(*conn, words));
    }

    /// Says something to a node that is connected to this one, if it is.
    fn say_to_node(&mut self, node: NodeId, words: &FromCore) {
        let conns = self.visitors.iter().filter(|visitor| visitor.node == Some(node)).map(|visitor| visitor.conn);
        let conns: Vec<ConnId> = conns.collect();
        conns.into_iter().for_each(|conn| self.send(conn, words));
    }

    /// Tells a node that has just connected all there is to know.
    fn tell_all(&mut self, conn: ConnId, node: NodeId) {
        let Some(state) = self.core().and_then(Core::state) else { return };
        let current = state.latest(node).map(|run| FromCore::Current { run });
        let news = self.facts.groups().filter_map(|group| state.news(group).map(|news| (group, news)));
        let news = news.map(|(group, news)| {
            let missing = missing(state, group);
            FromCore::News { group, news: Box::new(news), missing }
        });
        let words: Vec<FromCore> = current.into_iter().chain(news).collect();
        words.iter().for_each(|words| self.send(conn, words));
    }

    // ---- what this node hears ----

    fn hear_registered(&mut self, run: ReplicaId, nonce: u64) {
        if run.node == self.facts.node && nonce == self.nonce && self.run.is_none() {
            tracing::info!(node = run.node.0, incarnation = run.incarnation.0, "registered with the consistent core");
            self.run = Some(run);
            self.shared.exchange.post_run(run);
            self.beat_at = self.now;
        }
        self.hear_current(run);
    }

    /// Ends this process if another one has taken its place: whatever it said would be dropped.
    fn hear_current(&self, current: ReplicaId) {
        let Some(own) = self.run else { return };
        if current.node == own.node && current.incarnation > own.incarnation {
            tracing::error!(
                node = own.node.0,
                own = own.incarnation.0,
                other = current.incarnation.0,
                "this run of the node counts for nothing any more, and stops: another process has been registered as this node \
                 (each needs a node.id of its own), or an operator has declared this one dead with `core accept-loss`"
            );
            std::process::exit(1);
        }
    }

    fn hear_news(&mut self, group: GroupId, news: News, missing: Vec<ReplicaId>) {
        let Some(known) = self.versions.get_mut(group.0 as usize) else { return };
        if *known < news.version {
            *known = news.version;
            let news = GroupNews { news: Arc::new(news), missing: missing.into() };
            self.shared.exchange.post_news(group, &news);
        }
    }

    /// Handles what another node says to the core.
    fn handle_to_core(&mut self, index: usize, from: NodeId, words: ToCore) {
        match words {
            ToCore::Register { nonce } => self.input(CoreInput::Register { node: from, nonce }),
            ToCore::Heartbeat(heartbeat) if heartbeat.from.node == from => self.input(CoreInput::Heartbeat(heartbeat)),
            ToCore::Ask { from: run, group, ask } if run.node == from => {
                self.input(CoreInput::Ask { from: run, group, ask });
            }
            ToCore::Events { next } => {
                self.visitors[index].next_event = Some(next);
                self.tell_events();
            }
            ToCore::Operate { from: run, number, operation } if run.node == from => {
                self.input(CoreInput::Operate { from: run, number, operation });
            }
            ToCore::Store { number, founders } => {
                self.visitors[index].store = Some(number);
                self.hear_store(from, number, founders);
                self.begin_hearing(index);
                if let Some((number, founders)) = self.own_store() {
                    let conn = self.visitors[index].conn;
                    self.send(conn, &FromCore::Store { number, founders });
                }
            }
            ToCore::Consensus(message) => {
                let Part::Core(_, CoreStore { founders, .. }) = &self.part else { return };
                let store = self.visitors[index].store;
                // Until it has shown its store, nothing of it counts.
                if store.is_some() && founders.get(&from).copied() == store {
                    self.input(CoreInput::Message { from, message });
                }
            }
            ToCore::Heartbeat(_) | ToCore::Ask { .. } | ToCore::Operate { .. } => {
                tracing::warn!(node = from.0, "a node speaks for another one; dropped");
            }
        }
    }

    fn handle_from_core(&mut self, from: NodeId, words: FromCore) {
        match words {
            FromCore::Store { number, founders } => self.hear_store(from, number, founders),
            FromCore::Registered { run, nonce } => self.hear_registered(run, nonce),
            FromCore::Current { run } => self.hear_current(run),
            FromCore::Events(events) => {
                self.shared.exchange.record(events.iter());
            }
            FromCore::Operated { to, number, outcome } => self.hear_outcome(to, number, outcome),
            FromCore::News { group, news, missing } => self.hear_news(group, *news, missing),
        }
    }

    // ---- links ----

    fn dial(&mut self, index: usize) {
        let link = &mut self.links[index];
        link.retry_at = self.now.saturating_add(RETRY_EVERY);
        let Some(address) = self.facts.peer_door(link.node, None) else { return };
        if let Ok(conn) = self.outbox.connect(address) {
            link.state = LinkState::Dialled(conn, FrameReader::new(Stage::Answering, BodyLimits::DEFAULT));
        }
    }

    fn link_received(&mut self, index: usize, bytes: &[u8]) {
        let state = core::mem::replace(&mut self.links[index].state, LinkState::Down);
        let (LinkState::Dialled(conn, mut reader) | LinkState::Up(conn, mut reader)) = state else { return };
        let mut is_up = reader.stage() == Stage::Core;
        let mut frames = reader.frames(bytes);
        let mut is_over = false;
        while let Some(frame) = frames.next() {
            match frame.map(|frame| self.handle_link_frame(index, conn, &frame)) {
                Ok(Next::Stay) => {}
                Ok(Next::Enter) => {
                    is_up = true;
                    frames.enter(Stage::Core);
                }
                Ok(Next::Close) => is_over = true,
                Err(error) => {
                    tracing::warn!(node = self.links[index].node.0, %error, "a node of the core sent what is no frame");
                    is_over = true;
                }
            }
            if is_over {
                break;
            }
        }
        drop(frames);
        if is_over {
            self.outbox.close(conn, Close::Now);
        }
        self.links[index].state = if is_up { LinkState::Up(conn, reader) } else { LinkState::Dialled(conn, reader) };
        if is_up && !is_over && self.register_at > self.now && self.run.is_none() {
            // It may be the one that leads.
            self.register_at = self.now;
        }
    }

    fn handle_link_frame(&mut self, index: usize, conn: ConnId, frame: &Frame<'_>) -> Next {
        let node = self.links[index].node;
        match frame.body {
            Body::Welcome(welcome) if greeting::is_expected(&self.facts, &welcome, node) => {
                self.links[index].is_refusal_said = false;
                if let Some((number, founders)) = self.own_store() {
                    self.send(conn, &ToCore::Store { number, founders });
                }
                let next = self.shared.exchange.journal().next();
                self.send(conn, &ToCore::Events { next });
                self.input(CoreInput::Connected(node));
                Next::Enter
            }
            Body::Welcome(welcome) => {
                self.say_refused(index, "another node than expected answers; check [[peers]]", welcome.node);
                Next::Close
            }
            Body::Reject(Reject { text, .. }) => {
                self.say_refused(index, text, node);
                Next::Close
            }
            Body::Control(control) => match serde_json::from_str(control.json) {
                Ok(words) => {
                    self.handle_from_core(node, words);
                    Next::Stay
                }
                Err(error) => {
                    tracing::warn!(node = node.0, %error, "a node of the core says what this one does not understand");
                    self.outbox.close(conn, Close::Now);
                    Next::Close
                }
            },
            _ => Next::Close,
        }
    }

    fn say_refused(&mut self, index: usize, text: &str, by: NodeId) {
        let link = &mut self.links[index];
        if !core::mem::replace(&mut link.is_refusal_said, true) {
            tracing::error!(node = by.0, text, "a node of the consistent core does not let this node in");
        }
    }

    // ---- visitors ----

    fn close_silent_visitors(&mut self) {
        let is_late = |visitor: &&Visitor| visitor.node.is_none() && self.now.since(visitor.came_at) > GREETING_MAX;
        let late: Vec<ConnId> = self.visitors.iter().filter(is_late).map(|visitor| visitor.conn).collect();
        late.into_iter().for_each(|conn| self.outbox.close(conn, Close::Now));
    }

    fn visitor_received(&mut self, index: usize, bytes: &[u8]) {
        let empty = FrameReader::new(Stage::Greeting, BodyLimits::DEFAULT);
        let conn = self.visitors[index].conn;
        let mut reader = core::mem::replace(&mut self.visitors[index].reader, empty);
        let mut frames = reader.frames(bytes);
        while let Some(frame) = frames.next() {
            let next = match frame {
                Ok(frame) => self.handle_visitor_frame(index, &frame),
                Err(error) => {
                    let text = error.to_string();
                    self.reject(conn, &Reject { code: RejectCode::Malformed, theirs: 0, ours: 0, text: &text });
                    Next::Close
                }
            };
            match next {
                Next::Stay => {}
                Next::Enter => frames.enter(Stage::Core),
                Next::Close => {
                    self.outbox.close(conn, Close::AfterFlush);
                    break;
                }
            }
        }
        drop(frames);
        self.visitors[index].reader = reader;
    }

    fn handle_visitor_frame(&mut self, index: usize, frame: &Frame<'_>) -> Next {
        let Visitor { conn, node, is_over, .. } = self.visitors[index];
        match (frame.body, node) {
            _ if is_over => Next::Close,
            (Body::Hello(hello), None) => {
                if let Some((code, [theirs, ours], text)) = greeting::objection(&self.facts, &hello, DoorKind::Control)
                {
                    self.reject(conn, &Reject { code, theirs, ours, text: &text });
                    return Next::Close;
                }
                let facts = Arc::clone(&self.facts);
                let welcome = greeting::welcome(&facts, self.run, CpuId(0), AddressList::default());
                if let Ok(buffer) = self.outbox.buffer(conn) {
                    welcome.encode(buffer.as_vec());
                }
                // What is left of an earlier connection must not come after what comes over this one.
                for earlier in self.visitors.iter_mut().filter(|visitor| visitor.node == Some(hello.node)) {
                    earlier.is_over = true;
                    self.outbox.close(earlier.conn, Close::Now);
                }
                self.visitors[index].node = Some(hello.node);
                self.tell_all(conn, hello.node);
                Next::Enter
            }
            (Body::Control(control), Some(node)) => match serde_json::from_str(control.json) {
                Ok(words) => {
                    self.handle_to_core(index, node, words);
                    Next::Stay
                }
                Err(error) => {
                    let text = format!("a control frame that this version does not understand: {error}");
                    self.reject(conn, &Reject { code: RejectCode::Malformed, theirs: 0, ours: 0, text: &text });
                    Next::Close
                }
            },
            (_, _) => Next::Close,
        }
    }

    fn reject(&mut self, conn: ConnId, reject: &Reject<'_>) {
        tracing::warn!(code = ?reject.code, text = reject.text, "connection to the consistent core refused");
        if let Ok(buffer) = self.outbox.buffer(conn) {
            reject.encode(buffer.as_vec());
        }
    }

    // ---- ways out ----

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

impl Part {
    /// Takes part in the core.
    fn core(facts: &Facts, store: Store, founders: Founders) -> Self {
        let replication = facts.settings.replication();
        let settings = CoreSettings {
            me: facts.node,
            nodes: facts.settings.core_nodes().to_vec(),
            birth: facts.birth(),
            suspicion: replication.suspicion,
            patience: facts.patience(),
            // Elections of the core are over before anybody is suspected, however long that takes.
            tick: (replication.suspicion / 15).min(TICK_MAX),
        };
        let number = store.number();
        Self::Core(Box::new(Core::new(settings, store, clock::now())), CoreStore { number, founders })
    }
}

/// Returns the members of a group that are gone, if it cannot be led again without them.
fn missing(state: &State, group: GroupId) -> Vec<ReplicaId> {
    match state.hope(group) {
        Hope::Some => Vec::new(),
        Hope::Lost { missing } => missing,
    }
}

/// What becomes of a connection after a frame.
enum Next {
    Stay,
    Enter,
    Close,
}

impl Link {
    fn up(&self) -> Option<ConnId> {
        match self.state {
            LinkState::Up(conn, _) => Some(conn),
            LinkState::Down | LinkState::Dialled(..) => None,
        }
    }

    fn conn(&self) -> Option<ConnId> {
        match self.state {
            LinkState::Up(conn, _) | LinkState::Dialled(conn, _) => Some(conn),
            LinkState::Down => None,
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
            store: None,
            next_event: None,
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
        }
        self.visitors.retain(|visitor| visitor.conn != conn);
    }

    fn outbox(&mut self) -> &mut Outbox {
        &mut self.outbox
    }
}
