//! Locks: removing a key only if it is still one's own, and fencing tokens.
//!
//! A lock that expires can be lost without its holder noticing. What helps is a number that grows
//! with every holder, and a resource that refuses who comes with a lower one than it has seen. `SET
//! key value NX PX ms FENCE` replies with such a *token*; `FENCE key` tells that of the present
//! holder.
//!
//! Tokens of a key grow for ever: also after it has expired or been removed, after failures and
//! elections, because the counter they come from is part of the replicated state, and when its
//! prefix moves to another group, because the counter's value goes along (`Keyspace::next_fence`).
//! They do not go along with DUMP, since another cluster counts for itself.

use bailiwick_frame::{Args, Encoder};

use super::{
    Category, Command, CommandError, DEFAULT, Flag, Group, Handler, Keys, Outcome, ReadContext,
    StringRef, WriteContext,
};
use crate::keyspace::{Entry, Object, ValueRef};

const ROW: Command = Command {
    categories: Category::String as u32,
    keys: Keys::FIRST,
    group: Group::String,
    since: "0.1.0",
    ..DEFAULT
};

pub(super) static COMMANDS: &[Command] = &[
    Command {
        name: "delifeq",
        arity: 3,
        flags: Flag::Write as u32 | Flag::Fast as u32,
        summary: "Removes a key if it holds this string.",
        syntax: "key value",
        handler: Handler::Write(delifeq),
        ..ROW
    },
    Command {
        name: "fence",
        arity: 2,
        flags: Flag::Readonly as u32 | Flag::Fast as u32,
        summary: "Replies with the fencing token of a key that was set with FENCE.",
        syntax: "key",
        handler: Handler::Read(fence),
        ..ROW
    },
];

fn delifeq(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let is_equal = holds(ctx, args.arg(1), args.arg(2))?;
    if is_equal {
        ctx.remove(args.arg(1));
    }
    out.integer(is_equal.into());
    Ok(())
}

fn fence(ctx: &ReadContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let entry = ctx.get(args.arg(1));
    // Asking for a string refuses what is none.
    entry.map(StringRef::of).transpose()?;
    match entry.and_then(token_of) {
        Some(token) => out.integer(token as i64),
        None => out.null(),
    }
    Ok(())
}

/// Whether a key holds this string; `WRONGTYPE` if it holds something else than a string.
pub(super) fn holds(
    ctx: &WriteContext<'_>,
    key: &[u8],
    wanted: &[u8],
) -> Result<bool, CommandError> {
    let held = ctx.peek_string(key)?;
    Ok(held.is_some_and(|held| held.with_bytes(|held| held == wanted)))
}

/// The token that an entry was stored with.
pub(super) fn token_of(entry: &Entry) -> Option<u64> {
    match entry.value() {
        ValueRef::Object(Object::Fenced(fenced)) => Some(fenced.token),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use crate::commands::testing::{Fixture, check, run};

    #[test]
    fn a_key_is_set_or_removed_only_if_it_holds_what_is_expected() {
        check(
            &mut Fixture::default(),
            &[
                ("SET k new IFEQ old", "nil"),
                ("SET k 7", "+OK"),
                ("SET k new IFEQ old", "nil"),
                ("SET k new IFEQ 7", "+OK"),
                ("SET k newer IFEQ old GET", "\"new\""),
                ("SET k newer IFEQ new GET", "\"new\""),
                ("GET k", "\"newer\""),
                ("SET k x IFEQ", "-ERR syntax error"),
                ("SET k x IFEQ a NX", "-ERR syntax error"),
                ("SET k x IFEQ a IFEQ b", "-ERR syntax error"),
                ("DELIFEQ k new", "0"),
                ("DELIFEQ k newer", "1"),
                ("DELIFEQ k newer", "0"),
                ("RPUSH l a", "1"),
                (
                    "DELIFEQ l a",
                    "-WRONGTYPE Operation against a key holding the wrong kind of value",
                ),
                (
                    "SET l a IFEQ a",
                    "-WRONGTYPE Operation against a key holding the wrong kind of value",
                ),
                (
                    "FENCE l",
                    "-WRONGTYPE Operation against a key holding the wrong kind of value",
                ),
            ],
        );
    }

    #[test]
    fn every_holder_gets_a_higher_token() {
        let mut fixture = Fixture::default();
        check(
            &mut fixture,
            &[
                ("SET lock a NX PX 100 FENCE", "1"),
                ("SET lock b NX PX 100 FENCE", "nil"),
                ("FENCE lock", "1"),
                ("GET lock", "\"a\""),
                ("OBJECT ENCODING lock", "\"embstr\""),
                ("TYPE lock", "+string"),
                ("PEXPIRE lock 200", "1"),
                ("FENCE lock", "1"),
                ("SET lock a IFEQ a PX 300", "+OK"),
                ("FENCE lock", "1"),
                ("PTTL lock", "300"),
                ("SET lock b IFEQ a PX 100 FENCE", "2"),
                ("DELIFEQ lock a", "0"),
                ("DELIFEQ lock b", "1"),
                ("FENCE lock", "nil"),
                ("SET other 12 FENCE", "3"),
                ("INCR other", "13"),
                ("FENCE other", "nil"),
                ("SET other x FENCE GET", "-ERR syntax error"),
                ("SET lock c NX PX 100 FENCE", "4"),
            ],
        );
        fixture.now_ms += 101;
        check(
            &mut fixture,
            &[
                ("FENCE lock", "nil"),
                ("SET lock d NX PX 100 FENCE", "5"),
                ("SET lock e", "+OK"),
                ("FENCE lock", "nil"),
                ("FLUSHALL", "+OK"),
                ("SET lock f FENCE", "6"),
                ("APPEND lock g", "2"),
                ("GET lock", "\"fg\""),
                ("FENCE lock", "nil"),
            ],
        );
        let dump = run(&mut fixture, "SET lock h FENCE");
        assert_eq!(dump, "7");
    }
}
