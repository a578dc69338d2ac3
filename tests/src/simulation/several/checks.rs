//! What must hold, one checker per property.

use std::collections::BTreeMap;
use std::collections::hash_map::Entry;

use bailiwick::authority::{Phase, Place};
use bailiwick::directory::ROOT_GROUP;
use bailiwick_replication::GroupId;

use super::places::{self, HOMES, PREFIXES};
use super::{Truth, World};
use crate::history::Operation;
use crate::linearizability;
use crate::simulation::checks::digest;
use crate::simulation::node::REQUEST_TIMEOUT_NS;
use crate::simulation::{MS, SECOND};

/// How long the slowest thing may take once all faults are over.
pub(super) const RECOVERY_NS: u64 = 60 * SECOND;

/// How long directories may take: two that found nothing new in each other leave each other alone
/// for up to a minute.
const AGREEMENT_NS: u64 = 240 * SECOND;

impl World {
    /// After a seat has applied something: replicas agree, and no key has two servers.
    pub(super) fn compare(&mut self, id: u64, group: GroupId) {
        let node = self.nodes.get_mut(&id);
        let Some(seat) = node.and_then(|node| node.seat_mut(group)) else {
            return;
        };
        seat.member.check_invariants();
        let state = seat.shared.state();
        let applied = state.applied.0;
        if applied == seat.compared {
            return;
        }
        assert!(
            applied > seat.compared,
            "node {id} went back to {applied} in {group:?}"
        );
        seat.compared = applied;
        let digest = digest(&state);
        let known = self.truth.get(&group);
        let is_newer = known.is_none_or(|known| applied > known.applied);
        let is_changed =
            known.is_none_or(|known| known.authority.digest() != state.authority.digest());
        let authority = (is_newer && is_changed).then(|| state.authority.clone());
        drop(state);
        match self.digests.entry((group, applied)) {
            Entry::Vacant(vacant) => {
                vacant.insert((digest, id));
            }
            Entry::Occupied(held) if held.get().0 != digest => {
                let other = held.get().1;
                return self.fail(format!(
                    "nodes {other} and {id} differ after entry {applied} of group {group}"
                ));
            }
            Entry::Occupied(_) => {}
        }
        if let Some(authority) = authority {
            authority.check_invariants();
            self.tell(|| {
                let shown = authority.domains().map(|(prefix, domain)| {
                    format!("\n      '{}' {domain:?}", prefix.escape_ascii())
                });
                format!("group {group} at {applied}:{}", shown.collect::<String>())
            });
            self.truth.insert(group, Truth { applied, authority });
            self.check_servers(group);
        } else if is_newer && let Some(known) = self.truth.get_mut(&group) {
            known.applied = applied;
        }
    }

    /// No key has two servers, and no prefix has had two at one epoch.
    fn check_servers(&mut self, changed: GroupId) {
        for home in HOMES {
            let servers = self.servers_of(home);
            if servers.len() > 1 {
                return self.fail(format!("keys of '{home}' are served by {servers:?}"));
            }
        }
        let owned = self.truth[&changed].authority.owned();
        let is_served = |phase: Phase| !matches!(phase, Phase::Frozen { .. });
        let owned = owned.filter(|(_, owned)| is_served(owned.phase));
        let owned: Vec<_> = owned
            .map(|(prefix, owned)| (prefix.to_vec(), owned.epoch))
            .collect();
        for (prefix, epoch) in owned {
            let shown = prefix.escape_ascii().to_string();
            let first = *self.served.entry((prefix, epoch)).or_insert(changed);
            if first != changed {
                return self.fail(format!(
                    "groups {first} and {changed} have both served '{shown}' at epoch {epoch}"
                ));
            }
        }
    }

    /// The groups that serve the keys of a home, by what they have decided.
    fn servers_of(&self, home: &str) -> Vec<GroupId> {
        let key = format!("{home}text:0");
        let serves = |truth: &Truth| truth.authority.place(key.as_bytes()) == Place::Here;
        let servers = self.truth.iter().filter(|(_, truth)| serves(truth));
        servers.map(|(group, _)| *group).collect()
    }

    /// A member of this group reads a key under its lease: nobody else may serve it at this moment.
    pub(super) fn check_reader(&mut self, group: GroupId, key: &str) {
        let serves = |truth: &Truth| truth.authority.place(key.as_bytes()) == Place::Here;
        let mut others = self.truth.iter().filter(|(other, _)| **other != group);
        if let Some((other, _)) = others.find(|(_, truth)| serves(truth)) {
            let other = *other;
            self.fail(format!(
                "group {group} reads {key} under a lease, while group {other} serves it"
            ));
        }
    }

    /// Everything is healed: all has to come to rest, and to be right.
    pub(super) fn check_end(&mut self) {
        let is_answered = |world: &Self| {
            let mut clients = world.clients.iter();
            clients.all(|client| client.asked.is_none() && client.spreading.is_none())
        };
        self.run_until(2 * REQUEST_TIMEOUT_NS + 4 * SECOND, is_answered);
        self.demand("a client is not answered", is_answered);
        if !self.replace_strangers() {
            self.counts.lost += 1;
            return self.check_history();
        }
        self.run_until(RECOVERY_NS, Self::is_settled);
        self.demand("prefixes do not come to rest", Self::is_settled);
        for home in HOMES {
            let servers = self.servers_of(home);
            if self.violation.is_none() && servers.len() != 1 {
                self.fail(format!("keys of '{home}' are served by {servers:?}"));
            }
        }
        self.run_until(AGREEMENT_NS, |world| world.misled().is_none());
        if self.violation.is_none()
            && let Some(text) = self.misled()
        {
            self.fail(format!("{text}; {}", self.show()));
        }
        self.end_all_waits();
        for client in 0..self.clients.len() {
            let home = HOMES[client % HOMES.len()];
            self.ask_at_last(client, &places::counter(home), &Operation::Increment);
        }
        for name in places::all().chain(places::all_of_pairs()) {
            let client = self.rng.usize(..self.clients.len());
            self.ask_at_last(client, &name, &Operation::Get);
        }
        self.look_at_elements();
        self.run_until(RECOVERY_NS, Self::has_caught_up);
        self.demand("members do not come to the same point", Self::has_caught_up);
        self.check_history();
    }

