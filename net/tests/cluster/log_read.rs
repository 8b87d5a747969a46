//! `LOG READ`: whoever reads the log of a group can work out its state.
//!
//! Two who know nothing of the replicas do: the oracle here, which says in its own words what each command does, and the state
//! machine of the engine, which is given the commands as clients would send them and must come to the same digest.

mod draw;
mod oracle;

use std::collections::{BTreeMap, BTreeSet};

use quorate::resp::plan::{Context, Parts, plan};
use quorate::resp::{Limits, Parser, Trust, table};
use quorate_engine::ids::GroupId;
use quorate_engine::machine::answer::AnswerSink;
use quorate_engine::machine::command::{Command, Flags, Op};
use quorate_engine::machine::kv::{Kv, Moment};
use quorate_engine::slots::SlotMap;
use quorate_engine::time::LogTime;

use super::daemons::{Cluster, Shape, until};
use super::resp::{Reply, Resp, push_request};
use draw::Draw;
use oracle::{Oracle, Value};

/// An entry as it was read.
#[derive(Debug)]
struct Entry {
    index: i64,
    time_ns: i64,
    what: What,
}

#[derive(Debug)]
enum What {
    View,
    Flush,
    Expired { key: String, ends_at_ns: i64 },
    Command { words: Vec<String>, ttl: Option<Ttl> },
}

#[derive(Clone, Copy, Debug)]
struct Ttl {
    ttl_ns: i64,
    until_ns: i64,
}

impl Entry {
    fn of(entry: &Reply) -> Self {
        let text = |value: &Reply| match value {
            Reply::Bulk(bytes) => String::from_utf8(bytes.clone()).expect("this test writes UTF-8"),
            other => panic!("{other:?}"),
        };
        let what = match text(entry.field("kind").expect("each has one")).as_str() {
            "view" => What::View,
            "flush" => What::Flush,
            "expired" => What::Expired {
                key: text(entry.field("key").expect("it names the key")),
                ends_at_ns: entry.number("ends_at_ns"),
            },
            "command" => {
                let Some(Reply::Array(words)) = entry.field("command") else { panic!("{entry:?}") };
                let ttl = entry
                    .field("ttl_ns")
                    .map(|_| Ttl { ttl_ns: entry.number("ttl_ns"), until_ns: entry.number("until_ns") });
                What::Command { words: words.iter().map(text).collect(), ttl }
            }
            other => panic!("a kind that is not documented: {other}"),
        };
        assert!(entry.number("epoch") >= 1);
        Self { index: entry.number("index"), time_ns: entry.number("time_ns"), what }
    }
}

/// A page: its entries, and the commit index.
fn page(resp: &mut Resp, group: u32, from: i64, count: i64) -> Result<(Vec<Entry>, i64), String> {
    match resp.ask(&["LOG", "READ", &group.to_string(), "FROM", &from.to_string(), "COUNT", &count.to_string()]) {
        Reply::Error(text) => Err(text),
        page => {
            let Some(Reply::Array(entries)) = page.field("entries") else { panic!("{page:?}") };
            let entries: Vec<Entry> = entries.iter().map(Entry::of).collect();
            assert!(entries.iter().map(|entry| entry.index).eq(from..from + entries.len() as i64), "no gaps");
            assert_eq!(page.number("next"), from + entries.len() as i64);
            Ok((entries, page.number("commit")))
        }
    }
}

fn third_version(address: &str) -> Resp {
    let mut resp = Resp::connect(address);
    resp.ask(&["HELLO", "3"]);
    resp
}

/// Index and digest of a replica's state.
fn digest(resp: &mut Resp) -> (i64, String) {
    let Reply::Array(groups) = resp.ask(&["LOG", "DIGEST", "0"]) else { panic!("groups in an array") };
    let Some(Reply::Bulk(digest)) = groups[0].field("digest") else { panic!("{groups:?}") };
    (groups[0].number("digest_index"), String::from_utf8_lossy(digest).into_owned())
}

