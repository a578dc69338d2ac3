//! The three messages that open a connection. No I/O, no clock.
//!
//! Owns their format. The node that connects sends [`Greeting`], the other answers with
//! [`Answer`], and the first confirms or refuses in turn: only then does the connection count, so
//! that each side has checked the other. Numbers are little-endian:
//!
//! ```text
//! magic 8 bytes, version u32, length of the body u32, body, CRC-32 of all before
//! ```
//!
//! Magic and version stand at the same place in every version and are looked at before anything
//! else, so nodes of different versions can tell each other so.

use super::session::Stamp;
use super::types::Hello;
use crate::{ClusterId, NodeId};

/// The version of handshake and frames that this build speaks.
pub(super) const VERSION: u32 = 1;
/// What stands before a message's body.
pub(super) const HEAD_BYTES: usize = 16;

const MAGIC: &[u8; 8] = b"BWLINK\r\n";
const CRC_BYTES: usize = 4;
const MAX_TEXT_BYTES: usize = 512;
const MAX_BODY_BYTES: usize = 1024;
const IDENTITY_BYTES: usize = 16 + 4 * 8;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Urgent and ordered frames; a session needs one each way.
    Consensus,
    /// Bulk frames, within a session.
    Bulk,
}

/// A node with its current place in the order of its sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) hello: Hello,
    pub(super) epoch: u64,
}

impl Identity {
    /// What tells this session of the node from its others.
    pub(super) fn stamp(&self) -> Stamp {
        Stamp {
            disk: self.hello.disk,
            incarnation: self.hello.incarnation,
            epoch: self.epoch,
        }
    }
}

/// The first message, from the node that connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Greeting {
    pub(super) purpose: Purpose,
    pub(super) identity: Identity,
    /// The node it wants to reach.
    pub(super) to: NodeId,
}

/// What a side decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Accepted,
    /// Not wanted, with the reason.
    Refused(String),
    /// Only not now, with the reason.
    Later(String),
}

/// The second message; the third has the same form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) verdict: Verdict,
    pub(super) identity: Identity,
}

/// Why a handshake message cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum HandshakeError {
    #[error("the other side does not speak the protocol of links")]
    Foreign,
    #[error("the other side speaks version {0} of the protocol of links, this node {VERSION}")]
    Version(u32),
    #[error("a damaged handshake")]
    Malformed,
}

impl Greeting {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut body = vec![self.purpose as u8];
        put_identity(&mut body, &self.identity);
        body.extend_from_slice(&self.to.0.to_le_bytes());
        seal(&body)
    }

    /// Reads a message that [`body_bytes`] has found whole.
    pub(super) fn decode(message: &[u8]) -> Result<Greeting, HandshakeError> {
        let body = unseal(message)?;
        if body.len() != 1 + IDENTITY_BYTES + 8 {
            return Err(HandshakeError::Malformed);
        }
        Ok(Greeting {
            purpose: match body[0] {
                0 => Purpose::Consensus,
                1 => Purpose::Bulk,
                _ => return Err(HandshakeError::Malformed),
            },
            identity: identity(&body[1..]),
            to: NodeId(u64::from_le_bytes(array(&body[1 + IDENTITY_BYTES..]))),
        })
    }
}

impl Answer {
    pub(super) fn encode(&self) -> Vec<u8> {
        let (verdict, text) = match &self.verdict {
            Verdict::Accepted => (0, ""),
            Verdict::Refused(text) => (1, text.as_str()),
            Verdict::Later(text) => (2, text.as_str()),
        };
        let mut body = vec![verdict];
        put_identity(&mut body, &self.identity);
        body.extend_from_slice(cut(text).as_bytes());
        seal(&body)
    }

    /// Reads a message that [`body_bytes`] has found whole.
    pub(super) fn decode(message: &[u8]) -> Result<Answer, HandshakeError> {
        let body = unseal(message)?;
        if body.len() < 1 + IDENTITY_BYTES {
            return Err(HandshakeError::Malformed);
        }
        let text = String::from_utf8_lossy(&body[1 + IDENTITY_BYTES..]);
        // The text goes into logs and replies, where control characters could pass for others'
        // lines.
        let text = text
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        Ok(Answer {
            verdict: match body[0] {
                0 => Verdict::Accepted,
                1 => Verdict::Refused(text),
                2 => Verdict::Later(text),
                _ => return Err(HandshakeError::Malformed),
            },
            identity: identity(&body[1..]),
        })
    }
}

