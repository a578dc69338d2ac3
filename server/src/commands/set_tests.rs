//! Set commands, reply by reply.

use std::collections::BTreeSet;

use bailiwick_frame::Protocol;

use crate::commands::testing::{Fixture, check, run};

const WRONG_TYPE: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value";

#[test]
fn members_are_added_looked_up_counted_and_removed() {
    check(
        &mut Fixture::default(),
        &[
            ("SADD s 3 1 2 1", "3"),
            ("SMEMBERS s", "[\"1\" \"2\" \"3\"]"),
            ("OBJECT ENCODING s", "\"intset\""),
            ("SADD s x 1", "1"),
            ("OBJECT ENCODING s", "\"listpack\""),
            ("SMEMBERS s", "[\"1\" \"2\" \"3\" \"x\"]"),
            ("SISMEMBER s 01", "0"),
            ("SISMEMBER s 1", "1"),
            ("SISMEMBER none 1", "0"),
            ("SMISMEMBER s 1 none x", "[1 0 1]"),
            ("SMISMEMBER none 1 2", "[0 0]"),
            ("SCARD s", "4"),
            ("SCARD none", "0"),
            ("SREM s 1 none x x", "2"),
            ("TYPE s", "+set"),
            ("SREM s 2 3", "2"),
            ("EXISTS s", "0"),
            ("SMEMBERS s", "[]"),
            ("SREM s 1", "0"),
        ],
    );
}

#[test]
fn a_member_moves_from_one_set_to_another() {
    check(
        &mut Fixture::default(),
        &[
            ("SADD a 1 2", "2"),
            ("SET w 1", "+OK"),
            ("SMOVE a b 1", "1"),
            ("SMOVE a b 1", "0"),
            ("SMOVE none w 1", "0"),
            ("SMOVE a w none", WRONG_TYPE),
            ("SMOVE w a 1", WRONG_TYPE),
            ("SMOVE a a 2", "1"),
            ("SMOVE a a 3", "0"),
            ("SMOVE a b 2", "1"),
            ("EXISTS a", "0"),
            ("SMEMBERS b", "[\"1\" \"2\"]"),
        ],
    );
}

#[test]
fn sets_are_intersected_united_and_subtracted() {
    check(
        &mut Fixture::default(),
        &[
            ("SADD a 1 2 3 x", "4"),
            ("SADD b 2 3 4", "3"),
            ("SADD c 3 x y", "3"),
            ("SET w 1", "+OK"),
            ("SINTER a b", "[\"2\" \"3\"]"),
            ("SINTER a b c", "[\"3\"]"),
            ("SINTER a none", "[]"),
            ("SINTER none w", WRONG_TYPE),
            ("SUNION a b", "[\"1\" \"2\" \"3\" \"x\" \"4\"]"),
            ("SUNION none none", "[]"),
            ("SDIFF a b c", "[\"1\"]"),
            ("SDIFF none a", "[]"),
            ("SDIFF a none", "[\"1\" \"2\" \"3\" \"x\"]"),
            ("SDIFF a none w", WRONG_TYPE),
            ("SINTERSTORE w a b", "2"),
            ("OBJECT ENCODING w", "\"intset\""),
            ("SUNIONSTORE w w c", "4"),
            ("SMEMBERS w", "[\"2\" \"3\" \"x\" \"y\"]"),
            ("SDIFFSTORE w w w", "0"),
            ("EXISTS w", "0"),
            ("SINTERSTORE a a none", "0"),
            ("EXISTS a", "0"),
        ],
    );
}

#[test]
fn common_members_are_counted_up_to_a_limit() {
    check(
        &mut Fixture::default(),
        &[
            ("SADD a 1 2 3", "3"),
            ("SADD b 2 3 4", "3"),
            ("SINTERCARD 2 a b", "2"),
            ("SINTERCARD 2 a b LIMIT 1", "1"),
            ("SINTERCARD 2 a b LIMIT 0", "2"),
            ("SINTERCARD 1 none", "0"),
            ("SINTERCARD 0 a", "-ERR numkeys should be greater than 0"),
            ("SINTERCARD x a", "-ERR numkeys should be greater than 0"),
            (
                "SINTERCARD 3 a b",
                "-ERR Number of keys can't be greater than number of args",
            ),
            ("SINTERCARD 1 a LIMIT -1", "-ERR LIMIT can't be negative"),
            ("SINTERCARD 1 a LIMIT x", "-ERR LIMIT can't be negative"),
            ("SINTERCARD 1 a LIMIT", "-ERR syntax error"),
            ("SINTERCARD 1 a b", "-ERR syntax error"),
        ],
    );
}

