//! `regions`: what clients of one region notice of the others.
//!
//! Three regions of three nodes on this machine, with a relay between them. Clients in the first
//! region write and read keys that are at home there, at a fixed rate, while the other regions are
//! near, far away, cut off, or down; the situations alternate within each round. A reader of a
//! foreign key beside them keeps the paths between regions in use.
//!
//! How it fails: an error reply to a client at home, or a region that does not come back.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use bailiwick_tests::regions::{Layout, World};
use bailiwick_tests::relay::Rule;
use serde::Serialize;

use crate::load::{Generator, LoadSpec};
use crate::report::{self, Machine, Table, figure, times};
use crate::requests::{KeyOrder, Mix};
use crate::schedule::Stop;
use crate::stats::median;

/// The p99 while other regions are in trouble over that while they are near.
const GOAL: f64 = 1.2;

const HOME: &str = "eu";
const OTHERS: [&str; 2] = ["us", "ap"];

/// What all keys of the load begin with.
const PREFIX: &str = "key:";

/// How long a foreign reader waits after an error, and between reads.
const VALUE_BYTES: usize = 64;
const PAUSE: Duration = Duration::from_millis(20);

/// The arguments of `regions`.
#[derive(Debug, clap::Args)]
pub(crate) struct RegionsArgs {
    /// Connections at home
    #[arg(long, default_value_t = 20)]
    clients: usize,
    /// Requests per second of all of them
    #[arg(long, default_value_t = 1000.0)]
    rate: f64,
    /// Keys
    #[arg(long, default_value_t = 10_000)]
    keys: u64,
    /// How far regions are when they are far: the delay of each direction in milliseconds
    #[arg(long, default_value_t = 200)]
    delay_ms: u64,
    /// Length of each run in seconds
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Rounds
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Write the JSON here instead of after the table
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Where the other regions are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Situation {
    Near,
    Far,
    CutOff,
    Down,
}

const SITUATIONS: [Situation; 4] = [
    Situation::Near,
    Situation::Far,
    Situation::CutOff,
    Situation::Down,
];

#[derive(Debug, Serialize)]
struct Report {
    machine: Machine,
    clients: usize,
    rate_per_s: f64,
    delay_ms: u64,
    p99_ratio_goal: f64,
    met: bool,
    rows: Vec<Row>,
}

/// One operation in one situation; medians over rounds.
#[derive(Debug, Serialize)]
struct Row {
    operation: &'static str,
    #[serde(skip)]
    mix: Mix,
    situation: Situation,
    p50_us: f64,
    p99_us: f64,
    /// Over the same round's run with the others near.
    p99_ratio: f64,
    #[serde(skip)]
    p50_runs: Vec<f64>,
    p99_runs: Vec<f64>,
}

/// Measures, prints and writes what is noticed.
///
/// # Errors
/// See the module.
pub(crate) fn run(args: &RegionsArgs) -> Result<()> {
    ensure!(args.rounds > 0, "at least one round is needed");
    let mut rows: Vec<Row> = [("set", Mix::Set), ("get", Mix::Get)]
        .into_iter()
        .flat_map(|(operation, mix)| {
            SITUATIONS.map(|situation| Row::new(operation, mix, situation))
        })
        .collect();
    let mut world = World::start(&Layout::three(3).owning(PREFIX, HOME))?;
    let mut fill = spec(args, &world, Mix::Set, 1)?;
    fill.shape.order = KeyOrder::Sequential;
    fill.rate = None;
    Generator::connect(fill)?.run(&Stop::Requests(args.keys))?;
    for round in 1..=args.rounds {
        for situation in SITUATIONS {
            arrange(&mut world, situation, args.delay_ms)?;
            let measured = measure(args, &world, situation, round, &mut rows);
            restore(&mut world, situation)?;
            measured?;
        }
    }
    summarise(&mut rows);
    let report = Report {
        machine: Machine::this(),
        clients: args.clients,
        rate_per_s: args.rate,
        delay_ms: args.delay_ms,
        p99_ratio_goal: GOAL,
        met: rows.iter().all(|row| row.p99_ratio <= GOAL),
        rows,
    };
    report::publish(&table(&report), &report, args.json.as_deref())
}

fn arrange(world: &mut World, situation: Situation, delay_ms: u64) -> Result<()> {
    match situation {
        Situation::Near => {}
        Situation::Far => around_others(world, Rule::slow(delay_ms, 0)),
        Situation::CutOff => around_others(world, Rule::CUT),
        Situation::Down => {
            let nodes = OTHERS.map(|region| world.nodes_of(region)).concat();
            for node in nodes {
                world.cluster.kill(node)?;
            }
        }
    }
    // What an election or a new connection costs at the change itself is not what lasts.
    thread::sleep(Duration::from_secs(2));
    Ok(())
}

fn around_others(world: &World, rule: Rule) {
    for region in OTHERS {
        world.set_around(region, rule);
    }
}

fn restore(world: &mut World, situation: Situation) -> Result<()> {
    if situation != Situation::Near {
        around_others(world, Rule::OPEN);
        world.cluster.heal()?;
        world.wait_until_serving()?;
    }
    Ok(())
}

fn measure(
    args: &RegionsArgs,
    world: &World,
    situation: Situation,
    round: usize,
    rows: &mut [Row],
) -> Result<()> {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| read_abroad(world, &over));
        let measured = rows
            .iter_mut()
            .filter(|row| row.situation == situation)
            .try_for_each(|row| {
                let spec = spec(args, world, row.mix, round as u64)?;
                let stop = Stop::After(Duration::from_secs_f64(args.seconds));
                let outcome = Generator::connect(spec)?.run(&stop)?;
                let at = |quantile| outcome.latency.value_at_quantile(quantile) as f64 / 1e3;
                row.p50_runs.push(at(0.5));
                row.p99_runs.push(at(0.99));
                eprintln!(
                    "{round}/{} {} with the others {situation:?}: p50 {:.0} us, p99 {:.0} us",
                    args.rounds,
                    row.operation,
                    at(0.5),
                    at(0.99)
                );
                anyhow::Ok(())
            });
        over.store(true, Ordering::Relaxed);
        measured
    })
}

