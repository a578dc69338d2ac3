//! The cluster as its file describes it: nodes with their addresses, groups with their members,
//! prefixes with their groups.
//!
//! [`Cluster`] is a value that has been checked as a whole; whoever has one can rely on its
//! invariants. It says where a cluster *starts*: members that joined a group later, and prefixes
//! that were moved, stand in the groups' logs, not here. Reading the file is in [`file`]; a file
//! that does not fit is refused with every fault in it ([`ClusterError`]), each with its line. Not
//! here: flags, data directories, and anything that opens a connection.

mod address;
mod error;
mod file;
mod toml;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use bailiwick_replication::{ClusterId, NodeId};
use sha1::{Digest as _, Sha1};
use toml_edit::{Array, ArrayOfTables, DocumentMut, Item, Table, value};

pub use address::Address;
pub use error::{ClusterError, Fault};

use crate::directory::keys::PublicKey;
use crate::routing::redirect::Port;

/// The name of the group that all nodes form if the file names none.
pub const DEFAULT_GROUP: &str = "root";

/// The most members a group may have.
pub const GROUP_MEMBERS_MAX: usize = 7;

/// The nodes, groups and prefixes of a cluster.
///
/// Invariants, held by [`Cluster::parse`]: `nodes.len() >= 1`; ids are unique and
/// `1 <= id <= u32::MAX`; no address serves twice; `groups.len() >= 1`; names are unique; prefixes
/// are unique and belong to groups of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// The name, from which [`Cluster::id`] follows: nodes of another name are strangers.
    pub name: String,
    /// The nodes, in the order of the file.
    pub nodes: Vec<NodeEntry>,
    /// The groups, in the order of the file; the first is the root group.
    pub groups: Vec<GroupEntry>,
    /// What is handed out at the beginning, in the order of the file.
    pub prefixes: Vec<PrefixEntry>,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeEntry {
    /// Its id, from 1 to `u32::MAX`.
    pub id: NodeId,
    /// Where it is; nodes of one region are near each other.
    pub region: String,
    /// Where clients reach it.
    pub client: Address,
    /// Where clients reach it that know Redis Cluster, if it has a port for them.
    pub cluster: Option<Address>,
    /// Where other nodes reach it.
    pub peer: Address,
    /// The key that it signs with, whatever its data directory; if there is none, the first one
    /// counts that it is heard to have.
    pub key: Option<PublicKey>,
}

/// A group.
///
/// Invariants: `1 <= nodes.len() <= GROUP_MEMBERS_MAX`; nodes are distinct, and are nodes of the
/// cluster; `priority` holds distinct members of `nodes`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupEntry {
    /// The name.
    pub name: String,
    /// The members that it starts with, in the order of the file.
    pub nodes: Vec<NodeId>,
    /// Who should lead, the best first; empty if it does not matter.
    pub priority: Vec<NodeId>,
}

/// A prefix with the group that it belongs to at the beginning.
///
/// Invariants: `1 <= prefix.len() <= MAX_PREFIX_BYTES`; `group` is the name of a group of the
/// cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrefixEntry {
    /// What its keys begin with. Bytes that are no text take a PREFIX CREATE.
    pub prefix: String,
    /// The name of its group.
    pub group: String,
}

impl Cluster {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// It cannot be read, or does not fit; then every fault is told.
    pub fn load(path: &Path) -> Result<Self, ClusterError> {
        let text = fs::read_to_string(path).map_err(|source| ClusterError::Unreadable {
            file: path.to_owned(),
            source,
        })?;
        Self::read(&text, path)
    }

    /// Checks the text of a file.
    ///
    /// # Errors
    /// It does not fit; every fault is told. The file is called `cluster.toml` in messages.
    pub fn parse(text: &str) -> Result<Self, ClusterError> {
        Self::read(text, Path::new("cluster.toml"))
    }

    /// What tells this cluster from others: the first half of a hash of its name.
    #[must_use]
    pub fn id(&self) -> ClusterId {
        let hash = Sha1::new()
            .chain_update("bailiwick cluster ")
            .chain_update(&self.name)
            .finalize();
        ClusterId(*hash.first_chunk().expect("SHA-1 has 20 bytes"))
    }

