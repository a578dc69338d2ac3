//! Members in the order of their scores, with their ranks: a B+-tree that counts.
//!
//! Leaves hold elements; an inner node knows of each child its first element and how many elements
//! are below it. So the way from the root to a place, given by score and member or by rank, takes
//! O(log n) steps, and a walk goes through a leaf at a time.
//!
//! **Sharing.** Nodes stand behind `Arc`. A clone of a tree is a clone of one pointer; whoever
//! changes the tree afterwards copies the nodes on the way to the change, and only those.
//!
//! **Balance.** A full node is split in half, except where it is extended at the end of the tree,
//! as by members that come in order: there a new node begins, and the full one stays full. A node
//! that has become nearly empty is merged with a neighbour if both fit into one. All leaves are at
//! the same depth.
//!
//! How elements are divided among nodes depends on the tree's history, and shows nowhere but in
//! [`Tree::heap_bytes`]. Panics on a rank that is not there; has no other errors.

use std::sync::Arc;

use super::Scored;
use super::element::Element;
#[cfg(test)]
use super::order;

/// Elements of a full leaf: 2 KiB.
const LEAF_MAX: usize = 128;
/// Children of a full inner node: 2 KiB.
const INNER_MAX: usize = 64;
/// A node this much below full is merged with a neighbour if possible.
const SPARSE: usize = 4;

/// How far ahead of a walk members are brought into the cache.
const PREFETCH_DISTANCE: usize = 8;

/// A sequence of elements that ascends by score, and among equal scores by member.
///
/// Invariants: `len` is the number of elements, and `nodes` that of the nodes; no node but an empty
/// tree's root is empty or holds more than its maximum; an inner root has two children at least;
/// each child's `first` and `len` tell the truth.
#[derive(Clone)]
pub(super) struct Tree {
    root: Arc<Node>,
    len: usize,
    nodes: Nodes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Nodes {
    leaves: usize,
    inners: usize,
}

enum Node {
    Leaf(Vec<Element>),
    Inner(Vec<Child>),
}

#[derive(Clone)]
struct Child {
    first: Element,
    len: usize,
    node: Arc<Node>,
}

impl Default for Tree {
    fn default() -> Self {
        Self {
            root: Arc::new(Node::Leaf(with_room(LEAF_MAX, []))),
            len: 0,
            nodes: Nodes {
                leaves: 1,
                inners: 0,
            },
        }
    }
}

impl Tree {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Bytes of memory in nodes, without the blocks. What is shared counts in full.
    pub(super) fn heap_bytes(&self) -> usize {
        let node = 2 * size_of::<usize>() + size_of::<Node>();
        self.nodes.leaves * (node + LEAF_MAX * size_of::<Element>())
            + self.nodes.inners * (node + INNER_MAX * size_of::<Child>())
    }

    /// Adds an element whose member is not there.
    pub(super) fn insert(&mut self, element: Element) {
        if let Some(split) = self.root_insert(element) {
            let children = [Arc::clone(&self.root), Arc::new(split)].map(Child::of);
            self.root = Arc::new(Node::Inner(with_room(INNER_MAX, children)));
            self.nodes.inners += 1;
        }
        self.len += 1;
    }

    fn root_insert(&mut self, element: Element) -> Option<Node> {
        Arc::make_mut(&mut self.root).insert(element, true, &mut self.nodes)
    }

    /// Takes out the element of a rank, counted from 0.
    pub(super) fn remove(&mut self, rank: usize) -> Element {
        assert!(rank < self.len, "rank {rank} of {}", self.len);
        let removed = Arc::make_mut(&mut self.root).remove(rank, &mut self.nodes);
        self.len -= 1;
        while let Node::Inner(children) = &*self.root
            && let [only] = &children[..]
        {
            self.root = Arc::clone(&only.node);
            self.nodes.inners -= 1;
        }
        removed
    }

    /// How many elements `before` holds for. It must hold for the first ones and no other.
    pub(super) fn partition_point(&self, before: impl Fn(Scored<'_>) -> bool) -> usize {
        self.search(|element| before(element.scored()))
    }

    /// How many elements stand before a place.
    pub(super) fn rank(&self, place: Scored<'_>) -> usize {
        self.search(|element| element.cmp(place).is_lt())
    }

    fn search(&self, before: impl Fn(&Element) -> bool) -> usize {
        let mut passed = 0;
        let mut node = &*self.root;
        loop {
            match node {
                Node::Leaf(elements) => return passed + elements.partition_point(&before),
                Node::Inner(children) => {
                    let next = children.partition_point(|child| before(&child.first));
                    let Some(at) = next.checked_sub(1) else {
                        return passed;
                    };
                    passed += children[..at].iter().map(|child| child.len).sum::<usize>();
                    node = &children[at].node;
                }
            }
        }
    }

    /// The elements from rank `start` to before `end`, the last one first if `reverse`.
    pub(super) fn walk(&self, start: usize, end: usize, reverse: bool) -> Walk<'_> {
        assert!(
            start <= end && end <= self.len,
            "{start}..{end} of {}",
            self.len
        );
        Walk {
            tree: self,
            start,
            end,
            reverse,
            leaf: &[],
            leaf_start: 0,
        }
    }

