//! The commands of streams, with a clock that stands still where replies tell times.

use crate::commands::testing::*;
use bailiwick_frame::Protocol;

#[test]
fn an_automatic_id_is_the_time_of_the_log() {
    let mut fixture = Fixture::default();
    check(
        &mut fixture,
        &[
            ("XADD s * a 1", "\"1700000000123-0\""),
            ("XADD s * a 1", "\"1700000000123-1\""),
            ("XADD s 1700000000123-* a 1", "\"1700000000123-2\""),
            ("XADD s 1800000000000-5 a 1", "\"1800000000000-5\""),
            ("XADD s * a 1", "\"1800000000000-6\""),
            (
                "XADD s 1800000000000 a 1",
                "-ERR The ID specified in XADD is equal or smaller than the target stream top item",
            ),
            ("XADD none NOMKSTREAM * a 1", "nil"),
            ("XLEN s", "5"),
            ("TYPE s", "+stream"),
            ("OBJECT ENCODING s", "\"stream\""),
        ],
    );
}

#[test]
fn deliveries_are_dated_by_the_log() {
    let mut fixture = Fixture::default();
    check(
        &mut fixture,
        &[
            ("XGROUP CREATE s g $ MKSTREAM", "+OK"),
            ("XADD s 1-0 a 1", "\"1-0\""),
            ("XADD s 2-0 b 2", "\"2-0\""),
            (
                "XREADGROUP GROUP g c COUNT 1 STREAMS s >",
                "[[\"s\" [[\"1-0\" [\"a\" \"1\"]]]]]",
            ),
        ],
    );
    fixture.now_ms += 500;
    check(
        &mut fixture,
        &[
            ("XPENDING s g - + 10", "[[\"1-0\" \"c\" 500 1]]"),
            ("XPENDING s g IDLE 501 - + 10", "[]"),
            ("XPENDING s g", "[1 \"1-0\" \"1-0\" [[\"c\" \"1\"]]]"),
            (
                "XINFO CONSUMERS s g",
                "[[\"name\" \"c\" \"pending\" 1 \"idle\" 500 \"inactive\" 500]]",
            ),
            ("XGROUP CREATECONSUMER s g d", "1"),
            ("XAUTOCLAIM s g d 501 0", "[\"0-0\" [] []]"),
            (
                "XAUTOCLAIM s g d 500 0",
                "[\"0-0\" [[\"1-0\" [\"a\" \"1\"]]] []]",
            ),
            ("XPENDING s g - + 10 d", "[[\"1-0\" \"d\" 0 2]]"),
            ("XPENDING s g - + 10 c", "[]"),
            ("XCLAIM s g c 0 1-0 IDLE 70 JUSTID", "[\"1-0\"]"),
            ("XPENDING s g - + 10", "[[\"1-0\" \"c\" 70 2]]"),
            (
                "XREADGROUP GROUP g c STREAMS s 0",
                "[[\"s\" [[\"1-0\" [\"a\" \"1\"]]]]]",
            ),
            ("XPENDING s g - + 10", "[[\"1-0\" \"c\" 0 3]]"),
            ("XDEL s 1-0", "1"),
            (
                "XREADGROUP GROUP g c STREAMS s 0",
                "[[\"s\" [[\"1-0\" nil]]]]",
            ),
            ("XAUTOCLAIM s g d 0 0", "[\"0-0\" [] [\"1-0\"]]"),
            ("XACK s g 1-0", "0"),
            ("XGROUP DELCONSUMER s g c", "0"),
        ],
    );
}

