//! A map from IDs to something small, in pages that clones share.
//!
//! Pending entries come in ascending order and go in any. Pages are filled to the end when they
//! grow there, divided when they grow elsewhere, and joined with a neighbour when they have become
//! nearly empty. How a map is divided is nobody's business: content and order do not depend on it.

use std::collections::VecDeque;
use std::mem::size_of;
use std::sync::Arc;

use super::id::StreamId;

/// How much a page holds at most.
const PAGE_MAX: usize = 128;

/// Two neighbours that have no more than this together become one.
const JOINED_MAX: usize = PAGE_MAX / 2;

type Page<V> = Vec<(StreamId, V)>;

/// A map ordered by ID.
///
/// Invariants: no page is empty or has more than [`PAGE_MAX`] records; IDs rise within pages and
/// from page to page; `len` and `page_bytes` are sums over all pages.
#[derive(Clone, Debug)]
pub(super) struct IdMap<V> {
    pages: VecDeque<Arc<Page<V>>>,
    len: usize,
    page_bytes: usize,
}

impl<V: Copy> IdMap<V> {
    /// Number of records.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Bytes of heap memory. Constant time.
    pub(super) fn heap_bytes(&self) -> usize {
        self.pages.capacity() * size_of::<Arc<Page<V>>>() + self.page_bytes
    }

    /// What is held under an ID.
    pub(super) fn get(&self, id: StreamId) -> Option<V> {
        let page = self.pages.get(self.page_of(id)?)?;
        let at = page.binary_search_by_key(&id, |record| record.0).ok()?;
        Some(page[at].1)
    }

    /// Puts something under an ID, in the place of what is there.
    pub(super) fn insert(&mut self, id: StreamId, value: V) {
        let last = self.pages.back().and_then(|page| page.last());
        if last.is_none_or(|&(last, _)| last < id) {
            return self.push(id, value);
        }
        // An ID before all others belongs to the first page.
        let number = self.page_of(id).unwrap_or(0);
        let found = self.pages[number].binary_search_by_key(&id, |record| record.0);
        match found {
            Ok(at) => self.edit(number, |page| page[at].1 = value),
            Err(at) => {
                self.edit(number, |page| page.insert(at, (id, value)));
                self.len += 1;
                if self.pages[number].len() > PAGE_MAX {
                    let rest = self.edit(number, |page| page.split_off(PAGE_MAX / 2));
                    self.insert_page(number + 1, rest);
                }
            }
        }
    }

    /// Takes out what is under an ID.
    pub(super) fn remove(&mut self, id: StreamId) -> Option<V> {
        let number = self.page_of(id)?;
        let found = self.pages[number].binary_search_by_key(&id, |record| record.0);
        let at = found.ok()?;
        let removed = self.edit(number, |page| {
            let removed = page.remove(at).1;
            if page.len() * 4 <= page.capacity() {
                page.shrink_to(page.len() * 2);
            }
            removed
        });
        self.len -= 1;
        self.join(number);
        Some(removed)
    }

    /// The records from `start` on, in order.
    pub(super) fn range(&self, start: StreamId) -> impl Iterator<Item = (StreamId, V)> {
        let from = self.page_of(start).unwrap_or(0).min(self.pages.len());
        let records = self.pages.range(from..).flat_map(|page| page.iter());
        records.copied().skip_while(move |&(id, _)| id < start)
    }

    /// The records from number `from` on, in order.
    pub(super) fn skip(&self, from: usize) -> impl Iterator<Item = (StreamId, V)> {
        let (mut number, mut left) = (0, from);
        while let Some(page) = self.pages.get(number)
            && left >= page.len()
        {
            left -= page.len();
            number += 1;
        }
        let records = self.pages.range(number..).flat_map(|page| page.iter());
        records.copied().skip(left)
    }

    /// The least and the greatest ID.
    pub(super) fn ends(&self) -> Option<(StreamId, StreamId)> {
        let (first, last) = (self.pages.front()?.first()?, self.pages.back()?.last()?);
        Some((first.0, last.0))
    }

    /// Panics unless what the type promises holds.
    #[cfg(test)]
    pub(super) fn check_invariants(&self) {
        let mut before = None;
        for (id, _) in self.range(StreamId::MIN) {
            assert!(before < Some(id));
            before = Some(id);
        }
        let lens = self.pages.iter().map(|page| page.len());
        assert!(lens.clone().all(|len| (1..=PAGE_MAX).contains(&len)));
        assert_eq!(self.len, lens.sum::<usize>());
        let bytes = self.pages.iter().map(|page| bytes_of(page));
        assert_eq!(self.page_bytes, bytes.sum::<usize>());
    }

