//! What the GET and SET family promises.

use super::testing::{Fixture, START_MS, check, run};
use crate::keyspace::Entry;

fn expiry_ms(fixture: &Fixture, key: &str) -> Option<i64> {
    fixture
        .keyspace
        .get(0, key.as_bytes(), fixture.now_ms)
        .and_then(Entry::expires_at_ms)
}

fn encoding(fixture: &Fixture, key: &str) -> &'static str {
    fixture
        .keyspace
        .get(0, key.as_bytes(), 0)
        .expect("there")
        .value()
        .encoding()
}

#[test]
fn set_heeds_its_condition() {
    check(
        &mut Fixture::default(),
        &[
            ("SET k a XX", "nil"),
            ("SET k a NX", "+OK"),
            ("SET k b NX", "nil"),
            ("SET k b nx GET", "\"a\""),
            ("SET k b XX GET", "\"a\""),
            ("SET absent b NX GET", "nil"),
            ("GET absent", "\"b\""),
            ("SETNX k c", "0"),
            ("SETNX new c", "1"),
            ("GETSET k 5", "\"b\""),
            ("GETDEL k", "\"5\""),
            ("GETDEL k", "nil"),
        ],
    );
}

#[test]
fn set_discards_an_expiry_unless_told_to_keep_it() {
    let mut fixture = Fixture::default();
    for (line, expected) in [
        ("SET k v EX 10", Some(START_MS + 10_000)),
        ("SET k v KEEPTTL", Some(START_MS + 10_000)),
        ("SET k v px 5", Some(START_MS + 5)),
        ("SET k v", None),
        ("SET k v EXAT 1900000000", Some(1_900_000_000_000)),
        ("SET k v PXAT 1900000000001", Some(1_900_000_000_001)),
        ("SET k v EX 10 EX 20", Some(START_MS + 20_000)),
        ("GETSET k v", None),
        ("SETEX k 3 v", Some(START_MS + 3000)),
        ("PSETEX k 3 v", Some(START_MS + 3)),
    ] {
        run(&mut fixture, line);
        assert_eq!(expiry_ms(&fixture, "k"), expected, "{line}");
    }
}

#[test]
fn an_expired_key_is_gone_with_its_expiry() {
    let mut fixture = Fixture::default();
    run(&mut fixture, "SET k v PX 5");
    fixture.now_ms += 5;
    assert_eq!(run(&mut fixture, "GET k"), "\"v\"");
    fixture.now_ms += 1;
    assert_eq!(run(&mut fixture, "GET k"), "nil");
    assert_eq!(run(&mut fixture, "SET k w XX"), "nil");
    assert_eq!(run(&mut fixture, "SET k w KEEPTTL"), "+OK");
    assert_eq!(expiry_ms(&fixture, "k"), None);
    assert_eq!(fixture.counters.expired.get(), 1);
}

#[test]
fn options_that_contradict_one_another_are_refused() {
    let mut fixture = Fixture::default();
    for options in [
        "NX XX",
        "EX",
        "EX 1 PX 1",
        "EX 1 KEEPTTL",
        "KEEPTTL PXAT 1",
        "PERSIST",
        "what",
        "\"\"",
        "EX 1 what",
        "GET EX",
    ] {
        let line = format!("SET k v {options}");
        assert_eq!(run(&mut fixture, &line), "-ERR syntax error", "{line}");
    }
    for options in ["NX", "GET", "KEEPTTL", "EX 1 PERSIST", "PERSIST PX 1", "EX"] {
        let line = format!("GETEX k {options}");
        assert_eq!(run(&mut fixture, &line), "-ERR syntax error", "{line}");
    }
    assert!(fixture.keyspace.is_empty());
}

#[test]
fn a_time_must_be_positive_and_within_range() {
    let mut fixture = Fixture::default();
    for (line, command) in [
        ("SET k v EX 0", "set"),
        ("SET k v PXAT -1", "set"),
        ("SET k v EX 9223372036854775807", "set"),
        ("SET k v PX 9223372036854775807", "set"),
        ("SETEX k 0 v", "setex"),
        ("PSETEX k -5 v", "psetex"),
    ] {
        let refusal = format!("-ERR invalid expire time in '{command}' command");
        assert_eq!(run(&mut fixture, line), refusal, "{line}");
    }
    let refusal = "-ERR value is not an integer or out of range";
    assert_eq!(run(&mut fixture, "SET k v EX 1.5"), refusal);
    assert!(fixture.keyspace.is_empty());
}

#[test]
fn getex_changes_only_the_expiry() {
    let mut fixture = Fixture::default();
    check(
        &mut fixture,
        &[
            ("GETEX absent EX x", "nil"),
            ("SET k v", "+OK"),
            (
                "GETEX k EX 0",
                "-ERR invalid expire time in 'getex' command",
            ),
            ("GETEX k EX 10", "\"v\""),
        ],
    );
    assert_eq!(expiry_ms(&fixture, "k"), Some(START_MS + 10_000));
    run(&mut fixture, "GETEX k");
    assert_eq!(expiry_ms(&fixture, "k"), Some(START_MS + 10_000));
    run(&mut fixture, "GETEX k PERSIST");
    assert_eq!(expiry_ms(&fixture, "k"), None);
    check(
        &mut fixture,
        &[("GETEX k PXAT 1", "\"v\""), ("GET k", "nil")],
    );
    assert!(fixture.keyspace.is_empty());
}

#[test]
fn only_integers_in_their_one_spelling_are_stored_as_such() {
    let mut fixture = Fixture::default();
    for (value, expected) in [
        ("12", "int"),
        ("-9223372036854775808", "int"),
        ("012", "embstr"),
        ("1.5", "embstr"),
        (&"x".repeat(45), "raw"),
    ] {
        run(&mut fixture, &format!("SET k {value}"));
        assert_eq!(encoding(&fixture, "k"), expected, "{value}");
        assert_eq!(run(&mut fixture, "GET k"), format!("\"{value}\""));
    }
}
