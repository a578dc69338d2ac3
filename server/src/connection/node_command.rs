//! Node commands on behalf of a connection, and what it waits for on their account.

use std::time::{Duration, Instant};

use bailiwick_frame::{Args, Encoder};

use super::{Connection, End, ReplyMode};
use crate::commands::{CommandError, Known, NodeCommand, lookup};
use crate::node::clients::{ClientFlag, bump};
use crate::node::commands::{self, Flow, NodeContext, Pending, Work};
use crate::node::{self, Condition};

impl Connection {
    pub(super) fn run_node_command(
        &mut self,
        which: NodeCommand,
        command: Known,
        args: Args<'_>,
        out: &mut Vec<u8>,
    ) -> Flow {
        let started = Instant::now();
        let before = out.len();
        let ok = |done: Result<(), CommandError>| done.map(|()| Flow::Continue);
        let outcome = match which {
            NodeCommand::Multi => ok(self.begin_multi()),
            NodeCommand::Exec => self.exec_shown(command, args),
            NodeCommand::Discard => ok(self.discard()),
            NodeCommand::Watch if self.must_catch_up() => Ok(Flow::Pending(Pending::Watch)),
            NodeCommand::Watch => ok(self.watch(args)),
            NodeCommand::Unwatch => {
                self.session.unwatch();
                ok(Ok(()))
            }
            _ => {
                let node = self.guard.worker.node.clone();
                let mut context = NodeContext {
                    node: &node,
                    session: &mut self.session,
                    command,
                    args,
                    out,
                };
                commands::run(which, &mut context)
            }
        };
        let is_transaction = matches!(
            which,
            NodeCommand::Multi | NodeCommand::Discard | NodeCommand::Watch | NodeCommand::Unwatch
        );
        if is_transaction && matches!(outcome, Ok(Flow::Continue)) {
            Encoder::new(out, self.session.protocol).ok();
        }
        let flow = outcome.unwrap_or_else(|error| {
            out.truncate(before);
            self.note_failure(command, &error, out);
            Flow::Continue
        });
        // These reply later, and are timed and suppressed there.
        let waits = matches!(flow, Flow::Pending(Pending::Blocking(_) | Pending::Watch));
        let replies_later = waits || matches!(flow, Flow::Propose(_));
        if !waits {
            self.note_run(command, args, started);
        }
        // A command that switches replies on is answered; one that switches them off is not.
        if self.session.reply_mode != ReplyMode::On && !replies_later {
            out.truncate(before);
            self.after_suppressed_reply();
        }
        if self.is_closing() && !replies_later {
            return Flow::Close;
        }
        flow
    }

    /// Whether the client was told to go; it does so after the reply in progress.
    pub(super) fn is_closing(&self) -> bool {
        self.guard
            .client
            .closing
            .load(std::sync::atomic::Ordering::Acquire)
    }

    /// Writes an error as the reply of a command that ran, and counts it.
    fn note_failure(&self, command: Known, error: &CommandError, out: &mut Vec<u8>) {
        let worker = &self.guard.worker;
        Encoder::new(out, self.session.protocol).error(&error.to_string());
        bump(&worker.stats.commands[command.id()].failed, 1);
        worker.node.note_error(&error.to_string());
    }

    fn note_run(&self, command: Known, args: Args<'_>, started: Instant) {
        let worker = &self.guard.worker;
        let nanos = started.elapsed().as_nanos() as u64;
        worker.stats.ran(command.id(), 1, nanos);
        worker
            .node
            .note_duration(command, args, nanos, Some(&self.guard.client));
    }

    /// Does blocking work at once, on this thread: in a transaction nothing may come in between.
    pub(super) fn block(&self, command: Known, args: Args<'_>, run: Work, out: &mut Vec<u8>) {
        let started = Instant::now();
        if let Err(error) = run(&mut Encoder::new(out, self.session.protocol)) {
            out.clear();
            self.note_failure(command, &error, out);
        }
        self.note_run(command, args, started);
    }

