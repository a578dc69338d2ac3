//! `latency-of-deletes`: how long others wait while something large goes or grows.
//!
//! Values of very many elements are made, one of each type, and go in each of the ways a value can
//! go; then the keyspace itself grows and is flushed. Meanwhile two other connections ask PING and
//! GET without a break, and the longest time that one of them waited is what counts. Each event has
//! a window of the same kind before it in which nothing happens: what the machine does to requests
//! anyway can be seen there. An event is repeated, and the least of the longest waits is shown
//! beside the greatest: what the event itself costs others, it costs them in every run.
//!
//! How it fails: an error reply, or a server that ends.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde::Serialize;

use crate::admin::Admin;
use crate::interrupt;
use crate::report::{self, Machine, Table, figure};
use crate::servers::{Binaries, Class, Kind, Server};

/// Elements, or keys, of one request that fills.
const FILL_ELEMENTS: u64 = 1000;

/// How long to go on looking after the event: what is released elsewhere may disturb as well.
const AFTERMATH: Duration = Duration::from_millis(700);

/// The key that GET asks for.
const READ_KEY: &str = "read";

/// The value that goes.
const KEY: &str = "large";

/// The arguments of `latency-of-deletes`.
#[derive(Debug, clap::Args)]
pub(crate) struct DeletesArgs {
    #[command(flatten)]
    binaries: Binaries,
    /// What must be on disk before a reply
    #[arg(long, default_value = "never")]
    class: Class,
    /// Elements of each value, and keys by which the keyspace grows
    #[arg(long, default_value_t = 1_000_000)]
    elements: u64,
    /// How often each event is repeated
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Write the JSON here instead of after the table
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Everything measured, as it goes to JSON.
#[derive(Debug, Serialize)]
struct Report {
    machine: Machine,
    elements: u64,
    runs: usize,
    events: Vec<Event>,
}

/// What happened, at both servers.
#[derive(Debug, Serialize)]
struct Event {
    name: String,
    bailiwick: Waits,
    redis: Waits,
}

/// The longest times of one run or of several, in milliseconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Waits {
    /// That others waited while nothing happened: the greatest of all runs.
    quiet_ms: f64,
    /// That others waited during the event and shortly after it, in the run in which that was
    /// least.
    others_least_ms: f64,
    /// The same, in the run in which it was most.
    others_most_ms: f64,
    /// That the longest request of the event took, in the run in which that was least.
    itself_ms: f64,
}

/// The types of values, with the command that adds to one.
const TYPES: [(&str, &str); 4] = [
    ("list", "RPUSH"),
    ("set", "SADD"),
    ("hash", "HSET"),
    ("zset", "ZADD"),
];

/// How a value can go.
const WAYS: [(&str, &[&str]); 4] = [
    ("DEL", &["DEL", KEY]),
    ("UNLINK", &["UNLINK", KEY]),
    ("SET over it", &["SET", KEY, "x"]),
    ("expiry", &["PEXPIRE", KEY, "1"]),
];

/// Measures, prints and writes the waits.
///
/// # Errors
/// See the module.
pub(crate) fn run(args: &DeletesArgs) -> Result<()> {
    ensure!(args.runs > 0, "at least one run is needed");
    let mut events: Vec<Event> = Vec::new();
    for kind in [Kind::Bailiwick, Kind::Redis] {
        let server = Server::start(&args.binaries, kind, args.class)?;
        let measured = measure(args, &server).map_err(|error| server.explain(error))?;
        for (at, (name, waits)) in measured.into_iter().enumerate() {
            match kind {
                Kind::Bailiwick => events.push(Event {
                    name,
                    bailiwick: waits,
                    redis: Waits::default(),
                }),
                Kind::Redis => events[at].redis = waits,
            }
        }
    }
    let report = Report {
        machine: Machine::this(),
        elements: args.elements,
        runs: args.runs,
        events,
    };
    report::publish(&table(&report), &report, args.json.as_deref())
}

