//! What a directory believes, and what it does not.

use bailiwick_replication::{GroupId, NodeId};
use bytes::Bytes;
use proptest::prelude::*;

use super::pen::{PEN_AGE_MAX, PEN_SENDER_MAX};
use super::record::{Record, SignedRecord};
use super::testing::*;
use super::*;

/// A hierarchy: `eu:` and `ap:` of group 1, below them something of group 2 and of the root.
fn hierarchy() -> Vec<SignedRecord> {
    vec![
        prefix_record("eu:", 1, Some(1), 1),
        prefix_record("ap:", 3, Some(1), 2),
        prefix_record("eu:students:", 1, Some(2), 4),
        prefix_record("eu:students:7:", 2, Some(0), 8),
    ]
}

fn owners(directory: &Directory) -> Vec<(Vec<u8>, u64, u32)> {
    let view = directory.view();
    view.under(b"")
        .map(|(p, owner)| (p.to_vec(), owner.epoch, owner.group.0))
        .collect()
}

fn root(directory: &Directory) -> u64 {
    directory.with_store(|store| store.digest().root())
}

/// Offers what must not be believed, and checks that nothing changed but the count.
fn refuses(directory: &Directory, record: &SignedRecord, why: Refusal) {
    let (owners_before, root_before) = (owners(directory), root(directory));
    let before = directory.counters().refused_for(why);
    let outcome = offer(directory, record);
    if outcome == Outcome::Waiting(why) {
        (0..PEN_AGE_MAX).for_each(|_| directory.grow_older());
    } else {
        assert_eq!(outcome, Outcome::Refused(why), "{record:?}");
    }
    assert_eq!(directory.counters().refused_for(why), before + 1);
    assert_eq!(
        (owners(directory), root(directory)),
        (owners_before, root_before)
    );
}

#[test]
fn the_empty_prefix_is_the_root_groups_from_the_beginning() {
    let directory = directory();
    let view = directory.view();
    let root = Owner {
        epoch: ROOT_EPOCH,
        group: ROOT_GROUP,
    };
    assert_eq!(view.owner(b"any key"), (&b""[..], root));
    assert_eq!(view.owner(b""), (&b""[..], root));
    assert_eq!(view.group_named("root").unwrap().members.len(), 3);
    assert!(view.parent_of(b"").is_none());
}

