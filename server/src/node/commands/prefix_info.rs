//! What `PREFIX INFO` gathers: each of the groups concerned is asked for its part.
//!
//! A group that cannot be asked leaves its part out; only if the prefix is not known at all is
//! there an error.

use std::thread;
use std::time::{Duration, Instant};

use bailiwick_frame::Encoder;
use bailiwick_replication::GroupId;

use super::prefix::{Row, only_row, under, write_row};
use crate::authority::{Phase, Status};
use crate::commands::CommandError;
use crate::handoff::order;
use crate::node::Node;
use crate::routing::errand::Reply;

/// How long a prefix that the directory has may be unknown to its parent's owner: one of the two is
/// behind.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often it is asked again meanwhile.
const ASK_AGAIN: Duration = Duration::from_millis(20);

/// What there is to tell of a prefix.
pub(super) struct Report {
    row: Row,
    /// The parent prefix with its owner; `None` for the empty prefix.
    parent: Option<Row>,
    /// The prefixes directly below.
    children: Vec<Vec<u8>>,
    /// Keys and bytes, where it is served; `None` if that group cannot be asked.
    size: Option<(u64, u64)>,
    handoff: Option<Handoff>,
}

/// A move under way.
struct Handoff {
    to: GroupId,
    epoch: u64,
    drops: bool,
    phase: &'static str,
    /// Keys that have come to the destination.
    staged: Option<u64>,
    /// Keys and bytes sent, and for how many milliseconds, if this node sends them.
    sent: Option<(u64, u64, u64)>,
}

impl Report {
    /// Asks the groups concerned. Blocks.
    pub(super) fn of(node: &Node, prefix: &[u8]) -> Result<Self, CommandError> {
        let Some(estate) = node.estate() else {
            return Self::of_only(node, prefix);
        };
        let view = estate.directory.view();
        let parent = view.parent_of(prefix).map(|(parent, owner)| Row {
            prefix: parent.to_vec(),
            epoch: owner.epoch,
            group: owner.group,
        });
        let children = view.children_of(prefix).map(|(child, _)| child.to_vec());
        let children = children.collect();
        drop(view);
        let decided = match &parent {
            Some(_) => delegation(node, prefix)?,
            None => Status::default(),
        };
        let row = match decided.delegated {
            Some(delegated) => Row {
                prefix: prefix.to_vec(),
                epoch: delegated.epoch,
                group: delegated.group,
            },
            None => only_row(),
        };
        let served = status(node, row.group, prefix).ok();
        let size = served.and_then(|status| status.owned.map(|_| (status.keys, status.bytes)));
        let mut report = Self {
            row,
            parent,
            children,
            size,
            handoff: None,
        };
        report.add_handoff(node, &decided, served);
        Ok(report)
    }

    fn of_only(node: &Node, prefix: &[u8]) -> Result<Self, CommandError> {
        if !prefix.is_empty() {
            return Err(no_prefix(prefix));
        }
        let group = node.group().ok_or(CommandError::Loading)?;
        let state = group.glance().ok_or_else(|| group.busy_error())?;
        let size = (state.keyspace.len(), state.keyspace.memory_bytes());
        Ok(Self {
            row: only_row(),
            parent: None,
            children: Vec::new(),
            size: Some((size.0 as u64, size.1 as u64)),
            handoff: None,
        })
    }

    fn add_handoff(&mut self, node: &Node, decided: &Status, served: Option<Status>) {
        let Some(moving) = decided.delegated.and_then(|delegated| delegated.moving) else {
            return;
        };
        let prefix = &self.row.prefix;
        let arriving = status(node, moving.to, prefix).ok();
        let has_arrived = arriving.is_some_and(|status| {
            let owned = status.owned;
            owned.is_some_and(|owned| owned.epoch >= moving.epoch)
        });
        if has_arrived {
            let arrived = arriving.map(|status| (status.keys, status.bytes));
            self.size = arrived;
        }
        let staged = arriving.and_then(|status| {
            let (epoch, count) = status.staged?;
            (epoch == moving.epoch).then_some(count)
        });
        let running = node.handoffs.running();
        let own = running.iter().find(|progress| progress.prefix == *prefix);
        let phase = served.and_then(|status| Some(status.owned?.phase));
        self.handoff = Some(Handoff {
            to: moving.to,
            epoch: moving.epoch,
            drops: moving.drops,
            phase: match phase {
                _ if has_arrived => "settling",
                Some(Phase::Serving) => "starting",
                Some(Phase::Leaving { .. }) => "copying",
                Some(Phase::Frozen { .. }) => "frozen",
                None => "unknown",
            },
            staged,
            sent: own.map(|progress| {
                let sample = progress.sample();
                let ms = progress.since.elapsed().as_millis() as u64;
                (sample.keys, sample.bytes, ms)
            }),
        });
    }
}

