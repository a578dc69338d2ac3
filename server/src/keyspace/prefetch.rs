//! Bringing entries into the cache before they are looked up.
//!
//! In a large keyspace a look-up waits for memory. Whoever has many requests at hand asks for the
//! entries of the next [`LOOK_AHEAD`] of them first, so that they wait together. Nothing depends on
//! it but the time that look-ups take.

use super::Keyspace;

/// Of so many requests at once the entries are brought into the cache.
pub const LOOK_AHEAD: usize = 16;
/// Longer arguments are hardly keys, and hashing them twice costs more than it saves.
const KEY_MAX_BYTES: usize = 256;

impl Keyspace {
    /// Starts to bring the entry of `key` into the cache, see [`Table::prefetch`], unless it is too
    /// long for a key.
    ///
    /// [`Table::prefetch`]: super::Table::prefetch
    #[inline]
    pub fn prefetch(&self, database: usize, key: &[u8]) {
        if key.len() <= KEY_MAX_BYTES
            && let Some(table) = self.table_of(database, key)
        {
            table.prefetch(key);
        }
    }
}
