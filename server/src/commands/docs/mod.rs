//! What the COMMAND family and every container's HELP reply, composed from the command table.
//!
//! Pure: arguments in, reply out; the `node` module calls these functions with the whole request,
//! its arity checked. Clients read these replies to find keys, route commands and draw hints, so
//! their structure is Redis's to the byte. The texts are our own, and what the table does not hold
//! (history, deprecations) is left out, as Redis leaves it out where there is none.

mod help;
mod hints;
mod info;
mod keys;
mod syntax;

use bailiwick_frame::{Args, Encoder};

use super::glob::Glob;
use super::registry::{all, find};
use super::{Command, CommandError, Group, Outcome, categories_of, is_option};

pub use help::write_help;
pub use keys::{write_getkeys, write_getkeysandflags};

use syntax::{Argument, Kind};

/// `COMMAND`: describes all commands.
pub fn write_command(_: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    out.array(all().count());
    for command in all() {
        info::write_entry(command, out);
    }
    Ok(())
}

/// `COMMAND COUNT`: the number of commands, containers counting as one.
pub fn write_count(_: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    out.integer(all().count() as i64);
    Ok(())
}

/// `COMMAND INFO [name ...]`: describes these commands, null standing for one that does not exist.
pub fn write_info(args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    if args.len() <= 2 {
        return write_command(args, out);
    }
    out.array(args.len() - 2);
    for name in args.iter().skip(2) {
        if with_named(name, |command| info::write_entry(command, out)).is_none() {
            out.null();
        }
    }
    Ok(())
}

/// `COMMAND LIST [FILTERBY ...]`: names of commands and subcommands.
pub fn write_list(args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let filter = match args.len() {
        2 => Filter::All,
        5 if is_option(args, 2, "filterby") => Filter::parse(args)?,
        _ => return Err(CommandError::Syntax),
    };
    let list = out.deferred_array();
    let mut count = 0;
    for command in all().flat_map(|command| std::iter::once(command).chain(command.subcommands)) {
        let name = command.full_name();
        if filter.wants(command, &name) {
            out.bulk(name.as_bytes());
            count += 1;
        }
    }
    out.finish_array(list, count);
    Ok(())
}

/// `COMMAND DOCS [name ...]`: documents these commands, or all; unknown names are passed over.
pub fn write_docs(args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    if args.len() <= 2 {
        out.map(all().count());
        all().for_each(|command| write_doc(command, out));
        return Ok(());
    }
    out.map(
        args.iter()
            .skip(2)
            .filter_map(|name| with_named(name, |_| ()))
            .count(),
    );
    for name in args.iter().skip(2) {
        with_named(name, |command| write_doc(command, out));
    }
    Ok(())
}

/// Calls `f` with the command of this full name, such as `get` or `object|freq`, in any case.
fn with_named<R>(full_name: &[u8], f: impl FnOnce(&Command) -> R) -> Option<R> {
    let mut parts = full_name.splitn(2, |&byte| byte == b'|');
    let command = find(parts.next()?)?;
    match parts.next() {
        None => Some(f(&command)),
        Some(name) => subcommand(&command, name).map(f),
    }
}

fn subcommand(command: &Command, name: &[u8]) -> Option<&'static Command> {
    command
        .subcommands
        .iter()
        .find(|sub| sub.name.as_bytes().eq_ignore_ascii_case(name))
}

/// What `COMMAND LIST` lists.
enum Filter {
    All,
    /// What a module brought; there are no modules.
    Nothing,
    Category(Vec<u8>),
    /// In lower case, as all names are.
    Pattern(Vec<u8>),
}

impl Filter {
    fn parse(args: Args<'_>) -> Result<Self, CommandError> {
        let value = args.arg(4).to_ascii_lowercase();
        match () {
            () if is_option(args, 3, "module") => Ok(Self::Nothing),
            () if is_option(args, 3, "aclcat") => Ok(Self::Category(value)),
            () if is_option(args, 3, "pattern") => Ok(Self::Pattern(value)),
            () => Err(CommandError::Syntax),
        }
    }

