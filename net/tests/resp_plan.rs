//! Requests run through plan, engine state and render, over four groups in this process, and compared with what a Redis client
//! expects to read.
//!
//! The executor is what a node does, without a log: each part goes to the state machine of its group, writes are applied
//! and reads are answered. Time is a number that a transcript moves on.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use proptest::prelude::*;
use quorate::resp::plan::{Context, Parts, Plan, plan};
use quorate::resp::render::{Shape, write_many, write_one};
use quorate::resp::{Encoder, Limits, Parsed, Parser, Protocol, Trust, table};
use quorate_engine::ids::{GroupId, Slot};
use quorate_engine::machine::answer::{Answer, AnswerSink};
use quorate_engine::machine::command::{Command, Op, resolve_absolute};
use quorate_engine::machine::kv::{Kv, Moment};
use quorate_engine::slots::{SlotMap, slot_of};
use quorate_engine::time::LogTime;

/// Group clocks and the wall clock do not begin at the same time.
const LOG_START_NS: u64 = 1_000_000_000;
const WALL_START_NS: u64 = 1_700_000_000_000_000_000;

/// The state of all groups of a cluster, and what time it is there.
struct Store {
    map: SlotMap,
    groups: Vec<Kv>,
    elapsed_ns: u64,
    /// How far the wall clock was set ahead since the beginning.
    wall_step_ns: u64,
    parts: Parts,
    protocol: Protocol,
    random: u64,
}

impl Store {
    fn new(group_count: u32, protocol: Protocol) -> Self {
        let map = SlotMap::new(group_count).expect("tests have 1 to 16384 groups");
        let groups = (0..group_count).map(|group| Kv::new(map.slots_of(GroupId(group)))).collect();
        Self { map, groups, elapsed_ns: 0, wall_step_ns: 0, parts: Parts::default(), protocol, random: 0 }
    }

    /// Executes the request in `bytes`; returns the reply.
    fn run(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut encoder = Encoder::new(&mut out, self.protocol);
        let mut parser = Parser::new(Limits::default());
        assert_eq!(parser.parse(bytes, Trust::Authenticated), Parsed::Complete { consumed: bytes.len() });
        let args = parser.args(bytes);
        let spec = match table::resolve(args) {
            Ok(spec) => spec,
            Err(reject) => {
                reject.write(args, &mut encoder);
                return out;
            }
        };
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let context = Context { map: self.map, wall_now_ns: self.wall_now_ns(), random: self.random };
        let mut parts = std::mem::take(&mut self.parts);
        match plan(spec, args, &context, &mut parts) {
            Err(error) => encoder.error_args(format_args!("{error}")),
            Ok(Plan::Elsewhere) => encoder.simple("ELSEWHERE"),
            Ok(plan) => {
                let (shape, answers, count) = self.execute(plan, &parts);
                let wall_now_ns = self.wall_now_ns();
                if count == 1 {
                    write_one(shape, &answers, parts.pattern(), wall_now_ns, &mut encoder);
                } else {
                    write_many(shape, &answers, count, parts.pattern(), wall_now_ns, &mut encoder);
                }
            }
        }
        self.parts = parts;
        out
    }

    fn execute(&mut self, plan: Plan, parts: &Parts) -> (Shape, Vec<u8>, usize) {
        let mut answers = Vec::new();
        match plan {
            Plan::Parts { shape, .. } => {
                parts.iter().for_each(|part| self.send(part.slot, part.command, &mut answers));
                (shape, answers, parts.len())
            }
            Plan::EveryGroup { shape, .. } => {
                assert_eq!(parts.len(), 1);
                for group in 0..self.map.group_count() {
                    let slot = self.map.slots_of(GroupId(group)).first;
                    self.send(slot, parts.get(0).command, &mut answers);
                }
                (shape, answers, self.groups.len())
            }
            Plan::AnyGroup { shape } => {
                assert_eq!(parts.len(), 1);
                let first = self.map.group_of(parts.get(0).slot).0;
                for step in 0..self.map.group_count() {
                    answers.clear();
                    let slot = self.map.slots_of(GroupId((first + step) % self.map.group_count())).first;
                    self.send(slot, parts.get(0).command, &mut answers);
                    if !matches!(Answer::read(&answers), Some((Answer::Nil, _))) {
                        break;
                    }
                }
                (shape, answers, 1)
            }
            Plan::Elsewhere => panic!("not a data command"),
        }
    }

