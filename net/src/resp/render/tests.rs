use proptest::prelude::*;
use quorate_engine::machine::answer::AnswerSink;

use super::*;
use crate::resp::Protocol;

const WALL_NS: u64 = 1_700_000_000_000_000_000;

fn answer(write: impl FnOnce(&mut AnswerSink<'_>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(&mut AnswerSink::into(&mut bytes));
    bytes
}

fn rendered(protocol: Protocol, shape: Shape, answers: &[Vec<u8>], pattern: &[u8]) -> String {
    let mut out = Vec::new();
    write_many(shape, &answers.concat(), answers.len(), pattern, WALL_NS, &mut Encoder::new(&mut out, protocol));
    String::from_utf8(out).unwrap().replace("\r\n", "|")
}

fn one(shape: Shape, write: impl FnOnce(&mut AnswerSink<'_>)) -> String {
    rendered(Protocol::V2, shape, &[answer(write)], b"")
}

fn names(list: &[&str]) -> Vec<u8> {
    answer(|sink| {
        sink.array(list.len());
        list.iter().for_each(|name| sink.bulk(name.as_bytes()));
    })
}

const BROKEN: &str = "-ERR internal: malformed answer|";

#[test]
fn an_answer_is_written_in_the_version_of_the_connection() {
    let map = [answer(|sink| {
        sink.map(1);
        sink.bulk(b"f");
        sink.nil();
    })];
    assert_eq!(rendered(Protocol::V2, Shape::Reply, &map, b""), "*2|$1|f|$-1|");
    assert_eq!(rendered(Protocol::V3, Shape::Reply, &map, b""), "%1|$1|f|_|");
    let nil = answer(|sink| sink.nil());
    assert_eq!(rendered(Protocol::V3, Shape::Reply, &[nil], b""), "_|");
    assert_eq!(one(Shape::Reply, |sink| sink.ok()), "+OK|");
    assert_eq!(one(Shape::Reply, |sink| sink.int(-3)), ":-3|");
    assert_eq!(one(Shape::Reply, |sink| sink.word("hash")), "+hash|");
    assert_eq!(one(Shape::Reply, |sink| sink.bulk(b"a")), "$1|a|");
    assert_eq!(one(Shape::Reply, |sink| sink.array(0)), "*0|");
    assert_eq!(one(Shape::Reply, |sink| sink.error("WRONGTYPE no")), "-WRONGTYPE no|");
}

#[test]
fn times_are_rounded_as_redis_rounds_them() {
    let remaining = |unit, ns| one(Shape::Remaining(unit), |sink| sink.int(ns));
    for (ns, seconds, milliseconds) in [
        (-2, ":-2|", ":-2|"),
        (-1, ":-1|", ":-1|"),
        (0, ":0|", ":0|"),
        (499_999_999, ":0|", ":499|"),
        (500_000_000, ":1|", ":500|"),
        (9_999_999_999, ":10|", ":9999|"),
        (i64::MAX, ":9223372037|", ":9223372036854|"),
    ] {
        assert_eq!(remaining(TimeUnit::Seconds, ns), seconds, "{ns}");
        assert_eq!(remaining(TimeUnit::Milliseconds, ns), milliseconds, "{ns}");
    }
    assert_eq!(remaining(TimeUnit::Seconds, -3), BROKEN);

    let none = |unit, code| one(Shape::Deadline(unit), |sink| sink.int(code));
    assert_eq!(none(TimeUnit::Seconds, -2), ":-2|");
    assert_eq!(none(TimeUnit::Milliseconds, -1), ":-1|");
    assert_eq!(none(TimeUnit::Milliseconds, 7), BROKEN);
    let deadline = |unit, ns, name| {
        one(Shape::Deadline(unit), |sink| {
            sink.array(2);
            sink.int(ns);
            sink.int(name);
        })
    };
    // As it was named.
    for left in [1, 9_000_000_000, i64::MAX] {
        assert_eq!(deadline(TimeUnit::Seconds, left, 1_700_000_010_499_000_000), ":1700000010|");
        assert_eq!(deadline(TimeUnit::Seconds, left, 1_700_000_010_500_000_000), ":1700000011|");
        assert_eq!(deadline(TimeUnit::Milliseconds, left, 1_700_000_010_499_999_999), ":1700000010499|");
    }
    // Without a name, from now on.
    for name in [0, -1, i64::MIN] {
        assert_eq!(deadline(TimeUnit::Seconds, 10_000_020_000, name), ":1700000010|");
        assert_eq!(deadline(TimeUnit::Milliseconds, 10_000_020_000, name), ":1700000010000|");
        assert_eq!(deadline(TimeUnit::Milliseconds, 9_999_980_000, name), ":1700000010000|");
        assert_eq!(deadline(TimeUnit::Milliseconds, i64::MAX, name), ":10923372036855|");
    }
    assert_eq!(deadline(TimeUnit::Seconds, -2, 5), BROKEN);
}

#[test]
fn only_points_in_time_need_the_clock() {
    let shapes = ALL_SHAPES.into_iter().filter(|shape| shape.needs_clock());
    assert_eq!(
        shapes.collect::<Vec<_>>(),
        [Shape::Deadline(TimeUnit::Seconds), Shape::Deadline(TimeUnit::Milliseconds)]
    );
}

#[test]
fn whether_a_key_was_set_is_a_number() {
    assert_eq!(one(Shape::SetIfAbsent, |sink| sink.ok()), ":1|");
    assert_eq!(one(Shape::SetIfAbsent, |sink| sink.nil()), ":0|");
    assert_eq!(one(Shape::SetIfAbsent, |sink| sink.int(1)), BROKEN);
}

#[test]
fn numbers_of_several_groups_add_up() {
    let numbers = [1, 0, 41].map(|number| answer(|sink| sink.int(number)));
    assert_eq!(rendered(Protocol::V2, Shape::Sum, &numbers, b""), ":42|");
    let largest = [i64::MAX, 1].map(|number| answer(|sink| sink.int(number)));
    assert_eq!(rendered(Protocol::V2, Shape::Sum, &largest, b""), ":9223372036854775807|");
    let mixed = [answer(|sink| sink.int(1)), answer(|sink| sink.nil())];
    assert_eq!(rendered(Protocol::V2, Shape::Sum, &mixed, b""), BROKEN);
}

#[test]
fn lists_follow_each_other_in_the_order_of_the_parts() {
    let second = answer(|sink| {
        sink.array(2);
        sink.nil();
        sink.bulk(b"c");
    });
    let lists = [names(&["a", "b"]), second, names(&[])];
    assert_eq!(rendered(Protocol::V2, Shape::List, &lists, b""), "*4|$1|a|$1|b|$-1|$1|c|");
    assert_eq!(rendered(Protocol::V3, Shape::List, &lists, b""), "*4|$1|a|$1|b|_|$1|c|");
}

#[test]
fn the_first_error_is_the_reply() {
    for shape in [Shape::Sum, Shape::List, Shape::Done, Shape::Keys(Filter::All)] {
        let answers = [
            answer(|sink| sink.int(1)),
            answer(|sink| sink.error("ERR first")),
            answer(|sink| sink.error("ERR second")),
        ];
        assert_eq!(rendered(Protocol::V2, shape, &answers, b""), "-ERR first|");
    }
    let done = [answer(|sink| sink.ok()), answer(|sink| sink.ok())];
    assert_eq!(rendered(Protocol::V2, Shape::Done, &done, b""), "+OK|");
}

#[test]
fn names_are_filtered_by_the_pattern() {
    let lists = [names(&["a1", "b1", ""]), names(&["a2"])];
    let keys = |filter, pattern: &str| rendered(Protocol::V2, Shape::Keys(filter), &lists, pattern.as_bytes());
    assert_eq!(keys(Filter::All, ""), "*4|$2|a1|$2|b1|$0||$2|a2|");
    assert_eq!(keys(Filter::Pattern, "a*"), "*2|$2|a1|$2|a2|");
    assert_eq!(keys(Filter::Pattern, ""), "*1|$0||");
    assert_eq!(keys(Filter::Pattern, "z"), "*0|");
}

#[test]
fn a_scan_goes_on_in_the_group_or_in_the_next() {
    let step = |slot: i64, position: i64, next: u16| {
        let answer = answer(|sink| {
            sink.array(3);
            sink.int(slot);
            sink.int(position);
            sink.array(2);
            sink.bulk(b"a");
            sink.bulk(b"b");
        });
        let shape = Shape::Scan { next_group: Slot(next), filter: Filter::Pattern };
        rendered(Protocol::V2, shape, &[answer], b"b")
    };
    assert_eq!(step(5, 0, 4096), "*2|$1|5|*1|$1|b|");
    assert_eq!(step(5, 2, 4096), "*2|$5|32773|*1|$1|b|");
    assert_eq!(step(0, 2, 4096), "*2|$5|32768|*1|$1|b|");
    assert_eq!(step(0, 0, 4096), "*2|$4|4096|*1|$1|b|");
    assert_eq!(step(0, 0, 0), "*2|$1|0|*1|$1|b|");
    for (slot, position) in [(-1, 0), (16_384, 0), (65_536, 0), (1, -1), (1, i64::MAX)] {
        assert_eq!(step(slot, position, 0), BROKEN, "{slot} {position}");
    }
}

#[test]
fn a_scan_of_fields_filters_by_field_and_keeps_the_values() {
    let step = |members: usize| {
        let answer = answer(|sink| {
            sink.array(2);
            sink.int(77);
            sink.array(members);
            ["f1", "g", "f2", "f"].iter().take(members).for_each(|text| sink.bulk(text.as_bytes()));
        });
        rendered(Protocol::V2, Shape::HashScan(Filter::Pattern), &[answer], b"f?")
    };
    assert_eq!(step(4), "*2|$2|77|*4|$2|f1|$1|g|$2|f2|$1|f|");
    assert_eq!(step(2), "*2|$2|77|*2|$2|f1|$1|g|");
    assert_eq!(step(0), "*2|$2|77|*0|");
    assert_eq!(step(3), BROKEN);
}

#[test]
fn broken_answers_are_one_error() {
    let whole = names(&["a", "b"]);
    for len in 0..whole.len() {
        for shape in ALL_SHAPES {
            assert_eq!(rendered(Protocol::V2, shape, &[whole[..len].to_vec()], b""), BROKEN, "{shape:?} {len}");
        }
    }
    let mut padded = whole.clone();
    padded.push(0);
    assert_eq!(rendered(Protocol::V2, Shape::Reply, &[padded], b""), BROKEN);
    let mut word = answer(|sink| sink.word("hash"));
    *word.last_mut().unwrap() = 0xFF;
    assert_eq!(rendered(Protocol::V2, Shape::Reply, &[word], b""), BROKEN);
    assert_eq!(rendered(Protocol::V2, Shape::Reply, &[whole.clone(), whole], b""), BROKEN);
    assert_eq!(rendered(Protocol::V2, Shape::Sum, &[], b""), BROKEN);
    let deep = [4, 1, 0, 0, 0].repeat(10_000);
    assert_eq!(rendered(Protocol::V2, Shape::Reply, &[deep], b""), BROKEN);
}

const ALL_SHAPES: [Shape; 15] = [
    Shape::Reply,
    Shape::Done,
    Shape::SetIfAbsent,
    Shape::Remaining(TimeUnit::Seconds),
    Shape::Remaining(TimeUnit::Milliseconds),
    Shape::Deadline(TimeUnit::Seconds),
    Shape::Deadline(TimeUnit::Milliseconds),
    Shape::Sum,
    Shape::List,
    Shape::Keys(Filter::All),
    Shape::Keys(Filter::Pattern),
    Shape::Scan { next_group: Slot(4096), filter: Filter::All },
    Shape::Scan { next_group: Slot(0), filter: Filter::Pattern },
    Shape::HashScan(Filter::All),
    Shape::HashScan(Filter::Pattern),
];

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

/// Trees of answers, and bytes that are almost some.
fn hostile_answers() -> impl Strategy<Value = Vec<u8>> {
    let leaf = prop_oneof![
        Just(answer(|sink| sink.ok())),
        Just(answer(|sink| sink.nil())),
        any::<i64>().prop_map(|number| answer(|sink| sink.int(number))),
        prop::sample::select(&[-2_i64, -1, 0, 1, 16_383][..]).prop_map(|number| answer(|sink| sink.int(number))),
        prop::collection::vec(any::<u8>(), 0..6).prop_map(|text| answer(|sink| sink.bulk(&text))),
        "[a-z]{0,6}".prop_map(|text| answer(|sink| sink.word(&text))),
        "[ -~\r\n]{0,8}".prop_map(|text| answer(|sink| sink.error(&text))),
    ];
    let tree = leaf.prop_recursive(6, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(|members| {
                let mut bytes = answer(|sink| sink.array(members.len()));
                bytes.extend(members.concat());
                bytes
            }),
            prop::collection::vec((inner.clone(), inner), 0..3).prop_map(|pairs| {
                let mut bytes = answer(|sink| sink.map(pairs.len()));
                pairs.iter().for_each(|(key, value)| bytes.extend([&key[..], value].concat()));
                bytes
            }),
        ]
    });
    (prop::collection::vec(tree, 0..4), any::<prop::sample::Index>(), any::<u8>(), 0..4_u8).prop_map(
        |(trees, index, byte, change)| {
            let mut bytes = trees.concat();
            if !bytes.is_empty() {
                let at = index.index(bytes.len());
                match change {
                    0 => bytes[at] = byte,
                    1 => bytes.truncate(at),
                    _ => {}
                }
            }
            bytes
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 20 } else { ProptestConfig::default().cases.max(4_000) }))]

    #[test]
    fn whatever_comes_back_one_whole_reply_is_written(
        answers in hostile_answers(),
        count in 0_usize..5,
        pattern in "[a-c*?]{0,3}",
        wall_now_ns: u64,
    ) {
        for shape in ALL_SHAPES {
            for protocol in [Protocol::V2, Protocol::V3] {
                let mut out = Vec::new();
                let mut encoder = Encoder::new(&mut out, protocol);
                write_many(shape, &answers, count, pattern.as_bytes(), wall_now_ns, &mut encoder);
                prop_assert_eq!(behind_reply(&out), Some(&b""[..]), "{:?} {:?}", shape, out.escape_ascii().to_string());
            }
        }
    }
}
