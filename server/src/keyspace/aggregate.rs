//! What all values of several elements have in common: lists, sets, hashes, sorted
//! sets and streams.
//!
//! Two traits. [`Elements`] is what the rest of the server asks of a value whose type does not
//! matter: its size, the name of its encoding, and its content in order, for checkpoints and
//! digests. [`Aggregate`] tells the types apart, for the commands of one type.
//!
//! **Order.** The elements of a value have one order, which everything that walks it follows. It
//! depends on the content, on the representation and on the keyspace's hash seed, never on how a
//! table grew or where it lies in memory: replicas that applied the same log show, choose and
//! digest the same. A value restored from a checkpoint has the same order and the same
//! representation as the one that was written, and every later change does the same to both.
//!
//! **Large values** are made of pieces behind `Arc`, so that `Clone` is cheap: a value that a
//! checkpoint shares is cloned when a command first touches it, and then copies the pieces that it
//! changes one by one.

use super::packed;
use super::value::Object;

/// A value of several elements, whatever its type.
///
/// An element has one or more *parts*: a list's and a set's has one, a hash's is a field and its
/// value, a sorted set's is a member and its score (eight bytes, little-endian). A stream's
/// elements, as far as this trait goes, are the pieces in which a checkpoint keeps it.
pub trait Elements {
    /// Number of elements.
    fn len(&self) -> usize;

    /// Whether there is no element. The keyspace holds no such value.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The name that `OBJECT ENCODING` gives.
    fn encoding(&self) -> &'static str;

    /// Bytes of memory behind pointers of this value. Constant time.
    fn heap_bytes(&self) -> usize;

    /// The number under which a checkpoint knows the representation.
    fn representation(&self) -> u8;

    /// Number of parts of an element, if the elements stand in an order that depends on the
    /// keyspace's hash seed. Two keyspaces may then hold the same in different orders.
    fn hash_ordered(&self) -> Option<usize> {
        None
    }

    /// Calls `visit` with the parts of up to `count` elements from number `from` on, in order.
    fn visit(&self, from: usize, count: usize, visit: &mut dyn FnMut(&[u8]));

    /// Number of pieces in which a checkpoint keeps the value: its elements, unless what commands
    /// do later depends on more than these.
    fn pieces(&self) -> usize {
        self.len()
    }

    /// How many pieces are written at a time.
    fn pieces_at_once(&self) -> usize {
        256
    }

    /// Calls `visit` with the parts of up to `count` pieces from number `from` on, in order.
    fn visit_pieces(&self, from: usize, count: usize, visit: &mut dyn FnMut(&[u8])) {
        self.visit(from, count, visit);
    }
}

/// One type of values. `default` is an empty value in the representation that a new key gets.
pub trait Aggregate: Elements + Clone + Default {
    /// The value in `object`, if it is of this type.
    fn of(object: &Object) -> Option<&Self>;

    /// The value in `object` for editing, if it is of this type.
    fn of_mut(object: &mut Object) -> Option<&mut Self>;

    /// An object that holds the value.
    fn into_object(self) -> Object;

    /// The value with these parts, as [`Elements::visit_pieces`] gave them, in a representation;
    /// `None` if nobody wrote them like that. `seed` is the keyspace's. May be left with parts to
    /// read.
    fn restore(representation: u8, parts: &mut Parts<'_>, seed: u64) -> Option<Self>;
}

/// Parts of elements one behind the other, each after its length.
pub struct Parts<'a> {
    rest: &'a [u8],
    /// Chunks of more parts, each after its length.
    chunks: &'a [u8],
}

impl<'a> Parts<'a> {
    /// The parts in `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self {
            rest: bytes,
            chunks: &[],
        }
    }

    /// The parts in chunks that stand one behind the other, each after its length.
    #[must_use]
    pub fn chunked(chunks: &'a [u8]) -> Self {
        Self { rest: &[], chunks }
    }

    /// Whether all bytes have been read.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.rest.is_empty() && self.chunks.is_empty()
    }
}

impl<'a> Iterator for Parts<'a> {
    type Item = &'a [u8];

    /// The next part; `None` at the end, and before bytes that are no part.
    fn next(&mut self) -> Option<&'a [u8]> {
        while self.rest.is_empty() {
            self.rest = packed::take(&mut self.chunks)?;
        }
        packed::take(&mut self.rest)
    }
}

/// The [`Aggregate`] methods that are alike for all types.
macro_rules! object_variant {
    ($variant:ident) => {
        fn of(object: &$crate::keyspace::Object) -> Option<&Self> {
            match object {
                $crate::keyspace::Object::$variant(held) => Some(held),
                _ => None,
            }
        }

        fn of_mut(object: &mut $crate::keyspace::Object) -> Option<&mut Self> {
            match object {
                $crate::keyspace::Object::$variant(held) => Some(held),
                _ => None,
            }
        }

        fn into_object(self) -> $crate::keyspace::Object {
            $crate::keyspace::Object::$variant(self)
        }
    };
}
pub(super) use object_variant;
