//! A long list: a deque of packs.
//!
//! Where packs are divided follows Redis's quicklist with `list-max-listpack-size -2`, because that
//! shows: a list whose packs have dwindled to a single small one is reported, and kept, as one pack
//! again. One thing is different. Where Redis lets a pack outgrow the limit (a large element set in
//! the place of a small one or inserted between small ones, or very many tiny ones pushed at once),
//! it is divided here, so nothing ever moves more than [`PACK_MAX_BYTES`] bytes, or one element.
//!
//! Packs are shared between clones of a list, and copied when one of the owners changes them. So to
//! write to a list that a checkpoint holds costs one copy of the deque, sixteen bytes a pack, and
//! one of the pack in question.

use std::collections::VecDeque;
use std::mem::size_of;
use std::ops::Range;
use std::sync::Arc;

use super::element::{self, Element};
use super::pack::Pack;
use super::{End, PACK_MAX_BYTES, Side};

/// What Redis adds to the length of a string to be sure that the entry fits.
const ENTRY_OVERHEAD_BYTES: usize = 8;

/// What two packs need less when they become one.
const MERGED_OVERHEAD_BYTES: usize = 7;

/// A pack with its length at hand, so that skipping it does not touch it.
#[derive(Clone)]
struct Link {
    pack: Arc<Pack>,
    len: u32,
}

impl Link {
    fn new(pack: Pack) -> Self {
        Self {
            len: pack.len() as u32,
            pack: Arc::new(pack),
        }
    }

    fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether Redis would add a string of `bytes` to this pack.
    fn has_room(&self, bytes: usize) -> bool {
        self.pack.listpack_bytes() + bytes + ENTRY_OVERHEAD_BYTES <= PACK_MAX_BYTES
    }
}

/// The place of an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Which pack.
    pub(super) link: usize,
    /// Which element of the pack.
    pub(super) offset: usize,
}

/// A deque of packs.
///
/// Invariants: no pack is empty; each has one element or at most [`PACK_MAX_BYTES`] in Redis's
/// form; `len` and `pack_bytes` are the sums over all packs.
#[derive(Clone, Default)]
pub(super) struct Chunked {
    links: VecDeque<Link>,
    len: usize,
    pack_bytes: usize,
}

impl Chunked {
    /// Adds a pack at the back, divided if it is too long for one. An empty one is left out.
    pub(super) fn push_pack(&mut self, mut pack: Pack) {
        while pack.listpack_bytes() > PACK_MAX_BYTES && pack.len() > 1 {
            let rest = pack.split_off(fitting_len(&pack));
            self.insert_link(self.links.len(), pack);
            pack = rest;
        }
        if pack.len() > 0 {
            self.insert_link(self.links.len(), pack);
        }
    }

    /// The only pack, if there is just one and Redis's form of it has at most `bytes`.
    pub(super) fn take_only_pack(&mut self, bytes: usize) -> Option<Pack> {
        let link = self.links.front()?;
        if self.links.len() > 1 || link.pack.listpack_bytes() > bytes {
            return None;
        }
        let link = self.links.pop_front()?;
        Some(Arc::unwrap_or_clone(link.pack))
    }

    /// Number of elements.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Bytes of heap memory, its own included. Constant time.
    pub(super) fn heap_bytes(&self) -> usize {
        // The two counters of an Arc stand before the pack.
        let pack_bytes = 2 * size_of::<usize>() + size_of::<Pack>();
        size_of::<Self>()
            + self.links.capacity() * size_of::<Link>()
            + self.links.len() * pack_bytes
            + self.pack_bytes
    }

    /// Number of packs.
    pub(super) fn packs(&self) -> usize {
        self.links.len()
    }

    /// A pack by its number.
    pub(super) fn pack(&self, link: usize) -> Option<&Pack> {
        self.links.get(link).map(|link| &*link.pack)
    }

    /// Where the element at `index`, which must be there, stands.
    pub(super) fn locate(&self, index: usize) -> Place {
        assert!(index < self.len, "element {index} of {}", self.len);
        if index <= self.len / 2 {
            let mut offset = index;
            for (link, held) in self.links.iter().enumerate() {
                if offset < held.len() {
                    return Place { link, offset };
                }
                offset -= held.len();
            }
        } else {
            let mut behind = self.len - index;
            for (link, held) in self.links.iter().enumerate().rev() {
                if behind <= held.len() {
                    let offset = held.len() - behind;
                    return Place { link, offset };
                }
                behind -= held.len();
            }
        }
        unreachable!("the lengths of the packs add up to that of the list")
    }

