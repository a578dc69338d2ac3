//! Lua on this thread: one state with the globals of scripts, and what was compiled for it.
//!
//! **Replicas must not differ**, so nothing that a script can see depends on what ran on the thread
//! before. Globals and libraries are read-only, settings are those of the run, addresses are hidden
//! (`raw.rs`), and garbage is collected between scripts only, so that nobody can watch it being
//! collected. What is left over of a run is thrown away with the whole state.
//!
//! **Memory.** A script first runs in the thread's state, without collection, and may use
//! [`QUICK_BYTES`]. Where that is not enough it is begun again, from nothing, in a state of its
//! own: there, collection sets in at [`COLLECT_FROM_BYTES`] and the script is ended at
//! [`MAX_BYTES`]. In a new state all of this is the same on every replica. Whether a first attempt
//! was enough may differ between replicas, and makes no difference: such a script is far from where
//! collection would begin, and what an attempt did that was not enough is undone to the last
//! counter (`keyspace/undo.rs`), even if the script has caught the error.
//!
//! **Steps** are counted by portions of [`PORTION_STEPS`], which each coroutine begins anew, so the
//! portion is the same in any state and a coroutine counts one when it is resumed. **Depth**: a
//! script runs in a coroutine made for it (`prelude.lua`), whose stack has no history.

use std::collections::HashMap;

use mlua::{
    ChunkMode, Debug, Function, HookTriggers, Lua, LuaOptions, RegistryKey, StdLib, Table, Value,
    VmState,
};

use super::current::{self, Ended, Running};
use super::{api, bounds, raw, stock};

/// What an attempt in the thread's state may use.
const QUICK_BYTES: usize = 32 << 20;
/// A state of its own collects garbage when it holds so much.
const COLLECT_FROM_BYTES: usize = 128 << 20;
/// No script gets more.
const MAX_BYTES: usize = 512 << 20;
/// So much garbage is left over before it is collected between scripts.
const GARBAGE_BYTES: usize = 1 << 20;
/// A thread's state that holds more after a collection is made anew.
const KEPT_BYTES: usize = 16 << 20;
/// So many instructions are counted at a time, and in a state of its own memory is looked at.
const PORTION_STEPS: u32 = 1000;
/// Compiled scripts that a thread keeps.
const MAX_COMPILED: usize = 1000;

/// The name of what was compiled in error messages.
const SCRIPT_NAME: &str = "@user_script";
const LIBRARY_NAME: &str = "@user_function";

/// What a source text is told from others by.
pub(super) type Digest = [u8; 20];

/// A Lua state, ready for scripts.
pub(super) struct Engine {
    lua: Lua,
    prepare: Function,
    run: Function,
    load_library: Function,
    call_function: Function,
    /// Tables that are empty unless a script has put something into them.
    stand_ins: Vec<Table>,
    /// Numbers of what has no text.
    names: Table,
    compiled: HashMap<(Kind, Digest), RegistryKey>,
    /// Memory in use after the last collection.
    settled_bytes: usize,
}

/// What a source text is compiled as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Script,
    Library,
}

/// How a run ended.
pub(super) enum Finish {
    /// It returned this.
    Returned(Value),
    /// It raised an error.
    Raised(Raised),
    /// There was not enough memory.
    OutOfMemory,
    /// Something else has ended it, which [`Running::ended`] says.
    Ended,
}

/// An error of a script, and where it happened.
pub(super) struct Raised {
    pub(super) text: String,
    pub(super) place: Option<(String, i64)>,
}

/// What there is to run.
pub(super) enum Job<'a> {
    /// A script with its keys and other arguments.
    Script(Source<'a>, &'a [&'a [u8]], &'a [&'a [u8]]),
    /// The loading of a library.
    Load(Source<'a>),
    /// A function of a library, which is loaded before, with its keys and other arguments.
    Call(Source<'a>, &'a str, &'a [&'a [u8]], &'a [&'a [u8]]),
}

/// A source text.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) kind: Kind,
    pub(super) digest: Digest,
    /// The text without its shebang.
    pub(super) body: &'a [u8],
}

