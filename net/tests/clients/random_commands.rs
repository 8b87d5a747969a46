//! Long random sequences of commands over few keys, sent to redis-server and to us in pipelines: the replies are equal.
//!
//! The table of `same_as_redis` asks what its author thought of; this asks for what nobody did: counters on hashes, ranges
//! of numbers, ends of lives set on what was just deleted. A sequence is drawn from a seed, and a failure prints it with
//! the number of the command.
//!
//! Left out is what may differ for a reason given there: fractions that need more than a double, and times to live that
//! are counted from the moment a server reads the command, and arguments that we check before we know the key.

use crate::raw::{Raw, request};
use crate::same_as_redis::{in_order, integer, words};
use crate::servers::{RedisServer, cluster, ports};

/// Commands with holes, each filled from the list of that name in [`FILLINGS`].
const TEMPLATES: &[&str] = &[
    "GET {key}",
    "SET {key} {value}",
    "SET {key} {value} {condition}",
    "SET {key} {value} {condition} GET",
    "SET {key} {value} KEEPTTL",
    "SET {key} {value} EXAT {later}",
    "SET {key} {value} PXAT {later_ms} GET",
    "SETNX {key} {value}",
    "GETSET {key} {value}",
    "GETDEL {key}",
    "GETEX {key}",
    "GETEX {key} PERSIST",
    "GETEX {key} EXAT {moment}",
    "APPEND {key} {value}",
    "STRLEN {key}",
    "GETRANGE {key} {index} {index}",
    "SETRANGE {key} {index} {value}",
    "INCR {key}",
    "DECR {key}",
    "INCRBY {key} {number}",
    "DECRBY {key} {number}",
    "MGET {key} {key} {key}",
    "MSET {tagged} {value} {tagged} {value}",
    "DEL {key} {key}",
    "UNLINK {key}",
    "EXISTS {key} {key} {key}",
    "TOUCH {key} {key}",
    "TYPE {key}",
    "PERSIST {key}",
    "EXPIREAT {key} {second}",
    "EXPIREAT {key} {second} {when}",
    "PEXPIREAT {key} {millisecond}",
    "PEXPIREAT {key} {millisecond} {when}",
    "EXPIRE {key} {past}",
    "EXPIRE {key} {past} {when}",
    "EXPIRETIME {key}",
    "PEXPIRETIME {key}",
    "HSET {key} {field} {value}",
    "HSET {key} {field} {value} {field} {value}",
    "HMSET {key} {field} {value} {field} {value}",
    "HSETNX {key} {field} {value}",
    "HGET {key} {field}",
    "HMGET {key} {field} {field}",
    "HGETALL {key}",
    "HKEYS {key}",
    "HVALS {key}",
    "HLEN {key}",
    "HEXISTS {key} {field}",
    "HDEL {key} {field} {field}",
    "HINCRBY {key} {field} {number}",
    "SET {decimal} {fraction}",
    "INCRBYFLOAT {decimal} {fraction}",
    "INCR {decimal}",
    "HINCRBYFLOAT {decimals} {field} {fraction}",
    "HGET {decimals} {field}",
    "KEYS {pattern}",
    "DBSIZE",
    "HGET {key}",
    "SET {key} {value} {condition} NX",
];

const FILLINGS: &[(&str, &[&str])] = &[
    ("key", &["a", "b", "c", "{t}d", "{t}e", "hash"]),
    ("tagged", &["{t}d", "{t}e", "{t}f"]),
    ("decimal", &["n", "m"]),
    ("decimals", &["ns"]),
    ("field", &["f", "g", "h", "\"\""]),
    (
        "value",
        &[
            "\"\"",
            "0",
            "1",
            "-7",
            "text",
            "9223372036854775807",
            "-9223372036854775808",
            "\" 1\"",
            "01",
            "\"\\x00\\r\\n\"",
        ],
    ),
    ("condition", &["NX", "XX"]),
    ("index", &["0", "1", "-1", "3", "-3", "20", "-20", "x"]),
    ("number", &["0", "1", "-1", "9223372036854775807", "-9223372036854775807", "-9223372036854775808", "1.0", "\"\""]),
    ("moment", &["4102444800", "4102444801", "1"]),
    // Redis 7.0 counts keys that are set with an end in the past until it happens to look at them.
    ("later", &["4102444800", "4102444801", "0", "-1", "x"]),
    ("later_ms", &["4102444800000", "4102444800999", "0", "x"]),
    ("second", &["4102444800", "4102444801", "4202444800", "1", "0", "-1", "x"]),
    ("millisecond", &["4102444800000", "4102444800001", "4102444800999", "1", "x"]),
    ("past", &["0", "-1", "-9223372036854775"]),
    ("when", &["NX", "XX", "GT", "LT"]),
    ("fraction", &["0", "1", "0.5", "-0.25", "10.75", "-3", "x"]),
    ("pattern", &["*", "?", "{t}*", "[ab]", "h*h"]),
];

