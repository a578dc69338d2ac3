//! Gossip of several nodes on a simulated clock and network.

use bailiwick_replication::GroupId;

use super::*;
use crate::directory::testing::key;

const SECOND: u64 = 1_000_000_000;
const TICK: u64 = SECOND / 10;

struct Network {
    nodes: BTreeMap<NodeId, Gossip>,
    now_ns: u64,
    /// Nodes that nothing reaches and that reach nobody.
    isolated: BTreeSet<NodeId>,
    bytes: u64,
    rng: fastrand::Rng,
}

fn facts(node: u64) -> NodeFacts {
    NodeFacts {
        region: ["eu", "us"][node as usize % 2].to_owned(),
        client: format!("host{node}:6379"),
        cluster: String::new(),
        peer: format!("host{node}:7379"),
        key: key(node).public(),
        disk: 1000 + node,
        seats: vec![],
        directory: 0,
    }
}

impl Network {
    fn new(nodes: u64, seed: u64) -> Self {
        let mut network = Self {
            nodes: BTreeMap::new(),
            now_ns: SECOND,
            isolated: BTreeSet::new(),
            bytes: 0,
            rng: fastrand::Rng::with_seed(seed),
        };
        (1..=nodes).for_each(|node| network.start(node, 1));
        network
    }

    /// Starts a node, with links to all others.
    fn start(&mut self, node: u64, incarnation: u64) {
        let forget_after_ns = 600 * SECOND;
        let config = GossipConfig {
            forget_after_ns,
            ..GossipConfig::new(NodeId(node), incarnation)
        };
        let gossip = Gossip::new(config, facts(node), self.now_ns);
        self.nodes.insert(NodeId(node), gossip);
        let others: Vec<NodeId> = self.nodes.keys().copied().filter(|n| n.0 != node).collect();
        for other in others {
            self.get(node).link_up(other);
            self.get(other.0).link_up(NodeId(node));
        }
    }

    fn get(&mut self, node: u64) -> &mut Gossip {
        self.nodes.get_mut(&NodeId(node)).unwrap()
    }

    fn run(&mut self, duration_ns: u64) {
        let end = self.now_ns + duration_ns;
        while self.now_ns < end {
            self.now_ns += TICK;
            for gossip in self.nodes.values_mut() {
                gossip.tick(self.now_ns, self.rng.u64(..));
            }
            while self.deliver() {}
        }
    }

    fn deliver(&mut self) -> bool {
        let take = |(from, gossip): (&NodeId, &mut Gossip)| {
            let messages = gossip.take_messages().into_iter();
            messages
                .map(|(to, bytes)| (*from, to, bytes))
                .collect::<Vec<_>>()
        };
        let messages: Vec<_> = self.nodes.iter_mut().flat_map(take).collect();
        for (from, to, bytes) in &messages {
            assert!(bytes.len() <= MESSAGE_BYTES_MAX);
            self.bytes += bytes.len() as u64;
            if !self.isolated.contains(from)
                && !self.isolated.contains(to)
                && let Some(gossip) = self.nodes.get_mut(to)
            {
                gossip.receive(*from, bytes);
            }
        }
        !messages.is_empty()
    }

    fn status(&self, of: u64, at: u64) -> MemberStatus {
        let members = self.nodes[&NodeId(at)].members();
        members
            .into_iter()
            .find(|status| status.node == NodeId(of))
            .unwrap()
    }

    fn is_alive(&self, of: u64, at: u64) -> bool {
        self.status(of, at).liveness == Liveness::Alive
    }

    /// Who leads group 4 for each node that knows.
    fn leaders(&self) -> Vec<u64> {
        let leader = |gossip: &Gossip| {
            let roll = Roll::default().next(gossip.alive(), 1);
            Some(roll.leader(GroupId(4))?.node.0)
        };
        self.nodes.values().filter_map(leader).collect()
    }

