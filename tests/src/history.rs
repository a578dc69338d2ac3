//! What clients asked of a store, when, and what they were told.
//!
//! Owns the record of operations on single keys: the moments of the call and of the answer, and an
//! outcome that never claims more than the client knows.
//! [`linearizability`](crate::linearizability) judges it. Nothing here looks at a clock: times are
//! numbers that the caller gives, in any unit that never runs back, so a simulation records with
//! its own.
//!
//! The rule for outcomes: what was answered is [`Outcome::Answered`]; what was refused by an error
//! that promises that nothing has happened is [`Outcome::Refused`]; everything else, a lost
//! connection, a time-out, an error that says so, is [`Outcome::Unknown`], and such a write may
//! take effect at any later moment or never.

use std::collections::BTreeMap;
use std::fmt;

/// What is asked of one key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// `GET`: the value.
    Get,
    /// `SET`: nothing to tell.
    Set(Vec<u8>),
    /// `SET key value GET`: the value before.
    Swap(Vec<u8>),
    /// `APPEND`: the length after.
    Append(Vec<u8>),
    /// `INCR`: the number after.
    Increment,
    /// `DEL`: how many keys there were to delete, 0 or 1.
    Delete,
}

impl Operation {
    /// Whether it changes nothing.
    #[must_use]
    pub fn is_read(&self) -> bool {
        *self == Self::Get
    }
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Reply {
    /// Done, with nothing to tell; of a write whose answer did not matter, too.
    Done,
    /// The value, or that there is none.
    Value(Option<Vec<u8>>),
    /// A number or a length.
    Number(i64),
}

/// What the client knows afterwards.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It was done, with this answer.
    Answered(Reply),
    /// It was not done and never will be.
    Refused,
    /// Nothing.
    Unknown,
}

/// One operation of one client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Whose it was; only for messages.
    pub client: u32,
    /// On which key.
    pub key: String,
    /// What was asked.
    pub operation: Operation,
    /// When it was asked.
    pub invoked: u64,
    /// When the outcome was known; `invoked <= returned`. Without meaning if it is unknown.
    pub returned: u64,
    /// What came of it.
    pub outcome: Outcome,
}

impl fmt::Display for Record {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            client,
            key,
            invoked,
            returned,
            ..
        } = self;
        match self.outcome {
            Outcome::Unknown => write!(out, "[{invoked}, ...)")?,
            _ => write!(out, "[{invoked}, {returned}]")?,
        }
        write!(
            out,
            " client {client}: {} {key} -> ",
            Shown(&self.operation)
        )?;
        match &self.outcome {
            Outcome::Answered(Reply::Done) => write!(out, "done"),
            Outcome::Answered(Reply::Number(number)) => write!(out, "{number}"),
            Outcome::Answered(Reply::Value(None)) => write!(out, "nil"),
            Outcome::Answered(Reply::Value(Some(value))) => write!(out, "{}", shorten(value)),
            Outcome::Refused => write!(out, "refused"),
            Outcome::Unknown => write!(out, "unknown"),
        }
    }
}

struct Shown<'a>(&'a Operation);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Operation::Get => write!(out, "get"),
            Operation::Set(value) => write!(out, "set({})", shorten(value)),
            Operation::Swap(value) => write!(out, "swap({})", shorten(value)),
            Operation::Append(value) => write!(out, "append({})", shorten(value)),
            Operation::Increment => write!(out, "incr"),
            Operation::Delete => write!(out, "del"),
        }
    }
}

/// The end of a value: what was added last tells more than what everything begins with.
fn shorten(value: &[u8]) -> String {
    const SHOWN_BYTES: usize = 60;
    let tail = &value[value.len().saturating_sub(SHOWN_BYTES)..];
    let dots = if tail.len() < value.len() { "..." } else { "" };
    format!("\"{dots}{}\"", tail.escape_ascii())
}

/// An operation that has begun: what [`History::finish`] wants back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Begun(usize);

/// The operations of one or more clients, in the order in which they were recorded.
#[derive(Clone, Debug, Default)]
pub struct History {
    records: Vec<Record>,
}

impl History {
    /// Records a call. Until it is [finished](Self::finish), its outcome is unknown.
    pub fn begin(&mut self, client: u32, key: &str, operation: Operation, now: u64) -> Begun {
        self.records.push(Record {
            client,
            key: key.to_owned(),
            operation,
            invoked: now,
            returned: now,
            outcome: Outcome::Unknown,
        });
        Begun(self.records.len() - 1)
    }

    /// Records what came of a call.
    ///
    /// # Panics
    /// If time has run back, or the call is not of this history.
    pub fn finish(&mut self, begun: Begun, outcome: Outcome, now: u64) {
        let record = &mut self.records[begun.0];
        assert!(
            record.invoked <= now,
            "{record} ended at {now}, before it began"
        );
        record.returned = now;
        record.outcome = outcome;
    }

    /// Adds another one, recorded by the same clock.
    pub fn merge(&mut self, other: Self) {
        self.records.extend(other.records);
    }

    /// All that was recorded.
    #[must_use]
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// The operations on each key. Keys are independent of each other: a store is linearizable if
    /// it is on each key.
    #[must_use]
    pub fn by_key(&self) -> BTreeMap<&str, Vec<&Record>> {
        let mut keys = BTreeMap::<_, Vec<_>>::new();
        for record in &self.records {
            keys.entry(record.key.as_str()).or_default().push(record);
        }
        keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_never_finished_is_unknown() {
        let mut history = History::default();
        let first = history.begin(1, "a", Operation::Increment, 5);
        history.begin(2, "b", Operation::Get, 6);
        history.finish(first, Outcome::Answered(Reply::Number(1)), 9);
        assert_eq!(history.records()[0].returned, 9);
        assert_eq!(history.records()[1].outcome, Outcome::Unknown);
        assert_eq!(history.by_key().len(), 2);
    }

    #[test]
    fn a_record_is_shown_with_its_times_and_its_answer() {
        let mut history = History::default();
        let begun = history.begin(1, "k", Operation::Append(b"x".to_vec()), 5);
        assert_eq!(
            history.records()[0].to_string(),
            "[5, ...) client 1: append(\"x\") k -> unknown"
        );
        history.finish(begun, Outcome::Answered(Reply::Number(7)), 8);
        assert_eq!(
            history.records()[0].to_string(),
            "[5, 8] client 1: append(\"x\") k -> 7"
        );
    }
}
