//! Keys, with or without values, in the order of their hashes: what large sets and hashes are.
//!
//! A tree of three levels: pages of leaves of records. A record is a few bytes in its leaf, so an
//! element of a large value has no allocation and no pointer of its own.
//!
//! **Order.** Records stand in the order of (hash under the tree's seed, key), which does not
//! depend on how the tree grew. [`HashTree::nth`] finds a record by its rank, so choosing one at
//! random is exact, and [`HashTree::scan`]'s cursor is a position in that order: insertions and
//! removals do not move anybody else, so an element that is there throughout a scan is returned,
//! and once.
//!
//! **Sharing.** Pages and leaves stand behind `Arc`. Cloning a tree of a million records copies
//! some hundred pointers; the first change of a clone copies a page of pointers and a leaf.
//!
//! **Bounds.** A change moves at most a leaf's bytes (a few kilobytes, or one long record), now and
//! then a page's pointers, and, once in some thousand changes, the pointers to all pages.

mod leaf;
mod page;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use super::KeyHash;
use leaf::Leaf;
pub(super) use leaf::Record;
use page::{LeafRef, Page};

/// A scan's cursor counts in units of 2^16 hashes, so it is below 2^48 and survives clients that
/// keep numbers as doubles.
const POSITION_SHIFT: u32 = 16;

/// A page, and what a search must know of it.
#[derive(Clone, Debug)]
struct PageRef {
    low: u64,
    /// Records in all leaves.
    len: usize,
    page: Arc<Page>,
}

/// Records in hash order.
///
/// Invariants: there is a page, and each has a leaf, which may be empty; `low` of the first page
/// and its first leaf is 0, and every page's is that of its first leaf; records of equal hash are
/// in one leaf; `len` and `heap_bytes` are the sums over all pages.
#[derive(Clone, Debug)]
pub(super) struct HashTree {
    seed: u64,
    with_values: bool,
    len: usize,
    heap_bytes: usize,
    pages: Vec<PageRef>,
}

/// Where a record is or belongs.
struct Place {
    page: usize,
    leaf: usize,
    /// In the leaf: where it is, or where it belongs.
    at: Result<usize, usize>,
    hash: u64,
}

impl HashTree {
    /// An empty tree, ordered by hashes under `seed`.
    pub(super) fn new(seed: u64, with_values: bool) -> Self {
        let leaf = Leaf::default();
        let mut tree = Self {
            seed,
            with_values,
            len: 0,
            heap_bytes: leaf.heap_bytes(),
            pages: Vec::new(),
        };
        let page = Page {
            leaves: vec![LeafRef {
                low: 0,
                len: 0,
                leaf: Arc::new(leaf),
            }],
        };
        tree.heap_bytes += page.own_bytes();
        tree.pages.push(PageRef {
            low: 0,
            len: 0,
            page: Arc::new(page),
        });
        tree
    }

    /// Number of records.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Bytes of memory behind this value's pointers.
    pub(super) fn heap_bytes(&self) -> usize {
        self.heap_bytes + self.pages.capacity() * size_of::<PageRef>()
    }

    /// The value of `key`; empty in a tree without values.
    pub(super) fn get(&self, key: &[u8]) -> Option<&[u8]> {
        let place = self.find(key);
        let at = place.at.ok()?;
        let leaf = &self.pages[place.page].page.leaves[place.leaf].leaf;
        Some(leaf.record(at, self.with_values).value)
    }

    /// Whether `key` is there.
    pub(super) fn contains(&self, key: &[u8]) -> bool {
        self.find(key).at.is_ok()
    }

    /// Adds `key`, or replaces its value. True if it is new. The value must be empty in a tree
    /// without values.
    pub(super) fn insert(&mut self, key: &[u8], value: &[u8]) -> bool {
        debug_assert!(self.with_values || value.is_empty());
        let place = self.find(key);
        let (record, with_values) = (Record { key, value }, self.with_values);
        if place.at.is_ok() && !with_values {
            return false;
        }
        let is_new = self.change(&place, |leaf| match place.at {
            Ok(at) => {
                leaf.replace(at, record, with_values);
                false
            }
            Err(at) => {
                leaf.insert(at, place.hash, record, with_values);
                true
            }
        });
        self.split_if_full(place.page, place.leaf);
        is_new
    }

