//! A node: up to a hundred entries that stand one behind the other in one block of memory.
//!
//! ```text
//! bytes = name * | entry *
//! entry = length of the rest | flags u8 | ms | seq | value *                     (the node's names)
//!                                     | ms | seq | count | (name, value) *       (names of its own)
//! ```
//!
//! Names and values are elements as in lists, `ms` and `seq` are counted from the node's first ID.
//! The names of the node are those of the entry that began it, so entries of one kind keep only
//! their values.
//!
//! **Borders.** `XADD MAXLEN ~` removes whole nodes only, so where one ends can be seen by clients.
//! It ends where it would in Redis: [`Node::has_room`] counts the bytes that Redis's form of the
//! node would have, also those of entries that have been deleted since, which Redis only marks.
//! Here their bytes are given back.

use super::bytes::{Reader, put_number, put_signed};
use super::id::StreamId;
use crate::keyspace::list::Element;
use crate::keyspace::list::element;

/// `stream-node-max-bytes`: no entry is added to a node that would reach this size with it.
const NODE_MAX_BYTES: usize = 4096;

/// `stream-node-max-entries`: how many entries are ever added to a node.
pub const NODE_MAX_ENTRIES: u32 = 100;

/// What Redis has around the elements of a node: their total length and number, and an end mark.
const ENVELOPE_BYTES: usize = 7;

/// The entry has the names of its node.
const SAME_NAMES: u8 = 1;

/// Why reading a node's own bytes cannot fail.
const OWN: &str = "a node holds what it wrote, or what was checked";

/// Names and values, in order.
pub type Pairs<'a> = &'a [(&'a [u8], &'a [u8])];

/// Entries one behind the other.
///
/// Invariants: `live` entries stand in `bytes`, in ascending order of their IDs, all of them from
/// `first` to `last`; `live + deleted` entries were ever added, at most [`NODE_MAX_ENTRIES`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Node {
    /// The ID of the entry that began the node, deleted or not.
    pub(super) first: StreamId,
    /// The ID of the entry that was added last, deleted or not.
    pub(super) last: StreamId,
    /// Number of entries.
    pub(super) live: u32,
    /// Number of entries that are gone.
    pub(super) deleted: u32,
    /// How long Redis's form of the node is.
    pub(super) listpack_bytes: usize,
    /// Number of names.
    names: u32,
    /// Where the names end.
    names_end: u32,
    bytes: Vec<u8>,
}

impl Node {
    /// A node that begins with an entry.
    pub(super) fn new(id: StreamId, pairs: Pairs<'_>) -> Self {
        let mut node = Self {
            first: id,
            last: id,
            live: 0,
            deleted: 0,
            listpack_bytes: ENVELOPE_BYTES + 3 * int_bytes(0) + int_bytes(pairs.len() as i64),
            names: u32::try_from(pairs.len()).expect("a request has fewer arguments"),
            names_end: 0,
            bytes: Vec::new(),
        };
        for (name, _) in pairs {
            node.listpack_bytes += put_element(&mut node.bytes, name);
        }
        node.names_end = u32::try_from(node.bytes.len()).expect("a request is shorter than 4 GiB");
        node.append(id, pairs);
        node
    }

