//! Members of sets, one or several at a time: SADD and SMEMBERS and their kin.
//!
//! Intersections and the like are in `set_algebra`, choosing at random in `set_random`. A set that
//! loses its last member is removed with its key.

use bailiwick_frame::{Args, Encoder};

use super::context::{held, is_absent_or};
use super::scan::{self, ScanOptions, Walk};
use super::{
    Category, Command, DEFAULT, Flag, Group, Handler, Idle, Keys, Nothing, Outcome, ReadContext,
    WriteContext,
};
use crate::keyspace::{Elements, Member, Set};

const READ: u32 = Flag::Readonly as u32 | Flag::Fast as u32;
const WRITE: u32 = Flag::Write as u32 | Flag::Fast as u32;

/// What all rows about sets have in common.
pub(super) const ROW: Command = Command {
    categories: Category::Set as u32,
    keys: Keys::FIRST,
    group: Group::Set,
    ..DEFAULT
};

pub(super) static COMMANDS: &[Command] = &[
    Command {
        name: "sadd",
        arity: -3,
        flags: WRITE | Flag::Denyoom as u32,
        complexity: "O(N) where N is the number of members given",
        summary: "Adds members to a set and counts those that are new.",
        syntax: "key member [member ...]",
        handler: Handler::Write(sadd),
        idle: Some(Idle {
            may_be: Command::is_shortest,
            when: |entry, args| {
                let is_member = |set: &Set| set.contains(Member::Bytes(args.arg(2)));
                entry.is_some_and(|entry| held(entry).is_ok_and(is_member))
            },
            reply: Nothing::Zero,
        }),
        ..ROW
    },
    Command {
        name: "srem",
        arity: -3,
        flags: WRITE,
        complexity: "O(N) where N is the number of members given",
        summary: "Removes members from a set and counts those that were there.",
        syntax: "key member [member ...]",
        handler: Handler::Write(srem),
        idle: Some(Idle {
            may_be: Command::is_shortest,
            when: |entry, args| {
                is_absent_or(entry, |set: &Set| !set.contains(Member::Bytes(args.arg(2))))
            },
            reply: Nothing::Zero,
        }),
        ..ROW
    },
    Command {
        name: "smembers",
        arity: 2,
        flags: Flag::Readonly as u32,
        complexity: "O(N) where N is the number of members",
        summary: "Lists all members of a set.",
        syntax: "key",
        handler: Handler::Read(smembers),
        ..ROW
    },
    Command {
        name: "sismember",
        arity: 3,
        flags: READ,
        summary: "Tells whether a set has a member.",
        syntax: "key member",
        handler: Handler::Read(sismember),
        ..ROW
    },
    Command {
        name: "smismember",
        arity: -3,
        flags: READ,
        since: "6.2.0",
        complexity: "O(N) where N is the number of members asked for",
        summary: "Tells for each of several members whether a set has it.",
        syntax: "key member [member ...]",
        handler: Handler::Read(smismember),
        ..ROW
    },
    Command {
        name: "scard",
        arity: 2,
        flags: READ,
        summary: "Counts the members of a set.",
        syntax: "key",
        handler: Handler::Read(scard),
        ..ROW
    },
    Command {
        name: "smove",
        arity: 4,
        flags: WRITE,
        keys: Keys::Range {
            first: 1,
            last: 2,
            step: 1,
        },
        summary: "Moves a member from one set to another.",
        syntax: "source destination member",
        handler: Handler::Write(smove),
        ..ROW
    },
    Command {
        name: "sscan",
        arity: -3,
        flags: Flag::Readonly as u32,
        since: "2.8.0",
        complexity: "O(1) for a call, O(N) for a whole iteration over N members",
        summary: "Lists members a few at a time, from a cursor to the next.",
        syntax: "key cursor [MATCH pattern] [COUNT count]",
        handler: Handler::Read(sscan),
        ..ROW
    },
];

/// Writes a member as a string.
pub(super) fn write_member(member: Member<'_>, out: &mut Encoder<'_>) {
    member.with_bytes(|bytes| out.bulk(bytes));
}

fn sadd(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let (seed, members) = (ctx.seed(), args.from(2));
    let added = ctx.edit_or_create(args.arg(1), |set: &mut Set| {
        set.prepare(members.arg(0), members.len(), seed);
        let added = members
            .iter()
            .filter(|member| set.add(Member::Bytes(member), seed))
            .count();
        (added, added as u64)
    })?;
    out.integer(added as i64);
    Ok(())
}

fn srem(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let removed = ctx.edit(args.arg(1), |set: &mut Set| {
        let members = args.iter().skip(2).map(Member::Bytes);
        let removed = members.filter(|member| set.remove(*member)).count();
        (removed, removed as u64)
    })?;
    out.integer(removed.unwrap_or(0) as i64);
    Ok(())
}

fn smembers(ctx: &ReadContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let set = ctx.object::<Set>(args.arg(1))?;
    out.set(set.map_or(0, Set::len));
    if let Some(set) = set {
        set.iter_from(0)
            .for_each(|member| write_member(member, out));
    }
    Ok(())
}

fn sismember(ctx: &ReadContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let set = ctx.object::<Set>(args.arg(1))?;
    let member = Member::Bytes(args.arg(2));
    out.integer(set.is_some_and(|set| set.contains(member)).into());
    Ok(())
}

fn smismember(ctx: &ReadContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let set = ctx.object::<Set>(args.arg(1))?;
    out.array(args.len() - 2);
    for member in args.iter().skip(2).map(Member::Bytes) {
        out.integer(set.is_some_and(|set| set.contains(member)).into());
    }
    Ok(())
}

fn scard(ctx: &ReadContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let set = ctx.object::<Set>(args.arg(1))?;
    out.integer(set.map_or(0, Set::len) as i64);
    Ok(())
}

fn smove(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let (source, target, member) = (args.arg(1), args.arg(2), Member::Bytes(args.arg(3)));
    let seed = ctx.seed();
    let Some(set) = ctx.peek_object::<Set>(source)? else {
        out.integer(0);
        return Ok(());
    };
    let is_there = set.contains(member);
    ctx.peek_object::<Set>(target)?;
    if is_there && source != target {
        ctx.edit(source, |set: &mut Set| (set.remove(member), 1))?;
        ctx.edit_or_create(target, |set: &mut Set| {
            let is_added = set.add(member, seed);
            ((), is_added.into())
        })?;
    }
    out.integer(is_there.into());
    Ok(())
}

fn sscan(ctx: &ReadContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let cursor = scan::parse_cursor(args.arg(2))?;
    let Some(set) = ctx.object::<Set>(args.arg(1))? else {
        scan::write_head(0, 0, out);
        return Ok(());
    };
    let options = ScanOptions::parse(args, 3, Walk::Elements)?;
    let mut found = Vec::new();
    let next = set.scan(cursor, options.count, |member| {
        if member.with_bytes(|bytes| options.matches(bytes)) {
            found.push(member);
        }
    });
    scan::write_head(next, found.len(), out);
    for member in found {
        write_member(member, out);
    }
    Ok(())
}

#[cfg(test)]
#[path = "set_tests.rs"]
mod tests;
