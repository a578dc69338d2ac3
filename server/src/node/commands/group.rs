//! GROUP: who takes part in a group, how far they are, and orders to change that.
//!
//! A change is carried out by the group's leader, wherever that is, and may take as long as a
//! joining node needs to catch up; the client that ordered it waits on a thread that may block.

use std::sync::Arc;

use bailiwick_frame::Encoder;
use bailiwick_replication::NodeId;

use super::info::Lines;
use super::overview::Overview;
use super::{Flow, NodeContext, NodeOutcome, SHOWN_MAX_BYTES};
use crate::cluster::DEFAULT_GROUP;
use crate::commands::{CommandError, NodeCommand, Outcome};
use crate::group::{Change, Group, MemberDescription, Seat};
use crate::handoff::order;
use crate::keyspace::parse_canonical_int;
use crate::node::Node;

const NO_CLUSTER: CommandError = CommandError::text(
    "ERR this node runs without a cluster, so its group has no other members; start nodes with \
     --cluster and --node to replicate",
);

/// `GROUP LIST`: a map for each group of which this node is a member.
pub(super) fn list(context: &mut NodeContext<'_>) -> NodeOutcome {
    with_overviews(context, Which::Own, |overviews, out| {
        out.array(overviews.len());
        for overview in overviews {
            write_row(overview, out);
        }
    })
}

fn write_row(overview: &Overview<'_>, out: &mut Encoder<'_>) {
    let description = &overview.description;
    out.map(4);
    out.bulk(b"group");
    out.bulk(overview.group.as_bytes());
    out.bulk(b"configuration");
    out.integer(description.configuration.0.into());
    out.bulk(b"leader");
    out.integer(number(description.leader.unwrap_or_default()));
    out.bulk(b"members");
    out.array(description.members.len());
    let members = description.members.iter();
    members.for_each(|member| out.integer(number(member.node)));
}

/// `GROUP INFO [group]`: lines in the form of INFO.
pub(super) fn info(context: &mut NodeContext<'_>) -> NodeOutcome {
    let which = match context.args.len() {
        2 => Which::First,
        3 => Which::Named(find(context.node, context.args.arg(2))?),
        _ => return Err(context.subcommand_error()),
    };
    with_overviews(context, which, |overviews, out| {
        let text: String = overviews.iter().map(describe).collect();
        out.verbatim("txt", text.as_bytes());
    })
}

/// `GROUP CREATE group NODES node-id...`.
pub(super) fn create(context: &mut NodeContext<'_>) -> NodeOutcome {
    let args = context.args;
    if !args.arg(3).eq_ignore_ascii_case(b"NODES") {
        return Err(CommandError::Syntax);
    }
    let name = std::str::from_utf8(args.arg(2)).map_err(|_| CommandError::Syntax)?;
    let name = name.to_owned();
    let nodes: Vec<NodeId> = args.from(4).iter().map(node_id).collect::<Result<_, _>>()?;
    let (node, client) = (context.node.clone(), &context.session.client.address);
    tracing::info!(client, name, ?nodes, "ordered to create a group");
    context.blocking(move |out| {
        order::create_group(&node, &name, &nodes)?;
        out.ok();
        Ok(())
    })
}

/// `GROUP ADD`, `REMOVE`, `REPLACE` and `TRANSFER`.
pub(super) fn change(which: NodeCommand, context: &mut NodeContext<'_>) -> NodeOutcome {
    if context.node.settings.cluster().is_none() {
        return Err(NO_CLUSTER);
    }
    let args = context.args;
    let group = find(context.node, args.arg(2))?.ok_or(CommandError::Loading)?;
    let node = node_id(args.arg(3))?;
    let change = match which {
        NodeCommand::GroupAdd => Change::Add(node),
        NodeCommand::GroupRemove => Change::Remove(node),
        NodeCommand::GroupReplace => Change::Replace(node),
        _ => Change::Transfer(node),
    };
    let client = &context.session.client.address;
    tracing::info!(
        client,
        group = group.id().0,
        ?change,
        "ordered to change the group"
    );
    context.blocking(move |out| {
        carry_out(&group, change)?;
        out.ok();
        Ok(())
    })
}

fn carry_out(group: &Group, change: Change) -> Outcome {
    let seat = group.seat().ok_or(NO_CLUSTER)?;
    check_node(seat, change)?;
    let done = seat.change(change);
    if let Err(reason) = &done {
        tracing::warn!(?change, reason, "the group was not changed");
    }
    done.map_err(|reason| CommandError::composed(format!("ERR {reason}")))
}

