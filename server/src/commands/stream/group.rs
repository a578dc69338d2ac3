//! XGROUP and XACK: consumer groups, their consumers, and what these have done with.

use bailiwick_frame::{Args, Encoder};

use super::super::parse::integer;
use super::super::touch::class;
use super::super::{
    Command, CommandError, DEFAULT, Flag, Handler, Keys, NodeCommand, Outcome, WriteContext,
    is_option,
};
use super::{DENYOOM, FAST, ROW, WRITE, bad_subcommand, id, no_group_in};
use crate::keyspace::stream::{Group, Stream};
use crate::keyspace::{Aggregate, Expiry, NewValue, StreamId};

const NO_KEY: CommandError = CommandError::text(
    "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use \
     the MKSTREAM option to create an empty stream automatically.",
);
const EXISTS: CommandError = CommandError::text("BUSYGROUP Consumer Group name already exists");

/// The rows of this module.
pub(in crate::commands) static COMMANDS: &[Command] = &[
    Command {
        name: "xgroup",
        arity: -2,
        group: super::Group::Stream,
        since: "5.0.0",
        complexity: "Depends on subcommand.",
        summary: "Manages consumer groups.",
        subcommands: SUBCOMMANDS,
        ..DEFAULT
    },
    Command {
        name: "xack",
        arity: -4,
        flags: WRITE | FAST,
        complexity: "O(log N) for each entry, N being the number of pending ones.",
        summary: "Tells a group that entries have been dealt with.",
        syntax: "key group id [id ...]",
        handler: Handler::Write(xack),
        ..ROW
    },
];

const SUBCOMMAND: Command = Command {
    flags: WRITE,
    keys: Keys::Range {
        first: 2,
        last: 2,
        step: 1,
    },
    parent: "xgroup",
    ..ROW
};

static SUBCOMMANDS: &[Command] = &[
    Command {
        name: "create",
        arity: -5,
        flags: WRITE | DENYOOM,
        summary: "Creates a group that reads what comes behind an ID.",
        syntax: "key group <id | $> [MKSTREAM] [ENTRIESREAD entries-read]",
        handler: Handler::Write(create),
        ..SUBCOMMAND
    },
    Command {
        name: "createconsumer",
        arity: 5,
        flags: WRITE | DENYOOM,
        since: "6.2.0",
        summary: "Adds a consumer to a group.",
        syntax: "key group consumer",
        handler: Handler::Write(create_consumer),
        ..SUBCOMMAND
    },
    Command {
        name: "delconsumer",
        arity: 5,
        summary: "Removes a consumer, and what it has not acknowledged, from a group.",
        syntax: "key group consumer",
        handler: Handler::Write(delete_consumer),
        ..SUBCOMMAND
    },
    Command {
        name: "destroy",
        arity: 4,
        complexity: "O(N), N being the number of pending entries.",
        summary: "Removes a group.",
        syntax: "key group",
        handler: Handler::Write(destroy),
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
        name: "setid",
        arity: -5,
        summary: "Lets a group go on behind another ID.",
        syntax: "key group <id | $> [ENTRIESREAD entries-read]",
        handler: Handler::Write(set_id),
        ..SUBCOMMAND
    },
];

/// The options of CREATE and SETID.
#[derive(Default)]
struct Options {
    make_stream: bool,
    entries_read: Option<u64>,
}

impl Options {
    fn parse(args: Args<'_>, is_create: bool) -> Result<Self, CommandError> {
        let mut options = Self::default();
        let mut at = 5;
        while at < args.len() {
            if is_create && is_option(args, at, "mkstream") {
                options.make_stream = true;
                at += 1;
            } else if is_option(args, at, "entriesread") && at + 1 < args.len() {
                options.entries_read = match integer(args.arg(at + 1))? {
                    -1 => None,
                    read => Some(u64::try_from(read).map_err(|_| {
                        CommandError::text("ERR value for ENTRIESREAD must be positive or -1")
                    })?),
                };
                at += 2;
            } else {
                return Err(bad_subcommand("XGROUP", args.arg(1)));
            }
        }
        Ok(options)
    }
}

fn create(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let options = Options::parse(args, true)?;
    let (key, name) = (args.arg(2), args.arg(3));
    let stream = ctx.peek_object::<Stream>(key)?;
    if stream.is_none() && !options.make_stream {
        return Err(NO_KEY);
    }
    // Options may be repeated, but not so often.
    if args.len() > 8 {
        return Err(bad_subcommand("XGROUP", args.arg(1)));
    }
    let last_id = match args.arg(4) {
        b"$" => stream.map_or(StreamId::MIN, Stream::last_id),
        word => id::strict(word, 0)?,
    };
    let group = Group::new(last_id, options.entries_read);
    if stream.is_none() {
        let mut stream = Stream::default();
        stream.add_group(name, group);
        ctx.set(key, NewValue::Object(stream.into_object()), Expiry::None);
    } else {
        let added = ctx.edit(key, |stream: &mut Stream| {
            (stream.add_group(name, group), 0)
        })?;
        if added == Some(false) {
            return Err(EXISTS);
        }
        announce(ctx, key, "xgroup-create");
        ctx.note_changes(1);
    }
    out.ok();
    Ok(())
}