    /// Adds an element at an end.
    pub(super) fn push(&mut self, end: End, bytes: &[u8]) {
        let element = Element::of(bytes);
        let (outer, behind) = match end {
            End::Front => (0, 0),
            End::Back => (self.links.len().wrapping_sub(1), self.links.len()),
        };
        match self.links.get(outer) {
            Some(link) if link.has_room(bytes.len()) => {
                self.edit(outer, |pack| pack.push(end, element));
            }
            _ => self.insert_link(behind, single(element)),
        }
    }

    /// Inserts an element beside the one at `place`, wherever Redis would find room for it.
    pub(super) fn insert(&mut self, place: Place, side: Side, bytes: &[u8]) {
        let element = Element::of(bytes);
        let Place { link, offset } = place;
        let held = &self.links[link];
        let (split, is_outer) = match side {
            Side::Before => (offset, offset == 0),
            Side::After => (offset + 1, offset + 1 == held.len()),
        };
        if held.has_room(bytes.len()) {
            self.edit(link, |pack| pack.insert(split, element));
            return;
        }
        if is_outer {
            return self.insert_between(link, side, element, bytes.len());
        }
        let right = self.edit(link, |pack| pack.split_off(split));
        self.insert_link(link + 1, right);
        let (center, part, end) = match side {
            Side::Before => (link + 1, link, End::Back),
            Side::After => (link, link + 1, End::Front),
        };
        if !self.links[part].has_room(bytes.len()) {
            return self.insert_link(link + 1, single(element));
        }
        self.edit(part, |pack| pack.push(end, element));
        self.merge_around(center);
    }

    /// Puts an element in the place of another.
    pub(super) fn set(&mut self, place: Place, bytes: &[u8]) {
        let element = Element::of(bytes);
        let Place { link, offset } = place;
        let held = &self.links[link];
        let old = held.pack.get(offset).entry_bytes();
        let size = held.pack.listpack_bytes() - old + element.entry_bytes();
        if size <= PACK_MAX_BYTES || held.len() == 1 {
            self.edit(link, |pack| pack.replace(offset, element));
            return;
        }
        // The element gets a pack of its own between what was before it and what was behind it.
        let right = self.edit(link, |pack| {
            let right = pack.split_off(offset + 1);
            pack.remove(offset, 1);
            right
        });
        if right.len() > 0 {
            self.insert_link(link + 1, right);
        }
        self.insert_link(link + 1, single(element));
        if self.links[link].len == 0 {
            self.remove_link(link);
        }
    }

    /// Removes `count` elements from `start` on, which must be there.
    pub(super) fn remove(&mut self, start: usize, count: usize) {
        if count == 0 {
            return;
        }
        let Place { mut link, offset } = self.locate(start);
        let mut left = count;
        let first = (self.links[link].len() - offset).min(left);
        if first < self.links[link].len() {
            self.edit(link, |pack| pack.remove(offset, first));
            left -= first;
            link += 1;
        }
        let mut whole = link;
        while left > 0 && left >= self.links[whole].len() {
            left -= self.links[whole].len();
            whole += 1;
        }
        self.remove_links(link..whole);
        if left > 0 {
            self.edit(link, |pack| pack.remove(0, left));
        }
    }

    /// Removes up to `limit` elements equal to `element`, starting from an end. Returns how many.
    pub(super) fn remove_equal(&mut self, element: Element<'_>, from: End, limit: usize) -> usize {
        let before = self.len;
        let mut at = match from {
            End::Front => 0,
            End::Back => self.links.len(),
        };
        loop {
            let left = limit - (before - self.len);
            let link = match from {
                End::Front => at,
                End::Back => at.wrapping_sub(1),
            };
            if left == 0 || link >= self.links.len() {
                return before - self.len;
            }
            let found = equal_entries(&self.links[link].pack, element, from, left);
            let is_gone = found.len() == self.links[link].len();
            match (is_gone, found.is_empty()) {
                (true, _) => self.remove_link(link),
                (false, true) => {}
                (false, false) => self.edit(link, |pack| pack.remove_ranges(&found)),
            }
            at = match from {
                End::Front => link + usize::from(!is_gone),
                End::Back => link,
            };
        }
    }

    #[cfg(test)]
    pub(super) fn check_invariants(&self) {
        let (mut len, mut bytes) = (0, 0);
        for link in &self.links {
            link.pack.check_invariants();
            assert_eq!(link.len(), link.pack.len());
            assert!(link.len > 0, "an empty pack");
            let size = link.pack.listpack_bytes();
            assert!(size <= PACK_MAX_BYTES || link.len == 1, "{size} bytes");
            len += link.len();
            bytes += link.pack.heap_bytes();
        }
        assert_eq!((len, bytes), (self.len, self.pack_bytes));
    }

