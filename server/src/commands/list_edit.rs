//! Lists, inside: LSET, LINSERT, LREM, LTRIM and LPOS.

use bailiwick_frame::{Args, Encoder};

use super::list::{ROW, resolve, span};
use super::parse::{integer, integer_within};
use super::{Command, CommandError, Flag, Handler, Outcome, ReadContext, WriteContext, is_option};
use crate::keyspace::list::{Element, End, List, Side};

const WRITE: u32 = Flag::Write as u32;
const DENYOOM: u32 = Flag::Denyoom as u32;

const ZERO_RANK: CommandError = CommandError::text(
    "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use \
     negative to start from the end of the list",
);
const NEGATIVE_COUNT: &str = "ERR COUNT can't be negative";
const NEGATIVE_MAXLEN: &str = "ERR MAXLEN can't be negative";

/// The rows of this module.
pub(super) static COMMANDS: &[Command] = &[
    Command {
        name: "lset",
        arity: 4,
        flags: WRITE | DENYOOM,
        complexity: "O(N), N being the number of packs before the element or behind it, whichever \
                     is less.",
        summary: "Replaces the element at an index.",
        syntax: "key index element",
        handler: Handler::Write(lset),
        ..ROW
    },
    Command {
        name: "linsert",
        arity: 5,
        flags: WRITE | DENYOOM,
        since: "2.2.0",
        complexity: "O(N), N being the number of elements before the pivot.",
        summary: "Inserts an element before or after another one.",
        syntax: "key <BEFORE | AFTER> pivot element",
        handler: Handler::Write(linsert),
        ..ROW
    },
    Command {
        name: "lrem",
        arity: 4,
        flags: WRITE,
        complexity: "O(N), N being the length of the list.",
        summary: "Removes elements of a value, starting from the left or from the right.",
        syntax: "key count element",
        handler: Handler::Write(lrem),
        ..ROW
    },
    Command {
        name: "ltrim",
        arity: 4,
        flags: WRITE,
        complexity: "O(N), N being the number of elements removed.",
        summary: "Removes all elements but those from one index to another.",
        syntax: "key start stop",
        handler: Handler::Write(ltrim),
        ..ROW
    },
    Command {
        name: "lpos",
        arity: -3,
        flags: Flag::Readonly as u32,
        since: "6.0.6",
        complexity: "O(N), N being the number of elements looked at.",
        summary: "Tells at which index, or indexes, an element stands.",
        syntax: "key element [RANK rank] [COUNT num-matches] [MAXLEN len]",
        handler: Handler::Read(lpos),
        ..ROW
    },
];

fn lset(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let (key, element) = (args.arg(1), args.arg(3));
    let list = ctx.peek_object::<List>(key)?;
    let len = list.ok_or(CommandError::NoSuchKey)?.len();
    let index = resolve(integer(args.arg(2))?, len);
    ctx.edit(key, |list: &mut List| {
        // As in Redis, this may change the encoding even if there is nothing to replace.
        list.expect(element.len());
        let Some(index) = index else { return ((), 0) };
        list.set(index, element);
        list.settle();
        ((), 1)
    })?;
    index.ok_or(CommandError::IndexOutOfRange)?;
    out.ok();
    Ok(())
}

fn linsert(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let (key, element) = (args.arg(1), args.arg(4));
    let side = match () {
        () if is_option(args, 2, "before") => Side::Before,
        () if is_option(args, 2, "after") => Side::After,
        () => return Err(CommandError::Syntax),
    };
    let Some(list) = ctx.peek_object::<List>(key)? else {
        out.integer(0);
        return Ok(());
    };
    let pivot = Element::of(args.arg(3));
    let found = list.iter(0).position(|held| held == pivot);
    if found.is_none() && !list.would_outgrow(element.len()) {
        out.integer(-1);
        return Ok(());
    }
    let len = ctx.edit(key, |list: &mut List| {
        // As in Redis, this may change the encoding even if the pivot is not there.
        list.expect(element.len());
        let Some(index) = found else { return (-1, 0) };
        list.insert(index, side, element);
        (list.len() as i64, 1)
    })?;
    out.integer(len.expect("the list was just found"));
    Ok(())
}

