//! Client libraries as their users have them: redis-py, ioredis and node-redis, at the versions
//! pinned in `clients/`, each in RESP2 and RESP3. redis-rs has its own file, since it is a library
//! of ours.
//!
//! The libraries are installed below Cargo's directory for test files, once per version.

#![allow(
    clippy::unwrap_used,
    reason = "a test that fails by panicking fails as it should"
)]

use std::path::Path;
use std::process::Command;

use bailiwick_tests::libraries::{self, SCRIPTS, run};
use bailiwick_tests::server::{Launch, Server};

/// Where libraries are installed.
const INSTALLED: &str = env!("CARGO_TARGET_TMPDIR");

#[test]
fn redis_py_works() {
    let python = libraries::python(Path::new(INSTALLED)).unwrap();
    let server = start();
    for protocol in ["2", "3"] {
        let mut command = Command::new(&python);
        command.arg("-B").arg(format!("{SCRIPTS}/redis_py.py"));
        run(command.args([&server.port().to_string(), protocol])).unwrap();
    }
}

#[test]
fn ioredis_works() {
    let directory = libraries::node(Path::new(INSTALLED)).unwrap();
    let server = start();
    for protocol in ["2", "3"] {
        let mut command = Command::new("node");
        command
            .current_dir(&directory)
            .arg(format!("{SCRIPTS}/ioredis.mjs"));
        run(command.args([&server.port().to_string(), protocol])).unwrap();
    }
}

#[test]
fn node_redis_works() {
    let directory = libraries::node(Path::new(INSTALLED)).unwrap();
    let server = start();
    for protocol in ["2", "3"] {
        let mut command = Command::new("node");
        command
            .current_dir(&directory)
            .arg(format!("{SCRIPTS}/node_redis.mjs"));
        run(command.args([&server.port().to_string(), protocol])).unwrap();
    }
}

fn start() -> Server {
    Launch::bailiwick()
        .unwrap()
        .args(["--fsync", "never"])
        .start()
        .unwrap()
}
