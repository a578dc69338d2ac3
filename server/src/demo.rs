//! `bailiwick demo`: a small cluster inside one process, to play with.
//!
//! Each node is a whole node with its own ports, threads and data directory; only the process and
//! its log are shared. A node that is told to `SHUTDOWN` by its client ends alone, as if its machine
//! were gone; the others go on as long as they are a majority. An interruption ends the process, and
//! removes the data unless a directory for it was named.

use std::fs;
use std::io::{self, IsTerminal, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use bailiwick_replication::NodeId;

use crate::cluster::{Address, Cluster, GroupEntry, NodeEntry};
use crate::config::{self, ConfigError, DemoArgs, LogLevel};
use crate::group::Description;
use crate::logging;
use crate::node::{Node, Shutdown};
use crate::run::{Running, StartError};

/// How often the line that says who leads is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// Why there is no demo.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// No free ports, no directory, no signals.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
    /// A node's settings.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A node.
    #[error("node {node}: {source}")]
    Start {
        /// Which.
        node: NodeId,
        /// Why.
        source: Box<StartError>,
    },
    /// The process's log.
    #[error(transparent)]
    Logging(#[from] logging::AlreadyStarted),
}

/// Runs the cluster until it is interrupted or all nodes have ended.
///
/// # Errors
/// It cannot be started.
pub fn run(args: &DemoArgs) -> Result<(), DemoError> {
    let temporary = std::env::temp_dir().join(format!("bailiwick-demo-{}", std::process::id()));
    let data = args.data.clone().unwrap_or_else(|| temporary.clone());
    let outcome = run_in(args, &data);
    if args.data.is_none() {
        // What cannot be removed from a temporary place does no harm there.
        let _ = fs::remove_dir_all(&temporary);
    }
    outcome
}

fn run_in(args: &DemoArgs, data: &Path) -> Result<(), DemoError> {
    fs::create_dir_all(data)?;
    let cluster = cluster_in(data, args.nodes)?;
    let mut logging = None;
    let mut nodes = Vec::new();
    let mut threads = Vec::new();
    for entry in &cluster.nodes {
        let directory = data.join(format!("node-{}", entry.id));
        let store = config::Store::for_member(&cluster, entry.id, directory, |settings| {
            settings.log_level = LogLevel::Warn;
            settings.threads = 1;
        })?;
        let logging = match &logging {
            Some(logging) => logging,
            None => logging.insert(logging::start(&store.load())?),
        };
        let running = Running::start(store, logging.clone()).map_err(|source| {
            let (node, source) = (entry.id, Box::new(source));
            DemoError::Start { node, source }
        })?;
        nodes.push((entry, running.node.clone()));
        threads.push(thread::spawn(move || running.wait()));
    }
    let interrupted = Arc::new(AtomicBool::new(false));
    spawn_interrupt(interrupted.clone())?;
    greet(&cluster, args, data);
    watch(&nodes, &interrupted, &threads);
    println!();
    for (_, node) in &nodes {
        node.order_shutdown(Shutdown::NoSave);
    }
    for thread in threads {
        // A node that panicked has said so.
        let _ = thread.join();
    }
    Ok(())
}

/// The cluster that lives in this directory, or a new one on free ports.
fn cluster_in(data: &Path, nodes: u32) -> Result<Cluster, DemoError> {
    let path = data.join("cluster.toml");
    if path.exists() {
        return Ok(Cluster::load(&path).map_err(ConfigError::from)?);
    }
    let cluster = new_cluster(nodes)?;
    fs::write(&path, cluster.to_toml())?;
    Ok(cluster)
}

fn new_cluster(nodes: u32) -> io::Result<Cluster> {
    // All are held until all are chosen, so that no two are the same.
    let listeners: Vec<TcpListener> = (0..2 * nodes)
        .map(|_| TcpListener::bind("127.0.0.1:0"))
        .collect::<Result<_, _>>()?;
    let mut addresses = Vec::new();
    for listener in &listeners {
        let address: Address = listener.local_addr()?.into();
        addresses.push(address);
    }
    let entries = addresses.chunks_exact(2).zip(1..);
    Ok(Cluster {
        name: "demo".to_owned(),
        nodes: entries
            .map(|(pair, id)| NodeEntry {
                id: NodeId(id),
                region: "local".to_owned(),
                client: pair[0].clone(),
                peer: pair[1].clone(),
            })
            .collect(),
        groups: vec![GroupEntry {
            name: crate::cluster::DEFAULT_GROUP.to_owned(),
            nodes: (1..=u64::from(nodes)).map(NodeId).collect(),
            priority: Vec::new(),
        }],
    })
}

fn greet(cluster: &Cluster, args: &DemoArgs, data: &Path) {
    println!(
        "A cluster of {} nodes, which keep the same data. Connect to any of them:\n",
        cluster.nodes.len()
    );
    for node in &cluster.nodes {
        println!("  node {}:  redis-cli -p {}", node.id, node.client.port());
    }
    let first = &cluster.nodes[0].client;
    println!(
        "\nThings to try:\n  \
         redis-cli -p {port} SET greeting hello     then GET it from another node\n  \
         redis-cli -p {port} GROUP INFO             who leads, and how far everybody is\n  \
         redis-cli -p {port} GROUP TRANSFER {group} 2   let node 2 lead\n  \
         redis-cli -p {port} SHUTDOWN               lose a node, and see the others go on\n",
        port = first.port(),
        group = cluster.root().name,
    );
    match &args.data {
        Some(_) => println!("The data stays in {}. Ctrl-C ends it.\n", data.display()),
        None => println!("Ctrl-C ends it and removes the data.\n"),
    }
}

/// Shows who leads until it is time to end.
fn watch(
    nodes: &[(&NodeEntry, Arc<Node>)],
    interrupted: &AtomicBool,
    threads: &[thread::JoinHandle<()>],
) {
    let is_terminal = io::stdout().is_terminal();
    let mut shown = String::new();
    while !interrupted.load(Ordering::Acquire) {
        let is_up = |at: usize| !threads[at].is_finished();
        if !(0..threads.len()).any(is_up) {
            break;
        }
        let line = line(nodes, is_up);
        if line != shown {
            if is_terminal {
                print!("\r\x1b[K{line}");
            } else {
                println!("{line}");
            }
            // Nobody reads it: the demo goes on.
            let _ = io::stdout().flush();
            shown = line;
        }
        thread::sleep(LOOK);
    }
}

/// Who is there, who leads, and how much has been written.
fn line(nodes: &[(&NodeEntry, Arc<Node>)], is_up: impl Fn(usize) -> bool) -> String {
    let describe = |node: &Node| node.group()?.seat()?.describe();
    let alive = nodes.iter().enumerate().filter(|(at, _)| is_up(*at));
    let seen: Vec<Description> = alive.filter_map(|(_, (_, node))| describe(node)).collect();
    let of_all = format!("{} of {} nodes up", seen.len(), nodes.len());
    let newest = seen.iter().max_by_key(|seen| (seen.ballot, seen.end));
    let Some(newest) = newest else {
        return of_all;
    };
    let leader = match newest.leader {
        Some(node) => format!("node {node} leads"),
        None => "nobody leads".to_owned(),
    };
    format!(
        "{leader} (ballot {}), {of_all}, {} log entries",
        newest.ballot, newest.end
    )
}

fn spawn_interrupt(interrupted: Arc<AtomicBool>) -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    let (mut terminate, mut interrupt) = {
        let _context = runtime.enter();
        (
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
        )
    };
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
            });
            interrupted.store(true, Ordering::Release);
        })?;
    Ok(())
}
