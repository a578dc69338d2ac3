//! CLUSTER LINKS: a flat map for the link to each other node.
//!
//! The first fields are Redis's, as far as they make sense: our link is a pair of connections, one
//! each way, so there is one map where Redis has two, with the direction `both`. The others follow,
//! and counters among them start with the process.

use std::time::{Duration, Instant};

use bailiwick_frame::Encoder;
use bailiwick_replication::link::{Class, LinkState, LinkStatus};

use super::{Flow, NodeContext, NodeOutcome};
use crate::commands::CommandError;
use crate::node;

/// Redis's words for a node that runs without a cluster.
pub(super) const NO_CLUSTER: CommandError =
    CommandError::text("ERR This instance has cluster support disabled");

/// What a field holds.
#[derive(Debug, PartialEq, Eq)]
enum Value {
    Text(String),
    Number(u64),
    Unknown,
}

pub(super) fn links(context: &mut NodeContext<'_>) -> NodeOutcome {
    if context.node.settings.cluster().is_none() {
        return Err(NO_CLUSTER);
    }
    let host = context.node.host().ok_or(CommandError::Loading)?;
    let (links, now, now_ms) = (host.link_status(), Instant::now(), node::now_ms());
    let mut out = context.encoder();
    out.array(links.len());
    for link in &links {
        write_map(&fields(link, now, now_ms), &mut out);
    }
    Ok(Flow::Continue)
}

fn write_map(fields: &[(String, Value)], out: &mut Encoder<'_>) {
    out.map(fields.len());
    for (name, value) in fields {
        out.bulk(name.as_bytes());
        match value {
            Value::Text(text) => out.bulk(text.as_bytes()),
            Value::Number(number) => out.integer(i64::try_from(*number).unwrap_or(i64::MAX)),
            Value::Unknown => out.null(),
        }
    }
}

fn fields(link: &LinkStatus, now: Instant, now_ms: i64) -> Vec<(String, Value)> {
    let mut fields = Vec::new();
    let mut add = |name: &str, value| fields.push((name.to_owned(), value));
    let text = |text: &str| Value::Text(text.to_owned());
    let state_ms = millis(now.saturating_duration_since(link.since));
    let is_up = link.state == LinkState::Up;
    let up_since_ms = u64::try_from(now_ms).unwrap_or(0).saturating_sub(state_ms);
    add("direction", text("both"));
    add("node", text(&link.node.to_string()));
    add(
        "create-time",
        Value::Number(if is_up { up_since_ms } else { 0 }),
    );
    add("events", text(events(link)));
    for name in ["send-buffer-allocated", "send-buffer-used"] {
        add(name, Value::Number(link.queued_bytes as u64));
    }
    add("node-id", Value::Number(link.node.0));
    add("address", text(&link.address));
    add("state", text(state_name(link.state)));
    add("state-age-ms", Value::Number(state_ms));
    add("incarnation", known(link.incarnation));
    add("round-trip-us", known(link.round_trip.map(micros)));
    add("queued-frames", Value::Number(link.queued_frames as u64));
    add("queued-bytes", Value::Number(link.queued_bytes as u64));
    for (way, traffic) in [("sent", &link.sent), ("received", &link.received)] {
        for (class, traffic) in Class::ALL.into_iter().zip(traffic) {
            let class = class_name(class);
            add(
                &format!("{way}-{class}-frames"),
                Value::Number(traffic.frames),
            );
            add(
                &format!("{way}-{class}-bytes"),
                Value::Number(traffic.bytes),
            );
        }
    }
    add("connects", Value::Number(link.connects));
    let cuts = link.cuts;
    for (cause, count) in [
        ("closed", cuts.closed),
        ("timeout", cuts.timeout),
        ("malformed", cuts.malformed),
        ("oversized", cuts.oversized),
        ("overflow", cuts.overflow),
        ("refused", cuts.refused),
        ("requested", cuts.requested),
    ] {
        add(&format!("cuts-{cause}"), Value::Number(count));
    }
    let last_error = link.last_error.as_deref();
    add("last-error", last_error.map_or(Value::Unknown, text));
    fields
}

fn known(number: Option<u64>) -> Value {
    number.map_or(Value::Unknown, Value::Number)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// What the link waits for: something to read, and room to write what is queued.
fn events(link: &LinkStatus) -> &'static str {
    match (link.state == LinkState::Up, link.queued_frames) {
        (false, _) => "",
        (true, 0) => "r",
        (true, _) => "rw",
    }
}

fn state_name(state: LinkState) -> &'static str {
    match state {
        LinkState::Connecting => "connecting",
        LinkState::Up => "up",
        LinkState::Refused => "refused",
        LinkState::Down => "down",
    }
}

fn class_name(class: Class) -> &'static str {
    match class {
        Class::Urgent => "urgent",
        Class::Ordered => "ordered",
        Class::Bulk => "bulk",
    }
}

#[cfg(test)]
mod tests {
    use bailiwick_replication::NodeId;
    use bailiwick_replication::link::{Cuts, Traffic};

    use super::*;

    fn link(state: LinkState, since: Instant) -> LinkStatus {
        let traffic = |frames| Traffic {
            frames,
            bytes: 10 * frames,
        };
        LinkStatus {
            node: NodeId(2),
            address: "10.0.0.2:7202".to_owned(),
            state,
            since,
            incarnation: Some(5),
            sent: [1, 2, 3].map(traffic),
            received: [4, 5, 6].map(traffic),
            queued_frames: 1,
            queued_bytes: 99,
            connects: 2,
            cuts: Cuts {
                timeout: 7,
                ..Cuts::default()
            },
            last_error: None,
            round_trip: Some(Duration::from_micros(120)),
        }
    }

    fn shown(link: &LinkStatus, now: Instant) -> String {
        let fields = fields(link, now, 10_000);
        let shown = fields.iter().map(|(name, value)| match value {
            Value::Text(text) => format!("{name}={text}"),
            Value::Number(number) => format!("{name}={number}"),
            Value::Unknown => format!("{name}=?"),
        });
        shown.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_link_is_shown_with_its_state_and_counters() {
        let since = Instant::now();
        let now = since + Duration::from_secs(4);
        assert_eq!(
            shown(&link(LinkState::Up, since), now),
            "direction=both node=2 create-time=6000 events=rw send-buffer-allocated=99 \
             send-buffer-used=99 node-id=2 address=10.0.0.2:7202 state=up state-age-ms=4000 \
             incarnation=5 round-trip-us=120 queued-frames=1 queued-bytes=99 \
             sent-urgent-frames=1 sent-urgent-bytes=10 sent-ordered-frames=2 \
             sent-ordered-bytes=20 sent-bulk-frames=3 sent-bulk-bytes=30 \
             received-urgent-frames=4 received-urgent-bytes=40 received-ordered-frames=5 \
             received-ordered-bytes=50 received-bulk-frames=6 received-bulk-bytes=60 connects=2 \
             cuts-closed=0 cuts-timeout=7 cuts-malformed=0 cuts-oversized=0 cuts-overflow=0 \
             cuts-refused=0 cuts-requested=0 last-error=?"
        );
    }

    #[test]
    fn a_link_that_is_down_was_not_created() {
        let since = Instant::now();
        let mut link = link(LinkState::Down, since);
        link.last_error = Some("connection refused".to_owned());
        let shown = shown(&link, since);
        assert!(shown.contains(" create-time=0 events= "), "{shown}");
        assert!(shown.ends_with(" last-error=connection refused"), "{shown}");
    }
}