    /// Waits for what the request at `request` asked for.
    pub(super) async fn wait_for(&mut self, pending: Pending, request: usize) -> Result<(), End> {
        self.flush().await?;
        self.guard.client.set(ClientFlag::Blocked, true);
        match pending {
            Pending::Pause { until_ms } => self.wait_for_pause(until_ms).await,
            Pending::Blocking(run) => self.wait_for_work(run, request).await?,
            Pending::Watch => self.watch_after_catching_up(request).await,
            Pending::Monitor => self.become_monitor(),
        }
        self.guard.client.set(ClientFlag::Blocked, false);
        Ok(())
    }

    /// Whether what this node has applied may lack something that was acknowledged.
    fn must_catch_up(&self) -> bool {
        let may_watch = self.session.queued.is_none();
        let group = self.guard.worker.node.group();
        may_watch && group.is_some_and(|group| group.readable(false).is_none())
    }

    /// Proposes nothing, which is answered when this node is up to date, and watches then. What is
    /// out of date would be found changed by EXEC although nobody interfered.
    async fn watch_after_catching_up(&mut self, request: usize) {
        let started = Instant::now();
        self.propose().await;
        let proposal = self.proposal.take().expect("nothing is under way");
        let args = proposal.requests.args(request, &proposal.buffer);
        let outcome = self.watch(args);
        let mut reply = Vec::new();
        if let Ok(command) = lookup(args) {
            self.note_run(command, args, started);
            match outcome {
                Ok(()) => Encoder::new(&mut reply, self.session.protocol).ok(),
                Err(error) => self.note_failure(command, &error, &mut reply),
            }
        }
        self.proposal = Some(proposal);
        if self.session.reply_mode == ReplyMode::On {
            self.proposal().replies.extend_from_slice(&reply);
        } else {
            self.after_suppressed_reply();
        }
    }

    async fn wait_for_work(&mut self, run: Work, request: usize) -> Result<(), End> {
        let (protocol, started) = (self.session.protocol, Instant::now());
        let work = tokio::task::spawn_blocking(move || {
            let mut reply = Vec::new();
            let outcome = run(&mut Encoder::new(&mut reply, protocol));
            (reply, outcome)
        });
        // A task of ours does not panic; if it could not even start, there is no reply.
        let (mut reply, outcome) = work.await.map_err(|_| End::Closed)?;
        let proposal = self.proposal.take().expect("nothing is under way");
        let args = proposal.requests.args(request, &proposal.buffer);
        if let Ok(command) = lookup(args) {
            self.note_run(command, args, started);
            if let Err(error) = outcome {
                reply.clear();
                self.note_failure(command, &error, &mut reply);
            }
        }
        self.proposal = Some(proposal);
        if self.session.reply_mode == ReplyMode::On {
            self.proposal().replies.extend_from_slice(&reply);
        } else {
            self.after_suppressed_reply();
        }
        Ok(())
    }

    async fn wait_for_pause(&self, until_ms: i64) {
        let pause = &self.guard.worker.node.pause;
        let ended = pause.ended.notified();
        // It may have ended since the request was looked at, and nobody would say so again.
        if pause.is_over(node::now_ms()) {
            return;
        }
        let left_ms = (until_ms - node::now_ms()).max(0) as u64;
        tokio::select! {
            () = ended => {}
            () = tokio::time::sleep(Duration::from_millis(left_ms)) => {}
        }
    }

    fn become_monitor(&mut self) {
        let worker = self.guard.worker.clone();
        if self.feed.is_none() {
            self.feed = Some(worker.node.monitors.add(self.guard.client.id));
            self.guard.client.set(ClientFlag::Monitor, true);
            worker.node.attention.set(Condition::Monitored, true);
        }
        let protocol = self.session.protocol;
        Encoder::new(&mut self.proposal().replies, protocol).ok();
    }
}
