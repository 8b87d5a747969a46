//! `LOG READ`: the committed entries of a group, as the replica of this node holds them, a page at a time.
//!
//! A command is told in the words that a client would say, so that what the log holds can be applied elsewhere. What only the log
//! says (the beginning of an epoch, the end of a key's time, that one group is emptied) is told by its kind. Times to live are
//! told exactly beside the words, which count in milliseconds.
//!
//! # Time and units
//! `time_ns` and `ends_at_ns` are on the group's own clock, which stands still while nobody leads; `ttl_ns` counts from `time_ns`. In the
//! words, and in `until_ns`, time is counted since the Unix epoch.
//!
//! # Bounds
//! A page has at most `COUNT_MAX` entries and about `PAGE_BYTES_MAX` bytes of them, but one entry in any case.

use core::ops::ControlFlow;
use std::borrow::Cow;

use quorate_engine::Level;
use quorate_engine::entry::{Entry, EntryKind};
use quorate_engine::ids::{GroupId, LogIndex};
use quorate_engine::machine::answer::AnswerSink;
use quorate_engine::machine::command::{Command, Flags, Op, items};

use crate::resp::Args;
use crate::transport::ConnId;
use crate::wire::About;

use super::ending::Ending;
use super::events::{SYNTAX, number};
use super::links::RecordKind;
use super::requests::{Effect, Executor, Origin, Underway};
use super::{Cpu, Task};

const COUNT_DEFAULT: u64 = 100;
const COUNT_MAX: u64 = 4096;
/// Well below what a CPU takes on for one reply, and not too long for its turn.
const PAGE_BYTES_MAX: usize = 256 << 10;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Page {
    from: LogIndex,
    count: u64,
}

impl Cpu {
    /// `LOG READ group FROM index [COUNT count]`.
    pub(super) fn serve_log_read(&mut self, conn: ConnId, args: Args<'_>) {
        let asked = self.front.group_named(&args[2]).and_then(|group| Ok((group, Page::read(args)?)));
        let (group, page) = match asked {
            Ok(asked) => asked,
            Err(text) => return self.front.reply_now(conn, |out| out.error(&text)),
        };
        let place = self.expect_answer(conn);
        let question = page.encode();
        let slot = self.front.facts.placement.slots().slots_of(group).first;
        let task = Task {
            group,
            slot,
            command: &question,
            level: Level::Commit,
            after: LogIndex(0),
            hops: 0,
            effect: Effect::None,
        };
        self.read_log(Origin::Resp { conn, place, part: 0 }, &task);
    }

    /// Reads from the log of this node; the task was made by [`Cpu::serve_log_read`].
    pub(super) fn read_log(&mut self, origin: Origin, task: &Task<'_>) {
        let group = task.group;
        let home = self.front.facts.home_of(group);
        if home != self.front.id {
            return self.front.pass_to_cpu(origin, home, RecordKind::Log, task);
        }
        // As a request under way, so that a long page waits for no room behind others.
        let underway = Underway { origin, executor: Executor::Here, effect: Effect::None, group };
        let Some(key) = self.front.add_request(underway) else { return };
        let mut answer = Vec::new();
        self.write_log(group, Page::decode(task.command), &mut answer);
        let ending = Ending::Done { about: About::NOTHING, loss_gen: 0, index: LogIndex(0), answer: &answer };
        self.front.complete(key, &ending);
    }

    fn write_log(&self, group: GroupId, page: Page, answer: &mut Vec<u8>) {
        if !self.front.holds(group) {
            let text = format!("ERR this node holds no replica of group {group}");
            return AnswerSink::into(answer).error(&text);
        }
        let (mut count, mut bytes, mut written) = (0, 0, Vec::new());
        let read = self.engine.read_log(group, page.from, |entry| {
            if count == page.count || (count > 0 && bytes + entry.body().len() > PAGE_BYTES_MAX) {
                return ControlFlow::Break(());
            }
            (count, bytes) = (count + 1, bytes + entry.body().len());
            write_entry(entry, &mut AnswerSink::into(&mut written));
            ControlFlow::Continue(())
        });
        match read {
            Err(error) => AnswerSink::into(answer).error(&format!("ERR {error}")),
            Ok(commit) => {
                let sink = &mut AnswerSink::into(answer);
                sink.map(3);
                field(sink, "commit", commit.0);
                field(sink, "next", page.from.0 + count);
                sink.bulk(b"entries");
                sink.array(usize::try_from(count).expect("at most COUNT_MAX"));
                answer.append(&mut written);
            }
        }
    }
}

