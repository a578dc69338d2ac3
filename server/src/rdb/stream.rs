//! Streams in serialized form, and as plain data that a keyspace's own type is made from.
//!
//! ```text
//! stream   = nodes ( id16 listpack )* | entries | last id
//!            [from 2: first id | highest deleted id | entries ever added] | groups group*
//! group    = name | last id | [from 2: entries read] | pending ( id16 time8 deliveries )*
//!            | consumers consumer*
//! consumer = name | seen8 | [from 3: active8] | pending id16 *
//! listpack = entries | deleted | fields | field* | 0 | entry*
//! entry    = flags | ms - node's | seq - node's | [unless SAME: fields] ( [field] value )* | parts
//! ```
//!
//! Numbers are lengths, ids in sixteen bytes are big-endian, times in eight little-endian. Nodes
//! stay as they were divided. The names of fields are shared, because a node's entries can refer to
//! those of its first one, and a copy for each would let a small input grow without bound.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::input::{Input, Stop};
use super::listpack::{Writer, elements};
use super::output::{put_bytes, put_length};
use crate::keyspace::list::Element;

const DELETED: i64 = 1;
const SAME_FIELDS: i64 = 2;

/// Number of entries of which nothing is known.
const UNKNOWN: u64 = u64::MAX;

/// Milliseconds and a number within them.
pub type Id = (u64, u64);

/// A stream. `nodes` ascend, none is empty, and no id is above `last_id`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stream {
    /// The entries, as they are divided into blocks.
    pub nodes: Vec<Vec<Entry>>,
    /// The highest id that was ever given.
    pub last_id: Id,
    /// The highest id that was deleted.
    pub max_deleted_id: Id,
    /// How many entries there ever were.
    pub entries_added: u64,
    /// The consumer groups, by name.
    pub groups: BTreeMap<Vec<u8>, Group>,
}

/// A name and a value.
pub type Field = (Arc<[u8]>, Box<[u8]>);

/// An entry of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its id.
    pub id: Id,
    /// Fields and values, at least one.
    pub fields: Vec<Field>,
}

/// A consumer group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// The last id that was delivered.
    pub last_id: Id,
    /// How many entries were read; `None` if that cannot be told.
    pub entries_read: Option<u64>,
    /// What was delivered and not acknowledged. Each belongs to one of `consumers`.
    pub pending: BTreeMap<Id, Pending>,
    /// The consumers, by name.
    pub consumers: BTreeMap<Vec<u8>, Consumer>,
}

/// An entry that was delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// To whom.
    pub consumer: Vec<u8>,
    /// When, the last time, in milliseconds of Unix time.
    pub delivered_at_ms: i64,
    /// How often.
    pub deliveries: u64,
}

/// A consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Consumer {
    /// When it was last heard of, in milliseconds of Unix time.
    pub seen_at_ms: i64,
    /// When it last got something; `None` if never.
    pub active_at_ms: Option<i64>,
}

/// Takes a stream of this version of the form.
pub(super) fn take(input: &mut Input<'_>, version: u8) -> Result<Stream, Stop> {
    let mut stream = Stream::default();
    let mut last = None;
    for _ in 0..input.count(2)? {
        let (id, block) = (input.string()?, input.string()?);
        let id = id.as_ref().try_into().map_err(|_| Stop::Malformed)?;
        let node = take_node(id_of(id), &elements(&block)?)?;
        for entry in &node {
            ascend(&mut last, entry.id)?;
        }
        if !node.is_empty() {
            stream.nodes.push(node);
        }
    }
    let count = input.length()?;
    stream.last_id = take_id(input)?;
    let is_whole = stream.nodes.iter().map(Vec::len).sum::<usize>() as u64 == count
        && last.is_none_or(|last| last <= stream.last_id);
    if !is_whole {
        return Err(Stop::Malformed);
    }
    stream.entries_added = count;
    if version >= 2 {
        // Which id is the first is told by the nodes.
        take_id(input)?;
        stream.max_deleted_id = take_id(input)?;
        stream.entries_added = input.length()?;
        if stream.entries_added < count {
            return Err(Stop::Malformed);
        }
    }
    for _ in 0..input.count(4)? {
        let name = input.string()?.into_owned();
        let mut group = take_group(input, version)?;
        if version < 2 {
            group.entries_read = stream.estimated_read(group.last_id);
        }
        if stream.groups.insert(name, group).is_some() {
            return Err(Stop::Malformed);
        }
    }
    Ok(stream)
}

