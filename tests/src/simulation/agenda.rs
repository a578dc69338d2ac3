//! What is going to happen, in order of time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use bailiwick_replication::link::Class;

/// Something that happens at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Event {
    /// The thread of a node's replica runs on.
    Turn(u64),
    /// Messages arrive.
    Deliver { from: u64, to: u64, class: Class },
    /// What was in flight when a link broke arrives after all.
    DeliverLate,
    /// Two nodes try to link up.
    Connect { a: u64, b: u64 },
    /// A session breaks, for both sides.
    Break { a: u64, b: u64, session: u64 },
    /// A cut lasts so long that the session across it is given up, unless it is healed by now.
    CutNoticed { from: u64, to: u64, cut: u64 },
    /// One side notices that its session is over.
    Down { node: u64, peer: u64, session: u64 },
    /// A cut is healed.
    Heal { from: u64, to: u64, cut: u64 },
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
#[derive(Default)]
pub(super) struct Agenda {
    heap: BinaryHeap<Reverse<(u64, u64, Event)>>,
    planned: u64,
}

impl Agenda {
    /// Plans an event.
    pub(super) fn at(&mut self, time: u64, event: Event) {
        self.planned += 1;
        self.heap.push(Reverse((time, self.planned, event)));
    }

    /// The next event, if it is not after `until`.
    pub(super) fn next(&mut self, until: u64) -> Option<(u64, Event)> {
        let Reverse((time, ..)) = *self.heap.peek()?;
        if time > until {
            return None;
        }
        let Reverse((time, _, event)) = self.heap.pop()?;
        Some((time, event))
    }
}
