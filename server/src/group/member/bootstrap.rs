//! How a new group comes to be.
//!
//! The cluster's file says which nodes form a group at first, but members are nodes *with their
//! data directories*, which no file knows. So one node, the lowest of them, decides: when all other
//! nodes of the cluster have introduced themselves as new, it founds the group with what it heard,
//! and tells them. It decides once; whoever has lost its data directory since is a stranger to the
//! group, and has to be let in by `GROUP REPLACE`.
//!
//! A group that another one has made needs none of this: its first members, data directories
//! included, stand in that one's log, and whoever is among them begins with that. A node that has
//! lost its directory is not the member that was named.
//!
//! Why no two groups come to be: only one node founds. If it loses its own directory, it finds at
//! least one member that knows of the group, or all the others are as new as itself. For this the
//! nodes that the file does not name as members are heard, too: the group may have moved to them.

use std::collections::BTreeMap;

use bailiwick_replication::consensus::{Configuration, Member as MemberId};
use bailiwick_replication::link::Class;
use bailiwick_replication::{ConfigurationId, LogIndex, NodeId};

use super::Member;
use super::message::Message;

/// The first configuration of a group.
const FIRST: ConfigurationId = ConfigurationId(1);

/// What a new node waits for.
pub(super) struct Bootstrap {
    /// The members at first, by the cluster's file, in order.
    founders: Vec<NodeId>,
    /// All other nodes of the cluster, members or not.
    others: Vec<NodeId>,
    /// Those that introduced themselves as new.
    heard: BTreeMap<NodeId, u64>,
    /// The group knows this node with another data directory.
    pub(super) is_stranger: bool,
    /// When to say again what the founding waits for.
    say_at: u64,
}

/// How often a founder says whom it waits for, in nanoseconds.
const SAY_NS: u64 = 10_000_000_000;

impl Bootstrap {
    pub(super) fn new(mut founders: Vec<NodeId>, others: Vec<NodeId>) -> Self {
        founders.sort_unstable();
        Self {
            founders,
            others,
            heard: BTreeMap::new(),
            is_stranger: false,
            say_at: 0,
        }
    }

    pub(super) fn forget(&mut self, node: NodeId) {
        self.heard.remove(&node);
    }
}

impl Member {
    /// Says to a node what this one knows of the group.
    pub(super) fn introduce(&mut self, to: NodeId) {
        let configuration = self.replica.configuration();
        // Only a group that is founded by its nodes concerns nodes that are no members.
        let is_member = configuration.members.iter().any(|member| member.node == to);
        if !is_member && self.bootstrap.others.is_empty() {
            return;
        }
        let message = Message::Introduction {
            configuration: configuration.id,
            members: configuration.members,
        };
        self.send(to, Class::Ordered, &message);
    }

    /// Tells the operator why there is no group yet.
    pub(super) fn say_whom_it_waits_for(&mut self, now: u64) {
        let own = self.replica.member().node;
        let bootstrap = &mut self.bootstrap;
        let is_founder = bootstrap.founders.first() == Some(&own);
        if !is_founder || now < bootstrap.say_at || self.replica.configuration().id.0 > 0 {
            return;
        }
        let is_first_look = bootstrap.say_at == 0;
        bootstrap.say_at = now + SAY_NS;
        // The founders are among them.
        let is_missing = |node: &&NodeId| !bootstrap.heard.contains_key(node);
        let missing = bootstrap.others.iter().filter(is_missing);
        let missing: Vec<String> = missing.map(ToString::to_string).collect();
        if !is_first_look {
            tracing::warn!(
                missing = missing.join(" "),
                "the group is not founded yet: it needs all nodes of the cluster once, so that none \
                 of them can know of an older group"
            );
        }
    }

    /// Another node has introduced itself.
    pub(super) fn note_introduction(
        &mut self,
        from: NodeId,
        id: ConfigurationId,
        members: Vec<MemberId>,
    ) {
        if self.replica.configuration().id.0 > 0 {
            return;
        }
        let own = self.replica.member();
        let Some(peer) = self.peers.get(&from) else {
            return;
        };
        if id.0 == 0 {
            self.bootstrap.heard.insert(from, peer.disk);
            return self.found();
        }
        self.bootstrap.heard.clear();
        if members.contains(&own) {
            if id == FIRST {
                self.adopt_first(members);
            }
            // Later configurations come with the log.
            return;
        }
        let is_known = members.iter().any(|member| member.node == own.node);
        if is_known && !self.bootstrap.is_stranger {
            self.bootstrap.is_stranger = true;
            tracing::error!(
                node = own.node.0,
                "the data directory is new, but the group knows this node with another one, so it \
                 may have forgotten what it promised and does not take part. Either start it with \
                 the directory it had, or let it in as a new member: \
                 GROUP REPLACE <group> {}, on any other member",
                own.node
            );
        }
    }

    /// Enters the first configuration if it is known from the start.
    pub(super) fn begin(&mut self) {
        let members = std::mem::take(&mut self.options.first_members);
        let is_new = self.replica.configuration().id.0 == 0;
        if is_new && members.contains(&self.replica.member()) {
            self.adopt_first(members);
        }
        self.found();
    }

    /// Founds the group if that is this node's business, and the time has come.
    pub(super) fn found(&mut self) {
        let own = self.replica.member();
        let Bootstrap {
            founders,
            others,
            heard,
            ..
        } = &self.bootstrap;
        if self.replica.configuration().id.0 > 0 || founders.first() != Some(&own.node) {
            return;
        }
        if !others.iter().all(|node| heard.contains_key(node)) {
            return;
        }
        let member = |node: &NodeId| {
            if *node == own.node {
                return Some(own);
            }
            let disk = *heard.get(node)?;
            Some(MemberId { node: *node, disk })
        };
        let Some(members) = founders.iter().map(member).collect::<Option<Vec<_>>>() else {
            return;
        };
        tracing::info!(
            members = members.len(),
            "all nodes are there, and new; founding the group"
        );
        self.adopt_first(members);
    }

    fn adopt_first(&mut self, members: Vec<MemberId>) {
        let first = Configuration {
            id: FIRST,
            members,
            begins_after: LogIndex::ZERO,
        };
        // It may have fetched entries before it was introduced, which are decided and stay.
        let applied = self.replica.applied();
        self.replica.begin_configuration(first, applied);
        let nodes: Vec<NodeId> = self.peers.keys().copied().collect();
        for node in nodes {
            self.introduce(node);
        }
    }
}
