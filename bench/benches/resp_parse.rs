//! What a request costs before it is executed: parsing it, finding its command, writing its reply.
//!
//! Names are subject/operation/size, the size in bytes of a value or in requests of a pipeline.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use quorate::resp::{Encoder, Limits, Parsed, Parser, Protocol, Trust, table};

fn set_request(value_bytes: usize) -> Vec<u8> {
    let mut request = format!("*3\r\n$3\r\nSET\r\n$8\r\nkey:0001\r\n${value_bytes}\r\n").into_bytes();
    request.resize(request.len() + value_bytes, b'v');
    request.extend_from_slice(b"\r\n");
    request
}

/// Parses every request in `bytes`; returns how many there were.
fn parse_all(parser: &mut Parser, bytes: &[u8]) -> usize {
    let (mut at, mut count) = (0, 0);
    while at < bytes.len() {
        match parser.parse(&bytes[at..], Trust::Authenticated) {
            Parsed::Complete { consumed } => at += consumed,
            other => panic!("a whole request was expected: {other:?}"),
        }
        count += 1;
    }
    count
}

fn parse(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("resp_parse");
    let mut parser = Parser::new(Limits::default());
    for value_bytes in [64, 4096] {
        let request = set_request(value_bytes);
        group.throughput(Throughput::Elements(1));
        group.bench_function(format!("set/{value_bytes}"), |bencher| {
            bencher.iter(|| parse_all(&mut parser, black_box(&request)));
        });
    }
    let pipeline = set_request(64).repeat(512);
    group.throughput(Throughput::Elements(512));
    group.bench_function("set_pipeline/512", |bencher| {
        bencher.iter(|| parse_all(&mut parser, black_box(&pipeline)));
    });
    group.throughput(Throughput::Elements(1));
    group.bench_function("inline/4", |bencher| bencher.iter(|| parse_all(&mut parser, black_box(b"PING\r\n"))));

    let large = set_request(1024 * 1024);
    group.throughput(Throughput::Bytes(large.len() as u64));
    group.bench_function("set_in_pieces_of_1448/1048576", |bencher| {
        bencher.iter(|| {
            for end in (0..large.len()).step_by(1448) {
                black_box(parser.parse(black_box(&large[..end]), Trust::Authenticated));
            }
            parser.parse(&large, Trust::Authenticated)
        });
    });
    group.finish();
}

fn look_up(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("resp_table");
    for name in ["GET", "set", "HINCRBYFLOAT", "nosuchcommand"] {
        group.bench_function(format!("find/{name}"), |bencher| {
            bencher.iter(|| table::find(black_box(name.as_bytes())).map(|spec| spec.id));
        });
    }
    let request = set_request(64);
    let mut parser = Parser::new(Limits::default());
    parse_all(&mut parser, &request);
    let args = parser.args(&request);
    group.bench_function("resolve/SET", |bencher| {
        bencher.iter(|| table::resolve(black_box(args)).map(|spec| spec.id).is_ok());
    });
    group.finish();
}

fn encode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("resp_encode");
    let mut out = Vec::with_capacity(8192);
    let value = [b'v'; 64];
    group.bench_function("ok/5", |bencher| {
        bencher.iter(|| {
            out.clear();
            Encoder::new(&mut out, Protocol::V2).ok();
            black_box(&out);
        });
    });
    group.bench_function("bulk/64", |bencher| {
        bencher.iter(|| {
            out.clear();
            Encoder::new(&mut out, Protocol::V2).bulk(black_box(&value));
            black_box(&out);
        });
    });
    group.bench_function("integer/7", |bencher| {
        bencher.iter(|| {
            out.clear();
            Encoder::new(&mut out, Protocol::V2).integer(black_box(1_234_567));
            black_box(&out);
        });
    });
    group.finish();
}

criterion_group!(benches, parse, look_up, encode);
criterion_main!(benches);
