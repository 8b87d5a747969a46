//! Connections that speak RESP: reading requests, sending them on, writing replies in order.
//!
//! A request is parsed where it was received, turned into engine commands, and sent to the groups of its keys. Replies
//! leave in the order of the requests. Within one connection a request sees everything before it: a read waits for the
//! writes before it, and a write for the reads before it that could not be answered at once.
//!
//! # Bounds
//! A connection that owes `limits.pipeline_max` replies, or does not read what it is sent, is not read from until that
//! has changed. One that lets `limits.output_max` pile up (subscribers can) is closed. A reply longer than that is refused,
//! and answers of kilobytes are, while a connection or all together hold back much; see `front`.

use std::rc::Rc;
use std::sync::atomic::Ordering;

use quorate_engine::Level;
use quorate_engine::ids::{GroupId, LogIndex};

use crate::clock;
use crate::resp::plan::{Context, Plan, plan};
use crate::resp::session::{ClientRecord, Outcome, Session};
use crate::resp::table::{CommandSpec, Flags};
use crate::resp::{Args, Encoder, Parsed, Parser, Protocol, Trust};
use crate::transport::{Close, ConnId, PeerAddr};

use super::ending::Ending;
use super::front::{Conn, Front};
use super::meta::Meta;
use super::pubsub::Kind;
use super::replies::{Parts as ReplyParts, Replies, Waiting};
use super::requests::{Effect, Origin};
use super::server::Finish;
use super::view::View;
use super::{Cpu, Task};

/// One connection.
#[derive(Debug)]
pub(super) struct Resp {
    /// `None` while its requests are being handled.
    parser: Option<Parser>,
    /// What was received and not yet handled.
    input: Vec<u8>,
    /// `None` while it handles a request.
    session: Option<Box<Session>>,
    /// What it speaks.
    pub(super) protocol: Protocol,
    /// Whether its replies tell where they stand in the log.
    pub(super) has_meta: bool,
    pub(super) replies: Replies,
    /// Whether it takes no more bytes for now.
    pub(super) is_congested: bool,
    /// Whether reading waits for replies to leave.
    is_stalled: bool,
    /// Whether the peer will send nothing more.
    pub(super) has_ended: bool,
    /// What it listens to.
    pub(super) subscriptions: Vec<(Kind, Vec<u8>)>,
    /// The group of its last write, and where that is in the group's log.
    pub(super) last_write: Option<(GroupId, LogIndex)>,
}

/// What to do with a request that was parsed.
pub(super) enum Step {
    /// It was handled.
    Handled,
    /// It must wait until all replies before it have left.
    Stall,
    /// The connection is to be closed after what it is owed.
    Close,
}

impl Front {
    pub(super) fn accept_resp(&mut self, conn: ConnId, peer: PeerAddr) {
        let clients_max = self.facts.settings.limits().clients_len_max;
        if self.shared.clients.len() >= clients_max {
            let _ = self.outbox.send(conn, b"-ERR max number of clients reached\r\n");
            return self.outbox.close(conn, Close::AfterFlush);
        }
        let accepted = &self.shared.counters(self.id).connections;
        // Only this thread writes it, and whoever sets it back.
        accepted.fetch_add(1, Ordering::Relaxed);
        let limits = self.facts.resp_limits();
        let local = self.facts.settings.listen().resp.to_string();
        let now_us = clock::wall_clock_ns() / 1000;
        let record = ClientRecord::new(self.client_number(conn), peer.to_string(), local, now_us);
        self.shared.clients.insert(record.id, record.clone());
        let session = Session::new(record, &View::new(self));
        let resp = Resp {
            parser: Some(Parser::new(limits)),
            input: Vec::new(),
            session: Some(Box::new(session)),
            protocol: Protocol::V2,
            has_meta: false,
            replies: Replies::new(Rc::clone(&self.held_bytes)),
            is_congested: false,
            is_stalled: false,
            has_ended: false,
            subscriptions: Vec::new(),
            last_write: None,
        };
        self.conns.insert(conn, Conn::Resp(Box::new(resp)));
    }

    pub(super) fn forget_client(&mut self, conn: ConnId, resp: &Resp) {
        self.shared.clients.remove(&self.client_number(conn));
        self.drop_subscriptions(conn, &resp.subscriptions);
        self.stop_watching(conn);
    }

