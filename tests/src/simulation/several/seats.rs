//! The turns of seats' threads: they wake, take steps, and sleep; and where their answers go.

use std::sync::Arc;

use bailiwick::group::{Item, Proposal};
use bailiwick::routing::errand;
use bailiwick_replication::GroupId;
use bailiwick_replication::consensus::Outgoing;
use bailiwick_replication::link::Frame;

use super::node::Node;
use super::office::Delivery;
use super::{Event, World};
use crate::simulation::network::Links;
use crate::simulation::node::Phase;
use crate::simulation::{MS, requests};

impl World {
    pub(super) fn begin_seat(&mut self, node: u64, group: GroupId, life: u64) {
        self.wake(node, group, 100);
        self.plan_checkpoint(node, group, life);
    }

    /// A seat's thread that waits runs on within so many microseconds.
    pub(super) fn wake(&mut self, id: u64, group: GroupId, within_us: u64) {
        let at = self.now + self.rng.u64(..within_us) * 1000;
        let node = self.nodes.get_mut(&id);
        let Some(seat) = node.and_then(|node| node.seat_mut(group)) else {
            return;
        };
        let waits = matches!(seat.phase, Phase::Idle);
        if waits && (at < seat.wakes_at || seat.wakes_at <= self.now) {
            seat.wakes_at = at;
            self.agenda.at(at, Event::Turn { node: id, group });
        }
    }

    fn sleep(&mut self, id: u64, group: GroupId, for_ns: u64) {
        let at = self.now + for_ns;
        let node = self.nodes.get_mut(&id);
        if let Some(seat) = node.and_then(|node| node.seat_mut(group)) {
            seat.wakes_at = at;
            self.agenda.at(at, Event::Turn { node: id, group });
        }
    }

    /// A seat's thread goes on, step by step, until it waits for something.
    pub(super) fn turn(&mut self, id: u64, group: GroupId) {
        let process = self.nodes[&id].running.as_ref();
        let Some(seat) = process.and_then(|process| process.seats.get(&group)) else {
            return;
        };
        if seat.wakes_at > self.now || !self.is_awake(id) {
            return;
        }
        while self.violation.is_none() {
            let Some(sleep_ns) = self.step(id, group) else {
                if self.rng.u64(..self.plan.pause_one_in) == 0 {
                    let pause = self.rng.u64(..40) * MS;
                    return self.sleep(id, group, pause);
                }
                continue;
            };
            return self.sleep(id, group, sleep_ns);
        }
    }

    /// One step of a turn; how long the thread waits after it, if it does.
    fn step(&mut self, id: u64, group: GroupId) -> Option<u64> {
        let node = self.nodes.get_mut(&id)?;
        let moment = node.moment(self.now, &self.plan);
        let disk = node.disks.get(&group)?.clone();
        let process = node.running.as_mut()?;
        let seat = process.seats.get_mut(&group)?;
        let stepped = match seat.step(moment, &mut self.rng, |write| disk.write(write)) {
            Ok(stepped) => stepped,
            Err(text) => {
                self.fail(format!("node {id}, group {group}: {text}"));
                return None;
            }
        };
        // What was made in a session is sent in that one alone.
        let in_session = |message: &Outgoing| {
            let to = message.to.0;
            let session = seat.sessions.get(&to);
            session.is_some() && session == process.sessions.get(&to).map(|of| &of.session)
        };
        let messages: Vec<Outgoing> = stepped.messages.into_iter().filter(in_session).collect();
        for message in messages {
            let frame = Frame {
                class: message.class,
                group,
                configuration: message.configuration,
                payload: message.payload,
            };
            self.send_frame(id, message.to.0, frame);
        }
        if stepped.has_applied {
            self.note_applied(id, group);
        }
        stepped.sleep_ns
    }

    fn note_applied(&mut self, id: u64, group: GroupId) {
        let node = self.nodes.get_mut(&id);
        let Some(seat) = node.and_then(|node| node.seat_mut(group)) else {
            return;
        };
        let answered = std::mem::take(seat.member.take_answered());
        let proxied = seat.member.take_proxied();
        let passed_on = seat.member.take_passed_on();
        drop(seat.member.take_garbage());
        self.counts.passed_on += passed_on.len() as u64;
        for proposal in passed_on {
            self.deliver_to_office(id, Delivery::Proposal(proposal));
        }
        for (to, message) in proxied {
            self.send_frame(id, to.0, message.frame());
        }
        self.take_answers(id, answered);
        self.listen_for_bells(id);
        self.compare(id, group);
    }

    /// Answered proposals go to whoever waits for them.
    pub(super) fn take_answers(&mut self, id: u64, answered: Vec<Box<Proposal>>) {
        for proposal in answered {
            if matches!(proposal.items[..], [Item::Expire(_)]) {
                continue;
            }
            let Some(process) = &self.nodes[&id].running else {
                return;
            };
            let is = |mailbox| Arc::ptr_eq(&proposal.mailbox, mailbox);
            let mail = &process.mail;
            if is(&mail.clients) {
                self.take_answer(proposal);
            } else if is(&mail.listings) {
                self.take_share(proposal.ticket, proposal.group, &proposal.replies);
            } else if is(&mail.errands) {
                self.take_errand(proposal.ticket, errand::answer(&proposal));
            } else if is(&mail.waits) {
                self.take_answer_of_wait(proposal);
            } else if is(&mail.spreads) {
                self.take_part(proposal);
            } else if is(&mail.orphans) {
                self.take_answer_of_orphan(id, &proposal);
            } else if is(&mail.clerk) {
                self.deliver_to_office(id, Delivery::Answered(proposal));
            }
        }
    }

    pub(super) fn expire(&mut self, id: u64) {
        self.agenda.at(self.now + 100 * MS, Event::Expire(id));
        if !self.is_awake(id) || !self.faults {
            return;
        }
        let process = self.nodes.get_mut(&id).and_then(Node::process_mut);
        let seats = process.into_iter().flat_map(|process| &mut process.seats);
        let mut woken = Vec::new();
        for (group, seat) in seats.filter(|(_, seat)| seat.shared.standing().leads()) {
            seat.proposals.push(requests::expiry(usize::MAX));
            woken.push(*group);
        }
        for group in woken {
            self.wake(id, group, 500);
        }
    }
}
