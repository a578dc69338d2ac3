//! The content of a checkpoint: a whole state as a stream of bytes.
//!
//! ```text
//! content = applied u64 | log time i64 | hash seed u64 | write counter u32
//!         | databases u32 | creation slots u32 | slot u32 * | group bytes u32 | group | record*
//! group   = origins | 0 u8 or 1 u8, configuration, sealed at
//! record  = kind u8 | database | version u32 | access u32 | [expiry i64] | key | value
//! ```
//!
//! Version 1, which single nodes wrote, had no group part; it restores without origins and
//! configuration.
//!
//! The stream is cut into blocks wherever it suits the writer; checksums and completeness are the
//! business of the file around it. Records come in no particular order. Numbers are little-endian;
//! the database and lengths are LEB128.
//!
//! Writing works on a [`FrozenState`], which shares the segments of the live tables, so commands go
//! on meanwhile.

use std::io;
use std::sync::Arc;

use bailiwick_replication::{ConfigurationId, LogIndex};

use super::codec::{DecodeError, Reader, put_bytes, put_varint};
use super::configuration::{Configuration, put_members, take_members};
use super::digest::Digests;
use super::origins::Origins;
use super::{MAX_DATABASES, State};
use crate::keyspace::{
    Entry, Expiry, Frozen, Keyspace, NewValue, Object, Segment, Stamp, ValueRef,
};

/// Version of this format, the one that is written. It and all versions from 1 on are read.
pub const CONTENT_VERSION: u32 = 2;

/// The version without origins and configuration.
const VERSION_1: u32 = 1;

/// A block is handed over when it has grown to this size.
const BLOCK_BYTES: usize = 256 * 1024;

const KIND_INT: u8 = 0;
const KIND_STRING: u8 = 1;
/// A string that has been edited in place, or is too long to be kept in its entry.
const KIND_RAW: u8 = 2;
const KIND_MASK: u8 = 0x7f;
const EXPIRES: u8 = 0x80;

/// A state at one log index that no longer changes.
pub struct FrozenState {
    /// The last entry it includes.
    pub applied: LogIndex,
    /// Log time at that entry.
    pub time_ms: i64,
    /// The configuration that the last SEAL began; 0 before the first.
    pub configuration: ConfigurationId,
    seed: u64,
    version: u32,
    creations: Vec<u32>,
    /// Origins and configuration, encoded.
    group: Vec<u8>,
    tables: Vec<Frozen>,
}

impl FrozenState {
    /// Shares the present content of `state`.
    #[must_use]
    pub fn of(state: &State) -> Self {
        let (version, creations) = state.keyspace.watch_counters();
        Self {
            applied: state.applied,
            time_ms: state.time_ms,
            configuration: state
                .configuration
                .as_ref()
                .map_or(ConfigurationId(0), |configuration| configuration.id),
            seed: state.keyspace.seed(),
            version,
            creations: creations.to_vec(),
            group: group_part(state),
            tables: state
                .keyspace
                .tables()
                .map(|table| table.freeze())
                .collect(),
        }
    }

    /// Number of keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tables.iter().map(Frozen::len).sum()
    }

    /// Whether there is no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Turns to writing.
    #[must_use]
    pub fn into_writer(self) -> ContentWriter {
        let mut out = Vec::with_capacity(2 * BLOCK_BYTES);
        out.extend_from_slice(&self.applied.0.to_le_bytes());
        out.extend_from_slice(&self.time_ms.to_le_bytes());
        out.extend_from_slice(&self.seed.to_le_bytes());
        out.extend_from_slice(&self.version.to_le_bytes());
        out.extend_from_slice(&(self.tables.len() as u32).to_le_bytes());
        out.extend_from_slice(&(self.creations.len() as u32).to_le_bytes());
        for slot in &self.creations {
            out.extend_from_slice(&slot.to_le_bytes());
        }
        let group_bytes = u32::try_from(self.group.len())
            .expect("windows are bounded, and a cluster has few nodes");
        out.extend_from_slice(&group_bytes.to_le_bytes());
        out.extend_from_slice(&self.group);
        let tables = self.tables.into_iter().enumerate();
        let segments = tables.flat_map(|(database, table)| {
            table
                .into_segments()
                .map(move |segment| (database, segment))
        });
        ContentWriter {
            segments: Box::new(segments),
            out,
        }
    }
}

fn group_part(state: &State) -> Vec<u8> {
    let mut out = Vec::new();
    state.origins.put(&mut out);
    match &state.configuration {
        None => out.push(0),
        Some(configuration) => {
            out.push(1);
            put_members(&mut out, configuration.id, &configuration.members);
            put_varint(&mut out, configuration.sealed_at.0);
        }
    }
    out
}

