//! Ranges of scores and of members: what an argument says, and which ranks that is in a set.

use std::cmp::Ordering;
use std::ops::Range;

use crate::commands::CommandError;
use crate::commands::double::loose_double;
use crate::keyspace::SortedSet;

const NO_FLOAT: CommandError = CommandError::text("ERR min or max is not a float");
const NO_MEMBER: CommandError = CommandError::text("ERR min or max not valid string range item");

/// Scores between two ends: `1.5`, `(1.5` without the end itself, `-inf`, `+inf`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::commands) struct ScoreRange {
    min: ScoreEnd,
    max: ScoreEnd,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct ScoreEnd {
    score: f64,
    exclusive: bool,
}

impl ScoreEnd {
    fn parse(arg: &[u8]) -> Result<Self, CommandError> {
        let (exclusive, number) = match arg {
            [b'(', number @ ..] => (true, number),
            number => (false, number),
        };
        let score = loose_double(number).ok_or(NO_FLOAT)?;
        Ok(Self { score, exclusive })
    }
}

impl ScoreRange {
    pub(super) fn parse(min: &[u8], max: &[u8]) -> Result<Self, CommandError> {
        Ok(Self {
            min: ScoreEnd::parse(min)?,
            max: ScoreEnd::parse(max)?,
        })
    }

    /// The scores from `low` on to below `high`.
    pub(in crate::commands) fn below(low: f64, high: f64) -> Self {
        Self {
            min: ScoreEnd {
                score: low,
                exclusive: false,
            },
            max: ScoreEnd {
                score: high,
                exclusive: true,
            },
        }
    }

    /// The ranks of the members with these scores.
    pub(in crate::commands) fn ranks(&self, set: &SortedSet) -> Range<usize> {
        let (min, max) = (self.min, self.max);
        let excludes = min.exclusive || max.exclusive;
        if min.score > max.score || (min.score == max.score && excludes) {
            return 0..0;
        }
        let start = set.partition_point(|(_, score)| match min.exclusive {
            true => score <= min.score,
            false => score < min.score,
        });
        let end = set.partition_point(|(_, score)| match max.exclusive {
            true => score < max.score,
            false => score <= max.score,
        });
        start..end
    }
}

/// Members between two ends: `[a`, `(a` without the end itself, `-`, `+`. It has a meaning for sets
/// in which all scores are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LexRange<'a> {
    min: LexEnd<'a>,
    max: LexEnd<'a>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LexEnd<'a> {
    Lowest,
    Highest,
    Including(&'a [u8]),
    Excluding(&'a [u8]),
}

impl<'a> LexEnd<'a> {
    fn parse(arg: &'a [u8]) -> Result<Self, CommandError> {
        match arg {
            b"-" => Ok(Self::Lowest),
            b"+" => Ok(Self::Highest),
            [b'[', member @ ..] => Ok(Self::Including(member)),
            [b'(', member @ ..] => Ok(Self::Excluding(member)),
            _ => Err(NO_MEMBER),
        }
    }

    /// Where a member stands relative to this end.
    fn cmp(self, member: &[u8]) -> Ordering {
        match self {
            Self::Lowest => Ordering::Greater,
            Self::Highest => Ordering::Less,
            Self::Including(end) | Self::Excluding(end) => member.cmp(end),
        }
    }
}

impl<'a> LexRange<'a> {
    pub(super) fn parse(min: &'a [u8], max: &'a [u8]) -> Result<Self, CommandError> {
        Ok(Self {
            min: LexEnd::parse(min)?,
            max: LexEnd::parse(max)?,
        })
    }

    /// The ranks of these members.
    pub(super) fn ranks(&self, set: &SortedSet) -> Range<usize> {
        let start = set.partition_point(|(member, _)| match self.min.cmp(member) {
            Ordering::Equal => matches!(self.min, LexEnd::Excluding(_)),
            order => order.is_lt(),
        });
        let end = set.partition_point(|(member, _)| match self.max.cmp(member) {
            Ordering::Equal => matches!(self.max, LexEnd::Including(_)),
            order => order.is_lt(),
        });
        // The ends may stand the wrong way round.
        start..end.max(start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(members: &[(&str, f64)]) -> SortedSet {
        let mut set = SortedSet::default();
        for (member, score) in members {
            set.set(member.as_bytes(), *score, 0);
        }
        set
    }

    #[test]
    fn the_ends_of_a_score_range_may_be_excluded() {
        let set = set(&[("a", 1.0), ("b", 2.0), ("c", 2.0), ("d", f64::INFINITY)]);
        for (min, max, expected) in [
            ("1", "2", 0..3),
            ("(1", "2", 1..3),
            ("1", "(2", 0..1),
            ("(1", "(2", 1..1),
            ("2", "2", 1..3),
            ("(2", "2", 0..0),
            ("3", "2", 0..0),
            ("-inf", "+inf", 0..4),
            ("-inf", "(inf", 0..3),
            ("5", "6", 3..3),
            ("", "(1e1", 0..3),
        ] {
            let range = ScoreRange::parse(min.as_bytes(), max.as_bytes()).expect("well formed");
            assert_eq!(range.ranks(&set), expected, "{min} {max}");
        }
        for bad in ["x", "((1", "nan", "(nan", "1 ", "[1"] {
            assert_eq!(ScoreRange::parse(bad.as_bytes(), b"1"), Err(NO_FLOAT));
        }
    }

    #[test]
    fn a_lex_range_compares_bytes() {
        let set = set(&["a", "ab", "b", "c"].map(|member| (member, 0.0)));
        for (min, max, expected) in [
            ("-", "+", 0..4),
            ("[a", "[b", 0..3),
            ("(a", "(b", 1..2),
            ("[aa", "[bb", 1..3),
            ("+", "-", 4..4),
            ("-", "-", 0..0),
            ("+", "+", 4..4),
            ("[c", "[a", 3..3),
            ("(b", "[b", 3..3),
            ("[", "(", 0..0),
        ] {
            let range = LexRange::parse(min.as_bytes(), max.as_bytes()).expect("well formed");
            assert_eq!(range.ranks(&set), expected, "{min} {max}");
        }
        for bad in ["", "a", "+x", "--", "]a"] {
            assert_eq!(LexRange::parse(bad.as_bytes(), b"+"), Err(NO_MEMBER));
        }
    }
}
