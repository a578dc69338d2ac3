//! The serving side of proxied reads, without I/O: from a parcel to proposals, and from their
//! answers to outcomes.
//!
//! A parcel's sections become proposals. Where the state is known to be the latest they are [read]
//! at once; otherwise they go the way of local clients' reads, and the [`Clerk`] remembers which
//! parcel waits for which of them.
//!
//! An answer has a bound, because a message between nodes has one, and answers of many clients
//! travel in it. Of a parcel that asks for more, the first requests are answered; for the others
//! the asking node asks again. A single reply that is too long to travel is replaced by an error.
//!
//! [read]: read

use std::collections::BTreeMap;
use std::sync::Arc;

use bailiwick_frame::{Encoder, Limits, Parser, Protocol};
use bailiwick_replication::NodeId;
use bytes::Bytes;

use super::wire::{Parcel, Section};
use crate::commands::{self, Counters, Handler};
use crate::group::{Item, Mailbox, Proposal};
use crate::keyspace::{AccessClock, LOOK_AHEAD};
use crate::state::{ProxiedReply, State};

/// When an answer has so many bytes, what is left of the parcel is for another one.
const ANSWER_TARGET_BYTES: usize = 64 << 20;
/// The longest reply that travels. An answer has at most this and twice the target, and stays below
/// the bound of a message.
const REPLY_MAX_BYTES: usize = 512 << 20;

/// A parcel whose sections are with the group.
struct Job {
    from: NodeId,
    parcel: Parcel,
    /// How many sections are not answered yet.
    left: usize,
    outcomes: Vec<Vec<u8>>,
}

/// A parcel that is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// Who asked.
    pub to: NodeId,
    /// For what.
    pub parcel: Parcel,
    /// What came of its requests.
    pub outcomes: Vec<u8>,
}

/// The parcels that wait for a group of this node.
#[derive(Default)]
pub struct Clerk {
    /// By the ticket of the first section; the others' follow it.
    jobs: BTreeMap<usize, Job>,
    last_ticket: usize,
}

impl Clerk {
    /// Makes the proposals of a parcel ready to be submitted: they come back to this mailbox, and
    /// are to be [noted](Clerk::note_answered) then.
    pub fn defer(
        &mut self,
        (from, parcel): (NodeId, Parcel),
        proposals: &mut [Box<Proposal>],
        mailbox: &Arc<Mailbox>,
    ) {
        let first = self.last_ticket + 1;
        for proposal in proposals.iter_mut() {
            self.last_ticket += 1;
            proposal.ticket = self.last_ticket;
            proposal.mailbox = mailbox.clone();
            proposal.group = parcel.group;
        }
        let job = Job {
            from,
            parcel,
            left: proposals.len(),
            outcomes: vec![Vec::new(); proposals.len()],
        };
        self.jobs.insert(first, job);
    }

    /// Whether a parcel waits for its group already: its answer will be sent once.
    #[must_use]
    pub fn serves(&self, from: NodeId, parcel: Parcel) -> bool {
        let mut jobs = self.jobs.values();
        jobs.any(|job| (job.from, job.parcel) == (from, parcel))
    }

    /// A proposal was answered; the parcel, if it was its last one.
    pub fn note_answered(&mut self, proposal: &Proposal) -> Option<Served> {
        let (&first, job) = self.jobs.range_mut(..=proposal.ticket).next_back()?;
        job.outcomes[proposal.ticket - first] = outcomes_of(proposal);
        job.left -= 1;
        if job.left > 0 {
            return None;
        }
        let job = self.jobs.remove(&first).expect("it was just found");
        let mut outcomes = Vec::new();
        for section in &job.outcomes {
            // A section that was not answered to its end was long enough by itself.
            if is_enough(&outcomes) {
                break;
            }
            outcomes.extend_from_slice(section);
        }
        Some(Served {
            to: job.from,
            parcel: job.parcel,
            outcomes,
        })
    }
}

/// The sections of a parcel as proposals.
///
/// # Errors
/// The body makes no sense, or wants something changed.
pub fn unpack(body: &Bytes) -> Result<Vec<Box<Proposal>>, String> {
    let sections = Section::all(body).map_err(|error| error.to_string())?;
    sections.iter().map(unpack_section).collect()
}

