//! The arguments of comparisons in which short runs of two servers alternate.

use std::net::SocketAddr;

use crate::load::LoadSpec;
use crate::requests::Mix;

/// What is asked, how often, and for how long.
#[derive(Debug, clap::Args)]
pub(crate) struct Sampling {
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
}

impl Sampling {
    /// One request after the other on random keys.
    pub(crate) fn spec(&self, address: SocketAddr, mix: Mix) -> LoadSpec {
        LoadSpec::at_random(address, self.clients, mix, (self.keys, self.value_bytes))
    }
}
