//! The cluster as cluster clients see it: nodes with their roles, groups with their slots.
//!
//! A value that is made when somebody asks. Redis has a node serve one set of slots, as their
//! master or as a replica; here a node may lead one group and follow in others. It is shown as
//! master of the slots of all groups that it leads. Clients take a node that they have met as a
//! replica for nothing else, so only nodes that are no masters are shown as replicas.
//!
//! Who leads is what this node knows last. For a group of which it knows none, the first member
//! stands in: whoever is asked has the request executed all the same.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bailiwick_replication::{GroupId, NodeId};

use super::redirect::Port;
use super::slots::SlotMap;
use crate::cluster::Address;

/// The group that owns the empty prefix.
const ROOT: GroupId = GroupId(0);

/// Nodes, groups and slots.
#[derive(Clone, Debug)]
pub struct Topology {
    /// This node.
    pub me: NodeId,
    /// All nodes, by id.
    pub nodes: BTreeMap<NodeId, NodeInfo>,
    /// All groups.
    pub groups: BTreeMap<GroupId, GroupInfo>,
    /// Which group each slot belongs to.
    pub slots: Arc<SlotMap>,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeInfo {
    /// Forty hexadecimal digits that never change.
    pub name: String,
    /// Where clients reach it.
    pub client: Address,
    /// Where cluster clients reach it, if it has a port for them.
    pub cluster: Option<Address>,
    /// Where other nodes reach it.
    pub peer: Address,
    /// Whether this node has a link to it, or is it.
    pub is_connected: bool,
}

/// A group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupInfo {
    /// The name.
    pub name: String,
    /// The number of the configuration.
    pub configuration: u64,
    /// The members.
    pub members: Vec<NodeId>,
    /// Who leads, if this node knows.
    pub leader: Option<NodeId>,
}

/// What a node is to a cluster client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It has slots, or nothing to do with any.
    Master,
    /// It keeps a copy for this master.
    ReplicaOf(NodeId),
}

/// Slots in a row with the nodes that serve them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// The first and the last slot.
    pub slots: (u16, u16),
    /// The group.
    pub group: GroupId,
    /// Who serves them.
    pub master: NodeId,
    /// Who keeps copies.
    pub replicas: Vec<NodeId>,
}

impl NodeInfo {
    /// Where a client that came in by this port reaches the node.
    #[must_use]
    pub fn address(&self, port: Port) -> &Address {
        match (port, &self.cluster) {
            (Port::Cluster, Some(address)) => address,
            _ => &self.client,
        }
    }
}

impl Topology {
    /// Who answers for a group: its leader, or else its first member.
    #[must_use]
    pub fn master_of(&self, group: GroupId) -> Option<NodeId> {
        let group = self.groups.get(&group)?;
        let known = |node: &NodeId| self.nodes.contains_key(node);
        let leader = group.leader.filter(known);
        leader.or_else(|| group.members.iter().copied().find(known))
    }

    /// Who keeps copies for a group, as far as clients can use them.
    fn replicas_of(&self, group: GroupId) -> Vec<NodeId> {
        let masters = self.masters();
        let members = self.groups.get(&group).map(|group| &group.members);
        let members = members.into_iter().flatten().copied();
        members
            .filter(|node| !masters.contains(node))
            .filter(|node| self.nodes.get(node).is_some_and(|node| node.is_connected))
            .collect()
    }

    /// The nodes that have slots.
    #[must_use]
    pub fn masters(&self) -> BTreeSet<NodeId> {
        let groups = self.slots.ranges().into_keys();
        groups.filter_map(|group| self.master_of(group)).collect()
    }

    /// All slots in ascending order. A group that this node knows nothing of has its slots served
    /// by the root group.
    #[must_use]
    pub fn ranges(&self) -> Vec<Range> {
        let mut all = Vec::new();
        for (group, ranges) in self.slots.ranges() {
            let Some(master) = self.master_of(group).or_else(|| self.master_of(ROOT)) else {
                continue;
            };
            let replicas = self.replicas_of(group);
            all.extend(ranges.into_iter().map(|slots| Range {
                slots,
                group,
                master,
                replicas: replicas.clone(),
            }));
        }
        all.sort_by_key(|range| range.slots);
        all
    }

    /// The slots that a node serves, as ranges without gaps, in ascending order.
    #[must_use]
    pub fn slots_of(&self, node: NodeId) -> Vec<(u16, u16)> {
        let ranges = self.slots.ranges().into_iter();
        let own = ranges.filter(|(group, _)| self.master_of(*group) == Some(node));
        let mut own: Vec<(u16, u16)> = own.flat_map(|(_, ranges)| ranges).collect();
        own.sort_unstable();
        let mut joined: Vec<(u16, u16)> = Vec::new();
        for (first, last) in own {
            match joined.last_mut() {
                Some(before) if before.1 + 1 == first => before.1 = last,
                _ => joined.push((first, last)),
            }
        }
        joined
    }

    /// What a node is.
    #[must_use]
    pub fn role(&self, node: NodeId) -> Role {
        if self.masters().contains(&node) {
            return Role::Master;
        }
        let groups = self.slots.ranges().into_keys();
        let mut member_of = groups.filter(|group| {
            let group = self.groups.get(group);
            group.is_some_and(|group| group.members.contains(&node))
        });
        let master = member_of.find_map(|group| self.master_of(group));
        master.map_or(Role::Master, Role::ReplicaOf)
    }

