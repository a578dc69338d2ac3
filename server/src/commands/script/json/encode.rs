//! Values of Lua to JSON.

use mlua::{Table, Value};

use super::{Config, Invalid, MAX_DEPTH};
use crate::commands::script::bounds;
use crate::commands::script::value::{Fail, ordered_len, type_name};

const BAD_KEY: &str = "table key must be a number or string";
/// So much of a string is written before the text's length is looked at again.
const PIECE_BYTES: usize = 1 << 16;

/// The text of a value.
pub(super) fn encode(value: &Value, config: &Config) -> Result<Vec<u8>, Fail> {
    let mut encoder = Encoder {
        config,
        out: Vec::new(),
    };
    encoder.put(value, 0)?;
    Ok(encoder.out)
}

struct Encoder<'c> {
    config: &'c Config,
    out: Vec<u8>,
}

fn cannot(value: &Value, why: &str) -> Fail {
    let kind = type_name(value);
    Fail::from(format!("Cannot serialise {kind}: {why}"))
}

/// Refuses keys that JSON does not have and that come in the order of their addresses. Which of
/// them an error names must not follow from that order.
fn check_keys(table: &Table) -> Result<(), Fail> {
    if ordered_len(table)?.is_some() {
        return Ok(());
    }
    let mut first: Option<Value> = None;
    for pair in table.pairs::<Value, Value>() {
        let key = pair?.0;
        let is_address = matches!(key, Value::Table(_) | Value::Function(_) | Value::Thread(_));
        let is_first = |first: &Value| type_name(&key) < type_name(first);
        if is_address && first.as_ref().is_none_or(is_first) {
            first = Some(key);
        }
    }
    let key = first.unwrap_or(Value::Nil);
    Err(cannot(&key, BAD_KEY))
}

impl Encoder<'_> {
    fn put(&mut self, value: &Value, depth: i32) -> Result<(), Fail> {
        bounds::element(self.out.len(), 0)?;
        match value {
            Value::String(text) => self.put_string(&text.as_bytes())?,
            Value::Integer(number) => self.put_number(*number as f64)?,
            Value::Number(number) => self.put_number(*number)?,
            Value::Boolean(true) => self.out.extend_from_slice(b"true"),
            Value::Boolean(false) => self.out.extend_from_slice(b"false"),
            Value::Nil => self.out.extend_from_slice(b"null"),
            Value::LightUserData(pointer) if pointer.0.is_null() => {
                self.out.extend_from_slice(b"null");
            }
            Value::Table(table) => self.put_table(table, depth + 1)?,
            other => return Err(cannot(other, "type not supported")),
        }
        Ok(())
    }

    fn put_table(&mut self, table: &Table, depth: i32) -> Result<(), Fail> {
        bounds::table()?;
        if depth > self.config.encode_depth.min(MAX_DEPTH) {
            let text = format!("Cannot serialise, excessive nesting ({depth})");
            return Err(Fail::from(text));
        }
        match self.array_len(table)? {
            Some(len) if len > 0 => self.put_array(table, len, depth),
            _ => self.put_object(table, depth),
        }
    }

    /// The last index of a table that is an array.
    fn array_len(&self, table: &Table) -> Result<Option<i64>, Fail> {
        let (mut max, mut items) = (0, 0);
        for pair in table.pairs::<Value, Value>() {
            let index = match pair?.0 {
                Value::Integer(index) => index,
                Value::Number(index) if index.trunc() == index => index as i64,
                _ => return Ok(None),
            };
            if index < 1 {
                return Ok(None);
            }
            max = max.max(index);
            items += 1;
        }
        let config = self.config;
        let ratio = i64::from(config.sparse_ratio);
        let is_sparse = ratio > 0
            && max > i64::saturating_mul(items, ratio)
            && max > i64::from(config.sparse_safe);
        match (is_sparse, config.sparse_convert) {
            (false, _) => Ok(Some(max)),
            (true, true) => Ok(None),
            (true, false) => {
                let table = Value::Table(table.clone());
                Err(cannot(&table, "excessively sparse array"))
            }
        }
    }

    fn put_array(&mut self, table: &Table, len: i64, depth: i32) -> Result<(), Fail> {
        self.out.push(b'[');
        for at in 1..=len {
            if at > 1 {
                self.out.push(b',');
            }
            let value: Value = table.raw_get(at)?;
            self.put(&value, depth)?;
        }
        self.out.push(b']');
        Ok(())
    }

    fn put_object(&mut self, table: &Table, depth: i32) -> Result<(), Fail> {
        check_keys(table)?;
        self.out.push(b'{');
        let mut is_first = true;
        for pair in table.pairs::<Value, Value>() {
            let (key, value) = pair?;
            if !std::mem::take(&mut is_first) {
                self.out.push(b',');
            }
            match &key {
                Value::String(text) => self.put_string(&text.as_bytes())?,
                Value::Integer(number) => self.put_key(*number as f64)?,
                Value::Number(number) => self.put_key(*number)?,
                other => {
                    return Err(cannot(other, BAD_KEY));
                }
            }
            self.out.push(b':');
            self.put(&value, depth)?;
        }
        self.out.push(b'}');
        Ok(())
    }

    fn put_key(&mut self, number: f64) -> Result<(), Fail> {
        self.out.push(b'"');
        self.put_number(number)?;
        self.out.push(b'"');
        Ok(())
    }

    fn put_number(&mut self, number: f64) -> Result<(), Fail> {
        if number.is_nan() || number.is_infinite() {
            match self.config.encode_invalid {
                Invalid::Refused => {
                    let number = Value::Number(number);
                    return Err(cannot(&number, "must not be NaN or Inf"));
                }
                Invalid::Null => self.out.extend_from_slice(b"null"),
                Invalid::Kept if number.is_nan() => self.out.extend_from_slice(b"nan"),
                Invalid::Kept if number > 0.0 => self.out.extend_from_slice(b"inf"),
                Invalid::Kept => self.out.extend_from_slice(b"-inf"),
            }
            return Ok(());
        }
        put_general(&mut self.out, number, self.config.precision as usize);
        Ok(())
    }

    fn put_string(&mut self, text: &[u8]) -> Result<(), Fail> {
        self.out.push(b'"');
        // A byte may take six, so the length is looked at more than once.
        for piece in text.chunks(PIECE_BYTES) {
            bounds::element(self.out.len(), piece.len())?;
            self.put_piece(piece);
        }
        self.out.push(b'"');
        Ok(())
    }

    fn put_piece(&mut self, mut piece: &[u8]) {
        let is_special = |byte: &u8| matches!(byte, 0..=31 | b'"' | b'\\' | b'/' | 127);
        while let Some(at) = piece.iter().position(is_special) {
            self.out.extend_from_slice(&piece[..at]);
            self.put_special(piece[at]);
            piece = &piece[at + 1..];
        }
        self.out.extend_from_slice(piece);
    }

    fn put_special(&mut self, byte: u8) {
        let letter = match byte {
            8 => b'b',
            9 => b't',
            10 => b'n',
            12 => b'f',
            13 => b'r',
            b'"' | b'\\' | b'/' => byte,
            _ => {
                let digit = |value: u8| b"0123456789abcdef"[usize::from(value)];
                let code = [b'\\', b'u', b'0', b'0', digit(byte >> 4), digit(byte & 15)];
                return self.out.extend_from_slice(&code);
            }
        };
        self.out.extend_from_slice(&[b'\\', letter]);
    }
}

