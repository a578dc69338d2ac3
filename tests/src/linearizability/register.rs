//! One key, as a register: which answer an operation gets, and what it leaves.
//!
//! Owns the values that a search comes across, each stored once and named by a small number, so
//! that positions of the search are compared and hashed cheaply.

use std::collections::HashMap;
use std::rc::Rc;

use crate::history::{Operation, Reply};

/// What the key holds; a name that [`Register`] resolves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct State(u32);

impl State {
    /// Nothing is known about the key: it agrees with the first answer that depends on it.
    pub const ANY: Self = Self(0);
    /// There is no such key.
    pub const ABSENT: Self = Self(1);
    const NAMED: u32 = 2;
}

/// All values that were come across.
#[derive(Default)]
pub struct Register {
    contents: Vec<Rc<[u8]>>,
    names: HashMap<Rc<[u8]>, State>,
}

impl Register {
    /// What an operation leaves of a state; nothing if it cannot have got this answer, or, with no
    /// answer given, if it would have been an error and so without effect.
    pub fn step(
        &mut self,
        state: State,
        operation: &Operation,
        reply: Option<&Reply>,
    ) -> Option<State> {
        let reply = reply.filter(|reply| **reply != Reply::Done);
        if state == State::ANY {
            return self.step_from_any(operation, reply);
        }
        let held = self.value(state);
        let (answer, after) = match operation {
            Operation::Get => (Reply::Value(held.map(|held| held.to_vec())), state),
            Operation::Set(value) => (Reply::Done, self.name(value)),
            Operation::Swap(value) => {
                let before = held.map(|held| held.to_vec());
                (Reply::Value(before), self.name(value))
            }
            Operation::Append(tail) => {
                let value = [held.as_deref().unwrap_or_default(), tail].concat();
                (Reply::Number(value.len() as i64), self.name(&value))
            }
            Operation::Increment => {
                let number = integer(held.as_deref())?.checked_add(1)?;
                (
                    Reply::Number(number),
                    self.name(number.to_string().as_bytes()),
                )
            }
            Operation::Delete => (Reply::Number(i64::from(held.is_some())), State::ABSENT),
        };
        let agrees = reply.is_none_or(|reply| *reply == answer);
        agrees.then_some(after)
    }

    /// The value behind a name; none if there is none, or none is known.
    pub fn value(&self, state: State) -> Option<Rc<[u8]>> {
        let number = state.0.checked_sub(State::NAMED)?;
        Some(self.contents[number as usize].clone())
    }

    /// Whether writes with unknown outcomes may make of a state, by appending and counting on from
    /// it, one in which an operation gets this answer. May be too generous, never too strict.
    pub fn may_lead_to(&self, state: State, operation: &Operation, reply: &Reply) -> bool {
        if state == State::ANY {
            return true;
        }
        let held = self.value(state);
        let held = held.as_deref();
        // Counting up from a negative number is rare, and makes values shorter.
        if held.is_some_and(|held| held.starts_with(b"-")) {
            return true;
        }
        match (operation, reply) {
            (Operation::Set(_), _) | (_, Reply::Done) => false,
            (Operation::Delete, Reply::Number(count)) => (*count == 0) == held.is_none(),
            (Operation::Append(tail), Reply::Number(length)) => {
                held.map_or(0, <[u8]>::len) + tail.len() <= usize::try_from(*length).unwrap_or(0)
            }
            (Operation::Increment, Reply::Number(number)) => {
                may_grow_to(held, (number - 1).to_string().as_bytes())
            }
            (_, Reply::Value(None)) => held.is_none(),
            (_, Reply::Value(Some(wanted))) => may_grow_to(held, wanted),
            (_, Reply::Number(_)) => false,
        }
    }

