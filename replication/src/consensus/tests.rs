//! Simulation of a group: real replicas on a simulated clock, network and disk, all drawn from one
//! seed, and checkers for what must hold.
//!
//! The state machine is the list of the entries' numbers. Checked at each step: all nodes apply the
//! same list (*agreement*, which includes that nothing applied anywhere is lost); a read under the
//! lease, and a read that was asked about, sees everything that was applied anywhere when it began
//! (*no stale read*). Checked at the end, when all faults are over: entries are decided again
//! (*progress*).
//!
//! Faults: delay, cuts of one or both directions, what was in flight delivered late or twice
//! across a reconnection, crashes that lose what was not written, slow disks, restarts, clocks that
//! run at different speeds, checkpoints and their transfer, transfers of leadership (also to nodes
//! that cannot lead), changes of members.

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::planted::{Planted, plant};
use super::*;

const NODES: u64 = 5;
const STEPS: u64 = 6000;
const SEAL: u64 = 1 << 63;
const MS: u64 = 1_000_000;

struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }
    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

#[derive(Clone)]
struct Checkpoint {
    ids: Vec<u64>,
    configuration: Configuration,
}

#[derive(Default)]
struct Files {
    meta: Option<Vec<u8>>,
    entries: BTreeMap<u64, Bytes>,
    checkpoints: Vec<Checkpoint>,
}

#[derive(Clone, Default)]
struct Disk(Arc<Mutex<Files>>);

impl LogSource for Disk {
    fn read(&self, from: LogIndex, to: LogIndex) -> Vec<Bytes> {
        let files = self.0.lock();
        let range = files.entries.range(from.0..=to.0);
        range.map(|(_, entry)| entry.clone()).collect()
    }
}

impl Disk {
    fn write(&self, write: &LogWrite) {
        let mut files = self.0.lock();
        if let Some(upto) = write.compact {
            files.entries = files.entries.split_off(&(upto.0 + 1));
        }
        if !write.entries.is_empty() {
            files.entries.split_off(&write.first.0);
        }
        for (at, entry) in write.entries.iter().enumerate() {
            files
                .entries
                .insert(write.first.0 + at as u64, entry.clone());
        }
        files.meta = Some(write.meta.clone());
    }
}

struct Node {
    replica: Replica,
    ids: Vec<u64>,
    configuration: Configuration,
    writing: Option<(LogWrite, u64)>,
    fetching: Option<u64>,
    reads: BTreeMap<u64, u64>,
}

type Queue = VecDeque<(u64, Outgoing)>;

struct Sim {
    rng: Rng,
    now: u64,
    nodes: BTreeMap<u64, Option<Node>>,
    disks: BTreeMap<u64, Disk>,
    incarnations: BTreeMap<u64, u64>,
    queues: BTreeMap<(u64, u64, Class), Queue>,
    cut: BTreeMap<(u64, u64), bool>,
    late: Vec<(u64, u64, Outgoing)>,
    global: Vec<u64>,
    next_id: u64,
    next_token: u64,
    reads: u64,
    changes: u64,
    faults: bool,
}

fn member(node: u64) -> Member {
    Member {
        node: NodeId(node),
        disk: node * 7,
    }
}

fn encode(id: u64, members: &[u64]) -> Bytes {
    let numbers = std::iter::once(&id).chain(members);
    let mut bytes: Vec<u8> = numbers.flat_map(|number| number.to_le_bytes()).collect();
    bytes.resize(bytes.len().max(24), 0);
    bytes.into()
}

fn decode(entry: &Bytes) -> (u64, Vec<u64>) {
    let mut numbers = entry.chunks_exact(8).map(|chunk| {
        let chunk: [u8; 8] = chunk.try_into().unwrap();
        u64::from_le_bytes(chunk)
    });
    let id = numbers.next().unwrap();
    (id, numbers.filter(|number| *number != 0).collect())
}

