//! The serving side of proxying: a thread that has requests of other nodes' clients executed.
//!
//! Reads run here and now where the leader's lease holds; otherwise they go the way of local
//! clients' reads. Writes go to the replica's thread, which answers by itself. A group in which
//! this node has no seat is answered with `Elsewhere`.

use std::sync::Arc;
use std::task::{Context, Wake, Waker};

use bailiwick_replication::NodeId;
use bailiwick_replication::link::Links;
use bytes::Bytes;
use parking_lot::{Condvar, Mutex};

use super::clerk::{self, Clerk};
use super::wire::{Message, Parcel};
use crate::commands::{Counters, within};
use crate::connection::QUICK_STEPS;
use crate::group::{Group, Mailbox, Observer, Proposal, clock};
use crate::keyspace::AccessClock;
use crate::node::Node;

/// What waits for the thread.
#[derive(Default)]
pub(super) struct Desk {
    inner: Mutex<Inner>,
    filled: Condvar,
}

#[derive(Default)]
struct Inner {
    asked: Vec<(NodeId, Message)>,
    /// Something was put into the mailbox.
    answered: bool,
    closed: bool,
}

impl Wake for Desk {
    fn wake(self: Arc<Self>) {
        self.inner.lock().answered = true;
        self.filled.notify_one();
    }
}

impl Desk {
    pub(super) fn push(&self, from: NodeId, message: Message) {
        self.inner.lock().asked.push((from, message));
        self.filled.notify_one();
    }

    pub(super) fn close(&self) {
        self.inner.lock().closed = true;
        self.filled.notify_one();
    }

    /// The thread.
    pub(super) fn run(self: Arc<Self>, node: Arc<Node>, links: Links) {
        let mut service = Service {
            node,
            links,
            mailbox: Arc::default(),
            clerk: Clerk::default(),
        };
        let waker = Waker::from(self.clone());
        let mut answered = Vec::new();
        loop {
            let asked = {
                let mut inner = self.inner.lock();
                while inner.asked.is_empty() && !inner.answered && !inner.closed {
                    self.filled.wait(&mut inner);
                }
                if inner.closed {
                    return;
                }
                inner.answered = false;
                std::mem::take(&mut inner.asked)
            };
            for (from, message) in asked {
                service.serve(from, message);
            }
            let mut context = Context::from_waker(&waker);
            while service
                .mailbox
                .poll_take(&mut context, &mut answered)
                .is_ready()
            {
                for proposal in answered.drain(..) {
                    service.note_answered(&proposal);
                }
            }
        }
    }
}

struct Service {
    node: Arc<Node>,
    links: Links,
    mailbox: Arc<Mailbox>,
    clerk: Clerk,
}

impl Service {
    fn serve(&mut self, from: NodeId, message: Message) {
        match message {
            Message::Read { group, id, body } => {
                let parcel = Parcel {
                    group,
                    reads: true,
                    id,
                };
                let seat = self.node.seats.get(group);
                match seat.filter(|seat| seat.standing().takes_part()) {
                    Some(group) => self.read(from, parcel, &group, &body),
                    None => self.send(from, &elsewhere(parcel)),
                }
            }
            Message::Write { group, body } => {
                let seat = self.node.seats.get(group);
                let is_taken = seat.is_some_and(|group| group.execute_for(from, body.clone()));
                if !is_taken && let Ok(head) = crate::state::decode_proposal_head(&body) {
                    let parcel = Parcel {
                        group,
                        reads: false,
                        id: head.sequence,
                    };
                    self.send(from, &elsewhere(parcel));
                }
            }
            Message::Done { .. }
            | Message::Elsewhere { .. }
            | Message::Refused { .. }
            | Message::Woken { .. } => {}
        }
    }

    fn read(&mut self, from: NodeId, parcel: Parcel, group: &Group, body: &Bytes) {
        if self.clerk.serves(from, parcel) {
            // Asked again because it takes long.
            return;
        }
        let mut proposals = match clerk::unpack(body) {
            Ok(proposals) => proposals,
            Err(error) => {
                tracing::error!(peer = from.0, error, "a node asks for nonsense");
                let reason = format!("ERR the request was not understood: {error}");
                return self.send(from, &Message::Refused { parcel, reason });
            }
        };
        let mut outcomes = Vec::new();
        if read_now(&self.node, group, &proposals, &mut outcomes) {
            return self.send(from, &self.done(group, parcel, outcomes));
        }
        self.clerk
            .defer((from, parcel), &mut proposals, &self.mailbox);
        group.submit(&mut proposals);
    }

    fn note_answered(&mut self, proposal: &Proposal) {
        let Some(served) = self.clerk.note_answered(proposal) else {
            return;
        };
        // Who has left the group meanwhile has not answered it.
        let seat = self.node.seats.get(served.parcel.group);
        let message = match seat.filter(|seat| seat.standing().takes_part()) {
            Some(group) => self.done(&group, served.parcel, served.outcomes),
            None => elsewhere(served.parcel),
        };
        self.send(served.to, &message);
    }

    fn done(&self, group: &Group, parcel: Parcel, outcomes: Vec<u8>) -> Message {
        let standing = group.standing();
        let own = self.node.host().map(|host| host.me().node);
        Message::Done {
            parcel,
            leader: if standing.leads() {
                own
            } else {
                standing.leader()
            },
            body: outcomes.into(),
        }
    }

    fn send(&self, to: NodeId, message: &Message) {
        // What is lost with the link is asked for again.
        self.links.send(to, message.frame());
    }
}

fn elsewhere(parcel: Parcel) -> Message {
    Message::Elsewhere {
        parcel,
        leader: None,
    }
}

/// Runs the reads if this node's state is known to be the latest, and none of them is a script that
/// takes long; false if nothing came of it.
fn read_now(
    node: &Node,
    group: &Group,
    proposals: &[Box<Proposal>],
    outcomes: &mut Vec<u8>,
) -> bool {
    let Some(state) = group.readable(false) else {
        return false;
    };
    let now_ms = clock::clock_ms().max(state.time_ms);
    let counters = Counters::default();
    counters.calls.prepare(node.wants_calls());
    let clock = AccessClock::new(group.tuning().access, now_ms, fastrand::u64(..));
    let done = within(QUICK_STEPS, || {
        clerk::read(&state, proposals, (&clock, now_ms), &counters, outcomes);
    });
    drop(state);
    if done.is_none() {
        // A script takes its time, and others wait for this thread.
        outcomes.clear();
        return false;
    }
    if let Some(called) = counters.calls.take() {
        node.notices.called(group.id(), &called);
    }
    group.totals().add(&counters);
    true
}