fn lrem(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let count = integer(args.arg(2))?;
    let (from, limit) = match count {
        0 => (End::Front, usize::MAX),
        1.. => (End::Front, count as usize),
        ..0 => (End::Back, count.unsigned_abs() as usize),
    };
    let removed = ctx.edit(args.arg(1), |list: &mut List| {
        let removed = list.remove_equal(args.arg(3), from, limit);
        if removed > 0 {
            list.settle();
        }
        (removed as i64, removed as u64)
    })?;
    out.integer(removed.unwrap_or(0));
    Ok(())
}

fn ltrim(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let (start, stop) = (integer(args.arg(2))?, integer(args.arg(3))?);
    ctx.edit(args.arg(1), |list: &mut List| {
        let len = list.len();
        let (start, count) = span(start, stop, len);
        list.remove(start + count, len - start - count);
        list.remove(0, start);
        list.settle();
        // For WATCH, Redis counts a trim that removes nothing as a change, too.
        ((), (len - count).max(1) as u64)
    })?;
    out.ok();
    Ok(())
}

/// What LPOS looks for.
struct Search {
    from: End,
    /// How many matches are passed over.
    skipped: u64,
    /// How many matches are wanted, 0 for all; `None` for one, without an array around it.
    count: Option<u64>,
    /// How many elements are looked at.
    max_len: usize,
}

impl Search {
    fn parse(args: Args<'_>) -> Result<Self, CommandError> {
        let mut search = Self {
            from: End::Front,
            skipped: 0,
            count: None,
            max_len: usize::MAX,
        };
        for option in (3..args.len()).step_by(2) {
            let value = args.get(option + 1).ok_or(CommandError::Syntax)?;
            let positive = |refusal| {
                let number = integer(value).ok();
                let number = number.and_then(|number| u64::try_from(number).ok());
                number.ok_or(CommandError::text(refusal))
            };
            match () {
                () if is_option(args, option, "rank") => {
                    let rank = integer_within(value, -i64::MAX, i64::MAX)?;
                    let skipped = rank.unsigned_abs().checked_sub(1);
                    search.skipped = skipped.ok_or(ZERO_RANK)?;
                    search.from = if rank < 0 { End::Back } else { End::Front };
                }
                () if is_option(args, option, "count") => {
                    search.count = Some(positive(NEGATIVE_COUNT)?);
                }
                () if is_option(args, option, "maxlen") => {
                    search.max_len = match positive(NEGATIVE_MAXLEN)? {
                        0 => usize::MAX,
                        len => usize::try_from(len).unwrap_or(usize::MAX),
                    };
                }
                () => return Err(CommandError::Syntax),
            }
        }
        Ok(search)
    }

    /// Calls `found` with the index of each match that is wanted.
    fn run(&self, list: &List, element: Element<'_>, mut found: impl FnMut(usize)) {
        let wanted = match self.count {
            None => 1,
            Some(0) => u64::MAX,
            Some(count) => count,
        };
        let len = list.len();
        let mut matches = 0;
        let mut look = |index: usize, held: Element<'_>| {
            if held != element {
                return true;
            }
            matches += 1;
            if matches > self.skipped {
                found(index);
            }
            matches - self.skipped.min(matches) < wanted
        };
        match self.from {
            End::Front => {
                let mut elements = list.iter(0).take(self.max_len).enumerate();
                elements.all(|(at, held)| look(at, held));
            }
            End::Back => {
                let mut elements = list.iter_back(len).take(self.max_len).enumerate();
                elements.all(|(at, held)| look(len - 1 - at, held));
            }
        }
    }
}

fn lpos(ctx: &ReadContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let search = Search::parse(args)?;
    let list = ctx.object::<List>(args.arg(1))?;
    let element = Element::of(args.arg(2));
    if search.count.is_none() {
        let mut index = None;
        if let Some(list) = list {
            search.run(list, element, |found| index = Some(found));
        }
        match index {
            Some(index) => out.integer(index as i64),
            None => out.null(),
        }
        return Ok(());
    }
    let (indexes, mut count) = (out.deferred_array(), 0);
    if let Some(list) = list {
        search.run(list, element, |index| {
            out.integer(index as i64);
            count += 1;
        });
    }
    out.finish_array(indexes, count);
    Ok(())
}
