//! The rows of the commands about channels.
//!
//! Rows only: the `node` module carries these out.

use super::{Command, DEFAULT, Flag, Group, Handler, Keys, NodeCommand};

/// What runs also while the data is being loaded, or is behind.
const ANYTIME: u32 = Flag::Loading as u32 | Flag::Stale as u32;
const LOOKING: u32 = Flag::Pubsub as u32 | ANYTIME;
const LISTENING: u32 = Flag::Noscript as u32 | LOOKING;
const SPEAKING: u32 = Flag::Fast as u32 | LOOKING;

pub(super) static COMMANDS: &[Command] = &[
    Command {
        name: "subscribe",
        arity: -2,
        flags: LISTENING,
        group: Group::Pubsub,
        since: "2.0.0",
        complexity: "O(N) where N is the number of channels",
        summary: "Listens to channels.",
        syntax: "channel [channel ...]",
        handler: Handler::Node(NodeCommand::Subscribe),
        ..DEFAULT
    },
    Command {
        name: "unsubscribe",
        arity: -1,
        flags: LISTENING,
        group: Group::Pubsub,
        since: "2.0.0",
        complexity: "O(N) where N is the number of channels",
        summary: "Stops listening to channels, or to all.",
        syntax: "[channel [channel ...]]",
        handler: Handler::Node(NodeCommand::Unsubscribe),
        ..DEFAULT
    },
    Command {
        name: "psubscribe",
        arity: -2,
        flags: LISTENING,
        group: Group::Pubsub,
        since: "2.0.0",
        complexity: "O(N) where N is the number of patterns",
        summary: "Listens to all channels that match patterns.",
        syntax: "pattern [pattern ...]",
        handler: Handler::Node(NodeCommand::Psubscribe),
        ..DEFAULT
    },
    Command {
        name: "punsubscribe",
        arity: -1,
        flags: LISTENING,
        group: Group::Pubsub,
        since: "2.0.0",
        complexity: "O(N) where N is the number of patterns",
        summary: "Stops listening to patterns, or to all.",
        syntax: "[pattern [pattern ...]]",
        handler: Handler::Node(NodeCommand::Punsubscribe),
        ..DEFAULT
    },
    Command {
        name: "ssubscribe",
        arity: -2,
        flags: LISTENING,
        keys: Keys::ALL,
        group: Group::Pubsub,
        since: "7.0.0",
        complexity: "O(N) where N is the number of channels",
        summary: "Listens to shard channels.",
        syntax: "shardchannel [shardchannel ...]",
        handler: Handler::Node(NodeCommand::Ssubscribe),
        ..DEFAULT
    },
    Command {
        name: "sunsubscribe",
        arity: -1,
        flags: LISTENING,
        keys: Keys::ALL,
        group: Group::Pubsub,
        since: "7.0.0",
        complexity: "O(N) where N is the number of channels",
        summary: "Stops listening to shard channels, or to all.",
        syntax: "[shardchannel [shardchannel ...]]",
        handler: Handler::Node(NodeCommand::Sunsubscribe),
        ..DEFAULT
    },
    Command {
        name: "publish",
        arity: 3,
        flags: SPEAKING,
        group: Group::Pubsub,
        since: "2.0.0",
        complexity: "O(N+M) where N is the number of receivers and M the number of patterns",
        summary: "Sends a message to a channel, and counts who receives it on this node.",
        syntax: "channel message",
        handler: Handler::Node(NodeCommand::Publish),
        ..DEFAULT
    },
    Command {
        name: "spublish",
        arity: 3,
        flags: SPEAKING,
        keys: Keys::FIRST,
        group: Group::Pubsub,
        since: "7.0.0",
        complexity: "O(N) where N is the number of receivers",
        summary: "Sends a message to a shard channel, and counts who receives it on this node.",
        syntax: "shardchannel message",
        handler: Handler::Node(NodeCommand::Spublish),
        ..DEFAULT
    },
    Command {
        name: "pubsub",
        arity: -2,
        group: Group::Pubsub,
        since: "2.8.0",
        complexity: "Depends on subcommand.",
        summary: "Tells who listens on this node.",
        subcommands: SUBCOMMANDS,
        ..DEFAULT
    },
];

static SUBCOMMANDS: &[Command] = &[
    Command {
        name: "channels",
        arity: -2,
        flags: LOOKING,
        group: Group::Pubsub,
        since: "2.8.0",
        complexity: "O(N) where N is the number of channels",
        summary: "Lists the channels that have subscribers.",
        syntax: "[pattern]",
        parent: "pubsub",
        handler: Handler::Node(NodeCommand::PubsubChannels),
        ..DEFAULT
    },
    Command {
        name: "help",
        arity: 2,
        flags: ANYTIME,
        group: Group::Pubsub,
        since: "6.2.0",
        summary: "Lists the subcommands.",
        parent: "pubsub",
        handler: Handler::Node(NodeCommand::Help),
        ..DEFAULT
    },
    Command {
        name: "numpat",
        arity: 2,
        flags: LOOKING,
        group: Group::Pubsub,
        since: "2.8.0",
        summary: "Counts the patterns that have subscribers.",
        parent: "pubsub",
        handler: Handler::Node(NodeCommand::PubsubNumpat),
        ..DEFAULT
    },
    Command {
        name: "numsub",
        arity: -2,
        flags: LOOKING,
        group: Group::Pubsub,
        since: "2.8.0",
        complexity: "O(N) where N is the number of channels",
        summary: "Counts the subscribers of channels.",
        syntax: "[channel [channel ...]]",
        parent: "pubsub",
        handler: Handler::Node(NodeCommand::PubsubNumsub),
        ..DEFAULT
    },
    Command {
        name: "shardchannels",
        arity: -2,
        flags: LOOKING,
        group: Group::Pubsub,
        since: "7.0.0",
        complexity: "O(N) where N is the number of channels",
        summary: "Lists the shard channels that have subscribers.",
        syntax: "[pattern]",
        parent: "pubsub",
        handler: Handler::Node(NodeCommand::PubsubShardchannels),
        ..DEFAULT
    },
    Command {
        name: "shardnumsub",
        arity: -2,
        flags: LOOKING,
        group: Group::Pubsub,
        since: "7.0.0",
        complexity: "O(N) where N is the number of channels",
        summary: "Counts the subscribers of shard channels.",
        syntax: "[shardchannel [shardchannel ...]]",
        parent: "pubsub",
        handler: Handler::Node(NodeCommand::PubsubShardnumsub),
        ..DEFAULT
    },
];
