//! What goes out, and when.
//!
//! Messages that rest on something in the log wait for the write that carries it (`late` before it
//! is handed out, `in_write` while it is under way); all others leave at once. A Prepare of our own
//! waits besides for the end of the time that we granted somebody else (`held_prepares`). A Decide
//! rides along with what comes next, unless somebody waits for it (`held_decides`).
//!
//! The crate names a long decided prefix without its entries; [`Replica::complete`] puts in what
//! the receiver lacks.

use bytes::Bytes;
use omnipaxos::messages::Message as CrateMessage;
use omnipaxos::messages::ballot_leader_election::HeartbeatMsg;
use omnipaxos::messages::sequence_paxos::PaxosMsg;
use omnipaxos::storage::SnapshotType;

use super::engine::Engine;
use super::entry::Slot;
use super::message::Message;
use super::planted::{self, Planted};
use super::sessions::Peer;
use super::{Outgoing, Ready, Replica};
use crate::link::Class;
use crate::{LogIndex, NodeId};

impl Replica {
    /// What is to be sent and written now. The write, if there is one, must be followed by
    /// [`Replica::persisted`] before the next one comes.
    pub fn ready(&mut self, now: u64) -> Ready {
        self.drain_engine();
        let mut write = None;
        if !self.is_writing {
            write = self.log.lock().take_write();
            self.is_writing = write.is_some();
        }
        let mut messages = std::mem::take(&mut self.out);
        if write.is_some() {
            self.in_write = std::mem::take(&mut self.late);
        } else if !self.is_writing {
            let late = std::mem::take(&mut self.late);
            messages.extend(self.leave(late, now));
        }
        Ready { messages, write }
    }

    /// The write that [`Replica::ready`] handed out is on disk; gives what waited for it.
    pub fn persisted(&mut self, now: u64) -> Vec<Outgoing> {
        assert!(self.is_writing, "nothing was to be written");
        self.is_writing = false;
        {
            let mut log = self.log.lock();
            log.persisted();
            if matches!(self.engine, Engine::Solo) {
                let durable = log.durable();
                log.note_decided(durable);
            }
        }
        let late = std::mem::take(&mut self.in_write);
        let messages = self.leave(late, now);
        self.handle_held_accepted(now);
        messages
    }

    /// A message for the layer above, to another member.
    pub fn send(&mut self, to: NodeId, class: Class, payload: Bytes) {
        self.push(to, class, &Message::Application(payload));
    }

    pub(super) fn push(&mut self, to: NodeId, class: Class, message: &Message) {
        if class == Class::Ordered {
            let held = self.held_decides.extract_if(.., |held| held.to == to);
            self.out.extend(held);
        }
        let message = self.outgoing(to, class, message);
        self.out.push(message);
    }

    fn outgoing(&self, to: NodeId, class: Class, message: &Message) -> Outgoing {
        Outgoing {
            to,
            class,
            configuration: self.log.lock().meta.configuration.id,
            payload: message.encode(),
        }
    }

    /// Takes the crate's messages and sorts them by when they may leave.
    fn drain_engine(&mut self) {
        let Engine::Paxos(instance) = &mut self.engine else {
            return;
        };
        let mut messages = Vec::new();
        instance.take_outgoing_messages(&mut messages);
        for message in messages {
            if let CrateMessage::BLE(message) = &message
                && let HeartbeatMsg::Request(request) = &message.msg
            {
                self.heartbeat_round = request.round;
            }
            self.route(message);
        }
    }

    fn route(&mut self, mut message: CrateMessage<Slot>) {
        let Some(to) = self.node_of(message.get_receiver()) else {
            return;
        };
        let Some((from_session, to_session)) = self.peers.get(&to).and_then(Peer::open) else {
            // Before a session is open nothing can arrive; opening it makes the crate begin anew.
            return;
        };
        if !self.complete(&mut message, to) {
            let decided = LogIndex(self.log.lock().decided());
            self.push(to, Class::Ordered, &Message::Behind { decided });
            return;
        }
        let is_early = !waits_for_disk(&message) || planted_early(&message);
        let may_wait = is_decide(&message)
            && self
                .peers
                .get(&to)
                .is_none_or(|peer| self.ticks >= peer.hurried_until);
        let message = Message::Consensus {
            from_session,
            to_session,
            message: Box::new(message),
        };
        if may_wait {
            let message = self.outgoing(to, Class::Ordered, &message);
            self.held_decides.push(message);
        } else if is_early {
            let class = class_of(&message);
            self.push(to, class, &message);
        } else {
            self.late.push((to, message));
        }
    }

