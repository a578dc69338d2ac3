//! Replies: values to bytes, in the connection's protocol version.
//!
//! Owns the wire form of every reply type in RESP2 and RESP3, and how a RESP3 type falls
//! back in RESP2 (a map becomes an array of twice the length, a double a bulk string). Owns
//! neither the buffer nor its bound: a connection watches [`Encoder::position`]. Does not
//! check that an aggregate gets as many elements as it announced. Cannot fail.

use std::fmt::Display;
use std::io::Write;

use crate::format_double;

/// The longest header: a type byte, 20 characters of a 64-bit number, the line end.
const MAX_HEADER: usize = 23;

/// The version of the protocol that a connection speaks, as chosen with HELLO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Version 2, in which every connection starts.
    Resp2,
    /// Version 3.
    Resp3,
}

/// Writes replies to a growing buffer in the connection's protocol version.
pub struct Encoder<'a> {
    out: &'a mut Vec<u8>,
    protocol: Protocol,
}

/// The place of an array whose length is not known yet; see [`Encoder::deferred_array`].
#[derive(Debug)]
#[must_use = "an array without its header garbles the stream"]
pub struct Deferred {
    at: usize,
}

impl<'a> Encoder<'a> {
    /// Appends to `out`.
    #[inline]
    pub fn new(out: &'a mut Vec<u8>, protocol: Protocol) -> Encoder<'a> {
        Encoder { out, protocol }
    }

    /// The protocol version in which replies are written.
    #[inline]
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// The length of the buffer, what was in it before included.
    #[inline]
    pub fn position(&self) -> usize {
        self.out.len()
    }

    /// The buffer, for replies that are already encoded.
    #[inline]
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        self.out
    }

    /// A simple string, such as `+PONG`. Line ends in it become spaces.
    #[inline]
    pub fn simple(&mut self, text: &str) {
        self.line(b'+', text);
    }

    /// `+OK`.
    #[inline]
    pub fn ok(&mut self) {
        self.out.extend_from_slice(b"+OK\r\n");
    }

    /// An error. The text comes without the leading `-` but with its code, such as
    /// `ERR syntax error`. Line ends in it become spaces.
    pub fn error(&mut self, text: &str) {
        self.line(b'-', text);
    }

    /// An integer.
    #[inline]
    pub fn integer(&mut self, value: i64) {
        match u64::try_from(value) {
            Ok(value) => self.header(b':', value),
            Err(_) => {
                self.out.reserve(MAX_HEADER);
                self.out.push(b':');
                self.out
                    .extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
                self.out.extend_from_slice(b"\r\n");
            }
        }
    }

    /// A bulk string.
    #[inline]
    pub fn bulk(&mut self, bytes: &[u8]) {
        self.out.reserve(bytes.len() + MAX_HEADER + 2);
        self.header(b'$', bytes.len() as u64);
        self.out.extend_from_slice(bytes);
        self.out.extend_from_slice(b"\r\n");
    }

    /// A bulk string of a value's text, without an intermediate string.
    pub fn bulk_display(&mut self, value: impl Display) {
        let at = self.out.len();
        write!(self.out, "{value}").expect("writing to a Vec cannot fail");
        self.wrap_bulk(at);
    }

    /// Null: `$-1` in RESP2.
    #[inline]
    pub fn null(&mut self) {
        self.either(b"$-1\r\n", b"_\r\n");
    }

    /// The null that stands for an array: `*-1` in RESP2.
    pub fn null_array(&mut self) {
        self.either(b"*-1\r\n", b"_\r\n");
    }

    /// The header of an array; `len` replies are to follow.
    #[inline]
    pub fn array(&mut self, len: usize) {
        self.header(b'*', len as u64);
    }

    /// The header of a map; `pairs` times two replies are to follow.
    pub fn map(&mut self, pairs: usize) {
        match self.protocol {
            Protocol::Resp2 => self.header(b'*', pairs as u64 * 2),
            Protocol::Resp3 => self.header(b'%', pairs as u64),
        }
    }

    /// The header of a set; `len` replies are to follow.
    pub fn set(&mut self, len: usize) {
        self.aggregate(b'~', len);
    }

    /// The header of a push message; `len` replies are to follow.
    pub fn push(&mut self, len: usize) {
        self.aggregate(b'>', len);
    }

    /// A double, laid out by [`format_double`]; a bulk string in RESP2.
    pub fn double(&mut self, value: f64) {
        let at = self.out.len();
        match self.protocol {
            Protocol::Resp2 => {
                format_double(value, self.out);
                self.wrap_bulk(at);
            }
            Protocol::Resp3 => {
                self.out.push(b',');
                format_double(value, self.out);
                self.out.extend_from_slice(b"\r\n");
            }
        }
    }

    /// A truth value; 1 or 0 in RESP2.
    pub fn boolean(&mut self, value: bool) {
        match value {
            true => self.either(b":1\r\n", b"#t\r\n"),
            false => self.either(b":0\r\n", b"#f\r\n"),
        }
    }

    /// An integer beyond 64 bits, in decimal; a bulk string in RESP2.
    pub fn big_number(&mut self, digits: &str) {
        match self.protocol {
            Protocol::Resp2 => self.bulk(digits.as_bytes()),
            Protocol::Resp3 => self.line(b'(', digits),
        }
    }

