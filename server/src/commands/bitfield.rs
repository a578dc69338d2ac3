//! BITFIELD and BITFIELD_RO: integers of any width at any bit of a string.
//!
//! A command is read as a whole before its first step runs, so a mistake in the last step leaves
//! the string as it was. The steps themselves cannot fail; one whose overflow is to `FAIL` replies
//! null and writes nothing, but the string has grown for it already, as in Redis.

use bailiwick_frame::{Args, Encoder};

use super::field::Field;
use super::parse::integer;
use super::{
    Category, Command, CommandError, DEFAULT, Flag, Group, Handler, Keys, Outcome, ReadContext,
    StringRef, WriteContext, check_string_len,
};

const ROW: Command = Command {
    arity: -2,
    categories: Category::Bitmap as u32,
    keys: Keys::FIRST,
    group: Group::Bitmap,
    complexity: "O(1) for each field.",
    ..DEFAULT
};

/// The rows of this module.
pub(super) static COMMANDS: &[Command] = &[
    Command {
        name: "bitfield",
        flags: Flag::Write as u32 | Flag::Denyoom as u32,
        since: "3.2.0",
        summary: "Reads and writes integers of any width within a string.",
        syntax: "key [GET encoding offset | [OVERFLOW <WRAP | SAT | FAIL>] \
                 <SET encoding offset value | INCRBY encoding offset increment> \
                 [GET encoding offset | [OVERFLOW <WRAP | SAT | FAIL>] \
                 <SET encoding offset value | INCRBY encoding offset increment> ...]]",
        handler: Handler::Write(bitfield),
        ..ROW
    },
    Command {
        name: "bitfield_ro",
        flags: Flag::Readonly as u32 | Flag::Fast as u32,
        since: "6.0.0",
        summary: "Reads integers of any width within a string.",
        syntax: "key [GET encoding offset [GET encoding offset ...]]",
        handler: Handler::Read(bitfield_ro),
        ..ROW
    },
];

fn bitfield(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let steps = parse(args)?;
    let written = steps.iter().filter(|step| step.action != Action::Get);
    let Some(end) = written.map(|step| step.field.end_bytes()).max() else {
        return read_all(&steps, ctx.string(args.arg(1))?, out);
    };
    ctx.peek_string(args.arg(1))?;
    check_string_len(end)?;
    ctx.edit_string(args.arg(1), |bytes| {
        let mut has_changed = bytes.len() < end;
        if has_changed {
            bytes.resize(end, 0);
        }
        out.array(steps.len());
        for step in &steps {
            let before = step.field.read(bytes);
            match step.run(bytes) {
                Some(number) => out.integer(number),
                None => out.null(),
            }
            has_changed |= step.field.read(bytes) != before;
        }
        ((), has_changed)
    })
}

fn bitfield_ro(ctx: &ReadContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let steps = parse(args)?;
    if steps.iter().any(|step| step.action != Action::Get) {
        return Err(CommandError::text(
            "ERR BITFIELD_RO only supports the GET subcommand",
        ));
    }
    read_all(&steps, ctx.string(args.arg(1))?, out)
}

fn read_all(steps: &[Step], found: Option<StringRef<'_>>, out: &mut Encoder<'_>) -> Outcome {
    out.array(steps.len());
    found.unwrap_or(StringRef::Bytes(&[])).with_bytes(|bytes| {
        steps
            .iter()
            .for_each(|step| out.integer(step.field.read(bytes)));
    });
    Ok(())
}

/// What becomes of a value that its field cannot hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Overflow {
    Wrap,
    Saturate,
    Fail,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Get,
    Set(i64),
    Add(i64),
}

/// One operation on one field.
#[derive(Clone, Copy, Debug)]
struct Step {
    action: Action,
    field: Field,
    overflow: Overflow,
}

impl Step {
    /// The reply; `None` is null.
    fn run(self, bytes: &mut [u8]) -> Option<i64> {
        let old = self.field.read(bytes);
        match self.action {
            Action::Get => Some(old),
            Action::Set(number) => {
                // A negative number is a large one to an unsigned field.
                let number = if self.field.signed {
                    number.into()
                } else {
                    (number as u64).into()
                };
                self.field.write(bytes, self.fit(number)?);
                Some(old)
            }
            Action::Add(increment) => {
                let new = self.fit(i128::from(old) + i128::from(increment))?;
                self.field.write(bytes, new);
                Some(new as i64)
            }
        }
    }

    fn fit(self, number: i128) -> Option<i128> {
        let (min, max) = (self.field.min(), self.field.max());
        if (min..=max).contains(&number) {
            return Some(number);
        }
        match self.overflow {
            Overflow::Wrap => Some(self.field.wrap(number)),
            Overflow::Saturate => Some(number.clamp(min, max)),
            Overflow::Fail => None,
        }
    }
}

