//! The two small files that say who a node is, and their formats.
//!
//! Owns the bytes of IDENTITY (who: written once) and INCARNATION (which start of it: counted up
//! at each), both guarded by a checksum. Does not own where they lie or when they are written:
//! that is [`crate::DataDir`]. Decoding fails with the reason; it never guesses, since a node that
//! comes back under a wrong identity can lose acknowledged writes.
//!
//! Formats, numbers little-endian: magic (8 bytes), format version (u32), fields, CRC-32 of all
//! before it. The version is looked at before anything behind it.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};

use crate::NodeId;

/// The version of both formats that this build reads and writes.
pub(crate) const FORMAT_VERSION: u32 = 1;

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

/// Who a node is, from the creation of its data directory on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The format version of the data directory.
    pub version: u32,
    /// The cluster.
    pub cluster_id: ClusterId,
    /// The node.
    pub node_id: NodeId,
    /// Secret seed for hash tables, so that no client can choose colliding keys.
    pub hash_seed: u64,
    /// Secret mark of this node's log records.
    pub(crate) log_tag: u64,
}

/// Why bytes are not what they should be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// Written in another format version.
    Version(u32),
    /// Not what was written: from which byte on, and why.
    Damaged(u64, String),
}

impl Identity {
    const BYTES: usize = HEAD_BYTES + 16 + 3 * 8 + CRC_BYTES;

    /// A new identity from the system's random source.
    pub(crate) fn random() -> io::Result<Identity> {
        let mut bytes = [0; 40];
        File::open("/dev/urandom")?.read_exact(&mut bytes)?;
        let number = |at: usize| u64::from_le_bytes(array(&bytes[at..]));
        Ok(Identity {
            version: FORMAT_VERSION,
            cluster_id: ClusterId(array(&bytes)),
            node_id: NodeId(number(16).max(1)),
            hash_seed: number(24),
            log_tag: number(32),
        })
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = head(IDENTITY_MAGIC, self.version);
        out.extend_from_slice(&self.cluster_id.0);
        out.extend_from_slice(&self.node_id.0.to_le_bytes());
        out.extend_from_slice(&self.hash_seed.to_le_bytes());
        out.extend_from_slice(&self.log_tag.to_le_bytes());
        seal(out)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Identity, Reason> {
        let fields = unseal(bytes, IDENTITY_MAGIC, Identity::BYTES)?;
        let number = |at: usize| u64::from_le_bytes(array(&fields[at..]));
        Ok(Identity {
            version: FORMAT_VERSION,
            cluster_id: ClusterId(array(fields)),
            node_id: NodeId(number(16)),
            hash_seed: number(24),
            log_tag: number(32),
        })
    }
}

pub(crate) fn encode_incarnation(incarnation: u64) -> Vec<u8> {
    let mut out = head(INCARNATION_MAGIC, FORMAT_VERSION);
    out.extend_from_slice(&incarnation.to_le_bytes());
    seal(out)
}

pub(crate) fn decode_incarnation(bytes: &[u8]) -> Result<u64, Reason> {
    let fields = unseal(bytes, INCARNATION_MAGIC, HEAD_BYTES + 8 + CRC_BYTES)?;
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

/// The fields between head and checksum, if both are right.
fn unseal<'a>(bytes: &'a [u8], magic: &[u8; 8], len: usize) -> Result<&'a [u8], Reason> {
    let damaged = |at: usize, reason: &str| Err(Reason::Damaged(at as u64, reason.to_owned()));
    if !bytes.starts_with(magic) {
        return damaged(0, "it does not start as this file should");
    }
    if bytes.len() < HEAD_BYTES {
        return damaged(bytes.len(), "it ends inside its head");
    }
    let version = u32::from_le_bytes(array(&bytes[8..]));
    if version != FORMAT_VERSION {
        return Err(Reason::Version(version));
    }
    if bytes.len() != len {
        let reason = format!("it has {} bytes instead of {len}", bytes.len());
        return damaged(bytes.len().min(len), &reason);
    }
    let (body, crc) = bytes.split_at(len - CRC_BYTES);
    if crc32fast::hash(body) != u32::from_le_bytes(array(crc)) {
        return damaged(HEAD_BYTES, "its checksum does not match");
    }
    Ok(&body[HEAD_BYTES..])
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
            cluster: [u8; 16], node: u64, seed: u64, tag: u64,
        ) {
            let identity = Identity {
                version: FORMAT_VERSION,
                cluster_id: ClusterId(cluster),
                node_id: NodeId(node),
                hash_seed: seed,
                log_tag: tag,
            };
            let bytes = identity.encode();
            prop_assert_eq!(bytes.len(), Identity::BYTES);
            prop_assert_eq!(Identity::decode(&bytes), Ok(identity));
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
        let bytes = Identity::random().unwrap().encode();
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x40;
            assert!(Identity::decode(&flipped).is_err(), "byte {at}");
            assert!(Identity::decode(&bytes[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn a_future_version_is_told_from_damage() {
        let mut bytes = Identity::random().unwrap().encode();
        bytes[8] = 9;
        assert_eq!(Identity::decode(&bytes), Err(Reason::Version(9)));
    }
}
