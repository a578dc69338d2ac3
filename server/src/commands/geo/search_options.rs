//! The arguments of GEOSEARCH, GEOSEARCHSTORE and the older GEORADIUS family.

use bailiwick_frame::Args;

use super::position::Position;
use super::shape::{Extent, Shape};
use super::{position, unit_m};
use crate::commands::double::double;
use crate::commands::parse::integer;
use crate::commands::{CommandError, is_option};
use crate::keyspace::SortedSet;

const NO_MEMBER: CommandError = CommandError::text("ERR could not decode requested zset member");
const NO_RADIUS: CommandError = CommandError::text("ERR need numeric radius");
const NEGATIVE_RADIUS: CommandError = CommandError::text("ERR radius cannot be negative");
const NO_WIDTH: CommandError = CommandError::text("ERR need numeric width");
const NO_HEIGHT: CommandError = CommandError::text("ERR need numeric height");
const NEGATIVE_BOX: CommandError = CommandError::text("ERR height or width cannot be negative");
const NO_COUNT: CommandError = CommandError::text("ERR COUNT must be > 0");
const ANY_ALONE: CommandError = CommandError::text("ERR the ANY argument requires COUNT argument");

/// The commands differ in how the shape is given, and in whether the result may be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// GEORADIUS: position and radius stand first.
    Radius { stores: bool },
    /// GEORADIUSBYMEMBER: member and radius stand first.
    RadiusByMember { stores: bool },
    /// GEOSEARCH: everything is an option.
    Search,
    /// GEOSEARCHSTORE: the same behind the key where the result is stored.
    SearchStore,
}

impl Form {
    fn is_search(self) -> bool {
        matches!(self, Self::Search | Self::SearchStore)
    }

    /// Whether STORE and STOREDIST are options with a key.
    fn has_store_option(self) -> bool {
        matches!(
            self,
            Self::Radius { stores: true } | Self::RadiusByMember { stores: true }
        )
    }
}

/// In which order places are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    None,
    Nearest,
    Farthest,
}

/// Where the result goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Target<'a> {
    pub(super) key: &'a [u8],
    /// Whether distances become scores, instead of the places' own scores.
    pub(super) distances: bool,
}

/// Around what is searched.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Origin {
    Position(Position),
    /// A member's position; none if there is no set in which it could be.
    Member(Option<Position>),
}

/// What is asked for.
pub(super) struct Request<'a> {
    origin: Option<Origin>,
    extent: Option<Extent>,
    /// Meters in the unit of the request.
    pub(super) unit_m: f64,
    pub(super) order: Order,
    /// At most so many places; 0 for all.
    pub(super) count: usize,
    /// Any places will do, not only the nearest.
    pub(super) any: bool,
    pub(super) with_distance: bool,
    pub(super) with_hash: bool,
    pub(super) with_position: bool,
    pub(super) target: Option<Target<'a>>,
}

impl<'a> Request<'a> {
    /// Reads the arguments; `set` is the one that is searched.
    pub(super) fn parse(
        args: Args<'a>,
        form: Form,
        set: Option<&SortedSet>,
    ) -> Result<Self, CommandError> {
        let mut request = Self {
            origin: None,
            extent: None,
            unit_m: 1.0,
            order: Order::None,
            count: 0,
            any: false,
            with_distance: false,
            with_hash: false,
            with_position: false,
            target: None,
        };
        let mut at = match form {
            Form::Radius { .. } => {
                request.origin = Some(Origin::Position(position(args, 2)?));
                request.set_radius(args, 4)?;
                6
            }
            Form::RadiusByMember { .. } => {
                request.set_member(set, args.arg(2))?;
                // Redis does not look at the radius if there is nothing to search.
                if set.is_some() {
                    request.set_radius(args, 3)?;
                }
                5
            }
            Form::Search => 2,
            Form::SearchStore => {
                request.target = Some(Target {
                    key: args.arg(1),
                    distances: false,
                });
                3
            }
        };
        while at < args.len() {
            at += request.option(args, at, form, set)?;
        }
        request.check(args, form)?;
        Ok(request)
    }

    /// The shape; none if there is nothing to search.
    pub(super) fn shape(&self) -> Option<Shape> {
        let center = match self.origin? {
            Origin::Position(center) => center,
            Origin::Member(center) => center?,
        };
        Some(Shape {
            center,
            extent: self.extent?,
        })
    }

