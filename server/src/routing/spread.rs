//! Commands that are taken apart because their keys belong to several groups: what each group gets,
//! and what the replies add up to. Pure; the asking is done by the connection.
//!
//! Only commands whose parts make sense by themselves are taken apart: what they promise about one
//! key says nothing about another ([`Spread`] in the command table says which). The parts run at
//! the same time, so a command that fails in one group may have been done in others.

use std::collections::BTreeMap;

use bailiwick_frame::{ArgRange, Args, Encoder};
use bailiwick_replication::GroupId;

use crate::commands::{CommandError, Spread};

/// What one group gets of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The group.
    pub group: GroupId,
    /// Which arguments of the request are its keys.
    pub keys: Vec<usize>,
}

/// A part's reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Which arguments of the request it is about, in the order in which the part had them.
    pub keys: Vec<usize>,
    /// The reply, as the group gave it.
    pub reply: Vec<u8>,
}

/// Divides the keys among the groups they belong to. Parts and their keys stand in the order of the
/// request.
pub fn divide(
    keys: impl Iterator<Item = usize>,
    mut group_of: impl FnMut(usize) -> GroupId,
) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    let mut places: BTreeMap<GroupId, usize> = BTreeMap::new();
    for key in keys {
        let group = group_of(key);
        let place = *places.entry(group).or_insert_with(|| {
            let keys = Vec::new();
            parts.push(Part { group, keys });
            parts.len() - 1
        });
        parts[place].keys.push(key);
    }
    parts
}

/// A request that is composed here.
#[derive(Default)]
pub struct Words {
    bytes: Vec<u8>,
    ranges: Vec<ArgRange>,
}

impl Words {
    /// A request of these words.
    pub fn of<'w>(words: impl IntoIterator<Item = &'w [u8]>) -> Self {
        let mut all = Self::default();
        for word in words {
            let start = all.bytes.len() as u32;
            all.bytes.extend_from_slice(word);
            let end = all.bytes.len() as u32;
            all.ranges.push(ArgRange { start, end });
        }
        all
    }

    /// As a command sees it.
    #[must_use]
    pub fn args(&self) -> Args<'_> {
        Args::new(&self.bytes, &self.ranges)
    }
}

/// Writes the reply to the whole request. `keys` is the number of its keys, which stand from
/// argument 1 on.
///
/// # Errors
/// The first error that a part gave; or a reply is nothing that the command replies.
pub fn merge(
    how: Spread,
    keys: usize,
    pieces: &[Piece],
    out: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let failed = pieces
        .iter()
        .filter_map(|piece| Some((piece.keys.first()?, error_of(&piece.reply)?)))
        .min_by_key(|(first, _)| **first);
    if let Some((_, error)) = failed {
        return Err(error);
    }
    match how {
        Spread::Each => merge_each(keys, pieces, out),
        _ => {
            let sums = pieces.iter().map(|piece| integer_of(&piece.reply));
            let sum = sums.sum::<Option<i64>>().ok_or(NONSENSE)?;
            out.integer(sum);
            Ok(())
        }
    }
}

/// What a client hears of a reply that no command gives.
pub const NONSENSE: CommandError = CommandError::text("ERR a group's reply makes no sense");

/// The reply to what each group did by itself: what all of them said; of numbers in a list, the
/// least, since what one group does not know is not known everywhere. `None` without a group.
#[must_use]
pub fn common(replies: &[Vec<u8>]) -> Option<Vec<u8>> {
    let (first, others) = replies.split_first()?;
    if others.iter().all(|other| other == first) {
        return Some(first.clone());
    }
    let lists = replies.iter().map(|reply| elements_of(reply));
    let lists = lists.collect::<Option<Vec<_>>>()?;
    let len = lists[0].len();
    let mut out = format!("*{len}\r\n").into_bytes();
    for at in 0..len {
        let numbers = lists.iter().map(|list| integer_of(list.get(at)?));
        let numbers = numbers.collect::<Option<Vec<_>>>()?;
        let least = numbers.into_iter().min()?;
        out.extend_from_slice(format!(":{least}\r\n").as_bytes());
    }
    Some(out)
}

