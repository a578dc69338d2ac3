//! Which prefixes a group serves, which it has handed out, and how they change hands.
//!
//! Replicated state like the keyspace, and pure like it: every change is a command of the log, so
//! all replicas of a group agree at each index on what the group may serve. [`Authority::place`]
//! says for a key whether this group serves it; everything that runs against the keyspace asks
//! first, under the same lock or within the same entry, so a group never serves a key that it does
//! not own at that point of its log.
//!
//! **Domains.** A prefix is of interest to a group for two reasons, and can be for both at once:
//! the group *owns* it (serves its keys, or is about to, or has just ceased to), or it owns the
//! parent prefix and has *delegated* it to some group, possibly to itself. Of all these prefixes
//! the longest that a key begins with decides.
//!
//! **Epochs.** Each time a prefix changes hands its epoch rises by one, also when it is dropped and
//! when it is created anew, so of two statements about a prefix the one with the higher epoch is
//! the newer one. All commands of one move carry the same epoch: the one at which the destination
//! will serve, one above that at which the source does.
//!
//! **A move** takes part in three groups, which may coincide: the parent's owner decides it
//! ([`Moving`]), the source leaves ([`Phase`]), the destination arrives ([`Arriving`]). The order
//! of their steps is the driver's business; each step here only checks what its own group knows,
//! and answers a repetition as it answered the first time. What makes the order safe: a destination
//! commits only an attempt that it has not aborted, and a source thaws only after the destination
//! has said that it aborted.
//!
//! Not done here: keys and values (`keyspace`), telling other nodes (`directory`), the driver.

mod codec;
mod destination;
mod domain;
mod groups;
mod owner;
mod place;
mod records;
mod refusal;
mod share;
mod source;
mod status;
mod stray;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use bailiwick_replication::consensus::Member;
use bailiwick_replication::{GroupId, LogIndex};

use crate::directory::PrefixMap;

pub use codec::Delegations;
pub use domain::{Arriving, Delegated, Departed, Domain, Moving, Owned, Phase, Staged};
pub use place::Place;
pub use refusal::Refusal;
#[cfg(test)]
pub(crate) use share::served_hash;
pub use share::{Head, Share};
pub use status::Status;
pub use stray::Stray;

/// The longest prefix that can be delegated, in bytes.
pub const MAX_PREFIX_BYTES: usize = 512;

/// The group that owns the empty prefix from the beginning on, and that creates all other groups.
const ROOT: GroupId = GroupId(0);

/// The authority of one group.
///
/// Invariants: no domain is empty; what is owned is not arriving; what is delegated has an owned
/// domain above it with no other domain in between, and is not retired; `frozen`, `unsettled` and
/// `fence` follow from `domains`. Once a prefix was served here at an epoch, that or a later one is
/// known for good, by what is owned, delegated, departed or retired: a source that is still frozen
/// for that epoch is never told that it was not committed.
#[derive(Clone, Debug)]
pub struct Authority {
    group: GroupId,
    domains: PrefixMap<Domain>,
    /// Where prefixes have gone that were served here, or dropped below one that was: a hint for
    /// those who know no better, and what tells sources that are late that it has been committed.
    departed: PrefixMap<Departed>,
    /// The last epochs of delegations that were dropped.
    retired: BTreeMap<Box<[u8]>, u64>,
    /// All groups there are. Kept by the root group alone.
    groups: BTreeMap<GroupId, GroupRecord>,
    /// The sum of the hashes of all that is here, so that replicas can compare themselves.
    digest: u64,
    /// The domains that are frozen.
    frozen: BTreeSet<Box<[u8]>>,
    /// The domains in which something is under way.
    unsettled: BTreeSet<Box<[u8]>>,
    /// What the cluster's file says was carried out; only in the root group.
    is_founded: bool,
    fence: Fence,
    /// Rises with each change. No part of the replicated state.
    changes: u64,
}

/// A group of the cluster, as the root group knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupRecord {
    /// Its name.
    pub name: Box<[u8]>,
    /// The number of the configuration of these members.
    pub configuration: u32,
    /// The members of its first configuration, by node.
    pub founders: Vec<Member>,
    /// Its present members, by node.
    pub members: Vec<Member>,
}

/// What a change of authority means for the keys under its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Effect {
    /// Nothing.
    None,
    /// They leave the realm of the parent prefix for one of their own.
    Split,
    /// Their realm ends in that of the parent prefix.
    Merge,
    /// An empty realm that nobody sees takes in what arrives; one that was there is dropped.
    Stage,
    /// What has arrived is dropped.
    Unstage,
    /// What has arrived is served from now on.
    Admit,
    /// They neither expire nor are evicted.
    Freeze,
    /// They do again.
    Thaw,
    /// They are dropped.
    Release,
}

/// What a key must be checked against, for the common cases in which that is little.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fence {
    /// Every key is served.
    Open,
    /// Keys with this prefix are served.
    One(Box<[u8]>),
    /// It takes a look at the domains.
    Domains,
}

impl Authority {
    /// What a group begins with: the root group owns everything, any other group nothing.
    #[must_use]
    pub fn new(group: GroupId) -> Self {
        let mut authority = Self::nothing(group);
        if group == ROOT {
            let owned = Owned {
                epoch: 1,
                phase: Phase::Serving,
            };
            let domain = Domain {
                owned: Some(owned),
                ..Domain::default()
            };
            authority.put(b"", domain);
            let root = GroupRecord {
                name: b"root"[..].into(),
                configuration: 0,
                founders: Vec::new(),
                members: Vec::new(),
            };
            authority.set_group(ROOT, root);
        }
        authority
    }

