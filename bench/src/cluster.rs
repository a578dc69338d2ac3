//! Bailiwick nodes that form a cluster on this machine: three in one group, or as a [`Plan`] has
//! it.
//!
//! Owns their processes, addresses and the directory that holds the cluster file and each node's
//! data. A node can be killed and started again on its old data. All of it goes when `Cluster` is
//! dropped.
//!
//! How it fails: nodes that do not agree on a leader in time, or end, give an error with the end
//! of what they wrote.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use crate::admin::{Admin, info_field, pair_value};
use crate::cpu::ProcessClock;
use crate::interrupt;
use crate::node_program::NodeProgram;
use crate::process::{PortTaken, Process, free_addresses};

/// Nodes that have no leader by then will not get one.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
const READY_POLL: Duration = Duration::from_millis(20);
/// A leader that has led for so long is taken for settled.
const SETTLED: Duration = Duration::from_secs(1);
const START_ATTEMPTS: u32 = 3;

/// A node by its place in the cluster, from 0. Its id in the cluster file is one more.
pub(crate) type Place = usize;

/// Which nodes there are, and which keys belong to whom.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// How many nodes.
    pub(crate) nodes: usize,
    /// Groups by name with their members, the root group first; if there are none, all nodes form
    /// it.
    pub(crate) groups: Vec<(&'static str, Vec<Place>)>,
    /// Prefixes with their groups.
    pub(crate) prefixes: Vec<(&'static str, &'static str)>,
}

impl Plan {
    /// Three nodes in one group.
    fn one_group() -> Self {
        Self {
            nodes: 3,
            groups: Vec::new(),
            prefixes: Vec::new(),
        }
    }

    /// The text of the cluster's file.
    fn file(&self, clients: &[SocketAddr], peers: &[SocketAddr]) -> String {
        let mut text = String::from("cluster = \"bench\"\n");
        for (index, (client, peer)) in clients.iter().zip(peers).enumerate() {
            let id = index + 1;
            let _ = write!(
                text,
                "\n[[node]]\nid = {id}\nregion = \"local\"\nclient = \"{client}\"\npeer = \"{peer}\"\n"
            );
        }
        for (name, members) in &self.groups {
            let ids: Vec<usize> = members.iter().map(|place| place + 1).collect();
            let _ = write!(text, "\n[[group]]\nname = \"{name}\"\nnodes = {ids:?}\n");
        }
        for (prefix, group) in &self.prefixes {
            let _ = write!(
                text,
                "\n[[prefix]]\nprefix = \"{prefix}\"\ngroup = \"{group}\"\n"
            );
        }
        text
    }
}

/// A running cluster.
pub(crate) struct Cluster {
    plan: Plan,
    program: NodeProgram,
    arguments: Vec<String>,
    // Before the directory, so that the processes are gone when it is removed.
    nodes: Vec<Node>,
    dir: TempDir,
}

struct Node {
    client: SocketAddr,
    /// None while it is down.
    process: Option<Process>,
}

/// What a node says of the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct View {
    /// None while the node knows of none.
    pub(crate) leader: Option<Place>,
    /// The last log index that the node has executed.
    pub(crate) applied: u64,
}

impl Cluster {
    /// Starts three nodes with empty data directories on a disk and waits for their leader.
    ///
    /// # Errors
    /// See the module.
    pub(crate) fn start(program: &NodeProgram, arguments: &[&str]) -> Result<Self> {
        Self::start_as(&Plan::one_group(), program, arguments)
    }

    /// Starts the nodes of a plan with empty data directories on a disk, and waits until each of
    /// them answers for all prefixes.
    ///
    /// # Errors
    /// See the module.
    pub(crate) fn start_as(plan: &Plan, program: &NodeProgram, arguments: &[&str]) -> Result<Self> {
        let mut attempt = 1;
        loop {
            match Self::try_start(plan, program, arguments) {
                Err(error) if attempt < START_ATTEMPTS && error.is::<PortTaken>() => attempt += 1,
                outcome => return outcome,
            }
        }
    }

