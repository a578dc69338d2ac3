//! The words of a JSON text.

use super::Config;

/// A word, with the place where it begins.
#[derive(Debug)]
pub(super) struct Token {
    pub(super) kind: Kind,
    /// Counts from 0.
    pub(super) at: usize,
}

#[derive(Debug, PartialEq)]
pub(super) enum Kind {
    ObjectBegin,
    ObjectEnd,
    ArrayBegin,
    ArrayEnd,
    String(Vec<u8>),
    Number(f64),
    Boolean(bool),
    Null,
    Colon,
    Comma,
    End,
    Error(&'static str),
}

impl Kind {
    /// What error messages call it.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::ObjectBegin => "T_OBJ_BEGIN",
            Self::ObjectEnd => "T_OBJ_END",
            Self::ArrayBegin => "T_ARR_BEGIN",
            Self::ArrayEnd => "T_ARR_END",
            Self::String(_) => "T_STRING",
            Self::Number(_) => "T_NUMBER",
            Self::Boolean(_) => "T_BOOLEAN",
            Self::Null => "T_NULL",
            Self::Colon => "T_COLON",
            Self::Comma => "T_COMMA",
            Self::End => "T_END",
            Self::Error(what) => what,
        }
    }
}

/// Cuts words off a text.
pub(super) struct Scanner<'t> {
    pub(super) text: &'t [u8],
    pub(super) at: usize,
    pub(super) config: &'t Config,
}

impl Scanner<'_> {
    pub(super) fn next(&mut self) -> Token {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
        let at = self.at;
        let single = |kind| (kind, 1);
        let (kind, len) = match self.peek() {
            None => single(Kind::End),
            Some(b'{') => single(Kind::ObjectBegin),
            Some(b'}') => single(Kind::ObjectEnd),
            Some(b'[') => single(Kind::ArrayBegin),
            Some(b']') => single(Kind::ArrayEnd),
            Some(b':') => single(Kind::Colon),
            Some(b',') => single(Kind::Comma),
            Some(b'"') => return self.string(),
            Some(byte) => self.word(byte),
        };
        if kind != Kind::End {
            self.at += len;
        }
        Token { kind, at }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn word(&self, byte: u8) -> (Kind, usize) {
        let rest = &self.text[self.at..];
        if byte == b'-' || byte.is_ascii_digit() {
            if !self.config.decode_invalid && is_invalid_number(rest) {
                return (Kind::Error("invalid number"), 0);
            }
            return number(rest);
        }
        for (word, kind) in [
            (&b"true"[..], Kind::Boolean(true)),
            (b"false", Kind::Boolean(false)),
            (b"null", Kind::Null),
        ] {
            if rest.starts_with(word) {
                return (kind, word.len());
            }
        }
        if self.config.decode_invalid && is_invalid_number(rest) {
            return number(rest);
        }
        (Kind::Error("invalid token"), 0)
    }

    fn string(&mut self) -> Token {
        let start = self.at;
        self.at += 1;
        let mut bytes = Vec::new();
        loop {
            let at = self.at;
            let kind = match self.peek() {
                None => Kind::Error("unexpected end of string"),
                Some(b'"') => {
                    self.at += 1;
                    return Token {
                        kind: Kind::String(bytes),
                        at: start,
                    };
                }
                Some(b'\\') => match self.escape(&mut bytes) {
                    Ok(()) => continue,
                    Err(what) => Kind::Error(what),
                },
                Some(byte) => {
                    bytes.push(byte);
                    self.at += 1;
                    continue;
                }
            };
            return Token { kind, at };
        }
    }

    fn escape(&mut self, bytes: &mut Vec<u8>) -> Result<(), &'static str> {
        let byte = match self.text.get(self.at + 1) {
            Some(b'b') => 8,
            Some(b't') => b'\t',
            Some(b'n') => b'\n',
            Some(b'f') => 12,
            Some(b'r') => b'\r',
            Some(&byte @ (b'"' | b'\\' | b'/')) => byte,
            Some(b'u') => return self.unicode(bytes).ok_or("invalid unicode escape code"),
            _ => return Err("invalid escape code"),
        };
        bytes.push(byte);
        self.at += 2;
        Ok(())
    }

    /// `\uXXXX`, or two of them that are one character.
    fn unicode(&mut self, bytes: &mut Vec<u8>) -> Option<()> {
        let first = self.unit(self.at)?;
        let mut len = 6;
        let code = if first & 0xf800 == 0xd800 {
            // The second half must not come first.
            if first & 0x400 != 0 {
                return None;
            }
            let second = self.unit(self.at + 6)?;
            if second & 0xfc00 != 0xdc00 {
                return None;
            }
            len = 12;
            ((first & 0x3ff) << 10 | second & 0x3ff) + 0x10000
        } else {
            first
        };
        let character = char::from_u32(code)?;
        bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        self.at += len;
        Some(())
    }

    fn unit(&self, at: usize) -> Option<u32> {
        let digits = self.text.get(at..at + 6)?.strip_prefix(b"\\u")?;
        digits.iter().try_fold(0, |code, digit| {
            Some(code << 4 | char::from(*digit).to_digit(16)?)
        })
    }
}

