//! The search for an order that explains all answers.
//!
//! Owns the algorithm of Wing and Gong: take some operation that may come next, since nothing that
//! is still to come had ended before it began, and go on from the state it leaves; go back when
//! nothing fits. Lowe's addition makes it bearable: the same operations done with the same state
//! left are one *position*, however it was reached, and are looked at once.
//!
//! Clients that make one call at a time leave positions that are small to write down: all answered
//! operations, sorted by their call, are done up to a *frontier*, but for the few *skipped* ones
//! that are concurrent with it.
//!
//! Writes with an unknown outcome stay possible for ever, so a long fault would make their number
//! the exponent. Rules that lose no explanation keep them harmless. One is taken only if it makes a
//! difference: what comes right after it must not have been possible without it, with the same
//! state left, because then it could as well have stayed open. So they are taken in a row, for the
//! sake of the answer that comes right after the row, and each must leave a state from which one of
//! the answers that may come next can still be reached. And of open writes that ask for the same,
//! the one called first is taken first; values that no answer shows count as the same if they are
//! of the same length.

use std::collections::HashSet;

use super::Asked;
use super::register::{Register, State};
use crate::history::{Operation, Reply};

/// What values that no answer shows are made of.
const UNSEEN: u8 = 0;

/// An operation that was done between two moments.
#[derive(Clone, Copy)]
pub struct Answered<'a> {
    pub operation: Asked<'a>,
    pub reply: &'a Reply,
    pub invoked: u64,
    /// `invoked <= returned`
    pub returned: u64,
}

/// A write that may be done at any time after a moment, or never.
#[derive(Clone, Copy)]
pub struct Pending<'a> {
    pub operation: Asked<'a>,
    pub invoked: u64,
}

/// What came of a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// There is an order that explains all answers.
    Explanation,
    /// There is none.
    Nothing,
    /// More positions than allowed were looked at.
    TooMany,
}

/// Looks for an order of all answered and any of the pending operations.
pub fn search(
    before: State,
    mut answered: Vec<Answered<'_>>,
    mut pending: Vec<Pending<'_>>,
    max_positions: usize,
) -> Found {
    answered.sort_by_key(|call| (call.invoked, call.returned));
    pending.sort_by_key(|call| call.invoked);
    let mut search = Search {
        answered,
        pending,
        register: Register::default(),
        seen: HashSet::new(),
    };
    search.run(before, max_positions)
}

/// What pending operations ask for, with every value that no answer shows replaced by one of the
/// same length. Only its length can ever matter, so operations become alike that differ in it
/// alone.
pub fn without_unseen_values(answered: &[Answered<'_>], pending: &[Pending<'_>]) -> Vec<Operation> {
    let shown: HashSet<&[u8]> = answered
        .iter()
        .filter_map(|call| match call.reply {
            Reply::Value(Some(value)) => Some(value.as_slice()),
            _ => None,
        })
        .collect();
    // The replacement must not be a value that was seen itself.
    let is_ambiguous = shown.iter().any(|shown| shown.contains(&UNSEEN));
    let is_seen = |value: &[u8]| {
        // What may be counted on from is seen in numbers.
        let is_number = value.iter().any(u8::is_ascii_digit)
            && value
                .iter()
                .all(|byte| byte.is_ascii_digit() || *byte == b'-');
        let has = |shown: &&[u8]| shown.windows(value.len().max(1)).any(|part| part == value);
        value.is_empty() || is_number || is_ambiguous || shown.iter().any(has)
    };
    let replace = |value: &Vec<u8>| match is_seen(value) {
        true => value.clone(),
        false => vec![UNSEEN; value.len()],
    };
    let operations = pending.iter().map(|call| match call.operation {
        Operation::Set(value) => Operation::Set(replace(value)),
        Operation::Swap(value) => Operation::Swap(replace(value)),
        Operation::Append(tail) => Operation::Append(replace(tail)),
        other => other.clone(),
    });
    operations.collect()
}

/// What has been done, and what it left.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Position {
    /// Answered operations from here on are to come; `frontier <= answered.len()`.
    frontier: u32,
    /// Those before the frontier that are to come all the same, in rising order.
    skipped: Box<[u32]>,
    /// Pending ones that were taken, in rising order.
    taken: Box<[u32]>,
    state: State,
}

impl Position {
    fn done(&self, call: u32, state: State) -> Self {
        let mut skipped = self.skipped.to_vec();
        let frontier = if call < self.frontier {
            skipped.retain(|other| *other != call);
            self.frontier
        } else {
            skipped.extend(self.frontier..call);
            call + 1
        };
        Self {
            frontier,
            skipped: skipped.into(),
            taken: self.taken.clone(),
            state,
        }
    }

