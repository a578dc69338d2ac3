//! What a replica tells of itself; nothing here changes it.

use super::Replica;
use super::engine::Engine;
use super::message::Status;
use super::meta::{Configuration, Member};
use crate::{LogIndex, NodeId};

impl Replica {
    /// The configuration.
    pub fn configuration(&self) -> Configuration {
        self.log.lock().meta.configuration.clone()
    }

    /// This node as a member.
    pub fn member(&self) -> Member {
        self.options.member
    }

    /// Whether this node, with this data directory, is a member.
    pub fn is_member(&self) -> bool {
        let log = self.log.lock();
        log.meta
            .configuration
            .members
            .contains(&self.options.member)
    }

    /// The last decided index.
    pub fn decided(&self) -> LogIndex {
        LogIndex(self.log.lock().decided())
    }

    /// The last index that was handed out by [`Replica::take_decided`].
    pub fn applied(&self) -> LogIndex {
        LogIndex(self.applied)
    }

    /// The last index that is known to be on disk.
    pub fn durable(&self) -> LogIndex {
        LogIndex(self.log.lock().durable())
    }

    /// The last index of the log, decided or not.
    pub fn end(&self) -> LogIndex {
        LogIndex(self.log.lock().end())
    }

    /// Entries up to this one cannot be read from the log any more.
    pub fn trimmed(&self) -> LogIndex {
        LogIndex(self.log.lock().trimmed())
    }

    /// Whether it leads and may propose.
    pub fn is_leader(&self) -> bool {
        match self.engine {
            Engine::Idle => false,
            Engine::Solo => true,
            Engine::Paxos(_) => self.epoch.is_some(),
        }
    }

    /// Whether it takes no part in consensus at present.
    pub fn is_idle(&self) -> bool {
        matches!(self.engine, Engine::Idle)
    }

    /// Who leads, as far as this node knows.
    pub fn leader(&self) -> Option<NodeId> {
        match &self.engine {
            Engine::Idle => self.catch_up.as_ref().map(|catch_up| catch_up.source),
            Engine::Solo => Some(self.options.member.node),
            Engine::Paxos(instance) => {
                let (member, _) = instance.get_current_leader()?;
                self.node_of(member)
            }
        }
    }

    /// Number of the highest ballot that was promised here; for people.
    pub fn ballot(&self) -> u32 {
        let promise = self.log.lock().meta.promise;
        promise.map_or(0, |ballot| ballot.n)
    }

    /// Which leadership the present one is, if this node leads: rises from one leadership of the
    /// group to the next, whoever has it.
    pub fn leadership(&self) -> Option<u64> {
        if !self.is_leader() {
            return None;
        }
        let log = self.log.lock();
        let ballot = log.meta.promise.map_or(0, |ballot| ballot.n);
        Some(u64::from(log.meta.configuration.id.0) << 32 | u64::from(ballot))
    }

    /// What a member said of itself last, and when.
    pub fn status_of(&self, node: NodeId) -> Option<(Status, u64)> {
        let peer = self.peers.get(&node)?;
        (peer.heard_at > 0).then_some((peer.status, peer.heard_at))
    }
}
