//! Realms against a map of all keys: they are split, merged, handed out and taken in, while keys
//! come and go and scans are under way.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

const DATABASES: usize = 2;
/// The prefixes that come and go; each needs those before it that it begins with to be no realms or
/// visible ones, which is always so here.
const PREFIXES: [&[u8]; 5] = [b"a", b"ab", b"abc", b"b", b"c:"];

type Model = BTreeMap<(usize, Vec<u8>), (i64, Option<i64>)>;

#[derive(Clone, Debug)]
enum Step {
    Set(usize, u16, i64, Option<i64>),
    Remove(usize, u16),
    RemoveExpired(i64, usize),
    Swap,
    Clear(usize),
    /// Splits a realm off, or merges it if it is there.
    Toggle(usize),
    /// Sends a realm away and takes it back in, as another realm with the same keys.
    Travel(usize),
    Freeze(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let expiry = proptest::option::of(0..50i64);
    let prefix = 0..PREFIXES.len();
    prop_oneof![
        8 => (0..DATABASES, any::<u16>(), any::<i64>(), expiry)
            .prop_map(|(d, k, v, e)| Step::Set(d, k % 600, v, e)),
        3 => (0..DATABASES, any::<u16>()).prop_map(|(d, k)| Step::Remove(d, k % 600)),
        1 => (0..60i64, 0..30usize).prop_map(|(at, limit)| Step::RemoveExpired(at, limit)),
        1 => Just(Step::Swap),
        1 => (0..DATABASES * 8).prop_map(Step::Clear),
        4 => prefix.clone().prop_map(Step::Toggle),
        2 => prefix.clone().prop_map(Step::Travel),
        1 => prefix.prop_map(Step::Freeze),
    ]
}

fn key(number: u16) -> Vec<u8> {
    let head: &[&str] = &["a", "ab", "abc", "abcd:", "b", "c", "c:", "d", ""];
    let head = head[usize::from(number) % head.len()];
    format!("{head}{number}").into_bytes()
}

fn realm_keys(keyspace: &Keyspace, prefix: &[u8]) -> Vec<(usize, Entry)> {
    let tables = keyspace.realm_tables(prefix).iter().enumerate();
    let entries = tables.flat_map(|(database, table)| {
        let entries = table.iter().map(move |entry| (database, entry.clone()));
        entries.collect::<Vec<_>>()
    });
    entries.collect()
}

/// What an importing group does, here with itself: the same keys in a new realm.
fn travel(keyspace: &mut Keyspace, prefix: &[u8]) {
    let keys = realm_keys(keyspace, prefix);
    keyspace.drop_realm(prefix);
    keyspace.add_realm(prefix, Visibility::Staged);
    for (database, entry) in &keys {
        assert!(
            keyspace.entry(*database, entry.key()).is_none(),
            "it is not visible"
        );
        let expiry = entry.expires_at_ms().map_or(Expiry::None, Expiry::At);
        let at = (*database, entry.key());
        keyspace.stage(prefix, at, NewValue::Same(entry), expiry, 0);
    }
    // Something that was removed before the end.
    let extra = [prefix, b"\xffextra"].concat();
    keyspace.stage(prefix, (1, &extra), NewValue::Int(1), Expiry::None, 0);
    assert!(keyspace.unstage(prefix, 1, &extra));
    assert!(!keyspace.unstage(prefix, 1, &extra));
    assert_eq!(keyspace.realm_len(prefix), keys.len());
    keyspace.show_realm(prefix, Visibility::Served);
}

fn apply(keyspace: &mut Keyspace, model: &mut Model, step: &Step) {
    match *step {
        Step::Set(database, number, value, expiry) => {
            let key = key(number);
            let at = expiry.map_or(Expiry::None, Expiry::At);
            keyspace.set(database, &key, NewValue::Int(value), at, 0);
            model.insert((database, key), (value, expiry));
        }
        Step::Remove(database, number) => {
            let key = key(number);
            let removed = keyspace.remove(database, &key).is_some();
            assert_eq!(removed, model.remove(&(database, key)).is_some());
        }
        Step::RemoveExpired(now_ms, limit) => {
            let due = model
                .values()
                .filter(|(_, at)| at.is_some_and(|at| at < now_ms));
            let due = due.count();
            assert_eq!(
                keyspace.remove_expired(now_ms, limit, |_, _| {}),
                due.min(limit)
            );
            model.retain(|(database, key), _| keyspace.entry(*database, key).is_some());
        }
        Step::Swap => {
            keyspace.swap(0, 1);
            let swapped = std::mem::take(model).into_iter();
            *model = swapped
                .map(|((d, key), held)| ((1 - d, key), held))
                .collect();
        }
        Step::Clear(database) if database < DATABASES => {
            keyspace.clear(database);
            model.retain(|(of, _), _| *of != database);
        }
        Step::Clear(_) => {}
        Step::Toggle(number) => {
            let prefix = PREFIXES[number];
            if keyspace.has_realm(prefix) {
                keyspace.merge_realm(prefix);
            } else {
                keyspace.split_realm(prefix);
            }
        }
        Step::Travel(number) => {
            if keyspace.has_realm(PREFIXES[number]) {
                travel(keyspace, PREFIXES[number]);
            }
        }
        Step::Freeze(number) => {
            let prefix = PREFIXES[number];
            if keyspace.has_realm(prefix) {
                keyspace.show_realm(prefix, Visibility::Frozen);
                let due = realm_keys(keyspace, prefix).len();
                let _ = keyspace.remove_expired(60, 1000, |_, _| {});
                assert_eq!(realm_keys(keyspace, prefix).len(), due);
                model.retain(|(database, key), _| keyspace.entry(*database, key).is_some());
                keyspace.show_realm(prefix, Visibility::Served);
            }
        }
    }
}

fn content(keyspace: &Keyspace) -> Model {
    let mut model = Model::new();
    for database in 0..DATABASES {
        for entry in keyspace.iter(database) {
            let ValueRef::Int(value) = entry.value() else {
                panic!("only numbers were set");
            };
            let held = (value, entry.expires_at_ms());
            let before = model.insert((database, entry.key().to_vec()), held);
            assert!(before.is_none(), "{entry:?} is there twice");
        }
    }
    model
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_keyspace_of_many_realms_behaves_like_one_map(
        seed in any::<u64>(),
        steps in proptest::collection::vec(step(), 1..200),
    ) {
        let mut keyspace = Keyspace::new(DATABASES, seed);
        let mut model = Model::new();
        for step in &steps {
            apply(&mut keyspace, &mut model, step);
            keyspace.check_invariants();
        }
        prop_assert_eq!(content(&keyspace), model.clone());
        for database in 0..DATABASES {
            let of_database = model.iter().filter(|((of, _), _)| *of == database);
            prop_assert_eq!(keyspace.len_of(database), of_database.clone().count());
            let expiring = of_database.filter(|(_, (_, at))| at.is_some()).count();
            prop_assert_eq!(keyspace.expiring_len_of(database), expiring);
        }
        let next = model.values().filter_map(|(_, at)| *at).min();
        prop_assert_eq!(keyspace.next_expiry_ms(), next);
    }

    #[test]
    fn a_scan_returns_every_key_present_throughout_once_while_realms_change(
        seed in any::<u64>(),
        keys in 1..600u16,
        count in 1..40usize,
        toggles in proptest::collection::vec((0..PREFIXES.len(), any::<bool>()), 0..100),
    ) {
        let mut keyspace = Keyspace::new(DATABASES, seed);
        for number in 0..keys {
            keyspace.set(0, &key(number), NewValue::Int(0), Expiry::None, 0);
        }
        let mut toggles = toggles.into_iter();
        let mut unused = Model::new();
        let (mut cursor, mut seen, mut passing) = (0, BTreeSet::new(), 1000);
        loop {
            cursor = keyspace.scan(0, cursor, count, b"", |entry| {
                assert!(seen.insert(entry.key().to_vec()), "returned twice");
            });
            if cursor == 0 {
                break;
            }
            if let Some((number, travels)) = toggles.next() {
                let step = if travels { Step::Travel(number) } else { Step::Toggle(number) };
                apply(&mut keyspace, &mut unused, &step);
            }
            keyspace.set(0, &key(passing), NewValue::Int(0), Expiry::None, 0);
            keyspace.remove(0, &key(passing - 3));
            passing += 1;
        }
        for number in 0..keys {
            prop_assert!(seen.contains(&key(number)), "{number} was not returned");
        }
    }

    #[test]
    fn a_scan_of_a_literal_returns_the_keys_that_begin_with_it(
        keys in 1..600u16,
        splits in proptest::collection::vec(any::<bool>(), PREFIXES.len()),
        literal in prop_oneof![Just(""), Just("a"), Just("ab"), Just("abcd"), Just("c:"), Just("x")],
    ) {
        let mut keyspace = Keyspace::new(DATABASES, 1);
        for number in 0..keys {
            keyspace.set(1, &key(number), NewValue::Int(0), Expiry::None, 0);
        }
        for (prefix, _) in PREFIXES.iter().zip(splits).filter(|(_, split)| *split) {
            keyspace.split_realm(prefix);
        }
        let (mut cursor, mut seen) = (0, BTreeSet::new());
        loop {
            cursor = keyspace.scan(1, cursor, 7, literal.as_bytes(), |entry| {
                assert!(seen.insert(entry.key().to_vec()), "returned twice");
            });
            if cursor == 0 {
                break;
            }
        }
        let expected = (0..keys).map(key).filter(|key| key.starts_with(literal.as_bytes()));
        prop_assert_eq!(seen, expected.collect::<BTreeSet<_>>());
    }
}

#[test]
fn random_reaches_every_key_of_every_realm_about_equally() {
    let mut keyspace = Keyspace::new(1, 1);
    for number in 0..450 {
        keyspace.set(0, &key(number), NewValue::Int(0), Expiry::None, 0);
    }
    for prefix in PREFIXES {
        keyspace.split_realm(prefix);
    }
    let sampler = keyspace.sampler(0);
    let mut random = 88_172_645_463_325_252u64;
    let mut seen: BTreeMap<Vec<u8>, u32> = BTreeMap::new();
    for _ in 0..45_000 {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let entry = sampler.random(random).expect("not empty");
        *seen.entry(entry.key().to_vec()).or_default() += 1;
    }
    assert_eq!(seen.len(), 450);
    assert!(
        seen.values().all(|&times| (20..400).contains(&times)),
        "{seen:?}"
    );
    assert!(
        Keyspace::without_realms(1, 1)
            .sampler(0)
            .random(1)
            .is_none()
    );
}

#[test]
fn an_export_learns_what_has_changed() {
    let mut keyspace = Keyspace::new(2, 1);
    keyspace.split_realm(b"a");
    keyspace.set(0, b"a1", NewValue::Int(1), Expiry::At(5), 0);
    assert_eq!(keyspace.take_changes(b"a", 9), None);
    assert!(keyspace.track_changes(b"a"));
    assert!(!keyspace.track_changes(b"none"));
    keyspace.set(1, b"a2", NewValue::Int(1), Expiry::None, 0);
    keyspace.set(0, b"b", NewValue::Int(1), Expiry::None, 0);
    let _ = keyspace.remove(1, b"a2");
    let _ = keyspace.set_expiry(1, b"a3", Some(7));
    assert_eq!(keyspace.remove_expired(6, 9, |_, _| {}), 1);
    let changes = keyspace.take_changes(b"a", 1).expect("tracked");
    assert_eq!(changes.keys, [(0, b"a1"[..].into())]);
    assert_eq!((changes.restart, changes.left), (false, 2));
    let changes = keyspace.take_changes(b"a", 9).expect("tracked");
    assert_eq!(changes.keys.len(), 2);
    assert_eq!(keyspace.take_changes(b"a", 9), Some(Changes::default()));
    keyspace.set(0, b"a1", NewValue::Int(1), Expiry::None, 0);
    keyspace.clear(0);
    let changes = keyspace.take_changes(b"a", 9).expect("tracked");
    assert!(changes.restart && changes.keys.is_empty());
    keyspace.split_realm(b"ab");
    assert!(keyspace.take_changes(b"a", 9).expect("tracked").restart);
    keyspace.untrack_changes(b"a");
    assert_eq!(keyspace.take_changes(b"a", 9), None);
}

#[test]
fn watch_notices_that_absent_keys_were_elsewhere_for_a_while() {
    let mut keyspace = Keyspace::new(1, 1);
    keyspace.split_realm(b"a");
    keyspace.set(0, b"a1", NewValue::Int(1), Expiry::None, 0);
    let watched = |keyspace: &Keyspace| [&b"a1"[..], b"a2"].map(|k| keyspace.watch_state(0, k, 0));
    let before = watched(&keyspace);
    keyspace.split_realm(b"b");
    keyspace.merge_realm(b"b");
    assert_eq!(watched(&keyspace), before);
    travel(&mut keyspace, b"a");
    let after = watched(&keyspace);
    assert!(before[0] != after[0] && before[1] != after[1]);
}

#[test]
fn empty_realms_take_little_memory() {
    assert!(std::mem::size_of::<super::realm::Realm>() <= 64);
    let mut keyspace = Keyspace::new(16, 1);
    for number in 0..1000 {
        keyspace.split_realm(format!("tenant:{number}:").as_bytes());
    }
    assert_eq!(keyspace.all_tables().count(), 0, "tables without keys");
    assert_eq!(keyspace.memory_bytes(), size_of::<Keyspace>());
    keyspace.check_invariants();
}
