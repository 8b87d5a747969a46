//! Everything of a CPU but its engine: connections, requests under way, and the ways on which things leave.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use quorate_engine::engine::Engine;
use quorate_engine::ids::{CpuId, GroupId, NodeId, ReplicaId};
use quorate_engine::message::Message;
use quorate_engine::time::Instant;

use crate::clock;
use crate::node::Shared;
use crate::node::facts::Facts;
use crate::node::greeting::DoorKind;
use crate::node::members::Members;
use crate::transport::{Close, CloseReason, ConnId, ListenerId, Outbox, PeerAddr, TransportSettings};
use crate::wire::{self, About, FrameReader, Level, Publish, RefusalCode, RequestHead, Stage};

use super::directory::{Directory, Route};
use super::ending::{Ending, Failed};
use super::events::Watcher;
use super::links::{Link, RecordKind};
use super::native::{Native, Party};
use super::notes::Takeover;
use super::parked::Parked;
use super::peers::{Change, Peers};
use super::pubsub::Subscriptions;
use super::requests::{Effect, Executor, Key, Origin, Requests, Underway};
use super::resp::Resp;
use super::{EXECUTOR_GRACE, Task, bus};

/// One connection.
#[derive(Debug)]
pub(super) enum Conn {
    /// A client that speaks RESP.
    Resp(Box<Resp>),
    /// A client or node that speaks the native protocol.
    Native(Box<Native>),
}

/// All connections, by the place of their name.
#[derive(Debug, Default)]
pub(super) struct Conns {
    rows: Vec<Option<(ConnId, Conn)>>,
}

impl Conns {
    pub(super) fn insert(&mut self, id: ConnId, conn: Conn) {
        if self.rows.len() <= id.index() {
            self.rows.resize_with(id.index() + 1, || None);
        }
        self.rows[id.index()] = Some((id, conn));
    }

    pub(super) fn get(&self, id: ConnId) -> Option<&Conn> {
        match self.rows.get(id.index()) {
            Some(Some((named, conn))) if *named == id => Some(conn),
            Some(_) | None => None,
        }
    }

    pub(super) fn get_mut(&mut self, id: ConnId) -> Option<&mut Conn> {
        match self.rows.get_mut(id.index()) {
            Some(Some((named, conn))) if *named == id => Some(conn),
            Some(_) | None => None,
        }
    }

    pub(super) fn resp_mut(&mut self, id: ConnId) -> Option<&mut Resp> {
        match self.get_mut(id) {
            Some(Conn::Resp(resp)) => Some(resp),
            Some(Conn::Native(_)) | None => None,
        }
    }

    pub(super) fn native_mut(&mut self, id: ConnId) -> Option<&mut Native> {
        match self.get_mut(id) {
            Some(Conn::Native(native)) => Some(native),
            Some(Conn::Resp(_)) | None => None,
        }
    }

