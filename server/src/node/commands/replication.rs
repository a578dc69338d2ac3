//! The node's part in replication in Redis's words: INFO replication and ROLE.
//!
//! The leader is a master, everybody else a slave of it. A slave here takes every command, and one
//! that knows of no leader names `?` as its master and calls the link down. Offsets are indexes of
//! applied entries.

use bailiwick_frame::Encoder;
use bailiwick_replication::NodeId;

use super::info::{Lines, ratio};
use super::overview::Overview;
use super::{Flow, NodeContext, NodeOutcome};
use crate::group::MemberDescription;
use crate::node::Node;

/// What Redis ranks a replica by when it looks for a new master, and its default. Here `priority`
/// of the cluster's file does that.
const SLAVE_PRIORITY: u32 = 100;

pub(super) fn role(context: &mut NodeContext<'_>) -> NodeOutcome {
    if Overview::blocks(context.node) {
        let node = context.node.clone();
        return context.blocking(move |out| {
            write_role(&Overview::of(&node), out);
            Ok(())
        });
    }
    write_role(&Overview::of(context.node), &mut context.encoder());
    Ok(Flow::Continue)
}

fn write_role(overview: &Overview<'_>, out: &mut Encoder<'_>) {
    let offset = overview.applied.0 as i64;
    if leads(overview) {
        let replicas: Vec<_> = replicas(overview).collect();
        out.array(3);
        out.bulk(b"master");
        out.integer(offset);
        out.array(replicas.len());
        for replica in replicas {
            let (host, port) = overview.client_address(replica.node);
            out.array(3);
            out.bulk(host.as_bytes());
            out.bulk_display(port);
            out.bulk_display(replica.applied);
        }
        return;
    }
    let (host, port) = master_address(overview);
    out.array(5);
    out.bulk(b"slave");
    out.bulk(host.as_bytes());
    out.integer(port.into());
    out.bulk(link_state(overview).as_bytes());
    out.integer(offset);
}

/// Writes the section Replication of INFO.
pub(super) fn section(node: &Node, overview: &Overview<'_>, lines: &mut Lines) {
    if leads(overview) {
        lines.field("role", "master");
    } else {
        lines.field("role", "slave");
        upstream(overview, lines);
    }
    write_replicas(overview, lines);
    lines.field("master_failover_state", "no-failover");
    lines.field("master_replid", node.replication_id.lock());
    lines.field("master_replid2", "0000000000000000000000000000000000000000");
    lines.field("master_repl_offset", overview.applied);
    lines.field("second_repl_offset", -1);
    lines.field("repl_backlog_active", 0);
    lines.field("repl_backlog_size", 0);
    lines.field("repl_backlog_first_byte_offset", 0);
    lines.field("repl_backlog_histlen", 0);
    let description = &overview.description;
    lines.field("group", &overview.group);
    lines.field("node_id", description.node);
    lines.field("leader_id", description.leader.unwrap_or_default());
}

/// What a slave says of its master.
fn upstream(overview: &Overview<'_>, lines: &mut Lines) {
    let (host, port) = master_address(overview);
    let is_up = master(overview).is_some();
    let heard_ms = master(overview).and_then(|master| master.last_contact_ms);
    let heard_s = heard_ms.map_or(-1, |ms| (ms / 1000) as i64);
    let transfer = overview.description.transfer;
    lines.field("master_host", host);
    lines.field("master_port", port);
    lines.field("master_link_status", if is_up { "up" } else { "down" });
    lines.field("master_last_io_seconds_ago", heard_s);
    lines.field("master_sync_in_progress", u8::from(transfer.is_some()));
    lines.field("slave_read_repl_offset", overview.applied);
    lines.field("slave_repl_offset", overview.applied);
    if let Some(transfer) = transfer {
        let (total, read) = (transfer.total_bytes, transfer.received_bytes);
        let share = ratio(read, total) * 100.0;
        lines.field("master_sync_total_bytes", total);
        lines.field("master_sync_read_bytes", read);
        lines.field("master_sync_left_bytes", total.saturating_sub(read));
        lines.field("master_sync_perc", format_args!("{share:.2}"));
    }
    lines.field("slave_priority", SLAVE_PRIORITY);
    // It takes writes and sees that the leader gets them.
    lines.field("slave_read_only", 0);
    lines.field("replica_announced", 1);
}