    /// Does what the leader of a group does with a command.
    fn send(&mut self, slot: Slot, command: &[u8], answers: &mut Vec<u8>) {
        let mut bytes = command.to_vec();
        resolve_absolute(&mut bytes, i64::try_from(self.wall_now_ns()).expect("it is long before the year 2262"));
        let command = Command::check(&bytes).expect("parts of a plan are commands");
        let moment = Moment { time: LogTime(LOG_START_NS + self.elapsed_ns) };
        let group = &mut self.groups[self.map.group_of(slot).0 as usize];
        let mut due = Vec::new();
        group.due(moment.time, usize::MAX, |key, deadline| due.push((key.to_vec(), deadline)));
        for (key, deadline) in due {
            let time = i64::try_from(deadline.0).expect("deadlines come from 63 bits");
            let expired = Command { time, ..Command::new(Op::Expired, &key) };
            group.apply(moment, &expired, &mut AnswerSink::discard());
        }
        if command.op.is_write() {
            group.apply(moment, &command, &mut AnswerSink::into(answers));
            group.check();
        } else {
            group.read(moment, &command, &mut AnswerSink::into(answers));
        }
    }

    fn wall_now_ns(&self) -> u64 {
        WALL_START_NS + self.elapsed_ns + self.wall_step_ns
    }

    /// Executes a request written as an inline one; returns the reply with `|` for each end of line.
    fn reply(&mut self, line: &str) -> String {
        let reply = self.run(format!("{line}\r\n").as_bytes());
        String::from_utf8(reply).expect("transcripts are text").replace("\r\n", "|")
    }

    /// Runs lines of `request => reply`; `+ 1500` lets milliseconds pass, `wall + 7` sets the wall clock ahead.
    #[track_caller]
    fn transcript(&mut self, lines: &str) {
        for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
            if let Some(milliseconds) = line.strip_prefix("+ ") {
                self.elapsed_ns += milliseconds.parse::<u64>().expect("a number of milliseconds") * 1_000_000;
                continue;
            }
            if let Some(milliseconds) = line.strip_prefix("wall + ") {
                self.wall_step_ns += milliseconds.parse::<u64>().expect("a number of milliseconds") * 1_000_000;
                continue;
            }
            let (request, reply) = line.split_once(" => ").expect("a request and its reply");
            assert_eq!(self.reply(request.trim()), format!("{reply}|"), "{request}");
        }
    }
}

fn resp2() -> Store {
    Store::new(4, Protocol::V2)
}

#[test]
fn strings_are_set_and_read() {
    resp2().transcript(
        r#"
        GET k                 => $-1
        SET k hello           => +OK
        GET k                 => $5|hello
        SET k "a\r\nb"        => +OK
        STRLEN k              => :4
        SET k ""              => +OK
        GET k                 => $0|
        EXISTS k              => :1
        SET k new GET         => $0|
        SET k again XX GET    => $3|new
        SET k no NX           => $-1
        SET k no NX GET       => $5|again
        SET none x XX         => $-1
        SET none x XX GET     => $-1
        EXISTS none           => :0
        SET none x NX GET     => $-1
        GET none              => $1|x
        SETNX k v             => :0
        SETNX fresh v         => :1
        GETSET fresh w        => $1|v
        GETSET other w        => $-1
        GETDEL other          => $1|w
        GETDEL other          => $-1
        SET k v NX XX         => -ERR syntax error
        SET k                 => -ERR wrong number of arguments for 'set' command
        "#,
    );
}

