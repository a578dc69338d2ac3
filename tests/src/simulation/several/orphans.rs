//! Waiters of clients that wait no longer are given up, as the threads of a node do it.

use std::time::Duration;

use bailiwick::group::Proposal;
use bailiwick::routing::errand;
use bailiwick::routing::orphan::Orphan;
use bailiwick_replication::GroupId;

use super::World;
use super::node::Node;
use crate::simulation::node::REQUEST_TIMEOUT_NS;

/// Orphans of a node.
#[derive(Default)]
pub(super) struct Orphans {
    /// To be given up, not before a time.
    due: Vec<(u64, Orphan)>,
    /// Being given up, by ticket, and whether the second group is asked.
    asked: Vec<(usize, Orphan, bool)>,
}

impl Orphans {
    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.due.is_empty() && self.asked.is_empty()
    }
}

impl Orphans {
    /// All of them, for people.
    pub(super) fn describe(&self) -> String {
        if self.is_empty() {
            return String::new();
        }
        format!("\n  orphans {:?}, asked for {:?}", self.due, self.asked)
    }
}

impl World {
    /// A waiter is to be given up, after a time.
    pub(super) fn add_orphan(&mut self, node: u64, orphan: Orphan, after_ns: u64) {
        let at = self.now + after_ns;
        let process = self.nodes.get_mut(&node).and_then(Node::process_mut);
        if let Some(process) = process {
            process.orphans.due.push((at, orphan));
        }
    }

    /// Gives up those whose time has come.
    pub(super) fn give_up_orphans(&mut self, node: u64) {
        let now = self.now;
        let process = self.nodes.get_mut(&node).and_then(Node::process_mut);
        let Some(process) = process else { return };
        let due = process.orphans.due.extract_if(.., |(at, _)| *at <= now);
        for (_, orphan) in due.collect::<Vec<_>>() {
            let group = orphan.group();
            self.give_up(node, (orphan, false), group);
        }
    }

    fn give_up(&mut self, node: u64, (orphan, is_second): (Orphan, bool), group: GroupId) {
        let ticket = self.next_ticket();
        let process = self.nodes.get_mut(&node).and_then(Node::process_mut);
        let Some(process) = process else { return };
        let request = orphan.words();
        let words: Vec<&[u8]> = request.get(0).iter().collect();
        let proposal = errand::proposal(group, &words, process.mail.orphans.clone(), ticket);
        process.orphans.asked.push((ticket, orphan, is_second));
        self.submit(node, proposal.expect("the command exists"));
    }

    /// A group has answered about an orphan of a node.
    pub(super) fn take_answer_of_orphan(&mut self, node: u64, proposal: &Proposal) {
        let process = self.nodes.get_mut(&node).and_then(Node::process_mut);
        let Some(process) = process else { return };
        let asked = &mut process.orphans.asked;
        let Some(at) = asked.iter().position(|asked| asked.0 == proposal.ticket) else {
            return;
        };
        let (_, mut orphan, is_second) = asked.swap_remove(at);
        let reply = &proposal.replies;
        if self.is_told {
            println!("{orphan:?}: {}", reply.escape_ascii());
        }
        if !is_second && let Some(owner) = orphan.who_else(reply, &*process) {
            return self.give_up(node, (orphan, true), owner);
        }
        let timeout = Duration::from_nanos(REQUEST_TIMEOUT_NS);
        if let Some(rest) = orphan.rest(reply, timeout) {
            self.add_orphan(node, orphan, rest.as_nanos() as u64);
        }
    }
}
