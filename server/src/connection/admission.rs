//! Requests that need a closer look before they run: those of a client that is not authenticated,
//! is in MULTI, only listens or has its replies off, and all of them while the node is loading,
//! paused, monitored, or runs a script that takes long.
//!
//! A request is admitted, answered here (refused or queued), or held up by a pause.

use bailiwick_frame::Args;

use super::Connection;
use super::push::{listens, runs_while_listening};
use crate::commands::{CommandError, Flag, Handler, Known, NodeCommand};
use crate::node::clients::ClientFlag;
use crate::node::commands::Pending;
use crate::node::{self, Condition, redact};

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
    /// Looks at a request under attention.
    pub(super) fn admit(
        &mut self,
        found: &Result<Known, CommandError>,
        args: Args<'_>,
        out: &mut Vec<u8>,
    ) -> Admission {
        let command = match found {
            Ok(command) => *command,
            Err(error) => return self.turn_down(error, args, out),
        };
        if let Some(error) = self.refusal(&command) {
            return self.turn_down(&error, args, out);
        }
        if self.guard.worker.node.attention.has(Condition::Scripted) {
            if let Some(error) = self.busy(&command, args) {
                return self.turn_down(&error, args, out);
            }
            if self.session.queued.is_none() && self.show_running(&command, args, out) {
                return Admission::Done;
            }
        }
        if self.session.queued.is_some() && !runs_in_multi(&command) {
            if self.session.redirects()
                && let Some(error) = self.redirect(&command, args)
            {
                return self.turn_down(&error, args, out);
            }
            self.queue(command, args, out);
            return Admission::Done;
        }
        if let Some(until_ms) = self.paused_until_ms(&command) {
            return Admission::Wait(Pending::Pause { until_ms });
        }
        // EXEC is shown behind what it runs.
        let is_exec = matches!(command.handler, Handler::Node(NodeCommand::Exec));
        let attention = &self.guard.worker.node.attention;
        if attention.has(Condition::Monitored) && !is_exec {
            self.stop_monitoring_before(&command);
            self.show(&command, args);
        }
        Admission::Run
    }

    /// Why a command may not run now, nor be queued.
    fn refusal(&mut self, command: &Known) -> Option<CommandError> {
        let node = &self.guard.worker.node;
        if !self.session.is_authenticated && node.settings.load().requirepass.is_empty() {
            // The password has been taken away since this client connected.
            self.session.is_authenticated = true;
        }
        if !self.session.is_authenticated && !command.has(Flag::NoAuth) {
            return Some(CommandError::text("NOAUTH Authentication required."));
        }
        if node.attention.has(Condition::Loading) && !command.has(Flag::Loading) {
            return Some(CommandError::Loading);
        }
        let only_listens = self.session.only_listens();
        (only_listens && !runs_while_listening(command)).then(|| listens(command))
    }

    /// Refuses a request, and the transaction with it that it was to be a part of.
    fn turn_down(&mut self, error: &CommandError, args: Args<'_>, out: &mut Vec<u8>) -> Admission {
        self.break_transaction();
        self.refuse(error, args, out);
        Admission::Done
    }

    /// A monitor's own RESET is not shown to it: the reply that it waits for is the next thing that
    /// it reads.
    fn stop_monitoring_before(&self, command: &Known) {
        let client = &self.guard.client;
        let is_reset = matches!(command.handler, Handler::Node(NodeCommand::Reset));
        if is_reset && client.has(ClientFlag::Monitor) {
            let node = &self.guard.worker.node;
            node.monitors.remove(client.id, &node.attention);
        }
    }

    /// Shows a request to those who monitor.
    pub(super) fn show(&self, command: &Known, args: Args<'_>) {
        // A script is shown before what it calls, as Redis does in spite of its flag.
        let is_skipped = command.has(Flag::SkipMonitor) && !command.runs_script();
        if is_skipped || command.has(Flag::Admin) {
            return;
        }
        let (database, address) = (self.session.database, &self.guard.client.address);
        let node = &self.guard.worker.node;
        let monitors = &node.monitors;
        redact::with_shown(command, args, |args| {
            let limits = node.settings.load().client_output_buffer_limit;
            monitors.feed(node::now_us(), database, (address, args.iter()), &limits);
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
        // As in Redis, messages count as writes: a pause is for what other nodes would hear of.
        let publishes = matches!(
            command.handler,
            Handler::Node(NodeCommand::Publish | NodeCommand::Spublish)
        );
        let writes = command.is_write() || publishes || is_exec && self.has_queued_write();
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
