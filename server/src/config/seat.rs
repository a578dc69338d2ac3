//! `--cluster` and `--node`: which node of which cluster this process is.
//!
//! Both flags or neither. The node's client address in the cluster's file then decides where it
//! listens, because that address is what other nodes tell clients; a second opinion in a flag or in
//! the configuration file is refused rather than overruled in silence.

use std::path::Path;

use bailiwick_replication::NodeId;

use super::error::ConfigError;
use super::{BindAddress, Settings};
use crate::cluster::{Address, Cluster, NodeEntry};

/// The flag and the key of the port for cluster clients.
pub(super) const CLUSTER_PORT: &str = "cluster-port";

/// The place that the two flags describe; `None` if neither is given.
///
/// # Errors
/// One is given without the other, the file does not fit, or it has no such node.
pub(super) fn find(
    file: Option<&Path>,
    node: Option<&str>,
) -> Result<Option<(Cluster, NodeId)>, ConfigError> {
    let refuse = |text: &str| Err(ConfigError::Usage(text.to_owned()));
    let (file, node) = match (file, node) {
        (None, None) => return Ok(None),
        (Some(_), None) => {
            return refuse("--cluster: needs --node N, the id of this node in that file");
        }
        (None, Some(_)) => {
            return refuse(
                "--node: needs --cluster FILE, the file that says which nodes there are",
            );
        }
        (Some(file), Some(node)) => (file, node),
    };
    let cluster = Cluster::load(file)?;
    let id = node.parse().ok().map(NodeId);
    match id.filter(|id| cluster.node(*id).is_some()) {
        Some(id) => Ok(Some((cluster, id))),
        None => Err(ConfigError::Flag {
            flag: "node",
            value: node.to_owned(),
            expected: format!("a node of {}: {}", file.display(), ids(&cluster)),
        }),
    }
}

/// Makes `settings` listen on the node's client address. `given` are the flags that say otherwise.
///
/// # Errors
/// A flag or the configuration file gives a port or an address of its own, or the node's host has
/// no address.
pub(super) fn listen(
    settings: &mut Settings,
    node: &NodeEntry,
    given: &[&'static str],
) -> Result<(), ConfigError> {
    let client = &node.client;
    listen_for_clusters(settings, node, given.contains(&CLUSTER_PORT))?;
    if let Some(flag) = given.iter().find(|flag| **flag != CLUSTER_PORT) {
        return Err(ConfigError::Usage(format!(
            "--{flag}: in a cluster, the file of --cluster decides where a node listens (node {}: \
             client = \"{client}\"); change it there and leave out --{flag}",
            node.id
        )));
    }
    let bind = resolve(node, "client", client)?;
    let defaults = Settings::default();
    let differs = |ours: bool, default: bool| !ours && !default;
    // What CONFIG REWRITE wrote into the configuration file agrees, and may stay there.
    let key = if differs(
        settings.port == client.port(),
        settings.port == defaults.port,
    ) {
        Some("port")
    } else if differs(settings.bind == bind, settings.bind == defaults.bind) {
        Some("bind")
    } else {
        None
    };
    if let Some(key) = key {
        return Err(ConfigError::Usage(format!(
            "{key} in the configuration file: in a cluster, the file of --cluster decides where a \
             node listens (node {}: client = \"{client}\"); remove the key",
            node.id
        )));
    }
    settings.port = client.port();
    settings.bind = bind;
    Ok(())
}

/// Makes `settings` listen on the node's address for cluster clients, if the file gives it one.
fn listen_for_clusters(
    settings: &mut Settings,
    node: &NodeEntry,
    has_flag: bool,
) -> Result<(), ConfigError> {
    let Some(cluster) = &node.cluster else {
        return Ok(());
    };
    let says_otherwise = settings.cluster_port != 0 && settings.cluster_port != cluster.port();
    if has_flag || says_otherwise {
        let (what, how) = if has_flag {
            (
                "--cluster-port",
                "change it there and leave out --cluster-port",
            )
        } else {
            ("cluster-port in the configuration file", "remove the key")
        };
        return Err(ConfigError::Usage(format!(
            "{what}: in a cluster, the file of --cluster decides where a node listens (node {}: \
             cluster = \"{cluster}\"); {how}",
            node.id
        )));
    }
    settings.cluster_bind = resolve(node, "cluster", cluster)?;
    settings.cluster_port = cluster.port();
    Ok(())
}

/// The addresses of this machine that an address of the node stands for.
fn resolve(
    node: &NodeEntry,
    what: &str,
    address: &Address,
) -> Result<Vec<BindAddress>, ConfigError> {
    let found = address.resolve().map_err(|source| {
        ConfigError::Usage(format!(
            "--node {}: its {what} address {address} cannot be looked up: {source}",
            node.id
        ))
    })?;
    let mut bind: Vec<BindAddress> = Vec::new();
    for address in found {
        let ip = address.ip();
        if bind.iter().all(|known| known.ip != ip) {
            // A name such as localhost may stand for an address that this machine lacks.
            let optional = !bind.is_empty();
            bind.push(BindAddress { ip, optional });
        }
    }
    Ok(bind)
}

fn ids(cluster: &Cluster) -> String {
    let ids: Vec<String> = cluster
        .nodes
        .iter()
        .map(|node| node.id.to_string())
        .collect();
    match ids.as_slice() {
        [first @ .., last] if !first.is_empty() => format!("{} or {last}", first.join(", ")),
        _ => ids.concat(),
    }
}
