//! Places one by one: GEOADD, GEOPOS, GEODIST, GEOHASH.

use bailiwick_frame::{Args, Encoder};

use super::position::Position;
use super::{ROW, position, unit_m, write_distance, write_position};
use crate::commands::sorted_set::add::{Options, add_members};
use crate::commands::{
    Command, CommandError, Flag, Handler, Outcome, ReadContext, WriteContext, is_option,
};
use crate::keyspace::SortedSet;

pub(in crate::commands) static COMMANDS: &[Command] = &[
    Command {
        name: "geoadd",
        arity: -5,
        flags: Flag::Write as u32 | Flag::Denyoom as u32,
        complexity: "O(log(N)) for each place, N being the size of the sorted set",
        summary: "Adds places to a sorted set, or moves those that are there.",
        syntax: "key [NX | XX] [CH] longitude latitude member [longitude latitude member ...]",
        handler: Handler::Write(geoadd),
        ..ROW
    },
    Command {
        name: "geodist",
        arity: -4,
        flags: Flag::Readonly as u32,
        summary: "Tells the distance between two places.",
        syntax: "key member1 member2 [M | KM | FT | MI]",
        handler: Handler::Read(geodist),
        ..ROW
    },
    Command {
        name: "geohash",
        arity: -2,
        flags: Flag::Readonly as u32,
        complexity: "O(N) where N is the number of places asked for",
        summary: "Replies with the standard geohashes of places.",
        syntax: "key [member [member ...]]",
        handler: Handler::Read(geohash),
        ..ROW
    },
    Command {
        name: "geopos",
        arity: -2,
        flags: Flag::Readonly as u32,
        complexity: "O(N) where N is the number of places asked for",
        summary: "Replies with the longitudes and latitudes of places.",
        syntax: "key [member [member ...]]",
        handler: Handler::Read(geopos),
        ..ROW
    },
];

fn geoadd(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let mut options = Options::default();
    let mut first = 2;
    while first < args.len() {
        match () {
            () if is_option(args, first, "nx") => options.only_new = true,
            () if is_option(args, first, "xx") => options.only_present = true,
            () if is_option(args, first, "ch") => options.count_changed = true,
            () => break,
        }
        first += 1;
    }
    let rest = args.len() - first;
    if rest == 0 || !rest.is_multiple_of(3) || (options.only_new && options.only_present) {
        return Err(CommandError::Syntax);
    }
    let mut pairs = Vec::with_capacity(rest / 3);
    for at in (first..args.len()).step_by(3) {
        pairs.push((position(args, at)?.score(), args.arg(at + 2)));
    }
    let tally = add_members(ctx, args.arg(1), &pairs, options)?;
    out.integer(tally.count(options) as i64);
    Ok(())
}

fn geodist(ctx: &ReadContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let unit_m = match args.len() {
        4 => 1.0,
        5 => unit_m(args, 4)?,
        _ => return Err(CommandError::Syntax),
    };
    let set = ctx.object::<SortedSet>(args.arg(1))?;
    let [from, to] = [2, 3].map(|at| place(set, args.arg(at)));
    match from.zip(to) {
        Some((from, to)) => write_distance(from.distance_m(to) / unit_m, out),
        None => out.null(),
    }
    Ok(())
}

fn geohash(ctx: &ReadContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let set = ctx.object::<SortedSet>(args.arg(1))?;
    out.array(args.len() - 2);
    for member in args.iter().skip(2) {
        match place(set, member) {
            Some(position) => out.bulk(&position.geohash()),
            None => out.null(),
        }
    }
    Ok(())
}

fn geopos(ctx: &ReadContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let set = ctx.object::<SortedSet>(args.arg(1))?;
    out.array(args.len() - 2);
    for member in args.iter().skip(2) {
        match place(set, member) {
            Some(position) => write_position(position, out),
            None => out.null_array(),
        }
    }
    Ok(())
}

fn place(set: Option<&SortedSet>, member: &[u8]) -> Option<Position> {
    Some(Position::of_score(set?.score(member)?))
}
