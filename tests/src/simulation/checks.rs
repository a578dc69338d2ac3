//! What must hold, one checker per property.
//!
//! While it runs: all nodes apply the same entries and have the same state after each (*agreement*,
//! *digests*), and no node goes back (*sessions go forward*, with the clients' own checks). When
//! all faults are over: the group works again (*progress*), each piece of the log is there once
//! (*not lost*, *applied once*), and the history is linearizable per key.

use std::collections::hash_map::{DefaultHasher, Entry};
use std::hash::{Hash, Hasher};

use bailiwick::group::Change;
use bailiwick::keyspace::{Object, ValueRef};
use bailiwick::state::State;
use bailiwick_replication::NodeId;
use bailiwick_replication::consensus::Configuration;

use super::client::{Client, ELEMENTS, LOG, STEADY};
use super::{MS, SECOND, Simulation};
use crate::history::{Operation, Outcome, Reply};
use crate::linearizability;

/// Longer values are looked at in part.
const LOOKED_AT: usize = 4 << 10;

impl Simulation {
    /// After a node has applied something.
    pub(super) fn compare(&mut self, id: u64) {
        let Some(running) = self
            .nodes
            .get_mut(&id)
            .and_then(|node| node.running.as_mut())
        else {
            return;
        };
        running.member.check_invariants();
        let state = running.shared.state();
        let applied = state.applied.0;
        if applied == running.compared {
            return;
        }
        assert!(
            applied > running.compared,
            "node {id} went back to {applied}"
        );
        let digest = digest(&state);
        if self.is_told {
            let members = state
                .configuration
                .as_ref()
                .map(|next| (next.id, &next.members));
            println!("node {id} has applied {applied}: {digest:016x} {members:?}");
        }
        drop(state);
        running.compared = applied;
        match self.digests.entry(applied) {
            Entry::Vacant(vacant) => {
                vacant.insert((digest, id));
            }
            Entry::Occupied(held) if held.get().0 != digest => {
                let other = held.get().1;
                return self.fail(format!(
                    "nodes {other} and {id} differ after entry {applied}"
                ));
            }
            Entry::Occupied(_) => {}
        }
        self.compare_entries(id);
    }

    /// Compares what was applied with what others applied, as far as it is on this disk.
    fn compare_entries(&mut self, id: u64) {
        let Some(node) = self.nodes.get_mut(&id) else {
            return;
        };
        let Some(running) = &mut node.running else {
            return;
        };
        let replica = running.member.replica();
        let upto = replica.applied().min(replica.durable()).0;
        if upto <= running.compared_entries || upto <= replica.trimmed().0 {
            return;
        }
        // What a checkpoint stands for may be anything on this disk.
        let range = running.compared_entries.max(replica.trimmed().0) + 1..=upto;
        running.compared_entries = upto;
        let files = node.disk.files();
        let mut differs = None;
        for (index, entry) in files.entries.range(range) {
            let mut hasher = DefaultHasher::new();
            entry.hash(&mut hasher);
            let hash = hasher.finish();
            let held = self.entries.entry(*index).or_insert((hash, id));
            if held.0 != hash {
                differs = differs.or(Some((*index, held.1)));
            }
        }
        drop(files);
        if let Some((index, other)) = differs {
            self.fail(format!(
                "nodes {other} and {id} have different entries {index}"
            ));
        }
    }

    /// Everything is healed: the group has to come back.
    pub(super) fn check_progress(&mut self) {
        self.run_until(super::node::REQUEST_TIMEOUT_NS + 4 * SECOND, |simulation| {
            let clients = &mut simulation.clients.iter();
            clients.all(|client| client.asked.is_none())
        });
        if self.violation.is_none() && self.clients.iter().any(|client| client.asked.is_some()) {
            return self.fail(format!("a client is not answered; {}", self.show()));
        }
        self.replace_strangers();
        if self.is_lost {
            return;
        }
        for client in self.clients_of_members() {
            self.write_at_last(client);
        }
        self.settle();
    }