fn set_id(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let options = Options::parse(args, false)?;
    let stream = find_group(ctx, args)?;
    if args.len() != 5 && args.len() != 7 {
        return Err(bad_subcommand("XGROUP", args.arg(1)));
    }
    let last_id = match args.arg(4) {
        b"$" => stream.last_id(),
        word => id::lenient(word, 0)?,
    };
    edit(ctx, args, |group| {
        group.last_id = last_id;
        group.entries_read = options.entries_read;
    })?;
    announce(ctx, args.arg(2), "xgroup-setid");
    ctx.note_changes(1);
    out.ok();
    Ok(())
}

fn destroy(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let name = args.arg(3);
    let removed = ctx.edit(args.arg(2), |stream: &mut Stream| {
        (stream.remove_group(name), 0)
    })?;
    let removed = removed.ok_or(NO_KEY)?;
    if removed {
        // Nothing is there any more for consumers that wait. SETID wakes nobody, as in Redis.
        ctx.keyspace.awaited.note_change(ctx.database, args.arg(2));
        announce(ctx, args.arg(2), "xgroup-destroy");
    }
    ctx.note_changes(u64::from(removed));
    out.integer(i64::from(removed));
    Ok(())
}

fn create_consumer(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    find_group(ctx, args)?;
    let now_ms = ctx.now_ms;
    let added = edit(ctx, args, |group| group.add_consumer(args.arg(4), now_ms))?;
    if added {
        announce(ctx, args.arg(2), CONSUMER_CREATED);
    }
    ctx.note_changes(u64::from(added));
    out.integer(i64::from(added));
    Ok(())
}

fn delete_consumer(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    find_group(ctx, args)?;
    let pending = edit(ctx, args, |group| group.remove_consumer(args.arg(4)))?;
    if pending.is_some() {
        announce(ctx, args.arg(2), "xgroup-delconsumer");
    }
    ctx.note_changes(u64::from(pending.is_some()));
    out.integer(pending.unwrap_or(0) as i64);
    Ok(())
}

/// The event of a consumer's creation, by whatever command.
pub(super) const CONSUMER_CREATED: &str = "xgroup-createconsumer";

/// Tells of an event of a group, which changes no value in the eyes of WATCH.
pub(super) fn announce(ctx: &WriteContext<'_>, key: &[u8], event: &'static str) {
    let touches = &ctx.counters.touches;
    touches.announce(ctx.database, key, (class::STREAM, event));
}

/// The stream whose group an XGROUP names.
fn find_group<'c>(ctx: &'c WriteContext<'_>, args: Args<'_>) -> Result<&'c Stream, CommandError> {
    let (key, name) = (args.arg(2), args.arg(3));
    let stream = ctx.peek_object::<Stream>(key)?.ok_or(NO_KEY)?;
    match stream.group(name) {
        Some(_) => Ok(stream),
        None => Err(no_group_in(key, name)),
    }
}

/// Changes the group that an XGROUP names, which must be there. As in Redis, WATCH does not notice.
fn edit<R>(
    ctx: &mut WriteContext<'_>,
    args: Args<'_>,
    change: impl FnOnce(&mut Group) -> R,
) -> Result<R, CommandError> {
    let (key, name) = (args.arg(2), args.arg(3));
    let result = ctx.edit(key, |stream: &mut Stream| {
        (stream.edit_group(name, |group, _| change(group)), 0)
    })?;
    let result = result.flatten();
    result.ok_or_else(|| no_group_in(key, name))
}

fn xack(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let (key, name) = (args.arg(1), args.arg(2));
    let stream = ctx.peek_object::<Stream>(key)?;
    if stream.and_then(|stream| stream.group(name)).is_none() {
        out.integer(0);
        return Ok(());
    }
    let ids = args.iter().skip(3).map(|arg| id::strict(arg, 0));
    let ids = ids.collect::<Result<Vec<_>, _>>()?;
    let done = ctx.edit(key, |stream: &mut Stream| {
        let done = stream.edit_group(name, |group, _| {
            let done = ids.iter().filter(|&&id| group.remove_pending(id));
            done.count()
        });
        (done.unwrap_or(0), 0)
    })?;
    let done = done.unwrap_or(0);
    ctx.note_changes(done as u64);
    out.integer(done as i64);
    Ok(())
}
