//! What goes wrong, and changes of members: one thing at a time, drawn by the plan's weights.

use std::sync::mpsc;

use bailiwick::group::Change;
use bailiwick_replication::consensus::Configuration;
use bailiwick_replication::{GroupId, NodeId};

use super::node::Process;
use super::{Event, World};
use crate::simulation::MS;
use crate::simulation::network::Links;
use crate::simulation::plan::Fault;

/// For how long a commit is held up, in nanoseconds: about what another leader takes to have it
/// aborted, and less than links take to notice.
const HELD_UP_NS: std::ops::Range<u64> = 40 * MS..190 * MS;

/// How long clients ask a node in haste that is to leave a group, in nanoseconds.
const RUSH_NS: u64 = 700 * MS;

/// A node that is to leave a group, and clients that ask it for keys of that group.
pub(super) struct Rush {
    node: u64,
    group: GroupId,
    until: u64,
}

impl World {
    /// Causes the next fault and plans the one after it.
    pub(super) fn cause_fault(&mut self) {
        if !self.faults {
            return;
        }
        let pause = self.rng.u64(..2 * self.plan.fault_ns);
        self.agenda.at(self.now + pause, Event::Fault);
        let node = self.any_node();
        match self.plan.weights.draw(&mut self.rng) {
            None => {}
            Some(Fault::Crash) => self.crash_for_a_while(node),
            Some(Fault::Cut) => self.cut_something(),
            Some(Fault::Partition) => self.partition(),
            Some(Fault::Reconnect) => self.reconnect(node),
            Some(Fault::Stall) => self.stall(node),
            Some(Fault::Fill) => self.fill(node),
            Some(Fault::Change) => self.change_members(),
            Some(Fault::Transfer) => self.change_leader(node),
            Some(Fault::Wipe) => self.wipe(node),
            Some(Fault::ClockJump) => {
                let offset_ms = self.rng.i64(-500..500);
                if let Some(node) = self.nodes.get_mut(&node) {
                    node.clocks.wall_offset_ms = offset_ms;
                }
            }
        }
    }

    /// What a node sends to a destination is held up from the moment at which it is to ask it to
    /// commit, and meanwhile another node is to lead the source. That one has the attempt aborted,
    /// and the commit comes when nobody expects it any more.
    pub(super) fn hold_up_commit(&mut self, node: u64, source: GroupId, destination: GroupId) {
        let one_in = self.plan.held_up_one_in;
        if !self.faults || one_in == 0 || self.rng.u32(..one_in) > 0 {
            return;
        }
        let told = format!("what node {node} sends to {destination} is held up");
        let destination = self.newest_configuration(destination);
        let source_members = self.newest_configuration(source).members;
        let successors = source_members.iter().map(|member| member.node);
        // Whoever does not hear of the order in time cannot take over in time.
        let can_hear = |of: &NodeId| of.0 != node && destination.member(*of).is_none();
        let successors: Vec<NodeId> = successors.filter(can_hear).collect();
        if successors.is_empty() {
            return;
        }
        let successor = successors[self.rng.usize(..successors.len())];
        let for_ns = self.rng.u64(HELD_UP_NS);
        self.tell(|| told);
        for member in destination.members {
            if member.node.0 != node {
                self.cut(node, member.node.0, for_ns);
            }
        }
        self.counts.held_up += 1;
        self.order_change(node, source, Change::Transfer(successor));
    }

    fn crash_for_a_while(&mut self, node: u64) {
        if self.nodes[&node].running.is_none() {
            return;
        }
        self.crash(node);
        let longest = [50, 400, 1500][self.rng.usize(..3)];
        let at = self.now + self.rng.u64(1..longest) * MS;
        self.agenda.at(at, Event::Start(node));
    }

    fn stall(&mut self, id: u64) {
        let for_ns = self.cut_for_ns();
        let until = self.now + for_ns;
        if let Some(node) = self.nodes.get_mut(&id)
            && node.running.is_some()
        {
            node.stalled_until = node.stalled_until.max(until);
        }
        self.notice_stall(id, for_ns);
        self.agenda.at(until, Event::Resume(id));
    }