impl Sim {
    fn new(seed: u64) -> Sim {
        let mut rng = Rng(seed);
        let first = match rng.below(3) {
            0 => 1..=1,
            1 => 1..=3,
            _ => 1..=5,
        };
        let configuration = Configuration {
            id: ConfigurationId(1),
            members: first.map(member).collect(),
            begins_after: LogIndex::ZERO,
        };
        let mut sim = Sim {
            rng,
            now: MS,
            nodes: BTreeMap::new(),
            disks: BTreeMap::new(),
            incarnations: BTreeMap::new(),
            queues: BTreeMap::new(),
            cut: BTreeMap::new(),
            late: Vec::new(),
            global: Vec::new(),
            next_id: 1,
            next_token: 1,
            reads: 0,
            changes: 0,
            faults: true,
        };
        for node in 1..=NODES {
            let is_member = configuration.members.contains(&member(node));
            let begins_with = if is_member {
                configuration.clone()
            } else {
                Configuration::default()
            };
            let disk = Disk::default();
            disk.0.lock().meta = Some(Meta::new(begins_with).encode());
            sim.disks.insert(node, disk);
            sim.start(node);
        }
        sim.link_all();
        sim
    }

    /// Each node's clock starts somewhere else and runs up to 0.9 % off:
    /// together less than the 2 % that the lease allows for.
    fn clock(&self, node: u64) -> u64 {
        let permille = [991, 1009, 1000, 995, 1005][node as usize % 5];
        self.now / 1000 * permille + node * 1_000_000 * MS
    }

    fn start(&mut self, node: u64) {
        let disk = self.disks[&node].clone();
        let incarnation = self.incarnations.entry(node).or_default();
        *incarnation += 1;
        let options = Options {
            member: member(node),
            incarnation: *incarnation,
            priority: 0,
            timing: Timing {
                tick_ns: 10 * MS,
                ..Timing::default()
            },
        };
        let files = disk.0.lock();
        let meta = Meta::decode(files.meta.as_ref().unwrap()).unwrap();
        let checkpoint = files.checkpoints.last().cloned();
        drop(files);
        let checkpoint = checkpoint.unwrap_or(Checkpoint {
            ids: Vec::new(),
            configuration: Configuration::default(),
        });
        let applied = LogIndex(checkpoint.ids.len() as u64);
        let now = self.clock(node);
        let replica = Replica::open(options, meta, Box::new(disk), applied, now);
        let node_state = Node {
            replica,
            ids: checkpoint.ids,
            configuration: checkpoint.configuration,
            writing: None,
            fetching: None,
            reads: BTreeMap::new(),
        };
        self.nodes.insert(node, Some(node_state));
        self.adopt(node);
    }

    fn is_up(&self, a: u64, b: u64) -> bool {
        let is_cut = |x, y| self.cut.get(&(x, y)).copied().unwrap_or(false);
        self.nodes[&a].is_some() && self.nodes[&b].is_some() && !is_cut(a, b) && !is_cut(b, a)
    }

    fn link_all(&mut self) {
        for a in 1..=NODES {
            for b in 1..a {
                self.link(a, b);
            }
        }
    }

    /// A new connection between two nodes. Some of what was in flight comes later, or again.
    fn link(&mut self, a: u64, b: u64) {
        self.unlink(a, b);
        if !self.is_up(a, b) {
            return;
        }
        for (x, y) in [(a, b), (b, a)] {
            if let Some(node) = self.nodes.get_mut(&x).unwrap() {
                node.replica.link_up(NodeId(y));
            }
        }
    }

    fn unlink(&mut self, a: u64, b: u64) {
        for (x, y) in [(a, b), (b, a)] {
            for class in Class::ALL {
                let queue = self.queues.remove(&(x, y, class)).unwrap_or_default();
                for (_, message) in queue {
                    if self.rng.one_in(8) && self.late.len() < 64 {
                        self.late.push((x, y, message));
                    }
                }
            }
        }
    }

    fn send(&mut self, from: u64, messages: Vec<Outgoing>) {
        for message in messages {
            let to = message.to.0;
            let blocked = self.cut.get(&(from, to)).copied().unwrap_or(false);
            if self.nodes[&to].is_none() || blocked {
                continue;
            }
            let delay = MS / 2 + self.rng.below(4 * MS);
            let queue = self.queues.entry((from, to, message.class)).or_default();
            queue.push_back((self.now + delay, message));
        }
    }

    fn deliver(&mut self, from: u64, to: u64, message: &Outgoing) {
        let now = self.clock(to);
        if let Some(node) = self.nodes.get_mut(&to).unwrap() {
            let tag = message.configuration;
            node.replica
                .receive(NodeId(from), tag, &message.payload, now)
                .expect("replicas understand each other");
        }
    }

    fn crash(&mut self, node: u64) {
        self.nodes.insert(node, None);
        for other in 1..=NODES {
            if other != node {
                self.unlink(node, other);
            }
        }
    }

