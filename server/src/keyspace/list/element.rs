//! One element of a list, and the bytes that stand for it.
//!
//! The form is that of an entry of Redis's listpack, to the byte: Redis's limits count these bytes,
//! so equal sizes make `OBJECT ENCODING` answer alike, and a dump can take them as they are.
//!
//! ```text
//! entry  = body | length of the body, readable backwards
//! body   = 0xxxxxxx                       0 to 127
//!        | 10llllll bytes                 up to 63 bytes
//!        | 110xxxxx x                     13 bits, signed
//!        | 1110llll l bytes               up to 4,095 bytes
//!        | 11110000 l l l l bytes         more
//!        | 11110001 .. 11110100, number   16, 24, 32 or 64 bits, signed, little-endian
//! ```
//!
//! Each element has one form only: what is the decimal form of a number is kept as the number, in
//! as few bytes as it needs. So elements are equal when their entries are. Reading trusts its
//! bytes, except in [`checked`], which is for those that come from a file.

use crate::keyspace::parse_canonical_int;

/// The longest string whose length stands in the first byte.
const SHORT_MAX_BYTES: usize = 63;
/// The longest string whose length takes two bytes.
const MEDIUM_MAX_BYTES: usize = 4095;

const LONG_STRING: u8 = 0xf0;
const INT_16: u8 = 0xf1;
const INT_24: u8 = 0xf2;
const INT_32: u8 = 0xf3;
const INT_64: u8 = 0xf4;

/// A borrowed element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element<'a> {
    /// The decimal form of this number.
    Int(i64),
    /// Bytes that are no such form.
    Bytes(&'a [u8]),
}

impl<'a> Element<'a> {
    /// The element that a client means by these bytes.
    #[must_use]
    pub fn of(bytes: &'a [u8]) -> Self {
        parse_canonical_int(bytes).map_or(Self::Bytes(bytes), Self::Int)
    }

    /// Calls `f` with the bytes; a number is formatted on the stack.
    pub fn with_bytes<R>(self, f: impl FnOnce(&[u8]) -> R) -> R {
        match self {
            Self::Int(number) => f(itoa::Buffer::new().format(number).as_bytes()),
            Self::Bytes(bytes) => f(bytes),
        }
    }

    /// A copy of the bytes.
    #[must_use]
    pub fn to_vec(self) -> Vec<u8> {
        self.with_bytes(<[u8]>::to_vec)
    }

    /// Writes the entry behind what is in `out`.
    pub fn append_entry(self, out: &mut Vec<u8>) {
        let start = out.len();
        out.resize(start + self.entry_bytes(), 0);
        self.write(&mut out[start..]);
    }

    /// How long the entry is.
    pub(in crate::keyspace) fn entry_bytes(self) -> usize {
        let body = self.body_bytes();
        body + length_bytes(body)
    }

    /// Writes the entry to the beginning of `place`, which has room for it.
    pub(in crate::keyspace) fn write(self, place: &mut [u8]) {
        let body = self.body_bytes();
        match self {
            Self::Int(number) => write_int(number, &mut place[..body]),
            Self::Bytes(bytes) => {
                let (head, rest) = place[..body].split_at_mut(body - bytes.len());
                write_string_head(bytes.len(), head);
                rest.copy_from_slice(bytes);
            }
        }
        write_length(body, &mut place[body..body + length_bytes(body)]);
    }

    fn body_bytes(self) -> usize {
        match self {
            Self::Int(0..=127) => 1,
            Self::Int(-4096..=4095) => 2,
            Self::Int(-0x8000..=0x7fff) => 3,
            Self::Int(-0x80_0000..=0x7f_ffff) => 4,
            Self::Int(-0x8000_0000..=0x7fff_ffff) => 5,
            Self::Int(_) => 9,
            Self::Bytes(bytes) if bytes.len() <= SHORT_MAX_BYTES => 1 + bytes.len(),
            Self::Bytes(bytes) if bytes.len() <= MEDIUM_MAX_BYTES => 2 + bytes.len(),
            Self::Bytes(bytes) => 5 + bytes.len(),
        }
    }
}

