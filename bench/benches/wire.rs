//! `wire/<operation>/<size>`: putting frames together, and taking them apart where they lie.
//!
//! Sizes are bytes of the value, or of the entries in a batch; throughput counts whole frames.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use quorate::wire::{
    About, BodyLimits, FrameReader, Level, ReplyHead, RequestHead, Stage, decode, encode_append_with, encode_message,
};
use quorate_engine::entry::{EntryHeader, EntryKind, padded_len};
use quorate_engine::ids::{EntryId, Epoch, GroupId, LogIndex};
use quorate_engine::machine::command::{Command, Op};
use quorate_engine::message::{Ack, Append, Message, StreamId};
use quorate_engine::replication::comparison::Note;
use quorate_engine::slots::slot_of;
use quorate_engine::time::{Instant, LogTime};

const ABOUT: About = About { group: GroupId(5), epoch: Epoch(1) };

/// What a client sends for a value of so many bytes.
fn push_request(out: &mut Vec<u8>, number: u64, value: &[u8]) {
    let head = RequestHead { number, ..RequestHead::default() };
    head.encode(out, ABOUT, &Command { value, ..Command::new(Op::Set, b"tick:0000000000") });
}

/// `count` entries of a `SET` with a value of so many bytes, from index 1.
fn entries(count: u64, value_bytes: usize) -> Vec<u8> {
    let value = vec![b'v'; value_bytes];
    let mut body = Vec::new();
    Command { value: &value, ..Command::new(Op::Set, b"tick:0000000000") }.encode_into(&mut body);
    let mut out = Vec::new();
    for index in 1..=count {
        let body_len = u32::try_from(body.len()).expect("a short body");
        let id = EntryId { epoch: Epoch(1), index: LogIndex(index) };
        let (time, kind, slot) = (LogTime(index), EntryKind::Command, slot_of(b"tick:0000000000"));
        let header = EntryHeader { crc32c: 0, body_len, id, time, kind, slot }.sealed(&[&body]);
        let start = out.len();
        out.extend_from_slice(&header.to_bytes());
        out.extend_from_slice(&body);
        out.resize(start + padded_len(body.len()), 0);
    }
    out
}

fn append(entries: &[u8]) -> Append<'_> {
    Append { stream: StreamId::LIVE, prev: EntryId::START, commit: LogIndex(0), sent: Instant(7), entries }
}

fn encode(c: &mut Criterion) {
    let mut group = c.benchmark_group("wire");
    let mut out = Vec::with_capacity(4 << 20);
    for value_bytes in [64, 1024] {
        let value = vec![b'v'; value_bytes];
        group.bench_function(BenchmarkId::new("encode_request", value_bytes), |b| {
            b.iter(|| {
                out.clear();
                push_request(&mut out, 1, black_box(&value));
                out.len()
            });
        });
    }
    group.bench_function(BenchmarkId::new("encode_reply", 1), |b| {
        let head = ReplyHead { number: 1, level: Level::Commit, index: LogIndex(9), loss_gen: 0 };
        b.iter(|| {
            out.clear();
            black_box(&head).encode_with(&mut out, ABOUT, |answer| answer.ok());
            out.len()
        });
    });
    group.bench_function(BenchmarkId::new("encode_ack", 0), |b| {
        let ack = Message::Ack(Ack {
            stream: StreamId::LIVE,
            matched: LogIndex(9),
            sent: Instant(7),
            state: Note { applied: LogIndex(9), digest: 7 },
        });
        b.iter(|| {
            out.clear();
            encode_message(&mut out, ABOUT, black_box(&ack));
            out.len()
        });
    });
    for count in [1, 64, 512] {
        let list = entries(count, 64);
        group.throughput(Throughput::Bytes(list.len() as u64));
        group.bench_function(BenchmarkId::new("encode_append", list.len()), |b| {
            b.iter(|| {
                out.clear();
                encode_append_with(&mut out, ABOUT, &append(black_box(&list)), |_| ());
                out.len()
            });
        });
    }
    group.finish();
}

fn access(c: &mut Criterion) {
    let mut group = c.benchmark_group("wire");
    let limits = BodyLimits::DEFAULT;
    for value_bytes in [64, 1024] {
        let mut bytes = Vec::new();
        push_request(&mut bytes, 1, &vec![b'v'; value_bytes]);
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(BenchmarkId::new("access_request", value_bytes), |b| {
            b.iter(|| decode(black_box(&bytes), Stage::Client, &limits).map(|(_, taken)| taken));
        });
    }
    let mut reply = Vec::new();
    ReplyHead { number: 1, level: Level::Commit, index: LogIndex(9), loss_gen: 0 }.encode_with(
        &mut reply,
        ABOUT,
        |answer| answer.ok(),
    );
    group.throughput(Throughput::Bytes(reply.len() as u64));
    group.bench_function(BenchmarkId::new("access_reply", 1), |b| {
        b.iter(|| decode(black_box(&reply), Stage::Server, &limits).map(|(_, taken)| taken));
    });
    let mut ack = Vec::new();
    encode_message(
        &mut ack,
        ABOUT,
        &Message::Ack(Ack {
            stream: StreamId::LIVE,
            matched: LogIndex(9),
            sent: Instant(7),
            state: Note { applied: LogIndex(9), digest: 7 },
        }),
    );
    group.throughput(Throughput::Bytes(ack.len() as u64));
    group.bench_function(BenchmarkId::new("access_ack", 0), |b| {
        b.iter(|| decode(black_box(&ack), Stage::Peer, &limits).map(|(_, taken)| taken));
    });
    for count in [1, 64, 512] {
        let mut bytes = Vec::new();
        let list = entries(count, 64);
        encode_append_with(&mut bytes, ABOUT, &append(&list), |_| ());
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(BenchmarkId::new("access_append", list.len()), |b| {
            b.iter(|| decode(black_box(&bytes), Stage::Peer, &limits).map(|(_, taken)| taken));
        });
    }
    group.finish();
}

/// A stream of 512 requests as it comes from one client, in receives of so many bytes.
fn stream(c: &mut Criterion) {
    let mut group = c.benchmark_group("wire");
    let mut bytes = Vec::new();
    for number in 0..512 {
        push_request(&mut bytes, number, &[b'v'; 64]);
    }
    group.throughput(Throughput::Elements(512));
    for piece in [4 << 10, 64 << 10] {
        let mut reader = FrameReader::new(Stage::Client, BodyLimits::DEFAULT);
        group.bench_function(BenchmarkId::new("read_512_requests", piece), |b| {
            b.iter(|| {
                let mut count = 0;
                for received in bytes.chunks(piece) {
                    let mut frames = reader.frames(black_box(received));
                    while let Some(frame) = frames.next() {
                        count += usize::from(frame.is_ok());
                    }
                }
                assert_eq!(count, 512);
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    targets = encode, access, stream
}
criterion_main!(benches);
