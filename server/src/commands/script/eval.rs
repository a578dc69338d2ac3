//! EVAL, EVALSHA, their read-only forms, and SCRIPT.

use std::sync::Arc;

use bailiwick_frame::{Args, Encoder};

use super::api::hex;
use super::current::Access;
use super::engine::{Digest, Job, Kind, Source};
use super::flags::{self, NO_WRITES};
use super::run::{self, Name, Terms};
use super::store::{Scripts, digest_of};
use crate::commands::{
    Category, Command, CommandError, DEFAULT, Flag, Group, Handler, Keys, NodeCommand, Outcome,
    ReadContext, Spread, WriteContext, is_option, parse,
};

const NO_SCRIPT: CommandError = CommandError::text("NOSCRIPT No matching script. Please use EVAL.");
const FLUSH_OPTIONS: CommandError =
    CommandError::text("ERR SCRIPT FLUSH only support SYNC|ASYNC option");
/// What nothing but Redis's own debugger could do.
const NO_DEBUGGER: CommandError =
    CommandError::text("ERR SCRIPT DEBUG is not supported: scripts run on all replicas at once");

/// Of everything that runs a script.
pub(super) const RUNS: u32 = Flag::Noscript as u32
    | Flag::Stale as u32
    | Flag::SkipMonitor as u32
    | Flag::NoMandatoryKeys as u32
    | Flag::Movablekeys as u32;

const EVAL: Command = Command {
    arity: -3,
    flags: RUNS,
    categories: Category::Scripting as u32,
    keys: Keys::counted(2),
    group: Group::Scripting,
    since: "2.6.0",
    complexity: "Depends on the script that is executed.",
    spread: Spread::Anywhere,
    ..DEFAULT
};

pub(in crate::commands) static COMMANDS: &[Command] = &[
    Command {
        name: "eval",
        summary: "Executes a Lua script.",
        syntax: "script numkeys [key [key ...]] [arg [arg ...]]",
        handler: Handler::Write(eval),
        ..EVAL
    },
    Command {
        name: "evalsha",
        summary: "Executes a Lua script that is known by its SHA-1.",
        syntax: "sha1 numkeys [key [key ...]] [arg [arg ...]]",
        handler: Handler::Write(evalsha),
        ..EVAL
    },
    Command {
        name: "eval_ro",
        flags: RUNS | Flag::Readonly as u32,
        since: "7.0.0",
        summary: "Executes a Lua script that only reads.",
        syntax: "script numkeys [key [key ...]] [arg [arg ...]]",
        handler: Handler::Read(eval_ro),
        ..EVAL
    },
    Command {
        name: "evalsha_ro",
        flags: RUNS | Flag::Readonly as u32,
        since: "7.0.0",
        summary: "Executes a Lua script that only reads and is known by its SHA-1.",
        syntax: "sha1 numkeys [key [key ...]] [arg [arg ...]]",
        handler: Handler::Read(evalsha_ro),
        ..EVAL
    },
    Command {
        name: "script",
        arity: -2,
        group: Group::Scripting,
        since: "2.6.0",
        complexity: "Depends on subcommand.",
        summary: "Looks after scripts.",
        subcommands: SUBCOMMANDS,
        ..DEFAULT
    },
];

const SUB: Command = Command {
    flags: Flag::Noscript as u32,
    categories: Category::Scripting as u32,
    group: Group::Scripting,
    since: "2.6.0",
    parent: "script",
    spread: Spread::Everywhere,
    ..DEFAULT
};

static SUBCOMMANDS: &[Command] = &[
    Command {
        name: "debug",
        arity: 3,
        since: "3.2.0",
        summary: "Is refused: there is no debugger.",
        syntax: "<YES | SYNC | NO>",
        handler: Handler::Read(debug),
        spread: Spread::Anywhere,
        ..SUB
    },
    Command {
        name: "exists",
        arity: -3,
        complexity: "O(N) where N is the number of SHA-1s",
        summary: "Tells which scripts are known.",
        syntax: "sha1 [sha1 ...]",
        handler: Handler::Read(exists),
        ..SUB
    },
    Command {
        name: "flush",
        arity: -2,
        complexity: "O(N) where N is the number of scripts",
        summary: "Forgets all scripts.",
        syntax: "[ASYNC | SYNC]",
        handler: Handler::Write(flush),
        ..SUB
    },
    Command {
        name: "help",
        arity: 2,
        flags: Flag::Loading as u32 | Flag::Stale as u32,
        since: "5.0.0",
        summary: "Lists the subcommands.",
        handler: Handler::Node(NodeCommand::Help),
        ..SUB
    },
    Command {
        name: "kill",
        arity: 2,
        flags: Flag::Noscript as u32 | Flag::AllowBusy as u32,
        summary: "Ends the script that runs, if it only reads.",
        handler: Handler::Node(NodeCommand::ScriptKill),
        ..SUB
    },
    Command {
        name: "load",
        arity: 3,
        flags: Flag::Noscript as u32 | Flag::Stale as u32,
        complexity: "O(N) where N is the length of the script",
        summary: "Remembers a script without executing it.",
        syntax: "script",
        handler: Handler::Write(load),
        ..SUB
    },
];

/// The arguments of a call: how many keys there are, and where the rest begins.
pub(super) struct Call<'a> {
    /// All of it.
    pub(super) request: Args<'a>,
    pub(super) keys: Vec<&'a [u8]>,
    pub(super) arguments: Vec<&'a [u8]>,
}

