//! What table and tree of a large set share: a member with its score.

use std::cmp::Ordering;

use super::Scored;
use crate::keyspace::{Entry, NewValue, Stamp, ValueRef};

/// A member and its score.
///
/// The member stands in the same kind of block as a key of the keyspace, its score in the place of
/// the value, so that the index by member and the tree can share it: a pointer here, a pointer
/// there. The score is repeated beside the pointer, so that a search looks at members only where
/// scores are equal.
#[derive(Clone)]
pub(super) struct Element {
    score: f64,
    block: Entry,
}

impl Element {
    /// A new block.
    pub(super) fn new(member: &[u8], score: f64) -> Self {
        Self {
            score,
            block: Entry::new(member, score_value(score), None, Stamp::default()),
        }
    }

    /// An element that shares the index's block.
    pub(super) fn of(block: &Entry) -> Self {
        Self {
            score: score_of(block),
            block: block.clone(),
        }
    }

    /// The block, to be shared with the index.
    pub(super) fn block(&self) -> &Entry {
        &self.block
    }

    /// Member and score.
    pub(super) fn scored(&self) -> Scored<'_> {
        (self.block.key(), self.score)
    }

    /// Where the element stands relative to a place.
    pub(super) fn cmp(&self, (member, score): Scored<'_>) -> Ordering {
        // Not `order`: it wants the member's bytes, hence the block, even where scores differ.
        match self.score.partial_cmp(&score) {
            Some(Ordering::Equal) | None => self.block.key().cmp(member),
            Some(different) => different,
        }
    }
}

/// A score as the value of a block.
pub(super) fn score_value(score: f64) -> NewValue<'static> {
    NewValue::Int(score.to_bits() as i64)
}

/// The score in a block.
pub(super) fn score_of(block: &Entry) -> f64 {
    match block.value() {
        ValueRef::Int(bits) => f64::from_bits(bits as u64),
        other => unreachable!("a member's block holds its score, not {other:?}"),
    }
}
