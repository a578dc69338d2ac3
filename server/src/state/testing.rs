//! What the tests of the state machine share.

use bailiwick_frame::{ArgRange, Args};

/// Hands over a command's arguments, which are separated by single spaces.
pub(super) fn with_words<R>(words: &str, f: impl FnOnce(Args<'_>) -> R) -> R {
    let mut ranges = Vec::new();
    let mut start = 0;
    for word in words.split(' ') {
        let end = start + word.len() as u32;
        ranges.push(ArgRange { start, end });
        start = end + 1;
    }
    f(Args::new(words.as_bytes(), &ranges))
}
