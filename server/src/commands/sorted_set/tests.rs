//! What the commands on sorted sets promise.

use bailiwick_frame::Protocol;

use crate::commands::testing::{Fixture, START_MS, check, run};
use crate::keyspace::Entry;

const WRONG_TYPE: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value";
const SYNTAX: &str = "-ERR syntax error";
const NO_INTEGER: &str = "-ERR value is not an integer or out of range";
const NO_FLOAT: &str = "-ERR value is not a valid float";

fn resp3() -> Fixture {
    Fixture {
        protocol: Protocol::Resp3,
        ..Fixture::default()
    }
}

#[test]
fn zadd_heeds_its_conditions() {
    check(
        &mut Fixture::default(),
        &[
            ("ZADD z XX 1 a", "0"),
            ("EXISTS z", "0"),
            ("ZADD z 1 a 2 b 1 a", "2"),
            ("ZADD z NX 5 a 3 c", "1"),
            ("ZADD z XX 5 a 3 d", "0"),
            ("ZADD z GT 4 a 9 b", "0"),
            ("ZADD z LT 4 a 10 b 0 e", "1"),
            ("ZADD z CH 4 a 7 b 1 f", "2"),
            ("ZADD z gt xx ch 5 a 5 b 9 g", "1"),
            (
                "ZRANGE z 0 -1 WITHSCORES",
                "[\"e\" \"0\" \"f\" \"1\" \"c\" \"3\" \"a\" \"5\" \"b\" \"7\"]",
            ),
        ],
    );
}

#[test]
fn zadd_incr_replies_with_the_score_or_null() {
    let nan = "-ERR resulting score is not a number (NaN)";
    check(
        &mut Fixture::default(),
        &[
            ("ZADD z INCR 1.5 a", "\"1.5\""),
            ("ZADD z INCR 1.5 a", "\"3\""),
            ("ZADD z NX INCR 1 a", "nil"),
            ("ZADD z XX INCR 1 b", "nil"),
            ("ZADD z GT INCR -1 a", "nil"),
            ("ZADD z LT INCR -1 a", "\"2\""),
            ("ZINCRBY z -inf a", "\"-inf\""),
            ("ZINCRBY z inf a", nan),
            ("ZSCORE z a", "\"-inf\""),
            ("ZINCRBY z x a", NO_FLOAT),
            ("ZINCRBY new 2 m", "\"2\""),
        ],
    );
    check(
        &mut resp3(),
        &[("ZADD z INCR 1.5 a", ",1.5"), ("ZADD z NX INCR 1 a", "nil")],
    );
}

#[test]
fn a_wrong_zadd_changes_nothing() {
    let mut fixture = Fixture::default();
    check(
        &mut fixture,
        &[
            ("ZADD z 1 a 2", SYNTAX),
            ("ZADD z NX XX", SYNTAX),
            (
                "ZADD z NX XX 1 a",
                "-ERR XX and NX options at the same time are not compatible",
            ),
            (
                "ZADD z LT GT 1 a",
                "-ERR GT, LT, and/or NX options at the same time are not compatible",
            ),
            (
                "ZADD z NX LT 1 a",
                "-ERR GT, LT, and/or NX options at the same time are not compatible",
            ),
            (
                "ZADD z INCR 1 a 2 b",
                "-ERR INCR option supports a single increment-element pair",
            ),
            ("ZADD z 1 a x b", NO_FLOAT),
            ("ZADD z nan a", NO_FLOAT),
        ],
    );
    assert!(fixture.keyspace.is_empty());
}

#[test]
fn only_changes_are_seen_by_watch_and_keep_the_expiry() {
    let mut fixture = Fixture::default();
    run(&mut fixture, "ZADD z 1 a 2 b");
    run(&mut fixture, "EXPIRE z 10");
    let version = |fixture: &Fixture| {
        let entry = fixture.keyspace.get(0, b"z", START_MS).expect("there");
        assert_eq!(entry.expires_at_ms(), Some(START_MS + 10_000));
        Entry::version(entry)
    };
    let before = version(&fixture);
    for line in [
        "ZADD z 1 a",
        "ZADD z NX 5 a",
        "ZADD z GT 1 b",
        "ZREM z nope",
        "ZREMRANGEBYSCORE z 8 9",
        "ZPOPMIN z 0",
    ] {
        run(&mut fixture, line);
        assert_eq!(version(&fixture), before, "{line}");
    }
    for line in ["ZADD z 7 c", "ZINCRBY z 1 a", "ZREM z c", "ZPOPMIN z"] {
        let before = version(&fixture);
        run(&mut fixture, line);
        assert_ne!(version(&fixture), before, "{line}");
    }
}

