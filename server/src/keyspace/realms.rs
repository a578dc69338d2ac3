//! Realms come, go and change hands. Each of these changes is a step of the log, and costs no more
//! than a walk over the keys that change their realm.
//!
//! The caller (the group's authority) knows which realms there are to be. A prefix without a realm
//! here is an own bug and panics.

use std::collections::BTreeMap;

use super::realm::Realm;
use super::{Changes, Entry, Expiry, Garbage, Keyspace, NewValue, Stamp, Table, Visibility};

impl Keyspace {
    /// Adds an empty realm.
    pub fn add_realm(&mut self, prefix: &[u8], visibility: Visibility) {
        let shown = prefix.escape_ascii();
        assert!(!self.has_realm(prefix), "a second realm '{shown}'");
        let realm = Realm::new(visibility);
        let slot = match self.vacant.pop() {
            Some(slot) => {
                self.realms[slot as usize] = realm;
                slot
            }
            None => {
                self.realms.push(realm);
                u32::try_from(self.realms.len() - 1).expect("2^32 realms exceed memory")
            }
        };
        self.name(prefix, slot, visibility);
    }

    /// Sets the keys with this prefix apart in a realm of their own.
    pub fn split_realm(&mut self, prefix: &[u8]) {
        let (_, &parent) = self.index.longest(prefix).expect("a parent is served here");
        let parent = parent as usize;
        self.add_realm(prefix, Visibility::Served);
        let tables = self.update(parent, |realm| {
            realm.note_all();
            let tables = realm.tables.iter_mut();
            tables
                .map(|table| table.extract(prefix))
                .collect::<Vec<_>>()
        });
        let seed = self.seed;
        let used = tables
            .iter()
            .rposition(Option::is_some)
            .map_or(0, |last| last + 1);
        let tables = tables.into_iter().take(used);
        self.update(self.slot_of(prefix), |realm| {
            let tables = tables.map(|table| table.unwrap_or_else(|| Table::new(seed)));
            realm.tables = tables.collect();
        });
    }

    /// Ends a realm: its keys become a part of the one above it.
    pub fn merge_realm(&mut self, prefix: &[u8]) {
        let realm = self.take_realm(prefix);
        let (_, &parent) = self.index.longest(prefix).expect("a parent is served here");
        let seed = self.seed;
        self.update(parent as usize, |parent| {
            parent.note_all();
            let missing = realm.tables.len().saturating_sub(parent.tables.len());
            parent.tables.extend((0..missing).map(|_| Table::new(seed)));
            for (table, from) in parent.tables.iter_mut().zip(realm.tables) {
                table.absorb(from);
            }
        });
    }

    /// Drops a realm with all keys in it.
    pub fn drop_realm(&mut self, prefix: &[u8]) {
        let realm = self.take_realm(prefix);
        let tables = realm.tables.into_iter().filter(|table| !table.is_empty());
        self.garbage.extend(tables.map(Garbage::Table));
    }

    /// Changes who sees a realm. One that becomes visible may hide changes of a time when it was
    /// not here, so WATCH takes every absent key for changed.
    pub fn show_realm(&mut self, prefix: &[u8], visibility: Visibility) {
        let slot = self.slot_of(prefix);
        let was_visible = self.realms[slot].is_visible();
        self.update(slot, |realm| realm.visibility = visibility);
        self.unname(prefix);
        self.name(prefix, slot as u32, visibility);
        if !was_visible {
            self.forget_absences();
        }
    }

    /// The realms, by prefix.
    #[must_use]
    pub fn realms(&self) -> BTreeMap<&[u8], Visibility> {
        let staged = self.staged.iter().map(|(prefix, slot)| (&**prefix, slot));
        let realms = self.index.iter().chain(staged);
        realms
            .map(|(prefix, &slot)| (prefix, self.realms[slot as usize].visibility))
            .collect()
    }

    /// Whether there is a realm of exactly this prefix.
    #[must_use]
    pub fn has_realm(&self, prefix: &[u8]) -> bool {
        self.find_realm(prefix).is_some()
    }

    /// The tables of a realm by database; as many as have ever been used.
    pub fn realm_tables(&self, prefix: &[u8]) -> &[Table] {
        self.find_realm(prefix)
            .map_or(&[], |slot| &self.realms[slot].tables)
    }

    /// Number of keys of a realm in all databases.
    #[must_use]
    pub fn realm_len(&self, prefix: &[u8]) -> usize {
        self.realm_tables(prefix).iter().map(Table::len).sum()
    }

