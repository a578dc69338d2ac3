//! Waiting for keys: what blocking commands have in common, and the internal commands around them.
//!
//! A blocking command as such never waits: in a transaction or a script it answers at once. The
//! node that has the client wraps the request into `_BLOCK`, which runs it and, if it finds
//! nothing, registers the client as a [`Waiter`](crate::state::Waiter). A handler says so by
//! [`nothing_there`]. Clients cannot use the internal commands:
//!
//! | command | what it does | reply |
//! |---|---|---|
//! | `_BLOCK node life number protocol arrival request..` | runs the request or registers it | the request's, or `BLOCKED arrival kept id..` |
//! | `_BLOCKGROW ..` | the same for requests that need memory | |
//! | `_LOOK node life number` | fetches a reply that was kept | the request's, or `BLOCKED arrival kept`, or `GONE` if it does not wait |
//! | `_UNBLOCK node life number` | ends the waiting | the request's reply if it was served and that is kept, else `REMOVED`, or `GONE` if it did not wait |
//! | `_FORSAKE node life is-over` | ends the waiting of that node's lives up to this one | OK |
//!
//! The IDs are those of streams: behind them the request waits for entries.
//! `arrival` is the log time of the first arrival in milliseconds, or 0 for now.
//! `_LOOK` and `_UNBLOCK` name no key: they go to the group where the client waits, which need not
//! serve its keys any more. Time-outs are the
//! business of the client's node; here they are only checked.

use bailiwick_frame::{Args, Encoder, Protocol};

use super::decimal::Decimal;
use super::parse::integer;
use super::{
    Command, CommandError, DEFAULT, Flag, Group, Handler, Keys, Known, Outcome, Timeout,
    WriteContext, is_option, lookup_logged,
};
use crate::state::{Awaits, Kind, Waiter, WaiterId};

const FLAGS: u32 = Flag::Write as u32 | Flag::Internal as u32;

/// Where the wrapped request begins.
const REQUEST_AT: u8 = 6;

const BLOCK: Command = Command {
    arity: -(REQUEST_AT as i16 + 1),
    flags: FLAGS,
    keys: Keys::Inner { at: REQUEST_AT },
    group: Group::Generic,
    since: "0.1.0",
    summary: "Runs a request, or has its client wait for its keys.",
    syntax: "node life number protocol arrival command [arg ...]",
    handler: Handler::Write(block),
    ..DEFAULT
};

pub(super) static COMMANDS: &[Command] = &[
    Command {
        name: "_block",
        ..BLOCK
    },
    Command {
        name: "_blockgrow",
        flags: FLAGS | Flag::Denyoom as u32,
        ..BLOCK
    },
    Command {
        name: "_look",
        arity: 4,
        keys: Keys::None,
        summary: "Fetches the reply of a client that has waited.",
        syntax: "node life number",
        handler: Handler::Write(look),
        ..BLOCK
    },
    Command {
        name: "_unblock",
        arity: 4,
        keys: Keys::None,
        summary: "Ends the waiting of a client.",
        syntax: "node life number",
        handler: Handler::Write(unblock),
        ..BLOCK
    },
    Command {
        name: "_forsake",
        arity: 4,
        keys: Keys::None,
        summary: "Ends the waiting of all clients of a node that nobody hears of.",
        syntax: "node life is-over",
        handler: Handler::Write(forsake),
        ..BLOCK
    },
];

const BAD_TIMEOUT: CommandError = CommandError::text("ERR timeout is not a float or out of range");
const BAD_TIMEOUT_MS: CommandError =
    CommandError::text("ERR timeout is not an integer or out of range");
const TIMEOUT_OUT_OF_RANGE: CommandError = CommandError::text("ERR timeout is out of range");
const TIMEOUT_NEGATIVE: CommandError = CommandError::text("ERR timeout is negative");
const MALFORMED: CommandError = CommandError::text("ERR malformed internal command");
/// The longest request whose client may wait, in bytes: as long as it waits, every replica keeps
/// it.
const WAITING_MAX_BYTES: usize = 256 << 10;
const TOO_LONG: CommandError =
    CommandError::text("ERR a request of more than 256 KiB cannot wait for keys");

/// What a command does that has found nothing it could reply with: it waits, or, where nobody may
/// wait, replies with what `answer` writes.
///
/// It runs again whenever there is cause for a look, so what it has changed so far must be all
/// right once and many times, and must not be noted as a change of an awaited key, which would be
/// cause for another look.
pub(super) fn nothing_there(
    may_wait: bool,
    awaits: impl FnOnce() -> Awaits,
    answer: impl FnOnce(),
) -> Outcome {
    if may_wait {
        return Err(CommandError::Blocks(Box::new(awaits())));
    }
    answer();
    Ok(())
}

