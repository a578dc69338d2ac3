//! Lists: sequences of byte strings that are cheap to change at both ends.
//!
//! A small list is one `pack::Pack`, a single block of memory, which Redis calls `listpack`; a
//! long one is a deque of packs, which Redis calls `quicklist`. When the one becomes the other
//! follows Redis 7.2, and so is part of the interface: before elements are added,
//! [`List::expect`] is told how long they are, and [`List::settle`] ends every removal.
//!
//! Both ends are constant time; a place in the middle is found by skipping whole packs, from the
//! end that is nearer. The module knows no commands, and checks no index: an index that is not
//! there is a mistake of the caller and panics.

mod chunked;
pub(in crate::keyspace) mod element;
mod iter;
mod pack;
#[cfg(test)]
mod tests;

use super::aggregate::{Aggregate, Elements, Parts, object_variant};
use chunked::{Chunked, Place, equal_entries};
use pack::Pack;

pub use element::Element;
pub use iter::{Iter, IterBack};

/// The most that one pack may take, in Redis's form of it: `list-max-listpack-size -2`.
///
/// What the representation is must not depend on a node's settings, or replicas would differ.
pub const PACK_MAX_BYTES: usize = 8192;

/// A list that has shrunk becomes a single pack again at half the limit, so that one which goes up
/// and down around the limit does not change its form each time.
const SHRUNK_MAX_BYTES: usize = PACK_MAX_BYTES / 2;

/// The numbers under which a checkpoint knows the two forms.
const PACKED: u8 = 0;
const CHUNKED: u8 = 1;

/// An end of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Where index 0 is; Redis says left.
    Front,
    /// Where the last index is; Redis says right.
    Back,
}

/// On which side of an element another one is inserted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// At its index.
    Before,
    /// At the next index.
    After,
}

/// A list of byte strings. Numbers in their one decimal form are kept as numbers.
#[derive(Clone)]
pub struct List {
    form: Form,
}

#[derive(Clone)]
enum Form {
    Packed(Pack),
    Chunked(Box<Chunked>),
}

impl List {
    /// A list without elements.
    #[must_use]
    pub fn new() -> Self {
        Self {
            form: Form::Packed(Pack::default()),
        }
    }