    /// Bytes of memory that a realm takes.
    #[must_use]
    pub fn realm_bytes(&self, prefix: &[u8]) -> usize {
        let tables = self.realm_tables(prefix).iter();
        tables.map(Table::memory_bytes).sum()
    }

    /// The entry of a key in a realm, whoever sees it, expired or not.
    #[must_use]
    pub fn realm_entry(&self, prefix: &[u8], database: usize, key: &[u8]) -> Option<&Entry> {
        self.realm_tables(prefix).get(database)?.get(key)
    }

    /// From now on remembers which keys of a realm change; false if there is no such realm.
    pub fn track_changes(&self, prefix: &[u8]) -> bool {
        let slot = self.find_realm(prefix);
        slot.map(|slot| self.realms[slot].track()).is_some()
    }

    /// Remembers changes no longer.
    pub fn untrack_changes(&self, prefix: &[u8]) {
        if let Some(slot) = self.find_realm(prefix) {
            self.realms[slot].untrack();
        }
    }

    /// Takes up to `max` of the keys that have changed. `None` if changes are not remembered: the
    /// realm has gone, or the state was replaced by a checkpoint's.
    #[must_use]
    pub fn take_changes(&self, prefix: &[u8], max: usize) -> Option<Changes> {
        self.realms[self.find_realm(prefix)?].take_changes(max)
    }

    /// Restores a key of a staged realm from a checkpoint, with the version it had; false if there
    /// is no such realm.
    #[must_use]
    pub fn restore_staged(
        &mut self,
        prefix: &[u8],
        (database, key): (usize, &[u8]),
        value: NewValue<'_>,
        expiry: Expiry,
        stamp: Stamp,
    ) -> bool {
        let Some(&slot) = self.staged.get(prefix) else {
            return false;
        };
        self.change_in(slot as usize, database, key, |table| {
            table.set(key, value, expiry, stamp)
        });
        true
    }

    /// Sets a key of a staged realm.
    pub fn stage(
        &mut self,
        prefix: &[u8],
        (database, key): (usize, &[u8]),
        value: NewValue<'_>,
        expiry: Expiry,
        access: u32,
    ) {
        let stamp = self.stamp(access);
        let slot = self.slot_of(prefix);
        self.change_in(slot, database, key, |table| {
            table.set(key, value, expiry, stamp)
        });
    }

    /// Removes a key from a staged realm; false if it was not there.
    pub fn unstage(&mut self, prefix: &[u8], database: usize, key: &[u8]) -> bool {
        let slot = self.slot_of(prefix);
        let entry = self.change_present(slot, database, key, |table| table.remove(key));
        let Some(entry) = entry.flatten() else {
            return false;
        };
        self.awaited.note_change(database, key);
        if entry.is_heavy() {
            self.garbage.push(Garbage::Entry(entry));
        }
        true
    }

    fn slot_of(&self, prefix: &[u8]) -> usize {
        self.find_realm(prefix)
            .expect("the authority and the keyspace have the same prefixes")
    }

    fn take_realm(&mut self, prefix: &[u8]) -> Realm {
        let slot = self.slot_of(prefix);
        let empty = Realm::new(Visibility::Staged);
        let realm = self.update(slot, |realm| std::mem::replace(realm, empty));
        self.unname(prefix);
        self.vacant.push(slot as u32);
        realm
    }

    /// Changes a realm as a whole, and the totals with it.
    fn update<R>(&mut self, slot: usize, change: impl FnOnce(&mut Realm) -> R) -> R {
        self.discount(slot);
        let result = change(&mut self.realms[slot]);
        self.count(slot);
        result
    }

    fn find_realm(&self, prefix: &[u8]) -> Option<usize> {
        let slot = self.index.get(prefix).or_else(|| self.staged.get(prefix));
        slot.map(|&slot| slot as usize)
    }

    fn name(&mut self, prefix: &[u8], slot: u32, visibility: Visibility) {
        if visibility == Visibility::Staged {
            self.staged.insert(prefix.into(), slot);
        } else {
            self.index.insert(prefix, slot);
        }
        self.find_only();
    }

    fn unname(&mut self, prefix: &[u8]) {
        self.index.remove(prefix);
        self.staged.remove(prefix);
        self.find_only();
    }

    fn find_only(&mut self) {
        let first = self.visible_slots().next();
        self.only = first.filter(|_| self.index.len() == 1);
    }
}
