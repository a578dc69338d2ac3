//! Inline requests: a line of words, as a person types them into telnet.
//!
//! Owns the splitting and unquoting of one line, by Redis's rules: words are separated by
//! white space; within `"..."` the escapes `\n \r \t \b \a \xHH` are known and any other
//! escaped byte stands for itself; within `'...'` only `\'` is an escape; a closing quote
//! ends its word and must be followed by white space or the line's end. Unquoting never
//! makes a word longer, so it happens in place and the words stay ranges of the buffer.
//! Does not find the line's end: that is the parser's business, and its bound too.
//!
//! One difference from Redis: a NUL byte is an ordinary byte here, while C's string
//! functions end the line at it.

use crate::{ArgRange, ProtocolError};

/// Splits the line `buf[start..end]` and appends its words to `ranges`. On an error the line
/// is left half unquoted; the connection is closed anyway.
pub(crate) fn split(
    buf: &mut [u8],
    start: usize,
    end: usize,
    ranges: &mut Vec<ArgRange>,
) -> Result<(), ProtocolError> {
    let line = &mut buf[..end];
    let mut at = start;
    loop {
        while at < end && is_space(line[at]) {
            at += 1;
        }
        if at == end {
            return Ok(());
        }
        let word = Word {
            line,
            read: at,
            write: at,
        };
        let (written, next) = word.unquote()?;
        ranges.push(ArgRange::new(at, written));
        at = next;
    }
}

/// The word being unquoted. Invariant: `write <= read <= line.len()`.
struct Word<'a> {
    line: &'a mut [u8],
    read: usize,
    write: usize,
}

impl Word<'_> {
    /// Returns the ends of the word as written and as read.
    fn unquote(mut self) -> Result<(usize, usize), ProtocolError> {
        while let Some(byte) = self.peek(0) {
            match byte {
                // Vertical tab and form feed separate words only in front of one, as in Redis.
                b' ' | b'\n' | b'\r' | b'\t' => break,
                b'"' => return self.double_quoted(),
                b'\'' => return self.single_quoted(),
                _ => self.put(byte, 1),
            }
        }
        Ok((self.write, self.read))
    }

    fn double_quoted(mut self) -> Result<(usize, usize), ProtocolError> {
        self.read += 1;
        loop {
            match self.peek(0).ok_or(ProtocolError::UnbalancedQuotes)? {
                b'"' => return self.close(),
                b'\\' => match (self.peek(1), self.hex_escape()) {
                    (_, Some(byte)) => self.put(byte, 4),
                    (Some(escaped), None) => self.put(unescape(escaped), 2),
                    (None, None) => return Err(ProtocolError::UnbalancedQuotes),
                },
                byte => self.put(byte, 1),
            }
        }
    }

    fn single_quoted(mut self) -> Result<(usize, usize), ProtocolError> {
        self.read += 1;
        loop {
            match self.peek(0).ok_or(ProtocolError::UnbalancedQuotes)? {
                b'\'' => return self.close(),
                b'\\' if self.peek(1) == Some(b'\'') => self.put(b'\'', 2),
                byte => self.put(byte, 1),
            }
        }
    }

    fn close(self) -> Result<(usize, usize), ProtocolError> {
        match self.peek(1) {
            Some(byte) if !is_space(byte) => Err(ProtocolError::UnbalancedQuotes),
            _ => Ok((self.write, self.read + 1)),
        }
    }

    fn peek(&self, ahead: usize) -> Option<u8> {
        self.line.get(self.read + ahead).copied()
    }

    fn put(&mut self, byte: u8, read: usize) {
        self.line[self.write] = byte;
        self.write += 1;
        self.read += read;
    }

    /// The byte that `\xHH` at the reading position stands for.
    fn hex_escape(&self) -> Option<u8> {
        if self.peek(1) != Some(b'x') {
            return None;
        }
        let high = char::from(self.peek(2)?).to_digit(16)?;
        let low = char::from(self.peek(3)?).to_digit(16)?;
        Some((high * 16 + low) as u8)
    }
}

fn unescape(byte: u8) -> u8 {
    match byte {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 0x08,
        b'a' => 0x07,
        other => other,
    }
}

/// C's `isspace` in the default locale.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | 0x09..=0x0d)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &[u8]) -> Result<Vec<Vec<u8>>, ProtocolError> {
        let mut buf = line.to_vec();
        let mut ranges = Vec::new();
        let end = buf.len();
        split(&mut buf, 0, end, &mut ranges)?;
        Ok(ranges
            .iter()
            .map(|r| buf[r.start as usize..r.end as usize].to_vec())
            .collect())
    }

    #[test]
    fn words_are_separated_by_any_white_space() {
        assert_eq!(words(b"").unwrap(), Vec::<Vec<u8>>::new());
        assert_eq!(words(b" \t\x0b\x0c").unwrap(), Vec::<Vec<u8>>::new());
        assert_eq!(words(b"  GET \t key ").unwrap(), [&b"GET"[..], b"key"]);
        assert_eq!(words(b"a\x0bb").unwrap(), [&b"a\x0bb"[..]]);
    }

    #[test]
    fn double_quotes_know_escapes() {
        assert_eq!(
            words(br#"set "a b" "\n\r\t\b\a\x41\q\"\\" """#).unwrap(),
            [&b"set"[..], b"a b", b"\n\r\t\x08\x07Aq\"\\", b""]
        );
        assert_eq!(words(br#""\xZZ" "\x4""#).unwrap(), [&b"xZZ"[..], b"x4"]);
    }

    #[test]
    fn single_quotes_know_only_themselves() {
        assert_eq!(
            words(br"'a\'b' '\n' ''").unwrap(),
            [&b"a'b"[..], br"\n", b""]
        );
    }

    #[test]
    fn a_quote_may_open_within_a_word() {
        assert_eq!(
            words(br#"foo"bar baz" x"#).unwrap(),
            [&b"foobar baz"[..], b"x"]
        );
    }

    #[test]
    fn unbalanced_quotes_are_refused() {
        for line in [
            &br#""abc"#[..],
            b"'abc",
            br#""a"b"#,
            b"'a'b",
            br#""""#,
            br#""\"#,
            b"\"a\\",
        ] {
            let refused = words(line).is_err();
            assert_eq!(refused, line != br#""""#, "{}", line.escape_ascii());
        }
    }
}
