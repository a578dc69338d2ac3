//! One string and its expiry: the GET and SET family.
//!
//! Ranges, numbers and several keys at once are in modules of their own, and so are the options
//! that SET and GETEX share. Values that look like integers are stored as such.

use bailiwick_frame::{Args, Encoder};

use super::fence::{holds, token_of};
use super::parse::{Base, Unit, positive_expiry_ms};
use super::set_options::{Condition, Options, Setter, Ttl};
use super::{
    Category, Command, DEFAULT, Flag, Group, Handler, Idle, Keys, Nothing, Outcome, ReadContext,
    StringRef, WriteContext,
};
use crate::keyspace::{Entry, Expiry, Fenced, NewValue, Object};

const WRITE: u32 = Flag::Write as u32;
const DENYOOM: u32 = Flag::Denyoom as u32;
const FAST: u32 = Flag::Fast as u32;

const ROW: Command = Command {
    categories: Category::String as u32,
    keys: Keys::FIRST,
    group: Group::String,
    ..DEFAULT
};

/// The rows of this module.
pub(super) static COMMANDS: &[Command] = &[
    Command {
        name: "get",
        arity: 2,
        flags: Flag::Readonly as u32 | FAST,
        summary: "Replies with the string at a key.",
        syntax: "key",
        handler: Handler::Read(get),
        ..ROW
    },
    Command {
        name: "set",
        arity: -3,
        flags: WRITE | DENYOOM,
        summary: "Stores a string at a key, whatever was there, on conditions and with an expiry \
                  if asked for.",
        syntax: "key value [NX | XX | IFEQ comparison-value] [GET | FENCE] \
                 [EX seconds | PX milliseconds | \
                 EXAT unix-time-seconds | PXAT unix-time-milliseconds | KEEPTTL]",
        handler: Handler::Write(set),
        idle: Some(Idle {
            may_be: |_, args| {
                args.iter()
                    .skip(3)
                    .any(|arg| arg.eq_ignore_ascii_case(b"nx"))
            },
            when: |entry, args| entry.is_some() && only_stores_if_absent(args),
            reply: Nothing::Null,
        }),
        ..ROW
    },
    Command {
        name: "setnx",
        arity: 3,
        flags: WRITE | DENYOOM | FAST,
        summary: "Stores a string at a key that does not exist yet.",
        syntax: "key value",
        handler: Handler::Write(setnx),
        idle: Some(Idle {
            may_be: Command::is_shortest,
            when: |entry, _| entry.is_some(),
            reply: Nothing::Zero,
        }),
        ..ROW
    },
    Command {
        name: "setex",
        arity: 4,
        flags: WRITE | DENYOOM,
        since: "2.0.0",
        summary: "Stores a string at a key that expires after some seconds.",
        syntax: "key seconds value",
        handler: Handler::Write(setex),
        ..ROW
    },
    Command {
        name: "psetex",
        arity: 4,
        flags: WRITE | DENYOOM,
        since: "2.6.0",
        summary: "Stores a string at a key that expires after some milliseconds.",
        syntax: "key milliseconds value",
        handler: Handler::Write(psetex),
        ..ROW
    },
    Command {
        name: "getset",
        arity: 3,
        flags: WRITE | DENYOOM | FAST,
        summary: "Stores a string and replies with the one that was there.",
        syntax: "key value",
        handler: Handler::Write(getset),
        ..ROW
    },
    Command {
        name: "getdel",
        arity: 2,
        flags: WRITE | FAST,
        since: "6.2.0",
        summary: "Replies with the string at a key and removes the key.",
        syntax: "key",
        handler: Handler::Write(getdel),
        ..ROW
    },
    Command {
        name: "getex",
        arity: -2,
        flags: WRITE | FAST,
        since: "6.2.0",
        summary: "Replies with the string at a key and sets or removes its expiry.",
        syntax: "key [EX seconds | PX milliseconds | EXAT unix-time-seconds | \
                 PXAT unix-time-milliseconds | PERSIST]",
        handler: Handler::Write(getex),
        ..ROW
    },
];

fn get(ctx: &ReadContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    write_string(ctx.string(args.arg(1))?, out);
    Ok(())
}

