//! Flooding: how records reach all nodes.
//!
//! Two ways. What is new is *pushed* at once over all links, and on from each node for which it was
//! new. What a push missed (a link was down, a queue full, a node away) is found by *comparing*:
//! when a link comes up, and every second with one peer at random, a node sends the root of its
//! digest tree, and hears nothing if the other's is the same. Otherwise both find the leaves in
//! which they differ and pull those from each other. A node that lacks most of the other's records
//! scans them from the beginning, in the order in which they can be checked.
//!
//! So traffic when nothing happens is one small message a second and node, whatever the number of
//! records. Records that were pulled in bulk are not pushed on: everybody would get them from
//! everybody.
//!
//! Not here: links, clock and random numbers, which the caller has; and what may be believed, which
//! the [`Directory`] judges. Messages may be lost: what waits for an answer is given up after
//! [`ANSWER_TIMEOUT_NS`] and begun again by a later comparison. Messages that do not decode are
//! counted and dropped.

mod message;
mod peer;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bailiwick_replication::{GroupId, NodeId};
use bytes::Bytes;

use super::digest::Digests;
use super::keys::NodeKey;
use super::record::{Member, RecordError, SignedRecord, Topic};
use super::{Directory, Offered, Outcome};
use message::{BRANCHES_MAX, LEAVES_MAX, Message};
pub use message::{FLOOD_VERSION, MESSAGE_BYTES_MAX};
use peer::{Peer, Work};

/// How often a node compares with a peer at random, in nanoseconds.
const COMPARE_INTERVAL_NS: u64 = 1_000_000_000;
/// How long an answer is waited for, in nanoseconds.
pub const ANSWER_TIMEOUT_NS: u64 = 5_000_000_000;
/// How many bytes of records one message carries, and it may be one record or leaf more.
pub const PAGE_BYTES: usize = 128 << 10;
/// How many records of a pulled page are pushed on, at most.
const PUSHED_ON_MAX: usize = 64;
/// How many leaves are asked for at a time.
const PULL_LEAVES: usize = 1024;
/// How many orphans are signed anew at a time.
const ADOPTED_MAX: usize = 1000;

/// Counts for INFO.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FloodCounters {
    /// Messages that were received.
    pub received: u64,
    /// Messages that were none, or from nobody we have a link to.
    pub refused: u64,
    /// Records that did not fit into a peer's queue, so that it must find out by comparing.
    pub overflowed: u64,
    /// Comparisons that found a difference.
    pub differences: u64,
}

/// Floods one node's directory. Invariant: `repairing` is a linked peer.
#[derive(Debug)]
pub struct Flood {
    directory: Arc<Directory>,
    peers: BTreeMap<NodeId, Peer>,
    /// Whom to compare with next, before anybody at random.
    to_compare: VecDeque<NodeId>,
    /// The peer with which a comparison that we began found a difference.
    repairing: Option<NodeId>,
    now_ns: u64,
    compared_ns: u64,
    counters: FloodCounters,
}

impl Flood {
    /// No links yet. Times are nanoseconds since any moment that stays the same.
    pub fn new(directory: Arc<Directory>, now_ns: u64) -> Self {
        Self {
            directory,
            peers: BTreeMap::new(),
            to_compare: VecDeque::new(),
            repairing: None,
            now_ns,
            compared_ns: now_ns,
            counters: FloodCounters::default(),
        }
    }

    /// The directory.
    pub fn directory(&self) -> &Arc<Directory> {
        &self.directory
    }

    /// Counts for INFO.
    pub fn counters(&self) -> FloodCounters {
        self.counters
    }

    /// A link stands. Whatever was under way with this peer has ended.
    pub fn link_up(&mut self, node: NodeId) {
        self.link_down(node);
        self.peers.insert(node, Peer::default());
        self.compare(node);
    }

    /// A link is gone, with everything that was on it.
    pub fn link_down(&mut self, node: NodeId) {
        self.peers.remove(&node);
        self.to_compare.retain(|waiting| *waiting != node);
        if self.repairing == Some(node) {
            self.repairing = None;
        }
    }

