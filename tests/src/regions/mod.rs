//! Clusters of regions: each has nodes of its own, a group that they form, and the prefix that is
//! its name and a colon.
//!
//! Nodes of different regions reach each other through a relay, so that a region can be cut off or
//! be far away. The root group has one node in each region. Owned here: the layout, waiting for
//! groups and prefixes to be where they should be, and what nodes say of owners. [`moving`] moves a
//! prefix around under load.
//!
//! How it fails: a state that is not reached within the deadline is an error with what each node
//! says instead.

pub mod moving;

use std::fmt::Write as _;
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use crate::client::{Client, Value};
use crate::cluster::{Cluster, Options, field};
use crate::relay::Rule;
use crate::server::{DEADLINE, POLL};

/// What kind of cluster.
#[derive(Clone, Debug)]
pub struct Layout {
    /// Names of regions, of their groups, and with a colon of their prefixes.
    pub regions: Vec<String>,
    /// Nodes in each.
    pub nodes_each: u32,
    /// More prefixes, with the regions whose groups own them.
    pub prefixes: Vec<(String, String)>,
    /// Whether nodes have a second port, for clients that follow redirects.
    pub redirects: bool,
    /// Whether only a flag gives it, and not the cluster's file.
    pub redirects_by_flag: bool,
    /// More arguments for each node.
    pub arguments: Vec<String>,
}

impl Layout {
    /// The regions eu, us and ap with so many nodes each, and default settings but for the number
    /// of threads, of which nine nodes on one machine should not have too many.
    #[must_use]
    pub fn three(nodes_each: u32) -> Self {
        Self {
            regions: ["eu", "us", "ap"].map(str::to_owned).to_vec(),
            nodes_each,
            prefixes: Vec::new(),
            redirects: false,
            redirects_by_flag: false,
            arguments: ["--threads", "1"].map(str::to_owned).to_vec(),
        }
    }

    /// With an argument for each node.
    #[must_use]
    pub fn with(mut self, flag: &str, value: &str) -> Self {
        self.arguments.extend([flag.to_owned(), value.to_owned()]);
        self
    }

    /// With one more prefix, owned by the group of a region.
    #[must_use]
    pub fn owning(mut self, prefix: &str, region: &str) -> Self {
        self.prefixes.push((prefix.to_owned(), region.to_owned()));
        self
    }

    /// The ids of a region's nodes.
    fn nodes(&self, region: usize) -> Vec<u32> {
        let first = region as u32 * self.nodes_each + 1;
        (first..first + self.nodes_each).collect()
    }

    fn options(&self) -> Result<Options> {
        let count = self.regions.len() as u32 * self.nodes_each;
        let mut options = Options::relayed(count);
        options.arguments.clone_from(&self.arguments);
        options.redirects = self.redirects;
        options.redirects_by_flag = self.redirects_by_flag;
        let mut prefixes = self.prefixes.clone();
        for (at, region) in self.regions.iter().enumerate() {
            let nodes = self.nodes(at);
            options.group.push(nodes[0]);
            let places = nodes.iter().map(|node| (*node, region.clone()));
            options.regions.extend(places);
            writeln!(
                options.tables,
                "\n[[group]]\nname = \"{region}\"\nnodes = {nodes:?}"
            )?;
            prefixes.push((format!("{region}:"), region.clone()));
        }
        for (prefix, region) in prefixes {
            writeln!(
                options.tables,
                "\n[[prefix]]\nprefix = \"{prefix}\"\ngroup = \"{region}\""
            )?;
        }
        Ok(options)
    }
}

/// Who owns a key, as a node says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The prefix that decides.
    pub prefix: String,
    /// Its epoch.
    pub epoch: i64,
    /// The name of the group.
    pub group: String,
}

/// A running cluster of regions.
pub struct World {
    /// Its nodes and the network between them.
    pub cluster: Cluster,
    layout: Layout,
}

