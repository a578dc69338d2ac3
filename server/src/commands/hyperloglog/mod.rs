//! HyperLogLog: PFADD, PFCOUNT, PFMERGE and what looks into sketches.
//!
//! A sketch is a string, the same as Redis's to the byte (`sketch`), so GET and SET can carry it
//! from one to the other. As in Redis, PFCOUNT of one key keeps what it has computed in the value,
//! so it changes it and goes through the log, although it is listed among the commands that read.

mod estimate;
mod hash;
mod registers;
mod sketch;

use bailiwick_frame::{Args, Encoder};

use super::{
    Category, Command, CommandError, DEFAULT, Flag, Group, Handler, Keys, NodeCommand, Outcome,
    StringRef, WriteContext,
};
use registers::Corrupted;
use sketch::Values;

/// Number of registers of a sketch.
const REGISTERS: usize = 1 << 14;

/// `hll-sparse-max-bytes`: how long a sketch with sparse registers may become.
const SPARSE_MAX_BYTES: usize = 3000;

/// How many elements PFSELFTEST adds.
const SELFTEST_ELEMENTS: u32 = 10_000;

/// How far PFSELFTEST lets an estimate be off, as a share: six standard errors of 0.81 percent.
const SELFTEST_TOLERANCE: f64 = 0.05;

const NOT_A_SKETCH: CommandError =
    CommandError::text("WRONGTYPE Key is not a valid HyperLogLog string value.");
const CORRUPTED: CommandError = CommandError::text("INVALIDOBJ Corrupted HLL object detected");

const WRITE: u32 = Flag::Write as u32;
const DENYOOM: u32 = Flag::Denyoom as u32;
const ADMIN: u32 = Flag::Admin as u32;

const ROW: Command = Command {
    categories: Category::Hyperloglog as u32,
    group: Group::HyperLogLog,
    since: "2.8.9",
    ..DEFAULT
};

/// The rows of this module.
pub(super) static COMMANDS: &[Command] = &[
    Command {
        name: "pfadd",
        arity: -2,
        flags: WRITE | DENYOOM | Flag::Fast as u32,
        keys: Keys::FIRST,
        complexity: "O(1) for each element.",
        summary: "Adds elements to a sketch.",
        syntax: "key [element [element ...]]",
        handler: Handler::Write(pfadd),
        ..ROW
    },
    Command {
        name: "pfcount",
        arity: -2,
        flags: Flag::Readonly as u32,
        keys: Keys::ALL,
        complexity: "O(1) for one key whose count is kept, else O(N), N being the number of keys, \
                     with a large constant.",
        summary: "Estimates how many different elements sketches have seen together.",
        syntax: "key [key ...]",
        handler: Handler::Write(pfcount),
        ..ROW
    },
    Command {
        name: "pfmerge",
        arity: -2,
        flags: WRITE | DENYOOM,
        keys: Keys::ALL,
        complexity: "O(N), N being the number of sketches, with a large constant.",
        summary: "Adds what sketches have seen to another one.",
        syntax: "destkey [sourcekey [sourcekey ...]]",
        handler: Handler::Write(pfmerge),
        ..ROW
    },
    Command {
        name: "pfdebug",
        arity: 3,
        flags: WRITE | DENYOOM | ADMIN,
        keys: Keys::Range {
            first: 2,
            last: 2,
            step: 1,
        },
        complexity: "Depends on subcommand.",
        summary: "Looks into a sketch, or makes its registers dense.",
        syntax: "subcommand key",
        handler: Handler::Write(pfdebug),
        ..ROW
    },
    Command {
        name: "pfselftest",
        arity: 1,
        flags: ADMIN,
        summary: "Tries sketches out.",
        handler: Handler::Node(NodeCommand::Pfselftest),
        ..ROW
    },
];

impl From<Corrupted> for CommandError {
    fn from(Corrupted: Corrupted) -> Self {
        CORRUPTED
    }
}

/// The sketch at a key.
fn find<'c>(ctx: &'c WriteContext<'_>, key: &[u8]) -> Result<Option<&'c [u8]>, CommandError> {
    match ctx.string(key)? {
        None => Ok(None),
        Some(StringRef::Bytes(bytes)) if sketch::is_sketch(bytes) => Ok(Some(bytes)),
        Some(_) => Err(NOT_A_SKETCH),
    }
}

