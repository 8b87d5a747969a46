//! What waiting costs a write: parked when it is appended, taken when its index is committed.
//!
//! In batches, as a turn parks them and a commit takes them. The second figure is for a commit that passes entries nobody
//! waits for, such as those that a leader appends by itself.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use quorate_engine::ids::LogIndex;
use quorate_engine::output::Token;
use quorate_engine::time::Instant;
use quorate_engine::waiting::WaitingList;

const TIMEOUT: Duration = Duration::from_secs(5);

/// Parks a writer at every `step`-th of `count` entries behind `last`, then takes them all; returns the new last entry.
fn park_and_take(list: &mut WaitingList, last: u64, count: u64, step: usize) -> u64 {
    let deadline = Instant(last).saturating_add(TIMEOUT);
    let end = last + count;
    for index in (last + 1..=end).step_by(step) {
        list.add_write(LogIndex(index), Token(index), deadline);
    }
    for index in last + 1..=end {
        black_box(list.take_write(LogIndex(index)));
    }
    end
}

fn waiting_list(c: &mut Criterion) {
    let mut group = c.benchmark_group("waiting_list");
    for batch in [1_u64, 64, 2048] {
        group.throughput(Throughput::Elements(batch));
        for (name, step) in [("all_wait", 1), ("every_second_waits", 2)] {
            group.bench_with_input(BenchmarkId::new(name, batch), &batch, |b, &batch| {
                let (mut list, mut last) = (WaitingList::default(), 0);
                b.iter(|| last = park_and_take(&mut list, last, batch, step));
                assert!(list.is_empty(), "every waiter was taken");
            });
        }
    }
    group.finish();
}

criterion_group!(benches, waiting_list);
criterion_main!(benches);
