//! The replica of a group of one: an entry is decided once it is in the local log.
//!
//! Owns the indexes and the entries that are not in the log yet. It does no I/O: `ready()` hands
//! out log writes, the caller reports `persisted` or `refused`, and `take_decided()` yields what
//! may be applied. Replicated groups have the same interface, so a caller need not know which it
//! drives. What "persisted" asks for is the caller's durability: after the sync when every write
//! is synced, after the write when syncs come later.
//!
//! Nothing here fails: a call out of order is a bug of the caller and asserts.

use std::ops::Range;

use crate::{ConfigurationId, GroupId, LogIndex};

/// A group of one node.
///
/// Invariant: `applied <= decided <= persisted <= handed <= proposed`, and `pending` holds exactly
/// the entries `persisted + 1 ..= proposed`.
#[derive(Debug)]
pub struct LocalReplica {
    group: GroupId,
    configuration: ConfigurationId,
    applied: LogIndex,
    decided: LogIndex,
    persisted: LogIndex,
    handed: LogIndex,
    proposed: LogIndex,
    pending: Vec<Vec<u8>>,
}

/// Log writes that must be done now, in this order.
#[derive(Debug, PartialEq, Eq)]
pub struct Ready<'a> {
    /// The index of the first of `entries`; the others follow without gaps.
    pub first: LogIndex,
    /// The entries to append; empty if there is nothing to write.
    pub entries: &'a [Vec<u8>],
}

impl Ready<'_> {
    /// The index of the last entry; the one before `first` if there is nothing to write.
    pub fn last(&self) -> LogIndex {
        LogIndex(self.first.0 + self.entries.len() as u64 - 1)
    }
}

impl LocalReplica {
    /// A replica whose log ends at `last` and whose state machine has applied up to `applied`;
    /// both 0 for a new group. Entries in between are decided and come out of the first
    /// [`take_decided`](Self::take_decided).
    pub fn new(
        group: GroupId,
        configuration: ConfigurationId,
        applied: LogIndex,
        last: LogIndex,
    ) -> LocalReplica {
        let replica = LocalReplica {
            group,
            configuration,
            applied,
            decided: last,
            persisted: last,
            handed: last,
            proposed: last,
            pending: Vec::new(),
        };
        replica.check_invariants();
        replica
    }

    /// The group this replica belongs to.
    pub fn group(&self) -> GroupId {
        self.group
    }

    /// The configuration this replica belongs to.
    pub fn configuration(&self) -> ConfigurationId {
        self.configuration
    }

    /// Adds an entry to the log and returns its index. The index is provisional until the entry
    /// is persisted: a refused write gives it to a later entry.
    pub fn propose(&mut self, entry: Vec<u8>) -> LogIndex {
        self.pending.push(entry);
        self.proposed = self.proposed.next();
        self.check_invariants();
        self.proposed
    }

