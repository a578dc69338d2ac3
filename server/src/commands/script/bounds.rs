//! Bounds on what functions of ours take that Lua does not count: references, bytes, work.
//!
//! A script runs on every replica, and again when the log is replayed, so nothing that it asks for
//! may bring the process down. Lua bounds what is in its own memory; here stands what bounds the
//! rest. What exceeds a bound does so on every replica at the same place.
//!
//! **References.** A value of Lua's that Rust holds takes a slot of a stack that ends at 8,000
//! slots, and mlua panics where there is none. *Invariant: fewer than [`RESERVED_VALUES`] are held
//! at any time*, since
//! * a function of ours gets [`MAX_VALUES`] arguments at most (`raw.rs` refuses more), and what it
//!   returns and what it unpacks in several levels count with them (`pack.rs`, `structs.rs`);
//! * who walks through a table holds one pair of it and those above, never all of them. The deepest
//!   walk is that of `cjson`: 1,000 levels of three values, in functions of one argument;
//! * what lasts (compiled scripts, callbacks of libraries) is in Lua's registry, which takes no
//!   slots; an engine itself holds some dozen.
//!
//! The slots are there from the beginning ([`reserve`]): growing that stack when memory is short
//! would end the process, too.

use mlua::Lua;

use super::{current, engine};

/// A function of ours is called with at most so many values, those included that it returns.
pub(super) const MAX_VALUES: usize = 7_700;
/// So many values of Lua can be held at a time.
const RESERVED_VALUES: usize = 7_900;
/// What is built outside of Lua's memory (a request, a reply, a packed text) has at most so many
/// bytes.
pub(super) const MAX_TEXT_BYTES: usize = 512 << 20;
/// What an element counts that is written or read.
const ELEMENT_STEPS: u64 = 50;
/// What a table counts besides: it is looked through, or asked for all fields that mean something.
const TABLE_STEPS: u64 = 250;
/// So many bytes that are written or read count as a step.
const BYTES_PER_STEP: u64 = 4;

/// Makes room for all values that will be held.
pub(super) fn reserve(lua: &Lua) -> mlua::Result<()> {
    let held: mlua::Result<Vec<_>> = (0..RESERVED_VALUES)
        .map(|_| lua.create_string(b""))
        .collect();
    held.map(drop)
}

/// Counts an element of `len` bytes that is about to be added to a text of `text_len` bytes.
///
/// # Errors
/// The text becomes too long, or the script has made its steps; either ends it.
pub(super) fn element(text_len: usize, len: usize) -> mlua::Result<()> {
    if text_len.saturating_add(len) > MAX_TEXT_BYTES {
        return Err(no_memory());
    }
    charge(ELEMENT_STEPS + len as u64 / BYTES_PER_STEP)
}

/// Counts a table that is an element.
///
/// # Errors
/// The script has made its steps, which ends it.
pub(super) fn table() -> mlua::Result<()> {
    charge(TABLE_STEPS)
}

/// Counts the reading of a text.
///
/// # Errors
/// The script has made its steps, which ends it.
pub(super) fn reading(len: usize) -> mlua::Result<()> {
    charge(len as u64)
}

fn charge(steps: u64) -> mlua::Result<()> {
    if current::with(|running| running.charge(steps)) {
        Ok(())
    } else {
        Err(engine::ended())
    }
}

/// What is raised where a text becomes too long.
fn no_memory() -> mlua::Error {
    mlua::Error::MemoryError("not enough memory".to_owned())
}
