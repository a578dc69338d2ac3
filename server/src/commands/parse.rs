//! Arguments to numbers, as strictly as Redis reads them, and to options.
//!
//! Owns integers, times of expiry and database numbers; decimal fractions are in `decimal`. An
//! integer has one spelling only: no plus sign, no leading zero, no blank. Fails with the error
//! that the client gets, so a command passes it on with `?`.

use bailiwick_frame::Args;

use super::CommandError;
use crate::keyspace::parse_canonical_int;

const OUT_OF_I32: &str = "ERR value is out of range, value must between -2147483648 and 2147483647";

const NEGATIVE: &str = "ERR value is out of range, must be positive";

/// The unit in which a client gives a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Seconds,
    Milliseconds,
}

/// From where a client counts a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Base {
    /// From now, the moment at which the command runs.
    Now(i64),
    /// From the epoch.
    Epoch,
}

impl Base {
    fn ms(self) -> i64 {
        match self {
            Self::Now(now_ms) => now_ms,
            Self::Epoch => 0,
        }
    }
}

/// A signed integer of 64 bits.
pub(super) fn integer(arg: &[u8]) -> Result<i64, CommandError> {
    parse_canonical_int(arg).ok_or(CommandError::NotInteger)
}

/// A signed integer from `min` to `max`; beyond them the error tells the range.
pub(super) fn integer_within(arg: &[u8], min: i64, max: i64) -> Result<i64, CommandError> {
    let number = integer(arg)?;
    if (min..=max).contains(&number) {
        return Ok(number);
    }
    Err(CommandError::composed(format!(
        "ERR value is out of range, value must between {min} and {max}"
    )))
}

/// An integer that is not negative; whatever else it may be, the error says that.
pub(super) fn non_negative(arg: &[u8]) -> Result<u64, CommandError> {
    let number = integer(arg).ok();
    let number = number.and_then(|number| u64::try_from(number).ok());
    number.ok_or(CommandError::text(NEGATIVE))
}

/// The moment, in milliseconds of log time, that `arg` names; it may lie in the past. `command` is
/// the full name for the error about moments that 64 bits cannot hold.
pub(super) fn expiry_ms(
    arg: &[u8],
    unit: Unit,
    base: Base,
    command: &str,
) -> Result<i64, CommandError> {
    let time = integer(arg)?;
    scale(time, unit)
        .and_then(|time_ms| time_ms.checked_add(base.ms()))
        .ok_or_else(|| CommandError::invalid_expire(command))
}

/// As [`expiry_ms`], but zero and negative times are refused too, as SET and GETEX do.
pub(super) fn positive_expiry_ms(
    arg: &[u8],
    unit: Unit,
    base: Base,
    command: &str,
) -> Result<i64, CommandError> {
    let time = integer(arg)?;
    scale(time, unit)
        .filter(|&time_ms| time_ms > 0)
        .and_then(|time_ms| time_ms.checked_add(base.ms()))
        .ok_or_else(|| CommandError::invalid_expire(command))
}

/// The number of one of `databases` databases.
pub(super) fn database(arg: &[u8], databases: usize) -> Result<usize, CommandError> {
    let number = int32(arg)?;
    usize::try_from(number)
        .ok()
        .filter(|&number| number < databases)
        .ok_or(CommandError::DatabaseOutOfRange)
}

/// A signed integer of 32 bits; beyond them the error tells the range.
pub fn int32(arg: &[u8]) -> Result<i32, CommandError> {
    i32::try_from(integer(arg)?).map_err(|_| CommandError::text(OUT_OF_I32))
}

fn scale(time: i64, unit: Unit) -> Option<i64> {
    match unit {
        Unit::Seconds => time.checked_mul(1000),
        Unit::Milliseconds => Some(time),
    }
}

/// Whether argument `index` is this option, in any case.
#[must_use]
pub fn is_option(args: Args<'_>, index: usize, option: &str) -> bool {
    args.get(index)
        .is_some_and(|arg| arg.eq_ignore_ascii_case(option.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_integer_has_one_spelling() {
        assert_eq!(integer(b"-12"), Ok(-12));
        for arg in [
            "",
            "+1",
            " 1",
            "1 ",
            "01",
            "-0",
            "1.0",
            "9223372036854775808",
        ] {
            assert_eq!(
                integer(arg.as_bytes()),
                Err(CommandError::NotInteger),
                "{arg:?}"
            );
        }
    }

    #[test]
    fn a_range_is_told_to_who_leaves_it() {
        assert_eq!(integer_within(b"-3", -3, 3), Ok(-3));
        assert_eq!(integer_within(b"x", -3, 3), Err(CommandError::NotInteger));
        let refusal = "ERR value is out of range, value must between -3 and 3";
        assert_eq!(
            integer_within(b"4", -3, 3),
            Err(CommandError::text(refusal))
        );
        assert_eq!(non_negative(b"0"), Ok(0));
        for arg in ["-1", "x", "9223372036854775808"] {
            assert_eq!(
                non_negative(arg.as_bytes()),
                Err(CommandError::text(NEGATIVE))
            );
        }
    }

    #[test]
    fn a_time_that_leaves_64_bits_is_refused() {
        let refused = Err(CommandError::invalid_expire("set"));
        let of = |arg: &str, unit, base| expiry_ms(arg.as_bytes(), unit, base, "set");
        assert_eq!(of("5", Unit::Seconds, Base::Now(7)), Ok(5007));
        assert_eq!(of("-5", Unit::Seconds, Base::Epoch), Ok(-5000));
        assert_eq!(
            of("9223372036854775807", Unit::Milliseconds, Base::Epoch),
            Ok(i64::MAX)
        );
        assert_eq!(
            of("9223372036854775807", Unit::Milliseconds, Base::Now(1)),
            refused
        );
        assert_eq!(of("9223372036854776", Unit::Seconds, Base::Epoch), refused);
        assert_eq!(of("-9223372036854776", Unit::Seconds, Base::Epoch), refused);
        assert_eq!(
            of("x", Unit::Seconds, Base::Epoch),
            Err(CommandError::NotInteger)
        );
    }

    #[test]
    fn a_positive_time_is_demanded_before_it_is_added_to_now() {
        let refused = Err(CommandError::invalid_expire("set"));
        for arg in ["0", "-1"] {
            let at = positive_expiry_ms(arg.as_bytes(), Unit::Seconds, Base::Now(99_999), "set");
            assert_eq!(at, refused);
        }
        assert_eq!(
            positive_expiry_ms(b"1", Unit::Milliseconds, Base::Now(9), "set"),
            Ok(10)
        );
    }

    #[test]
    fn a_database_is_told_from_a_number_that_is_none() {
        assert_eq!(database(b"15", 16), Ok(15));
        assert_eq!(database(b"16", 16), Err(CommandError::DatabaseOutOfRange));
        assert_eq!(database(b"-1", 16), Err(CommandError::DatabaseOutOfRange));
        assert_eq!(
            database(b"2147483648", 16),
            Err(CommandError::text(OUT_OF_I32))
        );
        assert_eq!(database(b"a", 16), Err(CommandError::NotInteger));
    }
}
