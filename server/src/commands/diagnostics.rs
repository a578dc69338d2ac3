//! The rows of MEMORY, SLOWLOG and LATENCY: what the node knows of itself.
//!
//! Rows only: the `node` module carries these out, but for MEMORY USAGE, which reads a key.

use super::memory_usage::memory_usage;
use super::{Command, DEFAULT, Flag, Group, Handler, Keys, NodeCommand};

/// What runs also while the data is being loaded, or is behind.
const ANYTIME: u32 = Flag::Loading as u32 | Flag::Stale as u32;
/// What a script may not run.
const UNSCRIPTED: u32 = Flag::Noscript as u32 | ANYTIME;
/// What only an administrator should run, at any time.
const ADMIN: u32 = Flag::Admin as u32 | UNSCRIPTED;

pub(super) static COMMANDS: &[Command] = &[
    Command {
        name: "memory",
        arity: -2,
        group: Group::Server,
        since: "4.0.0",
        complexity: "Depends on subcommand.",
        summary: "Reports on memory.",
        subcommands: MEMORY_SUBCOMMANDS,
        ..DEFAULT
    },
    Command {
        name: "slowlog",
        arity: -2,
        group: Group::Server,
        since: "2.2.12",
        complexity: "Depends on subcommand.",
        summary: "Looks after the log of slow commands.",
        subcommands: SLOWLOG_SUBCOMMANDS,
        ..DEFAULT
    },
    Command {
        name: "latency",
        arity: -2,
        group: Group::Server,
        since: "2.8.13",
        complexity: "Depends on subcommand.",
        summary: "Reports on delays.",
        subcommands: LATENCY_SUBCOMMANDS,
        ..DEFAULT
    },
];

static MEMORY_SUBCOMMANDS: &[Command] = &[
    Command {
        name: "doctor",
        arity: 2,
        group: Group::Server,
        since: "4.0.0",
        summary: "Says whether the memory figures look sound.",
        parent: "memory",
        handler: Handler::Node(NodeCommand::MemoryDoctor),
        ..DEFAULT
    },
    Command {
        name: "help",
        arity: 2,
        flags: ANYTIME,
        group: Group::Server,
        since: "4.0.0",
        summary: "Lists the subcommands.",
        parent: "memory",
        handler: Handler::Node(NodeCommand::Help),
        ..DEFAULT
    },
    Command {
        name: "malloc-stats",
        arity: 2,
        group: Group::Server,
        since: "4.0.0",
        summary: "Shows the allocator's own figures.",
        parent: "memory",
        handler: Handler::Node(NodeCommand::MemoryMallocStats),
        ..DEFAULT
    },
    Command {
        name: "purge",
        arity: 2,
        group: Group::Server,
        since: "4.0.0",
        complexity: "Depends on the allocator",
        summary: "Asks the allocator to give memory back.",
        parent: "memory",
        handler: Handler::Node(NodeCommand::MemoryPurge),
        ..DEFAULT
    },
    Command {
        name: "stats",
        arity: 2,
        group: Group::Server,
        since: "4.0.0",
        summary: "Lists memory figures.",
        parent: "memory",
        handler: Handler::Node(NodeCommand::MemoryStats),
        ..DEFAULT
    },
    Command {
        name: "usage",
        arity: -3,
        flags: Flag::Readonly as u32,
        keys: Keys::Range {
            first: 2,
            last: 2,
            step: 1,
        },
        group: Group::Server,
        since: "4.0.0",
        summary: "Estimates the bytes that a key and its value take.",
        syntax: "key [SAMPLES count]",
        parent: "memory",
        handler: Handler::Read(memory_usage),
        ..DEFAULT
    },
];

static SLOWLOG_SUBCOMMANDS: &[Command] = &[
    Command {
        name: "get",
        arity: -2,
        flags: Flag::Admin as u32 | ANYTIME,
        group: Group::Server,
        since: "2.2.12",
        complexity: "O(N) where N is the number of entries shown",
        summary: "Shows the log's latest entries.",
        syntax: "[count]",
        parent: "slowlog",
        handler: Handler::Node(NodeCommand::SlowlogGet),
        ..DEFAULT
    },
    Command {
        name: "help",
        arity: 2,
        flags: ANYTIME,
        group: Group::Server,
        since: "6.2.0",
        summary: "Lists the subcommands.",
        parent: "slowlog",
        handler: Handler::Node(NodeCommand::Help),
        ..DEFAULT
    },
    Command {
        name: "len",
        arity: 2,
        flags: Flag::Admin as u32 | ANYTIME,
        group: Group::Server,
        since: "2.2.12",
        summary: "Counts the log's entries.",
        parent: "slowlog",
        handler: Handler::Node(NodeCommand::SlowlogLen),
        ..DEFAULT
    },
    Command {
        name: "reset",
        arity: 2,
        flags: Flag::Admin as u32 | ANYTIME,
        group: Group::Server,
        since: "2.2.12",
        complexity: "O(N) where N is the number of entries",
        summary: "Empties the log.",
        parent: "slowlog",
        handler: Handler::Node(NodeCommand::SlowlogReset),
        ..DEFAULT
    },
];

static LATENCY_SUBCOMMANDS: &[Command] = &[
    Command {
        name: "doctor",
        arity: 2,
        flags: ADMIN,
        group: Group::Server,
        since: "2.8.13",
        summary: "Says what the recorded delays may mean.",
        parent: "latency",
        handler: Handler::Node(NodeCommand::LatencyDoctor),
        ..DEFAULT
    },
    Command {
        name: "graph",
        arity: 3,
        flags: ADMIN,
        group: Group::Server,
        since: "2.8.13",
        summary: "Draws an event's delays.",
        syntax: "event",
        parent: "latency",
        handler: Handler::Node(NodeCommand::LatencyGraph),
        ..DEFAULT
    },
    Command {
        name: "help",
        arity: 2,
        flags: ANYTIME,
        group: Group::Server,
        since: "2.8.13",
        summary: "Lists the subcommands.",
        parent: "latency",
        handler: Handler::Node(NodeCommand::Help),
        ..DEFAULT
    },
    Command {
        name: "histogram",
        arity: -2,
        flags: ADMIN,
        group: Group::Server,
        since: "7.0.0",
        complexity: "O(N) where N is the number of commands shown",
        summary: "Shows how commands' durations are distributed.",
        syntax: "[command [command ...]]",
        parent: "latency",
        handler: Handler::Node(NodeCommand::LatencyHistogram),
        ..DEFAULT
    },
    Command {
        name: "history",
        arity: 3,
        flags: ADMIN,
        group: Group::Server,
        since: "2.8.13",
        summary: "Lists the delays of an event.",
        syntax: "event",
        parent: "latency",
        handler: Handler::Node(NodeCommand::LatencyHistory),
        ..DEFAULT
    },
    Command {
        name: "latest",
        arity: 2,
        flags: ADMIN,
        group: Group::Server,
        since: "2.8.13",
        summary: "Shows the latest delay of each event.",
        parent: "latency",
        handler: Handler::Node(NodeCommand::LatencyLatest),
        ..DEFAULT
    },
    Command {
        name: "reset",
        arity: -2,
        flags: ADMIN,
        group: Group::Server,
        since: "2.8.13",
        summary: "Forgets the delays of the named events, or all.",
        syntax: "[event [event ...]]",
        parent: "latency",
        handler: Handler::Node(NodeCommand::LatencyReset),
        ..DEFAULT
    },
];
