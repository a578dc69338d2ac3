//! Sections of INFO about what is there: server, clients, memory, persistence, cluster, keyspace.

use std::sync::atomic::Ordering;

use bailiwick_replication::link::LinkState;

use super::basic::{REDIS_VERSION, mode_name};
use super::info::{Lines, percent, ratio};
use super::overview::Overview;
use crate::commands::Scripts;
use crate::config::EvictionPolicy;
use crate::estate::Estate;
use crate::group::Group;
use crate::handoff::order;
use crate::node::clients::ClientFlag;
use crate::node::{self, Condition, Node, system};
use crate::routing::redirect::Port;

const SECONDS_A_DAY: u64 = 24 * 3600;
/// Bits of the access clock that Redis would show.
const LRU_CLOCK_MASK: i64 = 0xff_ffff;
/// How often Redis would look after its housekeeping, per second; ours has no single rate.
const HZ: u32 = 10;
/// The allocator of the binary.
pub(super) const ALLOCATOR: &str = "mimalloc";

pub(super) fn server(node: &Node, came_by: Port, lines: &mut Lines) {
    let settings = node.settings.load();
    let uptime_s = node.started.elapsed().as_secs();
    let addresses = match came_by {
        Port::Plain => node.addresses(),
        Port::Cluster => node.cluster_addresses(),
    };
    let port = addresses
        .first()
        .map_or(settings.port, |address| address.port());
    let executable = std::env::current_exe().unwrap_or_default();
    let file = node.settings.file().unwrap_or_else(|| "".as_ref());
    let now_us = node::now_us();
    lines.field("redis_version", REDIS_VERSION);
    lines.field("bailiwick_version", env!("CARGO_PKG_VERSION"));
    lines.field("redis_git_sha1", "00000000");
    lines.field("redis_git_dirty", 0);
    lines.field("redis_mode", mode_name(came_by));
    lines.field("os", system::description());
    lines.field("arch_bits", usize::BITS);
    lines.field("multiplexing_api", "epoll");
    lines.field("process_id", std::process::id());
    lines.field("process_supervised", "no");
    lines.field("run_id", &node.run_id);
    lines.field("tcp_port", port);
    lines.field("server_time_usec", now_us);
    lines.field("uptime_in_seconds", uptime_s);
    lines.field("uptime_in_days", uptime_s / SECONDS_A_DAY);
    lines.field("hz", HZ);
    lines.field("configured_hz", HZ);
    lines.field("lru_clock", (now_us / 1_000_000) & LRU_CLOCK_MASK);
    lines.field("executable", executable.display());
    lines.field("config_file", file.display());
    lines.field("io_threads_active", 0);
    lines.field("worker_threads", settings.worker_threads());
    let all = node.addresses().iter().chain(node.cluster_addresses());
    for (number, address) in all.enumerate() {
        let (ip, port) = (address.ip(), address.port());
        lines.field(
            &format!("listener{number}"),
            format_args!("name=tcp,bind={ip},port={port}"),
        );
    }
}

pub(super) fn clients(node: &Node, lines: &mut Lines) {
    let clients = node.clients.all();
    let load = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    let input = clients.iter().map(|client| load(&client.input_bytes)).max();
    let output = clients
        .iter()
        .map(|client| load(&client.output_bytes))
        .max();
    let blocked = clients
        .iter()
        .filter(|client| client.has(ClientFlag::Blocked))
        .count();
    lines.field("connected_clients", clients.len());
    lines.field("cluster_connections", 0);
    lines.field("maxclients", node.settings.load().max_clients);
    lines.field("client_recent_max_input_buffer", input.unwrap_or(0));
    lines.field("client_recent_max_output_buffer", output.unwrap_or(0));
    lines.field("blocked_clients", blocked);
    lines.field("tracking_clients", node.notices.tracking.counts().clients);
    lines.field("clients_in_timeout_table", 0);
    lines.field("monitors", node.monitors.len());
}

/// Figures about memory, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Memory {
    /// What counts against `maxmemory`: the keyspace.
    pub(super) used: u64,
    /// The most that was seen of it.
    pub(super) peak: u64,
    /// What of it is not keys and values.
    pub(super) overhead: u64,
    /// What the process takes.
    pub(super) resident: u64,
    /// Number of keys.
    pub(super) keys: u64,
}

