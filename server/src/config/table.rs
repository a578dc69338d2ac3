//! The parameters that do something.

use super::compound::{BIND, BUFFER_LIMITS, DIRECTORY, EVENT_CLASSES, PERCENTILES, event_classes};
use super::inert;
use super::parameter::{Changes, Parameter, Section, all};
use super::settings::{DebugAccess, EvictionPolicy, Fsync, LogFormat, LogLevel, Settings};
use super::value::{Kind, Value};
use super::words::{APPENDFSYNC, LOGLEVEL, Word};

const INT_MAX: i64 = i32::MAX as i64;

/// What most rows have in common, for struct update syntax.
const ROW: Parameter = Parameter {
    name: "",
    aliases: &[],
    view_of: None,
    section: Section::Inert,
    kind: Kind::Switch,
    default: "",
    changes: Changes::AtRunTime,
    summary: "",
    get: |_, _| String::new(),
    set: |_, _, _| Ok(()),
};

/// A row that stands for a field of [`Settings`] by the field type's [`Value`].
macro_rules! field {
    ($field:ident { $($rest:tt)* }) => {
        Parameter {
            get: |settings, _| Value::show(&settings.$field),
            set: |settings, row, text| {
                settings.$field = Value::parse(text, &row.kind)?;
                Ok(())
            },
            $($rest)*
            ..ROW
        }
    };
}

