//! SORT, on keys of its own: elements that are numbers, or words, or both, and what patterns name.
//!
//! Where Redis leaves the order open, nothing is asked: sets are not listed as they stand, and what
//! is sorted by ALPHA BY is a list without LIMIT, which Redis sorts with a stable algorithm.

use fastrand::Rng;

use super::chance;

/// How often, and what.
pub(super) static COMMANDS: &[(u32, &str)] = &[
    (6, "RPUSH %Qlist {%Qe}"),
    (4, "SADD %Qset {%Qe}"),
    (4, "ZADD %Qzset %Qn %Qe"),
    (3, "LREM %Qlist 1 %Qe"),
    (2, "DEL %Qk"),
    (6, "SET %Qweight %Qe"),
    (4, "HSET %Qhash (f|w) %Qe"),
    (1, "RPUSH %Qweight x"),
    (10, "(SORT|SORT_RO) %Qk [ASC|DESC] [LIMIT %Qi %Qi] [ALPHA]"),
    (
        6,
        "(SORT|SORT_RO) %Qk BY (weight:*|hash:*->w|hash:*->|*|weight:**) [DESC] [LIMIT %Qi %Qi]",
    ),
    (
        4,
        "SORT %Qlist BY (weight:*|hash:*->w) ALPHA [DESC] [GET #]",
    ),
    (
        4,
        "(SORT|SORT_RO) (sort:l1|sort:l2|sort:z1|sort:z2) BY nosort [DESC] [LIMIT %Qi %Qi] [GET #]",
    ),
    (
        6,
        "(SORT|SORT_RO) %Qk {GET %Qp} ALPHA [LIMIT %Qi %Qi] [DESC]",
    ),
    (5, "SORT %Qk {GET %Qp} ALPHA STORE %Qk"),
    (4, "SORT %Qk [ALPHA] [DESC] [LIMIT %Qi %Qi] STORE %Qk"),
    (2, "SORT %Qset BY nosort STORE %Qlist"),
    (
        1,
        "(SORT|SORT_RO) %Qk (STORE|BY|GET|LIMIT 1|LIMIT a b|NOPE)",
    ),
    (1, "SORT_RO %Qk STORE %Qk"),
    (2, "LRANGE %Qlist 0 -1"),
    (2, "OBJECT ENCODING %Qlist"),
];

static LISTS: &[&str] = &["sort:l1", "sort:l2"];
static SETS: &[&str] = &["sort:s1", "sort:s2"];
static SORTED_SETS: &[&str] = &["sort:z1", "sort:z2"];
static ELEMENTS: &[&str] = &[
    "1", "2", "3", "10", "-1", "007", "1.5", "1e3", "inf", "-inf", "0", "5", "6", "20",
];
static WORDS: &[&str] = &[
    "a", "b", "abc", "", " 1", "1 ", "nan", "0x10", "1e999", "x y",
];

/// The words of a kind: keys of a type or any, elements (`e`), numbers (`n`), places (`i`),
/// patterns (`p`), what patterns name (`weight`, `hash`).
pub(super) fn words(rng: &mut Rng, kind: &str) -> Vec<Vec<u8>> {
    let from = |rng: &mut Rng, list: &[&str]| list[rng.usize(..list.len())].to_owned();
    let word = match kind {
        "list" => from(rng, LISTS),
        "set" => from(rng, SETS),
        "zset" => from(rng, SORTED_SETS),
        "k" if chance(rng, 0.03) => from(rng, &["weight:1", "hash:1", "sort:none"]),
        "k" => {
            let keys = [LISTS, SETS, SORTED_SETS][rng.usize(..3)];
            from(rng, keys)
        }
        "e" if chance(rng, 0.04) => from(rng, WORDS),
        "e" => from(rng, ELEMENTS),
        "n" => rng.i64(-5..20).to_string(),
        "i" if chance(rng, 0.05) => {
            from(rng, &["x", "9223372036854775807", "-9223372036854775808"])
        }
        "i" => rng.i64(-3..8).to_string(),
        "p" => from(
            rng,
            &[
                "#",
                "weight:*",
                "hash:*->f",
                "hash:*->nope",
                "hash:*",
                "fixed",
                "*",
            ],
        ),
        "weight" => format!("weight:{}", from(rng, ELEMENTS)),
        "hash" => format!("hash:{}", from(rng, ELEMENTS)),
        other => unreachable!("there is no kind {other}"),
    };
    vec![word.into_bytes()]
}
