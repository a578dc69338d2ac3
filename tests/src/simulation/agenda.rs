//! What is going to happen, in order of time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::network;

/// Something that happens at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Event {
    /// The thread of a node's replica runs on.
    Turn(u64),
    /// Something happens to a link.
    Link(network::Event),
    /// A client does something.
    Client(usize),
    /// A node that is down starts again.
    Start(u64),
    /// A disk has room again.
    MakeRoom(u64),
    /// A node begins a checkpoint.
    Checkpoint { node: u64, life: u64 },
    /// A node's checkpoint is complete.
    Checkpointed { node: u64, life: u64 },
    /// Keys that have expired are to go.
    Expire(u64),
    /// The next fault.
    Fault,
}

/// Events, by time; those of one moment in the order in which they were planned.
pub(super) struct Agenda<E = Event> {
    heap: BinaryHeap<Reverse<(u64, u64, E)>>,
    planned: u64,
}

impl<E: Ord> Default for Agenda<E> {
    fn default() -> Self {
        Self {
            heap: BinaryHeap::new(),
            planned: 0,
        }
    }
}

impl<E: Copy + Ord> Agenda<E> {
    /// Plans an event.
    pub(super) fn at(&mut self, time: u64, event: E) {
        self.planned += 1;
        self.heap.push(Reverse((time, self.planned, event)));
    }

    /// The next event, if it is not after `until`.
    pub(super) fn next(&mut self, until: u64) -> Option<(u64, E)> {
        let Reverse((time, ..)) = *self.heap.peek()?;
        if time > until {
            return None;
        }
        let Reverse((time, _, event)) = self.heap.pop()?;
        Some((time, event))
    }
}
