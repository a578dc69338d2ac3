//! A prefix that moves around between regions while clients use its keys and leaders die.
//!
//! Many keys that nobody writes lie beside a few that clients on all nodes read and write. In each
//! round the prefix is ordered to another region's group, and while it goes there the leader of the
//! group that has it is killed, or that of the group that is to have it, or both, each at a random
//! moment. Afterwards everything runs again and must hold:
//!
//! * every history is linearizable, final reads through each node included: no acknowledged write
//!   is lost, none is done twice, and no two groups ever served a key at the same time;
//! * all keys are there, each once, with their values;
//! * all nodes name the same owner, the one that was ordered last, at the same epoch;
//! * no client was told of a failure, but for those whose node was killed: for the others a move is
//!   a wait.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fastrand::Rng;

use super::World;
use crate::chaos::Clock;
use crate::chaos::load::{self, Complaint, Trouble, Worker};
use crate::client::{Address, Client, Value, request};
use crate::history::{History, Outcome};
use crate::linearizability;

/// Requests in one pipeline of the filling and the counting.
const PIPELINE: usize = 500;

/// The longest time from an order to a kill.
const KILL_WITHIN_MS: u64 = 400;

/// How long clients go on before the first order and after the last.
const QUIET: Duration = Duration::from_millis(300);

/// What to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Which random numbers; the machine's timing differs all the same.
    pub seed: u64,
    /// What moves. It must not be there yet.
    pub prefix: String,
    /// Keys that nobody writes meanwhile.
    pub keys: usize,
    /// Where it goes, one after the other; it begins in the first.
    pub route: Vec<String>,
    /// Whether leaders are killed.
    pub kills: bool,
}

/// What happened.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Operations of clients that were answered.
    pub answered: usize,
    /// Operations with an unknown outcome.
    pub unknown: usize,
    /// Leaders killed.
    pub kills: usize,
    /// How long each move took from its order until all nodes knew.
    pub moves: Vec<Duration>,
}

/// Runs a plan.
///
/// # Errors
/// Something that must hold does not; the error names the seed.
pub fn run(world: &mut World, plan: &Plan) -> Result<Summary> {
    println!("moving: seed {}", plan.seed);
    run_seeded(world, plan).with_context(|| format!("seed {}", plan.seed))
}

fn run_seeded(world: &mut World, plan: &Plan) -> Result<Summary> {
    let (first, rest) = plan
        .route
        .split_first()
        .context("a route has a beginning")?;
    let near = world.node_in(first);
    order(world, near, &["CREATE", &plan.prefix, "GROUP", first])?;
    world.wait_for_owner(&plan.prefix, first)?;
    fill(world, near, plan)?;
    let clock = Clock(Instant::now());
    let over = AtomicBool::new(false);
    let mut rng = Rng::with_seed(plan.seed);
    let workers: Vec<Worker> = world
        .cluster
        .nodes()
        .map(|node| {
            let address = Address::Tcp(world.cluster.address(node));
            Worker::new(node, node, address, rng.u64(..), clock).under(&plan.prefix)
        })
        .collect();
    let mut summary = Summary::default();
    let mut killed = BTreeSet::new();
    let (mut history, mut complaints) = (History::default(), Vec::new());
    thread::scope(|scope| {
        let working: Vec<_> = workers
            .into_iter()
            .map(|worker| scope.spawn(|| worker.run(&over)))
            .collect();
        thread::sleep(QUIET);
        // Nodes die with the thread that started them, so this one starts them again.
        let moved = move_around(
            world,
            plan,
            (first, rest),
            &mut rng,
            &mut killed,
            &mut summary,
        );
        thread::sleep(QUIET);
        over.store(true, Ordering::Release);
        for worker in working {
            let (records, troubles) = worker.join().expect("it returns errors")?;
            history.merge(records);
            complaints.extend(troubles);
        }
        moved
    })?;
    check_complaints(&complaints, &killed)?;
    check_keys(world, plan)?;
    load::read_all(&world.cluster, &clock, &mut history, &plan.prefix, false)?;
    linearizability::check(&history)?;
    check_owner(world, plan)?;
    for record in history.records() {
        match record.outcome {
            Outcome::Unknown => summary.unknown += 1,
            _ => summary.answered += 1,
        }
    }
    Ok(summary)
}

fn move_around(
    world: &mut World,
    plan: &Plan,
    (first, rest): (&String, &[String]),
    rng: &mut Rng,
    killed: &mut BTreeSet<u32>,
    summary: &mut Summary,
) -> Result<()> {
    let mut from = first;
    for to in rest {
        let ordered = Instant::now();
        // Any node takes the order.
        let nodes: Vec<u32> = world.cluster.nodes().collect();
        let node = nodes[rng.usize(..nodes.len())];
        order(world, node, &["MOVE", &plan.prefix, "GROUP", to])?;
        if plan.kills {
            let victims: &[&String] = match rng.u8(..3) {
                0 => &[from],
                1 => &[to],
                _ => &[from, to],
            };
            for group in victims {
                thread::sleep(Duration::from_millis(rng.u64(..KILL_WITHIN_MS)));
                let leader = world.wait_for_leader(group)?;
                world.cluster.kill(leader)?;
                killed.insert(leader);
                summary.kills += 1;
            }
            thread::sleep(Duration::from_millis(rng.u64(..KILL_WITHIN_MS)));
            world.cluster.heal()?;
        }
        world.wait_for_owner(&plan.prefix, to)?;
        world.wait_until_settled(world.node_in(to), &plan.prefix)?;
        summary.moves.push(ordered.elapsed());
        from = to;
    }
    Ok(())
}

