//! Ranges by rank, score and member: the ZRANGE family, ZRANGESTORE, ZCOUNT, ZLEXCOUNT.

use bailiwick_frame::{Args, Encoder};

use super::bounds::{LexRange, ScoreRange};
use super::range_query::{By, Form, Query};
use super::{READ, READ_FAST, ROW, WRITE_DENYOOM, write_members};
use crate::commands::{
    Command, CommandError, Flag, Handler, Keys, Outcome, ReadContext, WriteContext,
};
use crate::keyspace::SortedSet;

const LOG_N_M: &str =
    "O(log(N)+M) where N is the size of the sorted set and M the number of members returned";
const LOG_N: &str = "O(log(N)) where N is the size of the sorted set";

const RANGE: Command = Command {
    arity: -4,
    flags: READ,
    complexity: LOG_N_M,
    ..ROW
};

pub(in crate::commands) static COMMANDS: &[Command] = &[
    Command {
        name: "zrange",
        since: "1.2.0",
        summary: "Lists the members in a range of ranks, scores or members.",
        syntax: "key start stop [BYSCORE | BYLEX] [REV] [LIMIT offset count] [WITHSCORES]",
        handler: Handler::Read(zrange),
        ..RANGE
    },
    Command {
        name: "zrangebylex",
        since: "2.8.9",
        summary: "Lists the members between two members, where all scores are equal.",
        syntax: "key min max [LIMIT offset count]",
        handler: Handler::Read(zrangebylex),
        ..RANGE
    },
    Command {
        name: "zrangebyscore",
        since: "1.0.5",
        summary: "Lists the members between two scores.",
        syntax: "key min max [WITHSCORES] [LIMIT offset count]",
        handler: Handler::Read(zrangebyscore),
        ..RANGE
    },
    Command {
        name: "zrevrange",
        since: "1.2.0",
        summary: "Lists the members in a range of ranks, which count from the highest score.",
        syntax: "key start stop [WITHSCORES]",
        handler: Handler::Read(zrevrange),
        ..RANGE
    },
    Command {
        name: "zrevrangebylex",
        since: "2.8.9",
        summary: "Lists the members between two members backwards, where all scores are equal.",
        syntax: "key max min [LIMIT offset count]",
        handler: Handler::Read(zrevrangebylex),
        ..RANGE
    },
    Command {
        name: "zrevrangebyscore",
        since: "2.2.0",
        summary: "Lists the members between two scores, the highest first.",
        syntax: "key max min [WITHSCORES] [LIMIT offset count]",
        handler: Handler::Read(zrevrangebyscore),
        ..RANGE
    },
    Command {
        name: "zrangestore",
        arity: -5,
        flags: WRITE_DENYOOM,
        keys: Keys::Range {
            first: 1,
            last: 2,
            step: 1,
        },
        since: "6.2.0",
        summary: "Stores the members in a range of ranks, scores or members.",
        syntax: "dst src min max [BYSCORE | BYLEX] [REV] [LIMIT offset count]",
        handler: Handler::Write(zrangestore),
        ..RANGE
    },
    Command {
        name: "zcount",
        arity: 4,
        flags: READ_FAST,
        since: "2.0.0",
        complexity: LOG_N,
        summary: "Counts the members between two scores.",
        syntax: "key min max",
        handler: Handler::Read(zcount),
        ..ROW
    },
    Command {
        name: "zlexcount",
        arity: 4,
        flags: READ | Flag::Fast as u32,
        since: "2.8.9",
        complexity: LOG_N,
        summary: "Counts the members between two members, where all scores are equal.",
        syntax: "key min max",
        handler: Handler::Read(zlexcount),
        ..ROW
    },
];

fn zrange(ctx: &ReadContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    list(ctx, args, None, None, out)
}

fn zrangebylex(ctx: &ReadContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    list(ctx, args, Some(By::Lex), Some(false), out)
}

fn zrangebyscore(ctx: &ReadContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    list(ctx, args, Some(By::Score), Some(false), out)
}

fn zrevrange(ctx: &ReadContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    list(ctx, args, Some(By::Rank), Some(true), out)
}

fn zrevrangebylex(ctx: &ReadContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    list(ctx, args, Some(By::Lex), Some(true), out)
}

fn zrevrangebyscore(ctx: &ReadContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    list(ctx, args, Some(By::Score), Some(true), out)
}

fn list(
    ctx: &ReadContext<'_>,
    args: Args<'_>,
    by: Option<By>,
    reverse: Option<bool>,
    out: &mut Encoder<'_>,
) -> Outcome {
    let form = Form {
        first: 2,
        by,
        reverse,
        stores: false,
    };
    let query = Query::parse(args, form)?;
    match ctx.object::<SortedSet>(args.arg(1))? {
        Some(set) => {
            let (members, len) = query.members(set);
            write_members(members, len, query.with_scores, out);
        }
        None => out.array(0),
    }
    Ok(())
}

fn zrangestore(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let form = Form {
        first: 3,
        by: None,
        reverse: None,
        stores: true,
    };
    let query = Query::parse(args, form)?;
    let (seed, mut stored, mut len) = (ctx.seed(), SortedSet::default(), 0);
    if let Some(set) = ctx.object::<SortedSet>(args.arg(2))? {
        let (members, count) = query.members(set);
        len = count;
        stored.expect(len, seed);
        for (member, score) in members {
            stored.set(member, score, seed);
        }
    }
    ctx.store(args.arg(1), stored);
    out.integer(len as i64);
    Ok(())
}

fn zcount(ctx: &ReadContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let range = ScoreRange::parse(args.arg(2), args.arg(3))?;
    write_count(ctx, args, |set| range.ranks(set).len(), out)
}

fn zlexcount(ctx: &ReadContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let range = LexRange::parse(args.arg(2), args.arg(3))?;
    write_count(ctx, args, |set| range.ranks(set).len(), out)
}

fn write_count(
    ctx: &ReadContext<'_>,
    args: Args<'_>,
    count: impl Fn(&SortedSet) -> usize,
    out: &mut Encoder<'_>,
) -> Outcome {
    let set: Result<Option<&SortedSet>, CommandError> = ctx.object(args.arg(1));
    out.integer(set?.map_or(0, count) as i64);
    Ok(())
}
