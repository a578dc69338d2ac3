//! The census: which nodes there are, what they say of themselves, and who seems to be gone.
//!
//! [`Census`] has this node's [`Gossip`]: the registry's thread drives it and carries its messages,
//! and anybody may look. What is looked up with requests stands in a [`Roll`], which is read
//! without a lock and made anew each time the gossip has had its turn. Not here: links, and what
//! this node says of itself, which the registry knows. Nothing that decides about authority depends
//! on it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use bailiwick_replication::NodeId;
use bytes::Bytes;
use parking_lot::Mutex;

use crate::directory::membership::{
    Gossip, GossipConfig, GossipCounters, MemberStatus, NodeFacts, Roll,
};

/// What a node knows of all nodes, for any thread.
pub struct Census {
    gossip: Mutex<Gossip>,
    roll: ArcSwap<Roll>,
    /// Of which of the gossip's generations the roll is.
    generation: AtomicU64,
}

impl Census {
    /// Knows nobody but this node, of which it says `facts`. Times are those of the node's clock
    /// that stands still for nobody, in nanoseconds.
    pub(super) fn new(
        (node, incarnation): (NodeId, u64),
        facts: NodeFacts,
        now_ns: u64,
    ) -> Arc<Self> {
        let config = GossipConfig::new(node, incarnation);
        Arc::new(Self {
            gossip: Mutex::new(Gossip::new(config, facts, now_ns)),
            roll: ArcSwap::default(),
            generation: AtomicU64::new(0),
        })
    }

    /// All nodes that were heard of, this one included, by rising id.
    #[must_use]
    pub fn members(&self) -> Vec<MemberStatus> {
        self.gossip.lock().members()
    }

    /// Who leads which group, and where cluster clients reach nodes, as they say themselves.
    #[must_use]
    pub fn roll(&self) -> Arc<Roll> {
        self.roll.load_full()
    }

    /// Counts for INFO.
    #[must_use]
    pub fn counters(&self) -> GossipCounters {
        self.gossip.lock().counters()
    }

    pub(super) fn link_up(&self, node: NodeId) {
        self.gossip.lock().link_up(node);
    }

    pub(super) fn link_down(&self, node: NodeId) {
        self.gossip.lock().link_down(node);
    }

    pub(super) fn receive(&self, from: NodeId, payloads: &[Bytes]) {
        let mut gossip = self.gossip.lock();
        payloads
            .iter()
            .for_each(|payload| gossip.receive(from, payload));
    }

    /// Lets time pass, with what this node says of itself now. Returns what is to be sent. `random`
    /// is any number, another each time.
    pub(super) fn turn(&self, facts: NodeFacts, now_ns: u64, random: u64) -> Vec<(NodeId, Bytes)> {
        let mut gossip = self.gossip.lock();
        gossip.publish(facts);
        gossip.tick(now_ns, random);
        // Under the gossip's lock.
        if self.generation.swap(gossip.generation(), Ordering::Relaxed) != gossip.generation() {
            let next = self.roll.load().next(gossip.alive(), now_ns);
            self.roll.store(Arc::new(next));
        }
        gossip.take_messages()
    }
}
