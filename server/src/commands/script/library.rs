//! `redis.register_function`: what a library says it has, while it is loaded.

use std::collections::BTreeMap;

use mlua::{Function, Lua, RegistryKey, Table, Value};

use super::bounds;
use super::current::{self, Running};
use super::flags;
use super::store::Described;
use super::value::{Arguments, Fail, NO_ORDER, Returns, ordered_len};

/// A function that was registered.
pub(super) struct Registration {
    pub(super) name: String,
    pub(super) described: Described,
    /// The function, in Lua's registry.
    pub(super) callback: RegistryKey,
}

/// What a library says of a function.
struct Request {
    name: String,
    described: Described,
    callback: Function,
}

/// What was registered, by name.
pub(super) fn described(running: &Running<'_, '_>) -> BTreeMap<String, Described> {
    let registered = running.registered.iter();
    registered
        .map(|held| (held.name.clone(), held.described.clone()))
        .collect()
}

/// `redis.register_function(name, callback)` or with one table of named arguments.
pub(super) fn register(lua: &Lua, arguments: &Arguments) -> Returns {
    let request = read(arguments).map_err(|text| fail(lua, &text))?;
    let (is_new, bytes) = current::with(|running| {
        let mut held = running.registered.iter();
        let is_new = held.all(|held| held.name != request.name);
        let lens = running.registered.iter().map(Registration::len);
        (is_new, lens.sum())
    });
    if !is_new {
        return Err(fail(lua, "ERR Function already exists in the library"));
    }
    let registration = Registration {
        callback: lua.create_registry_value(request.callback)?,
        name: request.name,
        described: request.described,
    };
    // Those before it were looked through.
    bounds::element(bytes, registration.len())?;
    current::with(|running| {
        running.registered.push(registration);
        // A library that registers so many is ended with the next one.
        running.charge(running.registered.len() as u64);
    });
    Ok(mlua::MultiValue::new())
}

impl Registration {
    /// The bytes of its texts.
    fn len(&self) -> usize {
        let description = self.described.description.as_ref();
        self.name.len() + description.map_or(0, String::len)
    }
}

fn fail(lua: &Lua, text: &str) -> Fail {
    let table = lua.create_table().and_then(|table| {
        table.raw_set("err", text)?;
        Ok(table)
    });
    table.map_or_else(Fail::Lua, |table| Fail::Value(Value::Table(table)))
}

fn read(arguments: &Arguments) -> Result<Request, String> {
    match (arguments.len(), arguments.get(0), arguments.get(1)) {
        (1, Some(Value::Table(named)), _) => read_named(named),
        (1, ..) => Err(
            "ERR calling redis.register_function with a single argument is only applicable to Lua \
             table (representing named arguments)."
                .to_owned(),
        ),
        (2, Some(Value::String(name)), Some(Value::Function(callback))) => {
            registration(&name.as_bytes(), callback.clone(), None, 0)
        }
        (2, Some(Value::String(_)), _) => {
            Err("ERR second argument to redis.register_function must be a function".to_owned())
        }
        (2, ..) => Err("ERR first argument to redis.register_function must be a string".to_owned()),
        _ => Err("ERR wrong number of arguments to redis.register_function".to_owned()),
    }
}

fn read_named(named: &Table) -> Result<Request, String> {
    let len = ordered_len(named).map_err(|error| format!("ERR {error}"))?;
    len.ok_or_else(|| format!("ERR {NO_ORDER}"))?;
    let (mut name, mut description, mut callback, mut flags) = (None, None, None, 0);
    for pair in named.pairs::<Value, Value>() {
        let (key, value) = pair.map_err(|error| format!("ERR {error}"))?;
        let Value::String(key) = key else {
            let text = "ERR named argument key given to redis.register_function is not a string";
            return Err(text.to_owned());
        };
        let must_be = |kind| {
            let key = key.to_string_lossy();
            format!("ERR {key} argument given to redis.register_function must be a {kind}")
        };
        match (&*key.as_bytes().to_ascii_lowercase(), value) {
            (b"function_name", Value::String(given)) => name = Some(given),
            (b"description", Value::String(given)) => description = Some(given.to_string_lossy()),
            (b"callback", Value::Function(given)) => callback = Some(given),
            (b"flags", Value::Table(given)) => flags = read_flags(&given)?,
            (b"function_name" | b"description", _) => return Err(must_be("string")),
            (b"callback", _) => return Err(must_be("function")),
            (b"flags", _) => {
                return Err(
                    "ERR flags argument to redis.register_function must be a table representing \
                     function flags"
                        .to_owned(),
                );
            }
            _ => return Err("ERR unknown argument given to redis.register_function".to_owned()),
        }
    }
    let name = name.ok_or("ERR redis.register_function must get a function name argument")?;
    let callback = callback.ok_or("ERR redis.register_function must get a callback argument")?;
    registration(&name.as_bytes(), callback, description, flags)
}

fn read_flags(given: &Table) -> Result<u32, String> {
    let mut flags = 0;
    for name in given.sequence_values::<Value>() {
        let bit = match name {
            Ok(Value::String(name)) => flags::bit_of(&name.as_bytes()),
            _ => None,
        };
        flags |= bit.ok_or("ERR unknown flag given")?;
    }
    Ok(flags)
}

fn registration(
    name: &[u8],
    callback: Function,
    description: Option<String>,
    flags: u32,
) -> Result<Request, String> {
    Ok(Request {
        name: flags::checked_name(name).ok_or(flags::BAD_NAME)?,
        described: Described { description, flags },
        callback,
    })
}
