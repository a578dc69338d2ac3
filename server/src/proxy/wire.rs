//! What nodes say to each other to have requests executed elsewhere.
//!
//! ```text
//! message  = READ  group id section*          requests that change nothing
//!          | WRITE group id proposal          a proposal for the group's log
//!          | DONE  group id leader outcome*   what came of them, an outcome a request
//!          | ELSEWHERE group id leader        not here; ask the leader, or another member
//!          | REFUSED group id text            not done, for this reason
//!          | WOKEN count (life number)*       these waiters of yours have replies to fetch
//! section  = protocol u8 | database | count | bytes of RESP | RESP
//! outcome  = status u8 | length | bytes
//! ```
//!
//! Numbers are LEB128; a leader is a node's number, 0 for unknown. The sections are requests as
//! clients send them, so the receiver cuts them out with the same parser and copies nothing. What
//! makes no sense is refused as a whole. Of a READ that asks for more than a message holds, DONE
//! has the first outcomes only, and the asker sends the other requests again, as another READ.

use bailiwick_frame::Protocol;
use bailiwick_replication::link::{Class, Frame};
use bailiwick_replication::{ConfigurationId, GroupId, NodeId};
use bytes::Bytes;

use crate::group::NODE_SERVICES;
use crate::state::{DecodeError, Reader, put_tagged, put_varint};

/// The kind of node service that proxying is; it stands where a group's frames have the
/// configuration.
pub const PROXY_SERVICE: ConfigurationId = ConfigurationId(1);

/// A message between an asking node and one that serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Requests that change nothing, in sections.
    Read {
        /// Who is to execute them.
        group: GroupId,
        /// The asker's number of this parcel; reads and writes have numbers of their own.
        id: u64,
        /// The sections.
        body: Bytes,
    },
    /// A proposal for the group's log; its sequence is the parcel's number.
    Write {
        /// Who is to execute it.
        group: GroupId,
        /// The proposal.
        body: Bytes,
    },
    /// A parcel's outcomes.
    Done {
        /// Which parcel.
        parcel: Parcel,
        /// Who leads the group.
        leader: Option<NodeId>,
        /// The outcomes.
        body: Bytes,
    },
    /// The parcel was not taken.
    Elsewhere {
        /// Which parcel.
        parcel: Parcel,
        /// Who might.
        leader: Option<NodeId>,
    },
    /// The parcel is not executed, and will not be.
    Refused {
        /// Which parcel.
        parcel: Parcel,
        /// The error for the clients.
        reason: String,
    },
    /// Requests that wait for keys may have replies to be fetched.
    Woken {
        /// Lives and numbers of waiters of the node that this is for.
        waiters: Vec<(u64, u64)>,
    },
}

/// Names what one node asked another one for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Parcel {
    /// The group that is to execute it.
    pub group: GroupId,
    /// Whether it only reads.
    pub reads: bool,
    /// Its number.
    pub id: u64,
}

const READ: u8 = 1;
const WRITE: u8 = 2;
const DONE: u8 = 3;
const ELSEWHERE: u8 = 4;
const REFUSED: u8 = 5;
const WOKEN: u8 = 6;

impl Message {
    /// The message as a frame.
    #[must_use]
    pub fn frame(&self) -> Frame {
        Frame {
            class: Class::Ordered,
            group: NODE_SERVICES,
            configuration: PROXY_SERVICE,
            payload: self.encode(),
        }
    }

    fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(32 + self.body_bytes());
        match self {
            Self::Read { group, id, body } => {
                put_tagged(&mut out, READ, &[u64::from(group.0), *id]);
                out.extend_from_slice(body);
            }
            Self::Write { group, body } => {
                put_tagged(&mut out, WRITE, &[u64::from(group.0)]);
                out.extend_from_slice(body);
            }
            Self::Done {
                parcel,
                leader,
                body,
            } => {
                parcel.put(&mut out, DONE);
                put_varint(&mut out, leader.map_or(0, |node| node.0));
                out.extend_from_slice(body);
            }
            Self::Elsewhere { parcel, leader } => {
                parcel.put(&mut out, ELSEWHERE);
                put_varint(&mut out, leader.map_or(0, |node| node.0));
            }
            Self::Refused { parcel, reason } => {
                parcel.put(&mut out, REFUSED);
                out.extend_from_slice(reason.as_bytes());
            }
            Self::Woken { waiters } => {
                put_tagged(&mut out, WOKEN, &[waiters.len() as u64]);
                for (life, number) in waiters {
                    put_varint(&mut out, *life);
                    put_varint(&mut out, *number);
                }
            }
        }
        out.into()
    }

    fn body_bytes(&self) -> usize {
        match self {
            Self::Read { body, .. } | Self::Write { body, .. } | Self::Done { body, .. } => {
                body.len()
            }
            Self::Elsewhere { .. } => 0,
            Self::Refused { reason, .. } => reason.len(),
            Self::Woken { waiters } => waiters.len() * 10,
        }
    }

    /// Reads a frame's payload.
    ///
    /// # Errors
    /// It is no message of this protocol.
    pub fn decode(payload: &Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(payload);
        let [tag] = reader.array()?;
        let message = match tag {
            READ => Self::Read {
                group: group(&mut reader)?,
                id: reader.varint()?,
                body: payload.slice(reader.at()..),
            },
            WRITE => Self::Write {
                group: group(&mut reader)?,
                body: payload.slice(reader.at()..),
            },
            DONE => Self::Done {
                parcel: Parcel::take(&mut reader)?,
                leader: node(&mut reader)?,
                body: payload.slice(reader.at()..),
            },
            ELSEWHERE => Self::Elsewhere {
                parcel: Parcel::take(&mut reader)?,
                leader: node(&mut reader)?,
            },
            REFUSED => Self::Refused {
                parcel: Parcel::take(&mut reader)?,
                reason: String::from_utf8_lossy(&payload[reader.at()..]).into_owned(),
            },
            WOKEN => Self::Woken {
                waiters: woken(&mut reader)?,
            },
            _ => return Err(DecodeError::Malformed(0)),
        };
        Ok(message)
    }
}

