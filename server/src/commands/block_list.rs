//! Lists, waiting for elements: BLPOP, BRPOP, BLMOVE, BRPOPLPUSH and BLMPOP.
//!
//! Each does at once what its sibling without the B does, if it can. If not, it waits where it may
//! (`block`), and answers null elsewhere.

use bailiwick_frame::{Args, Encoder};

use super::block::{nothing_there, seconds};
use super::list::{ROW, take_one, write_element};
use super::list_move::{MultiPop, TWO_KEYS, end, move_element};
use super::{Command, Flag, Handler, Keys, Outcome, Timeout, WriteContext};
use crate::keyspace::list::{End, List};
use crate::state::{Awaits, Kind};

const WRITE: u32 = Flag::Write as u32 | Flag::Blocking as u32;
const NOSCRIPT: u32 = Flag::Noscript as u32;
const DENYOOM: u32 = Flag::Denyoom as u32;

const POP: Command = Command {
    arity: -3,
    flags: WRITE | NOSCRIPT,
    keys: Keys::Range {
        first: 1,
        last: -2,
        step: 1,
    },
    since: "2.0.0",
    complexity: "O(N), N being the number of keys.",
    syntax: "key [key ...] timeout",
    timeout: Timeout::Last,
    ..ROW
};

/// The rows of this module.
pub(super) static COMMANDS: &[Command] = &[
    Command {
        name: "blpop",
        summary: "Takes an element off the left end of the first list among several keys, and waits \
                  for one if there is none.",
        handler: Handler::Write(blpop),
        ..POP
    },
    Command {
        name: "brpop",
        summary: "Takes an element off the right end of the first list among several keys, and \
                  waits for one if there is none.",
        handler: Handler::Write(brpop),
        ..POP
    },
    Command {
        name: "blmove",
        arity: 6,
        flags: WRITE | NOSCRIPT | DENYOOM,
        keys: TWO_KEYS,
        since: "6.2.0",
        summary: "Takes an element off an end of a list, for which it waits if need be, and puts it \
                  at an end of another one.",
        syntax: "source destination <LEFT | RIGHT> <LEFT | RIGHT> timeout",
        timeout: Timeout::Last,
        handler: Handler::Write(blmove),
        ..ROW
    },
    Command {
        name: "brpoplpush",
        arity: 4,
        flags: WRITE | NOSCRIPT | DENYOOM,
        keys: TWO_KEYS,
        since: "2.2.0",
        summary: "Takes an element off the right end of a list, for which it waits if need be, and \
                  puts it at the left end of another one.",
        syntax: "source destination timeout",
        timeout: Timeout::Last,
        handler: Handler::Write(brpoplpush),
        ..ROW
    },
    Command {
        name: "blmpop",
        arity: -5,
        flags: WRITE | Flag::Movablekeys as u32,
        keys: Keys::counted(2),
        since: "7.0.0",
        complexity: "O(N+M), N being the number of keys and M the number of elements taken.",
        summary: "Takes elements off an end of the first list among several keys, and waits for one \
                  if there is none.",
        syntax: "timeout numkeys key [key ...] <LEFT | RIGHT> [COUNT count]",
        timeout: Timeout::First,
        handler: Handler::Write(blmpop),
        ..ROW
    },
];

fn blpop(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    pop(ctx, args, End::Front, out)
}

fn brpop(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    pop(ctx, args, End::Back, out)
}

fn pop(ctx: &mut WriteContext<'_>, args: Args<'_>, end: End, out: &mut Encoder<'_>) -> Outcome {
    let last = args.len() - 1;
    seconds(args.arg(last), ctx.now_ms)?;
    let keys = args.iter().take(last).skip(1);
    for key in keys.clone() {
        let found = ctx.edit(key, |list: &mut List| {
            out.array(2);
            out.bulk(key);
            take_one(list, end, |element| write_element(element, out));
            ((), 1)
        })?;
        if found.is_some() {
            return Ok(());
        }
    }
    nothing_there(ctx.may_wait, || for_lists(keys), || out.null_array())
}

fn blmove(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let (from, to) = (end(args, 3)?, end(args, 4)?);
    seconds(args.arg(5), ctx.now_ms)?;
    move_or_wait(ctx, (args.arg(1), from), (args.arg(2), to), out)
}

fn brpoplpush(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    seconds(args.arg(3), ctx.now_ms)?;
    let (source, destination) = (args.arg(1), args.arg(2));
    move_or_wait(ctx, (source, End::Back), (destination, End::Front), out)
}

fn move_or_wait(
    ctx: &mut WriteContext<'_>,
    source: (&[u8], End),
    destination: (&[u8], End),
    out: &mut Encoder<'_>,
) -> Outcome {
    if ctx.peek_object::<List>(source.0)?.is_some() {
        return move_element(ctx, source, destination, out);
    }
    let awaits = || for_lists(std::iter::once(source.0));
    nothing_there(ctx.may_wait, awaits, || out.null())
}

fn blmpop(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let pop = MultiPop::parse(args, 2)?;
    seconds(args.arg(1), ctx.now_ms)?;
    if pop.run(ctx, out)? {
        return Ok(());
    }
    nothing_there(ctx.may_wait, || for_lists(pop.keys()), || out.null_array())
}

fn for_lists<'a>(keys: impl Iterator<Item = &'a [u8]>) -> Awaits {
    Awaits {
        kind: Kind::List,
        or_absent: false,
        keys: keys.map(Box::from).collect(),
        request: None,
    }
}
