//! A value as bytes, for another server, and back: DUMP and RESTORE.
//!
//! The bytes are those of `rdb`. RESTORE counts a relative expiry from log time; a moment that has
//! passed restores nothing, as in Redis. When and how often a key was used feeds eviction only and
//! is kept as far as the node's policy records it.
//!
//! MIGRATE is refused: it would have to wait for another server in the middle of the log.

use bailiwick_frame::{Args, Encoder};

use super::{
    Category, Command, CommandError, DEFAULT, Flag, Handler, Keys, Outcome, ReadContext,
    WriteContext, is_option, parse,
};
use crate::keyspace::{Expiry, NewValue, Object};
use crate::rdb::{self, Value, stream_value};

const BUSY_KEY: CommandError = CommandError::text("BUSYKEY Target key name already exists.");
const NEGATIVE_TTL: CommandError = CommandError::text("ERR Invalid TTL value, must be >= 0");
const NEGATIVE_IDLE: CommandError = CommandError::text("ERR Invalid IDLETIME value, must be >= 0");
const BAD_FREQUENCY: CommandError =
    CommandError::text("ERR Invalid FREQ value, must be >= 0 and <= 255");
const NO_MIGRATE: CommandError = CommandError::text(
    "ERR MIGRATE is not supported: DUMP here and RESTORE there, or use 'bailiwick export' and \
     'bailiwick import'",
);

const KEYSPACE: u32 = Category::Keyspace as u32;

pub(super) static COMMANDS: &[Command] = &[
    Command {
        name: "dump",
        arity: 2,
        flags: Flag::Readonly as u32,
        categories: KEYSPACE,
        keys: Keys::FIRST,
        since: "2.6.0",
        complexity: "O(N) where N is the size of the value",
        summary: "Replies with a value in the form in which RESTORE takes it.",
        syntax: "key",
        handler: Handler::Read(dump),
        ..DEFAULT
    },
    Command {
        name: "restore",
        arity: -4,
        flags: Flag::Write as u32 | Flag::Denyoom as u32,
        categories: KEYSPACE | Category::Dangerous as u32,
        keys: Keys::FIRST,
        since: "2.6.0",
        complexity: "O(N) where N is the size of the value; O(N*log(N)) for a sorted set",
        summary: "Creates a key from a value in the form in which DUMP gives it.",
        syntax: "key ttl serialized-value [REPLACE] [ABSTTL] [IDLETIME seconds] [FREQ frequency]",
        handler: Handler::Write(restore),
        ..DEFAULT
    },
    Command {
        name: "migrate",
        arity: -6,
        flags: Flag::Readonly as u32,
        categories: KEYSPACE | Category::Dangerous as u32,
        keys: Keys::Range {
            first: 3,
            last: 3,
            step: 1,
        },
        since: "2.6.0",
        summary: "Is refused; DUMP and RESTORE do what it does, step by step.",
        syntax: "host port key destination-db timeout [COPY] [REPLACE]",
        handler: Handler::Read(|_, _, _| Err(NO_MIGRATE)),
        ..DEFAULT
    },
];

fn dump(ctx: &ReadContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    match ctx.get(args.arg(1)) {
        Some(entry) => out.bulk(&rdb::dump(entry)),
        None => out.null(),
    }
    Ok(())
}

/// The options behind the value.
#[derive(Default)]
struct Options {
    replace: bool,
    is_absolute: bool,
    idle_s: Option<u32>,
    frequency: Option<u8>,
}

impl Options {
    fn parse(args: Args<'_>) -> Result<Self, CommandError> {
        let mut options = Self::default();
        let mut at = 4;
        while at < args.len() {
            let number = args.get(at + 1);
            if is_option(args, at, "replace") {
                options.replace = true;
            } else if is_option(args, at, "absttl") {
                options.is_absolute = true;
            } else if let Some(number) = number
                && is_option(args, at, "idletime")
                && options.frequency.is_none()
            {
                let idle_s = u64::try_from(parse::integer(number)?).map_err(|_| NEGATIVE_IDLE)?;
                options.idle_s = Some(u32::try_from(idle_s).unwrap_or(u32::MAX));
                at += 1;
            } else if let Some(number) = number
                && is_option(args, at, "freq")
                && options.idle_s.is_none()
            {
                let frequency = u8::try_from(parse::integer(number)?).map_err(|_| BAD_FREQUENCY)?;
                options.frequency = Some(frequency);
                at += 1;
            } else {
                return Err(CommandError::Syntax);
            }
            at += 1;
        }
        Ok(options)
    }
}

