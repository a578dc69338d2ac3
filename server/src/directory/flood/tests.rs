//! Many nodes on a simulated clock: links with delays, that break and come back, and partitions.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::time::Instant;

use super::*;
use crate::directory::Refusal;
use crate::directory::testing::*;

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;
/// How often nodes look at the clock.
const TICK: u64 = 50 * MS;

/// When it arrives, a number that keeps the order, from whom, to whom, what.
type InFlight = (u64, u64, NodeId, NodeId, Bytes);

/// Nodes 1 to n, each with a directory that is anchored in the root group.
struct Network {
    floods: BTreeMap<NodeId, Flood>,
    /// Links that stand, by the smaller node first.
    links: BTreeSet<(NodeId, NodeId)>,
    /// What arrives when; each link's frames keep their order.
    in_flight: BinaryHeap<Reverse<InFlight>>,
    last_arrival: BTreeMap<(NodeId, NodeId), u64>,
    now: u64,
    sent: u64,
    sent_bytes: u64,
    delays_ms: std::ops::Range<u64>,
    rng: fastrand::Rng,
    /// A planted bug: nodes never compare.
    never_compares: bool,
}

fn pair(a: NodeId, b: NodeId) -> (NodeId, NodeId) {
    (a.min(b), a.max(b))
}

impl Network {
    fn new(nodes: u64, seed: u64) -> Self {
        println!("seed {seed}");
        let mut network = Self {
            floods: BTreeMap::new(),
            links: BTreeSet::new(),
            in_flight: BinaryHeap::new(),
            last_arrival: BTreeMap::new(),
            now: 0,
            sent: 0,
            sent_bytes: 0,
            delays_ms: 1..100,
            rng: fastrand::Rng::with_seed(seed),
            never_compares: false,
        };
        (1..=nodes).for_each(|node| network.add(node));
        network
    }

    fn add(&mut self, node: u64) {
        let flood = Flood::new(Arc::new(directory()), self.now);
        self.floods.insert(NodeId(node), flood);
    }

    fn nodes(&self) -> Vec<NodeId> {
        self.floods.keys().copied().collect()
    }

    fn link(&mut self, a: NodeId, b: NodeId) {
        if a != b && self.links.insert(pair(a, b)) {
            for (here, there) in [(a, b), (b, a)] {
                self.floods.get_mut(&here).unwrap().link_up(there);
                self.send_all(here);
            }
        }
    }

    /// Ends a link, with all that is on it.
    fn cut(&mut self, a: NodeId, b: NodeId) {
        if self.links.remove(&pair(a, b)) {
            self.floods.get_mut(&a).unwrap().link_down(b);
            self.floods.get_mut(&b).unwrap().link_down(a);
            self.in_flight
                .retain(|Reverse((_, _, from, to, _))| pair(*from, *to) != pair(a, b));
        }
    }

    fn link_all(&mut self) {
        let nodes = self.nodes();
        for (index, a) in nodes.iter().enumerate() {
            nodes[index + 1..].iter().for_each(|b| self.link(*a, *b));
        }
    }

    fn send_all(&mut self, from: NodeId) {
        for (to, bytes) in self.floods.get_mut(&from).unwrap().take_messages() {
            assert!(bytes.len() <= MESSAGE_BYTES_MAX);
            self.sent += 1;
            self.sent_bytes += bytes.len() as u64;
            let delay = self.rng.u64(self.delays_ms.clone()) * MS;
            let last = self.last_arrival.entry((from, to)).or_default();
            *last = (self.now + delay).max(*last);
            self.in_flight
                .push(Reverse((*last, self.sent, from, to, bytes)));
        }
    }

    /// Lets time pass.
    fn run(&mut self, duration: u64) {
        let end = self.now + duration;
        while self.now < end {
            let tick = (self.now / TICK + 1) * TICK;
            while let Some(Reverse(next)) = self.in_flight.peek()
                && next.0 <= tick
            {
                let Some(Reverse((at, _, from, to, bytes))) = self.in_flight.pop() else {
                    break;
                };
                self.now = self.now.max(at);
                self.floods.get_mut(&to).unwrap().receive(from, &bytes);
                self.send_all(to);
            }
            self.now = tick;
            if self.never_compares {
                continue;
            }
            for node in self.nodes() {
                let random = self.rng.u64(..);
                self.floods.get_mut(&node).unwrap().tick(tick, random);
                self.send_all(node);
            }
        }
    }

    /// Until all directories are the same; how long it took, `None` if longer than `limit`.
    fn converge(&mut self, limit: u64) -> Option<u64> {
        let start = self.now;
        while !self.is_converged() {
            if self.now - start >= limit {
                return None;
            }
            self.run(TICK);
        }
        Some(self.now - start)
    }

