//! Taking numbers and strings off a dump or a part of a file.
//!
//! ```text
//! length = 00llllll | 01llllll l | 0x80 l4 | 0x81 l8        big-endian
//! string = length bytes | 0xc0 i8 | 0xc1 i16 | 0xc2 i32 | 0xc3 length length LZF
//! ```
//!
//! Two ways to fail: bytes that are missing may still come when a file is read piece by piece,
//! malformed ones stay so.

use std::borrow::Cow;

use super::lzf;

/// The longest string, in bytes, also after decompression. Redis's own limit for one is half of it.
const STRING_MAX_BYTES: u64 = 1 << 30;

/// Bytes that are no value of Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("bad data format")]
pub struct Malformed;

/// Why something cannot be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The bytes end too early.
    Incomplete,
    /// More bytes would not help.
    Malformed,
}

impl From<Malformed> for Stop {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

/// What one value may take in memory by being compressed, in bytes: a small dump must not become
/// more than the memory of a machine.
const DECOMPRESSED_MAX_BYTES: u64 = 4 << 30;

/// Bytes of which the front is taken away.
#[derive(Clone, Copy)]
pub(super) struct Input<'a> {
    rest: &'a [u8],
    /// How many bytes may still come out of compressed strings.
    room: u64,
}

/// What stands where a length may stand.
pub(super) enum Length {
    Plain(u64),
    /// A string of another form follows.
    Special(u8),
}

const INT_8: u8 = 0;
const INT_16: u8 = 1;
const INT_32: u8 = 2;
const COMPRESSED: u8 = 3;

impl<'a> Input<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self {
            rest: bytes,
            room: DECOMPRESSED_MAX_BYTES,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// How many bytes are left.
    pub(super) fn len(&self) -> usize {
        self.rest.len()
    }

    pub(super) fn take<const N: usize>(&mut self) -> Result<[u8; N], Stop> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(Stop::Incomplete)?;
        self.rest = rest;
        Ok(*bytes)
    }

    pub(super) fn byte(&mut self) -> Result<u8, Stop> {
        self.take::<1>().map(|[byte]| byte)
    }

    pub(super) fn bytes(&mut self, len: u64) -> Result<&'a [u8], Stop> {
        let len = usize::try_from(len).map_err(|_| Stop::Malformed)?;
        let (bytes, rest) = self.rest.split_at_checked(len).ok_or(Stop::Incomplete)?;
        self.rest = rest;
        Ok(bytes)
    }

    /// A length, or what stands in its place.
    pub(super) fn any_length(&mut self) -> Result<Length, Stop> {
        let first = self.byte()?;
        let low = u64::from(first & 0x3f);
        Ok(match first >> 6 {
            0 => Length::Plain(low),
            1 => Length::Plain(low << 8 | u64::from(self.byte()?)),
            2 if first == 0x80 => Length::Plain(u32::from_be_bytes(self.take()?).into()),
            2 if first == 0x81 => Length::Plain(u64::from_be_bytes(self.take()?)),
            3 => Length::Special(first & 0x3f),
            _ => return Err(Stop::Malformed),
        })
    }

    pub(super) fn length(&mut self) -> Result<u64, Stop> {
        match self.any_length()? {
            Length::Plain(len) => Ok(len),
            Length::Special(_) => Err(Stop::Malformed),
        }
    }

    /// A number of elements that takes at least `each` bytes for each of them; so what is there
    /// bounds the number.
    pub(super) fn count(&mut self, each: usize) -> Result<usize, Stop> {
        let count = usize::try_from(self.length()?).map_err(|_| Stop::Malformed)?;
        if count.saturating_mul(each) > self.len() {
            return Err(Stop::Incomplete);
        }
        Ok(count)
    }

    /// A string of any form.
    pub(super) fn string(&mut self) -> Result<Cow<'a, [u8]>, Stop> {
        let number = match self.any_length()? {
            Length::Plain(len) if len > STRING_MAX_BYTES => return Err(Stop::Malformed),
            Length::Plain(len) => return self.bytes(len).map(Cow::Borrowed),
            Length::Special(INT_8) => i8::from_le_bytes(self.take()?).into(),
            Length::Special(INT_16) => i16::from_le_bytes(self.take()?).into(),
            Length::Special(INT_32) => i32::from_le_bytes(self.take()?),
            Length::Special(COMPRESSED) => return self.compressed().map(Cow::Owned),
            Length::Special(_) => return Err(Stop::Malformed),
        };
        Ok(Cow::Owned(number.to_string().into_bytes()))
    }

    /// Goes past a string without looking into it.
    pub(super) fn skip_string(&mut self) -> Result<(), Stop> {
        let len = match self.any_length()? {
            Length::Plain(len) => len,
            Length::Special(INT_8) => 1,
            Length::Special(INT_16) => 2,
            Length::Special(INT_32) => 4,
            Length::Special(COMPRESSED) => {
                let len = self.length()?;
                self.length()?;
                len
            }
            Length::Special(_) => return Err(Stop::Malformed),
        };
        if len > STRING_MAX_BYTES {
            return Err(Stop::Malformed);
        }
        self.bytes(len).map(|_| ())
    }

    /// A score as Redis wrote it before version 8: as text, with three lengths for what is none.
    pub(super) fn text_double(&mut self) -> Result<f64, Stop> {
        let number = match self.byte()? {
            255 => f64::NEG_INFINITY,
            254 => f64::INFINITY,
            253 => return Err(Stop::Malformed),
            len => {
                let text = std::str::from_utf8(self.bytes(len.into())?);
                let text = text.map_err(|_| Stop::Malformed)?;
                text.parse().map_err(|_| Stop::Malformed)?
            }
        };
        check_score(number)
    }

    pub(super) fn binary_double(&mut self) -> Result<f64, Stop> {
        check_score(f64::from_le_bytes(self.take()?))
    }

    fn compressed(&mut self) -> Result<Vec<u8>, Stop> {
        let (bytes, len) = (self.length()?, self.length()?);
        let bytes = self.bytes(bytes)?;
        self.room = self.room.checked_sub(len).ok_or(Stop::Malformed)?;
        if len > STRING_MAX_BYTES {
            return Err(Stop::Malformed);
        }
        let len = usize::try_from(len).map_err(|_| Stop::Malformed)?;
        Ok(lzf::decompress(bytes, len)?)
    }
}

fn check_score(number: f64) -> Result<f64, Stop> {
    if number.is_nan() {
        return Err(Stop::Malformed);
    }
    Ok(number)
}
