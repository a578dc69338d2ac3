//! Streams: logs of entries, each with an ID and pairs of names and values, and the consumer groups
//! that read them.
//!
//! Entries stand in nodes of up to a hundred (`node`), which make a deque (`log`); what a group has
//! delivered is kept in maps by ID (`group`, `id_map`). All of these are shared between clones in
//! pieces. A stream that has lost its last entry is still there: it remembers its last ID and its
//! groups.
//!
//! The module knows no commands and no clock. Times are arguments, in milliseconds of log time.

mod bytes;
mod group;
mod id;
mod id_map;
mod log;
mod node;
mod pieces;
mod radix;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::mem::size_of;
use std::sync::Arc;

use super::aggregate::{Aggregate, Elements, Parts, object_variant};
use log::Log;

pub use group::{Consumer, Group, Pending, Slot};
pub use id::StreamId;
pub use log::{Kept, Trim};
pub use node::{Entry, NODE_MAX_ENTRIES, Pairs};

/// An estimate of what a group's name takes besides its bytes.
const NAME_BYTES: usize = 32;

/// The number under which a checkpoint knows the one representation.
const REPRESENTATION: u8 = 0;

/// A log of entries with consumer groups.
///
/// Invariants: every entry's ID is at most `last_id`; `group_bytes` is the sum over all groups.
#[derive(Clone, Default)]
pub struct Stream {
    body: Box<Body>,
}

#[derive(Clone, Default)]
struct Body {
    log: Log,
    last_id: StreamId,
    max_deleted_id: StreamId,
    entries_added: u64,
    groups: BTreeMap<Box<[u8]>, Arc<Group>>,
    group_bytes: usize,
}

impl Stream {
    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.body.log.len()
    }

    /// Whether there is no entry; the stream may have a history and groups all the same.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The greatest ID that an entry had, or that was set since.
    #[must_use]
    pub fn last_id(&self) -> StreamId {
        self.body.last_id
    }

    /// The greatest ID of an entry that was deleted by name.
    #[must_use]
    pub fn max_deleted_id(&self) -> StreamId {
        self.body.max_deleted_id
    }

    /// How many entries were ever added.
    #[must_use]
    pub fn entries_added(&self) -> u64 {
        self.body.entries_added
    }

    /// The ID of the first entry, 0-0 if there is none.
    #[must_use]
    pub fn first_id(&self) -> StreamId {
        self.body.log.first_id().unwrap_or_default()
    }

    /// The ID of the last entry, 0-0 if there is none.
    #[must_use]
    pub fn top_id(&self) -> StreamId {
        self.body.log.last_id().unwrap_or_default()
    }

    /// Adds an entry. Its ID must be greater than [`Stream::last_id`].
    pub fn append(&mut self, id: StreamId, pairs: Pairs<'_>) {
        assert!(id > self.body.last_id, "{id} behind {}", self.body.last_id);
        self.body.log.append(id, pairs);
        self.body.last_id = id;
        self.body.entries_added = self.body.entries_added.wrapping_add(1);
    }

    /// Deletes an entry; false if it is not there.
    pub fn delete(&mut self, id: StreamId) -> bool {
        let deleted = self.body.log.remove(id);
        if deleted {
            self.body.max_deleted_id = self.body.max_deleted_id.max(id);
        }
        deleted
    }

    /// Removes the oldest entries. Returns how many.
    pub fn trim(&mut self, trim: Trim) -> u64 {
        self.body.log.trim(trim)
    }

    /// Sets the last ID, which must not be less than [`Stream::top_id`]; what is `None` stays.
    pub fn set_last_id(
        &mut self,
        id: StreamId,
        entries_added: Option<u64>,
        max_deleted_id: Option<StreamId>,
    ) {
        assert!(id >= self.top_id(), "{id} before {}", self.top_id());
        self.body.last_id = id;
        self.body.entries_added = entries_added.unwrap_or(self.body.entries_added);
        self.body.max_deleted_id = max_deleted_id.unwrap_or(self.body.max_deleted_id);
    }

    /// Whether there is such an entry.
    #[must_use]
    pub fn has(&self, id: StreamId) -> bool {
        self.body.log.has(id)
    }

    /// The entries from `start` to `end`, both included.
    pub fn range(&self, start: StreamId, end: StreamId) -> impl Iterator<Item = Entry<'_>> {
        self.body.log.range(start, end)
    }

    /// The entries from `end` back to `start`, both included.
    pub fn range_back(&self, start: StreamId, end: StreamId) -> impl Iterator<Item = Entry<'_>> {
        self.body.log.range_back(start, end)
    }

    /// Number of nodes, and of nodes of the radix tree in which Redis would keep these.
    #[must_use]
    pub fn tree_sizes(&self) -> (usize, usize) {
        let ids = self.body.log.node_ids();
        (self.body.log.node_count(), radix::node_count(ids))
    }

    /// All groups by name.
    pub fn groups(&self) -> impl ExactSizeIterator<Item = (&[u8], &Group)> {
        let groups = self.body.groups.iter();
        groups.map(|(name, group)| (&**name, &**group))
    }

    /// The group of a name.
    #[must_use]
    pub fn group(&self, name: &[u8]) -> Option<&Group> {
        self.body.groups.get(name).map(|group| &**group)
    }

    /// Adds a group; false if there is one of this name.
    pub fn add_group(&mut self, name: &[u8], group: Group) -> bool {
        if self.body.groups.contains_key(name) {
            return false;
        }
        self.body.group_bytes += group_bytes(name, &group);
        self.body.groups.insert(name.into(), Arc::new(group));
        true
    }

    /// Removes a group; false if there is none of this name.
    pub fn remove_group(&mut self, name: &[u8]) -> bool {
        let Some(group) = self.body.groups.remove(name) else {
            return false;
        };
        self.body.group_bytes -= group_bytes(name, &group);
        true
    }

    /// Changes a group; `None` if there is none of this name. The entries can be read meanwhile.
    pub fn edit_group<R>(
        &mut self,
        name: &[u8],
        change: impl FnOnce(&mut Group, &Entries<'_>) -> R,
    ) -> Option<R> {
        let body = &mut *self.body;
        let group = body.groups.get_mut(name)?;
        let before = group_bytes(name, group);
        let group = Arc::make_mut(group);
        let entries = Entries {
            log: &body.log,
            max_deleted_id: body.max_deleted_id,
            last_id: body.last_id,
            entries_added: body.entries_added,
        };
        let result = change(group, &entries);
        body.group_bytes = body.group_bytes - before + group_bytes(name, group);
        Some(result)
    }

    /// The entries without the groups.
    #[must_use]
    pub fn entries(&self) -> Entries<'_> {
        Entries {
            log: &self.body.log,
            max_deleted_id: self.body.max_deleted_id,
            last_id: self.body.last_id,
            entries_added: self.body.entries_added,
        }
    }

    /// Panics unless what the types promise holds.
    #[cfg(test)]
    pub(crate) fn check_invariants(&self) {
        self.body.log.check_invariants();
        assert!(self.top_id() <= self.last_id());
        let bytes = self.groups().map(|(name, group)| {
            group.check_invariants();
            group_bytes(name, group)
        });
        assert_eq!(self.body.group_bytes, bytes.sum::<usize>());
    }
}

