//! The keys of one logical database under one prefix: extendible hashing over segments.
//!
//! The first `depth` bits of a key's hash choose a slot of the directory, which names a segment.
//! A full segment is split alone, and only when it is as deep as the directory does the directory
//! double (four bytes a slot). So no insertion ever moves more than one segment's entries.
//!
//! **Cursor.** [`Table::scan`] walks in hash order, and a cursor is a position in that order.
//! Splits and growth change where a key is stored but not its hash, so every key that is present
//! throughout a scan is returned; one that comes or goes during it may or may not be; none is
//! returned twice.
//!
//! **Expiry** is kept in the entry; an ordered index of (time, hash) finds what is due. The table
//! never looks at a clock: `now_ms` is an argument, and hiding expired keys is the caller's choice.
//!
//! **Checkpoint.** [`Table::freeze`] clones the segments' `Arc`s; later writers copy a segment when
//! they first touch it.
//!
//! Not done here: segments are not merged again when keys are removed. A table that was large keeps
//! its (then nearly empty) segments until it is cleared.

mod divide;
mod walk;

use std::collections::BTreeSet;
use std::sync::Arc;

use super::access::AccessClock;
use super::entry::{Entry, Stamp};
use super::segment::{KeyHash, Segment};
use super::value::{NewValue, Object, ValueRef};
pub(super) use walk::{POSITION_END, POSITION_SHIFT};

/// An estimate of what the expiry index takes for one key: two words in a B-tree two thirds full.
const EXPIRY_INDEX_BYTES: usize = 24;

/// What becomes of a key's expiry when its value is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// The key does not expire.
    None,
    /// The key expires after this millisecond of log time.
    At(i64),
    /// It stays as it is.
    Keep,
}

impl Expiry {
    fn resolve(self, present: Option<i64>) -> Option<i64> {
        match self {
            Self::None => None,
            Self::At(at_ms) => Some(at_ms),
            Self::Keep => present,
        }
    }
}

/// What came of an attempt to edit an object in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edit<R> {
    /// The key is not there.
    Absent,
    /// It is, and holds something else.
    Refused,
    /// What the edit gave.
    Done(R),
}

/// A hash table with cheap snapshots, hash-ordered scans and an expiry index.
///
/// Invariants: `directory.len() == 1 << depth`; every segment has `depth() <= depth` and is named
/// by exactly `1 << (depth - segment.depth())` neighbouring slots; `len` is the sum of the
/// segments' lengths; every expiry in the index or in an entry is in the other too. Two keys with
/// the same 64-bit hash and the same expiry share an index element; if one of them goes, the other
/// is still hidden when it expires, but stays in memory until it is next written.
#[derive(Clone)]
pub struct Table {
    seed: u64,
    depth: u8,
    directory: Vec<u32>,
    segments: Vec<Arc<Segment>>,
    len: usize,
    /// Entries and segments, without directory and index.
    heap_bytes: usize,
    expiries: BTreeSet<(i64, KeyHash)>,
    /// Entries that went, and are too large to be released in passing.
    discarded: Vec<Entry>,
}

/// The segments of a table at one moment.
pub struct Frozen {
    segments: Vec<Arc<Segment>>,
    len: usize,
}

