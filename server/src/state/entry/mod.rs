//! The log entry: what the state machine is fed with.
//!
//! ```text
//! entry     = version u8 | time in ms i64 | random seed u64 | proposal*
//! proposal  = origin node u32 | incarnation u64 | sequence u64 | floor u64
//!           | items u32 | bytes of items u32 | item*
//! item      = COMMAND database argument*            one command
//!           | TRANSACTION watched* command*         all or nothing after the watches are checked
//!           | EXPIRE limit                          remove keys whose time has come
//!           | EVICT database key                    make room
//!           | GENESIS databases hash-seed group     the first item of every log
//!           | SEAL configuration members            the next membership of the group
//!           | DIGEST index digest u64               what the state added up to
//!           | REFUSE_GROWTH                         memory is short for proxied items of this entry
//!           | PROXIED protocol u8 database argument*       a command whose reply is kept
//!           | PROXIED_TRANSACTION protocol u8 watched* step*   a transaction whose reply is
//!           | AUTHOR number                         of the client that wants the items behind it
//! ```
//!
//! Fixed numbers are little-endian, the others LEB128; bytes are preceded by their length. Commands
//! stand here as the client sent them, without translation: apply is a pure function of the state
//! and the entry, whose time and seed stand in for the clock and for chance.
//!
//! **Proposals travel.** A node that does not lead encodes its clients' writes as a proposal
//! ([`ProposalWriter`]) and sends these bytes; the leader looks at the heads alone
//! ([`split_proposals`]) and copies the bytes into an entry ([`EntryWriter::append_encoded`]). The
//! length of the items lets it, and whoever skips a proposal, pass over them.
//!
//! **Sequences.** An origin counts its proposals from 1. The floor says that all of them up to it
//! are finished there and will not be sent again, so `floor < sequence`, and
//! `sequence - floor <= MAX_OPEN_PROPOSALS` bounds what everybody has to remember of an origin. A
//! proposal that breaks this is malformed.
//!
//! **Proxied items** are reads and writes alike of a client whose node is no member of the group.
//! Every replica runs all of them and keeps the replies ([`Origins`](super::Origins)).
//!
//! **Authors** are named only where a client does not want to hear of its own changes, so that its
//! node, when it is told of them, can tell them from those of others. No state depends on it.
//!
//! **Version 4** had no AUTHOR. **Version 3** had no REFUSE_GROWTH. **Version 2** had no group in
//! its GENESIS, for there was only group 0, and left reads out of transactions; nothing was fenced
//! then. **Version 1**, which single nodes wrote, had neither floor nor length, counted sequences
//! from 0 and never sent anything twice. Its sequence `n` is read as sequence `n + 1` with floor
//! `n`.
//!
//! A decoder failure means that the bytes were written by another version, by nobody, or by a peer
//! gone wrong. No bytes make the decoder panic or take more memory than a small multiple of theirs;
//! whether bytes were damaged is the concern of the log and of the links, which carry checksums.

mod read;
#[cfg(test)]
mod tests;
mod write;

pub use read::{
    EntryVisitor, ProposalHead, Proposals, decode, decode_head, decode_proposal,
    decode_proposal_head, split_proposals,
};
pub use write::{EntryWriter, ProposalWriter};

use bailiwick_frame::Args;

use crate::keyspace::WatchState;

/// Version of this format, the one that is written. It and all versions from 1 on are read.
pub const ENTRY_VERSION: u8 = 5;

/// How far a proposal's sequence may be above its floor.
pub const MAX_OPEN_PROPOSALS: u64 = 1 << 20;

/// Bytes before the items of a proposal.
pub const PROPOSAL_HEAD_BYTES: usize = 4 + 8 + 8 + 8 + 4 + 4;

const COMMAND: u8 = 1;
const TRANSACTION: u8 = 2;
const EXPIRE: u8 = 3;
const EVICT: u8 = 4;
const GENESIS: u8 = 5;
const SEAL: u8 = 6;
const DIGEST: u8 = 7;
const PROXIED_COMMAND: u8 = 8;
const PROXIED_TRANSACTION: u8 = 9;
const REFUSE_GROWTH: u8 = 10;
const AUTHOR: u8 = 11;

const STEP_COMMAND: u8 = 0;
const STEP_ANSWERED: u8 = 1;

/// The bit that marks the node of an origin that has its proposals executed by a group of which it
/// need not be a member. Ids of nodes are below it.
pub const PROXIED: u32 = 0x8000_0000;

/// Who proposed something: a node in one of its lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Origin {
    /// The node's number.
    pub node: u32,
    /// Counts the node's starts.
    pub incarnation: u64,
}

impl Origin {
    /// Whether the group keeps what it answers to this origin.
    #[must_use]
    pub fn is_proxied(self) -> bool {
        self.node & PROXIED != 0
    }
}

/// One step of a proxied transaction.
#[derive(Clone, Copy)]
pub enum ProxiedStep<'a> {
    /// A command for this database.
    Command(usize, Args<'a>),
    /// A command that has run already, and its reply.
    Answered(&'a [u8]),
}

/// The time and chance of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryHead {
    /// Log time in milliseconds since 1970; never runs back from entry to entry.
    pub time_ms: i64,
    /// Where the random sequence of the entry's commands starts.
    pub seed: u64,
}

/// A key that a transaction watches, with what was seen of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    /// Its database.
    pub database: usize,
    /// The key.
    pub key: Vec<u8>,
    /// Its state when WATCH was executed.
    pub state: WatchState,
}