    fn remove(&mut self, id: ConnId) -> Option<Conn> {
        self.get(id)?;
        self.rows[id.index()].take().map(|(_, conn)| conn)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (ConnId, &mut Conn)> {
        self.rows.iter_mut().flatten().map(|(id, conn)| (*id, conn))
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Front {
    pub(super) id: CpuId,
    pub(super) facts: Arc<Facts>,
    pub(super) shared: Arc<Shared>,
    /// Which run of its node this is, once the core has registered it.
    pub(super) run: Option<ReplicaId>,
    /// Who belongs to the cluster, as far as the core has said.
    pub(super) members: Arc<Members>,
    pub(super) directory: Directory,
    pub(super) parked: Parked,
    /// Connections that are pushed events, and whether there are more for one of them.
    pub(super) watchers: Vec<Watcher>,
    pub(super) has_events_left: bool,
    /// Takeovers of this node that are under way.
    pub(super) takeovers: BTreeMap<GroupId, Takeover>,
    pub(super) outbox: Outbox,
    pub(super) conns: Conns,
    pub(super) peers: Peers,
    pub(super) requests: Requests,
    pub(super) subscriptions: Subscriptions,
    pub(super) doors: Vec<(ListenerId, DoorKind)>,
    pub(super) now: Instant,
    /// The wall clock when the bytes in hand were taken up, in nanoseconds since the Unix epoch.
    pub(super) wall_now_ns: u64,
    /// RESP connections that may go on with what they have received.
    pub(super) resume: Vec<ConnId>,
    pub(super) is_stopping: bool,
    links: Vec<Link>,
    /// Peers that take no more bytes for now, of which the engine must be told.
    pub(super) newly_busy: Vec<ReplicaId>,
    /// RESP connections that a pause holds back.
    pub(super) held_back: Vec<ConnId>,
    /// Queued bytes above which a connection counts as congested.
    pub(super) high_water: usize,
    /// Queued bytes above which a connection, and all of them together, take no large replies.
    reply_room: [usize; 2],
    /// Longest reply that is put together from the answers of many, in bytes.
    pub(super) reply_bytes_max: usize,
    /// What all RESP connections hold back, in bytes.
    pub(super) held_bytes: Rc<Cell<usize>>,
    /// Where sessions write.
    pub(super) reply: Vec<u8>,
    random: u64,
    /// How often clients of this node have been closed by others, as far as this CPU has looked.
    pub(super) kills_seen: u64,
    scratch: Vec<u8>,
    /// When the counters for other threads were brought up to date.
    counted_at: Instant,
}

/// How often the counters that others read are brought up to date.
const COUNTERS_EVERY: std::time::Duration = std::time::Duration::from_millis(20);

impl Front {
    pub(super) fn new(
        id: CpuId,
        facts: Arc<Facts>,
        shared: Arc<Shared>,
        links: Vec<Link>,
        transport: &TransportSettings,
    ) -> Self {
        // Requests elsewhere, and those here: the engine has a limit of its own on those that wait.
        let limit = facts.settings.limits().waiters_len_max.saturating_mul(2);
        let members = Arc::new(Members::configured(&facts));
        Self {
            id,
            peers: Peers::new(&facts, &members),
            members,
            directory: Directory::new(facts.placement.slots().group_count()),
            parked: Parked::default(),
            watchers: Vec::new(),
            has_events_left: false,
            takeovers: BTreeMap::new(),
            run: None,
            facts,
            shared,
            outbox: Outbox::new(transport),
            conns: Conns::default(),
            requests: Requests::new(limit),
            subscriptions: Subscriptions::default(),
            doors: Vec::new(),
            now: Instant(0),
            wall_now_ns: clock::wall_clock_ns(),
            resume: Vec::new(),
            is_stopping: false,
            links,
            newly_busy: Vec::new(),
            held_back: Vec::new(),
            reply: Vec::new(),
            random: u64::from(id.0) + 1,
            kills_seen: 0,
            high_water: transport.send_high_bytes,
            reply_room: [transport.send_bytes_max / 2, transport.send_total_bytes_max / 2],
            reply_bytes_max: transport.send_bytes_max,
            held_bytes: Rc::default(),
            scratch: Vec::new(),
            counted_at: Instant(0),
        }
    }

    // ---- connections ----

    pub(super) fn accept(&mut self, listener: ListenerId, conn: ConnId, peer: PeerAddr) {
        let door = self.doors.iter().find(|(known, _)| *known == listener).map(|(_, door)| *door);
        match door {
            _ if self.is_stopping => self.outbox.close(conn, Close::Now),
            Some(DoorKind::Resp) => self.accept_resp(conn, peer),
            Some(door @ (DoorKind::Native | DoorKind::Peer)) => {
                let reader = FrameReader::new(Stage::Greeting, self.facts.body_limits());
                let native = Native::new(reader, Party::Stranger { door });
                self.conns.insert(conn, Conn::Native(Box::new(native)));
            }
            Some(DoorKind::Control) | None => self.outbox.close(conn, Close::Now),
        }
    }

    /// Opens a connection to a CPU of another node.
    pub(super) fn dial(&mut self, node: NodeId, cpu: CpuId, now: Instant) {
        let Some(address) = self.members.peer_door(&self.facts, node, cpu) else {
            return self.peers.on_not_dialled(node, now);
        };
        match self.outbox.connect(address) {
            Ok(conn) => {
                let reader = FrameReader::new(Stage::Answering, self.facts.body_limits());
                self.conns.insert(conn, Conn::Native(Box::new(Native::new(reader, Party::Dialled { node }))));
                self.peers.on_dialling(node, cpu, conn);
            }
            Err(_) => self.peers.on_not_dialled(node, now),
        }
    }

    pub(super) fn on_ended(&mut self, conn: ConnId) {
        let has_replies_to_come = self.conns.resp_mut(conn).is_some_and(|resp| {
            resp.has_ended = true;
            !resp.replies.is_empty()
        });
        if !has_replies_to_come {
            self.outbox.close(conn, Close::AfterFlush);
        }
    }

    pub(super) fn on_closed(&mut self, conn: ConnId, reason: CloseReason) -> Change {
        match self.conns.remove(conn) {
            None => Change::None,
            Some(Conn::Resp(resp)) => {
                self.forget_client(conn, &resp);
                Change::None
            }
            Some(Conn::Native(native)) => match native.party {
                Party::Dialled { node } => {
                    tracing::debug!(node = node.0, %reason, "cannot reach node");
                    self.peers.on_failed(node, conn, self.now);
                    Change::None
                }
                Party::Peer { replica, .. } => {
                    tracing::debug!(node = replica.node.0, %reason, "connection closed");
                    self.peers.on_closed(replica.node, conn, self.now)
                }
                Party::Stranger { .. } | Party::Client => Change::None,
            },
        }
    }

    // ---- ways out ----

    pub(super) fn send_to_peer(&mut self, to: ReplicaId, about: About, message: &Message<'_>) {
        let Some(conn) = self.peers.conn_to(to, about.group) else { return };
        // A full buffer drops the message: the protocol repeats what matters.
        let Ok(buffer) = self.outbox.buffer(conn) else { return };
        wire::encode_message(buffer.as_vec(), about, message);
        if self.outbox.queued_bytes(conn) > self.high_water
            && let Some(native) = self.conns.native_mut(conn)
            && !native.is_congested
        {
            native.is_congested = true;
            self.newly_busy.push(to);
        }
    }

    /// Counts a command of a client.
    pub(super) fn count_command(&self) {
        let commands = &self.shared.counters(self.id).commands;
        // Only this thread writes it.
        commands.store(commands.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// Returns a number that nobody should rely on (splitmix64).
    pub(super) fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.random ^ self.now.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^ (bits >> 31)
    }

    /// Names a request; if there are too many, it is refused and `None` returned.
    pub(super) fn add_request(&mut self, underway: Underway) -> Option<Key> {
        let timeout = self.facts.settings.limits().request_timeout + EXECUTOR_GRACE;
        let key = self.requests.add(underway, self.now.saturating_add(timeout));
        if key.is_none() {
            self.finish(underway.origin, &Ending::Failed(overload("the table of requests under way")));
        }
        key
    }

    pub(super) fn pass_to_cpu(&mut self, origin: Origin, cpu: CpuId, kind: RecordKind, task: &Task<'_>) {
        let Task { group, effect, .. } = *task;
        let Some(key) = self.add_request(Underway { origin, executor: Executor::Cpu(cpu), effect, group }) else {
            return;
        };
        let mut scratch = core::mem::take(&mut self.scratch);
        bus::mark(&mut scratch, self.id);
        wire::encode_request_bytes(&mut scratch, about_of(task), &head_of(key, task, task.hops), task.command);
        let sent = self.link(cpu).try_send(kind, &scratch);
        self.scratch = scratch;
        if sent.is_err() {
            self.complete(key, &Ending::Failed(overload("the mailbox to the CPU that owns the group")));
        }
    }

    /// Whether this node holds a group, or may come to hold it: the core has not formed it yet.
    pub(super) fn may_hold(&self, group: GroupId) -> bool {
        self.directory.news(group).is_none() || self.holds(group)
    }

    /// Whether this node holds a group, or is to, as far as that is decided.
    pub(super) fn holds(&self, group: GroupId) -> bool {
        let Some(news) = self.directory.news(group) else { return false };
        let node = self.facts.node;
        let configs = [Some(&news.active), news.pending.as_ref().map(|change| &change.config)];
        configs.into_iter().flatten().any(|config| config.has_node(node))
            || news.learners.iter().any(|learner| learner.node == node)
    }

    /// Returns the connection to the leader of a group, if it can be reached.
    pub(super) fn way_to(&self, leader: NodeId, group: GroupId) -> Option<ConnId> {
        self.peers.conn_for(leader, group).filter(|conn| self.outbox.is_open(*conn))
    }

    /// Returns what to say of a request for a group whose leader cannot be reached, or that has none.
    pub(super) fn unreachable(&self, group: GroupId) -> Failed {
        let own = self.facts.node;
        let mut missing_count = 1;
        let text = match self.directory.route(group) {
            Route::Lost(missing) => {
                missing_count = missing.len() as u64;
                let names: Vec<String> =
                    missing.iter().map(|run| format!("{}.{}", run.node, run.incarnation)).collect();
                format!(
                    "UNAVAILABLE missing {}: these runs held group {group} and are gone with their memory; what they held \
                     alone is lost, and nothing else is served in its place; `quorate core accept-loss {group}` has the group go \
                     on without it",
                    names.join(" ")
                )
            }
            Route::Unformed if self.run.is_none() => format!(
                "UNAVAILABLE node {own} has not been registered: fewer than a majority of the consistent core can be reached; \
                 see `quorate status`"
            ),
            Route::Unformed => format!(
                "UNAVAILABLE group {group} has not been formed: that takes all nodes the cluster begins with, and, where the \
                 consistent core was restored, `quorate core accept-loss {group}`; see `quorate status`"
            ),
            Route::Led(leader) if leader == own => {
                format!(
                    "UNAVAILABLE missing {own}: node {own} leads group {group} no more, and nobody has taken over yet"
                )
            }
            Route::Led(leader) => format!(
                "UNAVAILABLE missing {leader}: node {leader} leads group {group} and is not connected to node {own}, and \
                 nobody has taken over; see `quorate status`"
            ),
        };
        Failed::never(RefusalCode::Unavailable, [missing_count, 0], text)
    }

    /// Has a request wait for somebody who leads its group, until `deadline`; refuses it if there is no room.
    pub(super) fn park(&mut self, origin: Origin, task: &Task<'_>, deadline: Instant) {
        if !self.parked.push(origin, task, deadline) {
            let failed = self.unreachable(task.group);
            self.finish(origin, &Ending::Failed(failed));
        }
    }

    /// Handles the answer of a node that it does not lead a group any more: the request never happened, and waits for
    /// whoever leads now. Not if its connection has sent others behind it, which may have been executed by now.
    pub(super) fn retry(&mut self, key: Key, ending: &Ending<'_>) {
        let Some((underway, kept)) = self.requests.take_kept(key) else { return };
        let is_alone = match underway.origin {
            Origin::Resp { conn, .. } => self.conns.resp_mut(conn).is_some_and(|resp| resp.replies.len() == 1),
            // They try again by themselves, or do not say what else is under way.
            Origin::Native { .. } | Origin::Cpu { .. } => false,
        };
        match kept.filter(|_| is_alone) {
            Some(kept) if kept.deadline > self.now => {
                self.park(underway.origin, &kept.task(&underway), kept.deadline);
            }
            Some(_) | None => self.finish_underway(&underway, ending),
        }
    }

    pub(super) fn pass_to_node(
        &mut self,
        origin: Origin,
        (node, conn): (NodeId, ConnId),
        task: &Task<'_>,
        deadline: Instant,
    ) {
        let Task { group, effect, .. } = *task;
        let Some(key) = self.add_request(Underway { origin, executor: Executor::Node(node), effect, group }) else {
            return;
        };
        self.requests.keep(key, task, deadline);
        match self.outbox.buffer(conn) {
            Ok(buffer) => {
                let head = head_of(key, task, task.hops + 1);
                wire::encode_request_bytes(buffer.as_vec(), about_of(task), &head, task.command);
            }
            Err(_) => self.complete(key, &Ending::Failed(overload("the connection to the leader"))),
        }
    }

    /// Ends the request that `key` names.
    pub(super) fn complete(&mut self, key: Key, ending: &Ending<'_>) {
        if let Some(underway) = self.requests.take(key) {
            self.finish_underway(&underway, ending);
        }
    }

    /// Brings the ending of a request to whoever asked, a large one only while there is room for it: requests are small,
    /// so many are taken before it is known how much they ask for. What else a connection carries goes on in any case,
    /// which between two nodes is the log.
    pub(super) fn finish_underway(&mut self, underway: &Underway, ending: &Ending<'_>) {
        let is_large = matches!(ending, Ending::Done { answer, .. } if answer.len() > REPLY_SMALL_BYTES);
        if is_large && self.is_crowded(underway.origin) {
            let failed = match underway.effect {
                Effect::None => Failed::never(
                    RefusalCode::Overload,
                    [1000, 0],
                    "OVERLOAD 1000 retry after so many microseconds, or ask for less at a time: replies to whoever asked wait \
                     to be read",
                ),
                Effect::Write => Failed::unknown(
                    RefusalCode::Overload,
                    "UNKNOWN the write has taken effect, but there was no room for its answer behind those not read yet",
                ),
            };
            return self.finish(underway.origin, &Ending::Failed(failed));
        }
        self.finish(underway.origin, ending);
    }

    /// Whether so much waits to be sent to whoever asked, or to all of them, that the rest is for small things. What the same
    /// request has been answered already has a limit of its own.
    fn is_crowded(&mut self, origin: Origin) -> bool {
        let [each, all] = self.reply_room;
        let (conn, held) = match origin {
            Origin::Resp { conn, place, .. } => {
                (conn, self.conns.resp_mut(conn).map_or(0, |resp| resp.replies.held_beside(place)))
            }
            Origin::Native { conn, .. } => (conn, 0),
            Origin::Cpu { cpu, .. } => return self.link(cpu).large_bytes() > all,
        };
        let total = self.outbox.queued_bytes_total() + self.held_bytes.get();
        self.outbox.queued_bytes(conn) + held > each || total > all
    }

    /// Brings an ending to whoever asked.
    pub(super) fn finish(&mut self, origin: Origin, ending: &Ending<'_>) {
        match origin {
            Origin::Resp { conn, place, part } => self.finish_resp(conn, place, part, ending),
            Origin::Native { conn, number } => self.send_frame(conn, |out| ending.encode(number, out)),
            Origin::Cpu { cpu, key } => {
                let mut scratch = core::mem::take(&mut self.scratch);
                bus::mark(&mut scratch, self.id);
                ending.encode(key, &mut scratch);
                self.link(cpu).send(RecordKind::Frame, &scratch);
                self.scratch = scratch;
            }
        }
    }

    /// Appends a frame to what is sent to a connection; one that does not read is closed when its buffer is full.
    pub(super) fn send_frame(&mut self, conn: ConnId, encode: impl FnOnce(&mut Vec<u8>)) {
        match self.outbox.buffer(conn) {
            Ok(buffer) => encode(buffer.as_vec()),
            Err(_) => self.outbox.close(conn, Close::Now),
        }
        if self.outbox.queued_bytes(conn) > self.high_water
            && let Some(native) = self.conns.native_mut(conn)
            && !native.is_congested
            // Two nodes that owe each other much and did not read would wait for each other for ever.
            && native.peer().is_none()
        {
            // Whoever asks faster than it reads is not read from for a while.
            native.is_congested = true;
            self.outbox.pause_reading(conn);
        }
    }

    /// Gives up on everything that `executor` was to execute.
    pub(super) fn lose_executor(&mut self, executor: Executor) {
        for key in self.requests.keys_of(executor) {
            if let Some(underway) = self.requests.take(key) {
                let failed = self.gave_up(&underway);
                self.finish(underway.origin, &Ending::Failed(failed));
            }
        }
    }

    /// Returns what to say of a request whose executor does not answer.
    pub(super) fn gave_up(&self, underway: &Underway) -> Failed {
        let group = underway.group;
        let leader = match (underway.executor, underway.effect) {
            (Executor::Node(node), _) => node,
            (Executor::Here | Executor::Cpu(_), _) => self.facts.node,
            (Executor::Core, Effect::None) => {
                let text = "UNAVAILABLE the consistent core did not answer: fewer than a majority of its nodes can be reached from \
                            here; see `quorate status`";
                return Failed::never(RefusalCode::Unavailable, [0; 2], text);
            }
            (Executor::Core, Effect::Write) => {
                let text = "UNKNOWN the consistent core did not answer: fewer than a majority of its nodes can be reached from here; \
                            what was asked may have been done, or be done later; look, and ask again";
                return Failed::unknown(RefusalCode::Timeout, text);
            }
        };
        match underway.effect {
            Effect::None => Failed::never(
                RefusalCode::Unavailable,
                [1, 0],
                format!("UNAVAILABLE missing {leader}: node {leader}, which led group {group}, did not answer"),
            ),
            Effect::Write => Failed::unknown(
                RefusalCode::LeaderLost,
                format!(
                    "UNKNOWN node {leader}, which led group {group}, did not answer; the write may have taken effect"
                ),
            ),
        }
    }

    // ---- other CPUs ----

    fn link(&mut self, cpu: CpuId) -> &mut Link {
        self.links.iter_mut().find(|link| link.cpu == cpu).expect("every CPU has a link to every other")
    }

    pub(super) fn receive_records(&mut self, into: &mut Vec<(RecordKind, Vec<u8>)>, spare: &mut Vec<Vec<u8>>) {
        for link in &mut self.links {
            link.receive(into, spare);
        }
    }

    pub(super) fn has_records(&mut self) -> bool {
        self.links.iter_mut().any(|link| link.has_incoming() || link.has_backlog())
    }

    /// Sends a request without a group to another CPU.
    pub(super) fn ask_cpu(&mut self, origin: Origin, cpu: CpuId, question: &[u8]) {
        let task = Task {
            group: quorate_engine::ids::GroupId(0),
            slot: quorate_engine::ids::Slot(0),
            command: question,
            level: quorate_engine::Level::Commit,
            after: quorate_engine::ids::LogIndex(0),
            hops: 0,
            effect: Effect::None,
        };
        self.pass_to_cpu(origin, cpu, RecordKind::Status, &task);
    }

    /// Returns the other CPUs of this node.
    pub(super) fn other_cpus(&self) -> Vec<CpuId> {
        self.links.iter().map(|link| link.cpu).collect()
    }

    /// Sends a published message to the other CPUs, and to the other nodes unless it comes from one.
    pub(super) fn spread(&mut self, publish: &Publish<'_>, to_nodes: bool) {
        let mut scratch = core::mem::take(&mut self.scratch);
        bus::mark(&mut scratch, self.id);
        publish.encode(&mut scratch);
        for link in &mut self.links {
            // At most once: what finds no room is dropped.
            let _ = link.try_send(RecordKind::Frame, &scratch);
        }
        if to_nodes {
            let (_, frame) = bus::sender(&scratch);
            for conn in self.peers.one_each() {
                let _ = self.outbox.send(conn, frame);
            }
        }
        self.scratch = scratch;
    }

    // ---- the end of a turn ----

    pub(super) fn end_turn(&mut self) {
        for link in &mut self.links {
            link.flush(self.id);
        }
    }

    pub(super) fn all_flushed(&mut self) -> bool {
        let outbox = &self.outbox;
        let ids: Vec<ConnId> = self.conns.iter_mut().map(|(id, _)| id).collect();
        ids.into_iter().all(|id| outbox.queued_bytes(id) == 0)
    }

    /// Counts a turn: a CPU that does not turn leads nothing.
    pub(super) fn count_turn(&self) {
        let turns = &self.shared.counters(self.id).turns;
        // Only this thread writes it.
        turns.store(turns.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// Brings what other threads read of this CPU up to date, now and then; returns whether it was time.
    pub(super) fn publish_counters(&mut self, engine: &Engine, now: Instant) -> bool {
        if now < self.counted_at.saturating_add(COUNTERS_EVERY) {
            return false;
        }
        self.counted_at = now;
        let counters = self.shared.counters(self.id);
        counters.used_bytes.store(engine.used_bytes() as u64, Ordering::Relaxed);
        counters.under_way.store(self.requests.len() as u64, Ordering::Relaxed);
        let keys: usize = engine.key_count();
        counters.keys.store(keys as u64, Ordering::Relaxed);
        true
    }

    /// Closes the clients of this CPU that someone wanted closed.
    pub(super) fn obey_kills(&mut self) {
        let count = self.shared.kill_count.load(Ordering::Acquire);
        if count == self.kills_seen {
            return;
        }
        self.kills_seen = count;
        let ids: Vec<ConnId> = self.conns.iter_mut().map(|(id, _)| id).collect();
        let mut kills = self.shared.kills.lock();
        for conn in ids {
            let number = self.client_number(conn);
            if let Some(position) = kills.iter().position(|id| *id == number) {
                kills.swap_remove(position);
                self.outbox.close(conn, Close::Now);
            }
        }
    }

    /// Lets the connections go on that a pause has held back, if it is over.
    pub(super) fn release_held_back(&mut self) {
        if !self.held_back.is_empty() && !self.shared.pause_holds(true, clock::wall_clock_ns() / 1000) {
            let mut held_back = core::mem::take(&mut self.held_back);
            self.resume.append(&mut held_back);
        }
    }

    /// Wakes the other CPUs of this node.
    pub(super) fn wake_others(&self) {
        self.links.iter().for_each(Link::wake);
    }

    /// Returns the number of a client, unique within the node.
    pub(super) fn client_number(&self, conn: ConnId) -> u64 {
        conn.to_u64() * u64::from(self.facts.cpu_count) + u64::from(self.id.0) + 1
    }
}

/// Answers up to this size are always passed on.
const REPLY_SMALL_BYTES: usize = 4096;

fn overload(what: &str) -> Failed {
    Failed::never(
        RefusalCode::Overload,
        [1000, 0],
        format!("OVERLOAD 1000 retry after so many microseconds: {what} is full"),
    )
}

fn about_of(task: &Task<'_>) -> About {
    About { group: task.group, epoch: quorate_engine::ids::Epoch(0) }
}

fn head_of(key: Key, task: &Task<'_>, hops: u8) -> RequestHead {
    let level = match task.level {
        quorate_engine::Level::Accepted => Level::Accepted,
        quorate_engine::Level::Commit => Level::Commit,
    };
    RequestHead { number: key.0, level, hops, timeout_us: 0, read_after: task.after }
}
