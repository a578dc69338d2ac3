//! SORT on small values, with the replies that Redis gives.

use crate::commands::testing::{Fixture, check, run};

fn fixture() -> Fixture {
    let mut fixture = Fixture::default();
    for line in [
        "RPUSH l 3 1 10 2",
        "RPUSH words pear apple fig",
        "SADD s 3 1 2",
        "ZADD z 3 a 1 b 2 c",
        "MSET w_1 30 w_2 20 w_3 10 v_1 one v_3 three",
        "HSET h_1 f x w 5",
        "HSET h_2 f y w 4",
    ] {
        run(&mut fixture, line);
    }
    fixture
}

#[test]
fn elements_are_sorted_as_numbers_or_as_text() {
    check(
        &mut fixture(),
        &[
            ("SORT l", "[\"1\" \"2\" \"3\" \"10\"]"),
            ("SORT_RO l DESC", "[\"10\" \"3\" \"2\" \"1\"]"),
            ("SORT l ALPHA", "[\"1\" \"10\" \"2\" \"3\"]"),
            ("SORT l LIMIT 1 2", "[\"2\" \"3\"]"),
            ("SORT l LIMIT -5 2", "[\"1\" \"2\"]"),
            ("SORT l LIMIT 9 2", "[]"),
            ("SORT l LIMIT 2 -1", "[\"3\" \"10\"]"),
            ("SORT words ALPHA DESC", "[\"pear\" \"fig\" \"apple\"]"),
            (
                "SORT words",
                "-ERR One or more scores can't be converted into double",
            ),
            ("SORT z ALPHA", "[\"a\" \"b\" \"c\"]"),
            ("SORT nope", "[]"),
            (
                "SORT w_1",
                "-WRONGTYPE Operation against a key holding the wrong kind of value",
            ),
        ],
    );
}

#[test]
fn patterns_name_weights_and_output() {
    check(
        &mut fixture(),
        &[
            ("SORT s BY w_*", "[\"3\" \"2\" \"1\"]"),
            ("SORT s BY h_*->w", "[\"3\" \"2\" \"1\"]"),
            ("SORT s BY v_* ALPHA", "[\"2\" \"1\" \"3\"]"),
            (
                "SORT s BY v_*",
                "-ERR One or more scores can't be converted into double",
            ),
            (
                "SORT s GET # GET v_* GET h_*->f",
                "[\"1\" \"one\" \"x\" \"2\" nil \"y\" \"3\" \"three\" nil]",
            ),
            ("SORT s GET nostar LIMIT 0 1", "[nil]"),
            ("SORT s GET h_*", "[nil nil nil]"),
            ("SORT s GET w_*->", "[nil nil nil]"),
            ("SORT l BY nosort", "[\"3\" \"1\" \"10\" \"2\"]"),
            ("SORT l BY nosort DESC LIMIT 0 2", "[\"2\" \"10\"]"),
            ("SORT z BY nosort", "[\"b\" \"c\" \"a\"]"),
            ("SORT z BY nosort DESC LIMIT 1 2", "[\"c\" \"b\"]"),
        ],
    );
}

#[test]
fn what_is_stored_is_a_list_that_replaces_what_was_there() {
    check(
        &mut fixture(),
        &[
            ("SORT l STORE w_1", "4"),
            ("LRANGE w_1 0 -1", "[\"1\" \"2\" \"3\" \"10\"]"),
            ("OBJECT ENCODING w_1", "\"listpack\""),
            ("SORT s BY nosort GET # GET nope_* STORE d", "6"),
            ("LRANGE d 0 -1", "[\"1\" \"\" \"2\" \"\" \"3\" \"\"]"),
            ("SORT l STORE l", "4"),
            ("LRANGE l 0 -1", "[\"1\" \"2\" \"3\" \"10\"]"),
            ("SORT nope STORE l", "0"),
            ("EXISTS l", "0"),
            ("SORT_RO s STORE d", "-ERR syntax error"),
            ("SORT s LIMIT 1", "-ERR syntax error"),
            (
                "SORT s LIMIT x 1",
                "-ERR value is not an integer or out of range",
            ),
            ("SORT s BY", "-ERR syntax error"),
        ],
    );
}
