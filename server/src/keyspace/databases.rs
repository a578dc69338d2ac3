//! All logical databases of a group.
//!
//! **Realms.** The keys under each prefix that the group serves stand in a [`Realm`] of their own;
//! the longest prefix of a key decides. A command does not notice: it names a database and a key.
//! Whether a key may be touched at all is not decided here but by the group's authority, whose
//! fence every command passes; a key that is in no realm is absent.
//!
//! What WATCH relies on is in `watch`, how tables are changed and counted in `change`.

use std::collections::BTreeMap;

use super::change::Totals;
use super::realm::Realm;
use super::undo::Undo;
use super::watch::CREATION_SLOTS;
use super::{
    AccessClock, Awaited, Edit, Entry, Expiry, Garbage, KeyHash, NewValue, Object, Stamp, Table,
    Visibility,
};
use crate::directory::PrefixMap;

/// The logical databases of a group.
///
/// Invariants: `index` and `staged` together name each slot of `realms` that is not vacant once;
/// `only` is the slot of the one visible realm, if there is just one; `totals` and `memory_bytes`
/// are sums over the tables.
pub struct Keyspace {
    pub(super) seed: u64,
    /// The slots of the visible realms.
    pub(super) index: PrefixMap<u32>,
    /// The slots of the others. They are kept apart, because what is arriving may not fit what is
    /// visible before it has arrived as a whole.
    pub(super) staged: BTreeMap<Box<[u8]>, u32>,
    pub(super) realms: Vec<Realm>,
    pub(super) vacant: Vec<u32>,
    pub(super) only: Option<usize>,
    /// Of the visible realms, by database.
    pub(super) totals: Vec<Totals>,
    /// Of all realms.
    pub(super) memory_bytes: usize,
    /// Counts writes; wraps around.
    pub(super) version: u32,
    /// The last fencing token that was given, or a higher one.
    ///
    /// Invariant: no key that the group serves was ever given a higher one, by whatever group. It
    /// never falls; and who gets a prefix from another group raises it to what that one had when it
    /// stopped serving the prefix. So the tokens of a key grow, wherever it is served.
    pub(super) fence: u64,
    pub(super) creations: Box<[u32]>,
    /// To be dropped by somebody who has time for it.
    pub(super) garbage: Vec<Garbage>,
    /// Keys that blocked clients wait for.
    pub awaited: Awaited,
    /// What has changed, while somebody may want to take it back.
    pub(super) undo: Option<Box<Undo>>,
}

impl Keyspace {
    /// An empty keyspace of `databases` databases, hashed under `seed`, with a realm for all keys.
    #[must_use]
    pub fn new(databases: usize, seed: u64) -> Self {
        let mut keyspace = Self::without_realms(databases, seed);
        keyspace.add_realm(b"", Visibility::Served);
        keyspace
    }

    /// A keyspace in which no key has a place yet.
    #[must_use]
    pub fn without_realms(databases: usize, seed: u64) -> Self {
        Self {
            seed,
            index: PrefixMap::new(),
            staged: BTreeMap::new(),
            realms: Vec::new(),
            vacant: Vec::new(),
            only: None,
            totals: vec![Totals::default(); databases],
            memory_bytes: 0,
            version: 0,
            fence: 0,
            creations: vec![0; CREATION_SLOTS].into(),
            garbage: Vec::new(),
            awaited: Awaited::default(),
            undo: None,
        }
    }

    /// The hash seed of all tables.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The hash of a key, which gives its place in listings.
    #[must_use]
    pub fn hash(&self, key: &[u8]) -> KeyHash {
        KeyHash::of(key, self.seed)
    }

    /// Number of databases.
    #[must_use]
    pub fn databases(&self) -> usize {
        self.totals.len()
    }

    /// Number of keys in all databases, those excluded that are still arriving.
    #[must_use]
    pub fn len(&self) -> usize {
        self.totals.iter().map(|totals| totals.len).sum()
    }

