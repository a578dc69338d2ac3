//! A node's part in its cluster beside its groups' logs: the directory and how it spreads, requests
//! for other groups, and seats in groups that come to be.
//!
//! [`Estate`] joins the sans-IO parts (`directory`, `proxy`) with links and threads. Its own
//! thread, the *registry*, floods records, publishes what the groups say that this node leads,
//! takes seats, and keeps the [`Census`] of nodes. A second one, the *steward*, does what has to
//! wait for other groups' answers.
//!
//! Not here: what prefixes there are and who decides about them (`authority`), and moving them
//! (`handoff`).

mod census;
pub mod herald;
mod registry;
pub mod steward;
mod surroundings;

use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use bailiwick_replication::link::{Frame, Hello};
use bailiwick_replication::{ConfigurationId, GroupId, NodeId};

use crate::directory::keys::{KeyError, KeyRing, NodeKey};
use crate::directory::membership::NodeFacts;
use crate::directory::record::{GroupRecord, Member};
use crate::directory::{Directory, ROOT_GROUP};
use crate::group::{Host, NodeServices, clock};
use crate::node::Node;
use crate::proxy::wire::PROXY_SERVICE;
use crate::proxy::{Groups, Patience, Proxy};
use crate::pubsub::{PUBSUB_SERVICE, PubSub};
use crate::threads::spawn_early;
pub use census::Census;
use registry::{Event, Registry};
use steward::Steward;
use surroundings::Surroundings;

/// The kind of node service that the directory's records are.
pub const DIRECTORY_SERVICE: ConfigurationId = ConfigurationId(2);
/// The kind of node service that gossip is.
const GOSSIP_SERVICE: ConfigurationId = ConfigurationId(4);

/// The file with the node's key, beside the data directory's identity.
const KEY_FILE: &str = "NODEKEY";

/// What a node knows of its cluster, and its part in it.
pub struct Estate {
    /// Who owns which prefix.
    pub directory: Arc<Directory>,
    /// Requests for other groups.
    pub proxy: Arc<Proxy>,
    /// Which nodes there are, as they say themselves.
    pub census: Arc<Census>,
    host: Arc<Host>,
    registry: Arc<Registry>,
    steward: Arc<Steward>,
    pubsub: OnceLock<Arc<PubSub>>,
}

impl Estate {
    /// Opens or makes the node's key. Nothing runs before [`Estate::start`].
    ///
    /// # Errors
    /// The key cannot be used.
    pub fn new(host: &Arc<Host>, secret: [u8; 32]) -> Result<Arc<Self>, KeyError> {
        let path = host.data().path().join(KEY_FILE);
        let key = NodeKey::open(&path, secret)?;
        let cluster = host.cluster();
        let own = cluster.node(host.me().node);
        key.check(&path, own.and_then(|own| own.key))?;
        tracing::info!(key = %key.public(), "this node signs its records with this key");
        let mut keys = KeyRing::new();
        for node in &cluster.nodes {
            node.key.into_iter().for_each(|key| keys.give(node.id, key));
        }
        let directory = Arc::new(Directory::new(anchor(host), keys));
        let me = (host.me().node, host.incarnation());
        let census = Census::new(me, first_facts(host, &key), clock::boot_ns());
        let config = host.config();
        let patience = Patience {
            request_ns: config.request_timeout.as_nanos() as u64,
            resend_ns: 4 * config.timing.tick_ns * config.timing.election_ticks,
        };
        let known = KnownGroups {
            host: host.clone(),
            directory: directory.clone(),
            census: census.clone(),
        };
        let proxy = Proxy::new(me, patience, Box::new(known), host.links().clone());
        let registry = Registry::new(host.clone(), directory.clone(), census.clone(), key);
        Ok(Arc::new(Self {
            directory,
            proxy,
            census,
            host: host.clone(),
            registry: Arc::new(registry),
            steward: Arc::default(),
            pubsub: OnceLock::new(),
        }))
    }

    /// Takes part: begins to listen to other nodes.
    pub fn start(self: &Arc<Self>, node: &Arc<Node>) -> Vec<JoinHandle<()>> {
        let mut threads = self.proxy.start(node);
        let (registry, of) = (self.registry.clone(), node.clone());
        threads.push(spawn_early("registry", move || registry.run(&of)));
        let (steward, of) = (self.steward.clone(), node.clone());
        threads.push(spawn_early("steward", move || steward.run(&of)));
        let (pubsub, of) = (node.pubsub.clone(), node.clone());
        pubsub.connect(self.host.links().clone());
        assert!(
            self.pubsub.set(pubsub.clone()).is_ok(),
            "a node starts once"
        );
        node.notices
            .set_neighbours(Arc::new(Surroundings::new(node, &self.host)));
        threads.push(spawn_early("pubsub", move || pubsub.run(&*of.notices)));
        self.host.set_services(self.clone());
        threads
    }

