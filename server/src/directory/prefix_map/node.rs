//! The nodes of a [`PrefixMap`](super::PrefixMap): leaves with entries, inner nodes with children.
//!
//! Nodes are shared between maps and copied before they change, unless this map alone has them. All
//! leaves are equally deep. Nodes that become small join their neighbour if both fit into one with
//! room to spare, so that a node is seldom less than a quarter full.

use std::num::NonZeroU32;
use std::sync::Arc;

use super::index::{FAN_OUT, Found, Index, Key};
use super::prefix::Prefix;

/// How full nodes are that are built at once.
const FILL: usize = FAN_OUT * 3 / 4;

/// A prefix in the map.
#[derive(Clone, Debug)]
pub(super) struct Entry<T> {
    pub prefix: Prefix,
    /// The length of the parent prefix and one more; `None` if there is none.
    pub parent: Option<NonZeroU32>,
    pub value: T,
}

/// A node, with all below it.
#[derive(Clone, Debug)]
pub(super) enum Child<T> {
    Leaf(Arc<Leaf<T>>),
    Inner(Arc<Inner<T>>),
}

/// Entries in order; at least one but while they are changed, and at most [`FAN_OUT`].
#[derive(Clone, Debug)]
pub(super) struct Leaf<T> {
    index: Index<u64>,
    pub entries: Vec<Entry<T>>,
}

/// Children in order; at least one but while they are changed, and at most [`FAN_OUT`].
///
/// Invariant: `mins[i]` is the first prefix below child `i`, and `index` is that of `mins`.
#[derive(Clone, Debug)]
pub(super) struct Inner<T> {
    index: Index<u128>,
    pub mins: Vec<Prefix>,
    pub children: Vec<Child<T>>,
}

impl<T> Entry<T> {
    /// # Panics
    ///
    /// If the prefix has 4 GiB.
    pub(super) fn new(prefix: Prefix, parent: Option<usize>, value: T) -> Self {
        let number = |len: usize| u32::try_from(len + 1).expect("a prefix is shorter than 4 GiB");
        let parent = parent.and_then(|len| NonZeroU32::new(number(len)));
        Self {
            prefix,
            parent,
            value,
        }
    }

    /// What its children have as their parent.
    pub(super) fn as_parent(&self) -> Option<NonZeroU32> {
        NonZeroU32::new(self.prefix.len() as u32 + 1)
    }
}

