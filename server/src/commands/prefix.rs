//! The rows of PREFIX: which group owns which keys.
//!
//! Rows only: the `node` module carries these out. PREFIX is ours; Redis has nothing like it.

use super::cluster::{ANYTIME, CHANGE, SINCE};
use super::{Command, DEFAULT, Group, Handler, NodeCommand};

pub(super) static COMMANDS: &[Command] = &[Command {
    name: "prefix",
    arity: -2,
    group: Group::Cluster,
    since: SINCE,
    complexity: "Depends on subcommand.",
    summary: "Reports on prefixes and the groups that own them, and changes that.",
    subcommands: SUBCOMMANDS,
    ..DEFAULT
}];

/// What the rows of all subcommands have in common.
const SUB: Command = Command {
    flags: ANYTIME,
    group: Group::Cluster,
    since: SINCE,
    parent: "prefix",
    ..DEFAULT
};

static SUBCOMMANDS: &[Command] = &[
    Command {
        name: "create",
        arity: -5,
        flags: CHANGE,
        complexity: "O(N) where N is the number of keys with the prefix",
        summary: "Hands out a prefix to a group, or to a new group of these nodes.",
        syntax: "prefix <GROUP group | NODES node-id [node-id ...]> [AS group]",
        handler: Handler::Node(NodeCommand::PrefixCreate),
        ..SUB
    },
    Command {
        name: "drop",
        arity: 3,
        flags: CHANGE,
        complexity: "O(N) where N is the number of keys with the prefix",
        summary: "Makes a prefix a part of its parent prefix again, with its keys.",
        syntax: "prefix",
        handler: Handler::Node(NodeCommand::PrefixDrop),
        ..SUB
    },
    Command {
        name: "help",
        arity: 2,
        summary: "Lists the subcommands.",
        handler: Handler::Node(NodeCommand::Help),
        ..SUB
    },
    Command {
        name: "info",
        arity: 3,
        complexity: "O(N) where N is the number of prefixes directly below it",
        summary: "Reports on a prefix: owner, parent, children, size, and how far a move is.",
        syntax: "prefix",
        handler: Handler::Node(NodeCommand::PrefixInfo),
        ..SUB
    },
    Command {
        name: "list",
        arity: -2,
        complexity: "O(N) where N is the number of prefixes listed",
        summary: "Lists prefixes with their owners, or those that begin with some bytes.",
        syntax: "[under]",
        handler: Handler::Node(NodeCommand::PrefixList),
        ..SUB
    },
    Command {
        name: "move",
        arity: 5,
        flags: CHANGE,
        complexity: "O(N) where N is the number of keys with the prefix",
        summary: "Moves a prefix with its keys to another group.",
        syntax: "prefix GROUP group",
        handler: Handler::Node(NodeCommand::PrefixMove),
        ..SUB
    },
    Command {
        name: "owner",
        arity: 3,
        summary: "Tells which prefix decides about a key, and which group owns it.",
        syntax: "name",
        handler: Handler::Node(NodeCommand::PrefixOwner),
        ..SUB
    },
];
