//! The words of a sequence, kind by kind.

use fastrand::Rng;

use super::{DATABASES, chance};

static KEYS: &[&[u8]] = &[
    b"a",
    b"b",
    b"c",
    b"d",
    b"ab",
    b"key:1",
    b"key:2",
    b"",
    b"\x00\xff\r\n",
    b"{t}x",
];
/// Keys that hold values of several elements, most of the time.
static AGGREGATES: &[&str] = &[
    "h", "h2", "{t}h", "s1", "s2", "s3", "{t}s", "z1", "z2", "l1", "l2", "x1",
];
pub(super) static INTEGERS: &[&str] = &[
    "0",
    "1",
    "-1",
    "2",
    "-2",
    "3",
    "5",
    "-5",
    "7",
    "10",
    "-10",
    "63",
    "64",
    "100",
    "-100",
    "255",
    "256",
    "-129",
    "1000",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "99999999999",
    "4294967296",
    "-4294967297",
    "+1",
    "01",
    " 1",
    "1 ",
    "-0",
    "",
    "abc",
    "1.5",
    "1e3",
    "-",
    "18446744073709551615",
    "9223372036854775806",
];
static FLOATS: &[&str] = &[
    "0",
    "1",
    "-1",
    "0.5",
    "0.25",
    "-0.5",
    "1.5",
    "3.0e3",
    "1e2",
    "5.0",
    "10.50",
    "-3.25",
    "1.125",
    "100000000",
    "-123456.75",
    "inf",
    "-inf",
    "nan",
    "abc",
    "",
    " 1",
    "1 ",
    "0x10",
    "+2",
    ".5",
    "5.",
    "1e15",
    "-1e3",
    "-0",
    "1e",
    "--1",
    "infinity",
    "1.5.5",
];
static OFFSETS: &[&str] = &[
    "0",
    "1",
    "2",
    "3",
    "7",
    "8",
    "9",
    "15",
    "16",
    "31",
    "40",
    "63",
    "64",
    "100",
    "1000",
    "-1",
    "4294967296",
    "536870912",
    "abc",
    "",
    "9223372036854775807",
    "01",
];
static ENCODINGS: &[&str] = &[
    "u1", "u4", "u8", "u16", "u32", "u63", "i1", "i4", "i5", "i8", "i16", "i32", "i63", "i64",
    "u64", "i65", "u0", "i0", "x8", "", "u", "U8", "i-1",
];
static FIELD_OFFSETS: &[&str] = &[
    "0",
    "1",
    "3",
    "7",
    "8",
    "17",
    "100",
    "#0",
    "#1",
    "#2",
    "#5",
    "-1",
    "#-1",
    "#",
    "x",
    "4294967296",
];
static UNIX_SECONDS: &[&str] = &[
    "1",
    "1000000000",
    "9999999999",
    "33177117420",
    "33177117421",
    "0",
    "-1",
    "abc",
    "9223372036854775807",
    "9223372036854775",
    "9223372036854776",
    "-9223372036854775808",
];
static UNIX_MILLIS: &[&str] = &[
    "1",
    "1000000000000",
    "9999999999999",
    "33177117420000",
    "33177117420001",
    "0",
    "-1",
    "abc",
    "9223372036854775807",
    "-9223372036854775808",
];
static PATTERNS: &[&str] = &[
    "*",
    "a*",
    "?",
    "??",
    "[ab]",
    "[^a]",
    "[a-c]*",
    "key:*",
    "key:[0-9]",
    "*:*",
    "\\a",
    "",
    "[",
    "[a",
    "a\\",
    "*b",
    "**",
    "[b-a]",
    "*[^b]*",
    "{t}*",
];
const LONG_WORD: &str = "a word of a length at which Redis begins to cut short what it repeats";
pub(super) static JUNK: &[&str] = &[
    "", "junk", "NX", "XX", "EX", "GET", "0", "-1", "abc", "KEEPTTL", "COUNT", "MATCH", "TYPE",
    "BIT", "REPLACE", "\"", "LEN", "PERSIST",
];