/// Runs the reads on a state that is known to be the latest, and writes what came of them: of all,
/// or of as many as make a long answer.
pub fn read(
    state: &State,
    proposals: &[Box<Proposal>],
    (clock, now_ms): (&AccessClock, i64),
    counters: &Counters,
    outcomes: &mut Vec<u8>,
) {
    let mut reply = Vec::new();
    for proposal in proposals {
        for (at, item) in proposal.items.iter().enumerate() {
            if at % LOOK_AHEAD == 0 {
                look_ahead(state, proposal, at);
            }
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
            if is_enough(outcomes) {
                return;
            }
            let args = proposal.requests.args(*request, &proposal.buffer);
            if let Some(stray) = state.stray(command, args) {
                ProxiedReply::Stray(stray).put(outcomes);
                continue;
            }
            let context = state.read_context(*database, now_ms, clock, counters);
            reply.clear();
            if command.runs_script() {
                counters.calls.begin(0);
            }
            let done = handler(
                &context,
                args,
                &mut Encoder::new(&mut reply, proposal.protocol),
            );
            counters.calls.end();
            if let Err(error) = done {
                reply.clear();
                Encoder::new(&mut reply, proposal.protocol).error(&error.to_string());
            }
            put_reply(&reply, proposal.protocol, REPLY_MAX_BYTES, outcomes);
        }
    }
}

/// Starts to bring the entries of the next requests into the cache, as a connection does for its
/// own.
fn look_ahead(state: &State, proposal: &Proposal, from: usize) {
    for item in proposal.items.iter().skip(from).take(LOOK_AHEAD) {
        if let Item::Command {
            request, database, ..
        } = item
            && let Some(key) = proposal.requests.args(*request, &proposal.buffer).get(1)
        {
            state.keyspace.prefetch(*database, key);
        }
    }
}

/// A section as a proposal.
fn unpack_section(section: &Section) -> Result<Box<Proposal>, String> {
    let mut proposal = Proposal::new(Arc::default(), 0);
    proposal.buffer.extend_from_slice(&section.resp);
    proposal.protocol = section.protocol;
    proposal.wants_ends = true;
    let mut parser = Parser::default();
    // The asking node has parsed them under its client's limits, which need not be ours.
    let parsed = parser.parse(
        &mut proposal.buffer,
        &Limits::NONE,
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
    proposal.note_scripts();
    Ok(proposal)
}

/// Whether an answer is to be sent as it is.
fn is_enough(outcomes: &[u8]) -> bool {
    outcomes.len() >= ANSWER_TARGET_BYTES
}

/// Adds a reply to the outcomes, or an error in its place if it has more than `max_bytes`.
fn put_reply(reply: &[u8], protocol: Protocol, max_bytes: usize, outcomes: &mut Vec<u8>) {
    if reply.len() <= max_bytes {
        return ProxiedReply::of_reply(reply).put(outcomes);
    }
    let mut error = Vec::new();
    let text = "ERR the reply is too long to be passed on by another node; ask for less at once";
    Encoder::new(&mut error, protocol).error(text);
    ProxiedReply::Failed(&error).put(outcomes);
}

/// What came of the items of a proposal that a group has answered: of all, or of as many as make a
/// long answer.
fn outcomes_of(proposal: &Proposal) -> Vec<u8> {
    let mut outcomes = Vec::new();
    let (mut start, mut strayed) = (0, proposal.strayed.iter().peekable());
    for (at, &end) in proposal.ends.iter().enumerate() {
        if is_enough(&outcomes) {
            break;
        }
        match strayed.next_if(|strayed| strayed.item == at) {
            Some(strayed) => ProxiedReply::Stray(strayed.stray.clone()).put(&mut outcomes),
            None => {
                let reply = &proposal.replies[start..end];
                put_reply(reply, proposal.protocol, REPLY_MAX_BYTES, &mut outcomes);
            }
        }
        start = end;
    }
    outcomes
}

#[cfg(test)]
#[path = "clerk_tests.rs"]
mod tests;
