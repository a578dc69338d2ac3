//! The script that runs on this thread, for the functions that it calls.
//!
//! Lua's functions know nothing but their arguments, so what a script works on is found by way of
//! the thread: [`Running::enter`] makes it known while Lua runs, and [`with`] hands it to a
//! function of ours. Scripts do not call scripts, so there is one at most.

use std::cell::{Cell, RefCell};
use std::ptr;

use bailiwick_frame::{ArgRange, Args, Protocol};

use super::attend::{self, LOOK_STEPS, Sight};
use super::library::Registration;
use super::random::Lrand;
use super::run::{Name, Terms};
use crate::authority::Stray;
use crate::commands::{ReadContext, Scripts, WriteContext};

/// Steps that a script may make, of which an instruction of Lua's machine is one: a few
/// seconds of work. **All replicas end a script at the same step**, so this is a constant: another
/// number needs another version of the log.
pub(super) const MAX_STEPS: u64 = 600_000_000;

/// What a call of a command counts, besides its bytes.
const CALL_STEPS: u64 = 200;
/// So many bytes of arguments and replies count as a step.
const BYTES_PER_STEP: u64 = 4;

/// What a script works on.
pub(super) enum Access<'a, 'b> {
    /// The keyspace, at a place in the log.
    Write(&'a mut WriteContext<'b>),
    /// The keyspace, to be read.
    Read(&'a ReadContext<'b>),
    /// Nothing: a library is being loaded.
    Nothing,
}

/// Why a script was ended from outside. Nothing of what it did stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// It has made [`MAX_STEPS`].
    Steps,
    /// It has asked for a key that another group serves.
    Stray(Stray),
    /// It has asked for keys of several groups.
    Several,
    /// It has made more steps than this thread has time for.
    Budget,
    /// Somebody wanted it to end; where it was then.
    Killed(Option<(String, i64)>),
}

/// A script while it runs.
pub(super) struct Running<'a, 'b> {
    pub(super) access: Access<'a, 'b>,
    /// What it may do.
    pub(super) may_write: bool,
    /// Whether it may call what needs memory: there is some, or it does not care, or has begun to
    /// write, and should not stop halfway.
    pub(super) may_grow: bool,
    /// The version in which it wants replies, and its own reply.
    pub(super) protocol: Protocol,
    /// The database that SELECT has chosen for it.
    pub(super) database: usize,
    /// Random numbers for commands that only read.
    pub(super) chance: Cell<u64>,
    /// Random numbers for `math.random`.
    pub(super) lrand: Lrand,
    pub(super) steps: u64,
    /// What it may make of them, if that is less than all may.
    pub(super) budget: u64,
    /// At so many steps the attendant looks next.
    pub(super) look_at: u64,
    /// The attendant has looked.
    pub(super) was_seen: bool,
    /// The attendant wants it to end.
    pub(super) is_doomed: bool,
    /// What it was called with; nothing while a library is loaded that is no part of a call.
    pub(super) terms: Option<&'a Terms<'a>>,
    /// What it has published, channels included.
    pub(super) published_bytes: usize,
    /// Nothing but an end is possible once this is set.
    pub(super) ended: Option<Ended>,
    /// Memory has run out. The attempt counts for nothing, even if the script has caught the error:
    /// how much memory there is may differ between replicas.
    pub(super) is_out_of_memory: bool,
    /// The group serves a key that the script named or used.
    pub(super) is_at_home: bool,
    /// The functions that a library registers.
    pub(super) registered: Vec<Registration>,
    pub(super) json: super::json::Config,
    pub(super) request: Request,
}

/// A command that a script calls, as a client would have sent it. Kept for the next one.
#[derive(Default)]
pub(super) struct Request {
    pub(super) bytes: Vec<u8>,
    pub(super) ranges: Vec<ArgRange>,
    pub(super) reply: Vec<u8>,
}

