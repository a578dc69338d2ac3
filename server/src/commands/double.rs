//! Arguments to doubles, as C's `strtod` reads them, which is what Redis uses.
//!
//! Two readers. [`double`] takes nothing but a number from the first byte to the last: scores,
//! increments, weights, coordinates. [`loose_double`] reads the ends of score ranges, for which
//! Redis hands the text to `strtod` as it is: blanks before the number, nothing at all (0), and
//! anything behind a NUL byte are let through, and so are numbers that are too large or too small.
//!
//! Neither lets NaN through. Hexadecimal numbers are exact up to 60 bits, the sixty-first and those
//! behind it only decide how the last bit is rounded.

use super::CommandError;

/// A number, and nothing else. Infinity must be spelled out, not the result of an overflow.
pub(super) fn double(arg: &[u8]) -> Result<f64, CommandError> {
    read(arg)
        .filter(|number| !number.is_out_of_range)
        .map(|number| number.value)
        .ok_or(CommandError::NotFloat)
}

/// A number as the end of a range may be written; `None` if it is none.
pub(super) fn loose_double(arg: &[u8]) -> Option<f64> {
    let arg = arg.split(|&byte| byte == 0).next().unwrap_or_default();
    if arg.is_empty() {
        return Some(0.0);
    }
    read(without_blanks(arg)?).map(|number| number.value)
}

/// What SORT sorts by: as [`loose_double`], but a number that is too large or too small is none.
pub(super) fn sort_weight(arg: &[u8]) -> Option<f64> {
    let arg = arg.split(|&byte| byte == 0).next().unwrap_or_default();
    if arg.is_empty() {
        return Some(0.0);
    }
    let number = read(without_blanks(arg)?)?;
    (!number.is_out_of_range).then_some(number.value)
}

/// The text from its first byte on that is no blank, if there is one.
fn without_blanks(text: &[u8]) -> Option<&[u8]> {
    // 11 is the vertical tab, which Rust does not count among the blanks.
    let is_blank = |byte: &u8| byte.is_ascii_whitespace() || *byte == 11;
    let start = text.iter().position(|byte| !is_blank(byte))?;
    Some(&text[start..])
}

struct Number {
    value: f64,
    /// The text says something else than infinity or zero, which is what came out.
    is_out_of_range: bool,
}

/// Reads all of `text`; `None` if that is no number, or NaN.
fn read(text: &[u8]) -> Option<Number> {
    let (negative, digits) = match text.first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (value, is_out_of_range) = match digits {
        [b'0', b'x' | b'X', hex @ ..] => read_hex(hex)?,
        _ if is_infinity(digits) => (f64::INFINITY, false),
        [b'0'..=b'9' | b'.', ..] => read_decimal(digits)?,
        _ => return None,
    };
    Some(Number {
        value: if negative { -value } else { value },
        is_out_of_range,
    })
}

fn is_infinity(text: &[u8]) -> bool {
    text.eq_ignore_ascii_case(b"inf") || text.eq_ignore_ascii_case(b"infinity")
}

fn read_decimal(text: &[u8]) -> Option<(f64, bool)> {
    let value: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    let mantissa = text.split(|byte| byte.eq_ignore_ascii_case(&b'e')).next()?;
    let is_zero = !mantissa.iter().any(|byte| (b'1'..=b'9').contains(byte));
    Some((value, value.is_infinite() || (value == 0.0 && !is_zero)))
}

