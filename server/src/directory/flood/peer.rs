//! [`Peer`]: what is under way between a directory and one linked other.

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;

use super::message::Message;
use super::{ANSWER_TIMEOUT_NS, PAGE_BYTES};

/// How many bytes of new records wait for one peer.
const QUEUE_BYTES_MAX: usize = 1 << 20;
/// How many messages other than new records wait for one peer; further ones are dropped.
const MESSAGES_MAX: usize = 64;

/// Half of how long a peer is first left alone from which nothing new came, in nanoseconds.
const REST_NS: u64 = 500_000_000;
/// How often this time is doubled, at most.
const REST_DOUBLINGS: u32 = 7;

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// The leaves that differ.
    Leaves,
    /// What is in some leaves.
    Pull,
    /// The next page of a scan.
    Scan,
}

/// Invariants: `queued_bytes` is the sum of `queue`'s lengths and at most [`QUEUE_BYTES_MAX`];
/// `messages.len() <= MESSAGES_MAX`.
#[derive(Debug, Default)]
pub(super) struct Peer {
    /// New records, to be sent.
    queue: VecDeque<Bytes>,
    queued_bytes: usize,
    /// Records had to be left out, which the peer must find by comparing.
    is_lagging: bool,
    messages: Vec<Bytes>,
    /// Leaves whose records are still to be asked for.
    to_pull: BTreeSet<u16>,
    /// What is waited for, and until when.
    work: Vec<(Work, u64)>,
    /// Something new came of what was asked for.
    has_progress: bool,
    /// How often in a row nothing new came of it, and until when nothing is asked for therefore.
    fruitless: u32,
    rests_until_ns: u64,
}

impl Peer {
    /// Queues a new record; whether there was room.
    pub(super) fn push(&mut self, record: Bytes) -> bool {
        if self.queued_bytes + record.len() > QUEUE_BYTES_MAX {
            self.is_lagging = true;
            return false;
        }
        self.queued_bytes += record.len();
        self.queue.push_back(record);
        true
    }

    pub(super) fn send(&mut self, message: Bytes) {
        if self.messages.len() < MESSAGES_MAX {
            self.messages.push(message);
        }
    }

    /// All that waits: new records in batches, then the rest.
    pub(super) fn take_messages(&mut self) -> Vec<Bytes> {
        let mut out = Vec::new();
        while !self.queue.is_empty() {
            let (mut batch, mut bytes) = (Vec::new(), 0);
            while bytes < PAGE_BYTES
                && let Some(record) = self.queue.pop_front()
            {
                bytes += record.len();
                batch.push(record);
            }
            out.push(Message::Records(batch).encode());
        }
        self.queued_bytes = 0;
        out.append(&mut self.messages);
        out
    }

    /// Whether records were left out since the last call.
    pub(super) fn take_lag(&mut self) -> bool {
        std::mem::take(&mut self.is_lagging)
    }

    pub(super) fn wait_for(&mut self, work: Work, now_ns: u64) {
        self.finish(work);
        self.work.push((work, now_ns + ANSWER_TIMEOUT_NS));
    }

    /// The answer has come; whether it was waited for.
    pub(super) fn finish(&mut self, work: Work) -> bool {
        let before = self.work.len();
        self.work.retain(|(waiting, _)| *waiting != work);
        self.work.len() < before
    }

    pub(super) fn is_waiting_for(&self, work: Work) -> bool {
        self.work.iter().any(|(waiting, _)| *waiting == work)
    }

    pub(super) fn is_working(&self) -> bool {
        !self.work.is_empty()
    }

    /// Stops waiting for what should have come.
    pub(super) fn give_up(&mut self, now_ns: u64) {
        let before = self.work.len();
        self.work.retain(|(_, deadline_ns)| now_ns < *deadline_ns);
        if self.work.len() < before {
            self.to_pull.clear();
        }
    }

    pub(super) fn add_pulls(&mut self, leaves: Vec<u16>, limit: usize) {
        for leaf in leaves {
            if self.to_pull.len() < limit {
                self.to_pull.insert(leaf);
            }
        }
    }

    /// The next leaves to ask for, which are forgotten.
    pub(super) fn next_pulls(&mut self, limit: usize) -> Vec<u16> {
        let mut next = Vec::new();
        while next.len() < limit
            && let Some(leaf) = self.to_pull.pop_first()
        {
            next.push(leaf);
        }
        next
    }

    pub(super) fn made_progress(&mut self) {
        self.has_progress = true;
    }

    /// Whether something new came since the last call. If not, the peer has what we do not believe,
    /// and is left alone for a while, longer each time.
    pub(super) fn take_progress(&mut self, now_ns: u64) -> bool {
        let has_progress = std::mem::take(&mut self.has_progress);
        self.fruitless = if has_progress {
            0
        } else {
            self.fruitless.saturating_add(1)
        };
        let rest_ns = REST_NS << self.fruitless.min(REST_DOUBLINGS);
        self.rests_until_ns = if has_progress { 0 } else { now_ns + rest_ns };
        has_progress
    }

    pub(super) fn is_resting(&self, now_ns: u64) -> bool {
        now_ns < self.rests_until_ns
    }
}
