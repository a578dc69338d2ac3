//! Taking back what a script has done.
//!
//! While an undo is open, the keyspace remembers of each key what it was when it was first touched,
//! and of each database that was emptied its table. An entry is counted, not copied, so a touch
//! costs a pointer; a value of several elements that is then changed is cloned the way it is for a
//! checkpoint. [`Keyspace::roll_back`] puts everything back: values with their versions, the write
//! counter, the slots of creations, the fencing counter, and which awaited keys were touched. So a
//! replica that has rolled back is in the state of one that never began, and it does not matter on
//! how many replicas a script needed a second attempt.
//!
//! An undo is opened and closed within one command. Nothing changes realms meanwhile.

use std::collections::BTreeSet;

use super::{Entry, Expiry, Garbage, Keyspace, NewValue, Table};

/// What has changed since the undo was opened, in order.
///
/// Invariant: since the last step that concerns a whole database, no key stands in `steps` twice;
/// those that do stand there are in `touched`, by database.
#[derive(Default)]
pub(super) struct Undo {
    steps: Vec<Step>,
    touched: Vec<BTreeSet<Box<[u8]>>>,
    /// What slots of creations held, in the order of their changes, until all were saved.
    creations: Vec<(usize, u32)>,
    /// What all of them held when databases were first exchanged.
    all_creations: Option<Box<[u32]>>,
    before: Counters,
}

/// What counts or lists, as it was when the undo was opened.
#[derive(Clone, Copy, Default)]
struct Counters {
    version: u32,
    fence: u64,
    /// So many awaited keys had been touched.
    awaited: usize,
}

enum Step {
    /// A key and what was there.
    Key(usize, Box<[u8]>, Option<Entry>),
    /// A table that was emptied: its realm's slot, its database, what it held.
    Cleared(usize, usize, Table),
    /// Two databases that were exchanged.
    Swapped(usize, usize),
}

impl Undo {
    fn touch(&mut self, database: usize, key: &[u8]) -> bool {
        if self.touched.len() <= database {
            self.touched.resize_with(database + 1, BTreeSet::new);
        }
        let touched = &mut self.touched[database];
        !touched.contains(key) && touched.insert(key.into())
    }

    pub(super) fn note_cleared(&mut self, slot: usize, database: usize, table: Table) {
        self.touched.clear();
        self.steps.push(Step::Cleared(slot, database, table));
    }

    /// A slot of creations held this before a key was created.
    pub(super) fn note_creation(&mut self, slot: usize, before: u32) {
        if self.all_creations.is_none() {
            self.creations.push((slot, before));
        }
    }

    /// All slots of creations are about to change.
    pub(super) fn note_absences(&mut self, before: &[u32]) {
        if self.all_creations.is_none() {
            self.all_creations = Some(before.into());
        }
    }

    pub(super) fn note_swapped(&mut self, first: usize, second: usize) {
        self.touched.clear();
        self.steps.push(Step::Swapped(first, second));
    }
}

impl Keyspace {
    /// From now on remembers what changes, until [`Keyspace::keep_changes`] or
    /// [`Keyspace::roll_back`].
    ///
    /// # Panics
    /// If that is so already.
    pub fn begin_undo(&mut self) {
        assert!(self.undo.is_none(), "an undo within an undo");
        let before = Counters {
            version: self.version,
            fence: self.fence,
            awaited: self.awaited.touched_len(),
        };
        self.undo = Some(Box::new(Undo {
            before,
            ..Undo::default()
        }));
    }

    /// What has changed since [`Keyspace::begin_undo`] stays.
    pub fn keep_changes(&mut self) {
        let Some(undo) = self.undo.take() else {
            return;
        };
        for step in undo.steps {
            match step {
                Step::Key(_, _, Some(entry)) if entry.is_heavy() => {
                    self.garbage.push(Garbage::Entry(entry));
                }
                Step::Cleared(_, _, table) => self.garbage.push(Garbage::Table(table)),
                Step::Key(..) | Step::Swapped(..) => {}
            }
        }
    }

    /// Makes everything what it was at [`Keyspace::begin_undo`].
    pub fn roll_back(&mut self) {
        let Some(mut undo) = self.undo.take() else {
            return;
        };
        for step in std::mem::take(&mut undo.steps).into_iter().rev() {
            match step {
                Step::Key(database, key, entry) => self.put_back(database, &key, entry.as_ref()),
                Step::Cleared(slot, database, table) => {
                    self.realms[slot].note_all();
                    let filled =
                        self.change_table(slot, database, |held| std::mem::replace(held, table));
                    self.garbage.push(Garbage::Table(filled));
                }
                Step::Swapped(first, second) => self.swap(first, second),
            }
        }
        // Last, since what was done above has counted as well.
        self.put_counters_back(*undo);
    }

    fn put_counters_back(&mut self, undo: Undo) {
        // Exchanging databases back has overwritten all slots; so had exchanging them, which has
        // saved them.
        if let Some(creations) = undo.all_creations {
            self.creations = creations;
        }
        for (slot, version) in undo.creations.into_iter().rev() {
            self.creations[slot] = version;
        }
        self.version = undo.before.version;
        self.fence = undo.before.fence;
        self.awaited.forget_touched(undo.before.awaited);
    }