impl Engine {
    /// A new state.
    pub(super) fn new() -> mlua::Result<Self> {
        let libraries = StdLib::TABLE | StdLib::STRING | StdLib::MATH | StdLib::DEBUG;
        // A panic aborts the process, so it need not be kept from being caught.
        let options = LuaOptions::new().catch_rust_panics(false);
        // SAFETY: the debug library is used by the prelude alone, which scripts cannot reach.
        let lua = unsafe { Lua::unsafe_new_with(libraries, options) };
        lua.gc_stop();
        bounds::reserve(&lua)?;
        let real = lua.create_table()?;
        let (names, stand_ins) = (lua.create_table()?, lua.create_table()?);
        names.raw_set(0, 0)?;
        let base = raw::base(&lua, &real, &names)?;
        api::add_base(&lua, &base)?;
        let libraries = api::libraries(&lua)?;
        let stock = stock::libraries(&lua, &real)?;
        let prelude = lua.load(include_str!("prelude.lua")).set_name("=redis");
        let made = prelude.call((base, libraries, stock, real, stand_ins.clone()))?;
        let (prepare, run, load_library, call_function) = made;
        let stand_ins = stand_ins.sequence_values().collect::<mlua::Result<_>>()?;
        lua.gc_collect()?;
        lua.gc_stop();
        Ok(Self {
            settled_bytes: lua.used_memory(),
            lua,
            prepare,
            run,
            load_library,
            call_function,
            stand_ins,
            names,
            compiled: HashMap::new(),
        })
    }

    /// Compiles a source text; the error is what Lua says.
    pub(super) fn compile(&mut self, source: Source<'_>) -> Result<(), String> {
        let compiled = self.compiled(source);
        compiled.map(drop).map_err(|error| match error {
            mlua::Error::SyntaxError { message, .. } => message,
            error => error.to_string(),
        })
    }

    fn compiled(&mut self, source: Source<'_>) -> mlua::Result<Function> {
        let key = (source.kind, source.digest);
        if let Some(held) = self.compiled.get(&key) {
            return self.lua.registry_value(held);
        }
        let name = match source.kind {
            Kind::Script => SCRIPT_NAME,
            Kind::Library => LIBRARY_NAME,
        };
        let chunk = self.lua.load(source.body).set_name(name);
        let function = chunk.set_mode(ChunkMode::Text).into_function()?;
        if source.kind == Kind::Script {
            self.prepare.call::<()>(&function)?;
        }
        if self.compiled.len() >= MAX_COMPILED {
            self.compiled.clear();
        }
        let held = self.lua.create_registry_value(&function)?;
        self.compiled.insert(key, held);
        Ok(function)
    }

    /// Runs a job and gives what became of it to `then`, while the script's values are still there.
    /// The script must have been entered. In a state of its own, a script gets more memory.
    pub(super) fn run<R>(
        &mut self,
        job: &Job<'_>,
        is_own: bool,
        then: impl FnOnce(&Lua, Finish) -> R,
    ) -> R {
        self.lua.gc_stop();
        let limit = if is_own {
            MAX_BYTES
        } else {
            self.lua.used_memory() + QUICK_BYTES
        };
        // Limits are always there: the state has an allocator of mlua's.
        let _ = self.lua.set_memory_limit(limit);
        let finish = self.start_counting(is_own).and_then(|()| self.attempt(job));
        let finish = finish.unwrap_or_else(|error| finish_of(&error));
        let finish = match finish {
            _ if current::with(|running| running.ended.is_some()) => Finish::Ended,
            _ if current::with(|running| running.is_out_of_memory) => Finish::OutOfMemory,
            finish => finish,
        };
        let result = then(&self.lua, finish);
        let _ = self.lua.set_memory_limit(0);
        result
    }

    /// Counts instructions from here on.
    fn start_counting(&self, is_own: bool) -> mlua::Result<()> {
        let triggers = HookTriggers::new().every_nth_instruction(PORTION_STEPS);
        self.lua.set_global_hook(triggers, move |lua, debug| {
            if is_own && lua.used_memory() > COLLECT_FROM_BYTES {
                lua.gc_restart();
            }
            let goes_on = current::with(|running| {
                let goes_on = running.charge(PORTION_STEPS.into());
                if goes_on && running.is_doomed {
                    running.ended = Some(Ended::Killed(place_of(debug)));
                }
                running.ended.is_none()
            });
            if goes_on {
                Ok(VmState::Continue)
            } else {
                Err(ended())
            }
        })
    }

