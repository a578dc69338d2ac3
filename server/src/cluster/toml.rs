//! Tables of TOML, with what is wrong with them: keys and values of the expected kinds, and where
//! each stands.
//!
//! What is missing or of another kind is noted as a [`Fault`] and read as `None`, so that the
//! reader goes on. What values mean is known to `file` alone.

use std::collections::HashSet;

use toml_edit::{Item, TableLike, Value};

use super::error::Fault;

/// How alike a known key must be to be offered for an unknown one, between 0 and 1.
const LIKENESS_MIN: f64 = 0.8;

/// The most bytes of a name.
const NAME_BYTES_MAX: usize = 64;

/// A text, and what was found to be wrong with it.
pub(super) struct Toml<'a> {
    text: &'a str,
    pub(super) faults: Vec<Fault>,
}

/// A table, and how to speak of it.
pub(super) struct Entry<'a> {
    pub(super) table: &'a dyn TableLike,
    /// Such as `node 2`.
    pub(super) called: String,
    /// Where it begins, in bytes.
    pub(super) at: usize,
}

/// A value, and where it stands.
pub(super) struct Found<T> {
    pub(super) value: T,
    pub(super) at: usize,
}

impl<'a> Toml<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self {
            text,
            faults: Vec::new(),
        }
    }

    /// A list of distinct ids.
    pub(super) fn ids_in(&mut self, entry: &Entry<'_>, key: &str) -> Option<Vec<Found<u32>>> {
        let called = &entry.called;
        let item = self.item(entry, key, "[1, 2, 3]")?;
        let at = start(entry.table, key, entry.at);
        let Some(array) = item.as_array() else {
            let shown = shown(item);
            let message =
                format!("{key} {shown} of {called}: expected a list of ids, as in [1, 2, 3]");
            self.fault(at, message);
            return None;
        };
        let mut seen = HashSet::new();
        let mut list = Some(Vec::new());
        for element in array {
            let at = element.span().map_or(at, |span| span.start);
            let id = element.as_integer().and_then(|id| u32::try_from(id).ok());
            match id {
                Some(id) if id > 0 && seen.insert(id) => {
                    list.iter_mut()
                        .for_each(|list| list.push(Found { value: id, at }));
                }
                Some(id) if id > 0 => {
                    self.fault(at, format!("{key} of {called}: node {id} is there twice"));
                }
                _ => {
                    let shown = element.to_string();
                    let shown = shown.trim();
                    let message =
                        format!("{key} of {called}: expected the id of a node, not {shown}");
                    self.fault(at, message);
                    list = None;
                }
            }
        }
        list
    }

    /// A name: of a cluster, a region, a group. It appears in replies of which each line is a list
    /// of words, so it is a word.
    pub(super) fn name(
        &mut self,
        entry: &Entry<'_>,
        key: &str,
        example: &str,
    ) -> Option<Found<String>> {
        let found = self.string(entry, key, example)?;
        let name = &found.value;
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(fits) {
            return Some(found);
        }
        let message = format!(
            "{key} {name:?} of {}: expected 1 to {NAME_BYTES_MAX} letters, digits, '-', '_' or '.'",
            entry.called
        );
        self.fault(found.at, message);
        None
    }

    /// A text that must be there.
    pub(super) fn string(
        &mut self,
        entry: &Entry<'_>,
        key: &str,
        example: &str,
    ) -> Option<Found<String>> {
        let item = self.item(entry, key, &format!("{example:?}"))?;
        let at = start(entry.table, key, entry.at);
        let Some(text) = item.as_str() else {
            let shown = shown(item);
            let message = format!(
                "{key} {shown} of {}: expected text in quotes, as in {key} = {example:?}",
                entry.called
            );
            self.fault(at, message);
            return None;
        };
        let value = text.to_owned();
        Some(Found { value, at })
    }

    /// What a key that must be there holds.
    pub(super) fn item<'t>(
        &mut self,
        entry: &Entry<'t>,
        key: &str,
        example: &str,
    ) -> Option<&'t Item> {
        let item = entry.table.get(key);
        if item.is_none() {
            let message = format!("{} has no {key}; add {key} = {example}", entry.called);
            self.fault(entry.at, message);
        }
        item
    }

    /// The tables of this key, however they are written; `None` if it has something else.
    pub(super) fn entries<'t>(&mut self, top: &Entry<'t>, key: &str) -> Option<Vec<Entry<'t>>> {
        let Some(item) = top.table.get(key) else {
            return Some(Vec::new());
        };
        let tables: Option<Vec<(&dyn TableLike, _)>> = match item {
            Item::ArrayOfTables(tables) => {
                let with_span =
                    |table: &'t toml_edit::Table| (table as &dyn TableLike, table.span());
                Some(tables.iter().map(with_span).collect())
            }
            Item::Value(Value::Array(list)) => list
                .iter()
                .map(|value| Some((value.as_inline_table()? as &dyn TableLike, value.span())))
                .collect(),
            _ => None,
        };
        let Some(tables) = tables else {
            let message = format!("{key}: expected tables, each under a line [[{key}]]");
            self.fault(start(top.table, key, 0), message);
            return None;
        };
        let entry = |(table, span): (_, Option<std::ops::Range<usize>>)| Entry {
            table,
            called: format!("this {key}"),
            at: span.map_or(0, |span| span.start),
        };
        Some(tables.into_iter().map(entry).collect())
    }

    /// Notes keys that are not known.
    pub(super) fn check_keys(&mut self, entry: &Entry<'_>, known: &[&str]) {
        for (key, _) in entry.table.iter() {
            if known.contains(&key) {
                continue;
            }
            let hint = match nearest(key, known) {
                Some(near) => format!("did you mean {near}?"),
                None => format!("expected {}", known.join(", ")),
            };
            let message = format!("{key}: unknown key of {}; {hint}", entry.called);
            self.fault(start(entry.table, key, entry.at), message);
        }
    }

    /// Notes what is wrong `at` this byte.
    pub(super) fn fault(&mut self, at: usize, message: impl Into<String>) {
        let line = self.line_of(at);
        let message = message.into();
        self.faults.push(Fault { line, message });
    }

    /// The line of the byte at `at`, counted from 1.
    pub(super) fn line_of(&self, at: usize) -> usize {
        let before = self.text.as_bytes().iter().take(at);
        1 + before.filter(|byte| **byte == b'\n').count()
    }
}

/// Where a key stands, or else its table.
pub(super) fn start(table: &dyn TableLike, key: &str, otherwise: usize) -> usize {
    let span = table.get_key_value(key).and_then(|(key, item)| {
        let key = key.span();
        key.or_else(|| item.span())
    });
    span.map_or(otherwise, |span| span.start)
}

/// A value as it would be written, or what it is if that is long.
pub(super) fn shown(item: &Item) -> String {
    match item.as_value() {
        Some(value) if !value.is_array() && !value.is_inline_table() => {
            value.to_string().trim().to_owned()
        }
        _ => format!("({})", item.type_name()),
    }
}

/// What was meant by a key that is not known, if it is like a known one.
fn nearest<'k>(key: &str, known: &[&'k str]) -> Option<&'k str> {
    let key = key.to_ascii_lowercase();
    let likeness = |name: &&str| strsim::jaro_winkler(name, &key);
    known
        .iter()
        .copied()
        .filter(|name| likeness(name) >= LIKENESS_MIN)
        .max_by(|a, b| likeness(a).total_cmp(&likeness(b)))
}