    /// Whoever lost its directory is let in again.
    fn replace_strangers(&mut self) {
        // Orders of before go first, and each may take its time to fail.
        let until = self.now + 4 * Self::RECOVERY_NS;
        while self.violation.is_none() && self.now < until {
            let configuration = self.newest_configuration();
            let stranger = (1..=self.plan.nodes).find(|id| self.is_stranger(*id, &configuration));
            let Some(stranger) = stranger else { return };
            if !self.has_quorum(&configuration) {
                self.is_lost = true;
                return;
            }
            // Another one that has lost its directory hears of no leader to pass the order on to.
            let by = configuration.members.iter().map(|member| member.node.0);
            let by = by.filter(|id| !self.is_stranger(*id, &configuration)).min();
            self.order(by.unwrap_or(1), Change::Replace(NodeId(stranger)));
            self.run_until(100 * MS, |_| false);
            self.run_until(10 * SECOND, |simulation| simulation.orders.is_empty());
        }
        if self.violation.is_none() {
            self.fail(format!("a member cannot be replaced; {}", self.show()));
        }
    }

    /// Whether enough members have the directories that the group knows. An operator may remove one
    /// member while another loses its directory, and then there is nothing to be done.
    fn has_quorum(&self, configuration: &Configuration) -> bool {
        let members = configuration.members.iter();
        let strangers = members.filter(|member| self.is_stranger(member.node.0, configuration));
        configuration.members.len() - strangers.count() >= configuration.majority()
    }

    /// Clients of nodes that take part; others are refused.
    fn clients_of_members(&self) -> Vec<usize> {
        let configuration = self.newest_configuration();
        let is_member = |client: &Client| {
            let members = &configuration.members;
            members.contains(&self.nodes[&client.node].member_id())
        };
        let clients = self.clients.iter().enumerate();
        let clients = clients.filter(|(_, client)| is_member(client));
        clients.map(|(at, _)| at).collect()
    }

    /// A write through this client's node has to succeed.
    fn write_at_last(&mut self, client: usize) {
        let until = self.now + Self::RECOVERY_NS;
        while self.violation.is_none() && self.now < until {
            if !self.clients_of_members().contains(&client) {
                // An order of before has been carried out.
                return;
            }
            let before = self.counts.answered;
            self.increment(client);
            self.run_until(4 * SECOND, |simulation| {
                simulation.clients[client].asked.is_none()
            });
            if self.counts.answered > before {
                return;
            }
            self.run_until(100 * MS, |_| false);
        }
        if self.violation.is_none() {
            let node = self.clients[client].node;
            self.fail(format!(
                "no write through node {node} succeeds; {}",
                self.show()
            ));
        }
    }

    /// All members apply everything.
    fn settle(&mut self) {
        let is_settled = |simulation: &Self| {
            let configuration = simulation.newest_configuration();
            let members = configuration.members.iter();
            let members =
                members.filter(|member| !simulation.is_stranger(member.node.0, &configuration));
            let mut applied = members.map(|member| {
                let running = simulation.nodes[&member.node.0].running.as_ref();
                running.map(|running| {
                    let replica = running.member.replica();
                    (replica.applied(), replica.applied() == replica.end())
                })
            });
            let first = applied.next().flatten();
            first.is_some_and(|(_, is_done)| is_done) && applied.all(|other| other == first)
        };
        self.run_until(Self::RECOVERY_NS, is_settled);
        if self.violation.is_none() && !is_settled(self) {
            self.fail(format!(
                "the members do not come to the same point; {}",
                self.show()
            ));
        }
    }

    /// Reads everything once more and judges the history.
    pub(super) fn check_history(&mut self) {
        let keys = [STEADY, LOG, "count:0", "count:1", "text:0", "text:1"];
        for key in keys.into_iter().chain(ELEMENTS) {
            if !self.is_lost {
                self.read_at_last(key);
            }
        }
        if self.violation.is_some() {
            return;
        }
        if !self.is_lost
            && let Err(violation) = self.check_log()
        {
            return self.fail(violation);
        }
        if let Err(violation) = linearizability::check(&self.history) {
            self.fail(violation.to_string());
        }
    }

