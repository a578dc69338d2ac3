//! The rows of commands that concern the connection alone, but for CLIENT's, which are in
//! [`client`](super::client).
//!
//! Rows only: the `node` module knows connections and carries these out.

use super::{Category, Command, DEFAULT, Flag, Group, Handler, NodeCommand};

/// What runs also while the data is being loaded, or is behind.
const ANYTIME: u32 = Flag::Loading as u32 | Flag::Stale as u32;
/// What a script may not run.
const UNSCRIPTED: u32 = Flag::Noscript as u32 | ANYTIME;

pub(super) static COMMANDS: &[Command] = &[
    Command {
        name: "ping",
        arity: -1,
        flags: Flag::Fast as u32,
        categories: Category::Connection as u32,
        group: Group::Connection,
        summary: "Answers, to show that the server is there.",
        syntax: "[message]",
        handler: Handler::Node(NodeCommand::Ping),
        ..DEFAULT
    },
    Command {
        name: "echo",
        arity: 2,
        flags: Flag::Fast as u32 | ANYTIME,
        categories: Category::Connection as u32,
        group: Group::Connection,
        summary: "Sends the message back.",
        syntax: "message",
        handler: Handler::Node(NodeCommand::Echo),
        ..DEFAULT
    },
    Command {
        name: "hello",
        arity: -1,
        flags: Flag::Fast as u32 | Flag::NoAuth as u32 | Flag::AllowBusy as u32 | UNSCRIPTED,
        categories: Category::Connection as u32,
        group: Group::Connection,
        since: "6.0.0",
        summary: "Chooses the protocol version, and may authenticate and name the connection.",
        syntax: "[protover [AUTH username password] [SETNAME clientname]]",
        handler: Handler::Node(NodeCommand::Hello),
        ..DEFAULT
    },
    Command {
        name: "auth",
        arity: -2,
        flags: Flag::Fast as u32 | Flag::NoAuth as u32 | Flag::AllowBusy as u32 | UNSCRIPTED,
        categories: Category::Connection as u32,
        group: Group::Connection,
        complexity: "O(N) where N is the number of the user's passwords",
        summary: "Authenticates the connection.",
        syntax: "[username] password",
        handler: Handler::Node(NodeCommand::Auth),
        ..DEFAULT
    },
    Command {
        name: "select",
        arity: 2,
        flags: Flag::Fast as u32 | ANYTIME,
        categories: Category::Connection as u32,
        group: Group::Connection,
        summary: "Chooses the database of the connection.",
        syntax: "index",
        handler: Handler::Node(NodeCommand::Select),
        ..DEFAULT
    },
    Command {
        name: "quit",
        arity: -1,
        flags: Flag::Fast as u32 | Flag::NoAuth as u32 | Flag::AllowBusy as u32 | UNSCRIPTED,
        categories: Category::Connection as u32,
        group: Group::Connection,
        summary: "Closes the connection.",
        handler: Handler::Node(NodeCommand::Quit),
        ..DEFAULT
    },
    Command {
        name: "reset",
        flags: Flag::Fast as u32 | Flag::NoAuth as u32 | Flag::AllowBusy as u32 | UNSCRIPTED,
        categories: Category::Connection as u32,
        group: Group::Connection,
        since: "6.2.0",
        summary: "Brings the connection back to the state in which it began.",
        handler: Handler::Node(NodeCommand::Reset),
        ..DEFAULT
    },
    Command {
        name: "readonly",
        flags: Flag::Fast as u32 | ANYTIME,
        categories: Category::Connection as u32,
        group: Group::Cluster,
        since: "3.0.0",
        summary: "Lets reads show what this node has, which may be behind the leader.",
        handler: Handler::Node(NodeCommand::Readonly),
        ..DEFAULT
    },
    Command {
        name: "readwrite",
        flags: Flag::Fast as u32 | ANYTIME,
        categories: Category::Connection as u32,
        group: Group::Cluster,
        since: "3.0.0",
        summary: "Takes READONLY back: reads show the latest state.",
        handler: Handler::Node(NodeCommand::Readwrite),
        ..DEFAULT
    },
    Command {
        name: "asking",
        flags: Flag::Fast as u32,
        categories: Category::Connection as u32,
        group: Group::Cluster,
        since: "3.0.0",
        summary: "Announces that the next command follows a redirect.",
        handler: Handler::Node(NodeCommand::Asking),
        ..DEFAULT
    },
];
