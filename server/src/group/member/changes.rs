//! Changes of who takes part and of who leads: `GROUP ADD`, `REMOVE`, `REPLACE` and `TRANSFER`.
//!
//! Any member takes the order, the leader carries it out. A node that is to join is invited to
//! fetch what is decided; when it is close behind, a SEAL entry with the next members ends the
//! configuration, and everybody goes on in the next one from exactly there. Until the SEAL is
//! decided nothing has changed, so a crash at any step leaves the old members or the new ones.
//! Whoever gave the order asks each new leader again; a change that is there already is done.
//!
//! **The root group** changes no faster than it can be told. A record of its members is believed if
//! a member of those before has signed it; were all of them exchanged before anybody heard of it,
//! nobody would be left whose word counts. So its leader lets a member go only when its own
//! directory knows the present ones. *Invariant: whoever leads when a member goes stays, and was a
//! member in a configuration that its directory knows*, and so can make the next one known.

use std::sync::mpsc::Sender;

use bailiwick_replication::consensus::Member as MemberId;
use bailiwick_replication::link::Class;
use bailiwick_replication::{ConfigurationId, LogIndex, NodeId};

use super::Member;
use super::message::Message;
use crate::group::ROOT_GROUP;

/// A joiner is close enough when it lacks no more entries than this.
const CLOSE_ENTRIES: u64 = 1024;
/// How often a joiner is invited, and an order is repeated, in nanoseconds.
const REPEAT_NS: u64 = 250_000_000;
/// A change that makes no progress for so long is given up, in nanoseconds.
const PATIENCE_NS: u64 = 30_000_000_000;

/// A change of a group, by order of an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// This node becomes a member.
    Add(NodeId),
    /// This node is no member any more.
    Remove(NodeId),
    /// This node is a member with the data directory that it has now.
    Replace(NodeId),
    /// This member leads.
    Transfer(NodeId),
}

impl Change {
    pub(super) fn parts(self) -> (u64, NodeId) {
        match self {
            Self::Add(node) => (1, node),
            Self::Remove(node) => (2, node),
            Self::Replace(node) => (3, node),
            Self::Transfer(node) => (4, node),
        }
    }

    pub(super) fn of_parts(kind: u64, node: NodeId) -> Option<Self> {
        match kind {
            1 => Some(Self::Add(node)),
            2 => Some(Self::Remove(node)),
            3 => Some(Self::Replace(node)),
            4 => Some(Self::Transfer(node)),
            _ => None,
        }
    }

    /// The node that it concerns.
    #[must_use]
    pub fn node(self) -> NodeId {
        self.parts().1
    }
}

/// An order that was given here.
pub(super) struct Order {
    request: u64,
    change: Change,
    reply: Sender<Result<(), String>>,
    asked: Option<(NodeId, u64)>,
    /// Given up then, unless a leader is at work on it.
    deadline: u64,
}

/// A change under way, on the leader.
pub(super) struct ActiveChange {
    change: Change,
    /// Who asked: `None` is this node.
    askers: Vec<(Option<NodeId>, u64)>,
    /// The last sign of progress: when, and how far the joiner was.
    progress: (u64, (LogIndex, u64)),
    repeat_at: u64,
}

impl Member {
    /// Takes an order; the outcome goes to `reply`.
    pub fn order(&mut self, change: Change, reply: Sender<Result<(), String>>, now: u64) {
        self.last_request += 1;
        self.orders.push(Order {
            request: self.last_request,
            change,
            reply,
            asked: None,
            deadline: now + 2 * PATIENCE_NS,
        });
    }

