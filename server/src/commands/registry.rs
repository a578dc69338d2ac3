//! The command table: all commands, found by name.

use std::ops::Deref;
use std::sync::LazyLock;

use bailiwick_frame::Args;

use super::{Command, CommandError, Flag};

/// The tables of the modules, in the order in which COMMAND lists them.
static TABLES: &[&[Command]] = &[
    super::string::COMMANDS,
    super::fence::COMMANDS,
    super::string_multi::COMMANDS,
    super::range::COMMANDS,
    super::number::COMMANDS,
    super::lcs::COMMANDS,
    super::bit::COMMANDS,
    super::bitop::COMMANDS,
    super::bitfield::COMMANDS,
    super::list::COMMANDS,
    super::list_edit::COMMANDS,
    super::list_move::COMMANDS,
    super::block_list::COMMANDS,
    super::hash::COMMANDS,
    super::hash_number::COMMANDS,
    super::hash_walk::COMMANDS,
    super::set::COMMANDS,
    super::set_algebra::COMMANDS,
    super::set_random::COMMANDS,
    super::sorted_set::add::COMMANDS,
    super::sorted_set::member::COMMANDS,
    super::sorted_set::range::COMMANDS,
    super::sorted_set::remove::COMMANDS,
    super::sorted_set::block::COMMANDS,
    super::sorted_set::combine::COMMANDS,
    super::sorted_set::sample::COMMANDS,
    super::geo::place::COMMANDS,
    super::geo::search::COMMANDS,
    super::hyperloglog::COMMANDS,
    super::stream::add::COMMANDS,
    super::stream::edit::COMMANDS,
    super::stream::range::COMMANDS,
    super::stream::read::COMMANDS,
    super::stream::group::COMMANDS,
    super::stream::pending::COMMANDS,
    super::stream::claim::COMMANDS,
    super::stream::info::COMMANDS,
    super::keys::COMMANDS,
    super::rename::COMMANDS,
    super::dump::COMMANDS,
    super::sort::COMMANDS,
    super::expire::COMMANDS,
    super::listing::COMMANDS,
    super::flush::COMMANDS,
    super::object::COMMANDS,
    super::connection::COMMANDS,
    super::client::COMMANDS,
    super::transaction::COMMANDS,
    super::pubsub::COMMANDS,
    super::cluster::COMMANDS,
    super::share::COMMANDS,
    super::prefix::COMMANDS,
    super::script::eval::COMMANDS,
    super::script::functions::COMMANDS,
    super::server::COMMANDS,
    super::introspection::COMMANDS,
    super::diagnostics::COMMANDS,
    super::authority::COMMANDS,
    super::authority_reads::COMMANDS,
    super::block::COMMANDS,
];

/// How much of an unknown command's arguments its error repeats.
const UNKNOWN_ARGS_MAX_BYTES: usize = 128;

/// A command of the table with its number, which is dense and fixed while the process runs;
/// statistics are kept under it.
#[derive(Clone, Copy)]
pub struct Known {
    command: &'static Command,
    id: u16,
}

impl Known {
    /// The command's number, below [`count`].
    #[must_use]
    pub fn id(self) -> usize {
        usize::from(self.id)
    }
}

impl Deref for Known {
    type Target = Command;

    fn deref(&self) -> &Command {
        self.command
    }
}

/// The table made ready for look-ups.
struct Index {
    /// Open-addressed by name and at most a quarter full, so that a look-up is a hash, nearly
    /// always one probe, and one comparison.
    slots: Vec<Option<Known>>,
    /// All commands and subcommands under their numbers; a container's subcommands follow it.
    known: Vec<Known>,
}

static INDEX: LazyLock<Index> = LazyLock::new(|| {
    let mut index = Index {
        slots: vec![None; (rows().count() * 4).next_power_of_two()],
        known: Vec::new(),
    };
    let mask = index.slots.len() - 1;
    for command in rows() {
        let mut slot = name_hash(command.name.as_bytes()) & mask;
        while let Some(other) = index.slots[slot] {
            assert_ne!(
                other.name, command.name,
                "a command stands in the table twice"
            );
            slot = (slot + 1) & mask;
        }
        for command in std::iter::once(command).chain(command.subcommands) {
            let id = index.known.len() as u16;
            index.known.push(Known { command, id });
        }
        index.slots[slot] = Some(index.known[index.known.len() - 1 - command.subcommands.len()]);
    }
    index
});

