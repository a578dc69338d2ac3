//! What two nodes' gossip says to each other, as bytes.
//!
//! A message is a version, a kind, and its fields; numbers are LEB128 or little-endian, bytes
//! follow their length. Decoding allocates in proportion to the message and refuses what no writer
//! writes.

use bailiwick_replication::NodeId;
use bytes::Bytes;

use super::NODES_MAX;
use super::facts::NodeFacts;
use crate::state::{DecodeError, Reader, put_varint};

/// The version that is written, and the only one that is read.
pub const GOSSIP_VERSION: u8 = 1;
/// A longer message is refused, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 1 << 20;

const TELL: u8 = 1;
const ANSWER: u8 = 2;

/// How far a node is in its lives; sorts by time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Life {
    /// Counts its starts.
    pub incarnation: u64,
    /// Counts its rounds of gossip in this life.
    pub heartbeat: u64,
}

/// How new what somebody knows of a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Summary {
    pub node: NodeId,
    pub life: Life,
    /// Counts the changes of its facts in this life.
    pub version: u64,
}

impl Summary {
    /// Of two states of a node the one with the higher edition is newer.
    pub(super) fn edition(&self) -> (u64, u64) {
        (self.life.incarnation, self.version)
    }
}

/// A message.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Message {
    /// The newest I know of all nodes.
    Tell(Vec<Summary>),
    /// What is news to you, and the nodes of which I want what is news to me.
    Answer {
        news: Vec<(Summary, NodeFacts)>,
        wanted: Vec<NodeId>,
    },
}

impl Message {
    pub(super) fn encode(&self) -> Bytes {
        let mut out = vec![GOSSIP_VERSION];
        match self {
            Self::Tell(summaries) => {
                out.push(TELL);
                put_varint(&mut out, summaries.len() as u64);
                summaries
                    .iter()
                    .for_each(|summary| put_summary(&mut out, summary));
            }
            Self::Answer { news, wanted } => {
                out.push(ANSWER);
                put_varint(&mut out, wanted.len() as u64);
                wanted.iter().for_each(|node| put_varint(&mut out, node.0));
                put_varint(&mut out, news.len() as u64);
                for (summary, facts) in news {
                    put_summary(&mut out, summary);
                    facts.encode(&mut out);
                }
            }
        }
        out.into()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.len() > MESSAGE_BYTES_MAX {
            return Err(DecodeError::Malformed(0));
        }
        let mut reader = Reader::new(bytes);
        let [version, kind] = reader.array()?;
        if version != GOSSIP_VERSION {
            return Err(DecodeError::Version(version));
        }
        let message = match kind {
            TELL => Self::Tell(read_list(&mut reader, read_summary)?),
            ANSWER => {
                let wanted = read_list(&mut reader, |reader| Ok(NodeId(reader.varint()?)))?;
                let news = read_list(&mut reader, |reader| {
                    Ok((read_summary(reader)?, NodeFacts::decode(reader)?))
                })?;
                Self::Answer { news, wanted }
            }
            _ => return Err(DecodeError::Malformed(1)),
        };
        if reader.is_done() {
            Ok(message)
        } else {
            Err(DecodeError::Malformed(reader.at()))
        }
    }
}

fn put_summary(out: &mut Vec<u8>, summary: &Summary) {
    let Summary {
        node,
        life,
        version,
    } = summary;
    for number in [node.0, life.incarnation, life.heartbeat, *version] {
        put_varint(out, number);
    }
}

fn read_summary(reader: &mut Reader<'_>) -> Result<Summary, DecodeError> {
    let node = NodeId(reader.varint()?);
    let life = Life {
        incarnation: reader.varint()?,
        heartbeat: reader.varint()?,
    };
    Ok(Summary {
        node,
        life,
        version: reader.varint()?,
    })
}

fn read_list<T>(
    reader: &mut Reader<'_>,
    mut read: impl FnMut(&mut Reader<'_>) -> Result<T, DecodeError>,
) -> Result<Vec<T>, DecodeError> {
    let count = reader.length()?;
    if count > NODES_MAX {
        return Err(DecodeError::Malformed(reader.at()));
    }
    (0..count).map(|_| read(reader)).collect()
}

#[cfg(test)]
mod tests {
    use bailiwick_replication::GroupId;
    use proptest::prelude::*;

    use super::*;
    use crate::directory::keys::PublicKey;
    use crate::directory::membership::Seat;

    fn summary() -> impl Strategy<Value = Summary> {
        any::<(u64, u64, u64, u64)>().prop_map(|(node, incarnation, heartbeat, version)| Summary {
            node: NodeId(node),
            life: Life {
                incarnation,
                heartbeat,
            },
            version,
        })
    }

    fn facts() -> impl Strategy<Value = NodeFacts> {
        let seat = any::<(u32, Option<u64>)>().prop_map(|(group, leads_since)| Seat {
            group: GroupId(group),
            leads_since,
        });
        let fields = (
            ["[a-zé]{0,9}", ".{0,9}", ".{0,9}", ".{0,9}"],
            any::<[u8; 32]>(),
            any::<(u64, u64)>(),
        );
        (fields, prop::collection::vec(seat, 0..5)).prop_map(|(fields, seats)| {
            let ([region, client, cluster, peer], key, (disk, directory)) = fields;
            NodeFacts {
                region,
                client,
                cluster,
                peer,
                key: PublicKey::new(key),
                disk,
                seats,
                directory,
            }
        })
    }

    fn message() -> impl Strategy<Value = Message> {
        let wanted = prop::collection::vec(any::<u64>().prop_map(NodeId), 0..5);
        let news = prop::collection::vec((summary(), facts()), 0..5);
        prop_oneof![
            prop::collection::vec(summary(), 0..5).prop_map(Message::Tell),
            (news, wanted).prop_map(|(news, wanted)| Message::Answer { news, wanted }),
        ]
    }

    proptest! {
        #[test]
        fn messages_read_what_they_write(message in message()) {
            prop_assert_eq!(Message::decode(&message.encode()), Ok(message));
        }

        #[test]
        fn cut_messages_are_refused(message in message(), cut in any::<prop::sample::Index>()) {
            let bytes = message.encode();
            prop_assert!(Message::decode(&bytes[..cut.index(bytes.len())]).is_err());
        }

        #[test]
        fn no_bytes_make_the_decoder_panic(
            kind in 0u8..4, bytes in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let _ = Message::decode(&[&[GOSSIP_VERSION, kind][..], &bytes].concat());
        }
    }
}
