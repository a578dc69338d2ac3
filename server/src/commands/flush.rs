//! Whole databases: emptying and exchanging them.
//!
//! Emptying a database costs the same whatever it holds: the keyspace puts the old table aside, and
//! somebody who has time drops it. So ASYNC and SYNC differ in name only.

use bailiwick_frame::{Args, Encoder};

use super::parse;
use super::touch::What;
use super::{
    Category, Command, CommandError, DEFAULT, Flag, Group, Handler, Outcome, Spread, WriteContext,
    is_option,
};

const CATEGORIES: u32 = Category::Keyspace as u32 | Category::Dangerous as u32;

pub(super) static COMMANDS: &[Command] = &[
    Command {
        name: "flushdb",
        arity: -1,
        flags: Flag::Write as u32,
        categories: CATEGORIES,
        group: Group::Server,
        summary: "Removes all keys of the database.",
        syntax: "[ASYNC | SYNC]",
        handler: Handler::Write(flushdb),
        spread: Spread::Flush,
        ..DEFAULT
    },
    Command {
        name: "flushall",
        arity: -1,
        flags: Flag::Write as u32,
        categories: CATEGORIES,
        group: Group::Server,
        summary: "Removes all keys of all databases.",
        syntax: "[ASYNC | SYNC]",
        handler: Handler::Write(flushall),
        spread: Spread::Flush,
        ..DEFAULT
    },
    Command {
        name: "swapdb",
        arity: 3,
        flags: Flag::Write as u32 | Flag::Fast as u32,
        categories: CATEGORIES,
        group: Group::Server,
        since: "4.0.0",
        summary: "Exchanges two databases for all clients.",
        syntax: "index1 index2",
        handler: Handler::Write(swapdb),
        ..DEFAULT
    },
];

fn flushdb(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    check_flush_options(args)?;
    clear(ctx, ctx.database);
    out.ok();
    Ok(())
}

fn flushall(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    check_flush_options(args)?;
    for database in 0..ctx.keyspace.databases() {
        clear(ctx, database);
    }
    out.ok();
    Ok(())
}

fn swapdb(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let number = |index, error| parse::int32(args.arg(index)).map_err(|_| error);
    let first = number(1, CommandError::text("ERR invalid first DB index"))?;
    let second = number(2, CommandError::text("ERR invalid second DB index"))?;
    let in_range = |number| {
        usize::try_from(number)
            .ok()
            .filter(|&number| number < ctx.keyspace.databases())
            .ok_or(CommandError::DatabaseOutOfRange)
    };
    let (first, second) = (in_range(first)?, in_range(second)?);
    if first != second {
        ctx.note(first, b"", What::Cleared);
        ctx.keyspace.swap(first, second);
    }
    ctx.note_changes(1);
    out.ok();
    Ok(())
}

fn check_flush_options(args: Args<'_>) -> Outcome {
    match args.len() {
        1 => Ok(()),
        2 if is_option(args, 1, "async") || is_option(args, 1, "sync") => Ok(()),
        _ => Err(CommandError::Syntax),
    }
}

/// Empties a database.
pub(super) fn clear(ctx: &mut WriteContext<'_>, database: usize) {
    ctx.note(database, b"", What::Cleared);
    let keys = ctx.keyspace.len_of(database);
    if keys > 0 {
        ctx.keyspace.clear(database);
        ctx.note_changes(keys as u64);
    }
}

#[cfg(test)]
mod tests {
    use crate::commands::testing::{Fixture, check};

    #[test]
    fn flushing_empties_one_database_or_all() {
        let mut fixture = Fixture::default();
        for database in [0, 1] {
            fixture.database = database;
            check(&mut fixture, &[("MSET a 1 b 2", "+OK")]);
        }
        check(
            &mut fixture,
            &[
                ("FLUSHDB ASYNC SYNC", "-ERR syntax error"),
                ("FLUSHALL now", "-ERR syntax error"),
                ("DBSIZE", "2"),
                ("FLUSHDB async", "+OK"),
                ("DBSIZE", "0"),
            ],
        );
        assert_eq!(fixture.keyspace.len(), 2);
        check(
            &mut fixture,
            &[("FLUSHALL", "+OK"), ("FLUSHALL SYNC", "+OK")],
        );
        assert!(fixture.keyspace.is_empty());
        assert_eq!(fixture.counters.changes.get(), 8);
    }

    #[test]
    fn swapped_databases_keep_their_keys_and_are_seen_by_watch() {
        let mut fixture = Fixture::default();
        let watched = |fixture: &Fixture| {
            [(0, b"a"), (0, b"b"), (1, b"a")]
                .map(|(database, key)| fixture.keyspace.watch_state(database, key, fixture.now_ms))
        };
        check(&mut fixture, &[("SET a 1", "+OK")]);
        let before = watched(&fixture);
        check(&mut fixture, &[("SWAPDB 0 1", "+OK"), ("GET a", "nil")]);
        let after = watched(&fixture);
        assert!(
            before
                .iter()
                .zip(&after)
                .all(|(before, after)| before != after)
        );
        fixture.database = 1;
        check(&mut fixture, &[("GET a", "\"1\"")]);
    }

    #[test]
    fn bad_database_numbers_are_refused_in_order() {
        check(
            &mut Fixture::default(),
            &[
                ("SWAPDB x y", "-ERR invalid first DB index"),
                ("SWAPDB 99 y", "-ERR invalid second DB index"),
                ("SWAPDB 0 99999999999", "-ERR invalid second DB index"),
                ("SWAPDB 0 99", "-ERR DB index is out of range"),
                ("SWAPDB -1 0", "-ERR DB index is out of range"),
                ("SWAPDB 1 1", "+OK"),
            ],
        );
    }
}
