//! What floods from node to node: who has which prefix, who is in which group, and which key is
//! whose, each with its author's signature.
//!
//! # Format
//!
//! A record is version, kind, its fields, the author (node and disk) and an ed25519 signature over
//! all bytes before it, which begin with `SIGNED_FOR` so that a signature is good for nothing
//! else. Numbers are LEB128 or little-endian, bytes follow their length. Every field has a bound,
//! so a record is at most [`RECORD_BYTES_MAX`]. There is one encoding of a record: bytes that
//! decode and encode to something else are refused, so that a record cannot be spread in several
//! shapes.
//!
//! Owned here: what a record says and how it stands in bytes. Not here: whether it may be believed
//! ([`Directory`](super::Directory)). Decoding allocates at most what it was given, and fails at
//! the first byte that does not fit.

use bailiwick_replication::{GroupId, NodeId};
use bytes::Bytes;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::cluster::GROUP_MEMBERS_MAX;
use crate::state::{DecodeError, Reader, put_bytes, put_varint};

use super::keys::{NodeKey, PublicKey, SIGNATURE_BYTES};

/// The version that is written, and the only one that is read.
pub const RECORD_VERSION: u8 = 1;
/// The longest prefix that can be delegated, in bytes.
pub const PREFIX_BYTES_MAX: usize = 1024;
/// The longest name of a group, in bytes.
pub const NAME_BYTES_MAX: usize = 256;
/// No record is longer, in bytes.
pub const RECORD_BYTES_MAX: usize = PREFIX_BYTES_MAX + 256;

/// What a signature is over, before the record.
const SIGNED_FOR: &[u8] = b"bailiwick directory record\n";

/// Stands for the author where it does not matter.
const NOBODY: Member = Member::LEAST;

const PREFIX: u8 = 1;
const GROUP: u8 = 2;
const KEY: u8 = 3;

/// A node with its data directory: what a group has as members, and what has a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Member {
    /// The node.
    pub node: NodeId,
    /// The disk id of its data directory.
    pub disk: u64,
}

impl Member {
    /// Sorts before all others.
    pub(super) const LEAST: Self = Self {
        node: NodeId(0),
        disk: 0,
    };
}

/// Which group has a prefix. Authors are members of the group that owns the parent prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrefixRecord {
    /// The prefix, not empty and at most [`PREFIX_BYTES_MAX`].
    pub prefix: Vec<u8>,
    /// Rises with each change of the prefix, also across its dropping.
    pub epoch: u64,
    /// Who owns it; `None` if it was dropped, so that its keys are the parent's.
    pub group: Option<GroupId>,
}

/// Who is in a group. Authors are members of the root group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupRecord {
    /// The group.
    pub id: GroupId,
    /// Its name, at most [`NAME_BYTES_MAX`].
    pub name: String,
    /// Rises with each change of the members.
    pub configuration: u64,
    /// The members, distinct, at least one and at most [`GROUP_MEMBERS_MAX`].
    pub members: Vec<Member>,
    /// The seed of its tables.
    pub hash_seed: u64,
    /// Its databases.
    pub databases: u32,
}

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// Who has a prefix.
    Prefix(PrefixRecord),
    /// Who is in a group.
    Group(GroupRecord),
    /// The author's key, which also signs the record.
    Key(PublicKey),
}

/// What a record is about; of two records about the same, one is newer. In this order a newcomer
/// can check one after the other: keys, groups (the root first), then prefixes after their parents.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// A node's key.
    Key(Member),
    /// A group's members.
    Group(GroupId),
    /// A prefix's owner.
    Prefix(Vec<u8>),
}

impl Topic {
    /// Where it is in a [`DigestTree`](super::digest::DigestTree), and among others of its bucket.
    pub(super) fn hash(&self) -> u64 {
        match self {
            Self::Key(member) => xxh3_64_with_seed(
                &[member.node.0.to_le_bytes(), member.disk.to_le_bytes()].concat(),
                1,
            ),
            Self::Group(group) => xxh3_64_with_seed(&group.0.to_le_bytes(), 2),
            Self::Prefix(prefix) => xxh3_64_with_seed(prefix, 3),
        }
    }
}

/// A record with its author and signature, in the bytes that travel. Clones share the bytes.
///
/// That the signature is right is not promised by having one: see [`Self::is_signed_by`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedRecord {
    record: Record,
    author: Member,
    bytes: Bytes,
}

/// The bytes are no record that this version writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Another version's.
    #[error("record version {0}, this version reads {RECORD_VERSION}")]
    Version(u8),
    /// Too short, too long, or with a field that no writer writes.
    #[error("malformed record")]
    Malformed,
}

impl From<DecodeError> for RecordError {
    fn from(_: DecodeError) -> Self {
        Self::Malformed
    }
}

impl Record {
    /// What it is about, given its author.
    pub fn topic(&self, author: Member) -> Topic {
        match self {
            Self::Prefix(prefix) => Topic::Prefix(prefix.prefix.clone()),
            Self::Group(group) => Topic::Group(group.id),
            Self::Key(_) => Topic::Key(author),
        }
    }

    /// Of two records with the same topic the one with the higher number is newer.
    pub fn sequence(&self) -> u64 {
        match self {
            Self::Prefix(prefix) => prefix.epoch,
            Self::Group(group) => group.configuration,
            Self::Key(_) => 0,
        }
    }

    /// Whether all fields are within their bounds.
    pub fn is_valid(&self) -> bool {
        match self {
            Self::Prefix(record) => (1..=PREFIX_BYTES_MAX).contains(&record.prefix.len()),
            Self::Group(record) => {
                let mut members = record.members.clone();
                members.sort_unstable();
                members.dedup();
                record.name.len() <= NAME_BYTES_MAX
                    && (1..=GROUP_MEMBERS_MAX).contains(&record.members.len())
                    && members.len() == record.members.len()
            }
            Self::Key(_) => true,
        }
    }

