//! Integers in ascending order, each in as few bytes as the widest of them needs.

use super::packed;

/// A set of integers in one allocation. An empty one owns no memory.
///
/// Invariant: `bytes` is empty, or a width (2, 4 or 8) and the numbers, little-endian in so many
/// bytes each, ascending and different. The width never shrinks, as in Redis's `intset`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct IntSet {
    bytes: Vec<u8>,
}

impl IntSet {
    pub(super) fn len(&self) -> usize {
        self.bytes.len().saturating_sub(1) / self.width()
    }

    /// Bytes of memory behind this value's pointer.
    pub(super) fn heap_bytes(&self) -> usize {
        self.bytes.capacity()
    }

    /// The number of this rank, which must be below `len`.
    pub(super) fn at(&self, rank: usize) -> i64 {
        let width = self.width();
        let bytes = &self.bytes[1 + rank * width..][..width];
        // The sign of the highest byte fills what is above it.
        let fill = if bytes[width - 1] < 0x80 { 0 } else { 0xff };
        let mut number = [fill; 8];
        number[..width].copy_from_slice(bytes);
        i64::from_le_bytes(number)
    }

    /// Where the number is, or where it belongs.
    pub(super) fn find(&self, number: i64) -> Result<usize, usize> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = (low + high) / 2;
            match self.at(middle).cmp(&number) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return Ok(middle),
            }
        }
        Err(low)
    }

    /// Adds a number; false if it is there.
    pub(super) fn insert(&mut self, number: i64) -> bool {
        let Err(rank) = self.find(number) else {
            return false;
        };
        self.widen(width_of(number));
        let width = self.width();
        packed::reserve(&mut self.bytes, width);
        let (at, len) = (1 + rank * width, self.bytes.len());
        self.bytes.resize(len + width, 0);
        self.bytes.copy_within(at..len, at + width);
        self.bytes[at..at + width].copy_from_slice(&number.to_le_bytes()[..width]);
        true
    }

    /// Removes a number; false if it is not there.
    pub(super) fn remove(&mut self, number: i64) -> bool {
        let Ok(rank) = self.find(number) else {
            return false;
        };
        let width = self.width();
        let at = 1 + rank * width;
        self.bytes.drain(at..at + width);
        packed::shrink(&mut self.bytes);
        true
    }

    /// The numbers from rank `from` on.
    pub(super) fn iter_from(&self, from: usize) -> impl Iterator<Item = i64> {
        (from..self.len()).map(|rank| self.at(rank))
    }

    fn width(&self) -> usize {
        self.bytes.first().map_or(2, |&width| usize::from(width))
    }

    fn widen(&mut self, wanted: usize) {
        if self.bytes.is_empty() || wanted > self.width() {
            let mut wider = Vec::new();
            packed::reserve(&mut wider, 1 + (self.len() + 1) * wanted);
            wider.push(wanted as u8);
            for number in self.iter_from(0) {
                wider.extend_from_slice(&number.to_le_bytes()[..wanted]);
            }
            self.bytes = wider;
        }
    }
}

fn width_of(number: i64) -> usize {
    if i16::try_from(number).is_ok() {
        2
    } else if i32::try_from(number).is_ok() {
        4
    } else {
        8
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_of_any_width_are_an_ordered_set(
            steps in prop::collection::vec((any::<bool>(), any::<i64>(), 0..64u32), 0..200),
        ) {
            let (mut set, mut model) = (IntSet::default(), BTreeSet::new());
            for (adds, number, shift) in steps {
                let number = number >> shift;
                if adds {
                    prop_assert_eq!(set.insert(number), model.insert(number));
                } else {
                    prop_assert_eq!(set.remove(number), model.remove(&number));
                }
                prop_assert_eq!(set.len(), model.len());
            }
            prop_assert!(set.iter_from(0).eq(model.iter().copied()));
            prop_assert!(set.iter_from(3).eq(model.iter().copied().skip(3)));
        }
    }
}
