//! What functions of ours get from scripts, and give back.

use std::borrow::Cow;

use mlua::{Function, IntoLua, Lua, MultiValue, Table, Value};

use super::raw::{guarded, note_memory};

/// Why a function of ours does not return.
pub(super) enum Fail {
    /// An error; the place of the call is put in front of the text.
    Text(Cow<'static, str>),
    /// An error as it is.
    Value(Value),
    /// Lua could not do something, which means that memory has run out.
    Lua(mlua::Error),
}

impl From<mlua::Error> for Fail {
    fn from(error: mlua::Error) -> Self {
        Self::Lua(error)
    }
}

impl From<&'static str> for Fail {
    fn from(text: &'static str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Fail {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

pub(super) type Returns = Result<MultiValue, Fail>;

/// A function of ours, as scripts call it.
pub(super) fn function(
    lua: &Lua,
    run: impl Fn(&Lua, &Arguments) -> Returns + 'static,
) -> mlua::Result<Function> {
    let inner = lua.create_function(move |lua, values: MultiValue| {
        let mut values = match run(lua, &Arguments(values)) {
            Ok(values) => {
                let mut values = values;
                values.push_front(Value::Boolean(true));
                return Ok(values);
            }
            Err(Fail::Lua(error)) => {
                // A handler of the script's may hide the error.
                if matches!(error, mlua::Error::MemoryError(_)) {
                    note_memory();
                }
                return Err(error);
            }
            Err(Fail::Value(value)) => MultiValue::from_vec(vec![value]),
            Err(Fail::Text(text)) => MultiValue::from_vec(vec![(&*text).into_lua(lua)?]),
        };
        values.push_front(Value::Boolean(false));
        Ok(values)
    })?;
    guarded(lua, inner)
}

/// One result.
pub(super) fn one(lua: &Lua, value: impl IntoLua) -> Returns {
    Ok(MultiValue::from_vec(vec![value.into_lua(lua)?]))
}

/// The text of a refusal to say something in an order that is that of addresses.
pub(super) const NO_ORDER: &str =
    "a table with tables or functions as keys has no order that replicas agree on";

/// How many pairs a table has, if their order is the same on every replica.
pub(super) fn ordered_len(table: &Table) -> mlua::Result<Option<usize>> {
    let mut len = 0;
    for pair in table.pairs::<Value, Value>() {
        match pair?.0 {
            Value::Table(_) | Value::Function(_) | Value::Thread(_) | Value::UserData(_) => {
                return Ok(None);
            }
            _ => len += 1,
        }
    }
    Ok(Some(len))
}

/// The arguments of a call. Numbers in errors count from 1.
pub(super) struct Arguments(MultiValue);

impl Arguments {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn get(&self, at: usize) -> Option<&Value> {
        self.0.get(at)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Value> {
        self.0.iter()
    }

    /// Argument `at` as a string, which a number is too.
    pub(super) fn string(&self, lua: &Lua, at: usize, name: &str) -> Result<mlua::String, Fail> {
        match self.get(at) {
            Some(Value::String(string)) => Ok(string.clone()),
            Some(Value::Number(_) | Value::Integer(_)) => {
                let string = lua.coerce_string(self.0[at].clone())?;
                Ok(string.expect("a number has a text"))
            }
            other => Err(bad_type(at, name, "string", other)),
        }
    }

    /// Argument `at` as a number, which a string of digits is too.
    pub(super) fn number(&self, lua: &Lua, at: usize, name: &str) -> Result<f64, Fail> {
        match self.get(at) {
            Some(Value::Number(number)) => Ok(*number),
            Some(Value::Integer(number)) => Ok(*number as f64),
            Some(Value::String(_)) => {
                let number = lua.coerce_number(self.0[at].clone())?;
                number.ok_or_else(|| bad_type(at, name, "number", self.get(at)))
            }
            other => Err(bad_type(at, name, "number", other)),
        }
    }

    /// As [`Arguments::number`], or `default` if it is nil or not there.
    pub(super) fn number_or(
        &self,
        lua: &Lua,
        at: usize,
        name: &str,
        default: f64,
    ) -> Result<f64, Fail> {
        match self.get(at) {
            None | Some(Value::Nil) => Ok(default),
            Some(_) => self.number(lua, at, name),
        }
    }
}

/// Lua's name of a value's type.
pub(super) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Nil => "nil",
        Value::Boolean(_) => "boolean",
        Value::Integer(_) | Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Table(_) => "table",
        Value::Function(_) => "function",
        Value::Thread(_) => "thread",
        _ => "userdata",
    }
}

/// What Lua says of an argument.
pub(super) fn bad_argument(at: usize, name: &str, what: &str) -> Fail {
    Fail::from(format!("bad argument #{} to '{name}' ({what})", at + 1))
}

fn bad_type(at: usize, name: &str, expected: &str, got: Option<&Value>) -> Fail {
    let got = got.map_or("no value", type_name);
    bad_argument(at, name, &format!("{expected} expected, got {got}"))
}
