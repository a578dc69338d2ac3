//! Writing lengths and strings as Redis reads them; see [`super::input`] for the forms.

use crate::keyspace::parse_canonical_int;

/// Longer strings are never written as numbers.
const NUMBER_MAX_BYTES: usize = 11;

/// Writes a length.
pub fn put_length(len: u64, out: &mut Vec<u8>) {
    if len < 1 << 6 {
        out.push(len as u8);
    } else if len < 1 << 14 {
        out.extend_from_slice(&(0x4000 | len as u16).to_be_bytes());
    } else if let Ok(len) = u32::try_from(len) {
        out.push(0x80);
        out.extend_from_slice(&len.to_be_bytes());
    } else {
        out.push(0x81);
        out.extend_from_slice(&len.to_be_bytes());
    }
}

/// Writes a string, as a number if it is the decimal form of a small one.
pub fn put_string(bytes: &[u8], out: &mut Vec<u8>) {
    let number = parse_canonical_int(bytes).filter(|_| bytes.len() <= NUMBER_MAX_BYTES);
    match number.and_then(|number| i32::try_from(number).ok()) {
        Some(number) => put_number(number, out),
        None => put_bytes(bytes, out),
    }
}

/// Writes a string as it is.
pub(super) fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    put_length(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

fn put_number(number: i32, out: &mut Vec<u8>) {
    if let Ok(number) = i8::try_from(number) {
        out.push(0xc0);
        out.extend_from_slice(&number.to_le_bytes());
    } else if let Ok(number) = i16::try_from(number) {
        out.push(0xc1);
        out.extend_from_slice(&number.to_le_bytes());
    } else {
        out.push(0xc2);
        out.extend_from_slice(&number.to_le_bytes());
    }
}
