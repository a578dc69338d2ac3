//! What the replicas of a group say to each other, and how it looks on the wire.
//!
//! Format: a kind byte, then fields, little-endian; entries are preceded by their length (u32).
//! Nothing is trusted: a message that cannot be decoded is an error, upon which the link is cut.
//! Entries are slices of the received buffer, not copies.

use bytes::{BufMut, Bytes, BytesMut};
use omnipaxos::ballot_leader_election::Ballot;
use omnipaxos::messages::Message as Crate;
use omnipaxos::messages::ballot_leader_election::{
    BLEMessage, HeartbeatMsg, HeartbeatReply, HeartbeatRequest,
};
use omnipaxos::messages::sequence_paxos::{
    AcceptDecide, AcceptSync, Accepted, Decide, NotAccepted, PaxosMessage, PaxosMsg, Prepare,
    PrepareReq, Promise,
};
use omnipaxos::storage::SnapshotType;
use omnipaxos::util::{LogSync, SequenceNumber};

use super::entry::{Prefix, Slot};
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

    pub(crate) fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        match self {
            Message::Hello { session, echo } => {
                out.put_u8(HELLO);
                out.put_u64_le(*session);
                out.put_u64_le(*echo);
            }
            Message::Consensus {
                from_session,
                to_session,
                message,
            } => encode_consensus(&mut out, [*from_session, *to_session], message),
            Message::LeaseRequest { ballot, sent_at } => {
                put_numbered(&mut out, LEASE_REQUEST, ballot, *sent_at);
            }
            Message::LeaseGrant { ballot, sent_at } => {
                put_numbered(&mut out, LEASE_GRANT, ballot, *sent_at);
            }
            Message::LeaseRelease { ballot } => put_numbered(&mut out, LEASE_RELEASE, ballot, 0),
            Message::ConfirmRequest { ballot, round } => {
                put_numbered(&mut out, CONFIRM_REQUEST, ballot, *round);
            }
            Message::Confirm { ballot, round } => put_numbered(&mut out, CONFIRM, ballot, *round),
            Message::ReadRequest { token } => put_indexes(&mut out, READ_REQUEST, &[*token]),
            Message::ReadReply { token, index } => {
                put_indexes(&mut out, READ_REPLY, &[*token, index.0]);
            }
            Message::Lead { above } => put_indexes(&mut out, LEAD, &[u64::from(*above)]),
            Message::Behind { decided } => put_indexes(&mut out, BEHIND, &[decided.0]),
            Message::Fetch { behind } => put_indexes(&mut out, FETCH, &[behind.0]),
            Message::Entries {
                behind,
                decided,
                entries,
            } => {
                let bytes: usize = entries.iter().map(|entry| entry.len() + 4).sum();
                out.reserve(bytes + 32);
                put_indexes(&mut out, ENTRIES, &[behind.0, decided.0]);
                out.put_u32_le(entries.len() as u32);
                for entry in entries {
                    put_entry(&mut out, entry);
                }
            }
            Message::CheckpointNeeded { index } => {
                put_indexes(&mut out, CHECKPOINT_NEEDED, &[index.0]);
            }
            Message::Sealed => out.put_u8(SEALED),
            Message::Status(status) => {
                let numbers = [
                    status.applied.0,
                    status.decided.0,
                    status.durable.0,
                    status.checkpoint.0,
                ];
                put_indexes(&mut out, STATUS, &numbers);
                out.put_u8(u8::from(status.is_full));
                out.put_u8(u8::from(status.is_idle));
            }
            Message::Application(payload) => {
                out.reserve(1 + payload.len());
                out.put_u8(APPLICATION);
                out.extend_from_slice(payload);
            }
        }
        out.freeze()
    }

    /// Decodes a message; `members` are the crate's numbers of the sender and of the receiver.
    pub(crate) fn decode(bytes: &Bytes, members: [u64; 2]) -> Result<Message, MessageError> {
        let mut reader = Reader { bytes, at: 0 };
        let kind = reader.u8()?;
        let message = match kind {
            HELLO => Message::Hello {
                session: reader.u64()?,
                echo: reader.u64()?,
            },
            LEASE_REQUEST => Message::LeaseRequest {
                ballot: reader.ballot()?,
                sent_at: reader.u64()?,
            },
            LEASE_GRANT => Message::LeaseGrant {
                ballot: reader.ballot()?,
                sent_at: reader.u64()?,
            },
            LEASE_RELEASE => {
                let ballot = reader.ballot()?;
                reader.u64()?;
                Message::LeaseRelease { ballot }
            }
            CONFIRM_REQUEST => Message::ConfirmRequest {
                ballot: reader.ballot()?,
                round: reader.u64()?,
            },
            CONFIRM => Message::Confirm {
                ballot: reader.ballot()?,
                round: reader.u64()?,
            },
            READ_REQUEST => Message::ReadRequest {
                token: reader.u64()?,
            },
            READ_REPLY => Message::ReadReply {
                token: reader.u64()?,
                index: LogIndex(reader.u64()?),
            },
            LEAD => Message::Lead {
                above: reader.u64()? as u32,
            },
            BEHIND => Message::Behind {
                decided: LogIndex(reader.u64()?),
            },
            FETCH => Message::Fetch {
                behind: LogIndex(reader.u64()?),
            },
            ENTRIES => Message::Entries {
                behind: LogIndex(reader.u64()?),
                decided: LogIndex(reader.u64()?),
                entries: reader.entries()?,
            },
            CHECKPOINT_NEEDED => Message::CheckpointNeeded {
                index: LogIndex(reader.u64()?),
            },
            SEALED => Message::Sealed,
            STATUS => Message::Status(Status {
                applied: LogIndex(reader.u64()?),
                decided: LogIndex(reader.u64()?),
                durable: LogIndex(reader.u64()?),
                checkpoint: LogIndex(reader.u64()?),
                is_full: reader.u8()? != 0,
                is_idle: reader.u8()? != 0,
            }),
            APPLICATION => {
                reader.at = bytes.len();
                Message::Application(bytes.slice(1..))
            }
            _ => {
                let [from_session, to_session] = [reader.u64()?, reader.u64()?];
                let message = reader.consensus(kind, members)?;
                Message::Consensus {
                    from_session,
                    to_session,
                    message: Box::new(message),
                }
            }
        };
        if reader.at == bytes.len() {
            Ok(message)
        } else {
            Err(MessageError(reader.at))
        }
    }
}

