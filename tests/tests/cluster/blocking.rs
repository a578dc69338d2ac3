//! Clients that wait for keys, on all nodes of a group, while nodes come and go.

use bailiwick_tests::blocking::{begin_to_wait, popped};
use bailiwick_tests::client::{Client, Value};
use bailiwick_tests::cluster::{Cluster, Options, field};
use bailiwick_tests::queueing::Queueing;
use bailiwick_tests::server::{DEADLINE, POLL};

use super::{connect, expect, leader_and_others};

/// Elements that go through, so that all clients are at work.
const A_FEW: u64 = 60;

/// Sends a request that waits, and returns when it does.
fn wait_on(cluster: &Cluster, node: u32, line: &str) -> Client {
    begin_to_wait(|| Ok(connect(cluster, node)), line).unwrap()
}

#[test]
fn clients_of_all_nodes_are_served_in_the_order_in_which_they_came() {
    let cluster = Cluster::start(&Options::direct(3)).unwrap();
    cluster.wait_for_leader().unwrap();
    let order = [2, 3, 1, 1, 3, 2];
    let mut clients: Vec<Client> = order
        .iter()
        .map(|node| wait_on(&cluster, *node, "BLPOP l 0"))
        .collect();
    let elements = ["a", "b", "c", "d", "e", "f"];
    expect(&cluster, 3, "RPUSH l a b c d", &Value::Integer(4));
    expect(&cluster, 2, "RPUSH l e f", &Value::Integer(2));
    for (client, element) in clients.iter_mut().zip(elements) {
        assert_eq!(client.read().unwrap(), popped("l", element));
    }
    expect(&cluster, 1, "EXISTS l", &Value::Integer(0));
    cluster.wait_for_agreement().unwrap();
}

/// A leader that changes makes entries of its own, but not each time.
const ATTEMPTS: usize = 3;

#[test]
fn a_reader_of_a_stream_that_finds_entries_at_once_writes_nothing_to_the_log() {
    let cluster = Cluster::start(&Options::direct(3)).unwrap();
    cluster.wait_for_leader().unwrap();
    expect(&cluster, 1, "XADD s 1-0 f v", &Value::bytes("1-0"));
    cluster.wait_for_agreement().unwrap();
    let decided = || {
        let info = connect(&cluster, 1).run("GROUP INFO").unwrap().text();
        field(&info, "decided").map(str::to_owned)
    };
    let finds_without_log = || {
        let before = decided();
        for node in cluster.nodes() {
            let found = connect(&cluster, node).run("XREAD BLOCK 0 STREAMS s none 0 $");
            let found = found.unwrap();
            assert_eq!(found.list()[0].list()[0], Value::bytes("s"), "{found:?}");
            let found = connect(&cluster, node).run("XREAD BLOCK 0 STREAMS none s $ 0-1");
            assert_eq!(found.unwrap().list().len(), 1);
        }
        cluster.wait_for_agreement().unwrap();
        decided() == before
    };
    assert!((0..ATTEMPTS).any(|_| finds_without_log()));
}

#[test]
fn consumers_and_readers_of_all_nodes_get_their_entries_when_a_leader_has_died() {
    let mut cluster = Cluster::start(&Options::direct(3)).unwrap();
    let (leader, others) = leader_and_others(&cluster);
    let create = "XGROUP CREATE s g $ MKSTREAM";
    expect(&cluster, others[0], create, &Value::ok());
    let reader = "XREAD BLOCK 0 STREAMS s $";
    let consumer = "XREADGROUP GROUP g c BLOCK 0 STREAMS s >";
    let mut readers = [0, 1].map(|at| wait_on(&cluster, others[at], reader));
    let mut consumers = [1, 0].map(|at| wait_on(&cluster, others[at], consumer));
    cluster.kill(leader).unwrap();
    cluster.wait_for_leader().unwrap();
    expect(&cluster, others[0], "XADD s 1-0 f v", &Value::bytes("1-0"));
    let delivered = readers.each_mut().map(|client| client.read().unwrap());
    assert_eq!(consumers[0].read().unwrap(), delivered[0]);
    assert_eq!(delivered[1], delivered[0]);
    expect(
        &cluster,
        others[1],
        "XGROUP DESTROY s g",
        &Value::Integer(1),
    );
    let ended = consumers[1].read().unwrap();
    assert!(
        matches!(&ended, Value::Error(text) if text.starts_with("NOGROUP")),
        "{ended:?}"
    );
}

#[test]
fn who_waits_goes_on_waiting_when_the_leader_is_killed() {
    let mut cluster = Cluster::start(&Options::direct(3)).unwrap();
    let (leader, others) = leader_and_others(&cluster);
    let mut first = wait_on(&cluster, others[0], "BLPOP l 0");
    let mut second = wait_on(&cluster, others[1], "BLMOVE l m LEFT RIGHT 0");
    cluster.kill(leader).unwrap();
    expect(&cluster, others[1], "RPUSH l a b", &Value::Integer(2));
    assert_eq!(first.read().unwrap(), popped("l", "a"));
    assert_eq!(second.read().unwrap(), Value::bytes("b"));
    cluster.restart(leader).unwrap();
    cluster.wait_for_agreement().unwrap();
}

#[test]
fn a_queue_loses_and_repeats_nothing_while_leaders_are_killed() {
    let mut cluster = Cluster::start(&Options::direct(3)).unwrap();
    for round in 0..2 {
        let (leader, others) = leader_and_others(&cluster);
        let queue = Queueing::start(&cluster, &format!("queue:{round}"), others).unwrap();
        queue.wait_for(A_FEW).unwrap();
        cluster.kill(leader).unwrap();
        queue.wait_for(A_FEW).unwrap();
        cluster.restart(leader).unwrap();
        queue.wait_for(A_FEW).unwrap();
        let total = queue.stop().unwrap();
        println!("{total} elements");
    }
    cluster.wait_for_agreement().unwrap();
}

#[test]
fn clients_of_a_node_that_is_gone_are_not_waited_for() {
    let mut cluster = Cluster::start(&Options::direct(3)).unwrap();
    let (leader, others) = leader_and_others(&cluster);
    let _gone = wait_on(&cluster, others[0], "BLPOP l 0");
    let waiters = |cluster: &Cluster| {
        let info = connect(cluster, leader).run("GROUP INFO").unwrap().text();
        field(&info, "waiters").map(str::to_owned)
    };
    assert_eq!(waiters(&cluster).as_deref(), Some("1"));
    cluster.kill(others[0]).unwrap();
    let started = std::time::Instant::now();
    while waiters(&cluster).as_deref() != Some("0") {
        assert!(started.elapsed() < DEADLINE, "it is waited for");
        std::thread::sleep(POLL);
    }
    expect(&cluster, leader, "RPUSH l a", &Value::Integer(1));
    expect(&cluster, leader, "LLEN l", &Value::Integer(1));
    cluster.restart(others[0]).unwrap();
    cluster.wait_for_agreement().unwrap();
}
