//! Requests while a group of this node runs a script that takes long.
//!
//! From `busy-reply-threshold` on, who needs that group's state is told so at once, instead of
//! waiting; what Redis allows then runs, and so does what concerns other groups, the connection, or
//! the node. FUNCTION STATS shows the function that runs.

use bailiwick_frame::{Args, Encoder};
use bailiwick_replication::GroupId;

use super::Connection;
use crate::commands::{
    CommandError, Flag, Handler, Known, NodeCommand, RunningFunction, write_function_stats,
};
use crate::group::{ROOT_GROUP, RunningScript, clock};
use crate::routing::Route;

impl Connection {
    /// Why a command cannot run or be queued for the time being.
    pub(super) fn busy(&self, command: &Known, args: Args<'_>) -> Option<CommandError> {
        if command.has(Flag::AllowBusy) {
            return None;
        }
        let node = &self.guard.worker.node;
        match command.handler {
            Handler::Read(_) | Handler::Write(_) => {
                let group = match node.routes().map(|routes| routes.of(command, args)) {
                    None => ROOT_GROUP,
                    Some(Route::Group(group)) => group,
                    // The groups concerned say so themselves.
                    Some(Route::Keyless | Route::Several) => return None,
                };
                self.busy_group(group)
            }
            Handler::Node(which) if shows_state(which) => node.group()?.busy(),
            Handler::Node(_) | Handler::Container => None,
        }
    }

    /// Why a group of this node serves nobody for the time being.
    pub(super) fn busy_group(&self, group: GroupId) -> Option<CommandError> {
        self.guard.worker.node.seats.get(group)?.busy()
    }

    /// Answers FUNCTION STATS if a script runs in a group of this node; false if none does.
    pub(super) fn show_running(
        &mut self,
        command: &Known,
        args: Args<'_>,
        out: &mut Vec<u8>,
    ) -> bool {
        let is_stats = command.has(Flag::AllowBusy) && command.runs_script();
        if !is_stats || !matches!(command.handler, Handler::Read(_)) {
            return false;
        }
        let seats = self.guard.worker.node.seats.all();
        let running = seats.values().find_map(|group| group.running_script());
        drop(seats);
        match running {
            None => return false,
            Some(script) if !script.is_function => {
                let busy = script.busy();
                self.refuse(&busy, args, out);
            }
            Some(script) => {
                let before = out.len();
                write_running(&script, &mut Encoder::new(out, self.session.protocol));
                if self.session.reply_mode != super::ReplyMode::On {
                    out.truncate(before);
                    self.after_suppressed_reply();
                }
            }
        }
        true
    }
}

fn write_running(script: &RunningScript, out: &mut Encoder<'_>) {
    let now_ms = clock::boot_ns() / 1_000_000;
    let running = RunningFunction {
        name: &script.name,
        request: &script.request,
        duration_ms: now_ms.saturating_sub(script.since_ms),
    };
    let counts = (script.libraries, script.functions);
    write_function_stats(Some(running), counts, out);
}

/// Whether a node command looks at the state of the node's first group.
fn shows_state(command: NodeCommand) -> bool {
    use NodeCommand as C;
    matches!(
        command,
        C::Info
            | C::MemoryStats
            | C::MemoryDoctor
            | C::Debug
            | C::GroupInfo
            | C::GroupList
            | C::PrefixInfo
            | C::Role
    )
}