/// Runs a request whose client may wait; [`CommandError::Blocks`] says for what.
pub fn run_waiting(
    ctx: &mut WriteContext<'_>,
    command: Known,
    request: Args<'_>,
    out: &mut Encoder<'_>,
) -> Outcome {
    ctx.may_wait = true;
    let outcome = match command.handler {
        Handler::Write(handler) => handler(ctx, request, out),
        Handler::Read(handler) => handler(&ctx.reader(), request, out),
        Handler::Node(_) | Handler::Container => Err(MALFORMED),
    };
    ctx.may_wait = false;
    outcome
}

/// How long a request is ready to wait, in milliseconds; 0 for ever. `None` if it does not wait.
///
/// # Errors
/// What the client wrote is no such time, or too far from `now_ms`.
#[must_use]
pub fn timeout_of(
    command: &Command,
    args: Args<'_>,
    now_ms: i64,
) -> Option<Result<u64, CommandError>> {
    match command.timeout {
        Timeout::Never => None,
        Timeout::First => Some(seconds(args.get(1)?, now_ms)),
        Timeout::Last => Some(seconds(args.get(args.len() - 1)?, now_ms)),
        Timeout::Option => {
            let options = StreamOptions::of(args);
            options.first_key?;
            Some(milliseconds(args.get(options.timeout?)?, now_ms))
        }
    }
}

/// Whether a request asks by an option to wait, which no script may.
pub(super) fn asks_to_wait(command: &Command, args: Args<'_>) -> bool {
    let timeout = StreamOptions::of(args).timeout;
    command.timeout == Timeout::Option && timeout.is_some_and(|at| at < args.len())
}

/// Whether an XREAD asks for nothing but entries that are not there yet.
#[must_use]
pub fn wants_only_new(args: Args<'_>) -> bool {
    let Some(first) = StreamOptions::of(args).first_key else {
        return false;
    };
    let mut ids = args.iter().skip((first + args.len()) / 2);
    ids.all(|id| id == b"$")
}

/// Where XREAD and XREADGROUP have what matters here. What stands in the place of a name, such as a
/// group that is called "block", is no option.
#[derive(Default)]
struct StreamOptions {
    /// The time of the last BLOCK.
    timeout: Option<usize>,
    /// The first key. As many IDs as keys end the request.
    first_key: Option<usize>,
}

impl StreamOptions {
    fn of(args: Args<'_>) -> Self {
        let (mut options, mut at) = (Self::default(), 1);
        while at < args.len() && options.first_key.is_none() {
            at += match () {
                () if is_option(args, at, "streams") => {
                    options.first_key = Some(at + 1);
                    1
                }
                () if is_option(args, at, "block") => {
                    options.timeout = Some(at + 1);
                    2
                }
                () if is_option(args, at, "count") => 2,
                () if is_option(args, at, "group") => 3,
                () => 1,
            };
        }
        options
    }
}

/// A time-out in seconds with a fraction, as milliseconds, rounded up.
pub(super) fn seconds(arg: &[u8], now_ms: i64) -> Result<u64, CommandError> {
    let seconds = Decimal::parse(arg).ok_or(BAD_TIMEOUT)?;
    checked(seconds.thousandfold(), now_ms)
}

/// A time-out in whole milliseconds.
pub(super) fn milliseconds(arg: &[u8], now_ms: i64) -> Result<u64, CommandError> {
    let timeout_ms = integer(arg).map_err(|_| BAD_TIMEOUT_MS)?;
    checked(timeout_ms.into(), now_ms)
}

fn checked(timeout_ms: i128, now_ms: i64) -> Result<u64, CommandError> {
    if timeout_ms > i64::MAX.into() {
        return Err(TIMEOUT_OUT_OF_RANGE);
    }
    let timeout_ms = u64::try_from(timeout_ms).map_err(|_| TIMEOUT_NEGATIVE)?;
    if timeout_ms > i64::MAX.abs_diff(now_ms) {
        return Err(TIMEOUT_OUT_OF_RANGE);
    }
    Ok(timeout_ms)
}

/// What a node makes of the reply to `_BLOCK`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocked {
    /// The client waits.
    Waits {
        /// Since when, in milliseconds of log time.
        arrival_ms: i64,
        /// Its reply will have to be fetched.
        kept: bool,
    },
    /// The reply is the client's.
    Replied,
}