    fn check_history(&mut self) {
        if self.violation.is_none()
            && let Err(violation) = linearizability::check(&self.history)
        {
            self.fail(violation.to_string());
        }
    }

    pub(super) fn demand(&mut self, text: &str, holds: impl Fn(&Self) -> bool) {
        if self.violation.is_none() && !holds(self) {
            self.fail(format!("{text}; {}", self.show()));
        }
    }

    /// Whether nothing is moving.
    fn is_settled(&self) -> bool {
        let mut all = self.truth.values();
        all.all(|truth| truth.authority.unsettled().next().is_none())
    }

    /// What some node's directory has wrong, if any has.
    fn misled(&self) -> Option<String> {
        let mut owners = BTreeMap::new();
        for (group, truth) in &self.truth {
            for (prefix, owned) in truth.authority.owned() {
                owners.insert(prefix.to_vec(), (*group, owned.epoch));
            }
        }
        let root = &self.truth.get(&ROOT_GROUP)?.authority;
        for node in self.nodes.values() {
            let view = node.running.as_ref()?.office.directory().snapshot();
            for prefix in PREFIXES {
                let known = view.owner_of_prefix(prefix.as_bytes());
                let known = known.map(|owner| (owner.group, owner.epoch));
                let owner = owners.get(prefix.as_bytes()).copied();
                if known != owner {
                    let id = node.id;
                    return Some(format!(
                        "node {id} takes {known:?} for the owner of '{prefix}', which is {owner:?}"
                    ));
                }
            }
            for (group, record) in root.groups() {
                let known = view.group(group).map(|known| known.configuration);
                let newest = u64::from(self.newest_configuration(group).id.0);
                let is_known = known == Some(newest) && u64::from(record.configuration) == newest;
                if !is_known {
                    let (id, told) = (node.id, record.configuration);
                    return Some(format!(
                        "node {id} has configuration {known:?} of group {group}, the root group \
                         {told}, and the newest is {newest}"
                    ));
                }
            }
        }
        None
    }

    /// Whether all members of all groups have applied the same.
    fn has_caught_up(&self) -> bool {
        self.truth.keys().all(|group| {
            let configuration = self.newest_configuration(*group);
            let mut applied = configuration.members.iter().map(|member| {
                let process = self.nodes.get(&member.node.0)?.running.as_ref()?;
                let replica = process.seats.get(group)?.member.replica();
                Some((replica.applied(), replica.applied() == replica.end()))
            });
            let first = applied.next().flatten();
            first.is_some_and(|(_, is_done)| is_done) && applied.all(|other| other == first)
        })
    }

    /// Something that has to succeed by now.
    fn ask_at_last(&mut self, client: usize, name: &str, operation: &Operation) {
        let until = self.now + RECOVERY_NS;
        while self.violation.is_none() && self.now < until {
            let before = self.counts.answered;
            self.ask_for(client, name, operation.clone());
            self.run_until(3 * REQUEST_TIMEOUT_NS, |world| {
                world.clients[client].asked.is_none()
            });
            if self.counts.answered > before {
                return;
            }
            self.run_until(100 * MS, |_| false);
        }
        if self.violation.is_none() {
            let node = self.clients[client].node;
            self.fail(format!(
                "{operation:?} of {name} through node {node} does not succeed; {}",
                self.show()
            ));
        }
    }

    /// What a person needs to see of a cluster that stands still.
    pub(super) fn show(&self) -> String {
        let mut text = String::new();
        for (group, truth) in &self.truth {
            text += &format!("\ngroup {group} at {}:", truth.applied);
            for (prefix, domain) in truth.authority.domains() {
                text += &format!("\n  '{}' {domain:?}", prefix.escape_ascii());
            }
        }
        for node in self.nodes.values() {
            let Some(process) = &node.running else {
                text += &format!("\nnode {} is down", node.id);
                continue;
            };
            let links = &process.sessions;
            text += &format!("\nnode {} links {links:?}", node.id);
            text += &process.drivers.describe();
            for (group, seat) in &process.seats {
                let replica = seat.member.replica();
                text += &format!(
                    "\n  seat in {group}: {:?} leader {:?} leads {} decided {} end {} applied {}",
                    replica.configuration(),
                    replica.leader(),
                    replica.is_leader(),
                    replica.decided(),
                    replica.end(),
                    replica.applied(),
                );
                let state = seat.shared.state();
                if !state.waiters.is_empty() {
                    let takes_part = seat.shared.standing().takes_part();
                    text += &format!(" takes part {takes_part}, {:?}", state.waiters);
                }
            }
            text += &process.orphans.describe();
        }
        for (at, client) in self.clients.iter().enumerate() {
            if let Some(asked) = &client.asked {
                let waits = (self.now - asked.since) / MS;
                text += &format!("\nclient {at} at node {} waits for {waits} ms", client.node);
            }
            if let Some(wait) = &client.wait {
                let node = client.node;
                text += &format!("\nclient {at} at node {node} waits: {}", wait.describe());
            }
        }
        text
    }
}
