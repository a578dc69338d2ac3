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

use bailiwick_replication::consensus::Outgoing;
use bailiwick_replication::link::Class;

use super::agenda::Event;
use super::node::Input;
use super::{MS, Simulation};

/// The soonest and the latest that silence is noticed.
const NOTICED_NS: std::ops::Range<u64> = 200 * MS..800 * MS;
/// Messages that may arrive late at most.
const MAX_LATE: usize = 64;

/// All links.
#[derive(Default)]
pub(super) struct Network {
    links: BTreeMap<(u64, u64), Link>,
    /// Directions that are cut, with the number of the cut.
    pub(super) cuts: BTreeMap<(u64, u64), u64>,
    last_cut: u64,
    late: Vec<(u64, u64, Outgoing)>,
}

/// Messages on their way, with their times of arrival.
type Queue = VecDeque<(u64, Outgoing)>;

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

impl Simulation {
    pub(super) fn connect(&mut self, a: u64, b: u64) {
        let is_able = |node: u64| {
            let node = &self.nodes[&node];
            node.running.is_some() && node.stalled_until <= self.now
        };
        let is_able =
            is_able(a) && is_able(b) && !self.network.is_cut(a, b) && !self.network.is_cut(b, a);
        let link = self.network.link(a, b);
        if link.up != [false; 2] {
            return;
        }
        if !is_able {
            let at = self.now + self.rng.u64(20..60) * MS;
            return self.agenda.at(at, Event::Connect { a, b });
        }
        link.session += 1;
        let session = link.session;
        link.up = [true; 2];
        link.is_broken = false;
        link.queues.clear();
        for (node, peer) in [(a, b), (b, a)] {
            let disk = self.nodes[&peer].member_id().disk;
            self.input(
                node,
                Input::Up {
                    peer,
                    disk,
                    session,
                },
            );
        }
    }

    /// Sends in a session, unless it is over.
    pub(super) fn send(&mut self, from: u64, messages: Vec<Outgoing>) {
        for message in messages {
            let to = message.to.0;
            let node = &self.nodes[&from];
            let session = node
                .running
                .as_ref()
                .and_then(|running| running.sessions.get(&to));
            let Some(session) = session.copied() else {
                continue;
            };
            let delay = MS / 10 + self.rng.u64(..self.plan.delay_ns);
            let link = self.network.link(from, to);
            if link.session != session || link.is_broken || !link.up[side(from, to)] {
                continue;
            }
            let class = message.class;
            let queue = link.queues.entry((from, class)).or_default();
            let last = queue.back().map_or(0, |(at, _)| *at);
            let at = last.max(self.now + delay);
            queue.push_back((at, message));
            self.agenda.at(at, Event::Deliver { from, to, class });
        }
    }

    /// Messages that have arrived by now go to the receiver's thread.
    pub(super) fn deliver(&mut self, from: u64, to: u64, class: Class) {
        if self.network.is_cut(from, to) {
            return;
        }
        let now = self.now;
        let link = self.network.link(from, to);
        if link.is_broken {
            return;
        }
        let Some(queue) = link.queues.get_mut(&(from, class)) else {
            return;
        };
        let due = queue.partition_point(|(at, _)| *at <= now);
        let arrived: Vec<_> = queue.drain(..due).collect();
        for (_, message) in arrived {
            self.frame(from, to, message);
        }
    }

    fn frame(&mut self, from: u64, to: u64, message: Outgoing) {
        self.messages += 1;
        let frame = Input::Frame {
            from,
            configuration: message.configuration,
            payload: message.payload,
        };
        self.input(to, frame);
    }

    pub(super) fn deliver_late(&mut self) {
        if self.network.late.is_empty() {
            return;
        }
        let at = self.rng.usize(..self.network.late.len());
        let (from, to, message) = if self.rng.bool() {
            self.network.late.swap_remove(at)
        } else {
            self.network.late[at].clone()
        };
        // Whoever has no session with the sender at all has never heard of it.
        let node = self.nodes[&to].running.as_ref();
        if node.is_some_and(|running| running.sessions.contains_key(&from)) {
            self.frame(from, to, message);
        }
    }