    /// Answers the request that is being handled, now or as soon as those before it are answered.
    pub(super) fn reply_now(&mut self, conn: ConnId, write: impl FnOnce(&mut Encoder<'_, Vec<u8>>)) {
        let Some(resp) = self.conns.resp_mut(conn) else { return };
        let protocol = resp.protocol;
        if !resp.replies.is_empty() {
            let mut buffer = resp.replies.buffer();
            write(&mut Encoder::new(&mut buffer, protocol));
            return resp.replies.add_ready(buffer);
        }
        match self.outbox.buffer(conn) {
            Ok(buffer) => write(&mut Encoder::new(buffer.as_vec(), protocol)),
            Err(_) => self.outbox.close(conn, Close::Now),
        }
    }

    /// Takes an answer to part of a request, and writes the reply once it is whole and its turn has come.
    pub(super) fn finish_resp(&mut self, conn: ConnId, place: u64, part: u32, ending: &Ending<'_>) {
        let Some(resp) = self.conns.resp_mut(conn) else { return };
        if let Some(waiting) = resp.replies.waiting(place) {
            waiting.meta.note(ending);
            if let (Ending::Done { about, index, .. }, Effect::Write) = (ending, waiting.effect) {
                resp.last_write = Some((about.group, *index));
            }
        }
        if resp.replies.record(place, part, ending, self.reply_bytes_max) != Some(true) {
            return;
        }
        let protocol = resp.protocol;
        if resp.replies.is_first(place) {
            match self.outbox.buffer(conn) {
                Ok(buffer) => {
                    if let Some(waiting) = resp.replies.waiting(place).filter(|waiting| waiting.is_wanted) {
                        write_reply(waiting, ending, &mut Encoder::new(buffer.as_vec(), protocol));
                    }
                    resp.replies.pop_first();
                    while let Some(ready) = resp.replies.take_ready() {
                        buffer.extend_from_slice(&ready);
                        resp.replies.recycle(ready);
                    }
                }
                Err(_) => return self.outbox.close(conn, Close::Now),
            }
        } else {
            let mut buffer = resp.replies.buffer();
            if let Some(waiting) = resp.replies.waiting(place).filter(|waiting| waiting.is_wanted) {
                write_reply(waiting, ending, &mut Encoder::new(&mut buffer, protocol));
            }
            resp.replies.set_ready(place, buffer);
        }
        if resp.replies.is_empty() {
            if resp.has_ended {
                self.outbox.close(conn, Close::AfterFlush);
            } else if resp.is_stalled {
                self.resume.push(conn);
            }
        } else if resp.is_stalled {
            self.resume.push(conn);
        }
    }
}

/// Writes the reply of a request whose answers are all there.
fn write_reply(waiting: &Waiting, ending: &Ending<'_>, out: &mut Encoder<'_, Vec<u8>>) {
    waiting.meta.write(out);
    match (&waiting.parts, ending) {
        (ReplyParts::Many { error: Some(text), .. }, _) => out.error(text),
        (_, Ending::Accepted { .. }) => out.simple("ACCEPTED"),
        (ReplyParts::Many { answers, .. }, _) => waiting.finish.write_many(answers, &waiting.pattern, out),
        (ReplyParts::One, Ending::Done { answer, .. }) => waiting.finish.write_one(answer, &waiting.pattern, out),
        (ReplyParts::One, Ending::Failed(failed)) => out.error(&failed.text),
    }
}

impl Cpu {
    pub(super) fn resp_received(&mut self, conn: ConnId, bytes: &[u8]) {
        self.front.wall_now_ns = clock::wall_clock_ns();
        let Some(resp) = self.front.conns.resp_mut(conn) else { return };
        let Some(mut parser) = resp.parser.take() else { return };
        let mut input = core::mem::take(&mut resp.input);
        if input.is_empty() {
            let consumed = self.handle_requests(conn, &mut parser, bytes);
            input.extend_from_slice(&bytes[consumed..]);
        } else {
            input.extend_from_slice(bytes);
            let consumed = self.handle_requests(conn, &mut parser, &input);
            input.drain(..consumed);
        }
        if let Some(resp) = self.front.conns.resp_mut(conn) {
            resp.parser = Some(parser);
            resp.input = input;
        }
    }

