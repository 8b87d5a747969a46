use std::collections::BTreeSet;

use proptest::prelude::*;
use quorate_engine::machine::command::{Flags as Options, items};

use super::*;
use crate::resp::render::{Filter, TimeUnit};
use crate::resp::table::{self, Flags, Group};
use crate::resp::{Limits, Parsed, Parser, Trust};

const NOW_S: i64 = 1_700_000_000;
const MS: i64 = 1_000_000;
const S: i64 = 1_000 * MS;
const SYNTAX: &str = "ERR syntax error";
const INTEGER: &str = "ERR value is not an integer or out of range";
const CONDITIONS: &str = "ERR NX and XX, GT or LT options at the same time are not compatible";
const UNCONDITIONAL: &str = "ERR ACK accepted is for unconditional SET and DEL only; use ACK commit";
const RANDOM: u64 = 5 << 14 | 77;

fn context() -> Context {
    let wall_now_ns = u64::try_from(NOW_S * S).unwrap();
    Context { map: SlotMap::new(4).unwrap(), wall_now_ns, random: RANDOM }
}

/// Plans a request written as an inline one.
fn planned(line: &str) -> (Result<Plan, String>, Parts) {
    let bytes = format!("{line}\r\n").into_bytes();
    let mut parser = Parser::new(Limits::default());
    assert_eq!(parser.parse(&bytes, Trust::Authenticated), Parsed::Complete { consumed: bytes.len() }, "{line}");
    let args = parser.args(&bytes);
    let mut parts = Parts::default();
    let spec = table::find(args.first().unwrap()).unwrap();
    let plan = plan(spec, args, &context(), &mut parts);
    (plan.map_err(|error| error.to_string()), parts)
}

/// Plans a request that makes one part at the default level and compares shape and command.
#[track_caller]
fn check(line: &str, shape: Shape, command: Command<'_>) {
    let (plan, parts) = planned(line);
    assert_eq!(plan, Ok(Plan::Parts { level: Level::Commit, shape }), "{line}");
    assert_eq!(parts.len(), 1, "{line}");
    assert_eq!(parts.get(0).slot, slot_of(command.routing_key()), "{line}");
    assert_eq!(Command::check(parts.get(0).command), Ok(command), "{line}");
}

fn packed(list: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    list.iter().for_each(|item| quorate_engine::machine::command::push_item(&mut bytes, item.as_bytes()));
    bytes
}

fn key(op: Op) -> Command<'static> {
    Command::new(op, b"k")
}

fn value(op: Op, value: &[u8]) -> Command<'_> {
    Command { value, ..Command::new(op, b"k") }
}

