//! `compare`: bailiwick beside another server, same clients, same data, same durability.
//!
//! Runs alternate between the two servers, each after a short warm-up, so that a slow phase of
//! the machine meets both. What is compared is the median of the ratios of neighbouring runs.
//!
//! How it fails: an error reply, a GET that misses, or a server that ends stops the comparison;
//! a comparison with failed requests in it would compare nothing.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde::Serialize;

use crate::lists::ListRequest;
use crate::load::{Generator, LoadSpec};
use crate::report::{self, Machine, Table, figure, times};
use crate::requests::{KeyOrder, Mix};
use crate::schedule::Stop;
use crate::servers::{Binaries, Class, Kind, Server};
use crate::stats::Figures;
use crate::timed::figures;

/// The pipeline with which keys are loaded before a test.
const FILL_PIPELINE: u64 = 64;

/// What a test does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
enum Test {
    /// Reads of keys that exist; measured in class `never` only, as no read waits for a disk.
    Get,
    /// Overwrites of keys that exist.
    Set,
    /// Pushes at the left end of a list.
    Lpush,
    /// Pushes at the right end of a list.
    Rpush,
    /// Pops off the left end of a long list.
    Lpop,
    /// Pops off the right end of a long list.
    Rpop,
    /// Reads of the first 100 elements of a list.
    #[value(name = "lrange_100")]
    #[serde(rename = "lrange_100")]
    Lrange100,
    /// Reads of the first 300 elements.
    #[value(name = "lrange_300")]
    #[serde(rename = "lrange_300")]
    Lrange300,
    /// Reads of the first 500 elements.
    #[value(name = "lrange_500")]
    #[serde(rename = "lrange_500")]
    Lrange500,
    /// Reads of the first 600 elements.
    #[value(name = "lrange_600")]
    #[serde(rename = "lrange_600")]
    Lrange600,
}

impl Test {
    fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Set => "set",
            Self::Lpush => "lpush",
            Self::Rpush => "rpush",
            Self::Lpop => "lpop",
            Self::Rpop => "rpop",
            Self::Lrange100 => "lrange_100",
            Self::Lrange300 => "lrange_300",
            Self::Lrange500 => "lrange_500",
            Self::Lrange600 => "lrange_600",
        }
    }

    fn writes(self) -> bool {
        match self.mix() {
            Mix::Get => false,
            Mix::Set | Mix::Mixed => true,
            Mix::List(request) => !matches!(request, ListRequest::Range(_)),
        }
    }

    fn mix(self) -> Mix {
        match self {
            Self::Get => Mix::Get,
            Self::Set => Mix::Set,
            Self::Lpush => Mix::List(ListRequest::Push("LPUSH")),
            Self::Rpush => Mix::List(ListRequest::Push("RPUSH")),
            Self::Lpop => Mix::List(ListRequest::Pop("LPOP")),
            Self::Rpop => Mix::List(ListRequest::Pop("RPOP")),
            Self::Lrange100 => Mix::List(ListRequest::Range(100)),
            Self::Lrange300 => Mix::List(ListRequest::Range(300)),
            Self::Lrange500 => Mix::List(ListRequest::Range(500)),
            Self::Lrange600 => Mix::List(ListRequest::Range(600)),
        }
    }
}