fn read_hex(text: &[u8]) -> Option<(f64, bool)> {
    let mark = text
        .iter()
        .position(|byte| byte.eq_ignore_ascii_case(&b'p'));
    let (mantissa, exponent) = match mark {
        Some(at) => (&text[..at], read_exponent(&text[at + 1..])?),
        None => (text, 0),
    };
    let (mut bits, mut scale, mut has_point, mut has_digit) = (0u64, exponent, false, false);
    for &byte in mantissa {
        if byte == b'.' && !has_point {
            has_point = true;
            continue;
        }
        let digit = u64::from((byte as char).to_digit(16)?);
        has_digit = true;
        if bits >> 60 == 0 {
            bits = bits << 4 | digit;
            scale -= if has_point { 4 } else { 0 };
        } else {
            bits |= u64::from(digit != 0);
            scale += if has_point { 0 } else { 4 };
        }
    }
    if !has_digit {
        return None;
    }
    let value = scaled(bits as f64, scale);
    Some((value, value.is_infinite() || (value == 0.0 && bits != 0)))
}

/// `value * 2^exponent`, in steps that neither overflow nor underflow on the way.
fn scaled(mut value: f64, mut exponent: i64) -> f64 {
    const STEP: i64 = 1000;
    while exponent.abs() > STEP && value != 0.0 && value.is_finite() {
        let step = STEP * exponent.signum();
        value *= 2f64.powi(step as i32);
        exponent -= step;
    }
    value * 2f64.powi(exponent.clamp(-STEP, STEP) as i32)
}

/// An exponent in decimal digits. It is cut off beyond every range, so that sums with it and the
/// length of a text cannot overflow.
pub(super) fn read_exponent(text: &[u8]) -> Option<i64> {
    const MAX: i64 = 1_000_000_000;
    let (sign, digits) = match text.first()? {
        b'-' => (-1, &text[1..]),
        b'+' => (1, &text[1..]),
        _ => (1, text),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let grow = |sum: i64, digit: &u8| (sum * 10 + i64::from(digit - b'0')).min(MAX);
    Some(sign * digits.iter().fold(0, grow))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_strtod_does() {
        for (text, expected) in [
            ("0", 0.0),
            ("-1.5", -1.5),
            ("+3", 3.0),
            (".5", 0.5),
            ("5.", 5.0),
            ("1e3", 1000.0),
            ("1E-2", 0.01),
            ("0e999", 0.0),
            ("1e-320", 1e-320),
            ("inf", f64::INFINITY),
            ("-Infinity", f64::NEG_INFINITY),
            ("+INF", f64::INFINITY),
            ("0x10", 16.0),
            ("-0X.8p1", -1.0),
            ("0x1.fffffffffffff8p0", 2.0),
            ("0x1.00000000000008p0", 1.0),
            ("0x1.000000000000080000000001p0", 1.0 + f64::EPSILON),
            ("0x1p-1074", 5e-324),
            ("0x0p99999", 0.0),
        ] {
            assert_eq!(double(text.as_bytes()), Ok(expected), "{text}");
        }
        assert!(double(b"-0").is_ok_and(f64::is_sign_negative));
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in [
            "",
            "-",
            "+",
            ".",
            "e5",
            "1e",
            "1e+",
            "1.2.3",
            " 1",
            "1 ",
            "1,5",
            "nan",
            "-nan",
            "0x",
            "0x.",
            "0xg",
            "--1",
            "+-1",
            "in",
            "infinit",
            "0x1p",
            "1_0",
            "1e400",
            "-1e400",
            "1e-400",
            "0x1p9999",
            "0x1p-9999",
            "1\0",
        ] {
            let refused = Err(CommandError::NotFloat);
            assert_eq!(double(text.as_bytes()), refused, "{text:?}");
        }
    }

    #[test]
    fn the_end_of_a_range_is_read_loosely() {
        for (text, expected) in [
            ("", Some(0.0)),
            ("\0x", Some(0.0)),
            ("1\0x", Some(1.0)),
            (" \t\n\x0b2", Some(2.0)),
            ("1e400", Some(f64::INFINITY)),
            ("-1e400", Some(f64::NEG_INFINITY)),
            ("1e-400", Some(0.0)),
            (" ", None),
            ("2 ", None),
            ("nan", None),
            ("x", None),
        ] {
            assert_eq!(loose_double(text.as_bytes()), expected, "{text:?}");
        }
    }
}
