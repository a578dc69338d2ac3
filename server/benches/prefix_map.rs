//! Micro-benchmarks of the look-up by longest prefix, with 100,000 prefixes of several kinds, and
//! of a change beside a clone that readers hold.

use std::hint::black_box;

use bailiwick::directory::PrefixMap;
use criterion::{Criterion, criterion_group, criterion_main};

/// The node's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const PREFIXES: usize = 100_000;
/// As many as make a round longer than a cache, so that look-ups do not find their way warmed.
const KEYS: usize = 200_000;

/// xorshift: numbers in an order that the cache cannot foresee.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.below(256) as u8).collect()
    }
}

/// What people name things: a few kinds, a number, sometimes a part of that.
fn names(numbers: &mut Numbers) -> Vec<Vec<u8>> {
    let kinds = [
        "user",
        "tenant",
        "shop",
        "eu:students",
        "ap:orders",
        "session",
        "s",
        "cache:v2",
    ];
    let name = |numbers: &mut Numbers| {
        let kind = kinds[numbers.below(kinds.len())];
        let number = numbers.below(1_000_000);
        match numbers.below(4) {
            0 => format!("{kind}:{number}:orders:"),
            1 => format!("{{{kind}:{number}}}"),
            _ => format!("{kind}:{number}:"),
        }
    };
    (0..PREFIXES).map(|_| name(numbers).into_bytes()).collect()
}

/// Random bytes of 1 to 64: every length there is.
fn random(numbers: &mut Numbers) -> Vec<Vec<u8>> {
    let one = |numbers: &mut Numbers| {
        let len = 1 + numbers.below(64);
        numbers.bytes(len)
    };
    (0..PREFIXES).map(|_| one(numbers)).collect()
}

/// Chains of prefixes inside each other, a byte longer each, 64 deep.
fn nested(numbers: &mut Numbers) -> Vec<Vec<u8>> {
    let chain = |numbers: &mut Numbers| {
        let longest = numbers.bytes(68);
        (4..68).map(move |len| longest[..len].to_vec())
    };
    (0..PREFIXES / 64).flat_map(|_| chain(numbers)).collect()
}

/// Two letters, so that paths part all the time, and every length up to 24.
fn bushy(numbers: &mut Numbers) -> Vec<Vec<u8>> {
    let one = |numbers: &mut Numbers| {
        let len = 8 + numbers.below(17);
        (0..len).map(|_| b'a' + numbers.below(2) as u8).collect()
    };
    (0..PREFIXES).map(|_| one(numbers)).collect()
}

/// Keys that go on behind a prefix, `tail` bytes.
fn keys_below(prefixes: &[Vec<u8>], tail: usize, numbers: &mut Numbers) -> Vec<Vec<u8>> {
    let key = |numbers: &mut Numbers| {
        let mut key = prefixes[numbers.below(prefixes.len())].clone();
        key.extend(numbers.bytes(tail));
        key
    };
    (0..KEYS).map(|_| key(numbers)).collect()
}

fn look_up(criterion: &mut Criterion, name: &str, map: &PrefixMap<[u64; 2]>, keys: &[Vec<u8>]) {
    // Keys stand in one buffer, in order, as they would in a connection's.
    let bytes = keys.concat();
    let ends = keys.iter().scan(0, |end, key| {
        *end += key.len();
        Some(*end)
    });
    let ends: Vec<usize> = ends.collect();
    let (mut at, mut start) = (0, 0);
    criterion.bench_function(name, |bencher| {
        bencher.iter(|| {
            let key = &bytes[start..ends[at]];
            (at, start) = if at + 1 == ends.len() {
                (0, 0)
            } else {
                (at + 1, ends[at])
            };
            map.longest(black_box(key)).map(|(_, value)| value[0])
        });
    });
}

fn look_ups(criterion: &mut Criterion) {
    let mut numbers = Numbers(88_172_645_463_325_252);
    type Kind = fn(&mut Numbers) -> Vec<Vec<u8>>;
    let kinds: [(&str, Kind); 4] = [
        ("names", names),
        ("random bytes of 1 to 64", random),
        ("nested 64 deep", nested),
        ("two letters", bushy),
    ];
    for (name, make) in kinds {
        let prefixes = make(&mut numbers);
        let mut map = PrefixMap::new();
        for (number, prefix) in prefixes.iter().enumerate() {
            map.insert(prefix, [number as u64; 2]);
        }
        let short = keys_below(&prefixes, 12, &mut numbers);
        look_up(criterion, name, &map, &short);
        if name == "names" {
            let long = keys_below(&prefixes, 4096, &mut numbers);
            look_up(
                criterion,
                "names, the same 2,000 keys",
                &map,
                &short[..2000],
            );
            look_up(criterion, "names, keys of 4 KiB", &map, &long[..20_000]);
            let bytes: Vec<Vec<u8>> = (0..KEYS).map(|_| numbers.bytes(1)).collect();
            look_up(criterion, "names, keys of one byte", &map, &bytes);
        }
    }
}

fn changes(criterion: &mut Criterion) {
    let mut numbers = Numbers(7);
    let prefixes = names(&mut numbers);
    let map: PrefixMap<[u64; 2]> = prefixes
        .iter()
        .map(|prefix| (prefix.clone(), [1, 2]))
        .collect();
    criterion.bench_function("change beside a clone", |bencher| {
        let mut current = map.clone();
        bencher.iter(|| {
            let readers = current.clone();
            current.insert(&prefixes[numbers.below(prefixes.len())], [3, 4]);
            black_box(readers).len()
        });
    });
}

criterion_group!(benches, look_ups, changes);
criterion_main!(benches);
