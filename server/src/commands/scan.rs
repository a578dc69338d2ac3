//! What SCAN and its kin for one value (HSCAN, SSCAN, ZSCAN) have in common: cursors and options.
//!
//! Fails with the errors of Redis. What is walked, and in which order, is its owner's business.

use bailiwick_frame::{Args, Encoder};

use super::glob::Glob;
use super::parse;
use super::{CommandError, is_option};
use crate::keyspace::Entry;

/// How many elements are looked at unless the client says.
const DEFAULT_COUNT: usize = 10;

/// What is walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Walk {
    /// The keys of a database, which have types.
    Keys,
    /// The elements of a value.
    Elements,
}

/// The options behind a cursor.
pub(super) struct ScanOptions<'a> {
    /// About how many elements to look at; at least 1.
    pub(super) count: usize,
    pattern: Option<Glob<'a>>,
    type_name: Option<&'a [u8]>,
}

impl<'a> ScanOptions<'a> {
    /// Reads the options from argument `first` on.
    pub(super) fn parse(args: Args<'a>, first: usize, walk: Walk) -> Result<Self, CommandError> {
        let mut options = Self {
            count: DEFAULT_COUNT,
            pattern: None,
            type_name: None,
        };
        for index in (first..args.len()).step_by(2) {
            let value = args.get(index + 1).ok_or(CommandError::Syntax)?;
            if is_option(args, index, "count") {
                options.count = usize::try_from(parse::integer(value)?)
                    .ok()
                    .filter(|&count| count > 0)
                    .ok_or(CommandError::Syntax)?;
            } else if is_option(args, index, "match") {
                options.pattern = Some(Glob::new(value));
            } else if walk == Walk::Keys && is_option(args, index, "type") {
                options.type_name = Some(value);
            } else {
                return Err(CommandError::Syntax);
            }
        }
        Ok(options)
    }

    /// What all names begin with that match; empty if nothing is known.
    pub(super) fn head(&self) -> &'a [u8] {
        self.pattern.map_or(b"", |glob| glob.head())
    }

    /// Whether a key is to be shown.
    pub(super) fn wants(&self, entry: &Entry) -> bool {
        let type_name = || entry.value().type_name().as_bytes();
        self.matches(entry.key())
            && self
                .type_name
                .is_none_or(|wanted| type_name().eq_ignore_ascii_case(wanted))
    }

    /// Whether the pattern, if there is one, matches.
    pub(super) fn matches(&self, name: &[u8]) -> bool {
        self.pattern.as_ref().is_none_or(|glob| glob.matches(name))
    }
}

/// Writes a reply's cursor and the head of its list of `len` strings.
pub(super) fn write_head(cursor: u64, len: usize, out: &mut Encoder<'_>) {
    out.array(2);
    out.bulk_display(cursor);
    out.array(len);
}

/// A cursor as C's `strtoul` reads it, which is what Redis does: signs are taken, nothing at all is
/// zero, and what follows a zero byte is not looked at.
pub(super) fn parse_cursor(arg: &[u8]) -> Result<u64, CommandError> {
    const INVALID: CommandError = CommandError::text("ERR invalid cursor");
    let arg = arg.split(|&byte| byte == 0).next().unwrap_or_default();
    if arg.is_empty() {
        return Ok(0);
    }
    let (negative, digits) = match arg {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(INVALID);
    }
    let number = digits
        .iter()
        .try_fold(0u64, |sum, digit| {
            sum.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
        })
        .ok_or(INVALID)?;
    Ok(if negative {
        number.wrapping_neg()
    } else {
        number
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_loosely_as_redis_does() {
        for (arg, cursor) in [
            ("", 0),
            ("+5", 5),
            ("-1", u64::MAX),
            ("007", 7),
            ("5\0x", 5),
        ] {
            assert_eq!(parse_cursor(arg.as_bytes()), Ok(cursor), "{arg:?}");
        }
        for arg in [" 0", "0 ", "-", "x", "0x1", "18446744073709551616"] {
            assert!(parse_cursor(arg.as_bytes()).is_err(), "{arg:?}");
        }
    }
}
