//! Where replies about sorted sets may differ.
//!
//! Redis 7.0 prints a score with 17 digits, where 7.2 and Bailiwick print the shortest text that
//! reads back the same: such replies agree if they have the same numbers in the same places.

use super::{Rule, Value};

const DIGITS: &str = "7.0 prints the same double with more digits";
const ORDER_OF_HASHES: &str = "a large set is scanned in the order of a hash table";
const CHANCE: &str = "any members will do";

pub(super) static RULES: &[Rule] = &[
    scores("ZADD"),
    scores("ZINCRBY"),
    scores("ZSCORE"),
    scores("ZMSCORE"),
    scores("ZRANGE"),
    scores("ZREVRANGE"),
    scores("ZRANGEBYSCORE"),
    scores("ZREVRANGEBYSCORE"),
    scores("ZPOPMIN"),
    scores("ZPOPMAX"),
    scores("ZMPOP"),
    scores("ZUNION"),
    scores("ZINTER"),
    scores("ZDIFF"),
    Rule {
        command: "ZSCAN",
        reason: ORDER_OF_HASHES,
        same: same_scan,
    },
    Rule {
        command: "ZRANDMEMBER",
        reason: CHANCE,
        same: same_choice,
    },
];

const fn scores(command: &'static str) -> Rule {
    Rule {
        command,
        reason: DIGITS,
        same: |_, ours, theirs| same_numbers(ours, theirs),
    }
}

fn same_numbers(ours: &Value, theirs: &Value) -> bool {
    match (ours, theirs) {
        (Value::List(ours), Value::List(theirs)) => {
            let mut pairs = ours.iter().zip(theirs);
            ours.len() == theirs.len() && pairs.all(|(ours, theirs)| same_numbers(ours, theirs))
        }
        (Value::Bytes(our_text), Value::Bytes(their_text)) => {
            ours == theirs
                || matches!((number(our_text), number(their_text)), (Some(a), Some(b)) if a == b)
        }
        _ => ours == theirs,
    }
}

fn number(text: &[u8]) -> Option<f64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// A scan that starts at 0 and was over at once has everything; nothing else can be compared.
fn same_scan(words: &[Vec<u8>], ours: &Value, theirs: &Value) -> bool {
    let ([our_cursor, our_pairs], [their_cursor, their_pairs]) = (ours.list(), theirs.list())
    else {
        return false;
    };
    let end = Value::bytes("0");
    let is_over = *our_cursor == end && *their_cursor == end;
    let sorted = |pairs: &Value| {
        let mut pairs = pairs
            .list()
            .chunks(2)
            .map(<[Value]>::to_vec)
            .collect::<Vec<_>>();
        pairs.sort_by_key(|pair| pair[0].text());
        Value::List(pairs.into_iter().flatten().collect())
    };
    words[2] != b"0" || !is_over || same_numbers(&sorted(our_pairs), &sorted(their_pairs))
}

/// One member, or as many of them.
fn same_choice(_: &[Vec<u8>], ours: &Value, theirs: &Value) -> bool {
    match (ours, theirs) {
        (Value::Bytes(_), Value::Bytes(_)) => true,
        (Value::List(ours), Value::List(theirs)) => ours.len() == theirs.len(),
        _ => false,
    }
}
