//! Elements one behind the other in a single block of memory.
//!
//! ```text
//! start u32 | elements u32 | gap | entry * | spare capacity
//! ```
//!
//! The gap before the first entry and the capacity behind the last one make both ends cheap: to
//! push or pop there moves no other entry, except when the room on that side is used up. Room is
//! asked for in the sizes in which the allocator gives it, so that little of it is lost, and given
//! back when less than half is used.
//!
//! A pack has no limit of its own; who owns it keeps it small, because what happens in the middle
//! moves the entries behind it.

use std::ops::Range;

use super::element::{self, Element};
use super::{End, PACK_MAX_BYTES};

/// The place of the first entry and the number of elements.
const HEADER_BYTES: usize = 8;

/// What Redis has around the same entries: their total length and number, and an end mark.
const ENVELOPE_BYTES: usize = 7;

/// Blocks up to this size are never exchanged for smaller ones.
const SHRINK_MIN_BYTES: usize = 128;

/// A sequence of elements.
///
/// Invariants: an empty `buf` stands for no elements; otherwise
/// `HEADER_BYTES <= start() <= buf.len()`, and from `start()` on `buf` holds `len()` entries.
#[derive(Default)]
pub(super) struct Pack {
    buf: Vec<u8>,
}

impl Pack {
    /// A pack of these entries; `None` if they are none.
    pub(super) fn from_entries(entries: &[u8]) -> Option<Self> {
        let (mut at, mut len) = (0, 0);
        while at < entries.len() {
            at += element::checked(&entries[at..])?.1;
            len += 1;
        }
        Some(Self::with_entries(entries, len))
    }

