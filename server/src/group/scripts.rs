//! What a group does about scripts that take long: where they run, who need not wait for them, and
//! how they are ended.

use std::sync::{Arc, Weak};

use bailiwick_replication::{GroupId, NodeId};
use bytes::Bytes;
use parking_lot::RwLockReadGuard;

use super::alone::Alone;
use super::answer::turn_away;
use super::attendance::BUSY_SCRIPT;
use super::{Engine, Group, Kill, Proposal, RunningScript, Seat};
use crate::commands::CommandError;
use crate::proxy::wire::{Message, Parcel};
use crate::state::{State, decode_proposal_head};

impl Group {
    /// Calls this when a script has been running for a moment, and when it is over. The first one
    /// counts.
    pub fn on_script(&self, call: impl Fn(bool) + Send + Sync + 'static) {
        self.shared.attendance.on_notice(call);
    }

    /// What those hear who need the group's state while a script has it; `None` if they are served.
    #[must_use]
    pub fn busy(&self) -> Option<CommandError> {
        self.shared.attendance.busy()
    }

    /// The script that has been running for a while.
    #[must_use]
    pub fn running_script(&self) -> Option<RunningScript> {
        self.shared.attendance.running()
    }

    /// Ends the script that runs, by SCRIPT KILL or else FUNCTION KILL.
    #[must_use]
    pub fn kill_script(&self, functions: bool) -> Kill {
        self.shared.attendance.kill(functions)
    }

    /// Ends a script that may be ended, because the node ends.
    pub fn end_reading(&self) {
        self.shared.attendance.kill_any();
    }

    /// As [`Group::busy`], for those who have just found that they are not served.
    #[must_use]
    pub fn busy_error(&self) -> CommandError {
        self.busy().unwrap_or(BUSY_SCRIPT)
    }

    /// How many databases there are; 0 before the log has begun, and `None` if that cannot be seen
    /// before the group is busy.
    #[must_use]
    pub fn databases(&self) -> Option<usize> {
        let known = &self.shared.databases;
        if let Some(databases) = known.get() {
            return Some(*databases);
        }
        let databases = self.glance()?.keyspace.databases();
        // How many there are was settled when the log began.
        if databases > 0 {
            let _ = known.set(databases);
        }
        Some(databases)
    }

    /// The state for looking at, if it can be had before the group is busy.
    #[must_use]
    pub fn glance(&self) -> Option<RwLockReadGuard<'_, State>> {
        self.shared.state_unless_busy()
    }

    /// The state, unless a script has it.
    #[must_use]
    pub fn state_unless_held(&self) -> Option<RwLockReadGuard<'_, State>> {
        self.shared.state_unless_held()
    }

    /// The state, if nobody changes it at this moment.
    #[must_use]
    pub fn try_state(&self) -> Option<RwLockReadGuard<'_, State>> {
        self.shared.state.try_read()
    }

    /// Gives those that run scripts to threads that may take their time; the others stay.
    pub(super) fn submit_scripts(&self, alone: &Alone, proposals: &mut Vec<Box<Proposal>>) {
        let scripts = proposals.extract_if(.., |proposal| proposal.runs_script);
        let (aside, mut logged): (Vec<_>, Vec<_>) =
            scripts.partition(|proposal| proposal.is_plain_read());
        self.shared.read_aside(self.id, aside);
        if !logged.is_empty() {
            alone.queue.submit(&mut logged);
        }
    }

    /// Connects what sees scripts run with what waits for the group.
    pub(super) fn look_after_scripts(self: &Arc<Self>) {
        let (weak, of_gate) = (Arc::downgrade(self), Arc::downgrade(self));
        let turn_away = move |error: &CommandError| {
            if let Some(group) = Weak::upgrade(&weak) {
                group.turn_away(error);
            }
        };
        let gate = move || {
            if let Some(group) = Weak::upgrade(&of_gate)
                && let Engine::Alone(alone) = &group.engine
            {
                drop(alone.committer.lock());
            }
        };
        self.shared.attendance.set_calls(turn_away, gate);
    }

    /// Answers everybody who waits for the group and is not logged yet.
    fn turn_away(&self, error: &CommandError) {
        self.shared.aside.turn_away(error);
        match &self.engine {
            Engine::Alone(alone) => turn_away(alone.queue.take_turned_away(), error),
            Engine::Member(seat) => {
                let (own, proxied) = seat.inbox.take_turned_away();
                turn_away(own, error);
                let parked = self.shared.attendance.parked.lock().take_turned_away();
                turn_away(parked, error);
                for (from, proposal) in proxied {
                    refuse_proxied(seat, self.id, (from, &proposal), error);
                }
            }
        }
    }
}

/// Tells a node that a proposal of its clients was not taken.
fn refuse_proxied(
    seat: &Seat,
    group: GroupId,
    (from, proposal): (NodeId, &Bytes),
    error: &CommandError,
) {
    // What makes no sense was not taken either, and its author hears of it another time.
    let Ok(head) = decode_proposal_head(proposal) else {
        return;
    };
    let message = Message::Refused {
        parcel: Parcel {
            group,
            reads: false,
            id: head.sequence,
        },
        reason: error.to_string(),
    };
    // What is lost with the link is asked for again.
    seat.host.links.send(from, message.frame());
}
