//! Moving and copying whole keys: within a database, and between databases.
//!
//! A key travels with its expiry. WATCH sees both ends: the old key goes, and the new one is
//! stamped like any other write. All checks come before the first change.

use bailiwick_frame::{Args, Encoder};

use super::parse;
use super::touch::What;
use super::{
    Category, Command, CommandError, DEFAULT, Flag, Handler, Keys, Outcome, WriteContext, is_option,
};

const SAME_OBJECT: CommandError =
    CommandError::text("ERR source and destination objects are the same");
const KEYSPACE: u32 = Category::Keyspace as u32;
const SOURCE_AND_TARGET: Keys = Keys::Range {
    first: 1,
    last: 2,
    step: 1,
};

pub(super) static COMMANDS: &[Command] = &[
    Command {
        name: "rename",
        arity: 3,
        flags: Flag::Write as u32,
        categories: KEYSPACE,
        keys: SOURCE_AND_TARGET,
        summary: "Gives a key another name, replacing what had that name.",
        syntax: "key newkey",
        handler: Handler::Write(rename),
        ..DEFAULT
    },
    Command {
        name: "renamenx",
        arity: 3,
        flags: Flag::Write as u32 | Flag::Fast as u32,
        categories: KEYSPACE,
        keys: SOURCE_AND_TARGET,
        summary: "Gives a key another name unless that name is taken.",
        syntax: "key newkey",
        handler: Handler::Write(renamenx),
        ..DEFAULT
    },
    Command {
        name: "copy",
        arity: -3,
        flags: Flag::Write as u32 | Flag::Denyoom as u32,
        categories: KEYSPACE,
        keys: SOURCE_AND_TARGET,
        since: "6.2.0",
        complexity: "O(N) where N is the size of the value",
        summary: "Copies a key's value and expiry to another key.",
        syntax: "source destination [DB destination-db] [REPLACE]",
        handler: Handler::Write(copy),
        ..DEFAULT
    },
    Command {
        name: "move",
        arity: 3,
        flags: Flag::Write as u32 | Flag::Fast as u32,
        categories: KEYSPACE,
        keys: Keys::FIRST,
        summary: "Moves a key to another database unless it exists there.",
        syntax: "key db",
        handler: Handler::Write(move_key),
        ..DEFAULT
    },
];

fn rename(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let (key, new_key) = (args.arg(1), args.arg(2));
    if ctx.peek(key).is_none() {
        return Err(CommandError::NoSuchKey);
    }
    if key != new_key {
        relocate(ctx, key, ctx.database, new_key);
    }
    out.ok();
    Ok(())
}

fn renamenx(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let (key, new_key) = (args.arg(1), args.arg(2));
    if ctx.peek(key).is_none() {
        return Err(CommandError::NoSuchKey);
    }
    // The new name is taken too when it is the old one.
    let free = ctx.peek(new_key).is_none();
    if free {
        relocate(ctx, key, ctx.database, new_key);
    }
    out.integer(i64::from(free));
    Ok(())
}

fn copy(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let (source, target) = (args.arg(1), args.arg(2));
    let (mut database, mut replace) = (ctx.database, false);
    let mut index = 3;
    while index < args.len() {
        if is_option(args, index, "replace") {
            replace = true;
        } else if is_option(args, index, "db") && index + 1 < args.len() {
            database = parse::database(args.arg(index + 1), ctx.keyspace.databases())?;
            index += 1;
        } else {
            return Err(CommandError::Syntax);
        }
        index += 1;
    }
    if database == ctx.database && source == target {
        return Err(SAME_OBJECT);
    }
    let entry = ctx.reader().get(source).cloned();
    let copied = entry.filter(|_| replace || !is_there(ctx, database, target));
    if let Some(entry) = &copied {
        ctx.put(database, target, entry);
    }
    out.integer(i64::from(copied.is_some()));
    Ok(())
}

fn move_key(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let key = args.arg(1);
    let database = parse::database(args.arg(2), ctx.keyspace.databases())?;
    if database == ctx.database {
        return Err(SAME_OBJECT);
    }
    let movable = ctx.peek(key).is_some() && !is_there(ctx, database, key);
    if movable {
        relocate(ctx, key, database, key);
    }
    out.integer(i64::from(movable));
    Ok(())
}

