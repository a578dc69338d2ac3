//! CLUSTER: the cluster in the words of Redis Cluster, for clients that know it.
//!
//! Slots follow from prefixes, roles from who leads groups ([`Topology`]); so nothing here can be
//! changed by Redis's orders to nodes and slots, which are refused with what to use instead. A node
//! without a cluster answers as Redis does when its cluster support is disabled.

use std::fmt::Write as _;

use bailiwick_frame::Encoder;
use bailiwick_replication::{GroupId, NodeId};

use super::info::Lines;
use super::links::NO_CLUSTER;
use super::{Flow, NodeContext, NodeOutcome};
use crate::commands::{CommandError, NodeCommand};
use crate::keyspace::parse_canonical_int;
use crate::node::topology::group_name;
use crate::node::{self, Node};
use crate::routing::redirect::Port;
use crate::routing::slots::{SLOTS, slot_of};
use crate::routing::topology::{Role, Topology};

/// Keys that are looked at under one lock.
const STEP: usize = 1024;

const INVALID_SLOT: CommandError = CommandError::text("ERR Invalid slot");

/// Everything but LINKS, MEMBERS and HELP.
pub(super) fn cluster(which: NodeCommand, context: &mut NodeContext<'_>) -> NodeOutcome {
    use NodeCommand as C;
    let topology = context.node.topology().ok_or(NO_CLUSTER)?;
    let port = context.session.port;
    match which {
        C::ClusterInfo => verbatim(context, &info(&topology)),
        C::ClusterMyid => {
            let me = topology.nodes.get(&topology.me);
            let name = me.map_or("", |node| &node.name);
            context.encoder().bulk(name.as_bytes());
        }
        C::ClusterMyshardid => {
            let name =
                shard_of(&topology, topology.me).and_then(|group| shard_name(context.node, group));
            context.encoder().bulk(name.unwrap_or_default().as_bytes());
        }
        C::ClusterNodes => {
            let lines = topology
                .nodes
                .keys()
                .map(|node| node_line(&topology, *node, port) + "\n");
            verbatim(context, &lines.collect::<String>());
        }
        C::ClusterReplicas => replicas(context, &topology, port)?,
        C::ClusterSlots => write_slots(&topology, port, &mut context.encoder()),
        C::ClusterShards => write_shards(&topology, port, &mut context.encoder()),
        C::ClusterKeyslot => {
            let slot = slot_of(context.args.arg(2));
            context.encoder().integer(slot.into());
        }
        C::ClusterCountkeysinslot => return count_keys(context),
        C::ClusterGetkeysinslot => return get_keys(context),
        C::ClusterCountfailurereports => {
            find(&topology, context.args.arg(2))?;
            // Nobody reports failures to others: each node sees its own links.
            context.encoder().integer(0);
        }
        _ => return Err(refusal(context)),
    }
    Ok(Flow::Continue)
}

fn verbatim(context: &mut NodeContext<'_>, text: &str) {
    context.encoder().verbatim("txt", text.as_bytes());
}

fn refusal(context: &NodeContext<'_>) -> CommandError {
    let name = context.command.name.to_ascii_uppercase();
    CommandError::composed(format!(
        "ERR CLUSTER {name} does nothing here: slots follow from prefixes (see PREFIX HELP), and \
         nodes are members of groups (see GROUP HELP)"
    ))
}

