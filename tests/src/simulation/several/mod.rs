//! Clusters of several groups in one thread, on a simulated clock, network and disk, from one seed.
//!
//! Nodes have seats in several groups, each a real [`Member`](bailiwick::group::Member) around a
//! real replica and state. Beside them each node has what makes a cluster of groups: a directory
//! that floods, a courier that takes requests to other groups and a desk that serves them
//! (`office`), and the drivers by which prefixes change hands (`drivers`), all of them the code
//! that nodes run. Operators create, move and drop prefixes that lie in each other, and change the
//! members of groups (`errands`, `faults`); clients ask any node for any key (`clients`,
//! `listings`).
//!
//! What must hold (`checks`):
//!
//! * at every instant no key has two servers, and no prefix is ever served by two groups at the
//!   same epoch;
//! * every key is linearizable, whichever groups served it, through whichever nodes;
//! * of elements that clients wait for, none is lost and none goes to two clients, and who came
//!   first is served first (`queues`);
//! * a listing returns what was there throughout, once, or it is an error;
//! * a forged or old record changes no directory for the worse (`forger`);
//! * the replicas of each group agree after each entry;
//! * when faults and operators stop, every prefix that is moving arrives, every key has one owner,
//!   all directories say so, and every acknowledged write is there.
//!
//! Not here: what threads do to each other within a step, slots and redirects.

mod answers;
mod bugs;
mod checkpoints;
mod checks;
mod clients;
mod drivers;
mod elements;
mod errands;
mod faults;
mod forger;
mod last_waits;
mod listings;
mod node;
mod office;
mod orphans;
mod places;
mod plan;
mod queues;
mod seats;
mod spreads;
mod summary;
mod waiting;
mod wipes;
mod wiring;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bailiwick::authority::Authority;
use bailiwick::group::planted;
use bailiwick_replication::GroupId;
use fastrand::Rng;

use super::agenda::Agenda;
use super::network::{self, Links, Network, Site};
use super::{MS, TELL, Violation, caught};
use crate::history::History;
use clients::Client;
use errands::Errand;
use node::Node;
use plan::Plan;
use queues::Book;

pub use bugs::{BUGS, Bug, bug_named};
pub use summary::Summary;

/// Runs the cluster of a seed with so many groups, with a bug or without.
///
/// # Errors
/// What must hold does not.
pub fn run(seed: u64, groups: u32, bug: Option<Bug>) -> Result<Summary, Violation> {
    planted::plant(bug);
    let mut world = World::new(seed, groups);
    world.run();
    planted::plant(None);
    match world.violation.take() {
        None => Ok(world.summary()),
        Some(text) => Err(Violation { seed, text }),
    }
}

/// As [`run`], with panics of the code under test as violations, where panics unwind.
///
/// # Errors
/// What must hold does not.
pub fn violation_of(seed: u64, groups: u32, bug: Option<Bug>) -> Result<Summary, Violation> {
    caught(seed, || run(seed, groups, bug))
}

/// Something that happens at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// Something happens to a link.
    Link(network::Event),
    /// The thread of a seat runs on.
    Turn { node: u64, group: GroupId },
    /// A node's office and drivers have their turn, over and over.
    Pulse { node: u64, life: u64 },
    /// A node's office has something to do.
    Office(u64),
    /// A node's drivers go on.
    Drive(u64),
    /// A client does something.
    Client(usize),
    /// A client's request is given to a group again.
    Resubmit { client: usize, serial: u64 },
    /// A part of a client's request is given to a group again.
    Respread { client: usize, ticket: usize },
    /// A client's listing is tried again.
    Relist { client: usize, number: u64 },
    /// A client that waits for keys looks around.
    Wait { client: usize, number: u64 },
    /// A node that is down starts again.
    Start(u64),
    /// A node that was stopped runs on.
    Resume(u64),
    /// A disk has room again.
    MakeRoom(u64),
    /// A seat begins a checkpoint.
    Checkpoint {
        node: u64,
        group: GroupId,
        life: u64,
    },
    /// A seat's checkpoint is complete.
    Checkpointed {
        node: u64,
        group: GroupId,
        life: u64,
    },
    /// Keys that have expired are to go.
    Expire(u64),
    /// The next fault.
    Fault,
    /// The next order of an operator.
    Operate,
    /// The next record that is forged or replayed.
    Forge,
}

