//! A whole cluster in one thread, on a simulated clock, network and disk, all drawn from one seed.
//!
//! Each node is a real [`Member`](bailiwick::group::Member) around a real replica and a real state;
//! what the threads and files of a node do around it is simulated (`node`, `disk`), and so are the
//! links (`network`) and the clients (`client`, `requests`), whose proposals are made as
//! connections make them. `plan` decides which faults a seed has, `faults` causes them. `checks`
//! says what must hold; the first thing that does not is the run's [`Violation`].
//!
//! A run has three parts: faults and clients; the faults stop, and everything has to come back; the
//! history is judged. The same seed does the same again, in any build of the same source.
//!
//! A broken invariant of the code under test panics, which is as good as a violation;
//! [`violation_of`] catches it where panics unwind.
//!
//! This is about one group. Clusters of several, between which prefixes move, are simulated in
//! [`several`], on the same network, disks and clocks.
//!
//! Not here: threads that race (the steps of a node's thread are atomic, and only what happens
//! between them is tried), real files and sockets, and the election and log themselves, which have
//! a simulation of their own beside them.

mod agenda;
mod checkpoints;
mod checks;
mod client;
mod clocks;
mod disk;
mod faults;
mod mixed;
mod network;
mod node;
mod plan;
mod planted;
mod requests;
mod scripts;
pub mod several;
mod subject;
mod summary;
mod turns;

use std::collections::{BTreeMap, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};

use bailiwick_replication::link::Frame;
use fastrand::Rng;

pub use planted::Planted;
pub use summary::Summary;

use crate::history::{History, Operation};
use agenda::{Agenda, Event};
use client::Client;
use disk::Disk;
use faults::Order;
use network::{Links, Network, Site};
use node::Node;
use plan::Plan;

const MS: u64 = 1_000_000;
const SECOND: u64 = 1000 * MS;

/// If this variable of the environment is set, runs tell what happens in them.
const TELL: &str = "SIMULATION_TELL";

/// Something that must not be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("seed {seed}: {text}")]
pub struct Violation {
    /// The seed that shows it.
    pub seed: u64,
    /// What it is.
    pub text: String,
}

/// Runs the cluster of a seed, with a bug or without.
///
/// # Errors
/// What must hold does not.
pub fn run(seed: u64, bug: Option<Planted>) -> Result<Summary, Violation> {
    planted::plant(bug);
    let mut simulation = Simulation::new(seed, bug);
    simulation.run();
    planted::plant(None);
    match simulation.violation.take() {
        None => Ok(simulation.summary()),
        Some(text) => Err(Violation { seed, text }),
    }
}

/// As [`run`], with panics of the code under test as violations, where panics unwind.
///
/// # Errors
/// What must hold does not.
pub fn violation_of(seed: u64, bug: Option<Planted>) -> Result<Summary, Violation> {
    caught(seed, || run(seed, bug))
}

/// What a run comes to, with a panic as a violation.
fn caught<T>(seed: u64, run: impl FnOnce() -> Result<T, Violation>) -> Result<T, Violation> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        planted::plant(None);
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        let text = format!("a panic: {}", text.unwrap_or_default());
        Err(Violation { seed, text })
    })
}

impl Site for Simulation {
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
        let running = self.nodes[&node].running.as_ref()?;
        running.sessions.get(&peer).copied()
    }

    fn hear_up(&mut self, node: u64, peer: u64, session: u64) {
        let files = self.nodes[&peer].disk.files();
        let (disk, life) = (files.id, files.incarnation);
        drop(files);
        let up = node::Input::Up {
            peer,
            disk,
            life,
            session,
        };
        self.input(node, up);
    }

    fn hear_down(&mut self, node: u64, peer: u64, session: u64) {
        self.input(node, node::Input::Down { peer, session });
    }

    fn hear(&mut self, from: u64, to: u64, frame: Frame) {
        self.counts.messages += 1;
        let frame = node::Input::Frame {
            from,
            configuration: frame.configuration,
            payload: frame.payload,
        };
        self.input(to, frame);
    }
}

impl Links for Simulation {}

/// A cluster and everything around it.
struct Simulation {
    plan: Plan,
    rng: Rng,
    now: u64,
    agenda: Agenda,
    nodes: BTreeMap<u64, Node>,
    network: Network,
    clients: Vec<Client>,
    orders: Vec<Order>,
    history: History,
    /// What states added up to after entries, and who said so first.
    digests: HashMap<u64, (u64, u64)>,
    entries: HashMap<u64, (u64, u64)>,
    last_disk: u64,
    faults: bool,
    /// No quorum is left, by what operators did; nothing comes back.
    is_lost: bool,
    violation: Option<String>,
    is_told: bool,
    counts: Summary,
}

