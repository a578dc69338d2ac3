//! Counts replies in a byte stream, at any split of it.
//!
//! Owns just enough of RESP to know where a reply ends: simple strings, integers, bulk strings,
//! arrays of these, the null forms and errors. Values are skipped, never kept, so counting costs
//! the load generator next to nothing.
//!
//! Not done here: other aggregates (no request of the generator is answered by one) and validation
//! of what a value holds.
//!
//! How it fails: an error reply ends the run with its text, and bytes that are no reply end it
//! with the byte that was met. Either way the connection is of no further use.

use std::fmt;

/// An error reply or a length line longer than this is taken for garbage.
const MAX_LINE_BYTES: usize = 64 * 1024;

/// Why a stream of replies cannot be counted further.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ReplyError {
    /// The server answered with an error; its text without the leading `-`.
    Refused(String),
    /// A byte that opens none of the replies known here.
    UnexpectedType(u8),
    /// A bulk length that is no number.
    BadLength(String),
    /// A line without an end within the bound.
    LineTooLong,
}

impl fmt::Display for ReplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(text) => write!(f, "the server answered with an error: {text}"),
            Self::UnexpectedType(byte) => {
                write!(f, "unexpected reply type '{}'", byte.escape_ascii())
            }
            Self::BadLength(text) => write!(f, "unreadable bulk length '{text}'"),
            Self::LineTooLong => write!(f, "a reply line exceeds {MAX_LINE_BYTES} bytes"),
        }
    }
}

impl std::error::Error for ReplyError {}

/// Where in a reply the bytes so far have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Between replies.
    Start,
    /// In a line whose text does not matter; `null` if the reply was `_`.
    Line { null: bool },
    /// In the text of an error.
    ErrorLine,
    /// In the length line of a bulk string.
    Length,
    /// In the length line of an array.
    Count,
    /// In the value of a bulk string or its line end; `left >= 1` bytes are to come.
    Body { left: u64 },
}

/// The counter of one connection.
///
/// Invariant: `misses <= replies`, and `line` is empty outside `ErrorLine`, `Length` and `Count`.
#[derive(Debug)]
pub(crate) struct ReplyCounter {
    state: State,
    line: Vec<u8>,
    /// Elements that the present array still lacks; 0 outside an array.
    elements: u64,
    replies: u64,
    misses: u64,
}

impl ReplyCounter {
    /// A counter that stands before the first reply.
    pub(crate) fn new() -> Self {
        Self {
            state: State::Start,
            line: Vec::new(),
            elements: 0,
            replies: 0,
            misses: 0,
        }
    }

    /// Complete replies seen since the counter was made.
    pub(crate) fn replies(&self) -> u64 {
        self.replies
    }

    /// How many of them were null, which is what a GET of an absent key gives.
    pub(crate) fn misses(&self) -> u64 {
        self.misses
    }

    /// Takes the next bytes of the stream.
    ///
    /// # Errors
    /// The first error reply, or bytes that are no reply.
    pub(crate) fn feed(&mut self, mut bytes: &[u8]) -> Result<(), ReplyError> {
        while let Some(&first) = bytes.first() {
            bytes = match self.state {
                State::Start => {
                    self.state = opening(first)?;
                    &bytes[1..]
                }
                State::Line { null } => self.skip_line(bytes, null),
                State::ErrorLine => {
                    let (rest, ended) = self.gather_line(bytes)?;
                    if ended {
                        return Err(ReplyError::Refused(self.take_line()));
                    }
                    rest
                }
                State::Length => {
                    let (rest, ended) = self.gather_line(bytes)?;
                    if ended {
                        self.open_bulk()?;
                    }
                    rest
                }
                State::Count => {
                    let (rest, ended) = self.gather_line(bytes)?;
                    if ended {
                        self.open_array()?;
                    }
                    rest
                }
                State::Body { left } => self.skip_body(bytes, left),
            };
        }
        Ok(())
    }

    fn complete(&mut self, null: bool) {
        self.state = State::Start;
        if self.elements > 1 {
            self.elements -= 1;
            return;
        }
        self.replies += 1;
        self.misses += u64::from(null && self.elements == 0);
        self.elements = 0;
    }

    fn skip_line<'a>(&mut self, bytes: &'a [u8], null: bool) -> &'a [u8] {
        match memchr::memchr(b'\n', bytes) {
            Some(end) => {
                self.complete(null);
                &bytes[end + 1..]
            }
            None => &[],
        }
    }

    fn skip_body<'a>(&mut self, bytes: &'a [u8], left: u64) -> &'a [u8] {
        let here = left.min(bytes.len() as u64);
        if here == left {
            self.complete(false);
        } else {
            self.state = State::Body { left: left - here };
        }
        &bytes[here as usize..]
    }

    /// Adds to the line; true when its end was met.
    fn gather_line<'a>(&mut self, bytes: &'a [u8]) -> Result<(&'a [u8], bool), ReplyError> {
        let end = memchr::memchr(b'\n', bytes);
        let part = &bytes[..end.unwrap_or(bytes.len())];
        if self.line.len() + part.len() > MAX_LINE_BYTES {
            return Err(ReplyError::LineTooLong);
        }
        self.line.extend_from_slice(part);
        let used = end.map_or(bytes.len(), |end| end + 1);
        Ok((&bytes[used..], end.is_some()))
    }

    fn open_array(&mut self) -> Result<(), ReplyError> {
        match self.length() {
            // An array in an array would have to be counted within it.
            _ if self.elements > 0 => return Err(ReplyError::UnexpectedType(b'*')),
            Some(length @ (-1 | 0)) => self.complete(length < 0),
            Some(length) if length > 0 => {
                self.elements = length as u64;
                self.state = State::Start;
            }
            _ => return Err(ReplyError::BadLength(self.take_line())),
        }
        self.line.clear();
        Ok(())
    }

    fn length(&self) -> Option<i64> {
        let digits = self.line.strip_suffix(b"\r").unwrap_or(&self.line);
        std::str::from_utf8(digits).ok()?.parse().ok()
    }

    fn open_bulk(&mut self) -> Result<(), ReplyError> {
        match self.length() {
            Some(-1) => self.complete(true),
            Some(length) if length >= 0 => {
                self.state = State::Body {
                    left: length as u64 + 2,
                }
            }
            _ => return Err(ReplyError::BadLength(self.take_line())),
        }
        self.line.clear();
        Ok(())
    }

    fn take_line(&mut self) -> String {
        let text = String::from_utf8_lossy(&self.line).trim_end().to_owned();
        self.line.clear();
        text
    }
}