impl Parcel {
    fn put(self, out: &mut Vec<u8>, tag: u8) {
        let kind = u64::from(self.reads);
        put_tagged(out, tag, &[u64::from(self.group.0), kind, self.id]);
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let group = group(reader)?;
        let malformed = DecodeError::Malformed(reader.at());
        let reads = match reader.varint()? {
            0 => false,
            1 => true,
            _ => return Err(malformed),
        };
        let id = reader.varint()?;
        Ok(Self { group, reads, id })
    }
}

/// Requests of one client, as a part of a [`Message::Read`].
pub struct Section {
    /// The version in which replies are written.
    pub protocol: Protocol,
    /// The client's database.
    pub database: usize,
    /// How many requests there are.
    pub count: usize,
    /// The requests.
    pub resp: Bytes,
}

impl Section {
    /// Writes the section behind what `out` holds.
    pub fn put(&self, out: &mut Vec<u8>) {
        out.push(match self.protocol {
            Protocol::Resp2 => 2,
            Protocol::Resp3 => 3,
        });
        put_varint(out, self.database as u64);
        put_varint(out, self.count as u64);
        put_varint(out, self.resp.len() as u64);
        out.extend_from_slice(&self.resp);
    }

    /// The sections of a body.
    ///
    /// # Errors
    /// The body makes no sense.
    pub fn all(body: &Bytes) -> Result<Vec<Self>, DecodeError> {
        let mut reader = Reader::new(body);
        let mut sections = Vec::new();
        while reader.at() < body.len() {
            let malformed = DecodeError::Malformed(reader.at());
            let [protocol] = reader.array()?;
            let protocol = match protocol {
                2 => Protocol::Resp2,
                3 => Protocol::Resp3,
                _ => return Err(malformed),
            };
            let database = usize::try_from(reader.varint()?).map_err(|_| malformed)?;
            let count = usize::try_from(reader.varint()?).map_err(|_| malformed)?;
            let length = reader.length()?;
            let resp = body.slice(reader.range(length)?);
            sections.push(Self {
                protocol,
                database,
                count,
                resp,
            });
        }
        Ok(sections)
    }
}

fn group(reader: &mut Reader<'_>) -> Result<GroupId, DecodeError> {
    let malformed = DecodeError::Malformed(reader.at());
    let number = u32::try_from(reader.varint()?).map_err(|_| malformed)?;
    Ok(GroupId(number))
}

fn node(reader: &mut Reader<'_>) -> Result<Option<NodeId>, DecodeError> {
    let number = reader.varint()?;
    Ok((number > 0).then_some(NodeId(number)))
}

fn woken(reader: &mut Reader<'_>) -> Result<Vec<(u64, u64)>, DecodeError> {
    let mut waiters = Vec::new();
    for _ in 0..reader.length()? {
        waiters.push((reader.varint()?, reader.varint()?));
    }
    Ok(waiters)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_message_reads_back_as_it_was_written() {
        let body = Bytes::from_static(b"a body");
        let parcel = Parcel {
            group: GroupId(7),
            reads: true,
            id: 1 << 40,
        };
        let messages = [
            Message::Read {
                group: GroupId(300),
                id: 5,
                body: body.clone(),
            },
            Message::Write {
                group: GroupId(0),
                body: body.clone(),
            },
            Message::Done {
                parcel,
                leader: Some(NodeId(3)),
                body,
            },
            Message::Elsewhere {
                parcel,
                leader: None,
            },
            Message::Refused {
                parcel,
                reason: "no".to_owned(),
            },
            Message::Woken {
                waiters: vec![(1 << 50, 1), (3, 300)],
            },
        ];
        for message in messages {
            assert_eq!(Message::decode(&message.encode()), Ok(message));
        }
    }

    #[test]
    fn sections_read_back_as_they_were_written() {
        let mut out = Vec::new();
        for (protocol, resp) in [(Protocol::Resp2, "one"), (Protocol::Resp3, "")] {
            let section = Section {
                protocol,
                database: 15,
                count: 1,
                resp: Bytes::from_static(resp.as_bytes()),
            };
            section.put(&mut out);
        }
        let read = Section::all(&out.into()).unwrap();
        assert_eq!(read.len(), 2);
        assert_eq!((&read[0].resp[..], read[0].database), (&b"one"[..], 15));
        assert_eq!(read[1].protocol, Protocol::Resp3);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let bytes = Bytes::from(bytes);
            let _ = Message::decode(&bytes);
            let _ = Section::all(&bytes);
        }
    }
}
