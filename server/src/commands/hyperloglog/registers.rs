//! The two forms of registers in a sketch.
//!
//! *Dense*: six bits each, the lowest bits of a byte first. *Sparse*: runs of equal registers,
//!
//! ```text
//! 00llllll            up to 64 registers of 0
//! 01llllll llllllll   up to 16,384 registers of 0
//! 1vvvvvll            up to 4 registers of a value from 1 to 32
//! ```
//!
//! with lengths and values less by one. How a run is divided, and which runs are joined again,
//! follows Redis, so that sketches are the same to the byte. Bytes may come from a client by SET: a
//! sparse form that does not cover all registers is found out and refused.

use super::REGISTERS;

/// Bits of a register in the dense form.
const BITS: usize = 6;

/// The length of the dense form, in bytes.
pub(super) const DENSE_BYTES: usize = REGISTERS * BITS / 8;

/// The greatest value of a register in the sparse form.
const SPARSE_MAX_VALUE: u8 = 32;

/// The longest run of zeros in one byte.
const ZERO_MAX: usize = 64;

/// The longest run of a value.
const VALUE_MAX: usize = 4;

/// How many runs around a change are looked at for others that they can be joined with.
const JOIN_REACH: usize = 5;

/// The sparse form does not describe all registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Corrupted;

/// Why a register was not raised in the sparse form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The value, or what it makes of the runs, is for the dense form.
    TooLarge,
    Corrupted,
}

/// The value of a register in the dense form.
pub(super) fn dense_get(bytes: &[u8], index: usize) -> u8 {
    let (at, shift) = (index * BITS / 8, index * BITS % 8);
    let high = bytes.get(at + 1).copied().unwrap_or(0);
    let both = u16::from_le_bytes([bytes[at], high]);
    (both >> shift) as u8 & 0x3f
}

/// Raises a register in the dense form; false if it is not less than `value`.
pub(super) fn dense_raise(bytes: &mut [u8], index: usize, value: u8) -> bool {
    if dense_get(bytes, index) >= value {
        return false;
    }
    let (at, shift) = (index * BITS / 8, index * BITS % 8);
    let high = bytes.get(at + 1).copied().unwrap_or(0);
    let both = u16::from_le_bytes([bytes[at], high]);
    let both = both & !(0x3f << shift) | u16::from(value & 0x3f) << shift;
    let [low, high] = both.to_le_bytes();
    bytes[at] = low;
    if let Some(place) = bytes.get_mut(at + 1) {
        *place = high;
    }
    true
}

/// Equal registers in the sparse form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) value: u8,
    pub(super) len: usize,
    /// How many bytes it takes.
    size: usize,
}

impl Run {
    /// Whether it is one of the long runs of zeros, of two bytes.
    pub(super) fn is_long(self) -> bool {
        self.size == 2
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let first = *bytes.first()?;
        let (value, len, size) = match first {
            0..0x40 => (0, usize::from(first & 0x3f) + 1, 1),
            0x40..0x80 => {
                // Redis reads the NUL behind a string whose last run is cut off.
                let second = bytes.get(1).copied().unwrap_or(0);
                let len = usize::from(first & 0x3f) << 8 | usize::from(second);
                (0, len + 1, 2)
            }
            _ => ((first >> 2 & 0x1f) + 1, usize::from(first & 3) + 1, 1),
        };
        Some(Self { value, len, size })
    }

    fn put(value: u8, len: usize, out: &mut Vec<u8>) {
        if value > 0 {
            out.push(0x80 | (value - 1) << 2 | (len - 1) as u8);
        } else if len > ZERO_MAX {
            let len = len - 1;
            out.extend_from_slice(&[0x40 | (len >> 8) as u8, len as u8]);
        } else {
            out.push((len - 1) as u8);
        }
    }
}

/// The runs of a sparse form.
pub(super) fn runs(bytes: &[u8]) -> impl Iterator<Item = Run> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let run = Run::read(rest)?;
        rest = rest.get(run.size..).unwrap_or_default();
        Some(run)
    })
}

/// The sparse form of registers that are all 0.
pub(super) fn sparse_zeros() -> Vec<u8> {
    let mut bytes = Vec::new();
    Run::put(0, REGISTERS, &mut bytes);
    bytes
}

/// Calls `visit` with each value other than 0, the first register that has it and how many do.
pub(super) fn sparse_each(
    bytes: &[u8],
    mut visit: impl FnMut(u8, usize, usize),
) -> Result<(), Corrupted> {
    let mut first = 0;
    for run in runs(bytes) {
        if run.value > 0 {
            if first + run.len > REGISTERS {
                return Err(Corrupted);
            }
            visit(run.value, first, run.len);
        }
        first += run.len;
    }
    if first == REGISTERS {
        Ok(())
    } else {
        Err(Corrupted)
    }
}

