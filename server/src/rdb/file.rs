//! A whole file, cut into what it says one thing after the other.
//!
//! [`take_item`] looks at the front of the bytes that have been read so far and gives one item, or
//! says that more must be read. It copies nothing; a value is given as the bytes that a dump of it
//! begins with, which [`super::put_footer`] completes.

use std::borrow::Cow;

use super::input::{Input, Length, Stop};
use super::skip::skip_value;
use super::{READ_VERSION, kind};

/// What a file begins with; four digits of the version follow.
pub const MAGIC: &[u8] = b"REDIS";

/// Length of magic and version, in bytes.
pub const HEAD_BYTES: usize = 9;

/// Length of the checksum behind the end, in bytes.
pub const CHECKSUM_BYTES: usize = 8;

/// The first version whose files end with a checksum.
pub const CHECKSUM_VERSION: u16 = 5;

const FUNCTION_2: u8 = 245;
const FUNCTION_OF_PREVIEW: u8 = 246;
const MODULE_AUX: u8 = 247;
const IDLE: u8 = 248;
const FREQUENCY: u8 = 249;
const AUX: u8 = 250;
const RESIZE_DB: u8 = 251;
const EXPIRE_TIME_MS: u8 = 252;
const EXPIRE_TIME: u8 = 253;
const SELECT_DB: u8 = 254;
const END: u8 = 255;

/// The numbers above all types and below all that is no type.
const UNKNOWN_MIN: u8 = kind::STREAM_3 + 1;
const UNKNOWN_MAX: u8 = FUNCTION_2 - 1;
/// A number among the types that none of them has.
const UNKNOWN_GAP: u8 = 8;

/// One thing that a file says.
#[derive(Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// Something about the server that wrote it.
    Aux(Cow<'a, [u8]>, Cow<'a, [u8]>),
    /// The keys that follow belong to this database.
    Select(u64),
    /// How many keys the database has, and how many of them expire.
    Resize(u64, u64),
    /// The next key expires at this Unix time in milliseconds.
    ExpireAt(i64),
    /// The next key was accessed so many seconds ago.
    Idle(u64),
    /// The next key's access frequency.
    Frequency(u8),
    /// The code of a library of functions.
    Function(Cow<'a, [u8]>),
    /// A key, with type and value as in a dump without its footer.
    Entry {
        /// The key.
        key: Cow<'a, [u8]>,
        /// The type.
        kind: u8,
        /// The value.
        value: &'a [u8],
    },
    /// The end; a checksum follows in most versions.
    End,
}

/// Why a file's beginning, or an item, cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// It is something else.
    #[error("this is no RDB file: it does not begin with REDIS and a version")]
    NoRdb,
    /// A later Redis wrote it.
    #[error("RDB version {0} is not supported, only those up to {READ_VERSION}")]
    Version(u16),
    /// It has data of a module, which nobody else can read.
    #[error("data of a module")]
    Module,
    /// It has functions in a form that no released Redis wrote.
    #[error("functions in the form of a preview of Redis 7.0")]
    FunctionOfPreview,
    /// A type that does not exist.
    #[error("the unknown type {0}")]
    UnknownType(u8),
    /// Bytes that mean nothing.
    #[error("malformed bytes")]
    Malformed,
}

/// The version in the first [`HEAD_BYTES`] of a file.
///
/// # Errors
/// It is no such file, or of a version that is not read.
pub fn version(head: &[u8]) -> Result<u16, FileError> {
    let digits = head.strip_prefix(MAGIC).ok_or(FileError::NoRdb)?;
    let digits = digits.get(..HEAD_BYTES - MAGIC.len());
    let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
    let version: u16 = digits
        .and_then(|digits| digits.parse().ok())
        .ok_or(FileError::NoRdb)?;
    if (1..=READ_VERSION).contains(&version) {
        Ok(version)
    } else {
        Err(FileError::Version(version))
    }
}

/// The item at the front of `bytes` and how many bytes it takes; `None` if it does not end there.
///
/// # Errors
/// There is something that cannot be read.
pub fn take_item(bytes: &[u8]) -> Result<Option<(Item<'_>, usize)>, FileError> {
    let Some(&opcode) = bytes.first() else {
        return Ok(None);
    };
    let refusal = match opcode {
        MODULE_AUX | kind::MODULE | kind::MODULE_2 => Some(FileError::Module),
        FUNCTION_OF_PREVIEW => Some(FileError::FunctionOfPreview),
        UNKNOWN_MIN..=UNKNOWN_MAX | UNKNOWN_GAP => Some(FileError::UnknownType(opcode)),
        _ => None,
    };
    if let Some(refusal) = refusal {
        return Err(refusal);
    }
    let mut input = Input::new(&bytes[1..]);
    match take(opcode, bytes, &mut input) {
        Ok(item) => Ok(Some((item, bytes.len() - input.len()))),
        Err(Stop::Incomplete) => Ok(None),
        Err(Stop::Malformed) => Err(FileError::Malformed),
    }
}