    /// The leaf with the element of a rank, and the rank of its first element.
    fn leaf(&self, rank: usize) -> (&[Element], usize) {
        let mut passed = 0;
        let mut node = &*self.root;
        loop {
            match node {
                Node::Leaf(elements) => return (elements, passed),
                Node::Inner(children) => {
                    let (at, before) = child_with(children, rank - passed);
                    passed += before;
                    node = &children[at].node;
                }
            }
        }
    }

    /// Panics if an invariant of the type does not hold. Slow; for tests.
    #[cfg(test)]
    pub(super) fn check_invariants(&self) {
        let mut nodes = Nodes {
            leaves: 0,
            inners: 0,
        };
        let mut depths = std::collections::BTreeSet::new();
        let len = self.root.check(0, &mut depths, &mut nodes);
        assert_eq!((len, nodes), (self.len, self.nodes));
        assert_eq!(depths.len(), 1, "leaves at the depths {depths:?}");
        if let Node::Inner(children) = &*self.root {
            assert!(children.len() > 1);
        }
        let elements: Vec<_> = self.walk(0, len, false).collect();
        assert!(elements.is_sorted_by(|&one, &next| order(one, next).is_lt()));
    }
}

impl Node {
    fn len(&self) -> usize {
        match self {
            Self::Leaf(elements) => elements.len(),
            Self::Inner(children) => children.iter().map(|child| child.len).sum(),
        }
    }

    fn first(&self) -> &Element {
        match self {
            Self::Leaf(elements) => &elements[0],
            Self::Inner(children) => &children[0].first,
        }
    }

    fn is_sparse(&self) -> bool {
        match self {
            Self::Leaf(elements) => elements.len() < LEAF_MAX / SPARSE,
            Self::Inner(children) => children.len() < INNER_MAX / SPARSE,
        }
    }

    /// Adds an element below this node. If the node was full, what was split off at its end is
    /// returned. `is_last`: nothing stands behind this node in the tree.
    fn insert(&mut self, element: Element, is_last: bool, nodes: &mut Nodes) -> Option<Self> {
        match self {
            Self::Leaf(elements) => {
                let at = elements.partition_point(|present| present.cmp(element.scored()).is_lt());
                let right = insert_at(elements, at, element, LEAF_MAX, is_last)?;
                nodes.leaves += 1;
                Some(Self::Leaf(right))
            }
            Self::Inner(children) => {
                let behind =
                    children.partition_point(|child| child.first.cmp(element.scored()).is_lt());
                let at = behind.saturating_sub(1);
                let is_last_child = is_last && at + 1 == children.len();
                let child = &mut children[at];
                child.len += 1;
                if behind == 0 {
                    child.first = element.clone();
                }
                let split = Arc::make_mut(&mut child.node).insert(element, is_last_child, nodes)?;
                let split = Child::of(Arc::new(split));
                child.len -= split.len;
                let right = insert_at(children, at + 1, split, INNER_MAX, is_last)?;
                nodes.inners += 1;
                Some(Self::Inner(right))
            }
        }
    }

    /// Takes out the element of a rank below this node, which may be empty afterwards.
    fn remove(&mut self, rank: usize, nodes: &mut Nodes) -> Element {
        let children = match self {
            Self::Leaf(elements) => return elements.remove(rank),
            Self::Inner(children) => children,
        };
        let (at, before) = child_with(children, rank);
        let child = &mut children[at];
        let removed = Arc::make_mut(&mut child.node).remove(rank - before, nodes);
        child.len -= 1;
        if child.len == 0 {
            nodes.forget(&child.node);
            children.remove(at);
            return removed;
        }
        if rank == before {
            child.first = child.node.first().clone();
        }
        if child.node.is_sparse() && children.len() > 1 {
            merge(children, at.saturating_sub(1), nodes);
        }
        removed
    }

