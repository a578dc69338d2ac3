//! The arguments of comparisons in which short runs of two servers alternate.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Result;
use serde::Serialize;

use crate::load::{Generator, LoadSpec};
use crate::node_program::NodeProgram;
use crate::report::Machine;
use crate::requests::{KeyOrder, Mix};
use crate::schedule::Stop;

const FILL_PIPELINE: u64 = 64;

/// With what it was measured, as it goes to JSON.
#[derive(Debug, Serialize)]
pub(crate) struct Setup {
    machine: Machine,
    pub(crate) bailiwick_version: String,
    clients: usize,
    keys: u64,
    value_bytes: usize,
}

/// What is asked, how often, and for how long.
#[derive(Debug, clap::Args)]
pub(crate) struct Sampling {
    #[command(flatten)]
    pub(crate) node: NodeProgram,
    /// Connections
    #[arg(long, default_value_t = 50)]
    pub(crate) clients: usize,
    /// Requests in flight per connection
    #[arg(long, value_delimiter = ',', default_value = "1,16,64")]
    pub(crate) pipelines: Vec<u64>,
    /// Keys loaded before and taken at random
    #[arg(long, default_value_t = 100_000)]
    pub(crate) keys: u64,
    /// Length of each value
    #[arg(long, default_value_t = 64)]
    pub(crate) value_bytes: usize,
    /// Length of each run in seconds
    #[arg(long, default_value_t = 2.0)]
    pub(crate) seconds: f64,
    /// Length of the warm-up before each run in seconds
    #[arg(long, default_value_t = 0.3)]
    pub(crate) warm_up: f64,
    /// Rounds
    #[arg(long, default_value_t = 5)]
    pub(crate) rounds: usize,
    /// Write the JSON here instead of after the table
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

impl Sampling {
    /// So many requests at once on random keys; runs with the same seed ask for the same ones.
    pub(crate) fn spec(&self, address: SocketAddr, mix: Mix, pipeline: u64, seed: u64) -> LoadSpec {
        let size = (self.keys, self.value_bytes);
        LoadSpec {
            pipeline,
            ..LoadSpec::at_random(address, self.clients, mix, size)
        }
        .seeded(seed)
    }

    /// Sets all keys, one after the other.
    pub(crate) fn fill(&self, address: SocketAddr) -> Result<()> {
        let mut spec = self.spec(address, Mix::Set, FILL_PIPELINE, 1);
        spec.shape.order = KeyOrder::Sequential;
        Generator::connect(spec)?.run(&Stop::Requests(self.keys))?;
        Ok(())
    }

    /// What a report begins with; the version is filled in when a node runs.
    pub(crate) fn setup(&self) -> Setup {
        Setup {
            machine: Machine::this(),
            bailiwick_version: String::new(),
            clients: self.clients,
            keys: self.keys,
            value_bytes: self.value_bytes,
        }
    }
}
