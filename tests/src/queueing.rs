//! A queue with consumers that block: every element comes out once.
//!
//! Producers push numbered elements through some nodes, consumers wait for them with BLPOP through
//! others, each on a connection of its own, one request after the other. At the end everything that
//! was acknowledged must have been consumed, nothing twice, and each producer's elements in their
//! order, as far as one consumer can tell. Clients keep to their connections: only nodes that stay
//! up may have some.
//!
//! How it fails: an answer that is none of these ends the client, and [`Queueing::stop`] tells.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use crate::client::{Client, Value};
use crate::cluster::Cluster;
use crate::server::{DEADLINE, POLL};

/// Between two elements of a producer, so that consumers have to wait.
const PAUSE: Duration = Duration::from_millis(3);

/// Consumers on each node.
const CONSUMERS: u32 = 2;

/// Clients at work.
pub struct Queueing {
    producers: Vec<(u32, JoinHandle<Result<u64>>)>,
    consumers: Vec<JoinHandle<Result<Vec<String>>>>,
    consumed: Arc<AtomicU64>,
    /// Producers are to end.
    over: Arc<AtomicBool>,
    /// So are consumers.
    done: Arc<AtomicBool>,
}

impl Queueing {
    /// Starts a producer and two consumers on each of these nodes.
    ///
    /// # Errors
    /// A node does not accept them.
    pub fn start(
        cluster: &Cluster,
        key: &str,
        nodes: impl IntoIterator<Item = u32>,
    ) -> Result<Self> {
        let mut queueing = Self {
            producers: Vec::new(),
            consumers: Vec::new(),
            consumed: Arc::default(),
            over: Arc::default(),
            done: Arc::default(),
        };
        for node in nodes {
            let (client, of) = (cluster.connect(node)?, key.to_owned());
            let over = queueing.over.clone();
            let producer = thread::spawn(move || produce(client, &of, node, &over));
            queueing.producers.push((node, producer));
            for _ in 0..CONSUMERS {
                let (client, of) = (cluster.connect(node)?, key.to_owned());
                let (consumed, done) = (queueing.consumed.clone(), queueing.done.clone());
                let consume = move || consume(client, &of, &consumed, &done);
                queueing.consumers.push(thread::spawn(consume));
            }
        }
        Ok(queueing)
    }

    /// Waits until so many more elements have been consumed.
    ///
    /// # Errors
    /// They are not.
    pub fn wait_for(&self, count: u64) -> Result<()> {
        let wanted = self.consumed.load(Ordering::Relaxed) + count;
        self.wait_until(wanted)
    }

    /// Ends the producers, lets the consumers finish, and checks what they have.
    ///
    /// # Errors
    /// An element is missing, or came twice, or in the wrong order.
    pub fn stop(mut self) -> Result<u64> {
        self.over.store(true, Ordering::Relaxed);
        let mut produced = BTreeMap::new();
        for (node, producer) in std::mem::take(&mut self.producers) {
            produced.insert(node, finish(producer)?);
        }
        let total = produced.values().sum();
        let waited = self.wait_until(total);
        self.done.store(true, Ordering::Relaxed);
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        for (at, consumer) in std::mem::take(&mut self.consumers).into_iter().enumerate() {
            let elements = finish(consumer)?;
            let mut last: BTreeMap<&str, u64> = BTreeMap::new();
            for element in &elements {
                let before = seen.insert(element.clone(), at);
                ensure!(before.is_none(), "{element} went to {at} and {before:?}");
                let (node, number) = element.split_once(':').unwrap_or_default();
                let number: u64 = number.parse()?;
                let before = last.insert(node, number).unwrap_or(0);
                ensure!(before < number, "{element} came after number {before}");
            }
        }
        waited?;
        for (node, count) in produced {
            let is_missing = |number: &u64| !seen.contains_key(&format!("{node}:{number}"));
            let missing: Vec<u64> = (1..=count).filter(is_missing).collect();
            ensure!(missing.is_empty(), "nobody got {missing:?} of node {node}");
        }
        Ok(total)
    }

    fn wait_until(&self, wanted: u64) -> Result<()> {
        let started = Instant::now();
        while self.consumed.load(Ordering::Relaxed) < wanted {
            let is_over = started.elapsed() > DEADLINE;
            let has_failed = self.consumers.iter().any(JoinHandle::is_finished);
            if is_over || has_failed {
                let consumed = self.consumed.load(Ordering::Relaxed);
                bail!(
                    "{consumed} of {wanted} elements were consumed; a client ended: {has_failed}"
                );
            }
            thread::sleep(POLL);
        }
        Ok(())
    }
}

fn finish<T>(client: JoinHandle<Result<T>>) -> Result<T> {
    match client.join() {
        Ok(result) => result,
        Err(_) => bail!("a client panicked"),
    }
}

/// Takes elements until all is done; what waits then gives up by itself.
fn consume(
    mut client: Client,
    key: &str,
    consumed: &AtomicU64,
    done: &AtomicBool,
) -> Result<Vec<String>> {
    let mut elements = Vec::new();
    // Some give up often, since that is where an element could fall between two chairs.
    let timeouts = ["0.002", "0.02", "0.2", "1"];
    for round in 0.. {
        if done.load(Ordering::Relaxed) {
            break;
        }
        let timeout = timeouts[round % timeouts.len()];
        let answer = client.call(["BLPOP", key, timeout])?;
        match answer.list() {
            [_, element] => {
                elements.push(element.text());
                consumed.fetch_add(1, Ordering::Relaxed);
            }
            _ => ensure!(answer == Value::Null, "BLPOP: {answer:?}"),
        }
    }
    Ok(elements)
}

fn produce(mut client: Client, key: &str, node: u32, over: &AtomicBool) -> Result<u64> {
    let mut number = 0;
    while !over.load(Ordering::Relaxed) {
        number += 1;
        let element = format!("{node}:{number}");
        let answer = client.call(["RPUSH", key, &element])?;
        let is_pushed = matches!(answer, Value::Integer(_));
        ensure!(is_pushed, "RPUSH of {element}: {answer:?}");
        thread::sleep(PAUSE);
    }
    Ok(number)
}