    /// Text with a three-letter format, such as `txt`; a bulk string in RESP2.
    ///
    /// # Panics
    /// When the format has not three bytes.
    pub fn verbatim(&mut self, format: &str, text: &[u8]) {
        assert_eq!(
            format.len(),
            3,
            "the format of a verbatim string: {format:?}"
        );
        match self.protocol {
            Protocol::Resp2 => self.bulk(text),
            Protocol::Resp3 => {
                self.header(b'=', text.len() as u64 + 4);
                self.out.extend_from_slice(format.as_bytes());
                self.out.push(b':');
                self.out.extend_from_slice(text);
                self.out.extend_from_slice(b"\r\n");
            }
        }
    }

    /// Starts an array whose length only its end will tell. Its replies follow, then
    /// [`Encoder::finish_array`]; such arrays nest, the inner being finished first. Finishing
    /// moves what was written since, so where the length is known, [`Encoder::array`] is it.
    pub fn deferred_array(&mut self) -> Deferred {
        Deferred { at: self.out.len() }
    }

    /// Puts the header of an array of `len` replies where it was started.
    pub fn finish_array(&mut self, started: Deferred, len: usize) {
        self.insert_header(started.at, b'*', len as u64);
    }

    /// Makes a bulk string of what was written since `at`.
    fn wrap_bulk(&mut self, at: usize) {
        let len = self.out.len() - at;
        self.out.extend_from_slice(b"\r\n");
        self.insert_header(at, b'$', len as u64);
    }

    fn insert_header(&mut self, at: usize, kind: u8, value: u64) {
        let end = self.out.len();
        self.header(kind, value);
        let header = self.out.len() - end;
        self.out[at..].rotate_right(header);
    }

    fn aggregate(&mut self, resp3: u8, len: usize) {
        let kind = match self.protocol {
            Protocol::Resp2 => b'*',
            Protocol::Resp3 => resp3,
        };
        self.header(kind, len as u64);
    }

    #[inline]
    fn either(&mut self, resp2: &[u8], resp3: &[u8]) {
        self.out.extend_from_slice(match self.protocol {
            Protocol::Resp2 => resp2,
            Protocol::Resp3 => resp3,
        });
    }

    fn line(&mut self, kind: u8, text: &str) {
        self.out.reserve(text.len() + 3);
        self.out.push(kind);
        let at = self.out.len();
        self.out.extend_from_slice(text.as_bytes());
        for byte in &mut self.out[at..] {
            if matches!(byte, b'\r' | b'\n') {
                *byte = b' ';
            }
        }
        self.out.extend_from_slice(b"\r\n");
    }

    /// A type byte, a number, a line end.
    #[inline]
    fn header(&mut self, kind: u8, value: u64) {
        match SMALL.get(value as usize) {
            Some(header) => {
                // Eight bytes are stored whatever the length: one move, no branch. It halves
                // the cost of a reply; unchecked writes on top of it gain next to nothing.
                self.out.reserve(8);
                let len = self.out.len();
                self.out.extend_from_slice(&header.with(kind));
                self.out.truncate(len + header.len());
            }
            None => self.long_header(kind, value),
        }
    }

    #[inline(never)]
    fn long_header(&mut self, kind: u8, value: u64) {
        self.out.reserve(MAX_HEADER);
        self.out.push(kind);
        self.out
            .extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
        self.out.extend_from_slice(b"\r\n");
    }
}

/// How many headers are rendered in advance: all of up to three digits. Of the 8 KiB, only
/// the few lengths that a workload uses take room in the first cache.
const SMALL_HEADERS: usize = 1000;

/// The headers of small numbers, which are nearly all: replies, lengths, counts.
static SMALL: [SmallHeader; SMALL_HEADERS] = {
    let mut headers = [SmallHeader(0); SMALL_HEADERS];
    let mut value = 0;
    while value < SMALL_HEADERS {
        headers[value] = SmallHeader::render(value as u64);
        value += 1;
    }
    headers
};

/// A header of a number below 1000, as a little-endian word: byte 0 is free for the type,
/// then come digits and line end, and byte 7 holds the length.
#[derive(Clone, Copy)]
struct SmallHeader(u64);

impl SmallHeader {
    const fn render(value: u64) -> SmallHeader {
        let line_end = 0x0a0d;
        let ones = value % 10 + 0x30;
        let tens = value / 10 % 10 + 0x30;
        let hundreds = value / 100 + 0x30;
        let (digits, n) = match value {
            0..10 => (ones, 1),
            10..100 => (tens | ones << 8, 2),
            _ => (hundreds | tens << 8 | ones << 16, 3),
        };
        SmallHeader(digits << 8 | line_end << (8 + 8 * n) | (n + 3) << 56)
    }

    #[inline]
    fn with(self, kind: u8) -> [u8; 8] {
        (self.0 | u64::from(kind)).to_le_bytes()
    }

    #[inline]
    fn len(self) -> usize {
        (self.0 >> 56) as usize
    }
}

#[cfg(test)]
mod tests;
