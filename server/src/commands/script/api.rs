//! What scripts find under `redis`, and the functions that the globals are made of.
//!
//! `redis.log` writes to the log of the node, of each replica by itself; that is the one thing a
//! script does that is no part of the state. What Redis offers for replication by effects
//! (`set_repl`, `replicate_commands`) is accepted and changes nothing, since scripts themselves are
//! what is replicated.

use bailiwick_frame::{Args, Protocol};
use mlua::{Lua, MultiValue, Table, Value};
use sha1::{Digest as _, Sha1};

use super::current;
use super::random::{LRAND_END, Lrand};
use super::value::{Arguments, Fail, Returns, bad_argument, function, one};
use super::{bits, bounds, call, json, library, pack, structs};
use crate::commands::CommandError;
use crate::commands::registry::lookup;

/// A line of the log is cut there, as Redis does.
const MAX_LOG_BYTES: usize = 1024;

/// The levels of `redis.log`, which are their places.
const LEVELS: [&str; 4] = ["LOG_DEBUG", "LOG_VERBOSE", "LOG_NOTICE", "LOG_WARNING"];

/// As [`crate::commands`] tells clients, in the number that scripts compare.
const VERSION: &str = "7.2.5";
const VERSION_NUM: i64 = 0x0007_0205;

type Run = fn(&Lua, &Arguments) -> Returns;

/// Adds the functions that stand in for Lua's own and that can be written without its C interface.
pub(super) fn add_base(lua: &Lua, base: &Table) -> mlua::Result<()> {
    add(lua, base, &[("random", random), ("randomseed", randomseed)])
}

/// The libraries: those of scripts, and the two that are `redis` for libraries of functions.
pub(super) fn libraries(lua: &Lua) -> mlua::Result<Table> {
    let plain = lua.create_table()?;
    plain.raw_set("redis", redis(lua, &[CALLS, COMMON, SCRIPTS_ONLY])?)?;
    plain.raw_set("cjson", json::library(lua)?)?;
    plain.raw_set("cmsgpack", pack::library(lua)?)?;
    plain.raw_set("bit", bits::library(lua)?)?;
    plain.raw_set("struct", structs::library(lua)?)?;
    let all = lua.create_table()?;
    all.raw_set("plain", plain)?;
    all.raw_set("calling", redis(lua, &[CALLS, COMMON])?)?;
    all.raw_set("loading", redis(lua, &[LOADING])?)?;
    Ok(all)
}

/// Puts functions into a table.
pub(super) fn add(lua: &Lua, table: &Table, functions: &[(&str, Run)]) -> mlua::Result<()> {
    for (name, run) in functions {
        table.raw_set(*name, function(lua, *run)?)?;
    }
    Ok(())
}

const CALLS: &[(&str, Run)] = &[
    ("call", |lua, arguments| call::call(lua, arguments, true)),
    ("pcall", |lua, arguments| call::call(lua, arguments, false)),
];

const COMMON: &[(&str, Run)] = &[
    ("log", log),
    ("sha1hex", sha1hex),
    ("error_reply", error_reply),
    ("status_reply", status_reply),
    ("setresp", setresp),
    ("set_repl", set_repl),
    ("acl_check_cmd", acl_check_cmd),
];

const SCRIPTS_ONLY: &[(&str, Run)] = &[
    ("replicate_commands", |lua, _| one(lua, true)),
    ("breakpoint", |lua, _| one(lua, false)),
    ("debug", |_, _| Ok(MultiValue::new())),
];

const LOADING: &[(&str, Run)] = &[("register_function", library::register), ("log", log)];

fn redis(lua: &Lua, functions: &[&[(&str, Run)]]) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    for functions in functions {
        add(lua, &table, functions)?;
    }
    for (level, name) in LEVELS.into_iter().enumerate() {
        table.raw_set(name, level)?;
    }
    for (name, bits) in [
        ("REPL_NONE", 0),
        ("REPL_AOF", 1),
        ("REPL_REPLICA", 2),
        ("REPL_SLAVE", 2),
        ("REPL_ALL", 3),
    ] {
        table.raw_set(name, bits)?;
    }
    table.raw_set("REDIS_VERSION", VERSION)?;
    table.raw_set("REDIS_VERSION_NUM", VERSION_NUM)?;
    Ok(table)
}

