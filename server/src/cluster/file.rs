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

use std::collections::{HashMap, HashSet};

use bailiwick_replication::NodeId;
use toml_edit::{Document, Item, TableLike, Value};

use super::error::Fault;
use super::{
    Address, Cluster, DEFAULT_GROUP, GROUP_MEMBERS_MAX, GroupEntry, NodeEntry, PrefixEntry,
};
use crate::authority::MAX_PREFIX_BYTES;
use crate::directory::keys::PublicKey;

/// How alike a known key must be to be offered for an unknown one, between 0 and 1.
const LIKENESS_MIN: f64 = 0.8;

/// The most bytes of a name.
const NAME_BYTES_MAX: usize = 64;

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
            reader.fault(error.span().map_or(0, |span| span.start), message);
            None
        }
    };
    match cluster {
        Some(cluster) if reader.faults.is_empty() => Ok(cluster),
        _ => {
            reader.faults.sort();
            Err(reader.faults)
        }
    }
}

/// What has been read so far, to compare with what comes.
struct Reader<'a> {
    text: &'a str,
    faults: Vec<Fault>,
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

/// A table, and how to speak of it.
struct Entry<'a> {
    table: &'a dyn TableLike,
    /// Such as `node 2`.
    called: String,
    /// Where it begins, in bytes.
    at: usize,
}

/// A value, and where it stands.
struct Found<T> {
    value: T,
    at: usize,
}