fn set(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let (key, value) = (args.arg(1), args.arg(2));
    if args.len() == 3 {
        ctx.set(key, NewValue::from_bytes(value), Expiry::None);
        out.ok();
        return Ok(());
    }
    let options = Options::parse(args, 3, Setter::Set)?;
    let expiry = options.expiry(ctx.now_ms, "set")?;
    if options.get {
        write_string(ctx.string(key)?, out);
    }
    let stored = match options.condition {
        None => true,
        Some(Condition::Absent) => ctx.peek(key).is_none(),
        Some(Condition::Present) => ctx.peek(key).is_some(),
        Some(Condition::Equal(wanted)) => holds(ctx, key, wanted)?,
    };
    if !stored {
        if !options.get {
            out.null();
        }
        return Ok(());
    }
    let token = match options.condition {
        _ if options.fence => Some(ctx.keyspace.next_fence()),
        // Who stores what he finds is still the one who had it.
        Some(Condition::Equal(wanted)) if wanted == value => ctx.peek(key).and_then(token_of),
        _ => None,
    };
    let value = match token {
        Some(token) => NewValue::Object(Object::Fenced(Box::new(Fenced {
            value: value.into(),
            token,
        }))),
        None => NewValue::from_bytes(value),
    };
    ctx.set(key, value, expiry);
    match token {
        Some(token) if options.fence => out.integer(token as i64),
        _ if options.get => {}
        _ => out.ok(),
    }
    Ok(())
}

/// Whether a SET is valid, has NX, and does not want to know what is there. One whose expiry may be
/// too far ahead has to find that out itself.
fn only_stores_if_absent(args: Args<'_>) -> bool {
    const FAR_AHEAD_MS: i64 = i64::MAX / 2;
    Options::parse(args, 3, Setter::Set).is_ok_and(|options| {
        matches!(options.condition, Some(Condition::Absent))
            && !options.get
            && options.expiry(FAR_AHEAD_MS, "set").is_ok()
    })
}

fn setnx(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let absent = ctx.peek(args.arg(1)).is_none();
    if absent {
        ctx.set(args.arg(1), NewValue::from_bytes(args.arg(2)), Expiry::None);
    }
    out.integer(absent.into());
    Ok(())
}

fn setex(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    set_expiring(ctx, args, Unit::Seconds, "setex", out)
}

fn psetex(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    set_expiring(ctx, args, Unit::Milliseconds, "psetex", out)
}

fn set_expiring(
    ctx: &mut WriteContext<'_>,
    args: Args<'_>,
    unit: Unit,
    command: &str,
    out: &mut Encoder<'_>,
) -> Outcome {
    let at_ms = positive_expiry_ms(args.arg(2), unit, Base::Now(ctx.now_ms), command)?;
    ctx.set(
        args.arg(1),
        NewValue::from_bytes(args.arg(3)),
        Expiry::At(at_ms),
    );
    out.ok();
    Ok(())
}

fn getset(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    write_string(ctx.read_string(args.arg(1))?, out);
    ctx.set(args.arg(1), NewValue::from_bytes(args.arg(2)), Expiry::None);
    Ok(())
}

fn getdel(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let found = ctx.read_string(args.arg(1))?;
    write_string(found, out);
    if found.is_some() {
        ctx.remove(args.arg(1));
    }
    Ok(())
}

fn getex(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let key = args.arg(1);
    let options = Options::parse(args, 2, Setter::Getex)?;
    let Some(found) = ctx.read_string(key)? else {
        // Redis looks at the time only once it has found the key.
        out.null();
        return Ok(());
    };
    let expiry = options.expiry(ctx.now_ms, "getex")?;
    write_string(Some(found), out);
    match (expiry, options.ttl) {
        (Expiry::At(at_ms), _) => {
            ctx.set_expiry(key, Some(at_ms));
        }
        (_, Some(Ttl::Persist)) if ctx.peek(key).and_then(Entry::expires_at_ms).is_some() => {
            ctx.set_expiry(key, None);
        }
        _ => {}
    }
    Ok(())
}

/// Writes a string, or null for an absent key.
pub(super) fn write_string(found: Option<StringRef<'_>>, out: &mut Encoder<'_>) {
    match found {
        Some(StringRef::Bytes(bytes)) => out.bulk(bytes),
        Some(number) => number.with_bytes(|bytes| out.bulk(bytes)),
        None => out.null(),
    }
}
