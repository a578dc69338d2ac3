//! A few members in one allocation.
//!
//! ```text
//! count u8 | element *        element = score | length u8 | member
//! score   = n                 the number n, up to 252
//!         | 253 i16 | 254 i32 | 255 f64
//! ```
//!
//! Elements stand in order, numbers are little-endian. The block is always exactly as long as its
//! content: a change copies it, which for at most [`MAX_MEMBERS`] elements costs about as much as
//! moving what stands behind the change.
//!
//! A score of -0 becomes 0, as in Redis's compact form. Knows no errors.

use std::ops::Range;

use super::{MAX_MEMBERS, MEMBER_MAX_BYTES, Scored, order};

const INT_MAX: u8 = 252;
const INT16: u8 = 253;
const INT32: u8 = 254;
const FLOAT: u8 = 255;

/// Invariants: at most [`MAX_MEMBERS`] elements of at most [`MEMBER_MAX_BYTES`]; they ascend.
#[derive(Clone, Debug)]
pub(super) struct Small(Box<[u8]>);

impl Default for Small {
    fn default() -> Self {
        Self(Box::new([0]))
    }
}

impl Small {
    pub(super) fn len(&self) -> usize {
        usize::from(self.0[0])
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.0.len()
    }

    /// Whether there is room for one more element, and for this member at all.
    pub(super) fn takes(&self, member: &[u8]) -> bool {
        self.len() < MAX_MEMBERS && member.len() <= MEMBER_MAX_BYTES
    }

    pub(super) fn iter(&self) -> Iter<'_> {
        Iter { rest: &self.0[1..] }
    }

    pub(super) fn score(&self, member: &[u8]) -> Option<f64> {
        self.iter()
            .find(|element| element.0 == member)
            .map(|element| element.1)
    }

    /// Adds a member that is not there, and for which there is room.
    pub(super) fn insert(&mut self, member: &[u8], score: f64) {
        debug_assert!(self.takes(member) && self.score(member).is_none());
        let new = (member, score);
        let rank = self
            .iter()
            .take_while(|&present| order(present, new).is_lt())
            .count();
        let at = self.offset(rank);
        let mut bytes = Vec::with_capacity(self.0.len() + size_bytes(new));
        bytes.extend_from_slice(&self.0[..at]);
        put(&mut bytes, new);
        bytes.extend_from_slice(&self.0[at..]);
        bytes[0] += 1;
        self.0 = bytes.into();
    }

    /// Takes out the elements of these ranks.
    pub(super) fn remove(&mut self, ranks: Range<usize>) {
        let (from, to) = (self.offset(ranks.start), self.offset(ranks.end));
        let mut bytes = Vec::with_capacity(self.0.len() - (to - from));
        bytes.extend_from_slice(&self.0[..from]);
        bytes.extend_from_slice(&self.0[to..]);
        bytes[0] -=
            u8::try_from(ranks.len()).expect("the count is a byte, and they are part of it");
        self.0 = bytes.into();
    }

    /// Where the element of this rank begins, or the last one ends.
    fn offset(&self, rank: usize) -> usize {
        let mut iter = self.iter();
        iter.by_ref().take(rank).for_each(drop);
        self.0.len() - iter.rest.len()
    }
}

/// The elements in order.
#[derive(Clone)]
pub(super) struct Iter<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Iter<'a> {
    type Item = Scored<'a>;

    fn next(&mut self) -> Option<Scored<'a>> {
        let (&tag, rest) = self.rest.split_first()?;
        let (score, rest) = match tag {
            ..=INT_MAX => (f64::from(tag), rest),
            INT16 => number(rest, |bytes| i16::from_le_bytes(bytes).into()),
            INT32 => number(rest, |bytes| i32::from_le_bytes(bytes).into()),
            FLOAT => number(rest, f64::from_le_bytes),
        };
        let (member, rest) = rest[1..].split_at(rest[0].into());
        self.rest = rest;
        Some((member, score))
    }
}

fn number<const N: usize>(rest: &[u8], read: fn([u8; N]) -> f64) -> (f64, &[u8]) {
    let (bytes, rest) = rest
        .split_first_chunk()
        .expect("a number stands behind its tag");
    (read(*bytes), rest)
}

fn size_bytes((member, score): Scored<'_>) -> usize {
    let number = match integer(score) {
        Some(0..=252) => 0,
        Some(number) if i16::try_from(number).is_ok() => size_of::<i16>(),
        Some(_) => size_of::<i32>(),
        None => size_of::<f64>(),
    };
    1 + number + 1 + member.len()
}

fn put(out: &mut Vec<u8>, (member, score): Scored<'_>) {
    match integer(score) {
        Some(number @ 0..=252) => out.push(number as u8),
        Some(number) => match i16::try_from(number) {
            Ok(number) => {
                out.push(INT16);
                out.extend_from_slice(&number.to_le_bytes());
            }
            Err(_) => {
                out.push(INT32);
                out.extend_from_slice(&number.to_le_bytes());
            }
        },
        None => {
            out.push(FLOAT);
            out.extend_from_slice(&score.to_le_bytes());
        }
    }
    out.push(member.len() as u8);
    out.extend_from_slice(member);
}

/// The score as a number of 32 bits, if it is one.
fn integer(score: f64) -> Option<i32> {
    let number = score as i32;
    (f64::from(number) == score).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_take_no_more_room_than_they_need() {
        for (score, size) in [
            (0.0, 1),
            (252.0, 1),
            (253.0, 3),
            (-1.0, 3),
            (32_768.0, 5),
            (-2_147_483_648.0, 5),
            (2_147_483_648.0, 9),
            (0.5, 9),
            (f64::INFINITY, 9),
            (f64::NEG_INFINITY, 9),
            (5e-324, 9),
        ] {
            let mut set = Small::default();
            set.insert(b"member", score);
            assert_eq!(set.heap_bytes(), 1 + size + 7, "{score}");
            assert_eq!(set.iter().collect::<Vec<_>>(), [(&b"member"[..], score)]);
        }
    }

    #[test]
    fn a_negative_zero_loses_its_sign() {
        let mut set = Small::default();
        set.insert(b"m", -0.0);
        assert!(set.score(b"m").is_some_and(f64::is_sign_positive));
    }

    #[test]
    fn ten_members_fit_closely() {
        let mut set = Small::default();
        for number in 0..10 {
            set.insert(format!("member:{number:09}").as_bytes(), f64::from(number));
        }
        assert_eq!(set.heap_bytes(), 1 + 10 * 18);
    }
}