    fn lead(&mut self, node: u64, leadership: Option<u64>) {
        let seats = vec![Seat {
            group: GroupId(4),
            leads_since: leadership,
        }];
        self.get(node).publish(NodeFacts {
            seats,
            ..facts(node)
        });
    }
}

#[test]
fn all_nodes_learn_of_all_and_what_they_say_of_themselves() {
    let mut network = Network::new(50, 1);
    network.run(10 * SECOND);
    for gossip in network.nodes.values() {
        let members = gossip.members();
        assert_eq!(members.len(), 50);
        for status in members {
            assert_eq!(status.facts, facts(status.node.0));
            assert!(
                status.liveness == Liveness::Alive && status.suspicion < SUSPICION_MAX,
                "{status:?}"
            );
        }
    }
    let seats = vec![Seat {
        group: GroupId(4),
        leads_since: Some(3),
    }];
    let changed = NodeFacts {
        seats,
        directory: 77,
        ..facts(5)
    };
    network.get(5).publish(changed.clone());
    network.run(4 * SECOND);
    for at in 1..=50 {
        assert_eq!(network.status(5, at).facts, changed);
    }
}

#[test]
fn a_new_leader_is_known_to_fifty_nodes_in_less_than_two_seconds() {
    let mut network = Network::new(50, 11);
    network.lead(5, Some(1));
    network.run(10 * SECOND);
    assert_eq!(network.leaders(), [5; 50]);
    // The one before is gone, and says nothing any more.
    network.isolated.insert(NodeId(5));
    network.lead(6, Some(2));
    let start = network.now_ns;
    while network
        .leaders()
        .iter()
        .filter(|leader| **leader == 6)
        .count()
        < 49
    {
        assert!(network.now_ns - start < 2 * SECOND);
        network.run(TICK);
    }
    // When it comes back it hears that it was replaced, and nobody believes it any more.
    network.isolated.clear();
    network.run(2 * SECOND);
    assert_eq!(network.leaders(), [6; 50]);
}

#[test]
fn a_silent_node_becomes_suspicious_then_dead_and_recovers() {
    let mut network = Network::new(9, 2);
    network.run(120 * SECOND);
    network.isolated.insert(NodeId(9));
    network.run(2 * SECOND);
    let early = network.status(9, 1);
    assert!(network.is_alive(9, 1), "{early:?}");
    network.run(8 * SECOND);
    for at in 1..9 {
        let late = network.status(9, at);
        assert_eq!(late.liveness, Liveness::Suspect, "{late:?}");
        assert!(late.suspicion > early.suspicion, "{late:?}");
        assert!((7_000..11_000).contains(&late.silent_ms), "{late:?}");
        assert!(late.liveness_ms < late.silent_ms, "{late:?}");
        assert!((1..9).all(|of| network.is_alive(of, at)));
    }
    network.run(60 * SECOND);
    for at in 1..9 {
        let gone = network.status(9, at);
        assert_eq!(gone.liveness, Liveness::Dead, "{gone:?}");
        assert!((1..60_000).contains(&gone.liveness_ms), "{gone:?}");
    }
    network.isolated.clear();
    network.run(5 * SECOND);
    assert!((1..9).all(|at| network.is_alive(9, at)));
    assert!(network.status(9, 1).liveness_ms < 5_000);
}

#[test]
fn steady_nodes_are_not_suspected_in_an_hour() {
    let mut network = Network::new(5, 3);
    network.run(30 * SECOND);
    for _ in 0..3_600 {
        network.run(SECOND);
        assert!((1..=5).all(|at| (1..=5).all(|of| network.is_alive(of, at))));
    }
}

#[test]
fn a_node_that_was_started_again_is_told_once_and_in_its_latest_life() {
    let mut network = Network::new(4, 4);
    network.run(10 * SECOND);
    network.start(4, 2);
    network.get(4).publish(NodeFacts {
        disk: 5,
        ..facts(4)
    });
    network.run(10 * SECOND);
    for at in 1..=4 {
        let status = network.status(4, at);
        assert_eq!((status.incarnation, status.facts.disk), (2, 5));
        assert!(network.is_alive(4, at));
        assert_eq!(network.nodes[&NodeId(at)].members().len(), 4);
    }
}

