//! A string as commands see it, and how long it may become.

use super::{CommandError, Outcome};
use crate::keyspace::{Entry, ValueRef};

/// The longest string a command may build, in bytes: Redis's `proto-max-bulk-len`.
const STRING_MAX_BYTES: usize = 512 * 1024 * 1024;

/// A string value in one of its representations.
#[derive(Clone, Copy, Debug)]
pub enum StringRef<'a> {
    /// The decimal form of a number.
    Int(i64),
    /// Bytes.
    Bytes(&'a [u8]),
}

impl<'a> StringRef<'a> {
    /// The string in `entry`; `WRONGTYPE` if it holds something else.
    pub fn of(entry: &'a Entry) -> Result<Self, CommandError> {
        match entry.value() {
            ValueRef::Int(number) => Ok(Self::Int(number)),
            ValueRef::String(bytes) => Ok(Self::Bytes(bytes)),
            ValueRef::Object(object) => object
                .as_string()
                .map(Self::Bytes)
                .ok_or(CommandError::WrongType),
        }
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(self) -> usize {
        self.with_bytes(<[u8]>::len)
    }

    /// Whether there is no byte.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.len() == 0
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
}

/// Refuses a string of `len` bytes if it is longer than a string may be.
pub fn check_string_len(len: usize) -> Outcome {
    if len > STRING_MAX_BYTES {
        Err(CommandError::StringTooLong)
    } else {
        Ok(())
    }
}