fn encode_consensus(out: &mut BytesMut, sessions: [u64; 2], message: &Crate<Slot>) {
    let kind = match message {
        Crate::BLE(message) => match message.msg {
            HeartbeatMsg::Request(_) => HEARTBEAT_REQUEST,
            HeartbeatMsg::Reply(_) => HEARTBEAT_REPLY,
        },
        Crate::SequencePaxos(message) => kind(&message.msg),
    };
    put_indexes(out, kind, &sessions);
    match message {
        Crate::BLE(message) => match &message.msg {
            HeartbeatMsg::Request(request) => out.put_u32_le(request.round),
            HeartbeatMsg::Reply(reply) => {
                out.put_u32_le(reply.round);
                put_ballot(out, &reply.ballot);
                put_ballot(out, &reply.leader);
                out.put_u8(u8::from(reply.happy));
            }
        },
        Crate::SequencePaxos(message) => encode_paxos(out, &message.msg),
    }
}

fn kind(message: &PaxosMsg<Slot>) -> u8 {
    match message {
        PaxosMsg::PrepareReq(_) => PREPARE_REQUEST,
        PaxosMsg::Prepare(_) => PREPARE,
        PaxosMsg::Promise(_) => PROMISE,
        PaxosMsg::AcceptSync(_) => ACCEPT_SYNC,
        PaxosMsg::AcceptDecide(_) => ACCEPT_DECIDE,
        PaxosMsg::Accepted(_) => ACCEPTED,
        PaxosMsg::NotAccepted(_) => NOT_ACCEPTED,
        PaxosMsg::Decide(_) => DECIDE,
        PaxosMsg::ProposalForward(_)
        | PaxosMsg::Compaction(_)
        | PaxosMsg::AcceptStopSign(_)
        | PaxosMsg::ForwardStopSign(_) => {
            unreachable!("proposals, compaction and reconfiguration do not go through the crate")
        }
    }
}

