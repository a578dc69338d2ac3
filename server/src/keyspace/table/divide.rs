//! Tables are taken apart by prefix and put together again, and segments are split.

use std::sync::Arc;

use super::super::entry::Entry;
use super::super::segment::KeyHash;
use super::Table;

impl Table {
    /// Takes the keys that begin with `prefix` out into a table of their own; `None` if there are
    /// none. All keys are looked at, segment by segment; of what is taken nothing is looked up.
    #[must_use]
    pub fn extract(&mut self, prefix: &[u8]) -> Option<Self> {
        let is_below = |entry: &Entry| entry.key().starts_with(prefix);
        if !self.is_empty() && self.iter().all(is_below) {
            let all = Self::new(self.seed);
            return Some(std::mem::replace(self, all));
        }
        let mut table = Self::new(self.seed);
        for index in 0..self.segments.len() {
            self.segments[index].prefetch_all();
            // A segment that a checkpoint shares and that stays as it is must not be copied.
            if !self.segments[index].iter().any(is_below) {
                continue;
            }
            let segment = Self::unshare(&mut self.segments[index]);
            let before = segment.memory_bytes();
            let taken = segment.remove_all_where(is_below);
            segment.shrink(self.seed);
            self.heap_bytes = self.heap_bytes - before + segment.memory_bytes();
            self.len -= taken.len();
            for entry in taken {
                let hash = self.hash(entry.key());
                self.heap_bytes -= entry.memory_bytes();
                self.move_expiry(hash, entry.expires_at_ms(), None);
                table.insert_new(hash, entry);
            }
        }
        (!table.is_empty()).then_some(table)
    }

    /// Takes in all keys of another table with the same seed, none of which it has. The keys of the
    /// smaller one of the two move.
    pub fn absorb(&mut self, mut other: Self) {
        assert_eq!(self.seed, other.seed, "tables of different seeds");
        if self.len < other.len {
            std::mem::swap(self, &mut other);
        }
        self.discarded.append(&mut other.discarded);
        for segment in other.segments {
            segment.prefetch_all();
            for entry in Arc::unwrap_or_clone(segment).into_entries() {
                self.insert_new(self.hash(entry.key()), entry);
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
