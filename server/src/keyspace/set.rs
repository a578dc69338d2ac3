//! Sets of byte strings.
//!
//! Three representations, with Redis's names and default thresholds: integers in ascending order
//! (`intset`), a few short strings packed in the order in which they came (`listpack`), and a tree
//! in hash order for everything else (`hashtable`). A set only ever moves towards the last. The
//! thresholds are constants, because what a replica does must not depend on how its node is
//! configured.

use super::aggregate::{Aggregate, Elements, Parts, object_variant};
use super::hash_tree::HashTree;
use super::int_set::IntSet;
use super::packed::Packed;
use super::value::parse_canonical_int;

/// More members make a set of integers large.
const INTS_MAX_MEMBERS: usize = 512;

/// More members make a packed set large.
const PACKED_MAX_MEMBERS: usize = 128;

/// A longer member makes a set large, in bytes.
const PACKED_MAX_BYTES: usize = 64;

const INTS: u8 = 0;
const PACKED: u8 = 1;
const LARGE: u8 = 2;

/// A set of byte strings.
#[derive(Clone, Debug)]
pub struct Set(Members);

#[derive(Clone, Debug)]
enum Members {
    Ints(IntSet),
    Packed(Packed),
    Large(Box<HashTree>),
}

/// A member of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Member<'a> {
    /// The decimal form of a number.
    Int(i64),
    /// A string, which may look like a number, too.
    Bytes(&'a [u8]),
}

impl<'a> Member<'a> {
    /// Calls `f` with the member's bytes; a number is formatted on the stack.
    pub fn with_bytes<R>(self, f: impl FnOnce(&[u8]) -> R) -> R {
        match self {
            Self::Int(number) => f(itoa::Buffer::new().format(number).as_bytes()),
            Self::Bytes(bytes) => f(bytes),
        }
    }

    /// The number that the member spells, if it does.
    fn as_int(self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(number),
            Self::Bytes(bytes) => parse_canonical_int(bytes),
        }
    }
}

impl Default for Set {
    fn default() -> Self {
        Self(Members::Ints(IntSet::default()))
    }
}

impl Set {
    /// An empty set that keeps integers among strings, as one does that had a string before.
    #[must_use]
    pub fn packed() -> Self {
        Self(Members::Packed(Packed::default()))
    }

    /// Whether `member` is in the set.
    #[must_use]
    pub fn contains(&self, member: Member<'_>) -> bool {
        match &self.0 {
            Members::Ints(ints) => member
                .as_int()
                .is_some_and(|number| ints.find(number).is_ok()),
            Members::Packed(packed) => member.with_bytes(|bytes| packed.find(bytes, 1).is_some()),
            Members::Large(tree) => member.with_bytes(|bytes| tree.contains(bytes)),
        }
    }

    /// Adds a member; false if it is there. `seed` is the keyspace's.
    pub fn add(&mut self, member: Member<'_>, seed: u64) -> bool {
        if let Members::Ints(ints) = &mut self.0 {
            if let Some(number) = member.as_int() {
                let is_new = ints.insert(number);
                if ints.len() > INTS_MAX_MEMBERS {
                    self.enlarge(seed);
                }
                return is_new;
            }
            self.pack();
        }
        member.with_bytes(|bytes| self.add_bytes(bytes, seed))
    }

    /// Chooses a representation for a set that is to get `more` members beginning with `first`, as
    /// Redis does: before it has looked at the others.
    pub fn prepare(&mut self, first: &[u8], more: usize, seed: u64) {
        let max = match &self.0 {
            Members::Ints(ints) if ints.len() == 0 && parse_canonical_int(first).is_none() => {
                PACKED_MAX_MEMBERS
            }
            Members::Ints(_) => INTS_MAX_MEMBERS,
            Members::Packed(_) => PACKED_MAX_MEMBERS,
            Members::Large(_) => return,
        };
        if more > max {
            self.enlarge(seed);
        }
    }

    /// Removes a member; false if it is not there.
    pub fn remove(&mut self, member: Member<'_>) -> bool {
        match &mut self.0 {
            Members::Ints(ints) => member.as_int().is_some_and(|number| ints.remove(number)),
            Members::Packed(packed) => match member.with_bytes(|bytes| packed.find(bytes, 1)) {
                Some(place) => {
                    packed.remove(place, 1);
                    true
                }
                None => false,
            },
            Members::Large(tree) => member.with_bytes(|bytes| tree.remove(bytes)),
        }
    }

    /// The members from number `from` on.
    #[must_use]
    pub fn iter_from(&self, from: usize) -> Box<dyn Iterator<Item = Member<'_>> + '_> {
        match &self.0 {
            Members::Ints(ints) => Box::new(ints.iter_from(from).map(Member::Int)),
            Members::Packed(packed) => Box::new(packed.iter().skip(from).map(Member::Bytes)),
            Members::Large(tree) => {
                Box::new(tree.iter_from(from).map(|record| Member::Bytes(record.key)))
            }
        }
    }

