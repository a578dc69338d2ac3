//! Commands on lists, with keys of their own.
//!
//! Elements are few, so that they are found again, and of all the sizes at which something changes
//! inside; bulks make lists of several packs. Left out: numbers of keys near 2^63, which Redis adds
//! to without a check.

use fastrand::Rng;

use super::chance;
use super::words::INTEGERS;

/// How often, and what. Kinds of words: see [`words`].
pub(super) static COMMANDS: &[(u32, &str)] = &[
    (8, "LPUSH %Lk {%Le}"),
    (8, "RPUSH %Lk {%Le}"),
    (4, "(LPUSH|RPUSH) %Lk %Lbulk"),
    (2, "LPUSHX %Lk {%Le}"),
    (2, "RPUSHX %Lk {%Le}"),
    (5, "(LPOP|RPOP) %Lk"),
    (4, "(LPOP|RPOP) %Lk %Ln"),
    (1, "(LPOP|RPOP) %Lk %Ln %Ln"),
    (3, "LLEN %Lk"),
    (6, "LRANGE %Lk %Li %Li"),
    (5, "LINDEX %Lk %Li"),
    (6, "LSET %Lk %Li %Le"),
    (8, "LINSERT %Lk (BEFORE|AFTER) %Le %Le"),
    (1, "LINSERT %Lk [BESIDE] %Le %Le"),
    (5, "LREM %Lk %Li %Le"),
    (4, "LTRIM %Lk %Li %Li"),
    (5, "LPOS %Lk %Le [RANK %Lr] [COUNT %Ln] [MAXLEN %Ln]"),
    (1, "LPOS %Lk %Le {(RANK %Lr|COUNT %Ln|MAXLEN %Ln)}"),
    (6, "LMOVE %Lk %Lk (LEFT|RIGHT) (LEFT|RIGHT)"),
    (1, "LMOVE %Lk %Lk [UP] [LEFT|RIGHT]"),
    (3, "RPOPLPUSH %Lk %Lk"),
    (3, "LMPOP 2 %Lk %Lk (LEFT|RIGHT) [COUNT %Ln]"),
    (1, "LMPOP %Ls {%Lk} (LEFT|RIGHT) [COUNT %Ln]"),
    (1, "LMPOP 1 %Lk (LEFT|RIGHT) [COUNT] %Ln [COUNT %Ln]"),
    (3, "OBJECT ENCODING %Lk"),
    (1, "TYPE %Lk"),
    (2, "DEL %Lk"),
    (2, "COPY %Lk %Lk [REPLACE]"),
    (1, "RENAME %Lk %Lk"),
    (1, "MOVE %Lk %d"),
    (1, "EXPIRE %Lk %s"),
    (1, "PERSIST %Lk"),
    (1, "WATCH {%Lk}"),
    (1, "SET %Lk %v"),
    (1, "GET %Lk"),
    (1, "APPEND %Lk %v"),
    (1, "SCAN 0 COUNT 1000 TYPE list"),
];

static KEYS: &[&str] = &["l1", "l2", "l3", "l4"];

static ELEMENTS: &[&str] = &[
    "a", "b", "c", "0", "1", "-1", "127", "128", "07", "-0", "+1", "1.0", "", "hello",
];

/// Elements around the sizes at which their form changes.
const LENGTHS: &[usize] = &[
    62, 63, 64, 125, 126, 127, 300, 1000, 2500, 4000, 4095, 4096, 8100, 8177, 8186, 9000,
];

/// The words of a kind: keys (`k`), elements (`e`), many of them (`bulk`), indexes (`i`), ranks
/// (`r`), counts (`n`) and small ones (`s`).
pub(super) fn words(rng: &mut Rng, kind: &str) -> Vec<Vec<u8>> {
    match kind {
        "bulk" => {
            let length = [0, 1, 3, 30, 100][rng.usize(..5)];
            let elements = (0..rng.usize(60..300)).map(|number| {
                let text = number.to_string().into_bytes();
                match rng.u8(..4) {
                    0 => element(rng),
                    _ => [&vec![b'x'; length], &text[..]].concat(),
                }
            });
            elements.collect()
        }
        _ => vec![word(rng, kind)],
    }
}

fn word(rng: &mut Rng, kind: &str) -> Vec<u8> {
    let from = |rng: &mut Rng, list: &[&str]| list[rng.usize(..list.len())].as_bytes().to_vec();
    let number = |number: i64| number.to_string().into_bytes();
    let wrong = chance(rng, 0.05);
    match kind {
        "k" if wrong => from(rng, &["a", "b", "none"]),
        "k" => from(rng, KEYS),
        "e" => element(rng),
        "i" if wrong => from(rng, INTEGERS),
        "i" if chance(rng, 0.3) => number(rng.i64(-400..400)),
        "i" => number(rng.i64(-8..9)),
        // Before 7.2 the least of all integers was taken for -1 as a rank.
        "r" => loop {
            let word = self::word(rng, "i");
            if word != b"-9223372036854775808" {
                return word;
            }
        },
        "n" if wrong => from(rng, &["-1", "", "x", "01", "9223372036854775807"]),
        "n" if chance(rng, 0.1) => number(rng.i64(50..300)),
        "n" => number(rng.i64(0..8)),
        "s" if wrong => from(rng, &["0", "-1", "", "x", "99999999999", "01"]),
        "s" => number(rng.i64(1..6)),
        other => unreachable!("there is no kind {other}"),
    }
}

fn element(rng: &mut Rng) -> Vec<u8> {
    match rng.u8(..20) {
        0 => vec![b'e'; LENGTHS[rng.usize(..LENGTHS.len())]],
        1 => (rng.i64(..) >> rng.u32(..64)).to_string().into_bytes(),
        2 => (0..rng.usize(1..30)).map(|_| rng.u8(..)).collect(),
        3 => rng.i64(..300).to_string().into_bytes(),
        _ => ELEMENTS[rng.usize(..ELEMENTS.len())].as_bytes().to_vec(),
    }
}
