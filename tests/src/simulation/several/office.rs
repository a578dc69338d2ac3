//! What a node does beside its groups: the directory with its herald, the courier that takes
//! requests to other groups, and the desk that serves those of other nodes.
//!
//! The real pieces, driven as the registry, the courier's and the desk's threads drive them, but in
//! one turn: what came in, the groups' decisions, time.

use std::collections::BTreeMap;
use std::sync::Arc;

use bailiwick::commands::Counters;
use bailiwick::directory::keys::NodeKey;
use bailiwick::directory::record::GroupRecord;
use bailiwick::directory::{Directory, View};
use bailiwick::estate::DIRECTORY_SERVICE;
use bailiwick::estate::herald::Herald;
use bailiwick::group::bells::Call;
use bailiwick::group::{Mailbox, NODE_SERVICES, Proposal};
use bailiwick::keyspace::{AccessClock, AccessPolicy};
use bailiwick::proxy::clerk::{self, Clerk};
use bailiwick::proxy::wire::{Message, PROXY_SERVICE, Parcel};
use bailiwick::proxy::{Courier, Groups, Patience};
use bailiwick::state::{Origin, PROXIED, WaiterId, decode_proposal_head};
use bailiwick_replication::consensus::Member as MemberId;
use bailiwick_replication::link::{Class, Frame};
use bailiwick_replication::{GroupId, NodeId};
use bytes::Bytes;

use super::node::Node;
use super::{Event, World};
use crate::simulation::MS;
use crate::simulation::network::Links;
use crate::simulation::node::{Input, Moment, REQUEST_TIMEOUT_NS, Running, timing};

/// From turn to turn of a node's office and drivers.
const PULSE_NS: u64 = 10 * MS;

/// What comes in for an office.
pub(super) enum Delivery {
    Up(u64),
    Down(u64),
    Frame {
        from: u64,
        frame: Frame,
    },
    Called(GroupId),
    Proposal(Box<Proposal>),
    /// A section of a parcel of reads that a group of this node has answered.
    Answered(Box<Proposal>),
}

/// What is to be done after a turn.
#[derive(Default)]
pub(super) struct Outbox {
    pub(super) frames: Vec<(u64, Frame)>,
    pub(super) answered: Vec<Box<Proposal>>,
    /// Seats that got something to do.
    pub(super) woken: Vec<GroupId>,
    pub(super) vacancies: Vec<Arc<GroupRecord>>,
    /// Lives and numbers of requests that have replies to fetch.
    pub(super) called: Vec<(u64, u64)>,
}

/// A node's office.
pub(super) struct Office {
    own: NodeId,
    directory: Arc<Directory>,
    herald: Herald,
    courier: Courier,
    clerk: Clerk,
    inbox: Vec<Delivery>,
}

impl Office {
    /// Of a node with its data directory, in this life.
    pub(super) fn new(
        (me, incarnation): (MemberId, u64),
        key: Arc<NodeKey>,
        directory: Arc<Directory>,
        clock: u64,
    ) -> Self {
        let timing = timing();
        let patience = Patience {
            request_ns: REQUEST_TIMEOUT_NS,
            resend_ns: 4 * timing.tick_ns * timing.election_ticks,
        };
        let origin = Origin {
            node: me.node.0 as u32 | PROXIED,
            incarnation,
        };
        let mut herald = Herald::new(me, key, directory.clone(), clock);
        herald.introduce();
        Self {
            own: me.node,
            directory,
            herald,
            courier: Courier::new(origin, patience),
            clerk: Clerk::default(),
            inbox: Vec::new(),
        }
    }

    pub(super) fn directory(&self) -> &Arc<Directory> {
        &self.directory
    }

    /// Leaves something for the next turn.
    pub(super) fn push(&mut self, delivery: Delivery) {
        self.inbox.push(delivery);
    }

    /// A turn.
    pub(super) fn turn(
        &mut self,
        seats: &mut BTreeMap<GroupId, Running>,
        desk: &Arc<Mailbox>,
        moment: Moment,
        random: u64,
    ) -> Result<Outbox, String> {
        let mut out = Outbox::default();
        for delivery in std::mem::take(&mut self.inbox) {
            self.take(delivery, seats, desk, moment, &mut out)?;
        }
        for (&group, seat) in seats.iter() {
            let leads = seat.shared.standing().leads();
            let records = self.herald.survey(group, leads, &seat.shared.state());
            self.herald.proclaim(records);
        }
        self.herald.tick(moment.clock, random);
        for (to, payload) in self.herald.take_messages() {
            let frame = Frame {
                class: Class::Ordered,
                group: NODE_SERVICES,
                configuration: DIRECTORY_SERVICE,
                payload,
            };
            out.frames.push((to.0, frame));
        }
        if self.herald.has_news() {
            for record in self.directory.snapshot().groups() {
                if let Some(seat) = seats.get_mut(&record.id) {
                    seat.shared.note_published(record.configuration);
                    let member = &mut seat.member;
                    member.learn_shape(record.databases as usize, record.hash_seed);
                }
            }
            out.vacancies = self.herald.vacancies(|group| seats.contains_key(&group));
        }
        let known = Known {
            own: self.own,
            directory: &self.directory,
        };
        self.courier.advance(&known, moment.clock);
        for (to, message) in self.courier.take_messages() {
            out.frames.push((to.0, message.frame()));
        }
        out.answered.append(self.courier.take_answered());
        Ok(out)
    }

