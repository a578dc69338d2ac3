//! Whole clusters of several groups in simulation: some seeds without a bug, and bugs that have to
//! be found.
//!
//! `SIMULATION_FIRST_SEED` and `SIMULATION_SEEDS` choose other seeds; `cargo run --release -p
//! bailiwick-tests --bin simulate -- --groups 3` runs as many as wanted.

use std::ops::RangeInclusive;
use std::time::Instant;

use bailiwick_tests::simulation::several::{BUGS, Summary, violation_of};

/// Groups in a cluster.
const GROUPS: u32 = 3;
/// With one group more, there are several to which a prefix can move on; these few seeds are enough
/// to have shown a bug that clusters of three groups had not.
const MORE_GROUPS_SEEDS: u64 = 8;
/// Within so many seeds each planted bug has to be found.
const FOUND_WITHIN: u64 = 150;

fn number(name: &str, default: u64) -> u64 {
    let value = std::env::var(name).ok();
    value.map_or(default, |value| value.parse().expect("a number"))
}

/// Runs these seeds, which have to break no promise, and says what they came across.
fn run(groups: u32, seeds: RangeInclusive<u64>) -> Summary {
    let start = Instant::now();
    let mut total = Summary::default();
    for seed in seeds.clone() {
        match violation_of(seed, groups, None) {
            Ok(summary) => total.add(&summary),
            Err(violation) => panic!("{violation}"),
        }
    }
    let count = seeds.count();
    let per_second = count as f64 / start.elapsed().as_secs_f64();
    println!("{count} seeds of {groups} groups, {per_second:.1} a second: {total}");
    total
}

#[test]
fn prefixes_that_move_under_faults_break_no_promise() {
    let first = number("SIMULATION_FIRST_SEED", 1);
    let seeds = number("SIMULATION_SEEDS", 60);
    let total = run(GROUPS, first..=first + seeds - 1);
    let has_all = total.handoffs > 0
        && total.strays > 0
        && total.swaps > 0
        && total.complete_listings > 0
        && total.forgeries > 0
        && total.changes > 0
        && total.passed_on >= seeds
        && total.served > 0
        && total.asked_anew > 0
        && total.scripts > 0;
    assert!(
        has_all || seeds < 30,
        "many seeds and not everything: {total}"
    );
}

#[test]
fn one_group_more_breaks_no_promise_either() {
    let total = run(GROUPS + 1, 1..=MORE_GROUPS_SEEDS);
    assert!(total.handoffs > 0 && total.complete_listings > 0, "{total}");
}

#[test]
fn the_same_seed_of_several_groups_does_the_same_again() {
    let run = |()| violation_of(5, GROUPS, None).map(|summary| summary.to_string());
    let runs = [(); 2].map(run);
    assert_eq!(runs[0], runs[1]);
}

#[test]
fn the_checkers_find_bugs_of_handing_over() {
    for (name, bug) in BUGS {
        let found = (1..=FOUND_WITHIN).find_map(|seed| violation_of(seed, GROUPS, Some(bug)).err());
        let found =
            found.unwrap_or_else(|| panic!("{name} goes unnoticed for {FOUND_WITHIN} seeds"));
        let text = found.to_string();
        println!("{name}: {}", text.lines().next().unwrap_or_default());
    }
}
