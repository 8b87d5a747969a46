//! What one entry costs: appending on the leader and on a follower, reading in place and from another thread.
//!
//! The pool is the size of a small node's, and the oldest page is given back when it is full, so the figures include
//! handing segments out and taking them back.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use quorate_engine::entry::{Entries, EntryKind};
use quorate_engine::ids::{EntryId, Epoch, LogIndex, Slot};
use quorate_engine::log::{EntryStamp, Log, Read};
use quorate_engine::sync::pool::{Pool, PoolSize, SEGMENT_BYTES};
use quorate_engine::time::LogTime;

/// Bodies: a price with its key, the smallest class of values, and a value that fills most of a kilobyte.
const BODY_LENS: [usize; 3] = [32, 112, 1000];

/// Entries that a follower gets at once.
const BATCH: u64 = 256;

const STAMP: EntryStamp =
    EntryStamp { epoch: Epoch(1), time: LogTime(1_000), kind: EntryKind::Command, slot: Slot(12_182) };

fn pool() -> Pool {
    Pool::new(PoolSize { segments: 64, segment_bytes: SEGMENT_BYTES })
}

/// Appends, and gives the oldest page back when the pool is full.
fn append(log: &mut Log, pool: &mut Pool, body: &[&[u8]]) -> EntryId {
    loop {
        if let Ok(id) = log.append(pool, STAMP, body) {
            log.publish(id.index);
            return id;
        }
        assert!(log.release_oldest(pool, log.last()) > 0, "one log cannot fill the pool for ever");
    }
}

fn leader(c: &mut Criterion) {
    let mut group = c.benchmark_group("log_append");
    for body_len in BODY_LENS {
        group.throughput(Throughput::Elements(1));
        group.bench_with_input(BenchmarkId::new("leader", body_len), &body_len, |b, &body_len| {
            let (mut pool, mut log) = (pool(), Log::new(0));
            let body = vec![7; body_len];
            let (key, value) = body.split_at(11);
            b.iter(|| append(&mut log, &mut pool, black_box(&[key, value])));
        });
        group.throughput(Throughput::Elements(BATCH));
        group.bench_with_input(BenchmarkId::new("follower", body_len), &body_len, |b, &body_len| {
            let (mut pool, mut here, mut leader) = (pool(), pool(), Log::new(0));
            let body = vec![7; body_len];
            for _ in 0..BATCH {
                append(&mut leader, &mut here, &[&body]);
            }
            let range = leader.first()..=leader.last();
            let mut sent = Vec::new();
            leader.slices(&here, range, usize::MAX).for_each(|slice| sent.extend_from_slice(slice));
            let mut log = Log::new(0);
            b.iter(|| {
                for entry in Entries::new(black_box(&sent)) {
                    let entry = entry.expect("the leader's entries");
                    entry.verify().expect("the leader's entries");
                    log.append_entry(&mut pool, &entry).expect("the pool is empty");
                }
                // Anew each time, so that the indexes fit.
                log.clear(&mut pool);
            });
        });
    }
    group.finish();
}

fn reading(c: &mut Criterion) {
    const ENTRIES: u64 = 10_000;
    let mut group = c.benchmark_group("log_read");
    for body_len in BODY_LENS {
        let (mut pool, mut log) = (Pool::new(PoolSize { segments: 256, segment_bytes: SEGMENT_BYTES }), Log::new(0));
        let body = vec![7; body_len];
        for _ in 0..ENTRIES {
            append(&mut log, &mut pool, &[&body]);
        }
        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::new("in_place", body_len), |b| {
            let mut index = 0;
            b.iter(|| {
                index = index % ENTRIES + 1;
                log.entry(&pool, LogIndex(index)).map(|entry| entry.body().len())
            });
        });
        group.bench_function(BenchmarkId::new("reader", body_len), |b| {
            let mut reader = log.reader(&pool, LogIndex(1));
            let mut buf = Vec::new();
            b.iter(|| match reader.next(&mut buf) {
                Read::Entry(entry) => entry.body().len(),
                Read::UpToDate => {
                    reader = log.reader(&pool, LogIndex(1));
                    0
                }
                Read::Lapped { .. } | Read::Busy => unreachable!("the log does not change"),
            });
        });
    }
    group.finish();
}

criterion_group!(benches, leader, reading);
criterion_main!(benches);
