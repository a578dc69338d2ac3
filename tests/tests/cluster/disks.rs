//! Disks without room.

use bailiwick_tests::client::Value;
use bailiwick_tests::cluster::{Cluster, Options};
use bailiwick_tests::counting::Counting;
use bailiwick_tests::server::wait_until;

use super::{connect, expect, expect_error, leader_and_others};

const A_FEW: u64 = 20;

/// A cluster whose disks can be filled; none if this process may not make such disks.
fn cluster() -> Option<Cluster> {
    let cluster = Cluster::start(&Options {
        on_small_disk: vec![1, 2, 3],
        ..Options::direct(3)
    })
    .unwrap();
    let has_disks = cluster.disk(1).is_some();
    if !has_disks {
        eprintln!("NOT CHECKED: full disks, which take the right to mount a file system (root)");
    }
    has_disks.then_some(cluster)
}

fn fill(cluster: &Cluster, node: u32) {
    cluster.disk(node).unwrap().fill().unwrap();
}

fn empty(cluster: &Cluster, node: u32) {
    cluster.disk(node).unwrap().empty().unwrap();
}

fn wait_for_another_leader(cluster: &Cluster, than: u32) {
    let has_changed = || cluster.wait_for_leader().unwrap() != than;
    wait_until("another node leads", has_changed).unwrap();
}

#[test]
fn a_follower_whose_disk_is_full_holds_nobody_else_up() {
    let Some(cluster) = cluster() else { return };
    let (leader, others) = leader_and_others(&cluster);
    let load = Counting::start(&cluster, "follower", [leader, others[1]], 2).unwrap();
    load.wait_for(A_FEW).unwrap();
    fill(&cluster, others[0]);
    cluster.wait_for_output(others[0], "disk is full").unwrap();
    load.wait_for(10 * A_FEW).unwrap();
    empty(&cluster, others[0]);
    cluster.wait_for_output(others[0], "room again").unwrap();
    load.wait_for(A_FEW).unwrap();
    load.stop_and_check(&cluster).unwrap();
    expect(&cluster, others[0], "SET after 1", &Value::ok());
    cluster.wait_for_agreement().unwrap();
}

#[test]
fn a_leader_whose_disk_is_full_hands_over_and_writes_go_on() {
    let Some(cluster) = cluster() else { return };
    let (leader, others) = leader_and_others(&cluster);
    let load = Counting::start(&cluster, "leader", others.clone(), 2).unwrap();
    load.wait_for(A_FEW).unwrap();
    fill(&cluster, leader);
    wait_for_another_leader(&cluster, leader);
    load.wait_for(10 * A_FEW).unwrap();
    empty(&cluster, leader);
    load.wait_for(A_FEW).unwrap();
    let longest = load.stop_and_check(&cluster).unwrap();
    println!("longest wait {longest:?}");
    expect(&cluster, leader, "SET after 1", &Value::ok());
    cluster.wait_for_agreement().unwrap();
}

#[test]
fn when_most_disks_are_full_writes_are_refused_and_reads_go_on_until_there_is_room() {
    let Some(cluster) = cluster() else { return };
    let (leader, others) = leader_and_others(&cluster);
    let full = [leader, others[0]];
    expect(&cluster, others[1], "SET before 1", &Value::ok());
    for node in full {
        fill(&cluster, node);
        cluster.wait_for_output(node, "disk is full").unwrap();
        // A new leader reads and refuses only once it has had a majority that could write.
        if node == leader {
            wait_for_another_leader(&cluster, leader);
            expect(&cluster, others[1], "SET between 1", &Value::ok());
        }
    }
    // One node has learnt of it, all do soon. What was given to the log while there seemed to be room
    // may be written, or stay uncertain.
    for node in cluster.nodes() {
        let mut client = connect(&cluster, node);
        let is_refused = || match client.run("SET during 1").unwrap() {
            Value::Error(text) => text.starts_with("MISCONF"),
            _ => false,
        };
        wait_until("writes are refused", is_refused).unwrap();
    }
    for node in cluster.nodes() {
        expect_error(&cluster, node, "SET refused 1", "MISCONF");
        expect(&cluster, node, "GET before", &Value::bytes("1"));
        expect(&cluster, node, "EXISTS refused", &Value::Integer(0));
    }
    for node in full {
        empty(&cluster, node);
    }
    for node in cluster.nodes() {
        let mut client = connect(&cluster, node);
        let is_written = || match client.run("SET after 1").unwrap() {
            Value::Error(text) if text.starts_with("MISCONF") => false,
            other => other == Value::ok() || panic!("{other:?}"),
        };
        wait_until("writes resume", is_written).unwrap();
    }
    cluster.wait_for_agreement().unwrap();
    expect(&cluster, leader, "EXISTS refused", &Value::Integer(0));
}
