//! `redis.call` and `redis.pcall`: a script runs a command.
//!
//! The command runs at the script's place in the log, and sees what the script did before. It is
//! looked at as one of a client is: it must be there, allowed in scripts, and its keys served by
//! the group. A key that is not ends the script, whether the script would catch errors or not.
//!
//! What a read shows must be the same on every replica. Listings of the keyspace follow an order of
//! their own here (`listing.rs`), random choices come from the entry's seed, and what is known to
//! differ (access times) is refused. What a script publishes is collected, and sent by whoever leads
//! the group when the entry has been applied; a script that is undone has published nothing.

use bailiwick_frame::{Args, Encoder};
use mlua::{Lua, Value};

use super::bounds::MAX_TEXT_BYTES;
use super::current::{self, Access, Ended, Running};
use super::run::calls_of;
use super::value::{Arguments, Fail, Returns, one};
use super::{convert, engine, listing};
use crate::authority::{Authority, Stray};
use crate::commands::block::asks_to_wait;
use crate::commands::registry::{find, lookup};
use crate::commands::{
    Command, CommandError, Counters, Flag, Handler, Keys, Known, NodeCommand, Published,
    ReadContext, events, parse,
};
use crate::state::stray_of;

const NO_ARGUMENT: &str = "ERR Please specify at least one argument for this redis lib call";
const BAD_ARGUMENT: &str = "ERR Lua redis lib command arguments must be strings or integers";
const UNKNOWN: CommandError = CommandError::text("ERR Unknown Redis command called from script");
const WRONG_ARITY: CommandError =
    CommandError::text("ERR Wrong number of args calling Redis command from script");
const NOT_ALLOWED: CommandError =
    CommandError::text("ERR This Redis command is not allowed from script");
const TOO_LONG: CommandError =
    CommandError::text("ERR The arguments of a command called from script are too long");
const READ_ONLY: CommandError =
    CommandError::text("ERR Write commands are not allowed from read-only scripts.");

/// Reads whose replies depend on what a node did besides applying the log.
static PRIVATE: &[(&str, &str)] = &[
    ("object", "freq"),
    ("object", "idletime"),
    ("memory", "usage"),
];

/// Why a command did not run, or not well.
enum Failure {
    /// The script hears of it.
    Error(CommandError),
    /// The script does not go on.
    End,
}

impl From<CommandError> for Failure {
    fn from(error: CommandError) -> Self {
        Self::Error(error)
    }
}

/// Runs the command that the arguments name. An error is raised, or else returned.
pub(super) fn call(lua: &Lua, arguments: &Arguments, raises: bool) -> Returns {
    let outcome = match check(arguments) {
        Err(text) => Err(Failure::Error(CommandError::text(text))),
        Ok(()) => current::with(|running| {
            put_request(&mut running.request, arguments)?;
            run(running)
        }),
    };
    match outcome {
        Err(Failure::End) => Err(Fail::Lua(engine::ended())),
        Err(Failure::Error(error)) => fail(lua, &error.to_string(), raises),
        Ok(()) => {
            let reply = current::with(|running| std::mem::take(&mut running.request.reply));
            let value = convert::to_lua(lua, &reply);
            let is_error = reply.first() == Some(&b'-');
            current::with(|running| running.request.reply = reply);
            match (value?, is_error && raises) {
                (value, true) => Err(Fail::Value(value)),
                (value, false) => one(lua, value),
            }
        }
    }
}

fn fail(lua: &Lua, text: &str, raises: bool) -> Returns {
    let table = lua.create_table()?;
    table.raw_set("err", text)?;
    if raises {
        Err(Fail::Value(Value::Table(table)))
    } else {
        one(lua, table)
    }
}

/// Whether the arguments can be those of a command.
pub(super) fn check(arguments: &Arguments) -> Result<(), &'static str> {
    let is_fit = |value: &Value| {
        matches!(
            value,
            Value::String(_) | Value::Integer(_) | Value::Number(_)
        )
    };
    match arguments.len() {
        0 => Err(NO_ARGUMENT),
        _ if arguments.iter().all(is_fit) => Ok(()),
        _ => Err(BAD_ARGUMENT),
    }
}