    fn roots(&self) -> BTreeSet<u64> {
        let root = |flood: &Flood| flood.directory.with_store(|store| store.digest().root());
        self.floods.values().map(root).collect()
    }

    fn is_converged(&self) -> bool {
        self.roots().len() == 1
    }

    fn publish(&mut self, node: NodeId, record: &SignedRecord) {
        let outcome = self.floods.get_mut(&node).unwrap().publish(record);
        assert!(
            matches!(outcome, Outcome::Fresh | Outcome::Waiting(_)),
            "{outcome:?}"
        );
        self.send_all(node);
    }

    fn fill(&mut self, node: NodeId, records: &[SignedRecord]) {
        let records = records
            .iter()
            .map(|record| record.bytes().clone())
            .collect();
        self.floods[&node].directory.offer_all(records, node);
    }

    fn knows(&self, node: NodeId, key: &str, group: u32) -> bool {
        group_of(&self.floods[&node].directory, key) == group
    }

    fn all_know(&self, key: &str, group: u32) -> bool {
        self.floods.keys().all(|node| self.knows(*node, key, group))
    }
}

fn settled(nodes: u64, seed: u64) -> Network {
    let mut network = Network::new(nodes, seed);
    for node in network.nodes() {
        network.fill(node, &basics());
    }
    network.link_all();
    network.run(3 * SECOND);
    assert!(network.is_converged());
    network
}

/// `count` prefixes, all delegated by the root group.
fn prefixes(count: usize) -> Vec<SignedRecord> {
    let record = |n| {
        prefix_record(
            format!("tenant:{n}:"),
            1,
            Some(1 + n as u32 % 2),
            1 + n as u64 % 3,
        )
    };
    (0..count).map(record).collect()
}

#[test]
fn a_new_record_reaches_fifty_nodes_in_less_than_two_seconds() {
    let mut network = settled(50, 1);
    network.delays_ms = 20..300;
    network.publish(NodeId(1), &prefix_record("eu:", 1, Some(1), 1));
    let start = network.now;
    while !network.all_know("eu:x", 1) {
        assert!(network.now - start < 2 * SECOND);
        network.run(TICK);
    }
    println!("{} ms", (network.now - start) / MS);
}

#[test]
fn a_new_record_reaches_fifty_nodes_on_a_sparse_network_whose_links_break() {
    for seed in 0..5 {
        let mut network = Network::new(50, seed);
        for node in network.nodes() {
            network.fill(node, &basics());
        }
        // Each node has links to the four behind it, and one far away.
        let nodes = network.nodes();
        for (index, node) in nodes.iter().enumerate() {
            let far = network.rng.usize(..nodes.len());
            for other in (1..=4).map(|n| (index + n) % nodes.len()).chain([far]) {
                network.link(*node, nodes[other]);
            }
        }
        network.run(2 * SECOND);
        let links: Vec<_> = network.links.iter().copied().collect();
        let record = prefix_record("eu:", 1, Some(1), 1);
        network.publish(NodeId(1), &record);
        for _ in 0..links.len() / 5 {
            let (a, b) = links[network.rng.usize(..links.len())];
            network.cut(a, b);
        }
        let start = network.now;
        while !network.all_know("eu:x", 1) {
            assert!(network.now - start < 2 * SECOND, "seed {seed}");
            network.run(TICK);
        }
    }
}

#[test]
fn partitions_heal_and_directories_converge() {
    for seed in 0..4 {
        let mut network = settled(20, seed);
        let nodes = network.nodes();
        let (left, right) = nodes.split_at(10);
        for (a, b) in left
            .iter()
            .flat_map(|a| right.iter().map(move |b| (*a, *b)))
        {
            network.cut(a, b);
        }
        // Both sides go on; root members are on the left, members of group 2 on both.
        for n in 0..100 {
            network.publish(left[0], &prefix_record(format!("l{n}:"), 1, Some(2), 1));
        }
        network.run(SECOND);
        assert!(left.iter().all(|node| network.knows(*node, "l7:x", 2)));
        assert!(right.iter().all(|node| network.knows(*node, "l7:x", 0)));
        let below = (0..100).map(|n| prefix_record(format!("l{n}:x:"), 1, Some(1), 8));
        below.for_each(|record| network.publish(right[1], &record));
        network.run(SECOND);
        network.link_all();
        let took = network.converge(10 * SECOND).expect("directories converge");
        println!("seed {seed}: {} ms after the partition", took / MS);
        assert!(network.all_know("l7:x", 2));
        assert!(
            network.all_know("l7:x:y", 1),
            "what had waited for the other side"
        );
    }
}