/// A sequence of numbers that depends on its seed alone (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((mixed ^ (mixed >> 31)) % bound as u64).expect("below a usize")
    }

    fn one_of(&mut self, list: &[&'static str]) -> &'static str {
        list[self.below(list.len())]
    }

    /// Draws a command.
    fn line(&mut self) -> String {
        let mut line = self.one_of(TEMPLATES).to_owned();
        for (name, list) in FILLINGS {
            let hole = format!("{{{name}}}");
            while let Some(at) = line.find(&hole) {
                line.replace_range(at..at + hole.len(), self.one_of(list));
            }
        }
        line
    }
}

/// Whether Redis gives the members of the reply in no order.
fn is_unordered(line: &str) -> bool {
    ["HGETALL", "HKEYS", "HVALS", "KEYS"].iter().any(|name| line.starts_with(name))
}

/// In RESP2 a hash is a list of fields and values in turn: sorted, it still tells most of what can be wrong. The end of a
/// life is told to the nearest 10 seconds: it is kept by the clock of the group, and read by that of the node.
fn comparable(line: &str, reply: Vec<u8>) -> Vec<u8> {
    let seconds = match integer(&reply) {
        Some(time) if line.starts_with("EXPIRETIME") => Some(time),
        Some(time) if line.starts_with("PEXPIRETIME") => Some(time / 1000),
        _ => None,
    };
    match seconds {
        Some(seconds) if seconds > 0 => format!("{}", (seconds + 5) / 10).into_bytes(),
        _ if is_unordered(line) => in_order(&reply),
        _ => reply,
    }
}

#[test]
fn random_sequences_are_answered_as_redis_answers_them() {
    let Some(redis) = RedisServer::start() else { return };
    let cluster = cluster();
    for (seed, port) in (1..).zip(ports(&cluster)) {
        for protocol in [2, 3] {
            let mut random = Random(seed * 10 + protocol);
            let mut both = [Raw::connect(redis.port), Raw::connect(port)];
            for connection in &mut both {
                connection.say(&format!("HELLO {protocol}"));
                assert_eq!(connection.say("FLUSHALL"), b"+OK\r\n");
            }
            let mut history = Vec::new();
            for _ in 0..BATCHES {
                let lines: Vec<String> = (0..BATCH_LEN).map(|_| random.line()).collect();
                let bytes: Vec<u8> = lines.iter().flat_map(|line| request(&words(line))).collect();
                both.iter_mut().for_each(|connection| connection.send(&bytes));
                for line in lines {
                    let [redis, ours] = both.each_mut().map(|connection| comparable(&line, connection.reply()));
                    assert!(
                        redis == ours,
                        "seed {seed}, RESP{protocol}, command {}: {line}\n  redis {}\n  ours  {}\nafter {:#?}",
                        history.len(),
                        redis.escape_ascii(),
                        ours.escape_ascii(),
                        last_about(&line, &history)
                    );
                    history.push(line);
                }
            }
        }
    }
}

/// The last commands before `line` that name its first key.
fn last_about<'a>(line: &str, history: &'a [String]) -> Vec<&'a str> {
    let key = line.split(' ').nth(1).unwrap_or_default();
    let about = history.iter().rev().filter(|before| before.split(' ').skip(1).any(|word| word == key));
    about.take(12).map(String::as_str).collect()
}

const BATCHES: usize = 80;
const BATCH_LEN: usize = 50;