    #[cfg(test)]
    fn check(
        &self,
        depth: usize,
        depths: &mut std::collections::BTreeSet<usize>,
        nodes: &mut Nodes,
    ) -> usize {
        match self {
            Self::Leaf(elements) => {
                assert!(depth == 0 || !elements.is_empty());
                assert!(elements.len() <= LEAF_MAX && elements.capacity() == LEAF_MAX);
                nodes.leaves += 1;
                depths.insert(depth);
            }
            Self::Inner(children) => {
                assert!(!children.is_empty());
                assert!(children.len() <= INNER_MAX && children.capacity() == INNER_MAX);
                nodes.inners += 1;
                for child in children {
                    assert_eq!(child.len, child.node.check(depth + 1, depths, nodes));
                    assert!(std::ptr::eq(
                        child.first.block().key(),
                        child.node.first().block().key()
                    ));
                }
            }
        }
        self.len()
    }
}

impl Clone for Node {
    fn clone(&self) -> Self {
        match self {
            Self::Leaf(elements) => Self::Leaf(with_room(LEAF_MAX, elements.iter().cloned())),
            Self::Inner(children) => Self::Inner(with_room(INNER_MAX, children.iter().cloned())),
        }
    }
}

impl Nodes {
    fn forget(&mut self, node: &Node) {
        match node {
            Node::Leaf(_) => self.leaves -= 1,
            Node::Inner(_) => self.inners -= 1,
        }
    }
}

impl Child {
    fn of(node: Arc<Node>) -> Self {
        Self {
            first: node.first().clone(),
            len: node.len(),
            node,
        }
    }
}

/// A vector that never grows beyond `max`; every node has one.
fn with_room<T>(max: usize, items: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut room = Vec::with_capacity(max);
    room.extend(items);
    room
}

/// Inserts into a node of at most `max` items; what is split off if it was full is returned.
fn insert_at<T>(
    items: &mut Vec<T>,
    at: usize,
    item: T,
    max: usize,
    is_last: bool,
) -> Option<Vec<T>> {
    if items.len() < max {
        items.insert(at, item);
        return None;
    }
    if is_last && at == max {
        return Some(with_room(max, [item]));
    }
    let half = max / 2;
    let mut right = with_room(max, items.drain(half..));
    if at <= half {
        items.insert(at, item);
    } else {
        right.insert(at - half, item);
    }
    Some(right)
}

/// The child with the element of a rank, and how many elements stand before that child.
fn child_with(children: &[Child], rank: usize) -> (usize, usize) {
    let mut before = 0;
    for (at, child) in children.iter().enumerate() {
        if rank < before + child.len {
            return (at, before);
        }
        before += child.len;
    }
    unreachable!("rank {rank} of {before}")
}

/// Makes one node of two neighbours if it can hold what is in both.
fn merge(children: &mut Vec<Child>, left: usize, nodes: &mut Nodes) {
    let fits = match (&*children[left].node, &*children[left + 1].node) {
        (Node::Leaf(left), Node::Leaf(right)) => left.len() + right.len() <= LEAF_MAX,
        (Node::Inner(left), Node::Inner(right)) => left.len() + right.len() <= INNER_MAX,
        _ => unreachable!("neighbours are at the same depth"),
    };
    if !fits {
        return;
    }
    let right = children.remove(left + 1);
    let left = &mut children[left];
    left.len += right.len;
    nodes.forget(&right.node);
    match (
        Arc::make_mut(&mut left.node),
        Arc::unwrap_or_clone(right.node),
    ) {
        (Node::Leaf(left), Node::Leaf(right)) => left.extend(right),
        (Node::Inner(left), Node::Inner(right)) => left.extend(right),
        _ => unreachable!("neighbours are at the same depth"),
    }
}

/// Elements of neighbouring ranks, forwards or backwards.
pub(super) struct Walk<'a> {
    tree: &'a Tree,
    /// Ranks that are still to come.
    start: usize,
    end: usize,
    reverse: bool,
    leaf: &'a [Element],
    /// The rank of the leaf's first element.
    leaf_start: usize,
}

impl<'a> Iterator for Walk<'a> {
    type Item = Scored<'a>;

    fn next(&mut self) -> Option<Scored<'a>> {
        if self.start == self.end {
            return None;
        }
        let rank = if self.reverse {
            self.end -= 1;
            self.end
        } else {
            self.start += 1;
            self.start - 1
        };
        if !(self.leaf_start..self.leaf_start + self.leaf.len()).contains(&rank) {
            (self.leaf, self.leaf_start) = self.tree.leaf(rank);
        }
        let at = rank - self.leaf_start;
        let ahead = if self.reverse {
            at.wrapping_sub(PREFETCH_DISTANCE)
        } else {
            at + PREFETCH_DISTANCE
        };
        if let Some(element) = self.leaf.get(ahead) {
            element.block().prefetch_header();
        }
        Some(self.leaf[at].scored())
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let len = self.end - self.start;
        (len, Some(len))
    }
}
