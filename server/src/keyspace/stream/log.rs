//! The entries of a stream: a deque of nodes.
//!
//! Nodes are shared between clones of a stream and copied when one of the owners changes them, so
//! writing to a stream that a checkpoint holds costs one copy of the deque, some bytes for each
//! hundred entries, and one of the node in question.

use std::collections::VecDeque;
use std::mem::size_of;
use std::sync::Arc;

use super::id::StreamId;
use super::node::{Entry, Node, Pairs};

/// A node with its first ID at hand, so that a search does not touch it.
#[derive(Clone)]
struct Link {
    first: StreamId,
    node: Arc<Node>,
}

/// What XADD and XTRIM remove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trim {
    /// What is kept.
    pub kept: Kept,
    /// Whether to stop before a node of which something is kept.
    pub whole_nodes: bool,
    /// No node is begun with which more entries than this would be removed; 0 for no limit.
    pub limit: u64,
}

/// What a trim keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// So many entries, the latest.
    Latest(u64),
    /// Those with this ID or a greater one.
    From(StreamId),
}

/// A deque of nodes.
///
/// Invariants: IDs rise from node to node; `len` and `node_bytes` are sums over all nodes. A node
/// may be without live entries: Redis, too, keeps it until a trim or a deletion comes by.
#[derive(Clone, Default)]
pub(super) struct Log {
    links: VecDeque<Link>,
    len: usize,
    node_bytes: usize,
}

impl Log {
    /// Number of entries.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Number of nodes.
    pub(super) fn node_count(&self) -> usize {
        self.links.len()
    }

    /// A node, which must be there.
    pub(super) fn node(&self, at: usize) -> &Node {
        &self.links[at].node
    }

    /// Bytes of heap memory. Constant time.
    pub(super) fn heap_bytes(&self) -> usize {
        self.links.capacity() * size_of::<Link>() + self.node_bytes
    }

    /// Adds an entry, whose ID must be greater than all.
    pub(super) fn append(&mut self, id: StreamId, pairs: Pairs<'_>) {
        let bytes = pairs.iter().map(|(name, value)| name.len() + value.len());
        let bytes: usize = bytes.sum();
        self.forget_deleted(id);
        match self.links.back().map(|link| link.node.has_room(bytes)) {
            Some(true) => {
                let last = self.links.len() - 1;
                self.edit(last, |node| node.append(id, pairs));
            }
            full => {
                if full.is_some() {
                    let last = self.links.len() - 1;
                    self.edit(last, Node::close);
                }
                self.push(Node::new(id, pairs));
                return;
            }
        }
        self.len += 1;
    }

    /// Makes IDs rise from node to node also where entries with `id` or greater ones were deleted
    /// and XSETID went back behind them.
    fn forget_deleted(&mut self, id: StreamId) {
        while let Some(link) = self.links.back()
            && link.node.last >= id
        {
            let last = self.links.len() - 1;
            match self.links[last].node.entries().last() {
                None => self.drop_node(last),
                Some(entry) => {
                    let top = entry.id;
                    self.edit(last, |node| node.last = top);
                }
            }
        }
    }

    /// Adds a node behind all others.
    pub(super) fn push(&mut self, node: Node) {
        self.len += node.live as usize;
        self.node_bytes += bytes_of(&node);
        self.links.push_back(Link {
            first: node.first,
            node: Arc::new(node),
        });
    }

    /// Removes an entry; false if it is not there.
    pub(super) fn remove(&mut self, id: StreamId) -> bool {
        let Some(at) = self.find(id) else {
            return false;
        };
        if !self.links[at].node.has(id) {
            return false;
        }
        if self.links[at].node.live == 1 {
            self.drop_node(at);
        } else {
            self.edit(at, |node| node.remove(id));
            self.len -= 1;
        }
        true
    }

    /// Removes entries from the front. Returns how many.
    pub(super) fn trim(&mut self, trim: Trim) -> u64 {
        let mut removed = 0;
        while let Some(link) = self.links.front() {
            let (len, live) = (self.len as u64, u64::from(link.node.live));
            if matches!(trim.kept, Kept::Latest(kept) if len <= kept)
                || (trim.limit > 0 && removed + live > trim.limit)
            {
                break;
            }
            let all = match trim.kept {
                Kept::Latest(kept) => len - live >= kept,
                Kept::From(id) => link.node.last < id,
            };
            if all {
                self.drop_node(0);
                removed += live;
                continue;
            }
            if !trim.whole_nodes {
                removed += self.trim_front(trim.kept);
            }
            break;
        }
        removed
    }

