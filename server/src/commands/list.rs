//! Lists, at their ends and as a whole: LPUSH, LPOP, LRANGE and what is like them.
//!
//! What happens inside a list is in `list_edit`, what goes from list to list in `list_move`.

use bailiwick_frame::{Args, Encoder};

use super::parse::{integer, non_negative};
use super::{
    Category, Command, CommandError, DEFAULT, Flag, Group, Handler, Idle, Keys, Nothing, Outcome,
    ReadContext, WriteContext,
};
use crate::keyspace::list::{Element, End, List};

const WRITE: u32 = Flag::Write as u32;
const READONLY: u32 = Flag::Readonly as u32;
const DENYOOM: u32 = Flag::Denyoom as u32;
const FAST: u32 = Flag::Fast as u32;

/// What the commands of lists have in common.
pub(super) const ROW: Command = Command {
    categories: Category::List as u32,
    keys: Keys::FIRST,
    group: Group::List,
    ..DEFAULT
};

const PUSH: Command = Command {
    arity: -3,
    flags: WRITE | DENYOOM | FAST,
    complexity: "O(N), N being the number of elements pushed.",
    syntax: "key element [element ...]",
    ..ROW
};

const POP: Command = Command {
    arity: -2,
    flags: WRITE | FAST,
    complexity: "O(N), N being the number of elements popped.",
    syntax: "key [count]",
    ..ROW
};

/// The rows of this module.
pub(super) static COMMANDS: &[Command] = &[
    Command {
        name: "lpush",
        summary: "Puts elements at the left end of a list, one after the other.",
        handler: Handler::Write(lpush),
        ..PUSH
    },
    Command {
        name: "rpush",
        summary: "Puts elements at the right end of a list, one after the other.",
        handler: Handler::Write(rpush),
        ..PUSH
    },
    Command {
        name: "lpushx",
        since: "2.2.0",
        summary: "Puts elements at the left end of a list if there is one.",
        handler: Handler::Write(lpushx),
        ..PUSH
    },
    Command {
        name: "rpushx",
        since: "2.2.0",
        summary: "Puts elements at the right end of a list if there is one.",
        handler: Handler::Write(rpushx),
        ..PUSH
    },
    Command {
        name: "lpop",
        summary: "Takes one element, or several, off the left end of a list.",
        handler: Handler::Write(lpop),
        idle: Idle::if_absent(Nothing::Null),
        ..POP
    },
    Command {
        name: "rpop",
        summary: "Takes one element, or several, off the right end of a list.",
        handler: Handler::Write(rpop),
        idle: Idle::if_absent(Nothing::Null),
        ..POP
    },
    Command {
        name: "llen",
        arity: 2,
        flags: READONLY | FAST,
        summary: "Tells how many elements a list has.",
        syntax: "key",
        handler: Handler::Read(llen),
        ..ROW
    },
    Command {
        name: "lrange",
        arity: 4,
        flags: READONLY,
        complexity: "O(S+N), S being the number of packs before the range or behind it, whichever \
                     is less, and N the number of elements in it.",
        summary: "Replies with the elements from one index to another.",
        syntax: "key start stop",
        handler: Handler::Read(lrange),
        ..ROW
    },
    Command {
        name: "lindex",
        arity: 3,
        flags: READONLY,
        complexity: "O(N), N being the number of packs before the element or behind it, whichever \
                     is less.",
        summary: "Replies with the element at an index.",
        syntax: "key index",
        handler: Handler::Read(lindex),
        ..ROW
    },
];

fn lpush(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    push(ctx, args, End::Front, out)
}

fn rpush(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    push(ctx, args, End::Back, out)
}

fn push(ctx: &mut WriteContext<'_>, args: Args<'_>, end: End, out: &mut Encoder<'_>) -> Outcome {
    let len = ctx.edit_or_create(args.arg(1), |list| push_all(list, end, args.from(2)))?;
    out.integer(len);
    Ok(())
}

fn lpushx(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    pushx(ctx, args, End::Front, out)
}

fn rpushx(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    pushx(ctx, args, End::Back, out)
}

fn pushx(ctx: &mut WriteContext<'_>, args: Args<'_>, end: End, out: &mut Encoder<'_>) -> Outcome {
    let len = ctx.edit(args.arg(1), |list| push_all(list, end, args.from(2)))?;
    out.integer(len.unwrap_or(0));
    Ok(())
}

