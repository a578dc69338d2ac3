//! Records that nobody entitled has signed, and old ones that come again.
//!
//! A forger knows the network and no key of a member: it signs with its own, bends bits of what it
//! has overheard, and sends again what was true once. A directory may refuse that or know better;
//! what it says of prefixes must not change for the worse.

use bailiwick::directory::Outcome;
use bailiwick::directory::record::{GroupRecord, Member, PrefixRecord, Record};
use bailiwick::estate::DIRECTORY_SERVICE;
use bailiwick::group::NODE_SERVICES;
use bailiwick_replication::link::{Class, Frame};
use bailiwick_replication::{GroupId, NodeId};
use bytes::Bytes;
use fastrand::Rng;

use super::office::Delivery;
use super::places::PREFIXES;
use super::{Event, World, node};
use crate::simulation::MS;
use crate::simulation::network::Links;

/// Messages that are kept to be sent again.
const MAX_KEPT: usize = 64;
/// Records that are kept to be offered again.
const MAX_RECORDS: usize = 256;

/// What was overheard.
#[derive(Default)]
pub(super) struct Forger {
    messages: Vec<Bytes>,
    records: Vec<Bytes>,
}

impl Forger {
    /// Overhears a message.
    pub(super) fn note(&mut self, frame: &Frame, rng: &mut Rng) {
        if frame.configuration == DIRECTORY_SERVICE && rng.u32(..8) == 0 {
            if self.messages.len() == MAX_KEPT {
                self.messages.swap_remove(rng.usize(..MAX_KEPT));
            }
            self.messages.push(frame.payload.clone());
        }
    }
}

impl World {
    /// A node's directory is given something that it should not believe.
    pub(super) fn forge(&mut self) {
        if !self.faults || !self.plan.forges {
            return;
        }
        let pause = self.rng.u64(..300 * MS);
        self.agenda.at(self.now + pause, Event::Forge);
        let victim = self.any_node();
        self.counts.forgeries += 1;
        match self.rng.u32(..4) {
            0 => self.offer_forged(victim),
            1 => self.offer_old(victim),
            2 => self.send_again(victim, false),
            _ => self.send_again(victim, true),
        }
    }

    /// A record at an epoch that is never reached, signed by somebody who is in no group.
    fn offer_forged(&mut self, victim: u64) {
        let Some(process) = &self.nodes[&victim].running else {
            return;
        };
        let directory = process.office.directory().clone();
        let impostor = Member {
            node: NodeId(self.rng.u64(1..=self.plan.nodes)),
            disk: 66,
        };
        let view = directory.snapshot();
        let is_anchored = view
            .group(GroupId(0))
            .is_none_or(|root| root.configuration == 0);
        if is_anchored && self.plan.groups[0].contains(&impostor.node.0) {
            // Before anything is known of the root group, its nodes are believed with whatever data
            // directory they first come with: the cluster's file names no directories.
            return;
        }
        let key = node::node_key(666);
        let record = if self.rng.bool() {
            Record::Prefix(PrefixRecord {
                prefix: PREFIXES[self.rng.usize(..PREFIXES.len())].into(),
                epoch: 1 << 40,
                group: Some(GroupId(0)),
            })
        } else {
            Record::Group(GroupRecord {
                id: GroupId(self.rng.u32(..self.plan.groups.len() as u32)),
                name: "forged".to_owned(),
                configuration: 1 << 40,
                members: vec![impostor],
                hash_seed: 1,
                databases: 1,
            })
        };
        let signed = [Record::Key(key.public()), record].map(|record| record.sign(impostor, &key));
        let [Ok(introduced), Ok(forged)] = signed else {
            return self.fail("a record cannot be signed".to_owned());
        };
        // A key may become known; it entitles to nothing.
        directory.offer(introduced.bytes().clone(), impostor.node);
        let outcome = directory.offer(forged.bytes().clone(), impostor.node);
        if matches!(outcome, Outcome::Fresh | Outcome::Known) {
            self.fail(format!(
                "node {victim} believes a forged record: {outcome:?}"
            ));
        }
    }

    /// A record that was true once.
    fn offer_old(&mut self, victim: u64) {
        let from = self.any_node();
        if let Some(process) = &self.nodes[&from].running {
            let all = process.office.directory().with_store(|store| {
                let records = store.after(None);
                records
                    .map(|record| record.bytes().clone())
                    .collect::<Vec<_>>()
            });
            self.forger.records.extend(all);
            let excess = self.forger.records.len().saturating_sub(MAX_RECORDS);
            self.forger.records.drain(..excess);
        }
        let records = self.forger.records.len();
        let Some(process) = &self.nodes[&victim].running else {
            return;
        };
        if records == 0 {
            return;
        }
        let old = self.forger.records[self.rng.usize(..records)].clone();
        let directory = process.office.directory().clone();
        let epochs = || {
            let view = directory.view();
            PREFIXES.map(|prefix| {
                let owner = view.owner_of_prefix(prefix.as_bytes());
                owner.map(|owner| owner.epoch)
            })
        };
        let before = epochs();
        directory.offer(old, NodeId(from));
        let after = epochs();
        let is_lower = |(before, after): (&Option<u64>, &Option<u64>)| match (before, after) {
            (Some(before), Some(after)) => after < before,
            _ => false,
        };
        if before.iter().zip(&after).any(is_lower) {
            self.fail(format!(
                "an old record takes node {victim} back from {before:?} to {after:?}"
            ));
        }
    }

    /// A message of another node's herald, once more, with a bit bent or as it was.
    fn send_again(&mut self, victim: u64, bends: bool) {
        let messages = self.forger.messages.len();
        if messages == 0 {
            return;
        }
        let mut payload = self.forger.messages[self.rng.usize(..messages)].to_vec();
        if bends && !payload.is_empty() {
            let at = self.rng.usize(..payload.len());
            payload[at] ^= 1 << self.rng.u32(..8);
        }
        let frame = Frame {
            class: Class::Ordered,
            group: NODE_SERVICES,
            configuration: DIRECTORY_SERVICE,
            payload: payload.into(),
        };
        let from = self.any_node();
        self.deliver_to_office(victim, Delivery::Frame { from, frame });
    }
}