/// The replicas of a leader, in the form that tools take apart; others have none.
fn write_replicas(overview: &Overview<'_>, lines: &mut Lines) {
    let replicas: Vec<_> = replicas(overview).collect();
    lines.field("connected_slaves", replicas.len());
    for (number, replica) in replicas.into_iter().enumerate() {
        let (host, port) = overview.client_address(replica.node);
        let state = if replica.is_catching_up {
            "send_bulk"
        } else {
            "online"
        };
        let lag_s = replica.last_contact_ms.unwrap_or(0) / 1000;
        let offset = replica.applied;
        let line = format_args!("ip={host},port={port},state={state},offset={offset},lag={lag_s}");
        lines.field(&format!("slave{number}"), line);
    }
}

fn leads(overview: &Overview<'_>) -> bool {
    overview.description.leader == Some(overview.description.node)
}

/// The other members that a leader has links to.
fn replicas<'a>(overview: &'a Overview<'_>) -> impl Iterator<Item = &'a MemberDescription> {
    let (leads, own) = (leads(overview), overview.description.node);
    let members = overview.description.members.iter();
    members.filter(move |member| leads && member.node != own && member.is_connected)
}

/// The leader, if there is a link to it.
fn master<'a>(overview: &'a Overview<'_>) -> Option<&'a MemberDescription> {
    let leader = overview.member(overview.description.leader?)?;
    leader.is_connected.then_some(leader)
}

fn master_address<'a>(overview: &'a Overview<'_>) -> (&'a str, u16) {
    let leader: Option<NodeId> = overview.description.leader;
    leader.map_or(("?", 0), |leader| overview.client_address(leader))
}

/// How a slave gets on with its master, in ROLE's words.
fn link_state(overview: &Overview<'_>) -> &'static str {
    if overview.description.transfer.is_some() {
        "sync"
    } else if master(overview).is_some() {
        "connected"
    } else if overview.description.leader.is_some() {
        "connecting"
    } else {
        "connect"
    }
}

#[cfg(test)]
mod tests {
    use bailiwick_frame::Protocol;
    use bailiwick_replication::LogIndex;

    use super::super::overview::testing::{FILE, seen_by};
    use super::*;
    use crate::cluster::Cluster;
    use crate::group::TransferProgress;

    fn role_of(overview: &Overview<'_>) -> String {
        let mut reply = Vec::new();
        write_role(overview, &mut Encoder::new(&mut reply, Protocol::Resp2));
        String::from_utf8(reply).expect("text").replace("\r\n", "|")
    }

    #[test]
    fn a_leader_is_a_master_with_the_replicas_it_reaches() {
        let cluster = Cluster::parse(FILE).expect("a file");
        let overview = seen_by(2, &cluster);
        let role = "*3|$6|master|:100|*1|*3|$8|10.0.0.1|$4|7101|$2|98|";
        assert_eq!(role_of(&overview), role);
        let mut lines = Lines::default();
        write_replicas(&overview, &mut lines);
        let replica = "slave0:ip=10.0.0.1,port=7101,state=online,offset=98,lag=0";
        assert_eq!(
            lines.into_text(),
            format!("connected_slaves:1\r\n{replica}\r\n")
        );
    }

    #[test]
    fn everybody_else_is_a_slave_of_the_leader() {
        let cluster = Cluster::parse(FILE).expect("a file");
        let mut overview = seen_by(1, &cluster);
        let role = "*5|$5|slave|$8|10.0.0.2|:7102|$9|connected|:98|";
        assert_eq!(role_of(&overview), role);
        overview.description.transfer = Some(TransferProgress {
            source: NodeId(2),
            index: LogIndex(40),
            received_bytes: 25,
            total_bytes: 100,
        });
        let mut lines = Lines::default();
        upstream(&overview, &mut lines);
        let text = lines.into_text();
        for line in [
            "master_host:10.0.0.2",
            "master_port:7102",
            "master_link_status:up",
            "master_last_io_seconds_ago:0",
            "master_sync_in_progress:1",
            "master_sync_left_bytes:75",
            "master_sync_perc:25.00",
            "slave_repl_offset:98",
        ] {
            assert!(text.contains(&format!("{line}\r\n")), "{line} in {text}");
        }
    }

    #[test]
    fn without_a_leader_the_link_is_down() {
        let cluster = Cluster::parse(FILE).expect("a file");
        let mut overview = seen_by(1, &cluster);
        overview.description.leader = None;
        assert_eq!(role_of(&overview), "*5|$5|slave|$1|?|:0|$7|connect|:98|");
        let mut lines = Lines::default();
        upstream(&overview, &mut lines);
        assert!(lines.into_text().contains("master_link_status:down\r\n"));
    }
}
