//! What omnipaxos is given as entries and snapshots.
//!
//! An entry is a reference-counted byte string, so the crate may copy it as it likes. A snapshot
//! is not a copy of a state but a statement about the log: "the decided entries up to `end`", of
//! which the last few may be at hand. The state itself travels apart from consensus, see
//! [`super::Replica`].

use std::fmt;

use bytes::Bytes;
use omnipaxos::storage::{Entry, Snapshot};

/// One entry of the log.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Slot(pub(crate) Bytes);

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl Entry for Slot {
    type Snapshot = Prefix;
}

/// The decided entries `1..=end()`. The first `known` of them are named, not held: they are in the
/// log of whoever holds this; `tail` are those behind them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Prefix {
    pub(crate) known: u64,
    pub(crate) tail: Vec<Slot>,
}

impl Prefix {
    /// How many entries this stands for.
    pub(crate) fn end(&self) -> u64 {
        self.known + self.tail.len() as u64
    }
}

impl Snapshot<Slot> for Prefix {
    /// Entries by themselves, without anything before them; [`merge`](Snapshot::merge) puts them
    /// behind something.
    fn create(entries: &[Slot]) -> Self {
        Prefix {
            known: 0,
            tail: entries.to_vec(),
        }
    }

    fn merge(&mut self, delta: Self) {
        assert!(
            delta.known == 0,
            "a delta holds all it stands for, this one names {} entries",
            delta.known
        );
        self.tail.extend(delta.tail);
    }

    fn use_snapshots() -> bool {
        true
    }
}
