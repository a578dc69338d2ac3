//! Where replies about places may differ.
//!
//! Without ASC, DESC or COUNT, places come in an order that follows from how the area was divided.
//! Distances are those of the server's mathematical functions: they may differ in the last bit, and
//! then, rarely, in the last digit that is shown.

use super::{Rule, Value};

const ORDER: &str = "without ASC or DESC places have no order";
const LAST_DIGIT: &str = "distances are rounded after they were computed in another way";

pub(super) static RULES: &[Rule] = &[
    Rule {
        command: "GEODIST",
        reason: LAST_DIGIT,
        same: |_, ours, theirs| close(ours, theirs),
    },
    search("GEOSEARCH"),
    search("GEORADIUS"),
    search("GEORADIUS_RO"),
    search("GEORADIUSBYMEMBER"),
    search("GEORADIUSBYMEMBER_RO"),
];

const fn search(command: &'static str) -> Rule {
    Rule {
        command,
        reason: ORDER,
        same: same_places,
    }
}

fn same_places(words: &[Vec<u8>], ours: &Value, theirs: &Value) -> bool {
    let says = |option: &str| {
        words
            .iter()
            .any(|word| word.eq_ignore_ascii_case(option.as_bytes()))
    };
    let (ours, theirs) = match (ours, theirs) {
        (Value::List(ours), Value::List(theirs)) => (ours.clone(), theirs.clone()),
        _ => return false,
    };
    if says("any") {
        return ours.len() == theirs.len();
    }
    if says("asc") || says("desc") || says("count") {
        return close(&Value::List(ours), &Value::List(theirs));
    }
    let sorted = |mut places: Vec<Value>| {
        places.sort_by_key(|place| place.list().first().unwrap_or(place).text());
        Value::List(places)
    };
    close(&sorted(ours), &sorted(theirs))
}

/// Equal but for the last digit of distances.
fn close(ours: &Value, theirs: &Value) -> bool {
    match (ours, theirs) {
        (Value::List(ours), Value::List(theirs)) => {
            let mut pairs = ours.iter().zip(theirs);
            ours.len() == theirs.len() && pairs.all(|(ours, theirs)| close(ours, theirs))
        }
        (Value::Bytes(our_text), Value::Bytes(their_text)) => {
            let distance = |text: &[u8]| std::str::from_utf8(text).ok()?.parse::<f64>().ok();
            let pair = distance(our_text).zip(distance(their_text));
            our_text == their_text || pair.is_some_and(|(a, b)| (a - b).abs() < 0.000_15)
        }
        _ => ours == theirs,
    }
}
