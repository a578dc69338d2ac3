//! FCALL, FCALL_RO and FUNCTION.

use std::sync::Arc;

use bailiwick_frame::{Args, Encoder};

use super::current::Access;
use super::engine::{Job, Kind, Source};
use super::eval::{CANNOT_WRITE, Call, RUNS};
use super::flags::{self, NO_WRITES};
use super::payload;
use super::run::{self, Name, Terms};
use super::store::{Library, Scripts, digest_of};
use crate::commands::{
    Category, Command, CommandError, DEFAULT, Flag, Group, Handler, Keys, NodeCommand, Outcome,
    ReadContext, Spread, WriteContext, glob_matches, is_option, parse,
};

const NOT_FOUND: CommandError = CommandError::text("ERR Function not found");

const FCALL: Command = Command {
    arity: -3,
    flags: RUNS,
    categories: Category::Scripting as u32,
    keys: Keys::counted(2),
    group: Group::Scripting,
    since: "7.0.0",
    complexity: "Depends on the function that is executed.",
    spread: Spread::Anywhere,
    ..DEFAULT
};

pub(in crate::commands) static COMMANDS: &[Command] = &[
    Command {
        name: "fcall",
        summary: "Calls a function.",
        syntax: "function numkeys [key [key ...]] [arg [arg ...]]",
        handler: Handler::Write(fcall),
        ..FCALL
    },
    Command {
        name: "fcall_ro",
        flags: RUNS | Flag::Readonly as u32,
        summary: "Calls a function that only reads.",
        syntax: "function numkeys [key [key ...]] [arg [arg ...]]",
        handler: Handler::Read(fcall_ro),
        ..FCALL
    },
    Command {
        name: "function",
        arity: -2,
        group: Group::Scripting,
        since: "7.0.0",
        complexity: "Depends on subcommand.",
        summary: "Looks after functions.",
        subcommands: SUBCOMMANDS,
        ..DEFAULT
    },
];

/// A subcommand that concerns all groups.
const SUB: Command = Command {
    flags: Flag::Write as u32 | Flag::Noscript as u32,
    categories: Category::Scripting as u32,
    group: Group::Scripting,
    since: "7.0.0",
    parent: "function",
    spread: Spread::Everywhere,
    ..DEFAULT
};

/// A subcommand that any group can answer, as all have the same libraries.
const LOOK: Command = Command {
    flags: Flag::Noscript as u32,
    spread: Spread::Anywhere,
    ..SUB
};

static SUBCOMMANDS: &[Command] = &[
    Command {
        name: "delete",
        arity: 3,
        summary: "Removes a library with its functions.",
        syntax: "library-name",
        handler: Handler::Write(delete),
        ..SUB
    },
    Command {
        name: "dump",
        arity: 2,
        complexity: "O(N) where N is the number of functions",
        summary: "Gives all libraries in a form for FUNCTION RESTORE.",
        handler: Handler::Read(dump),
        ..LOOK
    },
    Command {
        name: "flush",
        arity: -2,
        complexity: "O(N) where N is the number of functions",
        summary: "Removes all functions.",
        syntax: "[ASYNC | SYNC]",
        handler: Handler::Write(flush),
        ..SUB
    },
    Command {
        name: "help",
        arity: 2,
        flags: Flag::Loading as u32 | Flag::Stale as u32,
        summary: "Lists the subcommands.",
        handler: Handler::Node(NodeCommand::Help),
        ..SUB
    },
    Command {
        name: "kill",
        arity: 2,
        flags: Flag::Noscript as u32 | Flag::AllowBusy as u32,
        summary: "Ends the function that runs, if it only reads.",
        handler: Handler::Node(NodeCommand::ScriptKill),
        ..SUB
    },
    Command {
        name: "list",
        arity: -2,
        complexity: "O(N) where N is the number of functions",
        summary: "Tells about libraries and their functions.",
        syntax: "[LIBRARYNAME library-name-pattern] [WITHCODE]",
        handler: Handler::Read(list),
        ..LOOK
    },
    Command {
        name: "load",
        arity: -3,
        flags: Flag::Write as u32 | Flag::Denyoom as u32 | Flag::Noscript as u32,
        complexity: "O(1) (considering compilation time is redundant)",
        summary: "Adds a library.",
        syntax: "[REPLACE] function-code",
        handler: Handler::Write(load),
        ..SUB
    },
    Command {
        name: "restore",
        arity: -3,
        flags: Flag::Write as u32 | Flag::Denyoom as u32 | Flag::Noscript as u32,
        complexity: "O(N) where N is the number of functions",
        summary: "Adds the libraries that FUNCTION DUMP gave.",
        syntax: "serialized-value [FLUSH | APPEND | REPLACE]",
        handler: Handler::Write(restore),
        ..SUB
    },
    Command {
        name: "stats",
        arity: 2,
        flags: Flag::Noscript as u32 | Flag::AllowBusy as u32,
        summary: "Tells which function runs, and how many libraries and functions there are.",
        handler: Handler::Read(stats),
        ..LOOK
    },
];

