//! Sets made of sets: intersections, unions and differences, read or stored.
//!
//! An absent key is an empty set. All keys are looked at before anything is computed, so one of the
//! wrong type is an error wherever it stands; what a stored result replaces may be of any type.

use bailiwick_frame::{Args, Encoder};

use super::parse::integer;
use super::set::{ROW, write_member};
use super::{
    Command, CommandError, Flag, Handler, Keys, Outcome, ReadContext, WriteContext, is_option,
};
use crate::keyspace::{Elements, Member, Set};

const INTERSECTION_COST: &str =
    "O(N*M) where N is the size of the smallest set and M the number of sets";
const TOTAL_COST: &str = "O(N) where N is the number of members in all sets";

pub(super) static COMMANDS: &[Command] = &[
    Command {
        name: "sinter",
        summary: "Lists the members that all of the sets have.",
        complexity: INTERSECTION_COST,
        handler: Handler::Read(sinter),
        ..READ
    },
    Command {
        name: "sinterstore",
        summary: "Stores the set of members that all of the sets have, and counts them.",
        complexity: INTERSECTION_COST,
        handler: Handler::Write(sinterstore),
        ..STORE
    },
    Command {
        name: "sintercard",
        arity: -3,
        since: "7.0.0",
        keys: Keys::counted(1),
        complexity: INTERSECTION_COST,
        summary: "Counts the members that all of the sets have, up to a limit.",
        syntax: "numkeys key [key ...] [LIMIT limit]",
        handler: Handler::Read(sintercard),
        ..READ
    },
    Command {
        name: "sunion",
        summary: "Lists the members that any of the sets has.",
        complexity: TOTAL_COST,
        handler: Handler::Read(sunion),
        ..READ
    },
    Command {
        name: "sunionstore",
        summary: "Stores the set of members that any of the sets has, and counts them.",
        complexity: TOTAL_COST,
        handler: Handler::Write(sunionstore),
        ..STORE
    },
    Command {
        name: "sdiff",
        summary: "Lists the members that only the first of the sets has.",
        complexity: TOTAL_COST,
        handler: Handler::Read(sdiff),
        ..READ
    },
    Command {
        name: "sdiffstore",
        summary: "Stores the set of members that only the first of the sets has, and counts them.",
        complexity: TOTAL_COST,
        handler: Handler::Write(sdiffstore),
        ..STORE
    },
];

const READ: Command = Command {
    arity: -2,
    flags: Flag::Readonly as u32,
    keys: Keys::ALL,
    syntax: "key [key ...]",
    ..ROW
};

const STORE: Command = Command {
    arity: -3,
    flags: Flag::Write as u32 | Flag::Denyoom as u32,
    keys: Keys::ALL,
    syntax: "destination key [key ...]",
    ..ROW
};

