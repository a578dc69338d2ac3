//! The log of one group on one node: what the crate stores, and what must go to disk because of it.
//!
//! Owns the entries behind the last trim, of which the older ones may be on disk only, and the few
//! numbers that consensus keeps beside them. It writes nothing: [`Log::take_write`] hands out what
//! has changed, [`Log::persisted`] is told when that is on disk. Older entries are read back
//! through a [`LogSource`].

mod changes;
mod storage;

use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;
use omnipaxos::ballot_leader_election::Ballot;

use super::entry::Slot;
use super::meta::Meta;
use super::planted::{self, Planted};
use crate::LogIndex;
pub(crate) use storage::SharedLog;

/// Reads entries that were written earlier and are not in memory any more.
pub trait LogSource: Send {
    /// Entries from `from` on, all of which are on disk: as many as take `max_bytes` there, but at
    /// least one, and none beyond `to`. A source that cannot read them ends the process: what is on disk
    /// is then unknown.
    fn read(&self, from: LogIndex, to: LogIndex, max_bytes: usize) -> Vec<Bytes>;
}

/// What must be on disk, all of it or nothing, before the messages that wait for it leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogWrite {
    /// Entries up to this one are not needed any more; done before the rest.
    pub compact: Option<LogIndex>,
    /// Index of the first of `entries`.
    pub first: LogIndex,
    /// They replace whatever the log has from `first` on; empty if nothing was appended.
    pub entries: Vec<Bytes>,
    /// The record beside the log, as a whole.
    pub meta: Vec<u8>,
}

/// The log.
///
/// Invariants: `trimmed <= resident <= end` where `resident` is the first index in memory,
/// `decided <= end`, `compacted <= decided`, `durable <= end`. Indexes here count entries:
/// "up to 7" means that entries 1 to 7 are in it.
pub(crate) struct Log {
    /// Consensus and configuration, as stored.
    pub(crate) meta: Meta,
    /// Up to here entries are covered by a checkpoint and may be gone from the log.
    trimmed: u64,
    /// Entries `resident + 1 ..= end`.
    entries: VecDeque<Bytes>,
    resident: u64,
    resident_bytes: usize,
    /// The crate's view of how much of the log is in its snapshot.
    compacted: u64,
    durable: u64,
    /// The accepted round on disk, and in the write under way.
    durable_round: Option<Ballot>,
    round_in_write: Option<Ballot>,
    first_new: Option<u64>,
    compact: Option<u64>,
    dirty: bool,
    /// A snapshot is being taken that only moves `compacted`.
    is_compacting: bool,
    source: Box<dyn LogSource>,
}

impl Log {
    /// A log as it was left on disk.
    pub(crate) fn open(meta: Meta, source: Box<dyn LogSource>) -> Log {
        let (trimmed, end) = (meta.trimmed, meta.end);
        let log = Log {
            trimmed,
            entries: VecDeque::new(),
            resident: end,
            resident_bytes: 0,
            compacted: trimmed,
            durable: end,
            durable_round: meta.accepted_round,
            round_in_write: meta.accepted_round,
            first_new: None,
            compact: None,
            dirty: false,
            is_compacting: false,
            source,
            meta,
        };
        log.check_invariants();
        log
    }

    /// How many entries there are, counting the trimmed ones.
    pub(crate) fn end(&self) -> u64 {
        self.resident + self.entries.len() as u64
    }

    pub(crate) fn decided(&self) -> u64 {
        self.meta.decided
    }

    pub(crate) fn durable(&self) -> u64 {
        self.durable
    }

    /// Entries up to here cannot be read any more.
    pub(crate) fn trimmed(&self) -> u64 {
        self.trimmed
    }

    /// The entries `range.start + 1 ..= range.end`.
    pub(crate) fn read(&self, range: Range<u64>) -> Vec<Bytes> {
        let wanted = range.end.saturating_sub(range.start);
        let entries = self.read_step(range, usize::MAX);
        let found = entries.len() as u64;
        assert_eq!(found, wanted, "the disk gave {found} of {wanted} entries");
        entries
    }

