//! The rows of COMMAND and CONFIG: what the server can do, and how it is set up.
//!
//! Rows only: the `node` module carries these out. What COMMAND replies is composed in
//! [`docs`](super::docs), from this table and the others.

use super::{Category, Command, DEFAULT, Flag, Group, Handler, NodeCommand};

/// What runs also while the data is being loaded, or is behind.
const ANYTIME: u32 = Flag::Loading as u32 | Flag::Stale as u32;
/// What a script may not run.
const UNSCRIPTED: u32 = Flag::Noscript as u32 | ANYTIME;
/// What only an administrator should run, at any time.
const ADMIN: u32 = Flag::Admin as u32 | UNSCRIPTED;

pub(super) static COMMANDS: &[Command] = &[
    Command {
        name: "command",
        arity: -1,
        flags: ANYTIME,
        categories: Category::Connection as u32,
        group: Group::Server,
        since: "2.8.13",
        complexity: "O(N) where N is the number of commands",
        summary: "Describes all commands.",
        subcommands: COMMAND_SUBCOMMANDS,
        handler: Handler::Node(NodeCommand::Command),
        ..DEFAULT
    },
    Command {
        name: "config",
        arity: -2,
        group: Group::Server,
        since: "2.0.0",
        complexity: "Depends on subcommand.",
        summary: "Reads and changes the configuration.",
        subcommands: CONFIG_SUBCOMMANDS,
        ..DEFAULT
    },
];

static COMMAND_SUBCOMMANDS: &[Command] = &[
    Command {
        name: "count",
        arity: 2,
        flags: ANYTIME,
        categories: Category::Connection as u32,
        group: Group::Server,
        since: "2.8.13",
        summary: "Counts the commands.",
        parent: "command",
        handler: Handler::Node(NodeCommand::CommandCount),
        ..DEFAULT
    },
    Command {
        name: "docs",
        arity: -2,
        flags: ANYTIME,
        categories: Category::Connection as u32,
        group: Group::Server,
        since: "7.0.0",
        complexity: "O(N) where N is the number of commands asked for",
        summary: "Documents the named commands, or all.",
        syntax: "[command-name [command-name ...]]",
        parent: "command",
        handler: Handler::Node(NodeCommand::CommandDocs),
        ..DEFAULT
    },
    Command {
        name: "getkeys",
        arity: -4,
        flags: ANYTIME,
        categories: Category::Connection as u32,
        group: Group::Server,
        since: "2.8.13",
        complexity: "O(N) where N is the number of arguments",
        summary: "Finds the keys in a command with its arguments.",
        syntax: "command arg [arg ...]",
        parent: "command",
        handler: Handler::Node(NodeCommand::CommandGetkeys),
        ..DEFAULT
    },
    Command {
        name: "getkeysandflags",
        arity: -4,
        flags: ANYTIME,
        categories: Category::Connection as u32,
        group: Group::Server,
        since: "7.0.0",
        complexity: "O(N) where N is the number of arguments",
        summary: "Finds the keys in a command, and how it uses them.",
        syntax: "command arg [arg ...]",
        parent: "command",
        handler: Handler::Node(NodeCommand::CommandGetkeysandflags),
        ..DEFAULT
    },
    Command {
        name: "help",
        arity: 2,
        flags: ANYTIME,
        categories: Category::Connection as u32,
        group: Group::Server,
        since: "5.0.0",
        summary: "Lists the subcommands.",
        parent: "command",
        handler: Handler::Node(NodeCommand::Help),
        ..DEFAULT
    },
    Command {
        name: "info",
        arity: -2,
        flags: ANYTIME,
        categories: Category::Connection as u32,
        group: Group::Server,
        since: "2.8.13",
        complexity: "O(N) where N is the number of commands asked for",
        summary: "Describes the named commands, or all.",
        syntax: "[command-name [command-name ...]]",
        parent: "command",
        handler: Handler::Node(NodeCommand::CommandInfo),
        ..DEFAULT
    },
    Command {
        name: "list",
        arity: -2,
        flags: ANYTIME,
        categories: Category::Connection as u32,
        group: Group::Server,
        since: "7.0.0",
        complexity: "O(N) where N is the number of commands",
        summary: "Lists the commands' names.",
        syntax: "[FILTERBY <MODULE module-name | ACLCAT category | PATTERN pattern>]",
        parent: "command",
        handler: Handler::Node(NodeCommand::CommandList),
        ..DEFAULT
    },
];

static CONFIG_SUBCOMMANDS: &[Command] = &[
    Command {
        name: "get",
        arity: -3,
        flags: ADMIN,
        group: Group::Server,
        since: "2.0.0",
        complexity: "O(N) where N is the number of parameters",
        summary: "Shows configuration parameters that match patterns.",
        syntax: "parameter [parameter ...]",
        parent: "config",
        handler: Handler::Node(NodeCommand::ConfigGet),
        ..DEFAULT
    },
    Command {
        name: "help",
        arity: 2,
        flags: ANYTIME,
        group: Group::Server,
        since: "5.0.0",
        summary: "Lists the subcommands.",
        parent: "config",
        handler: Handler::Node(NodeCommand::Help),
        ..DEFAULT
    },
    Command {
        name: "resetstat",
        arity: 2,
        flags: ADMIN,
        group: Group::Server,
        since: "2.0.0",
        summary: "Sets the counters of INFO to zero.",
        parent: "config",
        handler: Handler::Node(NodeCommand::ConfigResetstat),
        ..DEFAULT
    },
    Command {
        name: "rewrite",
        arity: 2,
        flags: ADMIN,
        group: Group::Server,
        since: "2.8.0",
        summary: "Writes the present configuration into the configuration file.",
        parent: "config",
        handler: Handler::Node(NodeCommand::ConfigRewrite),
        ..DEFAULT
    },
    Command {
        name: "set",
        arity: -4,
        flags: ADMIN,
        group: Group::Server,
        since: "2.0.0",
        complexity: "O(N) where N is the number of parameters",
        summary: "Changes configuration parameters while the server runs.",
        syntax: "parameter value [parameter value ...]",
        parent: "config",
        handler: Handler::Node(NodeCommand::ConfigSet),
        ..DEFAULT
    },
];
