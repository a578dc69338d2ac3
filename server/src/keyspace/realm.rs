//! The keys under one prefix that a group serves, or takes in: a table for each logical database.
//!
//! A realm is what changes hands as a whole, so it can be set apart, frozen, exported, dropped and
//! merged without a look at the keys of other prefixes. It has no table before it has a key, since
//! a group can have very many realms with nothing in them.

use std::collections::BTreeSet;

use parking_lot::Mutex;

use super::Table;

/// Keys that are remembered for the next round of an export, before it has to begin anew.
const MAX_TRACKED_KEYS: usize = 1 << 20;

/// Who sees a realm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visibility {
    /// Everybody.
    Served,
    /// Who lists keys; it does not change. Whoever asks for a key is told to wait by the fence.
    Frozen,
    /// Nobody: it is being filled.
    Staged,
}

/// The tables of one prefix.
///
/// Invariant: a database beyond `tables` has no key.
pub(super) struct Realm {
    pub(super) visibility: Visibility,
    pub(super) tables: Vec<Table>,
    /// What has changed since an export began to ask. No part of the state.
    tracked: Mutex<Option<Box<Tracked>>>,
}

/// Changes that an export has to follow.
#[derive(Default)]
struct Tracked {
    restart: bool,
    keys: BTreeSet<(usize, Box<[u8]>)>,
}

/// What changed in a realm between two calls of [`Keyspace::take_changes`].
///
/// [`Keyspace::take_changes`]: super::Keyspace::take_changes
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// So much has changed at once that the export has to begin anew; `keys` is empty then.
    pub restart: bool,
    /// Keys that were written or removed, with their databases.
    pub keys: Vec<(usize, Box<[u8]>)>,
    /// How many more there are to be taken.
    pub left: usize,
}

impl Realm {
    pub(super) fn new(visibility: Visibility) -> Self {
        Self {
            visibility,
            tables: Vec::new(),
            tracked: Mutex::new(None),
        }
    }

    pub(super) fn is_visible(&self) -> bool {
        self.visibility != Visibility::Staged
    }

    pub(super) fn track(&self) {
        *self.tracked.lock() = Some(Box::default());
    }

    pub(super) fn untrack(&self) {
        *self.tracked.lock() = None;
    }

    pub(super) fn take_changes(&self, max: usize) -> Option<Changes> {
        let mut tracked = self.tracked.lock();
        let tracked = tracked.as_mut()?;
        let mut changes = Changes {
            restart: std::mem::take(&mut tracked.restart),
            ..Changes::default()
        };
        while changes.keys.len() < max
            && let Some(key) = tracked.keys.pop_first()
        {
            changes.keys.push(key);
        }
        changes.left = tracked.keys.len();
        Some(changes)
    }

    /// Remembers that a key was written or removed, if somebody wants to know.
    #[inline]
    pub(super) fn note(&mut self, database: usize, key: &[u8]) {
        if let Some(tracked) = self.tracked.get_mut() {
            tracked.note(database, key);
        }
    }

    /// Remembers that more has changed than can be said key by key.
    pub(super) fn note_all(&mut self) {
        if let Some(tracked) = self.tracked.get_mut() {
            tracked.note_all();
        }
    }
}

impl Tracked {
    fn note(&mut self, database: usize, key: &[u8]) {
        if self.restart {
            return;
        }
        if self.keys.len() >= MAX_TRACKED_KEYS {
            return self.note_all();
        }
        self.keys.insert((database, key.into()));
    }

    fn note_all(&mut self) {
        self.restart = true;
        self.keys.clear();
    }
}
