use std::collections::BTreeSet;

use proptest::prelude::*;

use super::super::answer::Answer;
use super::super::command::push_item;
use super::super::scrub::Scrubbed;
use super::super::snapshot::{Damaged, SnapshotCursor};
use super::*;
use crate::ids::GroupId;
use crate::slots::SlotMap;

fn empty() -> Kv {
    Kv::new(SlotMap::new(1).expect("one partition").slots_of(GroupId(0)))
}

fn at(time: u64) -> Moment {
    Moment { time: LogTime(time) }
}

fn apply(kv: &mut Kv, time: u64, command: Command<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    kv.apply(at(time), &command, &mut AnswerSink::into(&mut out));
    out
}

fn read(kv: &Kv, time: u64, command: Command<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    kv.read(at(time), &command, &mut AnswerSink::into(&mut out));
    out
}

fn set<'a>(key: &'a [u8], value: &'a [u8]) -> Command<'a> {
    Command { value, ..Command::new(Op::Set, key) }
}

#[track_caller]
fn assert_answer(bytes: &[u8], expected: Answer<'_>) {
    assert!(Answer::check(bytes));
    assert_eq!(Answer::read(bytes).expect("checked").0, expected);
}

#[test]
fn the_digest_function_is_fixed() {
    let mut kv = empty();
    assert_eq!(kv.digest(), 0);
    apply(&mut kv, 0, set(b"px:ACME", b"100.25"));
    apply(&mut kv, 0, Command { number: 41, ..Command::new(Op::Increment, b"count") });
    let mut fields = Vec::new();
    for item in [b"bid", b"100"] {
        push_item(&mut fields, item);
    }
    apply(&mut kv, 0, Command { value: &fields, ..Command::new(Op::HashSet, b"book") });
    apply(&mut kv, 5, Command { flags: Flags::TTL, time: 10, value: b"x", ..Command::new(Op::Set, b"brief") });
    assert_eq!(
        kv.digest(),
        11_978_715_912_296_796_768,
        "replicas of different builds must agree: this number may never change"
    );
}

#[test]
fn an_integer_and_its_text_are_the_same_state() {
    let (mut counted, mut written) = (empty(), empty());
    apply(&mut counted, 0, Command { number: 42, ..Command::new(Op::Increment, b"n") });
    apply(&mut written, 0, set(b"n", b"42"));
    assert_eq!(counted.digest(), written.digest());
}

#[test]
fn set_with_conditions_answers_like_redis() {
    let mut kv = empty();
    let conditional = |flags| Command { flags, ..set(b"k", b"v2") };
    assert_answer(&apply(&mut kv, 0, conditional(Flags::IF_PRESENT)), Answer::Nil);
    assert_answer(&apply(&mut kv, 0, conditional(Flags::IF_ABSENT)), Answer::Ok);
    assert_answer(&apply(&mut kv, 0, conditional(Flags::IF_ABSENT)), Answer::Nil);
    assert_answer(&apply(&mut kv, 0, conditional(Flags::IF_ABSENT.with(Flags::GET))), Answer::Bulk(b"v2"));
}

#[test]
fn keys_end_by_an_entry_only() {
    let mut kv = empty();
    apply(&mut kv, 100, Command { flags: Flags::TTL, time: 50, ..set(b"k", b"v") });
    assert_eq!(kv.next_deadline(), Some(LogTime(150)));
    assert_answer(&read(&kv, 1_000, Command::new(Op::Get, b"k")), Answer::Bulk(b"v"));
    let mut due = Vec::new();
    kv.due(LogTime(149), 10, |key, _| due.push(key.to_vec()));
    assert!(due.is_empty());
    kv.due(LogTime(150), 10, |key, at| due.push([key, &at.0.to_le_bytes()].concat()));
    assert_eq!(due.len(), 1);
    // A deadline that was moved after the leader's wheel fired is not cut short.
    apply(&mut kv, 149, Command { flags: Flags::TTL, time: 500, ..Command::new(Op::Expire, b"k") });
    assert_answer(&apply(&mut kv, 151, Command { time: 150, ..Command::new(Op::Expired, b"k") }), Answer::Int(0));
    assert_answer(&apply(&mut kv, 700, Command { time: 649, ..Command::new(Op::Expired, b"k") }), Answer::Int(1));
    kv.check();
    assert_eq!((kv.key_count(), kv.used_bytes(), kv.digest()), (0, 0, 0));
}

