//! Expiries: setting, reading and removing them.
//!
//! An expiry is an absolute millisecond of log time, whichever way the client gave it. A time that
//! has passed removes the key at once. Reading an expiry is no access to the key.

use bailiwick_frame::{Args, Encoder};

use super::parse::{self, Base, Unit};
use super::{
    Category, Command, CommandError, DEFAULT, Flag, Handler, Idle, Keys, Nothing, Outcome,
    ReadContext, WriteContext,
};

const WRITE_FAST: u32 = Flag::Write as u32 | Flag::Fast as u32;
const READ_FAST: u32 = Flag::Readonly as u32 | Flag::Fast as u32;

/// A row about the expiry of its first argument.
const EXPIRY: Command = Command {
    arity: 2,
    flags: READ_FAST,
    categories: Category::Keyspace as u32,
    keys: Keys::FIRST,
    syntax: "key",
    ..DEFAULT
};

pub(super) static COMMANDS: &[Command] = &[
    Command {
        name: "expire",
        arity: -3,
        flags: WRITE_FAST,
        summary: "Lets a key expire after a number of seconds.",
        syntax: "key seconds [NX | XX | GT | LT]",
        handler: Handler::Write(|ctx, args, out| {
            expire(ctx, args, out, "expire", Unit::Seconds, Base::Now)
        }),
        ..EXPIRY
    },
    Command {
        name: "pexpire",
        arity: -3,
        flags: WRITE_FAST,
        since: "2.6.0",
        summary: "Lets a key expire after a number of milliseconds.",
        syntax: "key milliseconds [NX | XX | GT | LT]",
        handler: Handler::Write(|ctx, args, out| {
            expire(ctx, args, out, "pexpire", Unit::Milliseconds, Base::Now)
        }),
        ..EXPIRY
    },
    Command {
        name: "expireat",
        arity: -3,
        flags: WRITE_FAST,
        since: "1.2.0",
        summary: "Lets a key expire at a Unix time in seconds.",
        syntax: "key unix-time-seconds [NX | XX | GT | LT]",
        handler: Handler::Write(|ctx, args, out| {
            expire(ctx, args, out, "expireat", Unit::Seconds, |_| Base::Epoch)
        }),
        ..EXPIRY
    },
    Command {
        name: "pexpireat",
        arity: -3,
        flags: WRITE_FAST,
        since: "2.6.0",
        summary: "Lets a key expire at a Unix time in milliseconds.",
        syntax: "key unix-time-milliseconds [NX | XX | GT | LT]",
        handler: Handler::Write(|ctx, args, out| {
            expire(ctx, args, out, "pexpireat", Unit::Milliseconds, |_| {
                Base::Epoch
            })
        }),
        ..EXPIRY
    },
    Command {
        name: "ttl",
        summary: "Tells how many seconds a key has left.",
        handler: Handler::Read(|ctx, args, out| {
            tell(ctx, args, out, |at_ms, now_ms| {
                round_to_seconds(left_ms(at_ms, now_ms))
            })
        }),
        ..EXPIRY
    },
    Command {
        name: "pttl",
        since: "2.6.0",
        summary: "Tells how many milliseconds a key has left.",
        handler: Handler::Read(|ctx, args, out| tell(ctx, args, out, left_ms)),
        ..EXPIRY
    },
    Command {
        name: "expiretime",
        since: "7.0.0",
        summary: "Tells the Unix time in seconds at which a key expires.",
        handler: Handler::Read(|ctx, args, out| {
            tell(ctx, args, out, |at_ms, _| round_to_seconds(at_ms))
        }),
        ..EXPIRY
    },
    Command {
        name: "pexpiretime",
        since: "7.0.0",
        summary: "Tells the Unix time in milliseconds at which a key expires.",
        handler: Handler::Read(|ctx, args, out| tell(ctx, args, out, |at_ms, _| at_ms)),
        ..EXPIRY
    },
    Command {
        name: "persist",
        flags: WRITE_FAST,
        since: "2.2.0",
        summary: "Takes a key's expiry away.",
        handler: Handler::Write(persist),
        idle: Idle::if_absent(Nothing::Zero),
        ..EXPIRY
    },
];