/// The entries of a stream, without its groups.
#[derive(Clone, Copy)]
pub struct Entries<'a> {
    log: &'a Log,
    max_deleted_id: StreamId,
    last_id: StreamId,
    entries_added: u64,
}

impl<'a> Entries<'a> {
    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.log.len()
    }

    /// Whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many entries were ever added.
    #[must_use]
    pub fn added(&self) -> u64 {
        self.entries_added
    }

    /// Whether there is such an entry.
    #[must_use]
    pub fn has(&self, id: StreamId) -> bool {
        self.log.has(id)
    }

    /// The entry of this ID.
    #[must_use]
    pub fn get(&self, id: StreamId) -> Option<Entry<'a>> {
        self.log.range(id, id).next()
    }

    /// The ID of the last entry, 0-0 if there is none.
    #[must_use]
    pub fn top_id(&self) -> StreamId {
        self.log.last_id().unwrap_or_default()
    }

    /// The entries from `start` on.
    pub fn from(&self, start: StreamId) -> impl Iterator<Item = Entry<'a>> + use<'a> {
        self.log.range(start, StreamId::MAX)
    }

    /// Whether an entry may have been deleted from the midst of those from `start` on, so that they
    /// cannot be counted from the ends.
    #[must_use]
    pub fn has_gaps_from(&self, start: StreamId) -> bool {
        !self.is_empty() && self.max_deleted_id != StreamId::MIN && start <= self.max_deleted_id
    }

    /// How many entries were added up to this ID, if that can be told from the ends of the stream.
    #[must_use]
    pub fn added_up_to(&self, id: StreamId) -> Option<u64> {
        if self.entries_added == 0 {
            return Some(0);
        }
        let first = self.log.first_id();
        if id == self.last_id || first.is_none() && id < self.last_id {
            return Some(self.entries_added);
        }
        let first = first.unwrap_or_default();
        let is_whole = self.max_deleted_id == StreamId::MIN || self.max_deleted_id < first;
        let before = self.entries_added.wrapping_sub(self.len() as u64);
        match id.cmp(&first) {
            _ if !is_whole || id > self.last_id => None,
            std::cmp::Ordering::Less => Some(before),
            std::cmp::Ordering::Equal => Some(before.wrapping_add(1)),
            std::cmp::Ordering::Greater => None,
        }
    }
}

/// Bytes that a group takes with its name.
fn group_bytes(name: &[u8], group: &Group) -> usize {
    name.len() + NAME_BYTES + group.heap_bytes()
}

impl Elements for Stream {
    /// Number of pieces, as for a checkpoint: what there is to look at besides entries is in them,
    /// too.
    fn len(&self) -> usize {
        self.piece_count()
    }

    fn is_empty(&self) -> bool {
        false
    }

    fn encoding(&self) -> &'static str {
        "stream"
    }

    fn heap_bytes(&self) -> usize {
        size_of::<Body>() + self.body.log.heap_bytes() + self.body.group_bytes
    }

    fn representation(&self) -> u8 {
        REPRESENTATION
    }

    fn visit(&self, from: usize, count: usize, visit: &mut dyn FnMut(&[u8])) {
        self.write_pieces(from, count, visit);
    }

    fn pieces_at_once(&self) -> usize {
        16
    }
}

impl Aggregate for Stream {
    object_variant!(Stream);

    fn restore(representation: u8, parts: &mut Parts<'_>, _seed: u64) -> Option<Self> {
        if representation != REPRESENTATION {
            return None;
        }
        Self::from_pieces(parts)
    }
}

impl PartialEq for Stream {
    /// Whether both have the same content, history and nodes.
    fn eq(&self, other: &Self) -> bool {
        let pieces = |stream: &Self| {
            let mut pieces = Vec::new();
            stream.write_pieces(0, usize::MAX, &mut |piece| pieces.push(piece.to_vec()));
            pieces
        };
        pieces(self) == pieces(other)
    }
}

impl Eq for Stream {}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream")
            .field("len", &self.len())
            .field("last_id", &self.last_id())
            .finish_non_exhaustive()
    }
}