    /// Reads the option at `at`; returns how many arguments it takes.
    fn option(
        &mut self,
        args: Args<'a>,
        at: usize,
        form: Form,
        set: Option<&SortedSet>,
    ) -> Result<usize, CommandError> {
        let behind = args.len() - at - 1;
        let is = |option| is_option(args, at, option);
        match () {
            () if is("withdist") => self.with_distance = true,
            () if is("withhash") => self.with_hash = true,
            () if is("withcoord") => self.with_position = true,
            () if is("any") => self.any = true,
            () if is("asc") => self.order = Order::Nearest,
            () if is("desc") => self.order = Order::Farthest,
            () if is("count") && behind >= 1 => {
                let count = integer(args.arg(at + 1))?;
                self.count = usize::try_from(count).unwrap_or(0);
                if self.count == 0 {
                    return Err(NO_COUNT);
                }
                return Ok(2);
            }
            () if form.has_store_option() && behind >= 1 && (is("store") || is("storedist")) => {
                self.target = Some(Target {
                    key: args.arg(at + 1),
                    distances: is("storedist"),
                });
                return Ok(2);
            }
            () if form == Form::SearchStore && is("storedist") => {
                self.target = self.target.map(|target| Target {
                    distances: true,
                    ..target
                });
            }
            () if form.is_search() => return self.shape_option(args, at, set),
            () => return Err(CommandError::Syntax),
        }
        Ok(1)
    }

    fn shape_option(
        &mut self,
        args: Args<'a>,
        at: usize,
        set: Option<&SortedSet>,
    ) -> Result<usize, CommandError> {
        let behind = args.len() - at - 1;
        let is = |option| is_option(args, at, option);
        let is_around_member = matches!(self.origin, Some(Origin::Member(_)));
        let is_around_position = matches!(self.origin, Some(Origin::Position(_)));
        let is_box = matches!(self.extent, Some(Extent::Box { .. }));
        let is_circle = matches!(self.extent, Some(Extent::Radius(_)));
        match () {
            () if is("frommember") && behind >= 1 && !is_around_position => {
                self.set_member(set, args.arg(at + 1))?;
                Ok(2)
            }
            () if is("fromlonlat") && behind >= 2 && !is_around_member => {
                self.origin = Some(Origin::Position(position(args, at + 1)?));
                Ok(3)
            }
            () if is("byradius") && behind >= 2 && !is_box => {
                self.set_radius(args, at + 1)?;
                Ok(3)
            }
            () if is("bybox") && behind >= 3 && !is_circle => {
                self.set_box(args, at + 1)?;
                Ok(4)
            }
            () => Err(CommandError::Syntax),
        }
    }

    fn set_member(&mut self, set: Option<&SortedSet>, member: &[u8]) -> Result<(), CommandError> {
        let center = match set {
            Some(set) => Some(Position::of_score(set.score(member).ok_or(NO_MEMBER)?)),
            None => None,
        };
        self.origin = Some(Origin::Member(center));
        Ok(())
    }

    /// Radius and unit, from argument `at` on.
    fn set_radius(&mut self, args: Args<'_>, at: usize) -> Result<(), CommandError> {
        let radius = double(args.arg(at)).map_err(|_| NO_RADIUS)?;
        if radius < 0.0 {
            return Err(NEGATIVE_RADIUS);
        }
        self.unit_m = unit_m(args, at + 1)?;
        self.extent = Some(Extent::Radius(radius * self.unit_m));
        Ok(())
    }

    /// Width, height and unit, from argument `at` on.
    fn set_box(&mut self, args: Args<'_>, at: usize) -> Result<(), CommandError> {
        let width = double(args.arg(at)).map_err(|_| NO_WIDTH)?;
        let height = double(args.arg(at + 1)).map_err(|_| NO_HEIGHT)?;
        if width < 0.0 || height < 0.0 {
            return Err(NEGATIVE_BOX);
        }
        self.unit_m = unit_m(args, at + 2)?;
        self.extent = Some(Extent::Box {
            width_m: width * self.unit_m,
            height_m: height * self.unit_m,
        });
        Ok(())
    }

    fn check(&self, args: Args<'_>, form: Form) -> Result<(), CommandError> {
        if self.target.is_some() && (self.with_distance || self.with_hash || self.with_position) {
            let what = match form {
                Form::SearchStore => "GEOSEARCHSTORE",
                _ => "STORE option in GEORADIUS",
            };
            return Err(CommandError::composed(format!(
                "ERR {what} is not compatible with WITHDIST, WITHHASH and WITHCOORD options"
            )));
        }
        let name = String::from_utf8_lossy(args.arg(0));
        if form.is_search() && self.origin.is_none() {
            return Err(CommandError::composed(format!(
                "ERR exactly one of FROMMEMBER or FROMLONLAT can be specified for {name}"
            )));
        }
        if form.is_search() && self.extent.is_none() {
            return Err(CommandError::composed(format!(
                "ERR exactly one of BYRADIUS and BYBOX can be specified for {name}"
            )));
        }
        if self.any && self.count == 0 {
            return Err(ANY_ALONE);
        }
        Ok(())
    }
}