    /// Removes entries from the first node, which does not go as a whole.
    fn trim_front(&mut self, kept: Kept) -> u64 {
        let mut left = self.len as u64;
        let gone = |id: StreamId| match kept {
            Kept::Latest(kept) => {
                let is_gone = left > kept;
                left -= u64::from(is_gone);
                is_gone
            }
            Kept::From(first) => id < first,
        };
        let removed = self.edit(0, |node| node.remove_front(gone));
        self.len -= removed;
        removed as u64
    }

    /// Whether there is such an entry.
    pub(super) fn has(&self, id: StreamId) -> bool {
        self.find(id).is_some_and(|at| self.node(at).has(id))
    }

    /// The ID of the first entry.
    pub(super) fn first_id(&self) -> Option<StreamId> {
        let mut nodes = self.links.iter().map(|link| &link.node);
        let node = nodes.find(|node| node.live > 0)?;
        node.entries().next().map(|entry| entry.id)
    }

    /// The ID of the last entry.
    pub(super) fn last_id(&self) -> Option<StreamId> {
        let mut nodes = self.links.iter().rev().map(|link| &link.node);
        let node = nodes.find(|node| node.live > 0)?;
        if node.deleted == 0 || node.has(node.last) {
            return Some(node.last);
        }
        node.entries().last().map(|entry| entry.id)
    }

    /// The entries from `start` to `end`, both included.
    pub(super) fn range(&self, start: StreamId, end: StreamId) -> impl Iterator<Item = Entry<'_>> {
        let from = self.find(start).unwrap_or(0);
        let nodes = self.links.range(from.min(self.links.len())..);
        nodes
            .flat_map(|link| link.node.entries())
            .skip_while(move |entry| entry.id < start)
            .take_while(move |entry| entry.id <= end)
    }

    /// The entries from `end` back to `start`, both included.
    pub(super) fn range_back(
        &self,
        start: StreamId,
        end: StreamId,
    ) -> impl Iterator<Item = Entry<'_>> {
        let to = self.find(end).map_or(0, |at| at + 1);
        let nodes = self.links.range(..to).rev();
        nodes
            .flat_map(|link| {
                // Entries can only be read forwards; a node has few.
                let entries: Vec<_> = link.node.entries().collect();
                entries.into_iter().rev()
            })
            .skip_while(move |entry| entry.id > end)
            .take_while(move |entry| entry.id >= start)
    }

    /// The first IDs of all nodes.
    pub(super) fn node_ids(&self) -> impl Iterator<Item = StreamId> {
        self.links.iter().map(|link| link.first)
    }

    /// Panics unless what the type promises holds.
    #[cfg(test)]
    pub(super) fn check_invariants(&self) {
        let nodes = || self.links.iter().map(|link| &*link.node);
        assert_eq!(
            self.len,
            nodes().map(|node| node.live as usize).sum::<usize>()
        );
        assert_eq!(self.node_bytes, nodes().map(bytes_of).sum::<usize>());
        let mut before = StreamId::MIN;
        for link in &self.links {
            assert!(before < link.first && link.first == link.node.first);
            before = link.node.last;
            let count = link.node.entries().count();
            assert_eq!(count, link.node.live as usize);
        }
    }

    /// The node that holds the entry of this ID if it is there: the last that begins with it or
    /// earlier.
    fn find(&self, id: StreamId) -> Option<usize> {
        let behind = self.links.partition_point(|link| link.first <= id);
        behind.checked_sub(1)
    }

    fn drop_node(&mut self, at: usize) {
        let link = self.links.remove(at).expect("callers name a node");
        self.len -= link.node.live as usize;
        self.node_bytes -= bytes_of(&link.node);
        if self.links.len() * 4 < self.links.capacity() {
            self.links.shrink_to(self.links.len() * 2);
        }
    }

    /// Changes a node, copying it if it is shared.
    fn edit<R>(&mut self, at: usize, change: impl FnOnce(&mut Node) -> R) -> R {
        let node = &mut self.links[at].node;
        let before = bytes_of(node);
        let node = Arc::make_mut(node);
        let result = change(node);
        self.node_bytes = self.node_bytes - before + bytes_of(node);
        result
    }
}

/// Bytes of memory of a node, with the two counters that stand before it.
fn bytes_of(node: &Node) -> usize {
    2 * size_of::<usize>() + size_of::<Node>() + node.heap_bytes()
}