#[test]
fn the_longest_prefix_decides() {
    let directory = directory_with(&hierarchy());
    for (key, group) in [
        ("eu", 0),
        ("eu:", 1),
        ("eu:students", 1),
        ("eu:students:8", 2),
        ("eu:students:7:name", 0),
        ("ap:x", 1),
        ("us:x", 0),
    ] {
        assert_eq!(group_of(&directory, key), group, "{key}");
    }
    let view = directory.view();
    assert_eq!(
        view.parent_of(b"eu:students:7:").unwrap().0,
        b"eu:students:"
    );
    let children: Vec<_> = view
        .children_of(b"")
        .map(|(prefix, _)| prefix.to_vec())
        .collect();
    assert_eq!(children, [b"ap:".to_vec(), b"eu:".to_vec()]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn the_order_of_arrival_does_not_matter(
        shuffled in Just([basics(), hierarchy()].concat()).prop_shuffle(),
        batch in 1usize..20,
    ) {
        let directory = directory();
        for records in shuffled.chunks(batch) {
            let records = records.iter().map(|record| record.bytes().clone()).collect();
            directory.offer_all(records, NodeId(99));
        }
        let expected = directory_with(&hierarchy());
        prop_assert_eq!(owners(&directory), owners(&expected));
        prop_assert_eq!(root(&directory), root(&expected));
        prop_assert_eq!(directory.counters().waiting, 0);
        prop_assert_eq!(directory.counters().fresh, shuffled.len() as u64);
    }
}

#[test]
fn forged_records_change_nothing_and_are_counted() {
    let directory = directory_with(&hierarchy());
    let signed_by = |record: &SignedRecord, author, signer| {
        record
            .record()
            .clone()
            .sign(member(author), &key(signer))
            .unwrap()
    };
    let take_over = prefix_record("eu:", 9, Some(2), 1);
    // Another's key; one who has no right to; a member of the owner, but not of the parent's.
    refuses(&directory, &signed_by(&take_over, 1, 7), Refusal::Signature);
    refuses(&directory, &signed_by(&take_over, 7, 7), Refusal::Author);
    refuses(&directory, &signed_by(&take_over, 4, 4), Refusal::Author);
    // One who could write about the parent, but not about what is below it.
    refuses(
        &directory,
        &prefix_record("eu:students:", 9, Some(0), 1),
        Refusal::Author,
    );
    refuses(
        &directory,
        &prefix_record("eu:students:", 9, Some(2), 7),
        Refusal::Author,
    );
    // Groups that are not of the root group's making, and a root group of one's own.
    refuses(&directory, &group_record(3, 1, &[7], 7), Refusal::Author);
    refuses(&directory, &group_record(1, 2, &[7], 4), Refusal::Author);
    refuses(
        &directory,
        &group_record(0, 2, &[7, 8, 9], 7),
        Refusal::Author,
    );
    // A stranger, and an impostor.
    refuses(
        &directory,
        &prefix_record("us:", 1, Some(1), 77),
        Refusal::UnknownKey,
    );
    let impostor = Record::Key(key(7).public())
        .sign(member(1), &key(7))
        .unwrap();
    refuses(&directory, &impostor, Refusal::KeyConflict);
    // Another's key as one's own.
    let stolen = Record::Key(key(1).public())
        .sign(member(50), &key(7))
        .unwrap();
    refuses(&directory, &stolen, Refusal::Signature);
}

#[test]
fn cut_and_changed_records_change_nothing_and_are_counted() {
    let directory = directory_with(&[]);
    let bytes = prefix_record("eu:", 1, Some(1), 1).bytes().clone();
    let (owners_before, root_before) = (owners(&directory), root(&directory));
    for len in 0..bytes.len() {
        let outcome = directory.offer(bytes.slice(..len), NodeId(9));
        assert_eq!(outcome, Outcome::Refused(Refusal::Malformed));
    }
    for at in 0..bytes.len() {
        let mut changed = bytes.to_vec();
        changed[at] ^= 1;
        let outcome = directory.offer(Bytes::from(changed), NodeId(9));
        assert!(
            matches!(outcome, Outcome::Refused(_) | Outcome::Waiting(_)),
            "byte {at}: {outcome:?}"
        );
    }
    assert_eq!(
        (owners(&directory), root(&directory)),
        (owners_before, root_before)
    );
    let counters = directory.counters();
    let refused: u64 = counters.refused.iter().sum();
    assert_eq!(refused + counters.waiting, 2 * bytes.len() as u64);
    assert!(counters.refused_for(Refusal::Malformed) >= bytes.len() as u64);
}

#[test]
fn replayed_records_change_nothing_and_are_counted() {
    let old = [
        prefix_record("eu:", 1, Some(1), 1),
        group_record(1, 2, &[4, 5], 1),
    ];
    let new = [
        prefix_record("eu:", 2, Some(2), 1),
        prefix_record("eu:", 3, None, 2),
        group_record(1, 3, &[5, 6], 3),
    ];
    let directory = directory_with(&old);
    new.iter()
        .for_each(|record| assert_eq!(offer(&directory, record), Outcome::Fresh));
    let (owners_before, root_before) = (owners(&directory), root(&directory));
    for record in old.iter().chain(&new[..1]) {
        assert_eq!(offer(&directory, record), Outcome::Stale);
    }
    new[1..]
        .iter()
        .for_each(|record| assert_eq!(offer(&directory, record), Outcome::Known));
    assert_eq!(
        (owners(&directory), root(&directory)),
        (owners_before, root_before)
    );
    let counters = directory.counters();
    assert_eq!((counters.stale, counters.known), (3, 2));
}

#[test]
fn a_dropped_prefix_is_the_parents_and_keeps_its_epoch() {
    let directory = directory_with(&hierarchy());
    assert_eq!(
        offer(&directory, &prefix_record("eu:students:", 2, None, 5)),
        Outcome::Fresh
    );
    assert_eq!(group_of(&directory, "eu:students:8"), 1);
    assert_eq!(group_of(&directory, "eu:students:7:x"), 0);
    let parent = directory
        .view()
        .parent_of(b"eu:students:7:")
        .unwrap()
        .0
        .to_vec();
    assert_eq!(parent, b"eu:");
    assert_eq!(offer(&directory, &hierarchy()[2]), Outcome::Stale);
    let again = prefix_record("eu:students:", 3, Some(2), 5);
    assert_eq!(offer(&directory, &again), Outcome::Fresh);
    assert_eq!(group_of(&directory, "eu:students:8"), 2);
}

#[test]
fn of_contradicting_records_the_same_one_wins_everywhere() {
    let pair = [
        prefix_record("eu:", 1, Some(1), 1),
        prefix_record("eu:", 1, Some(2), 2),
    ];
    let mut roots = Vec::new();
    for order in [[0, 1], [1, 0]] {
        let directory = directory_with(&[]);
        let outcomes = order.map(|index| offer(&directory, &pair[index]));
        assert_eq!(outcomes[0], Outcome::Fresh);
        roots.push((root(&directory), owners(&directory)));
    }
    assert_eq!(roots[0], roots[1]);
}

#[test]
fn the_same_record_by_another_author_is_known() {
    let directory = directory_with(&[prefix_record("eu:", 1, Some(1), 1)]);
    assert_eq!(
        offer(&directory, &prefix_record("eu:", 1, Some(1), 2)),
        Outcome::Known
    );
}

#[test]
fn what_the_nodes_own_replicas_say_is_used_but_not_passed_on() {
    let directory = directory_with(&hierarchy());
    let root_before = root(&directory);
    directory.learn_prefix(b"eu:", 2, Some(GroupId(2)));
    directory.learn_prefix(b"us:", 1, Some(GroupId(1)));
    directory.learn_prefix(b"ap:", 2, Some(GroupId(2)));
    directory.learn_prefix(b"eu:students:", 2, None);
    assert_eq!(group_of(&directory, "eu:x"), 2);
    assert_eq!(group_of(&directory, "us:x"), 1);
    assert_eq!(group_of(&directory, "ap:x"), 1, "an older epoch");
    assert_eq!(
        group_of(&directory, "eu:students:8"),
        2,
        "dropped, so it is the parent's"
    );
    assert_eq!(root(&directory), root_before);
    assert_eq!(
        offer(&directory, &prefix_record("eu:", 3, Some(1), 1)),
        Outcome::Fresh
    );
    assert_eq!(group_of(&directory, "eu:x"), 1);
    directory.learn_prefix(b"eu:", 2, Some(GroupId(2)));
    assert_eq!(group_of(&directory, "eu:x"), 1);
}

#[test]
fn who_is_not_known_to_be_a_member_adopts_nothing() {
    let prefix = prefix_record("eu:", 1, Some(1), 1);
    // Node 1, which signed the prefix, leaves the root group.
    let directory = directory_with(&[prefix, group_record(0, 2, &[2, 3], 2)]);
    let adopt = |node| {
        let adopted = directory.adopt_orphans(member(node), &key(node), &[ROOT_GROUP], 10);
        adopted.unwrap().len()
    };
    assert!(directory.counters().orphans > 0);
    assert_eq!(adopt(9), 0);
    assert!(adopt(2) > 0);
}

#[test]
fn local_knowledge_entitles_nobody() {
    let directory = directory_with(&[]);
    directory.learn_prefix(b"eu:", 1, Some(GroupId(2)));
    let record = prefix_record("eu:x:", 1, Some(2), 7);
    assert_eq!(
        offer(&directory, &record),
        Outcome::Waiting(Refusal::Author)
    );
}

#[test]
fn a_newcomer_believes_the_root_group_of_today_by_way_of_those_before() {
    let chain = [
        group_record(0, 2, &[2, 3, 4], 1),
        group_record(0, 3, &[4, 5, 6], 3),
        group_record(0, 4, &[7, 8, 9], 4),
    ];
    let veteran = directory_with(&chain);
    // The groups' records are by members of a root group that nobody is in any more.
    let adopted = veteran
        .adopt_orphans(member(7), &key(7), &[ROOT_GROUP], 10)
        .unwrap();
    assert_eq!(adopted.len(), 2);
    adopted
        .iter()
        .for_each(|record| assert_eq!(offer(&veteran, record), Outcome::Fresh));
    let newcomer = directory();
    let records: Vec<Bytes> = veteran.with_store(|store| {
        store
            .after(None)
            .map(|record| record.bytes().clone())
            .collect()
    });
    newcomer.offer_all(records, NodeId(1));
    assert_eq!(root(&newcomer), root(&veteran));
    assert_eq!(newcomer.view().group(ROOT_GROUP).unwrap().configuration, 4);
    let skipped = directory_with(&[]);
    assert_eq!(
        offer(&skipped, &chain[2]),
        Outcome::Waiting(Refusal::Author)
    );
    assert_eq!(offer(&skipped, &chain[1]), Outcome::Fresh);
    assert_eq!(skipped.view().group(ROOT_GROUP).unwrap().configuration, 4);
}

#[test]
fn records_whose_author_lost_the_right_are_adopted_and_a_newcomer_can_check_them() {
    // `eu:` moves from group 1 to group 2: node 4 may not write about `eu:students:` any more.
    let veteran = directory_with(&hierarchy());
    let orphaned_root = root(&veteran);
    assert_eq!(
        offer(&veteran, &prefix_record("eu:", 2, Some(2), 1)),
        Outcome::Fresh
    );
    assert_eq!(veteran.counters().orphans, 1);
    assert_ne!(root(&veteran), orphaned_root);
    assert_eq!(
        group_of(&veteran, "eu:students:8"),
        2,
        "it is believed still"
    );
    let adopt = |node, group| {
        veteran
            .adopt_orphans(member(node), &key(node), &[GroupId(group)], 10)
            .unwrap()
    };
    assert_eq!(adopt(4, 1), []);
    let adopted = adopt(7, 2);
    assert_eq!(adopted.len(), 1);
    let first = directory_with(&[prefix_record("eu:", 2, Some(2), 1)]);
    assert_eq!(
        offer(&first, &hierarchy()[2]),
        Outcome::Waiting(Refusal::Author)
    );
    for directory in [&veteran, &first] {
        assert_eq!(offer(directory, &adopted[0]), Outcome::Fresh);
        assert_eq!(directory.counters().orphans, 0);
    }
    assert_eq!(adopt(7, 2), []);
}

#[test]
fn a_member_that_leaves_orphans_what_it_wrote_and_one_that_comes_back_heals_it() {
    let directory = directory_with(&hierarchy());
    let before = root(&directory);
    assert_eq!(
        offer(&directory, &group_record(1, 2, &[5, 6], 1)),
        Outcome::Fresh
    );
    assert_eq!(directory.counters().orphans, 1);
    assert_eq!(
        offer(&directory, &group_record(1, 3, &[4, 5, 6], 1)),
        Outcome::Fresh
    );
    assert_eq!(directory.counters().orphans, 0);
    assert_ne!(root(&directory), before, "the group's record is another");
}

#[test]
fn the_pen_is_bounded_for_each_sender() {
    let directory = directory_with(&[]);
    let waits = prefix_record("eu:x:", 1, Some(2), 7);
    assert_eq!(offer(&directory, &waits), Outcome::Waiting(Refusal::Author));
    assert_eq!(offer(&directory, &waits), Outcome::Waiting(Refusal::Author));
    assert_eq!(directory.counters().waiting, 1);
    let spam = (0..PEN_SENDER_MAX as u64 + 50).map(|n| {
        prefix_record(format!("spam{n}:"), 1, Some(2), 7)
            .bytes()
            .clone()
    });
    directory.offer_all(spam.collect(), NodeId(7));
    let counters = directory.counters();
    assert_eq!(counters.waiting, PEN_SENDER_MAX as u64 + 1);
    assert_eq!(counters.refused_for(Refusal::Author), 50);
    assert_eq!(
        offer(&directory, &prefix_record("eu:", 1, Some(2), 1)),
        Outcome::Fresh
    );
    assert_eq!(group_of(&directory, "eu:x:1"), 2);
    assert_eq!(directory.view().owner(b"eu:x:1").0, b"eu:x:");
}

#[test]
fn a_scan_goes_on_behind_any_topic() {
    let directory = directory_with(&hierarchy());
    directory.with_store(|store| {
        let all: Vec<_> = store.after(None).cloned().collect();
        assert_eq!(all.len(), store.len());
        assert!(all.is_sorted_by_key(SignedRecord::topic));
        for (index, record) in all.iter().enumerate() {
            let rest: Vec<_> = store.after(Some(&record.topic())).cloned().collect();
            assert_eq!(rest, all[index + 1..]);
        }
        let mut in_leaves: Vec<_> = (0..=u16::MAX)
            .flat_map(|leaf| store.in_leaf(leaf))
            .cloned()
            .collect();
        in_leaves.sort_by_key(SignedRecord::topic);
        assert_eq!(in_leaves, all);
    });
}
