//! The groups in which this node has a seat.
//!
//! One that runs without a cluster has a single group; a node of a cluster has any number, and may
//! come by more at any time. Look-up takes no lock. The groups' threads are kept here, to be joined
//! when the node ends.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use arc_swap::{ArcSwap, Guard};
use bailiwick_replication::GroupId;
use parking_lot::Mutex;

use super::{Attention, Condition};
use crate::group::bells::Bells;
use crate::group::{Group, Observer, PassOn};

type ById = BTreeMap<GroupId, Arc<Group>>;

/// All seats of a node.
pub struct Seats {
    by_id: ArcSwap<ById>,
    /// The one that was taken first.
    first: OnceLock<Arc<Group>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Called when a group's authority has changed.
    on_authority: OnceLock<Arc<dyn Fn() + Send + Sync>>,
    /// Who takes what seats do not take any more that have ended.
    on_leaving: OnceLock<Arc<PassOn>>,
    /// Where clients wait for keys.
    pub bells: Arc<Bells>,
    observer: Arc<dyn Observer>,
    scripts: Arc<Scripts>,
}

/// Says that a group runs a script that takes long, as long as one does.
struct Scripts {
    attention: Arc<Attention>,
    /// How many groups do.
    groups: Mutex<usize>,
}

impl Scripts {
    fn note(&self, runs: bool) {
        let mut groups = self.groups.lock();
        match runs {
            true => *groups += 1,
            false => *groups -= 1,
        }
        self.attention.set(Condition::Scripted, *groups > 0);
    }
}

impl Seats {
    /// No seat; of those to come the observer is told what happens to keys, and the attention that
    /// scripts take long.
    #[must_use]
    pub fn new(observer: Arc<dyn Observer>, attention: Arc<Attention>) -> Self {
        Self {
            by_id: ArcSwap::default(),
            first: OnceLock::new(),
            threads: Mutex::default(),
            on_authority: OnceLock::new(),
            on_leaving: OnceLock::new(),
            bells: Arc::default(),
            observer,
            scripts: Arc::new(Scripts {
                attention,
                groups: Mutex::new(0),
            }),
        }
    }

    /// From now on calls this, on a replica's thread, whenever the log of a group that is added
    /// later has changed what the group serves or has handed out. It must not wait.
    pub fn on_authority(&self, call: impl Fn() + Send + Sync + 'static) {
        let _ = self.on_authority.set(Arc::new(call));
    }

    /// From now on gives this one, on a replica's thread, the requests that wait for a group that
    /// is added later when this node is no member of it any more. It must not wait.
    pub fn on_leaving(&self, pass_on: Arc<PassOn>) {
        let _ = self.on_leaving.set(pass_on);
    }

    /// Which node this is, in which life; the first word counts.
    pub fn set_life(&self, node: u32, incarnation: u64) {
        self.bells.set_life(node, incarnation);
        self.observer.set_life(node, incarnation);
    }

    /// Adds a group and starts its threads; `on_ready` is called when it can serve clients. The
    /// group must be a new one.
    pub fn add(&self, group: Arc<Group>, on_ready: impl FnOnce() + Send + 'static) {
        let mut threads = self.threads.lock();
        let mut by_id = ById::clone(&self.by_id.load());
        let (node, incarnation) = group.life();
        self.set_life(node, incarnation);
        group.set_bells(self.bells.clone());
        let before = by_id.insert(group.id(), group.clone());
        assert!(before.is_none(), "a second seat in group {}", group.id().0);
        group.observe(self.observer.clone());
        let scripts = self.scripts.clone();
        group.on_script(move |runs| scripts.note(runs));
        self.by_id.store(Arc::new(by_id));
        let _ = self.first.set(group.clone());
        if let Some(call) = self.on_authority.get().cloned() {
            group.on_authority(move || call());
        }
        if let Some(pass_on) = self.on_leaving.get() {
            group.on_leaving(pass_on.clone());
        }
        threads.extend(group.start(on_ready));
    }

    /// Keeps further threads, to be joined with the groups' own.
    pub fn keep(&self, threads: Vec<JoinHandle<()>>) {
        self.threads.lock().extend(threads);
    }

    /// The group that was the first; the root group, if this node has a seat in it.
    #[must_use]
    pub fn first(&self) -> Option<&Arc<Group>> {
        self.first.get()
    }

    /// This node's seat in a group.
    #[must_use]
    pub fn get(&self, id: GroupId) -> Option<Arc<Group>> {
        self.by_id.load().get(&id).cloned()
    }

    /// All of them, by number.
    #[must_use]
    pub fn all(&self) -> Guard<Arc<ById>> {
        self.by_id.load()
    }

    /// Ends the groups' threads; what is in their logs is on disk then.
    pub fn close(&self) {
        // Held, so that no group is added meanwhile.
        let mut threads = self.threads.lock();
        for group in self.all().values() {
            group.close();
        }
        for thread in threads.drain(..) {
            let _ = thread.join();
        }
    }
}
