//! The cluster's file: TOML, read and checked as a whole.
//!
//! ```toml
//! cluster = "shop"
//!
//! [[node]]
//! id = 1
//! region = "eu"
//! client = "10.0.0.1:6379"
//! cluster = "10.0.0.1:6479"  # optional: for clients that know Redis Cluster
//! peer = "10.0.0.1:7379"
//! key = "8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c"  # optional: as the node
//!                        # says in its log; records of another key are not believed
//!
//! [[group]]              # without any, all nodes form the group "root"
//! name = "root"
//! nodes = [1]
//! priority = [1]         # optional: who should lead, the best first
//!
//! [[prefix]]             # optional: keys that begin so belong to that group
//! prefix = "eu:"
//! group = "eu"
//! ```
//!
//! The reader walks over the whole document, notes every [`Fault`] with its line and goes on, so
//! that one start tells all there is to correct. A fault is told once: what cannot be judged
//! because of another fault is not judged. Text that is no TOML ends the reading where it is found.

use std::collections::HashMap;

use bailiwick_replication::NodeId;
use toml_edit::{Document, TableLike};

use super::error::Fault;
use super::toml::{Entry, Found, Toml, shown, start};
use super::{
    Address, Cluster, DEFAULT_GROUP, GROUP_MEMBERS_MAX, GroupEntry, NodeEntry, PrefixEntry,
};
use crate::authority::MAX_PREFIX_BYTES;
use crate::directory::keys::PublicKey;

const TOP_KEYS: &[&str] = &["cluster", "node", "group", "prefix"];
const NODE_KEYS: &[&str] = &["id", "region", "client", "cluster", "peer", "key"];
const GROUP_KEYS: &[&str] = &["name", "nodes", "priority"];
const PREFIX_KEYS: &[&str] = &["prefix", "group"];

/// The cluster that a text describes, or all that is wrong with it.
pub(super) fn parse(text: &str) -> Result<Cluster, Vec<Fault>> {
    let mut reader = Reader::new(text);
    let cluster = match Document::parse(text) {
        Ok(document) => reader.cluster(document.as_table()),
        Err(error) => {
            // The parser may explain itself over several lines; ours is one.
            let message = error.message().replace('\n', ", ");
            reader
                .toml
                .fault(error.span().map_or(0, |span| span.start), message);
            None
        }
    };
    match cluster {
        Some(cluster) if reader.toml.faults.is_empty() => Ok(cluster),
        _ => {
            reader.toml.faults.sort();
            Err(reader.toml.faults)
        }
    }
}

/// What has been read so far, to compare with what comes.
struct Reader<'a> {
    toml: Toml<'a>,
    /// Ids of nodes, and the lines they stand on.
    ids: HashMap<u32, usize>,
    /// Whether every node's id could be read: if not, a group's node that is not among `ids` may
    /// be there all the same.
    knows_all_ids: bool,
    /// Addresses: what uses them, and on which line.
    addresses: HashMap<Address, (String, usize)>,
    /// Names of groups, and the lines they stand on.
    group_names: HashMap<String, usize>,
    /// Whether every group's name could be read.
    knows_all_groups: bool,
    /// Prefixes, and the lines they stand on.
    prefixes: HashMap<String, usize>,
}

