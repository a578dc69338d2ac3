//! How many different elements a sketch has seen, from how often each register value occurs:
//! Ertl's estimator (arXiv:1702.01284).
//!
//! The sums are in the order in which Redis does them, so both come to the same number.

use super::REGISTERS;

/// The greatest value that a hash can give a register.
const VALUE_MAX: usize = 51;

/// 0.5 / ln 2.
const ALPHA: f64 = 0.721_347_520_444_481_7;

/// How many registers have each value.
pub(super) struct Histogram([usize; 64]);

impl Default for Histogram {
    fn default() -> Self {
        Self([0; 64])
    }
}

impl Histogram {
    /// Counts `len` registers of a value below 64.
    pub(super) fn add(&mut self, value: u8, len: usize) {
        self.0[usize::from(value)] += len;
    }

    /// The number of different elements.
    pub(super) fn cardinality(&self) -> u64 {
        let registers = REGISTERS as f64;
        let share = |count: usize| count as f64 / registers;
        let full = self.0[VALUE_MAX];
        let mut sum = registers * tau((registers - full as f64) / registers);
        for value in (1..VALUE_MAX).rev() {
            sum += self.0[value] as f64;
            sum *= 0.5;
        }
        sum += registers * sigma(share(self.0[0]));
        (ALPHA * registers * registers / sum).round() as u64
    }
}

/// The correction for registers that are still 0.
fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if z == before {
            return z;
        }
    }
}

/// The correction for registers that are full.
fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = z;
        y *= 0.5;
        z -= (1.0 - x) * (1.0 - x) * y;
        if z == before {
            return z / 3.0;
        }
    }
}
