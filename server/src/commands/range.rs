//! Parts of a string: APPEND, STRLEN, SETRANGE, GETRANGE, SUBSTR, and the index arithmetic that
//! the bit commands share.

use bailiwick_frame::{Args, Encoder};

use super::parse::integer;
use super::{
    Category, Command, CommandError, DEFAULT, Flag, Group, Handler, Keys, Outcome, ReadContext,
    StringRef, WriteContext, check_string_len,
};
use crate::keyspace::{Expiry, NewValue};

const ROW: Command = Command {
    categories: Category::String as u32,
    keys: Keys::FIRST,
    group: Group::String,
    ..DEFAULT
};

/// The rows of this module.
pub(super) static COMMANDS: &[Command] = &[
    Command {
        name: "append",
        arity: 3,
        flags: Flag::Write as u32 | Flag::Denyoom as u32 | Flag::Fast as u32,
        since: "2.0.0",
        complexity: "O(1) on average, as the string keeps room to grow.",
        summary: "Adds bytes to the end of a string, which is created if need be.",
        syntax: "key value",
        handler: Handler::Write(append),
        ..ROW
    },
    Command {
        name: "strlen",
        arity: 2,
        flags: Flag::Readonly as u32 | Flag::Fast as u32,
        since: "2.2.0",
        summary: "Tells how many bytes a string has.",
        syntax: "key",
        handler: Handler::Read(strlen),
        ..ROW
    },
    Command {
        name: "setrange",
        arity: 4,
        flags: Flag::Write as u32 | Flag::Denyoom as u32,
        since: "2.2.0",
        complexity: "O(M), M being the length of the value, plus zeros that have to be filled in.",
        summary: "Overwrites a part of a string, which is filled up with zero bytes if too short.",
        syntax: "key offset value",
        handler: Handler::Write(setrange),
        ..ROW
    },
    Command {
        name: "getrange",
        arity: 4,
        flags: Flag::Readonly as u32,
        since: "2.4.0",
        complexity: "O(N), N being the length of the reply.",
        summary: "Replies with the part of a string between two offsets, both included.",
        syntax: "key start end",
        handler: Handler::Read(getrange),
        ..ROW
    },
    Command {
        name: "substr",
        arity: 4,
        flags: Flag::Readonly as u32,
        complexity: "O(N), N being the length of the reply.",
        summary: "The former name of GETRANGE.",
        syntax: "key start end",
        handler: Handler::Read(getrange),
        ..ROW
    },
];

fn append(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let (key, tail) = (args.arg(1), args.arg(2));
    let len = match ctx.peek_string(key)? {
        Some(found) => {
            let len = found.len() + tail.len();
            check_string_len(len)?;
            ctx.edit_string(key, |bytes| (bytes.extend_from_slice(tail), true))?;
            len
        }
        None => {
            ctx.set(key, NewValue::from_bytes(tail), Expiry::None);
            tail.len()
        }
    };
    out.integer(len as i64);
    Ok(())
}

fn strlen(ctx: &ReadContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    out.integer(ctx.string(args.arg(1))?.map_or(0, StringRef::len) as i64);
    Ok(())
}

fn setrange(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let (key, patch) = (args.arg(1), args.arg(3));
    let offset = usize::try_from(integer(args.arg(2))?)
        .map_err(|_| CommandError::text("ERR offset is out of range"))?;
    let present = ctx.peek_string(key)?.map_or(0, StringRef::len);
    if patch.is_empty() {
        out.integer(present as i64);
        return Ok(());
    }
    let end = offset.saturating_add(patch.len());
    check_string_len(end)?;
    ctx.edit_string(key, |bytes| {
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes[offset..end].copy_from_slice(patch);
        ((), true)
    })?;
    out.integer(present.max(end) as i64);
    Ok(())
}

fn getrange(ctx: &ReadContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let (start, end) = (integer(args.arg(2))?, integer(args.arg(3))?);
    let Some(found) = ctx.string(args.arg(1))? else {
        out.bulk(b"");
        return Ok(());
    };
    found.with_bytes(|bytes| match clip_ordered(start, end, bytes.len()) {
        Some((first, last)) => out.bulk(&bytes[first..=last]),
        None => out.bulk(b""),
    });
    Ok(())
}