/// Refuses a node that does not exist. One that was taken out of the cluster's file may still be a
/// member, and can be removed.
fn check_node(seat: &Seat, change: Change) -> Outcome {
    let (node, cluster) = (change.node(), seat.cluster());
    if cluster.node(node).is_some() {
        return Ok(());
    }
    if matches!(change, Change::Remove(_)) {
        let members = seat.describe().map(|described| described.members);
        if members.is_some_and(|members| members.iter().any(|member| member.node == node)) {
            return Ok(());
        }
    }
    let known: Vec<_> = cluster.nodes.iter().map(|node| node.id.0).collect();
    Err(unknown_node(node, known))
}

fn unknown_node(node: NodeId, mut known: Vec<u64>) -> CommandError {
    known.sort_unstable();
    let known: Vec<_> = known.iter().map(ToString::to_string).collect();
    CommandError::composed(format!(
        "ERR unknown node {node}; this node's cluster file has {}",
        known.join(", ")
    ))
}

/// This node's seat in the group of this name; `None` for the root group before it is loaded.
fn find(node: &Node, name: &[u8]) -> Result<Option<Arc<Group>>, CommandError> {
    let root = node.settings.cluster();
    let root = root.map_or(DEFAULT_GROUP, |(cluster, _)| &cluster.root().name);
    let name_of = |group: &Arc<Group>| {
        group
            .seat()
            .map_or(DEFAULT_GROUP.to_owned(), Seat::group_name)
    };
    let seats = node.seats.all();
    let found = seats
        .values()
        .find(|group| name_of(group).as_bytes() == name);
    if found.is_some() || name == root.as_bytes() {
        return Ok(found.cloned());
    }
    let mut known: Vec<String> = seats.values().map(name_of).collect();
    if known.is_empty() {
        known.push(root.to_owned());
    }
    let shown = String::from_utf8_lossy(&name[..name.len().min(SHOWN_MAX_BYTES)]);
    Err(CommandError::composed(format!(
        "ERR unknown group '{shown}'; this node has {}",
        known.join(", ")
    )))
}

pub(super) fn node_id(text: &[u8]) -> Result<NodeId, CommandError> {
    let number = parse_canonical_int(text).and_then(|number| u64::try_from(number).ok());
    number.map(NodeId).ok_or(CommandError::text(
        "ERR a node is named by its id, the number that it has in the cluster file",
    ))
}

/// Of which groups there is to tell.
enum Which {
    /// The one that stands for the node.
    First,
    /// This one; `None` is the root group before it is loaded.
    Named(Option<Arc<Group>>),
    /// All in which this node is a member; the one that stands for it if there is none.
    Own,
}

/// Replies from overviews, on a thread that may wait for them.
fn with_overviews(
    context: &mut NodeContext<'_>,
    which: Which,
    write: fn(&[Overview<'_>], &mut Encoder<'_>),
) -> NodeOutcome {
    if Overview::blocks(context.node) {
        let node = context.node.clone();
        return context.blocking(move |out| {
            write(&overviews(&node, &which), out);
            Ok(())
        });
    }
    // What a node without a cluster has is not known before it is loaded.
    if context.node.settings.cluster().is_none() {
        context.group()?;
    }
    write(&[Overview::of(context.node)], &mut context.encoder());
    Ok(Flow::Continue)
}

fn overviews<'a>(node: &'a Node, which: &Which) -> Vec<Overview<'a>> {
    match which {
        Which::First => vec![Overview::of(node)],
        Which::Named(group) => vec![Overview::of_group(node, group.as_ref())],
        Which::Own => {
            let seats = node.seats.all();
            let seats = seats.values();
            let mut seen: Vec<Overview<'a>> = seats
                .map(|group| Overview::of_group(node, Some(group)))
                .filter(|overview| overview.own().is_some())
                .collect();
            if seen.is_empty() {
                seen.push(Overview::of(node));
            }
            seen
        }
    }
}

