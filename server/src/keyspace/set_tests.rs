//! Sets against a set.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const SEED: u64 = 23;

fn content(set: &Set) -> BTreeSet<Vec<u8>> {
    let mut members = BTreeSet::new();
    set.visit(0, set.len(), &mut |member| {
        assert!(members.insert(member.to_vec()));
    });
    members
}

fn restored(set: &Set) -> Option<Set> {
    let mut bytes = Vec::new();
    set.visit(0, set.len(), &mut |part| {
        crate::keyspace::packed::put(&mut bytes, part);
    });
    Set::restore(set.representation(), &mut Parts::new(&bytes), SEED)
}

/// Members of some kinds: integers only, few or many short strings, and rarely a long one.
fn member(kinds: u8, kind: u8, number: u16) -> Vec<u8> {
    match kind % kinds {
        0 => (i64::from(number) * 3 - 500).to_string().into_bytes(),
        1 => format!("m{}", number % 200).into_bytes(),
        2 => format!("{:0>70}", number % 5).into_bytes(),
        _ => format!("{number}x").into_bytes(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn a_set_is_a_set_in_any_representation(
        steps in prop::collection::vec((0..4u8, any::<u8>(), 0..900u16), 0..900),
        kinds in 1..5u8,
    ) {
        let (mut set, mut model) = (Set::default(), BTreeSet::new());
        for (step, kind, number) in steps {
            let bytes = member(kinds, kind, number);
            let member = Member::Bytes(&bytes);
            prop_assert_eq!(set.contains(member), model.contains(&bytes));
            if step == 0 {
                prop_assert_eq!(set.remove(member), model.remove(&bytes));
            } else {
                prop_assert_eq!(set.add(member, SEED), model.insert(bytes));
            }
        }
        prop_assert_eq!(set.len(), model.len());
        prop_assert_eq!(content(&set), model);
        for rank in [0, 1, 100, set.len()] {
            prop_assert_eq!(set.nth(rank), set.iter_from(0).nth(rank));
            prop_assert_eq!(set.nth(rank), set.iter_from(rank).next());
        }
        prop_assert_eq!(restored(&set), Some(set));
    }
}

fn set_of(members: impl IntoIterator<Item = String>) -> Set {
    let mut set = Set::default();
    for member in members {
        set.add(Member::Bytes(member.as_bytes()), SEED);
    }
    set
}

#[test]
fn a_set_changes_its_representation_where_redis_does() {
    let numbers = |count: i64| set_of((0..count).map(|number| number.to_string()));
    let add = |mut set: Set, member: &str| {
        set.add(Member::Bytes(member.as_bytes()), SEED);
        (set.encoding(), set.len())
    };
    assert_eq!(numbers(512).encoding(), "intset");
    assert_eq!(add(numbers(512), "512"), ("hashtable", 513));
    assert_eq!(add(numbers(127), "x"), ("listpack", 128));
    assert_eq!(add(numbers(128), "x"), ("hashtable", 129));
    assert_eq!(add(numbers(1), &"x".repeat(64)), ("listpack", 2));
    assert_eq!(add(numbers(1), &"x".repeat(65)), ("hashtable", 2));
    let words = || set_of((0..128).map(|number| format!("w{number}")));
    assert_eq!(words().encoding(), "listpack");
    assert_eq!(add(words(), "w5"), ("listpack", 128));
    assert_eq!(add(words(), "5"), ("hashtable", 129));
    assert_eq!(add(words(), &"x".repeat(65)), ("hashtable", 129));
    let prepared = |mut set: Set, first: &str, more| {
        set.prepare(first.as_bytes(), more, SEED);
        set.encoding()
    };
    assert_eq!(prepared(Set::default(), "1", 512), "intset");
    assert_eq!(prepared(Set::default(), "1", 513), "hashtable");
    assert_eq!(prepared(Set::default(), "x", 129), "hashtable");
    assert_eq!(prepared(numbers(1), "x", 129), "intset");
    assert_eq!(prepared(words(), "x", 129), "hashtable");
}

#[test]
fn sets_take_little_memory() {
    let small = set_of((0..10).map(|number| format!("member:{number:09}")));
    assert!(small.heap_bytes() <= 192, "{}", small.heap_bytes());
    let ints = set_of((0..100).map(|number| number.to_string()));
    assert!(ints.heap_bytes() <= 224, "{}", ints.heap_bytes());
    let large = set_of((0..100_000).map(|number| format!("member:{number:09}")));
    let each = large.heap_bytes() / large.len();
    assert!(each < 44, "{each}");
}
