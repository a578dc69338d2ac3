//! A few dozen records side by side in memory.

use crate::keyspace::packed;

/// A leaf with more records is split.
const MAX_RECORDS: usize = 64;

/// A leaf with more bytes of records is split, unless it holds a single one.
const MAX_BYTES: usize = 4096;

/// A key with its value: `key` and `value` as they were inserted. Where all values are empty, the
/// value takes no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::keyspace) struct Record<'a> {
    pub(in crate::keyspace) key: &'a [u8],
    pub(in crate::keyspace) value: &'a [u8],
}

/// What is known of a record without looking at it. Its hash in two halves, so that a head takes
/// twelve bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    high: u32,
    low: u32,
    start: u32,
}

impl Head {
    fn new(hash: u64, start: usize) -> Self {
        Self {
            high: (hash >> 32) as u32,
            low: hash as u32,
            start: u32::try_from(start).expect("a leaf holds less than two of the longest strings"),
        }
    }

    fn hash(self) -> u64 {
        u64::from(self.high) << 32 | u64::from(self.low)
    }
}

/// Records in the order of (hash, key).
///
/// Invariants: `heads` rise by (hash, key of the record); the record of `heads[i]` is
/// `bytes[heads[i].start..heads[i + 1].start]`, the last one's ends with `bytes`; a record is its
/// key, preceded by its length and followed by its value if the tree has values.
#[derive(Clone, Debug, Default)]
pub(super) struct Leaf {
    heads: Vec<Head>,
    bytes: Vec<u8>,
}

impl Leaf {
    pub(super) fn len(&self) -> usize {
        self.heads.len()
    }

    pub(super) fn heap_bytes(&self) -> usize {
        2 * size_of::<usize>()
            + size_of::<Self>()
            + self.heads.capacity() * size_of::<Head>()
            + self.bytes.capacity()
    }

    pub(super) fn hash(&self, at: usize) -> u64 {
        self.heads[at].hash()
    }

