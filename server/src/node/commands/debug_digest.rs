//! DEBUG DIGEST: a fingerprint of the data, the same as Redis's for the same data.
//!
//! Two operations build it. To *add* bytes to a digest is to xor their SHA-1 into it, so the order
//! of additions does not matter; to *mix* them in is to add them and replace the digest by its own
//! SHA-1, so it does. A key's digest mixes its name, its type's number and its value, and adds a
//! mark if it expires; the whole adds the digests of all keys, and mixes in the number of each
//! database before its keys.
//!
//! A list mixes its elements in order, and so does a stream. The other types have no order: a set
//! adds its members, and a hash and a sorted set add for each element a digest that mixes its two
//! parts.
//!
//! Numbers are big-endian. When exactly a key expires makes no difference.

use std::fmt;

use sha1::{Digest as _, Sha1};

use crate::keyspace::{Elements, Entry, Object, Stream, StreamId, ValueRef};

/// The numbers of the types.
const TYPE_STRING: u32 = 0;
const TYPE_LIST: u32 = 1;
const TYPE_SET: u32 = 2;
const TYPE_SORTED_SET: u32 = 3;
const TYPE_HASH: u32 = 4;
const TYPE_STREAM: u32 = 6;
/// What is added for a key that expires.
const EXPIRES: &[u8] = b"!!expire!!";

/// A digest under construction; displayed as forty hexadecimal digits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Digest([u8; 20]);

impl Digest {
    fn add(&mut self, bytes: &[u8]) {
        let hash = Sha1::digest(bytes);
        for (byte, other) in self.0.iter_mut().zip(hash) {
            *byte ^= other;
        }
    }

    fn mix(&mut self, bytes: &[u8]) {
        self.add(bytes);
        self.0 = Sha1::digest(self.0).into();
    }

    fn mix_value(&mut self, entry: &Entry) {
        let value = entry.value();
        let type_number = match value {
            ValueRef::Int(_) | ValueRef::String(_) => TYPE_STRING,
            ValueRef::Object(Object::String(_) | Object::Fenced(_)) => TYPE_STRING,
            ValueRef::Object(Object::List(_)) => TYPE_LIST,
            ValueRef::Object(Object::Set(_)) => TYPE_SET,
            ValueRef::Object(Object::Hash(_)) => TYPE_HASH,
            ValueRef::Object(Object::SortedSet(_)) => TYPE_SORTED_SET,
            ValueRef::Object(Object::Stream(_)) => TYPE_STREAM,
        };
        self.mix(&type_number.to_be_bytes());
        match value {
            ValueRef::Int(number) => self.mix(itoa::Buffer::new().format(number).as_bytes()),
            ValueRef::String(bytes) => self.mix(bytes),
            ValueRef::Object(Object::String(bytes)) => self.mix(bytes),
            ValueRef::Object(Object::Fenced(fenced)) => self.mix(&fenced.value),
            ValueRef::Object(Object::List(list)) => {
                list.visit(0, list.len(), &mut |element| self.mix(element));
            }
            ValueRef::Object(Object::Set(set)) => {
                set.visit(0, set.len(), &mut |member| self.add(member));
            }
            ValueRef::Object(Object::Hash(hash)) => self.add_pairs(hash, <[u8]>::to_vec),
            ValueRef::Object(Object::SortedSet(set)) => self.add_pairs(set, score_text),
            ValueRef::Object(Object::Stream(stream)) => self.mix_entries(stream),
        }
        if entry.expires_at_ms().is_some() {
            self.add(EXPIRES);
        }
    }

    /// Adds a digest of each element of two parts; `show` gives the text of the second.
    fn add_pairs(&mut self, pairs: &dyn Elements, show: fn(&[u8]) -> Vec<u8>) {
        let mut first = None;
        pairs.visit(0, pairs.len(), &mut |part| match first.take() {
            None => {
                let mut digest = Self::default();
                digest.mix(part);
                first = Some(digest);
            }
            Some(mut digest) => {
                digest.mix(&show(part));
                self.add(&digest.0);
            }
        });
    }

    /// Mixes the ID, the names and the values of each entry; groups make no difference.
    fn mix_entries(&mut self, stream: &Stream) {
        for entry in stream.range(StreamId::MIN, StreamId::MAX) {
            self.mix(format!("{}.{}", entry.id.ms, entry.id.seq).as_bytes());
            for (name, value) in entry.pairs() {
                name.with_bytes(|bytes| self.mix(bytes));
                value.with_bytes(|bytes| self.mix(bytes));
            }
        }
    }

    /// Begins a database that has at least one key.
    pub(super) fn begin_database(&mut self, number: u32) {
        self.mix(&number.to_be_bytes());
    }

