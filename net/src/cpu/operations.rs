//! Commands for the consistent core: what operators accept, and the keys that the core itself keeps.
//!
//! A CPU checks the words, leaves the operation for the control thread, and writes the reply when the outcome comes back. One that
//! does not come in time is unknown, if it would have changed something: it may still be carried out.

use quorate_engine::control::operation::{Left, Loss, Operation, Outcome, Scope};
use quorate_engine::control::{keyspace, keyspace::KeyspaceError};
use quorate_engine::ids::{GroupId, LogIndex, NodeId};
use quorate_engine::machine::answer::AnswerSink;

use crate::resp::Args;
use crate::resp::table::CommandId;
use crate::transport::ConnId;
use crate::wire::{About, RefusalCode};

use super::Cpu;
use super::ending::{Ending, Failed};
use super::front::Front;
use super::requests::{Effect, Executor, Key, Origin, Underway};

impl Cpu {
    /// Serves `CORE` commands.
    pub(super) fn serve_core(&mut self, conn: ConnId, id: CommandId, args: Args<'_>) {
        let operation = match operation(id, args, self.front.facts.placement.slots().group_count()) {
            Ok(operation) => operation,
            Err(text) => return self.front.reply_now(conn, |out| out.error(&text)),
        };
        let place = self.expect_answer(conn);
        self.front.ask_of_core(Origin::Resp { conn, place, part: 0 }, operation);
    }
}

impl Front {
    /// Has the consistent core do something; the answer comes to `origin`.
    fn ask_of_core(&mut self, origin: Origin, operation: Operation) {
        let effect = if let Operation::Get { .. } = operation { Effect::None } else { Effect::Write };
        let underway = Underway { origin, executor: Executor::Core, effect, group: GroupId(0) };
        let Some(key) = self.add_request(underway) else { return };
        if !self.shared.exchange.want(self.id, key, operation) {
            let text = "OVERLOAD 100000 retry after so many microseconds: the queue of operations for the consistent core is full";
            self.complete(key, &Ending::Failed(Failed::never(RefusalCode::Overload, [100_000, 0], text)));
        }
    }

    /// An operation has ended.
    pub(super) fn hear_outcome(&mut self, key: Key, outcome: &Outcome) {
        let mut answer = Vec::new();
        let sink = &mut AnswerSink::into(&mut answer);
        match outcome {
            Outcome::LossAccepted(losses) => {
                sink.array(losses.len());
                losses.iter().for_each(|loss| write_loss(loss, sink));
            }
            Outcome::Stored { version } => sink.int(i64::try_from(*version).unwrap_or(i64::MAX)),
            Outcome::Value(None) => sink.nil(),
            Outcome::Value(Some(stored)) => {
                sink.map(2);
                sink.bulk(b"value");
                sink.bulk(&stored.value);
                sink.bulk(b"version");
                sink.int(i64::try_from(stored.version).unwrap_or(i64::MAX));
            }
            Outcome::Draining(Left { led, held }) => {
                sink.map(2);
                sink.bulk(b"led");
                sink.int(i64::try_from(*led).unwrap_or(i64::MAX));
                sink.bulk(b"held");
                sink.int(i64::try_from(*held).unwrap_or(i64::MAX));
            }
            // The control thread reports and announces for itself.
            Outcome::Reported | Outcome::Announced | Outcome::StoreReplaced { .. } | Outcome::Removed { .. } => {
                sink.ok();
            }
            Outcome::Refused(refusal) => sink.error(&refusal.to_string()),
        }
        self.complete(key, &Ending::Done { about: About::NOTHING, loss_gen: 0, index: LogIndex(0), answer: &answer });
    }
}

fn write_loss(loss: &Loss, sink: &mut AnswerSink<'_>) {
    sink.map(3);
    sink.bulk(b"group");
    sink.int(i64::from(loss.group.0));
    sink.bulk(b"loss_gen");
    sink.int(i64::try_from(loss.loss_gen).unwrap_or(i64::MAX));
    sink.bulk(b"missing");
    sink.array(loss.missing.len());
    for run in &loss.missing {
        sink.bulk(format!("{}.{}", run.node, run.incarnation).as_bytes());
    }
}

/// Returns what a command asks for, or the error to answer with.
fn operation(id: CommandId, args: Args<'_>, group_count: u32) -> Result<Operation, String> {
    let text = |at: usize| std::str::from_utf8(&args[at]).ok();
    if id == CommandId::CoreAcceptloss {
        if args[2].eq_ignore_ascii_case(b"all") {
            return Ok(Operation::AcceptLoss(Scope::All));
        }
        let group = text(2).and_then(|text| text.parse().ok()).filter(|group| *group < group_count);
        let last = group_count - 1;
        let group = group.ok_or(format!("ERR expected ALL, or a group, which are numbered 0 to {last}"))?;
        return Ok(Operation::AcceptLoss(Scope::Group(GroupId(group))));
    }
    if let CommandId::CoreReplace | CommandId::CoreDrain | CommandId::CoreRemove = id {
        let node = text(2).and_then(|text| text.parse().ok());
        let node = NodeId(node.ok_or("ERR expected the number of a node; `quorate status` lists them")?);
        return match (id, args.len()) {
            (CommandId::CoreReplace, _) => Ok(Operation::ReplaceStore { node }),
            (CommandId::CoreRemove, _) => Ok(Operation::Remove { node }),
            (_, 3) => Ok(Operation::Drain { node, is_wanted: true }),
            (_, 4) if args[3].eq_ignore_ascii_case(b"off") => Ok(Operation::Drain { node, is_wanted: false }),
            _ => Err(String::from("ERR syntax error: CORE DRAIN node [OFF]")),
        };
    }
    let key = text(1).ok_or("ERR keys of the consistent core are UTF-8")?.to_owned();
    if id == CommandId::CoreGet {
        return Ok(Operation::Get { key });
    }
    let value = args[2].to_vec();
    keyspace::check(&key, &value).map_err(|error: KeyspaceError| error.to_string())?;
    let version = match args.len() {
        3 => None,
        5 if args[3].eq_ignore_ascii_case(b"if") => {
            let version = text(4).and_then(|text| text.parse().ok());
            Some(
                version
                    .ok_or("ERR the version behind IF is no integer, or out of range; 0 means: there is no such key")?,
            )
        }
        _ => return Err(String::from("ERR syntax error")),
    };
    Ok(Operation::Set { key, value, version })
}
