//! Runs random commands on Bailiwick and Redis side by side, for as many seeds as wanted.

use std::collections::BTreeSet;
use std::process::ExitCode;

use anyhow::Result;
use bailiwick_frame::Protocol;
use bailiwick_tests::differential::{Pair, run_seed};
use clap::Parser;

/// Compares Bailiwick with redis-server on random commands.
///
/// The Bailiwick program is the one beside this one, or in BAILIWICK_BIN.
#[derive(Parser)]
struct Arguments {
    /// The first seed
    #[arg(long, default_value_t = 1)]
    first: u64,
    /// How many seeds
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// Commands in a sequence
    #[arg(long, default_value_t = 300)]
    steps: usize,
    /// Go on after a difference, and show each kind once
    #[arg(long)]
    keep_going: bool,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let pair = Pair::start()?;
    println!("comparing with Redis {}", pair.redis_version()?);
    let mut seen = BTreeSet::new();
    let mut count = 0;
    for seed in arguments.first..arguments.first + arguments.seeds {
        for protocol in [Protocol::Resp2, Protocol::Resp3] {
            let Some((signature, text)) = run_seed(&pair, seed, arguments.steps, protocol)? else {
                continue;
            };
            count += 1;
            if seen.insert(signature) {
                println!("{text}");
            }
            if !arguments.keep_going {
                return Ok(ExitCode::FAILURE);
            }
        }
    }
    println!(
        "{} seeds, {count} differences of {} kinds",
        arguments.seeds,
        seen.len()
    );
    Ok(if count == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