    /// The node with this id.
    #[must_use]
    pub fn node(&self, id: NodeId) -> Option<&NodeEntry> {
        self.nodes.iter().find(|node| node.id == id)
    }

    /// The group with this name.
    #[must_use]
    pub fn group(&self, name: &str) -> Option<&GroupEntry> {
        self.groups.iter().find(|group| group.name == name)
    }

    /// The group that owns the empty prefix.
    #[must_use]
    pub fn root(&self) -> &GroupEntry {
        &self.groups[0]
    }

    /// The regions, in alphabetical order.
    #[must_use]
    pub fn regions(&self) -> BTreeSet<&str> {
        self.nodes.iter().map(|node| node.region.as_str()).collect()
    }

    /// The text of a file that describes this cluster.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut document = DocumentMut::new();
        document["cluster"] = value(&self.name);
        let nodes: ArrayOfTables = self.nodes.iter().map(NodeEntry::to_table).collect();
        let groups: ArrayOfTables = self.groups.iter().map(GroupEntry::to_table).collect();
        document["node"] = Item::ArrayOfTables(nodes);
        document["group"] = Item::ArrayOfTables(groups);
        if !self.prefixes.is_empty() {
            let prefixes = self.prefixes.iter().map(PrefixEntry::to_table);
            document["prefix"] = Item::ArrayOfTables(prefixes.collect());
        }
        document.to_string()
    }

    fn read(text: &str, file: &Path) -> Result<Self, ClusterError> {
        file::parse(text).map_err(|faults| ClusterError::Faulty {
            file: PathBuf::from(file),
            faults,
        })
    }
}

impl NodeEntry {
    /// Where a client that came in by this port reaches the node.
    #[must_use]
    pub fn address(&self, port: Port) -> &Address {
        match (port, &self.cluster) {
            (Port::Cluster, Some(address)) => address,
            _ => &self.client,
        }
    }

    fn to_table(&self) -> Table {
        let mut table = Table::new();
        table["id"] = value(number(self.id));
        table["region"] = value(&self.region);
        table["client"] = value(self.client.to_string());
        if let Some(cluster) = &self.cluster {
            table["cluster"] = value(cluster.to_string());
        }
        table["peer"] = value(self.peer.to_string());
        if let Some(key) = &self.key {
            table["key"] = value(key.to_string());
        }
        table
    }
}

impl GroupEntry {
    /// How much this node should lead: `priority.len()` for the first of them, less for those
    /// behind it, 0 for a node that is not named.
    #[must_use]
    pub fn priority_of(&self, node: NodeId) -> u32 {
        let place = self.priority.iter().position(|known| *known == node);
        place.map_or(0, |place| (self.priority.len() - place) as u32)
    }

    fn to_table(&self) -> Table {
        let list = |nodes: &[NodeId]| value(nodes.iter().copied().map(number).collect::<Array>());
        let mut table = Table::new();
        table["name"] = value(&self.name);
        table["nodes"] = list(&self.nodes);
        if !self.priority.is_empty() {
            table["priority"] = list(&self.priority);
        }
        table
    }
}

impl PrefixEntry {
    fn to_table(&self) -> Table {
        let mut table = Table::new();
        table["prefix"] = value(&self.prefix);
        table["group"] = value(&self.group);
        table
    }
}

