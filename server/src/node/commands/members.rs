//! CLUSTER MEMBERS: a flat map for each node that is in the cluster's file or was heard of by gossip.
//!
//! It shows what nodes say of themselves and how this node judges their silence: others may judge
//! otherwise. A node that was never heard of has the state `unknown`, and no more fields than its
//! number, its name and that.

use bailiwick_frame::Encoder;
use bailiwick_replication::{GroupId, NodeId};

use super::links::NO_CLUSTER;
use super::{Flow, NodeContext, NodeOutcome};
use crate::commands::CommandError;
use crate::directory::membership::{Liveness, MemberStatus, Seat};
use crate::estate::Estate;
use crate::node::topology::node_name;

/// What a field holds.
#[derive(Debug, PartialEq)]
enum Value {
    Text(String),
    Number(u64),
    Level(f64),
    Names(Vec<String>),
}

type Fields = Vec<(&'static str, Value)>;

pub(super) fn members(context: &mut NodeContext<'_>) -> NodeOutcome {
    let (cluster, _) = context.node.settings.cluster().ok_or(NO_CLUSTER)?;
    let estate = context.node.estate().ok_or(CommandError::Loading)?;
    let heard = estate.census.members();
    let own_directory = estate
        .directory
        .with_store(|store| store.digest().root());
    let mut rows: Vec<(NodeId, Fields)> = heard
        .iter()
        .map(|status| (status.node, fields(status, own_directory, estate)))
        .collect();
    for node in &cluster.nodes {
        if !heard.iter().any(|status| status.node == node.id) {
            rows.push((node.id, vec![("state", Value::Text("unknown".to_owned()))]));
        }
    }
    rows.sort_by_key(|(node, _)| *node);
    let names: Vec<String> = rows
        .iter()
        .map(|(node, _)| node_name(cluster, *node))
        .collect();
    let mut out = context.encoder();
    out.array(rows.len());
    for ((node, fields), name) in rows.into_iter().zip(names) {
        let head = [("node", Value::Number(node.0)), ("name", Value::Text(name))];
        write_map(&head.into_iter().chain(fields).collect::<Vec<_>>(), &mut out);
    }
    Ok(Flow::Continue)
}

fn fields(status: &MemberStatus, own_directory: u64, estate: &Estate) -> Fields {
    let facts = &status.facts;
    let text = |text: &str| Value::Text(text.to_owned());
    let directory = if facts.directory == own_directory {
        "same"
    } else {
        "differs"
    };
    let groups = |leads: bool| {
        let seats = facts.seats.iter();
        let seats = seats.filter(|seat: &&Seat| seat.leads_since.is_some() == leads);
        Value::Names(seats.map(|seat| group_name(estate, seat.group)).collect())
    };
    vec![
        ("state", text(state_name(status.liveness))),
        ("state-age-ms", Value::Number(status.liveness_ms)),
        ("suspicion", Value::Level(rounded(status.suspicion))),
        ("silent-ms", Value::Number(status.silent_ms)),
        ("region", text(&facts.region)),
        ("client", text(&facts.client)),
        ("cluster", text(&facts.cluster)),
        ("peer", text(&facts.peer)),
        ("incarnation", Value::Number(status.incarnation)),
        ("leads", groups(true)),
        ("follows", groups(false)),
        ("directory", text(directory)),
        ("key", text(&facts.key.to_string())),
    ]
}

fn group_name(estate: &Estate, group: GroupId) -> String {
    estate.group_name(group)
}

fn state_name(liveness: Liveness) -> &'static str {
    match liveness {
        Liveness::Alive => "alive",
        Liveness::Suspect => "suspect",
        Liveness::Dead => "dead",
    }
}

/// Two digits are more than silence tells.
fn rounded(level: f64) -> f64 {
    (level * 100.0).round() / 100.0
}

fn write_map(fields: &[(&'static str, Value)], out: &mut Encoder<'_>) {
    out.map(fields.len());
    for (name, value) in fields {
        out.bulk(name.as_bytes());
        match value {
            Value::Text(text) => out.bulk(text.as_bytes()),
            Value::Number(number) => out.integer(i64::try_from(*number).unwrap_or(i64::MAX)),
            Value::Level(level) => out.double(*level),
            Value::Names(names) => {
                out.array(names.len());
                names.iter().for_each(|name| out.bulk(name.as_bytes()));
            }
        }
    }
}
