//! [`View`]: what a node knows of prefixes and groups at one moment, for readers.
//!
//! A view never changes; the directory replaces it. Its parts share memory with the views before
//! and after it, so a change costs no copy of the whole. Owned here: look-ups, by key, prefix,
//! group and name. Not here: whether a record may be believed. Nothing can fail: a key is always
//! somebody's, because the root group owns the empty prefix.

use std::sync::Arc;

use bailiwick_replication::GroupId;

use super::PrefixMap;
use super::record::GroupRecord;

/// The group that owns the empty prefix.
pub const ROOT_GROUP: GroupId = GroupId(0);
/// The epoch at which it does so from the beginning.
pub const ROOT_EPOCH: u64 = 1;

/// Who serves a prefix, as far as is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The epoch of the prefix.
    pub epoch: u64,
    /// The group.
    pub group: GroupId,
}

/// A moment's knowledge. Invariant: the empty prefix has an owner.
#[derive(Clone, Debug)]
pub struct View {
    owners: PrefixMap<Owner>,
    /// By the number's big-endian bytes.
    groups: PrefixMap<Arc<GroupRecord>>,
    names: PrefixMap<GroupId>,
    generation: u64,
}

impl View {
    pub(super) fn new() -> Self {
        let mut view = Self {
            owners: PrefixMap::new(),
            groups: PrefixMap::new(),
            names: PrefixMap::new(),
            generation: 0,
        };
        view.set_owner(
            b"",
            Some(Owner {
                epoch: ROOT_EPOCH,
                group: ROOT_GROUP,
            }),
        );
        view
    }

    /// Who owns a key: the longest prefix that matches it, as a part of the key, and its owner.
    #[inline]
    pub fn owner<'k>(&self, key: &'k [u8]) -> (&'k [u8], Owner) {
        let (prefix, owner) = self
            .owners
            .longest(key)
            .expect("the empty prefix has an owner");
        (prefix, *owner)
    }

    /// Who owns exactly this prefix; `None` if it is not one.
    pub fn owner_of_prefix(&self, prefix: &[u8]) -> Option<Owner> {
        self.owners.get(prefix).copied()
    }

    /// The next shorter prefix and its owner; `None` for the empty prefix.
    pub fn parent_of<'k>(&self, prefix: &'k [u8]) -> Option<(&'k [u8], Owner)> {
        self.owners
            .parent(prefix)
            .map(|(parent, owner)| (parent, *owner))
    }

    /// All prefixes that begin with this one, itself included, in byte order.
    pub fn under(&self, prefix: &[u8]) -> impl Iterator<Item = (&[u8], Owner)> {
        self.owners
            .under(prefix)
            .map(|(prefix, owner)| (prefix, *owner))
    }

    /// The prefixes directly below this one, in byte order.
    pub fn children_of(&self, prefix: &[u8]) -> impl Iterator<Item = (&[u8], Owner)> {
        self.owners
            .children(prefix)
            .map(|(prefix, owner)| (prefix, *owner))
    }

    /// How many prefixes there are, the empty one included.
    pub fn prefix_count(&self) -> usize {
        self.owners.len()
    }

    /// A group and its members.
    pub fn group(&self, id: GroupId) -> Option<&Arc<GroupRecord>> {
        self.groups.get(&id.0.to_be_bytes())
    }

    /// The group of this name.
    pub fn group_named(&self, name: &str) -> Option<&Arc<GroupRecord>> {
        self.group(*self.names.get(name.as_bytes())?)
    }

    /// All groups, by rising number.
    pub fn groups(&self) -> impl Iterator<Item = &Arc<GroupRecord>> {
        self.groups.iter().map(|(_, group)| group)
    }

    /// Rises with each view.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    pub(super) fn next_generation(&mut self) {
        self.generation += 1;
    }

    /// Sets who owns a prefix, or that it is none.
    pub(super) fn set_owner(&mut self, prefix: &[u8], owner: Option<Owner>) {
        match owner {
            Some(owner) => self.owners.insert(prefix, owner),
            None => self.owners.remove(prefix),
        };
    }

    pub(super) fn set_group(&mut self, group: Arc<GroupRecord>) {
        let id = group.id.0.to_be_bytes();
        let before = self.groups.insert(&id, Arc::clone(&group));
        if let Some(before) = before.filter(|before| before.name != group.name) {
            self.names.remove(before.name.as_bytes());
        }
        self.names.insert(group.name.as_bytes(), group.id);
    }
}
