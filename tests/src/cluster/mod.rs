//! Clusters under test: several nodes as processes, and the network between them.
//!
//! Owns the nodes' directories, their `cluster.toml` files and, if wanted, the [`Relay`] through
//! which they reach each other: then each node's file names the relay's ports as its peers'
//! addresses, and its own real one. A node is killed, stopped and started again under the same
//! addresses and on the same data; nothing outlives the cluster.
//!
//! A node that is started again needs its ports back, so they are taken from below the range from
//! which the kernel gives ports to whoever connects: nobody gets them by chance meanwhile. Should
//! one be taken all the same at the first start, others are chosen.
//!
//! How it fails: a node that does not start, or a state that is not reached within the deadline, is
//! an error with the end of that node's output.

mod layout;
mod watch;

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::client::Client;
use crate::disk::Disk;
use crate::relay::Relay;
use crate::server::{DEADLINE, Directory, Launch, POLL, Server, directory};
use layout::Layout;

pub use watch::field;

/// How often ports are chosen anew.
const ATTEMPTS: u32 = 8;

/// Bytes of a disk that can be filled; a node keeps this much free by default, twice over.
const SMALL_DISK_MB: u32 = 256;

/// What kind of cluster.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many nodes; their ids count from 1.
    pub nodes: u32,
    /// Whether they reach each other through a relay.
    pub relayed: bool,
    /// More arguments for each node.
    pub arguments: Vec<String>,
    /// Nodes whose data is on disks that can be filled, if this process may mount them.
    pub on_small_disk: Vec<u32>,
    /// Bytes of such a disk, in units of 2^20.
    pub disk_mb: u32,
    /// The nodes that form the root group at first; all of them if it is empty.
    pub group: Vec<u32>,
    /// The regions of the nodes. If there are any, only nodes of different regions have the relay
    /// between them.
    pub regions: BTreeMap<u32, String>,
    /// More text for the cluster's file: groups beside the root group, and prefixes.
    pub tables: String,
    /// Whether nodes have a second port, for clients that follow redirects.
    pub redirects: bool,
    /// Whether only a flag gives it, and not the cluster's file.
    pub redirects_by_flag: bool,
}

impl Options {
    /// So many nodes with a relay between them, and the default settings.
    #[must_use]
    pub fn relayed(nodes: u32) -> Self {
        Self {
            nodes,
            relayed: true,
            arguments: Vec::new(),
            on_small_disk: Vec::new(),
            disk_mb: SMALL_DISK_MB,
            group: Vec::new(),
            regions: BTreeMap::new(),
            tables: String::new(),
            redirects: false,
            redirects_by_flag: false,
        }
    }

    /// So many nodes that reach each other without a relay, and the default settings.
    #[must_use]
    pub fn direct(nodes: u32) -> Self {
        Self {
            relayed: false,
            ..Self::relayed(nodes)
        }
    }

    /// With an argument for each node.
    #[must_use]
    pub fn with(mut self, flag: &str, value: &str) -> Self {
        self.arguments.extend([flag.to_owned(), value.to_owned()]);
        self
    }

    fn is_in_group(&self, node: u32) -> bool {
        self.group.is_empty() || self.group.contains(&node)
    }
}

/// A running cluster.
pub struct Cluster {
    /// Ended before the relay and the disk are.
    members: BTreeMap<u32, Member>,
    relay: Option<Relay>,
    disks: BTreeMap<u32, Disk>,
    _directory: Directory,
}

struct Member {
    launch: Launch,
    address: SocketAddr,
    redirecting: Option<SocketAddr>,
    /// None while it is killed.
    server: Option<Server>,
    is_stopped: bool,
    is_in_group: bool,
}

impl Cluster {
    /// Starts all nodes and waits until they agree on a leader.
    ///
    /// # Errors
    /// A node does not start, or there is no leader.
    pub fn start(options: &Options) -> Result<Self> {
        for _ in 1..ATTEMPTS {
            match Self::attempt(options) {
                Err(error) if format!("{error:#}").contains("in use") => {}
                other => return other,
            }
        }
        Self::attempt(options)
    }

    fn attempt(options: &Options) -> Result<Self> {
        let mut cluster = Self::prepare(options)?;
        for member in cluster.members.values_mut() {
            member.server = Some(member.launch.spawn()?);
        }
        for (node, member) in &mut cluster.members {
            let server = member.server.as_mut().context("it was just started")?;
            let started = if member.is_in_group {
                server.wait_until_ready()
            } else {
                server.wait_until_listening()
            };
            started.with_context(|| format!("node {node} does not start"))?;
        }
        cluster.wait_for_leader()?;
        Ok(cluster)
    }