impl World {
    /// Starts all nodes and waits until each of them answers for every prefix.
    ///
    /// # Errors
    /// They do not.
    pub fn start(layout: &Layout) -> Result<Self> {
        let world = Self {
            cluster: Cluster::start(&layout.options()?)?,
            layout: layout.clone(),
        };
        world.wait_until_serving()?;
        Ok(world)
    }

    /// The ids of a region's nodes.
    ///
    /// # Panics
    /// If there is no such region.
    #[must_use]
    pub fn nodes_of(&self, region: &str) -> Vec<u32> {
        self.layout.nodes(self.place(region))
    }

    /// The first node of a region, which is also in the root group.
    ///
    /// # Panics
    /// If there is no such region.
    #[must_use]
    pub fn node_in(&self, region: &str) -> u32 {
        self.nodes_of(region)[0]
    }

    /// A new connection to the first node of a region.
    ///
    /// # Errors
    /// It does not listen.
    pub fn connect(&self, region: &str) -> Result<Client> {
        self.cluster.connect(self.node_in(region))
    }

    /// Sets what happens between a region and all others.
    pub fn set_around(&self, region: &str, rule: Rule) {
        let inside = self.nodes_of(region);
        for near in &inside {
            for far in self.cluster.nodes().filter(|node| !inside.contains(node)) {
                self.cluster.relay().set_both(*near, far, rule);
            }
        }
    }

    /// Waits until each node answers for a key of every region's and of the root group's.
    ///
    /// # Errors
    /// One does not.
    pub fn wait_until_serving(&self) -> Result<()> {
        let of_regions = self
            .layout
            .regions
            .iter()
            .map(|region| format!("{region}:absent"));
        let keys: Vec<String> = of_regions.chain(["absent".to_owned()]).collect();
        for node in self.cluster.nodes() {
            for key in &keys {
                self.wait_for(&format!("node {node} does not answer for {key}"), || {
                    let answer = self.cluster.connect(node)?.call(["GET", key])?;
                    ensure!(answer == Value::Null, "{answer:?}");
                    let owner = self.owner(node, key)?;
                    let home = key.split_once(':').map_or("root", |(region, _)| region);
                    ensure!(owner.group == home, "{owner:?}");
                    Ok(())
                })?;
            }
        }
        Ok(())
    }

    /// Who owns a key, as a node says.
    ///
    /// # Errors
    /// It does not say.
    pub fn owner(&self, node: u32, key: &str) -> Result<Owner> {
        let answer = self.cluster.connect(node)?.call(["PREFIX", "OWNER", key])?;
        owner_in(&answer).with_context(|| format!("PREFIX OWNER {key} on node {node}: {answer:?}"))
    }

    /// Waits until all nodes say that this group owns exactly this prefix.
    ///
    /// # Errors
    /// They do not.
    pub fn wait_for_owner(&self, prefix: &str, group: &str) -> Result<()> {
        for node in self.cluster.nodes() {
            self.wait_for(
                &format!("{prefix} does not come to {group} for node {node}"),
                || {
                    let owner = self.owner(node, prefix)?;
                    ensure!(owner.prefix == prefix && owner.group == group, "{owner:?}");
                    Ok(())
                },
            )?;
        }
        Ok(())
    }

