//! A node's seat in a group of a cluster: what the rest of the node talks to.
//!
//! Owns the links, the inbox of the replica's thread, and how a member comes up from its data
//! directory. Calls that need an answer from the replica's thread block, and are not for threads
//! that serve connections.

use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use bailiwick_replication::consensus::{
    Configuration, Member as MemberId, Meta, Options, Replica, Timing,
};
use bailiwick_replication::link::{LinkConfig, LinkLimits, LinkStatus, Links, Peer};
use bailiwick_replication::{DataDir, Error, NodeId, Wal, WalOptions, WalSource};
use parking_lot::Mutex;

use super::checkpoint_files::CheckpointFiles;
use super::clock::{boot_ns, clock_ms};
use super::inbox::{Event, Inbox, LinkReports};
use super::member::{Change, Description, Member, MemberOptions};
use super::recovery::{entropy, load_checkpoint, report_cuts};
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

/// Which member of which group this node is, and how it behaves.
#[derive(Clone, Debug)]
pub struct MemberConfig {
    /// The cluster as its file has it.
    pub cluster: Cluster,
    /// This node.
    pub node: NodeId,
    /// Times of consensus.
    pub timing: Timing,
    /// How long a command waits for a leader.
    pub request_timeout: Duration,
    /// The databases of a new group.
    pub databases: usize,
    /// Free space that the log leaves alone, in bytes.
    pub reserve_bytes: u64,
}

/// This node's seat in a group.
pub struct Seat {
    cluster: Cluster,
    node: NodeId,
    pub(super) inbox: Arc<Inbox>,
    links: Links,
    /// Until the threads are started.
    runtime: Mutex<Option<Runtime>>,
}

impl Seat {
    /// The group's name.
    #[must_use]
    pub fn group_name(&self) -> &str {
        &self.cluster.root().name
    }

    /// The cluster as its file has it.
    #[must_use]
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// This node.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// How each link is doing.
    #[must_use]
    pub fn links(&self) -> Vec<LinkStatus> {
        self.links.status()
    }

    /// How many incoming connections were no node of the cluster.
    #[must_use]
    pub fn rejected_links(&self) -> u64 {
        self.links.rejected()
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
    /// Takes this node's seat in the root group of a cluster, with what its data directory holds.
    ///
    /// # Errors
    /// What is on disk cannot be used, or the node's peer address cannot be listened on.
    pub fn join(
        data: Arc<DataDir>,
        config: MemberConfig,
        tuning: Tuning,
        progress: &LoadProgress,
    ) -> Result<Arc<Self>, RecoverError> {
        // A node whose directory was emptied must not repeat numbers of its earlier lives, by which
        // others know its proposals: so they follow the clock.
        let now_ms = u64::try_from(clock_ms()).unwrap_or(0);
        let incarnation = data.next_incarnation(now_ms)?;
        let (state, checkpoint_time_ms, refused) = load_checkpoint(&data, progress)?;
        let applied = state.applied;
        let options = WalOptions {
            reserve_bytes: config.reserve_bytes,
            ..WalOptions::default()
        };
        let (wal, recovery) = Wal::open(&data, options)?;
        report_cuts(&recovery);
        let wal = Arc::new(wal);
        let meta = match wal.group_meta(ROOT_GROUP) {
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
        let identity = data.identity();
        let me = MemberId {
            node: config.node,
            disk: identity.disk_id(),
        };
        let replica_options = Options {
            member: me,
            incarnation,
            priority: config.cluster.root().priority_of(config.node),
            timing: config.timing,
        };
        let stop = |reason: &str| stop_process(reason);
        let source = Box::new(WalSource::new(wal.clone(), ROOT_GROUP, stop));
        let replica = Replica::open(replica_options, meta, source, applied, boot_ns());
        let shared = Arc::new(Shared::new(state, tuning, Standing::default()));
        let checkpoints = Arc::new(Checkpoints::default());
        checkpoints.set_last(applied, checkpoint_time_ms);
        let inbox = Arc::new(Inbox::default());
        let vault = {
            let inbox = inbox.clone();
            let wake = Box::new(move || inbox.push(Event::Look));
            let directory = data.group_checkpoint_path(ROOT_GROUP);
            CheckpointFiles::new(directory, ROOT_GROUP, checkpoints.newest(), wake)
        };
        let links = start_links(&config, me, incarnation, &inbox)?;
        let member_options = MemberOptions {
            origin: Origin {
                node: config.node.0 as u32,
                incarnation,
            },
            seed: entropy(),
            founders: founders(&config),
            others: others(&config),
            databases: config.databases,
            hash_seed: identity.hash_seed,
            request_timeout_ns: config.request_timeout.as_nanos() as u64,
            resend_after_ns: 4 * config.timing.tick_ns * config.timing.election_ticks,
        };
        let member = Member::new(replica, shared.clone(), Box::new(vault), member_options);
        let runtime = Runtime::new(
            (ROOT_GROUP, config.timing.tick_ns),
            member,
            (inbox.clone(), links.clone()),
            wal.clone(),
            (shared.clone(), checkpoints.clone()),
        );
        let seat = Seat {
            cluster: config.cluster,
            node: config.node,
            inbox,
            links,
            runtime: Mutex::new(Some(runtime)),
        };
        Ok(Arc::new(Self {
            id: ROOT_GROUP,
            data,
            wal,
            shared,
            engine: Engine::Member(Box::new(seat)),
            checkpoints,
        }))
    }
}

/// The nodes that found the group, if this one is among them.
fn founders(config: &MemberConfig) -> Vec<NodeId> {
    let nodes = &config.cluster.root().nodes;
    if nodes.contains(&config.node) {
        nodes.clone()
    } else {
        Vec::new()
    }
}

/// All nodes of the cluster but this one.
fn others(config: &MemberConfig) -> Vec<NodeId> {
    let nodes = config.cluster.nodes.iter().map(|node| node.id);
    nodes.filter(|node| *node != config.node).collect()
}

fn start_links(
    config: &MemberConfig,
    me: MemberId,
    incarnation: u64,
    inbox: &Arc<Inbox>,
) -> Result<Links, RecoverError> {
    let cluster = &config.cluster;
    let own = cluster.node(config.node);
    let own = &own.expect("the node was found in the cluster's file").peer;
    let unusable = |reason: String| RecoverError::Listen {
        address: own.to_string(),
        reason,
    };
    let resolved = own.resolve().map_err(|error| unusable(error.to_string()))?;
    let listen = resolved.first().copied();
    let listen = listen.ok_or_else(|| unusable("the name has no address".to_owned()))?;
    let others = cluster.nodes.iter().filter(|node| node.id != config.node);
    let link_config = LinkConfig {
        cluster: cluster.id(),
        node: config.node,
        disk: me.disk,
        incarnation,
        listen,
        peers: others
            .map(|node| Peer {
                node: node.id,
                address: node.peer.to_string(),
            })
            .collect(),
        limits: LinkLimits::default(),
    };
    let reports = Arc::new(LinkReports(inbox.clone()));
    Links::start(link_config, reports).map_err(|error| unusable(error.to_string()))
}

/// The directory of a node of a cluster, which keeps to the node that it was made for.
///
/// # Errors
/// It cannot be used, or belongs to somebody else.
pub fn open_data(config: &MemberConfig, path: &std::path::Path) -> Result<DataDir, Error> {
    let membership = bailiwick_replication::Membership {
        cluster_id: config.cluster.id(),
        node_id: config.node,
    };
    DataDir::open_for(path, Some(membership))
}