    /// Handles what connections have received and could not be handled before. Returns whether there was any.
    pub(super) fn resume_clients(&mut self) -> bool {
        let mut has_any = false;
        // What is resumed may stall and be resumed again; that comes in the next turn.
        for conn in core::mem::take(&mut self.front.resume) {
            let Some(resp) = self.front.conns.resp_mut(conn) else { continue };
            if resp.is_congested || !resp.is_stalled || resp.parser.is_none() {
                if !resp.is_stalled {
                    self.front.outbox.resume_reading(conn);
                }
                continue;
            }
            has_any = true;
            resp.is_stalled = false;
            self.resp_received(conn, &[]);
            if self.front.conns.resp_mut(conn).is_some_and(|resp| !resp.is_stalled) {
                self.front.outbox.resume_reading(conn);
            }
        }
        has_any
    }

    /// Handles the requests in `bytes`; returns how many bytes are done with.
    fn handle_requests(&mut self, conn: ConnId, parser: &mut Parser, bytes: &[u8]) -> usize {
        let mut start = 0;
        loop {
            let Some(resp) = self.front.conns.resp_mut(conn) else { return bytes.len() };
            if !self.front.outbox.is_open(conn) {
                return bytes.len();
            }
            let pipeline_max = self.front.facts.settings.limits().pipeline_len_max;
            if resp.replies.len() >= pipeline_max || self.front.is_congested(conn) {
                self.stall(conn);
                return start;
            }
            let Some(resp) = self.front.conns.resp_mut(conn) else { return bytes.len() };
            let trust = resp.session.as_ref().map_or(Trust::Unauthenticated, |session| session.trust());
            let rest = &bytes[start..];
            match parser.parse(rest, trust) {
                Parsed::Complete { consumed } => {
                    let args = parser.args(rest);
                    if !args.is_empty() {
                        match self.handle_command(conn, args) {
                            Step::Handled => {}
                            Step::Stall => {
                                self.stall(conn);
                                return start;
                            }
                            Step::Close => {
                                self.close_after_replies(conn);
                                return bytes.len();
                            }
                        }
                    }
                    start += consumed;
                }
                Parsed::Incomplete { consumed, .. } => return start + consumed,
                Parsed::Refused { consumed, refusal } => {
                    start += consumed;
                    self.front.reply_now(conn, |out| out.error(&refusal.to_string()));
                }
                Parsed::Error(error) => {
                    self.front.reply_now(conn, |out| out.error(&error.to_string()));
                    self.close_after_replies(conn);
                    return bytes.len();
                }
            }
        }
    }

    fn stall(&mut self, conn: ConnId) {
        self.front.outbox.pause_reading(conn);
        if let Some(resp) = self.front.conns.resp_mut(conn) {
            resp.is_stalled = true;
        }
    }

    fn close_after_replies(&mut self, conn: ConnId) {
        let Some(resp) = self.front.conns.resp_mut(conn) else { return };
        if resp.replies.is_empty() {
            self.front.outbox.close(conn, Close::AfterFlush);
        } else {
            resp.has_ended = true;
            self.front.outbox.pause_reading(conn);
        }
    }

    fn handle_command(&mut self, conn: ConnId, args: Args<'_>) -> Step {
        let Some(resp) = self.front.conns.resp_mut(conn) else { return Step::Close };
        if !resp.replies.is_empty() && changes_the_connection(args) {
            return Step::Stall;
        }
        if let Some(reply) = self.debug_command(args) {
            self.front.reply_now(conn, |out| out.encoded(reply.as_bytes()));
            return Step::Handled;
        }
        let Some(resp) = self.front.conns.resp_mut(conn) else { return Step::Close };
        let Some(mut session) = resp.session.take() else { return Step::Close };
        self.front.count_command();
        let mut reply = core::mem::take(&mut self.front.reply);
        reply.clear();
        let outcome = session.dispatch(args, &mut View::new(&self.front), &mut reply);
        self.front.give_back(conn, session);
        if !reply.is_empty() {
            self.front.reply_now(conn, |out| out.encoded(&reply));
        }
        self.front.reply = reply;
        match outcome {
            Outcome::Answered => Step::Handled,
            Outcome::Reset => {
                self.front.unsubscribe_all(conn);
                self.front.stop_watching(conn);
                Step::Handled
            }
            Outcome::Close => Step::Close,
            Outcome::Forward { spec, is_reply_wanted } => self.forward(conn, spec, args, is_reply_wanted),
        }
    }