/// The steps of a command; OVERFLOW is none, it applies to those behind it.
fn parse(args: Args<'_>) -> Result<Vec<Step>, CommandError> {
    let mut steps = Vec::new();
    let mut overflow = Overflow::Wrap;
    let mut rest = args.from(2);
    while let Some(name) = rest.get(0) {
        let is = |option: &str, args: usize| {
            name.eq_ignore_ascii_case(option.as_bytes()) && rest.len() > args
        };
        let taken = if is("get", 2) {
            let field = Field::parse(rest.arg(1), rest.arg(2))?;
            steps.push(Step {
                action: Action::Get,
                field,
                overflow,
            });
            3
        } else if is("set", 3) || is("incrby", 3) {
            let field = Field::parse(rest.arg(1), rest.arg(2))?;
            let number = integer(rest.arg(3))?;
            let action = if is("set", 3) {
                Action::Set(number)
            } else {
                Action::Add(number)
            };
            steps.push(Step {
                action,
                field,
                overflow,
            });
            4
        } else if is("overflow", 1) {
            overflow = parse_overflow(rest.arg(1))?;
            2
        } else {
            return Err(CommandError::Syntax);
        };
        rest = rest.from(taken);
    }
    Ok(steps)
}

fn parse_overflow(name: &[u8]) -> Result<Overflow, CommandError> {
    let kinds = [
        ("wrap", Overflow::Wrap),
        ("sat", Overflow::Saturate),
        ("fail", Overflow::Fail),
    ];
    let named = kinds
        .into_iter()
        .find(|(kind, _)| name.eq_ignore_ascii_case(kind.as_bytes()));
    named
        .map(|(_, kind)| kind)
        .ok_or(CommandError::text("ERR Invalid OVERFLOW type specified"))
}

#[cfg(test)]
mod tests {
    use crate::commands::field::BAD_ENCODING;
    use crate::commands::testing::{Fixture, check};

    #[test]
    fn fields_lie_where_offset_or_number_says() {
        check(
            &mut Fixture::default(),
            &[
                ("BITFIELD k SET u8 #1 255 GET u4 6 GET i4 8", "[0 3 -1]"),
                ("GET k", r#""\x00\xff""#),
                ("BITFIELD k", "[]"),
                ("BITFIELD absent GET u8 0 GET i64 100", "[0 0]"),
                ("GET absent", "nil"),
                ("BITFIELD_RO k GET u16 0", "[255]"),
                (
                    "BITFIELD_RO k SET u8 0 1",
                    "-ERR BITFIELD_RO only supports the GET subcommand",
                ),
            ],
        );
    }

    #[test]
    fn overflow_wraps_saturates_or_fails() {
        check(
            &mut Fixture::default(),
            &[
                ("BITFIELD k SET u8 0 250 INCRBY u8 0 10", "[0 4]"),
                (
                    "BITFIELD k OVERFLOW SAT INCRBY u8 0 9223372036854775807",
                    "[255]",
                ),
                ("BITFIELD k OVERFLOW sat INCRBY u8 0 -300", "[0]"),
                (
                    "BITFIELD k OVERFLOW FAIL INCRBY u8 0 -1 SET u8 0 256 GET u8 0",
                    "[nil nil 0]",
                ),
                ("BITFIELD k OVERFLOW SAT SET u8 0 -1 GET u8 0", "[0 255]"),
                ("BITFIELD k SET i8 0 200 GET i8 0", "[-1 -56]"),
                (
                    "BITFIELD k OVERFLOW SAT SET i64 0 -9223372036854775808",
                    "[-4035225266123964416]",
                ),
                (
                    "BITFIELD k OVERFLOW SAT INCRBY i64 0 -1",
                    "[-9223372036854775808]",
                ),
                ("BITFIELD k INCRBY i64 0 -1", "[9223372036854775807]"),
            ],
        );
    }

    #[test]
    fn a_mistake_in_the_last_step_leaves_the_key_alone() {
        let mut fixture = Fixture::default();
        let encoding = format!("-{BAD_ENCODING}");
        check(
            &mut fixture,
            &[
                ("BITFIELD k SET u8 0 1 GET u64 0", &encoding),
                ("BITFIELD k SET u8 0 1 GET U8 0", &encoding),
                ("BITFIELD k SET u8 0 1 GET i0 0", &encoding),
                ("BITFIELD k SET u8 0 1 GET i65 0", &encoding),
                ("BITFIELD k SET u8 0 1 GET u8", "-ERR syntax error"),
                (
                    "BITFIELD k SET u8 0 1 OVERFLOW up",
                    "-ERR Invalid OVERFLOW type specified",
                ),
                (
                    "BITFIELD k SET u8 0 x",
                    "-ERR value is not an integer or out of range",
                ),
                (
                    "BITFIELD k SET u8 #536870912 1",
                    "-ERR bit offset is not an integer or out of range",
                ),
            ],
        );
        assert!(fixture.keyspace.is_empty());
    }
}
