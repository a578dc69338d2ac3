//! One commit of a group of one: proposals become a log entry, the entry is applied, the proposals
//! are answered.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bailiwick_replication::{LocalReplica, MAX_APPEND_BYTES, WalError};
use parking_lot::MutexGuard;

use super::alone::Alone;
use super::answer::answer_all;
use super::clock::clock_ms;
use super::encode::encode_items;
use super::eviction::{Victim, make_room};
use super::refusal::Refusals;
use super::{Group, Mailbox, Proposal, stop_process};
use crate::commands::CommandError;
use crate::keyspace::AccessClock;
use crate::state::{Admission, EntryHead, EntryWriter, Origin};

/// Proposals beyond this many bytes of requests go into the next entry.
const ENTRY_TARGET_BYTES: usize = 64 << 20;
/// How long a connection's thread waits for another one before it looks whether a script runs.
const PATIENCE: Duration = Duration::from_millis(1);

/// The order of the log and what goes with it.
pub(super) struct Committer {
    pub(super) replica: LocalReplica,
    pub(super) origin: Origin,
    /// Of the last proposal of this life; 0 before the first.
    pub(super) sequence: u64,
    /// State of the generator of entries' seeds; starts from the system's entropy.
    pub(super) random: u64,
}

impl Committer {
    fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.random ^ (self.random >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        mixed ^ (mixed >> 32)
    }
}

impl Group {
    /// Commits all proposals, with a sync if told so, and puts them into their mailboxes.
    pub(super) fn commit(&self, alone: &Alone, proposals: &mut Vec<Box<Proposal>>, sync: bool) {
        let committer = alone.committer.lock();
        self.commit_with(alone, committer, proposals, sync);
    }

    /// Commits all proposals without a sync on a connection's thread, or leaves them to the group's
    /// if a script is in the way or about to be.
    pub(super) fn commit_here(&self, alone: &Alone, proposals: &mut Vec<Box<Proposal>>) {
        let is_occupied = || self.shared.attendance.is_occupied();
        while !is_occupied() {
            // Whoever runs scripts says so before it asks for the lock, so who has it can see it.
            if let Some(committer) = alone.committer.try_lock_for(PATIENCE)
                && !is_occupied()
            {
                return self.commit_with(alone, committer, proposals, false);
            }
        }
        alone.queue.submit(proposals);
    }

    fn commit_with(
        &self,
        alone: &Alone,
        mut committer: MutexGuard<'_, Committer>,
        proposals: &mut Vec<Box<Proposal>>,
        sync: bool,
    ) {
        let mut rest = &mut proposals[..];
        while !rest.is_empty() {
            let mut bytes = 0;
            let fitting = rest.iter().take_while(|proposal| {
                let fits = bytes < ENTRY_TARGET_BYTES;
                bytes += proposal.buffer.len();
                fits
            });
            let (now, later) = rest.split_at_mut(fitting.count());
            self.commit_entry(alone, &mut committer, now, sync);
            rest = later;
        }
        drop(committer);
        deliver(proposals);
    }

    fn commit_entry(
        &self,
        alone: &Alone,
        committer: &mut Committer,
        proposals: &mut [Box<Proposal>],
        sync: bool,
    ) {
        let tuning = self.tuning();
        let head = EntryHead {
            time_ms: clock_ms().max(self.shared.state.read().time_ms),
            seed: committer.next_random(),
        };
        let counters = self.shared.counters();
        let clock = AccessClock::new(tuning.access, head.time_ms, head.seed);
        let mut refusals = Refusals::default();
        let mut victims = Vec::new();
        if tuning.max_memory_bytes > 0 {
            let random = || committer.next_random();
            let room = make_room(&self.shared.state.read().keyspace, &tuning, &clock, random);
            victims = room.victims;
            refusals.growth = room.short;
        }
        let entry = encode(proposals, &victims, &refusals, head, committer);
        let mut logged = false;
        if let Some(entry) = entry {
            match self.append(alone, committer, entry, sync) {
                Ok(()) => logged = true,
                Err(refusal) => {
                    refusals.writes = Some(refusal);
                    victims.clear();
                }
            }
        }
        let mut state = self.shared.state.write();
        let mut applier = if logged {
            let decided = committer.replica.take_decided();
            let mut applier = state.begin(decided.start, head, &clock, &counters);
            let sequence = committer.sequence;
            let admission = applier.admit(committer.origin, sequence, sequence - 1);
            assert!(
                admission == Admission::New,
                "sequence {sequence} of this life was applied before it was logged"
            );
            applier
        } else {
            state.begin_reading(head, &clock, &counters)
        };
        for victim in &victims {
            applier.evict(victim.database, &victim.key);
            applier.serve();
        }
        if refusals.growth {
            applier.refuse_growth();
        }
        answer_all(&mut applier, proposals, &refusals);
        applier.finish();
        self.shared.totals.add(&counters);
        let garbage = state.keyspace.take_garbage();
        // Nobody else is there to be called.
        let _ = self.shared.ring(&mut state);
        drop(state);
        self.shared.tell(self.id, &counters);
        if !garbage.is_empty() {
            self.checkpoints.release(garbage);
        }
    }

