//! The few messages of etcd's API, version 3, that the comparison sends: bytes to and from values.
//!
//! Each message is a Protocol Buffers message behind gRPC's prefix of five bytes (a zero for "not
//! compressed", then the length). Only the fields that are used are written, and only those looked
//! for are read; everything else in an answer is stepped over by its type.
//!
//! No I/O. How it fails: an answer that is cut short or of a type that the format does not have.

use anyhow::{Context, Result, bail, ensure};

/// The path of etcd's put.
pub(crate) const PUT: &str = "/etcdserverpb.KV/Put";
/// The path of etcd's read, which is linearizable unless the request says otherwise.
pub(crate) const RANGE: &str = "/etcdserverpb.KV/Range";
/// The path of the question who a member is and whom it follows.
pub(crate) const STATUS: &str = "/etcdserverpb.Maintenance/Status";

const PREFIX_BYTES: usize = 5;

const VARINT: u8 = 0;
const FIXED_64: u8 = 1;
const BYTES: u8 = 2;
const FIXED_32: u8 = 5;

/// Who a member is and whom it follows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) member: u64,
    /// Zero while there is none.
    pub(crate) leader: u64,
    pub(crate) version: String,
}

/// Starts a request in an empty buffer.
pub(crate) fn begin(out: &mut Vec<u8>) {
    out.clear();
    out.resize(PREFIX_BYTES, 0);
}

/// Adds a field of bytes, written by `content`, of which the length is known.
pub(crate) fn bytes_field(
    number: u8,
    length: usize,
    out: &mut Vec<u8>,
    content: impl FnOnce(&mut Vec<u8>),
) {
    out.push(number << 3 | BYTES);
    write_varint(length as u64, out);
    let before = out.len();
    content(out);
    assert_eq!(out.len() - before, length, "a field must have its length");
}

/// Ends a request: writes its length into the prefix.
pub(crate) fn finish(out: &mut [u8]) {
    let length = (out.len() - PREFIX_BYTES) as u32;
    out[1..PREFIX_BYTES].copy_from_slice(&length.to_be_bytes());
}

/// The message in an answer that consists of one.
///
/// # Errors
/// If it is cut short, compressed or followed by something.
pub(crate) fn message(answer: &[u8]) -> Result<&[u8]> {
    let (prefix, message) = answer
        .split_at_checked(PREFIX_BYTES)
        .context("an answer without a message")?;
    ensure!(prefix[0] == 0, "a compressed answer");
    let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]);
    ensure!(
        message.len() == length as usize,
        "an answer of {} bytes that says it has {length}",
        message.len()
    );
    Ok(message)
}

/// Whether a message of a read holds a key with its value.
///
/// # Errors
/// If it is malformed.
pub(crate) fn has_key(range_response: &[u8]) -> Result<bool> {
    let mut rest = range_response;
    while let Some(field) = next_field(&mut rest)? {
        if field.number == 2 {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Reads the message of a status.
///
/// # Errors
/// If it is malformed.
pub(crate) fn status(mut response: &[u8]) -> Result<Status> {
    let mut status = Status::default();
    while let Some(field) = next_field(&mut response)? {
        match field.number {
            1 => status.member = member_of_header(field.bytes)?,
            2 => status.version = String::from_utf8_lossy(field.bytes).into_owned(),
            4 => status.leader = field.integer,
            _ => {}
        }
    }
    Ok(status)
}

fn member_of_header(mut header: &[u8]) -> Result<u64> {
    while let Some(field) = next_field(&mut header)? {
        if field.number == 2 {
            return Ok(field.integer);
        }
    }
    Ok(0)
}

/// One field; of the two kinds of content, that which it is not is empty or zero.
struct Field<'a> {
    number: u64,
    integer: u64,
    bytes: &'a [u8],
}

fn next_field<'a>(rest: &mut &'a [u8]) -> Result<Option<Field<'a>>> {
    if rest.is_empty() {
        return Ok(None);
    }
    let key = read_varint(rest)?;
    let (mut integer, mut bytes): (u64, &[u8]) = (0, &[]);
    match (key & 7) as u8 {
        VARINT => integer = read_varint(rest)?,
        BYTES => {
            let length = usize::try_from(read_varint(rest)?)?;
            bytes = take(rest, length)?;
        }
        FIXED_64 => bytes = take(rest, 8)?,
        FIXED_32 => bytes = take(rest, 4)?,
        other => bail!("a field of the unknown type {other}"),
    }
    let number = key >> 3;
    Ok(Some(Field {
        number,
        integer,
        bytes,
    }))
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8]> {
    let (head, tail) = rest
        .split_at_checked(length)
        .context("a message that is cut short")?;
    *rest = tail;
    Ok(head)
}

fn write_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn read_varint(rest: &mut &[u8]) -> Result<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(rest, 1)?[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    bail!("a number longer than 64 bits")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn put(key: &[u8], value: &[u8]) -> Vec<u8> {
        let mut out = vec![1, 2, 3];
        begin(&mut out);
        bytes_field(1, key.len(), &mut out, |out| out.extend_from_slice(key));
        bytes_field(2, value.len(), &mut out, |out| out.extend_from_slice(value));
        finish(&mut out);
        out
    }

    #[test]
    fn a_put_is_exact() {
        assert_eq!(put(b"k", b"vv"), b"\0\0\0\0\x07\x0a\x01k\x12\x02vv");
    }

    #[test]
    fn a_read_that_found_nothing_can_be_told() {
        // A header, then (or not) a key-value pair and the count.
        let header = b"\x0a\x02\x10\x05";
        assert!(!has_key(header).unwrap());
        let found = [header.as_slice(), b"\x12\x03\x0a\x01k\x20\x01"].concat();
        assert!(has_key(&found).unwrap());
    }

    #[test]
    fn a_status_names_member_version_and_leader() {
        let response = b"\x0a\x03\x10\xac\x02\x12\x063.4.23\x18\x80\x01\x20\x07";
        let expected = Status {
            member: 300,
            leader: 7,
            version: "3.4.23".into(),
        };
        assert_eq!(status(response).unwrap(), expected);
    }

    #[test]
    fn an_answer_of_another_length_than_it_says_is_refused() {
        let whole = put(b"k", b"v");
        assert!(message(&whole).is_ok());
        assert!(message(&whole[..whole.len() - 1]).is_err());
        assert!(message(&[whole.as_slice(), b"x"].concat()).is_err());
        assert!(message(b"\0\0").is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = message(&bytes);
            let _ = has_key(&bytes);
            let _ = status(&bytes);
        }

        #[test]
        fn a_number_survives_its_encoding(value: u64) {
            let mut out = Vec::new();
            write_varint(value, &mut out);
            prop_assert_eq!(read_varint(&mut out.as_slice()).unwrap(), value);
        }
    }
}
