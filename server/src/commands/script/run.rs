//! Runs a script or a function from beginning to end, and undoes what must not stay.
//!
//! An error that a script raises leaves what it wrote before, as in Redis. An end from outside
//! (a key of another group, too many steps, no memory) leaves nothing, and then says so: the
//! command has not run, and a key that strayed can be asked for elsewhere.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;

use bailiwick_frame::{Args, Encoder, Protocol};
use mlua::Lua;

use super::api::hex;
use super::attend::LOOK_STEPS;
use super::convert::write_reply;
use super::current::{self, Access, Ended, MAX_STEPS, Running};
use super::engine::{Digest, Engine, Finish, Job, Raised, Source};
use super::random::Lrand;
use super::store::Described;
use super::{attend, json, library};
use crate::commands::{Calls, CommandError, Outcome};
use crate::group::planted;
use crate::routing::CROSSSLOT;

const NO_MEMORY: &str =
    "ERR not enough memory: the script was ended, and nothing that it did stays";

thread_local! {
    /// This thread's state, unless it is in use or has been thrown away.
    static ENGINE: RefCell<Option<Engine>> = const { RefCell::new(None) };
}

/// What became of an attempt.
enum Attempt {
    /// It has returned, or raised an error.
    Done(Outcome),
    OutOfMemory,
    Ended(Ended),
}

/// How to run something.
pub(super) struct Terms<'a> {
    /// What the client has asked for.
    pub(super) request: Args<'a>,
    /// What errors call it.
    pub(super) name: Name<'a>,
    pub(super) may_write: bool,
    /// Its first write may need memory.
    pub(super) may_grow: bool,
    /// It named keys, all of which the group serves.
    pub(super) is_at_home: bool,
}

/// How errors name what was run.
#[derive(Clone, Copy)]
pub(super) enum Name<'a> {
    /// A script, by its SHA-1.
    Script(&'a Digest),
    /// A function.
    Function(&'a str),
}

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Script(digest) => f.write_str(&hex(*digest)),
            Self::Function(name) => f.write_str(name),
        }
    }
}

/// Says what is wrong with a source text, if Lua cannot compile it.
pub(super) fn compile(source: Source<'_>) -> Result<(), String> {
    let mut engine = engine(false)?;
    let compiled = engine.compile(source);
    put_back(engine);
    compiled
}

/// Runs a script or a function and writes what it returns.
pub(super) fn run(
    mut access: Access<'_, '_>,
    job: &Job<'_>,
    terms: &Terms<'_>,
    out: &mut Encoder<'_>,
) -> Outcome {
    let seed = match &mut access {
        Access::Write(context) => context.next_random(),
        Access::Read(context) => context.random(),
        Access::Nothing => 0,
    };
    match attempt(&mut access, job, terms, seed, false, out) {
        Attempt::Done(outcome) => return outcome,
        Attempt::Ended(ended) => return Err(error_of(ended, terms.name)),
        Attempt::OutOfMemory => {}
    }
    if matches!(access, Access::Read(_)) && attend::budget() < u64::MAX {
        // A state of its own takes its time.
        return Err(error_of(Ended::Budget, terms.name));
    }
    match attempt(&mut access, job, terms, seed, true, out) {
        Attempt::Done(outcome) => outcome,
        Attempt::Ended(ended) => Err(error_of(ended, terms.name)),
        Attempt::OutOfMemory => Err(CommandError::text(NO_MEMORY)),
    }
}

/// Loads a library to see what functions it has. The error is a text without a code.
pub(super) fn load(source: Source<'_>) -> Result<BTreeMap<String, Described>, String> {
    let mut running = Running::new(Access::Nothing, None, 0);
    let loaded = running.enter(|| {
        let mut engine = engine(true)?;
        engine.run(&Job::Load(source), true, |_, finish| match finish {
            Finish::Returned(_) => Ok(()),
            Finish::Raised(raised) => Err(raised.text),
            Finish::OutOfMemory => Err("ERR not enough memory".to_owned()),
            Finish::Ended => Err("ERR FUNCTION LOAD timeout".to_owned()),
        })
    });
    if running.was_seen {
        attend::left();
    }
    loaded.map(|()| library::described(&running))
}

fn attempt(
    access: &mut Access<'_, '_>,
    job: &Job<'_>,
    terms: &Terms<'_>,
    seed: u64,
    is_own: bool,
    out: &mut Encoder<'_>,
) -> Attempt {
    let start = out.buffer().len();
    let (random, touches, published) = match access {
        Access::Write(context) => {
            context.keyspace.begin_undo();
            let published = context.counters.published.borrow().len();
            (context.random, context.counters.touches.len(), published)
        }
        _ => (0, 0, 0),
    };
    let calls = calls_of(access);
    let called_before = calls.map(Calls::begin_script);
    let again = match access {
        Access::Write(context) => Access::Write(context),
        Access::Read(context) => Access::Read(context),
        Access::Nothing => Access::Nothing,
    };
    let mut running = Running::new(again, Some(terms), seed);
    let attempt = running.enter(|| {
        let mut engine = match engine(is_own) {
            Ok(engine) => engine,
            Err(text) => return Attempt::Done(Err(CommandError::composed(text))),
        };
        let attempt = engine.run(job, is_own, |lua, finish| conclude(lua, finish, terms, out));
        if !is_own {
            put_back(engine);
        }
        attempt
    });
    if running.was_seen {
        attend::left();
    }
    let ended = running.ended.take();
    drop(running);
    let attempt = match (attempt, ended) {
        (Attempt::OutOfMemory, None) => Attempt::OutOfMemory,
        (_, Some(ended)) => Attempt::Ended(ended),
        (attempt, None) => attempt,
    };
    if !matches!(attempt, Attempt::Done(_)) {
        out.buffer().truncate(start);
    }
    if let (Some(calls), Some(before)) = (calls, called_before) {
        match &attempt {
            Attempt::Done(outcome) => calls.keep(before, outcome),
            Attempt::OutOfMemory | Attempt::Ended(_) => calls.undo(before),
        }
    }
    if let Access::Write(context) = access {
        match &attempt {
            Attempt::Done(_) => context.keyspace.keep_changes(),
            Attempt::OutOfMemory | Attempt::Ended(_) => {
                context.keyspace.roll_back();
                // What has not happened is told to nobody.
                let noted = &context.counters.touches;
                noted.with_list(|list| list.truncate(touches));
                let messages = &context.counters.published;
                messages.borrow_mut().truncate(published);
                context.random = random;
            }
        }
    }
    attempt
}

