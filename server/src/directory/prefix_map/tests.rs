//! The map beside a sorted map that is searched in the obvious way.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::index::{FAN_OUT, Found, common_len};
use super::*;

type Model = BTreeMap<Vec<u8>, u32>;

fn longest<'m>(model: &'m Model, key: &[u8]) -> Option<(&'m [u8], &'m u32)> {
    model
        .iter()
        .rfind(|(prefix, _)| key.starts_with(prefix))
        .map(|(p, value)| (&**p, value))
}

fn children(model: &Model, prefix: &[u8]) -> Vec<(Vec<u8>, u32)> {
    let below = |p: &Vec<u8>| p.starts_with(prefix) && p.len() > prefix.len();
    let is_child = |p: &Vec<u8>| {
        below(p)
            && !model
                .keys()
                .any(|q| below(q) && p.starts_with(q) && q.len() < p.len())
    };
    model
        .iter()
        .filter(|(p, _)| is_child(p))
        .map(|(p, v)| (p.clone(), *v))
        .collect()
}

fn owned<'a>(entries: impl Iterator<Item = (&'a [u8], &'a u32)>) -> Vec<(Vec<u8>, u32)> {
    entries
        .map(|(prefix, value)| (prefix.to_vec(), *value))
        .collect()
}

/// Checks the tree and the parents.
fn check_invariants(map: &PrefixMap<u32>) {
    let Some(root) = &map.root else {
        assert_eq!(map.len(), 0);
        return;
    };
    let mut prefixes = Vec::new();
    check_node(root, &mut prefixes);
    assert!(prefixes.is_sorted_by(|a, b| a.0 < b.0));
    assert_eq!(prefixes.len(), map.len());
    for (prefix, parent) in &prefixes {
        let is_parent = |other: &&(Vec<u8>, Option<usize>)| {
            other.0.len() < prefix.len() && prefix.starts_with(&other.0)
        };
        let expected = prefixes
            .iter()
            .filter(is_parent)
            .map(|(other, _)| other.len())
            .max();
        assert_eq!(*parent, expected, "of {prefix:?}");
    }
}

/// Checks a node, adds the prefixes below, and returns how deep its leaves are.
fn check_node(child: &Child<u32>, prefixes: &mut Vec<(Vec<u8>, Option<usize>)>) -> usize {
    match child {
        Child::Leaf(leaf) => {
            assert!((1..=FAN_OUT).contains(&leaf.entries.len()));
            for (at, entry) in leaf.entries.iter().enumerate() {
                let found = Found {
                    count: at + 1,
                    in_common: entry.prefix.len(),
                    is_match: true,
                };
                assert_eq!(leaf.find(&entry.prefix), found);
                let parent = entry.parent.map(|parent| parent.get() as usize - 1);
                prefixes.push((entry.prefix.to_vec(), parent));
            }
            1
        }
        Child::Inner(inner) => {
            assert!((1..=FAN_OUT).contains(&inner.children.len()));
            assert_eq!(inner.mins.len(), inner.children.len());
            let mut depths = Vec::new();
            for (at, child) in inner.children.iter().enumerate() {
                let first = prefixes.len();
                depths.push(check_node(child, prefixes));
                assert_eq!(prefixes[first].0, *inner.mins[at]);
                assert_eq!(inner.child_of(&inner.mins[at]), at);
            }
            assert!(depths.iter().all(|depth| *depth == depths[0]));
            depths[0] + 1
        }
    }
}

fn compare(map: &PrefixMap<u32>, model: &Model, probes: &[Vec<u8>]) {
    check_invariants(map);
    assert_eq!(map.len(), model.len());
    assert_eq!(map.is_empty(), model.is_empty());
    assert_eq!(
        owned(map.iter()),
        owned(model.iter().map(|(p, v)| (&**p, v)))
    );
    for probe in probes {
        assert_eq!(map.longest(probe), longest(model, probe), "{probe:?}");
        assert_eq!(map.get(probe), model.get(probe), "{probe:?}");
        let shorter = &probe[..probe.len().saturating_sub(1)];
        let parent = longest(model, shorter).filter(|_| !probe.is_empty());
        assert_eq!(map.parent(probe), parent, "{probe:?}");
        let under = model
            .iter()
            .filter(|(p, _)| p.starts_with(probe))
            .map(|(p, v)| (&**p, v));
        assert_eq!(owned(map.under(probe)), owned(under), "{probe:?}");
        assert_eq!(
            owned(map.children(probe)),
            children(model, probe),
            "{probe:?}"
        );
    }
}

/// Few letters, so that prefixes nest, share paths and collide; some long ones.
fn prefix() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => prop::collection::vec(prop::sample::select(vec![0u8, b'a', b'b', 0xff]), 0..7),
        1 => prop::collection::vec(prop::sample::select(vec![b'a', b'b']), 20..40),
        1 => (0usize..60).prop_map(|len| vec![b'a'; len]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_map_agrees_with_a_sorted_map(
        changes in prop::collection::vec((prefix(), prop::option::weighted(0.7, 0u32..100)), 0..80),
        probes in prop::collection::vec(prefix(), 20),
    ) {
        let (mut map, mut model) = (PrefixMap::new(), Model::new());
        for (prefix, value) in &changes {
            match value {
                Some(value) => {
                    let old = map.insert(prefix, *value);
                    prop_assert_eq!(old, model.insert(prefix.clone(), *value));
                }
                None => prop_assert_eq!(map.remove(prefix), model.remove(prefix)),
            }
            check_invariants(&map);
        }
        compare(&map, &model, &probes);
        let built: PrefixMap<u32> = model.clone().into_iter().collect();
        compare(&built, &model, &probes);
    }

    #[test]
    fn a_clone_does_not_see_later_changes(
        before in prop::collection::vec(prefix(), 1..30),
        after in prop::collection::vec((prefix(), any::<bool>()), 1..30),
        probes in prop::collection::vec(prefix(), 10),
    ) {
        let mut map = PrefixMap::new();
        let mut model = Model::new();
        for prefix in &before {
            map.insert(prefix, 1);
            model.insert(prefix.clone(), 1);
        }
        let kept = map.clone();
        for (prefix, insert) in &after {
            if *insert { map.insert(prefix, 2); } else { map.remove(prefix); }
        }
        compare(&kept, &model, &probes);
    }
}

