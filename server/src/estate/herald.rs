//! What a node tells others of its groups, and what it learns from its own replicas, without I/O.
//!
//! The herald joins the directory with its flood: it tells the directory what replicas here know,
//! signs and spreads what the groups have decided that this node leads, signs anew what has lost
//! its author, and says in which groups the node should have a seat and has none. Links, clock,
//! random numbers, and the seats themselves belong to whoever drives it: the registry, or the
//! simulator.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bailiwick_replication::consensus::Member as MemberId;
use bailiwick_replication::{GroupId, NodeId};
use bytes::Bytes;

use crate::directory::flood::Flood;
use crate::directory::keys::NodeKey;
use crate::directory::record::{GroupRecord, Member, PrefixRecord, Record};
use crate::directory::{Directory, ROOT_GROUP, Store};
use crate::state::State;

/// Records signed in one look; the next ones follow in the next.
const MAX_PUBLISHED: usize = 4096;

/// How often it is looked for records without an author, if there were none of ours, in
/// nanoseconds.
const ADOPT_NS: u64 = 1_000_000_000;

/// How often it is looked whether what was published is believed by now, in nanoseconds.
const LOOK_AGAIN_NS: u64 = 1_000_000_000;
/// After how long another member publishes what the leader has not, in nanoseconds.
const STAND_IN_NS: u64 = 2_000_000_000;