/// What a group has decided, as far as any of its replicas has applied it.
struct Truth {
    applied: u64,
    authority: Authority,
}

/// A cluster and everything around it.
struct World {
    plan: Plan,
    rng: Rng,
    now: u64,
    agenda: Agenda<Event>,
    nodes: BTreeMap<u64, Node>,
    network: Network,
    clients: Vec<Client>,
    history: History,
    book: Book,
    /// What states added up to after entries, and who said so first.
    digests: HashMap<(GroupId, u64), (u64, u64)>,
    truth: BTreeMap<GroupId, Truth>,
    /// Who served a prefix at an epoch.
    served: BTreeMap<(Vec<u8>, u64), GroupId>,
    errands: HashMap<usize, Errand>,
    last_ticket: usize,
    /// The random number of the newest data directory.
    last_disk: u64,
    /// When stewards reported last, and in which life.
    reported: BTreeMap<u64, (u64, u64)>,
    /// Keys that are there for good, and homes that have all of them.
    stays: BTreeSet<Vec<u8>>,
    has_stays: [bool; places::HOMES.len()],
    forger: forger::Forger,
    rush: Option<faults::Rush>,
    faults: bool,
    violation: Option<String>,
    is_told: bool,
    counts: Summary,
}

impl World {
    fn new(seed: u64, groups: u32) -> Self {
        let mut rng = Rng::with_seed(seed);
        let plan = Plan::draw(&mut rng, groups);
        let mut world = Self {
            rng,
            now: MS,
            agenda: Agenda::default(),
            nodes: BTreeMap::new(),
            network: Network::default(),
            clients: Vec::new(),
            history: History::default(),
            book: Book::default(),
            digests: HashMap::new(),
            truth: BTreeMap::new(),
            served: BTreeMap::new(),
            errands: HashMap::new(),
            last_ticket: 0,
            last_disk: 2000,
            reported: BTreeMap::new(),
            stays: BTreeSet::new(),
            has_stays: [false; places::HOMES.len()],
            forger: forger::Forger::default(),
            rush: None,
            faults: true,
            violation: None,
            is_told: std::env::var_os(TELL).is_some(),
            counts: Summary::default(),
            plan,
        };
        for id in 1..=world.plan.nodes {
            world.nodes.insert(id, Node::new(id, &mut world.rng));
            world.agenda.at(MS, Event::Start(id));
            world.agenda.at(MS, Event::Expire(id));
            for b in id + 1..=world.plan.nodes {
                world.plan_link(2 * MS, network::Event::Connect { a: id, b });
            }
        }
        let clients = world.plan.clients as usize;
        for client in 0..clients + world.plan.waiting_clients as usize {
            let node = world.any_node();
            world.clients.push(Client::new(node, client >= clients));
            world.agenda.at(200 * MS, Event::Client(client));
        }
        world.agenda.at(100 * MS, Event::Operate);
        world.agenda.at(600 * MS, Event::Fault);
        world.agenda.at(600 * MS, Event::Forge);
        world
    }

    fn run(&mut self) {
        self.run_until(self.plan.duration_ns, |_| false);
        self.stop_faults();
        if self.violation.is_none() {
            self.check_end();
        }
    }

    fn summary(&self) -> Summary {
        let disks = self.nodes.values().flat_map(|node| node.disks.values());
        Summary {
            transfers: disks.map(|disk| disk.files().received).sum(),
            entries: self.truth.values().map(|truth| truth.applied).sum(),
            simulated_ns: self.now,
            ..self.counts
        }
    }

