//! Sorted sets: members with scores, in the order of the scores.
//!
//! Two representations, with Redis's names and limits. A set starts *small* (`listpack`), packed
//! into one allocation; when it gets more than [`MAX_MEMBERS`] members, or one longer than
//! [`MEMBER_MAX_BYTES`], it becomes *large* (`skiplist`): a hash table and a counting tree. It does
//! not turn back by itself; commands that store a whole new set choose by its content.
//!
//! The limits are constants, not settings, because every replica must come to the same
//! representation.
//!
//! Members with equal scores are ordered by their bytes. A score is never NaN, commands see to
//! that. Small sets hold no -0, large ones do: Redis shows the same.

mod element;
mod large;
mod small;
#[cfg(test)]
mod tests;
mod tree;

use std::cmp::Ordering;
use std::fmt;
use std::ops::Range;

use self::large::Large;
use self::small::Small;
use super::aggregate::{Aggregate, Elements, Parts, object_variant};

/// Members of a small set; Redis's default for `zset-max-listpack-entries`.
const MAX_MEMBERS: usize = 128;

/// Length of a member of a small set, in bytes; Redis's default for `zset-max-listpack-value`.
const MEMBER_MAX_BYTES: usize = 64;

const REPRESENTATION_SMALL: u8 = 0;
const REPRESENTATION_LARGE: u8 = 1;

/// A member and its score.
pub type Scored<'a> = (&'a [u8], f64);

/// Byte strings in the order of their scores.
#[derive(Clone)]
pub struct SortedSet(Form);

#[derive(Clone)]
enum Form {
    Small(Small),
    // Boxed, because every object of the keyspace is as large as the largest kind.
    Large(Box<Large>),
}

impl Default for SortedSet {
    fn default() -> Self {
        Self(Form::Small(Small::default()))
    }
}

impl SortedSet {
    /// An empty set that expects `members` members, the longest of so many bytes.
    #[must_use]
    pub fn expecting(members: usize, longest: usize, seed: u64) -> Self {
        if members > MAX_MEMBERS || longest > MEMBER_MAX_BYTES {
            Self(Form::Large(Box::new(Large::new(seed))))
        } else {
            Self::default()
        }
    }

    /// Makes the set large already if so many members are about to come at once.
    pub fn expect(&mut self, members: usize, seed: u64) {
        if members > MAX_MEMBERS {
            self.enlarge(seed);
        }
    }

    /// The score of a member.
    #[must_use]
    pub fn score(&self, member: &[u8]) -> Option<f64> {
        match &self.0 {
            Form::Small(small) => small.score(member),
            Form::Large(large) => large.score(member),
        }
    }

    /// Gives a member a score, and returns the one it had. `seed` is the keyspace's.
    ///
    /// # Panics
    /// If the score is not a number.
    pub fn set(&mut self, member: &[u8], score: f64, seed: u64) -> Option<f64> {
        let present = self.score(member);
        self.replace(member, present, score, seed);
        present
    }

    /// As [`SortedSet::set`] for those who have just asked for the member's score and know it.
    pub fn replace(&mut self, member: &[u8], present: Option<f64>, score: f64, seed: u64) {
        assert!(!score.is_nan(), "a score that is not a number");
        debug_assert_eq!(present, self.score(member));
        match present {
            Some(present) => self.rescore(member, present, score),
            None => self.insert(member, score, seed),
        }
    }

    /// Takes a member out, and returns its score.
    pub fn remove(&mut self, member: &[u8]) -> Option<f64> {
        let score = self.score(member)?;
        let rank = self.rank((member, score));
        self.remove_ranks(rank..rank + 1);
        Some(score)
    }

    /// Takes out the members of these ranks, counted from 0 for the lowest score.
    ///
    /// # Panics
    /// If there are not so many.
    pub fn remove_ranks(&mut self, ranks: Range<usize>) {
        match &mut self.0 {
            Form::Small(small) => small.remove(ranks),
            Form::Large(large) => {
                for _ in ranks.clone() {
                    large.remove(ranks.start);
                }
            }
        }
    }

    /// How many members stand before a place, be there a member or not.
    #[must_use]
    pub fn rank(&self, place: Scored<'_>) -> usize {
        match &self.0 {
            Form::Small(small) => small
                .iter()
                .take_while(|&element| order(element, place).is_lt())
                .count(),
            Form::Large(large) => large.tree().rank(place),
        }
    }

    /// How many members stand before the first for which `before` does not hold. Where it holds
    /// again behind one for which it does not, the answer is any such place in a large set, the
    /// first in a small one.
    #[must_use]
    pub fn partition_point(&self, before: impl Fn(Scored<'_>) -> bool) -> usize {
        match &self.0 {
            Form::Small(small) => small.iter().take_while(|&element| before(element)).count(),
            Form::Large(large) => large.tree().partition_point(before),
        }
    }

    /// All members in order.
    pub fn iter(&self) -> Walk<'_> {
        self.walk(0..self.len(), false)
    }

