//! Bytes to messages. The bytes come from the network, so every length is checked before it is
//! believed.

use bytes::Bytes;
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

use super::*;
use crate::consensus::entry::{Prefix, Slot};

impl Message {
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
