//! `move`: how long clients wait while a prefix moves from one group to another.
//!
//! Two groups on this machine; a prefix with many keys moves from the one to the other and back.
//! Meanwhile clients on a node of either group read and write random keys of it at a fixed rate,
//! each request's wait counted from when it was due, and others increment counters of their own and
//! know what each answer must be. Afterwards every key is read, and the keys are counted: none may be
//! missing. The longest wait is the hold, when the source has stopped and the destination has not
//! begun; the wait before the move shows what the machine adds by itself.
//!
//! How it fails: a move that does not end by `--limit`, or a node that ends.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use crate::admin::{Admin, pair_value};
use crate::cluster::{Cluster, Place, Plan};
use crate::interrupt;
use crate::load::{Generator, LoadOutcome, LoadSpec};
use crate::node_program::NodeProgram;
use crate::report::{self, Machine, Table, figure};
use crate::requests::{KeyOrder, Mix};
use crate::schedule::Stop;
use crate::stats::quantile_us;
use crate::writer::Writer;

/// The longest wait of any request.
const GOAL_HOLD_MS: f64 = 250.0;

const FILL_PIPELINE: u64 = 64;
const FILL_CLIENTS: usize = 8;

/// The prefix of all keys of the load, and the groups between which it moves.
const PREFIX: &str = "key:";
const GROUPS: [&str; 2] = ["root", "away"];

/// Between two looks at how far the move is.
const LOOK: Duration = Duration::from_millis(20);

/// Between two lines about that.
const TELL: Duration = Duration::from_secs(2);

/// Clients go on for so long after the move.
const AFTERWARDS: Duration = Duration::from_secs(1);

/// Between two writes of a counting client.
const WRITER_PAUSE: Duration = Duration::from_millis(1);

/// The arguments of `move`.
#[derive(Debug, clap::Args)]
pub(crate) struct MoveArgs {
    #[command(flatten)]
    node: NodeProgram,
    /// Keys that move
    #[arg(long, default_value_t = 1_000_000)]
    keys: u64,
    /// Length of each value
    #[arg(long, default_value_t = 64)]
    value_bytes: usize,
    /// Nodes in each of the two groups
    #[arg(long, default_value_t = 3)]
    members: usize,
    /// Requests per second on random keys, half of them writes, through nodes of both groups
    #[arg(long, default_value_t = 2000.0)]
    rate: f64,
    /// Connections of that load, and as many counting clients
    #[arg(long, default_value_t = 8)]
    clients: usize,
    /// Moves, there and back by turns
    #[arg(long, default_value_t = 2)]
    rounds: usize,
    /// Length of the measurement before each move in seconds
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// The longest time of a move in seconds
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
    keys: u64,
    value_bytes: usize,
    members: usize,
    rate: f64,
    goal_hold_ms: f64,
    hold_ms: f64,
    failed: u64,
    wrong_answers: u64,
    missing_keys: u64,
    met: bool,
    rounds: Vec<Round>,
}

/// One move.
#[derive(Clone, Debug, Serialize)]
struct Round {
    to: String,
    /// From the order until all nodes know that it is done.
    move_s: f64,
    keys_per_s: f64,
    before: Waits,
    during: Waits,
    /// Commands that were answered with an error, or not at all.
    failed: u64,
    first_error: Option<String>,
    /// Counters that did not go on by one: a write lost or done twice.
    wrong_answers: u64,
    /// Keys that were not found or not counted afterwards.
    missing_keys: u64,
}

/// How long requests waited.
#[derive(Clone, Copy, Debug, Serialize)]
struct Waits {
    operations: u64,
    p50_us: f64,
    p99_us: f64,
    longest_ms: f64,
}

/// Measures, prints and writes the waits.
///
/// # Errors
/// See the module.
pub(crate) fn run(args: &MoveArgs) -> Result<()> {
    ensure!(args.rounds > 0, "at least one move is needed");
    ensure!(args.members > 0, "a group has members");
    ensure!(args.clients > 1, "each group needs a client");
    let mut cluster = Cluster::start_as(&plan(args.members), &args.node, &[])?;
    let outcome = measure(args, &mut cluster);
    let report = outcome.map_err(|error| cluster.explain(error))?;
    report::publish(&table(&report), &report, args.json.as_deref())
}

