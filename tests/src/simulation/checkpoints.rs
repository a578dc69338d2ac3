//! Nodes write checkpoints now and then.

use super::agenda::Event;
use super::{MS, Simulation, disk, node};

impl Simulation {
    pub(super) fn plan_checkpoint(&mut self, node: u64, life: u64) {
        let at = self.now + self.rng.u64(..2 * self.plan.checkpoint_ns);
        self.agenda.at(at, Event::Checkpoint { node, life });
    }

    pub(super) fn begin_checkpoint(&mut self, id: u64, life: u64) {
        let Some(node) = self.nodes.get_mut(&id).filter(|node| node.life == life) else {
            return;
        };
        let Some(running) = &mut node.running else {
            return;
        };
        let state = running.shared.state();
        if state.applied.0 > 0 {
            running.checkpoint = Some((state.applied, disk::freeze(&state)));
        }
        drop(state);
        let at = self.now + self.rng.u64(..100) * MS;
        self.agenda.at(at, Event::Checkpointed { node: id, life });
    }

    pub(super) fn end_checkpoint(&mut self, id: u64, life: u64) {
        let Some(node) = self.nodes.get_mut(&id).filter(|node| node.life == life) else {
            return;
        };
        let is_full = node.disk.files().is_full;
        let Some(running) = &mut node.running else {
            return;
        };
        if let Some((index, bytes)) = running.checkpoint.take()
            && !is_full
        {
            let covered = node.disk.keep_checkpoint(index, bytes);
            self.input(id, node::Input::Covered(covered));
        }
        self.plan_checkpoint(id, life);
    }
}
