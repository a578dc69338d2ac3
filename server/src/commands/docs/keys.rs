//! `COMMAND GETKEYS` and `COMMAND GETKEYSANDFLAGS`: which arguments of a given command are keys.

use bailiwick_frame::{Args, Encoder};

use super::{hints, info, subcommand};
use crate::commands::{Command, CommandError, Flag, Keys, Outcome, check_arity, find};

/// `COMMAND GETKEYS command [arg ...]`.
pub fn write_getkeys(args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    with_keys(args.from(2), |_, request, indexes| {
        out.array(indexes.len());
        indexes
            .iter()
            .for_each(|&index| out.bulk(request.arg(index)));
    })
}

/// `COMMAND GETKEYSANDFLAGS command [arg ...]`: with what the command does to each key.
pub fn write_getkeysandflags(args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    with_keys(args.from(2), |command, request, indexes| {
        let uses = hints::actual_uses(command, request);
        out.array(indexes.len());
        for (i, &index) in indexes.iter().enumerate() {
            out.array(2);
            out.bulk(request.arg(index));
            info::write_uses(uses[i.min(uses.len() - 1)], out);
        }
    })
}

/// Calls `write` with the command of a request, the request, and the places of its keys.
fn with_keys(request: Args<'_>, write: impl FnOnce(&Command, Args<'_>, &[usize])) -> Outcome {
    const UNKNOWN: CommandError = CommandError::text("ERR Invalid command specified");
    let known = request.get(0).and_then(find).ok_or(UNKNOWN)?;
    let command: &Command = match request.get(1) {
        Some(name) if !known.subcommands.is_empty() => subcommand(&known, name).ok_or(UNKNOWN)?,
        _ => &known,
    };
    if command.keys == Keys::None {
        return Err(CommandError::text("ERR The command has no key arguments"));
    }
    if check_arity(command, request.len()).is_err() {
        let text = "ERR Invalid number of arguments specified for command";
        return Err(CommandError::text(text));
    }
    let indexes: Vec<usize> = command.keys.indexes(request).collect();
    if indexes.is_empty() && !command.has(Flag::NoMandatoryKeys) {
        return Err(CommandError::text(
            "ERR Invalid arguments specified for command",
        ));
    }
    write(command, request, &indexes);
    Ok(())
}