#[test]
fn parts_of_strings_are_read_and_overwritten() {
    resp2().transcript(
        "
        SET k 'This is a string' => +OK
        GETRANGE k 0 3        => $4|This
        GETRANGE k -3 -1      => $3|ing
        GETRANGE k 0 -1       => $16|This is a string
        GETRANGE k 10 100     => $6|string
        GETRANGE k 5 2        => $0|
        GETRANGE none 0 -1    => $0|
        SET k 'Hello World'   => +OK
        SETRANGE k 6 Redis    => :11
        GET k                 => $11|Hello Redis
        SETRANGE pad 3 x      => :4
        STRLEN pad            => :4
        SETRANGE none 0 ''    => :0
        EXISTS none           => :0
        SETRANGE k 70000000 x => -ERR string exceeds maximum allowed size (64 MiB)
        APPEND k !            => :12
        APPEND none ''        => :0
        EXISTS none           => :1
        APPEND fresh Hello    => :5
        APPEND fresh ' World' => :11
        GET fresh             => $11|Hello World
        ",
    );
}

#[test]
fn counters_count() {
    resp2().transcript(
        "
        INCR c                => :1
        INCRBY c 41           => :42
        DECR c                => :41
        DECRBY c 43           => :-2
        GET c                 => $2|-2
        STRLEN c              => :2
        APPEND c 5            => :3
        INCR c                => :-24
        SET c 9223372036854775807 => +OK
        INCR c                => -ERR increment or decrement would overflow
        SET c abc             => +OK
        INCR c                => -ERR value is not an integer or out of range
        SET c ' 1'            => +OK
        INCR c                => -ERR value is not an integer or out of range
        DECRBY c -9223372036854775808 => -ERR decrement would overflow
        SET f 10.50           => +OK
        INCRBYFLOAT f 0.1     => $4|10.6
        INCRBYFLOAT f -5      => $3|5.6
        SET f 5.0e3           => +OK
        INCRBYFLOAT f 2.0e2   => $4|5200
        INCRBYFLOAT c 1       => -ERR value is not a valid float
        INCRBYFLOAT f x       => -ERR value is not a valid float
        HSET h f v            => :1
        INCR h                => -WRONGTYPE Operation against a key holding the wrong kind of value
        ",
    );
}

#[test]
fn several_keys_are_handled_in_order_across_groups() {
    resp2().transcript(
        "
        SET a 1               => +OK
        SET b 2               => +OK
        SET c 3               => +OK
        HSET h f v            => :1
        MGET a none b h a     => *5|$1|1|$-1|$1|2|$-1|$1|1
        EXISTS a a none b     => :3
        TOUCH a none b        => :2
        DEL a none a b        => :2
        UNLINK c              => :1
        MGET a b c            => *3|$-1|$-1|$-1
        MSET {t}a 1 {t}b 2 {t}a 3 => +OK
        MGET {t}a {t}b {t}c   => *3|$1|3|$1|2|$-1
        MSET a 1 b 2          => -CROSSSLOT Keys in request don't hash to the same slot
        MSET a                => -ERR wrong number of arguments for 'mset' command
        MSET a 1 b            => -ERR wrong number of arguments for 'mset' command
        ",
    );
}

#[test]
fn keys_expire() {
    resp2().transcript(
        "
        TTL k                 => :-2
        SET k v               => +OK
        TTL k                 => :-1
        PEXPIRETIME k         => :-1
        EXPIRE k 10           => :1
        TTL k                 => :10
        PTTL k                => :10000
        EXPIRETIME k          => :1700000010
        PEXPIRETIME k         => :1700000010000
        + 1600
        TTL k                 => :8
        PTTL k                => :8400
        EXPIRETIME k          => :1700000010
        PERSIST k             => :1
        PERSIST k             => :0
        TTL k                 => :-1
        SET k v PX 1500       => +OK
        TTL k                 => :2
        SET k w KEEPTTL       => +OK
        PTTL k                => :1500
        + 1499
        GET k                 => $1|w
        + 1
        GET k                 => $-1
        SETEX k 5 v           => +OK
        SET k w               => +OK
        TTL k                 => :-1
        PSETEX k 500 v        => +OK
        PTTL k                => :500
        GETEX k PERSIST       => $1|v
        TTL k                 => :-1
        GETEX k EX 100        => $1|v
        GETEX k               => $1|v
        TTL k                 => :100
        GETEX none EX 100     => $-1
        SET k v EXAT 1700000100 => +OK
        EXPIRETIME k          => :1700000100
        SET k v PXAT 1600000000000 => +OK
        EXISTS k              => :0
        SET k v               => +OK
        GETEX k EXAT 1        => $1|v
        EXISTS k              => :0
        APPEND k v            => :1
        EXPIRE k -1           => :1
        EXISTS k              => :0
        EXPIRE k 10           => :0
        ",
    );
}