/// The value of a register in the sparse form.
pub(super) fn sparse_get(bytes: &[u8], index: usize) -> Result<u8, Corrupted> {
    find(bytes, index).map(|found| found.run.value)
}

/// A run, and where it stands.
struct Found {
    run: Run,
    /// Its first byte.
    at: usize,
    /// The first byte of the run before it.
    before: Option<usize>,
    /// Its first register.
    first: usize,
}

/// The run that has a register.
fn find(bytes: &[u8], index: usize) -> Result<Found, Corrupted> {
    let (mut at, mut first, mut before) = (0, 0, None);
    while let Some(run) = bytes.get(at..).and_then(Run::read) {
        if index < first + run.len {
            return Ok(Found {
                run,
                at,
                before,
                first,
            });
        }
        (before, first, at) = (Some(at), first + run.len, at + run.size);
    }
    Err(Corrupted)
}

/// Raises a register of the sparse form that stands in `bytes` behind `header` bytes; false if it
/// is not less than `value`. The whole may have up to `max_bytes`.
pub(super) fn sparse_raise(
    bytes: &mut Vec<u8>,
    header: usize,
    index: usize,
    value: u8,
    max_bytes: usize,
) -> Result<bool, Refusal> {
    if value > SPARSE_MAX_VALUE {
        return Err(Refusal::TooLarge);
    }
    let found = find(&bytes[header..], index).map_err(|Corrupted| Refusal::Corrupted)?;
    let run = found.run;
    if run.value >= value {
        return Ok(false);
    }
    let (below, above) = (index - found.first, found.first + run.len - 1 - index);
    let mut divided = Vec::with_capacity(5);
    if below > 0 {
        Run::put(run.value, below, &mut divided);
    }
    Run::put(value, 1, &mut divided);
    if above > 0 {
        Run::put(run.value, above, &mut divided);
    }
    let at = header + found.at;
    let end = (at + run.size).min(bytes.len());
    let grown = bytes.len() - (end - at) + divided.len();
    if grown > bytes.len() && grown > max_bytes {
        return Err(Refusal::TooLarge);
    }
    bytes.splice(at..end, divided);
    join(bytes, header + found.before.unwrap_or(found.at));
    Ok(true)
}

/// Joins runs of the same value, from the one at `at` on.
fn join(bytes: &mut Vec<u8>, mut at: usize) {
    let mut reach = JOIN_REACH;
    while at < bytes.len() && reach > 0 {
        reach -= 1;
        let Some(run) = Run::read(&bytes[at..]) else {
            return;
        };
        let next = bytes.get(at + 1..).and_then(Run::read);
        let joined = next.filter(|next| {
            run.value > 0 && next.value == run.value && next.len + run.len <= VALUE_MAX
        });
        match joined {
            Some(next) => {
                let mut byte = Vec::with_capacity(1);
                Run::put(run.value, run.len + next.len, &mut byte);
                bytes.splice(at..at + 2, byte);
            }
            None => at += run.size,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn both_forms_hold_what_they_were_raised_to(
            raises in prop::collection::vec((0..REGISTERS, 1..33u8), 0..400),
            narrow in any::<bool>(),
        ) {
            let (mut sparse, mut dense) = (sparse_zeros(), vec![0; DENSE_BYTES]);
            let mut model = vec![0; REGISTERS];
            for (index, value) in raises {
                let index = if narrow { index % 40 } else { index };
                let rises = model[index] < value;
                prop_assert_eq!(sparse_raise(&mut sparse, 0, index, value, usize::MAX), Ok(rises));
                prop_assert_eq!(dense_raise(&mut dense, index, value), rises);
                model[index] = value.max(model[index]);
            }
            let mut again = vec![0; REGISTERS];
            sparse_each(&sparse, |value, first, len| again[first..first + len].fill(value))
                .expect("sound");
            prop_assert_eq!(&again, &model);
            for (index, &value) in model.iter().enumerate() {
                prop_assert_eq!(dense_get(&dense, index), value);
            }
        }

        #[test]
        fn any_bytes_can_be_raised(
            mut bytes in prop::collection::vec(any::<u8>(), 0..60),
            index in 0..REGISTERS,
            value in 1..64u8,
        ) {
            let before = sparse_get(&bytes, index);
            if sparse_raise(&mut bytes, 0, index, value, 3000) == Ok(true) {
                prop_assert!(before.is_ok_and(|before| before < value));
                prop_assert_eq!(sparse_get(&bytes, index), Ok(value));
            }
            let _ = sparse_each(&bytes, |_, first, len| assert!(first + len <= REGISTERS));
        }
    }
}
