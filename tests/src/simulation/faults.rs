//! What goes wrong, and what operators do: one thing at a time, drawn by the plan's weights.

use std::sync::mpsc::{self, Receiver};

use bailiwick::group::Change;
use bailiwick_replication::NodeId;
use bailiwick_replication::consensus::{Configuration, Meta};

use super::agenda::Event;
use super::network::Links;
use super::node::Phase;
use super::plan::Fault;
use super::{MS, SECOND, Simulation};

/// An order that was given to a node.
pub(super) struct Order {
    node: u64,
    life: u64,
    pub(super) change: Change,
    outcome: Receiver<Result<(), String>>,
}

impl Simulation {
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
            Some(Fault::Change) => self.order_change(),
            Some(Fault::Transfer) => {
                let to = NodeId(self.any_node());
                self.order(node, Change::Transfer(to));
            }
            Some(Fault::Wipe) => self.wipe(node),
            Some(Fault::ClockJump) => {
                let offset_ms = self.rng.i64(-500..500);
                if let Some(node) = self.nodes.get_mut(&node) {
                    node.clocks.wall_offset_ms = offset_ms;
                }
            }
        }
    }

    fn crash_for_a_while(&mut self, node: u64) {
        if self.nodes[&node].running.is_none() {
            return;
        }
        self.crash(node);
        let longest = [50, 400, 2000][self.rng.usize(..3)];
        let at = self.now + self.rng.u64(1..longest) * MS;
        self.agenda.at(at, Event::Start(node));
    }

    fn stall(&mut self, node: u64) {
        let for_ns = self.cut_for_ns();
        let until = self.now + for_ns;
        if let Some(node) = self.nodes.get_mut(&node)
            && node.running.is_some()
        {
            node.stalled_until = node.stalled_until.max(until);
        }
        self.notice_stall(node, for_ns);
        self.agenda.at(until, Event::Turn(node));
    }

    fn fill(&mut self, node: u64) {
        self.nodes[&node].disk.files().is_full = true;
        let for_ns = self.cut_for_ns();
        self.agenda.at(self.now + for_ns, Event::MakeRoom(node));
    }

    /// The newest configuration that any node knows of, be it down.
    pub(super) fn newest_configuration(&self) -> Configuration {
        let mut newest = Configuration::default();
        for node in self.nodes.values() {
            let configuration = match &node.running {
                Some(running) => running.member.replica().configuration(),
                None => match node
                    .disk
                    .files()
                    .meta
                    .as_ref()
                    .map(|bytes| Meta::decode(bytes))
                {
                    Some(Ok(meta)) => meta.configuration().clone(),
                    _ => continue,
                },
            };
            if configuration.id > newest.id {
                newest = configuration;
            }
        }
        newest
    }

    /// Whether a node's directory is not the one that the group knows.
    pub(super) fn is_stranger(&self, node: u64, configuration: &Configuration) -> bool {
        let known = configuration.member(NodeId(node));
        known.is_some_and(|member| member != self.nodes[&node].member_id())
    }

    /// Empties the directory of a node, unless that could lose what the group has decided: at most
    /// one member may be without its directory, and the others must have all that the configuration
    /// began with.
    fn wipe(&mut self, node: u64) {
        let configuration = self.newest_configuration();
        let members = &configuration.members;
        let others = members.iter().filter(|member| member.node.0 != node);
        let all_have_it = others.clone().all(|member| {
            let node = &self.nodes[&member.node.0];
            let durable = node
                .running
                .as_ref()
                .map(|running| running.member.replica().durable());
            !self.is_stranger(node.id, &configuration)
                && durable.is_some_and(|durable| durable >= configuration.begins_after)
        });
        let is_member = configuration.member(NodeId(node)).is_some();
        let is_last = others.count() < 2;
        if is_member && (is_last || !all_have_it || self.is_stranger(node, &configuration)) {
            return;
        }
        if !is_member && configuration.id.0 == 0 {
            return;
        }
        if self.nodes[&node].running.is_some() {
            self.crash(node);
        }
        self.counts.wipes += 1;
        self.tell(|| format!("node {node} loses its directory, {configuration:?}"));
        self.empty_directory(node);
        let at = self.now + self.rng.u64(1..300) * MS;
        self.agenda.at(at, Event::Start(node));
        if is_member {
            let by = self.any_node();
            self.order(by, Change::Replace(NodeId(node)));
        }
    }

    fn order_change(&mut self) {
        let (node, by) = (self.any_node(), self.any_node());
        let configuration = self.newest_configuration();
        let change = match configuration.member(NodeId(node)) {
            None => Change::Add(NodeId(node)),
            Some(_) if self.is_stranger(node, &configuration) => Change::Replace(NodeId(node)),
            Some(_) => Change::Remove(NodeId(node)),
        };
        self.order(by, change);
    }

    /// Gives an order to a node.
    pub(super) fn order(&mut self, by: u64, change: Change) {
        let Some(node) = self.nodes.get_mut(&by) else {
            return;
        };
        let clock = node.clocks.clock(self.now);
        let life = node.life;
        let Some(running) = &mut node.running else {
            return;
        };
        let (reply, outcome) = mpsc::channel();
        if self.is_told {
            println!("node {by} is ordered {change:?}");
        }
        running.member.order(change, reply, clock);
        self.orders.push(Order {
            node: by,
            life,
            change,
            outcome,
        });
        self.wake(by, 500);
    }

    /// Looks at what became of orders.
    pub(super) fn collect_orders(&mut self) {
        let nodes = &self.nodes;
        let mut done = 0;
        self.orders.retain(|order| {
            if nodes[&order.node].life != order.life || nodes[&order.node].running.is_none() {
                return false;
            }
            match order.outcome.try_recv() {
                Ok(Ok(())) => {
                    done += 1;
                    false
                }
                Ok(Err(_)) | Err(mpsc::TryRecvError::Disconnected) => false,
                Err(mpsc::TryRecvError::Empty) => true,
            }
        });
        self.counts.changes += done;
    }

    /// Ends all faults, and lets everything come back.
    pub(super) fn stop_faults(&mut self) {
        self.faults = false;
        self.heal_all();
        for id in 1..=self.plan.nodes {
            if let Some(node) = self.nodes.get_mut(&id) {
                node.disk.files().is_full = false;
                node.stalled_until = node.stalled_until.min(self.now);
                if node.running.is_none() {
                    self.agenda.at(self.now, Event::Start(id));
                } else {
                    self.agenda.at(self.now, Event::Turn(id));
                }
            }
        }
    }

    /// What a person needs to see of a group that stands still.
    pub(super) fn show(&self) -> String {
        let mut text = format!("at {} ms", self.now / MS);
        for node in self.nodes.values() {
            let Some(running) = &node.running else {
                text += &format!("\nnode {} is down", node.id);
                continue;
            };
            let replica = running.member.replica();
            let phase = match running.phase {
                Phase::Idle => "idle",
                Phase::Decided(_) => "decided",
                Phase::Sent(_) => "sent",
                Phase::Writing(_) => "writing",
                Phase::Written(_) => "written",
            };
            let description = running.member.describe(node.clocks.clock(self.now));
            text += &format!(
                "\nnode {} (disk {}): {:?} leader {:?} leads {} idle {} ballot {} decided {} end {} \
                 applied {} durable {} trimmed {} {phase} stuck {} links {:?} fetches {:?} {:?}",
                node.id,
                node.disk.files().id,
                replica.configuration(),
                replica.leader(),
                replica.is_leader(),
                replica.is_idle(),
                replica.ballot(),
                replica.decided(),
                replica.end(),
                replica.applied(),
                replica.durable(),
                replica.trimmed(),
                running.stuck.is_some(),
                running.sessions,
                description.transfer,
                replica.wanted_checkpoint(),
            );
        }
        for order in &self.orders {
            text += &format!("\norder {:?} at node {}", order.change, order.node);
        }
        for (at, client) in self.clients.iter().enumerate() {
            if let Some(asked) = &client.asked {
                let waits = (self.now - asked.since) / MS;
                text += &format!("\nclient {at} at node {} waits for {waits} ms", client.node);
            }
        }
        text
    }

    /// How long the slowest thing may take once all faults are over.
    pub(super) const RECOVERY_NS: u64 = 40 * SECOND;
}
