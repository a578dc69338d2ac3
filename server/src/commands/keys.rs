//! Keys as such: whether they are there, what type they have, and removing them.
//!
//! None of these looks at a value, so none can meet the wrong type; with the right number of
//! arguments they cannot fail.

use bailiwick_frame::{Args, Encoder};

use super::{
    Category, Command, DEFAULT, Flag, Handler, Idle, Keys, Nothing, Outcome, ReadContext, Spread,
    WriteContext,
};

const READ_FAST: u32 = Flag::Readonly as u32 | Flag::Fast as u32;
const KEYSPACE: u32 = Category::Keyspace as u32;

pub(super) static COMMANDS: &[Command] = &[
    Command {
        name: "del",
        arity: -2,
        flags: Flag::Write as u32,
        categories: KEYSPACE,
        keys: Keys::ALL,
        complexity: "O(N) where N is the number of keys",
        summary: "Removes keys and counts those that were there.",
        syntax: "key [key ...]",
        handler: Handler::Write(del),
        spread: Spread::Sum,
        idle: Idle::if_absent(Nothing::Zero),
        ..DEFAULT
    },
    Command {
        name: "unlink",
        arity: -2,
        flags: Flag::Write as u32 | Flag::Fast as u32,
        categories: KEYSPACE,
        keys: Keys::ALL,
        since: "4.0.0",
        complexity: "O(N) where N is the number of keys",
        summary: "Removes keys like DEL, for clients that fear the cost of a large value.",
        syntax: "key [key ...]",
        handler: Handler::Write(del),
        spread: Spread::Sum,
        idle: Idle::if_absent(Nothing::Zero),
        ..DEFAULT
    },
    Command {
        name: "exists",
        arity: -2,
        flags: READ_FAST,
        categories: KEYSPACE,
        keys: Keys::ALL,
        complexity: "O(N) where N is the number of keys",
        summary: "Counts which of the keys exist, a key named twice counting twice.",
        syntax: "key [key ...]",
        handler: Handler::Read(exists),
        spread: Spread::Sum,
        ..DEFAULT
    },
    Command {
        name: "touch",
        arity: -2,
        flags: READ_FAST,
        categories: KEYSPACE,
        keys: Keys::ALL,
        since: "3.2.1",
        complexity: "O(N) where N is the number of keys",
        summary: "Marks keys as just accessed and counts those that exist.",
        syntax: "key [key ...]",
        handler: Handler::Read(touch),
        spread: Spread::Sum,
        ..DEFAULT
    },
    Command {
        name: "type",
        arity: 2,
        flags: READ_FAST,
        categories: KEYSPACE,
        keys: Keys::FIRST,
        summary: "Names the type of a key's value.",
        syntax: "key",
        handler: Handler::Read(type_of),
        ..DEFAULT
    },
];

fn del(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let removed = args.iter().skip(1).filter(|key| ctx.remove(key)).count();
    out.integer(removed as i64);
    Ok(())
}

fn exists(ctx: &ReadContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let found = args
        .iter()
        .skip(1)
        .filter(|key| ctx.look(key).is_some())
        .count();
    out.integer(found as i64);
    Ok(())
}

fn touch(ctx: &ReadContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let found = args
        .iter()
        .skip(1)
        .filter(|key| ctx.get(key).is_some())
        .count();
    out.integer(found as i64);
    Ok(())
}

fn type_of(ctx: &ReadContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    out.simple(
        ctx.look(args.arg(1))
            .map_or("none", |entry| entry.value().type_name()),
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::commands::testing::{Fixture, check, run};

    #[test]
    fn removing_counts_what_was_there_once() {
        check(
            &mut Fixture::default(),
            &[
                ("MSET a 1 b 2", "+OK"),
                ("EXISTS a b a c", "3"),
                ("TOUCH a c", "1"),
                ("TYPE a", "+string"),
                ("TYPE c", "+none"),
                ("DEL a a c", "1"),
                ("UNLINK b", "1"),
                ("EXISTS a b", "0"),
                ("DEL", "-ERR wrong number of arguments for 'del' command"),
            ],
        );
    }

    #[test]
    fn an_expired_key_is_neither_seen_nor_counted_when_removed() {
        let mut fixture = Fixture::default();
        run(&mut fixture, "SET a 1 PX 10");
        fixture.now_ms += 11;
        let script = [
            ("EXISTS a", "0"),
            ("TYPE a", "+none"),
            ("TOUCH a", "0"),
            ("DEL a", "0"),
        ];
        check(&mut fixture, &script);
        assert!(fixture.keyspace.is_empty());
        assert_eq!(fixture.counters.expired.get(), 1);
    }
}