    /// Ends the threads.
    pub fn close(&self) {
        self.pubsub.get().inspect(|pubsub| pubsub.close());
        self.steward.close();
        self.registry.close();
        self.proxy.close();
    }

    /// What people call a group.
    #[must_use]
    pub fn group_name(&self, id: GroupId) -> String {
        if id == ROOT_GROUP {
            // Groups know it by another name among themselves.
            return self.host.cluster().root().name.clone();
        }
        let view = self.directory.view();
        match view.group(id) {
            Some(group) => group.name.clone(),
            None => format!("#{}", id.0),
        }
    }
}

impl NodeServices for Estate {
    fn up(&self, hello: &Hello) {
        self.registry.push(Event::Up(*hello));
        self.proxy.up(hello.node);
        self.pubsub.get().inspect(|pubsub| pubsub.up(hello));
    }

    fn down(&self, node: NodeId) {
        self.registry.push(Event::Down(node));
        self.proxy.down(node);
        self.pubsub.get().inspect(|pubsub| pubsub.down(node));
    }

    fn received(&self, from: NodeId, frames: Vec<Frame>) {
        let (mut requests, mut records) = (Vec::new(), Vec::new());
        let (mut gossip, mut messages) = (Vec::new(), Vec::new());
        for frame in frames {
            match frame.configuration {
                PROXY_SERVICE => requests.push(frame),
                DIRECTORY_SERVICE => records.push(frame.payload),
                GOSSIP_SERVICE => gossip.push(frame.payload),
                PUBSUB_SERVICE => messages.push(frame),
                // A newer version's; it does without us.
                _ => {}
            }
        }
        if !requests.is_empty() {
            self.proxy.received(from, requests);
        }
        if !messages.is_empty()
            && let Some(pubsub) = self.pubsub.get()
        {
            pubsub.received(from, messages);
        }
        if !records.is_empty() {
            self.registry.push(Event::Records(from, records));
        }
        if !gossip.is_empty() {
            self.registry.push(Event::Gossip(from, gossip));
        }
    }

    fn called_for(&self, _: NodeId, group: GroupId) {
        self.registry.push(Event::CalledFor(group));
    }
}

/// Whom the directory trusts in before it knows anything: the root group as the cluster's file has
/// it, with whatever data directories its nodes have.
fn anchor(host: &Host) -> GroupRecord {
    let root = host.cluster().root();
    let any_disk = |node: &NodeId| Member {
        node: *node,
        disk: 0,
    };
    GroupRecord {
        id: ROOT_GROUP,
        name: root.name.clone(),
        configuration: 0,
        members: root.nodes.iter().map(any_disk).collect(),
        hash_seed: 0,
        databases: 0,
    }
}

/// What a node says of itself before it has a seat.
fn first_facts(host: &Host, key: &NodeKey) -> NodeFacts {
    let (cluster, me) = (host.cluster(), host.me());
    let own = cluster.node(me.node);
    let own = own.expect("the node was found in the cluster's file");
    NodeFacts {
        region: own.region.clone(),
        client: own.client.to_string(),
        cluster: own
            .cluster
            .as_ref()
            .map_or_else(String::new, ToString::to_string),
        peer: own.peer.to_string(),
        key: key.public(),
        disk: me.disk,
        seats: Vec::new(),
        directory: 0,
    }
}

/// Directory and gossip as the courier looks at them.
struct KnownGroups {
    host: Arc<Host>,
    directory: Arc<Directory>,
    census: Arc<Census>,
}

impl Groups for KnownGroups {
    fn members(&self, group: GroupId) -> Vec<NodeId> {
        let (cluster, own) = (self.host.cluster(), self.host.me().node);
        let region_of = |node: NodeId| cluster.node(node).map(|node| &node.region);
        let view = self.directory.view();
        let Some(record) = view.group(group) else {
            return Vec::new();
        };
        let mut nodes: Vec<NodeId> = record.members.iter().map(|member| member.node).collect();
        nodes.retain(|node| *node != own);
        nodes.sort_by_key(|node| region_of(*node) != region_of(own));
        nodes
    }

    fn leader(&self, group: GroupId) -> Option<(NodeId, u64)> {
        let claim = self.census.roll().leader(group)?;
        Some((claim.node, claim.heard_ns))
    }

    fn describe(&self, group: GroupId, key: Option<&[u8]>) -> String {
        let view = self.directory.view();
        let name = view.group(group).map_or("?", |group| &group.name);
        match key {
            Some(key) => {
                let (prefix, _) = view.owner(key);
                let prefix = prefix.escape_ascii();
                format!("Group '{name}', which owns prefix '{prefix}',")
            }
            None => format!("Group '{name}'"),
        }
    }
}
