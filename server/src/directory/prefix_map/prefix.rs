//! [`Prefix`]: the bytes of a prefix, which nodes share or have in themselves.

use std::ops::Deref;
use std::sync::Arc;

/// As many bytes as fit beside the discriminant into the space of a shared one.
const INLINE_BYTES: usize = 22;

/// A byte string that does not change. A short one needs no memory of its own, so that who looks at
/// it does not wait for memory once more; a clone of a longer one is a count.
#[derive(Clone, Debug)]
pub(super) enum Prefix {
    /// The first `len` bytes; zeros behind them.
    Inline { len: u8, bytes: [u8; INLINE_BYTES] },
    /// More bytes than [`INLINE_BYTES`].
    Shared(Arc<[u8]>),
}

impl From<&[u8]> for Prefix {
    fn from(prefix: &[u8]) -> Self {
        let mut bytes = [0; INLINE_BYTES];
        match bytes.get_mut(..prefix.len()) {
            Some(inline) => {
                inline.copy_from_slice(prefix);
                let len = prefix.len() as u8;
                Self::Inline { len, bytes }
            }
            None => Self::Shared(prefix.into()),
        }
    }
}

impl Deref for Prefix {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match self {
            Self::Inline { len, bytes } => &bytes[..usize::from(*len).min(INLINE_BYTES)],
            Self::Shared(bytes) => bytes,
        }
    }
}

impl PartialEq for Prefix {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_bytes_that_it_was_made_of() {
        for len in 0..=2 * INLINE_BYTES {
            let bytes: Vec<u8> = (0..len as u8).collect();
            let prefix = Prefix::from(&bytes[..]);
            assert_eq!(*prefix, bytes[..]);
            assert_eq!(matches!(prefix, Prefix::Inline { .. }), len <= INLINE_BYTES);
        }
    }

    #[test]
    fn a_short_one_takes_no_more_room_than_a_shared_one() {
        assert_eq!(
            size_of::<Prefix>(),
            size_of::<Arc<[u8]>>() + size_of::<u64>()
        );
    }
}