    /// The members of these ranks in order, or in the opposite order if `reverse`.
    ///
    /// # Panics
    /// If there are not so many.
    #[must_use]
    pub fn walk(&self, ranks: Range<usize>, reverse: bool) -> Walk<'_> {
        Walk(match &self.0 {
            Form::Large(large) => Steps::Large(large.walk(ranks.start, ranks.end, reverse)),
            Form::Small(small) => {
                let len = ranks.len();
                let mut iter = small.iter();
                iter.by_ref().take(ranks.start).for_each(drop);
                if reverse {
                    Steps::Backward(iter.take(len).collect())
                } else {
                    Steps::Forward(iter.take(len))
                }
            }
        })
    }

    /// Visits about `count` members from a cursor on, and returns the next cursor, 0 at the end.
    /// A member that is there throughout a scan is visited; of a small set, all members at once.
    pub fn scan<'a>(&'a self, cursor: u64, count: usize, visit: impl FnMut(Scored<'a>)) -> u64 {
        match &self.0 {
            Form::Small(small) => {
                small.iter().for_each(visit);
                0
            }
            Form::Large(large) => large.scan(cursor, count, visit),
        }
    }

    fn insert(&mut self, member: &[u8], score: f64, seed: u64) {
        if let Form::Small(small) = &self.0
            && !small.takes(member)
        {
            self.enlarge(seed);
        }
        match &mut self.0 {
            Form::Small(small) => small.insert(member, score),
            Form::Large(large) => large.insert(member, score),
        }
    }

    fn rescore(&mut self, member: &[u8], old: f64, new: f64) {
        // Not by bits: Redis keeps a 0 when it is told -0.
        if old == new {
            return;
        }
        match &mut self.0 {
            Form::Large(large) => large.rescore(member, old, new),
            Form::Small(small) => {
                let before = |&element: &Scored<'_>| order(element, (member, old)).is_lt();
                let rank = small.iter().take_while(before).count();
                small.remove(rank..rank + 1);
                small.insert(member, new);
            }
        }
    }

    fn enlarge(&mut self, seed: u64) {
        if let Form::Small(small) = &self.0 {
            let mut large = Large::new(seed);
            for (member, score) in small.iter() {
                large.insert(member, score);
            }
            self.0 = Form::Large(Box::new(large));
        }
    }
}

impl Elements for SortedSet {
    fn len(&self) -> usize {
        match &self.0 {
            Form::Small(small) => small.len(),
            Form::Large(large) => large.len(),
        }
    }

    fn encoding(&self) -> &'static str {
        match &self.0 {
            Form::Small(_) => "listpack",
            Form::Large(_) => "skiplist",
        }
    }

    fn heap_bytes(&self) -> usize {
        match &self.0 {
            Form::Small(small) => small.heap_bytes(),
            Form::Large(large) => large.heap_bytes(),
        }
    }

    fn representation(&self) -> u8 {
        match &self.0 {
            Form::Small(_) => REPRESENTATION_SMALL,
            Form::Large(_) => REPRESENTATION_LARGE,
        }
    }

    fn visit(&self, from: usize, count: usize, visit: &mut dyn FnMut(&[u8])) {
        let start = from.min(self.len());
        let end = start.saturating_add(count).min(self.len());
        for (member, score) in self.walk(start..end, false) {
            visit(member);
            visit(&score.to_le_bytes());
        }
    }
}

impl Aggregate for SortedSet {
    object_variant!(SortedSet);

    fn restore(representation: u8, parts: &mut Parts<'_>, seed: u64) -> Option<Self> {
        let mut set = match representation {
            REPRESENTATION_SMALL => Self::default(),
            REPRESENTATION_LARGE => Self::expecting(usize::MAX, 0, seed),
            _ => return None,
        };
        while let Some(member) = parts.next() {
            let score = f64::from_le_bytes(parts.next()?.try_into().ok()?);
            if score.is_nan() || set.score(member).is_some() {
                return None;
            }
            set.insert(member, score, seed);
        }
        (set.representation() == representation).then_some(set)
    }
}

impl PartialEq for SortedSet {
    fn eq(&self, other: &Self) -> bool {
        let bits = |(member, score): Scored<'_>| (member.to_vec(), score.to_bits());
        self.representation() == other.representation()
            && self.len() == other.len()
            && self.iter().map(bits).eq(other.iter().map(bits))
    }
}

impl Eq for SortedSet {}

impl fmt::Debug for SortedSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |(member, score): Scored<'_>| (member.escape_ascii().to_string(), score);
        write!(f, "{} ", self.encoding())?;
        f.debug_map().entries(self.iter().map(shown)).finish()
    }
}

/// Members of neighbouring ranks.
pub struct Walk<'a>(Steps<'a>);

enum Steps<'a> {
    Forward(std::iter::Take<small::Iter<'a>>),
    /// Still in order; taken from the end.
    Backward(Vec<Scored<'a>>),
    Large(tree::Walk<'a>),
}

impl<'a> Iterator for Walk<'a> {
    type Item = Scored<'a>;

    fn next(&mut self) -> Option<Scored<'a>> {
        match &mut self.0 {
            Steps::Forward(steps) => steps.next(),
            Steps::Backward(steps) => steps.pop(),
            Steps::Large(steps) => steps.next(),
        }
    }
}

/// The order of sorted sets: by score, then by member.
fn order(one: Scored<'_>, other: Scored<'_>) -> Ordering {
    let by_score = one.1.partial_cmp(&other.1).expect("scores are numbers");
    by_score.then_with(|| one.0.cmp(other.0))
}