    /// The answer tells what was there; what it leaves open stays open.
    fn step_from_any(&mut self, operation: &Operation, reply: Option<&Reply>) -> Option<State> {
        let state = match (operation, reply) {
            (Operation::Get, None) => State::ANY,
            (Operation::Get, Some(Reply::Value(None))) => State::ABSENT,
            (Operation::Get, Some(Reply::Value(Some(value)))) => self.name(value),
            (Operation::Set(value), None) => self.name(value),
            (Operation::Swap(value), None | Some(Reply::Value(_))) => self.name(value),
            (Operation::Append(_) | Operation::Increment, None) => State::ANY,
            (Operation::Append(tail), Some(Reply::Number(length))) => {
                match length.cmp(&(tail.len() as i64)) {
                    std::cmp::Ordering::Less => return None,
                    std::cmp::Ordering::Equal => self.name(tail),
                    std::cmp::Ordering::Greater => State::ANY,
                }
            }
            (Operation::Increment, Some(Reply::Number(number))) => {
                self.name(number.to_string().as_bytes())
            }
            (Operation::Delete, None | Some(Reply::Number(0 | 1))) => State::ABSENT,
            _ => return None,
        };
        Some(state)
    }

    fn name(&mut self, value: &[u8]) -> State {
        if let Some(state) = self.names.get(value) {
            return *state;
        }
        let number = u32::try_from(self.contents.len()).expect("memory ends before");
        let state = State(number + State::NAMED);
        let value: Rc<[u8]> = value.into();
        self.contents.push(value.clone());
        self.names.insert(value, state);
        state
    }
}

/// Whether appending and counting may make one value of another.
fn may_grow_to(held: Option<&[u8]>, wanted: &[u8]) -> bool {
    let held = held.unwrap_or_default();
    if wanted.starts_with(held) {
        return true;
    }
    // Both make a number larger, and a value that is a number at first begins with one in the end.
    let digits = wanted.iter().take_while(|byte| byte.is_ascii_digit());
    let number = std::str::from_utf8(held)
        .ok()
        .and_then(|text| text.parse::<u64>().ok());
    let most = String::from_utf8(digits.copied().collect()).ok();
    match (number, most) {
        // What has more digits than fit is not compared.
        (Some(number), Some(most)) if !most.is_empty() => {
            most.parse::<u64>().map_or(true, |most| number <= most)
        }
        _ => false,
    }
}

fn integer(held: Option<&[u8]>) -> Option<i64> {
    let Some(held) = held else { return Some(0) };
    std::str::from_utf8(held).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_those_of_a_store() {
        let mut register = Register::default();
        let number = |number| Some(Reply::Number(number));
        let value = |value: &str| Some(Reply::Value(Some(value.into())));
        let mut state = State::ABSENT;
        let script = [
            (Operation::Get, Some(Reply::Value(None))),
            (Operation::Increment, number(1)),
            (Operation::Increment, number(2)),
            (Operation::Append(b"0".to_vec()), number(2)),
            (Operation::Increment, number(21)),
            (Operation::Swap(b"x".to_vec()), value("21")),
            (Operation::Set(b"y".to_vec()), Some(Reply::Done)),
            (Operation::Get, value("y")),
            (Operation::Delete, number(1)),
            (Operation::Delete, number(0)),
            (Operation::Append(b"z".to_vec()), number(1)),
        ];
        for (operation, reply) in script {
            let wrong = Reply::Number(77);
            if !matches!(operation, Operation::Set(_)) {
                assert_eq!(register.step(state, &operation, Some(&wrong)), None);
            }
            state = register.step(state, &operation, reply.as_ref()).unwrap();
        }
        assert_eq!(register.step(state, &Operation::Increment, None), None);
    }

    #[test]
    fn an_answer_tells_what_an_unknown_state_was() {
        let mut register = Register::default();
        let three = register
            .step(State::ANY, &Operation::Increment, Some(&Reply::Number(3)))
            .unwrap();
        let read = Reply::Value(Some(b"3".to_vec()));
        assert_eq!(
            register.step(three, &Operation::Get, Some(&read)),
            Some(three)
        );
        let append = Operation::Append(b"ab".to_vec());
        let length = |length| Reply::Number(length);
        assert_eq!(register.step(State::ANY, &append, Some(&length(1))), None);
        assert_eq!(
            register.step(State::ANY, &append, Some(&length(5))),
            Some(State::ANY)
        );
    }
}