    fn step(&mut self) {
        self.now += MS / 2 + self.rng.below(MS);
        if self.faults {
            self.cause_faults();
        }
        let node = 1 + self.rng.below(NODES);
        if self.nodes[&node].is_some() {
            self.step_node(node);
        }
    }

    fn cause_faults(&mut self) {
        let (a, b) = (1 + self.rng.below(NODES), 1 + self.rng.below(NODES));
        if self.rng.one_in(250) && self.nodes[&a].is_some() {
            self.crash(a);
        }
        if self.rng.one_in(100) && self.nodes[&a].is_none() {
            self.restart(a);
        }
        if a != b && self.rng.one_in(100) {
            self.cut.insert((a, b), true);
            if self.rng.one_in(2) {
                self.cut.insert((b, a), true);
            }
            self.unlink(a, b);
        }
        if a != b && self.rng.one_in(12) && self.cut.remove(&(a, b)).is_some() {
            self.cut.remove(&(b, a));
            self.link(a, b);
        }
        if a != b && self.rng.one_in(200) {
            self.link(a, b);
        }
        if !self.late.is_empty() && self.rng.one_in(10) {
            let at = self.rng.below(self.late.len() as u64) as usize;
            let (from, to, message) = self.late[at].clone();
            if self.rng.one_in(2) {
                self.late.swap_remove(at);
            }
            self.deliver(from, to, &message);
        }
    }

    fn restart(&mut self, node: u64) {
        self.start(node);
        for other in 1..=NODES {
            if other != node {
                self.link(node, other);
            }
        }
    }

    fn step_node(&mut self, id: u64) {
        for from in 1..=NODES {
            for class in Class::ALL {
                while let Some(queue) = self.queues.get_mut(&(from, id, class))
                    && queue.front().is_some_and(|(at, _)| *at <= self.now)
                {
                    let (_, message) = queue.pop_front().unwrap();
                    self.deliver(from, id, &message);
                }
            }
        }
        let now = self.clock(id);
        let is_proposing = self.rng.one_in(3);
        let node = self.nodes.get_mut(&id).unwrap().as_mut().unwrap();
        node.replica.tick(now);
        if is_proposing && node.replica.propose(encode(self.next_id, &[])).is_some() {
            self.next_id += 1;
        }
        if self.rng.one_in(60) {
            self.change_members(id);
        }
        if self.rng.one_in(300) {
            let to = NodeId(1 + self.rng.below(NODES));
            let node = self.nodes.get_mut(&id).unwrap().as_mut().unwrap();
            node.replica.transfer(to, now);
        }
        self.apply(id);
        self.check_reads(id, now);
        self.checkpoint(id);
        self.fetch_checkpoint(id);
        self.flush(id, now);
    }

    fn flush(&mut self, id: u64, now: u64) {
        let node = self.nodes.get_mut(&id).unwrap().as_mut().unwrap();
        let ready = node.replica.ready(now);
        node.replica.check_invariants();
        if let Some(write) = ready.write {
            let slowness = if self.rng.one_in(20) { 100 } else { 3 };
            let at = self.now + self.rng.below(slowness * MS);
            node.writing = Some((write, at));
        }
        self.send(id, ready.messages);
        if self.faults && self.rng.one_in(600) {
            return self.crash(id);
        }
        let node = self.nodes.get_mut(&id).unwrap().as_mut().unwrap();
        if let Some((write, at)) = node.writing.take() {
            if at > self.now {
                node.writing = Some((write, at));
                return;
            }
            self.disks[&id].write(&write);
            let late = node.replica.persisted(now);
            self.send(id, late);
        }
    }

    fn apply(&mut self, id: u64) {
        loop {
            let node = self.nodes.get_mut(&id).unwrap().as_mut().unwrap();
            let (first, entries) = node.replica.take_decided(100);
            if entries.is_empty() {
                break;
            }
            assert_eq!(
                first.0,
                node.ids.len() as u64 + 1,
                "node {id} skips entries"
            );
            for entry in entries {
                let (number, members) = decode(&entry);
                node.ids.push(number);
                if number & SEAL != 0 {
                    let configuration = Configuration {
                        id: ConfigurationId((number & 0xffff) as u32),
                        members: members.into_iter().map(member).collect(),
                        begins_after: LogIndex(node.ids.len() as u64),
                    };
                    if configuration.id > node.configuration.id {
                        node.configuration = configuration;
                        if node.configuration.id > node.replica.configuration().id {
                            let next = node.configuration.clone();
                            let applied = LogIndex(node.ids.len() as u64);
                            node.replica.begin_configuration(next, applied);
                            break;
                        }
                    }
                }
            }
        }
        let node = self.nodes[&id].as_ref().unwrap();
        let common = self.global.len().min(node.ids.len());
        assert!(
            self.global[..common] == node.ids[..common],
            "node {id} disagrees"
        );
        if node.ids.len() > common {
            let new = node.ids[common..].to_vec();
            self.global.extend(new);
        }
    }

