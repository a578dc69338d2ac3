//! The simulated network: connections with delay, one queue for each class and direction, and what
//! arrives although its connection is long gone.

use super::*;

/// Messages in flight, with the times at which they arrive.
pub(super) type Queue = VecDeque<(u64, Outgoing)>;

/// Messages of a direction that are remembered, to come again.
const REMEMBERED: usize = 12;
/// Messages that may come late, in number.
const MAX_LATE: usize = 64;

/// Which directions a cut takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    OneWay,
    Both,
}

/// The network.
#[derive(Default)]
pub(super) struct Network {
    queues: BTreeMap<(u64, u64, Class), Queue>,
    cut: BTreeSet<(u64, u64)>,
    late: Vec<(u64, u64, Outgoing)>,
    /// Late ones whose time is set.
    echoes: Vec<(u64, u64, u64, Outgoing)>,
    history: BTreeMap<(u64, u64), VecDeque<Outgoing>>,
}

impl Sim {
    pub(super) fn is_up(&self, a: u64, b: u64) -> bool {
        let cut = &self.network.cut;
        let is_cut = cut.contains(&(a, b)) || cut.contains(&(b, a));
        self.nodes[&a].is_some() && self.nodes[&b].is_some() && !is_cut
    }

    pub(super) fn link_all(&mut self) {
        self.network.cut.clear();
        for a in 1..=NODES {
            for b in 1..a {
                self.link(a, b);
            }
        }
    }

    pub(super) fn cut(&mut self, a: u64, b: u64, kind: Cut) {
        self.network.cut.insert((a, b));
        if kind == Cut::Both {
            self.network.cut.insert((b, a));
        }
        self.unlink(a, b);
    }

    pub(super) fn heal(&mut self, a: u64, b: u64) {
        if self.network.cut.remove(&(a, b)) {
            self.network.cut.remove(&(b, a));
            self.link(a, b);
        }
    }

    /// Between these nodes only these links stay or come up.
    pub(super) fn keep_links(&mut self, links: &[(u64, u64)], nodes: &[u64]) {
        for &a in nodes {
            for &b in nodes.iter().filter(|b| **b > a) {
                let is_kept = links.contains(&(a, b)) || links.contains(&(b, a));
                if !is_kept && self.is_up(a, b) {
                    self.cut(a, b, Cut::Both);
                } else if !is_kept {
                    self.network.cut.insert((a, b));
                    self.network.cut.insert((b, a));
                } else {
                    self.heal(a, b);
                }
            }
        }
    }

    /// A new connection between two nodes. Some of what was sent before comes on it later, or
    /// again.
    pub(super) fn link(&mut self, a: u64, b: u64) {
        self.unlink(a, b);
        if !self.is_up(a, b) {
            return;
        }
        for (x, y) in [(a, b), (b, a)] {
            if let Some(node) = self.nodes.get_mut(&x).unwrap() {
                node.replica.link_up(NodeId(y));
            }
            self.echo(x, y);
        }
    }

    pub(super) fn unlink(&mut self, a: u64, b: u64) {
        self.drop_in_flight(a, b);
        self.drop_in_flight(b, a);
    }

    /// What is on the way is lost, or comes late.
    pub(super) fn drop_in_flight(&mut self, from: u64, to: u64) {
        for class in Class::ALL {
            let queue = self.network.queues.remove(&(from, to, class));
            for (_, message) in queue.unwrap_or_default() {
                let has_room = self.network.late.len() < MAX_LATE;
                if self.faults && has_room && self.rng.one_in(self.rates.late) {
                    self.network.late.push((from, to, message));
                }
            }
        }
    }

    /// Messages of before a reconnection arrive within the first round trips after it, where they
    /// do most harm.
    fn echo(&mut self, from: u64, to: u64) {
        if !self.faults {
            return;
        }
        for _ in 0..self.rng.below(self.rates.echoes + 1) {
            let Some(history) = self.network.history.get(&(from, to)) else {
                return;
            };
            let at = self.rng.below(history.len() as u64) as usize;
            if let Some(message) = history.get(at).cloned() {
                let at = self.now + self.rng.below(15 * MS);
                self.network.echoes.push((at, from, to, message));
            }
        }
    }

    pub(super) fn send(&mut self, from: u64, messages: Vec<Outgoing>) {
        for message in messages {
            let to = message.to.0;
            if self.nodes[&to].is_none() || self.network.cut.contains(&(from, to)) {
                continue;
            }
            let delay = MS / 2 + self.rng.below(4 * MS);
            if message.class != Class::Urgent {
                let history = self.network.history.entry((from, to)).or_default();
                history.push_back(message.clone());
                if history.len() > REMEMBERED {
                    history.pop_front();
                }
            }
            let key = (from, to, message.class);
            let queue = self.network.queues.entry(key).or_default();
            queue.push_back((self.now + delay, message));
        }
    }

    /// Hands a node what has arrived.
    pub(super) fn deliver_all(&mut self, id: u64) {
        for from in 1..=NODES {
            for class in Class::ALL {
                while let Some(queue) = self.network.queues.get_mut(&(from, id, class))
                    && queue.front().is_some_and(|(at, _)| *at <= self.now)
                {
                    let (_, message) = queue.pop_front().unwrap();
                    self.deliver(from, id, &message);
                }
            }
        }
    }

    pub(super) fn deliver_late(&mut self) {
        let now = self.now;
        let due = self.network.echoes.extract_if(.., |(at, ..)| *at <= now);
        for (_, from, to, message) in due.collect::<Vec<_>>() {
            self.deliver(from, to, &message);
        }
        if !self.network.late.is_empty() && self.rng.one_in(10) {
            let at = self.rng.below(self.network.late.len() as u64) as usize;
            let (from, to, message) = self.network.late[at].clone();
            if self.rng.one_in(2) {
                self.network.late.swap_remove(at);
            }
            self.deliver(from, to, &message);
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
}
