//! One blocked request: its name, what it waits for, and where it stands.

use bailiwick_frame::{ArgRange, Args, Protocol};
use bytes::Bytes;

use crate::commands::touch::Author;
use crate::keyspace::Entry;

/// Names a waiter: the node that has the client, which life of the node, and which of its waiters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WaiterId {
    /// The node's number.
    pub node: u32,
    /// Its life.
    pub incarnation: u64,
    /// Another one for each blocking request of that life: above a count of `COUNT_BITS` bits
    /// the number of its [`Author`], or nothing.
    pub number: u64,
}

/// How much of a waiter's number is a count.
const COUNT_BITS: u32 = 40;

impl WaiterId {
    /// The number of the `count`-th blocking request, of this author. An author whose own number is
    /// too large stays unnamed.
    #[must_use]
    pub fn number_of(author: u64, count: u64) -> u64 {
        let author = Some(author).filter(|author| *author >> (u64::BITS - COUNT_BITS) == 0);
        author.unwrap_or_default() << COUNT_BITS | count & ((1 << COUNT_BITS) - 1)
    }

    /// Who does what this waiter's request does.
    #[must_use]
    pub fn author(self) -> Author {
        Author {
            node: self.node,
            life: self.incarnation,
            number: self.number >> COUNT_BITS,
        }
    }
}

/// What a key has to hold for a waiter to have a look. The numbers stand in checkpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A list.
    List = 0,
    /// A sorted set.
    SortedSet = 1,
    /// A stream.
    Stream = 2,
}

impl Kind {
    pub(super) const ALL: [Self; 3] = [Self::List, Self::SortedSet, Self::Stream];

    /// What an entry holds, if anybody can wait for that.
    #[must_use]
    pub fn of(entry: &Entry) -> Option<Self> {
        let name = entry.value().type_name();
        Self::ALL.into_iter().find(|kind| kind.type_name() == name)
    }

    fn type_name(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::SortedSet => "zset",
            Self::Stream => "stream",
        }
    }
}

/// What a command waits for that has found nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Awaits {
    /// What one of the keys must come to hold.
    pub kind: Kind,
    /// Whether the command is to run as well when a key holds something else, or nothing any more.
    pub or_absent: bool,
    /// The keys; any of them will do.
    pub keys: Vec<Box<[u8]>>,
    /// The request to run then, where it is another one than the client sent: what "the newest" was
    /// when it arrived, for example.
    pub request: Option<Vec<Vec<u8>>>,
}

/// Where a waiter stands among those who wait for the same key: the time of its arrival in
/// milliseconds, then the order of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Log time of the first arrival.
    pub arrival_ms: i64,
    pub(super) ordinal: u64,
}

/// A blocked request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiter {
    /// The client's database.
    pub database: usize,
    /// The version in which its reply is to be written.
    pub protocol: Protocol,
    /// Where it stands.
    pub place: Place,
    /// What it can use.
    pub kind: Kind,
    /// Whether it has a look whatever has become of a key.
    pub or_absent: bool,
    /// Its reply stays here until it is fetched.
    pub kept: bool,
    /// What it waits for; no key twice.
    pub(super) keys: Vec<Box<[u8]>>,
    pub(super) request: Request,
}

/// Arguments of their own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) bytes: Vec<u8>,
    pub(super) ranges: Vec<ArgRange>,
}

/// What the client's node is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Woken {
    /// It was served, and this is its reply.
    Done(Bytes),
    /// It waits no longer, and nothing was done for it: the request is to be made anew.
    Again,
    /// There may be a reply to be fetched, by making the request once more.
    Look,
}

impl Waiter {
    /// What it asks.
    #[must_use]
    pub fn request(&self) -> Args<'_> {
        Args::new(&self.request.bytes, &self.request.ranges)
    }

    /// Whether it has a look when what a key holds changes, or goes. A list or a sorted set that is
    /// awaited is not there, so it is set first.
    pub(super) fn follows_changes(&self) -> bool {
        self.or_absent || self.kind == Kind::Stream
    }

    /// Whether it has a look at a key that holds this.
    #[must_use]
    pub fn cares_for(&self, kind: Option<Kind>) -> bool {
        self.or_absent || kind == Some(self.kind)
    }
}

impl Request {
    pub(super) fn of<'a>(args: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut request = Self::default();
        for arg in args {
            let start = request.bytes.len() as u32;
            request.bytes.extend_from_slice(arg);
            let end = request.bytes.len() as u32;
            request.ranges.push(ArgRange { start, end });
        }
        request
    }
}
