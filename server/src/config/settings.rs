//! The node's settings, typed.
//!
//! A [`Settings`] is a value: the start builds one, `CONFIG SET` clones it, changes the clone and
//! swaps it in, so a reader sees all of a change or nothing of it. Which text stands for a field is
//! the business of the parameter table, not of this module.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use super::table;

/// Every setting. Invariant: each field is within the bounds of its parameter; only the parameter
/// table writes fields, so a `Settings` at hand is a valid one.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Where to listen.
    pub bind: Vec<BindAddress>,
    /// TCP port; 0 lets the system choose.
    pub port: u16,
    /// TCP port for clients that know Redis Cluster; 0 is none.
    pub cluster_port: u16,
    /// Where that port is, if not where the other one is.
    pub cluster_bind: Vec<BindAddress>,
    /// Threads that serve connections; 0 is one for each core but one.
    pub threads: usize,
    /// Length of the queue of connections not yet accepted.
    pub tcp_backlog: u32,
    /// Seconds between keep-alive probes; 0 for none.
    pub tcp_keepalive_s: u32,
    /// Seconds after which an idle client is disconnected; 0 never.
    pub timeout_s: u32,
    /// Clients at one time.
    pub max_clients: usize,
    /// Without a password, refuse clients from other machines.
    pub protected_mode: bool,

    /// Password of the default user; empty for none.
    pub requirepass: String,
    /// Who may use `DEBUG`.
    pub enable_debug_command: DebugAccess,

    /// The data directory, as it was given.
    pub data: PathBuf,
    /// When a write counts as done.
    pub fsync: Fsync,
    /// Number of logical databases.
    pub databases: usize,
    /// Bytes of log after which a checkpoint is begun.
    pub checkpoint_log_size_bytes: u64,
    /// Free bytes below which writes are refused; 0 switches the check off.
    pub disk_reserve_bytes: u64,

    /// Milliseconds between the moments at which a node looks whether its leader is there.
    pub election_period_ms: u64,
    /// Milliseconds for which a leader may read without asking, once granted.
    pub lease_duration_ms: u64,
    /// How much faster than another one a clock may run, in thousandths.
    pub clock_drift_per_mille: u32,
    /// Milliseconds that a command waits for a leader.
    pub request_timeout_ms: u64,

    /// Bytes the data may take; 0 for no limit.
    pub maxmemory_bytes: u64,
    /// What to remove when the limit is reached.
    pub maxmemory_policy: EvictionPolicy,
    /// Keys looked at to find one to remove.
    pub maxmemory_samples: usize,
    /// How fast the access counter saturates.
    pub lfu_log_factor: u32,
    /// Minutes after which the access counter loses one; 0 never.
    pub lfu_decay_time_minutes: u32,
    /// Bytes of replies that may wait for a client.
    pub client_output_buffer_limit: OutputBufferLimits,
    /// Bytes of a request that has not arrived completely.
    pub client_query_buffer_limit_bytes: u64,
    /// Bytes of the longest argument.
    pub proto_max_bulk_len_bytes: u64,
    /// Which events of keys are told, in Redis's letters.
    pub notify_keyspace_events: String,
    /// Keys remembered for clients that keep copies; 0 for no limit.
    pub tracking_table_max_keys: usize,
    /// Milliseconds of a script from which on others are told that it runs.
    pub busy_reply_threshold_ms: u64,

    /// Least severe level that is logged.
    pub log_level: LogLevel,
    /// Form of the log.
    pub log_format: LogFormat,
    /// Microseconds above which a command is kept in the slow log; 0 keeps all, -1 none.
    pub slowlog_log_slower_than_us: i64,
    /// Entries in the slow log.
    pub slowlog_max_len: usize,
    /// Milliseconds from which an event is kept by `LATENCY`; 0 switches it off.
    pub latency_monitor_threshold_ms: u64,
    /// Whether a histogram of latencies is kept for each command.
    pub latency_tracking: bool,
    /// Percentiles that `INFO latencystats` shows.
    pub latency_tracking_info_percentiles: Vec<f64>,

    /// Parameters that are accepted and have no effect, in the form in which they are shown.
    pub(crate) inert: BTreeMap<&'static str, String>,
}

impl Default for Settings {
    fn default() -> Self {
        table::defaults()
    }
}

