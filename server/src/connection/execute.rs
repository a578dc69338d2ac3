//! Runs a batch of requests: which of them here and now, which through the group.
//!
//! The batch is worked off from the front. Reads and node commands run at once, as long as no write
//! stands before them; the read lock of the group's state is taken once for a run of reads. The
//! first write opens a *proposal*: it and every read or write behind it, up to the next node
//! command or the end of the batch, go to the group together, are answered in order, and cost one
//! log entry. So a connection always reads its own writes, and a pipeline costs one commit.
//!
//! A proposal is for one group. Where prefixes have other owners (`routing`), what belongs to
//! another group begins the next proposal once this one is answered, so nothing is overtaken; what
//! concerns several groups stands by itself (`spread`).
//!
//! In a group of several nodes, reads run at once where the leader's lease holds, or where the
//! client asked for it with READONLY; elsewhere they go the way of writes, without an entry in the
//! log.
//!
//! When something needs attention (the client is not authenticated, is in MULTI, has its replies
//! off; the node is loading, paused, monitored), requests are taken one by one through
//! [`Connection::admit`].
//!
//! [`Connection::fate`] decides what is to be done with a request, [`Connection::step`] does it.

use std::sync::atomic::Ordering;

use bailiwick_frame::{Args, Encoder};
use bailiwick_replication::GroupId;

use super::admission::Admission;
use super::push::ends_listening;
use super::reads::Reads;
use super::{Connection, End, FLUSH_BYTES, ReplyMode};
use crate::commands::{self, CommandError, Handler, Known, ReadHandler, timeout_of};
use crate::group::{Item, Proposal, ROOT_GROUP};
use crate::node;
use crate::node::clients::{ClientFlag, bump};
use crate::node::commands::{Flow, Pending};
use crate::routing::{Route, Routes};

/// Why [`Connection::run_here`] stopped.
enum Stop {
    /// All requests have been looked at; there may be items to propose.
    End,
    /// The items gathered must be answered, and large replies sent, before the request at this
    /// index is looked at.
    Propose,
    /// The next request must wait for something first.
    Pending(Pending),
    /// The connection ends after the replies so far.
    Close,
}

/// How [`Connection::run_here`] goes on.
enum Step {
    /// With the next request.
    On,
    /// Not at all: this request is to be looked at again.
    Before(Stop),
    /// Not at all: this request has been dealt with.
    Behind(Stop),
}

/// What is to be done with a request.
enum Fate {
    /// It reads or writes keys of this group.
    Keyed(GroupId, Known),
    /// It concerns the connection or the node.
    Own(Known),
    /// It may have to wait for its keys, of this group.
    Blocking(GroupId, Known),
    /// It concerns several groups.
    Spread,
    /// It cannot run.
    Refused(CommandError),
    /// It has been dealt with.
    Done,
    /// It must be looked at again after this.
    Held(Pending),
    /// It must not overtake what has been gathered.
    Later,
}

/// What [`Connection::run_here`] goes by.
struct Run<'a> {
    /// `None` if this node's own group serves all keys.
    routes: Option<Routes>,
    reads: Reads<'a>,
}

impl Connection {
    /// Runs all requests of the batch.
    pub(super) async fn execute(&mut self) -> Result<(), End> {
        let mut next = 0;
        self.note_activity();
        while next < self.proposal().requests.len() {
            let (reached, stop) = self.run_here(next);
            next = reached;
            if !self.proposal().items.is_empty() {
                self.propose().await;
                if self.is_closing() {
                    self.flush().await?;
                    return Err(End::Closed);
                }
            }
            match stop {
                Stop::End | Stop::Propose => {}
                // What is pending was asked for by the last request that was dealt with; a pause
                // concerns the one behind it and looks at neither.
                Stop::Pending(pending) => self.wait_for(pending, next.saturating_sub(1)).await?,
                Stop::Close => {
                    self.flush().await?;
                    return Err(End::Closed);
                }
            }
            if self.proposal().replies.len() >= FLUSH_BYTES {
                self.flush().await?;
            }
        }
        Ok(())
    }

    fn note_activity(&mut self) {
        let count = self.proposal().requests.len() as u64;
        let (worker, client) = (&self.guard.worker, &self.guard.client);
        bump(&worker.stats.processed, count);
        bump(&client.commands, count);
        self.now_ns = node::now_ns();
        let now_ms = self.now_ns / 1_000_000;
        self.guard.client.active_ms.store(now_ms, Ordering::Relaxed);
    }

    /// Sends the gathered items to the group and waits for the answers. Without any, it waits until
    /// this node has applied what was acknowledged before.
    pub(super) async fn propose(&mut self) {
        let mut proposal = self.proposal.take().expect("nothing is under way");
        proposal.protocol = self.session.protocol;
        proposal.author = self.guard.client.author();
        proposal.may_be_stale = self.session.client.has(ClientFlag::Readonly);
        let worker = self.guard.worker.clone();
        let before = proposal.replies.len();
        let has_items = !proposal.items.is_empty();
        let mut proposal = worker.submit(proposal).await;
        if !proposal.strayed.is_empty() {
            self.follow_strays(&mut proposal).await;
            self.distrust();
        }
        self.note_reader(&mut proposal);
        proposal.items.clear();
        proposal.runs_script = false;
        let is_discarded = std::mem::take(&mut proposal.is_discarded);
        self.publish_queued(!is_discarded);
        if is_discarded {
            // A SELECT among the steps did not happen.
            self.session.set_database(self.database_before_exec);
        }
        self.note_answered(&mut proposal);
        if has_items && self.session.reply_mode != ReplyMode::On {
            proposal.replies.truncate(before);
            self.after_suppressed_reply();
        }
        self.carry_pushes(&mut proposal.replies);
        self.proposal = Some(proposal);
    }