    /// Puts an entry into the log. The error is what the clients get to hear.
    fn append(
        &self,
        alone: &Alone,
        committer: &mut Committer,
        entry: Vec<u8>,
        sync: bool,
    ) -> Result<(), CommandError> {
        let bytes = entry.len() as u64;
        if entry.len() > MAX_APPEND_BYTES {
            return Err(CommandError::text(
                "ERR the request is too large for the log",
            ));
        }
        committer.replica.propose(entry);
        let ready = committer.replica.ready();
        let (first, last) = (ready.first, ready.last());
        let appended = self
            .wal
            .append(self.id, alone.configuration, first, ready.entries, sync);
        match appended {
            Ok(()) => {
                committer.replica.persisted(last);
                self.checkpoints.note_log_growth(&self.shared, 1, bytes);
                if self.shared.totals.refused_commits.load(Ordering::Relaxed) > 0 {
                    self.shared
                        .totals
                        .refused_commits
                        .store(0, Ordering::Relaxed);
                    tracing::info!("the disk has room again; writes are accepted");
                }
                Ok(())
            }
            Err(error @ WalError::Full { .. }) => {
                committer.replica.refused(first);
                if self
                    .shared
                    .totals
                    .refused_commits
                    .fetch_add(1, Ordering::Relaxed)
                    == 0
                {
                    tracing::error!(%error, "the disk is full; writes are refused, reads go on");
                }
                Err(CommandError::Text(Cow::Owned(format!(
                    "MISCONF Writes are refused because the disk with the data directory is full \
                     ({error}). Make room there; nothing needs to be restarted."
                ))))
            }
            Err(error) => stop_process(&error.to_string()),
        }
    }
}

/// Hands answered proposals back, waking each runtime thread once.
pub(crate) fn deliver(proposals: &mut Vec<Box<Proposal>>) {
    let mut to_wake: Vec<Arc<Mailbox>> = Vec::new();
    for proposal in proposals.drain(..) {
        let mailbox = proposal.mailbox.clone();
        if mailbox.put(proposal) {
            to_wake.push(mailbox);
        }
    }
    for mailbox in to_wake {
        mailbox.wake();
    }
}

/// The log entry of the proposals; `None` if there is nothing to log.
fn encode(
    proposals: &[Box<Proposal>],
    victims: &[Victim],
    refusals: &Refusals,
    head: EntryHead,
    committer: &mut Committer,
) -> Option<Vec<u8>> {
    let requests: usize = proposals.iter().map(|proposal| proposal.buffer.len()).sum();
    let mut entry = Vec::with_capacity(requests + 256);
    let sequence = committer.sequence + 1;
    let mut entry_writer = EntryWriter::new(&mut entry, head);
    let mut writer = entry_writer.proposal(committer.origin, sequence, committer.sequence);
    for victim in victims {
        writer.evict(victim.database, &victim.key);
    }
    if refusals.growth && proposals.iter().any(|proposal| proposal.runs_script) {
        writer.refuse_growth();
    }
    encode_items(&mut writer, proposals, refusals);
    if writer.items() == 0 {
        return None;
    }
    writer.finish();
    committer.sequence = sequence;
    Some(entry)
}
