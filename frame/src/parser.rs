//! The request parser: cuts complete requests out of a read buffer.
//!
//! A request is either a *multibulk*, `*<count>` and then that many `$<length>` arguments, or
//! an *inline* line of words. Nearly all traffic is small whole multibulks, so [`fast`] reads
//! those in one pass and gives up at anything unusual; this module then parses the request
//! again, with every rule, error and memory of how far it came. [`fast`] never decides that a
//! request is bad, so there is one place where that happens.
//!
//! Owns the progress in the request that is incomplete: an argument of 512 MB that arrives
//! in pieces is not scanned again with each, and a line without an end is searched once.
//! Does not own the buffer, reads nothing and answers nothing.
//!
//! How it fails: [`ProtocolError`], after which the connection is to be closed. What is
//! accepted does not depend on how the bytes were split on their way. For that, one rule is
//! stricter than in Redis, which refuses an overlong line only if its end has not arrived at
//! the moment it looks.
//!
//! [`fast`]: crate::fast

use memchr::memchr;

use crate::{ArgRange, ProtocolError, Requests, fast, inline};

/// How many arguments a client may send before it has authenticated.
const UNAUTHENTICATED_ARGS: i64 = 10;
/// How many bytes an argument may have before the client has authenticated.
const UNAUTHENTICATED_BULK_BYTES: i64 = 16 * 1024;
/// Capacity for the ranges of an incomplete request that is kept when it is done.
const KEPT_RANGES: usize = 1024;
/// The shortest argument on the wire: `$0\r\n\r\n`.
const MIN_ARG_BYTES: usize = 6;
/// Offsets are 32 bits wide; no request may reach further.
const MAX_REQUEST_BYTES: usize = u32::MAX as usize;

/// What a client may ask for. Its state is taken when bytes are parsed, so a connection that
/// waits for AUTH parses one request at a time.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The longest argument of a multibulk request, in bytes.
    pub max_bulk_bytes: usize,
    /// The longest line, in bytes without its end: an inline request, a count or a length.
    pub max_inline_bytes: usize,
    /// The most arguments of a multibulk request.
    pub max_args: usize,
    /// Whether the client has authenticated, or need not.
    pub authenticated: bool,
}

impl Default for Limits {
    /// 512 MiB, 64 KiB, 1024 x 1024 arguments, no authentication needed.
    fn default() -> Limits {
        Limits {
            max_bulk_bytes: 512 << 20,
            max_inline_bytes: 64 << 10,
            max_args: 1 << 20,
            authenticated: true,
        }
    }
}

impl Limits {
    /// None: for requests that were parsed under somebody's limits before.
    pub const NONE: Limits = Limits {
        max_bulk_bytes: usize::MAX,
        max_inline_bytes: usize::MAX,
        max_args: usize::MAX,
        authenticated: true,
    };

    #[inline]
    pub(crate) fn allows_args(&self, count: i64) -> bool {
        count <= UNAUTHENTICATED_ARGS || self.authenticated
    }

    #[inline]
    pub(crate) fn allows_bulk(&self, bytes: i64) -> bool {
        bytes <= UNAUTHENTICATED_BULK_BYTES || self.authenticated
    }
}

/// Incremental request parser.
///
/// Invariants, all offsets counted from the first byte of the request in progress:
/// `scanned > 0` or `missing > 0` only while a request is incomplete; every range in
/// `partial` ends at or before `cursor`; `cursor + scanned` is at most what has arrived, and
/// holds no line end between the two.
#[derive(Default)]
pub struct Parser {
    /// The arguments read so far.
    partial: Vec<ArgRange>,
    /// How many arguments are still to come; 0 if their number is not yet known.
    missing: usize,
    /// Where the next argument's length line starts.
    cursor: usize,
    /// How many bytes behind `cursor` are known not to end the line.
    scanned: usize,
    /// How many bytes must be there before another look is worth it: the end of the argument
    /// in progress. At most `wanted`, which also counts arguments of which nothing is known
    /// yet; waiting for those would delay the refusal of a malformed one.
    worth: usize,
    /// See [`Parser::wanted`].
    wanted: usize,
}

