//! The library `cjson`: JSON as Redis's scripts know it.
//!
//! What a script sets with `encode_max_depth` and its like lasts for that script: what another one
//! sees must not depend on what ran before.

mod decode;
mod encode;
mod scan;

use mlua::{Lua, MultiValue, Table, Value};

use super::value::{Arguments, Fail, Returns, bad_argument, one, type_name};
use super::{api, bounds, current};

/// No text nests deeper, whatever a script has set: each level takes of the thread's stack.
const MAX_DEPTH: i32 = 1000;

/// What a script can set.
#[derive(Clone, Copy, Debug)]
pub(super) struct Config {
    /// A table with gaps becomes an object, not an error.
    sparse_convert: bool,
    /// A table has gaps if its last index is more than so many times the number of its elements...
    sparse_ratio: i32,
    /// ... and greater than this.
    sparse_safe: i32,
    encode_depth: i32,
    decode_depth: i32,
    /// Significant digits of numbers.
    precision: i32,
    encode_invalid: Invalid,
    decode_invalid: bool,
    keeps_buffer: bool,
}

/// What becomes of numbers that JSON does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Invalid {
    Refused,
    Kept,
    Null,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            sparse_convert: false,
            sparse_ratio: 2,
            sparse_safe: 10,
            encode_depth: 1000,
            decode_depth: 1000,
            precision: 14,
            encode_invalid: Invalid::Refused,
            decode_invalid: true,
            keeps_buffer: true,
        }
    }
}

fn with_config<R>(f: impl FnOnce(&mut Config) -> R) -> R {
    current::with(|running| f(&mut running.json))
}

/// `cjson`.
pub(super) fn library(lua: &Lua) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    api::add(
        lua,
        &table,
        &[
            ("encode", encode),
            ("decode", decode),
            ("encode_sparse_array", sparse_array),
            ("encode_max_depth", |lua, arguments| {
                limit(lua, arguments, "encode_max_depth", 1, i32::MAX, |config| {
                    &mut config.encode_depth
                })
            }),
            ("decode_max_depth", |lua, arguments| {
                limit(lua, arguments, "decode_max_depth", 1, i32::MAX, |config| {
                    &mut config.decode_depth
                })
            }),
            ("encode_number_precision", |lua, arguments| {
                limit(lua, arguments, "encode_number_precision", 1, 16, |config| {
                    &mut config.precision
                })
            }),
            ("encode_invalid_numbers", encode_invalid),
            ("decode_invalid_numbers", decode_invalid),
            ("encode_keep_buffer", keep_buffer),
        ],
    )?;
    table.raw_set("null", Value::NULL)?;
    table.raw_set("_NAME", "cjson")?;
    table.raw_set("_VERSION", "2.1.0")?;
    Ok(table)
}

fn encode(lua: &Lua, arguments: &Arguments) -> Returns {
    let (1, Some(value)) = (arguments.len(), arguments.get(0)) else {
        return Err(bad_argument(0, "encode", "expected 1 argument"));
    };
    let config = with_config(|config| *config);
    let text = encode::encode(value, &config)?;
    one(lua, lua.create_string(&text)?)
}

fn decode(lua: &Lua, arguments: &Arguments) -> Returns {
    if arguments.len() != 1 {
        return Err(bad_argument(0, "decode", "expected 1 argument"));
    }
    let text = arguments.string(lua, 0, "decode")?;
    bounds::reading(text.as_bytes().len())?;
    let config = with_config(|config| *config);
    let value = decode::decode(lua, &text.as_bytes(), &config)?;
    Ok(MultiValue::from_vec(vec![value]))
}

/// Argument `at` as an integer of a range, if it is there and not nil.
fn integer(
    lua: &Lua,
    arguments: &Arguments,
    at: usize,
    name: &str,
    range: std::ops::RangeInclusive<i32>,
) -> Result<Option<i32>, Fail> {
    if matches!(arguments.get(at), None | Some(Value::Nil)) {
        return Ok(None);
    }
    let number = arguments.number(lua, at, name)?;
    let (start, end) = (*range.start(), *range.end());
    if number < f64::from(start) || number > f64::from(end) {
        let what = format!("expected integer between {start} and {end}");
        return Err(bad_argument(at, name, &what));
    }
    Ok(Some(number as i32))
}

