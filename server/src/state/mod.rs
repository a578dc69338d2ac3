//! The state machine of a group: a keyspace and the log position it stands for.
//!
//! **Apply is a pure function of (state, entry).** Time and randomness come from the entry's head,
//! arguments from its items, and nothing else is looked at; so whoever applies the same log holds
//! the same keyspace. Two paths lead here and do the same: the node that proposed an entry applies
//! the requests it still holds (and answers them), everybody else, and a node that recovers,
//! decodes the entry. Both go through [`Applier`].
//!
//! Besides the data, the state knows which proposals it has applied ([`Origins`]), who takes part
//! in the group ([`Configuration`]), and what it added up to at certain entries, to be compared
//! with other replicas.
//!
//! Reads that stand behind a write in a pipeline are no part of the entry: the proposing node runs
//! them at their place during apply, and as they change nothing, nobody else needs to.

mod checkpoint;
mod codec;
mod configuration;
mod digest;
mod entry;
mod examine;
mod handoff;
mod origins;
mod proxied;
mod record;
mod replay;
#[cfg(test)]
mod restart_tests;
mod serve;
#[cfg(test)]
pub(crate) mod testing;
mod waiters;

use bailiwick_frame::{Args, Encoder, Protocol};
use bailiwick_replication::{ConfigurationId, GroupId, LogIndex};
use bytes::Bytes;

pub use bailiwick_replication::consensus::Member;
pub use checkpoint::{CONTENT_VERSION, ContentWriter, FrozenState, RestoreError, Restorer};
pub(crate) use codec::Reader;
pub use codec::{DecodeError, put_bytes, put_tagged, put_varint};
pub use configuration::{Configuration, MAX_MEMBERS};
pub(crate) use configuration::{put_member_list, put_members, take_member_list, take_members};
pub use digest::{DIGEST_EVERY, REMEMBERED_DIGESTS};
pub use entry::{
    ENTRY_VERSION, EntryHead, EntryVisitor, EntryWriter, MAX_OPEN_PROPOSALS, Origin,
    PROPOSAL_HEAD_BYTES, PROXIED, ProposalHead, ProposalWriter, Proposals, ProxiedStep, Watched,
    decode, decode_head, decode_proposal, decode_proposal_head, split_proposals,
};
pub use examine::{examine_proposal, is_of_clients};
pub(crate) use handoff::import_chunk;
pub use handoff::{ExportPosition, Exported};
pub use origins::{Admission, Origins};
pub use proxied::{ProxiedReply, decode_replies};
pub use replay::{Replay, ReplayError};
pub use waiters::{Awaits, Kind, Waiter, WaiterId, Waiters, Woken};

use crate::authority::{Authority, Place, Stray};
use crate::commands::touch::{Author, What};
use crate::commands::{
    Calls, Command, CommandError, Counters, Flag, Group, Handler, Keys, Outcome, ReadContext,
    Scripts, Spread, WriteContext, events,
};
use crate::keyspace::{AccessClock, Keyspace};
use digest::Digests;

/// More logical databases than a log may begin with.
pub const MAX_DATABASES: usize = 1024;

/// What a group's log adds up to.
///
/// Invariants: `keyspace` is the result of applying the entries `1..=applied` to an empty one, and
/// `time_ms` is the time of the last of them; `keyspace` has a realm for each prefix that
/// `authority` owns or that is arriving, and no other.
pub struct State {
    /// The data.
    pub keyspace: Keyspace,
    /// What of the data the group may serve.
    pub authority: Authority,
    /// The scripts that the group knows.
    pub scripts: Scripts,
    /// The last entry that was applied.
    pub applied: LogIndex,
    /// Log time: the time of the last entry.
    pub time_ms: i64,
    /// Which proposals have been applied.
    pub origins: Origins,
    /// The membership that the last SEAL began; `None` before the first one.
    pub configuration: Option<Configuration>,
    /// Which clients wait for keys.
    pub waiters: Waiters,
    /// No part of a checkpoint: who loads one has nothing to compare yet.
    digests: Digests,
}

