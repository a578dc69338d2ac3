//! XRANGE and XREVRANGE.

use bailiwick_frame::{Args, Encoder};

use super::super::parse::integer;
use super::super::{Command, CommandError, Handler, Outcome, ReadContext, is_option};
use super::reply::write_entries;
use super::{READONLY, ROW, id};
use crate::keyspace::stream::Stream;

/// The rows of this module.
pub(in crate::commands) static COMMANDS: &[Command] = &[
    Command {
        name: "xrange",
        arity: -4,
        flags: READONLY,
        complexity: "O(N), N being the number of entries returned.",
        summary: "Replies with the entries from one ID to another.",
        syntax: "key start end [COUNT count]",
        handler: Handler::Read(xrange),
        ..ROW
    },
    Command {
        name: "xrevrange",
        arity: -4,
        flags: READONLY,
        complexity: "O(N), N being the number of entries returned.",
        summary: "Replies with the entries from one ID back to another.",
        syntax: "key end start [COUNT count]",
        handler: Handler::Read(xrevrange),
        ..ROW
    },
];

fn xrange(ctx: &ReadContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    range(ctx, args, false, out)
}

fn xrevrange(ctx: &ReadContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    range(ctx, args, true, out)
}

fn range(ctx: &ReadContext<'_>, args: Args<'_>, back: bool, out: &mut Encoder<'_>) -> Outcome {
    let (start, end) = if back { (3, 2) } else { (2, 3) };
    let (start, end) = (id::start(args.arg(start))?, id::end(args.arg(end))?);
    let mut count = None;
    for at in (4..args.len()).step_by(2) {
        let value = args.get(at + 1).ok_or(CommandError::Syntax)?;
        if !is_option(args, at, "count") {
            return Err(CommandError::Syntax);
        }
        count = Some(u64::try_from(integer(value)?).unwrap_or(0));
    }
    let Some(stream) = ctx.object::<Stream>(args.arg(1))? else {
        out.array(0);
        return Ok(());
    };
    match count {
        Some(0) => out.null_array(),
        _ if back => write_entries(stream.range_back(start, end), count.unwrap_or(0), out),
        _ => write_entries(stream.range(start, end), count.unwrap_or(0), out),
    }
    Ok(())
}
