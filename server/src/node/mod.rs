//! The node: what all connections share, and the commands that concern it.
//!
//! Owns the settings, the group (once it is loaded), the list of clients, statistics, slow log and
//! latency events, and the order to shut down. Does not own sockets (`worker`, `connection`) or
//! data (`group`).

mod attention;
pub mod clients;
pub mod commands;
mod monitor;
mod pause;
pub mod rates;
pub mod redact;
mod seats;
pub mod stats;
pub mod system;
pub mod topology;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bailiwick_frame::Args;
use parking_lot::Mutex;
use tokio::sync::watch;

pub use attention::{Attention, Condition};
pub use monitor::Monitors;
pub use pause::{Pause, PauseMode};
pub use seats::Seats;

use crate::commands::{Called, Flag, Known, Wants};
use crate::config;
use crate::estate::Estate;
use crate::group::clock::boot_ns;
use crate::group::{Group, Host, LoadProgress, Proposal, ROOT_GROUP};
use crate::handoff::Handoffs;
use crate::latency::Latency;
use crate::logging::Logging;
use crate::notices::Notices;
use crate::pubsub::PubSub;
use crate::routing::Routes;
use crate::run;
use crate::slowlog::Slowlog;
use clients::{Client, Clients, bump};
use rates::Rates;
use stats::WorkerStats;
use topology::SlotCache;

/// What is slower than this, in microseconds, is no fast command on a machine that can keep up.
const FAST_US: i64 = 1000;

/// How a node is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// Not at all, so far.
    No,
    /// After what was accepted is finished and a checkpoint is written.
    Save,
    /// After what was accepted is finished; the log has it all.
    NoSave,
}

/// What the connections of a node share.
pub struct Node {
    /// The settings in force.
    pub settings: config::Store,
    /// Forty hexadecimal digits, different in each run.
    pub run_id: String,
    /// When the process started.
    pub started: Instant,
    /// Rare conditions.
    pub attention: Arc<Attention>,
    /// Who is connected.
    pub clients: Arc<Clients>,
    /// Who monitors.
    pub monitors: Monitors,
    /// Channels and who listens to them.
    pub pubsub: Arc<PubSub>,
    /// Who is told of what happens to keys.
    pub notices: Arc<Notices>,
    /// `CLIENT PAUSE`.
    pub pause: Pause,
    /// Slow commands.
    pub slowlog: Mutex<Slowlog>,
    /// Latency events.
    pub latency: Mutex<Latency>,
    /// Errors answered, by their code.
    pub errors: Mutex<BTreeMap<String, u64>>,
    /// How far a load is.
    pub loading: LoadProgress,
    /// The most memory that was in use when somebody looked.
    pub peak_memory_bytes: AtomicU64,
    /// How much there was when somebody looked last.
    seen_memory_bytes: AtomicU64,
    /// What happened per second lately.
    pub rates: Mutex<Rates>,
    /// What INFO calls the replication id; as long and random as `run_id`.
    pub replication_id: Mutex<String>,
    /// Whether the slow log is to hold commands of less than a millisecond. Otherwise commands
    /// that are fast by nature are timed together.
    pub watches_fast: AtomicBool,
    /// The process's log.
    pub logging: Logging,
    /// Whether expired keys are removed in the background; `DEBUG SET-ACTIVE-EXPIRE`.
    pub active_expire: AtomicBool,
    addresses: OnceLock<Vec<SocketAddr>>,
    workers: Mutex<Vec<Arc<WorkerStats>>>,
    /// Counted as if by one more thread; whoever counts has the lock.
    script_stats: Mutex<Arc<WorkerStats>>,
    /// The groups that this node takes part in.
    pub seats: Seats,
    /// Prefixes that change hands.
    pub handoffs: Handoffs,
    host: OnceLock<Arc<Host>>,
    estate: OnceLock<Arc<Estate>>,
    slot_cache: SlotCache,
    cluster_addresses: OnceLock<Vec<SocketAddr>>,
    shutdown: watch::Sender<Shutdown>,
}

impl Node {
    /// A node that is still loading.
    #[must_use]
    pub fn new(settings: config::Store, run_id: String, logging: Logging) -> Self {
        let attention = Arc::<Attention>::default();
        attention.set(Condition::Loading, true);
        let (clients, pubsub) = (Arc::<Clients>::default(), Arc::<PubSub>::default());
        let notices = Arc::new(Notices::new(
            pubsub.clone(),
            clients.clone(),
            attention.clone(),
        ));
        let script_stats = Arc::<WorkerStats>::default();
        let seats = Seats::new(notices.clone(), attention.clone());
        let node = Self {
            slowlog: Mutex::default(),
            settings,
            rates: Mutex::default(),
            replication_id: Mutex::new(run_id.clone()),
            run_id,
            logging,
            started: Instant::now(),
            attention,
            clients,
            monitors: Monitors::default(),
            notices,
            pubsub,
            pause: Pause::default(),
            latency: Mutex::default(),
            errors: Mutex::default(),
            loading: LoadProgress::default(),
            peak_memory_bytes: AtomicU64::new(0),
            seen_memory_bytes: AtomicU64::new(0),
            active_expire: AtomicBool::new(true),
            watches_fast: AtomicBool::new(false),
            addresses: OnceLock::new(),
            workers: Mutex::new(vec![script_stats.clone()]),
            script_stats: Mutex::new(script_stats),
            seats,
            handoffs: Handoffs::default(),
            host: OnceLock::new(),
            estate: OnceLock::new(),
            slot_cache: SlotCache::default(),
            cluster_addresses: OnceLock::new(),
            shutdown: watch::Sender::new(Shutdown::No),
        };
        node.apply_settings();
        node
    }

