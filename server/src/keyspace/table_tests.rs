//! The table against a `BTreeMap`: random operations, splits, scans during growth, checkpoints
//! during writes.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

type Model = BTreeMap<Vec<u8>, (Vec<u8>, Option<i64>)>;

fn bytes_of(entry: &Entry) -> Vec<u8> {
    match entry.value() {
        ValueRef::Int(number) => number.to_string().into_bytes(),
        ValueRef::String(bytes) => bytes.to_vec(),
        ValueRef::Object(Object::String(bytes)) => bytes.clone(),
        ValueRef::Object(other) => panic!("no string: {other:?}"),
    }
}

fn content<'a>(entries: impl Iterator<Item = &'a Entry>) -> Model {
    entries
        .map(|e| (e.key().to_vec(), (bytes_of(e), e.expires_at_ms())))
        .collect()
}

fn frozen_content(frozen: Frozen) -> Model {
    let segments: Vec<_> = frozen.into_segments().collect();
    content(segments.iter().flat_map(|segment| segment.iter()))
}

#[derive(Clone, Debug)]
enum Step {
    Set(u16, u8, Option<i64>),
    Append(u16, u8),
    Expire(u16, Option<i64>),
    Remove(u16),
    RemoveExpired(i64, usize),
    Fill(u16, u16),
    Freeze,
    Thaw,
}

fn step() -> impl Strategy<Value = Step> {
    let key = 0..2000u16;
    let expiry = proptest::option::of(0..50i64);
    prop_oneof![
        6 => (key.clone(), any::<u8>(), expiry.clone()).prop_map(|(k, v, e)| Step::Set(k, v, e)),
        2 => (key.clone(), any::<u8>()).prop_map(|(k, v)| Step::Append(k, v)),
        2 => (key.clone(), expiry).prop_map(|(k, e)| Step::Expire(k, e)),
        3 => key.clone().prop_map(Step::Remove),
        1 => (0..50i64, 0..40usize).prop_map(|(at, n)| Step::RemoveExpired(at, n)),
        1 => (key, 1..400u16).prop_map(|(k, n)| Step::Fill(k, n)),
        1 => Just(Step::Freeze),
        1 => Just(Step::Thaw),
    ]
}

fn key_bytes(number: u16) -> Vec<u8> {
    format!("key:{number}").into_bytes()
}

fn value_bytes(seed: u8) -> Vec<u8> {
    // Numbers, short strings and strings beyond one granule.
    if seed.is_multiple_of(3) {
        seed.to_string().into_bytes()
    } else {
        vec![seed; seed as usize]
    }
}

fn at(expiry: Option<i64>) -> Expiry {
    expiry.map_or(Expiry::None, Expiry::At)
}

