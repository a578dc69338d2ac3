//! Positions on the earth, the cells of a grid around them, and distances.
//!
//! A grid of `steps` steps halves longitudes and latitudes so many times, so it has `4^steps`
//! cells. The bits of a cell's two numbers take turns in its hash, that of the longitude first, so
//! cells near each other often have hashes that begin alike. With 26 steps the hash has 52 bits: it
//! is the score of a place in a sorted set, and a coarser cell is a range of scores.
//!
//! The earth is a sphere here, as in Redis. The mathematical functions are those of `libm`, whose
//! results, unlike the system's, are the same on every machine: distances are stored, and decide
//! what is stored, so replicas must agree on their last bit.

use std::ops::Range;

/// Steps of the finest grid.
pub(super) const STEPS_MAX: u32 = 26;

const LONGITUDE_MAX: f64 = 180.0;
/// What the Mercator projection shows; so Redis ends here, too.
const LATITUDE_MAX: f64 = 85.051_128_78;

const EARTH_RADIUS_M: f64 = 6_372_797.560_856;

/// A point on the earth, in degrees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Position {
    pub(super) longitude: f64,
    pub(super) latitude: f64,
}

impl Position {
    /// Whether the grid covers it.
    pub(super) fn is_valid(self) -> bool {
        self.longitude.abs() <= LONGITUDE_MAX && self.latitude.abs() <= LATITUDE_MAX
    }

    /// The position that a score stands for: the middle of a finest cell.
    pub(super) fn of_score(score: f64) -> Self {
        let area = Cell::of_score(score).area();
        let middle =
            |range: Range<f64>, max: f64| ((range.start + range.end) / 2.0).clamp(-max, max);
        Self {
            longitude: middle(area.longitude, LONGITUDE_MAX),
            latitude: middle(area.latitude, LATITUDE_MAX),
        }
    }

    /// The score of the finest cell around this position.
    pub(super) fn score(self) -> f64 {
        Cell::around(self, STEPS_MAX).hash() as f64
    }

    /// The distance along the surface, in meters.
    pub(super) fn distance_m(self, other: Self) -> f64 {
        let v = libm::sin((radians(other.longitude) - radians(self.longitude)) / 2.0);
        if v == 0.0 {
            return self.distance_in_latitude_m(other);
        }
        let (here, there) = (radians(self.latitude), radians(other.latitude));
        let u = libm::sin((there - here) / 2.0);
        let a = u * u + libm::cos(here) * libm::cos(there) * v * v;
        2.0 * EARTH_RADIUS_M * libm::asin(a.sqrt())
    }

    /// The distance to the other's circle of latitude, in meters.
    pub(super) fn distance_in_latitude_m(self, other: Self) -> f64 {
        EARTH_RADIUS_M * (radians(other.latitude) - radians(self.latitude)).abs()
    }

    /// The standard geohash of eleven characters. It divides all latitudes to the poles, so its
    /// bits are not those of the score. There are 52 of them, so the last character is always `0`.
    pub(super) fn geohash(self) -> [u8; 11] {
        const ALPHABET: &[u8; 32] = b"0123456789bcdefghjkmnpqrstuvwxyz";
        let cell = Cell {
            x: offset(self.longitude, LONGITUDE_MAX, STEPS_MAX),
            y: offset(self.latitude, 90.0, STEPS_MAX),
            steps: STEPS_MAX,
        };
        let hash = cell.hash();
        std::array::from_fn(|at| match at {
            10 => ALPHABET[0],
            _ => ALPHABET[(hash >> (47 - 5 * at)) as usize & 31],
        })
    }
}

/// A rectangle of longitudes and latitudes, in degrees.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Area {
    pub(super) longitude: Range<f64>,
    pub(super) latitude: Range<f64>,
}

impl Area {
    /// The rectangle around so many meters in each direction. It is as wide as its end nearer to a
    /// pole needs.
    pub(super) fn around(center: Position, width_m: f64, height_m: f64) -> Self {
        let latitude_delta = degrees(height_m / EARTH_RADIUS_M);
        let polar = if center.latitude < 0.0 {
            center.latitude - latitude_delta
        } else {
            center.latitude + latitude_delta
        };
        let longitude_delta = degrees(width_m / EARTH_RADIUS_M / libm::cos(radians(polar)));
        let range = |middle: f64, delta: f64| middle - delta..middle + delta;
        Self {
            longitude: range(center.longitude, longitude_delta),
            latitude: range(center.latitude, latitude_delta),
        }
    }
}

/// A cell of the grid of `steps` steps: `x` counts from the west, `y` from the south.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    x: u32,
    y: u32,
    pub(super) steps: u32,
}

impl Cell {
    pub(super) fn around(position: Position, steps: u32) -> Self {
        Self {
            x: offset(position.longitude, LONGITUDE_MAX, steps),
            y: offset(position.latitude, LATITUDE_MAX, steps),
            steps,
        }
    }

    /// The cell of any score, also of one that no place has.
    fn of_score(score: f64) -> Self {
        // Negative scores wrap, as they do in Redis.
        let hash = if score < 0.0 {
            score as i64 as u64
        } else {
            score as u64
        };
        Self {
            x: gather(hash >> 1),
            y: gather(hash),
            steps: STEPS_MAX,
        }
    }

