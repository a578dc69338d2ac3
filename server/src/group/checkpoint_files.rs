//! The checkpoints of a group on the real disk: read by peers, received from them, loaded.
//!
//! Owns the open files of a [`Vault`] and the thread that loads. The files' format and their names
//! are the business of `replication::checkpoint`; when to fetch which checkpoint, and what becomes
//! of the loaded state and of the log, that of the replica.
//!
//! **Reading.** A file that peers read stays open, so that they can read it to its end although
//! newer checkpoints have taken its place meanwhile.
//!
//! **Receiving.** Pieces go to a partial file, which survives a restart. Checkpoints at the same
//! index need not be the same bytes on all nodes: who goes on with another peer's may end up with a
//! mixture, which the checksums find.
//!
//! **Loading** checks while it builds the state, and only a file that was good to its end gets its
//! name. A failure of any kind removes what was received, so that the next attempt begins anew. A
//! load that is given up, because this is dropped, loses nothing. A crash may leave a checkpoint
//! that is ahead of the log: it was decided, but the log does not know it yet.

use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bailiwick_replication::checkpoint::{self, PartialCheckpoint};
use bailiwick_replication::{GroupId, LogIndex};
use bytes::Bytes;
use parking_lot::Mutex;

use super::recovery::{LoadProgress, RecoverError, read_checkpoint};
use super::vault::{Piece, Vault};
use crate::state::State;

/// A file that nobody has read for so long is closed, which frees its space if it is gone.
const IDLE: Duration = Duration::from_secs(60);
/// More files are not held open for peers; the one that was read longest ago goes.
const MAX_OPEN: usize = 8;

/// Called when a load has finished.
type Wake = dyn Fn() + Send + Sync;

/// The checkpoints of one group in one directory.
pub struct CheckpointFiles {
    directory: PathBuf,
    group: GroupId,
    newest: Arc<AtomicU64>,
    wake: Arc<Wake>,
    open: Vec<OpenFile>,
    /// What is being received; never what is being loaded.
    partial: Option<PartialCheckpoint>,
    /// Until its outcome has been taken.
    load: Option<Load>,
}

/// A checkpoint that peers read.
struct OpenFile {
    index: LogIndex,
    file: std::fs::File,
    total_bytes: u64,
    used: Instant,
}

/// A load as the replica's thread sees it.
struct Load {
    index: LogIndex,
    bytes: u64,
    stop: Arc<AtomicBool>,
    outcome: Arc<Mutex<Option<Outcome>>>,
    thread: Option<thread::JoinHandle<()>>,
}

type Outcome = Result<State, String>;

impl CheckpointFiles {
    /// The checkpoints of `group` in `directory`, which need not exist yet. `newest` is the index
    /// of the newest usable one, 0 for none, shared with whoever else writes checkpoints there: it
    /// may only grow. `wake` is called on another thread when a load has finished; it must not
    /// wait for the thread that owns this.
    #[must_use]
    pub fn new(
        directory: PathBuf,
        group: GroupId,
        newest: Arc<AtomicU64>,
        wake: Box<Wake>,
    ) -> Self {
        Self {
            directory,
            group,
            newest,
            wake: Arc::from(wake),
            open: Vec::new(),
            partial: None,
            load: None,
        }
    }

    /// The position in `open` of the checkpoint at `index`, which is opened if need be.
    fn open_at(&mut self, index: LogIndex) -> io::Result<Option<usize>> {
        let found = self.open.iter().position(|open| open.index == index);
        if found.is_some() {
            return Ok(found);
        }
        let Some(file) = checkpoint::open_raw(&self.directory, index)? else {
            return Ok(None);
        };
        if self.open.len() >= MAX_OPEN {
            let oldest = self.open.iter().map(|open| open.used).min();
            self.open.retain(|open| Some(open.used) != oldest);
        }
        self.open.push(OpenFile {
            index,
            total_bytes: file.metadata()?.len(),
            file,
            used: Instant::now(),
        });
        Ok(Some(self.open.len() - 1))
    }

