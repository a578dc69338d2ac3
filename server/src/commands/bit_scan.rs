//! Counting and finding bits in a part of a string.
//!
//! A part is given by its first and its last bit, both included, and is never empty.

/// How many bits are set from the first to the last of `bits`, which are in `bytes`.
pub(super) fn count_ones(bytes: &[u8], bits: (usize, usize)) -> u64 {
    let (first, last) = (bits.0 / 8, bits.1 / 8);
    let ends: u32 = if first == last {
        (bytes[first] & mask(first, bits)).count_ones()
    } else {
        (bytes[first] & mask(first, bits)).count_ones()
            + (bytes[last] & mask(last, bits)).count_ones()
    };
    let inner = bytes.get(first + 1..last).unwrap_or(&[]);
    let (words, rest) = inner.as_chunks::<8>();
    let words: u64 = words
        .iter()
        .map(|word| u64::from(u64::from_ne_bytes(*word).count_ones()))
        .sum();
    let rest: u64 = rest.iter().map(|byte| u64::from(byte.count_ones())).sum();
    u64::from(ends) + words + rest
}

/// The first `wanted` bit from the first to the last of `bits`, which are in `bytes`.
pub(super) fn first_bit(bytes: &[u8], bits: (usize, usize), wanted: bool) -> Option<usize> {
    // What a byte without a wanted bit looks like.
    let barren = if wanted { 0x00 } else { 0xff };
    let (first, last) = (bits.0 / 8, bits.1 / 8);
    let in_byte = |index: usize| {
        let found = (bytes[index] ^ barren) & mask(index, bits);
        (found != 0).then(|| 8 * index + found.leading_zeros() as usize)
    };
    let inner = || {
        let inner = bytes.get(first + 1..last)?;
        // Large steps first: the compiler turns this comparison into a few vector instructions.
        let steps = inner
            .chunks_exact(64)
            .take_while(|step| **step == [barren; 64])
            .count();
        let from = first + 1 + 64 * steps;
        let at = bytes[from..last].iter().position(|&byte| byte != barren)?;
        in_byte(from + at)
    };
    in_byte(first).or_else(inner).or_else(|| in_byte(last))
}

/// The bits of byte `index` that lie between two bits, both included.
fn mask(index: usize, (first, last): (usize, usize)) -> u8 {
    let head = if index == first / 8 {
        0xff >> (first % 8)
    } else {
        0xff
    };
    let tail = if index == last / 8 {
        0xff << (7 - last % 8)
    } else {
        0xff
    };
    head & tail
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn counting_and_finding_agree_with_a_loop(
            bytes in prop::collection::vec(prop_oneof![Just(0u8), Just(0xff), any::<u8>()], 1..300),
            ends: (prop::sample::Index, prop::sample::Index),
        ) {
            let len = 8 * bytes.len();
            let (a, b) = (ends.0.index(len), ends.1.index(len));
            let bits = (a.min(b), a.max(b));
            let bit = |at: usize| bytes[at / 8] >> (7 - at % 8) & 1 == 1;
            let all = bits.0..=bits.1;
            let ones = all.clone().filter(|&at| bit(at)).count() as u64;
            prop_assert_eq!(count_ones(&bytes, bits), ones);
            for wanted in [false, true] {
                let first = all.clone().find(|&at| bit(at) == wanted);
                prop_assert_eq!(first_bit(&bytes, bits, wanted), first);
            }
        }
    }
}