fn pfadd(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let key = args.arg(1);
    let elements = args.from(2);
    let is_new = match find(ctx, key)? {
        None => true,
        Some(bytes) => {
            let mut changes = false;
            for element in elements.iter() {
                changes = changes || sketch::is_news(bytes, element)?;
            }
            if !changes {
                out.integer(0);
                return Ok(());
            }
            false
        }
    };
    ctx.edit_string(key, |bytes| {
        if is_new {
            *bytes = sketch::empty();
            sketch::invalidate(bytes);
        }
        for element in elements.iter() {
            if let Err(corrupted) = sketch::add(bytes, element) {
                return (Err(corrupted), true);
            }
        }
        (Ok(()), true)
    })??;
    out.integer(1);
    Ok(())
}

fn pfcount(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    if args.len() > 2 {
        let (values, _) = merge(ctx, args.from(1))?;
        out.integer(sketch::count_values(&values) as i64);
        return Ok(());
    }
    let key = args.arg(1);
    let (cached, count) = match find(ctx, key)? {
        None => (true, 0),
        Some(bytes) => match sketch::cached(bytes) {
            Some(count) => (true, count),
            None => (false, sketch::count(bytes)?),
        },
    };
    if !cached {
        ctx.edit_string(key, |bytes| (sketch::set_cached(bytes, count), true))?;
    }
    out.integer(count as i64);
    Ok(())
}

/// The registers of all sketches together, and whether those of one are dense.
fn merge(ctx: &WriteContext<'_>, keys: Args<'_>) -> Result<(Box<Values>, bool), CommandError> {
    let (mut values, mut is_dense) = (Box::new([0; REGISTERS]), false);
    for key in keys.iter() {
        if let Some(bytes) = find(ctx, key)? {
            is_dense |= sketch::is_dense(bytes);
            sketch::merge_into(&mut values, bytes)?;
        }
    }
    Ok((values, is_dense))
}

fn pfmerge(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let key = args.arg(1);
    let (values, is_dense) = merge(ctx, args.from(1))?;
    let is_new = find(ctx, key)?.is_none();
    let merged = |bytes: &mut Vec<u8>| {
        if is_new {
            *bytes = sketch::empty();
        }
        if is_dense {
            sketch::make_dense(bytes)?;
        }
        for (index, &value) in values.iter().enumerate().filter(|(_, value)| **value > 0) {
            sketch::raise(bytes, index, value)?;
        }
        sketch::invalidate(bytes);
        Ok::<_, Corrupted>(())
    };
    ctx.edit_string(key, |bytes| (merged(bytes), true))??;
    out.ok();
    Ok(())
}

fn pfdebug(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    const ABSENT: CommandError = CommandError::text("ERR The specified key does not exist");
    let (name, key) = (args.arg(1), args.arg(2));
    let bytes = find(ctx, key)?.ok_or(ABSENT)?;
    let is_dense = sketch::is_dense(bytes);
    match &name.to_ascii_lowercase()[..] {
        b"getreg" => {
            let mut values = Box::new([0; REGISTERS]);
            sketch::merge_into(&mut values, bytes)?;
            if !is_dense {
                make_dense(ctx, key)?;
            }
            out.array(REGISTERS);
            values.iter().for_each(|&value| out.integer(value.into()));
        }
        b"decode" if is_dense => {
            return Err(CommandError::text("ERR HLL encoding is not sparse"));
        }
        b"decode" => out.bulk(sketch::describe(bytes).as_bytes()),
        b"encoding" => out.simple(if is_dense { "dense" } else { "sparse" }),
        b"todense" => {
            if !is_dense {
                make_dense(ctx, key)?;
            }
            out.integer(i64::from(!is_dense));
        }
        _ => {
            let name = String::from_utf8_lossy(name);
            return Err(CommandError::composed(format!(
                "ERR Unknown PFDEBUG subcommand '{name}'"
            )));
        }
    }
    Ok(())
}

