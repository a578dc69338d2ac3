//! How prefixes change hands: what the leader of a group does so that its log's decisions come
//! true.
//!
//! A change of hands is a decision in the log of the group that owns the parent prefix. Everything
//! that follows is driven from outside the state machines, by the node that leads the group
//! concerned: [`Parent`] for the group that has decided it, [`Source`] for the one that is to let
//! go ([`authority`](crate::authority) has the rules that each step obeys). The destination only
//! answers. A driver keeps nothing that matters: whoever leads next goes on from what the logs say.
//!
//! [`Handoffs`] finds what there is to do and runs each job on a thread of its own, a bounded
//! number at once, because a job waits for groups far away. [`order`] carries out what operators
//! ask for, and [`bootstrap`] what the cluster's file does.
//!
//! **How it fails.** A job that meets a refusal or cannot reach a group ends, undoes what it can,
//! and is tried again after a pause that grows. A job on a node that has ceased to lead ends at its
//! next step and changes nothing more.

pub mod bootstrap;
mod copy;
mod job;
pub mod order;
mod parent;
mod progress;
mod source;
mod step;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bailiwick_replication::GroupId;
use parking_lot::{Condvar, Mutex};

pub use parent::Parent;
pub use progress::{Progress, Sample};
pub use source::{Source, Stage};
pub use step::{Answer, End, Step};

use crate::authority::{Authority, Phase};
use crate::node::Node;
use crate::threads;

/// Prefixes that are copied away from this node at once.
const MAX_SOURCES: usize = 4;
/// Delegations that are looked after at once.
const MAX_PARENTS: usize = 4;
/// How often it is looked for work while there is some.
const BUSY: Duration = Duration::from_millis(20);
/// How often it is looked for work otherwise. Whatever a log has decided calls at once, so this
/// only finds what comes with a change of leaders.
const IDLE: Duration = Duration::from_millis(250);
/// The pause after the first failure of a job; it doubles with each further one.
const FIRST_REST: Duration = Duration::from_millis(50);
/// The most doublings.
const MAX_DOUBLINGS: u32 = 6;
/// How long the end of the node waits for jobs to end.
const PATIENCE: Duration = Duration::from_secs(1);

/// The jobs of a node.
#[derive(Default)]
pub struct Handoffs {
    jobs: Mutex<Jobs>,
    /// A job has ended, or somebody calls.
    changed: Condvar,
}

#[derive(Default)]
struct Jobs {
    running: BTreeMap<Key, Arc<Progress>>,
    /// Those that were tried before, be it that they run again.
    resting: BTreeMap<Key, Rest>,
    totals: Totals,
    is_called: bool,
    is_closed: bool,
}

/// What has happened since the node started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Prefixes that left a group under this node's lead.
    pub done: u64,
    /// Attempts that were given up.
    pub failed: u64,
}

/// Which job.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    kind: Kind,
    group: GroupId,
    prefix: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// What the cluster's file says is carried out.
    Bootstrap,
    /// A prefix is to leave a group.
    Source,
    /// A delegation changes hands.
    Parent,
}

/// A job that is to be tried again.
#[derive(Clone, Copy)]
struct Rest {
    until: Instant,
    failures: u32,
}

impl Handoffs {
    /// Starts the thread that looks for work. For a node of a cluster, once.
    pub fn start(node: &Arc<Node>) -> JoinHandle<()> {
        let node = node.clone();
        threads::spawn_early("handoffs", move || {
            while node.handoffs.wait() {
                look(&node);
            }
        })
    }

    /// Makes the thread look at once: a group's authority may have changed.
    pub fn call(&self) {
        self.jobs.lock().is_called = true;
        self.changed.notify_all();
    }

    /// Ends all jobs at their next step, and waits for that, but not for long: one may be waiting
    /// for a group far away, and leaves nothing behind that matters.
    pub fn close(&self) {
        let until = Instant::now() + PATIENCE;
        let mut jobs = self.jobs.lock();
        jobs.is_closed = true;
        self.changed.notify_all();
        while !jobs.running.is_empty() && !self.changed.wait_until(&mut jobs, until).timed_out() {}
    }

    /// The jobs that copy a prefix away.
    #[must_use]
    pub fn running(&self) -> Vec<Arc<Progress>> {
        let jobs = self.jobs.lock();
        let sources = jobs.running.iter();
        let sources = sources.filter(|(key, _)| key.kind == Kind::Source);
        sources.map(|(_, progress)| progress.clone()).collect()
    }