impl Parser {
    /// Cuts complete requests out of `buf` and appends them to `out`, at most `max_requests`.
    /// Returns the bytes consumed by complete requests.
    ///
    /// `buf` always starts where the bytes consumed by the last call ended: the caller drops
    /// those from the front and otherwise only appends. The ranges in `out` count from the
    /// start of this call's `buf`, so `out` is cleared before the bytes are dropped.
    /// Requests without arguments (`*0`, `*-1`, blank lines) are consumed and yield nothing.
    /// Quoted inline arguments are unquoted in place, hence `&mut`.
    ///
    /// # Errors
    /// When the next request is malformed. The requests before it are in `out`; they are to
    /// be answered, then the error, and then the connection is closed.
    pub fn parse(
        &mut self,
        buf: &mut [u8],
        limits: &Limits,
        max_requests: usize,
        out: &mut Requests,
    ) -> Result<usize, ProtocolError> {
        if buf.len() < self.worth {
            return Ok(0);
        }
        let overlong = buf.len() > MAX_REQUEST_BYTES;
        let buf = if overlong {
            &mut buf[..MAX_REQUEST_BYTES]
        } else {
            buf
        };
        let full = out.len().saturating_add(max_requests);
        let mut consumed = 0;
        while consumed < buf.len() && out.len() < full {
            match self.request(buf, consumed, limits, out)? {
                Some(end) => consumed = end,
                None if overlong && consumed == 0 => return Err(ProtocolError::TooBigRequest),
                None => break,
            }
        }
        Ok(consumed)
    }

    /// How many bytes the buffer must at least hold, counted from the first byte not yet
    /// consumed, before the request in progress can be complete; 0 if unknown. For sizing the
    /// buffer: a client announces it without having sent it, so nobody should reserve more
    /// than a bounded step beyond what has arrived.
    pub fn wanted(&self) -> usize {
        self.wanted
    }

    /// Parses the request at `start`. Returns its end, or `None` if it is incomplete.
    #[inline]
    fn request(
        &mut self,
        buf: &mut [u8],
        start: usize,
        limits: &Limits,
        out: &mut Requests,
    ) -> Result<Option<usize>, ProtocolError> {
        if self.missing == 0 {
            if let Some(end) = fast::multibulk(buf, start, limits, out) {
                self.scanned = 0;
                return Ok(Some(end));
            }
            if buf[start] != b'*' {
                return self.inline(buf, start, limits, out);
            }
        }
        self.multibulk(buf, start, limits, out)
    }

    #[cold]
    #[inline(never)]
    fn inline(
        &mut self,
        buf: &mut [u8],
        start: usize,
        limits: &Limits,
        out: &mut Requests,
    ) -> Result<Option<usize>, ProtocolError> {
        let Some(newline) = self.find(b'\n', buf, start, limits, ProtocolError::TooBigInline)?
        else {
            return Ok(None);
        };
        let carriage_return = newline > start && buf[newline - 1] == b'\r';
        let first = out.ranges.len();
        let split = inline::split(
            buf,
            start,
            newline - usize::from(carriage_return),
            &mut out.ranges,
        );
        if split.is_err() {
            out.ranges.truncate(first);
        }
        split?;
        if out.ranges.len() > first {
            out.finish();
        }
        Ok(Some(newline + 1))
    }

    /// A multibulk request with every rule, from its start or from where it was left.
    #[inline(never)]
    fn multibulk(
        &mut self,
        buf: &[u8],
        start: usize,
        limits: &Limits,
        out: &mut Requests,
    ) -> Result<Option<usize>, ProtocolError> {
        if self.missing == 0 {
            match self.count(buf, start, limits)? {
                None => return Ok(None),
                Some((0, next)) => return Ok(Some(next)),
                Some((count, next)) => {
                    self.missing = count;
                    self.cursor = next - start;
                }
            }
        }
        while self.missing > 0 {
            let Some(range) = self.argument(buf, start, limits)? else {
                return Ok(None);
            };
            self.partial.push(range);
            self.missing -= 1;
            self.cursor = range.end as usize + 2;
        }
        let end = start + self.cursor;
        self.complete(start, out);
        Ok(Some(end))
    }

    /// The line `*<count>` at `start`: how many arguments follow, and where.
    fn count(
        &mut self,
        buf: &[u8],
        start: usize,
        limits: &Limits,
    ) -> Result<Option<(usize, usize)>, ProtocolError> {
        let too_big = ProtocolError::TooBigMultibulkCount;
        let Some(end) = self.line(buf, start, limits, too_big)? else {
            return Ok(None);
        };
        let count = decimal(&buf[start + 1..end])
            .filter(|&count| count <= i64::try_from(limits.max_args).unwrap_or(i64::MAX))
            .ok_or(ProtocolError::InvalidMultibulkLength)?;
        if !limits.allows_args(count) {
            return Err(ProtocolError::UnauthenticatedMultibulkLength);
        }
        Ok(Some((count.max(0) as usize, end + 2)))
    }

