//! What this node knows of a group at one moment, for GROUP INFO, INFO and ROLE.
//!
//! Every node has an answer: one without a cluster is the only member of a group, and one that
//! starts or ends knows little. A member's replica is asked on its own thread, so for such a node
//! an overview is nothing for a thread that serves connections ([`Overview::blocks`]).

use std::sync::Arc;

use bailiwick_replication::{ConfigurationId, LogIndex, NodeId};

use crate::cluster::{Cluster, DEFAULT_GROUP};
use crate::group::{Description, Group, MemberDescription};
use crate::node::Node;

/// What a node without a cluster calls itself, being the first and only one.
const ONLY_NODE: NodeId = NodeId(1);

/// A group as this node sees it.
pub(super) struct Overview<'a> {
    /// The cluster's file; `None` for a node that runs without one.
    pub(super) cluster: Option<&'a Cluster>,
    /// The group's name.
    pub(super) group: String,
    /// The members, and how far they are.
    pub(super) description: Description,
    /// How far this node's state is.
    pub(super) applied: LogIndex,
    /// How many clients wait for the group's keys.
    pub(super) waiters: usize,
}

impl<'a> Overview<'a> {
    /// Whether [`Overview::of`] waits for the replica's thread.
    pub(super) fn blocks(node: &Node) -> bool {
        node.group().is_some_and(|group| group.seat().is_some())
    }

    /// Looks at the group that stands for this node.
    pub(super) fn of(node: &'a Node) -> Self {
        Self::of_group(node, node.group())
    }

    /// Looks at one of this node's groups; `None` is the root group before it is loaded.
    pub(super) fn of_group(node: &'a Node, group: Option<&Arc<Group>>) -> Self {
        let state = group.and_then(|group| group.glance());
        let applied = state.as_ref().map_or(LogIndex::ZERO, |state| state.applied);
        let waiters = state.as_ref().map_or(0, |state| state.waiters.len());
        drop(state);
        let Some((cluster, id)) = node.settings.cluster() else {
            return Self {
                cluster: None,
                group: DEFAULT_GROUP.to_owned(),
                description: only_member(applied),
                applied,
                waiters,
            };
        };
        let described = group.and_then(|group| group.seat()?.describe());
        let description = described.unwrap_or_else(|| {
            let leader = group.and_then(|group| leader_of(group, *id));
            unknown(*id, leader)
        });
        let own = member(&description, *id).map(|own| own.applied);
        Self {
            cluster: Some(cluster),
            group: group
                .and_then(|group| Some(group.seat()?.group_name()))
                .unwrap_or_else(|| cluster.root().name.clone()),
            applied: own.unwrap_or(applied),
            waiters,
            description,
        }
    }

    /// This node as a member, if it is one.
    pub(super) fn own(&self) -> Option<&MemberDescription> {
        self.member(self.description.node)
    }

    /// A member.
    pub(super) fn member(&self, node: NodeId) -> Option<&MemberDescription> {
        member(&self.description, node)
    }

    /// Where clients reach a node: host and port, `?` and 0 if nobody has said.
    pub(super) fn client_address(&self, node: NodeId) -> (&str, u16) {
        let entry = self.cluster.and_then(|cluster| cluster.node(node));
        entry.map_or(("?", 0), |entry| (entry.client.host(), entry.client.port()))
    }

    /// The last entry of which this node knows that it is decided.
    pub(super) fn last_decided(&self) -> LogIndex {
        let members = self.description.members.iter();
        let decided = members.map(|member| member.decided).max();
        decided.unwrap_or_default().max(self.applied)
    }
}

fn member(description: &Description, node: NodeId) -> Option<&MemberDescription> {
    let mut members = description.members.iter();
    members.find(|member| member.node == node)
}

/// Who leads, as the connections of this node see it.
fn leader_of(group: &Group, own: NodeId) -> Option<NodeId> {
    let standing = group.standing();
    if standing.leads() {
        Some(own)
    } else {
        standing.leader()
    }
}

/// The group of a node that starts or ends.
fn unknown(node: NodeId, leader: Option<NodeId>) -> Description {
    Description {
        node,
        configuration: ConfigurationId(0),
        members: Vec::new(),
        leader,
        ballot: 0,
        lease_left_ms: Some(0),
        end: LogIndex::ZERO,
        trimmed: LogIndex::ZERO,
        transfer: None,
        is_stranger: false,
    }
}

/// The group of a node without a cluster.
fn only_member(applied: LogIndex) -> Description {
    let own = MemberDescription {
        node: ONLY_NODE,
        is_connected: true,
        leads: true,
        is_catching_up: false,
        is_full: false,
        decided: applied,
        applied,
        durable: applied,
        checkpoint: LogIndex::ZERO,
        last_contact_ms: Some(0),
    };
    Description {
        members: vec![own],
        end: applied,
        ..unknown(ONLY_NODE, Some(ONLY_NODE))
    }
}

#[cfg(test)]
pub(super) mod testing {
    //! An overview to format: three nodes, of which 2 leads and 3 is far behind.

    use super::*;

    pub(in super::super) const FILE: &str = r#"
cluster = "test"
[[node]]
id = 1
region = "eu"
client = "10.0.0.1:7101"
peer = "10.0.0.1:7201"
[[node]]
id = 2
region = "eu"
client = "10.0.0.2:7102"
peer = "10.0.0.2:7202"
[[node]]
id = 3
region = "us"
client = "[fd00::3]:7103"
peer = "[fd00::3]:7203"
[[group]]
name = "orders"
nodes = [1, 2, 3]
"#;

    fn told(node: u64, applied: u64) -> MemberDescription {
        MemberDescription {
            node: NodeId(node),
            is_connected: true,
            leads: node == 2,
            is_catching_up: false,
            is_full: false,
            decided: LogIndex(applied),
            applied: LogIndex(applied),
            durable: LogIndex(applied),
            checkpoint: LogIndex(40),
            last_contact_ms: Some(12),
        }
    }

    /// The group as `node` sees it.
    pub(in super::super) fn seen_by(node: u64, cluster: &Cluster) -> Overview<'_> {
        let far_behind = MemberDescription {
            is_connected: false,
            is_catching_up: true,
            last_contact_ms: None,
            ..told(3, 0)
        };
        let members = vec![told(1, 98), told(2, 100), far_behind];
        let description = Description {
            configuration: ConfigurationId(4),
            members,
            ballot: 7,
            lease_left_ms: Some(250),
            end: LogIndex(103),
            trimmed: LogIndex(30),
            ..unknown(NodeId(node), Some(NodeId(2)))
        };
        let applied = member(&description, NodeId(node)).expect("one of three");
        Overview {
            cluster: Some(cluster),
            group: cluster.root().name.clone(),
            applied: applied.applied,
            waiters: 0,
            description,
        }
    }
}
