//! A node's seat in a group of a cluster: what the rest of the node talks to.
//!
//! Owns the inbox of the replica's thread, and how a member comes up from what its node's data
//! directory holds of the group. Calls that need an answer from the replica's thread block, and are
//! not for threads that serve connections.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use bailiwick_replication::consensus::{Configuration, Member as MemberId, Meta, Options, Replica};
use bailiwick_replication::{GroupId, NodeId, WalSource};
use parking_lot::Mutex;

use super::checkpoint_files::CheckpointFiles;
use super::clock::boot_ns;
use super::host::Host;
use super::inbox::{Event, Inbox};
use super::member::{Change, Description, Member, MemberOptions};
use super::recovery::{entropy, load_checkpoint};
use super::runtime::Runtime;
use super::{
    Checkpoints, Engine, Group, LoadProgress, ROOT_GROUP, RecoverError, Shared, Standing, Tuning,
    stop_process,
};
use crate::cluster::Cluster;
use crate::state::Origin;

/// How long to wait for a description.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long to wait for a change, which has its own bounds, on a thread that gives no sign of life.
const CHANGE_PATIENCE: Duration = Duration::from_secs(300);
/// How long a node that ends waits for another one to lead.
const HAND_OVER: Duration = Duration::from_secs(2);

/// A group in which a node is to take its seat.
#[derive(Clone, Debug)]
pub struct Charter {
    /// The group's number.
    pub id: GroupId,
    /// Its name.
    pub name: String,
    /// How it comes to be, for a node that has nothing of it yet.
    pub founding: Founding,
    /// How much this node should lead; 0 if it does not matter.
    pub priority: u32,
    /// The seed of the group's tables.
    pub hash_seed: u64,
    /// Its databases.
    pub databases: usize,
}

/// How a group comes to be.
#[derive(Clone, Debug)]
pub enum Founding {
    /// The nodes that the cluster's file names found it when they have heard of all nodes.
    ByFile,
    /// The group that the new one was made by has fixed its members.
    Fixed(Vec<MemberId>),
}

/// This node's seat in a group.
pub struct Seat {
    pub(super) host: Arc<Host>,
    id: GroupId,
    shared: Arc<Shared>,
    pub(super) inbox: Arc<Inbox>,
    /// Whether the replica's thread was told what a new group is to be like.
    has_shape: AtomicBool,
    /// Until the threads are started.
    runtime: Mutex<Option<Runtime>>,
}

impl Seat {
    /// The group's name.
    #[must_use]
    pub fn group_name(&self) -> String {
        self.shared.name()
    }

    /// What the directory says of the group has become known.
    pub fn learn(&self, name: &str, databases: usize, hash_seed: u64) {
        self.shared.set_name(name);
        if !self.has_shape.swap(true, Ordering::Relaxed) {
            self.call(move |member, _| member.learn_shape(databases, hash_seed));
        }
    }

    /// The directory knows the members of this configuration.
    pub fn note_published(&self, configuration: u64) {
        self.shared.note_published(configuration);
    }

    /// The node that this is a seat of.
    #[must_use]
    pub fn host(&self) -> &Arc<Host> {
        &self.host
    }

    /// The cluster as its file has it.
    #[must_use]
    pub fn cluster(&self) -> &Cluster {
        self.host.cluster()
    }

