//! Records as bytes: what is written is read, and nothing else is.

use proptest::prelude::*;

use super::*;
use crate::directory::testing::{key, key_record, member, prefix_record, sign};

fn record() -> impl Strategy<Value = Record> {
    let prefix = (
        prop::collection::vec(any::<u8>(), 1..PREFIX_BYTES_MAX),
        any::<u64>(),
        prop::option::of(any::<u32>().prop_map(GroupId)),
    );
    let prefix = prefix.prop_map(|(prefix, epoch, group)| {
        Record::Prefix(PrefixRecord {
            prefix,
            epoch,
            group,
        })
    });
    let members = prop::collection::btree_set(any::<(u64, u64)>(), 1..=GROUP_MEMBERS_MAX);
    let group = (any::<u32>(), "[a-zé]{0,40}", any::<u64>(), members);
    let group = group.prop_map(|(id, name, configuration, members)| {
        let members = members.into_iter().map(|(node, disk)| Member {
            node: NodeId(node),
            disk,
        });
        let members = members.collect();
        Record::Group(GroupRecord {
            id: GroupId(id),
            name,
            configuration,
            members,
            hash_seed: 9,
            databases: 16,
        })
    });
    let key = any::<[u8; 32]>().prop_map(|bytes| Record::Key(PublicKey::new(bytes)));
    prop_oneof![prefix, group, key]
}

proptest! {
    #[test]
    fn records_read_what_they_write(record in record(), node in 1u64..9) {
        let signed = record.sign(member(node), &key(node)).unwrap();
        prop_assert!(signed.bytes().len() <= RECORD_BYTES_MAX);
        let read = SignedRecord::decode(signed.bytes().clone()).unwrap();
        prop_assert_eq!(&read, &signed);
        prop_assert!(read.is_signed_by(&key(node).public()));
        prop_assert!(!read.is_signed_by(&key(node + 1).public()));
    }

    #[test]
    fn changed_records_are_not_signed(
        record in record(), at in any::<prop::sample::Index>(), flip in 1u8..,
    ) {
        let signed = record.sign(member(1), &key(1)).unwrap();
        let mut bytes = signed.bytes().to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        if let Ok(read) = SignedRecord::decode(bytes.into()) {
            prop_assert!(!read.is_signed_by(&key(1).public()));
        }
    }

    #[test]
    fn cut_and_lengthened_records_are_refused(
        record in record(), cut in any::<prop::sample::Index>(), more in 1usize..9,
    ) {
        let signed = record.sign(member(1), &key(1)).unwrap();
        let bytes = signed.bytes();
        prop_assert!(SignedRecord::decode(bytes.slice(..cut.index(bytes.len()))).is_err());
        let longer = [&bytes[..], &vec![0; more]].concat();
        prop_assert!(SignedRecord::decode(longer.into()).is_err());
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(
        kind in 0u8..5, bytes in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        let bytes = [&[RECORD_VERSION, kind][..], &bytes].concat();
        let _ = SignedRecord::decode(bytes.into());
    }
}

#[test]
fn fields_out_of_bounds_cannot_be_signed() {
    let members = |count: u64| (0..count).map(member).collect::<Vec<_>>();
    let group = |name: &str, members| {
        Record::Group(GroupRecord {
            id: GroupId(1),
            name: name.into(),
            configuration: 1,
            members,
            hash_seed: 9,
            databases: 16,
        })
    };
    let prefix = |len| {
        Record::Prefix(PrefixRecord {
            prefix: vec![b'x'; len],
            epoch: 1,
            group: None,
        })
    };
    let bad = [
        prefix(0),
        prefix(PREFIX_BYTES_MAX + 1),
        group("a", members(0)),
        group("a", members(GROUP_MEMBERS_MAX as u64 + 1)),
        group("a", vec![member(1), member(1)]),
        group(&"n".repeat(NAME_BYTES_MAX + 1), members(1)),
    ];
    for record in bad {
        assert_eq!(record.sign(member(1), &key(1)), Err(RecordError::Malformed));
    }
}

#[test]
fn a_number_in_a_longer_form_is_refused() {
    let signed = prefix_record("a", 1, Some(1), 1);
    let mut bytes = signed.bytes().to_vec();
    // Version, kind, the prefix's length and byte; then epoch 1, which may not stand as 0x81 0x00.
    assert_eq!(bytes[..5], [RECORD_VERSION, PREFIX, 1, b'a', 1]);
    bytes.splice(4..5, [0x81, 0x00]);
    assert_eq!(
        SignedRecord::decode(bytes.into()),
        Err(RecordError::Malformed)
    );
}

#[test]
fn other_versions_are_told_apart() {
    let mut bytes = key_record(1).bytes().to_vec();
    bytes[0] = RECORD_VERSION + 1;
    let error = SignedRecord::decode(bytes.into());
    assert_eq!(error, Err(RecordError::Version(RECORD_VERSION + 1)));
}

#[test]
fn the_longest_record_of_each_kind_fits() {
    let longest_prefix = Record::Prefix(PrefixRecord {
        prefix: vec![b'x'; PREFIX_BYTES_MAX],
        epoch: u64::MAX,
        group: Some(GroupId(u32::MAX)),
    });
    let longest_group = Record::Group(GroupRecord {
        id: GroupId(u32::MAX),
        name: "n".repeat(NAME_BYTES_MAX),
        configuration: u64::MAX,
        members: (0..GROUP_MEMBERS_MAX as u64)
            .map(|n| Member {
                node: NodeId(u64::MAX - n),
                disk: n,
            })
            .collect(),
        hash_seed: 9,
        databases: 16,
    });
    for record in [longest_prefix, longest_group] {
        let signed = sign(record, 1);
        SignedRecord::decode(signed.bytes().clone()).unwrap();
    }
}
