//! What a connection hands to its group: requests to be run as one step of the log.
//!
//! A proposal takes the connection's read buffer along, so arguments are never copied on the way
//! to the log, and brings it back together with the replies. It is allocated once for a connection
//! and goes to and fro.

use std::sync::Arc;

use bailiwick_frame::{ArgRange, Args, Protocol, Requests};

use bailiwick_replication::GroupId;

use super::{Mailbox, ROOT_GROUP};
use crate::commands::{CommandError, Known};
use crate::state::Watched;

/// Requests of one connection, in pipeline order, and their replies.
pub struct Proposal {
    /// The group it is for.
    pub group: GroupId,
    /// The bytes that `requests` points into.
    pub buffer: Vec<u8>,
    /// The requests, those that are no part of this proposal included.
    pub requests: Requests,
    /// What to run.
    pub items: Vec<Item>,
    /// Replies are appended here, in order.
    pub replies: Vec<u8>,
    /// The version in which replies are written.
    pub protocol: Protocol,
    /// Commands that were refused or failed, for statistics.
    pub failures: Vec<(Known, CommandError)>,
    /// The transaction in it was not run.
    pub is_discarded: bool,
    /// How long the commands took to apply, for statistics.
    pub timings: Vec<Timing>,
    /// Where the proposal goes when it has been answered.
    pub mailbox: Arc<Mailbox>,
    /// Which of the mailbox's owners waits for it.
    pub ticket: usize,
}

/// A run of calls of one command.
pub struct Timing {
    /// The command.
    pub command: Known,
    /// How often it ran.
    pub calls: u64,
    /// The time of all calls together.
    pub nanos: u64,
    /// One of the requests; none for commands in a transaction.
    pub request: Option<usize>,
}

/// One thing to run.
pub enum Item {
    /// A command.
    Command {
        /// Index into the proposal's requests.
        request: usize,
        /// The connection's database.
        database: usize,
        /// What it is.
        command: Known,
    },
    /// MULTI .. EXEC.
    Transaction(Box<Transaction>),
    /// Remove up to so many expired keys.
    Expire(u64),
    /// The first item of a new log.
    Genesis {
        /// Number of databases.
        databases: usize,
        /// Seed of the tables' hash function.
        hash_seed: u64,
    },
}

/// Requests that were queued by MULTI, with what they watch.
#[derive(Default)]
pub struct Transaction {
    /// Keys that must not have changed.
    pub watched: Vec<Watched>,
    /// The steps in order.
    pub steps: Vec<Step>,
    /// The arguments of all steps.
    pub arguments: Arguments,
}

/// One queued request.
pub enum Step {
    /// A command that reads or writes the keyspace; its arguments are those of this number.
    Command {
        /// Index into the transaction's arguments.
        request: usize,
        /// The database in which it runs.
        database: usize,
        /// What it is.
        command: Known,
    },
    /// A command that concerns the connection; it has run already, and this is its reply.
    Answered(Vec<u8>),
}

/// Requests copied out of a read buffer.
#[derive(Default)]
pub struct Arguments {
    bytes: Vec<u8>,
    ranges: Vec<ArgRange>,
    ends: Vec<usize>,
}

impl Arguments {
    /// Copies a request; returns its index.
    pub fn push(&mut self, args: Args<'_>) -> usize {
        for arg in args.iter() {
            let start = self.bytes.len() as u32;
            self.bytes.extend_from_slice(arg);
            let end = self.bytes.len() as u32;
            self.ranges.push(ArgRange { start, end });
        }
        self.ends.push(self.ranges.len());
        self.ends.len() - 1
    }

    /// Number of requests.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no request.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Bytes of arguments held.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The arguments of request `index`.
    #[must_use]
    pub fn get(&self, index: usize) -> Args<'_> {
        let first = if index == 0 { 0 } else { self.ends[index - 1] };
        Args::new(&self.bytes, &self.ranges[first..self.ends[index]])
    }
}

impl Proposal {
    /// Bytes of requests, those of transactions included.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let queued = self.items.iter().map(|item| match item {
            Item::Transaction(transaction) => transaction.arguments.bytes(),
            _ => 0,
        });
        self.buffer.len() + queued.sum::<usize>()
    }

    /// An empty proposal that comes back to `mailbox` under `ticket`.
    #[must_use]
    pub fn new(mailbox: Arc<Mailbox>, ticket: usize) -> Box<Self> {
        Box::new(Self {
            group: ROOT_GROUP,
            buffer: Vec::new(),
            requests: Requests::default(),
            items: Vec::new(),
            replies: Vec::new(),
            protocol: Protocol::Resp2,
            failures: Vec::new(),
            is_discarded: false,
            timings: Vec::new(),
            mailbox,
            ticket,
        })
    }
}