impl<'a> Call<'a> {
    /// Reads what follows the name of the script.
    pub(super) fn parse(args: Args<'a>) -> Result<Self, CommandError> {
        let keys = parse::integer(args.arg(2))?;
        if keys > args.len() as i64 - 3 {
            let text = "ERR Number of keys can't be greater than number of args";
            return Err(CommandError::text(text));
        }
        let Ok(keys) = usize::try_from(keys) else {
            return Err(CommandError::text("ERR Number of keys can't be negative"));
        };
        let mut all = args.iter().skip(3);
        Ok(Self {
            request: args,
            keys: all.by_ref().take(keys).collect(),
            arguments: all.collect(),
        })
    }
}

fn eval(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let call = Call::parse(args)?;
    let digest = digest_of(args.arg(1));
    let text = known_or(ctx.scripts, &digest, args.arg(1));
    run_script(ctx, digest, &text, &call, out)
}

fn evalsha(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let digest = parse_digest(args.arg(1)).ok_or(NO_SCRIPT)?;
    let call = Call::parse(args)?;
    let text = ctx.scripts.get(&digest).ok_or(NO_SCRIPT)?;
    run_script(ctx, digest, &text, &call, out)
}

fn eval_ro(ctx: &ReadContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let call = Call::parse(args)?;
    let digest = digest_of(args.arg(1));
    read_script(ctx, digest, args.arg(1), &call, out)
}

fn evalsha_ro(ctx: &ReadContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let digest = parse_digest(args.arg(1)).ok_or(NO_SCRIPT)?;
    let call = Call::parse(args)?;
    let text = ctx.scripts.get(&digest).ok_or(NO_SCRIPT)?;
    read_script(ctx, digest, &text, &call, out)
}

fn known_or(scripts: &Scripts, digest: &Digest, text: &[u8]) -> Arc<[u8]> {
    scripts.get(digest).unwrap_or_else(|| text.into())
}

/// The SHA-1 that is written in hexadecimal digits.
fn parse_digest(text: &[u8]) -> Option<Digest> {
    let mut digest = Digest::default();
    if text.len() != 2 * digest.len() {
        return None;
    }
    for (byte, digits) in digest.iter_mut().zip(text.chunks(2)) {
        let high = char::from(digits[0]).to_digit(16)?;
        let low = char::from(digits[1]).to_digit(16)?;
        *byte = (high * 16 + low) as u8;
    }
    Some(digest)
}

/// A script that can be compiled, and whether it may write.
fn compiled(digest: Digest, text: &[u8]) -> Result<(Source<'_>, Option<u32>), CommandError> {
    let (body, flags) = flags::of_script(text)?;
    let source = Source {
        kind: Kind::Script,
        digest,
        body,
    };
    run::compile(source).map_err(|problem| {
        let text = format!("ERR Error compiling script (new function): {problem}");
        CommandError::composed(text)
    })?;
    Ok((source, flags))
}

fn run_script(
    ctx: &mut WriteContext<'_>,
    digest: Digest,
    text: &Arc<[u8]>,
    call: &Call<'_>,
    out: &mut Encoder<'_>,
) -> Outcome {
    let (source, flags) = compiled(digest, text)?;
    flags::check_memory(flags, ctx.lacks_memory)?;
    let terms = Terms {
        request: call.request,
        name: Name::Script(&digest),
        may_write: flags.is_none_or(|flags| flags & NO_WRITES == 0),
        may_grow: !ctx.lacks_memory || flags.is_some(),
        is_at_home: !call.keys.is_empty(),
    };
    let job = Job::Script(source, &call.keys, &call.arguments);
    let outcome = run::run(Access::Write(ctx), &job, &terms, out);
    if !matches!(outcome, Err(CommandError::Stray(_))) {
        ctx.scripts.note_use(digest, text);
    }
    outcome
}

fn read_script(
    ctx: &ReadContext<'_>,
    digest: Digest,
    text: &[u8],
    call: &Call<'_>,
    out: &mut Encoder<'_>,
) -> Outcome {
    let (source, flags) = compiled(digest, text)?;
    if flags.is_some_and(|flags| flags & NO_WRITES == 0) {
        return Err(CANNOT_WRITE);
    }
    let terms = Terms {
        request: call.request,
        name: Name::Script(&digest),
        may_write: false,
        may_grow: true,
        is_at_home: !call.keys.is_empty(),
    };
    let job = Job::Script(source, &call.keys, &call.arguments);
    run::run(Access::Read(ctx), &job, &terms, out)
}

/// What has said that it writes must not be called as if it did not.
pub(super) const CANNOT_WRITE: CommandError =
    CommandError::text("ERR Can not execute a script with write flag using *_ro command.");

fn load(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let text = args.arg(2);
    let digest = digest_of(text);
    compiled(digest, text)?;
    ctx.scripts.load(digest, text);
    out.bulk(hex(&digest).as_bytes());
    Ok(())
}

fn exists(ctx: &ReadContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    out.array(args.len() - 2);
    for digest in args.iter().skip(2) {
        let is_known = parse_digest(digest).is_some_and(|digest| ctx.scripts.contains(&digest));
        out.integer(is_known.into());
    }
    Ok(())
}

fn flush(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    match args.len() {
        2 => {}
        3 if is_option(args, 2, "async") || is_option(args, 2, "sync") => {}
        _ => return Err(FLUSH_OPTIONS),
    }
    ctx.scripts.flush();
    out.ok();
    Ok(())
}

fn debug(_: &ReadContext<'_>, _: Args<'_>, _: &mut Encoder<'_>) -> Outcome {
    Err(NO_DEBUGGER)
}