/// Clients compare for equality what they asked for and what they are told, at whatever moments the clocks are read.
#[test]
fn the_time_at_which_a_key_ends_is_told_as_it_was_named() {
    resp2().transcript(
        "
        SET k v PXAT 1700000100123   => +OK
        wall + 7
        PEXPIRETIME k                => :1700000100123
        EXPIRETIME k                 => :1700000100
        PEXPIREAT k 1700000200877    => :1
        wall + 12
        PEXPIRETIME k                => :1700000200877
        EXPIRETIME k                 => :1700000201
        GETEX k EXAT 1700000300      => $1|v
        wall + 3
        EXPIRETIME k                 => :1700000300
        PEXPIRETIME k                => :1700000300000
        SET k w KEEPTTL              => +OK
        APPEND k x                   => :2
        PEXPIRETIME k                => :1700000300000
        PEXPIRE k 1000               => :1
        wall + 5
        PEXPIRETIME k                => :1700000001022
        + 400
        PEXPIRETIME k                => :1700000001022
        PTTL k                       => :600
        EXPIRE k 2 LT                => :0
        PEXPIRETIME k                => :1700000001022
        PERSIST k                    => :1
        PEXPIRETIME k                => :-1
        SET k v                      => +OK
        PEXPIRETIME k                => :-1
        DEL k                        => :1
        PEXPIRETIME k                => :-2
        ",
    );
}

#[test]
fn conditions_of_an_expiry_hold() {
    resp2().transcript(
        "
        SET k v               => +OK
        EXPIRE k 100 XX       => :0
        EXPIRE k 100 GT       => :0
        TTL k                 => :-1
        EXPIRE k 100 LT       => :1
        EXPIRE k 200 NX       => :0
        EXPIRE k 50 GT        => :0
        EXPIRE k 200 GT       => :1
        EXPIRE k 300 LT       => :0
        EXPIRE k 150 XX LT    => :1
        TTL k                 => :150
        EXPIREAT k 1700000100 => :1
        TTL k                 => :100
        PEXPIREAT k 1700000200000 GT => :1
        TTL k                 => :200
        EXPIREAT k 1 GT       => :0
        EXPIREAT k 1 LT       => :1
        EXISTS k              => :0
        EXPIRE k 1 NX XX      => -ERR NX and XX, GT or LT options at the same time are not compatible
        ",
    );
}

#[test]
fn hashes_hold_fields() {
    resp2().transcript(
        "
        HSET h b 2 a 1        => :2
        HSET h b 3 c 4        => :1
        HGET h b              => $1|3
        HGET h none           => $-1
        HGET none b           => $-1
        HMGET h a none c      => *3|$1|1|$-1|$1|4
        HMGET none a b        => *2|$-1|$-1
        HMSET h a 1 b 3       => +OK
        HSETNX h a 9          => :0
        HSETNX h d 5          => :1
        HLEN h                => :4
        HEXISTS h d           => :1
        HEXISTS h e           => :0
        HDEL h d e            => :1
        HGETALL h             => *6|$1|a|$1|1|$1|b|$1|3|$1|c|$1|4
        HKEYS h               => *3|$1|a|$1|b|$1|c
        HVALS h               => *3|$1|1|$1|3|$1|4
        HGETALL none          => *0
        HKEYS none            => *0
        HINCRBY h a 5         => :6
        HINCRBY h fresh -5    => :-5
        HINCRBYFLOAT h a 0.5  => $3|6.5
        HINCRBY h a 1         => -ERR hash value is not an integer
        HSET h text x         => :1
        HINCRBYFLOAT h text 1 => -ERR hash value is not a float
        HINCRBY h a x         => -ERR value is not an integer or out of range
        TYPE h                => +hash
        GET h                 => -WRONGTYPE Operation against a key holding the wrong kind of value
        SET h v GET           => -WRONGTYPE Operation against a key holding the wrong kind of value
        SET s v               => +OK
        HSET s f v            => -WRONGTYPE Operation against a key holding the wrong kind of value
        HGETALL s             => -WRONGTYPE Operation against a key holding the wrong kind of value
        TYPE s                => +string
        TYPE none             => +none
        HDEL h a b c fresh text => :5
        EXISTS h              => :0
        HSET h a              => -ERR wrong number of arguments for 'hset' command
        HSET h a 1 b          => -ERR wrong number of arguments for 'hset' command
        HMSET h a 1 b         => -ERR wrong number of arguments for 'hmset' command
        ",
    );
}