fn source(library: &Library) -> Result<Source<'_>, CommandError> {
    let (body, _) = flags::of_library(&library.code)?;
    Ok(Source {
        kind: Kind::Library,
        digest: library.digest,
        body,
    })
}

fn parse_call(args: Args<'_>) -> Result<Call<'_>, CommandError> {
    parse::integer(args.arg(2))
        .map_err(|_| CommandError::text("ERR Bad number of keys provided"))?;
    Call::parse(args)
}

/// The library that has the function that a call names, and the name as it was registered.
fn find(scripts: &Scripts, args: Args<'_>) -> Result<(Arc<Library>, String), CommandError> {
    let name = std::str::from_utf8(args.arg(1)).map_err(|_| NOT_FOUND)?;
    let (library, name) = scripts.find(name).ok_or(NOT_FOUND)?;
    Ok((library.clone(), name.to_owned()))
}

fn fcall(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let (library, name) = find(ctx.scripts, args)?;
    let call = parse_call(args)?;
    let flags = library.functions[&name].flags;
    flags::check_memory(Some(flags), ctx.lacks_memory)?;
    let terms = Terms {
        request: call.request,
        name: Name::Function(&name),
        may_write: flags & NO_WRITES == 0,
        may_grow: true,
        is_at_home: !call.keys.is_empty(),
    };
    let job = Job::Call(source(&library)?, &name, &call.keys, &call.arguments);
    run::run(Access::Write(ctx), &job, &terms, out)
}

fn fcall_ro(ctx: &ReadContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let (library, name) = find(ctx.scripts, args)?;
    let call = parse_call(args)?;
    if library.functions[&name].flags & NO_WRITES == 0 {
        return Err(CANNOT_WRITE);
    }
    let terms = Terms {
        request: call.request,
        name: Name::Function(&name),
        may_write: false,
        may_grow: true,
        is_at_home: !call.keys.is_empty(),
    };
    let job = Job::Call(source(&library)?, &name, &call.keys, &call.arguments);
    run::run(Access::Read(ctx), &job, &terms, out)
}

/// A subcommand got more arguments than it can have.
fn too_many(subcommand: &str) -> CommandError {
    CommandError::composed(format!(
        "ERR unknown subcommand or wrong number of arguments for '{subcommand}'. Try FUNCTION HELP."
    ))
}

/// Makes a library of its code, which is run to see what it has.
fn library_of(code: &[u8]) -> Result<Library, CommandError> {
    let (body, name) = flags::of_library(code)?;
    let digest = digest_of(code);
    let source = Source {
        kind: Kind::Library,
        digest,
        body,
    };
    run::compile(source).map_err(|problem| {
        CommandError::composed(format!("ERR Error compiling function: {problem}"))
    })?;
    let functions = run::load(source).map_err(|problem| {
        CommandError::composed(format!("ERR Error registering functions: {problem}"))
    })?;
    if functions.is_empty() {
        return Err(CommandError::text("ERR No functions registered"));
    }
    Ok(Library {
        name,
        code: code.to_vec(),
        digest,
        functions,
    })
}

fn taken(function: &str) -> CommandError {
    CommandError::composed(format!("ERR Function {function} already exists"))
}

fn load(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let mut replaces = false;
    for at in 2..args.len() - 1 {
        if !is_option(args, at, "replace") {
            let option = String::from_utf8_lossy(args.arg(at));
            let text = format!("ERR Unknown option given: {option}");
            return Err(CommandError::composed(text));
        }
        replaces = true;
    }
    let code = args.arg(args.len() - 1);
    let (_, name) = flags::of_library(code)?;
    if !replaces && ctx.scripts.library(&name).is_some() {
        let text = format!("ERR Library '{name}' already exists");
        return Err(CommandError::composed(text));
    }
    let library = library_of(code)?;
    ctx.scripts
        .add_library(library)
        .map_err(|function| taken(&function))?;
    out.bulk(name.as_bytes());
    Ok(())
}

fn delete(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let name = String::from_utf8_lossy(args.arg(2));
    if !ctx.scripts.delete_library(&name) {
        return Err(CommandError::text("ERR Library not found"));
    }
    out.ok();
    Ok(())
}

fn flush(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    match args.len() {
        2 => {}
        3 if is_option(args, 2, "async") || is_option(args, 2, "sync") => {}
        4.. => return Err(too_many("flush")),
        _ => {
            let text = "ERR FUNCTION FLUSH only supports SYNC|ASYNC option";
            return Err(CommandError::text(text));
        }
    }
    ctx.scripts.flush_libraries();
    out.ok();
    Ok(())
}

fn list(ctx: &ReadContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let (mut pattern, mut with_code) = (None, false);
    let mut at = 2;
    while at < args.len() {
        if !with_code && is_option(args, at, "withcode") {
            with_code = true;
        } else if pattern.is_none() && is_option(args, at, "libraryname") {
            at += 1;
            let given = args.get(at);
            let missing = CommandError::text("ERR library name argument was not given");
            pattern = Some(given.ok_or(missing)?);
        } else {
            let option = String::from_utf8_lossy(args.arg(at));
            return Err(CommandError::composed(format!(
                "ERR Unknown argument {option}"
            )));
        }
        at += 1;
    }
    let wanted = ctx.scripts.libraries().filter(|library| {
        pattern.is_none_or(|pattern| glob_matches(pattern, library.name.as_bytes()))
    });
    let wanted: Vec<_> = wanted.collect();
    out.array(wanted.len());
    for library in wanted {
        show(library, with_code, out);
    }
    Ok(())
}

fn show(library: &Library, with_code: bool, out: &mut Encoder<'_>) {
    out.map(if with_code { 4 } else { 3 });
    out.bulk(b"library_name");
    out.bulk(library.name.as_bytes());
    out.bulk(b"engine");
    out.bulk(b"LUA");
    out.bulk(b"functions");
    out.array(library.functions.len());
    for (name, function) in &library.functions {
        out.map(3);
        out.bulk(b"name");
        out.bulk(name.as_bytes());
        out.bulk(b"description");
        match &function.description {
            Some(description) => out.bulk(description.as_bytes()),
            None => out.null(),
        }
        out.bulk(b"flags");
        let names = flags::NAMES.iter().enumerate();
        let names = names.filter(|(at, _)| function.flags & (1 << at) != 0);
        let names: Vec<&str> = names.map(|(_, name)| *name).collect();
        out.set(names.len());
        names.iter().for_each(|name| out.simple(name));
    }
    if with_code {
        out.bulk(b"library_code");
        out.bulk(&library.code);
    }
}

/// Whoever runs this in the group runs it between two scripts.
fn stats(ctx: &ReadContext<'_>, _: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let counts = (ctx.scripts.library_count(), ctx.scripts.functions());
    write_stats(None, counts, out);
    Ok(())
}

/// A function that runs, as FUNCTION STATS shows it.
pub struct RunningFunction<'a> {
    /// Its name.
    pub name: &'a str,
    /// What the client has asked for.
    pub request: &'a [Vec<u8>],
    /// For how long it has been running.
    pub duration_ms: u64,
}

