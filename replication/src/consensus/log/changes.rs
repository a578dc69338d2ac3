//! Changes of the log that are more than an append: what catching up, checkpoints, configurations
//! and the crate's snapshots do to it.
//!
//! Each leaves the invariants of [`Log`] intact and marks what has to be written; none writes.

use bytes::Bytes;

use super::Log;
use crate::consensus::Configuration;
use crate::consensus::entry::{Prefix, Slot};

impl Log {
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
    pub(crate) fn begin_configuration(&mut self, configuration: Configuration, applied: u64) {
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

    pub(super) fn truncate(&mut self, upto: u64) {
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

    pub(super) fn push(&mut self, entries: Vec<Slot>) {
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
    pub(super) fn take_snapshot(&mut self, snapshot: Prefix, compacted: u64, old_decided: u64) {
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
}
