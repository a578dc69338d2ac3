//! Streams: adding, trimming and reading entries, and consumer groups.
//!
//! Times of entries and of deliveries are the log's. As in Redis, WATCH notices what happens to
//! entries and not what happens within a group.

pub(super) mod add;
pub(super) mod claim;
pub(super) mod edit;
pub(super) mod group;
mod id;
pub(super) mod info;
pub(super) mod pending;
pub(super) mod range;
pub(super) mod read;
mod read_group;
mod reply;
#[cfg(test)]
mod tests;

use super::{Category, Command, CommandError, DEFAULT, Flag, Group, Keys};

const WRITE: u32 = Flag::Write as u32;
const READONLY: u32 = Flag::Readonly as u32;
const DENYOOM: u32 = Flag::Denyoom as u32;
const FAST: u32 = Flag::Fast as u32;

/// What the commands of streams have in common.
const ROW: Command = Command {
    categories: Category::Stream as u32,
    keys: Keys::FIRST,
    group: Group::Stream,
    since: "5.0.0",
    ..DEFAULT
};

/// The error about a key without the group, with what the command says behind it.
fn no_group(key: &[u8], group: &[u8], behind: &str) -> CommandError {
    let (key, group) = (text(key), text(group));
    CommandError::composed(format!(
        "NOGROUP No such key '{key}' or consumer group '{group}'{behind}"
    ))
}

/// The error about a group that is not there in a stream that is.
fn no_group_in(key: &[u8], group: &[u8]) -> CommandError {
    let (key, group) = (text(key), text(group));
    CommandError::composed(format!(
        "NOGROUP No such consumer group '{group}' for key name '{key}'"
    ))
}

/// The error about a subcommand's arguments.
fn bad_subcommand(container: &str, name: &[u8]) -> CommandError {
    let name = text(&name[..name.len().min(128)]);
    CommandError::composed(format!(
        "ERR unknown subcommand or wrong number of arguments for '{name}'. Try {container} HELP."
    ))
}

fn text(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}
