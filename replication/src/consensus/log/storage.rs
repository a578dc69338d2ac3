//! The log as the crate sees it.
//!
//! The crate owns its storage, while the replica has to look at it, too: hence [`SharedLog`]. The
//! crate's view differs from the log's in one thing: it believes that a snapshot replaces the
//! entries up to `compacted`, while they are all still there.

use std::sync::Arc;

use omnipaxos::ballot_leader_election::Ballot;
use omnipaxos::storage::{StopSign, Storage, StorageOp, StorageResult};
use parking_lot::{Mutex, MutexGuard};

use super::Log;
use crate::consensus::entry::{Prefix, Slot};
use crate::consensus::planted::{self, Planted};

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
