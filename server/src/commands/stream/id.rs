//! IDs as clients write them: `ms-seq`, `ms` alone, `-`, `+`, and with `(` in front where a range
//! leaves its end out.
//!
//! The numbers are read as leniently as Redis reads them: what is no strict decimal goes through
//! C's `strtoull`, which takes blanks in front, a sign and leading zeros.

use super::super::{CommandError, parse};
use crate::keyspace::StreamId;

const INVALID: CommandError =
    CommandError::text("ERR Invalid stream ID specified as stream command argument");
const INVALID_START: CommandError = CommandError::text("ERR invalid start ID for the interval");
const INVALID_END: CommandError = CommandError::text("ERR invalid end ID for the interval");

/// Longer words are no ID.
const ID_MAX_BYTES: usize = 127;

/// An ID for a new entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NewId {
    /// `*`: the time of the entry in the log, or right behind the last ID.
    Auto,
    /// `ms-*`: the next number of this millisecond.
    AutoSeq(u64),
    /// All of it.
    Full(StreamId),
}

/// An ID; `-` and `+` are none. Without a number it has `seq`.
pub(super) fn strict(arg: &[u8], seq: u64) -> Result<StreamId, CommandError> {
    match arg {
        b"-" | b"+" => Err(INVALID),
        _ => lenient(arg, seq),
    }
}

/// An ID, also `-` for the least and `+` for the greatest.
pub(super) fn lenient(arg: &[u8], missing_seq: u64) -> Result<StreamId, CommandError> {
    let (ms, seq) = match arg {
        b"-" => return Ok(StreamId::MIN),
        b"+" => return Ok(StreamId::MAX),
        _ => split(arg)?,
    };
    let seq = seq.map_or(Some(missing_seq), number).ok_or(INVALID)?;
    let ms = number(ms).ok_or(INVALID)?;
    Ok(StreamId { ms, seq })
}

/// The ID of an entry that is to be added, unless it is `*`.
pub(super) fn new_id(arg: &[u8]) -> Result<NewId, CommandError> {
    if let (ms, Some(b"*")) = split(arg)? {
        return number(ms).map(NewId::AutoSeq).ok_or(INVALID);
    }
    strict(arg, 0).map(NewId::Full)
}

/// The first ID of a range.
pub(super) fn start(arg: &[u8]) -> Result<StreamId, CommandError> {
    match arg {
        [b'(', rest @ ..] if !rest.is_empty() => strict(rest, 0)?.next().ok_or(INVALID_START),
        _ => lenient(arg, 0),
    }
}

/// The last ID of a range.
pub(super) fn end(arg: &[u8]) -> Result<StreamId, CommandError> {
    match arg {
        [b'(', rest @ ..] if !rest.is_empty() => {
            strict(rest, u64::MAX)?.previous().ok_or(INVALID_END)
        }
        _ => lenient(arg, u64::MAX),
    }
}

/// What stands before and behind the first hyphen. A NUL ends the word, as in C.
fn split(arg: &[u8]) -> Result<(&[u8], Option<&[u8]>), CommandError> {
    if arg.len() > ID_MAX_BYTES {
        return Err(INVALID);
    }
    let mut words = arg.splitn(2, |&byte| byte == 0);
    let word = words.next().unwrap_or_default();
    let mut parts = word.splitn(2, |&byte| byte == b'-');
    Ok((parts.next().unwrap_or_default(), parts.next()))
}

fn number(word: &[u8]) -> Option<u64> {
    match parse::integer(word) {
        Ok(number) => u64::try_from(number).ok(),
        Err(_) => c_number(word),
    }
}

/// What C's `strtoull` makes of all of a word.
fn c_number(word: &[u8]) -> Option<u64> {
    let word = word.trim_ascii_start();
    let (negative, digits) = match word {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, word),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(if negative {
        number.wrapping_neg()
    } else {
        number
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(ms: u64, seq: u64) -> StreamId {
        StreamId { ms, seq }
    }

    #[test]
    fn ids_are_read_as_redis_reads_them() {
        assert_eq!(strict(b"5", 7), Ok(id(5, 7)));
        assert_eq!(strict(b"5-6", 7), Ok(id(5, 6)));
        assert_eq!(strict(b"18446744073709551615-1", 7), Ok(id(u64::MAX, 1)));
        assert_eq!(strict(b" 05-+6", 7), Ok(id(5, 6)));
        assert_eq!(strict(b"5--1", 7), Err(INVALID));
        assert_eq!(strict(b"5--01", 7), Ok(id(5, u64::MAX)));
        for bad in [
            &b""[..],
            b"-",
            b"+",
            b"-5",
            b"a",
            b"5-",
            b"5-*",
            b"18446744073709551616",
            &[b'1'; 128],
        ] {
            assert_eq!(strict(bad, 0), Err(INVALID), "{}", bad.escape_ascii());
        }
        assert_eq!(new_id(b"5-*"), Ok(NewId::AutoSeq(5)));
        assert_eq!(new_id(b"5"), Ok(NewId::Full(id(5, 0))));
        assert_eq!(new_id(b"*-5"), Err(INVALID));
    }

    #[test]
    fn a_range_can_leave_its_ends_out() {
        assert_eq!(start(b"(5"), Ok(id(5, 1)));
        assert_eq!(
            start(b"(18446744073709551615-18446744073709551615"),
            Err(INVALID_START)
        );
        assert_eq!(start(b"(-"), Err(INVALID));
        assert_eq!(start(b"("), Err(INVALID));
        assert_eq!(start(b"-"), Ok(StreamId::MIN));
        assert_eq!(end(b"5"), Ok(id(5, u64::MAX)));
        assert_eq!(end(b"(5"), Ok(id(5, u64::MAX - 1)));
        assert_eq!(end(b"(5-0"), Ok(id(4, u64::MAX)));
        assert_eq!(end(b"(0-0"), Err(INVALID_END));
    }
}
