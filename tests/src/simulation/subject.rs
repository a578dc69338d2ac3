//! What of the keyspace a name in a history stands for: a key, or one element of one.
//!
//! A history judges registers. A string is one; so is a field of a hash, a member of a set, the
//! score of a member of a sorted set, and a list that is only appended to. So histories of all data
//! types are judged by the same checker, and an element is judged by itself although others share
//! its key.
//!
//! Owns the words of an operation on a subject, and what the answer means. A name says what it is:
//! `list:`, `hash:`, `set:`, `sorted:` or `lasting:` in it is the type (the last is a key whose
//! value is the moment at which it expires), what follows a `/` the element, and anything else is a
//! string.

use super::requests::{Answer, Words};
use crate::history::{Operation, Reply};

/// The length of what is appended to lists, by which a count of elements becomes a length.
pub(super) const PIECE_BYTES: usize = 9;
/// What a member of a set is said to hold.
const PRESENT: &[u8] = b"1";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    String,
    List,
    Hash,
    Set,
    Sorted,
    Lasting,
}

/// A register that lies in a key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subject<'a> {
    shape: Shape,
    /// The key.
    pub(super) key: &'a str,
    element: &'a str,
}

impl<'a> Subject<'a> {
    /// What this name stands for.
    pub(super) fn of(name: &'a str) -> Self {
        let shapes = [
            ("list:", Shape::List),
            ("hash:", Shape::Hash),
            ("set:", Shape::Set),
            ("sorted:", Shape::Sorted),
            ("lasting:", Shape::Lasting),
        ];
        let shape = shapes.into_iter().find(|(word, _)| name.contains(word));
        let (key, element) = name.split_once('/').unwrap_or((name, ""));
        Self {
            shape: shape.map_or(Shape::String, |(_, shape)| shape),
            key,
            element,
        }
    }

    /// What may be asked of it; `piece` is a value that nobody else writes.
    pub(super) fn operations(self, piece: Vec<u8>) -> Vec<Operation> {
        use Operation::{Append, Delete, Get, Increment, Set};
        match self.shape {
            Shape::String => vec![Get, Set(piece.clone()), Append(piece), Delete],
            Shape::List => vec![Get, Append(piece), Delete],
            Shape::Hash => vec![Get, Set(piece), Delete],
            Shape::Set => vec![Get, Set(PRESENT.to_vec()), Delete],
            Shape::Sorted => vec![Get, Increment, Delete],
            Shape::Lasting => vec![Get, Set(expiry(&piece).into_bytes()), Delete],
        }
    }

    /// The words of an operation.
    ///
    /// # Panics
    /// If the operation is none of [`Subject::operations`], a client's mistake.
    pub(super) fn words(self, operation: &Operation) -> Words {
        let (key, element) = (self.key.as_bytes(), self.element.as_bytes());
        let words: Vec<&[u8]> = match (self.shape, operation) {
            (Shape::String, Operation::Get) => vec![b"GET", key],
            (Shape::String, Operation::Set(value)) => vec![b"SET", key, value],
            (Shape::String, Operation::Swap(value)) => vec![b"SET", key, value, b"GET"],
            (Shape::String, Operation::Append(value)) => vec![b"APPEND", key, value],
            (Shape::String, Operation::Increment) => vec![b"INCR", key],
            (Shape::Lasting, Operation::Get) => vec![b"PEXPIRETIME", key],
            (Shape::Lasting, Operation::Set(moment)) => vec![b"SET", key, b"", b"PXAT", moment],
            (Shape::String | Shape::List | Shape::Lasting, Operation::Delete) => vec![b"DEL", key],
            (Shape::List, Operation::Get) => vec![b"LRANGE", key, b"0", b"-1"],
            (Shape::List, Operation::Append(value)) => {
                assert_eq!(value.len(), PIECE_BYTES, "pieces are alike");
                vec![b"RPUSH", key, value]
            }
            (Shape::Hash, Operation::Get) => vec![b"HGET", key, element],
            (Shape::Hash, Operation::Set(value)) => vec![b"HSET", key, element, value],
            (Shape::Hash, Operation::Increment) => vec![b"HINCRBY", key, element, b"1"],
            (Shape::Hash, Operation::Delete) => vec![b"HDEL", key, element],
            (Shape::Set, Operation::Get) => vec![b"SISMEMBER", key, element],
            (Shape::Set, Operation::Set(_)) => vec![b"SADD", key, element],
            (Shape::Set, Operation::Delete) => vec![b"SREM", key, element],
            (Shape::Sorted, Operation::Get) => vec![b"ZSCORE", key, element],
            (Shape::Sorted, Operation::Increment) => vec![b"ZINCRBY", key, b"1", element],
            (Shape::Sorted, Operation::Delete) => vec![b"ZREM", key, element],
            _ => panic!("{self:?} is asked for {operation:?}"),
        };
        words.into_iter().map(<[u8]>::to_vec).collect()
    }