    /// Number of elements.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.header(4) as usize
    }

    /// The entries.
    #[inline]
    pub(super) fn entries(&self) -> &[u8] {
        &self.buf[self.start()..]
    }

    /// How long Redis's form of the same elements is, which is what its limits count.
    #[inline]
    pub(super) fn listpack_bytes(&self) -> usize {
        self.used() + ENVELOPE_BYTES
    }

    /// Bytes of heap memory.
    #[inline]
    pub(super) fn heap_bytes(&self) -> usize {
        self.buf.capacity()
    }

    /// The element at `offset`, which must be there.
    pub(super) fn get(&self, offset: usize) -> Element<'_> {
        element::read(&self.entries()[self.seek(offset)..]).0
    }

    /// Adds an element at an end.
    pub(super) fn push(&mut self, end: End, element: Element<'_>) {
        let size = element.entry_bytes();
        self.make_room(end, size);
        let at = match end {
            End::Front => {
                let start = self.start() - size;
                self.set_header(0, start);
                start
            }
            End::Back => {
                let at = self.buf.len();
                self.buf.resize(at + size, 0);
                at
            }
        };
        element.write(&mut self.buf[at..]);
        self.set_header(4, self.len() + 1);
    }

    /// Puts an element before the one at `offset`, or at the back if there is none.
    pub(super) fn insert(&mut self, offset: usize, element: Element<'_>) {
        if offset == 0 || offset == self.len() {
            let end = if offset == 0 { End::Front } else { End::Back };
            return self.push(end, element);
        }
        let at = self.seek(offset);
        self.splice(at..at, Some(element));
        self.set_header(4, self.len() + 1);
    }

    /// Puts an element in the place of the one at `offset`.
    pub(super) fn replace(&mut self, offset: usize, element: Element<'_>) {
        let at = self.seek(offset);
        let size = element::read(&self.entries()[at..]).1;
        self.splice(at..at + size, Some(element));
        self.shrink();
    }

    /// Removes `count` elements from `offset` on, which must be there.
    pub(super) fn remove(&mut self, offset: usize, count: usize) {
        if count == 0 {
            return;
        }
        let len = self.len() - count;
        let from = self.seek(offset);
        let to = if offset == len {
            self.used()
        } else if count == 1 {
            from + element::read(&self.entries()[from..]).1
        } else {
            self.seek(offset + count)
        };
        self.set_header(4, len);
        if from == 0 {
            self.set_header(0, self.start() + to);
        } else {
            self.splice(from..to, None);
        }
        self.shrink();
    }

    /// Removes the entries that stand in these ranges of [`Pack::entries`], which rise.
    pub(super) fn remove_ranges(&mut self, ranges: &[Range<usize>]) {
        let Some(first) = ranges.first() else { return };
        let start = self.start();
        let mut kept = start + first.start;
        for (at, range) in ranges.iter().enumerate() {
            let next = ranges.get(at + 1).map_or(self.used(), |next| next.start);
            self.buf.copy_within(start + range.end..start + next, kept);
            kept += next - range.end;
        }
        self.buf.truncate(kept);
        self.set_header(4, self.len() - ranges.len());
        self.shrink();
    }

    /// Removes the elements from `offset` on and returns them.
    pub(super) fn split_off(&mut self, offset: usize) -> Self {
        let (at, len) = (self.seek(offset), self.len());
        let split = Self::with_entries(&self.entries()[at..], len - offset);
        self.buf.truncate(self.start() + at);
        self.set_header(4, offset);
        self.shrink();
        split
    }

    /// Adds the elements of another pack behind its own.
    pub(super) fn append(&mut self, other: &Self) {
        self.make_room(End::Back, other.used());
        self.buf.extend_from_slice(other.entries());
        self.set_header(4, self.len() + other.len());
    }

    /// Where the entry at `offset` begins; with as many elements, where the last one ends.
    pub(super) fn seek(&self, offset: usize) -> usize {
        let (entries, len) = (self.entries(), self.len());
        assert!(offset <= len, "element {offset} of {len}");
        if offset <= len / 2 {
            (0..offset).fold(0, |at, _| at + element::read(&entries[at..]).1)
        } else {
            (offset..len).fold(entries.len(), |end, _| {
                end - element::last_entry_bytes(&entries[..end])
            })
        }
    }

    #[cfg(test)]
    pub(super) fn check_invariants(&self) {
        let whole = Self::from_entries(self.entries()).expect("well-formed entries");
        assert_eq!(whole.len(), self.len());
        let used = HEADER_BYTES + self.used();
        let capacity = self.buf.capacity();
        assert!(
            capacity <= SHRINK_MIN_BYTES || capacity <= 2 * used + 64,
            "{used} bytes of {capacity}"
        );
    }

    fn with_entries(entries: &[u8], len: usize) -> Self {
        let mut buf = Vec::with_capacity(allocator_size(HEADER_BYTES + entries.len()));
        buf.extend_from_slice(&(HEADER_BYTES as u32).to_le_bytes());
        buf.extend_from_slice(&(len as u32).to_le_bytes());
        buf.extend_from_slice(entries);
        Self { buf }
    }

    #[inline]
    fn start(&self) -> usize {
        self.header(0) as usize
    }

    fn used(&self) -> usize {
        self.buf.len() - self.start()
    }

    #[inline]
    fn header(&self, at: usize) -> u32 {
        match self.buf.get(at..at + 4) {
            Some(&[a, b, c, d]) => u32::from_le_bytes([a, b, c, d]),
            _ => 0,
        }
    }

    fn set_header(&mut self, at: usize, value: usize) {
        let value = u32::try_from(value).expect("a pack is shorter than 4 GiB");
        self.buf[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }

    /// Puts an element, or nothing, in the place of the entries in `range`.
    fn splice(&mut self, range: Range<usize>, element: Option<Element<'_>>) {
        let size = element.map_or(0, Element::entry_bytes);
        let added = size.saturating_sub(range.len());
        self.make_room(End::Back, added);
        let (from, to) = (self.start() + range.start, self.start() + range.end);
        let end = self.buf.len();
        self.buf.resize(end + added, 0);
        self.buf.copy_within(to..end, from + size);
        self.buf.truncate(end - range.len() + size);
        if let Some(element) = element {
            element.write(&mut self.buf[from..]);
        }
    }

    /// Makes sure that `bytes` more fit at an end without an allocation or a move.
    #[inline]
    fn make_room(&mut self, end: End, bytes: usize) {
        let has_room = match end {
            End::Front => self.start() >= HEADER_BYTES + bytes,
            End::Back => !self.buf.is_empty() && self.buf.capacity() - self.buf.len() >= bytes,
        };
        if !has_room {
            self.make_room_slowly(end, bytes);
        }
    }

    #[inline(never)]
    fn make_room_slowly(&mut self, end: End, bytes: usize) {
        let used = self.used();
        let needed = HEADER_BYTES + used + bytes;
        // What has never grown is not expected to: a long element alone takes what it needs.
        let capacity = if used == 0 && needed > PACK_MAX_BYTES {
            needed
        } else {
            allocator_size(needed)
        };
        let capacity = capacity.max(self.buf.capacity());
        let spare = capacity - needed;
        // A block that had to grow is likely to grow again at the same end. Within the same block,
        // what is spare is divided, so that pushes at both ends in turn do not move all each time.
        let grows = capacity > self.buf.capacity();
        let gap = match end {
            End::Front if grows => bytes + spare,
            End::Front => bytes + spare / 2,
            End::Back if grows => 0,
            End::Back => spare / 2,
        };
        self.relocate(HEADER_BYTES + gap, capacity);
    }

    /// Moves the entries to `start`, in a block of at least `capacity` bytes.
    fn relocate(&mut self, start: usize, capacity: usize) {
        let (old, used, len) = (self.start(), self.used(), self.len());
        if self.buf.is_empty() || capacity != self.buf.capacity() && start != old {
            let mut buf = Vec::with_capacity(capacity);
            buf.resize(start, 0);
            buf.extend_from_slice(&self.buf[old..]);
            self.buf = buf;
        } else {
            self.buf.reserve_exact(capacity - self.buf.len());
            if start > old {
                self.buf.resize(start + used, 0);
            }
            self.buf.copy_within(old..old + used, start);
            self.buf.truncate(start + used);
        }
        self.set_header(0, start);
        self.set_header(4, len);
    }

    /// Gives memory back when less than half of it is used.
    #[inline]
    fn shrink(&mut self) {
        let needed = HEADER_BYTES + self.used();
        if self.buf.capacity() > SHRINK_MIN_BYTES && self.buf.capacity() > 2 * needed {
            self.shrink_to(needed + needed / 4);
        }
    }

    #[inline(never)]
    fn shrink_to(&mut self, bytes: usize) {
        let capacity = allocator_size(bytes);
        let spare = capacity - HEADER_BYTES - self.used();
        let mut buf = Vec::with_capacity(capacity);
        let start = HEADER_BYTES + spare / 2;
        buf.resize(start, 0);
        buf.extend_from_slice(self.entries());
        let len = self.len();
        self.buf = buf;
        self.set_header(0, start);
        self.set_header(4, len);
    }
}

impl Clone for Pack {
    /// A copy with the same room, because what is copied is about to be changed.
    fn clone(&self) -> Self {
        let mut buf = Vec::with_capacity(self.buf.capacity());
        buf.extend_from_slice(&self.buf);
        Self { buf }
    }
}

/// The size of the block that the allocator gives for `bytes`: there are four sizes between a power
/// of two and the next.
fn allocator_size(bytes: usize) -> usize {
    let step = match bytes {
        0..=64 => 16,
        _ => 1 << ((bytes - 1).ilog2() - 2),
    };
    bytes.next_multiple_of(step)
}