    /// Makes a record of our own known, if our directory believes it or may come to.
    pub fn publish(&mut self, record: &SignedRecord) -> Outcome {
        let offered = self
            .directory
            .offer_all(vec![record.bytes().clone()], record.author().node);
        self.push_on(&offered, None);
        offered.outcomes[0]
    }

    /// Signs anew, as `me`, records that have lost their author, as far as members of `groups` may,
    /// and makes them known. To be called now and then.
    ///
    /// # Errors
    /// None that can occur with records that are believed.
    pub fn adopt_orphans(
        &mut self,
        me: Member,
        key: &NodeKey,
        groups: &[GroupId],
    ) -> Result<usize, RecordError> {
        let adopted = self.directory.adopt_orphans(me, key, groups, ADOPTED_MAX)?;
        let fresh = adopted.iter().map(|record| self.publish(record));
        Ok(fresh.filter(|outcome| *outcome == Outcome::Fresh).count())
    }

    /// Takes a message.
    pub fn receive(&mut self, from: NodeId, bytes: &Bytes) {
        self.counters.received += 1;
        match Message::decode(bytes) {
            Ok(message) if self.peers.contains_key(&from) => self.handle(from, message),
            _ => self.counters.refused += 1,
        }
    }

    /// Lets time pass. `random` is any number, another each time.
    pub fn tick(&mut self, now_ns: u64, random: u64) {
        self.now_ns = self.now_ns.max(now_ns);
        for peer in self.peers.values_mut() {
            peer.give_up(self.now_ns);
        }
        let is_stuck = |node: &NodeId| self.peers.get(node).is_none_or(|peer| !peer.is_working());
        if self.repairing.as_ref().is_some_and(is_stuck) {
            self.repairing = None;
        }
        if self.now_ns.saturating_sub(self.compared_ns) < COMPARE_INTERVAL_NS {
            return;
        }
        self.compared_ns = self.now_ns;
        self.directory.grow_older();
        let lagging = self
            .peers
            .iter_mut()
            .filter_map(|(node, peer)| peer.take_lag().then_some(*node));
        let lagging: Vec<NodeId> = lagging.collect();
        self.to_compare.extend(lagging);
        if let Some(node) = self
            .to_compare
            .pop_front()
            .or_else(|| self.any_peer(random))
        {
            self.compare(node);
        }
    }

    /// What is to be sent, in order; to be called after each of the other calls, or a few of them.
    pub fn take_messages(&mut self) -> Vec<(NodeId, Bytes)> {
        let take = |(node, peer): (&NodeId, &mut Peer)| {
            let messages = peer.take_messages();
            messages
                .into_iter()
                .map(|message| (*node, message))
                .collect::<Vec<_>>()
        };
        self.peers.iter_mut().flat_map(take).collect()
    }

    fn handle(&mut self, from: NodeId, message: Message) {
        match message {
            Message::Records(records) => {
                let offered = self.directory.offer_all(records, from);
                self.push_on(&offered, Some(from));
            }
            Message::Compare(root) => self.answer_compare(from, root),
            Message::Branches(count, digests) => self.repair(from, count, &digests),
            Message::Leaves(branches) => self.answer_leaves(from, &branches),
            Message::Differ(leaves) => self.pull(from, leaves),
            Message::Pull(leaves) => self.answer_pull(from, leaves),
            Message::Pulled(records, rest) => self.take_pulled(from, records, rest),
            Message::Scan(after) => self.answer_scan(from, after.as_ref()),
            Message::Scanned(records, more) => self.take_scanned(from, records, more),
        }
    }

    fn compare(&mut self, node: NodeId) {
        let root = self.directory.with_store(|store| store.digest().root());
        self.send(node, &Message::Compare(root));
    }