/// Writes the arguments as a request.
///
/// # Errors
/// They are too long.
pub(super) fn put_request(
    request: &mut current::Request,
    arguments: &Arguments,
) -> Result<(), CommandError> {
    request.clear();
    // A text may be given many times, so all of them can be longer than what Lua's memory holds.
    let lens = arguments.iter().map(|value| match value {
        Value::String(string) => string.as_bytes().len(),
        _ => 0,
    });
    if lens.sum::<usize>() > MAX_TEXT_BYTES {
        return Err(TOO_LONG);
    }
    for value in arguments.iter() {
        let start = request.bytes.len();
        match value {
            Value::String(string) => request.bytes.extend_from_slice(&string.as_bytes()),
            Value::Integer(number) => {
                let mut buffer = itoa::Buffer::new();
                let digits = buffer.format(*number);
                request.bytes.extend_from_slice(digits.as_bytes());
            }
            Value::Number(number) => bailiwick_frame::format_double(*number, &mut request.bytes),
            _ => {}
        }
        request.end_argument(start);
    }
    Ok(())
}

fn run(running: &mut Running<'_, '_>) -> Result<(), Failure> {
    let mut request = std::mem::take(&mut running.request);
    let args = Args::new(&request.bytes, &request.ranges);
    let mut reply = std::mem::take(&mut request.reply);
    let outcome = execute(running, args, &mut reply);
    if let Err(Failure::Error(error)) = &outcome {
        reply.clear();
        Encoder::new(&mut reply, running.protocol).error(&error.to_string());
    }
    let bytes = request.bytes.len() + reply.len();
    request.reply = reply;
    running.request = request;
    match outcome {
        Err(Failure::End) => Err(Failure::End),
        _ if !running.charge_call(bytes) => Err(Failure::End),
        // The error stands in the reply.
        _ => Ok(()),
    }
}

fn execute(
    running: &mut Running<'_, '_>,
    args: Args<'_>,
    reply: &mut Vec<u8>,
) -> Result<(), Failure> {
    let calls = calls_of(&running.access);
    let command = match admitted(running, args) {
        Ok(Some(command)) => command,
        Ok(None) => return Err(Failure::End),
        Err(error) => {
            if let Some(calls) = calls {
                calls.reject(find(args.arg(0)), &error);
            }
            return Err(error.into());
        }
    };
    if let Some(calls) = calls {
        calls.show(command, running.database, args);
        if command.has(Flag::Readonly) {
            let keys = command.keys.indexes(args);
            calls.read(keys.map(|index| args.arg(index)));
        }
    }
    let mut run = || match command.handler {
        Handler::Node(which) => run_node_command(running, which, args, reply),
        _ => {
            let out = &mut Encoder::new(reply, running.protocol);
            run_keyspace_command(running, &command, args, out)
        }
    };
    let outcome = match calls {
        Some(calls) => calls.run(command, run),
        None => run(),
    };
    Ok(outcome?)
}

/// The command that the arguments name, if it may run here and now; `None` if it ends the script.
fn admitted(running: &mut Running<'_, '_>, args: Args<'_>) -> Result<Option<Known>, CommandError> {
    let command = known(args)?;
    check_allowed(running, &command, args)?;
    if !matches!(command.handler, Handler::Node(_))
        && let Some(end) = end_by_keys(running, &command, args)?
    {
        running.ended = Some(end);
        return Ok(None);
    }
    Ok(Some(command))
}

/// Whether a script may call this.
fn check_allowed(
    running: &Running<'_, '_>,
    command: &Command,
    args: Args<'_>,
) -> Result<(), CommandError> {
    if command.has(Flag::Noscript) || PRIVATE.contains(&(command.parent, command.name)) {
        return Err(NOT_ALLOWED);
    }
    if command.is_write() && !running.may_write {
        return Err(READ_ONLY);
    }
    if command.has(Flag::Denyoom) && !running.may_grow {
        return Err(CommandError::OUT_OF_MEMORY);
    }
    if asks_to_wait(command, args) {
        return Err(no_waiting(args.arg(0)));
    }
    Ok(())
}

fn no_waiting(name: &[u8]) -> CommandError {
    CommandError::composed(format!(
        "ERR {} command is not allowed with BLOCK option from scripts",
        String::from_utf8_lossy(name)
    ))
}

fn known(args: Args<'_>) -> Result<Known, CommandError> {
    find(args.arg(0)).ok_or(UNKNOWN)?;
    let known = lookup(args).map_err(|error| {
        let is_unknown = error.to_string().starts_with("ERR unknown");
        if is_unknown { UNKNOWN } else { WRONG_ARITY }
    })?;
    match known.handler {
        Handler::Container => Err(WRONG_ARITY),
        _ => Ok(known),
    }
}

