//! What a key can hold.
//!
//! Small strings and integers live inside the [`Entry`](super::Entry) itself; everything else is an
//! [`Object`] behind an `Arc`, so that a checkpoint that shares an entry does not copy a large
//! value. This module knows no commands: it only says which representations exist, what they are
//! called in Redis's words, and how much memory they take.

use std::mem::size_of;

use super::{Elements, Hash, List, Set, SortedSet, Stream};

/// The longest string kept inside its entry, in bytes. Longer ones become an [`Object::String`].
pub const INLINE_MAX_BYTES: usize = u16::MAX as usize;

/// The longest string that Redis stores together with its object header; it only decides what
/// `OBJECT ENCODING` answers.
const EMBSTR_MAX_BYTES: usize = 44;

/// Values with more elements are handed to somebody else to be released.
const HEAVY_ELEMENTS: usize = 4096;

/// The same for the pieces of a stream, each of which has up to a hundred entries.
const HEAVY_PIECES: usize = 64;

/// A value too large, or too structured, to live inside its entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    /// A string that is long, or has been edited in place (APPEND, SETRANGE, SETBIT) and keeps
    /// spare capacity for the next edit. Redis calls both `raw`.
    String(Vec<u8>),
    /// A string with the token of who stored it; see [`Fenced`].
    Fenced(Box<Fenced>),
    /// A list.
    List(List),
    /// A set.
    Set(Set),
    /// A hash.
    Hash(Hash),
    /// A sorted set.
    SortedSet(SortedSet),
    /// A stream.
    Stream(Stream),
}

/// A string that somebody stored together with a fencing token, which is a number from
/// [`Keyspace::next_fence`](super::Keyspace::next_fence). It is a string like any other, except
/// that its token can be asked for; whatever stores or edits another string takes the token away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fenced {
    /// The string.
    pub value: Box<[u8]>,
    /// The token.
    pub token: u64,
}

impl Object {
    /// The bytes, if it is a string.
    #[must_use]
    pub fn as_string(&self) -> Option<&[u8]> {
        match self {
            Self::String(bytes) => Some(bytes),
            Self::Fenced(fenced) => Some(&fenced.value),
            _ => None,
        }
    }

    /// The value as a number of elements; `None` for a string.
    #[must_use]
    pub fn elements(&self) -> Option<&dyn Elements> {
        match self {
            Self::String(_) | Self::Fenced(_) => None,
            Self::List(list) => Some(list),
            Self::Set(set) => Some(set),
            Self::Hash(hash) => Some(hash),
            Self::SortedSet(set) => Some(set),
            Self::Stream(stream) => Some(stream),
        }
    }

    /// Whether releasing the object takes so long that a command should not wait for it.
    #[must_use]
    pub fn is_heavy(&self) -> bool {
        let most = match self {
            Self::Stream(_) => HEAVY_PIECES,
            _ => HEAVY_ELEMENTS,
        };
        self.elements()
            .is_some_and(|elements| elements.len() > most)
    }

    /// Heap bytes that this object owns, its own allocation included. Constant time.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        // The two counters of the Arc stand before the object.
        2 * size_of::<usize>()
            + size_of::<Self>()
            + match self {
                Self::String(bytes) => bytes.capacity(),
                Self::Fenced(fenced) => size_of::<Fenced>() + fenced.value.len(),
                Self::List(list) => list.heap_bytes(),
                Self::Set(set) => set.heap_bytes(),
                Self::Hash(hash) => hash.heap_bytes(),
                Self::SortedSet(set) => set.heap_bytes(),
                Self::Stream(stream) => stream.heap_bytes(),
            }
    }
}

