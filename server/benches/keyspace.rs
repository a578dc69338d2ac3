//! Micro-benchmarks of the keyspace: what realms add to a look-up and to a write, and what a page
//! of a scan over many realms costs.

use std::hint::black_box;

use bailiwick::keyspace::{Expiry, Keyspace, NewValue, Stamp, Table};
use criterion::{Criterion, criterion_group, criterion_main};

const KEYS: u64 = 1_000_000;

fn key(number: u64, realms: u64) -> Vec<u8> {
    format!("tenant:{:03}:{number:08}", number % realms).into_bytes()
}

fn filled(realms: u64, split: bool) -> Keyspace {
    let mut keyspace = Keyspace::new(16, 7);
    for number in 0..realms * u64::from(split) {
        keyspace.split_realm(format!("tenant:{number:03}:").as_bytes());
    }
    for number in 0..KEYS {
        let value = NewValue::String(&[b'v'; 64]);
        keyspace.set(0, &key(number, realms), value, Expiry::None, 0);
    }
    keyspace
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

fn realms(criterion: &mut Criterion) {
    let keys: Vec<_> = (0..KEYS).map(|number| key(number, 500)).collect();
    let mut table = Table::new(7);
    for key in &keys {
        let value = NewValue::String(&[b'v'; 64]);
        table.set(key, value, Expiry::None, Stamp::default());
    }
    let mut next = shuffled();
    criterion.bench_function("get from a table", |bencher| {
        bencher.iter(|| black_box(table.get(&keys[next() as usize])).is_some());
    });
    drop(table);
    for (name, split) in [("one realm", false), ("five hundred realms", true)] {
        let mut keyspace = filled(500, split);
        criterion.bench_function(&format!("get from {name}"), |bencher| {
            bencher.iter(|| black_box(keyspace.get(0, &keys[next() as usize], 0)).is_some());
        });
        criterion.bench_function(&format!("set in {name}"), |bencher| {
            bencher.iter(|| {
                let value = NewValue::String(&[b'w'; 64]);
                keyspace.set(0, &keys[next() as usize], value, Expiry::None, 0);
            });
        });
        criterion.bench_function(&format!("scan of ten in {name}"), |bencher| {
            bencher.iter(|| {
                keyspace.scan(0, next() << 27, 10, b"", |entry| {
                    black_box(entry.key().len());
                })
            });
        });
    }
}

criterion_group!(benches, realms);
criterion_main!(benches);
