//! OBJECT: how a value is kept and when it was last used.
//!
//! The answers are those that Redis would give for the same value: small numbers have the reference
//! count that Redis gives its shared objects, though nothing is shared here. Not imitated: a small
//! number made by COPY is not shared in Redis.

use bailiwick_frame::{Args, Encoder};

use super::{
    Category, Command, CommandError, DEFAULT, Flag, Handler, Keys, NodeCommand, Outcome,
    ReadContext,
};
use crate::keyspace::{Entry, ValueRef};

/// Numbers below this are objects that Redis makes once and shares.
const SHARED_INTEGERS: i64 = 10_000;

/// The reference count of a shared object in Redis.
const SHARED_REFCOUNT: i64 = i32::MAX as i64;

const IDLE_TIME_UNKNOWN: CommandError = CommandError::text(
    "ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when \
     switching between policies at runtime LRU and LFU data will take some time to adjust.",
);
const FREQUENCY_UNKNOWN: CommandError = CommandError::text(
    "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that \
     when switching between policies at runtime LRU and LFU data will take some time to adjust.",
);

pub(super) static COMMANDS: &[Command] = &[Command {
    name: "object",
    arity: -2,
    since: "2.2.3",
    complexity: "Depends on subcommand.",
    summary: "Looks at how a value is kept.",
    subcommands: SUBCOMMANDS,
    ..DEFAULT
}];

/// A subcommand that inspects a key.
const INSPECTION: Command = Command {
    arity: 3,
    flags: Flag::Readonly as u32,
    categories: Category::Keyspace as u32,
    keys: Keys::Range {
        first: 2,
        last: 2,
        step: 1,
    },
    since: "2.2.3",
    syntax: "key",
    parent: "object",
    ..DEFAULT
};

static SUBCOMMANDS: &[Command] = &[
    Command {
        name: "encoding",
        summary: "Names the representation in which a value is kept.",
        handler: Handler::Read(encoding),
        ..INSPECTION
    },
    Command {
        name: "freq",
        since: "4.0.0",
        summary: "Tells how often a key has been accessed, on a logarithmic scale.",
        handler: Handler::Read(freq),
        ..INSPECTION
    },
    Command {
        name: "help",
        arity: 2,
        flags: Flag::Loading as u32 | Flag::Stale as u32,
        keys: Keys::None,
        since: "6.2.0",
        summary: "Lists the subcommands.",
        syntax: "",
        handler: Handler::Node(NodeCommand::Help),
        ..INSPECTION
    },
    Command {
        name: "idletime",
        summary: "Tells how many seconds ago a key was last accessed.",
        handler: Handler::Read(idletime),
        ..INSPECTION
    },
    Command {
        name: "refcount",
        summary: "Tells the reference count that Redis would show for a value.",
        handler: Handler::Read(refcount),
        ..INSPECTION
    },
];

fn encoding(ctx: &ReadContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    inspect(ctx, args, out, |entry, out| {
        out.bulk(entry.value().encoding().as_bytes());
        Ok(())
    })
}

fn freq(ctx: &ReadContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    inspect(ctx, args, out, |entry, out| {
        if !ctx.clock.counts_frequency() {
            return Err(FREQUENCY_UNKNOWN);
        }
        out.integer(i64::from(ctx.clock.frequency(entry)));
        Ok(())
    })
}

fn idletime(ctx: &ReadContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    inspect(ctx, args, out, |entry, out| {
        if ctx.clock.counts_frequency() {
            return Err(IDLE_TIME_UNKNOWN);
        }
        out.integer(i64::from(ctx.clock.idle_s(entry)));
        Ok(())
    })
}

fn refcount(ctx: &ReadContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    inspect(ctx, args, out, |entry, out| {
        out.integer(match entry.value() {
            ValueRef::Int(0..SHARED_INTEGERS) => SHARED_REFCOUNT,
            _ => 1,
        });
        Ok(())
    })
}