/// When an expiry may be set.
#[derive(Clone, Copy, Default)]
struct Conditions {
    nx: bool,
    xx: bool,
    gt: bool,
    lt: bool,
}

impl Conditions {
    fn parse(args: Args<'_>) -> Result<Self, CommandError> {
        let mut conditions = Self::default();
        for option in args.iter().skip(3) {
            match () {
                () if option.eq_ignore_ascii_case(b"nx") => conditions.nx = true,
                () if option.eq_ignore_ascii_case(b"xx") => conditions.xx = true,
                () if option.eq_ignore_ascii_case(b"gt") => conditions.gt = true,
                () if option.eq_ignore_ascii_case(b"lt") => conditions.lt = true,
                () => {
                    let option = String::from_utf8_lossy(option);
                    return Err(CommandError::composed(format!(
                        "ERR Unsupported option {option}"
                    )));
                }
            }
        }
        let Self { nx, xx, gt, lt } = conditions;
        if nx && (xx || gt || lt) {
            return Err(CommandError::text(
                "ERR NX and XX, GT or LT options at the same time are not compatible",
            ));
        }
        if gt && lt {
            return Err(CommandError::text(
                "ERR GT and LT options at the same time are not compatible",
            ));
        }
        Ok(conditions)
    }

    /// Whether a key that now expires at `present` may expire at `at_ms` instead. A key without
    /// expiry counts as one that expires at the end of time.
    fn allow(self, present: Option<i64>, at_ms: i64) -> bool {
        !(self.nx && present.is_some()
            || self.xx && present.is_none()
            || self.gt && present.is_none_or(|present| at_ms <= present)
            || self.lt && present.is_some_and(|present| at_ms >= present))
    }
}

fn expire(
    ctx: &mut WriteContext<'_>,
    args: Args<'_>,
    out: &mut Encoder<'_>,
    name: &str,
    unit: Unit,
    base: fn(i64) -> Base,
) -> Outcome {
    let conditions = Conditions::parse(args)?;
    let at_ms = parse::expiry_ms(args.arg(2), unit, base(ctx.now_ms), name)?;
    let key = args.arg(1);
    let allowed = ctx
        .peek(key)
        .is_some_and(|entry| conditions.allow(entry.expires_at_ms(), at_ms));
    out.integer(i64::from(allowed && ctx.set_expiry(key, Some(at_ms))));
    Ok(())
}

fn persist(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let key = args.arg(1);
    let expires = ctx
        .peek(key)
        .is_some_and(|entry| entry.expires_at_ms().is_some());
    out.integer(i64::from(expires && ctx.set_expiry(key, None)));
    Ok(())
}

/// Replies -2 without the key, -1 without an expiry, else what `measure` makes of (expiry, now).
fn tell(
    ctx: &ReadContext<'_>,
    args: Args<'_>,
    out: &mut Encoder<'_>,
    measure: impl FnOnce(i64, i64) -> i64,
) -> Outcome {
    out.integer(
        match ctx.look(args.arg(1)).map(|entry| entry.expires_at_ms()) {
            None => -2,
            Some(None) => -1,
            Some(Some(at_ms)) => measure(at_ms, ctx.now_ms),
        },
    );
    Ok(())
}

fn left_ms(at_ms: i64, now_ms: i64) -> i64 {
    at_ms.saturating_sub(now_ms).max(0)
}

/// To the nearest second; a key that is there has a time that is not negative.
fn round_to_seconds(time_ms: i64) -> i64 {
    // The sum may leave i64, but not u64, and the quotient fits again.
    ((time_ms.max(0) as u64 + 500) / 1000) as i64
}

