//! The state machine of a group: a keyspace and the log position it stands for.
//!
//! **Apply is a pure function of (state, entry).** Time and randomness come from the entry's head,
//! arguments from its items, and nothing else is looked at; so whoever applies the same log holds
//! the same keyspace. Two paths lead here and do the same: the node that proposed an entry applies
//! the requests it still holds (and answers them), everybody else, and a node that recovers,
//! decodes the entry. Both go through [`Applier`].
//!
//! Reads that stand behind a write in a pipeline are no part of the entry: the proposing node runs
//! them at their place during apply, and as they change nothing, nobody else needs to.

mod checkpoint;
mod entry;
mod replay;

use bailiwick_frame::{Args, Encoder, Protocol};
use bailiwick_replication::LogIndex;

pub use checkpoint::{CONTENT_VERSION, ContentWriter, FrozenState, RestoreError, Restorer};
pub use entry::{
    DecodeError, ENTRY_VERSION, EntryHead, EntryVisitor, EntryWriter, Origin, Watched, decode,
    decode_head, put_bytes, put_varint,
};
pub use replay::{Replay, ReplayError};

use crate::commands::{
    Command, CommandError, Counters, Handler, Outcome, ReadContext, WriteContext,
};
use crate::keyspace::{AccessClock, Keyspace};

/// What a group's log adds up to.
///
/// Invariant: `keyspace` is the result of applying the entries `1..=applied` to an empty one, and
/// `time_ms` is the time of the last of them.
pub struct State {
    /// The data.
    pub keyspace: Keyspace,
    /// The last entry that was applied.
    pub applied: LogIndex,
    /// Log time: the time of the last entry.
    pub time_ms: i64,
}

impl State {
    /// The state before the first entry. It has no database until the genesis item creates them.
    #[must_use]
    pub fn empty() -> Self {
        Self {
            keyspace: Keyspace::new(0, 0),
            applied: LogIndex(0),
            time_ms: 0,
        }
    }

    /// Starts to apply the entry with this head; the entry's index must follow the last one.
    pub fn begin<'a>(
        &'a mut self,
        index: LogIndex,
        head: EntryHead,
        clock: &'a AccessClock,
        counters: &'a Counters,
    ) -> Applier<'a> {
        assert!(
            index.0 == self.applied.0 + 1,
            "entry {} applied after entry {}",
            index.0,
            self.applied.0
        );
        assert!(
            head.time_ms >= self.time_ms,
            "log time ran back from {} to {} ms",
            self.time_ms,
            head.time_ms
        );
        self.applied = index;
        self.time_ms = head.time_ms;
        self.applier(head, true, clock, counters)
    }

    /// Runs reads as if in an entry with this head, without one. Writes are refused.
    pub fn begin_reading<'a>(
        &'a mut self,
        head: EntryHead,
        clock: &'a AccessClock,
        counters: &'a Counters,
    ) -> Applier<'a> {
        self.applier(head, false, clock, counters)
    }

    fn applier<'a>(
        &'a mut self,
        head: EntryHead,
        logged: bool,
        clock: &'a AccessClock,
        counters: &'a Counters,
    ) -> Applier<'a> {
        Applier {
            keyspace: &mut self.keyspace,
            head,
            logged,
            ordinal: 0,
            clock,
            counters,
        }
    }
}

/// Applies the items of one entry in order.
pub struct Applier<'a> {
    keyspace: &'a mut Keyspace,
    head: EntryHead,
    /// Whether there is an entry; without one nothing may change.
    logged: bool,
    /// Counts the writing commands of the entry, so that each has its own random sequence.
    ordinal: u64,
    clock: &'a AccessClock,
    counters: &'a Counters,
}

impl Applier<'_> {
    /// The keyspace as it is at this point of the entry.
    #[must_use]
    pub fn keyspace(&self) -> &Keyspace {
        self.keyspace
    }

    /// Runs a command and writes its reply, be it an error. The error is returned too, for
    /// statistics.
    pub fn command(
        &mut self,
        command: &Command,
        database: usize,
        args: Args<'_>,
        protocol: Protocol,
        out: &mut Vec<u8>,
    ) -> Outcome {
        let start = out.len();
        let outcome = self.run(command, database, args, &mut Encoder::new(out, protocol));
        if let Err(error) = &outcome {
            out.truncate(start);
            Encoder::new(out, protocol).error(&error.to_string());
        }
        outcome
    }

    /// Whether everything that a transaction watches is as it was when it was watched.
    #[must_use]
    pub fn is_unchanged(&self, watched: &[Watched]) -> bool {
        watched.iter().all(|watched| {
            let now_ms = self.head.time_ms;
            let keyspace = &self.keyspace;
            keyspace.watch_state(watched.database, &watched.key, now_ms) == watched.state
        })
    }

    /// Removes up to `limit` keys that have expired.
    pub fn expire(&mut self, limit: u64) {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let removed = self.keyspace.remove_expired(self.head.time_ms, limit);
        let expired = &self.counters.expired;
        expired.set(expired.get() + removed as u64);
    }

    /// Removes a key to make room.
    pub fn evict(&mut self, database: usize, key: &[u8]) {
        if self.keyspace.remove(database, key).is_some() {
            let evicted = &self.counters.evicted;
            evicted.set(evicted.get() + 1);
        }
    }

    /// Creates the databases of a new log.
    pub fn genesis(&mut self, databases: usize, hash_seed: u64) {
        assert!(
            self.keyspace.databases() == 0,
            "a log begins once, this one has {} databases already",
            self.keyspace.databases()
        );
        *self.keyspace = Keyspace::new(databases, hash_seed);
    }

    fn run(
        &mut self,
        command: &Command,
        database: usize,
        args: Args<'_>,
        encoder: &mut Encoder<'_>,
    ) -> Outcome {
        match command.handler {
            Handler::Write(handler) => {
                assert!(self.logged, "'{}' runs without a log entry", command.name);
                self.ordinal += 1;
                let mut context = WriteContext {
                    keyspace: self.keyspace,
                    database,
                    now_ms: self.head.time_ms,
                    random: self.head.seed ^ self.ordinal.wrapping_mul(0xa076_1d64_78bd_642f),
                    clock: self.clock,
                    counters: self.counters,
                };
                handler(&mut context, args, encoder)
            }
            Handler::Read(handler) => {
                let context = ReadContext {
                    keyspace: self.keyspace,
                    database,
                    now_ms: self.head.time_ms,
                    clock: self.clock,
                    touch: true,
                    counters: self.counters,
                };
                handler(&context, args, encoder)
            }
            Handler::Node(_) | Handler::Container => Err(CommandError::text(
                "ERR this command does not run in the log",
            )),
        }
    }
}
