//! Listings over several groups: whom to ask, whether the answers fit together, and what they add
//! up to. Pure; the asking is done by the connection.
//!
//! A listing is about the keys that begin with its *head* (all keys, if the head is empty). One
//! group serves the head itself; the others serve prefixes below it, each of which was handed out
//! by the owner of its parent. What each group says of itself is a [`Share`], and [`judge`] accepts
//! a set of them only if every prefix is listed once: what a group serves must be what the others
//! say it does. The directory is used to guess whom to ask, so that nearly always one round is
//! enough; whether the guess was right does not depend on it. While a prefix changes hands the
//! shares do not fit, and the round is repeated.
//!
//! **Why the moments do not matter.** Groups answer one after the other, and prefixes may move in
//! between. But a prefix is served by one group at each of its epochs, epochs only rise, and an
//! accepted set names for each prefix one owner at one epoch. That group served the prefix when it
//! listed it, and nobody listed it at another epoch. So a key that was there all the time is
//! listed, and listed once.
//!
//! **Cursors.** All groups hash keys alike, so a position in hash order means the same everywhere.
//! A step of SCAN goes as far as all groups have come ([`merge`]); what some of them have listed
//! beyond that is dropped and comes again with the next step. The cursor holds nothing but that
//! position, so it survives whatever happens to groups in between.

use std::collections::{BTreeMap, BTreeSet};

use bailiwick_replication::GroupId;

use crate::authority::{Head, Share};
use crate::commands::Page;
use crate::group::planted::{self, Planted};
use crate::state::Reader;

/// The least that a group is asked for in a step of SCAN.
const LEAST_COUNT: usize = 8;
/// The most that all groups together are asked for in a step, whatever the client wants.
const MOST_COUNT: usize = 1 << 16;

/// What a group answered to its part of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What the group serves.
    pub share: Share,
    /// What follows the share: what was asked for.
    pub rest: Vec<u8>,
}

impl Answer {
    /// Reads what `_SCAN` and its like reply; `None` if it makes no sense.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let share = Share::take(&mut reader).ok()?;
        let rest = bytes[reader.at()..].to_vec();
        Some(Self { share, rest })
    }

    /// What `_COUNT` found: how many keys the group has; `None` if it makes no sense.
    #[must_use]
    pub fn count(&self) -> Option<u64> {
        Reader::new(&self.rest).varint().ok()
    }

    /// What `_SCAN` found, with the number of keys that the group has; `None` if it makes no sense.
    #[must_use]
    pub fn page(&self) -> Option<(u64, Page)> {
        let mut reader = Reader::new(&self.rest);
        let keys = reader.varint().ok()?;
        Some((keys, Page::take(&mut reader).ok()?))
    }
}

/// Whether some shares make a complete listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Each prefix is there once.
    Complete,
    /// These groups have to be asked, too.
    Ask(BTreeSet<GroupId>),
    /// Something is changing hands.
    Moving {
        /// The prefix, if somebody said.
        prefix: Option<Vec<u8>>,
        /// A group whose share does not fit.
        group: Option<GroupId>,
    },
}

/// Compares what groups say of themselves.
#[must_use]
pub fn judge<'s>(shares: impl Iterator<Item = (GroupId, &'s Share)> + Clone) -> Verdict {
    let asked: BTreeSet<GroupId> = shares.clone().map(|(group, _)| group).collect();
    let mut claimed: BTreeMap<GroupId, u64> = BTreeMap::new();
    let mut missing = BTreeSet::new();
    for (_, share) in shares.clone() {
        for &(group, digest) in &share.claims {
            let sum = claimed.entry(group).or_default();
            *sum = sum.wrapping_add(digest);
            if !asked.contains(&group) {
                missing.insert(group);
            }
        }
    }
    let serve_head = shares
        .clone()
        .filter(|(_, share)| share.head == Head::Here)
        .count();
    if serve_head == 0 {
        let hints = shares.clone().filter_map(|(_, share)| match share.head {
            Head::Gone { group } => group,
            _ => None,
        });
        missing.extend(hints.filter(|group| !asked.contains(group)));
    }
    if !missing.is_empty() {
        return Verdict::Ask(missing);
    }
    let misfit = shares
        .clone()
        .find(|(group, share)| share.served != claimed.get(group).copied().unwrap_or_default());
    // What is frozen is listed here, and may be listed by its next owner in a moment.
    let frozen = shares.clone().find_map(|(_, share)| share.frozen.clone());
    let is_accepted = planted::is_on(Planted::SharesNotCompared);
    if is_accepted || serve_head == 1 && misfit.is_none() && frozen.is_none() {
        return Verdict::Complete;
    }
    Verdict::Moving {
        prefix: frozen,
        group: misfit.map(|(group, _)| group),
    }
}

/// One page of what several groups found from the same position on: as far as all of them have
/// come.
#[must_use]
pub fn merge(pages: impl IntoIterator<Item = Page>) -> Page {
    let mut merged = Page::default();
    let end = |next: u64| if next == 0 { u64::MAX } else { next };
    for page in pages {
        if end(page.next) < end(merged.next) {
            merged.next = page.next;
        }
        merged.keys.extend(page.keys);
    }
    let limit = end(merged.next);
    merged.keys.retain(|(position, _)| *position < limit);
    merged
}

/// How many keys each group is asked for, so that together it is about `count` and all groups come
/// about equally far. `weights` are the numbers of keys that the groups have, as far as known.
#[must_use]
pub fn divide(
    count: usize,
    groups: &BTreeSet<GroupId>,
    weights: &BTreeMap<GroupId, u64>,
) -> BTreeMap<GroupId, usize> {
    let count = count.min(MOST_COUNT);
    let known: u64 = groups.iter().filter_map(|group| weights.get(group)).sum();
    let is_known = groups.iter().all(|group| weights.contains_key(group)) && known > 0;
    let part = |group: &GroupId| {
        let part = if is_known {
            let weight = u128::from(weights[group]);
            (count as u128 * weight).div_ceil(u128::from(known)) as usize
        } else {
            count.div_ceil(groups.len().max(1))
        };
        part.max(LEAST_COUNT.min(count)).max(1)
    };
    groups.iter().map(|group| (*group, part(group))).collect()
}

/// The group in which the `draw`-th key is, if all keys are numbered group by group. `None` if
/// there are no keys.
#[must_use]
pub fn choose(draw: u64, keys: &BTreeMap<GroupId, u64>) -> Option<GroupId> {
    let total: u64 = keys.values().sum();
    let mut left = draw.checked_rem(total)?;
    for (group, keys) in keys {
        if left < *keys {
            return Some(*group);
        }
        left -= keys;
    }
    None
}

#[cfg(test)]
#[path = "listing_tests.rs"]
mod tests;
