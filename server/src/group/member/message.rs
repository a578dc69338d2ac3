//! What members of a group tell each other beside consensus.
//!
//! Format: a tag byte, then the fields in order, with LEB128 numbers; members as in a log entry;
//! the last field of bytes takes what is left. These bytes come over links that carry checksums;
//! what makes no sense is refused and ends the link.

use bailiwick_replication::consensus::Member;
use bailiwick_replication::{ConfigurationId, LogIndex, NodeId};
use bytes::Bytes;

use super::Change;
use crate::state::{DecodeError, Reader, put_members, put_tagged, take_members};

/// A message to another member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// Who takes part, as the sender knows it; configuration 0 if it knows nothing yet.
    Introduction {
        configuration: ConfigurationId,
        members: Vec<Member>,
    },
    /// An encoded proposal, for the leader to log.
    Forward { proposal: Bytes },
    /// The leader does not log this proposal, for this reason.
    Refused { sequence: u64, reason: String },
    /// How far a node is that is to become a member: entries, and bytes of a checkpoint.
    Progress { decided: LogIndex, received: u64 },
    /// Wants a piece of a checkpoint.
    PieceWanted { index: LogIndex, offset: u64 },
    /// A piece of a checkpoint.
    Piece {
        index: LogIndex,
        offset: u64,
        total_bytes: u64,
        bytes: Bytes,
    },
    /// There is no such checkpoint (any more).
    PieceGone { index: LogIndex },
    /// Asks the leader for a change.
    Ask { request: u64, change: Change },
    /// What came of it: an empty text if it is done.
    Answered { request: u64, error: String },
}

const INTRODUCTION: u8 = 1;
const FORWARD: u8 = 2;
const REFUSED: u8 = 3;
const PROGRESS: u8 = 4;
const PIECE_WANTED: u8 = 5;
const PIECE: u8 = 6;
const PIECE_GONE: u8 = 7;
const ASK: u8 = 8;
const ANSWERED: u8 = 9;

impl Message {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = Vec::new();
        match self {
            Self::Introduction {
                configuration,
                members,
            } => {
                put_tagged(&mut out, INTRODUCTION, &[]);
                put_members(&mut out, *configuration, members);
            }
            Self::Forward { proposal } => {
                out.reserve(1 + proposal.len());
                put_tagged(&mut out, FORWARD, &[]);
                out.extend_from_slice(proposal);
            }
            Self::Refused { sequence, reason } => {
                put_tagged(&mut out, REFUSED, &[*sequence]);
                out.extend_from_slice(reason.as_bytes());
            }
            Self::Progress { decided, received } => {
                put_tagged(&mut out, PROGRESS, &[decided.0, *received]);
            }
            Self::PieceWanted { index, offset } => {
                put_tagged(&mut out, PIECE_WANTED, &[index.0, *offset]);
            }
            Self::Piece {
                index,
                offset,
                total_bytes,
                bytes,
            } => {
                out.reserve(32 + bytes.len());
                put_tagged(&mut out, PIECE, &[index.0, *offset, *total_bytes]);
                out.extend_from_slice(bytes);
            }
            Self::PieceGone { index } => put_tagged(&mut out, PIECE_GONE, &[index.0]),
            Self::Ask { request, change } => {
                let (kind, node) = change.parts();
                put_tagged(&mut out, ASK, &[*request, kind, node.0]);
            }
            Self::Answered { request, error } => {
                put_tagged(&mut out, ANSWERED, &[*request]);
                out.extend_from_slice(error.as_bytes());
            }
        }
        out.into()
    }

    pub(crate) fn decode(payload: &Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(payload);
        let [tag] = reader.array()?;
        let message = match tag {
            INTRODUCTION => {
                let (configuration, members) = take_members(&mut reader)?;
                Self::Introduction {
                    configuration,
                    members,
                }
            }
            FORWARD => Self::Forward {
                proposal: rest(payload, &reader),
            },
            REFUSED => Self::Refused {
                sequence: reader.varint()?,
                reason: String::from_utf8_lossy(&rest(payload, &reader)).into_owned(),
            },
            PROGRESS => Self::Progress {
                decided: LogIndex(reader.varint()?),
                received: reader.varint()?,
            },
            PIECE_WANTED => Self::PieceWanted {
                index: LogIndex(reader.varint()?),
                offset: reader.varint()?,
            },
            PIECE => Self::Piece {
                index: LogIndex(reader.varint()?),
                offset: reader.varint()?,
                total_bytes: reader.varint()?,
                bytes: rest(payload, &reader),
            },
            PIECE_GONE => Self::PieceGone {
                index: LogIndex(reader.varint()?),
            },
            ASK => {
                let request = reader.varint()?;
                let malformed = DecodeError::Malformed(reader.at());
                let kind = reader.varint()?;
                let node = NodeId(reader.varint()?);
                let change = Change::of_parts(kind, node).ok_or(malformed)?;
                Self::Ask { request, change }
            }
            ANSWERED => Self::Answered {
                request: reader.varint()?,
                error: String::from_utf8_lossy(&rest(payload, &reader)).into_owned(),
            },
            _ => return Err(DecodeError::Malformed(0)),
        };
        Ok(message)
    }
}

fn rest(payload: &Bytes, reader: &Reader<'_>) -> Bytes {
    payload.slice(reader.at()..)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_message_reads_back_as_it_was_written() {
        let bytes = Bytes::from_static(b"some bytes");
        let (index, offset) = (LogIndex(1 << 40), 77);
        let member = |node| Member {
            node: NodeId(node),
            disk: u64::MAX - node,
        };
        let messages = [
            Message::Introduction {
                configuration: ConfigurationId(3),
                members: vec![member(1), member(300)],
            },
            Message::Forward {
                proposal: bytes.clone(),
            },
            Message::Refused {
                sequence: 9,
                reason: "no".to_owned(),
            },
            Message::Progress {
                decided: index,
                received: 3,
            },
            Message::PieceWanted { index, offset },
            Message::Piece {
                index,
                offset,
                total_bytes: 1 << 50,
                bytes,
            },
            Message::PieceGone { index },
            Message::Ask {
                request: 5,
                change: Change::Replace(NodeId(7)),
            },
            Message::Answered {
                request: 5,
                error: "no".to_owned(),
            },
        ];
        for message in messages {
            assert_eq!(Message::decode(&message.encode()), Ok(message));
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = Message::decode(&Bytes::from(bytes));
        }
    }
}