    /// The argument at `cursor`, as a range relative to the request, if it is all there.
    fn argument(
        &mut self,
        buf: &[u8],
        start: usize,
        limits: &Limits,
    ) -> Result<Option<ArgRange>, ProtocolError> {
        let at = start + self.cursor;
        let (bytes, data) = match fast::length(buf, at) {
            Some((bytes, data)) if buf[at] == b'$' => {
                // An earlier search may have stopped within this line.
                self.scanned = 0;
                (i64::from(bytes), data)
            }
            _ => match self.length(buf, at, limits)? {
                Some(length) => length,
                None => return Ok(None),
            },
        };
        if bytes < 0 || bytes as u64 > limits.max_bulk_bytes as u64 {
            return Err(ProtocolError::InvalidBulkLength);
        }
        if !limits.allows_bulk(bytes) {
            return Err(ProtocolError::UnauthenticatedBulkLength);
        }
        let from = data - start;
        let to = from.saturating_add(bytes as usize);
        let least = to
            .saturating_add(2)
            .saturating_add((self.missing - 1) * MIN_ARG_BYTES);
        if least > MAX_REQUEST_BYTES {
            return Err(ProtocolError::TooBigRequest);
        }
        if buf.len() - start < to + 2 {
            self.worth = to + 2;
            self.wanted = least;
            return Ok(None);
        }
        Ok(Some(ArgRange::new(from, to)))
    }

    /// The line `$<length>` at `at`, and where the bytes start.
    #[cold]
    fn length(
        &mut self,
        buf: &[u8],
        at: usize,
        limits: &Limits,
    ) -> Result<Option<(i64, usize)>, ProtocolError> {
        let too_big = ProtocolError::TooBigBulkCount;
        let Some(end) = self.line(buf, at, limits, too_big)? else {
            return Ok(None);
        };
        if buf[at] != b'$' {
            return Err(ProtocolError::ExpectedBulk(buf[at]));
        }
        let bytes = decimal(&buf[at + 1..end]).ok_or(ProtocolError::InvalidBulkLength)?;
        Ok(Some((bytes, end + 2)))
    }

    /// Hands the finished request over and forgets it.
    fn complete(&mut self, start: usize, out: &mut Requests) {
        let moved = |r: &ArgRange| ArgRange::new(start + r.start as usize, start + r.end as usize);
        out.ranges.extend(self.partial.iter().map(moved));
        out.finish();
        self.partial.clear();
        self.partial.shrink_to(KEPT_RANGES);
        self.cursor = 0;
        self.scanned = 0;
        self.worth = 0;
        self.wanted = 0;
    }

    /// The carriage return that ends the line at `at`, if the byte behind it is there too.
    /// Which byte that is does not matter, as in Redis.
    fn line(
        &mut self,
        buf: &[u8],
        at: usize,
        limits: &Limits,
        too_big: ProtocolError,
    ) -> Result<Option<usize>, ProtocolError> {
        let Some(end) = self.find(b'\r', buf, at, limits, too_big)? else {
            return Ok(None);
        };
        if end + 2 > buf.len() {
            self.scanned = end - at;
            return Ok(None);
        }
        Ok(Some(end))
    }

    /// Looks for the byte that ends the line at `at`, from where the last search stopped.
    fn find(
        &mut self,
        terminator: u8,
        buf: &[u8],
        at: usize,
        limits: &Limits,
        too_big: ProtocolError,
    ) -> Result<Option<usize>, ProtocolError> {
        // The terminator may lie right behind the longest line.
        let horizon = at
            .saturating_add(limits.max_inline_bytes)
            .saturating_add(1)
            .min(buf.len());
        let from = (at + self.scanned).min(horizon);
        self.worth = 0;
        self.wanted = 0;
        match memchr(terminator, &buf[from..horizon]) {
            Some(found) => {
                self.scanned = 0;
                Ok(Some(from + found))
            }
            None if horizon - at > limits.max_inline_bytes => Err(too_big),
            None => {
                self.scanned = horizon - at;
                Ok(None)
            }
        }
    }
}

/// A decimal number as Redis writes and reads it: no plus sign, no leading zero, no space.
fn decimal(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    match digits {
        [b'0'] if !negative => return Some(0),
        [b'1'..=b'9', ..] => {}
        _ => return None,
    }
    digits.iter().try_fold(0i64, |n, &byte| {
        let digit = i64::from(byte.wrapping_sub(b'0'));
        let n = n.checked_mul(10).filter(|_| digit <= 9)?;
        if negative {
            n.checked_sub(digit)
        } else {
            n.checked_add(digit)
        }
    })
}

#[cfg(test)]
mod tests;
