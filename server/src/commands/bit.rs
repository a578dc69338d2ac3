//! Strings as rows of bits: SETBIT, GETBIT, BITCOUNT, BITPOS.
//!
//! Bit 0 is the most significant bit of the first byte; behind the end of a string all bits are 0.
//! BITOP and BITFIELD are in modules of their own and share [`offset`].

use bailiwick_frame::{Args, Encoder};

use super::bit_scan::{count_ones, first_bit};
use super::parse::integer;
use super::range::clip;
use super::{
    Category, Command, CommandError, DEFAULT, Flag, Group, Handler, Keys, Outcome, ReadContext,
    StringRef, WriteContext, check_string_len, is_option,
};

const BAD_OFFSET: CommandError =
    CommandError::text("ERR bit offset is not an integer or out of range");
const BAD_BIT: CommandError = CommandError::text("ERR bit is not an integer or out of range");

const ROW: Command = Command {
    categories: Category::Bitmap as u32,
    keys: Keys::FIRST,
    group: Group::Bitmap,
    ..DEFAULT
};

/// The rows of this module.
pub(super) static COMMANDS: &[Command] = &[
    Command {
        name: "setbit",
        arity: 4,
        flags: Flag::Write as u32 | Flag::Denyoom as u32,
        since: "2.2.0",
        summary: "Sets or clears one bit of a string and replies with what it was.",
        syntax: "key offset value",
        handler: Handler::Write(setbit),
        ..ROW
    },
    Command {
        name: "getbit",
        arity: 3,
        flags: Flag::Readonly as u32 | Flag::Fast as u32,
        since: "2.2.0",
        summary: "Replies with one bit of a string.",
        syntax: "key offset",
        handler: Handler::Read(getbit),
        ..ROW
    },
    Command {
        name: "bitcount",
        arity: -2,
        flags: Flag::Readonly as u32,
        since: "2.6.0",
        complexity: "O(N), N being the number of bytes looked at.",
        summary: "Counts the bits that are set in a string or a part of it.",
        syntax: "key [start end [BYTE | BIT]]",
        handler: Handler::Read(bitcount),
        ..ROW
    },
    Command {
        name: "bitpos",
        arity: -3,
        flags: Flag::Readonly as u32,
        since: "2.8.7",
        complexity: "O(N), N being the number of bytes looked at.",
        summary: "Finds the first bit that is set, or clear, in a string or a part of it.",
        syntax: "key bit [start [end [BYTE | BIT]]]",
        handler: Handler::Read(bitpos),
        ..ROW
    },
];

/// The bit that `arg` names, below the end of the longest string. `#n` means field `n` where
/// `field_bits` gives the width of a field.
pub(super) fn offset(arg: &[u8], field_bits: Option<u32>) -> Result<usize, CommandError> {
    let (number, bits) = match (arg, field_bits) {
        ([b'#', number @ ..], Some(bits)) => (number, i64::from(bits)),
        _ => (arg, 1),
    };
    let offset = integer(number).map_err(|_| BAD_OFFSET)?;
    offset
        .checked_mul(bits)
        .and_then(|offset| usize::try_from(offset).ok())
        .filter(|offset| offset / 8 < usize::MAX && check_string_len(offset / 8 + 1).is_ok())
        .ok_or(BAD_OFFSET)
}

fn setbit(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let offset = offset(args.arg(2), None)?;
    let bit = match args.arg(3) {
        b"0" => 0,
        b"1" => 1,
        _ => return Err(BAD_BIT),
    };
    let (index, shift) = (offset / 8, 7 - offset % 8);
    let before = ctx.edit_string(args.arg(1), |bytes| {
        let grows = bytes.len() <= index;
        if grows {
            bytes.resize(index + 1, 0);
        }
        let before = bytes[index] >> shift & 1;
        bytes[index] = bytes[index] & !(1 << shift) | bit << shift;
        (before, grows || before != bit)
    })?;
    out.integer(before.into());
    Ok(())
}

fn getbit(ctx: &ReadContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let offset = offset(args.arg(2), None)?;
    let byte = ctx.string(args.arg(1))?.map_or(0, |found| {
        found.with_bytes(|bytes| bytes.get(offset / 8).copied().unwrap_or(0))
    });
    out.integer((byte >> (7 - offset % 8) & 1).into());
    Ok(())
}

fn bitcount(ctx: &ReadContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    // In this order: an absent key hides a mistake in the arguments, as in Redis.
    let Some(found) = ctx.string(args.arg(1))? else {
        out.integer(0);
        return Ok(());
    };
    let bits = match args.len() {
        2 => clip(0, -1, 8 * found.len()),
        4 | 5 => {
            let (start, end) = (integer(args.arg(2))?, integer(args.arg(3))?);
            // Redis sees before it looks at the unit that such a range is empty.
            if start < 0 && end < 0 && start > end {
                out.integer(0);
                return Ok(());
            }
            bit_range(start, end, unit(args, 4)?, found.len())
        }
        _ => return Err(CommandError::Syntax),
    };
    out.integer(found.with_bytes(|bytes| bits.map_or(0, |bits| count_ones(bytes, bits))) as i64);
    Ok(())
}

fn bitpos(ctx: &ReadContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let wanted = match integer(args.arg(2))? {
        0 => false,
        1 => true,
        _ => return Err(CommandError::text("ERR The bit argument must be 1 or 0.")),
    };
    let Some(found) = ctx.string(args.arg(1))? else {
        out.integer(if wanted { -1 } else { 0 });
        return Ok(());
    };
    out.integer(position(found, args, wanted)?);
    Ok(())
}

