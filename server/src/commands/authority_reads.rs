//! What nodes ask of a group's authority. Internal: clients have PREFIX.

use bailiwick_frame::{Args, Encoder};

use super::{Command, DEFAULT, Flag, Handler, Outcome, ReadContext, ReadHandler};
use crate::authority::Status;

pub(super) static COMMANDS: &[Command] = &[
    // prefix -> the epoch at which the group serves it; 0 if it does not.
    row("_owns", owns),
    // prefix -> a line that `Status` reads.
    row("_status", status),
    // name -> the number of the group of this name, for the root group; -1 if there is none.
    row("_named", named),
];

const fn row(name: &'static str, handler: ReadHandler) -> Command {
    Command {
        name,
        arity: 2,
        flags: Flag::Internal as u32 | Flag::Readonly as u32,
        handler: Handler::Read(handler),
        ..DEFAULT
    }
}

fn owns(context: &ReadContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let owned = context
        .authority
        .domain(args.arg(1))
        .and_then(|domain| domain.owned);
    out.integer(owned.map_or(0, |owned| owned.epoch as i64));
    Ok(())
}

fn status(context: &ReadContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let (keyspace, prefix) = (context.keyspace, args.arg(1));
    let size = (
        keyspace.realm_len(prefix) as u64,
        keyspace.realm_bytes(prefix) as u64,
    );
    let status = Status::of(context.authority, prefix, size);
    out.bulk(status.to_text().as_bytes());
    Ok(())
}

fn named(context: &ReadContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let mut groups = context.authority.groups();
    let found = groups.find(|(_, record)| *record.name == *args.arg(1));
    out.integer(found.map_or(-1, |(id, _)| i64::from(id.0)));
    Ok(())
}