    /// Books what a group says of the items that it has answered.
    fn note_answered(&self, proposal: &mut Proposal) {
        let worker = &self.guard.worker;
        for (command, error) in proposal.failures.drain(..) {
            bump(&worker.stats.commands[command.id()].failed, 1);
            worker.node.note_error(&error.to_string());
        }
        for strayed in proposal.strayed.drain(..) {
            worker.node.note_error(&strayed.stray.to_string());
        }
        for timing in proposal.timings.drain(..) {
            let (command, calls) = (timing.command, timing.calls);
            worker.stats.ran(command.id(), calls, timing.nanos);
            if let Some(request) = timing.request {
                let args = proposal.requests.args(request, &proposal.buffer);
                let client = Some(&*self.guard.client);
                let nanos = timing.nanos / calls;
                worker.node.note_duration(command, args, nanos, client);
            }
        }
    }

    /// Runs requests from `next` on, until one must not run here and now. Returns the index of the
    /// first request that was not dealt with.
    fn run_here(&mut self, mut next: usize) -> (usize, Stop) {
        let mut proposal = self.proposal.take().expect("nothing is under way");
        let mut out = std::mem::take(&mut proposal.replies);
        let worker = self.guard.worker.clone();
        let seats = worker.node.seats.all();
        let mut run = Run {
            routes: worker.node.routes(),
            reads: Reads::new(&worker, &seats, &self.session, self.now_ns),
        };
        let stop = loop {
            if next >= proposal.requests.len() {
                break Stop::End;
            }
            if out.len() >= FLUSH_BYTES && proposal.items.is_empty() {
                // There is nothing to propose; what there is to send leaves before more is
                // gathered.
                break Stop::Propose;
            }
            match self.step(&mut run, &mut proposal, next, &mut out) {
                Step::On => next += 1,
                Step::Before(stop) => break stop,
                Step::Behind(stop) => {
                    next += 1;
                    break stop;
                }
            }
        };
        run.reads.finish();
        proposal.replies = out;
        self.proposal = Some(proposal);
        (next, stop)
    }

    /// Looks at the request at `at`, and runs it or gathers it for its group, or says what has to
    /// come first.
    #[inline]
    fn step(
        &mut self,
        run: &mut Run<'_>,
        proposal: &mut Proposal,
        at: usize,
        out: &mut Vec<u8>,
    ) -> Step {
        let Proposal {
            group,
            buffer,
            requests,
            items,
            runs_script,
            reader,
            ..
        } = proposal;
        let args = requests.args(at, buffer);
        let database = self.session.database;
        match self.fate(run, args, (!items.is_empty()).then_some(*group), out) {
            Fate::Keyed(id, command) => {
                let handler = match items.is_empty() {
                    true => run.reads.handler(id, (database, command, args)),
                    false => None,
                };
                let is_read = handler.is_some_and(|handler| {
                    run.reads.prefetch(database, (requests, buffer), at);
                    self.read(run, id, (command, handler), args, out)
                });
                if !is_read {
                    run.reads.finish();
                    self.remember(id, command, args);
                    *group = id;
                    if command.runs_script() {
                        *runs_script = true;
                        *reader = self.reader().max(*reader);
                    }
                    items.push(Item::Command {
                        request: at,
                        database,
                        command,
                    });
                }
                self.note_command(command);
            }
            Fate::Own(command) => {
                run.reads.finish();
                let reader = self.reader();
                let step = self.run_own(command, args, (group, items), out);
                if matches!(step, Step::Behind(Stop::Propose)) {
                    proposal.note_scripts();
                    if proposal.runs_script {
                        proposal.reader = reader;
                    }
                }
                return step;
            }
            Fate::Blocking(id, command) => {
                // What only reads looks first whether it has to wait.
                let handler = match command.handler {
                    Handler::Read(_) => run.reads.handler(id, (database, command, args)),
                    _ => None,
                };
                let is_read = handler
                    .is_some_and(|handler| self.read(run, id, (command, handler), args, out));
                self.note_command(command);
                if !is_read {
                    let has_looked = handler.is_some();
                    return Step::Behind(Stop::Pending(Pending::Keys { has_looked }));
                }
            }
            Fate::Spread => return Step::Behind(Stop::Pending(Pending::Spread)),
            Fate::Refused(error) => self.refuse(&error, args, out),
            Fate::Done => {}
            Fate::Held(pending) => return Step::Before(Stop::Pending(pending)),
            Fate::Later => return Step::Before(Stop::Propose),
        }
        Step::On
    }

