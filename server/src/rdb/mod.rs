//! Redis's serialization: the values of `DUMP` and `RESTORE`, and the files that they stand in.
//!
//! ```text
//! dump  = type u8 | value | version u16 | CRC-64 over all before it
//! file  = "REDIS" version | ( attribute* type key value | setting )* | 255 | CRC-64
//! ```
//!
//! Read are the values of all Redis versions up to 7.2 (RDB version [`READ_VERSION`]), with every
//! encoding that one of them wrote. Written is version [`WRITE_VERSION`], which Redis 7.0 and all
//! later ones load: small values as listpacks, others element by element.
//!
//! Bytes come from clients and from files, so nothing in them is believed. Lengths are compared
//! with what is there before memory is taken for them; counts, order, ends and uniqueness are
//! checked for each encoding, also where Redis itself checks them only if told to. What does not
//! hold is [`Malformed`], which says nothing more, as Redis's error does not.
//!
//! The codec knows no commands and no I/O. A file is cut into its records by [`mod@file`], which
//! copies values without understanding more of them than their length; importing such a value is a
//! `RESTORE`, so both ways of getting data in pass the same checks.
//!
//! Not here: strings are not compressed when written, values of modules are not read.

mod crc;
pub mod file;
mod input;
mod listpack;
mod lzf;
mod old;
mod output;
mod read;
mod skip;
pub mod stream;
pub mod stream_value;
#[cfg(test)]
mod tests;
mod write;

pub use crc::Crc;
pub use input::{Malformed, Stop};
pub use output::{put_length, put_string};

use crate::keyspace::{Entry, Object, ValueRef};
use input::Input;

/// The newest version whose values are read: that of Redis 7.2.
pub const READ_VERSION: u16 = 11;

/// The version in which values are written: that of Redis 7.0.
pub const WRITE_VERSION: u16 = 10;

/// The type under which [`stream::put`] writes.
pub const STREAM_TYPE: u8 = kind::STREAM_2;

/// Version and checksum behind a dumped value.
const FOOTER_BYTES: usize = 10;

/// The types under which values stand in a dump or a file.
mod kind {
    pub(super) const STRING: u8 = 0;
    pub(super) const LIST: u8 = 1;
    pub(super) const SET: u8 = 2;
    pub(super) const ZSET: u8 = 3;
    pub(super) const HASH: u8 = 4;
    pub(super) const ZSET_2: u8 = 5;
    pub(super) const MODULE: u8 = 6;
    pub(super) const MODULE_2: u8 = 7;
    pub(super) const HASH_ZIPMAP: u8 = 9;
    pub(super) const LIST_ZIPLIST: u8 = 10;
    pub(super) const SET_INTSET: u8 = 11;
    pub(super) const ZSET_ZIPLIST: u8 = 12;
    pub(super) const HASH_ZIPLIST: u8 = 13;
    pub(super) const LIST_QUICKLIST: u8 = 14;
    pub(super) const STREAM: u8 = 15;
    pub(super) const HASH_LISTPACK: u8 = 16;
    pub(super) const ZSET_LISTPACK: u8 = 17;
    pub(super) const LIST_QUICKLIST_2: u8 = 18;
    pub(super) const STREAM_2: u8 = 19;
    pub(super) const SET_LISTPACK: u8 = 20;
    pub(super) const STREAM_3: u8 = 21;
}

/// A value that was read.
#[derive(Debug)]
pub enum Value {
    /// A string, perhaps the decimal form of a number.
    String(Vec<u8>),
    /// A value of several elements; there is at least one.
    Object(Object),
    /// A stream.
    Stream(stream::Stream),
}

/// Why a dump cannot be restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// The footer is not that of a version that is read, or the checksum is another one.
    #[error("DUMP payload version or checksum are wrong")]
    Footer,
    /// What stands in front of the footer is no value.
    #[error("Bad data format")]
    Value,
}

/// The dump of an entry's value. The expiry is no part of it.
#[must_use]
pub fn dump(entry: &Entry) -> Vec<u8> {
    let mut out = Vec::new();
    write::put_value(entry.value(), &mut out);
    put_footer(&mut out);
    out
}

/// The type and the value of an object, as they stand in front of a dump's footer.
#[must_use]
pub fn value_of(object: &Object) -> Vec<u8> {
    let mut out = Vec::new();
    write::put_value(ValueRef::Object(object), &mut out);
    out
}

/// Whether a type belongs to the version that is written.
#[must_use]
pub fn is_written(kind: u8) -> bool {
    kind < kind::SET_LISTPACK
}

/// Makes a dump of a type and a value, as they stand in a file.
pub fn put_footer(value: &mut Vec<u8>) {
    let is_old = value.first().is_none_or(|&kind| is_written(kind));
    let version = if is_old { WRITE_VERSION } else { READ_VERSION };
    value.extend_from_slice(&version.to_le_bytes());
    let crc = Crc::of(value);
    value.extend_from_slice(&crc.to_le_bytes());
}

/// Type and value in a dump, without the footer.
///
/// # Errors
/// [`RestoreError::Footer`].
pub fn without_footer(dump: &[u8]) -> Result<&[u8], RestoreError> {
    let at = dump.len().checked_sub(FOOTER_BYTES);
    let (value, footer) = dump.split_at(at.ok_or(RestoreError::Footer)?);
    let version = u16::from_le_bytes([footer[0], footer[1]]);
    let crc = Crc::of(&dump[..value.len() + 2]).to_le_bytes();
    if version > READ_VERSION || footer[2..] != crc {
        return Err(RestoreError::Footer);
    }
    Ok(value)
}

/// Reads a dump. `seed` is the hash seed of the keyspace that takes the value.
///
/// # Errors
/// It is none, or holds something else than a value that Redis could have written.
pub fn restore(dump: &[u8], seed: u64) -> Result<Value, RestoreError> {
    let value = without_footer(dump)?;
    let mut input = Input::new(value);
    let value = read::take_value(&mut input, seed).map_err(|_| RestoreError::Value)?;
    if !input.is_empty() {
        return Err(RestoreError::Value);
    }
    Ok(value)
}
