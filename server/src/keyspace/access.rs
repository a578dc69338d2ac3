//! The access clock of an entry: when, or how often, it was last used.
//!
//! Thirty-two bits an entry, in one of two readings. *Recency* (LRU policies, and the default):
//! seconds on the node's clock, for `OBJECT IDLETIME`. *Frequency* (LFU policies): sixteen bits of
//! minutes and eight bits of a logarithmic counter that decays with time, as Redis defines it, for
//! `OBJECT FREQ`. The clock feeds eviction only; it is no part of the replicated state, so nodes
//! may differ in it.

use std::cell::Cell;

use super::Entry;

/// The counter of a new key, so that it is not evicted before it had a chance to be used.
const LFU_INITIAL: u8 = 5;

/// How accesses are recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum AccessPolicy {
    /// Entries hold the second of their last access.
    #[default]
    Recency,
    /// Entries hold a decaying logarithmic count of accesses.
    Frequency {
        /// Accesses needed for an increment grow with this factor (`lfu-log-factor`).
        log_factor: u32,
        /// Minutes for the counter to lose one (`lfu-decay-time`); 0 never.
        decay_minutes: u32,
    },
}

/// The node's time and policy while a batch runs.
#[derive(Clone, Debug, Default)]
pub struct AccessClock {
    policy: AccessPolicy,
    now_s: u32,
    random: Cell<u64>,
}

impl AccessClock {
    /// A clock standing at `now_ms`; `random` begins the sequence that drives the probabilistic
    /// frequency counter and what reads choose at random, so it must differ from batch to batch.
    #[must_use]
    pub fn new(policy: AccessPolicy, now_ms: i64, random: u64) -> Self {
        // Wraps in 136 years; ages are computed with wrapping arithmetic.
        Self {
            policy,
            now_s: (now_ms / 1000) as u32,
            random: Cell::new(random),
        }
    }

    /// The access field of an entry that is created now.
    #[must_use]
    pub fn fresh(&self) -> u32 {
        match self.policy {
            AccessPolicy::Recency => self.now_s,
            AccessPolicy::Frequency { .. } => self.pack(LFU_INITIAL),
        }
    }

    /// The access field of an entry that was last used `idle_s` seconds ago, and so often, as far
    /// as the policy records either; of one created now if it does not.
    #[must_use]
    pub fn backdated(&self, idle_s: Option<u32>, frequency: Option<u8>) -> u32 {
        match (self.policy, idle_s, frequency) {
            (AccessPolicy::Recency, Some(idle_s), _) => self.now_s.wrapping_sub(idle_s),
            (AccessPolicy::Frequency { .. }, _, Some(count)) => self.pack(count),
            _ => self.fresh(),
        }
    }

    /// Records an access.
    pub fn touch(&self, entry: &Entry) {
        entry.set_access(match self.policy {
            AccessPolicy::Recency => self.now_s,
            AccessPolicy::Frequency { log_factor, .. } => {
                self.pack(self.count_up(self.frequency(entry), log_factor))
            }
        });
    }

    /// Seconds since the last access; meaningful under [`AccessPolicy::Recency`].
    #[must_use]
    pub fn idle_s(&self, entry: &Entry) -> u32 {
        // A clock that was set back must not turn into an age of a century.
        let age_s = self.now_s.wrapping_sub(entry.access());
        if age_s > u32::MAX / 2 { 0 } else { age_s }
    }

    /// The access count after decay; meaningful under [`AccessPolicy::Frequency`].
    #[must_use]
    pub fn frequency(&self, entry: &Entry) -> u8 {
        let AccessPolicy::Frequency { decay_minutes, .. } = self.policy else {
            return 0;
        };
        let access = entry.access();
        let minutes = (self.now_minutes().wrapping_sub(access >> 8)) & 0xffff;
        let periods = minutes.checked_div(decay_minutes).unwrap_or(0);
        (access as u8).saturating_sub(periods.min(255) as u8)
    }

    /// Whether frequencies are recorded.
    #[must_use]
    pub fn counts_frequency(&self) -> bool {
        matches!(self.policy, AccessPolicy::Frequency { .. })
    }

    /// The next number of the node's own random sequence, for reads only: it is no part of the
    /// replicated state. All bits of even the first number depend on all bits of the seed.
    #[must_use]
    pub fn random(&self) -> u64 {
        let state = self.random.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.random.set(state);
        // The finalizer of SplitMix64.
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn now_minutes(&self) -> u32 {
        (self.now_s / 60) & 0xffff
    }

    fn pack(&self, count: u8) -> u32 {
        self.now_minutes() << 8 | u32::from(count)
    }

    fn count_up(&self, count: u8, log_factor: u32) -> u8 {
        let above = u32::from(count.saturating_sub(LFU_INITIAL));
        let odds = u64::from(above) * u64::from(log_factor) + 1;
        if self.random().is_multiple_of(odds) {
            count.saturating_add(1)
        } else {
            count
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_number_is_random_even_if_seeds_are_neighbours() {
        let mut times = [0u32; 3];
        for seed in 0..3000 {
            let clock = AccessClock::new(AccessPolicy::default(), 0, seed);
            times[((u128::from(clock.random()) * 3) >> 64) as usize] += 1;
        }
        assert!(
            times.iter().all(|times| (850..1150).contains(times)),
            "{times:?}"
        );
    }
}
