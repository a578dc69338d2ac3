//! Removing members: ZREM, the ZREMRANGEBY family, ZPOPMIN, ZPOPMAX, ZMPOP.

use std::ops::Range;

use bailiwick_frame::{Args, Encoder, Protocol};

use super::range_query::{By, Window};
use super::{ROW, WRITE, WRITE_FAST, write_member, write_members};
use crate::commands::context::is_absent_or;
use crate::commands::parse::integer;
use crate::commands::{
    Command, CommandError, Handler, Idle, Keys, Nothing, Outcome, WriteContext, is_option,
};
use crate::keyspace::{Elements, SortedSet};

const LOG_N_M: &str =
    "O(log(N)*M) where N is the size of the sorted set and M the number of members removed";
const NEGATIVE: CommandError = CommandError::text("ERR value is out of range, must be positive");
const NO_KEYS: CommandError = CommandError::text("ERR numkeys should be greater than 0");
const NO_COUNT: CommandError = CommandError::text("ERR count should be greater than 0");

const REMOVAL: Command = Command {
    arity: 4,
    flags: WRITE,
    complexity: LOG_N_M,
    ..ROW
};

pub(in crate::commands) static COMMANDS: &[Command] = &[
    Command {
        name: "zrem",
        arity: -3,
        flags: WRITE_FAST,
        since: "1.2.0",
        summary: "Removes members from a sorted set.",
        syntax: "key member [member ...]",
        handler: Handler::Write(zrem),
        idle: Some(Idle {
            may_be: Command::is_shortest,
            when: |entry, args| {
                is_absent_or(entry, |set: &SortedSet| set.score(args.arg(2)).is_none())
            },
            reply: Nothing::Zero,
        }),
        ..REMOVAL
    },
    Command {
        name: "zremrangebylex",
        since: "2.8.9",
        summary: "Removes the members between two members, where all scores are equal.",
        syntax: "key min max",
        handler: Handler::Write(zremrangebylex),
        ..REMOVAL
    },
    Command {
        name: "zremrangebyrank",
        since: "2.0.0",
        summary: "Removes the members in a range of ranks.",
        syntax: "key start stop",
        handler: Handler::Write(zremrangebyrank),
        ..REMOVAL
    },
    Command {
        name: "zremrangebyscore",
        since: "1.2.0",
        summary: "Removes the members between two scores.",
        syntax: "key min max",
        handler: Handler::Write(zremrangebyscore),
        ..REMOVAL
    },
    Command {
        name: "zpopmax",
        arity: -2,
        flags: WRITE_FAST,
        since: "5.0.0",
        summary: "Removes the members with the highest scores and replies with them.",
        syntax: "key [count]",
        handler: Handler::Write(zpopmax),
        idle: Idle::if_absent(Nothing::EmptyArray),
        ..REMOVAL
    },
    Command {
        name: "zpopmin",
        arity: -2,
        flags: WRITE_FAST,
        since: "5.0.0",
        summary: "Removes the members with the lowest scores and replies with them.",
        syntax: "key [count]",
        handler: Handler::Write(zpopmin),
        idle: Idle::if_absent(Nothing::EmptyArray),
        ..REMOVAL
    },
    Command {
        name: "zmpop",
        arity: -4,
        keys: Keys::counted(1),
        since: "7.0.0",
        complexity: "O(K)+O(M*log(N)) where K is the number of keys, N the size of the sorted set \
                     and M the number of members removed",
        summary: "Removes the lowest or highest members of the first sorted set that is there.",
        syntax: "numkeys key [key ...] <MIN | MAX> [COUNT count]",
        handler: Handler::Write(zmpop),
        ..REMOVAL
    },
];

fn zrem(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let removed = ctx.edit(args.arg(1), |set: &mut SortedSet| {
        let members = args.iter().skip(2);
        let removed = members
            .filter(|member| set.remove(member).is_some())
            .count();
        (removed, removed as u64)
    })?;
    out.integer(removed.unwrap_or(0) as i64);
    Ok(())
}

fn zremrangebylex(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    remove_range(ctx, args, By::Lex, out)
}

fn zremrangebyrank(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    remove_range(ctx, args, By::Rank, out)
}

fn zremrangebyscore(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    remove_range(ctx, args, By::Score, out)
}

fn remove_range(
    ctx: &mut WriteContext<'_>,
    args: Args<'_>,
    by: By,
    out: &mut Encoder<'_>,
) -> Outcome {
    let window = Window::parse(by, (args.arg(2), args.arg(3)))?;
    let key = args.arg(1);
    let Some(set) = ctx.peek_object::<SortedSet>(key)? else {
        out.integer(0);
        return Ok(());
    };
    let (ranks, len) = (window.ranks(set), set.len());
    let removed = ranks.len();
    if removed == len {
        // The key goes, and the set with it in one piece: members of a large one are not freed
        // here.
        ctx.remove(key);
        ctx.note_changes(removed as u64 - 1);
    } else if removed > 0 {
        ctx.edit(key, |set: &mut SortedSet| {
            set.remove_ranks(ranks);
            ((), removed as u64)
        })?;
    }
    out.integer(removed as i64);
    Ok(())
}

