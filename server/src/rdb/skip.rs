//! How long a serialized value is, without reading it.

use super::input::{Input, Stop};
use super::kind;

/// How a value is made up.
enum Shape {
    /// A single string, be it a block.
    String,
    /// A number of elements, of so many strings each.
    Strings(usize),
    /// A number of elements: a string and a score as text.
    TextScores,
    /// A number of elements: a string and a score of eight bytes.
    BinaryScores,
    /// A number of nodes: a form and a string.
    Nodes,
    /// A stream of this version.
    Stream(u8),
}

/// Goes past a value of this type.
pub(super) fn skip_value(kind: u8, input: &mut Input<'_>) -> Result<(), Stop> {
    let shape = match kind {
        kind::STRING
        | kind::HASH_ZIPMAP
        | kind::LIST_ZIPLIST
        | kind::SET_INTSET
        | kind::ZSET_ZIPLIST
        | kind::HASH_ZIPLIST
        | kind::HASH_LISTPACK
        | kind::ZSET_LISTPACK
        | kind::SET_LISTPACK => Shape::String,
        kind::LIST | kind::SET | kind::LIST_QUICKLIST => Shape::Strings(1),
        kind::HASH => Shape::Strings(2),
        kind::ZSET => Shape::TextScores,
        kind::ZSET_2 => Shape::BinaryScores,
        kind::LIST_QUICKLIST_2 => Shape::Nodes,
        kind::STREAM => Shape::Stream(1),
        kind::STREAM_2 => Shape::Stream(2),
        kind::STREAM_3 => Shape::Stream(3),
        _ => return Err(Stop::Malformed),
    };
    match shape {
        Shape::String => input.skip_string(),
        Shape::Strings(each) => repeat(input, |input| {
            (0..each).try_for_each(|_| input.skip_string())
        }),
        Shape::TextScores => repeat(input, |input| {
            input.skip_string()?;
            input.text_double().map(|_| ())
        }),
        Shape::BinaryScores => repeat(input, |input| {
            input.skip_string()?;
            input.bytes(8).map(|_| ())
        }),
        Shape::Nodes => repeat(input, |input| {
            input.length()?;
            input.skip_string()
        }),
        Shape::Stream(version) => skip_stream(input, version),
    }
}

/// Goes past so many elements as the input says.
fn repeat(
    input: &mut Input<'_>,
    mut skip: impl FnMut(&mut Input<'_>) -> Result<(), Stop>,
) -> Result<(), Stop> {
    let count = input.length()?;
    for _ in 0..count {
        skip(input)?;
    }
    Ok(())
}

fn skip_stream(input: &mut Input<'_>, version: u8) -> Result<(), Stop> {
    repeat(input, |input| {
        input.skip_string()?;
        input.skip_string()
    })?;
    // Length and last id; first id, highest deleted id, and how many there ever were.
    let numbers = if version >= 2 { 8 } else { 3 };
    skip_lengths(input, numbers)?;
    repeat(input, |input| {
        input.skip_string()?;
        skip_lengths(input, if version >= 2 { 3 } else { 2 })?;
        repeat(input, |input| {
            input.bytes(16 + 8)?;
            skip_lengths(input, 1)
        })?;
        repeat(input, |input| {
            input.skip_string()?;
            input.bytes(if version >= 3 { 16 } else { 8 })?;
            repeat(input, |input| input.bytes(16).map(|_| ()))
        })
    })
}

fn skip_lengths(input: &mut Input<'_>, count: usize) -> Result<(), Stop> {
    (0..count).try_for_each(|_| input.length().map(|_| ()))
}
