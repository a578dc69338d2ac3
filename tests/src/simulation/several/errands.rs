//! What nodes ask of groups by themselves: the drivers' steps, operators' orders, what the steward
//! reports; and the groups that are founded at the beginning.

use bailiwick::authority::Stray;
use bailiwick::directory::ROOT_GROUP;
use bailiwick::estate::steward;
use bailiwick::handoff::Answer;
use bailiwick::handoff::order::parent_owner;
use bailiwick::routing::errand::{self, Failure};
use bailiwick_replication::{GroupId, NodeId};

use super::drivers::{Key, Look};
use super::node::Node;
use super::places::PREFIXES;
use super::{Event, World};
use crate::simulation::MS;
use crate::simulation::network::Links;

/// How often an order follows the word of a group that was asked wrongly.
const MAX_HINTS: u32 = 3;
/// From report to report of a steward.
const STEWARD_NS: u64 = 200 * MS;

/// A request of a node on its way.
pub(super) struct Errand {
    node: u64,
    life: u64,
    purpose: Purpose,
}

enum Purpose {
    Driver(Key),
    Order { command: Vec<Vec<u8>>, hints: u32 },
    Report,
}

impl World {
    /// Has a group execute an internal command, asked by a node.
    fn send_errand(
        &mut self,
        (node, ticket): (u64, usize),
        group: GroupId,
        command: &[Vec<u8>],
        purpose: Purpose,
    ) {
        let life = self.nodes[&node].life;
        let Some(process) = &self.nodes[&node].running else {
            return;
        };
        let args: Vec<&[u8]> = command.iter().map(Vec::as_slice).collect();
        let proposal = errand::proposal(group, &args, process.mail.errands.clone(), ticket);
        let proposal = proposal.expect("nodes ask for what exists");
        let errand = Errand {
            node,
            life,
            purpose,
        };
        self.errands.insert(ticket, errand);
        self.submit(node, proposal);
    }

    pub(super) fn next_ticket(&mut self) -> usize {
        self.last_ticket += 1;
        self.last_ticket
    }

    /// An errand is answered.
    pub(super) fn take_errand(&mut self, ticket: usize, answer: Answer) {
        let Some(errand) = self.errands.remove(&ticket) else {
            return self.fail(format!("errand {ticket} is answered twice"));
        };
        let node = errand.node;
        if self.nodes[&node].life != errand.life {
            return;
        }
        match errand.purpose {
            Purpose::Driver(key) => {
                // The thread wakes up some time, and sometimes late.
                let most = if self.rng.u64(..self.plan.pause_one_in) == 0 {
                    60 * MS
                } else {
                    MS
                };
                let at = self.now + self.rng.u64(..most);
                let running = self.nodes.get_mut(&node);
                if let Some(process) = running.and_then(Node::process_mut) {
                    process.drivers.answer(&key, ticket, answer, at);
                }
                self.agenda.at(at, Event::Drive(node));
            }
            Purpose::Order { command, hints } => {
                if let Err(Failure::Stray(Stray::Gone {
                    group: Some(group), ..
                })) = answer
                    && hints < MAX_HINTS
                {
                    self.order(node, group, command, hints + 1);
                } else if answer.is_ok() {
                    self.counts.orders += 1;
                }
            }
            Purpose::Report => {}
        }
    }

    fn order(&mut self, node: u64, group: GroupId, command: Vec<Vec<u8>>, hints: u32) {
        let ticket = self.next_ticket();
        let sent = command.clone();
        let purpose = Purpose::Order { command, hints };
        self.send_errand((node, ticket), group, &sent, purpose);
    }

