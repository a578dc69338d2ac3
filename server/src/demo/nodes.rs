//! The nodes of a demo: starting and ending all of them.
//!
//! A demo that finds a cluster in its directory goes on with that one, at its ports, and fails if
//! one of them is taken. A new one chooses its ports. **Another process may take one of them before
//! the node listens there**; then what was started is ended, what it has written is removed, and
//! all is begun anew at other ports.

use std::error::Error;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use bailiwick_replication::NodeId;

use super::relay::Relay;
use super::{DemoError, layout, ports};
use crate::cluster::{Address, Cluster, NodeEntry};
use crate::config::{self, DemoShape, LogLevel, Regions};
use crate::logging::{self, Logging};
use crate::node::{Node, Shutdown};
use crate::run::Running;

/// How long a node waits for a group that it cannot reach. Whoever plays with the demo has less
/// patience than a program.
const REGIONS_REQUEST_TIMEOUT_MS: u64 = 4000;
/// So often ports are chosen. That one is taken just then is rare, and each time by itself.
const CHOICES: usize = 10;

/// The nodes of this process.
pub(super) struct Demo {
    /// Which there are.
    pub(super) cluster: Cluster,
    nodes: Vec<Member>,
    /// Between regions. It is there before the nodes, which look for each other, and after them.
    relay: Option<Relay>,
}

struct Member {
    id: NodeId,
    node: Arc<Node>,
    thread: thread::JoinHandle<()>,
}

impl Demo {
    /// Starts the cluster that lives in this directory, or a new one of this shape.
    ///
    /// # Errors
    /// It cannot be started; then nothing of it runs.
    pub(super) fn start(data: &Path, shape: &DemoShape) -> Result<Self, DemoError> {
        let mut logging = None;
        Self::start_at(data, shape, &mut logging, ports::free_pairs)
    }

    /// The same with ports that `choose` gives for so many nodes, each time it is asked.
    fn start_at(
        data: &Path,
        shape: &DemoShape,
        logging: &mut Option<Logging>,
        mut choose: impl FnMut(usize) -> io::Result<Vec<(Address, Address)>>,
    ) -> Result<Self, DemoError> {
        if let Some(cluster) = layout::cluster_in(data)? {
            return Self::start_nodes(&cluster, data, shape, logging);
        }
        let mut choices = 1;
        loop {
            let addresses = choose(layout::nodes_of(shape))?;
            let cluster = layout::settle(data, shape, addresses)?;
            match Self::start_nodes(&cluster, data, shape, logging) {
                Err(error) if choices < CHOICES && is_port_taken(&error) => {
                    tracing::warn!(%error, "the demo chooses other ports");
                    layout::clear(data, &cluster)?;
                    choices += 1;
                }
                outcome => return outcome,
            }
        }
    }

    fn start_nodes(
        cluster: &Cluster,
        data: &Path,
        shape: &DemoShape,
        logging: &mut Option<Logging>,
    ) -> Result<Self, DemoError> {
        let regions = match shape {
            DemoShape::Group(_) => None,
            DemoShape::Regions(regions) => Some(regions),
        };
        let relay = regions.map(|regions| layout::relay(cluster, regions.round_trip));
        let mut demo = Self {
            cluster: cluster.clone(),
            nodes: Vec::new(),
            relay: relay.transpose()?,
        };
        for entry in &cluster.nodes {
            match demo.start_node(entry, data, regions, logging) {
                Ok(member) => demo.nodes.push(member),
                Err(error) => {
                    demo.end();
                    return Err(error);
                }
            }
        }
        Ok(demo)
    }

    fn start_node(
        &self,
        entry: &NodeEntry,
        data: &Path,
        regions: Option<&Regions>,
        logging: &mut Option<Logging>,
    ) -> Result<Member, DemoError> {
        let directory = layout::directory_of(data, entry.id);
        let seen = match &self.relay {
            Some(relay) => &layout::seen_from(&self.cluster, &entry.region, relay),
            None => &self.cluster,
        };
        let store = config::Store::for_member(seen, entry.id, directory, |settings| {
            settings.log_level = LogLevel::Warn;
            settings.threads = 1;
            if let Some(regions) = regions {
                settings.request_timeout_ms = REGIONS_REQUEST_TIMEOUT_MS;
                layout::allow_for(regions.round_trip, settings);
            }
        })?;
        let logging = match logging {
            Some(logging) => logging,
            None => logging.insert(logging::start(&store.load())?),
        };
        let running = Running::start(store, logging.clone()).map_err(|source| {
            let (node, source) = (entry.id, Box::new(source));
            DemoError::Start { node, source }
        })?;
        Ok(Member {
            id: entry.id,
            node: running.node.clone(),
            thread: thread::spawn(move || running.wait()),
        })
    }

