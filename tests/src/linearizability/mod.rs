//! Whether a history can be explained by operations that each happened at one moment.
//!
//! Owns the judgement of a [`History`], key by key. A key is *linearizable* if every operation can
//! be given a moment between its call and its answer so that all answers are what one register
//! would have said that was asked in that order. A write with an unknown outcome may be given any
//! moment after its call, or none.
//!
//! `search` is the algorithm of Wing and Gong with Lowe's memory of what was tried; `register`
//! is the register. When no explanation exists, the history is cut down from both sides as long as
//! none exists for what is left, so that a message shows the few operations that contradict each
//! other and not the thousands around them. Both cuts only weaken the claim: operations that reach
//! over an edge become unknown, and what was before the left edge may have left any value. So what
//! remains is a contradiction by itself.
//!
//! How it fails: a search that grows beyond [`MAX_POSITIONS`] gives up and says so, rather than
//! calling the history good or bad.

mod register;
mod search;

#[cfg(test)]
mod tests;

use std::fmt;

use crate::history::{History, Operation, Outcome, Record, Reply};
use register::State;
use search::{Answered, Found, Pending};

/// How many positions one search may remember. A history of ten clients needs a few for each
/// operation; this bounds time and memory when something is very wrong.
pub const MAX_POSITIONS: usize = 1_000_000;

/// How many operations a message shows.
const SHOWN: usize = 40;

/// Why a history is not linearizable, or why that is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// These operations on one key contradict each other.
    Contradiction {
        /// The key.
        key: String,
        /// Operations whose answers cannot all be right, by the time of the call.
        answered: Vec<Record>,
        /// Writes that may have taken effect at any moment among them, and do not explain them.
        unknown: Vec<Record>,
        /// Whether the key was absent before them; otherwise no value before them explains them.
        from_the_start: bool,
    },
    /// The search gave up.
    Undecided {
        /// The key.
        key: String,
    },
}

impl fmt::Display for Violation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (key, answered, unknown, from_the_start) = match self {
            Self::Contradiction {
                key,
                answered,
                unknown,
                from_the_start,
            } => (key, answered, unknown, from_the_start),
            Self::Undecided { key } => {
                return write!(
                    out,
                    "key {key}: no explanation within {MAX_POSITIONS} positions"
                );
            }
        };
        let before = if *from_the_start {
            "on the key, absent at first,"
        } else {
            "whatever was before"
        };
        write!(
            out,
            "key {key} is not linearizable: {} operations contradict each other {before}",
            answered.len()
        )?;
        // The last ones are where the contradiction shows.
        let hidden = answered.len().saturating_sub(SHOWN);
        if hidden > 0 {
            write!(out, "\n  ({hidden} more)")?;
        }
        for record in &answered[hidden..] {
            write!(out, "\n  {record}")?;
        }
        if !unknown.is_empty() {
            write!(out, "\n  not explained by {} open writes:", unknown.len())?;
        }
        let hidden = unknown.len().saturating_sub(SHOWN / 4);
        for record in &unknown[hidden..] {
            write!(out, "\n  {record}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Violation {}

/// Checks every key of a history; all keys are absent at first.
///
/// # Errors
/// The first key, by name, that is not linearizable, with the operations that show it.
pub fn check(history: &History) -> Result<(), Violation> {
    for (key, records) in history.by_key() {
        check_key(key, &records)?;
    }
    Ok(())
}

fn check_key(key: &str, records: &[&Record]) -> Result<(), Violation> {
    match Window::WHOLE.judge(records) {
        Found::Explanation => Ok(()),
        Found::TooMany => Err(Violation::Undecided {
            key: key.to_owned(),
        }),
        Found::Nothing => Err(narrow(key, records)),
    }
}

/// Cuts a history that cannot be explained down to one that still cannot.
fn narrow(key: &str, records: &[&Record]) -> Violation {
    let answered = records
        .iter()
        .filter(|record| matches!(record.outcome, Outcome::Answered(_)));
    let mut ends: Vec<_> = answered.clone().map(|record| record.returned).collect();
    ends.sort_unstable();
    let mut window = Window::WHOLE;
    // Whatever cannot be explained with less cannot be explained with more.
    let fails = |window: &Window| window.judge(records) == Found::Nothing;
    let end = ends.partition_point(|until| {
        !fails(&Window {
            until: *until,
            ..window
        })
    });
    window.until = ends.get(end).copied().unwrap_or(u64::MAX);
    let mut starts: Vec<_> = answered
        .map(|record| record.invoked)
        .filter(|invoked| *invoked <= window.until)
        .collect();
    starts.sort_unstable();
    let start = starts.partition_point(|from| {
        fails(&Window {
            from: Some(*from),
            ..window
        })
    });
    window.from = start.checked_sub(1).map(|start| starts[start]);
    window.violation(key, records)
}

/// A part of a history, by time.
#[derive(Clone, Copy, Debug)]
struct Window {
    /// Nothing is left out at the start if it is not there; otherwise any value may have been
    /// before.
    from: Option<u64>,
    until: u64,
}

/// What a record is within a window.
enum Role<'a> {
    Answered(&'a Reply),
    /// It may happen at any time, or not at all.
    Pending,
    Outside,
}

impl Window {
    const WHOLE: Self = Self {
        from: None,
        until: u64::MAX,
    };

    fn role<'a>(&self, record: &'a Record) -> Role<'a> {
        let from = self.from.unwrap_or(0);
        let open = if record.operation.is_read() {
            Role::Outside
        } else {
            Role::Pending
        };
        match &record.outcome {
            Outcome::Refused => Role::Outside,
            _ if record.invoked > self.until => Role::Outside,
            Outcome::Unknown => open,
            Outcome::Answered(_) if record.returned < from => Role::Outside,
            Outcome::Answered(_) if record.invoked < from || record.returned > self.until => open,
            Outcome::Answered(reply) => Role::Answered(reply),
        }
    }

    fn judge(&self, records: &[&Record]) -> Found {
        let mut answered = Vec::new();
        let mut pending = Vec::new();
        for record in records {
            match self.role(record) {
                Role::Answered(reply) => answered.push(Answered {
                    operation: &record.operation,
                    reply,
                    invoked: record.invoked,
                    returned: record.returned,
                }),
                Role::Pending => pending.push(Pending {
                    operation: &record.operation,
                    invoked: record.invoked,
                }),
                Role::Outside => {}
            }
        }
        let anonymous = search::without_unseen_values(&answered, &pending);
        for (pending, operation) in pending.iter_mut().zip(&anonymous) {
            pending.operation = operation;
        }
        let before = match self.from {
            None => State::ABSENT,
            Some(_) => State::ANY,
        };
        search::search(before, answered, pending, MAX_POSITIONS)
    }

    fn violation(&self, key: &str, records: &[&Record]) -> Violation {
        let mut answered = Vec::new();
        let mut unknown = Vec::new();
        for record in records {
            match self.role(record) {
                Role::Answered(_) => answered.push((*record).clone()),
                Role::Pending => unknown.push((*record).clone()),
                Role::Outside => {}
            }
        }
        answered.sort_by_key(|record| record.invoked);
        unknown.sort_by_key(|record| record.invoked);
        Violation::Contradiction {
            key: key.to_owned(),
            answered,
            unknown,
            from_the_start: self.from.is_none(),
        }
    }
}

/// The operation of a search is the one of the history.
type Asked<'a> = &'a Operation;