/// As [`clip`], except that two ends from the end in the wrong order always mean nothing, even when
/// both lie in front of the first unit. All commands but BITPOS read ranges so.
pub(super) fn clip_ordered(start: i64, end: i64, len: usize) -> Option<(usize, usize)> {
    if start < 0 && end < 0 && start > end {
        None
    } else {
        clip(start, end, len)
    }
}

/// The first and the last of the `len` units between `start` and `end`, which count from the end
/// when negative; `None` if there is none. Ends in front of the first unit mean the first unit.
pub(super) fn clip(start: i64, end: i64, len: usize) -> Option<(usize, usize)> {
    // A length is at most 2^32 (bits of the longest string), so nothing overflows.
    let len = len as i64;
    let absolute = |index: i64| (if index < 0 { len + index } else { index }).max(0);
    let (first, last) = (absolute(start), absolute(end).min(len - 1));
    (first <= last).then_some((first as usize, last as usize))
}

#[cfg(test)]
mod tests {
    use crate::commands::testing::{Fixture, START_MS, check, run};
    use crate::keyspace::Entry;

    #[test]
    fn appending_keeps_the_expiry_and_creates_what_is_absent() {
        let mut fixture = Fixture::default();
        check(
            &mut fixture,
            &[
                ("APPEND k 12", "2"),
                ("STRLEN k", "2"),
                ("SET k ab EX 10", "+OK"),
                ("APPEND k cd", "4"),
                ("APPEND k \"\"", "4"),
                ("GET k", "\"abcd\""),
                ("SET n -7", "+OK"),
                ("STRLEN n", "2"),
                ("APPEND n 5", "3"),
                ("INCR n", "-74"),
                ("STRLEN absent", "0"),
            ],
        );
        let entry = fixture.keyspace.get(0, b"k", START_MS).expect("there");
        assert_eq!(Entry::expires_at_ms(entry), Some(START_MS + 10_000));
    }

    #[test]
    fn setrange_fills_the_gap_with_zeros() {
        check(
            &mut Fixture::default(),
            &[
                ("SETRANGE k 2 ab", "4"),
                ("GET k", r#""\x00\x00ab""#),
                ("SETRANGE k 1 x", "4"),
                ("SETRANGE k 9 \"\"", "4"),
                ("GET k", r#""\x00xab""#),
            ],
        );
    }

    #[test]
    fn nothing_is_created_by_an_empty_patch_or_a_bad_offset() {
        let mut fixture = Fixture::default();
        let too_long = "-ERR string exceeds maximum allowed size (proto-max-bulk-len)";
        check(
            &mut fixture,
            &[
                ("SETRANGE k 5 \"\"", "0"),
                ("SETRANGE k -1 \"\"", "-ERR offset is out of range"),
                ("SETRANGE k 536870912 x", too_long),
                ("SETRANGE k 9223372036854775807 x", too_long),
                (
                    "SETRANGE k x x",
                    "-ERR value is not an integer or out of range",
                ),
            ],
        );
        assert!(fixture.keyspace.is_empty());
    }

    #[test]
    fn a_range_is_cut_to_what_is_there() {
        let mut fixture = Fixture::default();
        run(&mut fixture, "SET k abcdef");
        for (range, expected) in [
            ("0 2", "abc"),
            ("-2 -1", "ef"),
            ("4 100", "ef"),
            ("-100 1", "ab"),
            ("-100 -99", "a"),
            ("-99 -100", ""),
            ("3 2", ""),
            ("6 7", ""),
            ("0 -9223372036854775808", "a"),
        ] {
            for command in ["GETRANGE", "SUBSTR"] {
                let reply = run(&mut fixture, &format!("{command} k {range}"));
                assert_eq!(reply, format!("\"{expected}\""), "{range}");
            }
        }
        assert_eq!(run(&mut fixture, "GETRANGE absent 0 -1"), "\"\"");
    }
}
