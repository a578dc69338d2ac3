//! Replies of commands as values of Lua, and what a script returns as a reply.
//!
//! Both follow Redis: RESP2's types have fixed forms, RESP3's come and go as tables with one field
//! that names the type (`map`, `set`, `double`, `big_number`, `verbatim_string`).

use bailiwick_frame::{Encoder, Protocol};
use mlua::{Lua, Table, Value};

use super::bounds;
use super::value::{NO_ORDER, ordered_len};

/// A reply does not nest deeper, whatever a script has built.
const MAX_DEPTH: usize = 100;

/// What a script hears of values that it nested too deeply.
const TOO_DEEP: &str = "ERR reached lua stack limit";

/// A reply that has been read, and what follows it.
type Read<'r> = (Value, &'r [u8]);

/// The reply at the beginning of `reply`, which a command of ours has written.
pub(super) fn to_lua(lua: &Lua, reply: &[u8]) -> mlua::Result<Value> {
    read(lua, reply).map(|(value, _)| value)
}

fn read<'r>(lua: &Lua, reply: &'r [u8]) -> mlua::Result<Read<'r>> {
    let (kind, line, rest) = line_of(reply);
    Ok(match kind {
        b'+' => (field(lua, "ok", lua.create_string(line)?)?, rest),
        b'-' => (field(lua, "err", lua.create_string(line)?)?, rest),
        b':' => (Value::Number(number(line) as f64), rest),
        b'$' if line == b"-1" => (Value::Boolean(false), rest),
        b'$' => {
            let (bytes, rest) = bulk(line, rest);
            (Value::String(lua.create_string(bytes)?), rest)
        }
        b'*' if line == b"-1" => (Value::Boolean(false), rest),
        b'*' | b'>' => read_array(lua, number(line) as usize, rest)?,
        b'%' => read_map(lua, number(line) as usize, rest)?,
        b'~' => read_set(lua, number(line) as usize, rest)?,
        b'#' => (Value::Boolean(line == b"t"), rest),
        b',' => {
            let text = String::from_utf8_lossy(line);
            let number: f64 = text.parse().unwrap_or(f64::NAN);
            (field(lua, "double", number)?, rest)
        }
        b'(' => (field(lua, "big_number", lua.create_string(line)?)?, rest),
        b'=' => read_verbatim(lua, line, rest)?,
        _ => (Value::Nil, rest),
    })
}

fn read_array<'r>(lua: &Lua, len: usize, mut rest: &'r [u8]) -> mlua::Result<Read<'r>> {
    let table = lua.create_table_with_capacity(len, 0)?;
    for at in 1..=len {
        let (value, behind) = read(lua, rest)?;
        table.raw_set(at, value)?;
        rest = behind;
    }
    Ok((Value::Table(table), rest))
}

fn read_map<'r>(lua: &Lua, len: usize, mut rest: &'r [u8]) -> mlua::Result<Read<'r>> {
    let map = lua.create_table_with_capacity(0, len)?;
    for _ in 0..len {
        let (key, behind) = read(lua, rest)?;
        let (value, behind) = read(lua, behind)?;
        map.raw_set(key, value)?;
        rest = behind;
    }
    Ok((field(lua, "map", map)?, rest))
}

fn read_set<'r>(lua: &Lua, len: usize, mut rest: &'r [u8]) -> mlua::Result<Read<'r>> {
    let set = lua.create_table_with_capacity(0, len)?;
    for _ in 0..len {
        let (member, behind) = read(lua, rest)?;
        set.raw_set(member, true)?;
        rest = behind;
    }
    Ok((field(lua, "set", set)?, rest))
}

fn read_verbatim<'r>(lua: &Lua, line: &[u8], rest: &'r [u8]) -> mlua::Result<Read<'r>> {
    let (bytes, rest) = bulk(line, rest);
    let (format, text) = bytes.split_at(bytes.len().min(4));
    let table = lua.create_table()?;
    table.raw_set("format", lua.create_string(&format[..format.len().min(3)])?)?;
    table.raw_set("string", lua.create_string(text)?)?;
    Ok((field(lua, "verbatim_string", table)?, rest))
}

fn field(lua: &Lua, name: &str, value: impl mlua::IntoLua) -> mlua::Result<Value> {
    let table = lua.create_table_with_capacity(0, 1)?;
    table.raw_set(name, value)?;
    Ok(Value::Table(table))
}

/// The type, the rest of the first line, and what follows.
fn line_of(reply: &[u8]) -> (u8, &[u8], &[u8]) {
    let end = reply.iter().position(|byte| *byte == b'\r');
    let end = end.expect("the encoder ends lines");
    (reply[0], &reply[1..end], &reply[end + 2..])
}

fn number(line: &[u8]) -> i64 {
    crate::keyspace::parse_canonical_int(line).expect("the encoder writes numbers")
}

