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

use super::{Connection, Queued, QueuedStep};
use crate::commands::{CommandError, Flag, Handler, Known};
use crate::group::{Item, Step, Transaction};
use crate::node::clients::ClientFlag;
use crate::node::commands::{Flow, Pending};
use crate::node::{self, Condition};
use crate::state::{State, Watched};

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
        let request = queued.arguments.push(args);
        queued.steps.push(QueuedStep { command, request });
        let (count, bytes) = (queued.steps.len(), queued.arguments.bytes());
        self.guard
            .client
            .queued
            .store(count as u32, Ordering::Relaxed);
        self.guard
            .client
            .queued_bytes
            .store(bytes as u64, Ordering::Relaxed);
        let before = out.len();
        Encoder::new(out, self.session.protocol).simple("QUEUED");
        if self.session.reply_mode != super::ReplyMode::On {
            out.truncate(before);
            self.after_suppressed_reply();
        }
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
        self.session.discard();
        if queued.is_broken {
            let text = "EXECABORT Transaction discarded because of previous errors.";
            return Err(CommandError::text(text));
        }
        // EXEC itself is allowed while the data is loaded, but there is nothing to run it on.
        let worker = self.guard.worker.clone();
        let group = worker.node.group().ok_or(CommandError::Loading)?;
        self.database_before_exec = self.session.database;
        // What has changed stays changed: such a transaction will not run, so its node commands
        // must not either. It still goes the usual way, which gives the reply.
        let steps = if is_unchanged(&group.state(), &watched) {
            self.show_queued(&queued);
            self.resolve_steps(&queued)
        } else {
            Vec::new()
        };
        Ok(Flow::Propose(Item::Transaction(Box::new(Transaction {
            watched,
            steps,
            arguments: queued.arguments,
        }))))
    }

    /// Monitors see queued commands when they run.
    fn show_queued(&self, queued: &Queued) {
        if self.guard.worker.node.attention.has(Condition::Monitored) {
            for step in &queued.steps {
                self.show(&step.command, queued.arguments.get(step.request));
            }
        }
    }

    /// Runs the node commands among the steps; SELECT among them moves the later steps.
    fn resolve_steps(&mut self, queued: &Queued) -> Vec<Step> {
        let mut steps = Vec::with_capacity(queued.steps.len());
        for &QueuedStep { command, request } in &queued.steps {
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
            let args = queued.arguments.get(request);
            match self.run_node_command(node_command, command, args, &mut reply) {
                Flow::Continue => {}
                Flow::Close => {
                    self.guard.client.closing.store(true, Ordering::Release);
                }
                Flow::Pending(Pending::Blocking(run)) => {
                    self.block(command, args, run, &mut reply);
                }
                Flow::Propose(_) | Flow::Pending(_) => {
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

    pub(super) fn watch(&mut self, args: Args<'_>) -> Result<(), CommandError> {
        if self.session.queued.is_some() {
            return Err(CommandError::text("ERR WATCH inside MULTI is not allowed"));
        }
        let node = &self.guard.worker.node;
        let group = node.group().ok_or(CommandError::Loading)?;
        let state = group.state();
        let now_ms = node::now_ms().max(state.time_ms);
        let database = self.session.database;
        for key in args.from(1).iter() {
            let watched = &mut self.session.watched;
            if watched
                .iter()
                .any(|held| held.database == database && held.key == key)
            {
                continue;
            }
            watched.push(Watched {
                database,
                key: key.to_vec(),
                state: state.keyspace.watch_state(database, key, now_ms),
            });
        }
        drop(state);
        let count = self.session.watched.len();
        self.guard
            .client
            .watched
            .store(count as u32, Ordering::Relaxed);
        self.guard.client.set(ClientFlag::Watching, true);
        Ok(())
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