    /// Inserts at an outer edge of a full pack: into the pack beyond, or into one of its own.
    fn insert_between(&mut self, link: usize, side: Side, element: Element<'_>, bytes: usize) {
        let (neighbour, end, between) = match side {
            Side::Before => (link.checked_sub(1), End::Back, link),
            Side::After => (Some(link + 1), End::Front, link + 1),
        };
        let held = neighbour.and_then(|neighbour| self.links.get(neighbour));
        match (neighbour, held) {
            (Some(neighbour), Some(held)) if held.has_room(bytes) => {
                self.edit(neighbour, |pack| pack.push(end, element));
            }
            _ => self.insert_link(between, single(element)),
        }
    }

    /// Joins small packs around one that has been divided: the two before it, the two behind it,
    /// then it with its neighbours.
    fn merge_around(&mut self, center: usize) {
        let mut center = center;
        if center >= 2 && self.merge(center - 2) {
            center -= 1;
        }
        self.merge(center + 1);
        if center >= 1 && self.merge(center - 1) {
            center -= 1;
        }
        self.merge(center);
    }

    /// Joins a pack and the next one if there is one and both fit into one. Returns whether they
    /// did.
    fn merge(&mut self, link: usize) -> bool {
        let (Some(one), Some(next)) = (self.links.get(link), self.links.get(link + 1)) else {
            return false;
        };
        let size = one.pack.listpack_bytes() + next.pack.listpack_bytes() - MERGED_OVERHEAD_BYTES;
        if size > PACK_MAX_BYTES {
            return false;
        }
        let next = next.pack.clone();
        self.remove_link(link + 1);
        self.edit(link, |pack| pack.append(&next));
        true
    }

    /// Changes a pack, which is copied first if it is shared.
    #[inline]
    fn edit<R>(&mut self, link: usize, change: impl FnOnce(&mut Pack) -> R) -> R {
        let held = &mut self.links[link];
        self.pack_bytes -= held.pack.heap_bytes();
        self.len -= held.len();
        let pack = Arc::make_mut(&mut held.pack);
        let result = change(pack);
        held.len = pack.len() as u32;
        self.pack_bytes += pack.heap_bytes();
        self.len += held.len();
        result
    }

    fn insert_link(&mut self, at: usize, pack: Pack) {
        self.len += pack.len();
        self.pack_bytes += pack.heap_bytes();
        self.links.insert(at, Link::new(pack));
    }

    fn remove_link(&mut self, at: usize) {
        self.remove_links(at..at + 1);
    }

    fn remove_links(&mut self, range: Range<usize>) {
        for link in self.links.drain(range) {
            self.len -= link.len();
            self.pack_bytes -= link.pack.heap_bytes();
        }
        if self.links.capacity() > 4 * (self.links.len() + 4) {
            self.links.shrink_to(2 * self.links.len());
        }
    }
}

/// Where, in a pack's entries, up to `limit` elements equal to `element` stand, from an end on. In
/// the order in which they stand.
pub(super) fn equal_entries(
    pack: &Pack,
    element: Element<'_>,
    from: End,
    limit: usize,
) -> Vec<Range<usize>> {
    let entries = pack.entries();
    let mut found = Vec::new();
    match from {
        End::Front => {
            let mut at = 0;
            while at < entries.len() && found.len() < limit {
                let (held, size) = element::read(&entries[at..]);
                if held == element {
                    found.push(at..at + size);
                }
                at += size;
            }
        }
        End::Back => {
            let mut end = entries.len();
            while end > 0 && found.len() < limit {
                let at = end - element::last_entry_bytes(&entries[..end]);
                if element::read(&entries[at..]).0 == element {
                    found.push(at..end);
                }
                end = at;
            }
            found.reverse();
        }
    }
    found
}

fn single(element: Element<'_>) -> Pack {
    let mut pack = Pack::default();
    pack.push(End::Back, element);
    pack
}

/// How many elements from the front make a pack that is not too long; at least one.
fn fitting_len(pack: &Pack) -> usize {
    let entries = pack.entries();
    let room = PACK_MAX_BYTES - (pack.listpack_bytes() - entries.len());
    let (mut at, mut len) = (0, 0);
    loop {
        at += element::read(&entries[at..]).1;
        if at > room {
            return len.max(1);
        }
        len += 1;
    }
}