/// From which end members are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Lowest,
    Highest,
}

impl End {
    fn parse(args: Args<'_>, at: usize) -> Result<Self, CommandError> {
        match () {
            () if is_option(args, at, "min") => Ok(Self::Lowest),
            () if is_option(args, at, "max") => Ok(Self::Highest),
            () => Err(CommandError::Syntax),
        }
    }

    /// Where the first `count` members stand from this end.
    pub(super) fn ranks(self, set: &SortedSet, count: usize) -> Range<usize> {
        let count = count.min(set.len());
        match self {
            Self::Lowest => 0..count,
            Self::Highest => set.len() - count..set.len(),
        }
    }
}

fn zpopmax(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    pop(ctx, args, End::Highest, out)
}

fn zpopmin(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    pop(ctx, args, End::Lowest, out)
}

fn pop(ctx: &mut WriteContext<'_>, args: Args<'_>, end: End, out: &mut Encoder<'_>) -> Outcome {
    if args.len() > 3 {
        return Err(CommandError::Syntax);
    }
    let count = args
        .get(2)
        .map(|arg| number(arg, 0, NEGATIVE))
        .transpose()?;
    let popped = ctx.edit(args.arg(1), |set: &mut SortedSet| {
        let ranks = end.ranks(set, count.unwrap_or(1));
        let (len, members) = (ranks.len(), set.walk(ranks.clone(), end == End::Highest));
        match count {
            Some(_) => write_members(members, len, true, out),
            // Only a count makes a list of pairs.
            None => {
                out.array(2 * len);
                members.for_each(|(member, score)| {
                    out.bulk(member);
                    out.double(score);
                });
            }
        }
        set.remove_ranks(ranks);
        ((), len as u64)
    })?;
    if popped.is_none() {
        out.array(0);
    }
    Ok(())
}

fn zmpop(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    if !MultiPop::parse(args, 1)?.run(ctx, out)? {
        out.null_array();
    }
    Ok(())
}

/// Some members of the first sorted set that is there.
pub(super) struct MultiPop<'a> {
    args: Args<'a>,
    keys: Range<usize>,
    end: End,
    count: usize,
}

impl<'a> MultiPop<'a> {
    /// Reads the arguments from the number of keys on, which stands at `numkeys_at`.
    pub(super) fn parse(args: Args<'a>, numkeys_at: usize) -> Result<Self, CommandError> {
        let (keys, first) = (number(args.arg(numkeys_at), 1, NO_KEYS)?, numkeys_at + 1);
        let behind = keys.saturating_add(first);
        let end = End::parse(args, behind)?;
        let mut count = None;
        let mut at = behind + 1;
        while at < args.len() {
            if count.is_some() || !is_option(args, at, "count") || at + 1 == args.len() {
                return Err(CommandError::Syntax);
            }
            count = Some(number(args.arg(at + 1), 1, NO_COUNT)?);
            at += 2;
        }
        Ok(Self {
            args,
            keys: first..behind,
            end,
            count: count.unwrap_or(1),
        })
    }

    /// The keys in their order.
    pub(super) fn keys(&self) -> impl Iterator<Item = &'a [u8]> {
        self.args.iter().take(self.keys.end).skip(self.keys.start)
    }

    /// Removes the members and replies with them; false, without a reply, if there is no set.
    pub(super) fn run(
        &self,
        ctx: &mut WriteContext<'_>,
        out: &mut Encoder<'_>,
    ) -> Result<bool, CommandError> {
        for key in self.keys() {
            let popped = ctx.edit(key, |set: &mut SortedSet| {
                let ranks = self.end.ranks(set, self.count);
                let len = ranks.len();
                out.array(2);
                out.bulk(key);
                out.array(len);
                for member in set.walk(ranks.clone(), self.end == End::Highest) {
                    // Pairs in both versions of the protocol.
                    if out.protocol() == Protocol::Resp2 {
                        out.array(2);
                    }
                    write_member(member, true, out);
                }
                set.remove_ranks(ranks);
                ((), len as u64)
            })?;
            if popped.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// An integer of at least `min`; one error for everything else.
fn number(arg: &[u8], min: usize, refusal: CommandError) -> Result<usize, CommandError> {
    let number = integer(arg)
        .ok()
        .and_then(|number| usize::try_from(number).ok());
    number.filter(|&number| number >= min).ok_or(refusal)
}
