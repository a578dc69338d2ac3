//! The rows of the commands around a transaction.
//!
//! Queueing belongs to the connection, which hands EXEC's commands to the log as one proposal
//! together with the watched keys' states. `_WATCH` asks a group for those states, as 64-bit
//! numbers behind each other.

use bailiwick_frame::{Args, Encoder};

use super::{
    Category, Command, DEFAULT, Flag, Group, Handler, Keys, NodeCommand, Outcome, ReadContext,
};

/// What runs also while the data is being loaded, or is behind.
const ANYTIME: u32 = Flag::Loading as u32 | Flag::Stale as u32;
/// What a script may not run.
const UNSCRIPTED: u32 = Flag::Noscript as u32 | ANYTIME;

pub(super) static COMMANDS: &[Command] = &[
    Command {
        name: "_watch",
        arity: -2,
        flags: Flag::Readonly as u32 | Flag::Internal as u32,
        keys: Keys::ALL,
        group: Group::Transactions,
        handler: Handler::Read(watch_states),
        ..DEFAULT
    },
    Command {
        name: "multi",
        flags: Flag::Fast as u32 | Flag::AllowBusy as u32 | UNSCRIPTED,
        categories: Category::Transaction as u32,
        group: Group::Transactions,
        since: "1.2.0",
        summary: "Begins a transaction: what follows is queued.",
        handler: Handler::Node(NodeCommand::Multi),
        ..DEFAULT
    },
    Command {
        name: "exec",
        flags: Flag::SkipSlowlog as u32 | UNSCRIPTED,
        categories: Category::Transaction as u32,
        group: Group::Transactions,
        since: "1.2.0",
        complexity: "That of the queued commands",
        summary: "Runs the queued commands as one.",
        handler: Handler::Node(NodeCommand::Exec),
        ..DEFAULT
    },
    Command {
        name: "discard",
        flags: Flag::Fast as u32 | Flag::AllowBusy as u32 | UNSCRIPTED,
        categories: Category::Transaction as u32,
        group: Group::Transactions,
        since: "2.0.0",
        complexity: "O(N) where N is the number of queued commands",
        summary: "Drops the queued commands.",
        handler: Handler::Node(NodeCommand::Discard),
        ..DEFAULT
    },
    Command {
        name: "watch",
        arity: -2,
        flags: Flag::Fast as u32 | Flag::AllowBusy as u32 | UNSCRIPTED,
        categories: Category::Transaction as u32,
        keys: Keys::ALL,
        group: Group::Transactions,
        since: "2.2.0",
        complexity: "O(1) for each key",
        summary: "Lets the next EXEC fail if one of the keys changes.",
        syntax: "key [key ...]",
        handler: Handler::Node(NodeCommand::Watch),
        ..DEFAULT
    },
    Command {
        name: "unwatch",
        flags: Flag::Fast as u32 | Flag::AllowBusy as u32 | UNSCRIPTED,
        categories: Category::Transaction as u32,
        group: Group::Transactions,
        since: "2.2.0",
        summary: "Forgets all watched keys.",
        handler: Handler::Node(NodeCommand::Unwatch),
        ..DEFAULT
    },
];

fn watch_states(ctx: &ReadContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let (keyspace, now_ms) = (ctx.keyspace, ctx.now_ms);
    let state = |key| keyspace.watch_state(ctx.database, key, now_ms).0;
    let keys = args.from(1);
    let states: Vec<u8> = keys
        .iter()
        .flat_map(|key| state(key).to_le_bytes())
        .collect();
    out.bulk(&states);
    Ok(())
}
