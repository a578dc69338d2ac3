//! What a seed decides before anything happens: which groups on which nodes, and which faults.

use fastrand::Rng;

use crate::simulation::plan::Weights;
use crate::simulation::{MS, SECOND};

/// The most nodes of a cluster.
const MAX_NODES: u64 = 6;

/// A run before it begins.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) nodes: u64,
    /// The nodes of each group at first, by its number; the root group is the first one.
    pub(super) groups: Vec<Vec<u64>>,
    pub(super) clients: u64,
    /// More clients, who do nothing but push elements and wait for them.
    pub(super) waiting_clients: u64,
    /// How long faults and operators go on, in nanoseconds.
    pub(super) duration_ns: u64,
    /// The most that a client waits between two requests, in nanoseconds.
    pub(super) think_ns: u64,
    /// The most that a message travels, in nanoseconds.
    pub(super) delay_ns: u64,
    /// The most that a write takes, in nanoseconds; a few take much longer.
    pub(super) write_ns: u64,
    /// From fault to fault on average, in nanoseconds.
    pub(super) fault_ns: u64,
    /// From order to order of operators on average, in nanoseconds.
    pub(super) operate_ns: u64,
    /// From checkpoint to checkpoint of a seat, in nanoseconds.
    pub(super) checkpoint_ns: u64,
    /// One in so many steps of a thread is followed by a pause.
    pub(super) pause_one_in: u64,
    pub(super) weights: Weights,
    pub(super) late_messages: bool,
    /// One in so many commits is held up while its source gets another leader; 0 for none.
    pub(super) held_up_one_in: u32,
    /// Some nodes give their directories records that are forged or old.
    pub(super) forges: bool,
    /// Clients remove all keys now and then.
    pub(super) flushes: bool,
    /// Keys beside those that clients write, in each home, so that copying takes several chunks.
    pub(super) ballast: u32,
}

impl Plan {
    /// The plan of a seed for so many groups.
    pub(super) fn draw(rng: &mut Rng, groups: u32) -> Self {
        let nodes = rng.u64(3..=MAX_NODES);
        let root = if rng.u32(..4) == 0 { 1 } else { 3 };
        let mut members = vec![(1..=root).collect()];
        for _ in 1..groups {
            let size = [1, 1, 2, 3, 3][rng.usize(..5)];
            let mut all: Vec<u64> = (1..=nodes).collect();
            rng.shuffle(&mut all);
            all.truncate(size);
            all.sort_unstable();
            members.push(all);
        }
        // One in four runs is without faults, so that nothing but moves is tried, and more of it.
        let has_faults = rng.u32(..4) > 0;
        let mut weight = |most: u32| {
            if has_faults && rng.bool() {
                rng.u32(1..=most)
            } else {
                0
            }
        };
        let mut weights = Weights {
            crash: weight(8),
            cut: weight(8),
            partition: weight(3),
            reconnect: weight(6),
            stall: weight(5),
            fill: weight(2),
            change: weight(3),
            transfer: weight(5),
            wipe: weight(6),
            clock_jump: weight(2),
        };
        // Some clusters hardly ever keep their members.
        if rng.bool() {
            weights.change = rng.u32(16..=50);
        }
        Self {
            nodes,
            groups: members,
            clients: rng.u64(4..9),
            waiting_clients: rng.u64(..5),
            duration_ns: rng.u64(3..7) * SECOND,
            think_ns: rng.u64(10..80) * MS,
            delay_ns: [1, 2, 5, 12][rng.usize(..4)] * MS,
            write_ns: rng.u64(1..4) * MS,
            fault_ns: rng.u64(100..600) * MS,
            operate_ns: [60, 150, 400][rng.usize(..3)] * MS,
            checkpoint_ns: [200, 500, 2000][rng.usize(..3)] * MS,
            pause_one_in: [20, 100, 100_000][rng.usize(..3)],
            weights,
            late_messages: has_faults && rng.u32(..3) == 0,
            held_up_one_in: if has_faults { rng.u32(..4) } else { 0 },
            forges: rng.bool(),
            flushes: rng.u32(..4) == 0,
            ballast: [0, 20, 200][rng.usize(..3)],
        }
    }
}
