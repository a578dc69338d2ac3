//! A request that may wait in a group's state: what its [`Vigil`] asks is asked here.
//!
//! A `Waiting` that is dropped before it is settled leaves an
//! [`Orphan`](crate::routing::orphan::Orphan), so that nothing stays behind in the group.

use std::rc::Rc;
use std::time::Duration;

use bailiwick_frame::{Args, Protocol};
use bailiwick_replication::GroupId;

use super::ask::{ask, nanos_of, prepared};
use crate::commands::{Blocked, Known};
use crate::group::bells::Bell;
use crate::group::{Arguments, Proposal, ROOT_GROUP};
use crate::routing::vigil::{Event, Step, Surroundings, Vigil};
use crate::state::WaiterId;
use crate::worker::Worker;

/// How often it is looked whether a script has let go of a group's state.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// A request that may wait in a group's state.
pub(super) struct Waiting {
    worker: Rc<Worker>,
    vigil: Vigil,
    database: usize,
    protocol: Protocol,
    /// How long it took to execute.
    pub(super) nanos: u64,
}

impl Waiting {
    pub(super) fn new(
        worker: &Rc<Worker>,
        bell: Bell,
        (database, protocol): (usize, Protocol),
        command: Known,
        (args, key): (Args<'_>, &[u8]),
    ) -> Self {
        Self {
            worker: worker.clone(),
            vigil: Vigil::new(bell, protocol, command, (args, key)),
            database,
            protocol,
            nanos: 0,
        }
    }

    pub(super) fn begin(&mut self, has_looked: bool) -> Step {
        self.vigil.begin(has_looked, &*self.worker)
    }

    /// Has a request executed; what is to be done after that.
    pub(super) async fn ask(&mut self, words: &Arguments, group: Option<GroupId>) -> Step {
        let worker = self.worker.clone();
        let answered = match group {
            Some(group) => ask_after(&worker, words, group).await,
            None => {
                let answered = ask(&worker, words.get(0), self.database, self.protocol).await;
                self.nanos += nanos_of(&answered);
                answered
            }
        };
        // It is looked for in the state now, which a script may have for long, and others wait for
        // this thread.
        let waits = matches!(Blocked::of_reply(&answered.replies), Blocked::Waits { .. });
        let is_held = || {
            let seat = worker.node.seats.get(answered.group);
            seat.is_some_and(|seat| seat.state_unless_held().is_none())
        };
        while waits && is_held() {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        let vigil = &mut self.vigil;
        vigil.answered(answered.group, &answered.replies, &*worker)
    }

    pub(super) fn happened(&mut self, event: Event) -> Step {
        self.vigil.happened(event, &*self.worker)
    }

    pub(super) fn bell(&self) -> &Bell {
        self.vigil.bell()
    }

    /// Whether whoever serves it rings the bell for certain.
    pub(super) fn is_looked_after(&self) -> bool {
        self.vigil.is_looked_after(&*self.worker)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(orphan) = self.vigil.left_behind() {
            let author = self.bell().id().author();
            self.worker.node.notices.tracking.doubt(author.number);
            self.worker.orphans.add(orphan);
        }
    }
}

impl Surroundings for Worker {
    fn owner_of(&self, key: &[u8]) -> GroupId {
        let routes = self.node.routes();
        routes.map_or(ROOT_GROUP, |routes| routes.group_of(key))
    }

    fn waits_in(&self, group: GroupId, id: WaiterId) -> bool {
        let seat = self.node.seats.get(group);
        seat.is_some_and(|seat| seat.state().waiters.get(id).is_some())
    }

    fn takes_part(&self, group: GroupId) -> bool {
        let seat = self.node.seats.get(group);
        seat.is_some_and(|seat| seat.standing().takes_part())
    }
}

/// Asks a group about a waiter.
pub(super) async fn ask_after(
    worker: &Rc<Worker>,
    words: &Arguments,
    group: GroupId,
) -> Box<Proposal> {
    let (ticket, mut proposal, _) = prepared(worker, words.get(0), 0, Protocol::Resp2);
    proposal.group = group;
    ticket.submit(proposal).await
}
