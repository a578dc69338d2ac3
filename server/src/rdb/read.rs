//! Values from their serialized form, each checked against what its encoding promises.
//!
//! What a value becomes here follows Redis 7.2: small values of an encoding for large ones, and the
//! other way round, get the representation that loading them in Redis would give them.

use std::borrow::Cow;

use super::input::{Input, Stop};
use super::listpack::{self, elements};
use super::old::{intset, ziplist, zipmap};
use super::{Value, kind, stream};
use crate::keyspace::list::{Element, End, PACK_MAX_BYTES};
use crate::keyspace::{Aggregate, Hash, List, Member, Set, SortedSet};

/// The forms of a node of a list.
const NODE_PLAIN: u64 = 1;
const NODE_PACKED: u64 = 2;

/// Takes a type and a value of it.
pub(super) fn take_value(input: &mut Input<'_>, seed: u64) -> Result<Value, Stop> {
    let kind = input.byte()?;
    match kind {
        kind::STRING => Ok(Value::String(input.string()?.into_owned())),
        kind::LIST => whole(take_list(input)?),
        kind::LIST_ZIPLIST => {
            let mut list = List::new();
            push_all(&mut list, &ziplist(&input.string()?)?);
            whole(list)
        }
        kind::LIST_QUICKLIST => whole(take_old_nodes(input)?),
        kind::LIST_QUICKLIST_2 => whole(take_nodes(input)?),
        kind::SET => whole(take_set(input, seed)?),
        kind::SET_INTSET => whole(set_of_ints(&intset(&input.string()?)?, seed)?),
        kind::SET_LISTPACK => whole(packed_set(&elements(&input.string()?)?, seed)?),
        kind::HASH => whole(take_hash(input, seed)?),
        kind::HASH_ZIPMAP => whole(hash_of(&zipmap(&input.string()?)?, seed, |part, with| {
            with(part);
        })?),
        kind::HASH_ZIPLIST => whole(packed_hash(&ziplist(&input.string()?)?, seed)?),
        kind::HASH_LISTPACK => whole(packed_hash(&elements(&input.string()?)?, seed)?),
        kind::ZSET => whole(take_sorted_set(input, seed, 2, Input::text_double)?),
        kind::ZSET_2 => whole(take_sorted_set(input, seed, 9, Input::binary_double)?),
        kind::ZSET_ZIPLIST => whole(packed_sorted_set(&ziplist(&input.string()?)?, seed)?),
        kind::ZSET_LISTPACK => whole(packed_sorted_set(&elements(&input.string()?)?, seed)?),
        kind::STREAM => stream::take(input, 1).map(Value::Stream),
        kind::STREAM_2 => stream::take(input, 2).map(Value::Stream),
        kind::STREAM_3 => stream::take(input, 3).map(Value::Stream),
        _ => Err(Stop::Malformed),
    }
}

/// There are no values without elements.
fn whole<T: Aggregate>(value: T) -> Result<Value, Stop> {
    if value.is_empty() {
        return Err(Stop::Malformed);
    }
    Ok(Value::Object(value.into_object()))
}

fn take_list(input: &mut Input<'_>) -> Result<List, Stop> {
    let mut list = List::new();
    for _ in 0..input.count(1)? {
        push(&mut list, &input.string()?);
    }
    Ok(list)
}

fn take_old_nodes(input: &mut Input<'_>) -> Result<List, Stop> {
    let mut list = List::new();
    for _ in 0..input.count(1)? {
        push_all(&mut list, &ziplist(&input.string()?)?);
    }
    Ok(list)
}

/// The nodes of a quicklist, which stay divided as they are if that is how they would be here.
fn take_nodes(input: &mut Input<'_>) -> Result<List, Stop> {
    let mut blocks: Vec<Cow<'_, [u8]>> = Vec::new();
    for _ in 0..input.count(2)? {
        let form = input.length()?;
        let block = input.string()?;
        match form {
            NODE_PLAIN => {
                let mut writer = listpack::Writer::default();
                writer.push_bytes(&block);
                blocks.push(Cow::Owned(writer.finish()));
            }
            NODE_PACKED if elements(&block)?.is_empty() => {}
            NODE_PACKED => blocks.push(block),
            _ => return Err(Stop::Malformed),
        }
    }
    let is_chunked = blocks.len() != 1 || blocks[0].len() > PACK_MAX_BYTES;
    let packs = blocks.iter().map(|block| listpack::entries(block));
    if let Some(list) = List::from_packs(is_chunked, packs) {
        return Ok(list);
    }
    let mut list = List::new();
    for block in &blocks {
        push_all(&mut list, &elements(block)?);
    }
    Ok(list)
}

