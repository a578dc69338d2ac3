//! A list against a plain sequence, and when it changes its form.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

fn list(elements: impl IntoIterator<Item = Vec<u8>>) -> List {
    let mut list = List::new();
    for element in elements {
        push(&mut list, End::Back, &element);
    }
    list
}

fn push(list: &mut List, end: End, element: &[u8]) {
    list.expect(element.len());
    list.push(end, element);
}

fn contents(list: &List) -> Vec<Vec<u8>> {
    list.iter(0).map(Element::to_vec).collect()
}

/// Different elements of this length, none of them a number.
fn words(len: usize, count: usize) -> impl Iterator<Item = Vec<u8>> {
    let digits = len - 1;
    (0..count).map(move |number| format!("x{number:0digits$}").into_bytes())
}

#[test]
fn a_list_outgrows_its_pack_when_the_next_element_might_not_fit() {
    // Entries of 103 bytes; Redis adds the length of the element to what is there already.
    let mut list = list(words(100, 79));
    assert_eq!((list.encoding(), list.len()), ("listpack", 79));
    push(&mut list, End::Front, &[b'y'; 100]);
    assert_eq!((list.encoding(), list.len()), ("quicklist", 80));
    list.check_invariants();
}

#[test]
fn a_list_is_one_pack_again_at_half_the_limit() {
    let mut list = list(words(100, 80));
    assert_eq!(list.encoding(), "quicklist");
    while list.len() > 39 {
        list.remove(list.len() - 1, 1);
        list.settle();
        // 39 entries are the first to be within 4,096 bytes.
        let expected = ["quicklist", "listpack"][usize::from(list.len() == 39)];
        assert_eq!(list.encoding(), expected, "{} elements", list.len());
    }
    assert_eq!(contents(&list), words(100, 39).collect::<Vec<_>>());
}

#[test]
fn several_packs_stay_however_small_they_are() {
    let mut list = list(words(1000, 20));
    assert_eq!(list.pack_count(), 3);
    list.remove(1, 18);
    list.settle();
    assert_eq!((list.encoding(), list.pack_count()), ("quicklist", 2));
    list.remove(0, 1);
    list.settle();
    assert_eq!((list.encoding(), list.pack_count()), ("listpack", 1));
}

#[test]
fn a_large_element_has_a_pack_of_its_own() {
    let huge = vec![b'h'; 100_000];
    let mut list = list(words(10, 30));
    push(&mut list, End::Back, &huge);
    push(&mut list, End::Back, b"behind");
    assert_eq!(list.pack_count(), 3);
    list.insert(15, Side::After, &huge);
    assert_eq!(list.pack_count(), 5);
    list.set(5, &huge);
    list.check_invariants();
    assert_eq!(list.pack_count(), 7);
    list.set(5, b"small");
    list.check_invariants();
    assert_eq!(list.len(), 33);
    assert_eq!(list.get(16), Some(Element::Bytes(&huge)));
    assert_eq!(list.get(15), Some(Element::Bytes(b"x000000015")));
}

#[test]
fn tiny_elements_at_once_stay_together_until_the_next_growth() {
    let mut list = List::new();
    list.expect(5000);
    for _ in 0..5000 {
        list.push(End::Front, b"a");
    }
    assert_eq!(list.encoding(), "listpack");
    push(&mut list, End::Front, b"b");
    assert_eq!((list.encoding(), list.pack_count()), ("quicklist", 3));
    list.check_invariants();
    assert_eq!(list.len(), 5001);
}

#[test]
fn small_lists_waste_little_memory() {
    for (count, expected) in [(1, 32), (10, 192), (100, 1920 + 128)] {
        let list = list(words(16, count));
        assert_eq!(list.heap_bytes(), expected, "{count} elements");
    }
    let list = list(words(16, 100_000));
    // What Redis takes: a node of 32 bytes and 8,192 for each 454 elements.
    let redis = 100_000 / 454 * (8192 + 32);
    assert!(
        list.heap_bytes() < redis * 102 / 100,
        "{}",
        list.heap_bytes()
    );
    assert!(size_of::<List>() <= 24);
}

#[test]
fn a_list_that_is_a_queue_stays_small() {
    let mut list = list(words(16, 100));
    for (at, element) in words(16, 20_000).enumerate() {
        let (from, to) = match at / 500 % 2 {
            0 => (End::Front, End::Back),
            _ => (End::Back, End::Front),
        };
        push(&mut list, to, &element);
        let index = if from == End::Front { 0 } else { 100 };
        list.remove(index, 1);
        list.settle();
        list.check_invariants();
        assert!(list.heap_bytes() < 4096);
    }
}

#[test]
fn a_clone_shares_packs_until_one_of_both_changes() {
    let mut list = list(words(16, 10_000));
    let before = contents(&list);
    let clone = list.clone();
    let shared = |one: &List, other: &List| {
        let same = |at: &usize| std::ptr::eq(one.pack_bytes(*at), other.pack_bytes(*at));
        (0..one.pack_count()).filter(same).count()
    };
    assert_eq!(shared(&list, &clone), list.pack_count());
    list.set(5000, b"new");
    assert_eq!(shared(&list, &clone), list.pack_count() - 1);
    assert_eq!(contents(&clone), before);
    clone.check_invariants();
    list.check_invariants();
}

