//! What is done to nodes and network, and when.
//!
//! Owns the faults and the record of each: which nodes were killed, and which could not reach a
//! majority or the leader, so that their clients may be told so. Between faults nodes write
//! checkpoints, so that whoever was away may find the log trimmed.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fastrand::Rng;

use super::load::Complaint;
use super::{Clock, Plan};
use crate::client::Value;
use crate::cluster::Cluster;
use crate::relay::Rule;

/// How long after a fault has been healed it is still an excuse: links come back at their leisure.
const AFTERMATH_US: u64 = 3_000_000;

/// A kind of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// kill -9 of the leader; it starts again later.
    KillLeader,
    /// kill -9 of another node.
    KillFollower,
    /// kill -9 of all nodes.
    KillAll,
    /// SIGSTOP of the leader, SIGCONT later: it believes that no time has passed.
    StopLeader,
    /// SIGSTOP of another node.
    StopFollower,
    /// The leader's connections are reset and refused.
    CutLeader,
    /// Nothing gets through from or to the leader, with all connections open.
    IsolateLeader,
    /// Nothing gets through from or to another node.
    IsolateFollower,
    /// The leader hears, but is not heard.
    MuteLeader,
    /// The leader is heard, but does not hear.
    DeafLeader,
    /// The leader and one other node do not reach each other.
    SplitPair,
    /// All nodes reach only one, which does not lead: the leader loses its quorum without being
    /// down.
    OnlyBridge,
    /// All links are slow, and not equally so.
    SlowLinks,
    /// A node's disk is full; the group goes on.
    FullDisk,
    /// The disks of a majority are full; nobody can write.
    FullDisks,
    /// SIGTERM of the leader, which hands over before it ends.
    EndLeader,
    /// Leadership is transferred to another node by order.
    Transfer,
    /// Another node loses its data directory and is let in as a new member.
    Replace,
}

impl Fault {
    /// Each of them.
    pub const ALL: [Self; 18] = [
        Self::KillLeader,
        Self::KillFollower,
        Self::KillAll,
        Self::StopLeader,
        Self::StopFollower,
        Self::CutLeader,
        Self::IsolateLeader,
        Self::IsolateFollower,
        Self::MuteLeader,
        Self::DeafLeader,
        Self::SplitPair,
        Self::OnlyBridge,
        Self::SlowLinks,
        Self::FullDisk,
        Self::FullDisks,
        Self::EndLeader,
        Self::Transfer,
        Self::Replace,
    ];

    fn needs_disk(self) -> bool {
        matches!(self, Self::FullDisk | Self::FullDisks)
    }
}

/// One fault, from its beginning until it was healed.
#[derive(Clone, Debug)]
pub struct Episode {
    /// What it was.
    pub fault: Fault,
    /// Connections to these nodes broke.
    pub killed: Vec<u32>,
    /// These could not reach a majority or the leader.
    pub cut_off: Vec<u32>,
    /// In microseconds, as `ended`; `began <= ended`.
    pub began: u64,
    pub ended: u64,
}

impl Episode {
    /// Whether a complaint may have to do with it.
    pub fn touches(&self, complaint: &Complaint) -> bool {
        complaint.returned >= self.began && complaint.invoked <= self.ended + AFTERMATH_US
    }
}

/// Makes faults until the plan's time is over, and heals each.
pub fn run(
    plan: &Plan,
    cluster: &mut Cluster,
    clock: Clock,
    rng: &mut Rng,
) -> Result<Vec<Episode>> {
    let mut episodes = Vec::new();
    let mut faults = Vec::new();
    while clock.0.elapsed() < plan.duration {
        pause(rng, 300, 900);
        // Each kind comes once before any comes again.
        if faults.is_empty() {
            faults.clone_from(&plan.faults);
            rng.shuffle(&mut faults);
        }
        let Some(fault) = faults.pop() else { continue };
        if fault.needs_disk() && cluster.disk(1).is_none() {
            println!("skipped: a full disk needs the right to mount a file system (root)");
            continue;
        }
        let leader = cluster.wait_for_leader()?;
        let others: Vec<u32> = cluster.nodes().filter(|node| *node != leader).collect();
        let other = others[rng.usize(..others.len())];
        for node in cluster.nodes() {
            if rng.bool() {
                save(cluster, node)?;
            }
        }
        if plan.verbose {
            let at_ms = clock.now() / 1000;
            println!("{at_ms:>7} ms: {fault:?}, leader {leader}, other {other}");
        }
        let began = clock.now();
        let made = make(fault, cluster, leader, other);
        let (killed, cut_off) = made.with_context(|| format!("making {fault:?}"))?;
        pause(rng, 200, plan.fault.as_millis() as u64);
        heal(fault, cluster).with_context(|| format!("after {fault:?}"))?;
        episodes.push(Episode {
            fault,
            killed,
            cut_off,
            began,
            ended: clock.now(),
        });
    }
    Ok(episodes)
}

