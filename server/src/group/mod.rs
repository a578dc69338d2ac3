//! A group on this node: its log, its state and the way from a proposal to its replies.
//!
//! Connection threads collect the writes of all connections that were ready at once and
//! [`submit`](Group::submit) them together; answered proposals come back through mailboxes. Two
//! engines stand behind that:
//!
//! * a node without a cluster commits by itself (`alone`, `commit`): proposals become an entry, the
//!   entry goes to the log (and to the disk), is applied, and the proposals are answered;
//! * a node of a cluster has a seat in a group (`seat`): a thread of its own (`runtime`) drives a
//!   member (`member`), which agrees with the others on the log.
//!
//! **Reads** take [`Group::readable`] and look at it; where that gives nothing they are submitted
//! like writes. The state only ever shows what has been applied, which under `fsync always` is on
//! disk, in a cluster on the disks of a majority.
//!
//! Invariant: an entry is applied after it is decided, and answered after it is applied.
//!
//! **Failure.** A full disk refuses the writes of a commit and leaves everything as it was; reads
//! go on, and writes resume when there is room. A log that fails in any other way stops the
//! process: what it may have acknowledged and what is on disk could differ from then on.

mod alone;
mod answer;
mod aside;
mod attendance;
pub mod bells;
mod checkpoint_files;
mod checkpointer;
pub mod clock;
mod commit;
mod encode;
mod eviction;
mod host;
mod inbox;
mod mailbox;
mod member;
mod observer;
mod pace;
#[doc(hidden)]
pub mod planted;
mod proposal;
mod recovery;
mod refusal;
mod reload;
mod runtime;
mod scripts;
mod seat;
mod shared;
mod tuning;
mod vault;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use arc_swap::Guard;
use bailiwick_replication::{ConfigurationId, DataDir, GroupId, NodeId, Wal};
use bytes::Bytes;
use parking_lot::RwLockReadGuard;

pub(crate) use answer::{fail, fail_from};
pub use attendance::{Kill, RunningScript};
pub use checkpointer::{CheckpointStatus, Checkpoints};
pub(crate) use commit::deliver;
pub use host::{Host, HostConfig, NODE_SERVICES, NodeServices, open_data};
use inbox::Event;
pub use mailbox::Mailbox;
pub use member::{
    Change, Description, Member, MemberDescription, MemberOptions, TransferProgress, Work,
};
pub use observer::Observer;
pub use proposal::{Arguments, Item, Proposal, Step, Strayed, Timing, Transaction, put_request};
pub use recovery::{LoadProgress, RecoverError};
pub use reload::ReloadError;
pub use seat::{Charter, Founding, Seat};
pub use shared::{PassOn, Shared, Standing};
pub use tuning::{Eviction, Fsync, SYNC_INTERVAL, Tuning};
pub use vault::{Piece, Vault};

use crate::commands::{Counters, SCRIPT_STACK_BYTES, attend};
use crate::state::State;
use alone::Alone;
use bells::Bells;

/// The group that owns the empty prefix.
pub const ROOT_GROUP: GroupId = GroupId(0);
/// The configuration under which a group keeps its log.
pub const FIRST_CONFIGURATION: ConfigurationId = ConfigurationId(0);

/// A log with the keyspace that it adds up to, on this node.
pub struct Group {
    id: GroupId,
    data: Arc<DataDir>,
    wal: Arc<Wal>,
    shared: Arc<Shared>,
    engine: Engine,
    checkpoints: Arc<Checkpoints>,
}

/// What puts proposals into the log.
enum Engine {
    /// This node by itself.
    Alone(Alone),
    /// Consensus.
    Member(Box<Seat>),
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

