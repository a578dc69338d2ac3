//! The two small files that say who a node is, and their formats.
//!
//! Owns the bytes of IDENTITY (who: written once) and INCARNATION (which start of it: counted up
//! at each), both guarded by a checksum. Does not own where they lie or when they are written:
//! that is [`crate::DataDir`]. Decoding fails with the reason; it never guesses, since a node that
//! comes back under a wrong identity can lose acknowledged writes.
//!
//! Formats, numbers little-endian: magic (8 bytes), format version (u32), fields, CRC-32 of all
//! before it. The version is looked at before anything behind it.
//!
//! IDENTITY version 1 knew nodes that run alone only; it is still read. Version 2 adds the disk id
//! and whether the node is a member of a cluster, and is refused by a build that would take a
//! member's data for a lonely node's.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};

use crate::NodeId;

/// The version of IDENTITY that this build writes; it reads all from 1 on.
const IDENTITY_VERSION: u32 = 2;
/// The version of INCARNATION that this build reads and writes.
const INCARNATION_VERSION: u32 = 1;

const IDENTITY_MAGIC: &[u8; 8] = b"BWIDENT\n";
const INCARNATION_MAGIC: &[u8; 8] = b"BWINCAR\n";
const HEAD_BYTES: usize = 12;
const CRC_BYTES: usize = 4;

/// The cluster a node belongs to. Nodes of different clusters refuse each other.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClusterId(pub [u8; 16]);

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClusterId({self})")
    }
}

/// A place in a cluster: which cluster, and which of its nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Membership {
    /// The cluster.
    pub cluster_id: ClusterId,
    /// The node, by its id in the cluster.
    pub node_id: NodeId,
}

impl fmt::Display for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {} of cluster {}", self.node_id, self.cluster_id)
    }
}

/// Who a node is, from the creation of its data directory on.
///
/// Invariant: `disk_id > 0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The format version of the identity file.
    pub version: u32,
    /// The cluster; of a node that runs alone, a random one of its own.
    pub cluster_id: ClusterId,
    /// The node; of one that runs alone, random.
    pub node_id: NodeId,
    /// Secret seed for hash tables, so that no client can choose colliding keys.
    pub hash_seed: u64,
    /// Secret mark of this node's log records.
    pub(crate) log_tag: u64,
    disk_id: u64,
    is_member: bool,
}

/// Why bytes are not what they should be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// Written in a format version that this build does not read.
    Version { found: u32, supported: u32 },
    /// Not what was written: from which byte on, and why.
    Damaged(u64, String),
}

impl Identity {
    /// Bytes of the fields in version 1, and in version 2.
    const FIELDS_BYTES: [usize; 2] = [16 + 3 * 8, 16 + 4 * 8 + 1];

    /// The number of this data directory: random, never 0, and another one for a directory that was
    /// emptied and created anew. It tells a member of a group from one that has lost its memory and
    /// comes back under the same node id.
    pub fn disk_id(&self) -> u64 {
        self.disk_id
    }

    /// The place in a cluster, unless the node runs alone.
    pub fn membership(&self) -> Option<Membership> {
        self.is_member.then_some(Membership {
            cluster_id: self.cluster_id,
            node_id: self.node_id,
        })
    }

    /// A new identity from the system's random source, for a member or for a node that runs alone.
    pub(crate) fn random(membership: Option<Membership>) -> io::Result<Identity> {
        let mut bytes = [0; 48];
        File::open("/dev/urandom")?.read_exact(&mut bytes)?;
        let number = |at: usize| u64::from_le_bytes(array(&bytes[at..]));
        let place = membership.unwrap_or(Membership {
            cluster_id: ClusterId(array(&bytes)),
            node_id: NodeId(number(16).max(1)),
        });
        Ok(Identity {
            version: IDENTITY_VERSION,
            cluster_id: place.cluster_id,
            node_id: place.node_id,
            hash_seed: number(24),
            log_tag: number(32),
            disk_id: number(40).max(1),
            is_member: membership.is_some(),
        })
    }

