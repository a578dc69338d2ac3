//! Adding members and changing scores: ZADD, ZINCRBY.

use bailiwick_frame::{Args, Encoder};

use super::{ROW, WRITE_DENYOOM, write_score};
use crate::commands::double::double;
use crate::commands::{Command, CommandError, Flag, Handler, Outcome, WriteContext, is_option};
use crate::keyspace::SortedSet;

const NX_WITH_XX: CommandError =
    CommandError::text("ERR XX and NX options at the same time are not compatible");
const CONTRADICTION: CommandError =
    CommandError::text("ERR GT, LT, and/or NX options at the same time are not compatible");
const INCR_ONE: CommandError =
    CommandError::text("ERR INCR option supports a single increment-element pair");
const NAN: CommandError = CommandError::text("ERR resulting score is not a number (NaN)");

const FLAGS: u32 = WRITE_DENYOOM | Flag::Fast as u32;

pub(in crate::commands) static COMMANDS: &[Command] = &[
    Command {
        name: "zadd",
        arity: -4,
        flags: FLAGS,
        since: "1.2.0",
        complexity: "O(log(N)) for each member, N being the size of the sorted set",
        summary: "Adds members to a sorted set, or gives those that are there other scores.",
        syntax: "key [NX | XX] [GT | LT] [CH] [INCR] score member [score member ...]",
        handler: Handler::Write(zadd),
        ..ROW
    },
    Command {
        name: "zincrby",
        arity: 4,
        flags: FLAGS,
        since: "1.2.0",
        complexity: "O(log(N)) where N is the size of the sorted set",
        summary: "Adds to the score of a member, an absent member counting as 0.",
        syntax: "key increment member",
        handler: Handler::Write(zincrby),
        ..ROW
    },
];

/// The options of ZADD. GEOADD has some of them.
#[derive(Clone, Copy, Default)]
pub(in crate::commands) struct Options {
    pub(in crate::commands) only_new: bool,
    pub(in crate::commands) only_present: bool,
    only_greater: bool,
    only_less: bool,
    pub(in crate::commands) count_changed: bool,
    increment: bool,
}

impl Options {
    /// Reads options from argument 2 on; returns where the scores begin.
    fn parse(args: Args<'_>) -> (Self, usize) {
        let mut options = Self::default();
        let mut at = 2;
        while at < args.len() {
            let option = match () {
                () if is_option(args, at, "nx") => &mut options.only_new,
                () if is_option(args, at, "xx") => &mut options.only_present,
                () if is_option(args, at, "gt") => &mut options.only_greater,
                () if is_option(args, at, "lt") => &mut options.only_less,
                () if is_option(args, at, "ch") => &mut options.count_changed,
                () if is_option(args, at, "incr") => &mut options.increment,
                () => break,
            };
            *option = true;
            at += 1;
        }
        (options, at)
    }

    fn check(&self, pairs: usize) -> Result<(), CommandError> {
        if self.only_new && self.only_present {
            return Err(NX_WITH_XX);
        }
        let conditions = [self.only_new, self.only_greater, self.only_less];
        if conditions.into_iter().filter(|&given| given).count() > 1 {
            return Err(CONTRADICTION);
        }
        if self.increment && pairs > 1 {
            return Err(INCR_ONE);
        }
        Ok(())
    }

    /// The score that a member gets; `None` if it stays as it is.
    fn decide(&self, present: Option<f64>, given: f64) -> Result<Option<f64>, CommandError> {
        let Some(present) = present else {
            return Ok((!self.only_present).then_some(given));
        };
        if self.only_new {
            return Ok(None);
        }
        let score = if self.increment {
            present + given
        } else {
            given
        };
        if score.is_nan() {
            return Err(NAN);
        }
        let refused =
            (self.only_less && score >= present) || (self.only_greater && score <= present);
        Ok((!refused).then_some(score))
    }
}

/// What became of all members of a command.
#[derive(Default)]
pub(in crate::commands) struct Tally {
    added: u64,
    updated: u64,
    /// The last member's score, unless the options left the member alone.
    score: Option<f64>,
}

impl Tally {
    /// The number with which ZADD replies.
    pub(in crate::commands) fn count(&self, options: Options) -> u64 {
        if options.count_changed {
            self.added + self.updated
        } else {
            self.added
        }
    }
}

fn zadd(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let (options, first) = Options::parse(args);
    let tally = add(ctx, args, first, options)?;
    if options.increment {
        write_score(tally.score, out);
    } else {
        out.integer(tally.count(options) as i64);
    }
    Ok(())
}

fn zincrby(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    // As in Redis, the name of an option of ZADD is taken for one, and then a score is missing.
    let (mut options, first) = Options::parse(args);
    options.increment = true;
    let tally = add(ctx, args, first, options)?;
    write_score(tally.score, out);
    Ok(())
}

fn add(
    ctx: &mut WriteContext<'_>,
    args: Args<'_>,
    first: usize,
    options: Options,
) -> Result<Tally, CommandError> {
    let rest = args.len() - first;
    if rest == 0 || !rest.is_multiple_of(2) {
        return Err(CommandError::Syntax);
    }
    options.check(rest / 2)?;
    let mut pairs = Vec::with_capacity(rest / 2);
    for at in (first..args.len()).step_by(2) {
        pairs.push((double(args.arg(at))?, args.arg(at + 1)));
    }
    add_members(ctx, args.arg(1), &pairs, options)
}

/// Gives members scores as the options say; a wrong type is the one thing that can go wrong, and a
/// sum that is no number.
pub(in crate::commands) fn add_members(
    ctx: &mut WriteContext<'_>,
    key: &[u8],
    pairs: &[(f64, &[u8])],
    options: Options,
) -> Result<Tally, CommandError> {
    let seed = ctx.seed();
    let change = |set: &mut SortedSet| {
        set.expect(pairs.len(), seed);
        let tally = add_pairs(set, pairs, options, seed);
        let changes = tally
            .as_ref()
            .map_or(0, |tally| tally.added + tally.updated);
        (tally, changes)
    };
    if options.only_present {
        ctx.edit(key, change)?
            .unwrap_or_else(|| Ok(Tally::default()))
    } else {
        ctx.edit_or_create(key, change)?
    }
}

/// An error comes from the only pair there is, so nothing has changed then.
fn add_pairs(
    set: &mut SortedSet,
    pairs: &[(f64, &[u8])],
    options: Options,
    seed: u64,
) -> Result<Tally, CommandError> {
    let mut tally = Tally::default();
    for &(given, member) in pairs {
        let present = set.score(member);
        tally.score = options.decide(present, given)?;
        let Some(score) = tally.score else {
            continue;
        };
        match present {
            Some(present) if present == score => continue,
            Some(_) => tally.updated += 1,
            None => tally.added += 1,
        }
        set.replace(member, present, score, seed);
    }
    Ok(tally)
}
