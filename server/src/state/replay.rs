//! Applies decoded entries: what a recovering node, and later every follower, does.

use bailiwick_frame::{Args, Protocol};
use bailiwick_replication::LogIndex;

use super::{Applier, DecodeError, EntryVisitor, Origin, State, Watched, decode, decode_head};
use crate::commands::{self, Counters};
use crate::keyspace::AccessClock;

/// Feeds entries to a state, throwing the replies away.
#[derive(Default)]
pub struct Replay {
    replies: Vec<u8>,
    counters: Counters,
}

/// Why an entry could not be applied.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The entry cannot be decoded.
    #[error("log entry {index}: {source}")]
    Decode {
        /// The entry's place in the log.
        index: u64,
        /// What is wrong.
        source: DecodeError,
    },
    /// The log holds a command that this version does not have.
    #[error(
        "log entry {index} holds the command '{name}', which this version does not know; \
         start the version that wrote this log, or a newer one"
    )]
    UnknownCommand {
        /// The entry's place in the log.
        index: u64,
        /// The command's name.
        name: String,
    },
}

impl Replay {
    /// Applies the entry at `index`, which must be the one after `state.applied`.
    pub fn apply(
        &mut self,
        state: &mut State,
        index: LogIndex,
        entry: &[u8],
    ) -> Result<(), ReplayError> {
        let failed = |source| ReplayError::Decode {
            index: index.0,
            source,
        };
        let head = decode_head(entry).map_err(failed)?;
        let clock = AccessClock::new(Default::default(), head.time_ms, head.seed as u32);
        let mut visitor = Visitor {
            applier: state.begin(index, head, &clock, &self.counters),
            replies: &mut self.replies,
            unknown: None,
        };
        decode(entry, &mut visitor).map_err(failed)?;
        match visitor.unknown {
            Some(name) => Err(ReplayError::UnknownCommand {
                index: index.0,
                name,
            }),
            None => Ok(()),
        }
    }
}

struct Visitor<'a> {
    applier: Applier<'a>,
    replies: &'a mut Vec<u8>,
    unknown: Option<String>,
}

impl Visitor<'_> {
    fn run(&mut self, database: usize, args: Args<'_>) {
        let Ok(found) = commands::lookup(args) else {
            let name = args.get(0).unwrap_or_default();
            self.unknown = Some(String::from_utf8_lossy(name).into_owned());
            return;
        };
        self.replies.clear();
        // A command that was refused when it was first applied is refused again.
        let _ = self
            .applier
            .command(&found, database, args, Protocol::Resp2, self.replies);
    }
}

impl EntryVisitor for Visitor<'_> {
    fn proposal(&mut self, _: Origin, _: u64) {}

    fn command(&mut self, database: usize, args: Args<'_>) {
        self.run(database, args);
    }

    fn transaction(&mut self, watched: &[Watched], commands: &[(usize, Args<'_>)]) {
        if self.applier.is_unchanged(watched) {
            for &(database, args) in commands {
                self.run(database, args);
            }
        }
    }

    fn expire(&mut self, limit: u64) {
        self.applier.expire(limit);
    }

    fn evict(&mut self, database: usize, key: &[u8]) {
        self.applier.evict(database, key);
    }

    fn genesis(&mut self, databases: usize, hash_seed: u64) {
        self.applier.genesis(databases, hash_seed);
    }
}