/// With a time to live, and when that ends by the clock of the node that was asked.
fn expiring(flags: Options, time: i64, command: Command<'_>) -> Command<'_> {
    let number = match flags {
        _ if flags.has(Options::TTL) => (NOW_S * S).saturating_add(time),
        _ if flags.has(Options::ABSOLUTE) => time,
        _ => 0,
    };
    Command { flags, time, number, ..command }
}

#[test]
fn reads_of_one_key_are_planned() {
    let reply = Shape::Reply;
    check("GET k", reply, key(Op::Get));
    check("STRLEN k", reply, key(Op::Length));
    check("GETRANGE k 0 -1", reply, Command { number: 0, time: -1, ..key(Op::GetRange) });
    check("TYPE k", reply, key(Op::Type));
    check("TTL k", Shape::Remaining(TimeUnit::Seconds), key(Op::TimeToLive));
    check("PTTL k", Shape::Remaining(TimeUnit::Milliseconds), key(Op::TimeToLive));
    check("EXPIRETIME k", Shape::Deadline(TimeUnit::Seconds), key(Op::ExpireTime));
    check("PEXPIRETIME k", Shape::Deadline(TimeUnit::Milliseconds), key(Op::ExpireTime));
    check("HGET k f", reply, value(Op::HashGet, b"f"));
    check("HEXISTS k f", reply, value(Op::HashExists, b"f"));
    check("HLEN k", reply, key(Op::HashLength));
    check("HGETALL k", reply, key(Op::HashGetAll));
    check("HKEYS k", reply, key(Op::HashFields));
    check("HVALS k", reply, key(Op::HashValues));
    check("HMGET k f g f", reply, value(Op::HashGetMany, &packed(&["f", "g", "f"])));
}

#[test]
fn writes_of_one_key_are_planned() {
    let reply = Shape::Reply;
    check("APPEND k tail", reply, value(Op::Append, b"tail"));
    check("SETRANGE k 5 x", reply, Command { number: 5, ..value(Op::SetRange, b"x") });
    check("GETDEL k", reply, key(Op::GetDelete));
    check("GETSET k v", reply, Command { flags: Options::GET, ..value(Op::Set, b"v") });
    check("SETNX k v", Shape::SetIfAbsent, Command { flags: Options::IF_ABSENT, ..value(Op::Set, b"v") });
    check("SETEX k 10 v", reply, expiring(Options::TTL, 10 * S, value(Op::Set, b"v")));
    check("PSETEX k 10 v", reply, expiring(Options::TTL, 10 * MS, value(Op::Set, b"v")));
    check("INCR k", reply, Command { number: 1, ..key(Op::Increment) });
    check("DECR k", reply, Command { number: -1, ..key(Op::Increment) });
    check("INCRBY k -7", reply, Command { number: -7, ..key(Op::Increment) });
    check("DECRBY k 7", reply, Command { number: -7, ..key(Op::Increment) });
    check("DECRBY k -9223372036854775807", reply, Command { number: i64::MAX, ..key(Op::Increment) });
    check("INCRBYFLOAT k 0.1", reply, value(Op::IncrementFloat, b"0.1"));
    check("PERSIST k", reply, key(Op::Persist));
    check("HSET k f v g w", reply, value(Op::HashSet, &packed(&["f", "v", "g", "w"])));
    let absent = Command { flags: Options::IF_ABSENT, ..key(Op::HashSet) };
    check("HSETNX k f v", reply, Command { value: &packed(&["f", "v"]), ..absent });
    check("HDEL k f g", reply, value(Op::HashDelete, &packed(&["f", "g"])));
    check("HINCRBY k f 3", reply, Command { number: 3, ..value(Op::HashIncrement, b"f") });
    check("HINCRBYFLOAT k f 3.5", reply, value(Op::HashIncrementFloat, &packed(&["f", "3.5"])));
}

#[test]
fn options_of_set_become_flags_and_a_time() {
    let set = |line: &str, flags: Options, time: i64| {
        check(line, Shape::Reply, expiring(flags, time, value(Op::Set, b"v")));
    };
    set("SET k v", Options::default(), 0);
    set("set k v nx", Options::IF_ABSENT, 0);
    set("SET k v XX GET", Options::IF_PRESENT.with(Options::GET), 0);
    set("SET k v NX GET", Options::IF_ABSENT.with(Options::GET), 0);
    set("SET k v KEEPTTL", Options::KEEP_TTL, 0);
    set("SET k v EX 10", Options::TTL, 10 * S);
    set("SET k v pX 1500", Options::TTL, 1500 * MS);
    set("SET k v EXAT 1700000001", Options::ABSOLUTE, 1_700_000_001 * S);
    set("SET k v PXAT 1700000000001 GET", Options::ABSOLUTE.with(Options::GET), 1_700_000_000_001 * MS);
    set("SET k v EX 10 EX 20", Options::TTL, 20 * S);
    set("SET k v NX NX", Options::IF_ABSENT, 0);
    set("SET k v ACK commit EX 1", Options::TTL, S);
}

#[test]
fn options_of_getex_become_flags_and_a_time() {
    let get_expire = |line: &str, flags: Options, time: i64| {
        check(line, Shape::Reply, expiring(flags, time, key(Op::GetExpire)));
    };
    check("GETEX k", Shape::Reply, key(Op::Get));
    get_expire("GETEX k PERSIST", Options::default(), 0);
    get_expire("GETEX k EX 10", Options::TTL, 10 * S);
    get_expire("GETEX k PX 10", Options::TTL, 10 * MS);
    get_expire("GETEX k exat 1", Options::ABSOLUTE, S);
    get_expire("GETEX k pxat 1", Options::ABSOLUTE, MS);
}

#[test]
fn expiries_of_keys_may_lie_in_the_past() {
    let expire = |line: &str, flags: Options, time: i64| {
        check(line, Shape::Reply, expiring(flags, time, key(Op::Expire)));
    };
    expire("EXPIRE k 10", Options::TTL, 10 * S);
    expire("EXPIRE k 0", Options::TTL, 0);
    expire("EXPIRE k -1 NX", Options::TTL.with(Options::IF_ABSENT), -S);
    expire("EXPIRE k -9223372036854775", Options::TTL, i64::MIN);
    expire("PEXPIRE k 10 XX GT", Options::TTL.with(Options::IF_PRESENT).with(Options::IF_LATER), 10 * MS);
    expire("PEXPIRE k -9223372036854775808", Options::TTL, i64::MIN);
    expire("EXPIREAT k 1700000000 LT", Options::ABSOLUTE.with(Options::IF_EARLIER), NOW_S * S);
    expire("PEXPIREAT k 1 XX XX", Options::ABSOLUTE.with(Options::IF_PRESENT), MS);
    expire("EXPIREAT k -5", Options::ABSOLUTE, -5 * S);
}

#[test]
fn deadlines_reach_as_far_as_64_bits_of_nanoseconds() {
    let last_s = i64::MAX / S;
    let cases = [
        ("EXPIREAT k", "", last_s, "expireat"),
        ("EXPIRE k", "", last_s - NOW_S, "expire"),
        ("SET k v EX", "", last_s - NOW_S, "set"),
        ("SET k v EXAT", "", last_s, "set"),
        ("SETEX k", "v", last_s - NOW_S, "setex"),
        ("GETEX k EX", "", last_s - NOW_S, "getex"),
    ];
    for (front, back, last, name) in cases {
        assert!(planned(&format!("{front} {last} {back}")).0.is_ok(), "{front} {last}");
        let beyond = planned(&format!("{front} {} {back}", last + 1)).0;
        assert_eq!(beyond, Err(format!("ERR invalid expire time in '{name}' command")), "{front}");
        let far_beyond = planned(&format!("{front} {} {back}", i64::MAX)).0;
        assert_eq!(far_beyond, Err(format!("ERR invalid expire time in '{name}' command")), "{front}");
    }
}

#[test]
fn keys_of_one_slot_go_together_and_others_apart() {
    for (name, op, shape) in [
        ("DEL", Op::Delete, Shape::Sum),
        ("UNLINK", Op::Delete, Shape::Sum),
        ("EXISTS", Op::Exists, Shape::Sum),
        ("TOUCH", Op::Exists, Shape::Sum),
        ("MGET", Op::GetMany, Shape::List),
    ] {
        let (plan, parts) = planned(&format!("{name} {{t}}a {{t}}b {{t}}a"));
        assert_eq!(plan, Ok(Plan::Parts { level: Level::Commit, shape }), "{name}");
        let command = Command::check(parts.get(0).command).unwrap();
        assert_eq!((parts.len(), command.op), (1, op), "{name}");
        assert_eq!(items(command.value).collect::<Vec<_>>(), [b"{t}a", b"{t}b", b"{t}a"], "{name}");

        let (plan, parts) = planned(&format!("{name} a {{t}}b {{t}}c a"));
        assert_eq!(plan, Ok(Plan::Parts { level: Level::Commit, shape }), "{name}");
        let keys: Vec<Vec<&[u8]>> =
            parts.iter().map(|part| items(Command::check(part.command).unwrap().value).collect()).collect();
        assert_eq!(keys, [vec![&b"a"[..]], vec![b"{t}b", b"{t}c"], vec![b"a"]], "{name}");
        let slots: Vec<Slot> = parts.iter().map(|part| part.slot).collect();
        assert_eq!(slots, [slot_of(b"a"), slot_of(b"t"), slot_of(b"a")], "{name}");
    }
}

#[test]
fn keys_that_are_set_together_lie_in_one_slot() {
    check(
        "MSET {t}a 1 {t}b 2 {t}a 3",
        Shape::Done,
        Command { value: &packed(&["{t}a", "1", "{t}b", "2", "{t}a", "3"]), ..Command::new(Op::SetMany, b"") },
    );
    let refused = planned("MSET a 1 b 2").0.unwrap_err();
    assert_eq!(refused, "CROSSSLOT Keys in request don't hash to the same slot");
}

#[test]
fn commands_without_a_key_go_to_groups_in_turn_or_to_all() {
    let all = |line: &str, op: Op, shape: Shape| {
        let (plan, parts) = planned(line);
        assert_eq!(plan, Ok(Plan::EveryGroup { level: Level::Commit, shape }), "{line}");
        assert_eq!(Command::check(parts.get(0).command), Ok(Command::new(op, b"")), "{line}");
        assert_eq!(parts.len(), 1, "{line}");
        parts.pattern().to_vec()
    };
    assert_eq!(all("DBSIZE", Op::Count, Shape::Sum), b"");
    for line in ["FLUSHALL", "FLUSHDB", "flushall async", "FLUSHDB SYNC"] {
        assert_eq!(all(line, Op::Flush, Shape::Done), b"");
    }
    assert_eq!(all("KEYS *", Op::Keys, Shape::Keys(Filter::All)), b"");
    assert_eq!(all("KEYS a*", Op::Keys, Shape::Keys(Filter::Pattern)), b"a*");
    assert_eq!(all("KEYS ''", Op::Keys, Shape::Keys(Filter::Pattern)), b"");

    let (plan, parts) = planned("RANDOMKEY");
    assert_eq!(plan, Ok(Plan::AnyGroup { shape: Shape::Reply }));
    let command = Command { number: 5, ..Command::new(Op::RandomKey, b"") };
    assert_eq!(parts.iter().map(|part| Command::check(part.command)).collect::<Vec<_>>(), [Ok(command)]);
    assert_eq!(parts.get(0).slot, Slot(77));
}

#[test]
fn a_scan_goes_on_where_its_cursor_says() {
    let scan = |line: &str, slot: u16, next: u16, filter: Filter, command: Command<'_>| {
        let (plan, parts) = planned(line);
        let shape = Shape::Scan { next_group: Slot(next), filter };
        assert_eq!(plan, Ok(Plan::Parts { level: Level::Commit, shape }), "{line}");
        assert_eq!((parts.len(), parts.get(0).slot), (1, Slot(slot)), "{line}");
        assert_eq!(Command::check(parts.get(0).command), Ok(command), "{line}");
        parts.pattern().to_vec()
    };
    let at = |position: i64, slot: i64, count: i64| Command {
        number: position,
        time: count << 16 | slot,
        ..Command::new(Op::Scan, b"")
    };
    assert_eq!(scan("SCAN 0", 0, 4096, Filter::All, at(0, 0, 10)), b"");
    assert_eq!(scan("SCAN 4095", 4095, 4096, Filter::All, at(0, 4095, 10)), b"");
    assert_eq!(scan("SCAN 4096", 4096, 8192, Filter::All, at(0, 4096, 10)), b"");
    let deep = (3_u64 << 14 | 16_383).to_string();
    assert_eq!(scan(&format!("SCAN {deep}"), 16_383, 0, Filter::All, at(3, 16_383, 10)), b"");
    assert_eq!(scan("SCAN 0 match a* count 7", 0, 4096, Filter::Pattern, at(0, 0, 7)), b"a*");
    assert_eq!(scan("SCAN 0 MATCH *", 0, 4096, Filter::All, at(0, 0, 10)), b"");
    assert_eq!(scan("SCAN 0 MATCH ''", 0, 4096, Filter::Pattern, at(0, 0, 10)), b"");
    assert_eq!(scan("SCAN 0 MATCH a MATCH b", 0, 4096, Filter::Pattern, at(0, 0, 10)), b"b");
    assert_eq!(scan("SCAN 0 COUNT 999999999999999999", 0, 4096, Filter::All, at(0, 0, 65_536)), b"");
    for (word, type_name) in [("string", "string"), ("HASH", "hash"), ("zset", "none"), ("''", "none")] {
        let command = Command { value: type_name.as_bytes(), ..at(0, 0, 10) };
        assert_eq!(scan(&format!("SCAN 0 TYPE {word}"), 0, 4096, Filter::All, command), b"");
    }
}

