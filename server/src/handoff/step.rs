//! What the state machines of this module ask of whoever drives them.
//!
//! They touch no thread, clock or link: each call of their `next` is given the group's state and
//! the reply to what was asked last, and says what is to be done now.

use bailiwick_replication::GroupId;

use crate::routing::errand::{Failure, Reply};

/// What a group said to what it was asked.
pub type Answer = Result<Reply, Failure>;

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Have a group execute an internal command, and come back with its answer. Whatever was sent
    /// before and has no answer yet does not matter any more.
    Ask {
        /// The group.
        group: GroupId,
        /// The command with its arguments.
        command: Vec<Vec<u8>>,
    },
    /// Send a group an internal command behind those that are on their way to it. If
    /// [`Source::sends_ahead`](super::Source::sends_ahead) then, come back at once, otherwise with
    /// the oldest answer.
    Send {
        /// The group.
        group: GroupId,
        /// The command with its arguments.
        command: Vec<Vec<u8>>,
    },
    /// Come back with the oldest answer.
    Await,
    /// Nothing more for now.
    End(End),
}

/// How a job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// There is nothing left to do.
    Done,
    /// It is not this node's turn, or somebody else has to act first. Worth another look soon.
    Later,
    /// Something refused or broke; everything is as before, or will be resolved by the next try.
    Failed(String),
}

/// A command that a group is to execute.
#[derive(Clone, Debug)]
pub struct Order(Vec<Vec<u8>>);

impl Order {
    /// The command of this name about a prefix.
    #[must_use]
    pub fn new(name: &str, prefix: &[u8]) -> Self {
        Self(vec![name.as_bytes().to_vec(), prefix.to_vec()])
    }

    /// With a number as next argument.
    #[must_use]
    pub fn number(mut self, number: u64) -> Self {
        self.0.push(number.to_string().into_bytes());
        self
    }

    /// With a group as next argument.
    #[must_use]
    pub fn group(self, group: GroupId) -> Self {
        self.number(group.0.into())
    }

    /// With bytes as next argument.
    #[must_use]
    pub fn bytes(mut self, bytes: Vec<u8>) -> Self {
        self.0.push(bytes);
        self
    }

    /// To be executed by this group.
    #[must_use]
    pub fn ask(self, group: GroupId) -> Step {
        Step::Ask {
            group,
            command: self.0,
        }
    }

    /// To be sent to this group.
    #[must_use]
    pub fn send(self, group: GroupId) -> Step {
        Step::Send {
            group,
            command: self.0,
        }
    }

    /// The command with its arguments.
    #[must_use]
    pub fn into_command(self) -> Vec<Vec<u8>> {
        self.0
    }
}

/// The first word of a refusal.
#[must_use]
pub fn code(answer: &Answer) -> &str {
    match answer {
        Ok(_) => "",
        Err(failure) => failure.code(),
    }
}

/// The end of a job that hears this.
#[must_use]
pub fn failed(answer: &Answer) -> Step {
    let reason = match answer {
        Ok(reply) => format!("an unexpected reply: {reply:?}"),
        Err(failure) => failure.to_string(),
    };
    Step::End(End::Failed(reason))
}