/// Why the keys of a command end the script.
fn end_by_keys(
    running: &mut Running<'_, '_>,
    command: &Command,
    args: Args<'_>,
) -> Result<Option<Ended>, CommandError> {
    let authority: &Authority = match &running.access {
        Access::Write(context) => context.authority,
        Access::Read(context) => context.authority,
        Access::Nothing => return Err(NOT_ALLOWED),
    };
    if authority.is_open() {
        return Ok(None);
    }
    if command.keys == Keys::None {
        return Err(CommandError::composed(format!(
            "ERR '{}' concerns the keys of all groups, of which a script sees one",
            command.name
        )));
    }
    Ok(match stray_of(authority, command, args) {
        Some(Stray::Gone { .. }) if running.is_at_home => Some(Ended::Several),
        Some(stray) => Some(Ended::Stray(stray)),
        None => {
            running.is_at_home |= command.keys.indexes(args).next().is_some();
            None
        }
    })
}

fn run_keyspace_command(
    running: &mut Running<'_, '_>,
    command: &Command,
    args: Args<'_>,
    out: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let (database, chance) = (running.database, &running.chance);
    match (&mut running.access, command.handler) {
        (Access::Write(context), Handler::Write(handler)) => {
            running.may_grow = true;
            let before = (context.database, context.may_wait);
            (context.database, context.may_wait) = (database, false);
            let outcome = noted(context.counters, command, args, || {
                handler(context, args, out)
            });
            (context.database, context.may_wait) = before;
            outcome
        }
        (Access::Write(context), Handler::Read(handler)) => {
            let context = ReadContext {
                database,
                chance: Some(chance),
                may_wait: false,
                ..context.reader()
            };
            match listing::replacement(command.name) {
                Some(replacement) => replacement(&context, args, out),
                None => handler(&context, args, out),
            }
        }
        (Access::Read(context), Handler::Read(handler)) => {
            let context = ReadContext {
                database,
                may_wait: false,
                ..**context
            };
            handler(&context, args, out)
        }
        _ => Err(NOT_ALLOWED),
    }
}

/// Runs a command and names what it did to keys after it, not after the script.
fn noted(
    counters: &Counters,
    command: &Command,
    args: Args<'_>,
    run: impl FnOnce() -> Result<(), CommandError>,
) -> Result<(), CommandError> {
    let touches = &counters.touches;
    if !touches.is_on() {
        return run();
    }
    let from = touches.len();
    let outcome = run();
    events::name(command, args, touches, from);
    outcome
}

/// The few commands about the connection that have a meaning in a script.
fn run_node_command(
    running: &mut Running<'_, '_>,
    which: NodeCommand,
    args: Args<'_>,
    reply: &mut Vec<u8>,
) -> Result<(), CommandError> {
    if let NodeCommand::Publish | NodeCommand::Spublish = which {
        return publish(running, which == NodeCommand::Spublish, args, reply);
    }
    let (now_ms, databases) = match &running.access {
        Access::Write(context) => (context.now_ms, context.keyspace.databases()),
        Access::Read(context) => (context.now_ms, context.keyspace.databases()),
        Access::Nothing => return Err(NOT_ALLOWED),
    };
    let mut out = Encoder::new(reply, running.protocol);
    match which {
        NodeCommand::Ping => match args.len() {
            1 => out.simple("PONG"),
            2 => out.bulk(args.arg(1)),
            _ => return Err(CommandError::arity("ping")),
        },
        NodeCommand::Echo => out.bulk(args.arg(1)),
        NodeCommand::Time => {
            out.array(2);
            out.bulk_display(now_ms / 1000);
            out.bulk_display(now_ms % 1000 * 1000);
        }
        NodeCommand::Select => {
            running.database = parse::database(args.arg(1), databases)?;
            out.ok();
        }
        _ => return Err(NOT_ALLOWED),
    }
    Ok(())
}

/// Notes a message, which is sent when the script is done. How many will receive it differs from
/// node to node, so the script hears of none.
fn publish(
    running: &mut Running<'_, '_>,
    is_sharded: bool,
    args: Args<'_>,
    reply: &mut Vec<u8>,
) -> Result<(), CommandError> {
    let Access::Write(context) = &running.access else {
        return Err(READ_ONLY);
    };
    if !running.may_write {
        return Err(READ_ONLY);
    }
    let (channel, payload) = (args.arg(1), args.arg(2));
    running.published_bytes += channel.len() + payload.len();
    if running.published_bytes > MAX_TEXT_BYTES {
        return Err(TOO_LONG);
    }
    context.counters.published.borrow_mut().push(Published {
        is_sharded,
        channel: channel.into(),
        payload: payload.into(),
    });
    Encoder::new(reply, running.protocol).integer(0);
    Ok(())
}