/// The arguments of `compare redis`.
#[derive(Debug, clap::Args)]
pub(crate) struct CompareArgs {
    #[command(flatten)]
    binaries: Binaries,
    /// Connections
    #[arg(long, default_value_t = 50)]
    clients: usize,
    /// Length of each value
    #[arg(long, default_value_t = 64)]
    value_bytes: usize,
    /// Requests in flight per connection
    #[arg(long, value_delimiter = ',', default_value = "1,16,64")]
    pipelines: Vec<u64>,
    /// Operations
    #[arg(long, value_delimiter = ',', default_value = "get,set")]
    tests: Vec<Test>,
    /// What must be on disk before a reply
    #[arg(long, value_delimiter = ',', default_value = "never,always")]
    classes: Vec<Class>,
    /// Keys loaded before and used at random in the runs
    #[arg(long, default_value_t = 100_000)]
    keys: u64,
    /// Length of each run in requests, instead of seconds
    #[arg(long, conflicts_with = "seconds")]
    requests_per_run: Option<u64>,
    /// Length of each run in seconds
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Length of the warm-up before each run in seconds
    #[arg(long, default_value_t = 0.3)]
    warm_up: f64,
    /// Measured runs of each server in each test
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Write the JSON here instead of after the table
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Everything measured, as it goes to JSON.
#[derive(Debug, Serialize)]
struct Comparison {
    machine: Machine,
    redis_version: String,
    bailiwick_version: String,
    clients: usize,
    value_bytes: usize,
    keys: u64,
    rows: Vec<Row>,
}

/// One test in one class at one pipeline.
#[derive(Debug, Serialize)]
struct Row {
    test: Test,
    class: Class,
    pipeline: u64,
    redis: Figures,
    bailiwick: Figures,
    /// Bailiwick over Redis, the median over pairs of runs.
    ratio: Figures,
    redis_runs: Vec<Figures>,
    bailiwick_runs: Vec<Figures>,
}

/// Measures, prints and writes the comparison.
///
/// # Errors
/// See the module.
pub(crate) fn run(args: &CompareArgs) -> Result<()> {
    ensure!(args.runs > 0, "at least one run is needed");
    let mut comparison = Comparison {
        machine: Machine::this(),
        redis_version: String::new(),
        bailiwick_version: String::new(),
        clients: args.clients,
        value_bytes: args.value_bytes,
        keys: args.keys,
        rows: Vec::new(),
    };
    for (class, tests) in plan(&args.classes, &args.tests) {
        measure_class(args, class, &tests, &mut comparison)?;
    }
    report::publish(&table(&comparison.rows), &comparison, args.json.as_deref())
}

/// Which tests run in which class.
fn plan(classes: &[Class], tests: &[Test]) -> Vec<(Class, Vec<Test>)> {
    let wanted = |class: Class| {
        let is_wanted = |test: &Test| match test.writes() {
            true => classes.contains(&class),
            false => class == Class::Never,
        };
        (class, tests.iter().copied().filter(is_wanted).collect())
    };
    let all = [Class::Memory, Class::Never, Class::Always];
    all.map(wanted)
        .into_iter()
        .filter(|(_, tests): &(_, Vec<_>)| !tests.is_empty())
        .collect()
}

/// Measures the rows of one class. Each round of runs has servers of its own, because how a
/// process happens to lie in memory moves its processor time by several per cent for as long as
/// it lives, and no number of runs against the same process would average that out.
fn measure_class(
    args: &CompareArgs,
    class: Class,
    tests: &[Test],
    comparison: &mut Comparison,
) -> Result<()> {
    let pipelines = || args.pipelines.iter().copied();
    let rows = tests
        .iter()
        .flat_map(|test| pipelines().map(|pipeline| (*test, pipeline)));
    let mut rows: Vec<Row> = rows
        .map(|(test, pipeline)| Row::new(test, class, pipeline))
        .collect();
    for round in 1..=args.runs {
        let redis = Server::start(&args.binaries, Kind::Redis, class)?;
        let bailiwick = Server::start(&args.binaries, Kind::Bailiwick, class)?;
        comparison.redis_version = redis.version()?;
        comparison.bailiwick_version = bailiwick.version()?;
        for server in [&redis, &bailiwick] {
            fill(args, server).map_err(|error| server.explain(error))?;
        }
        for row in &mut rows {
            for server in [&redis, &bailiwick] {
                let figures = measure_run(args, server, row.test, row.pipeline, round as u64)
                    .map_err(|error| server.explain(error))?;
                row.add(server.kind(), figures);
            }
            row.show_progress(round, args.runs);
        }
    }
    rows.iter_mut().for_each(Row::summarise);
    comparison.rows.append(&mut rows);
    Ok(())
}

impl Row {
    fn new(test: Test, class: Class, pipeline: u64) -> Self {
        let none = Figures::median(&[]);
        let (redis_runs, bailiwick_runs) = (Vec::new(), Vec::new());
        let (redis, bailiwick, ratio) = (none, none, none);
        Self {
            test,
            class,
            pipeline,
            redis,
            bailiwick,
            ratio,
            redis_runs,
            bailiwick_runs,
        }
    }

    fn add(&mut self, kind: Kind, figures: Figures) {
        match kind {
            Kind::Redis => self.redis_runs.push(figures),
            Kind::Bailiwick => self.bailiwick_runs.push(figures),
        }
    }

