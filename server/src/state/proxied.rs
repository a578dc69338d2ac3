//! Requests of clients whose node is no member of the group, and what the group keeps of the
//! answers.
//!
//! The replies of one proposal are one string of bytes:
//!
//! ```text
//! replies = (status u8 | body)*
//! ```
//!
//! with one item for each item of the proposal, bodies after their lengths. The node that has the
//! client puts them in their places; what has strayed it takes elsewhere.

use bailiwick_frame::{Args, Encoder, Protocol};

use super::codec::{DecodeError, Reader, put_bytes};
use super::{Applier, ProxiedStep, Watched};
use crate::authority::Stray;
use crate::commands::{Command, CommandError, Known};

/// The bytes of replies of one proposal beyond which nothing more is kept: every replica has them
/// in memory until the asking node has them.
pub(super) const KEPT_BYTES: usize = if cfg!(test) { 1 << 16 } else { 64 << 20 };
const NOT_READ: &str = "ERR not run: the replies of this pipeline are too long to be passed on \
                        together; ask for less at once";
const NOT_KEPT: &str = "ERR done, but the replies of this pipeline are too long to be passed on \
                        together, and this one is left out";

const DONE: u8 = 0;
const FAILED: u8 = 1;
const STRAY: u8 = 2;
const DISCARDED: u8 = 3;