#[test]
fn popped_members_are_gone_and_were_there() {
    let mut fixture = Fixture::default();
    for number in 0..300 {
        run(&mut fixture, &format!("SADD s m{number}"));
    }
    let mut left: BTreeSet<String> = (0..300).map(|number| format!("m{number}")).collect();
    assert_eq!(run(&mut fixture, "OBJECT ENCODING s"), "\"hashtable\"");
    for line in ["SPOP s", "SPOP s 5", "SPOP s 280"] {
        let reply = run(&mut fixture, line);
        let members = reply.split(['[', ']', ' ', '"']);
        for member in members.filter(|word| !word.is_empty()) {
            assert!(left.remove(member), "{member}");
        }
    }
    assert_eq!(left.len(), 14);
    let counted = left.len().to_string();
    check(
        &mut fixture,
        &[
            ("SCARD s", &counted),
            // Little was left, so it was made a small set.
            ("OBJECT ENCODING s", "\"listpack\""),
            ("SPOP s 0", "[]"),
            ("SPOP s -1", "-ERR value is out of range, must be positive"),
            ("SPOP s x", "-ERR value is out of range, must be positive"),
            ("SPOP s 1 2", "-ERR syntax error"),
            ("SPOP none", "nil"),
            ("SPOP none 3", "[]"),
        ],
    );
    assert_eq!(run(&mut fixture, "SPOP s 100").split(' ').count(), 14);
    assert_eq!(run(&mut fixture, "EXISTS s"), "0");
}

#[test]
fn picked_members_differ_unless_they_may_repeat() {
    let mut fixture = Fixture::default();
    run(&mut fixture, "SADD s 1 2 3");
    check(
        &mut fixture,
        &[
            ("SRANDMEMBER s 5", "[\"1\" \"2\" \"3\"]"),
            ("SRANDMEMBER s 0", "[]"),
            ("SRANDMEMBER none", "nil"),
            ("SRANDMEMBER none 3", "[]"),
            (
                "SRANDMEMBER s x",
                "-ERR value is not an integer or out of range",
            ),
            ("SRANDMEMBER s 1 1", "-ERR syntax error"),
            ("SCARD s", "3"),
        ],
    );
    assert_eq!(
        run(&mut fixture, "SRANDMEMBER s -20").split(' ').count(),
        20
    );
    assert_eq!(run(&mut fixture, "SRANDMEMBER s 2").split(' ').count(), 2);
}

#[test]
fn resp3_has_sets() {
    let mut fixture = Fixture {
        protocol: Protocol::Resp3,
        ..Fixture::default()
    };
    check(
        &mut fixture,
        &[
            ("SADD s 1", "1"),
            ("SMEMBERS s", "~[\"1\"]"),
            ("SINTER s s", "~[\"1\"]"),
            ("SUNION none", "~[]"),
            ("SDIFF s none", "~[\"1\"]"),
            ("SRANDMEMBER s 3", "[\"1\"]"),
            ("SPOP none 2", "~[]"),
            ("SPOP s 2", "~[\"1\"]"),
        ],
    );
}

#[test]
fn other_types_are_refused() {
    let mut fixture = Fixture::default();
    run(&mut fixture, "HSET h a 1");
    for line in [
        "SADD h a",
        "SREM h a",
        "SMEMBERS h",
        "SISMEMBER h a",
        "SMISMEMBER h a",
        "SCARD h",
        "SPOP h",
        "SPOP h 1",
        "SRANDMEMBER h",
        "SRANDMEMBER h 1",
        "SSCAN h 0",
        "SINTERCARD 1 h",
        "SUNIONSTORE d h",
    ] {
        assert_eq!(run(&mut fixture, line), WRONG_TYPE, "{line}");
    }
}

#[test]
fn a_large_set_is_scanned_to_the_end() {
    let mut fixture = Fixture::default();
    let members: Vec<String> = (0..700).map(|number| number.to_string()).collect();
    run(&mut fixture, &format!("SADD s {}", members.join(" ")));
    assert_eq!(run(&mut fixture, "OBJECT ENCODING s"), "\"hashtable\"");
    let (mut cursor, mut seen) = ("0".to_owned(), BTreeSet::new());
    loop {
        let reply = run(&mut fixture, &format!("SSCAN s {cursor} COUNT 33"));
        let mut words = reply
            .split(['[', ']', ' ', '"'])
            .filter(|word| !word.is_empty());
        cursor = words.next().expect("a cursor").to_owned();
        for member in words {
            assert!(seen.insert(member.to_owned()), "{member} twice");
        }
        if cursor == "0" {
            break;
        }
    }
    assert_eq!(seen.len(), 700);
}