/// Where notes are taken of what the script calls, if they are.
pub(super) fn calls_of<'b>(access: &Access<'_, 'b>) -> Option<&'b Calls> {
    let counters = match access {
        Access::Write(context) => context.counters,
        Access::Read(context) => context.counters,
        Access::Nothing => return None,
    };
    Some(&counters.calls).filter(|calls| calls.are_on())
}

/// Writes what a script returned.
fn conclude(_: &Lua, finish: Finish, terms: &Terms<'_>, out: &mut Encoder<'_>) -> Attempt {
    match finish {
        Finish::Returned(value) => {
            let wants = current::with(|running| running.protocol);
            let start = out.buffer().len();
            match write_reply(&value, wants, out) {
                Ok(()) => Attempt::Done(outcome_of(start, out)),
                Err(_) => Attempt::OutOfMemory,
            }
        }
        Finish::Raised(raised) => Attempt::Done(Err(explained(&raised, terms.name))),
        Finish::OutOfMemory | Finish::Ended => Attempt::OutOfMemory,
    }
}

/// A reply that is an error counts as one, although the script has returned it.
fn outcome_of(start: usize, out: &mut Encoder<'_>) -> Outcome {
    let reply = &out.buffer()[start..];
    let Some(text) = reply.strip_prefix(b"-") else {
        return Ok(());
    };
    let text = text.strip_suffix(b"\r\n").unwrap_or(text);
    let error = CommandError::composed(String::from_utf8_lossy(text).into_owned());
    out.buffer().truncate(start);
    Err(error)
}

fn explained(raised: &Raised, name: Name<'_>) -> CommandError {
    let text = &raised.text;
    CommandError::composed(match &raised.place {
        Some((source, line)) => format!("{text} script: {name}, on {source}:{line}."),
        None => text.clone(),
    })
}

fn error_of(ended: Ended, name: Name<'_>) -> CommandError {
    match ended {
        Ended::Stray(stray) => CommandError::Stray(Box::new(stray)),
        Ended::Several => CROSSSLOT,
        Ended::Steps => CommandError::composed(format!(
            "ERR the script was ended after {MAX_STEPS} steps, and nothing that it did stays"
        )),
        Ended::Budget => {
            attend::note_exceeded();
            CommandError::text("ERR the script takes too long for this thread")
        }
        Ended::Killed(place) => {
            let order = match name {
                Name::Script(_) => "SCRIPT",
                Name::Function(_) => "FUNCTION",
            };
            let text = format!("ERR Script killed by user with {order} KILL.");
            explained(&Raised { text, place }, name)
        }
    }
}

impl<'a, 'b> Running<'a, 'b> {
    /// Without terms a library is being loaded.
    fn new(access: Access<'a, 'b>, terms: Option<&'a Terms<'a>>, seed: u64) -> Self {
        let (database, budget) = match &access {
            Access::Write(context) => (context.database, u64::MAX),
            Access::Read(context) => (context.database, attend::budget()),
            Access::Nothing => (0, u64::MAX),
        };
        Self {
            access,
            may_write: terms.is_some_and(|terms| terms.may_write),
            may_grow: terms.is_none_or(|terms| terms.may_grow),
            protocol: Protocol::Resp2,
            database,
            chance: Cell::new(seed),
            lrand: Lrand::from_bits(planted::chance_of_script(seed) >> 8),
            steps: 0,
            budget,
            look_at: LOOK_STEPS,
            was_seen: false,
            is_doomed: false,
            terms,
            published_bytes: 0,
            ended: None,
            is_out_of_memory: false,
            is_at_home: terms.is_none_or(|terms| terms.is_at_home),
            registered: Vec::new(),
            json: json::Config::default(),
            request: current::Request::default(),
        }
    }
}

fn engine(is_own: bool) -> Result<Engine, String> {
    let kept = if is_own { None } else { ENGINE.take() };
    match kept {
        Some(engine) => Ok(engine),
        None => Engine::new().map_err(|error| format!("ERR Lua does not start: {error}")),
    }
}

/// Keeps a state for the next script, if nothing is left over in it.
fn put_back(mut engine: Engine) {
    if engine.settle() {
        ENGINE.set(Some(engine));
    }
}
