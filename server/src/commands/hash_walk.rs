//! What walks over whole hashes, or picks from them: HGETALL, HKEYS, HVALS, HSCAN, HRANDFIELD.
//!
//! Fields come in the hash's own order, which clients must not rely on.

use bailiwick_frame::{Args, Encoder, Protocol};

use super::hash::ROW;
use super::random::{self, Wanted};
use super::scan::{self, ScanOptions, Walk};
use super::{Command, CommandError, Flag, Handler, Outcome, ReadContext, is_option};
use crate::keyspace::{Elements, Hash};

/// Up to this many fields it is quicker to pass over all than to look for each one chosen.
const PASSED_OVER: usize = 1024;

pub(super) static COMMANDS: &[Command] = &[
    Command {
        name: "hgetall",
        arity: 2,
        flags: Flag::Readonly as u32,
        complexity: "O(N) where N is the number of fields",
        summary: "Replies with all fields of a hash and their values.",
        syntax: "key",
        handler: Handler::Read(hgetall),
        ..ROW
    },
    Command {
        name: "hkeys",
        arity: 2,
        flags: Flag::Readonly as u32,
        complexity: "O(N) where N is the number of fields",
        summary: "Lists all fields of a hash.",
        syntax: "key",
        handler: Handler::Read(hkeys),
        ..ROW
    },
    Command {
        name: "hvals",
        arity: 2,
        flags: Flag::Readonly as u32,
        complexity: "O(N) where N is the number of fields",
        summary: "Lists the values of all fields of a hash.",
        syntax: "key",
        handler: Handler::Read(hvals),
        ..ROW
    },
    Command {
        name: "hscan",
        arity: -3,
        flags: Flag::Readonly as u32,
        since: "2.8.0",
        complexity: "O(1) for a call, O(N) for a whole iteration over N fields",
        summary: "Lists fields and their values a few at a time, from a cursor to the next.",
        syntax: "key cursor [MATCH pattern] [COUNT count]",
        handler: Handler::Read(hscan),
        ..ROW
    },
    Command {
        name: "hrandfield",
        arity: -2,
        flags: Flag::Readonly as u32,
        since: "6.2.0",
        complexity: "O(N) where N is the number of fields asked for",
        summary: "Picks fields of a hash at random.",
        syntax: "key [count [WITHVALUES]]",
        handler: Handler::Read(hrandfield),
        ..ROW
    },
];

fn hgetall(ctx: &ReadContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let Some(hash) = ctx.object::<Hash>(args.arg(1))? else {
        out.map(0);
        return Ok(());
    };
    out.map(hash.len());
    hash.visit_pairs(0, hash.len(), |field, value| {
        out.bulk(field);
        out.bulk(value);
    });
    Ok(())
}

fn hkeys(ctx: &ReadContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    list(ctx, args, out, |field, _| field)
}

fn hvals(ctx: &ReadContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    list(ctx, args, out, |_, value| value)
}

fn list(
    ctx: &ReadContext<'_>,
    args: Args<'_>,
    out: &mut Encoder<'_>,
    part: for<'a> fn(&'a [u8], &'a [u8]) -> &'a [u8],
) -> Outcome {
    let Some(hash) = ctx.object::<Hash>(args.arg(1))? else {
        out.array(0);
        return Ok(());
    };
    out.array(hash.len());
    hash.visit_pairs(0, hash.len(), |field, value| out.bulk(part(field, value)));
    Ok(())
}

fn hscan(ctx: &ReadContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let cursor = scan::parse_cursor(args.arg(2))?;
    let Some(hash) = ctx.object::<Hash>(args.arg(1))? else {
        scan::write_head(0, 0, out);
        return Ok(());
    };
    let options = ScanOptions::parse(args, 3, Walk::Elements)?;
    let mut found = Vec::new();
    let next = hash.scan(cursor, options.count, |field, value| {
        if options.matches(field) {
            found.push((field, value));
        }
    });
    scan::write_head(next, 2 * found.len(), out);
    for (field, value) in found {
        out.bulk(field);
        out.bulk(value);
    }
    Ok(())
}

fn hrandfield(ctx: &ReadContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    if args.len() == 2 {
        let hash = ctx.object::<Hash>(args.arg(1))?;
        let chosen = hash.and_then(|hash| hash.nth(random::below(ctx.random(), hash.len())));
        match chosen {
            Some((field, _)) => out.bulk(field),
            None => out.null(),
        }
        return Ok(());
    }
    let wanted = Wanted::parse(args.arg(2))?;
    let with_values = args.len() == 4 && is_option(args, 3, "withvalues");
    if args.len() > 3 && !with_values {
        return Err(CommandError::Syntax);
    }
    let Some(hash) = ctx.object::<Hash>(args.arg(1))? else {
        out.array(0);
        return Ok(());
    };
    let pairs = chosen_pairs(ctx, hash, wanted);
    let nested = with_values && out.protocol() == Protocol::Resp3;
    let parts = if with_values && !nested { 2 } else { 1 };
    out.array(parts * pairs.len());
    for (field, value) in pairs {
        if nested {
            out.array(2);
        }
        out.bulk(field);
        if with_values {
            out.bulk(value);
        }
    }
    Ok(())
}

fn chosen_pairs<'a>(
    ctx: &ReadContext<'_>,
    hash: &'a Hash,
    wanted: Wanted,
) -> Vec<(&'a [u8], &'a [u8])> {
    let numbers = match wanted {
        Wanted::Different(count) => random::different(count, hash.len(), || ctx.random()),
        Wanted::Repeated(count) => (0..count)
            .map(|_| random::below(ctx.random(), hash.len()))
            .collect(),
    };
    if hash.len() > PASSED_OVER && numbers.len() < hash.len() / 4 {
        return numbers.iter().filter_map(|&at| hash.nth(at)).collect();
    }
    let mut all = Vec::with_capacity(hash.len());
    hash.visit_pairs(0, hash.len(), |field, value| all.push((field, value)));
    numbers.iter().map(|&at| all[at]).collect()
}