/// Whether a text begins like a number that JSON does not have: with a sign or zeros that it does
/// not allow, hexadecimal, infinite, or none at all.
fn is_invalid_number(text: &[u8]) -> bool {
    let text = match text.first() {
        Some(b'+') => return true,
        Some(b'-') => &text[1..],
        _ => text,
    };
    match text.first() {
        Some(b'0') => matches!(text.get(1), Some(b'x' | b'X' | b'0'..=b'9')),
        Some(byte) if *byte <= b'9' => false,
        _ => {
            let starts = |word: &[u8]| {
                text.get(..word.len())
                    .is_some_and(|start| start.eq_ignore_ascii_case(word))
            };
            starts(b"inf") || starts(b"nan")
        }
    }
}

/// The longest number at the beginning, as C's `strtod` reads it.
fn number(text: &[u8]) -> (Kind, usize) {
    match read_number(text) {
        Some((number, len)) => (Kind::Number(number), len),
        None => (Kind::Error("invalid number"), 0),
    }
}

fn read_number(text: &[u8]) -> Option<(f64, usize)> {
    let (negative, from) = match text.first() {
        Some(b'-') => (true, 1),
        Some(b'+') => (false, 1),
        _ => (false, 0),
    };
    let rest = &text[from..];
    let starts = |word: &[u8]| {
        rest.get(..word.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(word))
    };
    let (value, len) = if starts(b"infinity") {
        (f64::INFINITY, 8)
    } else if starts(b"inf") {
        (f64::INFINITY, 3)
    } else if starts(b"nan") {
        (f64::NAN, 3)
    } else if starts(b"0x") && rest.get(2).is_some_and(u8::is_ascii_hexdigit) {
        read_hex(rest)
    } else {
        read_decimal(rest)?
    };
    Some((if negative { -value } else { value }, from + len))
}

fn read_hex(text: &[u8]) -> (f64, usize) {
    let digits = text[2..].iter().take_while(|byte| byte.is_ascii_hexdigit());
    let mut len = 2;
    let mut value = 0.0;
    for digit in digits {
        let digit = char::from(*digit).to_digit(16).unwrap_or(0);
        value = value * 16.0 + f64::from(digit);
        len += 1;
    }
    (value, len)
}

fn read_decimal(text: &[u8]) -> Option<(f64, usize)> {
    let digits = |from: usize| {
        let rest = text.get(from..).unwrap_or(&[]);
        rest.iter().take_while(|byte| byte.is_ascii_digit()).count()
    };
    let whole = digits(0);
    let mut len = whole;
    let mut fraction = 0;
    if text.get(len) == Some(&b'.') {
        fraction = digits(len + 1);
        len += 1 + fraction;
    }
    if whole + fraction == 0 {
        return None;
    }
    if matches!(text.get(len), Some(b'e' | b'E')) {
        let signed = usize::from(matches!(text.get(len + 1), Some(b'+' | b'-')));
        let exponent = digits(len + 1 + signed);
        if exponent > 0 {
            len += 1 + signed + exponent;
        }
    }
    let text = std::str::from_utf8(&text[..len]).ok()?;
    Some((text.parse().ok()?, len))
}
