//! The network: links between nodes as the real ones behave, on connections that can be cut.
//!
//! Between two nodes there is at most one session. Within it, messages of a class arrive in order
//! and once, after a delay. A cut in one direction holds messages up; if it is healed soon they
//! arrive late, otherwise both sides notice, each in its time, that the session is over: what was
//! delivered until then is a prefix, and a new session begins when both have noticed.
//!
//! Harsher than the real links: if the plan says so, some of what was lost arrives after all, later
//! and possibly twice.

use std::collections::{BTreeMap, VecDeque};

use bailiwick::group::NODE_SERVICES;
use bailiwick_replication::link::{Class, Frame};
use fastrand::Rng;

use super::MS;

/// The soonest and the latest that silence is noticed.
const NOTICED_NS: std::ops::Range<u64> = 200 * MS..800 * MS;
/// Messages that may arrive late at most.
const MAX_LATE: usize = 64;

/// Something that happens to a link at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Event {
    /// Messages arrive.
    Deliver { from: u64, to: u64, class: Class },
    /// What was in flight when a link broke arrives after all.
    DeliverLate,
    /// Two nodes try to link up.
    Connect { a: u64, b: u64 },
    /// A session breaks, for both sides.
    Break { a: u64, b: u64, session: u64 },
    /// A cut lasts so long that the session across it is given up, unless it is healed by now.
    CutNoticed { from: u64, to: u64, cut: u64 },
    /// One side notices that its session is over.
    Down { node: u64, peer: u64, session: u64 },
    /// A cut is healed.
    Heal { from: u64, to: u64, cut: u64 },
}

/// What the network needs of the world that it is in.
pub(super) trait Site {
    fn network(&mut self) -> &mut Network;
    fn rng(&mut self) -> &mut Rng;
    /// The time, in nanoseconds.
    fn now(&self) -> u64;
    /// Plans an event.
    fn plan_link(&mut self, at: u64, event: Event);
    /// Nodes are numbered from 1 to this.
    fn node_count(&self) -> u64;
    /// The most that a message travels, in nanoseconds.
    fn delay_ns(&self) -> u64;
    /// What was in flight when a link broke may come later, or twice.
    fn has_late_messages(&self) -> bool;
    /// Whether a node can answer.
    fn is_up(&self, node: u64) -> bool;
    /// The session that a node has with another one, as far as its process knows.
    fn session(&self, node: u64, peer: u64) -> Option<u64>;
    /// A node hears of a new session.
    fn hear_up(&mut self, node: u64, peer: u64, session: u64);
    /// A node hears that a session is over.
    fn hear_down(&mut self, node: u64, peer: u64, session: u64);
    /// A message arrives.
    fn hear(&mut self, from: u64, to: u64, frame: Frame);
}

/// All links.
#[derive(Default)]
pub(super) struct Network {
    links: BTreeMap<(u64, u64), Link>,
    /// Directions that are cut, with the number of the cut.
    pub(super) cuts: BTreeMap<(u64, u64), u64>,
    last_cut: u64,
    late: Vec<(u64, u64, Frame)>,
}

/// Messages on their way, with their times of arrival.
type Queue = VecDeque<(u64, Frame)>;

/// Two nodes.
#[derive(Default)]
struct Link {
    session: u64,
    /// Which of the two believe that the session stands.
    up: [bool; 2],
    is_broken: bool,
    queues: BTreeMap<(u64, Class), Queue>,
}

impl Network {
    fn link(&mut self, a: u64, b: u64) -> &mut Link {
        self.links.entry((a.min(b), a.max(b))).or_default()
    }

    pub(super) fn is_cut(&self, from: u64, to: u64) -> bool {
        self.cuts.contains_key(&(from, to))
    }

    /// A directory that was emptied is somebody else: nothing reaches or leaves the old one.
    pub(super) fn forget_late(&mut self, node: u64) {
        self.late
            .retain(|(from, to, _)| *from != node && *to != node);
    }
}

/// Which side of a link a node is.
fn side(node: u64, peer: u64) -> usize {
    usize::from(node > peer)
}

/// The network at work.
pub(super) trait Links: Site {
    /// Something happens to a link.
    fn link_event(&mut self, event: Event) {
        match event {
            Event::Deliver { from, to, class } => self.deliver(from, to, class),
            Event::DeliverLate => self.deliver_late(),
            Event::Connect { a, b } => self.connect(a, b),
            Event::Break { a, b, session } => self.break_link(a, b, session),
            Event::CutNoticed { from, to, cut } => self.notice_cut(from, to, cut),
            Event::Down {
                node,
                peer,
                session,
            } => self.link_down(node, peer, session),
            Event::Heal { from, to, cut } => self.heal(from, to, cut),
        }
    }