/// The element at the beginning of `bytes`, and how long its entry is.
#[inline]
pub(in crate::keyspace) fn read(bytes: &[u8]) -> (Element<'_>, usize) {
    let first = bytes[0];
    // Nearly all elements of most lists have one of these two forms.
    if first < 0x80 {
        return (Element::Int(first.into()), 2);
    }
    if first < 0xc0 {
        let end = 1 + usize::from(first & 0x3f);
        return (Element::Bytes(&bytes[1..end]), end + 1);
    }
    read_rare(bytes)
}

/// How long the last entry of `bytes` is.
#[inline]
pub(super) fn last_entry_bytes(bytes: &[u8]) -> usize {
    let (mut body, mut shift) = (0, 0);
    for (width, byte) in bytes.iter().rev().enumerate() {
        body |= usize::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            return body + width + 1;
        }
    }
    unreachable!("the length behind a body ends with its first byte")
}

/// Like [`read`] for bytes that may be anything: `None` unless they begin with an entry in the one
/// form that this module writes.
pub(in crate::keyspace) fn checked(bytes: &[u8]) -> Option<(Element<'_>, usize)> {
    let first = *bytes.first()?;
    let head = match first {
        0..0xc0 => 1,
        0xc0..0xf0 => 2,
        INT_16 => 3,
        INT_24 => 4,
        LONG_STRING | INT_32 => 5,
        INT_64 => 9,
        _ => return None,
    };
    let body = head
        + match first {
            0x80..0xc0 => usize::from(first & 0x3f),
            0xe0..=LONG_STRING => string_bytes(bytes.get(..head)?),
            _ => 0,
        };
    let size = body + length_bytes(body);
    let entry = bytes.get(..size)?;
    let (element, _) = read(entry);
    let is_number = matches!(element, Element::Bytes(held) if parse_canonical_int(held).is_some());
    let mut length = [0; 5];
    write_length(body, &mut length[..size - body]);
    let is_whole = entry[body..] == length[..size - body] && element.body_bytes() == body;
    (is_whole && !is_number).then_some((element, size))
}

#[cold]
fn read_rare(bytes: &[u8]) -> (Element<'_>, usize) {
    let number = |from: usize, width: usize| {
        let mut word = [0; 8];
        word[8 - width..].copy_from_slice(&bytes[from..from + width]);
        // The shift brings the sign along.
        i64::from_le_bytes(word) >> (64 - 8 * width)
    };
    let (element, body) = match bytes[0] {
        head @ 0xc0..0xe0 => {
            let bits = i64::from(head & 0x1f) << 8 | i64::from(bytes[1]);
            (Element::Int(bits << 51 >> 51), 2)
        }
        head @ 0xe0..=LONG_STRING => {
            let start = if head == LONG_STRING { 5 } else { 2 };
            let end = start + string_bytes(&bytes[..start]);
            (Element::Bytes(&bytes[start..end]), end)
        }
        INT_16 => (Element::Int(number(1, 2)), 3),
        INT_24 => (Element::Int(number(1, 3)), 4),
        INT_32 => (Element::Int(number(1, 4)), 5),
        INT_64 => (Element::Int(number(1, 8)), 9),
        other => unreachable!("no entry begins with {other:#x}"),
    };
    (element, body + length_bytes(body))
}

/// The length of a string that is not short, from the bytes before it.
fn string_bytes(head: &[u8]) -> usize {
    match *head {
        [LONG_STRING, a, b, c, d] => u32::from_le_bytes([a, b, c, d]) as usize,
        [first, second, ..] => usize::from(first & 0x0f) << 8 | usize::from(second),
        _ => unreachable!("the head of such a string has two bytes or five"),
    }
}

fn write_string_head(len: usize, head: &mut [u8]) {
    match head {
        [first] => *first = 0x80 | len as u8,
        [first, second] => (*first, *second) = (0xe0 | (len >> 8) as u8, len as u8),
        _ => {
            let len = u32::try_from(len).expect("a request is shorter than 4 GiB");
            head[0] = LONG_STRING;
            head[1..].copy_from_slice(&len.to_le_bytes());
        }
    }
}

fn write_int(number: i64, body: &mut [u8]) {
    let bytes = number.to_le_bytes();
    match body {
        [first] => *first = bytes[0],
        [first, second] => (*first, *second) = (0xc0 | bytes[1] & 0x1f, bytes[0]),
        _ => {
            let width = body.len() - 1;
            body[0] = match width {
                2 => INT_16,
                3 => INT_24,
                4 => INT_32,
                _ => INT_64,
            };
            body[1..].copy_from_slice(&bytes[..width]);
        }
    }
}

