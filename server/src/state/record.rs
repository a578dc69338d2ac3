//! One key with all that belongs to it, as bytes: in checkpoints, and on its way to another group.
//!
//! ```text
//! record = kind u8 | database | version u32 | access u32 | [expiry i64] | key | value
//! ```
//!
//! A string with a fencing token is the token (u64) and the string. A value of several elements is
//! its representation (u8) and the parts of its elements in order, each after its length; a list's
//! are its packs, a stream's its nodes and groups. They come in chunks of whole elements, so that
//! nobody needs all of a large value at once; a chunk follows its own length, and an empty one is
//! the end. Fixed numbers are little-endian, the database and lengths are LEB128.
//!
//! Records can be compared by their hashes ([`record_hash`]), also those of two keyspaces, whose
//! elements may stand in different orders.

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::codec::{put_bytes, put_varint};
use crate::keyspace::{
    Aggregate, Elements, Entry, Expiry, Fenced, Hash, List, NewValue, Object, Parts, Set,
    SortedSet, Stamp, Stream, ValueRef,
};

const KIND_INT: u8 = 0;
const KIND_STRING: u8 = 1;
/// A string that has been edited in place, or is too long to be kept in its entry.
const KIND_RAW: u8 = 2;
pub(super) const KIND_LIST: u8 = 3;
const KIND_SET: u8 = 4;
const KIND_HASH: u8 = 5;
const KIND_SORTED_SET: u8 = 6;
/// A string with a fencing token.
const KIND_FENCED: u8 = 16;
const KIND_STREAM: u8 = 7;
const KIND_MASK: u8 = 0x7f;
const EXPIRES: u8 = 0x80;
/// Begins what is no record, but says in a record's place that a key is not there.
pub(super) const GONE: u8 = KIND_MASK;
/// Begins what says in a record's place which staged realm the records behind it belong to.
pub(super) const REALM: u8 = KIND_MASK - 1;

/// A record that was read.
pub(super) struct Record<'a> {
    pub(super) database: usize,
    pub(super) stamp: Stamp,
    pub(super) expiry: Expiry,
    pub(super) key: &'a [u8],
    pub(super) value: NewValue<'a>,
}

/// Why a record cannot be read.
pub(super) enum Stop {
    /// More bytes may complete it.
    Incomplete,
    Malformed,
}

/// Writes a key with its value. The stamp is what a checkpoint keeps of the entry's history; in
/// what goes to another group it is the default one.
pub(super) fn put_record(entry: &Entry, database: usize, stamp: Stamp, out: &mut Vec<u8>) {
    put_head(entry, database, stamp, out);
    if let Some(elements) = entry.value().elements() {
        let mut scratch = Vec::new();
        for from in (0..elements.pieces()).step_by(elements.pieces_at_once()) {
            put_chunk(elements, from, &mut scratch, out);
        }
        put_end(out);
    }
}

/// Writes a record up to the elements of its value; all of it if the value has none.
pub(super) fn put_head(entry: &Entry, database: usize, stamp: Stamp, out: &mut Vec<u8>) {
    let value = entry.value();
    let kind = match value {
        ValueRef::Int(_) => KIND_INT,
        ValueRef::String(_) => KIND_STRING,
        ValueRef::Object(Object::String(_)) => KIND_RAW,
        ValueRef::Object(Object::Fenced(_)) => KIND_FENCED,
        ValueRef::Object(Object::List(_)) => KIND_LIST,
        ValueRef::Object(Object::Set(_)) => KIND_SET,
        ValueRef::Object(Object::Hash(_)) => KIND_HASH,
        ValueRef::Object(Object::SortedSet(_)) => KIND_SORTED_SET,
        ValueRef::Object(Object::Stream(_)) => KIND_STREAM,
    };
    let expires_at_ms = entry.expires_at_ms();
    out.push(kind | if expires_at_ms.is_some() { EXPIRES } else { 0 });
    put_varint(out, database as u64);
    out.extend_from_slice(&stamp.version.to_le_bytes());
    out.extend_from_slice(&stamp.access.to_le_bytes());
    if let Some(at_ms) = expires_at_ms {
        out.extend_from_slice(&at_ms.to_le_bytes());
    }
    put_bytes(out, entry.key());
    match value {
        ValueRef::Int(number) => out.extend_from_slice(&number.to_le_bytes()),
        ValueRef::String(bytes) => put_bytes(out, bytes),
        ValueRef::Object(Object::String(bytes)) => put_bytes(out, bytes),
        ValueRef::Object(Object::Fenced(fenced)) => {
            out.extend_from_slice(&fenced.token.to_le_bytes());
            put_bytes(out, &fenced.value);
        }
        ValueRef::Object(object) => {
            let elements = object.elements().expect("all but strings have elements");
            out.push(elements.representation());
        }
    }
}