    fn answer_compare(&mut self, from: NodeId, root: u64) {
        let answer = self.directory.with_store(|store| {
            let digest = store.digest();
            let branches = || (store.len() as u64, Box::new(*digest.branches()));
            (digest.root() != root).then(branches)
        });
        if let Some((count, branches)) = answer {
            self.send(from, &Message::Branches(count, branches));
        }
    }

    /// Another's branches: looks closer at those that differ, with one peer at a time.
    fn repair(&mut self, from: NodeId, count: u64, theirs: &Digests) {
        if self.repairing.is_some_and(|node| node != from) {
            if !self.to_compare.contains(&from) {
                self.to_compare.push_back(from);
            }
            return;
        }
        if self
            .peers
            .get(&from)
            .is_none_or(|peer| peer.is_resting(self.now_ns))
        {
            return;
        }
        let ours = self.directory.with_store(|store| store.len() as u64);
        if ours < count / 2 {
            self.begin(from, Work::Scan);
            self.send(from, &Message::Scan(None));
            return;
        }
        if count < ours / 2 {
            // The other one scans us, and compares again when it has.
            return;
        }
        let branches: Vec<_> = self.directory.with_store(|store| {
            let ours = store.digest().branches();
            let differing =
                (0..=u8::MAX).filter(|b| ours[usize::from(*b)] != theirs[usize::from(*b)]);
            let leaves = |branch| (branch, Box::new(*store.digest().leaves(branch)));
            differing.take(BRANCHES_MAX).map(leaves).collect()
        });
        if !branches.is_empty() {
            self.begin(from, Work::Leaves);
            self.send(from, &Message::Leaves(branches));
        }
    }

    fn is_scanning(&self) -> bool {
        let peer = self.repairing.and_then(|node| self.peers.get(&node));
        peer.is_some_and(|peer| peer.is_waiting_for(Work::Scan))
    }

    fn begin(&mut self, node: NodeId, work: Work) {
        self.counters.differences += 1;
        self.repairing = Some(node);
        if let Some(peer) = self.peers.get_mut(&node) {
            peer.wait_for(work, self.now_ns);
        }
    }

    fn answer_leaves(&mut self, from: NodeId, theirs: &[(u8, Box<Digests>)]) {
        if self.is_scanning() {
            // What differs now we may get from the one we scan.
            self.send(from, &Message::Differ(Vec::new()));
            return;
        }
        let differing: Vec<u16> = self.directory.with_store(|store| {
            let differing = |(branch, theirs): &(u8, Box<Digests>)| {
                let ours = store.digest().leaves(*branch);
                let leaves = (0..=u8::MAX)
                    .filter(|leaf| ours[usize::from(*leaf)] != theirs[usize::from(*leaf)]);
                leaves
                    .map(|leaf| u16::from_be_bytes([*branch, leaf]))
                    .collect::<Vec<_>>()
            };
            theirs.iter().flat_map(differing).collect()
        });
        self.send(from, &Message::Differ(differing.clone()));
        if self
            .peers
            .get(&from)
            .is_some_and(|peer| !peer.is_resting(self.now_ns))
        {
            self.pull(from, differing);
        }
    }

    /// Asks for the records of these leaves, behind those that were asked for already.
    fn pull(&mut self, from: NodeId, leaves: Vec<u16>) {
        let Some(peer) = self.peers.get_mut(&from) else {
            return;
        };
        peer.finish(Work::Leaves);
        peer.add_pulls(leaves, LEAVES_MAX);
        self.pull_on(from);
    }

    fn pull_on(&mut self, from: NodeId) {
        let Some(peer) = self.peers.get_mut(&from) else {
            return;
        };
        if peer.is_waiting_for(Work::Pull) {
            return;
        }
        let leaves = peer.next_pulls(PULL_LEAVES);
        if !leaves.is_empty() {
            peer.wait_for(Work::Pull, self.now_ns);
            self.send(from, &Message::Pull(leaves));
        } else {
            self.finish_repair(from);
        }
    }