    /// Remembers what `key` is, if nobody has since the undo was opened.
    #[cold]
    pub(super) fn remember(&mut self, slot: usize, database: usize, key: &[u8]) {
        let Some(undo) = &mut self.undo else {
            return;
        };
        if undo.touch(database, key) {
            let table = self.realms[slot].tables.get(database);
            let entry = table.and_then(|table| table.get(key)).cloned();
            undo.steps.push(Step::Key(database, key.into(), entry));
        }
    }

    fn put_back(&mut self, database: usize, key: &[u8], entry: Option<&Entry>) {
        let Some(entry) = entry else {
            self.take(database, key);
            return;
        };
        let expiry = entry.expires_at_ms().map_or(Expiry::None, Expiry::At);
        let is_there = self.restore(database, key, NewValue::Same(entry), expiry, entry.stamp());
        assert!(is_there, "a key was there, so it has a realm");
    }
}

#[cfg(test)]
mod tests {
    use crate::keyspace::{
        AccessClock, Aggregate, Expiry, Hash, Keyspace, NewValue, Object, WatchState,
    };

    fn set(keyspace: &mut Keyspace, database: usize, key: &[u8], value: &[u8]) {
        keyspace.set(database, key, NewValue::String(value), Expiry::At(99), 0);
    }

    fn shown(keyspace: &Keyspace) -> Vec<String> {
        let mut all: Vec<String> = (0..2)
            .flat_map(|database| {
                let entries = keyspace.iter(database);
                entries.map(move |entry| format!("{database} {entry:?}"))
            })
            .collect();
        all.sort();
        all
    }

    fn watched(keyspace: &Keyspace) -> Vec<WatchState> {
        [(0, b"a"), (0, b"b"), (0, b"h"), (1, b"a")]
            .map(|(database, key)| keyspace.watch_state(database, key, 0))
            .to_vec()
    }

    fn filled() -> Keyspace {
        let mut keyspace = Keyspace::new(2, 7);
        set(&mut keyspace, 0, b"a", b"1");
        set(&mut keyspace, 1, b"a", b"2");
        set(&mut keyspace, 0, b"b", b"3");
        let mut hash = Hash::default();
        hash.set(b"f", b"v", 7);
        let value = NewValue::Object(hash.into_object());
        keyspace.set(0, b"h", value, Expiry::None, 0);
        keyspace
    }

    fn set_field(keyspace: &mut Keyspace, value: &[u8]) {
        let clock = AccessClock::default();
        keyspace.edit(
            0,
            b"h",
            &clock,
            |_| true,
            |object| match object {
                Object::Hash(hash) => (hash.set(b"f", value, 7), true),
                _ => unreachable!("a hash"),
            },
        );
    }

    #[test]
    fn what_is_rolled_back_is_as_it_was_and_unseen_by_watch() {
        let mut keyspace = filled();
        let before = (shown(&keyspace), watched(&keyspace));
        keyspace.begin_undo();
        set(&mut keyspace, 0, b"a", b"x");
        set(&mut keyspace, 0, b"a", b"y");
        set(&mut keyspace, 0, b"new", b"z");
        keyspace.remove(0, b"b");
        keyspace.set_expiry(1, b"a", None);
        set_field(&mut keyspace, b"w");
        assert_ne!(shown(&keyspace), before.0);
        keyspace.roll_back();
        assert_eq!((shown(&keyspace), watched(&keyspace)), before);
        keyspace.check_invariants();
    }

    #[test]
    fn databases_that_were_emptied_or_exchanged_come_back() {
        let mut keyspace = filled();
        let before = shown(&keyspace);
        keyspace.begin_undo();
        set(&mut keyspace, 0, b"a", b"x");
        keyspace.clear(0);
        set(&mut keyspace, 0, b"a", b"y");
        keyspace.swap(0, 1);
        set(&mut keyspace, 0, b"a", b"z");
        keyspace.clear(1);
        keyspace.roll_back();
        assert_eq!(shown(&keyspace), before);
        keyspace.check_invariants();
    }

    #[test]
    fn counters_and_touched_keys_come_back() {
        let mut keyspace = filled();
        keyspace.next_fence();
        for key in [&b"a"[..], b"b", b"new"] {
            keyspace.awaited.add(0, key, true);
        }
        set(&mut keyspace, 0, b"b", b"touched before");
        let counters = |keyspace: &Keyspace| {
            let (version, creations) = keyspace.watch_counters();
            (version, creations.to_vec(), keyspace.fence())
        };
        let before = counters(&keyspace);
        keyspace.begin_undo();
        set(&mut keyspace, 0, b"a", b"x");
        set(&mut keyspace, 0, b"new", b"y");
        set(&mut keyspace, 1, b"other", b"y");
        keyspace.swap(0, 1);
        set(&mut keyspace, 1, b"newer", b"y");
        keyspace.next_fence();
        assert_ne!(counters(&keyspace), before);
        keyspace.roll_back();
        assert_eq!(counters(&keyspace), before);
        assert_eq!(keyspace.awaited.take_touched(), [(0, (*b"b").into())]);
        set(&mut keyspace, 0, b"a", b"z");
        let touched = keyspace.awaited.take_touched();
        assert_eq!(touched.len(), 1, "what was taken back can be touched again");
    }

    #[test]
    fn what_is_kept_is_changed() {
        let mut keyspace = filled();
        keyspace.begin_undo();
        keyspace.clear(0);
        set(&mut keyspace, 1, b"a", b"x");
        keyspace.keep_changes();
        assert_eq!(shown(&keyspace).len(), 1);
        assert_eq!(keyspace.take_garbage().len(), 1);
        keyspace.check_invariants();
    }
}
