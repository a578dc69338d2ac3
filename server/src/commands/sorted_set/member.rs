//! Members and scores one by one: ZSCORE, ZMSCORE, ZCARD, ZRANK, ZREVRANK, ZSCAN.

use bailiwick_frame::{Args, Encoder};

use super::{READ, READ_FAST, ROW, write_score};
use crate::commands::scan::{self, ScanOptions, Walk};
use crate::commands::{Command, CommandError, Handler, Outcome, ReadContext, is_option};
use crate::keyspace::{Elements, Scored, SortedSet};

pub(in crate::commands) static COMMANDS: &[Command] = &[
    Command {
        name: "zscore",
        arity: 3,
        flags: READ_FAST,
        since: "1.2.0",
        summary: "Replies with the score of a member.",
        syntax: "key member",
        handler: Handler::Read(zscore),
        ..ROW
    },
    Command {
        name: "zmscore",
        arity: -3,
        flags: READ_FAST,
        since: "6.2.0",
        complexity: "O(N) where N is the number of members asked for",
        summary: "Replies with the scores of several members.",
        syntax: "key member [member ...]",
        handler: Handler::Read(zmscore),
        ..ROW
    },
    Command {
        name: "zcard",
        arity: 2,
        flags: READ_FAST,
        since: "1.2.0",
        summary: "Counts the members of a sorted set.",
        syntax: "key",
        handler: Handler::Read(zcard),
        ..ROW
    },
    Command {
        name: "zrank",
        arity: -3,
        flags: READ_FAST,
        since: "2.0.0",
        complexity: "O(log(N)) where N is the size of the sorted set",
        summary: "Tells how many members have a lower place than a member.",
        syntax: "key member [WITHSCORE]",
        handler: Handler::Read(zrank),
        ..ROW
    },
    Command {
        name: "zrevrank",
        arity: -3,
        flags: READ_FAST,
        since: "2.0.0",
        complexity: "O(log(N)) where N is the size of the sorted set",
        summary: "Tells how many members have a higher place than a member.",
        syntax: "key member [WITHSCORE]",
        handler: Handler::Read(zrevrank),
        ..ROW
    },
    Command {
        name: "zscan",
        arity: -3,
        flags: READ,
        since: "2.8.0",
        complexity: "O(1) for a call, O(N) for a whole iteration over N members",
        summary: "Lists members and scores a few at a time, from a cursor to the next.",
        syntax: "key cursor [MATCH pattern] [COUNT count]",
        handler: Handler::Read(zscan),
        ..ROW
    },
];

fn zscore(ctx: &ReadContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let set = ctx.object::<SortedSet>(args.arg(1))?;
    write_score(set.and_then(|set| set.score(args.arg(2))), out);
    Ok(())
}

fn zmscore(ctx: &ReadContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let set = ctx.object::<SortedSet>(args.arg(1))?;
    out.array(args.len() - 2);
    for member in args.iter().skip(2) {
        write_score(set.and_then(|set| set.score(member)), out);
    }
    Ok(())
}

fn zcard(ctx: &ReadContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let set = ctx.object::<SortedSet>(args.arg(1))?;
    out.integer(set.map_or(0, Elements::len) as i64);
    Ok(())
}

fn zrank(ctx: &ReadContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    write_rank(ctx, args, "zrank", |rank, _| rank, out)
}

fn zrevrank(ctx: &ReadContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    write_rank(ctx, args, "zrevrank", |rank, len| len - 1 - rank, out)
}

fn write_rank(
    ctx: &ReadContext<'_>,
    args: Args<'_>,
    command: &str,
    count: fn(usize, usize) -> usize,
    out: &mut Encoder<'_>,
) -> Outcome {
    let with_score = match args.len() {
        3 => false,
        4 if is_option(args, 3, "withscore") => true,
        4 => return Err(CommandError::Syntax),
        _ => return Err(CommandError::arity(command)),
    };
    let (set, member) = (ctx.object::<SortedSet>(args.arg(1))?, args.arg(2));
    let found = set.and_then(|set| Some((set, set.score(member)?)));
    match found {
        Some((set, score)) => {
            if with_score {
                out.array(2);
            }
            out.integer(count(set.rank((member, score)), set.len()) as i64);
            if with_score {
                out.double(score);
            }
        }
        None if with_score => out.null_array(),
        None => out.null(),
    }
    Ok(())
}

fn zscan(ctx: &ReadContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let cursor = scan::parse_cursor(args.arg(2))?;
    let Some(set) = ctx.object::<SortedSet>(args.arg(1))? else {
        // Redis reads the options only for a key that is there.
        scan::write_head(0, 0, out);
        return Ok(());
    };
    let options = ScanOptions::parse(args, 3, Walk::Elements)?;
    let mut found: Vec<Scored<'_>> = Vec::new();
    let next = set.scan(cursor, options.count, |(member, score)| {
        if options.matches(member) {
            found.push((member, score));
        }
    });
    scan::write_head(next, 2 * found.len(), out);
    let mut text = Vec::new();
    for (member, score) in found {
        out.bulk(member);
        // A string, also where scores are otherwise doubles.
        text.clear();
        bailiwick_frame::format_double(score, &mut text);
        out.bulk(&text);
    }
    Ok(())
}