impl Request {
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.ranges.clear();
        self.reply.clear();
    }

    /// Ends an argument that was written to `bytes` from `start` on, which may be as long as
    /// [`MAX_TEXT_BYTES`](super::bounds::MAX_TEXT_BYTES) allows.
    pub(super) fn end_argument(&mut self, start: usize) {
        let (start, end) = (start as u32, self.bytes.len() as u32);
        self.ranges.push(ArgRange { start, end });
    }
}

impl Running<'_, '_> {
    /// Counts what a call of a command cost; false if that was too much.
    pub(super) fn charge_call(&mut self, bytes: usize) -> bool {
        self.charge(CALL_STEPS + bytes as u64 / BYTES_PER_STEP)
    }

    /// Counts steps; false if they are too many, which ends the script.
    pub(super) fn charge(&mut self, steps: u64) -> bool {
        self.steps = self.steps.saturating_add(steps);
        if self.steps > MAX_STEPS && self.ended.is_none() {
            self.ended = Some(Ended::Steps);
        }
        if self.steps > self.budget && self.ended.is_none() {
            self.ended = Some(Ended::Budget);
        }
        if self.steps >= self.look_at {
            self.look();
        }
        self.ended.is_none()
    }

    /// Has the attendant look.
    #[cold]
    fn look(&mut self) {
        self.look_at = self.steps + LOOK_STEPS;
        let (scripts, may_be_ended) = match &self.access {
            Access::Write(context) => (Some(&*context.scripts), false),
            Access::Read(context) => (Some(context.scripts), attend::is_outside_log()),
            Access::Nothing => (None, false),
        };
        let name = self
            .terms
            .map_or(Name::Function("load"), |terms| terms.name);
        let sight = Sight {
            is_function: matches!(name, Name::Function(_)),
            may_be_ended,
            request: self
                .terms
                .map_or(Args::new(&[], &[]), |terms| terms.request),
            libraries: scripts.map_or(0, Scripts::library_count),
            functions: scripts.map_or(0, Scripts::functions),
            name,
        };
        if let Some(goes_on) = attend::look(&sight) {
            self.was_seen = true;
            self.is_doomed |= may_be_ended && !goes_on;
        }
    }
}

thread_local! {
    static CURRENT: Cell<*mut ()> = const { Cell::new(ptr::null_mut()) };
    static IS_LENT: Cell<bool> = const { Cell::new(false) };
    /// Buffers of the last script, for the next one.
    static REQUEST: RefCell<Request> = RefCell::default();
}

impl Running<'_, '_> {
    /// Runs `f`, in which [`with`] finds this script.
    pub(super) fn enter<R>(&mut self, f: impl FnOnce() -> R) -> R {
        let before = CURRENT.replace(ptr::from_mut(self).cast());
        assert!(before.is_null(), "a script runs within a script");
        self.request_from_thread();
        let result = f();
        CURRENT.set(ptr::null_mut());
        self.request_to_thread();
        result
    }

    fn request_from_thread(&mut self) {
        self.request = REQUEST.take();
    }

    fn request_to_thread(&mut self) {
        let mut request = std::mem::take(&mut self.request);
        // One large reply must not stay for good.
        request.bytes.shrink_to(1 << 16);
        request.reply.shrink_to(1 << 16);
        REQUEST.set(request);
    }
}

/// Hands out the script that runs on this thread.
///
/// # Panics
/// There is none, or `f` asks for it again.
pub(super) fn with<R>(f: impl FnOnce(&mut Running<'_, '_>) -> R) -> R {
    let current = CURRENT.get();
    assert!(!current.is_null(), "no script runs");
    assert!(!IS_LENT.replace(true), "the script is lent already");
    // SAFETY: `enter` has set the pointer and does not touch what it points to before it has taken
    // it back, which it has not. The flag keeps a second reference from being made. The lifetimes
    // are shorter than in truth, and `f` cannot keep anything of them.
    let result = f(unsafe { &mut *current.cast::<Running<'_, '_>>() });
    IS_LENT.set(false);
    result
}
