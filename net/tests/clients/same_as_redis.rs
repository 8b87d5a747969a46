//! One table of commands, sent to redis-server and to a node: the replies are compared byte by byte, in RESP2 and in RESP3.
//!
//! A line is a command; words in double quotes may hold spaces and the escapes `\r`, `\n`, `\\`, `\"` and `\xHH`. A mark
//! before it says how the replies are compared, where it cannot be byte by byte:
//!
//! | mark | compared |
//! |---|---|
//! | `~` | members in any order, pairs kept together in maps: Redis keeps none for them |
//! | `#` | numbers that a clock counts: at most [`CLOCK_SLACK_S`] apart, and only those above zero |
//! | `?` | the kind of reply only: the values are each server's own |
//! | `*` | a scan, followed to its end and without its cursor: the names of all pages together, in any order |
//! | `@` | asked again until it is `:0`: a key that is to expire |
//!
//! What is meant to differ is in [`DIFFERENCES`], with the reason and with what we say instead. A difference that is gone
//! must be taken out of the list, so that the list stays the truth.

mod differences;
mod table;

use std::collections::HashSet;
use std::time::Instant;

use crate::raw::{Raw, members};
use crate::servers::{RedisServer, cluster, ports};
use crate::tools::DEADLINE;
use differences::DIFFERENCES;

/// How the replies to one line are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compare {
    Exactly,
    AnyOrder,
    WholeScan,
    Clock,
    Kind,
    UntilGone,
}

/// A line of the table.
#[derive(Debug)]
struct Line {
    compare: Compare,
    text: &'static str,
    args: Vec<Vec<u8>>,
}

impl Line {
    fn read(text: &'static str) -> Self {
        let marks = [
            ("~ ", Compare::AnyOrder),
            ("* ", Compare::WholeScan),
            ("# ", Compare::Clock),
            ("? ", Compare::Kind),
            ("@ ", Compare::UntilGone),
        ];
        let marked = marks.iter().find_map(|(mark, compare)| Some((*compare, text.strip_prefix(mark)?)));
        let (compare, text) = marked.unwrap_or((Compare::Exactly, text));
        Self { compare, text, args: words(text) }
    }

    /// Whether the replies are as alike as they have to be.
    fn is_met(&self, redis: &[u8], ours: &[u8]) -> bool {
        match self.compare {
            Compare::Exactly | Compare::UntilGone | Compare::WholeScan => redis == ours,
            Compare::AnyOrder => in_order(redis) == in_order(ours),
            Compare::Clock => match (integer(redis), integer(ours)) {
                (Some(redis), Some(ours)) if redis > 0 => redis.abs_diff(ours) <= self.clock_slack(),
                (redis, ours) => redis.is_some() && redis == ours,
            },
            Compare::Kind => redis.first() == ours.first(),
        }
    }
}

impl Line {
    /// How far two servers may be apart that are asked one after the other on a busy machine: [`CLOCK_SLACK_S`].
    fn clock_slack(&self) -> u64 {
        let is_seconds = self.text.starts_with("TTL") || self.text.starts_with("EXPIRETIME");
        CLOCK_SLACK_S * if is_seconds { 1 } else { 1000 }
    }
}

/// Splits a line into the words of a request.
pub(crate) fn words(line: &str) -> Vec<Vec<u8>> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while !rest.is_empty() {
        let (word, after) = match rest.strip_prefix('"') {
            Some(quoted) => unquote(quoted),
            None => {
                let (word, after) = rest.split_once(' ').unwrap_or((rest, ""));
                (word.as_bytes().to_vec(), after)
            }
        };
        words.push(word);
        rest = after.trim_start();
    }
    words
}

/// Reads up to the closing quote; returns the word and what follows.
fn unquote(text: &str) -> (Vec<u8>, &str) {
    let (mut word, mut rest) = (Vec::new(), text);
    loop {
        let at = rest.find(['"', '\\']).expect("a quote is closed");
        word.extend_from_slice(&rest.as_bytes()[..at]);
        if rest.as_bytes()[at] == b'"' {
            return (word, &rest[at + 1..]);
        }
        let escape = &rest[at + 1..];
        let (byte, len) = match escape.as_bytes()[0] {
            b'r' => (b'\r', 1),
            b'n' => (b'\n', 1),
            b'x' => (u8::from_str_radix(&escape[1..3], 16).expect("two digits"), 3),
            other => (other, 1),
        };
        word.push(byte);
        rest = &escape[len..];
    }
}

/// Writes a reply with the members of its innermost lists in order, and pairs of maps together.
pub(crate) fn in_order(reply: &[u8]) -> Vec<u8> {
    let parts = members_of(reply);
    // A scan: the cursor, then the list.
    if let [cursor, list] = parts[..]
        && list.starts_with(b"*")
    {
        return [cursor, in_order(list).as_slice()].concat();
    }
    let width = if reply.starts_with(b"%") { 2 } else { 1 };
    let mut groups: Vec<Vec<u8>> = parts.chunks(width).map(<[&[u8]]>::concat).collect();
    groups.sort();
    [&reply[..1], groups.concat().as_slice()].concat()
}

