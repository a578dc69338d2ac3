//! Reads that must see everything acknowledged before them: which index they have to wait for.
//!
//! A read is known by a token that its owner chose. On the leader it is answered at once while the
//! lease holds; otherwise it waits for a *round*, in which a majority confirms that it knows of no
//! higher ballot. On another member it is sent to the leader, again and again, as asking twice does
//! no harm.

use std::collections::{BTreeMap, BTreeSet};

use crate::{LogIndex, NodeId};

/// A read: the member that asked (`None` is this node) and its token.
pub(crate) type Waiting = (Option<NodeId>, u64);

/// A round of confirmations.
#[derive(Debug)]
struct Round {
    number: u64,
    index: u64,
    /// Who has confirmed, by the crate's numbers.
    confirmed: BTreeSet<u64>,
    /// Whose reads wait for it; `None` stands for our own.
    waiting: Vec<Waiting>,
}

/// Reads on their way.
#[derive(Debug, Default)]
pub(crate) struct Reads {
    /// Our own that no leader has answered, with the time at which they were sent last.
    asked: BTreeMap<u64, u64>,
    /// Those that wait for the next round, as leader.
    queued: Vec<Waiting>,
    round: Option<Round>,
    last_round: u64,
    answered: Vec<(u64, LogIndex)>,
}

impl Reads {
    /// A read of our own, to be asked about.
    pub(crate) fn ask(&mut self, token: u64) {
        self.asked.insert(token, 0);
    }

    /// Our own reads that were never asked about or not since `before`; they count as asked now.
    pub(crate) fn due(&mut self, now: u64, before: u64) -> Vec<u64> {
        let mut due = Vec::new();
        for (token, at) in &mut self.asked {
            if *at == 0 || *at < before {
                *at = now.max(1);
                due.push(*token);
            }
        }
        due
    }

    /// All our own reads are to be asked about again: the leader may be another one.
    pub(crate) fn ask_again(&mut self) {
        self.asked.values_mut().for_each(|at| *at = 0);
    }

    /// An answer has come.
    pub(crate) fn answer(&mut self, token: u64, index: LogIndex) {
        if self.asked.remove(&token).is_some() {
            self.answered.push((token, index));
        }
    }

    /// Answers since the last call.
    pub(crate) fn take_answered(&mut self) -> Vec<(u64, LogIndex)> {
        std::mem::take(&mut self.answered)
    }

    /// Forgets a read of our own.
    pub(crate) fn forget(&mut self, token: u64) {
        self.asked.remove(&token);
    }

    /// A read for the next round.
    pub(crate) fn queue(&mut self, of: Option<NodeId>, token: u64) {
        if !self.queued.contains(&(of, token)) {
            self.queued.push((of, token));
        }
    }

    /// Begins a round if reads wait and none is under way; gives its number.
    pub(crate) fn begin_round(&mut self, index: u64) -> Option<u64> {
        if self.round.is_some() || self.queued.is_empty() {
            return None;
        }
        self.last_round += 1;
        self.round = Some(Round {
            number: self.last_round,
            index,
            confirmed: BTreeSet::new(),
            waiting: std::mem::take(&mut self.queued),
        });
        Some(self.last_round)
    }

    /// The round under way.
    pub(crate) fn round(&self) -> Option<u64> {
        self.round.as_ref().map(|round| round.number)
    }

    /// A member confirmed; once `majority - 1` others have, the round's reads and their index.
    pub(crate) fn confirm(
        &mut self,
        number: u64,
        member: u64,
        majority: usize,
    ) -> Option<(LogIndex, Vec<Waiting>)> {
        let round = self.round.as_mut().filter(|round| round.number == number)?;
        round.confirmed.insert(member);
        if round.confirmed.len() + 1 < majority {
            return None;
        }
        let round = self.round.take()?;
        Some((LogIndex(round.index), round.waiting))
    }

    /// We do not lead any more: reads of others are theirs to repeat, our own are asked again.
    pub(crate) fn depose(&mut self) {
        self.round = None;
        self.queued.clear();
        self.ask_again();
    }
}
