//! What WATCH relies on: every write stamps the entry with the next value of a counter that
//! is part of the replicated state. [`Keyspace::watch_state`] of a key that is present is that
//! stamp; of an absent key it is the counter's value at the last *creation* of any key in the same
//! one of [`CREATION_SLOTS`] slots. If the state of a key is the same twice, nothing has written
//! the key in between. The converse does not hold for absent keys: creating another key of the slot
//! looks like a change, which costs a needless retry once in several thousand creations.

use super::{Keyspace, Stamp};

/// Slots for the creation counter; 16 KiB for the whole keyspace.
pub const CREATION_SLOTS: usize = 4096;

/// What WATCH remembers of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchState(pub u64);

impl WatchState {
    /// Unlike any that a keyspace gives.
    pub const CHANGED: Self = Self(u64::MAX);
}

impl Keyspace {
    /// What WATCH remembers of `key`: equal states mean that nothing wrote the key in between.
    #[must_use]
    pub fn watch_state(&self, database: usize, key: &[u8], now_ms: i64) -> WatchState {
        WatchState(match self.get(database, key, now_ms) {
            Some(entry) => 1 << 32 | u64::from(entry.version()),
            None => u64::from(self.creations[self.creation_slot(database, key)]),
        })
    }

    /// The counters that a checkpoint must carry so that WATCH decides alike on every replica.
    #[must_use]
    pub fn watch_counters(&self) -> (u32, &[u32]) {
        (self.version, &self.creations)
    }

    /// Restores what [`Keyspace::watch_counters`] gave; false if it does not fit this version.
    #[must_use]
    pub fn restore_watch_counters(&mut self, version: u32, creations: &[u32]) -> bool {
        if creations.len() != CREATION_SLOTS {
            return false;
        }
        self.version = version;
        self.creations.copy_from_slice(creations);
        true
    }

    /// Lets WATCH take every absent key for changed.
    pub fn forget_absences(&mut self) {
        let version = self.stamp(0).version;
        if let Some(undo) = &mut self.undo {
            undo.note_absences(&self.creations);
        }
        self.creations.fill(version);
    }

    /// What marks the next write.
    pub(super) fn stamp(&mut self, access: u32) -> Stamp {
        self.version = self.version.wrapping_add(1);
        Stamp {
            version: self.version,
            access,
        }
    }

    /// A key that was absent has been created by the write of this version.
    pub(super) fn note_creation(&mut self, database: usize, key: &[u8], version: u32) {
        let slot = self.creation_slot(database, key);
        let before = std::mem::replace(&mut self.creations[slot], version);
        if let Some(undo) = &mut self.undo {
            undo.note_creation(slot, before);
        }
    }

    fn creation_slot(&self, database: usize, key: &[u8]) -> usize {
        let hash = self.hash(key).0;
        (hash as usize).wrapping_add(database.wrapping_mul(257)) % CREATION_SLOTS
    }
}
