//! MULTI, EXEC, DISCARD, WATCH and UNWATCH.
//!
//! Requests between MULTI and EXEC are copied and answered with QUEUED. EXEC makes them one item of
//! one proposal, so they run with nothing in between and either all of them are logged or none.
//! What WATCH saw of its keys travels along and is compared when the item is applied, so the
//! decision is the log's, not this connection's.
//!
//! Commands that concern the connection or the node run when EXEC arrives, before the proposal,
//! and their replies are put in their places.

use std::sync::atomic::Ordering;

use bailiwick_frame::{Args, Encoder};
use bailiwick_replication::GroupId;

use super::{Connection, Queued, QueuedStep};
use crate::authority::Place;
use crate::commands::{CommandError, Flag, Handler, Known};
use crate::group::{Arguments, Item, ROOT_GROUP, Step, Transaction};
use crate::keyspace::WatchState;
use crate::node::clients::ClientFlag;
use crate::node::commands::{Flow, Pending};
use crate::node::{self, Condition};
use crate::routing::{self, Route};
use crate::state::{State, Watched};

/// What the requests of a transaction may take. The log would refuse more, and offsets into what is
/// queued have 32 bits.
const MAX_QUEUED_BYTES: usize = 1 << 30;

impl Connection {
    pub(super) fn begin_multi(&mut self) -> Result<(), CommandError> {
        if self.session.queued.is_some() {
            return Err(CommandError::text("ERR MULTI calls can not be nested"));
        }
        self.session.queued = Some(Queued::default());
        self.guard.client.set(ClientFlag::Multi, true);
        Ok(())
    }

    /// A request was refused while commands are queued: EXEC will be, too.
    pub(super) fn break_transaction(&mut self) {
        if let Some(queued) = &mut self.session.queued {
            queued.is_broken = true;
        }
    }

    pub(super) fn has_queued_write(&self) -> bool {
        let queued = self.session.queued.as_ref();
        queued.is_some_and(|queued| queued.steps.iter().any(|step| step.command.is_write()))
    }

    pub(super) fn queue(&mut self, command: Known, args: Args<'_>, out: &mut Vec<u8>) {
        if command.has(Flag::NoMulti) || matches!(command.handler, Handler::Container) {
            self.break_transaction();
            let text = "ERR Command not allowed inside a transaction";
            self.refuse(&CommandError::text(text), args, out);
            return;
        }
        let Some(queued) = &mut self.session.queued else {
            return;
        };
        if !queued.push(command, args, MAX_QUEUED_BYTES) {
            self.note_queued(0, 0);
            let text = "ERR the transaction is too large for the log";
            self.refuse(&CommandError::text(text), args, out);
            return;
        }
        let (count, bytes) = (queued.steps.len(), queued.arguments.bytes());
        self.note_queued(count, bytes);
        let before = out.len();
        Encoder::new(out, self.session.protocol).simple("QUEUED");
        if self.session.reply_mode != super::ReplyMode::On {
            out.truncate(before);
            self.after_suppressed_reply();
        }
    }

    /// Shows those who list clients how much is queued.
    fn note_queued(&self, count: usize, bytes: usize) {
        self.guard
            .client
            .queued
            .store(count as u32, Ordering::Relaxed);
        self.guard
            .client
            .queued_bytes
            .store(bytes as u64, Ordering::Relaxed);
    }

    /// EXEC, which monitors see behind the commands that it runs.
    pub(super) fn exec_shown(
        &mut self,
        command: Known,
        args: Args<'_>,
    ) -> Result<Flow, CommandError> {
        let outcome = self.exec();
        if self.guard.worker.node.attention.has(Condition::Monitored) {
            self.show(&command, args);
        }
        outcome
    }

