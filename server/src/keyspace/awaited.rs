//! Keys that somebody waits for, and which of them have been touched.
//!
//! Owned by the [`Keyspace`](super::Keyspace), because every change of a key passes there, whatever
//! command it comes from: a push, a rename, a copy, a restored value, a script. Who waits, and what
//! a touched key is good for, is not decided here. Derived from the state's waiters, so no part of
//! a checkpoint. Fails never.

use std::collections::BTreeMap;

/// A database and a key in it.
pub type Place = (usize, Box<[u8]>);

/// The keys that are awaited.
///
/// Invariants: no inner map is empty; a key is in `touched` once if it is marked, and not at all
/// otherwise.
#[derive(Debug, Default)]
pub struct Awaited {
    /// By database.
    keys: BTreeMap<usize, BTreeMap<Box<[u8]>, Mark>>,
    /// Those that are marked, in the order in which it happened.
    touched: Vec<Place>,
}

/// Who waits for a key.
///
/// Invariant: `following <= waiting`, and `waiting > 0`.
#[derive(Debug, Default)]
struct Mark {
    waiting: usize,
    /// So many of them care for changes of what the key holds, and for its removal, too.
    following: usize,
    is_touched: bool,
}

impl Awaited {
    /// One more waits for this key: for it to be set or, if `follows`, for any change of it.
    pub fn add(&mut self, database: usize, key: &[u8], follows: bool) {
        let keys = self.keys.entry(database).or_default();
        let mark = match keys.get_mut(key) {
            Some(mark) => mark,
            None => keys.entry(key.into()).or_default(),
        };
        mark.waiting += 1;
        mark.following += usize::from(follows);
    }

    /// One of those who were added with these arguments waits no longer.
    pub fn remove(&mut self, database: usize, key: &[u8], follows: bool) {
        let Some(keys) = self.keys.get_mut(&database) else {
            return;
        };
        let Some(mark) = keys.get_mut(key) else {
            return;
        };
        mark.waiting -= 1;
        mark.following -= usize::from(follows);
        if mark.waiting > 0 {
            return;
        }
        let is_touched = mark.is_touched;
        keys.remove(key);
        if keys.is_empty() {
            self.keys.remove(&database);
        }
        if is_touched {
            let is_other = |(at, touched): &Place| *at != database || **touched != *key;
            self.touched.retain(is_other);
        }
    }

    /// The key was set.
    #[inline]
    pub(super) fn note_set(&mut self, database: usize, key: &[u8]) {
        if !self.keys.is_empty() {
            self.mark(database, key, true);
        }
    }

    /// What the key holds was changed, or the key removed.
    #[inline]
    pub fn note_change(&mut self, database: usize, key: &[u8]) {
        if !self.keys.is_empty() {
            self.mark(database, key, false);
        }
    }

    /// More has changed than can be said key by key.
    pub fn note_all(&mut self) {
        self.mark_if(|_| true);
    }

    /// All keys of a database were removed.
    pub(super) fn note_cleared(&mut self) {
        self.mark_if(|mark| mark.following > 0);
    }

    /// Whether a key has been touched.
    #[must_use]
    pub fn has_touched(&self) -> bool {
        !self.touched.is_empty()
    }

    /// How many keys have been touched, for [`Awaited::forget_touched`].
    pub(super) fn touched_len(&self) -> usize {
        self.touched.len()
    }

    /// Takes back all touches but the first `len`.
    pub(super) fn forget_touched(&mut self, len: usize) {
        let kept = len.min(self.touched.len());
        for (database, key) in self.touched.split_off(kept) {
            let keys = self.keys.get_mut(&database);
            if let Some(mark) = keys.and_then(|keys| keys.get_mut(&key)) {
                mark.is_touched = false;
            }
        }
    }

    /// The keys that were touched since the last call, the first one first.
    pub fn take_touched(&mut self) -> Vec<Place> {
        let touched = std::mem::take(&mut self.touched);
        for (database, key) in &touched {
            let keys = self.keys.get_mut(database);
            if let Some(mark) = keys.and_then(|keys| keys.get_mut(key)) {
                mark.is_touched = false;
            }
        }
        touched
    }

    fn mark(&mut self, database: usize, key: &[u8], is_set: bool) {
        let keys = self.keys.get_mut(&database);
        if let Some(mark) = keys.and_then(|keys| keys.get_mut(key))
            && (is_set || mark.following > 0)
            && !std::mem::replace(&mut mark.is_touched, true)
        {
            self.touched.push((database, key.into()));
        }
    }

    fn mark_if(&mut self, is_concerned: impl Fn(&Mark) -> bool) {
        for (&database, keys) in &mut self.keys {
            for (key, mark) in keys {
                if is_concerned(mark) && !std::mem::replace(&mut mark.is_touched, true) {
                    self.touched.push((database, key.clone()));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn touched_keys_come_once_and_in_order() {
        let mut awaited = Awaited::default();
        awaited.note_set(0, b"early");
        for key in [&b"early"[..], b"a", b"b"] {
            awaited.add(0, key, false);
        }
        awaited.add(3, b"a", false);
        for (database, key) in [(0, b"b"), (0, b"c"), (3, b"a"), (0, b"b"), (1, b"a")] {
            awaited.note_set(database, key);
        }
        assert!(awaited.has_touched());
        let places = vec![(0, b"b"[..].into()), (3, b"a"[..].into())];
        assert_eq!(awaited.take_touched(), places);
        assert!(!awaited.has_touched());
        awaited.note_set(0, b"b");
        awaited.remove(0, b"b", false);
        awaited.note_set(0, b"b");
        assert_eq!(awaited.take_touched(), Vec::new());
    }

    #[test]
    fn changes_touch_a_key_as_long_as_somebody_follows_them() {
        let mut awaited = Awaited::default();
        awaited.add(0, b"a", false);
        awaited.note_change(0, b"a");
        awaited.note_cleared();
        assert!(!awaited.has_touched());
        awaited.add(0, b"a", true);
        awaited.note_change(0, b"a");
        assert_eq!(awaited.take_touched().len(), 1);
        awaited.note_cleared();
        assert_eq!(awaited.take_touched().len(), 1);
        awaited.remove(0, b"a", true);
        awaited.note_change(0, b"a");
        assert!(!awaited.has_touched());
        awaited.note_set(0, b"a");
        assert!(awaited.has_touched());
    }

    #[test]
    fn all_keys_are_touched_in_the_order_of_their_places() {
        let mut awaited = Awaited::default();
        for (database, key) in [(1, b"a"), (0, b"b"), (0, b"a")] {
            awaited.add(database, key, false);
        }
        awaited.note_set(0, b"b");
        awaited.note_all();
        let touched = awaited.take_touched();
        let places = [(0, &b"b"[..]), (0, b"a"), (1, b"a")];
        assert!(touched.iter().map(|(at, key)| (*at, &**key)).eq(places));
    }
}
