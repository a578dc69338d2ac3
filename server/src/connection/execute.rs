//! Runs a batch of requests: which of them here and now, which through the group.
//!
//! The batch is worked off from the front. Reads and node commands run at once, as long as no write
//! stands before them; the read lock of the group's state is taken once for a run of reads. The
//! first write opens a *proposal*: it and every read or write behind it, up to the next node
//! command or the end of the batch, go to the group together, are answered in order, and cost one
//! log entry. So a connection always reads its own writes, and a pipeline costs one commit.
//!
//! A proposal is for one group. Where prefixes have other owners (`routing`), what belongs to another
//! group begins the next proposal once this one is answered, so nothing is overtaken; what concerns
//! several groups stands by itself (`spread`).
//!
//! In a group of several nodes, reads run at once where the leader's lease holds, or where the client
//! asked for it with READONLY; elsewhere they go the way of writes, without an entry in the log.
//!
//! When something needs attention (the client is not authenticated, is in MULTI, has its replies
//! off; the node is loading, paused, monitored), requests are taken one by one through
//! [`Connection::admit`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bailiwick_frame::{Args, Encoder};
use bailiwick_replication::GroupId;
use parking_lot::RwLockReadGuard;

use super::push::{ends_listening, listens, runs_while_listening};
use super::{Connection, End, FLUSH_BYTES, ReplyMode};
use crate::commands::{
    self, CommandError, Counters, Flag, Handler, Known, NodeCommand, ReadContext, ReadHandler,
    timeout_of,
};
use crate::group::{Group, Item, Proposal, ROOT_GROUP};
use crate::keyspace::AccessClock;
use crate::node::clients::{Client, ClientFlag, bump};
use crate::node::commands::{Flow, Pending};
use crate::node::{self, Condition, redact};
use crate::routing::Route;
use crate::state::State;

/// How many requests ahead of the one that runs their keys are brought into the cache.
const PREFETCH: usize = 16;
/// Longer arguments are hardly keys, and hashing them twice costs more than it saves.
const PREFETCH_KEY_BYTES: usize = 256;

/// Why [`Connection::run_here`] stopped.
enum Stop {
    /// All requests have been looked at; there may be items to propose.
    End,
    /// The items gathered must be answered, and large replies sent, before the request at this index is
    /// looked at.
    Propose,
    /// The next request must wait for something first.
    Pending(Pending),
    /// The connection ends after the replies so far.
    Close,
}