#[test]
fn the_third_version_has_maps_and_its_own_null() {
    Store::new(4, Protocol::V3).transcript(
        "
        GET k                 => _
        SET k v NX GET        => _
        MGET k none           => *2|$1|v|_
        HSET h f v            => :1
        HGETALL h             => %1|$1|f|$1|v
        HGETALL none          => %0
        HKEYS h               => *1|$1|f
        HMGET h f g           => *2|$1|v|_
        INCRBYFLOAT n 1.5     => $3|1.5
        HINCRBYFLOAT h n 1.5  => $3|1.5
        HSCAN h 0 MATCH f     => *2|$1|0|*2|$1|f|$1|v
        TYPE h                => +hash
        RANDOMKEY none        => -ERR wrong number of arguments for 'randomkey' command
        ",
    );
}

#[test]
fn the_database_is_counted_listed_and_flushed() {
    let mut store = resp2();
    store.transcript(
        "
        DBSIZE                => :0
        RANDOMKEY             => $-1
        KEYS *                => *0
        SCAN 0                => *2|$4|4096|*0
        SET only v            => +OK
        RANDOMKEY             => $4|only
        RANDOMKEY             => $4|only
        SET a1 v              => +OK
        SET b1 v              => +OK
        HSET a2 f v           => :1
        SET '' v              => +OK
        DBSIZE                => :5
        KEYS ''               => *1|$0|
        KEYS nothing*         => *0
        KEYS onl[xy]          => *1|$4|only
        ",
    );
    assert_eq!(names_in(&store.reply("KEYS a*")), ["a1", "a2"]);
    assert_eq!(names_in(&store.reply("KEYS *")), ["", "a1", "a2", "b1", "only"]);
    store.transcript(
        "
        FLUSHALL NOW          => -ERR syntax error
        FLUSHDB ASYNC         => +OK
        DBSIZE                => :0
        KEYS *                => *0
        ",
    );
}

#[test]
fn any_key_comes_up_at_random() {
    let mut store = resp2();
    let names: BTreeSet<String> = (0..8).map(|n| format!("key:{n}")).collect();
    names.iter().for_each(|name| assert_eq!(store.reply(&format!("SET {name} v")), "+OK|"));
    let seen: BTreeSet<String> = (0..400).map(|_| store.reply("RANDOMKEY")).collect();
    assert_eq!(seen, names.iter().map(|name| format!("${}|{name}|", name.len())).collect());
}

/// Returns the bulk strings of a reply without line breaks in them, sorted.
fn names_in(reply: &str) -> Vec<String> {
    let mut lines = reply.split('|');
    let mut names = Vec::new();
    while let Some(line) = lines.next() {
        if line.starts_with('$') {
            names.push(lines.next().expect("a string follows its length").to_owned());
        }
    }
    names.sort_unstable();
    names
}

