//! The keys of a prefix on their way to another group.
//!
//! The source's leader reads them out in *chunks* ([`State::export_chunk`]) while they are still
//! written, and asks the keyspace to remember which keys change meanwhile; those it sends again, or
//! says that they are gone ([`State::export_keys`]). What it has sent adds up in a ledger,
//! [`Exported`]. The destination adds up what has come, in its log, and commits only what is equal.
//!
//! ```text
//! chunk  = change*
//! change = record                      as in a checkpoint, with an empty stamp
//!        | GONE u8 | database | key    the key is not there any more
//! ```
//!
//! **What is added up** is a hash of each record. The source hashes what it sends, the destination
//! what it holds after storing it, so a value that was damaged on the way or did not survive the
//! storing is noticed.
//!
//! Keys that have expired are sent like others until they are removed.

use std::collections::HashMap;

use xxhash_rust::xxh3::xxh3_64;

use super::State;
use super::codec::{DecodeError, put_bytes, put_varint};
use super::record::{
    GONE, Record, Stop, put_record, record_hash, take, take_bytes, take_record, take_varint,
};
use crate::keyspace::{Entry, Keyspace, Stamp};

/// The most keys that are looked at together, and how many are at first, as they can be large.
const SCAN_KEYS: usize = 256;
const FIRST_SCAN_KEYS: usize = 8;

/// Where an export goes on: a place in the walk through all databases of a realm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExportPosition {
    database: usize,
    position: u64,
}

/// What an export has sent so far.
///
/// Invariant: `digest` is the wrapping sum of the values of `sent`.
#[derive(Clone, Debug, Default)]
pub struct Exported {
    /// By the hash of database and key, the hash of the record sent last.
    sent: HashMap<u64, u64>,
    digest: u64,
}

/// What a chunk changed at the destination.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Imported {
    /// Keys that were not there before.
    pub(crate) added: u64,
    /// Keys that are not there any more.
    pub(crate) removed: u64,
    /// What has to be added to the digest.
    pub(crate) digest: u64,
}

impl Exported {
    /// How many keys the destination has to have.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.sent.len() as u64
    }

    /// What they have to add up to.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.digest
    }

    fn note(&mut self, database: usize, key: &[u8], record: Option<u64>) {
        let key = key_hash(database, key);
        let before = match record {
            Some(record) => self.sent.insert(key, record),
            None => self.sent.remove(&key),
        };
        let change = record.unwrap_or(0).wrapping_sub(before.unwrap_or(0));
        self.digest = self.digest.wrapping_add(change);
    }

    fn has(&self, database: usize, key: &[u8]) -> bool {
        self.sent.contains_key(&key_hash(database, key))
    }
}

impl State {
    /// Reads keys of a realm out from a position on, until the chunk has `max_bytes` or a little
    /// more, or one large value. Returns where to go on; `None` after the last key.
    pub fn export_chunk(
        &self,
        prefix: &[u8],
        from: ExportPosition,
        max_bytes: usize,
        exported: &mut Exported,
    ) -> (Vec<u8>, Option<ExportPosition>) {
        let mut chunk = Vec::new();
        let (mut at, mut keys, mut sent) = (from, FIRST_SCAN_KEYS, 0);
        let tables = self.keyspace.realm_tables(prefix);
        while let Some(table) = tables.get(at.database) {
            if chunk.len() >= max_bytes {
                return (chunk, Some(at));
            }
            let database = at.database;
            at.position = table.scan(at.position, keys, |entry| {
                put_entry(entry, database, &mut chunk, exported);
                sent += 1;
            });
            if at.position == 0 {
                at.database += 1;
            }
            // As many as will fit, if they are as large as those before.
            let room = max_bytes.saturating_sub(chunk.len());
            keys = (room / (chunk.len() / sent.max(1)).max(1)).clamp(1, SCAN_KEYS);
        }
        (chunk, None)
    }