    fn prepare(options: &Options) -> Result<Self> {
        let nodes = 1..=options.nodes;
        let holder = directory()?;
        let layout = Layout::choose(options)?;
        let relay = options
            .relayed
            .then(|| Relay::start(&layout.peers))
            .transpose()?;
        let mut disks = BTreeMap::new();
        let mut members = BTreeMap::new();
        for node in nodes {
            let own = directory()?;
            let file = own.path().join("cluster.toml");
            fs::write(&file, layout.file(node, options, relay.as_ref()))?;
            let address = layout.clients[&node];
            let mut launch = Launch::member_in(&own, &file, node, address).args(&options.arguments);
            if let Some(redirecting) = layout.redirecting.get(&node)
                && options.redirects_by_flag
            {
                let port = redirecting.port().to_string();
                launch = launch.args(["--cluster-port", &port]);
            }
            if options.on_small_disk.contains(&node) {
                let mount = holder.path().join(format!("disk-{node}"));
                fs::create_dir(&mount)?;
                if let Some(disk) = Disk::mount(&mount, options.disk_mb)? {
                    launch = launch.through(disk.through()).data(&mount.join("data"));
                    disks.insert(node, disk);
                }
            }
            let member = Member {
                launch,
                address,
                redirecting: layout.redirecting.get(&node).copied(),
                server: None,
                is_stopped: false,
                is_in_group: options.is_in_group(node),
            };
            members.insert(node, member);
        }
        Ok(Self {
            members,
            relay,
            disks,
            _directory: holder,
        })
    }

    /// The ids of all nodes.
    pub fn nodes(&self) -> impl Iterator<Item = u32> + use<> {
        let nodes: Vec<u32> = self.members.keys().copied().collect();
        nodes.into_iter()
    }

    /// The nodes that are in the group, as far as the test has it so.
    pub fn group(&self) -> impl Iterator<Item = u32> + use<> {
        let members = self.members.iter();
        let group = members.filter(|(_, member)| member.is_in_group);
        let group: Vec<u32> = group.map(|(node, _)| *node).collect();
        group.into_iter()
    }

    /// Notes that a node is in the group from now on, or is not.
    ///
    /// # Panics
    /// If there is no such node.
    pub fn set_in_group(&mut self, node: u32, is_in_group: bool) {
        self.member_mut(node).is_in_group = is_in_group;
    }