#[test]
fn directories_converge_while_links_flap() {
    for seed in 0..4 {
        let mut network = settled(12, seed);
        let nodes = network.nodes();
        for n in 0..200u64 {
            let [a, b] = [0; 2].map(|_| nodes[network.rng.usize(..nodes.len())]);
            if network.rng.bool() {
                network.cut(a, b)
            } else {
                network.link(a, b)
            }
            let author = 1 + n % 3;
            let (name, epoch) = (format!("p{}:", n % 20), n + 1);
            let group = [None, Some(0), Some(1), Some(2)][network.rng.usize(..4)];
            network.publish(NodeId(author), &prefix_record(name, epoch, group, author));
            let pause = network.rng.u64(1..100);
            network.run(pause * MS);
        }
        network.link_all();
        let took = network.converge(10 * SECOND).expect("directories converge");
        println!("seed {seed}: {} ms after the last fault", took / MS);
    }
}

/// The checker above would notice a flood that never compares.
#[test]
fn without_comparing_directories_do_not_converge() {
    let mut network = settled(12, 1);
    network.never_compares = true;
    let others: Vec<_> = network.nodes()[1..].to_vec();
    others.iter().for_each(|node| network.cut(NodeId(1), *node));
    network.publish(NodeId(1), &prefix_record("eu:", 1, Some(1), 1));
    // The link comes up without the comparison that belongs to it.
    network
        .floods
        .get_mut(&NodeId(2))
        .unwrap()
        .peers
        .insert(NodeId(1), Peer::default());
    network
        .floods
        .get_mut(&NodeId(1))
        .unwrap()
        .peers
        .insert(NodeId(2), Peer::default());
    assert_eq!(network.converge(20 * SECOND), None);
}

#[test]
fn forged_and_replayed_records_do_not_spread() {
    let mut network = settled(10, 3);
    network.publish(NodeId(1), &prefix_record("eu:", 2, Some(1), 1));
    network.run(2 * SECOND);
    let roots = network.roots();
    let forged = prefix_record("eu:", 9, Some(2), 7);
    let replayed = prefix_record("eu:", 1, Some(2), 1);
    let bad_signature = {
        let mut bytes = prefix_record("eu:", 9, Some(2), 1).bytes().to_vec();
        *bytes.last_mut().unwrap() ^= 1;
        Bytes::from(bytes)
    };
    let records = vec![
        forged.bytes().clone(),
        replayed.bytes().clone(),
        bad_signature,
    ];
    let message = Message::Records(records).encode();
    for node in network.nodes() {
        network
            .floods
            .get_mut(&node)
            .unwrap()
            .receive(NodeId(10), &message);
        network.send_all(node);
    }
    network.run(60 * SECOND);
    assert_eq!(network.roots(), roots);
    for node in network.nodes().into_iter().take(9) {
        let counters = network.floods[&node].directory.counters();
        assert_eq!(counters.stale, 1);
        assert_eq!(counters.waiting, 0);
        assert_eq!(counters.refused_for(Refusal::Author), 1);
        // Whose last bits are changed may not decode as a point of the curve; both are refused.
        assert_eq!(counters.refused_for(Refusal::Signature), 1);
    }
}

#[test]
fn idle_traffic_does_not_depend_on_the_number_of_records() {
    let idle = |count| {
        let mut network = Network::new(2, 5);
        let records = [basics(), prefixes(count)].concat();
        for node in network.nodes() {
            network.fill(node, &records);
        }
        network.link_all();
        network.run(2 * SECOND);
        let before = (network.sent, network.sent_bytes);
        network.run(60 * SECOND);
        (network.sent - before.0, network.sent_bytes - before.1)
    };
    let (few, many) = (idle(10), idle(3_000));
    assert_eq!(few, many);
    println!("{} messages, {} bytes a minute for two nodes", few.0, few.1);
    assert_eq!(few.0, 120, "one message a second and node");
}

/// A node that joins pulls all records from one of the others, and hardly talks to the rest.
fn join(count: usize) {
    let records = [basics(), prefixes(count)].concat();
    let mut network = Network::new(3, 9);
    for node in network.nodes() {
        network.fill(node, &records);
    }
    network.link_all();
    network.run(2 * SECOND);
    let (sent, sent_bytes) = (network.sent, network.sent_bytes);
    let (started, start) = (Instant::now(), network.now);
    network.add(4);
    network.link_all();
    network.converge(60 * SECOND).expect("the joiner has all");
    println!(
        "{count} prefixes: {} messages, {} bytes, {} ms simulated, {:?} of work",
        network.sent - sent,
        network.sent_bytes - sent_bytes,
        (network.now - start) / MS,
        started.elapsed(),
    );
    let total: usize = records.iter().map(|record| record.bytes().len() + 2).sum();
    let bytes = (network.sent_bytes - sent_bytes) as usize;
    assert!(
        bytes < total + total / 10 + 100_000,
        "{bytes} bytes for {total} of records"
    );
    assert_eq!(
        network.floods[&NodeId(4)].directory.counters().refused,
        [0; Refusal::ALL.len()]
    );
}

