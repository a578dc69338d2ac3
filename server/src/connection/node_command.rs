//! Node commands on behalf of a connection, and what it waits for on their account.

use std::time::{Duration, Instant};

use bailiwick_frame::{Args, Encoder, Protocol};
use bailiwick_replication::GroupId;

use super::ask::{ask_on, prepared};
use super::{Connection, End, ReplyMode};
use crate::commands::{CommandError, Known, NodeCommand, lookup};
use crate::group::Arguments;
use crate::keyspace::WatchState;
use crate::node;
use crate::node::clients::{ClientFlag, bump};
use crate::node::commands::{self, Flow, NodeContext, Pending, Work};
use crate::pubsub::HEARD_WITHIN;
use crate::routing::errand::{self, Reply};

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
            NodeCommand::Watch => self.watch(args),
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
        let waits = matches!(
            flow,
            Flow::Pending(Pending::Blocking(_) | Pending::Watch(_))
        );
        let replies_later = waits || matches!(flow, Flow::Propose(..));
        if !waits {
            self.note_run(command, args, started);
        }
        // A command that switches replies on is answered; one that switches them off is not.
        if self.session.reply_mode != ReplyMode::On && !replies_later {
            // Confirmations of subscriptions are no replies, and are sent in any case.
            if !confirms(which) {
                out.truncate(before);
            }
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
    pub(super) fn note_failure(&self, command: Known, error: &CommandError, out: &mut Vec<u8>) {
        let worker = &self.guard.worker;
        Encoder::new(out, self.session.protocol).error(&error.to_string());
        bump(&worker.stats.commands[command.id()].failed, 1);
        worker.node.note_error(&error.to_string());
    }

    /// Counts and times a command that ran.
    pub(super) fn note_run(&self, command: Known, args: Args<'_>, started: Instant) {
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
        let pending = match pending {
            // The reply is written, and must not be read before it is true everywhere.
            Pending::Heard(heard) => {
                // Who cannot be reached for so long hears of it when the link is back.
                let _ = tokio::time::timeout(HEARD_WITHIN, heard).await;
                return Ok(());
            }
            pending => pending,
        };
        self.flush().await?;
        if let Pending::Keys { has_looked } = pending {
            return self.run_blocking(request, has_looked).await;
        }
        self.guard.client.set(ClientFlag::Blocked, true);
        match pending {
            Pending::Pause { until_ms } => self.wait_for_pause(until_ms).await,
            Pending::Blocking(run) => self.wait_for_work(run, request).await?,
            Pending::Watch(group) => self.watch_by_asking(group, request).await,
            Pending::Spread => self.run_spread(request).await,
            Pending::Monitor => self.become_monitor(),
            Pending::Heard(_) | Pending::Keys { .. } => unreachable!("it was dealt with above"),
        }
        self.guard.client.set(ClientFlag::Blocked, false);
        Ok(())
    }

    /// Asks the group of the keys what they are like. What this node has itself may be out of date,
    /// and would be found changed by EXEC although nobody interfered.
    async fn watch_by_asking(&mut self, group: GroupId, request: usize) {
        let started = Instant::now();
        let worker = self.guard.worker.clone();
        let proposal = self.proposal.take().expect("nothing is under way");
        let args = proposal.requests.args(request, &proposal.buffer);
        let mut errand = Arguments::default();
        errand.push_named(b"_WATCH", args.from(1));
        let (ticket, mut asking, _) = prepared(
            &worker,
            errand.get(0),
            self.session.database,
            Protocol::Resp2,
        );
        asking.group = group;
        let answered = ask_on(&worker, (ticket, asking)).await;
        let outcome = watch_states(&answered.replies, args.len() - 1);
        let mut reply = Vec::new();
        if let Ok(command) = lookup(args) {
            self.note_run(command, args, started);
            match outcome {
                Ok(states) => {
                    self.note_watched(answered.group, args.from(1), &states);
                    Encoder::new(&mut reply, self.session.protocol).ok();
                }
                Err(error) => self.note_failure(command, &error, &mut reply),
            }
        }
        self.proposal = Some(proposal);
        self.reply_later(&reply);
    }

    /// Adds a reply that took its time.
    pub(super) fn reply_later(&mut self, reply: &[u8]) {
        if self.session.reply_mode == ReplyMode::On {
            self.proposal().replies.extend_from_slice(reply);
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
        self.reply_later(&reply);
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
        if !self.guard.client.has(ClientFlag::Monitor) {
            self.guard.client.set(ClientFlag::Monitor, true);
            let (node, client) = (&worker.node, self.guard.client.clone());
            node.monitors.add(client, &node.attention);
        }
        let protocol = self.session.protocol;
        Encoder::new(&mut self.proposal().replies, protocol).ok();
    }
}

/// Whether the command is answered with messages of the kind that subscribers are sent.
fn confirms(which: NodeCommand) -> bool {
    matches!(
        which,
        NodeCommand::Subscribe
            | NodeCommand::Unsubscribe
            | NodeCommand::Psubscribe
            | NodeCommand::Punsubscribe
            | NodeCommand::Ssubscribe
            | NodeCommand::Sunsubscribe
    )
}

/// What `_WATCH` said of so many keys.
fn watch_states(reply: &[u8], keys: usize) -> Result<Vec<WatchState>, CommandError> {
    match errand::parse(reply) {
        Ok(Reply::Bulk(Some(bytes))) if bytes.len() == 8 * keys => {
            let states = bytes.chunks_exact(8);
            let state = |bytes: &[u8]| bytes.try_into().map(u64::from_le_bytes).unwrap_or(0);
            Ok(states.map(|bytes| WatchState(state(bytes))).collect())
        }
        Ok(_) => Err(CommandError::text("ERR the group's answer makes no sense")),
        Err(failure) => Err(CommandError::composed(failure.to_string())),
    }
}