/// Argument `at` as true or false, if it is there and not nil.
fn boolean(arguments: &Arguments, at: usize, name: &str) -> Result<Option<bool>, Fail> {
    match arguments.get(at) {
        None | Some(Value::Nil) => Ok(None),
        Some(Value::Boolean(value)) => Ok(Some(*value)),
        Some(Value::String(text)) => match &*text.as_bytes() {
            b"on" => Ok(Some(true)),
            b"off" => Ok(Some(false)),
            text => {
                let text = String::from_utf8_lossy(text);
                Err(bad_argument(at, name, &format!("invalid option '{text}'")))
            }
        },
        Some(value) => {
            let what = format!("string expected, got {}", type_name(value));
            Err(bad_argument(at, name, &what))
        }
    }
}

fn too_many(arguments: &Arguments, max: usize) -> Result<(), Fail> {
    if arguments.len() > max {
        return Err(Fail::from("found too many arguments"));
    }
    Ok(())
}

fn limit(
    lua: &Lua,
    arguments: &Arguments,
    name: &str,
    min: i32,
    max: i32,
    setting: fn(&mut Config) -> &mut i32,
) -> Returns {
    too_many(arguments, 1)?;
    let given = integer(lua, arguments, 0, name, min..=max)?;
    let value = with_config(|config| {
        let setting = setting(config);
        *setting = given.unwrap_or(*setting);
        *setting
    });
    one(lua, value)
}

fn sparse_array(lua: &Lua, arguments: &Arguments) -> Returns {
    const NAME: &str = "encode_sparse_array";
    too_many(arguments, 3)?;
    let convert = boolean(arguments, 0, NAME)?;
    let ratio = integer(lua, arguments, 1, NAME, 0..=i32::MAX)?;
    let safe = integer(lua, arguments, 2, NAME, 0..=i32::MAX)?;
    let (convert, ratio, safe) = with_config(|config| {
        config.sparse_convert = convert.unwrap_or(config.sparse_convert);
        config.sparse_ratio = ratio.unwrap_or(config.sparse_ratio);
        config.sparse_safe = safe.unwrap_or(config.sparse_safe);
        (
            config.sparse_convert,
            config.sparse_ratio,
            config.sparse_safe,
        )
    });
    Ok(MultiValue::from_vec(vec![
        Value::Boolean(convert),
        Value::Number(ratio.into()),
        Value::Number(safe.into()),
    ]))
}

fn encode_invalid(lua: &Lua, arguments: &Arguments) -> Returns {
    too_many(arguments, 1)?;
    let given = match arguments.get(0) {
        Some(Value::String(text)) if *text.as_bytes() == *b"null" => Some(Invalid::Null),
        _ => boolean(arguments, 0, "encode_invalid_numbers")?.map(|kept| {
            if kept {
                Invalid::Kept
            } else {
                Invalid::Refused
            }
        }),
    };
    let invalid = with_config(|config| {
        config.encode_invalid = given.unwrap_or(config.encode_invalid);
        config.encode_invalid
    });
    match invalid {
        Invalid::Refused => one(lua, false),
        Invalid::Kept => one(lua, true),
        Invalid::Null => one(lua, "null"),
    }
}

fn decode_invalid(lua: &Lua, arguments: &Arguments) -> Returns {
    too_many(arguments, 1)?;
    let given = boolean(arguments, 0, "decode_invalid_numbers")?;
    let kept = with_config(|config| {
        config.decode_invalid = given.unwrap_or(config.decode_invalid);
        config.decode_invalid
    });
    one(lua, kept)
}

/// There is no buffer to keep; the setting is remembered.
fn keep_buffer(lua: &Lua, arguments: &Arguments) -> Returns {
    too_many(arguments, 1)?;
    let given = boolean(arguments, 0, "encode_keep_buffer")?;
    let kept = with_config(|config| {
        config.keeps_buffer = given.unwrap_or(config.keeps_buffer);
        config.keeps_buffer
    });
    one(lua, kept)
}
