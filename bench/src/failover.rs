//! `failover`: how long clients wait when the leader is killed.
//!
//! Three nodes at their default settings; a client on a follower increments a counter, one request
//! at a time, without a pause. In each round the leader is killed as by kill -9, and the time
//! counts from just before the kill to the answer to the first write that was sent once the
//! leader's process was gone. So a write that the old leader had already decided does not count,
//! and the figure can only be too long. Then the node comes back and catches up before the next
//! round.
//!
//! The client's counter also tells whether each write was done exactly once: the answers must be
//! 1, 2, 3 and so on through the change of leaders. Errors and wrong answers are counted; there
//! should be none.
//!
//! How it fails: no answer within a minute, or a node that does not come back.

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};
use serde::Serialize;

use crate::cluster::Cluster;
use crate::interrupt;
use crate::node_program::NodeProgram;
use crate::report::{self, Machine, Table, figure};
use crate::requests::Xorshift;
use crate::stats::{median, quantile};
use crate::writer::Writer;

const GOAL_MEDIAN_MS: f64 = 500.0;

/// Without an answer by then there will be none.
const RECOVERY_TIMEOUT: Duration = Duration::from_secs(60);
const REJOIN_TIMEOUT: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(1);

/// The client writes for this long before a kill, and for a random time more, so that kills fall
/// at any moment of the leader's timers.
const LEAD_MS: u64 = 200;
const LEAD_SPREAD_MS: u64 = 500;

/// The client goes on for this long after its first answer.
const AFTERWARDS: Duration = Duration::from_millis(200);