    /// The group whose authority this is.
    #[must_use]
    pub fn group(&self) -> GroupId {
        self.group
    }

    /// Rises with each change.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Something was changed by the log.
    pub(crate) fn note_change(&mut self) {
        self.changes += 1;
    }

    /// All this came with a checkpoint at this index.
    pub(crate) fn note_installed(&mut self, index: LogIndex) {
        self.changes = index.0 << 20;
    }

    /// What the group has to do with exactly this prefix.
    #[must_use]
    pub fn domain(&self, prefix: &[u8]) -> Option<&Domain> {
        self.domains.get(prefix)
    }

    /// All prefixes that the group has to do with, in byte order.
    pub fn domains(&self) -> impl Iterator<Item = (&[u8], &Domain)> {
        self.domains.iter()
    }

    /// The prefixes that the group serves, frozen ones included, in byte order.
    pub fn owned(&self) -> impl Iterator<Item = (&[u8], &Owned)> {
        let domains = self.domains.iter();
        domains.filter_map(|(prefix, domain)| Some((prefix, domain.owned.as_ref()?)))
    }

    /// The prefixes that the group has handed out, in byte order.
    pub fn delegated(&self) -> impl Iterator<Item = (&[u8], &Delegated)> {
        let domains = self.domains.iter();
        domains.filter_map(|(prefix, domain)| Some((prefix, domain.delegated.as_ref()?)))
    }

    /// The delegations that were dropped, each with an epoch that all it ever had are below.
    pub fn retired(&self) -> impl Iterator<Item = (&[u8], u64)> {
        self.retired
            .iter()
            .map(|(prefix, &epoch)| (&**prefix, epoch))
    }

    /// The prefixes that are to leave the group, or whose delegation changes hands, in byte order.
    pub fn unsettled(&self) -> impl Iterator<Item = (&[u8], &Domain)> {
        let found = self.unsettled.iter();
        found.filter_map(|prefix| Some((&**prefix, self.domains.get(prefix)?)))
    }

    /// Whether what the cluster's file says was carried out, so that it says nothing any more.
    #[must_use]
    pub fn is_founded(&self) -> bool {
        self.is_founded
    }

    /// Where a prefix went that was served here.
    #[must_use]
    pub fn departed(&self, prefix: &[u8]) -> Option<Departed> {
        self.departed.get(prefix).copied()
    }

    /// All groups, by id; none unless this is the root group.
    pub fn groups(&self) -> impl Iterator<Item = (GroupId, &GroupRecord)> {
        self.groups.iter().map(|(&id, record)| (id, record))
    }

    /// Whether the group serves every key there can be, so that none needs a look.
    #[must_use]
    #[inline]
    pub fn is_open(&self) -> bool {
        self.fence == Fence::Open
    }

    /// A prefix that is frozen, if there is one: until it is not, what goes for all keys of the
    /// group cannot be done or said.
    #[must_use]
    pub fn frozen(&self) -> Option<&[u8]> {
        self.frozen.first().map(|prefix| &**prefix)
    }

    /// Panics if an invariant of the type does not hold. Slow; for tests.
    pub fn check_invariants(&self) {
        let mut frozen = BTreeSet::new();
        let mut unsettled = BTreeSet::new();
        for (prefix, domain) in self.domains() {
            let shown = prefix.escape_ascii();
            assert!(!domain.is_empty(), "{shown}");
            assert!(
                domain.owned.is_none() || domain.arriving.is_none(),
                "{shown}"
            );
            if domain.delegated.is_some() {
                let above = self.governing_parent(prefix);
                let is_owned = above.is_some_and(|(_, above)| above.owned.is_some());
                assert!(is_owned, "the parent of {shown} is not owned");
                assert!(!self.retired.contains_key(prefix), "{shown} is retired");
            }
            if domain.owned.is_some_and(|owned| owned.is_frozen()) {
                frozen.insert(prefix.into());
            }
            if domain.is_unsettled() {
                unsettled.insert(prefix.into());
            }
        }
        assert_eq!(self.frozen, frozen);
        assert_eq!(self.unsettled, unsettled);
        assert_eq!(self.fence, self.present_fence());
    }

    fn nothing(group: GroupId) -> Self {
        Self {
            group,
            domains: PrefixMap::new(),
            departed: PrefixMap::new(),
            retired: BTreeMap::new(),
            groups: BTreeMap::new(),
            digest: 0,
            frozen: BTreeSet::new(),
            unsettled: BTreeSet::new(),
            is_founded: false,
            fence: Fence::Domains,
            changes: 0,
        }
    }

    fn present_fence(&self) -> Fence {
        let mut domains = self.domains.iter();
        let only = match (domains.next(), domains.next()) {
            (Some((prefix, domain)), None) => domain.owned.map(|owned| (prefix, owned)),
            _ => None,
        };
        match only {
            Some((prefix, owned)) if !owned.is_frozen() && prefix.is_empty() => Fence::Open,
            Some((prefix, owned)) if !owned.is_frozen() => Fence::One(prefix.into()),
            _ => Fence::Domains,
        }
    }
}
