//! The engine: the crate's instance, or its stand-in where there is only one member, and its
//! numbering of members.
//!
//! An instance lives from [`Replica::start_engine`] to [`Replica::stop_engine`]; a new one on the
//! same log looks like a restarted node to everybody else. Configurations begin here, because each
//! has an instance of its own.

use omnipaxos::{ClusterConfig, OmniPaxos, ServerConfig};

use super::entry::Slot;
use super::log::SharedLog;
use super::meta::Configuration;
use super::{BUFFER_MESSAGES, Replica};
use crate::{LogIndex, NodeId};

/// An instance of the crate.
pub(super) type Instance = OmniPaxos<Slot, SharedLog>;

/// What decides entries.
pub(super) enum Engine {
    /// Nothing: this node is no member, or is catching up.
    Idle,
    /// The disk alone: this node is the only member.
    Solo,
    /// Consensus.
    Paxos(Box<Instance>),
}

impl Replica {
    /// The entry that ends the present configuration was applied, and `next` begins behind it. The
    /// state machine stands at `applied`: at that entry, or beyond it if it loaded a checkpoint.
    /// What the log has behind is void or will be fetched; proposals in it were not decided.
    ///
    /// A member may only start with the state up to the Seal on its disk, which holds here as the
    /// log up to there is written no later than the first promise in the new configuration.
    pub fn begin_configuration(&mut self, next: Configuration, applied: LogIndex) {
        let present = self.configuration();
        assert!(
            next.id > present.id,
            "configuration {} follows {}",
            next.id.0,
            present.id.0
        );
        self.stop_engine();
        self.lease.forget_all();
        self.catch_up = None;
        self.log.lock().begin_configuration(next, applied.0);
        self.applied = applied.0;
        self.peers.clear();
        self.start_engine();
    }

    pub(super) fn majority(&self) -> usize {
        self.log.lock().meta.configuration.majority()
    }

    /// The crate's number of a node: members count from 1, without gaps.
    pub(super) fn number_of(&self, node: NodeId) -> Option<u64> {
        let log = self.log.lock();
        let members = &log.meta.configuration.members;
        let at = members.iter().position(|member| member.node == node)?;
        Some(at as u64 + 1)
    }

    pub(super) fn node_of(&self, number: u64) -> Option<NodeId> {
        let at = usize::try_from(number.checked_sub(1)?).ok()?;
        let log = self.log.lock();
        let member = log.meta.configuration.members.get(at)?;
        Some(member.node)
    }

    /// The other members.
    pub(super) fn others(&self) -> Vec<NodeId> {
        let own = self.options.member.node;
        let log = self.log.lock();
        let members = log.meta.configuration.members.iter();
        let others = members.map(|member| member.node);
        others.filter(|node| *node != own).collect()
    }

    /// Starts deciding, if this node is a member.
    pub(super) fn start_engine(&mut self) {
        let configuration = self.configuration();
        if !configuration.members.contains(&self.options.member) {
            return;
        }
        self.log.lock().reset_view();
        let count = configuration.members.len() as u64;
        if count == 1 {
            self.engine = Engine::Solo;
            let mut log = self.log.lock();
            let durable = log.durable();
            log.note_decided(durable);
            return;
        }
        let pid = self
            .number_of(self.options.member.node)
            .expect("it is a member");
        let timing = &self.options.timing;
        let cluster = ClusterConfig {
            configuration_id: configuration.id.0,
            nodes: (1..=count).collect(),
            flexible_quorum: None,
        };
        let server = ServerConfig {
            pid,
            election_tick_timeout: timing.election_ticks,
            resend_message_tick_timeout: timing.resend_ticks,
            buffer_size: BUFFER_MESSAGES,
            batch_size: 1,
            flush_batch_tick_timeout: u64::MAX,
            leader_priority: self.options.priority,
        };
        let instance = cluster
            .build_for_server(server, self.log.clone())
            .expect("two members at least, and all numbers above zero");
        self.engine = Engine::Paxos(Box::new(instance));
        for node in self.others() {
            self.open_session(node);
        }
    }

    /// Drops the instance, which looks like a crash to everybody else.
    pub(super) fn stop_engine(&mut self) {
        self.engine = Engine::Idle;
        self.epoch = None;
        self.sealing = None;
        self.held_decides.clear();
        self.late.clear();
        self.in_write.clear();
        self.held_prepares.clear();
        self.lease.forget_received();
        self.reads.depose();
        for peer in self.peers.values_mut() {
            peer.forget_messages();
        }
    }
}
