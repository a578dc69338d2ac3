//! A request that may wait in a group's state, as its client's node sees it: where it waits, since
//! when, what can be known about it, and what is to be done next.
//!
//! A [`Vigil`] asks (`_BLOCK` makes the request, `_LOOK` fetches a reply that was kept, `_UNBLOCK`
//! has the waiter removed) and then awaits what may end it: its bell, its time, an order. It does
//! none of that itself: it says what to do ([`Step`]), and is told what came of it. So connections
//! and the simulator drive the same decisions.
//!
//! **What only reads** (XREAD) is asked as a read first, which needs no log, and by `_BLOCK` only if
//! it finds nothing; unless nothing is there for certain, as behind `$`.
//!
//! **The log decides.** Whoever wants the waiting to end says so by `_UNBLOCK`, which finds the
//! request either waiting still, and then nothing was done for it, or served before; then that
//! reply is the client's, although its time was over.
//!
//! Invariant: a vigil is settled only if for certain no group has its waiter. One that ends
//! unsettled leaves an [`Orphan`], which has to be given up until it is gone.
//!
//! Not here: sockets, clocks, and the way of a request to its group (`connection`); who is served
//! (`state::waiters`).

use std::time::Duration;

use bailiwick_frame::{Args, Encoder, Protocol};
use bailiwick_replication::GroupId;

use super::orphan::{Orphan, about, is_unanswered, words_of};
use crate::commands::{Blocked, Flag, Handler, Known, Unblocked, wants_only_new};
use crate::group::Arguments;
use crate::group::bells::{Bell, Call};
use crate::group::planted::{self, Planted};
use crate::state::WaiterId;

/// How often it is looked whether a reply is there that nobody has said anything of.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// After so long a group is asked again that could not be asked.
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// For `_BLOCK`: the client arrives now.
const NOW: i64 = 0;

/// The error of a request of which nobody knows whether it was served.
const UNCERTAIN: &str = "UNCERTAIN The command waited for keys, and whether it was served could \
                         not be learnt: it may have been done. Read the keys before repeating it";
const UNBLOCKED: &str = "UNBLOCKED client unblocked via CLIENT UNBLOCK";

/// What a vigil knows of its node.
pub trait Surroundings {
    /// The group that serves a key, as far as this node knows.
    fn owner_of(&self, key: &[u8]) -> GroupId;
    /// Whether a request waits in the state of a group that this node has.
    fn waits_in(&self, group: GroupId, id: WaiterId) -> bool;
    /// Whether this node applies a group's log as its member.
    fn takes_part(&self, group: GroupId) -> bool;
}

/// What is to be done next.
#[derive(Debug)]
pub enum Step {
    /// A request is to be executed, and what came of it to be [told](Vigil::answered).
    Ask {
        /// The request.
        words: Arguments,
        /// By this group; otherwise by that of its keys, wherever those are.
        group: Option<GroupId>,
    },
    /// Something is to [happen](Vigil::happened).
    Await {
        /// If nothing else does within this time, and nobody
        /// [looks after it](Vigil::is_looked_after), [`Event::Look`].
        look_after: Duration,
    },
    /// It is over, and this is the reply.
    Reply(Vec<u8>),
    /// It is over without one.
    Close,
}

/// Why a wait is over, or is to be looked after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The bell.
    Rung(Call),
    /// Its time is over.
    TimeOut,
    /// By `CLIENT UNBLOCK`.
    Ordered {
        /// The client is to be told so.
        with_error: bool,
    },
    /// The node ends.
    Shutdown,
    /// There was nothing for a while.
    Look,
}

/// What a client is answered that was not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Otherwise {
    Null,
    Unblocked,
    Nothing,
}

/// What is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doing {
    /// The request, as a read.
    Reading,
    /// `_BLOCK`, or a wait for something before it is tried again.
    Asking,
    /// `_LOOK`, or a wait.
    Looking,
    /// `_UNBLOCK`.
    Leaving {
        otherwise: Otherwise,
        asked_owner: bool,
    },
}

/// What came of `_BLOCK` or `_LOOK`.
enum Asked {
    Waits,
    Replied(Vec<u8>),
    /// It waits no longer, and its reply is not there.
    Gone,
    /// The group could not be asked, and has done nothing.
    Refused(Vec<u8>),
    /// Nobody knows.
    Unknown(Vec<u8>),
}

/// A request that may wait in a group's state.
pub struct Vigil {
    bell: Bell,
    protocol: Protocol,
    /// `_BLOCK` or `_BLOCKGROW`.
    name: &'static [u8],
    only_reads: bool,
    request: Arguments,
    key: Vec<u8>,
    /// Where it waits, if anywhere.
    group: GroupId,
    /// When it arrived, once a group has said so.
    arrival_ms: i64,
    /// The reply has to be fetched.
    is_kept: bool,
    was_asked: bool,
    /// A message may have been lost with the reply in it.
    is_doubtful: bool,
    is_settled: bool,
    /// How often the request was made.
    asks: u32,
    doing: Doing,
}

