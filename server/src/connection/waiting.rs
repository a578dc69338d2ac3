//! A request that may wait in a group's state, as its client's node sees it: where it waits, since
//! when, and what can be known about it.
//!
//! What is asked of the group is [`ask`](Waiting::ask), which makes the request, `look`, which
//! fetches a reply that was kept, and `end`, which has the waiter removed. A `Waiting` that is
//! dropped before it is settled leaves an [`Orphan`], so that nothing stays behind in the group.

use std::rc::Rc;
use std::time::Duration;

use bailiwick_frame::{Args, Encoder, Protocol};
use bailiwick_replication::GroupId;

use super::ask::{ask, nanos_of, prepared};
use super::orphans::Orphan;
use crate::commands::{Blocked, Flag, Known, Unblocked};
use crate::group::bells::{Bell, Call};
use crate::group::{Arguments, Proposal, ROOT_GROUP};
use crate::state::WaiterId;
use crate::worker::Worker;

/// How often it is looked whether a script has let go of a group's state.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// For `_BLOCK`: the client arrives now.
const NOW: i64 = 0;

/// The error of a request of which nobody knows whether it was served.
pub(super) const UNCERTAIN: &str = "UNCERTAIN The command waited for keys, and whether it was \
                                    served could not be learnt: it may have been done. Read the \
                                    keys before repeating it";

/// What came of `_BLOCK` or `_LOOK`.
pub(super) enum Asked {
    Waits,
    Replied(Vec<u8>),
    /// It waits no longer, and its reply is not there.
    Gone,
    /// The group could not be asked, and has done nothing.
    Refused(Vec<u8>),
    /// Nobody knows.
    Unknown(Vec<u8>),
}

/// What came of `_UNBLOCK`.
enum Ended {
    /// It was not served and will not be.
    Empty,
    Replied(Vec<u8>),
    Unknown,
}

/// A request that may wait in a group's state.
pub(super) struct Waiting {
    worker: Rc<Worker>,
    pub(super) bell: Bell,
    database: usize,
    protocol: Protocol,
    request: Arguments,
    key: Vec<u8>,
    /// Where it waits, if anywhere.
    group: GroupId,
    /// When it arrived, once a group has said so.
    arrival_ms: i64,
    /// The reply has to be fetched.
    pub(super) is_kept: bool,
    pub(super) was_asked: bool,
    /// A message may have been lost with the reply in it.
    pub(super) is_doubtful: bool,
    /// For certain no group has it.
    pub(super) is_settled: bool,
    /// How long it took to execute.
    pub(super) nanos: u64,
}

