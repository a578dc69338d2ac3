//! Which nodes a demo has, and how they are told of each other.
//!
//! Owns the choice of ports, of the groups' members and of the prefixes. It fails where there are
//! no free ports, or the directory cannot be used.
//!
//! **Regions.** Each has a group of all its nodes, which owns the keys that begin with the region's
//! name and a colon. The root group, which owns all other keys and decides about prefixes, is
//! spread over the regions, one node in each: no region is so important that its loss would keep
//! the others from creating and moving prefixes. The price is that keys of the root group cost a
//! round trip between regions wherever they are asked for, as does each decision about a prefix;
//! that is what the display shows for keys without a home.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bailiwick_replication::NodeId;

use super::relay::{Relay, Target};
use crate::cluster::{Address, Cluster, DEFAULT_GROUP, GroupEntry, NodeEntry, PrefixEntry};
use crate::config::{ConfigError, DemoShape, Regions, Settings};

/// The cluster that lives in this directory, if there is one.
///
/// # Errors
/// Its file cannot be used.
pub(super) fn cluster_in(data: &Path) -> Result<Option<Cluster>, ConfigError> {
    let path = file_in(data);
    let cluster = path.exists().then(|| Cluster::load(&path));
    Ok(cluster.transpose()?)
}

/// Makes a cluster of this shape at these addresses, pairs of one for clients and one for other
/// nodes, live in the directory.
///
/// # Errors
/// The directory cannot be used, or holds a node without its cluster.
pub(super) fn settle(
    data: &Path,
    shape: &DemoShape,
    addresses: Vec<(Address, Address)>,
) -> io::Result<Cluster> {
    let cluster = match shape {
        DemoShape::Group(_) => one_group(addresses),
        DemoShape::Regions(regions) => with_regions(regions, addresses),
    };
    // What is there without its cluster's file is somebody's data, which [`clear`] must not remove.
    let mut directories = cluster.nodes.iter().map(|node| directory_of(data, node.id));
    if let Some(found) = directories.find(|directory| directory.exists()) {
        let text = format!(
            "{} is of a cluster whose cluster.toml is gone; choose another directory",
            found.display()
        );
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
    }
    fs::write(file_in(data), cluster.to_toml())?;
    Ok(cluster)
}

