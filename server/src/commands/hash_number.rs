//! Numbers in fields of hashes: HINCRBY and HINCRBYFLOAT.
//!
//! A field's value is text; it is read as a number, and written back as one. How fractions are
//! added is up to `decimal`.

use bailiwick_frame::{Args, Encoder};

use super::decimal::Decimal;
use super::hash::ROW;
use super::parse::integer;
use super::{Command, CommandError, Flag, Handler, Outcome, WriteContext};
use crate::keyspace::{Hash, parse_canonical_int};

const FLAGS: u32 = Flag::Write as u32 | Flag::Denyoom as u32 | Flag::Fast as u32;

pub(super) static COMMANDS: &[Command] = &[
    Command {
        name: "hincrby",
        arity: 4,
        flags: FLAGS,
        summary: "Adds an integer to the one in a field, which is zero if the field is absent.",
        syntax: "key field increment",
        handler: Handler::Write(hincrby),
        ..ROW
    },
    Command {
        name: "hincrbyfloat",
        arity: 4,
        flags: FLAGS,
        since: "2.6.0",
        summary: "Adds a number to the one in a field, which is zero if the field is absent.",
        syntax: "key field increment",
        handler: Handler::Write(hincrbyfloat),
        ..ROW
    },
];

fn hincrby(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    const NOT_INTEGER: CommandError = CommandError::text("ERR hash value is not an integer");
    let increment = integer(args.arg(3))?;
    let sum = replace_number(ctx, args, |value| {
        let number = match value {
            None => 0,
            Some(value) => parse_canonical_int(value).ok_or(NOT_INTEGER)?,
        };
        let sum = number.checked_add(increment);
        let sum = sum.ok_or(CommandError::Overflow)?;
        Ok((sum, sum.to_string()))
    })?;
    out.integer(sum);
    Ok(())
}

fn hincrbyfloat(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    const NOT_FLOAT: CommandError = CommandError::text("ERR hash value is not a float");
    const INFINITE: CommandError = CommandError::text("ERR value is NaN or Infinity");
    const INFINITE_SUM: CommandError =
        CommandError::text("ERR increment would produce NaN or Infinity");
    let increment = Decimal::parse(args.arg(3)).ok_or(CommandError::NotFloat)?;
    if increment.is_infinite() {
        return Err(INFINITE);
    }
    let sum = replace_number(ctx, args, |value| {
        let number = match value {
            None => Decimal::ZERO,
            Some(value) => Decimal::parse(value).ok_or(NOT_FLOAT)?,
        };
        let sum = number.checked_add(increment).ok_or(INFINITE_SUM)?;
        let text = sum.to_string();
        Ok((text.clone(), text))
    })?;
    out.bulk(sum.as_bytes());
    Ok(())
}

/// Replaces the value of the field that the arguments name by what `change` makes of it: a result
/// and the new text.
fn replace_number<R>(
    ctx: &mut WriteContext<'_>,
    args: Args<'_>,
    change: impl FnOnce(Option<&[u8]>) -> Result<(R, String), CommandError>,
) -> Result<R, CommandError> {
    let (field, seed) = (args.arg(2), ctx.seed());
    ctx.edit_or_create(args.arg(1), |hash: &mut Hash| {
        match change(hash.get(field)) {
            Ok((result, text)) => {
                hash.set(field, text.as_bytes(), seed);
                (Ok(result), 1)
            }
            Err(error) => (Err(error), 0),
        }
    })?
}

#[cfg(test)]
mod tests {
    use crate::commands::testing::{Fixture, check};

    #[test]
    fn integers_in_fields_are_counted_up() {
        check(
            &mut Fixture::default(),
            &[
                ("HINCRBY h a 5", "5"),
                ("HINCRBY h a -7", "-2"),
                ("HGET h a", "\"-2\""),
                ("HSET h t text f 1.5 s \" 1\"", "3"),
                ("HINCRBY h t 1", "-ERR hash value is not an integer"),
                ("HINCRBY h f 1", "-ERR hash value is not an integer"),
                ("HINCRBY h s 1", "-ERR hash value is not an integer"),
                (
                    "HINCRBY h a x",
                    "-ERR value is not an integer or out of range",
                ),
                ("HSET h m 9223372036854775807", "1"),
                (
                    "HINCRBY h m 1",
                    "-ERR increment or decrement would overflow",
                ),
                (
                    "HINCRBY absent a x",
                    "-ERR value is not an integer or out of range",
                ),
                ("EXISTS absent", "0"),
            ],
        );
    }

    #[test]
    fn fractions_in_fields_are_added_up() {
        check(
            &mut Fixture::default(),
            &[
                ("HINCRBYFLOAT h a 10.5", "\"10.5\""),
                ("HINCRBYFLOAT h a -0.5", "\"10\""),
                ("HINCRBY h a 1", "11"),
                ("HINCRBYFLOAT h a nan", "-ERR value is not a valid float"),
                ("HINCRBYFLOAT h a inf", "-ERR value is NaN or Infinity"),
                ("HSET h t text i inf", "2"),
                ("HINCRBYFLOAT h t 1", "-ERR hash value is not a float"),
                (
                    "HINCRBYFLOAT h i 1",
                    "-ERR increment would produce NaN or Infinity",
                ),
                ("HINCRBYFLOAT absent a inf", "-ERR value is NaN or Infinity"),
                ("EXISTS absent", "0"),
            ],
        );
    }
}