impl Memory {
    pub(super) fn of(node: &Node) -> Self {
        let used = node.used_memory_bytes();
        let state = node.group().and_then(|group| group.glance());
        let keyspace = state.as_ref().map(|state| &state.keyspace);
        let overhead = keyspace.map_or(0, |keyspace| {
            let tables = keyspace.all_tables();
            tables
                .map(|(_, _, table)| table.structure_bytes())
                .sum::<usize>()
        });
        Self {
            used,
            peak: node.peak_memory_bytes.load(Ordering::Relaxed),
            // The two were read one after the other.
            overhead: (overhead as u64).min(used),
            resident: system::resident_bytes(),
            keys: keyspace.map_or(0, |keyspace| keyspace.len()) as u64,
        }
    }

    pub(super) fn dataset(&self) -> u64 {
        self.used - self.overhead
    }
}

pub(super) fn memory(node: &Node, lines: &mut Lines) {
    let settings = node.settings.load();
    let memory = Memory::of(node);
    lines.bytes("used_memory", memory.used);
    lines.bytes("used_memory_rss", memory.resident);
    lines.bytes("used_memory_peak", memory.peak);
    lines.field("used_memory_peak_perc", percent(memory.used, memory.peak));
    lines.field("used_memory_overhead", memory.overhead);
    lines.field("used_memory_startup", 0);
    lines.field("used_memory_dataset", memory.dataset());
    lines.field(
        "used_memory_dataset_perc",
        percent(memory.dataset(), memory.used),
    );
    lines.bytes("total_system_memory", system::total_memory_bytes());
    lines.bytes("used_memory_lua", 0);
    lines.bytes("used_memory_scripts", 0);
    let state = node.group().and_then(|group| group.glance());
    let scripts = state.as_ref().map(|state| &state.scripts);
    let count = |of: fn(&Scripts) -> usize| scripts.map_or(0, of);
    lines.field("number_of_cached_scripts", count(Scripts::len));
    lines.field("number_of_functions", count(Scripts::functions));
    lines.field("number_of_libraries", count(Scripts::library_count));
    drop(state);
    lines.bytes("maxmemory", settings.maxmemory_bytes);
    lines.field("maxmemory_policy", policy_name(settings.maxmemory_policy));
    let ratio = ratio(memory.resident, memory.used);
    lines.field("mem_fragmentation_ratio", format_args!("{ratio:.2}"));
    lines.field(
        "mem_fragmentation_bytes",
        memory.resident.saturating_sub(memory.used),
    );
    lines.field("mem_not_counted_for_evict", 0);
    lines.field("mem_replication_backlog", 0);
    lines.field("mem_total_replication_buffers", 0);
    lines.field("mem_clients_slaves", 0);
    lines.field("mem_clients_normal", client_bytes(node));
    lines.field("mem_cluster_links", 0);
    lines.field("mem_aof_buffer", 0);
    lines.field("mem_allocator", ALLOCATOR);
    lines.field("active_defrag_running", 0);
    lines.field("lazyfree_pending_objects", 0);
    lines.field("lazyfreed_objects", 0);
}

/// Bytes of memory that belong to connections, buffers in use included.
pub(super) fn client_bytes(node: &Node) -> u64 {
    let clients = node.clients.all();
    let bytes = clients.iter().map(|client| {
        let counters = [
            &client.input_bytes,
            &client.output_bytes,
            &client.queued_bytes,
        ];
        let buffers: u64 = counters
            .iter()
            .map(|bytes| bytes.load(Ordering::Relaxed))
            .sum();
        size_of_val(&**client) as u64 + buffers
    });
    bytes.sum()
}

fn policy_name(policy: EvictionPolicy) -> &'static str {
    use EvictionPolicy as P;
    match policy {
        P::NoEviction => "noeviction",
        P::AllkeysLru => "allkeys-lru",
        P::AllkeysLfu => "allkeys-lfu",
        P::AllkeysRandom => "allkeys-random",
        P::VolatileLru => "volatile-lru",
        P::VolatileLfu => "volatile-lfu",
        P::VolatileRandom => "volatile-random",
        P::VolatileTtl => "volatile-ttl",
    }
}

