//! Reads that must see everything acknowledged before them: which index they have to wait for.
//!
//! A read is known by a token that its owner chose. On the leader it is answered at once while the
//! lease holds; otherwise it waits for a *round*, in which a majority confirms that it knows of no
//! higher ballot. On another member it is sent to the leader, again and again, as asking twice does
//! no harm.

use std::collections::{BTreeMap, BTreeSet};

use omnipaxos::ballot_leader_election::Ballot;

use super::engine::Engine;
use super::message::Message;
use super::planted::{self, Planted};
use super::{RETRY_TICKS, Replica};
use crate::link::Class;
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

impl Replica {
    /// Asks what must be applied before a read may be answered; the answer comes out of
    /// [`Replica::take_reads`]. The token must be new.
    pub fn read(&mut self, token: u64, now: u64) {
        self.reads.ask(token);
        self.ask_reads(now);
    }

    /// Forgets a read.
    pub fn forget_read(&mut self, token: u64) {
        self.reads.forget(token);
    }

    /// Reads that may be answered once their index is applied.
    pub fn take_reads(&mut self) -> Vec<(u64, LogIndex)> {
        self.reads.take_answered()
    }

    /// Answers or passes on our own reads that wait.
    pub(super) fn ask_reads(&mut self, now: u64) {
        let before = now.saturating_sub(RETRY_TICKS * self.options.timing.tick_ns);
        if self.is_leader() {
            for token in self.reads.due(now, before) {
                self.read_as_leader(None, token, now);
            }
            return;
        }
        if let Some(leader) = self
            .leader()
            .filter(|&node| node != self.options.member.node)
        {
            for token in self.reads.due(now, before) {
                self.push(leader, Class::Ordered, &Message::ReadRequest { token });
            }
        }
    }

    /// A read that came to the leader, from another member or from here.
    pub(super) fn read_as_leader(&mut self, of: Option<NodeId>, token: u64, now: u64) {
        let decided = self.log.lock().decided();
        let is_ready = match self.epoch {
            _ if self.sealing.is_some() => false,
            Some(epoch) => decided >= epoch.barrier || planted::is_on(Planted::NoBarrier),
            None => matches!(self.engine, Engine::Solo),
        };
        if !is_ready {
            // Asked again when something has changed, or after a while.
            return;
        }
        let holds_lease = match self.engine {
            Engine::Solo => true,
            _ => self.lease.until(self.majority()) > now,
        };
        if holds_lease || planted::is_on(Planted::NoConfirmation) {
            self.answer_read(of, token, LogIndex(decided));
            return;
        }
        self.reads.queue(of, token);
        self.begin_round(decided);
    }

    pub(super) fn repeat_round(&mut self) {
        if let (Some(epoch), Some(round)) = (self.epoch, self.reads.round())
            && self.ticks.is_multiple_of(RETRY_TICKS / 4)
        {
            self.ask_confirmation(epoch.ballot, round);
        }
    }

    pub(super) fn finish_round(&mut self, round: u64, member: u64) {
        let majority = self.majority();
        let Some((index, reads)) = self.reads.confirm(round, member, majority) else {
            return;
        };
        for (of, token) in reads {
            self.answer_read(of, token, index);
        }
        let decided = self.log.lock().decided();
        self.begin_round(decided);
    }

    fn begin_round(&mut self, decided: u64) {
        let Some(epoch) = self.epoch else {
            return;
        };
        if let Some(round) = self.reads.begin_round(decided) {
            self.ask_confirmation(epoch.ballot, round);
        }
    }

    fn ask_confirmation(&mut self, ballot: Ballot, round: u64) {
        for node in self.others() {
            self.push(
                node,
                Class::Urgent,
                &Message::ConfirmRequest { ballot, round },
            );
        }
    }

    pub(super) fn answer_read(&mut self, of: Option<NodeId>, token: u64, index: LogIndex) {
        match of {
            None => self.reads.answer(token, index),
            Some(node) => self.push(node, Class::Ordered, &Message::ReadReply { token, index }),
        }
    }
}