/// Removes a cluster that does not run, with all it has written.
///
/// # Errors
/// The directory cannot be used.
pub(super) fn clear(data: &Path, cluster: &Cluster) -> io::Result<()> {
    for node in &cluster.nodes {
        match fs::remove_dir_all(directory_of(data, node.id)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    fs::remove_file(file_in(data))
}

/// Where a node has its data.
pub(super) fn directory_of(data: &Path, node: NodeId) -> PathBuf {
    data.join(format!("node-{node}"))
}

fn file_in(data: &Path) -> PathBuf {
    data.join("cluster.toml")
}

/// How many nodes a demo of this shape has.
pub(super) fn nodes_of(shape: &DemoShape) -> usize {
    match shape {
        DemoShape::Group(nodes) => *nodes as usize,
        DemoShape::Regions(regions) => regions.names.len() * regions.nodes_each as usize,
    }
}

/// A relay between the regions of a cluster.
///
/// # Errors
/// It cannot be started.
pub(super) fn relay(cluster: &Cluster, round_trip: Duration) -> io::Result<Relay> {
    let target = |node: &NodeEntry| {
        let peer = node.peer.resolve()?;
        Ok(Target {
            node: node.id,
            region: node.region.clone(),
            peer: *peer.first().ok_or(io::ErrorKind::NotFound)?,
        })
    };
    let targets: Vec<Target> = cluster
        .nodes
        .iter()
        .map(target)
        .collect::<io::Result<_>>()?;
    Relay::start(&targets, round_trip)
}

/// The cluster as nodes of one region see it: those of other regions are behind the relay.
pub(super) fn seen_from(cluster: &Cluster, region: &str, relay: &Relay) -> Cluster {
    let mut view = cluster.clone();
    for node in &mut view.nodes {
        if let Some(address) = relay.address(region, node.id) {
            node.peer = address.into();
        }
    }
    view
}

/// Gives elections the time that the distance takes, and some more for a machine on which so many
/// nodes share the processors: a group that is spread must not take a far leader for a dead one.
pub(super) fn allow_for(round_trip: Duration, settings: &mut Settings) {
    const PERIOD_ROUND_TRIPS: u64 = 4;
    let period_ms = PERIOD_ROUND_TRIPS * round_trip.as_millis() as u64;
    settings.election_period_ms = settings.election_period_ms.max(period_ms);
    settings.lease_duration_ms = settings.lease_duration_ms.max(period_ms);
}

fn one_group(addresses: Vec<(Address, Address)>) -> Cluster {
    let ids: Vec<NodeId> = (1..=addresses.len() as u64).map(NodeId).collect();
    let nodes = ids.iter().zip(addresses);
    Cluster {
        name: "demo".to_owned(),
        nodes: nodes.map(|(id, pair)| node(*id, "local", pair)).collect(),
        groups: vec![group(DEFAULT_GROUP, ids)],
        prefixes: Vec::new(),
    }
}

fn with_regions(regions: &Regions, addresses: Vec<(Address, Address)>) -> Cluster {
    let each = regions.nodes_each as usize;
    let ids: Vec<NodeId> = (1..=addresses.len() as u64).map(NodeId).collect();
    let places = regions
        .names
        .iter()
        .flat_map(|name| std::iter::repeat_n(name, each));
    let nodes = ids.iter().zip(places).zip(addresses);
    let homes = regions.names.iter().zip(ids.chunks_exact(each));
    let mut groups = vec![root_of(&ids, each)];
    groups.extend(homes.map(|(name, members)| group(name, members.to_vec())));
    let prefix = |name: &String| PrefixEntry {
        prefix: format!("{name}:"),
        group: name.clone(),
    };
    Cluster {
        name: "demo".to_owned(),
        nodes: nodes
            .map(|((id, region), pair)| node(*id, region, pair))
            .collect(),
        groups,
        prefixes: regions.names.iter().map(prefix).collect(),
    }
}

/// The first node of each region, and one more where their number would be even: an even number
/// survives the loss of no more members than the odd one below it.
fn root_of(ids: &[NodeId], each: usize) -> GroupEntry {
    let mut members: Vec<NodeId> = ids.iter().copied().step_by(each).collect();
    if members.len().is_multiple_of(2) && each > 1 {
        members.insert(1, ids[1]);
    }
    GroupEntry {
        priority: vec![ids[0]],
        ..group(DEFAULT_GROUP, members)
    }
}

fn group(name: &str, nodes: Vec<NodeId>) -> GroupEntry {
    GroupEntry {
        name: name.to_owned(),
        nodes,
        priority: Vec::new(),
    }
}

fn node(id: NodeId, region: &str, (client, peer): (Address, Address)) -> NodeEntry {
    NodeEntry {
        id,
        region: region.to_owned(),
        client,
        cluster: None,
        peer,
        key: None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    fn addresses(count: u16) -> Vec<(Address, Address)> {
        let address = |port: u16| Address::from(SocketAddr::from(([127, 0, 0, 1], port)));
        let pairs = 0..count;
        pairs
            .map(|n| (address(7000 + n), address(8000 + n)))
            .collect()
    }

    fn regions(names: &[&str], nodes_each: u32) -> Regions {
        Regions {
            names: names.iter().map(ToString::to_string).collect(),
            nodes_each,
            round_trip: Duration::from_millis(80),
        }
    }

    fn members(cluster: &Cluster, group: &str) -> Vec<u64> {
        let nodes = &cluster.group(group).unwrap().nodes;
        nodes.iter().map(|node| node.0).collect()
    }

    #[test]
    fn each_region_owns_its_name_and_the_root_group_is_in_all_of_them() {
        let cluster = with_regions(&regions(&["eu", "us", "ap"], 3), addresses(9));
        assert_eq!(members(&cluster, "us"), [4, 5, 6]);
        assert_eq!(members(&cluster, "root"), [1, 4, 7]);
        assert_eq!(cluster.root().name, "root");
        assert_eq!(cluster.node(NodeId(6)).unwrap().region, "us");
        let prefixes = cluster.prefixes.iter();
        let prefixes: Vec<_> = prefixes
            .map(|entry| (&*entry.prefix, &*entry.group))
            .collect();
        assert_eq!(prefixes, [("eu:", "eu"), ("us:", "us"), ("ap:", "ap")]);
        assert_eq!(Cluster::parse(&cluster.to_toml()).unwrap(), cluster);
    }

    #[test]
    fn the_root_group_has_an_odd_number_of_members_where_it_can() {
        let roots = [
            (&["a", "b"][..], 3, &[1, 2, 4][..]),
            (&["a", "b"], 1, &[1, 2]),
        ];
        for (names, each, expected) in roots {
            let count = names.len() as u16 * each as u16;
            let cluster = with_regions(&regions(names, each), addresses(count));
            assert_eq!(members(&cluster, "root"), expected);
        }
    }

    #[test]
    fn a_region_sees_its_own_nodes_as_they_are_and_others_behind_the_relay() {
        let cluster = with_regions(&regions(&["eu", "us"], 2), addresses(4));
        let relay = relay(&cluster, Duration::ZERO).unwrap();
        let view = seen_from(&cluster, "us", &relay);
        let is_same = |id: u64| {
            let (node, seen) = (cluster.node(NodeId(id)), view.node(NodeId(id)));
            assert_eq!(node.unwrap().client, seen.unwrap().client);
            node.unwrap().peer == seen.unwrap().peer
        };
        assert_eq!([1, 2, 3, 4].map(is_same), [false, false, true, true]);
    }

    #[test]
    fn elections_take_longer_than_the_way() {
        for (round_trip_ms, period_ms) in [(10, 125), (80, 320), (500, 2000)] {
            let mut settings = Settings::default();
            allow_for(Duration::from_millis(round_trip_ms), &mut settings);
            assert_eq!(settings.election_period_ms, period_ms);
            assert!(settings.lease_duration_ms > round_trip_ms);
        }
    }
}
