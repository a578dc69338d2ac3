//! The data: keys, values and expiries in numbered logical databases.
//!
//! Pure: no clock, no random source, no I/O and no commands. Everything that depends on time or
//! chance gets it as an argument, so that every replica that applies the same log holds the same
//! keyspace.

mod access;
mod aggregate;
mod awaited;
mod change;
mod databases;
mod entry;
mod garbage;
mod hash;
mod hash_tree;
mod int_set;
pub mod list;
mod listing;
mod packed;
mod prefetch;
mod realm;
mod realms;
#[cfg(test)]
mod realms_tests;
mod segment;
mod set;
mod sorted_set;
pub mod stream;
mod table;
#[cfg(test)]
mod table_tests;
mod undo;
mod value;
mod watch;

pub use access::{AccessClock, AccessPolicy};
pub use aggregate::{Aggregate, Elements, Parts};
pub use awaited::Awaited;
pub use databases::Keyspace;
pub use entry::{Entry, Stamp};
pub use garbage::Garbage;
pub use hash::Hash;
pub use list::List;
pub use listing::{FrozenKeyspace, FrozenRealm, Sampler};
pub use prefetch::LOOK_AHEAD;
pub use realm::{Changes, Visibility};
pub use segment::{KeyHash, SEGMENT_MAX_ENTRIES, Segment};
pub use set::{Member, Set};
pub use sorted_set::{Scored, SortedSet, Walk};
pub use stream::{Stream, StreamId};
pub use table::{Edit, Expiry, Frozen, Table};
pub use value::{Fenced, INLINE_MAX_BYTES, NewValue, Object, ValueRef, parse_canonical_int};
pub use watch::{CREATION_SLOTS, WatchState};