    /// Puts the entries that the receiver lacks into a snapshot that only names them. False if they
    /// are not in the log any more.
    fn complete(&self, message: &mut CrateMessage<Slot>, to: NodeId) -> bool {
        let CrateMessage::SequencePaxos(message) = message else {
            return true;
        };
        let sync = match &mut message.msg {
            PaxosMsg::AcceptSync(message) => Some(&mut message.log_sync),
            PaxosMsg::Promise(message) => message.log_sync.as_mut(),
            _ => None,
        };
        let Some(Some(SnapshotType::Complete(prefix))) =
            sync.map(|sync| sync.decided_snapshot.as_mut())
        else {
            return true;
        };
        let theirs = self.peers.get(&to).map_or(0, |peer| peer.decided);
        let log = self.log.lock();
        let end = prefix.end();
        if theirs < log.trimmed() && theirs < end {
            return false;
        }
        if theirs < prefix.known {
            let mut tail: Vec<Slot> = log
                .read(theirs..prefix.known)
                .into_iter()
                .map(Slot)
                .collect();
            tail.append(&mut prefix.tail);
            (prefix.known, prefix.tail) = (theirs, tail);
        } else {
            let skip = (theirs.min(end) - prefix.known) as usize;
            prefix.tail.drain(..skip);
            prefix.known += skip as u64;
        }
        true
    }

    /// Lets go of what waited for the disk, except for a Prepare while time is granted to somebody
    /// else; that one leaves when the grant is over.
    fn leave(&mut self, mut late: Vec<(NodeId, Message)>, now: u64) -> Vec<Outgoing> {
        let own = self.number_of(self.options.member.node).unwrap_or(0);
        if self.lease.holds_back_own(own, now) {
            let (prepares, others) = late
                .into_iter()
                .partition(|(_, message)| is_prepare(message));
            self.held_prepares.extend::<Vec<_>>(prepares);
            late = others;
        } else {
            late.splice(0..0, self.held_prepares.drain(..));
        }
        let before = self.out.len();
        for (to, message) in late {
            let Message::Consensus {
                from_session,
                to_session,
                ..
            } = message
            else {
                continue;
            };
            if self.is_open(to, from_session, to_session) {
                self.push(to, class_of(&message), &message);
            }
        }
        self.out.split_off(before)
    }
}

/// Whether a message may leave only once all before it is on disk.
fn waits_for_disk(message: &CrateMessage<Slot>) -> bool {
    let CrateMessage::SequencePaxos(message) = message else {
        return false;
    };
    matches!(
        message.msg,
        PaxosMsg::Prepare(_) | PaxosMsg::Promise(_) | PaxosMsg::Accepted(_)
    )
}

fn is_decide(message: &CrateMessage<Slot>) -> bool {
    let CrateMessage::SequencePaxos(message) = message else {
        return false;
    };
    matches!(message.msg, PaxosMsg::Decide(_))
}

fn is_prepare(message: &Message) -> bool {
    let Message::Consensus { message, .. } = message else {
        return false;
    };
    matches!(&**message, CrateMessage::SequencePaxos(message)
        if matches!(message.msg, PaxosMsg::Prepare(_)))
}

/// Whether a planted bug lets the message go too early.
fn planted_early(message: &CrateMessage<Slot>) -> bool {
    let CrateMessage::SequencePaxos(message) = message else {
        return false;
    };
    match message.msg {
        PaxosMsg::Accepted(_) => planted::is_on(Planted::AcceptedBeforeSync),
        PaxosMsg::Promise(_) => planted::is_on(Planted::PromiseBeforeSync),
        _ => false,
    }
}

fn class_of(message: &Message) -> Class {
    if message.is_urgent() {
        Class::Urgent
    } else if message.is_bulk() {
        Class::Bulk
    } else {
        Class::Ordered
    }
}
