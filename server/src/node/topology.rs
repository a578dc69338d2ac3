//! What this node knows of the cluster's shape: slots, leaders, and the whole as cluster clients
//! see it. Put together from the cluster's file, the directory, this node's seats, what other nodes
//! said when they were asked, and what they say of themselves by gossip.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use bailiwick_replication::link::LinkState;
use bailiwick_replication::{GroupId, NodeId};
use sha1::{Digest as _, Sha1};

use super::Node;
use crate::cluster::{Address, Cluster, NodeEntry};
use crate::directory::View;
use crate::estate::Estate;
use crate::routing::redirect::Port;
use crate::routing::slots::SlotMap;
use crate::routing::topology::{GroupInfo, NodeInfo, Topology};

/// The slot map, kept until the directory changes.
#[derive(Default)]
pub struct SlotCache {
    kept: ArcSwapOption<(u64, Arc<SlotMap>)>,
}

impl SlotCache {
    /// The map of what the directory holds.
    fn of(&self, view: &View) -> Arc<SlotMap> {
        let generation = view.generation();
        if let Some(kept) = &*self.kept.load()
            && kept.0 == generation
        {
            return kept.1.clone();
        }
        let tagged = view
            .under(b"{")
            .map(|(prefix, owner)| (prefix, owner.group));
        let map = Arc::new(SlotMap::of(tagged));
        self.kept.store(Some(Arc::new((generation, map.clone()))));
        map
    }
}

impl Node {
    /// Which group each of Redis Cluster's slots belongs to.
    #[must_use]
    pub fn slots(&self) -> Arc<SlotMap> {
        match self.estate() {
            Some(estate) => self.slot_cache.of(&estate.directory.view()),
            None => Arc::default(),
        }
    }

    /// Who leads a group, as far as this node knows.
    #[must_use]
    pub fn leader_of(&self, group: GroupId) -> Option<NodeId> {
        if let Some(seat) = self.seats.get(group)
            && seat.standing().takes_part()
        {
            let own = self.settings.cluster().map(|(_, node)| *node);
            let standing = seat.standing();
            return if standing.leads() {
                own
            } else {
                standing.leader()
            };
        }
        let estate = self.estate()?;
        estate.proxy.leader(group).or_else(|| {
            // Of a group of which nobody has told yet: its only member leads it.
            match estate.directory.view().group(group)?.members.as_slice() {
                [only] => Some(only.node),
                _ => None,
            }
        })
    }

    /// The cluster as cluster clients see it; `None` for a node that runs without one.
    #[must_use]
    pub fn topology(&self) -> Option<Topology> {
        let (cluster, me) = self.settings.cluster()?;
        let connected = self.connected();
        let roll = self.estate().map(|estate| estate.census.roll());
        let info = |node: &NodeEntry| {
            let is_me = node.id == *me;
            let mut info = node_info(cluster, node, is_me || connected.contains(&node.id));
            // A port that only a flag gives is known here, and elsewhere by gossip.
            info.cluster = info.cluster.or_else(|| {
                if is_me {
                    return self.own_cluster_address();
                }
                roll.as_ref()?.cluster_address(node.id).cloned()
            });
            (node.id, info)
        };
        let groups = match self.estate() {
            Some(estate) => self.groups(estate),
            None => BTreeMap::new(),
        };
        Some(Topology {
            me: *me,
            nodes: cluster.nodes.iter().map(info).collect(),
            groups,
            slots: self.slots(),
        })
    }

    /// Where clients reach a node that came in by this port, as this node knows it.
    #[must_use]
    pub fn address_of(&self, id: NodeId, port: Port) -> Option<Address> {
        let (cluster, _) = self.settings.cluster()?;
        let node = cluster.node(id)?;
        if port == Port::Cluster && node.cluster.is_none() {
            let roll = self.estate()?.census.roll();
            if let Some(told) = roll.cluster_address(id) {
                return Some(told.clone());
            }
        }
        Some(node.address(port).clone())
    }

    /// Where cluster clients reach this node, if it listens for them: on the host that others know.
    #[must_use]
    pub fn own_cluster_address(&self) -> Option<Address> {
        let (cluster, me) = self.settings.cluster()?;
        let listening = self.cluster_addresses().first()?;
        Some(cluster.node(*me)?.client.with_port(listening.port()))
    }

    fn groups(&self, estate: &Estate) -> BTreeMap<GroupId, GroupInfo> {
        let view = estate.directory.view();
        let info = |id: GroupId, configuration: u64, members: Vec<NodeId>| {
            let (name, leader) = (estate.group_name(id), self.leader_of(id));
            let info = GroupInfo {
                name,
                configuration,
                members,
                leader,
            };
            (id, info)
        };
        let groups = view.groups().map(|group| {
            let members = group.members.iter().map(|member| member.node);
            info(group.id, group.configuration, members.collect())
        });
        groups.collect()
    }

    /// The nodes to which there is a link.
    fn connected(&self) -> BTreeSet<NodeId> {
        let links = self.host().map(|host| host.link_status());
        let links = links.into_iter().flatten();
        links
            .filter(|link| link.state == LinkState::Up)
            .map(|link| link.node)
            .collect()
    }
}

/// Forty hexadecimal digits that name a node to cluster clients, for ever: they follow from the
/// cluster's name and the node's id.
#[must_use]
pub fn node_name(cluster: &Cluster, node: NodeId) -> String {
    name_of(cluster, "node", node.0)
}

/// The same for a group.
#[must_use]
pub fn group_name(cluster: &Cluster, group: GroupId) -> String {
    name_of(cluster, "group", group.0.into())
}

fn name_of(cluster: &Cluster, what: &str, number: u64) -> String {
    let hash = Sha1::new()
        .chain_update(format!("bailiwick {what} {number} of "))
        .chain_update(cluster.id().to_string())
        .finalize();
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn node_info(cluster: &Cluster, node: &NodeEntry, is_connected: bool) -> NodeInfo {
    NodeInfo {
        name: node_name(cluster, node.id),
        client: node.client.clone(),
        cluster: node.cluster.clone(),
        peer: node.peer.clone(),
        is_connected,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_from_the_cluster_and_the_number() {
        let cluster = |name: &str| Cluster {
            name: name.to_owned(),
            nodes: Vec::new(),
            groups: Vec::new(),
            prefixes: Vec::new(),
        };
        let name = node_name(&cluster("test"), NodeId(1));
        assert!(name.len() == 40 && name.bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert_eq!(name, node_name(&cluster("test"), NodeId(1)));
        for other in [
            node_name(&cluster("test"), NodeId(2)),
            node_name(&cluster("tests"), NodeId(1)),
            group_name(&cluster("test"), GroupId(1)),
        ] {
            assert_ne!(name, other);
        }
    }
}
