//! The library `bit`: operations on the low 32 bits of numbers.

use mlua::{Lua, Table};

use super::api;
use super::value::{Arguments, Fail, Returns, one};

/// `bit`.
pub(super) fn library(lua: &Lua) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    api::add(
        lua,
        &table,
        &[
            ("tobit", |lua, given| {
                one(lua, bits(lua, given, 0, "tobit")?)
            }),
            ("bnot", |lua, given| one(lua, !bits(lua, given, 0, "bnot")?)),
            ("band", |lua, given| fold(lua, given, "band", |a, b| a & b)),
            ("bor", |lua, given| fold(lua, given, "bor", |a, b| a | b)),
            ("bxor", |lua, given| fold(lua, given, "bxor", |a, b| a ^ b)),
            ("lshift", |lua, given| {
                shift(lua, given, "lshift", |a, by| a.wrapping_shl(by))
            }),
            ("rshift", |lua, given| {
                shift(lua, given, "rshift", |a, by| {
                    (a as u32).wrapping_shr(by) as i32
                })
            }),
            ("arshift", |lua, given| {
                shift(lua, given, "arshift", |a, by| a.wrapping_shr(by))
            }),
            ("rol", |lua, given| {
                shift(lua, given, "rol", |a, by| a.rotate_left(by & 31))
            }),
            ("ror", |lua, given| {
                shift(lua, given, "ror", |a, by| a.rotate_right(by & 31))
            }),
            ("bswap", |lua, given| {
                one(lua, bits(lua, given, 0, "bswap")?.swap_bytes())
            }),
            ("tohex", tohex),
        ],
    )?;
    Ok(table)
}

/// The low 32 bits of an argument, which is rounded, halves to the even side.
fn bits(lua: &Lua, given: &Arguments, at: usize, name: &str) -> Result<i32, Fail> {
    let number = given.number(lua, at, name)?;
    Ok(low_bits(number))
}

fn low_bits(number: f64) -> i32 {
    if !number.is_finite() {
        return 0;
    }
    let rest = number.round_ties_even().rem_euclid(4_294_967_296.0);
    rest as u32 as i32
}

fn fold(lua: &Lua, given: &Arguments, name: &str, with: fn(i32, i32) -> i32) -> Returns {
    let mut result = bits(lua, given, 0, name)?;
    for at in 1..given.len() {
        result = with(result, bits(lua, given, at, name)?);
    }
    one(lua, result)
}

fn shift(lua: &Lua, given: &Arguments, name: &str, with: fn(i32, u32) -> i32) -> Returns {
    let (value, by) = (bits(lua, given, 0, name)?, bits(lua, given, 1, name)?);
    one(lua, with(value, by as u32))
}

/// Hexadecimal digits: as many as argument 2 says, in capitals if it is negative.
fn tohex(lua: &Lua, given: &Arguments) -> Returns {
    let value = bits(lua, given, 0, "tohex")? as u32;
    let digits = match given.get(1) {
        None => 8,
        Some(_) => bits(lua, given, 1, "tohex")?,
    };
    let text = if digits < 0 {
        format!("{value:08X}")
    } else {
        format!("{value:08x}")
    };
    let wanted = digits.unsigned_abs().min(8) as usize;
    one(lua, &text[8 - wanted..])
}

#[cfg(test)]
mod tests {
    use super::low_bits;

    #[test]
    fn numbers_wrap_at_32_bits() {
        assert_eq!(low_bits(4_294_967_295.0), -1);
        assert_eq!(low_bits(-1.0), -1);
        assert_eq!(low_bits(1.5), 2);
        assert_eq!(low_bits(2.5), 2);
        assert_eq!(low_bits(4_294_967_297.0), 1);
    }
}
