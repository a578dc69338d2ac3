//! Random sequences of commands: mostly right, sometimes wrong in every way a client can be.
//!
//! The tables of commands are written in a small notation. `%x` is a random word of a kind (see
//! [`word`]), `[a|b]` is one of the alternatives or nothing, `(a|b)` is one of them, `{a}` is
//! repeated one to four times, `<a>` once or very often; these nest. Words in capitals get random
//! casing.
//!
//! What a sequence must not depend on is avoided here: expiries are far away, past, or so near that
//! a pause lets them pass on both servers. INCRBYFLOAT has two keys of its own, with numbers of a
//! moderate size and fractions that are sums of powers of two, since for others Redis shows the
//! rounding of the C compiler's `long double`, where Bailiwick computes in decimals. A sequence has
//! WATCH or SWAPDB, not both: after a SWAPDB, Bailiwick takes every absent key that is watched for
//! changed, which costs a retry, where Redis looks into both databases.

mod geo;
mod hash;
mod hyperloglog;
mod list;
mod set;
mod sort;
mod sorted_set;
mod stream;
mod strings;
mod words;

use fastrand::Rng;

use super::{CONNECTIONS, Step};
use words::{JUNK, word};

/// The logical databases that a sequence can reach.
pub const DATABASES: [&str; 4] = ["0", "1", "2", "15"];

/// How often, and what.
type Table = &'static [(u32, &'static str)];

/// What every sequence has.
static BASE: Table = strings::COMMANDS;

/// Commands of one type of values each, of which a sequence has some.
static FAMILIES: &[Table] = &[
    hash::COMMANDS,
    set::COMMANDS,
    list::COMMANDS,
    sorted_set::COMMANDS,
    geo::COMMANDS,
    sort::COMMANDS,
    stream::COMMANDS,
    hyperloglog::COMMANDS,
];

/// How likely a family is part of a sequence.
const FAMILY_CHANCE: f64 = 0.4;

/// How often what stands in `<>` is repeated.
const MANY: [usize; 5] = [1, 40, 130, 300, 600];

/// In how many sequences keys expire. In these there is no DBSIZE, since an expired key counts
/// until somebody removes it; in the others there is one wherever a time would be.
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
    let mut tables = vec![BASE];
    tables.extend(FAMILIES.iter().filter(|_| chance(&mut rng, FAMILY_CHANCE)));
    let mut in_multi = [false; CONNECTIONS];
    let mut connection = 0;
    let mut new_ids = 0;
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
            let template = choose(&mut rng, &tables);
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
                // With other arguments it would choose at random, and each server another member.
                b"SPOP" => {}
                // Its set is to have a single member.
                b"SADD" if step.words[1] == b"one" => {}
                // Another order of its words may ask for what has no order.
                b"SORT" | b"SORT_RO" => {}
                _ if !sorted_set::may_mutate(&step.words) => {}
                _ if !stream::may_mutate(&step.words) => {}
                _ if chance(&mut rng, MUTATION_CHANCE) => mutate(&mut rng, &mut step.words),
                _ => {}
            }
        }
        stream::fill(&mut step.words, &mut new_ids);
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

fn choose(rng: &mut Rng, tables: &[Table]) -> &'static str {
    let rows = || tables.iter().copied().flatten();
    let total: u32 = rows().map(|(weight, _)| weight).sum();
    let mut left = rng.u32(..total);
    for (weight, template) in rows() {
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
        let behind = if "[({<".contains(first) {
            let (inner, behind) = split_group(rest);
            let times = match first {
                '[' => rng.usize(0..2),
                '(' => 1,
                '<' => MANY[rng.usize(..MANY.len())],
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
            match literal.strip_prefix('%') {
                Some(kind) => words.extend(words_of(rng, kind)),
                None => words.push(recase(rng, literal)),
            }
            behind
        };
        rest = behind.trim_start();
    }
}

/// What stands for `%kind`; the kinds of lists begin with an L, those of sorted sets with a Z,
/// those of places with a G, those of SORT with a Q, those of streams with an X, those of sketches
/// with a P.
fn words_of(rng: &mut Rng, kind: &str) -> Vec<Vec<u8>> {
    match kind.split_at(1) {
        ("L", kind) => list::words(rng, kind),
        ("Z", kind) => sorted_set::words(rng, kind),
        ("G", kind) => geo::words(rng, kind),
        ("Q", kind) => sort::words(rng, kind),
        ("X", kind) => stream::words(rng, kind),
        ("P", kind) => hyperloglog::words(rng, kind),
        _ => vec![word(rng, kind)],
    }
}

/// What is between the bracket at the start of `text` and the one that closes it, and what follows.
fn split_group(text: &str) -> (&str, &str) {
    let mut depth = 0;
    let end = text.find(|c| {
        depth += i32::from("[({<".contains(c)) - i32::from("])}>".contains(c));
        depth == 0
    });
    let end = end.expect("brackets in the table are balanced");
    (&text[1..end], &text[end + 1..])
}

fn split_alternatives(text: &str) -> Vec<&str> {
    let mut depth = 0;
    text.split(|c| {
        depth += i32::from("[({<".contains(c)) - i32::from("])}>".contains(c));
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
