//! [`Store`]: the signed records a node believes, and the rules by which it does.
//!
//! # What is believed
//!
//! A record must be signed by its author with the key that is pinned for it, and the author must be
//! *entitled*: for a prefix a member of the group that owns the parent prefix, for a group a member
//! of the root group, for the root group itself a member of the configuration before. All of this
//! is judged by signed records alone, and in the end by the first configuration of the root group,
//! the *anchor*, which the caller vouches for. Of two records about the same topic the higher
//! sequence wins; records of one sequence that say different things prove a lying author, and one
//! of them wins everywhere (the smaller content hash), so that directories still converge.
//!
//! # Authors that are entitled no longer
//!
//! A parent prefix moves, a member leaves: then records that were rightly signed have authors whom
//! a newcomer cannot check. They stay believed here, and are *orphans* until a present member signs
//! them again ([`Store::orphans`]). The digest tells orphans from others, so that the new signature
//! reaches everybody.
//!
//! Not here: unsigned knowledge, readers, records that must wait ([`Pen`](super::pen::Pen)).
//! Invariants: `orphans` holds the topics of the records whose `entitled` is false; `digest` is the
//! sum of all leaf hashes; the root group's `history` rises strictly, each by a member of the one
//! before.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use bailiwick_replication::GroupId;

use super::PrefixMap;
use super::digest::DigestTree;
use super::keys::{Introduced, KeyRing, PublicKey};
use super::record::{GroupRecord, Member, Record, SignedRecord, Topic};
use super::view::ROOT_GROUP;

/// How many records are kept. More are refused.
pub const RECORDS_MAX: usize = 1 << 22;
/// What the hash of an orphan differs by.
const ORPHAN: u64 = 0x6a09_e667_f3bc_c909;

/// Why a record is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// The bytes are no record of this version.
    Malformed,
    /// The signature is not the author's.
    Signature,
    /// The author's key never came.
    UnknownKey,
    /// The author is not entitled.
    Author,
    /// Another key is pinned for the author.
    KeyConflict,
    /// Another record of the same sequence says something else.
    Contradiction,
    /// There is no room.
    Full,
}

impl Refusal {
    /// All of them, in the order of [`Self::index`].
    pub const ALL: [Self; 7] = [
        Self::Malformed,
        Self::Signature,
        Self::UnknownKey,
        Self::Author,
        Self::KeyConflict,
        Self::Contradiction,
        Self::Full,
    ];

    /// Its place in [`Self::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }

    /// Its name in INFO.
    pub fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Signature => "signature",
            Self::UnknownKey => "unknown_key",
            Self::Author => "author",
            Self::KeyConflict => "key_conflict",
            Self::Contradiction => "contradiction",
            Self::Full => "full",
        }
    }
}

/// What the store makes of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is new, or the same from an author who is entitled where the one before is not.
    Fresh,
    Known,
    Stale,
    /// Not believed yet; what comes later may change that.
    Wait(Refusal),
    Refused(Refusal),
}

/// An epoch of a prefix, and who has it then; `None` if it was dropped.
pub(super) type Claim = (u64, Option<GroupId>);

/// A record that is believed.
#[derive(Debug)]
struct Stored {
    record: SignedRecord,
    content_hash: u64,
    /// Whether its author is entitled at present.
    entitled: bool,
}

/// The signed records.
#[derive(Debug)]
pub struct Store {
    anchor: GroupRecord,
    keys: KeyRing,
    /// The root group's records, each newer than the one before.
    history: Vec<SignedRecord>,
    topics: BTreeMap<(u64, Topic), Stored>,
    /// The prefixes among the topics, with what is said of them, tombstones included.
    prefixes: PrefixMap<Claim>,
    groups: BTreeSet<GroupId>,
    members_with_key: BTreeSet<Member>,
    orphans: BTreeSet<Topic>,
    digest: DigestTree,
}

