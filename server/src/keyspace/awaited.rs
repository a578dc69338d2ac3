//! Keys that somebody waits for, and which of them have been touched.
//!
//! Owned by the [`Keyspace`](super::Keyspace), because every change of a key passes there, whatever
//! command it comes from: a push, a rename, a copy, a restored value, a script. Who waits, and what
//! a touched key is good for, is not decided here. Derived from the state's waiters, so no part of a
//! checkpoint. Fails never.

use std::collections::BTreeMap;

/// A database and a key in it.
pub type Place = (usize, Box<[u8]>);

/// The keys that are awaited.
///
/// Invariants: no inner map is empty; a key is in `touched` once if it is marked, and not at all
/// otherwise.
#[derive(Debug, Default)]
pub struct Awaited {
    /// By database: whether each key has been touched since somebody last looked.
    keys: BTreeMap<usize, BTreeMap<Box<[u8]>, bool>>,
    /// Those that have, in the order in which it happened.
    touched: Vec<Place>,
}

impl Awaited {
    /// From now on remembers when this key is touched.
    pub fn add(&mut self, database: usize, key: &[u8]) {
        let keys = self.keys.entry(database).or_default();
        if !keys.contains_key(key) {
            keys.insert(key.into(), false);
        }
    }

    /// Nobody waits for this key any more.
    pub fn remove(&mut self, database: usize, key: &[u8]) {
        let Some(keys) = self.keys.get_mut(&database) else {
            return;
        };
        if keys.remove(key) == Some(true) {
            self.touched
                .retain(|(at, touched)| *at != database || **touched != *key);
        }
        if keys.is_empty() {
            self.keys.remove(&database);
        }
    }

    /// The key was written or removed.
    #[inline]
    pub(super) fn note(&mut self, database: usize, key: &[u8]) {
        if !self.keys.is_empty() {
            self.mark(database, key);
        }
    }

    /// More has changed than can be said key by key.
    pub fn note_all(&mut self) {
        for (&database, keys) in &mut self.keys {
            for (key, is_touched) in keys {
                if !std::mem::replace(is_touched, true) {
                    self.touched.push((database, key.clone()));
                }
            }
        }
    }

    /// Whether a key has been touched.
    #[must_use]
    pub fn has_touched(&self) -> bool {
        !self.touched.is_empty()
    }

    /// The keys that were touched since the last call, the first one first.
    pub fn take_touched(&mut self) -> Vec<Place> {
        let touched = std::mem::take(&mut self.touched);
        for (database, key) in &touched {
            let keys = self.keys.get_mut(database);
            if let Some(is_touched) = keys.and_then(|keys| keys.get_mut(key)) {
                *is_touched = false;
            }
        }
        touched
    }

    fn mark(&mut self, database: usize, key: &[u8]) {
        let keys = self.keys.get_mut(&database);
        if let Some(is_touched) = keys.and_then(|keys| keys.get_mut(key))
            && !std::mem::replace(is_touched, true)
        {
            self.touched.push((database, key.into()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn touched_keys_come_once_and_in_order() {
        let mut awaited = Awaited::default();
        awaited.note(0, b"early");
        for key in [&b"early"[..], b"a", b"b"] {
            awaited.add(0, key);
        }
        awaited.add(3, b"a");
        for (database, key) in [(0, b"b"), (0, b"c"), (3, b"a"), (0, b"b"), (1, b"a")] {
            awaited.note(database, key);
        }
        assert!(awaited.has_touched());
        let places = vec![(0, b"b"[..].into()), (3, b"a"[..].into())];
        assert_eq!(awaited.take_touched(), places);
        assert!(!awaited.has_touched());
        awaited.note(0, b"b");
        awaited.remove(0, b"b");
        awaited.note(0, b"b");
        assert_eq!(awaited.take_touched(), Vec::new());
    }

    #[test]
    fn all_keys_are_touched_in_the_order_of_their_places() {
        let mut awaited = Awaited::default();
        awaited.add(1, b"a");
        awaited.add(0, b"b");
        awaited.add(0, b"a");
        awaited.note(0, b"b");
        awaited.note_all();
        let touched = awaited.take_touched();
        let places = [(0, &b"b"[..]), (0, b"a"), (1, b"a")];
        assert!(touched.iter().map(|(at, key)| (*at, &**key)).eq(places));
    }
}
