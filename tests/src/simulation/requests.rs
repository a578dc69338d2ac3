//! Requests as a connection hands them to its group, and what comes back.
//!
//! Owns the way from words to a [`Proposal`], by way of RESP bytes, the parser and the command
//! table, and from the bytes of replies to what a history wants to know.

use std::sync::Arc;

use bailiwick::commands::{self, Counters, Handler, Known, ReadContext};
use bailiwick::group::{Arguments, Item, Mailbox, Proposal, Step, Transaction};
use bailiwick::keyspace::{AccessClock, AccessPolicy};
use bailiwick::state::{State, Watched};
use bailiwick_frame::reply::{Resp2Frame, decode_resp2};
use bailiwick_frame::{Encoder, Limits, Parser, Protocol, Requests};

use super::subject::Subject;
use crate::history::{Operation, Outcome};

/// The database that everything happens in.
const DATABASE: usize = 0;

/// The words of a request.
pub(super) type Words = Vec<Vec<u8>>;

/// The words of an operation on what this name stands for.
pub(super) fn words(name: &str, operation: &Operation) -> Words {
    Subject::of(name).words(operation)
}

fn parse(requests: &[Words]) -> (Vec<u8>, Requests) {
    let mut buffer = Vec::new();
    for words in requests {
        buffer.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
        for word in words {
            buffer.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            buffer.extend_from_slice(word);
            buffer.extend_from_slice(b"\r\n");
        }
    }
    let mut parsed = Requests::default();
    let consumed = Parser::default()
        .parse(&mut buffer, &Limits::default(), usize::MAX, &mut parsed)
        .expect("the requests are well formed");
    assert_eq!(consumed, buffer.len(), "the requests are complete");
    (buffer, parsed)
}

fn known(requests: &Requests, at: usize, buffer: &[u8]) -> Known {
    commands::lookup(requests.args(at, buffer)).expect("clients use commands that exist")
}

/// A pipeline of requests.
pub(super) fn pipeline(requests: &[Words], ticket: usize) -> Box<Proposal> {
    let mut proposal = empty(ticket);
    (proposal.buffer, proposal.requests) = parse(requests);
    for request in 0..requests.len() {
        let command = known(&proposal.requests, request, &proposal.buffer);
        proposal.items.push(Item::Command {
            request,
            database: DATABASE,
            command,
        });
    }
    proposal
}

/// MULTI, these requests, EXEC.
pub(super) fn transaction(
    requests: &[Words],
    watched: Vec<Watched>,
    ticket: usize,
) -> Box<Proposal> {
    let mut proposal = empty(ticket);
    let (buffer, parsed) = parse(requests);
    let mut arguments = Arguments::default();
    let mut steps = Vec::new();
    for at in 0..parsed.len() {
        let command = known(&parsed, at, &buffer);
        steps.push(Step::Command {
            request: arguments.push(parsed.args(at, &buffer)),
            database: DATABASE,
            command,
        });
    }
    proposal.items.push(Item::Transaction(Box::new(Transaction {
        watched,
        steps,
        arguments,
    })));
    proposal
}

/// What a node submits now and then by itself.
pub(super) fn expiry(ticket: usize) -> Box<Proposal> {
    let mut proposal = empty(ticket);
    proposal.items.push(Item::Expire(20));
    proposal
}

fn empty(ticket: usize) -> Box<Proposal> {
    Proposal::new(Arc::new(Mailbox::default()), ticket)
}

/// WATCH, as a connection does it.
pub(super) fn watch(state: &State, key: &str, wall_ms: i64) -> Watched {
    let now_ms = wall_ms.max(state.time_ms);
    let key = key.as_bytes();
    Watched {
        database: DATABASE,
        key: key.to_vec(),
        state: state.keyspace.watch_state(DATABASE, key, now_ms),
    }
}

/// GET of a state, as a connection does it that need not ask the group.
pub(super) fn get(state: &State, key: &str, wall_ms: i64) -> Vec<u8> {
    let (buffer, requests) = parse(&[words(key, &Operation::Get)]);
    let command = known(&requests, 0, &buffer);
    let Handler::Read(handler) = command.handler else {
        unreachable!("GET reads");
    };
    let now_ms = wall_ms.max(state.time_ms);
    let clock = AccessClock::new(AccessPolicy::Recency, now_ms, now_ms as u64);
    let counters = Counters::default();
    let context = ReadContext {
        keyspace: &state.keyspace,
        authority: &state.authority,
        scripts: &state.scripts,
        database: DATABASE,
        now_ms,
        clock: &clock,
        touch: true,
        counters: &counters,
        may_wait: false,
        chance: None,
    };
    let mut out = Vec::new();
    let args = requests.args(0, &buffer);
    handler(&context, args, &mut Encoder::new(&mut out, Protocol::Resp2))
        .expect("a key holds what its name says");
    out
}

/// A reply as far as clients care.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Simple,
    Error(String),
    Nil,
    Bytes(Vec<u8>),
    Number(i64),
    Array(Vec<Self>),
}

/// The replies in these bytes.
pub(super) fn answers(mut bytes: &[u8]) -> Result<Vec<Answer>, String> {
    let mut answers = Vec::new();
    while !bytes.is_empty() {
        let decoded = decode_resp2(bytes).map_err(|error| error.to_string())?;
        let (frame, len) = decoded.ok_or("a reply is incomplete")?;
        answers.push(answer(frame));
        bytes = &bytes[len..];
    }
    Ok(answers)
}

fn answer(frame: Resp2Frame) -> Answer {
    match frame {
        Resp2Frame::SimpleString(_) => Answer::Simple,
        Resp2Frame::Error(text) => Answer::Error(text),
        Resp2Frame::Integer(number) => Answer::Number(number),
        Resp2Frame::BulkString(bytes) => Answer::Bytes(bytes),
        Resp2Frame::Array(frames) => Answer::Array(frames.into_iter().map(answer).collect()),
        Resp2Frame::Null => Answer::Nil,
    }
}

/// What a client knows after an answer to an operation on what this name stands for.
pub(super) fn outcome(
    name: &str,
    operation: &Operation,
    answer: &Answer,
) -> Result<Outcome, String> {
    if let Answer::Error(text) = answer {
        return refusal(text);
    }
    let reply = Subject::of(name).reply(operation, answer);
    let reply =
        reply.ok_or_else(|| format!("{name}: {operation:?} is answered with {answer:?}"))?;
    Ok(Outcome::Answered(reply))
}

/// What a client knows after an error.
pub(super) fn refusal(text: &str) -> Result<Outcome, String> {
    match text.split(' ').next() {
        Some("CLUSTERDOWN" | "MISCONF") => Ok(Outcome::Refused),
        Some("UNCERTAIN") => Ok(Outcome::Unknown),
        _ => Err(format!("a client is told: {text}")),
    }
}
