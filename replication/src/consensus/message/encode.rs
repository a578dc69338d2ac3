//! Messages to bytes.

use bytes::{BufMut, Bytes, BytesMut};
use omnipaxos::ballot_leader_election::Ballot;
use omnipaxos::messages::Message as Crate;
use omnipaxos::messages::ballot_leader_election::HeartbeatMsg;
use omnipaxos::messages::sequence_paxos::PaxosMsg;
use omnipaxos::storage::SnapshotType;
use omnipaxos::util::{LogSync, SequenceNumber};

use super::*;
use crate::consensus::entry::Slot;

impl Message {
    /// The bytes to send.
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