#[test]
fn a_key_set_to_a_past_deadline_ends_at_once() {
    let mut kv = empty();
    apply(&mut kv, 9, set(b"k", b"v"));
    apply(&mut kv, 9, Command { flags: Flags::TTL, time: 0, ..Command::new(Op::Expire, b"k") });
    assert_eq!(kv.key_count(), 0);
    apply(&mut kv, 9, Command { flags: Flags::TTL, time: 0, ..set(b"k", b"v") });
    assert_eq!(kv.key_count(), 0);
}

/// Redis compares milliseconds of Unix time; here the same millisecond may be two logged times.
#[test]
fn a_deadline_named_twice_is_neither_later_nor_earlier() {
    let mut kv = empty();
    apply(&mut kv, 0, set(b"k", b"v"));
    let expire = |flags: Flags, time| Command { flags: Flags::TTL.with(flags), time, ..Command::new(Op::Expire, b"k") };
    let (ms, error) = (1_000_000, 20_000);
    apply(&mut kv, 0, expire(Flags::default(), 100 * ms));
    for (flags, time, is_wanted) in [
        (Flags::IF_LATER, 100 * ms + error, 0),
        (Flags::IF_EARLIER, 100 * ms - error, 0),
        (Flags::IF_LATER, 101 * ms - error, 1),
        (Flags::IF_EARLIER, 100 * ms + error, 1),
    ] {
        assert_answer(&apply(&mut kv, 0, expire(flags, time)), Answer::Int(is_wanted));
    }
}