/// Pushes all of `elements`; gives the new length and the number of changes.
fn push_all(list: &mut List, end: End, elements: Args<'_>) -> (i64, u64) {
    list.expect(elements.iter().map(<[u8]>::len).sum());
    for element in elements.iter() {
        list.push(end, element);
    }
    (list.len() as i64, elements.len() as u64)
}

fn lpop(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    pop(ctx, args, End::Front, "lpop", out)
}

fn rpop(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    pop(ctx, args, End::Back, "rpop", out)
}

fn pop(
    ctx: &mut WriteContext<'_>,
    args: Args<'_>,
    end: End,
    command: &str,
    out: &mut Encoder<'_>,
) -> Outcome {
    let key = args.arg(1);
    match args.len() {
        2 => {
            let found = ctx.edit(key, |list: &mut List| {
                take_one(list, end, |element| write_element(element, out));
                ((), 1)
            })?;
            if found.is_none() {
                out.null();
            }
        }
        3 => {
            let count = non_negative(args.arg(2))?;
            let found = ctx.edit(key, |list| ((), write_and_remove(list, end, count, out)))?;
            if found.is_none() {
                out.null_array();
            }
        }
        _ => return Err(CommandError::arity(command)),
    }
    Ok(())
}

fn llen(ctx: &ReadContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let len = ctx.object::<List>(args.arg(1))?.map_or(0, List::len);
    out.integer(len as i64);
    Ok(())
}

fn lrange(ctx: &ReadContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let (start, stop) = (integer(args.arg(2))?, integer(args.arg(3))?);
    let Some(list) = ctx.object::<List>(args.arg(1))? else {
        out.array(0);
        return Ok(());
    };
    let (start, count) = span(start, stop, list.len());
    out.array(count);
    for element in list.iter(start).take(count) {
        write_element(element, out);
    }
    Ok(())
}

fn lindex(ctx: &ReadContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let Some(list) = ctx.object::<List>(args.arg(1))? else {
        out.null();
        return Ok(());
    };
    let index = resolve(integer(args.arg(2))?, list.len());
    match index.and_then(|index| list.get(index)) {
        Some(element) => write_element(element, out),
        None => out.null(),
    }
    Ok(())
}

/// Writes an element as a bulk string.
#[inline]
pub(super) fn write_element(element: Element<'_>, out: &mut Encoder<'_>) {
    match element {
        Element::Bytes(bytes) => out.bulk(bytes),
        number => number.with_bytes(|bytes| out.bulk(bytes)),
    }
}

/// Calls `f` with the element at an end of a list that has one, then removes it.
pub(super) fn take_one<R>(list: &mut List, end: End, f: impl FnOnce(Element<'_>) -> R) -> R {
    let index = match end {
        End::Front => 0,
        End::Back => list.len() - 1,
    };
    let element = list.get(index).expect("the keyspace holds no empty list");
    let result = f(element);
    list.remove(index, 1);
    list.settle();
    result
}

/// Replies with up to `count` elements of an end, the outermost first, and removes them. Returns
/// how many.
pub(super) fn write_and_remove(
    list: &mut List,
    end: End,
    count: u64,
    out: &mut Encoder<'_>,
) -> u64 {
    let len = list.len();
    let count = usize::try_from(count).map_or(len, |count| count.min(len));
    out.array(count);
    let start = match end {
        End::Front => {
            let elements = list.iter(0).take(count);
            elements.for_each(|element| write_element(element, out));
            0
        }
        End::Back => {
            let elements = list.iter_back(len).take(count);
            elements.for_each(|element| write_element(element, out));
            len - count
        }
    };
    if count > 0 {
        list.remove(start, count);
        list.settle();
    }
    count as u64
}

/// The first index, and the number of elements, that a client means by `start` and `stop`, of which
/// negative ones count from the end.
pub(super) fn span(start: i64, stop: i64, len: usize) -> (usize, usize) {
    let len = len as i64;
    let from_end = |index: i64| if index < 0 { index + len } else { index };
    let (start, stop) = (from_end(start).max(0), from_end(stop).min(len - 1));
    if start > stop {
        return (0, 0);
    }
    (start as usize, (stop - start + 1) as usize)
}

/// The index that a client means, if there is such an element.
pub(super) fn resolve(index: i64, len: usize) -> Option<usize> {
    let len = len as i64;
    let index = if index < 0 { index + len } else { index };
    (0..len).contains(&index).then_some(index as usize)
}