fn opening(byte: u8) -> Result<State, ReplyError> {
    match byte {
        b'+' | b':' | b'#' | b',' => Ok(State::Line { null: false }),
        b'_' => Ok(State::Line { null: true }),
        b'-' => Ok(State::ErrorLine),
        b'$' => Ok(State::Length),
        b'*' => Ok(State::Count),
        other => Err(ReplyError::UnexpectedType(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const STREAM: &[u8] =
        b"+OK\r\n$5\r\nhello\r\n*3\r\n$1\r\n*\r\n$-1\r\n:1\r\n:42\r\n$-1\r\n$0\r\n\r\n\
                            *0\r\n$4\r\n\r\n$1\r\n*-1\r\n_\r\n+PONG\r\n";

    fn counts(pieces: &[&[u8]]) -> (u64, u64) {
        let mut counter = ReplyCounter::new();
        for piece in pieces {
            counter.feed(piece).unwrap();
        }
        assert_eq!(counter.state, State::Start);
        (counter.replies(), counter.misses())
    }

    #[test]
    fn the_count_does_not_depend_on_any_two_splits() {
        for first in 0..=STREAM.len() {
            for second in first..=STREAM.len() {
                let pieces = [&STREAM[..first], &STREAM[first..second], &STREAM[second..]];
                assert_eq!(counts(&pieces), (11, 3), "split at {first} and {second}");
            }
        }
    }

    #[test]
    fn an_error_reply_gives_its_text_at_any_split() {
        let stream = b"+OK\r\n-ERR no such thing\r\n+OK\r\n";
        for cut in 0..stream.len() {
            let mut counter = ReplyCounter::new();
            let outcome = counter
                .feed(&stream[..cut])
                .and_then(|()| counter.feed(&stream[cut..]));
            assert_eq!(
                outcome,
                Err(ReplyError::Refused("ERR no such thing".into()))
            );
            assert_eq!(counter.replies(), 1);
        }
    }

    #[test]
    fn what_is_no_reply_is_named() {
        assert_eq!(
            ReplyCounter::new().feed(b"x"),
            Err(ReplyError::UnexpectedType(b'x'))
        );
        assert_eq!(
            ReplyCounter::new().feed(b"$z\r\n"),
            Err(ReplyError::BadLength("z".into()))
        );
        assert_eq!(
            ReplyCounter::new().feed(b"$-2\r\n"),
            Err(ReplyError::BadLength("-2".into()))
        );
        assert_eq!(
            ReplyCounter::new().feed(b"*1\r\n*1\r\n"),
            Err(ReplyError::UnexpectedType(b'*'))
        );
        let endless = vec![b'1'; MAX_LINE_BYTES + 1];
        let mut counter = ReplyCounter::new();
        counter.feed(b"$").unwrap();
        assert_eq!(counter.feed(&endless), Err(ReplyError::LineTooLong));
    }

    fn reply() -> impl Strategy<Value = (Vec<u8>, bool)> {
        prop_oneof![
            "[a-zA-Z ]{0,20}".prop_map(|text| (format!("+{text}\r\n").into_bytes(), false)),
            any::<i64>().prop_map(|number| (format!(":{number}\r\n").into_bytes(), false)),
            Just((b"$-1\r\n".to_vec(), true)),
            proptest::collection::vec(any::<u8>(), 0..300).prop_map(|value| {
                let mut bytes = format!("${}\r\n", value.len()).into_bytes();
                bytes.extend_from_slice(&value);
                bytes.extend_from_slice(b"\r\n");
                (bytes, false)
            }),
        ]
    }

    proptest! {
        #[test]
        fn any_stream_in_any_pieces_is_counted_whole(
            replies in proptest::collection::vec(reply(), 0..20),
            sizes in proptest::collection::vec(1usize..40, 1..20),
        ) {
            let stream: Vec<u8> = replies.iter().flat_map(|(bytes, _)| bytes.clone()).collect();
            let misses = replies.iter().filter(|(_, null)| *null).count() as u64;
            let mut counter = ReplyCounter::new();
            let mut rest = &stream[..];
            for size in sizes.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (piece, tail) = rest.split_at((*size).min(rest.len()));
                counter.feed(piece).unwrap();
                rest = tail;
            }
            prop_assert_eq!(counter.replies(), replies.len() as u64);
            prop_assert_eq!(counter.misses(), misses);
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = ReplyCounter::new().feed(&bytes);
        }
    }
}