#[cfg(test)]
mod tests {
    use crate::commands::testing::{Fixture, START_MS, check, run};

    #[test]
    fn an_expiry_is_told_in_every_unit() {
        let at_ms = START_MS + 10_000;
        check(
            &mut Fixture::default(),
            &[
                ("TTL a", "-2"),
                ("PEXPIRETIME a", "-2"),
                ("EXPIRE a 10", "0"),
                ("SET a 1", "+OK"),
                ("PTTL a", "-1"),
                ("PERSIST a", "0"),
                ("EXPIRE a 10", "1"),
                ("PTTL a", "10000"),
                ("TTL a", "10"),
                ("PEXPIRETIME a", &at_ms.to_string()),
                ("EXPIRETIME a", &((at_ms + 500) / 1000).to_string()),
                ("PEXPIRE a 1499", "1"),
                ("TTL a", "1"),
                ("PEXPIRE a 1500", "1"),
                ("TTL a", "2"),
                ("PERSIST a", "1"),
                ("TTL a", "-1"),
                ("PEXPIREAT a 9223372036854775807", "1"),
                ("EXPIRETIME a", "9223372036854776"),
                ("GET a", "\"1\""),
            ],
        );
    }

    #[test]
    fn a_time_that_has_passed_removes_the_key() {
        let mut fixture = Fixture::default();
        let now = format!("PEXPIREAT a {START_MS}");
        for line in [
            "EXPIRE a 0",
            "EXPIRE a -1",
            "EXPIREAT a 5",
            &now,
            "PEXPIREAT a -9223372036854775808",
        ] {
            check(
                &mut fixture,
                &[("SET a 1", "+OK"), (line, "1"), ("EXISTS a", "0")],
            );
        }
    }

    #[test]
    fn a_key_lives_through_its_last_millisecond() {
        let mut fixture = Fixture::default();
        run(&mut fixture, "SET a 1 PX 100");
        fixture.now_ms += 100;
        check(&mut fixture, &[("PTTL a", "0"), ("EXISTS a", "1")]);
        fixture.now_ms += 1;
        check(
            &mut fixture,
            &[("PTTL a", "-2"), ("PERSIST a", "0"), ("EXPIRE a 5", "0")],
        );
    }

    #[test]
    fn conditions_compare_with_the_present_expiry() {
        check(
            &mut Fixture::default(),
            &[
                ("SET a 1", "+OK"),
                ("EXPIRE a 10 XX", "0"),
                ("EXPIRE a 10 GT", "0"),
                ("EXPIRE a 10 lt", "1"),
                ("EXPIRE a 20 NX", "0"),
                ("EXPIRE a 10 GT", "0"),
                ("EXPIRE a 20 GT XX", "1"),
                ("EXPIRE a 20 LT", "0"),
                ("EXPIRE a 5 LT", "1"),
                ("TTL a", "5"),
                ("PERSIST a", "1"),
                ("EXPIRE a 7 NX", "1"),
            ],
        );
    }

    #[test]
    fn options_are_refused_before_times_and_times_before_keys() {
        let nx = "-ERR NX and XX, GT or LT options at the same time are not compatible";
        check(
            &mut Fixture::default(),
            &[
                ("EXPIRE a x foo", "-ERR Unsupported option foo"),
                ("EXPIRE a x NX BAD", "-ERR Unsupported option BAD"),
                ("EXPIRE a 1 NX GT", nx),
                (
                    "EXPIRE a 1 GT LT",
                    "-ERR GT and LT options at the same time are not compatible",
                ),
                ("EXPIRE a x", "-ERR value is not an integer or out of range"),
                (
                    "EXPIREAT a 9223372036854775807",
                    "-ERR invalid expire time in 'expireat' command",
                ),
                (
                    "PEXPIRE a 9223372036854775807",
                    "-ERR invalid expire time in 'pexpire' command",
                ),
            ],
        );
    }
}