    fn summarise(&mut self) {
        self.redis = Figures::median(&self.redis_runs);
        self.bailiwick = Figures::median(&self.bailiwick_runs);
        self.ratio = Figures::median_ratio(&self.bailiwick_runs, &self.redis_runs);
    }

    fn show_progress(&self, round: usize, rounds: usize) {
        for (server, runs) in [
            ("redis", &self.redis_runs),
            ("bailiwick", &self.bailiwick_runs),
        ] {
            let Some(last) = runs.last() else { continue };
            eprintln!(
                "{round}/{rounds} {} {} pipeline {} {server}: {:.0}/s, {:.0} ns per operation",
                self.test.name(),
                self.class.name(),
                self.pipeline,
                last.operations_per_s,
                last.server_cpu_ns_per_operation,
            );
        }
    }
}

fn measure_run(
    args: &CompareArgs,
    server: &Server,
    test: Test,
    pipeline: u64,
    seed: u64,
) -> Result<Figures> {
    if let Mix::List(request) = test.mix() {
        request.prepare(server.address(), args.value_bytes)?;
    }
    let mut generator = Generator::connect(spec(args, server, pipeline, test.mix(), seed))?;
    generator.run(&Stop::After(Duration::try_from_secs_f64(args.warm_up)?))?;
    let stop = match args.requests_per_run {
        Some(requests) => Stop::Requests(requests),
        None => Stop::After(Duration::try_from_secs_f64(args.seconds)?),
    };
    let clock = server.clock()?;
    let cpu_before = clock.read()?;
    let outcome = generator.run(&stop)?;
    let cpu = clock.read()?.saturating_sub(cpu_before);
    figures(&outcome, cpu)
}

fn fill(args: &CompareArgs, server: &Server) -> Result<()> {
    let mut spec = spec(args, server, FILL_PIPELINE, Mix::Set, 1);
    spec.shape.order = KeyOrder::Sequential;
    Generator::connect(spec)?.run(&Stop::Requests(args.keys))?;
    Ok(())
}

fn spec(args: &CompareArgs, server: &Server, pipeline: u64, mix: Mix, seed: u64) -> LoadSpec {
    let size = (args.keys, args.value_bytes);
    let spec = LoadSpec::at_random(server.address(), args.clients, mix, size);
    LoadSpec { pipeline, ..spec }.seeded(seed)
}

fn table(rows: &[Row]) -> Table {
    let head = [
        "test",
        "class",
        "pipeline",
        "server",
        "kop/s",
        "p50 us",
        "p99 us",
        "p99.9 us",
        "cpu ns/op",
        "load ns/op",
    ];
    let mut table = Table::new(4, &head);
    for row in rows {
        let names = |server: &str| {
            [
                row.test.name(),
                row.class.name(),
                &row.pipeline.to_string(),
                server,
            ]
            .map(str::to_owned)
            .to_vec()
        };
        for (server, figures) in [("redis", row.redis), ("bailiwick", row.bailiwick)] {
            let mut cells = names(server);
            cells.extend([
                figure(figures.operations_per_s / 1e3, 1),
                figure(figures.p50_us, 0),
                figure(figures.p99_us, 0),
                figure(figures.p999_us, 0),
                figure(figures.server_cpu_ns_per_operation, 0),
                figure(figures.generator_cpu_ns_per_operation, 0),
            ]);
            table.row(cells);
        }
        let mut cells = names("ratio");
        let ratio = row.ratio;
        cells.extend(
            [
                ratio.operations_per_s,
                ratio.p50_us,
                ratio.p99_us,
                ratio.p999_us,
            ]
            .map(times),
        );
        cells.extend([times(ratio.server_cpu_ns_per_operation), "-".to_owned()]);
        table.row(cells);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_are_measured_once_and_writes_in_each_class_asked_for() {
        let both = [Test::Get, Test::Set];
        assert_eq!(
            plan(&[Class::Never, Class::Always], &both),
            [
                (Class::Never, both.to_vec()),
                (Class::Always, vec![Test::Set])
            ]
        );
        assert_eq!(
            plan(&[Class::Always], &both),
            [
                (Class::Never, vec![Test::Get]),
                (Class::Always, vec![Test::Set])
            ]
        );
        assert_eq!(
            plan(&[Class::Always], &[Test::Get]),
            [(Class::Never, vec![Test::Get])]
        );
    }
}