fn encode_paxos(out: &mut BytesMut, message: &PaxosMsg<Slot>) {
    match message {
        PaxosMsg::PrepareReq(message) => put_ballot(out, &message.n),
        PaxosMsg::Prepare(message) => {
            put_ballot(out, &message.n);
            put_ballot(out, &message.n_accepted);
            out.put_u64_le(message.decided_idx as u64);
            out.put_u64_le(message.accepted_idx as u64);
        }
        PaxosMsg::Promise(message) => {
            put_ballot(out, &message.n);
            put_ballot(out, &message.n_accepted);
            out.put_u64_le(message.decided_idx as u64);
            out.put_u64_le(message.accepted_idx as u64);
            out.put_u8(u8::from(message.log_sync.is_some()));
            if let Some(sync) = &message.log_sync {
                put_log_sync(out, sync);
            }
        }
        PaxosMsg::AcceptSync(message) => {
            put_ballot(out, &message.n);
            put_sequence(out, message.seq_num);
            out.put_u64_le(message.decided_idx as u64);
            put_log_sync(out, &message.log_sync);
        }
        PaxosMsg::AcceptDecide(message) => {
            let bytes: usize = message.entries.iter().map(|entry| entry.0.len() + 4).sum();
            out.reserve(bytes + 64);
            put_ballot(out, &message.n);
            put_sequence(out, message.seq_num);
            out.put_u64_le(message.decided_idx as u64);
            put_slots(out, &message.entries);
        }
        PaxosMsg::Accepted(message) => {
            put_ballot(out, &message.n);
            out.put_u64_le(message.accepted_idx as u64);
        }
        PaxosMsg::NotAccepted(message) => put_ballot(out, &message.n),
        PaxosMsg::Decide(message) => {
            put_ballot(out, &message.n);
            put_sequence(out, message.seq_num);
            out.put_u64_le(message.decided_idx as u64);
        }
        PaxosMsg::ProposalForward(_)
        | PaxosMsg::Compaction(_)
        | PaxosMsg::AcceptStopSign(_)
        | PaxosMsg::ForwardStopSign(_) => {}
    }
}

fn put_numbered(out: &mut BytesMut, kind: u8, ballot: &Ballot, number: u64) {
    out.put_u8(kind);
    put_ballot(out, ballot);
    out.put_u64_le(number);
}

fn put_indexes(out: &mut BytesMut, kind: u8, numbers: &[u64]) {
    out.put_u8(kind);
    for number in numbers {
        out.put_u64_le(*number);
    }
}

fn put_ballot(out: &mut BytesMut, ballot: &Ballot) {
    out.put_u32_le(ballot.config_id);
    out.put_u32_le(ballot.n);
    out.put_u32_le(ballot.priority);
    out.put_u8(ballot.pid as u8);
}

fn put_sequence(out: &mut BytesMut, number: SequenceNumber) {
    out.put_u64_le(number.session);
    out.put_u64_le(number.counter);
}

fn put_entry(out: &mut BytesMut, entry: &Bytes) {
    out.put_u32_le(entry.len() as u32);
    out.extend_from_slice(entry);
}

fn put_slots(out: &mut BytesMut, entries: &[Slot]) {
    let bytes: usize = entries.iter().map(|entry| entry.0.len() + 4).sum();
    out.reserve(bytes + 4);
    out.put_u32_le(entries.len() as u32);
    for entry in entries {
        put_entry(out, &entry.0);
    }
}

fn put_log_sync(out: &mut BytesMut, sync: &LogSync<Slot>) {
    let (tag, prefix) = match &sync.decided_snapshot {
        None => (0, None),
        Some(SnapshotType::Complete(prefix)) => (1, Some(prefix)),
        Some(SnapshotType::Delta(prefix)) => (2, Some(prefix)),
    };
    out.put_u8(tag);
    if let Some(prefix) = prefix {
        out.put_u64_le(prefix.known);
        put_slots(out, &prefix.tail);
    }
    out.put_u64_le(sync.sync_idx as u64);
    put_slots(out, &sync.suffix);
}