/// Another replica's state differed from this one after the same entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Divergence {
    /// The entry after which the digests were taken.
    pub index: LogIndex,
    /// This replica's digest.
    pub ours: u64,
    /// The digest in the log.
    pub theirs: u64,
}

/// A keyspace with a realm for each prefix that the group serves or takes in.
fn empty_keyspace(databases: usize, seed: u64, authority: &Authority) -> Keyspace {
    let mut keyspace = Keyspace::without_realms(databases, seed);
    for (prefix, domain) in authority.domains() {
        if let Some(visibility) = domain.visibility() {
            keyspace.add_realm(prefix, visibility);
        }
    }
    keyspace
}

/// As [`State::stray`], of a group with this authority.
pub(crate) fn stray_of(authority: &Authority, command: &Command, args: Args<'_>) -> Option<Stray> {
    if command.keys == Keys::None {
        let concerns_keys = !command.has(Flag::Internal) && command.spread != Spread::Everywhere;
        let prefix = authority.frozen().filter(|_| concerns_keys)?.to_vec();
        return Some(Stray::Held { prefix });
    }
    let stray_at = |index| Stray::of(authority.place(args.arg(index)));
    if command.keys == Keys::FIRST {
        return stray_at(1);
    }
    command.keys.indexes(args).into_iter().find_map(stray_at)
}

impl State {
    /// The state before the first entry. It has no database until the genesis item creates them.
    #[must_use]
    pub fn empty() -> Self {
        Self {
            keyspace: Keyspace::new(0, 0),
            authority: Authority::new(GroupId(0)),
            scripts: Scripts::default(),
            applied: LogIndex(0),
            time_ms: 0,
            origins: Origins::default(),
            configuration: None,
            waiters: Waiters::default(),
            digests: Digests::default(),
        }
    }

    /// Panics if an invariant does not hold. Slow; for tests.
    pub fn check_invariants(&self) {
        self.authority.check_invariants();
        self.keyspace.check_invariants();
        self.origins.check_invariants();
        self.waiters.check_invariants();
        let domains = self.authority.domains();
        let expected = domains.filter_map(|(prefix, domain)| Some((prefix, domain.visibility()?)));
        assert_eq!(self.keyspace.realms(), expected.collect());
    }

    /// The latest digest and the entry after which it was taken, for a leader to put into the log.
    /// `None` until the first multiple of [`DIGEST_EVERY`] since the start.
    #[must_use]
    pub fn last_digest(&self) -> Option<(LogIndex, u64)> {
        self.digests.last()
    }

    /// Why a command must not run on this state: one of its keys is not served by the group. The
    /// keys are those that `COMMAND GETKEYS` finds. What names no key concerns all of them, and
    /// has to wait while some are frozen.
    #[must_use]
    #[inline]
    pub fn stray(&self, command: &Command, args: Args<'_>) -> Option<Stray> {
        if self.authority.is_open() {
            return None;
        }
        stray_of(&self.authority, command, args)
    }

    /// What a command that only reads sees of this state, at this time. It does not wait for keys.
    #[must_use]
    #[inline]
    pub fn read_context<'a>(
        &'a self,
        database: usize,
        now_ms: i64,
        clock: &'a AccessClock,
        counters: &'a Counters,
    ) -> ReadContext<'a> {
        ReadContext {
            keyspace: &self.keyspace,
            authority: &self.authority,
            scripts: &self.scripts,
            database,
            now_ms,
            clock,
            touch: true,
            counters,
            may_wait: false,
            chance: None,
        }
    }

    /// Starts to apply the entry with this head; the entry's index must follow the last one. End it
    /// with [`Applier::finish`].
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
            state: self,
            head,
            logged,
            ordinal: 0,
            refuses_growth: false,
            authority_changed: false,
            is_proxied: false,
            clock,
            counters,
        }
    }
}

/// Applies the items of one entry in order.
pub struct Applier<'a> {
    state: &'a mut State,
    head: EntryHead,
    /// Whether there is an entry; without one nothing may change.
    logged: bool,
    /// Counts the writing commands of the entry, so that each has its own random sequence.
    ordinal: u64,
    /// Whether the leader found memory short when it made the entry.
    refuses_growth: bool,
    /// A command has run that may have changed which keys are served here.
    authority_changed: bool,
    /// The item that runs is of a node that need not be a member.
    is_proxied: bool,
    clock: &'a AccessClock,
    counters: &'a Counters,
}

