//! `compare etcd`: three bailiwick nodes beside three members of etcd, durable, on this machine.
//!
//! Rounds alternate between the systems, and in each round only one of them runs, from an empty
//! directory on the same disk, so that neither pays for the other's heartbeats. All clients talk
//! to the leader, which is the shortest way in both. What is compared is the median of the ratios
//! of neighbouring rounds; the processor time is that of all three processes, while that of the
//! load generator is shown but not counted.
//!
//! How it fails: a refusal, a read that finds nothing, a leader that changes under way, or a
//! server that ends stops the comparison.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde::Serialize;

use crate::cluster::Cluster;
use crate::etcd::{EtcdLoad, EtcdProgram, Members};
use crate::load::{Generator, LoadOutcome, LoadSpec};
use crate::node_program::NodeProgram;
use crate::report::{self, Machine, Table, figure, times, verdict};
use crate::requests::{KeyOrder, Mix, Shape};
use crate::schedule::Stop;
use crate::stats::Figures;
use crate::timed::figures;

/// The goals: bailiwick over etcd.
const SET_THROUGHPUT_GOAL: f64 = 10.0;
const GET_THROUGHPUT_GOAL: f64 = 15.0;
const CPU_GOAL: f64 = 0.1;

const FILL_CLIENTS: usize = 100;

/// What a test does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
enum Test {
    /// Reads of keys that exist.
    Get,
    /// Overwrites of keys that exist.
    Set,
}

impl Test {
    fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Set => "set",
        }
    }

    fn mix(self) -> Mix {
        match self {
            Self::Get => Mix::Get,
            Self::Set => Mix::Set,
        }
    }
}

/// The arguments of `compare etcd`.
#[derive(Debug, clap::Args)]
pub(crate) struct CompareEtcdArgs {
    #[command(flatten)]
    node: NodeProgram,
    #[command(flatten)]
    etcd: EtcdProgram,
    /// Numbers of clients, each with one request in flight
    #[arg(long, value_delimiter = ',', default_value = "50,500")]
    clients: Vec<usize>,
    /// Connections that the clients of etcd share; bailiwick's have one each
    #[arg(long, default_value_t = 1)]
    etcd_connections: usize,
    /// Operations
    #[arg(long, value_delimiter = ',', default_value = "set,get")]
    tests: Vec<Test>,
    /// Length of each value
    #[arg(long, default_value_t = 64)]
    value_bytes: usize,
    /// Keys loaded before and used at random in the runs
    #[arg(long, default_value_t = 10_000)]
    keys: u64,
    /// Length of each run in seconds
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Length of the warm-up before each run in seconds
    #[arg(long, default_value_t = 1.0)]
    warm_up: f64,
    /// Rounds, in each of which either system is started afresh
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Write the JSON here instead of after the table
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Everything measured, as it goes to JSON.
#[derive(Debug, Serialize)]
struct Comparison {
    machine: Machine,
    etcd_version: String,
    bailiwick_version: String,
    etcd_connections: usize,
    value_bytes: usize,
    keys: u64,
    rows: Vec<Row>,
}

/// One test with one number of clients.
#[derive(Debug, Serialize)]
struct Row {
    test: Test,
    clients: usize,
    etcd: Figures,
    bailiwick: Figures,
    /// Bailiwick over etcd, the median over rounds.
    ratio: Figures,
    throughput_goal: f64,
    cpu_goal: f64,
    met: bool,
    etcd_runs: Vec<Figures>,
    bailiwick_runs: Vec<Figures>,
}

/// Measures, prints and writes the comparison.
///
/// # Errors
/// See the module.
pub(crate) fn run(args: &CompareEtcdArgs) -> Result<()> {
    ensure!(args.rounds > 0, "at least one round is needed");
    let mut comparison = Comparison {
        machine: Machine::this(),
        etcd_version: String::new(),
        bailiwick_version: String::new(),
        etcd_connections: args.etcd_connections,
        value_bytes: args.value_bytes,
        keys: args.keys,
        rows: rows(args),
    };
    for round in 1..=args.rounds {
        for start in [System::etcd, System::bailiwick] {
            let system = start(args)?;
            let outcome = measure_round(args, &system, round, &mut comparison);
            outcome.map_err(|error| system.explain(error))?;
        }
    }
    comparison.rows.iter_mut().for_each(Row::summarise);
    report::publish(&table(&comparison.rows), &comparison, args.json.as_deref())
}

fn rows(args: &CompareEtcdArgs) -> Vec<Row> {
    let mut rows = Vec::new();
    for &test in &args.tests {
        rows.extend(args.clients.iter().map(|clients| Row::new(test, *clients)));
    }
    rows
}

fn measure_round(
    args: &CompareEtcdArgs,
    system: &System,
    round: usize,
    comparison: &mut Comparison,
) -> Result<()> {
    match system {
        System::Etcd(members) => members.version().clone_into(&mut comparison.etcd_version),
        System::Bailiwick { cluster, .. } => comparison.bailiwick_version = cluster.version()?,
    }
    let fill = shape(args, Mix::Set, KeyOrder::Sequential, 1);
    system
        .connect(args, FILL_CLIENTS, fill)?
        .run(&Stop::Requests(args.keys))?;
    for row in &mut comparison.rows {
        let figures = measure_run(args, system, row.test, row.clients, round as u64)?;
        eprintln!(
            "{round}/{} {} {} clients {}: {:.0}/s, {:.1} us of processor per operation",
            args.rounds,
            row.test.name(),
            row.clients,
            system.name(),
            figures.operations_per_s,
            figures.server_cpu_ns_per_operation / 1e3,
        );
        match system {
            System::Etcd(_) => row.etcd_runs.push(figures),
            System::Bailiwick { .. } => row.bailiwick_runs.push(figures),
        }
    }
    Ok(())
}

fn measure_run(
    args: &CompareEtcdArgs,
    system: &System,
    test: Test,
    clients: usize,
    seed: u64,
) -> Result<Figures> {
    let shape = shape(args, test.mix(), KeyOrder::Random, seed);
    let mut load = system.connect(args, clients, shape)?;
    load.run(&Stop::After(Duration::try_from_secs_f64(args.warm_up)?))?;
    let cpu_before = system.cpu()?;
    let outcome = load.run(&Stop::After(Duration::try_from_secs_f64(args.seconds)?))?;
    let cpu = system.cpu()?.saturating_sub(cpu_before);
    system.check_leader()?;
    figures(&outcome, cpu)
}

fn shape(args: &CompareEtcdArgs, mix: Mix, order: KeyOrder, seed: u64) -> Shape {
    Shape {
        mix,
        order,
        keys: args.keys,
        key_bytes: 16,
        value_bytes: args.value_bytes,
        seed,
    }
}

/// One running system.
enum System {
    Etcd(Members),
    Bailiwick { cluster: Cluster, leader: usize },
}

impl System {
    fn etcd(args: &CompareEtcdArgs) -> Result<Self> {
        Members::start(&args.etcd.etcd, || args.node.disk_dir()).map(Self::Etcd)
    }

