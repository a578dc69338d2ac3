//! Which prefixes a group serves, which it has handed out, and how they change hands.
//!
//! Replicated state like the keyspace, and pure like it: every change is a command of the log, so
//! all replicas of a group agree at each index on what the group may serve. [`Authority::place`]
//! says for a key whether this group serves it; everything that runs against the keyspace asks
//! first, under the same lock or within the same entry, so a group never serves a key that it does
//! not own at that point of its log.
//!
//! **Domains.** A prefix is of interest to a group for two reasons, and can be for both at once: the
//! group *owns* it (serves its keys, or is about to, or has just ceased to), or it owns the parent
//! prefix and has *delegated* it to some group, possibly to itself. Of all these prefixes the
//! longest that a key begins with decides.
//!
//! **Epochs.** Each time a prefix changes hands its epoch rises by one, also when it is dropped and
//! when it is created anew, so of two statements about a prefix the one with the higher epoch is the
//! newer one. All commands of one move carry the same epoch: the one at which the destination will
//! serve, one above that at which the source does.
//!
//! **A move** takes part in three groups, which may coincide: the parent's owner decides it
//! ([`Moving`]), the source leaves ([`Phase`]), the destination arrives ([`Arriving`]). The order of
//! their steps is the driver's business; each step here only checks what its own group knows, and
//! answers a repetition as it answered the first time. What makes the order safe: a destination
//! commits only an attempt that it has not aborted, and a source thaws only after the destination
//! has said that it aborted.
//!
//! Not done here: keys and values (`keyspace`), telling other nodes (`directory`), the driver.

mod codec;
mod destination;
mod groups;
mod owner;
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
use crate::group::planted::{self, Planted};
use crate::keyspace::Visibility;

pub use codec::Delegations;
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
/// `fence` follow from `domains`.
#[derive(Clone, Debug)]
pub struct Authority {
    group: GroupId,
    domains: PrefixMap<Domain>,
    /// Where prefixes have gone that were served here. A hint for those who know no better.
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

/// What a group has to do with a prefix. At least one of the three is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Domain {
    /// It is served here.
    pub owned: Option<Owned>,
    /// It is on its way here, or was.
    pub arriving: Option<Arriving>,
    /// It was handed out by this group, which owns the parent prefix.
    pub delegated: Option<Delegated>,
}

/// A prefix that the group serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owned {
    /// The epoch at which it does.
    pub epoch: u64,
    /// Whether it is about to end.
    pub phase: Phase,
}

/// How far the end of serving a prefix is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// There is no end in sight.
    Serving,
    /// The prefix is to go to another group, which copies it while it is still served here.
    Leaving {
        /// The destination.
        to: GroupId,
    },
    /// Nothing is read or written any more, so that the rest can be copied.
    Frozen {
        /// The destination.
        to: GroupId,
        /// For which attempt of copying it was frozen. An older attempt does not thaw it.
        attempt: u64,
    },
}

/// A prefix that a group is to serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arriving {
    /// The epoch at which it will.
    pub epoch: u64,
    /// Who serves it meanwhile.
    pub from: GroupId,
    /// The how manieth attempt of copying it is.
    pub attempt: u64,
    /// What has come; `None` if the attempt was aborted.
    pub staged: Option<Staged>,
}

/// What has come of a prefix so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Staged {
    /// The number of the next chunk, from 0.
    pub next_chunk: u64,
    /// How many keys there are, in all databases.
    pub count: u64,
    /// What they add up to.
    pub digest: u64,
}

/// A prefix that the group has handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delegated {
    /// The epoch at which `group` serves it.
    pub epoch: u64,
    /// Who serves it; can be the group itself.
    pub group: GroupId,
    /// The move under way.
    pub moving: Option<Moving>,
}

/// A decided change of hands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moving {
    /// Who will serve the prefix.
    pub to: GroupId,
    /// At which epoch.
    pub epoch: u64,
    /// Whether the delegation ends with it: the prefix becomes a part of its parent again.
    pub drops: bool,
}

/// Where a prefix went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Departed {
    /// The epoch at which `group` took it over.
    pub epoch: u64,
    /// Who took it over.
    pub group: GroupId,
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

