//! JSON to values of Lua.

use mlua::{Lua, Table, Value};

use super::scan::{Kind, Scanner, Token};
use super::{Config, MAX_DEPTH};
use crate::commands::script::value::Fail;

/// The value of a text.
pub(super) fn decode(lua: &Lua, text: &[u8], config: &Config) -> Result<Value, Fail> {
    if text.len() >= 2 && (text[0] == 0 || text[1] == 0) {
        return Err(Fail::from("JSON parser does not support UTF-16 or UTF-32"));
    }
    let scanner = Scanner {
        text,
        at: 0,
        config,
    };
    let mut decoder = Decoder {
        lua,
        scanner,
        depth: 0,
    };
    let first = decoder.scanner.next();
    let value = decoder.value(first)?;
    let last = decoder.scanner.next();
    if last.kind != Kind::End {
        return Err(expected("the end", &last));
    }
    Ok(value)
}

struct Decoder<'l, 't> {
    lua: &'l Lua,
    scanner: Scanner<'t>,
    depth: i32,
}

fn expected(what: &str, found: &Token) -> Fail {
    let (name, at) = (found.kind.name(), found.at + 1);
    Fail::from(format!(
        "Expected {what} but found {name} at character {at}"
    ))
}

impl Decoder<'_, '_> {
    fn value(&mut self, token: Token) -> Result<Value, Fail> {
        Ok(match token.kind {
            Kind::String(bytes) => Value::String(self.lua.create_string(&bytes)?),
            Kind::Number(number) => Value::Number(number),
            Kind::Boolean(value) => Value::Boolean(value),
            Kind::Null => Value::NULL,
            Kind::ObjectBegin => Value::Table(self.object()?),
            Kind::ArrayBegin => Value::Table(self.array()?),
            _ => return Err(expected("value", &token)),
        })
    }

    fn descend(&mut self) -> Result<(), Fail> {
        self.depth += 1;
        if self.depth > self.scanner.config.decode_depth.min(MAX_DEPTH) {
            let (depth, at) = (self.depth, self.scanner.at);
            return Err(Fail::from(format!(
                "Found too many nested data structures ({depth}) at character {at}"
            )));
        }
        Ok(())
    }

    fn object(&mut self) -> Result<Table, Fail> {
        self.descend()?;
        let table = self.lua.create_table()?;
        let mut token = self.scanner.next();
        if token.kind == Kind::ObjectEnd {
            self.depth -= 1;
            return Ok(table);
        }
        loop {
            let Kind::String(key) = token.kind else {
                return Err(expected("object key string", &token));
            };
            let colon = self.scanner.next();
            if colon.kind != Kind::Colon {
                return Err(expected("colon", &colon));
            }
            let first = self.scanner.next();
            let value = self.value(first)?;
            table.raw_set(self.lua.create_string(&key)?, value)?;
            token = self.scanner.next();
            match token.kind {
                Kind::ObjectEnd => {
                    self.depth -= 1;
                    return Ok(table);
                }
                Kind::Comma => token = self.scanner.next(),
                _ => return Err(expected("comma or object end", &token)),
            }
        }
    }

    fn array(&mut self) -> Result<Table, Fail> {
        self.descend()?;
        let table = self.lua.create_table()?;
        let mut token = self.scanner.next();
        if token.kind == Kind::ArrayEnd {
            self.depth -= 1;
            return Ok(table);
        }
        for at in 1.. {
            let value = self.value(token)?;
            table.raw_set(at, value)?;
            token = self.scanner.next();
            match token.kind {
                Kind::ArrayEnd => break,
                Kind::Comma => token = self.scanner.next(),
                _ => return Err(expected("comma or array end", &token)),
            }
        }
        self.depth -= 1;
        Ok(table)
    }
}
