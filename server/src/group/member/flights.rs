//! Proposals of this node's clients on their way through the log.
//!
//! Everything that waited at one moment becomes one *flight*: one proposal in the log, with a
//! sequence of this node. It is sent, as leader or to the leader, until this node applies it; then
//! its clients are answered. However often it was sent, it is applied once (`state::origins`).
//!
//! Invariants: open sequences are `<= last`; a flight is encoded the same way each time, apart from
//! the floor; what is open was sent in the present configuration, or never, or is sent again in it
//! before anything else happens to it.

use std::collections::BTreeMap;

use bailiwick_replication::{ConfigurationId, NodeId};
use bytes::Bytes;

use crate::group::encode::encode_items;
use crate::group::proposal::Proposal;
use crate::group::refusal::Refusals;
use crate::state::{Origin, ProposalWriter};

/// One proposal of the log.
pub(super) struct Flight {
    pub(super) proposals: Vec<Box<Proposal>>,
    pub(super) refusals: Refusals,
    /// When the clients are told that the outcome is unknown.
    pub(super) deadline: u64,
    sent: Option<Sent>,
    /// How often it was sent.
    pub(super) times_sent: u32,
}

impl Flight {
    /// How many proposals it carries.
    pub(super) fn len(&self) -> usize {
        self.proposals.len()
    }

    /// The configuration in which it was sent last, unless that may not have arrived.
    pub(super) fn sent_in(&self) -> Option<ConfigurationId> {
        self.sent.map(|sent| sent.to.configuration)
    }
}

/// To whom a flight is sent: a leadership. Ballots count up from the beginning in each
/// configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Post {
    pub(super) leader: NodeId,
    pub(super) configuration: ConfigurationId,
    pub(super) ballot: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Sent {
    to: Post,
    at: u64,
    /// How often in this ballot.
    times: u32,
}

/// All that are open.
pub(super) struct Flights {
    origin: Origin,
    /// The last sequence that was given out; 0 before the first.
    last: u64,
    open: BTreeMap<u64, Flight>,
    /// After so long without an answer a flight is sent again, in nanoseconds; doubled each time.
    resend_after: u64,
}

/// The most doublings of the wait before a flight is sent again.
const MAX_DOUBLINGS: u32 = 4;

impl Flights {
    pub(super) fn new(origin: Origin, resend_after: u64) -> Self {
        Self {
            origin,
            last: 0,
            open: BTreeMap::new(),
            resend_after,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    /// Bytes of requests in all that are open.
    pub(super) fn bytes(&self) -> usize {
        let proposals = self.open.values().flat_map(|flight| &flight.proposals);
        proposals.map(|proposal| proposal.bytes()).sum()
    }

    /// A sequence for a proposal that is sent once, if at all, and answers nobody.
    pub(super) fn next_sequence(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// All sequences up to this one are finished; below `sequence`.
    pub(super) fn floor_below(&self, sequence: u64) -> u64 {
        let first = self.open.keys().next().copied().unwrap_or(sequence);
        first.min(sequence) - 1
    }

    /// A new flight, not sent yet.
    pub(super) fn open(
        &mut self,
        proposals: Vec<Box<Proposal>>,
        refusals: Refusals,
        deadline: u64,
    ) -> u64 {
        let sequence = self.next_sequence();
        let flight = Flight {
            proposals,
            refusals,
            deadline,
            sent: None,
            times_sent: 0,
        };
        self.open.insert(sequence, flight);
        sequence
    }

    /// Takes a flight that has arrived, or is given up.
    pub(super) fn take(&mut self, sequence: u64) -> Option<Flight> {
        self.open.remove(&sequence)
    }

    pub(super) fn get(&self, sequence: u64) -> Option<&Flight> {
        self.open.get(&sequence)
    }

    /// Those that have to be sent to this leader now: never sent, sent to another one or before its
    /// present ballot, or unanswered for long.
    pub(super) fn due(&self, post: Post, now: u64) -> Vec<u64> {
        let is_due = |flight: &Flight| match flight.sent {
            None => true,
            Some(sent) => {
                let doublings = (sent.times - 1).min(MAX_DOUBLINGS);
                let wait = self.resend_after << doublings;
                sent.to != post || now >= sent.at + wait
            }
        };
        let due = self.open.iter().filter(|(_, flight)| is_due(flight));
        due.map(|(sequence, _)| *sequence).collect()
    }

    pub(super) fn note_sent(&mut self, sequence: u64, to: Post, now: u64) {
        if let Some(flight) = self.open.get_mut(&sequence) {
            flight.times_sent += 1;
            let ballot = |post: Post| (post.configuration, post.ballot);
            let before = flight.sent.filter(|sent| ballot(sent.to) == ballot(to));
            flight.sent = Some(Sent {
                to,
                at: now,
                times: before.map_or(1, |sent| sent.times + 1),
            });
        }
    }

    /// What was sent to this node may be lost: its link was down.
    pub(super) fn forget_sent_to(&mut self, node: NodeId) {
        for flight in self.open.values_mut() {
            if flight.sent.is_some_and(|sent| sent.to.leader == node) {
                flight.sent = None;
            }
        }
    }

    /// Writes a flight's items.
    pub(super) fn fill(&self, sequence: u64, writer: &mut ProposalWriter<'_>) {
        let flight = &self.open[&sequence];
        encode_items(writer, &flight.proposals, &flight.refusals);
    }

    /// A flight as bytes of its own.
    pub(super) fn encoded(&self, sequence: u64) -> Bytes {
        let proposals = self.open[&sequence].proposals.iter();
        let bytes: usize = proposals.map(|proposal| proposal.bytes()).sum();
        let mut out = Vec::with_capacity(bytes + 256);
        let floor = self.floor_below(sequence);
        let mut writer = ProposalWriter::new(&mut out, self.origin, sequence, floor);
        self.fill(sequence, &mut writer);
        writer.finish();
        out.into()
    }

    /// All that are open, by sequence.
    pub(super) fn take_all(&mut self) -> BTreeMap<u64, Flight> {
        std::mem::take(&mut self.open)
    }

    /// Flights for which `is_over` holds.
    pub(super) fn take_if(&mut self, is_over: impl Fn(u64, &Flight) -> bool) -> Vec<Flight> {
        let over = self
            .open
            .iter()
            .filter(|(sequence, flight)| is_over(**sequence, flight))
            .map(|(sequence, _)| *sequence);
        let over: Vec<u64> = over.collect();
        let flights = over
            .iter()
            .filter_map(|sequence| self.open.remove(sequence));
        flights.collect()
    }
}