/// Writes the report as a map.
pub(super) fn write(node: &Node, report: &Report, out: &mut Encoder<'_>) {
    out.map(9);
    write_row(node, &report.row, out);
    out.bulk(b"parent");
    match &report.parent {
        Some(parent) => out.bulk(&parent.prefix),
        None => out.null(),
    }
    out.bulk(b"parent-group");
    match &report.parent {
        Some(parent) => out.bulk(order::group_name(node, parent.group).as_bytes()),
        None => out.null(),
    }
    out.bulk(b"children");
    out.array(report.children.len());
    report.children.iter().for_each(|child| out.bulk(child));
    out.bulk(b"keys");
    number(report.size.map(|(keys, _)| keys), out);
    out.bulk(b"bytes");
    number(report.size.map(|(_, bytes)| bytes), out);
    out.bulk(b"handoff");
    match &report.handoff {
        Some(handoff) => write_handoff(node, handoff, out),
        None => out.null(),
    }
}

fn write_handoff(node: &Node, handoff: &Handoff, out: &mut Encoder<'_>) {
    out.map(8);
    out.bulk(b"to");
    out.bulk(order::group_name(node, handoff.to).as_bytes());
    out.bulk(b"epoch");
    out.integer(handoff.epoch as i64);
    out.bulk(b"drops");
    out.integer(handoff.drops.into());
    out.bulk(b"phase");
    out.bulk(handoff.phase.as_bytes());
    out.bulk(b"staged-keys");
    number(handoff.staged, out);
    for (name, value) in [
        ("sent-keys", handoff.sent.map(|sent| sent.0)),
        ("sent-bytes", handoff.sent.map(|sent| sent.1)),
        ("running-ms", handoff.sent.map(|sent| sent.2)),
    ] {
        out.bulk(name.as_bytes());
        number(value, out);
    }
}

fn number(number: Option<u64>, out: &mut Encoder<'_>) {
    match number {
        Some(number) => out.integer(number as i64),
        None => out.null(),
    }
}

/// What the owner of the parent prefix has decided about this one.
fn delegation(node: &Node, prefix: &[u8]) -> Result<Status, CommandError> {
    let until = Instant::now() + PATIENCE;
    loop {
        let estate = order::estate(node)?;
        let owner = order::parent_owner(&estate.directory.view(), prefix);
        let status = status(node, owner, prefix)?;
        if status.delegated.is_some() {
            return Ok(status);
        }
        let is_known = under(node, prefix)
            .first()
            .is_some_and(|row| row.prefix == prefix);
        if !is_known || Instant::now() >= until {
            return Err(no_prefix(prefix));
        }
        thread::sleep(ASK_AGAIN);
    }
}

/// What a group has to do with a prefix.
fn status(node: &Node, group: GroupId, prefix: &[u8]) -> Result<Status, CommandError> {
    let command = [b"_STATUS".to_vec(), prefix.to_vec()];
    let reply = order::run(node, group, &command);
    let reply = reply.map_err(|failure| order::explain(node, &failure))?;
    let text = match &reply {
        Reply::Bulk(Some(text)) => std::str::from_utf8(text).ok(),
        _ => None,
    };
    text.and_then(Status::parse).ok_or(CommandError::text(
        "ERR the answer of a group makes no sense",
    ))
}

fn no_prefix(prefix: &[u8]) -> CommandError {
    CommandError::composed(format!(
        "ERR there is no prefix '{}'; see PREFIX LIST, or PREFIX OWNER for a key",
        prefix.escape_ascii()
    ))
}