impl Store {
    /// Believes in `anchor`, a configuration of the root group, and in the keys that are given.
    pub fn new(anchor: GroupRecord, keys: KeyRing) -> Self {
        Self {
            anchor,
            keys,
            history: Vec::new(),
            topics: BTreeMap::new(),
            prefixes: PrefixMap::new(),
            groups: BTreeSet::new(),
            members_with_key: BTreeSet::new(),
            orphans: BTreeSet::new(),
            digest: DigestTree::default(),
        }
    }

    /// The key that a record must be signed with; `None` if it is not known.
    pub(super) fn key_for(&self, record: &SignedRecord) -> Option<PublicKey> {
        match record.record() {
            Record::Key(key) => Some(*key),
            Record::Prefix(_) | Record::Group(_) => self.keys.get(record.author()),
        }
    }

    /// Whether a record needs no look at its signature.
    pub(super) fn judge_early(&self, record: &SignedRecord) -> Option<Verdict> {
        if let Record::Key(key) = record.record() {
            return match self.keys.check(record.author(), *key) {
                Introduced::Conflict(_) => Some(Verdict::Refused(Refusal::KeyConflict)),
                Introduced::Full => Some(Verdict::Refused(Refusal::Full)),
                Introduced::Known if self.get(&record.topic()).is_some() => Some(Verdict::Known),
                Introduced::Known | Introduced::New => None,
            };
        }
        if let Record::Group(group) = record.record()
            && group.id == ROOT_GROUP
            && group.configuration <= self.anchor.configuration
        {
            let same = *group == self.anchor;
            return Some(if same { Verdict::Known } else { Verdict::Stale });
        }
        let Some(stored) = self.get(&record.topic()) else {
            let is_full = self.topics.len() >= RECORDS_MAX;
            return is_full.then_some(Verdict::Refused(Refusal::Full));
        };
        self.compare(stored, record)
    }

    /// Whether a record with a good signature is believed.
    pub(super) fn judge(&self, record: &SignedRecord) -> Verdict {
        match self.judge_early(record) {
            Some(verdict) => verdict,
            None if self.is_entitled(record) => Verdict::Fresh,
            None => Verdict::Wait(Refusal::Author),
        }
    }

    /// Takes a record that was judged to be fresh.
    pub(super) fn insert(&mut self, record: SignedRecord) {
        let topic = record.topic();
        self.remove_hash(&topic);
        match record.record() {
            Record::Key(key) => {
                self.keys.introduce(record.author(), *key);
                self.members_with_key.insert(record.author());
            }
            Record::Group(group) => {
                self.groups.insert(group.id);
                if group.id == ROOT_GROUP {
                    self.keep_history(group.configuration, &record);
                }
            }
            Record::Prefix(prefix) => {
                self.prefixes
                    .insert(&prefix.prefix, (prefix.epoch, prefix.group));
            }
        }
        let content_hash = record.record().content_hash(record.author());
        let stored = Stored {
            record,
            content_hash,
            entitled: true,
        };
        let before = self.topics.insert((topic.hash(), topic.clone()), stored);
        self.orphans.remove(&topic);
        self.add_hash(&topic);
        self.judge_dependents(&topic, before.is_some());
    }

    /// The sums by which two stores are compared.
    pub fn digest(&self) -> &DigestTree {
        &self.digest
    }

    /// How many topics have a record.
    pub fn len(&self) -> usize {
        self.topics.len()
    }

