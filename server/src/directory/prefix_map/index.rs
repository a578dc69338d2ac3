//! [`Index`]: finds the place of a key among the byte strings of a node, mostly without looking at
//! them.
//!
//! Strings of one node begin alike. Of each the index keeps the first bytes behind that beginning,
//! its *head*, as a number that sorts as the bytes do, and how many bytes there are. All heads are
//! compared, without branches: that is as fast as halving a few dozen, and their cache lines are
//! fetched at the same time. Only keys whose head is that of a longer string are compared with the
//! string.

/// How many strings a node has, at most.
pub(super) const FAN_OUT: usize = 64;
/// How many heads make a group.
const GROUP: usize = 8;
/// How many words of what all have in common are kept in the index itself.
const WORDS: usize = 4;
/// How many bytes these are.
const INLINE_BYTES: usize = WORDS * 8;

/// The bytes of a string behind some, as far as they fit into a number that sorts as they do, with
/// zeros behind the end.
///
/// A leaf has short ones, to keep its cache lines few. What stands in inner nodes differs
/// later, and there are few of them.
pub(super) trait Head: Copy + Ord {
    /// How many bytes one shows.
    const BYTES: usize;
    /// No other is behind it.
    const MAX: Self;

    /// Of what is behind the first `skip` bytes.
    fn of(string: &[u8], skip: usize) -> Self;

    /// How many bytes two have in common.
    fn equal_bytes(self, other: Self) -> usize;
}

impl Head for u64 {
    const BYTES: usize = 8;
    const MAX: Self = Self::MAX;

    #[inline]
    fn of(string: &[u8], skip: usize) -> Self {
        let rest = &string[skip..];
        match rest.first_chunk() {
            Some(bytes) => Self::from_be_bytes(*bytes),
            None => short_word(rest).swap_bytes(),
        }
    }

    #[inline]
    fn equal_bytes(self, other: Self) -> usize {
        (self ^ other).leading_zeros() as usize / 8
    }
}

impl Head for u128 {
    const BYTES: usize = 16;
    const MAX: Self = Self::MAX;

    #[inline]
    fn of(string: &[u8], skip: usize) -> Self {
        let second = string.len().min(skip + u64::BYTES);
        Self::from(u64::of(string, skip)) << u64::BITS | Self::from(u64::of(string, second))
    }

    #[inline]
    fn equal_bytes(self, other: Self) -> usize {
        (self ^ other).leading_zeros() as usize / 8
    }
}

/// Where strings stand that are in ascending order and differ.
///
/// Invariants: all strings begin with the same `skip` bytes; `heads[i]` is the head of string `i`,
/// and those behind the last string are [`u64::MAX`]; `rests[i]` is how many bytes string `i` has
/// behind the first `skip`, or [`u8::MAX`] if there are more.
#[derive(Clone, Debug)]
pub(super) struct Index<H> {
    len: u16,
    skip: u16,
    /// The first of the bytes in common, zeros behind them.
    beginning: [u64; WORDS],
    /// Which bits of `beginning` are of bytes in common.
    masks: [u64; WORDS],
    rests: [u8; FAN_OUT],
    heads: [H; FAN_OUT],
}

/// What a search has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// How many of the strings are not behind the key.
    pub count: usize,
    /// How many bytes the key has in common with the last of those, if there is one.
    pub in_common: usize,
    /// Whether these are all bytes of that one.
    pub is_match: bool,
}

/// A key that is searched for.
pub(super) struct Key<'k> {
    bytes: &'k [u8],
    /// Its first bytes, zeros behind the end.
    beginning: [u64; WORDS],
}

impl<'k> Key<'k> {
    #[inline]
    pub(super) fn new(bytes: &'k [u8]) -> Self {
        Self {
            bytes,
            beginning: beginning(bytes),
        }
    }
}

