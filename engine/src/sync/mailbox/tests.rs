use super::*;

/// Returns `len` bytes that differ from record to record.
fn record(number: usize, len: usize) -> Vec<u8> {
    (0..len).map(|position| u8::try_from((number * 31 + position * 7 + 1) % 256).unwrap()).collect()
}

#[test]
fn records_arrive_in_order_and_whole() {
    let (mut producer, mut consumer) = channel(256);
    producer.try_push(&[b"first"]).unwrap();
    producer.try_push(&[]).unwrap();
    producer.try_push(&[b"", b"th", b"ird record"]).unwrap();
    assert_eq!(consumer.peek(), Some(&b"first"[..]));
    assert_eq!(consumer.peek(), Some(&b"first"[..]), "peek does not take");
    consumer.advance();
    assert_eq!(consumer.peek(), Some(&b""[..]));
    consumer.advance();
    assert_eq!(consumer.peek(), Some(&b"third record"[..]));
    consumer.advance();
    assert_eq!(consumer.peek(), None);
    consumer.advance();
    assert!(consumer.is_empty());
    assert!(producer.is_drained());
}

#[test]
fn full_ring_refuses_and_changes_nothing() {
    let (mut producer, mut consumer) = channel(128);
    let mut pushed = 0;
    while producer.try_push(&[&record(pushed, 20)]).is_ok() {
        pushed += 1;
    }
    assert_eq!(pushed, 3, "32 bytes each, and one word stays free");
    assert_eq!(producer.try_push(&[&record(9, 20)]), Err(PushError::Full { needed: 40, free: 32 }));
    let mut seen = 0;
    consumer.poll(usize::MAX, |bytes| {
        assert_eq!(bytes, record(seen, 20));
        seen += 1;
    });
    assert_eq!(seen, pushed);
    producer.try_push(&[&record(9, 20)]).unwrap();
    assert_eq!(consumer.peek(), Some(&record(9, 20)[..]));
}

#[test]
fn record_beyond_a_quarter_never_fits() {
    let (mut producer, mut consumer) = channel(128);
    assert_eq!(producer.record_bytes_max(), 24);
    assert_eq!(producer.try_push(&[&[1; 20], &[2; 5]]), Err(PushError::TooLong { len: 25, max: 24 }));
    for number in 0..100 {
        producer.try_push(&[&record(number, 24)]).expect("the longest record fits an empty ring wherever it begins");
        assert_eq!(consumer.peek(), Some(&record(number, 24)[..]));
        consumer.advance();
        producer.try_push(&[&record(number, number % 25)]).unwrap();
        consumer.poll(1, |bytes| assert_eq!(bytes, record(number, number % 25)));
    }
}

#[test]
fn poll_stops_at_its_limit() {
    let (mut producer, mut consumer) = channel(256);
    for number in 0..5 {
        producer.try_push(&[&record(number, 8)]).unwrap();
    }
    assert_eq!(consumer.poll(2, |_| ()), 2);
    assert_eq!(consumer.peek(), Some(&record(2, 8)[..]));
    assert_eq!(consumer.poll(10, |_| ()), 3);
    assert_eq!(consumer.poll(10, |_| ()), 0);
}

#[test]
fn bytes_of_an_older_lap_are_never_taken_for_a_length() {
    // Records full of bits that look like a length word; then shorter ones, so that length words land on them.
    let (mut producer, mut consumer) = channel(256);
    for round in 0..200_usize {
        producer.try_push(&[&vec![0xff; round % 57]]).unwrap();
        consumer.poll(usize::MAX, |bytes| assert_eq!(bytes, vec![0xff; round % 57]));
        assert!(consumer.is_empty(), "round {round}");
    }
}

#[test]
fn any_sequence_of_lengths_survives_many_laps() {
    many_laps(512);
    many_laps(LINES_FROM);
}

fn many_laps(capacity_bytes: usize) {
    let (mut producer, mut consumer) = channel(capacity_bytes);
    let mut state = 0x5EED_u64;
    let (mut pushed, mut seen) = (0_usize, 0_usize);
    let mut lens = std::collections::VecDeque::new();
    for _ in 0..20_000 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let len = usize::try_from(state >> 33).unwrap() % (producer.record_bytes_max() + 1);
        if state >> 32 & 1 == 0 {
            if producer.try_push(&[&record(pushed, len)]).is_ok() {
                lens.push_back(len);
                pushed += 1;
            }
        } else {
            consumer.poll(1 + len % 3, |bytes| {
                assert_eq!(bytes, record(seen, lens.pop_front().unwrap()));
                seen += 1;
            });
        }
    }
    assert!(seen > 5_000, "{seen} records went through");
}

#[test]
fn two_threads_agree() {
    const RECORDS: usize = 50_000;
    let (mut producer, mut consumer) = channel(16 * 1024);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for number in 0..RECORDS {
                let bytes = record(number, number % 200);
                while producer.try_push(&[&bytes[..bytes.len() / 2], &bytes[bytes.len() / 2..]]).is_err() {
                    std::thread::yield_now();
                }
            }
        });
        let mut number = 0;
        while number < RECORDS {
            if consumer.peek().is_none() {
                std::thread::yield_now();
            }
            consumer.poll(64, |bytes| {
                assert_eq!(bytes, record(number, number % 200));
                number += 1;
            });
        }
    });
    assert!(consumer.is_empty());
}

#[test]
fn each_end_notices_that_the_other_is_gone() {
    let (mut producer, consumer) = channel(CAPACITY_MIN);
    assert!(!producer.is_abandoned() && !consumer.is_abandoned());
    drop(consumer);
    assert!(producer.is_abandoned());
    let (mut other, mut consumer) = channel(CAPACITY_MIN);
    other.try_push(&[b"last"]).unwrap();
    drop(other);
    assert!(consumer.is_abandoned());
    assert_eq!(consumer.peek(), Some(&b"last"[..]), "what was pushed before stays");
    producer.try_push(&[b"nobody"]).unwrap();
}

#[test]
fn records_of_a_large_ring_begin_at_lines() {
    let (mut producer, mut consumer) = channel(LINES_FROM);
    let mut pushed = 0;
    while producer.try_push(&[&record(pushed, 56)]).is_ok() {
        pushed += 1;
    }
    assert_eq!(pushed, LINES_FROM / 64 - 1, "a line each, and one line stays free");
    assert_eq!(consumer.poll(usize::MAX, |_| ()), pushed);
    for len in [57, 1016, 0] {
        producer.try_push(&[&record(7, len)]).unwrap();
        assert_eq!(consumer.peek(), Some(&record(7, len)[..]));
        consumer.advance();
    }
    assert_eq!(producer.record_bytes_max(), 1016);
}
