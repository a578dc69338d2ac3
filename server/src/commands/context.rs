//! What a command may see while it runs; what it may change besides is in `write_context`.

use std::cell::{Cell, RefCell};

use super::calls::Calls;
use super::touch::{Touches, What};
use super::{CommandError, Scripts, StringRef};
use crate::authority::Authority;
use crate::keyspace::{AccessClock, Aggregate, Entry, Keyspace, ValueRef};

/// What happened while commands ran; statistics, no part of the state.
#[derive(Debug, Default)]
pub struct Counters {
    /// Look-ups that found their key.
    pub hits: Cell<u64>,
    /// Look-ups that did not.
    pub misses: Cell<u64>,
    /// Keys removed because they had expired.
    pub expired: Cell<u64>,
    /// Keys removed to make room.
    pub evicted: Cell<u64>,
    /// Changes to the keyspace.
    pub changes: Cell<u64>,
    /// What was done to which keys, for those who want to be told.
    pub touches: Touches,
    /// What scripts called, where notes are taken of it.
    pub calls: Calls,
    /// What scripts published, in order.
    pub published: RefCell<Vec<Published>>,
}

/// A message that a script published, for whoever leads the group to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// By SPUBLISH.
    pub is_sharded: bool,
    /// The channel.
    pub channel: Box<[u8]>,
    /// The message.
    pub payload: Box<[u8]>,
}

impl Counters {
    pub(super) fn add(cell: &Cell<u64>, count: u64) {
        cell.set(cell.get() + count);
    }
}

/// The view of a command that changes nothing.
pub struct ReadContext<'a> {
    /// All databases.
    pub keyspace: &'a Keyspace,
    /// What of them the group serves.
    pub authority: &'a Authority,
    /// The scripts that the group knows.
    pub scripts: &'a Scripts,
    /// The connection's database.
    pub database: usize,
    /// The time that decides what has expired: the leader's for a local read, the entry's for a
    /// read in a proposal.
    pub now_ms: i64,
    /// Records accesses.
    pub clock: &'a AccessClock,
    /// Whether reads count as accesses; off under `CLIENT NO-TOUCH`.
    pub touch: bool,
    /// Statistics.
    pub counters: &'a Counters,
    /// Whether the client may be made to wait for keys.
    pub may_wait: bool,
    /// Where random numbers come from that must be the same on every replica, for what a script
    /// reads; otherwise they are the node's own.
    pub chance: Option<&'a Cell<u64>>,
}

impl<'a> ReadContext<'a> {
    /// The entry of `key`, counted as an access, unless it is absent or has expired.
    pub fn get(&self, key: &[u8]) -> Option<&'a Entry> {
        let found = self.peek(key);
        match found {
            Some(entry) => {
                Counters::add(&self.counters.hits, 1);
                if self.touch {
                    self.clock.touch(entry);
                }
            }
            None => self.note_miss(key),
        }
        found
    }

    fn note_miss(&self, key: &[u8]) {
        Counters::add(&self.counters.misses, 1);
        let touches = &self.counters.touches;
        touches.note(self.database, key, What::Missed);
    }

    /// The entry of `key` for a command that asks about the key, not for its value: counted as a
    /// look-up, but not as an access.
    pub fn look(&self, key: &[u8]) -> Option<&'a Entry> {
        let found = self.peek(key);
        match found {
            Some(_) => Counters::add(&self.counters.hits, 1),
            None => self.note_miss(key),
        }
        found
    }

    /// The entry of `key` without leaving a trace of the access.
    #[must_use]
    pub fn peek(&self, key: &[u8]) -> Option<&'a Entry> {
        self.keyspace.get(self.database, key, self.now_ms)
    }

    /// The string at `key`; `WRONGTYPE` if it is something else.
    pub fn string(&self, key: &[u8]) -> Result<Option<StringRef<'a>>, CommandError> {
        self.get(key).map(StringRef::of).transpose()
    }

    /// The value of type `T` at `key`; `WRONGTYPE` if it is something else.
    pub fn object<T: Aggregate>(&self, key: &[u8]) -> Result<Option<&'a T>, CommandError> {
        self.get(key).map(held::<T>).transpose()
    }

    /// The next number of a random sequence that is no part of the replicated state, which a read
    /// does not change.
    #[must_use]
    pub fn random(&self) -> u64 {
        match self.chance {
            None => self.clock.random(),
            Some(chance) => {
                let mut state = chance.get();
                let number = next_random(&mut state);
                chance.set(state);
                number
            }
        }
    }
}

/// A step of SplitMix64.
pub(super) fn next_random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// The value of type `T` in `entry`; `WRONGTYPE` if it holds something else.
pub(super) fn held<T: Aggregate>(entry: &Entry) -> Result<&T, CommandError> {
    match entry.value() {
        ValueRef::Object(object) => T::of(object).ok_or(CommandError::WrongType),
        ValueRef::Int(_) | ValueRef::String(_) => Err(CommandError::WrongType),
    }
}

/// Whether there is nothing, or a value of type `T` for which this is so.
pub(super) fn is_absent_or<T: Aggregate>(
    entry: Option<&Entry>,
    is_so: impl FnOnce(&T) -> bool,
) -> bool {
    entry.is_none_or(|entry| held(entry).is_ok_and(is_so))
}
