//! BITOP: strings combined bit by bit.

use bailiwick_frame::{Args, Encoder};

use super::{
    Category, Command, CommandError, DEFAULT, Flag, Group, Handler, Keys, Outcome, StringRef,
    WriteContext, is_option,
};
use crate::keyspace::{Expiry, NewValue, Object};

/// The rows of this module.
pub(super) static COMMANDS: &[Command] = &[Command {
    name: "bitop",
    arity: -4,
    flags: Flag::Write as u32 | Flag::Denyoom as u32,
    categories: Category::Bitmap as u32,
    keys: Keys::Range {
        first: 2,
        last: -1,
        step: 1,
    },
    group: Group::Bitmap,
    since: "2.6.0",
    complexity: "O(N), N being the total length of the strings.",
    summary: "Stores what a bitwise operation makes of one or more strings.",
    syntax: "<AND | OR | XOR | NOT> destkey key [key ...]",
    handler: Handler::Write(bitop),
    ..DEFAULT
}];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Operation {
    And,
    Or,
    Xor,
    Not,
}

fn bitop(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let operation = operation(args)?;
    if operation == Operation::Not && args.len() != 4 {
        const TEXT: &str = "ERR BITOP NOT must be called with a single source key.";
        return Err(CommandError::text(TEXT));
    }
    let result = combine(ctx, operation, args.from(3))?;
    let len = result.len();
    if len == 0 {
        ctx.remove(args.arg(2));
    } else {
        // Never a number, as in Redis: the result is a row of bits.
        ctx.set(
            args.arg(2),
            NewValue::Object(Object::String(result)),
            Expiry::None,
        );
    }
    out.integer(len as i64);
    Ok(())
}

fn operation(args: Args<'_>) -> Result<Operation, CommandError> {
    let operations = [
        ("and", Operation::And),
        ("or", Operation::Or),
        ("xor", Operation::Xor),
        ("not", Operation::Not),
    ];
    let named = operations
        .into_iter()
        .find(|(name, _)| is_option(args, 1, name));
    named
        .map(|(_, operation)| operation)
        .ok_or(CommandError::Syntax)
}

/// The combined strings, as long as the longest; shorter ones are taken to end in zeros, absent
/// ones to consist of them.
fn combine(
    ctx: &WriteContext<'_>,
    operation: Operation,
    keys: Args<'_>,
) -> Result<Vec<u8>, CommandError> {
    // All are looked at before the first is used, so that the result is allocated once.
    let mut longest = 0;
    for key in keys.iter() {
        longest = longest.max(ctx.read_string(key)?.map_or(0, StringRef::len));
    }
    let mut result = Vec::with_capacity(longest);
    for (index, key) in keys.iter().enumerate() {
        let found = ctx.peek_string(key)?.unwrap_or(StringRef::Bytes(&[]));
        found.with_bytes(|bytes| {
            if index == 0 {
                result.extend_from_slice(bytes);
                result.resize(longest, 0);
            } else {
                merge(&mut result, bytes, operation);
            }
        });
    }
    if operation == Operation::Not {
        result.iter_mut().for_each(|byte| *byte = !*byte);
    }
    Ok(result)
}

fn merge(result: &mut [u8], bytes: &[u8], operation: Operation) {
    let pairs = result.iter_mut().zip(bytes);
    match operation {
        Operation::And => {
            pairs.for_each(|(to, from)| *to &= from);
            result[bytes.len()..].fill(0);
        }
        Operation::Or => pairs.for_each(|(to, from)| *to |= from),
        Operation::Xor => pairs.for_each(|(to, from)| *to ^= from),
        Operation::Not => unreachable!("NOT has one operand"),
    }
}

#[cfg(test)]
mod tests {
    use crate::commands::testing::{Fixture, check};

    #[test]
    fn shorter_strings_are_filled_up_with_zeros() {
        check(
            &mut Fixture::default(),
            &[
                ("MSET a abc b ab", "+OK"),
                ("BITOP AND d a b", "3"),
                ("GET d", r#""ab\x00""#),
                ("BITOP or d b a absent", "3"),
                ("GET d", r#""abc""#),
                ("BITOP XOR d a b", "3"),
                ("GET d", r#""\x00\x00c""#),
                ("BITOP AND d a absent", "3"),
                ("GET d", r#""\x00\x00\x00""#),
                ("BITOP NOT a a", "3"),
                ("GET a", r#""\x9e\x9d\x9c""#),
            ],
        );
    }

    #[test]
    fn an_empty_result_removes_the_destination() {
        check(
            &mut Fixture::default(),
            &[
                ("SET d x", "+OK"),
                ("BITOP OR d absent", "0"),
                ("GET d", "nil"),
                ("BITOP NAND d a", "-ERR syntax error"),
                (
                    "BITOP NOT d a b",
                    "-ERR BITOP NOT must be called with a single source key.",
                ),
            ],
        );
    }
}
