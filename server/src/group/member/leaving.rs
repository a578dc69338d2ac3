//! The end of a seat: what becomes of requests that wait here when this node is a member no longer.
//!
//! They are *passed on*: the node asks the remaining members for them, as any node does that is no
//! member. Their clients notice nothing but the time that it takes.
//!
//! **Why a request may be passed on that was sent to a leader.** What is passed on has a number of
//! its own, so if the group had logged it under the first one it would be done twice. A member that
//! is left out knows that it did not, because of two rules:
//!
//! * *A leader logs a member's own proposal only in the configuration in which it was sent*
//!   ([`Member::forget_forwarded_before_the_seal`]). What comes late, or waits while the members
//!   change, is dropped; who still is a member sends it again.
//! * *Nothing of a configuration stands in the log behind its SEAL.* The leader that proposes a
//!   SEAL proposes nothing after it, and whoever leads after that one applies the SEAL first.
//!
//! So a flight that does not stand in the log up to the SEAL never will. This node has applied the
//! log up to there, or it would not know that it was left out: what stood there was answered, and
//! what is still open was not done.
//!
//! Invariant: a flight that is passed on was sent in an earlier configuration, or never, and the
//! state does not count it as applied.
//!
//! **How it fails.** A node that cannot be reached does not hear of the SEAL; its clients are told
//! that the outcome is unknown when their time is over. The same is said of what was applied by
//! others when this node goes past the SEAL by a checkpoint, as the replies are not in it.
//!
//! Not here: parcels of other nodes' writes, which those ask others for by themselves.

use bailiwick_replication::ConfigurationId;

use super::flights::Flight;
use super::{Member, is_background};
use crate::group::planted::{self, Planted};
use crate::group::proposal::Proposal;

impl Member {
    /// Requests of this node's clients that the remaining members have to be asked for.
    pub fn take_passed_on(&mut self) -> Vec<Box<Proposal>> {
        std::mem::take(&mut self.passed_on)
    }

    /// Lets go of all that waits, if this node is no member and need not wait to be one.
    pub(super) fn pass_on(&mut self) {
        if self.replica.is_member() {
            return;
        }
        let present = self.replica.configuration().id;
        if present.0 == 0 && !self.options.founders.is_empty() {
            return;
        }
        let flights = self.flights.take_all();
        if !flights.is_empty() {
            let state = self.shared.state.read();
            for (sequence, flight) in &flights {
                let is_applied = state.origins.contains(self.options.origin, *sequence);
                assert!(!is_applied, "flight {sequence} was applied and is open");
                assert_left_behind(flight, present);
            }
        }
        for flight in flights.into_values() {
            self.let_go(flight.proposals);
        }
        let reads = self.reads.take_all(&mut self.replica);
        self.let_go(reads);
        let waiting = std::mem::take(&mut self.waiting);
        self.let_go(waiting.into_iter().map(|(_, proposal)| proposal));
    }

    fn let_go(&mut self, proposals: impl IntoIterator<Item = Box<Proposal>>) {
        for proposal in proposals {
            if proposal.items.is_empty() || is_background(&proposal) {
                // It only waited for this node to have applied something, or is the leader's chore.
                self.answered.push(proposal);
            } else if proposal.wants_ends {
                // Reads of another node, which is told to ask elsewhere, whatever this says.
                self.fail_for_want_of_leader(vec![proposal]);
            } else {
                self.passed_on.push(proposal);
            }
        }
    }

    /// As leader, forgets what members sent in an earlier configuration. Parcels of nodes that need
    /// not be members are no concern of configurations: their askers keep their numbers until they
    /// have the replies.
    pub(super) fn forget_forwarded_before_the_seal(&mut self) {
        if self.forwarded.is_empty() || planted::is_on(Planted::LoggedAfterSeal) {
            return;
        }
        let present = self.replica.configuration().id;
        self.forwarded.retain(|forwarded| {
            forwarded.head.origin.is_proxied() || forwarded.configuration == present
        });
    }
}

fn assert_left_behind(flight: &Flight, present: ConfigurationId) {
    if let Some(sent_in) = flight.sent_in() {
        assert!(
            sent_in < present,
            "a flight was sent in configuration {}, of which this node is no member",
            sent_in.0
        );
    }
}
