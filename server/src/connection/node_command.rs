//! Node commands on behalf of a connection, and what it waits for on their account.

use std::time::{Duration, Instant};

use bailiwick_frame::{Args, Encoder};

use super::{Connection, End, ReplyMode};
use crate::commands::{CommandError, Known, NodeCommand};
use crate::node::clients::{ClientFlag, bump};
use crate::node::commands::{self, Flow, NodeContext, Pending};
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
        let (before, mode) = (out.len(), self.session.reply_mode);
        let ok = |done: Result<(), CommandError>| done.map(|()| Flow::Continue);
        let outcome = match which {
            NodeCommand::Multi => ok(self.begin_multi()),
            NodeCommand::Exec => self.exec(),
            NodeCommand::Discard => ok(self.discard()),
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
        if is_transaction && outcome.is_ok() {
            Encoder::new(out, self.session.protocol).ok();
        }
        let worker = &self.guard.worker;
        let nanos = started.elapsed().as_nanos() as u64;
        worker.stats.ran(command.id(), 1, nanos);
        worker.node.note_duration(command, args, nanos, Some(&self.guard.client));
        let flow = outcome.unwrap_or_else(|error| {
            out.truncate(before);
            Encoder::new(out, self.session.protocol).error(&error.to_string());
            bump(&worker.stats.commands[command.id()].failed, 1);
            worker.node.note_error(&error.to_string());
            Flow::Continue
        });
        if mode != ReplyMode::On && !matches!(flow, Flow::Propose(_)) {
            out.truncate(before);
            if self.session.reply_mode == mode {
                self.after_suppressed_reply();
            }
        }
        if self.guard.client.closing.load(std::sync::atomic::Ordering::Acquire) {
            return Flow::Close;
        }
        flow
    }

    pub(super) async fn wait_for(&mut self, pending: Pending) -> Result<(), End> {
        self.flush().await?;
        self.guard.client.set(ClientFlag::Blocked, true);
        match pending {
            Pending::Pause { until_ms } => self.wait_for_pause(until_ms).await,
            Pending::Blocking(run) => {
                let protocol = self.session.protocol;
                let reply = tokio::task::spawn_blocking(move || {
                    let mut reply = Vec::new();
                    run(&mut Encoder::new(&mut reply, protocol));
                    reply
                });
                // A task of ours does not panic; if it could not even start, there is no reply.
                let reply = reply.await.map_err(|_| End::Closed)?;
                if self.session.reply_mode == ReplyMode::On {
                    self.proposal().replies.extend_from_slice(&reply);
                }
            }
            Pending::Monitor => self.become_monitor(),
        }
        self.guard.client.set(ClientFlag::Blocked, false);
        Ok(())
    }

    async fn wait_for_pause(&self, until_ms: i64) {
        let pause = &self.guard.worker.node.pause;
        let ended = pause.ended.notified();
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
