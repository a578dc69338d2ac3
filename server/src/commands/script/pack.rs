//! The library `cmsgpack`: MessagePack as Redis's scripts know it.

use mlua::{Lua, MultiValue, Table, Value};

use super::bounds::MAX_VALUES;
use super::value::{Arguments, Fail, NO_ORDER, Returns, bad_argument, one, ordered_len};
use super::{api, bounds};

/// Tables that nest deeper are packed as nil.
const MAX_NESTING: usize = 16;
/// What nests deeper is not unpacked: each level takes of the thread's stack.
const MAX_UNPACK_NESTING: usize = 1000;

/// `cmsgpack`.
pub(super) fn library(lua: &Lua) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    api::add(
        lua,
        &table,
        &[
            ("pack", pack),
            ("unpack", unpack),
            ("unpack_one", unpack_one),
            ("unpack_limit", unpack_limit),
        ],
    )?;
    table.raw_set("_NAME", "cmsgpack")?;
    table.raw_set("_VERSION", "lua-cmsgpack 0.4.0")?;
    table.raw_set("_COPYRIGHT", "Copyright (C) 2012, Salvatore Sanfilippo")?;
    table.raw_set("_DESCRIPTION", "MessagePack C implementation for Lua")?;
    Ok(table)
}

fn pack(lua: &Lua, arguments: &Arguments) -> Returns {
    if arguments.len() == 0 {
        let text = "bad argument #0 to 'pack' (MessagePack pack needs input.)";
        return Err(Fail::from(text));
    }
    let mut out = Vec::new();
    for value in arguments.iter() {
        put(&mut out, value, 0)?;
    }
    one(lua, lua.create_string(&out)?)
}

fn put(out: &mut Vec<u8>, value: &Value, depth: usize) -> Result<(), Fail> {
    let len = match value {
        Value::String(text) => text.as_bytes().len(),
        _ => 0,
    };
    bounds::element(out.len(), len)?;
    match value {
        Value::String(text) => put_bytes(out, &text.as_bytes()),
        Value::Boolean(value) => out.push(if *value { 0xc3 } else { 0xc2 }),
        Value::Integer(number) => put_integer(out, *number),
        Value::Number(number) => put_number(out, *number),
        Value::Table(table) if depth < MAX_NESTING => put_table(out, table, depth)?,
        _ => out.push(0xc0),
    }
    Ok(())
}

fn put_table(out: &mut Vec<u8>, table: &Table, depth: usize) -> Result<(), Fail> {
    bounds::table()?;
    if is_array(table)? {
        let len = table.raw_len();
        put_head(out, len, (0x90, 0xdc, 0xdd));
        for at in 1..=len {
            let value: Value = table.raw_get(at)?;
            put(out, &value, depth + 1)?;
        }
        return Ok(());
    }
    // Counted first and then gone through again, because nothing may hold all of them.
    let len = ordered_len(table)?.ok_or(Fail::from(NO_ORDER))?;
    put_head(out, len, (0x80, 0xde, 0xdf));
    for pair in table.pairs::<Value, Value>() {
        let (key, value) = pair?;
        put(out, &key, depth + 1)?;
        put(out, &value, depth + 1)?;
    }
    Ok(())
}

/// Whether the indexes of a table are 1, 2, 3 and so on without a gap.
fn is_array(table: &Table) -> Result<bool, Fail> {
    let (mut max, mut count) = (0.0, 0.0);
    for pair in table.pairs::<Value, Value>() {
        let index = match pair?.0 {
            Value::Integer(index) => index as f64,
            Value::Number(index) => index,
            _ => return Ok(false),
        };
        if index <= 0.0 || index.trunc() != index {
            return Ok(false);
        }
        max = f64::max(max, index);
        count += 1.0;
    }
    Ok(max == count)
}