/// The rows, in the order of `--help`.
pub(super) static WORKING: &[Parameter] = &[
    field!(port {
        name: "port",
        section: Section::Network,
        kind: Kind::Integer { min: 0, max: 65535 },
        default: "6379",
        changes: Changes::AtStart,
        summary: "TCP port; 0 takes any free one and logs which",
    }),
    field!(bind {
        name: "bind",
        section: Section::Network,
        kind: BIND,
        default: "127.0.0.1",
        changes: Changes::AtStart,
        summary: "Addresses to listen on, separated by spaces or commas; * is all IPv4, ::* all \
                  IPv6, and one after a - may be missing on this machine",
    }),
    field!(cluster_port {
        name: "cluster-port",
        section: Section::Network,
        kind: Kind::Integer { min: 0, max: 65535 },
        default: "0",
        changes: Changes::AtStart,
        summary: "TCP port for clients that know Redis Cluster, which are redirected there; 0 is \
                  none. Other nodes learn of it by gossip; in a cluster's file it is the node's \
                  cluster = \"host:port\"",
    }),
    field!(threads {
        name: "threads",
        section: Section::Network,
        kind: Kind::Integer { min: 0, max: 1024 },
        default: "0",
        changes: Changes::AtStart,
        summary: "Threads that serve connections; 0 is one for each processor core but one, which \
                  is left to the log and the system",
    }),
    field!(tcp_backlog {
        name: "tcp-backlog",
        section: Section::Network,
        kind: Kind::Integer {
            min: 1,
            max: INT_MAX
        },
        default: "511",
        changes: Changes::AtStart,
        summary: "Connections that may wait to be accepted",
    }),
    field!(tcp_keepalive_s {
        name: "tcp-keepalive",
        section: Section::Network,
        kind: Kind::Integer {
            min: 0,
            max: INT_MAX
        },
        default: "300",
        summary: "Seconds between probes of a silent connection; 0 sends none",
    }),
    field!(timeout_s {
        name: "timeout",
        section: Section::Network,
        kind: Kind::Integer {
            min: 0,
            max: INT_MAX
        },
        default: "0",
        summary: "Seconds after which an idle client is disconnected; 0 is never",
    }),
    field!(requirepass {
        name: "requirepass",
        section: Section::Security,
        kind: Kind::ANY_TEXT,
        summary: "Password of the default user; empty for none. Other users of the machine can \
                  read flags: prefer the file",
    }),
    field!(protected_mode {
        name: "protected-mode",
        section: Section::Security,
        default: "yes",
        summary: "While there is no password, serve clients on this machine only",
    }),
    field!(enable_debug_command {
        name: "enable-debug-command",
        section: Section::Security,
        kind: DebugAccess::WORDS.kind(),
        default: "no",
        changes: Changes::AtStart,
        summary: "Who may use DEBUG: nobody, everybody, or clients on this machine",
    }),
    field!(data {
        name: "data",
        section: Section::Data,
        kind: DIRECTORY,
        default: "./data",
        changes: Changes::AtStart,
        summary: "Directory of the log and the checkpoints; created if absent, one node each",
    }),
    Parameter {
        name: "dir",
        view_of: Some("data"),
        section: Section::Data,
        kind: DIRECTORY,
        default: "./data",
        changes: Changes::AtStart,
        summary: "The data directory",
        get: |settings, _| settings.data.show(),
        set: |settings, row, text| {
            settings.data = Value::parse(text, &row.kind)?;
            Ok(())
        },
        ..ROW
    },
    field!(fsync {
        name: "fsync",
        section: Section::Data,
        kind: Fsync::WORDS.kind(),
        default: "always",
        summary: "When a write is acknowledged: always (it is on disk), interval (the disk is at \
                  most a second behind), never (the system decides)",
    }),
    Parameter {
        name: "appendfsync",
        view_of: Some("fsync"),
        section: Section::Data,
        kind: APPENDFSYNC.kind(),
        default: "always",
        summary: "When a write is acknowledged",
        get: |settings, _| APPENDFSYNC.word(settings.fsync),
        set: |settings, _, text| {
            settings.fsync = APPENDFSYNC.value(text)?;
            Ok(())
        },
        ..ROW
    },
    field!(databases {
        name: "databases",
        section: Section::Data,
        kind: Kind::Integer { min: 1, max: 1024 },
        default: "16",
        changes: Changes::AtStart,
        summary: "Logical databases that SELECT can choose from",
    }),
    field!(checkpoint_log_size_bytes {
        name: "checkpoint-log-size",
        section: Section::Data,
        kind: Kind::Memory { min: 1 << 20 },
        default: "268435456",
        summary: "Log written since the last checkpoint before the next one is begun",
    }),
    field!(disk_reserve_bytes {
        name: "disk-reserve",
        section: Section::Data,
        kind: Kind::Memory { min: 0 },
        default: "67108864",
        summary: "Free disk space below which writes are refused and reads go on; 0 is no check",
    }),
    field!(election_period_ms {
        name: "election-period",
        section: Section::Replication,
        kind: Kind::Integer {
            min: 10,
            max: 60_000
        },
        default: "125",
        changes: Changes::AtStart,
        summary: "Milliseconds between looks at whether the leader is there; a crashed one is \
                  replaced after 2.4 to 3.2 of them. Must exceed the longest round trip in the group",
    }),
    field!(lease_duration_ms {
        name: "lease-duration",
        section: Section::Replication,
        kind: Kind::Integer {
            min: 10,
            max: 60_000
        },
        default: "200",
        changes: Changes::AtStart,
        summary: "Milliseconds for which members promise to follow no other leader, so that the \
                  one they have may read without asking. The same on all nodes",
    }),
    field!(clock_drift_per_mille {
        name: "clock-drift",
        section: Section::Replication,
        kind: Kind::Integer { min: 0, max: 500 },
        default: "20",
        changes: Changes::AtStart,
        summary: "Thousandths by which the clocks of two nodes may differ in speed; a leader ends \
                  its lease that much early",
    }),
    field!(request_timeout_ms {
        name: "request-timeout",
        section: Section::Replication,
        kind: Kind::Integer {
            min: 1,
            max: INT_MAX
        },
        default: "10000",
        changes: Changes::AtStart,
        summary: "Milliseconds that a command waits for a leader before it fails: CLUSTERDOWN if \
                  it was not done, UNCERTAIN if that is not known",
    }),
    field!(maxmemory_bytes {
        name: "maxmemory",
        section: Section::Memory,
        kind: Kind::Memory { min: 0 },
        default: "0",
        summary: "Memory that the data may take; 0 is no limit",
    }),
    field!(maxmemory_policy {
        name: "maxmemory-policy",
        section: Section::Memory,
        kind: EvictionPolicy::WORDS.kind(),
        default: "noeviction",
        summary: "Which keys go when maxmemory is reached; noeviction refuses writes instead",
    }),
    field!(maxmemory_samples {
        name: "maxmemory-samples",
        section: Section::Memory,
        kind: Kind::Integer { min: 1, max: 64 },
        default: "5",
        summary: "Keys compared to choose the one that goes",
    }),
    field!(lfu_log_factor {
        name: "lfu-log-factor",
        section: Section::Memory,
        kind: Kind::Integer {
            min: 0,
            max: INT_MAX
        },
        default: "10",
        summary: "How slowly the access counter of an LFU policy grows",
    }),
    field!(lfu_decay_time_minutes {
        name: "lfu-decay-time",
        section: Section::Memory,
        kind: Kind::Integer {
            min: 0,
            max: INT_MAX
        },
        default: "1",
        summary: "Minutes for that counter to lose one; 0 is never",
    }),
    field!(max_clients {
        name: "max-clients",
        aliases: &["maxclients"],
        section: Section::Limits,
        kind: Kind::Integer {
            min: 1,
            max: u32::MAX as i64
        },
        default: "10000",
        summary: "Clients connected at one time",
    }),
    Parameter {
        name: "client-output-buffer-limit",
        section: Section::Limits,
        kind: BUFFER_LIMITS,
        default: "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60",
        summary: "Replies that may wait for a client of a class: disconnected above the hard \
                  limit, or when above the soft one for so many seconds; 0 is no limit",
        get: |settings, _| settings.client_output_buffer_limit.show(),
        set: |settings, _, text| {
            let limits = settings.client_output_buffer_limit.changed(text)?;
            settings.client_output_buffer_limit = limits;
            Ok(())
        },
        ..ROW
    },
    Parameter {
        name: "notify-keyspace-events",
        section: Section::Limits,
        kind: EVENT_CLASSES,
        summary: "Which events of keys this node tells its subscribers of, by Redis's letters; \
                  an empty value is none",
        get: |settings, _| settings.notify_keyspace_events.clone(),
        set: |settings, _, text| {
            settings.notify_keyspace_events = event_classes(text)?;
            Ok(())
        },
        ..ROW
    },
    field!(tracking_table_max_keys {
        name: "tracking-table-max-keys",
        section: Section::Limits,
        kind: Kind::Integer {
            min: 0,
            max: i64::MAX
        },
        default: "1000000",
        summary: "Keys remembered for clients that keep copies of values; beyond it some are \
                  invalidated. 0 is no limit",
    }),
    field!(busy_reply_threshold_ms {
        name: "busy-reply-threshold",
        aliases: &["lua-time-limit"],
        section: Section::Limits,
        kind: Kind::Integer {
            min: 0,
            max: i64::MAX
        },
        default: "5000",
        summary: "Milliseconds for which others wait for a script; then they are told -BUSY, and \
                  may call SCRIPT KILL",
    }),
    field!(client_query_buffer_limit_bytes {
        name: "client-query-buffer-limit",
        section: Section::Limits,
        kind: Kind::Memory { min: 1 << 20 },
        default: "1073741824",
        summary: "Bytes of an unfinished request, beyond which the client is disconnected",
    }),
    field!(proto_max_bulk_len_bytes {
        name: "proto-max-bulk-len",
        section: Section::Limits,
        kind: Kind::Memory { min: 1 << 20 },
        default: "536870912",
        summary: "Bytes of the longest argument",
    }),
    field!(log_level {
        name: "log-level",
        section: Section::Logging,
        kind: LogLevel::WORDS.kind(),
        default: "info",
        summary: "The least severe messages to log",
    }),
    Parameter {
        name: "loglevel",
        view_of: Some("log-level"),
        section: Section::Logging,
        kind: LOGLEVEL.kind(),
        default: "notice",
        summary: "The least severe messages to log",
        get: |settings, _| LOGLEVEL.word(settings.log_level),
        set: |settings, _, text| {
            settings.log_level = LOGLEVEL.value(text)?;
            Ok(())
        },
        ..ROW
    },
    field!(log_format {
        name: "log-format",
        section: Section::Logging,
        kind: LogFormat::WORDS.kind(),
        default: "text",
        changes: Changes::AtStart,
        summary: "Lines for people, or one JSON object a line; both go to standard error",
    }),
    field!(slowlog_log_slower_than_us {
        name: "slowlog-log-slower-than",
        section: Section::Monitoring,
        kind: Kind::Integer {
            min: -1,
            max: i64::MAX
        },
        default: "10000",
        summary: "Microseconds above which a command is kept in SLOWLOG; 0 keeps all, -1 none",
    }),
    field!(slowlog_max_len {
        name: "slowlog-max-len",
        section: Section::Monitoring,
        kind: Kind::Integer {
            min: 0,
            max: i64::MAX
        },
        default: "128",
        summary: "Commands kept in SLOWLOG",
    }),
    field!(latency_monitor_threshold_ms {
        name: "latency-monitor-threshold",
        section: Section::Monitoring,
        kind: Kind::Integer {
            min: 0,
            max: i64::MAX
        },
        default: "0",
        summary: "Milliseconds from which an event is kept for LATENCY; 0 keeps none",
    }),
    field!(latency_tracking {
        name: "latency-tracking",
        section: Section::Monitoring,
        default: "yes",
        summary: "Keep a histogram of each command's latencies",
    }),
    field!(latency_tracking_info_percentiles {
        name: "latency-tracking-info-percentiles",
        section: Section::Monitoring,
        kind: PERCENTILES,
        default: "50 99 99.9",
        summary: "Percentiles that INFO latencystats shows",
    }),
];

/// The settings that the table's defaults give.
pub(super) fn defaults() -> Settings {
    let mut settings = Settings::blank();
    inert::fill(&mut settings);
    for row in all() {
        row.apply(&mut settings, row.default)
            .expect("a default is a value, as the tests check");
    }
    settings
}
