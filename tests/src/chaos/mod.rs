//! A cluster under load while nodes and network fail.
//!
//! `load` has clients on every node read and write a few keys; `nemesis` hurts nodes and links,
//! one fault after the other, and heals each. Afterwards everything is healed and must hold:
//!
//! * every key's history is linearizable, final reads on each node included;
//! * all nodes hold the same data;
//! * a `READONLY` session has never seen a counter go back;
//! * no client was told of a failure that the faults of the time do not excuse. Above all, the
//!   clients of other nodes do not notice that a leader was killed, except that they wait.
//!
//! A run reports how long each fault kept writes from being acknowledged. It checks no limit on
//! that: this is about what is true, not about how fast.

pub(crate) mod load;
mod nemesis;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use fastrand::Rng;

use crate::client::Address;
use crate::cluster::{Cluster, Options};
use crate::history::{History, Operation, Outcome};
use crate::linearizability;
use load::{Complaint, Session, Worker};
use nemesis::Episode;

pub use load::Trouble;
pub use nemesis::Fault;

/// What to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Which random numbers; the machine's timing differs all the same.
    pub seed: u64,
    /// How many nodes.
    pub nodes: u32,
    /// Clients on each node that read and write.
    pub clients_per_node: u32,
    /// How long faults are made.
    pub duration: Duration,
    /// How long one fault lasts at most.
    pub fault: Duration,
    /// Which faults; one is chosen each time.
    pub faults: Vec<Fault>,
    /// How long a node lets a command wait for a leader, in milliseconds; the default is longer
    /// than any of these faults. If it is given, clients everywhere may be told that there is none.
    pub request_timeout_ms: Option<u64>,
    /// More arguments for each node.
    pub arguments: Vec<String>,
    /// Whether to say what is done.
    pub verbose: bool,
}

impl Plan {
    /// All kinds of faults, short ones, on so many nodes.
    #[must_use]
    pub fn new(nodes: u32, seed: u64, duration: Duration) -> Self {
        Self {
            seed,
            nodes,
            clients_per_node: if nodes > 3 { 2 } else { 3 },
            duration,
            fault: Duration::from_millis(1500),
            faults: Fault::ALL.to_vec(),
            request_timeout_ms: None,
            arguments: Vec::new(),
            verbose: true,
        }
    }
}

/// What happened.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Operations that were answered.
    pub answered: usize,
    /// Writes with an unknown outcome.
    pub unknown: usize,
    /// Operations that were refused.
    pub refused: usize,
    /// How often clients were told of each kind of failure.
    pub troubles: BTreeMap<Trouble, usize>,
    /// Reads of `READONLY` sessions.
    pub readonly_reads: u64,
    /// For each fault, how long it took from its beginning to the next acknowledged write that was
    /// asked for since, in milliseconds.
    pub recoveries_ms: BTreeMap<Fault, Vec<u64>>,
}

impl fmt::Display for Summary {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            answered,
            unknown,
            refused,
            troubles,
            readonly_reads,
            recoveries_ms,
        } = self;
        write!(
            out,
            "{answered} operations answered, {unknown} unknown, {refused} refused, {troubles:?}; \
             {readonly_reads} reads of READONLY sessions\nto the next acknowledged write, in ms:"
        )?;
        for (fault, times) in recoveries_ms {
            let mut times = times.clone();
            times.sort_unstable();
            let median = times[times.len() / 2];
            let most = times[times.len() - 1];
            let name = format!("{fault:?}");
            write!(
                out,
                "\n  {name:<24} {:>4} times, median {median:>6}, most {most:>6}",
                times.len()
            )?;
        }
        Ok(())
    }
}

/// Runs a plan on a cluster of its own.
///
/// # Errors
/// Something that must hold does not; the error names the seed.
pub fn run(plan: &Plan) -> Result<Summary> {
    run_seeded(plan).with_context(|| format!("seed {}, {} nodes", plan.seed, plan.nodes))
}

fn run_seeded(plan: &Plan) -> Result<Summary> {
    let mut options = Options::relayed(plan.nodes);
    options.arguments.clone_from(&plan.arguments);
    if let Some(timeout_ms) = plan.request_timeout_ms {
        options = options.with("--request-timeout", &timeout_ms.to_string());
    }
    if plan.faults.contains(&Fault::FullDisk) {
        options.on_small_disk = (1..=plan.nodes).collect();
    }
    let mut cluster = Cluster::start(&options)?;
    let run = load_and_hurt(plan, &mut cluster)?;
    cluster.heal()?;
    cluster.wait_for_leader()?;
    let mut history = run.history;
    let is_impatient = plan.request_timeout_ms.is_some();
    load::read_all(&cluster, &run.clock, &mut history, "", is_impatient)?;
    linearizability::check(&history)?;
    cluster.wait_for_agreement()?;
    excused(&run.complaints, &run.episodes, is_impatient)?;
    let mut summary = summarize(&history, &run.episodes);
    summary.readonly_reads = run.readonly_reads;
    for complaint in &run.complaints {
        *summary.troubles.entry(complaint.trouble).or_default() += 1;
    }
    Ok(summary)
}