#[test]
fn a_set_without_members_is_gone() {
    let mut fixture = Fixture::default();
    for line in [
        "ZREM z a b",
        "ZREMRANGEBYRANK z 0 -1",
        "ZREMRANGEBYSCORE z -inf +inf",
        "ZREMRANGEBYLEX z - +",
        "ZPOPMAX z 5",
        "ZMPOP 1 z MIN COUNT 2",
        "ZRANGESTORE z z 5 6",
        "ZINTERSTORE z 2 z nope",
    ] {
        run(&mut fixture, "ZADD z 0 a 0 b");
        run(&mut fixture, line);
        assert!(fixture.keyspace.is_empty(), "{line}");
    }
}

#[test]
fn scores_and_ranks_are_told_in_both_protocols() {
    for (mut fixture, half, pair) in [
        (Fixture::default(), "\"0.5\"", "[1 \"0.5\"]"),
        (resp3(), ",0.5", "[1 ,0.5]"),
    ] {
        check(
            &mut fixture,
            &[
                ("ZADD z -1 a 0.5 b 0.5 c", "3"),
                ("ZCARD z", "3"),
                ("ZCARD nope", "0"),
                ("ZSCORE z b", half),
                ("ZSCORE z nope", "nil"),
                ("ZSCORE nope b", "nil"),
                ("ZMSCORE z b nope", &format!("[{half} nil]")),
                ("ZMSCORE nope b", "[nil]"),
                ("ZRANK z c", "2"),
                ("ZREVRANK z a", "2"),
                ("ZRANK z b WITHSCORE", pair),
                ("ZREVRANK z b withscore", pair),
                ("ZRANK z nope", "nil"),
                ("ZRANK z nope WITHSCORE", "nil"),
                ("ZRANK nope a WITHSCORE", "nil"),
                ("ZRANK z b x", SYNTAX),
                (
                    "ZRANK z b WITHSCORE x",
                    "-ERR wrong number of arguments for 'zrank' command",
                ),
            ],
        );
    }
}

#[test]
fn zrange_goes_by_rank_score_and_member() {
    check(
        &mut Fixture::default(),
        &[
            ("ZADD z 1 a 2 b 3 c 4 d", "4"),
            ("ZRANGE z 1 -2", "[\"b\" \"c\"]"),
            ("ZRANGE z 0 1 REV", "[\"d\" \"c\"]"),
            ("ZREVRANGE z 0 0 WITHSCORES", "[\"d\" \"4\"]"),
            ("ZRANGE z (1 3 BYSCORE", "[\"b\" \"c\"]"),
            ("ZRANGE z +inf (1 BYSCORE REV LIMIT 1 1", "[\"c\"]"),
            ("ZRANGE z 3 (1 BYSCORE", "[]"),
            ("ZRANGEBYSCORE z 2 9 LIMIT 1 -1", "[\"c\" \"d\"]"),
            ("ZRANGEBYSCORE z 2 9 LIMIT -1 5", "[]"),
            ("ZRANGEBYSCORE z 2 9 LIMIT 5 5", "[]"),
            (
                "ZREVRANGEBYSCORE z 3 2 WITHSCORES",
                "[\"c\" \"3\" \"b\" \"2\"]",
            ),
            ("ZCOUNT z 2 (4", "2"),
            ("ZCOUNT nope 2 4", "0"),
            ("ZADD l 0 a 0 b 0 c", "3"),
            ("ZRANGE l [a (c BYLEX", "[\"a\" \"b\"]"),
            ("ZRANGE l + - BYLEX REV LIMIT 0 2", "[\"c\" \"b\"]"),
            ("ZRANGEBYLEX l - (b", "[\"a\"]"),
            ("ZREVRANGEBYLEX l + (b", "[\"c\"]"),
            ("ZLEXCOUNT l [b +", "2"),
            ("ZRANGE nope 0 -1", "[]"),
        ],
    );
    check(
        &mut resp3(),
        &[
            ("ZADD z 1 a 2 b", "2"),
            ("ZRANGE z 0 -1 WITHSCORES", "[[\"a\" ,1] [\"b\" ,2]]"),
            ("ZRANGE z 0 -1", "[\"a\" \"b\"]"),
        ],
    );
}

