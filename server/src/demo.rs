//! `bailiwick demo`: a small cluster inside one process, to play with.
//!
//! Each node is a whole node with its own ports, threads and data directory; only the process and
//! its log are shared. A node that is told to `SHUTDOWN` by its client ends alone, as if its
//! machine were gone; the others go on as long as they are a majority. An interruption ends the
//! process, and removes the data unless a directory for it was named.
//!
//! `nodes` starts and ends them, at ports that `ports` finds. With regions (`layout` says how they
//! are made up), nodes of different regions reach each other only through a relay that keeps their
//! words for as long as the way would take (`relay`), and the display (`picture`) shows where
//! prefixes live and what that costs whom (`probe`).

mod layout;
mod nodes;
mod picture;
mod ports;
mod probe;
mod relay;

use std::fs;
use std::io::{self, IsTerminal, Write as _};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use bailiwick_replication::NodeId;

use crate::cluster::Cluster;
use crate::config::{ConfigError, DemoArgs, DemoShape, Regions};
use crate::group::Description;
use crate::logging;
use crate::node::Node;
use crate::run::StartError;
use crate::threads;
use nodes::Demo;
use picture::Picture;

/// How often it is looked at what there is to show.
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
    let regions = match &args.shape {
        DemoShape::Group(_) => None,
        DemoShape::Regions(regions) => Some(regions),
    };
    let demo = Demo::start(data, &args.shape)?;
    let interrupted = Arc::new(AtomicBool::new(false));
    let noted = interrupted.clone();
    threads::on_signals(move || {
        noted.store(true, Ordering::Release);
        ControlFlow::Break(())
    })?;
    match regions {
        None => {
            greet(&demo.cluster, args, data);
            demo.watch(&interrupted);
        }
        Some(regions) => {
            greet_regions(&demo.cluster, regions, args, data);
            demo.watch_regions(&interrupted)?;
        }
    }
    println!();
    demo.end();
    Ok(())
}

impl Demo {
    /// Shows who leads until it is time to end.
    fn watch(&self, interrupted: &AtomicBool) {
        let is_terminal = io::stdout().is_terminal();
        let mut shown = String::new();
        while !interrupted.load(Ordering::Acquire) {
            let running = self.running();
            if running.is_empty() {
                break;
            }
            let line = line(&running, self.cluster.nodes.len());
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

    /// Shows where prefixes live until it is time to end.
    fn watch_regions(&self, interrupted: &AtomicBool) -> io::Result<()> {
        let mut picture = Picture::new(&self.cluster, io::stdout().is_terminal())?;
        while !interrupted.load(Ordering::Acquire) {
            let running = self.running();
            if running.is_empty() {
                break;
            }
            picture.refresh(&running);
            thread::sleep(LOOK);
        }
        Ok(())
    }
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
         redis-cli -p {port} SET greeting hello      then GET it from another node\n  \
         redis-cli -p {port} GROUP INFO              who leads, and how far everybody is\n  \
         redis-cli -p {port} GROUP TRANSFER {group} 2   let node 2 lead\n  \
         redis-cli -p {port} SHUTDOWN                lose a node, and see the others go on\n",
        port = first.port(),
        group = cluster.root().name,
    );
    tell_end(args, data);
}

fn greet_regions(cluster: &Cluster, regions: &Regions, args: &DemoArgs, data: &Path) {
    let ports = |region: &str| {
        let nodes = cluster.nodes.iter().filter(|node| node.region == region);
        let ports: Vec<u16> = nodes.map(|node| node.client.port()).collect();
        ports
    };
    println!(
        "{} regions, {} ms from each other and back. Keys live in the region they are named after,\n\
         and any node answers for any key. Connect to any of them with redis-cli -p PORT:\n",
        regions.names.len(),
        regions.round_trip.as_millis(),
    );
    for region in &regions.names {
        let ports: Vec<String> = ports(region).iter().map(u16::to_string).collect();
        println!("  {region}, home of {region}:*   ports {}", ports.join(" "));
    }
    let name = |at: usize| regions.names[at.min(regions.names.len() - 1)].as_str();
    let (home, away) = (name(0), name(1));
    let port = |region: &str| ports(region).first().copied().unwrap_or_default();
    let all: Vec<String> = ports(away).iter().map(u16::to_string).collect();
    let (near, far, all) = (port(home), port(away), all.join(" "));
    let things = [
        (
            format!("{near} SET {home}:greeting hello"),
            "at home: no way to go",
        ),
        (
            format!("{far} GET {home}:greeting"),
            "from abroad: there and back, once",
        ),
        (
            format!("{far} ROUTE EXPLAIN {home}:greeting"),
            "who answers, and where",
        ),
        (
            format!("{near} PREFIX MOVE {home}: GROUP {away}"),
            "the keys move; clients only wait a moment",
        ),
        (
            format!("{far} PREFIX INFO {home}:"),
            "where they are, and how far a move is",
        ),
        (
            format!("{near} PREFIX CREATE {home}:shop: GROUP {away}"),
            "a home of their own for some of them",
        ),
        (format!("{near} --scan"), "all keys, wherever they live"),
    ];
    let width = things.iter().map(|(words, _)| words.len()).max();
    println!("\nThings to try:");
    for (words, what) in &things {
        println!(
            "  redis-cli -p {words:<width$}   {what}",
            width = width.unwrap_or(0)
        );
    }
    println!(
        "  for p in {all}; do redis-cli -p $p SHUTDOWN; done\n      \
         loses a region: the others go on, and say what they miss\n"
    );
    tell_end(args, data);
}

fn tell_end(args: &DemoArgs, data: &Path) {
    match &args.data {
        Some(_) => println!("The data stays in {}. Ctrl-C ends it.\n", data.display()),
        None => println!("Ctrl-C ends it and removes the data.\n"),
    }
}

/// Who is there, who leads, and how much has been written.
fn line(running: &[&Arc<Node>], nodes: usize) -> String {
    let describe = |node: &Arc<Node>| node.group()?.seat()?.describe();
    let seen: Vec<Description> = running.iter().filter_map(|node| describe(node)).collect();
    let of_all = format!("{} of {nodes} nodes up", seen.len());
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