#[test]
fn a_joiner_gets_everything_once() {
    join(3_000);
}

/// Takes a while without optimization; prints what it took.
#[test]
#[ignore = "slow"]
fn a_joiner_gets_a_hundred_thousand_prefixes() {
    join(100_000);
}

#[test]
fn a_joiner_whose_peer_dies_goes_on_with_another() {
    let records = [basics(), prefixes(5_000)].concat();
    let mut network = Network::new(3, 2);
    for node in network.nodes() {
        network.fill(node, &records);
    }
    network.link_all();
    network.add(4);
    network.link(NodeId(4), NodeId(1));
    while network.floods[&NodeId(4)].directory.counters().records < 1_000 {
        network.run(TICK);
    }
    network.cut(NodeId(4), NodeId(1));
    network.link(NodeId(4), NodeId(2));
    network.converge(20 * SECOND).expect("the joiner has all");
}

#[test]
fn a_peer_that_does_not_answer_is_given_up() {
    let mut network = settled(3, 2);
    let now = network.now;
    // Node 9 says that it differs, and nothing more.
    let flood = network.floods.get_mut(&NodeId(1)).unwrap();
    flood.link_up(NodeId(9));
    flood.receive(
        NodeId(9),
        &Message::Branches(50, Box::new([1; 256])).encode(),
    );
    assert_eq!(flood.repairing, Some(NodeId(9)));
    flood.tick(now + ANSWER_TIMEOUT_NS + 1, 0);
    assert_eq!(flood.repairing, None);
}

#[test]
fn a_queue_that_is_full_is_made_up_for_by_comparing() {
    let mut network = settled(2, 4);
    // More than a queue holds, before anything is sent.
    let records =
        (0..800).map(|n| prefix_record(format!("{n}:{}", "x".repeat(900)), 1, Some(1), 1));
    let more = (0..800).map(|n| prefix_record(format!("{n}:{}", "y".repeat(900)), 1, Some(1), 1));
    let flood = network.floods.get_mut(&NodeId(1)).unwrap();
    records
        .chain(more)
        .for_each(|record| assert_eq!(flood.publish(&record), Outcome::Fresh));
    assert!(flood.counters().overflowed > 0);
    network.send_all(NodeId(1));
    network.converge(20 * SECOND).expect("directories converge");
}

#[test]
fn orphans_are_adopted_and_spread() {
    let mut network = settled(9, 6);
    network.publish(NodeId(1), &prefix_record("eu:", 1, Some(1), 1));
    network.publish(NodeId(4), &prefix_record("eu:x:", 1, Some(2), 4));
    network.run(SECOND);
    network.publish(NodeId(1), &prefix_record("eu:", 2, Some(2), 1));
    network.run(SECOND);
    let flood = network.floods.get_mut(&NodeId(7)).unwrap();
    assert_eq!(
        flood.adopt_orphans(member(7), &key(7), &[GroupId(2)]),
        Ok(1)
    );
    network.send_all(NodeId(7));
    network.converge(5 * SECOND).expect("directories converge");
    network.run(SECOND);
    for flood in network.floods.values() {
        assert_eq!(flood.directory.counters().orphans, 0);
    }
}

#[test]
fn noise_is_counted_and_does_no_harm() {
    let mut network = settled(3, 8);
    let roots = network.roots();
    let flood = network.floods.get_mut(&NodeId(1)).unwrap();
    let mut rng = fastrand::Rng::with_seed(8);
    let before = flood.counters().refused;
    for _ in 0..2_000 {
        let mut bytes = vec![FLOOD_VERSION, rng.u8(0..12)];
        let len = rng.usize(..300);
        bytes.extend((0..len).map(|_| rng.u8(..)));
        flood.receive(NodeId(2), &bytes.into());
        flood.take_messages();
    }
    assert!(flood.counters().refused > before);
    flood.receive(NodeId(77), &Message::Compare(1).encode());
    assert!(
        flood.take_messages().is_empty(),
        "no answer for one without a link"
    );
    network.run(30 * SECOND);
    assert_eq!(network.roots(), roots);
}
