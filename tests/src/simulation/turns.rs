//! The turns of nodes' threads: they wake, take steps, and sleep.

use bailiwick_replication::GroupId;
use bailiwick_replication::consensus::Outgoing;
use bailiwick_replication::link::Frame;

use super::agenda::Event;
use super::network::Links;
use super::node::{Moment, Phase};
use super::{MS, Simulation, requests};

impl Simulation {
    /// A thread that waits runs on within so many microseconds.
    pub(super) fn wake(&mut self, id: u64, within_us: u64) {
        let at = self.now + self.rng.u64(..within_us) * 1000;
        let Some(running) = self
            .nodes
            .get_mut(&id)
            .and_then(|node| node.running.as_mut())
        else {
            return;
        };
        let waits = matches!(running.phase, Phase::Idle);
        if waits && (at < running.wakes_at || running.wakes_at <= self.now) {
            running.wakes_at = at;
            self.agenda.at(at, Event::Turn(id));
        }
    }

    fn sleep(&mut self, id: u64, for_ns: u64) {
        let at = self.now + for_ns;
        if let Some(running) = self
            .nodes
            .get_mut(&id)
            .and_then(|node| node.running.as_mut())
        {
            running.wakes_at = at;
            self.agenda.at(at, Event::Turn(id));
        }
    }

    /// A node's thread goes on, step by step, until it waits for something.
    pub(super) fn turn(&mut self, id: u64) {
        let node = &self.nodes[&id];
        let Some(running) = &node.running else { return };
        if running.wakes_at > self.now {
            return;
        }
        if node.stalled_until > self.now {
            // It is woken when the stall is over.
            return;
        }
        while self.violation.is_none() {
            let Some(sleep_ns) = self.step(id) else {
                if self.rng.u64(..self.plan.pause_one_in) == 0 {
                    let pause = self.rng.u64(..40) * MS;
                    return self.sleep(id, pause);
                }
                continue;
            };
            return self.sleep(id, sleep_ns);
        }
    }

    /// One step of a turn; how long the thread waits after it, if it does.
    fn step(&mut self, id: u64) -> Option<u64> {
        let node = self.nodes.get_mut(&id)?;
        let moment = Moment {
            clock: node.clocks.clock(self.now),
            wall_ms: node.clocks.wall_ms(self.now),
            is_full: node.disk.files().is_full,
            write_ns: self.plan.write_ns,
        };
        let mut running = node.running.take()?;
        let planted = self.plan.planted;
        let stepped = running.step(moment, &mut self.rng, |write| node.write(write, planted));
        node.running = Some(running);
        let stepped = match stepped {
            Ok(stepped) => stepped,
            Err(text) => {
                self.fail(format!("node {id}: {text}"));
                return None;
            }
        };
        for message in stepped.messages {
            self.send_frame(id, message.to.0, frame(message));
        }
        if stepped.has_applied {
            self.note_applied(id);
        }
        stepped.sleep_ns
    }

    fn note_applied(&mut self, id: u64) {
        let node = self.nodes.get_mut(&id);
        let Some(running) = node.and_then(|node| node.running.as_mut()) else {
            return;
        };
        let answered = std::mem::take(running.member.take_answered());
        let passed_on = running.member.take_passed_on();
        drop(running.member.take_garbage());
        self.take_answers(answered);
        self.take_passed_on(passed_on);
        self.compare(id);
    }

    pub(super) fn expire(&mut self, id: u64) {
        self.agenda.at(self.now + 100 * MS, Event::Expire(id));
        if !self.is_awake(id) || !self.faults {
            return;
        }
        if let Some(running) = self
            .nodes
            .get_mut(&id)
            .and_then(|node| node.running.as_mut())
        {
            running.proposals.push(requests::expiry(usize::MAX));
            self.wake(id, 500);
        }
    }
}

/// A member's message as the links see it.
fn frame(message: Outgoing) -> Frame {
    Frame {
        class: message.class,
        group: GroupId(0),
        configuration: message.configuration,
        payload: message.payload,
    }
}