    /// Whether no database has a key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of memory in all databases, those included that are still arriving.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.memory_bytes
    }

    /// The entry of `key` unless it has expired at `now_ms`.
    #[must_use]
    pub fn get(&self, database: usize, key: &[u8], now_ms: i64) -> Option<&Entry> {
        self.entry(database, key)
            .filter(|entry| !entry.is_expired(now_ms))
    }

    /// The entry of `key`, expired or not.
    #[must_use]
    pub fn entry(&self, database: usize, key: &[u8]) -> Option<&Entry> {
        self.table_of(database, key)?.get(key)
    }

    /// Sets `key`, replacing what is there.
    pub fn set(
        &mut self,
        database: usize,
        key: &[u8],
        value: NewValue<'_>,
        expiry: Expiry,
        access: u32,
    ) {
        let stamp = self.stamp(access);
        let slot = self.slot(key);
        let slot = slot.expect("the fence lets no key pass that has no realm");
        let set = |table: &mut Table| table.set(key, value, expiry, stamp);
        if self.change_in(slot, database, key, set) {
            self.note_creation(database, key, stamp.version);
        }
    }

    /// Gives the value of `key`, which is there, another form that means the same: WATCH does not
    /// notice.
    pub fn reencode(&mut self, database: usize, key: &[u8], value: NewValue<'_>) {
        let Some(entry) = self.entry(database, key) else {
            return;
        };
        let stamp = Stamp {
            version: entry.version(),
            access: entry.access(),
        };
        self.change(database, key, |table| {
            table.set(key, value, Expiry::Keep, stamp)
        });
    }

    /// Changes the expiry of `key`; false if the key is not there.
    pub fn set_expiry(&mut self, database: usize, key: &[u8], at_ms: Option<i64>) -> bool {
        let access = self.entry(database, key).map_or(0, Entry::access);
        let stamp = self.stamp(access);
        let set = self.change(database, key, |table| table.set_expiry(key, at_ms, stamp));
        set.unwrap_or(false)
    }

    /// Edits the object of `key` in place if `accepts` holds for it, which counts as an access.
    /// `change` says besides its result whether it has changed anything; if not, WATCH does not
    /// notice.
    pub fn edit<R>(
        &mut self,
        database: usize,
        key: &[u8],
        clock: &AccessClock,
        accepts: impl FnOnce(&Object) -> bool,
        change: impl FnOnce(&mut Object) -> (R, bool),
    ) -> Edit<R> {
        let version = self.version.wrapping_add(1);
        let mut has_changed = false;
        let edit = self.change(database, key, |table| {
            table.edit(key, version, clock, accepts, |object| {
                let (result, changed) = change(object);
                has_changed = changed;
                (result, changed)
            })
        });
        if has_changed {
            self.version = version;
            self.awaited.note_change(database, key);
        }
        edit.unwrap_or(Edit::Absent)
    }

    /// Removes `key`, expired or not, and returns its entry to be looked at; dropping it is cheap.
    pub fn remove(&mut self, database: usize, key: &[u8]) -> Option<Entry> {
        let entry = self.take(database, key)?;
        if entry.is_heavy() {
            self.garbage.push(Garbage::Entry(entry.clone()));
        }
        Some(entry)
    }

    /// Takes `key` out to put it elsewhere.
    pub fn take(&mut self, database: usize, key: &[u8]) -> Option<Entry> {
        let entry = self.change(database, key, |table| table.remove(key))??;
        self.awaited.note_change(database, key);
        Some(entry)
    }

    /// Puts an entry under another key or into another database, replacing what is there.
    pub fn put(&mut self, database: usize, key: &[u8], entry: &Entry, access: u32) {
        let expiry = entry.expires_at_ms().map_or(Expiry::None, Expiry::At);
        self.set(database, key, NewValue::Same(entry), expiry, access);
    }

    /// Removes up to `limit` keys that expired before `now_ms`; returns how many, and tells of each
    /// with its database. What is frozen or arriving stays as it is.
    pub fn remove_expired(
        &mut self,
        now_ms: i64,
        limit: usize,
        mut gone: impl FnMut(usize, &[u8]),
    ) -> usize {
        let slots: Vec<usize> = self.served_slots().collect();
        let is_due = |table: &Table| table.next_expiry_ms().is_some_and(|at| at < now_ms);
        let mut removed = 0;
        for database in 0..self.databases() {
            for &slot in &slots {
                if !self.realms[slot].tables.get(database).is_some_and(is_due) {
                    continue;
                }
                let mut keys: Vec<Box<[u8]>> = Vec::new();
                removed += self.change_table(slot, database, |table| {
                    let note = |entry: &Entry| keys.push(entry.key().into());
                    table.remove_expired(now_ms, limit - removed, note)
                });
                keys.iter().for_each(|key| gone(database, key));
                let realm = &mut self.realms[slot];
                for key in &keys {
                    realm.note(database, key);
                    self.awaited.note_change(database, key);
                }
            }
        }
        removed
    }

    /// When the next key expires, of those that can be removed then.
    #[must_use]
    pub fn next_expiry_ms(&self) -> Option<i64> {
        let realms = self.served_slots().map(|slot| &self.realms[slot]);
        let tables = realms.flat_map(|realm| &realm.tables);
        tables.filter_map(Table::next_expiry_ms).min()
    }

    /// Takes `key` out if it has expired; false if it has not, or is absent.
    pub fn remove_if_expired(&mut self, database: usize, key: &[u8], now_ms: i64) -> bool {
        let expired = |table: &Table| {
            // In most tables nothing is due, which costs less to find out.
            table.next_expiry_ms().is_some_and(|at| at < now_ms)
                && table.get(key).is_some_and(|entry| entry.is_expired(now_ms))
        };
        self.table_of(database, key).is_some_and(expired) && self.remove(database, key).is_some()
    }

    /// Removes all keys of a database. Nothing may be frozen.
    pub fn clear(&mut self, database: usize) {
        let slots: Vec<usize> = self.visible_slots().collect();
        let seed = self.seed;
        for slot in slots {
            let tables = &mut self.realms[slot].tables;
            if tables.get(database).is_none_or(Table::is_empty) {
                continue;
            }
            let cleared = self.change_table(slot, database, |table| {
                std::mem::replace(table, Table::new(seed))
            });
            self.realms[slot].note_all();
            match &mut self.undo {
                Some(undo) => undo.note_cleared(slot, database, cleared),
                None => self.garbage.push(Garbage::Table(cleared)),
            }
        }
        self.awaited.note_cleared();
    }

    /// Exchanges two databases. Nothing may be frozen.
    pub fn swap(&mut self, first: usize, second: usize) {
        let slots: Vec<usize> = self.visible_slots().collect();
        let last = first.max(second);
        for slot in slots {
            if self.realms[slot].tables.len() > first.min(second) {
                self.add_tables(slot, last);
                self.realms[slot].tables.swap(first, second);
                self.realms[slot].note_all();
            }
        }
        self.totals.swap(first, second);
        self.awaited.note_all();
        if let Some(undo) = &mut self.undo {
            undo.note_swapped(first, second);
        }
        // What was absent here may have come and gone there.
        self.forget_absences();
    }

    /// Hands over what was cleared, removed or replaced and may take long to release.
    pub fn take_garbage(&mut self) -> Vec<Garbage> {
        std::mem::take(&mut self.garbage)
    }

    /// A fencing token that is higher than all that were given before.
    pub fn next_fence(&mut self) -> u64 {
        self.fence += 1;
        self.fence
    }

    /// No token that was given is higher than this one.
    #[must_use]
    pub fn fence(&self) -> u64 {
        self.fence
    }

    /// Makes all future tokens higher than `fence`.
    pub fn raise_fence(&mut self, fence: u64) {
        self.fence = self.fence.max(fence);
    }

    /// Restores an entry from a checkpoint, with the version it had; false if it has no realm.
    #[must_use]
    pub fn restore(
        &mut self,
        database: usize,
        key: &[u8],
        value: NewValue<'_>,
        expiry: Expiry,
        stamp: Stamp,
    ) -> bool {
        let Some(slot) = self.slot(key) else {
            return false;
        };
        self.change_in(slot, database, key, |table| {
            table.set(key, value, expiry, stamp)
        });
        true
    }

    /// Panics if an invariant of the type does not hold. Slow; for tests.
    pub fn check_invariants(&self) {
        let mut totals = vec![Totals::default(); self.databases()];
        let mut memory_bytes = 0;
        let slots = self.index.len() + self.staged.len() + self.vacant.len();
        assert_eq!(slots, self.realms.len());
        let visible = self.index.iter().map(|(prefix, slot)| (prefix, slot, true));
        let staged = self.staged.iter();
        let staged = staged.map(|(prefix, slot)| (&**prefix, slot, false));
        for (prefix, &slot, is_visible) in visible.chain(staged) {
            let realm = &self.realms[slot as usize];
            assert_eq!(realm.is_visible(), is_visible);
            assert!(realm.tables.len() <= self.databases());
            for (table, totals) in realm.tables.iter().zip(&mut totals) {
                table.check_invariants();
                memory_bytes += table.memory_bytes();
                totals.len += table.len() * usize::from(realm.is_visible());
                totals.expiring += table.expiring_len() * usize::from(realm.is_visible());
                for entry in table.iter() {
                    let nearest = self.index.longest(entry.key());
                    let nearest = nearest.map(|(prefix, _)| prefix);
                    assert!(!is_visible || nearest == Some(prefix), "{entry:?}");
                    assert!(entry.key().starts_with(prefix), "{entry:?}");
                }
            }
        }
        assert_eq!(self.totals, totals);
        assert_eq!(self.memory_bytes, memory_bytes);
    }

    /// The slots of the realms that are not arriving, by prefix.
    pub(super) fn visible_slots(&self) -> impl Iterator<Item = usize> {
        self.index.iter().map(|(_, &slot)| slot as usize)
    }

    /// The slots of the realms that may change, by prefix.
    pub(super) fn served_slots(&self) -> impl Iterator<Item = usize> {
        let slots = self.visible_slots();
        slots.filter(|&slot| self.realms[slot].visibility == Visibility::Served)
    }

    /// The table that holds a key if it is there.
    #[inline]
    pub(super) fn table_of(&self, database: usize, key: &[u8]) -> Option<&Table> {
        self.realms[self.slot(key)?].tables.get(database)
    }

    /// The realm of a key, if it is visible.
    #[inline]
    pub(super) fn slot(&self, key: &[u8]) -> Option<usize> {
        if self.only.is_some() {
            return self.only;
        }
        self.find_slot(key)
    }

    fn find_slot(&self, key: &[u8]) -> Option<usize> {
        let (_, &slot) = self.index.longest(key)?;
        Some(slot as usize)
    }
}