/// What attention makes of a request.
pub(super) enum Admission {
    /// It runs.
    Run,
    /// It has been dealt with.
    Done,
    /// It must be looked at again after this.
    Wait(Pending),
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
        let worker = self.guard.worker.clone();
        let before = proposal.replies.len();
        let has_items = !proposal.items.is_empty();
        let mut proposal = worker.submit(proposal).await;
        if !proposal.strayed.is_empty() {
            self.follow_strays(&mut proposal).await;
            self.distrust();
        }
        proposal.items.clear();
        let is_discarded = std::mem::take(&mut proposal.is_discarded);
        self.publish_queued(!is_discarded);
        if is_discarded {
            // A SELECT among the steps did not happen.
            self.session.set_database(self.database_before_exec);
        }
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
        if has_items && self.session.reply_mode != ReplyMode::On {
            proposal.replies.truncate(before);
            self.after_suppressed_reply();
        }
        self.carry_pushes(&mut proposal.replies);
        self.proposal = Some(proposal);
    }

    /// Runs requests from `next` on, until one must not run here and now. Returns the index of the
    /// first request that was not dealt with.
    fn run_here(&mut self, mut next: usize) -> (usize, Stop) {
        let mut proposal = self.proposal.take().expect("nothing is under way");
        let mut out = std::mem::take(&mut proposal.replies);
        let worker = self.guard.worker.clone();
        let may_be_stale = self.guard.client.has(ClientFlag::Readonly);
        let routes = worker.node.routes();
        let seats = worker.node.seats.all();
        let mut reads = Reads::new(
            (&worker.node, &seats),
            (self.session.no_touch, may_be_stale),
            self.now_ns,
        );
        let count = proposal.requests.len();
        let mut stop = Stop::End;
        let mut prefetched = next;
        while next < count {
            if out.len() >= FLUSH_BYTES && proposal.items.is_empty() {
                // There is nothing to propose; what there is to send leaves before more is gathered.
                stop = Stop::Propose;
                break;
            }
            let Proposal {
                group,
                buffer,
                requests,
                items,
                ..
            } = &mut *proposal;
            let args = requests.args(next, buffer);
            let found = commands::lookup(args);
            if worker.node.attention.any() || self.session.needs_attention() {
                reads.finish(&worker);
                if !items.is_empty() {
                    stop = Stop::Propose;
                    break;
                }
                match self.admit(&found, args, &mut out) {
                    Admission::Run => {}
                    Admission::Done => {
                        next += 1;
                        continue;
                    }
                    Admission::Wait(pending) => {
                        stop = Stop::Pending(pending);
                        break;
                    }
                }
            }
            let command = match found {
                Ok(command) => command,
                Err(_) if !items.is_empty() => {
                    stop = Stop::Propose;
                    break;
                }
                Err(error) => {
                    self.refuse(&error, args, &mut out);
                    next += 1;
                    continue;
                }
            };
            if self.session.redirects()
                && let Some(error) = self.redirect(&command, args)
            {
                if !items.is_empty() {
                    stop = Stop::Propose;
                    break;
                }
                self.refuse(&error, args, &mut out);
                next += 1;
                continue;
            }
            let runs_in = match (&routes, command.handler) {
                (Some(routes), Handler::Read(_) | Handler::Write(_)) => routes.of(&command, args),
                _ => Route::Group(ROOT_GROUP),
            };
            let runs_in = match runs_in {
                Route::Group(id) if items.is_empty() || id == *group => id,
                // What another group does must not be overtaken.
                _ if !items.is_empty() => {
                    stop = Stop::Propose;
                    break;
                }
                Route::Group(id) => id,
                Route::Keyless | Route::Several => {
                    next += 1;
                    stop = Stop::Pending(Pending::Spread);
                    break;
                }
            };
            if timeout_of(&command, args, self.now_ns / 1_000_000).is_some() {
                if !items.is_empty() {
                    stop = Stop::Propose;
                    break;
                }
                self.note_command(command);
                next += 1;
                stop = Stop::Pending(Pending::Keys);
                break;
            }
            let handler = match items.is_empty() {
                true => reads.handler(runs_in, (self.session.database, command, args), &worker),
                false => None,
            };
            match (command.handler, handler) {
                (Handler::Read(_) | Handler::Write(_), Some(handler)) => {
                    let before = out.len();
                    self.remember(runs_in, command, args);
                    if next >= prefetched && next + 1 < count {
                        prefetched = (next + PREFETCH).min(count);
                        for ahead in next..prefetched {
                            reads.prefetch(self.session.database, requests.args(ahead, buffer));
                        }
                    }
                    let mut encoder = Encoder::new(&mut out, self.session.protocol);
                    let outcome = reads.run(
                        command,
                        handler,
                        self.session.database,
                        args,
                        &mut encoder,
                        &worker,
                    );
                    if reads.watches_fast || !command.has(Flag::Fast) {
                        reads.finish_timed(&worker, Some((args, &self.guard.client)));
                    }
                    if let Err(error) = outcome {
                        out.truncate(before);
                        Encoder::new(&mut out, self.session.protocol).error(&error.to_string());
                        bump(&worker.stats.commands[command.id()].failed, 1);
                        worker.node.note_error(&error.to_string());
                    }
                    if self.session.reply_mode != ReplyMode::On {
                        out.truncate(before);
                        self.after_suppressed_reply();
                    }
                }
                (Handler::Read(_) | Handler::Write(_), None) => {
                    reads.finish(&worker);
                    self.remember(runs_in, command, args);
                    let database = self.session.database;
                    *group = runs_in;
                    items.push(Item::Command {
                        request: next,
                        database,
                        command,
                    });
                }
                (Handler::Node(_) | Handler::Container, _) if !items.is_empty() => {
                    stop = Stop::Propose;
                    break;
                }
                (Handler::Node(node_command), _) => {
                    reads.finish(&worker);
                    let before = out.len();
                    match self.run_node_command(node_command, command, args, &mut out) {
                        Flow::Continue if ends_listening(node_command) => {
                            self.carry_pushes_before(before, &mut out);
                        }
                        Flow::Continue => self.carry_pushes(&mut out),
                        Flow::Propose(id, item) => {
                            self.end_caching(command);
                            *group = id;
                            items.push(item);
                            next += 1;
                            stop = Stop::Propose;
                            break;
                        }
                        Flow::Pending(pending) => {
                            next += 1;
                            stop = Stop::Pending(pending);
                            break;
                        }
                        Flow::Close => {
                            stop = Stop::Close;
                            next += 1;
                            break;
                        }
                    }
                }
                (Handler::Container, _) => {
                    self.refuse(&CommandError::arity(command.name), args, &mut out);
                }
            }
            self.note_command(command);
            next += 1;
        }
        reads.finish(&worker);
        proposal.replies = out;
        self.proposal = Some(proposal);
        (next, stop)
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

    /// Looks at a request under attention.
    pub(super) fn admit(
        &mut self,
        found: &Result<Known, CommandError>,
        args: Args<'_>,
        out: &mut Vec<u8>,
    ) -> Admission {
        let node = self.guard.worker.node.clone();
        let command = match found {
            Ok(command) => *command,
            Err(error) => {
                self.break_transaction();
                self.refuse(error, args, out);
                return Admission::Done;
            }
        };
        if !self.session.is_authenticated && node.settings.load().requirepass.is_empty() {
            // The password has been taken away since this client connected.
            self.session.is_authenticated = true;
        }
        if !self.session.is_authenticated && !command.has(Flag::NoAuth) {
            self.break_transaction();
            self.refuse(
                &CommandError::text("NOAUTH Authentication required."),
                args,
                out,
            );
            return Admission::Done;
        }
        if node.attention.has(Condition::Loading) && !command.has(Flag::Loading) {
            self.break_transaction();
            self.refuse(&CommandError::Loading, args, out);
            return Admission::Done;
        }
        if self.session.only_listens() && !runs_while_listening(&command) {
            self.break_transaction();
            self.refuse(&listens(&command), args, out);
            return Admission::Done;
        }
        if self.session.queued.is_some() && !runs_in_multi(&command) {
            if self.session.redirects()
                && let Some(error) = self.redirect(&command, args)
            {
                self.break_transaction();
                self.refuse(&error, args, out);
            } else {
                self.queue(command, args, out);
            }
            return Admission::Done;
        }
        if let Some(until_ms) = self.paused_until_ms(&command) {
            return Admission::Wait(Pending::Pause { until_ms });
        }
        // EXEC is shown behind what it runs.
        let is_exec = matches!(command.handler, Handler::Node(NodeCommand::Exec));
        if node.attention.has(Condition::Monitored) && !is_exec {
            self.show(&command, args);
        }
        Admission::Run
    }

    /// Shows a request to those who monitor.
    pub(super) fn show(&self, command: &Known, args: Args<'_>) {
        if command.has(Flag::SkipMonitor) || command.has(Flag::Admin) {
            return;
        }
        let (database, address) = (self.session.database, &self.guard.client.address);
        let node = &self.guard.worker.node;
        let monitors = &node.monitors;
        redact::with_shown(command, args, |args| {
            let limits = node.settings.load().client_output_buffer_limit;
            monitors.feed(node::now_us(), database, (address, args), &limits);
        });
    }

    fn paused_until_ms(&self, command: &Known) -> Option<i64> {
        let node = &self.guard.worker.node;
        if !node.attention.has(Condition::Paused) {
            return None;
        }
        let now_ms = node::now_ms();
        if node.pause.is_over(now_ms) {
            node.attention.set(Condition::Paused, false);
            return None;
        }
        let is_exec = matches!(command.handler, Handler::Node(NodeCommand::Exec));
        let writes = command.is_write() || is_exec && self.has_queued_write();
        node.pause.until_ms(writes, now_ms)
    }
}

