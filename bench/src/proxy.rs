//! `proxy`: what it costs to ask a node that has to ask another one.
//!
//! Two nodes on this machine, each a group by itself; all keys belong to one of them, the *owner*.
//! Runs alternate between asking the owner and asking the other node, which passes every request
//! on. Throughput and latencies are what clients see; the processor time of both nodes says what a
//! request costs whichever way it goes. The two nodes and the load generator share the machine, so
//! the throughput of the longer way suffers from all the work there is, which on machines of their
//! own it would not.
//!
//! How it fails: a read that finds nothing, an error reply, or a node that ends.

use anyhow::{Result, ensure};
use serde::Serialize;

use crate::cluster::{Cluster, Place, Plan};
use crate::report::{self, Table, figure, times};
use crate::requests::Mix;
use crate::sampling::{Sampling, Setup};
use crate::stats::{Figures, median};
use crate::timed::RunLength;

/// Throughput through the other node over that of the owner, at the pipeline that counts.
const GOAL: f64 = 0.6;
const GOAL_PIPELINE: u64 = 16;

/// Where all keys are, and the other node.
const OWNER: Place = 1;
const OTHER: Place = 0;

/// Everything measured, as it goes to JSON.
#[derive(Debug, Serialize)]
struct Report {
    #[serde(flatten)]
    setup: Setup,
    throughput_ratio_goal: f64,
    goal_pipeline: u64,
    met: bool,
    rows: Vec<Row>,
}

/// One operation at one pipeline.
#[derive(Debug, Serialize)]
struct Row {
    operation: &'static str,
    #[serde(skip)]
    mix: Mix,
    pipeline: u64,
    direct: Figures,
    /// With the processor time of the owner; that of the other node is beside it.
    proxied: Figures,
    /// Processor time of the node that passes requests on, the median over rounds.
    other_cpu_ns_per_operation: f64,
    /// Proxied over direct, the median over rounds.
    ratio: Figures,
    /// Processor time of both nodes over that of the owner when it is asked directly.
    cpu_ratio: f64,
    direct_runs: Vec<Figures>,
    proxied_runs: Vec<Figures>,
    other_runs: Vec<f64>,
}

/// Measures, prints and writes the costs.
///
/// # Errors
/// See the module.
pub(crate) fn run(args: &Sampling) -> Result<()> {
    ensure!(args.rounds > 0, "at least one round is needed");
    let operations = [("get", Mix::Get), ("set", Mix::Set)];
    let rows = operations.into_iter().flat_map(|(operation, mix)| {
        let pipelines = args.pipelines.iter();
        pipelines.map(move |pipeline| Row::new(operation, mix, *pipeline))
    });
    let mut rows: Vec<Row> = rows.collect();
    let mut setup = args.setup();
    for round in 1..=args.rounds {
        // Afresh each time: how a process happens to lie in memory moves its processor time for as
        // long as it lives.
        let cluster = Cluster::start_as(&plan(), &args.node, &[])?;
        setup.bailiwick_version = cluster.version()?;
        let outcome = measure_round(args, &cluster, round, &mut rows);
        outcome.map_err(|error| cluster.explain(error))?;
    }
    rows.iter_mut().for_each(Row::summarise);
    let report = Report {
        setup,
        throughput_ratio_goal: GOAL,
        goal_pipeline: GOAL_PIPELINE,
        met: rows.iter().all(|row| row.is_met() != Some(false)),
        rows,
    };
    report::publish(&table(&report), &report, args.json.as_deref())
}

/// The prefix is the one that all keys of the load begin with.
fn plan() -> Plan {
    Plan {
        nodes: 2,
        groups: vec![("root", vec![OTHER]), ("owner", vec![OWNER])],
        prefixes: vec![("key:", "owner")],
    }
}

fn measure_round(args: &Sampling, cluster: &Cluster, round: usize, rows: &mut [Row]) -> Result<()> {
    args.fill(cluster.address(OWNER))?;
    let (owner, other) = (cluster.clock(OWNER)?, cluster.clock(OTHER)?);
    let length = RunLength::new(args.warm_up, args.seconds)?;
    for row in rows {
        let seed = round as u64;
        let load = |place| args.spec(cluster.address(place), row.mix, row.pipeline, seed);
        let (direct, _) = length.run(load(OWNER), &owner, &[])?;
        let (proxied, other_ns) = length.run(load(OTHER), &owner, &[other])?;
        row.direct_runs.push(direct);
        row.proxied_runs.push(proxied);
        row.other_runs.push(other_ns);
        eprintln!(
            "{round}/{} {} pipeline {}: {:.0}/s directly, {:.0}/s through the other node",
            args.rounds,
            row.operation,
            row.pipeline,
            direct.operations_per_s,
            proxied.operations_per_s
        );
    }
    Ok(())
}

