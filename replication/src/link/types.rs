//! What a user of the links sees: whom to connect, with which bounds, what is sent, and what is
//! reported back.
//!
//! Owns plain data and the trait of the events. Nothing here does any work or can fail.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;

use crate::{ClusterId, ConfigurationId, GroupId, NodeId};

/// Everything a node needs to link up with its peers.
#[derive(Clone, Debug)]
pub struct LinkConfig {
    /// The cluster; nodes of another one are refused.
    pub cluster: ClusterId,
    /// This node.
    pub node: NodeId,
    /// The random number of this node's data directory: an emptied one is a different member.
    pub disk: u64,
    /// Which start of the node this is. It rises with each.
    pub incarnation: u64,
    /// Where peers connect to.
    pub listen: SocketAddr,
    /// The other nodes. An entry for this node is ignored.
    pub peers: Vec<Peer>,
    /// Bounds on memory and time.
    pub limits: LinkLimits,
}

/// Another node, and where its listener is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The node.
    pub node: NodeId,
    /// `host:port`, resolved anew at each attempt to connect.
    pub address: String,
}

/// What a node says of itself in the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The cluster it belongs to.
    pub cluster: ClusterId,
    /// Its number.
    pub node: NodeId,
    /// The random number of its data directory.
    pub disk: u64,
    /// Which start of it this is.
    pub incarnation: u64,
    /// In [`LinkEvents::up`] the number of the session that begins, counted by the receiving side
    /// alone and for [`Links::send_in`](super::Links::send_in); 0 in [`LinkEvents::admit`].
    pub session: u64,
}

/// How a frame travels. Frames of one class arrive in the order in which they were sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// Small and pressing: heartbeats, leases, read confirmations. Passes frames of
    /// [`Class::Ordered`], also between the fragments of a big one.
    Urgent,
    /// The replicated log's own messages.
    Ordered,
    /// Big transfers that may wait; they have a connection of their own.
    Bulk,
}

impl Class {
    /// All classes, in the order in which status counters stand.
    pub const ALL: [Class; 3] = [Class::Urgent, Class::Ordered, Class::Bulk];
}

/// A message of one configuration of one group to the same configuration elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// How it travels.
    pub class: Class,
    /// The group.
    pub group: GroupId,
    /// The group's configuration.
    pub configuration: ConfigurationId,
    /// The content, opaque to the links. A received one may be a slice of a read buffer, so
    /// whoever keeps it for long copies it.
    pub payload: Bytes,
}

/// Bounds of the links. The defaults suit one machine as well as distant regions.
#[derive(Clone, Debug)]
pub struct LinkLimits {
    /// The longest payload, sent or received.
    pub max_message_bytes: usize,
    /// What may wait for one peer in [`Class::Urgent`], headers included.
    pub urgent_queue_bytes: usize,
    /// What may wait for one peer in [`Class::Ordered`], headers included.
    pub ordered_queue_bytes: usize,
    /// What may wait for one peer in [`Class::Bulk`], headers included.
    pub bulk_queue_bytes: usize,
    /// For how long a connection may take to open.
    pub connect_timeout: Duration,
    /// For how long a handshake may take, either side.
    pub handshake_timeout: Duration,
    /// How often a connection is probed.
    pub ping_interval: Duration,
    /// A connection on which nothing arrived for this long is given up.
    pub dead_after: Duration,
    /// The wait before the first attempt to reconnect; doubled at each further one.
    pub backoff_min: Duration,
    /// The longest wait between attempts.
    pub backoff_max: Duration,
    /// How many incoming connections may be in the handshake; beyond it the oldest is closed.
    pub max_handshakes: usize,
}

impl Default for LinkLimits {
    fn default() -> LinkLimits {
        LinkLimits {
            max_message_bytes: 1200 << 20,
            urgent_queue_bytes: 1 << 20,
            ordered_queue_bytes: 1536 << 20,
            bulk_queue_bytes: 64 << 20,
            connect_timeout: Duration::from_secs(2),
            handshake_timeout: Duration::from_secs(2),
            ping_interval: Duration::from_millis(200),
            dead_after: Duration::from_millis(800),
            backoff_min: Duration::from_millis(20),
            backoff_max: Duration::from_secs(1),
            max_handshakes: 64,
        }
    }
}

impl LinkLimits {
    pub(super) fn queue_bytes(&self, class: Class) -> usize {
        match class {
            Class::Urgent => self.urgent_queue_bytes,
            Class::Ordered => self.ordered_queue_bytes,
            Class::Bulk => self.bulk_queue_bytes,
        }
    }
}

/// What the links report. All calls come from the links thread, one at a time, and must not block.
///
/// For each peer the calls go: `up`, any number of `received`, `down`, `up`, and so on. What is
/// received between an `up` and the next `down` was sent by the peer within the same session, that
/// is between its own corresponding `up` and `down`, and is a prefix of what it sent in each class.
pub trait LinkEvents: Send + Sync + 'static {
    /// Whether to talk to a node at all. Cluster, node number and age of the incarnation have been
    /// checked before. It is asked about the node that connects as well as about the node that
    /// answers, so both sides check each other.
    ///
    /// # Errors
    /// The text why not; the peer is told and shows it in the status of its link.
    fn admit(&self, hello: &Hello) -> Result<(), String>;

    /// Both directions to a peer stand, and a session with it begins.
    fn up(&self, peer: NodeId, hello: &Hello);

    /// The session is over. Of the frames sent in it a prefix has been delivered, each once; the
    /// rest is gone.
    fn down(&self, peer: NodeId, reason: &str);

    /// Whole frames, in order: all that one read yielded. What is left in `frames` is dropped.
    fn received(&self, from: NodeId, frames: &mut Vec<Frame>);

    /// The peer does not admit us, for this reason. Called again only when the reason changes or
    /// the link was up in between; the attempts go on.
    fn refused(&self, peer: NodeId, reason: &str);
}
