//! Random commands on Bailiwick and Redis side by side; more seeds with the program
//! `differential`.

#![allow(
    clippy::unwrap_used,
    reason = "a test that fails by panicking fails as it should"
)]

use bailiwick_frame::Protocol;
use bailiwick_tests::differential::{Pair, run_seed};

const STEPS: usize = 300;

#[test]
fn random_commands_get_the_replies_that_redis_gives_in_resp2() {
    compare(1..121, Protocol::Resp2);
}

#[test]
fn random_commands_get_the_replies_that_redis_gives_in_resp3() {
    compare(1001..1121, Protocol::Resp3);
}

fn compare(seeds: std::ops::Range<u64>, protocol: Protocol) {
    let pair = Pair::start().unwrap();
    for seed in seeds {
        if let Some((_, text)) = run_seed(&pair, seed, STEPS, protocol).unwrap() {
            panic!("{text}");
        }
    }
}
