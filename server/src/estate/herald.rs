//! What a node tells others of its groups, and what it learns from its own replicas, without I/O.
//!
//! The herald joins the directory with its flood: it tells the directory what replicas here know,
//! signs and spreads what the groups have decided that this node leads, signs anew what has lost its
//! author, and says in which groups the node should have a seat and has none. Links, clock, random
//! numbers, and the seats themselves belong to whoever drives it: the registry, or the simulator.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bailiwick_replication::consensus::Member as MemberId;
use bailiwick_replication::{GroupId, NodeId};
use bytes::Bytes;

use crate::directory::flood::Flood;
use crate::directory::keys::NodeKey;
use crate::directory::record::{GroupRecord, Member, PrefixRecord, Record};
use crate::directory::{Directory, ROOT_GROUP};
use crate::state::State;

/// Records signed in one look; the next ones follow in the next.
const MAX_PUBLISHED: usize = 4096;

/// What was last seen of a group's authority.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Seen {
    changes: u64,
    leads: bool,
    /// Something is still to be published.
    is_behind: bool,
}

/// A node's voice in the directory.
pub struct Herald {
    me: Member,
    key: Arc<NodeKey>,
    directory: Arc<Directory>,
    flood: Flood,
    seen: BTreeMap<GroupId, Seen>,
    /// Groups for which this node was taken for a member.
    called_for: BTreeSet<GroupId>,
    generation: u64,
}

impl Herald {
    /// Of this node with its data directory and key. Nobody knows it yet.
    #[must_use]
    pub fn new(me: MemberId, key: Arc<NodeKey>, directory: Arc<Directory>, now_ns: u64) -> Self {
        Self {
            me: member(me),
            key,
            flood: Flood::new(directory.clone(), now_ns),
            directory,
            seen: BTreeMap::new(),
            called_for: BTreeSet::new(),
            generation: u64::MAX,
        }
    }

    /// Makes this node's key known.
    pub fn introduce(&mut self) {
        let key = self.key.public();
        self.publish(Record::Key(key));
    }

    /// A link stands.
    pub fn link_up(&mut self, node: NodeId) {
        self.flood.link_up(node);
    }

    /// A link is gone.
    pub fn link_down(&mut self, node: NodeId) {
        self.flood.link_down(node);
    }

    /// Takes a message of another node's herald.
    pub fn receive(&mut self, from: NodeId, payload: &Bytes) {
        self.flood.receive(from, payload);
    }

    /// Another node takes this one for a member of a group in which it has no seat.
    pub fn note_called(&mut self, group: GroupId) {
        self.called_for.insert(group);
    }

    /// Lets time pass. `random` is any number, another each time.
    pub fn tick(&mut self, now_ns: u64, random: u64) {
        self.flood.tick(now_ns, random);
    }

    /// What is to be sent to other nodes' heralds.
    pub fn take_messages(&mut self) -> Vec<(NodeId, Bytes)> {
        self.flood.take_messages()
    }

    /// Learns from a group's state what it says of prefixes. What is to be [proclaimed] comes back,
    /// if this node leads the group; `None` if there was nothing to look at.
    ///
    /// [proclaimed]: Herald::proclaim
    pub fn survey(&mut self, group: GroupId, leads: bool, state: &State) -> Option<Vec<Record>> {
        let changes = state.authority.changes();
        let is_same =
            |seen: &Seen| seen.changes == changes && seen.leads == leads && !seen.is_behind;
        if self.seen.get(&group).is_some_and(is_same) || state.keyspace.databases() == 0 {
            return None;
        }
        for (prefix, owned) in state.authority.owned() {
            self.directory
                .learn_prefix(prefix, owned.epoch, Some(group));
        }
        let records = if leads {
            self.unpublished(group, state)
        } else {
            Vec::new()
        };
        let seen = Seen {
            changes,
            leads,
            is_behind: records.len() >= MAX_PUBLISHED,
        };
        self.seen.insert(group, seen);
        Some(records)
    }

    /// Makes known what a group has decided that this node leads. Signing takes time, so the group's
    /// state should not be held meanwhile.
    pub fn proclaim(&mut self, group: GroupId, records: Vec<Record>) {
        for record in records {
            self.publish(record);
        }
        // Also what members of this group signed that are none any more.
        if let Err(error) = self.flood.adopt_orphans(self.me, &self.key, &[group]) {
            tracing::error!(%error, "a record cannot be signed anew");
        }
    }

    /// Whether it is worth looking for seats: the directory has changed since the last call, or
    /// somebody called.
    pub fn has_news(&mut self) -> bool {
        let generation = self.directory.view().generation();
        let is_new = std::mem::replace(&mut self.generation, generation) != generation;
        is_new || !self.called_for.is_empty()
    }

    /// The groups, of all that are known, in which this node should have a seat and has none.
    pub fn vacancies(&mut self, is_seated: impl Fn(GroupId) -> bool) -> Vec<Arc<GroupRecord>> {
        let view = self.directory.snapshot();
        let mut vacant = Vec::new();
        for record in view.groups() {
            let is_called = self.called_for.remove(&record.id);
            let is_wanted = is_called || record.members.contains(&self.me);
            if is_wanted && !is_seated(record.id) {
                vacant.push(record.clone());
            }
        }
        vacant
    }

    fn publish(&mut self, record: Record) {
        match record.sign(self.me, &self.key) {
            Ok(signed) => {
                self.flood.publish(&signed);
            }
            Err(error) => tracing::error!(%error, "a record cannot be published"),
        }
    }

    /// What a group has decided and the directory does not know yet.
    fn unpublished(&self, id: GroupId, state: &State) -> Vec<Record> {
        let authority = &state.authority;
        let delegated = authority
            .delegated()
            .map(|(prefix, delegated)| PrefixRecord {
                prefix: prefix.to_vec(),
                epoch: delegated.epoch,
                group: Some(delegated.group),
            });
        let retired = authority.retired().map(|(prefix, epoch)| PrefixRecord {
            prefix: prefix.to_vec(),
            epoch,
            group: None,
        });
        let prefixes = delegated.chain(retired).map(Record::Prefix);
        let groups = authority
            .groups()
            .filter(|(_, group)| !group.members.is_empty());
        let groups = groups.map(|(id, group)| {
            Record::Group(GroupRecord {
                id,
                name: String::from_utf8_lossy(&group.name).into_owned(),
                configuration: u64::from(group.configuration),
                members: group.members.iter().copied().map(member).collect(),
                hash_seed: state.keyspace.seed(),
                databases: state.keyspace.databases() as u32,
            })
        });
        // Groups first: nobody can go to one that is not known.
        let groups = groups.filter(|_| id == ROOT_GROUP);
        self.directory.with_store(|store| {
            let is_new = |record: &Record| {
                let known = store.record(&record.topic(self.me));
                known.is_none_or(|known| known.record().sequence() < record.sequence())
            };
            groups
                .chain(prefixes)
                .filter(is_new)
                .take(MAX_PUBLISHED)
                .collect()
        })
    }
}

/// The members with which a group begins that is known by this record: those of its first
/// configuration; none if it is a later one, which comes with the group's log.
#[must_use]
pub fn first_members(record: &GroupRecord) -> Vec<MemberId> {
    if record.configuration != 1 {
        return Vec::new();
    }
    let members = record.members.iter().map(|member| MemberId {
        node: member.node,
        disk: member.disk,
    });
    members.collect()
}

fn member(id: MemberId) -> Member {
    Member {
        node: id.node,
        disk: id.disk,
    }
}