#[test]
fn a_wrong_range_is_refused_before_the_key_is_looked_at() {
    let by_rank = "-ERR syntax error, LIMIT is only supported in combination with either BYSCORE \
                   or BYLEX";
    let by_lex = "-ERR syntax error, WITHSCORES not supported in combination with BYLEX";
    let no_bound = "-ERR min or max is not a float";
    let no_member = "-ERR min or max not valid string range item";
    check(
        &mut Fixture::default(),
        &[
            ("ZRANGE z x 1", NO_INTEGER),
            ("ZRANGE z 0 1 LIMIT 0 1", by_rank),
            ("ZRANGE z 0 1 LIMIT 0 -1", "[]"),
            ("ZRANGE z 0 1 LIMIT 0", SYNTAX),
            ("ZRANGE z 0 1 LIMIT x 1", NO_INTEGER),
            ("ZRANGE z 0 1 REV REV", SYNTAX),
            ("ZRANGE z 0 1 BYLEX BYSCORE", SYNTAX),
            ("ZRANGE z - + BYLEX WITHSCORES", by_lex),
            ("ZRANGE z - + BYSCORE", no_bound),
            ("ZRANGE z 0 1 BYLEX", no_member),
            ("ZREVRANGE z 0 1 REV", SYNTAX),
            ("ZREVRANGE z 0 1 LIMIT 0 1", by_rank),
            ("ZRANGEBYLEX z - + WITHSCORES", by_lex),
            ("ZRANGESTORE d z 0 1 WITHSCORES", SYNTAX),
            ("ZCOUNT z ( x", no_bound),
            ("ZLEXCOUNT z 0 1", no_member),
            ("ZREMRANGEBYRANK z 0 x", NO_INTEGER),
            ("ZREMRANGEBYSCORE z 0 x", no_bound),
            ("ZREMRANGEBYLEX z 0 x", no_member),
            ("SET z string", "+OK"),
            ("ZRANGE z 0 1", WRONG_TYPE),
            ("ZRANGE z x 1", NO_INTEGER),
        ],
    );
}

#[test]
fn popping_takes_from_an_end() {
    let negative = "-ERR value is out of range, must be positive";
    check(
        &mut Fixture::default(),
        &[
            ("ZADD z 1 a 2 b 3 c 4 d", "4"),
            ("ZPOPMIN z", "[\"a\" \"1\"]"),
            ("ZPOPMAX z 2", "[\"d\" \"4\" \"c\" \"3\"]"),
            ("ZPOPMIN z 0", "[]"),
            ("ZPOPMIN z -1", negative),
            ("ZPOPMIN z x", negative),
            ("ZPOPMIN z 1 2", SYNTAX),
            ("ZPOPMAX nope", "[]"),
            ("ZMPOP 2 nope z MAX COUNT 5", "[\"z\" [[\"b\" \"2\"]]]"),
            ("ZMPOP 1 z MIN", "nil"),
            ("ZMPOP 0 z MIN", "-ERR numkeys should be greater than 0"),
            ("ZMPOP 2 z MIN", SYNTAX),
            ("ZMPOP 1 z MID", SYNTAX),
            ("ZMPOP 1 z MIN COUNT", SYNTAX),
            ("ZMPOP 1 z MIN COUNT 1 COUNT 1", SYNTAX),
            (
                "ZMPOP 1 z MIN COUNT 0",
                "-ERR count should be greater than 0",
            ),
        ],
    );
    check(
        &mut resp3(),
        &[
            ("ZADD z 1 a 2 b 3 c", "3"),
            ("ZPOPMIN z", "[\"a\" ,1]"),
            ("ZPOPMIN z 1", "[[\"b\" ,2]]"),
            ("ZMPOP 1 z MIN", "[\"z\" [[\"c\" ,3]]]"),
        ],
    );
}

