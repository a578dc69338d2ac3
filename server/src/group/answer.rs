//! Runs the items of a proposal where they stand in the log, and writes their replies.
//!
//! Used by whoever holds the requests themselves: the commit thread of a group of one, and a
//! member of a larger group when it applies an entry with a proposal of its own clients.

use std::time::Instant;

use bailiwick_frame::{Args, Encoder, Protocol, Requests};
use bailiwick_replication::GroupId;

use super::commit::deliver;
use super::refusal::Refusals;
use super::{Item, Proposal, Shared, Step, Strayed, Timing, Transaction};
use crate::authority::Stray;
use crate::commands::{CommandError, Counters, Handler, Known, events, outside_log};
use crate::keyspace::{AccessClock, LOOK_AHEAD};
use crate::state::{Applier, State};

/// Runs the proposals in order. Keys of several small ones are brought into the cache together.
pub(super) fn answer_all(
    applier: &mut Applier<'_>,
    proposals: &mut [Box<Proposal>],
    refusals: &Refusals,
) {
    for proposals in proposals.chunks_mut(LOOK_AHEAD) {
        for proposal in proposals.iter() {
            let first = &proposal.items[..proposal.items.len().min(1)];
            prefetch(applier, &proposal.requests, &proposal.buffer, first);
        }
        for proposal in proposals {
            // What its reads reply is in no log.
            outside_log(|| answer(applier, proposal, refusals));
        }
    }
}

/// Answers every item of a proposal with an error; nothing is run.
pub(crate) fn fail(proposal: &mut Proposal, error: &CommandError) {
    fail_from(proposal, 0, error);
}

/// As [`fail`], for the items from `first` on; those before have their replies.
pub(crate) fn fail_from(proposal: &mut Proposal, first: usize, error: &CommandError) {
    proposal.is_uncertain |= *error == CommandError::UNCERTAIN;
    for item in &proposal.items[first..] {
        match item {
            Item::Command { command, .. } => {
                Encoder::new(&mut proposal.replies, proposal.protocol).error(&error.to_string());
                proposal.failures.push((*command, error.clone()));
            }
            Item::Transaction(_) => {
                Encoder::new(&mut proposal.replies, proposal.protocol).error(&error.to_string());
                proposal.is_discarded = true;
            }
            Item::Expire(_) | Item::Genesis { .. } => {}
        }
        if proposal.wants_ends {
            proposal.ends.push(proposal.replies.len());
        }
    }
}

/// Answers proposals with an error, and hands them back: the group is busy, and they are not
/// logged.
pub(super) fn turn_away(mut proposals: Vec<Box<Proposal>>, error: &CommandError) {
    for proposal in &mut proposals {
        // EXEC goes by itself.
        match proposal.items[..] {
            [Item::Transaction(_)] => fail(proposal, &error.aborting_exec()),
            _ => fail(proposal, error),
        }
    }
    deliver(&mut proposals);
}

/// Runs proposals that are [plain reads](Proposal::is_plain_read) on the state as it is, which the
/// caller knows to be new enough.
pub(super) fn read_all(
    shared: &Shared,
    group: GroupId,
    clock_ms: i64,
    proposals: &mut [Box<Proposal>],
) {
    let state = shared.state();
    let now_ms = clock_ms.max(state.time_ms);
    let counters = shared.counters();
    let clock = AccessClock::new(shared.tuning().access, now_ms, fastrand::u64(..));
    for proposal in proposals {
        outside_log(|| read(&state, proposal, (&clock, now_ms), &counters));
    }
    shared.totals.add(&counters);
    shared.tell_of_calls(group, &counters);
    drop(state);
    shared.tell(group, &counters);
}

fn read(
    state: &State,
    proposal: &mut Proposal,
    (clock, now_ms): (&AccessClock, i64),
    counters: &Counters,
) {
    if proposal.runs_script {
        counters.calls.begin(proposal.reader);
    }
    proposal.ran_here = true;
    let (asked, mut answers) = apart(proposal);
    for (at, item) in asked.items.iter().enumerate() {
        answers.item = at;
        if let Item::Command {
            request,
            database,
            command,
        } = item
            && let Handler::Read(handler) = command.handler
        {
            answers.start_timing(*command, Some(*request));
            let args = asked.args(*request);
            let context = state.read_context(*database, now_ms, clock, counters);
            let first_touch = counters.touches.len();
            let start = answers.out.len();
            let outcome = match state.stray(command, args) {
                Some(stray) => Err(CommandError::Stray(Box::new(stray))),
                None => handler(&context, args, &mut answers.encoder()),
            };
            events::name(command, args, &counters.touches, first_touch);
            if let Err(error) = &outcome {
                answers.out.truncate(start);
                answers.error(error);
            }
            answers.note(*command, start, outcome);
        }
        answers.end_item();
    }
    answers.stop_timing();
    counters.calls.end();
}

