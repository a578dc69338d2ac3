//! The life of the process: start, load, serve, end.
//!
//! The node listens before it loads, and answers `-LOADING` until it is done. It ends on SIGTERM,
//! SIGINT or SHUTDOWN: connections finish the batch they are in, a checkpoint is written (unless
//! told otherwise), the log is synced, and the process exits with 0. A second signal ends it at
//! once, which loses nothing that was acknowledged under `fsync always`.

use std::fs::File;
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use bailiwick_replication::consensus::Timing;
use bailiwick_replication::{DataDir, NodeId};

use crate::cluster::Cluster;
use crate::config::{self, EvictionPolicy, Settings};
use crate::directory::keys::KeyError;
use crate::estate::Estate;
use crate::group::{
    self, Charter, Eviction, Fsync, Group, Host, HostConfig, ROOT_GROUP, RecoverError, Tuning,
};
use crate::handoff::Handoffs;
use crate::keyspace::AccessPolicy;
use crate::logging::Logging;
use crate::node::{Node, Shutdown};
use crate::threads;
use crate::worker::{self, ListenError, Listeners};

/// The exit code of a process that was told twice to stop, as shells count a SIGINT.
const EXIT_INTERRUPTED: i32 = 130;

/// Why the node did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory cannot be used.
    #[error(transparent)]
    Data(#[from] bailiwick_replication::Error),
    /// The data cannot be loaded.
    #[error(transparent)]
    Recover(#[from] RecoverError),
    /// An address cannot be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The key that the node signs with cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The system lacks something basic.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
}

/// Runs a node until it is told to stop.
pub fn run(settings: config::Store, logging: Logging) -> Result<(), StartError> {
    avoid_huge_pages();
    let running = Running::start(settings, logging)?;
    spawn_signals(running.node.clone())?;
    running.wait();
    Ok(())
}

/// A node at work. Several may run in one process, which then share its log.
pub struct Running {
    /// The node.
    pub node: Arc<Node>,
    workers: Vec<thread::JoinHandle<()>>,
}

impl Running {
    /// Starts a node: it listens, and then loads what is in its data directory.
    ///
    /// # Errors
    /// Something that it needs is not there or is not usable.
    pub fn start(settings: config::Store, logging: Logging) -> Result<Self, StartError> {
        let now = settings.load_full();
        let host = settings
            .cluster()
            .map(|(cluster, node)| host_config(&now, cluster.clone(), *node));
        let data = Arc::new(match &host {
            Some(host) => group::open_data(host, &now.data)?,
            None => DataDir::open(&now.data)?,
        });
        let listeners = Listeners::bind(&now)?;
        let node = Arc::new(Node::new(settings, random_id()?, logging));
        let weak = Arc::downgrade(&node);
        node.notices.on_calls(move |called| {
            if let Some(node) = weak.upgrade() {
                node.note_calls(called);
            }
        });
        node.set_addresses(listeners.addresses.clone());
        node.set_cluster_addresses(listeners.cluster_addresses.clone());
        banner(&node, &now);
        let workers = spawn_workers(&node, listeners)?;
        let running = Self { node, workers };
        if let Err(error) = running.load(data, host, &now) {
            // Others of this process go on, so nothing of this node may stay behind.
            running.node.order_shutdown(Shutdown::NoSave);
            running.wait();
            return Err(error);
        }
        Ok(running)
    }

    fn load(
        &self,
        data: Arc<DataDir>,
        host: Option<HostConfig>,
        now: &Settings,
    ) -> Result<(), StartError> {
        match host {
            Some(host) => start_member(&self.node, Host::open(data, host)?, now)?,
            None => start_alone(&self.node, data, now)?,
        }
        // CONFIG SET may have changed something during the load.
        self.node.apply_settings();
        Ok(())
    }

    /// Waits until the node was told to stop, and ends it in order.
    pub fn wait(self) {
        for worker in self.workers {
            // A worker that panicked has aborted the process.
            let _ = worker.join();
        }
        finish(&self.node);
    }
}

fn start_alone(node: &Arc<Node>, data: Arc<DataDir>, now: &Settings) -> Result<(), StartError> {
    let group = Group::recover(
        data,
        now.databases,
        now.disk_reserve_bytes,
        tuning(now),
        &node.loading,
    )?;
    node.seats.add(group, opener(node));
    Ok(())
}

/// Takes the node's seats in the groups of which it has something, and one in the root group in any
/// case: to found it, or in case that it becomes a member.
fn start_member(node: &Arc<Node>, host: Arc<Host>, now: &Settings) -> Result<(), StartError> {
    node.set_host(host.clone());
    let weak = Arc::downgrade(node);
    node.seats.on_authority(move || {
        if let Some(node) = weak.upgrade() {
            node.handoffs.call();
        }
    });
    let estate = Estate::new(&host, random_bytes()?)?;
    node.set_estate(estate.clone());
    let proxy = estate.proxy.clone();
    let pass_on = move |proposals| proxy.submit(proposals);
    node.seats.on_leaving(Arc::new(pass_on));
    let is_founder = host.cluster().root().nodes.contains(&host.me().node);
    let mut groups = host.known_groups();
    groups.retain(|group| *group != ROOT_GROUP);
    let root = Group::join(&host, Charter::of_root(&host), tuning(now), &node.loading)?;
    if is_founder {
        node.seats.add(root, opener(node));
    } else {
        node.seats.add(root, || {});
    }
    for group in groups {
        let charter = Charter::known(&host, group);
        let group = Group::join(&host, charter, tuning(now), &node.loading)?;
        node.seats.add(group, || {});
    }
    node.seats.keep(estate.start(node));
    node.seats.keep(vec![Handoffs::start(node)]);
    if !is_founder {
        opener(node)();
    }
    Ok(())
}

/// Lets clients in.
fn opener(node: &Arc<Node>) -> impl FnOnce() + Send + 'static {
    let node = node.clone();
    move || {
        let group = node.group();
        let keys = group.map_or(0, |group| group.state().keyspace.len());
        node.open();
        tracing::info!(keys, "ready for commands");
    }
}