    /// The member of a number below [`Elements::len`].
    #[must_use]
    pub fn nth(&self, number: usize) -> Option<Member<'_>> {
        match &self.0 {
            Members::Ints(ints) => (number < ints.len()).then(|| Member::Int(ints.at(number))),
            Members::Packed(packed) => packed.iter().nth(number).map(Member::Bytes),
            Members::Large(tree) => tree.nth(number).map(|record| Member::Bytes(record.key)),
        }
    }

    /// Visits about `count` members from `cursor` on and returns the next cursor, 0 at the end. A
    /// small set is visited at once.
    pub fn scan<'a>(&'a self, cursor: u64, count: usize, mut visit: impl FnMut(Member<'a>)) -> u64 {
        match &self.0 {
            Members::Large(tree) => {
                tree.scan(cursor, count, |record| visit(Member::Bytes(record.key)))
            }
            _ => {
                self.iter_from(0).for_each(visit);
                0
            }
        }
    }

    /// Makes a large set anew of its members, packed if they are few and short. What small sets are
    /// stays as it is.
    pub fn rebuild(&mut self, seed: u64) {
        if matches!(self.0, Members::Large(_)) {
            let mut anew = Self::packed();
            for member in self.iter_from(0) {
                anew.add(member, seed);
            }
            *self = anew;
        }
    }

    fn add_bytes(&mut self, bytes: &[u8], seed: u64) -> bool {
        if let Members::Packed(packed) = &mut self.0 {
            if packed.find(bytes, 1).is_some() {
                return false;
            }
            if packed.len() < PACKED_MAX_MEMBERS && bytes.len() <= PACKED_MAX_BYTES {
                packed.push(bytes);
                return true;
            }
            self.enlarge(seed);
        }
        match &mut self.0 {
            Members::Large(tree) => tree.insert(bytes, b""),
            _ => unreachable!("a set that is neither packed nor large was made one of them"),
        }
    }

    /// Packs integers, whose number may be more than a packed set keeps.
    fn pack(&mut self) {
        let mut packed = Packed::default();
        for member in self.iter_from(0) {
            member.with_bytes(|bytes| packed.push(bytes));
        }
        self.0 = Members::Packed(packed);
    }

    fn enlarge(&mut self, seed: u64) {
        if !matches!(self.0, Members::Large(_)) {
            let mut tree = HashTree::new(seed, false);
            for member in self.iter_from(0) {
                member.with_bytes(|bytes| tree.insert(bytes, b""));
            }
            self.0 = Members::Large(Box::new(tree));
        }
    }
}

impl PartialEq for Set {
    fn eq(&self, other: &Self) -> bool {
        self.representation() == other.representation()
            && self.len() == other.len()
            && self.iter_from(0).eq(other.iter_from(0))
    }
}

impl Eq for Set {}

impl Elements for Set {
    fn len(&self) -> usize {
        match &self.0 {
            Members::Ints(ints) => ints.len(),
            Members::Packed(packed) => packed.len(),
            Members::Large(tree) => tree.len(),
        }
    }

    fn encoding(&self) -> &'static str {
        match &self.0 {
            Members::Ints(_) => "intset",
            Members::Packed(_) => "listpack",
            Members::Large(_) => "hashtable",
        }
    }

    fn heap_bytes(&self) -> usize {
        match &self.0 {
            Members::Ints(ints) => ints.heap_bytes(),
            Members::Packed(packed) => packed.heap_bytes(),
            Members::Large(tree) => size_of::<HashTree>() + tree.heap_bytes(),
        }
    }

    fn representation(&self) -> u8 {
        match &self.0 {
            Members::Ints(_) => INTS,
            Members::Packed(_) => PACKED,
            Members::Large(_) => LARGE,
        }
    }

    fn hash_ordered(&self) -> Option<usize> {
        matches!(self.0, Members::Large(_)).then_some(1)
    }

    fn visit(&self, from: usize, count: usize, visit: &mut dyn FnMut(&[u8])) {
        for member in self.iter_from(from).take(count) {
            member.with_bytes(&mut *visit);
        }
    }
}

impl Aggregate for Set {
    object_variant!(Set);

    fn restore(representation: u8, parts: &mut Parts<'_>, seed: u64) -> Option<Self> {
        let mut set = Self::default();
        match representation {
            INTS => {}
            PACKED => set.pack(),
            LARGE => set.enlarge(seed),
            _ => return None,
        }
        for part in parts.by_ref() {
            if !set.add(Member::Bytes(part), seed) {
                return None;
            }
        }
        (set.representation() == representation).then_some(set)
    }
}

#[cfg(test)]
#[path = "set_tests.rs"]
mod tests;
