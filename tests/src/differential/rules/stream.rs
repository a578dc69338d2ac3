//! Where replies about streams may differ: times, and what Redis 7.2 does in another way than 7.0.

use super::{CLOCK_TOLERANCE_MS, CLOCKS, Rule, Value, both_integers};

const NEWER: &str = "Redis 7.2 adds a consumer to its group also if there is nothing for it, and \
                     tells when it last got something";

pub(super) static RULES: &[Rule] = &[
    Rule {
        command: "XPENDING",
        reason: CLOCKS,
        same: |_, ours, theirs| same_pending(ours, theirs),
    },
    Rule {
        command: "XGROUP CREATECONSUMER",
        reason: NEWER,
        same: both_integers,
    },
    description("XINFO CONSUMERS"),
    description("XINFO GROUPS"),
    description("XINFO STREAM"),
];

const fn description(command: &'static str) -> Rule {
    Rule {
        command,
        reason: NEWER,
        same: same_description,
    }
}

fn same_description(_: &[Vec<u8>], ours: &Value, theirs: &Value) -> bool {
    close_times(&comparable(ours), &comparable(theirs))
}

/// Fields that Redis 7.0 does not have, or that tell how long ago something was.
const LEFT_OUT: [&str; 3] = ["active-time", "inactive", "idle"];

/// Greater numbers in these replies are times since 1970.
const TIMES: i64 = 1_000_000_000_000;

fn close(ours: i64, theirs: i64) -> bool {
    (ours - theirs).abs() <= CLOCK_TOLERANCE_MS
}

/// The sum, or entries with an idle time as third element.
fn same_pending(ours: &Value, theirs: &Value) -> bool {
    let same_entry = |(ours, theirs): (&Value, &Value)| match (ours.list(), theirs.list()) {
        (
            [our_id, our_consumer, Value::Integer(ours), our_count],
            [id, consumer, Value::Integer(theirs), count],
        ) => (our_id, our_consumer, our_count) == (id, consumer, count) && close(*ours, *theirs),
        _ => false,
    };
    let (ours, theirs) = (ours.list(), theirs.list());
    ours.len() == theirs.len() && ours.iter().zip(theirs).all(same_entry)
}

/// A description without what may differ but times: maps as lists of their pairs, by name.
fn comparable(value: &Value) -> Value {
    match value {
        Value::List(list) => Value::List(without_differences(list)),
        Value::Map(pairs) => {
            let mut pairs = pairs.clone();
            pairs.sort_by_key(|(name, _)| format!("{name:?}"));
            let flat: Vec<Value> = pairs.into_iter().flat_map(<[Value; 2]>::from).collect();
            Value::List(without_differences(&flat))
        }
        other => other.clone(),
    }
}

fn without_differences(list: &[Value]) -> Vec<Value> {
    let is = |value: &Value, names: &[&str]| names.iter().any(|name| *value == Value::bytes(name));
    let mut kept = Vec::new();
    let mut at = 0;
    while at < list.len() {
        let is_count = matches!(list.get(at + 1), Some(Value::Integer(_)));
        if is(&list[at], &LEFT_OUT) || is_count && is(&list[at], &["consumers"]) {
            at += 2;
            continue;
        }
        if !has_nothing(&list[at]) {
            kept.push(comparable(&list[at]));
        }
        at += 1;
    }
    kept
}

/// Whether this describes a consumer without pending entries.
fn has_nothing(value: &Value) -> bool {
    let field = |wanted: &str| match value {
        Value::Map(pairs) => {
            let found = pairs.iter().find(|(name, _)| *name == Value::bytes(wanted));
            found.map(|(_, value)| value)
        }
        list => {
            let mut pairs = list.list().chunks_exact(2);
            let found = pairs.find(|pair| pair[0] == Value::bytes(wanted));
            found.map(|pair| &pair[1])
        }
    };
    let zero = Value::Integer(0);
    let nothing = Some(&zero);
    let is_idle = field("idle").is_some() && field("pending") == nothing;
    is_idle || field("seen-time").is_some() && field("pel-count") == nothing
}

fn close_times(ours: &Value, theirs: &Value) -> bool {
    match (ours, theirs) {
        (Value::Integer(ours), Value::Integer(theirs)) if *ours > TIMES => close(*ours, *theirs),
        (Value::List(ours), Value::List(theirs)) => {
            let mut pairs = ours.iter().zip(theirs);
            ours.len() == theirs.len() && pairs.all(|(ours, theirs)| close_times(ours, theirs))
        }
        _ => ours == theirs,
    }
}