    /// The nodes that have not ended.
    pub(super) fn running(&self) -> Vec<&Arc<Node>> {
        let up = self
            .nodes
            .iter()
            .filter(|member| !member.thread.is_finished());
        up.map(|member| &member.node).collect()
    }

    /// Ends them all.
    pub(super) fn end(self) {
        for member in &self.nodes {
            member.node.order_shutdown(Shutdown::NoSave);
        }
        for member in self.nodes {
            if member.thread.join().is_err() {
                eprintln!("node {} did not end in order", member.id);
            }
        }
    }
}

/// Whether a node could not start because somebody else listens at one of its addresses.
fn is_port_taken(error: &DemoError) -> bool {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        let error_of_system = error.downcast_ref::<io::Error>();
        if error_of_system.is_some_and(|error| error.kind() == io::ErrorKind::AddrInUse) {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener, TcpStream};
    use std::path::PathBuf;

    use super::*;
    use crate::config::Settings;

    const NODES: usize = 3;

    const SHAPE: DemoShape = DemoShape::Group(NODES as u32);

    /// A listener of somebody else, at one of these addresses: a node's, for clients or its peers.
    fn take(pairs: &mut [(Address, Address)], node: usize, from_clients: bool) -> TcpListener {
        let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let pair = &mut pairs[node];
        let taken = match from_clients {
            true => &mut pair.0,
            false => &mut pair.1,
        };
        *taken = other.local_addr().unwrap().into();
        other
    }

    fn quiet() -> (Option<Logging>, impl Drop) {
        let (logging, guard) = Logging::scoped(&Settings::default(), io::sink);
        (Some(logging), guard)
    }

    fn directories(data: &Path) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(data).unwrap();
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths
    }

    #[test]
    fn a_port_that_somebody_takes_in_between_is_exchanged_for_another_one() {
        let data = tempfile::tempdir().unwrap();
        let (mut logging, _guard) = quiet();
        let (mut choices, mut held) = (0, Vec::new());
        let choose = |nodes| {
            let mut pairs = ports::free_pairs(nodes)?;
            if choices < 2 {
                held.push(take(&mut pairs, 1 + choices, choices == 0));
            }
            choices += 1;
            Ok(pairs)
        };
        let demo = Demo::start_at(data.path(), &SHAPE, &mut logging, choose).unwrap();
        assert!(choices > 2, "the first two had a port of somebody else's");
        assert_eq!(demo.running().len(), NODES);
        for node in &demo.cluster.nodes {
            for address in [&node.client, &node.peer] {
                TcpStream::connect(address.resolve().unwrap()[0]).unwrap();
            }
        }
        let cluster = layout::cluster_in(data.path()).unwrap();
        assert_eq!(cluster.as_ref(), Some(&demo.cluster));
        demo.end();
        assert_eq!(directories(data.path()).len(), 1 + NODES);
    }

    #[test]
    fn a_demo_that_goes_on_keeps_its_ports_although_it_fails() {
        let data = tempfile::tempdir().unwrap();
        let (mut logging, _guard) = quiet();
        let mut pairs = ports::free_pairs(NODES).unwrap();
        let _other = take(&mut pairs, 1, false);
        let cluster = layout::settle(data.path(), &SHAPE, pairs).unwrap();
        let choose = |_| panic!("it has ports");
        let outcome = Demo::start_at(data.path(), &SHAPE, &mut logging, choose);
        assert!(is_port_taken(&outcome.err().unwrap()));
        let kept = layout::cluster_in(data.path()).unwrap();
        assert_eq!(kept, Some(cluster));
        assert!(directories(data.path()).len() > 1);
    }

    #[test]
    fn a_directory_with_a_node_of_an_unknown_cluster_is_left_alone() {
        let data = tempfile::tempdir().unwrap();
        let kept = data.path().join("node-1").join("kept");
        std::fs::create_dir_all(&kept).unwrap();
        let pairs = ports::free_pairs(layout::nodes_of(&SHAPE)).unwrap();
        let error = layout::settle(data.path(), &SHAPE, pairs).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert!(kept.exists());
        assert!(layout::cluster_in(data.path()).unwrap().is_none());
    }
}