    /// Has a command executed by whoever owns the data.
    fn forward(&mut self, conn: ConnId, spec: &'static CommandSpec, args: Args<'_>, is_wanted: bool) -> Step {
        if self.front.is_held_back(conn, spec) {
            return Step::Stall;
        }
        let context = Context {
            map: self.front.facts.placement.slots(),
            wall_now_ns: self.front.wall_now_ns,
            random: self.front.random(),
        };
        let mut parts = core::mem::take(&mut self.parts);
        let step = match plan(spec, args, &context, &mut parts) {
            Ok(Plan::Elsewhere) => self.serve(conn, spec, args),
            Ok(plan) => self.run_plan(conn, Wish { plan, is_wanted }, &parts),
            Err(error) => {
                if is_wanted {
                    self.front.reply_now(conn, |out| out.error(&error.to_string()));
                }
                Step::Handled
            }
        };
        self.parts = parts;
        step
    }

    fn run_plan(&mut self, conn: ConnId, wish: Wish, parts: &crate::resp::plan::Parts) -> Step {
        let effect = if parts.has_writes() { Effect::Write } else { Effect::None };
        let Some(resp) = self.front.conns.resp_mut(conn) else { return Step::Close };
        if effect == Effect::Write && resp.replies.has_reads() {
            // A read before it has not been answered yet and must not see it.
            return Step::Stall;
        }
        let has_to_see = effect == Effect::None && resp.replies.has_writes();
        let after = if has_to_see { EVERYTHING } else { LogIndex(0) };
        let slots = self.front.facts.placement.slots();
        let all = slots.group_count() as usize;
        let (level, finish, count) = match wish.plan {
            Plan::Parts { level, shape } => (level, Finish::Render(shape), parts.len()),
            Plan::EveryGroup { level, shape } => (level, Finish::Render(shape), all),
            Plan::AnyGroup { shape } => {
                let first = slots.group_of(parts.get(0).slot);
                (Level::Commit, Finish::FirstFound { shape, first }, all)
            }
            Plan::Elsewhere => return Step::Handled,
        };
        let waiting = Waiting {
            finish,
            effect,
            is_wanted: wish.is_wanted,
            pattern: parts.pattern().into(),
            parts: ReplyParts::of(count),
            meta: Meta::begin(resp.has_meta),
        };
        let place = resp.replies.add(waiting);
        for number in 0..count {
            let (group, slot, command) = if let Plan::Parts { .. } = wish.plan {
                let part = parts.get(number);
                (slots.group_of(part.slot), part.slot, part.command)
            } else {
                let group = GroupId(u32::try_from(number).expect("at most 16384 groups"));
                (group, slots.slots_of(group).first, parts.get(0).command)
            };
            let part = u32::try_from(number).expect("a request has fewer parts than bytes");
            let origin = Origin::Resp { conn, place, part };
            self.execute(origin, &Task { group, slot, command, level, after, hops: 0, effect });
        }
        Step::Handled
    }
}

/// Behind every entry there is: a read that must see all its group has been given so far.
const EVERYTHING: LogIndex = LogIndex(u64::MAX >> 2);

/// A data command that is to be executed.
#[derive(Clone, Copy)]
struct Wish {
    plan: Plan,
    is_wanted: bool,
}

/// Whether a request changes how later replies are written, so that those before it must have left.
fn changes_the_connection(args: Args<'_>) -> bool {
    let name = args.first().unwrap_or_default();
    name.eq_ignore_ascii_case(b"hello") || name.eq_ignore_ascii_case(b"reset")
}

impl Front {
    /// Puts the session of a connection back after it has handled a request.
    fn give_back(&mut self, conn: ConnId, session: Box<Session>) {
        if let Some(resp) = self.conns.resp_mut(conn) {
            resp.protocol = session.protocol();
            resp.has_meta = session.record().has_meta;
            resp.session = Some(session);
        }
    }

    /// Whether a connection does not read what it is sent.
    fn is_congested(&mut self, conn: ConnId) -> bool {
        let is_congested = self.outbox.queued_bytes(conn) > self.high_water;
        if let Some(resp) = self.conns.resp_mut(conn) {
            resp.is_congested = is_congested;
        }
        is_congested
    }

    /// Whether `CLIENT PAUSE` holds a command back; the connection goes on when it ends.
    fn is_held_back(&mut self, conn: ConnId, spec: &CommandSpec) -> bool {
        let is_held = self.shared.pause_holds(spec.flags.contains(Flags::WRITE), self.wall_now_ns / 1000);
        if is_held {
            self.held_back.push(conn);
        }
        is_held
    }
}

impl Resp {
    /// Returns the session, unless it is handling a request.
    pub(super) fn session_mut(&mut self) -> Option<&mut Session> {
        self.session.as_deref_mut()
    }
}
