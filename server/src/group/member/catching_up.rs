//! Catching up: a checkpoint of another member takes the place of the state, with what that means
//! for requests and configuration.

use std::mem;

use bailiwick_replication::consensus::Replica;
use bailiwick_replication::link::Class;
use bailiwick_replication::{LogIndex, NodeId};

use super::Member;
use super::message::Message;
use super::transfer::Arrival;
use crate::commands::CommandError;
use crate::state::{Configuration, State};

/// How often a node that is to join says how far it is, in nanoseconds.
const PROGRESS_NS: u64 = 100_000_000;

impl Member {
    /// Fetches a checkpoint if the replica wants one, and takes it over when it is there.
    pub(super) fn advance_transfer(&mut self, now: u64) {
        let wanted = self.replica.wanted_checkpoint();
        match self.transfer.advance(wanted, now) {
            None => {}
            Some(Arrival::Failed) => self.replica.checkpoint_failed(),
            Some(Arrival::State(state)) => self.install(*state),
        }
    }

    fn install(&mut self, new: State) {
        let index = new.applied;
        let mut state = self.shared.state.write();
        if index <= state.applied {
            drop(state);
            return self.replica.install_checkpoint(index);
        }
        let old = mem::replace(&mut *state, new);
        state.authority.note_installed(index);
        // Whether these were applied shows; with which outcome does not.
        let origin = self.options.origin;
        let is_applied = |sequence, _: &_| state.origins.contains(origin, sequence);
        let lost = self.flights.take_if(is_applied);
        self.shared.note_replaced(self.options.group, &state);
        self.replica.install_checkpoint(index);
        adopt(&mut self.replica, &state);
        drop(state);
        drop(old);
        self.shared.note_authority();
        if let Some(observer) = self.shared.observer.get() {
            observer.replaced(self.options.group);
        }
        for flight in lost {
            self.fail_all(flight.proposals, &CommandError::UNCERTAIN);
        }
        tracing::info!(index = index.0, "checkpoint taken over");
    }

    /// Tells the node it catches up with how far this one is, if it is to join.
    pub(super) fn tell_progress(&mut self, now: u64) {
        if self.replica.is_member() || now < self.progress_told_at + PROGRESS_NS {
            return;
        }
        self.progress_told_at = now;
        let decided = self.replica.decided();
        let received = self.transfer.progress();
        let received = received.map_or(0, |progress| progress.received_bytes);
        let message = Message::Progress { decided, received };
        let peers: Vec<NodeId> = self.peers.keys().copied().collect();
        for node in peers {
            self.send(node, Class::Ordered, &message);
        }
    }
}

/// The state may know of a later configuration than the replica: from a checkpoint, or because a
/// crash came between applying a SEAL and writing down what followed.
pub(super) fn adopt(replica: &mut Replica, state: &State) {
    if let Some(next) = &state.configuration
        && next.id > replica.configuration().id
    {
        begin(replica, next, state.applied);
    }
}

pub(super) fn begin(replica: &mut Replica, next: &Configuration, applied: LogIndex) {
    let next_configuration = bailiwick_replication::consensus::Configuration {
        id: next.id,
        members: next.members.clone(),
        begins_after: next.sealed_at,
    };
    replica.begin_configuration(next_configuration, applied);
}