/// Computes members from sets, an absent one being `None`.
type Operation = fn(&[Option<&Set>], &mut dyn FnMut(Member<'_>));

fn sinter(ctx: &ReadContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let sets = read_sets(ctx, args.iter().skip(1))?;
    let mut found = Vec::new();
    intersect(&sets, |member| {
        found.push(member);
        true
    });
    write_members(found.into_iter(), out);
    Ok(())
}

fn sunion(ctx: &ReadContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let sets = read_sets(ctx, args.iter().skip(1))?;
    let mut union = Set::default();
    unite(&sets, &mut |member| {
        union.add(member, ctx.keyspace.seed());
    });
    out.set(union.len());
    union
        .iter_from(0)
        .for_each(|member| write_member(member, out));
    Ok(())
}

fn sdiff(ctx: &ReadContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let sets = read_sets(ctx, args.iter().skip(1))?;
    write_members(difference(&sets).collect::<Vec<_>>().into_iter(), out);
    Ok(())
}

fn sintercard(ctx: &ReadContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let (keys, limit) = parse_counted(args)?;
    let sets = read_sets(ctx, args.iter().skip(2).take(keys))?;
    let mut count = 0;
    intersect(&sets, |_| {
        count += 1;
        limit == 0 || count < limit
    });
    out.integer(count);
    Ok(())
}

/// How many keys SINTERCARD has, and its limit, 0 for none.
fn parse_counted(args: Args<'_>) -> Result<(usize, i64), CommandError> {
    const NO_KEYS: CommandError = CommandError::text("ERR numkeys should be greater than 0");
    const TOO_MANY: CommandError =
        CommandError::text("ERR Number of keys can't be greater than number of args");
    const NEGATIVE: CommandError = CommandError::text("ERR LIMIT can't be negative");
    let count = integer(args.arg(1)).ok().filter(|&count| count > 0);
    let count = usize::try_from(count.ok_or(NO_KEYS)?).unwrap_or(usize::MAX);
    if count > args.len() - 2 {
        return Err(TOO_MANY);
    }
    let mut limit = 0;
    let mut at = 2 + count;
    while at < args.len() {
        if !is_option(args, at, "limit") || at + 1 == args.len() {
            return Err(CommandError::Syntax);
        }
        let number = integer(args.arg(at + 1)).ok().filter(|&limit| limit >= 0);
        limit = number.ok_or(NEGATIVE)?;
        at += 2;
    }
    Ok((count, limit))
}

fn sinterstore(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    store(ctx, args, out, |sets, add| {
        intersect(sets, |member| {
            add(member);
            true
        });
    })
}

fn sunionstore(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    store(ctx, args, out, unite)
}

fn sdiffstore(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    store(ctx, args, out, |sets, add| difference(sets).for_each(add))
}

fn store(
    ctx: &mut WriteContext<'_>,
    args: Args<'_>,
    out: &mut Encoder<'_>,
    operation: Operation,
) -> Outcome {
    let seed = ctx.seed();
    let mut result = Set::default();
    {
        let reader = ctx.reader();
        let sets = read_sets(&reader, args.iter().skip(2))?;
        operation(&sets, &mut |member| {
            result.add(member, seed);
        });
    }
    out.integer(result.len() as i64);
    ctx.store(args.arg(1), result);
    Ok(())
}

fn read_sets<'a, 'k>(
    ctx: &ReadContext<'a>,
    keys: impl Iterator<Item = &'k [u8]>,
) -> Result<Vec<Option<&'a Set>>, CommandError> {
    keys.map(|key| ctx.object(key)).collect()
}

/// Visits what all sets have until `visit` says that it is enough.
fn intersect<'a>(sets: &[Option<&'a Set>], mut visit: impl FnMut(Member<'a>) -> bool) {
    let sets: Option<Vec<&Set>> = sets.iter().copied().collect();
    let Some(mut sets) = sets else { return };
    // Few candidates, and what rules most of them out first.
    sets.sort_by_key(|set| set.len());
    let Some((smallest, others)) = sets.split_first() else {
        return;
    };
    for member in smallest.iter_from(0) {
        if others.iter().all(|set| set.contains(member)) && !visit(member) {
            return;
        }
    }
}

/// Visits what the sets have, possibly more than once.
fn unite(sets: &[Option<&Set>], visit: &mut dyn FnMut(Member<'_>)) {
    let members = sets.iter().flatten().flat_map(|set| set.iter_from(0));
    members.for_each(visit);
}

/// What the first set has and no other one.
fn difference<'a>(sets: &[Option<&'a Set>]) -> impl Iterator<Item = Member<'a>> {
    let (first, others) = match sets.split_first() {
        Some((first, others)) => (*first, others),
        None => (None, sets),
    };
    let members = first.into_iter().flat_map(|set| set.iter_from(0));
    members.filter(|&member| !others.iter().flatten().any(|set| set.contains(member)))
}

fn write_members<'a>(members: impl ExactSizeIterator<Item = Member<'a>>, out: &mut Encoder<'_>) {
    out.set(members.len());
    members.for_each(|member| write_member(member, out));
}
