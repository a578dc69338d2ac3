//! What comes in from other nodes.

use bytes::Bytes;
use omnipaxos::ballot_leader_election::Ballot;
use omnipaxos::messages::Message as CrateMessage;
use omnipaxos::messages::ballot_leader_election::{BLEMessage, HeartbeatMsg, HeartbeatReply};
use omnipaxos::messages::sequence_paxos::PaxosMsg;

use super::engine::{Engine, Instance};
use super::entry::Slot;
use super::message::{Message, MessageError};
use super::planted::{self, Planted};
use super::{FAR_BEHIND_BYTES, RETRY_TICKS, Replica};
use crate::link::Class;
use crate::{ConfigurationId, LogIndex, NodeId};

impl Replica {
    /// Handles a message that a node sent under this configuration. An error means that the link
    /// carries nonsense and is to be cut.
    pub fn receive(
        &mut self,
        from: NodeId,
        configuration: ConfigurationId,
        payload: &Bytes,
        now: u64,
    ) -> Result<(), MessageError> {
        let own = self.options.member.node;
        let members = [from, own].map(|node| self.number_of(node).unwrap_or(0));
        let message = Message::decode(payload, members)?;
        match message {
            Message::Fetch { behind } => self.serve(from, behind),
            Message::Entries {
                behind,
                decided,
                entries,
            } => {
                // What a node in an earlier configuration holds behind that one's end is void,
                // which it will notice when it gets there. We have been there.
                let present = self.log.lock().meta.configuration.id;
                if configuration >= present
                    || planted::is_on(Planted::EntriesOfEarlierConfiguration)
                {
                    self.take_entries(from, behind, decided, entries);
                }
            }
            Message::CheckpointNeeded { index } => self.note_checkpoint(from, index),
            Message::Application(payload) => self.received.push_back((from, payload)),
            message => self.receive_tagged(from, configuration, message, now),
        }
        self.note_epoch(now);
        Ok(())
    }

    /// What belongs to one configuration.
    fn receive_tagged(
        &mut self,
        from: NodeId,
        configuration: ConfigurationId,
        message: Message,
        now: u64,
    ) {
        let present = self.log.lock().meta.configuration.id;
        if configuration > present {
            return self.fall_behind(from);
        }
        if configuration < present {
            return self.tell_sealed(from);
        }
        let Some(number) = self.number_of(from) else {
            return;
        };
        let peer = self.peers.entry(from).or_default();
        peer.heard_at = now.max(1);
        if let Message::Status(status) = message {
            peer.status = status;
            return;
        }
        if matches!(self.engine, Engine::Idle) {
            // An invitation of a node that is to become a member again.
            if matches!(message, Message::Sealed) && !self.is_member() {
                self.fall_behind(from);
            }
            return;
        }
        if let Message::Consensus {
            from_session,
            to_session,
            ..
        } = &message
            && !self.is_open(from, *to_session, *from_session)
        {
            return;
        }
        match message {
            Message::Hello { session, echo } => self.handle_hello(from, session, echo),
            Message::Consensus { message, .. } => self.handle_consensus(from, *message, now),
            Message::LeaseRequest { ballot, sent_at } => {
                self.peers.entry(from).or_default().claim = Some((ballot, now));
                self.grant(from, ballot, sent_at, now);
            }
            Message::LeaseGrant { ballot, sent_at } if self.leads_in(ballot) => {
                self.take_grant(number, sent_at, now);
            }
            Message::LeaseRelease { ballot } => {
                self.lease.release(ballot);
                self.release_prepares(now);
            }
            Message::ConfirmRequest { ballot, round }
                if self.log.lock().meta.promise == Some(ballot) =>
            {
                self.push(from, Class::Urgent, &Message::Confirm { ballot, round });
            }
            Message::Confirm { ballot, round } if self.leads_in(ballot) => {
                self.finish_round(round, number);
            }
            Message::ReadRequest { token } => self.read_as_leader(Some(from), token, now),
            Message::ReadReply { token, index } => self.reads.answer(token, index),
            Message::Lead { above }
                if now >= self.quarantined_until || planted::is_on(Planted::LeadsInQuarantine) =>
            {
                self.lead(above);
            }
            Message::Behind { decided } if decided.0 > self.log.lock().decided() => {
                self.fall_behind(from);
            }
            _ => {}
        }
    }

    fn tell_sealed(&mut self, to: NodeId) {
        let ticks = self.ticks;
        let peer = self.peers.entry(to).or_default();
        if peer.told_sealed == 0 || ticks >= peer.told_sealed + RETRY_TICKS {
            peer.told_sealed = ticks.max(1);
            self.push(to, Class::Ordered, &Message::Sealed);
        }
    }