fn merge_each(keys: usize, pieces: &[Piece], out: &mut Encoder<'_>) -> Result<(), CommandError> {
    let mut by_key: Vec<Option<&[u8]>> = vec![None; keys];
    for piece in pieces {
        let elements = elements_of(&piece.reply).ok_or(NONSENSE)?;
        if elements.len() != piece.keys.len() {
            return Err(NONSENSE);
        }
        for (key, element) in piece.keys.iter().zip(elements) {
            *by_key.get_mut(*key - 1).ok_or(NONSENSE)? = Some(element);
        }
    }
    let whole: Option<Vec<&[u8]>> = by_key.into_iter().collect();
    let whole = whole.ok_or(NONSENSE)?;
    out.array(whole.len());
    whole
        .iter()
        .for_each(|element| out.buffer().extend_from_slice(element));
    Ok(())
}

/// The error that a reply is, if it is one.
#[must_use]
pub fn error_of(reply: &[u8]) -> Option<CommandError> {
    let text = reply.strip_prefix(b"-")?;
    let text = String::from_utf8_lossy(text.trim_ascii_end());
    Some(CommandError::composed(text.into_owned()))
}

/// The bytes of a reply that is one bulk string.
#[must_use]
pub fn bulk_of(reply: &[u8]) -> Option<&[u8]> {
    let (len, body) = line_of(reply.strip_prefix(b"$")?)?;
    let len = usize::try_from(len).ok()?;
    let rest = body.get(len..)?;
    (rest == b"\r\n").then_some(&body[..len])
}

fn integer_of(reply: &[u8]) -> Option<i64> {
    let (number, rest) = line_of(reply.strip_prefix(b":")?)?;
    rest.is_empty().then_some(number)
}

/// The elements of an array of bulk strings and nulls, each with its header.
fn elements_of(reply: &[u8]) -> Option<Vec<&[u8]>> {
    let (count, mut rest) = line_of(reply.strip_prefix(b"*")?)?;
    let mut elements = Vec::new();
    for _ in 0..count {
        let len = match rest.split_first()? {
            (b'_', tail) => rest.len() - tail.strip_prefix(b"\r\n")?.len(),
            (b'$', tail) => {
                let (len, body) = line_of(tail)?;
                let header = rest.len() - body.len();
                match usize::try_from(len) {
                    Ok(len) => header.checked_add(len)?.checked_add(2)?,
                    Err(_) => header,
                }
            }
            _ => return None,
        };
        elements.push(rest.get(..len)?);
        rest = &rest[len..];
    }
    rest.is_empty().then_some(elements)
}

/// The number up to the end of the line, and what follows the line.
fn line_of(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let end = bytes.iter().position(|byte| *byte == b'\r')?;
    let number = std::str::from_utf8(&bytes[..end]).ok()?.parse().ok()?;
    Some((number, bytes[end..].strip_prefix(b"\r\n")?))
}

#[cfg(test)]
mod tests {
    use bailiwick_frame::Protocol;
    use proptest::prelude::*;

    use super::*;

    fn piece(keys: &[usize], reply: &[u8]) -> Piece {
        Piece {
            keys: keys.to_vec(),
            reply: reply.to_vec(),
        }
    }

    fn merged(how: Spread, keys: usize, pieces: &[Piece]) -> Result<String, String> {
        let mut out = Vec::new();
        let done = merge(
            how,
            keys,
            pieces,
            &mut Encoder::new(&mut out, Protocol::Resp2),
        );
        done.map_err(|error| error.to_string())?;
        Ok(out.escape_ascii().to_string())
    }

    #[test]
    fn keys_go_to_their_groups_in_the_order_of_the_request() {
        let groups = [7, 2, 7, 2, 9].map(GroupId);
        let parts = divide(1..6, |key| groups[key - 1]);
        let shown: Vec<_> = parts
            .iter()
            .map(|part| (part.group.0, &part.keys[..]))
            .collect();
        assert_eq!(shown, [(7, &[1, 3][..]), (2, &[2, 4]), (9, &[5])]);
    }