pub(super) fn persistence(node: &Node, overview: &Overview<'_>, lines: &mut Lines) {
    // A member of a group has its state, and may still have to find the others before it serves.
    if node.attention.has(Condition::Loading) {
        loading(node, lines);
    } else {
        lines.field("loading", 0);
        lines.field("async_loading", 0);
    }
    transfer(overview, lines);
    let Some(group) = node.group() else {
        return;
    };
    checkpoints(node, group, lines);
    log(group, lines);
    lines.field("module_fork_in_progress", 0);
}

/// The checkpoint that another member sends, while one does.
fn transfer(overview: &Overview<'_>, lines: &mut Lines) {
    let Some(transfer) = overview.description.transfer else {
        return;
    };
    let (received, total) = (transfer.received_bytes, transfer.total_bytes);
    lines.field("checkpoint_transfer_source", transfer.source);
    lines.field("checkpoint_transfer_index", transfer.index);
    lines.field("checkpoint_transfer_bytes", received);
    lines.field("checkpoint_transfer_total_bytes", total);
    lines.field("checkpoint_transfer_perc", percent(received, total));
}

fn checkpoints(node: &Node, group: &Group, lines: &mut Lines) {
    let status = group.checkpoints().status();
    let totals = group.totals();
    let changes = totals.changes.load(Ordering::Relaxed);
    let saved = totals.changes_at_checkpoint.load(Ordering::Relaxed);
    let last_time_ms = last_save_ms(node, group);
    let last_s = if status.completed == 0 {
        -1
    } else {
        (status.last_duration_ms / 1000) as i64
    };
    let since_start_s = (node::now_ms() - status.started_ms) / 1000;
    let current_s = if status.in_progress {
        since_start_s.max(0)
    } else {
        -1
    };
    let outcome = if status.last_failed { "err" } else { "ok" };
    lines.field("rdb_changes_since_last_save", changes.saturating_sub(saved));
    lines.field("rdb_bgsave_in_progress", u8::from(status.in_progress));
    lines.field("rdb_last_save_time", last_time_ms / 1000);
    lines.field("rdb_last_bgsave_status", outcome);
    lines.field("rdb_last_bgsave_time_sec", last_s);
    lines.field("rdb_current_bgsave_time_sec", current_s);
    lines.field("rdb_saves", status.completed);
    lines.field("rdb_last_cow_size", 0);
    lines.field("checkpoint_last_size", status.last_bytes);
    lines.field("checkpoint_last_duration_ms", status.last_duration_ms);
}

/// When the last checkpoint was written, or else when the node started, as Redis has it.
pub(super) fn last_save_ms(node: &Node, group: &Group) -> i64 {
    match group.checkpoints().status().last_time_ms {
        0 => node::now_ms() - node.started.elapsed().as_millis() as i64,
        at_ms => at_ms,
    }
}

/// The log takes the place of Redis's append-only file, a checkpoint that of its rewrite.
fn log(group: &Group, lines: &mut Lines) {
    let status = group.checkpoints().status();
    let totals = group.totals();
    let load = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    let refused = load(&totals.refused_commits) > 0;
    let since = load(&totals.log_bytes)
        - load(&totals.log_bytes_at_checkpoint).min(load(&totals.log_bytes));
    lines.field("aof_enabled", 1);
    lines.field("aof_rewrite_in_progress", u8::from(status.in_progress));
    lines.field("aof_rewrite_scheduled", 0);
    lines.field("aof_last_rewrite_time_sec", -1);
    lines.field("aof_current_rewrite_time_sec", -1);
    lines.field(
        "aof_last_bgrewrite_status",
        if status.last_failed { "err" } else { "ok" },
    );
    lines.field("aof_last_write_status", if refused { "err" } else { "ok" });
    lines.field("aof_last_cow_size", 0);
    lines.field("aof_current_size", group.log_disk_bytes());
    lines.field("aof_pending_rewrite", 0);
    lines.field("aof_buffer_length", 0);
    lines.field("aof_pending_bio_fsync", 0);
    lines.field("aof_delayed_fsync", 0);
    lines.field("log_entries_appended", load(&totals.entries));
    lines.field("log_bytes_appended", load(&totals.log_bytes));
    lines.field("log_bytes_since_checkpoint", since);
}