    pub(super) fn record(&self, at: usize, with_values: bool) -> Record<'_> {
        let mut record = self.slice(at);
        if !with_values {
            return Record {
                key: record,
                value: &[],
            };
        }
        let key = packed::take(&mut record).expect("a record begins with its key");
        Record { key, value: record }
    }

    /// Where `key` is, or where it belongs.
    pub(super) fn find(&self, hash: u64, key: &[u8], with_values: bool) -> Result<usize, usize> {
        let mut at = self.heads.partition_point(|head| head.hash() < hash);
        while at < self.heads.len() && self.heads[at].hash() == hash {
            // Rare are the leaves with two keys of the same hash.
            match self.record(at, with_values).key.cmp(key) {
                std::cmp::Ordering::Less => at += 1,
                std::cmp::Ordering::Equal => return Ok(at),
                std::cmp::Ordering::Greater => break,
            }
        }
        Err(at)
    }

    /// The first record whose hash is not below `hash`.
    pub(super) fn first_from(&self, hash: u64) -> usize {
        self.heads.partition_point(|head| head.hash() < hash)
    }

    pub(super) fn insert(&mut self, at: usize, hash: u64, record: Record<'_>, with_values: bool) {
        let start = self.start(at);
        if self.heads.len() == self.heads.capacity() {
            let more = (self.heads.len() / 8).max(2);
            self.heads.reserve_exact(more);
        }
        self.heads.insert(at, Head::new(hash, start));
        let size = record_bytes(record, with_values);
        self.resize_record(at, 0, size);
        self.write(start, record, with_values);
    }

    /// Replaces a record by one with the same key.
    pub(super) fn replace(&mut self, at: usize, record: Record<'_>, with_values: bool) {
        let old = self.slice(at).len();
        self.resize_record(at, old, record_bytes(record, with_values));
        self.write(self.start(at), record, with_values);
    }

    pub(super) fn remove(&mut self, at: usize) {
        let old = self.slice(at).len();
        self.resize_record(at, old, 0);
        self.heads.remove(at);
        if self.heads.capacity() > self.heads.len() * 2 {
            self.heads.shrink_to(self.heads.len() * 5 / 4);
        }
        packed::shrink(&mut self.bytes);
    }

    /// Whether it should be split.
    pub(super) fn is_full(&self) -> bool {
        self.len() > MAX_RECORDS || self.bytes.len() > MAX_BYTES && self.len() > 1
    }

    /// Whether so little is in it that it should be joined with a neighbour.
    pub(super) fn is_sparse(&self) -> bool {
        self.len() < MAX_RECORDS / 4 && self.bytes.len() < MAX_BYTES / 4
    }

    /// Whether both together leave enough room to grow.
    pub(super) fn can_join(&self, other: &Self) -> bool {
        if self.len() == 0 || other.len() == 0 {
            return true;
        }
        self.len() + other.len() <= MAX_RECORDS * 3 / 4
            && self.bytes.len() + other.bytes.len() <= MAX_BYTES * 3 / 4
    }

    /// Takes out the upper half; `None` if all records have the same hash, which must not part.
    pub(super) fn split(&mut self) -> Option<Self> {
        let parts = |at: &usize| self.hash(*at) != self.hash(*at - 1);
        let middle = self.len() / 2;
        let at = (middle.max(1)..self.len())
            .find(parts)
            .or_else(|| (1..middle).rev().find(parts))?;
        let start = self.start(at);
        let upper = Self {
            heads: self.heads[at..]
                .iter()
                .map(|head| Head::new(head.hash(), head.start as usize - start))
                .collect(),
            bytes: self.bytes[start..].to_vec(),
        };
        self.heads.truncate(at);
        self.heads.shrink_to_fit();
        self.bytes.truncate(start);
        self.bytes.shrink_to_fit();
        Some(upper)
    }

    /// Appends the records of the next leaf.
    pub(super) fn join(&mut self, next: &Self) {
        let start = self.bytes.len();
        self.heads.reserve_exact(next.heads.len());
        let moved = next.heads.iter();
        self.heads
            .extend(moved.map(|head| Head::new(head.hash(), head.start as usize + start)));
        packed::reserve(&mut self.bytes, next.bytes.len());
        self.bytes.extend_from_slice(&next.bytes);
    }

    fn start(&self, at: usize) -> usize {
        let head = self.heads.get(at);
        head.map_or(self.bytes.len(), |head| head.start as usize)
    }

    fn slice(&self, at: usize) -> &[u8] {
        &self.bytes[self.start(at)..self.start(at + 1)]
    }

    /// Moves what stands behind a record, so that it has `new` bytes where it had `old`.
    fn resize_record(&mut self, at: usize, old: usize, new: usize) {
        let end = self.start(at) + old;
        let len = self.bytes.len();
        if new > old {
            packed::reserve(&mut self.bytes, new - old);
            self.bytes.resize(len + new - old, 0);
        }
        self.bytes.copy_within(end..len, end - old + new);
        self.bytes.truncate(len - old + new);
        let (old, new) = (old as u32, new as u32);
        for head in &mut self.heads[at + 1..] {
            head.start = head.start - old + new;
        }
    }

    fn write(&mut self, start: usize, record: Record<'_>, with_values: bool) {
        if with_values {
            let at = packed::write_len(&mut self.bytes[start..], record.key.len()) + start;
            let value_at = at + record.key.len();
            self.bytes[at..value_at].copy_from_slice(record.key);
            self.bytes[value_at..value_at + record.value.len()].copy_from_slice(record.value);
        } else {
            self.bytes[start..start + record.key.len()].copy_from_slice(record.key);
        }
    }
}

fn record_bytes(record: Record<'_>, with_values: bool) -> usize {
    if with_values {
        packed::size_bytes(record.key.len()) + record.value.len()
    } else {
        record.key.len()
    }
}
