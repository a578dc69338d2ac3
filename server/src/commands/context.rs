//! What a command may see and touch while it runs.

use std::cell::Cell;

use bailiwick_frame::Args;

use super::touch::{Touches, What};
use super::{CommandError, Outcome, Scripts};
use crate::authority::Authority;
use crate::keyspace::{
    AccessClock, Aggregate, Edit, Entry, Expiry, Keyspace, NewValue, Object, ValueRef,
};
use crate::state::Waiters;

/// The longest string a command may build, in bytes: Redis's `proto-max-bulk-len`.
const STRING_MAX_BYTES: usize = 512 * 1024 * 1024;

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
}

impl Counters {
    fn add(cell: &Cell<u64>, count: u64) {
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

/// The view of a command that may change the keyspace.
pub struct WriteContext<'a> {
    /// All databases.
    pub keyspace: &'a mut Keyspace,
    /// What of them the group serves.
    pub authority: &'a mut Authority,
    /// The scripts that the group knows.
    pub scripts: &'a mut Scripts,
    /// The connection's database.
    pub database: usize,
    /// The log entry's time.
    pub now_ms: i64,
    /// State of the random sequence that the log entry seeds.
    pub random: u64,
    /// Records accesses.
    pub clock: &'a AccessClock,
    /// Statistics.
    pub counters: &'a Counters,
    /// Who waits for keys.
    pub waiters: &'a mut Waiters,
    /// Whether the client may be made to wait for keys.
    pub may_wait: bool,
    /// The client's node need not be a member of the group.
    pub is_proxied: bool,
}

impl WriteContext<'_> {
    /// The same moment for a command that only reads.
    #[must_use]
    pub fn reader(&self) -> ReadContext<'_> {
        ReadContext {
            keyspace: self.keyspace,
            authority: self.authority,
            scripts: self.scripts,
            database: self.database,
            now_ms: self.now_ms,
            clock: self.clock,
            touch: true,
            counters: self.counters,
            may_wait: self.may_wait,
            chance: None,
        }
    }

    /// The entry of `key` in the connection's database, counted as an access. What has expired is
    /// as good as absent; a write to it replaces it.
    pub fn get(&self, key: &[u8]) -> Option<&Entry> {
        let found = self.peek(key);
        match found {
            Some(entry) => {
                Counters::add(&self.counters.hits, 1);
                self.clock.touch(entry);
            }
            None => Counters::add(&self.counters.misses, 1),
        }
        found
    }

    /// The entry of `key` without counting an access.
    #[must_use]
    pub fn peek(&self, key: &[u8]) -> Option<&Entry> {
        self.keyspace.get(self.database, key, self.now_ms)
    }

    /// The string at `key`; `WRONGTYPE` if it is something else.
    pub fn string(&self, key: &[u8]) -> Result<Option<StringRef<'_>>, CommandError> {
        self.get(key).map(StringRef::of).transpose()
    }

    /// As [`WriteContext::string`], for commands that tell whoever listens of a key that is not there.
    pub fn read_string(&self, key: &[u8]) -> Result<Option<StringRef<'_>>, CommandError> {
        let found = self.string(key)?;
        if found.is_none() {
            self.note(self.database, key, What::Missed);
        }
        Ok(found)
    }

    /// The string at `key` without counting an access, for commands that go on to write it.
    pub fn peek_string(&self, key: &[u8]) -> Result<Option<StringRef<'_>>, CommandError> {
        self.peek(key).map(StringRef::of).transpose()
    }

    /// The value of type `T` at `key`; `WRONGTYPE` if it is something else.
    pub fn object<T: Aggregate>(&self, key: &[u8]) -> Result<Option<&T>, CommandError> {
        self.get(key).map(held::<T>).transpose()
    }

    /// As [`WriteContext::object`] without counting an access, for commands that go on to edit it.
    pub fn peek_object<T: Aggregate>(&self, key: &[u8]) -> Result<Option<&T>, CommandError> {
        self.peek(key).map(held::<T>).transpose()
    }

    /// Sets `key` to `value`, whatever was there.
    pub fn set(&mut self, key: &[u8], value: NewValue<'_>, expiry: Expiry) {
        self.drop_if_expired(self.database, key);
        self.note_change(self.database, key, matches!(expiry, Expiry::At(_)));
        self.keyspace
            .set(self.database, key, value, expiry, self.clock.fresh());
        Counters::add(&self.counters.changes, 1);
    }

    /// Puts a copy of `entry`, expiry included, at `key` of `database`, replacing what is there.
    pub fn put(&mut self, database: usize, key: &[u8], entry: &Entry) {
        self.drop_if_expired(database, key);
        self.note_change(database, key, false);
        self.keyspace.put(database, key, entry, entry.access());
        Counters::add(&self.counters.changes, 1);
    }

    /// Removes `key`; false if it was absent or had expired (then it is removed all the same).
    pub fn remove(&mut self, key: &[u8]) -> bool {
        self.take(key).is_some()
    }

    /// Removes `key` and returns its entry unless it had expired.
    pub fn take(&mut self, key: &[u8]) -> Option<Entry> {
        let entry = self.keyspace.remove(self.database, key)?;
        if entry.is_expired(self.now_ms) {
            Counters::add(&self.counters.expired, 1);
            self.note(self.database, key, What::Expired);
            return None;
        }
        self.note(self.database, key, What::Removed);
        Counters::add(&self.counters.changes, 1);
        Some(entry)
    }

    /// Sets or removes the expiry of a key that is there; false if it is absent or has expired.
    /// A time that has passed removes the key.
    pub fn set_expiry(&mut self, key: &[u8], at_ms: Option<i64>) -> bool {
        if self.peek(key).is_none() {
            return false;
        }
        if at_ms.is_some_and(|at_ms| at_ms <= self.now_ms) {
            return self.remove(key);
        }
        Counters::add(&self.counters.changes, 1);
        let what = match at_ms {
            Some(_) => What::ExpirySet,
            None => What::Persisted,
        };
        self.note(self.database, key, what);
        self.keyspace.set_expiry(self.database, key, at_ms)
    }

    /// Edits the string at `key` in place, starting from an empty one if the key is absent; keeps
    /// the expiry. `change` says besides its result whether it has changed anything; if not, WATCH
    /// does not notice. `WRONGTYPE` if it is something else.
    pub fn edit_string<R>(
        &mut self,
        key: &[u8],
        change: impl FnOnce(&mut Vec<u8>) -> (R, bool),
    ) -> Result<R, CommandError> {
        self.drop_if_expired(self.database, key);
        let is_new = self.peek(key).is_none();
        let raw = |bytes| NewValue::Object(Object::String(bytes));
        let other_form = match self.peek(key).map(Entry::value) {
            Some(ValueRef::Object(Object::String(_))) => None,
            Some(ValueRef::Object(object)) => {
                let bytes = object.as_string().ok_or(CommandError::WrongType)?;
                Some(raw(bytes.to_vec()))
            }
            Some(ValueRef::String(bytes)) => Some(raw(bytes.to_vec())),
            Some(ValueRef::Int(number)) => Some(raw(number.to_string().into_bytes())),
            None => {
                let (value, access) = (raw(Vec::new()), self.clock.fresh());
                self.keyspace
                    .set(self.database, key, value, Expiry::Keep, access);
                None
            }
        };
        if let Some(value) = other_form {
            self.keyspace.reencode(self.database, key, value);
        }
        let mut has_changed = false;
        let edit = self.keyspace.edit(
            self.database,
            key,
            self.clock,
            |object| matches!(object, Object::String(_)),
            |object| match object {
                Object::String(bytes) => {
                    let (result, changed) = change(bytes);
                    has_changed = changed;
                    (Some(result), changed)
                }
                _ => (None, false),
            },
        );
        Counters::add(&self.counters.changes, u64::from(has_changed));
        if has_changed {
            let expires = false;
            self.note(self.database, key, What::Changed { is_new, expires });
        }
        match edit {
            Edit::Done(Some(result)) => Ok(result),
            _ => unreachable!("the key was just found to hold, or given, a string object"),
        }
    }

    /// Edits the value of type `T` at `key` in place and keeps the expiry; `None` if the key is
    /// absent, `WRONGTYPE` if it holds something else. `change` gives, besides its result, the
    /// number of changes that it made: at 0 nothing has been touched for WATCH. A value that it
    /// leaves empty is removed with its key.
    pub fn edit<T: Aggregate, R>(
        &mut self,
        key: &[u8],
        change: impl FnOnce(&mut T) -> (R, u64),
    ) -> Result<Option<R>, CommandError> {
        self.drop_if_expired(self.database, key);
        let (mut changes, mut is_empty) = (0, false);
        let edit = self.keyspace.edit(
            self.database,
            key,
            self.clock,
            |object| T::of(object).is_some(),
            |object| {
                let held = T::of_mut(object).expect("the type was just looked at");
                let (result, count) = change(held);
                (changes, is_empty) = (count, held.is_empty());
                (result, count > 0)
            },
        );
        match edit {
            Edit::Absent => Ok(None),
            Edit::Refused => Err(CommandError::WrongType),
            Edit::Done(result) => {
                Counters::add(&self.counters.changes, changes);
                if changes > 0 {
                    self.note_change(self.database, key, false);
                }
                if is_empty {
                    self.keyspace.remove(self.database, key);
                    self.note(self.database, key, What::Removed);
                }
                Ok(Some(result))
            }
        }
    }

    /// As [`WriteContext::edit`], but starts from an empty value if the key is absent. What stays
    /// empty creates no key.
    pub fn edit_or_create<T: Aggregate, R>(
        &mut self,
        key: &[u8],
        change: impl FnOnce(&mut T) -> (R, u64),
    ) -> Result<R, CommandError> {
        let mut change = Some(change);
        let mut change = |value: &mut T| change.take().expect("called once")(value);
        if let Some(result) = self.edit(key, &mut change)? {
            return Ok(result);
        }
        let mut value = T::default();
        let (result, changes) = change(&mut value);
        if !value.is_empty() {
            self.note_change(self.database, key, false);
            let (value, access) = (NewValue::Object(value.into_object()), self.clock.fresh());
            self.keyspace
                .set(self.database, key, value, Expiry::None, access);
            Counters::add(&self.counters.changes, changes);
        }
        Ok(result)
    }

    /// Sets `key` to `value`, whatever was there, as one change; an empty value removes the key.
    pub fn store<T: Aggregate>(&mut self, key: &[u8], value: T) {
        if value.is_empty() {
            self.remove(key);
        } else {
            self.set(key, NewValue::Object(value.into_object()), Expiry::None);
        }
    }

    /// Notes what was done to a key, for those who want to be told; for what went past the methods of
    /// this context.
    pub fn note(&self, database: usize, key: &[u8], what: What) {
        self.counters.touches.note(database, key, what);
    }

    /// Notes that a key gets another value. To be called before it does.
    fn note_change(&self, database: usize, key: &[u8], expires: bool) {
        if self.counters.touches.is_on() {
            let is_new = self.keyspace.entry(database, key).is_none();
            self.note(database, key, What::Changed { is_new, expires });
        }
    }

    /// The keyspace's hash seed, which orders the elements of large values.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.keyspace.seed()
    }

    /// Counts `count` changes that went past the methods of this context.
    pub fn note_changes(&self, count: u64) {
        Counters::add(&self.counters.changes, count);
    }

    /// The next number of the random sequence that the log entry seeds (SplitMix64).
    pub fn next_random(&mut self) -> u64 {
        next_random(&mut self.random)
    }

    fn drop_if_expired(&mut self, database: usize, key: &[u8]) {
        // A key that has expired must not lend its expiry to its successor, and WATCH must see a
        // creation rather than a change.
        if self.keyspace.remove_if_expired(database, key, self.now_ms) {
            Counters::add(&self.counters.expired, 1);
            self.note(database, key, What::Expired);
        }
    }
}