    /// Ends a session. What was in flight arrives up to some message, the rest does not.
    pub(super) fn break_link(&mut self, a: u64, b: u64, session: u64) {
        let link = self.network.link(a, b);
        if link.session != session || link.is_broken || link.up == [false; 2] {
            return;
        }
        link.is_broken = true;
        let queues = std::mem::take(&mut link.queues);
        for ((from, _), mut queue) in queues {
            let to = if from == a { b } else { a };
            let is_cut = self.network.is_cut(from, to);
            let arrives = if is_cut {
                0
            } else {
                self.rng.usize(..=queue.len())
            };
            let lost = queue.split_off(arrives);
            for (_, message) in queue {
                self.frame(from, to, message);
            }
            for (_, message) in lost {
                if self.plan.late_messages
                    && self.rng.u32(..8) == 0
                    && self.network.late.len() < MAX_LATE
                {
                    self.network.late.push((from, to, message));
                    let at = self.now + self.rng.u64(..400) * MS;
                    self.agenda.at(at, Event::DeliverLate);
                }
            }
        }
        for (node, peer) in [(a, b), (b, a)] {
            let at = self.now + self.rng.u64(..50) * MS;
            self.agenda.at(
                at,
                Event::Down {
                    node,
                    peer,
                    session,
                },
            );
        }
    }

    /// Breaks whatever session two nodes have.
    pub(super) fn break_present(&mut self, a: u64, b: u64) {
        let session = self.network.link(a, b).session;
        self.break_link(a, b, session);
    }

    /// One side notices the end of its session; when both have, a new one may begin.
    pub(super) fn link_down(&mut self, node: u64, peer: u64, session: u64) {
        let link = self.network.link(node, peer);
        let at = side(node, peer);
        if link.session != session || !link.up[at] {
            return;
        }
        link.up[at] = false;
        let both = link.up == [false; 2];
        self.input(node, Input::Down { peer, session });
        if both {
            let (a, b) = (node.min(peer), node.max(peer));
            let at = self.now + self.rng.u64(1..60) * MS;
            self.agenda.at(at, Event::Connect { a, b });
        }
    }

    /// A node has crashed: the others notice at once, or after a silence.
    pub(super) fn unlink(&mut self, node: u64) {
        for peer in 1..=self.plan.nodes {
            if peer == node {
                continue;
            }
            let session = self.network.link(node, peer).session;
            self.break_link(node, peer, session);
            self.link_down(node, peer, session);
        }
    }

    /// Cuts one direction for a while.
    pub(super) fn cut(&mut self, from: u64, to: u64, for_ns: u64) {
        self.network.last_cut += 1;
        let cut = self.network.last_cut;
        self.network.cuts.insert((from, to), cut);
        let noticed = self.now + self.rng.u64(NOTICED_NS);
        self.agenda.at(noticed, Event::CutNoticed { from, to, cut });
        self.agenda
            .at(self.now + for_ns, Event::Heal { from, to, cut });
    }

    pub(super) fn notice_cut(&mut self, from: u64, to: u64, cut: u64) {
        if self.network.cuts.get(&(from, to)) == Some(&cut) {
            self.break_present(from, to);
        }
    }

    /// Heals a cut; what it held up arrives.
    pub(super) fn heal(&mut self, from: u64, to: u64, cut: u64) {
        if self.network.cuts.get(&(from, to)) != Some(&cut) {
            return;
        }
        self.network.cuts.remove(&(from, to));
        for class in Class::ALL {
            self.deliver(from, to, class);
        }
    }

    /// Heals everything.
    pub(super) fn heal_all(&mut self) {
        let cuts: Vec<_> = self.network.cuts.iter().map(|(k, v)| (*k, *v)).collect();
        for ((from, to), cut) in cuts {
            self.heal(from, to, cut);
        }
        self.network.late.clear();
    }

    /// A node does not answer for a while, which its peers may notice.
    pub(super) fn notice_stall(&mut self, node: u64, for_ns: u64) {
        let noticed = self.rng.u64(NOTICED_NS);
        if noticed >= for_ns {
            return;
        }
        for peer in (1..=self.plan.nodes).filter(|peer| *peer != node) {
            let session = self.network.link(node, peer).session;
            let event = Event::Break {
                a: node,
                b: peer,
                session,
            };
            self.agenda.at(self.now + noticed, event);
        }
    }
}
