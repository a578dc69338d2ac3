//! What the commands about places promise. The numbers are those of a Redis server.

use bailiwick_frame::Protocol;

use crate::commands::testing::{Fixture, check, run};

const SYNTAX: &str = "-ERR syntax error";

fn sicily(protocol: Protocol) -> Fixture {
    let mut fixture = Fixture {
        protocol,
        ..Fixture::default()
    };
    run(
        &mut fixture,
        "GEOADD s 13.361389 38.115556 Palermo 15.087269 37.502669 Catania",
    );
    fixture
}

#[test]
fn places_are_members_of_a_sorted_set() {
    check(
        &mut Fixture::default(),
        &[
            ("GEOADD s 13.361389 38.115556 P 15.087269 37.502669 C", "2"),
            ("ZSCORE s P", "\"3479099956230698\""),
            ("GEOADD s NX 1 1 P", "0"),
            ("GEOADD s XX CH 13.4 38.1 P 1 1 new", "1"),
            ("GEOADD s XX NX 1 1 P", SYNTAX),
            (
                "GEOADD s 1 1",
                "-ERR wrong number of arguments for 'geoadd' command",
            ),
            ("GEOADD s CH 1 1", SYNTAX),
            ("GEOADD s x 1 P", "-ERR value is not a valid float"),
            (
                "GEOADD s 181 86.5 P",
                "-ERR invalid longitude,latitude pair 181.000000,86.500000",
            ),
            ("TYPE s", "+zset"),
        ],
    );
}

#[test]
fn places_are_told_in_both_protocols() {
    for (protocol, quote, text) in [(Protocol::Resp2, "\"", "\""), (Protocol::Resp3, ",", "")] {
        let position =
            format!("[[{quote}13.36138933897018433{text} {quote}38.11555639549629859{text}] nil]");
        check(
            &mut sicily(protocol),
            &[
                ("GEOPOS s Palermo nope", &position),
                ("GEOPOS s", "[]"),
                ("GEOPOS nope x", "[nil]"),
                (
                    "GEOHASH s Palermo Catania nope",
                    "[\"sqc8b49rny0\" \"sqdtr74hyu0\" nil]",
                ),
                ("GEODIST s Palermo Catania", "\"166274.1516\""),
                ("GEODIST s Palermo Catania KM", "\"166.2742\""),
                ("GEODIST s Palermo Catania ft", "\"545518.8700\""),
                ("GEODIST s Palermo Palermo", "\"0.0000\""),
                ("GEODIST s Palermo nope", "nil"),
                (
                    "GEODIST s Palermo Catania yd",
                    "-ERR unsupported unit provided. please use M, KM, FT, MI",
                ),
                ("GEODIST s Palermo Catania m m", SYNTAX),
            ],
        );
    }
}

#[test]
fn a_search_finds_what_is_near() {
    let mut fixture = sicily(Protocol::Resp2);
    run(
        &mut fixture,
        "GEOADD s 12.758489 38.788135 edge1 17.241510 38.788135 edge2",
    );
    check(
        &mut fixture,
        &[
            (
                "GEOSEARCH s FROMLONLAT 15 37 BYRADIUS 200 km ASC",
                "[\"Catania\" \"Palermo\"]",
            ),
            (
                "GEOSEARCH s FROMLONLAT 15 37 BYBOX 400 400 km DESC WITHDIST",
                "[[\"edge1\" \"279.7405\"] [\"edge2\" \"279.7403\"] [\"Palermo\" \"190.4424\"] \
                 [\"Catania\" \"56.4413\"]]",
            ),
            (
                "GEOSEARCH s FROMMEMBER Palermo BYRADIUS 0 m WITHHASH WITHCOORD",
                "[[\"Palermo\" 3479099956230698 [\"13.36138933897018433\" \
                 \"38.11555639549629859\"]]]",
            ),
            (
                "GEOSEARCH s FROMLONLAT 15 37 BYRADIUS 9000 km COUNT 2",
                "[\"Catania\" \"Palermo\"]",
            ),
            ("GEORADIUS s 15 37 200 km DESC", "[\"Palermo\" \"Catania\"]"),
            ("GEORADIUS_RO s 15 37 200 km COUNT 1", "[\"Catania\"]"),
            (
                "GEORADIUSBYMEMBER s Palermo 100 km",
                "[\"Palermo\" \"edge1\"]",
            ),
            ("GEORADIUSBYMEMBER_RO s Palermo 1 mi", "[\"Palermo\"]"),
            ("GEOSEARCH nope FROMMEMBER x BYRADIUS 1 m", "[]"),
        ],
    );
    let any = run(
        &mut fixture,
        "GEOSEARCH s FROMLONLAT 15 37 BYRADIUS 900 km COUNT 1 ANY",
    );
    assert_eq!(any.split(' ').count(), 1);
}

