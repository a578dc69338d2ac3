//! The commands by which prefixes change hands. They stand in logs only: nodes submit them.
//!
//! Each is one step of one group, decided by the group's [`Authority`](crate::authority::Authority)
//! and carried out on its keyspace. A step that has taken effect answers OK when it is repeated.
//! `epoch` is always that of the move: the epoch at which the destination will serve the prefix,
//! one above that at which the source does. Numbers are decimal.
//!
//! | where | command |
//! |---|---|
//! | root group | `_GROUP name member..`, `_MEMBERS group configuration member..` (`node:disk`), `_FOUNDED` |
//! | owner of the parent prefix | `_DELEGATE prefix to`, `_MOVE prefix to`, `_DROP prefix`, `_SETTLE prefix epoch group` |
//! | source | `_LEAVE prefix epoch to`, `_FREEZE prefix epoch [attempt]`, `_THAW prefix epoch [attempt]`, `_DEPART prefix epoch to` |
//! | destination | `_ARRIVE prefix epoch from attempt`, `_IMPORT prefix epoch attempt chunk payload`, `_COMMIT prefix epoch attempt count digest delegations [fence]`, `_ABORT prefix epoch attempt` |
//!
//! `_GROUP` answers with the group's number, all others with OK. Refusals are those of
//! [`Refusal`].

use bailiwick_frame::{Args, Encoder};
use bailiwick_replication::consensus::Member;
use bailiwick_replication::{GroupId, NodeId};

use super::touch::What;
use super::{Command, CommandError, DEFAULT, Flag, Group, Handler, Outcome, WriteContext};
use crate::authority::{Delegations, Effect, Refusal};
use crate::group::planted::{self, Planted};
use crate::keyspace::Visibility;
use crate::state::import_chunk;

const FLAGS: u32 = Flag::Write as u32 | Flag::Internal as u32;

const ROW: Command = Command {
    flags: FLAGS,
    group: Group::Cluster,
    ..DEFAULT
};

pub(super) static COMMANDS: &[Command] = &[
    Command {
        name: "_group",
        arity: -3,
        handler: Handler::Write(group),
        ..ROW
    },
    Command {
        name: "_members",
        arity: -4,
        handler: Handler::Write(members),
        ..ROW
    },
    Command {
        name: "_founded",
        arity: 1,
        handler: Handler::Write(founded),
        ..ROW
    },
    Command {
        name: "_delegate",
        arity: 3,
        handler: Handler::Write(delegate),
        ..ROW
    },
    Command {
        name: "_move",
        arity: 3,
        handler: Handler::Write(relocate),
        ..ROW
    },
    Command {
        name: "_drop",
        arity: 2,
        handler: Handler::Write(drop_prefix),
        ..ROW
    },
    Command {
        name: "_settle",
        arity: 4,
        handler: Handler::Write(settle),
        ..ROW
    },
    Command {
        name: "_leave",
        arity: 4,
        handler: Handler::Write(leave),
        ..ROW
    },
    Command {
        name: "_freeze",
        arity: -3,
        handler: Handler::Write(freeze),
        ..ROW
    },
    Command {
        name: "_thaw",
        arity: -3,
        handler: Handler::Write(thaw),
        ..ROW
    },
    Command {
        name: "_depart",
        arity: 4,
        handler: Handler::Write(depart),
        ..ROW
    },
    Command {
        name: "_arrive",
        arity: 5,
        handler: Handler::Write(arrive),
        ..ROW
    },
    Command {
        name: "_import",
        arity: 6,
        handler: Handler::Write(import),
        ..ROW
    },
    Command {
        name: "_commit",
        arity: -7,
        handler: Handler::Write(commit),
        ..ROW
    },
    Command {
        name: "_abort",
        arity: 4,
        handler: Handler::Write(abort),
        ..ROW
    },
];

fn group(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let members = parse_members(args.from(2))?;
    let id = ctx.authority.create_group(args.arg(1), &members)?;
    ctx.authority.note_change();
    out.integer(i64::from(id.0));
    Ok(())
}

fn members(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let members = parse_members(args.from(3))?;
    let configuration = number(args, 2)?;
    ctx.authority
        .set_members(group_at(args, 1)?, configuration, &members)?;
    ctx.authority.note_change();
    out.ok();
    Ok(())
}

fn founded(ctx: &mut WriteContext<'_>, _: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    ctx.authority.found()?;
    out.ok();
    Ok(())
}

fn delegate(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let effect = ctx.authority.delegate(args.arg(1), group_at(args, 2)?)?;
    carry_out(ctx, args, effect, out)
}

fn relocate(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let effect = ctx.authority.relocate(args.arg(1), group_at(args, 2)?)?;
    carry_out(ctx, args, effect, out)
}

fn drop_prefix(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let effect = ctx.authority.drop_prefix(args.arg(1))?;
    carry_out(ctx, args, effect, out)
}

fn settle(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let (epoch, group) = (number(args, 2)?, group_at(args, 3)?);
    let effect = ctx.authority.settle(args.arg(1), epoch, group)?;
    carry_out(ctx, args, effect, out)
}

fn leave(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let (epoch, to) = (number(args, 2)?, group_at(args, 3)?);
    let effect = ctx.authority.leave(args.arg(1), epoch, to)?;
    carry_out(ctx, args, effect, out)
}

fn freeze(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let attempt = attempt_or(args, 0)?;
    let effect = ctx
        .authority
        .freeze(args.arg(1), number(args, 2)?, attempt)?;
    carry_out(ctx, args, effect, out)
}

