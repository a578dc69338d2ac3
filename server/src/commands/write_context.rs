//! What a command may see and change while it runs. Whatever changes a key here counts the change
//! and notes it for those who want to be told; what goes past these methods has to do so itself.

use super::context::{held, next_random};
use super::touch::What;
use super::{CommandError, Counters, ReadContext, Scripts, StringRef};
use crate::authority::Authority;
use crate::keyspace::{
    AccessClock, Aggregate, Edit, Entry, Expiry, Keyspace, NewValue, Object, ValueRef,
};
use crate::state::Waiters;

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
    /// The leader found memory short when it made the entry: scripts may not grow.
    pub lacks_memory: bool,
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

    /// As [`WriteContext::string`], for commands that tell whoever listens of a key that is not
    /// there.
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

    /// Notes what was done to a key, for those who want to be told; for what went past the methods
    /// of this context.
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