struct Reader<'a> {
    bytes: &'a Bytes,
    at: usize,
}

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], MessageError> {
        let (bytes, _) = self.bytes[self.at..]
            .split_first_chunk::<N>()
            .ok_or(MessageError(self.at))?;
        self.at += N;
        Ok(*bytes)
    }

    fn u8(&mut self) -> Result<u8, MessageError> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    fn u32(&mut self) -> Result<u32, MessageError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, MessageError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn index(&mut self) -> Result<usize, MessageError> {
        let at = self.at;
        usize::try_from(self.u64()?).map_err(|_| MessageError(at))
    }

    fn ballot(&mut self) -> Result<Ballot, MessageError> {
        Ok(Ballot {
            config_id: self.u32()?,
            n: self.u32()?,
            priority: self.u32()?,
            pid: u64::from(self.u8()?),
        })
    }

    fn sequence(&mut self) -> Result<SequenceNumber, MessageError> {
        Ok(SequenceNumber {
            session: self.u64()?,
            counter: self.u64()?,
        })
    }

    fn entry(&mut self) -> Result<Bytes, MessageError> {
        let len = self.u32()? as usize;
        let end = self.at.checked_add(len).ok_or(MessageError(self.at))?;
        if end > self.bytes.len() {
            return Err(MessageError(self.at));
        }
        let entry = self.bytes.slice(self.at..end);
        self.at = end;
        Ok(entry)
    }

    fn entries(&mut self) -> Result<Vec<Bytes>, MessageError> {
        let count = self.u32()? as usize;
        // An entry takes four bytes at least: a count that lies reserves nothing.
        let mut entries = Vec::with_capacity(count.min(self.bytes.len() / 4));
        for _ in 0..count {
            entries.push(self.entry()?);
        }
        Ok(entries)
    }

    fn slots(&mut self) -> Result<Vec<Slot>, MessageError> {
        Ok(self.entries()?.into_iter().map(Slot).collect())
    }

    fn log_sync(&mut self) -> Result<LogSync<Slot>, MessageError> {
        let tag = self.u8()?;
        let decided_snapshot = match tag {
            0 => None,
            1 | 2 => {
                let prefix = Prefix {
                    known: self.u64()?,
                    tail: self.slots()?,
                };
                Some(match tag {
                    1 => SnapshotType::Complete(prefix),
                    _ => SnapshotType::Delta(prefix),
                })
            }
            _ => return Err(MessageError(self.at - 1)),
        };
        Ok(LogSync {
            decided_snapshot,
            sync_idx: self.index()?,
            suffix: self.slots()?,
            stopsign: None,
        })
    }

    fn consensus(&mut self, kind: u8, [from, to]: [u64; 2]) -> Result<Crate<Slot>, MessageError> {
        if let HEARTBEAT_REQUEST | HEARTBEAT_REPLY = kind {
            let round = self.u32()?;
            let msg = if kind == HEARTBEAT_REQUEST {
                HeartbeatMsg::Request(HeartbeatRequest { round })
            } else {
                HeartbeatMsg::Reply(HeartbeatReply {
                    round,
                    ballot: self.ballot()?,
                    leader: self.ballot()?,
                    happy: self.u8()? != 0,
                })
            };
            return Ok(Crate::BLE(BLEMessage { from, to, msg }));
        }
        let n = self.ballot()?;
        let msg = match kind {
            PREPARE_REQUEST => PaxosMsg::PrepareReq(PrepareReq { n }),
            PREPARE => PaxosMsg::Prepare(Prepare {
                n,
                n_accepted: self.ballot()?,
                decided_idx: self.index()?,
                accepted_idx: self.index()?,
            }),
            PROMISE => PaxosMsg::Promise(Promise {
                n,
                n_accepted: self.ballot()?,
                decided_idx: self.index()?,
                accepted_idx: self.index()?,
                log_sync: if self.u8()? == 0 {
                    None
                } else {
                    Some(self.log_sync()?)
                },
            }),
            ACCEPT_SYNC => PaxosMsg::AcceptSync(AcceptSync {
                n,
                seq_num: self.sequence()?,
                decided_idx: self.index()?,
                log_sync: self.log_sync()?,
            }),
            ACCEPT_DECIDE => PaxosMsg::AcceptDecide(AcceptDecide {
                n,
                seq_num: self.sequence()?,
                decided_idx: self.index()?,
                entries: self.slots()?,
            }),
            ACCEPTED => PaxosMsg::Accepted(Accepted {
                n,
                accepted_idx: self.index()?,
            }),
            NOT_ACCEPTED => PaxosMsg::NotAccepted(NotAccepted { n }),
            DECIDE => PaxosMsg::Decide(Decide {
                n,
                seq_num: self.sequence()?,
                decided_idx: self.index()?,
            }),
            _ => return Err(MessageError(0)),
        };
        Ok(Crate::SequencePaxos(PaxosMessage { from, to, msg }))
    }
}
