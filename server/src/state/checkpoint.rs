//! The content of a checkpoint: a whole state as a stream of bytes.
//!
//! ```text
//! content = applied u64 | log time i64 | hash seed u64 | write counter u32
//!         | databases u32 | creation slots u32 | slot u32 * | fence u64 | group bytes u32 | group
//!         | authority bytes u32 | authority | scripts bytes u32 | scripts | record* | staged*
//! group   = origins | replies | 0 u8 or 1 u8, configuration, sealed at | waiters
//! staged  = REALM u8 | prefix | record*
//! ```
//!
//! with records as in [`record`](super::record).
//!
//! Version 1, which single nodes wrote, had no group part; it restores without origins and
//! configuration. Version 2 knew strings only. Up to version 3 there were no replies and no
//! authority part, as everything belonged to the root group. Up to version 4 nobody could wait for
//! keys, no fencing token had been given, and there were no streams and no scripts. Records do not
//! say to which realm they belong: the authority has all prefixes, of which the longest decides;
//! only what is arriving stands apart.
//!
//! The stream is cut into blocks wherever it suits the writer; checksums and completeness are the
//! business of the file around it. Records come in no particular order. Numbers are little-endian;
//! the database and lengths are LEB128.
//!
//! Writing works on a [`FrozenState`], which shares the segments of the live tables, so commands go
//! on meanwhile.

mod writer;

use std::sync::Arc;

use bailiwick_replication::{ConfigurationId, GroupId, LogIndex};

use super::codec::{DecodeError, Reader, put_varint};
use super::configuration::{Configuration, put_members, take_members};
use super::digest::Digests;
use super::origins::Origins;
use super::record::{REALM, Stop, take, take_bytes, take_record};
use super::waiters::Waiters;
use super::{MAX_DATABASES, State, empty_keyspace};
use crate::authority::Authority;
use crate::commands::Scripts;
use crate::keyspace::{CREATION_SLOTS, Frozen, FrozenKeyspace, Keyspace, Segment};
use writer::BLOCK_BYTES;
pub use writer::ContentWriter;

/// Version of this format, the one that is written. It and all versions from 1 on are read.
pub const CONTENT_VERSION: u32 = 5;

/// The version without origins and configuration.
const VERSION_1: u32 = 1;
/// The last version without authority: all of it is the root group's.
const VERSION_3: u32 = 3;
/// The last version without waiters, fencing tokens and scripts.
const VERSION_4: u32 = 4;

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
    fence: u64,
    /// Origins and configuration, encoded.
    group: Vec<u8>,
    databases: usize,
    authority: Authority,
    scripts: Scripts,
    tables: FrozenKeyspace,
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
            fence: state.keyspace.fence(),
            group: group_part(state),
            databases: state.keyspace.databases(),
            authority: state.authority.clone(),
            scripts: state.scripts.clone(),
            tables: state.keyspace.freeze(),
        }
    }

    /// Number of keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tables.len()
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
        out.extend_from_slice(&(self.databases as u32).to_le_bytes());
        out.extend_from_slice(&(self.creations.len() as u32).to_le_bytes());
        for slot in &self.creations {
            out.extend_from_slice(&slot.to_le_bytes());
        }
        out.extend_from_slice(&self.fence.to_le_bytes());
        let mut authority = Vec::new();
        self.authority.put_all(&mut authority);
        let mut scripts = Vec::new();
        self.scripts.put(&mut scripts);
        let mut oversized = None;
        for (part, bytes) in [
            ("replies and waiting requests", &self.group),
            ("prefixes", &authority),
            ("scripts", &scripts),
        ] {
            match u32::try_from(bytes.len()) {
                Ok(length) => out.extend_from_slice(&length.to_le_bytes()),
                Err(_) => oversized = Some(part),
            }
            out.extend_from_slice(bytes);
        }
        let staged = self.tables.staged.into_iter().flat_map(|(prefix, tables)| {
            let segments = tables.into_iter().flat_map(segments);
            std::iter::once(Part::Realm(prefix)).chain(segments)
        });
        let visible = self.tables.visible.into_iter().flat_map(segments);
        let mut writer = ContentWriter::new(Box::new(visible.chain(staged)), out);
        if let Some(part) = oversized {
            writer.refuse(part);
        }
        writer
    }
}

/// What is written in one step.
enum Part {
    /// Keys of a database.
    Segment(usize, Arc<Segment>),
    /// What follows is arriving under this prefix.
    Realm(Box<[u8]>),
}

fn segments((database, table): (usize, Frozen)) -> impl Iterator<Item = Part> {
    let segments = table.into_segments();
    segments.map(move |segment| Part::Segment(database, segment))
}

