//! What two directories say to each other, as bytes.
//!
//! A message is a version, a kind, and its fields; numbers are LEB128 or little-endian, bytes
//! follow their length. Decoding takes parts of the message it was given, allocates in proportion
//! to it, and refuses whatever no writer writes.

use bailiwick_replication::{GroupId, NodeId};
use bytes::Bytes;

use crate::directory::digest::{Digests, FAN_OUT};
use crate::directory::record::{Member, RECORD_BYTES_MAX, Topic};
use crate::state::{DecodeError, Reader, put_bytes, put_varint};

/// The version that is written, and the only one that is read.
pub const FLOOD_VERSION: u8 = 1;
/// A longer message is refused, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// How many branches' leaves one message compares.
pub const BRANCHES_MAX: usize = 32;
/// How many leaves one message names.
pub const LEAVES_MAX: usize = BRANCHES_MAX * FAN_OUT;

const RECORDS: u8 = 1;
const COMPARE: u8 = 2;
const BRANCHES: u8 = 3;
const LEAVES: u8 = 4;
const DIFFER: u8 = 5;
const PULL: u8 = 6;
const PULLED: u8 = 7;
const SCAN: u8 = 8;
const SCANNED: u8 = 9;

/// A message.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Message {
    /// These are new.
    Records(Vec<Bytes>),
    /// My root digest is this; answer if yours is not.
    Compare(u64),
    /// It is not: my number of records, and the digests below the root.
    Branches(u64, Box<Digests>),
    /// Of branches that differ, my leaves.
    Leaves(Vec<(u8, Box<Digests>)>),
    /// These leaves differ.
    Differ(Vec<u16>),
    /// Send what is in these leaves.
    Pull(Vec<u16>),
    /// It is this; the leaves named did not fit any more.
    Pulled(Vec<Bytes>, Vec<u16>),
    /// Send all from behind this topic on.
    Scan(Option<Topic>),
    /// It goes on with this, and there is more.
    Scanned(Vec<Bytes>, bool),
}

impl Message {
    pub(super) fn encode(&self) -> Bytes {
        let mut out = vec![FLOOD_VERSION];
        match self {
            Self::Records(records) => {
                out.push(RECORDS);
                put_records(&mut out, records);
            }
            Self::Compare(root) => {
                out.push(COMPARE);
                out.extend_from_slice(&root.to_le_bytes());
            }
            Self::Branches(count, digests) => {
                out.push(BRANCHES);
                put_varint(&mut out, *count);
                put_digests(&mut out, digests);
            }
            Self::Leaves(branches) => {
                out.push(LEAVES);
                put_varint(&mut out, branches.len() as u64);
                for (branch, digests) in branches {
                    out.push(*branch);
                    put_digests(&mut out, digests);
                }
            }
            Self::Differ(leaves) => put_leaves(&mut out, DIFFER, leaves),
            Self::Pull(leaves) => put_leaves(&mut out, PULL, leaves),
            Self::Pulled(records, rest) => {
                put_leaves(&mut out, PULLED, rest);
                put_records(&mut out, records);
            }
            Self::Scan(after) => {
                out.push(SCAN);
                put_topic(&mut out, after.as_ref());
            }
            Self::Scanned(records, more) => {
                out.extend_from_slice(&[SCANNED, u8::from(*more)]);
                put_records(&mut out, records);
            }
        }
        out.into()
    }

    pub(super) fn decode(bytes: &Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let malformed = DecodeError::Malformed(0);
        if bytes.len() > MESSAGE_BYTES_MAX {
            return Err(malformed);
        }
        let [version, kind] = reader.array()?;
        if version != FLOOD_VERSION {
            return Err(DecodeError::Version(version));
        }
        let message = match kind {
            RECORDS => Self::Records(read_records(&mut reader, bytes)?),
            COMPARE => Self::Compare(u64::from_le_bytes(reader.array()?)),
            BRANCHES => Self::Branches(reader.varint()?, read_digests(&mut reader)?),
            LEAVES => Self::Leaves(read_branches(&mut reader)?),
            DIFFER => Self::Differ(read_leaves(&mut reader)?),
            PULL => Self::Pull(read_leaves(&mut reader)?),
            PULLED => {
                let rest = read_leaves(&mut reader)?;
                Self::Pulled(read_records(&mut reader, bytes)?, rest)
            }
            SCAN => Self::Scan(read_topic(&mut reader)?),
            SCANNED => {
                let [more] = reader.array()?;
                Self::Scanned(read_records(&mut reader, bytes)?, more != 0)
            }
            _ => return Err(malformed),
        };
        if reader.is_done() {
            Ok(message)
        } else {
            Err(DecodeError::Malformed(reader.at()))
        }
    }
}

fn put_records(out: &mut Vec<u8>, records: &[Bytes]) {
    put_varint(out, records.len() as u64);
    records.iter().for_each(|record| put_bytes(out, record));
}

fn read_records(reader: &mut Reader<'_>, bytes: &Bytes) -> Result<Vec<Bytes>, DecodeError> {
    let mut records = Vec::new();
    for _ in 0..reader.length()? {
        let len = reader.length()?;
        if len > RECORD_BYTES_MAX {
            return Err(DecodeError::Malformed(reader.at()));
        }
        records.push(bytes.slice(reader.range(len)?));
    }
    Ok(records)
}