fn push_all(list: &mut List, elements: &[Element<'_>]) {
    for element in elements {
        element.with_bytes(|bytes| push(list, bytes));
    }
}

fn push(list: &mut List, bytes: &[u8]) {
    list.expect(bytes.len());
    list.push(End::Back, bytes);
}

fn take_set(input: &mut Input<'_>, seed: u64) -> Result<Set, Stop> {
    let count = input.count(1)?;
    let mut set = Set::default();
    // As many integers as there may be in a set of such.
    set.prepare(b"0", count, seed);
    for _ in 0..count {
        add(&mut set, Member::Bytes(&input.string()?), seed)?;
    }
    Ok(set)
}

fn set_of_ints(numbers: &[i64], seed: u64) -> Result<Set, Stop> {
    let mut set = Set::default();
    for &number in numbers {
        add(&mut set, Member::Int(number), seed)?;
    }
    Ok(set)
}

fn packed_set(members: &[Element<'_>], seed: u64) -> Result<Set, Stop> {
    let mut set = Set::packed();
    for member in members {
        member.with_bytes(|bytes| add(&mut set, Member::Bytes(bytes), seed))?;
    }
    Ok(set)
}

fn add(set: &mut Set, member: Member<'_>, seed: u64) -> Result<(), Stop> {
    if set.add(member, seed) {
        Ok(())
    } else {
        Err(Stop::Malformed)
    }
}

fn take_hash(input: &mut Input<'_>, seed: u64) -> Result<Hash, Stop> {
    let count = input.count(2)?;
    let mut hash = Hash::default();
    hash.prepare(count, 0, seed);
    for _ in 0..count {
        let (field, value) = (input.string()?, input.string()?);
        if !hash.set(&field, &value, seed) {
            return Err(Stop::Malformed);
        }
    }
    Ok(hash)
}

fn packed_hash(parts: &[Element<'_>], seed: u64) -> Result<Hash, Stop> {
    hash_of(parts, seed, |part, with| part.with_bytes(with))
}

/// A hash of fields and values in turn; `show` gives the bytes of one of them.
fn hash_of<P: Copy>(
    parts: &[P],
    seed: u64,
    show: impl Fn(P, &mut dyn FnMut(&[u8])),
) -> Result<Hash, Stop> {
    if parts.len() % 2 != 0 {
        return Err(Stop::Malformed);
    }
    let mut hash = Hash::default();
    hash.prepare(parts.len() / 2, 0, seed);
    for pair in parts.chunks_exact(2) {
        let mut is_new = false;
        show(pair[0], &mut |field| {
            show(pair[1], &mut |value| is_new = hash.set(field, value, seed));
        });
        if !is_new {
            return Err(Stop::Malformed);
        }
    }
    Ok(hash)
}

fn take_sorted_set<'a>(
    input: &mut Input<'a>,
    seed: u64,
    least_bytes: usize,
    take_score: fn(&mut Input<'a>) -> Result<f64, Stop>,
) -> Result<SortedSet, Stop> {
    let count = input.count(least_bytes)?;
    let mut set = SortedSet::expecting(count, 0, seed);
    for _ in 0..count {
        let member = input.string()?;
        let score = take_score(input)?;
        set_score(&mut set, &member, score, seed)?;
    }
    Ok(set)
}

fn packed_sorted_set(parts: &[Element<'_>], seed: u64) -> Result<SortedSet, Stop> {
    if parts.len() % 2 != 0 {
        return Err(Stop::Malformed);
    }
    let mut set = SortedSet::expecting(parts.len() / 2, 0, seed);
    for pair in parts.chunks_exact(2) {
        let score = match pair[1] {
            Element::Int(number) => number as f64,
            Element::Bytes(text) => parse_score(text).ok_or(Stop::Malformed)?,
        };
        pair[0].with_bytes(|member| set_score(&mut set, member, score, seed))?;
    }
    Ok(set)
}

fn set_score(set: &mut SortedSet, member: &[u8], score: f64, seed: u64) -> Result<(), Stop> {
    match set.set(member, score, seed) {
        None => Ok(()),
        Some(_) => Err(Stop::Malformed),
    }
}

fn parse_score(text: &[u8]) -> Option<f64> {
    let score: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    (!score.is_nan()).then_some(score)
}