/// Writes the reply to FUNCTION STATS: what runs, and how many libraries and functions there are.
pub fn write_stats(
    running: Option<RunningFunction<'_>>,
    (libraries, functions): (usize, usize),
    out: &mut Encoder<'_>,
) {
    out.map(2);
    out.bulk(b"running_script");
    match running {
        None => out.null(),
        Some(running) => {
            out.map(3);
            out.bulk(b"name");
            out.bulk(running.name.as_bytes());
            out.bulk(b"command");
            out.array(running.request.len());
            running.request.iter().for_each(|word| out.bulk(word));
            out.bulk(b"duration_ms");
            out.integer(running.duration_ms as i64);
        }
    }
    out.bulk(b"engines");
    out.map(1);
    out.bulk(b"LUA");
    out.map(2);
    out.bulk(b"libraries_count");
    out.integer(libraries as i64);
    out.bulk(b"functions_count");
    out.integer(functions as i64);
}

fn dump(ctx: &ReadContext<'_>, _: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let codes = ctx.scripts.libraries().map(|library| &library.code[..]);
    out.bulk(&payload::write(codes));
    Ok(())
}

/// What FUNCTION RESTORE does with libraries that are there.
enum Policy {
    Flush,
    Append,
    Replace,
}

fn restore(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let policy = match args.get(3) {
        None => Policy::Append,
        Some(_) if args.len() > 4 => return Err(too_many("restore")),
        Some(_) if is_option(args, 3, "append") => Policy::Append,
        Some(_) if is_option(args, 3, "replace") => Policy::Replace,
        Some(_) if is_option(args, 3, "flush") => Policy::Flush,
        Some(_) => {
            let text = "ERR Wrong restore policy given, value should be either FLUSH, APPEND or \
                        REPLACE.";
            return Err(CommandError::text(text));
        }
    };
    let mut scripts = ctx.scripts.clone();
    if matches!(policy, Policy::Flush) {
        scripts.flush_libraries();
    }
    for code in payload::read(args.arg(2))? {
        add(&mut scripts, &code, &policy)?;
    }
    // All of them, or none.
    *ctx.scripts = scripts;
    out.ok();
    Ok(())
}

fn add(scripts: &mut Scripts, code: &[u8], policy: &Policy) -> Outcome {
    let library = library_of(code)?;
    if !matches!(policy, Policy::Replace) && scripts.library(&library.name).is_some() {
        let text = format!("ERR Library {} already exists", library.name);
        return Err(CommandError::composed(text));
    }
    scripts
        .add_library(library)
        .map_err(|function| taken(&function))
}
