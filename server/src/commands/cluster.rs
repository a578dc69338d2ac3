//! The rows of CLUSTER, GROUP and ROUTE: how this node stands with the others.
//!
//! Rows only: the `node` module carries these out. GROUP and ROUTE are ours; Redis has nothing like
//! them.

use super::{Command, DEFAULT, Flag, Group, Handler, NodeCommand};

/// What runs also while the data is being loaded, or is behind.
pub(super) const ANYTIME: u32 = Flag::Loading as u32 | Flag::Stale as u32;
/// A change of a group: for administrators, at any time, and not where others would have to wait
/// for its end.
pub(super) const CHANGE: u32 =
    Flag::Admin as u32 | Flag::Noscript as u32 | Flag::NoMulti as u32 | ANYTIME;
/// The version of Bailiwick that introduced what Redis does not have.
pub(super) const SINCE: &str = "0.1.0";

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
    Command {
        name: "route",
        arity: -2,
        group: Group::Cluster,
        since: SINCE,
        complexity: "Depends on subcommand.",
        summary: "Tells where keys live, and whether clients are sent there.",
        subcommands: ROUTE_SUBCOMMANDS,
        ..DEFAULT
    },
];

/// What Redis's administrators do to slots and nodes. Slots follow from prefixes here, and nodes
/// are members of groups, so all of this is refused.
const REFUSED: Command = Command {
    flags: Flag::Admin as u32 | Flag::Stale as u32 | Flag::NoAsyncLoading as u32,
    group: Group::Cluster,
    summary: "Refused: slots follow from prefixes, and nodes are members of groups.",
    parent: "cluster",
    handler: Handler::Node(NodeCommand::ClusterRefused),
    ..DEFAULT
};

