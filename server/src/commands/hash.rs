//! Fields of hashes, one or several at a time: HSET and HGET and their kin.
//!
//! Numbers in fields are in `hash_number`, and what walks over whole hashes is in `hash_walk`. A
//! hash that loses its last field is removed with its key.

use bailiwick_frame::{Args, Encoder};

use super::context::{held, is_absent_or};
use super::{
    Category, Command, CommandError, DEFAULT, Flag, Group, Handler, Idle, Keys, Nothing, Outcome,
    ReadContext, WriteContext,
};
use crate::keyspace::{Elements, Hash};

const INSERT: u32 = Flag::Write as u32 | Flag::Denyoom as u32 | Flag::Fast as u32;
const READ: u32 = Flag::Readonly as u32 | Flag::Fast as u32;

/// What all rows about hashes have in common.
pub(super) const ROW: Command = Command {
    categories: Category::Hash as u32,
    keys: Keys::FIRST,
    group: Group::Hash,
    since: "2.0.0",
    ..DEFAULT
};

pub(super) static COMMANDS: &[Command] = &[
    Command {
        name: "hset",
        arity: -4,
        flags: INSERT,
        complexity: "O(N) where N is the number of fields given",
        summary: "Gives fields of a hash values and counts the fields that are new.",
        syntax: "key field value [field value ...]",
        handler: Handler::Write(hset),
        ..ROW
    },
    Command {
        name: "hmset",
        arity: -4,
        flags: INSERT,
        complexity: "O(N) where N is the number of fields given",
        summary: "Gives fields of a hash values; the older form of HSET.",
        syntax: "key field value [field value ...]",
        handler: Handler::Write(hmset),
        ..ROW
    },
    Command {
        name: "hsetnx",
        arity: 4,
        flags: INSERT,
        summary: "Gives a field of a hash a value unless it has one.",
        syntax: "key field value",
        handler: Handler::Write(hsetnx),
        idle: Some(Idle {
            may_be: Command::is_shortest,
            when: |entry, args| {
                let has_field = |hash: &Hash| hash.get(args.arg(2)).is_some();
                entry.is_some_and(|entry| held(entry).is_ok_and(has_field))
            },
            reply: Nothing::Zero,
        }),
        ..ROW
    },
    Command {
        name: "hget",
        arity: 3,
        flags: READ,
        summary: "Replies with the value of a field.",
        syntax: "key field",
        handler: Handler::Read(hget),
        ..ROW
    },
    Command {
        name: "hmget",
        arity: -3,
        flags: READ,
        complexity: "O(N) where N is the number of fields asked for",
        summary: "Replies with the values of several fields.",
        syntax: "key field [field ...]",
        handler: Handler::Read(hmget),
        ..ROW
    },
    Command {
        name: "hlen",
        arity: 2,
        flags: READ,
        summary: "Counts the fields of a hash.",
        syntax: "key",
        handler: Handler::Read(hlen),
        ..ROW
    },
    Command {
        name: "hstrlen",
        arity: 3,
        flags: READ,
        since: "3.2.0",
        summary: "Tells the length of a field's value.",
        syntax: "key field",
        handler: Handler::Read(hstrlen),
        ..ROW
    },
    Command {
        name: "hexists",
        arity: 3,
        flags: READ,
        summary: "Tells whether a hash has a field.",
        syntax: "key field",
        handler: Handler::Read(hexists),
        ..ROW
    },
    Command {
        name: "hdel",
        arity: -3,
        flags: Flag::Write as u32 | Flag::Fast as u32,
        complexity: "O(N) where N is the number of fields to remove",
        summary: "Removes fields from a hash and counts those that were there.",
        syntax: "key field [field ...]",
        handler: Handler::Write(hdel),
        idle: Some(Idle {
            may_be: Command::is_shortest,
            when: |entry, args| is_absent_or(entry, |hash: &Hash| hash.get(args.arg(2)).is_none()),
            reply: Nothing::Zero,
        }),
        ..ROW
    },
];

fn hset(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let created = set_fields(ctx, args, "hset")?;
    out.integer(created);
    Ok(())
}

fn hmset(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    set_fields(ctx, args, "hmset")?;
    out.ok();
    Ok(())
}

/// Sets all pairs behind the key and returns how many fields are new.
fn set_fields(
    ctx: &mut WriteContext<'_>,
    args: Args<'_>,
    command: &str,
) -> Result<i64, CommandError> {
    if args.len() % 2 == 1 {
        return Err(CommandError::arity(command));
    }
    let (seed, pairs) = (ctx.seed(), args.from(2));
    let longest = pairs.iter().map(<[u8]>::len).max().unwrap_or(0);
    ctx.edit_or_create(args.arg(1), |hash: &mut Hash| {
        hash.prepare(pairs.len() / 2, longest, seed);
        let mut created = 0;
        for at in (0..pairs.len()).step_by(2) {
            created += i64::from(hash.set(pairs.arg(at), pairs.arg(at + 1), seed));
        }
        (created, pairs.len() as u64 / 2)
    })
}

fn hsetnx(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let (field, value, seed) = (args.arg(2), args.arg(3), ctx.seed());
    let created = ctx.edit_or_create(args.arg(1), |hash: &mut Hash| {
        let is_new = hash.get(field).is_none() && hash.set(field, value, seed);
        (is_new, u64::from(is_new))
    })?;
    out.integer(created.into());
    Ok(())
}

fn hget(ctx: &ReadContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let hash = ctx.object::<Hash>(args.arg(1))?;
    write_value(hash.and_then(|hash| hash.get(args.arg(2))), out);
    Ok(())
}

fn hmget(ctx: &ReadContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let hash = ctx.object::<Hash>(args.arg(1))?;
    let fields = args.from(2);
    out.array(fields.len());
    for field in fields.iter() {
        write_value(hash.and_then(|hash| hash.get(field)), out);
    }
    Ok(())
}

fn write_value(value: Option<&[u8]>, out: &mut Encoder<'_>) {
    match value {
        Some(value) => out.bulk(value),
        None => out.null(),
    }
}

fn hlen(ctx: &ReadContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let hash = ctx.object::<Hash>(args.arg(1))?;
    out.integer(hash.map_or(0, Hash::len) as i64);
    Ok(())
}

fn hstrlen(ctx: &ReadContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let hash = ctx.object::<Hash>(args.arg(1))?;
    let value = hash.and_then(|hash| hash.get(args.arg(2)));
    out.integer(value.map_or(0, <[u8]>::len) as i64);
    Ok(())
}

fn hexists(ctx: &ReadContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let hash = ctx.object::<Hash>(args.arg(1))?;
    let value = hash.and_then(|hash| hash.get(args.arg(2)));
    out.integer(value.is_some().into());
    Ok(())
}

fn hdel(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let removed = ctx.edit(args.arg(1), |hash: &mut Hash| {
        let removed = args
            .iter()
            .skip(2)
            .filter(|field| hash.remove(field))
            .count();
        (removed, removed as u64)
    })?;
    out.integer(removed.unwrap_or(0) as i64);
    Ok(())
}

#[cfg(test)]
#[path = "hash_tests.rs"]
mod tests;
