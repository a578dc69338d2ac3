//! Where the nodes of a cluster listen, and the files that tell them so.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use anyhow::{Result, bail};

use crate::relay::Relay;

/// One node's view of the cluster.
pub(super) fn cluster_file(
    node: u32,
    clients: &BTreeMap<u32, SocketAddr>,
    peers: &BTreeMap<u32, SocketAddr>,
    relay: Option<&Relay>,
) -> String {
    let mut text = "cluster = \"test\"\n".to_owned();
    for (id, client) in clients {
        let peer = match relay {
            Some(relay) if *id != node => relay.address(node, *id),
            _ => peers[id],
        };
        let _ = write!(
            text,
            "\n[[node]]\nid = {id}\nregion = \"here\"\nclient = \"{client}\"\npeer = \"{peer}\"\n"
        );
    }
    text
}

/// An address that nobody listens at, and that the kernel gives to nobody by itself.
pub(super) fn free_address(taken: &mut Vec<u16>) -> Result<SocketAddr> {
    const FIRST: u16 = 10_000;
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let first_given: u16 = range
        .split_whitespace()
        .next()
        .and_then(|first| first.parse().ok())
        .unwrap_or(u16::MAX);
    for _ in 0..1000 {
        // A machine may give out all its ports; then chance has to do.
        let port = fastrand::u16(FIRST..first_given.max(FIRST + 10_000));
        if taken.contains(&port) {
            continue;
        }
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            taken.push(port);
            return Ok(address);
        }
    }
    bail!("there is no free port")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nodes_file_has_its_own_address_and_the_relays_for_the_others() {
        let address = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let clients = BTreeMap::from([(1, address(11)), (2, address(12))]);
        let peers = BTreeMap::from([(1, address(21)), (2, address(22))]);
        let plain = cluster_file(1, &clients, &peers, None);
        assert!(plain.contains("peer = \"127.0.0.1:22\""), "{plain}");
        let relay = Relay::start(&peers).unwrap();
        let relayed = cluster_file(1, &clients, &peers, Some(&relay));
        let through = format!("peer = \"{}\"", relay.address(1, 2));
        assert!(relayed.contains("peer = \"127.0.0.1:21\""), "{relayed}");
        assert!(relayed.contains(&through), "{relayed}");
        assert!(!relayed.contains("127.0.0.1:22"), "{relayed}");
    }

    #[test]
    fn ports_are_free_and_different() {
        let mut taken = Vec::new();
        for _ in 0..20 {
            free_address(&mut taken).unwrap();
        }
        taken.sort_unstable();
        taken.dedup();
        assert_eq!(taken.len(), 20);
    }
}
