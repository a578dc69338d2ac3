//! Applies decoded entries: what a recovering node and every replica of a group does.
//!
//! Proposals that the log holds a second time are skipped. A proposal of this very node can be
//! taken over by whoever still holds its requests, to run them through the same [`Applier`] and
//! answer the clients; for everything else the replies are thrown away.
//!
//! Every error is a fault: the entry is half applied, and the node must stop.

use bailiwick_frame::{Args, Protocol};
use bailiwick_replication::{ConfigurationId, GroupId, LogIndex};

use super::proxied::KnownStep;
use super::{
    Admission, Applier, DecodeError, Divergence, EntryVisitor, MAX_DATABASES, Member, Origin,
    ProxiedStep, State, Watched, decode, decode_head, proxied,
};
use crate::commands::{self, Command, Counters, Known};
use crate::group::planted::{self, Planted};
use crate::keyspace::{AccessClock, AccessPolicy};

/// May take over a new proposal: true if it has run the items itself, each in its place.
pub type TakeOver<'a> = dyn FnMut(&mut Applier<'_>, Origin, u64) -> bool + 'a;

/// Feeds entries to a state.
#[derive(Default)]
pub struct Replay {
    replies: Vec<u8>,
    proxied: Vec<(Origin, u64)>,
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
    /// The entry is well formed, but does not fit what stands before it in the log.
    #[error("log entry {index} does not fit the log before it: {what}")]
    Unfit {
        /// The entry's place in the log.
        index: u64,
        /// What does not fit.
        what: &'static str,
    },
    /// This replica holds other data than the one that led when the digest was logged.
    #[error(
        "the data of this node differs from the leader's after log entry {index} (digest \
         {ours:016x} here, {theirs:016x} there; found at entry {found_at}); one of the two has \
         suffered damage in memory or on disk, or runs another version: compare them with DEBUG \
         DIGEST, then replace the wrong one"
    )]
    Diverged {
        /// The entry after which the digests were taken.
        index: u64,
        /// The entry that held the leader's.
        found_at: u64,
        /// This replica's digest.
        ours: u64,
        /// The leader's.
        theirs: u64,
    },
}

impl Replay {
    /// Applies the entry at `index`, which must be the one after `state.applied`. Entries record
    /// accesses by `policy`, and `counters` count what happens.
    pub fn apply(
        &mut self,
        state: &mut State,
        index: LogIndex,
        entry: &[u8],
        policy: AccessPolicy,
        counters: &Counters,
    ) -> Result<(), ReplayError> {
        let mut nobody = |_: &mut Applier<'_>, _: Origin, _: u64| false;
        let applied = self.apply_with(state, index, entry, policy, counters, &mut nobody);
        self.proxied.clear();
        applied
    }

    /// The proxied proposals in what [`Replay::apply_with`] has applied since the last call, those
    /// included that were repetitions: whoever waits for them can be told what
    /// [`Origins::reply`](super::Origins::reply) has kept.
    pub fn take_proxied(&mut self) -> Vec<(Origin, u64)> {
        std::mem::take(&mut self.proxied)
    }

    /// Like [`Replay::apply`], but offers each proposal that is applied for the first time, unless
    /// it is proxied, to `take_over`.
    pub fn apply_with(
        &mut self,
        state: &mut State,
        index: LogIndex,
        entry: &[u8],
        policy: AccessPolicy,
        counters: &Counters,
        take_over: &mut TakeOver<'_>,
    ) -> Result<(), ReplayError> {
        let failed = |source| ReplayError::Decode {
            index: index.0,
            source,
        };
        let head = decode_head(entry).map_err(failed)?;
        if head.time_ms < state.time_ms {
            return Err(Fault::Unfit("its time is earlier").at(index));
        }
        let clock = AccessClock::new(policy, head.time_ms, head.seed);
        let mut visitor = Visitor {
            applier: state.begin(index, head, &clock, counters),
            replies: &mut self.replies,
            proxied: &mut self.proxied,
            kept: Vec::new(),
            keeps: None,
            take_over,
            fault: None,
        };
        decode(entry, &mut visitor).map_err(failed)?;
        visitor.end_proposal();
        match visitor.fault {
            Some(fault) => Err(fault.at(index)),
            None => {
                visitor.applier.finish();
                Ok(())
            }
        }
    }
}

/// A [`ReplayError`] without the place.
enum Fault {
    UnknownCommand(String),
    Unfit(&'static str),
    Diverged(Divergence),
}

impl Fault {
    fn at(self, index: LogIndex) -> ReplayError {
        let found_at = index.0;
        match self {
            Self::UnknownCommand(name) => ReplayError::UnknownCommand {
                index: found_at,
                name,
            },
            Self::Unfit(what) => ReplayError::Unfit {
                index: found_at,
                what,
            },
            Self::Diverged(divergence) => ReplayError::Diverged {
                index: divergence.index.0,
                found_at,
                ours: divergence.ours,
                theirs: divergence.theirs,
            },
        }
    }
}

struct Visitor<'a, 'b> {
    applier: Applier<'a>,
    replies: &'a mut Vec<u8>,
    /// All proxied proposals, new or not.
    proxied: &'a mut Vec<(Origin, u64)>,
    /// Replies of the proxied proposal whose items are coming.
    kept: Vec<u8>,
    /// That proposal.
    keeps: Option<(Origin, u64)>,
    take_over: &'a mut TakeOver<'b>,
    /// The first fault; nothing is applied behind it.
    fault: Option<Fault>,
}

impl Visitor<'_, '_> {
    fn find(&mut self, args: Args<'_>) -> Option<Known> {
        if args.is_empty() {
            self.fault = Some(Fault::Unfit("it holds a command without a name"));
            return None;
        }
        let found = commands::lookup_logged(args).ok();
        if found.is_none() {
            let name = args.get(0).unwrap_or_default();
            let name = String::from_utf8_lossy(name).into_owned();
            self.fault = Some(Fault::UnknownCommand(name));
        }
        found
    }

