//! Nodes with keys and the records they write, for tests. Node `n` has disk `1000 + n`; the root
//! group begins with nodes 1, 2 and 3.

use bailiwick_replication::{GroupId, NodeId};

use super::keys::{KeyRing, NodeKey};
use super::record::{GroupRecord, Member, PrefixRecord, Record, SignedRecord};
use super::{Directory, Outcome};

pub(super) fn member(node: u64) -> Member {
    Member {
        node: NodeId(node),
        disk: 1000 + node,
    }
}

pub(super) fn key(node: u64) -> NodeKey {
    let mut secret = [7; 32];
    secret[..8].copy_from_slice(&node.to_le_bytes());
    NodeKey::from_secret(secret)
}

pub(super) fn sign(record: Record, author: u64) -> SignedRecord {
    record.sign(member(author), &key(author)).unwrap()
}

pub(super) fn key_record(node: u64) -> SignedRecord {
    sign(Record::Key(key(node).public()), node)
}

pub(super) fn group(id: u32, configuration: u64, nodes: &[u64]) -> GroupRecord {
    let name = if id == 0 {
        "root".to_owned()
    } else {
        format!("group-{id}")
    };
    let members = nodes.iter().map(|node| member(*node)).collect();
    GroupRecord {
        id: GroupId(id),
        name,
        configuration,
        members,
        hash_seed: 9,
        databases: 16,
    }
}

pub(super) fn group_record(
    id: u32,
    configuration: u64,
    nodes: &[u64],
    author: u64,
) -> SignedRecord {
    sign(Record::Group(group(id, configuration, nodes)), author)
}

pub(super) fn prefix_record(
    prefix: impl AsRef<[u8]>,
    epoch: u64,
    group: Option<u32>,
    author: u64,
) -> SignedRecord {
    let prefix = prefix.as_ref().to_vec();
    sign(
        Record::Prefix(PrefixRecord {
            prefix,
            epoch,
            group: group.map(GroupId),
        }),
        author,
    )
}

pub(super) fn directory() -> Directory {
    Directory::new(group(0, 1, &[1, 2, 3]), KeyRing::new())
}

/// Nodes 1 to 9 have keys; group 1 is nodes 4 to 6, group 2 nodes 7 to 9.
pub(super) fn basics() -> Vec<SignedRecord> {
    let mut records: Vec<_> = (1..=9).map(key_record).collect();
    records.push(group_record(1, 1, &[4, 5, 6], 1));
    records.push(group_record(2, 1, &[7, 8, 9], 2));
    records
}

pub(super) fn offer(directory: &Directory, record: &SignedRecord) -> Outcome {
    directory.offer(record.bytes().clone(), NodeId(99))
}

/// A directory that believes the basics and these.
pub(super) fn directory_with(records: &[SignedRecord]) -> Directory {
    let directory = directory();
    for record in basics().iter().chain(records) {
        assert_eq!(offer(&directory, record), Outcome::Fresh, "{record:?}");
    }
    directory
}

/// Which group a key belongs to.
pub(super) fn group_of(directory: &Directory, key: &str) -> u32 {
    directory.view().owner(key.as_bytes()).1.group.0
}