impl<T> Child<T> {
    /// The last entry that is not behind the key, and what they have in common.
    #[inline]
    pub(super) fn predecessor(&self, key: &[u8]) -> Option<(&Entry<T>, Found)> {
        let key = Key::new(key);
        let mut child = self;
        loop {
            match child {
                Self::Inner(inner) => {
                    let found = inner.index.find(&key, |index| &inner.mins[index]);
                    child = &inner.children[found.count.checked_sub(1)?];
                }
                Self::Leaf(leaf) => {
                    let found = leaf.index.find(&key, |index| &leaf.entries[index].prefix);
                    return Some((&leaf.entries[found.count.checked_sub(1)?], found));
                }
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many entries or children the node has.
    fn len(&self) -> usize {
        match self {
            Self::Leaf(leaf) => leaf.entries.len(),
            Self::Inner(inner) => inner.children.len(),
        }
    }

    /// The first prefix below, which must not be empty.
    fn min(&self) -> &Prefix {
        match self {
            Self::Leaf(leaf) => &leaf.entries[0].prefix,
            Self::Inner(inner) => &inner.mins[0],
        }
    }

    /// A node above these.
    pub(super) fn join(children: Vec<Self>) -> Self {
        Self::Inner(Arc::new(Inner::new(children)))
    }
}

impl<T: Clone> Child<T> {
    /// The tree of these entries, which are in order.
    pub(super) fn build(entries: Vec<Entry<T>>) -> Option<Self> {
        let leaf = |entries: Vec<_>| Self::Leaf(Arc::new(Leaf::new(entries)));
        let mut level: Vec<Self> = in_chunks(entries).map(leaf).collect();
        while level.len() > 1 {
            level = in_chunks(level).map(Self::join).collect();
        }
        level.pop()
    }

    /// Inserts an entry. Returns the old value of its prefix, or a node that has split off and
    /// belongs behind this one.
    pub(super) fn insert(&mut self, entry: Entry<T>) -> Result<T, Option<Self>> {
        match self {
            Self::Leaf(leaf) => {
                let inserted = Arc::make_mut(leaf).insert(entry);
                inserted.map_err(|right| right.map(|right| Self::Leaf(Arc::new(right))))
            }
            Self::Inner(inner) => {
                let inserted = Arc::make_mut(inner).insert(entry);
                inserted.map_err(|right| right.map(|right| Self::Inner(Arc::new(right))))
            }
        }
    }

    /// Takes out a prefix that is there.
    pub(super) fn remove(&mut self, prefix: &[u8]) -> T {
        match self {
            Self::Leaf(leaf) => Arc::make_mut(leaf).remove(prefix),
            Self::Inner(inner) => Arc::make_mut(inner).remove(prefix),
        }
    }

    /// The child of a node that has no other.
    pub(super) fn only_child(&self) -> Option<Self> {
        match self {
            Self::Inner(inner) if inner.children.len() == 1 => Some(inner.children[0].clone()),
            Self::Inner(_) | Self::Leaf(_) => None,
        }
    }

    /// Gives the entries below `prefix` whose parent is chosen another one.
    pub(super) fn reparent(
        &mut self,
        prefix: &[u8],
        is_chosen: &dyn Fn(Option<NonZeroU32>) -> bool,
        parent: Option<NonZeroU32>,
    ) {
        match self {
            Self::Leaf(leaf) => {
                let is_meant = |entry: &Entry<T>| {
                    entry.prefix.len() > prefix.len()
                        && entry.prefix.starts_with(prefix)
                        && is_chosen(entry.parent)
                };
                if leaf.entries.iter().any(is_meant) {
                    let entries = Arc::make_mut(leaf).entries.iter_mut();
                    entries
                        .filter(|entry| is_meant(entry))
                        .for_each(|entry| entry.parent = parent);
                }
            }
            Self::Inner(inner) => {
                let first = inner.child_of(prefix);
                let below = inner.mins[first + 1..]
                    .iter()
                    .take_while(|m| m.starts_with(prefix));
                let last = first + below.count();
                for child in &mut Arc::make_mut(inner).children[first..=last] {
                    child.reparent(prefix, is_chosen, parent);
                }
            }
        }
    }

    /// Takes over all that the next node has, which is as deep.
    fn append(&mut self, next: Self) {
        match (self, next) {
            (Self::Leaf(leaf), Self::Leaf(next)) => {
                let leaf = Arc::make_mut(leaf);
                leaf.entries.extend(Arc::unwrap_or_clone(next).entries);
                *leaf = Leaf::new(std::mem::take(&mut leaf.entries));
            }
            (Self::Inner(inner), Self::Inner(next)) => {
                let inner = Arc::make_mut(inner);
                inner.children.extend(Arc::unwrap_or_clone(next).children);
                *inner = Inner::new(std::mem::take(&mut inner.children));
            }
            _ => unreachable!("all leaves are equally deep"),
        }
    }
}

impl<T> Leaf<T> {
    pub(super) fn new(entries: Vec<Entry<T>>) -> Self {
        let index = Index::new(entries.iter().map(|entry| &*entry.prefix));
        Self { index, entries }
    }

    /// Where the key belongs among the entries.
    pub(super) fn find(&self, key: &[u8]) -> Found {
        self.index
            .find(&Key::new(key), |index| &self.entries[index].prefix)
    }

    #[expect(
        clippy::result_large_err,
        reason = "the rare case of a split gives a whole node"
    )]
    fn insert(&mut self, entry: Entry<T>) -> Result<T, Option<Self>> {
        let count = self.find(&entry.prefix).count;
        if let Some(last) = self.entries[..count].last_mut()
            && last.prefix == entry.prefix
        {
            return Ok(std::mem::replace(&mut last.value, entry.value));
        }
        let fits = self
            .index
            .insert(count, &entry.prefix, &self.entries[0].prefix);
        self.entries.insert(count, entry);
        if fits {
            return Err(None);
        }
        let right = split(&mut self.entries, count).map(Self::new);
        *self = Self::new(std::mem::take(&mut self.entries));
        Err(right)
    }

    fn remove(&mut self, prefix: &[u8]) -> T {
        let at = self.find(prefix).count - 1;
        self.index.remove(at);
        self.entries.remove(at).value
    }
}

impl<T> Inner<T> {
    fn new(children: Vec<Child<T>>) -> Self {
        let mins: Vec<_> = children.iter().map(|child| child.min().clone()).collect();
        let index = Index::new(mins.iter().map(|min| &**min));
        Self {
            index,
            mins,
            children,
        }
    }

