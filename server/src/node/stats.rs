//! What a runtime thread counts. Written by that thread alone, with plain stores; added up by
//! whoever asks.

use std::sync::atomic::{AtomicU64, Ordering};

use super::clients::bump;
use crate::commands;

/// Latency buckets: bucket `n` counts calls that took less than `2^(n+1)` microseconds.
pub const LATENCY_BUCKETS: usize = 32;

/// What is counted for a command.
#[derive(Debug, Default)]
pub struct CommandStats {
    /// Times it ran.
    pub calls: AtomicU64,
    /// Time it took, without waiting for the disk. Runs of the same cheap command are timed
    /// together.
    pub nanos: AtomicU64,
    /// Times it was refused before it ran.
    pub rejected: AtomicU64,
    /// Times it ran and answered with an error.
    pub failed: AtomicU64,
    /// Calls by duration.
    pub latency: [AtomicU64; LATENCY_BUCKETS],
}

/// The counters of one runtime thread.
pub struct WorkerStats {
    /// By number of the command.
    pub commands: Box<[CommandStats]>,
    /// Requests processed.
    pub processed: AtomicU64,
    /// Bytes received.
    pub received_bytes: AtomicU64,
    /// Bytes sent.
    pub sent_bytes: AtomicU64,
}

impl Default for WorkerStats {
    fn default() -> Self {
        Self {
            commands: (0..commands::count()).map(|_| CommandStats::default()).collect(),
            processed: AtomicU64::new(0),
            received_bytes: AtomicU64::new(0),
            sent_bytes: AtomicU64::new(0),
        }
    }
}

impl WorkerStats {
    /// Counts `calls` runs of a command that took `nanos` together.
    pub fn ran(&self, command: usize, calls: u64, nanos: u64) {
        let stats = &self.commands[command];
        bump(&stats.calls, calls);
        bump(&stats.nanos, nanos);
        let micros = nanos / 1000 / calls.max(1);
        let bucket = (63 - (micros | 1).leading_zeros() as usize).min(LATENCY_BUCKETS - 1);
        bump(&stats.latency[bucket], calls);
    }

    /// Forgets everything. Counts made at the same moment may survive.
    pub fn reset(&self) {
        let zero = |counter: &AtomicU64| counter.store(0, Ordering::Relaxed);
        for stats in &self.commands {
            for counter in [&stats.calls, &stats.nanos, &stats.rejected, &stats.failed] {
                zero(counter);
            }
            stats.latency.iter().for_each(zero);
        }
        for counter in [&self.processed, &self.received_bytes, &self.sent_bytes] {
            zero(counter);
        }
    }
}
