//! [`Index`]: finds the place of a key among the byte strings of a node, mostly without looking at
//! them.
//!
//! Strings of one node begin alike. Of each the index keeps the eight bytes behind that beginning,
//! its *head*, as a number that sorts as the bytes do. All heads are compared, without branches:
//! that is as fast as halving a few dozen, and their cache lines are fetched at the same time. Only
//! keys whose head is that of a string are compared with the string.

/// How many strings a node has, at most.
pub(super) const FAN_OUT: usize = 64;
/// How many heads there are in a cache line.
const LINE: usize = 8;
/// How many of the bytes that all have in common are kept in the index itself.
const INLINE_BYTES: usize = 28;

/// Where strings stand that are in ascending order and differ.
///
/// Invariants: all strings begin with the same `skip` bytes; `heads[i]` is the head of string `i`,
/// and those behind the last string are [`u64::MAX`].
#[derive(Clone, Debug)]
pub(super) struct Index {
    len: u16,
    skip: u16,
    /// The first of the bytes in common.
    inline: [u8; INLINE_BYTES],
    heads: [u64; FAN_OUT],
}

impl Index {
    /// The index of these strings, at least one and at most [`FAN_OUT`].
    pub(super) fn new<'a>(strings: impl Iterator<Item = &'a [u8]> + Clone) -> Self {
        let first = strings.clone().next().unwrap_or(&[]);
        let last = strings.clone().last().unwrap_or(&[]);
        // Sorted strings have in common what the first and the last have.
        let skip = common_len(first, last).min(usize::from(u16::MAX));
        let mut inline = [0; INLINE_BYTES];
        let inline_len = skip.min(INLINE_BYTES);
        inline[..inline_len].copy_from_slice(&first[..inline_len]);
        let mut index = Self {
            len: 0,
            skip: skip as u16,
            inline,
            heads: [u64::MAX; FAN_OUT],
        };
        for string in strings {
            index.heads[usize::from(index.len)] = head(string, skip);
            index.len += 1;
        }
        index
    }

    /// Makes room for a string at its place. False if the index must be made anew, because the
    /// string does not begin as the others do, or there are too many.
    pub(super) fn insert(&mut self, at: usize, string: &[u8], first: &[u8]) -> bool {
        let (skip, len) = (usize::from(self.skip), usize::from(self.len));
        if len == FAN_OUT || common_len(first, string) < skip {
            return false;
        }
        self.heads.copy_within(at..len, at + 1);
        self.heads[at] = head(string, skip);
        self.len += 1;
        true
    }

    /// Takes out the string at this place.
    pub(super) fn remove(&mut self, at: usize) {
        let len = usize::from(self.len);
        self.heads.copy_within(at + 1..len, at);
        self.heads[len - 1] = u64::MAX;
        self.len -= 1;
    }

    /// How many of the strings are not behind the key, and how many bytes the key has in common
    /// with the last of those (if there is one). `string` gives them by number.
    #[inline]
    pub(super) fn find<'a>(
        &self,
        key: &[u8],
        string: impl Fn(usize) -> &'a [u8],
    ) -> (usize, usize) {
        let (skip, len) = (usize::from(self.skip), usize::from(self.len));
        let begin = if skip <= INLINE_BYTES {
            &self.inline[..skip]
        } else {
            &string(0)[..skip]
        };
        let in_common = common_len(begin, key);
        if in_common < skip {
            let is_behind_all = key
                .get(in_common)
                .is_some_and(|byte| *byte > begin[in_common]);
            return (if is_behind_all { len } else { 0 }, in_common);
        }
        let head = head(key, skip);
        let count = self.count_not_behind(head).min(len);
        let Some(last) = count.checked_sub(1) else {
            return (0, skip);
        };
        let equal_bytes = (self.heads[last] ^ head).leading_zeros() as usize / 8;
        if equal_bytes < 8 {
            // Zeros behind the end of a string are not its bytes.
            let shorter = key.len().min(string(last).len());
            return (count, (skip + equal_bytes).min(shorter));
        }
        self.find_equal(key, count, string)
    }

    /// How many heads are not greater than this one: first by the last of each cache line, all of
    /// which are fetched at the same time, then within one.
    #[inline]
    fn count_not_behind(&self, head: u64) -> usize {
        let (lines, _) = self.heads.as_chunks::<LINE>();
        let line: usize = lines
            .iter()
            .map(|line| usize::from(line[LINE - 1] <= head))
            .sum();
        let Some(within) = lines.get(line) else {
            return FAN_OUT;
        };
        let within: usize = within.iter().map(|other| usize::from(*other <= head)).sum();
        line * LINE + within
    }

    /// [`find`](Self::find) if the heads of the key and of the string before `count` are equal.
    #[inline]
    fn find_equal<'a>(
        &self,
        key: &[u8],
        count: usize,
        string: impl Fn(usize) -> &'a [u8],
    ) -> (usize, usize) {
        let skip = usize::from(self.skip);
        let last = count - 1;
        let head = self.heads[last];
        // A string that its head shows to the end need not be looked at: its bytes are the key's,
        // as far as the key goes.
        let is_shown = |string: &[u8]| string.len() <= skip + 8;
        let candidate = string(last);
        let in_common = match is_shown(candidate) {
            true => candidate.len().min(key.len()),
            false => common_len(candidate, key),
        };
        // Only if it is behind the key in spite of its head, others with that head come into
        // question.
        let is_not_behind = match candidate.get(in_common) {
            Some(byte) => key.get(in_common).is_some_and(|other| byte < other),
            None => true,
        };
        if is_not_behind {
            return (count, in_common);
        }
        let is_behind = |string: &[u8]| match is_shown(string) {
            true => string.len() > key.len(),
            false => string > key,
        };
        let (mut low, mut high) = (0, last);
        while low < high {
            let middle = (low + high) / 2;
            let is_before = self.heads[middle] < head || !is_behind(string(middle));
            (low, high) = if is_before {
                (middle + 1, high)
            } else {
                (low, middle)
            };
        }
        match low.checked_sub(1) {
            Some(last) => (low, common_len(string(last), key)),
            None => (0, skip),
        }
    }
}

