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

use quorate_engine::control::core::{Core, CoreInput, CoreOutput, CoreSettings, Era, EraStore as _};
use quorate_engine::control::detector::Heartbeat;
use quorate_engine::control::journal::Recorded;
use quorate_engine::control::operation::{Operation, Outcome};
use quorate_engine::control::record::News;
use quorate_engine::control::state::{Hope, State};
use quorate_engine::ids::{CpuId, GroupId, Incarnation, NodeId, ReplicaId};
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

use exchange::{CorePart, GroupNews, Wanted};
use meeting::{Meeting, Met};
use store::{Store, Use};
use words::{FromCore, Standing, ToCore, encode};

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
    Meeting(Box<Store>, Box<Meeting>),
    /// It has lost what it knew of it, and waits to be taken back.
    Joining(Box<Store>),
    /// It belongs to it, with the store of this number.
    Core(Box<Core<Store>>, u64),
}

/// The way to another node of the core.
#[derive(Debug)]
struct Link {
    node: NodeId,
    state: LinkState,
    retry_at: Instant,
    /// Whether it has been said that this node is not let in: once is enough.
    is_refusal_said: bool,
    /// The number of the last store of its node of which was said that the core does not know it.
    stranger_said: Option<u64>,
    /// Whether it has been said that another process of this node is heard there.
    is_occupied_said: bool,
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
    /// The first event it was not told, once it wants to be told any.
    next_event: Option<u64>,
    /// Which run of its node it was when it came; 0 if it had no name yet.
    incarnation: Incarnation,
    /// Its store, if it is a node of the core and has said so.
    shown: Option<Standing>,
    /// Whether another process of its node is heard, so that nothing it says counts.
    is_rival: bool,
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
        let link = |node: &NodeId| Link {
            node: *node,
            state: LinkState::Down,
            retry_at: Instant(0),
            is_refusal_said: false,
            stranger_said: None,
            is_occupied_said: false,
        };
        let part = store.map_or(Part::None, |store| Part::new(&facts, store));
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
        self.shared.exchange.set_core_part(self.part.shown());
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

    /// Says something to one node of the core, if it is connected.
    fn say_to(&mut self, node: NodeId, words: &ToCore) {
        if let Some(conn) = self.links.iter().find(|link| link.node == node).and_then(Link::up) {
            self.send(conn, words);
        }
    }

    // ---- the core here ----

    fn core(&self) -> Option<&Core<Store>> {
        match &self.part {
            Part::Core(core, _) => Some(core),
            Part::None | Part::Meeting(..) | Part::Joining(_) => None,
        }
    }

    /// Returns what this node shows to other nodes of the core.
    fn standing(&self) -> Option<Standing> {
        match &self.part {
            Part::None => None,
            Part::Meeting(store, _) => Some(Standing { number: store.number(), era: 0, is_founding: true }),
            Part::Joining(store) => Some(Standing { number: store.number(), era: 0, is_founding: false }),
            Part::Core(core, number) => Some(Standing { number: *number, era: core.era().number, is_founding: false }),
        }
    }

    /// Hears which store another node of the core has.
    fn hear_standing(&mut self, node: NodeId, standing: Standing) {
        let Some(link) = self.links.iter_mut().find(|link| link.node == node) else { return };
        let Standing { number, era, is_founding } = standing;
        match &mut self.part {
            Part::None | Part::Joining(_) => {}
            // Who is in an era shows it, and counts when it has.
            Part::Meeting(_, meeting) if era == 0 && is_founding => {
                meeting.hear(node, number);
                self.end_meeting();
            }
            Part::Meeting(_, meeting) => {
                meeting.forget(node);
                if era == 0 && link.stranger_said.replace(number) != Some(number) {
                    tracing::warn!(
                        node = node.0,
                        "this node of the consistent core was started without --create and has nothing of a cluster; if the \
                         cluster is new, start it again with --create"
                    );
                }
            }
            Part::Core(core, _) => {
                let is_named = core.era().names(node, number);
                let said = core::mem::replace(&mut link.stranger_said, (!is_named).then_some(number));
                if !is_named && said != Some(number) {
                    tracing::error!(
                        node = node.0,
                        "this node of the consistent core has another store than the core knows: it has lost its disk, and \
                         does not vote until `quorate core replace {node} --connect HOST:PORT` takes it back"
                    );
                    self.say_if_majority_is_lost();
                }
                self.input(CoreInput::Standing { from: node, store: number, era });
            }
        }
    }