fn group_part(state: &State) -> Vec<u8> {
    let mut out = Vec::new();
    state.origins.put(&mut out);
    state.origins.put_replies(&mut out);
    match &state.configuration {
        None => out.push(0),
        Some(configuration) => {
            out.push(1);
            put_members(&mut out, configuration.id, &configuration.members);
            put_varint(&mut out, configuration.sealed_at.0);
        }
    }
    state.waiters.put(&mut out);
    out
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
    /// The staged realm of which records are coming.
    staged: Option<Vec<u8>>,
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
            staged: None,
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
                match read_record(&mut cursor, &mut self.staged, &mut state.keyspace) {
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
            Some(mut state) if self.pending.is_empty() => {
                // Those who wait had their look at these keys before the checkpoint was taken; a
                // second one here alone could find what other replicas do not look for.
                state.keyspace.awaited.take_touched();
                Ok(state)
            }
            _ => Err(RestoreError::Truncated(self.consumed)),
        }
    }
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
    if slots != CREATION_SLOTS {
        return Err(Stop::Malformed);
    }
    let mut creations = Vec::with_capacity(slots);
    for _ in 0..slots {
        creations.push(u32::from_le_bytes(take(rest)?));
    }
    let fence = match version {
        VERSION_1..=VERSION_4 => 0,
        _ => u64::from_le_bytes(take(rest)?),
    };
    let (origins, configuration, waiters) = match version {
        VERSION_1 => GroupPart::default(),
        _ => take_group(rest, version)?,
    };
    let authority = match version {
        VERSION_1..=VERSION_3 => Authority::new(GroupId(0)),
        _ => take_authority(rest)?,
    };
    let scripts = match version {
        VERSION_1..=VERSION_4 => Scripts::default(),
        _ => take_scripts(rest)?,
    };
    let mut keyspace = empty_keyspace(databases, seed, &authority);
    if !keyspace.restore_watch_counters(writes, &creations) {
        return Err(Stop::Malformed);
    }
    waiters.await_all(&mut keyspace.awaited);
    keyspace.raise_fence(fence);
    Ok(State {
        keyspace,
        authority,
        scripts,
        applied,
        time_ms,
        origins,
        configuration,
        waiters,
        digests: Digests::default(),
    })
}

fn take_authority(rest: &mut &[u8]) -> Result<Authority, Stop> {
    let len = u32::from_le_bytes(take(rest)?) as usize;
    let (bytes, after) = rest.split_at_checked(len).ok_or(Stop::Incomplete)?;
    *rest = after;
    let mut reader = Reader::new(bytes);
    let authority = Authority::take_all(&mut reader);
    authority
        .ok()
        .filter(|_| reader.is_done())
        .ok_or(Stop::Malformed)
}

fn take_scripts(rest: &mut &[u8]) -> Result<Scripts, Stop> {
    let len = u32::from_le_bytes(take(rest)?) as usize;
    let (bytes, after) = rest.split_at_checked(len).ok_or(Stop::Incomplete)?;
    *rest = after;
    let mut reader = Reader::new(bytes);
    let scripts = Scripts::take(&mut reader);
    scripts
        .ok()
        .filter(|_| reader.is_done())
        .ok_or(Stop::Malformed)
}

/// What of a state belongs to no key and no prefix.
type GroupPart = (Origins, Option<Configuration>, Waiters);

fn take_group(rest: &mut &[u8], version: u32) -> Result<GroupPart, Stop> {
    let len = u32::from_le_bytes(take(rest)?) as usize;
    let (group, after) = rest.split_at_checked(len).ok_or(Stop::Incomplete)?;
    *rest = after;
    read_group(group, version).map_err(|_| Stop::Malformed)
}

fn read_group(group: &[u8], version: u32) -> Result<GroupPart, DecodeError> {
    let mut reader = Reader::new(group);
    let mut origins = Origins::take(&mut reader)?;
    if version > VERSION_3 {
        origins.take_replies(&mut reader)?;
    }
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
    let waiters = match version {
        ..=VERSION_4 => Waiters::default(),
        _ => Waiters::take(&mut reader)?,
    };
    if !reader.is_done() {
        return Err(DecodeError::Malformed(reader.at()));
    }
    Ok((origins, configuration, waiters))
}

fn read_record(
    rest: &mut &[u8],
    staged: &mut Option<Vec<u8>>,
    keyspace: &mut Keyspace,
) -> Result<(), Stop> {
    if rest.first() == Some(&REALM) {
        let [_] = take(rest)?;
        *staged = Some(take_bytes(rest)?.to_vec());
        return Ok(());
    }
    let record = take_record(rest, keyspace.seed())?;
    if record.database >= keyspace.databases() {
        return Err(Stop::Malformed);
    }
    let (database, key) = (record.database, record.key);
    let (value, expiry, stamp) = (record.value, record.expiry, record.stamp);
    let is_fit = match staged {
        Some(prefix) => keyspace.restore_staged(prefix, (database, key), value, expiry, stamp),
        None => keyspace.restore(database, key, value, expiry, stamp),
    };
    is_fit.then_some(()).ok_or(Stop::Malformed)
}

#[cfg(test)]
#[path = "checkpoint_tests.rs"]
mod tests;
