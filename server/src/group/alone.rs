//! A group of one: what its commit thread works with.
//!
//! With `fsync always` commits run on the group's own thread, so that connections are served while
//! the disk works and whatever arrives meanwhile shares the next sync (group commit). Otherwise an
//! append is a copy into the page cache, and the connection thread commits by itself: handing over
//! would cost more than the work. Scripts run on the group's thread in any case, as one may take
//! long, and whatever comes meanwhile is left to that thread, too, so that a connection's thread
//! never waits for a script.
//!
//! Invariant: under the committer's lock, `state.applied == replica.applied()`; an entry is applied
//! after it is in the log, and answered after it is applied.

use bailiwick_replication::ConfigurationId;
use parking_lot::{Condvar, Mutex};

use super::Proposal;
use super::commit::Committer;

/// The log's order, and what waits for it.
pub(super) struct Alone {
    pub(super) configuration: ConfigurationId,
    pub(super) committer: Mutex<Committer>,
    pub(super) queue: Queue,
}

/// Proposals on their way to the commit thread.
#[derive(Default)]
pub(super) struct Queue {
    inner: Mutex<QueueInner>,
    filled: Condvar,
}

#[derive(Default)]
struct QueueInner {
    waiting: Vec<Box<Proposal>>,
    closed: bool,
}

impl Queue {
    pub(super) fn submit(&self, proposals: &mut Vec<Box<Proposal>>) {
        let mut inner = self.inner.lock();
        let was_empty = inner.waiting.is_empty();
        inner.waiting.append(proposals);
        drop(inner);
        if was_empty {
            self.filled.notify_one();
        }
    }

    /// Takes those that can be turned away.
    pub(super) fn take_turned_away(&self) -> Vec<Box<Proposal>> {
        let mut inner = self.inner.lock();
        let waiting = &mut inner.waiting;
        waiting
            .extract_if(.., |proposal| proposal.may_be_turned_away())
            .collect()
    }

    pub(super) fn close(&self) {
        self.inner.lock().closed = true;
        self.filled.notify_all();
    }

    /// Waits for proposals and takes all; false once there will be none.
    pub(super) fn take(&self, proposals: &mut Vec<Box<Proposal>>) -> bool {
        let mut inner = self.inner.lock();
        while inner.waiting.is_empty() {
            if inner.closed {
                return false;
            }
            self.filled.wait(&mut inner);
        }
        std::mem::swap(&mut inner.waiting, proposals);
        true
    }
}
