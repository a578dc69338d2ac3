//! Members chosen at random: SRANDMEMBER, and SPOP, which takes them out.
//!
//! SPOP chooses by the random sequence of its log entry and among members in their own order, so
//! all replicas take out the same ones.

use bailiwick_frame::{Args, Encoder};

use super::parse::integer;
use super::random::{self, Wanted};
use super::set::{ROW, write_member};
use super::touch::What;
use super::{
    Command, CommandError, Flag, Handler, Idle, Nothing, Outcome, ReadContext, WriteContext,
};
use crate::keyspace::{Elements, Member, Set};

/// Up to this many members it is quicker to pass over all than to look for each one chosen.
const PASSED_OVER: usize = 1024;

/// If what stays is so much less than what goes, Redis builds a new set of it, which may be small.
const REBUILD_FACTOR: usize = 5;

pub(super) static COMMANDS: &[Command] = &[
    Command {
        name: "spop",
        arity: -2,
        flags: Flag::Write as u32 | Flag::Fast as u32,
        complexity: "O(N) where N is the number of members asked for",
        summary: "Takes members chosen at random out of a set.",
        syntax: "key [count]",
        handler: Handler::Write(spop),
        idle: Idle::if_absent(Nothing::Null),
        ..ROW
    },
    Command {
        name: "srandmember",
        arity: -2,
        flags: Flag::Readonly as u32,
        complexity: "O(N) where N is the number of members asked for",
        summary: "Picks members of a set at random.",
        syntax: "key [count]",
        handler: Handler::Read(srandmember),
        ..ROW
    },
];

fn srandmember(ctx: &ReadContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    if args.len() > 3 {
        return Err(CommandError::Syntax);
    }
    if args.len() == 2 {
        let set = ctx.object::<Set>(args.arg(1))?;
        match set.and_then(|set| set.nth(random::below(ctx.random(), set.len()))) {
            Some(member) => write_member(member, out),
            None => out.null(),
        }
        return Ok(());
    }
    let wanted = Wanted::parse(args.arg(2))?;
    let Some(set) = ctx.object::<Set>(args.arg(1))? else {
        out.array(0);
        return Ok(());
    };
    let numbers = match wanted {
        Wanted::Different(count) => random::different(count, set.len(), || ctx.random()),
        Wanted::Repeated(count) => (0..count)
            .map(|_| random::below(ctx.random(), set.len()))
            .collect(),
    };
    out.array(numbers.len());
    for member in members_at(set, &numbers) {
        write_member(member, out);
    }
    Ok(())
}

fn members_at<'a>(set: &'a Set, numbers: &[usize]) -> Vec<Member<'a>> {
    if set.len() > PASSED_OVER && numbers.len() < set.len() / 4 {
        return numbers.iter().filter_map(|&at| set.nth(at)).collect();
    }
    let all: Vec<Member<'_>> = set.iter_from(0).collect();
    numbers.iter().map(|&at| all[at]).collect()
}

fn spop(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    match args.len() {
        2 => pop_one(ctx, args.arg(1), out),
        3 => pop_several(ctx, args.arg(1), positive_count(args.arg(2))?, out),
        _ => Err(CommandError::Syntax),
    }
}

/// A count that is not negative. Redis has one error for everything else.
fn positive_count(arg: &[u8]) -> Result<usize, CommandError> {
    const WRONG: CommandError = CommandError::text("ERR value is out of range, must be positive");
    let count = integer(arg).ok();
    count.and_then(|count| count.try_into().ok()).ok_or(WRONG)
}

fn pop_one(ctx: &mut WriteContext<'_>, key: &[u8], out: &mut Encoder<'_>) -> Outcome {
    let random = ctx.next_random();
    let popped = ctx.edit(key, |set: &mut Set| {
        let member = set.nth(random::below(random, set.len()));
        let member = member.expect("a set that is there has members");
        let member = member.with_bytes(<[u8]>::to_vec);
        set.remove(Member::Bytes(&member));
        (member, 1)
    })?;
    match popped {
        Some(member) => out.bulk(&member),
        None => out.null(),
    }
    Ok(())
}

fn pop_several(
    ctx: &mut WriteContext<'_>,
    key: &[u8],
    count: usize,
    out: &mut Encoder<'_>,
) -> Outcome {
    let Some(set) = ctx.peek_object::<Set>(key)?.filter(|_| count > 0) else {
        out.set(0);
        return Ok(());
    };
    let len = set.len();
    if count >= len {
        out.set(len);
        set.iter_from(0)
            .for_each(|member| write_member(member, out));
        // An event of its own, and then the key's end.
        let popped = What::Changed {
            is_new: false,
            expires: false,
        };
        ctx.note(ctx.database, key, popped);
        ctx.remove(key);
        // One has been counted.
        ctx.note_changes(len as u64 - 1);
        return Ok(());
    }
    let numbers = random::different(count, len, || ctx.next_random());
    let seed = ctx.seed();
    ctx.edit(key, |set: &mut Set| {
        let chosen = members_at(set, &numbers).into_iter();
        let chosen: Vec<Vec<u8>> = chosen
            .map(|member| member.with_bytes(<[u8]>::to_vec))
            .collect();
        out.set(chosen.len());
        for member in &chosen {
            set.remove(Member::Bytes(member));
            out.bulk(member);
        }
        if (len - count) * REBUILD_FACTOR <= count {
            set.rebuild(seed);
        }
        ((), count as u64)
    })?;
    Ok(())
}
