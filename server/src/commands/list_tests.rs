//! What the commands of lists promise.

use super::testing::{Fixture, check, run};

const OUT_OF_RANGE: &str = "-ERR value is out of range, must be positive";
const BETWEEN: &str = "-ERR value is out of range, value must between -9223372036854775807 and \
                       9223372036854775807";
const WRONGTYPE: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value";
const SYNTAX: &str = "-ERR syntax error";
const NO_INTEGER: &str = "-ERR value is not an integer or out of range";

#[test]
fn ends_are_pushed_and_popped() {
    check(
        &mut Fixture::default(),
        &[
            ("LPUSHX l a", "0"),
            ("RPUSHX l a", "0"),
            ("EXISTS l", "0"),
            ("LPUSH l a 2 c", "3"),
            ("RPUSH l 07 -8", "5"),
            ("LPUSHX l x y", "7"),
            ("RPUSHX l \"\"", "8"),
            ("LLEN l", "8"),
            ("TYPE l", "+list"),
            ("OBJECT ENCODING l", "\"listpack\""),
            ("LRANGE l 0 -1", r#"["y" "x" "c" "2" "a" "07" "-8" ""]"#),
            ("LPOP l", "\"y\""),
            ("RPOP l", "\"\""),
            ("LPOP l 2", r#"["x" "c"]"#),
            ("RPOP l 2", r#"["-8" "07"]"#),
            ("RPOP l 0", "[]"),
            ("RPOP l 9", r#"["a" "2"]"#),
            ("EXISTS l", "0"),
            ("LPOP l", "nil"),
            ("LPOP l 3", "nil"),
            ("LLEN l", "0"),
            ("LPOP l -1", OUT_OF_RANGE),
            ("LPOP l x", OUT_OF_RANGE),
            (
                "LPOP l 1 2",
                "-ERR wrong number of arguments for 'lpop' command",
            ),
        ],
    );
}

#[test]
fn indexes_count_from_both_ends() {
    check(
        &mut Fixture::default(),
        &[
            ("RPUSH l a b c d", "4"),
            ("LINDEX l 0", "\"a\""),
            ("LINDEX l -1", "\"d\""),
            ("LINDEX l 4", "nil"),
            ("LINDEX l -5", "nil"),
            ("LINDEX l -9223372036854775808", "nil"),
            ("LINDEX l x", NO_INTEGER),
            ("LINDEX absent x", "nil"),
            ("LRANGE l 1 2", r#"["b" "c"]"#),
            ("LRANGE l -3 -2", r#"["b" "c"]"#),
            ("LRANGE l -100 100", r#"["a" "b" "c" "d"]"#),
            ("LRANGE l 3 1", "[]"),
            ("LRANGE l 4 9", "[]"),
            ("LRANGE l 0 -5", "[]"),
            ("LRANGE absent 0 -1", "[]"),
            ("LRANGE absent x y", NO_INTEGER),
            ("LSET l 1 B", "+OK"),
            ("LSET l -1 D", "+OK"),
            ("LSET l 4 x", "-ERR index out of range"),
            ("LSET l x x", NO_INTEGER),
            ("LSET absent x x", "-ERR no such key"),
            ("LTRIM l 1 -1", "+OK"),
            ("LRANGE l 0 -1", r#"["B" "c" "D"]"#),
            ("LTRIM l 0 1", "+OK"),
            ("LRANGE l 0 -1", r#"["B" "c"]"#),
            ("LTRIM absent 0 1", "+OK"),
            ("LTRIM l 5 9", "+OK"),
            ("EXISTS l", "0"),
        ],
    );
}

#[test]
fn elements_are_found_by_value() {
    check(
        &mut Fixture::default(),
        &[
            ("RPUSH l a b 1 b c b", "6"),
            ("LINSERT l BEFORE b x", "7"),
            ("LINSERT l after 1 y", "8"),
            ("LINSERT l AFTER absent z", "-1"),
            ("LINSERT absent AFTER b z", "0"),
            ("LINSERT l BESIDE b z", SYNTAX),
            ("LRANGE l 0 -1", r#"["a" "x" "b" "1" "y" "b" "c" "b"]"#),
            ("LPOS l b", "2"),
            ("LPOS l b RANK 2", "5"),
            ("LPOS l b RANK -1", "7"),
            ("LPOS l b COUNT 0", "[2 5 7]"),
            ("LPOS l b COUNT 2 RANK 2", "[5 7]"),
            ("LPOS l b COUNT 0 RANK -2", "[5 2]"),
            ("LPOS l b COUNT 0 MAXLEN 6", "[2 5]"),
            ("LPOS l b RANK -1 MAXLEN 1", "7"),
            ("LPOS l a RANK -1 MAXLEN 7", "nil"),
            ("LPOS l b RANK 4", "nil"),
            ("LPOS l absent COUNT 1", "[]"),
            ("LPOS absent b", "nil"),
            ("LPOS absent b COUNT 1", "[]"),
            (
                "LPOS l b RANK 0",
                "-ERR RANK can't be zero: use 1 to start from the first match, 2 from the second \
                 ... or use negative to start from the end of the list",
            ),
            ("LPOS l b RANK -9223372036854775808", BETWEEN),
            ("LPOS l b COUNT -1", "-ERR COUNT can't be negative"),
            ("LPOS l b MAXLEN x", "-ERR MAXLEN can't be negative"),
            ("LPOS l b MAXLEN", SYNTAX),
            ("LREM l 1 b", "1"),
            ("LREM l -1 b", "1"),
            ("LRANGE l 0 -1", r#"["a" "x" "1" "y" "b" "c"]"#),
            ("LREM l 0 absent", "0"),
            ("LREM l x b", NO_INTEGER),
            ("LREM absent 0 b", "0"),
            ("RPUSH m 5 5 5", "3"),
            ("LREM m -9223372036854775808 5", "3"),
            ("EXISTS m", "0"),
        ],
    );
}

#[test]
fn elements_go_from_list_to_list() {
    check(
        &mut Fixture::default(),
        &[
            ("LMOVE a b LEFT RIGHT", "nil"),
            ("RPUSH a 1 2 3", "3"),
            ("LMOVE a b left RIGHT", "\"1\""),
            ("LMOVE a b RIGHT RIGHT", "\"3\""),
            ("RPOPLPUSH a b", "\"2\""),
            ("EXISTS a", "0"),
            ("LRANGE b 0 -1", r#"["2" "1" "3"]"#),
            ("RPOPLPUSH b b", "\"3\""),
            ("LMOVE b b LEFT LEFT", "\"3\""),
            ("LRANGE b 0 -1", r#"["3" "2" "1"]"#),
            ("RPUSH one x", "1"),
            ("LMOVE one one LEFT RIGHT", "\"x\""),
            ("LLEN one", "1"),
            ("LMOVE a b UP DOWN", SYNTAX),
            ("SET s v", "+OK"),
            ("LMOVE absent s LEFT LEFT", "nil"),
            ("LMOVE b s LEFT LEFT", WRONGTYPE),
            ("LMOVE s b LEFT LEFT", WRONGTYPE),
            ("LLEN b", "3"),
        ],
    );
}

#[test]
fn the_first_list_of_several_is_popped() {
    check(
        &mut Fixture::default(),
        &[
            ("LMPOP 2 a b LEFT", "nil"),
            ("RPUSH b 1 2 3 4", "4"),
            ("RPUSH c 5", "1"),
            ("LMPOP 3 a b c LEFT", r#"["b" ["1"]]"#),
            ("LMPOP 3 a b c RIGHT COUNT 2", r#"["b" ["4" "3"]]"#),
            ("LMPOP 3 a b c RIGHT count 9", r#"["b" ["2"]]"#),
            ("LMPOP 3 a b c RIGHT", r#"["c" ["5"]]"#),
            ("EXISTS b c", "0"),
            ("LMPOP 0 a LEFT", "-ERR numkeys should be greater than 0"),
            ("LMPOP x a LEFT", "-ERR numkeys should be greater than 0"),
            ("LMPOP 2 a LEFT", SYNTAX),
            ("LMPOP 1 a b LEFT", SYNTAX),
            ("LMPOP 1 a LEFT COUNT", SYNTAX),
            (
                "LMPOP 1 a LEFT COUNT 0",
                "-ERR count should be greater than 0",
            ),
            ("LMPOP 1 a LEFT COUNT 1 COUNT 1", SYNTAX),
            ("SET s v", "+OK"),
            ("LMPOP 2 a s LEFT", WRONGTYPE),
        ],
    );
}

#[test]
fn other_types_are_refused_and_left_alone() {
    let mut fixture = Fixture::default();
    run(&mut fixture, "SET s v");
    for line in [
        "LPUSH s a",
        "RPUSHX s a",
        "LPOP s",
        "RPOP s 1",
        "LLEN s",
        "LRANGE s 0 1",
        "LINDEX s x",
        "LSET s x a",
        "LINSERT s BEFORE a b",
        "LREM s 0 a",
        "LTRIM s 0 1",
        "LPOS s a",
    ] {
        assert_eq!(run(&mut fixture, line), WRONGTYPE, "{line}");
    }
    run(&mut fixture, "RPUSH l a");
    for line in ["GET l", "APPEND l x", "INCR l"] {
        assert_eq!(run(&mut fixture, line), WRONGTYPE, "{line}");
    }
    assert_eq!(run(&mut fixture, "SET l v"), "+OK");
}

#[test]
fn only_what_changes_a_list_disturbs_who_watches_it() {
    let mut fixture = Fixture::default();
    run(&mut fixture, "RPUSH l a b c");
    let state = |fixture: &Fixture| fixture.keyspace.watch_state(0, b"l", fixture.now_ms);
    for (line, disturbs) in [
        ("LPUSH l a", true),
        ("LPOP l 0", false),
        ("LPOP l", true),
        ("LSET l 0 a", true),
        ("LSET l 9 a", false),
        ("LINSERT l BEFORE absent x", false),
        ("LREM l 0 absent", false),
        ("LREM l 0 c", true),
        // Redis takes this for a change, too.
        ("LTRIM l 0 -1", true),
        ("LMOVE l l LEFT LEFT", true),
        ("LRANGE l 0 -1", false),
    ] {
        let before = state(&fixture);
        run(&mut fixture, line);
        assert_eq!(state(&fixture) != before, disturbs, "{line}");
    }
}

#[test]
fn the_encoding_follows_the_size() {
    let mut fixture = Fixture::default();
    let encoding = |fixture: &mut Fixture| run(fixture, "OBJECT ENCODING l");
    let (big, huge) = ("x".repeat(1000), "y".repeat(8186));
    for _ in 0..8 {
        run(&mut fixture, &format!("RPUSH l {big}"));
    }
    assert_eq!(encoding(&mut fixture), "\"listpack\"");
    // Even what fails for want of an index or a pivot makes room.
    run(&mut fixture, &format!("LSET l 100 {big}"));
    assert_eq!(encoding(&mut fixture), "\"quicklist\"");
    run(&mut fixture, "LPOP l 3");
    assert_eq!(encoding(&mut fixture), "\"quicklist\"");
    run(&mut fixture, "LPOP l");
    assert_eq!(encoding(&mut fixture), "\"listpack\"");
    run(&mut fixture, &format!("LINSERT l AFTER absent {huge}"));
    assert_eq!(encoding(&mut fixture), "\"quicklist\"");
    run(&mut fixture, "COPY l copy");
    assert_eq!(run(&mut fixture, "OBJECT ENCODING copy"), "\"quicklist\"");
    assert_eq!(run(&mut fixture, &format!("LREM l 1 {big}")), "1");
    assert_eq!(encoding(&mut fixture), "\"listpack\"");
    fixture
        .keyspace
        .all_tables()
        .for_each(|(.., table)| table.check_invariants());
}
