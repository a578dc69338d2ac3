//! Whole sets combined: ZUNION, ZINTER, ZDIFF, their STORE forms, ZINTERCARD.
//!
//! A plain set counts as a sorted set in which every score is 1. Except for differences, sets are
//! taken in the order of their sizes, the smallest first, as Redis does: with fractions and
//! infinities the order of a sum shows.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bailiwick_frame::{Args, Encoder};

use super::combine_options::{Accepted, Options, keys};
use super::{READ, ROW, WRITE_DENYOOM, write_members};
use crate::commands::{Command, CommandError, Handler, Keys, Outcome, ReadContext, WriteContext};
use crate::keyspace::{Elements, Member, Object, Set, SortedSet, ValueRef};

const UNION_COST: &str = "O(N)+O(M*log(M)) where N is the size of all sets together and M that of \
                          the result";
const INTER_COST: &str = "O(N*K)+O(M*log(M)) where N is the size of the smallest set, K the number \
                          of sets and M the size of the result";
const DIFF_COST: &str = "O(N*K)+O(M*log(M)) where N is the size of the first set, K the number of \
                         sets and M the size of the result";

const READING: Command = Command {
    arity: -3,
    flags: READ,
    keys: Keys::counted(1),
    since: "6.2.0",
    ..ROW
};
const STORING: Command = Command {
    arity: -4,
    flags: WRITE_DENYOOM,
    keys: Keys::Counted {
        target: 1,
        count: 2,
    },
    since: "2.0.0",
    ..ROW
};

pub(in crate::commands) static COMMANDS: &[Command] = &[
    Command {
        name: "zunion",
        complexity: UNION_COST,
        summary: "Lists the members of any of several sorted sets.",
        syntax: "numkeys key [key ...] [WEIGHTS weight [weight ...]] \
                 [AGGREGATE <SUM | MIN | MAX>] [WITHSCORES]",
        handler: Handler::Read(zunion),
        ..READING
    },
    Command {
        name: "zinter",
        complexity: INTER_COST,
        summary: "Lists the members that all of several sorted sets have.",
        syntax: "numkeys key [key ...] [WEIGHTS weight [weight ...]] \
                 [AGGREGATE <SUM | MIN | MAX>] [WITHSCORES]",
        handler: Handler::Read(zinter),
        ..READING
    },
    Command {
        name: "zdiff",
        complexity: DIFF_COST,
        summary: "Lists the members of a sorted set that no other has.",
        syntax: "numkeys key [key ...] [WITHSCORES]",
        handler: Handler::Read(zdiff),
        ..READING
    },
    Command {
        name: "zintercard",
        since: "7.0.0",
        complexity: "O(N*K) where N is the size of the smallest set and K the number of sets",
        summary: "Counts the members that all of several sorted sets have.",
        syntax: "numkeys key [key ...] [LIMIT limit]",
        handler: Handler::Read(zintercard),
        ..READING
    },
    Command {
        name: "zunionstore",
        complexity: UNION_COST,
        summary: "Stores the members of any of several sorted sets.",
        syntax: "destination numkeys key [key ...] [WEIGHTS weight [weight ...]] \
                 [AGGREGATE <SUM | MIN | MAX>]",
        handler: Handler::Write(zunionstore),
        ..STORING
    },
    Command {
        name: "zinterstore",
        complexity: INTER_COST,
        summary: "Stores the members that all of several sorted sets have.",
        syntax: "destination numkeys key [key ...] [WEIGHTS weight [weight ...]] \
                 [AGGREGATE <SUM | MIN | MAX>]",
        handler: Handler::Write(zinterstore),
        ..STORING
    },
    Command {
        name: "zdiffstore",
        since: "6.2.0",
        complexity: DIFF_COST,
        summary: "Stores the members of a sorted set that no other has.",
        syntax: "destination numkeys key [key ...]",
        handler: Handler::Write(zdiffstore),
        ..STORING
    },
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Operation {
    Union,
    Intersection,
    Difference,
}

/// A result, in no particular order.
type Members<'a> = Vec<(Cow<'a, [u8]>, f64)>;

fn zunion(ctx: &ReadContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    list(ctx, args, Operation::Union, "zunion", out)
}

fn zinter(ctx: &ReadContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    list(ctx, args, Operation::Intersection, "zinter", out)
}

fn zdiff(ctx: &ReadContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    list(ctx, args, Operation::Difference, "zdiff", out)
}

fn list(
    ctx: &ReadContext<'_>,
    args: Args<'_>,
    operation: Operation,
    command: &str,
    out: &mut Encoder<'_>,
) -> Outcome {
    let accepted = Accepted {
        scoring: operation != Operation::Difference,
        with_scores: true,
        limit: false,
    };
    let (sources, options) = Source::find_all(ctx, args, 1, command, accepted)?;
    let result = sorted(combine(sources, operation, &options));
    let members = result.iter().map(|(member, score)| (&member[..], *score));
    write_members(members, result.len(), options.with_scores, out);
    Ok(())
}

fn zintercard(ctx: &ReadContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let accepted = Accepted {
        scoring: false,
        with_scores: false,
        limit: true,
    };
    let (sources, options) = Source::find_all(ctx, args, 1, "zintercard", accepted)?;
    let members = combine(sources, Operation::Intersection, &options);
    out.integer(members.len() as i64);
    Ok(())
}

fn zunionstore(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    store(ctx, args, Operation::Union, "zunionstore", out)
}

fn zinterstore(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    store(ctx, args, Operation::Intersection, "zinterstore", out)
}

fn zdiffstore(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    store(ctx, args, Operation::Difference, "zdiffstore", out)
}

