//! Random sequences of commands: mostly right, sometimes wrong in every way a client can be.
//!
//! [`COMMANDS`] is written in a small notation. `%x` is a random word of a kind (see [`word`]),
//! `[a|b]` is one of the alternatives or nothing, `(a|b)` is one of them, `{a}` is repeated one to
//! four times; these nest. Words in capitals get random casing.
//!
//! What a sequence must not depend on is avoided here: expiries are far away, past, or so near that
//! a pause lets them pass on both servers. INCRBYFLOAT has two keys of its own, with numbers of a
//! moderate size and fractions that are sums of powers of two, since for others Redis shows the
//! rounding of the C compiler's `long double`, where Bailiwick computes in decimals. A sequence has
//! WATCH or SWAPDB, not both: after a SWAPDB, Bailiwick takes every absent key that is watched for
//! changed, which costs a retry, where Redis looks into both databases.

use fastrand::Rng;

use super::{CONNECTIONS, Step};

/// The logical databases that a sequence can reach.
pub const DATABASES: [&str; 4] = ["0", "1", "2", "15"];

/// How often, and what.
static COMMANDS: &[(u32, &str)] = &[
    (
        14,
        "SET %k %v [NX|XX] [GET] [EX %s|PX %m|EXAT %S|PXAT %M|KEEPTTL]",
    ),
    (4, "SET %k %v"),
    (8, "GET %k"),
    (2, "SETNX %k %v"),
    (2, "SETEX %k %s %v"),
    (2, "PSETEX %k %m %v"),
    (3, "GETSET %k %v"),
    (2, "GETDEL %k"),
    (4, "GETEX %k [EX %s|PX %m|EXAT %S|PXAT %M|PERSIST]"),
    (5, "APPEND %k %v"),
    (3, "STRLEN %k"),
    (4, "SETRANGE %k %o %v"),
    (4, "GETRANGE %k %i %i"),
    (1, "SUBSTR %k %i %i"),
    (5, "INCR %k"),
    (3, "DECR %k"),
    (4, "INCRBY %k %i"),
    (4, "DECRBY %k %i"),
    (6, "INCRBYFLOAT %g %f"),
    (2, "SET %g %f"),
    (2, "INCR %g"),
    (2, "GET %g"),
    (1, "INCRBYFLOAT %k (abc|inf|-inf|nan|1e|-)"),
    (3, "MSET {%k %v}"),
    (3, "MSETNX {%k %v}"),
    (4, "MGET {%k}"),
    (3, "LCS %k %k [LEN] [IDX] [MINMATCHLEN %n] [WITHMATCHLEN]"),
    (5, "SETBIT %k %o %b"),
    (3, "GETBIT %k %o"),
    (4, "BITCOUNT %k [%i %i [BYTE|BIT]]"),
    (5, "BITPOS %k %b [%i [%i [BYTE|BIT]]]"),
    (4, "BITOP (AND|OR|XOR) %k {%k}"),
    (1, "BITOP NOT %k %k"),
    (
        6,
        "BITFIELD %k {(GET %e %w|SET %e %w %j|INCRBY %e %w %j|OVERFLOW (WRAP|SAT|FAIL))}",
    ),
    (2, "BITFIELD_RO %k {GET %e %w}"),
    (3, "DEL {%k}"),
    (1, "UNLINK {%k}"),
    (3, "EXISTS {%k}"),
    (1, "TOUCH {%k}"),
    (2, "TYPE %k"),
    (3, "RENAME %k %k"),
    (3, "RENAMENX %k %k"),
    (4, "COPY %k %k [DB %d] [REPLACE]"),
    (1, "RANDOMKEY"),
    (2, "KEYS %p"),
    (3, "SCAN 0 COUNT 1000 [MATCH %p] [TYPE %t]"),
    (1, "SCAN %i [MATCH %p] [COUNT %n] [TYPE %t]"),
    (2, "DBSIZE"),
    (1, "FLUSHDB [ASYNC|SYNC]"),
    (1, "FLUSHALL [ASYNC|SYNC]"),
    (3, "MOVE %k %d"),
    (1, "SWAPDB %d %d"),
    (4, "OBJECT (ENCODING|REFCOUNT|IDLETIME|FREQ) %k"),
    (4, "EXPIRE %k %s [NX|XX|GT|LT]"),
    (4, "PEXPIRE %k %m [NX|XX|GT|LT]"),
    (3, "EXPIREAT %k %S [NX|XX|GT|LT]"),
    (3, "PEXPIREAT %k %M [NX|XX|GT|LT]"),
    (1, "EXPIRE %k %s {(NX|XX|GT|LT)}"),
    (3, "TTL %k"),
    (2, "PTTL %k"),
    (2, "EXPIRETIME %k"),
    (2, "PEXPIRETIME %k"),
    (3, "PERSIST %k"),
    (3, "SELECT %d"),
    (6, "MULTI"),
    (2, "EXEC"),
    (1, "DISCARD"),
    (4, "WATCH {%k}"),
    (1, "UNWATCH"),
    (2, "PING [%v]"),
    (1, "ECHO %v"),
    (1, "NOSUCHCOMMAND {%a}"),
    (1, "OBJECT NOSUCH %k"),
];

