//! Frameworks as their users have them, at the versions pinned in `clients/`: queues of jobs
//! (BullMQ, Celery, RQ) and caches (Django's own, django-redis). None of them knows of clusters;
//! each is used through a node that runs alone, through followers, and with its keys at home in
//! another region than those who ask for them.
//!
//! The scripts in `clients/` say what is done. Only RQ gives its keys names that nobody can choose.

#![allow(
    clippy::unwrap_used,
    reason = "a test that fails by panicking fails as it should"
)]

use std::path::Path;
use std::process::Command;

use bailiwick_tests::cluster::{Cluster, Options};
use bailiwick_tests::libraries::{self, SCRIPTS, run};
use bailiwick_tests::regions::{Layout, World};
use bailiwick_tests::server::Launch;

/// Where libraries are installed.
const INSTALLED: &str = env!("CARGO_TARGET_TMPDIR");

/// What frameworks are told to begin their keys with; in a cluster of regions, that is at home in
/// the first one.
const PREFIX: &str = "eu:";

/// Runs `script` with two ports, asked and working, of each kind of cluster in turn.
fn everywhere(mut script: impl FnMut(&[String])) {
    let alone = Launch::bailiwick().unwrap().start().unwrap();
    script(&vec![alone.port().to_string(); 2]);
    drop(alone);

    let cluster = Cluster::start(&Options::direct(3)).unwrap();
    let leader = cluster.wait_for_leader().unwrap();
    let followers = cluster.group().filter(|node| *node != leader);
    let ports = followers.map(|node| cluster.address(node).port().to_string());
    script(&ports.collect::<Vec<_>>());
    drop(cluster);

    // Jobs are added at home, and worked on abroad.
    let layout = Layout::three(1).owning("rq:", "eu");
    let world = World::start(&layout).unwrap();
    let ports = ["eu", "us"].map(|region| world.cluster.address(world.node_in(region)).port());
    script(&ports.map(|port| port.to_string()));
}

fn python(script: &str, arguments: &[&str]) {
    let interpreter = libraries::python_frameworks(Path::new(INSTALLED)).unwrap();
    everywhere(|ports| {
        let mut command = Command::new(&interpreter);
        command.arg("-B").arg(format!("{SCRIPTS}/{script}"));
        run(command.args(arguments).args(ports)).unwrap();
    });
}

#[test]
fn bullmq_works() {
    let directory = libraries::node(Path::new(INSTALLED)).unwrap();
    everywhere(|ports| {
        let mut command = Command::new("node");
        command
            .current_dir(&directory)
            .arg(format!("{SCRIPTS}/bullmq.mjs"));
        run(command.arg(format!("{PREFIX}bull")).args(ports)).unwrap();
    });
}

#[test]
fn celery_works() {
    python("celery_py.py", &[PREFIX]);
}

#[test]
fn rq_works() {
    python("rq_py.py", &[]);
}

#[test]
fn caches_of_django_work() {
    python("django_py.py", &[PREFIX]);
}