/// Writes a chunk of a value, from piece number `from` on. What is in `scratch` is overwritten.
pub(super) fn put_chunk(
    elements: &dyn Elements,
    from: usize,
    scratch: &mut Vec<u8>,
    out: &mut Vec<u8>,
) {
    scratch.clear();
    elements.visit_pieces(from, elements.pieces_at_once(), &mut |part| {
        put_bytes(scratch, part);
    });
    put_bytes(out, scratch);
}

/// Ends the chunks of a value.
pub(super) fn put_end(out: &mut Vec<u8>) {
    put_bytes(out, b"");
}

/// The hash of what [`put_record`] wrote of an entry with the default stamp. Two keyspaces that
/// hold the same come to the same one, whatever their hash seeds.
pub(super) fn record_hash(entry: &Entry, database: usize, record: &[u8]) -> u64 {
    let value = entry.value().elements();
    let Some((elements, parts)) = value.and_then(|value| Some((value, value.hash_ordered()?)))
    else {
        return xxh3_64(record);
    };
    let (mut sum, mut element, mut part_number) = (0u64, 0, 0);
    elements.visit(0, elements.len(), &mut |part| {
        element = xxh3_64_with_seed(part, element);
        part_number += 1;
        if part_number == parts {
            sum = sum.wrapping_add(element);
            (element, part_number) = (0, 0);
        }
    });
    let mut head = Vec::with_capacity(64);
    put_head(entry, database, Stamp::default(), &mut head);
    xxh3_64_with_seed(&head, sum)
}

/// Reads a record. `seed` is the hash seed of the keyspace that takes it in.
pub(super) fn take_record<'a>(rest: &mut &'a [u8], seed: u64) -> Result<Record<'a>, Stop> {
    let [tag] = take(rest)?;
    let database = usize::try_from(take_varint(rest)?).map_err(|_| Stop::Malformed)?;
    let stamp = Stamp {
        version: u32::from_le_bytes(take(rest)?),
        access: u32::from_le_bytes(take(rest)?),
    };
    let expiry = match tag & EXPIRES {
        0 => Expiry::None,
        _ => Expiry::At(i64::from_le_bytes(take(rest)?)),
    };
    let key = take_bytes(rest)?;
    let value = match tag & KIND_MASK {
        KIND_INT => NewValue::Int(i64::from_le_bytes(take(rest)?)),
        KIND_STRING => NewValue::String(take_bytes(rest)?),
        KIND_RAW => NewValue::Object(Object::String(take_bytes(rest)?.to_vec())),
        KIND_FENCED => {
            let token = u64::from_le_bytes(take(rest)?);
            let value = take_bytes(rest)?.into();
            NewValue::Object(Object::Fenced(Box::new(Fenced { value, token })))
        }
        KIND_LIST => take_elements::<List>(rest, seed)?,
        KIND_SET => take_elements::<Set>(rest, seed)?,
        KIND_HASH => take_elements::<Hash>(rest, seed)?,
        KIND_SORTED_SET => take_elements::<SortedSet>(rest, seed)?,
        KIND_STREAM => take_elements::<Stream>(rest, seed)?,
        _ => return Err(Stop::Malformed),
    };
    Ok(Record {
        database,
        stamp,
        expiry,
        key,
        value,
    })
}