/// Gives an order about a prefix. The answer may get lost with a group's leader, and the order with
/// it or not: it is given again until somebody says that it is done.
fn order(world: &World, node: u32, words: &[&str]) -> Result<()> {
    let words: Vec<&str> = ["PREFIX"].iter().chain(words).copied().collect();
    world.wait_for(&format!("{words:?} is not done"), || {
        let answer = world.cluster.connect(node)?.call(&words)?;
        ensure!(answer == Value::ok(), "{answer:?}");
        Ok(())
    })
}

fn key(plan: &Plan, number: usize) -> String {
    format!("{}still:{number}", plan.prefix)
}

fn fill(world: &World, node: u32, plan: &Plan) -> Result<()> {
    let mut client = world.cluster.connect(node)?;
    for chunk in (0..plan.keys).collect::<Vec<_>>().chunks(PIPELINE) {
        let mut bytes = Vec::new();
        for number in chunk {
            let (key, value) = (key(plan, *number), number.to_string());
            bytes.extend(request(["SET", &key, &value]));
        }
        client.send(&bytes)?;
        for number in chunk {
            let answer = client.read()?;
            ensure!(answer == Value::ok(), "SET of key {number}: {answer:?}");
        }
    }
    Ok(())
}

/// Only those whose node was killed have a reason to complain.
fn check_complaints(complaints: &[Complaint], killed: &BTreeSet<u32>) -> Result<()> {
    let is_excused = |complaint: &&Complaint| {
        complaint.trouble == Trouble::Lost && killed.contains(&complaint.node)
    };
    let unexcused: Vec<String> = complaints
        .iter()
        .filter(|complaint| !is_excused(complaint))
        .map(ToString::to_string)
        .collect();
    ensure!(
        unexcused.is_empty(),
        "{} clients' complaints that nothing excuses, killed were {killed:?}: {}",
        unexcused.len(),
        unexcused
            .iter()
            .take(5)
            .cloned()
            .collect::<Vec<_>>()
            .join("; ")
    );
    Ok(())
}

/// All keys are there with their values, and through every region the same number of keys in all.
fn check_keys(world: &World, plan: &Plan) -> Result<()> {
    let last = plan.route.last().context("a route has an end")?;
    let mut client = world.connect(last)?;
    for chunk in (0..plan.keys).collect::<Vec<_>>().chunks(PIPELINE) {
        let gets = chunk
            .iter()
            .map(|number| request(["GET", &key(plan, *number)]));
        client.send(&gets.collect::<Vec<_>>().concat())?;
        for number in chunk {
            let answer = client.read()?;
            let wanted = Value::bytes(number.to_string());
            ensure!(answer == wanted, "{} is {answer:?}", key(plan, *number));
        }
    }
    let listed = count(&mut client, plan)?;
    ensure!(
        listed == plan.keys,
        "{listed} keys are listed, of {}",
        plan.keys
    );
    Ok(())
}

/// How many of the keys that nobody writes a scan finds, each counted as often as it comes.
fn count(client: &mut Client, plan: &Plan) -> Result<usize> {
    let pattern = format!("{}still:*", plan.prefix);
    let (mut cursor, mut found) = ("0".to_owned(), Vec::new());
    loop {
        let answer = client.call(["SCAN", &cursor, "MATCH", &pattern, "COUNT", "1000"])?;
        let [next, keys] = answer.list() else {
            anyhow::bail!("SCAN: {answer:?}");
        };
        found.extend(keys.list().iter().map(Value::text));
        cursor = next.text();
        if cursor == "0" {
            break;
        }
    }
    let all = found.len();
    let different = found.into_iter().collect::<BTreeSet<_>>().len();
    ensure!(
        all == different,
        "{} keys were listed twice",
        all - different
    );
    Ok(all)
}

/// All nodes name the same owner.
fn check_owner(world: &World, plan: &Plan) -> Result<()> {
    let mut owners = Vec::new();
    for node in world.cluster.nodes() {
        owners.push(world.owner(node, &plan.prefix)?);
    }
    let is_one = owners.iter().all(|owner| *owner == owners[0]);
    ensure!(is_one, "nodes name different owners: {owners:?}");
    let last = plan.route.last().context("a route has an end")?;
    ensure!(
        owners[0].group == *last,
        "{:?} instead of {last}",
        owners[0]
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_killed_node_excuses_and_only_a_lost_connection() {
        let complaint = |node, trouble| Complaint {
            node,
            trouble,
            text: String::new(),
            invoked: 0,
            returned: 1,
        };
        let killed = BTreeSet::from([1]);
        let check = |node, trouble| check_complaints(&[complaint(node, trouble)], &killed).is_ok();
        assert!(check(1, Trouble::Lost));
        assert!(!check(2, Trouble::Lost));
        assert!(!check(1, Trouble::Held));
        assert!(!check(2, Trouble::NoQuorum));
    }
}
