//! Moves prefixes between regions, as often as wanted, while clients use them and leaders die.

use anyhow::Result;
use bailiwick_tests::regions::moving::{self, Plan};
use bailiwick_tests::regions::{Layout, World};
use clap::Parser;

/// Moves prefixes around three regions of three nodes under load, and checks that no acknowledged
/// write is lost, no key has two owners, and no client hears an error that is not its own node's
/// death.
///
/// The Bailiwick program is the one beside this one, or in BAILIWICK_BIN.
#[derive(Parser)]
struct Arguments {
    /// How many moves
    #[arg(long, default_value_t = 100)]
    moves: usize,
    /// The first round's seed; the next ones count up
    #[arg(long)]
    seed: Option<u64>,
    /// Keys that nobody writes meanwhile
    #[arg(long, default_value_t = 10_000)]
    keys: usize,
    /// Let leaders live
    #[arg(long)]
    without_kills: bool,
}

/// Moves of one prefix, one after the other; then its histories are judged. Bounds what a failure
/// has to be looked for in.
const MOVES_PER_ROUND: usize = 10;

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let mut seed = arguments.seed.unwrap_or_else(|| fastrand::u64(..1 << 32));
    let mut world = World::start(&Layout::three(3))?;
    let (mut done, mut kills) = (0, 0);
    while done < arguments.moves {
        let moves = MOVES_PER_ROUND.min(arguments.moves - done);
        let route = ["eu", "us", "ap"].iter().cycle().map(ToString::to_string);
        let plan = Plan {
            seed,
            prefix: format!("moving-{seed}:"),
            keys: arguments.keys,
            route: route.take(moves + 1).collect(),
            kills: !arguments.without_kills,
        };
        let summary = moving::run(&mut world, &plan)?;
        done += moves;
        kills += summary.kills;
        let longest = summary.moves.iter().max().copied().unwrap_or_default();
        println!(
            "{done} moves, {kills} leaders killed; in this round {} operations answered, {} with an \
             unknown outcome, the longest move took {longest:.1?}",
            summary.answered, summary.unknown
        );
        seed += 1;
    }
    println!("{done} moves without a violation");
    Ok(())
}