#[test]
fn who_is_gone_is_forgotten_by_all_and_newcomers_do_not_bring_it_back() {
    let mut network = Network::new(4, 5);
    network.run(20 * SECOND);
    network.nodes.remove(&NodeId(4));
    network.run(200 * SECOND);
    assert!(!network.is_alive(4, 1));
    network.start(5, 1);
    network.run(5 * SECOND);
    assert!(
        !network.is_alive(4, 5),
        "a dead node that one has only heard of"
    );
    network.run(1_500 * SECOND);
    for gossip in network.nodes.values() {
        assert!(
            gossip
                .members()
                .iter()
                .all(|status| status.node != NodeId(4))
        );
    }
    network.start(4, 2);
    network.run(5 * SECOND);
    assert!((1..4).all(|at| network.is_alive(4, at)));
}

#[test]
fn more_nodes_than_there_is_room_for_are_counted() {
    let mut network = Network::new(2, 6);
    let life = Life {
        incarnation: 1,
        heartbeat: 1,
    };
    for chunk in 0..5 {
        let nodes = (0..1000).map(|n| NodeId(100 + chunk * 1000 + n));
        let news = nodes
            .map(|node| {
                (
                    Summary {
                        node,
                        life,
                        version: 1,
                    },
                    facts(1),
                )
            })
            .collect();
        let message = Message::Answer {
            news,
            wanted: vec![],
        };
        network.get(1).receive(NodeId(2), &message.encode());
    }
    assert_eq!(network.get(1).members().len(), NODES_MAX);
    assert_eq!(
        network.get(1).counters().overflowed,
        5_000 - (NODES_MAX as u64 - 1)
    );
}

#[test]
fn noise_is_counted_and_does_no_harm() {
    let mut network = Network::new(3, 7);
    network.run(5 * SECOND);
    let mut rng = fastrand::Rng::with_seed(7);
    let real = Message::Tell(
        network
            .get(2)
            .told()
            .map(|(node, known)| known.summary(*node))
            .collect(),
    );
    for _ in 0..5_000 {
        let mut bytes = real.encode().to_vec();
        let at = rng.usize(..bytes.len());
        match rng.u8(0..3) {
            0 => bytes.truncate(at),
            1 => bytes[at] = rng.u8(..),
            _ => bytes[2..].fill_with(|| rng.u8(..)),
        }
        network.get(1).receive(NodeId(2), &bytes.into());
        network.get(1).take_messages();
    }
    assert!(network.get(1).counters().refused > 1_000);
    network.get(1).receive(NodeId(77), &real.encode());
    assert!(
        network.get(1).take_messages().is_empty(),
        "no answer for one without a link"
    );
}

#[test]
fn what_others_say_of_oneself_is_not_believed() {
    let mut network = Network::new(2, 8);
    network.run(2 * SECOND);
    let life = Life {
        incarnation: 9,
        heartbeat: 9,
    };
    let lie = (
        Summary {
            node: NodeId(1),
            life,
            version: 9,
        },
        facts(2),
    );
    let message = Message::Answer {
        news: vec![lie],
        wanted: vec![],
    };
    network.get(1).receive(NodeId(2), &message.encode());
    let status = network.status(1, 1);
    assert_eq!((status.incarnation, status.facts), (1, facts(1)));
}

#[test]
fn traffic_grows_with_nodes_and_not_with_what_they_say() {
    let mut network = Network::new(10, 9);
    for node in 1..=10 {
        let seat = |group| Seat {
            group: GroupId(group),
            leads_since: None,
        };
        network.get(node).publish(NodeFacts {
            seats: (0..1000).map(seat).collect(),
            ..facts(node)
        });
    }
    network.run(20 * SECOND);
    let before = network.bytes;
    network.run(60 * SECOND);
    let each = (network.bytes - before) / 60 / 10;
    println!("{each} bytes a second and node");
    assert!(each < 2_000);
}
