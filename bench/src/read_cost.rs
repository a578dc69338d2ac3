//! `read-cost`: what a linearizable read costs the leader of three, beside a single node.
//!
//! A cluster and a node by itself run side by side, both with `--fsync always`; runs of reads
//! alternate between the cluster's leader and the single node. What counts is the processor time
//! of the process that answers; that of the two followers is shown beside it, because a read that
//! asked them would show there. Each round starts both afresh, as how a process happens to lie in
//! memory moves its processor time for as long as it lives.
//!
//! How it fails: a read that finds nothing, a leader that changes under way, or a server that ends.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde::Serialize;

use crate::cluster::{Cluster, Place};
use crate::cpu::ProcessClock;
use crate::report::{self, Table, figure, times};
use crate::requests::Mix;
use crate::sampling::{Sampling, Setup};
use crate::servers::{Binaries, Class, Kind, Server};
use crate::stats::{Figures, median};
use crate::timed::RunLength;

const GOAL: f64 = 1.15;

/// Everything measured, as it goes to JSON.
#[derive(Debug, Serialize)]
struct Report {
    #[serde(flatten)]
    setup: Setup,
    cpu_ratio_goal: f64,
    rows: Vec<Row>,
}

/// One pipeline.
#[derive(Debug, Serialize)]
struct Row {
    pipeline: u64,
    single: Figures,
    leader: Figures,
    /// Processor time of both followers together, the median over rounds.
    followers_cpu_ns_per_operation: f64,
    /// Leader over single node, the median over rounds.
    ratio: Figures,
    met: bool,
    single_runs: Vec<Figures>,
    leader_runs: Vec<Figures>,
    followers_runs: Vec<f64>,
}

/// Measures, prints and writes the costs.
///
/// # Errors
/// See the module.
pub(crate) fn run(args: &Sampling) -> Result<()> {
    ensure!(args.rounds > 0, "at least one round is needed");
    let mut report = Report {
        setup: args.setup(),
        cpu_ratio_goal: GOAL,
        rows: args
            .pipelines
            .iter()
            .map(|pipeline| Row::new(*pipeline))
            .collect(),
    };
    for round in 1..=args.rounds {
        let mut cluster = Cluster::start(&args.node, &["--fsync", "always"])?;
        let binaries = Binaries::of_node(&args.node);
        let single = Server::start(&binaries, Kind::Bailiwick, Class::Always)?;
        let outcome = measure_round(args, &mut cluster, &single, round, &mut report);
        outcome.map_err(|error| single.explain(cluster.explain(error)))?;
    }
    report.rows.iter_mut().for_each(Row::summarise);
    report::publish(&table(&report.rows), &report, args.json.as_deref())
}

fn measure_round(
    args: &Sampling,
    cluster: &mut Cluster,
    single: &Server,
    round: usize,
    report: &mut Report,
) -> Result<()> {
    let leader = cluster.wait_for_leader()?;
    report.setup.bailiwick_version = cluster.version()?;
    for address in [single.address(), cluster.address(leader)] {
        args.fill(address)?;
    }
    for place in cluster.others(leader) {
        cluster.wait_until_level(place, SETTLE_TIMEOUT)?;
    }
    let (single_clock, leader_clock) = (single.clock()?, cluster.clock(leader)?);
    let length = RunLength::new(args.warm_up, args.seconds)?;
    for row in &mut report.rows {
        let seed = round as u64;
        let load = |address| args.spec(address, Mix::Get, row.pipeline, seed);
        let (figures, _) = length.run(load(single.address()), &single_clock, &[])?;
        row.single_runs.push(figures);
        let load = load(cluster.address(leader));
        let followers = follower_clocks(cluster, leader)?;
        let (figures, beside_ns) = length.run(load, &leader_clock, &followers)?;
        row.leader_runs.push(figures);
        row.followers_runs.push(beside_ns);
        let still = cluster.view(leader)?.leader;
        ensure!(still == Some(leader), "the leader has changed");
        row.show_progress(round, args.rounds);
    }
    Ok(())
}

const SETTLE_TIMEOUT: Duration = Duration::from_secs(60);

fn follower_clocks(cluster: &Cluster, leader: Place) -> Result<Vec<ProcessClock>> {
    let others = cluster.others(leader).into_iter();
    others.map(|place| cluster.clock(place)).collect()
}

impl Row {
    fn new(pipeline: u64) -> Self {
        let none = Figures::median(&[]);
        Self {
            pipeline,
            single: none,
            leader: none,
            followers_cpu_ns_per_operation: f64::NAN,
            ratio: none,
            met: false,
            single_runs: Vec::new(),
            leader_runs: Vec::new(),
            followers_runs: Vec::new(),
        }
    }

    fn summarise(&mut self) {
        self.single = Figures::median(&self.single_runs);
        self.leader = Figures::median(&self.leader_runs);
        self.followers_cpu_ns_per_operation = median(self.followers_runs.iter().copied());
        self.ratio = Figures::median_ratio(&self.leader_runs, &self.single_runs);
        self.met = self.ratio.server_cpu_ns_per_operation <= GOAL;
    }

    fn show_progress(&self, round: usize, rounds: usize) {
        for (name, runs) in [("single", &self.single_runs), ("leader", &self.leader_runs)] {
            let Some(last) = runs.last() else { continue };
            eprintln!(
                "{round}/{rounds} get pipeline {} {name}: {:.0}/s, {:.0} ns per operation",
                self.pipeline, last.operations_per_s, last.server_cpu_ns_per_operation,
            );
        }
    }
}

fn table(rows: &[Row]) -> Table {
    let head = [
        "pipeline",
        "server",
        "kop/s",
        "p50 us",
        "p99 us",
        "cpu ns/op",
        "followers ns/op",
    ];
    let mut table = Table::new(2, &head);
    for row in rows {
        let beside = row.followers_cpu_ns_per_operation;
        let lines = [
            ("single", row.single, f64::NAN),
            ("leader", row.leader, beside),
        ];
        for (name, figures, beside) in lines {
            table.row(vec![
                row.pipeline.to_string(),
                name.to_owned(),
                figure(figures.operations_per_s / 1e3, 1),
                figure(figures.p50_us, 0),
                figure(figures.p99_us, 0),
                figure(figures.server_cpu_ns_per_operation, 0),
                figure(beside, 0),
            ]);
        }
        table.row(vec![
            row.pipeline.to_string(),
            if row.met {
                "ratio: met"
            } else {
                "ratio: missed"
            }
            .to_owned(),
            times(row.ratio.operations_per_s),
            times(row.ratio.p50_us),
            times(row.ratio.p99_us),
            times(row.ratio.server_cpu_ns_per_operation),
            String::new(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_goal_is_processor_time_of_the_leader_over_that_of_the_single_node() {
        let run = |cpu_ns| Figures {
            server_cpu_ns_per_operation: cpu_ns,
            ..Figures::median(&[])
        };
        let mut row = Row::new(1);
        row.single_runs.push(run(1000.0));
        row.leader_runs.push(run(1150.0));
        row.summarise();
        assert!(row.met);
        row.leader_runs[0] = run(1160.0);
        row.summarise();
        assert!(!row.met);
    }
}
