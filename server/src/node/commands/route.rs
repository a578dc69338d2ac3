//! ROUTE: where a key lives, and whether this connection is sent there.

use bailiwick_replication::NodeId;

use super::{Flow, NodeContext, NodeOutcome};
use crate::cluster::DEFAULT_GROUP;
use crate::commands::CommandError;
use crate::routing::slots::slot_of;

/// What a node without a cluster calls itself.
const ONLY_NODE: NodeId = NodeId(1);

/// What there is to say about a key.
#[derive(Debug, PartialEq, Eq)]
struct Explained {
    prefix: Vec<u8>,
    group: String,
    epoch: u64,
    leader: Option<NodeId>,
    /// Where clients reach the leader.
    address: Option<String>,
    members: Vec<NodeId>,
    /// From here to the leader.
    hops: Option<u8>,
    slot: u16,
}

/// `ROUTE EXPLAIN key`: a map.
pub(super) fn explain(context: &mut NodeContext<'_>) -> NodeOutcome {
    let explained = look(context, context.args.arg(2));
    let mut out = context.encoder();
    let number = |node: NodeId| i64::try_from(node.0).unwrap_or(i64::MAX);
    out.map(8);
    out.bulk(b"prefix");
    out.bulk(&explained.prefix);
    out.bulk(b"group");
    out.bulk(explained.group.as_bytes());
    out.bulk(b"epoch");
    out.integer(i64::try_from(explained.epoch).unwrap_or(i64::MAX));
    out.bulk(b"leader");
    match explained.leader {
        Some(leader) => out.integer(number(leader)),
        None => out.null(),
    }
    out.bulk(b"address");
    match explained.address {
        Some(address) => out.bulk(address.as_bytes()),
        None => out.null(),
    }
    out.bulk(b"members");
    out.array(explained.members.len());
    for member in &explained.members {
        out.integer(number(*member));
    }
    out.bulk(b"hops");
    match explained.hops {
        Some(hops) => out.integer(hops.into()),
        None => out.null(),
    }
    out.bulk(b"slot");
    out.integer(explained.slot.into());
    Ok(Flow::Continue)
}

fn look(context: &NodeContext<'_>, key: &[u8]) -> Explained {
    let (node, port) = (context.node, context.session.port);
    let slot = slot_of(key);
    let (Some(topology), Some(estate)) = (node.topology(), node.estate()) else {
        let address = node.addresses().first().map(ToString::to_string);
        return alone(slot, address);
    };
    let view = estate.directory.view();
    let (prefix, owner) = view.owner(key);
    let group = topology.groups.get(&owner.group);
    let leader = group.and_then(|group| group.leader);
    let address = leader
        .and_then(|leader| topology.nodes.get(&leader))
        .map(|leader| leader.address(port).to_string());
    Explained {
        prefix: prefix.to_vec(),
        group: topology.group_name(owner.group),
        epoch: owner.epoch,
        leader,
        address,
        members: group.map_or_else(Vec::new, |group| group.members.clone()),
        hops: leader.map(|leader| u8::from(leader != topology.me)),
        slot,
    }
}

/// A node without a cluster has everything.
fn alone(slot: u16, address: Option<String>) -> Explained {
    Explained {
        prefix: Vec::new(),
        group: DEFAULT_GROUP.to_owned(),
        epoch: 1,
        leader: Some(ONLY_NODE),
        address,
        members: vec![ONLY_NODE],
        hops: Some(0),
        slot,
    }
}

/// `ROUTE MODE proxy | redirect`.
pub(super) fn mode(context: &mut NodeContext<'_>) -> NodeOutcome {
    let wanted = context.args.arg(2);
    let redirects = if wanted.eq_ignore_ascii_case(b"redirect") {
        true
    } else if wanted.eq_ignore_ascii_case(b"proxy") {
        false
    } else {
        return Err(CommandError::text(
            "ERR expected proxy (requests for other groups are passed on) or redirect (the client \
             is told where they belong)",
        ));
    };
    context.session.redirects_all = redirects;
    context.ok()
}
