//! One CPU of a node: a thread and all it owns. Groups, connections, the transport, the way to the other CPUs.
//!
//! ```text
//!   clients ─┐                        ┌─ engine: the groups that live here
//!   nodes ───┼─▶ transport ─▶ Cpu ────┤
//!   CPUs ────┘   (links)              └─ front: who asked, who gets the answer, what leaves
//! ```
//!
//! A request comes over a connection, is turned into an engine command, and is executed by the engine of this CPU, by
//! another CPU of this node, or by the node that leads the group: one hop. Its answer comes back under the key it was
//! sent with, and leaves over the connection it came from. What one receive sets off is done before the next one, down to
//! the buffers that the transport sends; the two halves, [`Engine`] and [`Front`], are apart only so that outputs can be
//! performed while the engine is borrowed.
//!
//! # Time and units
//! One reading of the clock serves all that one fetch from the kernel brought; it is taken after the fetch. The end of the
//! turn takes another one.
//!
//! # Threads
//! Single owner. Other CPUs reach it through its links and its bell only.

mod bus;
mod census;
mod cluster;
mod core_status;
mod directory;
mod ending;
mod events;
mod front;
mod info;
mod links;
mod log_read;
mod meta;
mod native;
mod notes;
mod operations;
mod parked;
mod peers;
mod pubsub;
mod replies;
mod requests;
mod resp;
mod server;
mod status;
mod subscribe;
mod view;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use quorate_engine::control::record::Ask;
use quorate_engine::engine::{Engine, Input};
use quorate_engine::ids::{CpuId, GroupId, Incarnation, LogIndex, NodeId, ReplicaId, Slot};
use quorate_engine::machine::answer::AnswerSink;
use quorate_engine::machine::command::{Command, Flags, resolve_absolute};
use quorate_engine::output::{Output, Token};
use quorate_engine::slots::slot_of;
use quorate_engine::time::Instant;
use quorate_engine::{Level, Request as EngineRequest};

use crate::clock;
use crate::node::Shared;
use crate::node::facts::Facts;
use crate::node::greeting::DoorKind;
use crate::node::members::Members;
use crate::resp::plan::Parts;
use crate::transport::{Close, CloseReason, ConnId, Handler, ListenerId, Outbox, PeerAddr, TransportSettings};
use crate::wire::{self, About, RefusalCode, RequestHead};

use directory::Route;
use ending::{Ending, Failed};
use front::{Conn, Front};
use links::RecordKind;
use peers::Change;
use requests::{Effect, Executor, Origin, Underway};

pub(crate) use census::{Census, GroupCensus, Lead};
pub(crate) use links::{Bell, Link};
pub(crate) use pubsub::Channels;
pub(crate) use requests::Key;

/// How much longer than the leader a node waits for the answer of another one before it gives up.
const EXECUTOR_GRACE: std::time::Duration = std::time::Duration::from_secs(1);

/// How often a CPU looks for nodes to dial, requests that took too long, and clients to be closed or let go on.
const CHORES_EVERY: std::time::Duration = std::time::Duration::from_millis(1);

/// See the module.
pub(crate) struct Cpu {
    engine: Engine,
    front: Front,
    /// Commands that must be changed before they are appended.
    scratch: Vec<u8>,
    /// Engine commands of the request that is being handled.
    parts: Parts,
    /// Records taken from other CPUs, and buffers to take the next ones into.
    records: Vec<(RecordKind, Vec<u8>)>,
    spare: Vec<Vec<u8>>,
    /// When to look again at what can wait a little.
    chores_at: Instant,
}

/// What to execute, and how.
#[derive(Clone, Copy, Debug)]
struct Task<'a> {
    group: GroupId,
    slot: Slot,
    command: &'a [u8],
    level: Level,
    after: LogIndex,
    hops: u8,
    effect: Effect,
}

/// Who executes a request.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// The engine of this CPU.
    Here,
    /// Another node, over this connection.
    Node(NodeId, ConnId),
}

impl Cpu {
    pub(crate) fn new(
        id: CpuId,
        facts: Arc<Facts>,
        shared: Arc<Shared>,
        links: Vec<Link>,
        transport: &TransportSettings,
    ) -> Self {
        // The core says which run this is.
        let me = ReplicaId { node: facts.node, incarnation: Incarnation(0) };
        let engine = Engine::new(facts.engine.clone(), me, facts.groups_on(id));
        let front = Front::new(id, facts, shared, links, transport);
        Self {
            engine,
            front,
            scratch: Vec::new(),
            parts: Parts::default(),
            records: Vec::new(),
            spare: Vec::new(),
            chores_at: Instant(0),
        }
    }