impl Stream {
    /// How many entries a group has read that has come to `last_id`, as far as the ends of the
    /// stream tell it. The first version of the form does not say, and knows of no deletions.
    fn estimated_read(&self, last_id: Id) -> Option<u64> {
        let entries = self.nodes.iter().flatten();
        let first = entries.map(|entry| entry.id).next();
        if self.entries_added == 0 {
            return Some(0);
        }
        match first {
            _ if last_id == self.last_id => Some(self.entries_added),
            Some(first) if last_id < first => Some(0),
            Some(first) if last_id == first => Some(1),
            _ => None,
        }
    }
}

fn ascend(last: &mut Option<Id>, id: Id) -> Result<(), Stop> {
    if last.is_some_and(|last| last >= id) {
        return Err(Stop::Malformed);
    }
    *last = Some(id);
    Ok(())
}

/// What is read of a node's listpack.
struct Parts<'a> {
    rest: std::slice::Iter<'a, Element<'a>>,
}

impl<'a> Parts<'a> {
    fn next(&mut self) -> Result<Element<'a>, Stop> {
        self.rest.next().copied().ok_or(Stop::Malformed)
    }

    fn number(&mut self) -> Result<i64, Stop> {
        match self.next()? {
            Element::Int(number) => Ok(number),
            Element::Bytes(_) => Err(Stop::Malformed),
        }
    }

    /// A number of things of which each takes at least one part.
    fn count(&mut self) -> Result<usize, Stop> {
        let count = usize::try_from(self.number()?).map_err(|_| Stop::Malformed)?;
        if count > self.rest.len() {
            return Err(Stop::Malformed);
        }
        Ok(count)
    }

    fn bytes<B: From<Vec<u8>>>(&mut self) -> Result<B, Stop> {
        self.next().map(|element| element.to_vec().into())
    }
}