    fn took(&self, call: u32, state: State) -> Self {
        let mut taken = self.taken.to_vec();
        taken.insert(taken.partition_point(|other| *other < call), call);
        Self {
            taken: taken.into(),
            state,
            ..self.clone()
        }
    }
}

/// A position on the way that is being tried, and what may come next.
struct Step {
    at: Next,
    /// In reverse: the last one is tried first.
    next: Vec<Next>,
    /// Whether `next` has had the pending operations, which are only looked at when the others
    /// have led nowhere.
    is_last_resort: bool,
}

struct Next {
    position: Position,
    /// The state before, if a pending operation led here.
    without: Option<State>,
}

struct Search<'a> {
    answered: Vec<Answered<'a>>,
    pending: Vec<Pending<'a>>,
    register: Register,
    seen: HashSet<Position>,
}

impl<'a> Search<'a> {
    fn run(&mut self, before: State, max_positions: usize) -> Found {
        let start = Next {
            position: Position {
                frontier: 0,
                skipped: Box::default(),
                taken: Box::default(),
                state: before,
            },
            without: None,
        };
        if self.is_end(&start.position) {
            return Found::Explanation;
        }
        let mut way = vec![self.enter(start)];
        while let Some(step) = way.last_mut() {
            let Some(next) = step.next.pop() else {
                if step.is_last_resort {
                    way.pop();
                } else {
                    step.is_last_resort = true;
                    step.next = self.pending_next(&step.at);
                }
                continue;
            };
            if self.is_end(&next.position) {
                return Found::Explanation;
            }
            if !self.seen.insert(next.position.clone()) {
                continue;
            }
            if self.seen.len() > max_positions {
                return Found::TooMany;
            }
            way.push(self.enter(next));
        }
        Found::Nothing
    }

    fn is_end(&self, position: &Position) -> bool {
        position.frontier as usize == self.answered.len() && position.skipped.is_empty()
    }

    fn enter(&mut self, at: Next) -> Step {
        Step {
            next: self.answered_next(&at),
            at,
            is_last_resort: self.pending.is_empty(),
        }
    }

    /// Answered operations that may come next, the most promising last.
    fn answered_next(&mut self, at: &Next) -> Vec<Next> {
        let (mut calls, _) = self.candidates(&at.position);
        // Who must be done first, is tried first.
        calls.sort_by_key(|call| std::cmp::Reverse(self.answered[*call as usize].returned));
        let mut next = Vec::new();
        for call in calls {
            let Answered {
                operation, reply, ..
            } = self.answered[call as usize];
            if let Some(state) = self.step(at, operation, Some(reply)) {
                next.push(Next {
                    position: at.position.done(call, state),
                    without: None,
                });
            }
        }
        next
    }

    /// Answered operations that may come next, and the moment before which something must.
    fn candidates(&self, position: &Position) -> (Vec<u32>, u64) {
        let mut deadline = u64::MAX;
        let mut calls = Vec::new();
        let to_come = position.frontier..self.answered.len() as u32;
        for call in position.skipped.iter().copied().chain(to_come) {
            let Answered {
                invoked, returned, ..
            } = self.answered[call as usize];
            // Calls rise, so this one and all behind it began after something had ended that is
            // still to come.
            if invoked > deadline {
                break;
            }
            deadline = deadline.min(returned);
            calls.push(call);
        }
        (calls, deadline)
    }

    /// Pending operations that may come next, the one called first last.
    fn pending_next(&mut self, at: &Next) -> Vec<Next> {
        let (calls, deadline) = self.candidates(&at.position);
        let mut next = Vec::new();
        let mut offered: HashSet<Asked<'a>> = HashSet::new();
        for call in 0..self.pending.len() as u32 {
            let Pending { operation, invoked } = self.pending[call as usize];
            if invoked > deadline {
                break;
            }
            let is_taken = at.position.taken.binary_search(&call).is_ok();
            if is_taken || !offered.insert(operation) {
                continue;
            }
            let Some(state) = self.step(at, operation, None) else {
                continue;
            };
            let is_of_use = state != at.position.state
                && calls.iter().any(|call| {
                    let answered = self.answered[*call as usize];
                    self.register
                        .may_lead_to(state, answered.operation, answered.reply)
                });
            if is_of_use {
                next.push(Next {
                    position: at.position.took(call, state),
                    without: Some(at.position.state),
                });
            }
        }
        next.reverse();
        next
    }

    /// The state after an operation; nothing if it does not fit, or does not need the pending
    /// operation that was just taken.
    fn step(&mut self, at: &Next, operation: Asked<'_>, reply: Option<&Reply>) -> Option<State> {
        let after = self.register.step(at.position.state, operation, reply)?;
        let without = at
            .without
            .and_then(|state| self.register.step(state, operation, reply));
        (without != Some(after)).then_some(after)
    }
}