impl Page {
    fn read(args: Args<'_>) -> Result<Self, String> {
        let mut page = Self { from: LogIndex(0), count: COUNT_DEFAULT };
        let mut words = args.iter().skip(3);
        while let Some(word) = words.next() {
            let value = words.next().ok_or(SYNTAX.to_owned()).and_then(number)?;
            match word.to_ascii_lowercase().as_slice() {
                b"from" => page.from = LogIndex(value),
                b"count" => page.count = value.min(COUNT_MAX),
                _ => return Err(SYNTAX.to_owned()),
            }
        }
        match page.from {
            LogIndex(0) => Err("ERR expected FROM and an index; the first entry of a log is 1".to_owned()),
            // What comes next can still be told.
            LogIndex(from) if from > u64::MAX - COUNT_MAX => Err("ERR there is no such index".to_owned()),
            _ => Ok(page),
        }
    }

    /// Writes it as a command, which is what CPUs pass to each other.
    fn encode(self) -> Vec<u8> {
        let number = |value: u64| i64::from_le_bytes(value.to_le_bytes());
        let mut question = Vec::new();
        Command { number: number(self.from.0), time: number(self.count), ..Command::new(Op::Count, b"") }
            .encode_into(&mut question);
        question
    }

    fn decode(question: &[u8]) -> Self {
        let command = Command::decode(question).expect("made by this node");
        let number = |value: i64| u64::from_le_bytes(value.to_le_bytes());
        Self { from: LogIndex(number(command.number)), count: number(command.time) }
    }
}

fn write_entry(entry: &Entry<'_>, sink: &mut AnswerSink<'_>) {
    let command = match entry.kind() {
        EntryKind::View => None,
        EntryKind::Command => Some(Command::decode(entry.body()).expect("entries hold checked commands")),
    };
    let Some(command) = command else {
        return write_fields(entry, "view", 0, sink);
    };
    match words(&command) {
        Some(words) => {
            let has_end = command.flags.has(Flags::TTL);
            write_fields(entry, "command", if has_end { 3 } else { 1 }, sink);
            sink.bulk(b"command");
            sink.array(words.len());
            words.iter().for_each(|word| sink.bulk(word));
            if has_end {
                sink.bulk(b"ttl_ns");
                sink.int(command.time);
                sink.bulk(b"until_ns");
                sink.int(command.number);
            }
        }
        None if command.op == Op::Expired => {
            write_fields(entry, "expired", 2, sink);
            sink.bulk(b"key");
            sink.bulk(command.key);
            sink.bulk(b"ends_at_ns");
            sink.int(command.time);
        }
        // Every key of this group; a client can only say it of all groups.
        None => write_fields(entry, "flush", 0, sink),
    }
}

/// Writes the head of an entry's map, and what all entries have; `more` fields follow.
fn write_fields(entry: &Entry<'_>, kind: &str, more: usize, sink: &mut AnswerSink<'_>) {
    sink.map(4 + more);
    field(sink, "index", entry.id().index.0);
    field(sink, "epoch", entry.id().epoch.0);
    field(sink, "time_ns", entry.time().0);
    sink.bulk(b"kind");
    sink.bulk(kind.as_bytes());
}

fn field(sink: &mut AnswerSink<'_>, name: &str, value: u64) {
    sink.bulk(name.as_bytes());
    sink.int(i64::try_from(value).unwrap_or(i64::MAX));
}

