//! What a message between two threads costs: on one thread (the instructions), and there and back between two spinning
//! threads (the cache lines). The second needs two CPUs that are idle otherwise.

use std::hint::{black_box, spin_loop};
use std::thread;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use quorate_engine::sync::doorbell::Doorbell;
use quorate_engine::sync::mailbox::{Consumer, Producer, channel};

/// Records: an acknowledgement, an append of one small entry, and a batch.
const RECORD_LENS: [usize; 3] = [48, 160, 4096];

const CAPACITY_BYTES: usize = 1 << 20;

/// Records that one burst pushes before the other side is looked at.
const BURST: u64 = 64;

/// A record of this length ends the echo.
const END: &[u8] = b"end";

fn send(producer: &mut Producer, record: &[u8]) {
    while producer.try_push(&[&record[..record.len() / 2], &record[record.len() / 2..]]).is_err() {
        spin_loop();
    }
}

/// Waits for a record and returns its first byte.
fn receive(consumer: &mut Consumer) -> u8 {
    loop {
        if let Some(record) = consumer.peek() {
            let first = record[0];
            consumer.advance();
            return first;
        }
        spin_loop();
    }
}

/// Sends each record back until `END` comes.
fn echo(consumer: &mut Consumer, producer: &mut Producer) {
    loop {
        let Some(record) = consumer.peek() else {
            spin_loop();
            continue;
        };
        if record == END {
            return;
        }
        while producer.try_push(&[record]).is_err() {
            spin_loop();
        }
        consumer.advance();
    }
}

fn mailbox(c: &mut Criterion) {
    let mut group = c.benchmark_group("mailbox_hop");
    for len in RECORD_LENS {
        let record = vec![7; len];
        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::new("push_poll", len), |b| {
            let (mut producer, mut consumer) = channel(CAPACITY_BYTES);
            b.iter(|| {
                send(&mut producer, black_box(&record));
                receive(&mut consumer)
            });
        });
        let (mut there, mut echo_in) = channel(CAPACITY_BYTES);
        let (mut echo_out, mut back) = channel(CAPACITY_BYTES);
        thread::scope(|scope| {
            scope.spawn(move || echo(&mut echo_in, &mut echo_out));
            group.bench_function(BenchmarkId::new("there_and_back", len), |b| {
                b.iter(|| {
                    send(&mut there, &record);
                    receive(&mut back)
                });
            });
            group.throughput(Throughput::Elements(BURST));
            group.bench_function(BenchmarkId::new("burst_of_64", len), |b| {
                b.iter(|| {
                    for _ in 0..BURST {
                        send(&mut there, &record);
                    }
                    (0..BURST).map(|_| u64::from(receive(&mut back))).sum::<u64>()
                });
            });
            send(&mut there, END);
        });
    }
    group.finish();
}

fn doorbell(c: &mut Criterion) {
    let doorbell = Doorbell::new();
    c.bench_function("doorbell/ring_take/1", |b| b.iter(|| (doorbell.ring(black_box(5)), doorbell.take())));
    c.bench_function("doorbell/take_nothing/1", |b| b.iter(|| doorbell.take()));
}

criterion_group!(benches, mailbox, doorbell);
criterion_main!(benches);
