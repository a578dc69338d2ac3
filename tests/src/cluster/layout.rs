//! Where the nodes of a cluster listen, and the files that tell them so.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Mutex, PoisonError};

use anyhow::{Result, bail};

use super::Options;
use crate::relay::Relay;

/// Where nodes of no region in particular are.
const ANYWHERE: &str = "here";

/// The addresses of all nodes.
pub(super) struct Layout {
    /// For clients.
    pub(super) clients: BTreeMap<u32, SocketAddr>,
    /// For other nodes.
    pub(super) peers: BTreeMap<u32, SocketAddr>,
    /// For clients that follow redirects; empty if nodes have no such port.
    pub(super) redirecting: BTreeMap<u32, SocketAddr>,
}

impl Layout {
    /// Addresses that nobody else has.
    pub(super) fn choose(options: &Options) -> Result<Self> {
        let mut layout = Self {
            clients: BTreeMap::new(),
            peers: BTreeMap::new(),
            redirecting: BTreeMap::new(),
        };
        for node in 1..=options.nodes {
            layout.clients.insert(node, free_address()?);
            layout.peers.insert(node, free_address()?);
            if options.redirects {
                layout.redirecting.insert(node, free_address()?);
            }
        }
        Ok(layout)
    }

    /// One node's view of the cluster: it finds others through the relay, if there is one, but
    /// nodes of its own region directly.
    pub(super) fn file(&self, node: u32, options: &Options, relay: Option<&Relay>) -> String {
        let region = |node: &u32| options.regions.get(node).map_or(ANYWHERE, String::as_str);
        let is_near =
            |id: &u32| *id == node || !options.regions.is_empty() && region(id) == region(&node);
        let mut text = "cluster = \"test\"\n".to_owned();
        for (id, client) in &self.clients {
            let peer = match relay {
                Some(relay) if !is_near(id) => relay.address(node, *id),
                _ => self.peers[id],
            };
            let region = region(id);
            let _ = write!(
                text,
                "\n[[node]]\nid = {id}\nregion = \"{region}\"\nclient = \"{client}\"\n\
                 peer = \"{peer}\"\n"
            );
            if let Some(address) = self.redirecting.get(id)
                && !options.redirects_by_flag
            {
                let _ = writeln!(text, "cluster = \"{address}\"");
            }
        }
        if !options.group.is_empty() {
            let _ = write!(
                text,
                "\n[[group]]\nname = \"root\"\nnodes = {:?}\n",
                options.group
            );
        }
        text.push_str(&options.tables);
        text
    }
}

/// Ports that tests of this process have been given, whether they listen there already or not.
static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// An address that nobody listens at, that the kernel gives to nobody by itself, and that no other
/// test of this process has been given.
pub(super) fn free_address() -> Result<SocketAddr> {
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
        let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
        if given.contains(&port) {
            continue;
        }
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            given.insert(port);
            return Ok(address);
        }
    }
    bail!("there is no free port")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout() -> Layout {
        let address = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Layout {
            clients: BTreeMap::from([(1, address(11)), (2, address(12)), (3, address(13))]),
            peers: BTreeMap::from([(1, address(21)), (2, address(22)), (3, address(23))]),
            redirecting: BTreeMap::new(),
        }
    }

    #[test]
    fn a_nodes_file_has_its_own_address_and_the_relays_for_the_others() {
        let (layout, options) = (layout(), Options::relayed(3));
        let plain = layout.file(1, &options, None);
        assert!(plain.contains("peer = \"127.0.0.1:22\""), "{plain}");
        let relay = Relay::start(&layout.peers).unwrap();
        let relayed = layout.file(1, &options, Some(&relay));
        let through = format!("peer = \"{}\"", relay.address(1, 2));
        assert!(relayed.contains("peer = \"127.0.0.1:21\""), "{relayed}");
        assert!(relayed.contains(&through), "{relayed}");
        assert!(!relayed.contains("127.0.0.1:22"), "{relayed}");
    }

    #[test]
    fn nodes_of_a_region_find_each_other_without_the_relay() {
        let mut options = Options::relayed(3);
        let regions = [(1, "eu"), (2, "eu"), (3, "us")];
        options.regions = regions
            .map(|(node, region)| (node, region.to_owned()))
            .into();
        options.tables = "\n[[prefix]]\nprefix = \"eu:\"\ngroup = \"root\"\n".to_owned();
        let mut layout = layout();
        layout.redirecting = layout.peers.clone();
        let relay = Relay::start(&layout.peers).unwrap();
        let file = layout.file(1, &options, Some(&relay));
        assert!(
            file.contains("peer = \"127.0.0.1:22\"\ncluster = \"127.0.0.1:22\""),
            "{file}"
        );
        assert!(
            file.contains(&format!("peer = \"{}\"", relay.address(1, 3))),
            "{file}"
        );
        assert!(file.contains("region = \"us\""), "{file}");
        assert!(file.ends_with(&options.tables), "{file}");
    }

    #[test]
    fn ports_are_free_and_different() {
        let addresses = (0..20).map(|_| free_address().unwrap());
        let different: BTreeSet<SocketAddr> = addresses.collect();
        assert_eq!(different.len(), 20);
    }
}
