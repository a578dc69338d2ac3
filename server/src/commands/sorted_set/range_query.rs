//! What the ZRANGE family is asked for: which members, in which direction, how many of them.

use std::ops::Range;

use bailiwick_frame::Args;

use super::bounds::{LexRange, ScoreRange};
use crate::commands::parse::integer;
use crate::commands::{CommandError, is_option};
use crate::keyspace::{Elements, SortedSet, Walk};

const LIMIT_BY_RANK: CommandError = CommandError::text(
    "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX",
);
const SCORES_BY_LEX: CommandError =
    CommandError::text("ERR syntax error, WITHSCORES not supported in combination with BYLEX");

/// How a range is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    Rank,
    Score,
    Lex,
}

/// What a command's name says already; the rest is said by options.
#[derive(Clone, Copy, Debug)]
pub(super) struct Form {
    /// Index of the first end of the range; the other and the options follow.
    pub(super) first: usize,
    pub(super) by: Option<By>,
    pub(super) reverse: Option<bool>,
    /// Whether the members are stored, with their scores in any case.
    pub(super) stores: bool,
}

/// A range, read from arguments.
pub(super) struct Query<'a> {
    window: Window<'a>,
    reverse: bool,
    offset: i64,
    /// How many members at most; negative for all.
    limit: i64,
    pub(super) with_scores: bool,
}

/// The members before LIMIT.
#[derive(Clone, Copy)]
pub(super) enum Window<'a> {
    Ranks(i64, i64),
    Scores(ScoreRange),
    Members(LexRange<'a>),
}

impl<'a> Query<'a> {
    pub(super) fn parse(args: Args<'a>, form: Form) -> Result<Self, CommandError> {
        let (mut by, mut reverse) = (form.by, form.reverse);
        let (mut offset, mut limit, mut with_scores) = (0, -1, false);
        let mut at = form.first + 2;
        while at < args.len() {
            if !form.stores && is_option(args, at, "withscores") {
                with_scores = true;
            } else if is_option(args, at, "limit") && at + 2 < args.len() {
                offset = integer(args.arg(at + 1))?;
                limit = integer(args.arg(at + 2))?;
                at += 2;
            } else if reverse.is_none() && is_option(args, at, "rev") {
                reverse = Some(true);
            } else if by.is_none() && is_option(args, at, "bylex") {
                by = Some(By::Lex);
            } else if by.is_none() && is_option(args, at, "byscore") {
                by = Some(By::Score);
            } else {
                return Err(CommandError::Syntax);
            }
            at += 1;
        }
        let (by, reverse) = (by.unwrap_or(By::Rank), reverse.unwrap_or(false));
        if limit != -1 && by == By::Rank {
            return Err(LIMIT_BY_RANK);
        }
        if with_scores && by == By::Lex {
            return Err(SCORES_BY_LEX);
        }
        let ends = (args.arg(form.first), args.arg(form.first + 1));
        Ok(Self {
            window: match (by, reverse) {
                // The higher end comes first.
                (By::Score | By::Lex, true) => Window::parse(by, (ends.1, ends.0))?,
                _ => Window::parse(by, ends)?,
            },
            reverse,
            offset,
            limit,
            with_scores,
        })
    }

    /// The members of a set that are asked for, and their number.
    pub(super) fn members<'s>(&self, set: &'s SortedSet) -> (Walk<'s>, usize) {
        let ranks = self.ranks(set);
        let len = ranks.len();
        (set.walk(ranks, self.reverse), len)
    }

    fn ranks(&self, set: &SortedSet) -> Range<usize> {
        let window = match self.window {
            Window::Ranks(start, end) if self.reverse => {
                let ranks = absolute(start, end, set.len());
                set.len() - ranks.end..set.len() - ranks.start
            }
            window => window.ranks(set),
        };
        let skipped = match usize::try_from(self.offset) {
            Ok(offset) => offset.min(window.len()),
            // Redis counts such an offset down for ever.
            Err(_) => window.len(),
        };
        let left = window.len() - skipped;
        let taken = usize::try_from(self.limit).unwrap_or(left).min(left);
        if self.reverse {
            let end = window.end - skipped;
            end - taken..end
        } else {
            let start = window.start + skipped;
            start..start + taken
        }
    }
}

impl<'a> Window<'a> {
    /// Reads the lower and the higher end of a range.
    pub(super) fn parse(by: By, (min, max): (&'a [u8], &'a [u8])) -> Result<Self, CommandError> {
        Ok(match by {
            By::Rank => Self::Ranks(integer(min)?, integer(max)?),
            By::Score => Self::Scores(ScoreRange::parse(min, max)?),
            By::Lex => Self::Members(LexRange::parse(min, max)?),
        })
    }

    /// The ranks of the members in this range.
    pub(super) fn ranks(&self, set: &SortedSet) -> Range<usize> {
        match self {
            Self::Ranks(start, end) => absolute(*start, *end, set.len()),
            Self::Scores(range) => range.ranks(set),
            Self::Members(range) => range.ranks(set),
        }
    }
}

/// The ranks from `start` to `end`, both included; negative ones count from the end.
fn absolute(start: i64, end: i64, len: usize) -> Range<usize> {
    let len = len as i64;
    let from_start = |rank: i64| {
        if rank < 0 {
            rank.saturating_add(len)
        } else {
            rank
        }
    };
    let start = from_start(start).max(0);
    let end = from_start(end).min(len - 1);
    if start > end {
        return 0..0;
    }
    start as usize..end as usize + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_count_from_either_end() {
        for (start, end, len, expected) in [
            (0, -1, 3, 0..3),
            (1, 1, 3, 1..2),
            (-2, 5, 3, 1..3),
            (-9, -3, 3, 0..1),
            (-9, -4, 3, 0..0),
            (2, 1, 3, 0..0),
            (3, 9, 3, 0..0),
            (0, -1, 0, 0..0),
            (i64::MIN, i64::MAX, 3, 0..3),
        ] {
            assert_eq!(
                absolute(start, end, len),
                expected,
                "{start} {end} of {len}"
            );
        }
    }
}
