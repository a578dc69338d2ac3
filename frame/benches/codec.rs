//! What the codec costs per batch: 64 pipelined requests in, 64 replies out.

use std::hint::black_box;

use bailiwick_frame::{Encoder, Limits, Parser, Protocol, Requests};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// Requests or replies in one batch.
const BATCH: usize = 64;

fn request(args: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut encoder = Encoder::new(&mut out, Protocol::Resp2);
    encoder.array(args.len());
    args.iter().for_each(|arg| encoder.bulk(arg));
    out
}

fn parse(c: &mut Criterion) {
    let mut group = c.benchmark_group("parse");
    group.throughput(Throughput::Elements(BATCH as u64));
    let value = [b'x'; 64];
    let batches = [
        ("get", request(&[b"GET", b"key:000000001234"]).repeat(BATCH)),
        (
            "set_64",
            request(&[b"SET", b"key:000000001234", &value]).repeat(BATCH),
        ),
        ("inline_get", b"GET key:000000001234\r\n".repeat(BATCH)),
        (
            "mget_200",
            request(&[&b"key:000000001234"[..]; 200]).repeat(BATCH),
        ),
    ];
    for (name, mut buf) in batches {
        let mut parser = Parser::default();
        let mut requests = Requests::default();
        let limits = Limits::default();
        group.bench_function(name, |b| {
            b.iter(|| {
                requests.clear();
                let consumed =
                    parser.parse(black_box(&mut buf), &limits, usize::MAX, &mut requests);
                assert_eq!(consumed, Ok(buf.len()));
                (0..requests.len())
                    .map(|i| requests.args(i, &buf).arg(1).len())
                    .sum::<usize>()
            });
        });
    }
    group.finish();
}

fn encode(c: &mut Criterion) {
    let mut group = c.benchmark_group("encode");
    group.throughput(Throughput::Elements(BATCH as u64));
    let mut out = Vec::with_capacity(1 << 20);
    for bytes in [8, 64, 1024] {
        let value = vec![b'x'; bytes];
        group.bench_function(format!("bulk_{bytes}"), |b| {
            b.iter(|| {
                out.clear();
                let mut encoder = Encoder::new(&mut out, Protocol::Resp2);
                for _ in 0..BATCH {
                    encoder.bulk(black_box(&value));
                }
                encoder.position()
            });
        });
    }
    for (name, value) in [
        ("integer_1", 1),
        ("integer_5_digits", 12345),
        ("integer_19_digits", i64::MAX),
    ] {
        group.bench_function(name, |b| {
            b.iter(|| {
                out.clear();
                let mut encoder = Encoder::new(&mut out, Protocol::Resp2);
                for _ in 0..BATCH {
                    encoder.integer(black_box(value));
                }
                encoder.position()
            });
        });
    }
    group.bench_function("double", |b| {
        b.iter(|| {
            out.clear();
            let mut encoder = Encoder::new(&mut out, Protocol::Resp3);
            for _ in 0..BATCH {
                encoder.double(black_box(2.50625));
            }
            encoder.position()
        });
    });
    group.finish();
}

criterion_group!(benches, parse, encode);
criterion_main!(benches);
