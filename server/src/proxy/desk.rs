//! The serving side of proxying: a thread that has requests of other nodes' clients executed.
//!
//! Reads run here and now where the leader's lease holds; otherwise they go the way of local
//! clients' reads. Writes go to the replica's thread, which answers by itself. A group in which this
//! node has no seat is answered with `Elsewhere`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};

use bailiwick_frame::{Encoder, Limits, Parser};
use bailiwick_replication::NodeId;
use bailiwick_replication::link::Links;
use bytes::Bytes;
use parking_lot::{Condvar, Mutex};

use super::wire::{Message, Parcel, Section};
use crate::commands::{self, Counters, Handler, ReadContext};
use crate::group::{Group, Item, Mailbox, Proposal, clock};
use crate::keyspace::AccessClock;
use crate::node::Node;
use crate::state::ProxiedReply;

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
        let mut clerk = Clerk {
            node,
            links,
            mailbox: Arc::default(),
            jobs: BTreeMap::new(),
            last_ticket: 0,
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
                clerk.serve(from, message);
            }
            let mut context = Context::from_waker(&waker);
            while clerk
                .mailbox
                .poll_take(&mut context, &mut answered)
                .is_ready()
            {
                for proposal in answered.drain(..) {
                    clerk.note_answered(&proposal);
                }
            }
        }
    }
}

/// A parcel whose sections are with the group.
struct Job {
    from: NodeId,
    parcel: Parcel,
    /// How many sections are not answered yet.
    left: usize,
    outcomes: Vec<Vec<u8>>,
}

struct Clerk {
    node: Arc<Node>,
    links: Links,
    mailbox: Arc<Mailbox>,
    /// By the ticket of the first section; the others' follow it.
    jobs: BTreeMap<usize, Job>,
    last_ticket: usize,
}

impl Clerk {
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
        let proposals = Section::all(body).map_err(|error| error.to_string());
        let proposals =
            proposals.and_then(|sections| sections.iter().map(unpack).collect::<Result<_, _>>());
        let mut proposals: Vec<Box<Proposal>> = match proposals {
            Ok(proposals) => proposals,
            Err(error) => {
                tracing::error!(peer = from.0, error, "a node asks for nonsense");
                let reason = format!("ERR the request was not understood: {error}");
                return self.send(from, &Message::Refused { parcel, reason });
            }
        };
        let mut outcomes = Vec::new();
        if read_now(group, &proposals, &mut outcomes) {
            return self.send(from, &self.done(group, parcel, outcomes));
        }
        let first = self.last_ticket + 1;
        for proposal in &mut proposals {
            self.last_ticket += 1;
            proposal.ticket = self.last_ticket;
            proposal.mailbox = self.mailbox.clone();
            proposal.group = parcel.group;
        }
        let job = Job {
            from,
            parcel,
            left: proposals.len(),
            outcomes: vec![Vec::new(); proposals.len()],
        };
        self.jobs.insert(first, job);
        group.submit(&mut proposals);
    }

    fn note_answered(&mut self, proposal: &Proposal) {
        let Some((&first, job)) = self.jobs.range_mut(..=proposal.ticket).next_back() else {
            return;
        };
        job.outcomes[proposal.ticket - first] = outcomes_of(proposal);
        job.left -= 1;
        if job.left > 0 {
            return;
        }
        let job = self.jobs.remove(&first).expect("it was just found");
        let message = match self.node.seats.get(job.parcel.group) {
            Some(group) => self.done(&group, job.parcel, job.outcomes.concat()),
            None => elsewhere(job.parcel),
        };
        self.send(job.from, &message);
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

/// A section as a proposal.
fn unpack(section: &Section) -> Result<Box<Proposal>, String> {
    let mut proposal = Proposal::new(Arc::default(), 0);
    proposal.buffer.extend_from_slice(&section.resp);
    proposal.protocol = section.protocol;
    proposal.wants_ends = true;
    let mut parser = Parser::default();
    let limits = Limits::default();
    let parsed = parser.parse(
        &mut proposal.buffer,
        &limits,
        section.count,
        &mut proposal.requests,
    );
    parsed.map_err(|error| error.to_string())?;
    if proposal.requests.len() != section.count {
        return Err("requests are missing".to_owned());
    }
    for request in 0..section.count {
        let args = proposal.requests.args(request, &proposal.buffer);
        let command = commands::lookup_logged(args).map_err(|error| error.to_string())?;
        if !matches!(command.handler, Handler::Read(_)) {
            return Err(format!("'{}' is no read", command.name));
        }
        proposal.items.push(Item::Command {
            request,
            database: section.database,
            command,
        });
    }
    Ok(proposal)
}

/// Runs the reads if this node's state is known to be the latest; false if it is not.
fn read_now(group: &Group, proposals: &[Box<Proposal>], outcomes: &mut Vec<u8>) -> bool {
    let Some(state) = group.readable(false) else {
        return false;
    };
    let now_ms = clock::clock_ms().max(state.time_ms);
    let counters = Counters::default();
    let clock = AccessClock::new(group.tuning().access, now_ms, now_ms as u32);
    let mut reply = Vec::new();
    for proposal in proposals {
        for item in &proposal.items {
            let Item::Command {
                request,
                database,
                command,
            } = item
            else {
                continue;
            };
            let Handler::Read(handler) = command.handler else {
                continue;
            };
            let args = proposal.requests.args(*request, &proposal.buffer);
            if let Some(stray) = state.stray(command, args) {
                ProxiedReply::Stray(stray).put(outcomes);
                continue;
            }
            let context = ReadContext {
                keyspace: &state.keyspace,
                authority: &state.authority,
                scripts: &state.scripts,
                database: *database,
                now_ms,
                clock: &clock,
                touch: true,
                counters: &counters,
                may_wait: false,
                chance: None,
            };
            reply.clear();
            let done = handler(
                &context,
                args,
                &mut Encoder::new(&mut reply, proposal.protocol),
            );
            if let Err(error) = done {
                reply.clear();
                Encoder::new(&mut reply, proposal.protocol).error(&error.to_string());
            }
            ProxiedReply::of_reply(&reply).put(outcomes);
        }
    }
    drop(state);
    group.totals().add(&counters);
    true
}

/// What came of the items of a proposal that a group has answered.
fn outcomes_of(proposal: &Proposal) -> Vec<u8> {
    let mut outcomes = Vec::new();
    let (mut start, mut strayed) = (0, proposal.strayed.iter().peekable());
    for (at, &end) in proposal.ends.iter().enumerate() {
        match strayed.next_if(|strayed| strayed.item == at) {
            Some(strayed) => ProxiedReply::Stray(strayed.stray.clone()).put(&mut outcomes),
            None => ProxiedReply::of_reply(&proposal.replies[start..end]).put(&mut outcomes),
        }
        start = end;
    }
    outcomes
}