/// The engine's state machine, given the words that were read.
struct Machine {
    kv: Kv,
    map: SlotMap,
    parser: Parser,
    parts: Parts,
}

impl Machine {
    fn new() -> Self {
        let map = SlotMap::new(1).expect("in range");
        let parser = Parser::new(Limits::default());
        Self { kv: Kv::new(map.slots_of(GroupId(0))), map, parser, parts: Parts::default() }
    }

    fn apply(&mut self, entry: &Entry) {
        let moment = Moment { time: LogTime(u64::try_from(entry.time_ns).expect("a time")) };
        match &entry.what {
            What::View => {}
            What::Flush => self.kv.apply(moment, &Command::new(Op::Flush, b""), &mut AnswerSink::discard()),
            What::Expired { key, ends_at_ns } => {
                let command = Command { time: *ends_at_ns, ..Command::new(Op::Expired, key.as_bytes()) };
                self.kv.apply(moment, &command, &mut AnswerSink::discard());
            }
            What::Command { words, ttl } => {
                let mut bytes = Vec::new();
                push_request(&mut bytes, &words.iter().map(String::as_str).collect::<Vec<_>>());
                let _ = self.parser.parse(&bytes, Trust::Authenticated);
                let args = self.parser.args(&bytes);
                let spec = table::resolve(args).unwrap_or_else(|_| panic!("a client can say {words:?}"));
                let context = Context { map: self.map, wall_now_ns: 0, random: 0 };
                plan(spec, args, &context, &mut self.parts).unwrap_or_else(|error| panic!("{words:?}: {error}"));
                assert_eq!(self.parts.len(), 1, "{words:?} is one command");
                let mut command = Command::check(self.parts.get(0).command).expect("parts are commands");
                if let Some(Ttl { ttl_ns, until_ns }) = ttl {
                    let flags = Flags((command.flags.0 & !Flags::ABSOLUTE.0) | Flags::TTL.0);
                    command = Command { flags, time: *ttl_ns, number: *until_ns, ..command };
                }
                if command.op == Op::Append {
                    // How long a string may become is up to the leader; here none comes near it.
                    command.number = i64::MAX;
                }
                self.kv.apply(moment, &command, &mut AnswerSink::discard());
            }
        }
    }
}

/// Reads a log from its beginning, and has both work out what comes of it.
struct Replay {
    oracle: Oracle,
    machine: Machine,
    next: i64,
    /// The group's clock at the last entry.
    time_ns: i64,
    kinds: BTreeSet<String>,
}

impl Replay {
    fn new() -> Self {
        Self { oracle: Oracle::default(), machine: Machine::new(), next: 1, time_ns: 0, kinds: BTreeSet::new() }
    }

    /// Goes on through `last`, or through all that is committed by then.
    fn read_through(&mut self, resp: &mut Resp, last: Option<i64>) {
        loop {
            let count = last.map_or(PAGE, |last| (last + 1 - self.next).min(PAGE));
            let (entries, commit) = page(resp, 0, self.next, count).expect("the log keeps all of it");
            for entry in &entries {
                self.oracle.apply(entry);
                self.machine.apply(entry);
                self.kinds.insert(match &entry.what {
                    What::Command { words, .. } => words[0].clone(),
                    What::View => "view".to_owned(),
                    What::Flush => "flush".to_owned(),
                    What::Expired { .. } => "expired".to_owned(),
                });
                self.time_ns = entry.time_ns;
            }
            self.next += i64::try_from(entries.len()).expect("a page");
            if self.next > last.unwrap_or(commit) {
                return;
            }
        }
    }

    /// Whether a key ends soon.
    fn has_short_lived(&self) -> bool {
        self.oracle.keys.values().any(|(_, ends_at)| ends_at.is_some_and(|at| at < self.time_ns + HOUR_NS))
    }
}

