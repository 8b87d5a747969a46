//! The shared-memory primitives under all interleavings and all values that weak memory allows, within bounds.
//!
//! Run with `RUSTFLAGS="--cfg loom" cargo test -p quorate-engine --test loom --release`. Two threads each; the number of
//! preemptions is bounded where the full space is too large. Memory is as small as it gets, so that every segment and
//! every word of a ring is used again within a few steps.
#![cfg(loom)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use loom::sync::{Condvar, Mutex};
use loom::thread;
use quorate_engine::entry::EntryKind;
use quorate_engine::ids::{EntryId, Epoch, LogIndex, Slot};
use quorate_engine::log::{EntryStamp, Log, LogReader, Read};
use quorate_engine::sync::doorbell::Doorbell;
use quorate_engine::sync::mailbox::{self, Consumer};
use quorate_engine::sync::pool::{Pool, PoolSize};
use quorate_engine::time::LogTime;

/// Explores `story` with at most `preemptions` involuntary switches between threads per run.
fn explore(preemptions: usize, story: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(preemptions);
    model.max_branches = 100_000;
    model.check(story);
}

/// Returns a pool whose segments take one entry with a body of up to 8 bytes each.
fn pool(segments: u32) -> Pool {
    Pool::new(PoolSize { segments, segment_bytes: 64 })
}

/// Appends an entry whose body, slot and time all follow from its index and epoch.
fn append(log: &mut Log, pool: &mut Pool, epoch: u64) {
    let index = log.last().0 + 1;
    let stamp = EntryStamp {
        epoch: Epoch(epoch),
        time: LogTime(index * 3),
        kind: EntryKind::Command,
        slot: Slot(u16::try_from(index).unwrap()),
    };
    log.append(pool, stamp, &[&[u8::try_from(index).unwrap(); 8]]).unwrap();
}

/// What readers got, over all runs of a model: shows that the model reaches what it is about.
#[derive(Default)]
struct Outcomes {
    entries_max: AtomicU32,
    laps: AtomicU32,
}

impl Outcomes {
    /// Panics unless some run read `entries` entries, and some run was lapped if `laps` says so.
    fn expect(&self, entries: u32, laps: bool) {
        assert_eq!(self.entries_max.load(Relaxed), entries, "most entries that a run read");
        assert_eq!(self.laps.load(Relaxed) > 0, laps, "whether a run was lapped");
    }
}

/// Reads `calls` times and checks that each entry is whole, in order, and named as `is_published` accepts.
fn read(reader: &mut LogReader, calls: u32, outcomes: &Outcomes, is_published: impl Fn(EntryId) -> bool) {
    let mut buf = Vec::new();
    let mut entries = 0;
    for _ in 0..calls {
        let next = reader.next_index();
        match reader.next(&mut buf) {
            Read::Entry(entry) => {
                assert_eq!(entry.id().index, next, "entries come in order");
                assert_eq!(entry.verify(), Ok(()), "an entry is never torn");
                assert_eq!(entry.time(), LogTime(next.0 * 3));
                assert!(is_published(entry.id()), "{} was never published", entry.id());
                entries += 1;
            }
            Read::Lapped { first } => {
                assert!(first > next, "a lap leads forward");
                outcomes.laps.fetch_add(1, Relaxed);
            }
            Read::UpToDate | Read::Busy => thread::yield_now(),
        }
    }
    outcomes.entries_max.fetch_max(entries, Relaxed);
}

#[test]
fn reader_sees_whole_entries_while_the_log_grows() {
    let outcomes = Arc::new(Outcomes::default());
    let seen = Arc::clone(&outcomes);
    explore(3, move || {
        let mut pool = pool(2);
        let mut log = Log::new(0);
        let mut reader = log.reader(&pool, LogIndex(1));
        let seen = Arc::clone(&seen);
        let watcher = thread::spawn(move || read(&mut reader, 2, &seen, |_| true));
        append(&mut log, &mut pool, 1);
        log.publish(LogIndex(1));
        append(&mut log, &mut pool, 1);
        log.publish(LogIndex(2));
        watcher.join().unwrap();
    });
    outcomes.expect(2, false);
}

