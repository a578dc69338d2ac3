//! Three and five nodes, real processes, and machines and networks that fail: nothing that was
//! acknowledged is lost, no read is stale, and clients see latency, not errors.
//!
//! `serving` is about healthy clusters, `failures` about nodes that are killed and frozen,
//! `network` about links, `locks` about holders of locks that fail as well, `members` about who
//! belongs to the group and who leads it, `disks` about full ones, `refusals` about nodes that must
//! not start, `blocking` about clients that wait for keys, `caching` about copies that clients
//! keep; `chaos` does a bit of everything at random.

#![allow(
    clippy::unwrap_used,
    reason = "a test that fails by panicking fails as it should"
)]

mod blocking;
mod caching;
mod chaos;
mod disks;
mod failures;
mod locks;
mod members;
mod network;
mod refusals;
mod serving;

use bailiwick_tests::client::{Client, Value};
use bailiwick_tests::cluster::Cluster;

/// The leader, and the others.
fn leader_and_others(cluster: &Cluster) -> (u32, Vec<u32>) {
    let leader = cluster.wait_for_leader().unwrap();
    let others = cluster.group().filter(|node| *node != leader).collect();
    (leader, others)
}

fn connect(cluster: &Cluster, node: u32) -> Client {
    cluster.connect(node).unwrap()
}

/// Runs a command through a node and wants this answer.
#[track_caller]
fn expect(cluster: &Cluster, node: u32, line: &str, wanted: &Value) {
    let answer = connect(cluster, node).run(line);
    let answer = answer.unwrap_or_else(|error| panic!("{line} on node {node}: {error:#}"));
    assert_eq!(answer, *wanted, "{line} on node {node}");
}

/// Runs a command through a node and wants this error, by its first word.
#[track_caller]
fn expect_error(cluster: &Cluster, node: u32, line: &str, code: &str) -> String {
    match connect(cluster, node).run(line).unwrap() {
        Value::Error(text) if text.split(' ').next() == Some(code) => text,
        other => panic!("{line} on node {node} was answered {other:?}, and not with {code}"),
    }
}