#[test]
fn a_scan_of_fields_takes_the_cursor_of_the_engine() {
    let at = |cursor: i64, count: i64| Command { number: cursor, time: count, ..key(Op::HashScan) };
    check("HSCAN k 0", Shape::HashScan(Filter::All), at(0, 10));
    check("HSCAN k 9223372036854775807 COUNT 3", Shape::HashScan(Filter::All), at(i64::MAX, 3));
    check("HSCAN k 12 MATCH f*", Shape::HashScan(Filter::Pattern), at(12, 10));
    assert_eq!(planned("HSCAN k 12 MATCH f*").1.pattern(), b"f*");
}

#[test]
fn the_level_is_what_the_client_asks_for() {
    let level = |line: &str| match planned(line).0.unwrap() {
        Plan::Parts { level, .. } => level,
        other => panic!("{other:?}"),
    };
    for line in ["SET k v ACK accepted", "SET k v EX 10 ack ACCEPTED", "DEL k ACK accepted", "DEL a b c ack Accepted"] {
        assert_eq!(level(line), Level::Accepted, "{line}");
    }
    for line in ["SET k v ACK commit", "SET k v NX ACK COMMIT", "DEL k ACK commit", "DEL k", "UNLINK k", "GET k"] {
        assert_eq!(level(line), Level::Commit, "{line}");
    }
    let keys = |line: &str| planned(line).1.len();
    assert_eq!((keys("DEL a b ACK accepted"), keys("DEL a b ACK never"), keys("UNLINK a ACK accepted")), (2, 4, 3));
}