    /// Notes which door a listener is.
    pub(crate) fn add_door(&mut self, listener: ListenerId, door: DoorKind) {
        self.front.doors.push((listener, door));
    }

    /// Does what is to be done after a turn of the transport: messages of other CPUs, the engine's batched sends, new
    /// connections to peers, requests that took too long. Returns whether there was anything to do.
    pub(crate) fn end_turn(&mut self) -> bool {
        self.front.count_turn();
        let mut has_worked = self.receive_records();
        has_worked |= self.resume_clients();
        self.front.now = clock::now();
        let now = self.front.now;
        if self.front.shared.exchange.has_mail(self.front.id) {
            has_worked = true;
            self.receive_mail();
        }
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let has_work = self.engine.has_work() || is_due(self.engine.alarm_at());
        if has_work || is_due(self.engine.wake_at()) {
            has_worked |= has_work;
            for output in self.engine.end_turn(now) {
                self.front.perform(output);
            }
        }
        // What was answered just now may let a connection go on.
        has_worked |= self.resume_clients();
        for peer in core::mem::take(&mut self.front.newly_busy) {
            for output in self.engine.handle(now, Input::PeerBusy(peer)) {
                self.front.perform(output);
            }
        }
        if now >= self.chores_at {
            self.chores_at = now.saturating_add(CHORES_EVERY);
            self.do_chores(now);
        }
        self.front.end_turn();
        has_worked
    }

    /// Returns when the next turn must come, if nothing happens; `None` if something is waiting already.
    pub(crate) fn park_until(&mut self) -> Option<Option<Instant>> {
        let has_mail = self.front.shared.exchange.has_mail(self.front.id);
        if has_mail || self.engine.has_work() || !self.front.outbox.is_idle() || self.front.has_records() {
            return None;
        }
        let next = [
            self.engine.wake_at(),
            self.front.requests.next_deadline(),
            self.front.parked.next_deadline(),
            self.front.has_events_left.then_some(self.chores_at),
            self.front.run.and_then(|_| self.front.peers.next_dial(&self.front.facts, self.front.id)),
        ];
        Some(next.into_iter().flatten().min())
    }

    /// Whether nothing is under way any more, so that the thread may end.
    pub(crate) fn is_finished(&mut self) -> bool {
        let is_idle = self.front.requests.len() == 0 && self.front.parked.is_empty() && !self.engine.has_waiters();
        // Followers are told what was committed last: nobody will be there to tell them later.
        is_idle && !self.engine.owes_notices() && self.front.all_flushed()
    }

    /// Refuses new work from now on.
    pub(crate) fn stop_accepting(&mut self) {
        self.front.is_stopping = true;
    }

    pub(crate) fn facts(&self) -> &Arc<Facts> {
        &self.front.facts
    }

    fn do_chores(&mut self, now: Instant) {
        if self.front.run.is_some() {
            for (node, cpu) in self.front.peers.to_dial(&self.front.facts, self.front.id, now) {
                self.front.dial(node, cpu, now);
            }
        }
        if self.front.has_events_left {
            self.front.push_events();
        }
        self.retry_parked();
        while let Some((_, underway)) = self.front.requests.take_late(now) {
            let failed = self.front.gave_up(&underway);
            self.front.finish(underway.origin, &Ending::Failed(failed));
        }
        if self.front.publish_counters(&self.engine, now) {
            let unled = self.engine.unled(now).collect();
            self.front.shared.exchange.set_unled(self.front.id, unled);
        }
        self.front.obey_kills();
        self.front.release_held_back();
    }

    // ---- execution ----