fn members_of(reply: &[u8]) -> Vec<&[u8]> {
    match reply.first() {
        Some(b'*' | b'~' | b'%' | b'>') => members(reply),
        _ => vec![reply],
    }
}

pub(crate) fn integer(reply: &[u8]) -> Option<i64> {
    std::str::from_utf8(reply.strip_prefix(b":")?).ok()?.trim_end().parse().ok()
}

/// Both servers, asked the same.
struct Pair {
    redis: Raw,
    ours: Raw,
}

impl Pair {
    fn say(&mut self, line: &Line) -> (Vec<u8>, Vec<u8>) {
        if line.compare == Compare::WholeScan {
            return (whole_scan(&mut self.redis, line), whole_scan(&mut self.ours, line));
        }
        let started = Instant::now();
        loop {
            let replies = (self.redis.ask(&line.args), self.ours.ask(&line.args));
            if line.compare != Compare::UntilGone || (replies.0 == b":0\r\n" && replies.1 == b":0\r\n") {
                return replies;
            }
            assert!(started.elapsed() < DEADLINE, "{} does not end: {replies:?}", line.text);
        }
    }
}

/// Follows a scan to its end; returns one list with the names of all pages, in order.
fn whole_scan(connection: &mut Raw, line: &Line) -> Vec<u8> {
    let (mut args, mut names) = (line.args.clone(), Vec::new());
    for _ in 0..SCAN_PAGES_MAX {
        let reply = connection.ask(&args);
        let [cursor, page] = members(&reply)[..] else { return reply };
        names.extend(members(page).into_iter().map(<[u8]>::to_vec));
        args[1] =
            members_of(cursor)[0].split(|byte| *byte == b'\n').nth(1).expect("a bulk string").trim_ascii().to_vec();
        if args[1] == b"0" {
            names.sort();
            return names.concat();
        }
    }
    panic!("{} does not end", line.text);
}

/// Runs the whole table over one pair of connections; returns what went wrong, and which differences were met.
fn run(pair: &mut Pair, met: &mut HashSet<&'static str>) -> Vec<String> {
    let mut wrong = Vec::new();
    for line in table::lines().map(Line::read) {
        let (redis, ours) = pair.say(&line);
        let difference = DIFFERENCES.iter().find(|difference| difference.line == line.text);
        let problem = match difference {
            Some(_) if redis == ours => "is listed as a difference, and is none".to_owned(),
            Some(difference) => {
                met.insert(difference.line);
                if difference.is_met_by(&ours) {
                    continue;
                }
                format!("differs otherwise than listed ({})", difference.why)
            }
            None if line.is_met(&redis, &ours) => continue,
            None => "differs".to_owned(),
        };
        wrong.push(format!(
            "{} {problem}\n  redis {}\n  ours  {}",
            line.text,
            redis.escape_ascii(),
            ours.escape_ascii()
        ));
    }
    wrong
}

#[test]
fn replies_are_those_of_redis_byte_by_byte() {
    let Some(redis) = RedisServer::start() else { return };
    let cluster = cluster();
    let mut met = HashSet::new();
    let mut wrong = Vec::new();
    for port in ports(&cluster) {
        for protocol in ["2", "3"] {
            let mut pair = Pair { redis: Raw::connect(redis.port), ours: Raw::connect(port) };
            for connection in [&mut pair.redis, &mut pair.ours] {
                connection.say(&format!("HELLO {protocol}"));
                assert_eq!(connection.say("FLUSHALL"), b"+OK\r\n");
            }
            let found = run(&mut pair, &mut met);
            wrong.extend(found.into_iter().map(|text| format!("RESP{protocol}: {text}")));
        }
        // Node by node, so that what is wrong everywhere is shown once.
        assert!(wrong.is_empty(), "{} replies:\n{}", wrong.len(), wrong.join("\n"));
    }
    let unused: Vec<_> = DIFFERENCES.iter().filter(|difference| !met.contains(difference.line)).collect();
    assert!(unused.is_empty(), "not in the table: {unused:?}");
}

#[test]
fn lines_are_read_as_written() {
    assert_eq!(words(r#"SET "a b" "\x00\"\r\n" x"#), [&b"SET"[..], b"a b", b"\0\"\r\n", b"x"]);
    assert_eq!(words(r#"GET """#), [&b"GET"[..], b""]);
    assert_eq!(in_order(b"*2\r\n:2\r\n:1\r\n"), in_order(b"*2\r\n:1\r\n:2\r\n"));
    assert_ne!(in_order(b"%1\r\n:2\r\n:1\r\n"), in_order(b"%1\r\n:1\r\n:2\r\n"));
}

/// More pages than there are groups and keys.
const SCAN_PAGES_MAX: u32 = 1000;

/// In seconds.
const CLOCK_SLACK_S: u64 = 3;
