//! Checkpoint files: the whole state of a group at one log index, as a sequence of blocks.
//!
//! Owns the file format, how a file becomes durable, and which files of a directory are worth
//! loading. What is inside the blocks is the caller's, as is their order; the header carries a
//! content version for it. Files are named `checkpoint-<index, 20 digits>`; one that is being
//! written has `.tmp` behind that, one that is being received `.partial`.
//!
//! Format, numbers little-endian:
//! - magic (8 bytes), format version (u32), header length (u32), header, CRC-32 of all of it;
//! - blocks: length (u32), CRC-32, payload;
//! - the end: length `0xffff_ffff`, CRC-32, number of blocks (u64), bytes before the end (u64),
//!   and nothing after it.
//!
//! The checksum of a block starts from the header's and covers the block's number and length, so a
//! block of another file, or in another place, does not fit. A file without its end is never taken
//! for whole. Nothing is allocated by a length above [`MAX_BLOCK_BYTES`].
//!
//! How it fails: writing leaves at most a file with a temporary name, removed with the writer or at
//! the next start; receiving leaves a partial one, which the next transfer goes on with. Reading
//! refuses a file with its name, the offset and the reason; [`newest`] then falls back to an older
//! one and reports what it passed over, and the caller decides whether its log reaches back that
//! far.

mod directory;
mod partial;
mod reader;
#[cfg(test)]
mod tests;
mod writer;

pub use directory::{
    Listed, Newest, Refused, list, newest, open_raw, remove_leftovers, remove_old, remove_partials,
    verify,
};
pub use partial::PartialCheckpoint;
pub use reader::CheckpointReader;
pub use writer::CheckpointWriter;

use crate::{ConfigurationId, GroupId, LogIndex};

/// The largest block payload; larger values are split by the caller.
pub const MAX_BLOCK_BYTES: usize = 16 << 20;
/// The version of the file format that this build reads and writes.
pub const FORMAT_VERSION: u32 = 1;

const MAGIC: &[u8; 8] = b"BWCHECK\n";
/// Magic, version, header length.
const HEAD_BYTES: usize = 16;
/// Length and checksum in front of a block.
const BLOCK_HEAD_BYTES: usize = 8;
/// Number of blocks and bytes.
const END_BYTES: usize = 16;
/// The length that announces the end.
const END: u32 = u32::MAX;

/// What a checkpoint is of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CheckpointHeader {
    /// The last log index whose effects are in it.
    pub index: LogIndex,
    /// The log's time at that index, in milliseconds.
    pub log_time_ms: u64,
    /// The group.
    pub group: GroupId,
    /// The configuration of the group at that index.
    pub configuration: ConfigurationId,
    /// The version of what is inside the blocks, for the caller.
    pub content_version: u32,
    /// When it was taken, by the node's clock, in milliseconds since 1970.
    pub created_at_ms: u64,
}

impl CheckpointHeader {
    /// Encoded size.
    const BYTES: usize = 36;

    fn encode(&self) -> [u8; CheckpointHeader::BYTES] {
        let mut out = [0; CheckpointHeader::BYTES];
        out[..8].copy_from_slice(&self.index.0.to_le_bytes());
        out[8..16].copy_from_slice(&self.log_time_ms.to_le_bytes());
        out[16..20].copy_from_slice(&self.group.0.to_le_bytes());
        out[20..24].copy_from_slice(&self.configuration.0.to_le_bytes());
        out[24..28].copy_from_slice(&self.content_version.to_le_bytes());
        out[28..].copy_from_slice(&self.created_at_ms.to_le_bytes());
        out
    }

    fn decode(bytes: &[u8; CheckpointHeader::BYTES]) -> CheckpointHeader {
        CheckpointHeader {
            index: LogIndex(u64_at(bytes, 0)),
            log_time_ms: u64_at(bytes, 8),
            group: GroupId(u32_at(bytes, 16)),
            configuration: ConfigurationId(u32_at(bytes, 20)),
            content_version: u32_at(bytes, 24),
            created_at_ms: u64_at(bytes, 28),
        }
    }
}

/// Magic, version, header and their checksum; the checksum by itself is what blocks start from.
fn encode_head(header: &CheckpointHeader) -> (Vec<u8>, u32) {
    let mut out = MAGIC.to_vec();
    out.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    out.extend_from_slice(&(CheckpointHeader::BYTES as u32).to_le_bytes());
    out.extend_from_slice(&header.encode());
    let crc = crc32fast::hash(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    (out, crc)
}

/// The checksum of the block with this number, or of the end.
fn block_crc(header_crc: u32, number: u64, len: u32, payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&header_crc.to_le_bytes());
    hasher.update(&number.to_le_bytes());
    hasher.update(&len.to_le_bytes());
    hasher.update(payload);
    hasher.finalize()
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let bytes = bytes[at..at + 8].try_into();
    u64::from_le_bytes(bytes.expect("the slice has eight bytes"))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let bytes = bytes[at..at + 4].try_into();
    u32::from_le_bytes(bytes.expect("the slice has four bytes"))
}