    /// Has a command executed wherever its group is led; the answer comes to `origin`.
    fn execute(&mut self, origin: Origin, task: &Task<'_>) {
        let home = self.front.facts.home_of(task.group);
        if home != self.front.id {
            return self.front.pass_to_cpu(origin, home, RecordKind::Frame, task);
        }
        // What another node has passed on goes back to it if this one leads no more: it waits there for who does.
        let is_meant = task.hops == 0 || self.engine.leads(task.group);
        if let Some(refusal) = self.engine.check_sound(task.group).err().filter(|_| is_meant) {
            return self.front.finish(origin, &Ending::Failed((&refusal).into()));
        }
        let Route::Led(leader) = self.front.directory.route(task.group) else {
            let failed = self.front.unreachable(task.group);
            return self.front.finish(origin, &Ending::Failed(failed));
        };
        // What waits for the same group came first; what another node has passed on has no place in that line.
        let is_next = task.hops > 0 || !self.front.parked.has(task.group);
        let deadline = self.front.now.saturating_add(self.front.facts.settings.limits().request_timeout);
        let way = self.way_to(leader, task.group).filter(|way| match way {
            Way::Here => true,
            // One hop, and no more.
            Way::Node(..) => task.hops == 0,
        });
        if let Some(way) = way.filter(|_| is_next) {
            return self.execute_over(way, origin, task, deadline);
        }
        if task.hops > 0 {
            let text = format!("NOTLEADER node {leader} leads group {}", task.group);
            let failed = Failed::never(RefusalCode::NotLeader, [u64::from(leader.0), 0], text);
            return self.front.finish(origin, &Ending::Failed(failed));
        }
        self.front.park(origin, task, deadline);
    }

    /// Returns how a request reaches the leader of its group, if it does now.
    fn way_to(&self, leader: NodeId, group: GroupId) -> Option<Way> {
        if leader == self.front.facts.node {
            return self.engine.leads(group).then_some(Way::Here);
        }
        self.front.way_to(leader, group).map(|conn| Way::Node(leader, conn))
    }

    fn execute_over(&mut self, way: Way, origin: Origin, task: &Task<'_>, deadline: Instant) {
        match way {
            Way::Here => self.execute_here(origin, task),
            Way::Node(node, conn) => self.front.pass_to_node(origin, (node, conn), task, deadline),
        }
    }

    /// Has those executed that wait for a leader, if there is one by now; gives up on those that have waited too long.
    fn retry_parked(&mut self) {
        for group in self.front.parked.groups() {
            let (leader, is_hopeless) = match self.front.directory.route(group) {
                Route::Led(leader) => (Some(leader), false),
                Route::Unformed | Route::Lost(_) => (None, true),
            };
            let now = self.front.now;
            loop {
                // Looked at for each of them: what one sets off may have closed the connection.
                let way = leader.and_then(|leader| self.way_to(leader, group));
                let is_over = way.is_some() || is_hopeless;
                let Some(parked) = self.front.parked.pop_if(group, |first| is_over || first.deadline <= now) else {
                    break;
                };
                match way {
                    Some(way) => self.execute_over(way, parked.origin, &parked.task(), parked.deadline),
                    None => {
                        let failed = self.front.unreachable(group);
                        self.front.finish(parked.origin, &Ending::Failed(failed));
                    }
                }
            }
        }
    }

    /// Takes what the core has decided.
    fn receive_mail(&mut self) {
        let mail = self.front.shared.exchange.take_mail(self.front.id);
        let mut groups: Vec<GroupId> = mail.groups.keys().copied().collect();
        for (group, news) in mail.groups {
            self.front.directory.hear(group, news);
        }
        if let Some(members) = mail.members {
            self.follow_members(members);
        }
        if let Some(run) = mail.run {
            self.front.run = Some(run);
            self.engine.register(run);
            // What came before was kept for this.
            groups = self.front.facts.groups().collect();
        }
        if self.front.run.is_some() {
            groups.retain(|group| self.front.facts.home_of(*group) == self.front.id);
            for group in groups {
                let Some(news) = self.front.directory.news(group).map(Arc::clone) else { continue };
                for output in self.engine.handle(self.front.now, Input::News { group, news: &news }) {
                    self.front.perform(output);
                }
            }
        }
        if mail.has_events {
            self.front.push_events();
        }
        for (key, outcome) in &mail.outcomes {
            self.front.hear_outcome(*key, outcome);
        }
        if let Some(asked) = mail.census {
            // Who asked may have given up.
            let _ = asked.send(self.census());
        }
        self.retry_parked();
    }

    /// Goes by what the core says of who belongs to the cluster.
    fn follow_members(&mut self, members: Arc<Members>) {
        let (lost, over) = self.front.peers.follow(&self.front.facts, &members);
        self.front.members = members;
        lost.into_iter().for_each(|lost| self.on_change(Change::Lost(lost)));
        over.into_iter().for_each(|conn| self.front.outbox.close(conn, Close::Now));
    }