    /// Whether Redis would add an entry whose names and values have `bytes` in total.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        self.listpack_bytes + bytes < NODE_MAX_BYTES && self.live + self.deleted < NODE_MAX_ENTRIES
    }

    /// Adds an entry, whose ID must be the greatest.
    pub(super) fn append(&mut self, id: StreamId, pairs: Pairs<'_>) {
        let same = self.has_names(pairs);
        let ms = id.ms.wrapping_sub(self.first.ms);
        let seq = id.seq.wrapping_sub(self.first.seq) as i64;
        let mut entry = vec![if same { SAME_NAMES } else { 0 }];
        put_number(&mut entry, ms);
        put_signed(&mut entry, seq);
        let count = pairs.len() as i64;
        // Flags and the number of elements at the end; the flags are small.
        self.listpack_bytes += int_bytes(0) + int_bytes(ms as i64) + int_bytes(seq);
        if same {
            self.listpack_bytes += int_bytes(count + 3);
        } else {
            put_number(&mut entry, pairs.len() as u64);
            self.listpack_bytes += int_bytes(count) + int_bytes(2 * count + 4);
        }
        for (name, value) in pairs {
            if !same {
                self.listpack_bytes += put_element(&mut entry, name);
            }
            self.listpack_bytes += put_element(&mut entry, value);
        }
        put_number(&mut self.bytes, entry.len() as u64);
        self.bytes.extend_from_slice(&entry);
        self.live += 1;
        self.last = id;
    }

    /// Gives back what room there is for more entries.
    pub(super) fn close(&mut self) {
        self.bytes.shrink_to_fit();
    }

    /// The entries in order.
    pub(super) fn entries(&self) -> Entries<'_> {
        Entries {
            node: self,
            rest: Reader::new(&self.bytes[self.names_end as usize..]),
        }
    }

    /// Whether there is such an entry.
    pub(super) fn has(&self, id: StreamId) -> bool {
        self.entries().any(|entry| entry.id == id)
    }

    /// Removes the entry of this ID; false if it is not there.
    pub(super) fn remove(&mut self, id: StreamId) -> bool {
        let mut entries = self.entries();
        let (mut from, mut found) = (entries.rest.rest.len(), None);
        while let Some(entry) = entries.next() {
            let to = entries.rest.rest.len();
            if entry.id == id {
                found = Some(to);
                break;
            }
            from = to;
        }
        let Some(to) = found else { return false };
        let len = self.bytes.len();
        self.drain(len - from..len - to, 1);
        true
    }

    /// Removes entries from the front as long as `gone` holds for their IDs. Returns how many.
    pub(super) fn remove_front(&mut self, mut gone: impl FnMut(StreamId) -> bool) -> usize {
        let mut entries = self.entries();
        let (mut left, mut count) = (entries.rest.rest.len(), 0);
        while let Some(entry) = entries.next() {
            if !gone(entry.id) {
                break;
            }
            (left, count) = (entries.rest.rest.len(), count + 1);
        }
        let start = self.names_end as usize;
        let end = self.bytes.len() - left;
        self.drain(start..end, count);
        count as usize
    }

    fn drain(&mut self, range: std::ops::Range<usize>, count: u32) {
        self.bytes.drain(range);
        self.live -= count;
        self.deleted += count;
        if self.bytes.len() * 2 < self.bytes.capacity() {
            self.bytes.shrink_to_fit();
        }
    }

    /// Bytes of memory behind the node's pointer.
    pub(super) fn heap_bytes(&self) -> usize {
        self.bytes.capacity()
    }

    fn has_names(&self, pairs: Pairs<'_>) -> bool {
        let mut names = &self.bytes[..self.names_end as usize];
        self.names as usize == pairs.len()
            && pairs.iter().all(|(name, _)| {
                let (held, size) = element::read(names);
                names = &names[size..];
                held == Element::of(name)
            })
    }

    /// Appends what [`Node::take`] reads.
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        super::bytes::put_id(out, self.first);
        super::bytes::put_id(out, self.last);
        for number in [self.live, self.deleted, self.names, self.names_end] {
            put_number(out, u64::from(number));
        }
        put_number(out, self.listpack_bytes as u64);
        out.extend_from_slice(&self.bytes);
    }

    /// The node in all of `piece`; `None` unless [`Node::put`] could have written it.
    pub(super) fn take(piece: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(piece);
        let (first, last) = (reader.id()?, reader.id()?);
        let mut number = || u32::try_from(reader.number()?).ok();
        let (live, deleted, names, names_end) = (number()?, number()?, number()?, number()?);
        let node = Self {
            first,
            last,
            live,
            deleted,
            listpack_bytes: reader.size()?,
            names,
            names_end,
            bytes: reader.rest.to_vec(),
        };
        node.is_sound().then_some(node)
    }

    /// Whether the bytes are what the numbers say.
    fn is_sound(&self) -> bool {
        let Some((mut names, mut entries)) = self.bytes.split_at_checked(self.names_end as usize)
        else {
            return false;
        };
        let added = self.live.checked_add(self.deleted);
        let mut is_sound = skip_elements(&mut names, u64::from(self.names)).is_some()
            && names.is_empty()
            && self.first <= self.last
            && added.is_some_and(|added| (1..=NODE_MAX_ENTRIES).contains(&added));
        let mut before = None;
        for _ in 0..self.live {
            let id = self.checked_entry(&mut entries);
            is_sound = is_sound
                && id.is_some_and(|id| before < Some(id) && (self.first..=self.last).contains(&id));
            before = id;
        }
        is_sound && entries.is_empty()
    }

    /// Passes over an entry that may be anything; `None` if it is none.
    fn checked_entry(&self, rest: &mut &[u8]) -> Option<StreamId> {
        let mut reader = Reader::new(rest);
        let mut entry = Reader::new(reader.string()?);
        *rest = reader.rest;
        let flags = entry.take(1)?[0];
        let id = self.id_at(entry.number()?, entry.signed()?);
        let elements = match flags {
            SAME_NAMES => u64::from(self.names),
            0 => entry.number()?.checked_mul(2)?,
            _ => return None,
        };
        skip_elements(&mut entry.rest, elements)?;
        entry.rest.is_empty().then_some(id)
    }

    fn id_at(&self, ms: u64, seq: i64) -> StreamId {
        StreamId {
            ms: self.first.ms.wrapping_add(ms),
            seq: self.first.seq.wrapping_add(seq as u64),
        }
    }
}

/// The entries of a node, in order.
#[derive(Clone)]
pub(super) struct Entries<'a> {
    node: &'a Node,
    rest: Reader<'a>,
}