/// A step of SplitMix64.
fn next_random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// The value of type `T` in `entry`; `WRONGTYPE` if it holds something else.
fn held<T: Aggregate>(entry: &Entry) -> Result<&T, CommandError> {
    match entry.value() {
        ValueRef::Object(object) => T::of(object).ok_or(CommandError::WrongType),
        ValueRef::Int(_) | ValueRef::String(_) => Err(CommandError::WrongType),
    }
}

/// A string value in one of its representations.
#[derive(Clone, Copy, Debug)]
pub enum StringRef<'a> {
    /// The decimal form of a number.
    Int(i64),
    /// Bytes.
    Bytes(&'a [u8]),
}

impl<'a> StringRef<'a> {
    /// The string in `entry`; `WRONGTYPE` if it holds something else.
    pub fn of(entry: &'a Entry) -> Result<Self, CommandError> {
        match entry.value() {
            ValueRef::Int(number) => Ok(Self::Int(number)),
            ValueRef::String(bytes) => Ok(Self::Bytes(bytes)),
            ValueRef::Object(object) => object
                .as_string()
                .map(Self::Bytes)
                .ok_or(CommandError::WrongType),
        }
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(self) -> usize {
        self.with_bytes(<[u8]>::len)
    }

    /// Whether there is no byte.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Calls `f` with the bytes; a number is formatted on the stack.
    pub fn with_bytes<R>(self, f: impl FnOnce(&[u8]) -> R) -> R {
        match self {
            Self::Int(number) => f(itoa::Buffer::new().format(number).as_bytes()),
            Self::Bytes(bytes) => f(bytes),
        }
    }

    /// A copy of the bytes.
    #[must_use]
    pub fn to_vec(self) -> Vec<u8> {
        self.with_bytes(<[u8]>::to_vec)
    }
}

/// Refuses a string of `len` bytes if it is longer than a string may be.
pub fn check_string_len(len: usize) -> Outcome {
    if len > STRING_MAX_BYTES {
        Err(CommandError::StringTooLong)
    } else {
        Ok(())
    }
}

/// Whether argument `index` is this option, in any case.
#[must_use]
pub fn is_option(args: Args<'_>, index: usize, option: &str) -> bool {
    args.get(index)
        .is_some_and(|arg| arg.eq_ignore_ascii_case(option.as_bytes()))
}
