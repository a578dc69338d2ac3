//! What a group has to do with one prefix.

use bailiwick_replication::GroupId;

use crate::keyspace::Visibility;

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
    pub(super) fn elsewhere(&self) -> Option<Departed> {
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
