//! From a data directory to a running group: the newest valid checkpoint, then the log behind it.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bailiwick_replication::{
    CheckpointHeader, CheckpointReader, DataDir, Error, GroupId, LocalReplica, LogIndex, Recovery,
    Wal, WalError, WalOptions, checkpoint,
};
use parking_lot::Mutex;

use super::alone::{Alone, Queue};
use super::commit::Committer;
use super::{
    Engine, FIRST_CONFIGURATION, Group, Item, Mailbox, Proposal, ROOT_GROUP, Shared, Standing,
    Tuning,
};
use crate::commands::Counters;
use crate::keyspace::AccessPolicy;
use crate::state::{
    CONTENT_VERSION, Origin, PROXIED, Replay, ReplayError, RestoreError, Restorer, State,
};

/// How often a long load says how far it is.
const REPORT_EVERY: Duration = Duration::from_secs(2);
/// How much of the log is read at once.
const READ_BYTES: usize = 4 << 20;

/// How far a load is; read by INFO while it goes on.
#[derive(Debug, Default)]
pub struct LoadProgress {
    /// Bytes of the checkpoint to load.
    pub total_bytes: AtomicU64,
    /// Bytes of it loaded.
    pub loaded_bytes: AtomicU64,
    /// Keys loaded from it.
    pub loaded_keys: AtomicU64,
    /// Log entries applied.
    pub replayed_entries: AtomicU64,
}

/// Why a group cannot start. Nothing on disk has been changed, except that a torn tail was cut.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The data directory, the log or a checkpoint.
    #[error(transparent)]
    Storage(#[from] Error),
    /// The log cannot be read.
    #[error("the log cannot be read: {0}")]
    Log(#[from] WalError),
    /// A log entry makes no sense.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// A checkpoint makes no sense, although it is whole.
    #[error(
        "checkpoint {path}: {source}; restore this file from a copy, or remove it if an older checkpoint is there"
    )]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: RestoreError,
    },
    /// A checkpoint was written by an incompatible version.
    #[error(
        "checkpoint {path} holds content of version {found}, this version reads up to {CONTENT_VERSION}; start the version that wrote it"
    )]
    ContentVersion {
        /// The file.
        path: PathBuf,
        /// The version it states.
        found: u32,
    },
    /// Between the checkpoint and the log entries are missing.
    #[error(
        "the log in {path} begins at entry {first}, but the newest usable checkpoint ends at entry \
         {checkpoint}; restore the missing checkpoint file from a copy{refused}"
    )]
    Gap {
        /// The log.
        path: PathBuf,
        /// The first entry in the log.
        first: u64,
        /// The last entry in the checkpoint; 0 if there is none.
        checkpoint: u64,
        /// What is wrong with newer checkpoints.
        refused: String,
    },
    /// The record beside the group's log makes no sense, or is another version's.
    #[error("the log in {path}: {reason}; start the version that wrote it")]
    Record {
        /// The log.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The address for other nodes cannot be listened on.
    #[error("cannot listen for other nodes on {address}: {source}")]
    Listen {
        /// The address in the cluster's file.
        address: String,
        /// What is wrong.
        source: std::io::Error,
    },
    /// The load was given up because nobody wants its outcome any more.
    #[error("the load was given up")]
    Stopped,
    /// The first entry of a new log could not be written.
    #[error("the new log cannot be written: {0}")]
    Genesis(String),
}