    /// The bytes of the file, in the newest version.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = head(IDENTITY_MAGIC, IDENTITY_VERSION);
        self.put_first_fields(&mut out);
        out.extend_from_slice(&self.disk_id.to_le_bytes());
        out.push(self.is_member.into());
        seal(out)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Identity, Reason> {
        let (version, fields) = unseal(bytes, IDENTITY_MAGIC, &Identity::FIELDS_BYTES)?;
        let number = |at: usize| u64::from_le_bytes(array(&fields[at..]));
        let (hash_seed, log_tag) = (number(24), number(32));
        let (disk_id, is_member) = match version {
            1 => (derived_disk_id(hash_seed, log_tag), false),
            _ => (number(40), fields[48] != 0),
        };
        Ok(Identity {
            version,
            cluster_id: ClusterId(array(fields)),
            node_id: NodeId(number(16)),
            hash_seed,
            log_tag,
            disk_id,
            is_member,
        })
    }

    /// The fields that every version has.
    fn put_first_fields(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.cluster_id.0);
        out.extend_from_slice(&self.node_id.0.to_le_bytes());
        out.extend_from_slice(&self.hash_seed.to_le_bytes());
        out.extend_from_slice(&self.log_tag.to_le_bytes());
    }
}

/// The disk id of a directory from before disk ids: the same at every start. It mixes two secrets,
/// so that neither can be computed from it.
fn derived_disk_id(hash_seed: u64, log_tag: u64) -> u64 {
    (scrambled(log_tag) ^ scrambled(hash_seed.rotate_left(32))).max(1)
}

/// A bijection in which each bit of the input sways every bit of the output.
fn scrambled(mut bits: u64) -> u64 {
    for factor in [0xbf58_476d_1ce4_e5b9_u64, 0x94d0_49bb_1331_11eb] {
        bits = (bits ^ bits >> 29).wrapping_mul(factor);
    }
    bits ^ bits >> 32
}

pub(crate) fn encode_incarnation(incarnation: u64) -> Vec<u8> {
    let mut out = head(INCARNATION_MAGIC, INCARNATION_VERSION);
    out.extend_from_slice(&incarnation.to_le_bytes());
    seal(out)
}

pub(crate) fn decode_incarnation(bytes: &[u8]) -> Result<u64, Reason> {
    let (_, fields) = unseal(bytes, INCARNATION_MAGIC, &[8])?;
    Ok(u64::from_le_bytes(array(fields)))
}

fn head(magic: &[u8; 8], version: u32) -> Vec<u8> {
    let mut out = magic.to_vec();
    out.extend_from_slice(&version.to_le_bytes());
    out
}

fn seal(mut out: Vec<u8>) -> Vec<u8> {
    let crc = crc32fast::hash(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    out
}

/// The version, and the fields between head and checksum, if both are right. Version `n` has
/// `fields_bytes[n - 1]` bytes of fields; a version without an entry is not known.
fn unseal<'a>(
    bytes: &'a [u8],
    magic: &[u8; 8],
    fields_bytes: &[usize],
) -> Result<(u32, &'a [u8]), Reason> {
    let damaged = |at: usize, reason: &str| Err(Reason::Damaged(at as u64, reason.to_owned()));
    if !bytes.starts_with(magic) {
        return damaged(0, "it does not start as this file should");
    }
    if bytes.len() < HEAD_BYTES {
        return damaged(bytes.len(), "it ends inside its head");
    }
    let version = u32::from_le_bytes(array(&bytes[8..]));
    let place = (version as usize).checked_sub(1);
    let Some(fields_bytes) = place.and_then(|place| fields_bytes.get(place)) else {
        return Err(Reason::Version {
            found: version,
            supported: fields_bytes.len() as u32,
        });
    };
    let len = HEAD_BYTES + fields_bytes + CRC_BYTES;
    if bytes.len() != len {
        let reason = format!("it has {} bytes instead of {len}", bytes.len());
        return damaged(bytes.len().min(len), &reason);
    }
    let (body, crc) = bytes.split_at(len - CRC_BYTES);
    if crc32fast::hash(body) != u32::from_le_bytes(array(crc)) {
        return damaged(HEAD_BYTES, "its checksum does not match");
    }
    Ok((version, &body[HEAD_BYTES..]))
}

