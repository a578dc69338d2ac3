//! What operators ask for: groups and prefixes are created, moved and dropped by an entry in the
//! log of the group that has the right to decide.
//!
//! Whoever asks need not know which group that is: the directory says, and if that is out of date,
//! the group that was asked wrongly says where to go on. An order is carried out when it is logged;
//! what follows from it is the business of the groups' leaders. These functions block, as long as a
//! client's command may take.

use std::thread;
use std::time::{Duration, Instant};

use bailiwick_replication::{GroupId, NodeId};

use super::step::Order;
use crate::authority::Stray;
use crate::cluster::GROUP_MEMBERS_MAX;
use crate::commands::CommandError;
use crate::directory::View;
use crate::estate::Estate;
use crate::group::ROOT_GROUP;
use crate::node::Node;
use crate::routing::errand::{self, Failure, Reply};

/// How often the directory is looked at again while it does not know enough.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// How often hints of groups are followed before the directory is asked again.
const MAX_HINTS: usize = 3;
/// The longest name of a group, in bytes.
const MAX_NAME_BYTES: usize = 128;

const NO_CLUSTER: CommandError = CommandError::text(
    "ERR this node runs without a cluster, so its only group owns every prefix; start nodes with \
     --cluster and --node",
);

/// What becomes of a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is handed out to a group.
    Create(GroupId),
    /// It goes to another group.
    Move(GroupId),
    /// It becomes a part of its parent again.
    Drop,
}

/// Has the group that owns the parent prefix decide.
///
/// # Errors
/// It has decided otherwise before, or cannot be asked.
pub fn decide(node: &Node, prefix: &[u8], decision: Decision) -> Result<(), CommandError> {
    let command = match decision {
        Decision::Create(to) => Order::new("_DELEGATE", prefix).group(to),
        Decision::Move(to) => Order::new("_MOVE", prefix).group(to),
        Decision::Drop => Order::new("_DROP", prefix),
    };
    let command = command.into_command();
    let parent = |view: &View| parent_owner(view, prefix);
    ask_owner(node, &command, parent).map(drop)
}

/// Creates a group, or finds the one that was created alike. Returns when this node's directory
/// knows it, so that it can be named in the next order.
///
/// # Errors
/// The name is taken, a node is not known, or the root group cannot be asked.
pub fn create_group(node: &Node, name: &str, nodes: &[NodeId]) -> Result<GroupId, CommandError> {
    let estate = estate(node)?;
    if !is_name(name) {
        return Err(CommandError::composed(format!(
            "ERR the name of a group has 1 to {MAX_NAME_BYTES} printable characters without \
             spaces, quotes and commas"
        )));
    }
    if name == root_name(node) {
        return Err(taken(name));
    }
    let mut command = vec![b"_GROUP".to_vec(), name.as_bytes().to_vec()];
    command.extend(members(node, nodes)?);
    let until = deadline(node);
    let id = match run(node, ROOT_GROUP, &command).map_err(|failure| explain(node, &failure))? {
        Reply::Integer(id) => u32::try_from(id).ok().map(GroupId),
        _ => None,
    };
    let id = id.ok_or(CommandError::text(
        "ERR the root group's answer makes no sense",
    ))?;
    while estate.directory.view().group(id).is_none() && Instant::now() < until {
        thread::sleep(LOOK_AGAIN);
    }
    Ok(id)
}

/// The group of a name, as the directory has it, or else the root group.
///
/// # Errors
/// There is none, or the root group cannot be asked.
pub fn group_named(node: &Node, name: &[u8]) -> Result<GroupId, CommandError> {
    let estate = estate(node)?;
    if name == root_name(node).as_bytes() {
        return Ok(ROOT_GROUP);
    }
    let known = std::str::from_utf8(name).ok();
    let known = known.and_then(|name| Some(estate.directory.view().group_named(name)?.id));
    if let Some(known) = known {
        return Ok(known);
    }
    // It may have been created elsewhere a moment ago.
    let command = [b"_NAMED".to_vec(), name.to_vec()];
    let found = run(node, ROOT_GROUP, &command).map_err(|failure| explain(node, &failure))?;
    match found {
        Reply::Integer(id) if id >= 0 => Ok(GroupId(id as u32)),
        _ => Err(CommandError::composed(format!(
            "ERR unknown group '{}'; see GROUP LIST, or create it with GROUP CREATE",
            name.escape_ascii()
        ))),
    }
}

/// What to call a group.
#[must_use]
pub fn group_name(node: &Node, id: GroupId) -> String {
    if id == ROOT_GROUP {
        return root_name(node).to_owned();
    }
    let known = node.estate().and_then(|estate| {
        let view = estate.directory.view();
        Some(view.group(id)?.name.clone())
    });
    known.unwrap_or_else(|| format!("#{}", id.0))
}

/// A name for a group that is made for a prefix: the prefix, as far as it can be printed.
#[must_use]
pub fn name_after(prefix: &[u8]) -> String {
    let shown = prefix.iter().map(|&byte| {
        if is_name_byte(byte) && byte != b'\\' {
            char::from(byte).to_string()
        } else {
            format!("\\x{byte:02x}")
        }
    });
    shown.collect()
}