    /// The state as this node has applied it, for reading. Held as shortly as possible: a commit
    /// waits for it.
    pub fn state(&self) -> RwLockReadGuard<'_, State> {
        self.shared.state()
    }

    /// The state if reads of it are linearizable, or need not be and this node keeps up with the
    /// group; otherwise, and while a script has it, they go through [`Group::submit`].
    pub fn readable(&self, may_be_stale: bool) -> Option<RwLockReadGuard<'_, State>> {
        // Whoever has left the group hears of nothing new, and its state only grows older.
        let state = if may_be_stale && self.shared.standing.takes_part() {
            self.shared.state_unless_held()?
        } else {
            self.shared.linearizable(clock::boot_ns)?
        };
        // Before its first entry a group has nothing to read from.
        (state.keyspace.databases() > 0).then_some(state)
    }

    /// How this node stands in the group.
    #[must_use]
    pub fn standing(&self) -> &Standing {
        &self.shared.standing
    }

    /// Calls this whenever the log has changed what the group serves or has handed out; it must not
    /// wait. The first one counts. A node without a cluster never calls it.
    pub fn on_authority(&self, call: impl Fn() + Send + Sync + 'static) {
        self.shared.on_authority(call);
    }

    /// Gives proposals to this one when this node is no member of the group any more; it must not
    /// wait. The first one counts.
    pub fn on_leaving(&self, pass_on: Arc<PassOn>) {
        self.shared.on_leaving(pass_on);
    }

    /// This node's seat in a group that may have several members; `None` for a node that runs
    /// without a cluster.
    #[must_use]
    pub fn seat(&self) -> Option<&Seat> {
        match &self.engine {
            Engine::Alone(_) => None,
            Engine::Member(seat) => Some(seat),
        }
    }

    /// Which node this is, and in which life, as its waiters are known by.
    #[must_use]
    pub fn life(&self) -> (u32, u64) {
        match &self.engine {
            Engine::Alone(alone) => {
                let origin = alone.committer.lock().origin;
                (origin.node, origin.incarnation)
            }
            Engine::Member(seat) => (seat.node().0 as u32, seat.host().incarnation()),
        }
    }

    /// From now on, whoever waits for this group's keys is told by these.
    pub fn set_bells(&self, bells: Arc<Bells>) {
        self.shared.set_bells(bells);
    }

    /// The settings in force.
    pub fn tuning(&self) -> Guard<Arc<Tuning>> {
        self.shared.tuning()
    }

    /// Changes the settings.
    pub fn set_tuning(&self, tuning: Tuning) {
        self.shared.tuning.store(Arc::new(tuning));
        self.checkpoints.wake();
    }

    /// From now on this one is told what happens to keys.
    pub fn observe(&self, observer: Arc<dyn Observer>) {
        // A group has one observer, its node's.
        let _ = self.shared.observer.set(observer);
    }

    /// Statistics.
    #[must_use]
    pub fn totals(&self) -> &Totals {
        &self.shared.totals
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
        let alone = match &self.engine {
            Engine::Member(seat) => return seat.inbox.submit(proposals),
            Engine::Alone(alone) => alone,
        };
        if proposals.iter().any(|proposal| proposal.runs_script) {
            self.submit_scripts(alone, proposals);
        }
        if self.tuning().fsync == Fsync::Always {
            alone.queue.submit(proposals);
        } else if !proposals.is_empty() {
            self.commit_here(alone, proposals);
        }
    }

    /// Takes a proposal of another node's clients; the answer goes to that node. False if this node
    /// has no seat in a group of a cluster.
    pub fn execute_for(&self, from: NodeId, proposal: Bytes) -> bool {
        match &self.engine {
            Engine::Member(seat) => {
                seat.inbox.push(Event::Proxied(from, proposal));
                true
            }
            Engine::Alone(_) => false,
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

    /// Starts the group's threads. `on_ready` is called when clients can be served, which with a
    /// group of several members may take until they have found each other.
    pub fn start(
        self: &Arc<Self>,
        on_ready: impl FnOnce() + Send + 'static,
    ) -> Vec<thread::JoinHandle<()>> {
        self.look_after_scripts();
        let spawn = |name: &str, run: Box<dyn FnOnce() + Send>| {
            thread::Builder::new()
                .name(name.to_owned())
                .stack_size(SCRIPT_STACK_BYTES)
                .spawn(run)
                .expect("the system has room for a few threads at the start")
        };
        let group = self.clone();
        let mut threads = vec![spawn(
            "checkpoint",
            Box::new(move || group.run_checkpoints()),
        )];
        match &self.engine {
            Engine::Alone(_) => {
                let group = self.clone();
                threads.push(spawn("commit", Box::new(move || group.run_commits())));
                on_ready();
            }
            Engine::Member(seat) => {
                let runtime = seat.take_runtime(Box::new(on_ready));
                threads.push(spawn("replica", Box::new(move || runtime.run())));
            }
        }
        let group = self.clone();
        threads.push(spawn("sync", Box::new(move || group.run_syncs())));
        threads
    }

    /// Lets the group's threads finish what they have and end; the log is synced by then.
    pub fn close(&self) {
        self.shared.attendance.kill_any();
        self.shared.aside.close();
        match &self.engine {
            Engine::Alone(alone) => alone.queue.close(),
            Engine::Member(seat) => seat.close(),
        }
        self.checkpoints.close();
        if let Err(error) = self.wal.sync() {
            stop_process(&error.to_string());
        }
    }

    fn run_commits(&self) {
        let Engine::Alone(alone) = &self.engine else {
            return;
        };
        attend(self.shared.clone());
        let mut proposals = Vec::new();
        while alone.queue.take(&mut proposals) {
            let sync = self.tuning().fsync == Fsync::Always;
            // Under `always` nobody else commits.
            let occupant = (!sync).then(|| self.shared.attendance.occupy());
            self.commit(alone, &mut proposals, sync);
            drop(occupant);
        }
    }

    fn run_syncs(&self) {
        let mut synced = 0;
        while !self.checkpoints.wait_closed(SYNC_INTERVAL) {
            let appended = self.shared.totals.log_bytes.load(Ordering::Acquire);
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
