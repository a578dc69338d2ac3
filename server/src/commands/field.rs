//! One field of BITFIELD: an integer of up to 64 bits at any bit of a string.
//!
//! Owns how an encoding and an offset are written, what a field can hold, and where its bits are.
//! What a command does with it, on overflow in particular, is up to `bitfield`.

use super::CommandError;
use super::bit::offset;
use crate::keyspace::parse_canonical_int;

pub(super) const BAD_ENCODING: CommandError = CommandError::text(
    "ERR Invalid bitfield type. Use something like i16 u8. \
     Note that u64 is not supported but i64 is.",
);

/// Where an integer is, and how wide.
///
/// Invariant: `1 <= bits <= 64`, and `bits <= 63` unless `signed`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) signed: bool,
    bits: u32,
    offset: usize,
}

impl Field {
    pub(super) fn parse(encoding: &[u8], at: &[u8]) -> Result<Self, CommandError> {
        let (signed, digits, bits_max) = match encoding {
            [b'i', digits @ ..] => (true, digits, 64),
            [b'u', digits @ ..] => (false, digits, 63),
            _ => return Err(BAD_ENCODING),
        };
        let bits = parse_canonical_int(digits)
            .filter(|bits| (1..=bits_max).contains(bits))
            .ok_or(BAD_ENCODING)? as u32;
        Ok(Self {
            signed,
            bits,
            offset: offset(at, Some(bits))?,
        })
    }

    /// How long the string must be to hold the field.
    pub(super) fn end_bytes(self) -> usize {
        (self.offset + self.bits as usize).div_ceil(8)
    }

    pub(super) fn min(self) -> i128 {
        if self.signed {
            -(1 << (self.bits - 1))
        } else {
            0
        }
    }

    pub(super) fn max(self) -> i128 {
        if self.signed {
            (1 << (self.bits - 1)) - 1
        } else {
            (1 << self.bits) - 1
        }
    }

    /// The integer whose two's complement the low bits of `number` are.
    pub(super) fn wrap(self, number: i128) -> i128 {
        let unused = 128 - self.bits;
        let high = number << unused;
        if self.signed {
            high >> unused
        } else {
            (high as u128 >> unused) as i128
        }
    }

    /// Bits behind the end of `bytes` are zero.
    pub(super) fn read(self, bytes: &[u8]) -> i64 {
        let word = self.window(bytes) >> self.shift();
        // By the invariant every value fits.
        self.wrap(word as i128) as i64
    }

    pub(super) fn write(self, bytes: &mut [u8], number: i128) {
        let mask = (u128::MAX >> (128 - self.bits)) << self.shift();
        let word = self.window(bytes) & !mask | (number as u128) << self.shift() & mask;
        let place = bytes[self.offset / 8..self.end_bytes()].iter_mut();
        place
            .zip(&word.to_be_bytes())
            .for_each(|(to, from)| *to = *from);
    }

    /// The sixteen bytes in which the field begins, of which it takes at most nine.
    fn window(self, bytes: &[u8]) -> u128 {
        let mut window = [0; 16];
        let from = bytes.get(self.offset / 8..).unwrap_or(&[]);
        window
            .iter_mut()
            .zip(from)
            .for_each(|(to, from)| *to = *from);
        u128::from_be_bytes(window)
    }

    fn shift(self) -> u32 {
        128 - self.bits - (self.offset % 8) as u32
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_field_is_read_as_written_and_its_neighbours_stay(
            before in prop::collection::vec(any::<u8>(), 0..24),
            signed: bool, bits in 1u32..=63, offset in 0usize..100, number: i64,
        ) {
            let field = Field { signed, bits, offset };
            let mut bytes = before.clone();
            bytes.resize(bytes.len().max(field.end_bytes()), 0);
            let number = field.wrap(number.into());
            field.write(&mut bytes, number);
            prop_assert_eq!(i128::from(field.read(&bytes)), number);
            let bit = |bytes: &[u8], at: usize| {
                bytes.get(at / 8).copied().unwrap_or(0) >> (7 - at % 8) & 1
            };
            for at in (0..offset).chain(offset + bits as usize..8 * bytes.len()) {
                prop_assert_eq!(bit(&bytes, at), bit(&before, at));
            }
        }
    }
}
