//! Requests of the node itself, to any group.
//!
//! An errand blocks until the group has answered, as a client's command would wait, so it is
//! nothing for a thread that serves connections. It is executed once, wherever the group's leader
//! is and whatever breaks meanwhile; what a client would hear instead of a reply, the caller hears
//! as [`Failure`].

use std::sync::Arc;

use bailiwick_frame::{ArgRange, Args};
use bailiwick_replication::GroupId;

use crate::authority::Stray;
use crate::commands::{self, Handler};
use crate::group::{Item, Mailbox, Proposal};
use crate::node::Node;

/// What a group said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// A simple string, OK for instance.
    Simple(String),
    /// An integer.
    Integer(i64),
    /// Bytes; `None` for a null.
    Bulk(Option<Vec<u8>>),
}

/// Why there is no reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The group refuses, cannot be reached, or has no leader: the error as a client would read it,
    /// with its code in front.
    #[error("{0}")]
    Refused(String),
    /// The group does not serve the key that the request is about.
    #[error("{0}")]
    Stray(Stray),
}

impl Failure {
    /// The first word of the error.
    #[must_use]
    pub fn code(&self) -> &str {
        match self {
            Self::Refused(text) => text.split(' ').next().unwrap_or_default(),
            Self::Stray(_) => "STRAY",
        }
    }
}

/// A request on its way.
pub struct Sent(Result<Arc<Mailbox>, Failure>);

/// Has a group execute a request.
///
/// # Errors
/// It does not, or says no.
pub fn run(node: &Node, group: GroupId, args: &[&[u8]]) -> Result<Reply, Failure> {
    send(node, group, args).wait()
}

/// Sends a group a request. Requests that are sent to a group one after the other arrive in this
/// order unless links or leaders break.
#[must_use]
pub fn send(node: &Node, group: GroupId, args: &[&[u8]]) -> Sent {
    let mailbox = Arc::new(Mailbox::default());
    match proposal(group, args, mailbox.clone(), 0) {
        Ok(proposal) => node.submit(&mut vec![proposal]),
        Err(failure) => return Sent(Err(failure)),
    }
    Sent(Ok(mailbox))
}

/// A request as a proposal that comes back to a mailbox.
///
/// # Errors
/// There is no such command.
pub fn proposal(
    group: GroupId,
    args: &[&[u8]],
    mailbox: Arc<Mailbox>,
    ticket: usize,
) -> Result<Box<Proposal>, Failure> {
    let mut proposal = Proposal::new(mailbox, ticket);
    proposal.group = group;
    fill(&mut proposal, args)?;
    Ok(proposal)
}

/// What a group said that has answered a [`proposal`].
///
/// # Errors
/// It did not execute it, or says no.
pub fn answer(answered: &Proposal) -> Result<Reply, Failure> {
    match answered.strayed.first() {
        Some(strayed) => Err(Failure::Stray(strayed.stray.clone())),
        None => parse(&answered.replies),
    }
}

impl Sent {
    /// Blocks until there is an answer.
    ///
    /// # Errors
    /// The group does not execute it, or says no.
    pub fn wait(self) -> Result<Reply, Failure> {
        answer(&self.0?.wait())
    }
}

fn fill(proposal: &mut Proposal, args: &[&[u8]]) -> Result<(), Failure> {
    let (mut bytes, mut ranges) = (Vec::new(), Vec::new());
    for arg in args {
        let start = bytes.len() as u32;
        bytes.extend_from_slice(arg);
        let end = bytes.len() as u32;
        ranges.push(ArgRange { start, end });
    }
    let args = Args::new(&bytes, &ranges);
    let found = commands::lookup_logged(args);
    let command = found.map_err(|error| Failure::Refused(error.to_string()))?;
    debug_assert!(matches!(
        command.handler,
        Handler::Read(_) | Handler::Write(_)
    ));
    proposal.set_request(args);
    proposal.items.push(Item::Command {
        request: 0,
        database: 0,
        command,
    });
    Ok(())
}

/// Reads the reply of an internal command.
///
/// # Errors
/// It is an error, or nothing that such a command says.
pub fn parse(reply: &[u8]) -> Result<Reply, Failure> {
    let nonsense = || Failure::Refused("ERR the reply makes no sense".to_owned());
    let (first, rest) = reply.split_first().ok_or_else(nonsense)?;
    let end = rest
        .iter()
        .position(|byte| *byte == b'\r')
        .ok_or_else(nonsense)?;
    let line = std::str::from_utf8(&rest[..end]).map_err(|_| nonsense())?;
    match first {
        b'+' => Ok(Reply::Simple(line.to_owned())),
        b'-' => Err(Failure::Refused(line.to_owned())),
        b':' => line.parse().map(Reply::Integer).map_err(|_| nonsense()),
        b'$' if line == "-1" => Ok(Reply::Bulk(None)),
        b'$' => {
            let length: usize = line.parse().map_err(|_| nonsense())?;
            let body = rest.get(end + 2..end + 2 + length).ok_or_else(nonsense)?;
            Ok(Reply::Bulk(Some(body.to_vec())))
        }
        _ => Err(nonsense()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_replies_that_internal_commands_give_are_understood() {
        let simple = Reply::Simple("OK".to_owned());
        assert_eq!(parse(b"+OK\r\n"), Ok(simple));
        assert_eq!(parse(b":-7\r\n"), Ok(Reply::Integer(-7)));
        assert_eq!(
            parse(b"$2\r\na\n\r\n"),
            Ok(Reply::Bulk(Some(b"a\n".to_vec())))
        );
        assert_eq!(parse(b"$-1\r\n"), Ok(Reply::Bulk(None)));
        let refused = parse(b"-DIGEST differs\r\n").unwrap_err();
        assert_eq!(refused.code(), "DIGEST");
        for nonsense in [&b""[..], b"+", b"$5\r\nab", b"%1\r\n"] {
            assert!(parse(nonsense).is_err());
        }
    }
}
