//! Who looks on while a script runs on this thread, and may end it.
//!
//! Scripts know no clock, so whoever wants to know that one takes long has to be asked along: an
//! [`Attendant`] is called every [`LOOK_STEPS`] steps, from the first ones on, and told when the
//! script is over. A script that is shorter costs nothing. An attendant belongs to a thread, since
//! a thread runs one script at a time; a thread without one runs scripts to their end.
//!
//! **Who may be ended.** A script that stands in the log is ended by its steps alone, at the same
//! one on all replicas. What only reads may be ended at any step if its reply stands nowhere in the
//! log either, which nobody knows but who runs it: inside [`outside_log`].
//!
//! [`within`] is for threads that have no time: a script that reads and makes more steps than it is
//! given is given up, and has to be run elsewhere, from the beginning.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use bailiwick_frame::Args;

use super::run::Name;

/// From look to look.
pub(super) const LOOK_STEPS: u64 = 32_000;

/// Looks on while scripts run.
pub trait Attendant: Send + Sync {
    /// A script has begun, or goes on. False ends it, if it may be ended.
    fn look(&self, script: &Sight<'_>) -> bool;

    /// The script that was looked at last is over, for whatever reason.
    fn left(&self);
}

/// What there is to be seen of a script that runs.
pub struct Sight<'a> {
    /// It is a function of a library.
    pub is_function: bool,
    /// Whether the attendant's word counts.
    pub may_be_ended: bool,
    /// What it was called with.
    pub request: Args<'a>,
    /// How many libraries its group has.
    pub libraries: usize,
    /// How many functions are in them.
    pub functions: usize,
    pub(super) name: Name<'a>,
}

impl Sight<'_> {
    /// The function's name, or the script's SHA-1.
    #[must_use]
    pub fn name(&self) -> String {
        self.name.to_string()
    }
}

/// What is to be seen of some script.
#[cfg(test)]
pub fn testing_sight(is_function: bool, may_be_ended: bool, request: Args<'_>) -> Sight<'_> {
    Sight {
        is_function,
        may_be_ended,
        request,
        libraries: 0,
        functions: 0,
        name: Name::Function("f"),
    }
}

thread_local! {
    static ATTENDANT: RefCell<Option<Arc<dyn Attendant>>> = const { RefCell::new(None) };
    static IS_OUTSIDE_LOG: Cell<bool> = const { Cell::new(false) };
    /// The steps that a script may make; `u64::MAX` is any number.
    static BUDGET: Cell<u64> = const { Cell::new(u64::MAX) };
    static IS_EXCEEDED: Cell<bool> = const { Cell::new(false) };
}

/// From now on this one looks on while scripts run on this thread.
pub fn attend(attendant: Arc<dyn Attendant>) {
    ATTENDANT.set(Some(attendant));
}

/// Runs `f`. The replies of reads in it stand in no log, so scripts that read may be ended.
pub fn outside_log<R>(f: impl FnOnce() -> R) -> R {
    let before = IS_OUTSIDE_LOG.replace(true);
    let result = f();
    IS_OUTSIDE_LOG.set(before);
    result
}

/// Runs `f`, in which scripts that read may make so many steps. `None` if one would have made more,
/// and was given up; what `f` has written then means nothing.
pub fn within<R>(steps: u64, f: impl FnOnce() -> R) -> Option<R> {
    BUDGET.set(steps);
    IS_EXCEEDED.set(false);
    let result = f();
    BUDGET.set(u64::MAX);
    (!IS_EXCEEDED.get()).then_some(result)
}

/// The steps that a script which reads may make.
pub(super) fn budget() -> u64 {
    BUDGET.get()
}

/// A script was given up because of its budget.
pub(super) fn note_exceeded() {
    IS_EXCEEDED.set(true);
}

/// Whether a script that reads may be ended here.
pub(super) fn is_outside_log() -> bool {
    IS_OUTSIDE_LOG.get()
}

/// Has the attendant look; `None` if there is none.
pub(super) fn look(script: &Sight<'_>) -> Option<bool> {
    ATTENDANT.with_borrow(|attendant| Some(attendant.as_ref()?.look(script)))
}

/// Tells the attendant that the script is over.
pub(super) fn left() {
    ATTENDANT.with_borrow(|attendant| {
        if let Some(attendant) = attendant {
            attendant.left();
        }
    });
}