/// Compares the answers to requests that no group hears of.
#[track_caller]
fn refused(cases: &[(&str, &str)]) {
    for &(line, text) in cases {
        assert_eq!(planned(line).0, Err(text.to_owned()), "{line}");
    }
}

#[test]
fn wrong_options_of_set_are_refused() {
    refused(&[
        ("SET k v NX XX", SYNTAX),
        ("SET k v XX NX", SYNTAX),
        ("SET k v EX", SYNTAX),
        ("SET k v EX 1 PX 1", SYNTAX),
        ("SET k v EX 1 KEEPTTL", SYNTAX),
        ("SET k v KEEPTTL PXAT 1", SYNTAX),
        ("SET k v EXAT 1 EX 1", SYNTAX),
        ("SET k v PERSIST", SYNTAX),
        ("SET k v FOREVER_AND_EVER", SYNTAX),
        ("SET k v ''", SYNTAX),
        ("SET k v EX 1 NX XX", SYNTAX),
        ("SET k v EX x NX XX", SYNTAX),
        ("SET k v EX x", INTEGER),
        ("SET k v EX 1.5", INTEGER),
        ("SET k v EX 0", "ERR invalid expire time in 'set' command"),
        ("SET k v PX -1", "ERR invalid expire time in 'set' command"),
        ("SET k v PXAT -1", "ERR invalid expire time in 'set' command"),
        ("SET k v EX 9223372036854775807", "ERR invalid expire time in 'set' command"),
        ("SET k v ACK", SYNTAX),
        ("SET k v ACK never", SYNTAX),
        ("SET k v ACK coherent", "ERR ACK coherent is not built yet; use ACK commit"),
        ("SET k v ACK SINK", "ERR ACK sink is not built yet; use ACK commit"),
        ("DEL k ACK Coherent", "ERR ACK coherent is not built yet; use ACK commit"),
        ("DEL k ACK sink", "ERR ACK sink is not built yet; use ACK commit"),
        ("SET k v ACK accepted NX", UNCONDITIONAL),
        ("SET k v XX ACK accepted", UNCONDITIONAL),
        ("SET k v GET ACK accepted", UNCONDITIONAL),
        ("SET k v FENCE 7", "ERR FENCE is not built yet"),
        ("SET k v FENCE", SYNTAX),
    ]);
}

