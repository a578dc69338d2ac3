//! What nodes say to each other about channels.
//!
//! ```text
//! message  = PUBLISH shard u8 | channel | payload
//!          | INTEREST version | begins u8 | change*   what the sender has listeners for
//!          | HEARD version | bytes                    up to where the receiver has handled both
//!          | WATCH group | UNWATCH group | WATCHING group | LOST group
//!          | TOUCHED group | touch*                   see `notices::watching`
//! change   = what u8 | name                           what: kind, +3 if it is taken back, 6 for all,
//!                                                     7 for the classes of events, as a number
//! touch    = what u8 | author | key                   what: 0 changed, 1 all cleared, 2 handed out,
//!                                                     3 changed by the author, whom no other has
//! author   = node | life | number
//! ```
//!
//! Numbers are LEB128, names and payloads stand behind their lengths. `begins` is 1 where the
//! changes start from nothing, which they do in each session.

use bailiwick_replication::link::{Class, Frame};
use bailiwick_replication::{ConfigurationId, GroupId};
use bytes::Bytes;

use super::{Kind, Message};
use crate::commands::touch::{Author, Touch, What};
use crate::group::NODE_SERVICES;
use crate::state::{DecodeError, Reader, put_bytes, put_varint};

/// The kind of node service that publishing is.
pub const PUBSUB_SERVICE: ConfigurationId = ConfigurationId(3);

const PUBLISH: u8 = 1;
const INTEREST: u8 = 2;
const HEARD: u8 = 3;
const WATCH: u8 = 4;
const UNWATCH: u8 = 5;
const WATCHING: u8 = 6;
const LOST: u8 = 7;
const TOUCHED: u8 = 8;

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
    Note(Note),
}

/// What concerns the keys of a group, and clients that keep copies of values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// The sender wants to be told of all writes.
    Watch(GroupId),
    /// Not any more.
    Unwatch(GroupId),
    /// The sender tells of all writes from now on.
    Watching(GroupId),
    /// It does not, or some may have been missed.
    Lost(GroupId),
    /// These were written. Of what was done only as much arrives as concerns copies.
    Touched(GroupId, Vec<Touch>),
}

/// A change of what a node has listeners for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change<'a> {
    Add(Kind, &'a [u8]),
    Remove(Kind, &'a [u8]),
    /// More than it wants to name.
    All,
    /// The classes of events that it wants, as `commands::touch::class` has them.
    Classes(u32),
}

pub(super) fn note(note: &Note) -> Bytes {
    let (tag, group) = match note {
        Note::Watch(group) => (WATCH, group),
        Note::Unwatch(group) => (UNWATCH, group),
        Note::Watching(group) => (WATCHING, group),
        Note::Lost(group) => (LOST, group),
        Note::Touched(group, _) => (TOUCHED, group),
    };
    let mut out = vec![tag];
    put_varint(&mut out, u64::from(group.0));
    if let Note::Touched(_, touches) = note {
        for touch in touches {
            out.push(match touch.what {
                What::Missed | What::Announced => continue,
                What::Cleared => 1,
                What::HandedOut => 2,
                _ if touch.author.number > 0 => 3,
                _ => 0,
            });
            if out.last() == Some(&3) {
                let author = touch.author;
                for number in [author.node.into(), author.life, author.number] {
                    put_varint(&mut out, number);
                }
            }
            put_bytes(&mut out, &touch.key);
        }
    }
    out.into()
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
            Change::Classes(classes) => {
                out.push(7);
                put_bytes(&mut out, &classes.to_le_bytes());
                continue;
            }
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
        WATCH..=TOUCHED => Said::Note(take_note(tag, &mut reader)?),
        _ => return Err(DecodeError::Malformed(0)),
    };
    if reader.is_done() {
        Ok(said)
    } else {
        Err(DecodeError::Malformed(reader.at()))
    }
}

fn take_note(tag: u8, reader: &mut Reader<'_>) -> Result<Note, DecodeError> {
    let malformed = DecodeError::Malformed(reader.at());
    let group = u32::try_from(reader.varint()?).map_err(|_| malformed)?;
    let group = GroupId(group);
    Ok(match tag {
        WATCH => Note::Watch(group),
        UNWATCH => Note::Unwatch(group),
        WATCHING => Note::Watching(group),
        LOST => Note::Lost(group),
        _ => {
            let mut touches = Vec::new();
            while !reader.is_done() {
                touches.push(take_touch(reader)?);
            }
            Note::Touched(group, touches)
        }
    })
}

fn take_touch(reader: &mut Reader<'_>) -> Result<Touch, DecodeError> {
    let malformed = DecodeError::Malformed(reader.at());
    let [what] = reader.array()?;
    let mut author = Author::default();
    if what == 3 {
        author = Author {
            node: u32::try_from(reader.varint()?).map_err(|_| malformed)?,
            life: reader.varint()?,
            number: reader.varint()?,
        };
    }
    let what = match what {
        0 | 3 => What::Changed {
            is_new: false,
            expires: false,
        },
        1 => What::Cleared,
        2 => What::HandedOut,
        _ => return Err(malformed),
    };
    Ok(Touch {
        database: 0,
        key: reader.string()?.into(),
        what,
        event: None,
        author,
    })
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
        (7, _) => {
            let classes = name.try_into().map_err(|_| DecodeError::Malformed(at))?;
            Ok(Change::Classes(u32::from_le_bytes(classes)))
        }
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
            Change::Classes(1 << 13),
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
        let touch = |what, author| Touch {
            database: 0,
            key: Box::from(&b"key"[..]),
            what,
            event: None,
            author,
        };
        let (nobody, changed) = (
            Author::default(),
            What::Changed {
                is_new: false,
                expires: false,
            },
        );
        let somebody = Author {
            node: 7,
            life: 1 << 40,
            number: 300,
        };
        let group = GroupId(70_000);
        for said in [
            Note::Watch(group),
            Note::Unwatch(group),
            Note::Watching(group),
            Note::Lost(group),
            Note::Touched(
                group,
                vec![
                    touch(What::HandedOut, nobody),
                    touch(What::Cleared, nobody),
                    touch(changed, nobody),
                    touch(changed, somebody),
                ],
            ),
        ] {
            assert_eq!(decode(&note(&said)), Ok(Said::Note(said)));
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = decode(&bytes);
        }
    }
}