/// Scans to the end; returns everything that came, and checks that the steps end.
fn scan_all(store: &mut Store, front: &str, options: &str) -> Vec<String> {
    let (mut cursor, mut names) = ("0".to_owned(), Vec::new());
    for _ in 0..100_000 {
        let reply = store.reply(&format!("{front} {cursor} {options}"));
        let reply = reply.strip_prefix("*2|$").unwrap_or_else(|| panic!("{reply}"));
        let (_, reply) = reply.split_once('|').expect("the length of the cursor");
        let (next, list) = reply.split_once('|').expect("the cursor");
        names.extend(names_in(list));
        next.clone_into(&mut cursor);
        if cursor == "0" {
            names.sort_unstable();
            return names;
        }
    }
    panic!("the scan does not end")
}

#[test]
fn a_scan_returns_every_key_once_in_steps_of_any_size() {
    for group_count in [1, 3, 4, 16_384] {
        let mut store = Store::new(group_count, Protocol::V2);
        let count = if group_count > 4 { 40 } else { 400 };
        let mut names: Vec<String> = (0..count).map(|n| format!("key:{n}")).collect();
        names.extend((0..60).map(|n| format!("{{tag}}:{n}")));
        names.sort_unstable();
        for name in &names {
            assert_eq!(store.reply(&format!("SET {name} v")), "+OK|");
        }
        for options in ["COUNT 1", "COUNT 7", "", "COUNT 100000"] {
            assert_eq!(scan_all(&mut store, "SCAN", options), names, "{group_count} groups, {options}");
        }
        let tagged: Vec<String> = names.iter().filter(|name| name.starts_with('{')).cloned().collect();
        assert_eq!(scan_all(&mut store, "SCAN", "MATCH {tag}:* COUNT 3"), tagged);
        assert_eq!(scan_all(&mut store, "SCAN", "TYPE string MATCH {tag}:* "), tagged);
        assert!(scan_all(&mut store, "SCAN", "TYPE hash").is_empty());
        assert!(scan_all(&mut store, "SCAN", "TYPE zset").is_empty());
    }
}

#[test]
fn a_key_that_stays_is_found_whatever_else_comes_and_goes() {
    let mut store = resp2();
    let stay: Vec<String> = (0..100).map(|n| format!("{{tag}}stay:{n}")).collect();
    stay.iter().for_each(|name| assert_eq!(store.reply(&format!("SET {name} v")), "+OK|"));
    let (mut cursor, mut seen, mut step) = ("0".to_owned(), BTreeSet::new(), 0);
    loop {
        let reply = store.reply(&format!("SCAN {cursor} MATCH *stay* COUNT 5"));
        let (next, list) = reply.strip_prefix("*2|$").unwrap().split_once('|').unwrap().1.split_once('|').unwrap();
        seen.extend(names_in(list));
        if next == "0" {
            break;
        }
        next.clone_into(&mut cursor);
        step += 1;
        store.reply(&format!("SET {{tag}}guest:{step} v"));
        store.reply(&format!("DEL {{tag}}guest:{}", step / 2));
    }
    assert_eq!(seen, stay.into_iter().collect());
}

#[test]
fn a_scan_of_fields_returns_every_field_with_its_value() {
    let mut store = resp2();
    let mut request = String::from("HSET h");
    (0..300).for_each(|n| write!(request, " field:{n} value:{n}").unwrap());
    assert_eq!(store.reply(&request), ":300|");
    let mut all: Vec<String> = (0..300).flat_map(|n| [format!("field:{n}"), format!("value:{n}")]).collect();
    all.sort_unstable();
    for options in ["", "COUNT 1", "COUNT 1000"] {
        assert_eq!(scan_all(&mut store, "HSCAN h", options), all, "{options}");
    }
    assert_eq!(scan_all(&mut store, "HSCAN h", "MATCH field:7"), ["field:7", "value:7"]);
    store.transcript(
        "
        HSCAN none 0          => *2|$1|0|*0
        SET s v               => +OK
        HSCAN s 0             => -WRONGTYPE Operation against a key holding the wrong kind of value
        ",
    );
}

