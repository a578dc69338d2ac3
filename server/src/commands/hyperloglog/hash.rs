//! Which register an element belongs to, and what it says about the size of the set.

use super::REGISTERS;

/// The bits of a hash that choose a register.
const INDEX_BITS: u32 = REGISTERS.trailing_zeros();

/// The bits that are left.
const PATTERN_BITS: u32 = 64 - INDEX_BITS;

/// The seed that makes sketches agree with Redis's.
const SEED: u64 = 0xadc8_3b19;

/// The register of an element, and the place of the lowest bit that is set in the rest of its hash,
/// counted from 1.
pub(super) fn place(element: &[u8]) -> (usize, u8) {
    let hash = murmur(element);
    let index = hash as usize % REGISTERS;
    // A bit beyond the end bounds the count.
    let pattern = hash >> INDEX_BITS | 1 << PATTERN_BITS;
    (index, pattern.trailing_zeros() as u8 + 1)
}

/// MurmurHash64A.
fn murmur(bytes: &[u8]) -> u64 {
    const FACTOR: u64 = 0xc6a4_a793_5bd1_e995;
    const SHIFT: u32 = 47;
    let mut hash = SEED ^ (bytes.len() as u64).wrapping_mul(FACTOR);
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        let mut mixed = u64::from_le_bytes(*word).wrapping_mul(FACTOR);
        mixed ^= mixed >> SHIFT;
        hash = (hash ^ mixed.wrapping_mul(FACTOR)).wrapping_mul(FACTOR);
    }
    if !rest.is_empty() {
        let mut word = [0; 8];
        word[..rest.len()].copy_from_slice(rest);
        hash = (hash ^ u64::from_le_bytes(word)).wrapping_mul(FACTOR);
    }
    hash ^= hash >> SHIFT;
    hash = hash.wrapping_mul(FACTOR);
    hash ^ hash >> SHIFT
}