fn take_elements<T: Aggregate>(rest: &mut &[u8], seed: u64) -> Result<NewValue<'static>, Stop> {
    let [representation] = take(rest)?;
    let start = *rest;
    while !take_bytes(rest)?.is_empty() {}
    // Without the empty chunk at the end, which is one byte.
    let mut parts = Parts::chunked(&start[..start.len() - rest.len() - 1]);
    let value = T::restore(representation, &mut parts, seed)
        .filter(|value| parts.is_done() && !value.is_empty())
        .ok_or(Stop::Malformed)?;
    Ok(NewValue::Object(value.into_object()))
}

pub(super) fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Stop> {
    let (bytes, after) = rest.split_first_chunk::<N>().ok_or(Stop::Incomplete)?;
    *rest = after;
    Ok(*bytes)
}

pub(super) fn take_varint(rest: &mut &[u8]) -> Result<u64, Stop> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let [byte] = take(rest)?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(Stop::Malformed)
}

pub(super) fn take_bytes<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], Stop> {
    let len = usize::try_from(take_varint(rest)?).map_err(|_| Stop::Malformed)?;
    let (bytes, after) = rest.split_at_checked(len).ok_or(Stop::Incomplete)?;
    *rest = after;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::Member;

    fn hash(seed: u64, fields: u32, last: &[u8]) -> NewValue<'static> {
        let mut hash = Hash::default();
        for number in 0..fields {
            hash.set(&number.to_le_bytes(), b"value", seed);
        }
        hash.set(b"last", last, seed);
        NewValue::Object(hash.into_object())
    }

    fn set(seed: u64, members: u32, last: &[u8]) -> NewValue<'static> {
        let mut set = Set::default();
        for number in 0..members {
            set.add(Member::Bytes(&number.to_le_bytes()), seed);
        }
        set.add(Member::Bytes(last), seed);
        NewValue::Object(set.into_object())
    }

    fn entry(value: NewValue<'_>) -> Entry {
        Entry::new(b"key", value, Some(5), Stamp::default())
    }

    fn record(entry: &Entry) -> (Vec<u8>, u64) {
        let mut record = Vec::new();
        put_record(entry, 1, Stamp::default(), &mut record);
        let hash = record_hash(entry, 1, &record);
        (record, hash)
    }

    #[test]
    fn two_keyspaces_that_hold_the_same_have_the_same_hash() {
        type Make = fn(u64, u32, &[u8]) -> NewValue<'static>;
        let kinds: [Make; 2] = [hash, set];
        for value in kinds {
            for count in [3, 1000] {
                let ours = record(&entry(value(1, count, b"x")));
                let theirs = record(&entry(value(2, count, b"x")));
                assert_eq!(ours.1, theirs.1);
                assert_eq!(
                    ours.0 == theirs.0,
                    count == 3,
                    "large ones have another order"
                );
                assert_ne!(record(&entry(value(1, count, b"y"))).1, ours.1);
                assert_ne!(record(&entry(value(1, count + 1, b"x"))).1, ours.1);
            }
        }
    }

    #[test]
    fn a_value_that_was_read_writes_the_same_bytes_again() {
        for value in [
            hash(7, 3, b""),
            hash(7, 900, b"x"),
            set(7, 100, b"x"),
            set(7, 5000, b"y"),
        ] {
            let (bytes, _) = record(&entry(value));
            let mut rest = &bytes[..];
            let Ok(read) = take_record(&mut rest, 7) else {
                panic!("a record")
            };
            assert!(rest.is_empty());
            assert_eq!(record(&entry(read.value)).0, bytes);
        }
    }
}
