//! How sets are to be combined: the arguments of the ZUNION, ZINTER and ZDIFF families.

use std::ops::Range;

use bailiwick_frame::Args;

use crate::commands::double::double;
use crate::commands::parse::integer;
use crate::commands::{CommandError, is_option};

const NO_WEIGHT: CommandError = CommandError::text("ERR weight value is not a float");
const NEGATIVE_LIMIT: CommandError = CommandError::text("ERR LIMIT can't be negative");

/// The scores of one member in several sets become one score.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Aggregate {
    Sum,
    Min,
    Max,
}

impl Aggregate {
    fn parse(args: Args<'_>, at: usize) -> Result<Self, CommandError> {
        match () {
            () if is_option(args, at, "sum") => Ok(Self::Sum),
            () if is_option(args, at, "min") => Ok(Self::Min),
            () if is_option(args, at, "max") => Ok(Self::Max),
            () => Err(CommandError::Syntax),
        }
    }

    /// The score so far and the next one. The sum of infinities of both signs is 0.
    pub(super) fn add(self, score: f64, next: f64) -> f64 {
        match self {
            Self::Sum if (score + next).is_nan() => 0.0,
            Self::Sum => score + next,
            // If the next one is no number (0 times infinity), the score so far stays.
            Self::Min if next < score => next,
            Self::Max if next > score => next,
            Self::Min | Self::Max => score,
        }
    }
}

/// Which options a command has.
#[derive(Clone, Copy)]
pub(super) struct Accepted {
    /// WEIGHTS and AGGREGATE.
    pub(super) scoring: bool,
    /// WITHSCORES.
    pub(super) with_scores: bool,
    /// LIMIT.
    pub(super) limit: bool,
}

/// The options behind the keys.
#[derive(Debug)]
pub(super) struct Options {
    /// One for each key.
    pub(super) weights: Vec<f64>,
    pub(super) aggregate: Aggregate,
    pub(super) with_scores: bool,
    /// How many members are counted at most.
    pub(super) limit: usize,
}

/// Where the keys stand whose number is the argument at `count`.
pub(super) fn keys(
    args: Args<'_>,
    count: usize,
    command: &str,
) -> Result<Range<usize>, CommandError> {
    let keys = integer(args.arg(count))?;
    let keys = usize::try_from(keys).ok().filter(|&keys| keys > 0);
    let keys = keys.ok_or_else(|| {
        let text = format!("ERR at least 1 input key is needed for '{command}' command");
        CommandError::composed(text)
    })?;
    let first = count + 1;
    if keys > args.len() - first {
        return Err(CommandError::Syntax);
    }
    Ok(first..first + keys)
}

impl Options {
    /// Reads the options behind `keys` keys, which end before argument `at`.
    pub(super) fn parse(
        args: Args<'_>,
        mut at: usize,
        keys: usize,
        accepted: Accepted,
    ) -> Result<Self, CommandError> {
        let mut options = Self {
            weights: vec![1.0; keys],
            aggregate: Aggregate::Sum,
            with_scores: false,
            limit: usize::MAX,
        };
        while at < args.len() {
            let behind = args.len() - at - 1;
            if accepted.scoring && behind >= keys && is_option(args, at, "weights") {
                for (weight, arg) in options.weights.iter_mut().zip(args.iter().skip(at + 1)) {
                    *weight = double(arg).map_err(|_| NO_WEIGHT)?;
                }
                at += keys;
            } else if accepted.scoring && behind >= 1 && is_option(args, at, "aggregate") {
                options.aggregate = Aggregate::parse(args, at + 1)?;
                at += 1;
            } else if accepted.with_scores && is_option(args, at, "withscores") {
                options.with_scores = true;
            } else if accepted.limit && behind >= 1 && is_option(args, at, "limit") {
                options.limit = limit(args.arg(at + 1))?;
                at += 1;
            } else {
                return Err(CommandError::Syntax);
            }
            at += 1;
        }
        Ok(options)
    }
}

/// 0 stands for no limit.
fn limit(arg: &[u8]) -> Result<usize, CommandError> {
    let number = integer(arg)
        .ok()
        .and_then(|number| usize::try_from(number).ok());
    match number.ok_or(NEGATIVE_LIMIT)? {
        0 => Ok(usize::MAX),
        limit => Ok(limit),
    }
}
