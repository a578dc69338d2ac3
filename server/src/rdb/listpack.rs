//! Listpacks: short sequences of strings and numbers in one block.
//!
//! ```text
//! listpack = bytes u32 | elements u16, or 65535 if they were not counted | entry* | 255
//! ```
//!
//! An entry is what `keyspace::list` keeps of an element, so the pack of a list needs only a head.
//! Reading checks every entry, also the length behind it from which Redis walks backwards.

use super::Malformed;
use crate::keyspace::list::Element;

const HEAD_BYTES: usize = 6;
const END: u8 = 0xff;
/// Stands for a number of elements that does not fit.
const NOT_COUNTED: u16 = u16::MAX;

/// The elements of a listpack, in order.
///
/// # Errors
/// It is none.
pub(super) fn elements(block: &[u8]) -> Result<Vec<Element<'_>>, Malformed> {
    let (head, body) = block.split_first_chunk::<HEAD_BYTES>().ok_or(Malformed)?;
    let bytes = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
    let count = u16::from_le_bytes([head[4], head[5]]);
    let (&end, mut rest) = body.split_last().ok_or(Malformed)?;
    if bytes as usize != block.len() || end != END {
        return Err(Malformed);
    }
    let mut elements = Vec::new();
    while !rest.is_empty() {
        elements.push(take_entry(&mut rest)?);
    }
    if count != NOT_COUNTED && usize::from(count) != elements.len() {
        return Err(Malformed);
    }
    Ok(elements)
}

/// The entries of a listpack that [`elements`] has checked.
pub(super) fn entries(block: &[u8]) -> &[u8] {
    &block[HEAD_BYTES..block.len() - 1]
}

/// The listpack of these entries, which are those of a list's pack.
pub(super) fn around(entries: &[u8]) -> Vec<u8> {
    let (mut rest, mut count) = (entries, 0);
    while !rest.is_empty() {
        take_entry(&mut rest).expect("a list keeps its elements as entries of a listpack");
        count += 1;
    }
    wrap(entries, count)
}

fn wrap(entries: &[u8], count: usize) -> Vec<u8> {
    let len = HEAD_BYTES + entries.len() + 1;
    let mut block = Vec::with_capacity(len);
    let bytes = u32::try_from(len).expect("a pack is as long as one request at most");
    block.extend_from_slice(&bytes.to_le_bytes());
    let count = u16::try_from(count).unwrap_or(NOT_COUNTED);
    block.extend_from_slice(&count.to_le_bytes());
    block.extend_from_slice(entries);
    block.push(END);
    block
}

/// Writes elements one behind the other, to be wrapped.
#[derive(Default)]
pub(super) struct Writer {
    entries: Vec<u8>,
    count: usize,
}

impl Writer {
    pub(super) fn push(&mut self, element: Element<'_>) {
        element.append_entry(&mut self.entries);
        self.count += 1;
    }

    /// A string, or the number that it spells.
    pub(super) fn push_bytes(&mut self, bytes: &[u8]) {
        self.push(Element::of(bytes));
    }

    pub(super) fn push_int(&mut self, number: i64) {
        self.push(Element::Int(number));
    }

    pub(super) fn finish(self) -> Vec<u8> {
        wrap(&self.entries, self.count)
    }
}

fn take_entry<'a>(rest: &mut &'a [u8]) -> Result<Element<'a>, Malformed> {
    let start = *rest;
    let first = take::<1>(rest)?[0];
    let element = match first {
        0x00..0x80 => Element::Int(first.into()),
        0x80..0xc0 => string(rest, usize::from(first & 0x3f))?,
        0xc0..0xe0 => {
            let bits = i64::from(first & 0x1f) << 8 | i64::from(take::<1>(rest)?[0]);
            // Thirteen bits, of which the first is the sign.
            Element::Int(bits << 51 >> 51)
        }
        0xe0..0xf0 => {
            let len = usize::from(first & 0x0f) << 8 | usize::from(take::<1>(rest)?[0]);
            string(rest, len)?
        }
        0xf0 => {
            let len = u32::from_le_bytes(take(rest)?) as usize;
            string(rest, len)?
        }
        0xf1 => Element::Int(i16::from_le_bytes(take(rest)?).into()),
        0xf2 => {
            let [low, middle, high] = take(rest)?;
            Element::Int((i32::from_le_bytes([0, low, middle, high]) >> 8).into())
        }
        0xf3 => Element::Int(i32::from_le_bytes(take(rest)?).into()),
        0xf4 => Element::Int(i64::from_le_bytes(take(rest)?)),
        _ => return Err(Malformed),
    };
    take_back_length(rest, start.len() - rest.len())?;
    Ok(element)
}

/// The length of an entry behind it: seven bits a byte, the lowest in the last one.
fn take_back_length(rest: &mut &[u8], body: usize) -> Result<(), Malformed> {
    let width = match body {
        0..=127 => 1,
        128..16_383 => 2,
        16_383..2_097_151 => 3,
        2_097_151..268_435_455 => 4,
        _ => 5,
    };
    let (bytes, behind) = rest.split_at_checked(width).ok_or(Malformed)?;
    let mut len = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        if (byte & 0x80 != 0) != (at > 0) {
            return Err(Malformed);
        }
        len = len << 7 | usize::from(byte & 0x7f);
    }
    *rest = behind;
    if len == body { Ok(()) } else { Err(Malformed) }
}

fn string<'a>(rest: &mut &'a [u8], len: usize) -> Result<Element<'a>, Malformed> {
    let (bytes, behind) = rest.split_at_checked(len).ok_or(Malformed)?;
    *rest = behind;
    Ok(Element::Bytes(bytes))
}

pub(super) fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Malformed> {
    let (bytes, behind) = rest.split_first_chunk().ok_or(Malformed)?;
    *rest = behind;
    Ok(*bytes)
}
