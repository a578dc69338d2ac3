//! The asking side of proxying, without I/O: requests of this node's clients that other groups
//! execute.
//!
//! What waits for a group is packed into *parcels*: reads apart from writes, all clients together.
//! A parcel is sent to one member of the group, the leader if it is known, and again, to another
//! one, when the link breaks, when the member says that it does not serve the group, or when
//! nothing is heard for long. A parcel of writes is a proposal of the group's log with an origin
//! and a sequence, so it is executed once however often it was sent, and whoever is asked again
//! gives the answer of that one time. Parcels of reads can be repeated as they are. Of many large
//! values the answer may be a part: what it leaves out waits again, before all others, for as long
//! as it had.
//!
//! **How it fails.** When no member of the group can be reached, or none answers in time, the
//! clients hear `CLUSTERDOWN` with group and prefix if nothing can have been done, and `UNCERTAIN`
//! otherwise.
//!
//! Invariants: a parcel is in `open` from when it is packed until its clients are answered; no two
//! parcels of a node, be it in different lives, have the same number, reads and writes apart, and a
//! group's. An answer may come late, when the clients were answered by somebody else, or when the
//! node has been started again: it must never be taken for the answer to another parcel.

use std::collections::{BTreeMap, BTreeSet};

use bailiwick_replication::{GroupId, NodeId};
use bytes::Bytes;

use super::lane::{Heard, Kind, Lane, Open, Sent};
use super::outcome;
use super::parcel::{Load, pack_reads, pack_writes};
use super::wire::{Message, Parcel};
use crate::commands::CommandError;
use crate::group::{Item, Proposal, fail_from};
use crate::state::Origin;

/// Requests beyond this many bytes go into the next parcel.
const PARCEL_TARGET_BYTES: usize = 1 << 20;
/// Parcels of a kind that are on their way to a group at once.
const MAX_OPEN: usize = 16;
/// Parcels of one life of the node are numbered from its incarnation, shifted by so many bits.
const LIFE_BITS: u32 = 20;
/// How long a parcel that nobody took waits before somebody else is asked, in nanoseconds.
const RETRY_NS: u64 = 10_000_000;
/// How the reason of a refusal begins that holds for the moment only.
const BUSY: &str = "BUSY ";
/// How long no member of a group may be reachable before its clients hear of it, in nanoseconds.
const UNREACHABLE_NS: u64 = 1_000_000_000;

/// Who is in a group, as the directory has it, and who leads it, as nodes say of themselves.
pub trait Groups {
    /// The members, the nearest first; empty if the group is not known.
    fn members(&self, group: GroupId) -> Vec<NodeId>;
    /// Who says that it leads the group, and when that was heard, on the clock of `now`.
    fn leader(&self, group: GroupId) -> Option<(NodeId, u64)>;
    /// What to call the group, for people, with the prefix that this key has.
    fn describe(&self, group: GroupId, key: Option<&[u8]>) -> String;
}

/// How long things may take, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// How long a client waits.
    pub request_ns: u64,
    /// After so long without an answer a parcel is sent again.
    pub resend_ns: u64,
}

/// All requests that are with other groups.
pub struct Courier {
    origin: Origin,
    patience: Patience,
    /// The number of the last parcel of reads, to whichever group.
    last_read: u64,
    lanes: BTreeMap<GroupId, Lane>,
    up: BTreeSet<NodeId>,
    messages: Vec<(NodeId, Message)>,
    answered: Vec<Box<Proposal>>,
}

impl Courier {
    /// Nothing is under way. The origin must differ in each life of the node.
    #[must_use]
    pub fn new(origin: Origin, patience: Patience) -> Self {
        Self {
            origin,
            patience,
            last_read: origin.incarnation << LIFE_BITS,
            lanes: BTreeMap::new(),
            up: BTreeSet::new(),
            messages: Vec::new(),
            answered: Vec::new(),
        }
    }