fn store(
    ctx: &mut WriteContext<'_>,
    args: Args<'_>,
    operation: Operation,
    command: &str,
    out: &mut Encoder<'_>,
) -> Outcome {
    let accepted = Accepted {
        scoring: operation != Operation::Difference,
        with_scores: false,
        limit: false,
    };
    let reader = ctx.reader();
    let (sources, options) = Source::find_all(&reader, args, 2, command, accepted)?;
    let result = sorted(combine(sources, operation, &options));
    let longest = result.iter().map(|(member, _)| member.len()).max();
    let (len, seed) = (result.len(), ctx.seed());
    let mut stored = SortedSet::expecting(len, longest.unwrap_or(0), seed);
    for (member, score) in result {
        stored.set(&member, score, seed);
    }
    ctx.store(args.arg(1), stored);
    out.integer(len as i64);
    Ok(())
}

/// A set that takes part.
#[derive(Clone, Copy)]
enum Source<'a> {
    Absent,
    Plain(&'a Set),
    Sorted(&'a SortedSet),
}

impl<'a> Source<'a> {
    /// The sets that a request names, and its options. The number of keys is the argument at
    /// `count`.
    fn find_all(
        ctx: &ReadContext<'a>,
        args: Args<'_>,
        count: usize,
        command: &str,
        accepted: Accepted,
    ) -> Result<(Vec<Self>, Options), CommandError> {
        let keys = keys(args, count, command)?;
        let sources = keys.clone().map(|at| Self::find(ctx, args.arg(at)));
        let sources: Vec<Self> = sources.collect::<Result<_, _>>()?;
        let options = Options::parse(args, keys.end, keys.len(), accepted)?;
        Ok((sources, options))
    }

    fn find(ctx: &ReadContext<'a>, key: &[u8]) -> Result<Self, CommandError> {
        match ctx.get(key).map(|entry| entry.value()) {
            None => Ok(Self::Absent),
            Some(ValueRef::Object(Object::SortedSet(set))) => Ok(Self::Sorted(set)),
            Some(ValueRef::Object(Object::Set(set))) => Ok(Self::Plain(set)),
            Some(_) => Err(CommandError::WrongType),
        }
    }

    fn len(self) -> usize {
        match self {
            Self::Absent => 0,
            Self::Plain(set) => set.len(),
            Self::Sorted(set) => set.len(),
        }
    }

    fn score(self, member: &[u8]) -> Option<f64> {
        match self {
            Self::Absent => None,
            Self::Plain(set) => set.contains(Member::Bytes(member)).then_some(1.0),
            Self::Sorted(set) => set.score(member),
        }
    }

    fn members(self) -> Members<'a> {
        match self {
            Self::Absent => Vec::new(),
            Self::Plain(set) => {
                let bytes = |member| match member {
                    Member::Bytes(bytes) => Cow::Borrowed(bytes),
                    Member::Int(number) => Cow::Owned(number.to_string().into_bytes()),
                };
                let members = set.iter_from(0).map(bytes);
                members.map(|member| (member, 1.0)).collect()
            }
            Self::Sorted(set) => {
                let borrowed = |(member, score)| (Cow::Borrowed(member), score);
                set.iter().map(borrowed).collect()
            }
        }
    }
}

fn combine<'a>(sources: Vec<Source<'a>>, operation: Operation, options: &Options) -> Members<'a> {
    let mut weighted: Vec<_> = sources
        .into_iter()
        .zip(options.weights.iter().copied())
        .collect();
    if operation != Operation::Difference {
        weighted.sort_by_key(|(source, _)| source.len());
    }
    match operation {
        Operation::Union => union(&weighted, options),
        Operation::Intersection => intersection(&weighted, options),
        Operation::Difference => difference(&weighted),
    }
}

fn union<'a>(sources: &[(Source<'a>, f64)], options: &Options) -> Members<'a> {
    let mut scores: BTreeMap<Cow<'a, [u8]>, f64> = BTreeMap::new();
    for &(source, weight) in sources {
        for (member, score) in source.members() {
            let next = first_score(weight, score);
            scores
                .entry(member)
                .and_modify(|score| *score = options.aggregate.add(*score, next))
                .or_insert(next);
        }
    }
    scores.into_iter().collect()
}

fn intersection<'a>(sources: &[(Source<'a>, f64)], options: &Options) -> Members<'a> {
    let Some((&(first, weight), others)) = sources.split_first() else {
        return Vec::new();
    };
    let in_all = |(member, score): (Cow<'a, [u8]>, f64)| {
        let mut total = first_score(weight, score);
        for (other, weight) in others {
            let next = other.score(&member)? * weight;
            total = options.aggregate.add(total, next);
        }
        Some((member, total))
    };
    let members = first.members().into_iter().filter_map(in_all);
    members.take(options.limit).collect()
}

fn difference<'a>(sources: &[(Source<'a>, f64)]) -> Members<'a> {
    let Some(((first, _), others)) = sources.split_first() else {
        return Vec::new();
    };
    let mut members = first.members();
    let in_none = |member: &[u8]| {
        others
            .iter()
            .all(|(other, _)| other.score(member).is_none())
    };
    members.retain(|(member, _)| in_none(member));
    members
}

/// A score times its weight; 0 if that is no number.
fn first_score(weight: f64, score: f64) -> f64 {
    let product = weight * score;
    if product.is_nan() { 0.0 } else { product }
}

/// In the order of sorted sets.
fn sorted(mut members: Members<'_>) -> Members<'_> {
    members.sort_unstable_by(|one, other| {
        let by_score = one
            .1
            .partial_cmp(&other.1)
            .expect("NaN never leaves a combination");
        by_score.then_with(|| one.0.cmp(&other.0))
    });
    members
}
