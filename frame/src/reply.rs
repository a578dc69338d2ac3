//! The replies of other servers, decoded.
//!
//! The decoding is that of the crate `redis-protocol`; this module is the guard in front of
//! it. The crate descends into nested replies by recursion, so a few kilobytes of `*1` would
//! overflow the stack, and it starts anew with every call, so a large reply that arrives in
//! pieces would be decoded over and over. Here the bytes are first walked without recursion
//! and without allocating, and the crate sees a reply only when it is known to be complete
//! and to nest no deeper than [`MAX_DEPTH`]: then no announced length exceeds what arrived.
//!
//! How it fails: "incomplete" is `Ok(None)`; [`ReplyError`] is a reply that no further bytes
//! can mend. Frames are the crate's own types, [`Resp2Frame`] and [`Resp3Frame`].
//!
//! Not done here: streamed aggregates and strings (`*?`, `$?`), blob errors in RESP2, and
//! inline HELLO, none of which Redis sends; they count as malformed. RESP3 nulls are `_`
//! only. The crate wants errors to be UTF-8 and verbatim strings to be `txt` or `mkd`.

use memchr::memmem;
use redis_protocol::error::RedisProtocolError;
use redis_protocol::{resp2, resp3};

use crate::Protocol;

/// A decoded RESP2 reply.
pub type Resp2Frame = resp2::types::OwnedFrame;
/// A decoded RESP3 reply.
pub type Resp3Frame = resp3::types::OwnedFrame;

/// How deep aggregates may nest within each other. Redis's own replies stay below ten.
pub const MAX_DEPTH: usize = 32;