    /// Its neighbour so many cells to the east and to the north; the grid has no edges.
    pub(super) fn neighbour(self, east: i32, north: i32) -> Self {
        let mask = (1 << self.steps) - 1;
        Self {
            x: self.x.wrapping_add_signed(east) & mask,
            y: self.y.wrapping_add_signed(north) & mask,
            ..self
        }
    }

    pub(super) fn area(self) -> Area {
        let range = |number: u32, max: f64| {
            let cells = (1u64 << self.steps) as f64;
            let end = |number: f64| -max + (number / cells) * (2.0 * max);
            end(f64::from(number))..end(f64::from(number) + 1.0)
        };
        Area {
            longitude: range(self.x, LONGITUDE_MAX),
            latitude: range(self.y, LATITUDE_MAX),
        }
    }

    /// The lowest score in the cell, and the lowest behind it.
    pub(super) fn scores(self) -> (f64, f64) {
        let shift = 2 * (STEPS_MAX - self.steps);
        let hash = self.hash();
        ((hash << shift) as f64, ((hash + 1) << shift) as f64)
    }

    fn hash(self) -> u64 {
        spread(self.x) << 1 | spread(self.y)
    }
}

/// The number of the cell in which a coordinate between `-max` and `max` lies.
fn offset(coordinate: f64, max: f64, steps: u32) -> u32 {
    ((coordinate + max) / (2.0 * max) * (1u64 << steps) as f64) as u32
}

/// The bits of a number, each followed by a 0 above it.
fn spread(number: u32) -> u64 {
    const MASKS: [(u32, u64); 5] = [
        (16, 0x0000_ffff_0000_ffff),
        (8, 0x00ff_00ff_00ff_00ff),
        (4, 0x0f0f_0f0f_0f0f_0f0f),
        (2, 0x3333_3333_3333_3333),
        (1, 0x5555_5555_5555_5555),
    ];
    let step = |bits: u64, (shift, mask): (u32, u64)| (bits | bits << shift) & mask;
    MASKS.into_iter().fold(number.into(), step)
}

/// Every other bit of a hash: undoes [`spread`].
fn gather(hash: u64) -> u32 {
    const MASKS: [(u32, u64); 5] = [
        (1, 0x3333_3333_3333_3333),
        (2, 0x0f0f_0f0f_0f0f_0f0f),
        (4, 0x00ff_00ff_00ff_00ff),
        (8, 0x0000_ffff_0000_ffff),
        (16, 0x0000_0000_ffff_ffff),
    ];
    let step = |bits: u64, (shift, mask): (u32, u64)| (bits | bits >> shift) & mask;
    MASKS.into_iter().fold(hash & 0x5555_5555_5555_5555, step) as u32
}

fn radians(degrees: f64) -> f64 {
    degrees * (std::f64::consts::PI / 180.0)
}

fn degrees(radians: f64) -> f64 {
    radians / (std::f64::consts::PI / 180.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PALERMO: Position = Position {
        longitude: 13.361389,
        latitude: 38.115556,
    };
    const CATANIA: Position = Position {
        longitude: 15.087269,
        latitude: 37.502669,
    };

    #[test]
    fn scores_hashes_and_distances_are_those_of_redis() {
        assert_eq!(PALERMO.score(), 3_479_099_956_230_698.0);
        assert_eq!(CATANIA.score(), 3_479_447_370_796_909.0);
        assert_eq!(&PALERMO.geohash(), b"sqc8b49rny0");
        assert_eq!(&CATANIA.geohash(), b"sqdtr74hyu0");
        let [palermo, catania] = [PALERMO, CATANIA].map(|place| Position::of_score(place.score()));
        assert_eq!(format!("{:.17}", palermo.longitude), "13.36138933897018433");
        assert_eq!(format!("{:.17}", palermo.latitude), "38.11555639549629859");
        assert_eq!(format!("{:.4}", palermo.distance_m(catania)), "166274.1516");
    }

    proptest! {
        #[test]
        fn a_position_lies_in_its_cells_and_their_scores(
            longitude in -180.0..180.0f64,
            latitude in -85.0..85.0f64,
            steps in 1..=STEPS_MAX,
        ) {
            let position = Position { longitude, latitude };
            let cell = Cell::around(position, steps);
            let area = cell.area();
            prop_assert!(area.longitude.contains(&longitude));
            prop_assert!(area.latitude.contains(&latitude));
            let (low, high) = cell.scores();
            prop_assert!((low..high).contains(&position.score()));
            let east = cell.neighbour(1, 0);
            prop_assert_eq!(east.neighbour(-1, 0), cell);
            prop_assert_eq!(Cell::of_score(position.score()), Cell::around(position, STEPS_MAX));
        }

        #[test]
        fn bits_are_spread_and_gathered(x: u32, y: u32) {
            let hash = spread(x) << 1 | spread(y);
            prop_assert_eq!((gather(hash >> 1), gather(hash)), (x, y));
        }
    }
}