impl Blocked {
    /// Reads a reply. No blocking command replies with a simple string, so those are ours.
    #[must_use]
    pub fn of_reply(reply: &[u8]) -> Self {
        let text = std::str::from_utf8(reply).unwrap_or_default();
        let words = text.strip_prefix("+BLOCKED ").map(str::split_whitespace);
        let read = words.and_then(|mut words| {
            let arrival_ms = words.next()?.parse().ok()?;
            Some((arrival_ms, words.next()? == "1"))
        });
        read.map_or(Self::Replied, |(arrival_ms, kept)| Self::Waits {
            arrival_ms,
            kept,
        })
    }

    /// The IDs behind which a request waits for entries of streams, the last arguments of its own
    /// if it has to be made anew: what "the newest" was when it arrived does not change.
    pub fn ids(reply: &[u8]) -> impl Iterator<Item = &[u8]> {
        let text = reply.strip_prefix(b"+BLOCKED ").unwrap_or_default();
        let words = text.trim_ascii_end().split(|&byte| byte == b' ');
        words.skip(2)
    }

    fn of(waiter: &Waiter) -> String {
        let (arrival_ms, kept) = (waiter.place.arrival_ms, u8::from(waiter.kept));
        let mut words = format!("BLOCKED {arrival_ms} {kept}");
        let request = waiter.request();
        let first_key = StreamOptions::of(request).first_key;
        if waiter.kind == Kind::Stream
            && let Some(first) = first_key
        {
            for id in request.iter().skip((first + request.len()) / 2) {
                words.push(' ');
                words.push_str(&String::from_utf8_lossy(id));
            }
        }
        words
    }
}

/// What a node makes of the reply to `_UNBLOCK`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unblocked {
    /// It waited until now.
    Removed,
    /// It did not wait.
    Gone,
    /// The reply is the client's.
    Replied,
}

impl Unblocked {
    /// Reads a reply.
    #[must_use]
    pub fn of_reply(reply: &[u8]) -> Self {
        match reply {
            b"+REMOVED\r\n" => Self::Removed,
            b"+GONE\r\n" => Self::Gone,
            _ => Self::Replied,
        }
    }
}

fn block(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let id = waiter_id(args)?;
    if ctx.waiters.get(id).is_some() || ctx.waiters.has_served(id) {
        return look(ctx, args, out);
    }
    let arrival_ms = integer(args.arg(5)).map_err(|_| MALFORMED)?;
    let protocol = match args.arg(4) {
        b"2" => Protocol::Resp2,
        b"3" => Protocol::Resp3,
        _ => return Err(MALFORMED),
    };
    let request = args.from(REQUEST_AT.into());
    let command = lookup_logged(request)?;
    let author = ctx.counters.touches.set_author(id.author());
    let outcome = run_waiting(ctx, command, request, out);
    ctx.counters.touches.set_author(author);
    let awaits = match outcome {
        Err(CommandError::Blocks(awaits)) => *awaits,
        outcome => return outcome,
    };
    if request.iter().map(<[u8]>::len).sum::<usize>() > WAITING_MAX_BYTES {
        return Err(TOO_LONG);
    }
    let arrival_ms = match arrival_ms {
        0 => ctx.now_ms,
        arrival_ms => arrival_ms,
    };
    ctx.waiters.register(
        id,
        (ctx.database, protocol),
        (arrival_ms, ctx.is_proxied),
        (awaits, request),
        &mut ctx.keyspace.awaited,
    );
    let waiter = ctx.waiters.get(id).expect("it was just registered");
    out.simple(&Blocked::of(waiter));
    Ok(())
}

fn look(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let id = waiter_id(args)?;
    if let Some(reply) = ctx.waiters.fetch(id) {
        out.buffer().extend_from_slice(&reply);
    } else if let Some(waiter) = ctx.waiters.get(id) {
        out.simple(&Blocked::of(waiter));
    } else {
        out.simple("GONE");
    }
    Ok(())
}

fn unblock(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let id = waiter_id(args)?;
    if let Some(reply) = ctx.waiters.fetch(id) {
        out.buffer().extend_from_slice(&reply);
    } else if ctx.waiters.give_up(id, &mut ctx.keyspace.awaited) {
        out.simple("REMOVED");
    } else {
        out.simple("GONE");
    }
    Ok(())
}

fn forsake(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let (node, life) = (number(args.arg(1))?, number(args.arg(2))?);
    let is_over = args.arg(3) == b"1";
    let node = u32::try_from(node).map_err(|_| MALFORMED)?;
    let awaited = &mut ctx.keyspace.awaited;
    ctx.waiters.forsake(node, life, is_over, awaited);
    out.ok();
    Ok(())
}