    /// Decides about a request, if items have been gathered, for `gathered`. What needs attention
    /// is dealt with at once.
    #[inline]
    fn fate(
        &mut self,
        run: &mut Run<'_>,
        args: Args<'_>,
        gathered: Option<GroupId>,
        out: &mut Vec<u8>,
    ) -> Fate {
        let found = commands::lookup(args);
        if self.guard.worker.node.attention.any() || self.session.needs_attention() {
            run.reads.finish();
            if gathered.is_some() {
                return Fate::Later;
            }
            match self.admit(&found, args, out) {
                Admission::Run => {}
                Admission::Done => return Fate::Done,
                Admission::Wait(pending) => return Fate::Held(pending),
            }
        }
        let fate = match found {
            Ok(command) => self.course(run.routes.as_ref(), command, args),
            Err(error) => Fate::Refused(error),
        };
        match (&fate, gathered) {
            (_, None) => fate,
            (Fate::Keyed(id, _), Some(group)) if *id == group => fate,
            // What another group does, or nobody else, must not be overtaken.
            (_, Some(_)) => Fate::Later,
        }
    }

    /// Where a command runs.
    #[inline]
    fn course(&self, routes: Option<&Routes>, command: Known, args: Args<'_>) -> Fate {
        if self.session.redirects()
            && let Some(error) = self.redirect(&command, args)
        {
            return Fate::Refused(error);
        }
        let (Handler::Read(_) | Handler::Write(_)) = command.handler else {
            return Fate::Own(command);
        };
        let id = match routes.map(|routes| routes.of(&command, args)) {
            None => ROOT_GROUP,
            Some(Route::Group(id)) => id,
            Some(Route::Keyless | Route::Several) => return Fate::Spread,
        };
        match timeout_of(&command, args, self.now_ns / 1_000_000) {
            None => Fate::Keyed(id, command),
            Some(_) => Fate::Blocking(id, command),
        }
    }

    /// Runs a request under the read lock of its group, and writes its reply; false for a script
    /// that takes too long for this thread, and for a request that would wait.
    #[inline]
    fn read(
        &mut self,
        run: &mut Run<'_>,
        id: GroupId,
        (command, handler): (Known, ReadHandler),
        args: Args<'_>,
        out: &mut Vec<u8>,
    ) -> bool {
        let before = out.len();
        self.remember(id, command, args);
        let client = &*self.guard.client;
        let reader = if command.runs_script() {
            self.reader()
        } else {
            0
        };
        let database = self.session.database;
        let mut encoder = Encoder::new(out, self.session.protocol);
        let outcome = run.reads.run(
            (command, handler),
            database,
            args,
            (client, reader),
            &mut encoder,
        );
        let Some(outcome) = outcome else {
            out.truncate(before);
            return false;
        };
        if let Err(error) = outcome {
            out.truncate(before);
            self.note_failure(command, &error, out);
        }
        if self.session.reply_mode != ReplyMode::On {
            out.truncate(before);
            self.after_suppressed_reply();
        }
        true
    }

    /// Runs a request about the connection or the node. What it wants of a group becomes an item.
    fn run_own(
        &mut self,
        command: Known,
        args: Args<'_>,
        (group, items): (&mut GroupId, &mut Vec<Item>),
        out: &mut Vec<u8>,
    ) -> Step {
        let before = out.len();
        match command.handler {
            Handler::Node(which) => match self.run_node_command(which, command, args, out) {
                Flow::Continue if ends_listening(which) => self.carry_pushes_before(before, out),
                Flow::Continue => self.carry_pushes(out),
                Flow::Propose(id, item) => {
                    self.end_caching(command);
                    *group = id;
                    items.push(item);
                    return Step::Behind(Stop::Propose);
                }
                Flow::Pending(pending) => return Step::Behind(Stop::Pending(pending)),
                Flow::Close => return Step::Behind(Stop::Close),
            },
            _ => self.refuse(&CommandError::arity(command.name), args, out),
        }
        self.note_command(command);
        Step::On
    }

    fn note_command(&mut self, command: Known) {
        let last = &self.guard.client.last_command;
        last.store(command.id() as u16, Ordering::Relaxed);
        self.end_caching(command);
    }

    /// Answers a request that cannot run with the reason.
    pub(super) fn refuse(&mut self, error: &CommandError, args: Args<'_>, out: &mut Vec<u8>) {
        let before = out.len();
        let text = error.to_string();
        Encoder::new(out, self.session.protocol).error(&text);
        let worker = &self.guard.worker;
        worker.node.note_error(&text);
        if let Some(command) = args.get(0).and_then(commands::find) {
            bump(&worker.stats.commands[command.id()].rejected, 1);
        }
        if self.session.reply_mode != ReplyMode::On {
            out.truncate(before);
            self.after_suppressed_reply();
        }
    }

    pub(super) fn after_suppressed_reply(&mut self) {
        self.session.reply_mode = match self.session.reply_mode {
            ReplyMode::SkipNext => ReplyMode::SkipThis,
            ReplyMode::SkipThis => ReplyMode::On,
            mode => mode,
        };
    }
}
