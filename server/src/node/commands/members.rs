//! CLUSTER MEMBERS: a flat map for each node that is in the cluster's file or was heard of by
//! gossip.
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
    let own_directory = estate.directory.with_store(|store| store.digest().root());
    let name_of = |group| estate.group_name(group);
    let mut rows: Vec<(NodeId, Fields)> = heard
        .iter()
        .map(|status| (status.node, fields(status, own_directory, &name_of)))
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
        write_map(
            &head.into_iter().chain(fields).collect::<Vec<_>>(),
            &mut out,
        );
    }
    Ok(Flow::Continue)
}

fn fields(
    status: &MemberStatus,
    own_directory: u64,
    name_of: &impl Fn(GroupId) -> String,
) -> Fields {
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
        Value::Names(seats.map(|seat| name_of(seat.group)).collect())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::keys::PublicKey;
    use crate::directory::membership::NodeFacts;

    fn status(liveness: Liveness) -> MemberStatus {
        let seat = |group, leads_since| Seat {
            group: GroupId(group),
            leads_since,
        };
        let facts = NodeFacts {
            region: "eu".to_owned(),
            client: "10.0.0.2:6379".to_owned(),
            cluster: String::new(),
            peer: "10.0.0.2:7379".to_owned(),
            key: PublicKey::new([0xab; 32]),
            disk: 7,
            seats: vec![seat(0, None), seat(1, Some(9)), seat(2, Some(4))],
            directory: 99,
        };
        MemberStatus {
            node: NodeId(2),
            incarnation: 1_700,
            facts,
            liveness,
            liveness_ms: 250,
            suspicion: 0.456,
            silent_ms: 31,
        }
    }

    fn shown(status: &MemberStatus, own_directory: u64) -> String {
        let fields = fields(status, own_directory, &|group| format!("g{}", group.0));
        let shown = fields.iter().map(|(name, value)| match value {
            Value::Text(text) => format!("{name}={text}"),
            Value::Number(number) => format!("{name}={number}"),
            Value::Level(level) => format!("{name}={level}"),
            Value::Names(names) => format!("{name}={}", names.join(",")),
        });
        shown.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_node_is_shown_as_it_says_and_as_its_silence_is_judged() {
        let key = "ab".repeat(32);
        assert_eq!(
            shown(&status(Liveness::Alive), 99),
            format!(
                "state=alive state-age-ms=250 suspicion=0.46 silent-ms=31 region=eu \
                 client=10.0.0.2:6379 cluster= peer=10.0.0.2:7379 incarnation=1700 leads=g1,g2 \
                 follows=g0 directory=same key={key}"
            )
        );
        let suspect = shown(&status(Liveness::Suspect), 98);
        assert!(suspect.starts_with("state=suspect "), "{suspect}");
        assert!(suspect.contains(" directory=differs "), "{suspect}");
    }
}