impl<H: Head> Index<H> {
    /// The index of these strings, at least one and at most [`FAN_OUT`].
    pub(super) fn new<'a>(strings: impl Iterator<Item = &'a [u8]> + Clone) -> Self {
        let first = strings.clone().next().unwrap_or(&[]);
        let last = strings.clone().last().unwrap_or(&[]);
        // Sorted strings have in common what the first and the last have.
        let skip = common_len(first, last).min(usize::from(u16::MAX));
        let mut index = Self {
            len: 0,
            skip: skip as u16,
            beginning: beginning(&first[..skip]),
            masks: std::array::from_fn(|word| match skip.saturating_sub(word * 8) {
                bytes @ 0..8 => (1 << (bytes * 8)) - 1,
                _ => u64::MAX,
            }),
            rests: [0; FAN_OUT],
            heads: [H::MAX; FAN_OUT],
        };
        for string in strings {
            index.set(usize::from(index.len), string);
            index.len += 1;
        }
        index
    }

    fn set(&mut self, at: usize, string: &[u8]) {
        let skip = usize::from(self.skip);
        self.heads[at] = H::of(string, skip);
        self.rests[at] = u8::try_from(string.len() - skip).unwrap_or(u8::MAX);
    }

    /// Makes room for a string at its place. False if the index must be made anew, because the
    /// string does not begin as the others do, or there are too many.
    pub(super) fn insert(&mut self, at: usize, string: &[u8], first: &[u8]) -> bool {
        let (skip, len) = (usize::from(self.skip), usize::from(self.len));
        if len == FAN_OUT || common_len(first, string) < skip {
            return false;
        }
        self.heads.copy_within(at..len, at + 1);
        self.rests.copy_within(at..len, at + 1);
        self.set(at, string);
        self.len += 1;
        true
    }

    /// Takes out the string at this place.
    pub(super) fn remove(&mut self, at: usize) {
        let len = usize::from(self.len);
        self.heads.copy_within(at + 1..len, at);
        self.rests.copy_within(at + 1..len, at);
        self.heads[len - 1] = H::MAX;
        self.len -= 1;
    }

    /// Where the key belongs. `string` gives the strings by number.
    #[inline]
    pub(super) fn find<'a>(&self, key: &Key<'_>, string: impl Fn(usize) -> &'a [u8]) -> Found {
        let (skip, len) = (usize::from(self.skip), usize::from(self.len));
        if !self.begins_alike(key) || key.bytes.len() < skip || skip > INLINE_BYTES {
            let begin = &string(0)[..skip];
            let in_common = common_len(begin, key.bytes);
            if in_common < skip {
                let is_behind_all = key
                    .bytes
                    .get(in_common)
                    .is_some_and(|byte| *byte > begin[in_common]);
                return Found {
                    count: if is_behind_all { len } else { 0 },
                    in_common,
                    is_match: false,
                };
            }
        }
        let head = H::of(key.bytes, skip);
        let count = self.count_not_behind(head).min(len);
        let Some(last) = count.checked_sub(1) else {
            return Found {
                count,
                in_common: skip,
                is_match: false,
            };
        };
        let equal_bytes = self.heads[last].equal_bytes(head);
        let rest = usize::from(self.rests[last]);
        let shown = rest.min(H::BYTES).min(key.bytes.len() - skip);
        // Zeros behind the end of a string are not its bytes.
        let equal_shown = equal_bytes.min(shown);
        if equal_bytes == H::BYTES && equal_shown < rest {
            return self.find_equal(key.bytes, count, string);
        }
        Found {
            count,
            in_common: skip + equal_shown,
            is_match: equal_shown == rest,
        }
    }

    /// Whether the key begins with what all strings have in common, as far as the index itself
    /// shows it.
    #[inline]
    fn begins_alike(&self, key: &Key<'_>) -> bool {
        let words = self.beginning.iter().zip(&key.beginning).zip(&self.masks);
        let differing = words.map(|((own, other), mask)| (own ^ other) & mask);
        differing.fold(0, |all, one| all | one) == 0
    }

    /// How many heads are not greater than this one: first by the last of each group, all of which
    /// are fetched at the same time, then within one.
    #[inline]
    fn count_not_behind(&self, head: H) -> usize {
        let (groups, _) = self.heads.as_chunks::<GROUP>();
        let mut group = 0;
        for other in groups {
            group += usize::from(other[GROUP - 1] <= head);
        }
        let Some(within) = groups.get(group) else {
            return FAN_OUT;
        };
        let mut count = group * GROUP;
        for other in within {
            count += usize::from(*other <= head);
        }
        count
    }

    /// [`find`](Self::find) if the heads of the key and of the string before `count` are equal, and
    /// do not show all of the string, or the string is longer than the key.
    #[inline]
    fn find_equal<'a>(
        &self,
        key: &[u8],
        count: usize,
        string: impl Fn(usize) -> &'a [u8],
    ) -> Found {
        let at = |count: usize, in_common: usize| Found {
            count,
            in_common,
            is_match: in_common == string(count - 1).len(),
        };
        let last = count - 1;
        let head = self.heads[last];
        let candidate = string(last);
        let in_common = common_len(candidate, key);
        // Only if it is behind the key in spite of its head, others with that head come into
        // question.
        let is_not_behind = match candidate.get(in_common) {
            Some(byte) => key.get(in_common).is_some_and(|other| byte < other),
            None => true,
        };
        if is_not_behind {
            return at(count, in_common);
        }
        let (mut low, mut high) = (0, last);
        while low < high {
            let middle = (low + high) / 2;
            let is_before = self.heads[middle] < head || string(middle) <= key;
            (low, high) = if is_before {
                (middle + 1, high)
            } else {
                (low, middle)
            };
        }
        match low.checked_sub(1) {
            Some(last) => at(low, common_len(string(last), key)),
            None => Found {
                count: 0,
                in_common: usize::from(self.skip),
                is_match: false,
            },
        }
    }
}

/// The first words of a byte string, the first byte lowest, zeros behind the end.
#[inline]
fn beginning(bytes: &[u8]) -> [u64; WORDS] {
    let Some(last) = bytes.len().checked_sub(8) else {
        let mut words = [0; WORDS];
        words[0] = short_word(bytes);
        return words;
    };
    // A word that is not all there is the end of the bytes, shifted: no branch.
    std::array::from_fn(|word| {
        let at = (word * 8).min(last);
        let chunk = bytes[at..]
            .first_chunk()
            .map_or(0, |chunk| u64::from_le_bytes(*chunk));
        let missing = word * 8 - at;
        if missing < 8 {
            chunk >> (missing * 8)
        } else {
            0
        }
    })
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