impl Settings {
    /// Threads that serve connections: what was asked for, or one for each core but one, which is
    /// left to the log, the checkpoints and the system's network.
    #[must_use]
    pub fn worker_threads(&self) -> usize {
        match self.threads {
            0 => {
                let cores = std::thread::available_parallelism().map_or(1, usize::from);
                cores.saturating_sub(1).max(1)
            }
            threads => threads,
        }
    }

    /// Settings before any parameter has spoken; the parameter table gives each field its default.
    pub(super) fn blank() -> Self {
        Self {
            bind: Vec::new(),
            port: 0,
            cluster_port: 0,
            cluster_bind: Vec::new(),
            threads: 0,
            tcp_backlog: 0,
            tcp_keepalive_s: 0,
            timeout_s: 0,
            max_clients: 0,
            protected_mode: true,
            requirepass: String::new(),
            enable_debug_command: DebugAccess::No,
            data: PathBuf::new(),
            fsync: Fsync::Always,
            databases: 0,
            checkpoint_log_size_bytes: 0,
            disk_reserve_bytes: 0,
            election_period_ms: 0,
            lease_duration_ms: 0,
            clock_drift_per_mille: 0,
            request_timeout_ms: 0,
            maxmemory_bytes: 0,
            maxmemory_policy: EvictionPolicy::NoEviction,
            maxmemory_samples: 0,
            lfu_log_factor: 0,
            lfu_decay_time_minutes: 0,
            client_output_buffer_limit: OutputBufferLimits::default(),
            client_query_buffer_limit_bytes: 0,
            proto_max_bulk_len_bytes: 0,
            notify_keyspace_events: String::new(),
            tracking_table_max_keys: 0,
            busy_reply_threshold_ms: 0,
            log_level: LogLevel::Info,
            log_format: LogFormat::Text,
            slowlog_log_slower_than_us: 0,
            slowlog_max_len: 0,
            latency_monitor_threshold_ms: 0,
            latency_tracking: true,
            latency_tracking_info_percentiles: Vec::new(),
            inert: BTreeMap::new(),
        }
    }
}

/// One address to listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BindAddress {
    /// The address; unspecified for all of its family.
    pub ip: IpAddr,
    /// Written with a leading `-`: no failure if this machine does not have the address.
    pub optional: bool,
}

/// When a write counts as done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fsync {
    /// When it is on disk.
    Always,
    /// When it is in the log; the log is synced every second.
    Interval,
    /// When it is in the log; the system writes it to disk in its own time.
    Never,
}

/// Who may use `DEBUG`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DebugAccess {
    /// Nobody.
    No,
    /// Every client.
    Yes,
    /// Clients on this machine.
    Local,
}

/// Which keys go when memory is full: those of all, or of those that expire, ordered by recency,
/// frequency, time to live, or not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the policy of its name in Redis")]
pub enum EvictionPolicy {
    VolatileLru,
    VolatileLfu,
    VolatileRandom,
    VolatileTtl,
    AllkeysLru,
    AllkeysLfu,
    AllkeysRandom,
    NoEviction,
}

impl EvictionPolicy {
    /// Whether accesses are counted by frequency rather than recency.
    #[must_use]
    pub fn is_lfu(self) -> bool {
        matches!(self, Self::VolatileLfu | Self::AllkeysLfu)
    }

    /// Whether only keys with an expiry may go.
    #[must_use]
    pub fn is_volatile(self) -> bool {
        use EvictionPolicy::{VolatileLfu, VolatileLru, VolatileRandom, VolatileTtl};
        matches!(
            self,
            VolatileLru | VolatileLfu | VolatileRandom | VolatileTtl
        )
    }
}

/// Severity of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the level of its name")]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// Form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// How many bytes of replies may wait for a client of each class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutputBufferLimits {
    /// Ordinary clients.
    pub normal: BufferLimit,
    /// Replicas that follow through the Redis protocol.
    pub replica: BufferLimit,
    /// Subscribers.
    pub pubsub: BufferLimit,
}

/// The limit of one class; 0 for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BufferLimit {
    /// A client above it is disconnected at once.
    pub hard_bytes: u64,
    /// A client above it for `soft_s` is disconnected.
    pub soft_bytes: u64,
    /// See `soft_bytes`.
    pub soft_s: u32,
}