    fn read_at_last(&mut self, key: &'static str) {
        let until = self.now + Self::RECOVERY_NS;
        while self.violation.is_none() && self.now < until {
            let clients = self.clients_of_members();
            let Some(&client) = clients.get(self.rng.usize(..clients.len().max(1))) else {
                return self.fail(format!("there is no member; {}", self.show()));
            };
            let before = self.counts.answered;
            self.read(client, key);
            self.run_until(4 * SECOND, |simulation| {
                simulation.clients[client].asked.is_none()
            });
            if self.counts.answered > before {
                return;
            }
            self.run_until(100 * MS, |_| false);
        }
        if self.violation.is_none() {
            self.fail(format!("no read succeeds; {}", self.show()));
        }
    }

    /// Each piece whose append was acknowledged is in the log once; one whose outcome is unknown at
    /// most once; one that was refused is not.
    fn check_log(&self) -> Result<(), String> {
        let records = || {
            self.history
                .records()
                .iter()
                .filter(|record| record.key == LOG)
        };
        let last = records().rev().find_map(|record| match &record.outcome {
            Outcome::Answered(Reply::Value(value)) => Some(value.clone().unwrap_or_default()),
            _ => None,
        });
        let text = String::from_utf8(last.unwrap_or_default()).map_err(|e| e.to_string())?;
        for record in records() {
            let Operation::Append(piece) = &record.operation else {
                continue;
            };
            let piece = String::from_utf8_lossy(piece);
            let times = text.matches(&*piece).count();
            let is_right = match record.outcome {
                Outcome::Answered(_) => times == 1,
                Outcome::Refused => times == 0,
                Outcome::Unknown => times <= 1,
            };
            if !is_right {
                return Err(format!("{record}, and is in the log {times} times"));
            }
        }
        Ok(())
    }
}

/// What a state adds up to, its order and access times aside.
pub(super) fn digest(state: &State) -> u64 {
    let mut keys = 0u64;
    for (_, database, table) in state.keyspace.all_tables() {
        for entry in table.iter() {
            let mut hasher = DefaultHasher::new();
            (
                database,
                entry.key(),
                entry.version(),
                entry.expires_at_ms(),
            )
                .hash(&mut hasher);
            match entry.value() {
                ValueRef::Int(number) => number.hash(&mut hasher),
                ValueRef::String(bytes) => hash_value(bytes, &mut hasher),
                ValueRef::Object(Object::String(bytes)) => hash_value(bytes, &mut hasher),
                ValueRef::Object(object) => {
                    let elements = object.elements().expect("all but strings have elements");
                    elements.encoding().hash(&mut hasher);
                    let parts = &mut |part: &[u8]| hash_value(part, &mut hasher);
                    elements.visit(0, elements.len(), parts);
                }
            }
            keys = keys.wrapping_add(hasher.finish());
        }
    }
    let mut hasher = DefaultHasher::new();
    state.authority.digest().hash(&mut hasher);
    (keys, state.applied.0, state.time_ms, state.keyspace.len()).hash(&mut hasher);
    let (version, creations) = state.keyspace.watch_counters();
    version.hash(&mut hasher);
    let created = creations
        .iter()
        .enumerate()
        .filter(|(_, count)| **count > 0);
    created.for_each(|slot| slot.hash(&mut hasher));
    format!("{:?} {:?}", state.origins, state.configuration).hash(&mut hasher);
    state.scripts.digest().hash(&mut hasher);
    if !state.waiters.is_empty() {
        format!("{:?}", state.waiters).hash(&mut hasher);
    }
    hasher.finish()
}

fn hash_value(bytes: &[u8], hasher: &mut DefaultHasher) {
    (bytes.len(), &bytes[..bytes.len().min(LOOKED_AT)]).hash(hasher);
}
