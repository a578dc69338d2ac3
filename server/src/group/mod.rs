//! A group on this node: its log, its state and the way from a proposal to its replies.
//!
//! **Life of a write.** Connection threads collect the writes of all connections that were ready at
//! once and [`submit`](Group::submit) them together. A *commit* takes what is there, makes it one
//! log entry, appends the entry to the log, applies it, and answers every proposal in it:
//!
//! ```text
//! proposals -> entry -> log (-> fdatasync) -> apply -> replies
//! ```
//!
//! With `fsync always` commits run on the group's own thread, so that connections are served while
//! the disk works and whatever arrives meanwhile shares the next sync (group commit). Otherwise an
//! append is a copy into the page cache, and the connection thread commits by itself: handing over
//! would cost more than the work.
//!
//! **Reads** take [`Group::state`] and look at it; the state only ever shows what has been applied,
//! which with `always` is on disk.
//!
//! Invariant: under the committer's lock, `state.applied == replica.applied()`; an entry is applied
//! after it is in the log, and answered after it is applied.
//!
//! **Failure.** A full disk refuses the writes of a commit and leaves everything as it was; reads go
//! on, and writes resume when there is room. A log that fails in any other way stops the process:
//! what it may have acknowledged and what is on disk could differ from then on.

mod checkpointer;
mod commit;
mod eviction;
mod mailbox;
mod proposal;
mod recovery;
mod reload;
mod tuning;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use arc_swap::{ArcSwap, Guard};
use bailiwick_replication::{ConfigurationId, DataDir, GroupId, Wal};
use parking_lot::{Condvar, Mutex, RwLock, RwLockReadGuard};

pub use checkpointer::{CheckpointStatus, Checkpoints};
pub use mailbox::Mailbox;
pub use proposal::{Arguments, Item, Proposal, Step, Timing, Transaction};
pub use recovery::{LoadProgress, RecoverError};
pub use reload::ReloadError;
pub use tuning::{Eviction, Fsync, SYNC_INTERVAL, Tuning};

use crate::commands::Counters;
use crate::state::State;
use commit::Committer;

/// The group that owns the empty prefix.
pub const ROOT_GROUP: GroupId = GroupId(0);
/// The configuration with which a group begins.
pub const FIRST_CONFIGURATION: ConfigurationId = ConfigurationId(0);

/// A replicated (so far by one node) log with the keyspace that it adds up to.
pub struct Group {
    id: GroupId,
    configuration: ConfigurationId,
    data: Arc<DataDir>,
    wal: Wal,
    state: RwLock<State>,
    committer: Mutex<Committer>,
    queue: Queue,
    tuning: ArcSwap<Tuning>,
    totals: Totals,
    checkpoints: Checkpoints,
}

/// Proposals on their way to the commit thread.
#[derive(Default)]
struct Queue {
    inner: Mutex<QueueInner>,
    filled: Condvar,
}

#[derive(Default)]
struct QueueInner {
    waiting: Vec<Box<Proposal>>,
    closed: bool,
}

/// What happened since the start; statistics.
#[derive(Debug, Default)]
pub struct Totals {
    /// Look-ups that found their key.
    pub hits: AtomicU64,
    /// Look-ups that did not.
    pub misses: AtomicU64,
    /// Keys removed because they had expired.
    pub expired: AtomicU64,
    /// Keys removed to make room.
    pub evicted: AtomicU64,
    /// Changes to the keyspace.
    pub changes: AtomicU64,
    /// Changes when the last checkpoint was taken.
    pub changes_at_checkpoint: AtomicU64,
    /// Entries appended to the log.
    pub entries: AtomicU64,
    /// Bytes appended to the log.
    pub log_bytes: AtomicU64,
    /// Bytes appended to the log when the last checkpoint was taken.
    pub log_bytes_at_checkpoint: AtomicU64,
    /// Commits refused because the disk was full; 0 again after one went through.
    pub refused_commits: AtomicU64,
}

impl Totals {
    /// Adds what a batch counted.
    pub fn add(&self, counters: &Counters) {
        for (total, cell) in [
            (&self.hits, &counters.hits),
            (&self.misses, &counters.misses),
            (&self.expired, &counters.expired),
            (&self.evicted, &counters.evicted),
            (&self.changes, &counters.changes),
        ] {
            let count = cell.take();
            if count > 0 {
                total.fetch_add(count, Ordering::Relaxed);
            }
        }
    }