    /// Removes `key`; false if it is not there.
    pub(super) fn remove(&mut self, key: &[u8]) -> bool {
        let place = self.find(key);
        let Ok(at) = place.at else {
            return false;
        };
        self.change(&place, |leaf| leaf.remove(at));
        self.join_if_sparse(place.page, place.leaf);
        true
    }

    /// The record of rank `rank` in hash order.
    pub(super) fn nth(&self, rank: usize) -> Option<Record<'_>> {
        self.iter_from(rank).next()
    }

    /// All records from rank `rank` on, in hash order.
    pub(super) fn iter_from(&self, rank: usize) -> impl Iterator<Item = Record<'_>> {
        let mut before = rank;
        let mut page = 0;
        while page < self.pages.len() && self.pages[page].len <= before {
            before -= self.pages[page].len;
            page += 1;
        }
        let pages = self.pages[page..].iter();
        pages
            .flat_map(|page| &page.page.leaves)
            .flat_map(move |leaf| {
                let skipped = before.min(leaf.len as usize);
                before -= skipped;
                (skipped..leaf.len as usize).map(move |at| leaf.leaf.record(at, self.with_values))
            })
    }

    /// Visits about `count` records from `cursor` on in hash order and returns the next cursor, 0
    /// at the end. Records at one position are never divided between two calls.
    pub(super) fn scan<'a>(
        &'a self,
        cursor: u64,
        count: usize,
        mut visit: impl FnMut(Record<'a>),
    ) -> u64 {
        if cursor >> (64 - POSITION_SHIFT) != 0 {
            return 0;
        }
        let first = cursor << POSITION_SHIFT;
        let page = self.page_of(first);
        let leaves = self.pages[page..].iter().flat_map(|page| &page.page.leaves);
        let mut visited = 0;
        let mut last = None;
        // The leaves before the one in question have lower hashes only.
        for leaf in leaves {
            let leaf = &leaf.leaf;
            for at in leaf.first_from(first)..leaf.len() {
                let position = leaf.hash(at) >> POSITION_SHIFT;
                if visited >= count && last != Some(position) {
                    return position;
                }
                visit(leaf.record(at, self.with_values));
                visited += 1;
                last = Some(position);
            }
        }
        0
    }

    fn find(&self, key: &[u8]) -> Place {
        let hash = KeyHash::of(key, self.seed).0;
        let page = self.page_of(hash);
        let leaves = &self.pages[page].page;
        let leaf = leaves.index_of(hash);
        Place {
            page,
            leaf,
            at: leaves.leaves[leaf].leaf.find(hash, key, self.with_values),
            hash,
        }
    }

    fn page_of(&self, hash: u64) -> usize {
        let behind = self.pages.partition_point(|page| page.low <= hash);
        behind.saturating_sub(1)
    }

    /// Changes the leaf of a place, copying what is shared, and keeps the sums.
    fn change<R>(&mut self, place: &Place, change: impl FnOnce(&mut Leaf) -> R) -> R {
        let page_ref = &mut self.pages[place.page];
        let bytes_of = |page: &Page| page.own_bytes() + page.leaves[place.leaf].leaf.heap_bytes();
        let before_bytes = bytes_of(&page_ref.page);
        let page = Arc::make_mut(&mut page_ref.page);
        let leaf_ref = &mut page.leaves[place.leaf];
        let before_len = leaf_ref.len as usize;
        let leaf = Arc::make_mut(&mut leaf_ref.leaf);
        let result = change(leaf);
        let len = leaf.len();
        leaf_ref.len = len as u32;
        page_ref.len = page_ref.len - before_len + len;
        self.len = self.len - before_len + len;
        self.heap_bytes = self.heap_bytes - before_bytes + bytes_of(page);
        result
    }

    /// Splits a leaf that has just been changed as long as it is too full, and its page if that has
    /// too many leaves then.
    fn split_if_full(&mut self, at: usize, leaf: usize) {
        let page_ref = &mut self.pages[at];
        if !page_ref.page.leaves[leaf].leaf.is_full() {
            return;
        }
        let page = Arc::make_mut(&mut page_ref.page);
        self.heap_bytes -= page.own_bytes();
        // The upper half is looked at first, so that the lower one stays where it is.
        let mut pending = vec![leaf];
        while let Some(at) = pending.pop() {
            let lower = Arc::make_mut(&mut page.leaves[at].leaf);
            let before_bytes = lower.heap_bytes();
            let upper = if lower.is_full() { lower.split() } else { None };
            let Some(upper) = upper else { continue };
            self.heap_bytes += lower.heap_bytes() + upper.heap_bytes();
            self.heap_bytes -= before_bytes;
            page.leaves[at].len = lower.len() as u32;
            page.insert_behind(at, LeafRef::of(upper));
            pending.extend([at, at + 1]);
        }
        if page.is_full() {
            let upper = page.split();
            let upper = PageRef {
                low: upper.leaves[0].low,
                len: upper.len(),
                page: Arc::new(upper),
            };
            page_ref.len -= upper.len;
            self.heap_bytes += page_ref.page.own_bytes() + upper.page.own_bytes();
            self.pages.insert(at + 1, upper);
        } else {
            self.heap_bytes += page.own_bytes();
        }
    }

    /// Joins a leaf from which something was just removed with a neighbour in its page, if little
    /// is left in it, and then the page with a neighbour.
    fn join_if_sparse(&mut self, at: usize, leaf: usize) {
        let page_ref = &mut self.pages[at];
        let leaves = &page_ref.page.leaves;
        if !leaves[leaf].leaf.is_sparse() {
            return;
        }
        let fits = |low: usize| leaves[low].leaf.can_join(&leaves[low + 1].leaf);
        let low = [Some(leaf), leaf.checked_sub(1)].into_iter().flatten();
        let low = low
            .filter(|low| low + 1 < leaves.len())
            .find(|&low| fits(low));
        if let Some(low) = low {
            let page = Arc::make_mut(&mut page_ref.page);
            let upper = page.remove(low + 1, &mut self.heap_bytes);
            let lower = &mut page.leaves[low];
            self.heap_bytes -= lower.leaf.heap_bytes() + upper.leaf.heap_bytes();
            let joined = Arc::make_mut(&mut lower.leaf);
            joined.join(&upper.leaf);
            lower.len = joined.len() as u32;
            self.heap_bytes += joined.heap_bytes();
        }
        if self.pages[at].page.is_sparse() {
            self.join_pages(at);
        }
    }

    fn join_pages(&mut self, at: usize) {
        let pages = &self.pages;
        let fits = |low: usize| pages[low].page.can_join(&pages[low + 1].page);
        let low = [Some(at), at.checked_sub(1)].into_iter().flatten();
        let Some(low) = low
            .filter(|low| low + 1 < pages.len())
            .find(|&low| fits(low))
        else {
            return;
        };
        let upper = self.pages.remove(low + 1);
        if self.pages.capacity() > 2 * self.pages.len() {
            self.pages.shrink_to_fit();
        }
        let lower = &mut self.pages[low];
        self.heap_bytes -= lower.page.own_bytes() + upper.page.own_bytes();
        let joined = Arc::make_mut(&mut lower.page);
        joined.join(&upper.page);
        lower.len += upper.len;
        self.heap_bytes += joined.own_bytes();
    }

    /// Panics if an invariant of the type does not hold. Slow; for tests.
    #[cfg(test)]
    pub(super) fn check_invariants(&self) {
        let (mut len, mut heap_bytes, mut last) = (0, 0, None::<(u64, Vec<u8>)>);
        let mut low = None;
        for page_ref in &self.pages {
            let page = &page_ref.page;
            assert_eq!(page_ref.low, page.leaves[0].low);
            assert_eq!(page_ref.len, page.len());
            heap_bytes += page.own_bytes();
            for leaf_ref in &page.leaves {
                let leaf = &leaf_ref.leaf;
                assert!(low.map_or(leaf_ref.low == 0, |low| low < leaf_ref.low));
                low = Some(leaf_ref.low);
                assert_eq!(leaf_ref.len as usize, leaf.len());
                heap_bytes += leaf.heap_bytes();
                len += leaf.len();
                for at in 0..leaf.len() {
                    let record = leaf.record(at, self.with_values);
                    let hash = KeyHash::of(record.key, self.seed).0;
                    assert_eq!(hash, leaf.hash(at));
                    assert!(hash >= leaf_ref.low);
                    let this = Some((hash, record.key.to_vec()));
                    assert!(last < this, "records rise");
                    last = this;
                }
            }
        }
        assert_eq!((self.len, self.heap_bytes), (len, heap_bytes));
    }
}
