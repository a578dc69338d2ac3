//! Hurts a cluster under load for as long as wanted, and checks what it told its clients.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bailiwick_tests::chaos::{Fault, Plan, run};
use clap::Parser;

/// Hurts clusters under load and checks histories, data and errors.
///
/// Runs rounds of three quarters of a minute, each with a cluster and a seed of its own; in every
/// third one commands wait less for a leader than an election takes, so that they fail. The
/// Bailiwick program is the one beside this one, or in BAILIWICK_BIN.
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
    /// Only these kinds of faults, such as KillLeader,SlowLinks
    #[arg(long, value_delimiter = ',')]
    faults: Vec<String>,
    /// How long one fault lasts at most, in milliseconds
    #[arg(long, default_value_t = 3000)]
    fault_ms: u64,
}

/// Bounds a history, and what a failure has to be looked for in.
const ROUND: Duration = Duration::from_secs(45);

/// Of a round in which commands fail, in milliseconds.
const IMPATIENT_MS: u64 = 250;

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
        plan.faults = chosen(&arguments.faults)?;
        if seed.is_multiple_of(3) {
            plan.request_timeout_ms = Some(IMPATIENT_MS);
        }
        println!("{}", run(&plan)?);
        seed += 1;
        rounds += 1;
    }
    println!("{rounds} rounds without a violation");
    Ok(())
}

/// The faults with these names; all of them if there is no name.
fn chosen(names: &[String]) -> Result<Vec<Fault>> {
    let mut faults = Fault::ALL.to_vec();
    let name = |fault: &Fault| format!("{fault:?}");
    for named in names {
        ensure!(
            faults.iter().any(|fault| name(fault) == *named),
            "there is no fault {named}; there are {:?}",
            Fault::ALL
        );
    }
    if !names.is_empty() {
        faults.retain(|fault| names.contains(&name(fault)));
    }
    Ok(faults)
}