impl Simulation {
    fn new(seed: u64, bug: Option<Planted>) -> Self {
        let mut rng = Rng::with_seed(seed);
        let plan = Plan::draw(&mut rng, bug);
        let mut simulation = Self {
            rng,
            now: MS,
            agenda: Agenda::default(),
            nodes: BTreeMap::new(),
            network: Network::default(),
            clients: Vec::new(),
            orders: Vec::new(),
            history: History::default(),
            digests: HashMap::new(),
            entries: HashMap::new(),
            last_disk: 0,
            faults: true,
            is_lost: false,
            violation: None,
            is_told: std::env::var_os(TELL).is_some(),
            counts: Summary::default(),
            plan,
        };
        for id in 1..=simulation.plan.nodes {
            let disk = simulation.new_disk();
            let node = Node::new(id, disk, &simulation.plan, &mut simulation.rng);
            simulation.nodes.insert(id, node);
            simulation.agenda.at(MS, Event::Start(id));
            simulation.agenda.at(MS, Event::Expire(id));
            for b in id + 1..=simulation.plan.nodes {
                simulation.plan_link(2 * MS, network::Event::Connect { a: id, b });
            }
            for _ in 0..simulation.plan.clients_per_node {
                let event = Event::Client(simulation.clients.len());
                simulation.clients.push(Client::new(id));
                simulation.agenda.at(50 * MS, event);
            }
        }
        simulation.agenda.at(300 * MS, Event::Fault);
        simulation
    }

    fn new_disk(&mut self) -> Disk {
        self.last_disk += 1;
        Disk::new(1000 + self.last_disk)
    }

    fn empty_directory(&mut self, node: u64) {
        let disk = self.new_disk();
        if self.plan.planted != Some(Planted::IncarnationsBeginAnew) {
            disk.files().incarnation = self.nodes[&node].disk.files().incarnation;
        }
        if let Some(node) = self.nodes.get_mut(&node) {
            node.disk = disk;
        }
        self.network.forget_late(node);
    }

    fn run(&mut self) {
        self.run_until(self.plan.duration_ns, |_| false);
        self.stop_faults();
        // With clocks like that, nobody promises to be in time.
        if self.plan.planted == Some(Planted::Drift) {
            self.is_lost = true;
        } else if self.violation.is_none() {
            self.check_progress();
        }
        if self.violation.is_none() {
            self.check_history();
        }
    }

    fn summary(&self) -> Summary {
        let disks = self.nodes.values().map(|node| &node.disk);
        Summary {
            entries: self.digests.keys().max().copied().unwrap_or(0),
            transfers: disks.map(|disk| disk.files().received).sum(),
            simulated_ns: self.now,
            ..self.counts
        }
    }

    /// Lets things happen for so long, or until something holds, or is wrong.
    fn run_until(&mut self, for_ns: u64, mut holds: impl FnMut(&Self) -> bool) {
        let until = self.now + for_ns;
        while self.violation.is_none() {
            if holds(self) {
                return;
            }
            let Some((time, event)) = self.agenda.next(until) else {
                break;
            };
            self.now = time;
            self.happen(event);
            self.collect_orders();
        }
        self.now = self.now.max(until);
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Turn(node) => self.turn(node),
            Event::Link(event) => self.link_event(event),
            Event::Client(client) => self.act(client),
            Event::Start(node) => self.start(node),
            Event::MakeRoom(node) => self.nodes[&node].disk.files().is_full = false,
            Event::Checkpoint { node, life } => self.begin_checkpoint(node, life),
            Event::Checkpointed { node, life } => self.end_checkpoint(node, life),
            Event::Expire(node) => self.expire(node),
            Event::Fault => self.cause_fault(),
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
        self.tell(|| {
            let node = &self.nodes[&id];
            let replica = node
                .running
                .as_ref()
                .map(|running| running.member.replica());
            let at = replica.map(|replica| (replica.applied(), replica.decided(), replica.end()));
            format!(
                "node {id} starts: {:?}, applied, decided, end {at:?}",
                node.member_id()
            )
        });
        self.wake(id, 100);
        self.plan_checkpoint(id, life);
    }

    fn crash(&mut self, id: u64) {
        let survives = self.rng.bool();
        self.tell(|| format!("node {id} crashes; a write under way survives: {survives}"));
        if let Some(node) = self.nodes.get_mut(&id) {
            node.crash(survives);
        }
        self.unlink(id);
        self.disconnect(id);
    }

    /// Something came in for a node.
    fn input(&mut self, id: u64, input: node::Input) {
        if let Some(running) = self
            .nodes
            .get_mut(&id)
            .and_then(|node| node.running.as_mut())
        {
            running.inputs.push(input);
            self.wake(id, 100);
        }
    }

    /// Counts the steady counter up, whatever else goes on.
    fn increment(&mut self, client: usize) {
        self.ask_one(client, client::STEADY, Operation::Increment);
    }
}