    fn close_idle(&mut self, now: Instant) {
        self.open
            .retain(|open| now.saturating_duration_since(open.used) < IDLE);
    }

    fn is_loading(&self, index: LogIndex) -> bool {
        self.load.as_ref().is_some_and(|load| load.index == index)
    }
}

impl Vault for CheckpointFiles {
    fn newest(&self) -> Option<LogIndex> {
        let newest = self.newest.load(Ordering::Acquire);
        (newest > 0).then_some(LogIndex(newest))
    }

    fn read(
        &mut self,
        index: LogIndex,
        offset: u64,
        max_bytes: usize,
    ) -> io::Result<Option<Piece>> {
        let now = Instant::now();
        self.close_idle(now);
        let Some(at) = self.open_at(index)? else {
            return Ok(None);
        };
        let open = &mut self.open[at];
        open.used = now;
        let left = open.total_bytes.saturating_sub(offset);
        let len = usize::try_from(left).map_or(max_bytes, |left| left.min(max_bytes));
        let mut bytes = vec![0; len];
        open.file.read_exact_at(&mut bytes, offset)?;
        Ok(Some(Piece {
            total_bytes: open.total_bytes,
            bytes: Bytes::from(bytes),
        }))
    }

    fn received(&mut self, index: LogIndex) -> io::Result<u64> {
        self.close_idle(Instant::now());
        if let Some(load) = self.load.as_ref().filter(|load| load.index == index) {
            return Ok(load.bytes);
        }
        if self.partial.as_ref().map(PartialCheckpoint::index) != Some(index) {
            self.partial = None;
            let mut keep = vec![index];
            // The file of a load that goes on belongs to its thread.
            keep.extend(self.load.as_ref().map(|load| load.index));
            checkpoint::remove_partials(&self.directory, &keep)?;
            self.partial = PartialCheckpoint::resume(&self.directory, index)?;
        }
        Ok(self.partial.as_ref().map_or(0, PartialCheckpoint::len))
    }

    fn append(&mut self, index: LogIndex, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if self.is_loading(index) {
            let text = format!("the checkpoint at entry {index} is being loaded");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let partial = match self.partial.take() {
            Some(partial) if partial.index() == index => partial,
            _ => PartialCheckpoint::create(&self.directory, index)?,
        };
        self.partial.insert(partial).append(offset, bytes)
    }

    /// A load of the same checkpoint that is under way goes on; one of another is given up.
    fn load(&mut self, index: LogIndex) {
        if self.is_loading(index) {
            return;
        }
        let found = self.received(index);
        let before = self.load.take().and_then(Load::give_up);
        let (stop, outcome) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let job = Job {
            directory: self.directory.clone(),
            group: self.group,
            index,
            newest: self.newest.clone(),
            wake: self.wake.clone(),
            stop: Arc::clone(&stop),
            outcome: Arc::clone(&outcome),
        };
        let partial = found.as_ref().ok().and_then(|_| self.partial.take());
        let thread = thread::Builder::new()
            .name("load".to_owned())
            .spawn(move || job.run(partial, before));
        if let Err(error) = &thread {
            *outcome.lock() = Some(Err(format!("the load cannot be started: {error}")));
            (self.wake)();
        }
        self.load = Some(Load {
            index,
            bytes: found.unwrap_or(0),
            stop,
            outcome,
            thread: thread.ok(),
        });
    }

    fn loaded(&mut self) -> Option<Result<State, String>> {
        self.close_idle(Instant::now());
        let outcome = self.load.as_ref()?.outcome.lock().take();
        if outcome.is_some() {
            // Its thread is left with no more than the call to wake us.
            self.load = None;
        }
        outcome
    }
}

impl Drop for CheckpointFiles {
    /// Ends a load, so that whoever opens the directory next has it for itself. May wait for a sync
    /// of the checkpoint.
    fn drop(&mut self) {
        if let Some(thread) = self.load.take().and_then(Load::give_up) {
            // A panic aborts the process, or has been printed, and there is nobody to tell.
            let _ = thread.join();
        }
    }
}

impl Load {
    fn give_up(self) -> Option<thread::JoinHandle<()>> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread
    }
}

