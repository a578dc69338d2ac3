//! What a connection hands to its group: requests to be run as one step of the log.
//!
//! A proposal takes the connection's read buffer along, so arguments are never copied on the way
//! to the log, and brings it back together with the replies. It is allocated once for a connection
//! and goes to and fro.

use std::ops::Range;
use std::sync::Arc;

use bailiwick_frame::{ArgRange, Args, Limits, Parser, Protocol, Requests};
use bailiwick_replication::GroupId;

use super::{Mailbox, ROOT_GROUP};
use crate::authority::Stray;
use crate::commands::{CommandError, Flag, Handler, Known};
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
    /// Items that were not run because the group does not serve their keys, in order.
    pub strayed: Vec<Strayed>,
    /// The transaction in it was not run.
    pub is_discarded: bool,
    /// Whether `ends` is to be filled.
    pub wants_ends: bool,
    /// Where in the replies each item's reply ends.
    pub ends: Vec<usize>,
    /// How long the commands took to apply, for statistics.
    pub timings: Vec<Timing>,
    /// Where the proposal goes when it has been answered.
    pub mailbox: Arc<Mailbox>,
    /// Which of the mailbox's owners waits for it.
    pub ticket: usize,
    /// Whose changes these are, for a client that does not want to hear of them
    /// ([`Author::number`](crate::commands::touch::Author::number)); 0 otherwise.
    pub author: u64,
    /// The client that keeps copies of what its scripts read; 0 if it does not, or there is none.
    pub reader: u64,
    /// It was run by this node, which knows what its scripts have read.
    pub ran_here: bool,
    /// Some of it may have been done, or may yet be, although its client hears an error.
    pub is_uncertain: bool,
    /// Whether Lua has a part in one of the items; whoever adds one says so.
    pub runs_script: bool,
    /// Its client takes what this node has, whatever others have.
    pub may_be_stale: bool,
}

/// An item that had no effect because the group does not serve all of its keys.
pub struct Strayed {
    /// Index into the proposal's items.
    pub item: usize,
    /// Where in the replies the error stands that a client gets if nobody else runs the item.
    pub reply: Range<usize>,
    /// Which key, and where it may be.
    pub stray: Stray,
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
        /// The group whose log it is.
        group: GroupId,
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

impl Transaction {
    /// The commands that read or write the keyspace, each with its database and arguments.
    pub fn commands(&self) -> impl Iterator<Item = (Known, usize, Args<'_>)> {
        self.steps.iter().filter_map(|step| match step {
            Step::Command {
                request,
                database,
                command,
            } => Some((*command, *database, self.arguments.get(*request))),
            Step::Answered(_) => None,
        })
    }

    /// Whether it may change something.
    #[must_use]
    pub fn has_write(&self) -> bool {
        self.commands().any(|(command, ..)| command.is_write())
    }
}

/// Requests copied out of a read buffer.
#[derive(Debug, Default)]
pub struct Arguments {
    bytes: Vec<u8>,
    ranges: Vec<ArgRange>,
    ends: Vec<usize>,
}

impl Arguments {
    /// Copies a request; returns its index.
    pub fn push(&mut self, args: Args<'_>) -> usize {
        args.iter().for_each(|arg| self.push_arg(arg));
        self.ends.push(self.ranges.len());
        self.ends.len() - 1
    }

    /// Copies a request that has another name; returns its index.
    pub fn push_named(&mut self, name: &[u8], rest: Args<'_>) -> usize {
        self.push_arg(name);
        rest.iter().for_each(|arg| self.push_arg(arg));
        self.ends.push(self.ranges.len());
        self.ends.len() - 1
    }

    /// Copies a request that stands nowhere as a whole; returns its index.
    pub fn push_all<'a>(&mut self, args: impl IntoIterator<Item = &'a [u8]>) -> usize {
        args.into_iter().for_each(|arg| self.push_arg(arg));
        self.ends.push(self.ranges.len());
        self.ends.len() - 1
    }

