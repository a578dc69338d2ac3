//! Checkpoints: the whole state in a file, so that the log before it can go.
//!
//! A checkpoint is taken on the group's checkpoint thread, from segments shared with the live
//! tables: commands go on, and a writer copies a segment when it first touches it. Before the file
//! gets its name, everything it includes is synced in the log, so a checkpoint never holds what a
//! crash could still take back.
//!
//! Started by `SAVE`, `BGSAVE`, `SHUTDOWN`, and by the log's growth. A failure is logged, shown by
//! `INFO`, and changes nothing: the log still holds everything.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use std::{io, mem};

use bailiwick_replication::{CheckpointHeader, CheckpointWriter, LogIndex};
use parking_lot::{Condvar, Mutex};

use super::clock::clock_ms;
use super::inbox::Event;
use super::shared::Shared;
use super::{Engine, Group, stop_process};
use crate::keyspace::Garbage;
use crate::state::{CONTENT_VERSION, FrozenState};

/// After a failed checkpoint, the log's growth does not start another one for so long.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// Segments written in one step: about a tenth of a millisecond's work.
const STEP_SEGMENTS: usize = 8;
/// The rest after a step.
const REST: Duration = Duration::from_micros(100);

/// State of the checkpoint thread, and what INFO says of it.
#[derive(Default)]
pub struct Checkpoints {
    inner: Mutex<Inner>,
    changed: Condvar,
    in_progress: AtomicBool,
    last_time_ms: AtomicI64,
    last_failed: AtomicBool,
    last_duration_ms: AtomicU64,
    last_bytes: AtomicU64,
    last_index: Arc<AtomicU64>,
    started_ms: AtomicI64,
    completed: AtomicU64,
    /// Those who wait for a checkpoint to be done.
    waiting: AtomicUsize,
}

#[derive(Default)]
struct Inner {
    /// Counts requests; one that arrives during a checkpoint needs another one.
    requested: u64,
    finished: u64,
    closed: bool,
    last_error: Option<String>,
    garbage: Vec<Garbage>,
    /// Files of the log can go.
    purge: bool,
    retry_at: Option<Instant>,
}

/// What INFO, LASTSAVE and tests want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointStatus {
    /// One is being written.
    pub in_progress: bool,
    /// When the last good one was completed, in milliseconds since 1970.
    pub last_time_ms: i64,
    /// Whether the last attempt failed.
    pub last_failed: bool,
    /// How long the last good one took.
    pub last_duration_ms: u64,
    /// Its size.
    pub last_bytes: u64,
    /// When the last attempt was begun, in milliseconds since 1970; 0 before the first.
    pub started_ms: i64,
    /// Good ones since the start.
    pub completed: u64,
}

impl Checkpoints {
    /// What there is to say.
    #[must_use]
    pub fn status(&self) -> CheckpointStatus {
        CheckpointStatus {
            in_progress: self.in_progress.load(Ordering::Acquire),
            last_time_ms: self.last_time_ms.load(Ordering::Acquire),
            last_failed: self.last_failed.load(Ordering::Acquire),
            last_duration_ms: self.last_duration_ms.load(Ordering::Acquire),
            last_bytes: self.last_bytes.load(Ordering::Acquire),
            started_ms: self.started_ms.load(Ordering::Acquire),
            completed: self.completed.load(Ordering::Acquire),
        }
    }

    /// The index of the newest checkpoint, 0 before the first; also set by whoever receives one.
    pub(super) fn newest(&self) -> Arc<AtomicU64> {
        self.last_index.clone()
    }

    /// What recovery found.
    pub(super) fn set_last(&self, index: LogIndex, time_ms: i64) {
        self.last_index.store(index.0, Ordering::Release);
        self.last_time_ms.store(time_ms, Ordering::Release);
    }

    /// Asks for a checkpoint of what is there now; returns what to wait for. False in the second
    /// place if one is being written already.
    pub fn request(&self) -> (u64, bool) {
        let mut inner = self.inner.lock();
        inner.requested += 1;
        let idle = !self.in_progress.swap(true, Ordering::AcqRel);
        self.changed.notify_all();
        (inner.requested, idle)
    }