fn put_digests(out: &mut Vec<u8>, digests: &Digests) {
    digests
        .iter()
        .for_each(|digest| out.extend_from_slice(&digest.to_le_bytes()));
}

fn read_digests(reader: &mut Reader<'_>) -> Result<Box<Digests>, DecodeError> {
    let mut digests = Box::new([0; FAN_OUT]);
    for digest in digests.iter_mut() {
        *digest = u64::from_le_bytes(reader.array()?);
    }
    Ok(digests)
}

fn read_branches(reader: &mut Reader<'_>) -> Result<Vec<(u8, Box<Digests>)>, DecodeError> {
    let count = reader.length()?;
    if count > BRANCHES_MAX {
        return Err(DecodeError::Malformed(reader.at()));
    }
    let branch = |_| {
        let [branch] = reader.array()?;
        Ok((branch, read_digests(reader)?))
    };
    (0..count).map(branch).collect()
}

fn put_leaves(out: &mut Vec<u8>, kind: u8, leaves: &[u16]) {
    out.push(kind);
    put_varint(out, leaves.len() as u64);
    leaves
        .iter()
        .for_each(|leaf| out.extend_from_slice(&leaf.to_le_bytes()));
}

fn read_leaves(reader: &mut Reader<'_>) -> Result<Vec<u16>, DecodeError> {
    let count = reader.length()?;
    if count > LEAVES_MAX {
        return Err(DecodeError::Malformed(reader.at()));
    }
    (0..count)
        .map(|_| Ok(u16::from_le_bytes(reader.array()?)))
        .collect()
}

fn put_topic(out: &mut Vec<u8>, topic: Option<&Topic>) {
    match topic {
        None => out.push(0),
        Some(Topic::Key(member)) => {
            out.push(1);
            put_varint(out, member.node.0);
            out.extend_from_slice(&member.disk.to_le_bytes());
        }
        Some(Topic::Group(group)) => {
            out.push(2);
            out.extend_from_slice(&group.0.to_le_bytes());
        }
        Some(Topic::Prefix(prefix)) => {
            out.push(3);
            put_bytes(out, prefix);
        }
    }
}

fn read_topic(reader: &mut Reader<'_>) -> Result<Option<Topic>, DecodeError> {
    let [kind] = reader.array()?;
    Ok(match kind {
        0 => None,
        1 => {
            let node = NodeId(reader.varint()?);
            Some(Topic::Key(Member {
                node,
                disk: u64::from_le_bytes(reader.array()?),
            }))
        }
        2 => Some(Topic::Group(GroupId(u32::from_le_bytes(reader.array()?)))),
        3 => Some(Topic::Prefix(reader.string()?.to_vec())),
        _ => return Err(DecodeError::Malformed(reader.at())),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message() -> impl Strategy<Value = Message> {
        let record = || prop::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from);
        let records = move || prop::collection::vec(record(), 0..6);
        let leaves = || prop::collection::vec(any::<u16>(), 0..20);
        let digests = || any::<u64>().prop_map(|n| Box::new(std::array::from_fn(|i| n ^ i as u64)));
        let topic = prop_oneof![
            Just(None),
            any::<(u64, u64)>().prop_map(|(node, disk)| Some(Topic::Key(Member {
                node: NodeId(node),
                disk
            }))),
            any::<u32>().prop_map(|group| Some(Topic::Group(GroupId(group)))),
            prop::collection::vec(any::<u8>(), 0..40)
                .prop_map(|prefix| Some(Topic::Prefix(prefix))),
        ];
        prop_oneof![
            records().prop_map(Message::Records),
            any::<u64>().prop_map(Message::Compare),
            (any::<u64>(), digests())
                .prop_map(|(count, digests)| Message::Branches(count, digests)),
            prop::collection::vec((any::<u8>(), digests()), 0..4).prop_map(Message::Leaves),
            leaves().prop_map(Message::Differ),
            leaves().prop_map(Message::Pull),
            (records(), leaves()).prop_map(|(records, rest)| Message::Pulled(records, rest)),
            topic.prop_map(Message::Scan),
            (records(), any::<bool>()).prop_map(|(records, more)| Message::Scanned(records, more)),
        ]
    }

    proptest! {
        #[test]
        fn messages_read_what_they_write(message in message()) {
            prop_assert_eq!(Message::decode(&message.encode()), Ok(message));
        }

        #[test]
        fn cut_messages_are_refused(message in message(), cut in any::<prop::sample::Index>()) {
            let bytes = message.encode();
            prop_assert!(Message::decode(&bytes.slice(..cut.index(bytes.len()))).is_err());
        }

        #[test]
        fn no_bytes_make_the_decoder_panic(
            kind in 0u8..12, bytes in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let bytes = [&[FLOOD_VERSION, kind][..], &bytes].concat();
            let _ = Message::decode(&bytes.into());
        }
    }

    #[test]
    fn announced_counts_take_no_memory() {
        let mut bytes = vec![FLOOD_VERSION, RECORDS];
        put_varint(&mut bytes, u64::MAX);
        assert!(Message::decode(&bytes.into()).is_err());
    }
}
