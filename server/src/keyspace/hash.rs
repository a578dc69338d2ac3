//! Hashes: fields and their values.
//!
//! Small ones are packed, fields in the order in which they came, as Redis keeps a `listpack`;
//! large ones are trees in hash order, for which Redis has its `hashtable`. A hash becomes large
//! when it grows beyond Redis's default thresholds and stays so. The thresholds are constants,
//! because what a replica does must not depend on how its node is configured.

use super::aggregate::{Aggregate, Elements, Parts, object_variant};
use super::hash_tree::HashTree;
use super::packed::Packed;

/// More fields make a hash large.
const PACKED_MAX_FIELDS: usize = 512;

/// A longer field or value makes a hash large, in bytes.
const PACKED_MAX_BYTES: usize = 64;

const PACKED: u8 = 0;
const LARGE: u8 = 1;

/// A map from fields to values, both byte strings.
#[derive(Clone, Debug)]
pub struct Hash(Fields);

#[derive(Clone, Debug)]
enum Fields {
    /// Each field before its value.
    Packed(Packed),
    Large(Box<HashTree>),
}

impl Default for Hash {
    fn default() -> Self {
        Self(Fields::Packed(Packed::default()))
    }
}

impl Hash {
    /// The value of `field`.
    #[must_use]
    pub fn get(&self, field: &[u8]) -> Option<&[u8]> {
        match &self.0 {
            Fields::Packed(packed) => {
                let place = packed.find(field, 2)?;
                Some(packed.at(packed.behind(place)))
            }
            Fields::Large(tree) => tree.get(field),
        }
    }

    /// Gives `field` a value; true if the field is new. `seed` is the keyspace's.
    pub fn set(&mut self, field: &[u8], value: &[u8], seed: u64) -> bool {
        if field.len() > PACKED_MAX_BYTES || value.len() > PACKED_MAX_BYTES {
            self.enlarge(seed);
        }
        match &mut self.0 {
            Fields::Large(tree) => tree.insert(field, value),
            Fields::Packed(packed) => {
                if let Some(place) = packed.find(field, 2) {
                    packed.replace(packed.behind(place), value);
                    return false;
                }
                packed.push(field);
                packed.push(value);
                if packed.len() / 2 > PACKED_MAX_FIELDS {
                    self.enlarge(seed);
                }
                true
            }
        }
    }

    /// Makes the hash large if so many more fields with values of up to so many bytes would. Redis
    /// looks at a whole command before it sets the first field.
    pub fn prepare(&mut self, more_fields: usize, longest_bytes: usize, seed: u64) {
        if more_fields > PACKED_MAX_FIELDS || longest_bytes > PACKED_MAX_BYTES {
            self.enlarge(seed);
        }
    }

    /// Removes a field; false if it is not there.
    pub fn remove(&mut self, field: &[u8]) -> bool {
        match &mut self.0 {
            Fields::Packed(packed) => match packed.find(field, 2) {
                Some(place) => {
                    packed.remove(place, 2);
                    true
                }
                None => false,
            },
            Fields::Large(tree) => tree.remove(field),
        }
    }

    /// Calls `visit` with up to `count` fields and their values, from number `from` on.
    pub fn visit_pairs<'a>(
        &'a self,
        from: usize,
        count: usize,
        mut visit: impl FnMut(&'a [u8], &'a [u8]),
    ) {
        match &self.0 {
            Fields::Packed(packed) => {
                let mut parts = packed.iter().skip(2 * from);
                for _ in 0..count {
                    let (Some(field), Some(value)) = (parts.next(), parts.next()) else {
                        return;
                    };
                    visit(field, value);
                }
            }
            Fields::Large(tree) => tree
                .iter_from(from)
                .take(count)
                .for_each(|record| visit(record.key, record.value)),
        }
    }

    /// The field of a number below [`Elements::len`], and its value.
    #[must_use]
    pub fn nth(&self, number: usize) -> Option<(&[u8], &[u8])> {
        let mut found = None;
        self.visit_pairs(number, 1, |field, value| found = Some((field, value)));
        found
    }

    /// Visits about `count` fields and their values from `cursor` on and returns the next cursor,
    /// 0 at the end. A small hash is visited at once.
    pub fn scan<'a>(
        &'a self,
        cursor: u64,
        count: usize,
        mut visit: impl FnMut(&'a [u8], &'a [u8]),
    ) -> u64 {
        match &self.0 {
            Fields::Packed(_) => {
                self.visit_pairs(0, usize::MAX, visit);
                0
            }
            Fields::Large(tree) => {
                tree.scan(cursor, count, |record| visit(record.key, record.value))
            }
        }
    }

    fn enlarge(&mut self, seed: u64) {
        if let Fields::Packed(packed) = &self.0 {
            let mut tree = HashTree::new(seed, true);
            let mut parts = packed.iter();
            while let (Some(field), Some(value)) = (parts.next(), parts.next()) {
                tree.insert(field, value);
            }
            self.0 = Fields::Large(Box::new(tree));
        }
    }
}

impl PartialEq for Hash {
    fn eq(&self, other: &Self) -> bool {
        let pairs = |hash: &Self| {
            let mut pairs = Vec::new();
            hash.visit(0, hash.len(), &mut |part| pairs.push(part.to_vec()));
            pairs
        };
        self.representation() == other.representation() && pairs(self) == pairs(other)
    }
}

impl Eq for Hash {}

impl Elements for Hash {
    fn len(&self) -> usize {
        match &self.0 {
            Fields::Packed(packed) => packed.len() / 2,
            Fields::Large(tree) => tree.len(),
        }
    }

    fn encoding(&self) -> &'static str {
        match &self.0 {
            Fields::Packed(_) => "listpack",
            Fields::Large(_) => "hashtable",
        }
    }

    fn heap_bytes(&self) -> usize {
        match &self.0 {
            Fields::Packed(packed) => packed.heap_bytes(),
            Fields::Large(tree) => size_of::<HashTree>() + tree.heap_bytes(),
        }
    }

    fn representation(&self) -> u8 {
        match &self.0 {
            Fields::Packed(_) => PACKED,
            Fields::Large(_) => LARGE,
        }
    }

    fn hash_ordered(&self) -> Option<usize> {
        matches!(self.0, Fields::Large(_)).then_some(2)
    }

    fn visit(&self, from: usize, count: usize, visit: &mut dyn FnMut(&[u8])) {
        self.visit_pairs(from, count, |field, value| {
            visit(field);
            visit(value);
        });
    }
}

impl Aggregate for Hash {
    object_variant!(Hash);

    fn restore(representation: u8, parts: &mut Parts<'_>, seed: u64) -> Option<Self> {
        let mut hash = Self::default();
        match representation {
            PACKED => {}
            LARGE => hash.enlarge(seed),
            _ => return None,
        }
        while let Some(field) = parts.next() {
            if !hash.set(field, parts.next()?, seed) {
                return None;
            }
        }
        (hash.representation() == representation).then_some(hash)
    }
}

#[cfg(test)]
#[path = "hash_tests.rs"]
mod tests;
