//! A random choice of members: ZRANDMEMBER.
//!
//! It changes nothing, so it draws from the node's own random sequence.

use bailiwick_frame::{Args, Encoder};

use super::{READ, ROW, write_members};
use crate::commands::random::{self, Wanted};
use crate::commands::{Command, CommandError, Handler, Outcome, ReadContext, is_option};
use crate::keyspace::{Elements, Scored, SortedSet};

const OUT_OF_RANGE: CommandError = CommandError::text("ERR value is out of range");

pub(in crate::commands) static COMMANDS: &[Command] = &[Command {
    name: "zrandmember",
    arity: -2,
    flags: READ,
    since: "6.2.0",
    complexity: "O(N*log(M)) where N is the number of members returned and M the size of the set",
    summary: "Replies with members chosen at random.",
    syntax: "key [count [WITHSCORES]]",
    handler: Handler::Read(zrandmember),
    ..ROW
}];

fn zrandmember(ctx: &ReadContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    if args.len() == 2 {
        match ctx.object::<SortedSet>(args.arg(1))? {
            Some(set) => out.bulk(at(set, random::below(ctx.random(), set.len())).0),
            None => out.null(),
        }
        return Ok(());
    }
    let wanted = Wanted::parse(args.arg(2))?;
    let with_scores = match args.len() {
        3 => false,
        4 if is_option(args, 3, "withscores") => true,
        _ => return Err(CommandError::Syntax),
    };
    // Members and scores together are to be counted, too.
    if with_scores && matches!(wanted, Wanted::Different(count) if count > i64::MAX as usize / 2) {
        return Err(OUT_OF_RANGE);
    }
    let Some(set) = ctx.object::<SortedSet>(args.arg(1))? else {
        out.array(0);
        return Ok(());
    };
    let ranks = match wanted {
        Wanted::Different(count) => random::different(count, set.len(), || ctx.random()),
        Wanted::Repeated(count) => (0..count)
            .map(|_| random::below(ctx.random(), set.len()))
            .collect(),
    };
    let members = ranks.iter().map(|&rank| at(set, rank));
    write_members(members, ranks.len(), with_scores, out);
    Ok(())
}

fn at(set: &SortedSet, rank: usize) -> Scored<'_> {
    let mut walk = set.walk(rank..rank + 1, false);
    walk.next()
        .expect("the rank is below the number of members")
}