    fn take(
        &mut self,
        delivery: Delivery,
        seats: &mut BTreeMap<GroupId, Running>,
        desk: &Arc<Mailbox>,
        moment: Moment,
        out: &mut Outbox,
    ) -> Result<(), String> {
        match delivery {
            Delivery::Up(peer) => {
                self.herald.link_up(NodeId(peer));
                self.courier.link_up(NodeId(peer));
            }
            Delivery::Down(peer) => {
                self.herald.link_down(NodeId(peer));
                self.courier.link_down(NodeId(peer));
            }
            Delivery::Called(group) => self.herald.note_called(group),
            Delivery::Proposal(proposal) => self.courier.submit([proposal], moment.clock),
            Delivery::Answered(proposal) => {
                if let Some(served) = self.clerk.note_answered(&proposal) {
                    let seat = seats.get(&served.parcel.group);
                    let seat = seat.filter(|seat| seat.shared.standing().takes_part());
                    let message = match seat {
                        Some(seat) => self.done(seat, served.parcel, served.outcomes),
                        None => elsewhere(served.parcel),
                    };
                    out.frames.push((served.to.0, message.frame()));
                }
            }
            Delivery::Frame { from, frame } if frame.configuration == DIRECTORY_SERVICE => {
                self.herald.receive(NodeId(from), &frame.payload);
            }
            Delivery::Frame { from, frame } => {
                assert_eq!(frame.configuration, PROXY_SERVICE);
                let message = Message::decode(&frame.payload);
                let message = message.map_err(|error| format!("node {from} sends {error}"))?;
                match message {
                    Message::Read { .. } | Message::Write { .. } => {
                        self.serve(from, message, seats, (desk, moment), out)?;
                    }
                    Message::Woken { waiters } => out.called.extend(waiters),
                    message => self.courier.receive(NodeId(from), message, moment.clock),
                }
            }
        }
        Ok(())
    }

    fn serve(
        &mut self,
        from: u64,
        message: Message,
        seats: &mut BTreeMap<GroupId, Running>,
        (desk, moment): (&Arc<Mailbox>, Moment),
        out: &mut Outbox,
    ) -> Result<(), String> {
        match message {
            Message::Write { group, body } => {
                if let Some(seat) = seats.get_mut(&group) {
                    let proposal = body;
                    seat.inputs.push(Input::Proxied { from, proposal });
                    out.woken.push(group);
                    return Ok(());
                }
                let head = decode_proposal_head(&body).map_err(|error| error.to_string())?;
                let parcel = Parcel {
                    group,
                    reads: false,
                    id: head.sequence,
                };
                out.frames.push((from, elsewhere(parcel).frame()));
            }
            Message::Read { group, id, body } => {
                let parcel = Parcel {
                    group,
                    reads: true,
                    id,
                };
                let seat = seats.get_mut(&group);
                let seat = seat.filter(|seat| seat.shared.standing().takes_part());
                let Some(seat) = seat else {
                    out.frames.push((from, elsewhere(parcel).frame()));
                    return Ok(());
                };
                self.read(from, parcel, seat, &body, (desk, moment), out)?;
            }
            // Those are no requests.
            Message::Done { .. }
            | Message::Elsewhere { .. }
            | Message::Refused { .. }
            | Message::Woken { .. } => {}
        }
        Ok(())
    }

