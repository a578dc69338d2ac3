//! Clients that count, and so know what each answer must be.
//!
//! Each client has a key of its own and increments it through one node, one request after the
//! other, reading it now and then. A write that is lost or done twice, a stale read and an error
//! all show at once, as an answer that is not the expected one. Clients keep to their connection:
//! only nodes that stay up may have some.
//!
//! How it fails: a client that gets another answer ends, and [`Counting::stop`] or whoever waits
//! tells what it got.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::client::{Client, Value};
use crate::cluster::Cluster;
use crate::server::{DEADLINE, POLL};

/// Between two requests of a client, so that a busy machine gets on with the rest.
const PAUSE: Duration = Duration::from_micros(500);

/// One in so many requests reads.
const READS: u64 = 4;

/// Clients at work.
pub struct Counting {
    clients: Vec<JoinHandle<Result<Count>>>,
    answered: Vec<Arc<AtomicU64>>,
    over: Arc<AtomicBool>,
}

/// What one client has counted.
#[derive(Clone, Debug)]
pub struct Count {
    /// Its key.
    pub key: String,
    /// How often it was incremented.
    pub total: i64,
    /// The longest time that an answer took.
    pub longest: Duration,
}

impl Counting {
    /// Starts so many clients on each of these nodes, with keys that begin with `name`.
    ///
    /// # Errors
    /// A node does not accept them.
    pub fn start(
        cluster: &Cluster,
        name: &str,
        nodes: impl IntoIterator<Item = u32>,
        clients_per_node: u32,
    ) -> Result<Self> {
        let over = Arc::new(AtomicBool::new(false));
        let mut clients = Vec::new();
        let mut answered = Vec::new();
        for node in nodes {
            for number in 0..clients_per_node {
                let key = format!("{name}:{node}:{number}");
                let client = cluster.connect(node)?;
                let progress = Arc::new(AtomicU64::new(0));
                answered.push(progress.clone());
                let over = over.clone();
                clients.push(thread::spawn(move || {
                    count(client, key, &progress, &over).with_context(|| format!("on node {node}"))
                }));
            }
        }
        Ok(Self {
            clients,
            answered,
            over,
        })
    }

    /// Waits until every client has had so many more answers.
    ///
    /// # Errors
    /// A client has ended, or gets none.
    pub fn wait_for(&self, count: u64) -> Result<()> {
        let now = |answered: &Arc<AtomicU64>| answered.load(Ordering::Acquire);
        let wanted: Vec<u64> = self.answered.iter().map(|a| now(a) + count).collect();
        let start = Instant::now();
        loop {
            let mut pairs = self.answered.iter().zip(&wanted);
            if pairs.all(|(answered, wanted)| now(answered) >= *wanted) {
                return Ok(());
            }
            // Which one and why is told by `stop`.
            if self.clients.iter().any(JoinHandle::is_finished) {
                return Ok(());
            }
            ensure!(start.elapsed() < DEADLINE, "clients get no answers");
            thread::sleep(POLL);
        }
    }

    /// Ends the clients.
    ///
    /// # Errors
    /// What the first of them got instead of the answer that it should have got.
    pub fn stop(self) -> Result<Vec<Count>> {
        self.over.store(true, Ordering::Release);
        let joined = self.clients.into_iter().map(|client| client.join());
        joined
            .map(|client| client.unwrap_or_else(|_| bail!("a counting client panicked")))
            .collect()
    }

    /// Ends the clients and checks that every member of the group knows their counts.
    /// Returns the longest time that an answer took.
    ///
    /// # Errors
    /// As for [`stop`](Self::stop), or a member has another count.
    pub fn stop_and_check(self, cluster: &Cluster) -> Result<Duration> {
        let counts = self.stop()?;
        for node in cluster.group() {
            check(cluster, node, &counts)?;
        }
        let longest = counts.iter().map(|count| count.longest).max();
        Ok(longest.unwrap_or_default())
    }
}

/// Checks counts through a node.
///
/// # Errors
/// It has other ones.
pub fn check(cluster: &Cluster, node: u32, counts: &[Count]) -> Result<()> {
    let mut client = cluster.connect(node)?;
    for Count { key, total, .. } in counts {
        let found = client.call(["GET", key])?;
        ensure!(
            found == Value::bytes(total.to_string()),
            "{key} was incremented {total} times, and node {node} says {found:?}"
        );
    }
    Ok(())
}

fn count(
    mut client: Client,
    key: String,
    answered: &AtomicU64,
    over: &AtomicBool,
) -> Result<Count> {
    let mut total = 0;
    let mut longest = Duration::ZERO;
    let mut requests = 0_u64;
    // One more after the end, so that each sees how things are then.
    let mut is_last = false;
    while !is_last {
        is_last = over.load(Ordering::Acquire);
        requests += 1;
        let start = Instant::now();
        let (answer, wanted) = if requests.is_multiple_of(READS) && !is_last {
            let found = client.call(["GET", &key]);
            (found, Value::bytes(total.to_string()))
        } else {
            total += 1;
            (client.call(["INCR", &key]), Value::Integer(total))
        };
        let took = start.elapsed();
        let answer = answer.with_context(|| format!("{key} at {total}, after {took:?}"))?;
        ensure!(
            answer == wanted,
            "{key}: {answer:?} instead of {wanted:?}, after {took:?}"
        );
        longest = longest.max(took);
        answered.fetch_add(1, Ordering::Release);
        thread::sleep(PAUSE);
    }
    Ok(Count {
        key,
        total,
        longest,
    })
}
