//! One record while it is being filled.
//!
//! Owns the engine's batch with the memory that is reused from append to append, and what a record
//! may consist of: a sync mark, a compaction, entries, values under keys. The engine applies them
//! in the order in which they were put. Does not own the decision what goes into a record, nor the
//! write. Nothing here fails: bounds are asserted before.

use raft_engine::{Command, LogBatch};

use super::group_log::FLOOR_KEY;
use super::record::{Extension, Mark, Record};
use super::scan::MARK_KEY;
use crate::LogIndex;

/// Reused memory of one append.
pub(super) struct Scratch {
    pub(super) batch: LogBatch,
    records: Vec<Record>,
}

impl Scratch {
    pub(super) fn new() -> Scratch {
        Scratch {
            batch: LogBatch::with_capacity(4),
            records: Vec::new(),
        }
    }

    /// Puts entries from index `first` on, with the sync mark in the first of them. Their payloads
    /// are within [`MAX_APPEND_BYTES`](crate::MAX_APPEND_BYTES).
    pub(super) fn put_entries<E: AsRef<[u8]>>(
        &mut self,
        region: u64,
        mark: Mark,
        first: LogIndex,
        entries: &[E],
    ) {
        let Scratch { batch, records } = self;
        if records.len() < entries.len() {
            records.resize_with(entries.len(), Record::default);
        }
        let mut mark = Some(mark);
        for (at, entry) in entries.iter().enumerate() {
            let index = LogIndex(first.0 + at as u64);
            records[at].set(index, mark.take(), entry.as_ref());
        }
        batch
            .add_entries::<Extension>(region, &records[..entries.len()])
            .expect("an append within its bound fits into a batch");
    }

    /// Puts the sync mark of a record without entries: before anything else, since the scan looks
    /// for it there.
    pub(super) fn put_mark(&mut self, region: u64, mark: Mark) {
        self.put(region, MARK_KEY.to_vec(), mark.encode().to_vec());
    }

    /// Entries up to and including `up_to` are no longer needed.
    pub(super) fn put_compact(&mut self, region: u64, up_to: LogIndex) {
        let index = up_to.next().0;
        self.batch.add_command(region, Command::Compact { index });
    }

    /// Stores a value under a caller's key.
    pub(super) fn put_value(&mut self, region: u64, key: &[u8], value: &[u8]) {
        self.put(region, meta_key(key), value.to_vec());
    }

    /// Notes that entries up to this one are gone, even if the engine has them again.
    pub(super) fn put_floor(&mut self, region: u64, floor: LogIndex) {
        self.put_value(region, FLOOR_KEY, &floor.0.to_le_bytes());
    }

    /// Gives back unusually large buffers.
    pub(super) fn shrink(&mut self) {
        self.records.iter_mut().for_each(Record::shrink);
    }

    fn put(&mut self, region: u64, key: Vec<u8>, value: Vec<u8>) {
        self.batch
            .put(region, key, value)
            .expect("our keys are not the engine's own");
    }
}

/// Keys of callers, kept apart from the engine's and from the mark's.
pub(super) fn meta_key(key: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 + key.len());
    out.push(b'k');
    out.extend_from_slice(key);
    out
}