fn number(id: NodeId) -> i64 {
    i64::try_from(id.0).expect("ids in a cluster are at most u32::MAX")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names() -> impl Strategy<Value = String> {
        "[A-Za-z0-9._-]{1,12}"
    }

    fn hosts() -> impl Strategy<Value = String> {
        prop_oneof![
            "[a-z][a-z0-9]{0,5}(-[a-z0-9]{1,3})?(\\.[a-z][a-z0-9]{0,3})?",
            any::<[u8; 4]>().prop_map(|ip| std::net::Ipv4Addr::from(ip).to_string()),
            any::<[u8; 16]>().prop_map(|ip| format!("[{}]", std::net::Ipv6Addr::from(ip))),
        ]
    }

    prop_compose! {
        /// Distinct ids, ports that count up so that no address is there twice, and groups that
        /// take every so-manyth node.
        fn clusters()(
            name in names(),
            ids in prop::collection::btree_set(1_u32.., 1..8),
            rest in prop::collection::vec(
                (names(), hosts(), hosts(), prop::option::of(any::<[u8; 32]>())), 8,
            ),
            // Only the first group may be called "root".
            groups in prop::collection::btree_map(
                names().prop_filter("not root", |name| name != DEFAULT_GROUP),
                (1_usize..4, 0_usize..8), 1..4,
            ),
            prefixes in prop::collection::btree_map(".{1,9}", 0_usize.., 0..4),
        ) -> Cluster {
            let ids: Vec<NodeId> = ids.into_iter().map(|id| NodeId(id.into())).collect();
            let nodes = ids.iter().zip(rest).enumerate();
            let nodes = nodes.map(|(n, (id, (region, client, peer, key)))| {
                let port = 7000 + 3 * n;
                let cluster = format!("{client}:{}", port + 2).parse().ok();
                NodeEntry {
                    id: *id,
                    region,
                    client: format!("{client}:{port}").parse().unwrap_or_else(|_| fallback(port)),
                    peer: format!("{peer}:{}", port + 1)
                        .parse()
                        .unwrap_or_else(|_| fallback(port + 1)),
                    cluster: cluster.filter(|_| n % 2 == 0),
                    key: key.map(PublicKey::new),
                }
            });
            let names: Vec<String> = groups.keys().cloned().collect();
            let prefixes = prefixes.into_iter().map(|(prefix, owner)| PrefixEntry {
                prefix,
                group: names[owner % names.len()].clone(),
            });
            let groups = groups.into_iter().map(|(name, (step, preferred))| {
                let nodes: Vec<NodeId> = ids.iter().copied().step_by(step).collect();
                let priority = nodes.iter().rev().copied().take(preferred).collect();
                GroupEntry { name, nodes, priority }
            });
            Cluster {
                name,
                nodes: nodes.collect(),
                groups: groups.collect(),
                prefixes: prefixes.collect(),
            }
        }
    }

    /// For hosts that are refused, such as the address 0.0.0.0.
    fn fallback(port: usize) -> Address {
        format!("localhost:{port}").parse().unwrap()
    }

    proptest! {
        #[test]
        fn a_cluster_reads_back_as_it_was_written(cluster in clusters()) {
            let text = cluster.to_toml();
            let read = Cluster::parse(&text);
            prop_assert!(read.is_ok(), "{}\n{}", read.unwrap_err(), text);
            prop_assert_eq!(read.unwrap(), cluster);
        }

        #[test]
        fn no_text_makes_the_reader_panic(
            lines in prop::collection::vec(
                prop::sample::select(vec![
                    "[[node]]", "[[group]]", "[node]", "id = 1", "id = 2", "id = -1", "x = 1",
                    "region = \"a\"", "client = \"h:1\"", "peer = \"h:2\"", "nodes = [1]",
                    "nodes = [1, 1, 9, \"x\"]", "priority = [2]", "name = \"g\"", "name = 1",
                    "cluster = \"c\"", "node = [{ id = 1 }, 3]", "group = 1", "[[prefix]]",
                    "prefix = \"p\"", "group = \"g\"", "prefix = 1", "key = \"00\"", "key = 1",
                    "name = \"root\"",
                ]),
                0..16,
            ),
        ) {
            let _ = Cluster::parse(&lines.join("\n"));
        }
    }

    #[test]
    fn the_id_follows_from_the_name_alone() {
        let named = |name: &str| Cluster {
            name: name.to_owned(),
            nodes: Vec::new(),
            groups: Vec::new(),
            prefixes: Vec::new(),
        };
        // Fixed for ever: it stands in data directories.
        assert_eq!(
            named("test").id().to_string(),
            "a9ea84b5ea7571af5194d2c557504e42"
        );
        assert_ne!(named("test").id(), named("tests").id());
    }

    #[test]
    fn who_is_named_first_has_the_highest_priority() {
        let group = GroupEntry {
            name: "g".to_owned(),
            nodes: [1, 2, 3].map(NodeId).to_vec(),
            priority: [3, 1].map(NodeId).to_vec(),
        };
        let priorities = [1, 2, 3].map(|id| group.priority_of(NodeId(id)));
        assert_eq!(priorities, [1, 0, 2]);
    }
}
