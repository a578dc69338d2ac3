//! The rows of CLUSTER and GROUP: how this node stands with the others.
//!
//! Rows only: the `node` module carries these out. GROUP is ours; Redis has nothing like it.

use super::{Command, DEFAULT, Flag, Group, Handler, NodeCommand};

/// What runs also while the data is being loaded, or is behind.
const ANYTIME: u32 = Flag::Loading as u32 | Flag::Stale as u32;
/// A change of a group: for administrators, at any time, and not where others would have to wait
/// for its end.
const CHANGE: u32 = Flag::Admin as u32 | Flag::Noscript as u32 | Flag::NoMulti as u32 | ANYTIME;
/// The version of Bailiwick that introduced GROUP.
const SINCE: &str = "0.1.0";

pub(super) static COMMANDS: &[Command] = &[
    Command {
        name: "cluster",
        arity: -2,
        group: Group::Cluster,
        since: "3.0.0",
        complexity: "Depends on subcommand.",
        summary: "Reports on the cluster.",
        subcommands: CLUSTER_SUBCOMMANDS,
        ..DEFAULT
    },
    Command {
        name: "group",
        arity: -2,
        group: Group::Cluster,
        since: SINCE,
        complexity: "Depends on subcommand.",
        summary: "Reports on replicated groups, and changes who takes part in them.",
        subcommands: GROUP_SUBCOMMANDS,
        ..DEFAULT
    },
];

static CLUSTER_SUBCOMMANDS: &[Command] = &[
    Command {
        name: "help",
        arity: 2,
        flags: ANYTIME,
        group: Group::Cluster,
        since: "5.0.0",
        summary: "Lists the subcommands.",
        parent: "cluster",
        handler: Handler::Node(NodeCommand::Help),
        ..DEFAULT
    },
    Command {
        name: "links",
        arity: 2,
        flags: ANYTIME,
        group: Group::Cluster,
        since: "7.0.0",
        complexity: "O(N) where N is the number of nodes of the cluster",
        summary: "Shows the state and the counters of the link to each other node.",
        parent: "cluster",
        handler: Handler::Node(NodeCommand::ClusterLinks),
        ..DEFAULT
    },
];

/// A subcommand that changes a group.
const fn change(name: &'static str, summary: &'static str, what: NodeCommand) -> Command {
    Command {
        name,
        arity: 4,
        flags: CHANGE,
        group: Group::Cluster,
        since: SINCE,
        complexity: "O(N) where N is the number of keys that a joining node lacks",
        summary,
        syntax: "group node-id",
        parent: "group",
        handler: Handler::Node(what),
        ..DEFAULT
    }
}

static GROUP_SUBCOMMANDS: &[Command] = &[
    change(
        "add",
        "Makes a node a member of the group, once it has caught up.",
        NodeCommand::GroupAdd,
    ),
    Command {
        name: "help",
        arity: 2,
        flags: ANYTIME,
        group: Group::Cluster,
        since: SINCE,
        summary: "Lists the subcommands.",
        parent: "group",
        handler: Handler::Node(NodeCommand::Help),
        ..DEFAULT
    },
    Command {
        name: "info",
        arity: -2,
        flags: ANYTIME,
        group: Group::Cluster,
        since: SINCE,
        complexity: "O(N) where N is the number of members",
        summary: "Reports on a group as this node sees it, and on each of its members.",
        syntax: "[group]",
        parent: "group",
        handler: Handler::Node(NodeCommand::GroupInfo),
        ..DEFAULT
    },
    Command {
        name: "list",
        arity: 2,
        flags: ANYTIME,
        group: Group::Cluster,
        since: SINCE,
        complexity: "O(N) where N is the number of groups",
        summary: "Lists the groups of this node with their leaders and members.",
        parent: "group",
        handler: Handler::Node(NodeCommand::GroupList),
        ..DEFAULT
    },
    change(
        "remove",
        "Ends a node's membership of the group.",
        NodeCommand::GroupRemove,
    ),
    change(
        "replace",
        "Makes a member that has lost its data directory a new member.",
        NodeCommand::GroupReplace,
    ),
    Command {
        complexity: "O(1)",
        ..change(
            "transfer",
            "Makes a member the leader of the group.",
            NodeCommand::GroupTransfer,
        )
    },
];
