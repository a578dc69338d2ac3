//! What a runtime thread counts. Written by that thread alone, with plain stores; added up by
//! whoever asks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::clients::bump;
use crate::commands;

/// Latency buckets: bucket `n` counts calls that took less than `2^(n+1)` microseconds.
const LATENCY_BUCKETS: usize = 32;

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

/// What is counted for a command, added up over all threads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommandTotals {
    /// See [`CommandStats::calls`].
    pub calls: u64,
    /// See [`CommandStats::nanos`].
    pub nanos: u64,
    /// See [`CommandStats::rejected`].
    pub rejected: u64,
    /// See [`CommandStats::failed`].
    pub failed: u64,
    /// See [`CommandStats::latency`].
    pub latency: [u64; LATENCY_BUCKETS],
}

impl CommandTotals {
    /// Adds up what all threads counted for a command.
    #[must_use]
    pub fn of(workers: &[Arc<WorkerStats>], command: usize) -> Self {
        let mut totals = Self::default();
        for stats in workers.iter().map(|worker| &worker.commands[command]) {
            totals.calls += stats.calls.load(Ordering::Relaxed);
            totals.nanos += stats.nanos.load(Ordering::Relaxed);
            totals.rejected += stats.rejected.load(Ordering::Relaxed);
            totals.failed += stats.failed.load(Ordering::Relaxed);
            for (total, count) in totals.latency.iter_mut().zip(&stats.latency) {
                *total += count.load(Ordering::Relaxed);
            }
        }
        totals
    }

    /// Whether the command was never so much as refused.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.calls == 0 && self.rejected == 0 && self.failed == 0
    }

    /// Calls that took less than so many microseconds, for each bound below which there are more
    /// calls than below the one before.
    pub fn histogram(&self) -> impl Iterator<Item = (u64, u64)> + Clone + '_ {
        let counted = self
            .latency
            .iter()
            .enumerate()
            .scan(0, |below, (bucket, &count)| {
                *below += count;
                Some((1u64 << (bucket + 1), *below, count))
            });
        counted
            .filter(|&(_, _, count)| count > 0)
            .map(|(bound_us, below, _)| (bound_us, below))
    }

    /// Microseconds below which this share (in percent) of the calls stayed; 0 without calls.
    #[must_use]
    pub fn percentile_us(&self, percent: f64) -> u64 {
        let calls: u64 = self.latency.iter().sum();
        let wanted = (calls as f64 * percent / 100.0).ceil().max(1.0) as u64;
        let mut reached = self
            .histogram()
            .filter(|&(_, below)| below >= wanted.min(calls));
        reached.next().map_or(0, |(bound_us, _)| bound_us)
    }
}

impl Default for WorkerStats {
    fn default() -> Self {
        Self {
            commands: (0..commands::count())
                .map(|_| CommandStats::default())
                .collect(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_add_up_over_threads() {
        let workers = [
            Arc::new(WorkerStats::default()),
            Arc::new(WorkerStats::default()),
        ];
        workers[0].ran(3, 2, 2_000);
        workers[1].ran(3, 1, 9_000);
        let totals = CommandTotals::of(&workers, 3);
        assert_eq!((totals.calls, totals.nanos), (3, 11_000));
        assert_eq!(totals.histogram().collect::<Vec<_>>(), [(2, 2), (16, 3)]);
        assert!(CommandTotals::of(&workers, 4).is_empty());
    }

    #[test]
    fn a_percentile_is_the_bound_that_so_many_calls_stayed_below() {
        let worker = WorkerStats::default();
        worker.ran(0, 99, 99 * 1_000);
        worker.ran(0, 1, 1_000_000);
        let totals = CommandTotals::of(&[Arc::new(worker)], 0);
        assert_eq!(totals.percentile_us(50.0), 2);
        assert_eq!(totals.percentile_us(99.0), 2);
        assert_eq!(totals.percentile_us(99.9), 1024);
        assert_eq!(totals.percentile_us(100.0), 1024);
        assert_eq!(CommandTotals::default().percentile_us(50.0), 0);
    }
}