fn measure(args: &DeletesArgs, server: &Server) -> Result<Vec<(String, Waits)>> {
    let address = server.address();
    let mut admin = Admin::connect(address)?;
    let mut events = Vec::new();
    for (kind, command) in TYPES {
        for (way, words) in WAYS {
            let name = format!("{kind}: {way}");
            let mut runs = Vec::new();
            for _ in 0..args.runs {
                admin.ask(&["SET", READ_KEY, "value"])?;
                fill(&mut admin, kind, command, args.elements)?;
                runs.push(watch(address, |longest| {
                    longest.time(|| admin.ask(words))?;
                    if way == "expiry" {
                        wait_until_gone(&mut admin)?;
                    }
                    Ok(())
                })?);
                admin.ask(&["DEL", KEY])?;
            }
            note(server, name, &runs, &mut events);
        }
        let mut runs = Vec::new();
        for _ in 0..args.runs {
            runs.push(watch(address, |longest| {
                fill_noting(&mut admin, kind, command, args.elements, longest)
            })?);
            admin.ask(&["DEL", KEY])?;
        }
        note(server, format!("{kind}: growing"), &runs, &mut events);
    }
    let (mut growing, mut flushing) = (Vec::new(), Vec::new());
    for _ in 0..args.runs {
        growing.push(watch(address, |longest| {
            grow(&mut admin, args.elements, longest)
        })?);
        let flush = |longest: &mut Longest| longest.time(|| admin.ask(&["FLUSHALL"])).map(|_| ());
        flushing.push(watch(address, flush)?);
    }
    note(
        server,
        "keyspace: growing".to_owned(),
        &growing,
        &mut events,
    );
    note(
        server,
        "keyspace: FLUSHALL".to_owned(),
        &flushing,
        &mut events,
    );
    Ok(events)
}

fn note(server: &Server, name: String, runs: &[Waits], events: &mut Vec<(String, Waits)>) {
    let waits = Waits::of(runs);
    let (least, most) = (waits.others_least_ms, waits.others_most_ms);
    let kind = server.kind().name();
    eprintln!("{kind}: {name}: others waited at most {least:.2} to {most:.2} ms");
    events.push((name, waits));
}

fn fill(admin: &mut Admin, kind: &str, command: &str, elements: u64) -> Result<()> {
    fill_noting(admin, kind, command, elements, &mut Longest::default())
}

/// Makes the value, with elements of about ten bytes.
fn fill_noting(
    admin: &mut Admin,
    kind: &str,
    command: &str,
    elements: u64,
    longest: &mut Longest,
) -> Result<()> {
    for from in (0..elements).step_by(FILL_ELEMENTS as usize) {
        interrupt::check()?;
        let mut words = vec![command.to_owned(), KEY.to_owned()];
        for number in from..from + FILL_ELEMENTS.min(elements - from) {
            match kind {
                "hash" => words.extend([format!("field:{number}"), format!("value:{number}")]),
                "zset" => words.extend([number.to_string(), format!("member:{number}")]),
                _ => words.push(format!("element:{number}")),
            }
        }
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        longest.time(|| admin.ask(&words))?;
    }
    Ok(())
}

fn grow(admin: &mut Admin, keys: u64, longest: &mut Longest) -> Result<()> {
    for from in (0..keys).step_by(100) {
        interrupt::check()?;
        let mut words = vec!["MSET".to_owned()];
        for number in from..(from + 100).min(keys) {
            words.extend([format!("key:{number}"), format!("value:{number}")]);
        }
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        longest.time(|| admin.ask(&words))?;
    }
    Ok(())
}

