//! What is searched: a circle or a box, the cells that cover it, and what lies inside.

use super::position::{Area, Cell, Position, STEPS_MAX};

/// Half the length of the equator in the Mercator projection, in meters.
const MERCATOR_MAX_M: f64 = 20_037_726.37;

/// The ways from a cell to itself and to its neighbours, as cells to the east and to the north, in
/// the order in which Redis looks into them.
const AROUND: [(i32, i32); 9] = [
    (0, 0),
    (0, 1),
    (0, -1),
    (1, 0),
    (-1, 0),
    (1, 1),
    (-1, 1),
    (1, -1),
    (-1, -1),
];

/// How far it is searched around a place, in meters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Extent {
    Radius(f64),
    Box { width_m: f64, height_m: f64 },
}

/// A place and its surroundings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Shape {
    pub(super) center: Position,
    pub(super) extent: Extent,
}

impl Shape {
    /// The distance of a position from the center, in meters, if the position lies inside.
    pub(super) fn distance_m(&self, position: Position) -> Option<f64> {
        match self.extent {
            Extent::Radius(radius_m) => {
                let distance_m = self.center.distance_m(position);
                (distance_m <= radius_m).then_some(distance_m)
            }
            Extent::Box { width_m, height_m } => {
                if position.distance_in_latitude_m(self.center) > height_m / 2.0 {
                    return None;
                }
                let beside = Position {
                    longitude: self.center.longitude,
                    latitude: position.latitude,
                };
                let is_inside = position.distance_m(beside) <= width_m / 2.0;
                is_inside.then(|| self.center.distance_m(position))
            }
        }
    }

    /// Cells that cover the shape, none of them twice.
    pub(super) fn cells(&self) -> Vec<Cell> {
        let bounds = self.bounds();
        let mut center = Cell::around(self.center, self.steps());
        if center.steps > 1 && !neighbours_cover(center, &bounds) {
            center = Cell::around(self.center, center.steps - 1);
        }
        let area = center.area();
        let is_needed = |(east, north): (i32, i32)| {
            // The grid has so few cells that a neighbour may be on either side.
            center.steps < 2
                || !((north < 0 && area.latitude.start < bounds.latitude.start)
                    || (north > 0 && area.latitude.end > bounds.latitude.end)
                    || (east < 0 && area.longitude.start < bounds.longitude.start)
                    || (east > 0 && area.longitude.end > bounds.longitude.end))
        };
        let mut cells = Vec::with_capacity(AROUND.len());
        for way in AROUND.into_iter().filter(|&way| is_needed(way)) {
            let cell = center.neighbour(way.0, way.1);
            if !cells.contains(&cell) {
                cells.push(cell);
            }
        }
        cells
    }

    fn bounds(&self) -> Area {
        match self.extent {
            Extent::Radius(radius_m) => Area::around(self.center, radius_m, radius_m),
            Extent::Box { width_m, height_m } => {
                Area::around(self.center, width_m / 2.0, height_m / 2.0)
            }
        }
    }

    /// The finest grid in which a cell and its neighbours probably cover the shape.
    fn steps(&self) -> u32 {
        let mut range_m = match self.extent {
            Extent::Radius(radius_m) => radius_m,
            Extent::Box { width_m, height_m } => {
                ((width_m / 2.0) * (width_m / 2.0) + (height_m / 2.0) * (height_m / 2.0)).sqrt()
            }
        };
        if range_m == 0.0 {
            return STEPS_MAX;
        }
        let mut steps = -1;
        while range_m < MERCATOR_MAX_M {
            range_m *= 2.0;
            steps += 1;
        }
        // Cells are narrow near the poles.
        let latitude = self.center.latitude.abs();
        steps -= i32::from(latitude > 66.0) + i32::from(latitude > 80.0);
        steps.clamp(1, STEPS_MAX as i32) as u32
    }
}

/// Whether the bounds end within the neighbours of a cell.
fn neighbours_cover(center: Cell, bounds: &Area) -> bool {
    let area = |east, north| center.neighbour(east, north).area();
    area(0, 1).latitude.end >= bounds.latitude.end
        && area(0, -1).latitude.start <= bounds.latitude.start
        && area(1, 0).longitude.end >= bounds.longitude.end
        && area(-1, 0).longitude.start <= bounds.longitude.start
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn position() -> impl Strategy<Value = Position> {
        (-180.0..180.0f64, -85.0..85.0f64).prop_map(|(longitude, latitude)| Position {
            longitude,
            latitude,
        })
    }

    proptest! {
        // Not near the poles, nor across the 180th meridian: there Redis misses places, too.
        #[test]
        fn whatever_lies_inside_lies_in_a_cell(
            center in (-120.0..120.0f64, -60.0..60.0f64),
            toward in position(),
            part in 0.0..1.0f64,
            size_m in 1.0..2_000_000.0f64,
            is_box: bool,
        ) {
            let center = Position { longitude: center.0, latitude: center.1 };
            let extent = match is_box {
                true => Extent::Box { width_m: size_m, height_m: size_m / 2.0 },
                false => Extent::Radius(size_m),
            };
            let shape = Shape { center, extent };
            let cells = shape.cells();
            let between = |from: f64, to: f64| from + (to - from) * part * part;
            let place = Position {
                longitude: between(center.longitude, toward.longitude),
                latitude: between(center.latitude, toward.latitude),
            };
            if shape.distance_m(place).is_some() {
                let score = place.score();
                let holds = |cell: &Cell| {
                    let (low, high) = cell.scores();
                    (low..high).contains(&score)
                };
                prop_assert_eq!(cells.iter().filter(|cell| holds(cell)).count(), 1);
            }
        }
    }

    #[test]
    fn a_large_search_looks_into_no_cell_twice() {
        let center = Position {
            longitude: 10.0,
            latitude: 10.0,
        };
        let everything = Shape {
            center,
            extent: Extent::Radius(2e7),
        };
        assert_eq!(everything.cells().len(), 4);
        let nothing = Shape {
            center,
            extent: Extent::Radius(0.0),
        };
        assert!(
            nothing
                .cells()
                .iter()
                .all(|cell| cell.steps >= STEPS_MAX - 1)
        );
    }
}
