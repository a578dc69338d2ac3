//! The load on etcd: clients in a closed loop, spread over HTTP/2 connections, on one thread.
//!
//! It is the counterpart of `crate::load`: the same keys and values, one request in flight per
//! client, latency from sending a request to the end of its answer. Here several clients may share
//! a connection, as etcd's own client libraries do.
//!
//! How it fails: as `crate::load` does; a call that etcd refuses ends the run.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use hdrhistogram::Histogram;
use tokio::runtime::Runtime;
use tokio::task::{JoinSet, LocalSet};

use super::channel::{Call, Channel};
use super::wire;
use crate::cpu::ProcessClock;
use crate::interrupt;
use crate::load::{LoadOutcome, MAX_LATENCY_NS, STALL, TICK};
use crate::requests::{Content, Shape};
use crate::schedule::{Next, Schedule, Stop};

/// Connected clients, ready for one run after the other.
pub(crate) struct EtcdLoad {
    runtime: Runtime,
    channels: Vec<Channel>,
    clients: usize,
    shape: Shape,
    put: Call,
    range: Call,
}

impl EtcdLoad {
    /// Opens `connections` for `clients`.
    ///
    /// # Errors
    /// If etcd cannot be reached or there are no connections.
    pub(crate) fn connect(
        address: SocketAddr,
        connections: usize,
        clients: usize,
        shape: Shape,
    ) -> Result<Self> {
        ensure!(
            connections > 0 && clients > 0,
            "at least one client is needed"
        );
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let channels = runtime.block_on(async {
            let mut channels = Vec::new();
            for _ in 0..connections.min(clients) {
                channels.push(Channel::connect(address).await?);
            }
            anyhow::Ok(channels)
        })?;
        let (put, range) = (
            channels[0].method(wire::PUT)?,
            channels[0].method(wire::RANGE)?,
        );
        Ok(Self {
            runtime,
            channels,
            clients,
            shape,
            put,
            range,
        })
    }

    /// Offers load until `stop`, and waits for all answers.
    ///
    /// # Errors
    /// See the module.
    pub(crate) fn run(&mut self, stop: &Stop) -> Result<LoadOutcome> {
        let content = Content::new(self.shape)?;
        let clock = ProcessClock::own();
        let cpu_before = clock.read()?;
        let start = Instant::now();
        let run = Rc::new(RefCell::new(Run {
            schedule: Schedule::new(start, 1, None, stop),
            content,
            latency: Histogram::new_with_bounds(1, MAX_LATENCY_NS, 3)
                .expect("the bounds are constants that a histogram accepts"),
            misses: 0,
            last_answer: start,
        }));
        let local = LocalSet::new();
        let mut clients = JoinSet::new();
        for index in 0..self.clients {
            let client = Client {
                channel: self.channels[index % self.channels.len()].clone(),
                put: self.put.clone(),
                range: self.range.clone(),
                run: Rc::clone(&run),
            };
            clients.spawn_local_on(client.work(), &local);
        }
        self.runtime
            .block_on(local.run_until(wait(&mut clients, &run)))?;
        let run = run.borrow();
        Ok(LoadOutcome {
            operations: run.schedule.sent(),
            misses: run.misses,
            elapsed: run.last_answer - start,
            latency: run.latency.clone(),
            generator_cpu: clock.read()?.saturating_sub(cpu_before),
        })
    }
}

/// Waits for all clients, and looks after flags and the time meanwhile.
async fn wait(clients: &mut JoinSet<Result<()>>, run: &RefCell<Run>) -> Result<()> {
    let mut tick = tokio::time::interval(TICK);
    loop {
        tokio::select! {
            ended = clients.join_next() => match ended {
                None => return Ok(()),
                Some(outcome) => outcome.context("a client of etcd")??,
            },
            _ = tick.tick() => {
                interrupt::check()?;
                if run.borrow().last_answer.elapsed() > STALL {
                    bail!("no answer from etcd for {} s", STALL.as_secs());
                }
            }
        }
    }
}

/// What the clients of one run share.
struct Run {
    schedule: Schedule,
    content: Content,
    latency: Histogram<u64>,
    misses: u64,
    last_answer: Instant,
}

impl Run {
    /// Writes the next request; whether it is a put. None if the run is over.
    fn next(&mut self, out: &mut Vec<u8>) -> Option<bool> {
        if self.schedule.next(Instant::now()) == Next::Finished {
            return None;
        }
        let (key, write) = (self.content.pick_key(), self.content.pick_write());
        wire::begin(out);
        wire::bytes_field(1, self.content.key_bytes(), out, |out| {
            self.content.write_key(key, out);
        });
        if write {
            wire::bytes_field(2, self.content.value_bytes(), out, |out| {
                self.content.write_value(out);
            });
        }
        wire::finish(out);
        Some(write)
    }

    fn record(&mut self, latency: Duration, hit: bool) {
        self.latency
            .saturating_record((latency.as_nanos() as u64).max(1));
        self.misses += u64::from(!hit);
        self.last_answer = Instant::now();
    }
}

/// One client.
struct Client {
    channel: Channel,
    put: Call,
    range: Call,
    run: Rc<RefCell<Run>>,
}

impl Client {
    async fn work(self) -> Result<()> {
        let mut request = Vec::new();
        loop {
            let Some(write) = self.run.borrow_mut().next(&mut request) else {
                return Ok(());
            };
            let sent = Instant::now();
            let call = if write { &self.put } else { &self.range };
            let answer = self
                .channel
                .call(call, Bytes::copy_from_slice(&request))
                .await?;
            let hit = write || wire::has_key(wire::message(&answer)?)?;
            self.run.borrow_mut().record(sent.elapsed(), hit);
        }
    }
}
