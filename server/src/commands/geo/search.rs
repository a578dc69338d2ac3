//! Places around a place: GEOSEARCH, GEOSEARCHSTORE, and the older GEORADIUS family.

use bailiwick_frame::{Args, Encoder};

use super::position::Position;
use super::search_options::{Form, Order, Request};
use super::{ROW, write_distance, write_position};
use crate::commands::sorted_set::bounds::ScoreRange;
use crate::commands::{
    Command, CommandError, Flag, Handler, Keys, Outcome, ReadContext, WriteContext,
};
use crate::keyspace::SortedSet;

const COST: &str = "O(N+log(M)) where N is the number of places in the cells that cover what is \
                    searched and M the size of the sorted set";
const READ: u32 = Flag::Readonly as u32;
const WRITE: u32 = Flag::Write as u32 | Flag::Denyoom as u32;

pub(in crate::commands) static COMMANDS: &[Command] = &[
    Command {
        name: "geosearch",
        arity: -7,
        flags: READ,
        since: "6.2.0",
        complexity: COST,
        summary: "Lists the places in a circle or a box.",
        syntax: "key <FROMMEMBER member | FROMLONLAT longitude latitude> \
                 <BYRADIUS radius <M | KM | FT | MI> | BYBOX width height <M | KM | FT | MI>> \
                 [ASC | DESC] [COUNT count [ANY]] [WITHCOORD] [WITHDIST] [WITHHASH]",
        handler: Handler::Read(geosearch),
        ..ROW
    },
    Command {
        name: "geosearchstore",
        arity: -8,
        flags: WRITE,
        keys: Keys::Range {
            first: 1,
            last: 2,
            step: 1,
        },
        since: "6.2.0",
        complexity: COST,
        summary: "Stores the places in a circle or a box.",
        syntax: "destination source <FROMMEMBER member | FROMLONLAT longitude latitude> \
                 <BYRADIUS radius <M | KM | FT | MI> | BYBOX width height <M | KM | FT | MI>> \
                 [ASC | DESC] [COUNT count [ANY]] [STOREDIST]",
        handler: Handler::Write(geosearchstore),
        ..ROW
    },
    Command {
        name: "georadius",
        arity: -6,
        flags: WRITE,
        keys: Keys::Stored { from: 6 },
        complexity: COST,
        summary: "Lists or stores the places within a radius.",
        syntax: "key longitude latitude radius <M | KM | FT | MI> [WITHCOORD] [WITHDIST] \
                 [WITHHASH] [COUNT count [ANY]] [ASC | DESC] [STORE key | STOREDIST key]",
        handler: Handler::Write(georadius),
        ..ROW
    },
    Command {
        name: "georadius_ro",
        arity: -6,
        flags: READ,
        since: "3.2.10",
        complexity: COST,
        summary: "Lists the places within a radius.",
        syntax: "key longitude latitude radius <M | KM | FT | MI> [WITHCOORD] [WITHDIST] \
                 [WITHHASH] [COUNT count [ANY]] [ASC | DESC]",
        handler: Handler::Read(georadius_ro),
        ..ROW
    },
    Command {
        name: "georadiusbymember",
        arity: -5,
        flags: WRITE,
        keys: Keys::Stored { from: 5 },
        complexity: COST,
        summary: "Lists or stores the places within a radius around a member.",
        syntax: "key member radius <M | KM | FT | MI> [WITHCOORD] [WITHDIST] [WITHHASH] \
                 [COUNT count [ANY]] [ASC | DESC] [STORE key | STOREDIST key]",
        handler: Handler::Write(georadiusbymember),
        ..ROW
    },
    Command {
        name: "georadiusbymember_ro",
        arity: -5,
        flags: READ,
        since: "3.2.10",
        complexity: COST,
        summary: "Lists the places within a radius around a member.",
        syntax: "key member radius <M | KM | FT | MI> [WITHCOORD] [WITHDIST] [WITHHASH] \
                 [COUNT count [ANY]] [ASC | DESC]",
        handler: Handler::Read(georadiusbymember_ro),
        ..ROW
    },
];

fn geosearch(ctx: &ReadContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    list(ctx, args, Form::Search, out)
}

