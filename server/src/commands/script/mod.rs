//! Lua scripts and functions: EVAL and its like, SCRIPT, FUNCTION, FCALL.
//!
//! A script is a command of the log like any other: each replica runs it where it stands in the
//! log, with the entry's time and seed. So a script must do the same everywhere, and the modules
//! here see to that: what could differ is hidden, made the same, or refused (`engine.rs` for Lua's
//! state, `raw.rs` for Lua's functions, `call.rs` for commands, `random.rs` for chance). Scripts
//! that only read (EVAL_RO, EVALSHA_RO, FCALL_RO) run where reads run.
//!
//! * `store`: which scripts and libraries a group knows; replicated.
//! * `eval`, `functions`: the commands. `flags`: first lines. `payload`: what FUNCTION DUMP writes.
//! * `run`: a run with its undo. `current`: the script that runs. `attend`: who looks on. `engine`:
//!   Lua. `prelude.lua`: the globals. `raw`, `stock`: functions that stand in for Lua's own.
//!   `bounds`: what Lua does not bound.
//! * `call`, `api`, `convert`, `listing`, `library`: what `redis` offers.
//! * `json`, `pack`, `bits`, `structs`: the libraries `cjson`, `cmsgpack`, `bit` and `struct`.
//!
//! **Keys.** Those that a script names decide where it runs. It may use others, but a key that the
//! group does not serve ends it without a trace, and the request is asked for where that key is,
//! unless the script has used a key of this group: then nobody can run it, and it is refused.
//!
//! **Limits.** A script that makes `MAX_STEPS` is ended on all replicas at the same step. Until
//! then nothing else happens in the group, and nobody can end it earlier if it stands in the log,
//! since replicas would have to agree on when. What only reads outside the log can be ended by
//! SCRIPT KILL and FUNCTION KILL. Work that Lua does within one instruction, such as matching a
//! hard pattern, is not counted.
//!
//! **Libraries** are loaded anew for each call of one of their functions. What they keep in local
//! variables lasts for one call: replicas that have started at different times would differ
//! otherwise.

mod api;
mod attend;
#[cfg(test)]
mod attend_tests;
mod bits;
mod bounds;
#[cfg(test)]
mod bounds_tests;
mod call;
mod convert;
mod current;
mod engine;
pub(super) mod eval;
mod flags;
pub(super) mod functions;
#[cfg(test)]
mod fuzz_tests;
mod json;
mod library;
mod listing;
mod pack;
mod payload;
mod random;
mod raw;
#[cfg(test)]
mod replica_tests;
mod run;
mod stock;
mod store;
mod structs;
#[cfg(test)]
mod tests;
mod value;

#[cfg(test)]
pub use attend::testing_sight;
pub use attend::{Attendant, Sight, attend, outside_log, within};
pub use functions::{RunningFunction, write_stats};
pub use store::Scripts;

/// What the stack of a thread must have on which scripts run, which is every thread that applies
/// entries or serves reads. 200 calls from C into Lua, of which each may hold a buffer of 8 KiB (as
/// `gsub` does), take more than the 2 MiB that threads have by default.
pub const STACK_BYTES: usize = 16 << 20;
