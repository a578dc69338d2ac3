//! Scripts that only read and take their time: a thread of the group runs them, one after the
//! other, under the read lock of the state.
//!
//! So neither a connection's thread nor the replica's stands still for them, and they can be ended
//! (`attendance`). Whoever gives a proposal here has made sure that this node's state is new
//! enough. The thread is started when there is something for it the first time.
//!
//! **How it fails.** Writes wait for the lock, as long as such a script runs. If the system has no
//! room for a thread, the client hears so.

use std::collections::VecDeque;
use std::sync::Arc;

use bailiwick_replication::GroupId;
use parking_lot::{Condvar, Mutex};

use super::answer::{fail, read_all, turn_away};
use super::clock::clock_ms;
use super::commit::deliver;
use super::proposal::Proposal;
use super::shared::Shared;
use crate::commands::{CommandError, attend};
use crate::threads;

/// What waits for the thread.
#[derive(Default)]
pub(super) struct Aside {
    inner: Mutex<Inner>,
    filled: Condvar,
}

#[derive(Default)]
struct Inner {
    waiting: VecDeque<Box<Proposal>>,
    has_thread: bool,
    is_closed: bool,
}

impl Aside {
    /// Lets the thread finish what it has.
    pub(super) fn close(&self) {
        self.inner.lock().is_closed = true;
        self.filled.notify_one();
    }

    /// Answers those that wait with an error.
    pub(super) fn turn_away(&self, error: &CommandError) {
        let waiting = std::mem::take(&mut self.inner.lock().waiting);
        turn_away(waiting.into(), error);
    }

    /// The next one; `None` once there will be none.
    fn take(&self) -> Option<Box<Proposal>> {
        let mut inner = self.inner.lock();
        loop {
            if let Some(proposal) = inner.waiting.pop_front() {
                return Some(proposal);
            }
            if inner.is_closed {
                return None;
            }
            self.filled.wait(&mut inner);
        }
    }
}

impl Shared {
    /// Has proposals run aside, which must be [plain reads](Proposal::is_plain_read).
    pub(super) fn read_aside(self: &Arc<Self>, group: GroupId, proposals: Vec<Box<Proposal>>) {
        if proposals.is_empty() {
            return;
        }
        let mut inner = self.aside.inner.lock();
        inner.waiting.extend(proposals);
        if inner.has_thread {
            drop(inner);
            self.aside.filled.notify_one();
            return;
        }
        inner.has_thread = true;
        drop(inner);
        let shared = self.clone();
        if let Err(error) = threads::spawn("scripts", move || shared.run_aside(group)) {
            tracing::error!(%error, "no thread for scripts that read");
            let mut inner = self.aside.inner.lock();
            inner.has_thread = false;
            let mut waiting: Vec<_> = std::mem::take(&mut inner.waiting).into();
            drop(inner);
            let error = CommandError::text("ERR the system has no room for another thread");
            waiting
                .iter_mut()
                .for_each(|proposal| fail(proposal, &error));
            deliver(&mut waiting);
        }
    }

    fn run_aside(self: Arc<Self>, group: GroupId) {
        attend(self.clone());
        while let Some(proposal) = self.aside.take() {
            let occupant = self.attendance.occupy();
            self.attendance.pass_gate();
            let mut answered = vec![proposal];
            read_all(&self, group, clock_ms(), &mut answered);
            drop(occupant);
            deliver(&mut answered);
        }
    }
}
