//! Where replies about streams may differ: times, and what Redis 7.2 tells in addition.

use super::{CLOCK_TOLERANCE_MS, CLOCKS, Rule, Value};

const NEWER: &str = "Redis 7.2 tells when a consumer last got something, and times differ";

pub(super) static RULES: &[Rule] = &[
    Rule {
        command: "XPENDING",
        reason: CLOCKS,
        same: |_, ours, theirs| same_pending(ours, theirs),
    },
    Rule {
        command: "XINFO CONSUMERS",
        reason: NEWER,
        same: |_, ours, theirs| same(ours, theirs),
    },
    Rule {
        command: "XINFO STREAM",
        reason: NEWER,
        same: |_, ours, theirs| same(ours, theirs),
    },
];

/// Fields that Redis 7.0 does not have.
const NEW_FIELDS: [&str; 2] = ["active-time", "inactive"];

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

fn same(ours: &Value, theirs: &Value) -> bool {
    match (ours, theirs) {
        (Value::Integer(ours), Value::Integer(theirs)) if *ours > TIMES => close(*ours, *theirs),
        (Value::List(ours), Value::List(theirs)) => same_list(ours, theirs),
        (Value::Map(ours), Value::Map(theirs)) => {
            let ours: Vec<_> = ours.iter().filter(|(name, _)| !is_new(name)).collect();
            let same_field = |(ours, theirs): (&&(Value, Value), &(Value, Value))| {
                ours.0 == theirs.0 && (ours.0 == Value::bytes("idle") || same(&ours.1, &theirs.1))
            };
            ours.len() == theirs.len() && ours.iter().zip(theirs).all(same_field)
        }
        _ => ours == theirs,
    }
}

/// The same elements, without what is new, and with any idle times.
fn same_list(ours: &[Value], theirs: &[Value]) -> bool {
    let ours = without_new(ours);
    let is_idle = |at: usize| at > 0 && *ours[at - 1] == Value::bytes("idle");
    ours.len() == theirs.len()
        && (0..ours.len()).all(|at| is_idle(at) || same(ours[at], &theirs[at]))
}

fn is_new(name: &Value) -> bool {
    NEW_FIELDS.iter().any(|field| *name == Value::bytes(field))
}

/// A list without the fields, with their values, that Redis 7.0 does not have.
fn without_new(list: &[Value]) -> Vec<&Value> {
    let mut kept = Vec::new();
    let mut at = 0;
    while at < list.len() {
        if is_new(&list[at]) {
            at += 2;
        } else {
            kept.push(&list[at]);
            at += 1;
        }
    }
    kept
}
