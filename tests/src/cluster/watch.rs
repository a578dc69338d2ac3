//! What the nodes of a cluster say of their group: who leads, and whether they hold the same data.
//!
//! Owns nothing; asks `GROUP INFO` and `DEBUG DIGEST`. A node that does not answer within [`ASK`]
//! has no opinion.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use super::Cluster;
use crate::client::Value;
use crate::server::{DEADLINE, POLL};

/// How long a node may take to say who leads; one that is stuck is asked again.
const ASK: Duration = Duration::from_secs(2);

impl Cluster {
    /// The node that a majority of the group name as their leader; none if there is no such.
    #[must_use]
    pub fn leader(&self) -> Option<u32> {
        let mut votes = BTreeMap::<u32, usize>::new();
        for node in self.group().filter(|node| self.is_running(*node)) {
            if let Some(leader) = self.group_info(node, "leader") {
                *votes.entry(leader).or_default() += 1;
            }
        }
        let majority = self.group().count() / 2 + 1;
        let is_there = |(leader, count): &(u32, usize)| *leader > 0 && *count >= majority;
        let (leader, _) = votes.into_iter().find(is_there)?;
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
        self.group().map(applied).collect()
    }

    fn digests(&self) -> Result<Vec<Option<String>>> {
        let digest = |node| {
            let reply = self.connect(node)?.run("DEBUG DIGEST")?;
            match &reply {
                Value::Error(text) => bail!("node {node}: DEBUG DIGEST: {text}"),
                reply => Ok(Some(reply.text())),
            }
        };
        self.group().map(digest).collect()
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
            Value::Error(text) => bail!(text),
            reply => Ok(reply.text()),
        }
    }

    /// What each node says of the group, and the ends of their logs.
    #[must_use]
    pub fn states(&self) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let info = "group:root\r\nleader_hint:3\r\nleader:2\r\n";
        assert_eq!(field(info, "leader"), Some("2"));
        assert_eq!(field(info, "applied"), None);
    }
}