    /// A list as [`List::packs`] and [`List::is_chunked`] describe it; `None` if they describe
    /// none.
    #[must_use]
    pub fn from_packs<'a>(
        is_chunked: bool,
        packs: impl IntoIterator<Item = &'a [u8]>,
    ) -> Option<Self> {
        let mut packs = packs.into_iter();
        if !is_chunked {
            let form = Form::Packed(Pack::from_entries(packs.next()?)?);
            return packs.next().is_none().then_some(Self { form });
        }
        let mut chunked = Chunked::default();
        for entries in packs {
            let pack = Pack::from_entries(entries)?;
            if pack.len() == 0 || (pack.len() > 1 && pack.listpack_bytes() > PACK_MAX_BYTES) {
                return None;
            }
            chunked.push_pack(pack);
        }
        let form = Form::Chunked(Box::new(chunked));
        Some(Self { form })
    }

    /// Whether this is a deque of packs rather than a single one.
    #[must_use]
    pub fn is_chunked(&self) -> bool {
        matches!(self.form, Form::Chunked(_))
    }

    /// The name that `OBJECT ENCODING` gives.
    #[must_use]
    pub fn encoding(&self) -> &'static str {
        match self.form {
            Form::Packed(_) => "listpack",
            Form::Chunked(_) => "quicklist",
        }
    }

    /// The bytes of each pack, in order. Equal bytes stand for equal elements.
    pub fn packs(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.pack_count()).filter_map(|at| self.pack(at).map(Pack::entries))
    }

    /// Number of packs.
    #[must_use]
    pub fn pack_count(&self) -> usize {
        match &self.form {
            Form::Packed(_) => 1,
            Form::Chunked(chunked) => chunked.packs(),
        }
    }

    /// The bytes of one pack, which must be there.
    #[must_use]
    pub fn pack_bytes(&self, at: usize) -> &[u8] {
        self.pack(at).expect("callers count the packs").entries()
    }

    /// Number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.form {
            Form::Packed(pack) => pack.len(),
            Form::Chunked(chunked) => chunked.len(),
        }
    }

    /// Whether there is no element.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of heap memory beyond the size of a `List`. Constant time.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        match &self.form {
            Form::Packed(pack) => pack.heap_bytes(),
            Form::Chunked(chunked) => chunked.heap_bytes(),
        }
    }

    /// The element at `index`, if there is one.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<Element<'_>> {
        (index < self.len()).then(|| {
            let (pack, offset) = self.locate(index);
            pack.get(offset)
        })
    }

    /// The elements from `start` on, towards the back.
    #[must_use]
    pub fn iter(&self, start: usize) -> Iter<'_> {
        Iter::new(self, start)
    }

    /// The elements before `end`, towards the front.
    #[must_use]
    pub fn iter_back(&self, end: usize) -> IterBack<'_> {
        IterBack::new(self, end)
    }

    /// To be called before strings of `bytes` in total are added or set: the list becomes chunked
    /// if they might not fit into one pack.
    pub fn expect(&mut self, bytes: usize) {
        if self.would_outgrow(bytes)
            && let Form::Packed(pack) = &mut self.form
        {
            let mut chunked = Box::<Chunked>::default();
            chunked.push_pack(std::mem::take(pack));
            self.form = Form::Chunked(chunked);
        }
    }

    /// Whether [`List::expect`] would change the form of the list.
    #[must_use]
    pub fn would_outgrow(&self, bytes: usize) -> bool {
        match &self.form {
            Form::Packed(pack) => pack.listpack_bytes() + bytes > PACK_MAX_BYTES,
            Form::Chunked(_) => false,
        }
    }

    /// To be called after elements were removed or replaced: the list becomes a single pack again
    /// if it is small.
    pub fn settle(&mut self) {
        if let Form::Chunked(chunked) = &mut self.form
            && let Some(pack) = chunked.take_only_pack(SHRUNK_MAX_BYTES)
        {
            self.form = Form::Packed(pack);
        }
    }

    /// Adds an element at an end.
    pub fn push(&mut self, end: End, bytes: &[u8]) {
        match &mut self.form {
            Form::Packed(pack) => pack.push(end, Element::of(bytes)),
            Form::Chunked(chunked) => chunked.push(end, bytes),
        }
    }

    /// Inserts an element beside the one at `index`.
    pub fn insert(&mut self, index: usize, side: Side, bytes: &[u8]) {
        match &mut self.form {
            Form::Packed(pack) => {
                let at = index + usize::from(side == Side::After);
                pack.insert(at, Element::of(bytes));
            }
            Form::Chunked(chunked) => {
                let place = chunked.locate(index);
                chunked.insert(place, side, bytes);
            }
        }
    }

    /// Replaces the element at `index`.
    pub fn set(&mut self, index: usize, bytes: &[u8]) {
        match &mut self.form {
            Form::Packed(pack) => pack.replace(index, Element::of(bytes)),
            Form::Chunked(chunked) => {
                let place = chunked.locate(index);
                chunked.set(place, bytes);
            }
        }
    }

    /// Removes `count` elements from `start` on.
    pub fn remove(&mut self, start: usize, count: usize) {
        match &mut self.form {
            Form::Packed(pack) => pack.remove(start, count),
            Form::Chunked(chunked) => chunked.remove(start, count),
        }
    }

    /// Removes up to `limit` elements equal to `bytes`, starting from an end. Returns how many.
    pub fn remove_equal(&mut self, bytes: &[u8], from: End, limit: usize) -> usize {
        let element = Element::of(bytes);
        match &mut self.form {
            Form::Packed(pack) => {
                let found = equal_entries(pack, element, from, limit);
                pack.remove_ranges(&found);
                found.len()
            }
            Form::Chunked(chunked) => chunked.remove_equal(element, from, limit),
        }
    }

    /// Panics unless what the types promise holds.
    #[cfg(test)]
    pub(crate) fn check_invariants(&self) {
        match &self.form {
            Form::Packed(pack) => pack.check_invariants(),
            Form::Chunked(chunked) => chunked.check_invariants(),
        }
    }

    fn pack(&self, at: usize) -> Option<&Pack> {
        match &self.form {
            Form::Packed(pack) => (at == 0).then_some(pack),
            Form::Chunked(chunked) => chunked.pack(at),
        }
    }

    /// The pack that holds the element at `index`, and its place in there.
    fn locate(&self, index: usize) -> (&Pack, usize) {
        let Place { link, offset } = self.place(index);
        (self.pack(link).expect("the place is in a pack"), offset)
    }

    fn place(&self, index: usize) -> Place {
        match &self.form {
            Form::Packed(_) => Place {
                link: 0,
                offset: index,
            },
            Form::Chunked(chunked) => chunked.locate(index),
        }
    }
}

impl Elements for List {
    fn len(&self) -> usize {
        self.len()
    }

    fn encoding(&self) -> &'static str {
        self.encoding()
    }

    fn heap_bytes(&self) -> usize {
        self.heap_bytes()
    }

    fn representation(&self) -> u8 {
        if self.is_chunked() { CHUNKED } else { PACKED }
    }

    fn visit(&self, from: usize, count: usize, visit: &mut dyn FnMut(&[u8])) {
        let elements = self.iter(from).take(count);
        elements.for_each(|element| element.with_bytes(&mut *visit));
    }

    /// Where a list is divided decides when it becomes a single pack again.
    fn pieces(&self) -> usize {
        self.pack_count()
    }

    fn pieces_at_once(&self) -> usize {
        1
    }

    fn visit_pieces(&self, from: usize, count: usize, visit: &mut dyn FnMut(&[u8])) {
        (from..self.pack_count())
            .take(count)
            .for_each(|at| visit(self.pack_bytes(at)));
    }
}

impl Aggregate for List {
    object_variant!(List);

    fn restore(representation: u8, parts: &mut Parts<'_>, _seed: u64) -> Option<Self> {
        match representation {
            PACKED => Self::from_packs(false, parts),
            CHUNKED => Self::from_packs(true, parts),
            _ => None,
        }
    }
}

impl Default for List {
    fn default() -> Self {
        Self::new()
    }
}

impl PartialEq for List {
    /// Whether both have the same elements in the same form.
    fn eq(&self, other: &Self) -> bool {
        self.is_chunked() == other.is_chunked() && self.packs().eq(other.packs())
    }
}

impl Eq for List {}

impl std::fmt::Debug for List {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter(0)).finish()
    }
}