/// A reply that cannot be decoded, however many bytes follow.
#[derive(Debug, thiserror::Error)]
pub enum ReplyError {
    /// The byte is not the start of a reply in this protocol version.
    #[error("a reply cannot start with the byte 0x{0:02x}")]
    UnknownType(u8),
    /// A length is no number, negative or beyond all memory, or bytes do not end where they
    /// were said to.
    #[error("a reply with a malformed length")]
    MalformedLength,
    /// Aggregates nest deeper than [`MAX_DEPTH`].
    #[error("a reply that nests deeper than {MAX_DEPTH}")]
    TooDeep,
    /// The reply is complete, but one of its values is malformed.
    #[error("a malformed reply: {0}")]
    Malformed(#[source] RedisProtocolError),
    /// The reply's parts do not add up.
    #[error("a reply of inconsistent length")]
    Inconsistent,
}

/// Decodes the first RESP2 reply in `buf`. Returns it with the number of its bytes, or `None`
/// while it is incomplete.
pub fn decode_resp2(buf: &[u8]) -> Result<Option<(Resp2Frame, usize)>, ReplyError> {
    let Some(len) = extent(buf, Protocol::Resp2)? else {
        return Ok(None);
    };
    whole(resp2::decode::decode(&buf[..len]), len).map(Some)
}

/// Decodes the first RESP3 reply in `buf`, attributes included. Returns it with the number of
/// its bytes, or `None` while it is incomplete.
pub fn decode_resp3(buf: &[u8]) -> Result<Option<(Resp3Frame, usize)>, ReplyError> {
    let Some(len) = extent(buf, Protocol::Resp3)? else {
        return Ok(None);
    };
    whole(resp3::decode::complete::decode(&buf[..len]), len).map(Some)
}

/// The crate is given exactly one reply and has to find exactly that.
fn whole<F>(
    decoded: Result<Option<(F, usize)>, RedisProtocolError>,
    len: usize,
) -> Result<(F, usize), ReplyError> {
    match decoded.map_err(ReplyError::Malformed)? {
        Some((frame, used)) if used == len => Ok((frame, len)),
        _ => Err(ReplyError::Inconsistent),
    }
}

/// How many bytes the first reply in `buf` takes, or `None` while it is incomplete. Values
/// are not looked at, only lengths. For skipping replies, and for forwarding them unread.
pub fn extent(buf: &[u8], protocol: Protocol) -> Result<Option<usize>, ReplyError> {
    // How many elements are missing at each level. Level 0 is the reply itself.
    let mut missing = [0u64; MAX_DEPTH + 1];
    missing[0] = 1;
    let mut depth = 0;
    let mut at = 0;
    // The last level to run empty is level 0, at which the walk is through.
    while depth > 0 || missing[0] > 0 {
        let Some((element, next)) = element(buf, at, protocol)? else {
            return Ok(None);
        };
        at = next;
        let elements = match element {
            Element::Leaf => 0,
            Element::Aggregate(elements) => elements,
            // An attribute stands in front of an element without being one.
            Element::Attribute(elements) => {
                missing[depth] += 1;
                elements
            }
        };
        missing[depth] -= 1;
        if elements > 0 {
            depth += 1;
            *missing.get_mut(depth).ok_or(ReplyError::TooDeep)? = elements;
        }
        while depth > 0 && missing[depth] == 0 {
            depth -= 1;
        }
    }
    Ok(Some(at))
}

/// One step of the walk, with the number of elements that belong to it.
enum Element {
    Leaf,
    Aggregate(u64),
    Attribute(u64),
}

/// Reads the header at `at`, and with it the bytes of a string. Returns what it is and where
/// the next element starts.
fn element(
    buf: &[u8],
    at: usize,
    protocol: Protocol,
) -> Result<Option<(Element, usize)>, ReplyError> {
    let Some(&kind) = buf.get(at) else {
        return Ok(None);
    };
    let known: &[u8] = match protocol {
        Protocol::Resp2 => b"+-:$*",
        Protocol::Resp3 => b"+-:$*_,#!=(~%>|",
    };
    if !known.contains(&kind) {
        return Err(ReplyError::UnknownType(kind));
    }
    let Some(line) = memmem::find(&buf[at + 1..], b"\r\n") else {
        return Ok(None);
    };
    let next = at + 1 + line + 2;
    let text = &buf[at + 1..next - 2];
    let null = protocol == Protocol::Resp2 && text == b"-1";
    Ok(match kind {
        b'$' | b'*' if null => Some((Element::Leaf, next)),
        b'$' | b'!' | b'=' => string(buf, next, number(text)?)?.map(|next| (Element::Leaf, next)),
        b'*' | b'~' | b'>' => Some((Element::Aggregate(number(text)?), next)),
        b'%' => Some((Element::Aggregate(number(text)? * 2), next)),
        b'|' => Some((Element::Attribute(number(text)? * 2), next)),
        _ => Some((Element::Leaf, next)),
    })
}

/// Where a string of `len` bytes at `at` ends, its line end included.
fn string(buf: &[u8], at: usize, len: u64) -> Result<Option<usize>, ReplyError> {
    let end = at + usize::try_from(len).map_err(|_| ReplyError::MalformedLength)?;
    match buf.get(end..end + 2) {
        None => Ok(None),
        Some(b"\r\n") => Ok(Some(end + 2)),
        Some(_) => Err(ReplyError::MalformedLength),
    }
}

/// A length: up to 15 digits, which is a petabyte and leaves room for sums.
fn number(text: &[u8]) -> Result<u64, ReplyError> {
    if !(1..=15).contains(&text.len()) || !text.iter().all(u8::is_ascii_digit) {
        return Err(ReplyError::MalformedLength);
    }
    Ok(text
        .iter()
        .fold(0, |n, &digit| n * 10 + u64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use redis_protocol::resp2::types::OwnedFrame as Two;
    use redis_protocol::resp3::types::OwnedFrame as Three;

    fn two(bytes: &[u8]) -> Option<Two> {
        let (frame, len) = decode_resp2(bytes).unwrap()?;
        assert_eq!(len, bytes.len());
        Some(frame)
    }

    fn three(bytes: &[u8]) -> Option<Three> {
        let (frame, len) = decode_resp3(bytes).unwrap()?;
        assert_eq!(len, bytes.len());
        Some(frame)
    }

    #[test]
    fn resp2_replies_decode() {
        assert_eq!(two(b"+OK\r\n"), Some(Two::SimpleString(b"OK".to_vec())));
        assert_eq!(two(b"-ERR no\r\n"), Some(Two::Error("ERR no".into())));
        assert_eq!(two(b"$-1\r\n"), Some(Two::Null));
        assert_eq!(two(b"*-1\r\n"), Some(Two::Null));
        assert_eq!(
            two(b"*2\r\n*1\r\n:7\r\n$2\r\n\r\n\r\n"),
            Some(Two::Array(vec![
                Two::Array(vec![Two::Integer(7)]),
                Two::BulkString(b"\r\n".to_vec())
            ]))
        );
    }

    #[test]
    fn resp3_replies_decode() {
        assert_eq!(three(b"_\r\n"), Some(Three::Null));
        assert_eq!(
            three(b",inf\r\n"),
            Some(Three::Double {
                data: f64::INFINITY,
                attributes: None
            })
        );
        let Some(Three::Map { data, .. }) = three(b"%1\r\n+a\r\n#t\r\n") else {
            panic!()
        };
        assert_eq!(data.len(), 1);
        let Some(Three::Number {
            data: 1,
            attributes,
        }) = three(b"|1\r\n+ttl\r\n:9\r\n:1\r\n")
        else {
            panic!()
        };
        assert_eq!(attributes.unwrap().len(), 1);
    }

    #[test]
    fn every_prefix_of_a_reply_is_incomplete() {
        let reply = b"|1\r\n+a\r\n*1\r\n:1\r\n%2\r\n$3\r\nfoo\r\n~1\r\n=5\r\ntxt:x\r\n:1\r\n>0\r\n";
        assert!(three(reply).is_some());
        for len in 0..reply.len() {
            assert!(decode_resp3(&reply[..len]).unwrap().is_none(), "{len}");
        }
    }

    #[test]
    fn nesting_is_bounded_without_recursion() {
        let nested = |depth| [b"*1\r\n".repeat(depth), b":1\r\n".to_vec()].concat();
        assert!(two(&nested(MAX_DEPTH)).is_some());
        assert!(three(&nested(MAX_DEPTH)).is_some());
        assert!(matches!(
            decode_resp2(&nested(MAX_DEPTH + 1)),
            Err(ReplyError::TooDeep)
        ));
        assert!(matches!(
            decode_resp3(&nested(1_000_000)),
            Err(ReplyError::TooDeep)
        ));
        let attributes = b"|1\r\n".repeat(1_000_000);
        assert!(matches!(
            decode_resp3(&attributes),
            Err(ReplyError::TooDeep)
        ));
    }

    #[test]
    fn a_declared_length_is_not_believed() {
        for reply in [
            "*999999999999999\r\n",
            "%999999999999999\r\n",
            "$999999999999999\r\n",
        ] {
            assert!(
                decode_resp3(reply.as_bytes()).unwrap().is_none(),
                "{reply:?}"
            );
        }
        for reply in [
            "*9999999999999999\r\n",
            "$\r\n",
            "$-2\r\n",
            "*?\r\n",
            "$+1\r\n",
            "$1\r\nabc",
        ] {
            let decoded = decode_resp3(reply.as_bytes());
            assert!(
                matches!(decoded, Err(ReplyError::MalformedLength)),
                "{reply:?}: {decoded:?}"
            );
        }
        assert!(matches!(
            decode_resp2(b"HELLO 3\r\n"),
            Err(ReplyError::UnknownType(b'H'))
        ));
        assert!(matches!(
            decode_resp2(b":x\r\n"),
            Err(ReplyError::Malformed(_))
        ));
    }

    proptest! {
        #[test]
        fn hostile_bytes_are_refused_or_awaited(
            pieces in prop::collection::vec(
                prop_oneof![
                    4 => prop::sample::select(vec![
                        &b"*1\r\n"[..], b"*2\r\n", b"%1\r\n", b"~2\r\n", b">1\r\n", b"|1\r\n",
                        b"$3\r\nabc\r\n", b"=4\r\ntxt:\r\n", b"=3\r\nabc\r\n", b"!1\r\nx\r\n",
                        b":1\r\n", b"_\r\n", b"#t\r\n", b",1.5\r\n", b"(9\r\n", b"+\r\n", b"-\xff\r\n",
                        b"$-1\r\n", b"*-1\r\n", b"*0\r\n", b"$?\r\n", b";1\r\n", b".\r\n", b"\r\n",
                    ]).prop_map(<[u8]>::to_vec),
                    1 => prop::collection::vec(any::<u8>(), 0..8),
                ],
                0..200,
            ),
        ) {
            let bytes = pieces.concat();
            for decoded in [
                decode_resp2(&bytes).map(|d| d.map(|(_, len)| len)),
                decode_resp3(&bytes).map(|d| d.map(|(_, len)| len)),
            ] {
                if let Ok(Some(len)) = decoded {
                    prop_assert!((1..=bytes.len()).contains(&len));
                }
            }
        }
    }
}