    /// Asks for a checkpoint unless one is being written; returns what to wait for.
    pub fn request_if_idle(&self) -> Option<u64> {
        let mut inner = self.inner.lock();
        if self.in_progress.swap(true, Ordering::AcqRel) {
            return None;
        }
        inner.requested += 1;
        self.changed.notify_all();
        Some(inner.requested)
    }

    /// Blocks until the checkpoint that [`request`](Self::request) asked for is done.
    pub fn wait(&self, ticket: u64) -> Result<(), String> {
        self.waiting.fetch_add(1, Ordering::AcqRel);
        let mut inner = self.inner.lock();
        while inner.finished < ticket {
            self.changed.wait(&mut inner);
        }
        self.waiting.fetch_sub(1, Ordering::AcqRel);
        inner.last_error.clone().map_or(Ok(()), Err)
    }

    /// Removes files of the log on the checkpoint thread: it was trimmed.
    pub(super) fn request_purge(&self) {
        self.inner.lock().purge = true;
        self.changed.notify_all();
    }

    /// Drops what left the keyspace on the checkpoint thread.
    pub(super) fn release(&self, garbage: Vec<Garbage>) {
        self.inner.lock().garbage.extend(garbage);
        self.changed.notify_all();
    }

    /// Counts what was appended to the log, and starts a checkpoint if it has grown enough.
    pub(super) fn note_log_growth(&self, shared: &Shared, entries: u64, bytes: u64) {
        let totals = &shared.totals;
        totals.entries.fetch_add(entries, Ordering::Relaxed);
        let log_bytes = totals.log_bytes.fetch_add(bytes, Ordering::Release) + bytes;
        let since = totals.log_bytes_at_checkpoint.load(Ordering::Relaxed);
        let enough = shared.tuning().checkpoint_log_bytes;
        if enough == 0 || log_bytes - since < enough || self.in_progress.load(Ordering::Relaxed) {
            return;
        }
        let retry_at = self.inner.lock().retry_at;
        if retry_at.is_none_or(|at| Instant::now() >= at) {
            self.request();
        }
    }

    /// Whether somebody waits for the checkpoint in progress, be it for the group to close.
    fn is_awaited(&self) -> bool {
        self.waiting.load(Ordering::Acquire) > 0 || self.inner.lock().closed
    }

    pub(super) fn wake(&self) {
        self.changed.notify_all();
    }

    pub(super) fn close(&self) {
        self.inner.lock().closed = true;
        self.changed.notify_all();
    }

    /// Waits at most `timeout`; true once closed.
    pub(super) fn wait_closed(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let mut inner = self.inner.lock();
        while !inner.closed {
            if self.changed.wait_until(&mut inner, deadline).timed_out() {
                break;
            }
        }
        inner.closed
    }
}

impl Group {
    /// The checkpoint thread.
    pub(super) fn run_checkpoints(&self) {
        let checkpoints = &self.checkpoints;
        loop {
            let mut inner = checkpoints.inner.lock();
            while inner.requested == inner.finished && inner.garbage.is_empty() && !inner.purge {
                if inner.closed {
                    return;
                }
                checkpoints.changed.wait(&mut inner);
            }
            let garbage = mem::take(&mut inner.garbage);
            let purge = mem::take(&mut inner.purge);
            let requested = inner.requested;
            let wanted = requested != inner.finished;
            drop(inner);
            drop(garbage);
            if purge {
                self.purge_log();
            }
            if wanted {
                let result = self.take_checkpoint();
                self.finish_checkpoint(requested, result);
            }
        }
    }

    fn finish_checkpoint(&self, ticket: u64, result: io::Result<PathBuf>) {
        let checkpoints = &self.checkpoints;
        checkpoints
            .last_failed
            .store(result.is_err(), Ordering::Release);
        if let Err(error) = &result {
            tracing::error!(%error, "the checkpoint failed; the log keeps everything");
        }
        let mut inner = checkpoints.inner.lock();
        inner.retry_at = result.is_err().then(|| Instant::now() + RETRY_AFTER);
        inner.last_error = result.err().map(|error| error.to_string());
        inner.finished = ticket;
        checkpoints
            .in_progress
            .store(inner.requested != ticket, Ordering::Release);
        checkpoints.changed.notify_all();
    }

