//! Where the keys of a command stand among its arguments.

use std::ops::Range;

use bailiwick_frame::Args;

use super::parse::int32;
use super::{is_option, lookup_logged};

/// Where the keys are among the arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// There are none.
    None,
    /// From `first` to `last` (negative: from the end, -1 is the last argument) each `step`.
    Range {
        /// Index of the first key; the command's name is 0.
        first: u8,
        /// Index of the last key.
        last: i8,
        /// Distance between keys.
        step: u8,
    },
    /// As many as the argument at `count` says, right behind it; before them the key at `target`,
    /// unless that is 0.
    Counted {
        /// Index of a key that stands apart, or 0.
        target: u8,
        /// Index of the number of keys.
        count: u8,
    },
    /// The first argument, and what stands behind STORE among the options of SORT; besides, keys
    /// that are known only when the command runs.
    Sorted {
        /// Whether STORE is an option.
        stores: bool,
    },
    /// The first argument, and what stands behind STORE or STOREDIST.
    Stored {
        /// Index from which on these words are options.
        from: u8,
    },
    /// Those of the request that begins at `at`.
    Inner {
        /// Index of the request's command.
        at: u8,
    },
    /// The first half of what stands behind STREAMS.
    Streams {
        /// Index at or behind which the word stands.
        from: u8,
    },
}

impl Keys {
    /// A single key as first argument.
    pub const FIRST: Self = Self::Range {
        first: 1,
        last: 1,
        step: 1,
    };
    /// All arguments are keys.
    pub const ALL: Self = Self::Range {
        first: 1,
        last: -1,
        step: 1,
    };

    /// As many keys as the argument at `count` says, right behind it.
    pub const fn counted(count: u8) -> Self {
        Self::Counted { target: 0, count }
    }

    /// Indexes of the keys in a request; none if it cannot have as many as it says.
    pub fn indexes(self, args: Args<'_>) -> impl Iterator<Item = usize> + use<> {
        let (apart, range, step) = self.find(args);
        apart.into_iter().chain(range.step_by(step))
    }

    /// The index of a key that stands apart, those of the others, and their distance.
    fn find(self, args: Args<'_>) -> (Option<usize>, Range<usize>, usize) {
        match self {
            Self::None => (None, 0..0, 1),
            Self::Stored { from } => {
                let stored = stored_key(args, from.into());
                (Some(1), stored.map_or(0..0, |at| at..at + 1), 1)
            }
            Self::Sorted { stores } => {
                let stored = sorted_into(args).filter(|_| stores);
                (Some(1), stored.map_or(0..0, |at| at..at + 1), 1)
            }
            Self::Streams { .. } => (None, stream_keys(args), 1),
            Self::Range { first, last, step } => {
                let last = if last < 0 {
                    args.len() as isize + last as isize
                } else {
                    last as isize
                };
                let end = ((last + 1).max(0) as usize).min(args.len());
                (None, first as usize..end, step as usize)
            }
            Self::Counted { target, count } => {
                let behind = args.len().saturating_sub(count as usize + 1);
                let keys = args.get(count as usize).and_then(|arg| int32(arg).ok());
                let keys = keys.and_then(|keys| usize::try_from(keys).ok());
                let first = count as usize + 1;
                match keys.filter(|keys| (1..=behind).contains(keys)) {
                    None => (None, 0..0, 1),
                    Some(keys) => (
                        (target > 0).then_some(target as usize),
                        first..first + keys,
                        1,
                    ),
                }
            }
            Self::Inner { at } => {
                let (inner, at) = (args.from(at.into()), usize::from(at));
                let found = Some(inner).filter(|inner| !inner.is_empty());
                match found.map(lookup_logged) {
                    Some(Ok(command)) => {
                        let (apart, range, step) = command.keys.find(inner);
                        let range = range.start + at..range.end + at;
                        (apart.map(|apart| apart + at), range, step)
                    }
                    _ => (None, 0..0, 1),
                }
            }
        }
    }
}

/// The key behind STORE or STOREDIST among the options from argument `at` on. The last one counts.
fn stored_key(args: Args<'_>, mut at: usize) -> Option<usize> {
    let mut found = None;
    while at + 1 < args.len() {
        if is_option(args, at, "store") || is_option(args, at, "storedist") {
            found = Some(at + 1);
            at += 1;
        }
        at += 1;
    }
    found
}

/// The key behind STORE among the options of SORT, which are passed over together with what belongs
/// to them. The last one counts.
fn sorted_into(args: Args<'_>) -> Option<usize> {
    let (mut found, mut at) = (None, 2);
    while at < args.len() {
        if is_option(args, at, "limit") {
            at += 2;
        } else if is_option(args, at, "by") || is_option(args, at, "get") {
            at += 1;
        } else if is_option(args, at, "store") && at + 1 < args.len() {
            found = Some(at + 1);
            at += 1;
        }
        at += 1;
    }
    found
}

/// The keys of XREAD and XREADGROUP; none if there is not one ID for each.
fn stream_keys(args: Args<'_>) -> Range<usize> {
    let mut at = 1;
    while at < args.len() {
        at += match () {
            () if is_option(args, at, "block") || is_option(args, at, "count") => 2,
            () if is_option(args, at, "group") => 3,
            () if is_option(args, at, "noack") => 1,
            () if is_option(args, at, "streams") => {
                let words = args.len() - at - 1;
                let keys = if words % 2 == 1 { 0 } else { words / 2 };
                return at + 1..at + 1 + keys;
            }
            () => return 0..0,
        };
    }
    0..0
}