    /// The groups whose keys this node lists to cluster clients. Such clients ask each master, and
    /// add up: so a group is listed by the master of its slots, and if it has none, by that of the
    /// root group's, which is where these clients look for its keys.
    #[must_use]
    pub fn share(&self) -> BTreeSet<GroupId> {
        let lists = |group: &GroupId| {
            let by = if self.slots.has_slot(*group) {
                *group
            } else {
                ROOT
            };
            self.master_of(by) == Some(self.me)
        };
        self.groups.keys().copied().filter(lists).collect()
    }

    /// Whether the group can be expected to answer.
    #[must_use]
    pub fn is_up(&self, group: GroupId) -> bool {
        let Some(group) = self.groups.get(&group) else {
            return false;
        };
        let is_connected =
            |node: &NodeId| self.nodes.get(node).is_some_and(|node| node.is_connected);
        match group.leader {
            Some(leader) => is_connected(&leader),
            // Nobody has asked it yet.
            None => !group.members.contains(&self.me) && group.members.iter().any(is_connected),
        }
    }

    /// What people call a group.
    #[must_use]
    pub fn group_name(&self, group: GroupId) -> String {
        let known = self.groups.get(&group);
        known.map_or_else(|| format!("#{}", group.0), |group| group.name.clone())
    }
}

#[cfg(test)]
pub mod testing {
    //! Three nodes; root is led by 1, `eu` with `{eu}` by 2, `logs` without a tag by 3.

    use super::*;

    /// As seen by `me`.
    #[must_use]
    pub fn topology(me: u64) -> Topology {
        let address = |port: u64| format!("10.0.0.{}:{port}", port % 10).parse::<Address>();
        let node = |id: u64| {
            let info = NodeInfo {
                name: format!("{id:040x}"),
                client: address(7100 + id).expect("an address"),
                cluster: (id != 3).then(|| address(7300 + id).expect("an address")),
                peer: address(7200 + id).expect("an address"),
                is_connected: true,
            };
            (NodeId(id), info)
        };
        let group = |id: u32, name: &str, leader: Option<u64>, members: &[u64]| {
            let info = GroupInfo {
                name: name.to_owned(),
                configuration: 4,
                members: members.iter().copied().map(NodeId).collect(),
                leader: leader.map(NodeId),
            };
            (GroupId(id), info)
        };
        let groups = [
            group(0, "root", Some(1), &[1, 2, 3]),
            group(1, "eu", Some(2), &[1, 2, 3]),
            group(2, "logs", Some(3), &[3]),
        ];
        let prefixes = [(&b"logs:"[..], GroupId(2)), (b"{eu}", GroupId(1))];
        Topology {
            me: NodeId(me),
            nodes: (1..=3).map(node).collect(),
            groups: groups.into(),
            slots: Arc::new(SlotMap::of(prefixes.into_iter())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::slots::{SLOTS, slot_of};
    use super::testing::topology;
    use super::*;

    #[test]
    fn every_slot_has_a_master_and_only_others_are_replicas() {
        let topology = topology(1);
        let ranges = topology.ranges();
        let eu = slot_of(b"{eu}");
        let shown: Vec<_> = ranges
            .iter()
            .map(|range| (range.slots, range.master.0))
            .collect();
        assert_eq!(
            shown,
            [((0, eu - 1), 1), ((eu, eu), 2), ((eu + 1, SLOTS - 1), 1)]
        );
        assert!(ranges.iter().all(|range| range.replicas == [NodeId(3)]));
        let roles = [1, 2, 3].map(|node| topology.role(NodeId(node)));
        assert_eq!(
            roles,
            [Role::Master, Role::Master, Role::ReplicaOf(NodeId(1))]
        );
    }

    #[test]
    fn a_node_that_leads_two_groups_has_their_slots_in_one_range() {
        let mut topology = topology(1);
        assert_eq!(topology.slots_of(NodeId(1)).len(), 2);
        let eu = topology.groups.get_mut(&GroupId(1)).expect("eu");
        eu.leader = Some(NodeId(1));
        assert_eq!(topology.slots_of(NodeId(1)), [(0, SLOTS - 1)]);
        assert!(topology.slots_of(NodeId(2)).is_empty());
    }

    #[test]
    fn the_shares_of_all_masters_are_everything_once() {
        let shares: Vec<_> = (1..=3).map(|me| topology(me).share()).collect();
        assert_eq!(shares[0], [GroupId(0), GroupId(2)].into());
        assert_eq!(shares[1], [GroupId(1)].into());
        assert!(shares[2].is_empty());
    }

    #[test]
    fn for_an_unknown_leader_the_first_known_member_stands_in() {
        let mut topology = topology(1);
        let root = topology.groups.get_mut(&ROOT).expect("the root");
        root.leader = None;
        root.members = [9, 3, 2].map(NodeId).to_vec();
        assert_eq!(topology.master_of(ROOT), Some(NodeId(3)));
        assert!(topology.is_up(ROOT));
        topology.groups.remove(&GroupId(1));
        assert!(
            topology
                .ranges()
                .iter()
                .all(|range| range.master == NodeId(3))
        );
        assert_eq!(topology.group_name(GroupId(1)), "#1");
    }

    #[test]
    fn a_group_without_a_connected_leader_is_not_up() {
        let mut topology = topology(1);
        assert!(topology.is_up(GroupId(1)));
        topology
            .nodes
            .get_mut(&NodeId(2))
            .expect("node 2")
            .is_connected = false;
        assert!(!topology.is_up(GroupId(1)));
        // A member that knows no leader has none.
        topology.groups.get_mut(&ROOT).expect("the root").leader = None;
        assert!(!topology.is_up(ROOT));
    }
}
