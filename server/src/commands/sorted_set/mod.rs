//! Sorted sets: the commands that begin with Z.
//!
//! Rows and handlers stand in the modules: members and scores one by one (`member`), adding
//! (`add`), ranges (`range`, with the ends in `bounds`), removing (`remove`), whole sets combined
//! (`combine`), a random choice (`sample`), waiting for members (`block`). Here is what they share:
//! looking a set up, and writing its members.
//!
//! A command checks its arguments in Redis's order before it looks at a key, because the first
//! mistake decides the error.

pub(super) mod add;
pub(super) mod block;
pub(super) mod bounds;
pub(super) mod combine;
mod combine_options;
#[cfg(test)]
mod combine_tests;
pub(super) mod member;
pub(super) mod range;
mod range_query;
pub(super) mod remove;
pub(super) mod sample;
#[cfg(test)]
mod tests;

use bailiwick_frame::{Encoder, Protocol};

use super::{Category, Command, DEFAULT, Flag, Group, Keys};
use crate::keyspace::Scored;

const WRITE: u32 = Flag::Write as u32;
const WRITE_FAST: u32 = WRITE | Flag::Fast as u32;
const WRITE_DENYOOM: u32 = WRITE | Flag::Denyoom as u32;
const READ: u32 = Flag::Readonly as u32;
const READ_FAST: u32 = READ | Flag::Fast as u32;

/// What most rows have in common.
const ROW: Command = Command {
    categories: Category::Sortedset as u32,
    keys: Keys::FIRST,
    group: Group::SortedSet,
    ..DEFAULT
};

/// Writes the head of a list of `len` members with or without scores.
fn write_head(len: usize, with_scores: bool, out: &mut Encoder<'_>) {
    let is_flat = with_scores && out.protocol() == Protocol::Resp2;
    out.array(if is_flat { 2 * len } else { len });
}

/// Writes a member of such a list. RESP3 pairs it with its score, RESP2 has both one after the
/// other.
fn write_member((member, score): Scored<'_>, with_score: bool, out: &mut Encoder<'_>) {
    if with_score && out.protocol() == Protocol::Resp3 {
        out.array(2);
    }
    out.bulk(member);
    if with_score {
        out.double(score);
    }
}

/// Writes a whole list.
fn write_members<'a>(
    members: impl Iterator<Item = Scored<'a>>,
    len: usize,
    with_scores: bool,
    out: &mut Encoder<'_>,
) {
    write_head(len, with_scores, out);
    members.for_each(|member| write_member(member, with_scores, out));
}

/// Writes a score, or null where there is none.
fn write_score(score: Option<f64>, out: &mut Encoder<'_>) {
    match score {
        Some(score) => out.double(score),
        None => out.null(),
    }
}