fn info(topology: &Topology) -> String {
    let mut lines = Lines::default();
    let ranges = topology.slots.ranges();
    let slots_of = |group: &GroupId| {
        let ranges = ranges.get(group).into_iter().flatten();
        ranges
            .map(|(first, last)| usize::from(last - first) + 1)
            .sum::<usize>()
    };
    let up = ranges
        .keys()
        .filter(|group| topology.is_up(**group))
        .map(slots_of);
    let ok: usize = up.sum();
    let configurations = topology.groups.values().map(|group| group.configuration);
    let own = topology
        .groups
        .values()
        .filter(|group| group.leader == Some(topology.me));
    let own = own.map(|group| group.configuration).max();
    // A part of the cluster goes on by itself, so it is down only where nothing can be reached.
    lines.field("cluster_state", if ok > 0 { "ok" } else { "fail" });
    lines.field("cluster_slots_assigned", SLOTS);
    lines.field("cluster_slots_ok", ok);
    lines.field("cluster_slots_pfail", 0);
    lines.field("cluster_slots_fail", usize::from(SLOTS) - ok);
    lines.field("cluster_known_nodes", topology.nodes.len());
    lines.field("cluster_size", topology.masters().len());
    lines.field("cluster_current_epoch", configurations.max().unwrap_or(0));
    lines.field("cluster_my_epoch", own.unwrap_or(0));
    lines.field("cluster_stats_messages_sent", 0);
    lines.field("cluster_stats_messages_received", 0);
    lines.field("total_cluster_links_buffer_limit_exceeded", 0);
    lines.into_text()
}

/// A line of CLUSTER NODES, without its end.
fn node_line(topology: &Topology, id: NodeId, port: Port) -> String {
    let node = &topology.nodes[&id];
    let (role, master) = match topology.role(id) {
        Role::Master => ("master", "-".to_owned()),
        Role::ReplicaOf(master) => ("slave", topology.nodes[&master].name.clone()),
    };
    let is_me = if id == topology.me { "myself," } else { "" };
    let (suspect, state) = if node.is_connected {
        ("", "connected")
    } else {
        (",fail?", "disconnected")
    };
    let led = |group: &GroupId| topology.master_of(*group) == Some(id);
    let led = topology.groups.iter().filter(|(group, _)| led(group));
    let epoch = led.map(|(_, group)| group.configuration).max();
    let (address, peer) = (node.address(port), node.peer.port());
    let mut line = format!(
        "{} {}:{}@{peer} {is_me}{role}{suspect} {master} 0 0 {} {state}",
        node.name,
        address.host(),
        address.port(),
        epoch.unwrap_or(0),
    );
    for (first, last) in topology.slots_of(id) {
        let written = if first == last {
            write!(line, " {first}")
        } else {
            write!(line, " {first}-{last}")
        };
        written.expect("writing to a String does not fail");
    }
    line
}

fn replicas(
    context: &mut NodeContext<'_>,
    topology: &Topology,
    port: Port,
) -> Result<(), CommandError> {
    let master = find(topology, context.args.arg(2))?;
    if topology.role(master) != Role::Master {
        return Err(CommandError::text("ERR The specified node is not a master"));
    }
    let nodes = topology.nodes.keys();
    let replicas: Vec<_> = nodes
        .filter(|node| topology.role(**node) == Role::ReplicaOf(master))
        .map(|node| node_line(topology, *node, port))
        .collect();
    let mut out = context.encoder();
    out.array(replicas.len());
    replicas.iter().for_each(|line| out.bulk(line.as_bytes()));
    Ok(())
}

fn write_slots(topology: &Topology, port: Port, out: &mut Encoder<'_>) {
    let ranges = topology.ranges();
    out.array(ranges.len());
    for range in ranges {
        out.array(3 + range.replicas.len());
        out.integer(range.slots.0.into());
        out.integer(range.slots.1.into());
        for id in std::iter::once(&range.master).chain(&range.replicas) {
            let node = &topology.nodes[id];
            let address = node.address(port);
            out.array(4);
            out.bulk(address.host().as_bytes());
            out.integer(address.port().into());
            out.bulk(node.name.as_bytes());
            out.map(0);
        }
    }
}

fn write_shards(topology: &Topology, port: Port, out: &mut Encoder<'_>) {
    let mut ranges = topology.slots.ranges();
    out.array(topology.groups.len());
    for (group, info) in &topology.groups {
        let ranges = ranges.remove(group).unwrap_or_default();
        let master = topology.master_of(*group);
        let known = |id: &&NodeId| topology.nodes.contains_key(id);
        let members: Vec<&NodeId> = info.members.iter().filter(known).collect();
        out.map(2);
        out.bulk(b"slots");
        out.array(2 * ranges.len());
        for (first, last) in ranges {
            out.integer(first.into());
            out.integer(last.into());
        }
        out.bulk(b"nodes");
        out.array(members.len());
        for id in members {
            let role = if master == Some(*id) {
                "master"
            } else {
                "replica"
            };
            write_shard_node(topology, *id, role, port, out);
        }
    }
}

