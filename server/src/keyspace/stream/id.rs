//! The ID of an entry: a time and a number within that millisecond.

use std::fmt;

/// The length of an ID in checkpoints, in bytes.
pub(super) const ID_BYTES: usize = 16;

/// The ID of an entry. IDs are ordered by time, then by number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId {
    /// Milliseconds, usually since 1970.
    pub ms: u64,
    /// Tells entries of the same millisecond apart.
    pub seq: u64,
}

impl StreamId {
    /// The least ID, which no entry has.
    pub const MIN: Self = Self { ms: 0, seq: 0 };
    /// The greatest ID.
    pub const MAX: Self = Self {
        ms: u64::MAX,
        seq: u64::MAX,
    };

    /// The ID right behind this one; `None` behind the greatest.
    #[must_use]
    pub fn next(self) -> Option<Self> {
        match self.seq.checked_add(1) {
            Some(seq) => Some(Self { seq, ..self }),
            None => self.ms.checked_add(1).map(|ms| Self { ms, seq: 0 }),
        }
    }

    /// The ID right before this one; `None` before the least.
    #[must_use]
    pub fn previous(self) -> Option<Self> {
        match self.seq.checked_sub(1) {
            Some(seq) => Some(Self { seq, ..self }),
            None => self.ms.checked_sub(1).map(|ms| Self { ms, seq: u64::MAX }),
        }
    }

    /// The ID as 16 bytes whose order is that of IDs.
    pub(super) fn to_bytes(self) -> [u8; ID_BYTES] {
        (u128::from(self.ms) << 64 | u128::from(self.seq)).to_be_bytes()
    }

    /// The ID of which [`StreamId::to_bytes`] gave the bytes.
    pub(super) fn from_bytes(bytes: [u8; ID_BYTES]) -> Self {
        let both = u128::from_be_bytes(bytes);
        Self {
            ms: (both >> 64) as u64,
            seq: both as u64,
        }
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_cross_from_millisecond_to_millisecond() {
        let id = |ms, seq| StreamId { ms, seq };
        for (one, other) in [
            (id(0, 0), id(0, 1)),
            (id(4, u64::MAX), id(5, 0)),
            (id(u64::MAX, 7), id(u64::MAX, 8)),
        ] {
            assert_eq!(one.next(), Some(other));
            assert_eq!(other.previous(), Some(one));
            assert!(one < other && one.to_bytes() < other.to_bytes());
            assert_eq!(StreamId::from_bytes(other.to_bytes()), other);
        }
        assert_eq!(StreamId::MAX.next(), None);
        assert_eq!(StreamId::MIN.previous(), None);
    }
}
