//! `checkpoint`: what a BGSAVE costs the clients that work meanwhile.
//!
//! A server is filled, its greatest throughput under reads and writes is measured, and then half
//! of that is offered at a fixed rate, in pairs of windows: one without and one with saves going
//! on without a break. The rate is fixed and latency counts from the intended send time, so a
//! pause of the server is charged to every request it held up, not to one per connection.
//!
//! How it fails: an error reply, a save that the server reports as failed, or a server that ends.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use crate::admin::Admin;
use crate::load::{Generator, LoadOutcome, LoadSpec};
use crate::report::{self, Machine, Table, figure, times};
use crate::requests::{KeyOrder, Mix};
use crate::schedule::Stop;
use crate::servers::{Binaries, Class, Kind, Server};
use crate::stats::{median, quantile_us, ratio};

const FILL_PIPELINE: u64 = 64;

/// How often the server is asked whether it still saves.
const SAVE_POLL: Duration = Duration::from_millis(10);

/// The arguments of `checkpoint`.
#[derive(Debug, clap::Args)]
pub(crate) struct CheckpointArgs {
    #[command(flatten)]
    binaries: Binaries,
    /// The server to measure
    #[arg(long, default_value = "bailiwick")]
    server: Kind,
    /// What must be on disk before a reply
    #[arg(long, default_value = "never")]
    class: Class,
    /// Keys loaded before
    #[arg(long, default_value_t = 5_000_000)]
    keys: u64,
    /// Length of each value
    #[arg(long, default_value_t = 64)]
    value_bytes: usize,
    /// Connections
    #[arg(long, default_value_t = 50)]
    clients: usize,
    /// Pairs of windows
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Length of a window; the one with saves goes on to the end of the last save
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Requests per second [default: half of the measured maximum]
    #[arg(long)]
    rate: Option<f64>,
    /// Write the JSON here instead of after the table
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Everything measured, as it goes to JSON.
#[derive(Debug, Serialize)]
struct Report {
    machine: Machine,
    server: Kind,
    keys: u64,
    value_bytes: usize,
    clients: usize,
    maximum_per_s: Option<f64>,
    offered_per_s: f64,
    runs: Vec<Pair>,
    /// With saves over without, the median over pairs.
    ratio: Ratio,
}

/// Two windows, one right after the other.
#[derive(Debug, Serialize)]
struct Pair {
    without: Window,
    with: Window,
}

/// What the clients saw in one window.
#[derive(Debug, Serialize)]
struct Window {
    seconds: f64,
    operations: u64,
    saves: u32,
    p50_us: f64,
    p99_us: f64,
    p999_us: f64,
    max_us: f64,
}

#[derive(Debug, Serialize)]
struct Ratio {
    p50: f64,
    p99: f64,
    p999: f64,
    max: f64,
}

/// Measures, prints and writes the windows.
///
/// # Errors
/// See the module.
pub(crate) fn run(args: &CheckpointArgs) -> Result<()> {
    ensure!(args.runs > 0, "at least one run is needed");
    let server = Server::start(&args.binaries, args.server, args.class)?;
    let report = measure(args, &server).map_err(|error| server.explain(error))?;
    report::publish(&table(&report), &report, args.json.as_deref())
}

fn measure(args: &CheckpointArgs, server: &Server) -> Result<Report> {
    let mut fill = spec(args, server, None);
    fill.pipeline = FILL_PIPELINE;
    fill.shape.mix = Mix::Set;
    fill.shape.order = KeyOrder::Sequential;
    Generator::connect(fill)?.run(&Stop::Requests(args.keys))?;
    let window = Duration::try_from_secs_f64(args.seconds)?;
    let maximum_per_s = match args.rate {
        Some(_) => None,
        None => Some(maximum_per_s(args, server, window)?),
    };
    let half = maximum_per_s.map(|maximum| maximum / 2.0);
    let rate = args.rate.or(half).context("a rate is given or measured")?;
    eprintln!("offered: {rate:.0}/s");
    let mut generator = Generator::connect(spec(args, server, Some(rate)))?;
    let mut runs = Vec::new();
    for run in 1..=args.runs {
        let without = Window::of(&generator.run(&Stop::After(window))?, 0);
        let with = window_with_saves(&mut generator, server, window)?;
        eprintln!(
            "run {run}/{}: p99 {:.0} us without, {:.0} us with {} saves in {:.1} s",
            args.runs, without.p99_us, with.p99_us, with.saves, with.seconds
        );
        runs.push(Pair { without, with });
    }
    Ok(Report {
        machine: Machine::this(),
        server: server.kind(),
        keys: args.keys,
        value_bytes: args.value_bytes,
        clients: args.clients,
        maximum_per_s,
        offered_per_s: rate,
        ratio: Ratio::of(&runs),
        runs,
    })
}

/// The greatest throughput in a closed loop, after a warm-up of the same length.
fn maximum_per_s(args: &CheckpointArgs, server: &Server, window: Duration) -> Result<f64> {
    let mut generator = Generator::connect(spec(args, server, None))?;
    generator.run(&Stop::After(window / 2))?;
    let maximum = generator.run(&Stop::After(window))?.operations_per_s();
    eprintln!("maximum: {maximum:.0}/s");
    Ok(maximum)
}

fn window_with_saves(
    generator: &mut Generator,
    server: &Server,
    window: Duration,
) -> Result<Window> {
    let over = Arc::new(AtomicBool::new(false));
    let abandoned = Arc::new(AtomicBool::new(false));
    let mut admin = Admin::connect(server.address())?;
    let saver = thread::spawn({
        let (over, abandoned) = (Arc::clone(&over), Arc::clone(&abandoned));
        move || {
            let saves = save_for(&mut admin, window, &abandoned);
            over.store(true, Ordering::Relaxed);
            saves
        }
    });
    let outcome = generator.run(&Stop::When(over));
    abandoned.store(true, Ordering::Relaxed);
    let saves = saver.join().expect("the saving thread returns its errors");
    // If both failed, the load tells more: the saves then failed for want of a server.
    Ok(Window::of(&outcome?, saves?))
}

/// Saves again and again for at least that long; how many saves that were.
fn save_for(admin: &mut Admin, window: Duration, abandoned: &AtomicBool) -> Result<u32> {
    let start = Instant::now();
    let mut saves = 0;
    while start.elapsed() < window {
        admin.ask(&["BGSAVE"])?;
        while is_saving(admin)? {
            if abandoned.load(Ordering::Relaxed) {
                return Ok(saves);
            }
            thread::sleep(SAVE_POLL);
        }
        let status = admin.info("persistence", "rdb_last_bgsave_status")?;
        ensure!(
            status.as_deref().is_none_or(|status| status == "ok"),
            "a save failed"
        );
        saves += 1;
    }
    Ok(saves)
}

fn is_saving(admin: &mut Admin) -> Result<bool> {
    let field = "rdb_bgsave_in_progress";
    let value = admin.info("persistence", field)?;
    Ok(value.with_context(|| format!("INFO persistence shows no {field}"))? == "1")
}

impl Window {
    fn of(outcome: &LoadOutcome, saves: u32) -> Self {
        Self {
            seconds: outcome.elapsed.as_secs_f64(),
            operations: outcome.operations,
            saves,
            p50_us: quantile_us(&outcome.latency, 0.5),
            p99_us: quantile_us(&outcome.latency, 0.99),
            p999_us: quantile_us(&outcome.latency, 0.999),
            max_us: quantile_us(&outcome.latency, 1.0),
        }
    }
}

impl Ratio {
    fn of(runs: &[Pair]) -> Self {
        let of = |field: fn(&Window) -> f64| {
            median(
                runs.iter()
                    .map(|pair| ratio(field(&pair.with), field(&pair.without))),
            )
        };
        Self {
            p50: of(|window| window.p50_us),
            p99: of(|window| window.p99_us),
            p999: of(|window| window.p999_us),
            max: of(|window| window.max_us),
        }
    }
}

fn spec(args: &CheckpointArgs, server: &Server, rate: Option<f64>) -> LoadSpec {
    let size = (args.keys, args.value_bytes);
    LoadSpec {
        rate,
        ..LoadSpec::at_random(server.address(), args.clients, Mix::Mixed, size)
    }
}

fn table(report: &Report) -> Table {
    let head = [
        "run", "window", "saves", "s", "op/s", "p50 us", "p99 us", "p99.9 us", "max us",
    ];
    let mut table = Table::new(2, &head);
    for (run, pair) in report.runs.iter().enumerate() {
        for (name, window) in [("without", &pair.without), ("with", &pair.with)] {
            table.row(vec![
                (run + 1).to_string(),
                name.to_owned(),
                window.saves.to_string(),
                figure(window.seconds, 1),
                figure(window.operations as f64 / window.seconds, 0),
                figure(window.p50_us, 0),
                figure(window.p99_us, 0),
                figure(window.p999_us, 0),
                figure(window.max_us, 0),
            ]);
        }
    }
    let mut cells = vec!["all".to_owned(), "ratio".to_owned()];
    cells.extend(["-"; 3].map(str::to_owned));
    let ratio = &report.ratio;
    cells.extend([ratio.p50, ratio.p99, ratio.p999, ratio.max].map(times));
    table.row(cells);
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(us: f64) -> Window {
        Window {
            seconds: 1.0,
            operations: 1,
            saves: 1,
            p50_us: us,
            p99_us: us,
            p999_us: us,
            max_us: us,
        }
    }

    #[test]
    fn the_ratio_is_the_median_over_pairs() {
        let pair = |without, with| Pair {
            without: window(without),
            with: window(with),
        };
        let ratio = Ratio::of(&[pair(10.0, 20.0), pair(100.0, 100.0), pair(1.0, 5.0)]);
        assert_eq!(ratio.p99, 2.0);
        assert_eq!(ratio.max, 2.0);
    }
}