/// What is not queued between MULTI and EXEC.
fn runs_in_multi(command: &Known) -> bool {
    matches!(
        command.handler,
        Handler::Node(
            NodeCommand::Exec
                | NodeCommand::Discard
                | NodeCommand::Multi
                | NodeCommand::Watch
                | NodeCommand::Quit
                | NodeCommand::Reset
        )
    )
}

/// A run of reads of one group, under one lock, one clock reading, and one set of counters.
struct Reads<'a> {
    node: &'a node::Node,
    seats: &'a BTreeMap<GroupId, Arc<Group>>,
    touch: bool,
    /// The client asked for the state of this node, whatever others have.
    may_be_stale: bool,
    /// Whether even a fast command can be slow enough to be noted, so each is timed by itself.
    watches_fast: bool,
    /// The clock when the batch began.
    started_ns: i64,
    view: Option<View<'a>>,
}

struct View<'a> {
    group: &'a Group,
    state: RwLockReadGuard<'a, State>,
    clock: AccessClock,
    now_ms: i64,
    counters: Counters,
    /// The command being timed, its calls so far, and when the first began.
    timed: Option<(Known, u64, i64)>,
    /// The last clock reading.
    now_ns: i64,
}

impl<'a> Reads<'a> {
    fn new(
        (node, seats): (&'a node::Node, &'a BTreeMap<GroupId, Arc<Group>>),
        (no_touch, may_be_stale): (bool, bool),
        started_ns: i64,
    ) -> Self {
        Self {
            node,
            seats,
            touch: !no_touch,
            may_be_stale,
            watches_fast: node.watches_fast.load(Ordering::Relaxed),
            started_ns,
            view: None,
        }
    }

