//! Commands on streams, with keys of their own.
//!
//! IDs are explicit, because `*` is each server's own clock. Most new ones rise through the whole
//! sequence ([`fill`]), and the others are near them, so that entries are found again. XSETID never
//! goes back behind a deleted entry, which Redis 7.0 lets pass and 7.2 does not. Idle times are far
//! from all limits they are compared with. BLOCK waits for a millisecond only: where nothing can be
//! served, Redis lets it pass.

use fastrand::Rng;

use super::chance;
use super::words::INTEGERS;

/// How often, and what. Kinds of words: see [`words`].
pub(super) static COMMANDS: &[(u32, &str)] = &[
    (
        20,
        "XADD %Xk [NOMKSTREAM] [MAXLEN [=|~] %Xn|MINID [=|~] %Xi] %Xnew {%Xf %Xv}",
    ),
    (14, "XADD %Xk %Xnew name %Xv number %Xv"),
    (8, "XADD %Xk %Xnew name %Xlong"),
    (3, "XADD %Xk (MAXLEN|MINID) ~ %Xn LIMIT %Xn %Xnew %Xf %Xv"),
    (3, "XADD %Xk %Xlow %Xf %Xv"),
    (3, "XADD %Xk %Xauto %Xf %Xv"),
    (1, "XADD %Xk %Xnew <%Xf %Xv>"),
    (1, "XADD %Xk [MAXLEN|LIMIT] [=|~] [%Xn] [%Xnew] {%Xv}"),
    (2, "XLEN %Xk"),
    (8, "XRANGE %Xk %Xs %Xe [COUNT %Xn]"),
    (8, "XREVRANGE %Xk %Xe %Xs [COUNT %Xn]"),
    (8, "XDEL %Xk {%Xi}"),
    (2, "XTRIM %Xk MAXLEN [=|~] %Xn"),
    (2, "XTRIM %Xk MINID [=|~] %Xi"),
    (
        1,
        "XTRIM %Xk (MAXLEN|MINID) [=|~] %Xn [LIMIT %Xn] [MAXLEN %Xn]",
    ),
    (4, "XREAD [COUNT %Xn] STREAMS %Xk %Xi"),
    (3, "XREAD [COUNT %Xn] [BLOCK 1] STREAMS %Xk %Xk %Xi %Xd"),
    (
        1,
        "XREAD [COUNT] [NOACK] [GROUP %Xg %Xc] STREAMS {%Xk} {%Xi}",
    ),
    (2, "XSETID %Xk %Xnew [ENTRIESADDED %Xn] [MAXDELETEDID %Xi]"),
    (1, "XSETID %Xk %Xlow [MAXDELETEDID] [ENTRIESADDED]"),
    (5, "XGROUP CREATE %Xk %Xg %Xd [MKSTREAM] [ENTRIESREAD %Xn]"),
    (2, "XGROUP SETID %Xk %Xg %Xd [ENTRIESREAD %Xn]"),
    (1, "XGROUP DESTROY %Xk %Xg"),
    (2, "XGROUP CREATECONSUMER %Xk %Xg %Xc"),
    (2, "XGROUP DELCONSUMER %Xk %Xg %Xc"),
    (
        1,
        "XGROUP (CREATE|SETID|NOSUCH) %Xk %Xg %Xd {MKSTREAM|ENTRIESREAD %Xn}",
    ),
    (
        14,
        "XREADGROUP GROUP %Xg %Xc [COUNT %Xn] [NOACK] STREAMS %Xk %Xh",
    ),
    (
        3,
        "XREADGROUP GROUP %Xg %Xc [COUNT %Xn] [BLOCK 1] STREAMS %Xk %Xk %Xh %Xh",
    ),
    (1, "XREADGROUP GROUP %Xg %Xc [STREAMS] STREAMS {%Xk} {%Xh}"),
    (6, "XACK %Xk %Xg {%Xi}"),
    (4, "XPENDING %Xk %Xg"),
    (5, "XPENDING %Xk %Xg [IDLE %Xt] %Xs %Xe %Xn [%Xc]"),
    (1, "XPENDING %Xk %Xg {%Xn}"),
    (
        6,
        "XCLAIM %Xk %Xg %Xc %Xt {%Xi} [IDLE %Xt] [RETRYCOUNT %Xn] [FORCE] [JUSTID] [LASTID %Xi]",
    ),
    (
        2,
        "XCLAIM %Xk %Xg %Xc %Xt {%Xi} {FORCE|TIME %Xn|IDLE %Xt|JUSTID|LASTID %Xi}",
    ),
    (6, "XAUTOCLAIM %Xk %Xg %Xc %Xt %Xs [COUNT %Xn] [JUSTID]"),
    (4, "XINFO STREAM %Xk"),
    (4, "XINFO STREAM %Xk FULL [COUNT %Xn]"),
    (4, "XINFO GROUPS %Xk"),
    (2, "XINFO CONSUMERS %Xk %Xg"),
    (1, "XINFO (STREAM|GROUPS|CONSUMERS|NOSUCH) %Xk [%Xg] [FULL]"),
    (1, "TYPE %Xk"),
    (1, "OBJECT ENCODING %Xk"),
    (1, "DEL %Xk"),
    (2, "COPY %Xk %Xk [REPLACE]"),
    (1, "RENAME %Xk %Xk"),
    (1, "MOVE %Xk %d"),
    (1, "EXPIRE %Xk %s"),
    (1, "PERSIST %Xk"),
    (1, "WATCH {%Xk}"),
    (1, "SET %Xk %v"),
    (1, "GET %Xk"),
    (1, "SCAN 0 COUNT 1000 TYPE stream"),
];