/// Has the group that owns something execute a command: the one that the directory names, or that
/// a group which was asked wrongly names.
///
/// # Errors
/// It refuses, or nobody has turned out to be the owner within a client's time-out.
fn ask_owner(
    node: &Node,
    command: &[Vec<u8>],
    owner: impl Fn(&View) -> GroupId,
) -> Result<Reply, CommandError> {
    let estate = estate(node)?;
    let until = deadline(node);
    let mut hint = None;
    let mut hints = 0;
    loop {
        let group = match hint.take() {
            Some(group) if hints < MAX_HINTS => group,
            _ => {
                hints = 0;
                owner(&estate.directory.view())
            }
        };
        let failure = match run(node, group, command) {
            Ok(reply) => return Ok(reply),
            Err(failure) => failure,
        };
        let Failure::Stray(stray) = &failure else {
            return Err(explain(node, &failure));
        };
        if Instant::now() >= until {
            return Err(explain(node, &failure));
        }
        match stray {
            Stray::Gone {
                group: Some(other), ..
            } if *other != group && hints + 1 < MAX_HINTS => {
                hint = Some(*other);
                hints += 1;
            }
            _ => thread::sleep(LOOK_AGAIN),
        }
    }
}

/// The group that owns the prefix under which this one is, or would be.
#[must_use]
pub fn parent_owner(view: &View, prefix: &[u8]) -> GroupId {
    view.parent_of(prefix)
        .map_or(ROOT_GROUP, |(_, owner)| owner.group)
}

/// What this node knows of the cluster.
///
/// # Errors
/// There is no cluster.
pub fn estate(node: &Node) -> Result<&Estate, CommandError> {
    node.estate().map(|estate| &**estate).ok_or(NO_CLUSTER)
}

/// Has a group execute a command.
///
/// # Errors
/// As [`errand::run`].
pub fn run(node: &Node, group: GroupId, command: &[Vec<u8>]) -> Result<Reply, Failure> {
    let args: Vec<&[u8]> = command.iter().map(Vec::as_slice).collect();
    errand::run(node, group, &args)
}

/// The error for a client. Groups tell each other of groups by number, and clients by name.
#[must_use]
pub fn explain(node: &Node, failure: &Failure) -> CommandError {
    let text = failure.to_string();
    let name = |id: &str| Some(group_name(node, GroupId(id.parse().ok()?)));
    let named = match failure.code() {
        "EXISTS" | "MOVING" => with_last_group_named(&text, name),
        _ => None,
    };
    CommandError::composed(named.unwrap_or(text))
}

/// `EXISTS Prefix 'a' belongs to group 3` with the group's name.
fn with_last_group_named(text: &str, name: impl Fn(&str) -> Option<String>) -> Option<String> {
    let (before, rest) = text.rsplit_once("group ")?;
    let digits = rest.find(|byte: char| !byte.is_ascii_digit());
    let (id, behind) = rest.split_at(digits.unwrap_or(rest.len()));
    Some(format!("{before}group '{}'{behind}", name(id)?))
}

/// The nodes with their data directories, as the members of a new group.
fn members(node: &Node, nodes: &[NodeId]) -> Result<Vec<Vec<u8>>, CommandError> {
    let host = node.host().ok_or(NO_CLUSTER)?;
    let mut distinct = nodes.to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    if distinct.len() != nodes.len() || !(1..=GROUP_MEMBERS_MAX).contains(&nodes.len()) {
        return Err(CommandError::composed(format!(
            "ERR a group has 1 to {GROUP_MEMBERS_MAX} nodes, better 1, 3 or 5, each named once"
        )));
    }
    let member = |&id: &NodeId| {
        let disk = if id == host.me().node {
            Some(host.me().disk)
        } else {
            host.linked(id).map(|hello| hello.disk)
        };
        let disk = disk.ok_or_else(|| unreachable_node(id))?;
        Ok(format!("{}:{disk}", id.0).into_bytes())
    };
    nodes.iter().map(member).collect()
}

fn unreachable_node(id: NodeId) -> CommandError {
    CommandError::composed(format!(
        "ERR node {id} is not connected with this one, so its data directory is not known; see \
         CLUSTER LINKS"
    ))
}

fn taken(name: &str) -> CommandError {
    CommandError::composed(format!("EXISTS Group '{name}' has other members"))
}

fn root_name(node: &Node) -> &str {
    let cluster = node.settings.cluster();
    cluster.map_or(crate::cluster::DEFAULT_GROUP, |(cluster, _)| {
        &cluster.root().name
    })
}

fn deadline(node: &Node) -> Instant {
    let patience = node.host().map(|host| host.config().request_timeout);
    Instant::now() + patience.unwrap_or_default()
}

/// Names appear in lists of words, and in quotes.
fn is_name(name: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&name.len()) && name.bytes().all(is_name_byte)
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"'\",=".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_read_names_of_groups() {
        let name = |id: &str| (id == "3").then(|| "eu".to_owned());
        let named = |text| with_last_group_named(text, name);
        assert_eq!(
            named("EXISTS Prefix 'group 1' belongs to group 3").as_deref(),
            Some("EXISTS Prefix 'group 1' belongs to group 'eu'")
        );
        assert_eq!(
            named("EXISTS Group 'x' is group 3 and has other members").as_deref(),
            Some("EXISTS Group 'x' is group 'eu' and has other members")
        );
        assert_eq!(named("EXISTS Prefix 'a' belongs to group 4"), None);
        assert_eq!(named("EXISTS something"), None);
    }

    #[test]
    fn a_group_is_named_after_its_prefix() {
        assert_eq!(name_after(b"eu:"), "eu:");
        assert_eq!(name_after(b"/a b,\xff\\"), "/a\\x20b\\x2c\\xff\\x5c");
        assert!(is_name(&name_after(b"\0'\"")));
        assert!(!is_name("") && !is_name("a b"));
    }
}