    /// Lets things happen for so long, or until something holds, or is wrong.
    fn run_until(&mut self, for_ns: u64, mut holds: impl FnMut(&Self) -> bool) {
        let until = self.now + for_ns;
        let mut looked = 0;
        while self.violation.is_none() {
            if self.now >= looked + 2 * MS {
                looked = self.now;
                if holds(self) {
                    return;
                }
            }
            let Some((time, event)) = self.agenda.next(until) else {
                break;
            };
            self.now = time;
            self.happen(event);
        }
        self.now = self.now.max(until);
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Link(event) => self.link_event(event),
            Event::Turn { node, group } => self.turn(node, group),
            Event::Pulse { node, life } => self.pulse(node, life),
            Event::Office(node) => self.office_turn(node),
            Event::Drive(node) => self.drive(node),
            Event::Client(client) => self.act(client),
            Event::Resubmit { client, serial } => self.resubmit(client, serial),
            Event::Relist { client, number } => self.resume_listing(client, number),
            Event::Respread { client, ticket } => self.ask_part_again(client, ticket),
            Event::Wait { client, number } => self.look_around(client, number),
            Event::Start(node) => self.start(node),
            Event::Resume(node) => self.resume(node),
            Event::MakeRoom(node) => {
                if let Some(node) = self.nodes.get_mut(&node) {
                    node.set_full(false);
                }
            }
            Event::Checkpoint { node, group, life } => self.begin_checkpoint(node, group, life),
            Event::Checkpointed { node, group, life } => self.end_checkpoint(node, group, life),
            Event::Expire(node) => self.expire(node),
            Event::Fault => self.cause_fault(),
            Event::Operate => self.operate(),
            Event::Forge => self.forge(),
        }
    }

    /// Tells a person who follows one seed what happens.
    fn tell(&self, text: impl FnOnce() -> String) {
        if self.is_told {
            println!("{:>7.1} ms: {}", self.now as f64 / MS as f64, text());
        }
    }

    /// The first violation ends the run.
    fn fail(&mut self, text: String) {
        let at = self.now / MS;
        self.violation.get_or_insert(format!("{text} (at {at} ms)"));
    }

    fn is_awake(&self, node: u64) -> bool {
        let node = &self.nodes[&node];
        node.running.is_some() && node.stalled_until <= self.now
    }

    fn start(&mut self, id: u64) {
        let seed = self.rng.u64(..);
        let Some(node) = self.nodes.get_mut(&id) else {
            return;
        };
        if node.running.is_some() {
            return;
        }
        node.stalled_until = 0;
        node.start(&self.plan, self.now, seed);
        let life = node.life;
        let seats = node.running.iter().flat_map(|process| process.seats.keys());
        let seats: Vec<GroupId> = seats.copied().collect();
        self.tell(|| format!("node {id} starts with seats in {seats:?}"));
        for group in seats {
            self.begin_seat(id, group, life);
        }
        self.agenda.at(self.now, Event::Pulse { node: id, life });
    }

    fn crash(&mut self, id: u64) {
        self.tell(|| format!("node {id} crashes"));
        if let Some(node) = self.nodes.get_mut(&id) {
            node.crash(&mut self.rng);
        }
        self.unlink(id);
        let clients = self.clients.iter_mut();
        clients
            .filter(|client| client.node == id)
            .for_each(Client::disconnect);
    }

    /// A node that was stopped goes on with all of its threads.
    fn resume(&mut self, id: u64) {
        let process = self.nodes[&id].running.as_ref();
        let seats = process.iter().flat_map(|process| process.seats.keys());
        for group in seats.copied().collect::<Vec<_>>() {
            self.agenda.at(self.now, Event::Turn { node: id, group });
        }
        self.agenda.at(self.now, Event::Office(id));
        self.agenda.at(self.now, Event::Drive(id));
        self.wake_waiting(id);
    }
}
