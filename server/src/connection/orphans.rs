//! Waiters of clients that wait no longer: they have gone, or could not be told what became of
//! them.
//!
//! Each is given up in its group's log, again and again until the group has answered. One that is
//! not found may still be on its way there, behind a message that was lost; so it is given up once
//! more when nothing of that time can be on its way.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use bailiwick_replication::GroupId;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::join::all;
use super::waiting::{give_up, is_unanswered};
use crate::commands::Unblocked;
use crate::state::WaiterId;
use crate::worker::Worker;

/// So many are given up at once.
const TOGETHER: usize = 64;
/// More are not remembered: the oldest are left to their group, which ends their waiting with this
/// life of the node.
const MAX_ORPHANS: usize = 1 << 16;
/// After so long a group is asked again that did not answer.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// A waiter to be given up.
pub(super) struct Orphan {
    pub(super) id: WaiterId,
    /// Where it was seen last.
    pub(super) group: GroupId,
    /// By which the group is found where else it may be.
    pub(super) key: Vec<u8>,
    not_before: Instant,
    /// It was not found once.
    was_missed: bool,
}

impl Orphan {
    /// To be given up at once.
    pub(super) fn new(id: WaiterId, group: GroupId, key: Vec<u8>) -> Self {
        Self {
            id,
            group,
            key,
            not_before: Instant::now(),
            was_missed: false,
        }
    }
}

/// Those of a thread's clients.
///
/// Invariant: at most `MAX_ORPHANS`.
#[derive(Default)]
pub struct Orphans {
    waiting: RefCell<VecDeque<Orphan>>,
    added: Notify,
}

impl Orphans {
    pub(super) fn add(&self, orphan: Orphan) {
        let mut waiting = self.waiting.borrow_mut();
        if waiting.len() >= MAX_ORPHANS {
            waiting.pop_front();
        }
        waiting.push_back(orphan);
        self.added.notify_one();
    }

    /// Some that are due.
    fn take(&self) -> Vec<Orphan> {
        let (now, mut due) = (Instant::now(), Vec::new());
        let mut waiting = self.waiting.borrow_mut();
        for _ in 0..waiting.len() {
            match waiting.pop_front() {
                Some(orphan) if orphan.not_before <= now && due.len() < TOGETHER => {
                    due.push(orphan);
                }
                Some(orphan) => waiting.push_back(orphan),
                None => break,
            }
        }
        due
    }

    fn next(&self) -> Option<Instant> {
        let waiting = self.waiting.borrow();
        waiting.iter().map(|orphan| orphan.not_before).min()
    }
}

/// Gives up what a thread's connections leave behind.
pub async fn run_orphans(worker: Rc<Worker>) {
    loop {
        let due = worker.orphans.take();
        if due.is_empty() {
            let added = worker.orphans.added.notified();
            match worker.orphans.next() {
                None => added.await,
                Some(at) => tokio::select! {
                    () = added => {}
                    () = tokio::time::sleep_until(at) => {}
                },
            }
            continue;
        }
        let answers = all(due.iter().map(|orphan| give_up(&worker, orphan))).await;
        let timeout_ms = worker.node.settings.load().request_timeout_ms;
        for (mut orphan, answered) in due.into_iter().zip(answers) {
            if is_unanswered(&answered.replies) {
                orphan.not_before = Instant::now() + ASK_AGAIN;
            } else if Unblocked::of_reply(&answered.replies) == Unblocked::Gone
                && !orphan.was_missed
            {
                orphan.was_missed = true;
                let margin = Duration::from_millis(2 * timeout_ms);
                orphan.not_before = Instant::now() + margin;
            } else {
                continue;
            }
            worker.orphans.add(orphan);
        }
    }
}