    /// Where a node takes clients.
    pub(crate) fn address(&self, place: Place) -> SocketAddr {
        self.nodes[place].client
    }

    /// All places but this one.
    pub(crate) fn others(&self, place: Place) -> Vec<Place> {
        (0..self.nodes.len())
            .filter(|other| *other != place)
            .collect()
    }

    /// What a node says of the group.
    ///
    /// # Errors
    /// If it does not answer.
    pub(crate) fn view(&self, place: Place) -> Result<View> {
        let text = Admin::connect(self.address(place))?.ask(&["GROUP", "INFO"])?;
        View::parse(&text, self.nodes.len())
    }

    /// Waits until all nodes that are up name the same leader, which is up, and returns it.
    ///
    /// # Errors
    /// If that takes too long or a node ends.
    pub(crate) fn wait_for_leader(&mut self) -> Result<Place> {
        let start = Instant::now();
        let mut seen: Option<(Place, Instant)> = None;
        loop {
            interrupt::check()?;
            self.check_alive()?;
            // A cluster that has just been founded may change its mind once.
            match (self.agreed_leader(), seen) {
                (Some(leader), Some((known, since))) if leader == known => {
                    if since.elapsed() >= SETTLED {
                        return Ok(leader);
                    }
                }
                (leader, _) => seen = leader.map(|leader| (leader, Instant::now())),
            }
            ensure!(
                start.elapsed() < READY_TIMEOUT,
                "the nodes did not agree on a leader within {} s",
                READY_TIMEOUT.as_secs()
            );
            std::thread::sleep(READY_POLL);
        }
    }

    /// All places.
    pub(crate) fn places(&self) -> std::ops::Range<Place> {
        0..self.nodes.len()
    }

    /// Which group owns a key, as a node says; an error if it does not answer.
    ///
    /// # Errors
    /// See above.
    pub(crate) fn owner(&self, place: Place, key: &str) -> Result<String> {
        let text = Admin::connect(self.address(place))?.ask(&["PREFIX", "OWNER", key])?;
        let owner = pair_value(&text, "group").context("PREFIX OWNER without 'group'")?;
        Ok(owner.to_owned())
    }

    /// Waits until a member of a group says that it leads the group, and returns it.
    ///
    /// # Errors
    /// If that takes too long or a node ends.
    pub(crate) fn wait_for_leader_of(&mut self, group: &str) -> Result<Place> {
        let known = self.plan.groups.iter().find(|(name, _)| *name == group);
        let (_, members) = known.context("the plan has no such group")?;
        let members = members.clone();
        self.wait_for(&format!("group {group} got no leader"), |cluster| {
            members.iter().copied().find(|place| {
                let info = Admin::connect(cluster.address(*place))
                    .and_then(|mut admin| admin.ask(&["GROUP", "INFO", group]));
                let info = info.unwrap_or_default();
                info_field(&info, "leader") == Some(&(place + 1).to_string())
            })
        })
    }

    fn wait_until_serving(&mut self) -> Result<()> {
        let prefixes = self.plan.prefixes.clone();
        self.wait_for("the nodes do not serve all prefixes", |cluster| {
            let serves = |place| {
                let mut admin = Admin::connect(cluster.address(place)).ok()?;
                for (prefix, group) in &prefixes {
                    admin.ask(&["EXISTS", prefix]).ok()?;
                    let owner = cluster.owner(place, prefix).ok()?;
                    (owner == *group).then_some(())?;
                }
                Some(())
            };
            cluster.places().try_for_each(serves)
        })
    }

    fn wait_for<T>(&mut self, what: &str, look: impl Fn(&Self) -> Option<T>) -> Result<T> {
        let start = Instant::now();
        loop {
            interrupt::check()?;
            self.check_alive()?;
            if let Some(found) = look(self) {
                return Ok(found);
            }
            ensure!(
                start.elapsed() < READY_TIMEOUT,
                "{what} within {} s",
                READY_TIMEOUT.as_secs()
            );
            std::thread::sleep(READY_POLL);
        }
    }

