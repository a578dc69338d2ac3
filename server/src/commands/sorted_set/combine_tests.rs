//! What unions, intersections and differences promise, and what becomes of a set that is stored.

use crate::commands::testing::{Fixture, check, run};

const WRONG_TYPE: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value";
const SYNTAX: &str = "-ERR syntax error";
const NO_INTEGER: &str = "-ERR value is not an integer or out of range";

#[test]
fn sets_are_combined_with_weights_and_aggregates() {
    check(
        &mut Fixture::default(),
        &[
            ("ZADD a 1 x 2 y", "2"),
            ("ZADD b 10 y 20 z", "2"),
            ("SADD s x z", "2"),
            (
                "ZUNION 2 a b WITHSCORES",
                "[\"x\" \"1\" \"y\" \"12\" \"z\" \"20\"]",
            ),
            (
                "ZUNION 2 a b WEIGHTS 2 -1 AGGREGATE MIN WITHSCORES",
                "[\"z\" \"-20\" \"y\" \"-10\" \"x\" \"2\"]",
            ),
            ("ZUNION 2 a b aggregate max", "[\"x\" \"y\" \"z\"]"),
            (
                "ZUNION 2 a s WITHSCORES",
                "[\"z\" \"1\" \"x\" \"2\" \"y\" \"2\"]",
            ),
            ("ZINTER 2 a b WITHSCORES", "[\"y\" \"12\"]"),
            ("ZINTER 3 a b nope", "[]"),
            ("ZINTER 2 a a WITHSCORES", "[\"x\" \"2\" \"y\" \"4\"]"),
            ("ZDIFF 2 a b WITHSCORES", "[\"x\" \"1\"]"),
            ("ZDIFF 2 a s", "[\"y\"]"),
            ("ZINTERCARD 2 a a", "2"),
            ("ZINTERCARD 2 a a LIMIT 1", "1"),
            ("ZINTERCARD 2 a a LIMIT 0", "2"),
            ("ZUNIONSTORE d 2 a b", "3"),
            ("ZINTERSTORE a 2 a d WEIGHTS 1 0", "2"),
            ("ZRANGE a 0 -1 WITHSCORES", "[\"x\" \"1\" \"y\" \"2\"]"),
            ("ZDIFFSTORE d 2 a a", "0"),
            ("EXISTS d", "0"),
        ],
    );
}

#[test]
fn infinities_that_cancel_out_are_zero() {
    check(
        &mut Fixture::default(),
        &[
            ("ZADD a inf m", "1"),
            ("ZADD b -inf m", "1"),
            ("ZUNION 2 a b WITHSCORES", "[\"m\" \"0\"]"),
            ("ZINTER 2 a b WITHSCORES", "[\"m\" \"0\"]"),
            ("ZUNION 1 a WEIGHTS 0 WITHSCORES", "[\"m\" \"0\"]"),
        ],
    );
}

#[test]
fn wrong_combinations_are_refused() {
    check(
        &mut Fixture::default(),
        &[
            (
                "ZUNION 0 a",
                "-ERR at least 1 input key is needed for 'zunion' command",
            ),
            (
                "ZDIFFSTORE d -1 a",
                "-ERR at least 1 input key is needed for 'zdiffstore' command",
            ),
            ("ZUNION x a", NO_INTEGER),
            ("ZUNION 2 a", SYNTAX),
            ("ZUNION 1 a WEIGHTS", SYNTAX),
            ("ZUNION 1 a WEIGHTS x", "-ERR weight value is not a float"),
            ("ZUNION 1 a AGGREGATE", SYNTAX),
            ("ZUNION 1 a AGGREGATE avg", SYNTAX),
            ("ZDIFF 1 a WEIGHTS 1", SYNTAX),
            ("ZUNIONSTORE d 1 a WITHSCORES", SYNTAX),
            ("ZINTERCARD 1 a WITHSCORES", SYNTAX),
            ("ZINTERCARD 1 a LIMIT -1", "-ERR LIMIT can't be negative"),
            ("ZINTERCARD 1 a LIMIT x", "-ERR LIMIT can't be negative"),
            ("SET s string", "+OK"),
            ("ZUNION 2 a s WHAT", WRONG_TYPE),
            ("ZUNIONSTORE s 1 a", "0"),
            ("EXISTS s", "0"),
        ],
    );
}

#[test]
fn what_is_stored_has_the_encoding_that_fits_it() {
    let mut fixture = Fixture::default();
    for number in 0..200 {
        run(&mut fixture, &format!("ZADD big {number} m{number}"));
    }
    check(
        &mut fixture,
        &[
            ("OBJECT ENCODING big", "\"skiplist\""),
            ("ZRANGESTORE d big 0 9", "10"),
            ("OBJECT ENCODING d", "\"listpack\""),
            ("ZUNIONSTORE d 1 big", "200"),
            ("OBJECT ENCODING d", "\"skiplist\""),
            ("ZINTERSTORE d 2 big big WEIGHTS 1 1", "200"),
            ("ZREMRANGEBYRANK d 5 -1", "195"),
            ("OBJECT ENCODING d", "\"skiplist\""),
            ("ZDIFFSTORE e 1 d", "5"),
            ("OBJECT ENCODING e", "\"listpack\""),
            ("COPY d f", "1"),
            (
                "ZPOPMIN d 4",
                "[\"m0\" \"0\" \"m1\" \"2\" \"m2\" \"4\" \"m3\" \"6\"]",
            ),
            ("ZCARD f", "5"),
            ("TYPE f", "+zset"),
            ("RENAME f e", "+OK"),
            ("ZRANGE e 0 0", "[\"m0\"]"),
        ],
    );
}
