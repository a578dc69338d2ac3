//! Micro-benchmarks of the table: look-ups, overwrites, insertions with their splits, scans, and
//! the first write to a segment that a checkpoint shares.

use std::hint::black_box;
use std::time::{Duration, Instant};

use bailiwick::keyspace::{Expiry, NewValue, Stamp, Table};
use criterion::{Criterion, criterion_group, criterion_main};

const KEYS: u64 = 1_000_000;

fn key(number: u64) -> [u8; 16] {
    let mut key = *b"key:000000000000";
    let mut rest = number;
    for digit in key[4..].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    key
}

fn filled(keys: u64) -> Table {
    let mut table = Table::new(7);
    for number in 0..keys {
        set(&mut table, number);
    }
    table
}

fn set(table: &mut Table, number: u64) {
    let value = NewValue::String(&[b'v'; 64]);
    table.set(&key(number), value, Expiry::None, Stamp::default());
}

/// Numbers in an order that the cache cannot foresee.
fn shuffled() -> impl FnMut() -> u64 {
    let mut state = 88_172_645_463_325_252u64;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % KEYS
    }
}

fn look_ups(criterion: &mut Criterion) {
    let table = filled(KEYS);
    let mut next = shuffled();
    criterion.bench_function("get, one by one", |bencher| {
        bencher.iter(|| black_box(table.get(&key(next()))).is_some());
    });
    criterion.bench_function("get, sixteen at a time with prefetch", |bencher| {
        bencher.iter(|| {
            let keys: [_; 16] = std::array::from_fn(|_| key(next()));
            keys.iter().for_each(|key| table.prefetch(key));
            keys.iter().filter(|key| table.get(*key).is_some()).count()
        });
    });
    criterion.bench_function("scan of ten", |bencher| {
        bencher.iter(|| {
            table.scan(next() << 27, 10, |entry| {
                black_box(entry.key().len());
            })
        });
    });
}

fn writes(criterion: &mut Criterion) {
    let mut table = filled(KEYS);
    let mut next = shuffled();
    criterion.bench_function("set of a key that is there", |bencher| {
        bencher.iter(|| set(&mut table, next()));
    });
    criterion.bench_function("set of a key in a shared segment", |bencher| {
        // The freeze is not timed; each write copies a segment that it shares.
        bencher.iter_custom(|count| {
            let mut spent = Duration::ZERO;
            for _ in 0..count {
                let frozen = table.freeze();
                let number = next();
                let started = Instant::now();
                set(&mut table, number);
                spent += started.elapsed();
                drop(frozen);
            }
            spent
        });
    });
    criterion.bench_function("insertion of ten thousand keys", |bencher| {
        bencher.iter(|| filled(10_000));
    });
}

criterion_group!(benches, look_ups, writes);
criterion_main!(benches);
