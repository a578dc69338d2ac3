//! What is to be told of the jobs that run on this node.

use std::time::Instant;

use bailiwick_replication::GroupId;
use parking_lot::Mutex;

/// A job that runs.
#[derive(Debug)]
pub struct Progress {
    /// The group for which it runs.
    pub group: GroupId,
    /// The prefix that changes hands.
    pub prefix: Vec<u8>,
    /// Since when.
    pub since: Instant,
    now: Mutex<Sample>,
}

/// How far a job is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// A word for people.
    pub phase: &'static str,
    /// Keys that were sent and are still there.
    pub keys: u64,
    /// Bytes sent.
    pub bytes: u64,
}

impl Progress {
    /// Of a job that begins.
    #[must_use]
    pub fn new(group: GroupId, prefix: &[u8]) -> Self {
        Self {
            group,
            prefix: prefix.to_vec(),
            since: Instant::now(),
            now: Mutex::default(),
        }
    }

    /// How far it is.
    #[must_use]
    pub fn sample(&self) -> Sample {
        *self.now.lock()
    }

    /// It is so far now.
    pub fn note(&self, sample: Sample) {
        *self.now.lock() = sample;
    }
}