#[test]
fn packs_that_nobody_wrote_are_refused() {
    let good = list(words(10, 3));
    let entries = good.pack_bytes(0);
    assert_eq!(List::from_packs(false, [entries]), Some(good.clone()));
    assert_eq!(List::from_packs(false, []), None);
    assert_eq!(List::from_packs(false, [entries, entries]), None);
    assert_eq!(List::from_packs(true, [entries, &[]]), None);
    assert_eq!(List::from_packs(true, [&entries[1..]]), None);
    let long = words(100, 100).flat_map(|word| {
        let mut entry = vec![0; Element::of(&word).entry_bytes()];
        Element::of(&word).write(&mut entry);
        entry
    });
    let long: Vec<u8> = long.collect();
    assert_eq!(List::from_packs(true, [&long[..]]), None);
}

/// What is done to a list.
#[derive(Clone, Debug)]
enum Change {
    Push(End, Vec<u8>),
    Insert(prop::sample::Index, Side, Vec<u8>),
    Set(prop::sample::Index, Vec<u8>),
    Remove(prop::sample::Index, usize),
    RemoveEqual(prop::sample::Index, End, usize),
    Share,
}

fn element() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => (0..300i32).prop_map(|number| number.to_string().into_bytes()),
        6 => (0..200usize, any::<u8>()).prop_map(|(len, byte)| vec![byte; len]),
        2 => (400..2500usize).prop_map(|len| vec![b'm'; len]),
        1 => (8000..9000usize).prop_map(|len| vec![b'l'; len]),
        1 => any::<i64>().prop_map(|number| number.to_string().into_bytes()),
    ]
}

fn end() -> impl Strategy<Value = End> {
    prop_oneof![Just(End::Front), Just(End::Back)]
}

fn change() -> impl Strategy<Value = Change> {
    let index = any::<prop::sample::Index>;
    let side = prop_oneof![Just(Side::Before), Just(Side::After)];
    prop_oneof![
        12 => (end(), element()).prop_map(|(end, element)| Change::Push(end, element)),
        8 => (index(), side, element())
            .prop_map(|(index, side, element)| Change::Insert(index, side, element)),
        4 => (index(), element()).prop_map(|(index, element)| Change::Set(index, element)),
        4 => (index(), 0..12usize).prop_map(|(index, count)| Change::Remove(index, count)),
        2 => (index(), end(), 1..9usize)
            .prop_map(|(index, end, limit)| Change::RemoveEqual(index, end, limit)),
        1 => Just(Change::Share),
    ]
}

/// Does the same to both.
fn apply(change: Change, list: &mut List, model: &mut VecDeque<Vec<u8>>) {
    let len = model.len();
    match change {
        Change::Push(end, element) => {
            push(list, end, &element);
            match end {
                End::Front => model.push_front(element),
                End::Back => model.push_back(element),
            }
        }
        _ if len == 0 => {}
        Change::Insert(index, side, element) => {
            let index = index.index(len);
            list.expect(element.len());
            list.insert(index, side, &element);
            model.insert(index + usize::from(side == Side::After), element);
        }
        Change::Set(index, element) => {
            let index = index.index(len);
            list.expect(element.len());
            list.set(index, &element);
            list.settle();
            model[index] = element;
        }
        Change::Remove(index, count) => {
            let index = index.index(len);
            let count = count.min(len - index);
            list.remove(index, count);
            list.settle();
            model.drain(index..index + count);
        }
        Change::RemoveEqual(index, end, limit) => {
            let element = model[index.index(len)].clone();
            let removed = list.remove_equal(&element, end, limit);
            list.settle();
            assert_eq!(removed, remove_equal(model, &element, end, limit));
        }
        Change::Share => {}
    }
}

fn remove_equal(model: &mut VecDeque<Vec<u8>>, element: &[u8], from: End, limit: usize) -> usize {
    let equal = model
        .iter()
        .enumerate()
        .filter(|(_, held)| *held == element);
    let mut indexes: Vec<usize> = equal.map(|(index, _)| index).collect();
    if from == End::Back {
        indexes.reverse();
    }
    indexes.truncate(limit);
    indexes.sort_unstable();
    for index in indexes.iter().rev() {
        model.remove(*index);
    }
    indexes.len()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]
    #[test]
    fn a_list_is_a_sequence(changes in prop::collection::vec(change(), 1..250)) {
        let (mut list, mut model) = (List::new(), VecDeque::new());
        let mut shared = Vec::new();
        for change in changes {
            if let Change::Share = change {
                shared = vec![(list.clone(), contents(&list))];
            }
            apply(change, &mut list, &mut model);
            list.check_invariants();
            prop_assert_eq!(list.len(), model.len());
        }
        prop_assert_eq!(contents(&list), Vec::from(model.clone()));
        for (index, expected) in model.iter().enumerate() {
            prop_assert_eq!(list.get(index).map(Element::to_vec), Some(expected.clone()));
        }
        let start = model.len() / 3;
        let behind: Vec<_> = list.iter(start).map(Element::to_vec).collect();
        prop_assert!(behind.iter().eq(model.range(start..)));
        let before: Vec<_> = list.iter_back(start).map(Element::to_vec).collect();
        prop_assert!(before.iter().eq(model.range(..start).rev()));
        prop_assert_eq!(list.iter(model.len()).count() + list.iter_back(0).count(), 0);
        let restored = List::from_packs(list.is_chunked(), list.packs());
        prop_assert_eq!(restored.as_ref(), Some(&list));
        for (clone, expected) in shared {
            clone.check_invariants();
            prop_assert_eq!(contents(&clone), expected);
        }
    }
}
