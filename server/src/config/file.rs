//! The configuration file: TOML with the parameters' names as keys, `-` or `_` between words.
//!
//! All keys stand at the top level. A value may be a string, a number, a boolean for `yes` and
//! `no`, or a list of these for a parameter of several words. Reading knows lines, so that a
//! refusal can name one; rewriting edits the document in place, so comments and order stay.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use toml_edit::{Array, Document, DocumentMut, Item, TomlError, Value};

use super::Settings;
use super::error::{ConfigError, expected};
use super::parameter::{Parameter, all, find};
use super::value::Kind;

/// How alike a known key must be to be offered for an unknown one, between 0 and 1.
const LIKENESS_MIN: f64 = 0.8;

/// Applies the file's text to `settings`; `file` is its name for messages.
///
/// # Errors
/// The first thing in it that is wrong.
pub(super) fn apply(text: &str, file: &Path, settings: &mut Settings) -> Result<(), ConfigError> {
    let document = Document::parse(text).map_err(|error| syntax_error(&error, text, file))?;
    let mut seen: HashMap<&str, (String, usize)> = HashMap::new();
    for (key, item) in document.as_table() {
        let span = document.as_table().key(key).and_then(toml_edit::Key::span);
        let line = line_of(
            text,
            span.or_else(|| item.span()).map_or(0, |span| span.start),
        );
        let Some(parameter) = find_key(key) else {
            let (file, key, hint) = (file.to_owned(), key.to_owned(), hint(key));
            return Err(ConfigError::UnknownKey {
                file,
                line,
                key,
                hint,
            });
        };
        if let Some((first, first_line)) = seen.insert(parameter.subject(), (key.to_owned(), line))
        {
            let (file, key) = (file.to_owned(), key.to_owned());
            return Err(ConfigError::Repeated {
                file,
                line,
                key,
                first,
                first_line,
            });
        }
        let refuse = |value: String, expected: String| ConfigError::Value {
            file: file.to_owned(),
            line,
            key: key.to_owned(),
            value,
            expected,
        };
        let value = item
            .as_value()
            .and_then(text_of)
            .ok_or_else(|| refuse(item.type_name().to_owned(), parameter.kind.expected()))?;
        if let Err(reason) = parameter.apply(settings, &value) {
            return Err(refuse(value, expected(parameter, &reason)));
        }
    }
    Ok(())
}