    /// Signs it as `author`'s, whose key is given.
    ///
    /// # Errors
    /// A field is out of its bounds.
    pub fn sign(self, author: Member, key: &NodeKey) -> Result<SignedRecord, RecordError> {
        if !self.is_valid() {
            return Err(RecordError::Malformed);
        }
        let mut bytes = Vec::with_capacity(128);
        self.encode(author, &mut bytes);
        let signature = key.sign(&signed_text(&bytes));
        bytes.extend_from_slice(&signature);
        Ok(SignedRecord {
            record: self,
            author,
            bytes: bytes.into(),
        })
    }

    /// A number that equal records share, whoever wrote them, and others in practice do not. Keys
    /// of one node all have the same: nodes that pinned different ones will not agree by talking.
    pub(super) fn content_hash(&self, author: Member) -> u64 {
        let mut bytes = Vec::with_capacity(64);
        match self {
            Self::Key(_) => put_member(&mut bytes, author),
            Self::Prefix(_) | Self::Group(_) => self.encode(NOBODY, &mut bytes),
        }
        xxh3_64(&bytes)
    }

    fn encode(&self, author: Member, out: &mut Vec<u8>) {
        out.push(RECORD_VERSION);
        match self {
            Self::Prefix(record) => {
                out.push(PREFIX);
                put_bytes(out, &record.prefix);
                put_varint(out, record.epoch);
                put_varint(out, record.group.map_or(0, |group| u64::from(group.0) + 1));
            }
            Self::Group(record) => {
                out.push(GROUP);
                put_varint(out, u64::from(record.id.0));
                put_bytes(out, record.name.as_bytes());
                put_varint(out, record.configuration);
                put_varint(out, record.members.len() as u64);
                record
                    .members
                    .iter()
                    .for_each(|member| put_member(out, *member));
                put_varint(out, record.hash_seed);
                put_varint(out, u64::from(record.databases));
            }
            Self::Key(key) => {
                out.push(KEY);
                out.extend_from_slice(key.bytes());
            }
        }
        put_member(out, author);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, RecordError> {
        let [version, kind] = reader.array()?;
        if version != RECORD_VERSION {
            return Err(RecordError::Version(version));
        }
        match kind {
            PREFIX => {
                let (prefix, epoch) = (reader.string()?.to_vec(), reader.varint()?);
                let group = match reader.varint()? {
                    0 => None,
                    id => Some(GroupId(small(id - 1)?)),
                };
                Ok(Self::Prefix(PrefixRecord {
                    prefix,
                    epoch,
                    group,
                }))
            }
            GROUP => {
                let id = GroupId(small(reader.varint()?)?);
                let name = reader.string()?.to_vec();
                let name = String::from_utf8(name).map_err(|_| RecordError::Malformed)?;
                let configuration = reader.varint()?;
                let count = reader.length()?;
                if count > GROUP_MEMBERS_MAX {
                    return Err(RecordError::Malformed);
                }
                let members = (0..count)
                    .map(|_| read_member(reader))
                    .collect::<Result<_, _>>()?;
                Ok(Self::Group(GroupRecord {
                    id,
                    name,
                    configuration,
                    members,
                    hash_seed: reader.varint()?,
                    databases: small(reader.varint()?)?,
                }))
            }
            KEY => Ok(Self::Key(PublicKey::new(reader.array()?))),
            _ => Err(RecordError::Malformed),
        }
    }
}

impl SignedRecord {
    /// Reads a record; the signature is not looked at.
    ///
    /// # Errors
    /// The bytes are no record, or not in the one encoding that it has.
    pub fn decode(bytes: Bytes) -> Result<Self, RecordError> {
        if bytes.len() > RECORD_BYTES_MAX {
            return Err(RecordError::Malformed);
        }
        let mut reader = Reader::new(&bytes);
        let record = Record::decode(&mut reader)?;
        let author = read_member(&mut reader)?;
        let text_len = reader.at();
        let mut again = Vec::with_capacity(text_len);
        record.encode(author, &mut again);
        let is_whole = bytes.len() == text_len + SIGNATURE_BYTES;
        if !is_whole || again != bytes[..text_len] || !record.is_valid() {
            return Err(RecordError::Malformed);
        }
        Ok(Self {
            record,
            author,
            bytes,
        })
    }

    /// What it says.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Who wrote it, as it says.
    pub fn author(&self) -> Member {
        self.author
    }

    /// What it is about.
    pub fn topic(&self) -> Topic {
        self.record.topic(self.author)
    }

    /// The bytes that travel.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Whether the signature is this key's.
    pub fn is_signed_by(&self, key: &PublicKey) -> bool {
        let text_len = self.bytes.len() - SIGNATURE_BYTES;
        let (text, signature) = self.bytes.split_at(text_len);
        let signature = signature
            .try_into()
            .expect("a decoded record ends with a signature");
        key.verifies(&signed_text(text), signature)
    }
}

fn signed_text(record: &[u8]) -> Vec<u8> {
    [SIGNED_FOR, record].concat()
}

fn put_member(out: &mut Vec<u8>, member: Member) {
    put_varint(out, member.node.0);
    out.extend_from_slice(&member.disk.to_le_bytes());
}

fn read_member(reader: &mut Reader<'_>) -> Result<Member, RecordError> {
    let node = NodeId(reader.varint()?);
    Ok(Member {
        node,
        disk: u64::from_le_bytes(reader.array()?),
    })
}

fn small(number: u64) -> Result<u32, RecordError> {
    u32::try_from(number).map_err(|_| RecordError::Malformed)
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;