    /// The network between the nodes.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn relay(&self) -> &Relay {
        self.relay.as_ref().expect("the cluster has a relay")
    }

    /// A node's disk, if it can be filled.
    #[must_use]
    pub fn disk(&self, node: u32) -> Option<&Disk> {
        self.disks.get(&node)
    }

    /// Where a node listens for clients.
    ///
    /// # Panics
    /// If there is no such node.
    #[must_use]
    pub fn address(&self, node: u32) -> SocketAddr {
        self.member(node).address
    }

    /// Where a node listens for clients that follow redirects.
    ///
    /// # Panics
    /// If there is no such node, or it has no such port.
    #[must_use]
    pub fn redirecting_address(&self, node: u32) -> SocketAddr {
        let address = self.member(node).redirecting;
        address.expect("the cluster was started with such ports")
    }

    /// A new connection to a node.
    ///
    /// # Errors
    /// It does not listen.
    pub fn connect(&self, node: u32) -> Result<Client> {
        Client::connect(&crate::client::Address::Tcp(self.address(node)))
    }

    /// All that a node has written in all its lives.
    #[must_use]
    pub fn output(&self, node: u32) -> String {
        let server = self.member(node).server.as_ref();
        server.map(Server::output).unwrap_or_default()
    }

    /// Ends a node at once.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub fn kill(&mut self, node: u32) -> Result<()> {
        let member = self.member_mut(node);
        member.is_stopped = false;
        match member.server.take() {
            Some(mut server) => server.kill(),
            None => Ok(()),
        }
    }

    /// Tells a node to stop, waits for its end and returns its exit code, -1 if a signal ended it.
    ///
    /// # Errors
    /// It is not running, or does not end.
    pub fn terminate(&mut self, node: u32) -> Result<i32> {
        self.signal(node, libc::SIGTERM)?;
        let server = self.member_mut(node).server.take();
        let mut server = server.with_context(|| format!("node {node} is not running"))?;
        server.wait_for_end()
    }

    /// Removes the data directory of a node that is not running.
    ///
    /// # Errors
    /// It is running, or the file system refuses.
    pub fn wipe(&mut self, node: u32) -> Result<()> {
        let member = self.member(node);
        ensure!(member.server.is_none(), "node {node} is running");
        let data = member.launch.data_path();
        let disk = self.disk(node);
        let data = disk.map_or(data.to_owned(), |disk| disk.seen_from_here(data));
        fs::remove_dir_all(&data).with_context(|| format!("cannot remove {}", data.display()))
    }

    /// How a node is started.
    ///
    /// # Panics
    /// If there is no such node.
    #[must_use]
    pub fn launch(&self, node: u32) -> &Launch {
        &self.member(node).launch
    }

    /// Starts a node that was killed, on its data; it is ready when this returns.
    ///
    /// # Errors
    /// It does not start.
    pub fn restart(&mut self, node: u32) -> Result<()> {
        self.spawn(node)?;
        self.wait_until_ready(node)
    }

    /// Waits until a node takes commands.
    ///
    /// # Errors
    /// It is not running, ends, or loads for ever.
    pub fn wait_until_ready(&mut self, node: u32) -> Result<()> {
        let server = self.member_mut(node).server.as_mut();
        let server = server.with_context(|| format!("node {node} is not running"))?;
        let ready = server.wait_until_ready();
        ready.with_context(|| format!("node {node} does not become ready"))
    }

    /// Waits until a node has written this to its log, in any of its lives.
    ///
    /// # Errors
    /// It does not.
    pub fn wait_for_output(&self, node: u32, text: &str) -> Result<()> {
        let start = Instant::now();
        while !self.output(node).contains(text) {
            ensure!(
                start.elapsed() < DEADLINE,
                "node {node} does not write {text:?}: {}",
                self.states()
            );
            thread::sleep(POLL);
        }
        Ok(())
    }

    /// Starts a node that was killed, and waits for nothing.
    ///
    /// # Errors
    /// The program cannot be started.
    pub fn spawn(&mut self, node: u32) -> Result<()> {
        let member = self.member_mut(node);
        ensure!(member.server.is_none(), "node {node} is running");
        member.server = Some(member.launch.spawn()?);
        Ok(())
    }

    /// Freezes a node.
    ///
    /// # Errors
    /// It is gone.
    pub fn stop(&mut self, node: u32) -> Result<()> {
        self.running(node)?.stop()?;
        self.member_mut(node).is_stopped = true;
        Ok(())
    }

    /// Lets a frozen node go on.
    ///
    /// # Errors
    /// It is gone.
    pub fn cont(&mut self, node: u32) -> Result<()> {
        self.signal(node, libc::SIGCONT)?;
        self.member_mut(node).is_stopped = false;
        Ok(())
    }

    /// Sends a node a signal.
    ///
    /// # Errors
    /// It is gone.
    pub fn signal(&self, node: u32, signal: i32) -> Result<()> {
        self.running(node)?.signal(signal)
    }

    /// Undoes all that was done to nodes and network: nobody is killed, frozen or cut off.
    ///
    /// # Errors
    /// A node does not start.
    pub fn heal(&mut self) -> Result<()> {
        if let Some(relay) = &self.relay {
            relay.heal();
        }
        for node in self.nodes() {
            if self.member(node).is_stopped {
                self.cont(node)?;
            }
            if self.member(node).server.is_none() {
                self.spawn(node)?;
            }
        }
        for (node, member) in &mut self.members {
            let server = member.server.as_mut().context("all were started")?;
            if !member.is_in_group {
                continue;
            }
            let ready = server.wait_until_ready();
            ready.with_context(|| format!("node {node} does not start again"))?;
        }
        Ok(())
    }

    fn running(&self, node: u32) -> Result<&Server> {
        let server = self.member(node).server.as_ref();
        server.with_context(|| format!("node {node} is not running"))
    }

    fn is_running(&self, node: u32) -> bool {
        let member = self.member(node);
        member.server.is_some() && !member.is_stopped
    }

    fn member(&self, node: u32) -> &Member {
        &self.members[&node]
    }

    fn member_mut(&mut self, node: u32) -> &mut Member {
        self.members.get_mut(&node).expect("there is such a node")
    }
}