    fn bailiwick(args: &CompareEtcdArgs) -> Result<Self> {
        let mut cluster = Cluster::start(&args.node, &["--fsync", "always"])?;
        let leader = cluster.wait_for_leader()?;
        Ok(Self::Bailiwick { cluster, leader })
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Etcd(_) => "etcd",
            Self::Bailiwick { .. } => "bailiwick",
        }
    }

    fn connect(&self, args: &CompareEtcdArgs, clients: usize, shape: Shape) -> Result<Load> {
        match self {
            Self::Etcd(members) => {
                EtcdLoad::connect(members.leader(), args.etcd_connections, clients, shape)
                    .map(|load| Load::Etcd(Box::new(load)))
            }
            Self::Bailiwick { cluster, leader } => {
                let (pipeline, rate) = (1, None);
                let spec = LoadSpec {
                    address: cluster.address(*leader),
                    clients,
                    pipeline,
                    rate,
                    shape,
                };
                Generator::connect(spec).map(|load| Load::Bailiwick(Box::new(load)))
            }
        }
    }

    fn cpu(&self) -> Result<Duration> {
        match self {
            Self::Etcd(members) => members.cpu(),
            Self::Bailiwick { cluster, .. } => cluster.cpu(),
        }
    }

    fn check_leader(&self) -> Result<()> {
        match self {
            Self::Etcd(members) => members.check_leader(),
            Self::Bailiwick { cluster, leader } => {
                let now = cluster.view(*leader)?.leader;
                ensure!(now == Some(*leader), "bailiwick has changed its leader");
                Ok(())
            }
        }
    }

    fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        match self {
            Self::Etcd(members) => members.explain(error),
            Self::Bailiwick { cluster, .. } => cluster.explain(error),
        }
    }
}