    fn execute_here(&mut self, origin: Origin, task: &Task<'_>) {
        let Task { group, slot, level, after, effect, .. } = *task;
        let underway = Underway { origin, executor: Executor::Here, effect, group };
        let Some(key) = self.front.add_request(underway) else { return };
        let mut command = task.command;
        if Command::decode(command).is_ok_and(|command| command.flags.has(Flags::ABSOLUTE)) {
            self.scratch.clear();
            self.scratch.extend_from_slice(command);
            // As of `now`, from which the time to live will be counted, however long this turn has taken: a deadline
            // that is named twice comes out the same.
            let late = u64::try_from(clock::now().since(self.front.now).as_nanos()).unwrap_or(u64::MAX);
            let wall = i64::try_from(clock::wall_clock_ns().saturating_sub(late)).unwrap_or(i64::MAX);
            resolve_absolute(&mut self.scratch, wall);
            command = &self.scratch;
        }
        let request = EngineRequest { token: Token(key.0), group, slot, command, level, after };
        for output in self.engine.handle(self.front.now, Input::Request(request)) {
            self.front.perform(output);
        }
    }

    /// Reads from what this node has applied; the group must have a replica here.
    fn peek(&mut self, origin: Origin, task: &Task<'_>) {
        let home = self.front.facts.home_of(task.group);
        if home != self.front.id {
            return self.front.pass_to_cpu(origin, home, RecordKind::Peek, task);
        }
        let mut answer = Vec::new();
        let command = Command::decode(task.command).expect("made by this node");
        let is_held = self.front.holds(task.group);
        let applied = self.engine.peek(task.group, &command, &mut AnswerSink::into(&mut answer)).filter(|_| is_held);
        let ending = match applied {
            Some(id) => {
                let about = About { group: task.group, epoch: id.epoch };
                let loss_gen = self.front.directory.loss_gen(task.group);
                Ending::Done { about, loss_gen, index: id.index, answer: &answer }
            }
            None => Ending::Failed(Failed::never(
                RefusalCode::NotLeader,
                [0; 2],
                format!("ERR this node holds no replica of group {}", task.group),
            )),
        };
        self.front.finish(origin, &ending);
    }

    // ---- other CPUs ----

    fn receive_records(&mut self) -> bool {
        let mut records = core::mem::take(&mut self.records);
        self.front.receive_records(&mut records, &mut self.spare);
        let has_any = !records.is_empty();
        if has_any {
            // After they were received: a lease must not be held against a time before the request was here.
            self.front.now = clock::now();
        }
        for (kind, bytes) in records.drain(..) {
            self.handle_record(kind, &bytes);
            if self.spare.len() < SPARE_MAX && bytes.capacity() <= SPARE_BYTES_MAX {
                self.spare.push(bytes);
            }
        }
        self.records = records;
        has_any
    }

    fn handle_record(&mut self, kind: RecordKind, bytes: &[u8]) {
        let (cpu, bytes) = bus::sender(bytes);
        let limits = self.front.facts.body_limits();
        let (frame, _) =
            wire::decode(bytes, wire::Stage::Peer, &limits).expect("CPUs of one process send whole frames");
        match (kind, frame.body) {
            (RecordKind::Frame, wire::Body::Reply(reply)) => {
                let ending = Ending::from_reply(frame.about, &reply);
                self.front.complete(Key(reply.head.number), &ending);
            }
            (RecordKind::Frame, wire::Body::Refusal(refusal)) => {
                self.front.complete(Key(refusal.number), &Ending::from_refusal(&refusal));
            }
            (RecordKind::Frame, wire::Body::Publish(publish)) => self.front.deliver(&publish),
            (RecordKind::Frame, wire::Body::Request(request)) => {
                let origin = Origin::Cpu { cpu, key: request.head.number };
                self.execute(origin, &task_of(&self.front.facts, frame.about.group, &request));
            }
            (RecordKind::Peek, wire::Body::Request(request)) => {
                let origin = Origin::Cpu { cpu, key: request.head.number };
                self.peek(origin, &task_of(&self.front.facts, frame.about.group, &request));
            }
            (RecordKind::Log, wire::Body::Request(request)) => {
                let origin = Origin::Cpu { cpu, key: request.head.number };
                self.read_log(origin, &task_of(&self.front.facts, frame.about.group, &request));
            }
            (RecordKind::Status, wire::Body::Request(request)) => {
                self.report(Origin::Cpu { cpu, key: request.head.number });
            }
            (kind, body) => unreachable!("CPUs send no {kind:?} with {body:?}"),
        }
    }

    // ---- peers ----

