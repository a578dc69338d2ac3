//! Seats write checkpoints now and then.

use bailiwick_replication::GroupId;

use super::{Event, World};
use crate::simulation::node::Input;
use crate::simulation::{MS, disk};

impl World {
    pub(super) fn plan_checkpoint(&mut self, node: u64, group: GroupId, life: u64) {
        let at = self.now + self.rng.u64(..2 * self.plan.checkpoint_ns);
        self.agenda.at(at, Event::Checkpoint { node, group, life });
    }

    pub(super) fn begin_checkpoint(&mut self, id: u64, group: GroupId, life: u64) {
        let node = self.nodes.get_mut(&id).filter(|node| node.life == life);
        let Some(seat) = node.and_then(|node| node.seat_mut(group)) else {
            return;
        };
        let state = seat.shared.state();
        if state.applied.0 > 0 {
            seat.checkpoint = Some((state.applied, disk::freeze(&state)));
        }
        drop(state);
        let at = self.now + self.rng.u64(..100) * MS;
        let node = id;
        self.agenda
            .at(at, Event::Checkpointed { node, group, life });
    }

    pub(super) fn end_checkpoint(&mut self, id: u64, group: GroupId, life: u64) {
        let Some(node) = self.nodes.get_mut(&id).filter(|node| node.life == life) else {
            return;
        };
        let (is_full, disk) = (node.is_full, node.disks.get(&group).cloned());
        let (Some(disk), Some(seat)) = (disk, node.seat_mut(group)) else {
            return;
        };
        if let Some((index, bytes)) = seat.checkpoint.take()
            && !is_full
        {
            let covered = disk.keep_checkpoint(index, bytes);
            seat.inputs.push(Input::Covered(covered));
            self.wake(id, group, 100);
        }
        self.plan_checkpoint(id, group, life);
    }
}