/// An error as `redis.call` raises it: without a place in front of the text.
fn refusal(lua: &Lua, text: &str) -> Fail {
    let table = lua.create_table().and_then(|table| {
        table.raw_set("err", format!("ERR {text}"))?;
        Ok(table)
    });
    table.map_or_else(Fail::Lua, |table| Fail::Value(Value::Table(table)))
}

fn log(lua: &Lua, arguments: &Arguments) -> Returns {
    if arguments.len() < 2 {
        return Err(refusal(lua, "redis.log() requires two arguments or more."));
    }
    let level = match arguments.get(0) {
        Some(Value::Integer(level)) => *level,
        Some(Value::Number(level)) => *level as i64,
        _ => {
            let text = "First argument must be a number (log level).";
            return Err(refusal(lua, text));
        }
    };
    let text = line_of(arguments);
    match level {
        0 => tracing::debug!(target: "script", "{text}"),
        1 | 2 => tracing::info!(target: "script", "{text}"),
        3 => tracing::warn!(target: "script", "{text}"),
        _ => return Err(refusal(lua, "Invalid debug level.")),
    }
    Ok(MultiValue::new())
}

/// The words of a line for the log.
fn line_of(arguments: &Arguments) -> String {
    let mut line: Vec<u8> = Vec::new();
    for value in arguments.iter().skip(1) {
        if line.len() >= MAX_LOG_BYTES {
            break;
        }
        let start = line.len();
        match value {
            Value::String(string) => {
                let bytes = string.as_bytes();
                line.extend_from_slice(&bytes[..bytes.len().min(MAX_LOG_BYTES)]);
            }
            Value::Integer(number) => line.extend_from_slice(number.to_string().as_bytes()),
            Value::Number(number) => line.extend_from_slice(number.to_string().as_bytes()),
            _ => continue,
        }
        if start > 0 {
            line.insert(start, b' ');
        }
    }
    line.truncate(MAX_LOG_BYTES);
    String::from_utf8_lossy(&line).into_owned()
}

fn sha1hex(lua: &Lua, arguments: &Arguments) -> Returns {
    if arguments.len() != 1 {
        return Err(refusal(lua, "wrong number of arguments"));
    }
    let text = match arguments.get(0) {
        Some(Value::String(_) | Value::Integer(_) | Value::Number(_)) => {
            let text = arguments.string(lua, 0, "sha1hex")?;
            bounds::reading(text.as_bytes().len())?;
            text.as_bytes().to_vec()
        }
        _ => Vec::new(),
    };
    one(lua, hex(&Sha1::digest(text)))
}

/// Bytes in hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The one argument, a text.
fn single(arguments: &Arguments) -> Option<Vec<u8>> {
    match (arguments.len(), arguments.get(0)) {
        (1, Some(Value::String(text))) => Some(text.as_bytes().to_vec()),
        _ => None,
    }
}

/// A table with one field, which says what kind of reply it is.
fn reply(lua: &Lua, field: &str, text: &[u8]) -> Returns {
    let table = lua.create_table()?;
    table.raw_set(field, lua.create_string(text)?)?;
    one(lua, table)
}

const NOT_SINGLE: &[u8] = b"ERR wrong number or type of arguments";

/// A table that a script returns for an error. A text of one word gets a code.
fn error_reply(lua: &Lua, arguments: &Arguments) -> Returns {
    let Some(text) = single(arguments) else {
        return reply(lua, "err", NOT_SINGLE);
    };
    let text = text.strip_prefix(b"-").unwrap_or(&text);
    let text = match text.iter().position(|byte| *byte == b' ') {
        Some(at) => {
            let (code, message) = text.split_at(at);
            [code, b" ", trim_line_ends(&message[1..])].concat()
        }
        None => [b"ERR ", trim_line_ends(text)].concat(),
    };
    reply(lua, "err", &text)
}