impl Waiting {
    pub(super) fn new(
        worker: &Rc<Worker>,
        bell: Bell,
        (database, protocol): (usize, Protocol),
        (args, key): (Args<'_>, &[u8]),
    ) -> Self {
        let mut request = Arguments::default();
        request.push(args);
        Self {
            worker: worker.clone(),
            bell,
            database,
            protocol,
            request,
            key: key.to_vec(),
            group: owner_of(worker, key),
            arrival_ms: NOW,
            is_kept: false,
            was_asked: false,
            is_doubtful: false,
            is_settled: false,
            nanos: 0,
        }
    }

    /// Makes the request.
    pub(super) async fn ask(&mut self, command: Known) -> Asked {
        let name: &[u8] = match command.has(Flag::Denyoom) {
            true => b"_BLOCKGROW",
            false => b"_BLOCK",
        };
        let protocol: &[u8] = match self.protocol {
            Protocol::Resp2 => b"2",
            Protocol::Resp3 => b"3",
        };
        let (id, arrival) = (words_of(self.bell.id()), self.arrival_ms.to_string());
        let head = std::iter::once(name).chain(id.iter().map(String::as_bytes));
        let head = head.chain([protocol, arrival.as_bytes()]);
        let mut asking = Arguments::default();
        asking.push_all(head.chain(self.request.get(0).iter()));
        self.bell.waits_in(None);
        self.group = owner_of(&self.worker, &self.key);
        let answered = ask(&self.worker, asking.get(0), self.database, self.protocol).await;
        self.nanos += nanos_of(&answered);
        self.group = answered.group;
        self.judge(&answered).await
    }

    /// Asks the group where it waits after its reply.
    pub(super) async fn look(&mut self) -> Asked {
        self.bell.waits_in(None);
        let answered = ask_after(&self.worker, b"_LOOK", self.bell.id(), self.group).await;
        self.judge(&answered).await
    }

    async fn judge(&mut self, answered: &Proposal) -> Asked {
        let reply = &answered.replies;
        if let Blocked::Waits { arrival_ms, kept } = Blocked::of_reply(reply) {
            (self.arrival_ms, self.is_kept) = (arrival_ms, kept);
            self.pin(reply);
            self.note_place(answered.group).await;
            return Asked::Waits;
        }
        if reply.starts_with(b"+GONE") {
            return Asked::Gone;
        }
        if reply.starts_with(b"-UNCERTAIN") {
            return Asked::Unknown(reply.clone());
        }
        let refusals: [&[u8]; 5] = [
            b"-BUSY",
            b"-CLUSTERDOWN",
            b"-TRYAGAIN",
            b"-MISCONF",
            b"-OOM",
        ];
        if refusals.iter().any(|refusal| reply.starts_with(refusal)) {
            self.is_settled = !self.was_asked;
            return Asked::Refused(reply.clone());
        }
        self.is_settled = true;
        Asked::Replied(reply.clone())
    }

    /// If the request has to be made anew, it goes on behind the entries that there were.
    fn pin(&mut self, reply: &[u8]) {
        let ids: Vec<&[u8]> = Blocked::ids(reply).collect();
        let request = self.request.get(0);
        if let Some(before) = request.len().checked_sub(ids.len())
            && !ids.is_empty()
        {
            let mut pinned = Arguments::default();
            pinned.push_all(request.iter().take(before).chain(ids));
            self.request = pinned;
        }
    }

    /// It waits in the group that has answered. If this node applies that group's log, the bell
    /// will be rung, or has been.
    async fn note_place(&self, group: GroupId) {
        if self.is_kept {
            return;
        }
        self.bell.waits_in(Some(group));
        let is_there = loop {
            let Some(seat) = self.worker.node.seats.get(group) else {
                break false;
            };
            // A script may have the state for long, and others wait for this thread.
            if let Some(state) = seat.state_unless_held() {
                break state.waiters.get(self.bell.id()).is_some();
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        };
        if !is_there {
            // Served or dismissed already, unless the state was replaced in between.
            self.bell.ring_if_silent(Call::Lost);
        }
    }

    /// Whether whoever serves it rings the bell for certain.
    pub(super) fn is_looked_after(&self) -> bool {
        let Some(group) = self.bell.group() else {
            return false;
        };
        let seat = self.worker.node.seats.get(group);
        seat.is_some_and(|seat| seat.standing().takes_part())
    }

    /// Ends the waiting: the reply if it was served, or else what `otherwise` writes.
    pub(super) async fn end(&mut self, otherwise: impl FnOnce(&mut Encoder<'_>)) -> Vec<u8> {
        match self.give_up().await {
            Ended::Replied(reply) => reply,
            Ended::Unknown => self.error(UNCERTAIN),
            Ended::Empty => {
                let mut reply = Vec::new();
                otherwise(&mut Encoder::new(&mut reply, self.protocol));
                reply
            }
        }
    }

    /// Ends the waiting: the reply if there is one.
    pub(super) async fn end_if_served(&mut self) -> Option<Vec<u8>> {
        match self.give_up().await {
            Ended::Replied(reply) => Some(reply),
            Ended::Empty | Ended::Unknown => None,
        }
    }

    async fn give_up(&mut self) -> Ended {
        let worker = self.worker.clone();
        let answered = give_up(&worker, &self.orphan()).await;
        if is_unanswered(&answered.replies) {
            return Ended::Unknown;
        }
        self.is_settled = true;
        match (Unblocked::of_reply(&answered.replies), self.bell.take()) {
            (Unblocked::Replied, _) => Ended::Replied(answered.replies.clone()),
            (_, Some(Call::Done(reply))) => Ended::Replied(reply.to_vec()),
            (_, Some(Call::Lost)) => Ended::Unknown,
            (Unblocked::Removed, _) => Ended::Empty,
            (Unblocked::Gone, _) if self.is_doubtful => Ended::Unknown,
            (Unblocked::Gone, _) => Ended::Empty,
        }
    }

    pub(super) fn error(&self, text: &str) -> Vec<u8> {
        let mut reply = Vec::new();
        Encoder::new(&mut reply, self.protocol).error(text);
        reply
    }

    fn orphan(&self) -> Orphan {
        Orphan::new(self.bell.id(), self.group, self.key.clone())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if !self.is_settled {
            self.worker.orphans.add(self.orphan());
        }
    }
}

/// Whether a group could not be asked.
pub(super) fn is_unanswered(reply: &[u8]) -> bool {
    let codes: [&[u8]; 6] = [
        b"-BUSY",
        b"-UNCERTAIN",
        b"-CLUSTERDOWN",
        b"-TRYAGAIN",
        b"-MISCONF",
        b"-CROSSSLOT",
    ];
    codes.iter().any(|code| reply.starts_with(code))
}

/// Has a waiter removed: from where it waits as far as is known, and from where its key is.
pub(super) async fn give_up(worker: &Rc<Worker>, orphan: &Orphan) -> Box<Proposal> {
    let answered = ask_after(worker, b"_UNBLOCK", orphan.id, orphan.group).await;
    let owner = owner_of(worker, &orphan.key);
    if owner == orphan.group || Unblocked::of_reply(&answered.replies) != Unblocked::Gone {
        return answered;
    }
    ask_after(worker, b"_UNBLOCK", orphan.id, owner).await
}

/// Asks a group about a waiter.
async fn ask_after(
    worker: &Rc<Worker>,
    name: &[u8],
    id: WaiterId,
    group: GroupId,
) -> Box<Proposal> {
    let words = words_of(id);
    let mut asking = Arguments::default();
    asking.push_all(std::iter::once(name).chain(words.iter().map(String::as_bytes)));
    let (ticket, mut proposal, _) = prepared(worker, asking.get(0), 0, Protocol::Resp2);
    proposal.group = group;
    ticket.submit(proposal).await
}

/// The group that serves a key, as far as this node knows.
fn owner_of(worker: &Worker, key: &[u8]) -> GroupId {
    let routes = worker.node.routes();
    routes.map_or(ROOT_GROUP, |routes| routes.group_of(key))
}

fn words_of(id: WaiterId) -> [String; 3] {
    [
        id.node.to_string(),
        id.incarnation.to_string(),
        id.number.to_string(),
    ]
}