    /// A node's jobs go on.
    pub(super) fn drive(&mut self, id: u64) {
        if !self.is_awake(id) {
            return;
        }
        let Some(process) = self.nodes.get_mut(&id).and_then(Node::process_mut) else {
            return;
        };
        let look = Look {
            own: NodeId(id),
            seats: &process.seats,
            now: self.now,
            last_ticket: &mut self.last_ticket,
        };
        let done = process.drivers.done;
        let requests = process.drivers.advance(look);
        self.counts.handoffs += process.drivers.done - done;
        for request in requests {
            if request
                .command
                .first()
                .is_some_and(|name| name == b"_COMMIT")
            {
                let (source, ..) = request.key;
                self.hold_up_commit(id, source, request.group);
            }
            let purpose = Purpose::Driver(request.key);
            let by = (id, request.ticket);
            self.send_errand(by, request.group, &request.command, purpose);
        }
    }

    /// An operator wants something of a prefix.
    pub(super) fn operate(&mut self) {
        if !self.faults {
            return;
        }
        let pause = self.rng.u64(..2 * self.plan.operate_ns);
        self.agenda.at(self.now + pause, Event::Operate);
        let node = self.any_node();
        if !self.is_awake(node) {
            return;
        }
        if self.found_groups(node) {
            return;
        }
        let prefix = PREFIXES[self.rng.usize(..PREFIXES.len())].as_bytes();
        let to = self.rng.usize(..self.plan.groups.len()) as u32;
        let words = match self.rng.u32(..6) {
            0 | 1 => vec!["_DELEGATE".to_owned()],
            2..5 => vec!["_MOVE".to_owned()],
            _ => vec!["_DROP".to_owned()],
        };
        let mut command: Vec<Vec<u8>> = words.into_iter().map(String::into_bytes).collect();
        command.push(prefix.to_vec());
        if command[0] != b"_DROP" {
            command.push(to.to_string().into_bytes());
        }
        let Some(process) = &self.nodes[&node].running else {
            return;
        };
        let owner = parent_owner(&process.office.directory().view(), prefix);
        self.tell(|| {
            let words = command.iter().map(|word| word.escape_ascii().to_string());
            format!("node {node}: {}", words.collect::<Vec<_>>().join(" "))
        });
        self.order(node, owner, command, 0);
    }

    /// Makes the groups that a node does not know yet; true if there are some.
    fn found_groups(&mut self, node: u64) -> bool {
        let Some(process) = &self.nodes[&node].running else {
            return true;
        };
        let view = process.office.directory().snapshot();
        let names = (1..self.plan.groups.len()).map(|group| (group, format!("g{group}")));
        // One after the other, so that each has the number that the plan has for it.
        let missing = names
            .into_iter()
            .find(|(_, name)| view.group_named(name).is_none());
        let Some((group, name)) = missing else {
            return false;
        };
        let mut command = vec![b"_GROUP".to_vec(), name.into_bytes()];
        for member in self.plan.groups[group].clone() {
            let disk = self.nodes[&member].member_id().disk;
            command.push(format!("{member}:{disk}").into_bytes());
        }
        self.order(node, ROOT_GROUP, command, 0);
        true
    }

    /// Leaders tell the root group of members that the directory does not know.
    pub(super) fn report(&mut self, id: u64) {
        let now = self.now;
        let Some(node) = self.nodes.get_mut(&id) else {
            return;
        };
        let life = node.life;
        let Some(process) = &node.running else {
            return;
        };
        let last = self.reported.get(&id).copied();
        if last.is_some_and(|(of, at)| of == life && now < at + STEWARD_NS) {
            return;
        }
        self.reported.insert(id, (life, now));
        let view = process.office.directory().snapshot();
        let led = process.seats.iter();
        let led = led.filter(|(_, seat)| seat.shared.standing().leads());
        let reports = led.filter_map(|(group, seat)| {
            steward::report(&view, *group, &seat.member.replica().configuration())
        });
        for words in reports.collect::<Vec<_>>() {
            let ticket = self.next_ticket();
            self.send_errand((id, ticket), ROOT_GROUP, &words, Purpose::Report);
        }
    }
}
