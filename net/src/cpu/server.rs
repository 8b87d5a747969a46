//! Commands about the node rather than about data: what it knows is asked of its CPUs and put together here.

use quorate_engine::Level;
use quorate_engine::ids::{GroupId, LogIndex};
use quorate_engine::machine::answer::{Answer, AnswerSink};
use quorate_engine::machine::command::{Command, Op};
use quorate_engine::machine::kv::Damage;
use quorate_engine::slots::slot_of;

use crate::clock;
use crate::resp::render::{Shape, write_many, write_one};
use crate::resp::table::{CommandId, CommandSpec};
use crate::resp::{Args, Encoder};
use crate::transport::ConnId;

use super::front::Front;
use super::meta::Meta;
use super::replies::{Parts, Waiting};
use super::requests::{Effect, Origin};
use super::resp::Step;
use super::{Cpu, Task, cluster, info, status};

/// How the answers of a request become its reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finish {
    /// As the shape says.
    Render(Shape),
    /// The first answer that is not nil, beginning with that of group `first`.
    FirstFound { shape: Shape, first: GroupId },
    /// The state of all groups, put together.
    Status(status::View),
}

impl Finish {
    pub(super) fn write_one(self, answer: &[u8], pattern: &[u8], out: &mut Encoder<'_, Vec<u8>>) {
        match self {
            Self::Render(shape) | Self::FirstFound { shape, .. } => {
                // Reading the wall clock costs more than most replies, and few need it.
                let wall_now = if shape.needs_clock() { clock::wall_clock_ns() } else { 0 };
                write_one(shape, answer, pattern, wall_now, out);
            }
            Self::Status(view) => view.write(&[answer.to_vec()], pattern, out),
        }
    }

    pub(super) fn write_many(self, answers: &[Vec<u8>], pattern: &[u8], out: &mut Encoder<'_, Vec<u8>>) {
        match self {
            Self::Render(shape) => {
                write_many(shape, &answers.concat(), answers.len(), pattern, clock::wall_clock_ns(), out);
            }
            Self::FirstFound { shape, first } => {
                let (before, from) = answers.split_at((first.0 as usize).min(answers.len()));
                let is_found = |answer: &&Vec<u8>| !matches!(Answer::read(answer), Some((Answer::Nil, _)));
                match from.iter().chain(before).find(is_found) {
                    Some(answer) => write_one(shape, answer, pattern, clock::wall_clock_ns(), out),
                    None => out.null(),
                }
            }
            Self::Status(view) => view.write(answers, pattern, out),
        }
    }
}

impl Front {
    /// Returns the group that a client means, or the error to answer with.
    pub(super) fn group_named(&self, text: &[u8]) -> Result<GroupId, String> {
        let count = self.facts.placement.slots().group_count();
        let group = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).filter(|group| *group < count);
        let last = count - 1;
        group.map(GroupId).ok_or_else(|| format!("ERR there is no such group: they are numbered 0 to {last}"))
    }
}

impl Cpu {
    /// Answers a command that is not about data.
    pub(super) fn serve(&mut self, conn: ConnId, spec: &'static CommandSpec, args: Args<'_>) -> Step {
        if let Some(step) = self.serve_channels(conn, spec.id, args) {
            return step;
        }
        match spec.id {
            CommandId::Info => {
                let text = info::write(&self.front, &self.engine, args);
                self.front.reply_now(conn, |out| out.verbatim(&text));
            }
            CommandId::ClusterInfo
            | CommandId::ClusterKeyslot
            | CommandId::ClusterMyid
            | CommandId::ClusterNodes
            | CommandId::ClusterSlots => self.serve_cluster(conn, spec.id, args),
            CommandId::NodeStatus => self.ask_all(conn, status::View::Node, b""),
            CommandId::LogRead => self.serve_log_read(conn, args),
            CommandId::LogStatus | CommandId::LogDigest => return self.serve_log(conn, spec.id, args),
            CommandId::CoreAcceptloss
            | CommandId::CoreDrain
            | CommandId::CoreGet
            | CommandId::CoreRemove
            | CommandId::CoreReplace
            | CommandId::CoreSet => self.serve_core(conn, spec.id, args),
            CommandId::CoreEvents => self.serve_events(conn, args),
            CommandId::CoreStatus => self.front.serve_core_status(conn, args),
            CommandId::CoreWatch => self.serve_watch(conn, args),
            CommandId::CachePeek => self.serve_peek(conn, &args[1]),
            CommandId::Wait => return self.serve_wait(conn, args),
            _ => {
                let text = format!("ERR '{}' is not built yet", spec.name);
                self.front.reply_now(conn, |out| out.error(&text));
            }
        }
        Step::Handled
    }

    fn serve_cluster(&mut self, conn: ConnId, id: CommandId, args: Args<'_>) {
        let view = cluster::Map::of(&self.front);
        self.front.reply_now(conn, |out| match id {
            CommandId::ClusterInfo => out.verbatim(&view.info()),
            CommandId::ClusterKeyslot => out.count(u64::from(slot_of(&args[2]).0)),
            CommandId::ClusterMyid => out.text(&view.own_id()),
            CommandId::ClusterNodes => out.verbatim(&view.nodes_text()),
            _ => view.write_slots(out),
        });
    }

    fn serve_log(&mut self, conn: ConnId, id: CommandId, args: Args<'_>) -> Step {
        let group = match args.get(2).map(|text| self.front.group_named(text)).transpose() {
            Ok(group) => group,
            Err(text) => {
                self.front.reply_now(conn, |out| out.error(&text));
                return Step::Handled;
            }
        };
        let view = if id == CommandId::LogDigest { status::View::Digest } else { status::View::Log };
        let pattern = group.map_or(Vec::new(), |group| group.0.to_le_bytes().to_vec());
        self.ask_all(conn, view, &pattern);
        Step::Handled
    }

