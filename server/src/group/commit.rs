//! One commit: proposals become a log entry, the entry is applied, the proposals are answered.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bailiwick_frame::{Args, Encoder, Protocol, Requests};
use bailiwick_replication::{LocalReplica, MAX_APPEND_BYTES, WalError};

use super::eviction::{Victim, make_room};
use super::{Group, Item, Mailbox, Proposal, Step, Timing, Transaction, stop_process};
use crate::commands::{CommandError, Counters, Flag, Known};
use crate::keyspace::AccessClock;
use crate::state::{Admission, Applier, EntryHead, EntryWriter, Origin, ProposalWriter};

/// Proposals beyond this many bytes of requests go into the next entry.
const ENTRY_TARGET_BYTES: usize = 64 << 20;

/// How many items ahead of the one that runs their keys are brought into the cache.
const PREFETCH: usize = 16;

/// What refuses the growing commands of a commit.
static OUT_OF_MEMORY: CommandError =
    CommandError::text("OOM command not allowed when used memory > 'maxmemory'.");

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

/// Why writes of a commit are refused.
#[derive(Default)]
struct Refusals {
    /// All of them: they could not be logged.
    writes: Option<CommandError>,
    /// Those that need memory.
    growth: bool,
}

impl Refusals {
    fn of(&self, command: Known) -> Option<&CommandError> {
        if !command.is_write() {
            return None;
        }
        let grows = self.growth && command.has(Flag::Denyoom);
        self.writes.as_ref().or(grows.then_some(&OUT_OF_MEMORY))
    }

    fn of_transaction(&self, transaction: &Transaction) -> Option<&CommandError> {
        transaction.steps.iter().find_map(|step| match step {
            Step::Command { command, .. } => self.of(*command),
            Step::Answered(_) => None,
        })
    }
}

/// The node's clock, in milliseconds since 1970.
#[must_use]
pub(super) fn clock_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |since| since.as_millis() as i64)
}

impl Group {
    /// Commits all proposals, with a sync if told so, and puts them into their mailboxes.
    pub(super) fn commit(&self, proposals: &mut Vec<Box<Proposal>>, sync: bool) {
        let mut committer = self.committer.lock();
        let mut rest = &mut proposals[..];
        while !rest.is_empty() {
            let mut bytes = 0;
            let fitting = rest.iter().take_while(|proposal| {
                let fits = bytes < ENTRY_TARGET_BYTES;
                bytes += proposal.buffer.len();
                fits
            });
            let (now, later) = rest.split_at_mut(fitting.count());
            self.commit_entry(&mut committer, now, sync);
            rest = later;
        }
        drop(committer);
        deliver(proposals);
    }

