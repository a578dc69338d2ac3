//! [`Pen`]: records that cannot be believed yet, because what would entitle their author, or the
//! author's key, has not come.
//!
//! Records of different nodes overtake each other: a prefix is delegated by a group whose own
//! record is still on its way. The pen holds such records until something changes. It is bounded as
//! a whole and for each sender, so that nobody can push out what others sent; the oldest of the
//! sender goes first. What waits too long is dropped with the reason why it waited.

use std::collections::{HashMap, HashSet, VecDeque};

use bailiwick_replication::NodeId;
use bytes::Bytes;

use super::keys::PublicKey;
use super::record::SignedRecord;
use super::store::Refusal;

/// How many records wait.
const PEN_RECORDS_MAX: usize = 4096;
/// How many of them from one sender.
pub const PEN_SENDER_MAX: usize = 1024;
/// After how many calls of [`Pen::grow_older`] a record is dropped.
pub const PEN_AGE_MAX: u32 = 30;

/// A record that waits.
#[derive(Debug)]
pub(super) struct Waiting {
    pub record: SignedRecord,
    pub from: NodeId,
    pub why: Refusal,
    /// The key that its signature was found to be of.
    pub signed_with: Option<PublicKey>,
    pub age: u32,
}

/// Invariants: `waiting.len() <= PEN_RECORDS_MAX`; `of_sender` counts them by sender, and no count
/// is 0 or above [`PEN_SENDER_MAX`]; `known` holds their bytes.
#[derive(Debug, Default)]
pub(super) struct Pen {
    waiting: VecDeque<Waiting>,
    of_sender: HashMap<NodeId, usize>,
    known: HashSet<Bytes>,
}

impl Pen {
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Takes a record in, unless the same waits already. Returns the one that had to go for it.
    pub(super) fn push(&mut self, new: Waiting) -> Option<Waiting> {
        if !self.known.insert(new.record.bytes().clone()) {
            return None;
        }
        let of_sender = self.of_sender.get(&new.from).copied().unwrap_or(0);
        let gone = if of_sender >= PEN_SENDER_MAX {
            self.waiting
                .iter()
                .position(|waiting| waiting.from == new.from)
        } else {
            (self.waiting.len() >= PEN_RECORDS_MAX).then_some(0)
        };
        let gone = gone.and_then(|index| self.waiting.remove(index));
        if let Some(gone) = &gone {
            self.forget(gone);
        }
        *self.of_sender.entry(new.from).or_default() += 1;
        self.waiting.push_back(new);
        gone
    }

    /// Takes all out, in the order in which they came.
    pub(super) fn take_all(&mut self) -> VecDeque<Waiting> {
        self.of_sender.clear();
        self.known.clear();
        std::mem::take(&mut self.waiting)
    }

    /// Takes out what has waited too long.
    pub(super) fn grow_older(&mut self) -> Vec<Waiting> {
        let (mut stay, mut gone) = (VecDeque::new(), Vec::new());
        for mut waiting in self.waiting.drain(..) {
            waiting.age += 1;
            if waiting.age < PEN_AGE_MAX {
                stay.push_back(waiting)
            } else {
                gone.push(waiting)
            }
        }
        self.waiting = stay;
        for waiting in &gone {
            self.forget(waiting);
        }
        gone
    }

    fn forget(&mut self, gone: &Waiting) {
        self.known.remove(gone.record.bytes());
        if let Some(count) = self.of_sender.get_mut(&gone.from) {
            *count -= 1;
            if *count == 0 {
                self.of_sender.remove(&gone.from);
            }
        }
    }
}
