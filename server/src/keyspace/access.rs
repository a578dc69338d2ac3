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
    random: Cell<u32>,
}

impl AccessClock {
    /// A clock standing at `now_ms`; `random` drives the probabilistic frequency counter.
    #[must_use]
    pub fn new(policy: AccessPolicy, now_ms: i64, random: u32) -> Self {
        // Wraps in 136 years; ages are computed with wrapping arithmetic.
        Self {
            policy,
            now_s: (now_ms / 1000) as u32,
            random: Cell::new(random | 1),
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
    /// replicated state.
    #[must_use]
    pub fn random(&self) -> u64 {
        (u64::from(self.step()) << 32) | u64::from(self.step())
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
        let random = self.step();
        if u64::from(random).is_multiple_of(odds) {
            count.saturating_add(1)
        } else {
            count
        }
    }

    /// One step of xorshift; the quality of the coin matters little here.
    fn step(&self) -> u32 {
        // Zero, which the default clock starts from, would stay zero.
        let mut random = self.random.get().max(1);
        random ^= random << 13;
        random ^= random >> 17;
        random ^= random << 5;
        self.random.set(random);
        random
    }
}