    /// The entries that no earlier call handed out. The caller writes them and then calls
    /// [`persisted`](Self::persisted) or [`refused`](Self::refused); further calls may come first.
    pub fn ready(&mut self) -> Ready<'_> {
        let first = self.handed.next();
        let skip = (self.handed.0 - self.persisted.0) as usize;
        self.handed = self.proposed;
        self.check_invariants();
        Ready {
            first,
            entries: &self.pending[skip..],
        }
    }

    /// Entries up to and including `upto` are in the log, hence decided. Asserts that they were
    /// handed out.
    pub fn persisted(&mut self, upto: LogIndex) {
        assert!(
            upto <= self.handed,
            "persisted up to {upto}, handed out {}",
            self.handed
        );
        if upto > self.persisted {
            self.pending.drain(..(upto.0 - self.persisted.0) as usize);
            self.persisted = upto;
            self.decided = upto;
        }
        self.check_invariants();
    }

    /// The write of the entries from `from` on was refused: they and all proposed after them
    /// never happened, and their indexes are used again. Asserts that none of them is persisted.
    pub fn refused(&mut self, from: LogIndex) {
        assert!(
            from > self.persisted,
            "refused from {from}, persisted up to {}",
            self.persisted
        );
        if from <= self.proposed {
            self.pending
                .truncate((from.0 - self.persisted.0 - 1) as usize);
            self.proposed = from.previous();
            self.handed = self.handed.min(self.proposed);
        }
        self.check_invariants();
    }

    /// The decided entries that no earlier call yielded, to be applied now. The end is exclusive.
    pub fn take_decided(&mut self) -> Range<LogIndex> {
        let range = self.applied.next()..self.decided.next();
        self.applied = self.decided;
        self.check_invariants();
        range
    }

    /// The last index handed to the state machine by [`take_decided`](Self::take_decided).
    pub fn applied(&self) -> LogIndex {
        self.applied
    }

    /// The last decided index.
    pub fn decided(&self) -> LogIndex {
        self.decided
    }

    /// The last index that was given to a proposal and not refused.
    pub fn proposed(&self) -> LogIndex {
        self.proposed
    }

    /// Asserts the invariant of this type.
    pub fn check_invariants(&self) {
        let (applied, decided) = (self.applied, self.decided);
        let (persisted, handed, proposed) = (self.persisted, self.handed, self.proposed);
        assert!(applied <= decided, "applied {applied} > decided {decided}");
        assert!(
            decided <= persisted,
            "decided {decided} > persisted {persisted}"
        );
        assert!(
            persisted <= handed,
            "persisted {persisted} > handed {handed}"
        );
        assert!(handed <= proposed, "handed {handed} > proposed {proposed}");
        let waiting = self.pending.len() as u64;
        assert!(
            persisted.0 + waiting == proposed.0,
            "{waiting} entries are kept for {persisted} to {proposed}"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replica() -> LocalReplica {
        LocalReplica::new(
            GroupId(1),
            ConfigurationId(1),
            LogIndex::ZERO,
            LogIndex::ZERO,
        )
    }

    #[test]
    fn an_entry_is_decided_only_once_it_is_persisted() {
        let mut replica = replica();
        assert_eq!(replica.propose(b"a".to_vec()), LogIndex(1));
        assert_eq!(replica.propose(b"b".to_vec()), LogIndex(2));
        let ready = replica.ready();
        assert_eq!((ready.first, ready.last()), (LogIndex(1), LogIndex(2)));
        assert_eq!(ready.entries, [b"a".to_vec(), b"b".to_vec()]);
        assert!(replica.take_decided().is_empty());
        replica.persisted(LogIndex(1));
        assert_eq!(replica.take_decided(), LogIndex(1)..LogIndex(2));
        replica.persisted(LogIndex(2));
        assert_eq!(replica.take_decided(), LogIndex(2)..LogIndex(3));
        assert!(replica.take_decided().is_empty());
    }

    #[test]
    fn a_write_is_handed_out_once() {
        let mut replica = replica();
        replica.propose(b"a".to_vec());
        assert_eq!(replica.ready().entries.len(), 1);
        replica.propose(b"b".to_vec());
        let ready = replica.ready();
        assert_eq!(ready.first, LogIndex(2));
        assert_eq!(ready.entries, [b"b".to_vec()]);
        assert!(replica.ready().entries.is_empty());
    }

    #[test]
    fn a_refused_entry_never_happened_and_its_index_is_used_again() {
        let mut replica = replica();
        replica.propose(b"a".to_vec());
        replica.ready();
        replica.propose(b"b".to_vec());
        replica.ready();
        replica.persisted(LogIndex(1));
        replica.propose(b"c".to_vec());
        replica.refused(LogIndex(2));
        assert_eq!(replica.proposed(), LogIndex(1));
        assert_eq!(replica.propose(b"d".to_vec()), LogIndex(2));
        assert_eq!(replica.ready().entries, [b"d".to_vec()]);
        replica.persisted(LogIndex(2));
        assert_eq!(replica.take_decided(), LogIndex(1)..LogIndex(3));
    }

    #[test]
    fn a_restarted_replica_yields_what_the_log_holds_behind_the_checkpoint() {
        let mut replica =
            LocalReplica::new(GroupId(1), ConfigurationId(1), LogIndex(5), LogIndex(8));
        assert_eq!(replica.take_decided(), LogIndex(6)..LogIndex(9));
        assert_eq!(replica.propose(b"x".to_vec()), LogIndex(9));
    }

    #[test]
    #[should_panic(expected = "handed out")]
    fn an_entry_never_handed_out_cannot_be_persisted() {
        let mut replica = replica();
        replica.propose(b"a".to_vec());
        replica.persisted(LogIndex(1));
    }
}