    /// Whether there is no record.
    pub fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }

    /// Whose key is whose.
    pub fn keys(&self) -> &KeyRing {
        &self.keys
    }

    /// What is believed of a prefix.
    pub(super) fn claim(&self, prefix: &[u8]) -> Option<Claim> {
        self.prefixes.get(prefix).copied()
    }

    /// The record about a topic.
    pub fn record(&self, topic: &Topic) -> Option<&SignedRecord> {
        self.get(topic).map(|stored| &stored.record)
    }

    /// How many records have an author who is entitled no longer.
    pub fn orphan_count(&self) -> usize {
        self.orphans.len()
    }

    /// What members of these groups should sign again, at most `limit` records.
    pub(super) fn orphans(&self, groups: &[GroupId], limit: usize) -> Vec<Record> {
        let entitled = |topic: &Topic| groups.contains(&self.entitled_group(topic));
        let topics = self
            .orphans
            .iter()
            .filter(|topic| entitled(topic))
            .take(limit);
        topics
            .filter_map(|topic| Some(self.record(topic)?.record().clone()))
            .collect()
    }

    /// The records of a leaf of the digest; of the root group all, the oldest first.
    pub fn in_leaf(&self, leaf: u16) -> impl Iterator<Item = &SignedRecord> {
        let first = (u64::from(leaf) << 48, Topic::Key(Member::LEAST));
        let rest = self.topics.range(first..);
        let rest = rest.take_while(move |((hash, _), _)| DigestTree::leaf_of(*hash) == leaf);
        rest.flat_map(|((_, topic), stored)| self.with_history(topic, &stored.record))
    }

    /// The records behind a topic, or all, in the order in which a newcomer can check them.
    pub fn after<'a>(&'a self, topic: Option<&Topic>) -> impl Iterator<Item = &'a SignedRecord> {
        let (mut keys, mut groups) = (Bound::Unbounded, Bound::Unbounded);
        let (mut has_keys, mut has_groups) = (true, true);
        let mut prefixes: &[u8] = b"";
        match topic {
            Some(Topic::Key(member)) => keys = Bound::Excluded(*member),
            Some(Topic::Group(group)) => (has_keys, groups) = (false, Bound::Excluded(*group)),
            Some(Topic::Prefix(prefix)) => {
                (has_keys, has_groups, prefixes) = (false, false, prefix);
            }
            None => {}
        }
        let start = prefixes.to_vec();
        let keys = self
            .members_with_key
            .range((keys, Bound::Unbounded))
            .filter(move |_| has_keys);
        let groups = self
            .groups
            .range((groups, Bound::Unbounded))
            .filter(move |_| has_groups);
        let prefixes = self
            .prefixes
            .iter_from(prefixes)
            .filter(move |(p, _)| **p != *start);
        let topics = keys
            .map(|member| Topic::Key(*member))
            .chain(groups.map(|group| Topic::Group(*group)))
            .chain(prefixes.map(|(prefix, _)| Topic::Prefix(prefix.to_vec())));
        topics.flat_map(|topic| {
            let stored = self
                .get(&topic)
                .expect("the index names topics that have records");
            self.with_history(&topic, &stored.record)
                .collect::<Vec<_>>()
        })
    }

    fn with_history<'a>(
        &'a self,
        topic: &Topic,
        record: &'a SignedRecord,
    ) -> impl Iterator<Item = &'a SignedRecord> + use<'a> {
        let is_root = *topic == Topic::Group(ROOT_GROUP);
        let history: &[SignedRecord] = if is_root { &self.history } else { &[] };
        history.iter().chain((!is_root).then_some(record))
    }

    fn get(&self, topic: &Topic) -> Option<&Stored> {
        self.topics.get(&(topic.hash(), topic.clone()))
    }

    /// What follows from comparing it with the record that is there; `None` if it would win.
    fn compare(&self, stored: &Stored, record: &SignedRecord) -> Option<Verdict> {
        let (there, here) = (stored.record.record(), record.record());
        match here.sequence().cmp(&there.sequence()) {
            std::cmp::Ordering::Less => Some(Verdict::Stale),
            std::cmp::Ordering::Greater => None,
            std::cmp::Ordering::Equal if here == there => {
                let no_better = stored.entitled || record.author() == stored.record.author();
                no_better.then_some(Verdict::Known)
            }
            std::cmp::Ordering::Equal => {
                let wins = here.content_hash(record.author()) < stored.content_hash;
                (!wins).then_some(Verdict::Refused(Refusal::Contradiction))
            }
        }
    }

    fn keep_history(&mut self, configuration: u64, record: &SignedRecord) {
        let is_newer = |kept: &SignedRecord| kept.record().sequence() < configuration;
        if self.history.last().is_none_or(is_newer) {
            self.history.push(record.clone());
        } else if let Some(last) = self.history.last_mut() {
            *last = record.clone();
        }
    }

    fn is_entitled(&self, record: &SignedRecord) -> bool {
        match record.record() {
            Record::Key(_) => true,
            Record::Prefix(_) | Record::Group(_) => {
                self.is_member(self.entitled_group(&record.topic()), record.author())
            }
        }
    }

    /// The group whose members may write about a topic.
    fn entitled_group(&self, topic: &Topic) -> GroupId {
        let Topic::Prefix(prefix) = topic else {
            return ROOT_GROUP;
        };
        let parents = std::iter::successors(self.prefixes.parent(prefix), |(parent, _)| {
            self.prefixes.parent(parent)
        });
        // A prefix that was dropped is nobody's parent.
        let mut owners = parents.filter_map(|(_, (_, group))| *group);
        owners.next().unwrap_or(ROOT_GROUP)
    }

    pub(super) fn is_member(&self, group: GroupId, member: Member) -> bool {
        let record = match self.record(&Topic::Group(group)).map(SignedRecord::record) {
            Some(Record::Group(record)) => record,
            _ if group == ROOT_GROUP => {
                // The cluster's file names nodes, not their data directories.
                let is_anchored = |anchor: &Member| {
                    anchor.node == member.node && [0, member.disk].contains(&anchor.disk)
                };
                return self.anchor.members.iter().any(is_anchored);
            }
            _ => return false,
        };
        record.members.contains(&member)
    }

    /// Finds out whose authors are entitled since the record about `topic` came. The root group's
    /// own record was judged by the configuration before it, for good.
    fn judge_dependents(&mut self, topic: &Topic, is_replaced: bool) {
        let dependents: Vec<Topic> = match topic {
            Topic::Key(_) => Vec::new(),
            Topic::Prefix(prefix) => {
                let below = self.prefixes.under(prefix).filter(|(p, _)| **p != **prefix);
                below
                    .map(|(prefix, _)| Topic::Prefix(prefix.to_vec()))
                    .collect()
            }
            // Nobody was a member of a group that was not known, so only orphans can gain by it.
            Topic::Group(group) if !is_replaced && *group != ROOT_GROUP => {
                self.orphans.iter().cloned().collect()
            }
            Topic::Group(_) => self.topics.keys().map(|(_, topic)| topic.clone()).collect(),
        };
        for dependent in dependents {
            if dependent != Topic::Group(ROOT_GROUP) {
                self.judge_again(&dependent);
            }
        }
    }

    fn judge_again(&mut self, topic: &Topic) {
        let Some(stored) = self.get(topic) else {
            return;
        };
        let entitled = self.is_entitled(&stored.record);
        if entitled == stored.entitled {
            return;
        }
        self.remove_hash(topic);
        let key = (topic.hash(), topic.clone());
        self.topics
            .get_mut(&key)
            .expect("it was just there")
            .entitled = entitled;
        self.add_hash(topic);
        if entitled {
            self.orphans.remove(topic);
        } else {
            self.orphans.insert(topic.clone());
        }
    }

    fn add_hash(&mut self, topic: &Topic) {
        if let Some(hash) = self.get(topic).map(Stored::leaf_hash) {
            self.digest.add(DigestTree::leaf_of(topic.hash()), hash);
        }
    }

    fn remove_hash(&mut self, topic: &Topic) {
        if let Some(hash) = self.get(topic).map(Stored::leaf_hash) {
            self.digest
                .add(DigestTree::leaf_of(topic.hash()), hash.wrapping_neg());
        }
    }
}

impl Stored {
    fn leaf_hash(&self) -> u64 {
        self.content_hash ^ if self.entitled { 0 } else { ORPHAN }
    }
}
