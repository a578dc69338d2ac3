//! Hurts a cluster under load for as long as wanted, and checks what it told its clients.

use std::time::{Duration, Instant};

use anyhow::Result;
use bailiwick_tests::chaos::{Plan, run};
use clap::Parser;

/// Hurts clusters under load and checks histories, data and errors.
///
/// Runs rounds of half a minute, each with a cluster and a seed of its own. The Bailiwick program is
/// the one beside this one, or in BAILIWICK_BIN.
#[derive(Parser)]
struct Arguments {
    /// How long, in seconds
    #[arg(long, default_value_t = 120)]
    seconds: u64,
    /// The first round's seed; the next ones count up
    #[arg(long)]
    seed: Option<u64>,
    /// How many nodes
    #[arg(long, default_value_t = 3)]
    nodes: u32,
    /// How long one fault lasts at most, in milliseconds
    #[arg(long, default_value_t = 3000)]
    fault_ms: u64,
}

/// Bounds a history, and what a failure has to be looked for in.
const ROUND: Duration = Duration::from_secs(30);

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let mut seed = arguments.seed.unwrap_or_else(|| fastrand::u64(..1 << 32));
    let total = Duration::from_secs(arguments.seconds);
    let start = Instant::now();
    let mut rounds = 0;
    while start.elapsed() < total {
        println!("seed {seed}");
        let duration = ROUND.min(total.saturating_sub(start.elapsed()));
        let mut plan = Plan::new(arguments.nodes, seed, duration);
        plan.fault = Duration::from_millis(arguments.fault_ms);
        println!("{}", run(&plan)?);
        seed += 1;
        rounds += 1;
    }
    println!("{rounds} rounds without a violation");
    Ok(())
}
