//! `benchmark`: every test that redis-benchmark has, run by redis-benchmark itself on both servers.
//!
//! Each round starts both servers afresh and runs the tests in redis-benchmark's own order, each on
//! one server and then on the other. What is compared is the processor time of the server per
//! request; throughput is what redis-benchmark prints. LRANGE's list is filled before, because the
//! program would otherwise fill it within the test.
//!
//! How it fails: redis-benchmark is missing or reports an error, or a server ends.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;

use crate::admin::Admin;
use crate::report::{self, Machine, Table, figure, times};
use crate::servers::{Binaries, Class, Kind, Server};
use crate::stats::median;

/// Processor time over Redis's, at the pipeline that counts.
const GOAL: f64 = 1.0;
const GOAL_PIPELINE: u64 = 16;

/// The list of which ranges are read.
const LIST: &str = "mylist";
const LIST_ELEMENTS: usize = 100_000;
const FILL_ELEMENTS: usize = 1000;

/// The tests in redis-benchmark's order: its name for `-t`, or a command of its own.
const TESTS: [(&str, Test); 20] = [
    ("ping_inline", Test::Named),
    ("ping_mbulk", Test::Named),
    ("set", Test::Named),
    ("get", Test::Named),
    ("incr", Test::Named),
    ("lpush", Test::Named),
    ("rpush", Test::Named),
    ("lpop", Test::Named),
    ("rpop", Test::Named),
    ("sadd", Test::Named),
    ("hset", Test::Named),
    ("spop", Test::Named),
    ("zadd", Test::Named),
    ("zpopmin", Test::Named),
    ("lrange_100", Test::Range(100)),
    ("lrange_300", Test::Range(300)),
    ("lrange_500", Test::Range(500)),
    ("lrange_600", Test::Range(600)),
    ("mset", Test::Named),
    (
        "xadd",
        Test::Other(&[
            "XADD", "mystream", "MAXLEN", "~", "1000", "*", "field", "value",
        ]),
    ),
];

#[derive(Clone, Copy, Debug)]
enum Test {
    /// redis-benchmark knows it.
    Named,
    /// LRANGE of so many elements from the first on.
    Range(usize),
    /// This command.
    Other(&'static [&'static str]),
}

