//! What each command does to the keyspace.
//!
//! Pure: a command sees a [`ReadContext`] or a [`WriteContext`], its arguments, and an encoder for
//! its reply. Time and randomness come with the context. One table ([`lookup`]) describes all
//! commands and drives look-up, arity errors, `COMMAND`, and where a request runs. Commands that
//! concern the connection or the node stand in the table too, but as a [`NodeCommand`] that the
//! `node` module carries out.

mod authority;
mod authority_reads;
mod bit;
mod bit_scan;
mod bitfield;
mod bitop;
mod block;
mod block_list;
mod calls;
mod categories;
mod client;
mod cluster;
mod command;
mod connection;
mod context;
mod decimal;
mod diagnostics;
pub mod docs;
mod double;
mod dump;
mod error;
pub mod events;
mod expire;
mod fence;
mod field;
mod flush;
mod geo;
mod glob;
mod hash;
mod hash_number;
mod hash_walk;
mod hyperloglog;
mod introspection;
mod key_positions;
mod keys;
mod lcs;
mod list;
mod list_edit;
mod list_move;
#[cfg(test)]
mod list_tests;
mod listing;
mod memory_usage;
mod node_command;
mod number;
mod object;
mod parse;
mod prefix;
mod pubsub;
mod random;
mod range;
mod registry;
mod rename;
mod scan;
mod script;
mod server;
mod set;
mod set_algebra;
mod set_options;
mod set_random;
mod share;
mod sort;
mod sorted_set;
mod stream;
mod string;
mod string_multi;
mod string_ref;
#[cfg(test)]
mod string_tests;
#[cfg(test)]
mod testing;
pub mod touch;
mod transaction;
mod write_context;

pub use block::{Blocked, Unblocked, run_waiting, timeout_of, wants_only_new};
pub use calls::{Called, Calls, Runs, Wants};
pub use categories::{categories_of, category_names};
pub use command::{
    Arity, Category, Command, DEFAULT, Flag, Group, Handler, Idle, Nothing, ReadHandler, Spread,
    Timeout, WriteHandler,
};
pub use context::{Counters, Published, ReadContext};
pub use error::CommandError;
pub use hyperloglog::self_test as self_test_sketches;
pub use key_positions::Keys;
pub use node_command::NodeCommand;
pub use parse::{int32, is_option};
pub use registry::{Known, all, by_id, check_arity, count, find, lookup, lookup_logged};
#[cfg(test)]
pub use script::testing_sight;
pub use script::{
    Attendant, RunningFunction, STACK_BYTES as SCRIPT_STACK_BYTES, Scripts, Sight, attend,
    outside_log, within, write_stats as write_function_stats,
};
pub use share::{Page, ScanRequest, scan_request};
pub use string_ref::{StringRef, check_string_len};
pub use write_context::WriteContext;

/// Whether all of `string` matches a pattern in Redis's glob dialect.
#[must_use]
pub fn glob_matches(pattern: &[u8], string: &[u8]) -> bool {
    glob::Glob::new(pattern).matches(string)
}

/// A command's outcome: its reply has been written, or the error is the reply.
pub type Outcome = Result<(), CommandError>;