static KEYS: &[&str] = &["x1", "x2", "x3"];
static GROUPS: &[&str] = &["g1", "g2", "g3"];
static CONSUMERS: &[&str] = &["c1", "c2", "c3", "c4"];
static FIELDS: &[&str] = &["name", "number", "7", "", "a long name of a field"];

/// Stands for an ID that is greater than all before it in the sequence.
const NEW: &[u8] = b"@new";

/// Stands for the time of such an ID, without its number.
const NEW_AUTO: &[u8] = b"@auto";

/// Puts rising IDs in the place of their marks.
pub(super) fn fill(words: &mut [Vec<u8>], count: &mut u64) {
    for word in words.iter_mut() {
        let ms = *count / 3 + 2;
        if *word == NEW_AUTO {
            *word = format!("{ms}-*").into_bytes();
        } else if *word == NEW {
            *word = format!("{ms}-{}", *count % 3).into_bytes();
            *count += 1;
        }
    }
}

/// Whether the command may be made wrong at random: none that could then wait for ever.
pub(super) fn may_mutate(words: &[Vec<u8>]) -> bool {
    !words.iter().any(|word| word.eq_ignore_ascii_case(b"BLOCK"))
}

/// The words of a kind: keys (`k`), groups (`g`), consumers (`c`), fields (`f`), values (`v`,
/// `long`), IDs (`i`), new ones (`new`, `auto`) and such that are too small (`low`), starts (`s`)
/// and ends (`e`) of ranges, IDs or `$` (`d`), IDs or `>` (`h`), counts (`n`), idle times (`t`).
pub(super) fn words(rng: &mut Rng, kind: &str) -> Vec<Vec<u8>> {
    vec![word(rng, kind)]
}

fn word(rng: &mut Rng, kind: &str) -> Vec<u8> {
    let from = |rng: &mut Rng, list: &[&str]| list[rng.usize(..list.len())].as_bytes().to_vec();
    let number = |number: u64| number.to_string().into_bytes();
    let wrong = chance(rng, 0.04);
    match kind {
        "k" if wrong => from(rng, &["a", "s1", "none"]),
        "k" if rng.bool() => b"x1".to_vec(),
        "k" => from(rng, KEYS),
        "g" if wrong => from(rng, &["nogroup", ""]),
        "g" => from(rng, GROUPS),
        "c" => from(rng, CONSUMERS),
        "f" => from(rng, FIELDS),
        "v" => value(rng),
        "long" => vec![b'v'; rng.usize(500..2500)],
        "new" => NEW.to_vec(),
        "auto" if wrong => from(rng, &["0-*", "5-*", "*-*", "-*"]),
        "auto" => NEW_AUTO.to_vec(),
        "low" => from(
            rng,
            &["0", "0-0", "0-1", "1-1", "-", "+", "5-", "1-1-1", "abc", ""],
        ),
        "i" if wrong => from(rng, INTEGERS),
        "i" if chance(rng, 0.04) => from(rng, &["-", "+", "5-", "1-1-1", "0-0", "07-1"]),
        "i" if chance(rng, 0.2) => number(rng.u64(..60)),
        "i" => format!("{}-{}", rng.u64(1..60), rng.u64(..3)).into_bytes(),
        "s" if chance(rng, 0.3) => from(rng, &["-", "0", "(0", "+", "(+"]),
        "e" if chance(rng, 0.3) => from(rng, &["+", "999", "(999-5", "-", "(0-0"]),
        "s" | "e" if chance(rng, 0.2) => [b"(", &word(rng, "i")[..]].concat(),
        "s" | "e" => word(rng, "i"),
        "d" if chance(rng, 0.3) => b"$".to_vec(),
        "d" if chance(rng, 0.3) => b"0".to_vec(),
        "h" if chance(rng, 0.6) => b">".to_vec(),
        "h" if chance(rng, 0.4) => b"0".to_vec(),
        "d" | "h" => word(rng, "i"),
        "n" if wrong => from(rng, &["-1", "", "x", "01"]),
        "n" if chance(rng, 0.2) => number(rng.u64(10..300)),
        "n" => number(rng.u64(0..8)),
        "t" if wrong => from(rng, &["-1", "", "x", "01"]),
        "t" => from(rng, &["0", "0", "100000000", "200000000", "400000000"]),
        other => unreachable!("there is no kind {other}"),
    }
}

fn value(rng: &mut Rng) -> Vec<u8> {
    match rng.u8(..10) {
        0 => vec![b'e'; [62, 63, 64, 126, 127, 128][rng.usize(..6)]],
        1 => (rng.i64(..) >> rng.u32(..64)).to_string().into_bytes(),
        2 => (0..rng.usize(..30)).map(|_| rng.u8(..)).collect(),
        3 => Vec::new(),
        _ => rng.u64(..200).to_string().into_bytes(),
    }
}
