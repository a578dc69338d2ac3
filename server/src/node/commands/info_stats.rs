//! Sections of INFO about what has happened: counters, processor time, and figures by command.

use std::sync::atomic::Ordering;

use super::info::Lines;
use crate::commands;
use crate::node::stats::CommandTotals;
use crate::node::{Node, system};
use crate::pubsub::Kind;

const BYTES_A_KB: f64 = 1024.0;

pub(super) fn stats(node: &Node, lines: &mut Lines) {
    let load = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    let workers = node.workers();
    let sum = |of: fn(&crate::node::stats::WorkerStats) -> &std::sync::atomic::AtomicU64| {
        workers.iter().map(|worker| load(of(worker))).sum::<u64>()
    };
    let rate = node.rates.lock().mean();
    let kbps = |bytes: f64| format!("{:.2}", bytes / BYTES_A_KB);
    lines.field("total_connections_received", load(&node.clients.accepted));
    lines.field("total_commands_processed", sum(|worker| &worker.processed));
    lines.field("instantaneous_ops_per_sec", rate.requests.round() as u64);
    lines.field(
        "total_net_input_bytes",
        sum(|worker| &worker.received_bytes),
    );
    lines.field("total_net_output_bytes", sum(|worker| &worker.sent_bytes));
    lines.field("total_net_repl_input_bytes", 0);
    lines.field("total_net_repl_output_bytes", 0);
    lines.field("instantaneous_input_kbps", kbps(rate.received_bytes));
    lines.field("instantaneous_output_kbps", kbps(rate.sent_bytes));
    lines.field("instantaneous_input_repl_kbps", "0.00");
    lines.field("instantaneous_output_repl_kbps", "0.00");
    lines.field("rejected_connections", load(&node.clients.rejected));
    for name in ["sync_full", "sync_partial_ok", "sync_partial_err"] {
        lines.field(name, 0);
    }
    keys(node, lines);
    for (name, kind) in [
        ("pubsub_channels", Kind::Channel),
        ("pubsub_patterns", Kind::Pattern),
        ("pubsubshard_channels", Kind::Shard),
    ] {
        lines.field(name, node.pubsub.board().len(kind));
    }
    lines.field("pubsub_dropped_messages", node.pubsub.dropped());
    for name in ["latest_fork_usec", "total_forks", "migrate_cached_sockets"] {
        lines.field(name, 0);
    }
    let tracking = node.notices.tracking.counts();
    lines.field("tracking_total_keys", tracking.keys);
    lines.field("tracking_total_items", tracking.items);
    lines.field("tracking_total_prefixes", tracking.prefixes);
    lines.field("unexpected_error_replies", 0);
    lines.field(
        "total_error_replies",
        node.errors.lock().values().sum::<u64>(),
    );
}

/// What happened to keys; nothing before they are loaded.
fn keys(node: &Node, lines: &mut Lines) {
    let totals = node.group().map(|group| group.totals());
    let load = |of: fn(&crate::group::Totals) -> &std::sync::atomic::AtomicU64| {
        totals.map_or(0, |totals| of(totals).load(Ordering::Relaxed))
    };
    lines.field("expired_keys", load(|totals| &totals.expired));
    lines.field("expired_stale_perc", "0.00");
    lines.field("expired_time_cap_reached_count", 0);
    lines.field("evicted_keys", load(|totals| &totals.evicted));
    lines.field("evicted_clients", 0);
    lines.field("keyspace_hits", load(|totals| &totals.hits));
    lines.field("keyspace_misses", load(|totals| &totals.misses));
}

pub(super) fn cpu(_: &Node, lines: &mut Lines) {
    let cpu = system::cpu_time();
    lines.field("used_cpu_sys", format_args!("{:.6}", cpu.system_s));
    lines.field("used_cpu_user", format_args!("{:.6}", cpu.user_s));
    lines.field("used_cpu_sys_children", "0.000000");
    lines.field("used_cpu_user_children", "0.000000");
}

pub(super) fn commands(node: &Node, lines: &mut Lines) {
    let workers = node.workers();
    for id in 0..commands::count() {
        let totals = CommandTotals::of(&workers, id);
        if totals.is_empty() {
            continue;
        }
        let CommandTotals {
            calls,
            nanos,
            rejected,
            failed,
            ..
        } = totals;
        let each_us = nanos as f64 / 1000.0 / calls.max(1) as f64;
        let counts = format_args!(
            "calls={calls},usec={},usec_per_call={each_us:.2},rejected_calls={rejected},\
             failed_calls={failed}",
            nanos / 1000
        );
        lines.field(
            &format!("cmdstat_{}", commands::by_id(id).full_name()),
            counts,
        );
    }
}

pub(super) fn errors(node: &Node, lines: &mut Lines) {
    for (code, count) in &*node.errors.lock() {
        lines.field(&format!("errorstat_{code}"), format_args!("count={count}"));
    }
}

/// Percentiles are rounded up to a power of two microseconds, which is how calls are counted.
pub(super) fn latencies(node: &Node, lines: &mut Lines) {
    let settings = node.settings.load();
    if !settings.latency_tracking {
        return;
    }
    let workers = node.workers();
    for id in 0..commands::count() {
        let totals = CommandTotals::of(&workers, id);
        if totals.calls == 0 {
            continue;
        }
        let percentiles = settings
            .latency_tracking_info_percentiles
            .iter()
            .map(|&percent| format!("p{percent}={}.000", totals.percentile_us(percent)));
        let percentiles: Vec<String> = percentiles.collect();
        let name = format!(
            "latency_percentiles_usec_{}",
            commands::by_id(id).full_name()
        );
        lines.field(&name, percentiles.join(","));
    }
}