    fn push_arg(&mut self, arg: &[u8]) {
        let offset = |at: usize| u32::try_from(at).expect("whoever gathers requests has a bound");
        let start = offset(self.bytes.len());
        self.bytes.extend_from_slice(arg);
        let end = offset(self.bytes.len());
        self.ranges.push(ArgRange { start, end });
    }

    /// Number of arguments of all requests.
    #[must_use]
    pub fn args(&self) -> usize {
        self.ranges.len()
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

/// Writes a request as a client would send it.
pub fn put_request(out: &mut Vec<u8>, args: Args<'_>) {
    let mut number = itoa::Buffer::new();
    let mut head = |out: &mut Vec<u8>, sigil: u8, length: usize| {
        out.push(sigil);
        out.extend_from_slice(number.format(length).as_bytes());
        out.extend_from_slice(b"\r\n");
    };
    head(out, b'*', args.len());
    for arg in args.iter() {
        head(out, b'$', arg.len());
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
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

    /// Whether it changes nothing, so that it needs no entry.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.items.iter().all(|item| match item {
            Item::Command { command, .. } => !command.is_write(),
            Item::Transaction(transaction) => !transaction.has_write(),
            Item::Expire(_) | Item::Genesis { .. } => false,
        })
    }

    /// Finds out whether Lua has a part in one of the items.
    pub fn note_scripts(&mut self) {
        self.runs_script = self.items.iter().any(|item| match item {
            Item::Command { command, .. } => command.runs_script(),
            Item::Transaction(transaction) => {
                let mut commands = transaction.commands();
                commands.any(|(command, ..)| command.runs_script())
            }
            Item::Expire(_) | Item::Genesis { .. } => false,
        });
    }

    /// Whether it is nothing but commands that read, each by itself.
    #[must_use]
    pub fn is_plain_read(&self) -> bool {
        let reads = |item: &Item| match item {
            Item::Command { command, .. } => matches!(command.handler, Handler::Read(_)),
            Item::Transaction(_) | Item::Expire(_) | Item::Genesis { .. } => false,
        };
        !self.items.is_empty() && self.items.iter().all(reads)
    }

    /// Whether its client can be told to come again, as long as it is not logged. What nodes do by
    /// themselves waits.
    #[must_use]
    pub fn may_be_turned_away(&self) -> bool {
        let is_clients = |item: &Item| match item {
            Item::Command { command, .. } => !command.has(Flag::Internal),
            Item::Transaction(_) => true,
            Item::Expire(_) | Item::Genesis { .. } => false,
        };
        !self.items.is_empty() && self.items.iter().all(is_clients)
    }

    /// The first key that is named.
    #[must_use]
    pub fn first_key(&self) -> Option<&[u8]> {
        let key_of = |command: &Known, args: Args<'_>| command.keys.indexes(args).next();
        self.items.iter().find_map(|item| match item {
            Item::Command {
                request, command, ..
            } => {
                let args = self.requests.args(*request, &self.buffer);
                key_of(command, args).and_then(|at| args.get(at))
            }
            Item::Transaction(transaction) => transaction
                .commands()
                .find_map(|(command, _, args)| key_of(&command, args).and_then(|at| args.get(at))),
            Item::Expire(_) | Item::Genesis { .. } => None,
        })
    }

    /// Makes this the only request, copied from where it stands.
    pub fn set_request(&mut self, args: Args<'_>) {
        self.buffer.clear();
        self.requests.clear();
        put_request(&mut self.buffer, args);
        let parsed =
            Parser::default().parse(&mut self.buffer, &Limits::NONE, 1, &mut self.requests);
        debug_assert!(parsed.is_ok(), "what was parsed once parses again");
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
            strayed: Vec::new(),
            is_discarded: false,
            wants_ends: false,
            ends: Vec::new(),
            timings: Vec::new(),
            mailbox,
            ticket,
            author: 0,
            reader: 0,
            ran_here: false,
            is_uncertain: false,
            runs_script: false,
            may_be_stale: false,
        })
    }
}
