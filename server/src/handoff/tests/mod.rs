//! Groups in memory, with operators, clients, and drivers that are killed between any two steps.
//!
//! Everything follows from a seed, which is printed when something is wrong. `HANDOFF_SEEDS` runs
//! more of them, from `HANDOFF_FIRST_SEED` on.

mod chance;
mod world;

use std::env;

use chance::Chance;
use world::{Faults, World};

/// Steps of chaos in a run.
const STEPS: usize = 400;

fn number(name: &str, otherwise: u64) -> u64 {
    env::var(name).map_or(otherwise, |text| text.parse().expect("a number"))
}

fn run(seed: u64, faults: Faults) {
    let mut world = World::new(Chance::new(seed), faults);
    for _ in 0..STEPS {
        world.step();
        world.check();
    }
    world.settle();
    world.check_all_keys();
}

fn run_seeds(faults: Faults, count: u64) {
    let first = number("HANDOFF_FIRST_SEED", 1);
    for seed in first..first + number("HANDOFF_SEEDS", count) {
        let result = std::panic::catch_unwind(|| run(seed, faults));
        assert!(
            result.is_ok(),
            "HANDOFF_FIRST_SEED={seed} HANDOFF_SEEDS=1 {faults:?}"
        );
    }
}

#[test]
fn prefixes_change_hands_while_clients_write() {
    run_seeds(Faults::NONE, 40);
}

#[test]
fn killed_drivers_and_lost_orders_leave_one_owner_and_every_write() {
    run_seeds(Faults::ALL, 150);
}

#[test]
fn a_handoff_without_faults_needs_one_attempt() {
    let mut world = World::new(Chance::new(7), Faults::NONE);
    for number in 0..3000 {
        world.write(format!("a:{number}").as_bytes());
    }
    world.decide("_DELEGATE", b"a:", Some(1));
    world.settle();
    assert_eq!(world.owner_of(b"a:1"), Some(1));
    assert_eq!(world.attempts(), 1);
    world.decide("_MOVE", b"a:", Some(2));
    world.settle();
    assert_eq!(world.owner_of(b"a:1"), Some(2));
    world.decide("_DROP", b"a:", None);
    world.settle();
    assert_eq!(world.owner_of(b"a:1"), Some(0));
    assert_eq!(world.attempts(), 3);
    world.check_all_keys();
}

#[test]
fn a_flush_while_keys_are_copied_does_not_bring_them_back() {
    let mut world = World::new(Chance::new(3), Faults::NONE);
    for number in 0..5000 {
        world.write(format!("a:{number}").as_bytes());
    }
    world.decide("_DELEGATE", b"a:", Some(1));
    for _ in 0..8 {
        world.drive();
    }
    world.flush_all();
    world.write(b"a:1");
    world.settle();
    assert_eq!(world.owner_of(b"a:1"), Some(1));
    world.check_all_keys();
}
