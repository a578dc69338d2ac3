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

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::client::{Client, Value};
use crate::disk::Disk;
use crate::relay::Relay;
use crate::server::{DEADLINE, Directory, Launch, POLL, Server, directory};

/// How long a node may take to say who leads; one that is stuck is asked again.
const ASK: Duration = Duration::from_secs(2);

/// How often ports are chosen anew.
const ATTEMPTS: u32 = 8;

/// Bytes of the disk that can be filled; a node keeps this much free by default, twice over.
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
    /// A node whose data is on a disk that can be filled, if this process may mount one.
    pub on_small_disk: Option<u32>,
}

impl Options {
    /// So many nodes with a relay between them, and the default settings.
    #[must_use]
    pub fn relayed(nodes: u32) -> Self {
        Self {
            nodes,
            relayed: true,
            arguments: Vec::new(),
            on_small_disk: None,
        }
    }
}

/// A running cluster.
pub struct Cluster {
    /// Ended before the relay and the disk are.
    members: BTreeMap<u32, Member>,
    relay: Option<Relay>,
    disk: Option<Disk>,
    _directory: Directory,
}

struct Member {
    launch: Launch,
    address: SocketAddr,
    /// None while it is killed.
    server: Option<Server>,
    is_stopped: bool,
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
            let ready = server.wait_until_ready();
            ready.with_context(|| format!("node {node} does not start"))?;
        }
        cluster.wait_for_leader()?;
        Ok(cluster)
    }

    fn prepare(options: &Options) -> Result<Self> {
        let nodes = 1..=options.nodes;
        let holder = directory()?;
        let mut taken = Vec::new();
        let mut clients = BTreeMap::new();
        let mut peers = BTreeMap::new();
        for node in nodes.clone() {
            clients.insert(node, free_address(&mut taken)?);
            peers.insert(node, free_address(&mut taken)?);
        }
        let relay = options.relayed.then(|| Relay::start(&peers)).transpose()?;
        let mut disk = None;
        let mut members = BTreeMap::new();
        for node in nodes {
            let own = directory()?;
            let file = own.path().join("cluster.toml");
            fs::write(&file, cluster_file(node, &clients, &peers, relay.as_ref()))?;
            let address = clients[&node];
            let mut launch = Launch::member_in(&own, &file, node, address).args(&options.arguments);
            if options.on_small_disk == Some(node) {
                disk = small_disk(holder.path())?;
            }
            if let (true, Some(disk)) = (options.on_small_disk == Some(node), &disk) {
                launch = launch
                    .through(disk.through())
                    .data(&holder.path().join("disk/data"));
            }
            let member = Member {
                launch,
                address,
                server: None,
                is_stopped: false,
            };
            members.insert(node, member);
        }
        Ok(Self {
            members,
            relay,
            disk,
            _directory: holder,
        })
    }

    /// The ids of all nodes.
    pub fn nodes(&self) -> impl Iterator<Item = u32> + use<> {
        let nodes: Vec<u32> = self.members.keys().copied().collect();
        nodes.into_iter()
    }

    /// The network between the nodes.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn relay(&self) -> &Relay {
        self.relay.as_ref().expect("the cluster has a relay")
    }

    /// The disk that can be filled, if there is one.
    #[must_use]
    pub fn disk(&self) -> Option<&Disk> {
        self.disk.as_ref()
    }

    /// Where a node listens for clients.
    ///
    /// # Panics
    /// If there is no such node.
    #[must_use]
    pub fn address(&self, node: u32) -> SocketAddr {
        self.member(node).address
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

    /// Starts a node that was killed, on its data; it is ready when this returns.
    ///
    /// # Errors
    /// It does not start.
    pub fn restart(&mut self, node: u32) -> Result<()> {
        self.spawn(node)?;
        let server = self.member_mut(node).server.as_mut();
        let ready = server.context("it was just started")?.wait_until_ready();
        ready.with_context(|| format!("node {node} does not start again"))
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
        self.signal(node, libc::SIGSTOP)?;
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
        let server = self.member(node).server.as_ref();
        let server = server.with_context(|| format!("node {node} is not running"))?;
        server.signal(signal)
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
            let ready = server.wait_until_ready();
            ready.with_context(|| format!("node {node} does not start again"))?;
        }
        Ok(())
    }

    /// The node that a majority of all nodes name as their leader; none if there is no such.
    #[must_use]
    pub fn leader(&self) -> Option<u32> {
        let mut votes = BTreeMap::<u32, usize>::new();
        for node in self.nodes().filter(|node| self.is_running(*node)) {
            if let Some(leader) = self.group_info(node, "leader") {
                *votes.entry(leader).or_default() += 1;
            }
        }
        let majority = self.members.len() / 2 + 1;
        let (leader, _) = votes.into_iter().find(|(_, count)| *count >= majority)?;
        self.is_running(leader).then_some(leader)
    }

    /// Waits until a majority names a leader that runs.
    ///
    /// # Errors
    /// It does not.
    pub fn wait_for_leader(&self) -> Result<u32> {
        let start = Instant::now();
        loop {
            if let Some(leader) = self.leader() {
                return Ok(leader);
            }
            ensure!(
                start.elapsed() < DEADLINE,
                "there is no leader: {}",
                self.states()
            );
            thread::sleep(POLL);
        }
    }

    /// Waits until all nodes have applied the same entries, and compares what they then hold.
    /// Nobody may write meanwhile.
    ///
    /// # Errors
    /// They do not get there, or hold different data.
    pub fn wait_for_agreement(&self) -> Result<()> {
        let start = Instant::now();
        loop {
            let before = self.applied();
            if is_one_value(&before) {
                let digests = self.digests()?;
                // The leader writes entries of its own now and then.
                if self.applied() == before {
                    ensure!(
                        is_one_value(&digests),
                        "nodes hold different data: {digests:?}"
                    );
                    return Ok(());
                }
            }
            ensure!(
                start.elapsed() < DEADLINE,
                "nodes do not catch up: {}",
                self.states()
            );
            thread::sleep(POLL);
        }
    }

    fn applied(&self) -> Vec<Option<u64>> {
        let applied = |node| self.group_info(node, "applied");
        self.nodes().map(applied).collect()
    }

    fn digests(&self) -> Result<Vec<Option<String>>> {
        let digest = |node| {
            let reply = self.connect(node)?.run("DEBUG DIGEST")?;
            match &reply {
                Value::Error(text) => bail!("node {node}: DEBUG DIGEST: {text}"),
                reply => Ok(Some(reply.text())),
            }
        };
        self.nodes().map(digest).collect()
    }

    /// A number in what a node says about its group; none if it does not say.
    #[must_use]
    pub fn group_info<N: std::str::FromStr>(&self, node: u32, name: &str) -> Option<N> {
        let info = self.ask_group_info(node).ok()?;
        field(&info, name)?.parse().ok()
    }

    fn ask_group_info(&self, node: u32) -> Result<String> {
        ensure!(self.is_running(node), "it does not run");
        let mut client = self.connect(node)?;
        client.set_timeout(ASK)?;
        match client.run("GROUP INFO")? {
            // INTERIM
            Value::Error(text) if text.contains("unknown command") => {
                let info = client.run("INFO replication")?.text();
                let applied = field(&info, "master_repl_offset").unwrap_or("0").to_owned();
                let best = self
                    .nodes()
                    .filter_map(|n| {
                        let out = self.output(n);
                        let line = out
                            .lines()
                            .rev()
                            .find(|l| l.contains("this node leads the group"))?
                            .to_owned();
                        let (_, b) = line.rsplit_once("ballot=")?;
                        Some((b.split_whitespace().next()?.parse::<u64>().ok()?, n))
                    })
                    .max();
                Ok(format!(
                    "leader:{}\napplied:{applied}\n",
                    best.map_or(0, |(_, n)| n)
                ))
            }
            Value::Error(text) => bail!(text),
            reply => Ok(reply.text()),
        }
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

    fn states(&self) -> String {
        let mut text = String::new();
        for node in self.nodes() {
            let info = self.ask_group_info(node);
            let info = info.unwrap_or_else(|error| format!("{error:#}"));
            let output = self.output(node);
            let lines: Vec<&str> = output.lines().rev().take(20).collect();
            let lines: Vec<&str> = lines.into_iter().rev().collect();
            let _ = write!(text, "\nnode {node}: {info}\n{}", lines.join("\n"));
        }
        text
    }
}

/// The value in a line `name:value`.
#[must_use]
pub fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        (found == name).then_some(value.trim())
    })
}

fn is_one_value<T: PartialEq>(values: &[Option<T>]) -> bool {
    values
        .iter()
        .all(|value| value.is_some() && *value == values[0])
}

fn small_disk(directory: &Path) -> Result<Option<Disk>> {
    let mount = directory.join("disk");
    fs::create_dir(&mount)?;
    Disk::mount(&mount, SMALL_DISK_MB)
}

/// One node's view of the cluster.
fn cluster_file(
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
fn free_address(taken: &mut Vec<u16>) -> Result<SocketAddr> {
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
    fn a_field_is_found_by_its_whole_name() {
        let info = "group:root\r\nleader_hint:3\r\nleader:2\r\n";
        assert_eq!(field(info, "leader"), Some("2"));
        assert_eq!(field(info, "applied"), None);
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
