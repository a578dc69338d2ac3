//! Runs a script or a function from beginning to end, and undoes what must not stay.
//!
//! An error that a script raises leaves what it wrote before, as in Redis. An end from outside
//! (a key of another group, too many steps, no memory) leaves nothing, and then says so: the
//! command has not run, and a key that strayed can be asked for elsewhere.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;

use bailiwick_frame::{Encoder, Protocol};
use mlua::Lua;

use super::api::hex;
use super::convert::write_reply;
use super::current::{self, Access, Ended, MAX_STEPS, Running};
use super::engine::{Digest, Engine, Finish, Job, Raised, Source};
use super::random::Lrand;
use super::store::Described;
use super::{json, library};
use crate::commands::{CommandError, Outcome};
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
    /// What errors call it.
    pub(super) name: Name<'a>,
    pub(super) may_write: bool,
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
        Attempt::Ended(ended) => return Err(error_of(ended)),
        Attempt::OutOfMemory => {}
    }
    match attempt(&mut access, job, terms, seed, true, out) {
        Attempt::Done(outcome) => outcome,
        Attempt::Ended(ended) => Err(error_of(ended)),
        Attempt::OutOfMemory => Err(CommandError::text(NO_MEMORY)),
    }
}

/// Loads a library to see what functions it has. The error is a text without a code.
pub(super) fn load(source: Source<'_>) -> Result<BTreeMap<String, Described>, String> {
    let mut running = Running::new(Access::Nothing, false, true, 0);
    let loaded = running.enter(|| {
        let mut engine = engine(true)?;
        engine.run(&Job::Load(source), true, |_, finish| match finish {
            Finish::Returned(_) => Ok(()),
            Finish::Raised(raised) => Err(raised.text),
            Finish::OutOfMemory => Err("ERR not enough memory".to_owned()),
            Finish::Ended => Err("ERR the library takes too long to load".to_owned()),
        })
    });
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
    let (random, touches) = match access {
        Access::Write(context) => {
            context.keyspace.begin_undo();
            (context.random, context.counters.touches.len())
        }
        _ => (0, 0),
    };
    let again = match access {
        Access::Write(context) => Access::Write(context),
        Access::Read(context) => Access::Read(context),
        Access::Nothing => Access::Nothing,
    };
    let mut running = Running::new(again, terms.may_write, terms.is_at_home, seed);
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
    if let Access::Write(context) = access {
        match &attempt {
            Attempt::Done(_) => context.keyspace.keep_changes(),
            Attempt::OutOfMemory | Attempt::Ended(_) => {
                context.keyspace.roll_back();
                // What has not happened is told to nobody.
                let noted = &context.counters.touches;
                noted.with_list(|list| list.truncate(touches));
                context.random = random;
            }
        }
    }
    attempt
}

/// Writes what a script returned.
fn conclude(_: &Lua, finish: Finish, terms: &Terms<'_>, out: &mut Encoder<'_>) -> Attempt {
    match finish {
        Finish::Returned(value) => {
            let wants = current::with(|running| running.protocol);
            match write_reply(&value, wants, out) {
                Ok(()) => Attempt::Done(Ok(())),
                Err(_) => Attempt::OutOfMemory,
            }
        }
        Finish::Raised(raised) => Attempt::Done(Err(explained(&raised, terms.name))),
        Finish::OutOfMemory | Finish::Ended => Attempt::OutOfMemory,
    }
}

fn explained(raised: &Raised, name: Name<'_>) -> CommandError {
    let text = &raised.text;
    CommandError::composed(match &raised.place {
        Some((source, line)) => format!("{text} script: {name}, on {source}:{line}."),
        None => text.clone(),
    })
}

fn error_of(ended: Ended) -> CommandError {
    match ended {
        Ended::Stray(stray) => CommandError::Stray(Box::new(stray)),
        Ended::Several => CROSSSLOT,
        Ended::Steps => CommandError::composed(format!(
            "ERR the script was ended after {MAX_STEPS} steps, and nothing that it did stays"
        )),
    }
}

impl<'a, 'b> Running<'a, 'b> {
    fn new(access: Access<'a, 'b>, may_write: bool, is_at_home: bool, seed: u64) -> Self {
        let database = match &access {
            Access::Write(context) => context.database,
            Access::Read(context) => context.database,
            Access::Nothing => 0,
        };
        Self {
            access,
            may_write,
            protocol: Protocol::Resp2,
            database,
            chance: Cell::new(seed),
            lrand: Lrand::from_bits(planted::chance_of_script(seed) >> 8),
            steps: 0,
            ended: None,
            is_out_of_memory: false,
            is_at_home,
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