#[test]
fn wrong_values_are_refused_in_the_words_of_redis() {
    refused(&[
        ("SETEX k 0 v", "ERR invalid expire time in 'setex' command"),
        ("SETEX k x v", INTEGER),
        ("PSETEX k -5 v", "ERR invalid expire time in 'psetex' command"),
        ("GETEX k EX", SYNTAX),
        ("GETEX k NX", SYNTAX),
        ("GETEX k KEEPTTL", SYNTAX),
        ("GETEX k PERSIST EX 1", SYNTAX),
        ("GETEX k EX 1 PERSIST", SYNTAX),
        ("GETEX k EX 1 EXAT 1", SYNTAX),
        ("GETEX k EX 0", "ERR invalid expire time in 'getex' command"),
        ("GETEX k PX x", INTEGER),
        ("GETRANGE k a 1", INTEGER),
        ("GETRANGE k 0 b", INTEGER),
        ("SETRANGE k x v", INTEGER),
        ("SETRANGE k -1 v", "ERR offset is out of range"),
        ("INCRBY k 1.0", INTEGER),
        ("INCRBY k 9223372036854775808", INTEGER),
        ("DECRBY k x", INTEGER),
        ("DECRBY k -9223372036854775808", "ERR decrement would overflow"),
        ("INCRBYFLOAT k x", "ERR value is not a valid float"),
        ("INCRBYFLOAT k nan", "ERR value is not a valid float"),
        ("INCRBYFLOAT k inf", "ERR increment would produce NaN or Infinity"),
        ("MSET a 1 b", "ERR wrong number of arguments for 'mset' command"),
        ("HSET k f v g", "ERR wrong number of arguments for 'hset' command"),
        ("HINCRBY k f x", INTEGER),
        ("HINCRBYFLOAT k f x", "ERR value is not a valid float"),
        ("HINCRBYFLOAT k f -inf", "ERR value is NaN or Infinity"),
    ]);
}

