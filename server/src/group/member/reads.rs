//! Reads that need no entry in the log, but have to see everything acknowledged before them.
//!
//! All that wait at one moment share one question to the leader. The answer is an index; when this
//! node has applied it, they run.

use bailiwick_replication::LogIndex;
use bailiwick_replication::consensus::Replica;

use super::Member;
use crate::group::answer::answer_all;
use crate::group::planted::{self, Planted};
use crate::group::proposal::Proposal;
use crate::group::refusal::Refusals;
use crate::keyspace::AccessClock;
use crate::state::EntryHead;

/// Reads that asked together.
struct Asked {
    token: u64,
    proposals: Vec<Box<Proposal>>,
    deadline: u64,
    /// What must be applied before they run.
    index: Option<LogIndex>,
}

/// All reads that wait.
#[derive(Default)]
pub(super) struct Reads {
    new: Vec<Box<Proposal>>,
    new_deadline: u64,
    asked: Vec<Asked>,
    last_token: u64,
}

impl Reads {
    /// Tokens count up from here; those of an earlier life must not come again.
    pub(super) fn new(last_token: u64) -> Self {
        Self {
            last_token,
            ..Self::default()
        }
    }

    /// Takes all of them.
    pub(super) fn take_all(&mut self, replica: &mut Replica) -> Vec<Box<Proposal>> {
        let mut all = std::mem::take(&mut self.new);
        for mut asked in std::mem::take(&mut self.asked) {
            replica.forget_read(asked.token);
            all.append(&mut asked.proposals);
        }
        all
    }

    /// Takes those that nobody has answered in time.
    pub(super) fn take_late(&mut self, now: u64, replica: &mut Replica) -> Vec<Vec<Box<Proposal>>> {
        let mut late = Vec::new();
        self.asked.retain_mut(|asked| {
            if now < asked.deadline {
                return true;
            }
            replica.forget_read(asked.token);
            late.push(std::mem::take(&mut asked.proposals));
            false
        });
        late
    }
}

impl Member {
    /// Takes proposals that only read out of those that wait.
    pub(super) fn set_reads_apart(&mut self, now: u64) {
        if !self
            .waiting
            .iter()
            .any(|(_, proposal)| proposal.is_read_only())
        {
            return;
        }
        self.reads.new_deadline = now + self.options.request_timeout_ns;
        for (deadline, proposal) in std::mem::take(&mut self.waiting) {
            if proposal.is_read_only() {
                self.reads.new.push(proposal);
            } else {
                self.waiting.push_back((deadline, proposal));
            }
        }
    }

    /// Asks for those that are new, or runs them at once under the lease.
    pub(super) fn start_reads(&mut self, now: u64, clock_ms: i64) {
        self.set_reads_apart(now);
        if self.reads.new.is_empty() {
            return;
        }
        let mut proposals = std::mem::take(&mut self.reads.new);
        if self.shared.linearizable(|| now).is_some() && self.replica.lease_until() > now {
            self.run_reads(&mut proposals, clock_ms);
            self.answered.append(&mut proposals);
            return;
        }
        self.reads.last_token += 1;
        let token = self.reads.last_token;
        self.reads.asked.push(Asked {
            token,
            proposals,
            deadline: self.reads.new_deadline,
            index: None,
        });
        self.replica.read(token, now);
    }

    /// Runs those whose index is applied.
    pub(super) fn finish_reads(&mut self, clock_ms: i64) {
        for (token, index) in self.replica.take_reads() {
            let asked = self.reads.asked.iter_mut();
            for asked in asked.filter(|asked| asked.token == token) {
                asked.index = Some(index);
            }
        }
        let applied = self.replica.applied();
        let may_run = |index| index <= applied || planted::is_on(Planted::ReadsDoNotWait);
        let is_due = |asked: &Asked| asked.index.is_some_and(may_run);
        while let Some(at) = self.reads.asked.iter().position(is_due) {
            let mut asked = self.reads.asked.swap_remove(at);
            self.run_reads(&mut asked.proposals, clock_ms);
            self.answered.append(&mut asked.proposals);
        }
    }

    fn run_reads(&mut self, proposals: &mut [Box<Proposal>], clock_ms: i64) {
        let mut state = self.shared.state.write();
        let head = EntryHead {
            time_ms: clock_ms.max(state.time_ms),
            seed: self.leading.next_random(),
        };
        let counters = self.shared.counters();
        let policy = self.shared.tuning.load().access;
        let clock = AccessClock::new(policy, head.time_ms, head.seed);
        let mut applier = state.begin_reading(head, &clock, &counters);
        answer_all(&mut applier, proposals, &Refusals::default());
        applier.finish();
        self.shared.totals.add(&counters);
        drop(state);
        self.shared.tell(self.options.group, &counters);
    }
}