    fn fill(&mut self, id: u64) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.set_full(true);
        }
        let for_ns = self.cut_for_ns();
        self.agenda.at(self.now + for_ns, Event::MakeRoom(id));
    }

    fn any_group(&mut self) -> GroupId {
        GroupId(self.rng.u32(..self.plan.groups.len() as u32))
    }

    /// The newest configuration of a group that any running node knows of.
    pub(super) fn newest_configuration(&self, group: GroupId) -> Configuration {
        let processes = self.nodes.values().filter_map(|node| node.running.as_ref());
        let seats = processes.filter_map(|process| process.seats.get(&group));
        let known = seats.map(|seat| seat.member.replica().configuration());
        known
            .max_by_key(|configuration| configuration.id)
            .unwrap_or_default()
    }

    /// A node joins a group, or leaves it, unless it is the last one.
    fn change_members(&mut self) {
        let (group, node, by) = (self.any_group(), self.any_node(), self.any_node());
        // Others than the leader can do little about an order.
        let by = match self.rng.u32(..4) {
            0 => by,
            _ => self.leader_of(group).unwrap_or(by),
        };
        let configuration = self.newest_configuration(group);
        let change = match configuration.member(NodeId(node)) {
            Some(_) if self.is_stranger(node, &configuration) => Change::Replace(NodeId(node)),
            None if configuration.members.len() < 4 => Change::Add(NodeId(node)),
            Some(_) if configuration.members.len() > 1 => Change::Remove(NodeId(node)),
            _ => return,
        };
        if let Change::Remove(_) = change {
            self.begin_rush(node, group);
        }
        self.order_change(by, group, change);
    }

    /// A node that believes that it leads a group.
    pub(super) fn leader_of(&self, group: GroupId) -> Option<u64> {
        let leads = |process: &Process| {
            let seat = process.seats.get(&group);
            seat.is_some_and(|seat| seat.shared.standing().leads())
        };
        let mut nodes = self.nodes.values();
        let leader = nodes.find(|node| node.running.as_ref().is_some_and(leads));
        leader.map(|leader| leader.id)
    }

    /// A node is about to leave a group: clients come to it that want keys of that group, so that
    /// something is under way when it leaves.
    fn begin_rush(&mut self, node: u64, group: GroupId) {
        let until = self.now + RUSH_NS;
        self.rush = Some(Rush { node, group, until });
        for client in 0..self.clients.len() {
            if self.clients[client].is_free() && self.rng.u32(..3) > 0 {
                self.clients[client].node = node;
            }
        }
    }

    /// Whether this client is to ask in haste, and for keys of which group.
    pub(super) fn rush_of(&self, client: usize) -> Option<GroupId> {
        let rush = self.rush.as_ref();
        let rush = rush.filter(|rush| self.now < rush.until);
        let rush = rush.filter(|rush| rush.node == self.clients[client].node);
        rush.map(|rush| rush.group)
    }

    fn change_leader(&mut self, by: u64) {
        let (group, to) = (self.any_group(), NodeId(self.any_node()));
        self.order_change(by, group, Change::Transfer(to));
    }

    pub(super) fn order_change(&mut self, by: u64, group: GroupId, change: Change) {
        let Some(node) = self.nodes.get_mut(&by) else {
            return;
        };
        let clock = node.clocks.clock(self.now);
        let Some(seat) = node.seat_mut(group) else {
            return;
        };
        // Nobody waits for what comes of it.
        let (reply, _) = mpsc::channel();
        seat.member.order(change, reply, clock);
        self.counts.changes += 1;
        self.tell(|| format!("node {by} is to {change:?} in {group:?}"));
        self.wake(by, group, 500);
    }

    /// Ends all faults and orders, and lets everything come back.
    pub(super) fn stop_faults(&mut self) {
        self.faults = false;
        self.heal_all();
        for id in 1..=self.plan.nodes {
            let Some(node) = self.nodes.get_mut(&id) else {
                continue;
            };
            node.set_full(false);
            node.stalled_until = node.stalled_until.min(self.now);
            let event = if node.running.is_none() {
                Event::Start(id)
            } else {
                Event::Resume(id)
            };
            self.agenda.at(self.now, event);
        }
    }
}
