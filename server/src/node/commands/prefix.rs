//! PREFIX: which group owns which keys, and orders to change that.
//!
//! What is only told comes from this node's directory, at once. An order is carried out in the log
//! of the group that owns the parent prefix, wherever that is, while the client waits on a thread
//! that may block; moving the keys begins then, and is not waited for.

use bailiwick_frame::{Args, Encoder};
use bailiwick_replication::{GroupId, NodeId};

use super::group::node_id;
use super::prefix_info::{self, Report};
use super::{Flow, NodeContext, NodeOutcome};
use crate::commands::CommandError;
use crate::group::ROOT_GROUP;
use crate::handoff::order::{self, Decision};
use crate::node::Node;
use crate::routing::slots;

/// The epoch of the only prefix of a node without a cluster.
const ONLY_EPOCH: u64 = 1;

/// A prefix with its owner, for a reply.
pub(super) struct Row {
    pub(super) prefix: Vec<u8>,
    pub(super) epoch: u64,
    pub(super) group: GroupId,
}

/// To which group a prefix goes.
#[derive(Debug, PartialEq, Eq)]
enum Target {
    /// One that there is.
    Group(Vec<u8>),
    /// A new one of these nodes, with this name or one that follows from the prefix.
    Nodes(Vec<NodeId>, Option<String>),
}

/// `PREFIX CREATE prefix <GROUP group | NODES node-id...> [AS group]`.
pub(super) fn create(context: &mut NodeContext<'_>) -> NodeOutcome {
    let target = target(context.args.from(3))?;
    let prefix = context.args.arg(2).to_vec();
    tell(context, &format!("{target:?}"));
    let node = context.node.clone();
    context.blocking(move |out| {
        let to = match target {
            Target::Group(name) => order::group_named(&node, &name)?,
            Target::Nodes(nodes, name) => {
                let name = name.unwrap_or_else(|| order::name_after(&prefix));
                order::create_group(&node, &name, &nodes)?
            }
        };
        order::decide(&node, &prefix, Decision::Create(to))?;
        match shared_slot(&node, &prefix, to) {
            Some(report) => out.simple(&report),
            None => out.ok(),
        }
        Ok(())
    })
}

/// What there is to say if the prefix is a hash tag whose slot another group has already.
fn shared_slot(node: &Node, prefix: &[u8], to: GroupId) -> Option<String> {
    let view = node.estate()?.directory.view();
    let tags = view
        .under(b"{")
        .map(|(prefix, owner)| (prefix, owner.group));
    let (other, group) = slots::collision(prefix, to, tags)?;
    let report = format!(
        "OK, but prefix '{}' of group '{}' is in the same slot: clients of the cluster port reach \
         one of the two by way of the other's node",
        other.escape_ascii(),
        order::group_name(node, group)
    );
    tracing::warn!(report, prefix = %prefix.escape_ascii(), "two hash tags share a slot");
    Some(report)
}

/// `PREFIX MOVE prefix GROUP group`.
pub(super) fn relocate(context: &mut NodeContext<'_>) -> NodeOutcome {
    let Target::Group(name) = target(context.args.from(3))? else {
        return Err(CommandError::Syntax);
    };
    let prefix = context.args.arg(2).to_vec();
    tell(context, &name.escape_ascii().to_string());
    let node = context.node.clone();
    context.blocking(move |out| {
        let to = order::group_named(&node, &name)?;
        order::decide(&node, &prefix, Decision::Move(to))?;
        out.ok();
        Ok(())
    })
}

/// `PREFIX DROP prefix`.
pub(super) fn drop(context: &mut NodeContext<'_>) -> NodeOutcome {
    let prefix = context.args.arg(2).to_vec();
    tell(context, "");
    let node = context.node.clone();
    context.blocking(move |out| {
        order::decide(&node, &prefix, Decision::Drop)?;
        out.ok();
        Ok(())
    })
}

/// `PREFIX LIST [under]`: a map for each prefix, in byte order.
pub(super) fn list(context: &mut NodeContext<'_>) -> NodeOutcome {
    let args = context.args;
    if args.len() > 3 {
        return Err(context.subcommand_error());
    }
    let node = context.node;
    let rows = under(node, args.get(2).unwrap_or_default());
    let mut out = context.encoder();
    out.array(rows.len());
    for row in rows {
        out.map(3);
        write_row(node, &row, &mut out);
    }
    Ok(Flow::Continue)
}

