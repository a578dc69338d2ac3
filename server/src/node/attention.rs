//! Rare conditions that every batch must notice, in one word that costs one load to look at.

use std::sync::atomic::{AtomicU32, Ordering};

/// A condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Condition {
    /// The keyspace is not loaded yet.
    Loading = 1,
    /// `CLIENT PAUSE` is in force.
    Paused = 2,
    /// Somebody monitors.
    Monitored = 4,
    /// The node shuts down.
    Closing = 8,
    /// A group runs a script that takes long.
    Scripted = 16,
}

/// The conditions that hold.
#[derive(Debug, Default)]
pub struct Attention(AtomicU32);

impl Attention {
    /// Whether anything needs attention.
    #[must_use]
    pub fn any(&self) -> bool {
        self.0.load(Ordering::Acquire) != 0
    }

    /// Whether this condition holds.
    #[must_use]
    pub fn has(&self, condition: Condition) -> bool {
        self.0.load(Ordering::Acquire) & condition as u32 != 0
    }

    /// Raises or clears a condition.
    pub fn set(&self, condition: Condition, holds: bool) {
        if holds {
            self.0.fetch_or(condition as u32, Ordering::AcqRel);
        } else {
            self.0.fetch_and(!(condition as u32), Ordering::AcqRel);
        }
    }
}