fn plan(members: usize) -> Plan {
    let [home, away] = GROUPS;
    Plan {
        nodes: 2 * members,
        groups: vec![
            (home, (0..members).collect()),
            (away, (members..2 * members).collect()),
        ],
        prefixes: vec![(PREFIX, home)],
    }
}

fn measure(args: &MoveArgs, cluster: &mut Cluster) -> Result<Report> {
    let home = cluster.wait_for_leader_of(GROUPS[0])?;
    let filling = Instant::now();
    each_key(args, cluster.address(home), Mix::Set)?;
    eprintln!(
        "{} keys set in {:.1} s",
        args.keys,
        filling.elapsed().as_secs_f64()
    );
    let mut rounds = Vec::new();
    for number in 0..args.rounds {
        let round = measure_round(args, cluster, number)?;
        eprintln!(
            "{}/{}: moved to {} in {:.1} s, longest wait {:.0} ms, {} failed, {} wrong, {} missing",
            number + 1,
            args.rounds,
            round.to,
            round.move_s,
            round.during.longest_ms,
            round.failed,
            round.wrong_answers,
            round.missing_keys
        );
        rounds.push(round);
    }
    Ok(Report::of(args, cluster.version()?, rounds))
}

fn measure_round(args: &MoveArgs, cluster: &mut Cluster, number: usize) -> Result<Round> {
    let to = GROUPS[(number + 1) % 2];
    // A follower of either group, so that a request goes as far as it may have to.
    let entries = [args.members - 1, 2 * args.members - 1];
    let clients = Clients::start(args, cluster, entries, number)?;
    let length = Duration::try_from_secs_f64(args.seconds)?;
    let before = Load::start(args, cluster, entries)?.finish_after(length)?;
    let before = Waits::of(&before, clients.take_longest());
    let load = Load::start(args, cluster, entries)?;
    let begun = Instant::now();
    let moved = order(cluster, entries[0], to).and_then(|()| wait_for_owner(args, cluster, to));
    let move_s = begun.elapsed().as_secs_f64();
    let during = load.finish_after(AFTERWARDS);
    let longest = clients.take_longest();
    let counted = clients.stop();
    moved?;
    let (failed, mut first_error) = (counted.errors, counted.first_error);
    // A load that met an error has ended with it.
    let (during, failed) = match during {
        Ok(outcomes) => (Waits::of(&outcomes, longest), failed),
        Err(error) => {
            interrupt::check()?;
            first_error.get_or_insert_with(|| format!("{error:#}"));
            (Waits::of(&[], longest), failed + 1)
        }
    };
    let leader = cluster.wait_for_leader_of(to)?;
    let counters = (args.clients * (number + 1)) as u64;
    Ok(Round {
        to: to.to_owned(),
        move_s,
        keys_per_s: args.keys as f64 / move_s,
        before,
        during,
        failed,
        first_error,
        wrong_answers: counted.wrong_answers,
        missing_keys: missing(args, cluster, leader, counters)?,
    })
}

/// The clients that count.
struct Clients {
    writers: Vec<Writer>,
}

/// What all counting clients have seen.
struct Counted {
    errors: u64,
    first_error: Option<String>,
    wrong_answers: u64,
}

impl Clients {
    fn start(
        args: &MoveArgs,
        cluster: &Cluster,
        entries: [Place; 2],
        round: usize,
    ) -> Result<Self> {
        let writers = (0..args.clients).map(|number| {
            let address = cluster.address(entries[number % entries.len()]);
            let key = format!("{PREFIX}count:{round}:{number}");
            Writer::start(address, key, WRITER_PAUSE)
        });
        let writers = writers.collect::<Result<_>>()?;
        Ok(Self { writers })
    }

    fn take_longest(&self) -> Duration {
        let longest = self
            .writers
            .iter()
            .map(|writer| writer.progress().longest)
            .max();
        self.writers.iter().for_each(Writer::forget_longest);
        longest.unwrap_or_default()
    }

    fn stop(self) -> Counted {
        let mut counted = Counted {
            errors: 0,
            first_error: None,
            wrong_answers: 0,
        };
        for writer in self.writers {
            let progress = writer.stop();
            counted.errors += progress.errors;
            counted.wrong_answers += progress.wrong_answers;
            counted.first_error = counted.first_error.or(progress.first_error);
        }
        counted
    }
}

/// A load that goes on until it is told to end.
struct Load {
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<LoadOutcome>>>,
}

