//! What a parameter's text may say, and how it is read and shown.
//!
//! [`Kind`] is the vocabulary: the same description checks a value, words the refusal for `CONFIG
//! SET` and for the start, and names the value in `--help`. [`Value`] connects it to the Rust type
//! of a field of [`Settings`](super::Settings). A value that does not fit is an [`Invalid`], never
//! a panic and never a silent clamp.

use std::borrow::Cow;

/// What a parameter's value may be.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// `yes` or `no`.
    Switch,
    /// A whole number within bounds, both included.
    Integer {
        /// The least.
        min: i64,
        /// The greatest.
        max: i64,
    },
    /// A number of bytes, perhaps with a unit.
    Memory {
        /// The fewest bytes.
        min: u64,
    },
    /// One of these words, in any case.
    Choice(&'static [&'static str]),
    /// Text that the parameter itself reads.
    Text {
        /// What stands for the value in `--help`.
        placeholder: &'static str,
        /// What is expected, to complete "expected ...".
        expected: &'static str,
    },
}

/// Why a value was refused. Displayed as the reason that `CONFIG SET` gives.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// Neither `yes` nor `no`.
    #[error("argument must be 'yes' or 'no'")]
    Switch,
    /// No whole number.
    #[error("argument couldn't be parsed into an integer")]
    Integer,
    /// A number out of bounds.
    #[error("argument must be between {min} and {max} inclusive")]
    Range {
        /// The least that is allowed.
        min: i128,
        /// The most that is allowed.
        max: i128,
    },
    /// No number of bytes.
    #[error("argument must be a memory value")]
    Memory,
    /// Not one of the words.
    #[error("argument(s) must be one of the following: {}", .0.join(", "))]
    Choice(&'static [&'static str]),
    /// A value other than the only one there is.
    #[error("only '{0}' is supported")]
    Only(&'static str),
    /// A reason of the parameter's own.
    #[error("{0}")]
    Other(Cow<'static, str>),
}

/// A field's type: read from text by the rules of a [`Kind`], and shown as `CONFIG GET` shows it.
pub(super) trait Value: Sized {
    fn parse(text: &str, kind: &Kind) -> Result<Self, Invalid>;
    fn show(&self) -> String;
}

impl Kind {
    /// Any text at all.
    pub const ANY_TEXT: Self = Self::Text {
        placeholder: "TEXT",
        expected: "any text",
    };

    /// What is expected, to complete "expected ...".
    #[must_use]
    pub fn expected(&self) -> String {
        match self {
            Self::Switch => "yes or no".to_owned(),
            Self::Integer { min, max: i64::MAX } => format!("a whole number of at least {min}"),
            Self::Integer { min, max } => format!("a whole number from {min} to {max}"),
            Self::Memory { min: 0 } => "a size such as 64mb, 1gb or 1048576 (bytes)".to_owned(),
            Self::Memory { min } => {
                format!("a size of at least {min} bytes, such as 64mb, 1gb or 1048576 (bytes)")
            }
            Self::Choice(words) => enumerate(words),
            Self::Text { expected, .. } => (*expected).to_owned(),
        }
    }

    /// What stands for the value in `--help`.
    #[must_use]
    pub fn placeholder(&self) -> &'static str {
        match self {
            Self::Switch => "yes|no",
            Self::Integer { .. } => "N",
            Self::Memory { .. } => "SIZE",
            Self::Choice(_) => "WORD",
            Self::Text { placeholder, .. } => placeholder,
        }
    }

    /// The text as it would be shown after it was set; for values that are kept as text.
    ///
    /// # Errors
    /// The value does not fit.
    pub(super) fn canonical(&self, text: &str) -> Result<String, Invalid> {
        Ok(match self {
            Self::Switch => bool::parse(text, self)?.show(),
            Self::Integer { .. } => i64::parse(text, self)?.show(),
            Self::Memory { .. } => u64::parse(text, self)?.show(),
            Self::Choice(words) => words[choose(text, words)?].to_owned(),
            Self::Text { .. } => text.to_owned(),
        })
    }
}

/// The position among `words` of the one that `text` is, in any case.
pub(super) fn choose(text: &str, words: &'static [&'static str]) -> Result<usize, Invalid> {
    let found = words
        .iter()
        .position(|word| word.eq_ignore_ascii_case(text));
    found.ok_or(Invalid::Choice(words))
}

/// A number of bytes: digits and a unit. As in Redis, `k`, `m` and `g` are powers of 1000, `kb`,
/// `mb` and `gb` powers of 1024, in any case.
pub(super) fn parse_memory(text: &str) -> Result<u64, Invalid> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" => 1000,
        "kb" => 1 << 10,
        "m" => 1_000_000,
        "mb" => 1 << 20,
        "g" => 1_000_000_000,
        "gb" => 1 << 30,
        _ => return Err(Invalid::Memory),
    };
    let number: u64 = number.parse().map_err(|_| Invalid::Memory)?;
    number.checked_mul(factor).ok_or(Invalid::Memory)
}

/// `a, b or c`.
fn enumerate(words: &[&str]) -> String {
    match words {
        [first @ .., last] if !first.is_empty() => format!("{} or {last}", first.join(", ")),
        _ => words.concat(),
    }
}

