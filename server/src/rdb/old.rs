//! Blocks that Redis wrote before it had listpacks, and sets of integers, which it still writes.
//!
//! All numbers are little-endian unless said otherwise; all blocks are checked to the last byte.

use super::Malformed;
use super::listpack::take;
use crate::keyspace::list::Element;

const END: u8 = 0xff;

/// The elements of a ziplist.
///
/// ```text
/// ziplist = bytes u32 | offset of the last entry u32 | entries u16, or 65535 | entry* | 255
/// entry   = length of the entry before: u8 below 254, or 254 u32 | body
/// body    = 00llllll bytes | 01llllll l bytes | 10000000 l4 bytes     lengths big-endian
///         | 11000000 i16 | 11010000 i32 | 11100000 i64 | 11110000 i24 | 11111110 i8
///         | 1111nnnn, the number n - 1 from 0 to 12
/// ```
pub(super) fn ziplist(block: &[u8]) -> Result<Vec<Element<'_>>, Malformed> {
    let mut rest = block;
    let bytes = u32::from_le_bytes(take(&mut rest)?) as usize;
    let last = u32::from_le_bytes(take(&mut rest)?) as usize;
    let count = u16::from_le_bytes(take(&mut rest)?);
    let (&end, mut rest) = rest.split_last().ok_or(Malformed)?;
    if bytes != block.len() || end != END {
        return Err(Malformed);
    }
    let mut elements = Vec::new();
    // Where the entry begins; behind the last one stands the end.
    let (mut at, mut before) = (block.len() - 1 - rest.len(), 0);
    let mut last_at = at;
    while !rest.is_empty() {
        last_at = at;
        let start = rest.len();
        if take_length_before(&mut rest)? != before {
            return Err(Malformed);
        }
        elements.push(take_body(&mut rest)?);
        before = start - rest.len();
        at += before;
    }
    let is_counted = count == u16::MAX || usize::from(count) == elements.len();
    if last != last_at || !is_counted {
        return Err(Malformed);
    }
    Ok(elements)
}

fn take_length_before(rest: &mut &[u8]) -> Result<usize, Malformed> {
    match take(rest)? {
        [254] => Ok(u32::from_le_bytes(take(rest)?) as usize),
        [END] => Err(Malformed),
        [len] => Ok(len.into()),
    }
}

fn take_body<'a>(rest: &mut &'a [u8]) -> Result<Element<'a>, Malformed> {
    let [first] = take(rest)?;
    let len = match first {
        0x00..0x40 => usize::from(first),
        0x40..0x80 => usize::from(first & 0x3f) << 8 | usize::from(take::<1>(rest)?[0]),
        0x80 => u32::from_be_bytes(take(rest)?) as usize,
        0xc0 => return Ok(Element::Int(i16::from_le_bytes(take(rest)?).into())),
        0xd0 => return Ok(Element::Int(i32::from_le_bytes(take(rest)?).into())),
        0xe0 => return Ok(Element::Int(i64::from_le_bytes(take(rest)?))),
        0xf0 => {
            let [low, middle, high] = take(rest)?;
            let number = i32::from_le_bytes([0, low, middle, high]) >> 8;
            return Ok(Element::Int(number.into()));
        }
        0xfe => return Ok(Element::Int(i8::from_le_bytes(take(rest)?).into())),
        0xf1..=0xfd => return Ok(Element::Int(i64::from(first & 0x0f) - 1)),
        _ => return Err(Malformed),
    };
    let (bytes, behind) = rest.split_at_checked(len).ok_or(Malformed)?;
    *rest = behind;
    Ok(Element::Bytes(bytes))
}

/// Fields and values of a zipmap, in turn.
///
/// ```text
/// zipmap = entries u8, or 254 | ( length field | length unused u8 value unused bytes )* | 255
/// length = u8 below 254, or 254 u32
/// ```
pub(super) fn zipmap(block: &[u8]) -> Result<Vec<&[u8]>, Malformed> {
    let mut rest = block;
    let [count] = take(&mut rest)?;
    let (&end, mut rest) = rest.split_last().ok_or(Malformed)?;
    if end != END {
        return Err(Malformed);
    }
    let mut parts = Vec::new();
    while !rest.is_empty() {
        let field = take_length_before(&mut rest)?;
        parts.push(split(&mut rest, field)?);
        let value = take_length_before(&mut rest)?;
        let [unused] = take(&mut rest)?;
        parts.push(split(&mut rest, value)?);
        split(&mut rest, unused.into())?;
    }
    if count < 254 && usize::from(count) != parts.len() / 2 {
        return Err(Malformed);
    }
    Ok(parts)
}

fn split<'a>(rest: &mut &'a [u8], len: usize) -> Result<&'a [u8], Malformed> {
    let (bytes, behind) = rest.split_at_checked(len).ok_or(Malformed)?;
    *rest = behind;
    Ok(bytes)
}

/// The numbers of a set of integers, ascending.
///
/// ```text
/// intset = width u32: 2, 4 or 8 | count u32 | numbers
/// ```
pub(super) fn intset(block: &[u8]) -> Result<Vec<i64>, Malformed> {
    let mut rest = block;
    let width = u32::from_le_bytes(take(&mut rest)?) as usize;
    let count = u32::from_le_bytes(take(&mut rest)?) as usize;
    if !matches!(width, 2 | 4 | 8) || count.checked_mul(width) != Some(rest.len()) {
        return Err(Malformed);
    }
    let number = |bytes: &[u8]| {
        let mut word = [0; 8];
        word[8 - width..].copy_from_slice(bytes);
        // The shift brings the sign along.
        i64::from_le_bytes(word) >> (64 - 8 * width)
    };
    let numbers: Vec<i64> = rest.chunks_exact(width).map(number).collect();
    if !numbers.is_sorted_by(|one, next| one < next) {
        return Err(Malformed);
    }
    Ok(numbers)
}

/// Writes an intset of ascending numbers.
pub(super) fn put_intset(numbers: &[i64], out: &mut Vec<u8>) {
    let widest = |number: &i64| match number {
        -0x8000..=0x7fff => 2,
        -0x8000_0000..=0x7fff_ffff => 4,
        _ => 8,
    };
    let width = numbers.iter().map(widest).max().unwrap_or(2);
    out.extend_from_slice(&(width as u32).to_le_bytes());
    let count = u32::try_from(numbers.len()).expect("a set of integers is small");
    out.extend_from_slice(&count.to_le_bytes());
    for number in numbers {
        out.extend_from_slice(&number.to_le_bytes()[..width]);
    }
}