fn apply(table: &mut Table, model: &mut Model, step: &Step) {
    let stamp = Stamp::default();
    match *step {
        Step::Set(key, value, expiry) => {
            let (key, value) = (key_bytes(key), value_bytes(value));
            let new = table.set(&key, NewValue::from_bytes(&value), at(expiry), stamp);
            assert_eq!(new, model.insert(key, (value, expiry)).is_none());
        }
        Step::Append(key, byte) => {
            let key = key_bytes(key);
            let Some((value, _)) = model.get_mut(&key) else {
                return;
            };
            table.set(
                &key,
                NewValue::Object(Object::String(value.clone())),
                Expiry::Keep,
                stamp,
            );
            let clock = AccessClock::default();
            let is_string = |object: &Object| matches!(object, Object::String(_));
            let edited = table.edit(&key, 1, &clock, is_string, |object| match object {
                Object::String(bytes) => (bytes.push(byte), true),
                other => panic!("no string: {other:?}"),
            });
            assert_eq!(edited, Edit::Done(()));
            value.push(byte);
        }
        Step::Expire(key, expiry) => {
            let key = key_bytes(key);
            let held = model.get_mut(&key).map(|held| held.1 = expiry);
            assert_eq!(table.set_expiry(&key, expiry, stamp), held.is_some());
        }
        Step::Remove(key) => {
            let key = key_bytes(key);
            assert_eq!(table.remove(&key).is_some(), model.remove(&key).is_some());
        }
        Step::RemoveExpired(now_ms, limit) => {
            let mut due: Vec<_> = model
                .iter()
                .filter_map(|(key, held)| held.1.filter(|at| *at < now_ms).map(|at| (at, key)))
                .map(|(at, key)| (at, table.hash(key), key.clone()))
                .collect();
            due.sort();
            due.truncate(limit);
            assert_eq!(table.remove_expired(now_ms, limit, |_| {}), due.len());
            for (_, _, key) in due {
                model.remove(&key);
            }
        }
        Step::Fill(first, count) => {
            for number in first..first.saturating_add(count) {
                let key = key_bytes(number);
                table.set(&key, NewValue::String(b"fill"), Expiry::None, stamp);
                model.insert(key, (b"fill".to_vec(), None));
            }
        }
        Step::Freeze | Step::Thaw => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_table_behaves_like_an_ordered_map(
        seed in any::<u64>(),
        steps in proptest::collection::vec(step(), 1..120),
    ) {
        let mut table = Table::new(seed);
        let mut model = Model::new();
        let mut frozen: Option<(Frozen, Model)> = None;
        for step in &steps {
            match step {
                Step::Freeze => frozen = Some((table.freeze(), model.clone())),
                Step::Thaw => if let Some((frozen, then)) = frozen.take() {
                    prop_assert_eq!(frozen_content(frozen), then);
                },
                step => apply(&mut table, &mut model, step),
            }
            prop_assert_eq!(table.len(), model.len());
        }
        table.check_invariants();
        prop_assert_eq!(content(table.iter()), model.clone());
        for (key, (value, _)) in &model {
            prop_assert_eq!(&bytes_of(table.get(key).expect("present")), value);
        }
        if let Some((frozen, then)) = frozen {
            prop_assert_eq!(frozen_content(frozen), then);
        }
    }

    #[test]
    fn a_scan_returns_every_key_present_throughout_once(
        seed in any::<u64>(),
        before in 0..3000u16,
        growth in 0..300u16,
        count in 1..50usize,
    ) {
        let mut table = Table::new(seed);
        let stamp = Stamp::default();
        for number in 0..before {
            table.set(&key_bytes(number), NewValue::Int(1), Expiry::None, stamp);
        }
        let (mut cursor, mut grown, mut seen) = (0, before, BTreeSet::new());
        loop {
            cursor = table.scan(cursor, count, |entry| {
                assert!(seen.insert(entry.key().to_vec()), "returned twice");
            });
            if cursor == 0 {
                break;
            }
            // The table grows, and loses some of what it gained, while the scan goes on.
            for number in grown..grown.saturating_add(growth) {
                table.set(&key_bytes(number), NewValue::Int(2), Expiry::None, stamp);
            }
            if growth > 0 {
                table.remove(&key_bytes(grown));
            }
            grown = grown.saturating_add(growth).min(20_000);
        }
        for number in 0..before {
            prop_assert!(seen.contains(&key_bytes(number)), "{number} was not returned");
        }
    }
}

#[test]
fn a_scan_of_an_emptied_table_visits_a_bounded_number_of_segments() {
    let mut table = Table::new(1);
    for number in 0..20_000u16 {
        table.set(
            &key_bytes(number),
            NewValue::Int(1),
            Expiry::None,
            Stamp::default(),
        );
    }
    for number in 0..20_000u16 {
        table.remove(&key_bytes(number));
    }
    let (mut cursor, mut calls) = (0, 0);
    loop {
        cursor = table.scan(cursor, 1, |_| panic!("nothing is there"));
        calls += 1;
        if cursor == 0 {
            break;
        }
    }
    assert!(table.segment_count() > 100);
    assert!(
        calls > 1 && calls <= table.segment_count() / 10 + 1,
        "{calls} calls"
    );
    assert!(table.random(3).is_none());
}

#[test]
fn random_reaches_every_key() {
    let mut table = Table::new(1);
    for number in 0..500u16 {
        table.set(
            &key_bytes(number),
            NewValue::Int(1),
            Expiry::None,
            Stamp::default(),
        );
    }
    let mut random = 88_172_645_463_325_252u64;
    let mut seen = BTreeSet::new();
    for _ in 0..20_000 {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        seen.insert(table.random(random).expect("not empty").key().to_vec());
    }
    assert_eq!(seen.len(), 500);
}
