//! What all groups of a node of a cluster share: the data directory, the one log under it, the
//! links to other nodes, and who this node is.
//!
//! A [`Switchboard`] stands between the links and the groups: it gives each group its frames, tells
//! all of them which links are up, and hands frames that belong to no group to the node's services.
//! What comes for a group before its seat is taken is held, because nothing may be missing within a
//! session; where too much has come, the session is ended when the seat is taken.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bailiwick_replication::consensus::{Member as MemberId, Timing};
use bailiwick_replication::link::{
    Frame, Hello, LinkConfig, LinkEvents, LinkLimits, LinkStatus, Links, Peer,
};
use bailiwick_replication::{DataDir, Error, GroupId, NodeId, Wal, WalOptions};
use parking_lot::RwLock;

use super::RecoverError;
use super::clock::clock_ms;
use super::inbox::{Event, Inbox};
use super::recovery::report_cuts;
use crate::cluster::Cluster;

/// The group number under which nodes talk to each other as nodes. No group has it.
pub const NODE_SERVICES: GroupId = GroupId(u32::MAX);

/// Which node of which cluster this is, and how its groups behave.
#[derive(Clone, Debug)]
pub struct HostConfig {
    /// The cluster as its file has it.
    pub cluster: Cluster,
    /// This node.
    pub node: NodeId,
    /// Times of consensus.
    pub timing: Timing,
    /// How long a command waits for a leader.
    pub request_timeout: Duration,
    /// The databases of a new cluster.
    pub databases: usize,
    /// Free space that the log leaves alone, in bytes.
    pub reserve_bytes: u64,
}

/// A node of a cluster, as its groups see it.
pub struct Host {
    pub(super) config: HostConfig,
    pub(super) data: Arc<DataDir>,
    pub(super) wal: Arc<Wal>,
    pub(super) links: Links,
    pub(super) switchboard: Arc<Switchboard>,
    me: MemberId,
    incarnation: u64,
}

impl Host {
    /// Opens the log in a data directory and starts the links.
    ///
    /// # Errors
    /// What is on disk cannot be used, or the node's peer address cannot be listened on.
    pub fn open(data: Arc<DataDir>, config: HostConfig) -> Result<Arc<Self>, RecoverError> {
        // A node whose directory was emptied must not repeat numbers of its earlier lives, by which
        // others know its proposals: so they follow the clock.
        let now_ms = u64::try_from(clock_ms()).unwrap_or(0);
        let incarnation = data.next_incarnation(now_ms)?;
        let options = WalOptions {
            reserve_bytes: config.reserve_bytes,
            ..WalOptions::default()
        };
        let (wal, recovery) = Wal::open(&data, options)?;
        report_cuts(&recovery);
        let me = MemberId {
            node: config.node,
            disk: data.identity().disk_id(),
        };
        let switchboard = Arc::new(Switchboard::default());
        let links = start_links(&config, me, incarnation, switchboard.clone())?;
        Ok(Arc::new(Self {
            config,
            data,
            wal: Arc::new(wal),
            links,
            switchboard,
            me,
            incarnation,
        }))
    }

    /// The cluster as its file has it.
    #[must_use]
    pub fn cluster(&self) -> &Cluster {
        &self.config.cluster
    }

    /// This node with its data directory.
    #[must_use]
    pub fn me(&self) -> MemberId {
        self.me
    }

    /// Which life of the node this is.
    #[must_use]
    pub fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// How this node's groups behave.
    #[must_use]
    pub fn config(&self) -> &HostConfig {
        &self.config
    }

    /// The data directory.
    #[must_use]
    pub fn data(&self) -> &DataDir {
        &self.data
    }

    /// The links.
    #[must_use]
    pub fn links(&self) -> &Links {
        &self.links
    }

    /// How each link is doing.
    #[must_use]
    pub fn link_status(&self) -> Vec<LinkStatus> {
        self.links.status()
    }

    /// The node with this id and data directory, as its present link says; `None` while it is down.
    #[must_use]
    pub fn linked(&self, node: NodeId) -> Option<Hello> {
        self.switchboard.ends.read().up.get(&node).copied()
    }