/// A borrowed view of an entry's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueRef<'a> {
    /// A string that is the decimal form of this number.
    Int(i64),
    /// A string kept in the entry.
    String(&'a [u8]),
    /// Anything else.
    Object(&'a Object),
}

impl<'a> ValueRef<'a> {
    /// The value as a number of elements; `None` for a string.
    #[must_use]
    pub fn elements(&self) -> Option<&'a dyn Elements> {
        match self {
            Self::Object(object) => object.elements(),
            Self::Int(_) | Self::String(_) => None,
        }
    }

    /// The name that `TYPE` gives.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Int(_) | Self::String(_) => "string",
            Self::Object(Object::String(_) | Object::Fenced(_)) => "string",
            Self::Object(Object::List(_)) => "list",
            Self::Object(Object::Set(_)) => "set",
            Self::Object(Object::Hash(_)) => "hash",
            Self::Object(Object::SortedSet(_)) => "zset",
            Self::Object(Object::Stream(_)) => "stream",
        }
    }

    /// The name that `OBJECT ENCODING` gives.
    #[must_use]
    pub fn encoding(&self) -> &'static str {
        match self {
            Self::Int(_) => "int",
            Self::String(bytes) if bytes.len() <= EMBSTR_MAX_BYTES => "embstr",
            Self::String(_) => "raw",
            Self::Object(Object::Fenced(fenced)) => NewValue::from_bytes(&fenced.value).encoding(),
            Self::Object(object) => object.elements().map_or("raw", Elements::encoding),
        }
    }
}

/// A value to be stored.
#[derive(Clone, Debug)]
pub enum NewValue<'a> {
    /// A string that is the decimal form of this number.
    Int(i64),
    /// A string as given by a client; it is copied.
    String(&'a [u8]),
    /// An object, or a string that has been edited in place.
    Object(Object),
    /// The value of an existing entry, shared where it can be.
    Same(&'a super::Entry),
}

impl<'a> NewValue<'a> {
    /// A string, stored as a number when it is the canonical decimal form of an `i64`
    /// (no sign but `-`, no leading zeros), which Redis reports as encoding `int`.
    #[must_use]
    pub fn from_bytes(bytes: &'a [u8]) -> Self {
        parse_canonical_int(bytes).map_or(Self::String(bytes), Self::Int)
    }

    /// The name that `OBJECT ENCODING` gives for it once it is stored.
    fn encoding(&self) -> &'static str {
        match self {
            Self::Int(number) => ValueRef::Int(*number).encoding(),
            Self::String(bytes) => ValueRef::String(bytes).encoding(),
            Self::Object(object) => ValueRef::Object(object).encoding(),
            Self::Same(entry) => entry.value().encoding(),
        }
    }
}

/// The number of which `bytes` is the canonical decimal form, if it is one.
#[must_use]
pub fn parse_canonical_int(bytes: &[u8]) -> Option<i64> {
    // Most values are not numbers, and most of those show it in the first byte.
    let (negative, digits) = match *bytes.first()? {
        b'-' => (true, &bytes[1..]),
        b'0'..=b'9' => (false, bytes),
        _ => return None,
    };
    let first = *digits.first()?;
    if digits.len() > 19 || (first == b'0' && (negative || digits.len() > 1)) {
        return None;
    }
    let mut magnitude: u64 = 0;
    for &byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        // Nineteen digits always fit in a u64.
        magnitude = magnitude * 10 + u64::from(digit);
    }
    if negative {
        // i64::MIN has no positive counterpart, so the negation is done in two's complement.
        (magnitude <= 1 << 63).then(|| (magnitude as i64).wrapping_neg())
    } else {
        i64::try_from(magnitude).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_canonical_decimals_become_numbers() {
        for good in [
            "0",
            "-1",
            "7",
            "9223372036854775807",
            "-9223372036854775808",
        ] {
            assert_eq!(
                parse_canonical_int(good.as_bytes()),
                good.parse().ok(),
                "{good}"
            );
        }
        for bad in [
            "",
            "-",
            "-0",
            "00",
            "01",
            "+1",
            " 1",
            "1 ",
            "1.0",
            "9223372036854775808",
            "-9223372036854775809",
            "18446744073709551616",
            "12345678901234567890",
            "a",
            "1a",
        ] {
            assert_eq!(parse_canonical_int(bad.as_bytes()), None, "{bad}");
        }
    }
}