    fn attempt(&mut self, job: &Job<'_>) -> mlua::Result<Finish> {
        let (fine, value): (bool, Value) = match job {
            Job::Script(source, keys, arguments) => {
                let compiled = self.compiled(*source)?;
                let (keys, arguments) = (self.list(keys)?, self.list(arguments)?);
                self.run.call((compiled, keys, arguments))?
            }
            Job::Load(source) => {
                let compiled = self.compiled(*source)?;
                self.load_library.call(compiled)?
            }
            Job::Call(source, name, keys, arguments) => {
                let compiled = self.compiled(*source)?;
                let loaded: (bool, Value) = self.load_library.call(compiled)?;
                let callback: Option<Function> = current::with(|running| {
                    let key = running.callback(name);
                    key.map(|key| self.lua.registry_value(key)).transpose()
                })?;
                match callback {
                    Some(callback) if loaded.0 => {
                        let (keys, arguments) = (self.list(keys)?, self.list(arguments)?);
                        self.call_function.call((callback, keys, arguments))?
                    }
                    _ => loaded,
                }
            }
        };
        Ok(if fine {
            Finish::Returned(value)
        } else {
            raised(&value)?
        })
    }

    fn list(&self, items: &[&[u8]]) -> mlua::Result<Table> {
        let table = self.lua.create_table_with_capacity(items.len(), 0)?;
        for (at, item) in items.iter().enumerate() {
            table.raw_set(at + 1, self.lua.create_string(item)?)?;
        }
        Ok(table)
    }

    /// Gets ready for the next script; false if something is left over that it could see.
    pub(super) fn settle(&mut self) -> bool {
        if self.stand_ins.iter().any(|table| !table.is_empty()) {
            return false;
        }
        if self.names.raw_get::<i64>(0).is_ok_and(|count| count > 0)
            && (self.names.clear().is_err() || self.names.raw_set(0, 0).is_err())
        {
            return false;
        }
        if self.lua.used_memory() < self.settled_bytes + GARBAGE_BYTES {
            return true;
        }
        self.lua.expire_registry_values();
        let collected = self.lua.gc_collect();
        self.lua.gc_stop();
        self.settled_bytes = self.lua.used_memory();
        collected.is_ok() && self.settled_bytes < KEPT_BYTES
    }
}

/// Where a script is, if it is in its own text.
fn place_of(debug: &Debug<'_>) -> Option<(String, i64)> {
    let source = debug.source().source?.into_owned();
    let line = i64::try_from(debug.current_line()?).ok()?;
    [SCRIPT_NAME, LIBRARY_NAME]
        .contains(&source.as_str())
        .then_some((source, line))
}

/// What is raised in a script that is ended.
pub(super) fn ended() -> mlua::Error {
    mlua::Error::runtime("the script is ended")
}

fn raised(problem: &Value) -> mlua::Result<Finish> {
    let table = match problem {
        Value::Table(table) => table,
        Value::Error(error) => return Ok(finish_of(error)),
        // Where there was no memory for an explanation, or no room on the stack.
        Value::String(text) => {
            let text = text.to_string_lossy();
            return Ok(if text == "not enough memory" {
                Finish::OutOfMemory
            } else {
                Finish::Raised(Raised {
                    text: format!("ERR {text}"),
                    place: None,
                })
            });
        }
        _ => return Ok(Finish::OutOfMemory),
    };
    let text = match table.raw_get::<Value>("err")? {
        Value::String(text) => text.to_string_lossy(),
        _ => "ERR unknown error".to_owned(),
    };
    if text == "ERR not enough memory" {
        return Ok(Finish::OutOfMemory);
    }
    let source = table.raw_get::<Option<mlua::String>>("source")?;
    let line = table.raw_get::<Option<i64>>("line")?;
    let place = source.map(|source| source.to_string_lossy()).zip(line);
    Ok(Finish::Raised(Raised { text, place }))
}

fn finish_of(error: &mlua::Error) -> Finish {
    match error {
        mlua::Error::MemoryError(_) => Finish::OutOfMemory,
        mlua::Error::CallbackError { cause, .. } => finish_of(cause),
        mlua::Error::RuntimeError(text) if text.starts_with("not enough memory") => {
            Finish::OutOfMemory
        }
        error => Finish::Raised(Raised {
            text: format!("ERR {error}"),
            place: None,
        }),
    }
}

impl Running<'_, '_> {
    fn callback(&self, name: &str) -> Option<&RegistryKey> {
        let found = self.registered.iter().find(|held| held.name == name);
        found.map(|held| &held.callback)
    }
}
