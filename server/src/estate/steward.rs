//! The steward: what the leader of a group owes to the root group.
//!
//! The root group keeps who is in which group, so that all nodes can be told; the leader of a group
//! whose members have changed tells it. What fails is tried again at the next look.

use std::sync::Arc;
use std::time::Duration;

use bailiwick_replication::GroupId;
use bailiwick_replication::consensus::Configuration;
use parking_lot::{Condvar, Mutex};

use crate::directory::{ROOT_GROUP, View};
use crate::group::Group;
use crate::node::Node;
use crate::routing::errand;

/// From look to look.
const TICK: Duration = Duration::from_millis(200);

/// Ends the thread.
#[derive(Default)]
pub(super) struct Steward {
    closed: Mutex<bool>,
    changed: Condvar,
}

impl Steward {
    pub(super) fn close(&self) {
        *self.closed.lock() = true;
        self.changed.notify_one();
    }

    /// The thread.
    pub(super) fn run(&self, node: &Arc<Node>) {
        loop {
            {
                let mut closed = self.closed.lock();
                if !*closed {
                    self.changed.wait_for(&mut closed, TICK);
                }
                if *closed {
                    return;
                }
            }
            let seats = node.seats.all();
            let led = seats.values().filter(|group| group.standing().leads());
            for group in Vec::from_iter(led.cloned()) {
                report_members(node, &group);
            }
        }
    }
}

/// Tells the root group of a group's members, if the directory does not know them yet.
fn report_members(node: &Node, group: &Group) {
    let (Some(estate), Some(seat)) = (node.estate(), group.seat()) else {
        return;
    };
    let Some(present) = seat.configuration() else {
        return;
    };
    let Some(words) = report(&estate.directory.view(), group.id(), &present) else {
        return;
    };
    let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
    if let Err(failure) = errand::run(node, ROOT_GROUP, &words) {
        tracing::debug!(group = group.id().0, %failure, "the root group was not told of members");
    }
}

/// What the root group is to be told of a group's members; `None` if the directory knows them.
#[must_use]
pub fn report(view: &View, group: GroupId, present: &Configuration) -> Option<Vec<Vec<u8>>> {
    let known = view.group(group).map(|known| known.configuration);
    let number = u64::from(present.id.0);
    if number == 0 || known.is_some_and(|known| known >= number) {
        return None;
    }
    let mut words = vec![
        "_MEMBERS".to_owned(),
        group.0.to_string(),
        number.to_string(),
    ];
    let members = present.members.iter();
    words.extend(members.map(|member| format!("{}:{}", member.node.0, member.disk)));
    Some(words.into_iter().map(String::into_bytes).collect())
}
