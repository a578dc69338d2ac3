//! Places on the earth: the commands that begin with GEO.
//!
//! A place is a member of a sorted set whose score says where it is (`position`), so everything
//! that works on sorted sets works on places. Rows and handlers stand in `place` and `search`; what
//! is searched is a `shape`.

pub(super) mod place;
mod position;
pub(super) mod search;
mod search_options;
mod shape;
#[cfg(test)]
mod tests;

use bailiwick_frame::{Args, Encoder, Protocol};

use self::position::Position;
use super::double::double;
use super::{Category, Command, CommandError, DEFAULT, Group, Keys, is_option};

const NO_UNIT: CommandError =
    CommandError::text("ERR unsupported unit provided. please use M, KM, FT, MI");

/// What most rows have in common.
const ROW: Command = Command {
    categories: Category::Geo as u32,
    keys: Keys::FIRST,
    group: Group::Geo,
    since: "3.2.0",
    ..DEFAULT
};

/// The meters in a unit of length, which is argument `at`.
fn unit_m(args: Args<'_>, at: usize) -> Result<f64, CommandError> {
    match () {
        () if is_option(args, at, "m") => Ok(1.0),
        () if is_option(args, at, "km") => Ok(1000.0),
        () if is_option(args, at, "ft") => Ok(0.3048),
        () if is_option(args, at, "mi") => Ok(1609.34),
        () => Err(NO_UNIT),
    }
}

/// The position that argument `at` and the next one name.
fn position(args: Args<'_>, at: usize) -> Result<Position, CommandError> {
    let position = Position {
        longitude: double(args.arg(at))?,
        latitude: double(args.arg(at + 1))?,
    };
    if position.is_valid() {
        return Ok(position);
    }
    Err(CommandError::composed(format!(
        "ERR invalid longitude,latitude pair {:.6},{:.6}",
        position.longitude, position.latitude
    )))
}

/// Writes a distance: a string with four decimal places, whatever the protocol.
fn write_distance(distance: f64, out: &mut Encoder<'_>) {
    // Rounded before it is printed, so that exact halves go to the even digit.
    let rounded = (distance * 10_000.0).round_ties_even() / 10_000.0;
    out.bulk_display(format_args!("{rounded:.4}"));
}

/// Writes longitude and latitude with up to seventeen decimal places.
fn write_position(position: Position, out: &mut Encoder<'_>) {
    out.array(2);
    for coordinate in [position.longitude, position.latitude] {
        let text = format!("{coordinate:.17}");
        let text = text.trim_end_matches('0').trim_end_matches('.');
        match out.protocol() {
            Protocol::Resp2 => out.bulk(text.as_bytes()),
            Protocol::Resp3 => {
                let buffer = out.buffer();
                buffer.push(b',');
                buffer.extend_from_slice(text.as_bytes());
                buffer.extend_from_slice(b"\r\n");
            }
        }
    }
}