    /// Says so if so many nodes of the core have lost their disks that none can be taken back.
    fn say_if_majority_is_lost(&self) {
        let lost = self.links.iter().filter(|link| link.stranger_said.is_some());
        let lost: Vec<u16> = lost.map(|link| link.node.0).collect();
        let node_count = self.facts.settings.core_nodes().len();
        if 2 * (node_count - lost.len()) <= node_count {
            tracing::error!(
                ?lost,
                "a majority of the nodes of the consistent core has lost its disk: what they had decided is known to nobody, so \
                 nothing can be decided any more, and none of them can be taken back; what is led goes on; stop these nodes, and \
                 start them with the disks that they had"
            );
        }
    }

    /// Hears which store a visitor has. What it may have said over an earlier connection is lost.
    fn hear_visitor(&mut self, index: usize, node: NodeId, standing: Standing) {
        if !self.is_other_core_node(node) {
            return;
        }
        self.visitors[index].shown = Some(standing);
        let conn = self.visitors[index].conn;
        if self.is_rival(index) {
            // It ends the connection itself: if this end did, what it is sending would make it lose these words.
            self.visitors[index].is_rival = true;
            return self.send(conn, &FromCore::Occupied);
        }
        if let Some(own) = self.standing() {
            self.send(conn, &FromCore::Store(own));
        }
        // It may not be the process that is found at the address of its node, so it is shown here what it is to know.
        if let Some(era) = self.core().map(Core::era).filter(|era| standing.era < era.number).cloned() {
            self.send(conn, &FromCore::Era(Box::new(era)));
        }
        self.input(CoreInput::Connected(node));
        self.hear_standing(node, standing);
    }

    fn is_other_core_node(&self, node: NodeId) -> bool {
        self.links.iter().any(|link| link.node == node)
    }

    /// Whether a visitor has a store that the core does not know, while another process of its node is heard: somebody has
    /// started a second one, or the first one has ended just now.
    fn is_rival(&self, index: usize) -> bool {
        let Part::Core(core, _) = &self.part else { return false };
        let Visitor { node: Some(node), incarnation, shown: Some(shown), .. } = self.visitors[index] else {
            return false;
        };
        let current = core.state().and_then(|state| state.current(node));
        let is_current = current.is_some_and(|current| current.incarnation == incarnation);
        // One that is to create a cluster hears that there is one, and ends.
        let is_stranger = !core.era().names(node, shown.number) && !shown.is_founding;
        is_stranger && !is_current && core.is_heard(node, self.now)
    }

    /// Hears in which era of the core another of its nodes is.
    fn hear_era(&mut self, node: NodeId, era: Box<Era>) {
        if !self.is_other_core_node(node) {
            return;
        }
        match &mut self.part {
            Part::None => {}
            Part::Meeting(_, meeting) => {
                meeting.hear_era(node, era);
                self.end_meeting();
            }
            Part::Joining(store) if era.names(self.facts.node, store.number()) => {
                let store = (**store).clone();
                self.take_part(store, &era);
            }
            Part::Joining(_) => {}
            Part::Core(..) => self.input(CoreInput::Era { from: node, era }),
        }
    }

    /// Ends the meeting, if it has come to something.
    fn end_meeting(&mut self) {
        let Part::Meeting(store, meeting) = &self.part else { return };
        let mut store = (**store).clone();
        match meeting.outcome() {
            Met::Waiting => {}
            Met::Excluded => {
                // When it is started the next time, it knows.
                store.set_usage(Use::Join);
                tracing::error!(
                    node = self.facts.node.0,
                    "the consistent core began with another store of this node, which is lost: this one has promised nothing, \
                     so it must not vote; the node stops; start it without --create, and it says how it is taken back"
                );
                std::process::exit(1);
            }
            Met::Agreed(era) => {
                tracing::info!(node = self.facts.node.0, "all nodes of the consistent core have met");
                self.take_part(store, &era);
            }
        }
    }