impl Row {
    fn new(operation: &'static str, mix: Mix, pipeline: u64) -> Self {
        let none = Figures::median(&[]);
        Self {
            operation,
            mix,
            pipeline,
            direct: none,
            proxied: none,
            other_cpu_ns_per_operation: f64::NAN,
            ratio: none,
            cpu_ratio: f64::NAN,
            direct_runs: Vec::new(),
            proxied_runs: Vec::new(),
            other_runs: Vec::new(),
        }
    }

    fn summarise(&mut self) {
        self.direct = Figures::median(&self.direct_runs);
        self.proxied = Figures::median(&self.proxied_runs);
        self.other_cpu_ns_per_operation = median(self.other_runs.iter().copied());
        self.ratio = Figures::median_ratio(&self.proxied_runs, &self.direct_runs);
        let pairs = self.proxied_runs.iter().zip(&self.other_runs);
        let ratios = pairs
            .zip(&self.direct_runs)
            .map(|((proxied, other), direct)| {
                let both = proxied.server_cpu_ns_per_operation + other;
                both / direct.server_cpu_ns_per_operation
            });
        self.cpu_ratio = median(ratios);
    }

    /// Whether it reaches the goal; none if it has none.
    fn is_met(&self) -> Option<bool> {
        let counts = self.pipeline == GOAL_PIPELINE;
        counts.then_some(self.ratio.operations_per_s >= GOAL)
    }
}

fn table(report: &Report) -> Table {
    let head = [
        "test",
        "pipeline",
        "asked",
        "kop/s",
        "p50 us",
        "p99 us",
        "owner ns/op",
        "other ns/op",
    ];
    let mut table = Table::new(3, &head);
    for row in &report.rows {
        let start = |name: &str| {
            vec![
                row.operation.to_owned(),
                row.pipeline.to_string(),
                name.to_owned(),
            ]
        };
        let lines = [
            ("owner", row.direct, f64::NAN),
            ("other node", row.proxied, row.other_cpu_ns_per_operation),
        ];
        for (name, figures, other) in lines {
            let mut line = start(name);
            line.extend([
                figure(figures.operations_per_s / 1e3, 1),
                figure(figures.p50_us, 0),
                figure(figures.p99_us, 0),
                figure(figures.server_cpu_ns_per_operation, 0),
                figure(other, 0),
            ]);
            table.row(line);
        }
        let mut line = start(match row.is_met() {
            Some(true) => "ratio: met",
            Some(false) => "ratio: missed",
            None => "ratio",
        });
        line.extend([
            times(row.ratio.operations_per_s),
            times(row.ratio.p50_us),
            times(row.ratio.p99_us),
            times(row.ratio.server_cpu_ns_per_operation),
            format!("both {}", times(row.cpu_ratio)),
        ]);
        table.row(line);
    }
    let ratio = format!(">={}", times(GOAL));
    table.goal(report.met, [(1, GOAL_PIPELINE.to_string()), (3, ratio)]);
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(operations_per_s: f64, cpu_ns: f64) -> Figures {
        Figures {
            operations_per_s,
            server_cpu_ns_per_operation: cpu_ns,
            ..Figures::median(&[])
        }
    }

    #[test]
    fn the_goal_is_throughput_at_one_pipeline_and_the_cost_is_that_of_both_nodes() {
        let mut row = Row::new("get", Mix::Get, GOAL_PIPELINE);
        row.direct_runs.push(run(1000.0, 500.0));
        row.proxied_runs.push(run(600.0, 400.0));
        row.other_runs.push(600.0);
        row.summarise();
        assert_eq!(row.is_met(), Some(true));
        assert_eq!(row.cpu_ratio, 2.0);
        row.proxied_runs[0] = run(590.0, 400.0);
        row.summarise();
        assert_eq!(row.is_met(), Some(false));
        row.pipeline = 1;
        assert_eq!(row.is_met(), None);
    }
}
