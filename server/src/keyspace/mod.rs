//! The data: keys, values and expiries in numbered logical databases.
//!
//! Pure: no clock, no random source, no I/O and no commands. Everything that depends on time or
//! chance gets it as an argument, so that every replica that applies the same log holds the same
//! keyspace.

mod access;
mod databases;
mod entry;
mod segment;
mod table;
#[cfg(test)]
mod table_tests;
mod value;

pub use access::{AccessClock, AccessPolicy};
pub use databases::{Keyspace, WatchState};
pub use entry::{Entry, Stamp};
pub use segment::{Hash, SEGMENT_MAX_ENTRIES, Segment};
pub use table::{Expiry, Frozen, Table};
pub use value::{INLINE_MAX_BYTES, NewValue, Object, ValueRef, parse_canonical_int};
