//! What must hold, and a picture of a group in which it does not.

use super::*;

impl Sim {
    /// All nodes apply the same list, of which nothing that was applied anywhere is ever lost.
    pub(super) fn check_agreement(&mut self, id: u64) {
        let node = self.nodes[&id].as_ref().unwrap();
        let common = self.global.len().min(node.ids.len());
        assert!(
            self.global[..common] == node.ids[..common],
            "node {id} disagrees"
        );
        self.global.extend_from_slice(&node.ids[common..]);
    }

    /// What a log holds as decided, and has been applied, is what was applied.
    pub(super) fn check_log(&self, id: u64) {
        let node = self.nodes[&id].as_ref().unwrap();
        let log = node.replica.log.lock();
        let (trimmed, applied) = (log.trimmed(), node.ids.len() as u64);
        let upto = log.decided().min(applied);
        for (at, entry) in (trimmed..).zip(log.read(trimmed..upto.max(trimmed))) {
            let (held, applied) = (decode(&entry).0, node.ids[at as usize]);
            assert!(
                held == applied,
                "node {id} holds {held} as decided at {}, which is {applied}",
                at + 1
            );
        }
    }

    /// A read sees all that was applied anywhere when it began.
    pub(super) fn check_reads(&mut self, id: u64, now: u64) {
        let acknowledged = self.global.len() as u64;
        let token = self.next_token;
        self.next_token += 1;
        let is_asking = self.rng.one_in(8);
        let node = self.nodes.get_mut(&id).unwrap().as_mut().unwrap();
        let applied = node.ids.len() as u64;
        if node.replica.lease_until() > now && applied >= node.replica.decided().0 {
            self.reads += 1;
            assert!(
                applied >= acknowledged,
                "stale read under the lease at node {id}: {applied} < {acknowledged}, {:?}",
                node.replica.configuration(),
            );
        }
        if is_asking {
            node.reads.insert(token, acknowledged);
            node.replica.read(token, now);
        }
        for (token, index) in node.replica.take_reads() {
            let needed = node.reads.remove(&token).unwrap();
            self.reads += 1;
            assert!(
                index.0 >= needed,
                "stale read at node {id}: {} < {needed}, {:?}, leader {:?}",
                index.0,
                node.replica.configuration().id,
                node.replica.leader(),
            );
        }
    }

    /// Since the faults ended, at which time so much had been applied, entries were decided, and
    /// every member has applied some of them.
    pub(super) fn check_progress(&self, before: u64) {
        let now = self.global.len() as u64;
        let nodes = self.nodes.values().flatten();
        let configurations = nodes.map(|node| &node.configuration);
        let last = configurations.max_by_key(|configuration| configuration.id);
        let is_behind = |member: &Member| {
            let node = self.nodes[&member.node.0].as_ref();
            node.is_some_and(|node| (node.ids.len() as u64) <= before)
        };
        let behind = last.and_then(|last| last.members.iter().find(|member| is_behind(member)));
        if now <= before + 20 || behind.is_some() {
            self.show();
        }
        assert!(
            now > before + 20,
            "no progress after the faults: {before} to {now}"
        );
        assert!(
            behind.is_none(),
            "a member does not catch up: {behind:?}, {before} to {now}"
        );
    }

    /// What a person needs to see of a group that stands still.
    pub(super) fn show(&self) {
        println!("mode {:?}", self.mode);
        for (id, node) in &self.nodes {
            let Some(node) = node else { continue };
            let replica = &node.replica;
            println!(
                "node {id}: {:?} leader {:?} leads {} idle {} ballot {} decided {} end {} applied {} trimmed {} fetches {:?} writing {}",
                replica.configuration(),
                replica.leader(),
                replica.is_leader(),
                replica.is_idle(),
                replica.ballot(),
                replica.decided(),
                replica.end(),
                replica.applied(),
                replica.trimmed(),
                replica.catch_up,
                node.writing.is_some(),
            );
        }
    }
}