    /// Tells those that keep a copy of a setting of a change. Everybody else reads the settings
    /// when needed.
    pub fn apply_settings(&self) {
        loop {
            // Another change at the same moment must not be undone by an older one applied after
            // it.
            let version = self.settings.version();
            let settings = self.settings.load();
            let slow_us = settings.slowlog_log_slower_than_us;
            self.watches_fast
                .store((0..FAST_US).contains(&slow_us), Ordering::Relaxed);
            self.logging.set_level(settings.log_level);
            self.notices.configure(&settings);
            for group in self.seats.all().values() {
                group.set_tuning(run::tuning(&settings));
            }
            if self.settings.version() == version {
                return;
            }
        }
    }

    /// The first of this node's groups, once what this node has of it is loaded. It stands for the
    /// node in what Redis's commands say of a server.
    #[must_use]
    pub fn group(&self) -> Option<&Arc<Group>> {
        self.seats.first()
    }

    /// What this node's groups share; `None` for one that runs without a cluster.
    #[must_use]
    pub fn host(&self) -> Option<&Arc<Host>> {
        self.host.get()
    }

    /// The node is one of a cluster.
    pub fn set_host(&self, host: Arc<Host>) {
        let (node, incarnation) = (host.me().node.0 as u32, host.incarnation());
        self.seats.set_life(node, incarnation);
        assert!(self.host.set(host).is_ok(), "a node has one host");
    }

    /// What this node knows of the cluster; `None` for one that runs without a cluster.
    #[must_use]
    pub fn estate(&self) -> Option<&Arc<Estate>> {
        self.estate.get()
    }

    /// The node takes part in the talk between nodes.
    pub fn set_estate(&self, estate: Arc<Estate>) {
        assert!(self.estate.set(estate).is_ok(), "a node has one estate");
    }

    /// Which group owns which prefix; `None` where this node is a member of the only group there
    /// is, so that nothing needs a look.
    #[must_use]
    pub fn routes(&self) -> Option<Routes> {
        let estate = self.estate.get()?;
        let view = estate.directory.view();
        let seats = self.seats.all();
        let root = seats.get(&ROOT_GROUP);
        let is_plain =
            view.prefix_count() == 1 && root.is_some_and(|root| root.standing().takes_part());
        (!is_plain).then(|| Routes::new(view))
    }

    /// Gives proposals to their groups. Answered ones are put into their mailboxes; after this the
    /// vector is empty.
    pub fn submit(&self, proposals: &mut Vec<Box<Proposal>>) {
        while let Some(id) = proposals.first().map(|proposal| proposal.group) {
            let is_other = |proposal: &mut Box<Proposal>| proposal.group != id;
            // Nearly always all are for the same group.
            let is_mixed = proposals.iter().any(|proposal| proposal.group != id);
            let others: Vec<_> = if is_mixed {
                proposals.extract_if(.., is_other).collect()
            } else {
                Vec::new()
            };
            let group = self.seats.get(id);
            let estate = self.estate.get();
            match (group.filter(|group| group.standing().takes_part()), estate) {
                (Some(group), _) => group.submit(proposals),
                (None, Some(estate)) => estate.proxy.submit(proposals.drain(..)),
                (None, None) => unreachable!("a node without a cluster has the only group"),
            }
            proposals.extend(others);
        }
    }

    /// Lets commands in: the group can serve clients.
    pub fn open(&self) {
        self.attention.set(Condition::Loading, false);
    }

