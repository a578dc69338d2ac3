//! What the threads of a node leave for the thread of a replica.

use std::time::Duration;

use bailiwick_replication::link::{Frame, Hello};
use bailiwick_replication::{LogIndex, NodeId};
use bytes::Bytes;
use parking_lot::{Condvar, Mutex};

use super::member::Member;
use super::proposal::Proposal;
use crate::state::is_of_clients;

/// Something to be run on the replica's thread, with the time.
pub(super) type Call = Box<dyn FnOnce(&mut Member, u64) + Send>;

/// Anything but a proposal.
pub(super) enum Event {
    Up(NodeId, Hello),
    Down(NodeId),
    Frames(NodeId, Vec<Frame>),
    /// Entries up to this one are covered by two checkpoints.
    Covered(LogIndex),
    /// A node wants to have this proposal executed.
    Proxied(NodeId, Bytes),
    Call(Call),
    /// Nothing but a reason to look.
    Look,
}

/// A queue with one reader.
#[derive(Default)]
pub(super) struct Inbox {
    inner: Mutex<Inner>,
    filled: Condvar,
}

#[derive(Default)]
struct Inner {
    proposals: Vec<Box<Proposal>>,
    events: Vec<Event>,
    closed: bool,
    /// The reader sleeps, and is to be woken for an event, or for so many proposals.
    sleeps_for: Option<usize>,
}

impl Inbox {
    pub(super) fn submit(&self, proposals: &mut Vec<Box<Proposal>>) {
        let mut inner = self.inner.lock();
        inner.proposals.append(proposals);
        let count = inner.proposals.len();
        if inner.sleeps_for.is_some_and(|enough| count >= enough) {
            self.filled.notify_one();
        }
    }

    /// Takes the proposals that can be turned away, and those of other nodes.
    pub(super) fn take_turned_away(&self) -> (Vec<Box<Proposal>>, Vec<(NodeId, Bytes)>) {
        let mut inner = self.inner.lock();
        let own = inner
            .proposals
            .extract_if(.., |proposal| proposal.may_be_turned_away())
            .collect();
        let mut proxied = Vec::new();
        for event in std::mem::take(&mut inner.events) {
            match event {
                Event::Proxied(from, proposal) if is_of_clients(&proposal) => {
                    proxied.push((from, proposal));
                }
                event => inner.events.push(event),
            }
        }
        (own, proxied)
    }

    pub(super) fn push(&self, event: Event) {
        let mut inner = self.inner.lock();
        inner.events.push(event);
        self.wake(&inner);
    }

    pub(super) fn close(&self) {
        let mut inner = self.inner.lock();
        inner.closed = true;
        self.wake(&inner);
    }

    /// Waits at most `timeout` for an event or for `enough` proposals, and takes all there is. True
    /// once closed.
    pub(super) fn take(
        &self,
        proposals: &mut Vec<Box<Proposal>>,
        events: &mut Vec<Event>,
        (timeout, enough): (Duration, usize),
    ) -> bool {
        let mut inner = self.inner.lock();
        let is_idle = inner.proposals.len() < enough && inner.events.is_empty() && !inner.closed;
        if is_idle && !timeout.is_zero() {
            inner.sleeps_for = Some(enough);
            self.filled.wait_for(&mut inner, timeout);
            inner.sleeps_for = None;
        }
        proposals.append(&mut inner.proposals);
        events.append(&mut inner.events);
        inner.closed
    }

    fn wake(&self, inner: &Inner) {
        if inner.sleeps_for.is_some() {
            self.filled.notify_one();
        }
    }
}