impl Table {
    /// An empty table. Every replica of a group uses the same `seed`, so that cursors agree.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let first = Segment::new(0);
        Self {
            seed,
            depth: 0,
            directory: vec![0],
            heap_bytes: first.memory_bytes(),
            segments: vec![Arc::new(first)],
            len: 0,
            expiries: BTreeSet::new(),
            discarded: Vec::new(),
        }
    }

    /// Number of keys, expired ones that were not removed yet included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Number of keys that have an expiry.
    #[must_use]
    pub fn expiring_len(&self) -> usize {
        self.expiries.len()
    }

    /// Bytes of memory in entries, segments, directory and (estimated) expiry index.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.heap_bytes + self.overhead_bytes()
    }

    /// Bytes of memory of everything but the entries.
    #[must_use]
    pub fn structure_bytes(&self) -> usize {
        let segments = self.segments.iter().map(|segment| segment.memory_bytes());
        segments.sum::<usize>() + self.overhead_bytes()
    }

    /// Number of segments: the unit in which a checkpoint shares and a writer copies.
    #[must_use]
    pub fn segment_count(&self) -> usize {
        self.segments.len()
    }

    /// The hash of `key` in this table.
    #[must_use]
    pub fn hash(&self, key: &[u8]) -> KeyHash {
        KeyHash::of(key, self.seed)
    }

    /// The entry of `key`, expired or not.
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Option<&Entry> {
        let hash = self.hash(key);
        self.segments[self.segment_index(hash)].get(hash, key)
    }

    /// Starts to bring the entry of `key` into the cache. In a pipeline the look-ups that follow
    /// then wait for memory together instead of one after the other.
    pub fn prefetch(&self, key: &[u8]) {
        let hash = self.hash(key);
        self.segments[self.segment_index(hash)].prefetch(hash);
    }

    /// Sets `key`, replacing the value of an entry that is there. True if the key is new.
    pub fn set(&mut self, key: &[u8], value: NewValue<'_>, expiry: Expiry, stamp: Stamp) -> bool {
        let hash = self.hash(key);
        let index = self.segment_index(hash);
        let segment = Self::unshare(&mut self.segments[index]);
        if let Some(entry) = segment.get_mut(hash, key) {
            let before = (entry.memory_bytes(), entry.expires_at_ms());
            let expires_at_ms = expiry.resolve(before.1);
            if entry.is_heavy() {
                self.discarded.push(entry.clone());
            }
            entry.replace(value, expires_at_ms, stamp);
            self.heap_bytes = self.heap_bytes - before.0 + entry.memory_bytes();
            self.move_expiry(hash, before.1, expires_at_ms);
            return false;
        }
        self.insert_new(hash, Entry::new(key, value, expiry.resolve(None), stamp));
        true
    }

    /// Adds an entry that may be shared, whose key is not there.
    pub fn insert(&mut self, entry: Entry) {
        self.insert_new(self.hash(entry.key()), entry);
    }

    /// Changes the expiry of `key`; false if the key is not there.
    pub fn set_expiry(&mut self, key: &[u8], expires_at_ms: Option<i64>, stamp: Stamp) -> bool {
        let hash = self.hash(key);
        let index = self.segment_index(hash);
        let segment = Self::unshare(&mut self.segments[index]);
        let Some(entry) = segment.get_mut(hash, key) else {
            return false;
        };
        let before = (entry.memory_bytes(), entry.expires_at_ms());
        let held = entry.clone();
        entry.replace(NewValue::Same(&held), expires_at_ms, stamp);
        self.heap_bytes = self.heap_bytes - before.0 + entry.memory_bytes();
        self.move_expiry(hash, before.1, expires_at_ms);
        true
    }

    /// Edits the object of `key` in place if `accepts` holds for it. `change` says besides its
    /// result whether it has changed anything; only then the entry gets the version. Either counts
    /// as an access.
    pub fn edit<R>(
        &mut self,
        key: &[u8],
        version: u32,
        clock: &AccessClock,
        accepts: impl FnOnce(&Object) -> bool,
        change: impl FnOnce(&mut Object) -> (R, bool),
    ) -> Edit<R> {
        let hash = self.hash(key);
        let index = self.segment_index(hash);
        let Some(entry) = Self::unshare(&mut self.segments[index]).get_mut(hash, key) else {
            return Edit::Absent;
        };
        if !matches!(entry.value(), ValueRef::Object(object) if accepts(object)) {
            return Edit::Refused;
        }
        clock.touch(entry);
        let before = entry.memory_bytes();
        let (result, changed) = change(
            entry
                .object_mut()
                .expect("the value was just found to be an object"),
        );
        if changed {
            entry.set_version(version);
        }
        self.heap_bytes = self.heap_bytes - before + entry.memory_bytes();
        Edit::Done(result)
    }

    /// Takes `key` out.
    pub fn remove(&mut self, key: &[u8]) -> Option<Entry> {
        let hash = self.hash(key);
        // Most removals of absent keys must not copy a segment that a checkpoint shares.
        self.segments[self.segment_index(hash)].get(hash, key)?;
        self.take(hash, |entry| entry.key() == key)
    }

    /// Whether [`Table::take_discarded`] has anything to give.
    #[must_use]
    pub fn has_discarded(&self) -> bool {
        !self.discarded.is_empty()
    }

    /// Takes what is too large to be released in passing: values that were replaced, and keys that
    /// expired. What [`Table::remove`] took out is its caller's.
    pub fn take_discarded(&mut self) -> Vec<Entry> {
        std::mem::take(&mut self.discarded)
    }

    /// Removes up to `limit` keys that expired before `now_ms`, shows each of them to `gone`, and
    /// returns how many it removed.
    pub fn remove_expired(
        &mut self,
        now_ms: i64,
        limit: usize,
        mut gone: impl FnMut(&Entry),
    ) -> usize {
        for removed in 0..limit {
            let Some(&(at_ms, hash)) = self.expiries.first() else {
                return removed;
            };
            if at_ms >= now_ms {
                return removed;
            }
            match self.take(hash, |entry| entry.expires_at_ms() == Some(at_ms)) {
                Some(entry) => {
                    gone(&entry);
                    if entry.is_heavy() {
                        self.discarded.push(entry);
                    }
                }
                // Left over from two keys that shared this element, see the type's invariants.
                None => {
                    self.expiries.remove(&(at_ms, hash));
                }
            }
        }
        limit
    }

    /// When the next key expires.
    #[must_use]
    pub fn next_expiry_ms(&self) -> Option<i64> {
        self.expiries.first().map(|&(at_ms, _)| at_ms)
    }

    /// Shares the table's present content with the caller, at the cost of a pointer a segment.
    #[must_use]
    pub fn freeze(&self) -> Frozen {
        Frozen {
            segments: self.segments.clone(),
            len: self.len,
        }
    }

    /// Panics if an invariant of the type does not hold. Slow; for tests.
    pub fn check_invariants(&self) {
        assert_eq!(self.directory.len(), 1 << self.depth);
        let mut slots = vec![0usize; self.segments.len()];
        for &index in &self.directory {
            slots[index as usize] += 1;
        }
        let mut heap_bytes = 0;
        for (segment, slots) in self.segments.iter().zip(slots) {
            assert!(segment.depth() <= self.depth);
            assert_eq!(slots, 1 << (self.depth - segment.depth()));
            heap_bytes += segment.memory_bytes();
        }
        let mut expiries = BTreeSet::new();
        for entry in self.iter() {
            let hash = self.hash(entry.key());
            assert!(std::ptr::eq(
                self.segment(hash).get(hash, entry.key()).expect("found"),
                entry
            ));
            heap_bytes += entry.memory_bytes();
            expiries.extend(entry.expires_at_ms().map(|at_ms| (at_ms, hash)));
        }
        assert_eq!(self.len, self.iter().count());
        assert_eq!(self.heap_bytes, heap_bytes);
        assert_eq!(self.expiries, expiries);
    }

    fn overhead_bytes(&self) -> usize {
        self.directory.capacity() * size_of::<u32>()
            + self.segments.capacity() * size_of::<Arc<Segment>>()
            + self.expiries.len() * EXPIRY_INDEX_BYTES
    }

    fn segment_index(&self, hash: KeyHash) -> usize {
        // Two shifts, because a shift by 64 (depth 0) is not defined.
        self.directory[(hash.0 >> 1 >> (63 - self.depth)) as usize] as usize
    }

    fn segment(&self, hash: KeyHash) -> &Segment {
        &self.segments[self.segment_index(hash)]
    }

    /// A segment that a checkpoint shares is copied before it is written.
    fn unshare(segment: &mut Arc<Segment>) -> &mut Segment {
        if Arc::strong_count(segment) > 1 {
            segment.prefetch_all();
        }
        Arc::make_mut(segment)
    }

    fn insert_new(&mut self, hash: KeyHash, entry: Entry) {
        while self.segment(hash).is_full() {
            self.split(hash);
        }
        if let Some(at_ms) = entry.expires_at_ms() {
            self.expiries.insert((at_ms, hash));
        }
        let index = self.segment_index(hash);
        let segment = Self::unshare(&mut self.segments[index]);
        let before = segment.memory_bytes();
        self.heap_bytes += entry.memory_bytes();
        segment.insert_new(hash, entry, self.seed);
        self.heap_bytes = self.heap_bytes - before + segment.memory_bytes();
        self.len += 1;
    }

    fn take(&mut self, hash: KeyHash, matches: impl FnMut(&Entry) -> bool) -> Option<Entry> {
        let index = self.segment_index(hash);
        let segment = Self::unshare(&mut self.segments[index]);
        let before = segment.memory_bytes();
        let entry = segment.remove_where(hash, matches)?;
        segment.shrink(self.seed);
        self.heap_bytes = self.heap_bytes + segment.memory_bytes() - before - entry.memory_bytes();
        self.len -= 1;
        self.move_expiry(hash, entry.expires_at_ms(), None);
        Some(entry)
    }

    fn move_expiry(&mut self, hash: KeyHash, from_ms: Option<i64>, to_ms: Option<i64>) {
        if from_ms == to_ms {
            return;
        }
        if let Some(at_ms) = from_ms {
            self.expiries.remove(&(at_ms, hash));
        }
        if let Some(at_ms) = to_ms {
            self.expiries.insert((at_ms, hash));
        }
    }
}

impl Frozen {
    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Hands out the segments one by one, letting go of each when it is done, so that a writer has
    /// fewer and fewer segments to copy while a checkpoint proceeds.
    pub fn into_segments(self) -> impl Iterator<Item = Arc<Segment>> {
        self.segments.into_iter()
    }
}