    fn exec(&mut self) -> Result<Flow, CommandError> {
        let Some(queued) = self.session.queued.take() else {
            return Err(CommandError::text("ERR EXEC without MULTI"));
        };
        let watched = std::mem::take(&mut self.session.watched);
        let watched_in = self.session.watched_in;
        self.session.discard();
        if queued.is_broken {
            let text = "EXECABORT Transaction discarded because of previous errors.";
            return Err(CommandError::text(text));
        }
        let mut transaction = Box::new(Transaction {
            watched,
            steps: Vec::new(),
            arguments: queued.arguments,
        });
        let group = self.group_of_transaction(&transaction, &queued.steps)?;
        if watched_in.is_some_and(|watched_in| watched_in != group) {
            // The numbers are another group's and could be equal to this one's by chance.
            let watched = transaction.watched.iter_mut();
            watched.for_each(|watched| watched.state = WatchState::CHANGED);
        }
        if let Some(busy) = self.busy_group(group) {
            return Err(busy.aborting_exec());
        }
        self.database_before_exec = self.session.database;
        // What has changed stays changed: such a transaction will not run, so its node commands
        // must not either. It still goes the usual way, which gives the reply.
        if self.may_be_unchanged(group, &transaction.watched) {
            self.show_queued(&queued.steps, &transaction.arguments);
            self.remember_steps(group, &queued.steps, &transaction.arguments);
            self.session.runs_transaction = true;
            transaction.steps = self.resolve_steps(&queued.steps, &transaction.arguments);
            self.session.runs_transaction = false;
        }
        Ok(Flow::Propose(group, Item::Transaction(transaction)))
    }

    /// The group that runs a transaction: all its keys belong to it.
    fn group_of_transaction(
        &self,
        transaction: &Transaction,
        steps: &[QueuedStep],
    ) -> Result<GroupId, CommandError> {
        let node = &self.guard.worker.node;
        // EXEC itself is allowed while the data is loaded, but there is nothing to run it on.
        if node.seats.first().is_none() && node.host().is_none() {
            return Err(CommandError::Loading);
        }
        let Some(routes) = node.routes() else {
            return Ok(ROOT_GROUP);
        };
        let commands = steps
            .iter()
            .filter(|step| matches!(step.command.handler, Handler::Read(_) | Handler::Write(_)));
        let commands = commands.map(|step| {
            let args = transaction.arguments.get(step.request);
            (step.command, args)
        });
        let group = routes.of_transaction(&transaction.watched, commands)?;
        // Nothing but commands about the connection: any group will do, best one that is here.
        let here = || node.seats.first().map(|group| group.id());
        Ok(group.or_else(here).unwrap_or(ROOT_GROUP))
    }

    /// False if what is watched has changed for certain.
    fn may_be_unchanged(&self, group: GroupId, watched: &[Watched]) -> bool {
        if watched.is_empty() {
            return true;
        }
        if watched
            .iter()
            .any(|watched| watched.state == WatchState::CHANGED)
        {
            return false;
        }
        let seat = self.guard.worker.node.seats.get(group);
        // Somebody else's group decides when the transaction runs.
        let seat = seat.filter(|seat| seat.standing().takes_part());
        let Some(seat) = seat else {
            return true;
        };
        let state = seat.state_unless_held();
        state.is_none_or(|state| is_unchanged(&state, watched))
    }

    /// Monitors see queued commands when they run.
    fn show_queued(&self, steps: &[QueuedStep], arguments: &Arguments) {
        if self.guard.worker.node.attention.has(Condition::Monitored) {
            for step in steps {
                self.show(&step.command, arguments.get(step.request));
            }
        }
    }