#[test]
fn what_is_found_can_be_stored() {
    check(
        &mut sicily(Protocol::Resp2),
        &[
            ("GEOSEARCHSTORE d s FROMLONLAT 15 37 BYRADIUS 200 km", "2"),
            ("ZRANGE d 0 -1", "[\"Palermo\" \"Catania\"]"),
            (
                "GEOSEARCHSTORE d s FROMLONLAT 15 37 BYRADIUS 200 km STOREDIST COUNT 1",
                "1",
            ),
            ("ZRANGEBYSCORE d 56 57", "[\"Catania\"]"),
            ("GEORADIUS s 15 37 200 km STORE d", "2"),
            ("GEORADIUS s 15 37 200 km STOREDIST d", "2"),
            ("ZRANGE d 0 -1", "[\"Catania\" \"Palermo\"]"),
            ("GEOSEARCHSTORE d s FROMLONLAT 0 0 BYRADIUS 1 m", "0"),
            ("EXISTS d", "0"),
            ("SET d x", "+OK"),
            ("GEORADIUSBYMEMBER nope x 1 m STORE d", "0"),
            ("EXISTS d", "0"),
        ],
    );
}

#[test]
fn wrong_searches_are_refused() {
    let origin = "-ERR exactly one of FROMMEMBER or FROMLONLAT can be specified for GEOSEARCH";
    let extent = "-ERR exactly one of BYRADIUS and BYBOX can be specified for GEOSEARCH";
    let member = "-ERR could not decode requested zset member";
    check(
        &mut sicily(Protocol::Resp2),
        &[
            ("GEOSEARCH s BYRADIUS 1 m ASC ASC", origin),
            ("GEOSEARCH s FROMLONLAT 1 1 ASC ASC", extent),
            ("GEOSEARCH s FROMMEMBER nope BYRADIUS 1 m", member),
            (
                "GEOSEARCH s FROMMEMBER Palermo FROMLONLAT 1 1 BYRADIUS 1 m",
                SYNTAX,
            ),
            (
                "GEOSEARCH s FROMMEMBER Palermo BYRADIUS 1 m BYBOX 1 1 m",
                SYNTAX,
            ),
            (
                "GEOSEARCH s FROMMEMBER Palermo BYRADIUS x m",
                "-ERR need numeric radius",
            ),
            (
                "GEOSEARCH s FROMMEMBER Palermo BYRADIUS -1 m",
                "-ERR radius cannot be negative",
            ),
            (
                "GEOSEARCH s FROMMEMBER Palermo BYBOX x 1 m",
                "-ERR need numeric width",
            ),
            (
                "GEOSEARCH s FROMMEMBER Palermo BYBOX 1 x m",
                "-ERR need numeric height",
            ),
            (
                "GEOSEARCH s FROMMEMBER Palermo BYBOX 1 -1 m",
                "-ERR height or width cannot be negative",
            ),
            (
                "GEOSEARCH s FROMMEMBER Palermo BYRADIUS 1 m COUNT 0",
                "-ERR COUNT must be > 0",
            ),
            (
                "GEOSEARCH s FROMMEMBER Palermo BYRADIUS 1 m ANY",
                "-ERR the ANY argument requires COUNT argument",
            ),
            (
                "GEOSEARCH s FROMMEMBER Palermo BYRADIUS 1 m STORE d",
                SYNTAX,
            ),
            ("GEORADIUS_RO s 1 1 1 m STORE d", SYNTAX),
            (
                "GEORADIUS s 1 1 1 x",
                "-ERR unsupported unit provided. please use M, KM, FT, MI",
            ),
            (
                "GEORADIUS s 1 1 1 m WITHDIST STORE d",
                "-ERR STORE option in GEORADIUS is not compatible with WITHDIST, WITHHASH and \
                 WITHCOORD options",
            ),
            (
                "GEOSEARCHSTORE d s FROMLONLAT 1 1 BYRADIUS 1 m WITHDIST",
                "-ERR GEOSEARCHSTORE is not compatible with WITHDIST, WITHHASH and WITHCOORD \
                 options",
            ),
            ("GEORADIUSBYMEMBER s nope 1 m", member),
        ],
    );
}
