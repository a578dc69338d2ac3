//! How nodes are wired to the network: links and what comes over them go to the seats and the
//! office.

use bailiwick::group::NODE_SERVICES;
use bailiwick_replication::link::Frame;
use fastrand::Rng;

use super::node::Node;
use super::office::Delivery;
use super::{Event, World, node};
use crate::simulation::network::{self, Links, Network, Site};
use crate::simulation::node::Input;

impl Site for World {
    fn network(&mut self) -> &mut Network {
        &mut self.network
    }

    fn rng(&mut self) -> &mut Rng {
        &mut self.rng
    }

    fn now(&self) -> u64 {
        self.now
    }

    fn plan_link(&mut self, at: u64, event: network::Event) {
        self.agenda.at(at, Event::Link(event));
    }

    fn node_count(&self) -> u64 {
        self.plan.nodes
    }

    fn delay_ns(&self) -> u64 {
        self.plan.delay_ns
    }

    fn has_late_messages(&self) -> bool {
        self.plan.late_messages
    }

    fn is_up(&self, node: u64) -> bool {
        self.is_awake(node)
    }

    fn session(&self, node: u64, peer: u64) -> Option<u64> {
        let process = self.nodes[&node].running.as_ref()?;
        process.sessions.get(&peer).map(|of| of.session)
    }

    fn hear_up(&mut self, id: u64, peer: u64, session: u64) {
        let of = self.nodes[&peer].as_peer(session);
        let node = self.nodes.get_mut(&id);
        let Some(process) = node.and_then(Node::process_mut) else {
            return;
        };
        process.held.retain(|(from, _)| *from != peer);
        process.sessions.insert(peer, of);
        for seat in process.seats.values_mut() {
            seat.inputs.push(node::up(peer, of));
        }
        self.wake_all(id);
        self.deliver_to_office(id, Delivery::Up(peer));
    }

    fn hear_down(&mut self, id: u64, peer: u64, session: u64) {
        let node = self.nodes.get_mut(&id);
        let Some(process) = node.and_then(Node::process_mut) else {
            return;
        };
        process.held.retain(|(from, _)| *from != peer);
        process.sessions.remove(&peer);
        for seat in process.seats.values_mut() {
            seat.inputs.push(Input::Down { peer, session });
        }
        self.wake_all(id);
        self.deliver_to_office(id, Delivery::Down(peer));
    }

    fn hear(&mut self, from: u64, to: u64, frame: Frame) {
        self.counts.messages += 1;
        if frame.group == NODE_SERVICES {
            return self.deliver_to_office(to, Delivery::Frame { from, frame });
        }
        let node = self.nodes.get_mut(&to);
        let Some(process) = node.and_then(Node::process_mut) else {
            return;
        };
        let group = frame.group;
        match process.seats.get_mut(&group) {
            Some(seat) => {
                seat.inputs.push(node::input(from, frame));
                self.wake(to, group, 100);
            }
            None => {
                process.held.push((from, frame));
                self.deliver_to_office(to, Delivery::Called(group));
            }
        }
    }
}

impl Links for World {}

impl World {
    fn wake_all(&mut self, id: u64) {
        let process = self.nodes[&id].running.as_ref();
        let seats = process.iter().flat_map(|process| process.seats.keys());
        for group in seats.copied().collect::<Vec<_>>() {
            self.wake(id, group, 100);
        }
    }
}
