//! Room on the members' disks, and what is refused for want of it.
//!
//! Each member tells the others at once when its disk has become full, or has room again. The
//! leader then logs nothing unless a majority, itself included, can store it.
//!
//! **What a client hears** while a majority has no room:
//! * `MISCONF` for a write that is not in the log: nothing was done. Without a leader every member
//!   says so by itself: to be elected, one needs a majority that can write down its promise, which
//!   a member cannot while entries that it could not write wait.
//! * `UNCERTAIN`, after its time, for a write that was proposed before the leader knew. It stands
//!   in the logs of those with room, and is done when there is room again.
//! * For a read its answer, as long as the leader stays. A new one serves no read before it has
//!   settled what the last one left, so until there is room `CLUSTERDOWN`, which names the disks.

use bailiwick_replication::NodeId;

use super::Member;
use crate::commands::CommandError;
use crate::group::proposal::Proposal;

impl Member {
    /// Whether there is no room at all on this node's disk.
    pub fn set_full(&mut self, is_full: bool) {
        self.is_full = is_full;
    }

    /// Whether [`Member::waiting_bytes`] would fit onto this node's disk.
    pub fn set_fits(&mut self, fits: bool) {
        self.fits = fits;
    }

    /// Bytes of requests that wait to be logged; an estimate.
    pub fn waiting_bytes(&self) -> u64 {
        let waiting = self.waiting.iter();
        let own: usize = waiting.map(|(_, proposal)| proposal.bytes()).sum();
        let forwarded = self.forwarded.iter();
        let forwarded: usize = forwarded.map(|forwarded| forwarded.proposal.len()).sum();
        (own + forwarded + self.flights.bytes()) as u64
    }

    /// Without room on enough disks nothing is logged. A leader without room hands over to a member
    /// that has some; if there is none, or for what is too large for the room that is left, writes
    /// are refused, and reads go on.
    pub(super) fn refuse_if_full(&mut self, now: u64) -> bool {
        let lacks_room = self.lacks_room(|_| true);
        if !self.is_full && !lacks_room && self.fits {
            return false;
        }
        if self.is_full
            && !lacks_room
            && let Some(successor) = self.best_successor()
        {
            self.replica.transfer(successor, now);
            return true;
        }
        self.refuse_for_want_of_room(now);
        true
    }

    /// As [`Member::refuse_if_full`], by a member that knows of no leader to ask.
    pub(super) fn refuse_without_leader(&mut self, now: u64) {
        if self.is_held_up_by_disks() {
            self.refuse_for_want_of_room(now);
        }
    }

    /// Whether disks are a reason why the group does not answer: as many as it takes are full, by
    /// the last word of members that are linked.
    pub(super) fn is_held_up_by_disks(&self) -> bool {
        let own = self.replica.member().node;
        let is_heard = |node: NodeId| node == own || self.peers.contains_key(&node);
        self.replica.is_member() && self.lacks_room(is_heard)
    }

    /// Whether so many of those members are full that no majority has room.
    fn lacks_room(&self, is_counted: impl Fn(NodeId) -> bool) -> bool {
        let members = self.replica.configuration().members;
        let own = self.replica.member().node;
        let is_full = |node: NodeId| match self.replica.status_of(node) {
            _ if node == own => self.is_full,
            Some((status, _)) => status.is_full,
            // Whoever is silent has not complained.
            None => false,
        };
        let nodes = members.iter().map(|member| member.node);
        let full = nodes.filter(|node| is_counted(*node) && is_full(*node));
        members.len() - full.count() <= members.len() / 2
    }

    /// Refuses all writes of which it is certain that they are not in the log.
    fn refuse_for_want_of_room(&mut self, now: u64) {
        self.set_reads_apart(now);
        for flight in self.flights.take_if(|_, flight| flight.times_sent == 0) {
            self.fail_all(flight.proposals, &disk_full());
        }
        let waiting = std::mem::take(&mut self.waiting);
        let proposals: Vec<Box<Proposal>> =
            waiting.into_iter().map(|(_, proposal)| proposal).collect();
        self.fail_all(proposals, &disk_full());
        for forwarded in std::mem::take(&mut self.forwarded) {
            self.refuse_forwarded(&forwarded.head, &disk_full().to_string());
        }
    }
}

/// What a write is refused with.
pub(super) fn disk_full() -> CommandError {
    CommandError::text(
        "MISCONF Writes are refused because the disks of too many members of the group are full. \
         Make room there; nothing needs to be restarted.",
    )
}