/// The moments of a run, in microseconds since its beginning.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(pub(crate) Instant);

impl Clock {
    pub(crate) fn now(&self) -> u64 {
        self.0.elapsed().as_micros() as u64
    }
}

struct Run {
    clock: Clock,
    history: History,
    complaints: Vec<Complaint>,
    episodes: Vec<Episode>,
    readonly_reads: u64,
}

fn load_and_hurt(plan: &Plan, cluster: &mut Cluster) -> Result<Run> {
    let clock = Clock(Instant::now());
    let over = AtomicBool::new(false);
    let mut rng = Rng::with_seed(plan.seed);
    let mut workers = Vec::new();
    let mut sessions = Vec::new();
    for node in cluster.nodes() {
        let address = Address::Tcp(cluster.address(node));
        for _ in 0..plan.clients_per_node {
            let number = workers.len() as u32;
            let seed = rng.u64(..);
            workers.push(Worker::new(number, node, address.clone(), seed, clock));
        }
        sessions.push(Session::new(address));
    }
    thread::scope(|scope| {
        let workers: Vec<_> = workers
            .into_iter()
            .map(|worker| scope.spawn(|| worker.run(&over)))
            .collect();
        let sessions: Vec<_> = sessions
            .into_iter()
            .map(|session| scope.spawn(|| session.run(&over)))
            .collect();
        // Nodes die with the thread that started them, so this one starts them again.
        let episodes = nemesis::run(plan, cluster, clock, &mut rng);
        over.store(true, Ordering::Release);
        let mut run = Run {
            clock,
            history: History::default(),
            complaints: Vec::new(),
            episodes: episodes?,
            readonly_reads: 0,
        };
        for worker in workers {
            let (history, complaints) = worker.join().expect("it returns errors")?;
            run.history.merge(history);
            run.complaints.extend(complaints);
        }
        for session in sessions {
            run.readonly_reads += session.join().expect("it returns errors")?;
        }
        Ok(run)
    })
}

/// Every complaint must be one that the faults of its time excuse.
fn excused(complaints: &[Complaint], episodes: &[Episode], is_impatient: bool) -> Result<()> {
    for complaint in complaints {
        let meanwhile = episodes.iter().filter(|episode| episode.touches(complaint));
        let is_excused = meanwhile.clone().any(|episode| match complaint.trouble {
            Trouble::Lost => episode.killed.contains(&complaint.node),
            Trouble::NoQuorum => episode.cut_off.contains(&complaint.node),
            Trouble::DiskFull => episode.fault == Fault::FullDisks,
            Trouble::Held | Trouble::Other => false,
        });
        // An election on a busy machine needs no fault to take longer than that.
        let is_impatience = is_impatient && complaint.trouble == Trouble::NoQuorum;
        if !is_excused && !is_impatience {
            let faults: Vec<_> = meanwhile.collect();
            bail!("no fault excuses this: {complaint}; at the time: {faults:?}");
        }
    }
    Ok(())
}

fn summarize(history: &History, episodes: &[Episode]) -> Summary {
    let mut summary = Summary::default();
    let mut acknowledged = Vec::new();
    for record in history.records() {
        match record.outcome {
            Outcome::Answered(_) => summary.answered += 1,
            Outcome::Unknown => summary.unknown += 1,
            Outcome::Refused => summary.refused += 1,
        }
        let is_write = record.operation != Operation::Get;
        if is_write && matches!(record.outcome, Outcome::Answered(_)) {
            acknowledged.push((record.invoked, record.returned));
        }
    }
    for episode in episodes {
        let next = acknowledged
            .iter()
            .filter(|(invoked, _)| *invoked >= episode.began)
            .map(|(_, returned)| *returned)
            .min();
        if let Some(next) = next {
            let times = summary.recoveries_ms.entry(episode.fault).or_default();
            times.push((next - episode.began) / 1000);
        }
    }
    summary
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaint(node: u32, trouble: Trouble, invoked: u64) -> Complaint {
        Complaint {
            node,
            trouble,
            text: String::new(),
            invoked,
            returned: invoked + 10,
        }
    }

    #[test]
    fn only_what_the_faults_of_the_time_explain_is_excused() {
        let episode = Episode {
            fault: Fault::KillLeader,
            killed: vec![1],
            cut_off: vec![2],
            began: 1000,
            ended: 2000,
        };
        let check = |node, trouble, at| {
            let complaint = complaint(node, trouble, at);
            excused(&[complaint], std::slice::from_ref(&episode), false).is_ok()
        };
        assert!(check(1, Trouble::Lost, 1500));
        assert!(!check(3, Trouble::Lost, 1500), "another node was killed");
        assert!(!check(1, Trouble::Lost, 500), "it came before the fault");
        assert!(!check(1, Trouble::Lost, 900_000_000), "it came long after");
        assert!(check(2, Trouble::NoQuorum, 1500));
        assert!(!check(3, Trouble::NoQuorum, 1500));
        assert!(!check(1, Trouble::DiskFull, 1500));
        assert!(!check(1, Trouble::Other, 1500));
        let impatient = complaint(3, Trouble::NoQuorum, 1500);
        assert!(excused(&[impatient], &[], true).is_ok());
    }
}