fn thaw(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let attempt = attempt_or(args, u64::MAX)?;
    let effect = ctx.authority.thaw(args.arg(1), number(args, 2)?, attempt)?;
    carry_out(ctx, args, effect, out)
}

fn depart(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let (epoch, to) = (number(args, 2)?, group_at(args, 3)?);
    let effect = ctx.authority.depart(args.arg(1), epoch, to)?;
    carry_out(ctx, args, effect, out)
}

fn arrive(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let (epoch, from, attempt) = (number(args, 2)?, group_at(args, 3)?, number(args, 4)?);
    let effect = ctx.authority.arrive(args.arg(1), epoch, from, attempt)?;
    carry_out(ctx, args, effect, out)
}

fn import(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let prefix = args.arg(1);
    let (epoch, attempt, chunk) = (number(args, 2)?, number(args, 3)?, number(args, 4)?);
    if ctx.authority.expects_chunk(prefix, epoch, attempt, chunk)? {
        let access = ctx.clock.fresh();
        let is_lost = chunk == 0 && planted::is_on(Planted::DigestNotCompared);
        let payload = if is_lost { b"" } else { args.arg(5) };
        let imported = import_chunk(ctx.keyspace, prefix, payload, access);
        let imported = imported.map_err(|_| MALFORMED)?;
        ctx.authority
            .note_chunk(prefix, imported.added, imported.removed, imported.digest);
        ctx.note_changes(imported.added + imported.removed);
    }
    out.ok();
    Ok(())
}

fn commit(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let (epoch, attempt) = (number(args, 2)?, number(args, 3)?);
    let sums = (number(args, 4)?, number(args, 5)?);
    let delegations = Delegations::decode(args.arg(6)).map_err(|_| MALFORMED)?;
    let fence = match args.len() {
        ..=7 => 0,
        _ => number(args, 7)?,
    };
    let effect = ctx
        .authority
        .commit(args.arg(1), epoch, attempt, sums, delegations)?;
    ctx.keyspace.raise_fence(fence);
    carry_out(ctx, args, effect, out)
}

fn abort(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let (epoch, attempt) = (number(args, 2)?, number(args, 3)?);
    let effect = ctx.authority.abort(args.arg(1), epoch, attempt)?;
    carry_out(ctx, args, effect, out)
}

const MALFORMED: CommandError = CommandError::text("ERR malformed argument of an internal command");

/// Does to the keyspace what a change of authority means.
fn carry_out(
    ctx: &mut WriteContext<'_>,
    args: Args<'_>,
    effect: Effect,
    out: &mut Encoder<'_>,
) -> Outcome {
    ctx.authority.note_change();
    if matches!(effect, Effect::Freeze | Effect::Release) {
        // From here on others may write these keys, and nobody here would learn of it.
        ctx.note(0, args.arg(1), What::HandedOut);
    }
    let (keyspace, prefix) = (&mut *ctx.keyspace, args.arg(1));
    match effect {
        Effect::None => {}
        Effect::Split => {
            // What is left of an attempt to bring the prefix here that nobody finished.
            if keyspace.has_realm(prefix) {
                keyspace.drop_realm(prefix);
            }
            keyspace.split_realm(prefix);
        }
        Effect::Merge => keyspace.merge_realm(prefix),
        Effect::Stage => {
            if keyspace.has_realm(prefix) {
                keyspace.drop_realm(prefix);
            }
            keyspace.add_realm(prefix, Visibility::Staged);
        }
        Effect::Unstage => keyspace.drop_realm(prefix),
        Effect::Admit | Effect::Thaw => keyspace.show_realm(prefix, Visibility::Served),
        Effect::Freeze => keyspace.show_realm(prefix, Visibility::Frozen),
        Effect::Release => {
            keyspace.drop_realm(prefix);
            // What is absent here from now on may exist elsewhere.
            keyspace.forget_absences();
        }
    }
    if effect != Effect::None {
        ctx.note_changes(1);
    }
    out.ok();
    Ok(())
}

impl From<Refusal> for CommandError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            // Whoever asks may ask elsewhere.
            Refusal::Stray(stray) => Self::Stray(Box::new(stray)),
            refusal => Self::composed(refusal.to_string()),
        }
    }
}

fn number<T: std::str::FromStr>(args: Args<'_>, index: usize) -> Result<T, CommandError> {
    parse_number(args.arg(index))
}

fn parse_number<T: std::str::FromStr>(arg: &[u8]) -> Result<T, CommandError> {
    let text = std::str::from_utf8(arg).map_err(|_| CommandError::NotInteger)?;
    text.parse().map_err(|_| CommandError::NotInteger)
}

fn group_at(args: Args<'_>, index: usize) -> Result<GroupId, CommandError> {
    number(args, index).map(GroupId)
}

fn attempt_or(args: Args<'_>, default: u64) -> Result<u64, CommandError> {
    args.get(3).map_or(Ok(default), parse_number)
}

fn parse_members(args: Args<'_>) -> Result<Vec<Member>, CommandError> {
    let parse = |arg: &[u8]| {
        let colon = arg.iter().position(|&byte| byte == b':');
        let colon = colon.ok_or(CommandError::Syntax)?;
        Ok(Member {
            node: NodeId(parse_number(&arg[..colon])?),
            disk: parse_number(&arg[colon + 1..])?,
        })
    };
    args.iter().map(parse).collect()
}