/// All commands that clients can use, containers without their subcommands.
pub fn all() -> impl Iterator<Item = &'static Command> + Clone {
    rows().filter(|command| !command.has(Flag::Internal))
}

/// Number of commands and subcommands, internal ones included.
#[must_use]
pub fn count() -> usize {
    INDEX.known.len()
}

/// The command or subcommand of this number.
#[must_use]
pub fn by_id(id: usize) -> Known {
    INDEX.known[id]
}

/// The command of this name, in any case, if clients can use it; no subcommand.
#[must_use]
pub fn find(name: &[u8]) -> Option<Known> {
    find_row(name).filter(|known| !known.has(Flag::Internal))
}

fn find_row(name: &[u8]) -> Option<Known> {
    let slots = &INDEX.slots;
    let mut slot = name_hash(name) & (slots.len() - 1);
    while let Some(known) = slots[slot] {
        if known.name.as_bytes().eq_ignore_ascii_case(name) {
            return Some(known);
        }
        slot = (slot + 1) & (slots.len() - 1);
    }
    None
}

/// The command that a client's request names, its arity checked.
pub fn lookup(args: Args<'_>) -> Result<Known, CommandError> {
    resolve(find(args.arg(0)), args)
}

/// Like [`lookup`], for what stands in a log: internal commands are found too.
pub fn lookup_logged(args: Args<'_>) -> Result<Known, CommandError> {
    resolve(find_row(args.arg(0)), args)
}

fn resolve(found: Option<Known>, args: Args<'_>) -> Result<Known, CommandError> {
    let known = found.ok_or_else(|| unknown_command(args))?;
    if known.subcommands.is_empty() || args.len() == 1 {
        check_arity(&known, args.len())?;
        return Ok(known);
    }
    let name = args.arg(1);
    let mut subcommands = known.subcommands.iter();
    let at = subcommands.position(|sub| sub.name.as_bytes().eq_ignore_ascii_case(name));
    let at = at.ok_or_else(|| unknown_subcommand(&known, name))?;
    let sub = by_id(known.id() + 1 + at);
    check_arity(&sub, args.len())?;
    Ok(sub)
}

fn rows() -> impl Iterator<Item = &'static Command> + Clone {
    TABLES.iter().flat_map(|table| table.iter())
}

/// Refuses a wrong number of arguments.
pub fn check_arity(command: &Command, len: usize) -> Result<(), CommandError> {
    let wanted = usize::from(command.arity.unsigned_abs());
    let fits = if command.arity < 0 {
        len >= wanted
    } else {
        len == wanted
    };
    if fits {
        Ok(())
    } else {
        Err(CommandError::arity(&command.full_name()))
    }
}

/// FNV-1a over the name in lower case.
fn name_hash(name: &[u8]) -> usize {
    let mut hash: u32 = 0x811c_9dc5;
    for byte in name {
        hash = (hash ^ u32::from(byte | 0x20)).wrapping_mul(0x0100_0193);
    }
    (hash ^ (hash >> 15)) as usize
}

fn unknown_command(args: Args<'_>) -> CommandError {
    let shorten = |bytes: &[u8], room: usize| {
        String::from_utf8_lossy(&bytes[..bytes.len().min(room)]).into_owned()
    };
    let mut shown = String::new();
    for arg in args.iter().skip(1) {
        if shown.len() >= UNKNOWN_ARGS_MAX_BYTES {
            break;
        }
        shown += &format!("'{}' ", shorten(arg, UNKNOWN_ARGS_MAX_BYTES - shown.len()));
    }
    let name = shorten(args.arg(0), UNKNOWN_ARGS_MAX_BYTES);
    CommandError::composed(format!(
        "ERR unknown command '{name}', with args beginning with: {shown}"
    ))
}

fn unknown_subcommand(command: &Command, name: &[u8]) -> CommandError {
    let name = String::from_utf8_lossy(&name[..name.len().min(UNKNOWN_ARGS_MAX_BYTES)]);
    let container = command.name.to_ascii_uppercase();
    CommandError::composed(format!(
        "ERR unknown subcommand '{name}'. Try {container} HELP."
    ))
}