/// Returns what a client would say for a command; `None` for what no client can say of one group.
fn words<'a>(command: &Command<'a>) -> Option<Vec<Cow<'a, [u8]>>> {
    let flags = command.flags;
    let key = || Cow::Borrowed(command.key);
    let value = || Cow::Borrowed(command.value);
    let number = || text(command.number.to_string());
    let listed = || items(command.value).map(Cow::Borrowed);
    let mut words = Vec::new();
    match command.op {
        Op::Set => {
            words.extend([text("SET"), key(), value()]);
            words.extend(options(flags, [(Flags::IF_ABSENT, "NX"), (Flags::IF_PRESENT, "XX"), (Flags::GET, "GET")]));
            words.extend(options(flags, [(Flags::KEEP_TTL, "KEEPTTL")]));
            words.extend(end(command));
        }
        Op::SetMany => {
            words.push(text("MSET"));
            words.extend(listed());
        }
        Op::SetRange => words.extend([text("SETRANGE"), key(), number(), value()]),
        Op::Append => words.extend([text("APPEND"), key(), value()]),
        Op::Increment => words.extend([text("INCRBY"), key(), number()]),
        Op::IncrementFloat => words.extend([text("INCRBYFLOAT"), key(), value()]),
        Op::GetDelete => words.extend([text("GETDEL"), key()]),
        Op::GetExpire => {
            words.extend([text("GETEX"), key()]);
            let end = end(command);
            words.extend(if end.is_empty() { vec![text("PERSIST")] } else { end });
        }
        Op::Delete => {
            words.push(text("DEL"));
            words.extend(listed());
        }
        Op::Expire => {
            // PXAT or PX becomes the name of the command.
            let mut end = end(command);
            let name = if end.first().is_some_and(|word| **word == *b"PXAT") { "PEXPIREAT" } else { "PEXPIRE" };
            words.extend([text(name), key(), end.pop().unwrap_or_else(|| text("0"))]);
            words.extend(options(flags, [(Flags::IF_ABSENT, "NX"), (Flags::IF_PRESENT, "XX")]));
            words.extend(options(flags, [(Flags::IF_LATER, "GT"), (Flags::IF_EARLIER, "LT")]));
        }
        Op::Persist => words.extend([text("PERSIST"), key()]),
        Op::HashSet => {
            words.extend([text(if flags.has(Flags::IF_ABSENT) { "HSETNX" } else { "HSET" }), key()]);
            words.extend(listed());
        }
        Op::HashDelete => {
            words.extend([text("HDEL"), key()]);
            words.extend(listed());
        }
        Op::HashIncrement => words.extend([text("HINCRBY"), key(), value(), number()]),
        Op::HashIncrementFloat => {
            words.extend([text("HINCRBYFLOAT"), key()]);
            words.extend(listed());
        }
        // Reads are in no log.
        _ => return None,
    }
    Some(words)
}

fn text<'a>(word: impl Into<String>) -> Cow<'a, [u8]> {
    Cow::Owned(word.into().into_bytes())
}

fn options<'a, const N: usize>(flags: Flags, known: [(Flags, &str); N]) -> impl Iterator<Item = Cow<'a, [u8]>> {
    known.into_iter().filter(move |(flag, _)| flags.has(*flag)).map(|(_, word)| text(word))
}

/// Returns when a key is to end, in the words of SET: since the Unix epoch if whoever wrote it said so. Nothing without an end.
fn end<'a>(command: &Command<'_>) -> Vec<Cow<'a, [u8]>> {
    if !command.flags.has(Flags::TTL) {
        return Vec::new();
    }
    match command.number {
        // One that is over ends a key at once, as 0 would, but SET does not take that.
        0 => vec![text("PX"), text(command.time.div_euclid(MILLISECOND_NS).max(1).to_string())],
        until => vec![text("PXAT"), text(until.div_euclid(MILLISECOND_NS).max(1).to_string())],
    }
}

const MILLISECOND_NS: i64 = 1_000_000;