    /// Compares again with a peer from which all was pulled that was known to differ.
    fn finish_repair(&mut self, from: NodeId) {
        let Some(peer) = self.peers.get_mut(&from) else {
            return;
        };
        let made_progress = peer.take_progress(self.now_ns);
        if self.repairing != Some(from) {
            return;
        }
        self.repairing = None;
        if made_progress {
            self.compare(from);
        } else if let Some(next) = self.to_compare.pop_front() {
            self.compare(next);
        }
    }

    fn answer_pull(&mut self, from: NodeId, leaves: Vec<u16>) {
        let (mut records, mut bytes) = (Vec::new(), 0);
        let mut leaves = leaves.into_iter();
        self.directory.with_store(|store| {
            while bytes < PAGE_BYTES
                && let Some(leaf) = leaves.next()
            {
                // A leaf goes as a whole, unless it is by itself more than a message holds.
                let of_leaf = store.in_leaf(leaf).map(|record| record.bytes().clone());
                records.extend(of_leaf.take_while(|record| {
                    bytes += record.len();
                    bytes < MESSAGE_BYTES_MAX / 2
                }));
            }
        });
        self.send(from, &Message::Pulled(records, leaves.collect()));
    }

    fn take_pulled(&mut self, from: NodeId, records: Vec<Bytes>, rest: Vec<u16>) {
        self.take_page(from, Work::Pull, records);
        if let Some(peer) = self.peers.get_mut(&from) {
            peer.add_pulls(rest, LEAVES_MAX);
        }
        self.pull_on(from);
    }

    fn answer_scan(&mut self, from: NodeId, after: Option<&Topic>) {
        let (page, more) = self.directory.with_store(|store| {
            let (mut page, mut bytes) = (Vec::new(), 0);
            let mut last = None;
            for record in store.after(after) {
                // Records of one topic stay together, since a scan goes on behind a topic.
                if bytes >= PAGE_BYTES && last.as_ref() != Some(&record.topic()) {
                    return (page, true);
                }
                bytes += record.bytes().len();
                page.push(record.bytes().clone());
                last = (bytes >= PAGE_BYTES).then(|| record.topic());
            }
            (page, false)
        });
        self.send(from, &Message::Scanned(page, more));
    }

    fn take_scanned(&mut self, from: NodeId, records: Vec<Bytes>, more: bool) {
        let last = records
            .last()
            .and_then(|last| SignedRecord::decode(last.clone()).ok());
        if !self.take_page(from, Work::Scan, records) {
            return;
        }
        match last.filter(|_| more) {
            Some(last) => {
                if let Some(peer) = self.peers.get_mut(&from) {
                    peer.wait_for(Work::Scan, self.now_ns);
                }
                self.send(from, &Message::Scan(Some(last.topic())));
            }
            None => self.finish_repair(from),
        }
    }

    /// Takes records that we asked for; whether we did.
    fn take_page(&mut self, from: NodeId, work: Work, records: Vec<Bytes>) -> bool {
        let Some(peer) = self.peers.get_mut(&from) else {
            return false;
        };
        if !peer.finish(work) {
            return false;
        }
        let offered = self.directory.offer_all(records, from);
        if !offered.fresh.is_empty() {
            peer.made_progress();
        }
        if offered.fresh.len() <= PUSHED_ON_MAX {
            self.push_on(&offered, Some(from));
        }
        true
    }

    fn push_on(&mut self, offered: &Offered, from: Option<NodeId>) {
        for record in &offered.fresh {
            for (_, peer) in self
                .peers
                .iter_mut()
                .filter(|(node, _)| Some(**node) != from)
            {
                if !peer.push(record.bytes().clone()) {
                    self.counters.overflowed += 1;
                }
            }
        }
    }

    fn any_peer(&self, random: u64) -> Option<NodeId> {
        let index = (random as usize).checked_rem(self.peers.len())?;
        self.peers.keys().nth(index).copied()
    }

    fn send(&mut self, to: NodeId, message: &Message) {
        if let Some(peer) = self.peers.get_mut(&to) {
            peer.send(message.encode());
        }
    }
}
