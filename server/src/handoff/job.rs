//! The loops around the state machines: one job, on a thread of its own.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bailiwick_replication::GroupId;

use super::progress::{Progress, Sample};
use super::step::{Answer, End, Step};
use super::{Key, Kind, Parent, Source, bootstrap};
use crate::group::Group;
use crate::node::Node;
use crate::routing::errand;

/// How often the destination is asked whether it serves.
const POLL: Duration = Duration::from_millis(10);
/// How long a delegation is looked after before others have their turn.
const TURN: Duration = Duration::from_secs(2);

/// Does a job, as far as it gets.
pub(super) fn run(node: &Arc<Node>, key: &Key, progress: &Progress) -> End {
    let Some(group) = node.seats.get(key.group) else {
        return End::Done;
    };
    match key.kind {
        Kind::Bootstrap => bootstrap::run(node, &group),
        Kind::Source => hand_over(node, &group, &key.prefix, progress),
        Kind::Parent => look_after(node, &group, &key.prefix),
    }
}

/// Makes one attempt to hand a prefix over.
fn hand_over(node: &Node, group: &Group, prefix: &[u8], progress: &Progress) -> End {
    let shown = prefix.escape_ascii().to_string();
    let Some(host) = node.host() else {
        return End::Done;
    };
    tracing::info!(
        prefix = shown,
        group = group.id().0,
        "handing a prefix over"
    );
    let mut source = Source::new(group.id(), host.me().node, prefix);
    // What was sent and has no answer yet.
    let mut sent = VecDeque::new();
    let mut answer = None;
    let end = loop {
        if !may_go_on(node, group) {
            break End::Later;
        }
        let step = source.next(&group.state(), answer.take());
        let (keys, bytes) = source.sent();
        progress.note(Sample {
            phase: source.stage().name(),
            keys,
            bytes,
        });
        match step {
            Step::Ask { group, command } => {
                sent.clear();
                answer = Some(ask(node, group, &command));
            }
            Step::Send { group, command } => {
                sent.push_back(send(node, group, &command));
                if !source.sends_ahead() {
                    answer = sent.pop_front().map(errand::Sent::wait);
                }
            }
            Step::Await => answer = sent.pop_front().map(errand::Sent::wait),
            Step::End(end) => break end,
        }
    };
    group.state().keyspace.untrack_changes(prefix);
    let (keys, bytes) = source.sent();
    let ms = progress.since.elapsed().as_millis();
    match &end {
        End::Done => tracing::info!(prefix = shown, keys, bytes, ms, "a prefix was handed over"),
        End::Later => {}
        End::Failed(reason) => {
            tracing::warn!(
                prefix = shown,
                reason,
                "a prefix was not handed over; trying again"
            );
        }
    }
    end
}

/// Looks after a delegation until it has changed hands, or others have their turn.
fn look_after(node: &Node, group: &Group, prefix: &[u8]) -> End {
    let until = Instant::now() + TURN;
    let mut leaves = false;
    loop {
        let mut parent = Parent::new(group.id(), prefix, leaves);
        let mut answer = None;
        let end = loop {
            if !may_go_on(node, group) {
                break End::Later;
            }
            // In a statement of its own, which lets go of the state before anything is asked.
            let step = parent.next(&group.state(), answer.take());
            match step {
                Step::Ask { group, command } => answer = Some(ask(node, group, &command)),
                Step::Send { .. } | Step::Await => unreachable!("only a source sends"),
                Step::End(end) => break end,
            }
        };
        leaves |= parent.source_leaves();
        let goes_on = end == End::Later && Instant::now() < until && may_go_on(node, group);
        if !goes_on || !node.handoffs.pause(POLL) {
            return end;
        }
    }
}

fn may_go_on(node: &Node, group: &Group) -> bool {
    group.standing().leads() && !node.handoffs.is_closed()
}

fn ask(node: &Node, group: GroupId, command: &[Vec<u8>]) -> Answer {
    send(node, group, command).wait()
}

fn send(node: &Node, group: GroupId, command: &[Vec<u8>]) -> errand::Sent {
    let args: Vec<&[u8]> = command.iter().map(Vec::as_slice).collect();
    errand::send(node, group, &args)
}