    /// Asks leaders about orders that were given here.
    pub(super) fn advance_orders(&mut self, now: u64) {
        let own = self.replica.member().node;
        let leader = self.replica.leader();
        // Who is no member any more hears of no leader.
        let has_left = self.replica.configuration().id.0 > 0 && !self.replica.is_member();
        let mut to_handle = Vec::new();
        let mut to_ask = Vec::new();
        self.orders.retain_mut(|order| {
            if has_left && order.change == Change::Remove(own) {
                // Whoever gave the order may have gone.
                let _ = order.reply.send(Ok(()));
                return false;
            }
            if now >= order.deadline {
                let text = "the group has no leader that could do it, or does not get on with it; \
                            see GROUP INFO";
                // Whoever gave the order may have gone.
                let _ = order.reply.send(Err(text.to_owned()));
                return false;
            }
            let Some(leader) = leader else { return true };
            // A leader answers sooner or later: it gives up what does not get on.
            // But a transfer that fails deposes the leader again and again, which forgets how long
            // it has tried.
            if !matches!(order.change, Change::Transfer(_)) {
                order.deadline = now + 2 * PATIENCE_NS;
            }
            let repeats = order
                .asked
                .is_none_or(|(node, at)| node != leader || now >= at + REPEAT_NS);
            if repeats {
                order.asked = Some((leader, now));
                if leader == own {
                    to_handle.push((order.request, order.change));
                } else {
                    to_ask.push((order.request, order.change));
                }
            }
            true
        });
        for (request, change) in to_handle {
            self.handle_ask(None, request, change, now);
        }
        if let Some(leader) = leader {
            for (request, change) in to_ask {
                self.send(leader, Class::Ordered, &Message::Ask { request, change });
            }
        }
    }

    /// An order has come to this node as leader; others are not answered and ask elsewhere.
    pub(super) fn handle_ask(
        &mut self,
        asker: Option<NodeId>,
        request: u64,
        change: Change,
        now: u64,
    ) {
        if !self.replica.is_leader() {
            return;
        }
        match &mut self.change {
            Some(active) if active.change == change => {
                if !active.askers.contains(&(asker, request)) {
                    active.askers.push((asker, request));
                }
            }
            Some(_) => {
                let text = "another change of this group is under way; see GROUP INFO";
                self.answer_order(asker, request, text);
            }
            None => {
                self.change = Some(ActiveChange {
                    change,
                    askers: vec![(asker, request)],
                    progress: (now, (LogIndex::ZERO, 0)),
                    repeat_at: 0,
                });
            }
        }
    }

    pub(super) fn answer_order(&mut self, asker: Option<NodeId>, request: u64, error: &str) {
        match asker {
            None => self.finish_order(request, error),
            Some(node) => {
                let error = error.to_owned();
                self.send(node, Class::Ordered, &Message::Answered { request, error });
            }
        }
    }

    /// The leader has answered an order.
    pub(super) fn finish_order(&mut self, request: u64, error: &str) {
        let at = self
            .orders
            .iter()
            .position(|order| order.request == request);
        if let Some(at) = at {
            let order = self.orders.swap_remove(at);
            let outcome = if error.is_empty() {
                Ok(())
            } else {
                Err(error.to_owned())
            };
            // Whoever gave the order may have gone.
            let _ = order.reply.send(outcome);
        }
    }

    /// Carries the change on, as leader.
    pub(super) fn advance_change(&mut self, now: u64) {
        let Some(active) = &self.change else {
            return;
        };
        let change = active.change;
        if self.is_reached(change) {
            return self.finish_change("");
        }
        if !self.replica.is_leader() {
            // Those who asked ask the next leader.
            self.change = None;
            return;
        }
        if now < active.repeat_at {
            return;
        }
        if now >= active.progress.0 + PATIENCE_NS {
            return self.finish_change(&self.obstacle(change));
        }
        if let Some(active) = &mut self.change {
            active.repeat_at = now + REPEAT_NS;
        }
        if let Err(refusal) = self.step_change(change, now) {
            self.finish_change(&refusal);
        }
    }