static CLUSTER_SUBCOMMANDS: &[Command] = &[
    Command {
        name: "addslots",
        arity: -3,
        since: "3.0.0",
        syntax: "slot [slot ...]",
        ..REFUSED
    },
    Command {
        name: "addslotsrange",
        arity: -4,
        since: "7.0.0",
        syntax: "start-slot end-slot [start-slot end-slot ...]",
        ..REFUSED
    },
    Command {
        name: "bumpepoch",
        arity: 2,
        since: "3.0.0",
        ..REFUSED
    },
    Command {
        name: "count-failure-reports",
        arity: 3,
        flags: Flag::Admin as u32 | Flag::Stale as u32,
        group: Group::Cluster,
        since: "3.0.0",
        complexity: "O(N) where N is the number of nodes of the cluster",
        summary: "Counts the reports that a node has failed: none, because each node sees its own links.",
        syntax: "node-id",
        parent: "cluster",
        handler: Handler::Node(NodeCommand::ClusterCountfailurereports),
        ..DEFAULT
    },
    Command {
        name: "countkeysinslot",
        arity: 3,
        flags: Flag::Stale as u32,
        group: Group::Cluster,
        since: "3.0.0",
        complexity: "O(N) where N is the number of keys of the groups that this node leads",
        summary: "Counts the keys of a slot in the groups that this node leads.",
        syntax: "slot",
        parent: "cluster",
        handler: Handler::Node(NodeCommand::ClusterCountkeysinslot),
        ..DEFAULT
    },
    Command {
        name: "delslots",
        arity: -3,
        since: "3.0.0",
        syntax: "slot [slot ...]",
        ..REFUSED
    },
    Command {
        name: "delslotsrange",
        arity: -4,
        since: "7.0.0",
        syntax: "start-slot end-slot [start-slot end-slot ...]",
        ..REFUSED
    },
    Command {
        name: "failover",
        arity: -2,
        since: "3.0.0",
        syntax: "[FORCE | TAKEOVER]",
        ..REFUSED
    },
    Command {
        name: "flushslots",
        arity: 2,
        since: "3.0.0",
        ..REFUSED
    },
    Command {
        name: "forget",
        arity: 3,
        since: "3.0.0",
        syntax: "node-id",
        ..REFUSED
    },
    Command {
        name: "getkeysinslot",
        arity: 4,
        flags: Flag::Stale as u32,
        group: Group::Cluster,
        since: "3.0.0",
        complexity: "O(N) where N is the number of keys of the groups that this node leads",
        summary: "Lists keys of a slot in the groups that this node leads.",
        syntax: "slot count",
        parent: "cluster",
        handler: Handler::Node(NodeCommand::ClusterGetkeysinslot),
        ..DEFAULT
    },
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
        name: "info",
        arity: 2,
        flags: Flag::Stale as u32,
        group: Group::Cluster,
        since: "3.0.0",
        complexity: "O(N) where N is the number of groups",
        summary: "Reports how many slots and nodes there are, and how many of them can be reached.",
        parent: "cluster",
        handler: Handler::Node(NodeCommand::ClusterInfo),
        ..DEFAULT
    },
    Command {
        name: "keyslot",
        arity: 3,
        flags: Flag::Stale as u32,
        group: Group::Cluster,
        since: "3.0.0",
        complexity: "O(N) where N is the length of the key",
        summary: "Tells the slot of a key.",
        syntax: "key",
        parent: "cluster",
        handler: Handler::Node(NodeCommand::ClusterKeyslot),
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
    Command {
        name: "meet",
        arity: -4,
        since: "3.0.0",
        syntax: "ip port [cluster-bus-port]",
        ..REFUSED
    },
    Command {
        name: "members",
        arity: 2,
        flags: ANYTIME,
        group: Group::Cluster,
        since: SINCE,
        complexity: "O(N) where N is the number of nodes of the cluster",
        summary: "Shows what nodes say of themselves, and whether they seem to be there.",
        parent: "cluster",
        handler: Handler::Node(NodeCommand::ClusterMembers),
        ..DEFAULT
    },
    Command {
        name: "myid",
        arity: 2,
        flags: Flag::Stale as u32,
        group: Group::Cluster,
        since: "3.0.0",
        summary: "Tells the name of this node.",
        parent: "cluster",
        handler: Handler::Node(NodeCommand::ClusterMyid),
        ..DEFAULT
    },
    Command {
        name: "myshardid",
        arity: 2,
        flags: Flag::Stale as u32,
        group: Group::Cluster,
        since: "7.2.0",
        summary: "Tells the name of the group whose slots this node serves or copies.",
        parent: "cluster",
        handler: Handler::Node(NodeCommand::ClusterMyshardid),
        ..DEFAULT
    },
    Command {
        name: "nodes",
        arity: 2,
        flags: Flag::Stale as u32,
        group: Group::Cluster,
        since: "3.0.0",
        complexity: "O(N) where N is the number of nodes of the cluster",
        summary: "Lists the nodes with their roles and slots.",
        parent: "cluster",
        handler: Handler::Node(NodeCommand::ClusterNodes),
        ..DEFAULT
    },
    Command {
        name: "replicas",
        arity: 3,
        flags: Flag::Admin as u32 | Flag::Stale as u32,
        group: Group::Cluster,
        since: "5.0.0",
        complexity: "O(N) where N is the number of nodes of the cluster",
        summary: "Lists the nodes that keep copies for a node.",
        syntax: "node-id",
        parent: "cluster",
        handler: Handler::Node(NodeCommand::ClusterReplicas),
        ..DEFAULT
    },
    Command {
        name: "replicate",
        arity: 3,
        since: "3.0.0",
        syntax: "node-id",
        ..REFUSED
    },
    Command {
        name: "reset",
        arity: -2,
        since: "3.0.0",
        flags: REFUSED.flags | Flag::Noscript as u32,
        syntax: "[HARD | SOFT]",
        ..REFUSED
    },
    Command {
        name: "saveconfig",
        arity: 2,
        since: "3.0.0",
        ..REFUSED
    },
    Command {
        name: "set-config-epoch",
        arity: 3,
        since: "3.0.0",
        syntax: "config-epoch",
        ..REFUSED
    },
    Command {
        name: "setslot",
        arity: -4,
        since: "3.0.0",
        syntax: "slot <IMPORTING node-id | MIGRATING node-id | NODE node-id | STABLE>",
        ..REFUSED
    },
    Command {
        name: "shards",
        arity: 2,
        flags: Flag::Stale as u32,
        group: Group::Cluster,
        since: "7.0.0",
        complexity: "O(N) where N is the number of groups",
        summary: "Lists the groups with their slots and members.",
        parent: "cluster",
        handler: Handler::Node(NodeCommand::ClusterShards),
        ..DEFAULT
    },
    Command {
        name: "slaves",
        arity: 3,
        flags: Flag::Admin as u32 | Flag::Stale as u32,
        group: Group::Cluster,
        since: "3.0.0",
        complexity: "O(N) where N is the number of nodes of the cluster",
        summary: "Lists the nodes that keep copies for a node.",
        syntax: "node-id",
        parent: "cluster",
        handler: Handler::Node(NodeCommand::ClusterReplicas),
        ..DEFAULT
    },
    Command {
        name: "slots",
        arity: 2,
        flags: Flag::Stale as u32,
        group: Group::Cluster,
        since: "3.0.0",
        complexity: "O(N) where N is the number of slot ranges",
        summary: "Lists the ranges of slots with the nodes that serve them.",
        parent: "cluster",
        handler: Handler::Node(NodeCommand::ClusterSlots),
        ..DEFAULT
    },
];

static ROUTE_SUBCOMMANDS: &[Command] = &[
    Command {
        name: "explain",
        arity: 3,
        flags: ANYTIME,
        group: Group::Cluster,
        since: SINCE,
        complexity: "O(N) where N is the number of groups",
        summary: "Tells which prefix a key belongs to, who owns it, and how far that is from here.",
        syntax: "key",
        parent: "route",
        handler: Handler::Node(NodeCommand::RouteExplain),
        ..DEFAULT
    },
    Command {
        name: "help",
        arity: 2,
        flags: ANYTIME,
        group: Group::Cluster,
        since: SINCE,
        summary: "Lists the subcommands.",
        parent: "route",
        handler: Handler::Node(NodeCommand::Help),
        ..DEFAULT
    },
    Command {
        name: "mode",
        arity: 3,
        flags: ANYTIME | Flag::Noscript as u32,
        group: Group::Cluster,
        since: SINCE,
        summary: "Chooses whether this connection's requests for other groups are passed on, or answered with where they belong.",
        syntax: "<PROXY | REDIRECT>",
        parent: "route",
        handler: Handler::Node(NodeCommand::RouteMode),
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
        name: "create",
        arity: -5,
        flags: CHANGE,
        group: Group::Cluster,
        since: SINCE,
        complexity: "O(N) where N is the number of nodes",
        summary: "Creates a group of these nodes, which can be given prefixes then.",
        syntax: "group NODES node-id [node-id ...]",
        parent: "group",
        handler: Handler::Node(NodeCommand::GroupCreate),
        ..DEFAULT
    },
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
