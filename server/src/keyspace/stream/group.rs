//! A consumer group: how far it has read, who its consumers are, and what was delivered to whom and
//! not acknowledged so far.
//!
//! What is pending is kept once for the group, with the consumer that owns it, and by ID for each
//! consumer. Consumers are known to pending entries by the number of a slot, which means nothing
//! outside: order is that of names.

use std::collections::BTreeMap;
use std::mem::size_of;
use std::sync::Arc;

use super::id::StreamId;
use super::id_map::IdMap;

/// An estimate of what a name in a map of groups or consumers takes besides its bytes.
const NAME_BYTES: usize = 32;

/// A consumer's number within its group.
pub type Slot = u32;

/// A delivery that nobody has acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pending {
    /// Who has it.
    pub consumer: Slot,
    /// When it was delivered last, in milliseconds of log time.
    pub delivered_ms: i64,
    /// How often it was delivered.
    pub deliveries: u64,
}

/// One consumer.
#[derive(Clone, Debug)]
pub struct Consumer {
    name: Box<[u8]>,
    /// When it last tried to do something, in milliseconds of log time.
    pub seen_ms: i64,
    /// When it last got something; `None` if it never did.
    pub active_ms: Option<i64>,
    pending: IdMap<()>,
}

impl Consumer {
    fn new(name: &[u8], now_ms: i64) -> Self {
        Self {
            name: name.into(),
            seen_ms: now_ms,
            active_ms: None,
            pending: IdMap::default(),
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// Number of entries that it has and has not acknowledged.
    #[must_use]
    pub fn pending_len(&self) -> usize {
        self.pending.len()
    }

    /// The IDs of these, from `start` on.
    pub fn pending_ids(&self, start: StreamId) -> impl Iterator<Item = StreamId> {
        self.pending.range(start).map(|(id, ())| id)
    }

    fn heap_bytes(&self) -> usize {
        2 * size_of::<usize>()
            + size_of::<Self>()
            + 2 * (self.name.len() + NAME_BYTES)
            + self.pending.heap_bytes()
    }
}

/// A consumer group.
///
/// Invariants: every pending entry is in the map of its consumer, and of no other one;
/// `consumer_bytes` is the sum over all consumers.
#[derive(Clone, Debug)]
pub struct Group {
    /// The last entry that was delivered.
    pub last_id: StreamId,
    /// How many entries of those ever added stand before and at `last_id`; `None` if nobody knows.
    pub entries_read: Option<u64>,
    pending: IdMap<Pending>,
    slots: Vec<Option<Arc<Consumer>>>,
    /// The slots that are empty.
    free: Vec<Slot>,
    names: BTreeMap<Box<[u8]>, Slot>,
    consumer_bytes: usize,
}

impl Group {
    /// A group without consumers.
    #[must_use]
    pub fn new(last_id: StreamId, entries_read: Option<u64>) -> Self {
        Self {
            last_id,
            entries_read,
            pending: IdMap::default(),
            slots: Vec::new(),
            free: Vec::new(),
            names: BTreeMap::new(),
            consumer_bytes: 0,
        }
    }

    /// Number of consumers.
    #[must_use]
    pub fn consumer_count(&self) -> usize {
        self.names.len()
    }

    /// All consumers by name.
    pub fn consumers(&self) -> impl Iterator<Item = &Consumer> {
        self.names.values().map(|&slot| self.consumer(slot))
    }

    /// The slot of a consumer.
    #[must_use]
    pub fn slot(&self, name: &[u8]) -> Option<Slot> {
        self.names.get(name).copied()
    }

    /// The consumer of a slot.
    #[must_use]
    pub fn consumer(&self, slot: Slot) -> &Consumer {
        let consumer = self.slots[slot as usize].as_deref();
        consumer.expect("slots are given out for consumers")
    }

    /// Adds a consumer; false if there is one of this name.
    pub fn add_consumer(&mut self, name: &[u8], now_ms: i64) -> bool {
        let is_new = self.slot(name).is_none();
        if is_new {
            self.put_consumer(Consumer::new(name, now_ms));
        }
        is_new
    }

    /// The slot of a consumer, which is added if need be, and has been seen.
    pub fn see_consumer(&mut self, name: &[u8], now_ms: i64) -> Slot {
        let found = self.slot(name);
        let slot = found.unwrap_or_else(|| self.put_consumer(Consumer::new(name, now_ms)));
        self.edit(slot, |consumer| consumer.seen_ms = now_ms);
        slot
    }

    /// Notes that a consumer has got something.
    pub fn note_active(&mut self, slot: Slot, now_ms: i64) {
        self.edit(slot, |consumer| consumer.active_ms = Some(now_ms));
    }

    /// Removes a consumer with all that it has not acknowledged. Returns how much that was, `None`
    /// if there is no such consumer.
    pub fn remove_consumer(&mut self, name: &[u8]) -> Option<usize> {
        let slot = self.names.remove(name)?;
        let consumer = self.slots[slot as usize].take();
        let consumer = consumer.expect("slots are given out for consumers");
        self.consumer_bytes -= consumer.heap_bytes();
        self.free.push(slot);
        for (id, ()) in consumer.pending.range(StreamId::MIN) {
            self.pending.remove(id);
        }
        Some(consumer.pending_len())
    }

    /// Number of pending entries.
    #[must_use]
    pub fn pending_len(&self) -> usize {
        self.pending.len()
    }

    /// The least and the greatest ID of the pending entries.
    #[must_use]
    pub fn pending_ends(&self) -> Option<(StreamId, StreamId)> {
        self.pending.ends()
    }

    /// A pending entry.
    #[must_use]
    pub fn pending(&self, id: StreamId) -> Option<Pending> {
        self.pending.get(id)
    }

    /// Pending entries from `start` on.
    pub fn pending_from(&self, start: StreamId) -> impl Iterator<Item = (StreamId, Pending)> {
        self.pending.range(start)
    }

    /// Pending entries from number `from` on.
    pub(super) fn pending_skip(&self, from: usize) -> impl Iterator<Item = (StreamId, Pending)> {
        self.pending.skip(from)
    }

    /// Makes an entry pending, or changes what is known about one.
    pub fn set_pending(&mut self, id: StreamId, pending: Pending) {
        let before = self.pending.get(id);
        if before.is_none_or(|before| before.consumer != pending.consumer) {
            if let Some(before) = before {
                self.edit(before.consumer, |consumer| consumer.pending.remove(id));
            }
            self.edit(pending.consumer, |consumer| consumer.pending.insert(id, ()));
        }
        self.pending.insert(id, pending);
    }

    /// Forgets a pending entry; false if there is none.
    pub fn remove_pending(&mut self, id: StreamId) -> bool {
        let Some(removed) = self.pending.remove(id) else {
            return false;
        };
        self.edit(removed.consumer, |consumer| consumer.pending.remove(id));
        true
    }

    /// Bytes of heap memory, the group's own included. Constant time.
    pub(super) fn heap_bytes(&self) -> usize {
        2 * size_of::<usize>()
            + size_of::<Self>()
            + self.pending.heap_bytes()
            + self.slots.capacity() * size_of::<Option<Arc<Consumer>>>()
            + self.free.capacity() * size_of::<Slot>()
            + self.consumer_bytes
    }

    /// Panics unless what the type promises holds.
    #[cfg(test)]
    pub(super) fn check_invariants(&self) {
        self.pending.check_invariants();
        let mut count = 0;
        for (name, &slot) in &self.names {
            let consumer = self.consumer(slot);
            assert_eq!(consumer.name, *name);
            consumer.pending.check_invariants();
            for id in consumer.pending_ids(StreamId::MIN) {
                assert_eq!(self.pending(id).map(|held| held.consumer), Some(slot));
                count += 1;
            }
        }
        assert_eq!(count, self.pending_len());
        let bytes = self.consumers().map(Consumer::heap_bytes);
        assert_eq!(self.consumer_bytes, bytes.sum::<usize>());
        let held = self.slots.iter().flatten().count();
        assert_eq!(held, self.names.len());
        assert_eq!(self.slots.len() - held, self.free.len());
    }

    /// Gives a consumer of a new name a slot.
    fn put_consumer(&mut self, consumer: Consumer) -> Slot {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            let last = Slot::try_from(self.slots.len() - 1);
            last.expect("so many consumers fit into no memory")
        });
        self.names.insert(consumer.name.clone(), slot);
        self.consumer_bytes += consumer.heap_bytes();
        self.slots[slot as usize] = Some(Arc::new(consumer));
        slot
    }

    /// Changes a consumer, copying it if it is shared.
    fn edit<R>(&mut self, slot: Slot, change: impl FnOnce(&mut Consumer) -> R) -> R {
        let consumer = self.slots[slot as usize].as_mut();
        let consumer = consumer.expect("slots are given out for consumers");
        let before = consumer.heap_bytes();
        let consumer = Arc::make_mut(consumer);
        let result = change(consumer);
        self.consumer_bytes = self.consumer_bytes - before + consumer.heap_bytes();
        result
    }

    /// Adds a consumer as a checkpoint describes it; `None` if there is one of this name.
    pub(super) fn restore_consumer(
        &mut self,
        name: &[u8],
        seen_ms: i64,
        active_ms: Option<i64>,
    ) -> Option<Slot> {
        self.slot(name).is_none().then(|| {
            self.put_consumer(Consumer {
                active_ms,
                ..Consumer::new(name, seen_ms)
            })
        })
    }
}