impl<'a> Iterator for Entries<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        if self.rest.rest.is_empty() {
            return None;
        }
        let mut body = Reader::new(self.rest.string().expect(OWN));
        let flags = body.take(1).expect(OWN)[0];
        let (ms, seq) = (body.number().expect(OWN), body.signed().expect(OWN));
        let id = self.node.id_at(ms, seq);
        let (names, count) = if flags == SAME_NAMES {
            let names = &self.node.bytes[..self.node.names_end as usize];
            (Some(names), self.node.names as usize)
        } else {
            (None, body.size().expect(OWN))
        };
        Some(Entry {
            id,
            count,
            names,
            rest: body.rest,
        })
    }
}

/// An entry of a stream.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Its ID.
    pub id: StreamId,
    count: usize,
    /// The names, if they do not stand before the values.
    names: Option<&'a [u8]>,
    rest: &'a [u8],
}

impl<'a> Entry<'a> {
    /// Number of pairs of name and value.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is no pair; XADD makes no such entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Names and values in order.
    pub fn pairs(self) -> impl Iterator<Item = (Element<'a>, Element<'a>)> {
        let (mut names, mut rest) = (self.names, self.rest);
        (0..self.count).map(move |_| {
            let name = next_element(names.as_mut().unwrap_or(&mut rest));
            (name, next_element(&mut rest))
        })
    }
}

fn next_element<'a>(rest: &mut &'a [u8]) -> Element<'a> {
    let (element, size) = element::read(rest);
    *rest = &rest[size..];
    element
}

fn skip_elements(rest: &mut &[u8], count: u64) -> Option<()> {
    for _ in 0..count {
        let (_, size) = element::checked(rest)?;
        *rest = &rest[size..];
    }
    Some(())
}

/// Appends an element and returns how long it is.
fn put_element(out: &mut Vec<u8>, bytes: &[u8]) -> usize {
    let element = Element::of(bytes);
    let (at, size) = (out.len(), element.entry_bytes());
    out.resize(at + size, 0);
    element.write(&mut out[at..]);
    size
}

/// How long Redis's form of a number is.
fn int_bytes(number: i64) -> usize {
    Element::Int(number).entry_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(ms: u64, seq: u64) -> StreamId {
        StreamId { ms, seq }
    }

    fn show(node: &Node) -> String {
        let show = |entry: Entry<'_>| {
            let pairs = entry.pairs().map(|(name, value)| {
                let text = |element: Element<'_>| String::from_utf8(element.to_vec()).unwrap();
                format!(" {}={}", text(name), text(value))
            });
            format!("{}{}", entry.id, pairs.collect::<String>())
        };
        node.entries().map(show).collect::<Vec<_>>().join(", ")
    }

    fn node() -> Node {
        let mut node = Node::new(id(10, 5), &[(b"a", b"1"), (b"b", b"x")]);
        node.append(id(10, 6), &[(b"a", b"2"), (b"b", b"y")]);
        node.append(id(11, 0), &[(b"a", b"3"), (b"c", b"z")]);
        node.append(id(u64::MAX, 0), &[(b"a", b"-4")]);
        node
    }

    #[test]
    fn entries_keep_names_values_and_order() {
        let mut node = node();
        assert_eq!(
            show(&node),
            "10-5 a=1 b=x, 10-6 a=2 b=y, 11-0 a=3 c=z, 18446744073709551615-0 a=-4"
        );
        assert!(node.remove(id(10, 6)) && !node.remove(id(10, 6)) && node.has(id(11, 0)));
        assert_eq!(node.remove_front(|at| at < id(11, 0)), 1);
        assert_eq!(show(&node), "11-0 a=3 c=z, 18446744073709551615-0 a=-4");
        assert_eq!((node.live, node.deleted), (2, 2));
        assert_eq!(node.remove_front(|_| true), 2);
        assert_eq!(show(&node), "");
    }

    #[test]
    fn a_node_is_as_long_as_redis_counts_it() {
        // As DEBUG of a real server would measure: envelope 7, master entry 2+2+2+3+3+2, entry
        // 2+2+2+2+3+2.
        let node = Node::new(id(10, 5), &[(b"a", b"1"), (b"b", b"x")]);
        assert_eq!(node.listpack_bytes, 7 + 14 + 13);
    }

    #[test]
    fn what_was_put_is_taken_and_nothing_else() {
        let mut node = node();
        assert!(node.remove(id(10, 5)));
        let mut piece = Vec::new();
        node.put(&mut piece);
        assert_eq!(Node::take(&piece), Some(node));
        for at in 0..piece.len() {
            assert_eq!(Node::take(&piece[..at]), None);
            let mut damaged = piece.clone();
            damaged[at] ^= 0x41;
            // Whatever comes of it can be read.
            if let Some(node) = Node::take(&damaged) {
                node.entries()
                    .for_each(|entry| entry.pairs().for_each(drop));
            }
        }
    }
}