    /// What has happened so far.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.jobs.lock().totals
    }

    fn is_closed(&self) -> bool {
        self.jobs.lock().is_closed
    }

    /// Waits until it is time to look; false if never again.
    fn wait(&self) -> bool {
        let mut jobs = self.jobs.lock();
        let is_busy = !jobs.running.is_empty() || !jobs.resting.is_empty();
        let until = Instant::now() + if is_busy { BUSY } else { IDLE };
        while !jobs.is_called && !jobs.is_closed {
            if self.changed.wait_until(&mut jobs, until).timed_out() {
                break;
            }
        }
        jobs.is_called = false;
        !jobs.is_closed
    }

    /// Waits for a moment within a job; false if it is to end.
    fn pause(&self, pause: Duration) -> bool {
        let until = Instant::now() + pause;
        let mut jobs = self.jobs.lock();
        while !jobs.is_closed {
            if self.changed.wait_until(&mut jobs, until).timed_out() {
                return !jobs.is_closed;
            }
        }
        false
    }

    /// Takes a job on, unless it runs, rests, or there are too many.
    fn take_on(&self, key: &Key) -> Option<Arc<Progress>> {
        let mut jobs = self.jobs.lock();
        let rests = jobs.resting.get(key);
        let rests = rests.is_some_and(|rest| rest.until > Instant::now());
        let alike = jobs.running.keys().filter(|other| other.kind == key.kind);
        if jobs.is_closed
            || rests
            || alike.count() >= key.kind.limit()
            || jobs.running.contains_key(key)
        {
            return None;
        }
        let progress = Arc::new(Progress::new(key.group, &key.prefix));
        jobs.running.insert(key.clone(), progress.clone());
        Some(progress)
    }

    fn note_end(&self, key: &Key, end: &End) {
        let mut jobs = self.jobs.lock();
        jobs.running.remove(key);
        let failures = jobs.resting.remove(key).map_or(0, |rest| rest.failures);
        let is_source = key.kind == Kind::Source;
        let (pause, failures) = match end {
            End::Done => {
                jobs.totals.done += u64::from(is_source);
                (None, 0)
            }
            End::Later => (Some(BUSY), failures),
            End::Failed(_) => {
                jobs.totals.failed += u64::from(is_source);
                let pause = FIRST_REST * (1 << failures.min(MAX_DOUBLINGS));
                (Some(pause), failures + 1)
            }
        };
        if let Some(pause) = pause {
            let until = Instant::now() + pause;
            jobs.resting.insert(key.clone(), Rest { until, failures });
        }
        drop(jobs);
        self.changed.notify_all();
    }

    /// Forgets the failures of jobs that there are no more.
    fn keep_only(&self, wanted: &[Key]) {
        let mut jobs = self.jobs.lock();
        jobs.resting
            .retain(|key, _| wanted.binary_search(key).is_ok());
    }
}

impl Kind {
    fn limit(self) -> usize {
        match self {
            Self::Bootstrap => 1,
            Self::Source => MAX_SOURCES,
            Self::Parent => MAX_PARENTS,
        }
    }
}

/// Starts what there is to do and is not being done.
fn look(node: &Arc<Node>) {
    let wanted = wanted(node);
    node.handoffs.keep_only(&wanted);
    for key in wanted {
        let Some(progress) = node.handoffs.take_on(&key) else {
            continue;
        };
        let (spawned, job_node) = (key.clone(), node.clone());
        let started = threads::spawn("handoff", move || {
            let end = job::run(&job_node, &spawned, &progress);
            job_node.handoffs.note_end(&spawned, &end);
        });
        if let Err(error) = started {
            let reason = format!("no thread: {error}");
            node.handoffs.note_end(&key, &End::Failed(reason));
        }
    }
}

/// What there is to do for the groups that this node leads, in order.
fn wanted(node: &Node) -> Vec<Key> {
    let mut wanted = Vec::new();
    for (&id, group) in node.seats.all().iter() {
        if !group.standing().leads() {
            continue;
        }
        if bootstrap::is_due(node, group) {
            wanted.push(Key::new(Kind::Bootstrap, id, b""));
        }
        for (duty, prefix) in duties(&group.state().authority) {
            let kind = match duty {
                Duty::Source => Kind::Source,
                Duty::Parent => Kind::Parent,
            };
            wanted.push(Key::new(kind, id, &prefix));
        }
    }
    wanted.sort_unstable();
    wanted
}

/// What the leader of a group has to do for a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Duty {
    /// Hand it over, as a [`Source`].
    Source,
    /// See to it that it changes hands, as a [`Parent`].
    Parent,
}

/// All that the leader of the group with this authority has to do, in the order of the prefixes.
#[must_use]
pub fn duties(authority: &Authority) -> Vec<(Duty, Vec<u8>)> {
    let mut duties = Vec::new();
    for (prefix, domain) in authority.unsettled() {
        let owned = domain.owned.map(|owned| owned.phase);
        if owned.is_some_and(|phase| phase != Phase::Serving) {
            duties.push((Duty::Source, prefix.to_vec()));
        }
        let delegated = domain.delegated;
        if delegated.is_some_and(|delegated| delegated.moving.is_some()) {
            duties.push((Duty::Parent, prefix.to_vec()));
        }
    }
    duties
}

impl Key {
    fn new(kind: Kind, group: GroupId, prefix: &[u8]) -> Self {
        Self {
            kind,
            group,
            prefix: prefix.to_vec(),
        }
    }
}