    fn connect(&mut self, a: u64, b: u64) {
        let is_cut = self.network().is_cut(a, b) || self.network().is_cut(b, a);
        let is_able = self.is_up(a) && self.is_up(b) && !is_cut;
        let link = self.network().link(a, b);
        if link.up != [false; 2] {
            return;
        }
        if !is_able {
            let at = self.now() + self.rng().u64(20..60) * MS;
            return self.plan_link(at, Event::Connect { a, b });
        }
        link.session += 1;
        let session = link.session;
        link.up = [true; 2];
        link.is_broken = false;
        link.queues.clear();
        for (node, peer) in [(a, b), (b, a)] {
            self.hear_up(node, peer, session);
        }
    }

    /// Sends in a session, unless it is over.
    fn send_frame(&mut self, from: u64, to: u64, frame: Frame) {
        let Some(session) = self.session(from, to) else {
            return;
        };
        let (now, most) = (self.now(), self.delay_ns());
        let delay = MS / 10 + self.rng().u64(..most);
        let link = self.network().link(from, to);
        if link.session != session || link.is_broken || !link.up[side(from, to)] {
            return;
        }
        let class = frame.class;
        let queue = link.queues.entry((from, class)).or_default();
        let last = queue.back().map_or(0, |(at, _)| *at);
        let at = last.max(now + delay);
        queue.push_back((at, frame));
        self.plan_link(at, Event::Deliver { from, to, class });
    }

    /// Messages that have arrived by now go to the receiver's thread.
    fn deliver(&mut self, from: u64, to: u64, class: Class) {
        if self.network().is_cut(from, to) {
            return;
        }
        let now = self.now();
        let link = self.network().link(from, to);
        if link.is_broken {
            return;
        }
        let Some(queue) = link.queues.get_mut(&(from, class)) else {
            return;
        };
        let due = queue.partition_point(|(at, _)| *at <= now);
        let arrived: Vec<_> = queue.drain(..due).collect();
        for (_, message) in arrived {
            self.hear(from, to, message);
        }
    }

    fn deliver_late(&mut self) {
        let late = self.network().late.len();
        if late == 0 {
            return;
        }
        let at = self.rng().usize(..late);
        // Beside groups nobody has to bear that something comes twice, which no link does.
        let is_service = self.network().late[at].2.group == NODE_SERVICES;
        let (from, to, message) = if self.rng().bool() || is_service {
            self.network().late.swap_remove(at)
        } else {
            self.network().late[at].clone()
        };
        // Whoever has no session with the sender at all has never heard of it.
        if self.session(to, from).is_some() {
            self.hear(from, to, message);
        }
    }

    /// Ends a session. What was in flight arrives up to some message, the rest does not.
    fn break_link(&mut self, a: u64, b: u64, session: u64) {
        let link = self.network().link(a, b);
        if link.session != session || link.is_broken || link.up == [false; 2] {
            return;
        }
        link.is_broken = true;
        let queues = std::mem::take(&mut link.queues);
        for ((from, _), mut queue) in queues {
            let to = if from == a { b } else { a };
            let is_cut = self.network().is_cut(from, to);
            let arrives = if is_cut {
                0
            } else {
                self.rng().usize(..=queue.len())
            };
            let lost = queue.split_off(arrives);
            for (_, message) in queue {
                self.hear(from, to, message);
            }
            for (_, message) in lost {
                if self.has_late_messages()
                    && self.rng().u32(..8) == 0
                    && self.network().late.len() < MAX_LATE
                {
                    self.network().late.push((from, to, message));
                    let at = self.now() + self.rng().u64(..400) * MS;
                    self.plan_link(at, Event::DeliverLate);
                }
            }
        }
        for (node, peer) in [(a, b), (b, a)] {
            let at = self.now() + self.rng().u64(..50) * MS;
            self.plan_link(
                at,
                Event::Down {
                    node,
                    peer,
                    session,
                },
            );
        }
    }

    /// One of all nodes, at random.
    fn any_node(&mut self) -> u64 {
        let nodes = self.node_count();
        self.rng().u64(1..=nodes)
    }

    /// Breaks the session of a node with another one, chosen at random.
    fn reconnect(&mut self, node: u64) {
        let peer = self.any_node();
        if node != peer {
            self.break_present(node, peer);
        }
    }