    /// What an answer that is no error tells of the register; `None` if it makes no sense.
    pub(super) fn reply(self, operation: &Operation, answer: &Answer) -> Option<Reply> {
        let reply = match (self.shape, operation, answer) {
            (Shape::String | Shape::Lasting, Operation::Set(_), Answer::Simple) => Reply::Done,
            (Shape::Lasting, Operation::Get, Answer::Number(-2)) => Reply::Value(None),
            (Shape::Lasting, Operation::Get, Answer::Number(moment)) => {
                Reply::Value(Some(moment.to_string().into_bytes()))
            }
            (Shape::Hash | Shape::Set, Operation::Set(_), Answer::Number(_)) => Reply::Done,
            (Shape::List, Operation::Get, Answer::Array(pieces)) => Reply::Value(joined(pieces)?),
            (Shape::List, Operation::Append(_), Answer::Number(count)) => {
                Reply::Number(count.checked_mul(PIECE_BYTES as i64)?)
            }
            (Shape::Set, Operation::Get, Answer::Number(count)) => {
                Reply::Value((*count == 1).then(|| PRESENT.to_vec()))
            }
            (Shape::Sorted, Operation::Increment, Answer::Bytes(score)) => {
                Reply::Number(std::str::from_utf8(score).ok()?.parse().ok()?)
            }
            (_, Operation::Get | Operation::Swap(_), Answer::Nil) => Reply::Value(None),
            (_, Operation::Get | Operation::Swap(_), Answer::Bytes(bytes)) => {
                Reply::Value(Some(bytes.clone()))
            }
            (
                _,
                Operation::Append(_) | Operation::Increment | Operation::Delete,
                Answer::Number(number),
            ) => Reply::Number(*number),
            _ => return None,
        };
        Some(reply)
    }
}

/// A moment long after all this that belongs to a piece alone.
fn expiry(piece: &[u8]) -> String {
    let digits = piece.iter().filter(|byte| byte.is_ascii_digit());
    let digits: String = digits.map(|byte| char::from(*byte)).collect();
    format!("9{digits:0>13}")
}

/// What was appended, in one piece; an empty list is no key.
fn joined(pieces: &[Answer]) -> Option<Option<Vec<u8>>> {
    let pieces = pieces.iter().map(|piece| match piece {
        Answer::Bytes(bytes) => Some(bytes.as_slice()),
        _ => None,
    });
    let pieces: Vec<&[u8]> = pieces.collect::<Option<_>>()?;
    Some((!pieces.is_empty()).then(|| pieces.concat()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_element_is_a_register_of_its_key() {
        let subject = Subject::of("a:hash:0/f");
        assert_eq!(subject.key, "a:hash:0");
        let words = subject.words(&Operation::Increment);
        assert_eq!(words, ["HINCRBY", "a:hash:0", "f", "1"].map(Vec::from));
        assert_eq!(Subject::of("text:0").words(&Operation::Get).len(), 2);
    }

    #[test]
    fn a_list_holds_what_was_appended() {
        let list = Subject::of("list:0");
        let pieces = [b"one".to_vec(), b"two".to_vec()].map(Answer::Bytes);
        let read = list.reply(&Operation::Get, &Answer::Array(pieces.to_vec()));
        assert_eq!(read, Some(Reply::Value(Some(b"onetwo".to_vec()))));
        let none = list.reply(&Operation::Get, &Answer::Array(Vec::new()));
        assert_eq!(none, Some(Reply::Value(None)));
        let count = list.reply(&Operation::Append(Vec::new()), &Answer::Number(2));
        assert_eq!(count, Some(Reply::Number(2 * PIECE_BYTES as i64)));
    }
}
