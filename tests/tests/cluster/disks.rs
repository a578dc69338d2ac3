//! Disks without room.

use bailiwick_tests::client::Value;
use bailiwick_tests::cluster::{Cluster, Options};
use bailiwick_tests::counting::Counting;
use bailiwick_tests::server::wait_until;

use super::{connect, expect, expect_error, leader_and_others};

const A_FEW: u64 = 20;

/// A cluster whose disks can be filled; none if this process may not make such disks.
fn cluster() -> Option<Cluster> {
    cluster_of(Options::direct(3))
}

fn cluster_of(options: Options) -> Option<Cluster> {
    let cluster = Cluster::start(&Options {
        on_small_disk: vec![1, 2, 3],
        ..options
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

/// Fills the leader's disk and waits until another node leads and has logged something, which the
/// first one then waits to write. Gives the new leader and the follower that has room.
fn fill_first(cluster: &Cluster) -> (u32, u32) {
    let (first, _) = leader_and_others(cluster);
    fill(cluster, first);
    cluster.wait_for_output(first, "disk is full").unwrap();
    wait_for_another_leader(cluster, first);
    let leader = cluster.wait_for_leader().unwrap();
    expect(cluster, leader, "SET between 1", &Value::ok());
    let is_follower = |node: &u32| ![first, leader].contains(node);
    (leader, cluster.nodes().find(is_follower).unwrap())
}

/// Waits until every node knows of two full disks.
fn wait_until_all_know(cluster: &Cluster) {
    let knows = |node| {
        let info = connect(cluster, node).run("GROUP INFO").unwrap().text();
        info.matches(",full=1").count() == 2
    };
    let all_know = || cluster.nodes().all(knows);
    wait_until("every node knows of the full disks", all_know).unwrap();
}

/// Writes through a node until it is told that disks are full; gives the key that was not written.
/// No write is acknowledged until then, but what is sent to a leader that is being replaced may stay
/// uncertain.
fn wait_for_refusal(cluster: &Cluster, node: u32) -> String {
    let mut client = connect(cluster, node);
    let (mut attempt, mut key) = (0, String::new());
    let is_refused = || {
        attempt += 1;
        key = format!("refused:{node}:{attempt}");
        match client.call(["SET", &key, "1"]).unwrap() {
            Value::Error(text) if text.starts_with("MISCONF") => true,
            Value::Error(text) if text.starts_with("UNCERTAIN") => false,
            other => panic!("a write through node {node} was answered {other:?}"),
        }
    };
    wait_until("a write is refused", is_refused).unwrap();
    key
}

/// Makes room everywhere, and waits until writes are taken again.
fn make_room(cluster: &Cluster) {
    cluster.nodes().for_each(|node| empty(cluster, node));
    for node in cluster.nodes() {
        let mut client = connect(cluster, node);
        let is_written = || match client.run("SET after 1").unwrap() {
            // A leader may have to be elected first.
            Value::Error(_) => false,
            other => other == Value::ok() || panic!("{other:?}"),
        };
        wait_until("writes resume", is_written).unwrap();
    }
    cluster.wait_for_agreement().unwrap();
}

#[test]
fn when_most_disks_are_full_writes_are_refused_and_reads_go_on_until_there_is_room() {
    for fills_leader in [false, true] {
        let Some(mut cluster) = cluster() else { return };
        expect(&cluster, 1, "SET before 1", &Value::ok());
        let (leader, follower) = fill_first(&cluster);
        fill(&cluster, if fills_leader { leader } else { follower });
        // A leader that does not know yet takes a write and cannot finish it: see the next test.
        wait_until_all_know(&cluster);
        let refused: Vec<String> = cluster
            .nodes()
            .map(|node| wait_for_refusal(&cluster, node))
            .collect();
        for node in cluster.nodes() {
            expect(&cluster, node, "GET before", &Value::bytes("1"));
            expect(&cluster, node, "GET between", &Value::bytes("1"));
        }
        make_room(&cluster);
        for node in cluster.nodes() {
            cluster.kill(node).unwrap();
        }
        cluster.heal().unwrap();
        for node in cluster.nodes() {
            for key in ["before", "between", "after"] {
                expect(&cluster, node, &format!("GET {key}"), &Value::bytes("1"));
            }
            let exists = format!("EXISTS {}", refused.join(" "));
            expect(&cluster, node, &exists, &Value::Integer(0));
        }
    }
}

/// The log then holds an entry that most members cannot write, and none of them can promise anything
/// to a new leader.
#[test]
fn full_disks_are_named_also_when_they_keep_a_write_in_doubt_and_a_leader_from_being_elected() {
    let options = Options::direct(3).with("--request-timeout", "2000");
    let Some(mut cluster) = cluster_of(options) else {
        return;
    };
    expect(&cluster, 1, "SET before 1", &Value::ok());
    let (leader, follower) = fill_first(&cluster);
    // A frozen node does not say that it is full, so the leader takes a write.
    cluster.stop(follower).unwrap();
    fill(&cluster, follower);
    expect_error(&cluster, leader, "SET doubtful 1", "UNCERTAIN");
    cluster.cont(follower).unwrap();
    wait_until_all_know(&cluster);
    let holds_it_up = || {
        let of = |node: u32, name| cluster.group_info::<u64>(node, name);
        of(follower, "end") == of(leader, "end") && of(follower, "durable") < of(follower, "end")
    };
    wait_until("the follower waits to write it", holds_it_up).unwrap();
    cluster.stop(leader).unwrap();
    let full = cluster.nodes().filter(|node| *node != leader);
    let mut refused: Vec<String> = Vec::new();
    for node in full {
        refused.push(wait_for_refusal(&cluster, node));
        let text = expect_error(&cluster, node, "GET before", "CLUSTERDOWN");
        assert!(text.contains("disks of too many"), "{text}");
    }
    cluster.cont(leader).unwrap();
    refused.push(wait_for_refusal(&cluster, leader));
    make_room(&cluster);
    for node in cluster.nodes() {
        expect(&cluster, node, "GET before", &Value::bytes("1"));
        let exists = format!("EXISTS {}", refused.join(" "));
        expect(&cluster, node, &exists, &Value::Integer(0));
    }
}