impl Load {
    /// Requests at a fixed rate through both nodes, half of them through either.
    fn start(args: &MoveArgs, cluster: &Cluster, entries: [Place; 2]) -> Result<Self> {
        let over = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        for (at, place) in entries.into_iter().enumerate() {
            let mut spec = spec(args, cluster.address(place), Mix::Mixed);
            spec.clients = args.clients.div_ceil(entries.len());
            spec.rate = Some(args.rate / entries.len() as f64);
            spec.shape.seed = at as u64 + 1;
            let mut generator = Generator::connect(spec)?;
            let over = Arc::clone(&over);
            let run = move || generator.run(&Stop::When(over));
            threads.push(std::thread::spawn(run));
        }
        Ok(Self { over, threads })
    }

    fn finish_after(self, time: Duration) -> Result<Vec<LoadOutcome>> {
        std::thread::sleep(time);
        self.over.store(true, Ordering::Relaxed);
        let threads = self.threads.into_iter();
        let outcomes = threads.map(|thread| thread.join().expect("the load returns its errors"));
        outcomes.collect()
    }
}

fn order(cluster: &Cluster, place: Place, to: &str) -> Result<()> {
    let mut admin = Admin::connect(cluster.address(place))?;
    admin.ask(&["PREFIX", "MOVE", PREFIX, "GROUP", to])?;
    Ok(())
}

/// Waits until every node says that this group owns the prefix.
fn wait_for_owner(args: &MoveArgs, cluster: &mut Cluster, to: &str) -> Result<()> {
    let limit = Duration::try_from_secs_f64(args.limit)?;
    let start = Instant::now();
    let mut told = start;
    loop {
        interrupt::check()?;
        cluster.check_alive()?;
        let is_there = |place| cluster.owner(place, PREFIX).is_ok_and(|owner| owner == to);
        if cluster.places().all(is_there) {
            return Ok(());
        }
        ensure!(
            start.elapsed() < limit,
            "the move did not end within {} s",
            limit.as_secs()
        );
        if told.elapsed() >= TELL {
            told = Instant::now();
            if let Some(line) = progress(cluster) {
                eprintln!("{line}");
            }
        }
        std::thread::sleep(LOOK);
    }
}

/// How far the move is, if a node says.
fn progress(cluster: &Cluster) -> Option<String> {
    let mut admin = Admin::connect(cluster.address(0)).ok()?;
    let text = admin.ask(&["PREFIX", "INFO", PREFIX]).ok()?;
    let (phase, staged) = (
        pair_value(&text, "phase")?,
        pair_value(&text, "staged-keys")?,
    );
    Some(format!("{phase}, {staged} keys have arrived"))
}

/// Keys that a reading of all of them does not find, or that are not counted.
fn missing(args: &MoveArgs, cluster: &Cluster, leader: Place, counters: u64) -> Result<u64> {
    let address = cluster.address(leader);
    let misses = each_key(args, address, Mix::Get)?.misses;
    let size = Admin::connect(address)?.ask(&["DBSIZE"])?;
    let size: u64 = size.parse().with_context(|| format!("DBSIZE: {size}"))?;
    Ok(misses.max((args.keys + counters).abs_diff(size)))
}

/// Sets or gets each key once.
fn each_key(args: &MoveArgs, address: std::net::SocketAddr, mix: Mix) -> Result<LoadOutcome> {
    let mut spec = spec(args, address, mix);
    spec.clients = FILL_CLIENTS;
    spec.pipeline = FILL_PIPELINE;
    spec.shape.order = KeyOrder::Sequential;
    Generator::connect(spec)?.run(&Stop::Requests(args.keys))
}

fn spec(args: &MoveArgs, address: std::net::SocketAddr, mix: Mix) -> LoadSpec {
    LoadSpec::at_random(address, args.clients, mix, (args.keys, args.value_bytes))
}

