//! bailiwick-bench: load, and comparisons with other systems.
//!
//! The entry point only parses the command line; each command has a module of its own. All
//! commands but `load` start the servers they measure, on free local ports with temporary data
//! directories, and leave nothing behind.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        reason = "a test that fails by panicking fails as it should"
    )
)]

mod admin;
mod benchmark;
mod catchup;
mod checkpoint;
mod cluster;
mod compare;
mod compare_etcd;
mod cpu;
mod deletes;
mod directory;
mod etcd;
mod failover;
mod interrupt;
mod lists;
mod load;
mod memory;
mod memory_types;
mod moving;
mod node_program;
mod process;
mod proxy;
mod read_cost;
mod regions;
mod replies;
mod report;
mod requests;
mod sampling;
mod schedule;
mod servers;
mod single;
mod stats;
mod timed;
mod writer;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Measures bailiwick, beside other systems where that says more.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Throughput, latency and processor time beside another server
    #[command(subcommand)]
    Compare(Compare),
    /// Resident bytes per key beside another server
    #[command(subcommand)]
    Memory(Memory),
    /// Latency with and without a BGSAVE going on
    Checkpoint(checkpoint::CheckpointArgs),
    /// How long others wait while a large value goes, or something large grows
    LatencyOfDeletes(deletes::DeletesArgs),
    /// How long writes wait when the leader of three nodes is killed
    Failover(failover::FailoverArgs),
    /// Throughput of three nodes while a follower that missed writes catches up
    Catchup(catchup::CatchupArgs),
    /// Processor time of a linearizable read on the leader of three, beside a single node
    ReadCost(sampling::Sampling),
    /// What it costs to ask a node that has to ask another one, beside asking that one directly
    Proxy(sampling::Sampling),
    /// How long clients wait while a prefix moves from one group to another
    Move(moving::MoveArgs),
    /// What clients of one region notice when other regions are far, cut off or down
    Regions(regions::RegionsArgs),
    /// How long a node that joins takes to learn of all prefixes
    Directory(directory::DirectoryArgs),
    /// Load on a server that is already running
    Load(single::SingleArgs),
}

#[derive(Debug, Subcommand)]
enum Compare {
    /// redis-server
    Redis(compare::CompareArgs),
    /// redis-server, by all tests of redis-benchmark
    Benchmark(benchmark::BenchmarkArgs),
    /// etcd: three durable nodes of either on this machine
    Etcd(compare_etcd::CompareEtcdArgs),
}

#[derive(Debug, Subcommand)]
enum Memory {
    /// redis-server
    Redis(memory::MemoryArgs),
    /// redis-server, by what hashes, lists, sets and sorted sets take
    Types(memory_types::MemoryTypesArgs),
}

fn main() -> ExitCode {
    match run(&Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bailiwick-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: &Command) -> anyhow::Result<()> {
    interrupt::install()?;
    match command {
        Command::Compare(Compare::Redis(args)) => compare::run(args),
        Command::Compare(Compare::Benchmark(args)) => benchmark::run(args),
        Command::Compare(Compare::Etcd(args)) => compare_etcd::run(args),
        Command::Memory(Memory::Redis(args)) => memory::run(args),
        Command::Memory(Memory::Types(args)) => memory_types::run(args),
        Command::Checkpoint(args) => checkpoint::run(args),
        Command::LatencyOfDeletes(args) => deletes::run(args),
        Command::Failover(args) => failover::run(args),
        Command::Catchup(args) => catchup::run(args),
        Command::ReadCost(args) => read_cost::run(args),
        Command::Proxy(args) => proxy::run(args),
        Command::Move(args) => moving::run(args),
        Command::Regions(args) => regions::run(args),
        Command::Directory(args) => directory::run(args),
        Command::Load(args) => single::run(args),
    }
}