fn trim_line_ends(text: &[u8]) -> &[u8] {
    let is_end = |byte: &u8| matches!(byte, b'\r' | b'\n');
    let Some(from) = text.iter().position(|byte| !is_end(byte)) else {
        return b"";
    };
    let to = text.iter().rposition(|byte| !is_end(byte));
    &text[from..=to.unwrap_or(from)]
}

fn status_reply(lua: &Lua, arguments: &Arguments) -> Returns {
    match single(arguments) {
        Some(text) => reply(lua, "ok", &text),
        None => reply(lua, "err", NOT_SINGLE),
    }
}

fn setresp(lua: &Lua, arguments: &Arguments) -> Returns {
    if arguments.len() != 1 {
        return Err(refusal(lua, "redis.setresp() requires one argument."));
    }
    let protocol = match arguments.number(lua, 0, "setresp") {
        Ok(2.0) => Protocol::Resp2,
        Ok(3.0) => Protocol::Resp3,
        _ => return Err(refusal(lua, "RESP version must be 2 or 3.")),
    };
    current::with(|running| running.protocol = protocol);
    Ok(MultiValue::new())
}

fn set_repl(lua: &Lua, arguments: &Arguments) -> Returns {
    if arguments.len() != 1 {
        return Err(refusal(lua, "redis.set_repl() requires one argument."));
    }
    match arguments.number(lua, 0, "set_repl") {
        Ok(flags) if (0.0..=3.0).contains(&flags) => Ok(MultiValue::new()),
        _ => Err(refusal(
            lua,
            "Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or REPL_NONE.",
        )),
    }
}

/// Who could run the script may run everything that a script may.
fn acl_check_cmd(lua: &Lua, arguments: &Arguments) -> Returns {
    if let Err(text) = call::check(arguments) {
        return Err(refusal(lua, text.trim_start_matches("ERR ")));
    }
    let is_known = current::with(|running| {
        call::put_request(&mut running.request, arguments)?;
        let request = &running.request;
        let args = Args::new(&request.bytes, &request.ranges);
        Ok(match lookup(args) {
            Ok(_) => true,
            Err(error) => !error.to_string().starts_with("ERR unknown"),
        })
    });
    match is_known {
        Ok(true) => one(lua, true),
        Ok(false) => {
            let text = "Invalid command passed to redis.acl_check_cmd()";
            Err(refusal(lua, text))
        }
        Err(error) => {
            let error: CommandError = error;
            let text = error.to_string();
            Err(refusal(lua, text.trim_start_matches("ERR ")))
        }
    }
}

fn random(lua: &Lua, arguments: &Arguments) -> Returns {
    let drawn = current::with(|running| running.lrand.next());
    let drawn = f64::from(drawn % (i32::MAX as u32)) / (LRAND_END - 1.0);
    let integer = |at| arguments.number(lua, at, "random").map(f64::trunc);
    match arguments.len() {
        0 => one(lua, drawn),
        1 => {
            let end = integer(0)?;
            if end < 1.0 {
                return Err(bad_argument(0, "random", "interval is empty"));
            }
            one(lua, (drawn * end).floor() + 1.0)
        }
        2 => {
            let (start, end) = (integer(0)?, integer(1)?);
            if start > end {
                return Err(bad_argument(1, "random", "interval is empty"));
            }
            one(lua, (drawn * (end - start + 1.0)).floor() + start)
        }
        _ => Err(Fail::from("wrong number of arguments")),
    }
}

fn randomseed(lua: &Lua, arguments: &Arguments) -> Returns {
    let seed = arguments.number(lua, 0, "randomseed")?;
    let seed = super::convert::truncated(seed) as i32;
    current::with(|running| running.lrand = Lrand::seeded(seed));
    Ok(MultiValue::new())
}