    fn take_checkpoint(&self) -> io::Result<PathBuf> {
        let started = Instant::now();
        self.checkpoints
            .started_ms
            .store(clock_ms(), Ordering::Release);
        let (frozen, changes, log_bytes) = {
            // Changes are counted under the state's lock; the log may be a little ahead.
            let state = self.shared.state.read();
            let changes = self.shared.totals.changes.load(Ordering::Relaxed);
            let log_bytes = self.shared.totals.log_bytes.load(Ordering::Relaxed);
            (FrozenState::of(&state), changes, log_bytes)
        };
        let (index, keys) = (frozen.applied, frozen.len());
        let created_at_ms = clock_ms();
        let header = CheckpointHeader {
            index,
            log_time_ms: frozen.time_ms as u64,
            group: self.id,
            configuration: frozen.configuration,
            content_version: CONTENT_VERSION,
            created_at_ms: created_at_ms as u64,
        };
        let directory = self.data.group_checkpoint_path(self.id);
        let writer = self.write_content(frozen, CheckpointWriter::create(&directory, header)?)?;
        let bytes = writer.bytes_written();
        // A group of one has nowhere else what it applied. Others may hold what was decided without
        // this node, and then it is on the disks of a majority.
        if matches!(self.engine, Engine::Alone(_))
            && let Err(error) = self.wal.sync()
        {
            stop_process(&error.to_string());
        }
        let path = writer.finish()?;
        let status = &self.checkpoints;
        // One checkpoint behind, so that the previous one still serves if this one gets damaged.
        let previous = status.last_index.fetch_max(index.0, Ordering::AcqRel);
        self.compact_log(LogIndex(previous.min(index.0)));
        let duration_ms = started.elapsed().as_millis() as u64;
        status.last_time_ms.store(created_at_ms, Ordering::Release);
        status
            .last_duration_ms
            .store(duration_ms, Ordering::Release);
        status.last_bytes.store(bytes, Ordering::Release);
        status.completed.fetch_add(1, Ordering::Release);
        let totals = &self.shared.totals;
        totals
            .changes_at_checkpoint
            .store(changes, Ordering::Relaxed);
        totals
            .log_bytes_at_checkpoint
            .store(log_bytes, Ordering::Relaxed);
        tracing::info!(
            index = index.0,
            keys,
            bytes,
            duration_ms,
            "checkpoint written"
        );
        Ok(path)
    }

    /// Writes the content in short steps with a rest after each, so that on a machine with few
    /// cores a connection thread never waits for longer than a step. (Lower priorities did not
    /// serve: a thread that is starved while it holds a lock of the kernel's stalls everybody.)
    /// No rest is taken when somebody waits for the checkpoint, or when the log has grown by
    /// another checkpoint's worth meanwhile.
    fn write_content(
        &self,
        frozen: FrozenState,
        mut writer: CheckpointWriter,
    ) -> io::Result<CheckpointWriter> {
        let mut content = frozen.into_writer();
        let log_bytes = || self.shared.totals.log_bytes.load(Ordering::Relaxed);
        let begun_at = log_bytes();
        while content.step(STEP_SEGMENTS, |block| writer.block(block))? {
            // It must not pile up while a long checkpoint is written.
            drop(mem::take(&mut self.checkpoints.inner.lock().garbage));
            let enough = self.tuning().checkpoint_log_bytes;
            let is_late = enough > 0 && log_bytes() - begun_at >= enough;
            if !is_late && !self.checkpoints.is_awaited() {
                thread::sleep(REST);
            }
        }
        Ok(writer)
    }

    /// A log that cannot be trimmed only grows, which the next checkpoint tries to mend.
    fn compact_log(&self, index: LogIndex) {
        match &self.engine {
            Engine::Alone(alone) => {
                if let Err(error) = self.wal.compact(self.id, alone.configuration, index) {
                    tracing::warn!(%error, "the log could not be trimmed behind the checkpoint");
                }
            }
            Engine::Member(seat) => seat.inbox.push(Event::Covered(index)),
        }
    }

    /// Removes files of the log that hold nothing that is needed.
    fn purge_log(&self) {
        if let Err(error) = self.wal.purge() {
            tracing::warn!(%error, "files of the log could not be removed");
        }
    }
}
