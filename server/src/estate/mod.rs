//! A node's part in its cluster beside its groups' logs: the directory and how it spreads, requests
//! for other groups, and seats in groups that come to be.
//!
//! [`Estate`] joins the sans-IO parts (`directory`, `proxy`) with links and threads. Its own thread,
//! the *registry*, floods records, publishes what the groups say that this node leads, and takes
//! seats. A second one, the *steward*, does what has to wait for other groups' answers.
//!
//! Not here: what prefixes there are and who decides about them (`authority`), and moving them
//! (`handoff`).

pub mod herald;
mod registry;
pub mod steward;

use std::sync::Arc;
use std::thread::{self, JoinHandle};

use bailiwick_replication::link::{Frame, Hello};
use bailiwick_replication::{ConfigurationId, GroupId, NodeId};

use crate::directory::keys::{KeyError, KeyRing, NodeKey};
use crate::directory::record::{GroupRecord, Member};
use crate::directory::{Directory, ROOT_GROUP};
use crate::group::{Host, NodeServices};
use crate::node::Node;
use crate::proxy::wire::PROXY_SERVICE;
use crate::proxy::{Groups, Patience, Proxy};
use registry::{Event, Registry};
use steward::Steward;

/// The kind of node service that the directory's records are.
pub const DIRECTORY_SERVICE: ConfigurationId = ConfigurationId(2);

/// The file with the node's key, beside the data directory's identity.
const KEY_FILE: &str = "NODEKEY";

/// What a node knows of its cluster, and its part in it.
pub struct Estate {
    /// Who owns which prefix.
    pub directory: Arc<Directory>,
    /// Requests for other groups.
    pub proxy: Arc<Proxy>,
    host: Arc<Host>,
    registry: Arc<Registry>,
    steward: Arc<Steward>,
}

impl Estate {
    /// Opens or makes the node's key. Nothing runs before [`Estate::start`].
    ///
    /// # Errors
    /// The key cannot be used.
    pub fn new(host: &Arc<Host>, secret: [u8; 32]) -> Result<Arc<Self>, KeyError> {
        let key = NodeKey::open(&host.data().path().join(KEY_FILE), secret)?;
        let directory = Arc::new(Directory::new(anchor(host), KeyRing::new()));
        let config = host.config();
        let patience = Patience {
            request_ns: config.request_timeout.as_nanos() as u64,
            resend_ns: 4 * config.timing.tick_ns * config.timing.election_ticks,
        };
        let known = KnownGroups {
            host: host.clone(),
            directory: directory.clone(),
        };
        let me = (host.me().node, host.incarnation());
        let proxy = Proxy::new(me, patience, Box::new(known), host.links().clone());
        let registry = Registry::new(host.clone(), directory.clone(), key);
        Ok(Arc::new(Self {
            directory,
            proxy,
            host: host.clone(),
            registry: Arc::new(registry),
            steward: Arc::default(),
        }))
    }

    /// Takes part: begins to listen to other nodes.
    pub fn start(self: &Arc<Self>, node: &Arc<Node>) -> Vec<JoinHandle<()>> {
        let spawn = |name: &str, run: Box<dyn FnOnce() + Send>| {
            let builder = thread::Builder::new().name(name.to_owned());
            builder
                .spawn(run)
                .expect("the system has room for a few threads at the start")
        };
        let mut threads = self.proxy.start(node);
        let (registry, of) = (self.registry.clone(), node.clone());
        threads.push(spawn("registry", Box::new(move || registry.run(&of))));
        let (steward, of) = (self.steward.clone(), node.clone());
        threads.push(spawn("steward", Box::new(move || steward.run(&of))));
        self.host.set_services(self.clone());
        threads
    }

    /// Ends the threads.
    pub fn close(&self) {
        self.steward.close();
        self.registry.close();
        self.proxy.close();
    }

    /// What people call a group.
    #[must_use]
    pub fn group_name(&self, id: GroupId) -> String {
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
    }

    fn down(&self, node: NodeId) {
        self.registry.push(Event::Down(node));
        self.proxy.down(node);
    }

    fn received(&self, from: NodeId, frames: Vec<Frame>) {
        let (mut requests, mut records) = (Vec::new(), Vec::new());
        for frame in frames {
            match frame.configuration {
                PROXY_SERVICE => requests.push(frame),
                DIRECTORY_SERVICE => records.push(frame.payload),
                // A newer version's; it does without us.
                _ => {}
            }
        }
        if !requests.is_empty() {
            self.proxy.received(from, requests);
        }
        if !records.is_empty() {
            self.registry.push(Event::Records(from, records));
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

/// The directory as the courier looks at it.
struct KnownGroups {
    host: Arc<Host>,
    directory: Arc<Directory>,
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