fn is_there(ctx: &WriteContext<'_>, database: usize, key: &[u8]) -> bool {
    ctx.keyspace.get(database, key, ctx.now_ms).is_some()
}

/// Moves an entry that is there, as one change.
fn relocate(ctx: &mut WriteContext<'_>, key: &[u8], database: usize, new_key: &[u8]) {
    // Not the context's methods, which would count a second change.
    if let Some(entry) = ctx.keyspace.take(ctx.database, key) {
        ctx.note(ctx.database, key, What::Left);
        ctx.put(database, new_key, &entry);
    }
}

#[cfg(test)]
mod tests {
    use crate::commands::testing::{Fixture, check, run};

    #[test]
    fn a_renamed_key_keeps_its_value_and_expiry() {
        let mut fixture = Fixture::default();
        check(
            &mut fixture,
            &[
                ("RENAME a b", "-ERR no such key"),
                ("RENAME a a", "-ERR no such key"),
                ("SET a 1 EX 10", "+OK"),
                ("SET b 2 EX 99", "+OK"),
                ("RENAME a a", "+OK"),
                ("RENAMENX a a", "0"),
                ("RENAMENX a b", "0"),
                ("RENAME a b", "+OK"),
                ("GET b", "\"1\""),
                ("TTL b", "10"),
                ("EXISTS a", "0"),
                ("SET c 3", "+OK"),
                ("RENAME c b", "+OK"),
                ("TTL b", "-1"),
                ("RENAMENX b d", "1"),
            ],
        );
        assert_eq!(fixture.counters.changes.get(), 6);
    }

    #[test]
    fn an_expired_key_neither_moves_nor_stands_in_the_way() {
        let mut fixture = Fixture::default();
        run(&mut fixture, "SET a 1 PX 10");
        run(&mut fixture, "SET b 2");
        fixture.now_ms += 11;
        check(
            &mut fixture,
            &[
                ("RENAME a c", "-ERR no such key"),
                ("COPY a c", "0"),
                ("RENAMENX b a", "1"),
                ("TTL a", "-1"),
            ],
        );
    }

    #[test]
    fn watch_sees_both_ends_of_a_rename() {
        let mut fixture = Fixture::default();
        run(&mut fixture, "SET a 1");
        let states = |fixture: &Fixture| {
            [b"a", b"b"].map(|key| fixture.keyspace.watch_state(0, key, fixture.now_ms))
        };
        let before = states(&fixture);
        run(&mut fixture, "RENAME a b");
        let after = states(&fixture);
        assert!(before[0] != after[0] && before[1] != after[1]);
    }

    #[test]
    fn a_copy_crosses_databases_and_replaces_only_when_told() {
        let mut fixture = Fixture::default();
        let out_of_range =
            "-ERR value is out of range, value must between -2147483648 and 2147483647";
        check(
            &mut fixture,
            &[
                ("SET a 1 EX 10", "+OK"),
                (
                    "COPY a a",
                    "-ERR source and destination objects are the same",
                ),
                ("COPY a b DB 99", "-ERR DB index is out of range"),
                (
                    "COPY a b DB x",
                    "-ERR value is not an integer or out of range",
                ),
                ("COPY a b DB 99999999999", out_of_range),
                ("COPY a b DB", "-ERR syntax error"),
                ("COPY a a db 1", "1"),
                ("COPY a a DB 1", "0"),
                ("COPY a a DB 1 replace", "1"),
                ("COPY nope a DB 1 REPLACE", "0"),
                ("COPY a b", "1"),
                ("TTL b", "10"),
                ("APPEND b x", "2"),
                ("GET a", "\"1\""),
            ],
        );
        fixture.database = 1;
        check(&mut fixture, &[("GET a", "\"1\""), ("TTL a", "10")]);
    }

    #[test]
    fn a_key_moves_only_where_there_is_none() {
        let mut fixture = Fixture::default();
        check(
            &mut fixture,
            &[
                (
                    "MOVE a 0",
                    "-ERR source and destination objects are the same",
                ),
                ("MOVE a 16", "-ERR DB index is out of range"),
                ("MOVE a 1", "0"),
                ("SET a 1 EX 10", "+OK"),
                ("MOVE a 1", "1"),
                ("SET a 2", "+OK"),
                ("MOVE a 1", "0"),
            ],
        );
        fixture.database = 1;
        check(&mut fixture, &[("GET a", "\"1\""), ("TTL a", "10")]);
    }
}
