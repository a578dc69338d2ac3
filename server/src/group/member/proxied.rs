//! Proposals of nodes that need not be members: what their clients want of this group.
//!
//! They go the way of forwarded ones. But nobody here holds the requests, so every replica runs
//! them from the log and keeps the replies in the state until the asking node says that it has them
//! (`state::origins`). Whoever was asked answers when it has applied the proposal; who is asked
//! again, here or elsewhere, answers with the same replies.

use std::collections::BTreeMap;

use bailiwick_replication::link::Class;
use bailiwick_replication::{GroupId, NodeId};
use bytes::Bytes;

use super::Member;
use super::message::Message;
use super::room::disk_full;
use crate::group::planted::{self, Planted};
use crate::proxy::wire::{self, Parcel};
use crate::state::{Origin, PROXIED, ProposalHead, decode_proposal_head};

/// What other nodes wait for.
#[derive(Default)]
pub(super) struct Proxied {
    /// By node and sequence: the life of the node that it is of.
    expected: BTreeMap<(NodeId, u64), Origin>,
    messages: Vec<(NodeId, wire::Message)>,
}

impl Proxied {
    /// A node does not hear answers any more; it will ask again.
    pub(super) fn forget(&mut self, node: NodeId) {
        self.expected.retain(|(asker, _), _| *asker != node);
    }

    /// Says something to a node that need not have asked.
    pub(super) fn tell(&mut self, node: NodeId, message: wire::Message) {
        self.messages.push((node, message));
    }
}

/// The node that a proposal is proxied for; `None` for a member's own.
fn asker(origin: Origin) -> Option<NodeId> {
    (origin.node & PROXIED != 0).then_some(NodeId(u64::from(origin.node & !PROXIED)))
}

impl Member {
    /// Takes a proposal that another node wants to have executed.
    ///
    /// # Errors
    /// It makes no sense.
    pub fn receive_proxied(&mut self, from: NodeId, proposal: Bytes) -> Result<(), String> {
        let head = decode_proposal_head(&proposal).map_err(|error| error.to_string())?;
        if asker(head.origin) != Some(from) {
            return Err(format!("node {from} asks for another node"));
        }
        let finished = |&(asker, sequence): &(NodeId, u64)| asker == from && sequence <= head.floor;
        self.proxied.expected.retain(|key, _| !finished(key));
        let (origin, sequence) = (head.origin, head.sequence);
        let is_done = self.shared.state.read().origins.contains(origin, sequence);
        if is_done && !planted::is_on(Planted::ParcelExecutedTwice) {
            self.answer_proxied(from, origin, sequence);
            return Ok(());
        }
        let (own, leader) = (self.replica.member().node, self.replica.leader());
        let reaches = |leader: &NodeId| *leader == own || self.peers.contains_key(leader);
        let Some(leader) = leader.filter(|leader| self.replica.is_member() && reaches(leader))
        else {
            if self.is_held_up_by_disks() {
                self.refuse_proxied(origin, sequence, &disk_full().to_string());
            } else {
                self.say_elsewhere(from, sequence, leader);
            }
            return Ok(());
        };
        self.proxied.expected.insert((from, sequence), origin);
        if leader == own {
            let present = self.replica.configuration().id;
            self.take_forwarded(own, present, proposal)?;
        } else {
            self.send(leader, Class::Ordered, &Message::Forward { proposal });
        }
        Ok(())
    }

    /// What is to be sent to nodes that asked.
    pub fn take_proxied(&mut self) -> Vec<(NodeId, wire::Message)> {
        std::mem::take(&mut self.proxied.messages)
    }

    /// A proxied proposal stood in an entry that was applied.
    pub(super) fn note_proxied(&mut self, origin: Origin, sequence: u64) {
        if let Some(asker) = asker(origin)
            && self.proxied.expected.get(&(asker, sequence)) == Some(&origin)
        {
            self.proxied.expected.remove(&(asker, sequence));
            self.answer_proxied(asker, origin, sequence);
        }
    }

    /// The leader does not log a proxied proposal, for this reason. False if it is not proxied.
    pub(super) fn refuse_proxied(&mut self, origin: Origin, sequence: u64, reason: &str) -> bool {
        let Some(asker) = asker(origin) else {
            return false;
        };
        let parcel = self.parcel(sequence);
        let reason = reason.to_owned();
        let message = wire::Message::Refused { parcel, reason };
        self.proxied.messages.push((asker, message));
        true
    }

    /// This node has kept a proposal and does not lead any more. Members that forward find out by
    /// themselves.
    pub(super) fn turn_away_proxied(&mut self, head: &ProposalHead, leader: Option<NodeId>) {
        if let Some(asker) = asker(head.origin)
            && self.proxied.expected.get(&(asker, head.sequence)) == Some(&head.origin)
        {
            self.proxied.expected.remove(&(asker, head.sequence));
            self.say_elsewhere(asker, head.sequence, leader);
        }
    }

    fn say_elsewhere(&mut self, to: NodeId, sequence: u64, leader: Option<NodeId>) {
        let parcel = self.parcel(sequence);
        let message = wire::Message::Elsewhere { parcel, leader };
        self.proxied.messages.push((to, message));
    }

    /// Sends the replies of a proposal that was applied, if they are still kept; if not, the asking
    /// node has them.
    fn answer_proxied(&mut self, to: NodeId, origin: Origin, sequence: u64) {
        let body = self
            .shared
            .state
            .read()
            .origins
            .reply(origin, sequence)
            .cloned();
        if let Some(body) = body {
            let message = wire::Message::Done {
                parcel: self.parcel(sequence),
                leader: self.replica.leader(),
                body,
            };
            self.proxied.messages.push((to, message));
        }
    }

    fn parcel(&self, sequence: u64) -> Parcel {
        Parcel {
            group: self.group(),
            reads: false,
            id: sequence,
        }
    }

    fn group(&self) -> GroupId {
        self.options.group
    }
}
