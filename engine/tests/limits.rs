//! Limits hold for requests that are under way together: what is not applied yet is counted as much as what is there.

use quorate_engine::config::Config;
use quorate_engine::ids::{GroupId, NodeId};
use quorate_engine::machine::answer::Answer;
use quorate_engine::machine::command::{Command, Op, push_item};
use quorate_engine::output::{Refusal, Token};
use quorate_engine::testing::cluster::{Cluster, End};

const A: NodeId = NodeId(1);
const G: GroupId = GroupId(0);

const MEMORY_MAX: usize = 20_000;
const VALUE_MAX: usize = 1 << 10;
/// A log that is full after a hundred writes.
const LOG_BYTES: usize = 48 << 10;

/// Three nodes, one group: node 1 leads.
fn start(memory_bytes_max: usize) -> Cluster {
    let config = Config { memory_bytes_max, value_bytes_max: VALUE_MAX, log_bytes: 4 << 20, ..Config::default() };
    let mut cluster = Cluster::start(3, 1, 3, 2, config);
    cluster.settle();
    cluster
}

fn items(list: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    list.iter().for_each(|item| push_item(&mut bytes, item));
    bytes
}

fn command<'a>(op: Op, key: &'a [u8], value: &'a [u8], number: i64) -> Command<'a> {
    Command { value, number, ..Command::new(op, key) }
}

fn is_oom(cluster: &Cluster, token: Token) -> bool {
    matches!(cluster.end(token), Some(End::Refused(Refusal::OutOfMemory { .. })))
}

/// Has a thousand commands come in before the first of them is applied, and then some more until memory is full.
#[track_caller]
fn assert_memory_is_limited(what: &str, submit: impl Fn(&mut Cluster, &[u8]) -> Token) {
    let mut cluster = start(MEMORY_MAX);
    let pipelined: Vec<Token> = (0..1_000).map(|n| submit(&mut cluster, format!("k{n}").as_bytes())).collect();
    cluster.settle();
    cluster.run_for(2);
    let refused = pipelined.iter().filter(|token| is_oom(&cluster, **token)).count();
    assert!(refused > 0, "{what}: nothing of a thousand is refused");
    for n in 1_000..2_000 {
        submit(&mut cluster, format!("k{n}").as_bytes());
        cluster.settle();
    }
    let used = cluster.engine(A).used_bytes();
    assert!(used <= MEMORY_MAX, "{what}: {used} bytes are used of {MEMORY_MAX}");
    assert!(used > MEMORY_MAX / 4, "{what}: {used} bytes are used, and more are refused");
    cluster.check();
}

#[test]
fn memory_is_limited_whatever_is_written() {
    assert_memory_is_limited("set", |cluster, key| cluster.set(key, b""));
    assert_memory_is_limited("append", |cluster, key| cluster.submit(command(Op::Append, key, b"x", 0)));
    assert_memory_is_limited("set range", |cluster, key| cluster.submit(command(Op::SetRange, key, b"x", 1_000)));
    assert_memory_is_limited("increment", |cluster, key| cluster.submit(command(Op::Increment, key, b"", i64::MIN)));
    assert_memory_is_limited("increment float", |cluster, key| {
        cluster.submit(command(Op::IncrementFloat, key, b"-2.2250738585072011e-308", 0))
    });
    assert_memory_is_limited("set many", |cluster, key| {
        let keys: Vec<Vec<u8>> = (0..20).map(|n| [format!("{n}{{").as_bytes(), key, b"}"].concat()).collect();
        let list: Vec<&[u8]> = keys.iter().flat_map(|key| [&key[..], b""]).collect();
        cluster.submit(command(Op::SetMany, b"", &items(&list), 0))
    });
    assert_memory_is_limited("hash set", |cluster, key| {
        let fields: Vec<[u8; 1]> = (0..20).map(|n| [n]).collect();
        let list: Vec<&[u8]> = fields.iter().flat_map(|field| [&field[..], b""]).collect();
        cluster.submit(command(Op::HashSet, key, &items(&list), 0))
    });
    assert_memory_is_limited("hash increment", |cluster, key| {
        cluster.submit(command(Op::HashIncrement, key, b"field", i64::MIN))
    });
    assert_memory_is_limited("hash increment float", |cluster, key| {
        cluster.submit(command(Op::HashIncrementFloat, key, &items(&[b"field", b"1e308"]), 0))
    });
}