    /// Waits until a node that was started has executed all that the leader had a moment before.
    ///
    /// # Errors
    /// If that takes longer than `limit`, or a node ends.
    pub(crate) fn wait_until_level(&mut self, place: Place, limit: Duration) -> Result<()> {
        let start = Instant::now();
        loop {
            interrupt::check()?;
            self.check_alive()?;
            if self.is_level(place) {
                return Ok(());
            }
            ensure!(
                start.elapsed() < limit,
                "node {} did not catch up within {} s",
                place + 1,
                limit.as_secs()
            );
        }
    }

    /// Processor time of all nodes that are up, together.
    ///
    /// # Errors
    /// If one has ended.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        let clocks = self.nodes.iter().filter_map(|node| node.process.as_ref());
        clocks.map(|process| Ok(process.clock()?.read()?)).sum()
    }

    /// The clock of one node's process.
    ///
    /// # Errors
    /// If it is down or has ended.
    pub(crate) fn clock(&self, place: Place) -> Result<ProcessClock> {
        let process = self.nodes[place].process.as_ref();
        process.context("the node is down")?.clock()
    }

    /// Kills a node, as by kill -9, and returns when it is gone.
    pub(crate) fn kill(&mut self, place: Place) {
        if let Some(process) = self.nodes[place].process.take() {
            process.kill();
        }
    }

    /// Starts a node that was killed, on its old data, without waiting for it.
    ///
    /// # Errors
    /// If the program cannot be started.
    pub(crate) fn restart(&mut self, place: Place) -> Result<()> {
        let mut command = self.program.command();
        let id = (place + 1).to_string();
        command
            .arg("--cluster")
            .arg(self.dir.path().join(CLUSTER_FILE))
            .args(["--node", &id, "--data"])
            .arg(self.dir.path().join(format!("data-{id}")))
            .args(&self.arguments);
        let output = self.dir.path().join(format!("output-{id}"));
        let process = Process::spawn(&format!("node {id}"), command, &output)?;
        self.nodes[place].process = Some(process);
        Ok(())
    }

    /// Removes what a node that is down has on disk.
    ///
    /// # Errors
    /// If the file system refuses.
    pub(crate) fn wipe(&self, place: Place) -> Result<()> {
        let data = self.dir.path().join(format!("data-{}", place + 1));
        std::fs::remove_dir_all(&data).with_context(|| format!("cannot remove {}", data.display()))
    }

    /// An error if a node that should be up has ended.
    ///
    /// # Errors
    /// See above.
    pub(crate) fn check_alive(&mut self) -> Result<()> {
        let mut processes = self
            .nodes
            .iter_mut()
            .filter_map(|node| node.process.as_mut());
        processes.try_for_each(Process::check_alive)
    }

    /// What the nodes say they are.
    ///
    /// # Errors
    /// If the first does not answer.
    pub(crate) fn version(&self) -> Result<String> {
        let version = Admin::connect(self.address(0))?.info("server", "bailiwick_version")?;
        Ok(version.unwrap_or_else(|| "unknown".to_owned()))
    }

    /// Adds what the nodes wrote to an error.
    pub(crate) fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        let processes = self.nodes.iter().filter_map(|node| node.process.as_ref());
        processes.fold(error, |error, process| process.explain(error))
    }

    fn try_start(plan: &Plan, program: &NodeProgram, arguments: &[&str]) -> Result<Self> {
        let dir = program.disk_dir()?;
        let addresses = free_addresses(2 * plan.nodes)?;
        let (clients, peers) = addresses.split_at(plan.nodes);
        let file = dir.path().join(CLUSTER_FILE);
        std::fs::write(&file, plan.file(clients, peers))
            .with_context(|| format!("cannot write {}", file.display()))?;
        let node = |&client| Node {
            client,
            process: None,
        };
        let mut cluster = Self {
            plan: plan.clone(),
            program: program.clone(),
            arguments: arguments.iter().map(ToString::to_string).collect(),
            nodes: clients.iter().map(node).collect(),
            dir,
        };
        for place in 0..plan.nodes {
            cluster.restart(place)?;
        }
        let ready = if plan.groups.is_empty() {
            cluster.wait_for_leader().map(|_| ())
        } else {
            cluster.wait_until_serving()
        };
        match ready {
            Ok(()) => Ok(cluster),
            Err(error) if error.is::<PortTaken>() => Err(error),
            Err(error) => Err(cluster.explain(error)),
        }
    }

    fn is_level(&self, place: Place) -> bool {
        let goal = self
            .agreed_leader()
            .and_then(|leader| self.view(leader).ok());
        // Under load the leader is always a little ahead; what it had a moment ago must be there.
        std::thread::sleep(READY_POLL);
        let own = self.view(place).ok();
        goal.zip(own)
            .is_some_and(|(goal, own)| own.applied >= goal.applied)
    }

    fn agreed_leader(&self) -> Option<Place> {
        let mut agreed = None;
        for place in (0..self.nodes.len()).filter(|place| self.nodes[*place].process.is_some()) {
            let leader = self.view(place).ok()?.leader?;
            if *agreed.get_or_insert(leader) != leader {
                return None;
            }
        }
        agreed.filter(|leader| self.nodes[*leader].process.is_some())
    }
}