    /// Takes proposals; they come back from [`Courier::take_answered`].
    pub fn submit(&mut self, proposals: impl IntoIterator<Item = Box<Proposal>>, now: u64) {
        let deadline = now + self.patience.request_ns;
        for proposal in proposals {
            let lane = self.lanes.entry(proposal.group).or_default();
            // A transaction is one thing, and only the log keeps it together.
            let is_single = |item: &Item| matches!(item, Item::Command { .. });
            let reads = proposal.is_read_only() && proposal.items.iter().all(is_single);
            let kind = if reads {
                &mut lane.reads
            } else {
                &mut lane.writes
            };
            let answered = 0;
            let load = Load { proposal, answered };
            kind.waiting.push_back((deadline, load));
        }
    }

    /// A link is up.
    pub fn link_up(&mut self, node: NodeId) {
        self.up.insert(node);
    }

    /// A link is down: what was sent over it may be lost.
    pub fn link_down(&mut self, node: NodeId) {
        self.up.remove(&node);
        for lane in self.lanes.values_mut() {
            if lane.heard.leader == Some(node) {
                lane.heard = Heard::default();
            }
            for open in lane
                .kinds()
                .into_iter()
                .flat_map(|kind| kind.open.values_mut())
            {
                open.sent = open.sent.take().filter(|sent| sent.to != node);
            }
        }
    }

    /// Handles an answer. What concerns no open parcel is dropped: it was answered before.
    pub fn receive(&mut self, from: NodeId, message: Message, now: u64) {
        match message {
            Message::Done {
                parcel,
                leader,
                body,
            } => {
                self.note_leader(from, parcel.group, leader, now);
                self.done(from, parcel, &body);
            }
            Message::Elsewhere { parcel, leader } => self.elsewhere(from, parcel, leader, now),
            Message::Refused { parcel, reason } => {
                // Who is busy may have taken it another time, and refuses each further copy.
                if reason.starts_with(BUSY) && self.is_to_be_answered_still(parcel) {
                    return;
                }
                let Some(open) = self.take(parcel) else {
                    return;
                };
                // What was sent several times may have been taken once and refused another time.
                let error = if parcel.reads || open.unanswered() <= 1 {
                    CommandError::composed(reason)
                } else {
                    CommandError::UNCERTAIN
                };
                self.fail(open.loads, &error);
            }
            Message::Read { .. } | Message::Write { .. } | Message::Woken { .. } => {}
        }
    }

    /// Packs, sends, sends again, and gives up.
    pub fn advance(&mut self, groups: &(impl Groups + ?Sized), now: u64) {
        let mut lanes = std::mem::take(&mut self.lanes);
        lanes.retain(|&group, lane| {
            if !lane.is_idle() {
                // What was so when somebody last asked need not be so any more.
                if lane.unreachable_since.is_some() && !self.reachable(group, groups).is_empty() {
                    lane.unreachable_since = None;
                }
                self.give_up(group, lane, groups, now);
                self.pack(lane);
                self.send(group, lane, groups, now);
            }
            // Sequences count up for as long as the node lives, so a lane that sent writes stays.
            !lane.is_idle() || lane.writes.last > 0
        });
        self.lanes = lanes;
    }

    /// What is to be sent.
    pub fn take_messages(&mut self) -> Vec<(NodeId, Message)> {
        std::mem::take(&mut self.messages)
    }

    /// Answered proposals, to be delivered.
    pub fn take_answered(&mut self) -> &mut Vec<Box<Proposal>> {
        &mut self.answered
    }

    /// Whether nothing is under way.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.lanes.values().all(Lane::is_idle)
    }

    /// Who leads a group, as was heard last: from its members when they were asked for something,
    /// or from a node to which there is a link and that says so of itself.
    #[must_use]
    pub fn leader(&self, group: GroupId, groups: &(impl Groups + ?Sized)) -> Option<NodeId> {
        let heard = self.lanes.get(&group).map(|lane| lane.heard);
        self.latest(heard.unwrap_or_default(), group, groups)
    }
}

