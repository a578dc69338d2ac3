//! Values in the serialized form that Redis 7.0 and its successors read.

use super::listpack::{self, Writer};
use super::output::{put_bytes, put_length, put_string};
use super::{kind, old, stream, stream_value};
use crate::keyspace::{Elements, Hash, List, Member, Object, Set, SortedSet, ValueRef};

/// A node of a list that is a listpack.
const NODE_PACKED: u64 = 2;

/// Beyond this Redis does not look whether a score is a whole number.
const WHOLE_MAX: f64 = (1u64 << 52) as f64;

/// Writes a type and a value of it.
pub(super) fn put_value(value: ValueRef<'_>, out: &mut Vec<u8>) {
    match value {
        ValueRef::Int(number) => {
            out.push(kind::STRING);
            put_string(itoa::Buffer::new().format(number).as_bytes(), out);
        }
        ValueRef::String(bytes) => {
            out.push(kind::STRING);
            put_string(bytes, out);
        }
        ValueRef::Object(Object::String(bytes)) => {
            out.push(kind::STRING);
            put_string(bytes, out);
        }
        // The token belongs to this cluster, and means nothing elsewhere.
        ValueRef::Object(Object::Fenced(fenced)) => {
            out.push(kind::STRING);
            put_string(&fenced.value, out);
        }
        ValueRef::Object(Object::List(list)) => put_list(list, out),
        ValueRef::Object(Object::Set(set)) => put_set(set, out),
        ValueRef::Object(Object::Hash(hash)) => put_hash(hash, out),
        ValueRef::Object(Object::SortedSet(set)) => put_sorted_set(set, out),
        ValueRef::Object(Object::Stream(value)) => {
            out.push(kind::STREAM_2);
            stream::put(&stream_value::to_plain(value), out);
        }
    }
}

fn put_list(list: &List, out: &mut Vec<u8>) {
    out.push(kind::LIST_QUICKLIST_2);
    put_length(list.pack_count() as u64, out);
    for entries in list.packs() {
        put_length(NODE_PACKED, out);
        put_bytes(&listpack::around(entries), out);
    }
}

/// A packed set is written element by element: its listpack would need a later version.
fn put_set(set: &Set, out: &mut Vec<u8>) {
    if set.encoding() == "intset" {
        let number = |member| match member {
            Member::Int(number) => number,
            Member::Bytes(_) => unreachable!("a set of integers holds integers"),
        };
        let numbers: Vec<i64> = set.iter_from(0).map(number).collect();
        let mut block = Vec::new();
        old::put_intset(&numbers, &mut block);
        out.push(kind::SET_INTSET);
        put_bytes(&block, out);
        return;
    }
    out.push(kind::SET);
    put_length(set.len() as u64, out);
    set.visit(0, set.len(), &mut |member| put_string(member, out));
}

fn put_hash(hash: &Hash, out: &mut Vec<u8>) {
    if hash.encoding() == "listpack" {
        let mut writer = Writer::default();
        hash.visit(0, hash.len(), &mut |part| writer.push_bytes(part));
        out.push(kind::HASH_LISTPACK);
        put_bytes(&writer.finish(), out);
        return;
    }
    out.push(kind::HASH);
    put_length(hash.len() as u64, out);
    hash.visit(0, hash.len(), &mut |part| put_string(part, out));
}

fn put_sorted_set(set: &SortedSet, out: &mut Vec<u8>) {
    if set.encoding() == "listpack" {
        let mut writer = Writer::default();
        for (member, score) in set.iter() {
            writer.push_bytes(member);
            put_packed_score(score, &mut writer);
        }
        out.push(kind::ZSET_LISTPACK);
        put_bytes(&writer.finish(), out);
        return;
    }
    out.push(kind::ZSET_2);
    put_length(set.len() as u64, out);
    // Redis loads faster what comes from the highest score down.
    for (member, score) in set.walk(0..set.len(), true) {
        put_string(member, out);
        out.extend_from_slice(&score.to_le_bytes());
    }
}

fn put_packed_score(score: f64, writer: &mut Writer) {
    if score.fract() == 0.0 && score.abs() < WHOLE_MAX {
        writer.push_int(score as i64);
    } else {
        let mut text = Vec::new();
        bailiwick_frame::format_double(score, &mut text);
        writer.push_bytes(&text);
    }
}