    /// Below which child a key is, or would be.
    pub(super) fn child_of(&self, key: &[u8]) -> usize {
        self.index
            .find(&Key::new(key), |index| &self.mins[index])
            .count
            .saturating_sub(1)
    }
}

impl<T: Clone> Inner<T> {
    #[expect(
        clippy::result_large_err,
        reason = "the rare case of a split gives a whole node"
    )]
    fn insert(&mut self, entry: Entry<T>) -> Result<T, Option<Self>> {
        let at = self.child_of(&entry.prefix);
        let right = match self.children[at].insert(entry) {
            Ok(old) => return Ok(old),
            Err(right) => right,
        };
        if right.is_none() && self.mins[at] == *self.children[at].min() {
            return Err(None);
        }
        let inserted = at + usize::from(right.is_some());
        self.children.splice(at + 1..at + 1, right);
        let right = split(&mut self.children, inserted).map(Self::new);
        *self = Self::new(std::mem::take(&mut self.children));
        Err(right)
    }

    fn remove(&mut self, prefix: &[u8]) -> T {
        let at = self.child_of(prefix);
        let value = self.children[at].remove(prefix);
        if self.children[at].is_empty() {
            self.children.remove(at);
        } else if !self.join_small(at) && self.mins[at] == *self.children[at].min() {
            return value;
        }
        *self = Self::new(std::mem::take(&mut self.children));
        value
    }

    /// Joins a small child with a neighbour, if that leaves room; whether it did.
    fn join_small(&mut self, at: usize) -> bool {
        let len = |index: usize| self.children.get(index).map_or(FAN_OUT, Child::len);
        if len(at) > FAN_OUT / 4 {
            return false;
        }
        let mut neighbours = [at.checked_sub(1), Some(at)].into_iter().flatten();
        let Some(left) = neighbours.find(|left| len(*left) + len(left + 1) <= FILL) else {
            return false;
        };
        let right = self.children.remove(left + 1);
        self.children[left].append(right);
        true
    }
}

/// If there are too many, takes those off that go into a node of their own. If the last was
/// inserted just now (`inserted` is its place), more are likely to come behind it, so only a few
/// go.
fn split<E>(elements: &mut Vec<E>, inserted: usize) -> Option<Vec<E>> {
    if elements.len() <= FAN_OUT {
        return None;
    }
    let is_last = inserted + 1 == elements.len();
    Some(elements.split_off(if is_last { FILL } else { elements.len() / 2 }))
}

/// Cuts into nodes of about the same size.
fn in_chunks<E>(elements: Vec<E>) -> impl Iterator<Item = Vec<E>> {
    let chunks = elements.len().div_ceil(FILL).max(1);
    let len = elements.len().div_ceil(chunks).max(1);
    let mut elements = elements.into_iter();
    std::iter::from_fn(move || {
        let chunk: Vec<E> = elements.by_ref().take(len).collect();
        (!chunk.is_empty()).then_some(chunk)
    })
}
