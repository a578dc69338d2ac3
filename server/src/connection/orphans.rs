//! Waiters of clients that wait no longer: they have gone, or could not be told what became of
//! them.
//!
//! Each is given up in its group's log until it is gone; [`Orphan`] says when that is.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::join::all;
use super::waiting::ask_after;
use crate::group::Proposal;
use crate::routing::orphan::Orphan;
use crate::worker::Worker;

/// So many are given up at once.
const TOGETHER: usize = 64;
/// More are not remembered: the oldest are left to their group, which ends their waiting with this
/// life of the node.
const MAX_ORPHANS: usize = 1 << 16;

/// A waiter to be given up when its time has come.
struct Due {
    orphan: Orphan,
    not_before: Instant,
}

/// Those of a thread's clients.
///
/// Invariant: at most `MAX_ORPHANS`.
#[derive(Default)]
pub struct Orphans {
    waiting: RefCell<VecDeque<Due>>,
    added: Notify,
}

impl Orphans {
    pub(super) fn add(&self, orphan: Orphan) {
        self.add_for(orphan, Instant::now());
    }

    fn add_for(&self, orphan: Orphan, not_before: Instant) {
        let mut waiting = self.waiting.borrow_mut();
        if waiting.len() >= MAX_ORPHANS {
            waiting.pop_front();
        }
        waiting.push_back(Due { orphan, not_before });
        self.added.notify_one();
    }

    /// Some that are due.
    fn take(&self) -> Vec<Orphan> {
        let (now, mut due) = (Instant::now(), Vec::new());
        let mut waiting = self.waiting.borrow_mut();
        for _ in 0..waiting.len() {
            match waiting.pop_front() {
                Some(next) if next.not_before <= now && due.len() < TOGETHER => {
                    due.push(next.orphan);
                }
                Some(next) => waiting.push_back(next),
                None => break,
            }
        }
        due
    }

    fn next(&self) -> Option<Instant> {
        let waiting = self.waiting.borrow();
        waiting.iter().map(|next| next.not_before).min()
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
        let request_timeout = Duration::from_millis(timeout_ms);
        for (mut orphan, answered) in due.into_iter().zip(answers) {
            if let Some(rest) = orphan.rest(&answered.replies, request_timeout) {
                worker.orphans.add_for(orphan, Instant::now() + rest);
            }
        }
    }
}

/// Has a waiter removed: from where it waits as far as is known, and from where its key is.
async fn give_up(worker: &Rc<Worker>, orphan: &Orphan) -> Box<Proposal> {
    let words = orphan.words();
    let answered = ask_after(worker, &words, orphan.group()).await;
    match orphan.who_else(&answered.replies, &**worker) {
        Some(owner) => ask_after(worker, &words, owner).await,
        None => answered,
    }
}