/// A number as C's `%.<digits>g` writes it.
fn put_general(out: &mut Vec<u8>, number: f64, digits: usize) {
    if number == 0.0 {
        let zero: &[u8] = if number.is_sign_negative() {
            b"-0"
        } else {
            b"0"
        };
        return out.extend_from_slice(zero);
    }
    let scientific = format!("{number:.*e}", digits - 1);
    let (mantissa, exponent) = scientific
        .split_once('e')
        .expect("the scientific form has an exponent");
    let exponent: i32 = exponent.parse().expect("an exponent is a number");
    let trimmed = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    if exponent < -4 || exponent >= digits as i32 {
        let sign = if exponent < 0 { '-' } else { '+' };
        let exponent = exponent.unsigned_abs();
        let text = format!("{}e{sign}{exponent:02}", trimmed(mantissa));
        return out.extend_from_slice(text.as_bytes());
    }
    let behind_point = (digits as i32 - 1 - exponent).max(0) as usize;
    out.extend_from_slice(trimmed(&format!("{number:.behind_point$}")).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::put_general;

    #[test]
    fn numbers_look_as_c_prints_them() {
        for (number, digits, expected) in [
            (0.1, 14, "0.1"),
            (1e100, 14, "1e+100"),
            (12_345_678_901_234_567_890.0, 14, "1.2345678901235e+19"),
            (1e14, 14, "1e+14"),
            (99_999_999_999_999.0, 14, "99999999999999"),
            (999_999_999_999_999.9, 14, "1e+15"),
            (0.0001, 14, "0.0001"),
            (0.000_01, 14, "1e-05"),
            (-2.5, 14, "-2.5"),
            (1.0 / 3.0, 3, "0.333"),
            (123.0, 1, "1e+02"),
            (-0.0, 14, "-0"),
        ] {
            let mut out = Vec::new();
            put_general(&mut out, number, digits);
            assert_eq!(String::from_utf8_lossy(&out), expected);
        }
    }
}