/// How many bytes follow a head, checksum included.
pub(super) fn body_bytes(head: &[u8; HEAD_BYTES]) -> Result<usize, HandshakeError> {
    if !head.starts_with(MAGIC) {
        return Err(HandshakeError::Foreign);
    }
    let version = u32::from_le_bytes(array(&head[8..]));
    if version != VERSION {
        return Err(HandshakeError::Version(version));
    }
    let body = u32::from_le_bytes(array(&head[12..])) as usize;
    match body <= MAX_BODY_BYTES {
        true => Ok(body + CRC_BYTES),
        false => Err(HandshakeError::Malformed),
    }
}

/// As much of a text as a message may carry.
fn cut(text: &str) -> &str {
    let fits = |end: &usize| text.is_char_boundary(*end);
    let end = (0..=text.len().min(MAX_TEXT_BYTES)).rev().find(fits);
    &text[..end.unwrap_or(0)]
}

fn put_identity(body: &mut Vec<u8>, identity: &Identity) {
    let hello = &identity.hello;
    body.extend_from_slice(&hello.cluster.0);
    for number in [hello.node.0, hello.disk, hello.incarnation, identity.epoch] {
        body.extend_from_slice(&number.to_le_bytes());
    }
}

fn identity(bytes: &[u8]) -> Identity {
    let number = |at: usize| u64::from_le_bytes(array(&bytes[at..]));
    Identity {
        hello: Hello {
            cluster: ClusterId(array(bytes)),
            node: NodeId(number(16)),
            disk: number(24),
            incarnation: number(32),
            session: 0,
        },
        epoch: number(40),
    }
}

fn seal(body: &[u8]) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&(body.len() as u32).to_le_bytes());
    out.extend_from_slice(body);
    let crc = crc32fast::hash(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    out
}

fn unseal(message: &[u8]) -> Result<&[u8], HandshakeError> {
    let split = message.len().checked_sub(CRC_BYTES);
    let (rest, crc) = message.split_at(split.ok_or(HandshakeError::Malformed)?);
    match crc32fast::hash(rest) == u32::from_le_bytes(array(crc)) {
        true => rest.get(HEAD_BYTES..).ok_or(HandshakeError::Malformed),
        false => Err(HandshakeError::Malformed),
    }
}

/// The first `N` bytes of a slice whose length has been checked.
fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes[..N].try_into().expect("the slice has N bytes")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn some_identity() -> Identity {
        let hello = Hello {
            cluster: ClusterId([7; 16]),
            node: NodeId(1),
            disk: 2,
            incarnation: 3,
            session: 0,
        };
        Identity { hello, epoch: 4 }
    }

    #[test]
    fn messages_come_back_as_they_were_written() {
        for purpose in [Purpose::Consensus, Purpose::Bulk] {
            let identity = some_identity();
            let to = NodeId(9);
            let greeting = Greeting {
                purpose,
                identity,
                to,
            };
            let bytes = greeting.encode();
            let head = bytes.first_chunk().unwrap();
            assert_eq!(body_bytes(head), Ok(bytes.len() - HEAD_BYTES));
            assert_eq!(Greeting::decode(&bytes), Ok(greeting));
        }
        let no = "no".to_owned();
        for verdict in [
            Verdict::Accepted,
            Verdict::Refused(no.clone()),
            Verdict::Later(no),
        ] {
            let identity = some_identity();
            let answer = Answer { verdict, identity };
            assert_eq!(Answer::decode(&answer.encode()), Ok(answer));
        }
    }

    #[test]
    fn a_text_is_cut_to_its_bound_and_loses_control_characters() {
        let verdict = Verdict::Refused(format!("a\nb{}", "é".repeat(600)));
        let identity = some_identity();
        let bytes = Answer { verdict, identity }.encode();
        assert!(body_bytes(bytes.first_chunk().unwrap()).is_ok());
        let Verdict::Refused(text) = Answer::decode(&bytes).unwrap().verdict else {
            panic!("not refused");
        };
        assert!(text.starts_with("a bé") && text.len() <= MAX_TEXT_BYTES);
    }

    #[test]
    fn another_version_is_told_from_another_protocol() {
        let mut head = [0; HEAD_BYTES];
        assert_eq!(body_bytes(&head), Err(HandshakeError::Foreign));
        head[..8].copy_from_slice(MAGIC);
        head[8] = 99;
        assert_eq!(body_bytes(&head), Err(HandshakeError::Version(99)));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_no_message(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            prop_assert!(Greeting::decode(&bytes).is_err());
            prop_assert!(Answer::decode(&bytes).is_err());
        }
    }
}