    /// Hands a message to the crate, unless it has to wait or must not be seen.
    pub(super) fn handle_consensus(&mut self, from: NodeId, message: CrateMessage<Slot>, now: u64) {
        let Engine::Paxos(instance) = &mut self.engine else {
            return;
        };
        let own = instance.get_promise();
        let leader = instance.get_current_leader();
        let me = instance.get_pid();
        let sender = message.get_sender();
        let peer = self.peers.entry(from).or_default();
        if let CrateMessage::SequencePaxos(paxos) = &message {
            match &paxos.msg {
                PaxosMsg::Prepare(prepare) => {
                    if prepare.n > own {
                        note_candidate(instance, self.heartbeat_round, prepare.n);
                    }
                    if now < self.quarantined_until || self.lease.holds_back(prepare.n, now) {
                        peer.held_prepare = Some((prepare.n, message));
                        return;
                    }
                    // The leader treats us as not promised while we accept under its ballot: both
                    // would wait for ever. A new session clears it up.
                    if own == prepare.n && leader == Some((sender, true)) {
                        peer.odd_prepares += 1;
                        if peer.odd_prepares >= 2 {
                            self.open_session(from);
                            return;
                        }
                    }
                    peer.decided = prepare.decided_idx as u64;
                    if prepare.n > own && self.is_far_behind(prepare.decided_idx as u64) {
                        let decided = LogIndex(self.log.lock().decided());
                        self.push(from, Class::Ordered, &Message::Behind { decided });
                        return;
                    }
                }
                PaxosMsg::Promise(promise) => {
                    peer.decided = promise.decided_idx as u64;
                    if promise.log_sync.is_none() && self.is_far_behind(promise.decided_idx as u64)
                    {
                        let decided = LogIndex(self.log.lock().decided());
                        self.push(from, Class::Ordered, &Message::Behind { decided });
                        return;
                    }
                    if let Some(peer) = self.peers.get_mut(&from) {
                        peer.promised = Some(promise.n);
                    }
                }
                // While in Prepare, a repeated request would reset a promise but keep its log, from
                // which the crate would conclude a decided index that is too low.
                PaxosMsg::PrepareReq(_)
                    if leader == Some((me, false)) && peer.promised == Some(own) =>
                {
                    return;
                }
                PaxosMsg::Accepted(accepted) => {
                    // Of an earlier ballot; the crate would not look at it either.
                    if accepted.n != own {
                        return;
                    }
                    let index = accepted.accepted_idx as u64;
                    let has_accepted = self.log.lock().has_accepted(own, index);
                    if !has_accepted && !planted::is_on(Planted::LeaderNotSynced) {
                        peer.held_accepted = Some((own, index, message));
                        return;
                    }
                }
                PaxosMsg::AcceptSync(_) | PaxosMsg::AcceptDecide(_) | PaxosMsg::Decide(_) => {
                    peer.odd_prepares = 0;
                    // A disk that is full for long: out of consensus until it takes what waits.
                    if self.is_overfull() {
                        return self.fall_behind(from);
                    }
                }
                PaxosMsg::NotAccepted(_) | PaxosMsg::PrepareReq(_) => {}
                // These the crate would act upon, and no replica of ours sends them.
                _ => return,
            }
        }
        if let Engine::Paxos(instance) = &mut self.engine {
            instance.handle_incoming(message);
        }
        self.note_epoch(now);
    }

    /// Whether somebody whose log is decided up to there should fetch what is missing first.
    fn is_far_behind(&self, decided: u64) -> bool {
        let log = self.log.lock();
        decided < log.decided()
            && (decided < log.trimmed() || log.is_heavy(decided, log.decided(), FAR_BEHIND_BYTES))
    }

    /// Accepted messages that waited for our own disk.
    pub(super) fn handle_held_accepted(&mut self, now: u64) {
        let nodes: Vec<NodeId> = self.peers.keys().copied().collect();
        for node in nodes {
            let ready = self.peers.get_mut(&node).and_then(|peer| {
                let (round, index, _) = peer.held_accepted.as_ref()?;
                let is_ready = self.log.lock().has_accepted(*round, *index);
                is_ready.then(|| peer.held_accepted.take())?
            });
            if let Some((_, _, message)) = ready {
                self.handle_consensus(node, message, now);
            }
        }
    }
}

/// Tells the crate's election of a candidate at once, as that one's next heartbeat would. Otherwise
/// each of two followers that lose their leader takes over, one after the other: the crate compares
/// heartbeats with what was promised only after it has decided to take over.
fn note_candidate(instance: &mut Instance, round: u32, ballot: Ballot) {
    let reply = HeartbeatReply {
        round,
        ballot,
        leader: ballot,
        happy: true,
    };
    instance.handle_incoming(CrateMessage::BLE(BLEMessage {
        from: ballot.pid,
        to: instance.get_pid(),
        msg: HeartbeatMsg::Reply(reply),
    }));
}
