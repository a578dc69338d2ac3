//! How tables are changed: whatever changes one keeps the sums over all of them, tells those who
//! keep track of keys (an undo, a handoff, clients that wait), and hands on what is to be released.

use super::{Garbage, Keyspace, Table};

/// How many keys a database has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) len: usize,
    pub(super) expiring: usize,
}

impl Keyspace {
    /// Changes a table of a realm for the sake of one key, creating the table if need be.
    pub(super) fn change_in<R>(
        &mut self,
        slot: usize,
        database: usize,
        key: &[u8],
        change: impl FnOnce(&mut Table) -> R,
    ) -> R {
        self.add_tables(slot, database);
        if self.undo.is_some() {
            self.remember(slot, database, key);
        }
        self.realms[slot].note(database, key);
        self.awaited.note_set(database, key);
        self.change_table(slot, database, change)
    }

    /// Changes a table of a realm for the sake of one key, if it is there. Whether those who wait
    /// for the key are to be told is known to the caller.
    pub(super) fn change_present<R>(
        &mut self,
        slot: usize,
        database: usize,
        key: &[u8],
        change: impl FnOnce(&mut Table) -> R,
    ) -> Option<R> {
        if database >= self.realms[slot].tables.len() {
            return None;
        }
        if self.undo.is_some() {
            self.remember(slot, database, key);
        }
        let realm = &mut self.realms[slot];
        realm.note(database, key);
        Some(self.change_table(slot, database, change))
    }

    /// Takes a realm out of the totals.
    pub(super) fn discount(&mut self, slot: usize) {
        let realm = &self.realms[slot];
        for (table, totals) in realm.tables.iter().zip(&mut self.totals) {
            self.memory_bytes -= table.memory_bytes();
            if realm.is_visible() {
                totals.len -= table.len();
                totals.expiring -= table.expiring_len();
            }
        }
    }

    /// Brings a realm into the totals.
    pub(super) fn count(&mut self, slot: usize) {
        let realm = &self.realms[slot];
        for (table, totals) in realm.tables.iter().zip(&mut self.totals) {
            self.memory_bytes += table.memory_bytes();
            if realm.is_visible() {
                totals.len += table.len();
                totals.expiring += table.expiring_len();
            }
        }
    }

    /// Changes the table of a key for the key's sake, if it is there.
    pub(super) fn change<R>(
        &mut self,
        database: usize,
        key: &[u8],
        change: impl FnOnce(&mut Table) -> R,
    ) -> Option<R> {
        let slot = self.slot(key)?;
        self.change_present(slot, database, key, change)
    }

    /// Changes a table, and the totals with it.
    pub(super) fn change_table<R>(
        &mut self,
        slot: usize,
        database: usize,
        change: impl FnOnce(&mut Table) -> R,
    ) -> R {
        let realm = &mut self.realms[slot];
        let is_visible = realm.is_visible();
        let table = &mut realm.tables[database];
        let before = (table.len(), table.expiring_len(), table.memory_bytes());
        let result = change(table);
        // Each sum holds at least what the table had before.
        self.memory_bytes = self.memory_bytes - before.2 + table.memory_bytes();
        if is_visible {
            let totals = &mut self.totals[database];
            totals.len = totals.len - before.0 + table.len();
            totals.expiring = totals.expiring - before.1 + table.expiring_len();
        }
        if table.has_discarded() {
            let discarded = table.take_discarded().into_iter();
            self.garbage.extend(discarded.map(Garbage::Entry));
        }
        result
    }

    /// Makes sure that a realm has tables up to that of `database`.
    pub(super) fn add_tables(&mut self, slot: usize, database: usize) {
        let tables = &mut self.realms[slot].tables;
        while tables.len() <= database {
            let table = Table::new(self.seed);
            self.memory_bytes += table.memory_bytes();
            tables.push(table);
        }
    }
}
