//! Frames to bytes and back. No I/O, no clock.
//!
//! Owns the format of everything behind the handshake. A frame on the wire, numbers little-endian:
//!
//! ```text
//! length of the payload  u32   <= FRAGMENT_BYTES
//! kind                   u8    0 urgent, 1 ordered, 2 bulk, 3 ping, 4 pong
//! flags                  u8    bit 0: more fragments of this message follow
//! group                  u32
//! configuration          u32
//! CRC-32                 u32   of all the above and the payload
//! payload
//! ```
//!
//! A message longer than a fragment goes out as several frames of its class; those of one message
//! are not mixed with others of the class, so one unfinished message a class is all the decoder
//! has to remember. A ping carries an opaque number which its pong repeats.
//!
//! Decoding fails with [`CodecError`], after which the stream is of no use. Memory grows only with
//! what has arrived: a length beyond the bound is refused before anything is kept for it.

use bytes::{Bytes, BytesMut};

use super::types::{Class, Frame};
use crate::{ConfigurationId, GroupId};

/// The longest payload of a frame on the wire. Short enough that an urgent frame waits less than a
/// millisecond behind one on a fast network.
pub(super) const FRAGMENT_BYTES: usize = 256 << 10;
/// What stands before each payload.
pub(super) const HEADER_BYTES: usize = 18;

const CRC_AT: usize = 14;
const PING: u8 = 3;
const PONG: u8 = 4;
const MORE: u8 = 1;
const READ_BYTES: usize = 64 << 10;
/// With less room than this in the read buffer, a new one is taken.
const MIN_READ_BYTES: usize = 4 << 10;

/// What a decoder yields.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// A whole message.
    Message(Frame),
    /// A probe, to be answered with the same number.
    Ping(u64),
    /// The answer to a probe.
    Pong(u64),
}

/// Why bytes are not frames of ours.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum CodecError {
    /// A frame or message beyond its bound.
    #[error("a {what} of {bytes} bytes, at most {most} are allowed")]
    Oversized {
        /// Frame or message.
        what: &'static str,
        /// Its length as far as known.
        bytes: usize,
        /// The bound.
        most: usize,
    },
    /// Something that no sender of ours writes.
    #[error("{0}")]
    Malformed(&'static str),
}

/// Appends a frame, or its part from `offset` on as one fragment; returns the offset behind it,
/// which is the payload's length when the message is complete.
pub(super) fn encode(out: &mut Vec<u8>, frame: &Frame, offset: usize) -> usize {
    let end = frame.payload.len().min(offset + FRAGMENT_BYTES);
    let flags = if end < frame.payload.len() { MORE } else { 0 };
    let tag = (frame.group, frame.configuration);
    put(
        out,
        frame.class as u8,
        flags,
        tag,
        &frame.payload[offset..end],
    );
    end
}

/// Appends a probe.
pub(super) fn encode_ping(out: &mut Vec<u8>, number: u64) {
    put(out, PING, 0, Default::default(), &number.to_le_bytes());
}

/// Appends the answer to a probe.
pub(super) fn encode_pong(out: &mut Vec<u8>, number: u64) {
    put(out, PONG, 0, Default::default(), &number.to_le_bytes());
}

/// Cuts messages out of a stream of bytes.
///
/// `unfinished[c].len() <= max_message_bytes` for each class.
pub(super) struct Decoder {
    buffer: BytesMut,
    unfinished: [Option<Unfinished>; 3],
    max_message_bytes: usize,
}

/// The fragments of a message that have arrived.
struct Unfinished {
    tag: (GroupId, ConfigurationId),
    payload: BytesMut,
}

impl Decoder {
    pub(super) fn new(max_message_bytes: usize) -> Decoder {
        Decoder {
            buffer: BytesMut::new(),
            unfinished: [const { None }; 3],
            max_message_bytes,
        }
    }

    /// Where to read into: it has room for the rest of the frame that has begun to arrive, and for
    /// at least a few kilobytes.
    pub(super) fn buffer(&mut self) -> &mut BytesMut {
        let missing = match self.header() {
            Some(header) => (HEADER_BYTES + header.payload_bytes).saturating_sub(self.buffer.len()),
            None => 0,
        };
        let room = self.buffer.capacity() - self.buffer.len();
        if room < missing.max(MIN_READ_BYTES) {
            self.buffer.reserve(missing.max(READ_BYTES));
        }
        &mut self.buffer
    }

    /// The next item, or `None` if more bytes are needed.
    pub(super) fn next(&mut self) -> Result<Option<Item>, CodecError> {
        while let Some(header) = self.header() {
            header.check()?;
            if self.buffer.len() < HEADER_BYTES + header.payload_bytes {
                return Ok(None);
            }
            let mut frame = self
                .buffer
                .split_to(HEADER_BYTES + header.payload_bytes)
                .freeze();
            if header.crc != crc(&frame[..CRC_AT], &frame[HEADER_BYTES..]) {
                return Err(CodecError::Malformed("a frame's checksum does not match"));
            }
            let payload = frame.split_off(HEADER_BYTES);
            if let Some(item) = self.item(&header, payload)? {
                return Ok(Some(item));
            }
        }
        Ok(None)
    }

