//! Reads that need no entry in the log, but have to see everything acknowledged before them.
//!
//! All that wait at one moment share one question to the leader. The answer is an index; when this
//! node has applied it, they run.

use bailiwick_replication::LogIndex;
use bailiwick_replication::consensus::Replica;

use super::Member;
use crate::group::answer::{answer_all, read_all};
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

    /// Whether nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.new.is_empty() && self.asked.is_empty()
    }

    /// Takes those that can be turned away. What was asked for them is answered to nobody.
    pub(super) fn take_turned_away(&mut self, taken: &mut Vec<Box<Proposal>>) {
        let asked = self.asked.iter_mut().map(|asked| &mut asked.proposals);
        for proposals in asked.chain([&mut self.new]) {
            taken.extend(proposals.extract_if(.., |proposal| proposal.may_be_turned_away()));
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
        let stale = proposals.extract_if(.., |proposal| {
            proposal.may_be_stale && proposal.is_plain_read()
        });
        let stale: Vec<_> = stale.collect();
        let has_begun = || self.shared.state.read().keyspace.databases() > 0;
        if !stale.is_empty() && self.replica.is_member() && has_begun() {
            self.run_reads(stale, clock_ms);
        } else {
            proposals.extend(stale);
        }
        if proposals.is_empty() {
            return;
        }
        if self.shared.linearizable(|| now).is_some() && self.replica.lease_until() > now {
            self.run_reads(proposals, clock_ms);
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
            let asked = self.reads.asked.swap_remove(at);
            self.run_reads(asked.proposals, clock_ms);
        }
    }

    /// Runs reads on the state as it is, scripts among them on a thread of their own.
    fn run_reads(&mut self, mut proposals: Vec<Box<Proposal>>, clock_ms: i64) {
        let goes_aside =
            |proposal: &mut Box<Proposal>| proposal.runs_script && proposal.is_plain_read();
        let aside = proposals.extract_if(.., goes_aside).collect();
        self.shared.read_aside(self.options.group, aside);
        let (mut plain, mut others): (Vec<_>, Vec<_>) = proposals
            .into_iter()
            .partition(|proposal| proposal.is_plain_read());
        if !plain.is_empty() {
            read_all(&self.shared, self.options.group, clock_ms, &mut plain);
        }
        if !others.is_empty() {
            self.run_transactions(&mut others, clock_ms);
        }
        self.answered.append(&mut plain);
        self.answered.append(&mut others);
    }

    /// Runs reads that have to be done together.
    fn run_transactions(&mut self, proposals: &mut [Box<Proposal>], clock_ms: i64) {
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