/// What became of one item of a proxied proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProxiedReply<'a> {
    /// It ran, and this is the reply.
    Done(&'a [u8]),
    /// It was refused, and the reply is this error.
    Failed(&'a [u8]),
    /// It was not run, because the group does not serve its keys.
    Stray(Stray),
    /// A transaction was not run, because something had changed that it watches; with the reply.
    Discarded(&'a [u8]),
}

impl<'a> ProxiedReply<'a> {
    /// Of a command that answered with this.
    #[must_use]
    pub fn of_reply(reply: &'a [u8]) -> Self {
        if reply.first() == Some(&b'-') {
            Self::Failed(reply)
        } else {
            Self::Done(reply)
        }
    }

    /// Writes it behind what `replies` holds.
    pub fn put(&self, replies: &mut Vec<u8>) {
        match self {
            Self::Done(body) => put(replies, DONE, body),
            Self::Failed(body) => put(replies, FAILED, body),
            Self::Discarded(body) => put(replies, DISCARDED, body),
            Self::Stray(stray) => {
                let mut body = Vec::new();
                stray.put(&mut body);
                put(replies, STRAY, &body);
            }
        }
    }
}

/// The replies in what [`Origins::reply`](super::Origins::reply) gives, in the order of the items.
pub fn decode_replies(bytes: &[u8]) -> Result<Vec<ProxiedReply<'_>>, DecodeError> {
    let mut reader = Reader::new(bytes);
    let mut replies = Vec::new();
    while !reader.is_done() {
        let malformed = DecodeError::Malformed(reader.at());
        let [status] = reader.array()?;
        let body = reader.string()?;
        replies.push(match status {
            DONE => ProxiedReply::Done(body),
            FAILED => ProxiedReply::Failed(body),
            STRAY => ProxiedReply::Stray(Stray::decode(body).map_err(|_| malformed)?),
            DISCARDED => ProxiedReply::Discarded(body),
            _ => return Err(malformed),
        });
    }
    Ok(replies)
}

/// A step of a proxied transaction whose command was looked up.
pub(super) enum KnownStep<'a> {
    Command(Known, usize, Args<'a>),
    Answered(&'a [u8]),
}

impl<'a> KnownStep<'a> {
    /// Looks the command of a step up with `find`; `None` if there is none.
    pub(super) fn of(
        step: &ProxiedStep<'a>,
        find: impl FnOnce(Args<'a>) -> Option<Known>,
    ) -> Option<Self> {
        Some(match *step {
            ProxiedStep::Command(database, args) => Self::Command(find(args)?, database, args),
            ProxiedStep::Answered(reply) => Self::Answered(reply),
        })
    }
}

/// Runs a proxied command and adds what became of it to `replies`.
///
/// What was read may have another length on another replica, so that too much of it keeps a command
/// from running only if that changes nothing.
pub(super) fn run_command(
    applier: &mut Applier<'_>,
    command: &Command,
    (protocol, database): (Protocol, usize),
    args: Args<'_>,
    replies: &mut Vec<u8>,
) {
    let mut body = Vec::new();
    if applier.lacks_memory_for(command) {
        Encoder::new(&mut body, protocol).error(&CommandError::OUT_OF_MEMORY.to_string());
        return put(replies, FAILED, &body);
    }
    let is_full = replies.len() > KEPT_BYTES;
    if is_full && !command.is_write() {
        Encoder::new(&mut body, protocol).error(NOT_READ);
        return put(replies, FAILED, &body);
    }
    applier.is_proxied = true;
    applier.calls().begin_for_others();
    let outcome = applier.command(command, database, args, protocol, &mut body);
    applier.calls().end();
    applier.is_proxied = false;
    let status = match outcome {
        Ok(()) => DONE,
        Err(CommandError::Stray(stray)) => {
            body.clear();
            stray.put(&mut body);
            STRAY
        }
        Err(_) => FAILED,
    };
    if is_full && status == DONE {
        body.clear();
        Encoder::new(&mut body, protocol).error(NOT_KEPT);
        return put(replies, FAILED, &body);
    }
    put(replies, status, &body);
}

/// Runs a proxied transaction and adds what became of it to `replies`.
pub(super) fn run_transaction(
    applier: &mut Applier<'_>,
    protocol: Protocol,
    watched: &[Watched],
    steps: &[KnownStep<'_>],
    replies: &mut Vec<u8>,
) {
    let mut body = Vec::new();
    let commands = steps.iter().filter_map(|step| match step {
        KnownStep::Command(command, _, args) => Some((&**command, *args)),
        KnownStep::Answered(_) => None,
    });
    if let Some(stray) = applier.stray_of_transaction(watched, commands) {
        stray.put(&mut body);
        return put(replies, STRAY, &body);
    }
    if !applier.is_unchanged(watched) {
        Encoder::new(&mut body, protocol).null_array();
        return put(replies, DISCARDED, &body);
    }
    let is_short = steps.iter().any(|step| match step {
        KnownStep::Command(command, ..) => applier.lacks_memory_for(command),
        KnownStep::Answered(_) => false,
    });
    if is_short {
        let error = CommandError::OUT_OF_MEMORY.aborting_exec();
        Encoder::new(&mut body, protocol).error(&error.to_string());
        return put(replies, DISCARDED, &body);
    }
    Encoder::new(&mut body, protocol).array(steps.len());
    for step in steps {
        match step {
            KnownStep::Command(command, database, args) => {
                let start = body.len();
                let is_full = replies.len() + start > KEPT_BYTES;
                if is_full && !command.is_write() {
                    Encoder::new(&mut body, protocol).error(NOT_READ);
                    continue;
                }
                // Its error is its reply.
                applier.calls().begin_for_others();
                let outcome = applier.command(command, *database, *args, protocol, &mut body);
                applier.calls().end();
                if is_full && outcome.is_ok() {
                    body.truncate(start);
                    Encoder::new(&mut body, protocol).error(NOT_KEPT);
                }
            }
            KnownStep::Answered(reply) => body.extend_from_slice(reply),
        }
    }
    put(replies, DONE, &body);
}

fn put(replies: &mut Vec<u8>, status: u8, body: &[u8]) {
    replies.push(status);
    put_bytes(replies, body);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn replies_read_back_in_order() {
        let stray = Stray::Held {
            prefix: b"eu:".to_vec(),
        };
        let mut body = Vec::new();
        stray.put(&mut body);
        let mut bytes = Vec::new();
        for (status, body) in [(DONE, &b"+OK\r\n"[..]), (FAILED, b"-ERR"), (STRAY, &body)] {
            put(&mut bytes, status, body);
        }
        put(&mut bytes, DISCARDED, b"*-1\r\n");
        let expected = vec![
            ProxiedReply::Done(b"+OK\r\n"),
            ProxiedReply::Failed(b"-ERR"),
            ProxiedReply::Stray(stray),
            ProxiedReply::Discarded(b"*-1\r\n"),
        ];
        assert_eq!(decode_replies(&bytes), Ok(expected));
        bytes.push(9);
        assert!(decode_replies(&bytes).is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_replies_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = decode_replies(&bytes);
        }
    }
}
