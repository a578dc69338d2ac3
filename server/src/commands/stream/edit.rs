//! XLEN, XDEL and XSETID.

use bailiwick_frame::{Args, Encoder};

use super::super::parse::integer;
use super::super::{Command, CommandError, Handler, Outcome, ReadContext, WriteContext, is_option};
use super::group::announce;
use super::{DENYOOM, FAST, READONLY, ROW, WRITE, id};
use crate::keyspace::StreamId;
use crate::keyspace::stream::Stream;

/// The rows of this module.
pub(in crate::commands) static COMMANDS: &[Command] = &[
    Command {
        name: "xlen",
        arity: 2,
        flags: READONLY | FAST,
        summary: "Tells how many entries a stream has.",
        syntax: "key",
        handler: Handler::Read(xlen),
        ..ROW
    },
    Command {
        name: "xdel",
        arity: -3,
        flags: WRITE | FAST,
        complexity: "O(1) for each entry.",
        summary: "Deletes entries of a stream by their IDs.",
        syntax: "key id [id ...]",
        handler: Handler::Write(xdel),
        ..ROW
    },
    Command {
        name: "xsetid",
        arity: -3,
        flags: WRITE | DENYOOM | FAST,
        summary: "Sets the last ID of a stream, and what it remembers of its past.",
        syntax: "key last-id [ENTRIESADDED entries-added] [MAXDELETEDID max-deleted-id]",
        handler: Handler::Write(xsetid),
        ..ROW
    },
];

fn xlen(ctx: &ReadContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let len = ctx.object::<Stream>(args.arg(1))?.map_or(0, Stream::len);
    out.integer(len as i64);
    Ok(())
}

fn xdel(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let key = args.arg(1);
    if ctx.peek_object::<Stream>(key)?.is_none() {
        out.integer(0);
        return Ok(());
    }
    let ids = args.iter().skip(2).map(|arg| id::strict(arg, 0));
    let ids = ids.collect::<Result<Vec<_>, _>>()?;
    let deleted = ctx.edit(key, |stream: &mut Stream| {
        let deleted = ids.iter().filter(|&&id| stream.delete(id)).count();
        (deleted, deleted as u64)
    })?;
    out.integer(deleted.unwrap_or(0) as i64);
    Ok(())
}

fn xsetid(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let last_id = id::strict(args.arg(2), 0)?;
    let (mut added, mut max_deleted) = (None, StreamId::MIN);
    for at in (3..args.len()).step_by(2) {
        let value = args.get(at + 1).ok_or(CommandError::Syntax)?;
        if is_option(args, at, "entriesadded") {
            let number = u64::try_from(integer(value)?);
            let refusal = CommandError::text("ERR entries_added must be positive");
            added = Some(number.map_err(|_| refusal)?);
        } else if is_option(args, at, "maxdeletedid") {
            max_deleted = id::strict(value, 0)?;
            if last_id < max_deleted {
                return Err(CommandError::text(
                    "ERR The ID specified in XSETID is smaller than the provided \
                     max_deleted_entry_id",
                ));
            }
        } else {
            return Err(CommandError::Syntax);
        }
    }
    let key = args.arg(1);
    let stream = ctx.peek_object::<Stream>(key)?;
    check_setid(stream.ok_or(CommandError::NoSuchKey)?, last_id, added)?;
    let max_deleted = Some(max_deleted).filter(|&id| id != StreamId::MIN);
    // As in Redis, WATCH does not notice.
    ctx.edit(key, |stream: &mut Stream| {
        (stream.set_last_id(last_id, added, max_deleted), 0)
    })?;
    announce(ctx, key, "xsetid");
    ctx.note_changes(1);
    out.ok();
    Ok(())
}

/// Refuses what would contradict the entries that are there.
fn check_setid(stream: &Stream, last_id: StreamId, added: Option<u64>) -> Outcome {
    if last_id < stream.max_deleted_id() {
        return Err(CommandError::text(
            "ERR The ID specified in XSETID is smaller than current max_deleted_entry_id",
        ));
    }
    if stream.is_empty() {
        return Ok(());
    }
    if last_id < stream.top_id() {
        return Err(CommandError::text(
            "ERR The ID specified in XSETID is smaller than the target stream top item",
        ));
    }
    if added.is_some_and(|added| (stream.len() as u64) > added) {
        return Err(CommandError::text(
            "ERR The entries_added specified in XSETID is smaller than the target stream length",
        ));
    }
    Ok(())
}
