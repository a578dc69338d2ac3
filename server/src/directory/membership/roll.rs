//! [`Roll`]: what of gossip is looked up often, for readers: who says that it leads which group,
//! and where nodes have ports for cluster clients.
//!
//! A roll never changes; whoever keeps the gossip makes the next one. Of several nodes that say
//! they lead a group the one with the latest leadership counts, and only nodes that seem to be
//! there are asked. What it says may be out of date, or a lie: it decides whom to ask first, never
//! who may answer. Nothing can fail.

use std::collections::BTreeMap;

use bailiwick_replication::{GroupId, NodeId};

use super::NodeFacts;
use crate::cluster::Address;

/// A node that says it leads a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The node.
    pub node: NodeId,
    /// Which leadership of the group it means; rises from one to the next.
    pub leadership: u64,
    /// When this was heard here first, in nanoseconds of the clock that the maker of the roll has.
    pub heard_ns: u64,
}

/// A moment's knowledge.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roll {
    leaders: BTreeMap<GroupId, Claim>,
    cluster: BTreeMap<NodeId, Address>,
}

impl Roll {
    /// The roll that follows this one, of nodes with what they say of themselves.
    #[must_use]
    pub fn next<'f>(
        &self,
        nodes: impl Iterator<Item = (NodeId, &'f NodeFacts)>,
        now_ns: u64,
    ) -> Self {
        let mut next = Self::default();
        for (node, facts) in nodes {
            if let Ok(address) = facts.cluster.parse() {
                next.cluster.insert(node, address);
            }
            for seat in &facts.seats {
                if let Some(leadership) = seat.leads_since {
                    self.note(&mut next, seat.group, (leadership, node), now_ns);
                }
            }
        }
        next
    }

    /// Who says that it leads a group.
    #[must_use]
    pub fn leader(&self, group: GroupId) -> Option<Claim> {
        self.leaders.get(&group).copied()
    }

    /// Where a node says that clients reach it that know Redis Cluster.
    #[must_use]
    pub fn cluster_address(&self, node: NodeId) -> Option<&Address> {
        self.cluster.get(&node)
    }

    fn note(&self, next: &mut Self, group: GroupId, claim: (u64, NodeId), now_ns: u64) {
        let (leadership, node) = claim;
        let is_later = |known: &Claim| (known.leadership, known.node) > claim;
        if next.leaders.get(&group).is_some_and(is_later) {
            return;
        }
        let is_same = |known: &Claim| (known.leadership, known.node) == claim;
        let known = self.leader(group).filter(is_same);
        let heard_ns = known.map_or(now_ns, |known| known.heard_ns);
        let claim = Claim {
            node,
            leadership,
            heard_ns,
        };
        next.leaders.insert(group, claim);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Seat;
    use super::*;
    use crate::directory::testing::key;

    const GROUP: GroupId = GroupId(7);

    fn facts(leads_since: Option<u64>, cluster: &str) -> NodeFacts {
        NodeFacts {
            region: String::new(),
            client: String::new(),
            cluster: cluster.to_owned(),
            peer: String::new(),
            key: key(1).public(),
            disk: 0,
            seats: vec![Seat {
                group: GROUP,
                leads_since,
            }],
            directory: 0,
        }
    }

    fn roll(before: &Roll, claims: &[(u64, Option<u64>)], now_ns: u64) -> Roll {
        let facts: Vec<_> = claims
            .iter()
            .map(|(node, leads_since)| (NodeId(*node), facts(*leads_since, "")))
            .collect();
        before.next(facts.iter().map(|(node, facts)| (*node, facts)), now_ns)
    }

    #[test]
    fn of_two_that_lead_the_later_leadership_counts() {
        for claims in [[(1, Some(5)), (2, Some(6))], [(1, Some(6)), (2, Some(5))]] {
            let roll = roll(&Roll::default(), &claims, 1);
            assert_eq!(roll.leader(GROUP).map(|claim| claim.leadership), Some(6));
        }
        let follower = roll(&Roll::default(), &[(1, None)], 1);
        assert_eq!(follower.leader(GROUP), None);
    }

    #[test]
    fn a_claim_keeps_the_time_at_which_it_was_heard_first() {
        let first = roll(&Roll::default(), &[(1, Some(5))], 10);
        let same = roll(&first, &[(1, Some(5)), (2, None)], 20);
        assert_eq!(same.leader(GROUP).map(|claim| claim.heard_ns), Some(10));
        let later = roll(&same, &[(1, Some(7))], 30);
        assert_eq!(later.leader(GROUP).map(|claim| claim.heard_ns), Some(30));
        let gone = roll(&later, &[], 40);
        let back = roll(&gone, &[(1, Some(7))], 50);
        assert_eq!(back.leader(GROUP).map(|claim| claim.heard_ns), Some(50));
    }

    #[test]
    fn an_address_that_is_none_is_left_out() {
        let (good, bad) = (facts(None, "10.0.0.1:7001"), facts(None, "10.0.0.1"));
        let nodes = [(NodeId(1), &good), (NodeId(2), &bad)];
        let roll = Roll::default().next(nodes.into_iter(), 1);
        let shown = roll.cluster_address(NodeId(1)).map(ToString::to_string);
        assert_eq!(shown.as_deref(), Some("10.0.0.1:7001"));
        assert_eq!(roll.cluster_address(NodeId(2)), None);
    }
}