fn loading(node: &Node, lines: &mut Lines) {
    let progress = &node.loading;
    let load = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    let (total, loaded) = (load(&progress.total_bytes), load(&progress.loaded_bytes));
    let elapsed_s = node.started.elapsed().as_secs();
    let share = ratio(loaded, total);
    // The log behind the checkpoint is not in this estimate.
    let left_s = if share > 0.0 {
        elapsed_s as f64 * (1.0 - share) / share
    } else {
        1.0
    };
    lines.field("loading", 1);
    lines.field("async_loading", 0);
    lines.field(
        "loading_start_time",
        node::now_ms() / 1000 - elapsed_s as i64,
    );
    lines.field("loading_total_bytes", total);
    lines.field("loading_loaded_bytes", loaded);
    lines.field("loading_loaded_perc", format_args!("{:.2}", share * 100.0));
    lines.field("loading_eta_seconds", left_s.ceil() as u64);
    lines.field("loading_loaded_keys", load(&progress.loaded_keys));
    lines.field("loading_replayed_entries", load(&progress.replayed_entries));
}

/// Redis's cluster protocol is spoken on a port of its own, if there is one; the links are those
/// between nodes.
pub(super) fn cluster(node: &Node, port: Port, lines: &mut Lines) {
    lines.field("cluster_enabled", u8::from(port == Port::Cluster));
    let Some(host) = node.host() else {
        return;
    };
    let links = host.link_status();
    let up = links.iter().filter(|link| link.state == LinkState::Up);
    lines.field("cluster_name", &host.cluster().name);
    lines.field("cluster_links", links.len());
    lines.field("cluster_links_up", up.count());
    lines.field("cluster_links_rejected", host.links().rejected());
    if let Some(estate) = node.estate() {
        directory(estate, lines);
    }
    handoffs(node, lines);
}

/// What this node knows of prefixes and of other nodes.
fn directory(estate: &Estate, lines: &mut Lines) {
    let (records, gossip) = (estate.directory.counters(), estate.census.counters());
    let prefixes = estate.directory.view().prefix_count();
    lines.field("directory_prefixes", prefixes);
    lines.field("directory_records", records.records);
    lines.field("directory_records_waiting", records.waiting);
    lines.field("directory_records_orphaned", records.orphans);
    let refused: u64 = records.refused.iter().sum();
    lines.field("directory_records_refused", refused);
    lines.field("gossip_messages_received", gossip.received);
    lines.field("gossip_messages_refused", gossip.refused);
}

/// Prefixes that leave groups which this node leads. The prefix comes last, since it can hold any
/// character.
fn handoffs(node: &Node, lines: &mut Lines) {
    let (running, totals) = (node.handoffs.running(), node.handoffs.totals());
    lines.field("handoffs_running", running.len());
    lines.field("handoffs_done", totals.done);
    lines.field("handoffs_failed", totals.failed);
    for (number, progress) in running.iter().enumerate() {
        let sample = progress.sample();
        let line = format_args!(
            "group={group},phase={phase},keys={keys},bytes={bytes},running_ms={ms},prefix={prefix}",
            group = order::group_name(node, progress.group),
            phase = sample.phase,
            keys = sample.keys,
            bytes = sample.bytes,
            ms = progress.since.elapsed().as_millis(),
            prefix = progress.prefix.escape_ascii(),
        );
        lines.field(&format!("handoff{number}"), line);
    }
}

pub(super) fn keyspace(node: &Node, lines: &mut Lines) {
    let Some(group) = node.group() else {
        return;
    };
    let Some(state) = group.glance() else {
        return;
    };
    let keyspace = &state.keyspace;
    for number in 0..keyspace.databases() {
        let (keys, expires) = (keyspace.len_of(number), keyspace.expiring_len_of(number));
        if keys > 0 {
            let counts = format_args!("keys={keys},expires={expires},avg_ttl=0");
            lines.field(&format!("db{number}"), counts);
        }
    }
}
