//! Walks through a table: in hash order from a cursor, by positions, in slices, and at random.

use std::ops::Range;

use super::super::entry::Entry;
use super::super::segment::KeyHash;
use super::Table;

/// A scan's cursor counts in units of 2^16 hashes, so it is below 2^48 and survives clients that
/// keep numbers as doubles.
pub(in crate::keyspace) const POSITION_SHIFT: u32 = 16;
/// All positions are below it.
pub(in crate::keyspace) const POSITION_END: u64 = 1 << (64 - POSITION_SHIFT);

/// How many segments a scan visits for each key asked for before it returns early.
const SCAN_SEGMENTS_PER_KEY: usize = 10;

impl Table {
    /// Visits the entries at these positions, in no particular order.
    pub fn visit_positions<'a>(
        &'a self,
        positions: Range<u64>,
        mut visit: impl FnMut(u64, &'a Entry),
    ) {
        let mut position = positions.start;
        while position < positions.end.min(POSITION_END) {
            let segment = self.segment(KeyHash(position << POSITION_SHIFT));
            for entry in segment.iter() {
                let at = self.hash(entry.key()).0 >> POSITION_SHIFT;
                if positions.contains(&at) {
                    visit(at, entry);
                }
            }
            position = segment_end(position, segment.depth());
        }
    }

    /// Visits about `count` entries from `cursor` on in hash order and returns the next cursor,
    /// 0 at the end. Entries at one position are never divided between two calls.
    pub fn scan<'a>(&'a self, cursor: u64, count: usize, mut visit: impl FnMut(&'a Entry)) -> u64 {
        let mut position = cursor;
        let mut visited = 0;
        for _ in 0..count.saturating_mul(SCAN_SEGMENTS_PER_KEY).max(1) {
            if position >= POSITION_END {
                return 0;
            }
            let segment = self.segment(KeyHash(position << POSITION_SHIFT));
            let mut found: Vec<(u64, &Entry)> = segment
                .iter()
                .map(|entry| (self.hash(entry.key()).0 >> POSITION_SHIFT, entry))
                .filter(|&(at, _)| at >= position)
                .collect();
            found.sort_unstable_by_key(|&(at, entry)| (at, entry.key()));
            for (i, &(at, entry)) in found.iter().enumerate() {
                if visited >= count && at != found[i.saturating_sub(1)].0 {
                    return at;
                }
                visit(entry);
                visited += 1;
            }
            position = segment_end(position, segment.depth());
            if visited >= count {
                break;
            }
        }
        if position >= POSITION_END {
            0
        } else {
            position
        }
    }

    /// An entry chosen by `random`: uniform among the entries of a random segment.
    #[must_use]
    pub fn random(&self, random: u64) -> Option<&Entry> {
        if self.is_empty() {
            return None;
        }
        // Hash-distributed keys fill segments evenly, so a first try nearly always hits; in a
        // nearly emptied table the search goes on from there.
        let start = self.segment_index(KeyHash(random));
        let rotated = self.segments[start..].iter().chain(&self.segments[..start]);
        let segment = rotated.into_iter().find(|segment| !segment.is_empty())?;
        segment.iter().nth((random as u32 as usize) % segment.len())
    }

    /// All entries, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.segments.iter().flat_map(|segment| segment.iter())
    }

    /// All entries whose hashes begin with the low `bits` bits of `slice`, in no particular order.
    pub fn iter_slice(&self, slice: u64, bits: u32) -> impl Iterator<Item = &Entry> {
        let depth = u32::from(self.depth);
        let slots = if depth >= bits {
            let first = (slice << (depth - bits)) as usize;
            first..first + (1 << (depth - bits))
        } else {
            let only = (slice >> (bits - depth)) as usize;
            only..only + 1
        };
        let mut last = None;
        let slots = self.directory[slots].iter();
        // The slots of one segment are neighbours.
        let segments = slots.filter(move |&&index| last.replace(index) != Some(index));
        let segments = segments.map(|&index| &self.segments[index as usize]);
        segments.flat_map(move |segment| {
            segment.prefetch_all();
            let is_wider = u32::from(segment.depth()) < bits;
            segment
                .iter()
                .filter(move |entry| !is_wider || self.hash(entry.key()).0 >> (64 - bits) == slice)
        })
    }
}

/// The first position behind the segment of `depth` bits that holds `position`.
fn segment_end(position: u64, depth: u8) -> u64 {
    let bits = 64 - POSITION_SHIFT;
    let width = 1u64 << bits.saturating_sub(u32::from(depth));
    (position / width + 1) * width
}
