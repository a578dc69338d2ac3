//! `move`: how long clients wait while a prefix moves from one group to another.
//!
//! Two groups on this machine; a prefix with many keys moves from the one to the other and back.
//! Meanwhile clients on a node of either group read and write random keys of it at a fixed rate,
//! each request's wait counted from when it was due, and others increment counters of their own and
//! know what each answer must be. Afterwards every key is read, and the keys are counted: none may
//! be missing. The longest wait is the hold, when the source has stopped and the destination has
//! not begun; the wait before the move shows what the machine adds by itself.
//!
//! How it fails: a move that does not end by `--limit`, or a node that ends.

mod clients;
mod report;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::admin::{Admin, pair_value};
use crate::cluster::{Cluster, Place, Plan};
use crate::interrupt;
use crate::load::{Generator, LoadOutcome, LoadSpec};
use crate::node_program::NodeProgram;
use crate::requests::{KeyOrder, Mix};
use crate::schedule::Stop;
use clients::{Clients, Load};
use report::{Report, Round, Waits, table};

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
    crate::report::publish(&table(&report), &report, args.json.as_deref())
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