/// The eight bytes behind the first `skip`, with zeros behind the end.
#[inline]
fn head(string: &[u8], skip: usize) -> u64 {
    let rest = &string[skip..];
    match rest.first_chunk() {
        Some(bytes) => u64::from_be_bytes(*bytes),
        None => short_word(rest).swap_bytes(),
    }
}

/// The length of what both begin with.
#[inline]
pub(super) fn common_len(a: &[u8], b: &[u8]) -> usize {
    let len = a.len().min(b.len());
    let (a, b) = (&a[..len], &b[..len]);
    let (a_words, a_rest) = a.as_chunks::<8>();
    let (b_words, b_rest) = b.as_chunks::<8>();
    for (index, (x, y)) in a_words.iter().zip(b_words).enumerate() {
        let differing = u64::from_le_bytes(*x) ^ u64::from_le_bytes(*y);
        if differing != 0 {
            return index * 8 + differing.trailing_zeros() as usize / 8;
        }
    }
    // The last eight bytes once more, of which some are known to be equal: without a loop.
    let (at, differing) = match (a.last_chunk(), b.last_chunk()) {
        (Some(x), Some(y)) => (len - 8, u64::from_le_bytes(*x) ^ u64::from_le_bytes(*y)),
        _ => (0, short_word(a_rest) ^ short_word(b_rest)),
    };
    len.min(at + differing.trailing_zeros() as usize / 8)
}

/// Fewer than eight bytes as a number, the first one lowest, with zeros behind the end; by two or
/// three loads that may overlap.
#[inline]
fn short_word(bytes: &[u8]) -> u64 {
    let len = bytes.len();
    debug_assert!(len < 8);
    if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
        let (first, last) = (u32::from_le_bytes(*first), u32::from_le_bytes(*last));
        return u64::from(first) | u64::from(last) << (8 * (len - 4));
    }
    let Some(last) = len.checked_sub(1) else {
        return 0;
    };
    let byte = |at: usize| u64::from(bytes[at]) << (8 * at);
    byte(0) | byte(len / 2) | byte(last)
}