fn restore(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let (key, options) = (args.arg(1), Options::parse(args)?);
    if !options.replace && ctx.peek(key).is_some() {
        return Err(BUSY_KEY);
    }
    let ttl = u64::try_from(parse::integer(args.arg(2))?).map_err(|_| NEGATIVE_TTL)?;
    let value = rdb::restore(args.arg(3), ctx.seed())
        .map_err(|error| CommandError::composed(format!("ERR {error}")))?;
    let base_ms = if options.is_absolute { 0 } else { ctx.now_ms };
    // A time beyond the end of time never comes.
    let at_ms = base_ms.saturating_add_unsigned(ttl);
    if ttl > 0 && at_ms <= ctx.now_ms {
        ctx.remove(key);
        out.ok();
        return Ok(());
    }
    let expiry = if ttl > 0 {
        Expiry::At(at_ms)
    } else {
        Expiry::None
    };
    match &value {
        Value::String(bytes) => ctx.set(key, NewValue::from_bytes(bytes), expiry),
        Value::Object(_) | Value::Stream(_) => ctx.set(key, object_of(value)?, expiry),
    }
    if let Some(entry) = ctx.peek(key) {
        entry.set_access(ctx.clock.backdated(options.idle_s, options.frequency));
    }
    out.ok();
    Ok(())
}

/// What the keyspace keeps of a value that is no string.
fn object_of(value: Value) -> Result<NewValue<'static>, CommandError> {
    match value {
        Value::Object(object) => Ok(NewValue::Object(object)),
        Value::Stream(plain) => {
            let stream = stream_value::from_plain(&plain);
            let stream = stream.ok_or(CommandError::text("ERR Bad data format"))?;
            Ok(NewValue::Object(Object::Stream(stream)))
        }
        Value::String(_) => unreachable!("strings are stored as they are"),
    }
}

#[cfg(test)]
mod tests {
    use crate::commands::testing::{Fixture, START_MS, check, run, run_raw};

    /// A dump as an argument that redis-cli would take.
    fn dumped(fixture: &mut Fixture, key: &str) -> String {
        run(fixture, &format!("DUMP {key}"))
    }

    #[test]
    fn a_value_comes_back_with_the_expiry_that_is_asked_for() {
        let mut fixture = Fixture::default();
        run(&mut fixture, "RPUSH l a 1 b");
        let dump = dumped(&mut fixture, "l");
        let restore = |key: &str, rest: &str| format!("RESTORE {key} {rest}").replace("@", &dump);
        let later = START_MS + 5000;
        check(
            &mut fixture,
            &[
                ("DUMP nope", "nil"),
                (
                    &restore("l", "0 @"),
                    "-BUSYKEY Target key name already exists.",
                ),
                (&restore("m", "0 @"), "+OK"),
                ("LRANGE m 0 -1", "[\"a\" \"1\" \"b\"]"),
                ("PTTL m", "-1"),
                (&restore("m", "5000 @ REPLACE"), "+OK"),
                ("PTTL m", "5000"),
                (&restore("m", &format!("{later} @ absttl replace")), "+OK"),
                ("PTTL m", "5000"),
                (&restore("m", "7 @ ABSTTL REPLACE"), "+OK"),
                ("EXISTS m", "0"),
                (&restore("m", "0 @ IDLETIME 100"), "+OK"),
                ("OBJECT IDLETIME m", "100"),
                (&restore("n", "0 @ FREQ 100"), "+OK"),
                ("OBJECT IDLETIME n", "0"),
            ],
        );
    }

    #[test]
    fn refusals_come_in_the_order_of_redis() {
        let mut fixture = Fixture::default();
        run(&mut fixture, "SET k v");
        let dump = dumped(&mut fixture, "k");
        let line = |rest: &str| format!("RESTORE {rest}").replace("@", &dump);
        let footer = "-ERR DUMP payload version or checksum are wrong";
        check(
            &mut fixture,
            &[
                (&line("k x bad NOPE"), "-ERR syntax error"),
                (&line("k x bad IDLETIME"), "-ERR syntax error"),
                (&line("k x bad FREQ 1 IDLETIME 1"), "-ERR syntax error"),
                (
                    &line("k x bad IDLETIME -1"),
                    "-ERR Invalid IDLETIME value, must be >= 0",
                ),
                (
                    &line("k x bad FREQ 256"),
                    "-ERR Invalid FREQ value, must be >= 0 and <= 255",
                ),
                (
                    &line("k x bad FREQ x"),
                    "-ERR value is not an integer or out of range",
                ),
                (&line("k x bad"), "-BUSYKEY Target key name already exists."),
                (
                    &line("n x bad"),
                    "-ERR value is not an integer or out of range",
                ),
                (&line("n -1 bad"), "-ERR Invalid TTL value, must be >= 0"),
                (&line("n 0 bad"), footer),
                (&line("n 0 \"\""), footer),
            ],
        );
        let reply = run_raw(&mut fixture, "MIGRATE h 1 k 0 10");
        assert!(reply.starts_with(b"-ERR MIGRATE is not supported"));
    }
}