    fn header(&self) -> Option<Header> {
        self.buffer.first_chunk().map(Header::read)
    }

    fn item(&mut self, header: &Header, payload: Bytes) -> Result<Option<Item>, CodecError> {
        let Some(class) = header.class() else {
            let number = payload[..].try_into().map(u64::from_le_bytes);
            let number = number.map_err(|_| CodecError::Malformed("a probe of a wrong length"))?;
            return Ok(Some(match header.kind {
                PING => Item::Ping(number),
                _ => Item::Pong(number),
            }));
        };
        let slot = &mut self.unfinished[class as usize];
        let payload = match (slot.as_mut(), header.flags & MORE != 0) {
            (None, false) => payload,
            (None, true) => {
                let payload = BytesMut::from(&payload[..]);
                let tag = header.tag;
                check_message(payload.len(), self.max_message_bytes)?;
                *slot = Some(Unfinished { tag, payload });
                return Ok(None);
            }
            (Some(unfinished), more) => {
                unfinished.add(header.tag, &payload, self.max_message_bytes)?;
                match slot.take_if(|_| !more) {
                    Some(finished) => finished.payload.freeze(),
                    None => return Ok(None),
                }
            }
        };
        check_message(payload.len(), self.max_message_bytes)?;
        Ok(Some(Item::Message(Frame {
            class,
            group: header.tag.0,
            configuration: header.tag.1,
            payload,
        })))
    }
}

impl Unfinished {
    fn add(
        &mut self,
        tag: (GroupId, ConfigurationId),
        fragment: &[u8],
        most: usize,
    ) -> Result<(), CodecError> {
        if tag != self.tag {
            return Err(CodecError::Malformed("fragments of two messages are mixed"));
        }
        check_message(self.payload.len() + fragment.len(), most)?;
        self.payload.extend_from_slice(fragment);
        Ok(())
    }
}

struct Header {
    payload_bytes: usize,
    kind: u8,
    flags: u8,
    tag: (GroupId, ConfigurationId),
    crc: u32,
}

impl Header {
    fn read(bytes: &[u8; HEADER_BYTES]) -> Header {
        let number = |at: usize| {
            let four = bytes[at..at + 4].try_into().expect("the slice has 4 bytes");
            u32::from_le_bytes(four)
        };
        Header {
            payload_bytes: number(0) as usize,
            kind: bytes[4],
            flags: bytes[5],
            tag: (GroupId(number(6)), ConfigurationId(number(10))),
            crc: number(CRC_AT),
        }
    }

    /// What can be told before the payload is there.
    fn check(&self) -> Result<(), CodecError> {
        if self.payload_bytes > FRAGMENT_BYTES {
            return Err(CodecError::Oversized {
                what: "frame",
                bytes: self.payload_bytes,
                most: FRAGMENT_BYTES,
            });
        }
        if self.kind > PONG || self.flags & !MORE != 0 {
            return Err(CodecError::Malformed("a frame of an unknown kind"));
        }
        let fragment = self.flags & MORE != 0;
        if fragment && (self.kind >= PING || self.payload_bytes == 0) {
            return Err(CodecError::Malformed("a fragment that cannot be one"));
        }
        Ok(())
    }

    fn class(&self) -> Option<Class> {
        Class::ALL.get(usize::from(self.kind)).copied()
    }
}

fn check_message(bytes: usize, most: usize) -> Result<(), CodecError> {
    let what = "message";
    match bytes <= most {
        true => Ok(()),
        false => Err(CodecError::Oversized { what, bytes, most }),
    }
}

