//! All kinds of faults, and histories judged. Which faults come in which order is fixed here; other
//! orders are for the chaos program. The timing differs each time.

use std::time::Duration;

use bailiwick_tests::chaos::{Plan, run};

fn chaos(nodes: u32, seed: u64, seconds: u64) {
    match run(&Plan::new(nodes, seed, Duration::from_secs(seconds))) {
        Ok(summary) => println!("{summary}"),
        Err(error) => panic!("{error:#}"),
    }
}

#[test]
fn three_nodes_under_all_faults_stay_linearizable_and_equal() {
    chaos(3, 31, 20);
}

#[test]
fn five_nodes_under_all_faults_stay_linearizable_and_equal() {
    chaos(5, 77, 15);
}