#[test]
fn what_was_reserved_for_writes_is_given_back() {
    let mut cluster = start(MEMORY_MAX);
    for _ in 0..1_000 {
        let write = cluster.submit(Command { value: b"x", number: 1_000, ..Command::new(Op::SetRange, b"k") });
        cluster.settle();
        assert_eq!(cluster.answer(write), Answer::Int(1_001));
    }
}

#[test]
fn appends_that_come_together_do_not_pass_the_limit_of_a_value() {
    let mut cluster = start(1 << 20);
    let append =
        |cluster: &mut Cluster, value: &[u8]| cluster.submit(Command { value, ..Command::new(Op::Append, b"k") });
    // As long as a value may be, before it is applied.
    cluster.submit(Command { value: b"x", number: 1_000, ..Command::new(Op::SetRange, b"k") });
    let first = append(&mut cluster, &[b'a'; 23]);
    let second = append(&mut cluster, b"b");
    cluster.settle();
    assert_eq!(cluster.answer(first), Answer::Int(1_024));
    let text = "ERR value of 1025 bytes is larger than the limit of 1024 (limits.value_max)";
    assert_eq!(cluster.answer(second), Answer::Error(text.as_bytes()));

    // What is deleted first is no longer in the way.
    cluster.submit(Command { value: &items(&[b"k"]), ..Command::new(Op::Delete, b"") });
    let third = append(&mut cluster, b"c");
    cluster.settle();
    assert_eq!(cluster.answer(third), Answer::Int(1));

    cluster.run_for(2);
    let digests: Vec<u64> = (1..=3).map(|node| cluster.status(NodeId(node), G).digest).collect();
    assert!(digests.windows(2).all(|pair| pair[0] == pair[1]), "{digests:?}");
    cluster.check();
}

/// Every node leads groups and follows in others, and makes room in the one log of all by applying what is committed: in
/// the groups that it leads somebody waits for the answer.
#[test]
fn making_room_in_the_log_costs_no_answer() {
    let config = Config {
        log_bytes: LOG_BYTES,
        segment_bytes: 1 << 10,
        value_bytes_max: 1 << 10,
        key_bytes_max: 64,
        ..Config::default()
    };
    let mut cluster = Cluster::start(3, 6, 3, 2, config);
    cluster.settle();
    let mut counted: Vec<(usize, Token)> = Vec::new();
    let mut others = Vec::new();
    for round in 0..300 {
        for key in 0..12 {
            let (counter, other) = (format!("n{key}"), format!("r{round}k{key}"));
            let increment = Command { number: 1, ..Command::new(Op::Increment, counter.as_bytes()) };
            counted.push((key, cluster.submit(increment)));
            others.push(cluster.set(other.as_bytes(), &[b'v'; 400]));
        }
        // Turns end late: what came in is dirty all the while.
        for (from, to) in [(1, 2), (2, 1), (2, 3), (3, 2), (3, 1), (1, 3)] {
            let (from, to) = (NodeId(from), NodeId(to));
            cluster.end_turn(from);
            while round % 3 > 0 && cluster.deliver(from, to) {}
        }
        cluster.check();
    }
    cluster.run_for(100);
    let written = others.iter().filter(|write| matches!(cluster.end(**write), Some(End::Done(..)))).count();
    assert!(written * 400 > 10 * LOG_BYTES, "{written} writes do not fill the log");
    for key in 0..12 {
        let tokens = counted.iter().filter(|(counter, _)| *counter == key).map(|(_, token)| *token);
        let executed =
            tokens.filter(|token| !matches!(cluster.end(*token), Some(End::Refused(Refusal::Overload { .. }))));
        let answers: Vec<Answer<'_>> = executed.map(|token| cluster.answer(token)).collect();
        let expected: Vec<Answer<'_>> = (1..).take(answers.len()).map(Answer::Int).collect();
        assert_eq!(answers, expected, "counter {key}");
        assert!(answers.len() > 20, "{} increments", answers.len());
    }
    cluster.check();
}