#[test]
fn a_deadline_keeps_the_name_it_was_given() {
    let mut kv = empty();
    let expire_time = |kv: &Kv| {
        let bytes = read(kv, 3, Command::new(Op::ExpireTime, b"k"));
        assert!(Answer::check(&bytes));
        match Answer::read(&bytes) {
            Some((Answer::Array { count: 2, rest }, _)) => {
                let (Some((Answer::Int(left), rest)), true) = (Answer::read(rest), rest.len() == 18) else { panic!() };
                let Some((Answer::Int(name), _)) = Answer::read(rest) else { panic!() };
                (left, name)
            }
            Some((Answer::Int(code), _)) => (code, 0),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(expire_time(&kv), (-2, 0));
    apply(&mut kv, 3, Command { flags: Flags::TTL, time: 50, number: 1_700, ..set(b"k", b"1") });
    assert_eq!(expire_time(&kv), (50, 1_700));
    let digest = kv.digest();
    // The same deadline under another name is another state.
    apply(&mut kv, 3, Command { flags: Flags::TTL, time: 50, number: 1_701, ..set(b"k", b"1") });
    assert_eq!(expire_time(&kv), (50, 1_701));
    assert_ne!(kv.digest(), digest);
    // It stays with the deadline, whatever becomes of the value.
    apply(&mut kv, 4, Command { number: 1, ..Command::new(Op::Increment, b"k") });
    apply(&mut kv, 4, Command { flags: Flags::KEEP_TTL, number: 9, ..set(b"k", b"2") });
    assert_eq!(expire_time(&kv), (50, 1_701));
    apply(&mut kv, 4, Command { flags: Flags::TTL, time: 60, ..Command::new(Op::GetExpire, b"k") });
    assert_eq!(expire_time(&kv), (61, 0), "a new deadline that was given no name");
    apply(&mut kv, 4, Command::new(Op::Persist, b"k"));
    assert_eq!(expire_time(&kv), (-1, 0));
    kv.check();
}

#[test]
fn get_range_counts_from_both_ends() {
    let mut kv = empty();
    apply(&mut kv, 0, set(b"k", b"hello"));
    for (first, last, expected) in [
        (0, -1, &b"hello"[..]),
        (1, 3, b"ell"),
        (-3, -1, b"llo"),
        (3, 1, b""),
        (-1, -3, b""),
        (0, 99, b"hello"),
        (9, 99, b""),
    ] {
        let command = Command { number: first, time: last, ..Command::new(Op::GetRange, b"k") };
        assert_answer(&read(&kv, 0, command), Answer::Bulk(expected));
    }
}

#[test]
fn a_corrupted_replica_has_another_digest() {
    let mut kv = empty();
    apply(&mut kv, 0, set(b"k", b"v"));
    let before = kv.digest();
    assert!(kv.corrupt(b"k", Damage::Value));
    assert_ne!(kv.digest(), before);
    assert_eq!(kv.scrub(&mut 10), Scrubbed::Whole, "it is another state, and a whole one");
}

/// Scrubs with so many keys a step until the state is whole or damaged; returns that and the number of steps.
fn scrub(kv: &mut Kv, keys: i64) -> (Scrubbed, usize) {
    for steps in 1.. {
        let scrubbed = kv.scrub(&mut keys.clone());
        if scrubbed != Scrubbed::Partly {
            return (scrubbed, steps);
        }
    }
    unreachable!("each step goes on")
}

#[test]
fn the_scrub_finds_a_byte_that_nobody_writes() {
    let mut kv = empty();
    for number in 0..20 {
        apply(&mut kv, 0, set(format!("{{slot}}{number}").as_bytes(), b"value"));
        apply(&mut kv, 0, set(format!("other{number}").as_bytes(), b"value"));
    }
    let digest = kv.digest();
    assert_eq!(scrub(&mut kv, 1_000), (Scrubbed::Whole, 1));
    assert_eq!(scrub(&mut kv, 7), (Scrubbed::Whole, 6));
    for number in 0..20 {
        let key = format!("{{slot}}{number}");
        assert!(kv.corrupt(key.as_bytes(), Damage::Byte));
        assert_eq!(kv.digest(), digest, "what is kept does not change");
        assert_eq!(scrub(&mut kv, 3).0, Scrubbed::Damaged, "{key}");
        assert_eq!(
            SnapshotCursor::start().take(&kv, usize::MAX, &mut Vec::new()),
            Err(Damaged),
            "nor is it given away"
        );
        kv = {
            let mut whole = empty();
            for number in 0..20 {
                apply(&mut whole, 0, set(format!("{{slot}}{number}").as_bytes(), b"value"));
                apply(&mut whole, 0, set(format!("other{number}").as_bytes(), b"value"));
            }
            whole
        };
    }
}

#[test]
fn a_key_that_takes_more_than_the_budget_leaves_a_debt() {
    let mut kv = empty();
    apply(&mut kv, 0, set(b"k", &vec![b'v'; 10 << 10]));
    apply(&mut kv, 0, set(b"l", b"v"));
    let mut budget = 1;
    while kv.scrub(&mut budget) == Scrubbed::Partly {
        assert_eq!(budget, -10, "eleven units, for one key of ten kilobytes");
        budget += 11;
    }
    assert_eq!(budget, 0);
}

/// Scans the whole group, calling `between` after every step; returns the keys seen and the number of steps.
fn scan(kv: &mut Kv, count: i64, kind: &[u8], mut between: impl FnMut(&mut Kv)) -> (BTreeSet<Vec<u8>>, usize) {
    let (mut slot, mut cursor, mut seen, mut steps) = (0, 0, BTreeSet::new(), 0);
    loop {
        let command =
            Command { number: cursor, time: slot | (count << 16), value: kind, ..Command::new(Op::Scan, b"") };
        let bytes = read(kv, 0, command);
        let Some((Answer::Array { count: 3, .. }, rest)) = Answer::read(&bytes) else { panic!("{bytes:?}") };
        let Some((Answer::Int(next_slot), rest)) = Answer::read(rest) else { panic!() };
        let Some((Answer::Int(next), rest)) = Answer::read(rest) else { panic!() };
        let Some((Answer::Array { count: found, mut rest }, _)) = Answer::read(rest) else { panic!() };
        for _ in 0..found {
            let Some((Answer::Bulk(key), behind)) = Answer::read(rest) else { panic!() };
            seen.insert(key.to_vec());
            rest = behind;
        }
        between(kv);
        steps += 1;
        (slot, cursor) = (next_slot, next);
        if (slot, cursor) == (0, 0) {
            return (seen, steps);
        }
    }
}

#[test]
fn a_scan_visits_every_key_that_stays() {
    let mut kv = empty();
    let names: Vec<String> =
        (0..300).map(|n| format!("{{tag}}:{n}")).chain((0..300).map(|n| format!("k{n}"))).collect();
    for name in &names {
        apply(&mut kv, 0, set(name.as_bytes(), b"v"));
    }
    let mut step = 0;
    let (seen, steps) = scan(&mut kv, 7, b"", |kv| {
        // Keys come and go during the scan.
        step += 1;
        apply(kv, 0, set(format!("{{tag}}:new{step}").as_bytes(), b"v"));
    });
    assert!(names.iter().all(|name| seen.contains(name.as_bytes())));
    assert!(steps < 150, "{steps} steps");
}

#[test]
fn a_scan_of_an_empty_group_takes_one_step_and_types_are_told_apart() {
    let mut kv = empty();
    assert_eq!(scan(&mut kv, 10, b"", |_| {}), (BTreeSet::new(), 1));
    apply(&mut kv, 0, set(b"text", b"v"));
    let mut fields = Vec::new();
    push_item(&mut fields, b"f");
    push_item(&mut fields, b"v");
    apply(&mut kv, 0, Command { value: &fields, ..Command::new(Op::HashSet, b"book") });
    assert_eq!(scan(&mut kv, 10, b"hash", |_| {}).0, BTreeSet::from([b"book".to_vec()]));
}

/// One random write over a few keys of all types.
fn write() -> impl Strategy<Value = Vec<u8>> {
    let ops = prop::sample::select(vec![
        Op::Set,
        Op::SetMany,
        Op::SetRange,
        Op::Append,
        Op::Increment,
        Op::IncrementFloat,
        Op::GetDelete,
        Op::GetExpire,
        Op::Delete,
        Op::Expire,
        Op::Persist,
        Op::HashSet,
        Op::HashDelete,
        Op::HashIncrement,
        Op::HashIncrementFloat,
        Op::Flush,
        Op::Expired,
    ]);
    (ops, any::<u8>(), -3_i64..200, 0_i64..200, 0_u8..12, prop::collection::vec(0_u8..4, 0..40)).prop_map(
        |(op, flags, number, time, key, value)| {
            let name = format!("{{{}}}k{key}", key % 3).into_bytes();
            let mut list = Vec::new();
            push_item(&mut list, if op.keys_are_items() { &name } else { b"f" });
            push_item(&mut list, if op == Op::Delete { &name } else { b"7" });
            let has_items =
                [Op::SetMany, Op::Delete, Op::HashSet, Op::HashDelete, Op::HashIncrementFloat].contains(&op);
            let value = if has_items {
                list
            } else if op == Op::IncrementFloat {
                b"1.5".to_vec()
            } else {
                value
            };
            // Flushing every seventeenth time would leave nothing to look at.
            let op = if op == Op::Flush && key > 0 { Op::Set } else { op };
            let flags = Flags(flags & !Flags::ABSOLUTE.0);
            let mut bytes = Vec::new();
            Command { op, flags, number, time, key: &name, value: &value }.encode_into(&mut bytes);
            bytes
        },
    )
}

proptest! {
    /// Whatever is written while a snapshot is under way, whatever the sizes of its chunks: the copy ends up equal.
    #[test]
    fn a_snapshot_converges_while_writes_go_on(
        before in prop::collection::vec(write(), 0..60),
        during in prop::collection::vec(write(), 0..60),
        chunk_bytes in 1_usize..200,
        writes_per_chunk in 0_usize..5,
    ) {
        let mut source = empty();
        let mut time = 0;
        let mut run = |kvs: &mut [&mut Kv], bytes: &[u8]| {
            time += 10;
            let command = Command::check(bytes).expect("generated well");
            for kv in kvs {
                kv.apply(at(time), &command, &mut AnswerSink::discard());
            }
        };
        for bytes in &before {
            run(&mut [&mut source], bytes);
        }
        source.check();
        let mut copy = Kv::uncovered(source.slots());
        let mut cursor = SnapshotCursor::start();
        let mut during = during.iter();
        loop {
            for bytes in during.by_ref().take(writes_per_chunk) {
                run(&mut [&mut source, &mut copy], bytes);
                // Whatever is written while the scrub goes on, it finds nothing.
                prop_assert_ne!(source.scrub(&mut 1), Scrubbed::Damaged);
                prop_assert_ne!(copy.scrub(&mut 2), Scrubbed::Damaged);
            }
            let mut chunk = Vec::new();
            let is_last = cursor.take(&source, chunk_bytes, &mut chunk).expect("nothing is damaged");
            prop_assert_eq!(copy.install(&chunk, is_last), Ok(()));
            copy.check();
            if is_last {
                break;
            }
        }
        for bytes in during {
            run(&mut [&mut source, &mut copy], bytes);
        }
        source.check();
        copy.check();
        prop_assert_eq!(copy.digest(), source.digest());
        prop_assert_eq!(copy.used_bytes(), source.used_bytes());
        prop_assert_eq!(copy.next_deadline(), source.next_deadline());
    }

    #[test]
    fn hostile_chunks_are_values(chunk in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut kv = Kv::uncovered(empty().slots());
        let _ = kv.install(&chunk, false);
        kv.check();
    }
}