/// Calls `tell` with the entry of the key in question; null without one. To look is no access.
fn inspect(
    ctx: &ReadContext<'_>,
    args: Args<'_>,
    out: &mut Encoder<'_>,
    tell: impl FnOnce(&Entry, &mut Encoder<'_>) -> Outcome,
) -> Outcome {
    match ctx.look(args.arg(2)) {
        Some(entry) => tell(entry, out),
        None => {
            out.null();
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{FREQUENCY_UNKNOWN, freq};
    use crate::commands::testing::{Fixture, check, run};

    #[test]
    fn values_are_described_as_redis_would() {
        let long = format!("SET long {}", "x".repeat(45));
        check(
            &mut Fixture::default(),
            &[
                ("OBJECT ENCODING a", "nil"),
                ("OBJECT FREQ a", "nil"),
                ("SET a 9999", "+OK"),
                ("OBJECT ENCODING a", "\"int\""),
                ("OBJECT REFCOUNT a", "2147483647"),
                ("INCR a", "10000"),
                ("object refcount a", "1"),
                ("SET b bytes", "+OK"),
                ("OBJECT ENCODING b", "\"embstr\""),
                ("OBJECT REFCOUNT b", "1"),
                (&long, "+OK"),
                ("OBJECT ENCODING long", "\"raw\""),
                ("OBJECT FREQ a", &format!("-{FREQUENCY_UNKNOWN}")),
                (
                    "OBJECT foo",
                    "-ERR unknown subcommand 'foo'. Try OBJECT HELP.",
                ),
                (
                    "OBJECT ENCODING",
                    "-ERR wrong number of arguments for 'object|encoding' command",
                ),
                (
                    "OBJECT",
                    "-ERR wrong number of arguments for 'object' command",
                ),
            ],
        );
    }

    /// With a key `a` that nobody has touched for five seconds.
    fn with_idle_key() -> Fixture {
        let mut fixture = Fixture::default();
        run(&mut fixture, "SET a 1");
        fixture.now_ms += 5_000;
        fixture
    }

    #[test]
    fn looking_at_a_key_leaves_it_idle() {
        check(
            &mut with_idle_key(),
            &[
                ("OBJECT IDLETIME a", "5"),
                ("TTL a", "-1"),
                ("EXISTS a", "1"),
                ("TYPE a", "+string"),
                ("OBJECT IDLETIME a", "5"),
                ("TOUCH a", "1"),
                ("OBJECT IDLETIME a", "0"),
            ],
        );
    }

    #[test]
    fn a_read_that_may_change_its_key_is_an_access_like_any_other() {
        check(
            &mut with_idle_key(),
            &[
                ("OBJECT IDLETIME a", "5"),
                ("GETEX a", "\"1\""),
                ("OBJECT IDLETIME a", "0"),
            ],
        );
    }

    #[test]
    fn frequency_and_idle_time_exclude_each_other() {
        use bailiwick_frame::{ArgRange, Args, Encoder, Protocol};

        use super::{IDLE_TIME_UNKNOWN, idletime};
        use crate::commands::ReadContext;
        use crate::keyspace::{AccessClock, AccessPolicy};

        let mut fixture = Fixture::default();
        let policy = AccessPolicy::Frequency {
            log_factor: 10,
            decay_minutes: 1,
        };
        let clock = AccessClock::new(policy, fixture.now_ms, 1);
        run(&mut fixture, "SET a 1");
        let context = ReadContext {
            keyspace: &fixture.keyspace,
            authority: &fixture.authority,
            scripts: &fixture.scripts,
            database: 0,
            now_ms: fixture.now_ms,
            clock: &clock,
            touch: true,
            counters: &fixture.counters,
            may_wait: false,
            chance: None,
        };
        let ranges = [(0, 1), (1, 2), (2, 3)].map(|(start, end)| ArgRange { start, end });
        let args = Args::new(b"oxa", &ranges);
        let mut reply = Vec::new();
        let mut out = Encoder::new(&mut reply, Protocol::Resp2);
        assert_eq!(idletime(&context, args, &mut out), Err(IDLE_TIME_UNKNOWN));
        assert_eq!(freq(&context, args, &mut out), Ok(()));
        assert!(reply.starts_with(b":"));
    }
}