fn take<'a>(opcode: u8, bytes: &'a [u8], input: &mut Input<'a>) -> Result<Item<'a>, Stop> {
    Ok(match opcode {
        FUNCTION_2 => Item::Function(input.string()?),
        IDLE => Item::Idle(input.length()?),
        FREQUENCY => Item::Frequency(input.byte()?),
        AUX => Item::Aux(input.string()?, input.string()?),
        RESIZE_DB => Item::Resize(input.length()?, input.length()?),
        EXPIRE_TIME_MS => Item::ExpireAt(i64::from_le_bytes(input.take()?)),
        EXPIRE_TIME => Item::ExpireAt(1000 * i64::from(i32::from_le_bytes(input.take()?))),
        SELECT_DB => match input.any_length()? {
            Length::Plain(database) => Item::Select(database),
            Length::Special(_) => return Err(Stop::Malformed),
        },
        END => Item::End,
        kind => {
            let key = input.string()?;
            let start = bytes.len() - input.len();
            skip_value(kind, input)?;
            let value = &bytes[start..bytes.len() - input.len()];
            Item::Entry { key, kind, value }
        }
    })
}

/// What to write into a file.
pub mod put {
    use super::super::output::{put_bytes, put_length, put_string};
    use super::super::{Crc, WRITE_VERSION};
    use super::{AUX, END, EXPIRE_TIME_MS, MAGIC, SELECT_DB};

    /// The beginning.
    pub fn head(out: &mut Vec<u8>) {
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(format!("{WRITE_VERSION:04}").as_bytes());
    }

    /// Something about the writer, which readers may ignore.
    pub fn aux(name: &str, value: &str, out: &mut Vec<u8>) {
        out.push(AUX);
        put_string(name.as_bytes(), out);
        put_string(value.as_bytes(), out);
    }

    /// The keys that follow belong to this database.
    pub fn select(database: u64, out: &mut Vec<u8>) {
        out.push(SELECT_DB);
        put_length(database, out);
    }

    /// A key with its value, a type and what stands behind it in a dump, and its expiry, in
    /// milliseconds of Unix time. `value` is not empty.
    pub fn entry(key: &[u8], value: &[u8], expires_at_ms: Option<i64>, out: &mut Vec<u8>) {
        if let Some(at_ms) = expires_at_ms {
            out.push(EXPIRE_TIME_MS);
            out.extend_from_slice(&at_ms.to_le_bytes());
        }
        out.push(value[0]);
        put_bytes(key, out);
        out.extend_from_slice(&value[1..]);
    }

    /// The end, for which the checksum of everything before it is needed.
    pub fn end(mut crc: Crc, out: &mut Vec<u8>) {
        crc.update(&[END]);
        out.push(END);
        out.extend_from_slice(&crc.value().to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_is_cut_off_where_it_ends() {
        let mut bytes = Vec::new();
        put::aux("redis-ver", "7.0.15", &mut bytes);
        put::select(3, &mut bytes);
        put::entry(b"key", b"\0\x05value", Some(-7), &mut bytes);
        put::end(super::super::Crc::default(), &mut bytes);
        let mut rest = &bytes[..];
        let mut items = Vec::new();
        loop {
            // One byte less is never enough.
            let (item, used) = take_item(rest).unwrap().expect("an item");
            for len in 0..used {
                assert_eq!(take_item(&rest[..len]), Ok(None));
            }
            let is_end = item == Item::End;
            items.push(item);
            rest = &rest[used..];
            if is_end {
                break;
            }
        }
        let entry = Item::Entry {
            key: Cow::Borrowed(b"key"),
            kind: 0,
            value: b"\x05value",
        };
        let aux = Item::Aux(Cow::Borrowed(b"redis-ver"), Cow::Borrowed(b"7.0.15"));
        assert_eq!(
            items,
            [aux, Item::Select(3), Item::ExpireAt(-7), entry, Item::End]
        );
        assert_eq!(rest.len(), CHECKSUM_BYTES);
    }

    #[test]
    fn what_cannot_be_read_says_what_it_is() {
        assert_eq!(take_item(&[247, 1]), Err(FileError::Module));
        assert_eq!(take_item(&[7, 1]), Err(FileError::Module));
        assert_eq!(take_item(&[22]), Err(FileError::UnknownType(22)));
        assert_eq!(take_item(&[0, 0x82]), Err(FileError::Malformed));
        assert_eq!(version(b"REDIS0011"), Ok(11));
        assert_eq!(version(b"REDIS0012"), Err(FileError::Version(12)));
        assert_eq!(version(b"REDIS00x1"), Err(FileError::NoRdb));
        assert_eq!(version(b"PK"), Err(FileError::NoRdb));
    }
}