    /// The groups of which this node's log holds something.
    #[must_use]
    pub fn known_groups(&self) -> Vec<GroupId> {
        let mut groups: Vec<GroupId> = self.wal.regions().iter().map(|(group, _)| *group).collect();
        groups.sort_unstable();
        groups.dedup();
        groups
    }

    /// Gives frames that belong to no group of this node to whoever cares.
    pub fn set_services(&self, services: Arc<dyn NodeServices>) {
        let board = &self.switchboard;
        assert!(
            board.services.set(services.clone()).is_ok(),
            "a node has its services once"
        );
        // Links may have come up before.
        for hello in board.ends.read().up.values() {
            services.up(hello);
        }
    }

    /// Ends the links.
    pub fn close(&self) {
        self.links.close();
    }
}

/// What takes part in the talk between nodes, apart from the groups. Called on the links' thread,
/// and must not wait.
pub trait NodeServices: Send + Sync {
    /// A link is up.
    fn up(&self, hello: &Hello);
    /// A link is down.
    fn down(&self, node: NodeId);
    /// Frames of [`NODE_SERVICES`] have come.
    fn received(&self, from: NodeId, frames: Vec<Frame>);
    /// Another node takes this one for a member of a group in which it has no seat.
    fn called_for(&self, from: NodeId, group: GroupId);
}

/// How many bytes are held for groups without a seat, together.
const HELD_BYTES_MAX: usize = 4 << 20;

/// Who gets what the links bring.
#[derive(Default)]
pub(super) struct Switchboard {
    ends: RwLock<Ends>,
    services: OnceLock<Arc<dyn NodeServices>>,
}

#[derive(Default)]
struct Ends {
    groups: BTreeMap<GroupId, Arc<Inbox>>,
    /// The links that are up.
    up: BTreeMap<NodeId, Hello>,
    held: Held,
}

/// What came in the present sessions for groups without a seat.
///
/// Invariant: `bytes` is the sum of the payloads in `frames`, and at most [`HELD_BYTES_MAX`].
#[derive(Default)]
struct Held {
    frames: Vec<(NodeId, GroupId, Vec<Frame>)>,
    bytes: usize,
    /// Of these something had to be thrown away.
    lost: BTreeSet<(NodeId, GroupId)>,
}

impl Held {
    fn hold(&mut self, from: NodeId, group: GroupId, frames: Vec<Frame>) {
        let bytes: usize = frames.iter().map(|frame| frame.payload.len()).sum();
        if self.lost.contains(&(from, group)) || self.bytes + bytes > HELD_BYTES_MAX {
            self.lost.insert((from, group));
            return;
        }
        self.bytes += bytes;
        self.frames.push((from, group, frames));
    }

    /// Removes and returns what `is_wanted`.
    fn take(
        &mut self,
        is_wanted: impl Fn(NodeId, GroupId) -> bool,
    ) -> Vec<(NodeId, GroupId, Vec<Frame>)> {
        let taken: Vec<_> = self
            .frames
            .extract_if(.., |(from, group, _)| is_wanted(*from, *group))
            .collect();
        let payloads = taken.iter().flat_map(|(.., frames)| frames);
        self.bytes -= payloads.map(|frame| frame.payload.len()).sum::<usize>();
        taken
    }
}

impl Switchboard {
    /// From now on a group hears what concerns it, beginning with the links that are up and what
    /// has come over them. The links to be cut, as something that came is lost.
    #[must_use]
    pub(super) fn connect(&self, group: GroupId, inbox: Arc<Inbox>) -> Vec<NodeId> {
        let mut ends = self.ends.write();
        for (node, hello) in &ends.up {
            inbox.push(Event::Up(*node, *hello));
        }
        for (from, _, frames) in ends.held.take(|_, of| of == group) {
            inbox.push(Event::Frames(from, frames));
        }
        let is_lost = |(_, of): &&(NodeId, GroupId)| *of == group;
        let cut = ends
            .held
            .lost
            .iter()
            .filter(is_lost)
            .map(|(from, _)| *from)
            .collect();
        ends.held.lost.retain(|(_, of)| *of != group);
        ends.groups.insert(group, inbox);
        cut
    }

