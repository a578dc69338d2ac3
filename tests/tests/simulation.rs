//! Whole clusters in simulation: some seeds without a bug, and bugs that have to be found.
//!
//! `SIMULATION_FIRST_SEED` and `SIMULATION_SEEDS` choose other seeds; `cargo run --release -p
//! bailiwick-tests --bin simulate` runs as many as wanted.

use std::time::Instant;

use bailiwick_tests::simulation::{Planted, Summary, violation_of};

fn number(name: &str, default: u64) -> u64 {
    let value = std::env::var(name).ok();
    value.map_or(default, |value| value.parse().expect("a number"))
}

#[test]
fn faults_break_no_promise_to_clients() {
    let first = number("SIMULATION_FIRST_SEED", 1);
    let seeds = number("SIMULATION_SEEDS", 700);
    let start = Instant::now();
    let mut total = Summary::default();
    for seed in first..first + seeds {
        match violation_of(seed, None) {
            Ok(summary) => total.add(&summary),
            Err(violation) => panic!("{violation}"),
        }
    }
    let per_second = seeds as f64 / start.elapsed().as_secs_f64();
    println!("{seeds} seeds, {per_second:.1} a second: {total}");
    let has_all = total.answered > 0
        && total.changes > 0
        && total.transfers > 0
        && total.wipes > 0
        && total.scripts > 0;
    assert!(
        has_all || seeds < 100,
        "many seeds and not every fault: {total}"
    );
}

#[test]
fn the_same_seed_does_the_same_again() {
    let runs = [(); 2].map(|()| violation_of(7, None).map(|summary| summary.to_string()));
    assert_eq!(runs[0], runs[1]);
}

#[test]
fn the_checkers_find_planted_bugs() {
    for bug in Planted::ALL {
        let within = 400;
        let found = (1..=within).find_map(|seed| violation_of(seed, Some(bug)).err());
        let found = found.unwrap_or_else(|| panic!("{bug:?} goes unnoticed for {within} seeds"));
        let text = found.to_string();
        println!("{bug:?}: {}", text.lines().next().unwrap_or_default());
    }
}