/// A word of a kind.
pub(super) fn word(rng: &mut Rng, kind: &str) -> Vec<u8> {
    let from = |rng: &mut Rng, list: &[&str]| list[rng.usize(..list.len())].as_bytes().to_vec();
    let wrong = chance(rng, 0.1);
    let number = |number: i64| number.to_string().into_bytes();
    match kind {
        "k" if chance(rng, 0.2) => from(rng, AGGREGATES),
        "k" => KEYS[rng.usize(..KEYS.len())].to_vec(),
        // Keys of one type, most of the time: hashes, sets.
        "h" | "z" if chance(rng, 0.1) => word(rng, "k"),
        "h" => from(rng, &["h", "h2", "{t}h"]),
        "z" => from(rng, &["s1", "s2", "s3", "{t}s", "l1", "l2"]),
        "F" => field(rng),
        "N" => number(rng.i64(-400..600)),
        "g" => from(rng, &["f", "g"]),
        "a" => from(
            rng,
            &[
                "",
                "word",
                "two words",
                "1",
                "it's",
                "\"",
                "a\r\nb",
                LONG_WORD,
            ],
        ),
        "v" => value(rng),
        "i" if wrong => from(rng, INTEGERS),
        "i" if rng.bool() => number(rng.i64(-12..30)),
        "i" => from(rng, &INTEGERS[..24]),
        // Redis takes the least of all integers for an overflow upwards in narrower fields.
        "j" => loop {
            let word = self::word(rng, "i");
            if word != b"-9223372036854775808" {
                return word;
            }
        },
        // How many at random: not more than a server should write down.
        "c" if wrong => from(
            rng,
            &[
                "",
                "abc",
                "1.5",
                "9223372036854775808",
                "-9223372036854775808",
            ],
        ),
        "c" => number(rng.i64(-6..12)),
        "f" if wrong => from(rng, FLOATS),
        "f" => from(rng, &FLOATS[..15]),
        "o" if wrong => from(rng, OFFSETS),
        "o" => from(rng, &OFFSETS[..15]),
        "b" if wrong => from(rng, &["2", "-1", "x", "", "01"]),
        "b" => from(rng, &["0", "1"]),
        "s" if wrong => from(
            rng,
            &[
                "0",
                "-1",
                "abc",
                "",
                "9223372036854775807",
                "-9223372036854775808",
                "9223372036854776",
            ],
        ),
        "s" => number(rng.i64(1_000..1_000_000)),
        "m" if wrong => from(
            rng,
            &[
                "0",
                "-1",
                "abc",
                "",
                "9223372036854775807",
                "-9223372036854775808",
            ],
        ),
        "m" => number(rng.i64(1_000_000..1_000_000_000)),
        "S" => from(rng, UNIX_SECONDS),
        "M" => from(rng, UNIX_MILLIS),
        "d" if wrong => from(rng, &["16", "-1", "abc", "", "4294967296", "01"]),
        "d" => from(rng, &DATABASES),
        "p" => from(rng, PATTERNS),
        "n" => from(rng, &["0", "1", "2", "3", "10", "-1", "abc"]),
        "t" => from(
            rng,
            &[
                "string", "STRING", "list", "hash", "set", "zset", "stream", "nosuch", "",
            ],
        ),
        "e" if wrong => from(rng, ENCODINGS),
        "e" => from(rng, &ENCODINGS[..14]),
        "w" if wrong => from(rng, FIELD_OFFSETS),
        "w" => from(rng, &FIELD_OFFSETS[..11]),
        other => unreachable!("there is no kind {other}"),
    }
}

/// A field of a hash or a member of a set: few different ones, so that they meet.
fn field(rng: &mut Rng) -> Vec<u8> {
    match rng.u8(..20) {
        0..=9 => format!("f{}", rng.u8(..12)).into_bytes(),
        10..=15 => rng.i64(-5..15).to_string().into_bytes(),
        16 => INTEGERS[rng.usize(..INTEGERS.len())].as_bytes().to_vec(),
        17 => vec![b'x'; [63, 64, 65, 66, 200][rng.usize(..5)]],
        18 => KEYS[rng.usize(..KEYS.len())].to_vec(),
        _ => value(rng),
    }
}

fn value(rng: &mut Rng) -> Vec<u8> {
    match rng.u8(..20) {
        0..=5 => rng.i64(-50..200).to_string().into_bytes(),
        6 => INTEGERS[rng.usize(..INTEGERS.len())].as_bytes().to_vec(),
        7 | 8 => FLOATS[rng.usize(..FLOATS.len())].as_bytes().to_vec(),
        9..=12 => {
            let length = [1, 2, 5, 12, 43, 44, 45, 46][rng.usize(..8)];
            (0..length).map(|_| b'a' + rng.u8(..4)).collect()
        }
        13..=15 => (0..rng.usize(1..30)).map(|_| rng.u8(..)).collect(),
        16 => vec![[0, 0xff, b'x'][rng.usize(..3)]; rng.usize(100..3000)],
        17 if chance(rng, 0.2) => vec![b'y'; rng.usize(16_000..40_000)],
        18 => Vec::new(),
        _ => b"hello world".to_vec(),
    }
}
