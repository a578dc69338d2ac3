//! What the cluster's file says of groups and prefixes, carried out once.
//!
//! The root group's leader does it when the cluster begins, and leaves a mark in the root group's
//! log when all is done: from then on the file says nothing any more, so that what operators change
//! later stays changed. Each step may be repeated, so a new leader simply begins again.

use std::sync::Arc;

use super::order::{self, Decision};
use super::step::End;
use crate::cluster::Cluster;
use crate::commands::CommandError;
use crate::group::{Group, ROOT_GROUP};
use crate::node::Node;

/// Whether it has to be done, by the leader of this group.
#[must_use]
pub fn is_due(node: &Node, group: &Group) -> bool {
    let has_plan = |cluster: &Cluster| cluster.groups.len() > 1 || !cluster.prefixes.is_empty();
    let host = node.host();
    group.id() == ROOT_GROUP
        && host.is_some_and(|host| has_plan(host.cluster()))
        // Before its genesis the group has no authority yet.
        && group.state().keyspace.databases() > 0
        && !group.state().authority.is_founded()
}

/// Does it, as far as it gets.
pub(super) fn run(node: &Arc<Node>, group: &Group) -> End {
    let Some(host) = node.host() else {
        return End::Done;
    };
    let cluster = host.cluster();
    let done = found(node, cluster);
    match done {
        Ok(()) => {
            let (groups, prefixes) = (cluster.groups.len(), cluster.prefixes.len());
            tracing::info!(
                group = group.id().0,
                groups,
                prefixes,
                "the cluster is founded"
            );
            End::Done
        }
        Err(error) => {
            tracing::info!(%error, "the cluster is not founded yet");
            End::Failed(error.to_string())
        }
    }
}

fn found(node: &Node, cluster: &Cluster) -> Result<(), CommandError> {
    for entry in &cluster.groups[1..] {
        match order::create_group(node, &entry.name, &entry.nodes) {
            Ok(_) => {}
            Err(error) if is_there(&error) => tracing::warn!(
                group = entry.name,
                %error,
                "the cluster's file has a group otherwise than it was founded"
            ),
            Err(error) => return Err(error),
        }
    }
    let mut prefixes: Vec<_> = cluster.prefixes.iter().collect();
    // A prefix is decided on by the owner of its parent, so that one comes first.
    prefixes.sort_by_key(|entry| entry.prefix.len());
    for entry in prefixes {
        let to = order::group_named(node, entry.group.as_bytes())?;
        match order::decide(node, entry.prefix.as_bytes(), Decision::Create(to)) {
            Ok(()) => {}
            Err(error) if is_there(&error) => {
                tracing::warn!(prefix = entry.prefix, %error, "a prefix was created before");
            }
            Err(error) => return Err(error),
        }
    }
    let mark = [b"_FOUNDED".to_vec()];
    let marked = order::run(node, ROOT_GROUP, &mark);
    marked
        .map(drop)
        .map_err(|failure| order::explain(node, &failure))
}

fn is_there(error: &CommandError) -> bool {
    error.to_string().starts_with("EXISTS ")
}