/// A leader decides how long a string may become; what its followers are configured with does not matter.
#[test]
fn a_client_cannot_bring_a_limit_of_its_own() {
    let mut cluster = start(1 << 20);
    let value = [b'x'; 600];
    for number in [1, 5_000, i64::MAX, -1] {
        cluster.submit(Command { value: &items(&[b"k"]), ..Command::new(Op::Delete, b"") });
        let [first, second] =
            [(); 2].map(|()| cluster.submit(Command { value: &value, number, ..Command::new(Op::Append, b"k") }));
        cluster.settle();
        assert_eq!(cluster.answer(first), Answer::Int(600));
        assert!(matches!(cluster.answer(second), Answer::Error(_)), "{:?}", cluster.answer(second));
    }
}

#[test]
fn a_range_is_limited_by_its_end() {
    let mut cluster = start(1 << 20);
    let range = |value, number| Command { value, number, ..Command::new(Op::SetRange, b"k") };
    let too_far = cluster.submit(range(b"x", 1_024));
    let refusal = Refusal::ValueTooLarge { len: 1_025, max: VALUE_MAX };
    assert_eq!(cluster.end(too_far), Some(&End::Refused(refusal)));
    // Nothing is written, wherever.
    let nothing = cluster.submit(range(b"", 1 << 40));
    cluster.settle();
    assert_eq!(cluster.answer(nothing), Answer::Int(0));
}

#[test]
fn an_answer_longer_than_the_limit_is_an_error_that_says_what_to_do() {
    let config =
        Config { value_bytes_max: VALUE_MAX, answer_bytes_max: 4_000, log_bytes: 4 << 20, ..Config::default() };
    let mut cluster = Cluster::start(3, 1, 3, 2, config);
    cluster.settle();
    let value = [b'v'; 1_000];
    cluster.set(b"k", &value);
    for field in ["a", "b", "c", "d"] {
        cluster.submit(command(Op::HashSet, b"h", &items(&[field.as_bytes(), &value]), 0));
    }
    for n in 0..100 {
        cluster.set(format!("a key that is long enough for this test {n}").as_bytes(), b"");
    }
    cluster.settle();
    let text = "ERR the answer is longer than 4000 bytes (limits.output_max): ask for fewer keys or fields at a time, or walk them \
                with SCAN or HSCAN";
    let too_many = vec![&b"k"[..]; 5];
    let fields = vec![&b"a"[..]; 5];
    for command in [
        command(Op::GetMany, b"", &items(&too_many), 0),
        command(Op::HashGetMany, b"h", &items(&fields), 0),
        command(Op::HashGetAll, b"h", b"", 0),
        command(Op::HashValues, b"h", b"", 0),
        command(Op::Keys, b"", b"", 0),
    ] {
        let read = cluster.submit(command);
        cluster.settle();
        assert_eq!(cluster.answer(read), Answer::Error(text.as_bytes()), "{command:?}");
    }
    for (command, count) in [
        (command(Op::GetMany, b"", &items(&too_many[..3]), 0), 3),
        (command(Op::HashGetMany, b"h", &items(&fields[..3]), 0), 3),
        (command(Op::HashFields, b"h", b"", 0), 4),
    ] {
        let read = cluster.submit(command);
        cluster.settle();
        assert!(matches!(cluster.answer(read), Answer::Array { count: found, .. } if found == count), "{command:?}");
    }
}
