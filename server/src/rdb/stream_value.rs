//! Streams of the keyspace, from and to the plain form that is read and written.
//!
//! Nodes are divided anew: on reading as if the entries were added one by one, on writing after so
//! many entries as a node may have. How it fails: an entry that no stream can have (ID 0-0, or
//! behind the last one) and a name that is there twice are refused, and so is one that would take
//! too much: in a dump a node's entries share the names of their fields, which need not be so here.

use std::collections::BTreeMap;

use super::stream::{self, Id};
use crate::keyspace::stream::{Group, NODE_MAX_ENTRIES, Pending, Stream, StreamId};

/// What the entries of a stream that is read may take, in bytes: eight times as much as the largest
/// dump.
const ENTRIES_MAX_BYTES: usize = 4 << 30;

/// The keyspace's stream; `None` if there cannot be such a one.
#[must_use]
pub fn from_plain(plain: &stream::Stream) -> Option<Stream> {
    let mut value = Stream::default();
    let mut room = ENTRIES_MAX_BYTES;
    for entry in plain.nodes.iter().flatten() {
        let id = id(entry.id);
        if id <= value.last_id() {
            return None;
        }
        let pairs = entry.fields.iter();
        let pairs: Vec<(&[u8], &[u8])> = pairs.map(|(name, field)| (&**name, &**field)).collect();
        let bytes = pairs.iter().map(|(name, field)| name.len() + field.len());
        room = room.checked_sub(bytes.sum())?;
        value.append(id, &pairs);
    }
    if id(plain.last_id) < value.top_id() {
        return None;
    }
    value.set_last_id(
        id(plain.last_id),
        Some(plain.entries_added),
        Some(id(plain.max_deleted_id)),
    );
    for (name, group) in &plain.groups {
        value.add_group(name, group_from_plain(group)?);
    }
    Some(value)
}

fn group_from_plain(plain: &stream::Group) -> Option<Group> {
    let mut group = Group::new(id(plain.last_id), plain.entries_read);
    for (name, consumer) in &plain.consumers {
        let slot = group.see_consumer(name, consumer.seen_at_ms);
        if let Some(active_ms) = consumer.active_at_ms {
            group.note_active(slot, active_ms);
        }
    }
    for (at, pending) in &plain.pending {
        let pending = Pending {
            consumer: group.slot(&pending.consumer)?,
            delivered_ms: pending.delivered_at_ms,
            deliveries: pending.deliveries,
        };
        group.set_pending(id(*at), pending);
    }
    Some(group)
}

/// The plain form of a stream.
#[must_use]
pub fn to_plain(value: &Stream) -> stream::Stream {
    let mut nodes: Vec<Vec<stream::Entry>> = Vec::new();
    for entry in value.range(StreamId::MIN, StreamId::MAX) {
        let pairs = entry.pairs();
        let entry = stream::Entry {
            id: plain_id(entry.id),
            fields: pairs
                .map(|(name, field)| (name.to_vec().into(), field.to_vec().into()))
                .collect(),
        };
        match nodes.last_mut() {
            Some(node) if node.len() < NODE_MAX_ENTRIES as usize => node.push(entry),
            _ => nodes.push(vec![entry]),
        }
    }
    let groups = value.groups();
    stream::Stream {
        nodes,
        last_id: plain_id(value.last_id()),
        max_deleted_id: plain_id(value.max_deleted_id()),
        entries_added: value.entries_added(),
        groups: groups
            .map(|(name, group)| (name.to_vec(), group_to_plain(group)))
            .collect(),
    }
}

fn group_to_plain(group: &Group) -> stream::Group {
    let consumers = group.consumers().map(|consumer| {
        let plain = stream::Consumer {
            seen_at_ms: consumer.seen_ms,
            active_at_ms: consumer.active_ms,
        };
        (consumer.name().to_vec(), plain)
    });
    let pending = group.pending_from(StreamId::MIN).map(|(id, pending)| {
        let plain = stream::Pending {
            consumer: group.consumer(pending.consumer).name().to_vec(),
            delivered_at_ms: pending.delivered_ms,
            deliveries: pending.deliveries,
        };
        (plain_id(id), plain)
    });
    stream::Group {
        last_id: plain_id(group.last_id),
        entries_read: group.entries_read,
        pending: pending.collect(),
        consumers: consumers.collect::<BTreeMap<_, _>>(),
    }
}

fn id((ms, seq): Id) -> StreamId {
    StreamId { ms, seq }
}

fn plain_id(id: StreamId) -> Id {
    (id.ms, id.seq)
}
