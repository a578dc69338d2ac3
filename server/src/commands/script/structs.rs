//! The library `struct`: numbers and strings packed as a format says.
//!
//! The format is a row of letters: `>` `<` `=` choose the order of bytes, `!n` an alignment; `b`
//! `B` `h` `H` `l` `L` `T` `i[n]` `I[n]` are integers, `f` `d` floating, `x` a byte of padding, `s`
//! a string that ends with a zero, `c[n]` one of n bytes (`c0`: all of it, or as many as the last
//! number says).

use mlua::{Lua, MultiValue, Table, Value};

use super::bounds::MAX_VALUES;
use super::value::{Arguments, Fail, Returns, bad_argument, one};
use super::{api, bounds};

/// Integers have at most so many bytes.
const MAX_INTEGER_BYTES: usize = 32;
/// The alignment that `!` alone stands for.
const NATIVE_ALIGNMENT: usize = 8;

/// `struct`.
pub(super) fn library(lua: &Lua) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    api::add(
        lua,
        &table,
        &[("pack", pack), ("unpack", unpack), ("size", size)],
    )?;
    Ok(table)
}

/// A format while it is read.
struct Format<'f> {
    text: &'f [u8],
    at: usize,
    is_little: bool,
    alignment: usize,
}

impl<'f> Format<'f> {
    fn new(text: &'f [u8]) -> Self {
        Self {
            text,
            at: 0,
            is_little: true,
            alignment: 1,
        }
    }

    fn next(&mut self) -> Option<u8> {
        let option = self.text.get(self.at).copied()?;
        self.at += 1;
        Some(option)
    }

    /// The digits that follow, or `default`.
    fn number(&mut self, default: usize) -> Result<usize, Fail> {
        if !self.text.get(self.at).is_some_and(u8::is_ascii_digit) {
            return Ok(default);
        }
        let mut number: usize = 0;
        while let Some(digit @ b'0'..=b'9') = self.text.get(self.at) {
            let digit = usize::from(digit - b'0');
            if number > i32::MAX as usize / 10 || number * 10 > i32::MAX as usize - digit {
                return Err(Fail::from("integral size overflow"));
            }
            number = number * 10 + digit;
            self.at += 1;
        }
        Ok(number)
    }

    /// The size of what an option stands for.
    fn size(&mut self, option: u8) -> Result<usize, Fail> {
        Ok(match option {
            b'B' | b'b' | b'x' => 1,
            b'H' | b'h' => 2,
            b'L' | b'l' | b'T' | b'd' => 8,
            b'f' => 4,
            b'c' => self.number(1)?,
            b'i' | b'I' => {
                let size = self.number(4)?;
                if size > MAX_INTEGER_BYTES {
                    return Err(Fail::from(format!(
                        "integral size {size} is larger than limit of {MAX_INTEGER_BYTES}"
                    )));
                }
                size
            }
            _ => 0,
        })
    }

    /// How many bytes stand before something of this size, for it to be aligned.
    fn padding(&self, len: usize, option: u8, size: usize) -> usize {
        if size == 0 || option == b'c' {
            return 0;
        }
        let alignment = size.min(self.alignment);
        if alignment < 2 {
            return 0;
        }
        (alignment - (len & (alignment - 1))) & (alignment - 1)
    }

    /// Takes an option that is about the format itself.
    fn control(&mut self, option: u8, name: &str) -> Result<(), Fail> {
        match option {
            b' ' => {}
            b'>' => self.is_little = false,
            b'<' | b'=' => self.is_little = true,
            b'!' => {
                let alignment = self.number(NATIVE_ALIGNMENT)?;
                if !alignment.is_power_of_two() {
                    let text = format!("alignment {alignment} is not a power of 2");
                    return Err(Fail::from(text));
                }
                self.alignment = alignment;
            }
            _ => {
                let option = char::from(option);
                let what = format!("invalid format option '{option}'");
                return Err(bad_argument(0, name, &what));
            }
        }
        Ok(())
    }
}

fn pack(lua: &Lua, arguments: &Arguments) -> Returns {
    let text = arguments.string(lua, 0, "pack")?.as_bytes().to_vec();
    let mut format = Format::new(&text);
    let (mut out, mut at) = (Vec::new(), 1);
    bounds::reading(text.len())?;
    while let Some(option) = format.next() {
        let size = format.size(option)?;
        out.resize(out.len() + format.padding(out.len(), option, size), 0);
        match option {
            b'b' | b'B' | b'h' | b'H' | b'l' | b'L' | b'T' | b'i' | b'I' => {
                let number = number(lua, arguments, at)?;
                put_integer(&mut out, number, size, format.is_little);
                at += 1;
            }
            b'x' => out.push(0),
            b'f' => {
                let bytes = (number(lua, arguments, at)? as f32).to_le_bytes();
                put_ordered(&mut out, &bytes, format.is_little);
                at += 1;
            }
            b'd' => {
                let bytes = number(lua, arguments, at)?.to_le_bytes();
                put_ordered(&mut out, &bytes, format.is_little);
                at += 1;
            }
            b'c' | b's' => {
                let text = string(lua, arguments, at)?;
                let text = text.as_bytes();
                bounds::element(out.len(), text.len())?;
                let size = if size == 0 { text.len() } else { size };
                if text.len() < size {
                    return Err(bad_argument(at + 1, "pack", "string too short"));
                }
                out.extend_from_slice(&text[..size]);
                if option == b's' {
                    out.push(0);
                }
                at += 1;
            }
            _ => format.control(option, "pack")?,
        }
    }
    one(lua, lua.create_string(&out)?)
}

