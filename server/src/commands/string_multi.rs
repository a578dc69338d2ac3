//! Several strings in one command: MGET, MSET, MSETNX.

use bailiwick_frame::{Args, Encoder};

use super::string::write_string;
use super::{
    Category, Command, CommandError, DEFAULT, Flag, Group, Handler, Keys, Outcome, ReadContext,
    Spread, WriteContext,
};
use crate::keyspace::{Expiry, NewValue};

const ROW: Command = Command {
    categories: Category::String as u32,
    keys: Keys::Range {
        first: 1,
        last: -1,
        step: 2,
    },
    group: Group::String,
    since: "1.0.1",
    complexity: "O(N), N being the number of keys.",
    ..DEFAULT
};

/// The rows of this module.
pub(super) static COMMANDS: &[Command] = &[
    Command {
        name: "mget",
        arity: -2,
        flags: Flag::Readonly as u32 | Flag::Fast as u32,
        keys: Keys::ALL,
        since: "1.0.0",
        summary: "Replies with the strings at several keys, null standing for what is no string.",
        syntax: "key [key ...]",
        handler: Handler::Read(mget),
        spread: Spread::Each,
        ..ROW
    },
    Command {
        name: "mset",
        arity: -3,
        flags: Flag::Write as u32 | Flag::Denyoom as u32,
        summary: "Stores strings at several keys in one step.",
        syntax: "key value [key value ...]",
        handler: Handler::Write(mset),
        ..ROW
    },
    Command {
        name: "msetnx",
        arity: -3,
        flags: Flag::Write as u32 | Flag::Denyoom as u32,
        summary: "Stores strings at several keys unless one of the keys exists.",
        syntax: "key value [key value ...]",
        handler: Handler::Write(msetnx),
        ..ROW
    },
];

fn mget(ctx: &ReadContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let keys = args.from(1);
    out.array(keys.len());
    for key in keys.iter() {
        // Another type is no error here.
        write_string(ctx.string(key).unwrap_or(None), out);
    }
    Ok(())
}

fn mset(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    check_pairs(args, "mset")?;
    set_pairs(ctx, args);
    out.ok();
    Ok(())
}

fn msetnx(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    check_pairs(args, "msetnx")?;
    let absent = args
        .from(1)
        .iter()
        .step_by(2)
        .all(|key| ctx.peek(key).is_none());
    if absent {
        set_pairs(ctx, args);
    }
    out.integer(absent.into());
    Ok(())
}

fn check_pairs(args: Args<'_>, command: &str) -> Outcome {
    if args.len().is_multiple_of(2) {
        Err(CommandError::arity(command))
    } else {
        Ok(())
    }
}

fn set_pairs(ctx: &mut WriteContext<'_>, args: Args<'_>) {
    for index in (1..args.len()).step_by(2) {
        let value = NewValue::from_bytes(args.arg(index + 1));
        ctx.set(args.arg(index), value, Expiry::None);
    }
}

#[cfg(test)]
mod tests {
    use crate::commands::testing::{Fixture, check};

    #[test]
    fn pairs_are_stored_together_or_not_at_all() {
        check(
            &mut Fixture::default(),
            &[
                ("MSET a 1 b 2 a 3", "+OK"),
                ("MGET a absent b", r#"["3" nil "2"]"#),
                ("MSETNX c 1 a 2", "0"),
                ("MSETNX c 1 d 2", "1"),
                ("MGET c d a", r#"["1" "2" "3"]"#),
                (
                    "MSET a 1 b",
                    "-ERR wrong number of arguments for 'mset' command",
                ),
                (
                    "MSETNX a 1 b",
                    "-ERR wrong number of arguments for 'msetnx' command",
                ),
                (
                    "MSET a",
                    "-ERR wrong number of arguments for 'mset' command",
                ),
            ],
        );
    }
}
