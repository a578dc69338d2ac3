//! How clients' requests get to the leader: what waits becomes flights, which are sent and sent
//! again, and what others have sent is kept by whoever leads, or is about to.

use bailiwick_replication::link::Class;
use bailiwick_replication::{ConfigurationId, NodeId};
use bytes::Bytes;

use super::Member;
use super::flights::{Flight, Post};
use super::message::Message;
use crate::group::planted::{self, Planted};
use crate::state::{PROPOSAL_HEAD_BYTES, PROXIED, ProposalHead, decode_proposal_head};

/// Requests of one flight, in bytes, beyond which the next flight begins.
const FLIGHT_TARGET_BYTES: usize = 16 << 20;
/// Flights on their way at once.
const MAX_FLIGHTS: usize = 4;

/// An encoded proposal of another node.
pub(super) struct Forwarded {
    /// In which it was sent.
    pub(super) configuration: ConfigurationId,
    pub(super) head: ProposalHead,
    pub(super) proposal: Bytes,
    /// It was looked at, and every replica can run it.
    pub(super) is_fit: bool,
}

impl Member {
    /// A leader, or who is about to become it, keeps what others forward; anybody else lets it go,
    /// as it comes again.
    pub(super) fn take_forwarded(
        &mut self,
        from: NodeId,
        configuration: ConfigurationId,
        proposal: Bytes,
    ) -> Result<(), String> {
        let head = decode_proposal_head(&proposal).map_err(|error| error.to_string())?;
        let bytes = PROPOSAL_HEAD_BYTES + head.items_bytes as usize;
        let is_own = u64::from(head.origin.node) == from.0;
        if !is_own && head.origin.node & PROXIED == 0 || proposal.len() != bytes {
            return Err(format!(
                "node {from} forwards what is not a proposal of its own"
            ));
        }
        let leads = self.replica.leader() == Some(self.replica.member().node);
        let is_known = |known: &Forwarded| {
            (known.head.origin, known.head.sequence) == (head.origin, head.sequence)
        };
        if leads && !self.forwarded.iter().any(is_known) {
            self.forwarded.push(Forwarded {
                configuration,
                head,
                proposal,
                is_fit: false,
            });
            // Its clients are answered when it hears that this is decided.
            self.replica.hurry(from);
        }
        Ok(())
    }

    /// Sends flights to the leader.
    pub(super) fn forward(&mut self, now: u64) {
        let own = self.replica.member().node;
        let leader = self.replica.leader();
        if !leader.is_some_and(|leader| self.peers.contains_key(&leader)) {
            self.refuse_without_leader(now);
        }
        if leader == Some(own) {
            return;
        }
        self.turn_away_forwarded(leader);
        let Some(leader) = leader else {
            return;
        };
        if !self.peers.contains_key(&leader) || !self.replica.is_member() {
            return;
        }
        self.board(now);
        let post = self.post(leader, self.replica.ballot());
        for sequence in self.flights.due(post, now) {
            let proposal = self.flights.encoded(sequence);
            self.send(leader, Class::Ordered, &Message::Forward { proposal });
            self.flights.note_sent(sequence, post, now);
            if planted::is_on(Planted::AnsweredBeforeApplied) {
                self.answer_early(sequence);
            }
        }
    }

    /// A leadership in the present configuration.
    pub(super) fn post(&self, leader: NodeId, ballot: u32) -> Post {
        Post {
            leader,
            configuration: self.replica.configuration().id,
            ballot,
        }
    }

    /// What a bug would do that a test plants.
    fn answer_early(&mut self, sequence: u64) {
        let is_plain = |of, flight: &Flight| of == sequence && planted::is_plain(&flight.proposals);
        for mut flight in self.flights.take_if(is_plain) {
            planted::say_done(&mut flight.proposals);
            self.answered.append(&mut flight.proposals);
        }
    }

    /// Makes flights of what waits, reads apart.
    pub(super) fn board(&mut self, now: u64) {
        self.set_reads_apart(now);
        while !self.waiting.is_empty() && self.flights.len() < MAX_FLIGHTS {
            let mut bytes = 0;
            let mut proposals = Vec::new();
            let mut deadline = u64::MAX;
            while bytes < FLIGHT_TARGET_BYTES
                && let Some((until, proposal)) = self.waiting.pop_front()
            {
                bytes += proposal.bytes();
                deadline = deadline.min(until);
                proposals.push(proposal);
            }
            let refusals = self.refusals();
            self.flights.open(proposals, refusals, deadline);
        }
    }
}
