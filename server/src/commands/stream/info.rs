//! XINFO: what is known about a stream, its groups and their consumers.

use bailiwick_frame::{Args, Encoder};

use super::super::parse::integer;
use super::super::{
    Command, CommandError, DEFAULT, Flag, Handler, Keys, NodeCommand, Outcome, ReadContext,
    is_option,
};
use super::reply::{at_most, write_entries, write_entry, write_id};
use super::{READONLY, ROW, bad_subcommand, no_group_in};
use crate::keyspace::StreamId;
use crate::keyspace::stream::{Consumer, Group, Stream};

/// How many entries FULL shows of each kind if nobody says.
const DEFAULT_COUNT: u64 = 10;

/// The rows of this module.
pub(in crate::commands) static COMMANDS: &[Command] = &[Command {
    name: "xinfo",
    arity: -2,
    group: super::Group::Stream,
    since: "5.0.0",
    complexity: "Depends on subcommand.",
    summary: "Looks into streams, groups and consumers.",
    subcommands: SUBCOMMANDS,
    ..DEFAULT
}];

const SUBCOMMAND: Command = Command {
    flags: READONLY,
    keys: Keys::Range {
        first: 2,
        last: 2,
        step: 1,
    },
    parent: "xinfo",
    ..ROW
};

static SUBCOMMANDS: &[Command] = &[
    Command {
        name: "consumers",
        arity: 4,
        summary: "Describes the consumers of a group.",
        syntax: "key group",
        handler: Handler::Read(consumers),
        ..SUBCOMMAND
    },
    Command {
        name: "groups",
        arity: 3,
        summary: "Describes the groups of a stream.",
        syntax: "key",
        handler: Handler::Read(groups),
        ..SUBCOMMAND
    },
    Command {
        name: "help",
        arity: 2,
        flags: Flag::Loading as u32 | Flag::Stale as u32,
        keys: Keys::None,
        summary: "Lists the subcommands.",
        handler: Handler::Node(NodeCommand::Help),
        ..SUBCOMMAND
    },
    Command {
        name: "stream",
        arity: -3,
        summary: "Describes a stream, with FULL its entries, groups and consumers too.",
        syntax: "key [FULL [COUNT count]]",
        handler: Handler::Read(stream),
        ..SUBCOMMAND
    },
];

/// The stream that is asked about.
fn find<'c>(ctx: &ReadContext<'c>, args: Args<'_>) -> Result<&'c Stream, CommandError> {
    let stream = ctx.object::<Stream>(args.arg(2))?;
    stream.ok_or(CommandError::NoSuchKey)
}

fn consumers(ctx: &ReadContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let stream = find(ctx, args)?;
    let (key, name) = (args.arg(2), args.arg(3));
    let group = stream.group(name);
    let group = group.ok_or_else(|| no_group_in(key, name))?;
    let since = |time_ms: i64| ctx.now_ms.wrapping_sub(time_ms).max(0);
    out.array(group.consumer_count());
    for consumer in group.consumers() {
        out.map(4);
        out.bulk(b"name");
        out.bulk(consumer.name());
        number("pending", consumer.pending_len() as i64, out);
        number("idle", since(consumer.seen_ms), out);
        number("inactive", consumer.active_ms.map_or(-1, since), out);
    }
    Ok(())
}

fn groups(ctx: &ReadContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let stream = find(ctx, args)?;
    out.array(stream.groups().len());
    for (name, group) in stream.groups() {
        out.map(6);
        out.bulk(b"name");
        out.bulk(name);
        number("consumers", group.consumer_count() as i64, out);
        number("pending", group.pending_len() as i64, out);
        write_progress(stream, group, out);
    }
    Ok(())
}

/// How far a group has read, and how far it is behind.
fn write_progress(stream: &Stream, group: &Group, out: &mut Encoder<'_>) {
    out.bulk(b"last-delivered-id");
    write_id(group.last_id, out);
    out.bulk(b"entries-read");
    write_number_or_null(group.entries_read.map(|read| read as i64), out);
    out.bulk(b"lag");
    write_number_or_null(lag(stream, group), out);
}

/// How many entries a group has not read, if that can be told.
fn lag(stream: &Stream, group: &Group) -> Option<i64> {
    let entries = stream.entries();
    let read = match group.entries_read {
        _ if entries.added() == 0 => return Some(0),
        Some(read) if !entries.has_gaps_from(group.last_id) => read,
        _ => entries.added_up_to(group.last_id)?,
    };
    Some(entries.added().wrapping_sub(read) as i64)
}