    fn run(&mut self, command: &Command, database: usize, args: Args<'_>) {
        self.replies.clear();
        // A command that was refused when it was first applied is refused again.
        let _ = self
            .applier
            .command(command, database, args, Protocol::Resp2, self.replies);
    }

    /// Keeps the replies of a proxied proposal, whose last item has come.
    fn end_proposal(&mut self) {
        let kept = std::mem::take(&mut self.kept);
        if let Some((origin, sequence)) = self.keeps.take() {
            self.applier.keep_reply(origin, sequence, kept.into());
        }
    }

    /// Whether to go on with an item that names these databases. The entry may come from a peer, so
    /// they need not exist.
    fn is_fit(&mut self, databases: impl IntoIterator<Item = usize>) -> bool {
        let present = self.applier.keyspace().databases();
        if self.fault.is_none() && databases.into_iter().any(|database| database >= present) {
            self.fault = Some(Fault::Unfit("it names a database that does not exist"));
        }
        self.fault.is_none()
    }
}

impl EntryVisitor for Visitor<'_, '_> {
    fn proposal(&mut self, origin: Origin, sequence: u64, floor: u64) -> bool {
        if self.fault.is_some() {
            return false;
        }
        self.end_proposal();
        let mut admission = self.applier.admit(origin, sequence, floor);
        if origin.is_proxied() {
            if planted::is_on(Planted::ParcelExecutedTwice) {
                admission = Admission::New;
            }
            self.proxied.push((origin, sequence));
            self.keeps = Some((origin, sequence)).filter(|_| admission == Admission::New);
            return self.keeps.is_some();
        }
        match admission {
            Admission::Duplicate => false,
            Admission::New => !(self.take_over)(&mut self.applier, origin, sequence),
        }
    }

    fn command(&mut self, database: usize, args: Args<'_>) {
        if self.is_fit([database])
            && let Some(command) = self.find(args)
        {
            self.run(&command, database, args);
            self.applier.serve();
        }
    }

    fn transaction(&mut self, watched: &[Watched], commands: &[(usize, Args<'_>)]) {
        let databases = watched.iter().map(|watched| watched.database);
        let databases = databases.chain(commands.iter().map(|&(database, _)| database));
        if !self.is_fit(databases) {
            return;
        }
        let mut found = Vec::with_capacity(commands.len());
        for &(_, args) in commands {
            match self.find(args) {
                Some(command) => found.push(command),
                None => return,
            }
        }
        let all = found.iter().zip(commands);
        let steps = all.clone().map(|(command, &(_, args))| (&**command, args));
        let has_strayed = self.applier.stray_of_transaction(watched, steps).is_some();
        if has_strayed || !self.applier.is_unchanged(watched) {
            return;
        }
        // Nobody waits for what the reads find, and they change nothing.
        for (command, &(database, args)) in all.filter(|(command, _)| command.is_write()) {
            self.run(command, database, args);
        }
        self.applier.serve();
    }

    fn proxied(&mut self, protocol: Protocol, database: usize, args: Args<'_>) {
        if self.is_fit([database])
            && let Some(command) = self.find(args)
        {
            let at = (protocol, database);
            proxied::run_command(&mut self.applier, &command, at, args, &mut self.kept);
            self.applier.serve();
        }
    }

    fn proxied_transaction(
        &mut self,
        protocol: Protocol,
        watched: &[Watched],
        steps: &[ProxiedStep<'_>],
    ) {
        let databases = steps.iter().filter_map(|step| match step {
            ProxiedStep::Command(database, _) => Some(*database),
            ProxiedStep::Answered(_) => None,
        });
        let databases = databases.chain(watched.iter().map(|watched| watched.database));
        if !self.is_fit(databases) {
            return;
        }
        let mut known = Vec::with_capacity(steps.len());
        for step in steps {
            match KnownStep::of(step, |args| self.find(args)) {
                Some(step) => known.push(step),
                None => return,
            }
        }
        let (applier, kept) = (&mut self.applier, &mut self.kept);
        proxied::run_transaction(applier, protocol, watched, &known, kept);
        self.applier.serve();
    }

    fn refuse_growth(&mut self) {
        if self.is_fit([]) {
            self.applier.refuse_growth();
        }
    }

    fn author(&mut self, number: u64) {
        self.applier.set_author(number);
    }

    fn expire(&mut self, limit: u64) {
        if self.is_fit([]) {
            self.applier.expire(limit);
            self.applier.serve();
        }
    }

    fn evict(&mut self, database: usize, key: &[u8]) {
        if self.is_fit([database]) {
            self.applier.evict(database, key);
            self.applier.serve();
        }
    }

    fn genesis(&mut self, databases: usize, hash_seed: u64, group: GroupId) {
        if !self.is_fit([]) {
            return;
        }
        if self.applier.keyspace().databases() > 0 || databases > MAX_DATABASES {
            self.fault = Some(Fault::Unfit("it begins the log once more, or too large"));
            return;
        }
        self.applier.genesis(databases, hash_seed, group);
    }

    fn seal(&mut self, configuration: ConfigurationId, members: &[Member]) {
        if self.is_fit([]) {
            self.applier.seal(configuration, members);
        }
    }

    fn digest(&mut self, index: LogIndex, digest: u64) {
        if self.is_fit([])
            && let Err(divergence) = self.applier.compare(index, digest)
        {
            self.fault = Some(Fault::Diverged(divergence));
        }
    }
}

#[cfg(test)]
#[path = "replay_tests.rs"]
mod tests;
