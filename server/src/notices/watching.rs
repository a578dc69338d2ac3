//! Learning of the writes to groups in which this node has no seat.
//!
//! A client may read any key through any node, and keep what it reads. Where the node is no member
//! of the key's group, it asks a member to be told of all keys that are written there, as long as a
//! client keeps track: that member is *watched*. A read is linearizable, whoever serves it; so a
//! write that it has not seen is decided after the read began, applied by the member that is
//! watched after that, and told of. Nothing is missed provided that the member applies what is
//! decided and what it tells arrives. If either is in doubt (the link breaks, the member loses its
//! leader or sees another one, takes over a checkpoint, or has more to tell than the link takes),
//! all copies of the group's keys are given up, and another member is asked. Until one has
//! confirmed, reads are invalidated as soon as they are answered.
//!
//! Invariant: a group that `is_watched` says is watched has confirmed, in the present session.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bailiwick_replication::{GroupId, NodeId};
use parking_lot::Mutex;

use crate::pubsub::Note;

/// After so long without an answer another member is asked.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// What a node knows of its groups and of those of others.
pub trait Neighbours: Send + Sync {
    /// All groups that this node knows of.
    fn groups(&self) -> Vec<GroupId>;
    /// The members of a group.
    fn members(&self, group: GroupId) -> Vec<NodeId>;
    /// Whom to ask about a group, the best first: linked members.
    fn reachable(&self, group: GroupId) -> Vec<NodeId>;
    /// Whether this node is a member.
    fn takes_part(&self, group: GroupId) -> bool;
    /// The groups of which this node is a member, each with its leader, if the node hears of what
    /// is decided there: it leads a majority, or has a link to the leader.
    fn contacts(&self) -> BTreeMap<GroupId, Option<NodeId>>;
    /// Waits until nothing is being applied that was begun before.
    fn settle(&self, group: GroupId);
}

/// Whom this node watches, and who watches it.
#[derive(Default)]
pub(super) struct Watching {
    state: Mutex<State>,
    watcher_count: AtomicUsize,
}

#[derive(Default)]
struct State {
    watched: BTreeMap<GroupId, Watched>,
    watchers: BTreeMap<GroupId, BTreeSet<NodeId>>,
    contacts: BTreeMap<GroupId, Option<NodeId>>,
}

#[derive(Default)]
struct Watched {
    asked: Option<(NodeId, Instant)>,
    is_confirmed: bool,
    turn: usize,
}

impl Watching {
    /// Whether this node is told of the group's writes. If not, it will ask.
    pub(super) fn is_watched(&self, group: GroupId) -> bool {
        let mut state = self.state.lock();
        state.watched.entry(group).or_default().is_confirmed
    }

    /// A member tells of the group's writes from now on. True if it is the one that was asked.
    pub(super) fn confirm(&self, from: NodeId, group: GroupId) -> bool {
        let mut state = self.state.lock();
        let Some(watched) = state.watched.get_mut(&group) else {
            return false;
        };
        watched.is_confirmed = watched.asked.is_some_and(|(node, _)| node == from);
        watched.is_confirmed
    }

    /// A member does not tell any more. True if anything may have been missed by that.
    pub(super) fn lose(&self, from: NodeId, group: GroupId) -> bool {
        let mut state = self.state.lock();
        let watched = state.watched.get_mut(&group);
        let watched = watched.filter(|watched| watched.asked.is_some_and(|(node, _)| node == from));
        watched.is_some_and(|watched| {
            watched.asked = None;
            watched.turn += 1;
            std::mem::take(&mut watched.is_confirmed)
        })
    }

    /// A link is down; the groups of which something may have been missed.
    pub(super) fn down(&self, node: NodeId) -> Vec<GroupId> {
        let mut state = self.state.lock();
        for watchers in state.watchers.values_mut() {
            watchers.remove(&node);
        }
        self.note_watchers(&mut state);
        let mut lost = Vec::new();
        for (group, watched) in &mut state.watched {
            if watched.asked.is_some_and(|(asked, _)| asked == node) {
                watched.asked = None;
                if std::mem::take(&mut watched.is_confirmed) {
                    lost.push(*group);
                }
            }
        }
        lost
    }