/// Writes a frozen state step by step, letting go of what has been written.
pub struct ContentWriter {
    segments: Box<dyn Iterator<Item = (usize, Arc<Segment>)> + Send>,
    out: Vec<u8>,
}

impl ContentWriter {
    /// Writes the next `count` segments, in blocks, to `sink`. False when that was all.
    pub fn step(
        &mut self,
        count: usize,
        mut sink: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<bool> {
        for _ in 0..count {
            let Some((database, segment)) = self.segments.next() else {
                if !self.out.is_empty() {
                    sink(&std::mem::take(&mut self.out))?;
                }
                return Ok(false);
            };
            write_segment(&segment, database, &mut self.out, &mut sink)?;
        }
        Ok(true)
    }
}

fn write_segment(
    segment: &Segment,
    database: usize,
    out: &mut Vec<u8>,
    sink: &mut impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    segment.prefetch_all();
    for entry in segment.iter() {
        write_record(entry, database, out);
        if out.len() < BLOCK_BYTES {
            continue;
        }
        for block in out.chunks(4 * BLOCK_BYTES) {
            sink(block)?;
        }
        out.clear();
        out.shrink_to(2 * BLOCK_BYTES);
    }
    Ok(())
}

fn write_record(entry: &Entry, database: usize, out: &mut Vec<u8>) {
    let value = entry.value();
    let kind = match value {
        ValueRef::Int(_) => KIND_INT,
        ValueRef::String(_) => KIND_STRING,
        ValueRef::Object(Object::String(_)) => KIND_RAW,
    };
    let expires_at_ms = entry.expires_at_ms();
    out.push(kind | if expires_at_ms.is_some() { EXPIRES } else { 0 });
    put_varint(out, database as u64);
    out.extend_from_slice(&entry.version().to_le_bytes());
    out.extend_from_slice(&entry.access().to_le_bytes());
    if let Some(at_ms) = expires_at_ms {
        out.extend_from_slice(&at_ms.to_le_bytes());
    }
    put_bytes(out, entry.key());
    match value {
        ValueRef::Int(number) => out.extend_from_slice(&number.to_le_bytes()),
        ValueRef::String(bytes) => put_bytes(out, bytes),
        ValueRef::Object(Object::String(bytes)) => put_bytes(out, bytes),
    }
}

/// The content of a checkpoint does not make sense, although its checksums are right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// Something that no writer of this format writes.
    #[error("malformed content at byte {0}")]
    Malformed(u64),
    /// The content ends within its head or a record.
    #[error("the content ends in the middle of a record, at byte {0}")]
    Truncated(u64),
}

/// Builds a state from the blocks of a checkpoint.
pub struct Restorer {
    version: u32,
    /// What has arrived of a record that is not complete yet.
    pending: Vec<u8>,
    consumed: u64,
    state: Option<State>,
}

impl Default for Restorer {
    fn default() -> Self {
        Self::new()
    }
}

impl Restorer {
    /// Waits for the first block of content of [`CONTENT_VERSION`].
    #[must_use]
    pub fn new() -> Self {
        Self {
            version: CONTENT_VERSION,
            pending: Vec::new(),
            consumed: 0,
            state: None,
        }
    }

    /// Waits for the first block of content of the version that the file states; `None` if this
    /// program does not read it.
    #[must_use]
    pub fn of_version(version: u32) -> Option<Self> {
        let is_known = (VERSION_1..=CONTENT_VERSION).contains(&version);
        is_known.then(|| Self {
            version,
            ..Self::new()
        })
    }

    /// Takes the next block.
    pub fn block(&mut self, block: &[u8]) -> Result<(), RestoreError> {
        let mut pending = std::mem::take(&mut self.pending);
        pending.extend_from_slice(block);
        let mut rest = &pending[..];
        if self.state.is_none() {
            self.state =
                read_head(&mut rest, self.version).map_err(|_| RestoreError::Malformed(0))?;
        }
        if let Some(state) = &mut self.state {
            loop {
                let mut cursor = rest;
                match read_record(&mut cursor, &mut state.keyspace) {
                    Ok(()) => rest = cursor,
                    Err(Stop::Incomplete) => break,
                    Err(Stop::Malformed) => {
                        let at = self.consumed + (pending.len() - rest.len()) as u64;
                        return Err(RestoreError::Malformed(at));
                    }
                }
            }
        }
        let done = pending.len() - rest.len();
        self.consumed += done as u64;
        pending.drain(..done);
        self.pending = pending;
        Ok(())
    }

    /// Number of keys so far.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.state.as_ref().map_or(0, |state| state.keyspace.len())
    }

    /// The state, after the last block.
    pub fn finish(self) -> Result<State, RestoreError> {
        match self.state {
            Some(state) if self.pending.is_empty() => Ok(state),
            _ => Err(RestoreError::Truncated(self.consumed)),
        }
    }
}

