//! A sketch: the string in which a HyperLogLog is kept, in Redis's format.
//!
//! ```text
//! sketch = "HYLL" | form u8 | 3 unused | cardinality u64 | registers
//! ```
//!
//! The form is 0 for dense registers and 1 for sparse ones (`registers`). The cardinality is what
//! was computed last, little-endian; its top bit says that registers have changed since.

use super::estimate::Histogram;
use super::registers::{
    Corrupted, DENSE_BYTES, Refusal, dense_get, dense_raise, runs, sparse_each, sparse_get,
    sparse_raise, sparse_zeros,
};
use super::{REGISTERS, SPARSE_MAX_BYTES, hash};

const MAGIC: &[u8; 4] = b"HYLL";
const HEADER_BYTES: usize = 16;
const FORM_AT: usize = 4;
const CARDINALITY_AT: usize = 8;
const DENSE: u8 = 0;
const SPARSE: u8 = 1;

/// In the last byte of the cardinality: it has to be computed anew.
const STALE: u8 = 0x80;

/// Whether a string is in the format, as far as its head tells.
pub(super) fn is_sketch(bytes: &[u8]) -> bool {
    bytes.len() >= HEADER_BYTES
        && bytes.starts_with(MAGIC)
        && match bytes[FORM_AT] {
            DENSE => bytes.len() == HEADER_BYTES + DENSE_BYTES,
            form => form == SPARSE,
        }
}

/// A sketch of the empty set.
pub(super) fn empty() -> Vec<u8> {
    let mut bytes = vec![0; HEADER_BYTES];
    bytes[..MAGIC.len()].copy_from_slice(MAGIC);
    bytes[FORM_AT] = SPARSE;
    bytes.extend_from_slice(&sparse_zeros());
    bytes
}

/// Whether its registers are dense.
pub(super) fn is_dense(bytes: &[u8]) -> bool {
    bytes[FORM_AT] == DENSE
}

/// The cardinality that is kept, if registers have not changed since.
pub(super) fn cached(bytes: &[u8]) -> Option<u64> {
    let word: [u8; 8] = bytes[CARDINALITY_AT..HEADER_BYTES]
        .try_into()
        .expect("the cardinality has eight bytes");
    (word[7] & STALE == 0).then(|| u64::from_le_bytes(word))
}

/// Keeps a cardinality.
pub(super) fn set_cached(bytes: &mut [u8], cardinality: u64) {
    bytes[CARDINALITY_AT..HEADER_BYTES].copy_from_slice(&cardinality.to_le_bytes());
}

/// Notes that the cardinality has to be computed anew.
pub(super) fn invalidate(bytes: &mut [u8]) {
    bytes[HEADER_BYTES - 1] |= STALE;
}

/// Whether an element would change the sketch.
pub(super) fn is_news(bytes: &[u8], element: &[u8]) -> Result<bool, Corrupted> {
    let (index, value) = hash::place(element);
    let registers = &bytes[HEADER_BYTES..];
    let held = if is_dense(bytes) {
        dense_get(registers, index)
    } else {
        sparse_get(registers, index)?
    };
    Ok(held < value)
}

/// Adds an element; false if that changes nothing.
pub(super) fn add(bytes: &mut Vec<u8>, element: &[u8]) -> Result<bool, Corrupted> {
    let (index, value) = hash::place(element);
    let raised = raise(bytes, index, value)?;
    if raised {
        invalidate(bytes);
    }
    Ok(raised)
}

/// Raises a register; false if it is not less.
pub(super) fn raise(bytes: &mut Vec<u8>, index: usize, value: u8) -> Result<bool, Corrupted> {
    if !is_dense(bytes) {
        match sparse_raise(bytes, HEADER_BYTES, index, value, SPARSE_MAX_BYTES) {
            Ok(raised) => return Ok(raised),
            Err(Refusal::Corrupted) => return Err(Corrupted),
            Err(Refusal::TooLarge) => make_dense(bytes)?,
        }
    }
    Ok(dense_raise(&mut bytes[HEADER_BYTES..], index, value))
}

/// Brings the registers into the dense form.
pub(super) fn make_dense(bytes: &mut Vec<u8>) -> Result<(), Corrupted> {
    if is_dense(bytes) {
        return Ok(());
    }
    let mut registers = vec![0; DENSE_BYTES];
    sparse_each(&bytes[HEADER_BYTES..], |value, first, len| {
        for index in first..first + len {
            dense_raise(&mut registers, index, value);
        }
    })?;
    bytes.truncate(HEADER_BYTES);
    bytes[FORM_AT] = DENSE;
    bytes.extend_from_slice(&registers);
    Ok(())
}

/// The values of all registers.
pub(super) type Values = [u8; REGISTERS];

/// Raises `values` to those of a sketch.
pub(super) fn merge_into(values: &mut Values, bytes: &[u8]) -> Result<(), Corrupted> {
    let registers = &bytes[HEADER_BYTES..];
    if is_dense(bytes) {
        for (index, value) in values.iter_mut().enumerate() {
            *value = (*value).max(dense_get(registers, index));
        }
        return Ok(());
    }
    sparse_each(registers, |held, first, len| {
        for value in &mut values[first..first + len] {
            *value = (*value).max(held);
        }
    })
}

/// The cardinality that the registers stand for.
pub(super) fn count(bytes: &[u8]) -> Result<u64, Corrupted> {
    let registers = &bytes[HEADER_BYTES..];
    let mut histogram = Histogram::default();
    if is_dense(bytes) {
        (0..REGISTERS).for_each(|index| histogram.add(dense_get(registers, index), 1));
    } else {
        let mut covered = 0;
        for run in runs(registers) {
            covered += run.len;
            histogram.add(run.value, run.len);
        }
        if covered != REGISTERS {
            return Err(Corrupted);
        }
    }
    Ok(histogram.cardinality())
}

/// The cardinality that these registers stand for.
pub(super) fn count_values(values: &Values) -> u64 {
    let mut histogram = Histogram::default();
    values.iter().for_each(|&value| histogram.add(value, 1));
    histogram.cardinality()
}

/// The runs of a sketch with sparse registers, as PFDEBUG shows them.
pub(super) fn describe(bytes: &[u8]) -> String {
    let runs = runs(&bytes[HEADER_BYTES..]).map(|run| match (run.value, run.is_long()) {
        (0, false) => format!("z:{}", run.len),
        (0, true) => format!("Z:{}", run.len),
        (value, _) => format!("v:{value},{}", run.len),
    });
    runs.collect::<Vec<_>>().join(" ")
}