    /// Runs the node commands among the steps; SELECT among them moves the later steps.
    fn resolve_steps(&mut self, queued: &[QueuedStep], arguments: &Arguments) -> Vec<Step> {
        let mut steps = Vec::with_capacity(queued.len());
        for &QueuedStep { command, request } in queued {
            let Handler::Node(node_command) = command.handler else {
                let database = self.session.database;
                steps.push(Step::Command {
                    request,
                    database,
                    command,
                });
                continue;
            };
            let mut reply = Vec::new();
            let args = arguments.get(request);
            match self.run_node_command(node_command, command, args, &mut reply) {
                // Nobody waits inside a transaction: other nodes hear of a subscription soon after.
                Flow::Continue | Flow::Pending(Pending::Heard(_)) => {}
                Flow::Close => {
                    self.guard.client.closing.store(true, Ordering::Release);
                }
                Flow::Pending(Pending::Blocking(run)) => {
                    self.block(command, args, run, &mut reply);
                }
                Flow::Propose(..) | Flow::Pending(_) => {
                    let text = "ERR Command not allowed inside a transaction";
                    Encoder::new(&mut reply, self.session.protocol).error(text);
                }
            }
            steps.push(Step::Answered(reply));
        }
        steps
    }

    pub(super) fn discard(&mut self) -> Result<(), CommandError> {
        if self.session.queued.is_none() {
            return Err(CommandError::text("ERR DISCARD without MULTI"));
        }
        self.session.discard();
        Ok(())
    }

    /// WATCH, if what this node has of the keys' group is up to date; otherwise the group is to be
    /// asked, and [`Connection::note_watched`] called with what it says.
    pub(super) fn watch(&mut self, args: Args<'_>) -> Result<Flow, CommandError> {
        if self.session.queued.is_some() {
            return Err(CommandError::text("ERR WATCH inside MULTI is not allowed"));
        }
        let node = &self.guard.worker.node;
        if node.seats.first().is_none() && node.host().is_none() {
            return Err(CommandError::Loading);
        }
        let keys = args.from(1);
        let group = match node.routes() {
            None => ROOT_GROUP,
            Some(routes) => match routes.of_keys(keys.iter()) {
                Route::Group(group) => group,
                Route::Keyless | Route::Several => return Err(routing::CROSSSLOT),
            },
        };
        if self.session.watched_in.is_some_and(|other| other != group) {
            return Err(routing::CROSSSLOT);
        }
        let seat = node.seats.get(group);
        if seat.as_ref().is_some_and(|seat| seat.busy().is_some()) {
            // What the keys are like is not known as long as the script runs, so EXEC will not run.
            self.note_watched(group, keys, &vec![WatchState::CHANGED; keys.len()]);
            return Ok(Flow::Continue);
        }
        let Some(state) = seat.as_ref().and_then(|seat| seat.readable(false)) else {
            return Ok(Flow::Pending(Pending::Watch(group)));
        };
        if keys
            .iter()
            .any(|key| state.authority.place(key) != Place::Here)
        {
            return Ok(Flow::Pending(Pending::Watch(group)));
        }
        let now_ms = node::now_ms().max(state.time_ms);
        let database = self.session.database;
        let states: Vec<WatchState> = keys
            .iter()
            .map(|key| state.keyspace.watch_state(database, key, now_ms))
            .collect();
        drop(state);
        self.note_watched(group, keys, &states);
        Ok(Flow::Continue)
    }

    /// Remembers what keys of a group are like now, unless they are watched already.
    pub(super) fn note_watched(&mut self, group: GroupId, keys: Args<'_>, states: &[WatchState]) {
        let database = self.session.database;
        let watched = &mut self.session.watched;
        for (key, &state) in keys.iter().zip(states) {
            let mut held = watched.iter();
            if !held.any(|held| held.database == database && held.key == key) {
                watched.push(Watched {
                    database,
                    key: key.to_vec(),
                    state,
                });
            }
        }
        self.session.watched_in = Some(group);
        let count = self.session.watched.len();
        self.guard
            .client
            .watched
            .store(count as u32, Ordering::Relaxed);
        self.guard.client.set(ClientFlag::Watching, true);
    }
}

/// Whether everything watched is at this moment as it was.
fn is_unchanged(state: &State, watched: &[Watched]) -> bool {
    let now_ms = node::now_ms().max(state.time_ms);
    watched.iter().all(|watched| {
        let keyspace = &state.keyspace;
        keyspace.watch_state(watched.database, &watched.key, now_ms) == watched.state
    })
}