/// What is not there counts as nil here.
fn number(lua: &Lua, arguments: &Arguments, at: usize) -> Result<f64, Fail> {
    if arguments.get(at).is_none() {
        return Err(bad_argument(at, "pack", "number expected, got nil"));
    }
    arguments.number(lua, at, "pack")
}

fn string(lua: &Lua, arguments: &Arguments, at: usize) -> Result<mlua::String, Fail> {
    if arguments.get(at).is_none() {
        return Err(bad_argument(at, "pack", "string expected, got nil"));
    }
    arguments.string(lua, at, "pack")
}

fn put_integer(out: &mut Vec<u8>, number: f64, size: usize, is_little: bool) {
    // Negative numbers are those of 64 bits with a sign.
    let value = if number < 0.0 {
        super::convert::truncated(number) as u64
    } else {
        number as u64
    };
    let mut bytes = [0u8; MAX_INTEGER_BYTES];
    bytes[..8].copy_from_slice(&value.to_le_bytes());
    put_ordered(out, &bytes[..size], is_little);
}

fn put_ordered(out: &mut Vec<u8>, little: &[u8], is_little: bool) {
    if is_little {
        out.extend_from_slice(little);
    } else {
        out.extend(little.iter().rev());
    }
}

fn unpack(lua: &Lua, arguments: &Arguments) -> Returns {
    const NAME: &str = "unpack";
    let text = arguments.string(lua, 0, NAME)?.as_bytes().to_vec();
    let data = arguments.string(lua, 1, NAME)?;
    let data = data.as_bytes();
    let start = arguments.number_or(lua, 2, NAME, 1.0)?;
    // Nothing that is compared with is no number.
    if start.is_nan() || start < 1.0 {
        return Err(bad_argument(2, NAME, "offset must be 1 or greater"));
    }
    let too_short = || bad_argument(1, NAME, "data string too short");
    bounds::reading(text.len())?;
    let mut format = Format::new(&text);
    let mut at = (start as usize) - 1;
    let mut values: Vec<Value> = Vec::new();
    while let Some(option) = format.next() {
        if arguments.len() + values.len() + 1 >= MAX_VALUES {
            return Err(Fail::from("too many results to unpack"));
        }
        let mut size = format.size(option)?;
        at = at.saturating_add(format.padding(at, option, size));
        let end = at.checked_add(size).ok_or_else(too_short)?;
        let bytes = data.get(at..end).ok_or_else(too_short)?;
        match option {
            b'b' | b'B' | b'h' | b'H' | b'l' | b'L' | b'T' | b'i' | b'I' => {
                let is_signed = option.is_ascii_lowercase();
                let number = take_integer(bytes, format.is_little, is_signed);
                values.push(Value::Number(number));
            }
            b'x' => {}
            b'f' => {
                let bytes = ordered::<4>(bytes, format.is_little);
                values.push(Value::Number(f32::from_le_bytes(bytes).into()));
            }
            b'd' => {
                let bytes = ordered::<8>(bytes, format.is_little);
                values.push(Value::Number(f64::from_le_bytes(bytes)));
            }
            b'c' => {
                if size == 0 {
                    size = match values.pop() {
                        Some(Value::Number(len)) if len >= 0.0 => len as usize,
                        _ => {
                            let text = "format 'c0' needs a previous size";
                            return Err(Fail::from(text));
                        }
                    };
                }
                let end = at.checked_add(size).ok_or_else(too_short)?;
                let bytes = data.get(at..end).ok_or_else(too_short)?;
                values.push(Value::String(lua.create_string(bytes)?));
            }
            b's' => {
                let len = data[at..].iter().position(|byte| *byte == 0);
                let len = len.ok_or(Fail::from("unfinished string in data"))?;
                values.push(Value::String(lua.create_string(&data[at..at + len])?));
                size = len + 1;
            }
            _ => format.control(option, NAME)?,
        }
        at += size;
    }
    values.push(Value::Number((at + 1) as f64));
    Ok(MultiValue::from_vec(values))
}

fn ordered<const N: usize>(bytes: &[u8], is_little: bool) -> [u8; N] {
    let mut little: [u8; N] = bytes.try_into().expect("as many bytes as the format says");
    if !is_little {
        little.reverse();
    }
    little
}

/// Of the bytes, those that fit into 64 bits count.
fn take_integer(bytes: &[u8], is_little: bool, is_signed: bool) -> f64 {
    let mut little = bytes.to_vec();
    if !is_little {
        little.reverse();
    }
    let mut value: u64 = 0;
    for (at, byte) in little.iter().enumerate().take(8) {
        value |= u64::from(*byte) << (8 * at);
    }
    if !is_signed {
        return value as f64;
    }
    let bits = 8 * bytes.len();
    if (1..64).contains(&bits) {
        let unused = 64 - bits;
        return ((value << unused) as i64 >> unused) as f64;
    }
    value as i64 as f64
}

fn size(lua: &Lua, arguments: &Arguments) -> Returns {
    let text = arguments.string(lua, 0, "size")?.as_bytes().to_vec();
    let mut format = Format::new(&text);
    let mut total: usize = 0;
    bounds::reading(text.len())?;
    while let Some(option) = format.next() {
        let size = format.size(option)?;
        total = total.saturating_add(format.padding(total, option, size));
        match option {
            b's' => {
                return Err(bad_argument(0, "size", "option 's' has no fixed size"));
            }
            b'c' if size == 0 => {
                return Err(bad_argument(0, "size", "option 'c0' has no fixed size"));
            }
            option if option.is_ascii_alphabetic() && size > 0 => {}
            option => format.control(option, "size")?,
        }
        total = total.saturating_add(size);
    }
    one(lua, total)
}
