//! Data directories that are lost, and `GROUP REPLACE`.
//!
//! A node has one directory for all its groups, so losing it makes it a stranger to all of them: it
//! takes no part until an operator has it replaced in each. A directory is emptied only where that
//! cannot lose what a group has decided: at most one member of a group may be without, and the
//! others must have all that the configuration began with. An operator may remove one member while
//! another one loses its directory, all the same; then there is no quorum left, and nothing that
//! can be promised about what follows.

use bailiwick::group::Change;
use bailiwick_replication::consensus::{Configuration, Meta};
use bailiwick_replication::{GroupId, NodeId};

use super::checks::RECOVERY_NS;
use super::{Event, World};
use crate::simulation::{MS, SECOND};

impl World {
    /// Whether a member's directory is not the one that its group knows.
    pub(super) fn is_stranger(&self, node: u64, configuration: &Configuration) -> bool {
        let known = configuration.member(NodeId(node));
        known.is_some_and(|member| member != self.nodes[&node].member_id())
    }

    /// The newest configuration of a group that any node knows of, be it down.
    fn newest_known(&self, group: GroupId) -> Configuration {
        let written = self.nodes.values().filter_map(|node| {
            let files = node.disks.get(&group)?.files();
            let meta = Meta::decode(files.meta.as_ref()?).ok()?;
            Some(meta.configuration().clone())
        });
        let known = written.chain([self.newest_configuration(group)]);
        known
            .max_by_key(|configuration| configuration.id)
            .unwrap_or_default()
    }

    fn groups(&self) -> impl Iterator<Item = GroupId> + use<> {
        (0..self.plan.groups.len() as u32).map(GroupId)
    }

    /// Empties the directory of a node, and has it replaced in its groups.
    pub(super) fn wipe(&mut self, id: u64) {
        let groups: Vec<GroupId> = self.groups().collect();
        if !groups.iter().all(|group| self.may_lose(*group, id)) {
            return;
        }
        if self.nodes[&id].running.is_some() {
            self.crash(id);
        }
        self.counts.wipes += 1;
        self.tell(|| format!("node {id} loses its directory"));
        self.last_disk += 1;
        let disk = self.last_disk;
        if let Some(node) = self.nodes.get_mut(&id) {
            node.empty(disk);
        }
        self.network.forget_late(id);
        let at = self.now + self.rng.u64(1..300) * MS;
        self.agenda.at(at, Event::Start(id));
        for group in groups {
            if self.newest_known(group).member(NodeId(id)).is_some() {
                let by = self.leader_of(group).unwrap_or(id);
                self.order_change(by, group, Change::Replace(NodeId(id)));
            }
        }
    }

    /// Whether a group can go on without what one node has of it.
    fn may_lose(&self, group: GroupId, id: u64) -> bool {
        let configuration = self.newest_known(group);
        if configuration.members.is_empty() {
            // It is not founded, and it may be this node on which that depends.
            return false;
        }
        if configuration.member(NodeId(id)).is_none() {
            return true;
        }
        let members = configuration.members.iter();
        let others = members.filter(|member| member.node.0 != id);
        let has_it = |other: u64| {
            let process = self.nodes[&other].running.as_ref();
            let seat = process.and_then(|process| process.seats.get(&group));
            let durable = seat.map(|seat| seat.member.replica().durable());
            !self.is_stranger(other, &configuration)
                && durable.is_some_and(|durable| durable >= configuration.begins_after)
        };
        let is_safe = others.clone().all(|other| has_it(other.node.0));
        is_safe && others.count() >= 2 && !self.is_stranger(id, &configuration)
    }

    /// Whoever lost its directory is let in again; false if a group has lost its quorum.
    pub(super) fn replace_strangers(&mut self) -> bool {
        let until = self.now + 4 * RECOVERY_NS;
        while self.violation.is_none() && self.now < until {
            let strangers: Vec<(GroupId, NodeId)> = self
                .groups()
                .flat_map(|group| {
                    let configuration = self.newest_known(group);
                    let members = configuration.members.iter().map(|member| member.node);
                    let strangers = members.filter(|node| self.is_stranger(node.0, &configuration));
                    strangers.map(|node| (group, node)).collect::<Vec<_>>()
                })
                .collect();
            if strangers.is_empty() {
                return true;
            }
            if self.groups().any(|group| !self.has_quorum(group)) {
                return false;
            }
            for (group, stranger) in strangers {
                if let Some(by) = self.leader_of(group) {
                    self.order_change(by, group, Change::Replace(stranger));
                }
            }
            self.run_until(SECOND, |_| false);
        }
        if self.violation.is_none() {
            self.fail(format!("a member cannot be replaced; {}", self.show()));
        }
        true
    }

    /// Whether enough members have the directories that their group knows.
    fn has_quorum(&self, group: GroupId) -> bool {
        let configuration = self.newest_known(group);
        let members = configuration.members.iter();
        let strangers = members.filter(|member| self.is_stranger(member.node.0, &configuration));
        configuration.members.is_empty()
            || configuration.members.len() - strangers.count() >= configuration.majority()
    }
}
