//! `load`: the load generator alone, on a server that is already running.
//!
//! Handy under a profiler, and to load a server that was set up by hand. It fails as the
//! generator does; reads that find nothing are counted, not refused.

use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::cpu::ProcessClock;
use crate::load::{Generator, LoadOutcome, LoadSpec};
use crate::report::{Table, figure};
use crate::requests::{KeyOrder, Mix, Shape};
use crate::schedule::Stop;
use crate::stats::quantile_us;

/// The arguments of `load`.
#[derive(Debug, clap::Args)]
pub(crate) struct SingleArgs {
    /// Where the server listens
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    #[arg(long)]
    port: u16,
    /// Operations
    #[arg(long, default_value = "get")]
    test: Mix,
    /// Connections
    #[arg(long, default_value_t = 50)]
    clients: usize,
    /// Requests in flight per connection
    #[arg(long, default_value_t = 1)]
    pipeline: u64,
    /// Keys to choose from at random
    #[arg(long, default_value_t = 100_000)]
    keys: u64,
    /// Take keys one after the other; with `--test set` and no other limit, sets each once
    #[arg(long)]
    sequential: bool,
    /// Length of each key
    #[arg(long, default_value_t = 16)]
    key_bytes: usize,
    /// Length of each value
    #[arg(long, default_value_t = 64)]
    value_bytes: usize,
    /// Length of the run in requests
    #[arg(long, conflicts_with = "seconds")]
    requests: Option<u64>,
    /// Length of the run in seconds [default: 5, or each key once if sequential]
    #[arg(long)]
    seconds: Option<f64>,
    /// Requests per second [default: as fast as replies come]
    #[arg(long)]
    rate: Option<f64>,
    /// Process id of the server, to show its processor time
    #[arg(long)]
    pid: Option<u32>,
}

/// Loads and prints what came of it.
///
/// # Errors
/// See the module.
pub(crate) fn run(args: &SingleArgs) -> Result<()> {
    let clock = args
        .pid
        .map(ProcessClock::of)
        .transpose()
        .context("no such process")?;
    let mut generator = Generator::connect(args.spec()?)?;
    let read = || clock.map(|clock| clock.read()).transpose();
    let before = read()?;
    let outcome = generator.run(&args.stop()?)?;
    let server_cpu = read()?
        .zip(before)
        .map(|(after, before)| after.saturating_sub(before));
    print!("{}", table(&outcome, server_cpu).render());
    Ok(())
}

impl SingleArgs {
    fn spec(&self) -> Result<LoadSpec> {
        let order = if self.sequential {
            KeyOrder::Sequential
        } else {
            KeyOrder::Random
        };
        let shape = Shape {
            mix: self.test,
            order,
            keys: self.keys,
            key_bytes: self.key_bytes,
            value_bytes: self.value_bytes,
            seed: 1,
        };
        let (clients, pipeline, rate) = (self.clients, self.pipeline, self.rate);
        Ok(LoadSpec {
            address: self.address()?,
            clients,
            pipeline,
            rate,
            shape,
        })
    }

    fn address(&self) -> Result<SocketAddr> {
        let mut addresses = (self.host.as_str(), self.port).to_socket_addrs()?;
        addresses
            .next()
            .with_context(|| format!("{} has no address", self.host))
    }

    fn stop(&self) -> Result<Stop> {
        let after = |seconds| Duration::try_from_secs_f64(seconds).map(Stop::After);
        Ok(match (self.requests, self.seconds) {
            (Some(requests), _) => Stop::Requests(requests),
            (None, Some(seconds)) => after(seconds)?,
            (None, None) if self.sequential => Stop::Requests(self.keys),
            (None, None) => after(5.0)?,
        })
    }
}

fn table(outcome: &LoadOutcome, server_cpu: Option<Duration>) -> Table {
    let per_operation = |time: Duration| time.as_nanos() as f64 / outcome.operations as f64;
    let us = |quantile| figure(quantile_us(&outcome.latency, quantile), 0);
    let mut table = Table::new(1, &["figure", "value"]);
    let rows = [
        ("operations", outcome.operations.to_string()),
        ("misses", outcome.misses.to_string()),
        ("seconds", figure(outcome.elapsed.as_secs_f64(), 2)),
        ("op/s", figure(outcome.operations_per_s(), 0)),
        ("p50 us", us(0.5)),
        ("p99 us", us(0.99)),
        ("p99.9 us", us(0.999)),
        ("max us", us(1.0)),
        (
            "cpu ns/op",
            figure(server_cpu.map_or(f64::NAN, per_operation), 0),
        ),
        (
            "load ns/op",
            figure(per_operation(outcome.generator_cpu), 0),
        ),
    ];
    for (name, value) in rows {
        table.row(vec![name.to_owned(), value]);
    }
    table
}
