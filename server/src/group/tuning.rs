//! The settings that a group obeys; all may change while it runs.

use std::time::Duration;

use crate::keyspace::AccessPolicy;

/// When the log is forced to disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Fsync {
    /// Before a write is acknowledged.
    #[default]
    Always,
    /// Every second.
    Interval,
    /// When the system sees fit.
    Never,
}

/// Which key goes when memory is short.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Eviction {
    /// None; writes that need memory are refused.
    #[default]
    None,
    /// The least recently used, of all keys or of those with an expiry.
    LeastRecent {
        /// Only keys with an expiry.
        volatile: bool,
    },
    /// The least frequently used.
    LeastFrequent {
        /// Only keys with an expiry.
        volatile: bool,
    },
    /// Any.
    Random {
        /// Only keys with an expiry.
        volatile: bool,
    },
    /// The one that expires first.
    NearestExpiry,
}

/// A group's settings.
#[derive(Clone, Debug)]
pub struct Tuning {
    /// When the log is forced to disk.
    pub fsync: Fsync,
    /// Bytes of memory for the keyspace; 0 for no limit.
    pub max_memory_bytes: u64,
    /// What gives way when it is reached.
    pub eviction: Eviction,
    /// Keys looked at for each that is evicted.
    pub eviction_samples: usize,
    /// How accesses are recorded.
    pub access: AccessPolicy,
    /// A checkpoint is started when the log has grown by so many bytes since the last one.
    pub checkpoint_log_bytes: u64,
    /// From so many milliseconds of a script on, others are told that the group is busy.
    pub busy_ms: u64,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            fsync: Fsync::Always,
            max_memory_bytes: 0,
            eviction: Eviction::None,
            eviction_samples: 5,
            access: AccessPolicy::Recency,
            checkpoint_log_bytes: 256 << 20,
            busy_ms: 5000,
        }
    }
}

/// How often the log is synced under [`Fsync::Interval`].
pub const SYNC_INTERVAL: Duration = Duration::from_secs(1);
