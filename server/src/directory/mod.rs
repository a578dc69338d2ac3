//! The directory: each node's copy of who owns which prefix and who is in which group.
//!
//! [`Directory`] joins what is known: signed records that flood from node to node and are checked
//! up to the root group (`store`), and what the node's own replicas say, unsigned and never passed
//! on. For each prefix the higher epoch wins, for each group the higher configuration. Readers get
//! a [`View`], without a lock; writers are serialized.
//!
//! **Map.** [`prefix_map`] finds the longest prefix, `view` is what readers see, [`record`] what
//! travels, [`keys`] whose signature is whose, `store` what is believed, `pen` what waits, `digest`
//! compares two stores, [`flood`] brings records to all nodes, [`membership`] tells who is alive.
//!
//! **How it fails.** A record that is malformed, forged or out of date changes nothing and is
//! counted by reason. A directory that lacks a record sends a request to the wrong group, which
//! refuses it and says so: a stale directory costs a hop, never a wrong answer.
//!
//! Everything here is without clock, random source and network, and everything but a node's own key
//! file is without I/O.

pub mod digest;
pub mod flood;
pub mod keys;
pub mod membership;
mod pen;
pub mod prefix_map;
pub mod record;
mod store;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod view;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use bailiwick_replication::{GroupId, NodeId};
use bytes::Bytes;
use parking_lot::Mutex;

use keys::{KeyRing, NodeKey, PublicKey};
use pen::{Pen, Waiting};
pub use prefix_map::PrefixMap;
use record::{GroupRecord, Member, Record, RecordError, SignedRecord};
use store::{Claim, Verdict};
pub use store::{RECORDS_MAX, Refusal, Store};
pub use view::{Owner, ROOT_EPOCH, ROOT_GROUP, View};

/// What was made of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is believed, and was not known: it should go on to other nodes.
    Fresh,
    /// The same is known.
    Known,
    /// Something newer is known.
    Stale,
    /// It waits for a record that would entitle its author, or for the author's key.
    Waiting(Refusal),
    /// It was dropped.
    Refused(Refusal),
}

/// What came of a batch of records.
#[derive(Debug, Default)]
pub struct Offered {
    /// For each record in order what was made of it at first.
    pub outcomes: Vec<Outcome>,
    /// What is believed since, also what had waited for it, in the order in which it was believed.
    pub fresh: Vec<SignedRecord>,
}

/// Counts for INFO.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Records that were believed and new.
    pub fresh: u64,
    /// Records that were known.
    pub known: u64,
    /// Records that were older than what is known.
    pub stale: u64,
    /// Records that were dropped, by [`Refusal::index`].
    pub refused: [u64; Refusal::ALL.len()],
    /// Records that wait, now.
    pub waiting: u64,
    /// Records that are believed, now.
    pub records: u64,
    /// Of those, records whose author is entitled no longer.
    pub orphans: u64,
}

#[cfg(test)]
impl Counters {
    /// How many records were dropped for this reason.
    fn refused_for(&self, reason: Refusal) -> u64 {
        self.refused[reason.index()]
    }
}

/// A node's copy of the directory, for any thread.
pub struct Directory {
    view: ArcSwap<View>,
    writer: Mutex<Writer>,
}

struct Writer {
    store: Store,
    pen: Pen,
    /// What the node's own replicas say of prefixes: epoch, and who has it.
    local: PrefixMap<Claim>,
    /// The newest view, and whether readers have it.
    view: View,
    is_changed: bool,
    counters: Counters,
}

impl Directory {
    /// A directory that believes in `anchor`, a configuration of the root group (usually the
    /// first), and in the keys that the ring has.
    ///
    /// # Panics
    ///
    /// If the anchor is not the root group's.
    pub fn new(anchor: GroupRecord, keys: KeyRing) -> Self {
        assert!(anchor.id == ROOT_GROUP, "the anchor is group {}", anchor.id);
        let mut view = View::new();
        view.set_group(Arc::new(anchor.clone()));
        let writer = Writer {
            store: Store::new(anchor, keys),
            pen: Pen::default(),
            local: PrefixMap::new(),
            view: view.clone(),
            is_changed: false,
            counters: Counters::default(),
        };
        Self {
            view: ArcSwap::from_pointee(view),
            writer: Mutex::new(writer),
        }
    }

    /// What is known now. Without a lock; to be dropped soon.
    pub fn view(&self) -> Guard<Arc<View>> {
        self.view.load()
    }

    /// What is known now, to be kept.
    pub fn snapshot(&self) -> Arc<View> {
        self.view.load_full()
    }