    /// What runs for a request here and now, without the log: a read, or a command that finds
    /// nothing to change. `None` if the group has to be asked.
    fn handler(
        &mut self,
        id: GroupId,
        (database, command, args): (usize, Known, Args<'_>),
        worker: &crate::worker::Worker,
    ) -> Option<ReadHandler> {
        match command.handler {
            Handler::Read(handler) => self
                .may_run(id, (&command, args), worker)
                .then_some(handler),
            Handler::Write(_) if !self.may_be_stale => {
                let handler = command.handler_if_absent(args)?;
                let runs = self.may_run(id, (&command, args), worker);
                let view = self.view.as_ref().filter(|_| runs)?;
                let (keyspace, key) = (&view.state.keyspace, args.arg(1));
                let entry = keyspace.get(database, key, view.now_ms);
                entry.is_none().then_some(handler)
            }
            _ => None,
        }
    }

    /// Whether a read may run here and now. Locks the group's state if it was not. Otherwise what
    /// it shows may be out of date, or the keys are not the group's, and the group has to be asked.
    fn may_run(
        &mut self,
        id: GroupId,
        (command, args): (&Known, Args<'_>),
        worker: &crate::worker::Worker,
    ) -> bool {
        if self.seats.is_empty() {
            // Nothing is loaded, which [`Reads::run`] says.
            return true;
        }
        if self.view.as_ref().is_some_and(|view| view.group.id() != id) {
            self.finish(worker);
        }
        if self.view.is_none() {
            let Some(group) = self.seats.get(&id) else {
                return false;
            };
            let state = group.readable(self.may_be_stale);
            self.view = state.map(|state| View::new(group, state, self.started_ns));
            if self.node.notices.wants_misses()
                && let Some(view) = &self.view
            {
                view.counters.touches.switch_on();
            }
        }
        let view = self.view.as_ref();
        view.is_some_and(|view| view.state.stray(command, args).is_none())
    }

    /// Starts to bring into the cache what a request will look at: for most, its first argument.
    fn prefetch(&mut self, database: usize, args: Args<'_>) {
        let key = args.get(1).filter(|key| key.len() <= PREFETCH_KEY_BYTES);
        if let (Some(key), Some(view)) = (key, &self.view) {
            view.state.keyspace.prefetch(database, key);
        }
    }

    fn run(
        &mut self,
        command: Known,
        handler: ReadHandler,
        database: usize,
        args: Args<'_>,
        encoder: &mut Encoder<'_>,
        worker: &crate::worker::Worker,
    ) -> commands::Outcome {
        let touch = self.touch;
        let view = self.view.as_mut().ok_or(CommandError::Loading)?;
        view.time(command, worker);
        let context = ReadContext {
            keyspace: &view.state.keyspace,
            authority: &view.state.authority,
            scripts: &view.state.scripts,
            database,
            now_ms: view.now_ms,
            clock: &view.clock,
            touch,
            counters: &view.counters,
            may_wait: false,
            chance: None,
        };
        handler(&context, args, encoder)
    }

    /// Lets go of the lock and books what was counted.
    fn finish(&mut self, worker: &crate::worker::Worker) {
        if self.view.is_some() {
            self.finish_timed(worker, None);
            self.let_go();
        }
    }

    fn let_go(&mut self) {
        if let Some(view) = self.view.take() {
            drop(view.state);
            view.group.totals().add(&view.counters);
            if view.counters.touches.is_on() {
                self.node.notices.missed(&view.counters.touches.take());
            }
        }
    }

    /// Books the time of the command that was running, which was `request` and this client's.
    fn finish_timed(
        &mut self,
        worker: &crate::worker::Worker,
        request: Option<(Args<'_>, &Client)>,
    ) {
        let Some(view) = &mut self.view else {
            return;
        };
        let Some((command, calls, nanos)) = view.stop_timing(worker) else {
            return;
        };
        if let Some((args, client)) = request {
            self.node
                .note_duration(command, args, nanos / calls, Some(client));
        }
    }
}

impl<'a> View<'a> {
    fn new(group: &'a Group, state: RwLockReadGuard<'a, State>, now_ns: i64) -> Self {
        // Log time may be ahead of the clock, and what has expired by it is gone.
        let now_ms = (now_ns / 1_000_000).max(state.time_ms);
        Self {
            clock: AccessClock::new(group.tuning().access, now_ms, now_ms as u32),
            group,
            state,
            now_ms,
            counters: Counters::default(),
            timed: None,
            now_ns,
        }
    }

    fn time(&mut self, command: Known, worker: &crate::worker::Worker) {
        match &mut self.timed {
            Some((timed, calls, _)) if timed.id() == command.id() => *calls += 1,
            _ => {
                self.stop_timing(worker);
                self.timed = Some((command, 1, self.now_ns));
            }
        }
    }

    fn stop_timing(&mut self, worker: &crate::worker::Worker) -> Option<(Known, u64, u64)> {
        let (command, calls, since_ns) = self.timed.take()?;
        self.now_ns = node::now_ns();
        // A clock that was set back in between must not count as an eternity.
        let nanos = (self.now_ns - since_ns).max(0) as u64;
        worker.stats.ran(command.id(), calls, nanos);
        Some((command, calls, nanos))
    }
}