    /// The state may know of a later configuration than the replica, from a checkpoint.
    fn adopt(&mut self, id: u64) {
        let node = self.nodes.get_mut(&id).unwrap().as_mut().unwrap();
        if node.configuration.id > node.replica.configuration().id {
            let next = node.configuration.clone();
            let applied = LogIndex(node.ids.len() as u64);
            node.replica.begin_configuration(next, applied);
        }
    }

    fn check_reads(&mut self, id: u64, now: u64) {
        let acknowledged = self.global.len() as u64;
        let token = self.next_token;
        self.next_token += 1;
        let node = self.nodes.get_mut(&id).unwrap().as_mut().unwrap();
        let applied = node.ids.len() as u64;
        if node.replica.lease_until() > now && applied >= node.replica.decided().0 {
            self.reads += 1;
            assert!(
                applied >= acknowledged,
                "stale read under the lease at node {id}: {applied} < {acknowledged}, {:?}",
                node.replica.configuration(),
            );
        }
        if self.rng.one_in(8) {
            node.reads.insert(token, acknowledged);
            node.replica.read(token, now);
        }
        for (token, index) in node.replica.take_reads() {
            let needed = node.reads.remove(&token).unwrap();
            self.reads += 1;
            assert!(
                index.0 >= needed,
                "stale read at node {id}: {} < {needed}, {:?}, leader {:?}",
                index.0,
                node.replica.configuration().id,
                node.replica.leader(),
            );
        }
    }

    fn checkpoint(&mut self, id: u64) {
        if !self.rng.one_in(80) {
            return;
        }
        let node = self.nodes.get_mut(&id).unwrap().as_mut().unwrap();
        let index = node.ids.len() as u64;
        let mut files = self.disks[&id].0.lock();
        let last = files.checkpoints.last().map_or(0, |c| c.ids.len() as u64);
        if index <= last || node.replica.durable().0 < index {
            return;
        }
        files.checkpoints.push(Checkpoint {
            ids: node.ids.clone(),
            configuration: node.configuration.clone(),
        });
        drop(files);
        node.replica.set_status(LogIndex(index), false);
        node.replica.trim(LogIndex(last));
    }

    fn fetch_checkpoint(&mut self, id: u64) {
        let delay = self.rng.below(60 * MS);
        let node = self.nodes.get_mut(&id).unwrap().as_mut().unwrap();
        let Some((source, index)) = node.replica.wanted_checkpoint() else {
            node.fetching = None;
            return;
        };
        let at = *node.fetching.get_or_insert(self.now + delay);
        if at > self.now {
            return;
        }
        node.fetching = None;
        let is_up = self.is_up(id, source.0);
        let files = self.disks[&source.0].0.lock();
        let found = files.checkpoints.last().cloned();
        drop(files);
        let node = self.nodes.get_mut(&id).unwrap().as_mut().unwrap();
        match found.filter(|found| is_up && found.ids.len() as u64 >= index.0) {
            Some(found) => {
                let index = LogIndex(found.ids.len() as u64);
                if index.0 > node.ids.len() as u64 {
                    node.ids = found.ids.clone();
                    node.configuration = found.configuration.clone();
                    self.disks[&id].0.lock().checkpoints.push(found);
                }
                node.replica.install_checkpoint(index);
                self.adopt(id);
            }
            None => node.replica.checkpoint_failed(),
        }
    }