const CLUSTER_FILE: &str = "cluster.toml";

impl View {
    fn parse(text: &str, nodes: usize) -> Result<Self> {
        let applied = info_field(text, "applied").context("GROUP INFO without 'applied'")?;
        let applied = applied
            .parse()
            .with_context(|| format!("'applied:{applied}' in GROUP INFO"))?;
        let leader = info_field(text, "leader").and_then(|id| id.parse::<Place>().ok());
        let leader = match leader {
            None | Some(0) => None,
            Some(id) if id <= nodes => Some(id - 1),
            Some(id) => bail!("GROUP INFO names node {id} as the leader, which there is not"),
        };
        Ok(Self { leader, applied })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_names_the_leader_by_its_place() {
        let view = View::parse("name:root\r\nleader:3\r\napplied:17\r\n", 3).unwrap();
        let expected = View {
            leader: Some(2),
            applied: 17,
        };
        assert_eq!(view, expected);
    }

    #[test]
    fn a_node_without_a_leader_names_none() {
        for leader in ["leader:0\r\n", "leader:none\r\n", ""] {
            let view = View::parse(&format!("{leader}applied:0\r\n"), 3).unwrap();
            assert_eq!(view.leader, None);
        }
    }

    #[test]
    fn a_view_of_another_cluster_is_refused() {
        assert!(View::parse("leader:4\r\napplied:1\r\n", 3).is_err());
        assert!(View::parse("leader:1\r\n", 3).is_err());
    }

    #[test]
    fn a_plan_names_groups_and_prefixes_in_the_clusters_file() {
        let plan = Plan {
            nodes: 2,
            groups: vec![("root", vec![0]), ("home", vec![1])],
            prefixes: vec![("key:", "home")],
        };
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let text = plan.file(&[address(1), address(2)], &[address(3), address(4)]);
        for expected in [
            "id = 2\nregion = \"local\"\nclient = \"127.0.0.1:2\"\npeer = \"127.0.0.1:4\"\n",
            "[[group]]\nname = \"home\"\nnodes = [2]\n",
            "[[prefix]]\nprefix = \"key:\"\ngroup = \"home\"\n",
        ] {
            assert!(text.contains(expected), "{text}");
        }
    }

    #[test]
    fn nodes_that_end_at_once_are_an_error_and_leave_no_directory() {
        let parent = tempfile::tempdir().unwrap();
        let program = NodeProgram::at("false", &[]).in_dir(parent.path());
        let error = Cluster::start(&program, &[]).err().unwrap().to_string();
        assert!(error.contains("instead of listening"), "{error}");
        assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 0);
    }
}