    pub(super) fn disconnect(&self, group: GroupId) {
        self.ends.write().groups.remove(&group);
    }

    fn give(&self, from: NodeId, group: GroupId, frames: Vec<Frame>) {
        if group == NODE_SERVICES {
            if let Some(services) = self.services.get() {
                services.received(from, frames);
            }
            return;
        }
        let ends = self.ends.read();
        if let Some(inbox) = ends.groups.get(&group) {
            return inbox.push(Event::Frames(from, frames));
        }
        drop(ends);
        let mut ends = self.ends.write();
        // The seat may have been taken in between.
        match ends.groups.get(&group) {
            Some(inbox) => inbox.push(Event::Frames(from, frames)),
            None => ends.held.hold(from, group, frames),
        }
        drop(ends);
        if let Some(services) = self.services.get() {
            services.called_for(from, group);
        }
    }

    /// What was held of a session that has ended concerns nobody.
    fn forget(ends: &mut Ends, node: NodeId) {
        ends.held.take(|from, _| from == node);
        ends.held.lost.retain(|(from, _)| *from != node);
    }
}

impl LinkEvents for Switchboard {
    fn admit(&self, _: &Hello) -> Result<(), String> {
        // Any node of the cluster may talk; who takes part in decisions is the group's business.
        Ok(())
    }

    fn up(&self, peer: NodeId, hello: &Hello) {
        tracing::info!(peer = peer.0, "link up");
        let mut ends = self.ends.write();
        Self::forget(&mut ends, peer);
        ends.up.insert(peer, *hello);
        for inbox in ends.groups.values() {
            inbox.push(Event::Up(peer, *hello));
        }
        drop(ends);
        if let Some(services) = self.services.get() {
            services.up(hello);
        }
    }

    fn down(&self, peer: NodeId, reason: &str) {
        tracing::info!(peer = peer.0, reason, "link down");
        let mut ends = self.ends.write();
        Self::forget(&mut ends, peer);
        ends.up.remove(&peer);
        for inbox in ends.groups.values() {
            inbox.push(Event::Down(peer));
        }
        drop(ends);
        if let Some(services) = self.services.get() {
            services.down(peer);
        }
    }

    fn received(&self, from: NodeId, frames: &mut Vec<Frame>) {
        // Nearly always all frames that arrived together are one group's.
        while let Some(group) = frames.first().map(|frame| frame.group) {
            let run = frames.iter().take_while(|frame| frame.group == group);
            let rest = frames.split_off(run.count());
            self.give(from, group, std::mem::replace(frames, rest));
        }
    }

    fn refused(&self, peer: NodeId, reason: &str) {
        tracing::warn!(peer = peer.0, reason, "a node refuses the link");
    }
}

fn start_links(
    config: &HostConfig,
    me: MemberId,
    incarnation: u64,
    switchboard: Arc<Switchboard>,
) -> Result<Links, RecoverError> {
    let cluster = &config.cluster;
    let own = cluster.node(config.node);
    let own = &own.expect("the node was found in the cluster's file").peer;
    let unusable = |source| RecoverError::Listen {
        address: own.to_string(),
        source,
    };
    let resolved = own.resolve().map_err(unusable)?;
    let listen = resolved.first().copied();
    let listen = listen.ok_or_else(|| unusable(io::ErrorKind::NotFound.into()))?;
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
    Links::start(link_config, switchboard).map_err(unusable)
}

/// The directory of a node of a cluster, which keeps to the node that it was made for.
///
/// # Errors
/// It cannot be used, or belongs to somebody else.
pub fn open_data(config: &HostConfig, path: &std::path::Path) -> Result<DataDir, Error> {
    let membership = bailiwick_replication::Membership {
        cluster_id: config.cluster.id(),
        node_id: config.node,
    };
    DataDir::open_for(path, Some(membership))
}
