//! Whether a group serves a key, and which of its prefixes decides that.

use bailiwick_replication::GroupId;

use super::{Authority, Departed, Domain, Fence, Owned, Phase};
use crate::group::planted::{self, Planted};

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

impl Authority {
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
    pub(super) fn governing<'k>(&self, key: &'k [u8]) -> Option<(&'k [u8], &Domain)> {
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
    pub(super) fn governing_parent<'k>(&self, prefix: &'k [u8]) -> Option<(&'k [u8], &Domain)> {
        let (_, shorter) = prefix.split_last()?;
        self.governing(shorter)
    }
}
