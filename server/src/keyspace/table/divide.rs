//! Tables are taken apart by prefix and put together again, and segments are split.

use std::sync::Arc;

use super::super::segment::KeyHash;
use super::Table;

impl Table {
    /// Takes the keys that begin with `prefix` out into a table of their own; `None` if there are
    /// none.
    #[must_use]
    pub fn extract(&mut self, prefix: &[u8]) -> Option<Self> {
        let mut found = Vec::new();
        for segment in &self.segments {
            segment.prefetch_all();
            let matching = segment.iter().filter(|e| e.key().starts_with(prefix));
            found.extend(matching.map(|entry| (self.hash(entry.key()), entry.clone())));
        }
        if found.is_empty() {
            return None;
        }
        let mut table = Self::new(self.seed);
        if found.len() == self.len {
            std::mem::swap(self, &mut table);
            return Some(table);
        }
        for (hash, held) in found {
            let taken = self.take(hash, |entry| entry.key() == held.key());
            drop(held);
            table.insert_new(hash, taken.expect("the entry was just found"));
        }
        Some(table)
    }

    /// Takes in all keys of another table with the same seed, none of which it has.
    pub fn absorb(&mut self, other: Self) {
        assert_eq!(self.seed, other.seed, "tables of different seeds");
        if self.is_empty() {
            *self = other;
            return;
        }
        for segment in &other.segments {
            segment.prefetch_all();
            for entry in segment.iter() {
                self.insert_new(self.hash(entry.key()), entry.clone());
            }
        }
    }

    /// Splits the segment of `hash`, doubling the directory first if it is not deep enough.
    pub(super) fn split(&mut self, hash: KeyHash) {
        let index = self.segment_index(hash);
        if self.segments[index].depth() == self.depth {
            self.directory = self
                .directory
                .iter()
                .flat_map(|&slot| [slot, slot])
                .collect();
            self.depth += 1;
        }
        let segment = Self::unshare(&mut self.segments[index]);
        let before = segment.memory_bytes();
        let upper = segment.split(self.seed);
        let depth = upper.depth();
        self.heap_bytes = self.heap_bytes - before + segment.memory_bytes() + upper.memory_bytes();
        let new_index = u32::try_from(self.segments.len()).expect("2^32 segments exceed memory");
        self.segments.push(Arc::new(upper));
        // The slots of the old segment are neighbours; the upper half of them goes to the new one.
        let width = 1usize << (self.depth - depth);
        let first = ((hash.0 >> (64 - depth) | 1) as usize) << (self.depth - depth);
        for slot in &mut self.directory[first..first + width] {
            debug_assert_eq!(*slot as usize, index);
            *slot = new_index;
        }
    }
}
