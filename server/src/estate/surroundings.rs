//! What those who are told of keys need to know of groups and nodes.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use bailiwick_replication::{GroupId, NodeId};

use crate::group::Host;
use crate::node::Node;
use crate::notices::Neighbours;

/// A node with its groups, as long as it is there.
pub(super) struct Surroundings {
    node: Weak<Node>,
    host: Arc<Host>,
}

impl Surroundings {
    pub(super) fn new(node: &Arc<Node>, host: &Arc<Host>) -> Self {
        Self {
            node: Arc::downgrade(node),
            host: host.clone(),
        }
    }

    fn is_linked(&self, node: NodeId) -> bool {
        self.host.linked(node).is_some()
    }

    /// Whether this node, as the leader of a group, has links to so many that they are a majority.
    fn has_majority(&self, group: GroupId) -> bool {
        let members = self.members(group);
        let own = self.host.me().node;
        let linked = members
            .iter()
            .filter(|node| **node == own || self.is_linked(**node));
        members.is_empty() || 2 * linked.count() > members.len()
    }
}

impl Neighbours for Surroundings {
    fn groups(&self) -> Vec<GroupId> {
        let node = self.node.upgrade();
        let estate = node.as_ref().and_then(|node| node.estate());
        estate.map_or_else(Vec::new, |estate| {
            let view = estate.directory.view();
            view.groups().map(|group| group.id).collect()
        })
    }

    fn members(&self, group: GroupId) -> Vec<NodeId> {
        let node = self.node.upgrade();
        let estate = node.as_ref().and_then(|node| node.estate());
        estate.map_or_else(Vec::new, |estate| {
            let view = estate.directory.view();
            let record = view.group(group);
            let members = record.into_iter().flat_map(|record| &record.members);
            members.map(|member| member.node).collect()
        })
    }

    fn reachable(&self, group: GroupId) -> Vec<NodeId> {
        let mut members = self.members(group);
        members.retain(|node| self.is_linked(*node));
        let node = self.node.upgrade();
        let leader = node.and_then(|node| node.estate()?.proxy.leader(group));
        // What the leader has applied, others apply a moment later.
        members.sort_by_key(|node| Some(*node) != leader);
        members
    }

    fn takes_part(&self, group: GroupId) -> bool {
        let seat = self.node.upgrade().and_then(|node| node.seats.get(group));
        seat.is_some_and(|seat| seat.standing().takes_part())
    }

    fn contacts(&self) -> BTreeMap<GroupId, Option<NodeId>> {
        let Some(node) = self.node.upgrade() else {
            return BTreeMap::new();
        };
        let own = self.host.me().node;
        let seats = node.seats.all();
        let taken = seats.values().filter(|seat| seat.standing().takes_part());
        let contact = |standing: &crate::group::Standing, group: GroupId| {
            if standing.leads() {
                return Some(own).filter(|_| self.has_majority(group));
            }
            standing.leader().filter(|leader| self.is_linked(*leader))
        };
        taken
            .map(|seat| (seat.id(), contact(seat.standing(), seat.id())))
            .collect()
    }

    fn settle(&self, group: GroupId) {
        if let Some(seat) = self.node.upgrade().and_then(|node| node.seats.get(group)) {
            drop(seat.state());
        }
    }
}
