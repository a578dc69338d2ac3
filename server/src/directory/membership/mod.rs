//! Membership: which nodes there are, what they say of themselves, and who seems to have failed.
//!
//! [`Gossip`] is scuttlebutt: every round a node counts its own *heartbeat* up and tells a few
//! linked peers, at random, the newest it knows of all nodes; what differs is exchanged. So news
//! reaches everybody in a few rounds, and traffic depends on the number of nodes, not on what they
//! serve: of the directory only the root of the digest tree is told. A node of which something else
//! changes than that, such as which groups it leads, does not wait for its round, and neither does
//! who hears of it. How unusual a node's silence is, by the times between its heartbeats so far, is
//! its *suspicion* (`suspicion`, phi accrual).
//!
//! Nothing that decides about authority depends on any of this: a suspect is a node that routing
//! avoids and operators look at. What nodes say is not signed, and passed on by others. Who says
//! that it leads a group is in [`Roll`].
//!
//! Not here: links, clock and random numbers, which the caller has. It fails by knowing less:
//! messages that do not decode are counted and dropped, lost ones look like silence, and of what
//! does not fit into a message the rest follows in later rounds.

mod facts;
mod known;
mod message;
mod roll;
mod suspicion;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use bailiwick_replication::NodeId;
use bytes::Bytes;

pub use facts::{NodeFacts, Seat};
use known::Known;
pub use known::{Liveness, SUSPICION_MAX};
pub use message::{GOSSIP_VERSION, MESSAGE_BYTES_MAX};
use message::{Life, Message, Summary};
pub use roll::{Claim, Roll};
use suspicion::Suspicion;

/// How many nodes are known, at most.
pub const NODES_MAX: usize = 4096;
/// How many peers hear from a node in each round.
const FAN_OUT: usize = 3;
/// How many bytes of news one message carries, and it may be one node's facts more.
const NEWS_BYTES: usize = 64 << 10;
/// News that does not wait for its round goes out so many times a round at most.
const HURRIES_A_ROUND: u64 = 5;

/// How gossip goes.
#[derive(Clone, Copy, Debug)]
pub struct GossipConfig {
    /// This node.
    pub node: NodeId,
    /// Which of its lives this is; rises with each start.
    pub incarnation: u64,
    /// The time between two rounds, in nanoseconds.
    pub round_ns: u64,
    /// How long a silent node is remembered, in nanoseconds.
    pub forget_after_ns: u64,
}

impl GossipConfig {
    /// Rounds every half second; whoever is gone is remembered for a day.
    pub fn new(node: NodeId, incarnation: u64) -> Self {
        let (round_ns, forget_after_ns) = (500_000_000, 24 * 3600 * 1_000_000_000);
        Self {
            node,
            incarnation,
            round_ns,
            forget_after_ns,
        }
    }
}

/// What gossip knows of a node.
#[derive(Clone, Debug, PartialEq)]
pub struct MemberStatus {
    /// The node.
    pub node: NodeId,
    /// The latest of its lives that was heard of.
    pub incarnation: u64,
    /// What it says of itself.
    pub facts: NodeFacts,
    /// Whether it seems to be there. Of a node that was only heard of through others that is found
    /// out with its next heartbeat.
    pub liveness: Liveness,
    /// For how long that has been so, in milliseconds; for this node itself, since it started.
    pub liveness_ms: u64,
    /// How suspicious its silence is: 0 right after a heartbeat, about 1 after the usual time, more
    /// than [`SUSPICION_MAX`] when it is suspected. 0 for this node itself.
    pub suspicion: f64,
    /// How long ago its last heartbeat was heard of, in milliseconds; 0 for this node itself.
    pub silent_ms: u64,
}

/// Counts for INFO.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GossipCounters {
    /// Messages that were received.
    pub received: u64,
    /// Messages that were none, or from nobody we have a link to.
    pub refused: u64,
    /// Nodes that there was no room for.
    pub overflowed: u64,
}

/// One node's gossip.
///
/// Invariants: `known` has this node, and at most [`NODES_MAX`]; no node is both in `known` and,
/// with the same or a later heartbeat, in `forgotten`.
#[derive(Debug)]
pub struct Gossip {
    config: GossipConfig,
    now_ns: u64,
    round_began_ns: u64,
    /// When peers were told last, in a round or between two.
    told_ns: u64,
    /// Something was heard or is to be said that does not wait for the next round.
    is_hurried: bool,
    generation: u64,
    known: BTreeMap<NodeId, Known>,
    /// The last life of nodes that were silent for too long: they must not come back by hearsay.
    forgotten: BTreeMap<NodeId, Life>,
    peers: BTreeSet<NodeId>,
    outbox: Vec<(NodeId, Bytes)>,
    counters: GossipCounters,
}