    /// Another node wants to be told of a group's writes; false if this one is not fit for it.
    pub(super) fn add_watcher(
        &self,
        node: NodeId,
        group: GroupId,
        neighbours: &dyn Neighbours,
    ) -> bool {
        let contact = neighbours.contacts().get(&group).copied().flatten();
        if contact.is_none() {
            return false;
        }
        let mut state = self.state.lock();
        state.contacts.insert(group, contact);
        state.watchers.entry(group).or_default().insert(node);
        self.note_watchers(&mut state);
        drop(state);
        // Entries that were begun to be applied before this are not told of, and were decided
        // before the asking node hears that it is watching.
        neighbours.settle(group);
        true
    }

    pub(super) fn remove_watcher(&self, node: NodeId, group: GroupId) {
        let mut state = self.state.lock();
        if let Some(watchers) = state.watchers.get_mut(&group) {
            watchers.remove(&node);
        }
        self.note_watchers(&mut state);
    }

    pub(super) fn has_watchers(&self) -> bool {
        self.watcher_count.load(Ordering::SeqCst) > 0
    }

    /// Who is to be told of a group's writes.
    pub(super) fn watchers(&self, group: GroupId) -> Vec<NodeId> {
        if !self.has_watchers() {
            return Vec::new();
        }
        let state = self.state.lock();
        let watchers = state.watchers.get(&group).into_iter().flatten();
        watchers.copied().collect()
    }

    /// The groups whose leader is another one since the last call, or is out of reach, or of which
    /// this node is no member any more; with those who watched this node for them, who do not any
    /// more.
    pub(super) fn lost_contact(
        &self,
        neighbours: &dyn Neighbours,
    ) -> Vec<(GroupId, BTreeSet<NodeId>)> {
        let contacts = neighbours.contacts();
        let mut state = self.state.lock();
        let before = std::mem::replace(&mut state.contacts, contacts);
        let mut lost = Vec::new();
        for (group, leader) in before {
            let is_same = state.contacts.get(&group) == Some(&leader);
            if leader.is_some() && !is_same {
                lost.push((group, state.watchers.remove(&group).unwrap_or_default()));
            }
        }
        self.note_watchers(&mut state);
        lost
    }

    /// What is to be said to whom, so that all groups are watched that should be.
    pub(super) fn due(&self, neighbours: &dyn Neighbours, is_needed: bool) -> Vec<(NodeId, Note)> {
        let mut state = self.state.lock();
        let mut notes = Vec::new();
        if !is_needed {
            for (group, watched) in std::mem::take(&mut state.watched) {
                let asked = watched.asked.map(|(node, _)| node);
                notes.extend(asked.map(|node| (node, Note::Unwatch(group))));
            }
            return notes;
        }
        for (group, watched) in &mut state.watched {
            let is_late = |(_, since): (NodeId, Instant)| since.elapsed() > ASK_AGAIN;
            if watched.is_confirmed || watched.asked.is_some_and(|asked| !is_late(asked)) {
                continue;
            }
            let reachable = neighbours.reachable(*group);
            if reachable.is_empty() {
                continue;
            }
            if let Some((late, _)) = watched.asked {
                watched.turn += 1;
                notes.push((late, Note::Unwatch(*group)));
            }
            let node = reachable[watched.turn % reachable.len()];
            watched.asked = Some((node, Instant::now()));
            notes.push((node, Note::Watch(*group)));
        }
        notes
    }

    fn note_watchers(&self, state: &mut State) {
        state.watchers.retain(|_, watchers| !watchers.is_empty());
        let count = state.watchers.values().map(BTreeSet::len).sum();
        self.watcher_count.store(count, Ordering::SeqCst);
    }
}