    /// Adds a key of the database begun last, in any order.
    pub(super) fn add_key(&mut self, entry: &Entry) {
        let mut digest = Self::default();
        digest.mix(entry.key());
        digest.mix_value(entry);
        self.add(&digest.0);
    }

    /// The digest of a value alone; of zeros if there is none.
    pub(super) fn of_value(entry: Option<&Entry>) -> Self {
        let mut digest = Self::default();
        if let Some(entry) = entry {
            digest.mix_value(entry);
        }
        digest
    }
}

/// A score as C's `%.17g` prints it, which is what Redis digests.
fn score_text(score: &[u8]) -> Vec<u8> {
    /// Digits that tell all doubles apart.
    const DIGITS: i32 = 17;
    let score = score.try_into().map(f64::from_le_bytes);
    let score = score.expect("a score has eight bytes");
    if score.is_infinite() {
        return if score > 0.0 { "inf" } else { "-inf" }.into();
    }
    let text = format!("{score:.*e}", DIGITS as usize - 1);
    let (digits, exponent) = text.split_once('e').expect("the format has an exponent");
    let exponent: i32 = exponent.parse().expect("an exponent is a number");
    let trim = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    if (-4..DIGITS).contains(&exponent) {
        trim(&format!("{score:.*}", (DIGITS - 1 - exponent) as usize)).into()
    } else {
        let sign = if exponent < 0 { '-' } else { '+' };
        format!("{}e{sign}{:02}", trim(digits), exponent.abs()).into()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::{NewValue, Stamp};

    fn entry(key: &str, value: &str, expires_at_ms: Option<i64>) -> Entry {
        let value = NewValue::from_bytes(value.as_bytes());
        let stamp = Stamp {
            version: 1,
            access: 2,
        };
        Entry::new(key.as_bytes(), value, expires_at_ms, stamp)
    }

    fn digest(databases: &[(u32, &[Entry])]) -> String {
        let mut digest = Digest::default();
        for (number, entries) in databases {
            digest.begin_database(*number);
            entries.iter().for_each(|entry| digest.add_key(entry));
        }
        digest.to_string()
    }

    #[test]
    fn the_digest_is_that_of_redis() {
        // As redis-server 7.0.15 answers for the same keys.
        assert_eq!(digest(&[]), "0000000000000000000000000000000000000000");
        let a = || entry("a", "1", None);
        assert_eq!(
            digest(&[(0, &[a()])]),
            "943d800368fb9c0e951138f1bc0e313ac769d91f"
        );
        let three = || {
            [
                a(),
                entry("b", "hello", None),
                entry("n", "-12345678", None),
            ]
        };
        assert_eq!(
            digest(&[(0, &three())]),
            "3fe6d19d92123e0a6bb725ee7718135261c5c313"
        );
        let [one, two, three] = three();
        let first = [one, two, three, entry("e", "x", Some(1))];
        assert_eq!(
            digest(&[(0, &first)]),
            "f33ebcde17d68a70077d66c640221598049f89a9"
        );
        let second = [entry("q", &"x".repeat(100), None)];
        assert_eq!(
            digest(&[(0, &first), (3, &second)]),
            "dc6cf2af865e9276202fec48486e708825edc6e8"
        );
    }

    #[test]
    fn the_digest_of_a_value_does_not_depend_on_its_key() {
        let of = |entry: Entry| Digest::of_value(Some(&entry)).to_string();
        assert_eq!(
            of(entry("a", "1", None)),
            "b4fc66738120fba0b5aa500ab5c2bf89cea1c5da"
        );
        assert_eq!(
            of(entry("e", "x", Some(1))),
            "0745672cb1bf060476eedeb8a28f5ffe1ff5a2be"
        );
        assert_eq!(Digest::of_value(None), Digest::default());
    }

    #[test]
    fn scores_are_digested_as_c_prints_them() {
        for (score, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (3.0, "3"),
            (-1.5, "-1.5"),
            (0.1, "0.10000000000000001"),
            (1e16, "10000000000000000"),
            (1e17, "1e+17"),
            (2.3e-7, "2.2999999999999999e-07"),
            (0.0001, "0.0001"),
            (1.7976931348623157e308, "1.7976931348623157e+308"),
            (5e-324, "4.9406564584124654e-324"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            assert_eq!(score_text(&f64::to_le_bytes(score)), text.as_bytes());
        }
    }

    #[test]
    fn the_order_of_keys_makes_no_difference() {
        let (a, b) = (entry("a", "1", None), entry("b", "2", Some(5)));
        let (a2, b2) = (entry("a", "1", None), entry("b", "2", Some(7)));
        assert_eq!(digest(&[(0, &[a, b])]), digest(&[(0, &[b2, a2])]));
    }
}
