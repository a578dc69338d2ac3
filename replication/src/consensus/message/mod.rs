//! What the replicas of a group say to each other, and how it looks on the wire.
//!
//! Format: a kind byte, then fields, little-endian; entries are preceded by their length (u32).
//! Nothing is trusted: a message that cannot be decoded is an error, upon which the link is cut.
//! Entries are slices of the received buffer, not copies.

mod decode;
mod encode;

use bytes::Bytes;
use omnipaxos::ballot_leader_election::Ballot;
use omnipaxos::messages::Message as Crate;

use super::entry::Slot;
use crate::LogIndex;

/// A message between two replicas of a group. The configuration it belongs to stands beside it.
#[derive(Clone, Debug)]
pub(crate) enum Message {
    /// Opens a session between two replicas: what either sent before is void.
    Hello {
        /// The sender's session with the receiver.
        session: u64,
        /// The receiver's session, as far as the sender knows it; 0 if not.
        echo: u64,
    },
    /// Consensus, within a session.
    Consensus {
        from_session: u64,
        to_session: u64,
        message: Box<Crate<Slot>>,
    },
    /// The leader asks for time; `sent_at` is on its clock.
    LeaseRequest { ballot: Ballot, sent_at: u64 },
    /// The follower grants it.
    LeaseGrant { ballot: Ballot, sent_at: u64 },
    /// The leader gives its lease up before it hands over.
    LeaseRelease { ballot: Ballot },
    /// Is this still the highest ballot you know?
    ConfirmRequest { ballot: Ballot, round: u64 },
    /// Yes.
    Confirm { ballot: Ballot, round: u64 },
    /// A follower asks what it must have applied before it may answer reads.
    ReadRequest { token: u64 },
    /// The answer.
    ReadReply { token: u64, index: LogIndex },
    /// The receiver should become leader, or renew its leadership above this ballot number.
    Lead { above: u32 },
    /// The receiver is too far behind for consensus; it should fetch what is decided first.
    Behind { decided: LogIndex },
    /// Asks for decided entries behind this one.
    Fetch { behind: LogIndex },
    /// Decided entries, and how far the sender's decided log reaches.
    Entries {
        behind: LogIndex,
        decided: LogIndex,
        entries: Vec<Bytes>,
    },
    /// The log does not reach back so far; a checkpoint of this index is there.
    CheckpointNeeded { index: LogIndex },
    /// The sender is in a later configuration.
    Sealed,
    /// What a member tells the others now and then.
    Status(Status),
    /// For the layer above.
    Application(Bytes),
}

/// What a member of a group tells the others about itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// The last entry it has applied.
    pub applied: LogIndex,
    /// The last entry that it knows to be decided.
    pub decided: LogIndex,
    /// The last entry that it has on disk.
    pub durable: LogIndex,
    /// The index of its newest checkpoint.
    pub checkpoint: LogIndex,
    /// Its disk takes no more writes.
    pub is_full: bool,
    /// It cannot take part in consensus at present: it is catching up, or no member.
    pub is_idle: bool,
}

/// The bytes are no message of this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed message at byte {0}")]
pub struct MessageError(pub usize);

const HELLO: u8 = 1;
const LEASE_REQUEST: u8 = 2;
const LEASE_GRANT: u8 = 3;
const LEASE_RELEASE: u8 = 4;
const CONFIRM_REQUEST: u8 = 5;
const CONFIRM: u8 = 6;
const READ_REQUEST: u8 = 7;
const READ_REPLY: u8 = 8;
const LEAD: u8 = 9;
const BEHIND: u8 = 10;
const FETCH: u8 = 11;
const ENTRIES: u8 = 12;
const CHECKPOINT_NEEDED: u8 = 13;
const SEALED: u8 = 14;
const STATUS: u8 = 15;
const APPLICATION: u8 = 16;
const HEARTBEAT_REQUEST: u8 = 32;
const HEARTBEAT_REPLY: u8 = 33;
const PREPARE_REQUEST: u8 = 34;
const PREPARE: u8 = 35;
const PROMISE: u8 = 36;
const ACCEPT_SYNC: u8 = 37;
const ACCEPT_DECIDE: u8 = 38;
const ACCEPTED: u8 = 39;
const NOT_ACCEPTED: u8 = 40;
const DECIDE: u8 = 41;

impl Message {
    /// Whether it may pass messages that were sent before it.
    pub(crate) fn is_urgent(&self) -> bool {
        match self {
            Message::Consensus { message, .. } => matches!(**message, Crate::BLE(_)),
            Message::LeaseRequest { .. }
            | Message::LeaseGrant { .. }
            | Message::ConfirmRequest { .. }
            | Message::Confirm { .. }
            | Message::Status(_) => true,
            _ => false,
        }
    }

    /// Whether it may wait behind others without harm.
    pub(crate) fn is_bulk(&self) -> bool {
        matches!(self, Message::Fetch { .. } | Message::Entries { .. })
    }
}
