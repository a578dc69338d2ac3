//! Commands on places, with keys of their own.
//!
//! Left out: STOREDIST. Bailiwick computes the same distances on every machine, Redis those of its
//! C library, and what differs in the last bit would be there to stay.

use fastrand::Rng;

use super::chance;

/// How often, and what. Kinds of words: see [`words`].
pub(super) static COMMANDS: &[(u32, &str)] = &[
    (14, "GEOADD %Gk [NX|XX] [CH] {%Gxy %Gm}"),
    (8, "GEOADD %Gk %Gxy %Gm %Gxy %Gm %Gxy %Gm %Gxy %Gm"),
    (2, "GEOADD %Gk %Gbulk"),
    (4, "GEOPOS %Gk {%Gm}"),
    (4, "GEOHASH %Gk {%Gm}"),
    (5, "GEODIST %Gk %Gm %Gm [%Gu]"),
    (
        6,
        "GEOSEARCH %Gk (FROMMEMBER %Gm|FROMLONLAT %Gxy) (BYRADIUS %Gr %Gu|BYBOX %Gr %Gr %Gu) \
         [ASC|DESC]",
    ),
    (
        6,
        "GEOSEARCH %Gk (FROMMEMBER %Gm|FROMLONLAT %Gxy) (BYRADIUS %Gr %Gu|BYBOX %Gr %Gr %Gu) \
         (ASC|DESC) [COUNT %Gn] [WITHDIST] [WITHHASH] [WITHCOORD]",
    ),
    (
        1,
        "GEOSEARCH %Gk {(FROMMEMBER %Gm|FROMLONLAT %Gxy|BYRADIUS %Gr %Gu|BYBOX %Gr %Gr %Gu|ASC|\
         WITHDIST|COUNT %Gn ANY|STOREDIST|STORE %Gk)}",
    ),
    (
        4,
        "GEOSEARCHSTORE %Gk %Gk (FROMMEMBER %Gm|FROMLONLAT %Gxy) \
         (BYRADIUS %Gr %Gu|BYBOX %Gr %Gr %Gu) [ASC|DESC] [COUNT %Gn] [WITHDIST]",
    ),
    (
        3,
        "(GEORADIUS|GEORADIUS_RO) %Gk %Gxy %Gr %Gu [WITHDIST] [WITHCOORD] [COUNT %Gn] [ASC|DESC]",
    ),
    (
        3,
        "(GEORADIUSBYMEMBER|GEORADIUSBYMEMBER_RO) %Gk %Gm %Gr %Gu [WITHHASH] [COUNT %Gn] \
         [ASC|DESC]",
    ),
    (2, "GEORADIUS %Gk %Gxy %Gr %Gu STORE %Gk [WITHDIST]"),
    (1, "GEORADIUS_RO %Gk %Gxy %Gr %Gu STORE %Gk"),
    (2, "GEORADIUSBYMEMBER %Gk %Gm %Gr %Gu [DESC] STORE %Gk"),
    (2, "ZREM %Gk {%Gm}"),
    (2, "ZSCORE %Gk %Gm"),
    (1, "ZADD %Gk (0|5|-3|1e15|3479099956230698) %Gm"),
    (1, "ZRANGE %Gk 0 -1 WITHSCORES"),
    (1, "DEL %Gk"),
];

/// What is no place. (Places that are named twice would be equally far, and those have no order.)
static COORDINATES: &[[&str; 2]] = &[
    ["181", "1"],
    ["1", "85.06"],
    ["-180.1", "x"],
    ["x", "1"],
    ["", "1"],
    ["nan", "1"],
    ["inf", "1"],
];

/// The words of a kind: keys (`k`), members (`m`), two coordinates (`xy`), many places (`bulk`),
/// lengths (`r`), units (`u`), numbers of places (`n`).
pub(super) fn words(rng: &mut Rng, kind: &str) -> Vec<Vec<u8>> {
    match kind {
        "xy" => place(rng),
        "bulk" => {
            let mut words = Vec::new();
            for number in 0..rng.u32(100..160) {
                words.extend(place(rng).into_iter().chain([member(number)]));
            }
            words
        }
        _ => vec![word(rng, kind)],
    }
}

fn place(rng: &mut Rng) -> Vec<Vec<u8>> {
    if chance(rng, 0.02) {
        let [longitude, latitude] = COORDINATES[rng.usize(..COORDINATES.len())];
        return vec![longitude.into(), latitude.into()];
    }
    // Near one another mostly, so that searches find some and not others.
    let (width, height) = match rng.u8(..4) {
        0 => (170.0, 84.0),
        1 => (20.0, 20.0),
        _ => (1.0, 1.0),
    };
    let mut coordinate =
        |middle: f64, width: f64| format!("{:.9}", middle + width * (rng.f64() * 2.0 - 1.0));
    let middle = if width > 100.0 {
        (0.0, 0.0)
    } else {
        (13.0, 52.0)
    };
    vec![
        coordinate(middle.0, width).into_bytes(),
        coordinate(middle.1, height).into_bytes(),
    ]
}

fn member(number: u32) -> Vec<u8> {
    format!("p{number}").into_bytes()
}

fn word(rng: &mut Rng, kind: &str) -> Vec<u8> {
    let from = |rng: &mut Rng, list: &[&str]| list[rng.usize(..list.len())].as_bytes().to_vec();
    let wrong = chance(rng, 0.04);
    match kind {
        "k" if wrong => from(rng, &["a", "b", "none"]),
        "k" => from(rng, &["geo:1", "geo:2", "geo:3"]),
        "m" if wrong => from(rng, &["", "nobody", "p1000"]),
        "m" => member(rng.u32(..25)),
        "r" if wrong => from(rng, &["-1", "x", "", "nan", "0", "1e400"]),
        "r" if chance(rng, 0.05) => from(rng, &["0", "1e9", "20000", "0.5"]),
        "r" => format!("{:.3}", 10f64.powf(rng.f64() * 6.0)).into_bytes(),
        "u" if wrong => from(rng, &["x", "", "yd", "meters"]),
        "u" => from(rng, &["m", "km", "ft", "mi", "KM", "km", "km"]),
        "n" if wrong => from(rng, &["0", "-1", "x"]),
        "n" => rng.u32(1..12).to_string().into_bytes(),
        other => unreachable!("there is no kind {other}"),
    }
}