    /// The first of the entries `range.start + 1 ..= range.end`: about `max_bytes` of them, but at
    /// least one if there is one.
    pub(crate) fn read_step(&self, range: Range<u64>, max_bytes: usize) -> Vec<Bytes> {
        let Range { start, end } = range;
        assert!(
            start >= self.trimmed && end <= self.end(),
            "entries {start}..{end} of a log that holds {}..{}",
            self.trimmed,
            self.end()
        );
        let mut out = Vec::new();
        if start < end.min(self.resident) {
            let upto = end.min(self.resident);
            let source = &self.source;
            out = source.read(LogIndex(start + 1), LogIndex(upto), max_bytes);
            assert!(!out.is_empty(), "the disk gave no entry behind {start}");
            if start + (out.len() as u64) < upto {
                return out;
            }
        }
        let mut bytes: usize = out.iter().map(Bytes::len).sum();
        let from = start.max(self.resident) - self.resident;
        let upto = end.max(self.resident) - self.resident;
        for entry in self.entries.range(from.min(upto) as usize..upto as usize) {
            if bytes >= max_bytes {
                break;
            }
            bytes += entry.len();
            out.push(entry.clone());
        }
        out
    }

    /// Whether the entries `from..=to` weigh more than `limit` bytes; those that are not in memory
    /// count as too many.
    pub(crate) fn is_heavy(&self, from: u64, to: u64, limit: usize) -> bool {
        if from < self.resident {
            return from < to;
        }
        let mut bytes = 0;
        let range = (from - self.resident) as usize..(to.max(from) - self.resident) as usize;
        self.entries.range(range).any(|entry| {
            bytes += entry.len();
            bytes > limit
        })
    }

    /// Drops entries from memory that are decided, on disk, and not beyond `needed`, until the
    /// rest weighs at most `limit_bytes`.
    pub(crate) fn shed(&mut self, limit_bytes: usize, needed: u64) {
        let upto = self.decided().min(self.durable).min(needed);
        while self.resident_bytes > limit_bytes && self.resident < upto {
            if let Some(entry) = self.entries.pop_front() {
                self.resident_bytes -= entry.len();
            }
            self.resident += 1;
        }
    }

    /// What has to be written; `None` if nothing has changed.
    pub(crate) fn take_write(&mut self) -> Option<LogWrite> {
        if !self.dirty {
            return None;
        }
        self.dirty = false;
        self.round_in_write = self.meta.accepted_round;
        let first = self.first_new.take().unwrap_or(self.end());
        self.meta.trimmed = self.trimmed;
        self.meta.end = self.end();
        Some(LogWrite {
            compact: self.compact.take().map(LogIndex),
            first: LogIndex(first + 1),
            entries: self.read(first..self.end()),
            meta: self.meta.encode(),
        })
    }

    /// What [`Log::take_write`] handed out is on disk.
    pub(crate) fn persisted(&mut self) {
        self.durable = self.first_new.unwrap_or(self.end());
        self.durable_round = self.round_in_write;
    }

    /// Whether it is on disk that everything up to `index` was accepted in this round. The entries
    /// alone do not suffice: with an older round beside them they lose against others, of a round
    /// between the two, when the next leader chooses.
    pub(crate) fn has_accepted(&self, round: Ballot, index: u64) -> bool {
        let is_round_durable =
            self.durable_round == Some(round) || planted::is_on(Planted::RoundNotSynced);
        index <= self.durable && is_round_durable
    }

    /// In a group of one: entries up to `upto` are on disk, hence decided. The index goes to disk
    /// with the next write.
    pub(crate) fn note_decided(&mut self, upto: u64) {
        self.meta.decided = self.meta.decided.max(upto);
        self.check_invariants();
    }

    /// Appends in a group of one.
    pub(crate) fn append(&mut self, entry: Bytes) -> u64 {
        self.push(vec![Slot(entry)]);
        self.end()
    }

    /// The view with which an instance of the crate begins.
    pub(crate) fn reset_view(&mut self) {
        self.compacted = self.trimmed;
    }

    /// Without an instance of the crate: what it would have moved by a snapshot.
    pub(crate) fn set_compacted(&mut self, upto: u64) {
        self.compacted = self.compacted.max(upto);
    }

    pub(crate) fn set_compacting(&mut self, on: bool) {
        self.is_compacting = on;
    }

    /// Asserts the invariants of this type.
    pub(crate) fn check_invariants(&self) {
        let (trimmed, resident, end) = (self.trimmed, self.resident, self.end());
        assert!(
            trimmed <= resident,
            "trimmed {trimmed} > resident {resident}"
        );
        assert!(
            self.meta.decided <= end,
            "decided {} > end {end}",
            self.meta.decided
        );
        assert!(
            self.compacted <= self.meta.decided.max(trimmed),
            "compacted {} > decided {}",
            self.compacted,
            self.meta.decided
        );
        assert!(self.durable <= end, "durable {} > end {end}", self.durable);
    }
}
