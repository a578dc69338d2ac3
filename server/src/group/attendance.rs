//! The script that a group runs at this moment: since when, whether it can be ended, and what
//! becomes of those who need the group meanwhile.
//!
//! The thread that runs a script says so here every few hundred microseconds
//! ([`Attendance::look`]). A script that has been running for [`NOTICED_MS`] is *noticed*:
//! connections look at each request before they run it. From `busy-reply-threshold` on the group is
//! *busy*: who needs its state is answered with `-BUSY` at once, and so is, with every look,
//! whoever waits for it and is not logged yet. What is logged waits for its outcome.
//!
//! A script is *killed* by a word that its next look gives back; scripts that stand in the log do
//! not hear it, because replicas could not agree on when.
//!
//! Threads that serve connections must not wait for the state while a script has it: they look
//! whether one *occupies* the group ([`Attendance::is_occupied`]), which is said before it begins,
//! or find that a lock is not to be had ([`Attendance::runs`]).
//!
//! Not here: where scripts run (`commit`, `runtime`, `aside`), and what connections do.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::member::Parked;
use crate::commands::{CommandError, Sight};

/// After so long connections take care.
const NOTICED_MS: u64 = 10;

const IDLE: u8 = 0;
const RUNNING: u8 = 1;
const NOTICED: u8 = 2;
const BUSY: u8 = 3;

/// The error of those who need a group that runs a script.
pub(super) const BUSY_SCRIPT: CommandError = CommandError::text(
    "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
);
/// The same for a function.
const BUSY_FUNCTION: CommandError = CommandError::text(
    "BUSY Redis is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE.",
);

/// A script that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunningScript {
    /// The function's name, or the script's SHA-1.
    pub name: String,
    /// It is a function of a library.
    pub is_function: bool,
    /// What it was called with, if it is a function.
    pub request: Vec<Vec<u8>>,
    /// When it was seen first, in milliseconds of the boot clock.
    pub since_ms: u64,
    /// How many libraries its group has.
    pub libraries: usize,
    /// How many functions are in them.
    pub functions: usize,
    may_be_ended: bool,
}

impl RunningScript {
    /// What those hear who cannot be served meanwhile.
    #[must_use]
    pub fn busy(&self) -> CommandError {
        match self.is_function {
            false => BUSY_SCRIPT,
            true => BUSY_FUNCTION,
        }
    }
}

/// What an order to end a script comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kill {
    /// Nothing runs.
    Idle,
    /// It is over in a moment.
    Done,
    /// It stands in the log.
    Logged,
    /// The order is for the other kind; this is the error.
    Other(CommandError),
}

type Notice = dyn Fn(bool) + Send + Sync;
type TurnAway = dyn Fn(&CommandError) + Send + Sync;
type Gate = dyn Fn() + Send + Sync;

/// A group's scripts, as its node's threads see them.
///
/// Invariant: `stage` is `IDLE` if and only if `present` is `None`, whenever no look is under way.
#[derive(Default)]
pub struct Attendance {
    stage: AtomicU8,
    is_killed: AtomicBool,
    /// How many threads of the group are about to run scripts, or do.
    occupants: AtomicUsize,
    present: Mutex<Option<RunningScript>>,
    /// Told when a script is noticed, and when it is over.
    notice: OnceLock<Box<Notice>>,
    /// Answers who waits for the group with this error, if he is not logged yet.
    turn_away: OnceLock<Box<TurnAway>>,
    /// Waits for whoever has not seen that the group is occupied.
    gate: OnceLock<Box<Gate>>,
    /// What waits within the group's member while it applies entries.
    pub(super) parked: Mutex<Parked>,
}

impl Attendance {
    /// Has these told: the first when a script is noticed or over, the second to answer who waits.
    /// The third is called before a script is run aside, and waits for whoever may still hold the
    /// group's state for long. The first ones count.
    pub(super) fn set_calls(
        &self,
        turn_away: impl Fn(&CommandError) + Send + Sync + 'static,
        gate: impl Fn() + Send + Sync + 'static,
    ) {
        let _ = self.turn_away.set(Box::new(turn_away));
        let _ = self.gate.set(Box::new(gate));
    }

    /// Has this one told when a script is noticed, and when it is over. The first one counts.
    pub(super) fn on_notice(&self, notice: impl Fn(bool) + Send + Sync + 'static) {
        let _ = self.notice.set(Box::new(notice));
    }