#[test]
fn a_stream_is_described_as_redis_7_2_does() {
    let mut fixture = Fixture {
        protocol: Protocol::Resp3,
        ..Fixture::default()
    };
    for line in [
        "XADD s 1-0 a 1",
        "XADD s 2-0 a 2",
        "XGROUP CREATE s g 0",
        "XREADGROUP GROUP g c COUNT 1 STREAMS s >",
        "XGROUP CREATECONSUMER s g idle",
    ] {
        run(&mut fixture, line);
    }
    fixture.now_ms += 7;
    let head = "\"length\" 2 \"radix-tree-keys\" 1 \"radix-tree-nodes\" 2 \"last-generated-id\" \
                \"2-0\" \"max-deleted-entry-id\" \"0-0\" \"entries-added\" 2 \
                \"recorded-first-entry-id\" \"1-0\"";
    assert_eq!(
        run(&mut fixture, "XINFO STREAM s"),
        format!(
            "{{{head} \"groups\" 1 \"first-entry\" [\"1-0\" [\"a\" \"1\"]] \"last-entry\" [\"2-0\" \
             [\"a\" \"2\"]]}}"
        )
    );
    assert_eq!(
        run(&mut fixture, "XINFO STREAM s FULL COUNT 1"),
        format!(
            "{{{head} \"entries\" [[\"1-0\" [\"a\" \"1\"]]] \"groups\" [{{\"name\" \"g\" \
             \"last-delivered-id\" \"1-0\" \"entries-read\" 1 \"lag\" 1 \"pel-count\" 1 \
             \"pending\" [[\"1-0\" \"c\" 1700000000123 1]] \"consumers\" [{{\"name\" \"c\" \
             \"seen-time\" 1700000000123 \"active-time\" 1700000000123 \"pel-count\" 1 \"pending\" \
             [[\"1-0\" 1700000000123 1]]}} {{\"name\" \"idle\" \"seen-time\" 1700000000123 \
             \"active-time\" -1 \"pel-count\" 0 \"pending\" []}}]}}]}}"
        )
    );
    assert_eq!(
        run(&mut fixture, "XINFO CONSUMERS s g"),
        "[{\"name\" \"c\" \"pending\" 1 \"idle\" 7 \"inactive\" 7} {\"name\" \"idle\" \"pending\" 0 \
         \"idle\" 7 \"inactive\" -1}]"
    );
}

#[test]
fn reading_is_a_map_in_the_third_protocol_and_block_is_checked() {
    let mut fixture = Fixture {
        protocol: Protocol::Resp3,
        ..Fixture::default()
    };
    check(
        &mut fixture,
        &[
            ("XADD s 1-0 a 1", "\"1-0\""),
            ("XREAD STREAMS s t 0 0", "{\"s\" [[\"1-0\" [\"a\" \"1\"]]]}"),
            ("XREAD BLOCK 0 STREAMS s $", "nil"),
            ("XREAD BLOCK -1 STREAMS s $", "-ERR timeout is negative"),
            (
                "XREAD BLOCK 1.5 STREAMS s $",
                "-ERR timeout is not an integer or out of range",
            ),
            (
                "XREAD BLOCK 9223372036854775807 STREAMS s $",
                "-ERR timeout is out of range",
            ),
            (
                "XREAD STREAMS s t 0",
                "-ERR Unbalanced 'xread' list of streams: for each stream key an ID or '$' must be \
                 specified.",
            ),
            (
                "XREADGROUP GROUP g c BLOCK 5 STREAMS s >",
                "-NOGROUP No such key 's' or consumer group 'g' in XREADGROUP with GROUP option",
            ),
        ],
    );
}

#[test]
fn an_empty_stream_stays_until_it_is_deleted() {
    let mut fixture = Fixture::default();
    check(
        &mut fixture,
        &[
            ("XADD s 5-0 a 1", "\"5-0\""),
            ("XTRIM s MAXLEN 0", "1"),
            ("EXISTS s", "1"),
            ("XLEN s", "0"),
            (
                "XADD s 5-0 a 1",
                "-ERR The ID specified in XADD is equal or smaller than the target stream top item",
            ),
            ("COPY s t", "1"),
            ("RENAME t u", "+OK"),
            ("XADD u 6 a 1", "\"6-0\""),
            ("XLEN s", "0"),
            ("DEL s", "1"),
            ("XADD s 1-0 a 1", "\"1-0\""),
        ],
    );
}