fn make_dense(ctx: &mut WriteContext<'_>, key: &[u8]) -> Outcome {
    ctx.edit_string(key, |bytes| (sketch::make_dense(bytes), true))??;
    Ok(())
}

/// Lets both forms see the same elements: they must hold the same registers, and come near to the
/// number of elements.
///
/// # Errors
/// They do not.
pub fn self_test(out: &mut Encoder<'_>) -> Outcome {
    let (mut sparse, mut dense) = (sketch::empty(), sketch::empty());
    sketch::make_dense(&mut dense)?;
    for number in 0..SELFTEST_ELEMENTS {
        let element = number.to_le_bytes();
        if sketch::add(&mut sparse, &element)? != sketch::add(&mut dense, &element)? {
            return Err(CommandError::text("ERR TESTFAILED dense/sparse disagree"));
        }
    }
    let (count, expected) = (sketch::count(&dense)?, f64::from(SELFTEST_ELEMENTS));
    let error = (count as f64 - expected).abs();
    if sketch::count(&sparse)? != count || error > expected * SELFTEST_TOLERANCE {
        return Err(CommandError::composed(format!(
            "ERR TESTFAILED Too big error. card:{SELFTEST_ELEMENTS} abserr:{error}"
        )));
    }
    out.ok();
    Ok(())
}

#[cfg(test)]
mod tests {
    use bailiwick_frame::{Encoder, Protocol};

    use crate::commands::testing::*;

    #[test]
    fn a_sketch_is_that_of_redis() {
        let mut fixture = Fixture::default();
        check(
            &mut fixture,
            &[
                ("PFCOUNT h", "0"),
                ("PFADD h", "1"),
                ("PFADD h", "0"),
                (
                    "GET h",
                    "\"HYLL\\x01\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x80\\x7f\\xff\"",
                ),
                ("PFADD h a b c", "1"),
                ("PFADD h a", "0"),
                ("PFCOUNT h", "3"),
                (
                    "GET h",
                    "\"HYLL\\x01\\x00\\x00\\x00\\x03\\x00\\x00\\x00\\x00\\x00\\x00\\x00`\\xf3\\x80P\\xb1\\x84K\\xfb\\x80BZ\"",
                ),
                ("PFADD i c d", "1"),
                ("PFCOUNT h i none", "4"),
                ("PFMERGE j h i", "+OK"),
                ("PFCOUNT j", "4"),
                ("PFDEBUG ENCODING j", "+sparse"),
                ("PFDEBUG TODENSE j", "1"),
                ("PFDEBUG TODENSE j", "0"),
                ("PFDEBUG DECODE j", "-ERR HLL encoding is not sparse"),
                ("PFCOUNT j", "4"),
                ("STRLEN j", "12304"),
                ("OBJECT ENCODING h", "\"raw\""),
            ],
        );
    }

    #[test]
    fn what_is_no_sketch_is_refused() {
        let mut fixture = Fixture::default();
        let wrong = "-WRONGTYPE Key is not a valid HyperLogLog string value.";
        let corrupted = "-INVALIDOBJ Corrupted HLL object detected";
        check(
            &mut fixture,
            &[
                ("SET s hello", "+OK"),
                ("PFADD s a", wrong),
                ("SET s 12345", "+OK"),
                ("PFCOUNT s", wrong),
                ("RPUSH l a", "1"),
                (
                    "PFCOUNT l",
                    "-WRONGTYPE Operation against a key holding the wrong kind of value",
                ),
                ("PFADD h a", "1"),
                ("SETRANGE h 16 \"\\x00\"", "21"),
                ("PFCOUNT h", corrupted),
                ("PFMERGE i h", corrupted),
                ("PFDEBUG GETREG h", corrupted),
                (
                    "PFDEBUG GETREG none",
                    "-ERR The specified key does not exist",
                ),
                ("PFDEBUG NOPE s", wrong),
            ],
        );
    }

    #[test]
    fn the_self_test_passes() {
        let mut reply = Vec::new();
        let mut out = Encoder::new(&mut reply, Protocol::Resp2);
        assert_eq!(super::self_test(&mut out), Ok(()));
        assert_eq!(reply, b"+OK\r\n");
    }
}
