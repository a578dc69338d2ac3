//! What this crate puts into the engine's records: one entry, and the sync mark.
//!
//! Owns the layout of an entry on disk and its way through the engine, which wants protobuf
//! messages; ours is only bytes, so nothing is encoded field by field or copied twice. Does not
//! own the records around the entries: those are the engine's, and [`super::scan`] checks them.
//!
//! Layout of an entry: index (u64), flags (u8), the sync mark if flag 1 is set, then the payload;
//! all numbers little-endian. The engine's checksum covers all of it.
//!
//! A *sync mark* says up to where the file was durable when the record was written. The first
//! entry of every append carries one, and so does every record without entries, under a key of
//! its own. It is what tells a torn tail from damage after a crash, because records that were not
//! yet synced may reach the disk in any order.

use std::any::Any;
use std::sync::OnceLock;

use bytes::Bytes;
use protobuf::reflect::MessageDescriptor;
use protobuf::{
    Clear, CodedInputStream, CodedOutputStream, Message, ProtobufError, ProtobufResult,
    UnknownFields,
};

use crate::LogIndex;

/// Bytes in front of an entry's payload, without the mark.
const HEAD_BYTES: usize = 9;
/// Set if a sync mark follows the flags.
const FLAG_MARK: u8 = 1;
/// Buffers above this are given back after use, so one large append does not stay in memory.
const KEPT_BYTES: usize = 1 << 20;

/// How far one file of the log was durable when a record was formed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    /// A number only this node knows, so that no client can forge a mark inside a value.
    pub(crate) tag: u64,
    /// The file's sequence number.
    pub(crate) seq: u32,
    /// Every byte of the file before this offset was durable.
    pub(crate) durable: u64,
}

impl Mark {
    /// Encoded size.
    pub(crate) const BYTES: usize = 20;

    /// The encoded mark.
    pub(crate) fn encode(self) -> [u8; Mark::BYTES] {
        let mut out = [0; Mark::BYTES];
        out[..8].copy_from_slice(&self.tag.to_le_bytes());
        out[8..12].copy_from_slice(&self.seq.to_le_bytes());
        out[12..].copy_from_slice(&self.durable.to_le_bytes());
        out
    }

    /// The mark at the start of `bytes`.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Mark> {
        let bytes = bytes.get(..Mark::BYTES)?;
        Some(Mark {
            tag: u64::from_le_bytes(bytes[..8].try_into().ok()?),
            seq: u32::from_le_bytes(bytes[8..12].try_into().ok()?),
            durable: u64::from_le_bytes(bytes[12..].try_into().ok()?),
        })
    }

    /// The mark in the first entry of a block of encoded entries.
    pub(crate) fn of_entries(block: &[u8]) -> Option<Mark> {
        (*block.get(HEAD_BYTES - 1)? & FLAG_MARK != 0)
            .then(|| Mark::decode(&block[HEAD_BYTES..]))
            .flatten()
    }
}

/// One entry as the engine sees it: a protobuf message that is only bytes.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Record {
    bytes: Vec<u8>,
}

impl Record {
    /// Fills this record, reusing its memory.
    pub(crate) fn set(&mut self, index: LogIndex, mark: Option<Mark>, payload: &[u8]) {
        self.bytes.clear();
        self.bytes.reserve(HEAD_BYTES + Mark::BYTES + payload.len());
        self.bytes.extend_from_slice(&index.0.to_le_bytes());
        self.bytes.push(if mark.is_some() { FLAG_MARK } else { 0 });
        if let Some(mark) = mark {
            self.bytes.extend_from_slice(&mark.encode());
        }
        self.bytes.extend_from_slice(payload);
    }

    /// Gives back an unusually large buffer.
    pub(crate) fn shrink(&mut self) {
        if self.bytes.capacity() > KEPT_BYTES {
            self.bytes = Vec::new();
        }
    }

    /// The entry's index; 0 if the record is empty, which no stored entry is.
    pub(crate) fn index(&self) -> LogIndex {
        let head = self.bytes.get(..8).and_then(|head| head.try_into().ok());
        LogIndex(head.map_or(0, u64::from_le_bytes))
    }