    /// Takes a record that `from` sent, if it can be believed.
    pub fn offer(&self, bytes: Bytes, from: NodeId) -> Outcome {
        self.offer_all(vec![bytes], from).outcomes[0]
    }

    /// Takes those of the records that `from` sent that can be believed.
    pub fn offer_all(&self, records: Vec<Bytes>, from: NodeId) -> Offered {
        let records: Vec<_> = records.into_iter().map(SignedRecord::decode).collect();
        let keys = self.keys_to_check(&records);
        // Looking at signatures is what takes time, so writers do not wait for it.
        let signed_with: Vec<Option<PublicKey>> = records
            .iter()
            .zip(keys)
            .map(|(record, key)| {
                key.filter(|key| record.as_ref().is_ok_and(|r| r.is_signed_by(key)))
            })
            .collect();
        self.change(|writer| {
            let mut offered = Offered::default();
            for (record, signed_with) in records.into_iter().zip(signed_with) {
                let outcome = writer.offer(record, from, signed_with, &mut offered.fresh);
                writer.count(outcome);
                offered.outcomes.push(outcome);
            }
            writer.retry(&mut offered.fresh);
            offered
        })
    }

    /// Takes what a replica of this node knows of a prefix: who has it since `epoch`, or that it
    /// was dropped then. It is used for look-ups, and never passed on.
    pub fn learn_prefix(&self, prefix: &[u8], epoch: u64, group: Option<GroupId>) {
        self.change(|writer| {
            if writer
                .local
                .get(prefix)
                .is_none_or(|(known, _)| *known < epoch)
            {
                writer.local.insert(prefix, (epoch, group));
                writer.show_prefix(prefix);
            }
        });
    }

    /// The key that is pinned for a node with this disk.
    pub fn key_of(&self, member: Member) -> Option<PublicKey> {
        self.writer.lock().store.keys().get(member)
    }

    /// Signs anew, as `me`, records whose authors are entitled no longer, as far as members of
    /// `groups` are and `me` is known to be one, and at most `limit`. The caller makes them known
    /// to others.
    ///
    /// # Errors
    /// None that can occur with records that are believed.
    pub fn adopt_orphans(
        &self,
        me: Member,
        key: &NodeKey,
        groups: &[GroupId],
        limit: usize,
    ) -> Result<Vec<SignedRecord>, RecordError> {
        let orphans = {
            let store = &self.writer.lock().store;
            let mut groups = groups.to_vec();
            groups.retain(|group| store.is_member(*group, me));
            store.orphans(&groups, limit)
        };
        orphans
            .into_iter()
            .map(|record| record.sign(me, key))
            .collect()
    }

    /// To be called now and then, about once a second: drops what has waited too long.
    pub fn grow_older(&self) {
        let mut writer = self.writer.lock();
        for gone in writer.pen.grow_older() {
            writer.count(Outcome::Refused(gone.why));
        }
    }

    /// Counts for INFO.
    pub fn counters(&self) -> Counters {
        let writer = self.writer.lock();
        Counters {
            waiting: writer.pen.len() as u64,
            records: writer.store.len() as u64,
            orphans: writer.store.orphan_count() as u64,
            ..writer.counters
        }
    }

    /// The signed records, for as long as `read` takes, which holds up writers.
    pub fn with_store<R>(&self, read: impl FnOnce(&Store) -> R) -> R {
        read(&self.writer.lock().store)
    }

    /// For each record the key that its signature must be of, if it is worth a look.
    fn keys_to_check(
        &self,
        records: &[Result<SignedRecord, RecordError>],
    ) -> Vec<Option<PublicKey>> {
        let writer = self.writer.lock();
        // Keys that come with the batch serve the rest of it.
        let mut new_keys = HashMap::new();
        let mut key_for = |record: &SignedRecord| {
            if writer.store.judge_early(record).is_some() {
                return None;
            }
            if let Record::Key(key) = record.record() {
                new_keys.insert(record.author(), *key);
            }
            let known = writer.store.key_for(record);
            known.or_else(|| new_keys.get(&record.author()).copied())
        };
        records
            .iter()
            .map(|record| key_for(record.as_ref().ok()?))
            .collect()
    }

    /// Runs a change, and shows readers what came of it.
    fn change<R>(&self, change: impl FnOnce(&mut Writer) -> R) -> R {
        let mut writer = self.writer.lock();
        let result = change(&mut writer);
        if !std::mem::take(&mut writer.is_changed) {
            return result;
        }
        writer.view.next_generation();
        self.view.store(Arc::new(writer.view.clone()));
        result
    }
}

impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Directory")
            .field("counters", &self.counters())
            .finish_non_exhaustive()
    }
}

impl Writer {
    fn offer(
        &mut self,
        record: Result<SignedRecord, RecordError>,
        from: NodeId,
        signed_with: Option<PublicKey>,
        fresh: &mut Vec<SignedRecord>,
    ) -> Outcome {
        let Ok(record) = record else {
            return Outcome::Refused(Refusal::Malformed);
        };
        let (verdict, signed_with) = self.judge(&record, signed_with);
        match verdict {
            Verdict::Fresh => {
                self.believe(record, fresh);
                Outcome::Fresh
            }
            Verdict::Known => Outcome::Known,
            Verdict::Stale => Outcome::Stale,
            Verdict::Refused(why) => Outcome::Refused(why),
            Verdict::Wait(why) => {
                let waiting = Waiting {
                    record,
                    from,
                    why,
                    signed_with,
                    age: 0,
                };
                if let Some(gone) = self.pen.push(waiting) {
                    self.count(Outcome::Refused(gone.why));
                }
                Outcome::Waiting(why)
            }
        }
    }

    /// Judges a record whose signature was found to be of `signed_with`, and looks at the signature
    /// if another key counts meanwhile.
    fn judge(
        &self,
        record: &SignedRecord,
        signed_with: Option<PublicKey>,
    ) -> (Verdict, Option<PublicKey>) {
        if let Some(verdict) = self.store.judge_early(record) {
            return (verdict, signed_with);
        }
        let Some(key) = self.store.key_for(record) else {
            return (Verdict::Wait(Refusal::UnknownKey), None);
        };
        if signed_with != Some(key) && !record.is_signed_by(&key) {
            return (Verdict::Refused(Refusal::Signature), None);
        }
        (self.store.judge(record), Some(key))
    }

    fn believe(&mut self, record: SignedRecord, fresh: &mut Vec<SignedRecord>) {
        self.store.insert(record.clone());
        match record.record() {
            Record::Prefix(prefix) => self.show_prefix(&prefix.prefix),
            Record::Group(group) => self.show_group(Arc::new(group.clone())),
            Record::Key(_) => {}
        }
        fresh.push(record);
    }

    /// Judges what waits again, until nothing more comes of it.
    fn retry(&mut self, fresh: &mut Vec<SignedRecord>) {
        let mut before = 0;
        while fresh.len() > before && self.pen.len() > 0 {
            before = fresh.len();
            for waiting in self.pen.take_all() {
                let (verdict, signed_with) = self.judge(&waiting.record, waiting.signed_with);
                match verdict {
                    Verdict::Fresh => {
                        self.believe(waiting.record, fresh);
                        self.count(Outcome::Fresh);
                    }
                    Verdict::Wait(why) => {
                        let still = Waiting {
                            why,
                            signed_with,
                            ..waiting
                        };
                        let gone = self.pen.push(still);
                        assert!(gone.is_none(), "what came out of the pen fits into it");
                    }
                    Verdict::Known | Verdict::Stale => {}
                    Verdict::Refused(why) => self.count(Outcome::Refused(why)),
                }
            }
        }
    }

    /// Shows readers the better of what records and replicas say of a prefix.
    fn show_prefix(&mut self, prefix: &[u8]) {
        let local = self.local.get(prefix).copied();
        let best = [self.store.claim(prefix), local].into_iter().flatten();
        // Of equal epochs the first, which was signed.
        let best = best.reduce(|a, b| if b.0 > a.0 { b } else { a });
        let owner = best.and_then(|(epoch, group)| {
            Some(Owner {
                epoch,
                group: group?,
            })
        });
        if prefix.is_empty() && owner.is_none() || self.view.owner_of_prefix(prefix) == owner {
            return;
        }
        self.view.set_owner(prefix, owner);
        self.is_changed = true;
    }

    /// Shows readers a group, unless they have a newer one.
    fn show_group(&mut self, group: Arc<GroupRecord>) {
        let is_better = |known: &Arc<GroupRecord>| {
            known.configuration <= group.configuration && *known != group
        };
        if self.view.group(group.id).is_none_or(is_better) {
            self.view.set_group(group);
            self.is_changed = true;
        }
    }

    fn count(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Fresh => self.counters.fresh += 1,
            Outcome::Known => self.counters.known += 1,
            Outcome::Stale => self.counters.stale += 1,
            Outcome::Waiting(_) => {}
            Outcome::Refused(why) => self.counters.refused[why.index()] += 1,
        }
    }
}
