//! Many members: found by name in a hash table, by score and rank in a tree.
//!
//! Table and tree share one block of memory for each member. Both are made of pieces behind `Arc`,
//! so a clone costs a pointer for a segment of the table, and later changes copy single pieces.
//!
//! The table is one of those that hold the keyspace's keys. What comes with it: growth without a
//! pause, scans in hash order with Redis's guarantee, and memory that is counted as it changes.

use super::Scored;
use super::element::{Element, score_of, score_value};
use super::tree::{Tree, Walk};
use crate::keyspace::{Expiry, Stamp, Table};

/// Invariant: the table and the tree hold the same blocks.
#[derive(Clone)]
pub(super) struct Large {
    index: Table,
    tree: Tree,
}

impl Large {
    /// An empty one; `seed` orders scans.
    pub(super) fn new(seed: u64) -> Self {
        Self {
            index: Table::new(seed),
            tree: Tree::default(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.tree.len()
    }

    pub(super) fn heap_bytes(&self) -> usize {
        size_of::<Self>() + self.index.memory_bytes() + self.tree.heap_bytes()
    }

    pub(super) fn score(&self, member: &[u8]) -> Option<f64> {
        self.index.get(member).map(score_of)
    }

    /// Adds a member that is not there.
    pub(super) fn insert(&mut self, member: &[u8], score: f64) {
        let element = Element::new(member, score);
        self.index.insert(element.block().clone());
        self.tree.insert(element);
    }

    /// Gives a member another score; `old` is the present one.
    pub(super) fn rescore(&mut self, member: &[u8], old: f64, new: f64) {
        // Out of the tree first: a block that only the index has is written in place.
        drop(self.tree.remove(self.tree.rank((member, old))));
        let stamp = Stamp::default();
        self.index
            .set(member, score_value(new), Expiry::None, stamp);
        let block = self.index.get(member).expect("it has just been set");
        self.tree.insert(Element::of(block));
    }

    /// Takes out the element of a rank.
    pub(super) fn remove(&mut self, rank: usize) {
        let element = self.tree.remove(rank);
        let removed = self.index.remove(element.block().key());
        assert!(removed.is_some(), "a member of the tree is in the index");
    }

    pub(super) fn tree(&self) -> &Tree {
        &self.tree
    }

    pub(super) fn walk(&self, start: usize, end: usize, reverse: bool) -> Walk<'_> {
        self.tree.walk(start, end, reverse)
    }

    /// Visits about `count` members from a cursor on in hash order, see [`Table::scan`].
    pub(super) fn scan<'a>(
        &'a self,
        cursor: u64,
        count: usize,
        mut visit: impl FnMut(Scored<'a>),
    ) -> u64 {
        self.index
            .scan(cursor, count, |block| visit((block.key(), score_of(block))))
    }

    /// Panics if an invariant of the type does not hold. Slow; for tests.
    #[cfg(test)]
    pub(super) fn check_invariants(&self) {
        self.index.check_invariants();
        self.tree.check_invariants();
        assert_eq!(self.index.len(), self.tree.len());
        for (member, score) in self.walk(0, self.len(), false) {
            let block = self.index.get(member).expect("in the index");
            assert!(std::ptr::eq(block.key(), member), "one block for both");
            assert_eq!(score_of(block).to_bits(), score.to_bits());
        }
    }
}