/// In how many sequences keys expire. In these there is no DBSIZE, since an expired key counts until
/// somebody removes it; in the others there is one wherever a time would be.
const EXPIRING_SEQUENCES: f64 = 0.7;

/// In how many sequences keys are watched; in the others databases are swapped.
const WATCHING_SEQUENCES: f64 = 0.75;

/// Expiries that pass during the pause behind them. Outside MULTI only.
static SHORT_LIVED: &[&str] = &[
    "SET %k %v PX 12",
    "PSETEX %k 12 %v",
    "PEXPIRE %k 12",
    "GETEX %k PX 12",
    "PEXPIRE %k 12 (NX|XX|LT)",
];
const SHORT_LIVED_CHANCE: f64 = 0.01;
const PAUSE_MS: u64 = 30;

const MUTATION_CHANCE: f64 = 0.08;
const JOIN_CHANCE: f64 = 0.4;
const SWITCH_CHANCE: f64 = 0.2;
/// In a transaction, how often it ends.
const END_CHANCE: f64 = 0.15;

/// The sequence of a seed.
#[must_use]
pub fn sequence(seed: u64, count: usize) -> Vec<Step> {
    let mut rng = Rng::with_seed(seed);
    let expires = chance(&mut rng, EXPIRING_SEQUENCES);
    let watches = chance(&mut rng, WATCHING_SEQUENCES);
    let mut in_multi = [false; CONNECTIONS];
    let mut connection = 0;
    let mut steps = Vec::with_capacity(count);
    for _ in 0..count {
        if chance(&mut rng, SWITCH_CHANCE) {
            connection = rng.usize(..CONNECTIONS);
        }
        let mut step = Step {
            connection,
            words: Vec::new(),
            joined: chance(&mut rng, JOIN_CHANCE),
            pause_ms: 0,
        };
        if in_multi[connection] && chance(&mut rng, END_CHANCE) {
            step.words = vec![b"EXEC".to_vec()];
            in_multi[connection] = false;
        } else if expires && !in_multi.contains(&true) && chance(&mut rng, SHORT_LIVED_CHANCE) {
            let template = SHORT_LIVED[rng.usize(..SHORT_LIVED.len())];
            step.words = expand(&mut rng, template);
            (step.joined, step.pause_ms) = (false, PAUSE_MS);
        } else {
            let template = choose(&mut rng);
            step.words = expand(&mut rng, template);
            if has_time(&step.words) && !expires {
                step.words = vec![b"DBSIZE".to_vec()];
            } else if step.words[0].eq_ignore_ascii_case(b"DBSIZE") && expires {
                step.words = vec![b"PING".to_vec()];
            }
            let unwanted: &[u8] = if watches { b"SWAPDB" } else { b"WATCH" };
            if step.words[0].eq_ignore_ascii_case(unwanted) {
                step.words = vec![b"PING".to_vec()];
            }
            let name = step.words[0].to_ascii_uppercase();
            match &name[..] {
                b"MULTI" => in_multi[connection] = true,
                b"EXEC" | b"DISCARD" => in_multi[connection] = false,
                _ if chance(&mut rng, MUTATION_CHANCE) => mutate(&mut rng, &mut step.words),
                _ => {}
            }
        }
        steps.push(step);
    }
    // A transaction left open would hide what it did.
    for (connection, _) in in_multi.iter().enumerate().filter(|(_, open)| **open) {
        steps.push(Step::new(connection, &["EXEC"]));
    }
    steps
}

fn chance(rng: &mut Rng, probability: f64) -> bool {
    rng.f64() < probability
}

fn choose(rng: &mut Rng) -> &'static str {
    let total: u32 = COMMANDS.iter().map(|(weight, _)| weight).sum();
    let mut left = rng.u32(..total);
    for (weight, template) in COMMANDS {
        if left < *weight {
            return template;
        }
        left -= weight;
    }
    unreachable!("the weights add up to their sum")
}

fn expand(rng: &mut Rng, template: &str) -> Vec<Vec<u8>> {
    let mut words = Vec::new();
    expand_into(rng, template, &mut words);
    words
}