#[cfg(test)]
mod tests {
    use quorate_engine::slots::SlotMap;

    use super::*;
    use crate::resp::plan::{Context, Parts, plan};
    use crate::resp::{Limits, Parser, Trust, table};

    fn planned(request: &[&str], parts: &mut Parts) {
        let mut bytes = format!("*{}\r\n", request.len()).into_bytes();
        request.iter().for_each(|word| bytes.extend(format!("${}\r\n{word}\r\n", word.len()).bytes()));
        let mut parser = Parser::new(Limits::default());
        let _ = parser.parse(&bytes, Trust::Authenticated);
        let args = parser.args(&bytes);
        let context = Context { map: SlotMap::new(1).expect("in range"), wall_now_ns: 5_000_000_000, random: 0 };
        plan(table::resolve(args).expect("a command"), args, &context, parts).expect("a plan");
        assert_eq!(parts.len(), 1);
    }

    fn words_of(parts: &Parts) -> Vec<String> {
        let command = Command::check(parts.get(0).command).expect("parts are commands");
        let words = words(&command).expect("a client said it");
        words.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect()
    }

    #[test]
    fn words_mean_the_command_that_they_were_told_of() {
        let (mut parts, mut again) = (Parts::default(), Parts::default());
        for (request, expected) in [
            ("SET k v", "SET k v"),
            ("SET k v NX GET", "SET k v NX GET"),
            ("SET k v XX KEEPTTL", "SET k v XX KEEPTTL"),
            ("SETNX k v", "SET k v NX"),
            ("GETSET k v", "SET k v GET"),
            ("MSET {a}1 x {a}2 y", "MSET {a}1 x {a}2 y"),
            ("SETRANGE k 3 v", "SETRANGE k 3 v"),
            ("APPEND k v", "APPEND k v"),
            ("DECRBY k 3", "INCRBY k -3"),
            ("INCRBYFLOAT k 1.5", "INCRBYFLOAT k 1.5"),
            ("GETDEL k", "GETDEL k"),
            ("GETEX k PERSIST", "GETEX k PERSIST"),
            ("UNLINK k", "DEL k"),
            ("PERSIST k", "PERSIST k"),
            ("HSET k f v g w", "HSET k f v g w"),
            ("HSETNX k f v", "HSETNX k f v"),
            ("HDEL k f g", "HDEL k f g"),
            ("HINCRBY k f 3", "HINCRBY k f 3"),
            ("HINCRBYFLOAT k f 1.5", "HINCRBYFLOAT k f 1.5"),
        ] {
            planned(&request.split(' ').collect::<Vec<_>>(), &mut parts);
            assert_eq!(words_of(&parts).join(" "), expected);
            planned(&expected.split(' ').collect::<Vec<_>>(), &mut again);
            assert_eq!(again.get(0).command, parts.get(0).command, "{request}");
        }
    }

    #[test]
    fn times_to_live_are_told_as_the_time_when_they_end() {
        let mut parts = Parts::default();
        for (request, expected) in [
            ("SET k v EX 2", "SET k v PXAT 7000"),
            ("PSETEX k 1500 v", "SET k v PXAT 6500"),
            ("GETEX k PX 10", "GETEX k PXAT 5010"),
            ("EXPIRE k 2 GT", "PEXPIREAT k 7000 GT"),
        ] {
            planned(&request.split(' ').collect::<Vec<_>>(), &mut parts);
            assert_eq!(words_of(&parts).join(" "), expected);
        }
        // A native client need not say when it ends.
        let nameless = Command { flags: Flags::TTL, time: 1_999_999, ..Command::new(Op::Expire, b"k") };
        let words = words(&nameless).expect("a client said it");
        assert_eq!(words.concat(), b"PEXPIREk1");
    }

    #[test]
    fn a_page_travels_between_cpus() {
        let page = Page { from: LogIndex(u64::MAX - COUNT_MAX), count: 7 };
        assert_eq!(Page::decode(&page.encode()), page);
    }
}