    fn step_change(&mut self, change: Change, now: u64) -> Result<(), String> {
        let own = self.replica.member().node;
        let configuration = self.replica.configuration();
        let mut members = configuration.members.clone();
        let node = change.node();
        match change {
            Change::Transfer(_) => {
                let Some(member) = configuration.member(node) else {
                    return Err(format!("node {node} is no member of the group"));
                };
                let disk = self.peers.get(&node).map(|peer| peer.disk);
                if node != own && disk != Some(member.disk) {
                    return Err(format!("node {node} is not there; see GROUP INFO"));
                }
                self.replica.transfer(node, now);
                return Ok(());
            }
            Change::Remove(_) => {
                members.retain(|member| member.node != node);
                if members.is_empty() {
                    return Err("the last member of a group cannot be removed".to_owned());
                }
                if node == own {
                    if let Some(next) = self.best_successor() {
                        self.replica.transfer(next, now);
                    }
                    return Ok(());
                }
            }
            Change::Add(_) | Change::Replace(_) => {
                if let Some(present) = configuration.member(node) {
                    if matches!(change, Change::Add(_)) {
                        return Err(format!(
                            "node {node} is a member with another data directory; use GROUP REPLACE"
                        ));
                    }
                    members.retain(|member| *member != present);
                } else if matches!(change, Change::Replace(_)) {
                    return Err(format!("node {node} is no member; use GROUP ADD"));
                }
                if !self.is_close(node, now) {
                    self.replica.invite(node);
                    return Ok(());
                }
                let Some(link) = self.peers.get(&node) else {
                    return Ok(());
                };
                members.push(MemberId {
                    node,
                    disk: link.disk,
                });
            }
        }
        if self.is_too_early(change) {
            return Ok(());
        }
        members.sort_unstable();
        self.seal(ConfigurationId(configuration.id.0 + 1), &members);
        Ok(())
    }

    /// Whether nobody might be left who could make known what comes of the change.
    fn is_too_early(&self, change: Change) -> bool {
        let lets_go = matches!(change, Change::Remove(_) | Change::Replace(_));
        let present = self.replica.configuration().id;
        lets_go && self.options.group == ROOT_GROUP && !self.shared.is_published(present)
    }

    /// Whether things are as the change wants them.
    fn is_reached(&self, change: Change) -> bool {
        let configuration = self.replica.configuration();
        let member = configuration.member(change.node());
        match change {
            Change::Remove(_) => member.is_none(),
            Change::Transfer(node) => self.replica.leader() == Some(node),
            Change::Add(node) | Change::Replace(node) => member.is_some_and(|member| {
                let own = self.replica.member();
                let disk = self.peers.get(&node).map(|peer| peer.disk);
                member == own || disk == Some(member.disk)
            }),
        }
    }

    /// Whether a joiner lacks little; notes its progress.
    fn is_close(&mut self, node: NodeId, now: u64) -> bool {
        let Some(progress) = self.peers.get(&node).and_then(|peer| peer.progress) else {
            return false;
        };
        if let Some(active) = &mut self.change
            && progress > active.progress.1
        {
            active.progress = (now, progress);
        }
        progress.0.0.saturating_add(CLOSE_ENTRIES) >= self.replica.decided().0
    }

    fn obstacle(&self, change: Change) -> String {
        let node = change.node();
        match (change, self.peers.get(&node)) {
            _ if self.is_too_early(change) => {
                "nodes have not heard of the present members yet, and those that go may be the \
                 only ones whose word counts; see CLUSTER LINKS, or add a member of before"
                    .to_owned()
            }
            (Change::Transfer(_), _) => format!("node {node} did not take over"),
            (Change::Add(_) | Change::Replace(_), None) => {
                format!("node {node} cannot be reached; see CLUSTER LINKS")
            }
            _ => format!("node {node} makes no progress; see its log"),
        }
    }

    fn finish_change(&mut self, error: &str) {
        if let Some(active) = self.change.take() {
            for (asker, request) in active.askers {
                self.answer_order(asker, request, error);
            }
        }
    }
}
