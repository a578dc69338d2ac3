//! Walks over the elements of a list, in both directions.

use super::element::{self, Element};
use super::{List, Pack};

/// Walks towards the back. See [`List::iter`].
#[derive(Clone)]
pub struct Iter<'a> {
    list: &'a List,
    /// The pack behind the one that is being read.
    next_pack: usize,
    /// What is left of the pack.
    entries: &'a [u8],
}

impl<'a> Iter<'a> {
    pub(super) fn new(list: &'a List, start: usize) -> Self {
        if start >= list.len() {
            return Self {
                list,
                next_pack: usize::MAX,
                entries: &[],
            };
        }
        let place = list.place(start);
        let (pack, offset) = list.locate(start);
        Self {
            list,
            next_pack: place.link + 1,
            entries: &pack.entries()[pack.seek(offset)..],
        }
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = Element<'a>;

    #[inline]
    fn next(&mut self) -> Option<Element<'a>> {
        if self.entries.is_empty() {
            self.entries = self.list.pack(self.next_pack)?.entries();
            self.next_pack += 1;
            if self.entries.is_empty() {
                return None;
            }
        }
        let (element, size) = element::read(self.entries);
        self.entries = &self.entries[size..];
        Some(element)
    }
}

/// Walks towards the front. See [`List::iter_back`].
#[derive(Clone)]
pub struct IterBack<'a> {
    list: &'a List,
    /// The pack that is being read.
    pack: usize,
    /// What is left of the pack.
    entries: &'a [u8],
}

impl<'a> IterBack<'a> {
    pub(super) fn new(list: &'a List, end: usize) -> Self {
        let Some(last) = end.min(list.len()).checked_sub(1) else {
            return Self {
                list,
                pack: 0,
                entries: &[],
            };
        };
        let place = list.place(last);
        let (pack, offset) = list.locate(last);
        Self {
            list,
            pack: place.link,
            entries: &pack.entries()[..pack.seek(offset + 1)],
        }
    }
}

impl<'a> Iterator for IterBack<'a> {
    type Item = Element<'a>;

    #[inline]
    fn next(&mut self) -> Option<Element<'a>> {
        if self.entries.is_empty() {
            self.pack = self.pack.checked_sub(1)?;
            self.entries = self.list.pack(self.pack).map_or(&[], Pack::entries);
            if self.entries.is_empty() {
                return None;
            }
        }
        let at = self.entries.len() - element::last_entry_bytes(self.entries);
        let (element, _) = element::read(&self.entries[at..]);
        self.entries = &self.entries[..at];
        Some(element)
    }
}