fn write_shard_node(
    topology: &Topology,
    id: NodeId,
    role: &str,
    port: Port,
    out: &mut Encoder<'_>,
) {
    let node = &topology.nodes[&id];
    let address = node.address(port);
    let health = if node.is_connected { "online" } else { "fail" };
    out.map(7);
    out.bulk(b"id");
    out.bulk(node.name.as_bytes());
    out.bulk(b"port");
    out.integer(address.port().into());
    for name in ["ip", "endpoint"] {
        out.bulk(name.as_bytes());
        out.bulk(address.host().as_bytes());
    }
    out.bulk(b"role");
    out.bulk(role.as_bytes());
    // Only the leader of a group knows how far its members are.
    out.bulk(b"replication-offset");
    out.integer(0);
    out.bulk(b"health");
    out.bulk(health.as_bytes());
}

fn find(topology: &Topology, name: &[u8]) -> Result<NodeId, CommandError> {
    let mut nodes = topology.nodes.iter();
    let found = nodes.find(|(_, node)| node.name.as_bytes().eq_ignore_ascii_case(name));
    found.map(|(id, _)| *id).ok_or_else(|| {
        let shown = String::from_utf8_lossy(&name[..name.len().min(super::SHOWN_MAX_BYTES)]);
        CommandError::composed(format!("ERR Unknown node {shown}"))
    })
}

/// The group whose slots a node serves, or keeps a copy of.
fn shard_of(topology: &Topology, node: NodeId) -> Option<GroupId> {
    let groups = || topology.slots.ranges().into_keys();
    let leads = |group: &GroupId| topology.master_of(*group) == Some(node);
    let is_in = |group: &GroupId| {
        topology
            .groups
            .get(group)
            .is_some_and(|group| group.members.contains(&node))
    };
    groups().find(leads).or_else(|| groups().find(is_in))
}

fn shard_name(node: &Node, group: GroupId) -> Option<String> {
    let (cluster, _) = node.settings.cluster()?;
    Some(group_name(cluster, group))
}

fn count_keys(context: &mut NodeContext<'_>) -> NodeOutcome {
    let slot = slot_arg(context.args.arg(2))?.ok_or(INVALID_SLOT)?;
    let (node, database) = (context.node.clone(), context.session.database);
    context.blocking(move |out| {
        let mut count = 0;
        visit_slot(&node, slot, database, |_| {
            count += 1;
            true
        });
        out.integer(count);
        Ok(())
    })
}

fn get_keys(context: &mut NodeContext<'_>) -> NodeOutcome {
    let slot = slot_arg(context.args.arg(2))?;
    let most = integer(context.args.arg(3))?;
    let invalid = CommandError::text("ERR Invalid slot or number of keys");
    let (Some(slot), Ok(most)) = (slot, usize::try_from(most)) else {
        return Err(invalid);
    };
    let (node, database) = (context.node.clone(), context.session.database);
    context.blocking(move |out| {
        let mut keys: Vec<Vec<u8>> = Vec::new();
        visit_slot(&node, slot, database, |key| {
            if keys.len() < most {
                keys.push(key.to_vec());
            }
            keys.len() < most
        });
        out.array(keys.len());
        keys.iter().for_each(|key| out.bulk(key));
        Ok(())
    })
}

fn integer(arg: &[u8]) -> Result<i64, CommandError> {
    parse_canonical_int(arg).ok_or(CommandError::NotInteger)
}

/// A slot; `None` if there is none of this number.
fn slot_arg(arg: &[u8]) -> Result<Option<u16>, CommandError> {
    let slot = u16::try_from(integer(arg)?).ok();
    Ok(slot.filter(|slot| *slot < SLOTS))
}