/// Whether a key is served by the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place<'a> {
    /// It is.
    Here,
    /// It was, and is being moved: somebody will serve it in a moment.
    Held {
        /// What is being moved.
        prefix: &'a [u8],
    },
    /// It is not.
    Gone {
        /// What of the key shows that it is not; empty if the group knows nothing of it.
        prefix: &'a [u8],
        /// Who serves it, as far as is known.
        group: Option<GroupId>,
        /// At which epoch; 0 if nothing is known.
        epoch: u64,
    },
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

    /// Whether the group serves this key.
    #[must_use]
    #[inline]
    pub fn place<'a>(&'a self, key: &'a [u8]) -> Place<'a> {
        match &self.fence {
            Fence::Open => Place::Here,
            Fence::One(prefix) if key.starts_with(prefix) => Place::Here,
            _ => self.look_up(key),
        }
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

    /// The longest prefix served here that `key` begins with, frozen ones included.
    #[must_use]
    pub fn owner_of<'k>(&self, key: &'k [u8]) -> Option<(&'k [u8], Owned)> {
        let mut rest = self.domains.longest(key);
        while let Some((prefix, domain)) = rest {
            if let Some(owned) = domain.owned {
                return Some((prefix, owned));
            }
            rest = self.domains.parent(prefix);
        }
        None
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

    fn look_up<'a>(&'a self, key: &'a [u8]) -> Place<'a> {
        if self.is_served_by_mistake(key) {
            return Place::Here;
        }
        if let Some((prefix, domain)) = self.governing(key) {
            match domain.owned.map(|owned| owned.phase) {
                Some(Phase::Serving | Phase::Leaving { .. }) => return Place::Here,
                Some(Phase::Frozen { .. }) => return Place::Held { prefix },
                None => {}
            }
        }
        let gone = self.domains.longest(key);
        let gone = gone.and_then(|(prefix, domain)| Some((prefix, domain.elsewhere()?)));
        // A longer prefix that was here once may have been delegated by its present parent, of
        // which this group knows nothing; so what is known decides only where to ask first.
        let departed = self
            .departed
            .longest(key)
            .map(|(prefix, hint)| (prefix, *hint));
        let hint = match (gone, departed) {
            (Some(gone), Some(departed)) if departed.0.len() > gone.0.len() => Some(departed),
            (Some(gone), Some(departed))
                if departed.0.len() == gone.0.len() && departed.1.epoch > gone.1.epoch =>
            {
                Some(departed)
            }
            (gone, departed) => gone.or(departed),
        };
        match hint {
            Some((prefix, Departed { epoch, group })) => Place::Gone {
                prefix,
                group: Some(group),
                epoch,
            },
            None => Place::Gone {
                prefix: b"",
                group: None,
                epoch: 0,
            },
        }
    }

    /// What bugs would do that a test plants.
    fn is_served_by_mistake(&self, key: &[u8]) -> bool {
        let domain = || self.domains.longest(key).map(|(_, domain)| *domain);
        let arrives = |domain: Domain| domain.arriving.is_some_and(|new| new.staged.is_some());
        let freezes = |domain: Domain| domain.owned.is_some_and(|owned| owned.is_frozen());
        planted::is_on(Planted::ServedBeforeCommit) && domain().is_some_and(arrives)
            || planted::is_on(Planted::ServedAfterFreeze) && domain().is_some_and(freezes)
            || planted::is_on(Planted::HeldAnsweredByOld)
                && self
                    .governing(key)
                    .is_none_or(|(_, domain)| domain.owned.is_none())
                && self.departed.longest(key).is_some()
    }

    /// The longest prefix of `key` that is owned or delegated here: it decides about the key. What
    /// only arrives, or has once tried to, decides nothing.
    fn governing<'k>(&self, key: &'k [u8]) -> Option<(&'k [u8], &Domain)> {
        let mut found = self.domains.longest(key);
        while let Some((prefix, domain)) = found {
            if domain.owned.is_some() || domain.delegated.is_some() {
                break;
            }
            found = self.domains.parent(prefix);
        }
        found
    }

    /// The prefix above a longer one that decides about it.
    fn governing_parent<'k>(&self, prefix: &'k [u8]) -> Option<(&'k [u8], &Domain)> {
        let (_, shorter) = prefix.split_last()?;
        self.governing(shorter)
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

impl Owned {
    /// Whether nothing is read or written at present.
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        matches!(self.phase, Phase::Frozen { .. })
    }
}

impl Domain {
    /// Whether there is nothing to say about the prefix.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether the group's leader has something to do for the prefix.
    #[must_use]
    pub fn is_unsettled(&self) -> bool {
        let leaves = |owned: Owned| owned.phase != Phase::Serving;
        self.owned.is_some_and(leaves)
            || self
                .delegated
                .is_some_and(|delegated| delegated.moving.is_some())
    }

    /// Who sees the keys of the prefix; `None` if there are none to be seen.
    #[must_use]
    pub fn visibility(&self) -> Option<Visibility> {
        let staged = self
            .arriving
            .is_some_and(|arriving| arriving.staged.is_some());
        match self.owned {
            Some(owned) if owned.is_frozen() => Some(Visibility::Frozen),
            Some(_) => Some(Visibility::Served),
            None => staged.then_some(Visibility::Staged),
        }
    }

    /// Who serves a prefix that is not served here.
    fn elsewhere(&self) -> Option<Departed> {
        let delegated = self.delegated.map(|delegated| Departed {
            epoch: delegated.epoch,
            group: delegated.group,
        });
        let arriving = self.arriving.map(|arriving| Departed {
            epoch: arriving.epoch - 1,
            group: arriving.from,
        });
        delegated.or(arriving)
    }
}