    fn commit_entry(&self, committer: &mut Committer, proposals: &mut [Box<Proposal>], sync: bool) {
        let tuning = self.tuning();
        let head = EntryHead {
            time_ms: clock_ms().max(self.state.read().time_ms),
            seed: committer.next_random(),
        };
        let counters = Counters::default();
        let clock = AccessClock::new(tuning.access, head.time_ms, head.seed as u32);
        let mut refusals = Refusals::default();
        let mut victims = Vec::new();
        if tuning.max_memory_bytes > 0 {
            let random = || committer.next_random();
            let room = make_room(&self.state.read().keyspace, &tuning, &clock, random);
            victims = room.victims;
            refusals.growth = room.short;
        }
        let entry = encode(proposals, &victims, &refusals, head, committer);
        let mut logged = false;
        if let Some(entry) = entry {
            match self.append(committer, entry, sync) {
                Ok(()) => logged = true,
                Err(refusal) => {
                    refusals.writes = Some(refusal);
                    victims.clear();
                }
            }
        }
        let mut state = self.state.write();
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
        }
        for proposals in proposals.chunks_mut(PREFETCH) {
            for proposal in proposals.iter() {
                let first = &proposal.items[..proposal.items.len().min(1)];
                prefetch(&applier, &proposal.requests, &proposal.buffer, first);
            }
            for proposal in proposals {
                answer(&mut applier, proposal, &refusals);
            }
        }
        applier.finish();
        let garbage = state.keyspace.take_garbage();
        drop(state);
        if !garbage.is_empty() {
            self.checkpoints.release(garbage);
        }
        self.totals.add(&counters);
    }

    /// Puts an entry into the log. The error is what the clients get to hear.
    fn append(
        &self,
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
            .append(self.id, self.configuration, first, ready.entries, sync);
        match appended {
            Ok(()) => {
                committer.replica.persisted(last);
                self.totals.entries.fetch_add(1, Ordering::Relaxed);
                let before = self.totals.log_bytes.fetch_add(bytes, Ordering::Release);
                self.checkpoints.note_log_growth(self, before + bytes);
                if self.totals.refused_commits.load(Ordering::Relaxed) > 0 {
                    self.totals.refused_commits.store(0, Ordering::Relaxed);
                    tracing::info!("the disk has room again; writes are accepted");
                }
                Ok(())
            }
            Err(error @ WalError::Full { .. }) => {
                committer.replica.refused(first);
                if self.totals.refused_commits.fetch_add(1, Ordering::Relaxed) == 0 {
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
fn deliver(proposals: &mut Vec<Box<Proposal>>) {
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
    for proposal in proposals {
        for item in &proposal.items {
            encode_item(&mut writer, proposal, item, refusals);
        }
    }
    if writer.items() == 0 {
        return None;
    }
    writer.finish();
    committer.sequence = sequence;
    Some(entry)
}

fn encode_item(
    writer: &mut ProposalWriter<'_>,
    proposal: &Proposal,
    item: &Item,
    refusals: &Refusals,
) {
    match item {
        Item::Command {
            request,
            database,
            command,
        } => {
            if command.is_write() && refusals.of(*command).is_none() {
                let args = proposal.requests.args(*request, &proposal.buffer);
                writer.command(*database, args);
            }
        }
        Item::Transaction(transaction) => {
            if refusals.of_transaction(transaction).is_none() {
                encode_transaction(writer, transaction);
            }
        }
        Item::Expire(limit) => writer.expire(*limit),
        Item::Genesis {
            databases,
            hash_seed,
        } => writer.genesis(*databases, *hash_seed),
    }
}

fn encode_transaction(writer: &mut ProposalWriter<'_>, transaction: &Transaction) {
    let writes = || {
        transaction.steps.iter().filter_map(|step| match step {
            Step::Command {
                request,
                database,
                command,
            } if command.is_write() => Some((*database, *request)),
            _ => None,
        })
    };
    let count = writes().count();
    if count == 0 {
        return;
    }
    writer.transaction(&transaction.watched, count);
    for (database, request) in writes() {
        writer.transaction_command(database, transaction.arguments.get(request));
    }
}

/// Runs a proposal's items in order and writes their replies.
fn answer(applier: &mut Applier<'_>, proposal: &mut Proposal, refusals: &Refusals) {
    let mut answers = Answers {
        protocol: proposal.protocol,
        out: &mut proposal.replies,
        failures: &mut proposal.failures,
        is_discarded: &mut proposal.is_discarded,
        timings: &mut proposal.timings,
        running: None,
    };
    for (at, item) in proposal.items.iter().enumerate() {
        if at % PREFETCH == 1 {
            let items = &proposal.items[at..];
            prefetch(applier, &proposal.requests, &proposal.buffer, items);
        }
        match item {
            Item::Command {
                request,
                database,
                command,
            } => {
                answers.start_timing(*command, Some(*request));
                if let Some(refusal) = refusals.of(*command) {
                    answers.error(refusal);
                    answers.failures.push((*command, refusal.clone()));
                } else {
                    let args = proposal.requests.args(*request, &proposal.buffer);
                    answers.run(applier, *command, *database, args);
                }
            }
            Item::Transaction(transaction) => {
                run_transaction(applier, transaction, refusals, &mut answers);
            }
            Item::Expire(limit) => {
                if refusals.writes.is_none() {
                    applier.expire(*limit);
                }
            }
            Item::Genesis {
                databases,
                hash_seed,
            } => {
                if refusals.writes.is_none() {
                    applier.genesis(*databases, *hash_seed);
                }
            }
        }
    }
    answers.stop_timing();
}

fn run_transaction(
    applier: &mut Applier<'_>,
    transaction: &Transaction,
    refusals: &Refusals,
    answers: &mut Answers<'_>,
) {
    if let Some(refusal) = refusals.of_transaction(transaction) {
        let text = format!("EXECABORT Transaction discarded because of: {refusal}");
        answers.error(&CommandError::composed(text));
        *answers.is_discarded = true;
        return;
    }
    if !applier.is_unchanged(&transaction.watched) {
        answers.encoder().null_array();
        *answers.is_discarded = true;
        return;
    }
    answers.encoder().array(transaction.steps.len());
    for step in &transaction.steps {
        match step {
            Step::Command {
                request,
                database,
                command,
            } => {
                answers.start_timing(*command, None);
                let args = transaction.arguments.get(*request);
                answers.run(applier, *command, *database, args);
            }
            Step::Answered(reply) => answers.out.extend_from_slice(reply),
        }
    }
}

/// What comes back to a proposal. Runs of the same command are timed together: a clock reading
/// costs as much as a small command.
struct Answers<'a> {
    protocol: Protocol,
    out: &'a mut Vec<u8>,
    failures: &'a mut Vec<(Known, CommandError)>,
    is_discarded: &'a mut bool,
    timings: &'a mut Vec<Timing>,
    running: Option<(Timing, Instant)>,
}

impl Answers<'_> {
    fn encoder(&mut self) -> Encoder<'_> {
        Encoder::new(self.out, self.protocol)
    }

    fn error(&mut self, error: &CommandError) {
        self.encoder().error(&error.to_string());
    }

    fn run(&mut self, applier: &mut Applier<'_>, command: Known, database: usize, args: Args<'_>) {
        if let Err(error) = applier.command(&command, database, args, self.protocol, self.out) {
            self.failures.push((command, error));
        }
    }

    fn start_timing(&mut self, command: Known, request: Option<usize>) {
        if let Some((timing, _)) = &mut self.running
            && timing.command.id() == command.id()
        {
            timing.calls += 1;
            return;
        }
        self.stop_timing();
        let timing = Timing {
            command,
            calls: 1,
            nanos: 0,
            request,
        };
        self.running = Some((timing, Instant::now()));
    }

    fn stop_timing(&mut self) {
        if let Some((mut timing, since)) = self.running.take() {
            timing.nanos = since.elapsed().as_nanos() as u64;
            self.timings.push(timing);
        }
    }
}

/// Starts to bring into the cache what the first of these items will look at, as far as their
/// first arguments tell. Without it each look-up in a large keyspace waits for memory by itself.
fn prefetch(applier: &Applier<'_>, requests: &Requests, buffer: &[u8], items: &[Item]) {
    for item in items.iter().take(PREFETCH) {
        if let Item::Command {
            request, database, ..
        } = item
            && let Some(key) = requests.args(*request, buffer).get(1)
        {
            applier.keyspace().prefetch(*database, key);
        }
    }
}