    fn on_change(&mut self, change: Change) {
        let now = self.front.now;
        let (lost, connected) = match change {
            Change::None => return,
            Change::Connected(connected) => (None, Some(connected)),
            Change::Lost(lost) => (Some(lost), None),
            Change::Replaced { lost, connected } => (Some(lost), Some(connected)),
        };
        if let Some(lost) = lost {
            tracing::info!(cpu = self.front.id.0, node = lost.node.0, "connection to node lost");
            for output in self.engine.handle(now, Input::PeerLost(lost)) {
                self.front.perform(output);
            }
            self.front.lose_executor(Executor::Node(lost.node));
        }
        if let Some(connected) = connected {
            tracing::info!(
                cpu = self.front.id.0,
                node = connected.node.0,
                incarnation = connected.incarnation.0,
                "connected to node"
            );
            for output in self.engine.handle(now, Input::PeerConnected(connected)) {
                self.front.perform(output);
            }
        }
    }

    /// Handles a message of a replica.
    fn on_message(&mut self, envelope: quorate_engine::message::Envelope<'_>) {
        for output in self.engine.handle(self.front.now, Input::Message(envelope)) {
            self.front.perform(output);
        }
    }
}

/// Buffers kept for records of other CPUs, and the largest one worth keeping.
const SPARE_MAX: usize = 256;
const SPARE_BYTES_MAX: usize = 16 << 10;

/// Returns what a request frame asks for.
fn task_of<'a>(facts: &Facts, group: GroupId, request: &wire::Request<'a>) -> Task<'a> {
    let RequestHead { level, hops, read_after, .. } = request.head;
    let effect = if request.command.op.is_write() { Effect::Write } else { Effect::None };
    let level = match level {
        wire::Level::Accepted => Level::Accepted,
        wire::Level::Commit => Level::Commit,
    };
    let slots = facts.placement.slots();
    // A command without keys is about its whole group, and stands at the group's first slot.
    let slot = if request.command.op.is_keyless() && group.0 < slots.group_count() {
        slots.slots_of(group).first
    } else {
        slot_of(request.command.routing_key())
    };
    Task { group, slot, command: request.encoded, level, after: read_after, hops, effect }
}

impl Handler for Cpu {
    fn fetched(&mut self) {
        self.front.now = clock::now();
    }

    fn accepted(&mut self, listener: ListenerId, conn: ConnId, peer: PeerAddr) {
        self.front.accept(listener, conn, peer);
    }

    fn connected(&mut self, conn: ConnId) {
        self.front.greet(conn);
    }

    fn received(&mut self, conn: ConnId, bytes: &[u8]) {
        match self.front.conns.get(conn) {
            Some(Conn::Resp(_)) => self.resp_received(conn, bytes),
            Some(Conn::Native(_)) => self.native_received(conn, bytes),
            None => {}
        }
    }

    fn drained(&mut self, conn: ConnId) {
        match self.front.conns.get_mut(conn) {
            Some(Conn::Resp(resp)) => {
                resp.is_congested = false;
                self.front.resume.push(conn);
            }
            Some(Conn::Native(native)) => {
                native.is_congested = false;
                if let Some(peer) = native.peer() {
                    self.front.outbox.resume_reading(conn);
                    for output in self.engine.handle(self.front.now, Input::PeerReady(peer)) {
                        self.front.perform(output);
                    }
                } else {
                    self.front.outbox.resume_reading(conn);
                }
            }
            None => {}
        }
    }

    fn ended(&mut self, conn: ConnId) {
        self.front.on_ended(conn);
    }

    fn closed(&mut self, conn: ConnId, reason: CloseReason) {
        let change = self.front.on_closed(conn, reason);
        self.on_change(change);
    }

    fn outbox(&mut self) -> &mut Outbox {
        &mut self.front.outbox
    }
}

impl Front {
    /// Performs one output of the engine.
    fn perform(&mut self, output: Output<'_>) {
        match output {
            Output::Send { to, group, epoch, message } => self.send_to_peer(to, About { group, epoch }, &message),
            Output::Reply { token, outcome } => {
                if let Some(underway) = self.requests.take(Key(token.0)) {
                    self.shared.counters(self.id).engine_replies.fetch_add(1, Ordering::Relaxed);
                    let loss_gen = self.directory.loss_gen(underway.group);
                    self.finish_underway(&underway, &Ending::of(&outcome, underway.group, loss_gen));
                }
            }
            Output::Ask { group, ask } => {
                if let Ask::Activate { .. } = ask {
                    self.on_takeover(group, |takeover, now| {
                        takeover.asked_at.get_or_insert(now);
                    });
                }
                self.shared.exchange.ask(group, ask);
            }
            Output::Notify(event) => self.note_event(&event),
        }
    }
}