fn waiter_id(args: Args<'_>) -> Result<WaiterId, CommandError> {
    Ok(WaiterId {
        node: u32::try_from(number(args.arg(1))?).map_err(|_| MALFORMED)?,
        incarnation: number(args.arg(2))?,
        number: number(args.arg(3))?,
    })
}

fn number(arg: &[u8]) -> Result<u64, CommandError> {
    let text = std::str::from_utf8(arg).map_err(|_| MALFORMED)?;
    text.parse().map_err(|_| MALFORMED)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: i64 = 1_700_000_000_000;

    #[test]
    fn time_outs_are_rounded_up_to_milliseconds() {
        let cases: &[(&str, u64)] = &[
            ("0", 0),
            ("-0", 0),
            ("1", 1000),
            ("0.001", 1),
            ("0.0001", 1),
            ("-0.0001", 0),
            ("1.5", 1500),
            ("0x10", 16_000),
            ("1e3", 1_000_000),
            ("9000000000000000", 9_000_000_000_000_000_000),
        ];
        for (text, expected) in cases {
            assert_eq!(seconds(text.as_bytes(), NOW_MS), Ok(*expected), "{text}");
        }
    }

    #[test]
    fn bad_time_outs_are_refused_as_redis_does() {
        for text in ["", "abc", "1s", "nan", " 1"] {
            assert_eq!(seconds(text.as_bytes(), NOW_MS), Err(BAD_TIMEOUT), "{text}");
        }
        for text in ["-1", "-0.001", "-1e300", "-inf"] {
            let refused = seconds(text.as_bytes(), NOW_MS);
            assert_eq!(refused, Err(TIMEOUT_NEGATIVE), "{text}");
        }
        for text in ["1e300", "inf", "9223372036854775", "9223372036854775807"] {
            let refused = seconds(text.as_bytes(), NOW_MS);
            assert_eq!(refused, Err(TIMEOUT_OUT_OF_RANGE), "{text}");
        }
        assert_eq!(milliseconds(b"1.5", NOW_MS), Err(BAD_TIMEOUT_MS));
        assert_eq!(milliseconds(b"-1", NOW_MS), Err(TIMEOUT_NEGATIVE));
    }

    fn options_of(line: &str) -> (Option<usize>, Option<usize>) {
        let (mut bytes, mut ranges) = (Vec::new(), Vec::new());
        for word in line.split(' ') {
            let start = bytes.len() as u32;
            bytes.extend_from_slice(word.as_bytes());
            let end = bytes.len() as u32;
            ranges.push(bailiwick_frame::ArgRange { start, end });
        }
        let options = StreamOptions::of(Args::new(&bytes, &ranges));
        (options.timeout, options.first_key)
    }

    #[test]
    fn names_are_no_options() {
        let cases = [
            ("XREAD BLOCK 5 STREAMS s 0", Some(2), Some(4)),
            (
                "XREAD block 5 count 3 BLOCK 6 streams s 0",
                Some(6),
                Some(8),
            ),
            ("XREAD COUNT block STREAMS BLOCK 0", None, Some(4)),
            ("XREADGROUP GROUP block streams STREAMS s >", None, Some(5)),
            (
                "XREADGROUP GROUP streams c BLOCK 0 NOACK STREAMS s >",
                Some(5),
                Some(8),
            ),
            ("XREAD BLOCK 0", Some(2), None),
        ];
        for (line, timeout, first_key) in cases {
            assert_eq!(options_of(line), (timeout, first_key), "{line}");
        }
    }

    #[test]
    fn replies_about_waiting_are_told_from_clients_replies() {
        let waits = Blocked::Waits {
            arrival_ms: 17,
            kept: true,
        };
        assert_eq!(Blocked::of_reply(b"+BLOCKED 17 1\r\n"), waits);
        assert_eq!(Blocked::of_reply(b"+BLOCKED 17 1 5-3 >\r\n"), waits);
        assert_eq!(Blocked::ids(b"+BLOCKED 17 1\r\n").count(), 0);
        let ids: Vec<&[u8]> = Blocked::ids(b"+BLOCKED 17 1 5-3 >\r\n").collect();
        assert_eq!(ids, [&b"5-3"[..], b">"]);
        for reply in [
            &b"*-1\r\n"[..],
            b"$3\r\n\xff\x00a\r\n",
            b"-ERR BLOCKED 1 1\r\n",
        ] {
            assert_eq!(Blocked::of_reply(reply), Blocked::Replied);
            assert_eq!(Unblocked::of_reply(reply), Unblocked::Replied);
        }
    }
}