impl Group {
    /// Loads the root group from a data directory, or begins it there.
    pub fn recover(
        data: Arc<DataDir>,
        databases: usize,
        reserve_bytes: u64,
        tuning: Tuning,
        progress: &LoadProgress,
    ) -> Result<Arc<Self>, RecoverError> {
        let incarnation = data.next_incarnation(0)?;
        let (state, checkpoint_time_ms, refused) = load_checkpoint(&data, ROOT_GROUP, progress)?;
        let checkpoint_index = state.applied;
        let options = WalOptions {
            reserve_bytes,
            ..WalOptions::default()
        };
        let (wal, recovery) = Wal::open(&data, options)?;
        report_cuts(&recovery);
        let state = replay(&data, &wal, state, &refused, tuning.access, progress)?;
        let identity = data.identity();
        let origin = Origin {
            // The other bit marks what comes from outside the group.
            node: identity.node_id.0 as u32 & !PROXIED,
            incarnation,
        };
        let (applied, hash_seed) = (state.applied, identity.hash_seed);
        let is_new = applied == LogIndex(0);
        let replica = LocalReplica::new(ROOT_GROUP, FIRST_CONFIGURATION, applied, applied);
        let alone = Alone {
            configuration: FIRST_CONFIGURATION,
            committer: Mutex::new(Committer {
                replica,
                origin,
                sequence: 0,
                random: entropy(),
            }),
            queue: Queue::default(),
        };
        let group = Arc::new(Self {
            id: ROOT_GROUP,
            data,
            wal: Arc::new(wal),
            shared: Arc::new(Shared::new(state, tuning, Standing::alone())),
            engine: Engine::Alone(alone),
            checkpoints: Arc::default(),
        });
        group
            .checkpoints
            .set_last(checkpoint_index, checkpoint_time_ms);
        if is_new {
            group.begin_log(databases, hash_seed)?;
        }
        Ok(group)
    }

    fn begin_log(&self, databases: usize, hash_seed: u64) -> Result<(), RecoverError> {
        let mut proposal = Proposal::new(Arc::new(Mailbox::default()), 0);
        proposal.items.push(Item::Genesis {
            databases,
            hash_seed,
            group: self.id,
        });
        if let Engine::Alone(alone) = &self.engine {
            self.commit(alone, &mut vec![proposal], true);
        }
        if self.state().keyspace.databases() == 0 {
            let text = "the disk is full or below the reserve (--disk-reserve)";
            return Err(RecoverError::Genesis(text.to_owned()));
        }
        Ok(())
    }
}

/// Says what was cut off the log.
pub(super) fn report_cuts(recovery: &Recovery) {
    for cut in &recovery.cut {
        tracing::warn!(
            file = %cut.file.display(),
            offset = cut.offset,
            bytes = cut.bytes,
            "the log ended in a record that was not completely written, as a crash leaves it; it \
             was cut off, nothing in it had been acknowledged as durable"
        );
    }
}

/// The state in the newest valid checkpoint, when it was taken, and what was wrong with newer ones.
pub(super) fn load_checkpoint(
    data: &DataDir,
    group: GroupId,
    progress: &LoadProgress,
) -> Result<(State, i64, Vec<String>), RecoverError> {
    let directory = data.group_checkpoint_path(group);
    if !directory.is_dir() {
        return Ok((State::empty(), 0, Vec::new()));
    }
    checkpoint::remove_leftovers(&directory)?;
    let newest = checkpoint::newest(&directory)?;
    let refused: Vec<String> = newest
        .refused
        .iter()
        .map(|refused| refused.error.to_string())
        .collect();
    for error in &refused {
        tracing::error!(error, "a checkpoint cannot be used; trying an older one");
    }
    let Some((header, path)) = newest.valid else {
        return Ok((State::empty(), 0, refused));
    };
    let created_at_ms = header.created_at_ms as i64;
    let state = read_checkpoint(&path, progress, &AtomicBool::new(false))?.1;
    Ok((state, created_at_ms, refused))
}