    /// Reads the present content of single keys out, or that they are gone, until the chunk has
    /// `max_bytes`. Returns how many of the keys that were.
    pub fn export_keys(
        &self,
        prefix: &[u8],
        keys: &[(usize, Box<[u8]>)],
        max_bytes: usize,
        exported: &mut Exported,
    ) -> (Vec<u8>, usize) {
        let mut chunk = Vec::new();
        for (done, (database, key)) in keys.iter().enumerate() {
            if chunk.len() >= max_bytes {
                return (chunk, done);
            }
            match self.keyspace.realm_entry(prefix, *database, key) {
                Some(entry) => put_entry(entry, *database, &mut chunk, exported),
                // What was never sent need not be taken back.
                None if exported.has(*database, key) => {
                    chunk.push(GONE);
                    put_varint(&mut chunk, *database as u64);
                    put_bytes(&mut chunk, key);
                    exported.note(*database, key, None);
                }
                None => {}
            }
        }
        (chunk, keys.len())
    }
}

/// Stores a chunk in a staged realm. Nothing is stored if any of it makes no sense.
pub(crate) fn import_chunk(
    keyspace: &mut Keyspace,
    prefix: &[u8],
    chunk: &[u8],
    access: u32,
) -> Result<Imported, DecodeError> {
    let mut changes = Vec::new();
    let mut rest = chunk;
    while !rest.is_empty() {
        let malformed = DecodeError::Malformed(chunk.len() - rest.len());
        let change = take_change(&mut rest, keyspace.seed()).map_err(|_| malformed)?;
        let (database, key) = change.place();
        if database >= keyspace.databases() || !key.starts_with(prefix) {
            return Err(malformed);
        }
        changes.push(change);
    }
    let mut imported = Imported::default();
    for change in changes {
        let (database, key) = change.place();
        let held = |keyspace: &Keyspace| {
            let entry = keyspace.realm_entry(prefix, database, key);
            entry.map(|entry| held_hash(entry, database))
        };
        let before = held(keyspace);
        match change {
            Change::Set(record) => {
                keyspace.stage(prefix, (database, key), record.value, record.expiry, access);
            }
            Change::Gone(..) => {
                keyspace.unstage(prefix, database, key);
            }
        }
        let after = held(keyspace);
        imported.added += u64::from(before.is_none() && after.is_some());
        imported.removed += u64::from(before.is_some() && after.is_none());
        let change = after.unwrap_or(0).wrapping_sub(before.unwrap_or(0));
        imported.digest = imported.digest.wrapping_add(change);
    }
    Ok(imported)
}

enum Change<'a> {
    Set(Record<'a>),
    Gone(usize, &'a [u8]),
}

impl<'a> Change<'a> {
    fn place(&self) -> (usize, &'a [u8]) {
        match self {
            Self::Set(record) => (record.database, record.key),
            Self::Gone(database, key) => (*database, key),
        }
    }
}

fn take_change<'a>(rest: &mut &'a [u8], seed: u64) -> Result<Change<'a>, Stop> {
    if rest.first() != Some(&GONE) {
        return take_record(rest, seed).map(Change::Set);
    }
    let [_] = take(rest)?;
    let database = usize::try_from(take_varint(rest)?).map_err(|_| Stop::Malformed)?;
    Ok(Change::Gone(database, take_bytes(rest)?))
}

fn put_entry(entry: &Entry, database: usize, chunk: &mut Vec<u8>, exported: &mut Exported) {
    let start = chunk.len();
    put_record(entry, database, Stamp::default(), chunk);
    let hash = record_hash(entry, database, &chunk[start..]);
    exported.note(database, entry.key(), Some(hash));
}

/// The database goes in behind the hash: short keys whose bytes differ as two small seeds do have
/// the same hash under those seeds.
fn key_hash(database: usize, key: &[u8]) -> u64 {
    xxh3_64(key) ^ (database as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn held_hash(entry: &Entry, database: usize) -> u64 {
    let mut record = Vec::with_capacity(128);
    put_record(entry, database, Stamp::default(), &mut record);
    record_hash(entry, database, &record)
}

#[cfg(test)]
#[path = "handoff_tests.rs"]
mod tests;