    /// Breaks whatever session two nodes have.
    fn break_present(&mut self, a: u64, b: u64) {
        let session = self.network().link(a, b).session;
        self.break_link(a, b, session);
    }

    /// One side notices the end of its session; when both have, a new one may begin.
    fn link_down(&mut self, node: u64, peer: u64, session: u64) {
        let link = self.network().link(node, peer);
        let at = side(node, peer);
        if link.session != session || !link.up[at] {
            return;
        }
        link.up[at] = false;
        let both = link.up == [false; 2];
        self.hear_down(node, peer, session);
        if both {
            let (a, b) = (node.min(peer), node.max(peer));
            let at = self.now() + self.rng().u64(1..60) * MS;
            self.plan_link(at, Event::Connect { a, b });
        }
    }

    /// A node has crashed: the others notice at once, or after a silence.
    fn unlink(&mut self, node: u64) {
        for peer in 1..=self.node_count() {
            if peer == node {
                continue;
            }
            let session = self.network().link(node, peer).session;
            self.break_link(node, peer, session);
            self.link_down(node, peer, session);
        }
    }

    /// Cuts one direction for a while.
    fn cut(&mut self, from: u64, to: u64, for_ns: u64) {
        self.network().last_cut += 1;
        let cut = self.network().last_cut;
        self.network().cuts.insert((from, to), cut);
        let noticed = self.now() + self.rng().u64(NOTICED_NS);
        self.plan_link(noticed, Event::CutNoticed { from, to, cut });
        let healed = self.now() + for_ns;
        self.plan_link(healed, Event::Heal { from, to, cut });
    }

    /// How long a cut lasts.
    fn cut_for_ns(&mut self) -> u64 {
        let longest = [100, 800, 3000][self.rng().usize(..3)];
        self.rng().u64(10..longest) * MS
    }

    /// Cuts a link, in one direction or both.
    fn cut_something(&mut self) {
        let (from, to) = (self.any_node(), self.any_node());
        if from == to {
            return;
        }
        let for_ns = self.cut_for_ns();
        self.cut(from, to, for_ns);
        if self.rng().bool() {
            self.cut(to, from, for_ns);
        }
    }

    /// Many links at once: a node by itself, two halves, a hub (only one node sees the others:
    /// quorum loss), a chain, or a leader that only loses contact in part (constrained election).
    fn partition(&mut self) {
        let for_ns = self.cut_for_ns() + 200 * MS;
        let nodes = self.node_count();
        let hub = self.rng().u64(1..=nodes);
        let halves = self.rng().u64(..);
        let shape = self.rng().u32(..4);
        for a in 1..=nodes {
            for b in a + 1..=nodes {
                let is_cut = match shape {
                    0 => a == hub || b == hub,
                    1 => a != hub && b != hub,
                    2 => b != a + 1,
                    _ => (halves >> a) & 1 != (halves >> b) & 1,
                };
                if is_cut {
                    self.cut(a, b, for_ns);
                    self.cut(b, a, for_ns);
                }
            }
        }
    }

    fn notice_cut(&mut self, from: u64, to: u64, cut: u64) {
        if self.network().cuts.get(&(from, to)) == Some(&cut) {
            self.break_present(from, to);
        }
    }

    /// Heals a cut; what it held up arrives.
    fn heal(&mut self, from: u64, to: u64, cut: u64) {
        if self.network().cuts.get(&(from, to)) != Some(&cut) {
            return;
        }
        self.network().cuts.remove(&(from, to));
        for class in Class::ALL {
            self.deliver(from, to, class);
        }
    }

    /// Heals everything.
    fn heal_all(&mut self) {
        let cuts: Vec<_> = self.network().cuts.iter().map(|(k, v)| (*k, *v)).collect();
        for ((from, to), cut) in cuts {
            self.heal(from, to, cut);
        }
        self.network().late.clear();
    }

    /// A node does not answer for a while, which its peers may notice.
    fn notice_stall(&mut self, node: u64, for_ns: u64) {
        let noticed = self.rng().u64(NOTICED_NS);
        if noticed >= for_ns {
            return;
        }
        for peer in (1..=self.node_count()).filter(|peer| *peer != node) {
            let session = self.network().link(node, peer).session;
            let event = Event::Break {
                a: node,
                b: peer,
                session,
            };
            let at = self.now() + noticed;
            self.plan_link(at, event);
        }
    }
}