/// The lines of `GROUP INFO`. What only consensus has is left out where there is none.
fn describe(overview: &Overview<'_>) -> String {
    let mut lines = Lines::default();
    let description = &overview.description;
    let decided = overview.own().map_or(overview.applied, |own| own.decided);
    lines.field("group", &overview.group);
    lines.field("configuration", description.configuration.0);
    lines.field("this_node", description.node);
    lines.field("is_member", u8::from(overview.own().is_some()));
    lines.field("leader", description.leader.unwrap_or_default());
    lines.field("decided", decided);
    lines.field("applied", overview.applied);
    lines.field("waiters", overview.waiters);
    if overview.cluster.is_some() {
        consensus(overview, &mut lines);
    }
    lines.field("members", description.members.len());
    for member in &description.members {
        let line = member_line(overview, member);
        lines.field(&format!("member{}", member.node), line);
    }
    lines.into_text()
}

fn consensus(overview: &Overview<'_>, lines: &mut Lines) {
    let description = &overview.description;
    lines.field("end", description.end);
    lines.field("trimmed", description.trimmed);
    if let Some(own) = overview.own() {
        lines.field("durable", own.durable);
        lines.field("checkpoint", own.checkpoint);
    }
    lines.field("ballot", description.ballot);
    // As Redis has it for a time to live: what never ends is -1.
    let lease_left_ms = description.lease_left_ms.map_or(-1, |ms| ms as i64);
    lines.field("lease_left_ms", lease_left_ms);
    lines.field("is_stranger", u8::from(description.is_stranger));
    if let Some(transfer) = &description.transfer {
        lines.field("transfer_source", transfer.source);
        lines.field("transfer_checkpoint", transfer.index);
        lines.field("transfer_received_bytes", transfer.received_bytes);
        lines.field("transfer_total_bytes", transfer.total_bytes);
    }
}

fn member_line(overview: &Overview<'_>, member: &MemberDescription) -> String {
    let role = if member.is_catching_up {
        "catching-up"
    } else if member.leads {
        "leader"
    } else {
        "follower"
    };
    let lag = overview.last_decided().0.saturating_sub(member.applied.0);
    let last_contact_ms = member.last_contact_ms.map_or(-1, |ms| ms as i64);
    let mut line = format!(
        "role={role},connected={connected},decided={decided},applied={applied},durable={durable},\
         checkpoint={checkpoint},lag={lag},last_contact_ms={last_contact_ms},full={full}",
        connected = u8::from(member.is_connected),
        decided = member.decided,
        applied = member.applied,
        durable = member.durable,
        checkpoint = member.checkpoint,
        full = u8::from(member.is_full),
    );
    if overview.cluster.is_some() {
        let (host, port) = overview.client_address(member.node);
        line += &format!(",host={host},port={port}");
    }
    line
}

/// As a reply has it; ids in a cluster's file are at most 32 bits.
fn number(node: NodeId) -> i64 {
    i64::try_from(node.0).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::overview::testing::{FILE, seen_by};
    use super::*;
    use crate::cluster::Cluster;

    #[test]
    fn a_group_is_described_in_lines() {
        let cluster = Cluster::parse(FILE).expect("a file");
        let expected = "group:orders|configuration:4|this_node:1|is_member:1|leader:2|decided:98|\
            applied:98|end:103|trimmed:30|durable:98|checkpoint:40|ballot:7|lease_left_ms:250|\
            is_stranger:0|members:3|\
            member1:role=follower,connected=1,decided=98,applied=98,durable=98,checkpoint=40,\
            lag=2,last_contact_ms=12,full=0,host=10.0.0.1,port=7101|\
            member2:role=leader,connected=1,decided=100,applied=100,durable=100,checkpoint=40,\
            lag=0,last_contact_ms=12,full=0,host=10.0.0.2,port=7102|\
            member3:role=catching-up,connected=0,decided=0,applied=0,durable=0,checkpoint=40,\
            lag=100,last_contact_ms=-1,full=0,host=fd00::3,port=7103|";
        let text = describe(&seen_by(1, &cluster)).replace("\r\n", "|");
        assert_eq!(text, expected);
    }

    #[test]
    fn a_node_is_named_by_a_number() {
        assert_eq!(node_id(b"3"), Ok(NodeId(3)));
        for text in ["", "-1", "03", "three", "99999999999999999999"] {
            assert!(node_id(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn an_error_about_a_node_names_those_that_exist() {
        assert_eq!(
            unknown_node(NodeId(9), vec![10, 2]).to_string(),
            "ERR unknown node 9; this node's cluster file has 2, 10"
        );
    }
}