impl<'a> Reader<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            toml: Toml::new(text),
            ids: HashMap::new(),
            knows_all_ids: true,
            addresses: HashMap::new(),
            group_names: HashMap::new(),
            knows_all_groups: true,
            prefixes: HashMap::new(),
        }
    }

    fn cluster(&mut self, table: &dyn TableLike) -> Option<Cluster> {
        let top = Entry {
            table,
            called: "the file".to_owned(),
            at: 0,
        };
        self.toml.check_keys(&top, TOP_KEYS);
        let name = self.toml.name(&top, "cluster", "shop");
        let nodes = self.entries(&top, "node");
        if nodes.is_empty() && self.knows_all_ids {
            let message = "there is no node; write a [[node]] table for each one, with id, region, \
                           client and peer";
            self.toml.fault(0, message);
        }
        let nodes: Vec<_> = nodes.iter().map(|entry| self.node(entry)).collect();
        let groups = self.entries(&top, "group");
        let groups: Vec<_> = groups.iter().map(|entry| self.group(entry)).collect();
        let prefixes = self.entries(&top, "prefix");
        let prefixes: Vec<_> = prefixes.iter().map(|entry| self.prefix(entry)).collect();
        let nodes: Vec<NodeEntry> = nodes.into_iter().collect::<Option<_>>()?;
        let mut groups: Vec<GroupEntry> = groups.into_iter().collect::<Option<_>>()?;
        if groups.is_empty() {
            groups.push(self.group_of_all(&nodes)?);
        }
        Some(Cluster {
            name: name?.value,
            nodes,
            groups,
            prefixes: prefixes.into_iter().collect::<Option<_>>()?,
        })
    }

    fn node(&mut self, entry: &Entry<'_>) -> Option<NodeEntry> {
        let id = self.id(entry);
        self.knows_all_ids &= id.is_some();
        let called = id.map_or_else(|| entry.called.clone(), |id| format!("node {id}"));
        let entry = Entry { called, ..*entry };
        self.toml.check_keys(&entry, NODE_KEYS);
        let region = self.toml.name(&entry, "region", "eu");
        let client = self.address(&entry, "client", "10.0.0.1:6379");
        let cluster = match entry.table.get("cluster") {
            None => Some(None),
            Some(_) => self.address(&entry, "cluster", "10.0.0.1:6479").map(Some),
        };
        let peer = self.address(&entry, "peer", "10.0.0.1:7379");
        let key = match entry.table.get("key") {
            None => Some(None),
            Some(_) => self.key(&entry).map(Some),
        };
        Some(NodeEntry {
            id: NodeId(id?.into()),
            region: region?.value,
            client: client?,
            cluster: cluster?,
            peer: peer?,
            key: key?,
        })
    }

    /// The key that a node signs with.
    fn key(&mut self, entry: &Entry<'_>) -> Option<PublicKey> {
        let Found { value, at } = self.toml.string(entry, "key", "8a88e3dd...")?;
        let key = PublicKey::parse(&value);
        if key.is_none() {
            let message = format!(
                "key {value:?} of {}: expected the 64 hexadecimal digits that the node writes to \
                 its log when it starts, and CLUSTER MEMBERS shows",
                entry.called
            );
            self.toml.fault(at, message);
        }
        key
    }

    fn group(&mut self, entry: &Entry<'_>) -> Option<GroupEntry> {
        let name = self.toml.name(entry, "name", "eu");
        self.knows_all_groups &= name.is_some();
        let called = match &name {
            Some(name) => format!("group {:?}", name.value),
            None => entry.called.clone(),
        };
        let entry = Entry { called, ..*entry };
        self.toml.check_keys(&entry, GROUP_KEYS);
        if let Some(Found { value, at }) = &name {
            let line = self.toml.line_of(*at);
            if let Some(first) = self.group_names.insert(value.clone(), line) {
                let message = format!("{} is already on line {first}; rename one", entry.called);
                self.toml.fault(*at, message);
            } else if value == DEFAULT_GROUP && self.group_names.len() > 1 {
                let message = format!(
                    "{}: only the first group may have this name, since the first is the root \
                     group; rename this one, or put it first",
                    entry.called
                );
                self.toml.fault(*at, message);
            }
        }
        let nodes = self.members(&entry);
        let priority = match (entry.table.get("priority"), &nodes) {
            (None, _) => Some(Vec::new()),
            (Some(_), nodes) => self.priority(&entry, nodes.as_deref()),
        };
        Some(GroupEntry {
            name: name?.value,
            nodes: nodes?,
            priority: priority?,
        })
    }

    fn prefix(&mut self, entry: &Entry<'_>) -> Option<PrefixEntry> {
        let prefix = self.toml.string(entry, "prefix", "eu:");
        let called = match &prefix {
            Some(prefix) => format!("prefix {:?}", prefix.value),
            None => entry.called.clone(),
        };
        let entry = Entry { called, ..*entry };
        self.toml.check_keys(&entry, PREFIX_KEYS);
        let prefix = prefix.filter(|prefix| self.is_good_prefix(prefix));
        let group = self.toml.string(&entry, "group", "eu");
        if let Some(Found { value, at }) = &group
            && self.knows_all_groups
            && !self.has_group(value)
        {
            let message = format!(
                "group {value:?} of {}: there is no such group; write a [[group]] with this name",
                entry.called
            );
            self.toml.fault(*at, message);
        }
        Some(PrefixEntry {
            prefix: prefix?.value,
            group: group?.value,
        })
    }

    /// Whether a prefix can be handed out, and was not before.
    fn is_good_prefix(&mut self, prefix: &Found<String>) -> bool {
        let (value, at) = (&prefix.value, prefix.at);
        if !(1..=MAX_PREFIX_BYTES).contains(&value.len()) {
            let message = format!(
                "a prefix of {} bytes: expected 1 to {MAX_PREFIX_BYTES}",
                value.len()
            );
            self.toml.fault(at, message);
            return false;
        }
        let line = self.toml.line_of(at);
        if let Some(first) = self.prefixes.insert(value.clone(), line) {
            let message = format!(
                "prefix {value:?} is already on line {first}; a prefix belongs to one group"
            );
            self.toml.fault(at, message);
        }
        true
    }

    fn has_group(&self, name: &str) -> bool {
        self.group_names.contains_key(name) || self.group_names.is_empty() && name == DEFAULT_GROUP
    }

    /// The group of all nodes, if they are not too many for one.
    fn group_of_all(&mut self, nodes: &[NodeEntry]) -> Option<GroupEntry> {
        if nodes.len() > GROUP_MEMBERS_MAX {
            let message = format!(
                "{} nodes are too many for one group; write [[group]] tables of at most \
                 {GROUP_MEMBERS_MAX} nodes each",
                nodes.len()
            );
            self.toml.fault(0, message);
            return None;
        }
        Some(GroupEntry {
            name: DEFAULT_GROUP.to_owned(),
            nodes: nodes.iter().map(|node| node.id).collect(),
            priority: Vec::new(),
        })
    }

    fn id(&mut self, entry: &Entry<'_>) -> Option<u32> {
        let item = self.toml.item(entry, "id", "1")?;
        let at = start(entry.table, "id", entry.at);
        let id = item.as_integer().and_then(|id| u32::try_from(id).ok());
        let Some(id) = id.filter(|id| *id > 0) else {
            let shown = shown(item);
            let message = format!(
                "id {shown} of a node: expected a whole number from 1 to {}",
                u32::MAX
            );
            self.toml.fault(at, message);
            return None;
        };
        if let Some(first) = self.ids.get(&id) {
            let message =
                format!("node {id} is already on line {first}; give each node its own id");
            self.toml.fault(at, message);
        } else {
            self.ids.insert(id, self.toml.line_of(at));
        }
        Some(id)
    }

    fn address(&mut self, entry: &Entry<'_>, key: &str, example: &str) -> Option<Address> {
        let Found { value, at } = self.toml.string(entry, key, example)?;
        let called = &entry.called;
        let address: Address = match value.parse() {
            Ok(address) => address,
            Err(reason) => {
                let message = format!("{key} {value:?} of {called}: expected host:port, {reason}");
                self.toml.fault(at, message);
                return None;
            }
        };
        if let Some((first, line)) = self.addresses.get(&address) {
            let message = format!(
                "{key} {value:?} of {called}: already the {first} on line {line}; each needs a \
                 port of its own"
            );
            self.toml.fault(at, message);
        } else {
            let what = format!("{key} address of {called}");
            let line = self.toml.line_of(at);
            self.addresses.insert(address.clone(), (what, line));
        }
        Some(address)
    }

    fn members(&mut self, entry: &Entry<'_>) -> Option<Vec<NodeId>> {
        let called = &entry.called;
        let at = start(entry.table, "nodes", entry.at);
        let list = self.toml.ids_in(entry, "nodes")?;
        if !(1..=GROUP_MEMBERS_MAX).contains(&list.len()) {
            let message = format!(
                "nodes of {called}: expected 1 to {GROUP_MEMBERS_MAX} ids, better 1, 3 or 5, but \
                 there are {}",
                list.len()
            );
            self.toml.fault(at, message);
        }
        for Found { value, at } in &list {
            if self.knows_all_ids && !self.ids.contains_key(value) {
                let message = format!(
                    "nodes of {called}: there is no node {value}; write a [[node]] with this id, \
                     or leave it out here"
                );
                self.toml.fault(*at, message);
            }
        }
        Some(to_ids(&list))
    }

    fn priority(&mut self, entry: &Entry<'_>, members: Option<&[NodeId]>) -> Option<Vec<NodeId>> {
        let called = &entry.called;
        let list = self.toml.ids_in(entry, "priority")?;
        for Found { value, at } in &list {
            if members.is_some_and(|members| !members.contains(&NodeId((*value).into()))) {
                let message = format!(
                    "priority of {called}: node {value} is not among its nodes; add it there, or \
                     leave it out here"
                );
                self.toml.fault(*at, message);
            }
        }
        Some(to_ids(&list))
    }

    /// The tables of this key.
    fn entries<'t>(&mut self, top: &Entry<'t>, key: &str) -> Vec<Entry<'t>> {
        let entries = self.toml.entries(top, key);
        // Whatever ids and names are there, they are not known.
        self.knows_all_ids &= entries.is_some() || key != "node";
        self.knows_all_groups &= entries.is_some() || key != "group";
        entries.unwrap_or_default()
    }
}

fn to_ids(list: &[Found<u32>]) -> Vec<NodeId> {
    list.iter().map(|id| NodeId(id.value.into())).collect()
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
