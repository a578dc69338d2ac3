//! Leading: noticing when it begins and ends, keeping the lease, handing over, being urged.
//!
//! The crate elects; this module only watches the outcome. What a leader may serve is bound to an
//! [`Epoch`], which ends when the ballot does.

use omnipaxos::ballot_leader_election::Ballot;

use super::Replica;
use super::engine::Engine;
use super::message::Message;
use super::planted::{self, Planted};
use crate::NodeId;
use crate::link::Class;

/// A leadership: the ballot, and what has to be applied before reads are served.
#[derive(Clone, Copy, Debug)]
pub(super) struct Epoch {
    pub(super) ballot: Ballot,
    pub(super) barrier: u64,
}

impl Replica {
    /// Until when reads of the applied state are linearizable without asking anybody, on the clock
    /// whose readings come in as `now`; 0 if they are not.
    ///
    /// To be published *before* the messages of the next [`Replica::ready`] are sent, together with
    /// [`Replica::decided`]: a state that has not applied that much must not be read, because
    /// another member may have answered a client by then.
    pub fn lease_until(&self) -> u64 {
        if self.sealing.is_some() {
            return 0;
        }
        match &self.engine {
            Engine::Idle => 0,
            Engine::Solo => u64::MAX,
            Engine::Paxos(instance) => match self.epoch {
                Some(epoch)
                    if epoch.ballot == instance.get_promise()
                        && (self.applied >= epoch.barrier
                            || planted::is_on(Planted::NoBarrier)) =>
                {
                    self.lease.until(self.majority())
                }
                _ => 0,
            },
        }
    }

    /// Makes another member leader: gives the lease up and asks it to take over. It does so within
    /// two election periods, or this node leads on in a new ballot. Does nothing within that time.
    pub fn transfer(&mut self, to: NodeId, now: u64) {
        let Some(epoch) = self.epoch else {
            return;
        };
        let election_ns = self.options.timing.election_ns();
        let given_up_at = self.lease.given_up_at;
        if given_up_at.is_some_and(|at| now < at + 2 * election_ns) {
            return;
        }
        self.lease.given_up_at = Some(now);
        self.lease.forget_received();
        let release = Message::LeaseRelease {
            ballot: epoch.ballot,
        };
        for node in self.others() {
            self.push(node, Class::Ordered, &release);
        }
        let above = epoch.ballot.n;
        self.push(to, Class::Ordered, &Message::Lead { above });
    }

    /// Notices that this node has become leader, or is it no more.
    pub(super) fn note_epoch(&mut self, now: u64) {
        let Engine::Paxos(instance) = &self.engine else {
            return;
        };
        let ballot = instance.get_promise();
        let leads = instance.get_current_leader() == Some((instance.get_pid(), true));
        match self.epoch {
            Some(epoch) if leads && epoch.ballot == ballot => return,
            None if !leads => return,
            _ => {}
        }
        self.lease.forget_received();
        self.lease.given_up_at = None;
        self.reads.depose();
        self.sealing = None;
        self.epoch = leads.then(|| Epoch {
            ballot,
            barrier: instance.get_accepted_idx() as u64,
        });
        if leads {
            self.renew_lease(now);
        }
    }

    pub(super) fn renew_lease(&mut self, now: u64) {
        let Some(epoch) = self.epoch else {
            return;
        };
        if self.sealing.is_some() {
            return;
        }
        if let Some(at) = self.lease.given_up_at {
            // Nobody took over: a new ballot may have a lease again.
            if now >= at + 2 * self.options.timing.election_ns() {
                self.lease.given_up_at = Some(now);
                self.lead(epoch.ballot.n);
            }
            return;
        }
        let request = Message::LeaseRequest {
            ballot: epoch.ballot,
            sent_at: now,
        };
        for node in self.others() {
            self.push(node, Class::Urgent, &request);
        }
    }

    /// A node that durably promised a ballot above the leader's is ignored until the next election
    /// (the crate's leader does not take it back); it asks the leader for a higher ballot.
    pub(super) fn urge_leader(&mut self, now: u64) {
        let Engine::Paxos(instance) = &self.engine else {
            return;
        };
        let (promise, timing) = (instance.get_promise(), &self.options.timing);
        let (recent, patience) = (3 * timing.tick_ns, 2 * timing.election_ns());
        let claims = self.peers.iter().filter_map(|(node, peer)| {
            let (ballot, at) = peer.claim?;
            (now < at + recent).then_some((ballot, *node))
        });
        // With a leader in the promised ballot all is well here. Without this, two leaders that do
        // not see each other would be urged by turns by the member between them, for ever.
        let highest = claims.max().filter(|_| self.epoch.is_none());
        let Some((_, node)) = highest.filter(|(ballot, _)| *ballot < promise) else {
            self.outdated_since = None;
            return;
        };
        // A leader that is just being replaced claims for a little longer: that is no reason.
        let since = *self.outdated_since.get_or_insert(now);
        if now >= since + patience && now >= self.quarantined_until {
            self.outdated_since = None;
            let above = promise.n;
            self.push(node, Class::Ordered, &Message::Lead { above });
        }
    }

    /// Takes over as leader, above this ballot number.
    pub(super) fn lead(&mut self, above: u32) {
        /// Ballots are counted up one by one.
        const MAX_STEPS: u32 = 32;
        if let Engine::Paxos(instance) = &mut self.engine {
            // Nothing if a ballot above it is there already, be it this node's own or another's.
            let next = above.saturating_add(1);
            let steps = next.saturating_sub(instance.get_promise().n);
            for _ in 0..steps.min(MAX_STEPS) {
                instance.try_become_leader();
            }
        }
    }

    /// Prepares of others whose time has come.
    pub(super) fn release_prepares(&mut self, now: u64) {
        if now < self.quarantined_until {
            return;
        }
        let nodes: Vec<NodeId> = self.peers.keys().copied().collect();
        for node in nodes {
            let ready = self.peers.get_mut(&node).and_then(|peer| {
                let ballot = peer.held_prepare.as_ref().map(|(ballot, _)| *ballot)?;
                if self.lease.holds_back(ballot, now) {
                    return None;
                }
                peer.held_prepare.take()
            });
            if let Some((_, message)) = ready {
                self.handle_consensus(node, message, now);
            }
        }
    }

    pub(super) fn leads_in(&self, ballot: Ballot) -> bool {
        self.epoch.is_some_and(|epoch| epoch.ballot == ballot)
    }

    pub(super) fn grant(&mut self, to: NodeId, ballot: Ballot, sent_at: u64, now: u64) {
        let Engine::Paxos(instance) = &self.engine else {
            return;
        };
        let follows = instance.get_promise() == ballot
            && instance.get_current_leader() == self.number_of(to).map(|number| (number, true));
        let holds = !self.held_prepares.is_empty()
            || self.peers.values().any(|peer| peer.held_prepare.is_some());
        if follows && !holds && now >= self.quarantined_until {
            self.lease.grant(ballot, now + self.options.timing.lease_ns);
            self.push(to, Class::Urgent, &Message::LeaseGrant { ballot, sent_at });
        }
    }

    /// What was given up is not taken back, and nobody answers what was not sent yet.
    pub(super) fn take_grant(&mut self, number: u64, sent_at: u64, now: u64) {
        if self.lease.given_up_at.is_none() && sent_at <= now {
            let timing = &self.options.timing;
            let drift = timing.lease_ns / 1000 * timing.drift_permille;
            let until = sent_at + timing.lease_ns - drift;
            self.lease.receive(number, until);
        }
    }
}