    /// A script has begun, or goes on. False if it is to end.
    pub(super) fn look(&self, script: &Sight<'_>, now_ms: u64, busy_ms: u64) -> bool {
        let before = self.stage.load(Ordering::Acquire);
        if before == IDLE {
            self.enter(script, now_ms);
        }
        let (mut stage, ran_ms) = (before.max(RUNNING), self.ran_ms(now_ms));
        if stage < NOTICED && (ran_ms >= NOTICED_MS || ran_ms >= busy_ms) {
            stage = NOTICED;
            self.notice.get().into_iter().for_each(|call| call(true));
        }
        if stage < BUSY && ran_ms >= busy_ms {
            stage = BUSY;
            tracing::warn!(
                script = script.name(),
                ran_ms,
                may_be_ended = script.may_be_ended,
                "a script has been running for longer than busy-reply-threshold"
            );
        }
        if stage != before {
            self.stage.store(stage, Ordering::Release);
        }
        if stage == BUSY
            && let (Some(call), Some(busy)) = (self.turn_away.get(), self.busy())
        {
            call(&busy);
        }
        !self.is_killed.load(Ordering::Acquire)
    }

    fn enter(&self, script: &Sight<'_>, now_ms: u64) {
        let mut present = self.present.lock();
        self.is_killed.store(false, Ordering::Release);
        *present = Some(RunningScript {
            name: script.name(),
            is_function: script.is_function,
            request: match script.is_function {
                true => script.request.iter().map(<[u8]>::to_vec).collect(),
                false => Vec::new(),
            },
            since_ms: now_ms,
            libraries: script.libraries,
            functions: script.functions,
            may_be_ended: script.may_be_ended,
        });
    }

    fn ran_ms(&self, now_ms: u64) -> u64 {
        let present = self.present.lock();
        let since_ms = present.as_ref().map_or(now_ms, |script| script.since_ms);
        now_ms.saturating_sub(since_ms)
    }

    /// The script is over.
    pub(super) fn left(&self) {
        let stage = self.stage.swap(IDLE, Ordering::AcqRel);
        *self.present.lock() = None;
        if stage >= NOTICED {
            self.notice.get().into_iter().for_each(|call| call(false));
        }
    }

    /// Whether a script runs that has had its first look.
    pub(super) fn runs(&self) -> bool {
        self.stage.load(Ordering::Acquire) >= RUNNING
    }

    /// What those hear who need the group's state; `None` if they are served.
    #[must_use]
    pub fn busy(&self) -> Option<CommandError> {
        let is_busy = self.stage.load(Ordering::Acquire) == BUSY;
        is_busy.then(|| self.present.lock().as_ref().map(RunningScript::busy))?
    }

    /// The script that runs.
    #[must_use]
    pub fn running(&self) -> Option<RunningScript> {
        self.runs().then(|| self.present.lock().clone())?
    }

    /// Ends the script that runs, by SCRIPT KILL or else FUNCTION KILL.
    pub fn kill(&self, functions: bool) -> Kill {
        let present = self.present.lock();
        match &*present {
            None => Kill::Idle,
            Some(script) if !script.may_be_ended => Kill::Logged,
            Some(script) if script.is_function != functions => Kill::Other(script.busy()),
            Some(_) => {
                self.is_killed.store(true, Ordering::Release);
                Kill::Done
            }
        }
    }

    /// Ends a script that may be ended, whatever it is.
    pub(super) fn kill_any(&self) {
        for functions in [false, true] {
            let _ = self.kill(functions);
        }
    }

    /// Whether a thread of the group runs scripts, so that its state may not be had for long.
    pub(super) fn is_occupied(&self) -> bool {
        self.occupants.load(Ordering::Acquire) > 0
    }

    /// A thread of the group is about to run scripts, until what this returns is dropped.
    pub(super) fn occupy(&self) -> Occupant<'_> {
        self.occupants.fetch_add(1, Ordering::AcqRel);
        Occupant(self)
    }

    /// Waits for whoever has not seen that the group is occupied.
    pub(super) fn pass_gate(&self) {
        self.gate.get().into_iter().for_each(|gate| gate());
    }
}

/// Ends an occupation when it is dropped.
pub(super) struct Occupant<'a>(&'a Attendance);

impl Drop for Occupant<'_> {
    fn drop(&mut self) {
        self.0.occupants.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
#[path = "attendance_tests.rs"]
mod tests;
