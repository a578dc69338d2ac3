//! Requests as ranges into the buffer they were read into.
//!
//! Owns the bookkeeping of where arguments lie; owns no argument bytes, so cutting a request
//! out of a buffer copies nothing, and a value is copied once, when it is stored. Fails by
//! panic only, when asked for an argument that does not exist or with a buffer other than
//! the parsed one: both are mistakes of the calling code, never of a client.

use std::ops::Index;

/// Capacity that [`Requests`] keeps over [`Requests::clear`]. One huge request must not pin
/// its megabytes for as long as the connection lives.
const KEPT_RANGES: usize = 16 * 1024;

/// A half-open byte range in the buffer that was parsed.
///
/// Invariant: `start <= end <= buffer length`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArgRange {
    /// Offset of the first byte.
    pub start: u32,
    /// Offset behind the last byte.
    pub end: u32,
}

impl ArgRange {
    /// Makes a range from offsets that the parser has bounded by `u32::MAX`.
    #[inline]
    pub(crate) fn new(start: usize, end: usize) -> ArgRange {
        debug_assert!(start <= end && end <= u32::MAX as usize, "{start}..{end}");
        ArgRange {
            start: start as u32,
            end: end as u32,
        }
    }
}

/// The arguments of one request: a buffer and ranges into it. Copied freely, it owns nothing.
#[derive(Clone, Copy)]
pub struct Args<'a> {
    buf: &'a [u8],
    ranges: &'a [ArgRange],
}

impl<'a> Args<'a> {
    /// Joins ranges with the buffer they point into.
    pub fn new(buf: &'a [u8], ranges: &'a [ArgRange]) -> Args<'a> {
        Args { buf, ranges }
    }

    /// Number of arguments, the command's name included.
    #[inline]
    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    /// Whether there is no argument.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Argument `i`, if there are that many.
    #[inline]
    pub fn get(&self, i: usize) -> Option<&'a [u8]> {
        self.ranges.get(i).map(|range| slice(self.buf, range))
    }

    /// Argument `i`.
    ///
    /// # Panics
    /// When there are not that many arguments; commands check their arity first.
    #[inline]
    pub fn arg(&self, i: usize) -> &'a [u8] {
        slice(self.buf, &self.ranges[i])
    }

    /// The arguments in order.
    #[inline]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &'a [u8]> + Clone + use<'a> {
        let buf = self.buf;
        self.ranges.iter().map(move |range| slice(buf, range))
    }

    /// The arguments without the first `first`; empty if there are no more than that.
    #[inline]
    pub fn from(&self, first: usize) -> Args<'a> {
        Args {
            buf: self.buf,
            ranges: self.ranges.get(first..).unwrap_or(&[]),
        }
    }
}

impl Index<usize> for Args<'_> {
    type Output = [u8];

    #[inline]
    fn index(&self, i: usize) -> &[u8] {
        self.arg(i)
    }
}

impl std::fmt::Debug for Args<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.iter().map(|arg| arg.escape_ascii().to_string()))
            .finish()
    }
}

#[inline]
fn slice<'a>(buf: &'a [u8], range: &ArgRange) -> &'a [u8] {
    &buf[range.start as usize..range.end as usize]
}

/// Requests cut out of one buffer; reused between batches, so that parsing allocates nothing
/// in the steady state.
///
/// Invariant: `ends` never falls, and its last value is at most `ranges.len()`; ranges above
/// it belong to a request that the parser is still in.
#[derive(Default)]
pub struct Requests {
    pub(crate) ranges: Vec<ArgRange>,
    ends: Vec<u32>,
}

impl Requests {
    /// Forgets all requests. To be called before the parsed bytes leave the buffer, since
    /// the ranges count from the buffer's start.
    pub fn clear(&mut self) {
        self.ranges.clear();
        self.ends.clear();
        if self.ranges.capacity() > KEPT_RANGES {
            self.ranges.shrink_to(KEPT_RANGES);
        }
        if self.ends.capacity() > KEPT_RANGES {
            self.ends.shrink_to(KEPT_RANGES);
        }
    }

    /// Number of requests.
    #[inline]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no request.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The arguments of request `i`; there is always at least one. `buf` is the buffer as
    /// [`Parser::parse`](crate::Parser::parse) left it.
    ///
    /// # Panics
    /// When there are not that many requests.
    #[inline]
    pub fn args<'a>(&'a self, i: usize, buf: &'a [u8]) -> Args<'a> {
        let start = match i {
            0 => 0,
            _ => self.ends[i - 1] as usize,
        };
        Args {
            buf,
            ranges: &self.ranges[start..self.ends[i] as usize],
        }
    }

    /// Makes one request of the ranges added since the last one.
    #[inline]
    pub(crate) fn finish(&mut self) {
        // A range stands for at least one byte of a buffer below 4 GiB.
        self.ends.push(self.ranges.len() as u32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn abc() -> (&'static [u8], Vec<ArgRange>) {
        (
            b"a-bb-ccc",
            vec![
                ArgRange::new(0, 1),
                ArgRange::new(2, 4),
                ArgRange::new(5, 8),
            ],
        )
    }

    #[test]
    fn arguments_are_slices_of_the_buffer() {
        let (buf, ranges) = abc();
        let args = Args::new(buf, &ranges);
        assert_eq!(args.len(), 3);
        assert_eq!(&args[1], b"bb");
        assert_eq!(args.arg(2), b"ccc");
        assert_eq!(args.get(3), None);
        assert_eq!(args.iter().len(), 3);
        assert_eq!(args.iter().collect::<Vec<_>>(), [&b"a"[..], b"bb", b"ccc"]);
        assert_eq!(size_of::<Args<'_>>(), 32);
    }

    #[test]
    fn dropping_more_than_all_arguments_leaves_none() {
        let (buf, ranges) = abc();
        let args = Args::new(buf, &ranges);
        assert_eq!(args.from(2).arg(0), b"ccc");
        assert!(args.from(3).is_empty());
        assert!(args.from(9).is_empty());
    }

    #[test]
    fn a_huge_batch_does_not_pin_its_memory() {
        let mut requests = Requests::default();
        for i in 0..100_000 {
            requests.ranges.push(ArgRange::new(i, i + 1));
            requests.finish();
        }
        requests.clear();
        assert!(requests.ranges.capacity() <= KEPT_RANGES);
        assert!(requests.ends.capacity() <= KEPT_RANGES);
    }
}