impl Gossip {
    /// Knows nobody but this node, of which it says `facts`. Times are nanoseconds since any moment
    /// that stays the same.
    pub fn new(config: GossipConfig, facts: NodeFacts, now_ns: u64) -> Self {
        let life = Life {
            incarnation: config.incarnation,
            heartbeat: 1,
        };
        let silence = Suspicion::new(config.round_ns, now_ns);
        let me = Known {
            life,
            version: 1,
            facts,
            silence,
            liveness: (Liveness::Alive, now_ns),
        };
        Self {
            config,
            now_ns,
            round_began_ns: now_ns,
            told_ns: now_ns,
            is_hurried: false,
            generation: 0,
            known: BTreeMap::from([(config.node, me)]),
            forgotten: BTreeMap::new(),
            peers: BTreeSet::new(),
            outbox: Vec::new(),
            counters: GossipCounters::default(),
        }
    }

    /// A link stands; this peer hears from us at once.
    pub fn link_up(&mut self, node: NodeId) {
        self.link_down(node);
        self.peers.insert(node);
        self.tell(node);
    }

    /// A link is gone, with everything that was on it.
    pub fn link_down(&mut self, node: NodeId) {
        self.peers.remove(&node);
        self.outbox.retain(|(to, _)| *to != node);
    }

    /// Says something else of this node from now on.
    pub fn publish(&mut self, facts: NodeFacts) {
        let me = self
            .known
            .get_mut(&self.config.node)
            .expect("a node knows itself");
        if me.facts != facts {
            self.is_hurried |= facts.differs_in_itself(&me.facts);
            me.facts = facts;
            me.version += 1;
            self.generation += 1;
        }
    }

    /// Takes a message.
    pub fn receive(&mut self, from: NodeId, bytes: &Bytes) {
        self.counters.received += 1;
        match Message::decode(bytes) {
            Ok(message) if self.peers.contains(&from) => self.handle(from, message),
            _ => self.counters.refused += 1,
        }
    }

    /// Lets time pass. `random` is any number, another each time.
    pub fn tick(&mut self, now_ns: u64, random: u64) {
        self.now_ns = self.now_ns.max(now_ns);
        self.judge_all();
        let round_ns = self.config.round_ns;
        if self.now_ns - self.round_began_ns >= round_ns {
            self.round_began_ns = self.now_ns;
            self.forget();
            let me = self
                .known
                .get_mut(&self.config.node)
                .expect("a node knows itself");
            me.life.heartbeat += 1;
        } else if !self.is_hurried || self.now_ns - self.told_ns < round_ns / HURRIES_A_ROUND {
            return;
        }
        (self.told_ns, self.is_hurried) = (self.now_ns, false);
        for node in self.choose_peers(random) {
            self.tell(node);
        }
    }

    /// What is to be sent, in order; to be called after each of the other calls, or a few of them.
    pub fn take_messages(&mut self) -> Vec<(NodeId, Bytes)> {
        std::mem::take(&mut self.outbox)
    }

    /// All nodes that were heard of and not forgotten, this one included, by rising id.
    pub fn members(&self) -> Vec<MemberStatus> {
        let status = |(node, known): (&NodeId, &Known)| {
            let is_me = *node == self.config.node;
            let (suspicion, silent_ns) = if is_me {
                (0.0, 0)
            } else {
                let silence = &known.silence;
                (silence.level(self.now_ns), silence.silent_ns(self.now_ns))
            };
            let (liveness, since_ns) = known.liveness;
            MemberStatus {
                node: *node,
                incarnation: known.life.incarnation,
                facts: known.facts.clone(),
                liveness,
                liveness_ms: self.now_ns.saturating_sub(since_ns) / 1_000_000,
                suspicion,
                silent_ms: silent_ns / 1_000_000,
            }
        };
        self.known.iter().map(status).collect()
    }

    /// The nodes that seem to be there, with what they say of themselves, by rising id.
    pub fn alive(&self) -> impl Iterator<Item = (NodeId, &NodeFacts)> {
        let alive = self.known.iter();
        let alive = alive.filter(|(_, known)| known.liveness.0 == Liveness::Alive);
        alive.map(|(node, known)| (*node, &known.facts))
    }

    /// Rises whenever [`alive`](Self::alive) may give something else than before.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Counts for INFO.
    pub fn counters(&self) -> GossipCounters {
        self.counters
    }

    fn handle(&mut self, from: NodeId, message: Message) {
        match message {
            Message::Tell(summaries) => {
                let wanted = self.hear(&summaries);
                let news = self.news_for(&summaries);
                if !wanted.is_empty() || !news.is_empty() {
                    self.send(from, &Message::Answer { news, wanted });
                }
            }
            Message::Answer { news, wanted } => {
                news.into_iter()
                    .for_each(|(summary, facts)| self.learn(summary, facts));
                let news = self.facts_of(wanted.into_iter());
                if !news.is_empty() {
                    self.send(
                        from,
                        &Message::Answer {
                            news,
                            wanted: Vec::new(),
                        },
                    );
                }
            }
        }
    }