impl Waits {
    /// Of both halves of the load together, and of the clients that count.
    fn of(outcomes: &[LoadOutcome], longest_of_writers: Duration) -> Self {
        let mut operations = 0;
        let mut all: Option<hdrhistogram::Histogram<u64>> = None;
        for outcome in outcomes {
            operations += outcome.operations;
            match &mut all {
                // Both have the same bounds.
                Some(all) => all.add(&outcome.latency).expect("the bounds are the same"),
                None => all = Some(outcome.latency.clone()),
            }
        }
        let quantile = |quantile| {
            all.as_ref()
                .map_or(f64::NAN, |all| quantile_us(all, quantile))
        };
        let longest_of_load = all.as_ref().map_or(0, |all| all.max());
        let longest = longest_of_writers.max(Duration::from_nanos(longest_of_load));
        Self {
            operations,
            p50_us: quantile(0.5),
            p99_us: quantile(0.99),
            longest_ms: longest.as_secs_f64() * 1e3,
        }
    }
}

impl Report {
    fn of(args: &MoveArgs, bailiwick_version: String, rounds: Vec<Round>) -> Self {
        let sum = |count: fn(&Round) -> u64| rounds.iter().map(count).sum::<u64>();
        let hold_ms = rounds
            .iter()
            .map(|round| round.during.longest_ms)
            .fold(0.0, f64::max);
        let failed = sum(|round| round.failed);
        let wrong_answers = sum(|round| round.wrong_answers);
        let missing_keys = sum(|round| round.missing_keys);
        Self {
            machine: Machine::this(),
            bailiwick_version,
            keys: args.keys,
            value_bytes: args.value_bytes,
            members: args.members,
            rate: args.rate,
            goal_hold_ms: GOAL_HOLD_MS,
            hold_ms,
            failed,
            wrong_answers,
            missing_keys,
            met: hold_ms <= GOAL_HOLD_MS && failed + wrong_answers + missing_keys == 0,
            rounds,
        }
    }
}

fn table(report: &Report) -> Table {
    let head = [
        "move to",
        "s",
        "kkeys/s",
        "p99 us before",
        "during",
        "longest ms before",
        "during",
        "failed",
        "wrong",
        "missing",
    ];
    let mut table = Table::new(1, &head);
    for round in &report.rounds {
        table.row(vec![
            round.to.clone(),
            figure(round.move_s, 1),
            figure(round.keys_per_s / 1e3, 1),
            figure(round.before.p99_us, 0),
            figure(round.during.p99_us, 0),
            figure(round.before.longest_ms, 0),
            figure(round.during.longest_ms, 0),
            round.failed.to_string(),
            round.wrong_answers.to_string(),
            round.missing_keys.to_string(),
        ]);
        if let Some(error) = &round.first_error {
            eprintln!("the first error of the move to {}: {error}", round.to);
        }
    }
    let verdict = if report.met {
        "goal: met"
    } else {
        "goal: missed"
    };
    let mut goal = vec![String::new(); head.len()];
    verdict.clone_into(&mut goal[0]);
    goal[6] = format!("<={GOAL_HOLD_MS}");
    for column in [7, 8, 9] {
        "0".clone_into(&mut goal[column]);
    }
    table.row(goal);
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(longest_ms: f64, failed: u64, missing_keys: u64) -> Round {
        let waits = Waits {
            operations: 1,
            p50_us: 1.0,
            p99_us: 1.0,
            longest_ms,
        };
        Round {
            to: "away".to_owned(),
            move_s: 1.0,
            keys_per_s: 1.0,
            before: waits,
            during: waits,
            failed,
            first_error: None,
            wrong_answers: 0,
            missing_keys,
        }
    }

    fn is_met(rounds: Vec<Round>) -> bool {
        let args = MoveArgs {
            node: NodeProgram::at("bailiwick", &[]),
            keys: 1,
            value_bytes: 1,
            members: 1,
            rate: 1.0,
            clients: 2,
            rounds: 1,
            seconds: 1.0,
            limit: 1.0,
            json: None,
        };
        Report::of(&args, String::new(), rounds).met
    }

    #[test]
    fn the_goal_is_the_longest_wait_of_all_and_nothing_lost() {
        assert!(is_met(vec![round(10.0, 0, 0), round(250.0, 0, 0)]));
        assert!(!is_met(vec![round(10.0, 0, 0), round(251.0, 0, 0)]));
        assert!(!is_met(vec![round(10.0, 1, 0)]));
        assert!(!is_met(vec![round(10.0, 0, 1)]));
    }

    #[test]
    fn the_longest_wait_is_that_of_the_load_or_of_those_who_count() {
        let waits = Waits::of(&[], Duration::from_millis(7));
        assert_eq!((waits.operations, waits.longest_ms), (0, 7.0));
        assert!(waits.p99_us.is_nan());
    }
}