    /// What was appended.
    pub(crate) fn payload(&self) -> &[u8] {
        &self.bytes[payload_start(&self.bytes).unwrap_or(self.bytes.len())..]
    }

    /// What was appended, without a copy.
    pub(crate) fn into_payload(self) -> Bytes {
        let start = payload_start(&self.bytes).unwrap_or(self.bytes.len());
        Bytes::from(self.bytes).slice(start..)
    }
}

/// Where the payload starts, if the bytes can be an entry at all.
fn payload_start(bytes: &[u8]) -> Option<usize> {
    let flags = *bytes.get(HEAD_BYTES - 1)?;
    let start = match flags {
        0 => HEAD_BYTES,
        FLAG_MARK => HEAD_BYTES + Mark::BYTES,
        _ => return None,
    };
    (bytes.len() >= start).then_some(start)
}

/// Tells the engine how to find an entry's index.
pub(crate) struct Extension;

impl raft_engine::MessageExt for Extension {
    type Entry = Record;

    fn index(entry: &Record) -> u64 {
        entry.index().0
    }
}

impl Clear for Record {
    fn clear(&mut self) {
        self.bytes.clear();
    }
}

impl Message for Record {
    fn descriptor(&self) -> &'static MessageDescriptor {
        Self::descriptor_static()
    }

    fn is_initialized(&self) -> bool {
        true
    }

    fn merge_from(&mut self, input: &mut CodedInputStream<'_>) -> ProtobufResult<()> {
        while !input.eof()? {
            self.bytes.push(input.read_raw_byte()?);
        }
        Ok(())
    }

    fn write_to_with_cached_sizes(&self, output: &mut CodedOutputStream<'_>) -> ProtobufResult<()> {
        output.write_raw_bytes(&self.bytes)
    }

    fn write_to_vec(&self, out: &mut Vec<u8>) -> ProtobufResult<()> {
        out.extend_from_slice(&self.bytes);
        Ok(())
    }

    fn parse_from_bytes(bytes: &[u8]) -> ProtobufResult<Self> {
        if payload_start(bytes).is_none() {
            let reason = std::io::Error::other("not an entry of this log");
            return Err(ProtobufError::IoError(reason));
        }
        Ok(Record {
            bytes: bytes.to_vec(),
        })
    }

    fn compute_size(&self) -> u32 {
        self.bytes.len() as u32
    }

    fn get_cached_size(&self) -> u32 {
        self.bytes.len() as u32
    }

    fn get_unknown_fields(&self) -> &UnknownFields {
        static NONE: OnceLock<UnknownFields> = OnceLock::new();
        NONE.get_or_init(UnknownFields::new)
    }

    fn mut_unknown_fields(&mut self) -> &mut UnknownFields {
        unreachable!("an entry is never parsed field by field, so it has no unknown fields")
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn new() -> Record {
        Record::default()
    }

    fn default_instance() -> &'static Record {
        static EMPTY: Record = Record { bytes: Vec::new() };
        &EMPTY
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_entry_reads_back_as_it_was_written(
            index in 1u64..,
            payload in proptest::collection::vec(any::<u8>(), 0..200),
            mark in proptest::option::of((any::<u64>(), any::<u32>(), any::<u64>())),
        ) {
            let mark = mark.map(|(tag, seq, durable)| Mark { tag, seq, durable });
            let mut record = Record::default();
            record.set(LogIndex(index), mark, &payload);
            let mut encoded = Vec::new();
            record.write_to_vec(&mut encoded).unwrap();
            prop_assert_eq!(Mark::of_entries(&encoded), mark);
            let read = Record::parse_from_bytes(&encoded).unwrap();
            prop_assert_eq!(read.index(), LogIndex(index));
            prop_assert_eq!(read.payload(), &payload[..]);
            prop_assert_eq!(read.into_payload(), payload);
        }

        #[test]
        fn arbitrary_bytes_are_an_entry_or_an_error(
            bytes in proptest::collection::vec(any::<u8>(), 0..64),
        ) {
            if let Ok(record) = Record::parse_from_bytes(&bytes) {
                prop_assert!(record.payload().len() < bytes.len());
            }
        }
    }
}
