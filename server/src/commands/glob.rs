//! Patterns of KEYS, SCAN and COMMAND LIST: Redis's glob dialect, byte by byte.
//!
//! `*` any run of bytes, `?` any byte, `[a-z]` and `[^a-z]` classes, `\` takes the next byte
//! literally. Oddities are kept because clients see them: an empty string matches the patterns
//! empty and `*` only (not `**`), an unclosed class ends with the pattern, ranges compare signed
//! bytes and may be written backwards. There is no malformed pattern, so matching cannot fail.
//!
//! Only the last `*` seen is ever tried again: what an earlier one could still reach, a later one
//! reaches too. So a match takes at most (pattern x string) steps, whatever the pattern.

/// A pattern made ready for many strings.
#[derive(Clone, Copy, Debug)]
pub(super) struct Glob<'a> {
    /// What every match begins with, byte for byte.
    prefix: &'a [u8],
    /// The pattern from the first special byte on.
    rest: &'a [u8],
}

impl<'a> Glob<'a> {
    /// Reads a pattern.
    pub(super) fn new(pattern: &'a [u8]) -> Self {
        let special = |byte: &u8| matches!(byte, b'*' | b'?' | b'[' | b'\\');
        let at = pattern.iter().position(special).unwrap_or(pattern.len());
        let (prefix, rest) = pattern.split_at(at);
        Self { prefix, rest }
    }

    /// What every match begins with, as far as no special byte stands before it.
    pub(super) fn head(&self) -> &'a [u8] {
        self.prefix
    }

    /// Whether all of `string` matches.
    pub(super) fn matches(&self, string: &[u8]) -> bool {
        let Some(tail) = string.strip_prefix(self.prefix) else {
            return false;
        };
        match self.rest {
            [] => tail.is_empty(),
            b"*" => true,
            _ if string.is_empty() => false,
            rest => matches_from(rest, tail),
        }
    }
}

/// Matches a non-empty pattern against the rest of a string.
fn matches_from(pattern: &[u8], string: &[u8]) -> bool {
    let (mut p, mut s) = (0, 0);
    // Where the pattern goes on after the last `*`, and the first byte not yet given to it.
    let mut star: Option<(usize, usize)> = None;
    while s < string.len() {
        if pattern.get(p) == Some(&b'*') {
            p += 1;
            star = Some((p, s));
            continue;
        }
        if p < pattern.len() {
            let (matched, next) = match_one(pattern, p, string[s]);
            if matched {
                (p, s) = (next, s + 1);
                continue;
            }
        }
        let Some((after, from)) = star else {
            return false;
        };
        star = Some((after, from + 1));
        (p, s) = (after, from + 1);
    }
    pattern[p..].iter().all(|&byte| byte == b'*')
}

/// Whether the element at `p`, which is no `*`, takes `byte`; and where the next element begins.
fn match_one(pattern: &[u8], p: usize, byte: u8) -> (bool, usize) {
    match pattern[p] {
        b'?' => (true, p + 1),
        b'[' => match_class(pattern, p + 1, byte),
        b'\\' if p + 1 < pattern.len() => (pattern[p + 1] == byte, p + 2),
        literal => (literal == byte, p + 1),
    }
}

/// The class whose `[` stands before `p`.
fn match_class(pattern: &[u8], mut p: usize, byte: u8) -> (bool, usize) {
    let negated = pattern.get(p) == Some(&b'^');
    p += usize::from(negated);
    let mut matched = false;
    loop {
        match pattern[p..] {
            [] => break,
            [b'\\', escaped, ..] => {
                matched |= escaped == byte;
                p += 2;
            }
            [b']', ..] => {
                p += 1;
                break;
            }
            [start, b'-', end, ..] => {
                let (start, end, byte) = (start as i8, end as i8, byte as i8);
                matched |= (start.min(end)..=start.max(end)).contains(&byte);
                p += 3;
            }
            [literal, ..] => {
                matched |= literal == byte;
                p += 1;
            }
        }
    }
    (matched != negated, p)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, string: &str) -> bool {
        Glob::new(pattern.as_bytes()).matches(string.as_bytes())
    }

    #[test]
    fn patterns_match_as_in_redis() {
        let good = [
            ("*", ""),
            ("*", "a"),
            ("", ""),
            ("a*", "a"),
            ("a*c", "abbc"),
            ("h?llo", "hello"),
            ("h[ae]llo", "hallo"),
            ("h[^e]llo", "hallo"),
            ("h[a-b]llo", "hbllo"),
            ("h[b-a]llo", "hallo"),
            ("\\*", "*"),
            ("[\\]]", "]"),
            ("a\\", "a\\"),
            ("[a", "a"),
            ("[^", "x"),
            ("a**", "a"),
            ("**a", "a"),
            ("*a*b*c*", "xaybzc"),
            ("[a-", "-"),
            ("[a-", "a"),
            ("u:*:name", "u:1:2:name"),
        ];
        for (pattern, string) in good {
            assert!(matches(pattern, string), "{pattern} {string}");
        }
        let bad = [
            ("**", ""),
            ("?", ""),
            ("a", ""),
            ("", "a"),
            ("a?", "a"),
            ("h[^e]llo", "hello"),
            ("h[a-b]llo", "hcllo"),
            ("[", "["),
            ("\\*", "a"),
            ("a*c", "abb"),
            ("[]", "]"),
            ("abc", "ab"),
            ("ab", "abc"),
            ("a*", "b"),
        ];
        for (pattern, string) in bad {
            assert!(!matches(pattern, string), "{pattern} {string}");
        }
    }

    #[test]
    fn ranges_compare_signed_bytes() {
        let glob = Glob::new(b"[\xff-a]");
        assert!(glob.matches(b"\0") && glob.matches(b"\xff") && !glob.matches(b"\x80"));
    }

    #[test]
    fn many_stars_cost_no_exponential_time() {
        let pattern = "a*".repeat(200) + "b";
        assert!(!matches(&pattern, &"a".repeat(2000)));
        assert!(matches(&pattern, &("a".repeat(2000) + "b")));
    }

    /// The definition by recursion, exponential but obvious.
    fn defined(pattern: &[u8], string: &[u8]) -> bool {
        match (pattern, string) {
            ([], _) => string.is_empty(),
            ([b'*', rest @ ..], _) => {
                (0..=string.len()).any(|skipped| defined(rest, &string[skipped..]))
            }
            (_, []) => false,
            (_, [byte, tail @ ..]) => {
                let (matched, next) = match_one(pattern, 0, *byte);
                matched && defined(&pattern[next..], tail)
            }
        }
    }

    proptest! {
        #[test]
        fn matching_agrees_with_its_definition(
            pattern in "[ab*?\\[\\]^\\\\-]{0,8}", string in "[ab*?\\[\\]^\\\\-]{1,8}",
        ) {
            prop_assert_eq!(
                matches(&pattern, &string),
                defined(pattern.as_bytes(), string.as_bytes())
            );
        }
    }
}
