//! For whose clients the group's waiters still wait.
//!
//! A client that waits for keys is known to the group as a waiter of its node. If that node is
//! gone, an element would be handed to nobody; so the leader ends the waiting of nodes that it has
//! not heard of for [`GRACE_NS`], and at once of lives that are over. A node that was only cut off
//! makes its requests anew, in their old places. What was served already is kept for it as long as
//! its life may last.
//!
//! A leader also calls the nodes that have replies to fetch: when they are served, when their link
//! comes up, and when it begins to lead.

use std::collections::BTreeMap;

use bailiwick_replication::NodeId;

use super::Member;
use crate::group::Arguments;
use crate::proxy::wire;
use crate::state::{ProposalWriter, WaiterId};

/// How long a node may be out of contact before its clients wait no longer, in nanoseconds. Links
/// notice within a second that the other side is gone.
const GRACE_NS: u64 = 5_000_000_000;

/// Which lives of nodes this one is in contact with.
#[derive(Default)]
pub(super) struct Contacts {
    nodes: BTreeMap<NodeId, Contact>,
}

#[derive(Clone, Copy)]
enum Contact {
    /// The link is up, and this life at its other end.
    Up(u64),
    /// It is not; since when, once somebody has looked.
    Down(Option<u64>),
}

/// A node's life whose clients are not waited for any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Forsaken {
    node: u32,
    incarnation: u64,
    /// There is a later life.
    is_over: bool,
}

impl Contacts {
    fn judge(&mut self, (node, incarnation): (u32, u64), now: u64) -> Option<Forsaken> {
        let contact = self.nodes.entry(NodeId(u64::from(node)));
        let (is_lost, is_over) = match contact.or_insert(Contact::Down(None)) {
            Contact::Up(life) => (incarnation < *life, incarnation < *life),
            Contact::Down(since) => {
                let since = *since.get_or_insert(now);
                (now >= since + GRACE_NS, false)
            }
        };
        is_lost.then_some(Forsaken {
            node,
            incarnation,
            is_over,
        })
    }
}

impl Forsaken {
    /// Writes what ends the waiting.
    pub(super) fn put(self, writer: &mut ProposalWriter<'_>) {
        let mut arguments = Arguments::default();
        let (node, life) = (self.node.to_string(), self.incarnation.to_string());
        let is_over: &[u8] = if self.is_over { b"1" } else { b"0" };
        arguments.push_all([b"_FORSAKE", node.as_bytes(), life.as_bytes(), is_over]);
        writer.command(0, arguments.get(0));
    }
}

impl Member {
    /// The link to a node is up, and this is its life.
    pub fn note_life(&mut self, node: NodeId, incarnation: u64) {
        let contact = Contact::Up(incarnation);
        self.contacts.nodes.insert(node, contact);
        if self.replica.is_leader() {
            self.call_served(|id| u64::from(id.node) == node.0);
        }
    }

    /// The link to a node is down.
    pub(super) fn note_silence(&mut self, node: NodeId) {
        self.contacts.nodes.insert(node, Contact::Down(None));
    }

    /// Whose clients are not to be waited for any more.
    pub(super) fn forsaken(&mut self, now: u64) -> Vec<Forsaken> {
        let lives = {
            let state = self.shared.state.read();
            if state.waiters.is_empty() {
                return Vec::new();
            }
            state.waiters.lives()
        };
        let own = self.options.origin;
        self.contacts
            .nodes
            .insert(NodeId(u64::from(own.node)), Contact::Up(own.incarnation));
        let judged = lives
            .into_iter()
            .filter_map(|life| self.contacts.judge(life, now));
        let judged: Vec<Forsaken> = judged.collect();
        let state = self.shared.state.read();
        // A life whose waiters have gone, but whose replies stay, needs no second word.
        let has_work = |forsaken: &Forsaken| {
            let of = (forsaken.node, forsaken.incarnation);
            let mut ids = state.waiters.ids();
            forsaken.is_over || ids.any(|id| (id.node, id.incarnation) == of)
        };
        judged.into_iter().filter(has_work).collect()
    }

    /// Calls those nodes of the ones with replies to fetch for which `is_meant` holds.
    pub(super) fn call_served(&mut self, is_meant: impl Fn(WaiterId) -> bool) {
        let ids: Vec<WaiterId> = {
            let state = self.shared.state.read();
            state.waiters.served().filter(|id| is_meant(*id)).collect()
        };
        self.call(ids);
    }

    /// Tells the nodes of these waiters to look after them.
    pub(super) fn call(&mut self, ids: Vec<WaiterId>) {
        let mut by_node: BTreeMap<NodeId, Vec<(u64, u64)>> = BTreeMap::new();
        for id in ids {
            let node = NodeId(u64::from(id.node));
            let waiters = by_node.entry(node).or_default();
            waiters.push((id.incarnation, id.number));
        }
        let own = self.replica.member().node;
        for (node, waiters) in by_node.into_iter().filter(|(node, _)| *node != own) {
            self.proxied.tell(node, wire::Message::Woken { waiters });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_out_of_contact_is_waited_for_a_while() {
        let mut contacts = Contacts::default();
        let life = (3, 7);
        assert_eq!(contacts.judge(life, 100), None);
        assert_eq!(contacts.judge(life, 99 + GRACE_NS), None);
        let lost = contacts.judge(life, 100 + GRACE_NS);
        assert!(lost.is_some_and(|lost| !lost.is_over));
        contacts.nodes.insert(NodeId(3), Contact::Up(7));
        assert_eq!(contacts.judge(life, u64::MAX), None);
        contacts.nodes.insert(NodeId(3), Contact::Down(None));
        assert_eq!(contacts.judge(life, 1 << 40), None);
    }

    #[test]
    fn a_life_that_is_over_is_not_waited_for() {
        let mut contacts = Contacts::default();
        contacts.nodes.insert(NodeId(3), Contact::Up(8));
        let lost = contacts.judge((3, 7), 1);
        assert!(lost.is_some_and(|lost| lost.is_over));
        assert_eq!(contacts.judge((3, 8), 1), None);
    }
}