/// Clients of one system.
enum Load {
    Etcd(Box<EtcdLoad>),
    Bailiwick(Box<Generator>),
}

impl Load {
    fn run(&mut self, stop: &Stop) -> Result<LoadOutcome> {
        let outcome = match self {
            Self::Etcd(load) => load.run(stop),
            Self::Bailiwick(load) => load.run(stop),
        }?;
        ensure!(
            outcome.operations > 0,
            "the run was too short for a single request"
        );
        Ok(outcome)
    }
}

impl Row {
    fn new(test: Test, clients: usize) -> Self {
        let none = Figures::median(&[]);
        let throughput_goal = match test {
            Test::Set => SET_THROUGHPUT_GOAL,
            Test::Get => GET_THROUGHPUT_GOAL,
        };
        Self {
            test,
            clients,
            etcd: none,
            bailiwick: none,
            ratio: none,
            throughput_goal,
            cpu_goal: CPU_GOAL,
            met: false,
            etcd_runs: Vec::new(),
            bailiwick_runs: Vec::new(),
        }
    }

    fn summarise(&mut self) {
        self.etcd = Figures::median(&self.etcd_runs);
        self.bailiwick = Figures::median(&self.bailiwick_runs);
        self.ratio = Figures::median_ratio(&self.bailiwick_runs, &self.etcd_runs);
        self.met = self.ratio.operations_per_s >= self.throughput_goal
            && self.ratio.server_cpu_ns_per_operation <= self.cpu_goal;
    }

    fn names(&self, what: &str) -> Vec<String> {
        let clients = self.clients.to_string();
        [self.test.name(), &clients, what]
            .map(str::to_owned)
            .to_vec()
    }
}

fn table(rows: &[Row]) -> Table {
    let head = [
        "test",
        "clients",
        "system",
        "kop/s",
        "p50 us",
        "p99 us",
        "cpu us/op",
        "load us/op",
    ];
    let mut table = Table::new(3, &head);
    for row in rows {
        for (system, figures) in [("etcd", row.etcd), ("bailiwick", row.bailiwick)] {
            let mut cells = row.names(system);
            cells.extend([
                figure(figures.operations_per_s / 1e3, 1),
                figure(figures.p50_us, 0),
                figure(figures.p99_us, 0),
                figure(figures.server_cpu_ns_per_operation / 1e3, 1),
                figure(figures.generator_cpu_ns_per_operation / 1e3, 1),
            ]);
            table.row(cells);
        }
        let (ratio, none) = (row.ratio, String::new);
        let mut cells = row.names("ratio");
        cells.extend([ratio.operations_per_s, ratio.p50_us, ratio.p99_us].map(times));
        cells.extend([times(ratio.server_cpu_ns_per_operation), none()]);
        table.row(cells);
        let mut cells = row.names(verdict(row.met));
        cells.extend([
            format!(">={}", times(row.throughput_goal)),
            none(),
            none(),
            format!("<={}", times(row.cpu_goal)),
            none(),
        ]);
        table.row(cells);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(operations_per_s: f64, cpu_ns: f64) -> Figures {
        Figures {
            operations_per_s,
            server_cpu_ns_per_operation: cpu_ns,
            ..Figures::median(&[])
        }
    }

    fn row(test: Test, ours: Figures) -> Row {
        let mut row = Row::new(test, 50);
        row.etcd_runs.push(figures(1_000.0, 100_000.0));
        row.bailiwick_runs.push(ours);
        row.summarise();
        row
    }

    #[test]
    fn a_goal_is_met_by_throughput_and_processor_time_together() {
        assert!(row(Test::Set, figures(10_000.0, 10_000.0)).met);
        assert!(!row(Test::Set, figures(9_999.0, 10_000.0)).met);
        assert!(!row(Test::Set, figures(10_000.0, 10_001.0)).met);
        assert!(!row(Test::Get, figures(14_999.0, 1_000.0)).met);
        assert!(!row(Test::Get, figures(f64::NAN, 1_000.0)).met);
    }

    #[test]
    fn the_table_says_whether_a_goal_is_met() {
        let rows = [
            row(Test::Set, figures(20_000.0, 5_000.0)),
            row(Test::Get, figures(10.0, 5_000.0)),
        ];
        let text = table(&rows).render();
        assert!(
            text.contains("goal: met") && text.contains("goal: missed"),
            "{text}"
        );
        assert!(
            text.contains(">=15.00x") && text.contains("<=0.10x"),
            "{text}"
        );
    }
}
