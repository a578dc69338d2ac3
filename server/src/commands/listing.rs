//! What keys there are: KEYS, SCAN, RANDOMKEY, DBSIZE.
//!
//! SCAN's guarantee is that of [`Table::scan`](crate::keyspace::Table::scan): a key that is there
//! throughout is returned, and returned once. Expired keys that were not removed yet are passed
//! over, but DBSIZE counts them, as in Redis.

use bailiwick_frame::{Args, Encoder};

use super::glob::Glob;
use super::parse;
use super::{
    Category, Command, CommandError, DEFAULT, Flag, Group, Handler, Outcome, ReadContext, is_option,
};
use crate::keyspace::Entry;

/// How many keys SCAN looks at unless told.
const SCAN_COUNT: usize = 10;

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
        handler: Handler::Read(scan),
        ..DEFAULT
    },
    Command {
        name: "randomkey",
        arity: 1,
        flags: Flag::Readonly as u32,
        categories: KEYSPACE,
        summary: "Picks a key at random.",
        handler: Handler::Read(randomkey),
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
        ..DEFAULT
    },
];

fn keys(ctx: &ReadContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let glob = Glob::new(args.arg(1));
    let list = out.deferred_array();
    let mut found = 0;
    for entry in ctx.keyspace.table(ctx.database).iter() {
        if glob.matches(entry.key()) && !entry.is_expired(ctx.now_ms) {
            out.bulk(entry.key());
            found += 1;
        }
    }
    out.finish_array(list, found);
    Ok(())
}

fn scan(ctx: &ReadContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let cursor = parse_cursor(args.arg(1))?;
    let options = ScanOptions::parse(args)?;
    let mut found: Vec<&Entry> = Vec::new();
    let next = ctx
        .keyspace
        .table(ctx.database)
        .scan(cursor, options.count, |entry| {
            if options.wants(entry) && !entry.is_expired(ctx.now_ms) {
                found.push(entry);
            }
        });
    out.array(2);
    out.bulk_display(next);
    out.array(found.len());
    for entry in found {
        out.bulk(entry.key());
    }
    Ok(())
}

fn randomkey(ctx: &ReadContext<'_>, _: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let table = ctx.keyspace.table(ctx.database);
    let lives = |entry: &&Entry| !entry.is_expired(ctx.now_ms);
    let drawn = (0..RANDOM_TRIES)
        .map_while(|_| table.random(ctx.clock.random()))
        .find(lives)
        .or_else(|| table.iter().find(lives));
    match drawn {
        Some(entry) => out.bulk(entry.key()),
        None => out.null(),
    }
    Ok(())
}

fn dbsize(ctx: &ReadContext<'_>, _: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    out.integer(ctx.keyspace.table(ctx.database).len() as i64);
    Ok(())
}

struct ScanOptions<'a> {
    count: usize,
    pattern: Option<Glob<'a>>,
    type_name: Option<&'a [u8]>,
}

impl<'a> ScanOptions<'a> {
    fn parse(args: Args<'a>) -> Result<Self, CommandError> {
        let mut options = Self {
            count: SCAN_COUNT,
            pattern: None,
            type_name: None,
        };
        for index in (2..args.len()).step_by(2) {
            let value = args.get(index + 1).ok_or(CommandError::Syntax)?;
            if is_option(args, index, "count") {
                options.count = usize::try_from(parse::integer(value)?)
                    .ok()
                    .filter(|&count| count > 0)
                    .ok_or(CommandError::Syntax)?;
            } else if is_option(args, index, "match") {
                options.pattern = Some(Glob::new(value));
            } else if is_option(args, index, "type") {
                options.type_name = Some(value);
            } else {
                return Err(CommandError::Syntax);
            }
        }
        Ok(options)
    }

    fn wants(&self, entry: &Entry) -> bool {
        self.pattern.is_none_or(|glob| glob.matches(entry.key()))
            && self.type_name.is_none_or(|wanted| {
                entry
                    .value()
                    .type_name()
                    .as_bytes()
                    .eq_ignore_ascii_case(wanted)
            })
    }
}

/// A cursor as C's `strtoul` reads it, which is what Redis does: signs are taken, nothing at all is
/// zero, and what follows a zero byte is not looked at.
fn parse_cursor(arg: &[u8]) -> Result<u64, CommandError> {
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
    use std::collections::BTreeSet;

    use super::*;
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