/// What was last seen of a group's authority.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Seen {
    changes: u64,
    leads: bool,
    /// Since when the directory lacks something.
    behind_since_ns: Option<u64>,
    /// When to look again although nothing has changed.
    looks_again_ns: Option<u64>,
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
    /// The groups that this node leads, as it was told last.
    led: BTreeSet<GroupId>,
    adopts_at_ns: u64,
    now_ns: u64,
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
            led: BTreeSet::new(),
            adopts_at_ns: now_ns,
            now_ns,
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
        self.now_ns = now_ns;
        self.flood.tick(now_ns, random);
        if now_ns >= self.adopts_at_ns {
            // While there are more they are signed without a pause.
            let pause_ns = if self.adopt_orphans() { 0 } else { ADOPT_NS };
            self.adopts_at_ns = now_ns + pause_ns;
        }
    }

    /// What is to be sent to other nodes' heralds.
    pub fn take_messages(&mut self) -> Vec<(NodeId, Bytes)> {
        self.flood.take_messages()
    }

    /// Learns from a group's state what it says of prefixes. What is to be [proclaimed] comes back.
    ///
    /// That is the leader's business. But a leader may not be believed yet, because the record of
    /// the members that makes it one is not known either; and if it is the root group's, only a
    /// member of before can make it known. So what the directory lacks for long, any member
    /// publishes whose replica has it: it is decided, and who is not entitled is not believed.
    ///
    /// [proclaimed]: Herald::proclaim
    pub fn survey(&mut self, group: GroupId, leads: bool, state: &State) -> Vec<Record> {
        if leads {
            self.led.insert(group);
        } else {
            self.led.remove(&group);
        }
        let (now_ns, changes) = (self.now_ns, state.authority.changes());
        let before = self.seen.get(&group).copied();
        let is_same = |seen: Seen| {
            let is_quiet = seen.looks_again_ns.is_none_or(|at| now_ns < at);
            seen.changes == changes && seen.leads == leads && is_quiet
        };
        if before.is_some_and(is_same) || state.keyspace.databases() == 0 {
            return Vec::new();
        }
        for (prefix, owned) in state.authority.owned() {
            self.directory
                .learn_prefix(prefix, owned.epoch, Some(group));
        }
        let records = self.unpublished(group, state);
        let behind_since_ns = before.and_then(|seen| seen.behind_since_ns);
        let behind_since_ns = (!records.is_empty()).then(|| behind_since_ns.unwrap_or(now_ns));
        let pause_ns = if leads && records.len() >= MAX_PUBLISHED {
            0
        } else {
            LOOK_AGAIN_NS
        };
        let seen = Seen {
            changes,
            leads,
            behind_since_ns,
            looks_again_ns: behind_since_ns.map(|_| now_ns + pause_ns),
        };
        self.seen.insert(group, seen);
        let stands_in = behind_since_ns.is_some_and(|since| now_ns >= since + STAND_IN_NS);
        if leads || stands_in {
            records
        } else {
            Vec::new()
        }
    }

    /// Makes known what groups of this node have decided. Signing takes time, so no group's
    /// state should be held meanwhile.
    pub fn proclaim(&mut self, records: Vec<Record>) {
        for record in records {
            self.publish(record);
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

    /// Signs what lost its author and is a matter of a group that this node leads; true if there
    /// was something. That a record lost its author can become known long after the group last
    /// changed, so this is looked at again and again.
    fn adopt_orphans(&mut self) -> bool {
        if self.led.is_empty() || self.directory.with_store(Store::orphan_count) == 0 {
            return false;
        }
        let led: Vec<GroupId> = self.led.iter().copied().collect();
        match self.flood.adopt_orphans(self.me, &self.key, &led) {
            Ok(0) => false,
            Ok(adopted) => {
                tracing::info!(adopted, "signed records anew whose authors have left");
                true
            }
            Err(error) => {
                tracing::error!(%error, "a record cannot be signed anew");
                false
            }
        }
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

#[cfg(test)]
mod tests {
    use bailiwick_replication::LogIndex;

    use super::*;
    use crate::commands::Counters;
    use crate::directory::keys::KeyRing;
    use crate::directory::record::SignedRecord;
    use crate::keyspace::{AccessClock, AccessPolicy};
    use crate::state::EntryHead;

    const GROUP: GroupId = GroupId(1);
    const SECOND_NS: u64 = 1_000_000_000;

    fn id(node: u64) -> MemberId {
        MemberId {
            node: NodeId(node),
            disk: node,
        }
    }

    fn key(node: u64) -> NodeKey {
        NodeKey::from_secret([node as u8; 32])
    }

    fn group(id: GroupId, configuration: u64, nodes: &[u64]) -> GroupRecord {
        let members = nodes.iter().map(|node| member(self::id(*node)));
        GroupRecord {
            id,
            name: format!("g{}", id.0),
            configuration,
            members: members.collect(),
            hash_seed: 0,
            databases: 1,
        }
    }

    fn prefix(prefix: &[u8], owner: GroupId) -> Record {
        Record::Prefix(PrefixRecord {
            prefix: prefix.to_vec(),
            epoch: 2,
            group: Some(owner),
        })
    }

    fn offer(herald: &mut Herald, record: Record, author: u64) {
        let signed = record.sign(member(id(author)), &key(author)).unwrap();
        herald.flood.publish(&signed);
    }

    fn author(herald: &Herald, prefix: &[u8]) -> Option<NodeId> {
        herald.directory.with_store(|store| {
            let mut records = store.after(None);
            let is_it = |record: &&SignedRecord| {
                matches!(record.record(), Record::Prefix(found) if found.prefix == prefix)
            };
            records.find(is_it).map(|record| record.author().node)
        })
    }

    /// Node 1 is the root group and led `a:` before; node 2 is the group that has it now.
    #[test]
    fn a_record_that_loses_its_author_is_signed_anew_although_the_group_does_not_change() {
        let anchor = group(ROOT_GROUP, 1, &[1]);
        let directory = Arc::new(Directory::new(anchor, KeyRing::new()));
        let mut herald = Herald::new(id(2), Arc::new(key(2)), directory, 0);
        herald.introduce();
        offer(&mut herald, Record::Key(key(1).public()), 1);
        offer(&mut herald, Record::Group(group(GROUP, 1, &[2])), 1);
        offer(&mut herald, prefix(b"a:b:", ROOT_GROUP), 1);
        herald.led.insert(GROUP);
        herald.tick(SECOND_NS, 0);
        assert_eq!(author(&herald, b"a:b:"), Some(NodeId(1)));
        // Only now it is heard that the group has the parent prefix.
        offer(&mut herald, prefix(b"a:", GROUP), 1);
        herald.tick(2 * SECOND_NS, 0);
        assert_eq!(author(&herald, b"a:b:"), Some(NodeId(2)));
    }

    /// Node 2 was a member with node 1 before node 3 came and leads; only node 2 is known to be
    /// one.
    #[test]
    fn a_member_of_before_makes_known_what_the_leader_cannot() {
        let anchor = group(ROOT_GROUP, 1, &[1, 2]);
        let directory = Arc::new(Directory::new(anchor, KeyRing::new()));
        let mut herald = Herald::new(id(2), Arc::new(key(2)), directory, 0);
        herald.introduce();
        let mut state = State::empty();
        let clock = AccessClock::new(AccessPolicy::default(), 1, 1);
        let counters = Counters::default();
        let head = EntryHead {
            time_ms: 1,
            seed: 1,
        };
        let mut applier = state.begin(LogIndex(1), head, &clock, &counters);
        applier.genesis(1, 1, ROOT_GROUP);
        applier.finish();
        let members = [id(2), id(3)];
        state
            .authority
            .set_members(ROOT_GROUP, 2, &members)
            .unwrap();
        assert!(herald.survey(ROOT_GROUP, false, &state).is_empty());
        herald.tick(STAND_IN_NS, 0);
        let records = herald.survey(ROOT_GROUP, false, &state);
        assert_eq!(records.len(), 1);
        herald.proclaim(records);
        let view = herald.directory.snapshot();
        assert_eq!(
            view.group(ROOT_GROUP).map(|known| known.configuration),
            Some(2)
        );
    }
}