#[test]
fn reader_never_takes_new_bytes_for_old_ones() {
    let outcomes = Arc::new(Outcomes::default());
    let seen = Arc::clone(&outcomes);
    explore(2, move || {
        let mut pool = pool(2);
        let mut log = Log::new(0);
        append(&mut log, &mut pool, 1);
        append(&mut log, &mut pool, 1);
        log.publish(LogIndex(2));
        let mut reader = log.reader(&pool, LogIndex(1));
        let seen = Arc::clone(&seen);
        let watcher = thread::spawn(move || read(&mut reader, 2, &seen, |_| true));
        assert_eq!(log.release_oldest(&mut pool, LogIndex(2)), 1);
        // Into the segment of entry 1.
        append(&mut log, &mut pool, 1);
        log.publish(LogIndex(3));
        watcher.join().unwrap();
    });
    outcomes.expect(2, true);
}

#[test]
fn reader_between_two_pages_notices_that_both_are_gone() {
    let outcomes = Arc::new(Outcomes::default());
    let seen = Arc::clone(&outcomes);
    explore(2, move || {
        let mut pool = pool(3);
        let mut log = Log::new(0);
        for _ in 0..3 {
            append(&mut log, &mut pool, 1);
        }
        log.publish(LogIndex(3));
        let mut reader = log.reader(&pool, LogIndex(1));
        read(&mut reader, 1, &seen, |_| true);
        // Stands at the end of page 1; its link leads to page 2, which is given back and used by another log.
        let seen = Arc::clone(&seen);
        let watcher = thread::spawn(move || read(&mut reader, 1, &seen, |id| id.epoch == Epoch(1)));
        assert_eq!(log.release_oldest(&mut pool, LogIndex(3)), 1);
        assert_eq!(log.release_oldest(&mut pool, LogIndex(3)), 1);
        let mut other = Log::starting_after(1, EntryId { epoch: Epoch(1), index: LogIndex(0) });
        append(&mut other, &mut pool, 9);
        append(&mut other, &mut pool, 9);
        watcher.join().unwrap();
    });
    outcomes.expect(1, true);
}

#[test]
fn reader_never_sees_what_was_cut() {
    let outcomes = Arc::new(Outcomes::default());
    let seen = Arc::clone(&outcomes);
    explore(3, move || {
        let mut pool = pool(2);
        let mut log = Log::new(0);
        append(&mut log, &mut pool, 1);
        log.publish(LogIndex(1));
        let mut reader = log.reader(&pool, LogIndex(1));
        let seen = Arc::clone(&seen);
        let watcher = thread::spawn(move || {
            read(&mut reader, 2, &seen, |id| id.epoch == Epoch(if id.index == LogIndex(1) { 1 } else { 2 }));
        });
        append(&mut log, &mut pool, 1);
        log.cut(&mut pool, LogIndex(2));
        append(&mut log, &mut pool, 2);
        log.publish(LogIndex(2));
        watcher.join().unwrap();
    });
    outcomes.expect(2, false);
}

#[test]
fn reader_with_an_old_page_and_a_new_index_finds_the_page_gone() {
    let outcomes = Arc::new(Outcomes::default());
    let seen = Arc::clone(&outcomes);
    explore(3, move || {
        let mut pool = pool(1);
        let mut log = Log::starting_after(0, EntryId { epoch: Epoch(1), index: LogIndex(1) });
        append(&mut log, &mut pool, 1);
        log.publish(LogIndex(2));
        let mut reader = log.reader(&pool, LogIndex(2));
        read(&mut reader, 1, &seen, |_| true);
        // Stands behind entry 2, the last one. Index 3 will be published without ever having been there.
        let seen = Arc::clone(&seen);
        let watcher = thread::spawn(move || read(&mut reader, 1, &seen, |_| false));
        log.restart_after(&mut pool, EntryId { epoch: Epoch(2), index: LogIndex(3) });
        watcher.join().unwrap();
    });
    outcomes.expect(1, true);
}

