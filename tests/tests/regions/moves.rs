//! Prefixes that move under load.

use bailiwick_tests::regions::moving::{self, Plan};
use bailiwick_tests::regions::{Layout, World};

const KEYS: usize = 10_000;

fn run(seed: u64, kills: bool, rounds: usize) {
    let mut world = World::start(&Layout::three(3)).unwrap();
    let route = ["eu", "us", "ap"].iter().cycle().map(ToString::to_string);
    let plan = Plan {
        seed,
        prefix: "moving:".to_owned(),
        keys: KEYS,
        route: route.take(rounds + 1).collect(),
        kills,
    };
    let summary = moving::run(&mut world, &plan).unwrap();
    assert!(summary.answered > 0);
    println!("{summary:?}");
}

#[test]
fn a_prefix_moves_under_load_and_nobody_hears_an_error() {
    run(1, false, 4);
}

#[test]
fn a_prefix_moves_while_leaders_on_both_sides_are_killed() {
    run(2, true, 4);
}
