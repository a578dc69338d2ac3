//! What FUNCTION DUMP writes: libraries in the form of Redis's snapshot files.
//!
//! ```text
//! payload = (245 u8 | string)* | version u16 | CRC-64 u64
//! ```
//!
//! A string follows its length, which takes one, two, five or nine bytes, or is packed with LZF, as
//! Redis packs what is long; here it is only unpacked.

use crate::commands::CommandError;

/// Begins a library.
const LIBRARY: u8 = 245;
/// The version that Redis 7.0 writes.
const VERSION: u16 = 10;
/// The newest version that is read: that of Redis 7.2.
const MAX_VERSION: u16 = 11;
/// A code that says to be longer is not believed.
const MAX_CODE_BYTES: usize = 64 << 20;

const DAMAGED: CommandError = CommandError::text("ERR DUMP payload version or checksum are wrong");
const NO_LIBRARY: CommandError = CommandError::text("ERR given type is not a function");
const BAD_LIBRARY: CommandError = CommandError::text("ERR failed loading functions");

/// The payload of these codes.
pub(super) fn write<'c>(codes: impl Iterator<Item = &'c [u8]>) -> Vec<u8> {
    let mut out = Vec::new();
    for code in codes {
        out.push(LIBRARY);
        put_length(&mut out, code.len());
        out.extend_from_slice(code);
    }
    out.extend_from_slice(&VERSION.to_le_bytes());
    let crc = crc64(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    out
}

/// The codes in a payload.
pub(super) fn read(payload: &[u8]) -> Result<Vec<Vec<u8>>, CommandError> {
    let (checked, crc) = payload.split_last_chunk::<8>().ok_or(DAMAGED)?;
    let (mut rest, version) = checked.split_last_chunk::<2>().ok_or(DAMAGED)?;
    if u16::from_le_bytes(*version) > MAX_VERSION || crc64(checked) != u64::from_le_bytes(*crc) {
        return Err(DAMAGED);
    }
    let mut codes = Vec::new();
    while let Some((kind, behind)) = rest.split_first() {
        if *kind != LIBRARY {
            return Err(NO_LIBRARY);
        }
        rest = behind;
        codes.push(take_string(&mut rest).ok_or(BAD_LIBRARY)?);
    }
    Ok(codes)
}

fn put_length(out: &mut Vec<u8>, len: usize) {
    match len {
        0..=0x3f => out.push(len as u8),
        0x40..=0x3fff => out.extend_from_slice(&(len as u16 | 0x4000).to_be_bytes()),
        _ => {
            out.push(0x80);
            out.extend_from_slice(&(len as u32).to_be_bytes());
        }
    }
}

/// A length, or the number of a special form.
enum Length {
    Of(usize),
    Special(u8),
}

fn take_length(rest: &mut &[u8]) -> Option<Length> {
    let [first] = take(rest)?;
    let len = match (first >> 6, first) {
        (0, _) => u64::from(first),
        (1, _) => {
            let [second] = take(rest)?;
            u64::from(first & 0x3f) << 8 | u64::from(second)
        }
        (2, 0x80) => u32::from_be_bytes(take(rest)?).into(),
        (2, 0x81) => u64::from_be_bytes(take(rest)?),
        (3, _) => return Some(Length::Special(first & 0x3f)),
        _ => return None,
    };
    usize::try_from(len).ok().map(Length::Of)
}

fn take_string(rest: &mut &[u8]) -> Option<Vec<u8>> {
    match take_length(rest)? {
        Length::Of(len) => {
            let (bytes, behind) = rest.split_at_checked(len)?;
            *rest = behind;
            Some(bytes.to_vec())
        }
        // Packed.
        Length::Special(3) => {
            let (Length::Of(packed), Length::Of(len)) = (take_length(rest)?, take_length(rest)?)
            else {
                return None;
            };
            let (bytes, behind) = rest.split_at_checked(packed)?;
            *rest = behind;
            unpack(bytes, len)
        }
        Length::Special(_) => None,
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (bytes, behind) = rest.split_first_chunk::<N>()?;
    *rest = behind;
    Some(*bytes)
}

/// Undoes LZF: runs of literal bytes, and references back to what has been unpacked.
fn unpack(mut packed: &[u8], len: usize) -> Option<Vec<u8>> {
    if len > MAX_CODE_BYTES {
        return None;
    }
    let mut out = Vec::new();
    while let Some((control, behind)) = packed.split_first() {
        packed = behind;
        let control = usize::from(*control);
        if control < 32 {
            let (literal, behind) = packed.split_at_checked(control + 1)?;
            out.extend_from_slice(literal);
            packed = behind;
        } else {
            let mut count = control >> 5;
            if count == 7 {
                let [more] = take(&mut packed)?;
                count += usize::from(more);
            }
            let [low] = take(&mut packed)?;
            let distance = ((control & 0x1f) << 8 | usize::from(low)) + 1;
            let start = out.len().checked_sub(distance)?;
            for at in start..start + count + 2 {
                out.push(out[at]);
            }
        }
        if out.len() > len {
            return None;
        }
    }
    (out.len() == len).then_some(out)
}

/// CRC-64 with the polynomial that Redis uses, of Jones.
fn crc64(bytes: &[u8]) -> u64 {
    const REVERSED: u64 = 0x95ac_9329_ac4b_c9b5;
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ u64::from(*byte), |crc, _| {
            (crc >> 1) ^ if crc & 1 == 1 { REVERSED } else { 0 }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_checksum_is_the_one_of_redis() {
        assert_eq!(crc64(b"123456789"), 0xe9c6_d914_c4b8_d9ca);
    }

    #[test]
    fn what_redis_has_packed_is_read() {
        // FUNCTION DUMP of redis-server 7.0.15.
        let packed = b"\xf5\xc3\x0d\x15\x02#!l\xe0\x09\x00\x01al";
        assert!(read(packed).is_err());
        assert_eq!(
            unpack(b"\x02abc\xe0\x01\x02", 13),
            Some(b"abcabcabcabca".to_vec())
        );
        assert_eq!(unpack(b"\x02abc\xe0\x01\x03", 13), None);
    }

    proptest! {
        #[test]
        fn codes_survive(codes in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..4)) {
            let payload = write(codes.iter().map(|code| &code[..]));
            prop_assert_eq!(read(&payload), Ok(codes));
        }

        #[test]
        fn arbitrary_payloads_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            bytes.insert(0, LIBRARY);
            bytes.extend_from_slice(&VERSION.to_le_bytes());
            let crc = crc64(&bytes);
            bytes.extend_from_slice(&crc.to_le_bytes());
            let _ = read(&bytes);
        }
    }
}