/// Writes what differs from the defaults, and what the file names already, into the file at `path`:
/// under a temporary name first, synced, then in its place, so that no crash leaves half a file.
///
/// # Errors
/// The file cannot be read or written, or what stands there now is no TOML; it is unchanged.
pub(super) fn rewrite(path: &Path, settings: &Settings) -> io::Result<()> {
    let (before, permissions) = match fs::read_to_string(path) {
        Ok(text) => (text, Some(fs::metadata(path)?.permissions())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => (String::new(), None),
        Err(error) => return Err(error),
    };
    let after = rewritten(&before, settings)?;
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let directory = directory.unwrap_or(Path::new("."));
    let temporary = temporary_name(path);
    let written = write_synced(&temporary, &after, permissions)
        .and_then(|()| fs::rename(&temporary, path))
        .and_then(|()| File::open(directory)?.sync_all());
    if written.is_err() {
        // After a rename there is nothing left to remove; before it, nothing else to be done.
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// The file's text with the values of `settings`.
fn rewritten(before: &str, settings: &Settings) -> io::Result<String> {
    let invalid = |error: TomlError| {
        let line = line_of(before, error.span().map_or(0, |span| span.start));
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("line {line}: {}", error.message()),
        )
    };
    let mut document: DocumentMut = before.parse().map_err(invalid)?;
    let mut written: Vec<&str> = Vec::new();
    for (key, item) in document.iter_mut() {
        let Some(parameter) = find_key(key.get()) else {
            continue;
        };
        written.push(parameter.subject());
        let (Some(value), shown) = (item.as_value_mut(), parameter.value(settings)) else {
            continue;
        };
        if !says(value, parameter, &shown) {
            let mut changed = like(value, parameter, &shown);
            *changed.decor_mut() = value.decor().clone();
            *value = changed;
        }
    }
    for parameter in all().filter(|row| row.view_of.is_none() && !written.contains(&row.name)) {
        let shown = parameter.value(settings);
        if shown != parameter.default {
            document.insert(parameter.name, Item::Value(natural(parameter, &shown)));
        }
    }
    Ok(document.to_string())
}

/// Whether a value in the file already says what is `shown`; then its spelling is left alone.
fn says(value: &Value, parameter: &Parameter, shown: &str) -> bool {
    let mut scratch = Settings::default();
    text_of(value).is_some_and(|text| parameter.apply(&mut scratch, &text).is_ok())
        && parameter.value(&scratch) == shown
}

/// `shown` in the form of the value that it replaces, where that is possible.
fn like(value: &Value, parameter: &Parameter, shown: &str) -> Value {
    match value {
        Value::Array(_) => shown.split_whitespace().collect::<Array>().into(),
        Value::String(_) => shown.into(),
        _ => natural(parameter, shown),
    }
}

/// `shown` in the form that TOML has for its kind.
fn natural(parameter: &Parameter, shown: &str) -> Value {
    match parameter.kind {
        Kind::Switch => (shown == "yes").into(),
        Kind::Integer { .. } | Kind::Memory { .. } => shown
            .parse::<i64>()
            .map_or_else(|_| shown.into(), Value::from),
        Kind::Choice(_) | Kind::Text { .. } => shown.into(),
    }
}

/// The text of a parameter in a TOML value; none for a table or a list within a list.
fn text_of(value: &Value) -> Option<String> {
    Some(match value {
        Value::String(text) => text.value().clone(),
        Value::Integer(number) => number.value().to_string(),
        Value::Float(number) => number.value().to_string(),
        Value::Boolean(yes) => if *yes.value() { "yes" } else { "no" }.to_owned(),
        Value::Array(list) => {
            let words: Option<Vec<String>> = list
                .iter()
                .map(|word| if word.is_array() { None } else { text_of(word) })
                .collect();
            words?.join(" ")
        }
        Value::Datetime(_) | Value::InlineTable(_) => return None,
    })
}

fn find_key(key: &str) -> Option<&'static Parameter> {
    find(&key.replace('_', "-")).map(|(parameter, _)| parameter)
}

/// A remark that names the known key nearest to an unknown one.
fn hint(key: &str) -> String {
    let key = key.replace('_', "-").to_ascii_lowercase();
    let likeness = |name: &str| strsim::jaro_winkler(name, &key);
    all()
        .flat_map(Parameter::names)
        .map(|name| (name, likeness(name)))
        .filter(|(_, likeness)| *likeness >= LIKENESS_MIN)
        .max_by(|a, b| a.1.total_cmp(&b.1))
        .map_or_else(String::new, |(name, _)| format!("; did you mean {name}?"))
}

fn syntax_error(error: &TomlError, text: &str, file: &Path) -> ConfigError {
    let line = line_of(text, error.span().map_or(0, |span| span.start));
    // The parser may explain itself over several lines; ours is one.
    let message = error.message().replace('\n', ", ");
    ConfigError::Syntax {
        file: file.to_owned(),
        line,
        message,
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text
        .as_bytes()
        .iter()
        .take(offset)
        .filter(|byte| **byte == b'\n')
        .count()
}

fn temporary_name(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    path.with_file_name(name)
}

/// The file may hold a password: the copy is never more readable than the original, and readable to
/// its owner alone if there is no original.
fn write_synced(path: &Path, text: &str, permissions: Option<fs::Permissions>) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut file = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    if let Some(permissions) = permissions {
        file.set_permissions(permissions)?;
    }
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
