//! Three and five nodes, real processes and a network that fails: nothing that was acknowledged is
//! lost, no read is stale, and clients see latency, not errors.

#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bailiwick_tests::chaos::{Fault, Plan, run};
use bailiwick_tests::client::Value;
use bailiwick_tests::cluster::{Cluster, Options};

fn chaos(nodes: u32, seconds: u64, faults: &[Fault]) {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut plan = Plan::new(nodes, seed, Duration::from_secs(seconds));
    plan.faults = faults.to_vec();
    match run(&plan) {
        Ok(summary) => println!("{summary}"),
        Err(error) => panic!("{error:#}"),
    }
}

#[test]
fn three_nodes_under_all_faults_stay_linearizable_and_equal() {
    chaos(3, 20, &Fault::ALL);
}

#[test]
fn five_nodes_under_all_faults_stay_linearizable_and_equal() {
    chaos(5, 15, &Fault::ALL);
}

#[test]
fn clients_of_the_others_wait_and_see_no_error_when_the_leader_is_killed() {
    let mut cluster = Cluster::start(&Options {
        relayed: false,
        ..Options::relayed(3)
    })
    .unwrap();
    for round in 0..3 {
        let leader = cluster.wait_for_leader().unwrap();
        let others: Vec<u32> = cluster.nodes().filter(|node| *node != leader).collect();
        let over = AtomicBool::new(false);
        let mut last = Vec::new();
        std::thread::scope(|scope| {
            let clients: Vec<_> = others
                .iter()
                .map(|node| {
                    let mut client = cluster.connect(*node).unwrap();
                    let over = &over;
                    scope.spawn(move || {
                        let key = format!("round:{round}");
                        let mut replies = 0;
                        // One more after the end, so that each sees the new leader.
                        loop {
                            let is_last = over.load(Ordering::Acquire);
                            match client.call(["INCR", &key]).unwrap() {
                                Value::Integer(_) => replies += 1,
                                other => panic!("INCR was answered {other:?}"),
                            }
                            if is_last {
                                return replies;
                            }
                        }
                    })
                })
                .collect();
            cluster.kill(leader).unwrap();
            cluster.wait_for_leader().unwrap();
            over.store(true, Ordering::Release);
            last.extend(clients.into_iter().map(|client| client.join().unwrap()));
        });
        // Each counted exactly once.
        let mut client = cluster.connect(others[0]).unwrap();
        let total: i64 = last.iter().sum();
        let found = client.call(["GET", &format!("round:{round}")]).unwrap();
        assert_eq!(found, Value::bytes(total.to_string()));
        cluster.restart(leader).unwrap();
    }
    cluster.wait_for_agreement().unwrap();
}

#[test]
fn all_data_is_there_after_all_nodes_were_killed() {
    let mut cluster = Cluster::start(&Options::relayed(3)).unwrap();
    for node in cluster.nodes() {
        let mut client = cluster.connect(node).unwrap();
        for n in 0..100 {
            let set = client.call(["SET", &format!("{node}:{n}"), &n.to_string()]);
            assert_eq!(set.unwrap(), Value::ok());
        }
    }
    for node in cluster.nodes() {
        cluster.kill(node).unwrap();
    }
    cluster.heal().unwrap();
    for node in cluster.nodes() {
        let mut client = cluster.connect(node).unwrap();
        for from in cluster.nodes() {
            for n in 0..100 {
                let found = client.call(["GET", &format!("{from}:{n}")]).unwrap();
                assert_eq!(found, Value::bytes(n.to_string()));
            }
        }
    }
    cluster.wait_for_agreement().unwrap();
}