fn stream(ctx: &ReadContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let stream = find(ctx, args)?;
    let full = parse_full(args)?;
    let (keys, nodes) = stream.tree_sizes();
    out.map(if full.is_some() { 9 } else { 10 });
    number("length", stream.len() as i64, out);
    number("radix-tree-keys", keys as i64, out);
    number("radix-tree-nodes", nodes as i64, out);
    for (name, id) in [
        ("last-generated-id", stream.last_id()),
        ("max-deleted-entry-id", stream.max_deleted_id()),
    ] {
        out.bulk(name.as_bytes());
        write_id(id, out);
    }
    number("entries-added", stream.entries_added() as i64, out);
    out.bulk(b"recorded-first-entry-id");
    write_id(stream.first_id(), out);
    match full {
        Some(count) => write_full(stream, count, out),
        None => write_ends(stream, out),
    }
    Ok(())
}

/// How many entries FULL is to show, 0 being all; `None` without FULL.
fn parse_full(args: Args<'_>) -> Result<Option<u64>, CommandError> {
    let is_known = match args.len() {
        3 => return Ok(None),
        4 => is_option(args, 3, "full"),
        6 => is_option(args, 3, "full") && is_option(args, 4, "count"),
        _ => false,
    };
    if !is_known {
        return Err(bad_subcommand("XINFO", args.arg(1)));
    }
    match args.get(5) {
        None => Ok(Some(DEFAULT_COUNT)),
        Some(arg) => {
            let count = u64::try_from(integer(arg)?);
            Ok(Some(count.unwrap_or(DEFAULT_COUNT)))
        }
    }
}

fn write_ends(stream: &Stream, out: &mut Encoder<'_>) {
    number("groups", stream.groups().len() as i64, out);
    let all = (StreamId::MIN, StreamId::MAX);
    let ends = [
        ("first-entry", stream.range(all.0, all.1).next()),
        ("last-entry", stream.range_back(all.0, all.1).next()),
    ];
    for (name, entry) in ends {
        out.bulk(name.as_bytes());
        match entry {
            Some(entry) => write_entry(entry, out),
            None => out.null(),
        }
    }
}

fn write_full(stream: &Stream, count: u64, out: &mut Encoder<'_>) {
    out.bulk(b"entries");
    write_entries(stream.range(StreamId::MIN, StreamId::MAX), count, out);
    out.bulk(b"groups");
    out.array(stream.groups().len());
    for (name, group) in stream.groups() {
        out.map(7);
        out.bulk(b"name");
        out.bulk(name);
        write_progress(stream, group, out);
        number("pel-count", group.pending_len() as i64, out);
        out.bulk(b"pending");
        out.array(group.pending_len().min(at_most(count)));
        for (id, pending) in group.pending_from(StreamId::MIN).take(at_most(count)) {
            out.array(4);
            write_id(id, out);
            out.bulk(group.consumer(pending.consumer).name());
            out.integer(pending.delivered_ms);
            out.integer(pending.deliveries as i64);
        }
        out.bulk(b"consumers");
        out.array(group.consumer_count());
        for consumer in group.consumers() {
            write_consumer(group, consumer, count, out);
        }
    }
}

fn write_consumer(group: &Group, consumer: &Consumer, count: u64, out: &mut Encoder<'_>) {
    out.map(5);
    out.bulk(b"name");
    out.bulk(consumer.name());
    number("seen-time", consumer.seen_ms, out);
    number("active-time", consumer.active_ms.unwrap_or(-1), out);
    number("pel-count", consumer.pending_len() as i64, out);
    out.bulk(b"pending");
    out.array(consumer.pending_len().min(at_most(count)));
    for id in consumer.pending_ids(StreamId::MIN).take(at_most(count)) {
        let pending = group.pending(id);
        let pending = pending.expect("what a consumer has is pending in its group");
        out.array(3);
        write_id(id, out);
        out.integer(pending.delivered_ms);
        out.integer(pending.deliveries as i64);
    }
}

fn number(name: &str, value: i64, out: &mut Encoder<'_>) {
    out.bulk(name.as_bytes());
    out.integer(value);
}

fn write_number_or_null(value: Option<i64>, out: &mut Encoder<'_>) {
    match value {
        Some(value) => out.integer(value),
        None => out.null(),
    }
}