impl Applier<'_> {
    /// The keyspace as it is at this point of the entry.
    #[must_use]
    pub fn keyspace(&self) -> &Keyspace {
        &self.state.keyspace
    }

    /// Begins a proposal: whether its items are to be applied or have been already. The proposal
    /// counts as applied from here on.
    #[must_use]
    pub fn admit(&mut self, origin: Origin, sequence: u64, floor: u64) -> Admission {
        assert!(self.logged, "a proposal is admitted without a log entry");
        self.counters.touches.set_author(Author {
            node: origin.node & !PROXIED,
            life: origin.incarnation,
            number: 0,
        });
        if !self.state.waiters.is_empty()
            && let Some(before) = origin.incarnation.checked_sub(1)
        {
            // Nobody is there any more for whom an earlier life of this node waited.
            let (node, state) = (origin.node & !PROXIED, &mut *self.state);
            let awaited = &mut state.keyspace.awaited;
            state.waiters.forsake(node, before, true, awaited);
        }
        self.state.origins.admit(origin, sequence, floor)
    }

    /// Keeps what was answered to a proposal that [`Applier::admit`] has just let in.
    pub(super) fn keep_reply(&mut self, origin: Origin, sequence: u64, reply: Bytes) {
        self.state.origins.keep_reply(origin, sequence, reply);
    }

    /// Runs a command and writes its reply, be it an error. The error is returned too, for
    /// statistics; what has strayed is not run.
    pub fn command(
        &mut self,
        command: &Command,
        database: usize,
        args: Args<'_>,
        protocol: Protocol,
        out: &mut Vec<u8>,
    ) -> Outcome {
        let start = out.len();
        let touches = self.counters.touches.is_on();
        let first_touch = if touches {
            self.counters.touches.len()
        } else {
            0
        };
        let outcome = match self.state.stray(command, args) {
            Some(stray) => Err(CommandError::Stray(Box::new(stray))),
            None => self.run(command, database, args, &mut Encoder::new(out, protocol)),
        };
        if touches {
            events::name(command, args, &self.counters.touches, first_touch);
        }
        if let Err(error) = &outcome {
            out.truncate(start);
            Encoder::new(out, protocol).error(&error.to_string());
        }
        outcome
    }

    /// Where is noted what scripts call.
    #[must_use]
    pub fn calls(&self) -> &Calls {
        &self.counters.calls
    }

    /// What follows in this proposal is done by this client of its node
    /// ([`Author::number`]); 0 for nobody.
    pub fn set_author(&self, number: u64) {
        self.counters.touches.set_author_number(number);
    }

    /// Why a transaction must not run, be it only because of one of its keys, read, written or
    /// watched.
    #[must_use]
    pub fn stray_of_transaction<'b>(
        &self,
        watched: &[Watched],
        mut commands: impl Iterator<Item = (&'b Command, Args<'b>)>,
    ) -> Option<Stray> {
        let state = &*self.state;
        if state.authority.is_open() {
            return None;
        }
        // Where a watched key is served elsewhere by now, nothing here tells whether it changed.
        let mut watched = watched
            .iter()
            .map(|watched| state.authority.place(&watched.key));
        watched
            .find_map(Stray::of)
            .or_else(|| commands.find_map(|(command, args)| state.stray(command, args)))
    }

    /// Whether everything that a transaction watches is as it was when it was watched.
    #[must_use]
    pub fn is_unchanged(&self, watched: &[Watched]) -> bool {
        watched.iter().all(|watched| {
            let now_ms = self.head.time_ms;
            let keyspace = &self.state.keyspace;
            keyspace.watch_state(watched.database, &watched.key, now_ms) == watched.state
        })
    }

    /// From here on proxied commands, and those of scripts, are refused if they need memory. The
    /// leader says so in the log, because only it looks at its settings.
    pub fn refuse_growth(&mut self) {
        self.refuses_growth = true;
    }

    /// Whether a proxied command is refused for want of memory.
    pub(super) fn lacks_memory_for(&self, command: &Command) -> bool {
        self.refuses_growth && command.may_grow()
    }

    /// Removes up to `limit` keys that have expired.
    pub fn expire(&mut self, limit: u64) {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let touches = &self.counters.touches;
        let gone = |database: usize, key: &[u8]| touches.note(database, key, What::Expired);
        let keyspace = &mut self.state.keyspace;
        let removed = keyspace.remove_expired(self.head.time_ms, limit, gone);
        let expired = &self.counters.expired;
        expired.set(expired.get() + removed as u64);
    }

    /// Removes a key to make room, unless it has been frozen since it was chosen.
    pub fn evict(&mut self, database: usize, key: &[u8]) {
        if self.state.authority.place(key) == Place::Here
            && self.state.keyspace.remove(database, key).is_some()
        {
            let evicted = &self.counters.evicted;
            evicted.set(evicted.get() + 1);
            self.counters.touches.note(database, key, What::Evicted);
        }
    }

    /// Creates the databases of a new log, which is that of `group`.
    pub fn genesis(&mut self, databases: usize, hash_seed: u64, group: GroupId) {
        let present = self.state.keyspace.databases();
        assert!(
            present == 0,
            "a log begins once, this one has {present} databases already"
        );
        let authority = Authority::new(group);
        self.state.keyspace = empty_keyspace(databases, hash_seed, &authority);
        self.state.authority = authority;
    }

    /// Remembers the next membership of the group, unless the group has gone beyond it. The rest of
    /// the entry still applies.
    pub fn seal(&mut self, configuration: ConfigurationId, members: &[Member]) {
        let present = self.state.configuration.as_ref();
        if present.is_some_and(|present| present.id >= configuration) {
            return;
        }
        self.state.configuration = Some(Configuration {
            id: configuration,
            members: members.to_vec(),
            sealed_at: self.state.applied,
        });
        let is_member = |node| {
            let mut nodes = members.iter().map(|member| member.node.0);
            nodes.any(|member| member == u64::from(node))
        };
        self.state.waiters.keep_for_all_but(is_member);
    }

    /// Compares a digest of the log with this replica's, if it remembers one for that index. An
    /// error is a fault that must stop the node.
    pub fn compare(&self, index: LogIndex, theirs: u64) -> Result<(), Divergence> {
        match self.state.digests.at(index) {
            Some(ours) if ours != theirs => Err(Divergence {
                index,
                ours,
                theirs,
            }),
            _ => Ok(()),
        }
    }

    /// Ends the entry: takes a digest of the state if it is time for one.
    pub fn finish(self) {
        let index = self.state.applied;
        if self.logged && index.0.is_multiple_of(DIGEST_EVERY) {
            let digest = digest::digest(self.state);
            self.state.digests.remember(index, digest);
        }
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
                // All steps of a handoff are such commands.
                let is_step = command.has(Flag::Internal) && command.group == Group::Cluster;
                self.authority_changed |= is_step && !self.state.waiters.is_empty();
                handler(&mut self.write_context(database), args, encoder)
            }
            Handler::Read(handler) => {
                let (now_ms, clock) = (self.head.time_ms, self.clock);
                let context = (self.state).read_context(database, now_ms, clock, self.counters);
                handler(&context, args, encoder)
            }
            Handler::Node(_) | Handler::Container => Err(CommandError::text(
                "ERR this command does not run in the log",
            )),
        }
    }

    /// What a writing command sees, which is the `ordinal`-th of the entry.
    fn write_context(&mut self, database: usize) -> WriteContext<'_> {
        WriteContext {
            keyspace: &mut self.state.keyspace,
            authority: &mut self.state.authority,
            scripts: &mut self.state.scripts,
            database,
            now_ms: self.head.time_ms,
            random: self.head.seed ^ self.ordinal.wrapping_mul(0xa076_1d64_78bd_642f),
            clock: self.clock,
            counters: self.counters,
            waiters: &mut self.state.waiters,
            may_wait: false,
            is_proxied: self.is_proxied,
            lacks_memory: self.refuses_growth,
        }
    }
}