impl Courier {
    /// Notes that one copy of a parcel was not taken; true if that is not known of all of them.
    fn is_to_be_answered_still(&mut self, parcel: Parcel) -> bool {
        let lane = self.lanes.get_mut(&parcel.group);
        let open = lane.and_then(|lane| lane.kind(parcel.reads).open.get_mut(&parcel.id));
        open.is_some_and(|open| {
            open.bounced = (open.bounced + 1).min(open.times);
            !parcel.reads && open.was_taken()
        })
    }

    fn take(&mut self, parcel: Parcel) -> Option<Open> {
        let lane = self.lanes.get_mut(&parcel.group)?;
        lane.kind(parcel.reads).open.remove(&parcel.id)
    }

    /// Somebody has executed something for the group.
    fn note_leader(&mut self, from: NodeId, group: GroupId, leader: Option<NodeId>, now: u64) {
        if let Some(lane) = self.lanes.get_mut(&group) {
            let leader = leader.or(lane.heard.leader).or(Some(from));
            lane.heard = Heard { leader, at: now };
        }
    }

    /// Whichever was heard later, of what members said and what the leader says of itself.
    fn latest(
        &self,
        heard: Heard,
        group: GroupId,
        groups: &(impl Groups + ?Sized),
    ) -> Option<NodeId> {
        let claim = groups.leader(group);
        let claim = claim.filter(|(node, at)| *at > heard.at && self.up.contains(node));
        claim.map_or(heard.leader, |(node, _)| Some(node))
    }

    fn done(&mut self, from: NodeId, parcel: Parcel, body: &Bytes) {
        let Some(mut open) = self.take(parcel) else {
            return;
        };
        if let Err(error) = outcome::distribute(body, &mut open.loads, parcel.reads) {
            tracing::error!(peer = from.0, %error, "an answer makes no sense");
            self.fail(open.loads, &CommandError::UNCERTAIN);
            return;
        }
        let (answered, rest): (Vec<_>, Vec<_>) =
            open.loads.into_iter().partition(Load::is_answered);
        self.answered
            .extend(answered.into_iter().map(|load| load.proposal));
        if let Some(lane) = self.lanes.get_mut(&parcel.group) {
            let waiting = &mut lane.kind(parcel.reads).waiting;
            for load in rest.into_iter().rev() {
                waiting.push_front((open.deadline, load));
            }
        }
    }

    fn elsewhere(&mut self, from: NodeId, parcel: Parcel, leader: Option<NodeId>, now: u64) {
        let Some(lane) = self.lanes.get_mut(&parcel.group) else {
            return;
        };
        // Who says that it leads and does not take it is not to be asked again at once.
        let leader = leader.filter(|leader| *leader != from);
        lane.heard = Heard { leader, at: now };
        lane.turn += 1;
        let is_known = leader.is_some();
        if let Some(open) = lane.kind(parcel.reads).open.get_mut(&parcel.id)
            && open.sent.as_ref().is_some_and(|sent| sent.to == from)
        {
            open.sent = None;
            open.bounced += 1;
            open.not_before = if is_known && open.times < 3 {
                now
            } else {
                now + RETRY_NS
            };
        }
    }

    /// The members of a group to which there is a link, the nearest first.
    fn reachable(&self, group: GroupId, groups: &(impl Groups + ?Sized)) -> Vec<NodeId> {
        let mut members = groups.members(group);
        members.retain(|node| self.up.contains(node));
        members
    }

