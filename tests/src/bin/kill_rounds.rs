//! Kills a node under load, for as many rounds as wanted, and checks that nothing is lost.

use anyhow::Result;
use bailiwick_tests::kill::{Ending, Plan, run};
use clap::Parser;

/// Ends a Bailiwick node under load and checks what it has kept.
///
/// The Bailiwick program is the one beside this one, or in BAILIWICK_BIN.
#[derive(Parser)]
struct Arguments {
    /// How many times the node is ended
    #[arg(long, default_value_t = 200)]
    rounds: u32,
    /// Repeats the same load and moments; the machine's timing still differs
    #[arg(long)]
    seed: Option<u64>,
    /// Connections that write
    #[arg(long, default_value_t = 6)]
    writers: usize,
    /// How long a round lasts at most, in milliseconds
    #[arg(long, default_value_t = 600)]
    round_ms: u64,
    /// End some rounds with SIGTERM or SHUTDOWN instead
    #[arg(long)]
    also_orderly: bool,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let seed = arguments.seed.unwrap_or_else(|| fastrand::u64(..));
    println!("seed {seed}");
    let mut endings = vec![Ending::Kill, Ending::Kill];
    if arguments.also_orderly {
        endings.extend([Ending::Terminate, Ending::Shutdown]);
    }
    let summary = run(&Plan {
        seed,
        rounds: arguments.rounds,
        writers: arguments.writers,
        round_ms: arguments.round_ms,
        endings,
        verbose: true,
    })?;
    println!("{} rounds, nothing lost: {summary:?}", arguments.rounds);
    Ok(())
}