#[test]
fn cursors_that_no_scan_returned_are_no_harm() {
    let mut store = resp2();
    (0..50).for_each(|n| assert_eq!(store.reply(&format!("SET key:{n} v")), "+OK|"));
    for cursor in [1, 16_383, 16_384, 1 << 20, u64::MAX / 3, u64::MAX] {
        let reply = store.reply(&format!("SCAN {cursor}"));
        assert!(reply.starts_with("*2|$"), "{reply}");
    }
}

#[test]
fn what_is_not_data_is_left_to_others() {
    resp2().transcript(
        "
        PING                  => +ELSEWHERE
        CLIENT ID             => +ELSEWHERE
        CLUSTER SLOTS         => +ELSEWHERE
        PUBLISH channel text  => +ELSEWHERE
        WAIT 1 0              => +ELSEWHERE
        CACHE.PEEK k          => +ELSEWHERE
        ",
    );
}

/// Returns what stands behind the one whole reply at the front of `bytes`.
fn behind_reply(bytes: &[u8]) -> Option<&[u8]> {
    let end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
    let (line, mut rest) = (&bytes[..end], &bytes[end + 2..]);
    let number = || std::str::from_utf8(&line[1..]).ok()?.parse::<i64>().ok();
    match line.first()? {
        b'+' | b'-' => Some(rest),
        b':' => number().map(|_| rest),
        b'_' => (line.len() == 1).then_some(rest),
        b'$' => match usize::try_from(number()?) {
            Ok(len) => rest.get(len..)?.strip_prefix(b"\r\n"),
            Err(_) => Some(rest),
        },
        kind @ (b'*' | b'%') => {
            let each = if *kind == b'%' { 2 } else { 1 };
            for _ in 0..number()? * each {
                rest = behind_reply(rest)?;
            }
            Some(rest)
        }
        _ => None,
    }
}

const NAMES: &str = "GET SET SETNX SETEX PSETEX GETSET GETDEL GETEX GETRANGE SETRANGE STRLEN APPEND MGET MSET INCR DECR INCRBY \
    DECRBY INCRBYFLOAT DEL UNLINK EXISTS TOUCH TYPE EXPIRE PEXPIRE EXPIREAT PEXPIREAT EXPIRETIME PEXPIRETIME TTL PTTL PERSIST \
    KEYS SCAN RANDOMKEY HSET HSETNX HGET HMGET HGETALL HKEYS HVALS HSCAN HDEL HINCRBY HINCRBYFLOAT HLEN HEXISTS DBSIZE FLUSHALL";

const WORDS: &str = "a b {t}a {t}b h f g 0 1 -1 10 1.5 9223372036854775807 NX XX GET KEEPTTL PERSIST EX PX EXAT PXAT GT LT \
    1700000001 1700000001000 MATCH COUNT TYPE string hash * a? ASYNC";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 5 } else { ProptestConfig::default().cases.max(1_000) }))]

    #[test]
    fn any_requests_get_one_whole_reply_each_and_never_a_broken_answer(
        requests in prop::collection::vec(
            (
                prop::sample::select(NAMES.split_whitespace().collect::<Vec<_>>()),
                prop::collection::vec(prop::sample::select(WORDS.split_whitespace().collect::<Vec<_>>()), 0..5),
                0_u64..3_000,
            ),
            1..40,
        ),
        is_third in any::<bool>(),
    ) {
        let mut store = Store::new(4, if is_third { Protocol::V3 } else { Protocol::V2 });
        for (name, args, milliseconds) in requests {
            store.elapsed_ns += milliseconds * 1_000_000;
            let reply = store.run(format!("{name} {}\r\n", args.join(" ")).as_bytes());
            let text = reply.escape_ascii().to_string();
            prop_assert_eq!(behind_reply(&reply), Some(&b""[..]), "{} {:?}: {}", name, args, text);
            prop_assert!(!text.starts_with("-ERR internal"), "{} {:?}", name, args);
        }
    }
}

#[test]
fn the_transcripts_cross_groups() {
    let map = SlotMap::new(4).unwrap();
    let groups: BTreeSet<GroupId> = ["a", "b", "c", "k", "h"].map(|key| map.group_of(slot_of(key.as_bytes()))).into();
    assert!(groups.len() >= 2, "{groups:?}");
}
