//! Settings that are one word out of a few.

use super::settings::{DebugAccess, EvictionPolicy, Fsync, LogFormat, LogLevel};
use super::value::{Invalid, Kind, Value, choose};

/// The words for the values of a type; `words[i]` stands for `values[i]`.
pub(super) struct Words<T: 'static> {
    pub(super) words: &'static [&'static str],
    values: &'static [T],
}

impl<T: Copy + PartialEq> Words<T> {
    /// The vocabulary as a [`Kind`].
    pub(super) const fn kind(&self) -> Kind {
        Kind::Choice(self.words)
    }

    /// The value that a word, in any case, stands for.
    pub(super) fn value(&self, text: &str) -> Result<T, Invalid> {
        Ok(self.values[choose(text, self.words)?])
    }

    /// The first word that stands for `value`.
    pub(super) fn word(&self, value: T) -> String {
        let place = self.values.iter().position(|known| *known == value);
        self.words[place.expect("every value has a word")].to_owned()
    }
}

/// A type that has a vocabulary of its own.
pub(super) trait Word: Copy + PartialEq + 'static {
    const WORDS: Words<Self>;
}

impl<T: Word> Value for T {
    fn parse(text: &str, _: &Kind) -> Result<Self, Invalid> {
        T::WORDS.value(text)
    }

    fn show(&self) -> String {
        T::WORDS.word(*self)
    }
}

impl Word for Fsync {
    const WORDS: Words<Self> = Words {
        words: &["always", "interval", "never"],
        values: &[Self::Always, Self::Interval, Self::Never],
    };
}

/// What Redis calls the values of [`Fsync`] under `appendfsync`.
pub(super) const APPENDFSYNC: Words<Fsync> = Words {
    words: &["everysec", "always", "no"],
    values: &[Fsync::Interval, Fsync::Always, Fsync::Never],
};

impl Word for DebugAccess {
    const WORDS: Words<Self> = Words {
        words: &["no", "yes", "local"],
        values: &[Self::No, Self::Yes, Self::Local],
    };
}

impl Word for EvictionPolicy {
    const WORDS: Words<Self> = Words {
        words: &[
            "volatile-lru",
            "volatile-lfu",
            "volatile-random",
            "volatile-ttl",
            "allkeys-lru",
            "allkeys-lfu",
            "allkeys-random",
            "noeviction",
        ],
        values: &[
            Self::VolatileLru,
            Self::VolatileLfu,
            Self::VolatileRandom,
            Self::VolatileTtl,
            Self::AllkeysLru,
            Self::AllkeysLfu,
            Self::AllkeysRandom,
            Self::NoEviction,
        ],
    };
}

impl Word for LogLevel {
    const WORDS: Words<Self> = Words {
        words: &["error", "warn", "info", "debug", "trace"],
        values: &[
            Self::Error,
            Self::Warn,
            Self::Info,
            Self::Debug,
            Self::Trace,
        ],
    };
}

/// What Redis calls the values of [`LogLevel`] under `loglevel`: its `debug` is the finest, so it
/// is our `trace`. It has no level for errors alone and shows that one as `nothing`, the closest
/// that Redis 7.2 has.
pub(super) const LOGLEVEL: Words<LogLevel> = Words {
    words: &["debug", "verbose", "notice", "warning", "nothing"],
    values: &[
        LogLevel::Trace,
        LogLevel::Debug,
        LogLevel::Info,
        LogLevel::Warn,
        LogLevel::Error,
    ],
};

impl Word for LogFormat {
    const WORDS: Words<Self> = Words {
        words: &["text", "json"],
        values: &[Self::Text, Self::Json],
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redis_words_go_there_and_back() {
        for word in APPENDFSYNC.words {
            assert_eq!(APPENDFSYNC.word(APPENDFSYNC.value(word).unwrap()), *word);
        }
        for word in LOGLEVEL.words {
            assert_eq!(LOGLEVEL.word(LOGLEVEL.value(word).unwrap()), *word);
        }
        assert_eq!(APPENDFSYNC.value("EverySec"), Ok(Fsync::Interval));
        assert_eq!(LOGLEVEL.value("notice"), Ok(LogLevel::Info));
    }

    #[test]
    fn every_policy_has_its_word() {
        assert_eq!(EvictionPolicy::WORDS.words.len(), 8);
        assert_eq!(
            EvictionPolicy::parse("allkeys-LFU", &EvictionPolicy::WORDS.kind())
                .unwrap()
                .show(),
            "allkeys-lfu"
        );
        assert!(EvictionPolicy::AllkeysLfu.is_lfu() && !EvictionPolicy::AllkeysLfu.is_volatile());
    }
}