/// The first `wanted` bit of `found` in the range that `args` give, or -1. Without an end to the
/// range, the zeros behind the string count as well.
fn position(found: StringRef<'_>, args: Args<'_>, wanted: bool) -> Result<i64, CommandError> {
    if args.len() > 6 {
        return Err(CommandError::Syntax);
    }
    let start = args.get(3).map_or(Ok(0), integer)?;
    let unit = unit(args, 5)?;
    let end = args.get(4).map_or(Ok(-1), integer)?;
    let Some(bits) = bit_range(start, end, unit, found.len()) else {
        return Ok(-1);
    };
    let position = found.with_bytes(|bytes| first_bit(bytes, bits, wanted));
    Ok(match position {
        Some(position) => position as i64,
        None if !wanted && args.len() <= 4 => 8 * found.len() as i64,
        None => -1,
    })
}

/// What the ends of a range count.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    Byte,
    Bit,
}

/// The unit that argument `index` names; bytes if there is no such argument.
fn unit(args: Args<'_>, index: usize) -> Result<Unit, CommandError> {
    if args.len() <= index || is_option(args, index, "byte") {
        Ok(Unit::Byte)
    } else if is_option(args, index, "bit") {
        Ok(Unit::Bit)
    } else {
        Err(CommandError::Syntax)
    }
}

/// The first and the last bit of a range in a string of `len` bytes; `None` if it is empty.
fn bit_range(start: i64, end: i64, unit: Unit, len: usize) -> Option<(usize, usize)> {
    match unit {
        Unit::Byte => clip(start, end, len).map(|(first, last)| (8 * first, 8 * last + 7)),
        Unit::Bit => clip(start, end, 8 * len),
    }
}

#[cfg(test)]
mod tests {
    use crate::commands::testing::{Fixture, check, run};

    #[test]
    fn a_string_grows_to_hold_the_bit() {
        check(
            &mut Fixture::default(),
            &[
                ("SETBIT k 7 1", "0"),
                ("SETBIT k 7 1", "1"),
                ("SETBIT k 16 0", "0"),
                ("GET k", "\"\\x01\\x00\\x00\""),
                ("GETBIT k 7", "1"),
                ("GETBIT k 99999", "0"),
                ("GETBIT absent 0", "0"),
                ("SET n 1", "+OK"),
                ("SETBIT n 6 1", "0"),
                ("GET n", "\"3\""),
            ],
        );
    }

    #[test]
    fn a_bit_that_stays_is_no_change_to_watch() {
        let mut fixture = Fixture::default();
        run(&mut fixture, "SETBIT k 9 1");
        let watched = fixture.keyspace.watch_state(0, b"k", fixture.now_ms);
        check(
            &mut fixture,
            &[("SETBIT k 9 1", "1"), ("SETBIT k 8 0", "0")],
        );
        assert_eq!(
            fixture.keyspace.watch_state(0, b"k", fixture.now_ms),
            watched
        );
        run(&mut fixture, "SETBIT k 9 0");
        assert_ne!(
            fixture.keyspace.watch_state(0, b"k", fixture.now_ms),
            watched
        );
    }

    #[test]
    fn offsets_end_with_the_longest_string() {
        let mut fixture = Fixture::default();
        for offset in ["-1", "4294967296", "x", "#1", "9223372036854775807"] {
            let refusal = "-ERR bit offset is not an integer or out of range";
            assert_eq!(run(&mut fixture, &format!("SETBIT k {offset} x")), refusal);
            assert_eq!(run(&mut fixture, &format!("GETBIT k {offset}")), refusal);
        }
        let refusal = "-ERR bit is not an integer or out of range";
        assert_eq!(run(&mut fixture, "SETBIT k 4294967295 2"), refusal);
        assert!(fixture.keyspace.is_empty());
    }

    #[test]
    fn ranges_count_bytes_or_bits() {
        check(
            &mut Fixture::default(),
            &[
                ("SET k foobar", "+OK"),
                ("BITCOUNT k", "26"),
                ("BITCOUNT k 0 0", "4"),
                ("BITCOUNT k 1 1 byte", "6"),
                ("BITCOUNT k 5 30 BIT", "17"),
                ("BITCOUNT k -1 -2 nonsense", "0"),
                ("BITCOUNT k -100 -99", "4"),
                ("BITCOUNT k 0 -1 nonsense", "-ERR syntax error"),
                ("BITCOUNT k 0", "-ERR syntax error"),
                ("BITCOUNT absent x y z", "0"),
                ("BITPOS k 1 2", "17"),
                ("BITPOS k 0 -99 -100", "0"),
                ("BITPOS k 1 11 -1 BIT", "12"),
                ("BITPOS k 1 0 x nonsense", "-ERR syntax error"),
                ("BITPOS k 2", "-ERR The bit argument must be 1 or 0."),
            ],
        );
    }

    #[test]
    fn zeros_behind_the_string_count_when_the_range_has_no_end() {
        check(
            &mut Fixture::default(),
            &[
                ("SET k \"\\xff\\xff\"", "+OK"),
                ("BITPOS k 0", "16"),
                ("BITPOS k 0 1", "16"),
                ("BITPOS k 0 2", "-1"),
                ("BITPOS k 0 0 -1", "-1"),
                ("BITPOS absent 0", "0"),
                ("BITPOS absent 1 x", "-1"),
                ("SET empty \"\"", "+OK"),
                ("BITPOS empty 0", "-1"),
            ],
        );
    }
}