    /// Where the node listens; empty before it does.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        self.addresses.get().map_or(&[], Vec::as_slice)
    }

    /// Records where the node listens.
    pub fn set_addresses(&self, addresses: Vec<SocketAddr>) {
        // Set once, before the first connection.
        let _ = self.addresses.set(addresses);
    }

    /// Where the node listens for cluster clients; empty if it does not, or before it does.
    #[must_use]
    pub fn cluster_addresses(&self) -> &[SocketAddr] {
        self.cluster_addresses.get().map_or(&[], Vec::as_slice)
    }

    /// Records where the node listens for cluster clients.
    pub fn set_cluster_addresses(&self, addresses: Vec<SocketAddr>) {
        // Set once, before the first connection.
        let _ = self.cluster_addresses.set(addresses);
    }

    /// Registers a runtime thread's counters.
    pub fn add_worker(&self, stats: Arc<WorkerStats>) {
        self.workers.lock().push(stats);
    }

    /// The counters of all runtime threads.
    #[must_use]
    pub fn workers(&self) -> Vec<Arc<WorkerStats>> {
        self.workers.lock().clone()
    }

    /// How notes are to be taken of what scripts call that run for clients.
    #[must_use]
    pub fn wants_calls(&self) -> Wants {
        Wants {
            clock: boot_ns,
            shows: self.attention.has(Condition::Monitored),
            serves_others: false,
        }
    }

    /// Books what scripts called, and shows it to those who monitor.
    pub fn note_calls(&self, called: &Called) {
        let stats = self.script_stats.lock();
        for (&command, runs) in &called.commands {
            stats.ran(command, runs.calls, runs.nanos);
            bump(&stats.commands[command].failed, runs.failed);
            bump(&stats.commands[command].rejected, runs.rejected);
        }
        drop(stats);
        for (code, &count) in &called.errors {
            self.note_errors(code, count);
        }
        if !called.shown.is_empty() {
            let limits = self.settings.load().client_output_buffer_limit;
            for (database, words) in &called.shown {
                let words = words.iter().map(|word| &**word);
                self.monitors
                    .feed(now_us(), *database, ("lua", words), &limits);
            }
        }
    }

    /// Counts an error reply by its first word.
    pub fn note_error(&self, text: &str) {
        let code = text.split(' ').next().unwrap_or(text);
        self.note_errors(code, 1);
    }

    fn note_errors(&self, code: &str, by: u64) {
        if by == 0 {
            return;
        }
        let mut errors = self.errors.lock();
        match errors.get_mut(code) {
            Some(count) => *count += by,
            None => {
                errors.insert(code.to_owned(), by);
            }
        }
    }

    /// Keeps a slow command in the slow log and, from the threshold on, as a latency event.
    pub fn note_duration(
        &self,
        command: Known,
        args: Args<'_>,
        nanos: u64,
        client: Option<&Client>,
    ) {
        let settings = self.settings.load();
        let micros = nanos / 1000;
        let slow_us = u64::try_from(settings.slowlog_log_slower_than_us);
        if slow_us.is_ok_and(|slow_us| micros >= slow_us) && !command.has(Flag::SkipSlowlog) {
            let (address, name) = client.map_or_else(Default::default, |client| {
                (client.address.clone(), client.name.lock().clone())
            });
            let (at_s, max_len) = (now_ms() / 1000, settings.slowlog_max_len);
            redact::with_shown(&command, args, |args| {
                let mut slowlog = self.slowlog.lock();
                slowlog.record(args, micros, at_s, &address, &name, max_len);
            });
        }
        let threshold_ms = settings.latency_monitor_threshold_ms;
        let millis = micros / 1000;
        if threshold_ms > 0 && millis >= threshold_ms {
            let event = if command.has(Flag::Fast) {
                "fast-command"
            } else {
                "command"
            };
            self.latency.lock().record(event, now_ms() / 1000, millis);
        }
    }

    /// Takes a sample of what has happened so far, for the rates.
    pub fn sample_rates(&self) {
        let mut sample = rates::Sample {
            at: Instant::now(),
            requests: 0,
            received_bytes: 0,
            sent_bytes: 0,
        };
        for worker in &*self.workers.lock() {
            sample.requests += worker.processed.load(Ordering::Relaxed);
            sample.received_bytes += worker.received_bytes.load(Ordering::Relaxed);
            sample.sent_bytes += worker.sent_bytes.load(Ordering::Relaxed);
        }
        self.rates.lock().push(sample);
        // Remembers the peak, so that it does not depend on who asks when.
        let _ = self.used_memory_bytes();
    }

    /// Asks the node to end. The first order counts.
    pub fn order_shutdown(&self, how: Shutdown) {
        self.attention.set(Condition::Closing, true);
        self.seats
            .all()
            .values()
            .for_each(|group| group.end_reading());
        self.shutdown.send_if_modified(|order| {
            let first = *order == Shutdown::No;
            if first {
                *order = how;
            }
            first
        });
    }

    /// Tells of an order to end.
    #[must_use]
    pub fn shutdown_orders(&self) -> watch::Receiver<Shutdown> {
        self.shutdown.subscribe()
    }

    /// Bytes of memory that count against `maxmemory`.
    #[must_use]
    pub fn used_memory_bytes(&self) -> u64 {
        let bytes = match self.group().map(|group| group.try_state()) {
            None => 0,
            Some(Some(state)) => state.keyspace.memory_bytes() as u64,
            // Who has the state now may have it for long.
            Some(None) => return self.seen_memory_bytes.load(Ordering::Relaxed),
        };
        self.seen_memory_bytes.store(bytes, Ordering::Relaxed);
        self.peak_memory_bytes.fetch_max(bytes, Ordering::Relaxed);
        bytes
    }
}

/// The node's clock in nanoseconds since 1970.
#[must_use]
pub fn now_ns() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |since| since.as_nanos() as i64)
}

/// The node's clock in microseconds since 1970.
#[must_use]
pub fn now_us() -> i64 {
    now_ns() / 1000
}

/// The node's clock in milliseconds since 1970.
#[must_use]
pub fn now_ms() -> i64 {
    now_us() / 1000
}
