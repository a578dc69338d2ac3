//! Strings as numbers: the INCR family.

use bailiwick_frame::{Args, Encoder};

use super::decimal::Decimal;
use super::parse::integer;
use super::{
    Category, Command, CommandError, DEFAULT, Flag, Group, Handler, Keys, Outcome, StringRef,
    WriteContext,
};
use crate::keyspace::{Expiry, NewValue};

const ROW: Command = Command {
    flags: Flag::Write as u32 | Flag::Denyoom as u32 | Flag::Fast as u32,
    categories: Category::String as u32,
    keys: Keys::FIRST,
    group: Group::String,
    ..DEFAULT
};

/// The rows of this module.
pub(super) static COMMANDS: &[Command] = &[
    Command {
        name: "incr",
        arity: 2,
        summary: "Adds one to an integer, an absent key counting as 0.",
        syntax: "key",
        handler: Handler::Write(incr),
        ..ROW
    },
    Command {
        name: "decr",
        arity: 2,
        summary: "Subtracts one from an integer, an absent key counting as 0.",
        syntax: "key",
        handler: Handler::Write(decr),
        ..ROW
    },
    Command {
        name: "incrby",
        arity: 3,
        summary: "Adds to an integer, an absent key counting as 0.",
        syntax: "key increment",
        handler: Handler::Write(incrby),
        ..ROW
    },
    Command {
        name: "decrby",
        arity: 3,
        summary: "Subtracts from an integer, an absent key counting as 0.",
        syntax: "key decrement",
        handler: Handler::Write(decrby),
        ..ROW
    },
    Command {
        name: "incrbyfloat",
        arity: 3,
        since: "2.6.0",
        summary: "Adds to a decimal fraction, an absent key counting as 0.",
        syntax: "key increment",
        handler: Handler::Write(incrbyfloat),
        ..ROW
    },
];

fn incr(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    add(ctx, args.arg(1), 1, out)
}

fn decr(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    add(ctx, args.arg(1), -1, out)
}

fn incrby(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    add(ctx, args.arg(1), integer(args.arg(2))?, out)
}

fn decrby(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let increment = integer(args.arg(2))?
        .checked_neg()
        .ok_or(CommandError::text("ERR decrement would overflow"))?;
    add(ctx, args.arg(1), increment, out)
}

fn add(ctx: &mut WriteContext<'_>, key: &[u8], increment: i64, out: &mut Encoder<'_>) -> Outcome {
    let number = match ctx.peek_string(key)? {
        None => 0,
        Some(StringRef::Int(number)) => number,
        // Edited in place, a string stays bytes even when it spells a number.
        Some(StringRef::Bytes(bytes)) => integer(bytes)?,
    };
    let sum = number
        .checked_add(increment)
        .ok_or(CommandError::Overflow)?;
    ctx.set(key, NewValue::Int(sum), Expiry::Keep);
    out.integer(sum);
    Ok(())
}

fn incrbyfloat(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let key = args.arg(1);
    let number = match ctx.peek_string(key)? {
        None => Decimal::ZERO,
        Some(found) => found
            .with_bytes(Decimal::parse)
            .ok_or(CommandError::NotFloat)?,
    };
    let increment = Decimal::parse(args.arg(2)).ok_or(CommandError::NotFloat)?;
    let sum = number
        .checked_add(increment)
        .ok_or(CommandError::text(
            "ERR increment would produce NaN or Infinity",
        ))?
        .to_string();
    // Stored as bytes even when it is whole, as Redis does: `OBJECT ENCODING` tells.
    ctx.set(key, NewValue::String(sum.as_bytes()), Expiry::Keep);
    out.bulk(sum.as_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use bailiwick_frame::Protocol;

    use crate::commands::testing::{Fixture, START_MS, check, run};
    use crate::keyspace::{Entry, ValueRef};

    #[test]
    fn an_absent_key_counts_as_zero() {
        check(
            &mut Fixture::default(),
            &[
                ("INCR a", "1"),
                ("DECR b", "-1"),
                ("INCRBY c -5", "-5"),
                ("DECRBY d -5", "5"),
                ("INCRBYFLOAT e 1.50", "\"1.5\""),
                ("GET e", "\"1.5\""),
            ],
        );
    }

    #[test]
    fn the_range_of_64_bits_is_not_left() {
        let mut fixture = Fixture::default();
        let overflow = "-ERR increment or decrement would overflow";
        check(
            &mut fixture,
            &[
                ("SET k 9223372036854775807", "+OK"),
                ("INCR k", overflow),
                ("INCRBY k -1", "9223372036854775806"),
                ("DECRBY k -2", overflow),
                ("SET k -9223372036854775808", "+OK"),
                ("DECR k", overflow),
                (
                    "DECRBY k -9223372036854775808",
                    "-ERR decrement would overflow",
                ),
                ("GET k", "\"-9223372036854775808\""),
            ],
        );
    }

    #[test]
    fn what_is_no_number_is_refused_and_kept() {
        let mut fixture = Fixture::default();
        let refusal = "-ERR value is not an integer or out of range";
        for value in ["abc", "1.5", "\" 1\"", "01", "\"\"", "9223372036854775808"] {
            run(&mut fixture, &format!("SET k {value}"));
            assert_eq!(run(&mut fixture, "INCR k"), refusal);
            assert_eq!(
                run(&mut fixture, &format!("INCRBY absent {value}")),
                refusal
            );
        }
        check(
            &mut fixture,
            &[
                ("SET k abc", "+OK"),
                ("INCRBYFLOAT k 1", "-ERR value is not a valid float"),
                ("INCRBYFLOAT absent x", "-ERR value is not a valid float"),
                (
                    "INCRBYFLOAT absent inf",
                    "-ERR increment would produce NaN or Infinity",
                ),
                ("MGET k absent", "[\"abc\" nil]"),
            ],
        );
    }

    #[test]
    fn a_sum_keeps_the_expiry() {
        let mut fixture = Fixture::default();
        for line in ["INCR k", "INCRBYFLOAT k 2"] {
            run(&mut fixture, "SET k 10 EX 10");
            run(&mut fixture, line);
            let entry = fixture.keyspace.get(0, b"k", START_MS).expect("there");
            assert_eq!(
                Entry::expires_at_ms(entry),
                Some(START_MS + 10_000),
                "{line}"
            );
        }
    }

    #[test]
    fn a_float_is_stored_and_sent_as_a_string() {
        let mut fixture = Fixture {
            protocol: Protocol::Resp3,
            ..Fixture::default()
        };
        check(
            &mut fixture,
            &[
                ("SET k 3.0e3", "+OK"),
                ("INCRBYFLOAT k 200", "\"3200\""),
                ("INCRBYFLOAT k -3189.5", "\"10.5\""),
                ("INCRBYFLOAT k 0.1", "\"10.6\""),
                ("INCRBYFLOAT k -0.6", "\"10\""),
            ],
        );
        let entry = fixture.keyspace.get(0, b"k", START_MS).expect("there");
        assert_eq!(entry.value(), ValueRef::String(b"10"));
        assert_eq!(run(&mut fixture, "INCR k"), "11");
    }
}
