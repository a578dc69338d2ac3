//! The clocks of a node: one that never jumps, for leases, and the one on the wall.

use fastrand::Rng;

use super::{MS, SECOND};

/// When all this takes place, in milliseconds since 1970.
const EPOCH_MS: i64 = 1_700_000_000_000;

/// The clocks of a node.
pub(super) struct Clocks {
    /// The speed of the clock for leases, in thousandths.
    pub(super) speed_permille: u64,
    /// Where it began.
    offset_ns: u64,
    /// How far the clock on the wall is off.
    pub(super) wall_offset_ms: i64,
}

impl Clocks {
    /// Clocks as good as leases expect them to be.
    pub(super) fn draw(rng: &mut Rng) -> Self {
        Self {
            speed_permille: rng.u64(991..=1009),
            offset_ns: rng.u64(..1000) * SECOND,
            wall_offset_ms: rng.i64(-200..200),
        }
    }

    /// The clock that never jumps.
    pub(super) fn clock(&self, now: u64) -> u64 {
        self.offset_ns + now / 1000 * self.speed_permille
    }

    /// The clock on the wall.
    pub(super) fn wall_ms(&self, now: u64) -> i64 {
        EPOCH_MS + (now / MS) as i64 + self.wall_offset_ms
    }
}