/// A whole number in decimal, without sign `+`, spaces or leading zeros, as Redis is strict.
fn parse_decimal(text: &str) -> Result<i64, Invalid> {
    let number: i64 = text.parse().map_err(|_| Invalid::Integer)?;
    let plain = itoa::Buffer::new().format(number) == text;
    if plain {
        Ok(number)
    } else {
        Err(Invalid::Integer)
    }
}

impl Value for bool {
    fn parse(text: &str, _: &Kind) -> Result<Self, Invalid> {
        choose(text, &["yes", "no"])
            .map(|place| place == 0)
            .map_err(|_| Invalid::Switch)
    }

    fn show(&self) -> String {
        if *self { "yes" } else { "no" }.to_owned()
    }
}

impl Value for i64 {
    fn parse(text: &str, kind: &Kind) -> Result<Self, Invalid> {
        let number = parse_decimal(text)?;
        match *kind {
            Kind::Integer { min, max } if !(min..=max).contains(&number) => Err(Invalid::Range {
                min: min.into(),
                max: max.into(),
            }),
            _ => Ok(number),
        }
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Value for u64 {
    fn parse(text: &str, kind: &Kind) -> Result<Self, Invalid> {
        let Kind::Memory { min } = *kind else {
            return narrow(text, kind);
        };
        let bytes = parse_memory(text)?;
        // Sums and signed differences of sizes must not overflow anywhere.
        let max = i64::MAX as u64;
        let range = Invalid::Range {
            min: min.into(),
            max: max.into(),
        };
        if (min..=max).contains(&bytes) {
            Ok(bytes)
        } else {
            Err(range)
        }
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// An integer for a type narrower than `i64`; the type's own bounds are the last word.
fn narrow<T: TryFrom<i64>>(text: &str, kind: &Kind) -> Result<T, Invalid> {
    T::try_from(i64::parse(text, kind)?).map_err(|_| Invalid::Integer)
}

macro_rules! narrow_values {
    ($($type:ty),*) => {$(
        impl Value for $type {
            fn parse(text: &str, kind: &Kind) -> Result<Self, Invalid> {
                narrow(text, kind)
            }

            fn show(&self) -> String {
                self.to_string()
            }
        }
    )*};
}

narrow_values!(u16, u32, usize);

impl Value for String {
    fn parse(text: &str, _: &Kind) -> Result<Self, Invalid> {
        Ok(text.to_owned())
    }

    fn show(&self) -> String {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_units_are_those_of_redis() {
        let units = [
            ("0", 0),
            ("100b", 100),
            ("1k", 1000),
            ("1kb", 1024),
            ("2M", 2_000_000),
            ("2mB", 2 << 20),
            ("3g", 3_000_000_000),
            ("3GB", 3 << 30),
            ("18446744073709551615", u64::MAX),
        ];
        for (text, bytes) in units {
            assert_eq!(parse_memory(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn memory_takes_no_fraction_sign_or_overflow() {
        for text in [
            "",
            "kb",
            "-1",
            "+1",
            "1.5gb",
            "50%",
            "1 kb",
            "1tb",
            "99999999999gb",
        ] {
            assert_eq!(parse_memory(text), Err(Invalid::Memory), "{text}");
        }
    }

    #[test]
    fn sizes_are_bounded() {
        let kind = Kind::Memory { min: 1024 };
        assert_eq!(u64::parse("1kb", &kind), Ok(1024));
        for text in ["1023", "18446744073709551615"] {
            assert!(
                matches!(u64::parse(text, &kind), Err(Invalid::Range { .. })),
                "{text}"
            );
        }
    }

    #[test]
    fn integers_are_strict_and_bounded() {
        let kind = Kind::Integer { min: -1, max: 10 };
        assert_eq!(i64::parse("-1", &kind), Ok(-1));
        assert_eq!(i64::parse("10", &kind), Ok(10));
        for text in [
            "",
            " 1",
            "1 ",
            "+1",
            "01",
            "1.5",
            "abc",
            "-0",
            "99999999999999999999",
        ] {
            assert_eq!(i64::parse(text, &kind), Err(Invalid::Integer), "{text}");
        }
        let refused = i64::parse("11", &kind).expect_err("11 is out of bounds");
        assert_eq!(
            refused.to_string(),
            "argument must be between -1 and 10 inclusive"
        );
    }

    #[test]
    fn switches_and_words_are_read_in_any_case() {
        assert_eq!(bool::parse("YES", &Kind::Switch), Ok(true));
        assert_eq!(bool::parse("no", &Kind::Switch), Ok(false));
        assert_eq!(bool::parse("1", &Kind::Switch), Err(Invalid::Switch));
        assert_eq!(choose("EverySec", &["always", "everysec"]), Ok(1));
        let refused = choose("x", &["always", "never"]).expect_err("no such word");
        assert_eq!(
            refused.to_string(),
            "argument(s) must be one of the following: always, never"
        );
    }

    #[test]
    fn what_is_expected_reads_as_a_sentence() {
        assert_eq!(
            Kind::Choice(&["always", "interval", "never"]).expected(),
            "always, interval or never"
        );
        let port = Kind::Integer { min: 0, max: 65535 };
        assert_eq!(port.expected(), "a whole number from 0 to 65535");
    }
}
