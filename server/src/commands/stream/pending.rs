//! XPENDING: what was delivered and not acknowledged, in sum or one by one.

use bailiwick_frame::{Args, Encoder};

use super::super::parse::integer;
use super::super::{Command, CommandError, Handler, Outcome, ReadContext, is_option};
use super::reply::write_id;
use super::{READONLY, ROW, id, no_group};
use crate::keyspace::StreamId;
use crate::keyspace::stream::{Group, Pending, Stream};

/// The rows of this module.
pub(in crate::commands) static COMMANDS: &[Command] = &[Command {
    name: "xpending",
    arity: -3,
    flags: READONLY,
    complexity: "O(N), N being the number of entries looked at, or of consumers.",
    summary: "Tells what has been delivered to whom and not acknowledged.",
    syntax: "key group [[IDLE min-idle-time] start end count [consumer]]",
    handler: Handler::Read(xpending),
    ..ROW
}];

/// Which pending entries are asked for.
struct Query<'a> {
    min_idle_ms: i64,
    start: StreamId,
    end: StreamId,
    count: u64,
    consumer: Option<&'a [u8]>,
}

impl<'a> Query<'a> {
    /// `None` when only the sum is asked for.
    fn parse(args: Args<'a>) -> Result<Option<Self>, CommandError> {
        match args.len() {
            3 => return Ok(None),
            6..=9 => {}
            _ => return Err(CommandError::Syntax),
        }
        let (mut first, mut min_idle_ms) = (3, 0);
        if is_option(args, 3, "idle") {
            min_idle_ms = integer(args.arg(4))?;
            if args.len() < 8 {
                return Err(CommandError::Syntax);
            }
            first = 5;
        }
        let count = integer(args.arg(first + 2))?;
        Ok(Some(Self {
            min_idle_ms,
            start: id::start(args.arg(first))?,
            end: id::end(args.arg(first + 1))?,
            count: u64::try_from(count).unwrap_or(0),
            consumer: args.get(first + 3),
        }))
    }
}

fn xpending(ctx: &ReadContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let query = Query::parse(args)?;
    let (key, name) = (args.arg(1), args.arg(2));
    let stream = ctx.object::<Stream>(key)?;
    let group = stream.and_then(|stream| stream.group(name));
    let group = group.ok_or_else(|| no_group(key, name, ""))?;
    match query {
        None => write_sum(group, out),
        Some(query) => write_list(group, &query, ctx.now_ms, out),
    }
    Ok(())
}

fn write_sum(group: &Group, out: &mut Encoder<'_>) {
    out.array(4);
    out.integer(group.pending_len() as i64);
    let Some((first, last)) = group.pending_ends() else {
        out.null();
        out.null();
        out.null_array();
        return;
    };
    write_id(first, out);
    write_id(last, out);
    let busy = || group.consumers().filter(|held| held.pending_len() > 0);
    out.array(busy().count());
    for consumer in busy() {
        out.array(2);
        out.bulk(consumer.name());
        out.bulk_display(consumer.pending_len());
    }
}

fn write_list(group: &Group, query: &Query<'_>, now_ms: i64, out: &mut Encoder<'_>) {
    let Some(name) = query.consumer else {
        return write_pending(group, group.pending_from(query.start), query, now_ms, out);
    };
    let Some(slot) = group.slot(name) else {
        out.array(0);
        return;
    };
    let ids = group.consumer(slot).pending_ids(query.start);
    let found = ids.filter_map(|id| Some((id, group.pending(id)?)));
    write_pending(group, found, query, now_ms, out);
}

fn write_pending(
    group: &Group,
    found: impl Iterator<Item = (StreamId, Pending)>,
    query: &Query<'_>,
    now_ms: i64,
    out: &mut Encoder<'_>,
) {
    let idle_ms = |pending: &Pending| now_ms.wrapping_sub(pending.delivered_ms);
    let found = found
        .take_while(|&(id, _)| id <= query.end)
        .filter(|(_, held)| query.min_idle_ms == 0 || idle_ms(held) >= query.min_idle_ms);
    let (list, mut count) = (out.deferred_array(), 0);
    for (id, pending) in found.take(usize::try_from(query.count).unwrap_or(usize::MAX)) {
        out.array(4);
        write_id(id, out);
        out.bulk(group.consumer(pending.consumer).name());
        out.integer(idle_ms(&pending).max(0));
        out.integer(pending.deliveries as i64);
        count += 1;
    }
    out.finish_array(list, count);
}