    #[test]
    fn sums_are_added_up_and_lists_take_their_places() {
        let sums = [piece(&[1, 3], b":2\r\n"), piece(&[2], b":-1\r\n")];
        assert_eq!(merged(Spread::Sum, 3, &sums), Ok(":1\\r\\n".to_owned()));
        let lists = [
            piece(&[1, 4], b"*2\r\n$1\r\na\r\n$-1\r\n"),
            piece(&[3, 2], b"*2\r\n$2\r\n\r\n\r\n_\r\n"),
        ];
        let expected = "*4\\r\\n$1\\r\\na\\r\\n_\\r\\n$2\\r\\n\\r\\n\\r\\n$-1\\r\\n";
        assert_eq!(merged(Spread::Each, 4, &lists), Ok(expected.to_owned()));
    }

    #[test]
    fn the_error_of_the_first_key_is_the_reply() {
        let pieces = [
            piece(&[2], b"-CLUSTERDOWN us\r\n"),
            piece(&[3], b":1\r\n"),
            piece(&[1], b"-OOM eu\r\n"),
        ];
        assert_eq!(merged(Spread::Sum, 3, &pieces), Err("OOM eu".to_owned()));
    }

    #[test]
    fn a_list_that_lacks_something_is_no_reply() {
        let nonsense = Err(NONSENSE.to_string());
        for reply in [
            &b"*1\r\n$1\r\na\r\n"[..],
            b"*3\r\n$1\r\na\r\n_\r\n_\r\n",
            b"*2\r\n$1\r\na\r\n",
            b"*2\r\n$9\r\na\r\n_\r\n",
            b"*2\r\n_\r\n_\r\nx",
            b":2\r\n",
            b"",
        ] {
            assert_eq!(merged(Spread::Each, 2, &[piece(&[1, 2], reply)]), nonsense);
        }
        let twice = [piece(&[1], b"*1\r\n_\r\n"), piece(&[1], b"*1\r\n_\r\n")];
        assert_eq!(merged(Spread::Each, 2, &twice), nonsense);
        assert_eq!(merged(Spread::Sum, 1, &[piece(&[1], b"+OK\r\n")]), nonsense);
    }

    #[test]
    fn a_bulk_string_is_taken_out_whole() {
        assert_eq!(bulk_of(b"$3\r\na\r\n\r\n"), Some(&b"a\r\n"[..]));
        for reply in [
            &b"$3\r\na\r\n"[..],
            b"$-1\r\n",
            b"$1\r\nab\r\n",
            b":1\r\n",
            b"",
        ] {
            assert_eq!(bulk_of(reply), None);
        }
    }

    proptest! {
        #[test]
        fn what_was_divided_is_whole_again(
            groups in prop::collection::vec(0_u32..4, 1..20),
            values in prop::collection::vec(prop::option::of(prop::collection::vec(any::<u8>(), 0..6)), 20),
        ) {
            let write = |out: &mut Vec<u8>, keys: &[usize]| {
                let mut out = Encoder::new(out, Protocol::Resp3);
                out.array(keys.len());
                for key in keys {
                    match &values[key - 1] {
                        Some(value) => out.bulk(value),
                        None => out.null(),
                    }
                }
            };
            let parts = divide(1..=groups.len(), |key| GroupId(groups[key - 1]));
            let pieces: Vec<Piece> = parts.iter().map(|part| {
                let mut reply = Vec::new();
                write(&mut reply, &part.keys);
                piece(&part.keys, &reply)
            }).collect();
            let (mut whole, mut expected) = (Vec::new(), Vec::new());
            let mut out = Encoder::new(&mut whole, Protocol::Resp3);
            prop_assert!(merge(Spread::Each, groups.len(), &pieces, &mut out).is_ok());
            write(&mut expected, &(1..=groups.len()).collect::<Vec<_>>());
            prop_assert_eq!(whole, expected);
        }

        #[test]
        fn no_reply_makes_the_reader_panic(reply in "[*$:_0-9\r\n-]{0,30}") {
            let _ = elements_of(reply.as_bytes());
            let _ = integer_of(reply.as_bytes());
            let _ = bulk_of(reply.as_bytes());
        }
    }
}