fn geosearchstore(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    list_or_store(ctx, args, Form::SearchStore, out)
}

fn georadius(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    list_or_store(ctx, args, Form::Radius { stores: true }, out)
}

fn georadius_ro(ctx: &ReadContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    list(ctx, args, Form::Radius { stores: false }, out)
}

fn georadiusbymember(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    list_or_store(ctx, args, Form::RadiusByMember { stores: true }, out)
}

fn georadiusbymember_ro(ctx: &ReadContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    list(ctx, args, Form::RadiusByMember { stores: false }, out)
}

fn list(ctx: &ReadContext<'_>, args: Args<'_>, form: Form, out: &mut Encoder<'_>) -> Outcome {
    let (request, found) = search(ctx, args, form)?;
    write_found(&request, &found, out);
    Ok(())
}

fn list_or_store(
    ctx: &mut WriteContext<'_>,
    args: Args<'_>,
    form: Form,
    out: &mut Encoder<'_>,
) -> Outcome {
    let reader = ctx.reader();
    let (request, found) = search(&reader, args, form)?;
    let Some(target) = request.target else {
        write_found(&request, &found, out);
        return Ok(());
    };
    let longest = found.iter().map(|found| found.member.len()).max();
    let (len, seed) = (found.len(), ctx.seed());
    let mut stored = SortedSet::expecting(len, longest.unwrap_or(0), seed);
    for found in &found {
        let score = if target.distances {
            found.distance_m / request.unit_m
        } else {
            found.score
        };
        stored.set(found.member, score, seed);
    }
    ctx.store(target.key, stored);
    out.integer(len as i64);
    Ok(())
}

/// A place within the shape.
struct Found<'a> {
    member: &'a [u8],
    score: f64,
    position: Position,
    distance_m: f64,
}

/// Reads a request, and finds the places that it asks for.
fn search<'a, 's>(
    ctx: &ReadContext<'s>,
    args: Args<'a>,
    form: Form,
) -> Result<(Request<'a>, Vec<Found<'s>>), CommandError> {
    let source = if form == Form::SearchStore { 2 } else { 1 };
    let set: Option<&SortedSet> = ctx.object(args.arg(source))?;
    let request = Request::parse(args, form, set)?;
    let mut found = match set {
        Some(set) => find(set, &request),
        None => Vec::new(),
    };
    let order = match request.order {
        // The nearest are to be returned, so they must be known.
        Order::None if request.count > 0 && !request.any => Order::Nearest,
        order => order,
    };
    match order {
        Order::None => {}
        Order::Nearest => found.sort_by(|one, next| one.distance_m.total_cmp(&next.distance_m)),
        Order::Farthest => found.sort_by(|one, next| next.distance_m.total_cmp(&one.distance_m)),
    }
    if request.count > 0 {
        found.truncate(request.count);
    }
    Ok((request, found))
}

fn find<'s>(set: &'s SortedSet, request: &Request<'_>) -> Vec<Found<'s>> {
    let mut found = Vec::new();
    let Some(shape) = request.shape() else {
        return found;
    };
    let is_enough = |found: &Vec<_>| request.any && found.len() >= request.count;
    for cell in shape.cells() {
        let (low, high) = cell.scores();
        for (member, score) in set.walk(ScoreRange::below(low, high).ranks(set), false) {
            if is_enough(&found) {
                return found;
            }
            let position = Position::of_score(score);
            if let Some(distance_m) = shape.distance_m(position) {
                found.push(Found {
                    member,
                    score,
                    position,
                    distance_m,
                });
            }
        }
    }
    found
}

fn write_found(request: &Request<'_>, found: &[Found<'_>], out: &mut Encoder<'_>) {
    let details = [
        request.with_distance,
        request.with_hash,
        request.with_position,
    ];
    let details = details.into_iter().filter(|&wanted| wanted).count();
    out.array(found.len());
    for found in found {
        if details > 0 {
            out.array(details + 1);
        }
        out.bulk(found.member);
        if request.with_distance {
            write_distance(found.distance_m / request.unit_m, out);
        }
        if request.with_hash {
            out.integer(found.score as i64);
        }
        if request.with_position {
            write_position(found.position, out);
        }
    }
}