    fn read(
        &mut self,
        from: u64,
        parcel: Parcel,
        seat: &mut Running,
        body: &Bytes,
        (desk, moment): (&Arc<Mailbox>, Moment),
        out: &mut Outbox,
    ) -> Result<(), String> {
        let mut proposals = clerk::unpack(body)?;
        if let Some(state) = seat.shared.linearizable(|| moment.clock) {
            let now_ms = moment.wall_ms.max(state.time_ms);
            let clock = AccessClock::new(AccessPolicy::Recency, now_ms, now_ms as u64);
            let (counters, mut outcomes) = (Counters::default(), Vec::new());
            clerk::read(
                &state,
                &proposals,
                (&clock, now_ms),
                &counters,
                &mut outcomes,
            );
            drop(state);
            let done = self.done(seat, parcel, outcomes);
            out.frames.push((from, done.frame()));
            return Ok(());
        }
        self.clerk
            .defer((NodeId(from), parcel), &mut proposals, desk);
        seat.proposals.append(&mut proposals);
        out.woken.push(parcel.group);
        Ok(())
    }

    fn done(&self, seat: &Running, parcel: Parcel, outcomes: Vec<u8>) -> Message {
        let standing = seat.shared.standing();
        let leader = if standing.leads() {
            Some(self.own)
        } else {
            standing.leader()
        };
        Message::Done {
            parcel,
            leader,
            body: outcomes.into(),
        }
    }
}

fn elsewhere(parcel: Parcel) -> Message {
    Message::Elsewhere {
        parcel,
        leader: None,
    }
}

/// The directory as the courier looks at it; there are no regions here.
struct Known<'a> {
    own: NodeId,
    directory: &'a Directory,
}

impl Groups for Known<'_> {
    fn members(&self, group: GroupId) -> Vec<NodeId> {
        let view = self.directory.view();
        let members = |view: &View| {
            let record = view.group(group)?;
            let nodes = record.members.iter().map(|member| member.node);
            Some(nodes.filter(|node| *node != self.own).collect())
        };
        members(&view).unwrap_or_default()
    }

    /// Gossip is not simulated: what members answer has to be enough.
    fn leader(&self, _: GroupId) -> Option<(NodeId, u64)> {
        None
    }

    fn describe(&self, group: GroupId, _: Option<&[u8]>) -> String {
        format!("Group #{}", group.0)
    }
}

impl World {
    pub(super) fn pulse(&mut self, id: u64, life: u64) {
        if self.nodes[&id].life != life || self.nodes[&id].running.is_none() {
            return;
        }
        let jitter = self.rng.u64(..MS);
        let event = Event::Pulse { node: id, life };
        self.agenda.at(self.now + PULSE_NS + jitter, event);
        self.office_turn(id);
        if self.is_awake(id) {
            self.report(id);
            self.give_up_orphans(id);
        }
        self.drive(id);
    }

    /// Rings for clients that have replies to fetch.
    fn ring(&mut self, id: u64, called: &[(u64, u64)]) {
        let Some(process) = &self.nodes[&id].running else {
            return;
        };
        for &(incarnation, number) in called {
            let waiter = WaiterId {
                node: id as u32,
                incarnation,
                number,
            };
            process.bells.ring(waiter, Call::Look);
        }
        if !called.is_empty() {
            self.listen_for_bells(id);
        }
    }

    /// Leaves something with a node's office.
    pub(super) fn deliver_to_office(&mut self, id: u64, delivery: Delivery) {
        let process = self.nodes.get_mut(&id).and_then(Node::process_mut);
        if let Some(process) = process {
            process.office.push(delivery);
            let at = self.now + self.rng.u64(..MS / 5);
            self.agenda.at(at, Event::Office(id));
        }
    }

    pub(super) fn office_turn(&mut self, id: u64) {
        if !self.is_awake(id) {
            return;
        }
        let random = self.rng.u64(..);
        let Some(node) = self.nodes.get_mut(&id) else {
            return;
        };
        let moment = node.moment(self.now, &self.plan);
        let Some(process) = &mut node.running else {
            return;
        };
        let desk = process.mail.clerk.clone();
        let turn = process
            .office
            .turn(&mut process.seats, &desk, moment, random);
        let outbox = match turn {
            Ok(outbox) => outbox,
            Err(text) => return self.fail(format!("node {id}: {text}")),
        };
        let life = node.life;
        for record in outbox.vacancies {
            let group = record.id;
            let seed = self.rng.u64(..);
            if let Some(node) = self.nodes.get_mut(&id) {
                node.take_recorded_seat(&record, self.now, seed);
                if let Some(seat) = node.seat_mut(group) {
                    seat.shared.note_published(record.configuration);
                }
            }
            self.tell(|| format!("node {id} takes a seat in {group:?}"));
            self.begin_seat(id, group, life);
        }
        for (to, frame) in outbox.frames {
            self.forger.note(&frame, &mut self.rng);
            self.send_frame(id, to, frame);
        }
        for group in outbox.woken {
            self.wake(id, group, 200);
        }
        self.ring(id, &outbox.called);
        self.take_answers(id, outbox.answered);
    }
}