/// A client at home that wants what is abroad, whether it gets it or not.
fn read_abroad(world: &World, over: &AtomicBool) {
    while !over.load(Ordering::Relaxed) {
        if let Ok(mut client) = world.connect(HOME) {
            for region in OTHERS {
                let _ = client.call(["GET", &format!("{region}:absent")]);
            }
        }
        thread::sleep(PAUSE);
    }
}

fn spec(args: &RegionsArgs, world: &World, mix: Mix, seed: u64) -> Result<LoadSpec> {
    let leader = world.wait_for_leader(HOME)?;
    let address = world.cluster.address(leader);
    let spec = LoadSpec::at_random(address, args.clients, mix, (args.keys, VALUE_BYTES));
    let rate = Some(args.rate);
    Ok(LoadSpec { rate, ..spec }.seeded(seed))
}

impl Row {
    fn new(operation: &'static str, mix: Mix, situation: Situation) -> Self {
        Self {
            operation,
            mix,
            situation,
            p50_us: f64::NAN,
            p99_us: f64::NAN,
            p99_ratio: f64::NAN,
            p50_runs: Vec::new(),
            p99_runs: Vec::new(),
        }
    }
}

fn summarise(rows: &mut [Row]) {
    let near: Vec<(&str, Vec<f64>)> = rows
        .iter()
        .filter(|row| row.situation == Situation::Near)
        .map(|row| (row.operation, row.p99_runs.clone()))
        .collect();
    for row in rows {
        row.p50_us = median(row.p50_runs.iter().copied());
        row.p99_us = median(row.p99_runs.iter().copied());
        let near = near
            .iter()
            .find(|(operation, _)| *operation == row.operation);
        let near = near.map_or(&[][..], |(_, runs)| runs);
        let ratios = row.p99_runs.iter().zip(near).map(|(run, near)| run / near);
        row.p99_ratio = median(ratios);
    }
}

fn table(report: &Report) -> Table {
    let head = ["test", "others are", "p50 us", "p99 us", "p99 ratio"];
    let mut table = Table::new(2, &head);
    for row in &report.rows {
        table.row(vec![
            row.operation.to_owned(),
            format!("{:?}", row.situation),
            figure(row.p50_us, 0),
            figure(row.p99_us, 0),
            times(row.p99_ratio),
        ]);
    }
    table.goal(report.met, [(4, format!("<={}", times(GOAL)))]);
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_run_is_compared_with_the_one_of_its_round() {
        let mut rows = vec![
            Row::new("set", Mix::Set, Situation::Near),
            Row::new("set", Mix::Set, Situation::Far),
        ];
        rows[0].p99_runs = vec![100.0, 200.0, 400.0];
        rows[1].p99_runs = vec![110.0, 240.0, 440.0];
        summarise(&mut rows);
        assert!((rows[0].p99_ratio - 1.0).abs() < 1e-9);
        assert!((rows[1].p99_ratio - 1.1).abs() < 1e-9);
        assert!((rows[1].p99_us - 240.0).abs() < 1e-9);
    }
}