    /// Waits until no node knows of this prefix.
    ///
    /// # Errors
    /// One still does.
    pub fn wait_until_gone(&self, prefix: &str) -> Result<()> {
        for node in self.cluster.nodes() {
            self.wait_for(&format!("{prefix} stays for node {node}"), || {
                let owner = self.owner(node, prefix)?;
                ensure!(owner.prefix != prefix, "{owner:?}");
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Waits until no move of a prefix is under way any more.
    ///
    /// # Errors
    /// It goes on.
    pub fn wait_until_settled(&self, node: u32, prefix: &str) -> Result<()> {
        self.wait_for(&format!("{prefix} is moving for ever"), || {
            let answer = self
                .cluster
                .connect(node)?
                .call(["PREFIX", "INFO", prefix])?;
            let handoff = in_map(&answer, "handoff");
            ensure!(handoff == Some(&Value::Null), "{answer:?}");
            Ok(())
        })
    }

    /// Waits until a group of a region has a leader that runs, and returns it.
    ///
    /// # Errors
    /// It has none.
    pub fn wait_for_leader(&self, group: &str) -> Result<u32> {
        let members = self.nodes_of(group);
        let mut found = None;
        self.wait_for(&format!("group {group} has no leader"), || {
            for member in &members {
                let Ok(leader) = self.leader_seen_by(*member, group) else {
                    continue;
                };
                // Who leads says so itself.
                if leader == *member {
                    found = Some(leader);
                    return Ok(());
                }
            }
            bail!("no member says that it leads")
        })?;
        found.context("it was just found")
    }

    fn leader_seen_by(&self, node: u32, group: &str) -> Result<u32> {
        let answer = self.cluster.connect(node)?.call(["GROUP", "INFO", group])?;
        let leader = field(&answer.text(), "leader").map(str::to_owned);
        leader
            .and_then(|leader| leader.parse().ok())
            .with_context(|| format!("{answer:?}"))
    }

    /// Tries again until it works.
    ///
    /// # Errors
    /// It does not work within the deadline; the error is that of the last attempt.
    pub fn wait_for(&self, what: &str, mut attempt: impl FnMut() -> Result<()>) -> Result<()> {
        let start = Instant::now();
        loop {
            let Err(error) = attempt() else {
                return Ok(());
            };
            if start.elapsed() > DEADLINE {
                return Err(error.context(format!("{what}: {}", self.cluster.states())));
            }
            thread::sleep(POLL);
        }
    }

    fn place(&self, region: &str) -> usize {
        let mut names = self.layout.regions.iter();
        let place = names.position(|name| name == region);
        place.unwrap_or_else(|| panic!("there is no region {region}"))
    }
}

/// What stands under a name in a map, or in the list of names and values that RESP2 has for one.
#[must_use]
pub fn in_map<'v>(map: &'v Value, name: &str) -> Option<&'v Value> {
    let is_it = |key: &Value| key.text() == name;
    match map {
        Value::Map(pairs) => pairs
            .iter()
            .find(|(key, _)| is_it(key))
            .map(|(_, value)| value),
        Value::List(words) => words
            .chunks_exact(2)
            .find(|pair| is_it(&pair[0]))
            .map(|pair| &pair[1]),
        _ => None,
    }
}

fn owner_in(answer: &Value) -> Option<Owner> {
    Some(Owner {
        prefix: in_map(answer, "prefix")?.text(),
        epoch: in_map(answer, "epoch")?.as_integer()?,
        group: in_map(answer, "group")?.text(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_region_has_its_nodes_its_group_and_its_prefix() {
        let mut layout = Layout::three(2).owning("{tag}", "us");
        layout.redirects = true;
        let options = layout.options().unwrap();
        assert_eq!((options.nodes, &options.group[..]), (6, &[1, 3, 5][..]));
        assert_eq!(options.regions[&4], "us");
        assert!(options.redirects);
        for text in [
            "[[group]]\nname = \"us\"\nnodes = [3, 4]\n",
            "[[prefix]]\nprefix = \"ap:\"\ngroup = \"ap\"\n",
            "[[prefix]]\nprefix = \"{tag}\"\ngroup = \"us\"\n",
        ] {
            assert!(options.tables.contains(text), "{}", options.tables);
        }
    }

    #[test]
    fn owners_are_read_from_either_protocol() {
        let pairs = [
            ("prefix", Value::bytes("eu:")),
            ("epoch", Value::Integer(3)),
            ("group", Value::bytes("us")),
        ];
        let map = pairs
            .clone()
            .map(|(name, value)| (Value::bytes(name), value));
        let list = pairs
            .into_iter()
            .flat_map(|(name, value)| [Value::bytes(name), value]);
        let expected = Owner {
            prefix: "eu:".to_owned(),
            epoch: 3,
            group: "us".to_owned(),
        };
        assert_eq!(owner_in(&Value::Map(map.to_vec())), Some(expected.clone()));
        assert_eq!(owner_in(&Value::List(list.collect())), Some(expected));
        assert_eq!(owner_in(&Value::Null), None);
    }
}