/// `PREFIX OWNER key`.
pub(super) fn owner(context: &mut NodeContext<'_>) -> NodeOutcome {
    let (node, key) = (context.node, context.args.arg(2));
    let row = match node.estate() {
        Some(estate) => {
            let view = estate.directory.view();
            let (prefix, owner) = view.owner(key);
            Row {
                prefix: prefix.to_vec(),
                epoch: owner.epoch,
                group: owner.group,
            }
        }
        None => only_row(),
    };
    let mut out = context.encoder();
    out.map(3);
    write_row(node, &row, &mut out);
    Ok(Flow::Continue)
}

/// `PREFIX INFO prefix`: a map.
pub(super) fn info(context: &mut NodeContext<'_>) -> NodeOutcome {
    let prefix = context.args.arg(2).to_vec();
    let node = context.node.clone();
    context.blocking(move |out| {
        let report = Report::of(&node, &prefix)?;
        prefix_info::write(&node, &report, out);
        Ok(())
    })
}

/// The prefixes that begin so, as this node knows them.
pub(super) fn under(node: &Node, prefix: &[u8]) -> Vec<Row> {
    let Some(estate) = node.estate() else {
        let only = prefix.is_empty().then(only_row);
        return only.into_iter().collect();
    };
    let view = estate.directory.view();
    let rows = view.under(prefix).map(|(prefix, owner)| Row {
        prefix: prefix.to_vec(),
        epoch: owner.epoch,
        group: owner.group,
    });
    rows.collect()
}

/// Writes three pairs.
pub(super) fn write_row(node: &Node, row: &Row, out: &mut Encoder<'_>) {
    out.bulk(b"prefix");
    out.bulk(&row.prefix);
    out.bulk(b"epoch");
    out.integer(row.epoch as i64);
    out.bulk(b"group");
    out.bulk(order::group_name(node, row.group).as_bytes());
}

/// What a node without a cluster has.
pub(super) fn only_row() -> Row {
    Row {
        prefix: Vec::new(),
        epoch: ONLY_EPOCH,
        group: ROOT_GROUP,
    }
}

/// Logs an order.
fn tell(context: &NodeContext<'_>, target: &str) {
    let (client, what) = (&context.session.client.address, context.command.full_name());
    let prefix = context.args.arg(2).escape_ascii().to_string();
    tracing::info!(client, what, prefix, target, "ordered to change a prefix");
}

/// What stands behind the prefix.
fn target(args: Args<'_>) -> Result<Target, CommandError> {
    let is = |at: usize, word: &[u8]| args.arg(at).eq_ignore_ascii_case(word);
    if is(0, b"GROUP") && args.len() == 2 {
        return Ok(Target::Group(args.arg(1).to_vec()));
    }
    if !is(0, b"NODES") {
        return Err(CommandError::Syntax);
    }
    let has_name = args.len() > 3 && is(args.len() - 2, b"AS");
    let end = args.len() - if has_name { 2 } else { 0 };
    let name = has_name.then(|| std::str::from_utf8(args.arg(end + 1)));
    let name = name.transpose().map_err(|_| CommandError::Syntax)?;
    let nodes = args.iter().take(end).skip(1).map(node_id);
    Ok(Target::Nodes(
        nodes.collect::<Result<_, _>>()?,
        name.map(str::to_owned),
    ))
}

#[cfg(test)]
mod tests {
    use bailiwick_frame::ArgRange;

    use super::*;

    fn parsed(line: &str) -> Result<Target, CommandError> {
        let range = |word: &str| {
            let start = (word.as_ptr() as usize - line.as_ptr() as usize) as u32;
            ArgRange {
                start,
                end: start + word.len() as u32,
            }
        };
        let ranges: Vec<_> = line.split(' ').map(range).collect();
        target(Args::new(line.as_bytes(), &ranges))
    }

    #[test]
    fn a_target_is_a_group_or_the_nodes_of_a_new_one() {
        assert_eq!(parsed("group eu"), Ok(Target::Group(b"eu".to_vec())));
        let nodes = |ids: &[u64]| ids.iter().copied().map(NodeId).collect::<Vec<_>>();
        assert_eq!(parsed("NODES 3 1"), Ok(Target::Nodes(nodes(&[3, 1]), None)));
        assert_eq!(
            parsed("nodes 7 as asia"),
            Ok(Target::Nodes(nodes(&[7]), Some("asia".to_owned())))
        );
        for nonsense in [
            "GROUP a AS b",
            "NODES AS b",
            "NODES 1 AS",
            "NODE 1",
            "NODES x",
        ] {
            assert!(parsed(nonsense).is_err(), "{nonsense}");
        }
    }
}