#[test]
fn wrong_expiries_are_refused_in_the_words_of_redis() {
    refused(&[
        ("EXPIRE k x", INTEGER),
        ("EXPIRE k 1 NX XX", CONDITIONS),
        ("EXPIRE k 1 GT NX", CONDITIONS),
        ("PEXPIRE k 1 NX LT", CONDITIONS),
        ("EXPIREAT k 1 GT LT", "ERR GT and LT options at the same time are not compatible"),
        ("PEXPIREAT k 1 soon", "ERR Unsupported option soon"),
        ("EXPIRE k x soon", "ERR Unsupported option soon"),
        ("EXPIRE k 9223372036854775807", "ERR invalid expire time in 'expire' command"),
        ("EXPIRE k -9223372036854775807", "ERR invalid expire time in 'expire' command"),
        ("PEXPIRE k 9223372036854775807", "ERR invalid expire time in 'pexpire' command"),
        ("EXPIREAT k 9223372036854775807", "ERR invalid expire time in 'expireat' command"),
        ("PEXPIREAT k 9223372036854775807", "ERR invalid expire time in 'pexpireat' command"),
    ]);
}

#[test]
fn wrong_cursors_and_words_of_scans_are_refused() {
    refused(&[
        ("FLUSHALL NOW", SYNTAX),
        ("FLUSHDB ASYNC SYNC", SYNTAX),
        ("SCAN x", "ERR invalid cursor"),
        ("SCAN -1", "ERR invalid cursor"),
        ("SCAN 18446744073709551616", "ERR invalid cursor"),
        ("SCAN x COUNT 0", "ERR invalid cursor"),
        ("SCAN 0 COUNT", SYNTAX),
        ("SCAN 0 COUNT 0", SYNTAX),
        ("SCAN 0 COUNT -1", SYNTAX),
        ("SCAN 0 COUNT x", INTEGER),
        ("SCAN 0 NOVALUES", SYNTAX),
        ("SCAN 0 LIMIT 5", SYNTAX),
        ("HSCAN k x", "ERR invalid cursor"),
        ("HSCAN k 9223372036854775808", "ERR invalid cursor"),
        ("HSCAN k 0 TYPE string", SYNTAX),
        ("HSCAN k 0 COUNT 0", SYNTAX),
        ("HSCAN k 0 NOVALUES", SYNTAX),
    ]);
}

#[test]
fn a_rejected_word_is_shown_in_one_piece_or_cut() {
    let long = "x".repeat(100);
    let text = planned(&format!("EXPIRE k 1 {long}")).0.unwrap_err();
    assert_eq!(text, format!("ERR Unsupported option {}", "x".repeat(64)));
    let text = planned("EXPIRE k 1 \"\\xff\\xfe\"").0.unwrap_err();
    assert_eq!(text, "ERR Unsupported option \u{fffd}\u{fffd}");
}

#[test]
fn a_wrong_number_of_arguments_is_an_answer_too() {
    for line in ["GET", "GET a b", "SET k", "MGET", "HSET k f", "SCAN", "HSCAN k", "EXPIRE k", "DEL", "DBSIZE now"] {
        let name = line.split(' ').next().unwrap().to_ascii_lowercase();
        let text = format!("ERR wrong number of arguments for '{name}' command");
        assert_eq!(planned(line).0, Err(text), "{line}");
    }
}

#[test]
fn every_command_on_data_has_a_planner_and_no_other() {
    let elsewhere: BTreeSet<CommandId> = [CommandId::CachePeek, CommandId::Wait].into();
    for spec in table::commands() {
        let is_on_data = matches!(spec.group, Group::String | Group::Hash | Group::Generic)
            || matches!(spec.id, CommandId::Dbsize | CommandId::Flushall | CommandId::Flushdb);
        let is_planned = planner_of(spec.id).is_some();
        assert_eq!(is_planned, is_on_data && !elsewhere.contains(&spec.id), "{}", spec.name);
    }
    assert_eq!(planned("PING").0, Ok(Plan::Elsewhere));
    assert_eq!(planned("CACHE.PEEK k").0, Ok(Plan::Elsewhere));
    assert_eq!(planned("WAIT 1 0").0, Ok(Plan::Elsewhere));
}

