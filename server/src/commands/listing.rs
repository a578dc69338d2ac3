//! What keys there are: KEYS, SCAN, RANDOMKEY, DBSIZE.
//!
//! SCAN's guarantee is that of [`Keyspace::scan`](crate::keyspace::Keyspace::scan): a key that is
//! there throughout is returned, and returned once. Expired keys that were not removed yet are
//! passed over, but DBSIZE counts them, as in Redis.

use bailiwick_frame::{Args, Encoder};

use super::glob::Glob;
use super::scan::{self, ScanOptions, Walk, parse_cursor};
use super::{Category, Command, DEFAULT, Flag, Group, Handler, Outcome, ReadContext, Spread};
use crate::keyspace::Entry;

/// How often RANDOMKEY draws again when it drew an expired key, before it takes the first that is
/// not. Where most keys live, already the second draw is rare.
const RANDOM_TRIES: usize = 100;

const KEYSPACE: u32 = Category::Keyspace as u32;

pub(super) static COMMANDS: &[Command] = &[
    Command {
        name: "keys",
        arity: 2,
        flags: Flag::Readonly as u32,
        categories: KEYSPACE | Category::Dangerous as u32,
        complexity: "O(N) where N is the number of keys in the database",
        summary: "Lists all keys that match a pattern.",
        syntax: "pattern",
        handler: Handler::Read(keys),
        spread: Spread::Keys,
        ..DEFAULT
    },
    Command {
        name: "scan",
        arity: -2,
        flags: Flag::Readonly as u32,
        categories: KEYSPACE,
        since: "2.8.0",
        complexity: "O(1) for a call, O(N) for a whole iteration over N keys",
        summary: "Lists the keys a few at a time, from a cursor to the next.",
        syntax: "cursor [MATCH pattern] [COUNT count] [TYPE type]",
        handler: Handler::Read(scan_keys),
        spread: Spread::Scan,
        ..DEFAULT
    },
    Command {
        name: "randomkey",
        arity: 1,
        flags: Flag::Readonly as u32,
        categories: KEYSPACE,
        summary: "Picks a key at random.",
        handler: Handler::Read(randomkey),
        spread: Spread::Random,
        ..DEFAULT
    },
    Command {
        name: "dbsize",
        arity: 1,
        flags: Flag::Readonly as u32 | Flag::Fast as u32,
        categories: KEYSPACE,
        group: Group::Server,
        summary: "Counts the keys of the database.",
        handler: Handler::Read(dbsize),
        spread: Spread::Count,
        ..DEFAULT
    },
];

fn keys(ctx: &ReadContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let glob = Glob::new(args.arg(1));
    let list = out.deferred_array();
    let mut found = 0;
    for entry in ctx.keyspace.iter(ctx.database) {
        if glob.matches(entry.key()) && !entry.is_expired(ctx.now_ms) {
            out.bulk(entry.key());
            found += 1;
        }
    }
    out.finish_array(list, found);
    Ok(())
}

fn scan_keys(ctx: &ReadContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let cursor = parse_cursor(args.arg(1))?;
    let options = ScanOptions::parse(args, 2, Walk::Keys)?;
    let mut found: Vec<&Entry> = Vec::new();
    let visit = |entry| {
        if options.wants(entry) && !entry.is_expired(ctx.now_ms) {
            found.push(entry);
        }
    };
    let (database, count) = (ctx.database, options.count);
    let next = ctx.keyspace.scan(database, cursor, count, b"", visit);
    scan::write_head(next, found.len(), out);
    for entry in found {
        out.bulk(entry.key());
    }
    Ok(())
}

/// Picks a key that has not expired.
pub(super) fn randomkey(ctx: &ReadContext<'_>, _: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let sampler = ctx.keyspace.sampler(ctx.database);
    let lives = |entry: &&Entry| !entry.is_expired(ctx.now_ms);
    let drawn = (0..RANDOM_TRIES)
        .map_while(|_| sampler.random(ctx.random()))
        .find(lives)
        .or_else(|| ctx.keyspace.iter(ctx.database).find(lives));
    match drawn {
        Some(entry) => out.bulk(entry.key()),
        None => out.null(),
    }
    Ok(())
}

fn dbsize(ctx: &ReadContext<'_>, _: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    out.integer(ctx.keyspace.len_of(ctx.database) as i64);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use crate::commands::testing::{Fixture, check, run};

    #[test]
    fn patterns_and_types_narrow_a_listing() {
        check(
            &mut Fixture::default(),
            &[
                ("SCAN 0", "[\"0\" []]"),
                ("MSET ab 1 xy 2", "+OK"),
                ("KEYS a*", "[\"ab\"]"),
                ("KEYS nope", "[]"),
                ("SCAN 0 MATCH x? COUNT 100", "[\"0\" [\"xy\"]]"),
                ("SCAN 0 TYPE STRING MATCH ab", "[\"0\" [\"ab\"]]"),
                ("SCAN 0 TYPE nope", "[\"0\" []]"),
                ("SCAN 18446744073709551615", "[\"0\" []]"),
                ("DBSIZE", "2"),
            ],
        );
    }

    #[test]
    fn bad_options_of_scan_are_refused() {
        check(
            &mut Fixture::default(),
            &[
                ("SCAN x FOO", "-ERR invalid cursor"),
                ("SCAN 0 COUNT 0", "-ERR syntax error"),
                ("SCAN 0 COUNT -1", "-ERR syntax error"),
                (
                    "SCAN 0 COUNT x",
                    "-ERR value is not an integer or out of range",
                ),
                ("SCAN 0 COUNT", "-ERR syntax error"),
                ("SCAN 0 FOO x", "-ERR syntax error"),
            ],
        );
    }

    #[test]
    fn a_whole_scan_returns_every_living_key_once() {
        let mut fixture = Fixture::default();
        for i in 0..1000 {
            run(
                &mut fixture,
                &format!("SET key:{i} x{}", if i % 2 == 0 { " PX 5" } else { "" }),
            );
        }
        fixture.now_ms += 6;
        let (mut seen, mut cursor) = (BTreeSet::new(), "0".to_owned());
        loop {
            let reply = run(&mut fixture, &format!("SCAN {cursor} COUNT 7"));
            let mut words = reply
                .split(['[', ']', ' ', '"'])
                .filter(|word| !word.is_empty());
            cursor = words.next().expect("a cursor").to_owned();
            for key in words {
                assert!(seen.insert(key.to_owned()), "{key} twice");
            }
            if cursor == "0" {
                break;
            }
        }
        assert_eq!(seen.len(), 500);
        assert_eq!(run(&mut fixture, "DBSIZE"), "1000");
        assert_eq!(run(&mut fixture, "KEYS *").split(' ').count(), 500);
    }

    #[test]
    fn a_random_key_is_a_living_one() {
        let mut fixture = Fixture::default();
        check(&mut fixture, &[("RANDOMKEY", "nil")]);
        for i in 0..300 {
            run(&mut fixture, &format!("SET dead:{i} x PX 5"));
        }
        check(&mut fixture, &[("SET alive 1", "+OK")]);
        fixture.now_ms += 6;
        check(
            &mut fixture,
            &[
                ("RANDOMKEY", "\"alive\""),
                ("DEL alive", "1"),
                ("RANDOMKEY", "nil"),
            ],
        );
    }
}