    /// Asks all CPUs of this node for the state of their groups; `view` makes the reply.
    fn ask_all(&mut self, conn: ConnId, view: status::View, pattern: &[u8]) {
        let others = self.front.other_cpus();
        let Some(resp) = self.front.conns.resp_mut(conn) else { return };
        let place = resp.replies.add(Waiting {
            finish: Finish::Status(view),
            effect: Effect::None,
            is_wanted: true,
            pattern: pattern.into(),
            parts: Parts::of(others.len() + 1),
            // It is an answer of the node.
            meta: Meta::Unwanted,
        });
        let mut question = Vec::new();
        Command::new(Op::Count, b"").encode_into(&mut question);
        for (part, cpu) in others.into_iter().enumerate() {
            let part = u32::try_from(part).expect("far fewer CPUs than 2^32");
            self.front.ask_cpu(Origin::Resp { conn, place, part }, cpu, &question);
        }
        let part = u32::from(self.front.facts.cpu_count) - 1;
        self.report(Origin::Resp { conn, place, part });
    }

    fn serve_peek(&mut self, conn: ConnId, key: &[u8]) {
        let slot = slot_of(key);
        let group = self.front.facts.placement.slots().group_of(slot);
        let mut command = Vec::new();
        Command::new(Op::Get, key).encode_into(&mut command);
        let place = self.expect_answer(conn);
        let task = Task {
            group,
            slot,
            command: &command,
            level: Level::Commit,
            after: LogIndex(0),
            hops: 0,
            effect: Effect::None,
        };
        self.peek(Origin::Resp { conn, place, part: 0 }, &task);
    }

    /// Makes a place for a reply that is one answer as it is.
    pub(super) fn expect_answer(&mut self, conn: ConnId) -> u64 {
        let Some(resp) = self.front.conns.resp_mut(conn) else { return 0 };
        resp.replies.add(Waiting {
            finish: Finish::Render(Shape::Reply),
            effect: Effect::None,
            is_wanted: true,
            pattern: Box::default(),
            parts: Parts::One,
            meta: Meta::begin(resp.has_meta),
        })
    }

    /// `WAIT numreplicas timeout`: how many followers hold the last write of this connection.
    fn serve_wait(&mut self, conn: ConnId, args: Args<'_>) -> Step {
        let number = |at: usize| std::str::from_utf8(&args[at]).ok().and_then(|text| text.parse::<i64>().ok());
        let Some(resp) = self.front.conns.resp_mut(conn) else { return Step::Close };
        let (need, timeout_ms) = match (number(1), number(2)) {
            (Some(need), Some(timeout)) if timeout >= 0 => (need.max(0), timeout),
            (need, timeout) => {
                let text = match (need, timeout) {
                    (None, _) => "ERR value is not an integer or out of range",
                    (_, None) => "ERR timeout is not an integer or out of range",
                    _ => "ERR timeout is negative",
                };
                self.front.reply_now(conn, |out| out.error(text));
                return Step::Handled;
            }
        };
        if resp.replies.has_writes() {
            // Which entry to wait for is known when its writes are answered.
            return Step::Stall;
        }
        let Some((group, index)) = resp.last_write else {
            let connected = self.front.peers.states().filter(|(_, _, is_up)| *is_up).count() as u64;
            self.front.reply_now(conn, |out| out.count(connected));
            return Step::Handled;
        };
        let timeout_ns = u64::try_from(timeout_ms).unwrap_or(0).saturating_mul(1_000_000).to_le_bytes();
        let time = i64::try_from(index.0).unwrap_or(i64::MAX);
        let mut command = Vec::new();
        Command { number: need, time, value: &timeout_ns, ..Command::new(Op::WaitAcks, b"") }.encode_into(&mut command);
        let slot = self.front.facts.placement.slots().slots_of(group).first;
        let place = self.expect_answer(conn);
        let task = Task {
            group,
            slot,
            command: &command,
            level: Level::Commit,
            after: LogIndex(0),
            hops: 0,
            effect: Effect::None,
        };
        self.execute(Origin::Resp { conn, place, part: 0 }, &task);
        Step::Handled
    }

    /// `DEBUG FLIP key`: one byte on this replica flips, as in memory that fails; `DEBUG CORRUPT key`: the value is another one,
    /// and its digest fits. Both behind the log's back, so that a check can be seen to fail. Only with
    /// `security.debug_commands`; `None` if it is another command.
    pub(super) fn debug_command(&mut self, args: Args<'_>) -> Option<&'static str> {
        let is_on = self.front.facts.settings.security().has_debug_commands;
        if !is_on || args.len() != 3 || !args[0].eq_ignore_ascii_case(b"debug") {
            return None;
        }
        let damage = match &args[1] {
            word if word.eq_ignore_ascii_case(b"flip") => Damage::Byte,
            word if word.eq_ignore_ascii_case(b"corrupt") => Damage::Value,
            _ => return None,
        };
        let key = &args[2];
        let group = self.front.facts.placement.slots().group_of(slot_of(key));
        Some(if self.engine.corrupt(group, key, damage) { "+OK\r\n" } else { "-ERR no such string on this CPU\r\n" })
    }

    /// Answers with the state of the groups of this CPU.
    pub(super) fn report(&mut self, origin: Origin) {
        let text = self.local_status().to_string();
        let mut answer = Vec::new();
        AnswerSink::into(&mut answer).bulk(text.as_bytes());
        let ending = super::Ending::Done {
            about: crate::wire::About::NOTHING,
            loss_gen: 0,
            index: LogIndex(0),
            answer: &answer,
        };
        self.front.finish(origin, &ending);
    }
}