    /// A leader adds, removes or replaces a member; a new one has to have caught up first.
    fn change_members(&mut self, id: u64) {
        let node = self.nodes[&id].as_ref().unwrap();
        if !node.replica.is_leader() {
            return;
        }
        let configuration = node.replica.configuration();
        let (decided, end) = (node.replica.decided(), node.replica.end());
        let mut members: Vec<u64> = configuration.members.iter().map(|m| m.node.0).collect();
        let one = 1 + self.rng.below(NODES);
        if let Some(at) = members.iter().position(|member| *member == one) {
            if members.len() == 1 {
                return;
            }
            members.remove(at);
        } else {
            let behind = match &self.nodes[&one] {
                Some(joiner) => decided.0.saturating_sub(joiner.replica.decided().0),
                None => return,
            };
            if behind > 20 {
                let node = self.nodes.get_mut(&id).unwrap().as_mut().unwrap();
                return node.replica.invite(NodeId(one));
            }
            members.push(one);
            members.sort_unstable();
        }
        if end > decided && self.rng.one_in(2) {
            return;
        }
        let next = SEAL | u64::from(configuration.id.0 + 1);
        let node = self.nodes.get_mut(&id).unwrap().as_mut().unwrap();
        if node.replica.propose_seal(encode(next, &members)).is_some() {
            self.changes += 1;
        }
    }

    /// What a person needs to see of a group that stands still.
    fn show(&self) {
        for (id, node) in &self.nodes {
            let Some(node) = node else { continue };
            let replica = &node.replica;
            println!(
                "node {id}: {:?} leader {:?} leads {} idle {} ballot {} decided {} end {} applied {} trimmed {} fetches {:?} writing {}",
                replica.configuration(),
                replica.leader(),
                replica.is_leader(),
                replica.is_idle(),
                replica.ballot(),
                replica.decided(),
                replica.end(),
                replica.applied(),
                replica.trimmed(),
                replica.catch_up,
                node.writing.is_some(),
            );
        }
    }

    fn run(&mut self) {
        for _ in 0..STEPS {
            self.step();
        }
        self.faults = false;
        self.cut.clear();
        for node in 1..=NODES {
            if self.nodes[&node].is_none() {
                self.start(node);
            }
        }
        self.link_all();
        let before = self.global.len();
        for _ in 0..STEPS {
            self.step();
        }
        if self.global.len() <= before + 20 {
            self.show();
        }
        assert!(
            self.global.len() > before + 20,
            "no progress after the faults: {before} to {}",
            self.global.len()
        );
    }
}

/// What is wrong with a seed, if something is.
fn violation(seed: u64) -> Option<String> {
    let result = catch_unwind(AssertUnwindSafe(|| Sim::new(seed).run()));
    result.err().map(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.unwrap_or_else(|| format!("{:?}", panic.downcast_ref::<&str>()))
    })
}

fn seeds() -> std::ops::Range<u64> {
    let number = |name, default| {
        let value = std::env::var(name).ok();
        value.map_or(default, |value: String| value.parse().unwrap())
    };
    let first = number("SIMULATION_FIRST_SEED", 1);
    first..first + number("SIMULATION_SEEDS", 300)
}

#[test]
fn faults_break_neither_agreement_nor_reads_nor_progress() {
    let (mut reads, mut changes, mut entries) = (0, 0, 0);
    let started = std::time::Instant::now();
    let seeds = seeds();
    for seed in seeds.clone() {
        println!("seed {seed}");
        let mut sim = Sim::new(seed);
        sim.run();
        reads += sim.reads;
        changes += sim.changes;
        entries += sim.global.len();
    }
    let per_second = (seeds.end - seeds.start) as f64 / started.elapsed().as_secs_f64();
    println!("{per_second:.1} seeds/s, {entries} entries, {reads} reads, {changes} changes");
    assert!(reads > 0 && changes > 0 && entries > 0);
}

#[test]
fn the_checkers_find_planted_bugs() {
    use Planted::*;
    let bugs = [
        (AcceptedBeforeSync, 2000),
        (LeaseWithoutOutgoingHold, 2000),
        (LeaseWithoutIncomingHold, 2000),
        (NoBarrier, 200),
        (NoConfirmation, 1000),
        (NoClamp, 200),
    ];
    for (bug, within) in bugs {
        let seed = first_seed_that_finds(bug, within);
        println!("{bug:?}: seed {seed}");
    }
}

/// Plants a bug and gives the first of so many seeds that finds it.
fn first_seed_that_finds(bug: Planted, within: u64) -> u64 {
    plant(Some(bug));
    let found = (1..=within).find(|seed| violation(*seed).is_some());
    plant(None);
    found.unwrap_or_else(|| panic!("{bug:?} goes unnoticed for {within} seeds"))
}