    fn wants(&self, command: &Command, full_name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Nothing => false,
            Self::Category(wanted) => {
                categories_of(command).any(|category| category.as_bytes() == wanted)
            }
            Self::Pattern(pattern) => Glob::new(pattern).matches(full_name.as_bytes()),
        }
    }
}

/// A command's name and, as its value in a map, its documentation.
fn write_doc(command: &Command, out: &mut Encoder<'_>) {
    let arguments = syntax::parse(command).expect("a test parses the notation of every row");
    let (has_arguments, has_subcommands) = (!arguments.is_empty(), !command.subcommands.is_empty());
    out.bulk(command.full_name().as_bytes());
    out.map(4 + usize::from(has_arguments) + usize::from(has_subcommands));
    write_pair("summary", command.summary, out);
    write_pair("since", command.since, out);
    write_pair("group", group_name(command.group), out);
    write_pair("complexity", command.complexity, out);
    if has_arguments {
        out.bulk(b"arguments");
        let last_spec = hints::of(command).uses.len().saturating_sub(1);
        write_arguments(
            &arguments,
            &mut KeySpecs {
                next: 0,
                last: last_spec,
            },
            out,
        );
    }
    if has_subcommands {
        out.bulk(b"subcommands");
        out.map(command.subcommands.len());
        command
            .subcommands
            .iter()
            .for_each(|sub| write_doc(sub, out));
    }
}

/// Numbers the key arguments by the key specification to which they belong: one each, and all that
/// are left to the last.
struct KeySpecs {
    next: usize,
    last: usize,
}

fn write_arguments(arguments: &[Argument], specs: &mut KeySpecs, out: &mut Encoder<'_>) {
    out.array(arguments.len());
    for argument in arguments {
        write_argument(argument, specs, out);
    }
}

fn write_argument(argument: &Argument, specs: &mut KeySpecs, out: &mut Encoder<'_>) {
    let flags = [
        (argument.optional, "optional"),
        (argument.multiple, "multiple"),
        (argument.multiple_token, "multiple_token"),
    ];
    let flags: Vec<&str> = flags
        .into_iter()
        .filter(|flag| flag.0)
        .map(|flag| flag.1)
        .collect();
    let is_group = matches!(argument.kind, Kind::OneOf | Kind::Block);
    let is_key = argument.kind == Kind::Key;
    // Name and type, then what there is.
    let present = [true, is_key, argument.token.is_some(), !flags.is_empty()];
    out.map(2 + present.into_iter().filter(|&present| present).count());
    write_pair("name", &argument.name, out);
    write_pair("type", argument.kind.name(), out);
    if !is_group {
        write_pair("display_text", &argument.name, out);
    }
    if is_key {
        out.bulk(b"key_spec_index");
        out.integer(specs.next as i64);
        specs.next = (specs.next + 1).min(specs.last);
    }
    if let Some(token) = argument.token {
        write_pair("token", token, out);
    }
    if !flags.is_empty() {
        out.bulk(b"flags");
        out.set(flags.len());
        flags.iter().for_each(|flag| out.simple(flag));
    }
    if is_group {
        out.bulk(b"arguments");
        write_arguments(&argument.arguments, specs, out);
    }
}

fn write_pair(key: &str, value: &str, out: &mut Encoder<'_>) {
    out.bulk(key.as_bytes());
    out.bulk(value.as_bytes());
}

fn group_name(group: Group) -> &'static str {
    match group {
        Group::Generic => "generic",
        Group::String => "string",
        Group::List => "list",
        Group::Set => "set",
        Group::SortedSet => "sorted-set",
        Group::Hash => "hash",
        Group::Geo => "geo",
        Group::Bitmap => "bitmap",
        Group::HyperLogLog => "hyperloglog",
        Group::Stream => "stream",
        Group::Transactions => "transactions",
        Group::Connection => "connection",
        Group::Server => "server",
        Group::Cluster => "cluster",
        Group::Scripting => "scripting",
        Group::Pubsub => "pubsub",
    }
}

#[cfg(test)]
mod tests;