    /// The page that holds an ID if any does: the last that begins with it or earlier.
    fn page_of(&self, id: StreamId) -> Option<usize> {
        let behind = self.pages.partition_point(|page| page[0].0 <= id);
        behind.checked_sub(1)
    }

    fn push(&mut self, id: StreamId, value: V) {
        self.len += 1;
        match self.pages.back() {
            Some(page) if page.len() < PAGE_MAX => {
                let last = self.pages.len() - 1;
                self.edit(last, |page| page.push((id, value)));
            }
            _ => self.insert_page(self.pages.len(), vec![(id, value)]),
        }
    }

    /// Drops a page that has become empty, or joins it with the next one or the one before.
    fn join(&mut self, number: usize) {
        if self.pages[number].is_empty() {
            self.take_page(number);
            return;
        }
        let len = |at: usize| self.pages.get(at).map_or(PAGE_MAX, |page| page.len());
        let first = match number.checked_sub(1) {
            _ if len(number) + len(number + 1) <= JOINED_MAX => number,
            Some(before) if len(before) + len(number) <= JOINED_MAX => before,
            _ => return,
        };
        let next = self.take_page(first + 1);
        self.edit(first, |page| page.extend_from_slice(&next));
    }

    fn insert_page(&mut self, at: usize, page: Page<V>) {
        self.page_bytes += bytes_of(&page);
        self.pages.insert(at, Arc::new(page));
    }

    fn take_page(&mut self, at: usize) -> Arc<Page<V>> {
        let page = self.pages.remove(at).expect("callers name a page");
        self.page_bytes -= bytes_of(&page);
        if self.pages.len() * 4 < self.pages.capacity() {
            self.pages.shrink_to(self.pages.len() * 2);
        }
        page
    }

    /// Changes a page, copying it if it is shared.
    fn edit<R>(&mut self, at: usize, change: impl FnOnce(&mut Page<V>) -> R) -> R {
        let page = &mut self.pages[at];
        let before = bytes_of(page);
        let page = Arc::make_mut(page);
        let result = change(page);
        self.page_bytes = self.page_bytes - before + bytes_of(page);
        result
    }
}

impl<V> Default for IdMap<V> {
    fn default() -> Self {
        Self {
            pages: VecDeque::new(),
            len: 0,
            page_bytes: 0,
        }
    }
}

/// Bytes of memory of a page, with the two counters that stand before it.
fn bytes_of<V>(page: &Page<V>) -> usize {
    2 * size_of::<usize>() + size_of::<Page<V>>() + page.capacity() * size_of::<(StreamId, V)>()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use proptest::prelude::*;

    fn id(number: u16) -> StreamId {
        StreamId {
            ms: u64::from(number) / 7,
            seq: u64::from(number) % 7,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]
        #[test]
        fn a_map_is_a_map_and_its_clones_stay_as_they_were(
            steps in prop::collection::vec((0..5u8, any::<u16>()), 0..900),
            space in 1..2000u16,
        ) {
            let (mut map, mut model) = (IdMap::default(), BTreeMap::new());
            let mut next = 0;
            let mut clone: Option<(IdMap<u16>, BTreeMap<StreamId, u16>)> = None;
            for (at, (step, number)) in steps.into_iter().enumerate() {
                let number = number % space;
                match step {
                    0 | 1 => {
                        next += 1;
                        map.insert(id(space + next), number);
                        model.insert(id(space + next), number);
                    }
                    2 => {
                        map.insert(id(number), number);
                        model.insert(id(number), number);
                    }
                    _ => prop_assert_eq!(map.remove(id(number + next / 2)), model.remove(&id(number + next / 2))),
                }
                prop_assert_eq!(map.get(id(number)), model.get(&id(number)).copied());
                if at % 100 == 0 {
                    clone = Some((map.clone(), model.clone()));
                }
            }
            map.check_invariants();
            for (map, model) in clone.into_iter().chain([(map, model)]) {
                let all: Vec<_> = model.iter().map(|(&id, &value)| (id, value)).collect();
                prop_assert_eq!(map.len(), all.len());
                prop_assert!(map.range(StreamId::MIN).eq(all.iter().copied()));
                prop_assert!(map.range(id(space)).eq(all.iter().copied().filter(|&(at, _)| at >= id(space))));
                prop_assert!(map.skip(130).eq(all.iter().copied().skip(130)));
                prop_assert_eq!(map.ends(), all.first().map(|first| (first.0, all[all.len() - 1].0)));
            }
        }
    }
}