/// The arguments of `failover`.
#[derive(Debug, clap::Args)]
pub(crate) struct FailoverArgs {
    #[command(flatten)]
    node: NodeProgram,
    /// Leaders killed
    #[arg(long, default_value_t = 50)]
    rounds: usize,
    /// Write the JSON here instead of after the table
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Everything measured, as it goes to JSON.
#[derive(Debug, Serialize)]
struct Report {
    machine: Machine,
    bailiwick_version: String,
    median_ms: f64,
    p90_ms: f64,
    max_ms: f64,
    goal_median_ms: f64,
    writes: u64,
    client_errors: u64,
    wrong_answers: u64,
    met: bool,
    rounds: Vec<Round>,
}

/// One kill.
#[derive(Clone, Copy, Debug, Serialize)]
struct Round {
    /// The number of the node that was killed.
    killed_node: usize,
    /// The number of the node to which the client was connected.
    client_node: usize,
    recovery_ms: f64,
    writes: u64,
    client_errors: u64,
    wrong_answers: u64,
}

/// Measures, prints and writes the recovery times.
///
/// # Errors
/// See the module.
pub(crate) fn run(args: &FailoverArgs) -> Result<()> {
    ensure!(args.rounds > 0, "at least one round is needed");
    let mut cluster = Cluster::start(&args.node, &[])?;
    let outcome = measure(args, &mut cluster);
    let report = outcome.map_err(|error| cluster.explain(error))?;
    report::publish(&table(&report), &report, args.json.as_deref())
}

fn measure(args: &FailoverArgs, cluster: &mut Cluster) -> Result<Report> {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let mut random = Xorshift::new(since_epoch.as_nanos() as u64);
    let mut rounds = Vec::new();
    for number in 1..=args.rounds {
        let round = measure_round(cluster, number, &mut random)?;
        eprintln!(
            "{number}/{}: node {} killed, {:.0} ms, {} errors",
            args.rounds, round.killed_node, round.recovery_ms, round.client_errors
        );
        rounds.push(round);
    }
    Ok(Report::of(cluster.version()?, rounds))
}

fn measure_round(cluster: &mut Cluster, number: usize, random: &mut Xorshift) -> Result<Round> {
    let leader = cluster.wait_for_leader()?;
    let followers = cluster.others(leader);
    let place = followers[number % followers.len()];
    let writer = Writer::start(
        cluster.address(place),
        format!("failover:{number}"),
        Duration::ZERO,
    )?;
    let lead_ms = LEAD_MS + random.below(LEAD_SPREAD_MS);
    std::thread::sleep(Duration::from_millis(lead_ms));
    ensure!(
        writer.progress().writes > 0,
        "no write was answered before the kill"
    );
    let killed_at = Instant::now();
    cluster.kill(leader);
    writer.watch(Instant::now());
    let answered = wait_for_answer(&writer)?;
    std::thread::sleep(AFTERWARDS);
    let progress = writer.stop();
    cluster.restart(leader)?;
    cluster.wait_until_level(leader, REJOIN_TIMEOUT)?;
    if let Some(error) = &progress.first_error {
        eprintln!("the client's first error: {error}");
    }
    Ok(Round {
        killed_node: leader + 1,
        client_node: place + 1,
        recovery_ms: (answered - killed_at).as_secs_f64() * 1e3,
        writes: progress.writes,
        client_errors: progress.errors,
        wrong_answers: progress.wrong_answers,
    })
}

fn wait_for_answer(writer: &Writer) -> Result<Instant> {
    let start = Instant::now();
    loop {
        interrupt::check()?;
        let progress = writer.progress();
        if let Some(answered) = progress.answered {
            return Ok(answered);
        }
        ensure!(
            start.elapsed() < RECOVERY_TIMEOUT,
            "no write was answered within {} s of the kill; errors so far: {} ({})",
            RECOVERY_TIMEOUT.as_secs(),
            progress.errors,
            progress.first_error.as_deref().unwrap_or("none")
        );
        std::thread::sleep(POLL);
    }
}

impl Report {
    fn of(bailiwick_version: String, rounds: Vec<Round>) -> Self {
        let times = || rounds.iter().map(|round| round.recovery_ms);
        let sum = |count: fn(&Round) -> u64| rounds.iter().map(count).sum();
        let median_ms = median(times());
        let client_errors = sum(|round| round.client_errors);
        let wrong_answers = sum(|round| round.wrong_answers);
        Self {
            machine: Machine::this(),
            bailiwick_version,
            median_ms,
            p90_ms: quantile(times(), 0.9),
            max_ms: quantile(times(), 1.0),
            goal_median_ms: GOAL_MEDIAN_MS,
            writes: sum(|round| round.writes),
            client_errors,
            wrong_answers,
            met: median_ms <= GOAL_MEDIAN_MS && client_errors == 0 && wrong_answers == 0,
            rounds,
        }
    }
}

fn table(report: &Report) -> Table {
    let mut table = Table::new(1, &["figure", "value", "goal"]);
    let goal_ms = format!("<={GOAL_MEDIAN_MS}");
    let rows = [
        ("rounds", report.rounds.len().to_string(), String::new()),
        ("median ms", figure(report.median_ms, 0), goal_ms),
        ("p90 ms", figure(report.p90_ms, 0), String::new()),
        ("max ms", figure(report.max_ms, 0), String::new()),
        ("writes", report.writes.to_string(), String::new()),
        (
            "client errors",
            report.client_errors.to_string(),
            "0".into(),
        ),
        (
            "wrong answers",
            report.wrong_answers.to_string(),
            "0".into(),
        ),
    ];
    for (name, value, goal) in rows {
        table.row(vec![name.to_owned(), value, goal]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(recovery_ms: f64, client_errors: u64) -> Round {
        Round {
            killed_node: 1,
            client_node: 2,
            recovery_ms,
            writes: 10,
            client_errors,
            wrong_answers: 0,
        }
    }

    #[test]
    fn the_goal_is_the_median_and_not_one_error() {
        let fast = Report::of(
            String::new(),
            vec![round(90.0, 0), round(400.0, 0), round(9e3, 0)],
        );
        assert!(fast.met);
        assert_eq!((fast.median_ms, fast.max_ms, fast.writes), (400.0, 9e3, 30));
        assert!(!Report::of(String::new(), vec![round(90.0, 1)]).met);
        assert!(!Report::of(String::new(), vec![round(501.0, 0)]).met);
    }
}
