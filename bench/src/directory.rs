//! `directory`: how long a node that joins takes to learn of all prefixes.
//!
//! Three nodes form the root group, and a fourth one belongs to no group. While the fourth is down,
//! clients create many prefixes; then it starts with an empty data directory, pulls the signed
//! records from the others, checks each of them, and the clock stops when it knows all. Shown
//! beside it is how long after the last order the nodes that were up knew all.
//!
//! How it fails: nodes that do not know all by `--limit`, or end.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use crate::admin::Admin;
use crate::cluster::{Cluster, Place, Plan};
use crate::interrupt;
use crate::node_program::NodeProgram;
use crate::report::{self, Machine, Table, figure};

/// The longest time until the node that joins knows all.
const GOAL_S: f64 = 10.0;

const GROUP: &str = "root";

/// The members of the root group, and the node that joins.
const MEMBERS: usize = 3;
const JOINER: Place = MEMBERS;

/// Between two looks at how much a node knows.
const LOOK: Duration = Duration::from_millis(10);

/// The arguments of `directory`.
#[derive(Debug, clap::Args)]
pub(crate) struct DirectoryArgs {
    #[command(flatten)]
    node: NodeProgram,
    /// Prefixes that there are
    #[arg(long, default_value_t = 100_000)]
    prefixes: u64,
    /// Connections that create them
    #[arg(long, default_value_t = 32)]
    clients: usize,
    /// How often the node joins
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// The longest time of a round in seconds
    #[arg(long, default_value_t = 300.0)]
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
    prefixes: u64,
    create_s: f64,
    /// From the last order until all members knew all.
    spread_s: f64,
    goal_s: f64,
    met: bool,
    rounds: Vec<Round>,
}

/// One time of joining.
#[derive(Clone, Copy, Debug, Serialize)]
struct Round {
    /// From the start of the process until it knows all.
    join_s: f64,
    /// Until it answers, which is part of that.
    listening_s: f64,
    /// Processor time of the node that joins, meanwhile.
    cpu_s: f64,
}

/// Measures, prints and writes the times.
///
/// # Errors
/// See the module.
pub(crate) fn run(args: &DirectoryArgs) -> Result<()> {
    ensure!(args.rounds > 0, "the node has to join at least once");
    ensure!(args.clients > 0, "somebody has to create the prefixes");
    let plan = Plan {
        nodes: MEMBERS + 1,
        groups: vec![(GROUP, (0..MEMBERS).collect())],
        prefixes: Vec::new(),
    };
    let mut cluster = Cluster::start_as(&plan, &args.node, &[])?;
    let outcome = measure(args, &mut cluster);
    let report = outcome.map_err(|error| cluster.explain(error))?;
    report::publish(&table(&report), &report, args.json.as_deref())
}

fn measure(args: &DirectoryArgs, cluster: &mut Cluster) -> Result<Report> {
    let leader = cluster.wait_for_leader_of(GROUP)?;
    cluster.kill(JOINER);
    let creating = Instant::now();
    create(args, cluster.address(leader))?;
    let create_s = creating.elapsed().as_secs_f64();
    let spreading = Instant::now();
    for place in 0..MEMBERS {
        wait_until_known(args, cluster, place)?;
    }
    let spread_s = spreading.elapsed().as_secs_f64();
    eprintln!(
        "{} prefixes created in {create_s:.1} s, known to {MEMBERS} nodes {spread_s:.1} s later",
        args.prefixes
    );
    let mut rounds = Vec::new();
    for number in 0..args.rounds {
        let round = join(args, cluster)?;
        eprintln!(
            "{}/{}: {} prefixes known after {:.1} s",
            number + 1,
            args.rounds,
            args.prefixes,
            round.join_s
        );
        rounds.push(round);
    }
    let longest = rounds.iter().map(|round| round.join_s).fold(0.0, f64::max);
    Ok(Report {
        machine: Machine::this(),
        bailiwick_version: cluster.version()?,
        prefixes: args.prefixes,
        create_s,
        spread_s,
        goal_s: GOAL_S,
        met: longest <= GOAL_S,
        rounds,
    })
}

/// Creates all prefixes, for the group that has their keys already, so that nothing moves.
fn create(args: &DirectoryArgs, address: SocketAddr) -> Result<()> {
    let create_some = |first: u64| -> Result<()> {
        let mut admin = Admin::connect(address)?;
        for number in (first..args.prefixes).step_by(args.clients) {
            interrupt::check()?;
            let prefix = format!("tenant:{number}:");
            admin.ask(&["PREFIX", "CREATE", &prefix, "GROUP", GROUP])?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let clients = 0..args.clients as u64;
        let clients: Vec<_> = clients
            .map(|first| scope.spawn(move || create_some(first)))
            .collect();
        clients.into_iter().try_for_each(|client| {
            let created = client.join();
            created.expect("creating prefixes does not panic")
        })
    })
}

fn join(args: &DirectoryArgs, cluster: &mut Cluster) -> Result<Round> {
    cluster.kill(JOINER);
    cluster.wipe(JOINER)?;
    let begun = Instant::now();
    cluster.restart(JOINER)?;
    let clock = cluster.clock(JOINER)?;
    while known(cluster, JOINER).is_err() {
        pause(args, cluster, begun)?;
    }
    let listening_s = begun.elapsed().as_secs_f64();
    wait_until_known(args, cluster, JOINER)?;
    Ok(Round {
        join_s: begun.elapsed().as_secs_f64(),
        listening_s,
        cpu_s: clock.read()?.as_secs_f64(),
    })
}

fn wait_until_known(args: &DirectoryArgs, cluster: &mut Cluster, place: Place) -> Result<()> {
    let begun = Instant::now();
    // The empty prefix is one, too.
    while known(cluster, place)? <= args.prefixes {
        pause(args, cluster, begun)?;
    }
    Ok(())
}

/// How many prefixes a node knows.
fn known(cluster: &Cluster, place: Place) -> Result<u64> {
    let mut admin = Admin::connect(cluster.address(place))?;
    let known = admin.info("cluster", "directory_prefixes")?;
    Ok(known
        .context("INFO without 'directory_prefixes'")?
        .parse()?)
}

fn pause(args: &DirectoryArgs, cluster: &mut Cluster, begun: Instant) -> Result<()> {
    interrupt::check()?;
    cluster.check_alive()?;
    ensure!(
        begun.elapsed().as_secs_f64() < args.limit,
        "a node does not know all prefixes within {} s",
        args.limit
    );
    std::thread::sleep(LOOK);
    Ok(())
}

fn table(report: &Report) -> Table {
    let mut table = Table::new(1, &["joining", "s", "s until it listens", "CPU s"]);
    for (number, round) in report.rounds.iter().enumerate() {
        table.row(vec![
            (number + 1).to_string(),
            figure(round.join_s, 2),
            figure(round.listening_s, 2),
            figure(round.cpu_s, 2),
        ]);
    }
    table.goal(report.met, [(1, format!("<={GOAL_S}"))]);
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_a_row_for_each_time_and_the_goal() {
        let round = Round {
            join_s: 4.0,
            listening_s: 0.1,
            cpu_s: 3.0,
        };
        let report = Report {
            machine: Machine::this(),
            bailiwick_version: "0".to_owned(),
            prefixes: 5,
            create_s: 1.0,
            spread_s: 0.1,
            goal_s: GOAL_S,
            met: true,
            rounds: vec![round, round],
        };
        let text = table(&report).render();
        assert_eq!(text.lines().filter(|line| line.contains("4.00")).count(), 2);
        assert!(text.contains("goal: met"), "{text}");
    }
}