/// Shows all keys of a slot in the groups that this node leads, until it is enough. Takes time with
/// the number of keys that these groups have, and holds each group's lock for a short while only.
fn visit_slot(node: &Node, slot: u16, database: usize, mut wants_more: impl FnMut(&[u8]) -> bool) {
    for group in node
        .seats
        .all()
        .values()
        .filter(|group| group.standing().leads())
    {
        let mut from = 0;
        loop {
            let state = group.state();
            let now_ms = node::now_ms().max(state.time_ms);
            let mut goes_on = true;
            from = state.keyspace.scan(database, from, STEP, b"", |entry| {
                if goes_on && !entry.is_expired(now_ms) && slot_of(entry.key()) == slot {
                    goes_on = wants_more(entry.key());
                }
            });
            if !goes_on {
                return;
            }
            if from == 0 {
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bailiwick_frame::Protocol;

    use super::*;
    use crate::routing::topology::testing::topology;

    #[test]
    fn nodes_are_lines_with_role_and_slots() {
        let mut seen = topology(2);
        let eu = slot_of(b"{eu}");
        let expected = [
            format!(
                "{:040x} 10.0.0.1:7301@7201 master - 0 0 4 connected 0-{} {}-16383",
                1,
                eu - 1,
                eu + 1
            ),
            format!(
                "{:040x} 10.0.0.2:7302@7202 myself,master - 0 0 4 connected {eu}",
                2
            ),
            format!(
                "{:040x} 10.0.0.3:7103@7203 slave,fail? {:040x} 0 0 4 disconnected",
                3, 1
            ),
        ];
        seen.nodes.get_mut(&NodeId(3)).expect("node 3").is_connected = false;
        for (id, line) in (1..).zip(expected) {
            assert_eq!(node_line(&seen, NodeId(id), Port::Cluster), line);
        }
        let plain = node_line(&seen, NodeId(1), Port::Plain);
        assert!(plain.contains(" 10.0.0.1:7101@7201 "), "{plain}");
    }

    #[test]
    fn slots_come_with_master_and_replicas() {
        let mut reply = Vec::new();
        write_slots(
            &topology(1),
            Port::Cluster,
            &mut Encoder::new(&mut reply, Protocol::Resp3),
        );
        let text = String::from_utf8(reply).expect("text").replace("\r\n", " ");
        let first = format!(
            "*3 *4 :0 :{} *4 $8 10.0.0.1 :7301 $40 {:040x} %0 *4 $8 10.0.0.3 :7103 $40 {:040x} %0 ",
            slot_of(b"{eu}") - 1,
            1,
            3
        );
        assert!(text.starts_with(&first), "{text}");
    }

    #[test]
    fn shards_are_groups_with_all_their_members() {
        let mut reply = Vec::new();
        write_shards(
            &topology(1),
            Port::Cluster,
            &mut Encoder::new(&mut reply, Protocol::Resp2),
        );
        let text = String::from_utf8(reply).expect("text").replace("\r\n", " ");
        assert!(text.starts_with("*3 *4 $5 slots *4 :0 "), "{text}");
        assert_eq!(text.matches("$6 master").count(), 3);
        assert_eq!(text.matches("$7 replica").count(), 4);
    }

    #[test]
    fn the_state_counts_the_slots_that_can_be_reached() {
        let mut seen = topology(1);
        assert!(info(&seen).contains("cluster_state:ok\r\ncluster_slots_assigned:16384\r\n"));
        assert!(info(&seen).contains("cluster_known_nodes:3\r\ncluster_size:2\r\n"));
        seen.nodes.get_mut(&NodeId(2)).expect("node 2").is_connected = false;
        assert!(info(&seen).contains(
            "cluster_slots_ok:16383\r\ncluster_slots_pfail:0\r\ncluster_slots_fail:1\r\n"
        ));
        seen.groups.get_mut(&GroupId(0)).expect("the root").leader = None;
        assert!(info(&seen).starts_with("cluster_state:fail\r\n"));
    }

    #[test]
    fn slots_are_numbers_in_range() {
        assert_eq!(slot_arg(b"16383"), Ok(Some(16383)));
        for out in ["16384", "-1", "99999999"] {
            assert_eq!(slot_arg(out.as_bytes()), Ok(None));
        }
        assert_eq!(slot_arg(b"x"), Err(CommandError::NotInteger));
    }
}