#[test]
fn parts_are_used_again_and_give_back_what_a_large_request_took() {
    let mut parts = Parts::default();
    let large = vec![0; 3 << 20];
    parts.push(Slot(1), &Command { value: &large, ..Command::new(Op::Set, b"k") });
    parts.push(Slot(2), &Command::new(Op::Get, b"k"));
    parts.set_pattern(b"a*");
    assert_eq!((parts.len(), parts.get(1).slot, parts.pattern()), (2, Slot(2), &b"a*"[..]));
    assert!(parts.has_writes());
    parts.clear();
    assert!(parts.is_empty() && parts.pattern().is_empty() && !parts.has_writes());
    assert!(parts.capacity_bytes() <= 2 << 20);
    parts.push(Slot(3), &Command::new(Op::Get, b"other"));
    assert_eq!(Command::check(parts.get(0).command), Ok(Command::new(Op::Get, b"other")));
}

const WORDS: &str = "NX xx GET KEEPTTL PERSIST EX px EXAT PXAT ACK accepted commit sink FENCE GT LT MATCH COUNT TYPE string * a? \
    ASYNC 0 -1 1 10 1.5 9223372036854775807 -9223372036854775808 18446744073709551615 9223372036854 k {t}a {t}b";

/// Words that mean something somewhere, numbers at their limits, and anything.
fn argument() -> impl Strategy<Value = Vec<u8>> {
    let words: Vec<&'static str> = WORDS.split(' ').collect();
    prop_oneof![
        4 => prop::sample::select(words).prop_map(|word| word.as_bytes().to_vec()),
        1 => any::<i64>().prop_map(|number| number.to_string().into_bytes()),
        1 => prop::collection::vec(any::<u8>(), 0..70),
    ]
}

fn request(name: &str, args: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n${}\r\n{name}\r\n", args.len() + 1, name.len()).into_bytes();
    for arg in args {
        bytes.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        bytes.extend_from_slice(arg);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 20 } else { ProptestConfig::default().cases.max(20_000) }))]

    #[test]
    fn no_arguments_panic_and_every_part_is_a_command(
        id in prop::sample::select(CommandId::ALL),
        args in prop::collection::vec(argument(), 0..8),
        groups in 1_u32..=16_384,
        wall_now_ns: u64,
        random: u64,
    ) {
        let spec = id.spec();
        let bytes = request(spec.name, &args);
        let mut parser = Parser::new(Limits::default());
        prop_assert_eq!(parser.parse(&bytes, Trust::Authenticated), Parsed::Complete { consumed: bytes.len() });
        let context = Context { map: SlotMap::new(groups).unwrap(), wall_now_ns, random };
        let mut parts = Parts::default();
        let Ok(plan) = plan(spec, parser.args(&bytes), &context, &mut parts) else { return Ok(()) };
        prop_assert_eq!(plan == Plan::Elsewhere, parts.is_empty());
        let is_single = matches!(plan, Plan::EveryGroup { .. } | Plan::AnyGroup { .. });
        prop_assert!(!is_single || parts.len() == 1);
        prop_assert_eq!(parts.has_writes(), parts.iter().any(|part| Command::check(part.command).is_ok_and(|command| command.op.is_write())));
        for part in parts.iter() {
            let command = Command::check(part.command).unwrap();
            prop_assert!(part.slot.0 < quorate_engine::slots::SLOT_COUNT);
            prop_assert_eq!(command.op.is_write(), spec.flags.contains(Flags::WRITE) && !is_plain_getex(spec.id, &command));
            if command.op.keys_are_items() {
                let step = if command.op == Op::SetMany { 2 } else { 1 };
                prop_assert!(items(command.value).step_by(step).all(|key| slot_of(key) == part.slot));
            } else if !command.key.is_empty() {
                prop_assert_eq!(slot_of(command.key), part.slot);
            }
        }
    }
}

/// GETEX without an option is a read, whatever the table says of the command.
fn is_plain_getex(id: CommandId, command: &Command<'_>) -> bool {
    id == CommandId::Getex && command.op == Op::Get
}
