//! What is under way to one group: what waits to be packed, parcels whose clients wait for an
//! answer, and what is known of who leads.

use std::collections::{BTreeMap, VecDeque};

use bailiwick_replication::NodeId;
use bytes::Bytes;

use super::parcel::Load;

/// The most doublings of the wait before a parcel is sent again.
const MAX_DOUBLINGS: u32 = 4;

/// What concerns one group.
#[derive(Default)]
pub(super) struct Lane {
    pub(super) reads: Kind,
    pub(super) writes: Kind,
    pub(super) heard: Heard,
    /// Counts those asked in turn when the leader is not known.
    pub(super) turn: usize,
    /// Since when no member can be reached.
    pub(super) unreachable_since: Option<u64>,
}

/// What members said last of who leads.
#[derive(Clone, Copy, Default)]
pub(super) struct Heard {
    /// `None` if they did not know, or it turned out to be wrong.
    pub(super) leader: Option<NodeId>,
    pub(super) at: u64,
}

/// Reads or writes.
#[derive(Default)]
pub(super) struct Kind {
    /// Each with its deadline, the earliest first.
    pub(super) waiting: VecDeque<(u64, Load)>,
    pub(super) open: BTreeMap<u64, Open>,
    pub(super) last: u64,
}

/// A parcel whose clients wait.
pub(super) struct Open {
    pub(super) loads: Vec<Load>,
    pub(super) body: Bytes,
    pub(super) deadline: u64,
    pub(super) sent: Option<Sent>,
    /// Not to be sent before this.
    pub(super) not_before: u64,
    /// How often it was sent.
    pub(super) times: u32,
    /// How often that was answered with `Elsewhere`, or refused by a group that is busy: `bounced <=
    /// times`. While a group elects a leader this happens every few milliseconds, and says nothing
    /// about how long an answer takes.
    pub(super) bounced: u32,
}

impl Open {
    /// To be sent at once.
    pub(super) fn new(loads: Vec<Load>, body: Bytes, deadline: u64) -> Self {
        Self {
            loads,
            body,
            deadline,
            sent: None,
            not_before: 0,
            times: 0,
            bounced: 0,
        }
    }

    /// Whether it may have been executed: a member that says `Elsewhere` has not taken it, and of
    /// each sending there is one such answer at most.
    pub(super) fn was_taken(&self) -> bool {
        self.unanswered() > 0
    }

    /// How often it was sent without an answer.
    pub(super) fn unanswered(&self) -> u32 {
        self.times - self.bounced
    }

    /// When it is to be sent again unless there is an answer.
    pub(super) fn resend_at(&self, sent_at: u64, resend_ns: u64) -> u64 {
        sent_at + (resend_ns << self.unanswered().saturating_sub(1).min(MAX_DOUBLINGS))
    }
}
/// Whom a parcel was sent to last, and when.
pub(super) struct Sent {
    pub(super) to: NodeId,
    pub(super) at: u64,
}

impl Lane {
    pub(super) fn kind(&mut self, reads: bool) -> &mut Kind {
        if reads {
            &mut self.reads
        } else {
            &mut self.writes
        }
    }

    pub(super) fn kinds(&mut self) -> [&mut Kind; 2] {
        [&mut self.reads, &mut self.writes]
    }

    pub(super) fn is_idle(&self) -> bool {
        self.reads.is_idle() && self.writes.is_idle()
    }
}

impl Kind {
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.open.is_empty()
    }
}
