//! Hash commands, reply by reply.

use bailiwick_frame::Protocol;

use crate::commands::testing::{Fixture, check, run};

const WRONG_TYPE: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value";

#[test]
fn fields_are_set_read_counted_and_removed() {
    check(
        &mut Fixture::default(),
        &[
            ("HSET h a 1 b 22 a 3", "2"),
            ("HGET h a", "\"3\""),
            ("HGET h none", "nil"),
            ("HGET none a", "nil"),
            ("HMGET h b none a", "[\"22\" nil \"3\"]"),
            ("HMGET none a b", "[nil nil]"),
            ("HLEN h", "2"),
            ("HLEN none", "0"),
            ("HSTRLEN h b", "2"),
            ("HSTRLEN h none", "0"),
            ("HEXISTS h b", "1"),
            ("HEXISTS h none", "0"),
            ("HSETNX h a 9", "0"),
            ("HSETNX h c 9", "1"),
            ("HMSET h d 1", "+OK"),
            (
                "HGETALL h",
                "[\"a\" \"3\" \"b\" \"22\" \"c\" \"9\" \"d\" \"1\"]",
            ),
            ("HKEYS h", "[\"a\" \"b\" \"c\" \"d\"]"),
            ("HVALS h", "[\"3\" \"22\" \"9\" \"1\"]"),
            ("HGETALL none", "[]"),
            ("HDEL h a a none", "1"),
            ("TYPE h", "+hash"),
            ("OBJECT ENCODING h", "\"listpack\""),
            ("HDEL h b c d", "3"),
            ("EXISTS h", "0"),
            ("HDEL h b", "0"),
        ],
    );
}

#[test]
fn wrong_types_and_odd_arguments_are_refused_before_anything_happens() {
    let mut fixture = Fixture::default();
    run(&mut fixture, "SET s 1");
    run(&mut fixture, "HSET h f v");
    for line in [
        "HSET s a 1",
        "HMSET s a 1",
        "HSETNX s a 1",
        "HGET s a",
        "HMGET s a",
        "HGETALL s",
        "HKEYS s",
        "HVALS s",
        "HLEN s",
        "HSTRLEN s a",
        "HEXISTS s a",
        "HDEL s a",
        "HINCRBY s a 1",
        "HINCRBYFLOAT s a 1",
        "HRANDFIELD s",
        "HRANDFIELD s 1",
        "HSCAN s 0",
        "GET h",
        "APPEND h x",
        "INCR h",
        "SETRANGE h 0 x",
        "GETDEL h",
        "BITCOUNT h",
    ] {
        assert_eq!(run(&mut fixture, line), WRONG_TYPE, "{line}");
    }
    let arity = |name| format!("-ERR wrong number of arguments for '{name}' command");
    check(
        &mut fixture,
        &[
            ("HSET h a 1 b", &arity("hset")),
            ("HMSET h a 1 b", &arity("hmset")),
            ("HSET s a 1 b", &arity("hset")),
            ("MGET h s", "[nil \"1\"]"),
            ("HSCAN h x", "-ERR invalid cursor"),
            ("HSCAN h 0 TYPE hash", "-ERR syntax error"),
            ("HSCAN none 0 NONSENSE", "[\"0\" []]"),
            ("HLEN h", "1"),
        ],
    );
}

#[test]
fn resp3_has_maps_for_hashes() {
    let mut fixture = Fixture {
        protocol: Protocol::Resp3,
        ..Fixture::default()
    };
    check(
        &mut fixture,
        &[
            ("HGETALL h", "{}"),
            ("HSET h a 1", "1"),
            ("HGETALL h", "{\"a\" \"1\"}"),
            ("HKEYS h", "[\"a\"]"),
            ("HRANDFIELD h 5 WITHVALUES", "[[\"a\" \"1\"]]"),
            ("HRANDFIELD h -2", "[\"a\" \"a\"]"),
            ("HRANDFIELD none", "nil"),
        ],
    );
}

#[test]
fn a_hash_that_grows_keeps_its_fields_and_is_scanned_to_the_end() {
    let mut fixture = Fixture::default();
    for number in 0..600 {
        run(&mut fixture, &format!("HSET h f{number} v{number}"));
    }
    assert_eq!(run(&mut fixture, "OBJECT ENCODING h"), "\"hashtable\"");
    assert_eq!(run(&mut fixture, "HGET h f599"), "\"v599\"");
    let (mut cursor, mut seen) = ("0".to_owned(), std::collections::BTreeSet::new());
    loop {
        let reply = run(&mut fixture, &format!("HSCAN h {cursor} COUNT 50 MATCH f*"));
        let mut words = reply
            .split(['[', ']', ' ', '"'])
            .filter(|word| !word.is_empty());
        cursor = words.next().expect("a cursor").to_owned();
        while let (Some(field), Some(value)) = (words.next(), words.next()) {
            assert_eq!(field[1..], value[1..]);
            assert!(seen.insert(field.to_owned()), "{field} twice");
        }
        if cursor == "0" {
            break;
        }
    }
    assert_eq!(seen.len(), 600);
    let chosen = run(&mut fixture, "HRANDFIELD h 5");
    assert_eq!(chosen.split(' ').count(), 5);
    assert_eq!(
        run(&mut fixture, "HRANDFIELD h 1000").split(' ').count(),
        600
    );
    run(&mut fixture, &format!("HSET long {} 1", "x".repeat(65)));
    assert_eq!(run(&mut fixture, "OBJECT ENCODING long"), "\"hashtable\"");
}

#[test]
fn watch_does_not_notice_what_changes_nothing() {
    let mut fixture = Fixture::default();
    run(&mut fixture, "HSET h a 1");
    let state = |fixture: &Fixture| fixture.keyspace.watch_state(0, b"h", fixture.now_ms);
    let before = state(&fixture);
    for line in ["HDEL h none", "HSETNX h a 2", "HINCRBY h a x", "HGET h a"] {
        run(&mut fixture, line);
        assert_eq!(state(&fixture), before, "{line}");
    }
    run(&mut fixture, "HSET h a 1");
    assert_ne!(state(&fixture), before);
}

#[test]
fn an_edited_hash_keeps_its_expiry_and_a_copy_its_own_content() {
    let mut fixture = Fixture::default();
    check(
        &mut fixture,
        &[
            ("HSET h a 1", "1"),
            ("EXPIRE h 100", "1"),
            ("COPY h c", "1"),
            ("HSET h b 2", "1"),
            ("TTL h", "100"),
            ("HGETALL c", "[\"a\" \"1\"]"),
            ("RENAME c d", "+OK"),
            ("HGET d a", "\"1\""),
        ],
    );
    fixture.now_ms += 100_001;
    check(
        &mut fixture,
        &[("HSET h z 1", "1"), ("TTL h", "-1"), ("HLEN h", "1")],
    );
}