/// The head of an array or map: up to 15 elements, 16 bits, or 32.
fn put_head(out: &mut Vec<u8>, len: usize, (small, medium, large): (u8, u8, u8)) {
    match len {
        0..=15 => out.push(small | len as u8),
        16..=0xffff => {
            out.push(medium);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        _ => {
            out.push(large);
            out.extend_from_slice(&(len as u32).to_be_bytes());
        }
    }
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    match bytes.len() {
        len @ 0..=31 => out.push(0xa0 | len as u8),
        len @ 32..=0xff => out.extend_from_slice(&[0xd9, len as u8]),
        len @ 0x100..=0xffff => {
            out.push(0xda);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            out.push(0xdb);
            out.extend_from_slice(&(len as u32).to_be_bytes());
        }
    }
    out.extend_from_slice(bytes);
}

fn put_number(out: &mut Vec<u8>, number: f64) {
    let is_integer = number.trunc() == number && number.abs() < 9_223_372_036_854_775_808.0;
    if is_integer {
        return put_integer(out, number as i64);
    }
    let short = number as f32;
    if f64::from(short) == number {
        out.push(0xca);
        out.extend_from_slice(&short.to_be_bytes());
    } else {
        out.push(0xcb);
        out.extend_from_slice(&number.to_be_bytes());
    }
}

fn put_integer(out: &mut Vec<u8>, number: i64) {
    match number {
        0..=127 => out.push(number as u8),
        128..=0xff => out.extend_from_slice(&[0xcc, number as u8]),
        0x100..=0xffff => {
            out.push(0xcd);
            out.extend_from_slice(&(number as u16).to_be_bytes());
        }
        0x1_0000..=0xffff_ffff => {
            out.push(0xce);
            out.extend_from_slice(&(number as u32).to_be_bytes());
        }
        0x1_0000_0000.. => {
            out.push(0xcf);
            out.extend_from_slice(&number.to_be_bytes());
        }
        -32..=-1 => out.push(number as u8),
        -128..=-33 => out.extend_from_slice(&[0xd0, number as u8]),
        -32768..=-129 => {
            out.push(0xd1);
            out.extend_from_slice(&(number as i16).to_be_bytes());
        }
        -2_147_483_648..=-32769 => {
            out.push(0xd2);
            out.extend_from_slice(&(number as i32).to_be_bytes());
        }
        _ => {
            out.push(0xd3);
            out.extend_from_slice(&number.to_be_bytes());
        }
    }
}

fn unpack(lua: &Lua, arguments: &Arguments) -> Returns {
    let text = arguments.string(lua, 0, "unpack")?;
    unpack_from(lua, arguments, &text.as_bytes(), None, 0)
}

fn unpack_one(lua: &Lua, arguments: &Arguments) -> Returns {
    let text = arguments.string(lua, 0, "unpack_one")?;
    let offset = arguments.number_or(lua, 1, "unpack_one", 0.0)? as i32;
    unpack_from(lua, arguments, &text.as_bytes(), Some(1), offset)
}

fn unpack_limit(lua: &Lua, arguments: &Arguments) -> Returns {
    let text = arguments.string(lua, 0, "unpack_limit")?;
    let limit = arguments.number(lua, 1, "unpack_limit")? as i32;
    let offset = arguments.number_or(lua, 2, "unpack_limit", 0.0)? as i32;
    unpack_from(lua, arguments, &text.as_bytes(), Some(limit), offset)
}

/// Unpacks values from `offset` on, up to `limit` of them. With a limit, the first result tells
/// where the next value begins, or -1.
fn unpack_from(
    lua: &Lua,
    arguments: &Arguments,
    text: &[u8],
    limit: Option<i32>,
    offset: i32,
) -> Returns {
    let len = text.len();
    let all = limit.unwrap_or(0);
    if offset < 0 || all < 0 {
        return Err(Fail::from(format!(
            "Invalid request to unpack with offset of {offset} and limit of {len}."
        )));
    }
    let offset = offset as usize;
    if offset > len {
        return Err(Fail::from(format!(
            "Start offset {offset} greater than input length {len}."
        )));
    }
    bounds::reading(len - offset)?;
    let mut unpacker = Unpacker {
        lua,
        rest: &text[offset..],
        held: arguments.len() + 1,
    };
    let mut values = MultiValue::new();
    while !unpacker.rest.is_empty() && (all == 0 || values.len() < all as usize) {
        values.push_back(unpacker.value(0)?);
        unpacker.held += 1;
        unpacker.check_held(0)?;
    }
    if limit.is_some() {
        let next = match unpacker.rest.len() {
            0 => -1,
            left => (len - left) as i64,
        };
        values.push_front(Value::Number(next as f64));
    }
    Ok(values)
}

struct Unpacker<'l, 't> {
    lua: &'l Lua,
    rest: &'t [u8],
    /// So many values are held besides the one that is being read.
    held: usize,
}

impl<'t> Unpacker<'_, 't> {
    fn bytes(&mut self, len: usize) -> Result<&'t [u8], Fail> {
        let (bytes, rest) = self
            .rest
            .split_at_checked(len)
            .ok_or(Fail::from("Missing bytes in input."))?;
        self.rest = rest;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Fail> {
        let bytes = self.bytes(N)?;
        Ok(bytes.try_into().expect("as many were taken"))
    }

    fn len(&mut self, bytes: usize) -> Result<usize, Fail> {
        let bytes = self.bytes(bytes)?;
        Ok(bytes
            .iter()
            .fold(0, |len, byte| len << 8 | usize::from(*byte)))
    }

    fn value(&mut self, depth: usize) -> Result<Value, Fail> {
        let [head] = self.array()?;
        Ok(match head {
            0x00..=0x7f => Value::Number(head.into()),
            0x80..=0x8f => self.map(usize::from(head & 15), depth)?,
            0x90..=0x9f => self.list(usize::from(head & 15), depth)?,
            0xa0..=0xbf => self.string(usize::from(head & 31))?,
            0xc0 => Value::Nil,
            0xc2 => Value::Boolean(false),
            0xc3 => Value::Boolean(true),
            0xca => Value::Number(f32::from_be_bytes(self.array()?).into()),
            0xcb => Value::Number(f64::from_be_bytes(self.array()?)),
            0xcc => Value::Number(u8::from_be_bytes(self.array()?).into()),
            0xcd => Value::Number(u16::from_be_bytes(self.array()?).into()),
            0xce => Value::Number(u32::from_be_bytes(self.array()?).into()),
            0xcf => Value::Number(u64::from_be_bytes(self.array()?) as f64),
            0xd0 => Value::Number(i8::from_be_bytes(self.array()?).into()),
            0xd1 => Value::Number(i16::from_be_bytes(self.array()?).into()),
            0xd2 => Value::Number(i32::from_be_bytes(self.array()?).into()),
            0xd3 => Value::Number(i64::from_be_bytes(self.array()?) as f64),
            0xc4 | 0xd9 => self.sized_string(1)?,
            0xc5 | 0xda => self.sized_string(2)?,
            0xc6 | 0xdb => self.sized_string(4)?,
            0xdc => self.sized_list(2, depth)?,
            0xdd => self.sized_list(4, depth)?,
            0xde => self.sized_map(2, depth)?,
            0xdf => self.sized_map(4, depth)?,
            0xe0..=0xff => Value::Number((head as i8).into()),
            _ => return Err(Fail::from("Bad data format in input.")),
        })
    }

    fn string(&mut self, len: usize) -> Result<Value, Fail> {
        let bytes = self.bytes(len)?;
        Ok(Value::String(self.lua.create_string(bytes)?))
    }

    fn sized_string(&mut self, bytes: usize) -> Result<Value, Fail> {
        let len = self.len(bytes)?;
        self.string(len)
    }

    fn sized_list(&mut self, bytes: usize, depth: usize) -> Result<Value, Fail> {
        let len = self.len(bytes)?;
        self.list(len, depth)
    }

    fn sized_map(&mut self, bytes: usize, depth: usize) -> Result<Value, Fail> {
        let len = self.len(bytes)?;
        self.map(len, depth)
    }

    fn list(&mut self, len: usize, depth: usize) -> Result<Value, Fail> {
        self.check_depth(depth)?;
        let table = self.lua.create_table()?;
        for at in 1..=len {
            let value = self.value(depth + 1)?;
            table.raw_set(at, value)?;
        }
        Ok(Value::Table(table))
    }

    fn map(&mut self, len: usize, depth: usize) -> Result<Value, Fail> {
        self.check_depth(depth)?;
        let table = self.lua.create_table()?;
        for _ in 0..len {
            let key = self.value(depth + 1)?;
            let value = self.value(depth + 1)?;
            if matches!(&key, Value::Nil) || matches!(&key, Value::Number(key) if key.is_nan()) {
                return Err(Fail::from("Bad data format in input."));
            }
            table.raw_set(key, value)?;
        }
        Ok(Value::Table(table))
    }

    fn check_depth(&self, depth: usize) -> Result<(), Fail> {
        if depth >= MAX_UNPACK_NESTING {
            return Err(bad_argument(0, "unpack", "too many nested values"));
        }
        self.check_held(depth)
    }

    /// Refuses to hold more values. A level of nesting holds a table and a key.
    fn check_held(&self, depth: usize) -> Result<(), Fail> {
        if self.held + 2 * depth < MAX_VALUES {
            return Ok(());
        }
        Err(Fail::from("too many results to unpack"))
    }
}