#[test]
fn reader_with_a_new_page_does_not_believe_an_old_index() {
    let outcomes = Arc::new(Outcomes::default());
    let seen = Arc::clone(&outcomes);
    explore(2, move || {
        let mut pool = pool(2);
        let mut log = Log::starting_after(0, EntryId { epoch: Epoch(1), index: LogIndex(2) });
        append(&mut log, &mut pool, 1);
        log.publish(LogIndex(3));
        let mut reader = log.reader(&pool, LogIndex(3));
        let seen = Arc::clone(&seen);
        let watcher = thread::spawn(move || read(&mut reader, 1, &seen, |id| id.epoch == Epoch(1)));
        log.restart_after(&mut pool, EntryId { epoch: Epoch(1), index: LogIndex(2) });
        // Not published: index 3 was, but that was another entry.
        append(&mut log, &mut pool, 2);
        watcher.join().unwrap();
    });
    outcomes.expect(1, false);
}

/// Takes records until `count` came; record `n` must be `n` bytes of value `n`.
fn take_records(consumer: &mut Consumer, count: u8) {
    let mut number = 1;
    while number <= count {
        match consumer.peek() {
            Some(record) => {
                assert_eq!(record, vec![number; usize::from(number)], "record {number}");
                consumer.advance();
                number += 1;
            }
            None => thread::yield_now(),
        }
    }
    assert!(consumer.is_empty());
}

#[test]
fn mailbox_hands_over_whole_records_in_order() {
    explore(3, || {
        let (mut producer, mut consumer) = mailbox::channel(64);
        let taker = thread::spawn(move || take_records(&mut consumer, 4));
        // 16 bytes each: three fit, the fourth would leave no room for the zero behind it.
        for number in 1..=4_u8 {
            while producer.try_push(&[&vec![number; usize::from(number)]]).is_err() {
                thread::yield_now();
            }
        }
        taker.join().unwrap();
    });
}

#[test]
fn mailbox_that_wraps_never_overwrites_what_is_being_read() {
    explore(2, || {
        let (mut producer, mut consumer) = mailbox::channel(64);
        // Records of 8, 16, 16, .. bytes: the fifth finds 8 bytes before the end and goes to the beginning.
        producer.try_push(&[]).unwrap();
        assert_eq!(consumer.peek(), Some(&[][..]));
        consumer.advance();
        let taker = thread::spawn(move || take_records(&mut consumer, 5));
        for number in 1..=5_u8 {
            while producer.try_push(&[&vec![number; usize::from(number)]]).is_err() {
                thread::yield_now();
            }
        }
        taker.join().unwrap();
    });
}

#[test]
fn parked_owner_is_always_woken() {
    explore(4, || {
        let doorbell = Arc::new(Doorbell::new());
        let eventfd = Arc::new((Mutex::new(false), Condvar::new()));
        let (mut producer, mut consumer) = mailbox::channel(64);
        let owner = {
            let (doorbell, eventfd) = (Arc::clone(&doorbell), Arc::clone(&eventfd));
            thread::spawn(move || {
                let mut taken = 0;
                while taken < 2 {
                    if doorbell.take() != 0 {
                        taken += consumer.poll(usize::MAX, |record| assert_eq!(record, b"x"));
                    } else if doorbell.prepare_park() {
                        let (woken, wake_up) = &*eventfd;
                        let mut woken = woken.lock().unwrap();
                        while !*woken {
                            woken = wake_up.wait(woken).unwrap();
                        }
                        *woken = false;
                        drop(woken);
                        doorbell.cancel_park();
                    }
                }
            })
        };
        for _ in 0..2 {
            producer.try_push(&[b"x"]).unwrap();
            if doorbell.ring(3) {
                *eventfd.0.lock().unwrap() = true;
                eventfd.1.notify_one();
            }
        }
        owner.join().unwrap();
    });
}

#[test]
fn only_one_of_two_ringers_has_to_wake() {
    explore(4, || {
        let doorbell = Arc::new(Doorbell::new());
        assert!(doorbell.prepare_park());
        let other = {
            let doorbell = Arc::clone(&doorbell);
            thread::spawn(move || u32::from(doorbell.ring(1)))
        };
        let mine = u32::from(doorbell.ring(2));
        assert_eq!(mine + other.join().unwrap(), 1);
        assert_eq!(doorbell.take(), 0b110);
    });
}
