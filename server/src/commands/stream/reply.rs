//! How entries and IDs look in replies.

use bailiwick_frame::Encoder;

use crate::keyspace::StreamId;
use crate::keyspace::stream::Entry;

/// An ID, as a bulk string.
pub(super) fn write_id(id: StreamId, out: &mut Encoder<'_>) {
    let mut text = [0u8; 41];
    let mut number = itoa::Buffer::new();
    let mut len = 0;
    for (separator, part) in [("", id.ms), ("-", id.seq)] {
        for bytes in [separator.as_bytes(), number.format(part).as_bytes()] {
            text[len..len + bytes.len()].copy_from_slice(bytes);
            len += bytes.len();
        }
    }
    out.bulk(&text[..len]);
}

/// An entry: its ID, and names and values in one array.
pub(super) fn write_entry(entry: Entry<'_>, out: &mut Encoder<'_>) {
    out.array(2);
    write_id(entry.id, out);
    out.array(2 * entry.len());
    for (name, value) in entry.pairs() {
        name.with_bytes(|bytes| out.bulk(bytes));
        value.with_bytes(|bytes| out.bulk(bytes));
    }
}

/// Up to `limit` entries, 0 being no limit, in an array.
pub(super) fn write_entries<'a>(
    entries: impl Iterator<Item = Entry<'a>>,
    limit: u64,
    out: &mut Encoder<'_>,
) {
    let (array, mut count) = (out.deferred_array(), 0);
    for entry in entries.take(at_most(limit)) {
        write_entry(entry, out);
        count += 1;
    }
    out.finish_array(array, count);
}

/// A limit as a number of elements, 0 being none.
pub(super) fn at_most(limit: u64) -> usize {
    match limit {
        0 => usize::MAX,
        limit => usize::try_from(limit).unwrap_or(usize::MAX),
    }
}
