//! What it costs to find how far a group is committed: the W-th largest of the acknowledged positions.
//!
//! Asked with every acknowledgement, so with 3, 5 and 7 voters, in the orders that are easiest and hardest for it.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use quorate_engine::replication::quorum::nth_largest;

fn commit_rank(c: &mut Criterion) {
    let mut group = c.benchmark_group("commit_rank");
    group.throughput(Throughput::Elements(1));
    for voters in [3_u64, 5, 7] {
        let write_quorum = usize::try_from(voters / 2 + 1).expect("at most 4");
        let falling: Vec<u64> = (0..voters).rev().map(|voter| 1_000 + voter).collect();
        let rising: Vec<u64> = falling.iter().rev().copied().collect();
        for (order, acks) in [("falling", falling), ("rising", rising)] {
            group.bench_with_input(BenchmarkId::new(order, voters), &acks, |b, acks| {
                b.iter(|| nth_largest(black_box(acks).iter().copied(), write_quorum));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, commit_rank);
criterion_main!(benches);