    /// Forgets what `CONFIG RESETSTAT` forgets.
    pub fn reset(&self) {
        for total in [&self.hits, &self.misses, &self.expired, &self.evicted] {
            total.store(0, Ordering::Relaxed);
        }
    }
}

impl Group {
    /// The group's number.
    #[must_use]
    pub fn id(&self) -> GroupId {
        self.id
    }

    /// The state, for reading. Held as shortly as possible: a commit waits for it.
    pub fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read()
    }

    /// The settings in force.
    pub fn tuning(&self) -> Guard<Arc<Tuning>> {
        self.tuning.load()
    }

    /// Changes the settings.
    pub fn set_tuning(&self, tuning: Tuning) {
        self.tuning.store(Arc::new(tuning));
        self.checkpoints.wake();
    }

    /// Statistics.
    #[must_use]
    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    /// Checkpoints, past and present.
    #[must_use]
    pub fn checkpoints(&self) -> &Checkpoints {
        &self.checkpoints
    }

    /// Bytes that the log takes on disk.
    #[must_use]
    pub fn log_disk_bytes(&self) -> u64 {
        self.wal.size_bytes()
    }

    /// Commits the proposals, here or on the group's thread. Answered proposals are put into their
    /// mailboxes; after this the vector is empty.
    pub fn submit(&self, proposals: &mut Vec<Box<Proposal>>) {
        if self.tuning().fsync != Fsync::Always {
            self.commit(proposals, false);
            return;
        }
        let mut inner = self.queue.inner.lock();
        let was_empty = inner.waiting.is_empty();
        inner.waiting.append(proposals);
        drop(inner);
        if was_empty {
            self.queue.filled.notify_one();
        }
    }

    /// Commits a proposal and blocks until it is answered; not for a thread that serves
    /// connections. The proposal's mailbox must be its own.
    #[must_use]
    pub fn run(&self, proposal: Box<Proposal>) -> Box<Proposal> {
        let mailbox = proposal.mailbox.clone();
        self.submit(&mut vec![proposal]);
        mailbox.wait()
    }

    /// Starts the group's threads: commits, the periodic sync, checkpoints.
    pub fn start(self: &Arc<Self>) -> Vec<thread::JoinHandle<()>> {
        let spawn = |name: &str, run: fn(&Self)| {
            let group = self.clone();
            thread::Builder::new()
                .name(name.to_owned())
                .spawn(move || run(&group))
                .expect("the system has room for a few threads at the start")
        };
        vec![
            spawn("commit", Self::run_commits),
            spawn("sync", Self::run_syncs),
            spawn("checkpoint", Self::run_checkpoints),
        ]
    }

    /// Lets the group's threads finish what they have and end; the log is synced by then.
    pub fn close(&self) {
        self.queue.inner.lock().closed = true;
        self.queue.filled.notify_all();
        self.checkpoints.close();
        if let Err(error) = self.wal.sync() {
            stop_process(&error.to_string());
        }
    }

    fn run_commits(&self) {
        let mut proposals = Vec::new();
        loop {
            let mut inner = self.queue.inner.lock();
            while inner.waiting.is_empty() {
                if inner.closed {
                    return;
                }
                self.queue.filled.wait(&mut inner);
            }
            std::mem::swap(&mut inner.waiting, &mut proposals);
            drop(inner);
            self.commit(&mut proposals, true);
        }
    }

    fn run_syncs(&self) {
        let mut synced = 0;
        while !self.checkpoints.wait_closed(SYNC_INTERVAL) {
            let appended = self.totals.log_bytes.load(Ordering::Acquire);
            if self.tuning().fsync != Fsync::Interval || appended == synced {
                continue;
            }
            if let Err(error) = self.wal.sync() {
                stop_process(&error.to_string());
            }
            synced = appended;
        }
    }
}

/// Ends the process because the log can no longer be trusted. Nothing that was not acknowledged
/// before is acknowledged after this.
fn stop_process(reason: &str) -> ! {
    tracing::error!(
        reason,
        "the log failed; stopping, because what follows could not be made durable. \
         Check the disk, then start again: nothing that was acknowledged is lost"
    );
    std::process::exit(1);
}