    /// Makes parcels of what waits.
    fn pack(&mut self, lane: &mut Lane) {
        for reads in [true, false] {
            let kind = lane.kind(reads);
            while !kind.waiting.is_empty() && kind.open.len() < MAX_OPEN {
                let (mut bytes, mut loads, mut deadline) = (0, Vec::new(), u64::MAX);
                while bytes < PARCEL_TARGET_BYTES
                    && let Some((until, load)) = kind.waiting.pop_front()
                {
                    bytes += load.proposal.bytes();
                    deadline = deadline.min(until);
                    loads.push(load);
                }
                kind.last = if reads {
                    self.last_read += 1;
                    self.last_read
                } else {
                    // Without gaps within a group, which remembers what stands above the floor.
                    kind.last.max(self.origin.incarnation << LIFE_BITS) + 1
                };
                let floor = kind.open.keys().next().copied().unwrap_or(kind.last) - 1;
                let body = if reads {
                    pack_reads(&loads)
                } else {
                    pack_writes(&loads, self.origin, kind.last, floor)
                };
                let open = Open::new(loads, body, deadline);
                kind.open.insert(kind.last, open);
            }
        }
    }

    fn send(&mut self, group: GroupId, lane: &mut Lane, groups: &(impl Groups + ?Sized), now: u64) {
        let resend_ns = self.patience.resend_ns;
        let is_due = |open: &Open| match &open.sent {
            None => now >= open.not_before,
            Some(sent) => now >= open.resend_at(sent.at, resend_ns),
        };
        let has_due = |kind: &Kind| kind.open.values().any(is_due);
        if !has_due(&lane.reads) && !has_due(&lane.writes) {
            return;
        }
        let reachable = self.reachable(group, groups);
        if reachable.is_empty() {
            lane.unreachable_since.get_or_insert(now);
            return;
        }
        lane.unreachable_since = None;
        let leader = self.latest(lane.heard, group, groups);
        let (leader, turn) = (leader.filter(|node| self.up.contains(node)), lane.turn);
        for reads in [true, false] {
            for (&id, open) in &mut lane.kind(reads).open {
                if !is_due(open) {
                    continue;
                }
                // A second time without an answer, it may be the leader that is slow or gone.
                let turn = turn + open.times as usize / 2;
                let to = match leader {
                    Some(leader) if open.times % 3 < 2 => leader,
                    _ => reachable[turn % reachable.len()],
                };
                let body = open.body.clone();
                let message = if reads {
                    Message::Read { group, id, body }
                } else {
                    Message::Write { group, body }
                };
                self.messages.push((to, message));
                open.sent = Some(Sent { to, at: now });
                open.times += 1;
            }
        }
    }

    fn give_up(
        &mut self,
        group: GroupId,
        lane: &mut Lane,
        groups: &(impl Groups + ?Sized),
        now: u64,
    ) {
        let is_cut_off = lane
            .unreachable_since
            .is_some_and(|since| now >= since + UNREACHABLE_NS);
        let is_over = |until: u64| now >= until || is_cut_off;
        let (mut down, mut unknown) = (Vec::new(), Vec::new());
        for reads in [true, false] {
            let kind = lane.kind(reads);
            while kind
                .waiting
                .front()
                .is_some_and(|(until, _)| is_over(*until))
            {
                down.extend(kind.waiting.pop_front().map(|(_, load)| load));
            }
            let late = |open: &Open| {
                let is_harmless = reads || !open.was_taken();
                now >= open.deadline || is_harmless && is_cut_off && open.sent.is_none()
            };
            let over: Vec<u64> = (kind.open.iter().filter(|(_, open)| late(open)))
                .map(|(id, _)| *id)
                .collect();
            for open in over.into_iter().filter_map(|id| kind.open.remove(&id)) {
                if reads || !open.was_taken() {
                    down.extend(open.loads);
                } else {
                    unknown.extend(open.loads);
                }
            }
        }
        for load in down {
            let error = CommandError::composed(format!(
                "CLUSTERDOWN {} cannot be reached, or has no leader. Nothing was done",
                groups.describe(group, load.proposal.first_key())
            ));
            self.fail([load], &error);
        }
        self.fail(unknown, &CommandError::UNCERTAIN);
    }

    fn fail(&mut self, loads: impl IntoIterator<Item = Load>, error: &CommandError) {
        for mut load in loads {
            fail_from(&mut load.proposal, load.answered, error);
            self.answered.push(load.proposal);
        }
    }
}

#[cfg(test)]
#[path = "courier_tests.rs"]
mod tests;