fn host_config(settings: &Settings, cluster: Cluster, node: NodeId) -> HostConfig {
    /// Looks at whether the leader is there, in ticks.
    const ELECTION_TICKS: u64 = 5;
    let timing = Timing {
        tick_ns: settings.election_period_ms * 1_000_000 / ELECTION_TICKS,
        election_ticks: ELECTION_TICKS,
        lease_ns: settings.lease_duration_ms * 1_000_000,
        drift_permille: u64::from(settings.clock_drift_per_mille),
        ..Timing::default()
    };
    HostConfig {
        cluster,
        node,
        timing,
        request_timeout: Duration::from_millis(settings.request_timeout_ms),
        databases: settings.databases,
        reserve_bytes: settings.disk_reserve_bytes,
    }
}

/// What of the settings concerns the group.
#[must_use]
pub fn tuning(settings: &Settings) -> Tuning {
    use EvictionPolicy as P;
    let policy = settings.maxmemory_policy;
    let volatile = policy.is_volatile();
    Tuning {
        fsync: match settings.fsync {
            config::Fsync::Always => Fsync::Always,
            config::Fsync::Interval => Fsync::Interval,
            config::Fsync::Never => Fsync::Never,
        },
        max_memory_bytes: settings.maxmemory_bytes,
        eviction: match policy {
            P::NoEviction => Eviction::None,
            P::AllkeysLru | P::VolatileLru => Eviction::LeastRecent { volatile },
            P::AllkeysLfu | P::VolatileLfu => Eviction::LeastFrequent { volatile },
            P::AllkeysRandom | P::VolatileRandom => Eviction::Random { volatile },
            P::VolatileTtl => Eviction::NearestExpiry,
        },
        eviction_samples: settings.maxmemory_samples,
        access: if policy.is_lfu() {
            AccessPolicy::Frequency {
                log_factor: settings.lfu_log_factor,
                decay_minutes: settings.lfu_decay_time_minutes,
            }
        } else {
            AccessPolicy::Recency
        },
        checkpoint_log_bytes: settings.checkpoint_log_size_bytes,
        busy_ms: settings.busy_reply_threshold_ms,
    }
}

/// Keeps the system from backing our memory with huge pages. Each first touch of one clears two
/// megabytes, which shows as stalls of milliseconds when many segments are copied at once; reads
/// did not measurably gain from them.
fn avoid_huge_pages() {
    // SAFETY: a plain system call without pointers; where it is refused, nothing changes.
    unsafe {
        libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0);
    }
}

fn banner(node: &Node, settings: &Settings) {
    let addresses: Vec<_> = node.addresses().iter().map(ToString::to_string).collect();
    let port = node
        .addresses()
        .first()
        .map_or(settings.port, |address| address.port());
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        pid = std::process::id(),
        listening = addresses.join(" "),
        data = %settings.data.display(),
        fsync = ?settings.fsync,
        threads = settings.worker_threads(),
        "Bailiwick starts; connect with: redis-cli -p {port}"
    );
}

fn spawn_workers(
    node: &Arc<Node>,
    listeners: Listeners,
) -> Result<Vec<thread::JoinHandle<()>>, io::Error> {
    let spawn = |(index, sockets)| {
        let node = node.clone();
        threads::spawn(format!("worker-{index}"), move || {
            worker::run(node, sockets, index == 0);
        })
    };
    listeners
        .by_thread
        .into_iter()
        .enumerate()
        .map(spawn)
        .collect()
}

/// Lets the node end in order when the process is told to.
fn spawn_signals(node: Arc<Node>) -> Result<(), io::Error> {
    let mut count = 0;
    threads::on_signals(move || {
        count += 1;
        if count > 1 || node.group().is_none() {
            tracing::warn!("stopping at once");
            std::process::exit(if count > 1 { EXIT_INTERRUPTED } else { 0 });
        }
        tracing::info!("signal received; finishing what was accepted, again to stop at once");
        node.order_shutdown(Shutdown::Save);
        ControlFlow::Continue(())
    })
}

fn finish(node: &Node) {
    node.handoffs.close();
    let seats = node.seats.all();
    for seat in seats.values().filter_map(|group| group.seat()) {
        seat.hand_over();
    }
    if *node.shutdown_orders().borrow() == Shutdown::Save {
        let begin = |group: &Arc<Group>| (group.clone(), group.checkpoints().request().0);
        let begun: Vec<_> = seats.values().map(begin).collect();
        for (group, ticket) in begun {
            // A failure has been logged; the log holds everything all the same.
            let _ = group.checkpoints().wait(ticket);
        }
    }
    drop(seats);
    if let Some(estate) = node.estate() {
        estate.close();
    }
    node.seats.close();
    if let Some(host) = node.host() {
        host.close();
    }
    tracing::info!("stopped; everything that was acknowledged is on disk");
}

/// Forty hexadecimal digits from the system's random source.
///
/// # Errors
/// The source cannot be read.
pub fn random_id() -> Result<String, io::Error> {
    let bytes: [u8; 20] = random_bytes()?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Bytes that nobody can guess.
fn random_bytes<const N: usize>() -> Result<[u8; N], io::Error> {
    let mut bytes = [0; N];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}
