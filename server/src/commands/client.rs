//! The rows of CLIENT: what connections know of themselves and of one another.
//!
//! Rows only: the `node` module knows connections and carries these out.

use super::{Category, Command, DEFAULT, Flag, Group, Handler, NodeCommand};

/// What runs also while the data is being loaded, or is behind.
const ANYTIME: u32 = Flag::Loading as u32 | Flag::Stale as u32;
/// What a script may not run.
const UNSCRIPTED: u32 = Flag::Noscript as u32 | ANYTIME;
/// What only an administrator should run, at any time.
const ADMIN: u32 = Flag::Admin as u32 | UNSCRIPTED;

pub(super) static COMMANDS: &[Command] = &[Command {
    name: "client",
    arity: -2,
    group: Group::Connection,
    since: "2.4.0",
    complexity: "Depends on subcommand.",
    summary: "Looks after connections.",
    subcommands: CLIENT_SUBCOMMANDS,
    ..DEFAULT
}];

static CLIENT_SUBCOMMANDS: &[Command] = &[
    Command {
        name: "caching",
        arity: 3,
        flags: UNSCRIPTED,
        categories: Category::Connection as u32,
        group: Group::Connection,
        since: "6.0.0",
        summary: "Says whether the keys of the next command are to be tracked.",
        syntax: "<YES | NO>",
        parent: "client",
        handler: Handler::Node(NodeCommand::ClientCaching),
        ..DEFAULT
    },
    Command {
        name: "getname",
        arity: 2,
        flags: UNSCRIPTED,
        categories: Category::Connection as u32,
        group: Group::Connection,
        since: "2.6.9",
        summary: "Tells the connection's name.",
        parent: "client",
        handler: Handler::Node(NodeCommand::ClientGetname),
        ..DEFAULT
    },
    Command {
        name: "getredir",
        arity: 2,
        flags: UNSCRIPTED,
        categories: Category::Connection as u32,
        group: Group::Connection,
        since: "6.0.0",
        summary: "Tells to which connection invalidations are redirected.",
        parent: "client",
        handler: Handler::Node(NodeCommand::ClientGetredir),
        ..DEFAULT
    },
    Command {
        name: "help",
        arity: 2,
        flags: ANYTIME,
        categories: Category::Connection as u32,
        group: Group::Connection,
        since: "5.0.0",
        summary: "Lists the subcommands.",
        parent: "client",
        handler: Handler::Node(NodeCommand::Help),
        ..DEFAULT
    },
    Command {
        name: "id",
        arity: 2,
        flags: UNSCRIPTED,
        categories: Category::Connection as u32,
        group: Group::Connection,
        since: "5.0.0",
        summary: "Tells the connection's number.",
        parent: "client",
        handler: Handler::Node(NodeCommand::ClientId),
        ..DEFAULT
    },
    Command {
        name: "info",
        arity: 2,
        flags: UNSCRIPTED,
        categories: Category::Connection as u32,
        group: Group::Connection,
        since: "6.2.0",
        summary: "Describes this connection.",
        parent: "client",
        handler: Handler::Node(NodeCommand::ClientInfo),
        ..DEFAULT
    },
    Command {
        name: "kill",
        arity: -3,
        flags: ADMIN,
        categories: Category::Connection as u32,
        group: Group::Connection,
        since: "2.4.0",
        complexity: "O(N) where N is the number of connections",
        summary: "Closes connections by address or by filters.",
        syntax: "<ip:port \
                 | <ID client-id | TYPE <NORMAL | MASTER | REPLICA | PUBSUB> \
                 | USER username | ADDR ip:port | LADDR ip:port | SKIPME <YES | NO>> \
                 [<ID client-id | TYPE <NORMAL | MASTER | REPLICA | PUBSUB> \
                 | USER username | ADDR ip:port | LADDR ip:port | SKIPME <YES | NO>> ...]>",
        parent: "client",
        handler: Handler::Node(NodeCommand::ClientKill),
        ..DEFAULT
    },
    Command {
        name: "list",
        arity: -2,
        flags: ADMIN,
        categories: Category::Connection as u32,
        group: Group::Connection,
        since: "2.4.0",
        complexity: "O(N) where N is the number of connections",
        summary: "Describes all connections.",
        syntax: "[TYPE <NORMAL | MASTER | REPLICA | PUBSUB>] [ID client-id [client-id ...]]",
        parent: "client",
        handler: Handler::Node(NodeCommand::ClientList),
        ..DEFAULT
    },
    Command {
        name: "no-evict",
        arity: 3,
        flags: ADMIN,
        categories: Category::Connection as u32,
        group: Group::Connection,
        since: "7.0.0",
        summary: "Exempts the connection from being closed when clients take too much memory.",
        syntax: "<ON | OFF>",
        parent: "client",
        handler: Handler::Node(NodeCommand::ClientNoEvict),
        ..DEFAULT
    },
    Command {
        name: "no-touch",
        arity: 3,
        flags: UNSCRIPTED,
        categories: Category::Connection as u32,
        group: Group::Connection,
        since: "7.2.0",
        summary: "Keeps the connection's reads from counting as accesses.",
        syntax: "<ON | OFF>",
        parent: "client",
        handler: Handler::Node(NodeCommand::ClientNoTouch),
        ..DEFAULT
    },
    Command {
        name: "pause",
        arity: -3,
        flags: ADMIN,
        categories: Category::Connection as u32,
        group: Group::Connection,
        since: "2.9.50",
        summary: "Holds commands back for a time.",
        syntax: "timeout [WRITE | ALL]",
        parent: "client",
        handler: Handler::Node(NodeCommand::ClientPause),
        ..DEFAULT
    },
    Command {
        name: "reply",
        arity: 3,
        flags: UNSCRIPTED,
        categories: Category::Connection as u32,
        group: Group::Connection,
        since: "3.2.0",
        summary: "Switches replies on or off.",
        syntax: "<ON | OFF | SKIP>",
        parent: "client",
        handler: Handler::Node(NodeCommand::ClientReply),
        ..DEFAULT
    },
    Command {
        name: "setinfo",
        arity: 4,
        flags: UNSCRIPTED,
        categories: Category::Connection as u32,
        group: Group::Connection,
        since: "7.2.0",
        summary: "Records the name and version of the client library.",
        syntax: "<LIB-NAME libname | LIB-VER libver>",
        parent: "client",
        handler: Handler::Node(NodeCommand::ClientSetinfo),
        ..DEFAULT
    },
    Command {
        name: "setname",
        arity: 3,
        flags: UNSCRIPTED,
        categories: Category::Connection as u32,
        group: Group::Connection,
        since: "2.6.9",
        summary: "Names the connection.",
        syntax: "connection-name",
        parent: "client",
        handler: Handler::Node(NodeCommand::ClientSetname),
        ..DEFAULT
    },
    Command {
        name: "tracking",
        arity: -3,
        flags: UNSCRIPTED,
        categories: Category::Connection as u32,
        group: Group::Connection,
        since: "6.0.0",
        complexity: "O(N) where N is the number of prefixes",
        summary: "Lets the connection be told when keys change of which it keeps copies.",
        syntax: "<ON | OFF> [REDIRECT client-id] [PREFIX prefix [PREFIX prefix ...]] [BCAST] \
                 [OPTIN] [OPTOUT] [NOLOOP]",
        parent: "client",
        handler: Handler::Node(NodeCommand::ClientTracking),
        ..DEFAULT
    },
    Command {
        name: "trackinginfo",
        arity: 2,
        flags: UNSCRIPTED,
        categories: Category::Connection as u32,
        group: Group::Connection,
        since: "6.2.0",
        summary: "Tells how the connection is told of changed keys.",
        parent: "client",
        handler: Handler::Node(NodeCommand::ClientTrackinginfo),
        ..DEFAULT
    },
    Command {
        name: "unblock",
        arity: -3,
        flags: ADMIN,
        categories: Category::Connection as u32,
        group: Group::Connection,
        since: "5.0.0",
        complexity: "O(log N) where N is the number of connections",
        summary: "Wakes a connection that waits in a blocking command.",
        syntax: "client-id [TIMEOUT | ERROR]",
        parent: "client",
        handler: Handler::Node(NodeCommand::ClientUnblock),
        ..DEFAULT
    },
    Command {
        name: "unpause",
        arity: 2,
        flags: ADMIN,
        categories: Category::Connection as u32,
        group: Group::Connection,
        since: "6.2.0",
        complexity: "O(N) where N is the number of held connections",
        summary: "Lets held commands go on.",
        parent: "client",
        handler: Handler::Node(NodeCommand::ClientUnpause),
        ..DEFAULT
    },
];
