//! Runs simulated clusters, as many as wanted, and stops at the first violation.

use std::fmt;
use std::panic;
use std::process::exit;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use bailiwick_tests::simulation::{Planted, Summary, Violation, run, several};
use clap::{Parser, ValueEnum};

/// Runs whole clusters on simulated clocks, networks and disks, one for each seed, and checks what
/// they told their clients. Prints seeds per second; stops at a violation and prints its seed,
/// which shows the same again.
#[derive(Parser)]
struct Arguments {
    /// How many seeds
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// The first seed; the next ones count up
    #[arg(long, default_value_t = 1)]
    first: u64,
    /// How many groups; with more than one, prefixes move between them
    #[arg(long, default_value_t = 1)]
    groups: u32,
    /// How many at once
    #[arg(long, default_value_t = 2)]
    jobs: u64,
    /// Plants this bug, to see it found; some exist in debug builds only
    #[arg(long)]
    bug: Option<String>,
    /// Goes on after a violation, unless it is a panic, and lists all at the end
    #[arg(long)]
    keep_going: bool,
}

/// What the threads share.
struct Shared {
    next: AtomicU64,
    end: u64,
    done: AtomicU64,
    violations: AtomicU64,
    keep_going: bool,
    kind: Kind,
}

/// Which simulation, with what it came across so far.
enum Kind {
    One(Option<Planted>, Mutex<Summary>),
    Several(u32, Option<several::Bug>, Mutex<several::Summary>),
}

impl Kind {
    fn of(arguments: &Arguments) -> Result<Self, String> {
        let name = arguments.bug.as_deref();
        if arguments.groups > 1 {
            let bug = name.map(|name| several::bug_named(name).ok_or(format!("no bug {name}")));
            return Ok(Self::Several(
                arguments.groups,
                bug.transpose()?,
                Mutex::default(),
            ));
        }
        let bug = name.map(|name| Planted::from_str(name, true));
        Ok(Self::One(bug.transpose()?, Mutex::default()))
    }

    /// Runs a seed and adds what it came across.
    fn run(&self, seed: u64) -> Result<(), Violation> {
        match self {
            Self::One(bug, total) => {
                let summary = run(seed, *bug)?;
                lock(total).add(&summary);
            }
            Self::Several(groups, bug, total) => {
                let summary = several::run(seed, *groups, *bug)?;
                lock(total).add(&summary);
            }
        }
        Ok(())
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(_, total) => lock(total).fmt(out),
            Self::Several(.., total) => lock(total).fmt(out),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

std::thread_local! {
    static SEED: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

fn main() {
    let arguments = Arguments::parse();
    // Panics end the process in this build, so the seed is told here.
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        before(info);
        eprintln!("seed {}: a panic, see above", SEED.get());
        exit(1);
    }));
    let kind = Kind::of(&arguments).unwrap_or_else(|error| {
        eprintln!("{error}");
        exit(2);
    });
    let shared = Shared {
        next: AtomicU64::new(arguments.first),
        end: arguments.first + arguments.seeds,
        done: AtomicU64::new(0),
        violations: AtomicU64::new(0),
        keep_going: arguments.keep_going,
        kind,
    };
    let start = Instant::now();
    thread::scope(|scope| {
        for _ in 0..arguments.jobs.max(1) {
            scope.spawn(|| work(&shared));
        }
        report(&shared, arguments.seeds, start);
    });
    let violations = shared.violations.load(Ordering::Relaxed);
    let per_second = arguments.seeds as f64 / start.elapsed().as_secs_f64();
    println!(
        "{} seeds, {per_second:.1} a second, {violations} violations: {}",
        arguments.seeds, shared.kind
    );
    exit(i32::from(violations > 0));
}

fn work(shared: &Shared) {
    loop {
        let seed = shared.next.fetch_add(1, Ordering::Relaxed);
        if seed >= shared.end {
            return;
        }
        SEED.set(seed);
        match shared.kind.run(seed) {
            Ok(()) => {}
            Err(violation) => {
                println!("{violation}");
                if !shared.keep_going {
                    exit(1);
                }
                shared.violations.fetch_add(1, Ordering::Relaxed);
            }
        }
        shared.done.fetch_add(1, Ordering::Relaxed);
    }
}

/// Says now and then how far it is.
fn report(shared: &Shared, seeds: u64, start: Instant) {
    let mut said = Instant::now();
    while shared.done.load(Ordering::Relaxed) < seeds {
        thread::sleep(Duration::from_millis(50));
        if said.elapsed() >= Duration::from_secs(10) {
            said = Instant::now();
            let done = shared.done.load(Ordering::Relaxed);
            let per_second = done as f64 / start.elapsed().as_secs_f64();
            println!("{done} of {seeds} seeds, {per_second:.1} a second");
        }
    }
}