    /// Takes heartbeats of nodes whose facts we have. Returns those whose facts are news.
    fn hear(&mut self, summaries: &[Summary]) -> Vec<NodeId> {
        let mut wanted = Vec::new();
        for summary in summaries {
            if !self.is_of_interest(summary) {
                continue;
            }
            match self.known.get_mut(&summary.node) {
                Some(known) if known.edition() >= summary.edition() => {
                    if known.life.incarnation == summary.life.incarnation {
                        known.beat(summary.life, self.now_ns);
                    }
                }
                _ => wanted.push(summary.node),
            }
        }
        wanted
    }

    /// Takes what is said of a node, if it is newer than what we know.
    fn learn(&mut self, summary: Summary, facts: NodeFacts) {
        if !self.is_of_interest(&summary) {
            return;
        }
        if !self.known.contains_key(&summary.node) && self.known.len() >= NODES_MAX {
            self.counters.overflowed += 1;
            return;
        }
        let (round_ns, now_ns) = (self.config.round_ns, self.now_ns);
        let Summary {
            node,
            life,
            version,
        } = summary;
        match self.known.get_mut(&node) {
            Some(known) if known.edition() >= summary.edition() => {}
            Some(known) if known.life.incarnation == life.incarnation => {
                self.is_hurried |= facts.differs_in_itself(&known.facts);
                (known.version, known.facts) = (version, facts);
                known.beat(life, now_ns);
                self.generation += 1;
            }
            // A node, or a life of it, that was not known.
            _ => {
                let known = Known {
                    life,
                    version,
                    facts,
                    silence: Suspicion::new(round_ns, now_ns),
                    liveness: (Liveness::Suspect, now_ns),
                };
                self.known.insert(node, known);
                self.forgotten.remove(&node);
                self.is_hurried = true;
                self.generation += 1;
            }
        }
    }

    /// Not what others say of ourselves, and not what we have forgotten.
    fn is_of_interest(&self, summary: &Summary) -> bool {
        let is_forgotten = self
            .forgotten
            .get(&summary.node)
            .is_some_and(|l| *l >= summary.life);
        summary.node != self.config.node && !is_forgotten
    }

    /// What whoever sent these summaries does not know, as much as fits.
    fn news_for(&self, summaries: &[Summary]) -> Vec<(Summary, NodeFacts)> {
        let theirs: BTreeMap<_, _> = summaries.iter().map(|s| (s.node, s.edition())).collect();
        let is_news = |(node, known): &(&NodeId, &Known)| {
            theirs
                .get(*node)
                .is_none_or(|edition| *edition < known.edition())
        };
        let nodes = self.told().filter(is_news).map(|(node, _)| *node);
        self.facts_of(nodes)
    }

    fn facts_of(&self, nodes: impl Iterator<Item = NodeId>) -> Vec<(Summary, NodeFacts)> {
        let mut news = Vec::new();
        let mut bytes = 0;
        for node in nodes {
            let Some(known) = self.known.get(&node) else {
                continue;
            };
            if bytes >= NEWS_BYTES {
                break;
            }
            bytes += known.facts.size_bytes();
            news.push((known.summary(node), known.facts.clone()));
        }
        news
    }

    /// Sends a peer the newest we know.
    fn tell(&mut self, node: NodeId) {
        let summaries = self
            .told()
            .map(|(node, known)| known.summary(*node))
            .collect();
        self.send(node, &Message::Tell(summaries));
    }

    /// Whom we speak of: of nodes that are nearly forgotten no more, so that all forget them.
    fn told(&self) -> impl Iterator<Item = (&NodeId, &Known)> {
        let limit_ns = self.config.forget_after_ns / 2;
        self.known.iter().filter(move |(node, known)| {
            **node == self.config.node || known.silence.silent_ns(self.now_ns) < limit_ns
        })
    }

    fn judge_all(&mut self) {
        let (me, now_ns) = (self.config.node, self.now_ns);
        for (_, known) in self.known.iter_mut().filter(|(node, _)| **node != me) {
            self.generation += u64::from(known.judge(now_ns));
        }
    }

    fn forget(&mut self) {
        let (now_ns, limit_ns) = (self.now_ns, self.config.forget_after_ns);
        let me = self.config.node;
        self.known.retain(|node, known| {
            let stays = *node == me || known.silence.silent_ns(now_ns) < limit_ns;
            if !stays {
                self.forgotten.insert(*node, known.life);
            }
            stays
        });
        while self.forgotten.len() > NODES_MAX {
            self.forgotten.pop_first();
        }
    }

    /// Some peers, each with the same chance.
    fn choose_peers(&self, random: u64) -> Vec<NodeId> {
        let mut peers: Vec<NodeId> = self.peers.iter().copied().collect();
        let count = peers.len().min(FAN_OUT);
        let mut random = random;
        for chosen in 0..count {
            let left = (peers.len() - chosen) as u64;
            peers.swap(chosen, chosen + (random % left) as usize);
            // Each choice takes its share of the number.
            random = (random / left).rotate_left(21) ^ random;
        }
        peers.truncate(count);
        peers
    }

    fn send(&mut self, to: NodeId, message: &Message) {
        if self.peers.contains(&to) {
            self.outbox.push((to, message.encode()));
        }
    }
}
