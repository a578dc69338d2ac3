//! A stretch of a tree: neighbouring leaves.

use std::sync::Arc;

use super::leaf::Leaf;

/// A page with more leaves is split.
const MAX_LEAVES: usize = 64;

/// A leaf, and what a search must know of it.
#[derive(Clone, Debug)]
pub(super) struct LeafRef {
    /// No hash in the leaf is lower, and all lower ones are before it.
    pub(super) low: u64,
    /// Records in the leaf.
    pub(super) len: u32,
    pub(super) leaf: Arc<Leaf>,
}

impl LeafRef {
    /// A leaf that is not empty, for the hashes from its first one on.
    pub(super) fn of(leaf: Leaf) -> Self {
        Self {
            low: leaf.hash(0),
            len: leaf.len() as u32,
            leaf: Arc::new(leaf),
        }
    }
}

/// Leaves in the order of their hashes.
///
/// Invariants: never empty; `leaves[i].low` rise; each is right about its leaf.
#[derive(Clone, Debug)]
pub(super) struct Page {
    pub(super) leaves: Vec<LeafRef>,
}

impl Page {
    /// Bytes of the page itself, without its leaves.
    pub(super) fn own_bytes(&self) -> usize {
        2 * size_of::<usize>() + size_of::<Self>() + self.leaves.capacity() * size_of::<LeafRef>()
    }

    /// The leaf in which `hash` belongs.
    pub(super) fn index_of(&self, hash: u64) -> usize {
        let behind = self.leaves.partition_point(|leaf| leaf.low <= hash);
        behind.saturating_sub(1)
    }

    /// Puts a leaf behind number `at`.
    pub(super) fn insert_behind(&mut self, at: usize, leaf: LeafRef) {
        if self.leaves.len() == self.leaves.capacity() {
            self.leaves.reserve_exact((self.leaves.len() / 8).max(2));
        }
        self.leaves.insert(at + 1, leaf);
    }

    /// Takes out a leaf that is not the first, and corrects the page's own part of `heap_bytes`.
    pub(super) fn remove(&mut self, at: usize, heap_bytes: &mut usize) -> LeafRef {
        *heap_bytes -= self.own_bytes();
        let leaf = self.leaves.remove(at);
        if self.leaves.capacity() > 2 * self.leaves.len() {
            self.leaves.shrink_to_fit();
        }
        *heap_bytes += self.own_bytes();
        leaf
    }

    /// Records in all leaves.
    pub(super) fn len(&self) -> usize {
        self.leaves.iter().map(|leaf| leaf.len as usize).sum()
    }

    pub(super) fn is_full(&self) -> bool {
        self.leaves.len() > MAX_LEAVES
    }

    pub(super) fn is_sparse(&self) -> bool {
        self.leaves.len() < MAX_LEAVES / 4
    }

    pub(super) fn can_join(&self, other: &Self) -> bool {
        self.leaves.len() + other.leaves.len() <= MAX_LEAVES * 3 / 4
    }

    /// Takes out the upper half.
    pub(super) fn split(&mut self) -> Self {
        let upper = self.leaves.split_off(self.leaves.len() / 2);
        self.leaves.shrink_to_fit();
        Self { leaves: upper }
    }

    pub(super) fn join(&mut self, next: &Self) {
        self.leaves.reserve_exact(next.leaves.len());
        self.leaves.extend_from_slice(&next.leaves);
    }
}