#[test]
fn of_equal_prefixes_the_last_stays() {
    let map: PrefixMap<u32> = [(b"a".to_vec(), 1), (b"b".to_vec(), 2), (b"a".to_vec(), 3)]
        .into_iter()
        .collect();
    assert_eq!(owned(map.iter()), [(b"a".to_vec(), 3), (b"b".to_vec(), 2)]);
}

/// Fills many nodes, then empties them, in three orders.
#[test]
fn a_large_map_agrees_with_a_sorted_map() {
    const COUNT: u32 = 6_000;
    let name = |n: u32| format!("{}:{}", n % 7, n * 31 % 1_000_003).into_bytes();
    let orders: [fn(u32) -> u32; 3] = [|n| n, |n| COUNT - 1 - n, |n| n * 3_701 % COUNT];
    for order in orders {
        let (mut map, mut model) = (PrefixMap::new(), Model::new());
        for n in (0..COUNT).map(order) {
            assert_eq!(map.insert(&name(n), n), model.insert(name(n), n));
        }
        let probes: Vec<_> = (0..40)
            .map(|n| [&name(n * 97)[..], b"tail"].concat())
            .collect();
        for removed in (0..COUNT).map(order) {
            if removed % 997 == 0 {
                assert_eq!(
                    owned(map.iter()),
                    owned(model.iter().map(|(p, v)| (&**p, v)))
                );
                probes
                    .iter()
                    .for_each(|p| assert_eq!(map.longest(p), longest(&model, p)));
            }
            assert_eq!(map.remove(&name(removed)), model.remove(&name(removed)));
        }
        assert!(map.is_empty() && map.root.is_none());
    }
}

#[test]
fn nodes_that_become_small_are_joined() {
    let mut map: PrefixMap<u32> = (0..20_000u32)
        .map(|n| (n.to_be_bytes().to_vec(), n))
        .collect();
    for n in (0..20_000u32).filter(|n| n % 100 != 0) {
        map.remove(&n.to_be_bytes());
    }
    check_invariants(&map);
    let mut nodes = 0;
    let mut count = vec![map.root.as_ref().unwrap()];
    while let Some(child) = count.pop() {
        nodes += 1;
        if let Child::Inner(inner) = child {
            count.extend(&inner.children);
        }
    }
    assert!(
        nodes <= 2 + 200 / (FAN_OUT / 8),
        "{nodes} nodes for 200 prefixes"
    );
}

/// The longest chains of searches that a key can cause: combs and stairs of prefixes, on which the
/// predecessor never matches at once.
#[test]
fn combs_and_stairs_are_searched_rightly() {
    let mut model = Model::new();
    for n in 0..300u32 {
        model.insert([&vec![b'b'; n as usize][..], b"a"].concat(), n);
        model.insert(
            [&vec![b'b'; n as usize][..], b"aaaaaaaaaaaaaaa"].concat(),
            n,
        );
        if n % 9 == 0 {
            model.insert(vec![b'b'; n as usize], n);
        }
    }
    let map: PrefixMap<u32> = model.clone().into_iter().collect();
    for n in 0..300 {
        for tail in ["", "a", "aa", "b", "c", "aaaaaaaaaaaaaaab"] {
            let key = [&vec![b'b'; n][..], tail.as_bytes()].concat();
            assert_eq!(map.longest(&key), longest(&model, &key), "{n} {tail}");
        }
    }
}

#[test]
fn prefixes_that_share_very_long_beginnings_are_told_apart() {
    let long = vec![b'x'; 70_000];
    let model: Model = (0..100u32)
        .map(|n| ([&long[..], &n.to_be_bytes()].concat(), n))
        .collect();
    let mut map = PrefixMap::new();
    model
        .iter()
        .for_each(|(prefix, value)| assert_eq!(map.insert(prefix, *value), None));
    for (prefix, value) in &model {
        assert_eq!(map.get(prefix), Some(value));
        assert_eq!(map.longest(&prefix[..prefix.len() - 1]), None);
    }
}

#[test]
fn what_two_strings_have_in_common_is_counted_to_the_byte() {
    for len in 0..40_usize {
        let whole: Vec<u8> = (0..len as u8).map(|at| at % 3).collect();
        for at in 0..len {
            let mut other = whole.clone();
            other[at] ^= 0x80;
            assert_eq!(common_len(&whole, &other), at);
            assert_eq!(common_len(&whole, &whole[..at]), at);
            // What one ends with is not taken for the other's zeros.
            other[at..].fill(0);
            assert_eq!(common_len(&other, &other[..at]), at);
        }
        assert_eq!(common_len(&whole, &whole), len);
    }
}