fn expand_into(rng: &mut Rng, template: &str, words: &mut Vec<Vec<u8>>) {
    let mut rest = template.trim_start();
    while let Some(first) = rest.chars().next() {
        let behind = if "[({".contains(first) {
            let (inner, behind) = split_group(rest);
            let times = match first {
                '[' => rng.usize(0..2),
                '(' => 1,
                _ => rng.usize(1..5),
            };
            for _ in 0..times {
                let alternatives = split_alternatives(inner);
                let chosen = alternatives[rng.usize(..alternatives.len())];
                expand_into(rng, chosen, words);
            }
            behind
        } else {
            let (literal, behind) = rest.split_once(' ').unwrap_or((rest, ""));
            words.push(match literal.strip_prefix('%') {
                Some(kind) => word(rng, kind),
                None => recase(rng, literal),
            });
            behind
        };
        rest = behind.trim_start();
    }
}

/// What is between the bracket at the start of `text` and the one that closes it, and what follows.
fn split_group(text: &str) -> (&str, &str) {
    let mut depth = 0;
    let end = text.find(|c| {
        depth += i32::from("[({".contains(c)) - i32::from("])}".contains(c));
        depth == 0
    });
    let end = end.expect("brackets in the table are balanced");
    (&text[1..end], &text[end + 1..])
}

fn split_alternatives(text: &str) -> Vec<&str> {
    let mut depth = 0;
    text.split(|c| {
        depth += i32::from("[({".contains(c)) - i32::from("])}".contains(c));
        c == '|' && depth == 0
    })
    .collect()
}

fn recase(rng: &mut Rng, literal: &str) -> Vec<u8> {
    match rng.u8(..4) {
        0 => literal.to_ascii_lowercase().into_bytes(),
        1 => {
            let flip = |c: u8| {
                if rng.bool() {
                    c.to_ascii_lowercase()
                } else {
                    c
                }
            };
            literal.bytes().map(flip).collect()
        }
        _ => literal.as_bytes().to_vec(),
    }
}

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
static INTEGERS: &[&str] = &[
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
static JUNK: &[&str] = &[
    "", "junk", "NX", "XX", "EX", "GET", "0", "-1", "abc", "KEEPTTL", "COUNT", "MATCH", "TYPE",
    "BIT", "REPLACE", "\"", "LEN", "PERSIST",
];

/// A word of a kind.
fn word(rng: &mut Rng, kind: &str) -> Vec<u8> {
    let from = |rng: &mut Rng, list: &[&str]| list[rng.usize(..list.len())].as_bytes().to_vec();
    let wrong = chance(rng, 0.1);
    let number = |number: i64| number.to_string().into_bytes();
    match kind {
        "k" => KEYS[rng.usize(..KEYS.len())].to_vec(),
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
        "t" => from(rng, &["string", "STRING", "list", "hash", "nosuch", ""]),
        "e" if wrong => from(rng, ENCODINGS),
        "e" => from(rng, &ENCODINGS[..14]),
        "w" if wrong => from(rng, FIELD_OFFSETS),
        "w" => from(rng, &FIELD_OFFSETS[..11]),
        other => unreachable!("there is no kind {other}"),
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

/// Makes a command wrong, mostly. Its name stays.
fn mutate(rng: &mut Rng, words: &mut Vec<Vec<u8>>) {
    let junk = JUNK[rng.usize(..JUNK.len())].as_bytes().to_vec();
    if words.len() == 1 || rng.u8(..4) == 0 {
        words.push(junk);
        return;
    }
    let at = rng.usize(1..words.len());
    match rng.u8(..4) {
        0 => drop(words.remove(at)),
        1 => words[at] = junk,
        2 => words.insert(at, words[at].clone()),
        // A small number must not become a time: it would pass on one server and not yet on the
        // other.
        _ if has_time(words) => drop(words.pop()),
        _ => {
            let other = rng.usize(1..words.len());
            words.swap(at, other);
        }
    }
}

/// Whether the command sets an expiry, or one that is much like it would.
pub(super) fn has_time(words: &[Vec<u8>]) -> bool {
    let name = words[0].to_ascii_uppercase();
    let names: [&[u8]; 6] = [
        b"SETEX",
        b"PSETEX",
        b"EXPIRE",
        b"PEXPIRE",
        b"EXPIREAT",
        b"PEXPIREAT",
    ];
    let options: [&[u8]; 4] = [b"EX", b"PX", b"EXAT", b"PXAT"];
    names.contains(&&name[..])
        || words
            .iter()
            .any(|word| options.contains(&&word.to_ascii_uppercase()[..]))
}
