//! DEBUG DIGEST: a fingerprint of the data, the same as Redis's for the same data.
//!
//! Two operations build it. To *add* bytes to a digest is to xor their SHA-1 into it, so the order
//! of additions does not matter; to *mix* them in is to add them and replace the digest by its own
//! SHA-1, so it does. A key's digest mixes its name, its type's number and its value, and adds a
//! mark if it expires; the whole adds the digests of all keys, and mixes in the number of each
//! database before its keys.
//!
//! Numbers are big-endian. When exactly a key expires makes no difference.

use std::fmt;

use sha1::{Digest as _, Sha1};

use crate::keyspace::{Entry, Object, ValueRef};

/// The number of the type of strings.
const TYPE_STRING: u32 = 0;
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
        self.mix(&TYPE_STRING.to_be_bytes());
        match entry.value() {
            ValueRef::Int(number) => self.mix(itoa::Buffer::new().format(number).as_bytes()),
            ValueRef::String(bytes) => self.mix(bytes),
            ValueRef::Object(Object::String(bytes)) => self.mix(bytes),
        }
        if entry.expires_at_ms().is_some() {
            self.add(EXPIRES);
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
    fn the_order_of_keys_makes_no_difference() {
        let (a, b) = (entry("a", "1", None), entry("b", "2", Some(5)));
        let (a2, b2) = (entry("a", "1", None), entry("b", "2", Some(7)));
        assert_eq!(digest(&[(0, &[a, b])]), digest(&[(0, &[b2, a2])]));
    }
}