    /// Takes part in the core, in an era that names the store here.
    fn take_part(&mut self, mut store: Store, era: &Era) {
        store.begin_era(era);
        tracing::info!(node = self.facts.node.0, era = era.number, "takes part in the consistent core");
        self.part = Part::core(&self.facts, store, era.clone());
        // What was said before is lost, and both ends go by that.
        if let Some(standing) = self.standing() {
            self.say_to_core(&ToCore::Store(standing));
        }
        let others: Vec<NodeId> = self.links.iter().map(|link| link.node).collect();
        others.into_iter().for_each(|node| self.input(CoreInput::Connected(node)));
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
                CoreOutput::Send { to, era, message } => self.say_to(to, &ToCore::Consensus { era, message }),
                CoreOutput::ShowEra { to, era } => self.say_to(to, &ToCore::Era(era)),
                CoreOutput::Replaced => self.end_replaced(),
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

    fn end_replaced(&self) -> ! {
        tracing::error!(
            node = self.facts.node.0,
            "another store has taken the place of this one in the consistent core, and what this one says counts for nothing any \
             more: the node stops; to take it back as it is now, empty its node.data_dir and start it without --create"
        );
        std::process::exit(1);
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

    /// Leaves a node of the core alone for a while that hears another process of this node. It closes the connection.
    fn hear_occupied(&mut self, by: NodeId) {
        let suspicion = self.facts.settings.replication().suspicion;
        let Some(link) = self.links.iter_mut().find(|link| link.node == by) else { return };
        link.retry_at = self.now.saturating_add(2 * suspicion);
        if !core::mem::replace(&mut link.is_occupied_said, true) {
            tracing::warn!(
                node = self.facts.node.0,
                by = by.0,
                "the consistent core hears another process of this node, and this one has an empty node.data_dir: it waits until \
                 the other one has ended"
            );
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
            ToCore::Register { .. } if self.is_rival(index) => {}
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
            ToCore::Store(standing) => self.hear_visitor(index, from, standing),
            ToCore::Era(era) => self.hear_era(from, era),
            ToCore::Consensus { era, message } => self.input(CoreInput::Message { from, era, message }),
            ToCore::Heartbeat(_) | ToCore::Ask { .. } | ToCore::Operate { .. } => {
                tracing::warn!(node = from.0, "a node speaks for another one; dropped");
            }
        }
    }

    fn handle_from_core(&mut self, from: NodeId, words: FromCore) {
        match words {
            FromCore::Store(standing) => self.hear_standing(from, standing),
            FromCore::Era(era) => self.hear_era(from, era),
            FromCore::Occupied => self.hear_occupied(from),
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
                if let Some(standing) = self.standing() {
                    self.send(conn, &ToCore::Store(standing));
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
                    let is_unwanted = matches!(words, FromCore::Occupied);
                    self.handle_from_core(node, words);
                    if is_unwanted { Next::Close } else { Next::Stay }
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
        let Visitor { conn, node, is_rival, is_over, .. } = self.visitors[index];
        match (frame.body, node) {
            _ if is_over => Next::Close,
            _ if is_rival => Next::Stay,
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
                let visitor = &mut self.visitors[index];
                (visitor.node, visitor.incarnation) = (Some(hello.node), hello.incarnation);
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
    /// Goes on with what is in the store.
    fn new(facts: &Facts, store: Store) -> Self {
        match (store.era(), store.usage()) {
            (Some(era), _) => Self::core(facts, store, era),
            (None, Use::Found) => {
                let meeting = Meeting::new((facts.node, store.number()), facts.settings.core_nodes());
                Self::Meeting(Box::new(store), Box::new(meeting))
            }
            (None, Use::Join) => {
                tracing::warn!(
                    node = facts.node.0,
                    "this node belongs to the consistent core and has nothing of what that has agreed on: it works, and does not \
                     vote; if it has lost its disk, `quorate core replace {} --connect HOST:PORT` takes it back; if the cluster \
                     is new, start it again with --create",
                    facts.node
                );
                Self::Joining(Box::new(store))
            }
        }
    }

    /// Returns what there is to say of it.
    fn shown(&self) -> CorePart {
        match self {
            Self::None => CorePart::None,
            Self::Meeting(..) => CorePart::Meeting,
            Self::Joining(_) => CorePart::Joining,
            Self::Core(core, _) => CorePart::Voting(core.era().number),
        }
    }

    /// Takes part in the core.
    fn core(facts: &Facts, store: Store, era: Era) -> Self {
        let replication = facts.settings.replication();
        let settings = CoreSettings {
            me: facts.node,
            nodes: facts.settings.core_nodes().to_vec(),
            era,
            birth: facts.birth(),
            suspicion: replication.suspicion,
            patience: facts.patience(),
            // Elections of the core are over before anybody is suspected, however long that takes.
            tick: (replication.suspicion / 15).min(TICK_MAX),
        };
        let number = store.number();
        Self::Core(Box::new(Core::new(settings, store, clock::now())), number)
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
        }
        self.visitors.retain(|visitor| visitor.conn != conn);
    }

    fn outbox(&mut self) -> &mut Outbox {
        &mut self.outbox
    }
}
