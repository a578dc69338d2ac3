//! What clients wait for within a member, where others can reach it while the member applies
//! entries: one of them may be a script that takes its time.

use std::collections::VecDeque;

use super::Member;
use super::reads::Reads;
use crate::group::proposal::Proposal;

/// Requests of clients that are not logged.
#[derive(Default)]
pub(in crate::group) struct Parked {
    waiting: VecDeque<(u64, Box<Proposal>)>,
    reads: Reads,
}

impl Parked {
    /// Takes those that can be turned away.
    pub(in crate::group) fn take_turned_away(&mut self) -> Vec<Box<Proposal>> {
        let mut taken = Vec::new();
        for (deadline, proposal) in std::mem::take(&mut self.waiting) {
            match proposal.may_be_turned_away() {
                true => taken.push(proposal),
                false => self.waiting.push_back((deadline, proposal)),
            }
        }
        self.reads.take_turned_away(&mut taken);
        taken
    }
}

impl Member {
    /// Puts what is not logged where it can be reached; true if there was something.
    pub(super) fn park(&mut self) -> bool {
        let is_empty = self.waiting.is_empty() && self.reads.is_empty();
        if !is_empty {
            self.swap_parked();
        }
        !is_empty
    }

    /// Takes back what is left of it.
    pub(super) fn unpark(&mut self) {
        self.swap_parked();
    }

    fn swap_parked(&mut self) {
        let mut parked = self.shared.attendance.parked.lock();
        std::mem::swap(&mut parked.waiting, &mut self.waiting);
        std::mem::swap(&mut parked.reads, &mut self.reads);
    }
}