/// The arguments of `compare benchmark`.
#[derive(Debug, clap::Args)]
pub(crate) struct BenchmarkArgs {
    #[command(flatten)]
    binaries: Binaries,
    /// The redis-benchmark program
    #[arg(long, value_name = "PATH", default_value = "redis-benchmark")]
    benchmark: PathBuf,
    /// Requests in flight per connection
    #[arg(long, default_value_t = GOAL_PIPELINE)]
    pipeline: u64,
    /// Connections
    #[arg(long, default_value_t = 50)]
    clients: usize,
    /// Requests of each run; LRANGE has a tenth
    #[arg(long, default_value_t = 500_000)]
    requests: u64,
    /// Different keys or elements [default: one, as redis-benchmark has it]
    #[arg(long)]
    keyspace: Option<u64>,
    /// Tests [default: all]
    #[arg(long, value_delimiter = ',')]
    tests: Vec<String>,
    /// Rounds
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Write the JSON here instead of after the table
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
struct Report {
    machine: Machine,
    redis_version: String,
    bailiwick_version: String,
    clients: usize,
    pipeline: u64,
    keyspace: Option<u64>,
    cpu_ratio_goal: f64,
    met: bool,
    rows: Vec<Row>,
}

/// One test; medians over rounds.
#[derive(Debug, Serialize)]
struct Row {
    test: &'static str,
    #[serde(skip)]
    kind: Test,
    redis: Run,
    bailiwick: Run,
    /// Bailiwick over Redis, the median over pairs of runs.
    throughput_ratio: f64,
    cpu_ratio: f64,
    redis_runs: Vec<Run>,
    bailiwick_runs: Vec<Run>,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Run {
    operations_per_s: f64,
    cpu_ns_per_operation: f64,
}

/// Measures, prints and writes the comparison.
///
/// # Errors
/// See the module.
pub(crate) fn run(args: &BenchmarkArgs) -> Result<()> {
    ensure!(args.rounds > 0, "at least one round is needed");
    let mut rows = rows(&args.tests)?;
    let (mut redis_version, mut bailiwick_version) = (String::new(), String::new());
    for round in 1..=args.rounds {
        let redis = Server::start(&args.binaries, Kind::Redis, Class::Never)?;
        let bailiwick = Server::start(&args.binaries, Kind::Bailiwick, Class::Never)?;
        redis_version = redis.version()?;
        bailiwick_version = bailiwick.version()?;
        for row in &mut rows {
            let of_redis = measure(args, &redis, row).map_err(|error| redis.explain(error))?;
            let ours = measure(args, &bailiwick, row).map_err(|error| bailiwick.explain(error))?;
            row.redis_runs.push(of_redis);
            row.bailiwick_runs.push(ours);
            eprintln!(
                "{round}/{} {}: {:.0} ns, Redis {:.0} ns",
                args.rounds, row.test, ours.cpu_ns_per_operation, of_redis.cpu_ns_per_operation
            );
        }
    }
    rows.iter_mut().for_each(Row::summarise);
    let report = Report {
        machine: Machine::this(),
        redis_version,
        bailiwick_version,
        clients: args.clients,
        pipeline: args.pipeline,
        keyspace: args.keyspace,
        cpu_ratio_goal: GOAL,
        met: rows.iter().all(|row| row.cpu_ratio <= GOAL),
        rows,
    };
    report::publish(&table(&report), &report, args.json.as_deref())
}

fn rows(wanted: &[String]) -> Result<Vec<Row>> {
    for name in wanted {
        ensure!(
            TESTS.iter().any(|(test, _)| test == name),
            "there is no test {name}"
        );
    }
    let is_wanted = |test: &str| wanted.is_empty() || wanted.iter().any(|name| name == test);
    let chosen = TESTS.iter().filter(|(test, _)| is_wanted(test));
    let rows = chosen.map(|&(test, kind)| Row {
        test,
        kind,
        redis: Run::default(),
        bailiwick: Run::default(),
        throughput_ratio: f64::NAN,
        cpu_ratio: f64::NAN,
        redis_runs: Vec::new(),
        bailiwick_runs: Vec::new(),
    });
    Ok(rows.collect())
}

fn measure(args: &BenchmarkArgs, server: &Server, row: &Row) -> Result<Run> {
    let requests = match row.kind {
        Test::Range(_) => args.requests / 10,
        _ => args.requests,
    };
    if let Test::Range(_) = row.kind {
        fill_list(server)?;
    }
    let address = server.address();
    let mut command = Command::new(&args.benchmark);
    command
        .args(["-h", &address.ip().to_string()])
        .args(["-p", &address.port().to_string()])
        .args(["-n", &requests.to_string()])
        .args(["-c", &args.clients.to_string()])
        .args(["-P", &args.pipeline.to_string(), "--csv"]);
    if let Some(keyspace) = args.keyspace {
        command.args(["-r", &keyspace.to_string()]);
    }
    match row.kind {
        Test::Named => command.args(["-t", row.test]),
        Test::Range(count) => command.args(["LRANGE", LIST, "0", &(count - 1).to_string()]),
        Test::Other(words) => command.args(words),
    };
    let clock = server.clock()?;
    let before = clock.read()?;
    let output = command
        .output()
        .with_context(|| format!("cannot run {}", args.benchmark.display()))?;
    let cpu = clock.read()?.saturating_sub(before);
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() || text.to_lowercase().contains("error") {
        let errors = String::from_utf8_lossy(&output.stderr);
        bail!("redis-benchmark failed in {}: {text}{errors}", row.test);
    }
    Ok(Run {
        operations_per_s: throughput(&text)
            .with_context(|| format!("redis-benchmark printed no figure: {text}"))?,
        cpu_ns_per_operation: cpu.as_nanos() as f64 / requests as f64,
    })
}

/// The second column of the last line.
fn throughput(csv: &str) -> Option<f64> {
    let line = csv.lines().rfind(|line| !line.trim().is_empty())?;
    // The name of a test may have commas in it, but stands in quotation marks.
    let figures = line.strip_prefix('"')?.split_once("\",\"")?.1;
    figures.split('"').next()?.parse().ok()
}

fn fill_list(server: &Server) -> Result<()> {
    let mut admin = Admin::connect(server.address())?;
    admin.ask(&["DEL", LIST])?;
    let mut push = vec!["RPUSH", LIST];
    push.resize(2 + FILL_ELEMENTS, "xxx");
    for _ in 0..LIST_ELEMENTS / FILL_ELEMENTS {
        admin.ask(&push)?;
    }
    Ok(())
}

impl Row {
    fn summarise(&mut self) {
        self.redis = Run::median(&self.redis_runs);
        self.bailiwick = Run::median(&self.bailiwick_runs);
        let ratios = |field: fn(&Run) -> f64| {
            let pairs = self.bailiwick_runs.iter().zip(&self.redis_runs);
            median(pairs.map(|(ours, redis)| field(ours) / field(redis)))
        };
        self.throughput_ratio = ratios(|run| run.operations_per_s);
        self.cpu_ratio = ratios(|run| run.cpu_ns_per_operation);
    }
}

impl Run {
    fn median(runs: &[Self]) -> Self {
        Self {
            operations_per_s: median(runs.iter().map(|run| run.operations_per_s)),
            cpu_ns_per_operation: median(runs.iter().map(|run| run.cpu_ns_per_operation)),
        }
    }
}

fn table(report: &Report) -> Table {
    let head = [
        "test",
        "redis kop/s",
        "bailiwick kop/s",
        "ratio",
        "redis ns/op",
        "bailiwick ns/op",
        "cpu ratio",
    ];
    let mut table = Table::new(1, &head);
    for row in &report.rows {
        table.row(vec![
            row.test.to_owned(),
            figure(row.redis.operations_per_s / 1e3, 1),
            figure(row.bailiwick.operations_per_s / 1e3, 1),
            times(row.throughput_ratio),
            figure(row.redis.cpu_ns_per_operation, 0),
            figure(row.bailiwick.cpu_ns_per_operation, 0),
            times(row.cpu_ratio),
        ]);
    }
    table.goal(report.met, [(6, format!("<={}", times(GOAL)))]);
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figure_is_found_whatever_the_test_is_called() {
        let head = "\"test\",\"rps\",\"avg_latency_ms\"\n";
        let csv = |name: &str| format!("{head}\"{name}\",\"1234.50\",\"0.1\"\n");
        assert_eq!(throughput(&csv("GET")), Some(1234.5));
        assert_eq!(
            throughput(&csv("LRANGE_100 (first 100 elements), all")),
            Some(1234.5)
        );
        assert_eq!(throughput(""), None);
        assert_eq!(throughput("nonsense"), None);
    }

    #[test]
    fn a_test_that_is_not_there_is_refused() {
        assert!(rows(&["nonsense".to_owned()]).is_err());
        assert_eq!(rows(&["get".to_owned()]).unwrap().len(), 1);
        assert_eq!(rows(&[]).unwrap().len(), TESTS.len());
    }
}