impl Vigil {
    /// Of a request whose first key is `key`.
    #[must_use]
    pub fn new(
        bell: Bell,
        protocol: Protocol,
        command: Known,
        (args, key): (Args<'_>, &[u8]),
    ) -> Self {
        let mut request = Arguments::default();
        request.push(args);
        Self {
            bell,
            protocol,
            name: match command.has(Flag::Denyoom) {
                true => b"_BLOCKGROW",
                false => b"_BLOCK",
            },
            only_reads: matches!(command.handler, Handler::Read(_)),
            request,
            key: key.to_vec(),
            group: crate::group::ROOT_GROUP,
            arrival_ms: NOW,
            is_kept: false,
            was_asked: false,
            is_doubtful: false,
            is_settled: false,
            asks: 0,
            doing: Doing::Asking,
        }
    }

    /// The first step; `has_looked` says that there was nothing for the request just now.
    pub fn begin(&mut self, has_looked: bool, around: &impl Surroundings) -> Step {
        let request = self.request.get(0);
        if has_looked || !self.only_reads || wants_only_new(request) {
            return self.ask(around);
        }
        let mut words = Arguments::default();
        words.push(request);
        (self.doing, self.is_settled) = (Doing::Reading, true);
        Step::Ask { words, group: None }
    }

    /// Its bell, which is to be listened to while it awaits something.
    #[must_use]
    pub fn bell(&self) -> &Bell {
        &self.bell
    }

    /// Its first key.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// The group that was asked last.
    #[must_use]
    pub fn group(&self) -> GroupId {
        self.group
    }

    /// How often the request was made: more than once if its keys have moved, for example.
    #[must_use]
    pub fn asks(&self) -> u32 {
        self.asks
    }

    /// Whether a group has said that it waits.
    #[must_use]
    pub fn has_arrived(&self) -> bool {
        self.arrival_ms != NOW
    }

    /// A group has answered what it was asked last.
    pub fn answered(&mut self, group: GroupId, reply: &[u8], around: &impl Surroundings) -> Step {
        match self.doing {
            Doing::Reading if is_null(reply) => return self.ask(around),
            Doing::Reading => return Step::Reply(reply.to_vec()),
            Doing::Asking => self.group = group,
            Doing::Looking => {}
            Doing::Leaving {
                otherwise,
                asked_owner,
            } => return self.left(otherwise, asked_owner, reply, around),
        }
        let asked = self.judge(group, reply, around);
        let is_first = !std::mem::replace(&mut self.was_asked, true);
        let mut look_after = LOOK_AGAIN;
        match asked {
            Asked::Replied(reply) => return Step::Reply(reply),
            Asked::Waits => (self.doing, self.is_doubtful) = (Doing::Looking, false),
            Asked::Gone if self.is_doubtful => return self.uncertain(),
            Asked::Gone => return self.ask(around),
            Asked::Refused(reply) | Asked::Unknown(reply) if is_first => return Step::Reply(reply),
            Asked::Refused(_) => look_after = ASK_AGAIN,
            Asked::Unknown(_) => {
                // Was it the fetching of the reply that got lost?
                self.is_doubtful = true;
                self.doing = Doing::Looking;
                look_after = ASK_AGAIN;
            }
        }
        Step::Await { look_after }
    }

    /// Something has happened that it awaited.
    pub fn happened(&mut self, event: Event, around: &impl Surroundings) -> Step {
        match event {
            Event::Rung(Call::Done(reply)) => {
                self.is_settled = true;
                Step::Reply(reply.to_vec())
            }
            Event::Rung(Call::Again) => self.ask(around),
            Event::Rung(Call::Lost) => self.uncertain(),
            Event::Rung(Call::Look) => self.ask_again(around),
            Event::Look => {
                // Whoever is no member any more may have missed that it was served.
                self.is_doubtful |= self.doing == Doing::Looking && !self.is_kept;
                self.ask_again(around)
            }
            Event::Ordered { with_error: true } => self.leave(Otherwise::Unblocked),
            Event::TimeOut | Event::Ordered { with_error: false } => self.leave(Otherwise::Null),
            Event::Shutdown => self.leave(Otherwise::Nothing),
        }
    }

    /// Whether whoever serves it rings the bell for certain.
    pub fn is_looked_after(&self, around: &impl Surroundings) -> bool {
        let group = self.bell.group();
        group.is_some_and(|group| around.takes_part(group))
    }

    /// What stays behind in a group if nobody keeps this vigil any longer.
    #[must_use]
    pub fn left_behind(&self) -> Option<Orphan> {
        let orphan = || Orphan::new(self.bell.id(), self.group, self.key.clone());
        (!self.is_settled).then(orphan)
    }

    fn ask_again(&mut self, around: &impl Surroundings) -> Step {
        match self.doing {
            Doing::Looking => self.look(),
            _ => self.ask(around),
        }
    }

    /// Makes the request.
    fn ask(&mut self, around: &impl Surroundings) -> Step {
        let protocol: &[u8] = match self.protocol {
            Protocol::Resp2 => b"2",
            Protocol::Resp3 => b"3",
        };
        let (id, arrival) = (words_of(self.bell.id()), self.arrival_ms.to_string());
        let head = std::iter::once(self.name).chain(id.iter().map(String::as_bytes));
        let head = head.chain([protocol, arrival.as_bytes()]);
        let mut words = Arguments::default();
        words.push_all(head.chain(self.request.get(0).iter()));
        self.bell.waits_in(None);
        self.group = around.owner_of(&self.key);
        self.asks += 1;
        (self.doing, self.is_settled) = (Doing::Asking, false);
        Step::Ask { words, group: None }
    }

    /// Asks the group where it waits after its reply.
    fn look(&mut self) -> Step {
        self.bell.waits_in(None);
        Step::Ask {
            words: about(b"_LOOK", self.bell.id()),
            group: Some(self.group),
        }
    }

    /// Ends the waiting.
    fn leave(&mut self, otherwise: Otherwise) -> Step {
        self.doing = Doing::Leaving {
            otherwise,
            asked_owner: false,
        };
        Step::Ask {
            words: about(b"_UNBLOCK", self.bell.id()),
            group: Some(self.group),
        }
    }

    fn left(
        &mut self,
        otherwise: Otherwise,
        asked_owner: bool,
        reply: &[u8],
        around: &impl Surroundings,
    ) -> Step {
        if !asked_owner
            && let Some(orphan) = self.left_behind()
            && let Some(owner) = orphan.who_else(reply, around)
        {
            self.doing = Doing::Leaving {
                otherwise,
                asked_owner: true,
            };
            return Step::Ask {
                words: orphan.words(),
                group: Some(owner),
            };
        }
        let nobody_knows = match otherwise {
            Otherwise::Nothing => Step::Close,
            _ => self.uncertain(),
        };
        if is_unanswered(reply) {
            return nobody_knows;
        }
        self.is_settled = true;
        match (Unblocked::of_reply(reply), self.bell.take()) {
            _ if planted::is_on(Planted::ServedAtTimeOut) => self.not_served(otherwise),
            (Unblocked::Replied, _) => Step::Reply(reply.to_vec()),
            (_, Some(Call::Done(reply))) => Step::Reply(reply.to_vec()),
            (_, Some(Call::Lost)) => nobody_knows,
            (Unblocked::Removed, _) => self.not_served(otherwise),
            (Unblocked::Gone, _) if self.is_doubtful => nobody_knows,
            (Unblocked::Gone, _) => self.not_served(otherwise),
        }
    }

    /// It was not served and will not be.
    fn not_served(&self, otherwise: Otherwise) -> Step {
        let mut reply = Vec::new();
        let mut out = Encoder::new(&mut reply, self.protocol);
        match otherwise {
            Otherwise::Null => out.null_array(),
            Otherwise::Unblocked => out.error(UNBLOCKED),
            Otherwise::Nothing => return Step::Close,
        }
        Step::Reply(reply)
    }

    fn uncertain(&self) -> Step {
        let mut reply = Vec::new();
        Encoder::new(&mut reply, self.protocol).error(UNCERTAIN);
        Step::Reply(reply)
    }

    fn judge(&mut self, group: GroupId, reply: &[u8], around: &impl Surroundings) -> Asked {
        if let Blocked::Waits { arrival_ms, kept } = Blocked::of_reply(reply) {
            (self.arrival_ms, self.is_kept) = (arrival_ms, kept);
            self.pin(reply);
            self.note_place(group, around);
            return Asked::Waits;
        }
        if reply.starts_with(b"+GONE") {
            return Asked::Gone;
        }
        if reply.starts_with(b"-UNCERTAIN") {
            return Asked::Unknown(reply.to_vec());
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
            return Asked::Refused(reply.to_vec());
        }
        self.is_settled = true;
        Asked::Replied(reply.to_vec())
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
    fn note_place(&self, group: GroupId, around: &impl Surroundings) {
        if self.is_kept {
            return;
        }
        self.bell.waits_in(Some(group));
        if !around.waits_in(group, self.bell.id()) {
            // Served or dismissed already, unless the state was replaced in between.
            self.bell.ring_if_silent(Call::Lost);
        }
    }
}

/// Whether a read has found nothing.
fn is_null(reply: &[u8]) -> bool {
    reply == b"*-1\r\n" || reply == b"_\r\n"
}

#[cfg(test)]
#[path = "vigil_tests.rs"]
mod tests;