impl<'a> Reader<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            text,
            faults: Vec::new(),
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
        self.check_keys(&top, TOP_KEYS);
        let name = self.name(&top, "cluster", "shop");
        let nodes = self.entries(&top, "node");
        if nodes.is_empty() && self.knows_all_ids {
            let message = "there is no node; write a [[node]] table for each one, with id, region, \
                           client and peer";
            self.fault(0, message);
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
        self.check_keys(&entry, NODE_KEYS);
        let region = self.name(&entry, "region", "eu");
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
        let Found { value, at } = self.string(entry, "key", "8a88e3dd...")?;
        let key = PublicKey::parse(&value);
        if key.is_none() {
            let message = format!(
                "key {value:?} of {}: expected the 64 hexadecimal digits that the node writes to \
                 its log when it starts, and CLUSTER MEMBERS shows",
                entry.called
            );
            self.fault(at, message);
        }
        key
    }

    fn group(&mut self, entry: &Entry<'_>) -> Option<GroupEntry> {
        let name = self.name(entry, "name", "eu");
        self.knows_all_groups &= name.is_some();
        let called = match &name {
            Some(name) => format!("group {:?}", name.value),
            None => entry.called.clone(),
        };
        let entry = Entry { called, ..*entry };
        self.check_keys(&entry, GROUP_KEYS);
        if let Some(Found { value, at }) = &name {
            let line = self.line_of(*at);
            if let Some(first) = self.group_names.insert(value.clone(), line) {
                let message = format!("{} is already on line {first}; rename one", entry.called);
                self.fault(*at, message);
            } else if value == DEFAULT_GROUP && self.group_names.len() > 1 {
                let message = format!(
                    "{}: only the first group may have this name, since the first is the root \
                     group; rename this one, or put it first",
                    entry.called
                );
                self.fault(*at, message);
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
        let prefix = self.string(entry, "prefix", "eu:");
        let called = match &prefix {
            Some(prefix) => format!("prefix {:?}", prefix.value),
            None => entry.called.clone(),
        };
        let entry = Entry { called, ..*entry };
        self.check_keys(&entry, PREFIX_KEYS);
        let prefix = prefix.filter(|prefix| self.is_good_prefix(prefix));
        let group = self.string(&entry, "group", "eu");
        if let Some(Found { value, at }) = &group
            && self.knows_all_groups
            && !self.has_group(value)
        {
            let message = format!(
                "group {value:?} of {}: there is no such group; write a [[group]] with this name",
                entry.called
            );
            self.fault(*at, message);
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
            self.fault(at, message);
            return false;
        }
        let line = self.line_of(at);
        if let Some(first) = self.prefixes.insert(value.clone(), line) {
            let message = format!(
                "prefix {value:?} is already on line {first}; a prefix belongs to one group"
            );
            self.fault(at, message);
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
            self.fault(0, message);
            return None;
        }
        Some(GroupEntry {
            name: DEFAULT_GROUP.to_owned(),
            nodes: nodes.iter().map(|node| node.id).collect(),
            priority: Vec::new(),
        })
    }

    fn id(&mut self, entry: &Entry<'_>) -> Option<u32> {
        let item = self.item(entry, "id", "1")?;
        let at = start(entry.table, "id", entry.at);
        let id = item.as_integer().and_then(|id| u32::try_from(id).ok());
        let Some(id) = id.filter(|id| *id > 0) else {
            let shown = shown(item);
            let message = format!(
                "id {shown} of a node: expected a whole number from 1 to {}",
                u32::MAX
            );
            self.fault(at, message);
            return None;
        };
        if let Some(first) = self.ids.get(&id) {
            let message =
                format!("node {id} is already on line {first}; give each node its own id");
            self.fault(at, message);
        } else {
            self.ids.insert(id, self.line_of(at));
        }
        Some(id)
    }

    fn address(&mut self, entry: &Entry<'_>, key: &str, example: &str) -> Option<Address> {
        let Found { value, at } = self.string(entry, key, example)?;
        let called = &entry.called;
        let address: Address = match value.parse() {
            Ok(address) => address,
            Err(reason) => {
                let message = format!("{key} {value:?} of {called}: expected host:port, {reason}");
                self.fault(at, message);
                return None;
            }
        };
        if let Some((first, line)) = self.addresses.get(&address) {
            let message = format!(
                "{key} {value:?} of {called}: already the {first} on line {line}; each needs a \
                 port of its own"
            );
            self.fault(at, message);
        } else {
            let what = format!("{key} address of {called}");
            let line = self.line_of(at);
            self.addresses.insert(address.clone(), (what, line));
        }
        Some(address)
    }

    fn members(&mut self, entry: &Entry<'_>) -> Option<Vec<NodeId>> {
        let called = &entry.called;
        let at = start(entry.table, "nodes", entry.at);
        let list = self.ids_in(entry, "nodes")?;
        if !(1..=GROUP_MEMBERS_MAX).contains(&list.len()) {
            let message = format!(
                "nodes of {called}: expected 1 to {GROUP_MEMBERS_MAX} ids, better 1, 3 or 5, but \
                 there are {}",
                list.len()
            );
            self.fault(at, message);
        }
        for Found { value, at } in &list {
            if self.knows_all_ids && !self.ids.contains_key(value) {
                let message = format!(
                    "nodes of {called}: there is no node {value}; write a [[node]] with this id, \
                     or leave it out here"
                );
                self.fault(*at, message);
            }
        }
        Some(to_ids(&list))
    }

    fn priority(&mut self, entry: &Entry<'_>, members: Option<&[NodeId]>) -> Option<Vec<NodeId>> {
        let called = &entry.called;
        let list = self.ids_in(entry, "priority")?;
        for Found { value, at } in &list {
            if members.is_some_and(|members| !members.contains(&NodeId((*value).into()))) {
                let message = format!(
                    "priority of {called}: node {value} is not among its nodes; add it there, or \
                     leave it out here"
                );
                self.fault(*at, message);
            }
        }
        Some(to_ids(&list))
    }

    /// A list of distinct ids.
    fn ids_in(&mut self, entry: &Entry<'_>, key: &str) -> Option<Vec<Found<u32>>> {
        let called = &entry.called;
        let item = self.item(entry, key, "[1, 2, 3]")?;
        let at = start(entry.table, key, entry.at);
        let Some(array) = item.as_array() else {
            let shown = shown(item);
            let message =
                format!("{key} {shown} of {called}: expected a list of ids, as in [1, 2, 3]");
            self.fault(at, message);
            return None;
        };
        let mut seen = HashSet::new();
        let mut list = Some(Vec::new());
        for element in array {
            let at = element.span().map_or(at, |span| span.start);
            let id = element.as_integer().and_then(|id| u32::try_from(id).ok());
            match id {
                Some(id) if id > 0 && seen.insert(id) => {
                    list.iter_mut()
                        .for_each(|list| list.push(Found { value: id, at }));
                }
                Some(id) if id > 0 => {
                    self.fault(at, format!("{key} of {called}: node {id} is there twice"));
                }
                _ => {
                    let shown = element.to_string();
                    let shown = shown.trim();
                    let message =
                        format!("{key} of {called}: expected the id of a node, not {shown}");
                    self.fault(at, message);
                    list = None;
                }
            }
        }
        list
    }

    /// A name: of a cluster, a region, a group. It appears in replies of which each line is a list
    /// of words, so it is a word.
    fn name(&mut self, entry: &Entry<'_>, key: &str, example: &str) -> Option<Found<String>> {
        let found = self.string(entry, key, example)?;
        let name = &found.value;
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(fits) {
            return Some(found);
        }
        let message = format!(
            "{key} {name:?} of {}: expected 1 to {NAME_BYTES_MAX} letters, digits, '-', '_' or '.'",
            entry.called
        );
        self.fault(found.at, message);
        None
    }

    fn string(&mut self, entry: &Entry<'_>, key: &str, example: &str) -> Option<Found<String>> {
        let item = self.item(entry, key, &format!("{example:?}"))?;
        let at = start(entry.table, key, entry.at);
        let Some(text) = item.as_str() else {
            let shown = shown(item);
            let message = format!(
                "{key} {shown} of {}: expected text in quotes, as in {key} = {example:?}",
                entry.called
            );
            self.fault(at, message);
            return None;
        };
        let value = text.to_owned();
        Some(Found { value, at })
    }

    /// What a key that must be there holds.
    fn item<'t>(&mut self, entry: &Entry<'t>, key: &str, example: &str) -> Option<&'t Item> {
        let item = entry.table.get(key);
        if item.is_none() {
            let message = format!("{} has no {key}; add {key} = {example}", entry.called);
            self.fault(entry.at, message);
        }
        item
    }

    /// The tables of this key, however they are written.
    fn entries<'t>(&mut self, top: &Entry<'t>, key: &str) -> Vec<Entry<'t>> {
        let Some(item) = top.table.get(key) else {
            return Vec::new();
        };
        let tables: Option<Vec<(&dyn TableLike, _)>> = match item {
            Item::ArrayOfTables(tables) => {
                let with_span =
                    |table: &'t toml_edit::Table| (table as &dyn TableLike, table.span());
                Some(tables.iter().map(with_span).collect())
            }
            Item::Value(Value::Array(list)) => list
                .iter()
                .map(|value| Some((value.as_inline_table()? as &dyn TableLike, value.span())))
                .collect(),
            _ => None,
        };
        let Some(tables) = tables else {
            let message = format!("{key}: expected tables, each under a line [[{key}]]");
            self.fault(start(top.table, key, 0), message);
            // Whatever ids and names are there, they are not known.
            self.knows_all_ids &= key != "node";
            self.knows_all_groups &= key != "group";
            return Vec::new();
        };
        let entry = |(table, span): (_, Option<std::ops::Range<usize>>)| Entry {
            table,
            called: format!("this {key}"),
            at: span.map_or(0, |span| span.start),
        };
        tables.into_iter().map(entry).collect()
    }

    fn check_keys(&mut self, entry: &Entry<'_>, known: &[&str]) {
        for (key, _) in entry.table.iter() {
            if known.contains(&key) {
                continue;
            }
            let hint = match nearest(key, known) {
                Some(near) => format!("did you mean {near}?"),
                None => format!("expected {}", known.join(", ")),
            };
            let message = format!("{key}: unknown key of {}; {hint}", entry.called);
            self.fault(start(entry.table, key, entry.at), message);
        }
    }

    /// Notes what is wrong `at` this byte.
    fn fault(&mut self, at: usize, message: impl Into<String>) {
        let line = self.line_of(at);
        let message = message.into();
        self.faults.push(Fault { line, message });
    }

    fn line_of(&self, at: usize) -> usize {
        let before = self.text.as_bytes().iter().take(at);
        1 + before.filter(|byte| **byte == b'\n').count()
    }
}

fn to_ids(list: &[Found<u32>]) -> Vec<NodeId> {
    list.iter().map(|id| NodeId(id.value.into())).collect()
}

/// Where a key stands, or else its table.
fn start(table: &dyn TableLike, key: &str, otherwise: usize) -> usize {
    let span = table.get_key_value(key).and_then(|(key, item)| {
        let key = key.span();
        key.or_else(|| item.span())
    });
    span.map_or(otherwise, |span| span.start)
}

/// A value as it would be written, or what it is if that is long.
fn shown(item: &Item) -> String {
    match item.as_value() {
        Some(value) if !value.is_array() && !value.is_inline_table() => {
            value.to_string().trim().to_owned()
        }
        _ => format!("({})", item.type_name()),
    }
}

fn nearest<'k>(key: &str, known: &[&'k str]) -> Option<&'k str> {
    let key = key.to_ascii_lowercase();
    let likeness = |name: &&str| strsim::jaro_winkler(name, &key);
    known
        .iter()
        .copied()
        .filter(|name| likeness(name) >= LIKENESS_MIN)
        .max_by(|a, b| likeness(a).total_cmp(&likeness(b)))
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
