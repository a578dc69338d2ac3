//! A stream as a sequence of byte strings: for checkpoints, for digests, on its way to another
//! group.
//!
//! ```text
//! pieces   = head | node * | (group | deliveries *) *
//! head     = last ID | greatest deleted ID | entries added | nodes | groups
//! group    = name | last ID | entries read + 1, or 0 | pending | consumers
//!          | (name | seen i64 | 0, or 1 and active i64) *
//! deliveries = (ID | consumer | delivered i64 | deliveries) *
//! ```
//!
//! Nodes are as `node` writes them. Groups and consumers come in the order of their names, and
//! a pending entry has its consumer's place in that order. A piece of deliveries is full but for
//! the last one of a group. So the bytes follow from the content, however it grew.

use std::collections::HashMap;

use super::bytes::{Reader, put_id, put_number, put_signed, put_string};
use super::group::{Group, Pending, Slot};
use super::node::Node;
use super::{Parts, Stream, StreamId};

/// How many pending entries a piece has.
const DELIVERIES: usize = 256;

impl Stream {
    /// Number of pieces.
    pub(super) fn piece_count(&self) -> usize {
        let groups = self.groups().map(|(_, group)| group_pieces(group));
        1 + self.body.log.node_count() + groups.sum::<usize>()
    }

    /// Calls `visit` with up to `count` pieces, from number `from` on.
    pub(super) fn write_pieces(&self, from: usize, count: usize, visit: &mut dyn FnMut(&[u8])) {
        let mut piece = Vec::new();
        let mut numbers = from..from.saturating_add(count).min(self.piece_count());
        let nodes = self.body.log.node_count();
        let mut write = |write: &mut dyn FnMut(&mut Vec<u8>)| {
            piece.clear();
            write(&mut piece);
            visit(&piece);
        };
        if numbers.start == 0 && numbers.next().is_some() {
            write(&mut |out| self.put_head(out));
        }
        while (1..=nodes).contains(&numbers.start)
            && let Some(number) = numbers.next()
        {
            write(&mut |out| self.body.log.node(number - 1).put(out));
        }
        let mut first = 1 + nodes;
        for (name, group) in self.groups() {
            let end = first + group_pieces(group);
            let mut places = None;
            while (first..end).contains(&numbers.start)
                && let Some(number) = numbers.next()
            {
                write(&mut |out| match number - first {
                    0 => put_group(out, name, group),
                    piece => {
                        let places = places.get_or_insert_with(|| consumer_places(group));
                        put_deliveries(out, group, (piece - 1) * DELIVERIES, places);
                    }
                });
            }
            first = end;
        }
    }

    fn put_head(&self, out: &mut Vec<u8>) {
        put_id(out, self.body.last_id);
        put_id(out, self.body.max_deleted_id);
        put_number(out, self.body.entries_added);
        put_number(out, self.body.log.node_count() as u64);
        put_number(out, self.body.groups.len() as u64);
    }

    /// The stream of these pieces; `None` unless they are those of one.
    pub(super) fn from_pieces(pieces: &mut Parts<'_>) -> Option<Self> {
        let mut stream = Self::default();
        let mut head = Reader::new(pieces.next()?);
        stream.body.last_id = head.id()?;
        stream.body.max_deleted_id = head.id()?;
        stream.body.entries_added = head.number()?;
        let (nodes, groups) = (head.number()?, head.number()?);
        let mut before = None;
        for _ in 0..nodes {
            let node = Node::take(pieces.next()?)?;
            if before >= Some(node.first) {
                return None;
            }
            before = Some(node.last);
            stream.body.log.push(node);
        }
        for _ in 0..groups {
            let (name, group) = take_group(pieces)?;
            if !stream.add_group(name, group) {
                return None;
            }
        }
        let is_sound = head.rest.is_empty() && stream.top_id() <= stream.last_id();
        is_sound.then_some(stream)
    }
}

fn group_pieces(group: &Group) -> usize {
    1 + group.pending_len().div_ceil(DELIVERIES)
}

fn put_group(out: &mut Vec<u8>, name: &[u8], group: &Group) {
    put_string(out, name);
    put_id(out, group.last_id);
    put_number(
        out,
        group.entries_read.map_or(0, |read| read.wrapping_add(1)),
    );
    put_number(out, group.pending_len() as u64);
    put_number(out, group.consumer_count() as u64);
    for consumer in group.consumers() {
        put_string(out, consumer.name());
        put_signed(out, consumer.seen_ms);
        put_number(out, u64::from(consumer.active_ms.is_some()));
        if let Some(active_ms) = consumer.active_ms {
            put_signed(out, active_ms);
        }
    }
}

/// The place of each consumer in the order of names.
fn consumer_places(group: &Group) -> HashMap<Slot, u64> {
    let slots = group
        .consumers()
        .map(|consumer| group.slot(consumer.name()));
    slots.flatten().zip(0..).collect()
}

fn put_deliveries(out: &mut Vec<u8>, group: &Group, from: usize, places: &HashMap<Slot, u64>) {
    for (id, pending) in group.pending_skip(from).take(DELIVERIES) {
        put_id(out, id);
        put_number(out, places[&pending.consumer]);
        put_signed(out, pending.delivered_ms);
        put_number(out, pending.deliveries);
    }
}

fn take_group<'a>(pieces: &mut Parts<'a>) -> Option<(&'a [u8], Group)> {
    let mut head = Reader::new(pieces.next()?);
    let name = head.string()?;
    let last_id = head.id()?;
    let mut group = Group::new(last_id, head.number()?.checked_sub(1));
    let pending = head.size()?;
    let mut slots = Vec::new();
    for _ in 0..head.number()? {
        let consumer = head.string()?;
        let seen_ms = head.signed()?;
        let active_ms = match head.number()? {
            0 => None,
            1 => Some(head.signed()?),
            _ => return None,
        };
        slots.push(group.restore_consumer(consumer, seen_ms, active_ms)?);
    }
    for _ in 0..pending.div_ceil(DELIVERIES) {
        take_deliveries(pieces.next()?, &slots, &mut group)?;
    }
    (head.rest.is_empty() && group.pending_len() == pending).then_some((name, group))
}

fn take_deliveries(piece: &[u8], slots: &[Slot], group: &mut Group) -> Option<()> {
    let mut reader = Reader::new(piece);
    while !reader.rest.is_empty() {
        let id: StreamId = reader.id()?;
        let pending = Pending {
            consumer: *slots.get(reader.size()?)?,
            delivered_ms: reader.signed()?,
            deliveries: reader.number()?,
        };
        group.set_pending(id, pending);
    }
    Some(())
}
