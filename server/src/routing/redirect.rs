//! When a client is sent elsewhere instead of having its request executed.
//!
//! On the plain port only if it asked for that (`ROUTE MODE redirect`): then every key is
//! redirected to whoever leads the group that owns it. On the cluster port the rule is that a
//! redirect never contradicts the slot map, which breaks clients: a key is redirected only to the
//! node to which `CLUSTER SLOTS` gives its slot. Where that node would have to ask another group
//! all the same, as for a prefix that is no hash tag, whoever was asked does so itself.

use bailiwick_replication::{GroupId, NodeId};

use super::slots::{SlotMap, slot_of};

/// Which of the node's ports a connection came in by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Port {
    /// The one for any client.
    #[default]
    Plain,
    /// The one for clients that know Redis Cluster.
    Cluster,
}

/// What decides about a redirect, beside the keys.
pub trait Around {
    /// This node.
    fn me(&self) -> NodeId;
    /// Who owns a key.
    fn group_of(&self, key: &[u8]) -> GroupId;
    /// Who leads a group, if this node knows.
    fn leader_of(&self, group: GroupId) -> Option<NodeId>;
    /// Whether the request can be executed by this node although it does not lead the group.
    fn serves_copy(&self, group: GroupId) -> bool;
}

/// Where a request with these keys is redirected to: the slot to name, and the node. `None` if it
/// is executed from here.
pub fn decide<'k>(
    asks_for_all: bool,
    keys: impl Iterator<Item = &'k [u8]> + Clone,
    slots: &SlotMap,
    around: &impl Around,
) -> Option<(u16, NodeId)> {
    let first = keys.clone().next()?;
    let group = around.group_of(first);
    let fits = |key: &[u8]| {
        around.group_of(key) == group && (asks_for_all || slots.group(slot_of(key)) == group)
    };
    if !keys.clone().all(fits) {
        return None;
    }
    let leader = around.leader_of(group)?;
    let stays = leader == around.me() || around.serves_copy(group);
    (!stays).then(|| (slot_of(first), leader))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keys of `eu:` and `{eu}` belong to group 1, of `us:` to group 2, others to the root group.
    /// Node n leads group n, and nobody leads group 2.
    struct World {
        me: u64,
        has_copy: bool,
    }

    impl Around for World {
        fn me(&self) -> NodeId {
            NodeId(self.me)
        }

        fn group_of(&self, key: &[u8]) -> GroupId {
            let is = |prefix: &[u8]| key.starts_with(prefix);
            GroupId(if is(b"eu:") || is(b"{eu}") {
                1
            } else if is(b"us:") {
                2
            } else {
                0
            })
        }

        fn leader_of(&self, group: GroupId) -> Option<NodeId> {
            [Some(10), Some(11), None][group.0 as usize].map(NodeId)
        }

        fn serves_copy(&self, _: GroupId) -> bool {
            self.has_copy
        }
    }

    fn decided(me: u64, asks_for_all: bool, keys: &[&str]) -> Option<u64> {
        let slots = SlotMap::of([(&b"{eu}"[..], GroupId(1))].into_iter());
        let world = World {
            me,
            has_copy: false,
        };
        let keys = keys.iter().map(|key| key.as_bytes());
        let (slot, node) = decide(asks_for_all, keys.clone(), &slots, &world)?;
        assert_eq!(Some(slot), keys.clone().next().map(slot_of));
        Some(node.0)
    }

    #[test]
    fn by_the_slot_map_only_keys_are_redirected_whose_slot_is_their_owners() {
        for (me, keys, target) in [
            (10, &["{eu}a"][..], Some(11)),
            (11, &["{eu}a"], None),
            (11, &["a"], Some(10)),
            (12, &["a"], Some(10)),
            // Untagged: the slot is the root's, and the key is not.
            (12, &["eu:a"], None),
            (10, &["eu:a"], None),
            (12, &["{eu}a", "{eu}b"], Some(11)),
            (12, &["a", "b"], Some(10)),
            (12, &["a", "{eu}b"], None),
            (12, &["{eu}a", "eu:b"], None),
            (12, &[], None),
        ] {
            assert_eq!(decided(me, false, keys), target, "{me} {keys:?}");
        }
    }

    #[test]
    fn who_asks_for_it_is_redirected_to_every_owner() {
        for (me, keys, target) in [
            (12, &["eu:a"][..], Some(11)),
            (11, &["eu:a"], None),
            (12, &["eu:a", "{eu}b"], Some(11)),
            (12, &["eu:a", "a"], None),
            // Nobody is known to lead.
            (12, &["us:a"], None),
        ] {
            assert_eq!(decided(me, true, keys), target, "{me} {keys:?}");
        }
    }

    #[test]
    fn what_a_copy_can_answer_is_not_redirected() {
        let slots = SlotMap::default();
        let world = World {
            me: 12,
            has_copy: true,
        };
        assert_eq!(decide(false, [&b"a"[..]].into_iter(), &slots, &world), None);
    }
}