/// Runs a proposal's items in order and writes their replies.
fn answer(applier: &mut Applier<'_>, proposal: &mut Proposal, refusals: &Refusals) {
    applier.set_author(proposal.author);
    if proposal.runs_script {
        applier.calls().begin(proposal.reader);
    }
    proposal.ran_here = true;
    let (asked, mut answers) = apart(proposal);
    for (at, item) in asked.items.iter().enumerate() {
        if at % LOOK_AHEAD == 1 {
            let items = &asked.items[at..];
            prefetch(applier, asked.requests, asked.buffer, items);
        }
        answers.item = at;
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
                    let args = asked.args(*request);
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
                group,
            } => {
                if refusals.writes.is_none() {
                    applier.genesis(*databases, *hash_seed, *group);
                }
            }
        }
        applier.serve();
        answers.end_item();
    }
    answers.stop_timing();
    applier.calls().end();
    applier.set_author(0);
}

fn run_transaction(
    applier: &mut Applier<'_>,
    transaction: &Transaction,
    refusals: &Refusals,
    answers: &mut Answers<'_>,
) {
    if let Some(refusal) = refusals.of_transaction(transaction) {
        answers.error(&refusal.aborting_exec());
        *answers.is_discarded = true;
        return;
    }
    let commands = transaction.commands().collect::<Vec<_>>();
    let commands = commands
        .iter()
        .map(|(command, _, args)| (&**command, *args));
    if let Some(stray) = applier.stray_of_transaction(&transaction.watched, commands) {
        let start = answers.out.len();
        answers.error(&CommandError::composed(stray.to_string()));
        answers.note_stray(start, stray);
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

/// What a proposal asks.
struct Asked<'a> {
    items: &'a [Item],
    requests: &'a Requests,
    buffer: &'a [u8],
}

impl<'a> Asked<'a> {
    fn args(&self, request: usize) -> Args<'a> {
        self.requests.args(request, self.buffer)
    }
}

/// What comes back to a proposal. Runs of the same command are timed together: a clock reading
/// costs as much as a small command.
struct Answers<'a> {
    protocol: Protocol,
    out: &'a mut Vec<u8>,
    failures: &'a mut Vec<(Known, CommandError)>,
    strayed: &'a mut Vec<Strayed>,
    /// Index of the item that is being run.
    item: usize,
    is_discarded: &'a mut bool,
    timings: &'a mut Vec<Timing>,
    running: Option<(Timing, Instant)>,
    /// Where the end of each item's reply is noted, if somebody wants to know.
    ends: Option<&'a mut Vec<usize>>,
}

/// What a proposal asks, and what comes back to it.
fn apart(proposal: &mut Proposal) -> (Asked<'_>, Answers<'_>) {
    let asked = Asked {
        items: &proposal.items,
        requests: &proposal.requests,
        buffer: &proposal.buffer,
    };
    let answers = Answers {
        protocol: proposal.protocol,
        out: &mut proposal.replies,
        failures: &mut proposal.failures,
        strayed: &mut proposal.strayed,
        item: 0,
        is_discarded: &mut proposal.is_discarded,
        timings: &mut proposal.timings,
        running: None,
        ends: proposal.wants_ends.then_some(&mut proposal.ends),
    };
    (asked, answers)
}

impl Answers<'_> {
    fn encoder(&mut self) -> Encoder<'_> {
        Encoder::new(self.out, self.protocol)
    }

    fn error(&mut self, error: &CommandError) {
        self.encoder().error(&error.to_string());
    }

    fn run(&mut self, applier: &mut Applier<'_>, command: Known, database: usize, args: Args<'_>) {
        let start = self.out.len();
        let outcome = applier.command(&command, database, args, self.protocol, self.out);
        self.note(command, start, outcome);
    }

    /// Books an outcome, whose reply stands from `start` on.
    fn note(&mut self, command: Known, start: usize, outcome: Result<(), CommandError>) {
        match outcome {
            Ok(()) => {}
            Err(CommandError::Stray(stray)) => self.note_stray(start, *stray),
            Err(error) => self.failures.push((command, error)),
        }
    }

    /// The reply from `start` on stands for an item that somebody else has to run.
    fn note_stray(&mut self, start: usize, stray: Stray) {
        self.strayed.push(Strayed {
            item: self.item,
            reply: start..self.out.len(),
            stray,
        });
    }

    fn end_item(&mut self) {
        if let Some(ends) = &mut self.ends {
            ends.push(self.out.len());
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
    for item in items.iter().take(LOOK_AHEAD) {
        if let Item::Command {
            request, database, ..
        } = item
            && let Some(key) = requests.args(*request, buffer).get(1)
        {
            applier.keyspace().prefetch(*database, key);
        }
    }
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
