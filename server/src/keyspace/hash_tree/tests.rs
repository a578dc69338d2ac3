//! Trees against a map: content, order, ranks, sums, clones and scans.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const SEED: u64 = 5;

type Model = BTreeMap<(u64, Vec<u8>), Vec<u8>>;

fn model_key(key: &[u8]) -> (u64, Vec<u8>) {
    (KeyHash::of(key, SEED).0, key.to_vec())
}

fn check(tree: &HashTree, model: &Model) {
    tree.check_invariants();
    let records = tree.iter_from(0).map(|record| (record.key, record.value));
    let expected = model.iter().map(|((_, key), value)| (&key[..], &value[..]));
    assert!(records.eq(expected));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn a_tree_is_a_map_in_hash_order(
        steps in prop::collection::vec((0..6u8, any::<u16>(), 0..40usize), 0..60),
        with_values: bool,
    ) {
        let (mut tree, mut model) = (HashTree::new(SEED, with_values), Model::new());
        let mut frozen = (tree.clone(), model.clone());
        for (step, number, len) in steps {
            // Each step is a run of neighbouring numbers, so that trees get large and empty again.
            let run = number % 2000..(number % 2000).saturating_add(u16::from(step) * 100 + 1);
            for number in run {
                let key = format!("key:{number}").into_bytes();
                let value = vec![number as u8; if with_values { len } else { 0 }];
                if step % 2 == 0 {
                    let is_new = model.insert(model_key(&key), value.clone()).is_none();
                    prop_assert_eq!(tree.insert(&key, &value), is_new);
                } else {
                    let was_there = model.remove(&model_key(&key)).is_some();
                    prop_assert_eq!(tree.contains(&key), was_there);
                    prop_assert_eq!(tree.remove(&key), was_there);
                }
            }
            check(&tree, &model);
            check(&frozen.0, &frozen.1);
            if len % 3 == 0 {
                frozen = (tree.clone(), model.clone());
            }
        }
        for rank in [0, 1, 63, 64, 65, 1000, model.len()] {
            let expected = model.keys().nth(rank).map(|(_, key)| &key[..]);
            prop_assert_eq!(tree.nth(rank).map(|record| record.key), expected);
        }
    }

    #[test]
    fn long_values_stand_alone_in_their_leaves(
        steps in prop::collection::vec((0..300u16, 0..20_000usize), 0..200),
    ) {
        let (mut tree, mut model) = (HashTree::new(SEED, true), Model::new());
        for (number, len) in steps {
            let (key, value) = (number.to_be_bytes(), vec![1; len / 7 * (len % 7)]);
            tree.insert(&key, &value);
            model.insert(model_key(&key), value);
        }
        check(&tree, &model);
        for page in &tree.pages {
            for leaf in &page.page.leaves {
                prop_assert!(!leaf.leaf.is_full());
            }
        }
        for (_, key) in model.keys() {
            prop_assert!(tree.remove(key));
            tree.check_invariants();
        }
        prop_assert!(tree.pages.len() == 1 && tree.heap_bytes() < 1000);
    }
}

#[test]
fn a_clone_shares_all_but_what_is_changed() {
    let mut tree = HashTree::new(SEED, false);
    for number in 0..100_000u32 {
        tree.insert(&number.to_be_bytes(), b"");
    }
    let mut clone = tree.clone();
    clone.insert(b"one more", b"");
    let shared = |one: &PageRef, other: &PageRef| Arc::ptr_eq(&one.page, &other.page);
    let pages = tree.pages.iter().zip(&clone.pages);
    let copied = pages.filter(|(one, other)| !shared(one, other)).count();
    assert_eq!(copied, 1);
    assert_eq!((tree.len(), clone.len()), (100_000, 100_001));
    tree.check_invariants();
    clone.check_invariants();
}

#[test]
fn a_cursor_that_nobody_gave_out_is_the_end_or_a_place() {
    let mut tree = HashTree::new(SEED, false);
    tree.insert(b"a", b"");
    for cursor in [1, 1 << 47, 1 << 48, u64::MAX] {
        assert_eq!(tree.scan(cursor, 10, |_| {}), 0);
    }
}