/// How many bytes the length of a body takes.
#[inline]
fn length_bytes(body: usize) -> usize {
    match body {
        0..=127 => 1,
        // Redis could fit one more into two bytes and more, but does not.
        128..16_383 => 2,
        16_383..2_097_151 => 3,
        2_097_151..268_435_455 => 4,
        _ => 5,
    }
}

/// Seven bits a byte, the lowest in the last byte; all bytes but the first have the top bit.
fn write_length(body: usize, place: &mut [u8]) {
    let mut rest = body;
    for byte in place.iter_mut().rev() {
        *byte = rest as u8 | 0x80;
        rest >>= 7;
    }
    place[0] &= 0x7f;
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry(element: Element<'_>) -> Vec<u8> {
        let mut bytes = vec![0xaa; element.entry_bytes() + 3];
        element.write(&mut bytes);
        bytes.truncate(element.entry_bytes());
        bytes
    }

    fn check(element: Element<'_>) {
        let mut bytes = entry(element);
        let size = bytes.len();
        assert_eq!(last_entry_bytes(&bytes), size);
        assert_eq!(checked(&bytes), Some((element, size)));
        assert_eq!(checked(&bytes[..size - 1]), None);
        bytes.extend([0xff; 9]);
        assert_eq!(read(&bytes), (element, size));
    }

    #[test]
    fn entries_are_those_of_a_listpack() {
        for (element, expected) in [
            (Element::Int(0), &b"\x00\x01"[..]),
            (Element::Int(127), b"\x7f\x01"),
            (Element::Int(128), b"\xc0\x80\x02"),
            (Element::Int(-1), b"\xdf\xff\x02"),
            (Element::Int(-4096), b"\xd0\x00\x02"),
            (Element::Int(4096), b"\xf1\x00\x10\x03"),
            (Element::Int(-32769), b"\xf2\xff\x7f\xff\x04"),
            (Element::Int(1 << 23), b"\xf3\x00\x00\x80\x00\x05"),
            (
                Element::Int(1 << 31),
                b"\xf4\x00\x00\x00\x80\x00\x00\x00\x00\x09",
            ),
            (Element::Bytes(b""), b"\x80\x01"),
            (Element::Bytes(b"abc"), b"\x83abc\x04"),
        ] {
            assert_eq!(entry(element), expected, "{element:?}");
        }
        let long = vec![b'x'; 200];
        let bytes = entry(Element::Bytes(&long));
        assert_eq!(bytes[..3], *b"\xe0\xc8x");
        assert_eq!(bytes[202..], *b"\x01\xca");
    }

    #[test]
    fn every_length_is_read_as_written() {
        let bytes = vec![b'y'; 300_000_000];
        for len in [
            0,
            1,
            62,
            63,
            64,
            125,
            126,
            127,
            4095,
            4096,
            16_377,
            16_378,
            16_379,
            2_097_145,
            2_097_146,
            2_097_147,
            268_435_449,
            268_435_450,
            300_000_000,
        ] {
            check(Element::Bytes(&bytes[..len]));
        }
    }

    #[test]
    fn a_second_form_of_the_same_element_is_refused() {
        for bytes in [
            // A number as a string, and in more bytes than it needs.
            &b"\x8212\x03"[..],
            b"\xc0\x01\x02",
            b"\xf1\x00\x01\x03",
            // A short string with a long head.
            b"\xe0\x01x\x03",
            // A wrong length behind the body, and one with a byte too much.
            b"\x83abc\x05",
            b"\x83abc\x80\x04",
            b"\xf5",
            b"\xff",
            b"",
        ] {
            assert_eq!(checked(bytes), None, "{}", bytes.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn any_element_is_read_as_written(
            number: i64,
            shift in 0..64u32,
            bytes in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            check(Element::Int(number >> shift));
            check(Element::of(&bytes));
            check(Element::of(number.to_string().as_bytes()));
        }

        #[test]
        fn any_bytes_can_be_checked(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            if let Some((element, size)) = checked(&bytes) {
                prop_assert_eq!(entry(element), &bytes[..size]);
            }
        }
    }
}