fn bulk<'r>(line: &[u8], rest: &'r [u8]) -> (&'r [u8], &'r [u8]) {
    let (bytes, rest) = rest.split_at(number(line) as usize);
    (bytes, &rest[2..])
}

/// Writes what a script returned. `wants` is the version that it chose for itself.
///
/// # Errors
/// There is no memory, or the reply is longer than a script's texts may be, or the script has made
/// its steps.
pub(super) fn write_reply(
    value: &Value,
    wants: Protocol,
    out: &mut Encoder<'_>,
) -> mlua::Result<()> {
    let start = out.buffer().len();
    Writer { wants, start, out }.write(value, 0)
}

/// Writes a reply.
struct Writer<'w, 'o> {
    wants: Protocol,
    /// Where the reply begins in the buffer.
    start: usize,
    out: &'w mut Encoder<'o>,
}

impl Writer<'_, '_> {
    fn write(&mut self, value: &Value, depth: usize) -> mlua::Result<()> {
        let len = match value {
            Value::String(string) => string.as_bytes().len(),
            _ => 0,
        };
        bounds::element(self.out.buffer().len() - self.start, len)?;
        let out = &mut *self.out;
        if depth > MAX_DEPTH {
            out.error(TOO_DEEP);
            return Ok(());
        }
        match value {
            Value::String(string) => out.bulk(&string.as_bytes()),
            Value::Boolean(held) => match (self.wants, held) {
                (Protocol::Resp3, held) => out.boolean(*held),
                (Protocol::Resp2, true) => out.integer(1),
                (Protocol::Resp2, false) => out.null(),
            },
            Value::Integer(number) => out.integer(*number),
            Value::Number(number) => out.integer(truncated(*number)),
            Value::Table(table) => self.write_table(table, depth)?,
            _ => out.null(),
        }
        Ok(())
    }

    fn write_table(&mut self, table: &Table, depth: usize) -> mlua::Result<()> {
        bounds::table()?;
        if let Value::String(text) = table.raw_get("err")? {
            self.out.error(&one_line(&text.as_bytes()));
            return Ok(());
        }
        if let Value::String(text) = table.raw_get("ok")? {
            self.out.simple(&one_line(&text.as_bytes()));
            return Ok(());
        }
        if let Value::Number(number) = float(table.raw_get("double")?) {
            self.out.double(number);
            return Ok(());
        }
        if let Value::Table(map) = table.raw_get("map")? {
            return self.write_pairs(&map, depth, true);
        }
        if let Value::Table(set) = table.raw_get("set")? {
            return self.write_pairs(&set, depth, false);
        }
        if let Value::String(digits) = table.raw_get("big_number")? {
            self.out.big_number(&one_line(&digits.as_bytes()));
            return Ok(());
        }
        if let Value::Table(verbatim) = table.raw_get("verbatim_string")? {
            let (format, text) = (verbatim.raw_get("format")?, verbatim.raw_get("string")?);
            if let (Value::String(format), Value::String(text)) = (format, text) {
                self.out
                    .verbatim(&format_name(&format.as_bytes()), &text.as_bytes());
                return Ok(());
            }
        }
        self.write_list(table, depth)
    }

    /// A map, or else a set, whose members are the keys.
    fn write_pairs(&mut self, table: &Table, depth: usize, is_map: bool) -> mlua::Result<()> {
        // Counted first and then gone through again, because nothing may hold all of them.
        let Some(len) = ordered_len(table)? else {
            self.out.error(&format!("ERR {NO_ORDER}"));
            return Ok(());
        };
        if is_map {
            self.out.map(len);
        } else {
            self.out.set(len);
        }
        for pair in table.pairs::<Value, Value>() {
            let (key, value) = pair?;
            self.write(&key, depth + 1)?;
            if is_map {
                self.write(&value, depth + 1)?;
            }
        }
        Ok(())
    }

    /// The elements up to the first that is nil.
    fn write_list(&mut self, table: &Table, depth: usize) -> mlua::Result<()> {
        let list = self.out.deferred_array();
        let mut len = 0;
        loop {
            let value: Value = table.raw_get(len + 1)?;
            if value.is_nil() {
                break;
            }
            self.write(&value, depth + 1)?;
            len += 1;
        }
        self.out.finish_array(list, len);
        Ok(())
    }
}

/// Three letters.
fn format_name(given: &[u8]) -> String {
    let given = String::from_utf8_lossy(given);
    let letters = given.chars().filter(char::is_ascii_alphanumeric);
    letters.chain("   ".chars()).take(3).collect()
}

/// As C turns a double into an integer on the machines that Redis runs on.
pub(super) fn truncated(number: f64) -> i64 {
    if (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&number) {
        number as i64
    } else {
        i64::MIN
    }
}

fn float(value: Value) -> Value {
    match value {
        Value::Integer(number) => Value::Number(number as f64),
        value => value,
    }
}

/// A text for a reply of one line.
pub(super) fn one_line(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    text.replace(['\r', '\n'], " ")
}