/// The first `N` bytes of a slice whose length has been checked.
fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes[..N].try_into().expect("the slice has N bytes")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_identity_reads_back_as_it_was_written(
            cluster: [u8; 16], node: u64, seed: u64, tag: u64, disk_id in 1_u64.., is_member: bool,
        ) {
            let identity = Identity {
                version: IDENTITY_VERSION,
                cluster_id: ClusterId(cluster),
                node_id: NodeId(node),
                hash_seed: seed,
                log_tag: tag,
                disk_id,
                is_member,
            };
            prop_assert_eq!(Identity::decode(&identity.encode()), Ok(identity));
        }

        #[test]
        fn arbitrary_bytes_are_no_identity(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            prop_assert!(Identity::decode(&bytes).is_err());
            prop_assert!(decode_incarnation(&bytes).is_err());
        }

        #[test]
        fn an_incarnation_reads_back_as_it_was_written(incarnation: u64) {
            prop_assert_eq!(decode_incarnation(&encode_incarnation(incarnation)), Ok(incarnation));
        }
    }

    #[test]
    fn each_flipped_byte_and_each_cut_is_refused() {
        let bytes = Identity::random(None).unwrap().encode();
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x40;
            assert!(Identity::decode(&flipped).is_err(), "byte {at}");
            assert!(Identity::decode(&bytes[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn a_version_that_is_not_known_is_told_from_damage() {
        let mut bytes = Identity::random(None).unwrap().encode();
        for found in [0, 3, 9] {
            bytes[8] = found;
            let (found, supported) = (found.into(), 2);
            assert_eq!(
                Identity::decode(&bytes),
                Err(Reason::Version { found, supported })
            );
        }
    }

    #[test]
    fn an_identity_of_version_1_runs_alone_and_keeps_one_disk_id() {
        let old = |hash_seed: u64, log_tag: u64| {
            let mut identity = Identity::random(None).unwrap();
            (identity.hash_seed, identity.log_tag) = (hash_seed, log_tag);
            let mut out = head(IDENTITY_MAGIC, 1);
            identity.put_first_fields(&mut out);
            let bytes = seal(out);
            assert_eq!(bytes.len(), 56);
            let read = Identity::decode(&bytes).unwrap();
            assert_eq!((read.version, read.node_id), (1, identity.node_id));
            assert_eq!((read.hash_seed, read.log_tag), (hash_seed, log_tag));
            assert_eq!(read.membership(), None);
            read.disk_id()
        };
        // Fixed for ever: a later build must find the number that an earlier one derived.
        assert_eq!(old(1, 2), 0xc554_c0f3_5640_deff);
        assert_ne!(old(2, 1), old(1, 2));
        assert_eq!(old(0, 0), 1);
    }

    #[test]
    fn a_member_keeps_its_place_and_each_directory_has_its_own_disk_id() {
        let place = Membership {
            cluster_id: ClusterId([7; 16]),
            node_id: NodeId(3),
        };
        let first = Identity::random(Some(place)).unwrap();
        let second = Identity::random(Some(place)).unwrap();
        assert_eq!(first.membership(), Some(place));
        assert_ne!(first.disk_id(), second.disk_id());
        assert_ne!(first.log_tag, second.log_tag);
        assert!(first.disk_id() > 0 && second.disk_id() > 0);
    }
}
