//! Sorted sets, waiting for members: BZPOPMIN, BZPOPMAX and BZMPOP.
//!
//! Each does at once what its sibling without the B does, if it can. If not, it waits where it may
//! (`commands/block`), and answers null elsewhere.

use bailiwick_frame::{Args, Encoder};

use super::ROW;
use super::remove::{End, MultiPop};
use crate::commands::block::{nothing_there, seconds};
use crate::commands::{Command, Flag, Handler, Keys, Outcome, Timeout, WriteContext};
use crate::keyspace::SortedSet;
use crate::state::{Awaits, Kind};

const WRITE: u32 = Flag::Write as u32 | Flag::Blocking as u32;

const POP: Command = Command {
    arity: -3,
    flags: WRITE | Flag::Noscript as u32 | Flag::Fast as u32,
    keys: Keys::Range {
        first: 1,
        last: -2,
        step: 1,
    },
    since: "5.0.0",
    complexity: "O(log(N)) where N is the size of the sorted set",
    syntax: "key [key ...] timeout",
    timeout: Timeout::Last,
    ..ROW
};

pub(in crate::commands) static COMMANDS: &[Command] = &[
    Command {
        name: "bzpopmin",
        summary: "Removes the member with the lowest score from the first sorted set that is there, \
                  and waits for one if there is none.",
        handler: Handler::Write(bzpopmin),
        ..POP
    },
    Command {
        name: "bzpopmax",
        summary: "Removes the member with the highest score from the first sorted set that is \
                  there, and waits for one if there is none.",
        handler: Handler::Write(bzpopmax),
        ..POP
    },
    Command {
        name: "bzmpop",
        arity: -5,
        flags: WRITE | Flag::Movablekeys as u32,
        keys: Keys::counted(2),
        since: "7.0.0",
        complexity: "O(K)+O(M*log(N)) where K is the number of keys, N the size of the sorted set \
                     and M the number of members removed",
        summary: "Removes the lowest or highest members of the first sorted set that is there, and \
                  waits for one if there is none.",
        syntax: "timeout numkeys key [key ...] <MIN | MAX> [COUNT count]",
        timeout: Timeout::First,
        handler: Handler::Write(bzmpop),
        ..ROW
    },
];

fn bzpopmin(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    pop(ctx, args, End::Lowest, out)
}

fn bzpopmax(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    pop(ctx, args, End::Highest, out)
}

fn pop(ctx: &mut WriteContext<'_>, args: Args<'_>, end: End, out: &mut Encoder<'_>) -> Outcome {
    let last = args.len() - 1;
    seconds(args.arg(last), ctx.now_ms)?;
    let keys = args.iter().take(last).skip(1);
    for key in keys.clone() {
        let popped = ctx.edit(key, |set: &mut SortedSet| {
            let ranks = end.ranks(set, 1);
            out.array(3);
            out.bulk(key);
            for (member, score) in set.walk(ranks.clone(), end == End::Highest) {
                out.bulk(member);
                out.double(score);
            }
            set.remove_ranks(ranks);
            ((), 1)
        })?;
        if popped.is_some() {
            return Ok(());
        }
    }
    nothing_there(ctx.may_wait, || for_sets(keys), || out.null_array())
}

fn bzmpop(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let pop = MultiPop::parse(args, 2)?;
    seconds(args.arg(1), ctx.now_ms)?;
    if pop.run(ctx, out)? {
        return Ok(());
    }
    nothing_there(ctx.may_wait, || for_sets(pop.keys()), || out.null_array())
}

fn for_sets<'a>(keys: impl Iterator<Item = &'a [u8]>) -> Awaits {
    Awaits {
        kind: Kind::SortedSet,
        or_absent: false,
        keys: keys.map(Box::from).collect(),
        request: None,
    }
}
