//! A node's disk: the log with its record, checkpoints, and one that is being received.
//!
//! Owns what survives a crash. A [`LogWrite`] happens as a whole or not at all; what was received
//! of a checkpoint is kept to the byte. A disk may be full, which refuses everything that grows.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bailiwick::group::{Piece, Vault};
use bailiwick::state::{FrozenState, Origins, Restorer, State};
use bailiwick_replication::LogIndex;
use bailiwick_replication::consensus::{LogSource, LogWrite};
use bytes::Bytes;

use super::planted::Planted;

/// Checkpoints kept: the newest, and the one before should the newest be damaged.
const KEPT_CHECKPOINTS: usize = 2;

/// What is on the disk.
#[derive(Default)]
pub(super) struct Files {
    /// The random number of the data directory.
    pub(super) id: u64,
    /// How often the node was started with this directory.
    pub(super) incarnation: u64,
    /// The record beside the log.
    pub(super) meta: Option<Vec<u8>>,
    pub(super) entries: BTreeMap<u64, Bytes>,
    /// By index.
    pub(super) checkpoints: BTreeMap<u64, Bytes>,
    partial: Option<(u64, Vec<u8>)>,
    pub(super) is_full: bool,
    /// Checkpoints that came from other nodes.
    pub(super) received: u64,
}

/// A share of a disk.
#[derive(Clone, Default)]
pub(super) struct Disk(Arc<Mutex<Files>>);

impl Disk {
    /// An empty one.
    pub(super) fn new(id: u64) -> Self {
        let disk = Self::default();
        disk.files().id = id;
        disk
    }

    pub(super) fn files(&self) -> MutexGuard<'_, Files> {
        // A simulation that failed is thrown away as a whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes all of it.
    pub(super) fn write(&self, write: &LogWrite) {
        let mut files = self.files();
        if let Some(upto) = write.compact {
            files.entries = files.entries.split_off(&(upto.0 + 1));
        }
        if !write.entries.is_empty() {
            files.entries.split_off(&write.first.0);
        }
        for (index, entry) in (write.first.0..).zip(&write.entries) {
            files.entries.insert(index, entry.clone());
        }
        files.meta = Some(write.meta.clone());
    }

    /// Keeps a checkpoint; gives the index of the one before it, up to which the log is covered
    /// twice.
    pub(super) fn keep_checkpoint(&self, index: LogIndex, bytes: Bytes) -> LogIndex {
        let mut files = self.files();
        let previous = files.checkpoints.keys().next_back().copied().unwrap_or(0);
        files.checkpoints.insert(index.0, bytes);
        while files.checkpoints.len() > KEPT_CHECKPOINTS {
            files.checkpoints.pop_first();
        }
        LogIndex(previous.min(index.0))
    }

    /// The state that a node starts with.
    pub(super) fn newest_state(&self) -> State {
        let files = self.files();
        match files.checkpoints.last_key_value() {
            None => State::empty(),
            Some((_, bytes)) => restore(bytes),
        }
    }
}

impl LogSource for Disk {
    fn read(&self, from: LogIndex, to: LogIndex, max_bytes: usize) -> Vec<Bytes> {
        let files = self.files();
        let range = files.entries.range(from.0..=to.0);
        assert_eq!(
            range.clone().count() as u64,
            to.0 + 1 - from.0,
            "entries {from} to {to} are read, but some of them are not on disk"
        );
        let mut bytes = 0;
        let fitting = range.map(|(_, entry)| entry).take_while(|entry| {
            let is_first = bytes == 0;
            bytes += entry.len();
            is_first || bytes <= max_bytes
        });
        fitting.cloned().collect()
    }
}

/// A state as bytes of a checkpoint.
pub(super) fn freeze(state: &State) -> Bytes {
    let mut bytes = Vec::new();
    let mut writer = FrozenState::of(state).into_writer();
    loop {
        let goes_on = writer.step(64, |block| {
            bytes.extend_from_slice(block);
            Ok(())
        });
        if !goes_on.expect("memory takes every block") {
            return bytes.into();
        }
    }
}

fn restore(bytes: &[u8]) -> State {
    let mut restorer = Restorer::new();
    restorer
        .block(bytes)
        .expect("a checkpoint is read as it was written");
    let state = restorer.finish();
    state.expect("a checkpoint is read as it was written")
}

/// The checkpoints on a disk, for a member.
pub(super) struct SimVault {
    disk: Disk,
    loading: Option<u64>,
    /// Questions that are answered with "not yet" before a load is done.
    patience: u32,
    planted: Option<Planted>,
}

impl SimVault {
    pub(super) fn new(disk: Disk, planted: Option<Planted>) -> Self {
        Self {
            disk,
            loading: None,
            patience: 0,
            planted,
        }
    }
}

impl Vault for SimVault {
    fn newest(&self) -> Option<LogIndex> {
        let files = self.disk.files();
        files.checkpoints.keys().next_back().copied().map(LogIndex)
    }

    fn read(
        &mut self,
        index: LogIndex,
        offset: u64,
        max_bytes: usize,
    ) -> io::Result<Option<Piece>> {
        let files = self.disk.files();
        let Some(bytes) = files.checkpoints.get(&index.0) else {
            return Ok(None);
        };
        let start = bytes.len().min(offset as usize);
        let end = bytes.len().min(start + max_bytes);
        Ok(Some(Piece {
            total_bytes: bytes.len() as u64,
            bytes: bytes.slice(start..end),
        }))
    }

    fn received(&mut self, index: LogIndex) -> io::Result<u64> {
        let mut files = self.disk.files();
        files.partial.take_if(|(of, _)| *of != index.0);
        Ok(files.partial.as_ref().map_or(0, |(_, b)| b.len() as u64))
    }

    fn append(&mut self, index: LogIndex, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut files = self.disk.files();
        if files.is_full {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        files.partial.take_if(|(of, _)| *of != index.0);
        let (_, held) = files.partial.get_or_insert((index.0, Vec::new()));
        if held.len() as u64 != offset {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        held.extend_from_slice(bytes);
        Ok(())
    }

    fn load(&mut self, index: LogIndex) {
        self.loading = Some(index.0);
        self.patience = 2;
    }

    fn loaded(&mut self) -> Option<Result<State, String>> {
        let index = self.loading?;
        if self.patience > 0 {
            self.patience -= 1;
            return None;
        }
        self.loading = None;
        let partial = self.disk.files().partial.take();
        let Some((_, bytes)) = partial.filter(|(of, _)| *of == index) else {
            return Some(Err("nothing was received".to_owned()));
        };
        // Pieces of two nodes' checkpoints need not fit together.
        let mut restorer = Restorer::new();
        let restored = restorer.block(&bytes).and_then(|()| restorer.finish());
        let mut state = match restored {
            Ok(state) if state.applied.0 == index => state,
            Ok(_) => return Some(Err("it is of another entry".to_owned())),
            Err(error) => return Some(Err(error.to_string())),
        };
        if self.planted == Some(Planted::CheckpointWithoutOrigins) {
            state.origins = Origins::default();
        }
        self.disk.keep_checkpoint(LogIndex(index), bytes.into());
        self.disk.files().received += 1;
        Some(Ok(state))
    }
}