    /// This node.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.host.me().node
    }

    pub(super) fn close(&self) {
        self.host.switchboard.disconnect(self.id);
        self.inbox.close();
    }

    /// The group as this node sees it; `None` while the node ends, or if its disk holds the
    /// replica's thread up for long. Blocks.
    #[must_use]
    pub fn describe(&self) -> Option<Description> {
        let (answer, described) = mpsc::channel();
        self.call(move |member, now| {
            // Whoever asked may have gone.
            let _ = answer.send(member.describe(now));
        });
        described.recv_timeout(PATIENCE).ok()
    }

    /// Who takes part, as this node knows it; `None` under the circumstances of
    /// [`Seat::describe`]. Blocks.
    #[must_use]
    pub fn configuration(&self) -> Option<Configuration> {
        let (answer, configuration) = mpsc::channel();
        self.call(move |member, _| {
            let _ = answer.send(member.replica().configuration());
        });
        configuration.recv_timeout(PATIENCE).ok()
    }

    /// Changes the group, on its leader, wherever that is. Blocks until it is done or refused.
    ///
    /// # Errors
    /// Why it is not done, for the operator.
    pub fn change(&self, change: Change) -> Result<(), String> {
        let (reply, outcome) = mpsc::channel();
        self.call(move |member, now| member.order(change, reply, now));
        let ended = || "the node is ending, or its disk does not answer".to_owned();
        outcome
            .recv_timeout(CHANGE_PATIENCE)
            .unwrap_or_else(|_| Err(ended()))
    }

    /// Lets another member lead, if this node does and there is one. Blocks, for two seconds at
    /// most.
    pub fn hand_over(&self) {
        let until = Instant::now() + HAND_OVER;
        while Instant::now() < until && self.try_hand_over().unwrap_or(false) {
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// True if this node still leads and another one was asked to take over.
    fn try_hand_over(&self) -> Option<bool> {
        let (answer, leads) = mpsc::channel();
        self.call(move |member, now| {
            // Asking twice begins the wait for the other one anew.
            let _ = answer.send(member.hand_over(now));
        });
        leads.recv_timeout(PATIENCE).ok()
    }

    pub(super) fn take_runtime(&self, on_ready: Box<dyn FnOnce() + Send>) -> Runtime {
        let runtime = self.runtime.lock().take();
        let mut runtime = runtime.expect("a group is started once");
        runtime.on_ready = Some(on_ready);
        runtime
    }

    fn call(&self, call: impl FnOnce(&mut Member, u64) + Send + 'static) {
        self.inbox.push(Event::Call(Box::new(call)));
    }
}

impl Group {
    /// Takes this node's seat in a group, with what its data directory holds of it.
    ///
    /// # Errors
    /// What is on disk cannot be used.
    pub fn join(
        host: &Arc<Host>,
        charter: Charter,
        tuning: Tuning,
        progress: &LoadProgress,
    ) -> Result<Arc<Self>, RecoverError> {
        let (id, me) = (charter.id, host.me());
        let has_shape = charter.databases > 0;
        let (data, wal, timing) = (&host.data, &host.wal, host.config.timing);
        let (state, checkpoint_time_ms, refused) = load_checkpoint(data, id, progress)?;
        let applied = state.applied;
        let meta = match wal.group_meta(id) {
            Some(bytes) => Meta::decode(&bytes).map_err(|error| RecoverError::Record {
                path: data.log_path(),
                reason: error.to_string(),
            })?,
            None => Meta::new(Configuration::default()),
        };
        if applied < meta.trimmed() {
            return Err(RecoverError::Gap {
                path: data.log_path(),
                first: meta.trimmed().0 + 1,
                checkpoint: applied.0,
                refused: refused.iter().map(|error| format!("; {error}")).collect(),
            });
        }
        let replica_options = Options {
            member: me,
            incarnation: host.incarnation(),
            priority: charter.priority,
            timing,
        };
        let stop = |reason: &str| stop_process(reason);
        let source = Box::new(WalSource::new(wal.clone(), id, stop));
        let replica = Replica::open(replica_options, meta, source, applied, boot_ns());
        let shared = Arc::new(Shared::new(state, tuning, Standing::default()));
        shared.set_name(&charter.name);
        let checkpoints = Arc::new(Checkpoints::default());
        checkpoints.set_last(applied, checkpoint_time_ms);
        let inbox = Arc::new(Inbox::default());
        let vault = {
            let inbox = inbox.clone();
            let wake = Box::new(move || inbox.push(Event::Look));
            CheckpointFiles::new(
                data.group_checkpoint_path(id),
                id,
                checkpoints.newest(),
                wake,
            )
        };
        let options = member_options(host, &charter);
        let member = Member::new(replica, shared.clone(), Box::new(vault), options);
        let runtime = Runtime::new(
            (id, timing.tick_ns),
            member,
            (inbox.clone(), host.links.clone()),
            wal.clone(),
            (shared.clone(), checkpoints.clone()),
        );
        for node in host.switchboard.connect(id, inbox.clone()) {
            host.links.cut(node);
        }
        let (data, wal) = (data.clone(), wal.clone());
        let seat = Seat {
            host: host.clone(),
            id,
            shared: shared.clone(),
            inbox,
            has_shape: AtomicBool::new(has_shape),
            runtime: Mutex::new(Some(runtime)),
        };
        Ok(Arc::new(Self {
            id,
            data,
            wal,
            shared,
            engine: Engine::Member(Box::new(seat)),
            checkpoints,
        }))
    }
}

fn member_options(host: &Host, charter: &Charter) -> MemberOptions {
    let config = &host.config;
    let timing = config.timing;
    let (founders, others, first_members) = match &charter.founding {
        Founding::ByFile => (founders(host), others(host), Vec::new()),
        Founding::Fixed(members) => (Vec::new(), Vec::new(), members.clone()),
    };
    MemberOptions {
        group: charter.id,
        origin: Origin {
            node: config.node.0 as u32,
            incarnation: host.incarnation(),
        },
        seed: entropy(),
        founders,
        others,
        first_members,
        databases: charter.databases,
        hash_seed: charter.hash_seed,
        request_timeout_ns: config.request_timeout.as_nanos() as u64,
        resend_after_ns: 4 * timing.tick_ns * timing.election_ticks,
    }
}

/// The nodes that found the root group, if this one is among them.
fn founders(host: &Host) -> Vec<NodeId> {
    let nodes = &host.cluster().root().nodes;
    if nodes.contains(&host.me().node) {
        nodes.clone()
    } else {
        Vec::new()
    }
}

/// All nodes of the cluster but this one.
fn others(host: &Host) -> Vec<NodeId> {
    let nodes = host.cluster().nodes.iter().map(|node| node.id);
    nodes.filter(|node| *node != host.me().node).collect()
}

impl Charter {
    /// A group of which the data directory has something; what else there is to know comes with the
    /// directory. Groups of the cluster's file are numbered in its order; where the file was
    /// changed since, no more than a preference is wrong.
    #[must_use]
    pub fn known(host: &Host, id: GroupId) -> Self {
        let entry = host.cluster().groups.get(id.0 as usize);
        Self {
            id,
            name: format!("#{}", id.0),
            founding: Founding::Fixed(Vec::new()),
            priority: entry.map_or(0, |group| group.priority_of(host.me().node)),
            hash_seed: 0,
            databases: 0,
        }
    }

    /// The root group, as the cluster's file has it.
    #[must_use]
    pub fn of_root(host: &Host) -> Self {
        let root = host.cluster().root();
        Self {
            id: ROOT_GROUP,
            name: root.name.clone(),
            founding: Founding::ByFile,
            priority: root.priority_of(host.me().node),
            hash_seed: host.data.identity().hash_seed,
            databases: host.config.databases,
        }
    }
}
