//! The log of one group on one node: what the crate stores, and what must go to disk because of it.
//!
//! Owns the entries behind the last trim, of which the older ones may be on disk only, and the few
//! numbers that consensus keeps beside them. It writes nothing: [`Log::take_write`] hands out what
//! has changed, [`Log::persisted`] is told when that is on disk. Older entries are read back
//! through a [`LogSource`].
//!
//! The crate owns its storage, while the replica has to look at it, too: hence [`SharedLog`].

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use omnipaxos::ballot_leader_election::Ballot;
use omnipaxos::storage::{StopSign, Storage, StorageOp, StorageResult};
use parking_lot::{Mutex, MutexGuard};

use super::entry::{Prefix, Slot};
use super::meta::Meta;
use super::planted::{self, Planted};
use crate::LogIndex;

/// Reads entries that were written earlier and are not in memory any more.
pub trait LogSource: Send {
    /// The entries `from..=to`, all of which are on disk. A source that cannot read them ends the
    /// process: what is on disk is then unknown.
    fn read(&self, from: LogIndex, to: LogIndex) -> Vec<Bytes>;
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
        let Range { start, end } = range;
        assert!(
            start >= self.trimmed && end <= self.end(),
            "entries {start}..{end} of a log that holds {}..{}",
            self.trimmed,
            self.end()
        );
        if start >= end {
            return Vec::new();
        }
        let mut out = Vec::with_capacity((end - start) as usize);
        if start < self.resident {
            let upto = end.min(self.resident);
            out = self.source.read(LogIndex(start + 1), LogIndex(upto));
            assert!(
                out.len() as u64 == upto - start,
                "the disk gave {} of {} entries",
                out.len(),
                upto - start
            );
        }
        let from = start.max(self.resident) - self.resident;
        if end > self.resident {
            let range = from as usize..(end - self.resident) as usize;
            out.extend(self.entries.range(range).cloned());
        }
        out
    }

    /// Entries from `from` on, about `max_bytes` of them but at least one, and not beyond `to`.
    pub(crate) fn read_step(&self, from: u64, to: u64, max_bytes: usize) -> Vec<Bytes> {
        const STEP: u64 = 256;
        let (mut out, mut bytes, mut at) = (Vec::new(), 0, from);
        while at < to && bytes < max_bytes {
            let upto = to.min(at + STEP);
            for entry in self.read(at..upto) {
                if bytes >= max_bytes && !out.is_empty() {
                    return out;
                }
                bytes += entry.len();
                out.push(entry);
            }
            at = upto;
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

    /// Takes entries from a peer that are decided there, the first of them behind `from`, which
    /// must not leave a hole. What this log has accepted behind them stays: it may have been
    /// chosen by our vote.
    pub(crate) fn install_decided(&mut self, from: u64, entries: Vec<Bytes>) {
        let upto = from + entries.len() as u64;
        if from > self.decided() || upto <= self.decided() {
            return;
        }
        let skip = self.decided() - from;
        let keep = if upto < self.end() {
            self.read(upto..self.end())
        } else {
            Vec::new()
        };
        let start = self.decided();
        self.truncate(start);
        let new = entries.into_iter().skip(skip as usize).chain(keep);
        self.push(new.map(Slot).collect());
        self.meta.decided = upto;
        self.dirty = true;
        self.check_invariants();
    }

    /// A checkpoint of the entries up to `index`, beyond all that is decided here, has been
    /// received and is on disk: the log goes on behind it.
    pub(crate) fn install_checkpoint(&mut self, index: u64) {
        assert!(
            index > self.decided(),
            "a checkpoint at {index} for a log decided up to {}",
            self.decided()
        );
        let keep = if index < self.end() {
            self.read(index..self.end())
        } else {
            Vec::new()
        };
        self.entries.clear();
        self.resident_bytes = 0;
        (self.trimmed, self.resident, self.compacted) = (index, index, index);
        self.meta.decided = index;
        self.durable = index;
        self.compact = Some(index);
        self.first_new = None;
        self.push(keep.into_iter().map(Slot).collect());
        self.dirty = true;
        self.check_invariants();
    }

    /// Entries up to `index` are covered by checkpoints and need not be kept.
    pub(crate) fn trim(&mut self, index: u64) {
        if index <= self.trimmed {
            return;
        }
        assert!(
            index <= self.compacted && index <= self.durable,
            "trim to {index}, compacted {}, durable {}",
            self.compacted,
            self.durable
        );
        while self.resident < index {
            if let Some(entry) = self.entries.pop_front() {
                self.resident_bytes -= entry.len();
            }
            self.resident += 1;
        }
        self.trimmed = index;
        self.compact = Some(index);
        if let Some(first) = &mut self.first_new {
            *first = (*first).max(index);
        }
        self.dirty = true;
        self.check_invariants();
    }

    /// Begins the log of the next configuration: what lies behind `applied` is void, and nobody has
    /// been promised anything.
    pub(crate) fn begin_configuration(
        &mut self,
        configuration: super::Configuration,
        applied: u64,
    ) {
        let sealed_at = configuration.begins_after.0;
        assert!(
            sealed_at <= applied && applied <= self.decided(),
            "configuration {} begins after {sealed_at}, applied is {applied}, decided {}",
            configuration.id.0,
            self.decided()
        );
        self.truncate(applied);
        self.meta.decided = self.meta.decided.min(self.end());
        self.meta.promise = None;
        self.meta.accepted_round = None;
        self.meta.configuration = configuration;
        self.compacted = self.trimmed;
        self.dirty = true;
        self.check_invariants();
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

    fn truncate(&mut self, upto: u64) {
        assert!(
            upto >= self.trimmed,
            "truncation to {upto}, trimmed {}",
            self.trimmed
        );
        if upto >= self.end() {
            return;
        }
        if upto < self.resident {
            self.entries.clear();
            self.resident_bytes = 0;
            self.resident = upto;
        } else {
            for entry in self.entries.drain((upto - self.resident) as usize..) {
                self.resident_bytes -= entry.len();
            }
        }
        self.durable = self.durable.min(upto);
        self.first_new = Some(self.first_new.map_or(upto, |first| first.min(upto)));
        self.dirty = true;
    }

    fn push(&mut self, entries: Vec<Slot>) {
        if entries.is_empty() {
            return;
        }
        let end = self.end();
        self.first_new = Some(self.first_new.map_or(end, |first| first.min(end)));
        self.dirty = true;
        for Slot(entry) in entries {
            self.resident_bytes += entry.len();
            self.entries.push_back(entry);
        }
    }

    /// The crate's snapshot up to `compacted`. What is decided here already is the same for
    /// everybody; behind that, the snapshot's tail is taken over.
    fn take_snapshot(&mut self, snapshot: Prefix, compacted: u64, old_decided: u64) {
        if self.is_compacting {
            self.compacted = compacted;
            return;
        }
        assert!(
            snapshot.end() == compacted,
            "a snapshot of {} entries for an index of {compacted}",
            snapshot.end()
        );
        assert!(
            snapshot.known <= old_decided,
            "a snapshot names {} entries as known, only {old_decided} are",
            snapshot.known
        );
        if compacted > old_decided {
            self.truncate(old_decided);
            let skip = (old_decided - snapshot.known) as usize;
            self.push(snapshot.tail.into_iter().skip(skip).collect());
        }
        self.compacted = compacted;
        self.dirty = true;
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

/// The log as the crate's storage. Cloned handles name the same log.
#[derive(Clone)]
pub(crate) struct SharedLog(Arc<Mutex<Log>>);

impl SharedLog {
    pub(crate) fn new(log: Log) -> SharedLog {
        SharedLog(Arc::new(Mutex::new(log)))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Log> {
        self.0.lock()
    }
}

impl Storage<Slot> for SharedLog {
    fn write_atomically(&mut self, ops: Vec<StorageOp<Slot>>) -> StorageResult<()> {
        let mut log = self.lock();
        let old_decided = log.decided();
        let (mut snapshot, mut compacted) = (None, log.compacted);
        for op in ops {
            match op {
                StorageOp::AppendEntry(entry) => log.push(vec![entry]),
                StorageOp::AppendEntries(entries) => log.push(entries),
                StorageOp::AppendOnPrefix(from, entries) => {
                    if let Some(snapshot) = snapshot.take() {
                        log.take_snapshot(snapshot, compacted, old_decided);
                    }
                    let (from, end) = (from as u64, log.end());
                    assert!(
                        from <= end,
                        "a log of {end} entries is extended from {from}"
                    );
                    log.truncate(from);
                    log.push(entries);
                }
                StorageOp::SetPromise(ballot) => {
                    log.meta.promise = Some(ballot);
                    log.dirty = true;
                }
                StorageOp::SetDecidedIndex(index) => {
                    log.meta.decided = index as u64;
                    log.dirty = true;
                }
                StorageOp::SetAcceptedRound(ballot) => {
                    log.meta.accepted_round = Some(ballot);
                    log.dirty = true;
                }
                StorageOp::SetCompactedIdx(index) => compacted = index as u64,
                // The crate announces with it what SetCompactedIdx and SetSnapshot do.
                StorageOp::Trim(_) => {}
                StorageOp::SetStopsign(stopsign) => refuse_stopsign(stopsign.is_some()),
                StorageOp::SetSnapshot(new) => snapshot = new,
            }
        }
        if let Some(snapshot) = snapshot {
            log.take_snapshot(snapshot, compacted, old_decided);
        }
        log.check_invariants();
        Ok(())
    }

    fn append_entry(&mut self, entry: Slot) -> StorageResult<()> {
        self.lock().push(vec![entry]);
        Ok(())
    }

    fn append_entries(&mut self, entries: Vec<Slot>) -> StorageResult<()> {
        self.lock().push(entries);
        Ok(())
    }

    fn append_on_prefix(&mut self, from: usize, entries: Vec<Slot>) -> StorageResult<()> {
        self.write_atomically(vec![StorageOp::AppendOnPrefix(from, entries)])
    }

    fn set_promise(&mut self, ballot: Ballot) -> StorageResult<()> {
        let mut log = self.lock();
        // The crate sets at its start what it has just read.
        if log.meta.promise.unwrap_or_default() != ballot {
            log.meta.promise = Some(ballot);
            log.dirty = true;
        }
        Ok(())
    }

    fn set_decided_idx(&mut self, index: usize) -> StorageResult<()> {
        // Goes to disk with the next write; a decided index that is lost is learnt again.
        self.lock().meta.decided = index as u64;
        Ok(())
    }

    fn get_decided_idx(&self) -> StorageResult<usize> {
        Ok(self.lock().decided() as usize)
    }

    fn set_accepted_round(&mut self, ballot: Ballot) -> StorageResult<()> {
        self.write_atomically(vec![StorageOp::SetAcceptedRound(ballot)])
    }

    fn get_accepted_round(&self) -> StorageResult<Option<Ballot>> {
        Ok(self.lock().meta.accepted_round)
    }

    /// Never beyond what this log knows to be decided: the crate asks for the entries up to a
    /// *new* decided index before they are here (`sync_log`, with a delta snapshot), and would lose
    /// those that lie between.
    fn get_entries(&self, from: usize, to: usize) -> StorageResult<Vec<Slot>> {
        let log = self.lock();
        if log.is_compacting {
            return Ok(Vec::new());
        }
        let decided = if planted::is_on(Planted::NoClamp) {
            log.end()
        } else {
            log.decided()
        };
        let (from, to) = (from as u64, (to as u64).min(decided));
        if from >= to {
            return Ok(Vec::new());
        }
        Ok(log.read(from..to).into_iter().map(Slot).collect())
    }

    fn get_log_len(&self) -> StorageResult<usize> {
        let log = self.lock();
        Ok((log.end() - log.compacted) as usize)
    }

    fn get_suffix(&self, from: usize) -> StorageResult<Vec<Slot>> {
        let log = self.lock();
        let (from, end) = (from as u64, log.end());
        if from >= end {
            return Ok(Vec::new());
        }
        Ok(log.read(from..end).into_iter().map(Slot).collect())
    }

    fn get_promise(&self) -> StorageResult<Option<Ballot>> {
        Ok(self.lock().meta.promise)
    }

    fn set_stopsign(&mut self, stopsign: Option<StopSign>) -> StorageResult<()> {
        refuse_stopsign(stopsign.is_some());
        Ok(())
    }

    fn get_stopsign(&self) -> StorageResult<Option<StopSign>> {
        Ok(None)
    }

    fn trim(&mut self, _: usize) -> StorageResult<()> {
        Ok(())
    }

    fn set_compacted_idx(&mut self, index: usize) -> StorageResult<()> {
        self.lock().compacted = index as u64;
        Ok(())
    }

    fn get_compacted_idx(&self) -> StorageResult<usize> {
        Ok(self.lock().compacted as usize)
    }

    fn set_snapshot(&mut self, snapshot: Option<Prefix>) -> StorageResult<()> {
        let mut log = self.lock();
        let (compacted, decided) = (log.compacted, log.decided());
        if let Some(snapshot) = snapshot {
            log.take_snapshot(snapshot, compacted, decided);
        }
        Ok(())
    }

    fn get_snapshot(&self) -> StorageResult<Option<Prefix>> {
        let log = self.lock();
        Ok((log.compacted > 0).then(|| Prefix {
            known: log.compacted,
            tail: Vec::new(),
        }))
    }
}

fn refuse_stopsign(is_there: bool) {
    assert!(
        !is_there,
        "a configuration ends with a Seal, not with a StopSign"
    );
}
