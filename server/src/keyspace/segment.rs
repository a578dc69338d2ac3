//! A small hash table that holds the entries of one range of hashes.
//!
//! A [`Table`](super::Table) is made of segments. A segment never holds more than
//! [`SEGMENT_MAX_ENTRIES`]; when it is full its table splits it in two, so growth never moves more
//! than that many pointers at once. Segments stand behind `Arc`: a checkpoint keeps clones of the
//! `Arc`s, and a writer that finds a segment shared copies it first (pointers only, the entries
//! themselves stay shared).

use hashbrown::HashTable;

use super::entry::Entry;

/// A full segment is split. 224 is what 256 buckets hold at hashbrown's load factor of 7/8, and
/// half of it is exactly what 128 buckets hold, so both halves of a split start densely packed.
pub const SEGMENT_MAX_ENTRIES: usize = 224;

/// The 64-bit hash of a key under its table's seed. Its highest bits choose the segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyHash(pub u64);

impl KeyHash {
    /// The hash of `key` under `seed` (XXH3, 64 bits).
    #[must_use]
    pub fn of(key: &[u8], seed: u64) -> Self {
        Self(xxhash_rust::xxh3::xxh3_64_with_seed(key, seed))
    }

    /// hashbrown takes its control byte from the top bits, which are equal throughout a segment;
    /// the middle bits take their place.
    fn inner(self) -> u64 {
        self.0.rotate_left(32)
    }
}

/// The entries whose hashes begin with one prefix of `depth` bits.
#[derive(Clone)]
pub struct Segment {
    depth: u8,
    entries: HashTable<Entry>,
}

impl Segment {
    /// An empty segment for hashes that share their first `depth` bits.
    #[must_use]
    pub fn new(depth: u8) -> Self {
        Self {
            depth,
            entries: HashTable::new(),
        }
    }

    /// How many leading bits the hashes in this segment share.
    #[must_use]
    pub fn depth(&self) -> u8 {
        self.depth
    }

    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether the next insertion needs a split first.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.entries.len() >= SEGMENT_MAX_ENTRIES
    }

    /// Bytes of memory of the segment itself, without its entries.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        2 * size_of::<usize>() + size_of::<Self>() + self.entries.allocation_size()
    }

    /// The entry of `key`.
    #[must_use]
    pub fn get(&self, hash: KeyHash, key: &[u8]) -> Option<&Entry> {
        self.entries.find(hash.inner(), |entry| entry.key() == key)
    }

    /// Starts to bring the likely entry of this hash into the cache.
    pub fn prefetch(&self, hash: KeyHash) {
        if let Some(entry) = self.entries.iter_hash(hash.inner()).next() {
            entry.prefetch();
        }
    }

    /// Starts to bring the headers of all entries into the cache. Whoever is about to touch them
    /// one by one (to copy, to hash, to write out) then waits for memory about once instead of once
    /// an entry; atomic counts in particular would not overlap by themselves.
    pub fn prefetch_all(&self) {
        for entry in &self.entries {
            entry.prefetch_header();
        }
    }

    /// The entry of `key`, for editing.
    pub fn get_mut(&mut self, hash: KeyHash, key: &[u8]) -> Option<&mut Entry> {
        self.entries
            .find_mut(hash.inner(), |entry| entry.key() == key)
    }

    /// Adds an entry whose key is not there yet. `seed` is the table's.
    pub fn insert_new(&mut self, hash: KeyHash, entry: Entry, seed: u64) {
        debug_assert!(self.get(hash, entry.key()).is_none(), "inserted twice");
        assert!(
            !self.is_full(),
            "a full segment is split before an insertion"
        );
        if self.entries.len() == self.entries.capacity() {
            self.prefetch_all();
        }
        self.entries
            .insert_unique(hash.inner(), entry, |e| KeyHash::of(e.key(), seed).inner());
    }

    /// Takes the entry of `key` out.
    pub fn remove(&mut self, hash: KeyHash, key: &[u8]) -> Option<Entry> {
        self.remove_where(hash, |entry| entry.key() == key)
    }

    /// Takes out an entry with this hash for which `matches` holds.
    pub fn remove_where(
        &mut self,
        hash: KeyHash,
        matches: impl FnMut(&Entry) -> bool,
    ) -> Option<Entry> {
        let found = self.entries.find_entry(hash.inner(), matches).ok()?;
        Some(found.remove().0)
    }

    /// Takes out all entries for which `matches` holds.
    pub fn remove_all_where(&mut self, matches: impl Fn(&Entry) -> bool) -> Vec<Entry> {
        self.entries.extract_if(|entry| matches(entry)).collect()
    }

    /// Gives memory back after many removals; `seed` is the table's.
    pub fn shrink(&mut self, seed: u64) {
        if self.entries.len() * 8 < self.entries.capacity() {
            self.entries.shrink_to(self.entries.len() * 2, |e| {
                KeyHash::of(e.key(), seed).inner()
            });
        }
    }

    /// All entries, in no particular order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Entry> {
        self.entries.iter()
    }

    /// All entries, in no particular order.
    pub fn into_entries(self) -> impl Iterator<Item = Entry> {
        self.entries.into_iter()
    }

    /// Takes the entries whose next hash bit is one out into a new segment; both are one bit deeper
    /// afterwards.
    #[must_use]
    pub fn split(&mut self, seed: u64) -> Self {
        assert!(self.depth < 63, "a segment splits at most 63 times");
        let bit = 1u64 << (63 - self.depth);
        self.depth += 1;
        self.prefetch_all();
        let mut low = HashTable::with_capacity(SEGMENT_MAX_ENTRIES / 2);
        let mut high = HashTable::with_capacity(SEGMENT_MAX_ENTRIES / 2);
        for entry in self.entries.drain() {
            let hash = KeyHash::of(entry.key(), seed);
            let side = if hash.0 & bit == 0 {
                &mut low
            } else {
                &mut high
            };
            side.insert_unique(hash.inner(), entry, |e| KeyHash::of(e.key(), seed).inner());
        }
        self.entries = low;
        Self {
            depth: self.depth,
            entries: high,
        }
    }
}