#[test]
fn a_random_choice_is_one_of_members() {
    let mut fixture = Fixture::default();
    check(
        &mut fixture,
        &[
            ("ZRANDMEMBER nope", "nil"),
            ("ZRANDMEMBER nope 3", "[]"),
            ("ZADD z 1 a 2 b 3 c", "3"),
            ("ZRANDMEMBER z 0", "[]"),
            ("ZRANDMEMBER z 3", "[\"a\" \"b\" \"c\"]"),
            (
                "ZRANDMEMBER z 9 WITHSCORES",
                "[\"a\" \"1\" \"b\" \"2\" \"c\" \"3\"]",
            ),
            ("ZRANDMEMBER z x", NO_INTEGER),
            ("ZRANDMEMBER z 1 x", SYNTAX),
            (
                "ZRANDMEMBER z -9223372036854775807 WITHSCORES",
                "-ERR value is out of range",
            ),
        ],
    );
    for number in 0..500 {
        run(&mut fixture, &format!("ZADD big {number} m{number}"));
    }
    for (count, distinct) in [(3, true), (400, true), (-600, false)] {
        let reply = run(&mut fixture, &format!("ZRANDMEMBER big {count}"));
        let members: Vec<&str> = reply.trim_matches(['[', ']']).split(' ').collect();
        let different = members.iter().collect::<std::collections::BTreeSet<_>>();
        assert_eq!(members.len(), i32::unsigned_abs(count) as usize);
        assert_eq!(different.len() == members.len(), distinct, "{count}");
    }
}

#[test]
fn zscan_visits_every_member_with_its_score_as_a_string() {
    for protocol in [Protocol::Resp2, Protocol::Resp3] {
        let mut fixture = Fixture {
            protocol,
            ..Fixture::default()
        };
        check(
            &mut fixture,
            &[
                ("ZSCAN nope 0 WHAT", "[\"0\" []]"),
                ("ZSCAN nope x", "-ERR invalid cursor"),
                ("ZADD z 1 ab 2.5 xy", "2"),
                ("ZSCAN z 0 COUNT 1", "[\"0\" [\"ab\" \"1\" \"xy\" \"2.5\"]]"),
                ("ZSCAN z 0 MATCH x*", "[\"0\" [\"xy\" \"2.5\"]]"),
                ("ZSCAN z 0 COUNT 0", SYNTAX),
                ("ZSCAN z 0 TYPE zset", SYNTAX),
            ],
        );
        for number in 0..1000 {
            run(&mut fixture, &format!("ZADD big {number} m{number}"));
        }
        let (mut seen, mut cursor) = (std::collections::BTreeSet::new(), "0".to_owned());
        loop {
            let reply = run(&mut fixture, &format!("ZSCAN big {cursor} COUNT 50"));
            let words = reply
                .split(['[', ']', ' ', '"'])
                .filter(|word| !word.is_empty());
            let words: Vec<_> = words.collect();
            cursor = words[0].to_owned();
            for pair in words[1..].chunks(2) {
                assert_eq!(pair[0], format!("m{}", pair[1]));
                assert!(seen.insert(pair[0].to_owned()), "{} twice", pair[0]);
            }
            if cursor == "0" {
                break;
            }
        }
        assert_eq!(seen.len(), 1000);
    }
}

#[test]
fn other_types_are_refused() {
    let mut fixture = Fixture::default();
    run(&mut fixture, "SET s v");
    for line in [
        "ZADD s 1 a",
        "ZADD s XX 1 a",
        "ZINCRBY s 1 a",
        "ZREM s a",
        "ZSCORE s a",
        "ZMSCORE s a",
        "ZCARD s",
        "ZCOUNT s 0 1",
        "ZLEXCOUNT s - +",
        "ZRANK s a",
        "ZREVRANK s a",
        "ZRANGE s 0 1",
        "ZRANGESTORE d s 0 1",
        "ZREMRANGEBYRANK s 0 1",
        "ZPOPMIN s",
        "ZPOPMAX s 0",
        "ZMPOP 2 nope s MIN",
        "ZRANDMEMBER s",
        "ZRANDMEMBER s 1",
        "ZSCAN s 0",
        "ZUNION 1 s",
        "ZINTERSTORE d 1 s",
    ] {
        assert_eq!(run(&mut fixture, line), WRONG_TYPE, "{line}");
    }
    check(
        &mut fixture,
        &[
            ("ZADD z 1 a", "1"),
            ("GET z", WRONG_TYPE),
            ("APPEND z x", WRONG_TYPE),
            ("INCR z", WRONG_TYPE),
            ("SET z v", "+OK"),
        ],
    );
}