fn put(out: &mut Vec<u8>, kind: u8, flags: u8, tag: (GroupId, ConfigurationId), payload: &[u8]) {
    let mut header = [0; HEADER_BYTES];
    header[..4].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    header[4] = kind;
    header[5] = flags;
    header[6..10].copy_from_slice(&tag.0.0.to_le_bytes());
    header[10..CRC_AT].copy_from_slice(&tag.1.0.to_le_bytes());
    let crc = crc(&header[..CRC_AT], payload);
    header[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(&header);
    out.extend_from_slice(payload);
}

fn crc(header: &[u8], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(header);
    hasher.update(payload);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(class: Class, payload: Vec<u8>) -> Frame {
        Frame {
            class,
            group: GroupId(7),
            configuration: ConfigurationId(9),
            payload: payload.into(),
        }
    }

    fn encode_whole(out: &mut Vec<u8>, frame: &Frame) {
        let mut offset = encode(out, frame, 0);
        while offset < frame.payload.len() {
            offset = encode(out, frame, offset);
        }
    }

    fn feed(decoder: &mut Decoder, bytes: &[u8]) -> Result<Vec<Item>, CodecError> {
        decoder.buffer().extend_from_slice(bytes);
        let mut items = Vec::new();
        while let Some(item) = decoder.next()? {
            items.push(item);
        }
        Ok(items)
    }

    fn any_frame() -> impl Strategy<Value = Frame> {
        let payload = prop_oneof![
            8 => proptest::collection::vec(any::<u8>(), 0..200),
            1 => (0..3 * FRAGMENT_BYTES, any::<u8>()).prop_map(|(len, byte)| vec![byte; len]),
        ];
        (0..3usize, any::<u32>(), any::<u32>(), payload).prop_map(
            |(class, group, conf, payload)| Frame {
                class: Class::ALL[class],
                group: GroupId(group),
                configuration: ConfigurationId(conf),
                payload: payload.into(),
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn frames_come_back_however_the_bytes_are_split(
            frames in proptest::collection::vec(any_frame(), 0..8),
            cuts in proptest::collection::vec(1..100_000usize, 1..20),
        ) {
            let mut bytes = Vec::new();
            for frame in &frames {
                encode_whole(&mut bytes, frame);
                encode_ping(&mut bytes, frame.payload.len() as u64);
            }
            let mut decoder = Decoder::new(1 << 30);
            let mut items = Vec::new();
            let mut rest = &bytes[..];
            let mut cuts = cuts.iter().cycle();
            while !rest.is_empty() {
                let (now, later) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
                items.extend(feed(&mut decoder, now).unwrap());
                rest = later;
            }
            let expected = frames.into_iter().flat_map(|frame| {
                let ping = Item::Ping(frame.payload.len() as u64);
                [Item::Message(frame), ping]
            });
            prop_assert_eq!(items, expected.collect::<Vec<_>>());
            prop_assert!(decoder.buffer.is_empty());
        }

        #[test]
        fn a_flipped_bit_is_never_taken_for_a_frame(
            payload in proptest::collection::vec(any::<u8>(), 0..60), at: prop::sample::Index,
            bit in 0..8u32,
        ) {
            let mut bytes = Vec::new();
            encode_whole(&mut bytes, &frame(Class::Ordered, payload));
            let at = at.index(bytes.len());
            bytes[at] ^= 1u8 << bit;
            // A longer length makes the decoder wait; more bytes then show the damage.
            bytes.resize(bytes.len() + FRAGMENT_BYTES, 0);
            prop_assert!(feed(&mut Decoder::new(1 << 20), &bytes).is_err());
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = feed(&mut Decoder::new(1 << 20), &bytes);
        }
    }

    #[test]
    fn an_urgent_frame_fits_between_the_fragments_of_another() {
        let (big, urgent) = (
            frame(Class::Ordered, vec![1; 2 * FRAGMENT_BYTES]),
            frame(Class::Urgent, vec![2]),
        );
        let mut bytes = Vec::new();
        let offset = encode(&mut bytes, &big, 0);
        encode(&mut bytes, &urgent, 0);
        assert_eq!(encode(&mut bytes, &big, offset), big.payload.len());
        let items = feed(&mut Decoder::new(1 << 20), &bytes).unwrap();
        assert_eq!(items, [Item::Message(urgent), Item::Message(big)]);
    }

    #[test]
    fn a_frame_beyond_the_bound_is_refused_from_its_header() {
        let mut bytes = Vec::new();
        encode_whole(&mut bytes, &frame(Class::Urgent, vec![]));
        bytes[..4].copy_from_slice(&(FRAGMENT_BYTES as u32 + 1).to_le_bytes());
        let mut decoder = Decoder::new(1 << 20);
        let error = feed(&mut decoder, &bytes).unwrap_err();
        assert!(matches!(error, CodecError::Oversized { what: "frame", .. }));
    }

    #[test]
    fn a_message_beyond_the_bound_is_refused_when_it_gets_there() {
        let mut bytes = Vec::new();
        encode_whole(&mut bytes, &frame(Class::Bulk, vec![0; 3 * FRAGMENT_BYTES]));
        assert!(feed(&mut Decoder::new(3 * FRAGMENT_BYTES), &bytes).is_ok());
        let error = feed(&mut Decoder::new(2 * FRAGMENT_BYTES), &bytes).unwrap_err();
        assert!(matches!(
            error,
            CodecError::Oversized {
                what: "message",
                ..
            }
        ));
    }

    #[test]
    fn fragments_of_two_messages_do_not_mix() {
        let mut bytes = Vec::new();
        let mut big = frame(Class::Ordered, vec![0; 2 * FRAGMENT_BYTES]);
        encode(&mut bytes, &big, 0);
        big.group = GroupId(8);
        encode(&mut bytes, &big, FRAGMENT_BYTES);
        let error = feed(&mut Decoder::new(1 << 20), &bytes).unwrap_err();
        assert!(matches!(error, CodecError::Malformed(_)));
    }
}