fn take_node(first: Id, elements: &[Element<'_>]) -> Result<Vec<Entry>, Stop> {
    let mut parts = Parts {
        rest: elements.iter(),
    };
    let (valid, deleted) = (parts.number()?, parts.number()?);
    let mut names: Vec<Arc<[u8]>> = Vec::new();
    for _ in 0..parts.count()? {
        names.push(parts.bytes()?);
    }
    if parts.number()? != 0 {
        return Err(Stop::Malformed);
    }
    let (mut node, mut gone) = (Vec::new(), 0);
    while parts.rest.len() > 0 {
        let (is_deleted, entry) = take_entry(first, &names, &mut parts)?;
        if is_deleted {
            gone += 1;
        } else {
            node.push(entry);
        }
    }
    if i64::try_from(node.len()) != Ok(valid) || gone != deleted {
        return Err(Stop::Malformed);
    }
    Ok(node)
}

fn take_entry(
    first: Id,
    names: &[Arc<[u8]>],
    parts: &mut Parts<'_>,
) -> Result<(bool, Entry), Stop> {
    let before = parts.rest.len();
    let flags = parts.number()?;
    if flags & !(DELETED | SAME_FIELDS) != 0 {
        return Err(Stop::Malformed);
    }
    // Differences wrap around, as sums of unsigned numbers do in Redis.
    let id = (
        first.0.wrapping_add(parts.number()? as u64),
        first.1.wrapping_add(parts.number()? as u64),
    );
    let mut fields = Vec::new();
    if flags & SAME_FIELDS != 0 {
        if names.len() > parts.rest.len() {
            return Err(Stop::Malformed);
        }
        for name in names {
            fields.push((name.clone(), parts.bytes()?));
        }
    } else {
        for _ in 0..parts.count()? {
            fields.push((parts.bytes()?, parts.bytes()?));
        }
    }
    let taken = before - parts.rest.len();
    if i64::try_from(taken) != Ok(parts.number()?) || fields.is_empty() {
        return Err(Stop::Malformed);
    }
    Ok((flags & DELETED != 0, Entry { id, fields }))
}

fn take_group(input: &mut Input<'_>, version: u8) -> Result<Group, Stop> {
    let mut group = Group {
        last_id: take_id(input)?,
        ..Group::default()
    };
    if version >= 2 {
        group.entries_read = Some(input.length()?).filter(|&read| read != UNKNOWN);
    }
    let mut deliveries = BTreeMap::new();
    for _ in 0..input.count(16 + 8 + 1)? {
        let id = id_of(input.take()?);
        let delivered_at_ms = i64::from_le_bytes(input.take()?);
        if deliveries
            .insert(id, (delivered_at_ms, input.length()?))
            .is_some()
        {
            return Err(Stop::Malformed);
        }
    }
    for _ in 0..input.count(1 + 8 + 1)? {
        take_consumer(input, version, &mut deliveries, &mut group)?;
    }
    // What was delivered to nobody cannot be acknowledged by anybody.
    if !deliveries.is_empty() {
        return Err(Stop::Malformed);
    }
    Ok(group)
}

fn take_consumer(
    input: &mut Input<'_>,
    version: u8,
    deliveries: &mut BTreeMap<Id, (i64, u64)>,
    group: &mut Group,
) -> Result<(), Stop> {
    let name = input.string()?.into_owned();
    let seen_at_ms = i64::from_le_bytes(input.take()?);
    let active_at_ms = match version {
        3.. => Some(i64::from_le_bytes(input.take()?)).filter(|&at_ms| at_ms >= 0),
        _ => Some(seen_at_ms),
    };
    let mut seen = BTreeSet::new();
    for _ in 0..input.count(16)? {
        let id = id_of(input.take()?);
        let delivery = deliveries.remove(&id).filter(|_| seen.insert(id));
        let (delivered_at_ms, deliveries) = delivery.ok_or(Stop::Malformed)?;
        let pending = Pending {
            consumer: name.clone(),
            delivered_at_ms,
            deliveries,
        };
        group.pending.insert(id, pending);
    }
    let consumer = Consumer {
        seen_at_ms,
        active_at_ms,
    };
    match group.consumers.insert(name, consumer) {
        None => Ok(()),
        Some(_) => Err(Stop::Malformed),
    }
}

fn take_id(input: &mut Input<'_>) -> Result<Id, Stop> {
    Ok((input.length()?, input.length()?))
}

fn id_of(bytes: [u8; 16]) -> Id {
    let number = u128::from_be_bytes(bytes);
    ((number >> 64) as u64, number as u64)
}

/// Writes a stream in the second version of the form, which Redis 7.0 reads; its type stands before
/// it. When consumers last got something is not in there.
pub fn put(stream: &Stream, out: &mut Vec<u8>) {
    put_length(stream.nodes.len() as u64, out);
    for node in &stream.nodes {
        put_bytes(&id_bytes(node[0].id), out);
        put_bytes(&node_block(node), out);
    }
    put_length(stream.nodes.iter().map(Vec::len).sum::<usize>() as u64, out);
    put_id(stream.last_id, out);
    put_id(stream.nodes.first().map_or((0, 0), |node| node[0].id), out);
    put_id(stream.max_deleted_id, out);
    put_length(stream.entries_added, out);
    put_length(stream.groups.len() as u64, out);
    for (name, group) in &stream.groups {
        put_bytes(name, out);
        put_group(group, out);
    }
}

fn put_group(group: &Group, out: &mut Vec<u8>) {
    put_id(group.last_id, out);
    put_length(group.entries_read.unwrap_or(UNKNOWN), out);
    put_length(group.pending.len() as u64, out);
    for (id, pending) in &group.pending {
        out.extend_from_slice(&id_bytes(*id));
        out.extend_from_slice(&pending.delivered_at_ms.to_le_bytes());
        put_length(pending.deliveries, out);
    }
    put_length(group.consumers.len() as u64, out);
    let mut owned: BTreeMap<&[u8], Vec<Id>> = BTreeMap::new();
    for (id, pending) in &group.pending {
        owned.entry(&pending.consumer).or_default().push(*id);
    }
    for (name, consumer) in &group.consumers {
        put_bytes(name, out);
        out.extend_from_slice(&consumer.seen_at_ms.to_le_bytes());
        let ids = owned.remove(&name[..]).unwrap_or_default();
        put_length(ids.len() as u64, out);
        for id in ids {
            out.extend_from_slice(&id_bytes(id));
        }
    }
}

fn node_block(node: &[Entry]) -> Vec<u8> {
    let (first, mut writer) = (&node[0], Writer::default());
    writer.push_int(node.len() as i64);
    writer.push_int(0);
    writer.push_int(first.fields.len() as i64);
    for (name, _) in &first.fields {
        writer.push_bytes(name);
    }
    writer.push_int(0);
    for entry in node {
        let is_same = entry.fields.len() == first.fields.len()
            && entry
                .fields
                .iter()
                .zip(&first.fields)
                .all(|(a, b)| a.0 == b.0);
        writer.push_int(if is_same { SAME_FIELDS } else { 0 });
        writer.push_int(entry.id.0.wrapping_sub(first.id.0) as i64);
        writer.push_int(entry.id.1.wrapping_sub(first.id.1) as i64);
        let fields = entry.fields.len() as i64;
        if !is_same {
            writer.push_int(fields);
        }
        for (name, value) in &entry.fields {
            if !is_same {
                writer.push_bytes(name);
            }
            writer.push_bytes(value);
        }
        writer.push_int(if is_same { 3 + fields } else { 4 + 2 * fields });
    }
    writer.finish()
}

fn put_id(id: Id, out: &mut Vec<u8>) {
    put_length(id.0, out);
    put_length(id.1, out);
}

fn id_bytes(id: Id) -> [u8; 16] {
    (u128::from(id.0) << 64 | u128::from(id.1)).to_be_bytes()
}
