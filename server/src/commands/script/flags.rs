//! What the first line of a script or a library says, and the flags of scripts and functions.

use std::borrow::Cow;

use crate::commands::CommandError;

/// It does not write.
pub(super) const NO_WRITES: u32 = 1;
/// It may write although memory is short.
pub(super) const ALLOW_OOM: u32 = 2;

/// All flags, in the order of their bits. Those but the first two mean nothing here: there are no
/// stale replicas, and keys of several groups are refused anyway.
pub(super) const NAMES: [&str; 5] = [
    "no-writes",
    "allow-oom",
    "allow-stale",
    "no-cluster",
    "allow-cross-slot-keys",
];

/// Whether a script or function with these flags may run while memory is short. If it says nothing
/// about itself, it is its commands that may not.
///
/// # Errors
/// It may not.
pub(super) fn check_memory(flags: Option<u32>, is_short: bool) -> Result<(), CommandError> {
    match flags {
        Some(flags) if is_short && flags & (NO_WRITES | ALLOW_OOM) == 0 => Err(CommandError::text(
            "OOM allow-oom flag is not set on the script, can not run it when used memory > \
             'maxmemory'",
        )),
        _ => Ok(()),
    }
}

/// The bit of a flag.
pub(super) fn bit_of(name: &[u8]) -> Option<u32> {
    let at = NAMES.iter().position(|known| known.as_bytes() == name)?;
    Some(1 << at)
}

/// A text without its first line's words; the line's end remains, so that lines keep their numbers.
pub(super) struct Split<'a> {
    pub(super) words: Vec<&'a [u8]>,
    pub(super) body: &'a [u8],
}

/// Takes the first line off a text that begins with `#!`; `None` if it has no second one.
fn split(text: &[u8]) -> Option<Split<'_>> {
    let end = text.iter().position(|byte| *byte == b'\n')?;
    let (line, body) = text.split_at(end);
    let words = line.split(u8::is_ascii_whitespace);
    Some(Split {
        words: words.filter(|word| !word.is_empty()).collect(),
        body,
    })
}

/// What is to be compiled of a script, and its flags; `None` if it says nothing about itself.
pub(super) fn of_script(text: &[u8]) -> Result<(&[u8], Option<u32>), CommandError> {
    if !text.starts_with(b"#!") {
        return Ok((text, None));
    }
    let invalid = CommandError::text("ERR Invalid script shebang");
    let split = split(text).ok_or_else(|| invalid.clone())?;
    let (engine, options) = split.words.split_first().ok_or(invalid)?;
    if *engine != b"#!lua" {
        let engine = lossy(engine);
        let text = format!("ERR Unexpected engine in script shebang: {engine}");
        return Err(CommandError::composed(text));
    }
    let mut flags = 0;
    for option in options {
        let Some(names) = option.strip_prefix(b"flags=") else {
            let text = format!("ERR Unknown lua shebang option: {}", lossy(option));
            return Err(CommandError::composed(text));
        };
        for name in names.split(|byte| *byte == b',') {
            flags |= bit_of(name).ok_or_else(|| {
                let text = format!("ERR Unexpected flag in script shebang: {}", lossy(name));
                CommandError::composed(text)
            })?;
        }
    }
    Ok((split.body, Some(flags)))
}

/// What is to be compiled of a library, and its name.
pub(super) fn of_library(code: &[u8]) -> Result<(&[u8], String), CommandError> {
    if !code.starts_with(b"#!") {
        return Err(CommandError::text("ERR Missing library metadata"));
    }
    let invalid = CommandError::text("ERR Invalid library metadata");
    let split = split(code).ok_or_else(|| invalid.clone())?;
    let (engine, options) = split.words.split_first().ok_or(invalid)?;
    let mut name = None;
    for option in options {
        let Some(given) = option.strip_prefix(b"name=") else {
            let text = format!("ERR Invalid metadata value given: {}", lossy(option));
            return Err(CommandError::composed(text));
        };
        if name.replace(unquoted(given)).is_some() {
            let text = "ERR Invalid metadata value, name argument was given multiple times";
            return Err(CommandError::text(text));
        }
    }
    let name = name.ok_or(CommandError::text("ERR Library name was not given"))?;
    let name = checked_name(name).ok_or(CommandError::text(BAD_NAME))?;
    if !engine[2..].eq_ignore_ascii_case(b"lua") {
        let text = format!("ERR Engine '{}' not found", lossy(&engine[2..]));
        return Err(CommandError::composed(text));
    }
    Ok((split.body, name))
}

/// What stands in the quotation marks around a word, if there are any.
fn unquoted(word: &[u8]) -> &[u8] {
    match word {
        [b'"', inner @ .., b'"'] | [b'\'', inner @ .., b'\''] => inner,
        _ => word,
    }
}

/// What is wrong with a name.
pub(super) const BAD_NAME: &str = "ERR Library names can only contain letters, numbers, or \
                                   underscores(_) and must be at least one character long";

/// A name of a library or a function, if it can be one.
pub(super) fn checked_name(name: &[u8]) -> Option<String> {
    let is_fit = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    (!name.is_empty() && name.iter().all(is_fit)).then(|| lossy(name).into_owned())
}

fn lossy(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}
