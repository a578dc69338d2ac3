//! `math.random` as Redis has it: the generator of `lrand48`, which gives the same numbers
//! everywhere.

/// A generator of 31-bit numbers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lrand(u64);

const MASK: u64 = (1 << 48) - 1;

/// One more than the largest number.
pub(super) const LRAND_END: f64 = 2_147_483_648.0;

impl Lrand {
    /// A generator that starts from any 48 bits of this.
    pub(super) fn from_bits(bits: u64) -> Self {
        Self(bits & MASK)
    }

    /// The generator that `srand48` makes of a seed.
    pub(super) fn seeded(seed: i32) -> Self {
        Self(((u64::from(seed as u32) << 16) | 0x330e) & MASK)
    }

    pub(super) fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(0x5_deec_e66d).wrapping_add(0xb) & MASK;
        (self.0 >> 17) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_numbers_that_redis_gives() {
        let mut lrand = Lrand::seeded(5);
        let drawn = f64::from(lrand.next()) / f64::from(i32::MAX) * 1000.0;
        assert_eq!(drawn.floor() + 1.0, 525.0);
    }
}
