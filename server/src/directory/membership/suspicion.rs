//! [`Suspicion`]: how unusual a node's silence is, by the times between its heartbeats so far.
//!
//! The level is the time since the last heartbeat over the usual time between two, which is what
//! phi is if those times are distributed exponentially, but for a factor: 8 means that the node has
//! been silent for eight times as long as usual. A few imagined long times come before the first
//! real ones, so that nobody is suspected for starting slowly.

use std::collections::VecDeque;

/// Over how many intervals the usual one is found.
const WINDOW: usize = 256;
/// How long the imagined intervals are, in rounds of gossip, and how many there are.
const FIRST_ROUNDS: u64 = 4;
const FIRST_INTERVALS: u64 = 5;
/// Longer intervals, in rounds, are not usual ones.
const LONGEST_ROUNDS: u64 = 20;

/// When a node's heartbeats came. Invariant: `sum_ns` is the sum of `intervals_ns`, of which there
/// are at most [`WINDOW`].
#[derive(Clone, Debug)]
pub(super) struct Suspicion {
    round_ns: u64,
    last_ns: u64,
    has_beaten: bool,
    intervals_ns: VecDeque<u64>,
    sum_ns: u64,
}

impl Suspicion {
    /// Of a node that was heard of just now. `round_ns` is the time between two rounds.
    pub(super) fn new(round_ns: u64, now_ns: u64) -> Self {
        let intervals_ns = VecDeque::new();
        Self {
            round_ns,
            last_ns: now_ns,
            has_beaten: false,
            intervals_ns,
            sum_ns: 0,
        }
    }

    /// Another heartbeat.
    pub(super) fn heard(&mut self, now_ns: u64) {
        let interval_ns = self.silent_ns(now_ns);
        // The first is that since we heard of the node, not since its heartbeat before.
        if self.has_beaten && interval_ns <= LONGEST_ROUNDS * self.round_ns {
            if self.intervals_ns.len() == WINDOW {
                self.sum_ns -= self.intervals_ns.pop_front().unwrap_or(0);
            }
            self.intervals_ns.push_back(interval_ns);
            self.sum_ns += interval_ns;
        }
        self.has_beaten = true;
        self.last_ns = now_ns;
    }

    /// Whether a heartbeat came since the node was heard of.
    pub(super) fn has_beaten(&self) -> bool {
        self.has_beaten
    }

    /// How suspicious the silence is.
    pub(super) fn level(&self, now_ns: u64) -> f64 {
        let sum_ns = self.sum_ns + FIRST_INTERVALS * FIRST_ROUNDS * self.round_ns;
        let usual_ns = sum_ns / (self.intervals_ns.len() as u64 + FIRST_INTERVALS);
        self.silent_ns(now_ns) as f64 / usual_ns.max(1) as f64
    }

    /// How long it has lasted, in nanoseconds.
    pub(super) fn silent_ns(&self, now_ns: u64) -> u64 {
        now_ns.saturating_sub(self.last_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUND: u64 = 500_000_000;

    fn after(rounds: u64) -> (Suspicion, u64) {
        let mut suspicion = Suspicion::new(ROUND, 0);
        (1..=rounds).for_each(|round| suspicion.heard(round * ROUND));
        (suspicion, rounds * ROUND)
    }

    #[test]
    fn suspicion_grows_with_silence_and_ends_with_it() {
        let (mut suspicion, now) = after(500);
        let levels = [0, 1, 4, 10].map(|rounds| suspicion.level(now + ROUND * rounds));
        assert!(levels.is_sorted_by(|a, b| a < b));
        assert_eq!(levels[0], 0.0);
        assert!(levels[1] < 1.5 && levels[3] > 8.0, "{levels:?}");
        let later = now + ROUND * 10;
        suspicion.heard(later);
        assert_eq!(suspicion.level(later), 0.0);
    }

    #[test]
    fn a_newcomer_has_more_time() {
        let (newcomer, now) = after(2);
        let (veteran, later) = after(500);
        assert!(newcomer.level(now + ROUND * 4) < veteran.level(later + ROUND * 4) / 2.0);
    }

    #[test]
    fn a_long_pause_does_not_make_later_silence_usual() {
        let (mut paused, now) = after(100);
        let now = now + ROUND * 1000;
        paused.heard(now);
        let (steady, later) = after(100);
        assert_eq!(
            paused.level(now + ROUND * 5),
            steady.level(later + ROUND * 5)
        );
    }

    #[test]
    fn who_was_only_heard_of_has_not_beaten() {
        let mut suspicion = Suspicion::new(ROUND, 7);
        assert!(!suspicion.has_beaten());
        suspicion.heard(ROUND);
        assert!(suspicion.has_beaten());
    }
}
