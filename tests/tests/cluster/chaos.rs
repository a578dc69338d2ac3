//! All kinds of faults at random, and histories judged.

use std::time::Duration;

use bailiwick_tests::chaos::{Plan, run};

fn chaos(nodes: u32, seconds: u64) {
    let seed = fastrand::u64(..1 << 32);
    println!("seed {seed}");
    match run(&Plan::new(nodes, seed, Duration::from_secs(seconds))) {
        Ok(summary) => println!("{summary}"),
        Err(error) => panic!("{error:#}"),
    }
}

#[test]
fn three_nodes_under_all_faults_stay_linearizable_and_equal() {
    chaos(3, 20);
}

#[test]
fn five_nodes_under_all_faults_stay_linearizable_and_equal() {
    chaos(5, 15);
}
