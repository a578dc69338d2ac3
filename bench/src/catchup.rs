//! `catchup`: what a follower that missed many writes costs the group when it comes back.
//!
//! Three nodes under a closed loop of writes through the leader. Measured are the throughput of
//! the whole group, that of the two nodes left after a follower was killed, and, after `--writes`
//! more writes, that from the follower's restart until it has executed what the leader had. On one
//! machine the returning node also takes processor time from the others, which in a real group it
//! would not; the ratio to be had elsewhere is no worse than the one shown.
//!
//! How it fails: a follower that has not caught up by `--limit`.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use serde::Serialize;

use crate::cluster::{Cluster, Place};
use crate::load::{Generator, LoadOutcome, LoadSpec};
use crate::node_program::NodeProgram;
use crate::report::{self, Machine, Table, figure, times};
use crate::requests::Mix;
use crate::schedule::Stop;
use crate::stats::{quantile_us, ratio};

const GOAL: f64 = 0.8;

/// The pipeline with which the follower's absence is filled.
const FILL_PIPELINE: u64 = 64;

/// The arguments of `catchup`.
#[derive(Debug, clap::Args)]
pub(crate) struct CatchupArgs {
    #[command(flatten)]
    node: NodeProgram,
    /// Writes that the follower misses
    #[arg(long, default_value_t = 2_000_000)]
    writes: u64,
    /// Connections
    #[arg(long, default_value_t = 50)]
    clients: usize,
    /// Requests in flight per connection of the steady load
    #[arg(long, default_value_t = 1)]
    pipeline: u64,
    /// Steady load in requests per second [default: as fast as replies come]
    #[arg(long)]
    rate: Option<f64>,
    /// Keys, taken at random
    #[arg(long, default_value_t = 100_000)]
    keys: u64,
    /// Length of each value
    #[arg(long, default_value_t = 64)]
    value_bytes: usize,
    /// Length of the measurements before the restart in seconds
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// The longest time to catch up in seconds
    #[arg(long, default_value_t = 600.0)]
    limit: f64,
    /// Write the JSON here instead of after the table
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Everything measured, as it goes to JSON.
#[derive(Debug, Serialize)]
struct Report {
    machine: Machine,
    bailiwick_version: String,
    writes_missed: u64,
    entries_missed: u64,
    before: Phase,
    two_nodes: Phase,
    catching_up: Phase,
    catch_up_s: f64,
    /// Throughput while catching up over that of the whole group before.
    ratio: f64,
    ratio_goal: f64,
    met: bool,
}

/// What the clients saw meanwhile.
#[derive(Clone, Copy, Debug, Serialize)]
struct Phase {
    seconds: f64,
    operations_per_s: f64,
    p50_us: f64,
    p99_us: f64,
}

/// Measures, prints and writes the throughputs.
///
/// # Errors
/// See the module.
pub(crate) fn run(args: &CatchupArgs) -> Result<()> {
    let mut cluster = Cluster::start(&args.node, &["--fsync", "always"])?;
    let outcome = measure(args, &mut cluster);
    let report = outcome.map_err(|error| cluster.explain(error))?;
    report::publish(&table(&report), &report, args.json.as_deref())
}

fn measure(args: &CatchupArgs, cluster: &mut Cluster) -> Result<Report> {
    let leader = cluster.wait_for_leader()?;
    let follower = cluster.others(leader)[0];
    let length = Duration::try_from_secs_f64(args.seconds)?;
    let mut steady = Generator::connect(spec(args, cluster, leader))?;
    steady.run(&Stop::After(length / 5))?;
    let before = Phase::of("three nodes", &steady.run(&Stop::After(length))?);
    cluster.kill(follower);
    let killed_at = cluster.view(leader)?.applied;
    fill(args, cluster, leader)?;
    let two_nodes = Phase::of("two nodes", &steady.run(&Stop::After(length))?);
    let entries_missed = cluster.view(leader)?.applied.saturating_sub(killed_at);
    let (outcome, caught_up) = catch_up(args, cluster, follower, steady)?;
    let catching_up = Phase::of("catching up", &outcome);
    let ratio = ratio(catching_up.operations_per_s, before.operations_per_s);
    Ok(Report {
        machine: Machine::this(),
        bailiwick_version: cluster.version()?,
        writes_missed: args.writes,
        entries_missed,
        before,
        two_nodes,
        catching_up,
        catch_up_s: caught_up.as_secs_f64(),
        ratio,
        ratio_goal: GOAL,
        met: ratio >= GOAL,
    })
}

fn fill(args: &CatchupArgs, cluster: &Cluster, leader: Place) -> Result<()> {
    let mut fill = spec(args, cluster, leader);
    fill.pipeline = FILL_PIPELINE;
    fill.rate = None;
    let outcome = Generator::connect(fill)?.run(&Stop::Requests(args.writes))?;
    eprintln!(
        "{} writes missed in {:.1} s",
        args.writes,
        outcome.elapsed.as_secs_f64()
    );
    Ok(())
}

/// Restarts the follower under load; what the load saw until it had caught up, and when that was.
fn catch_up(
    args: &CatchupArgs,
    cluster: &mut Cluster,
    follower: Place,
    mut steady: Generator,
) -> Result<(LoadOutcome, Duration)> {
    let limit = Duration::try_from_secs_f64(args.limit)?;
    let over = Arc::new(AtomicBool::new(false));
    // The load has the thread of its own, because a node must be started on the main one.
    let load = std::thread::spawn({
        let over = Arc::clone(&over);
        move || steady.run(&Stop::When(over))
    });
    let start = Instant::now();
    let level = cluster
        .restart(follower)
        .and_then(|()| cluster.wait_until_level(follower, limit));
    let elapsed = start.elapsed();
    over.store(true, Ordering::Relaxed);
    let outcome = load.join().expect("the load returns its errors");
    // If both failed, the load tells more: then it is the leader that is gone.
    let outcome = outcome?;
    level?;
    Ok((outcome, elapsed))
}

fn spec(args: &CatchupArgs, cluster: &Cluster, leader: Place) -> LoadSpec {
    let address = cluster.address(leader);
    let size = (args.keys, args.value_bytes);
    LoadSpec {
        pipeline: args.pipeline,
        rate: args.rate,
        ..LoadSpec::at_random(address, args.clients, Mix::Set, size)
    }
}

impl Phase {
    fn of(name: &str, outcome: &LoadOutcome) -> Self {
        let phase = Self {
            seconds: outcome.elapsed.as_secs_f64(),
            operations_per_s: outcome.operations_per_s(),
            p50_us: quantile_us(&outcome.latency, 0.5),
            p99_us: quantile_us(&outcome.latency, 0.99),
        };
        eprintln!("{name}: {:.0}/s", phase.operations_per_s);
        phase
    }
}

fn table(report: &Report) -> Table {
    let head = ["phase", "s", "kop/s", "p50 us", "p99 us", "ratio"];
    let mut table = Table::new(1, &head);
    let phases = [
        ("three nodes", report.before),
        ("two nodes", report.two_nodes),
        ("catching up", report.catching_up),
    ];
    for (name, phase) in phases {
        let before = report.before.operations_per_s;
        table.row(vec![
            name.to_owned(),
            figure(phase.seconds, 1),
            figure(phase.operations_per_s / 1e3, 1),
            figure(phase.p50_us, 0),
            figure(phase.p99_us, 0),
            times(ratio(phase.operations_per_s, before)),
        ]);
    }
    let last = head.len() - 1;
    table.goal(report.met, [(last, format!(">={}", times(GOAL)))]);
    table
}
