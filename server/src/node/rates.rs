//! What happens per second: differences between samples of counters that only grow.
//!
//! Whoever has a timer pushes samples; whoever asks gets the mean over those that are kept, by the
//! time that really passed between them. So a sample that comes late does no harm.

use std::collections::VecDeque;
use std::time::Instant;

/// Samples kept. Taken ten times a second, they cover a second and a half, like Redis's.
const SAMPLES: usize = 16;

/// The counters at one moment, added up over all threads.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// When it was taken.
    pub at: Instant,
    /// Requests processed.
    pub requests: u64,
    /// Bytes received.
    pub received_bytes: u64,
    /// Bytes sent.
    pub sent_bytes: u64,
}

/// Mean rates over the last samples, each for one second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rate {
    /// Requests processed.
    pub requests: f64,
    /// Bytes received.
    pub received_bytes: f64,
    /// Bytes sent.
    pub sent_bytes: f64,
}

/// The latest samples, oldest first.
///
/// Invariant: `samples.len() <= SAMPLES`.
#[derive(Debug, Default)]
pub struct Rates {
    samples: VecDeque<Sample>,
}

impl Rates {
    /// Keeps a sample, letting go of the oldest.
    pub fn push(&mut self, sample: Sample) {
        if self.samples.len() == SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
    }

    /// Forgets all samples, as `CONFIG RESETSTAT` does.
    pub fn reset(&mut self) {
        self.samples.clear();
    }

    /// The mean rates; zero as long as there are no two samples.
    #[must_use]
    pub fn mean(&self) -> Rate {
        let (Some(first), Some(last)) = (self.samples.front(), self.samples.back()) else {
            return Rate::default();
        };
        let seconds = last.at.duration_since(first.at).as_secs_f64();
        if seconds == 0.0 {
            return Rate::default();
        }
        // Counters fall only when they are reset in between.
        let rate = |first: u64, last: u64| last.saturating_sub(first) as f64 / seconds;
        Rate {
            requests: rate(first.requests, last.requests),
            received_bytes: rate(first.received_bytes, last.received_bytes),
            sent_bytes: rate(first.sent_bytes, last.sent_bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn sample(start: Instant, ms: u64, requests: u64) -> Sample {
        Sample {
            at: start + Duration::from_millis(ms),
            requests,
            received_bytes: requests * 2,
            sent_bytes: requests * 3,
        }
    }

    #[test]
    fn a_rate_counts_the_time_that_really_passed() {
        let (start, mut rates) = (Instant::now(), Rates::default());
        assert_eq!(rates.mean(), Rate::default());
        rates.push(sample(start, 0, 100));
        assert_eq!(rates.mean(), Rate::default());
        rates.push(sample(start, 500, 600));
        let mean = rates.mean();
        assert_eq!(
            (mean.requests, mean.received_bytes, mean.sent_bytes),
            (1000.0, 2000.0, 3000.0)
        );
    }

    #[test]
    fn what_is_long_past_is_forgotten() {
        let (start, mut rates) = (Instant::now(), Rates::default());
        rates.push(sample(start, 0, 0));
        for step in 0..SAMPLES as u64 {
            rates.push(sample(start, 1000 + step * 100, 1_000_000));
        }
        assert_eq!(rates.mean().requests, 0.0);
    }

    #[test]
    fn a_reset_of_the_counters_is_no_negative_rate() {
        let (start, mut rates) = (Instant::now(), Rates::default());
        rates.push(sample(start, 0, 50));
        rates.push(sample(start, 100, 1));
        assert_eq!(rates.mean().requests, 0.0);
    }
}
