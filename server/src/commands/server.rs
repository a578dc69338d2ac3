//! The rows of commands that concern the node.
//!
//! Rows only: the `node` module carries these out.

use super::{Category, Command, DEFAULT, Flag, Group, Handler, NodeCommand};

/// What runs also while the data is being loaded, or is behind.
const ANYTIME: u32 = Flag::Loading as u32 | Flag::Stale as u32;
/// What a script may not run.
const UNSCRIPTED: u32 = Flag::Noscript as u32 | ANYTIME;
/// What only an administrator should run, at any time.
const ADMIN: u32 = Flag::Admin as u32 | UNSCRIPTED;

pub(super) static COMMANDS: &[Command] = &[
    Command {
        name: "info",
        arity: -1,
        flags: ANYTIME,
        categories: Category::Dangerous as u32,
        group: Group::Server,
        summary: "Reports on the server, in sections.",
        syntax: "[section [section ...]]",
        handler: Handler::Node(NodeCommand::Info),
        ..DEFAULT
    },
    Command {
        name: "time",
        flags: Flag::Fast as u32 | ANYTIME,
        group: Group::Server,
        since: "2.6.0",
        summary: "Tells the server's time in seconds and microseconds.",
        handler: Handler::Node(NodeCommand::Time),
        ..DEFAULT
    },
    Command {
        name: "lastsave",
        flags: Flag::Fast as u32 | ANYTIME,
        categories: Category::Admin as u32 | Category::Dangerous as u32,
        group: Group::Server,
        summary: "Tells when the last checkpoint was written.",
        handler: Handler::Node(NodeCommand::Lastsave),
        ..DEFAULT
    },
    Command {
        name: "save",
        flags: Flag::Admin as u32
            | Flag::Noscript as u32
            | Flag::NoAsyncLoading as u32
            | Flag::NoMulti as u32,
        group: Group::Server,
        complexity: "O(N) where N is the number of keys",
        summary: "Writes a checkpoint and waits for it.",
        handler: Handler::Node(NodeCommand::Save),
        ..DEFAULT
    },
    Command {
        name: "bgsave",
        arity: -1,
        flags: Flag::Admin as u32 | Flag::Noscript as u32 | Flag::NoAsyncLoading as u32,
        group: Group::Server,
        summary: "Writes a checkpoint while commands go on.",
        syntax: "[SCHEDULE]",
        handler: Handler::Node(NodeCommand::Bgsave),
        ..DEFAULT
    },
    Command {
        name: "bgrewriteaof",
        flags: Flag::Admin as u32 | Flag::Noscript as u32 | Flag::NoAsyncLoading as u32,
        group: Group::Server,
        summary: "Shortens the log to what the latest state needs.",
        handler: Handler::Node(NodeCommand::Bgrewriteaof),
        ..DEFAULT
    },
    Command {
        name: "shutdown",
        arity: -1,
        flags: Flag::NoMulti as u32 | Flag::AllowBusy as u32 | ADMIN,
        group: Group::Server,
        summary: "Stops the server.",
        syntax: "[NOSAVE | SAVE] [NOW] [FORCE] [ABORT]",
        handler: Handler::Node(NodeCommand::Shutdown),
        ..DEFAULT
    },
    Command {
        name: "debug",
        arity: -2,
        flags: ADMIN,
        group: Group::Server,
        complexity: "Depends on subcommand.",
        summary: "Serves tests and developers.",
        syntax: "subcommand [arg [arg ...]]",
        handler: Handler::Node(NodeCommand::Debug),
        ..DEFAULT
    },
    Command {
        name: "monitor",
        flags: ADMIN,
        group: Group::Server,
        summary: "Streams every command that the server runs.",
        handler: Handler::Node(NodeCommand::Monitor),
        ..DEFAULT
    },
    Command {
        name: "role",
        flags: Flag::Fast as u32 | UNSCRIPTED,
        categories: Category::Admin as u32 | Category::Dangerous as u32,
        group: Group::Server,
        since: "2.8.12",
        summary: "Tells the node's part in replication.",
        handler: Handler::Node(NodeCommand::Role),
        ..DEFAULT
    },
    Command {
        name: "lolwut",
        arity: -1,
        flags: Flag::Readonly as u32 | Flag::Fast as u32,
        group: Group::Server,
        since: "5.0.0",
        summary: "Shows a picture and the version.",
        syntax: "[VERSION version]",
        handler: Handler::Node(NodeCommand::Lolwut),
        ..DEFAULT
    },
];