fn wait_until_gone(admin: &mut Admin) -> Result<()> {
    while admin.ask(&["DBSIZE"])? != "1" {
        interrupt::check()?;
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// The longest of some times.
#[derive(Default)]
struct Longest(Duration);

impl Longest {
    fn time<R>(&mut self, work: impl FnOnce() -> Result<R>) -> Result<R> {
        let start = Instant::now();
        let result = work();
        self.0 = self.0.max(start.elapsed());
        result
    }
}

impl Waits {
    /// Of several runs, of which there is at least one.
    fn of(runs: &[Self]) -> Self {
        let most = |field: fn(&Self) -> f64| runs.iter().map(field).fold(0.0, f64::max);
        let least = |field: fn(&Self) -> f64| runs.iter().map(field).fold(f64::INFINITY, f64::min);
        Self {
            quiet_ms: most(|run| run.quiet_ms),
            others_least_ms: least(|run| run.others_least_ms),
            others_most_ms: most(|run| run.others_most_ms),
            itself_ms: least(|run| run.itself_ms),
        }
    }
}

/// Looks at how long others wait: first while nothing happens, then during an event.
fn watch(address: SocketAddr, event: impl FnOnce(&mut Longest) -> Result<()>) -> Result<Waits> {
    let quiet = Probes::start(address)?;
    thread::sleep(AFTERMATH);
    let quiet_ms = quiet.stop()?;
    let probes = Probes::start(address)?;
    let mut longest = Longest::default();
    let outcome = event(&mut longest);
    thread::sleep(AFTERMATH);
    let others_ms = probes.stop()?;
    outcome?;
    Ok(Waits {
        quiet_ms,
        others_least_ms: others_ms,
        others_most_ms: others_ms,
        itself_ms: milliseconds(longest.0),
    })
}

/// Connections that ask without a break.
struct Probes {
    is_over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<Duration>>>,
}

impl Probes {
    fn start(address: SocketAddr) -> Result<Self> {
        let is_over = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        for words in [&["PING"][..], &["GET", READ_KEY]] {
            let mut admin = Admin::connect(address)?;
            // Before the first answer a connection is not a probe.
            admin.ask(&["PING"])?;
            let is_over = Arc::clone(&is_over);
            threads.push(thread::spawn(move || probe(&mut admin, words, &is_over)));
        }
        Ok(Self { is_over, threads })
    }

    /// The longest wait, in milliseconds.
    fn stop(self) -> Result<f64> {
        self.is_over.store(true, Ordering::Relaxed);
        let mut longest = Duration::ZERO;
        for probe in self.threads {
            longest = longest.max(probe.join().expect("a probe returns its errors")?);
        }
        Ok(milliseconds(longest))
    }
}

fn probe(admin: &mut Admin, words: &[&str], is_over: &AtomicBool) -> Result<Duration> {
    /// Rests let the probes measure the server rather than each other.
    const REST: Duration = Duration::from_micros(200);
    let mut longest = Longest::default();
    while !is_over.load(Ordering::Relaxed) {
        match longest.time(|| admin.ask(words)) {
            Ok(_) => {}
            // FLUSHALL takes the key that is read along.
            Err(_) if words[0] == "GET" => return Ok(longest.0),
            Err(error) => return Err(error),
        }
        thread::sleep(REST);
    }
    Ok(longest.0)
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn table(report: &Report) -> Table {
    let head = [
        "event",
        "quiet ms",
        "least",
        "most",
        "itself",
        "redis quiet",
        "least",
        "most",
        "itself",
    ];
    let mut table = Table::new(1, &head);
    for event in &report.events {
        let mut cells = vec![event.name.clone()];
        for waits in [&event.bailiwick, &event.redis] {
            let times = [
                waits.quiet_ms,
                waits.others_least_ms,
                waits.others_most_ms,
                waits.itself_ms,
            ];
            cells.extend(times.map(|ms| figure(ms, 2)));
        }
        table.row(cells);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_in_every_run_is_told_from_what_does_not() {
        let waits = |ms: f64| Waits {
            quiet_ms: ms,
            others_least_ms: ms,
            others_most_ms: ms,
            itself_ms: 3.0 * ms,
        };
        let all = Waits::of(&[waits(2.0), waits(1.0), waits(3.0)]);
        assert_eq!((all.quiet_ms, all.itself_ms), (3.0, 3.0));
        assert_eq!((all.others_least_ms, all.others_most_ms), (1.0, 3.0));
    }
}
