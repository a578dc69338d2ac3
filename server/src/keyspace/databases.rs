//! All logical databases of a group, and the counters that WATCH relies on.
//!
//! **WATCH without a registry.** Every write stamps the entry with the next value of a counter that
//! is part of the replicated state. [`Keyspace::watch_state`] of a key that is present is that
//! stamp; of an absent key it is the counter's value at the last *creation* of any key in the same
//! one of [`CREATION_SLOTS`] slots. If the state of a key is the same twice, nothing has written the
//! key in between. The converse does not hold for absent keys: creating another key of the slot
//! looks like a change, which costs a needless retry once in several thousand creations.

use super::{Entry, Expiry, NewValue, Object, Stamp, Table};

/// Slots for the creation counter; 16 KiB for the whole keyspace.
const CREATION_SLOTS: usize = 4096;

/// What WATCH remembers of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchState(pub u64);

/// The logical databases of a group.
pub struct Keyspace {
    seed: u64,
    tables: Vec<Table>,
    /// Counts writes; wraps around.
    version: u32,
    creations: Box<[u32]>,
    /// Tables that were cleared, to be dropped by somebody who has time for it.
    garbage: Vec<Table>,
}

impl Keyspace {
    /// An empty keyspace of `databases` databases, hashed under `seed`.
    #[must_use]
    pub fn new(databases: usize, seed: u64) -> Self {
        Self {
            seed,
            tables: (0..databases).map(|_| Table::new(seed)).collect(),
            version: 0,
            creations: vec![0; CREATION_SLOTS].into(),
            garbage: Vec::new(),
        }
    }

    /// The hash seed of all tables.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Number of databases.
    #[must_use]
    pub fn databases(&self) -> usize {
        self.tables.len()
    }

    /// One database. Panics if there is none of this number.
    #[must_use]
    pub fn table(&self, database: usize) -> &Table {
        &self.tables[database]
    }

    /// All databases in order.
    pub fn tables(&self) -> impl ExactSizeIterator<Item = &Table> {
        self.tables.iter()
    }

    /// Number of keys in all databases.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tables.iter().map(Table::len).sum()
    }

    /// Whether no database has a key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tables.iter().all(Table::is_empty)
    }

    /// Bytes of memory in all databases.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.tables.iter().map(Table::memory_bytes).sum()
    }

    /// The entry of `key` unless it has expired at `now_ms`.
    #[must_use]
    pub fn get(&self, database: usize, key: &[u8], now_ms: i64) -> Option<&Entry> {
        self.tables[database]
            .get(key)
            .filter(|entry| !entry.is_expired(now_ms))
    }

    /// Starts to bring the entry of `key` into the cache, see [`Table::prefetch`].
    pub fn prefetch(&self, database: usize, key: &[u8]) {
        self.tables[database].prefetch(key);
    }

    /// Sets `key`, replacing what is there.
    pub fn set(
        &mut self,
        database: usize,
        key: &[u8],
        value: NewValue<'_>,
        expiry: Expiry,
        access: u32,
    ) {
        let stamp = self.stamp(access);
        if self.tables[database].set(key, value, expiry, stamp) {
            self.note_creation(database, key, stamp.version);
        }
    }

    /// Changes the expiry of `key`; false if the key is not there.
    pub fn set_expiry(&mut self, database: usize, key: &[u8], at_ms: Option<i64>) -> bool {
        let access = self.tables[database].get(key).map_or(0, Entry::access);
        let stamp = self.stamp(access);
        self.tables[database].set_expiry(key, at_ms, stamp)
    }

    /// Edits the object of `key` in place; `None` if the key is absent or its value is inline.
    pub fn edit<R>(
        &mut self,
        database: usize,
        key: &[u8],
        access: u32,
        change: impl FnOnce(&mut Object) -> R,
    ) -> Option<R> {
        let stamp = self.stamp(access);
        self.tables[database].edit(key, stamp, change)
    }

    /// Takes `key` out, expired or not.
    pub fn remove(&mut self, database: usize, key: &[u8]) -> Option<Entry> {
        self.tables[database].remove(key)
    }

    /// Puts an entry under another key or into another database, replacing what is there.
    pub fn put(&mut self, database: usize, key: &[u8], entry: &Entry, access: u32) {
        let expiry = entry.expires_at_ms().map_or(Expiry::None, Expiry::At);
        self.set(database, key, NewValue::Same(entry), expiry, access);
    }

    /// Removes up to `limit` keys that expired before `now_ms`; returns how many.
    pub fn remove_expired(&mut self, now_ms: i64, limit: usize) -> usize {
        let mut removed = 0;
        for table in &mut self.tables {
            removed += table.remove_expired(now_ms, limit - removed);
        }
        removed
    }

    /// When the next key expires.
    #[must_use]
    pub fn next_expiry_ms(&self) -> Option<i64> {
        self.tables.iter().filter_map(Table::next_expiry_ms).min()
    }

    /// When the next key of a database expires.
    #[must_use]
    pub fn next_expiry_ms_of(&self, database: usize) -> Option<i64> {
        self.tables[database].next_expiry_ms()
    }

    /// Takes `key` out if it has expired; false if it has not, or is absent.
    pub fn remove_if_expired(&mut self, database: usize, key: &[u8], now_ms: i64) -> bool {
        let table = &mut self.tables[database];
        let expired = table.get(key).is_some_and(|entry| entry.is_expired(now_ms));
        expired && table.remove(key).is_some()
    }

    /// Removes all keys of a database.
    pub fn clear(&mut self, database: usize) {
        let empty = Table::new(self.seed);
        self.garbage
            .push(std::mem::replace(&mut self.tables[database], empty));
    }

    /// Exchanges two databases.
    pub fn swap(&mut self, first: usize, second: usize) {
        self.tables.swap(first, second);
        // What was absent here may have come and gone there.
        let version = self.stamp(0).version;
        self.creations.fill(version);
    }

    /// Hands over cleared tables, whose release may take long.
    pub fn take_garbage(&mut self) -> Vec<Table> {
        std::mem::take(&mut self.garbage)
    }

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

    /// Restores an entry from a checkpoint, with the version it had.
    pub fn restore(
        &mut self,
        database: usize,
        key: &[u8],
        value: NewValue<'_>,
        expiry: Expiry,
        stamp: Stamp,
    ) {
        self.tables[database].set(key, value, expiry, stamp);
    }

    fn stamp(&mut self, access: u32) -> Stamp {
        self.version = self.version.wrapping_add(1);
        Stamp {
            version: self.version,
            access,
        }
    }

    fn note_creation(&mut self, database: usize, key: &[u8], version: u32) {
        let slot = self.creation_slot(database, key);
        self.creations[slot] = version;
    }

    fn creation_slot(&self, database: usize, key: &[u8]) -> usize {
        let hash = self.tables[database].hash(key).0;
        (hash as usize).wrapping_add(database.wrapping_mul(257)) % CREATION_SLOTS
    }
}
