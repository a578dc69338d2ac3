//! The fast path of the request parser: small multibulk requests that are all there.
//!
//! Owns no rule and no error. It reads a request of up to 99 arguments straight from the
//! bytes, and at the first byte that is not as expected it puts everything back and says
//! nothing, whereupon the parser takes the request from its start. What it accepts, the
//! parser accepts too, with the same result.

use crate::{ArgRange, Limits, Requests};

/// Appends the multibulk request at `start` to `out` and returns where it ends, if it is
/// complete, well-formed and of ordinary size.
#[inline]
pub(crate) fn multibulk(
    buf: &[u8],
    start: usize,
    limits: &Limits,
    out: &mut Requests,
) -> Option<usize> {
    if buf[start] != b'*' {
        return None;
    }
    let (count, mut at) = length(buf, start)?;
    if !(1..=99).contains(&count)
        || count as usize > limits.max_args
        || !limits.allows_args(count.into())
    {
        return None;
    }
    let first = out.ranges.len();
    out.ranges.reserve(count as usize);
    for _ in 0..count {
        match argument(buf, at, limits) {
            Some(range) => {
                out.ranges.push(range);
                at = range.end as usize + 2;
            }
            None => {
                out.ranges.truncate(first);
                return None;
            }
        }
    }
    out.finish();
    Some(at)
}

#[inline(always)]
fn argument(buf: &[u8], at: usize, limits: &Limits) -> Option<ArgRange> {
    if *buf.get(at)? != b'$' {
        return None;
    }
    let (bytes, data) = length(buf, at)?;
    let end = data + bytes as usize;
    let fits = end + 2 <= buf.len();
    let allowed = bytes as usize <= limits.max_bulk_bytes && limits.allows_bulk(bytes.into());
    (fits && allowed).then(|| ArgRange::new(data, end))
}

/// Reads a number of up to nine digits behind the type byte at `at`, and its line end.
/// Returns the number and the offset behind the line.
#[inline(always)]
pub(crate) fn length(buf: &[u8], at: usize) -> Option<(u32, usize)> {
    let digits = buf.get(at + 1..)?;
    let first = u32::from(digits.first()?.wrapping_sub(b'0'));
    if first > 9 {
        return None;
    }
    let mut number = first;
    let mut n = 1;
    loop {
        let digit = u32::from(digits.get(n)?.wrapping_sub(b'0'));
        if digit > 9 {
            break;
        }
        // A leading zero is malformed, and ten digits may overflow.
        if number == 0 || n == 9 {
            return None;
        }
        number = number * 10 + digit;
        n += 1;
    }
    (digits[n] == b'\r' && digits.len() >= n + 2).then_some((number, at + n + 3))
}