/// Asks a node for all it holds.
fn all_of(resp: &mut Resp) -> BTreeMap<String, Value> {
    let text = |reply: &Reply| match reply {
        Reply::Bulk(bytes) => String::from_utf8(bytes.clone()).expect("this test writes UTF-8"),
        other => panic!("{other:?}"),
    };
    let Reply::Array(keys) = resp.ask(&["KEYS", "*"]) else { panic!("keys in an array") };
    let keys: Vec<String> = keys.iter().map(text).collect();
    let types = resp.pipeline(keys.iter().map(|key| vec!["TYPE", key.as_str()]));
    let is_hash: Vec<bool> = types.iter().map(|kind| *kind == Reply::Word("hash".to_owned())).collect();
    let asked = keys.iter().zip(&is_hash);
    let values =
        resp.pipeline(asked.map(|(key, is_hash)| vec![if *is_hash { "HGETALL" } else { "GET" }, key.as_str()]));
    let value = |reply: &Reply| match reply {
        Reply::Map(pairs) => Value::Hash(pairs.iter().map(|(field, value)| (text(field), text(value))).collect()),
        reply => Value::Text(text(reply)),
    };
    keys.into_iter().zip(values.iter().map(value)).collect()
}

/// SMR-1.
#[test]
fn smr_1_whoever_replays_the_log_comes_to_the_state_of_every_replica() {
    let cluster = Cluster::start(&Shape::three().set_text("node", "log_memory", "256 MiB"));
    let mut writing = third_version(&cluster.resp(1));
    let mut reading = third_version(&cluster.resp(2));
    let (mut draw, mut replay) = (Draw(7), Replay::new());
    for batch in 0..COMMANDS / BATCH {
        let requests: Vec<String> = (0..BATCH).map(|_| draw.request()).collect();
        let replies = writing.pipeline(requests.iter().map(|request| request.split(' ').collect()));
        // What the state machine refuses is in the log as well.
        let is_refused = |reply: &Reply| matches!(reply, Reply::Error(text) if !REFUSALS.contains(&text.as_str()));
        let refused = replies.iter().zip(&requests).find(|(reply, _)| is_refused(reply));
        assert_eq!(refused, None, "everything is executed");
        if batch == COMMANDS / BATCH / 2 {
            assert_eq!(writing.ask(&["FLUSHALL"]), Reply::ok());
        }
        replay.read_through(&mut reading, None);
    }
    until("what ends soon has ended", || {
        replay.read_through(&mut reading, None);
        (!replay.has_short_lived()).then_some(())
    });
    let mut replicas: Vec<Resp> = (1..=3).map(|id| third_version(&cluster.resp(id))).collect();
    let (index, digests) = until("all replicas are at one index", || {
        let states: Vec<(i64, String)> = replicas.iter_mut().map(digest).collect();
        let index = states[0].0;
        let is_even = states.iter().all(|state| state.0 == index);
        is_even.then(|| (index, states.into_iter().map(|state| state.1).collect::<Vec<_>>()))
    });
    replay.read_through(&mut reading, Some(index));
    assert_eq!(replay.next, index + 1);
    let replayed = format!("{:016x}", replay.machine.kv.digest());
    assert_eq!(digests, vec![replayed; 3], "nodes 1, 2 and 3 at entry {index}, and whoever replays the log");

    let expected: BTreeMap<&str, &Value> =
        replay.oracle.keys.iter().map(|(key, (value, _))| (key.as_str(), value)).collect();
    let held = all_of(&mut writing);
    assert!(held.len() > 300, "{} keys", held.len());
    assert_eq!(held.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (key, value) in &held {
        assert_eq!(value, expected[key.as_str()], "{key}");
    }
    let kinds = replay.kinds.iter().map(String::as_str).collect::<Vec<_>>().join(" ");
    assert_eq!(kinds, ALL_KINDS, "every kind of entry was read");
    assert!(usize::try_from(index).is_ok_and(|index| index >= COMMANDS), "{index} entries");
}

#[test]
fn entries_that_are_not_kept_any_more_are_refused_with_the_first_one_that_is() {
    let small = Shape::one().set_text("node", "log_memory", "4 MiB").set_text("limits", "key_max", "1 KiB");
    let cluster = Cluster::start(&small.set_text("limits", "value_max", "16 KiB"));
    let mut resp = third_version(&cluster.resp(1));
    let value = "x".repeat(10_000);
    assert_eq!(page(&mut resp, 0, 1, 1).expect("it is there").0.len(), 1);
    let replies = resp.pipeline((0..2_000).map(|_| vec!["SET", "k", &value]));
    assert!(replies.iter().all(|reply| *reply == Reply::ok()), "20 MB go through 4 MiB");
    let refused = page(&mut resp, 0, 1, 1).expect_err("it is gone");
    let words = "ERR entry 1 of group 0 is not kept here any more: the first one is ";
    let first: i64 = refused.strip_prefix(words).unwrap_or_else(|| panic!("{refused}")).parse().expect("an index");
    assert!(page(&mut resp, 0, first - 1, 1).is_err());
    let (entries, commit) = page(&mut resp, 0, first, 4096).expect("it is kept");
    assert!((20..40).contains(&entries.len()), "{} entries of 10 kB come to a page", entries.len());
    assert!(commit > 2_000);
    assert_eq!(page(&mut resp, 0, commit + 1, 10).expect("what comes next").0.len(), 0);
    let Reply::Array(groups) = resp.ask(&["LOG", "STATUS", "0"]) else { panic!("groups in an array") };
    assert_eq!(groups[0].number("first"), first);
}

#[test]
fn the_log_of_any_group_is_read_through_any_cpu_and_what_makes_no_sense_is_refused() {
    let cluster = Cluster::start(&Shape::three().cpus(&[2, 2, 2]).partitions(2));
    let mut resp = third_version(&cluster.resp(1));
    for key in 0..20 {
        assert_eq!(resp.ask(&["SET", &format!("key:{key}"), "v"]), Reply::ok());
    }
    for group in 0..2 {
        let all: Vec<Vec<String>> = (1..=3)
            .flat_map(|id| (0..2).map(move |cpu| (id, cpu)))
            .map(|(id, cpu)| {
                let mut resp = third_version(&cluster.resp_of_cpu(id, cpu));
                let (entries, _) = until("it is committed there", || {
                    page(&mut resp, group, 1, 100).ok().filter(|(entries, _)| entries.len() >= 5)
                });
                entries.iter().take(5).map(|entry| format!("{entry:?}")).collect()
            })
            .collect();
        assert!(all.iter().all(|entries| *entries == all[0]), "{all:?}");
    }
    for (request, error) in [
        ("LOG READ 2 FROM 1", "ERR there is no such group: they are numbered 0 to 1"),
        ("LOG READ 0 FROM 0", "ERR expected FROM and an index; the first entry of a log is 1"),
        ("LOG READ 0 FROM x", "ERR value is not an integer or out of range"),
        ("LOG READ 0 COUNT 5", "ERR expected FROM and an index; the first entry of a log is 1"),
        ("LOG READ 0 FROM 1 COUNT", "ERR syntax error"),
        ("LOG READ 0 SINCE 1", "ERR syntax error"),
        ("LOG READ 0 FROM 18446744073709551615", "ERR there is no such index"),
    ] {
        assert_eq!(resp.ask(&request.split(' ').collect::<Vec<_>>()).error(), error, "{request}");
    }
}

const COMMANDS: usize = 200_000;
const BATCH: usize = 5_000;
/// What the state machine says of values that are of another kind.
const REFUSALS: [&str; 4] = [
    "WRONGTYPE Operation against a key holding the wrong kind of value",
    "ERR value is not an integer or out of range",
    "ERR value is not a valid float",
    "ERR hash value is not an integer",
];
const PAGE: i64 = 4096;
/// What `LOG READ` calls the commands of clients, and the rest.
const ALL_KINDS: &str = "APPEND DEL GETDEL GETEX HDEL HINCRBY HINCRBYFLOAT HSET HSETNX INCRBY INCRBYFLOAT MSET PERSIST \
                         PEXPIREAT SET SETRANGE expired flush view";
const HOUR_NS: i64 = 3_600_000_000_000;