fn pause(rng: &mut Rng, least_ms: u64, most_ms: u64) {
    thread::sleep(Duration::from_millis(
        rng.u64(least_ms..=most_ms.max(least_ms)),
    ));
}

/// Makes a fault; returns whom it kills and whom it cuts off.
fn make(
    fault: Fault,
    cluster: &mut Cluster,
    leader: u32,
    other: u32,
) -> Result<(Vec<u32>, Vec<u32>)> {
    let all: Vec<u32> = cluster.nodes().collect();
    match fault {
        Fault::KillLeader => kill(cluster, &[leader]),
        Fault::KillFollower => kill(cluster, &[other]),
        Fault::KillAll => kill(cluster, &all),
        Fault::StopLeader => cluster.stop(leader).map(|()| (vec![], vec![leader])),
        Fault::StopFollower => cluster.stop(other).map(|()| (vec![], vec![other])),
        Fault::FullDisk => {
            // The leader's or another one's.
            let node = if other.is_multiple_of(2) {
                leader
            } else {
                other
            };
            fill(cluster, &[node])
        }
        Fault::FullDisks => fill(cluster, &all[..all.len() / 2 + 1]),
        Fault::EndLeader => {
            let code = cluster.terminate(leader)?;
            ensure!(code == 0, "node {leader} ended with exit code {code}");
            Ok((vec![leader], vec![]))
        }
        Fault::Transfer => {
            order(cluster, leader, &format!("GROUP TRANSFER root {other}"))?;
            Ok((vec![], vec![]))
        }
        Fault::Replace => {
            cluster.kill(other)?;
            cluster.wipe(other)?;
            cluster.spawn(other)?;
            order(cluster, leader, &format!("GROUP REPLACE root {other}"))?;
            Ok((vec![other], vec![]))
        }
        network => Ok((vec![], hurt_network(network, cluster, leader, other))),
    }
}

fn fill(cluster: &Cluster, nodes: &[u32]) -> Result<(Vec<u32>, Vec<u32>)> {
    for node in nodes {
        cluster.disk(*node).context("it was looked for")?.fill()?;
    }
    Ok((vec![], vec![]))
}

/// Gives an order that must not fail.
fn order(cluster: &Cluster, node: u32, line: &str) -> Result<()> {
    let answer = cluster.connect(node)?.run(line)?;
    ensure!(answer == Value::ok(), "{line} was answered {answer:?}");
    Ok(())
}

/// Has a node write a checkpoint, which lets it trim its log.
fn save(cluster: &Cluster, node: u32) -> Result<()> {
    // That one is being written already is as good.
    cluster.connect(node)?.run("BGSAVE").map(drop)
}

fn kill(cluster: &mut Cluster, nodes: &[u32]) -> Result<(Vec<u32>, Vec<u32>)> {
    for node in nodes {
        cluster.kill(*node)?;
    }
    let is_majority = nodes.len() * 2 > cluster.nodes().count();
    let cut_off = if is_majority { nodes } else { &[] };
    Ok((nodes.to_vec(), cut_off.to_vec()))
}

/// Returns whom it cuts off.
fn hurt_network(fault: Fault, cluster: &Cluster, leader: u32, other: u32) -> Vec<u32> {
    let relay = cluster.relay();
    let nodes: Vec<u32> = cluster.nodes().collect();
    let followers = nodes.iter().copied().filter(|node| *node != leader);
    match fault {
        Fault::CutLeader => relay.set_all_of(leader, Rule::CUT),
        Fault::IsolateLeader => relay.set_all_of(leader, Rule::HELD),
        Fault::IsolateFollower => {
            relay.set_all_of(other, Rule::HELD);
            return vec![other];
        }
        Fault::MuteLeader => followers.for_each(|node| relay.hold_one_way(leader, node)),
        Fault::DeafLeader => followers.for_each(|node| relay.hold_one_way(node, leader)),
        Fault::SplitPair => {
            relay.set_both(leader, other, Rule::HELD);
            return vec![leader, other];
        }
        Fault::OnlyBridge => {
            for (at, a) in nodes.iter().enumerate() {
                for b in &nodes[at + 1..] {
                    if *a != other && *b != other {
                        relay.set_both(*a, *b, Rule::HELD);
                    }
                }
            }
            return vec![];
        }
        _ => {
            for a in &nodes {
                for b in nodes.iter().filter(|b| *b != a) {
                    let delay_ms = u64::from((a * 7 + b * 3) % 11);
                    relay.set(*a, *b, Rule::slow(delay_ms, 5));
                }
            }
            return vec![];
        }
    }
    vec![leader]
}

fn heal(fault: Fault, cluster: &mut Cluster) -> Result<()> {
    if fault.needs_disk() {
        for disk in cluster.nodes().filter_map(|node| cluster.disk(node)) {
            disk.empty()?;
        }
    }
    cluster.heal()
}