/// A load as its own thread sees it.
struct Job {
    directory: PathBuf,
    group: GroupId,
    index: LogIndex,
    newest: Arc<AtomicU64>,
    wake: Arc<Wake>,
    stop: Arc<AtomicBool>,
    outcome: Arc<Mutex<Option<Outcome>>>,
}

impl Job {
    /// Runs when the load before this one has ended, so that never two states are being built.
    fn run(&self, partial: Option<PartialCheckpoint>, before: Option<thread::JoinHandle<()>>) {
        if let Some(before) = before {
            let _ = before.join();
        }
        let outcome = match partial {
            Some(partial) => self.load(partial),
            None => Err(Failure::Refused(
                "nothing of it has been received".to_owned(),
            )),
        };
        let outcome = match outcome {
            Ok(state) => Ok(state),
            Err(Failure::Stopped) => return,
            Err(Failure::Refused(reason)) => Err(format!(
                "the received checkpoint at entry {} cannot be used: {reason}",
                self.index
            )),
        };
        *self.outcome.lock() = Some(outcome);
        (self.wake)();
    }

    fn load(&self, partial: PartialCheckpoint) -> Result<State, Failure> {
        let started = Instant::now();
        let bytes = partial.len();
        let state = match self.read(partial.path()) {
            Ok(state) => state,
            Err(Failure::Stopped) => return Err(Failure::Stopped),
            Err(refused) => {
                if let Err(error) = partial.discard() {
                    tracing::warn!(%error, "a useless checkpoint could not be removed");
                }
                return Err(refused);
            }
        };
        self.keep(partial)?;
        tracing::info!(
            index = self.index.0,
            keys = state.keyspace.len(),
            bytes,
            duration_ms = started.elapsed().as_millis() as u64,
            "checkpoint of another node loaded"
        );
        Ok(state)
    }

    /// The state in the file, if it is the checkpoint that was asked for.
    fn read(&self, path: &Path) -> Result<State, Failure> {
        let (header, state) = read_checkpoint(path, &LoadProgress::default(), &self.stop)?;
        let (index, group) = (self.index, self.group);
        if (header.group, header.index, state.applied) != (group, index, index) {
            return Err(Failure::Refused(format!(
                "it is of group {} at entry {} with a state at entry {}, not of group {group}",
                header.group, header.index, state.applied
            )));
        }
        Ok(state)
    }

    /// Gives a good file its name, durably, and lets older ones go.
    fn keep(&self, partial: PartialCheckpoint) -> Result<(), Failure> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(Failure::Stopped);
        }
        let temporary = partial.path().to_owned();
        if let Err(error) = partial.finish() {
            // After a sync that failed nobody knows what is on the disk, whatever can be read.
            let _ = std::fs::remove_file(temporary);
            return Err(Failure::Refused(format!("it cannot be kept: {error}")));
        }
        self.newest.fetch_max(self.index.0, Ordering::AcqRel);
        if let Err(error) = checkpoint::remove_old(&self.directory, self.index) {
            tracing::warn!(%error, "an old checkpoint could not be removed");
        }
        Ok(())
    }
}

/// Why a load has no state to show.
enum Failure {
    /// Nobody wants it; what was received is still there.
    Stopped,
    /// What was received is of no use, and gone.
    Refused(String),
}

impl From<RecoverError> for Failure {
    fn from(error: RecoverError) -> Self {
        match error {
            RecoverError::Stopped => Self::Stopped,
            error => Self::Refused(error.to_string()),
        }
    }
}

#[cfg(test)]
#[path = "checkpoint_files_tests.rs"]
mod tests;
