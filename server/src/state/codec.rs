//! Numbers and strings as the state machine's formats write them: fixed numbers little-endian, the
//! others LEB128, bytes preceded by their length.
//!
//! [`Reader`] reads from bytes that are all there; it allocates nothing and fails at the first byte
//! that does not fit, whatever the bytes are.

use super::ENTRY_VERSION;

/// The bytes are nothing that a writer of this version writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Written by a version that this one does not know.
    #[error("entry format {0}, this version reads up to {ENTRY_VERSION}")]
    Version(u8),
    /// Ends too early, or holds something that no writer writes.
    #[error("malformed entry at byte {0}")]
    Malformed(usize),
}

/// Writes a LEB128 number.
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A byte that says what follows, and these numbers.
pub fn put_tagged(out: &mut Vec<u8>, tag: u8, numbers: &[u64]) {
    out.push(tag);
    for number in numbers {
        put_varint(out, *number);
    }
}

/// Writes bytes preceded by their length.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// A position in bytes.
///
/// Invariant: `at <= bytes.len()`.
#[derive(Clone)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Starts at the first byte.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// How many bytes have been read.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// Whether all bytes have been read.
    pub(crate) fn is_done(&self) -> bool {
        self.at == self.bytes.len()
    }

    /// All the bytes, read or not.
    pub(crate) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Passes over `len` bytes and returns where they stand.
    pub(crate) fn range(&mut self, len: usize) -> Result<std::ops::Range<usize>, DecodeError> {
        let end = self.at.checked_add(len);
        let end = end
            .filter(|&end| end <= self.bytes.len())
            .ok_or(DecodeError::Malformed(self.at))?;
        let range = self.at..end;
        self.at = end;
        Ok(range)
    }

    /// A reader of the next `len` bytes alone, which this one passes over. Positions stay those of
    /// the whole.
    pub(crate) fn limited(&mut self, len: usize) -> Result<Reader<'a>, DecodeError> {
        let range = self.range(len)?;
        Ok(Reader {
            bytes: &self.bytes[..range.end],
            at: range.start,
        })
    }

    /// The next bytes, as many as the length before them says.
    pub(crate) fn string(&mut self) -> Result<&'a [u8], DecodeError> {
        let len = self.length()?;
        Ok(&self.bytes[self.range(len)?])
    }

    /// The next `N` bytes.
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (bytes, _) = self.bytes[self.at..]
            .split_first_chunk::<N>()
            .ok_or(DecodeError::Malformed(self.at))?;
        self.at += N;
        Ok(*bytes)
    }

    /// A LEB128 number that counts something.
    pub(crate) fn length(&mut self) -> Result<usize, DecodeError> {
        let at = self.at;
        usize::try_from(self.varint()?).map_err(|_| DecodeError::Malformed(at))
    }

    /// A LEB128 number.
    pub(crate) fn varint(&mut self) -> Result<u64, DecodeError> {
        let start = self.at;
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(DecodeError::Malformed(start))
    }
}
