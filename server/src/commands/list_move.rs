//! Lists, several at a time: LMOVE, RPOPLPUSH and LMPOP.

use std::ops::Range;

use bailiwick_frame::{Args, Encoder};

use super::list::{ROW, take_one, write_and_remove, write_element};
use super::parse::integer;
use super::{Command, CommandError, Flag, Handler, Keys, Outcome, WriteContext, is_option};
use crate::keyspace::list::{Element, End, List};

const WRITE: u32 = Flag::Write as u32;
const DENYOOM: u32 = Flag::Denyoom as u32;

pub(super) const TWO_KEYS: Keys = Keys::Range {
    first: 1,
    last: 2,
    step: 1,
};

const BAD_NUMKEYS: CommandError = CommandError::text("ERR numkeys should be greater than 0");
const BAD_COUNT: CommandError = CommandError::text("ERR count should be greater than 0");

/// The rows of this module.
pub(super) static COMMANDS: &[Command] = &[
    Command {
        name: "lmove",
        arity: 5,
        flags: WRITE | DENYOOM,
        keys: TWO_KEYS,
        since: "6.2.0",
        summary: "Takes an element off an end of a list and puts it at an end of another one.",
        syntax: "source destination <LEFT | RIGHT> <LEFT | RIGHT>",
        handler: Handler::Write(lmove),
        ..ROW
    },
    Command {
        name: "rpoplpush",
        arity: 3,
        flags: WRITE | DENYOOM,
        keys: TWO_KEYS,
        since: "1.2.0",
        summary: "Takes an element off the right end of a list and puts it at the left end of \
                  another one.",
        syntax: "source destination",
        handler: Handler::Write(rpoplpush),
        ..ROW
    },
    Command {
        name: "lmpop",
        arity: -4,
        flags: WRITE | Flag::Movablekeys as u32,
        keys: Keys::counted(1),
        since: "7.0.0",
        complexity: "O(N+M), N being the number of keys and M the number of elements taken.",
        summary: "Takes elements off an end of the first list among several keys.",
        syntax: "numkeys key [key ...] <LEFT | RIGHT> [COUNT count]",
        handler: Handler::Write(lmpop),
        ..ROW
    },
];

fn lmove(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let (from, to) = (end(args, 3)?, end(args, 4)?);
    move_element(ctx, (args.arg(1), from), (args.arg(2), to), out)
}

fn rpoplpush(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let (source, destination) = (args.arg(1), args.arg(2));
    move_element(ctx, (source, End::Back), (destination, End::Front), out)
}

/// Moves an element from one list to another one, or within one; null if there is none.
pub(super) fn move_element(
    ctx: &mut WriteContext<'_>,
    (source, from): (&[u8], End),
    (destination, to): (&[u8], End),
    out: &mut Encoder<'_>,
) -> Outcome {
    if ctx.peek_object::<List>(source)?.is_none() {
        out.null();
        return Ok(());
    }
    ctx.peek_object::<List>(destination)?;
    if source == destination {
        ctx.edit(source, |list: &mut List| {
            rotate(list, from, to, out);
            ((), 1)
        })?;
        return Ok(());
    }
    let moved = ctx.edit(source, |list: &mut List| {
        let moved = take_one(list, from, |element| {
            write_element(element, out);
            (element.to_vec(), counted_bytes(element))
        });
        (moved, 1)
    })?;
    let (element, counted) = moved.expect("the list was just found");
    ctx.edit_or_create(destination, |list: &mut List| {
        list.expect(counted);
        list.push(to, &element);
        ((), 1)
    })
}

/// Moves an element within one list. Only then is it decided in which form the list is kept.
fn rotate(list: &mut List, from: End, to: End, out: &mut Encoder<'_>) {
    let index = match from {
        End::Front => 0,
        End::Back => list.len() - 1,
    };
    let element = list.get(index).expect("the keyspace holds no empty list");
    write_element(element, out);
    let (bytes, counted) = (element.to_vec(), counted_bytes(element));
    list.remove(index, 1);
    list.expect(counted);
    list.push(to, &bytes);
    list.settle();
}

/// The bytes that Redis counts when it moves an element: a number is none then.
fn counted_bytes(element: Element<'_>) -> usize {
    match element {
        Element::Int(_) => 0,
        Element::Bytes(bytes) => bytes.len(),
    }
}

fn lmpop(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    if !MultiPop::parse(args, 1)?.run(ctx, out)? {
        out.null_array();
    }
    Ok(())
}

/// Some elements of the first list that is there.
pub(super) struct MultiPop<'a> {
    args: Args<'a>,
    keys: Range<usize>,
    from: End,
    count: u64,
}

impl<'a> MultiPop<'a> {
    /// Reads the arguments from the number of keys on, which stands at `numkeys_at`.
    pub(super) fn parse(args: Args<'a>, numkeys_at: usize) -> Result<Self, CommandError> {
        let numkeys = positive(args.arg(numkeys_at)).ok_or(BAD_NUMKEYS)?;
        let first = numkeys_at + 1;
        // The number of keys may be any; the end must stand behind them.
        let at = usize::try_from(numkeys)
            .ok()
            .and_then(|keys| keys.checked_add(first));
        let at = at
            .filter(|&at| at < args.len())
            .ok_or(CommandError::Syntax)?;
        let from = end(args, at)?;
        let count = match args.len() - at {
            1 => 1,
            3.. if is_option(args, at + 1, "count") => {
                positive(args.arg(at + 2)).ok_or(BAD_COUNT)?
            }
            _ => return Err(CommandError::Syntax),
        };
        if args.len() > at + 3 {
            return Err(CommandError::Syntax);
        }
        Ok(Self {
            args,
            keys: first..at,
            from,
            count,
        })
    }

    /// The keys in their order.
    pub(super) fn keys(&self) -> impl Iterator<Item = &'a [u8]> {
        self.args.iter().take(self.keys.end).skip(self.keys.start)
    }

    /// Takes the elements and replies with them; false, without a reply, if there is no list.
    pub(super) fn run(
        &self,
        ctx: &mut WriteContext<'_>,
        out: &mut Encoder<'_>,
    ) -> Result<bool, CommandError> {
        for key in self.keys() {
            let found = ctx.edit(key, |list| {
                out.array(2);
                out.bulk(key);
                ((), write_and_remove(list, self.from, self.count, out))
            })?;
            if found.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// The end that argument `index` names.
pub(super) fn end(args: Args<'_>, index: usize) -> Result<End, CommandError> {
    match () {
        () if is_option(args, index, "left") => Ok(End::Front),
        () if is_option(args, index, "right") => Ok(End::Back),
        () => Err(CommandError::Syntax),
    }
}

fn positive(arg: &[u8]) -> Option<u64> {
    let number = integer(arg).ok()?;
    u64::try_from(number).ok().filter(|&number| number > 0)
}
