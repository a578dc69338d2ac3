//! What a seed decides before anything happens: how many nodes, and which faults how often.
//!
//! Each seed has only some of the faults, and each at a rate of its own: a run in which everything
//! breaks all the time never gets deep into anything.

use fastrand::Rng;

use super::planted::Planted;
use super::{MS, SECOND};

/// A run before it begins.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// The nodes that found the group are the first of them.
    pub(super) founders: u64,
    /// All nodes.
    pub(super) nodes: u64,
    pub(super) clients_per_node: u64,
    /// How long faults go on, in nanoseconds.
    pub(super) duration_ns: u64,
    /// The most that a client waits between two requests, in nanoseconds.
    pub(super) think_ns: u64,
    /// The most that a message travels, in nanoseconds.
    pub(super) delay_ns: u64,
    /// The most that a write takes, in nanoseconds; a few take much longer.
    pub(super) write_ns: u64,
    /// From fault to fault on average, in nanoseconds.
    pub(super) fault_ns: u64,
    /// From checkpoint to checkpoint of a node, in nanoseconds.
    pub(super) checkpoint_ns: u64,
    /// One in so many steps of a node's turn is followed by a pause of its thread.
    pub(super) pause_one_in: u64,
    /// Weights of the faults.
    pub(super) weights: Weights,
    /// What was in flight when a link broke may come later, or twice.
    pub(super) late_messages: bool,
    /// Values are so long that a checkpoint takes several pieces.
    pub(super) long_values: bool,
    pub(super) planted: Option<Planted>,
}

/// How often each kind of fault happens beside the others.
#[derive(Clone, Debug, Default)]
pub(super) struct Weights {
    pub(super) crash: u32,
    pub(super) cut: u32,
    pub(super) partition: u32,
    pub(super) reconnect: u32,
    pub(super) stall: u32,
    pub(super) fill: u32,
    pub(super) change: u32,
    pub(super) transfer: u32,
    pub(super) wipe: u32,
    pub(super) clock_jump: u32,
}

/// The kinds of faults.
#[derive(Clone, Copy)]
pub(super) enum Fault {
    Crash,
    Cut,
    Partition,
    Reconnect,
    Stall,
    Fill,
    Change,
    Transfer,
    Wipe,
    ClockJump,
}

impl Weights {
    /// The next fault; `None` if all weights are 0.
    pub(super) fn draw(&self, rng: &mut Rng) -> Option<Fault> {
        let kinds = [
            (self.crash, Fault::Crash),
            (self.cut, Fault::Cut),
            (self.partition, Fault::Partition),
            (self.reconnect, Fault::Reconnect),
            (self.stall, Fault::Stall),
            (self.fill, Fault::Fill),
            (self.change, Fault::Change),
            (self.transfer, Fault::Transfer),
            (self.wipe, Fault::Wipe),
            (self.clock_jump, Fault::ClockJump),
        ];
        let total: u32 = kinds.iter().map(|(weight, _)| weight).sum();
        let mut at = rng.u32(..total.max(1));
        for (weight, kind) in kinds {
            if at < weight {
                return Some(kind);
            }
            at -= weight;
        }
        None
    }
}

impl Plan {
    /// The plan of a seed.
    pub(super) fn draw(rng: &mut Rng, planted: Option<Planted>) -> Self {
        let (founders, spares) = match rng.u32(..8) {
            0 => (1, 2),
            1 => (2, 1),
            2 | 3 => (3, rng.u64(..2)),
            4 | 5 => (3, 0),
            _ => (5, 0),
        };
        let mut weight = |most: u32| if rng.bool() { rng.u32(1..=most) } else { 0 };
        let weights = Weights {
            crash: weight(8),
            cut: weight(8),
            partition: weight(4),
            reconnect: weight(4),
            stall: weight(4),
            fill: weight(3),
            change: weight(4),
            transfer: weight(4),
            wipe: weight(3),
            clock_jump: weight(2),
        };
        Self {
            founders,
            nodes: founders + spares,
            clients_per_node: rng.u64(1..=3),
            duration_ns: rng.u64(3..7) * SECOND,
            think_ns: rng.u64(5..80) * MS,
            delay_ns: [1, 2, 5, 12][rng.usize(..4)] * MS,
            write_ns: rng.u64(1..5) * MS,
            fault_ns: rng.u64(60..500) * MS,
            checkpoint_ns: [150, 500, 2000][rng.usize(..3)] * MS,
            pause_one_in: [20, 100, 100_000][rng.usize(..3)],
            weights,
            late_messages: rng.u32(..3) == 0,
            long_values: rng.u32(..24) == 0,
            planted,
        }
    }
}
