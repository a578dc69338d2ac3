//! Hashes against a map.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const SEED: u64 = 11;

fn content(hash: &Hash) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut pairs = BTreeMap::new();
    hash.visit_pairs(0, hash.len(), |field, value| {
        assert!(pairs.insert(field.to_vec(), value.to_vec()).is_none());
    });
    pairs
}

fn restored(hash: &Hash) -> Option<Hash> {
    let mut bytes = Vec::new();
    hash.visit(0, hash.len(), &mut |part| {
        crate::keyspace::packed::put(&mut bytes, part);
    });
    Hash::restore(hash.representation(), &mut Parts::new(&bytes), SEED)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_hash_is_a_map(
        steps in prop::collection::vec((0..4u8, 0..900u16, 0..70usize), 0..1500),
        fields in 1..900u16,
    ) {
        let (mut hash, mut model) = (Hash::default(), BTreeMap::new());
        let mut older = hash.clone();
        let mut older_model = model.clone();
        for (at, (step, number, len)) in steps.into_iter().enumerate() {
            let field = format!("field:{}", number % fields).into_bytes();
            // Rarely so long that it makes the hash large.
            let value = vec![step; if len > 66 && number > 10 { 3 } else { len }];
            if step == 0 {
                prop_assert_eq!(hash.remove(&field), model.remove(&field).is_some());
            } else {
                let is_new = model.insert(field.clone(), value.clone()).is_none();
                prop_assert_eq!(hash.set(&field, &value, SEED), is_new);
                prop_assert_eq!(hash.get(&field), Some(&value[..]));
            }
            if at % 300 == 7 {
                prop_assert_eq!(&content(&older), &older_model);
                (older, older_model) = (hash.clone(), model.clone());
            }
        }
        prop_assert_eq!(hash.len(), model.len());
        prop_assert_eq!(content(&hash), model);
        prop_assert_eq!(restored(&hash), Some(hash));
    }
}

#[test]
fn a_hash_is_large_beyond_the_thresholds_of_redis() {
    let mut hash = Hash::default();
    for number in 0..512 {
        hash.set(format!("{number}").as_bytes(), &[b'v'; 64], SEED);
    }
    assert_eq!((hash.encoding(), hash.len()), ("listpack", 512));
    let mut long = hash.clone();
    long.set(b"0", &[b'v'; 65], SEED);
    assert_eq!((long.encoding(), long.len()), ("hashtable", 512));
    hash.set(b"one more", b"", SEED);
    assert_eq!((hash.encoding(), hash.len()), ("hashtable", 513));
    hash.remove(b"one more");
    assert_eq!(hash.encoding(), "hashtable");
}

#[test]
fn a_scan_returns_every_field_that_is_there_throughout_once() {
    let mut hash = Hash::default();
    for number in 0..3000 {
        hash.set(format!("stays:{number}").as_bytes(), b"1", SEED);
    }
    let (mut seen, mut cursor, mut round) = (BTreeMap::new(), 0, 0);
    loop {
        cursor = hash.scan(cursor, 17, |field, _| {
            *seen.entry(field.to_vec()).or_insert(0) += 1;
        });
        if cursor == 0 {
            break;
        }
        for number in 0..40 {
            let field = format!("comes and goes:{}", (round * 7 + number) % 500);
            if !hash.remove(field.as_bytes()) {
                hash.set(field.as_bytes(), b"2", SEED);
            }
        }
        round += 1;
    }
    for number in 0..3000 {
        assert_eq!(seen[format!("stays:{number}").as_bytes()], 1);
    }
}

#[test]
fn what_nobody_wrote_is_no_hash() {
    let put = |parts: &[&str]| {
        let mut bytes = Vec::new();
        for part in parts {
            crate::keyspace::packed::put(&mut bytes, part.as_bytes());
        }
        bytes
    };
    let restore = |kind, bytes: &[u8]| Hash::restore(kind, &mut Parts::new(bytes), SEED);
    assert!(restore(PACKED, &put(&["a", "1", "b", "2"])).is_some());
    assert!(restore(PACKED, &put(&["a", "1", "a", "2"])).is_none());
    assert!(restore(PACKED, &put(&["a", "1", "b"])).is_none());
    assert!(restore(PACKED, &put(&["a", &"x".repeat(65)])).is_none());
    assert!(restore(9, &put(&["a", "1"])).is_none());
}

#[test]
fn hashes_take_little_memory() {
    let mut small = Hash::default();
    for number in 0..10 {
        small.set(format!("field:{number:010}").as_bytes(), &[b'v'; 16], SEED);
    }
    assert!(small.heap_bytes() <= 384, "{}", small.heap_bytes());
    let mut large = Hash::default();
    for number in 0..100_000 {
        large.set(format!("field:{number:010}").as_bytes(), &[b'v'; 16], SEED);
    }
    let each = large.heap_bytes() / large.len();
    assert!(each < 60, "{each}");
}
