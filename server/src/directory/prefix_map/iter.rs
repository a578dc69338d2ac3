//! [`Iter`]: parts of a map in byte order.

use super::index::common_len;
use super::node::{Child, Entry, Inner, Leaf};

/// Prefixes with their values in byte order, from a first one on; perhaps only those below one.
pub struct Iter<'a, T> {
    root: Option<&'a Child<T>>,
    /// The way to the leaf, with the next child of each node.
    way: Vec<(&'a Inner<T>, usize)>,
    leaf: Option<(&'a Leaf<T>, usize)>,
    /// Only what begins with this.
    below: Vec<u8>,
    /// Of that, only what has no other in between.
    is_shallow: bool,
}

impl<'a, T> Iter<'a, T> {
    pub(super) fn new(root: Option<&'a Child<T>>, first: &[u8]) -> Self {
        let mut iter = Self {
            root,
            way: vec![],
            leaf: None,
            below: vec![],
            is_shallow: false,
        };
        iter.seek(first);
        iter
    }

    pub(super) fn below(mut self, prefix: &[u8]) -> Self {
        self.below = prefix.to_vec();
        self
    }

    pub(super) fn shallow(mut self) -> Self {
        self.is_shallow = true;
        self
    }

    /// Goes on with the first prefix that is not before this one.
    fn seek(&mut self, first: &[u8]) {
        self.way.clear();
        let mut next = self.root;
        while let Some(child) = next {
            next = match child {
                Child::Inner(inner) => {
                    let at = inner.child_of(first);
                    self.way.push((inner, at + 1));
                    Some(&inner.children[at])
                }
                Child::Leaf(leaf) => {
                    let count = leaf.find(first).count;
                    let is_there = leaf.entries[..count]
                        .last()
                        .is_some_and(|e| *e.prefix == *first);
                    self.leaf = Some((leaf, count - usize::from(is_there)));
                    None
                }
            };
        }
    }

    fn next_entry(&mut self) -> Option<&'a Entry<T>> {
        loop {
            let (leaf, at) = self.leaf.as_mut()?;
            if let Some(entry) = leaf.entries.get(*at) {
                *at += 1;
                return Some(entry);
            }
            self.next_leaf();
        }
    }

    fn next_leaf(&mut self) {
        self.leaf = None;
        while let Some((inner, at)) = self.way.last_mut() {
            let Some(mut child) = inner.children.get(*at) else {
                self.way.pop();
                continue;
            };
            *at += 1;
            while let Child::Inner(inner) = child {
                self.way.push((inner, 1));
                child = &inner.children[0];
            }
            if let Child::Leaf(leaf) = child {
                self.leaf = Some((leaf, 0));
            }
            return;
        }
    }

    /// Passes over what is below the child that this entry, which is not one, belongs to.
    fn skip_below_child(&mut self, entry: &Entry<T>) {
        // The child is the shortest prefix of the entry that is longer than `below`.
        let mut child = entry;
        while let Some(parent) = child.parent
            && parent.get() as usize - 1 > self.below.len()
            && let Some((parent, _)) = self
                .root
                .and_then(|root| root.predecessor(&child.prefix[..parent.get() as usize - 1]))
        {
            child = parent;
        }
        match successor(&child.prefix) {
            Some(next) => self.seek(&next),
            None => self.leaf = None,
        }
    }
}

impl<'a, T> Iterator for Iter<'a, T> {
    type Item = (&'a [u8], &'a T);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let entry = self.next_entry()?;
            if common_len(&entry.prefix, &self.below) < self.below.len() {
                self.leaf = None;
                return None;
            }
            let is_child = entry.prefix.len() > self.below.len()
                && entry
                    .parent
                    .is_none_or(|parent| parent.get() as usize - 1 <= self.below.len());
            if !self.is_shallow || is_child {
                return Some((&entry.prefix, &entry.value));
            }
            if entry.prefix.len() > self.below.len() {
                self.skip_below_child(entry);
            }
        }
    }
}

/// What comes first behind all that begins with this prefix.
fn successor(prefix: &[u8]) -> Option<Vec<u8>> {
    let end = prefix.iter().rposition(|byte| *byte < 0xff)?;
    let mut next = prefix[..=end].to_vec();
    next[end] += 1;
    Some(next)
}
