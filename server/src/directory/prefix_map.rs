//! [`PrefixMap`]: byte-string prefixes and what belongs to each; a key finds the longest of them.
//!
//! This is the look-up on the path of every request, so it takes no lock and allocates nothing; and
//! it is a value that is replaced as a whole (behind an `ArcSwap`), so a clone costs one pointer
//! and a change copies only the nodes on the way to it, and not even those when nobody else holds
//! them.
//!
//! # How a key finds its prefix
//!
//! The prefixes stand in byte order in a B+ tree. The last of them that is not behind the key, its
//! *predecessor*, is the longest that matches, or begins with it: whatever matches the key and is
//! not behind the predecessor is a prefix of that too. Each prefix knows the length of its
//! *parent*, the next shorter one, so if the predecessor does not match, the search goes on with
//! the key cut to the parent's length, or to what the key and the predecessor have in common. Keys
//! mostly lie behind their prefix without another in between, and then one search is all.
//!
//! A node searches the first bytes behind what all in it have in common, in one array (`index`),
//! so that a search waits for memory about once a level, and the upper levels stay in the cache.
//! Short prefixes stand in their entries (`prefix`), which are looked at last, and only if those
//! bytes do not show all of them.
//!
//! It knows nothing of epochs, groups and records. It cannot fail.

mod index;
mod iter;
mod node;
mod prefix;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use iter::Iter;
use node::{Child, Entry, Leaf};
use prefix::Prefix;

/// A map from byte-string prefixes to values. Clones are cheap and independent.
///
/// Invariant: each entry's `parent` names the longest other prefix that it begins with.
#[derive(Clone, Debug)]
pub struct PrefixMap<T> {
    root: Option<Child<T>>,
    len: usize,
}

impl<T> Default for PrefixMap<T> {
    fn default() -> Self {
        Self { root: None, len: 0 }
    }
}

impl<T> PrefixMap<T> {
    /// An empty map.
    pub fn new() -> Self {
        Self::default()
    }

    /// The number of prefixes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no prefix.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The value of exactly this prefix.
    pub fn get(&self, prefix: &[u8]) -> Option<&T> {
        self.entry(prefix).map(|entry| &entry.value)
    }

    /// The longest prefix of `key` that is in the map, as a part of `key`, with its value.
    #[inline]
    pub fn longest<'k>(&self, key: &'k [u8]) -> Option<(&'k [u8], &T)> {
        let root = self.root.as_ref()?;
        let mut rest = key;
        loop {
            let (entry, found) = root.predecessor(rest)?;
            if found.is_match {
                return Some((&key[..found.in_common], &entry.value));
            }
            rest = &key[..found.in_common.min(entry.parent?.get() as usize - 1)];
        }
    }

    /// The longest prefix in the map that is shorter than `prefix` and matches it.
    pub fn parent<'k>(&self, prefix: &'k [u8]) -> Option<(&'k [u8], &T)> {
        let (_, shorter) = prefix.split_last()?;
        self.longest(shorter)
    }

    /// All prefixes that begin with `prefix`, itself included, in byte order.
    pub fn under(&self, prefix: &[u8]) -> Iter<'_, T> {
        Iter::new(self.root.as_ref(), prefix).below(prefix)
    }

    /// The prefixes longer than `prefix` with no other between them and it, in byte order.
    pub fn children(&self, prefix: &[u8]) -> Iter<'_, T> {
        Iter::new(self.root.as_ref(), prefix)
            .below(prefix)
            .shallow()
    }

    /// This prefix and all behind it, in byte order.
    pub fn iter_from(&self, first: &[u8]) -> Iter<'_, T> {
        Iter::new(self.root.as_ref(), first)
    }

    /// All prefixes in byte order.
    pub fn iter(&self) -> Iter<'_, T> {
        self.iter_from(b"")
    }

    fn entry(&self, prefix: &[u8]) -> Option<&Entry<T>> {
        let (entry, found) = self.root.as_ref()?.predecessor(prefix)?;
        (found.is_match && found.in_common == prefix.len()).then_some(entry)
    }

    /// Whether a longer prefix begins with this one.
    fn has_below(&self, prefix: &[u8]) -> bool {
        self.under(prefix)
            .any(|(below, _)| below.len() > prefix.len())
    }
}

impl<T: Clone> PrefixMap<T> {
    /// Sets the value of `prefix` and returns the one it had. Takes time with the number of
    /// prefixes directly below a new one.
    pub fn insert(&mut self, prefix: &[u8], value: T) -> Option<T> {
        let parent = self.parent(prefix).map(|(parent, _)| parent.len());
        let has_below = self.has_below(prefix);
        let entry = Entry::new(prefix.into(), parent, value);
        let own_len = entry.as_parent();
        let Some(root) = &mut self.root else {
            self.root = Some(Child::Leaf(Arc::new(Leaf::new(vec![entry]))));
            self.len = 1;
            return None;
        };
        match root.insert(entry) {
            Ok(old) => return Some(old),
            Err(None) => {}
            Err(Some(right)) => {
                let left = self.root.take();
                self.root = Some(Child::join(left.into_iter().chain([right]).collect()));
            }
        }
        self.len += 1;
        if has_below && let Some(root) = &mut self.root {
            root.reparent(prefix, &|parent| parent < own_len, own_len);
        }
        None
    }

    /// Takes `prefix` out and returns the value it had. Takes time with the number of prefixes
    /// directly below it.
    pub fn remove(&mut self, prefix: &[u8]) -> Option<T> {
        let entry = self.entry(prefix)?;
        let (own_len, parent) = (entry.as_parent(), entry.parent);
        let root = self.root.as_mut()?;
        let value = root.remove(prefix);
        self.len -= 1;
        if root.is_empty() {
            self.root = None;
        } else if let Some(child) = root.only_child() {
            self.root = Some(child);
        }
        if self.has_below(prefix)
            && let Some(root) = &mut self.root
        {
            root.reparent(prefix, &|other| other == own_len, parent);
        }
        Some(value)
    }
}

impl<T: Clone> FromIterator<(Vec<u8>, T)> for PrefixMap<T> {
    /// The map of these prefixes; of equal ones the last stays. Faster than inserting one by one.
    fn from_iter<I: IntoIterator<Item = (Vec<u8>, T)>>(entries: I) -> Self {
        let mut entries: Vec<_> = entries.into_iter().collect();
        entries.reverse();
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        entries.dedup_by(|next, kept| next.0 == kept.0);
        let len = entries.len();
        // Those that the next prefix may begin with.
        let mut open: Vec<Prefix> = Vec::new();
        let entries = entries.into_iter().map(|(prefix, value)| {
            while open.pop_if(|last| !prefix.starts_with(last)).is_some() {}
            let parent = open.last().map(|parent| parent.len());
            let entry = Entry::new(prefix[..].into(), parent, value);
            open.push(entry.prefix.clone());
            entry
        });
        Self {
            root: Child::build(entries.collect()),
            len,
        }
    }
}