/// Reads a whole checkpoint: what it says it is, and the state in it. Gives up with
/// [`RecoverError::Stopped`] soon after `stop` has been set.
pub(super) fn read_checkpoint(
    path: &Path,
    progress: &LoadProgress,
    stop: &AtomicBool,
) -> Result<(CheckpointHeader, State), RecoverError> {
    let (header, mut reader) = CheckpointReader::open(path)?;
    let mut restorer = Restorer::of_version(header.content_version).ok_or_else(|| {
        let (path, found) = (path.to_owned(), header.content_version);
        RecoverError::ContentVersion { path, found }
    })?;
    progress
        .total_bytes
        .store(reader.total(), Ordering::Relaxed);
    let content = |source| RecoverError::Content {
        path: path.to_owned(),
        source,
    };
    let mut block = Vec::new();
    let mut report = Report::new();
    while reader.next_block(&mut block)? {
        restorer.block(&block).map_err(content)?;
        progress
            .loaded_bytes
            .store(reader.position(), Ordering::Relaxed);
        progress
            .loaded_keys
            .store(restorer.keys() as u64, Ordering::Relaxed);
        if report.is_due() {
            let percent = reader.position() * 100 / reader.total().max(1);
            tracing::info!(percent, keys = restorer.keys(), "loading the checkpoint");
        }
        if stop.load(Ordering::Relaxed) {
            return Err(RecoverError::Stopped);
        }
    }
    // The end of the file is no block.
    progress
        .loaded_bytes
        .store(reader.position(), Ordering::Relaxed);
    let state = restorer.finish().map_err(content)?;
    Ok((header, state))
}

/// Applies what the log holds behind the state.
pub(super) fn replay(
    data: &DataDir,
    wal: &Wal,
    mut state: State,
    refused: &[String],
    policy: AccessPolicy,
    progress: &LoadProgress,
) -> Result<State, RecoverError> {
    let first = wal.first_index(ROOT_GROUP, FIRST_CONFIGURATION);
    let last = wal.last_index(ROOT_GROUP, FIRST_CONFIGURATION);
    let (Some(first), Some(last)) = (first, last) else {
        return if refused.is_empty() {
            Ok(state)
        } else {
            Err(gap(data, state.applied.0 + 2, &state, refused))
        };
    };
    if first.0 > state.applied.0 + 1 {
        return Err(gap(data, first.0, &state, refused));
    }
    if last < state.applied {
        // A checkpoint is synced behind the log it includes, so this log has lost its end.
        return Err(gap(data, last.0, &state, refused));
    }
    let mut replay = Replay::default();
    // What happened in an earlier life is no part of this one's statistics.
    let counters = Counters::default();
    let mut report = Report::new();
    let mut next = state.applied.next();
    while next <= last {
        next = wal.read(
            ROOT_GROUP,
            FIRST_CONFIGURATION,
            next,
            READ_BYTES,
            &mut |index, entry| {
                replay.apply(&mut state, index, entry, policy, &counters)?;
                drop(state.keyspace.take_garbage());
                // Those who waited for it have gone with the last life.
                drop(state.waiters.take_woken());
                Ok::<(), RecoverError>(())
            },
        )?;
        progress
            .replayed_entries
            .store(next.0 - first.0, Ordering::Relaxed);
        if report.is_due() {
            let percent = (next.0 - first.0) * 100 / (last.0 - first.0 + 1);
            tracing::info!(
                percent,
                entry = next.0 - 1,
                last = last.0,
                "replaying the log"
            );
        }
    }
    Ok(state)
}

fn gap(data: &DataDir, first: u64, state: &State, refused: &[String]) -> RecoverError {
    RecoverError::Gap {
        path: data.log_path(),
        first,
        checkpoint: state.applied.0,
        refused: refused.iter().map(|error| format!("; {error}")).collect(),
    }
}

/// Tells when it is time to say something.
struct Report {
    last: Instant,
}

impl Report {
    fn new() -> Self {
        Self {
            last: Instant::now(),
        }
    }

    fn is_due(&mut self) -> bool {
        let due = self.last.elapsed() >= REPORT_EVERY;
        if due {
            self.last = Instant::now();
        }
        due
    }
}

/// A number that nobody can guess, from the system.
pub(super) fn entropy() -> u64 {
    let mut bytes = [0; 8];
    let read = fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    read.expect("every system that this runs on has /dev/urandom");
    u64::from_le_bytes(bytes)
}
