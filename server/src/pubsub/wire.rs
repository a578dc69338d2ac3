//! What nodes say to each other about channels.
//!
//! ```text
//! message  = PUBLISH shard u8 | channel | payload
//!          | INTEREST version | begins u8 | change*   what the sender has listeners for
//!          | HEARD version | bytes                    up to where the receiver has handled both
//! change   = what u8 | name                           what: kind, +3 if it is taken back, 6 for all
//! ```
//!
//! Numbers are LEB128, names and payloads stand behind their lengths. `begins` is 1 where the changes
//! start from nothing, which they do in each session.

use bailiwick_replication::ConfigurationId;
use bailiwick_replication::link::{Class, Frame};
use bytes::Bytes;

use super::{Kind, Message};
use crate::group::NODE_SERVICES;
use crate::state::{DecodeError, Reader, put_bytes, put_varint};

/// The kind of node service that publishing is.
pub const PUBSUB_SERVICE: ConfigurationId = ConfigurationId(3);

const PUBLISH: u8 = 1;
const INTEREST: u8 = 2;
const HEARD: u8 = 3;

/// A message that was received.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said<'a> {
    Publish(Message<'a>),
    Interest {
        version: u64,
        begins: bool,
        changes: Vec<Change<'a>>,
    },
    Heard {
        version: u64,
        bytes: u64,
    },
}

/// A change of what a node has listeners for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change<'a> {
    Add(Kind, &'a [u8]),
    Remove(Kind, &'a [u8]),
    /// More than it wants to name.
    All,
}

pub(super) fn publish(message: &Message<'_>) -> Bytes {
    let bytes = message.channel.len() + message.payload.len();
    let mut out = Vec::with_capacity(bytes + 16);
    out.extend([PUBLISH, u8::from(message.is_sharded)]);
    put_bytes(&mut out, message.channel);
    put_bytes(&mut out, message.payload);
    out.into()
}

pub(super) fn interest<'a>(
    version: u64,
    begins: bool,
    changes: impl IntoIterator<Item = Change<'a>>,
) -> Bytes {
    let mut out = vec![INTEREST];
    put_varint(&mut out, version);
    out.push(u8::from(begins));
    for change in changes {
        let (what, name) = match change {
            Change::Add(kind, name) => (kind as u8, name),
            Change::Remove(kind, name) => (kind as u8 + 3, name),
            Change::All => (6, &b""[..]),
        };
        out.push(what);
        put_bytes(&mut out, name);
    }
    out.into()
}

pub(super) fn heard(version: u64, bytes: u64) -> Bytes {
    let mut out = vec![HEARD];
    put_varint(&mut out, version);
    put_varint(&mut out, bytes);
    out.into()
}

/// The payload as a frame.
pub(super) fn frame(payload: Bytes) -> Frame {
    Frame {
        class: Class::Ordered,
        group: NODE_SERVICES,
        configuration: PUBSUB_SERVICE,
        payload,
    }
}

pub(super) fn decode(payload: &[u8]) -> Result<Said<'_>, DecodeError> {
    let mut reader = Reader::new(payload);
    let [tag] = reader.array()?;
    let said = match tag {
        PUBLISH => Said::Publish(Message {
            is_sharded: flag(&mut reader)?,
            channel: reader.string()?,
            payload: reader.string()?,
        }),
        INTEREST => {
            let version = reader.varint()?;
            let begins = flag(&mut reader)?;
            let mut changes = Vec::new();
            while !reader.is_done() {
                changes.push(change(&mut reader)?);
            }
            Said::Interest {
                version,
                begins,
                changes,
            }
        }
        HEARD => Said::Heard {
            version: reader.varint()?,
            bytes: reader.varint()?,
        },
        _ => return Err(DecodeError::Malformed(0)),
    };
    if reader.is_done() {
        Ok(said)
    } else {
        Err(DecodeError::Malformed(reader.at()))
    }
}

fn flag(reader: &mut Reader<'_>) -> Result<bool, DecodeError> {
    let at = reader.at();
    match reader.array()? {
        [0] => Ok(false),
        [1] => Ok(true),
        _ => Err(DecodeError::Malformed(at)),
    }
}

fn change<'a>(reader: &mut Reader<'a>) -> Result<Change<'a>, DecodeError> {
    let at = reader.at();
    let [what] = reader.array()?;
    let name = reader.string()?;
    let kind = Kind::ALL.get(usize::from(what % 3));
    match (what, kind) {
        (0..3, Some(kind)) => Ok(Change::Add(*kind, name)),
        (3..6, Some(kind)) => Ok(Change::Remove(*kind, name)),
        (6, _) => Ok(Change::All),
        _ => Err(DecodeError::Malformed(at)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_message_reads_back_as_it_was_written() {
        let message = Message {
            is_sharded: true,
            channel: b"channel",
            payload: b"",
        };
        assert_eq!(decode(&publish(&message)), Ok(Said::Publish(message)));
        let changes = vec![
            Change::Add(Kind::Pattern, b"a*"),
            Change::Remove(Kind::Shard, b""),
            Change::All,
        ];
        let bytes = interest(1 << 40, true, changes.iter().copied());
        let said = Said::Interest {
            version: 1 << 40,
            begins: true,
            changes,
        };
        assert_eq!(decode(&bytes), Ok(said));
        let said = Said::Heard {
            version: 3,
            bytes: 300,
        };
        assert_eq!(decode(&heard(3, 300)), Ok(said));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = decode(&bytes);
        }
    }
}