enum Stop {
    /// More bytes may complete it.
    Incomplete,
    Malformed,
}

/// The state before its records; `None` if more bytes are needed.
fn read_head(rest: &mut &[u8], version: u32) -> Result<Option<State>, Stop> {
    let mut cursor = *rest;
    match take_head(&mut cursor, version) {
        Ok(state) => {
            *rest = cursor;
            Ok(Some(state))
        }
        Err(Stop::Incomplete) => Ok(None),
        Err(Stop::Malformed) => Err(Stop::Malformed),
    }
}

fn take_head(rest: &mut &[u8], version: u32) -> Result<State, Stop> {
    let applied = LogIndex(u64::from_le_bytes(take(rest)?));
    let time_ms = i64::from_le_bytes(take(rest)?);
    let seed = u64::from_le_bytes(take(rest)?);
    let writes = u32::from_le_bytes(take(rest)?);
    let databases = u32::from_le_bytes(take(rest)?) as usize;
    let slots = u32::from_le_bytes(take(rest)?) as usize;
    if databases > MAX_DATABASES {
        return Err(Stop::Malformed);
    }
    let mut keyspace = Keyspace::new(databases, seed);
    if slots != keyspace.watch_counters().1.len() {
        return Err(Stop::Malformed);
    }
    let mut creations = Vec::with_capacity(slots);
    for _ in 0..slots {
        creations.push(u32::from_le_bytes(take(rest)?));
    }
    if !keyspace.restore_watch_counters(writes, &creations) {
        return Err(Stop::Malformed);
    }
    let (origins, configuration) = match version {
        VERSION_1 => (Origins::default(), None),
        _ => take_group(rest)?,
    };
    Ok(State {
        keyspace,
        applied,
        time_ms,
        origins,
        configuration,
        digests: Digests::default(),
    })
}

fn take_group(rest: &mut &[u8]) -> Result<(Origins, Option<Configuration>), Stop> {
    let len = u32::from_le_bytes(take(rest)?) as usize;
    let (group, after) = rest.split_at_checked(len).ok_or(Stop::Incomplete)?;
    *rest = after;
    read_group(group).map_err(|_| Stop::Malformed)
}

fn read_group(group: &[u8]) -> Result<(Origins, Option<Configuration>), DecodeError> {
    let mut reader = Reader::new(group);
    let origins = Origins::take(&mut reader)?;
    let configuration = match reader.array()? {
        [0] => None,
        [1] => {
            let (id, members) = take_members(&mut reader)?;
            Some(Configuration {
                id,
                members,
                sealed_at: LogIndex(reader.varint()?),
            })
        }
        _ => return Err(DecodeError::Malformed(reader.at() - 1)),
    };
    if !reader.is_done() {
        return Err(DecodeError::Malformed(reader.at()));
    }
    Ok((origins, configuration))
}

fn read_record(rest: &mut &[u8], keyspace: &mut Keyspace) -> Result<(), Stop> {
    let [tag] = take(rest)?;
    let database = take_varint(rest)? as usize;
    if database >= keyspace.databases() {
        return Err(Stop::Malformed);
    }
    let stamp = Stamp {
        version: u32::from_le_bytes(take(rest)?),
        access: u32::from_le_bytes(take(rest)?),
    };
    let expiry = match tag & EXPIRES {
        0 => Expiry::None,
        _ => Expiry::At(i64::from_le_bytes(take(rest)?)),
    };
    let key = take_bytes(rest)?;
    let value = match tag & KIND_MASK {
        KIND_INT => NewValue::Int(i64::from_le_bytes(take(rest)?)),
        KIND_STRING => NewValue::String(take_bytes(rest)?),
        KIND_RAW => NewValue::Object(Object::String(take_bytes(rest)?.to_vec())),
        _ => return Err(Stop::Malformed),
    };
    keyspace.restore(database, key, value, expiry, stamp);
    Ok(())
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Stop> {
    let (bytes, after) = rest.split_first_chunk::<N>().ok_or(Stop::Incomplete)?;
    *rest = after;
    Ok(*bytes)
}

fn take_varint(rest: &mut &[u8]) -> Result<u64, Stop> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let [byte] = take(rest)?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(Stop::Malformed)
}

fn take_bytes<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], Stop> {
    let len = usize::try_from(take_varint(rest)?).map_err(|_| Stop::Malformed)?;
    let (bytes, after) = rest.split_at_checked(len).ok_or(Stop::Incomplete)?;
    *rest = after;
    Ok(bytes)
}

#[cfg(test)]
#[path = "checkpoint_tests.rs"]
mod tests;
